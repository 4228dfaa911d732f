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
)

// stampClock is a clock in which packets are stamped. bracket reads it against the counter; false means that it cannot be read
// now, and stamps must not be mapped.
type stampClock interface {
	bracket(b *Bracket) bool
}

// systemClock reads CLOCK_REALTIME and CLOCK_MONOTONIC together, through the vDSO, and the rate that the kernel is programmed
// to slew them at. CrossStamp does the first alone.
type systemClock struct {
	counter  Counter
	origin   time.Time
	narrow   float64 // in ticks; 0 until the first bracket
	timex    unix.Timex
	rateless bool // adjtimex is forbidden here
}

func newSystemClock(c Counter) *systemClock { return &systemClock{counter: c, origin: time.Now()} }

// bracket fills b with the narrowest of a few tries. It does not allocate.
//
// The rate is read after the clock, so it lies inside the window that this bracket opens, and one change of the rate at most
// between two brackets also covers the moment until the second one's rate was read.
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
	b.Slew = s.slew()
	return true
}

// slew returns the size of the relative rate error that adjtimex(2) shows, or SlewUnknown.
func (s *systemClock) slew() float64 {
	if s.rateless {
		return SlewUnknown
	}
	s.timex.Modes = 0
	if _, err := unix.Adjtimex(&s.timex); err != nil {
		s.rateless = true // seccomp or systemd's ProtectClock= forbids the call: it will not change its mind
		return SlewUnknown
	}
	return programmedSlew(&s.timex)
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
