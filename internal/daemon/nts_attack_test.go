package daemon

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/ntp"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// attacker sits on the path between clients and a server, and does with each answer what it likes.
type attacker struct {
	front   *net.UDPConn
	server  netip.AddrPort
	tamper  atomic.Pointer[func(request, answer []byte) [][]byte]
	answers atomic.Uint64
	running sync.WaitGroup

	mu      sync.Mutex
	clients map[netip.AddrPort]*net.UDPConn
	last    map[netip.AddrPort][]byte // requests
}

func attack(t *testing.T) *attacker {
	t.Helper()
	a := &attacker{clients: map[netip.AddrPort]*net.UDPConn{}, last: map[netip.AddrPort][]byte{}}
	var err error
	a.front, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(testkit.FreeUDPPort(t)))))
	if err != nil {
		t.Fatal(err)
	}
	a.honest()
	t.Cleanup(func() {
		_ = a.front.Close()
		a.mu.Lock()
		for _, c := range a.clients {
			_ = c.Close()
		}
		a.mu.Unlock()
		a.running.Wait()
	})
	return a
}

// start begins to forward to that server.
func (a *attacker) start(server netip.AddrPort) {
	a.server = server
	a.running.Go(a.forward)
}

func (a *attacker) does(f func(request, answer []byte) [][]byte) { a.tamper.Store(&f) }

func (a *attacker) honest() { a.does(func(_, answer []byte) [][]byte { return [][]byte{answer} }) }

func (a *attacker) forward() {
	buf := make([]byte, 2048)
	for {
		n, from, err := a.front.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		a.mu.Lock()
		a.last[from] = bytes.Clone(buf[:n])
		c := a.clients[from]
		if c == nil {
			if c, err = net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(a.server)); err == nil {
				a.clients[from] = c
				a.running.Go(func() { a.backward(from, c) })
			}
		}
		a.mu.Unlock()
		if c != nil {
			_, _ = c.Write(buf[:n])
		}
	}
}

func (a *attacker) backward(to netip.AddrPort, c *net.UDPConn) {
	buf := make([]byte, 2048)
	for {
		n, err := c.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		a.mu.Lock()
		request := a.last[to]
		a.mu.Unlock()
		for _, d := range (*a.tamper.Load())(request, bytes.Clone(buf[:n])) {
			_, _ = a.front.WriteToUDPAddrPort(d, to)
		}
		a.answers.Add(1)
	}
}

// TestNTSAttacks: an attacker on the path alters, strips, replays and forges. Nothing of it is believed, the interval stays true, each is named,
// and when he is gone all is as before.
func TestNTSAttacks(t *testing.T) {
	testkit.NoLeaks(t)
	ca := testkit.NewCA(t)
	certificate, key := ca.IssueNow("127.0.0.1")
	path := attack(t)
	master := launchNTS(t, certificate, key, fmt.Sprintf("ntp_server = %q\n", path.front.LocalAddr()))
	path.start(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(master.ntp)))
	join := func() *running {
		path.honest()
		follower := launch(t, Options{Config: parse(t, t.TempDir(), master.followNTS(ca, "")), Counter: skewed(t, 10)})
		follower.reach(virtualclock.Synchronised)
		if x := follower.source(); *x.Address != path.front.LocalAddr().String() {
			t.Fatalf("%s is asked, not the attacker", *x.Address)
		}
		return follower
	}
	var old []byte
	late := func(answer []byte, by uint64) []byte {
		for _, at := range []int{32, 40} {
			binary.BigEndian.PutUint64(answer[at:], binary.BigEndian.Uint64(answer[at:])+by)
		}
		return answer
	}
	bit := 0
	for _, c := range []struct {
		name string
		code reason.Code
		does func(request, answer []byte) [][]byte
	}{
		{"50 ms later", reason.NTSAuthenticator, func(_, a []byte) [][]byte { return [][]byte{late(a, 1<<32/20)} }},
		{"stripped", reason.NTSMissing, func(_, a []byte) [][]byte { return [][]byte{a[:48]} }},
		{"stripped and 50 ms later", reason.NTSMissing, func(_, a []byte) [][]byte { return [][]byte{late(a, 1<<32/20)[:48]} }},
		{"without authenticator", reason.NTSMissing, func(_, a []byte) [][]byte { return [][]byte{a[:84]} }},
		{"a bit flipped in the authenticator", reason.NTSAuthenticator, func(_, a []byte) [][]byte {
			bit = (bit + 37) % (8 * (len(a) - 92))
			a[92+bit/8] ^= 1 << (bit % 8)
			return [][]byte{a}
		}},
		{"another identifier", reason.NTSUniqueID, func(_, a []byte) [][]byte { a[60] ^= 1; return [][]byte{a} }},
		{"an old answer instead", reason.NTSUniqueID, func(_, a []byte) [][]byte {
			return [][]byte{old}
		}},
		{"an old answer with the present identifier", reason.NTSAuthenticator, func(_, a []byte) [][]byte {
			b := bytes.Clone(old)
			copy(b[48:84], a[48:84])
			copy(b[24:32], a[24:32])
			return [][]byte{b}
		}},
		{"the request sent back", reason.NTSAuthenticator, func(q, _ []byte) [][]byte {
			b := bytes.Clone(q)
			b[0] = b[0]&^7 | byte(ntp.ModeServer)
			return [][]byte{b}
		}},
		{"a forged NAK", reason.KissNTSN, func(q, a []byte) [][]byte {
			p := ntp.Packet{Leap: 3, Version: 4, Mode: ntp.ModeServer, ReferenceID: ntp.KissNTSN, Origin: ntp.Timestamp(binary.BigEndian.Uint64(q[40:]))}
			return [][]byte{append(p.Append(nil), a[48:84]...)}
		}},
	} {
		// Each has its own victim, whose cookies would soon be spent, and new keys come slower and slower.
		follower := join()
		taken := make(chan []byte, 1)
		path.does(func(_, a []byte) [][]byte {
			select {
			case taken <- bytes.Clone(a):
			default:
			}
			return [][]byte{a}
		})
		old = <-taken
		path.does(c.does)
		// What was on its way is over after one answer.
		from := path.answers.Load()
		testkit.WaitFor(t, patience20, c.name, func() bool { return path.answers.Load() > from })
		before := follower.source()
		testkit.WaitFor(t, patience20, c.name+" to be refused", func() bool {
			return follower.source().Rejections[c.code.String()] > before.Rejections[c.code.String()]+2
		})
		if x := follower.source(); x.Received != before.Received || x.NTS.Exchanges > 8 {
			t.Errorf("%s: %d answers were used, %d key exchanges", c.name, x.Received-before.Received, x.NTS.Exchanges)
		}
		if n := contained(t, master.running, follower, 20); n > 0 {
			t.Errorf("%s: %d of 20 intervals do not contain the reference's time", c.name, n)
		}
		follower.stop()
	}
	follower := join()
	// Twice the same answer: one is used.
	path.does(func(_, a []byte) [][]byte { return [][]byte{a, a} })
	testkit.WaitFor(t, 2*patience20, "a duplicate", func() bool { return follower.source().Rejections[reason.PacketDuplicate.String()] > 3 })
	if x := follower.source(); x.NTS.Cookies > 8 {
		t.Errorf("%d cookies", x.NTS.Cookies)
	}
	path.honest()
	follower.reach(virtualclock.Synchronised)
	before := follower.source().Received
	testkit.WaitFor(t, patience20, "answers afterwards", func() bool { return follower.source().Received > before+5 })
}

// Requests that are altered or sent again on their way to the server.
func TestNTSServerAgainstAlteredRequests(t *testing.T) {
	testkit.NoLeaks(t)
	ca := testkit.NewCA(t)
	certificate, key := ca.IssueNow("127.0.0.1")
	master := launchNTS(t, certificate, key, "")
	follower := launch(t, Options{Config: parse(t, t.TempDir(), master.followNTS(ca, "")), Counter: skewed(t, 0)})
	follower.reach(virtualclock.Synchronised)
	conn, err := net.Dial("udp4", fmt.Sprintf("127.0.0.1:%d", master.ntp))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	garbage := append((&ntp.Packet{Version: 4, Mode: ntp.ModeClient, Transmit: 7}).Append(nil), make([]byte, 36+108+40)...)
	fields := garbage[48:]
	for at, f := range map[int][2]uint16{0: {0x0104, 36}, 36: {0x0204, 108}, 144: {0x0404, 40}} {
		binary.BigEndian.PutUint16(fields[at:], f[0])
		binary.BigEndian.PutUint16(fields[at+2:], f[1])
	}
	binary.BigEndian.PutUint16(fields[148:], 16)
	binary.BigEndian.PutUint16(fields[150:], 16)
	if _, err := conn.Write(garbage); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(patience20))
	answer := make([]byte, 2048)
	n, err := conn.Read(answer)
	var p ntp.Packet
	if err != nil || n > len(garbage) || p.Decode(answer[:n]) != reason.OK || p.Stratum != 0 || p.ReferenceID != ntp.KissNTSN || p.Origin != 7 ||
		!bytes.Equal(answer[48:84], fields[:36]) {
		t.Errorf("a cookie of nobody was answered by %x, %v", answer[:n], err)
	}
	testkit.WaitFor(t, patience20, "the refusal to be counted", func() bool {
		return master.status().Server.Rejected[reason.RequestNTSCookie.String()] == 1
	})
	if _, err := conn.Write(garbage[:48+36+108]); err != nil {
		t.Fatal(err)
	}
	testkit.WaitFor(t, patience20, "a request without authenticator to be refused", func() bool {
		return master.status().Server.Rejected[reason.RequestNTSMalformed.String()] == 1
	})
}
