package metrics

import (
	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/virtualclock"
)

// PhysicalGranularity measures g from readings of a counter. The zero value has seen none.
type PhysicalGranularity struct {
	last             hw.Ticks
	started          bool
	smallest, most   uint64
	steps, unchanged uint64
	backwards        uint64
	cost             float64 // ticks per reading
	costs            uint64
}

// Add takes the next of successive readings.
func (g *PhysicalGranularity) Add(reading hw.Ticks) {
	last := g.last
	first := !g.started
	g.last, g.started = reading, true
	switch {
	case first:
	case reading == last:
		g.unchanged++
	case reading.Before(last):
		g.backwards++
	default:
		g.step(uint64(reading - last))
		g.most = max(g.most, uint64(reading-last))
	}
}

func (g *PhysicalGranularity) step(ticks uint64) {
	if g.steps == 0 || ticks < g.smallest {
		g.smallest = ticks
	}
	g.steps++
}

// Break says that the next reading does not follow the last one: time was spent elsewhere.
func (g *PhysicalGranularity) Break() { g.started = false }

// AddBatch takes the first and the last of that many readings that were made one after the other, with nothing between them, for the
// cost of one. The cheapest batch counts: it is the one that nobody interrupted.
func (g *PhysicalGranularity) AddBatch(first, last hw.Ticks, readings int) {
	if readings < 2 || last.Before(first) {
		return
	}
	g.addCost(float64(last-first) / float64(readings-1))
}

func (g *PhysicalGranularity) addCost(ticks float64) {
	if g.costs == 0 || ticks < g.cost {
		g.cost = ticks
	}
	g.costs++
}

// AddResolution takes what hw.MeasureResolution found of a counter of that frequency. It counts as one observation.
func (g *PhysicalGranularity) AddResolution(r hw.Resolution, f hw.Frequency) {
	g.step(uint64(r.Granularity))
	g.addCost(r.ReadCost * 1e-9 * f.Hertz)
}

// PhysicalGranularityResult is g. All times are at the counter's nominal frequency.
type PhysicalGranularityResult struct {
	// TickSeconds is the smallest difference between successive readings that differ, LargestStepSeconds the largest one.
	TickSeconds        Figure `json:"tick_s"`
	LargestStepSeconds Figure `json:"largest_step_s"`
	// ReadCostSeconds is what one reading costs.
	ReadCostSeconds Figure `json:"read_cost_s"`
	// EffectiveSeconds is g as a program can use it: the larger of the tick and the cost of a reading.
	EffectiveSeconds Figure `json:"effective_s"`
	// Unchanged counts readings that were the same as the one before, Backwards those that were earlier.
	Unchanged uint64 `json:"unchanged"`
	Backwards uint64 `json:"backwards"`
}

// Result returns g for a counter of that frequency.
func (g *PhysicalGranularity) Result(f hw.Frequency) PhysicalGranularityResult {
	r := PhysicalGranularityResult{
		TickSeconds:     known(float64(g.smallest)/f.Hertz, g.steps),
		ReadCostSeconds: known(g.cost/f.Hertz, g.costs),
		Unchanged:       g.unchanged, Backwards: g.backwards,
	}
	if g.most > 0 {
		r.LargestStepSeconds = known(float64(g.most)/f.Hertz, g.steps)
	}
	if r.TickSeconds.Known && r.ReadCostSeconds.Known {
		r.EffectiveSeconds = known(max(r.TickSeconds.Value, r.ReadCostSeconds.Value), min(g.steps, g.costs))
	}
	return r
}

// VirtualGranularity measures g_v from successive readings of a virtual clock. The zero value has seen none.
type VirtualGranularity struct {
	reading              hw.Ticks
	time                 virtualclock.Time
	started              bool
	steps, ticks         increments
	unchanged, backwards uint64
}

// increments are the smallest and the largest of some numbers.
type increments struct {
	smallest, greatest float64
	count              uint64
}

func (i *increments) note(x float64) {
	if i.count == 0 || x < i.smallest {
		i.smallest = x
	}
	if i.count == 0 || x > i.greatest {
		i.greatest = x
	}
	i.count++
}

// Add takes the next of successive readings of the counter with the virtual clock's time there.
func (g *VirtualGranularity) Add(reading hw.Ticks, time virtualclock.Time) {
	lastReading, last, first := g.reading, g.time, !g.started
	g.reading, g.time, g.started = reading, time, true
	switch {
	case first:
	case time.Before(last):
		g.backwards++
	case time == last:
		g.unchanged++
	default:
		g.steps.note(time.Seconds(last))
	}
	if !first && reading == lastReading+1 && last.Before(time) {
		g.ticks.note(time.Seconds(last))
	}
}

// Break says that the next reading does not follow the last one: another epoch began, or the clock was not looked at for a while.
func (g *VirtualGranularity) Break() { g.started = false }

// VirtualGranularityResult is g_v.
type VirtualGranularityResult struct {
	// SmallestTickSeconds and LargestTickSeconds are the increments over consecutive ticks of the counter that were not zero: g_v
	// by its definition. They are unknown if no two readings were one tick apart.
	SmallestTickSeconds Figure `json:"smallest_tick_s"`
	LargestTickSeconds  Figure `json:"largest_tick_s"`
	// SmallestStepSeconds and LargestStepSeconds are the increments between successive readings that were not zero: what a program
	// that only reads can see of g_v.
	SmallestStepSeconds Figure `json:"smallest_step_s"`
	LargestStepSeconds  Figure `json:"largest_step_s"`
	// Unchanged counts readings that were the same as the one before, Backwards those that were earlier.
	Unchanged uint64 `json:"unchanged"`
	Backwards uint64 `json:"backwards"`
}

// Result returns g_v.
func (g *VirtualGranularity) Result() VirtualGranularityResult {
	return VirtualGranularityResult{
		SmallestTickSeconds: known(g.ticks.smallest, g.ticks.count), LargestTickSeconds: known(g.ticks.greatest, g.ticks.count),
		SmallestStepSeconds: known(g.steps.smallest, g.steps.count), LargestStepSeconds: known(g.steps.greatest, g.steps.count),
		Unchanged: g.unchanged, Backwards: g.backwards,
	}
}
