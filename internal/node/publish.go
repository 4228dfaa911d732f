package node

import (
	"math"

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
	switch {
	case n.reference():
		return virtualclock.Synchronised, reason.OK
	case n.disrupted != reason.OK:
		return virtualclock.Disrupted, n.disrupted
	case !n.set && n.estimate.Reason == reason.OK:
		return virtualclock.Unsynchronised, reason.NeverSynchronised
	case !n.set:
		return virtualclock.Unsynchronised, n.estimate.Reason
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
		if math.IsInf(value, 0) {
			value = 0
		}
		n.report(Report{Topic: "clock", Reason: why, Status: status, Value: value})
	}
	n.setBounds()
	n.setDeadlines(status)
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
		n.clock.SetBounds(n.now, t.AddSeconds(-b), t.AddSeconds(b), period, period)
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
		stale = earlier(stale, n.staleAt())
		least, most := n.rates.Rates(&n.raw, n.now, n.config.Lifetime)
		left := n.config.MaxBound - n.width(n.now)
		void = earlier(void, n.now.Add(n.config.ticks(max(left, 0)*2/max(most-least, 1e-12))))
	}
	n.clock.SetStatus(status, stale, void)
}

// setServer says what the node's answers as an NTP server may claim.
func (n *Node) setServer(status virtualclock.Status) {
	p := &n.publication.Server
	p.Stratum, p.Leap, p.ReferenceID, p.RootDelay = 0, 3, 0, 0
	p.ReferenceTime = n.clock.Time(n.lastGood)
	if n.reference() {
		p.Stratum, p.Leap, p.ReferenceID = n.config.Local.Stratum, 0, referenceLocal
		p.ReferenceTime = n.clock.Time(n.now)
		return
	}
	if !status.Sound() {
		return
	}
	best := n.best()
	if best < 0 {
		return
	}
	s := n.sources[best]
	// The delay may not claim more than the bound, which the proved interval can have made smaller.
	p.RootDelay = min(s.rootDelay+n.readings[best].MinDelay, n.width(n.now))
	p.Stratum, p.Leap, p.ReferenceID = min(s.stratum+1, 15), n.leap(), s.config.ReferenceID
}

// referenceLocal is "LOCL", RFC 5905 figure 12.
const referenceLocal = 0x4c4f434c

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
