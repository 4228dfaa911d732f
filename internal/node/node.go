package node

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/roundtrip"
	"github.com/clockd/clockd/virtualclock"
)

// Node is the state of one host's synchronisation. It is not safe for concurrent use.
type Node struct {
	config  Config
	rng     *rand.ChaCha8
	raw     roundtrip.Raw
	clock   *virtualclock.Clock
	sources []*source
	group   *group // nil without peers

	fusion   roundtrip.Fusion
	readings []roundtrip.Reading
	codes    []reason.Code
	verdicts []roundtrip.Verdict
	estimate roundtrip.Estimate

	// held is the narrowest interval that is proved: what the sources say now, met with what they said before.
	held struct {
		low, high float64
		at        hw.Ticks
		ok        bool
	}
	// rates bounds how fast the held interval grows.
	rates     roundtrip.RateBound
	now       hw.Ticks
	started   bool
	startedAt hw.Ticks
	// set: the clock has been set since the start or the last disruption.
	set       bool
	steps     uint64
	disrupted reason.Code
	// recheck: a source has contradicted itself at recheckSince, and only readings newer than that count.
	recheck      bool
	recheckSince hw.Ticks
	hastened     bool
	hastenedAt   hw.Ticks
	// contradictions are the readings of the latest ones, newest first.
	contradictions     [contradictionPatience]hw.Ticks
	contradictionCount int
	// leapAt is when a leap second that most sources announce takes effect.
	leapAt    hw.Ticks
	leapOver  hw.Ticks // when it is certainly over, and the servers can be expected to have stepped
	leapArmed bool
	// exceeding: the measured rate has been beyond the drift bound since exceedingSince; driftBroken: long enough to prove it.
	driftBroken    bool
	exceeding      bool
	exceedingSince hw.Ticks
	lastGood       hw.Ticks
	heartbeat      hw.Ticks
	wake           hw.Ticks
	wakeSet        bool

	status      virtualclock.Status
	reason      reason.Code
	reported    bool
	publication Publication
	actions     []Action
	// measurements are those of the present Step.
	measurements []Measurement
}

// New checks the configuration and returns a node that waits for EventStart.
func New(c Config) (*Node, error) {
	c = c.withDefaults()
	c.Sources = slices.Clone(c.Sources)
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("cannot make a node of this configuration: %w", err)
	}
	n := &Node{config: c, rng: rand.NewChaCha8(c.Seed)}
	period := virtualclock.PeriodOf(c.Counter.Hertz)
	n.raw.Line.Period = period
	n.clock = virtualclock.NewClock(period, c.MaxSlew)
	n.clock.SetEpoch(c.StartEpoch)
	n.rates = roundtrip.NewRateBound(c.drift(), c.wander())
	for _, s := range c.Sources {
		n.sources = append(n.sources, n.newSource(s))
	}
	n.group = n.newGroup()
	return n, nil
}

// Step takes one event and returns what it asks for. The result and all it points to are valid until the next call.
func (n *Node) Step(e Event) []Action {
	n.actions, n.measurements = n.actions[:0], n.measurements[:0]
	if !n.started && e.Kind != EventStart {
		return nil
	}
	if !n.started || n.now.Before(e.Now) {
		n.now = e.Now
	}
	switch e.Kind {
	case EventStart:
		n.start(&e)
	case EventTimer:
		n.wakeSet = false
	case EventDisruption:
		n.disrupt(e.Reason)
		n.restartGroup()
	case EventConfigure:
		n.configure(e.Config)
	default:
		if s := n.source(e.Source); s != nil {
			n.onSource(s, &e)
		} else if p := n.peer(e.Source); p != nil {
			n.onPeer(p, &e)
		}
	}
	n.onRounds()
	for _, s := range n.sources {
		n.onTimer(s)
	}
	if n.group != nil {
		for _, p := range n.group.peers {
			n.onPeerTimer(p)
		}
	}
	n.beat()
	n.schedule()
	return n.actions
}

func (n *Node) act(a Action)    { n.actions = append(n.actions, a) }
func (n *Node) report(r Report) { n.act(Action{Kind: ActionReport, Report: r}) }

func (n *Node) source(id int) *source {
	for _, s := range n.sources {
		if s.config.ID == id {
			return s
		}
	}
	return nil
}

// start anchors the raw timeline and begins to ask.
func (n *Node) start(e *Event) {
	if n.started {
		return
	}
	n.started, n.startedAt, n.heartbeat = true, n.now, n.now
	n.raw.Line.C0, n.raw.Line.T0 = n.now, e.Realtime
	for i, s := range n.sources {
		s.start(n.now.Add(int64(i) * n.config.ticks(s.config.BurstSpacing/float64(len(n.sources)))))
	}
	if n.group != nil {
		n.startGroup(e.Realtime, e.Realtime)
		n.clock.SetMaxSlew(n.maxSlew())
	}
	if n.reference() {
		n.set = true
		n.clock.Step(n.now, n.raw.At(n.now), 0)
		n.steps++
	}
}

// reference reports whether this host's own clock is the reference.
func (n *Node) reference() bool { return n.config.reference() }

// onSource takes an event that belongs to one source.
func (n *Node) onSource(s *source, e *Event) {
	switch e.Kind {
	case EventPacket:
		n.onPacket(s, e)
	case EventSent:
		s.exchanger.Sent(e.Sequence, e.Stamp)
	case EventSendFailed, EventUnreachable:
		if !s.concerns(e) {
			return
		}
		s.down = e.Reason
		if s.waiting {
			n.giveUp(s)
		} else {
			n.reject(&s.link, e.Reason)
		}
	}
}

// configure takes a new configuration; sources whose ID, Address and Key stay keep their state, and the clock is not touched.
func (n *Node) configure(c *Config) {
	if c == nil {
		return
	}
	next := c.withDefaults()
	next.Sources, next.Peers = slices.Clone(next.Sources), slices.Clone(next.Peers)
	next.Counter, next.Granularity = n.config.Counter, n.config.Granularity
	// A host does not turn from the reference into a follower, or back, while it runs: nothing it said before would hold.
	if err := next.check(); err != nil || next.reference() != n.reference() {
		n.report(Report{Topic: "config", Reason: reason.ConfigRefused})
		return
	}
	next.Seed = n.config.Seed
	next.Rate, next.RateStd = n.config.Rate, n.config.RateStd
	if n.estimate.Used > 0 {
		next.Rate, next.RateStd = n.estimate.Rate, max(n.estimate.RateStd, 1e-8)
	}
	doubted := n.config.promisesMore(&next)
	old, was := n.sources, n.config
	n.config, n.sources = next, nil
	for _, sc := range next.Sources {
		var kept *source
		for _, s := range old {
			if s.config.ID == sc.ID && s.config.Address == sc.Address && s.config.Key == sc.Key {
				kept = s
			}
		}
		if kept == nil {
			kept = n.newSource(sc)
			kept.start(n.now)
		} else if kept.config.Poll != sc.Poll {
			kept.poll, kept.leastPoll = sc.Poll, sc.Poll
			kept.nextPoll = hw.Earlier(kept.nextPoll, n.now.Add(next.ticks(sc.Poll)))
		}
		kept.config = sc
		kept.filter.Configure(next.filterConfig(&sc))
		n.sources = append(n.sources, kept)
	}
	n.configureGroup(&was)
	n.clock.SetMaxSlew(n.maxSlew())
	n.rates.Configure(next.drift(), next.wander())
	if doubted {
		n.disrupt(reason.AssumptionsWeakened)
	}
	n.update()
}

// disrupt: what was proved holds no longer. Everything is measured anew and the clock may step.
func (n *Node) disrupt(code reason.Code) {
	n.report(Report{Topic: "disruption", Reason: code})
	n.held.ok, n.recheck = false, false
	n.rates.Reset()
	n.disrupted = code
	n.set = n.reference()
	n.estimate = roundtrip.Estimate{At: n.now, Reason: code}
	for _, s := range n.sources {
		if code == reason.Contradiction && s.sampled && !s.restarted.Before(n.recheckSince) {
			continue // it has begun anew after the contradiction, and speaks of the time since
		}
		s.filter.Reset()
		s.exchanger.Reset()
		s.waiting, s.followUpDue, s.suspectLeft = false, false, 0
		if s.denied {
			continue
		}
		s.start(n.now)
		if code == reason.LeapSecond {
			s.start(n.leapOver)
		}
	}
	if n.reference() {
		// Nobody can say how far the reference went wrong but itself: it goes on, in a new epoch.
		n.disrupted = reason.OK
		n.clock.Step(n.now, n.clock.Time(n.now), 0)
		n.steps++
	}
	n.publish()
}

// schedule asks for the next timer, if it is another than the one asked for.
func (n *Node) schedule() {
	at := n.heartbeat
	if n.leapArmed {
		at = hw.Earlier(at, n.leapAt)
	}
	for _, s := range n.sources {
		at = hw.Earlier(at, s.wake())
	}
	if g := n.group; g != nil {
		at = hw.Earlier(at, g.due(n))
		for _, p := range g.peers {
			at = hw.Earlier(at, p.wake())
		}
	}
	if k := n.clock.Coefficients(); k.Status.Sound() {
		// One tick past the deadline, the status has changed.
		if k.Status == virtualclock.Synchronised && !k.StaleAfter.Before(n.now) {
			at = hw.Earlier(at, k.StaleAfter.Add(1))
		}
		if !k.VoidAfter.Before(n.now) {
			at = hw.Earlier(at, k.VoidAfter.Add(1))
		}
	}
	at = hw.Later(at, n.now)
	if n.wakeSet && at == n.wake {
		return
	}
	n.wake, n.wakeSet = at, true
	n.act(Action{Kind: ActionWake, At: at})
}

// beat publishes at every heartbeat and when a deadline has changed the status.
func (n *Node) beat() {
	if n.leapArmed && !n.now.Before(n.leapAt) {
		n.leapArmed = false
		n.disrupt(reason.LeapSecond)
	}
	due := !n.now.Before(n.heartbeat)
	if due {
		n.heartbeat = n.now.Add(n.config.ticks(n.config.Heartbeat))
	}
	if status, why := n.judge(); due || status != n.status || why != n.reason {
		n.publish()
	}
}

// update fuses the sources' readings and steers the clock.
func (n *Node) update() {
	if len(n.sources) == 0 {
		return
	}
	n.fuse()
	if n.estimate.Reason != reason.OK {
		n.publish()
		return
	}
	if !n.recheck {
		n.recheckSince = n.now
	}
	n.recheck = false
	if code := n.hold(); code != reason.OK {
		n.noteContradiction()
		n.disrupt(code)
		n.update() // by those sources, if any, that have already begun anew
		return
	}
	n.lastGood = n.freshest()
	n.watchDrift()
	switch {
	case n.led():
		if !n.set && n.ready() {
			n.set, n.disrupted = true, reason.OK
		}
	case n.set:
		target := n.raw.At(n.now).AddSeconds(n.estimate.Offset)
		n.clock.Steer(n.now, target, n.estimate.Rate, n.window())
	case n.ready():
		n.reanchor()
		n.clock.Step(n.now, n.raw.At(n.now).AddSeconds(n.estimate.Offset), n.estimate.Rate)
		n.steps++
		n.set, n.disrupted = true, reason.OK
	}
	if !n.led() {
		n.clock.SetDifference(n.raw.Line.Period.Scale(n.estimate.Rate))
	}
	n.publish()
}

// fuse reads all filters and fuses them; a change of verdict is reported.
func (n *Node) fuse() {
	n.readings, n.codes, n.verdicts = n.readings[:0], n.codes[:0], n.verdicts[:0]
	for _, s := range n.sources {
		r := s.filter.Reading(n.now)
		n.readings = append(n.readings, r)
		n.codes = append(n.codes, n.code(s, &r))
		n.verdicts = append(n.verdicts, roundtrip.Verdict{Source: s.config.ID})
	}
	n.estimate = n.fusion.Fuse(n.now, n.readings, n.codes, n.config.maxFalse(), n.verdicts)
	for i, s := range n.sources {
		n.tell(s, n.verdicts[i].Reason, n.verdicts[i].Distance)
	}
}

// hold meets the fused interval with what was proved before. Contradiction: they do not meet; WanderExceeded: the oscillator has
// not kept to what was assumed of it.
func (n *Node) hold() reason.Code {
	e := &n.estimate
	if n.held.ok {
		low, high := n.heldAt(n.now)
		if low > e.High || high < e.Low {
			return reason.Contradiction
		}
		e.Low, e.High = max(e.Low, low), min(e.High, high)
		e.Offset = min(max(e.Offset, e.Low), e.High)
	}
	n.held.low, n.held.high, n.held.at, n.held.ok = e.Low, e.High, n.now, true
	broken := n.rates.Broken
	if n.rates.Observe(&n.raw, n.now, e.Low, e.High); n.rates.Broken != broken {
		return reason.WanderExceeded
	}
	return reason.OK
}

// heldAt returns the proved interval, grown to reading at (theory 2.3).
func (n *Node) heldAt(at hw.Ticks) (low, high float64) {
	return n.rates.Spread(&n.raw, n.held.low, n.held.high, n.held.at, at)
}

// freshest returns when the (f+1)-th freshest of the used sources gave its last sample: fewer than that prove nothing.
func (n *Node) freshest() hw.Ticks {
	want := n.config.maxFalse() + 1
	var best hw.Ticks
	found := false
	for i := range n.sources {
		if n.verdicts[i].Reason != reason.OK {
			continue
		}
		as := n.readings[i].LastSample
		rank := 0
		for j := range n.sources {
			if n.verdicts[j].Reason == reason.OK && !n.readings[j].LastSample.Before(as) {
				rank++
			}
		}
		if rank >= want && (!found || best.Before(as)) {
			best, found = as, true
		}
	}
	if !found {
		return n.lastGood
	}
	return best
}

// ready reports whether enough is known to set the clock: as many ready sources as prove an interval, and all that have
// answered, unless some take too long.
func (n *Node) ready() bool {
	readySources, answering := 0, 0
	patience := 0.0
	for i, s := range n.sources {
		patience = max(patience, 4*s.config.BurstSpacing+s.config.Timeout)
		if n.verdicts[i].Reason != reason.OK {
			continue
		}
		answering++
		if s.ready(n.readings[i].Samples) {
			readySources++
		}
	}
	if readySources <= n.config.maxFalse() {
		return false
	}
	return readySources == answering || n.raw.Elapsed(n.startedAt, n.now) > patience
}

// reanchor moves the raw timeline near true time, so that offsets are small numbers with many digits.
func (n *Node) reanchor() {
	whole := math.Round(n.estimate.Offset)
	if math.Abs(whole) < 1 || math.Abs(whole) > 9e9 {
		return
	}
	n.raw.Line.T0 = n.raw.Line.T0.AddSeconds(whole)
	for _, s := range n.sources {
		s.filter.Shift(whole)
	}
	n.rates.Shift(whole)
	e := &n.estimate
	e.Low -= whole + roundtrip.RoundingError(e.Low)
	e.High -= whole - roundtrip.RoundingError(e.High)
	e.Offset -= whole
	n.held.low, n.held.high = e.Low, e.High
}

// window is the time in seconds over which a correction is amortised: a quarter of the fastest poll, from 0.25 s to 8 s.
func (n *Node) window() float64 {
	return min(max(n.fastestPoll()/4, 0.25), 8)
}
