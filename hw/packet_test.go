//go:build linux

package hw

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clockd/clockd/reason"
)

// packetCounter is CLOCK_MONOTONIC_RAW, so that these tests run where no other counter is trusted.
type packetCounter struct{}

func (packetCounter) Read() Ticks {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC_RAW, &t) != nil {
		return 0
	}
	return Ticks(t.Nano())
}
func (packetCounter) Frequency() Frequency { return Frequency{Hertz: 1e9} }
func (packetCounter) Spec() string         { return "packet-test" }

// packetCounters returns the counters to test with: the one above, and the host's best.
func packetCounters(t testing.TB) map[string]Counter {
	t.Helper()
	best, err := Open("auto")
	if err != nil {
		t.Fatalf("no counter: %v", err)
	}
	return map[string]Counter{"raw": packetCounter{}, "auto": best}
}

func listenPacket(t testing.TB, local string, opts StampOptions) *PacketConn {
	t.Helper()
	c, err := ListenUDP(netip.MustParseAddrPort(local), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func dialPacket(t testing.TB, remote netip.AddrPort, opts StampOptions) *PacketConn {
	t.Helper()
	c, err := DialUDP(netip.AddrPort{}, remote, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func needIPv6(t testing.TB) {
	t.Helper()
	l, err := net.ListenPacket("udp6", "[::1]:0")
	if err != nil {
		t.Skipf("no IPv6 loopback here: %v", err)
	}
	l.Close()
}

// packetWait bounds every wait in these tests; it is only reached when something is lost.
const packetWait = 10 * time.Second

// packetPair is a client and a server that exchange datagrams in one goroutine, with what the error queues gave.
type packetPair struct {
	t              testing.TB
	client, server *PacketConn
	poller         *Poller
	keys           [2]uint64
	buf            [2048]byte
	departed       map[uint32]Stamp // of the client
	answered       map[uint32]Stamp // of the server
}

func newPair(t testing.TB, client, server *PacketConn) *packetPair {
	t.Helper()
	p := &packetPair{t: t, client: client, server: server, departed: map[uint32]Stamp{}, answered: map[uint32]Stamp{}}
	var err error
	if p.poller, err = NewPoller(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.poller.Close() })
	for key, c := range []*PacketConn{client, server} {
		if err := p.poller.Add(c, uint64(key)); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// drain fetches the transmit stamps that are there.
func (p *packetPair) drain() {
	for c, stamps := range map[*PacketConn]map[uint32]Stamp{p.client: p.departed, p.server: p.answered} {
		for {
			id, s, err := c.TransmitStamp()
			if errors.Is(err, ErrWouldBlock) {
				break
			}
			if err != nil {
				p.t.Fatalf("transmit stamp: %v", err)
			}
			if _, twice := stamps[id]; twice {
				p.t.Fatalf("two transmit stamps for id %d", id)
			}
			stamps[id] = s
		}
	}
}

// await receives the next datagram of c.
func (p *packetPair) await(c *PacketConn) Datagram {
	p.t.Helper()
	for {
		d, err := c.Receive(p.buf[:])
		if err == nil {
			return d
		}
		if !errors.Is(err, ErrWouldBlock) {
			p.t.Fatalf("receive: %v", err)
		}
		n, _, err := p.poller.Wait(packetWait, p.keys[:])
		if err != nil || n == 0 {
			p.t.Fatalf("no datagram came: %d ready, %v", n, err)
		}
		p.drain()
	}
}

// await both queues until every departure has its stamp.
func (p *packetPair) settle(clientSent, serverSent int) {
	p.t.Helper()
	for len(p.departed) < clientSent || len(p.answered) < serverSent {
		n, _, err := p.poller.Wait(packetWait, p.keys[:])
		if err != nil || n == 0 {
			p.t.Fatalf("transmit stamps: %d of %d and %d of %d came (%v)", len(p.departed), clientSent, len(p.answered), serverSent, err)
		}
		p.drain()
	}
}

// exchange is what one round trip gave. sent and replied are the user-space departures.
type exchange struct {
	requestID, answerID uint32
	sent, replied       Stamp
	request, answer     Datagram
}

func (p *packetPair) exchange(to netip.AddrPort) exchange {
	p.t.Helper()
	var x exchange
	var err error
	if x.requestID, x.sent, err = p.client.Send(p.buf[:48], to, netip.Addr{}); err != nil {
		p.t.Fatalf("send: %v", err)
	}
	x.request = p.await(p.server)
	if x.answerID, x.replied, err = p.server.Send(p.buf[:x.request.N], x.request.From, x.request.To); err != nil {
		p.t.Fatalf("answer: %v", err)
	}
	x.answer = p.await(p.client)
	p.drain()
	return x
}

// checkOrder fails if the stamps of one host contradict cause and effect, or the user-space stamps.
func (p *packetPair) checkOrder(x exchange) {
	p.t.Helper()
	check := func(what string, departure, arrival Stamp) {
		if arrival.NotAfter().Before(departure.NotBefore()) {
			p.t.Errorf("%s %d: departed not before %d, arrived not after %d", what, x.requestID, departure.NotBefore(), arrival.NotAfter())
		}
	}
	departed, answered := p.departed[x.requestID], p.answered[x.answerID]
	check("request", departed, x.request.Stamp)
	check("answer", answered, x.answer.Stamp)
	check("request, user departure", x.sent, x.request.Stamp)
	check("answer, user departure", x.replied, x.answer.Stamp)
	if departed.NotBefore().Before(x.sent.At) || answered.NotBefore().Before(x.replied.At) {
		p.t.Errorf("exchange %d: a kernel stamp allows an earlier departure than the user's", x.requestID)
	}
	if x.replied.At.Before(x.request.Stamp.NotAfter()) || x.replied.At.Before(departed.At) {
		p.t.Errorf("exchange %d: the request came after its answer left", x.requestID)
	}
}

// widths returns median and 99th percentile of Stamp.Error in nanoseconds.
func widths(stamps []Stamp, c Counter) (median, p99 float64) {
	if len(stamps) == 0 {
		return 0, 0
	}
	slices.SortFunc(stamps, func(a, b Stamp) int { return int(int64(a.Error) - int64(b.Error)) })
	k := 1e9 / c.Frequency().Hertz
	return float64(stamps[len(stamps)/2].Error) * k, float64(stamps[len(stamps)*99/100].Error) * k
}

// run makes count exchanges, checks all their stamps and reports the widths. It returns the shares of kernel stamps.
func (p *packetPair) run(count int, to netip.AddrPort) (receive, transmit float64) {
	p.t.Helper()
	exchanges := make([]exchange, 0, count)
	for range count {
		exchanges = append(exchanges, p.exchange(to))
	}
	if p.client.Capabilities().Transmit >= StampKernel {
		p.settle(count, count)
	}
	var arrivals, departures []Stamp
	userTrip, kernelTrip := []int64{}, []int64{}
	for i, x := range exchanges {
		if int(x.requestID) != i || int(x.answerID) != i {
			p.t.Fatalf("exchange %d has ids %d and %d", i, x.requestID, x.answerID)
		}
		if p.client.Capabilities().Transmit >= StampKernel {
			p.checkOrder(x)
			if p.departed[x.requestID].Kind == StampKernel && x.answer.Stamp.Kind == StampKernel {
				departures = append(departures, p.departed[x.requestID])
				kernelTrip = append(kernelTrip, x.answer.Stamp.At.Sub(p.departed[x.requestID].At))
			}
		}
		if x.answer.Stamp.Kind == StampKernel {
			arrivals = append(arrivals, x.answer.Stamp)
		}
		userTrip = append(userTrip, x.answer.Stamp.NotAfter().Sub(x.sent.At))
	}
	c := p.client.counter
	am, a99 := widths(arrivals, c)
	dm, d99 := widths(departures, c)
	slices.Sort(kernelTrip)
	slices.Sort(userTrip)
	k := 1e9 / c.Frequency().Hertz
	if len(kernelTrip) > 0 {
		p.t.Logf("arrival error %.0f / %.0f ns, departure error %.0f / %.0f ns (median / p99); round trip by stamps %.1f us, refused %v",
			am, a99, dm, d99, float64(kernelTrip[len(kernelTrip)/2])*k/1e3, counted(p.client.Counts()))
	}
	return float64(len(arrivals)) / float64(count), float64(len(departures)) / float64(count)
}

func counted(n reason.Counts) map[string]uint64 { return n.Map() }

// TestExchanges makes 10,000 round trips on each address family and checks every stamp of every packet.
func TestExchanges(t *testing.T) {
	for name, counter := range packetCounters(t) {
		for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
			t.Run(name+" "+address, func(t *testing.T) {
				if address[0] == '[' {
					needIPv6(t)
				}
				opts := StampOptions{Counter: counter, Kernel: true}
				server := listenPacket(t, address, opts)
				if server.Capabilities().Reason != reason.OK {
					t.Skipf("this kernel gives no stamps: %v", server.Capabilities().Reason)
				}
				p := newPair(t, dialPacket(t, server.LocalAddr(), opts), server)
				receive, transmit := p.run(10000, netip.AddrPort{})
				if receive < 0.5 || transmit < 0.5 {
					t.Errorf("kernel stamps on %.1f %% of the arrivals and %.1f %% of the departures", receive*100, transmit*100)
				}
			})
		}
	}
}

// TestUserStamps: with kernel stamps off all is stamped in user space, and nothing comes from the error queue.
func TestUserStamps(t *testing.T) {
	opts := StampOptions{Counter: packetCounter{}}
	server := listenPacket(t, "127.0.0.1:0", opts)
	if c := server.Capabilities(); c.Receive != StampUser || c.Transmit != StampUser || c.Reason != reason.StampOff {
		t.Fatalf("capabilities %+v", c)
	}
	p := newPair(t, dialPacket(t, server.LocalAddr(), opts), server)
	for range 1000 {
		x := p.exchange(netip.AddrPort{})
		for _, s := range []Stamp{x.sent, x.request.Stamp, x.replied, x.answer.Stamp} {
			if s.Kind != StampUser || s.Error != 0 {
				t.Fatalf("stamp %+v", s)
			}
		}
		if x.request.Stamp.At.Before(x.sent.At) || x.answer.Stamp.At.Before(x.replied.At) {
			t.Fatalf("effect before cause: %+v", x)
		}
	}
	if len(p.departed)+len(p.answered) != 0 {
		t.Error("transmit stamps came although they are off")
	}
}

// TestCountedKeys: without explicit keys ids still match, also after failed sends.
func TestCountedKeys(t *testing.T) {
	opts := StampOptions{Counter: packetCounter{}, Kernel: true, countedKeys: true}
	server := listenPacket(t, "127.0.0.1:0", opts)
	if server.Capabilities().Transmit != StampKernel {
		t.Skip("this kernel gives no stamps")
	}
	if server.Capabilities().ExplicitKeys {
		t.Fatal("explicit keys are used although they are off")
	}
	client := listenPacket(t, "127.0.0.1:0", opts)
	p := newPair(t, client, server)
	failures := []func() error{
		func() error {
			_, _, err := client.Send(make([]byte, 66000), server.LocalAddr(), netip.Addr{})
			return err
		},
		func() error {
			_, _, err := client.Send(nil, server.LocalAddr(), netip.MustParseAddr("192.0.2.77"))
			return err
		},
		func() error {
			_, _, err := client.Send(nil, netip.MustParseAddrPort("255.255.255.255:9"), netip.Addr{})
			return err
		},
	}
	lost := 0
	for i := range 300 {
		p.departed = map[uint32]Stamp{}
		x := p.exchange(server.LocalAddr())
		for p.departed[x.requestID].Kind == StampNone {
			if n, _, err := p.poller.Wait(packetWait, p.keys[:]); n == 0 || err != nil {
				t.Fatalf("exchange %d: no stamp for id %d: %v", i, x.requestID, err)
			}
			p.drain()
		}
		p.checkOrder(x)
		if s := p.departed[x.requestID]; s.Kind != StampKernel {
			lost++
		}
		err := failures[i%len(failures)]()
		var e *NetworkError
		if !errors.As(err, &e) || !e.Transient() {
			t.Fatalf("failure %d: %v", i%len(failures), err)
		}
	}
	if lost > 60 {
		t.Errorf("%d of 300 departures have no kernel stamp: %v", lost, counted(client.Counts()))
	}
}

// TestRefused: a port where nobody listens is told as an error that does not end the socket.
func TestRefused(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		for _, kernel := range []bool{true, false} {
			if address[0] == '[' {
				needIPv6(t)
			}
			opts := StampOptions{Counter: packetCounter{}, Kernel: kernel}
			server := listenPacket(t, address, opts)
			client := dialPacket(t, server.LocalAddr(), opts)
			if err := server.Close(); err != nil {
				t.Fatal(err)
			}
			if _, _, err := client.Send([]byte("x"), netip.AddrPort{}, netip.Addr{}); err != nil {
				t.Fatalf("the first send: %v", err)
			}
			expectRefused(t, client)
			// The next send meets the pending error, goes out all the same, and is refused in its turn.
			for range 3 {
				if _, _, err := client.Send([]byte("y"), netip.AddrPort{}, netip.Addr{}); err != nil {
					t.Fatalf("a later send: %v", err)
				}
			}
			expectRefused(t, client)
			// The server comes back: the same socket works on.
			server, err := ListenUDP(client.RemoteAddr(), opts)
			if err != nil {
				t.Skipf("the port was taken meanwhile: %v", err)
			}
			t.Cleanup(func() { server.Close() })
			p := newPair(t, client, server)
			if _, _, err := client.Send([]byte("z"), netip.AddrPort{}, netip.Addr{}); err != nil {
				t.Fatalf("send after the errors: %v", err)
			}
			if d, err := receiveOne(p, server); err != nil || d.N != 1 {
				t.Fatalf("after the errors: %+v, %v", d, err)
			}
		}
	}
}

// receiveOne waits for a datagram while the other queues may hold errors.
func receiveOne(p *packetPair, c *PacketConn) (Datagram, error) {
	for range 1000 {
		d, err := c.Receive(p.buf[:])
		if !errors.Is(err, ErrWouldBlock) {
			return d, err
		}
		if n, _, err := p.poller.Wait(packetWait, p.keys[:]); err != nil || n == 0 {
			return d, errors.Join(errors.New("nothing came"), err)
		}
		for _, x := range []*PacketConn{p.client, p.server} {
			for _, _, err := x.TransmitStamp(); !errors.Is(err, ErrWouldBlock); _, _, err = x.TransmitStamp() {
			}
		}
	}
	return Datagram{}, errors.New("too many wake-ups")
}

// expectRefused drains both queues of c until ECONNREFUSED was told.
func expectRefused(t *testing.T, c *PacketConn) {
	t.Helper()
	poller, err := NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	defer poller.Close()
	if err := poller.Add(c, 9); err != nil {
		t.Fatal(err)
	}
	var keys [1]uint64
	var buf [16]byte
	refused := 0
	for refused == 0 {
		if n, _, err := poller.Wait(packetWait, keys[:]); err != nil || n == 0 {
			t.Fatalf("no ICMP error came: %v", err)
		}
		for {
			_, err := c.Receive(buf[:])
			refused += countRefused(t, err)
			_, _, err2 := c.TransmitStamp()
			refused += countRefused(t, err2)
			if errors.Is(err, ErrWouldBlock) && errors.Is(err2, ErrWouldBlock) {
				break
			}
		}
	}
}

func countRefused(t *testing.T, err error) int {
	t.Helper()
	var e *NetworkError
	switch {
	case err == nil, errors.Is(err, ErrWouldBlock):
		return 0
	case errors.As(err, &e) && errors.Is(err, unix.ECONNREFUSED):
		if !e.Transient() || e.Reason() != reason.SourceUnreachable {
			t.Fatalf("%v is not told as transient", err)
		}
		return 1
	}
	t.Fatalf("unexpected error %v", err)
	return 0
}

// TestTruncated: a datagram longer than the buffer says so; one that fits, and an empty one, do not.
func TestTruncated(t *testing.T) {
	opts := StampOptions{Counter: packetCounter{}, Kernel: true}
	server := listenPacket(t, "127.0.0.1:0", opts)
	p := newPair(t, dialPacket(t, server.LocalAddr(), opts), server)
	for _, size := range []int{0, 1, 99, 100, 101, 1400} {
		if _, _, err := p.client.Send(p.buf[:size], netip.AddrPort{}, netip.Addr{}); err != nil {
			t.Fatal(err)
		}
		var small [100]byte
		for {
			d, err := server.Receive(small[:])
			if errors.Is(err, ErrWouldBlock) {
				if n, _, err := p.poller.Wait(packetWait, p.keys[:]); n == 0 || err != nil {
					t.Fatalf("nothing came: %v", err)
				}
				p.drain()
				continue
			}
			if err != nil || d.N != min(size, 100) || d.Truncated != (size > 100) {
				t.Errorf("size %d: %+v, %v", size, d, err)
			}
			if d.From != p.client.LocalAddr() {
				t.Errorf("from %v, not %v", d.From, p.client.LocalAddr())
			}
			break
		}
	}
}

// TestWildcard: a server on all addresses answers from the address that was asked, for IPv4, IPv6 and both on one socket.
func TestWildcard(t *testing.T) {
	opts := StampOptions{Counter: packetCounter{}, Kernel: true}
	cases := []struct {
		listen string
		only6  bool
		asked  []string
	}{
		{"0.0.0.0:0", false, []string{"127.0.0.1", "127.0.0.2", "127.7.7.7"}},
		{"[::]:0", true, []string{"::1"}},
		{"[::]:0", false, []string{"::1", "127.0.0.1", "127.0.0.3"}},
	}
	for _, x := range cases {
		if x.listen[0] == '[' {
			needIPv6(t)
		}
		listen := opts
		listen.IPv6Only = x.only6
		server := listenPacket(t, x.listen, listen)
		for _, asked := range x.asked {
			address := netip.AddrPortFrom(netip.MustParseAddr(asked), server.LocalAddr().Port())
			client := dialPacket(t, address, opts) // connected: an answer from another address would not come in
			got := newPair(t, client, server).exchange(netip.AddrPort{})
			if got.request.To != address.Addr() || got.answer.From != address {
				t.Errorf("%s asked as %v: told %v, answered from %v", x.listen, address, got.request.To, got.answer.From)
			}
			if got.request.From != client.LocalAddr() || got.answer.To != client.LocalAddr().Addr() {
				t.Errorf("%s asked as %v: from %v to %v, not %v", x.listen, address, got.request.From, got.answer.To, client.LocalAddr())
			}
		}
	}
}

// TestQueued: datagrams that waited in the queue while brackets were taken keep valid stamps.
func TestQueued(t *testing.T) {
	opts := StampOptions{Counter: packetCounter{}, Kernel: true}
	server := listenPacket(t, "127.0.0.1:0", opts)
	client := dialPacket(t, server.LocalAddr(), opts)
	p := newPair(t, client, server)
	const burst = 100
	for range 20 {
		var sent [burst]Stamp
		for i := range sent {
			var err error
			if _, sent[i], err = client.Send(p.buf[:48], netip.AddrPort{}, netip.Addr{}); err != nil {
				t.Fatal(err)
			}
			if i%10 == 0 {
				server.Refresh()
			}
		}
		for i := range sent {
			d := p.await(server)
			if d.Stamp.NotAfter().Before(sent[i].NotBefore()) {
				t.Fatalf("datagram %d arrived not after %d, departed not before %d", i, d.Stamp.NotAfter(), sent[i].NotBefore())
			}
			if i+1 < burst && d.Stamp.Kind == StampKernel && d.Stamp.At.Sub(sent[i].At) < 0 {
				t.Fatalf("datagram %d: the estimate is before the departure", i)
			}
		}
		p.settle(0, 0)
	}
	if n := server.Counts(); n[reason.ClockStepped] > 200 {
		t.Errorf("%d of 2000 stamps were refused as if the clock had been stepped", n[reason.ClockStepped])
	}
}

// TestAllocations: nothing is allocated per packet.
func TestAllocations(t *testing.T) {
	for name, counter := range packetCounters(t) {
		for _, address := range []string{"127.0.0.1:0", "[::]:0"} {
			if address[0] == '[' {
				needIPv6(t)
			}
			opts := StampOptions{Counter: counter, Kernel: true}
			server := listenPacket(t, address, opts)
			to := server.LocalAddr()
			if to.Addr().IsUnspecified() {
				to = netip.AddrPortFrom(netip.IPv6Loopback(), to.Port())
			}
			client := dialPacket(t, to, opts)
			buf := make([]byte, 256)
			keys := make([]uint64, 2)
			p := newPair(t, client, server)
			wait := func(c *PacketConn) Datagram {
				for {
					d, err := c.Receive(buf)
					if err == nil {
						return d
					}
					if _, _, err := p.poller.Wait(packetWait, keys); err != nil {
						t.Fatal(err)
					}
				}
			}
			stamps := 0
			n := testing.AllocsPerRun(500, func() {
				if _, _, err := client.Send(buf[:48], netip.AddrPort{}, netip.Addr{}); err != nil {
					t.Fatal(err)
				}
				d := wait(server)
				if _, _, err := server.Send(buf[:48], d.From, d.To); err != nil {
					t.Fatal(err)
				}
				wait(client)
				for _, c := range [...]*PacketConn{client, server} {
					for _, _, err := c.TransmitStamp(); err == nil; _, _, err = c.TransmitStamp() {
						stamps++
					}
				}
			})
			if n != 0 {
				t.Errorf("%s %s: %v allocations per exchange", name, address, n)
			}
			if stamps == 0 && client.Capabilities().Transmit == StampKernel {
				t.Error("no transmit stamp was read: the count proves nothing")
			}
		}
	}
}

// TestMisuse: every wrong use is an error that tells what is wrong.
func TestMisuse(t *testing.T) {
	opts := StampOptions{Counter: packetCounter{}, Kernel: true}
	if _, err := DialUDP(netip.AddrPort{}, netip.AddrPort{}, opts); err == nil {
		t.Error("dialled nobody")
	}
	if _, err := DialUDP(netip.MustParseAddrPort("[::1]:0"), netip.MustParseAddrPort("127.0.0.1:9"), opts); err == nil {
		t.Error("dialled IPv4 from an IPv6 address")
	}
	if _, err := ListenUDP(netip.MustParseAddrPort("127.0.0.1:0"), StampOptions{}); err == nil {
		t.Error("listened without a counter")
	}
	if _, err := ListenUDP(netip.MustParseAddrPort("192.0.2.1:0"), opts); !errors.Is(err, unix.EADDRNOTAVAIL) {
		t.Errorf("listened on a foreign address: %v", err)
	}
	c := listenPacket(t, "127.0.0.1:0", opts)
	if _, err := ListenUDP(c.LocalAddr(), opts); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("a taken port: %v", err)
	}
	if _, _, err := c.Send(nil, netip.AddrPort{}, netip.Addr{}); !errors.Is(err, unix.EAFNOSUPPORT) {
		t.Errorf("send to nobody: %v", err)
	}
	if _, _, err := c.Send(nil, netip.MustParseAddrPort("[::1]:9"), netip.Addr{}); !errors.Is(err, unix.EAFNOSUPPORT) {
		t.Errorf("send to the wrong family: %v", err)
	}
	if _, _, err := c.Send(nil, c.LocalAddr(), netip.IPv6Loopback()); !errors.Is(err, unix.EAFNOSUPPORT) {
		t.Errorf("send from the wrong family: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if _, _, err := c.Send(nil, c.LocalAddr(), netip.Addr{}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("send on a closed socket: %v", err)
	}
	if _, err := c.Receive(nil); !errors.Is(err, os.ErrClosed) {
		t.Errorf("receive on a closed socket: %v", err)
	}
	if _, _, err := c.TransmitStamp(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("stamp of a closed socket: %v", err)
	}
	if err := c.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("closed twice: %v", err)
	}
}

// TestReusePort: two sockets share a port when both ask for it.
func TestReusePort(t *testing.T) {
	opts := StampOptions{Counter: packetCounter{}, ReusePort: true}
	a := listenPacket(t, "127.0.0.1:0", opts)
	listenPacket(t, a.LocalAddr().String(), opts)
}

// TestNetworkErrors: what kind of error is which.
func TestNetworkErrors(t *testing.T) {
	for errno, want := range map[unix.Errno]struct {
		transient bool
		code      reason.Code
	}{
		unix.ECONNREFUSED: {true, reason.SourceUnreachable}, unix.EHOSTUNREACH: {true, reason.SourceUnreachable},
		unix.EPERM: {true, reason.SourceSend}, unix.EMSGSIZE: {true, reason.SourceSend}, unix.EBADF: {false, reason.SourceSend},
	} {
		e := &NetworkError{Operation: "send", Errno: errno}
		if e.Transient() != want.transient || e.Reason() != want.code || !errors.Is(e, errno) {
			t.Errorf("%v: %v %v", e, e.Transient(), e.Reason())
		}
	}
}

// TestProbeStamps: the probe sees what the sockets of the other tests rely on.
func TestProbeStamps(t *testing.T) {
	p, err := ProbeStamps(StampOptions{Counter: packetCounter{}, Kernel: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", p)
	if p.Sent != probePackets || p.Capabilities.Reason == reason.OK && (p.Received == 0 || p.Transmitted == 0) {
		t.Errorf("%+v", p)
	}
	p, err = ProbeStamps(StampOptions{Counter: packetCounter{}})
	if err != nil || p.Received+p.Transmitted != 0 || p.Capabilities.Reason != reason.StampOff || p.Capabilities.Receive != StampUser {
		t.Errorf("without kernel stamps: %+v, %v", p, err)
	}
}

// BenchmarkExchange measures a round trip between two sockets of one goroutine.
func BenchmarkExchange(b *testing.B) {
	counter, err := Open("auto")
	if err != nil {
		b.Fatal(err)
	}
	for name, kernel := range map[string]bool{"kernel": true, "user": false} {
		b.Run(name, func(b *testing.B) {
			opts := StampOptions{Counter: counter, Kernel: kernel}
			server := listenPacket(b, "127.0.0.1:0", opts)
			p := newPair(b, dialPacket(b, server.LocalAddr(), opts), server)
			b.ReportAllocs()
			for b.Loop() {
				p.exchange(netip.AddrPort{})
				clear(p.departed)
				clear(p.answered)
			}
		})
	}
}

// serve answers every datagram until the poller is woken. It returns when that has happened.
func serve(server *PacketConn, poller *Poller) error {
	var buf [512]byte
	var keys [1]uint64
	for {
		_, woken, err := poller.Wait(-1, keys[:])
		if err != nil || woken {
			return err
		}
		for {
			d, err := server.Receive(buf[:])
			if err != nil {
				break
			}
			if _, _, err := server.Send(buf[:d.N], d.From, d.To); err != nil {
				return err
			}
		}
		for _, _, err := server.TransmitStamp(); err == nil; _, _, err = server.TransmitStamp() {
		}
	}
}

// BenchmarkRoundTrip measures what a client sees of a server in another goroutine: the round trip by user-space stamps and by
// kernel stamps of the same exchanges, and the widths of the latter.
func BenchmarkRoundTrip(b *testing.B) {
	counter, err := Open("auto")
	if err != nil {
		b.Fatal(err)
	}
	opts := StampOptions{Counter: counter, Kernel: true}
	server := listenPacket(b, "127.0.0.1:0", opts)
	client := dialPacket(b, server.LocalAddr(), opts)
	poller, err := NewPoller()
	if err != nil {
		b.Fatal(err)
	}
	defer poller.Close()
	if err := poller.Add(server, 0); err != nil {
		b.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- serve(server, poller) }()
	p := newPair(b, client, listenPacket(b, "127.0.0.1:0", opts))
	var user, kernel []Stamp // Error is the round trip
	var arrivals, departures []Stamp
	for b.Loop() {
		id, sent, err := client.Send(p.buf[:48], netip.AddrPort{}, netip.Addr{})
		if err != nil {
			b.Fatal(err)
		}
		d := p.await(client)
		p.drain()
		departed, ok := p.departed[id]
		if ok && departed.Kind == StampKernel && d.Stamp.Kind == StampKernel {
			user = append(user, Stamp{Error: client.counter.Read() - sent.At})
			kernel = append(kernel, Stamp{Error: d.Stamp.At - departed.At})
			arrivals, departures = append(arrivals, d.Stamp), append(departures, departed)
		}
		clear(p.departed)
	}
	b.StopTimer()
	poller.Wake()
	if err := <-done; err != nil {
		b.Error(err)
	}
	for name, stamps := range map[string][]Stamp{"user-trip": user, "kernel-trip": kernel, "arrival-error": arrivals, "departure-error": departures} {
		median, p99 := widths(stamps, counter)
		b.ReportMetric(median, name+"-median-ns")
		b.ReportMetric(p99, name+"-p99-ns")
	}
}
