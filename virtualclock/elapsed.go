package virtualclock

import (
	"math"
	"time"

	"github.com/clockd/clockd/hw"
)

// Elapsed is the length of a stretch of time, measured by the difference clock, in seconds. Best is the estimate; the true length
// is in [Shortest, Longest] as long as the counter kept its drift bound and was not disrupted in between.
type Elapsed struct {
	Best     float64 `json:"best_s"`
	Shortest float64 `json:"shortest_s"`
	Longest  float64 `json:"longest_s"`
}

// Error returns the largest distance in seconds from Best to an edge.
func (e Elapsed) Error() float64 { return max(e.Longest-e.Best, e.Best-e.Shortest) }

// Duration returns Best in the standard library's type, rounded to the nearest nanosecond, saturated.
func (e Elapsed) Duration() time.Duration {
	ns := math.Round(e.Best * 1e9)
	switch {
	case ns >= 1<<63:
		return math.MaxInt64
	case ns >= -(1 << 63):
		return time.Duration(ns)
	}
	return math.MinInt64
}

// Duration returns the time from counter reading from to counter reading to, negative if to is earlier. It uses the rate only, so
// a correction of the clock's offset between the two does not enter it. Not ok: the rate or its bounds are not known.
//
// One tick is taken as the counter's granularity: each of the two events may be up to one tick after its reading. Beyond 2⁵³
// ticks Best has the precision of a float64; the edges are rounded outward.
func (k *Coefficients) Duration(from, to hw.Ticks) (e Elapsed, ok bool) {
	if k.Difference == 0 || k.Fast == 0 || k.Slow > k.Fast {
		return Elapsed{}, false
	}
	n := int64(to - from)
	if n < 0 {
		e, _ = k.Duration(to, from)
		return Elapsed{-e.Best, -e.Longest, -e.Shortest}, true
	}
	ticks := uint64(n)
	e.Best = float64(ticks) * k.Difference.Nanoseconds() * 1e-9
	e.Longest = (float64(ticks) + 1) * k.Fast.Nanoseconds() * 1e-9 * outward
	if ticks > 0 {
		e.Shortest = float64(ticks-1) * k.Slow.Nanoseconds() * 1e-9 / outward
	} else {
		e.Shortest = -e.Longest
	}
	return e, true
}
