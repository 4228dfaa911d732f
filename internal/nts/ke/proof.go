package ke

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/clockd/clockd/internal/nts"
	"github.com/clockd/clockd/reason"
)

// Proof is the certificates that a server has shown, for a name that it was asked by. It is immutable.
type Proof struct {
	name  string
	chain []*x509.Certificate // the server's own first
	roots *x509.CertPool      // nil: the system's
}

// Fingerprint is the SHA-256 of the server's own certificate.
type Fingerprint [sha256.Size]byte

// Fingerprint returns that of the server's own certificate.
func (p *Proof) Fingerprint() Fingerprint { return sha256.Sum256(p.chain[0].Raw) }

// Dates returns from when to when the server's own certificate and those that it was shown with are valid.
func (p *Proof) Dates() (from, to time.Time) {
	from, to = p.chain[0].NotBefore, p.chain[0].NotAfter
	for _, c := range p.chain[1:] {
		if c.NotBefore.After(from) {
			from = c.NotBefore
		}
		if c.NotAfter.Before(to) {
			to = c.NotAfter
		}
	}
	return from, to
}

// At says whether the certificates are good for the name at that time. The error unwraps to KeyExchangeCertificateTime if only the
// time is wrong, and else to KeyExchangeCertificate.
func (p *Proof) At(at time.Time) error {
	err := p.verify(at)
	if err == nil {
		return nil
	}
	if !expired(err) {
		return &Error{reason.KeyExchangeCertificate, err}
	}
	// Only the dates? Then there is a time at which all is well.
	if other := p.Ever(); other != nil {
		return other
	}
	from, to := p.Dates()
	return &Error{reason.KeyExchangeCertificateTime, fmt.Errorf("it is valid from %s to %s, and it is taken to be %s", stamp(from), stamp(to), stamp(at))}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Ever says whether there is a time at which the certificates are good for the name: nil if there is.
func (p *Proof) Ever() error {
	from, to := p.Dates()
	if to.Before(from) {
		return &Error{reason.KeyExchangeCertificate, errors.New("its certificates are valid at no common time")}
	}
	var err error
	// Late in their time first: the roots that signed them are older.
	for _, at := range []time.Time{to, from, from.Add(to.Sub(from) / 2)} {
		if err = p.verify(at); err == nil {
			return nil
		}
	}
	return &Error{reason.KeyExchangeCertificate, err}
}

func (p *Proof) verify(at time.Time) error {
	between := x509.NewCertPool()
	for _, c := range p.chain[1:] {
		between.AddCert(c)
	}
	_, err := p.chain[0].Verify(x509.VerifyOptions{
		DNSName: p.name, Roots: p.roots, Intermediates: between, CurrentTime: at,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	return err
}

// expired reports whether an error is about dates. Of several chains the last one's error is told, so it is a hint only.
func expired(err error) bool {
	var invalid x509.CertificateInvalidError
	return errors.As(err, &invalid) && invalid.Reason == x509.Expired
}

// Error is why an exchange failed, with its reason.
type Error struct {
	Code reason.Code
	Err  error
}

// Error returns the sentence of the code, and what is behind it.
func (e *Error) Error() string { return e.Code.Explain() + ": " + e.Err.Error() }

// Unwrap returns code and cause.
func (e *Error) Unwrap() []error { return []error{e.Code, e.Err} }

// Detail returns what is behind the reason of an error of this package.
func Detail(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Err.Error()
	}
	var p *nts.ProtocolError
	if errors.As(err, &p) {
		return p.Detail
	}
	return err.Error()
}

// Code returns the reason of an error of this package.
func Code(err error) reason.Code {
	var code reason.Code
	if errors.As(err, &code) {
		return code
	}
	return reason.KeyExchangeConnect
}
