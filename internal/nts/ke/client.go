package ke

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/clockd/clockd/internal/nts"
	"github.com/clockd/clockd/reason"
)

const (
	// ALPN is the name of the protocol (RFC 8915 section 4).
	ALPN = "ntske/1"
	// Port is where servers exchange keys.
	Port = 4460
	// ntpPort is where they answer, unless they say otherwise.
	ntpPort = 123
	// maxCA is the longest file of certificates that is read.
	maxCA = 4 << 20
	// perAddress bounds an exchange with one of a name's addresses.
	perAddress = 5 * time.Second
	// maxAddresses is how many of a name's addresses are tried.
	maxAddresses = 4
)

// Client says with whom keys are exchanged, and what is demanded of him.
type Client struct {
	// Host is the server's name or address: what its certificate must be for. Port is that of its key exchange.
	Host string
	Port int
	// NTPPort is where NTP is asked if the server does not say.
	NTPPort int
	// CAFile has the certificates, in PEM, of those who may vouch for the server; "": those that the system trusts.
	CAFile string
	// Check judges the certificates' dates; chain and name are good already. An error ends the exchange.
	Check func(*Proof) error
	// Prefer is the address that is tried first if the name has it; not valid: none.
	Prefer netip.Addr
	// Lookup finds the addresses of a name.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
}

// Result is what an exchange gave.
type Result struct {
	Session *nts.Session
	// Exchanged is the address with which keys were exchanged.
	Exchanged netip.Addr
	// Address is where NTP is asked.
	Address netip.AddrPort
	Proof   *Proof
}

// LoadCA reads the certificates of a file; "" gives nil, the system's.
func LoadCA(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("ke: the file of trusted certificates: %w", err)
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxCA))
	if err != nil {
		return nil, fmt.Errorf("ke: the file of trusted certificates: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("ke: %s has no certificate in PEM (-----BEGIN CERTIFICATE-----)", path)
	}
	return pool, nil
}

// Exchange exchanges keys. It tries the addresses of the name one after the other; ctx ends it.
func (c *Client) Exchange(ctx context.Context) (*Result, error) {
	roots, err := LoadCA(c.CAFile)
	if err != nil {
		return nil, &Error{reason.KeyExchangeCertificate, err}
	}
	addresses, err := c.resolve(ctx, c.Host)
	if err != nil {
		return nil, err
	}
	if i := slices.Index(addresses, c.Prefer); i > 0 {
		addresses = slices.Concat(addresses[i:i+1], addresses[:i], addresses[i+1:])
	}
	var errs []error
	for i, a := range addresses {
		if i == maxAddresses || ctx.Err() != nil {
			break
		}
		r, err := c.exchange(ctx, a, roots)
		if err == nil {
			return r, nil
		}
		errs = append(errs, err)
		if Code(err) != reason.KeyExchangeConnect {
			break // it was there, and what it said will not be better elsewhere
		}
	}
	return nil, errors.Join(errs...)
}

// resolve finds the addresses of a name or of an address.
func (c *Client) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a.Unmap()}, nil
	}
	list, err := c.Lookup(ctx, host)
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("%s has no address", host)
	}
	if err != nil {
		return nil, &Error{reason.SourceResolve, err}
	}
	return list, nil
}

func (c *Client) exchange(ctx context.Context, at netip.Addr, roots *x509.CertPool) (*Result, error) {
	ctx, cancel := context.WithTimeout(ctx, perAddress)
	defer cancel()
	var proof *Proof
	var judged error
	dialer := tls.Dialer{Config: &tls.Config{
		ServerName: c.Host, MinVersion: tls.VersionTLS13, NextProtos: []string{ALPN},
		// The library would check the dates by the system's clock, which is what is to be found out. What it leaves out is done in
		// VerifyConnection, before anything is sent.
		InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 {
				return errors.New("the server shows no certificate")
			}
			proof = &Proof{c.Host, s.PeerCertificates, roots}
			if judged = proof.Ever(); judged == nil {
				judged = c.Check(proof)
			}
			return judged
		},
	}}
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(at.String(), strconv.Itoa(c.Port)))
	switch {
	case judged != nil:
		return nil, judged
	case err != nil:
		return nil, &Error{reason.KeyExchangeConnect, err}
	}
	defer func() { _ = conn.Close() }()
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	return c.talk(ctx, conn.(*tls.Conn), proof)
}

// talk says what is wanted and reads the answer.
func (c *Client) talk(ctx context.Context, conn *tls.Conn, proof *Proof) (*Result, error) {
	state := conn.ConnectionState()
	if state.NegotiatedProtocol != ALPN {
		return nil, &Error{reason.KeyExchangeConnect, errors.New("the server does not speak ntske/1")}
	}
	offer := nts.OwnOffer()
	if _, err := conn.Write(offer.Append(nil)); err != nil {
		return nil, &Error{reason.KeyExchangeConnect, err}
	}
	message, err := readMessage(conn)
	if err != nil {
		return nil, err
	}
	grant, err := nts.ParseGrant(message, &offer)
	if err != nil {
		return nil, err
	}
	keys, err := export(&state, grant.Algorithm)
	if err != nil {
		return nil, err
	}
	session, err := nts.NewSession(keys, grant.Cookies)
	if err != nil {
		return nil, &Error{reason.KeyExchangeMalformed, err}
	}
	at, ok := netip.AddrFromSlice(conn.RemoteAddr().(*net.TCPAddr).IP)
	r := &Result{Session: session, Proof: proof, Exchanged: at.Unmap()}
	if grant.Server != "" {
		list, err := c.resolve(ctx, grant.Server)
		if err != nil {
			return nil, err
		}
		at, ok = list[0], true
	}
	if !ok {
		return nil, &Error{reason.KeyExchangeConnect, errors.New("the server's address is not known")}
	}
	port := uint16(ntpPort)
	if c.NTPPort != 0 {
		port = uint16(c.NTPPort)
	}
	if grant.Port != 0 {
		port = grant.Port
	}
	r.Address = netip.AddrPortFrom(at.Unmap(), port)
	return r, nil
}

// export takes the keys from a TLS connection.
func export(state *tls.ConnectionState, a nts.Algorithm) (keys nts.Keys, err error) {
	keys.Algorithm = a
	for _, k := range []struct {
		toServer bool
		into     *[]byte
	}{{true, &keys.ClientToServer}, {false, &keys.ServerToClient}} {
		if *k.into, err = state.ExportKeyingMaterial(nts.ExporterLabel, nts.ExporterContext(a, k.toServer), a.KeyLength()); err != nil {
			return keys, &Error{reason.KeyExchangeConnect, err}
		}
	}
	return keys, nil
}

// readMessage reads one message, and no more than one may have.
func readMessage(r io.Reader) ([]byte, error) {
	b := make([]byte, 0, 2048)
	for {
		n, err := nts.MessageLength(b)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			if n < len(b) {
				return nil, &Error{reason.KeyExchangeMalformed, errors.New("there is something after the end")}
			}
			return b, nil
		}
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		m, err := r.Read(b[len(b):min(cap(b), nts.MaxMessage+recordRoom)])
		b = b[:len(b)+m]
		switch {
		case m > 0:
		case errors.Is(err, io.EOF):
			return nil, &Error{reason.KeyExchangeMalformed, errors.New("the other side ended the connection within its message")}
		case err != nil:
			return nil, &Error{reason.KeyExchangeConnect, err}
		}
	}
}

// recordRoom lets a message that is too long be seen as such.
const recordRoom = 64
