package agreement

import (
	"math"

	"github.com/clockd/clockd/virtualclock"
)

// mastersKnown counts the estimates of UTC in sight, the own one included, and whether they are enough to outvote f_e false ones.
func (g *Group) mastersKnown() (n int, enough bool) {
	if g.state.External.Known {
		n++
	}
	for i := range g.sights {
		if s := &g.sights[i]; s.used && s.external != nil {
			n++
		}
	}
	return n, g.config.Gain > 0 && n >= 2*g.config.ExternalFaults+1
}

// pulled returns by how much masters move this round's result (theory 4.2):
//
//	V' = I + G·clamp(X − I, ±c)
//
// where I is value and X the fault-tolerant midpoint of the members' estimates of UTC, all relative to the own target clock v. Using
// all members' estimates rather than the own masters' makes the pull nearly the same for all, and lets no bad master move anybody.
// Without 2f_e+1 estimates there is no pull.
func (g *Group) pulled(now, v virtualclock.Time, value float64) float64 {
	x, ok := g.agreedUTC(now, v)
	if !ok {
		return 0
	}
	c := g.config.Clamp
	return g.config.Gain * min(max(x-value, -c), c)
}

// toMasters returns by how much a group that is forming, and may still step, goes to UTC at once: all the way, if it is farther off than
// the pull and the masters' own errors explain.
func (g *Group) toMasters(now, v virtualclock.Time, value float64) float64 {
	x, ok := g.agreedUTC(now, v)
	if !ok || math.Abs(x-value) <= max(g.config.Clamp, 2*(g.config.ExternalError+g.config.ReadingError)) {
		return 0
	}
	return x - value
}

// agreedUTC is the fault-tolerant midpoint of the members' estimates of UTC, relative to the own target clock v. Each estimate was fixed
// when its member's map was, so to the lemma of FaultTolerantInterval the estimates are clocks within α_e of UTC, read with the same errors
// as the members' clocks. (Estimates that each observer gets at another moment would be apart by 2α_e instead.)
func (g *Group) agreedUTC(now, v virtualclock.Time) (float64, bool) {
	n, enough := g.mastersKnown()
	g.outcome.Masters = n
	if !enough {
		return 0, false
	}
	g.soft, g.hard = g.soft[:0], g.hard[:0]
	common := g.outcome.Epsilon
	if e := &g.state.External; e.Known {
		utc, x := e.at(now, v, g.config.Drift)
		g.soft = append(g.soft, Interval{x - common, x + common})
		g.hard = append(g.hard, utc)
	}
	for i := range g.sights {
		if s := &g.sights[i]; s.used && s.external != nil {
			w := max(s.half, common)
			g.soft = append(g.soft, Interval{s.utcCentre - w, s.utcCentre + w})
			g.hard = append(g.hard, s.utc)
		}
	}
	if !g.setUTC(now, v) {
		return 0, false
	}
	x, ok := FaultTolerantInterval(g.soft, g.config.ExternalFaults, g.scratch)
	return x.Centre(), ok
}

// setUTC keeps where UTC is by the members' estimates: readings of one quantity, so the inner edges (theory 2.5). It reports false if the
// estimates contradict one another more than f_e false ones can: at least n_e−f_e contain UTC, and so meet the result.
func (g *Group) setUTC(now, v virtualclock.Time) bool {
	for i := range g.hard {
		g.hard[i].Low, g.hard[i].High = g.hard[i].High, g.hard[i].Low
	}
	// With the edges swapped, the (f+1)-th smallest "lower" edge is the (f+1)-th smallest upper one, and so on.
	swapped, ok := FaultTolerantInterval(g.hard, g.config.ExternalFaults, g.scratch)
	utc, meet := Interval{swapped.High, swapped.Low}, 0
	for _, i := range g.hard {
		if (Interval{i.High, i.Low}).Meets(utc) {
			meet++
		}
	}
	g.utc = g.raw(now, v, utc)
	g.utc.ok = ok && utc.Low <= utc.High && meet >= len(g.hard)-g.config.ExternalFaults
	return g.utc.ok
}

// raw is an interval of true time, which the drift bound moves away from the raw timeline.
func (g *Group) raw(now, v virtualclock.Time, i Interval) span {
	rho := g.config.Drift
	return span{Interval: i, ok: true, at: now, base: v, slow: -rho / (1 + rho), fast: rho / (1 - rho)}
}

// utcRate is the fault-tolerant midpoint of the rates of UTC against the own raw timeline that the members know.
func (g *Group) utcRate() (float64, bool) {
	if _, enough := g.mastersKnown(); !enough {
		return 0, false
	}
	g.centres = g.centres[:0]
	if e := &g.state.External; e.Known {
		g.centres = append(g.centres, e.Rate)
	}
	for i := range g.sights {
		if s := &g.sights[i]; s.used && s.external != nil && s.rateKnown {
			relative := g.readings[i].Rate
			g.centres = append(g.centres, relative+s.external.Rate+relative*s.external.Rate)
		}
	}
	return FaultTolerantMidpoint(g.centres, g.config.ExternalFaults, g.scratch)
}

// followMasters returns the target clock of a member without a quorum of peers: it stays near UTC by its own masters alone, in external
// mode, until the peers are back (theory 4.2, degradation); without masters it runs on. The interval of where the others are is not
// touched by it.
func (g *Group) followMasters(now, v virtualclock.Time) Map {
	e, m := &g.masters, g.state.Current
	if !e.Known || g.config.Gain == 0 || !g.state.Status.member() {
		return m
	}
	utc, x := e.at(now, v, g.config.Drift)
	g.utc = g.raw(now, v, utc)
	c := g.config.Gain * g.config.Clamp
	pull := min(max(x, -c), c)
	g.outcome.Adjustment, g.outcome.Pull, g.outcome.Masters = pull, pull, 1
	return Map{Ref: now, Base: v.AddSeconds(pull), Rate: m.Rate}
}

// UTC returns where UTC is at raw time h, not before the last call of Round, relative to the displayed clock, and whether that is known:
// by the members' estimates fused (at most ExternalFaults of them false), or by the own masters while there is no quorum. Together with
// Bound.FarEdge these are the two figures of the hybrid: the distance to UTC and the spread within the group.
func (g *Group) UTC(h virtualclock.Time) (Interval, bool) {
	if !g.utc.ok {
		return Interval{math.Inf(-1), math.Inf(1)}, false
	}
	return g.utc.relative(h, g.Display(h)), true
}
