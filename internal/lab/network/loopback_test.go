package network

import (
	"bytes"
	"crypto/rand"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/delay"
	"github.com/clockd/clockd/internal/testkit"
)

// patience ends a test that hangs.
const patience = 30 * time.Second

// echo answers every datagram with itself until the test ends.
func echo(t *testing.T, conn *net.UDPConn) {
	t.Helper()
	var running sync.WaitGroup
	running.Go(func() {
		buffer := make([]byte, 65_536)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buffer)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				_, _ = conn.WriteToUDPAddrPort(buffer[:n], from)
			}
		}
	})
	t.Cleanup(func() {
		_ = conn.Close()
		running.Wait()
	})
}

func listen(t *testing.T, address string) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address)))
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func addressOf(conn *net.UDPConn) netip.AddrPort { return conn.LocalAddr().(*net.UDPAddr).AddrPort() }

// relayed is a client that reaches an echo server, host 1, through a relay of host 0.
func relayed(t *testing.T, o Options) (*Loopback, *net.UDPConn) {
	t.Helper()
	server := listen(t, "127.0.0.1:0")
	s, err := NewLoopback(2, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	echo(t, server)
	at, err := s.Relay(0, 1, addressOf(server))
	if err != nil {
		t.Fatal(err)
	}
	client, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(at))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return s, client
}

// read returns the next datagram, nil if none comes within a while.
func read(t *testing.T, conn *net.UDPConn, limit time.Duration) []byte {
	t.Helper()
	buffer := make([]byte, 65_536)
	if err := conn.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	n, err := conn.Read(buffer)
	if err != nil {
		return nil
	}
	return buffer[:n]
}

// settle waits until nothing is under way.
func settle(t *testing.T, s *Links) {
	t.Helper()
	testkit.WaitFor(t, patience, "the last packet", func() bool { return s.Total().Queued == 0 })
}

// TestRelayForwardsUnchanged: packets of all lengths come back as they were, and never sooner than the laws say.
func TestRelayForwardsUnchanged(t *testing.T) {
	testkit.NoLeaks(t)
	s, client := relayed(t, Options{Seed: testkit.Seed(t)})
	least := 3 * time.Millisecond
	if err := errors.Join(s.Set(0, 1, Law{Delay: delay.Constant(2e-3)}), s.Set(1, 0, Law{Added: time.Millisecond})); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 1, 48, 1500, smallPacket, smallPacket + 1, 9000, 65_507} {
		packet := make([]byte, n)
		_, _ = rand.Read(packet)
		begin := time.Now()
		if _, err := client.Write(packet); err != nil {
			t.Fatal(err)
		}
		got := read(t, client, patience)
		if took := time.Since(begin); got == nil || !bytes.Equal(got, packet) || took < least {
			t.Errorf("%d bytes: %d came back after %v, %v is the least", n, len(got), took, least)
		}
	}
	settle(t, s.Links)
	for _, c := range []Counters{s.Counters(0, 1), s.Counters(1, 0)} {
		if c.Received != 8 || c.Forwarded != 8 || c.Queued != 0 {
			t.Errorf("%+v", c)
		}
	}
}

// TestTravelsAreTold: of every packet, from where to where and how long it took, and nobody waits for who does not listen.
func TestTravelsAreTold(t *testing.T) {
	testkit.NoLeaks(t)
	told := make(chan Travel, 6)
	s, client := relayed(t, Options{Travelled: told})
	if err := errors.Join(s.Set(0, 1, Law{Delay: delay.Constant(2e-3)}), s.Set(1, 0, Law{Added: time.Millisecond})); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if _, err := client.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if read(t, client, patience) == nil {
			t.Fatal("nothing came back")
		}
	}
	settle(t, s.Links)
	for i := range 6 {
		x := <-told
		least := []float64{2e-3, 1e-3}[i%2]
		if x.From != i%2 || x.To != 1-i%2 || x.Seconds < least || x.Seconds > patience.Seconds() {
			t.Errorf("%+v, want at least %g s", x, least)
		}
	}
	if len(told) != 0 || s.Total().Forwarded != 10 {
		t.Errorf("%d more are told, %d forwarded", len(told), s.Total().Forwarded)
	}
}

// TestRelayObeysItsSettings: while it runs, a link is cut, loses everything, sends everything twice, and is good again.
func TestRelayObeysItsSettings(t *testing.T) {
	testkit.NoLeaks(t)
	s, client := relayed(t, Options{Seed: testkit.Seed(t)})
	serial := byte(0)
	ask := func(answers int, what string) {
		t.Helper()
		serial++
		if _, err := client.Write([]byte{serial}); err != nil {
			t.Fatal(err)
		}
		if answers == 0 {
			testkit.WaitFor(t, patience, what, func() bool { return s.Counters(0, 1).Received == uint64(serial) && s.Total().Queued == 0 })
			if got := read(t, client, 20*time.Millisecond); got != nil {
				t.Errorf("%s: %v came back", what, got)
			}
			return
		}
		for range answers {
			if got := read(t, client, patience); !slices.Equal(got, []byte{serial}) {
				t.Errorf("%s: %v came back, want %d", what, got, serial)
			}
		}
	}
	set := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ask(1, "a good link")
	set(s.Partition([]int{0}))
	ask(0, "a partition")
	set(s.Partition())
	ask(1, "a whole network")
	set(s.Cut(1, 0, true))
	ask(0, "a cut way back")
	set(s.Cut(1, 0, false))
	set(s.Set(0, 1, Law{Loss: 1}))
	ask(0, "a link that loses all")
	set(s.Set(0, 1, Law{Duplicate: 1}))
	ask(2, "a link that doubles all")
	set(s.SetAll(Law{Duplicate: 1}))
	ask(4, "two of them")
	set(s.SetAll(Law{}))
	ask(1, "a good link again")
	settle(t, s.Links)
	there, back := s.Counters(0, 1), s.Counters(1, 0)
	if there.Cut != 1 || back.Cut != 1 || there.Lost != 1 || there.Duplicated != 2 || back.Duplicated != 2 {
		t.Errorf("%+v there, %+v back", there, back)
	}
	for _, c := range []Counters{there, back} {
		if c.Received+c.Duplicated != c.Forwarded+c.Lost+c.Cut+c.Overflowed+c.Refused+c.Queued {
			t.Errorf("packets are missing: %+v", c)
		}
	}
}

// TestRelayOutlivesItsServer: nobody listens yet, then somebody does, dies and returns, and the client moves to another port.
func TestRelayOutlivesItsServer(t *testing.T) {
	testkit.NoLeaks(t)
	first := listen(t, "127.0.0.1:0")
	address := addressOf(first)
	_ = first.Close()
	s, err := NewLoopback(2, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	at, err := s.Relay(0, 1, address)
	if err != nil {
		t.Fatal(err)
	}
	answered := func() bool {
		client, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(at))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = client.Close() }()
		if _, err := client.Write([]byte("?")); err != nil {
			t.Fatal(err)
		}
		return string(read(t, client, 50*time.Millisecond)) == "?"
	}
	for range 3 {
		if answered() {
			t.Fatal("nobody answered")
		}
	}
	for range 2 {
		t.Run("", func(t *testing.T) {
			echo(t, listen(t, address.String()))
			testkit.WaitFor(t, patience, "an answer", answered)
		})
		for range 3 {
			if answered() {
				t.Fatal("the dead answered")
			}
		}
	}
}

// TestQueueIsBounded: who sends faster than a slow link delivers loses packets, which are counted, and memory does not grow.
func TestQueueIsBounded(t *testing.T) {
	testkit.NoLeaks(t)
	s, client := relayed(t, Options{})
	if err := s.Set(0, 1, Law{Added: maxAdded}); err != nil {
		t.Fatal(err)
	}
	packet := make([]byte, 48)
	testkit.WaitFor(t, patience, "the queue to be full", func() bool {
		for range 200 {
			if _, err := client.Write(packet); err != nil {
				t.Fatal(err)
			}
		}
		return s.Counters(0, 1).Overflowed > 100
	})
	c := s.Counters(0, 1)
	if c.Queued != maxQueuedPackets || c.Forwarded != 0 {
		t.Errorf("%+v", c)
	}
	begin := time.Now()
	if err := s.Close(); err != nil || time.Since(begin) > patience {
		t.Errorf("closed with %v after %v", err, time.Since(begin))
	}
}

// TestLoopbackCloses: no descriptor is left, whatever was under way; after that nothing works, with an error.
func TestLoopbackCloses(t *testing.T) {
	testkit.NoLeaks(t)
	before := descriptors(t)
	for range 20 {
		s, err := NewLoopback(3, Options{RealTime: true})
		if err != nil {
			t.Fatal(err)
		}
		for to := range 3 {
			at, err := s.Relay(0, to, netip.MustParseAddrPort("127.0.0.1:9"))
			if err != nil {
				t.Fatal(err)
			}
			client, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(at))
			if err != nil {
				t.Fatal(err)
			}
			_, _ = client.Write([]byte("x"))
			_ = client.Close()
		}
		if err := errors.Join(s.Close(), s.Close()); err != nil {
			t.Errorf("closing twice: %v", err)
		}
		if _, err := s.Relay(0, 1, netip.MustParseAddrPort("127.0.0.1:9")); !errors.Is(err, os.ErrClosed) {
			t.Errorf("a relay in a closed network: %v", err)
		}
	}
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func TestRelaysThatCannotBe(t *testing.T) {
	if _, err := NewLoopback(0, Options{}); err == nil {
		t.Error("a network of nobody")
	}
	s, err := NewLoopback(2, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if _, err := s.Relay(0, 2, netip.MustParseAddrPort("127.0.0.1:9")); err == nil {
		t.Error("a relay to nobody")
	}
	if _, err := s.Relay(0, 1, netip.MustParseAddrPort("[::1]:9")); err == nil {
		t.Error("a relay to an IPv6 address")
	}
}

// TestSettingsMayChangeUnderWay is for the race detector.
func TestSettingsMayChangeUnderWay(t *testing.T) {
	testkit.NoLeaks(t)
	s, client := relayed(t, Options{Seed: testkit.Seed(t)})
	laws := []Law{{Delay: mustParse(t, "exp(20us)"), Loss: 0.1}, {Duplicate: 0.5, Ordered: true}, {Added: time.Millisecond}}
	var users sync.WaitGroup
	for k := range 3 {
		users.Go(func() {
			for i := range 200 {
				_ = s.SetAll(laws[(i+k)%3])
				_ = s.Partition([]int{i % 2})
				_ = s.Partition()
				_, _ = s.Total(), s.Law(0, 1)
			}
		})
	}
	users.Go(func() {
		for range 500 {
			_, _ = client.Write([]byte("x"))
		}
	})
	users.Wait()
}

func descriptors(t *testing.T) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}
