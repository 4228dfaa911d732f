package course

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"

	"github.com/clockd/clockd/internal/lab/report"
	"github.com/clockd/clockd/internal/sim"
	"github.com/clockd/clockd/virtualclock"
)

// stream is a random stream of the run's seed with a name of its own.
func (r *run) stream(name string) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	return rand.New(rand.NewPCG(r.options.Seed, h.Sum64()))
}

// length writes a length of time for a scenario's file.
func length(s float64) string { return fmt.Sprintf("%.4fus", s*1e6) }

// simulate runs a scenario that is written as a file. watch, if not nil, is given the world before anything has happened in it.
func (r *run) simulate(name, document string, watch func(w *sim.World)) ([]sim.Result, error) {
	s, err := sim.Parse(name, []byte(document))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return r.simulateScenario(s, watch)
}

func (r *run) simulateScenario(s *sim.Scenario, watch func(w *sim.World)) ([]sim.Result, error) {
	all, err := s.RunWatched(r.options.Seed, watch, func(float64) error { return r.ctx.Err() })
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Name, err)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s: nothing was measured", s.Name)
	}
	return all, nil
}

// clocksOf are the hosts whose names are given.
func clocksOf(w *sim.World, n int, name func(i int) string) []*sim.Host {
	var all []*sim.Host
	for i := range n {
		if h := w.Host(name(i)); h != nil {
			all = append(all, h)
		}
	}
	return all
}

// member is the name of a group's member.
func member(i int) string { return fmt.Sprintf("m%d", i+1) }

// show is what a host's clock shows now, if it is sound.
func show(w *sim.World, h *sim.Host) (virtualclock.Time, bool) {
	if !h.Published || h.Paused() {
		return virtualclock.Time{}, false
	}
	c := h.Reading(w.Now())
	return h.Publication.Clock.Time(c), h.Publication.Clock.Interval(c).Status.Sound()
}

// showAll is what all clocks show now; not ok if one is not sound.
func showAll(w *sim.World, hosts []*sim.Host) ([]virtualclock.Time, bool) {
	var all []virtualclock.Time
	for _, h := range hosts {
		v, ok := show(w, h)
		if !ok {
			return nil, false
		}
		all = append(all, v)
	}
	return all, len(all) > 0
}

// spread is the largest difference of clocks.
func spread(all []virtualclock.Time) float64 {
	low, high := 0.0, 0.0
	for _, v := range all {
		x := v.Seconds(all[0])
		low, high = min(low, x), max(high, x)
	}
	return high - low
}

// near is from how close a clock is waited for exactly: its rate is off by less than a thousandth, so that it is reached within a nanosecond.
const near = 1e-6

// await calls do when the host's clock shows target or more, at once if it does. It looks at the clock again and again, since that
// may be adjusted on the way. A clock that is not sound then is not waited for.
func await(w *sim.World, h *sim.Host, target virtualclock.Time, do func()) {
	v, ok := show(w, h)
	if !ok {
		return
	}
	left := target.Seconds(v)
	if left <= 0 {
		do()
		return
	}
	if left > near {
		left *= 0.999
	}
	w.At(w.Now()+max(sim.Seconds(left), sim.Nanosecond/10), func() error {
		await(w, h, target, do)
		return nil
	})
}

// group is a group of hosts with the network, oscillators and liars that are the worst for it.
type group struct {
	members, liars    int
	algorithm, liar   string
	drift             float64 // ρ
	delay, unfair     float64
	seconds, sampling float64
	discard           float64
	broken            bool
}

// hard is a hard case of so many members and liars: the two-faced clock that knows all clocks, delays that are unfair within what is
// not known of them, and oscillators that are played on (the scenario group_tight).
func (r *run) hard(members, liars int) group {
	return group{
		members: members, liars: liars, algorithm: "iftm", liar: "two-faced", drift: 10e-6, delay: 100e-6, unfair: 400e-6,
		seconds: short(r, 60.0, 20), sampling: 0.25, discard: 0.4,
	}
}

func (g *group) document() string {
	liars := ""
	if g.liars > 0 {
		liars = fmt.Sprintf("liars = [%q]\n", g.liar)
	}
	return fmt.Sprintf(`
assumptions_hold = %t
length = "%gs"
sample = "%gs"
discard = %g
[client.oscillator]
[group]
members = %d
algorithm = %q
%sliar_count = %d
drift_ppm = %g
reading_error = %q
start_spread = "2ms"
delay = %q
min_delay = %q
unfair = %q
drive = "split"
`, !g.broken, g.seconds, g.sampling, g.discard, g.members, g.algorithm, liars, g.liars, g.drift*1e6, length(g.unfair/2+g.delay+300e-6),
		length(g.delay), length(g.delay*0.999), length(g.unfair))
}

// runGroup simulates a group.
func (r *run) runGroup(name string, g group, watch func(w *sim.World)) (*sim.Result, error) {
	all, err := r.simulate(name, g.document(), watch)
	if err != nil {
		return nil, err
	}
	if all[0].Group == nil {
		return nil, fmt.Errorf("%s: no group was measured", name)
	}
	return &all[0], nil
}

// groupHolds checks what must hold of every group within its assumptions.
func (r *run) groupHolds(what string, x *sim.Result) {
	g := x.Group
	r.under(what+": convergence δ_v", "s", float64(g.Convergence), float64(g.ConvergenceBound), true)
	r.under(what+": precision π_v", "s", float64(g.Precision), float64(g.PrecisionBound), true)
	r.under(what+": INTERNAL intervals of two members without a common point", "", float64(g.IntervalsApart), 0, true)
	r.over(what+": intervals compared", "", float64(g.IntervalChecks), 1)
}

func logarithmic(label, unit string) report.Axis {
	return report.Axis{Label: label, Unit: unit, Scale: report.Log}
}

func linear(label, unit string) report.Axis {
	return report.Axis{Label: label, Unit: unit, Scale: report.Linear}
}
