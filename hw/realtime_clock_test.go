//go:build linux

package hw

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestSystemClock: brackets of the real clocks are in order, agree with CrossStamp, and their step test stays quiet.
func TestSystemClock(t *testing.T) {
	for name, counter := range packetCounters(t) {
		s := newSystemClock(counter)
		m := NewRealtimeMapper(counter.Frequency())
		var last, b Bracket
		for i := range 2000 {
			if !s.bracket(&b) {
				t.Fatal("no bracket")
			}
			if b.High.Before(b.Low) || i > 0 && (b.Low.Before(last.High) || b.Monotonic < last.Monotonic) {
				t.Fatalf("%s: bracket %+v after %+v", name, b, last)
			}
			x, err := CrossStamp(counter)
			if err != nil {
				t.Fatal(err)
			}
			var c Bracket
			if !s.bracket(&c) {
				t.Fatal("no bracket")
			}
			// CrossStamp's reading of the same clock must lie where the two brackets around it prove.
			p, code := m.Map(x.Realtime, &b, &c)
			if code != 0 {
				t.Logf("%s: the wall clock was touched during the test: %v", name, code)
				continue
			}
			if (x.At + x.Error).Before(p.Low) || p.High.Before(x.At-x.Error) {
				t.Fatalf("%s: cross-stamp [%d ± %d] is outside [%d, %d]", name, x.At, x.Error, p.Low, p.High)
			}
			last = c
		}
	}
}

// TestProgrammedSlew reads adjtimex answers.
func TestProgrammedSlew(t *testing.T) {
	for _, x := range []struct {
		timex unix.Timex
		want  float64
	}{
		{unix.Timex{Tick: 10000}, 0},
		{unix.Timex{Tick: 10000, Freq: 65536 * 100}, 100e-6},
		{unix.Timex{Tick: 10000, Freq: -65536 * 500}, 500e-6},
		{unix.Timex{Tick: 9000, Freq: -65536 * 500}, 0.1005},
		{unix.Timex{Tick: 11000}, 0.1},
		{unix.Timex{Tick: 10000, Offset: 1}, SlewUnknown},
	} {
		if got := programmedSlew(&x.timex); got < x.want-1e-12 || got > x.want+1e-12 {
			t.Errorf("%+v: %v, want %v", x.timex, got, x.want)
		}
	}
}

// TestRateReading: a bracket knows the rate only if it was read at most two seconds before it, and not where it is forbidden.
func TestRateReading(t *testing.T) {
	counter := &brokenCounter{now: 1 << 40, step: 10}
	s := newSystemClock(counter)
	var b Bracket
	if !s.bracket(&b) || b.Slew < 0 || b.Slew > maxSlew {
		t.Errorf("after reading the rate: %+v", b)
	}
	counter.now += 3e9
	if !s.stale(counter.now) || !s.bracket(&b) || b.Slew != SlewUnknown {
		t.Errorf("three seconds later: %+v", b)
	}
	s.rateless = true
	if s.rate() != SlewUnknown || !s.bracket(&b) || b.Slew != SlewUnknown {
		t.Errorf("forbidden: %+v", b)
	}
}

// brokenCounter runs by a step at each reading: backwards, as a broken one might, if it is negative.
type brokenCounter struct {
	packetCounter
	now  Ticks
	step int64
}

func (c *brokenCounter) Read() Ticks { c.now = c.now.Add(c.step); return c.now }

// TestBackwardCounter: no bracket, so no kernel stamps, rather than wrong ones.
func TestBackwardCounter(t *testing.T) {
	var b Bracket
	if newSystemClock(&brokenCounter{now: 1 << 40, step: -10}).bracket(&b) {
		t.Error("a counter that runs backwards gave a bracket")
	}
	c := listenPacket(t, "127.0.0.1:0", StampOptions{Counter: &brokenCounter{now: 1 << 40, step: -10}, Kernel: true})
	if k := c.Capabilities(); k.Receive != StampUser || k.Transmit != StampUser || k.Reason == 0 {
		t.Errorf("%+v", k)
	}
}

// BenchmarkBracket is the cost of one bracket with the rate.
func BenchmarkBracket(b *testing.B) {
	counter, err := Open("auto")
	if err != nil {
		b.Fatal(err)
	}
	s := newSystemClock(counter)
	var x Bracket
	for b.Loop() {
		s.bracket(&x)
	}
}
