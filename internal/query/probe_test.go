package query

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// prober is one on this machine's raw clock.
func prober(t *testing.T) *Prober {
	t.Helper()
	counter, err := hw.Open("monotonic_raw")
	if err != nil {
		t.Fatal(err)
	}
	return NewProber(counter, 10*time.Second)
}

// offsets returns the interval that one exchange proves for the server's clock − the system clock, in seconds.
func offsets(p *Probe) (low, high float64) {
	serverError := rootDistance(&p.Header) + precision(&p.Header)
	receive := virtualclock.Unix(p.Header.Receive.Unix(p.Cross.Realtime))
	transmit := virtualclock.Unix(p.Header.Transmit.Unix(p.Cross.Realtime))
	// The counter is CLOCK_MONOTONIC_RAW, which differs from the system clock's rate by a few hundred ppm at most.
	wall := func(c hw.Ticks) virtualclock.Time { return virtualclock.Unix(p.Cross.Realtime+c.Sub(p.Cross.At), 0) }
	doubt := float64(p.Cross.Error)*1e-9 + 1e-3*float64(p.Arrived.At.Sub(p.Departed.At))*1e-9
	return transmit.Seconds(wall(p.Arrived.NotAfter())) - serverError - doubt, receive.Seconds(wall(p.Departed.NotBefore())) + serverError + doubt
}

// A real server's clock is in the interval that the stamps on the counter prove: 0 for this machine's own, 20 s for one that is
// 20 s ahead.
func TestProbeOfRealServers(t *testing.T) {
	testkit.NoLeaks(t)
	server := testkit.StartChronyd(t, testkit.ChronyOptions{LocalStratum: 5})
	ahead := testkit.ShiftProxy(t, server.Address(), 20*time.Second)
	p := prober(t)
	for address, truth := range map[string]float64{server.Address(): 0, ahead.Address(): 20} {
		kernel := 0
		for range 5 {
			r := p.Probe(t.Context(), netip.MustParseAddrPort(address))
			if r.Code != reason.OK || !r.Sent || !r.Answered || r.Header.Stratum != 5 {
				t.Fatalf("%+v", r)
			}
			if low, high := offsets(&r); truth < low || truth > high || high-low > 5 {
				t.Errorf("[%v, %v] does not contain %v: %+v", low, high, truth, r)
			}
			if r.Departed.Kind != hw.StampUser || r.Arrived.Kind == hw.StampNone || r.Arrived.NotAfter().Before(r.Departed.At) {
				t.Errorf("stamps %+v, %+v", r.Departed, r.Arrived)
			}
			if r.Arrived.Kind == hw.StampKernel {
				kernel++
			}
		}
		if kernel == 0 { // a busy machine may lose some
			t.Error("no arrival has the kernel's stamp")
		}
	}
}

func TestProbeTellsWhatFails(t *testing.T) {
	p := prober(t)
	kiss := startHostile(t, func(_ int, g []byte) [][]byte { return [][]byte{with(with(g, 1, 0), 12, 'R', 'A', 'T', 'E')} })
	r := p.Probe(t.Context(), netip.MustParseAddrPort(kiss.address()))
	if r.Code != reason.KissRate || !Refuses(r.Code) || !r.Answered || kiss.count() != 1 {
		t.Errorf("RATE: %+v", r)
	}
	r = p.Probe(t.Context(), netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(testkit.FreeUDPPort(t))))
	if r.Code != reason.SourceUnreachable || r.Answered || Refuses(r.Code) {
		t.Errorf("nobody: %+v", r)
	}
	stray := startHostile(t, func(_ int, g []byte) [][]byte { return [][]byte{with(g, 24, 1, 2), g} })
	r = p.Probe(t.Context(), netip.MustParseAddrPort(stray.address()))
	if r.Code != reason.OK || r.Stray[reason.PacketOrigin] != 1 {
		t.Errorf("a stray datagram before the answer: %+v", r)
	}
	nowhere := netip.MustParseAddrPort("[fe80::1%nosuch]:123")
	if r = p.Probe(t.Context(), nowhere); r.Code != reason.SourceSend || r.Sent || HasRoute(nowhere) == nil {
		t.Errorf("no route: %+v", r)
	}
	if err := HasRoute(netip.MustParseAddrPort(kiss.address())); err != nil {
		t.Errorf("loopback has no route: %v", err)
	}
}

func TestProbeIsCancelled(t *testing.T) {
	testkit.NoLeaks(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	server := startHostile(t, func(int, []byte) [][]byte { cancel(); return nil })
	if r := prober(t).Probe(ctx, netip.MustParseAddrPort(server.address())); r.Code != reason.SourceWaiting || !r.Sent {
		t.Errorf("%+v", r)
	}
}

// backwardsCounter is broken: each reading is before the last.
type backwardsCounter struct{ *hw.Manual }

func (c backwardsCounter) Read() hw.Ticks { return c.Advance(-1) }

func TestProbeOnABrokenCounter(t *testing.T) {
	server := startHostile(t, func(_ int, g []byte) [][]byte { return [][]byte{g} })
	p := NewProber(backwardsCounter{hw.NewManual(hw.Frequency{Hertz: 1e9})}, 10*time.Second)
	if r := p.Probe(t.Context(), netip.MustParseAddrPort(server.address())); r.Code != reason.CounterBackwards {
		t.Errorf("%+v", r)
	}
}

func TestCheckHost(t *testing.T) {
	for _, good := range []string{"pool.ntp.org", "192.0.2.1", "[2001:db8::1]:123", "2001:db8::1", "a.test:5"} {
		if err := CheckHost(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", ":123", "a.test:0", "a.test:70000", "two words", "http://a.test"} {
		if err := CheckHost(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
