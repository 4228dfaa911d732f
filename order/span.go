package order

import (
	"fmt"

	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// outward makes a positive float64 that was rounded a few times an upper bound.
const outward = 1 + 1.0/(1<<50)

// Between returns the time from event x to event y in seconds, negative if y came first, with its limits: the true length is in
// [Shortest, Longest]. x and y may be of different hosts; their intervals must be sound and EXTERNAL. INTERNAL intervals have nothing to
// do with the length of a second, and give IntervalKind.
//
// For two events on one host the counter's difference clock is much better: virtualclock.Reader.Duration.
func Between(x, y virtualclock.Interval) (virtualclock.Elapsed, error) {
	if !x.Sound() || !y.Sound() {
		return virtualclock.Elapsed{}, fmt.Errorf("order: no duration: %w", reason.ClockUnsound)
	}
	if x.Kind != virtualclock.External || y.Kind != virtualclock.External {
		return virtualclock.Elapsed{}, fmt.Errorf("order: no duration: %w", reason.IntervalKind)
	}
	shortest, longest := y.Earliest.Seconds(x.Latest), y.Latest.Seconds(x.Earliest)
	e := virtualclock.Elapsed{Best: shortest + (longest-shortest)/2, Shortest: shortest / outward, Longest: longest * outward}
	if shortest < 0 {
		e.Shortest = shortest * outward
	}
	if longest < 0 {
		e.Longest = longest / outward
	}
	return e, nil
}
