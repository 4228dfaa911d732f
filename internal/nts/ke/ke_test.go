package ke

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/ntp"
	"github.com/clockd/clockd/internal/nts"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
)

// given is a running server and how to ask it.
type given struct {
	*Server
	ca      *testkit.CA
	pair    tls.Certificate
	masters *nts.Masters
	at      netip.AddrPort
}

func serve(t *testing.T, change func(*ServerConfig)) *given {
	t.Helper()
	g := &given{ca: testkit.NewCA(t)}
	certificate, key := g.ca.IssueNow("127.0.0.1", "localhost")
	var err error
	if g.pair, err = tls.LoadX509KeyPair(certificate, key); err != nil {
		t.Fatal(err)
	}
	if g.masters, err = nts.NewMasters(rand.Reader, time.Now()); err != nil {
		t.Fatal(err)
	}
	c := ServerConfig{
		Certificate: func() (*tls.Certificate, error) { return &g.pair, nil }, Masters: func() *nts.Masters { return g.masters },
		Allow: func(netip.Addr) bool { return true }, Rate: 100, Burst: 100, Port: func() uint16 { return 1234 }, Random: rand.Reader,
	}
	change(&c)
	g.Server = NewServer(c)
	t.Cleanup(g.Close)
	if g.at, err = g.Listen(netip.MustParseAddrPort("127.0.0.1:0")); err != nil {
		t.Fatal(err)
	}
	return g
}

func (g *given) client() *Client {
	return &Client{Host: "127.0.0.1", Port: int(g.at.Port()), CAFile: g.ca.File, Check: func(p *Proof) error { return p.At(time.Now()) },
		Lookup: func(context.Context, string) ([]netip.Addr, error) { return nil, errors.New("no names here") }}
}

func exchange(t *testing.T, c *Client) (*Result, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return c.Exchange(ctx)
}

func TestExchange(t *testing.T) {
	testkit.NoLeaks(t)
	g := serve(t, func(*ServerConfig) {})
	r, err := exchange(t, g.client())
	if err != nil {
		t.Fatal(err)
	}
	if r.Address.String() != "127.0.0.1:1234" || r.Session.Cookies() != nts.MaxCookies || r.Session.Algorithm() != nts.AESSIVCMAC256 {
		t.Errorf("%v, %d cookies, %v", r.Address, r.Session.Cookies(), r.Session.Algorithm())
	}
	if from, to := r.Proof.Dates(); !from.Before(time.Now()) || !to.After(time.Now()) {
		t.Errorf("dates %v to %v", from, to)
	}
	c := g.client()
	c.Host, c.NTPPort = "localhost", 99
	c.Lookup = func(_ context.Context, host string) ([]netip.Addr, error) {
		if host != "localhost" {
			t.Errorf("asked for %s", host)
		}
		// The first does not answer: nothing listens there.
		return []netip.Addr{netip.MustParseAddr("127.0.0.77"), netip.MustParseAddr("127.0.0.1")}, nil
	}
	if r, err = exchange(t, c); err != nil || r.Address.Port() != 1234 {
		t.Errorf("by name: %+v, %v", r, err)
	}
	if r.Exchanged.String() != "127.0.0.1" {
		t.Errorf("exchanged with %v", r.Exchanged)
	}
	testkit.WaitFor(t, 20*time.Second, "two exchanges to be counted", func() bool { return g.Stats().Granted == 2 })
}

func TestServerThatNamesAnother(t *testing.T) {
	testkit.NoLeaks(t)
	g := serve(t, func(c *ServerConfig) { c.Server, c.Port = "192.0.2.7", func() uint16 { return 0 } })
	if r, err := exchange(t, g.client()); err != nil || r.Address.String() != "192.0.2.7:123" {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestRefusals(t *testing.T) {
	testkit.NoLeaks(t)
	other := testkit.NewCA(t)
	for name, c := range map[string]struct {
		server func(*ServerConfig)
		client func(*Client)
		code   reason.Code
		served reason.Code
	}{
		"another authority":        {nil, func(c *Client) { c.CAFile = other.File }, reason.KeyExchangeCertificate, reason.KeyExchangeConnect},
		"the system's authorities": {nil, func(c *Client) { c.CAFile = "" }, reason.KeyExchangeCertificate, reason.KeyExchangeConnect},
		"another name": {nil, func(c *Client) {
			c.Host = "ntp.example.org"
			c.Lookup = func(context.Context, string) ([]netip.Addr, error) {
				return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
			}
		}, reason.KeyExchangeCertificate, reason.KeyExchangeConnect},
		"later":        {nil, func(c *Client) { c.Check = func(p *Proof) error { return p.At(time.Now().AddDate(50, 0, 0)) } }, reason.KeyExchangeCertificateTime, reason.KeyExchangeConnect},
		"earlier":      {nil, func(c *Client) { c.Check = func(p *Proof) error { return p.At(time.Now().AddDate(-50, 0, 0)) } }, reason.KeyExchangeCertificateTime, reason.KeyExchangeConnect},
		"no such name": {nil, func(c *Client) { c.Host = "nowhere.example" }, reason.SourceResolve, reason.OK},
		"no such file": {nil, func(c *Client) { c.CAFile += "x" }, reason.KeyExchangeCertificate, reason.OK},
		"nobody there": {nil, func(c *Client) { c.Port = testkit.FreeUDPPort(t) }, reason.KeyExchangeConnect, reason.OK},
		"not allowed":  {func(c *ServerConfig) { c.Allow = func(netip.Addr) bool { return false } }, nil, reason.KeyExchangeConnect, reason.KeyExchangeDenied},
		"too often":    {func(c *ServerConfig) { c.Burst, c.Rate = 0, 0.001 }, nil, reason.KeyExchangeConnect, reason.KeyExchangeRate},
	} {
		t.Run(name, func(t *testing.T) {
			g := serve(t, func(s *ServerConfig) {
				if c.server != nil {
					c.server(s)
				}
			})
			client := g.client()
			if c.client != nil {
				c.client(client)
			}
			r, err := exchange(t, client)
			if r != nil || err == nil || Code(err) != c.code {
				t.Errorf("%+v, %v: %v, want %v", r, err, Code(err), c.code)
			}
			if c.served != reason.OK {
				testkit.WaitFor(t, 20*time.Second, "the server to count it", func() bool { s := g.Stats(); return s.Rejected[c.served] == 1 && s.Granted == 0 })
			}
		})
	}
}

// dial makes a TLS connection as anybody can.
func (g *given) dial(t *testing.T, change func(*tls.Config)) (*tls.Conn, error) {
	t.Helper()
	c := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{ALPN}}
	change(c)
	d := tls.Dialer{Config: c, NetDialer: &net.Dialer{Timeout: 20 * time.Second}}
	conn, err := d.DialContext(t.Context(), "tcp", g.at.String())
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn.(*tls.Conn), nil
}

func TestServerAgainstStrangers(t *testing.T) {
	testkit.NoLeaks(t)
	g := serve(t, func(*ServerConfig) {})
	if c, err := g.dial(t, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }); err == nil {
		t.Errorf("TLS 1.2 was spoken: %+v", c.ConnectionState())
	}
	if c, err := g.dial(t, func(c *tls.Config) { c.NextProtos = []string{"h2"} }); err == nil {
		t.Errorf("h2 was spoken: %+v", c.ConnectionState())
	}
	if c, err := g.dial(t, func(c *tls.Config) { c.NextProtos = nil }); err == nil {
		// Without ALPN the handshake ends well, and nothing is said.
		if b, _ := io.ReadAll(c); len(b) > 0 {
			t.Errorf("without ALPN: %x", b)
		}
	}
	bad := func(message []byte) []byte {
		c, err := g.dial(t, func(*tls.Config) {})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write(message)
		_ = c.CloseWrite()
		b, _ := io.ReadAll(c)
		return b
	}
	for _, m := range []string{"", "\x00\x00", "GET / HTTP/1.1\r\n\r\n", "\x80\x00\x00\x00", "\x80\x01\x00\x02\x00\x00\x80\x00\x00\x00"} {
		if b := bad([]byte(m)); len(b) > 16 {
			t.Errorf("%q was answered by %x", m, b)
		}
	}
	before := g.Stats().Granted
	for range 40 { // and it still answers those who ask well
		bad(make([]byte, 9000))
	}
	if _, err := exchange(t, g.client()); err != nil {
		t.Error(err)
	}
	testkit.WaitFor(t, 20*time.Second, "the exchange to be counted", func() bool { return g.Stats().Granted == before+1 })
}

// A client that wants AES-128-GCM-SIV, and exports its keys by the book, gets it, from the handshake to an answer.
func TestGCMSIVFromEndToEnd(t *testing.T) {
	testkit.NoLeaks(t)
	g := serve(t, func(*ServerConfig) {})
	for name, x := range map[string]struct {
		offer nts.Offer
		want  nts.Algorithm
	}{
		"compliant": {nts.Offer{Algorithms: []nts.Algorithm{nts.AES128GCMSIV, nts.AESSIVCMAC256}, Compliant: true}, nts.AES128GCMSIV},
		"old":       {nts.Offer{Algorithms: []nts.Algorithm{nts.AES128GCMSIV, nts.AESSIVCMAC256}}, nts.AESSIVCMAC256},
	} {
		conn, err := g.dial(t, func(*tls.Config) {})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(x.offer.Append(nil)); err != nil {
			t.Fatal(err)
		}
		message, err := readMessage(conn)
		if err != nil {
			t.Fatal(err)
		}
		grant, err := nts.ParseGrant(message, &x.offer)
		if err != nil || grant.Algorithm != x.want || grant.Compliant != (x.want == nts.AES128GCMSIV) {
			t.Fatalf("%s: %+v, %v", name, grant, err)
		}
		state := conn.ConnectionState()
		keys, err := export(&state, grant.Algorithm)
		if err != nil {
			t.Fatal(err)
		}
		session, err := nts.NewSession(keys, grant.Cookies)
		if err != nil {
			t.Fatal(err)
		}
		r, err := nts.NewResponder(g.masters, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		header := ntp.Packet{Version: 4, Mode: ntp.ModeClient, Transmit: 9}
		request, _ := session.Request(nil, header.Append(nil), rand.Reader)
		var q ntp.Packet
		q.Decode(request)
		if code := r.Open(request, &q); code != reason.OK {
			t.Fatalf("%s: %v", name, code)
		}
		answer := ntp.Packet{Version: 4, Mode: ntp.ModeServer, Stratum: 1, Origin: 9}
		if code := session.Answer(r.Seal(answer.Append(nil))); code != reason.OK || session.Cookies() != nts.MaxCookies {
			t.Errorf("%s: %v, %d cookies", name, code, session.Cookies())
		}
	}
}

// Slow clients hold up neither the others nor the end.
func TestSlowClients(t *testing.T) {
	testkit.NoLeaks(t)
	g := serve(t, func(*ServerConfig) {})
	for range maxConnections / 2 {
		c, err := net.Dial("tcp", g.at.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	if _, err := exchange(t, g.client()); err != nil {
		t.Error(err)
	}
	g.Close()
}

// A server that says what it likes after a good handshake.
func TestClientAgainstBadServers(t *testing.T) {
	testkit.NoLeaks(t)
	g := serve(t, func(*ServerConfig) {})
	for name, x := range map[string]struct {
		protocol string
		says     []byte
		code     reason.Code
	}{
		"another protocol": {"h2", nil, reason.KeyExchangeConnect},
		"nothing":          {ALPN, nil, reason.KeyExchangeMalformed},
		"half":             {ALPN, []byte{0x80, 1, 0, 2, 0}, reason.KeyExchangeMalformed},
		"endless":          {ALPN, make([]byte, 1<<20), reason.KeyExchangeMalformed},
		"an error":         {ALPN, []byte{0x80, 2, 0, 2, 0, 2, 0x80, 0, 0, 0}, reason.KeyExchangeRefused},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{g.pair}, NextProtos: []string{x.protocol}})
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				c, err := l.Accept()
				if err != nil {
					return
				}
				_ = c.SetDeadline(time.Now().Add(20 * time.Second))
				var b [4096]byte
				_, _ = c.Read(b[:])
				_, _ = c.Write(x.says)
				_ = c.Close()
			}()
			client := g.client()
			client.Port = l.Addr().(*net.TCPAddr).Port
			if r, err := exchange(t, client); r != nil || Code(err) != x.code {
				t.Errorf("%+v, %v", r, err)
			}
			_ = l.Close()
			<-done
		})
	}
}

func TestExchangeIsCancelled(t *testing.T) {
	testkit.NoLeaks(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	g := serve(t, func(*ServerConfig) {})
	c := g.client()
	c.Port = l.Addr().(*net.TCPAddr).Port
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(50*time.Millisecond, cancel)
	if r, err := c.Exchange(ctx); r != nil || err == nil {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestLimiter(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	l := newLimiter(1, 3)
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	for i := range 5 {
		if got := l.take(a, now); got != (i < 3) {
			t.Errorf("exchange %d: %v", i, got)
		}
	}
	if !l.take(b, now) || !l.take(netip.MustParseAddr("2001:db8::2"), now) || !l.take(b, now) || l.take(b, now) {
		t.Error("an IPv6 /64 is one client")
	}
	now = now.Add(2 * time.Second)
	for i := range 3 {
		if got := l.take(a, now); got != (i < 2) {
			t.Errorf("exchange %d two seconds later: %v", i, got)
		}
	}
	// Many clients share what there is for all, and the table does not grow.
	taken := 0
	for i := range 3 * maxClients {
		if l.take(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), now) {
			taken++
		}
		if len(l.clients) > maxClients {
			t.Fatal("the table grows")
		}
	}
	if taken > overallBurst {
		t.Errorf("%d exchanges at once", taken)
	}
}

func TestProofTellsDatesFromTheRest(t *testing.T) {
	g := serve(t, func(*ServerConfig) {})
	r, err := exchange(t, g.client())
	if err != nil {
		t.Fatal(err)
	}
	p := r.Proof
	from, to := p.Dates()
	for at, want := range map[time.Time]reason.Code{
		from.Add(-time.Second): reason.KeyExchangeCertificateTime, from: reason.OK, to: reason.OK, to.Add(time.Second): reason.KeyExchangeCertificateTime,
	} {
		err := p.At(at)
		if want == reason.OK && err != nil || want != reason.OK && Code(err) != want {
			t.Errorf("%v: %v", at, err)
		}
	}
	other := &Proof{"elsewhere.example", p.chain, p.roots}
	if Code(other.At(to.Add(time.Second))) != reason.KeyExchangeCertificate || Code(other.Ever()) != reason.KeyExchangeCertificate {
		t.Errorf("another name: %v", other.At(to.Add(time.Second)))
	}
	if fmt.Sprint(p.Fingerprint()) == fmt.Sprint(Fingerprint{}) {
		t.Error("no fingerprint")
	}
}

func TestLoadCA(t *testing.T) {
	if p, err := LoadCA(""); p != nil || err != nil {
		t.Errorf("%v, %v", p, err)
	}
	path := t.TempDir() + "/x"
	if err := os.WriteFile(path, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadCA(path); err == nil {
		t.Error("a file without certificates was taken")
	}
}
