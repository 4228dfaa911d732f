package agreement

import (
	"math"
	"slices"

	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// poll makes the member look again after an eighth of a round.
func (g *Group) poll(now virtualclock.Time) {
	g.due = now.AddSeconds(min(g.config.InitRound, g.config.Period.Seconds()) / pollsPerRound)
}

// forget drops what was proved of the others' clocks.
func (g *Group) forget() {
	g.spans, g.hold = [2]span{}, span{}
	g.strikes, g.stuck, g.proven, g.void, g.joined, g.settling = 0, 0, 0, reason.OK, false, settlingRounds
}

// startForming begins to form a group with whoever is there, from the present target clock.
func (g *Group) startForming(raw virtualclock.Time) {
	g.forget()
	g.state.Status, g.state.Round = Init, 0
	g.state.Previous = g.state.Current
	g.state.Version++
	g.state.Epoch++
	g.formRounds, g.formSpread, g.formSettled = 0, 0, 0
	g.formTimer = raw.AddSeconds(g.config.InitRound)
	g.poll(raw)
}

// startJoin begins to look for a group to enter.
func (g *Group) startJoin(raw virtualclock.Time) {
	g.forget()
	g.state.Status = Join
	g.joinPolls = 0
	g.state.Version++
	g.poll(raw)
}

// inSync counts the peers that are in a group and can be read.
func (g *Group) inSync() int {
	n := 0
	for i := range g.peers {
		if g.peers[i].state.Status == Sync && g.readable(i) == reason.OK && g.recent(i) {
			n++
		}
	}
	return n
}

// form makes a round of forming a group (theory 3.7): rounds are driven by local timers, who is behind is pulled along by f+1
// that are ahead, of which one is correct.
func (g *Group) form(now virtualclock.Time) {
	g.poll(now)
	g.outcome.Reason = reason.GroupForming
	if g.shun == 0 && g.inSync() >= g.quorum() {
		g.startJoin(now)
		g.join(now)
		return
	}
	if !g.formDue(now) {
		return
	}
	v := g.state.Current.At(now)
	g.look(now, v, byCount, g.state.Round)
	g.weigh(true)
	o := &g.outcome
	switch {
	case o.Present < g.config.Members-g.config.Faults:
		o.Reason = reason.TooFewPeers
		return
	case o.Epsilon > g.config.ReadingError:
		o.Reason = reason.ReadingsTooWide
		return
	}
	value, _ := g.converge(IntervalMidpoint, true)
	settled := g.settled(value)
	if far := g.toMasters(now, v, value); far != 0 {
		value, settled, g.formSettled, o.Pull = value+far, false, 0, far
	}
	old := g.state.Current
	g.retarget(now, Map{Ref: now, Base: v.AddSeconds(value), Rate: old.Rate}, true)
	o.Kind, o.Adjustment, o.Reason = Formed, value, reason.OK
	g.shun = max(g.shun-1, 0)
	g.state.Round++
	g.state.Previous = old // for those behind
	g.formTimer = now.AddSeconds(g.config.InitRound)
	if settled {
		g.enter()
	}
}

// formDue reports whether a round of forming is due, after the count of rounds was caught up with the others'.
func (g *Group) formDue(now virtualclock.Time) bool {
	f := g.config.Faults
	g.centres = g.centres[:0]
	for i := range g.peers {
		if p := &g.peers[i]; p.state.Status == Init && g.readable(i) == reason.OK && g.recent(i) {
			g.centres = append(g.centres, float64(p.state.Round))
		}
	}
	if len(g.centres) <= f {
		return !now.Before(g.formTimer)
	}
	slices.Sort(g.centres)
	ahead := int64(min(g.centres[len(g.centres)-1-f], 1<<40)) // f+1 are there or further
	if ahead >= g.state.Round+2 {
		// To the others this member is one that starts now, with whatever clock it has.
		g.state.Round = ahead - 1
		g.state.Previous = g.state.Current
		g.state.Version++
		g.state.Epoch++
	}
	return ahead > g.state.Round || !now.Before(g.formTimer)
}

// settled decides whether the group has formed. value is the round's result.
//
// The trimmed interval must have been narrow, with n−f clocks near the result, twice in a row. Those farther off may be correct
// ones that still approach: their distance halves in every round, so after ⌈log2(first spread/Π)⌉+1 rounds they are liars.
func (g *Group) settled(value float64) bool {
	o, eps, rho := &g.outcome, g.config.ReadingError, g.model.virtualDrift()
	g.formRounds++
	window := max(4*eps+12*rho*g.config.InitRound, g.limit()) + 2*eps
	near, far := 1, 0
	if math.Abs(value) > window {
		near = 0
	}
	for i := range g.sights {
		s := &g.sights[i]
		if !s.used {
			continue
		}
		if g.formRounds == 1 {
			g.formSpread = min(max(g.formSpread, math.Abs(s.centre)), largestSpread)
		}
		if math.Abs(s.centre-value)-s.half <= window {
			near++
		} else {
			far++
		}
	}
	if o.Trimmed.HalfWidth() > window+2*eps || near < g.config.Members-g.config.Faults {
		g.formSettled = 0
		return false
	}
	g.formSettled++
	needed := math.Ceil(math.Log2(max(g.formSpread/window, 1))) + 1
	return g.formSettled >= len(g.spans) && (far == 0 || float64(g.formRounds) >= needed)
}

// limit is Π, or 0 for a function that promises none.
func (g *Group) limit() float64 {
	if math.IsInf(g.promised.Spread, 1) {
		return 0
	}
	return g.promised.Spread
}

// enter begins the rounds at multiples of the period.
func (g *Group) enter() {
	g.state.Status, g.shun = Sync, 0
	g.state.Round = g.number(g.state.Current.Base)
	g.state.Previous = g.state.Current
	g.next = g.state.Round
	g.schedule()
}

// join sets the clock to that of a group, from its members' present maps and from those before, with the own clock left out. After
// that it is within Π/2+2ε of every correct clock (theory 3.7), and waits for its first common round.
func (g *Group) join(now virtualclock.Time) {
	o := &g.outcome
	g.poll(now)
	o.Reason = reason.GroupForming
	if g.joinPolls++; g.inSync() < g.quorum() || g.joinPolls > joinPatience {
		if g.joinPolls > joinPatience {
			g.shun = stuckRounds // liars may pretend to be a group that nobody can enter
		}
		g.startForming(now)
		o.Reason = reason.TooFewPeers
		return
	}
	round, ok := g.commonRound()
	if !ok {
		o.Reason = reason.PeerRound // in the mixed window; it is short
		return
	}
	v := g.state.Current.At(now)
	g.look(now, v, before, round)
	g.weigh(false)
	g.converge(IntervalMidpoint, false)
	alone := g.entering() == 0 // and so the group is not one that has just formed
	earlier := span{round: round, at: now, base: v, Interval: o.Trimmed, ok: o.Margin >= 0 && alone}
	earlier.slow, earlier.fast = g.slopes()
	g.look(now, v, atRound, round)
	g.weigh(false)
	value, ok := g.converge(IntervalMidpoint, false)
	later := span{round: round + 1, at: now, base: v, Interval: o.Trimmed, ok: o.Margin >= 0 && alone && g.entering() == 0}
	later.slow, later.fast = g.slopes()
	d := g.limit()*(1+4*g.model.virtualDrift()) + 3*g.config.ReadingError
	switch {
	case !ok:
		o.Reason = reason.TooFewPeers
		return
	case o.Epsilon > g.config.ReadingError:
		o.Reason = reason.ReadingsTooWide
		return
	case g.near(Interval{value - d, value + d}) < o.Present-g.config.Faults:
		o.Reason = reason.TooManyLiars
		return
	}
	g.retarget(now, Map{Ref: now, Base: v.AddSeconds(value), Rate: g.agreedRate(false)}, true)
	o.Kind, o.Adjustment, o.Reason = Joined, value, reason.OK
	g.spans = [2]span{later, earlier}
	g.joined = true
	g.state.Round = g.number(g.state.Current.Base)
	g.next = g.state.Round
	g.schedule()
}

// near counts the clocks that are, or may be, in i.
func (g *Group) near(i Interval) int {
	n := 0
	for j := range g.sights {
		if s := &g.sights[j]; s.used && s.hard.Meets(i) {
			n++
		}
	}
	return n
}

// commonRound returns the last round that 2f+1 members have as their current one, so that the maps of that and of the one before are
// known.
func (g *Group) commonRound() (int64, bool) {
	best, ok := int64(0), false
	for i := range g.peers {
		if _, _, code := g.pick(i, atRound, g.peers[i].state.Round); code != reason.OK {
			continue
		}
		k, n := g.peers[i].state.Round, 0
		for j := range g.peers {
			if _, _, code := g.pick(j, atRound, k); code == reason.OK {
				n++
			}
		}
		if n >= g.quorum() && (!ok || k > best) {
			best, ok = k, true
		}
	}
	return best, ok
}
