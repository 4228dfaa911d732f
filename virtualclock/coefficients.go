package virtualclock

import (
	"fmt"
	"math"
	"math/bits"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
)

// Period is the length of one tick in nanoseconds as a fixed-point number with 48 fractional bits: from 2⁻⁴⁸ ns to 65 µs, with
// a resolution of 10⁻¹⁴ for a counter of 2.6 GHz.
type Period uint64

const periodOne = 1 << 48

// PeriodOf returns the period of a counter of that many hertz, rounded to the nearest; 0 if that is not a period: hertz is not
// a positive number, or is below 15.3 kHz.
func PeriodOf(hertz float64) Period {
	p := math.Round(1e9 / hertz * periodOne)
	if !(hertz > 0 && p < 1<<64) {
		return 0
	}
	return Period(p)
}

// Nanoseconds returns the period as a floating-point number.
func (p Period) Nanoseconds() float64 { return float64(p) / periodOne }

// Scale returns p·(1+y), rounded to the nearest, computed so that a small y keeps its precision. It is saturated: never
// negative, never above the largest Period. NaN gives p.
func (p Period) Scale(y float64) Period {
	d := math.Round(float64(p) * math.Abs(y))
	switch {
	case d != d:
		return p
	case y < 0 && d >= float64(p):
		return 0
	case y < 0:
		return p - Period(d)
	case d >= 1<<64 || p+Period(d) < p:
		return math.MaxUint64
	}
	return p + Period(d)
}

// ticks returns how long n ticks are: whole nanoseconds and a fraction in 2⁻³² ns, rounded down. A length that is longer than
// the whole timeline comes back as MaxUint64.
func (p Period) ticks(n uint64) (ns uint64, frac uint32) {
	hi, lo := bits.Mul64(n, uint64(p))
	if hi>>48 != 0 {
		return math.MaxUint64, math.MaxUint32
	}
	return hi<<16 | lo>>48, uint32(lo >> 16)
}

// ticksUp is ticks rounded up.
func (p Period) ticksUp(n uint64) (ns uint64, frac uint32) {
	hi, lo := bits.Mul64(n, uint64(p))
	lo, carry := bits.Add64(lo, 1<<16-1, 0)
	hi += carry
	if hi>>48 != 0 {
		return math.MaxUint64, math.MaxUint32
	}
	return hi<<16 | lo>>48, uint32(lo >> 16)
}

// after returns t + n ticks of period p, rounded down to 2⁻³² ns, saturated.
func (t Time) after(n uint64, p Period) Time { return t.plus(p.ticks(n)) }

// afterUp is after rounded up.
func (t Time) afterUp(n uint64, p Period) Time { return t.plus(p.ticksUp(n)) }

// before returns t − n ticks of period p, rounded up to 2⁻³² ns, saturated.
func (t Time) before(n uint64, p Period) Time { return t.minus(p.ticks(n)) }

// beforeDown is before rounded down.
func (t Time) beforeDown(n uint64, p Period) Time { return t.minus(p.ticksUp(n)) }

// Line maps counter readings to times: Time(c) = T0 + (c − C0)·Period, exact to 2⁻³² ns (64×64→128 bits), monotone, saturated
// at the ends of the timeline. Readings up to 2⁶³ ticks on either side of C0 are meant.
type Line struct {
	C0     hw.Ticks `json:"c0"`
	T0     Time     `json:"t0"`
	Period Period   `json:"period"`
}

// At returns the time at counter reading c: rounded down to 2⁻³² ns after C0, up before it.
func (l *Line) At(c hw.Ticks) Time {
	if d := int64(c - l.C0); d < 0 {
		return l.T0.before(-uint64(d), l.Period)
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
func (s Status) Sound() bool { return s == Holdover || s == Synchronised }

// Kind says what an interval bounds.
type Kind uint8

// The kinds.
const (
	// External: true time (UTC) was in the interval.
	External Kind = iota
	// Internal: the interval says nothing of true time. The clock is that of a group of peers without masters, and the intervals of
	// all its correct members have a point in common at every instant.
	Internal
)

// String returns EXTERNAL or INTERNAL.
func (k Kind) String() string {
	if k == External {
		return "EXTERNAL"
	}
	return "INTERNAL"
}

// Epoch counts the steps of a virtual clock: within one epoch the clock is continuous and monotone.
type Epoch uint32

// Interval is what a clock knows at one reading of its counter: true time was in [Earliest, Latest] if Status is sound. If it is
// not, the interval is [MinTime, MaxTime]. For an interval of the kind Internal "true time" is only that of the group.
type Interval struct {
	Earliest, Latest Time
	Epoch            Epoch
	Standing
}

// Standing is what an interval is worth, and what it bounds. It is a struct of its own because the compiler keeps no struct of
// more than four fields in registers.
type Standing struct {
	Status Status
	Kind   Kind
}

// void is the interval that says nothing.
func void(s Status, e Epoch) Interval { return Interval{minTime, maxTime, e, Standing{Status: s}} }

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
	// Kind says what Earliest and Latest bound.
	Kind Kind `json:"kind,omitempty"`
}

// Time returns the virtual clock at counter reading c. It is meaningful only while the status is sound; a clock that was never
// set (its period is 0) gives MinTime.
func (k *Coefficients) Time(c hw.Ticks) Time {
	l := &k.Steady
	if c.Before(k.SlewEnd) {
		l = &k.Slew
	}
	if l.Period == 0 {
		return minTime
	}
	return l.At(c)
}

// Interval returns the bounds and the status at counter reading c. Earliest is rounded down and Latest up. Coefficients that
// contradict themselves (Earliest after Latest) give an interval that says nothing.
func (k *Coefficients) Interval(c hw.Ticks) Interval {
	i, _ := k.judge(c)
	return i
}

// judge is Interval with the reason for a status below Synchronised, OK if only the maker of the coefficients knows.
func (k *Coefficients) judge(c hw.Ticks) (Interval, reason.Code) {
	if !k.Status.Sound() {
		return void(k.Status, k.Epoch), reason.OK
	}
	if int64(c-k.VoidAfter) > 0 {
		return void(Unsynchronised, k.Epoch), reason.PageVoid
	}
	i, why := Interval{Epoch: k.Epoch, Standing: Standing{k.Status, k.Kind}}, reason.OK
	if i.Status == Synchronised && int64(c-k.StaleAfter) > 0 {
		i.Status, why = Holdover, reason.Stale
	}
	if d := int64(c - k.At); d < 0 {
		i.Earliest, i.Latest = k.Earliest.beforeDown(-uint64(d), k.Fast), k.Latest.before(-uint64(d), k.Slow)
	} else {
		i.Earliest, i.Latest = k.Earliest.after(uint64(d), k.Slow), k.Latest.afterUp(uint64(d), k.Fast)
	}
	if i.Latest.Before(i.Earliest) {
		return void(Unsynchronised, k.Epoch), reason.Contradiction
	}
	return i, why
}
