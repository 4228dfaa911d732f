package hw

import (
	"fmt"
	"math"
	"time"

	"github.com/clockd/clockd/reason"
)

// crossStampBrackets is how many brackets CrossStamp tries. The first ones warm the caches; more than a few gain nothing.
const crossStampBrackets = 6

// CrossReading says that CLOCK_REALTIME passed through Realtime (nanoseconds since the Unix epoch) when the counter was
// between At − Error and At + Error. The error is a worst case: it is the width of the bracket in which both were read, rounded
// outward, with the nanosecond to which the clock is rounded down.
type CrossReading struct {
	At       Ticks `json:"at"`
	Realtime int64 `json:"realtime_ns"`
	Error    Ticks `json:"error"`
}

// CrossStamp reads c and CLOCK_REALTIME together: of several brackets the narrowest is returned. It makes no system call (where
// the kernel offers the clock in user space) and does not allocate. It fails if the counter went backwards in every bracket.
func CrossStamp(c Counter) (CrossReading, error) {
	width := int64(math.MaxInt64)
	var first Ticks
	var wall time.Time
	for range crossStampBrackets {
		before := c.Read()
		now := time.Now()
		after := c.Read()
		if w := after.Sub(before); w >= 0 && w < width {
			width, first, wall = w, before, now
		}
	}
	if width == math.MaxInt64 {
		return CrossReading{}, fmt.Errorf("hw: cross-stamp: %w", reason.CounterBackwards)
	}
	return crossReading(first, uint64(width), wall.UnixNano(), c.Frequency().Hertz), nil
}

// crossReading turns a bracket into a reading with its error. A clock that reads r passed through r up to one nanosecond before
// it was read; a counter may be a quarter faster than its nominal frequency says (more than any Skewed).
func crossReading(first Ticks, width uint64, realtime int64, hertz float64) CrossReading {
	nanosecond := uint64(math.Ceil(hertz * 1.25e-9))
	whole := width + nanosecond
	return CrossReading{
		At:       first - Ticks(nanosecond) + Ticks(whole/2),
		Realtime: realtime,
		Error:    Ticks(whole - whole/2),
	}
}

// CrossStampWith is CrossStamp for another clock: read returns it in nanoseconds since the Unix epoch, rounded down.
func CrossStampWith(c Counter, read func() (int64, error)) (CrossReading, error) {
	width := int64(math.MaxInt64)
	var first Ticks
	var clock int64
	for range crossStampBrackets {
		before := c.Read()
		now, err := read()
		after := c.Read()
		if err != nil {
			return CrossReading{}, fmt.Errorf("hw: cross-stamp: %w", err)
		}
		if w := after.Sub(before); w >= 0 && w < width {
			width, first, clock = w, before, now
		}
	}
	if width == math.MaxInt64 {
		return CrossReading{}, fmt.Errorf("hw: cross-stamp: %w", reason.CounterBackwards)
	}
	return crossReading(first, uint64(width), clock, c.Frequency().Hertz), nil
}
