package node

import (
	"math"
	"time"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/roundtrip"
	"github.com/clockd/clockd/virtualclock"
)

// missedHeartbeats is after how many heartbeats without a publication a reader takes the clock for held over.
const missedHeartbeats = 3

// width is half the proved interval at reading at, in seconds, +Inf if nothing is proved.
func (n *Node) width(at hw.Ticks) float64 {
	if n.reference() {
		return n.config.Local.Bound
	}
	if !n.held.ok {
		return math.Inf(1)
	}
	low, high := n.heldAt(at)
	return (high - low + n.config.granularity()) / 2
}

// judge says what the clock is worth at n.now, and why it is not worth more.
func (n *Node) judge() (virtualclock.Status, reason.Code) {
	if n.internal() {
		return n.judgeGroup()
	}
	status, why := n.judgeExternal()
	if n.led() && status.Sound() && n.distance() > n.config.MaxBound {
		return virtualclock.Unsynchronised, reason.BoundTooWide // the group is not at UTC yet
	}
	return status, why
}

// judgeExternal is judge by the masters.
func (n *Node) judgeExternal() (virtualclock.Status, reason.Code) {
	switch {
	case n.reference():
		return virtualclock.Synchronised, reason.OK
	case n.disrupted != reason.OK:
		return virtualclock.Disrupted, n.disrupted
	case !n.set && n.estimate.Reason == reason.OK:
		return virtualclock.Unsynchronised, n.commonTrouble()
	case !n.set:
		return virtualclock.Unsynchronised, n.estimate.Reason
	case n.driftBroken:
		return virtualclock.Unsynchronised, reason.DriftExceeded
	case n.contradicted():
		return virtualclock.Unsynchronised, reason.Contradiction
	case n.recheck:
		return virtualclock.Unsynchronised, reason.SampleEmptyInterval
	case n.estimate.Reason == reason.NoMajority:
		return virtualclock.Unsynchronised, reason.NoMajority
	case n.width(n.now) > n.config.MaxBound:
		return virtualclock.Unsynchronised, reason.BoundTooWide
	case n.staleAt().Before(n.now):
		return virtualclock.Holdover, reason.Stale
	}
	return virtualclock.Synchronised, reason.OK
}

// commonTrouble is why the clock was never set: what all sources suffer from, if it is the same.
func (n *Node) commonTrouble() reason.Code {
	common := reason.OK
	for i, s := range n.sources {
		r := s.filter.Reading(n.now)
		if c := n.code(s, &r); i == 0 {
			common = c
		} else if c != common {
			return reason.NeverSynchronised
		}
	}
	if common == reason.OK || common == reason.SourceWaiting {
		return reason.NeverSynchronised
	}
	return common
}

const (
	// driftStds is by how many standard deviations the measured rate must be beyond the drift bound to be an excess.
	driftStds = 5
	// driftProof is how many half-widths the excess must add up to. A server that slews within its own stated error moves at most
	// two; only an oscillator, or a server that lies, moves on.
	driftProof = 4
)

// driftExcess is by how much the measured rate is beyond what the drift bound allows.
func (n *Node) driftExcess() float64 {
	e, rho := &n.estimate, n.config.drift()
	return math.Abs(e.Rate) - driftStds*e.RateStd - rho/(1-rho)
}

// watchDrift remembers since when the rate has been beyond the drift bound, and that this is proved, until it is not any more. A
// contradiction in between changes nothing of it.
func (n *Node) watchDrift() {
	excess := n.driftExcess()
	switch {
	case excess <= 0:
		n.exceeding, n.driftBroken = false, false
	case !n.exceeding:
		n.exceeding, n.exceedingSince = true, n.now
	case excess*n.raw.Elapsed(n.exceedingSince, n.now) > driftProof*n.width(n.now):
		n.driftBroken = true
	}
}

// A clock that is contradicted patience times within memory polls does not keep what it assumes: it is not believed until it was
// not contradicted for as long.
const (
	contradictionPatience = 3
	contradictionMemory   = 32
)

// noteContradiction remembers when.
func (n *Node) noteContradiction() {
	copy(n.contradictions[1:], n.contradictions[:])
	n.contradictions[0] = n.now
	n.contradictionCount = min(n.contradictionCount+1, contradictionPatience)
}

func (n *Node) contradicted() bool {
	if n.contradictionCount < contradictionPatience {
		return false
	}
	span := contradictionMemory * n.fastestPoll()
	newest, oldest := n.contradictions[0], n.contradictions[contradictionPatience-1]
	return n.raw.Elapsed(oldest, newest) < span && n.raw.Elapsed(newest, n.now) < span
}

// fastestPoll is the shortest present poll interval, in seconds; +Inf without sources.
func (n *Node) fastestPoll() float64 {
	fastest := math.Inf(1)
	for _, s := range n.sources {
		fastest = min(fastest, s.poll)
	}
	return fastest
}

// staleAt is the reading after which the last good sample is too old.
func (n *Node) staleAt() hw.Ticks { return n.lastGood.Add(n.config.ticks(n.holdoverAfter())) }

// holdoverAfter is how long after the last good sample the clock is in holdover, in seconds: three polls of the fastest source
// unless it is configured.
func (n *Node) holdoverAfter() float64 {
	if n.config.HoldoverAfter > 0 {
		return n.config.HoldoverAfter
	}
	fastest := math.Inf(1)
	for _, s := range n.sources {
		fastest = min(fastest, 3*s.poll+s.config.Timeout)
	}
	if math.IsInf(fastest, 1) {
		return n.config.Lifetime
	}
	return max(1, fastest)
}

// publish writes the clock's state into the publication and asks for it to be published.
func (n *Node) publish() {
	status, why := n.judge()
	if status != n.status || why != n.reason || !n.reported {
		n.status, n.reason, n.reported = status, why, true
		value := n.width(n.now)
		if n.internal() {
			value = n.groupWidth()
		}
		if math.IsInf(value, 0) {
			value = 0
		}
		n.report(Report{Topic: "clock", Reason: why, Status: status, Value: value})
	}
	if n.publication.Internal = n.internal(); n.publication.Internal {
		n.clock.SetKind(virtualclock.Internal)
		n.setGroupBounds(status)
	} else {
		n.clock.SetKind(virtualclock.External)
		n.setBounds()
		n.setDeadlines(status)
	}
	n.publication.Clock = *n.clock.Coefficients()
	n.publication.Reason = why
	n.setServer(status)
	n.act(Action{Kind: ActionPublish, Publication: &n.publication})
}

// setBounds gives the clock the proved interval, rounded outward.
func (n *Node) setBounds() {
	period := n.raw.Line.Period
	if n.reference() {
		t, b := n.clock.Time(n.now), n.config.Local.Bound
		// A reading stands for a whole tick, even of the reference.
		n.clock.SetBounds(n.now, t.AddSeconds(-b), t.AddSeconds(b+n.config.granularity()), period, period)
		return
	}
	if !n.held.ok {
		return
	}
	low, high := n.heldAt(n.now)
	slack := 1e-12 // two roundings to 2⁻³² ns, with room to spare
	raw := n.raw.At(n.now)
	least, most := n.rates.Rates(&n.raw, n.now, n.config.Lifetime)
	// A reader's reading c stands for the whole tick from c to c+g: the upper edge must hold at its end.
	high += n.config.granularity() * (1 + 2*n.config.drift())
	n.clock.SetBounds(n.now,
		raw.AddSeconds(low-slack-roundtrip.RoundingError(low)), raw.AddSeconds(high+slack+roundtrip.RoundingError(high)),
		period.Scale(least)-1, period.Scale(most)+1)
}

// setDeadlines tells readers how long they may go on with this publication.
func (n *Node) setDeadlines(status virtualclock.Status) {
	void := n.now.Add(n.config.ticks(n.config.Lifetime))
	stale := n.now.Add(n.config.ticks(missedHeartbeats * n.config.Heartbeat))
	if !n.reference() && status.Sound() {
		stale = hw.Earlier(stale, n.staleAt())
		least, most := n.rates.Rates(&n.raw, n.now, n.config.Lifetime)
		left := n.config.MaxBound - n.width(n.now)
		void = hw.Earlier(void, n.now.Add(n.config.ticks(max(left, 0)*2/max(most-least, 1e-12))))
		void = n.armLeap(void)
	}
	n.clock.SetStatus(status, stale, void)
}

// armLeap ends the publication where true time may reach a leap second that most sources announce: UTC steps there, and what was
// proved before says nothing of the time after. The sources are asked at once then.
func (n *Node) armLeap(void hw.Ticks) hw.Ticks {
	n.leapArmed = false
	leap := n.leap()
	if leap == 0 {
		return void
	}
	k := n.clock.Coefficients()
	latest := k.Latest
	now := latest.Time()
	end := time.Date(now.Year(), now.Month()+1, 1, 0, 0, 0, 0, time.UTC)
	if leap == leapDelete {
		end = end.Add(-time.Second)
	}
	left := virtualclock.FromTime(end).Seconds(latest)
	if left > leapHorizon || left <= 0 {
		return void
	}
	// The drift bound, and not what is measured: a day is longer than a measured rate holds.
	rho := n.config.drift()
	at := n.now.Add(n.config.ticks(left * (1 - rho)))
	over := (virtualclock.FromTime(end).Seconds(k.Earliest) + leapPatience) * (1 + rho)
	n.leapAt, n.leapOver, n.leapArmed = at, n.now.Add(n.config.ticks(over)), true
	return hw.Earlier(void, at)
}

const (
	// leapHorizon is how long before the end of the month an announcement is heeded, in seconds.
	leapHorizon = 86400
	// leapPatience is how long the servers are given to step, in seconds.
	leapPatience = 0.5
	// leapDelete announces that the last minute of the day has 59 seconds.
	leapDelete = 2
)

// setServer says what the node's answers as an NTP server may claim.
func (n *Node) setServer(status virtualclock.Status) {
	p := &n.publication.Server
	previous := *p
	p.Stratum, p.Leap, p.ReferenceID, p.RootDelay = 0, 3, 0, 0
	p.ReferenceTime = n.clock.Time(n.lastGood)
	if n.reference() {
		p.Stratum, p.Leap, p.ReferenceID = n.config.Local.Stratum, 0, referenceLocal
		if p.Stratum > 1 {
			p.ReferenceID = referenceUndisciplined
		}
		p.ReferenceTime = n.clock.Time(n.now)
		return
	}
	if !status.Sound() || n.internal() {
		return // a group alone knows nothing of UTC, which is what NTP's clients ask for
	}
	best := n.best()
	if best < 0 { // its sources were taken away: the clock goes on, on what they proved
		*p = previous
		p.RootDelay = min(p.RootDelay, n.width(n.now))
		return
	}
	s := n.sources[best]
	// The delay may not claim more than the bound, which the proved interval can have made smaller.
	p.RootDelay = min(s.rootDelay+n.readings[best].MinDelay, n.width(n.now))
	p.Stratum, p.Leap, p.ReferenceID = min(s.stratum+1, 15), n.leap(), s.config.ReferenceID
}

// referenceLocal is "LOCL", RFC 5905 figure 12, for stratum 1; above it the field is an address, and 127.127.1.1 is what other
// daemons use for their own clock.
const (
	referenceLocal         = 0x4c4f434c
	referenceUndisciplined = 0x7f7f0101
)

// best returns the index of the source with the greatest weight in the last fusion, −1 without one.
func (n *Node) best() int {
	best := -1
	for i := range n.verdicts {
		v := &n.verdicts[i]
		if v.Reason == reason.OK && i < len(n.sources) && (best < 0 || v.Weight > n.verdicts[best].Weight) {
			best = i
		}
	}
	return best
}

// leap is what most of the used sources announce.
func (n *Node) leap() uint8 {
	var votes [4]int
	for i, s := range n.sources {
		if i < len(n.verdicts) && n.verdicts[i].Reason == reason.OK {
			votes[s.leap&3]++
		}
	}
	used := votes[0] + votes[1] + votes[2]
	for l := uint8(1); l <= 2; l++ {
		if 2*votes[l] > used {
			return l
		}
	}
	return 0
}
