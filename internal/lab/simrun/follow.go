package simrun

import (
	"errors"
	"math"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/sim"
	"github.com/clockd/clockd/metrics"
	"github.com/clockd/clockd/virtualclock"
)

// follower feeds clocks of the simulation to an Ensemble, exactly: each is a straight line from one breakpoint to the next. Breakpoints are
// publications, ends of slews, the whole seconds of the counter's life (its rate changes there), the readings after which a publication's
// status is no longer the same, and whatever happens to the host (a pause, a jump of the counter, a lie, its end). All but the second, the
// third and the fourth come with an event; these are found between the events, without putting anything into the simulation.
//
// The lines are those that the steps of the counter are on: what a program reads is up to one tick earlier.
type follower struct {
	world    *sim.World
	from     sim.Instant // when the figures begin
	clocks   []*followed
	byHost   map[*sim.Host]*followed
	ensemble *metrics.Ensemble
	reading  metrics.ReadingErrors
	begun    bool
	next     sim.Instant // the first breakpoint of all clocks
	// bound is the greatest bound that a clock claimed, in seconds; claims counts at how many limits one was seen.
	bound  float64
	claims uint64
	err    error
}

// followed is a clock.
type followed struct {
	host   *sim.Host
	number int
	// in: it is correct and synchronised, and so in the ensemble.
	in bool
	// What it was when it was looked at last: its coefficients, the counter's reading and frequency.
	k       virtualclock.Coefficients
	reading hw.Ticks
	hertz   float64
	next    sim.Instant
}

// follow prepares to follow these hosts, whose rounds, or polls, are period seconds apart.
func follow(w *sim.World, from sim.Instant, hosts []*sim.Host, period float64) (*follower, error) {
	e, err := metrics.NewEnsemble(len(hosts), metrics.EnsembleOptions{CellSeconds: period})
	if err != nil {
		return nil, err
	}
	f := &follower{world: w, from: from, byHost: map[*sim.Host]*followed{}, ensemble: e, next: from}
	for i, h := range hosts {
		c := &followed{host: h, number: i, next: sim.Never}
		f.clocks, f.byHost[h] = append(f.clocks, c), c
	}
	return f, nil
}

// stepping takes what has passed until the present event, and notes what its host's counter reads before it.
func (f *follower) stepping(h *sim.Host) {
	now := f.world.Now()
	if now >= f.next {
		f.advance(now)
	}
	if h != nil {
		if c := f.byHost[h]; c != nil && c.in {
			c.reading = h.Reading(now)
		}
		return
	}
	for _, c := range f.clocks {
		if c.in {
			c.reading = c.host.Reading(now)
		}
	}
}

// stepped looks at what an event has made of the clocks.
func (f *follower) stepped(h *sim.Host) {
	if !f.begun {
		return
	}
	if h != nil {
		if c := f.byHost[h]; c != nil {
			f.compare(c)
		}
		return
	}
	for _, c := range f.clocks {
		f.compare(c)
	}
}

// compare begins a new segment if the clock is not what it was before the event.
func (f *follower) compare(c *followed) {
	now := f.world.Now()
	in := c.counts(now)
	if in == c.in && (!in || c.k == c.host.Publication.Clock && c.reading == c.host.Reading(now) && c.hertz == c.host.Hertz(now)) {
		return
	}
	if c.in {
		f.claim(c, c.reading) // the limit from the left
	}
	f.set(c, now, in)
}

// advance passes all breakpoints up to now.
func (f *follower) advance(now sim.Instant) {
	if !f.begun && now >= f.from {
		f.begun = true
		for _, c := range f.clocks {
			f.set(c, f.from, c.counts(f.from))
		}
	}
	for f.begun && f.err == nil {
		var first *followed
		for _, c := range f.clocks {
			if c.in && (first == nil || c.next < first.next) {
				first = c
			}
		}
		if first == nil {
			f.next = sim.Never
			return
		}
		if f.next = first.next; f.next > now {
			return
		}
		at := first.next
		f.claim(first, first.host.Reading(at))
		f.set(first, at, first.counts(at))
	}
}

// counts reports whether the clock counts at an instant: it is correct, and says that it is synchronised; one that follows masters also
// while it holds over, since its bound is a promise then, too.
func (c *followed) counts(at sim.Instant) bool {
	h := c.host
	if !h.Published || h.Paused() || h.Publication.Clock.Steady.Period == 0 {
		return false
	}
	status := h.Publication.Clock.Interval(h.Reading(at)).Status
	if m := h.Member(); m != nil {
		return m.Settled() && status == virtualclock.Synchronised
	}
	return status.Sound()
}

// set begins the clock's next segment, or lets it leave.
func (f *follower) set(c *followed, at sim.Instant, in bool) {
	truth := f.world.Truth(at)
	if !in {
		if c.in {
			f.fail(f.ensemble.End(c.number, truth))
		}
		c.in, c.next = false, sim.Never
		return
	}
	h := c.host
	reading, part := h.Phase(at)
	c.in, c.k, c.reading, c.hertz = true, h.Publication.Clock, reading, h.Hertz(at)
	s := metrics.SegmentOf(&c.k, reading, truth, c.hertz)
	line := &c.k.Steady
	if reading.Before(c.k.SlewEnd) {
		line = &c.k.Slew
	}
	s.Clock = s.Clock.AddSeconds(part * line.Period.Nanoseconds() * 1e-9)
	f.fail(f.ensemble.Begin(c.number, s))
	f.claim(c, reading)
	c.next = c.breakpoint(at)
	f.next = min(f.next, c.next)
}

// breakpoint is the first instant after at at which the clock's line ends by itself.
func (c *followed) breakpoint(at sim.Instant) sim.Instant {
	h := c.host
	next := h.NextRate(at)
	end := c.k.VoidAfter
	if h.Member() != nil {
		end = hw.Earlier(end, c.k.StaleAfter)
	}
	for _, reading := range []hw.Ticks{c.k.SlewEnd, end.Add(1)} {
		if c.reading.Before(reading) && !h.Reading(next).Before(reading) {
			next = min(next, h.When(reading, at, next-at))
		}
	}
	return max(next, at+1)
}

// claim notes the bound that the clock claims at a reading. In between the edges of the interval and the clock are straight lines, so that
// the distance to the farther edge is greatest at one end.
func (f *follower) claim(c *followed, reading hw.Ticks) {
	i := c.k.Interval(reading)
	if !i.Status.Sound() || c.k.Kind == virtualclock.Internal {
		return
	}
	v := c.k.Time(reading)
	f.bound = max(f.bound, v.Seconds(i.Earliest), i.Latest.Seconds(v))
	f.claims++
}

// result ends the figures at the present instant.
func (f *follower) result() (metrics.EnsembleResult, error) {
	now := f.world.Now()
	f.advance(now)
	for _, c := range f.clocks {
		if c.in {
			f.claim(c, c.host.Reading(now))
		}
	}
	if f.err != nil {
		return metrics.EnsembleResult{}, f.err
	}
	return f.ensemble.Result(f.world.Truth(now))
}

func (f *follower) fail(err error) { f.err = errors.Join(f.err, err) }

// granularity looks at a counter over a few ticks just before the present instant.
type granularity struct {
	physical metrics.PhysicalGranularity
	virtual  metrics.VirtualGranularity
	looks    int
}

// The looks at a counter: as many in a run, with so many readings each, a quarter of a tick apart.
const (
	granularityLooks    = 64
	granularityReadings = 16
)

// look reads the counter, and the clock that the host shows.
func (g *granularity) look(h *sim.Host, now sim.Instant) {
	quarter := max(sim.Seconds(0.25/h.Nominal()), 1)
	if g.looks >= granularityLooks || !h.Published || h.Paused() || h.Publication.Clock.Steady.Period == 0 || now < granularityReadings*quarter {
		return
	}
	g.looks++
	for i := range sim.Instant(granularityReadings) {
		r := h.Reading(now - (granularityReadings-1-i)*quarter)
		g.physical.Add(r)
		g.virtual.Add(r, h.Publication.Clock.Time(r))
	}
	g.physical.Break()
	g.virtual.Break()
}

// rateBound bounds max(|r − 1|, |1/r − 1|) where a counter is wrong by rho, the rate correction is at most correction, and a slew slew.
func rateBound(rho, correction, slew float64) float64 {
	high := (1+rho)*(1+correction)*(1+slew) - 1
	low := (1 - rho) * (1 - correction) * (1 - slew)
	if low <= 0 {
		return math.Inf(1)
	}
	return max(high, 1/low-1)
}
