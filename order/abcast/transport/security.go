package transport

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/clockd/clockd/reason"
)

// Pin is the SHA-256 of a certificate's public key (its SubjectPublicKeyInfo).
type Pin [sha256.Size]byte

// PinOf is the pin of a certificate's key.
func PinOf(c *x509.Certificate) Pin { return sha256.Sum256(c.RawSubjectPublicKeyInfo) }

// Security says by what members know each other. A member's certificate names it by a URI abcast://GROUP/ID, GROUP in hexadecimal and
// ID in decimal digits, among its alternative names; Authority makes such ones.
type Security struct {
	// Certificate is this member's own, with its key.
	Certificate tls.Certificate
	// Roots are the authorities whose certificates are believed. They should be the group's own: whoever they certify as a member is one.
	Roots *x509.CertPool
	// Pins are the members' keys, where there are no Roots. If there are both, both must agree for the members that have a pin.
	Pins map[uint64]Pin
	// Time is the time at which certificates must be valid; nil means the system's. It is not the group's clock, which needs the group's sessions.
	Time func() time.Time
}

// name is how a certificate names a member.
func name(group, id uint64) string { return fmt.Sprintf("abcast://%x/%d", group, id) }

// member returns the member that a certificate names.
func member(group uint64, c *x509.Certificate) (uint64, error) {
	for _, u := range c.URIs {
		host, path := u.Host, strings.TrimPrefix(u.Path, "/")
		if u.Scheme != "abcast" {
			continue
		}
		id, err := strconv.ParseUint(path, 10, 64)
		if err != nil || host != strconv.FormatUint(group, 16) || u.String() != name(group, id) {
			return 0, fmt.Errorf("transport: the certificate is for %v, and this is the group %x: %w", u, group, reason.LinkGroup)
		}
		return id, nil
	}
	return 0, fmt.Errorf("transport: the certificate of %v names no member of a group: %w", c.Subject, reason.LinkCertificate)
}

// verify returns the member whose certificates these are.
func (s *Security) verify(group uint64, certificates []*x509.Certificate) (uint64, error) {
	if len(certificates) == 0 {
		return 0, fmt.Errorf("transport: no certificate: %w", reason.LinkCertificate)
	}
	leaf := certificates[0]
	id, err := member(group, leaf)
	if err != nil {
		return 0, err
	}
	now := time.Now
	if s.Time != nil {
		now = s.Time
	}
	if s.Roots != nil {
		between := x509.NewCertPool()
		for _, c := range certificates[1:] {
			between.AddCert(c)
		}
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: s.Roots, Intermediates: between, CurrentTime: now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
			return 0, fmt.Errorf("transport: the certificate of member %d is not believed: %w: %w", id, reason.LinkCertificate, err)
		}
	}
	pin, pinned := s.Pins[id]
	if (pinned && pin != PinOf(leaf)) || (!pinned && s.Roots == nil) {
		return 0, fmt.Errorf("transport: the key of member %d is not the one that is pinned: %w", id, reason.LinkCertificate)
	}
	return id, nil
}

// check says what is wrong with a Security for a member.
func (s *Security) check(group, id uint64) error {
	if s.Roots == nil && len(s.Pins) == 0 {
		return errors.New("transport: neither authorities nor pinned keys are configured: nobody would be believed")
	}
	if len(s.Certificate.Certificate) == 0 {
		return errors.New("transport: this member has no certificate")
	}
	leaf, err := x509.ParseCertificate(s.Certificate.Certificate[0])
	if err != nil {
		return fmt.Errorf("transport: this member's own certificate: %w", err)
	}
	if own, err := member(group, leaf); err != nil || own != id {
		return errors.Join(fmt.Errorf("transport: this is member %d of group %x, and its certificate is another's", id, group), err)
	}
	return nil
}

// config is the TLS configuration of both sides. What a certificate says is looked at by peer; TLS proves that the other side has its key.
func (s *Security) config(group uint64) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{s.Certificate},
		ClientAuth:             tls.RequireAnyClientCert,
		NextProtos:             []string{"clockd-abcast"},
		InsecureSkipVerify:     true, // members have no host names: VerifyConnection below looks at everything
		SessionTicketsDisabled: true,
		VerifyConnection: func(c tls.ConnectionState) error {
			_, err := s.verify(group, c.PeerCertificates)
			return err
		},
	}
}

// Authority makes certificates of a group's members.
type Authority struct {
	certificate *x509.Certificate
	key         ed25519.PrivateKey
}

// NewAuthority makes an authority of a group, whose certificates are valid from a day before now.
func NewAuthority(group uint64, now time.Time, valid time.Duration) (*Authority, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	template, err := template(fmt.Sprintf("authority of group %x", group), now, valid)
	if err != nil {
		return nil, err
	}
	template.IsCA, template.BasicConstraintsValid, template.MaxPathLenZero = true, true, true
	template.KeyUsage = x509.KeyUsageCertSign
	template.ExtKeyUsage = nil
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	c, err := x509.ParseCertificate(raw)
	return &Authority{c, key}, err
}

func template(commonName string, now time.Time, valid time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: commonName},
		NotBefore:    now.Add(-24 * time.Hour),
		NotAfter:     now.Add(valid),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}, nil
}

// Roots is the pool with only this authority.
func (a *Authority) Roots() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.certificate)
	return p
}

// PEM is the authority's certificate, without its key.
func (a *Authority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw})
}

// Issue makes a certificate of a member, with a new key.
func (a *Authority) Issue(group, id uint64, now time.Time, valid time.Duration) (tls.Certificate, error) {
	return issue(group, id, now, valid, a)
}

// SelfSigned makes a certificate of a member for groups that pin keys, with a new key.
func SelfSigned(group, id uint64, now time.Time, valid time.Duration) (tls.Certificate, error) {
	return issue(group, id, now, valid, nil)
}

func issue(group, id uint64, now time.Time, valid time.Duration, by *Authority) (tls.Certificate, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	t, err := template(fmt.Sprintf("member %d of group %x", id, group), now, valid)
	if err != nil {
		return tls.Certificate{}, err
	}
	u, err := url.Parse(name(group, id))
	if err != nil {
		return tls.Certificate{}, err
	}
	t.URIs = []*url.URL{u}
	parent, signer := t, key
	if by != nil {
		parent, signer = by.certificate, by.key
	}
	raw, err := x509.CreateCertificate(rand.Reader, t, parent, key.Public(), signer)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(raw)
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key, Leaf: leaf}, err
}

// EncodeCertificate returns a member's certificate and its key as PEM, for LoadSecurity.
func EncodeCertificate(c tls.Certificate) (certificate, key []byte, err error) {
	raw, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		return nil, nil, err
	}
	for _, b := range c.Certificate {
		certificate = append(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: b})...)
	}
	return certificate, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), nil
}

// LoadSecurity reads PEM files: the authorities, a member's certificate, its key.
func LoadSecurity(authorities, certificate, key string) (*Security, error) {
	c, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("transport: %s and %s: %w", certificate, key, err)
	}
	text, err := os.ReadFile(authorities)
	if err != nil {
		return nil, fmt.Errorf("transport: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("transport: %s holds no certificate", authorities)
	}
	return &Security{Certificate: c, Roots: roots}, nil
}
