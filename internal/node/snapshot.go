package node

import (
	"math"
	"slices"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/agreement"
	"github.com/clockd/clockd/sync/roundtrip"
	"github.com/clockd/clockd/virtualclock"
)

// SourceStatus is what is known of one source, for people and metrics.
type SourceStatus struct {
	ID       int
	Name     string
	Address  string
	Reason   reason.Code // why it is not used, or OK
	Distance float64     // of a falseticker from the proved interval, s
	Weight   float64     // share of the point estimate
	Reading  roundtrip.Reading

	Reach         uint8
	Poll          float64 // s
	NextPoll      hw.Ticks
	Stratum       uint8
	Leap          uint8
	ReferenceID   uint32
	ServerError   float64 // what the server says its error is, s
	Interleaved   bool
	TransmitStamp hw.StampKind
	ReceiveStamp  hw.StampKind
	Sent          uint64
	Received      uint64
	LastRejection reason.Code
	Rejections    reason.Counts
}

// Snapshot is everything a person can ask a node, at one counter reading.
type Snapshot struct {
	Now         hw.Ticks
	Publication Publication
	Estimate    roundtrip.Estimate
	Interval    virtualclock.Interval
	Time        virtualclock.Time
	// Raw is the raw timeline, which the sources' offsets are measured from.
	Raw virtualclock.Time
	// Bound is the largest distance in seconds from Time to an edge of Interval; +Inf when the status is not sound.
	Bound float64
	// Rate is the estimated d(true)/d(raw) − 1, RateStd its standard deviation, +Inf when nothing is known.
	Rate, RateStd float64
	Slewing       bool
	SlewLeft      float64 // s
	Steps         uint64
	Sources       []SourceStatus
	MaxFalse      int
	// LastSample is when the sample came that keeps the clock synchronised; Sampled is false before the first.
	LastSample hw.Ticks
	Sampled    bool
	// Mode is external, local, internal or hybrid.
	Mode string
	// Group is nil without peers.
	Group *GroupStatus
}

// GroupStatus is a host's standing in its group. Figures are in seconds, +Inf where nothing is known.
type GroupStatus struct {
	Status  agreement.Status
	Round   int64
	Members int
	Faults  int
	// Last is the last round that was due; Reason in it says why it was not made, or what was wrong with it.
	Last            agreement.Outcome
	Rounds, Skipped uint64
	// FarEdge is the displayed clock's distance to the far edge of its INTERNAL interval: two correct members' clocks differ by at
	// most the sum of their far edges. Precision is what the configuration promises beforehand (π_v).
	FarEdge   float64
	Precision float64
	// Promised is all that the configuration promises beforehand.
	Promised agreement.Guarantee
	// ToUTC is the larger distance of the displayed clock to an edge of where UTC is by all members' masters.
	ToUTC float64
	// Standing is the reason why FarEdge is not known, or is that of holdover.
	Standing reason.Code
	Peers    []PeerStatus
}

// PeerStatus is what is known of one peer.
type PeerStatus struct {
	ID            int
	Name          string
	Address       string
	Reason        reason.Code // why its clock was not used in the last round, or what is wrong with it, or OK
	Verdict       agreement.Verdict
	Status        agreement.Status // as it says itself
	Heard         bool             // it has said so
	Reading       roundtrip.Reading
	Reach         uint8
	Poll          float64
	TransmitStamp hw.StampKind
	ReceiveStamp  hw.StampKind
	Sent          uint64
	Received      uint64
	LastRejection reason.Code
	Rejections    reason.Counts
}

// groupStatus returns the group's part of a snapshot.
func (n *Node) groupStatus(now hw.Ticks) *GroupStatus {
	g := n.group
	if g == nil || g.member == nil {
		return nil
	}
	raw := g.raw.At(now)
	config, bound := g.member.Config(), g.member.Interval(raw)
	s := &GroupStatus{
		Status: g.member.State().Status, Round: g.member.State().Round, Members: config.Members, Faults: config.Faults, Last: g.outcome,
		Rounds: g.rounds, Skipped: g.skipped, FarEdge: bound.FarEdge, Precision: g.member.Promised().Precision, Promised: g.member.Promised(), ToUTC: math.Inf(1),
		Standing: bound.Reason,
	}
	s.Last.Verdicts = slices.Clone(g.outcome.Verdicts)
	if utc, ok := g.member.UTC(raw); ok {
		s.ToUTC = max(-utc.Low, utc.High)
	}
	for i, p := range g.peers {
		x := PeerStatus{
			ID: p.config.ID, Name: p.config.Name, Address: p.config.Address, Reason: p.down, Status: p.state.Status, Heard: p.era != 0,
			Reading: p.filter.Reading(now), Reach: p.reach, Poll: p.config.Poll, TransmitStamp: p.transmitKind, ReceiveStamp: p.receiveKind,
			Sent: p.sent, Received: p.received, LastRejection: p.lastRejection, Rejections: p.rejections,
		}
		if i < len(s.Last.Verdicts) {
			x.Verdict = s.Last.Verdicts[i]
			if x.Reason == reason.OK {
				x.Reason = x.Verdict.Reason
			}
		}
		s.Peers = append(s.Peers, x)
	}
	return s
}

// Snapshot returns the node's state at counter reading now, which must not be before the last event's. It allocates; it is for
// people.
func (n *Node) Snapshot(now hw.Ticks) Snapshot {
	k := n.clock.Coefficients()
	s := Snapshot{
		Now: now, Publication: n.publication, Estimate: n.estimate, Interval: k.Interval(now), Time: k.Time(now), Raw: n.raw.At(now), Bound: math.Inf(1),
		Rate: n.config.Rate, RateStd: n.config.RateStd, Steps: n.steps, MaxFalse: n.config.maxFalse(), LastSample: n.lastGood, Mode: "external",
	}
	s.Publication.Clock = *k
	if s.RateStd == 0 {
		s.RateStd = math.Inf(1)
	}
	if n.estimate.Used > 0 {
		s.Rate, s.RateStd = n.estimate.Rate, n.estimate.RateStd
	}
	if s.Interval.Status.Sound() {
		s.Bound = max(s.Time.Seconds(s.Interval.Earliest), s.Interval.Latest.Seconds(s.Time))
	}
	switch {
	case n.reference():
		s.Mode = "local"
	case n.internalOnly():
		s.Mode = "internal"
	case n.group != nil:
		s.Mode = "hybrid"
	}
	s.Group = n.groupStatus(now)
	s.SlewLeft, s.Slewing = n.clock.Slewing(now)
	for i, src := range n.sources {
		s.Sampled = s.Sampled || src.sampled
		s.Sources = append(s.Sources, n.sourceStatus(i, src, now))
	}
	return s
}

func (n *Node) sourceStatus(i int, s *source, now hw.Ticks) SourceStatus {
	r := s.filter.Reading(now)
	x := SourceStatus{
		ID: s.config.ID, Name: s.config.Name, Address: s.config.Address, Reason: n.code(s, &r), Reading: r, Reach: s.reach, Poll: s.poll,
		NextPoll: s.nextPoll, Stratum: s.stratum, Leap: s.leap, ReferenceID: s.referenceID, ServerError: s.serverError,
		Interleaved: s.interleaved, TransmitStamp: s.transmitKind, ReceiveStamp: s.receiveKind, Sent: s.sent, Received: s.received,
		LastRejection: s.lastRejection, Rejections: s.rejections,
	}
	if i < len(n.verdicts) && n.verdicts[i].Source == s.config.ID {
		v := n.verdicts[i]
		if x.Reason == reason.OK {
			x.Reason = v.Reason
		}
		x.Distance, x.Weight = v.Distance, v.Weight
	}
	if x.Reason == reason.OK && s.down != reason.OK && n.raw.Elapsed(s.sampledAt, now) > 2*s.poll {
		x.Reason = s.down
	}
	return x
}

// Estimate returns the last fusion of the sources.
func (n *Node) Estimate() roundtrip.Estimate { return n.estimate }
