package node

import (
	"math"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/peerwire"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/agreement"
	"github.com/clockd/clockd/sync/roundtrip"
	"github.com/clockd/clockd/virtualclock"
)

// roundsAtOnce is how many rounds are made up for in one step: after a pause the first one finds out how late it is.
const roundsAtOnce = 4

// group is this host's part in a group of peers. The raw timeline is its own and stays where it is anchored as long as the era
// lasts: the peers measure it.
type group struct {
	member   *agreement.Group
	raw      roundtrip.Raw
	peers    []*peer
	readings []agreement.Reading
	stamper  peerwire.Stamper
	outcome  agreement.Outcome // of the last round that was due; its Verdicts are copied
	set      bool              // the clock has been set by the group in this era
	rounds   uint64            // made
	skipped  uint64
	told     reason.Code // what was last reported of a round
}

// agreement returns the configuration that the members have in common, completed by what the node knows.
func (c *Config) agreement() agreement.Config {
	a := *c.Agreement
	a.Members = len(c.Peers) + 1
	if a.Drift == 0 {
		a.Drift = c.drift()
	}
	return a
}

// newGroup returns the group of a configuration, nil without peers.
func (n *Node) newGroup() *group {
	if n.config.Agreement == nil {
		return nil
	}
	g := &group{readings: make([]agreement.Reading, len(n.config.Peers))}
	g.raw.Line.Period = virtualclock.PeriodOf(n.config.Counter.Hertz)
	for _, c := range n.config.Peers {
		g.peers = append(g.peers, n.newPeer(g, c))
	}
	return g
}

// startGroup begins a new era at n.now, with a clock that reads start.
func (n *Node) startGroup(anchor, start virtualclock.Time) {
	g := n.group
	g.raw.Line.C0, g.raw.Line.T0 = n.now, anchor
	era := uint64(0)
	for era == 0 {
		era = n.rng.Uint64()
	}
	member, err := agreement.New(n.config.agreement(), era, anchor, start)
	if err != nil { // the configuration was checked
		n.report(Report{Topic: "config", Reason: reason.ConfigRefused})
		g.member = nil
		return
	}
	g.member, g.set = member, false
	g.outcome = agreement.Outcome{Reason: reason.GroupForming}
	for i, p := range g.peers {
		p.reset()
		p.nextPoll = n.now.Add(int64(i) * n.config.ticks(p.config.Poll/float64(len(g.peers))))
	}
	n.setStamper()
}

// internalOnly reports whether the clock is the group's alone.
func (n *Node) internalOnly() bool { return n.group != nil && len(n.sources) == 0 }

// internal reports whether the clock is worth something to the group only: it has no masters, or they are of no use now and the
// group is there.
func (n *Node) internal() bool {
	if n.internalOnly() {
		return true
	}
	if !n.led() || n.disrupted != reason.OK && n.disrupted != reason.Contradiction {
		return false
	}
	if external, _ := n.judgeExternal(); external.Sound() {
		return false
	}
	group, _ := n.judgeGroup()
	return group.Sound()
}

// led reports whether the group steers the clock.
func (n *Node) led() bool {
	if n.group == nil || n.group.member == nil {
		return false
	}
	s := n.group.member.State().Status
	return n.internalOnly() || n.group.set && (s == agreement.Sync || s == agreement.Holdover)
}

// due is the reading at which the group wants a round. Its raw time is not before Group.Due.
func (g *group) due(n *Node) hw.Ticks {
	if g.member == nil {
		return n.heartbeat
	}
	return g.ticksAt(n, g.member.Due())
}

// ticksAt returns a reading at which the raw timeline is not before t, and less than three ticks past it (or n.now, if it is past).
func (g *group) ticksAt(n *Node, t virtualclock.Time) hw.Ticks {
	left := t.Seconds(g.raw.At(n.now))
	if left <= 0 {
		return n.now
	}
	return n.now.Add(n.config.ticks(left) + 2)
}

// onRounds makes the rounds that are due.
func (n *Node) onRounds() {
	g := n.group
	if g == nil || g.member == nil {
		return
	}
	for range roundsAtOnce {
		now := g.raw.At(n.now)
		if now.Before(g.member.Due()) {
			return
		}
		for i, p := range g.peers {
			g.readings[i] = p.reading(n.now)
		}
		o := g.member.Round(now, g.readings, n.external())
		n.afterRound(o)
	}
}

// external is what the own masters say of UTC, for the group.
func (n *Node) external() agreement.External {
	if len(n.sources) == 0 || !n.held.ok {
		return agreement.External{}
	}
	if s, _ := n.judgeExternal(); !s.Sound() {
		return agreement.External{}
	}
	low, high := n.heldAt(n.now)
	e := &n.estimate
	offset := min(max(e.Offset+e.Rate*n.raw.Elapsed(e.At, n.now), low), high)
	return agreement.External{
		Known: true, At: n.group.raw.At(n.now), Base: n.raw.At(n.now).AddSeconds(offset),
		Low: low - offset - roundtrip.RoundingError(low), High: high - offset + roundtrip.RoundingError(high) + n.config.granularity(),
		Rate: min(max(e.Rate, -0.02), 0.02),
	}
}

// afterRound takes over what a round has decided.
func (n *Node) afterRound(o *agreement.Outcome) {
	g := n.group
	verdicts := g.outcome.Verdicts[:0]
	verdicts = append(verdicts, o.Verdicts...)
	if o.Kind != agreement.Idle || g.outcome.Kind == agreement.Idle {
		g.outcome = *o
	}
	g.outcome.Verdicts = verdicts
	switch o.Kind {
	case agreement.Adjusted:
		g.rounds++
	case agreement.Skipped:
		g.skipped++
	}
	if o.Kind == agreement.Adjusted || o.Kind == agreement.Skipped {
		for i, p := range g.peers {
			n.tellPeer(p, verdicts[i].Reason)
		}
		if o.Reason != g.told {
			g.told = o.Reason
			epsilon := o.Epsilon
			if math.IsInf(epsilon, 0) || math.IsNaN(epsilon) {
				epsilon = 0 // too few were read for a common error
			}
			n.report(Report{Topic: "round", Reason: o.Reason, Value: epsilon})
		}
	}
	n.setStamper()
	if o.Kind == agreement.Idle {
		return
	}
	n.followGroup(o)
	n.publish()
}

// followGroup steers the displayed clock to the group's target clock.
func (n *Node) followGroup(o *agreement.Outcome) {
	g := n.group
	if !n.internalOnly() && !g.memberIn() {
		g.set = false // the masters steer
		return
	}
	now := g.raw.At(n.now)
	target, rate, window := g.member.Target(now), g.member.State().Current.Rate, g.member.Config().Slew
	n.clock.SetDifference(n.raw.Line.Period.Scale(rate))
	near := math.Abs(target.Seconds(n.clock.Time(n.now))) <= n.maxSlew()*window
	switch {
	case n.steps == 0, o.Step && (n.internalOnly() || !near), !g.set && !near:
		n.clock.Step(n.now, target, rate)
		n.steps++
	default:
		n.clock.Steer(n.now, target, rate, window)
	}
	g.set = true
	if n.internalOnly() {
		n.set = true
		if g.memberIn() {
			n.disrupted = reason.OK
		}
	}
}

// maxSlew is the largest rate at which the clock is slewed: members must be able to follow their group within its slew window.
func (n *Node) maxSlew() float64 {
	if n.group == nil || n.group.member == nil {
		return n.config.MaxSlew
	}
	if a := n.group.member.Promised().Adjustment / n.group.member.Config().Slew; !math.IsInf(a, 1) {
		return max(n.config.MaxSlew, 1.01*a)
	}
	return n.config.MaxSlew
}

// configureGroup takes the peers of a new configuration. While the members have the same in common and their keys are the same, the
// era goes on.
func (n *Node) configureGroup(old *Config) {
	g := n.group
	if len(old.Peers) > 0 && len(old.Sources) == 0 && len(n.config.Sources) > 0 {
		n.set = false // by the group alone; where UTC is, the masters have yet to say
	}
	same := g != nil && n.config.Agreement != nil && len(g.peers) == len(n.config.Peers) && old.agreement() == n.config.agreement()
	for i := 0; same && i < len(g.peers); i++ {
		same = g.peers[i].config.Key == n.config.Peers[i].Key && g.peers[i].config.ID == n.config.Peers[i].ID
	}
	if !same {
		if n.group = n.newGroup(); n.group == nil {
			return
		}
		anchor, start := n.raw.At(n.now), n.raw.At(n.now)
		if n.steps > 0 {
			start = n.clock.Time(n.now)
		}
		n.startGroup(anchor, start)
		return
	}
	for i, p := range g.peers {
		if p.config.Address != n.config.Peers[i].Address {
			p.reset()
		}
		p.config = n.config.Peers[i]
		p.nextPoll = hw.Earlier(p.nextPoll, n.now.Add(n.config.ticks(p.config.Poll)))
	}
}

// distance is the larger distance of the displayed clock to an edge of the interval of UTC, in seconds.
func (n *Node) distance() float64 {
	low, high := n.heldAt(n.now)
	shown := n.clock.Time(n.now).Seconds(n.raw.At(n.now))
	return max(shown-low, high-shown) + n.config.granularity()
}

// memberIn reports whether the host is in the group.
func (g *group) memberIn() bool {
	s := g.member.State().Status
	return s == agreement.Sync || s == agreement.Holdover
}

// setStamper renews what the peers are told.
func (n *Node) setStamper() {
	g := n.group
	next := peerwire.Stamper{State: *g.member.State(), Raw: g.raw.Line, Granularity: n.config.Granularity}
	if next == g.stamper {
		return
	}
	g.stamper = next
	n.act(Action{Kind: ActionAnswerPeers, Peers: &g.stamper})
}

// judgeGroup says what the group's interval is worth at n.now.
func (n *Node) judgeGroup() (virtualclock.Status, reason.Code) {
	g := n.group
	switch {
	case g.member == nil:
		return virtualclock.Unsynchronised, reason.ConfigRefused
	case n.disrupted != reason.OK && n.internalOnly():
		return virtualclock.Disrupted, n.disrupted
	}
	b := g.member.Interval(g.raw.At(n.now))
	switch {
	case !b.Status.Sound() && g.outcome.Reason != reason.OK && b.Reason == reason.GroupForming:
		return b.Status, g.outcome.Reason // why it is not getting on
	case b.Status.Sound() && n.groupWidth() > n.config.MaxBound:
		return virtualclock.Unsynchronised, reason.BoundTooWide
	case b.Reason == reason.TooFewPeers && g.outcome.Reason != reason.OK:
		return b.Status, g.outcome.Reason // what the round that was missed was missed for
	}
	return b.Status, b.Reason
}

// groupWidth is the larger distance of the displayed clock to an edge of the group's interval, in seconds; +Inf if there is none.
func (n *Node) groupWidth() float64 {
	g := n.group
	if g.member == nil {
		return math.Inf(1)
	}
	b := g.member.Interval(g.raw.At(n.now))
	if !b.Status.Sound() {
		return math.Inf(1)
	}
	shown := n.clock.Time(n.now)
	return max(b.FarEdge, shown.Seconds(b.Earliest), b.Latest.Seconds(shown)) + n.config.granularity()
}

// setGroupBounds gives the clock the INTERNAL interval, rounded outward, and how long it holds.
func (n *Node) setGroupBounds(status virtualclock.Status) {
	g := n.group
	void := n.now.Add(n.config.ticks(n.config.Lifetime))
	stale := n.now.Add(n.config.ticks(missedHeartbeats * n.config.Heartbeat))
	if status.Sound() {
		b := g.member.Interval(g.raw.At(n.now))
		slow, fast := g.member.EdgeRates(g.raw.At(n.now))
		period := n.raw.Line.Period
		const slack = 1e-9 // roundings to 2⁻³² ns and to the page's periods over a lifetime
		late := n.config.granularity() * (1 + fast)
		n.clock.SetBounds(n.now, b.Earliest.AddSeconds(-slack), b.Latest.AddSeconds(slack+late), period.Scale(slow)-1, period.Scale(fast)+1)
		if end, limited := g.member.LastUse(); limited && b.Status == virtualclock.Synchronised {
			last := g.ticksAt(n, end).Add(-3)
			void, stale = hw.Earlier(void, last), hw.Earlier(stale, last)
		}
		left := max(n.config.MaxBound-n.groupWidth(), 0)
		void = hw.Earlier(void, n.now.Add(n.config.ticks(left/max(fast, -slow, 1e-12))))
	}
	n.clock.SetStatus(status, stale, void)
}

// restartGroup begins a new era after a disruption: what the peers have measured of the counter is void. The clock goes on from
// where it is, until the host has joined its group again.
func (n *Node) restartGroup() {
	g := n.group
	if g == nil || g.member == nil {
		return
	}
	start := n.clock.Time(n.now)
	if n.steps == 0 {
		start = g.raw.At(n.now)
	}
	n.startGroup(g.raw.At(n.now), start)
}
