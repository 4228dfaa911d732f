package agreement

import (
	"math"

	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// sight is one peer's clock as it is seen at the instant of a round, relative to the own target clock.
type sight struct {
	used         bool
	centre, half float64  // around the point estimate
	hard         Interval // guaranteed
	slope        float64  // the rate of the peer's map
	rate         float64  // of the peer's clock against the own raw time
	rateKnown    bool
	external     *External
	utc          Interval // what the peer says UTC is, the reading's error included
	utcCentre    float64  // its best estimate, by the reading's point estimate
}

// choice says which of a peer's maps a look takes.
type choice uint8

const (
	byRound choice = iota // the map of that round, of members
	atRound               // the current map of those whose current round it is, in status Sync
	before                // the previous map of the same
	byCount               // the map of that round of forming, and the current one of members
)

// readable says why nothing can be known of peer i's clock, or OK.
func (g *Group) readable(i int) reason.Code {
	p := &g.peers[i]
	switch {
	case !p.known || i >= len(g.readings) || !g.readings[i].usable():
		return reason.PeerSilent
	case p.accused:
		return reason.PeerEquivocates
	case g.readings[i].Era != p.state.Era:
		return reason.PeerRestarted
	}
	return reason.OK
}

// recent reports whether peer i was heard within two rounds.
func (g *Group) recent(i int) bool {
	return g.outcome.At.Seconds(g.peers[i].heard) <= 2*g.config.Period.Seconds()
}

// pick returns the map of peer i that the look wants and what its masters said then, or why there is none.
func (g *Group) pick(i int, c choice, round int64) (m *Map, e *External, code reason.Code) {
	if code := g.readable(i); code != reason.OK {
		return nil, nil, code
	}
	s := &g.peers[i].state
	switch {
	case c != byRound && !g.recent(i):
		return nil, nil, reason.PeerSilent
	case c == byRound && !s.Status.member(), s.Status == Join, (c == atRound || c == before) && s.Status != Sync:
		return nil, nil, reason.PeerJoining
	case c == byCount && s.Status.member():
		return &s.Current, &s.External, reason.OK
	case c == before && s.Round == round:
		return &s.Previous, &s.ExternalPrevious, reason.OK
	case s.Round == round:
		return &s.Current, &s.External, reason.OK
	case c != atRound && c != before && s.Round == round+1:
		return &s.Previous, &s.ExternalPrevious, reason.OK
	}
	return nil, nil, reason.PeerRound
}

// look reads all peers' clocks at raw time now, at which the own target clock reads v.
func (g *Group) look(now, v virtualclock.Time, c choice, round int64) {
	for i := range g.peers {
		m, e, code := g.pick(i, c, round)
		verdict := &g.outcome.Verdicts[i]
		*verdict = Verdict{Reason: code}
		g.sights[i].used = false
		if code != reason.OK {
			continue
		}
		g.see(&g.sights[i], &g.readings[i], m, e, now, v)
		s := &g.sights[i]
		verdict.Centre, verdict.HalfWidth = s.centre, s.half
		if s.half > g.config.ReadingError {
			verdict.Reason = reason.PeerTooWide
			// On centres alone a wide reading is not trimmed.
			s.used = g.config.Algorithm == IntervalMidpoint || c != byRound
		}
		verdict.Used = s.used
	}
}

// see reads one peer's clock, and its estimate of UTC.
func (g *Group) see(s *sight, r *Reading, m *Map, e *External, now, v virtualclock.Time) {
	h := now.AddSeconds(r.Offset) // the peer's raw time, by the point estimate
	point := m.At(h).Seconds(v)
	slack := rounding(r.Offset) + rounding(h.Seconds(m.Ref)) + rounding(point)
	below, above := (r.Low-r.Offset)*(1+m.Rate)-slack, (r.High-r.Offset)*(1+m.Rate)+slack
	*s = sight{used: true, hard: Interval{point + below, point + above}, slope: m.Rate}
	s.centre, s.half = AroundPoint(s.hard, point)
	if s.rateKnown = r.RateStd >= 0 && r.RateStd < g.config.Drift/8 && math.Abs(r.Rate) <= 0.02; s.rateKnown {
		s.rate = r.Rate + m.Rate + r.Rate*m.Rate
	}
	if !e.Known || g.config.Gain == 0 {
		return
	}
	s.external = e
	utc, centre := e.at(h, v, g.config.Drift)
	// The reading's point was confined (AroundPoint): the estimate goes with it.
	s.utcCentre = centre + (s.centre - point)
	s.utc = Interval{utc.Low + below - math.Abs(below)*0.01 - slack, utc.High + above + math.Abs(above)*0.01 + slack}
}

// judge marks the peers whose clocks are proved to be outside of where every correct member's is.
func (g *Group) judge(reach Interval) {
	o := &g.outcome
	o.Outliers = 0
	for i := range g.sights {
		if s := &g.sights[i]; s.used && !s.hard.Meets(reach) {
			o.Verdicts[i].Reason = reason.PeerOutlier
			o.Outliers++
		}
	}
}

// reach is where every correct member's target clock is at raw time now, relative to v.
func (g *Group) reach(now, v virtualclock.Time) Interval {
	if g.state.Status == Holdover && g.hold.ok {
		return g.hold.relative(now, v).Hull(Interval{})
	}
	d := g.promised.Adjustment - g.config.ReadingError - g.model.pull()
	if g.proven < len(g.spans) {
		d += 2 * g.config.ReadingError
	}
	return Interval{-d, d}
}

// weigh counts who takes part and finds the common half-width. own: the own clock takes part.
func (g *Group) weigh(own bool) {
	o := &g.outcome
	g.halves = g.halves[:0]
	o.Wide = 0
	bad := 0
	if own {
		g.halves = append(g.halves, 0)
	}
	for i := range g.sights {
		if !g.sights[i].used {
			continue
		}
		g.halves = append(g.halves, g.sights[i].half)
		if g.sights[i].half > g.config.ReadingError {
			o.Wide++
		}
		if g.sights[i].half > g.config.ReadingError || o.Verdicts[i].Reason == reason.PeerOutlier {
			bad++
		}
	}
	n, f := g.config.Members, g.config.Faults
	o.Present = len(g.halves)
	o.Margin = f - (n - o.Present) - bad
	if o.Present < n-f {
		n = o.Present // nothing is promised; but the others' points are used as well as can be
	}
	o.Epsilon = CommonHalfWidth(g.halves, n, f, g.scratch)
}

// converge applies a convergence function to what was seen, and the interval midpoint to the guaranteed edges (for Trimmed). The
// result is relative to the own target clock.
func (g *Group) converge(a Algorithm, own bool) (float64, bool) {
	o := &g.outcome
	g.soft, g.hard, g.centres = g.soft[:0], g.hard[:0], g.centres[:0]
	if own {
		g.soft = append(g.soft, Interval{-o.Epsilon, o.Epsilon})
		g.hard = append(g.hard, Interval{})
		g.centres = append(g.centres, 0)
	}
	for i := range g.sights {
		s := &g.sights[i]
		if !s.used {
			continue
		}
		w := max(s.half, o.Epsilon)
		g.soft = append(g.soft, Interval{s.centre - w, s.centre + w})
		g.hard = append(g.hard, s.hard)
		g.centres = append(g.centres, s.centre)
	}
	f := g.config.Faults
	hard, ok := FaultTolerantInterval(g.hard, f, g.scratch)
	soft, _ := FaultTolerantInterval(g.soft, f, g.scratch)
	o.Trimmed = hard
	for i := range g.sights {
		if s := &g.sights[i]; s.used {
			w := max(s.half, o.Epsilon)
			o.Verdicts[i].TrimmedLow, o.Verdicts[i].TrimmedHigh = s.centre-w < soft.Low, s.centre+w > soft.High
		}
	}
	value := soft.Centre()
	switch a {
	case Midpoint:
		value, ok = FaultTolerantMidpoint(g.centres, f, g.scratch)
	case Average:
		value, ok = FaultTolerantAverage(g.centres, f, g.scratch)
	case Egocentric:
		value = EgocentricAverage(g.centres, 0, g.radius, g.config.Members)
	case PlainMedian:
		value, ok = Median(g.centres, g.scratch)
	}
	return value, ok
}

// rateLeak is by how much a round lets rate corrections decay: without it the group's common rate would walk away, since only
// rates relative to one another are known.
const rateLeak = 1.0 / 1024

// agreedRate is the fault-tolerant midpoint of the rates of all clocks that took part, as seen from the own raw timeline: so the
// target clocks' rates approach each other as the clocks do. It is a guess, kept within RateLimit; the promises do not rest on it.
func (g *Group) agreedRate(own bool) float64 {
	old := g.state.Current.Rate
	if g.config.RateLimit == 0 {
		return 0
	}
	g.rates = g.rates[:0]
	if own {
		g.rates = append(g.rates, old)
	}
	for i := range g.sights {
		if s := &g.sights[i]; s.used && s.rateKnown {
			g.rates = append(g.rates, s.rate)
		}
	}
	rate, ok := FaultTolerantMidpoint(g.rates, g.config.Faults, g.scratch)
	if !ok {
		return old
	}
	if utc, ok := g.utcRate(); ok {
		rate += g.config.Gain * (utc - rate)
	} else {
		rate -= rateLeak * rate
	}
	return min(max(rate, -g.config.RateLimit), g.config.RateLimit)
}

// slopes returns the slowest and the fastest that a clock which took part can go against the own raw timeline, less one.
func (g *Group) slopes() (slow, fast float64) {
	low, high := g.state.Current.Rate, g.state.Current.Rate
	for i := range g.sights {
		if s := &g.sights[i]; s.used {
			low, high = min(low, s.slope), max(high, s.slope)
		}
	}
	return g.against(low, high)
}

// against returns the slowest and the fastest that clocks with rate corrections from low to high can go against the own raw
// timeline, less one.
func (g *Group) against(low, high float64) (slow, fast float64) {
	rho := g.config.Drift
	return (low*(1-rho) - 2*rho) / (1 + rho), (high*(1+rho) + 2*rho) / (1 - rho)
}
