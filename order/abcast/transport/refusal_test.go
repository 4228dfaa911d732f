package transport

import (
	"bufio"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
)

// nameless is a certificate of the authority that names no member.
func nameless(t testing.TB, a *Authority) *Security {
	t.Helper()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	temp, err := template("a web server", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.CreateCertificate(rand.Reader, temp, a.certificate, public, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return &Security{Certificate: tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}, Roots: a.Roots()}
}

// TestForeignersAreRefused lets all sorts of things connect to a member's port. Each is refused with its reason, and the member's own
// session goes on.
func TestForeignersAreRefused(t *testing.T) {
	testkit.NoLeaks(t)
	authority, other := newAuthority(t), newAuthority(t)
	a := start(t, 1, secure(authority.security(t, testGroup, 1)), func(c *Config) { c.HandshakeTimeout = 2 * time.Second })
	b := start(t, 2, secure(authority.security(t, testGroup, 2)))
	join(t, a, b)
	raw := func(text string) func(c net.Conn) {
		return func(c net.Conn) { _, _ = io.WriteString(c, text) }
	}
	with := func(s *Security, then func(c net.Conn)) func(net.Conn) {
		return func(c net.Conn) {
			tc := &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, NextProtos: []string{"clockd-abcast"}}
			if s != nil {
				tc.Certificates = []tls.Certificate{s.Certificate}
			}
			s := tls.Client(c, tc)
			if s.Handshake() == nil && then != nil {
				then(s)
			}
		}
	}
	say := func(change func(h *hello)) func(c net.Conn) {
		return func(c net.Conn) { _ = greetBack(c, change) }
	}
	expired, err := authority.Issue(testGroup, 2, time.Now().Add(-48*time.Hour), 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	two := authority.security(t, testGroup, 2)
	for _, c := range []struct {
		name string
		do   func(c net.Conn)
		want reason.Code
	}{
		{"nothing at all", func(net.Conn) {}, reason.LinkForeign},
		{"a web browser", raw("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), reason.LinkForeign},
		{"a plain member", raw(string(hello{group: testGroup, from: 2, to: 1}.encode())), reason.LinkForeign},
		{"zeros", raw(string(make([]byte, 100_000))), reason.LinkForeign},
		{"TLS of another protocol", func(c net.Conn) {
			_ = tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}).Handshake()
		}, reason.LinkForeign},
		{"TLS without a protocol", func(c net.Conn) {
			_ = tls.Client(c, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{two.Certificate}}).Handshake()
			_, _ = c.Read(make([]byte, 1))
		}, reason.LinkForeign},
		{"TLS 1.2", func(c net.Conn) {
			_ = tls.Client(c, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}).Handshake()
		}, reason.LinkForeign},
		{"no certificate", with(nil, nil), reason.LinkForeign},
		{"a certificate of another authority", with(other.security(t, testGroup, 2), nil), reason.LinkCertificate},
		{"a certificate that names nobody", with(nameless(t, authority), nil), reason.LinkCertificate},
		{"an expired certificate", with(&Security{Certificate: expired}, nil), reason.LinkCertificate},
		{"a certificate of another group", with(authority.security(t, testGroup+1, 2), nil), reason.LinkGroup},
		{"a member that is not in the group", with(authority.security(t, testGroup, 7), say(func(h *hello) { h.from = 7 })), reason.LinkMember},
		{"a member that says it is another", with(authority.security(t, testGroup, 7), say(func(*hello) {})), reason.LinkMember},
		{"a member that says it is this one", with(two, say(func(h *hello) { h.from = 1 })), reason.LinkMember},
		{"a member that wants another", with(two, say(func(h *hello) { h.to = 3 })), reason.LinkMember},
		{"another group in the hello", with(two, say(func(h *hello) { h.group++ })), reason.LinkGroup},
		{"an answer to another greeting", with(two, say(func(h *hello) { h.nonce[3]++ })), reason.LinkSession},
		{"an answer to another incarnation", with(two, say(func(h *hello) { h.toIncarnation++ })), reason.LinkSession},
		{"an earlier incarnation", with(two, say(func(h *hello) { h.incarnation = 0 })), reason.LinkSession},
		{"another disk", with(two, say(func(h *hello) { h.disk++ })), reason.LinkDisk},
		{"an unknown kind", with(two, say(func(h *hello) { h.kind = 99 })), reason.LinkVersion},
		{"another version", with(two, func(c net.Conn) {
			b := hello{group: testGroup, from: 2, to: 1}.encode()
			binary.LittleEndian.PutUint32(b[4:], protocolVersion+1)
			_, _ = c.Write(b)
			_, _ = io.Copy(io.Discard, c)
		}), reason.LinkVersion},
		{"something else after TLS", with(two, raw(strings.Repeat("x", 200))), reason.LinkForeign},
		{"silence", func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }, reason.LinkSilent},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := a.refused(c.want)
			conn, err := net.Dial("tcp", a.Address().String())
			if err != nil {
				t.Fatal(err)
			}
			if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
				t.Fatal(err)
			}
			c.do(conn)
			_ = conn.Close()
			eventually(t, "the refusal", func() bool { return a.refused(c.want) == before+1 })
		})
	}
	eventually(t, "the end of all connections", func() bool { return a.Counters().Unknown == 0 })
	if !a.linked(2) || !b.linked(1) || b.Counters().SessionsOut != 1 {
		t.Error("the members' own session did not last")
	}
}

// greetBack answers a greeting as member 2 would, changed, and returns the verdict.
func greetBack(c net.Conn, change func(h *hello)) error {
	g, err := readGreeting(c)
	if err != nil {
		return err
	}
	h := hello{group: testGroup, from: 2, incarnation: 1, to: g.member, toIncarnation: g.incarnation, session: 1 << 40, kind: frames, nonce: g.nonce}
	change(&h)
	if _, err := c.Write(h.encode()); err != nil {
		return err
	}
	return readVerdict(c)
}

func dialPlain(t testing.TB, n *node, change func(h *hello)) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", n.Address().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := greetBack(c, change); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestFramesThatAreRefused(t *testing.T) {
	testkit.NoLeaks(t)
	frame := func(text string) []byte {
		return append(binary.LittleEndian.AppendUint32(nil, uint32(len(text))), text...)
	}
	for _, c := range []struct {
		name string
		sent []byte
		want reason.Code
	}{
		{"too long", append(frame("good"), 0xff, 0xff, 0xff, 0xff), reason.LinkFrameLong},
		{"one byte too long", append(frame("good"), 1, 4, 0, 0), reason.LinkFrameLong},
		{"empty", append(frame("good"), 0, 0, 0, 0), reason.LinkFrameMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := start(t, 1, func(c *Config) { c.MaxFrame = 1024 })
			a.SetPeers(map[uint64]string{2: ""})
			conn := dialPlain(t, a, func(*hello) {})
			if _, err := conn.Write(c.sent); err != nil {
				t.Fatal(err)
			}
			if n, err := conn.Read(make([]byte, 1)); err == nil {
				t.Errorf("the listener answers with %d bytes", n)
			}
			if a.refused(c.want) != 1 || !slices.Equal(a.received(2), []string{"good"}) {
				t.Errorf("refused %v, received %q", a.Counters().Refused.Map(), a.received(2))
			}
		})
	}
}

// TestReplayedSessions plays what a member said again, byte by byte: to the same listener and to its next incarnation.
func TestReplayedSessions(t *testing.T) {
	testkit.NoLeaks(t)
	a := start(t, 1)
	a.SetPeers(map[uint64]string{2: ""})
	var recorded []byte
	c, err := net.Dial("tcp", a.Address().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := greetBack(writeRecorder{c, &recorded}, func(*hello) {}); err != nil {
		t.Fatal(err)
	}
	frame := append(binary.LittleEndian.AppendUint32(nil, 5), "pay 1"...)
	recorded = append(recorded, frame...)
	if _, err := c.Write(frame); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the frame", func() bool { return len(a.received(2)) == 1 })
	play := func(a *node) {
		t.Helper()
		before := a.refused(reason.LinkSession)
		again, err := net.Dial("tcp", a.Address().String())
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		if _, err := again.Write(recorded); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the refusal", func() bool { return a.refused(reason.LinkSession) == before+1 })
	}
	play(a)
	if len(a.received(2)) != 1 {
		t.Errorf("received %q", a.received(2))
	}
	next := start(t, 1, func(c *Config) { c.Incarnation = 2 })
	next.SetPeers(map[uint64]string{2: ""})
	play(next)
	if len(next.received(2)) != 0 {
		t.Errorf("received %q", next.received(2))
	}
	_ = c.Close()
}

type writeRecorder struct {
	net.Conn
	to *[]byte
}

func (w writeRecorder) Write(b []byte) (int, error) {
	*w.to = append(*w.to, b...)
	return w.Conn.Write(b)
}

// TestOfTwoSessionsTheLaterIsHeard: frames of the earlier one are dropped, and come before those of the later one.
func TestOfTwoSessionsTheLaterIsHeard(t *testing.T) {
	testkit.NoLeaks(t)
	a := start(t, 1)
	a.SetPeers(map[uint64]string{2: ""})
	first := dialPlain(t, a, func(h *hello) { h.session = 1 })
	second := dialPlain(t, a, func(h *hello) { h.session = 2 })
	if _, err := second.Write(append(binary.LittleEndian.AppendUint32(nil, 6), "second"...)); err != nil {
		t.Fatal(err)
	}
	_, _ = first.Write(append(binary.LittleEndian.AppendUint32(nil, 5), "first"...))
	eventually(t, "the end of the first session", func() bool {
		_, err := first.Read(make([]byte, 1))
		return err != nil
	})
	eventually(t, "the frame", func() bool { return slices.Contains(a.received(2), "second") })
	if got := a.received(2); len(got) != 1 {
		t.Errorf("received %q", got)
	}
	third := dialPlain(t, a, func(h *hello) { h.incarnation, h.session = 2, 1 })
	conn, err := net.Dial("tcp", a.Address().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := greetBack(conn, func(h *hello) { h.session = 77 }); err == nil || !strings.Contains(err.Error(), reason.LinkSession.Explain()) {
		t.Errorf("an earlier incarnation after a later one: %v", err)
	}
	_ = third.Close()
}

// TestUnknownConnectionsAreFew: more connections that say nothing than allowed are closed at once.
func TestUnknownConnectionsAreFew(t *testing.T) {
	testkit.NoLeaks(t)
	a := start(t, 1, func(c *Config) { c.Connections = 4 })
	var open []net.Conn
	for range 50 {
		c, err := net.Dial("tcp", a.Address().String())
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	eventually(t, "the refusals", func() bool { return a.refused(reason.LinkBusy) == 46 })
	if n := a.Counters().Unknown; n != 4 {
		t.Errorf("%d connections are held", n)
	}
	for _, c := range open {
		_ = c.Close()
	}
}

// TestDiallerRefuses: who answers at a member's address must be that member.
func TestDiallerRefuses(t *testing.T) {
	testkit.NoLeaks(t)
	authority, other := newAuthority(t), newAuthority(t)
	a := start(t, 1, secure(authority.security(t, testGroup, 1)))
	impostor := start(t, 3, secure(authority.security(t, testGroup, 3)))
	impostor.SetPeers(map[uint64]string{1: ""})
	a.SetPeers(map[uint64]string{2: impostor.Address().String()})
	eventually(t, "the refusal of another member", func() bool { return a.refused(reason.LinkMember) > 0 })
	stranger := start(t, 2, secure(other.security(t, testGroup, 2)))
	stranger.SetPeers(map[uint64]string{1: ""})
	a.SetPeers(map[uint64]string{2: stranger.Address().String()})
	eventually(t, "the refusal of a strange certificate", func() bool { return a.refused(reason.LinkCertificate) > 0 })
	if a.Counters().SessionsOut != 0 {
		t.Error("there was a session")
	}
	// The stranger, who dials, hears that it is refused.
	stranger.SetPeers(map[uint64]string{1: a.Address().String()})
	eventually(t, "the word of refusal", func() bool { return stranger.refused(reason.LinkCertificate)+stranger.refused(reason.LinkRefused) > 0 })
	// A plain member that answers is no member to a secure one.
	plain := start(t, 2)
	a.SetPeers(map[uint64]string{2: plain.Address().String()})
	eventually(t, "the refusal of a plain member", func() bool { return a.refused(reason.LinkForeign) > 0 })
}

func TestFilesOfCertificates(t *testing.T) {
	dir := t.TempDir()
	authority := newAuthority(t)
	c, key, err := EncodeCertificate(authority.security(t, testGroup, 1).Certificate)
	if err != nil {
		t.Fatal(err)
	}
	path := func(name string) string { return filepath.Join(dir, name) }
	for name, text := range map[string][]byte{"ca": authority.PEM(), "cert": c, "key": key, "junk": []byte("junk")} {
		if err := os.WriteFile(path(name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := LoadSecurity(path("ca"), path("cert"), path("key"))
	if err != nil {
		t.Fatal(err)
	}
	a, b := start(t, 1, secure(s)), start(t, 2, secure(authority.security(t, testGroup, 2)))
	join(t, a, b)
	for _, files := range [][3]string{{"junk", "cert", "key"}, {"ca", "junk", "key"}, {"ca", "cert", "cert"}, {"none", "cert", "key"}} {
		if _, err := LoadSecurity(path(files[0]), path(files[1]), path(files[2])); err == nil {
			t.Errorf("%v were loaded", files)
		}
	}
}

func FuzzHandshake(f *testing.F) {
	f.Add(greeting{group: 1, member: 2, incarnation: 3}.encode())
	f.Add(hello{group: 1, from: 2, incarnation: 3, to: 4, kind: stream}.encode())
	f.Add(encodeVerdict(reason.LinkGroup))
	f.Add([]byte("GET / HTTP/1.1\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		read := func() io.Reader { return strings.NewReader(string(b)) }
		if g, err := readGreeting(read()); err == nil && string(g.encode()) != string(b[:greetingLength]) {
			t.Errorf("%x is read as %+v", b, g)
		}
		if h, err := readHello(read()); err == nil && string(h.encode()) != string(b[:helloLength]) {
			t.Errorf("%x is read as %+v", b, h)
		}
		_ = readVerdict(read())
	})
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte{3, 0, 0, 0, 'a', 'b', 'c', 0, 0, 0, 0})
	f.Add([]byte{0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, b []byte) {
		const limit = 1 << 20
		r := bufio.NewReader(strings.NewReader(string(b)))
		for total := 0; ; {
			frame, err := readFrame(r, limit)
			if err != nil {
				break
			}
			total += len(frame) + frameHead
			if len(frame) == 0 || len(frame) > limit || total > len(b) || cap(frame) > 2*len(b)+readChunk {
				t.Fatalf("a frame of %d bytes, capacity %d, from %d", len(frame), cap(frame), len(b))
			}
		}
		s := &chunkReader{r: bufio.NewReader(strings.NewReader(string(b)))}
		text, err := io.ReadAll(s)
		if err != nil {
			return
		}
		var again strings.Builder
		w := chunkWriter{bufio.NewWriter(&again)}
		if _, err := w.Write(text); err != nil {
			t.Fatal(err)
		}
		if err := w.end(); err != nil {
			t.Fatal(err)
		}
		back, err := io.ReadAll(&chunkReader{r: bufio.NewReader(strings.NewReader(again.String()))})
		if err != nil || string(back) != string(text) {
			t.Fatalf("%q became %q, %v", text, back, err)
		}
	})
}
