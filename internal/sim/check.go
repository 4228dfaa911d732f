package sim

import (
	"math"

	"github.com/clockd/clockd/virtualclock"
)

// Checker holds the intervals and the continuity of one clock against the truth, with no tolerance.
type Checker struct {
	// Checks counts the sound intervals that were compared with true time, Violations those that did not contain it.
	Checks, Violations uint64
	// Jumps counts publications at which the clock was not continuous within its epoch: by more than a nanosecond, or backwards.
	Jumps uint64
	// First is the first violation; Worst is how far the truth was outside at the most, in seconds.
	First *Violation
	Worst float64
	// Found, if set, is told of every violation.
	Found func(v Violation)
}

// Violation is an interval that did not contain true time.
type Violation struct {
	// At is true time in seconds, Side where it was seen: before or after a step of the node, or at a sample.
	At   float64 `json:"at_s"`
	Side string  `json:"side"`
	// Outside is how far true time was below (negative) or above the interval, HalfWidth half of its length, Error the virtual
	// clock − true time, all in seconds.
	Outside   float64             `json:"outside_s"`
	HalfWidth float64             `json:"halfwidth_s"`
	Error     float64             `json:"error_s"`
	Status    virtualclock.Status `json:"status"`
}

// jumpLimit is the largest discontinuity that rounding explains, in seconds.
const jumpLimit = 1e-9

// check compares the interval of k at the present instant with the truth and returns it.
func (c *Checker) check(h *Host, k *virtualclock.Coefficients, side string) virtualclock.Interval {
	w := h.world
	i := k.Interval(h.Reading(w.now))
	if !i.Status.Sound() || k.Kind == virtualclock.Internal {
		return i // that of a group says nothing of true time
	}
	c.Checks++
	// The truth lies between two neighbours on the grid of 2⁻³² ns; an interval is wrong only if it misses both.
	low, exact := w.now.after(w.Epoch)
	high := low
	if !exact {
		high = up(low)
	}
	outside := 0.0
	switch {
	case high.Before(i.Earliest):
		outside = -i.Earliest.Seconds(low)
	case i.Latest.Before(low):
		outside = low.Seconds(i.Latest)
	default:
		return i
	}
	c.Violations++
	c.Worst = max(c.Worst, math.Abs(outside))
	if c.First == nil || c.Found != nil {
		v := Violation{
			At: w.now.Seconds(), Side: side, Outside: outside, HalfWidth: i.Latest.Seconds(i.Earliest) / 2,
			Error: k.Time(h.Reading(w.now)).Seconds(low), Status: i.Status,
		}
		if c.First == nil {
			c.First = &v
		}
		if c.Found != nil {
			c.Found(v)
		}
	}
	return i
}

// continuous compares two publications that follow one another at the present instant.
func (c *Checker) continuous(h *Host, old, next *virtualclock.Coefficients) {
	if old.Epoch != next.Epoch || old.Steady.Period == 0 {
		return
	}
	now := h.Reading(h.world.now)
	if d := next.Time(now).Seconds(old.Time(now)); math.Abs(d) > jumpLimit {
		c.Jumps++
	}
}
