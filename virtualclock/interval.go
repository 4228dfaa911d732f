package virtualclock

import (
	"math"
	"time"
)

// outward makes a positive float64 that was rounded a few times an upper bound.
const outward = 1 + 1.0/(1<<50)

// Sound reports whether true time was in the interval.
func (i Interval) Sound() bool { return i.Status.Sound() }

// After reports that t has certainly passed: even the earliest possible true time is later. False if the interval is not sound.
func (i Interval) After(t Time) bool { return i.Sound() && t.Before(i.Earliest) }

// Before reports that t has certainly not come yet: even the latest possible true time is earlier. False if the interval is not
// sound. After and Before both false means that the clock cannot tell.
func (i Interval) Before(t Time) bool { return i.Sound() && i.Latest.Before(t) }

// Contains reports whether t may be true time; any time may be if the interval is not sound.
func (i Interval) Contains(t Time) bool { return !t.Before(i.Earliest) && !i.Latest.Before(t) }

// Width returns Latest − Earliest in seconds, rounded up, +Inf if the interval is not sound.
func (i Interval) Width() float64 {
	if !i.Sound() {
		return math.Inf(1)
	}
	return i.Latest.Seconds(i.Earliest) * outward
}

// Bound returns the largest distance in seconds from t to an edge of the interval: the largest error of t as a reading of true
// time. It is +Inf if the interval is not sound.
func (i Interval) Bound(t Time) float64 {
	if !i.Sound() {
		return math.Inf(1)
	}
	return max(i.Latest.Seconds(t), t.Seconds(i.Earliest)) * outward
}

// Since returns the least and the most time that can have passed from t to the interval's instant, rounded outward to
// nanoseconds and saturated; negative while t may be in the future. Not ok if the interval is not sound.
func (i Interval) Since(t Time) (least, most time.Duration, ok bool) {
	if !i.Sound() {
		return math.MinInt64, math.MaxInt64, false
	}
	least = i.Earliest.Sub(t)
	// Sub rounds down, so the negated difference the other way round is rounded up.
	if back := t.Sub(i.Latest); back == math.MinInt64 {
		most = math.MaxInt64
	} else {
		most = -back
	}
	return least, most, true
}
