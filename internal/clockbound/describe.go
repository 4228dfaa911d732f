package clockbound

import (
	"math"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/virtualclock"
)

// readings are of one moment: the other clocks were read between Low and High of the counter, MONOTONIC_COARSE before them.
type readings struct {
	low, high hw.Ticks
	realtime  int64 // ns
	asOf      int64 // CLOCK_MONOTONIC_COARSE, ns
	// coarse is the resolution of that clock, ns.
	coarse int64
	// rate is the relative frequency at which the kernel is programmed to run CLOCK_REALTIME against its counter.
	rate      float64
	frequency hw.Frequency
}

// unknown is a segment that says nothing.
func unknown(s Status, asOf int64) Segment { return Segment{AsOf: asOf, VoidAfter: asOf, Status: s} }

// describe says how far the system's clock can be from true time, and how fast that can grow if others slew it by up to slew beyond
// the programmed rate.
func describe(k *virtualclock.Coefficients, r *readings, slew float64) Segment {
	low, high := k.Interval(r.low), k.Interval(r.high)
	switch {
	case low.Status == virtualclock.Disrupted || high.Status == virtualclock.Disrupted:
		return unknown(Disrupted, r.asOf)
	case !low.Sound() || !high.Sound() || k.Kind != virtualclock.External:
		return unknown(Unknown, r.asOf)
	}
	status := Synchronised
	if high.Status == virtualclock.Holdover {
		status = FreeRunning
	}
	drift := drift(k, r, slew)
	if !(drift < 0.5) {
		return unknown(Unknown, r.asOf)
	}
	// The clock read realtime, rounded down, while true time was between low.Earliest and high.Latest.
	real := virtualclock.Unix(r.realtime, 0)
	ahead, behind := real.Seconds(low.Earliest)*1e9+1, high.Latest.Seconds(real)*1e9
	// A reader's coarse clock may be behind by its resolution, and so may ours: bounds seem younger than they are.
	ppb := math.Ceil(drift * 1e9)
	bound := math.Ceil(max(ahead, behind)*(1+1e-12)) + math.Ceil(ppb*2e-9*float64(r.coarse)) + 2
	if !(bound < 1<<62) {
		return unknown(Unknown, r.asOf)
	}
	left := float64(k.VoidAfter.Sub(r.high)) / r.frequency.Hertz * (1 - drift) * 1e9
	return Segment{AsOf: r.asOf, VoidAfter: r.asOf + int64(min(left, 1e18)), Bound: int64(bound), MaxDriftPPB: uint32(ppb), Status: status}
}

// drift is by how much CLOCK_REALTIME may run away from true time at most, relative to CLOCK_MONOTONIC: both are slewed alike.
func drift(k *virtualclock.Coefficients, r *readings, slew float64) float64 {
	hertz := r.frequency.Hertz
	// The counter against true time, by its nominal frequency, which the kernel's own idea of it agrees with up to the error.
	counter := max(math.Abs(1-k.Slow.Nanoseconds()*hertz*1e-9), math.Abs(k.Fast.Nanoseconds()*hertz*1e-9-1)) + r.frequency.ErrorPPB*1e-9
	kernel := math.Abs(r.rate) + slew
	x := counter + kernel + 2*counter*kernel
	return x / (1 - x)
}
