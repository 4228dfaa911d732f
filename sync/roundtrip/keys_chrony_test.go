package roundtrip_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/keys"
	"github.com/clockd/clockd/internal/ntp"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/roundtrip"
)

// keysFile is a file that chronyd and clockd read alike: one key of each type that both know.
func keysFile(t *testing.T) (path string, list keys.Symmetrics) {
	t.Helper()
	var b strings.Builder
	b.WriteString("# both read this\n")
	for i, kind := range []struct {
		name string
		bits int
	}{
		{"AES128", 128}, {"AES256", 256}, {"MD5", 160}, {"SHA1", 160}, {"SHA256", 256}, {"SHA384", 384}, {"SHA512", 512},
		{"SHA3-224", 224}, {"SHA3-256", 256}, {"SHA3-384", 384}, {"SHA3-512", 512},
	} {
		fmt.Fprintf(&b, "%d %s HEX:", 10+i, kind.name)
		for j := range kind.bits / 8 {
			fmt.Fprintf(&b, "%02X", byte(17*i+j))
		}
		b.WriteString("\n")
	}
	b.WriteString("40 tulip-without-type\n41 MD5 ASCII:crocus-crocus\n")
	path = filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	list, err := keys.LoadSymmetrics(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, list
}

func symmetricKey(t testing.TB, s keys.Symmetric) *keys.Key {
	t.Helper()
	k, err := s.Key()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// A real chronyd answers requests under every kind of key with answers that are taken, basic and interleaved.
func TestExchangesWithChronydUnderKeys(t *testing.T) {
	testkit.RequireTool(t, "chronyd")
	path, list := keysFile(t)
	server := testkit.StartChronyd(t, testkit.ChronyOptions{LocalStratum: 5, Extra: []string{"keyfile " + path}})
	counter := openCounter(t)
	conn, err := hw.DialUDP(netip.AddrPort{}, server.AddrPort(), hw.StampOptions{Counter: counter, Kernel: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	rng := rand.NewChaCha8([32]byte{4})
	datagram := make([]byte, 1500)
	for _, s := range list {
		k := symmetricKey(t, s)
		var x roundtrip.Exchanger
		x.SetAuthenticator(k)
		w := &wall{t: t, counter: counter}
		interleaved := 0
		for i := range 40 {
			w.mark()
			packet, sequence := x.Request(rng, counter.Read(), i >= 10, nil)
			if len(packet) != ntp.HeaderLength+k.Overhead() {
				t.Fatalf("%v: request of %d bytes", s, len(packet))
			}
			id, stamp, err := conn.Send(packet, netip.AddrPort{}, netip.Addr{})
			if err != nil {
				t.Fatal(err)
			}
			x.Sent(sequence, stamp)
			samples, code := await(t, conn, &x, datagram, id, sequence)
			w.mark()
			if code != reason.OK {
				t.Fatalf("%v, exchange %d: %v", s, i, code)
			}
			for _, sample := range samples {
				sent, tolerance := w.at(sample.Depart.NotBefore())
				if margin := sample.Receive.Seconds(sent) + sample.ServerError + tolerance; margin < 0 {
					t.Errorf("%v, exchange %d: the truth is %g s outside of sample %+v", s, i, -margin, sample)
				}
				if sample.Interleaved {
					interleaved++
				}
			}
		}
		if interleaved < 20 {
			t.Errorf("%v: only %d interleaved answers of 30", s, interleaved)
		}
		t.Logf("%v: MAC of %d bytes, %d interleaved", s, k.Overhead(), interleaved)
	}
}

// chronyd drops what is sealed with a key that it does not know, and so do we.
func TestChronydIsSilentUnderAWrongKey(t *testing.T) {
	testkit.RequireTool(t, "chronyd")
	path, _ := keysFile(t)
	server := testkit.StartChronyd(t, testkit.ChronyOptions{LocalStratum: 5, Extra: []string{"keyfile " + path}})
	counter := openCounter(t)
	conn, err := hw.DialUDP(netip.AddrPort{}, server.AddrPort(), hw.StampOptions{Counter: counter, Kernel: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	wrong, err := keys.ParseSymmetrics("test", []byte("10 AES128 HEX:00000000000000000000000000000000\n99 AES128 HEX:00000000000000000000000000000000\n10000 SHA1 HEX:0011223344556677889900"))
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.NewChaCha8([32]byte{5})
	datagram := make([]byte, 1500)
	for _, s := range wrong {
		var x roundtrip.Exchanger
		x.SetAuthenticator(symmetricKey(t, s))
		packet, _ := x.Request(rng, counter.Read(), false, nil)
		if _, _, err := conn.Send(packet, netip.AddrPort{}, netip.Addr{}); err != nil {
			t.Fatal(err)
		}
	}
	// A request that is answered after them shows that they were seen.
	var x roundtrip.Exchanger
	packet, sequence := x.Request(rng, counter.Read(), false, nil)
	id, stamp, err := conn.Send(packet, netip.AddrPort{}, netip.Addr{})
	if err != nil {
		t.Fatal(err)
	}
	x.Sent(sequence, stamp)
	if _, code := await(t, conn, &x, datagram, id, sequence); code != reason.OK {
		t.Errorf("the first datagram is %v", code)
	}
}

// A real chronyd as client with a key, of each kind: it is reached under ours, and not at all by a server with another key.
func TestChronydFollowsTheResponderUnderAKey(t *testing.T) {
	testkit.NoLeaks(t)
	testkit.RequireTool(t, "chronyd")
	path, list := keysFile(t)
	var known []*keys.Key
	for _, s := range list {
		if s.Type != "SHA1" { // chronyd's key of this type is unknown here
			known = append(known, symmetricKey(t, s))
		}
	}
	server := startServer(t, func(c *roundtrip.ResponderConfig) {
		c.Keys = keys.NewRing(known...)
		c.Require = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	closed := false
	defer func() {
		if !closed {
			server.Close()
		}
	}()
	clients := map[string]*testkit.Chronyd{}
	for _, kind := range []string{"AES128", "AES256", "MD5", "SHA512", "SHA1", "none"} {
		extra, words := []string{"keyfile " + path}, []string(nil)
		for _, s := range list {
			if s.Type == kind {
				words = []string{"key", fmt.Sprint(s.ID)}
			}
		}
		clients[kind] = testkit.StartChronyd(t, testkit.ChronyOptions{ClientOnly: true, Extra: extra, Servers: []testkit.ChronyServer{{
			Address: server.conn.LocalAddr().String(), MinPoll: -3, MaxPoll: -3, Interleaved: true, Extra: words,
		}}})
	}
	for kind, client := range clients {
		if kind == "SHA1" || kind == "none" {
			continue
		}
		testkit.WaitFor(t, 60*time.Second, "chronyd to be content with the responder under "+kind, func() bool {
			sources, data := client.Sources(), client.Data("127.0.0.1")
			return len(sources) == 1 && sources[0].Reach == 0o377 && data.Interleaved && math.Abs(data.Offset) < 100e-6
		})
		if data := client.Data("127.0.0.1"); data.Good < data.Received*3/4 || data.Stratum != 4 {
			t.Errorf("%s: chronyd sees %+v", kind, data)
		}
	}
	for _, kind := range []string{"SHA1", "none"} {
		testkit.WaitFor(t, 60*time.Second, "chronyd to ask more than once under "+kind, func() bool { return clients[kind].Data("127.0.0.1").Sent >= 2 })
		if data := clients[kind].Data("127.0.0.1"); data.Received != 0 || clients[kind].Sources()[0].Reach != 0 {
			t.Errorf("%s: chronyd got %d answers to %d requests", kind, data.Received, data.Sent)
		}
	}
	server.Close()
	closed = true
	stats := server.responder.Stats()
	if stats.Authenticated != stats.Answered || stats.Interleaved < 16 || server.refused[reason.RequestAuthentication] == 0 ||
		server.refused[reason.RequestUnauthenticated] == 0 {
		t.Errorf("%+v, %v", stats, server.refused.Map())
	}
	t.Logf("%+v, %v", stats, server.refused.Map())
}
