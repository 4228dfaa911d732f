package agreement

import (
	"math"

	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// span is an interval on the virtual timeline that moves on with the raw one: at raw time h its edges are
// base + (h − at) + Low + (h − at)·slow and base + (h − at) + High + (h − at)·fast.
type span struct {
	Interval
	ok         bool
	round      int64
	at, base   virtualclock.Time
	slow, fast float64
}

// relative returns the span at raw time h, which is not before s.at, relative to v.
func (s *span) relative(h, v virtualclock.Time) Interval {
	dt := max(h.Seconds(s.at), 0)
	x := s.base.AddSeconds(dt).Seconds(v)
	slack := rounding(x) + rounding(dt)
	return Interval{x + s.Low + dt*s.slow - slack, x + s.High + dt*s.fast + slack}
}

// remember keeps a round's trimmed interval.
func (g *Group) remember(s span) {
	if g.spans[0].ok && g.spans[0].round != s.round {
		g.spans[1] = g.spans[0]
	}
	g.spans[0] = s
}

// fresh reports whether the last two rounds' intervals are there and nothing was missed since.
func (g *Group) fresh() bool {
	a, b := &g.spans[0], &g.spans[1]
	return a.ok && b.ok && a.round == b.round+1 && a.round == g.state.Round && g.state.Status == Sync && g.void == reason.OK
}

// setHold keeps where the other correct members' clocks are from now on, whatever happens to this one: within the precision that
// is promised beforehand, plus what their rounds and their oscillators can move them by, at most ε (and the pull) a round beyond the
// hull of the correct clocks (theory 3.2).
func (g *Group) setHold(now virtualclock.Time) {
	p, m := &g.promised, &g.model
	if math.IsInf(p.Precision, 1) {
		g.hold.ok = false
		return
	}
	outward := (p.EnvelopeRate-m.virtualDrift())*m.Period + m.pull()
	slow, fast := g.against(-g.config.RateLimit, g.config.RateLimit)
	perSecond := outward / (m.Period - p.Adjustment) * (1 + 3*m.virtualDrift())
	d := p.Precision + 2*outward // one for the round that is on its way, one for a group that has just formed
	g.hold = span{
		Interval: Interval{-d, d}, ok: true, at: now, base: g.state.Current.At(now),
		slow: slow - perSecond, fast: fast + perSecond,
	}
}

// Display returns the displayed clock at raw time h, not before the last call of Round: it goes from the old target to the new one
// over the slew window and so is continuous and, as long as the Epoch stays, monotone.
func (g *Group) Display(h virtualclock.Time) virtualclock.Time {
	v := g.state.Current.At(h)
	if left := 1 - h.Seconds(g.slewFrom)/g.config.Slew; g.residual != 0 && left > 0 {
		v = v.AddSeconds(g.residual * min(left, 1))
	}
	if v.Before(g.shown) {
		return g.shown // by a rounding
	}
	return v
}

// Target returns the target clock at raw time h: what rounds are computed with.
func (g *Group) Target(h virtualclock.Time) virtualclock.Time { return g.state.Current.At(h) }

// SlewEnd returns the raw time from which the displayed clock is the target clock.
func (g *Group) SlewEnd() virtualclock.Time {
	if g.residual == 0 {
		return g.slewFrom
	}
	return g.slewFrom.AddSeconds(g.config.Slew)
}

// Bound is what a reader of an internal-only clock gets. It says nothing of true time. If Status is Synchronised or Holdover, then
// at every instant the intervals of all correct members have a point in common (theory 3.8), so that
//
//   - |V_p − V_q| ≤ (distance of V_p from its far edge) + (the same of q), and
//   - if Latest at event x on one member is before Earliest at event y on another, x happened before y.
//
// For the second, Latest never goes back within an Epoch; Earliest may, and must not be held up: that would be unsound.
type Bound struct {
	Earliest, Latest virtualclock.Time
	Status           virtualclock.Status
	// Reason says why Status is not Synchronised.
	Reason reason.Code
	Epoch  uint32
	// FarEdge is the larger distance of the displayed clock from an edge (Latest before it was held up), in seconds; +Inf if
	// nothing is known.
	FarEdge float64
}

// Interval returns the Bound at raw time h, not before the last call of Round. It is
//
//	J = hull( I^(k−1), I^k, displayed clock )
//
// of the trimmed intervals of the last two rounds, extended by the drift of the clocks in them. One round's intervals alone need
// not meet: in the mixed window some members are a round ahead; condition C1 keeps them within one, so two hulls share a round.
// When a round was missed, no round is shared any more; then J is where the others must be by what was promised beforehand.
func (g *Group) Interval(h virtualclock.Time) Bound {
	b := Bound{Earliest: virtualclock.MinTime(), Latest: virtualclock.MaxTime(), Epoch: g.state.Epoch, FarEdge: math.Inf(1)}
	i, status, why := g.bound(h)
	b.Reason, b.Status = why, status
	if !status.Sound() {
		return b
	}
	v := g.Display(h)
	b.FarEdge = max(-i.Low, i.High)
	b.Earliest, b.Latest = v.AddSeconds(i.Low), v.AddSeconds(i.High)
	if b.Latest.Before(g.floor) {
		b.Latest = g.floor
	}
	return b
}

// bound is J relative to the displayed clock.
func (g *Group) bound(h virtualclock.Time) (Interval, virtualclock.Status, reason.Code) {
	none := Interval{math.Inf(-1), math.Inf(1)}
	v := g.Display(h)
	switch {
	case g.state.Status == Init, g.state.Status == Join:
		return none, virtualclock.Unsynchronised, reason.GroupForming
	case g.void != reason.OK:
		return none, virtualclock.Unsynchronised, g.void
	case g.fresh():
		j := g.spans[0].relative(h, v).Hull(g.spans[1].relative(h, v)).Hull(Interval{})
		if g.late(h) && g.hold.ok {
			// The next round is overdue: the others may be two ahead.
			return j.Hull(g.hold.relative(h, v)), virtualclock.Holdover, reason.RoundLate
		}
		return j, virtualclock.Synchronised, reason.OK
	case g.hold.ok:
		return g.hold.relative(h, v).Hull(Interval{}), virtualclock.Holdover, reason.TooFewPeers
	}
	return none, virtualclock.Unsynchronised, reason.GroupForming
}

// late reports whether the round that was due before raw time h was not made in time.
func (g *Group) late(h virtualclock.Time) bool { return h.Seconds(g.due) > g.config.Lateness }

// raiseFloor holds up Latest at what readers have seen until now.
func (g *Group) raiseFloor(now virtualclock.Time) {
	if b := g.Interval(now); b.Status.Sound() && g.floor.Before(b.Latest) {
		g.floor = b.Latest
	}
}
