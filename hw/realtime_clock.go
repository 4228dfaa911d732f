//go:build linux

package hw

import (
	"math"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// bracketTries is how many brackets are tried; the first that is narrow enough ends the search.
	bracketTries = 4
	// narrowFactor: a bracket up to this factor wider than the narrowest ever seen is narrow enough.
	narrowFactor = 1.25
	// rateAge, in seconds, is how old the reading of the programmed rate may be for a bracket before an event.
	rateAge = 2
)

// stampClock is a clock in which packets are stamped.
type stampClock interface {
	// bracket reads the clock against the counter; false means that it cannot be read now, and stamps must not be mapped. Its
	// Slew is that of the last reading of the rate, if it is young enough.
	bracket(b *Bracket) bool
	// stale reports whether the reading of the rate is too old at c.
	stale(c Ticks) bool
	// rate reads the programmed rate now, and returns its error's size or SlewUnknown.
	rate() float64
}

// systemClock reads CLOCK_REALTIME and CLOCK_MONOTONIC together, through the vDSO (CrossStamp does the first alone), and the
// rate that the kernel is programmed to slew them at. The rate is read seldom: adjtimex(2) costs ten brackets, because the
// kernel hashes the answer into its entropy pool.
type systemClock struct {
	counter  Counter
	origin   time.Time
	narrow   float64 // in ticks; 0 until the first bracket
	timex    unix.Timex
	slew     float64
	slewAt   Ticks
	slewAge  Ticks
	rateless bool // adjtimex is forbidden here
}

func newSystemClock(c Counter) *systemClock {
	s := &systemClock{counter: c, origin: time.Now(), slewAge: Ticks(rateAge * c.Frequency().Hertz)}
	s.rate()
	return s
}

// bracket fills b with the narrowest of a few tries. It does not allocate.
func (s *systemClock) bracket(b *Bracket) bool {
	width := int64(math.MaxInt64)
	var now time.Time
	for range bracketTries {
		low := s.counter.Read()
		t := time.Now()
		high := s.counter.Read()
		if w := high.Sub(low); w >= 0 && w < width {
			width, now, b.Low, b.High = w, t, low, high
		}
		if float64(width) <= s.narrow*narrowFactor {
			break
		}
	}
	if width == math.MaxInt64 {
		return false
	}
	if s.narrow == 0 || float64(width) < s.narrow {
		s.narrow = max(float64(width), 1)
	} else {
		s.narrow += (float64(width) - s.narrow) / 1024 // a slower CPU or clock source is learned in the end
	}
	b.Realtime = now.UnixNano()
	b.Monotonic, b.HasMonotonic = int64(now.Sub(s.origin)), true
	b.Slew = SlewUnknown
	if !s.stale(b.Low) {
		b.Slew = s.slew
	}
	return true
}

func (s *systemClock) stale(c Ticks) bool { return c-s.slewAt > s.slewAge }

// rate returns the size of the relative rate error that adjtimex(2) shows, or SlewUnknown.
func (s *systemClock) rate() float64 {
	s.slewAt, s.slew = s.counter.Read(), SlewUnknown
	if s.rateless {
		return s.slew
	}
	s.timex.Modes = 0
	if _, err := unix.Adjtimex(&s.timex); err != nil {
		s.rateless = true // seccomp or systemd's ProtectClock= forbids the call: it will not change its mind
		return s.slew
	}
	s.slew = programmedSlew(&s.timex)
	return s.slew
}

// programmedSlew computes the rate error from the kernel's answer: tick is in microseconds per 1/100 s (USER_HZ), freq in ppm
// with a fraction of 16 bits (adjtimex(2)). A pending phase correction (offset) is amortised at a rate that is not told.
func programmedSlew(t *unix.Timex) float64 {
	const nominalTick, freqPerUnit = 10000, 65536e6
	if t.Offset != 0 {
		return SlewUnknown
	}
	return math.Abs(float64(t.Tick)/nominalTick - 1 + float64(t.Freq)/freqPerUnit)
}
