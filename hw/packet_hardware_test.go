//go:build linux

package hw

import (
	"errors"
	"math"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/clockd/clockd/reason"
)

// TestInterfaceStamps reads drivers' answers: real ones of a veth and of an Intel i210 (ethtool -T), and partial ones.
func TestInterfaceStamps(t *testing.T) {
	const software = unix.SOF_TIMESTAMPING_TX_SOFTWARE | unix.SOF_TIMESTAMPING_RX_SOFTWARE | unix.SOF_TIMESTAMPING_SOFTWARE
	const hardware = unix.SOF_TIMESTAMPING_TX_HARDWARE | unix.SOF_TIMESTAMPING_RX_HARDWARE | unix.SOF_TIMESTAMPING_RAW_HARDWARE
	full := unix.EthtoolTsInfo{
		So_timestamping: software | hardware, Phc_index: 0,
		Tx_types:   1<<unix.HWTSTAMP_TX_OFF | 1<<unix.HWTSTAMP_TX_ON,
		Rx_filters: 1<<unix.HWTSTAMP_FILTER_NONE | 1<<unix.HWTSTAMP_FILTER_ALL,
	}
	change := func(f func(*unix.EthtoolTsInfo)) unix.EthtoolTsInfo { x := full; f(&x); return x }
	for name, c := range map[string]struct {
		info unix.EthtoolTsInfo
		want InterfaceStamps
	}{
		"i210":            {full, InterfaceStamps{true, true, true, 0}},
		"veth":            {unix.EthtoolTsInfo{So_timestamping: software, Phc_index: -1}, InterfaceStamps{true, true, false, -1}},
		"bridge":          {unix.EthtoolTsInfo{So_timestamping: unix.SOF_TIMESTAMPING_RX_SOFTWARE, Phc_index: -1}, InterfaceStamps{false, true, false, -1}},
		"no clock":        {change(func(x *unix.EthtoolTsInfo) { x.Phc_index = -1 }), InterfaceStamps{true, true, false, -1}},
		"PTP only":        {change(func(x *unix.EthtoolTsInfo) { x.Rx_filters = 1 << unix.HWTSTAMP_FILTER_PTP_V2_EVENT }), InterfaceStamps{true, true, false, 0}},
		"receive only":    {change(func(x *unix.EthtoolTsInfo) { x.Tx_types = 1 }), InterfaceStamps{true, true, false, 0}},
		"no raw hardware": {change(func(x *unix.EthtoolTsInfo) { x.So_timestamping = software }), InterfaceStamps{true, true, false, 0}},
	} {
		if got := interfaceStamps(&c.info); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// TestHardwareRefused: where there is no such card the socket works with kernel stamps and says why.
func TestHardwareRefused(t *testing.T) {
	for local, want := range map[string]string{"127.0.0.1:0": "lo", "0.0.0.0:0": "no single network card"} {
		c := listenPacket(t, local, StampOptions{Counter: packetCounter{}, Kernel: true, Hardware: true})
		if k := c.Capabilities(); k.Receive == StampHardware || !strings.Contains(k.Hardware, want) {
			t.Errorf("%s: %+v", local, k)
		}
	}
	c := listenPacket(t, "127.0.0.1:0", StampOptions{Counter: packetCounter{}, Hardware: true})
	if k := c.Capabilities(); k.Receive != StampUser || !strings.Contains(k.Hardware, "kernel stamps") {
		t.Errorf("hardware without kernel: %+v", k)
	}
	if _, err := openPHC("/dev/ptp-none"); !errors.Is(err, unix.ENOENT) {
		t.Errorf("a missing clock: %v", err)
	}
	if _, err := interfaceOf(netip.MustParseAddr("192.0.2.1")); err == nil {
		t.Error("an interface has a documentation address")
	}
}

// simulatedPHC plays the readings of a PHC whose true relation to the host's clocks is known.
type simulatedPHC struct {
	system   *systemClock
	rate     float64 // against CLOCK_MONOTONIC_RAW
	offset   int64
	delay    func() float64 // ns of one bus read
	extended bool
	lie      bool // the driver's brackets are nonsense
	fail     bool
	closed   int
	trueAt   map[int64]Ticks // what the counter was when the device said this
}

func (s *simulatedPHC) maxAdjust() float64 { return 62.5e-6 }
func (s *simulatedPHC) close() error       { s.closed++; return nil }
func (s *simulatedPHC) spin() {
	for end := s.system.counter.Read() + Ticks(s.delay()); s.system.counter.Read().Before(end); {
	}
}

func (s *simulatedPHC) now() (int64, error) {
	if s.fail {
		return 0, unix.ENODEV
	}
	s.spin()
	c := s.system.counter.Read()
	v := s.offset + int64(float64(c)*s.rate)
	s.trueAt[v] = c
	s.spin()
	return v, nil
}

func (s *simulatedPHC) sysOffset(samples *[phcSamples]phcSample) error {
	if !s.extended || s.fail {
		return unix.EOPNOTSUPP
	}
	for i := range samples {
		var a, b Bracket
		s.system.bracket(&a)
		v, err := s.now()
		if err != nil {
			return err
		}
		s.system.bracket(&b)
		samples[i] = phcSample{before: a.Realtime, device: v, after: b.Realtime}
		if s.lie {
			samples[i].before, samples[i].after = math.MaxInt64, math.MinInt64
		}
	}
	return nil
}

// TestPHCBracket: by either system call the bracket contains the true reading, also when the driver's own brackets are nonsense.
func TestPHCBracket(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, extended := range []bool{true, false} {
		for _, lie := range []bool{true, false} {
			system := newSystemClock(packetCounter{})
			device := &simulatedPHC{
				system: system, rate: 1 + 20e-6, offset: 1e15, extended: extended, lie: lie, trueAt: map[int64]Ticks{},
				delay: func() float64 { return 200 + rng.ExpFloat64()*300 },
			}
			p := newPHCClock(device, system)
			for range 300 {
				var b Bracket
				if !p.bracket(&b) {
					t.Fatal("the clock could not be read")
				}
				truth, known := device.trueAt[b.Realtime]
				if !known || truth.Before(b.Low) || b.High.Before(truth) {
					t.Fatalf("extended %v: %d is not in [%d, %d]", extended, truth, b.Low, b.High)
				}
				if b.HasMonotonic || b.Slew != 62.5e-6 {
					t.Fatalf("bracket %+v", b)
				}
			}
			if p.simple == extended {
				t.Errorf("extended %v: simple %v", extended, p.simple)
			}
			device.fail = true
			var b Bracket
			if p.bracket(&b) {
				t.Error("a clock that is gone was read")
			}
		}
	}
}

// TestHardwareStampMapping maps stamps of a simulated PHC end to end, and falls back to the kernel's when there is none.
func TestHardwareStampMapping(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	system := newSystemClock(packetCounter{})
	device := &simulatedPHC{
		system: system, rate: 1 - 30e-6, offset: 5e15, extended: true, trueAt: map[int64]Ticks{},
		delay: func() float64 { return 300 + rng.ExpFloat64()*100 },
	}
	c := listenPacket(t, "127.0.0.1:0", StampOptions{Counter: packetCounter{}, Kernel: true})
	if c.flags == 0 {
		t.Skip("this kernel gives no stamps")
	}
	c.clocks[clockHardware] = newStamper(newPHCClock(device, system), system.counter.Frequency(), StampHardware)
	c.closeClock = device.close
	c.Refresh()
	hardware := 0
	for range 300 {
		value, err := device.now()
		if err != nil {
			t.Fatal(err)
		}
		truth := device.trueAt[value]
		seen := system.counter.Read()
		d := Datagram{Stamp: Stamp{At: seen, Kind: StampUser}}
		c.stampArrival(&d, &control{hardware: value}, seen)
		if d.Stamp.Kind == StampHardware {
			hardware++
		}
		if d.Stamp.NotAfter().Before(truth) || seen.Before(d.Stamp.NotAfter()) {
			t.Fatalf("arrival at %d, not after %d, seen %d", truth, d.Stamp.NotAfter(), seen)
		}
	}
	if hardware < 250 {
		t.Errorf("%d of 300 stamps are the card's: %v", hardware, counted(c.Counts()))
	}
	d := Datagram{Stamp: Stamp{At: 1, Kind: StampUser}}
	c.stampArrival(&d, &control{}, 1)
	if d.Stamp.Kind != StampUser || d.StampReason != reason.StampMissing {
		t.Errorf("without any stamp: %+v", d)
	}
	if err := c.Close(); err != nil || device.closed != 1 {
		t.Errorf("closing: %v, the clock was closed %d times", err, device.closed)
	}
}

// TestPHCTime: the conversion of foreign times does not overflow.
func TestPHCTime(t *testing.T) {
	for _, x := range []struct {
		in   unix.PtpClockTime
		want int64
	}{
		{unix.PtpClockTime{Sec: 1_700_000_000, Nsec: 5}, 1_700_000_000_000_000_005},
		{unix.PtpClockTime{Sec: -1, Nsec: 999_999_999}, -1},
	} {
		if got := phcTime(&x.in); got != x.want {
			t.Errorf("%+v: %d", x.in, got)
		}
	}
	if a := phcTime(&unix.PtpClockTime{Sec: math.MaxInt64, Nsec: math.MaxUint32}); a < 0 {
		t.Errorf("overflow: %d", a)
	}
	if a := phcTime(&unix.PtpClockTime{Sec: math.MinInt64}); a > 0 {
		t.Errorf("overflow: %d", a)
	}
}
