//go:build linux

package hw

import (
	"errors"
	"math"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func newPollerForTest(t *testing.T, milliseconds bool) *Poller {
	t.Helper()
	p, err := NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	p.milliseconds = milliseconds
	t.Cleanup(func() { p.Close() })
	return p
}

// TestPoller runs all behaviours with both system calls.
func TestPoller(t *testing.T) {
	for _, milliseconds := range []bool{false, true} {
		testPollerReady(t, milliseconds)
		testPollerTransmit(t, milliseconds)
		testPollerTimeout(t, milliseconds)
		testPollerWake(t, milliseconds)
	}
}

// testPollerReady: each ready socket is reported by its key, again and again until it is drained.
func testPollerReady(t *testing.T, milliseconds bool) {
	p := newPollerForTest(t, milliseconds)
	opts := StampOptions{Counter: packetCounter{}}
	var conns []*PacketConn
	var want []uint64
	for i := range 5 {
		c := listenPacket(t, "127.0.0.1:0", opts)
		key := math.MaxUint64 - uint64(i)
		if err := p.Add(c, key); err != nil {
			t.Fatal(err)
		}
		conns, want = append(conns, c), append(want, key)
	}
	for _, c := range conns {
		if _, _, err := conns[0].Send([]byte("x"), c.LocalAddr(), netip.Addr{}); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(want)
	for range 3 {
		keys := make([]uint64, 16)
		n, woken, err := p.Wait(packetWait, keys)
		keys = keys[:n]
		slices.Sort(keys)
		if err != nil || woken || !slices.Equal(keys, want) {
			t.Fatalf("ready %v, woken %v, %v; want %v", keys, woken, err, want)
		}
	}
	// With room for one key at a time none is starved.
	seen := map[uint64]bool{}
	for i := 0; i < 1000 && len(seen) < len(want); i++ {
		var one [1]uint64
		if n, _, err := p.Wait(packetWait, one[:]); n != 1 || err != nil {
			t.Fatalf("%d ready, %v", n, err)
		}
		seen[one[0]] = true
	}
	if len(seen) != len(want) {
		t.Errorf("only %d of %d sockets were reported one at a time", len(seen), len(want))
	}
	var buf [8]byte
	for i, c := range conns {
		if i == 1 {
			if err := p.Remove(c); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if _, err := c.Receive(buf[:]); err != nil {
			t.Fatal(err)
		}
	}
	if n, woken, err := p.Wait(0, make([]uint64, 16)); n != 0 || woken || err != nil {
		t.Errorf("after draining: %d, %v, %v", n, woken, err)
	}
	if err := p.Remove(conns[1]); err == nil {
		t.Error("removed twice")
	}
}

// testPollerTransmit: a pending transmit stamp alone makes a socket ready.
func testPollerTransmit(t *testing.T, milliseconds bool) {
	p := newPollerForTest(t, milliseconds)
	opts := StampOptions{Counter: packetCounter{}, Kernel: true}
	server := listenPacket(t, "127.0.0.1:0", opts)
	if server.Capabilities().Transmit != StampKernel {
		t.Skip("this kernel gives no stamps")
	}
	client := dialPacket(t, server.LocalAddr(), opts)
	if err := p.Add(client, 3); err != nil {
		t.Fatal(err)
	}
	var keys [4]uint64
	for i := range uint32(100) {
		if _, _, err := client.Send([]byte("x"), netip.AddrPort{}, netip.Addr{}); err != nil {
			t.Fatal(err)
		}
		n, _, err := p.Wait(packetWait, keys[:])
		if n != 1 || keys[0] != 3 || err != nil {
			t.Fatalf("ready %v, %v", keys[:n], err)
		}
		if id, s, err := client.TransmitStamp(); err != nil || id != i || s.Kind == StampNone {
			t.Fatalf("stamp %d: %+v, %v", id, s, err)
		}
		if n, _, err := p.Wait(0, keys[:]); n != 0 || err != nil {
			t.Fatalf("after the stamp: %d, %v", n, err)
		}
	}
}

// testPollerTimeout: Wait never returns before its time when nothing happens.
func testPollerTimeout(t *testing.T, milliseconds bool) {
	p := newPollerForTest(t, milliseconds)
	for _, d := range []time.Duration{0, 1, 50 * time.Microsecond, 1500 * time.Microsecond, 3 * time.Millisecond} {
		start := time.Now()
		n, woken, err := p.Wait(d, make([]uint64, 1))
		if n != 0 || woken || err != nil || time.Since(start) < d {
			t.Errorf("timeout %v: %d, %v, %v after %v", d, n, woken, err, time.Since(start))
		}
	}
	if _, _, err := p.Wait(0, nil); err == nil {
		t.Error("no room for keys is no error")
	}
}

// testPollerWake: wakes from many goroutines end a Wait without limit, are remembered, and count as one.
func testPollerWake(t *testing.T, milliseconds bool) {
	p := newPollerForTest(t, milliseconds)
	keys := make([]uint64, 1)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 100 {
				p.Wake()
			}
		})
	}
	if _, woken, err := p.Wait(-1, keys); !woken || err != nil {
		t.Errorf("woken %v, %v", woken, err)
	}
	group.Wait()
	for _, want := range []bool{true, false} {
		p.Wake()
		if !want {
			p.Wait(0, keys) // takes the wake
		}
		if _, woken, err := p.Wait(0, keys); woken != want || err != nil {
			t.Errorf("woken %v, want %v, %v", woken, want, err)
		}
	}
}

// TestPollerClosed: every use after Close is an error and none hits another's descriptor; descriptors do not leak.
func TestPollerClosed(t *testing.T) {
	count := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("no /proc")
		}
		return len(list)
	}
	c := listenPacket(t, "127.0.0.1:0", StampOptions{Counter: packetCounter{}})
	before, goroutines := count(), runtime.NumGoroutine()
	for range 50 {
		p, err := NewPoller()
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Add(c, 1); err != nil {
			t.Fatal(err)
		}
		if err := p.Add(c, 2); !errors.Is(err, unix.EEXIST) {
			t.Errorf("added twice: %v", err)
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		p.Wake()
		if err := errors.Join(p.Add(c, 1)); !errors.Is(err, os.ErrClosed) {
			t.Errorf("add: %v", err)
		}
		if err := p.Remove(c); !errors.Is(err, os.ErrClosed) {
			t.Errorf("remove: %v", err)
		}
		if err := p.Close(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("close: %v", err)
		}
		x, err := ListenUDP(netip.MustParseAddrPort("127.0.0.1:0"), StampOptions{Counter: packetCounter{}, Kernel: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if after := count(); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		t.Errorf("%d goroutines before, %d after", goroutines, n)
	}
}

// TestMilliseconds: rounded up, never down, and no overflow.
func TestMilliseconds(t *testing.T) {
	for d, want := range map[time.Duration]int{
		-1: -1, 0: 0, 1: 1, time.Millisecond: 1, time.Millisecond + 1: 2, time.Second: 1000, math.MaxInt64: math.MaxInt32 - 1, math.MinInt64: -1,
	} {
		if got := milliseconds(d); got != want {
			t.Errorf("%v: %d, want %d", d, got, want)
		}
	}
}
