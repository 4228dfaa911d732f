package clocktest

import (
	"math"

	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// Forge returns a clock that makes another one's intervals narrower than they are, about their middle, to factor of their width: 0.1 claims a
// tenth of the error. It is for tests that must see what goes wrong then. Intervals that are not sound stay as they are.
func Forge(clock virtualclock.Source, factor float64) virtualclock.Reasoner {
	return forged{clock, factor}
}

type forged struct {
	clock  virtualclock.Source
	factor float64
}

func (f forged) Now() virtualclock.Interval {
	i, _ := f.NowReason()
	return i
}

func (f forged) NowReason() (virtualclock.Interval, reason.Code) {
	var i virtualclock.Interval
	why := reason.OK
	if r, ok := f.clock.(virtualclock.Reasoner); ok {
		i, why = r.NowReason()
	} else {
		i = f.clock.Now()
	}
	if !i.Sound() {
		return i, why
	}
	half := i.Latest.Seconds(i.Earliest) / 2
	middle := i.Earliest.AddSeconds(half)
	half *= math.Max(f.factor, 0)
	i.Earliest, i.Latest = middle.AddSeconds(-half), middle.AddSeconds(half)
	return i, why
}
