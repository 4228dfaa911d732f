package virtualclock

import (
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// Time is an instant on the virtual timeline: nanoseconds since the Unix epoch (UTC, leap seconds not counted) with a binary
// fraction of 32 bits, that is 0.23 attoseconds times 10⁹. It is comparable with ==; the zero value is the Unix epoch, not
// "missing".
type Time struct {
	ns   int64
	frac uint32
}

// The ends of the timeline. An interval that says nothing reaches from MinTime to MaxTime.
var (
	minTime = Time{math.MinInt64, 0}
	maxTime = Time{math.MaxInt64, math.MaxUint32}
)

// MinTime returns the earliest Time.
func MinTime() Time { return minTime }

// MaxTime returns the latest Time.
func MaxTime() Time { return maxTime }

// Unix returns the Time that is ns nanoseconds and frac/2³² nanoseconds after the Unix epoch.
func Unix(ns int64, frac uint32) Time { return Time{ns, frac} }

// FromTime converts a wall-clock time of the standard library; its monotonic reading is ignored.
func FromTime(t time.Time) Time { return Time{t.UnixNano(), 0} }

// UnixNano returns whole nanoseconds since the Unix epoch, rounded down.
func (t Time) UnixNano() int64 { return t.ns }

// Fraction returns the fraction of a nanosecond in units of 2⁻³² ns.
func (t Time) Fraction() uint32 { return t.frac }

// Time converts to the standard library's type, rounded down to nanoseconds, in UTC.
func (t Time) Time() time.Time { return time.Unix(0, t.ns).UTC() }

// Before reports t < u.
func (t Time) Before(u Time) bool { return t.ns < u.ns || t.ns == u.ns && t.frac < u.frac }

// After reports t > u.
func (t Time) After(u Time) bool { return u.Before(t) }

// Compare returns −1, 0 or +1.
func (t Time) Compare(u Time) int {
	switch {
	case t.Before(u):
		return -1
	case u.Before(t):
		return 1
	}
	return 0
}

// Add returns t + d, saturated at the ends of the timeline.
func (t Time) Add(d time.Duration) Time {
	s := t.ns + int64(d)
	if d > 0 && s < t.ns {
		return maxTime
	}
	if d < 0 && s > t.ns {
		return minTime
	}
	return Time{s, t.frac}
}

// Sub returns t − u rounded down to nanoseconds, saturated.
func (t Time) Sub(u Time) time.Duration {
	d, borrow := bits.Sub64(uint64(t.frac), uint64(u.frac), 0)
	_ = d
	hi := new128(t.ns).sub(u.ns, int64(borrow))
	return time.Duration(hi)
}

type wide struct{ v int64 }

func new128(v int64) wide { return wide{v} }

func (w wide) sub(u, borrow int64) int64 {
	d := w.v - u
	if (w.v >= 0) != (u >= 0) && (d >= 0) != (w.v >= 0) {
		if w.v >= 0 {
			return math.MaxInt64
		}
		return math.MinInt64
	}
	if borrow != 0 && d == math.MinInt64 {
		return d
	}
	return d - borrow
}

// Seconds returns t − u in seconds. The difference is exact before it is rounded to a float64.
func (t Time) Seconds(u Time) float64 {
	f := (float64(t.frac) - float64(u.frac)) / (1 << 32)
	d := new128(t.ns).sub(u.ns, 0)
	whole, rest := d/1e9, d%1e9
	return float64(whole) + (float64(rest)+f)/1e9
}

// AddSeconds returns t + s for s in seconds, rounded to 2⁻³² ns, saturated. NaN gives t.
func (t Time) AddSeconds(s float64) Time {
	if s != s {
		return t
	}
	if s >= math.MaxInt64/1e9 {
		return maxTime
	}
	if s <= math.MinInt64/1e9 {
		return minTime
	}
	whole := math.Floor(s)
	ns := (s - whole) * 1e9
	n := math.Floor(ns)
	f := uint64(math.Round((ns-n)*(1<<32))) + uint64(t.frac)
	r := t.Add(time.Duration(int64(whole))*time.Second + time.Duration(int64(n)) + time.Duration(f>>32))
	if r != maxTime && r != minTime {
		r.frac = uint32(f)
	}
	return r
}

// String returns UTC with nanoseconds.
func (t Time) String() string {
	switch t {
	case minTime:
		return "-inf"
	case maxTime:
		return "+inf"
	}
	return t.Time().Format("2006-01-02T15:04:05.000000000Z")
}

// MarshalText writes decimal nanoseconds since the Unix epoch with up to ten decimals, enough to read back the same value.
func (t Time) MarshalText() ([]byte, error) {
	b := strconv.AppendInt(nil, t.ns, 10)
	if t.frac != 0 {
		// f/2³² with 10 digits is unique: 10¹⁰ > 2³².
		d := (uint64(t.frac)*10_000_000_000 + 1<<31) >> 32
		b = append(b, '.')
		b = append(b, strings.TrimRight(fmt.Sprintf("%010d", d), "0")...)
	}
	return b, nil
}

// UnmarshalText reads what MarshalText writes.
func (t *Time) UnmarshalText(b []byte) error {
	whole, dec, _ := strings.Cut(string(b), ".")
	ns, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return fmt.Errorf("virtualclock: %q is not a time in nanoseconds: %w", b, err)
	}
	var frac uint64
	if dec != "" {
		if len(dec) > 10 {
			return fmt.Errorf("virtualclock: %q has more than 10 decimals", b)
		}
		d, err := strconv.ParseUint(dec+strings.Repeat("0", 10-len(dec)), 10, 64)
		if err != nil {
			return fmt.Errorf("virtualclock: %q is not a time in nanoseconds: %w", b, err)
		}
		frac = min((d<<32+5_000_000_000)/10_000_000_000, math.MaxUint32)
	}
	*t = Time{ns, uint32(frac)}
	return nil
}
