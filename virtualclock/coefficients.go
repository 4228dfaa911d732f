package virtualclock

import (
	"fmt"
	"math"
	"math/bits"

	"github.com/clockd/clockd/hw"
)

// Period is the length of one tick in nanoseconds as a fixed-point number with 48 fractional bits: from 2⁻⁴⁸ ns to 65 µs, with
// a resolution of 10⁻¹⁴ for a counter of 2.6 GHz.
type Period uint64

const periodOne = 1 << 48

// PeriodOf returns the period of a counter of that many hertz, rounded to the nearest.
func PeriodOf(hertz float64) Period { return Period(math.Round(1e9 / hertz * periodOne)) }

// Nanoseconds returns the period as a floating-point number.
func (p Period) Nanoseconds() float64 { return float64(p) / periodOne }

// Scale returns p·(1+y), rounded to the nearest, computed so that a small y keeps its precision.
func (p Period) Scale(y float64) Period { return Period(int64(p) + int64(math.Round(float64(p)*y))) }

// ticks returns how long n ticks are: whole nanoseconds and a fraction in 2⁻³² ns, rounded down.
func (p Period) ticks(n uint64) (ns int64, frac uint32) {
	hi, lo := bits.Mul64(n, uint64(p))
	return int64(hi<<16 | lo>>48), uint32(lo >> 16)
}

// after returns t + n ticks of period p, rounded down to 2⁻³² ns.
func (t Time) after(n uint64, p Period) Time {
	ns, frac := p.ticks(n)
	f := uint64(t.frac) + uint64(frac)
	return Time{t.ns + ns + int64(f>>32), uint32(f)}
}

// before returns t − n ticks of period p, rounded up to 2⁻³² ns.
func (t Time) before(n uint64, p Period) Time {
	ns, frac := p.ticks(n)
	f := uint64(t.frac) - uint64(frac)
	return Time{t.ns - ns - int64(f>>63), uint32(f)}
}

// Line maps counter readings to times: Time(c) = T0 + (c − C0)·Period, exact to 2⁻³² ns (64×64→128 bits).
type Line struct {
	C0     hw.Ticks `json:"c0"`
	T0     Time     `json:"t0"`
	Period Period   `json:"period"`
}

// At returns the time at counter reading c.
func (l *Line) At(c hw.Ticks) Time {
	if d := int64(c - l.C0); d < 0 {
		return l.T0.before(uint64(-d), l.Period)
	}
	return l.T0.after(uint64(c-l.C0), l.Period)
}

// Status says what a clock's interval is worth.
type Status uint8

// The statuses, in the order in which trust grows.
const (
	// Unsynchronised: the interval says nothing.
	Unsynchronised Status = iota
	// Disrupted: something happened to the counter or the host (Reason says what); the interval says nothing until the next
	// synchronisation, and what was read before may have been wrong.
	Disrupted
	// Holdover: no fresh sample; the interval holds and grows.
	Holdover
	// Synchronised: the interval holds and is being renewed.
	Synchronised
)

// String returns unsynchronised, disrupted, holdover or synchronised.
func (s Status) String() string {
	switch s {
	case Synchronised:
		return "synchronised"
	case Holdover:
		return "holdover"
	case Disrupted:
		return "disrupted"
	case Unsynchronised:
		return "unsynchronised"
	}
	return fmt.Sprintf("status_%d", uint8(s))
}

// MarshalText writes the status' name.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a status' name.
func (s *Status) UnmarshalText(b []byte) error {
	for _, x := range []Status{Unsynchronised, Disrupted, Holdover, Synchronised} {
		if x.String() == string(b) {
			*s = x
			return nil
		}
	}
	return fmt.Errorf("virtualclock: no status is called %q", b)
}

// Sound reports whether an interval with this status contains true time.
func (s Status) Sound() bool { return s >= Holdover }

// Epoch counts the steps of a virtual clock: within one epoch the clock is continuous and monotone.
type Epoch uint32

// Interval is what a clock knows at one reading of its counter: true time was in [Earliest, Latest] if Status is sound. If it is
// not, the interval is [MinTime, MaxTime].
type Interval struct {
	Earliest, Latest Time
	Epoch            Epoch
	Status           Status
}

// void is the interval that says nothing.
func void(s Status, e Epoch) Interval { return Interval{minTime, maxTime, e, s} }

// Coefficients is everything that turns a counter reading into a virtual time, an interval and a status: a snapshot of a
// Clock, small enough to be copied, and the content of the shared page.
type Coefficients struct {
	// Slew is the virtual clock up to SlewEnd, Steady after it; they meet there. While no correction is being amortised the
	// two are the same line.
	Slew    Line     `json:"slew"`
	SlewEnd hw.Ticks `json:"slew_end"`
	Steady  Line     `json:"steady"`

	// At is the reading at which Earliest and Latest bound true time. From there the lower edge advances by Slow per tick and
	// the upper edge by Fast per tick: the slowest and the fastest that the raw counter can be (theory 2.3).
	At               hw.Ticks `json:"at"`
	Earliest, Latest Time
	Slow, Fast       Period

	// Difference is the best estimate of the counter's period, never corrected for offset: for durations.
	Difference Period `json:"difference"`

	// StaleAfter: past this reading the status is at best Holdover. VoidAfter: past it, Unsynchronised.
	StaleAfter hw.Ticks `json:"stale_after"`
	VoidAfter  hw.Ticks `json:"void_after"`

	Epoch  Epoch  `json:"epoch"`
	Status Status `json:"status"`
}

// Time returns the virtual clock at counter reading c. It is meaningful only while the status is sound.
func (k *Coefficients) Time(c hw.Ticks) Time {
	if c.Before(k.SlewEnd) {
		return k.Slew.At(c)
	}
	return k.Steady.At(c)
}

// Interval returns the bounds and the status at counter reading c.
func (k *Coefficients) Interval(c hw.Ticks) Interval {
	if !k.Status.Sound() {
		return void(k.Status, k.Epoch)
	}
	if int64(c-k.VoidAfter) > 0 {
		return void(Unsynchronised, k.Epoch)
	}
	s := k.Status
	if int64(c-k.StaleAfter) > 0 {
		s = Holdover
	}
	if d := int64(c - k.At); d < 0 {
		n := uint64(-d)
		return Interval{k.Earliest.before(n, k.Fast), k.Latest.before(n, k.Slow), k.Epoch, s}
	}
	n := uint64(c - k.At)
	return Interval{k.Earliest.after(n, k.Slow), k.Latest.after(n, k.Fast), k.Epoch, s}
}
