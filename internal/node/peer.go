package node

import (
	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/peerwire"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/agreement"
	"github.com/clockd/clockd/sync/roundtrip"
)

// retrySpacing is the part of the poll interval after which a lost exchange with a peer is made good.
const retrySpacing = 0.25

// peer is the state of another member of the group.
type peer struct {
	config    PeerConfig
	index     int // in the group
	exchanger *roundtrip.Exchanger
	vouched   *roundtrip.Vouched
	filter    *roundtrip.Filter
	era       uint64 // of what the filter has measured
	state     agreement.State
	buffer    []byte

	nextPoll hw.Ticks
	deadline hw.Ticks
	waiting  bool
	retries  int
	reach    uint8

	sampled        bool
	sampledAt      hw.Ticks
	transmitKind   hw.StampKind
	receiveKind    hw.StampKind
	sent, received uint64
	heard          reason.Code // what came instead of an answer to the present request
	down           reason.Code // why nothing comes from it
	told           reason.Code
	lastRejection  reason.Code
	rejections     reason.Counts
}

func (n *Node) newPeer(g *group, c PeerConfig) *peer {
	p := &peer{config: c, index: len(g.peers), exchanger: new(roundtrip.Exchanger), buffer: make([]byte, 0, 512)}
	p.vouched = c.Key.vouched()
	p.exchanger.SetAuthenticator(p.vouched)
	if code := p.exchanger.SetExtensions(peerwire.AppendRequest(nil)); code != reason.OK {
		p.down = code // the field's length is fixed and tested
	}
	// Counters are compared, so the drift is that of one against the other, and the peer's readings are exact by definition.
	p.filter = roundtrip.NewFilter(&g.raw, roundtrip.FilterConfig{
		Drift: agreement.RelativeDrift(n.config.agreement().Drift), Granularity: n.config.granularity(), MinDelay: c.MinDelay,
	})
	return p
}

// reset forgets what was measured.
func (p *peer) reset() {
	p.filter.Reset()
	p.exchanger.Reset()
	p.era, p.sampled, p.waiting, p.retries = 0, false, false, 0
}

// peer returns the peer with that ID, or nil.
func (n *Node) peer(id int) *peer {
	if n.group == nil || n.group.member == nil {
		return nil
	}
	for _, p := range n.group.peers {
		if p.config.ID == id {
			return p
		}
	}
	return nil
}

// wake is the next reading at which the peer wants a timer.
func (p *peer) wake() hw.Ticks {
	if p.waiting {
		return hw.Earlier(p.nextPoll, p.deadline)
	}
	return p.nextPoll
}

// onPeerTimer does what is due for one peer.
func (n *Node) onPeerTimer(p *peer) {
	if p.waiting && !n.now.Before(p.deadline) {
		n.giveUpPeer(p)
	}
	if n.now.Before(p.nextPoll) {
		return
	}
	if p.waiting {
		n.giveUpPeer(p)
	}
	p.nextPoll = n.now.Add(n.config.ticks(p.config.Poll))
	p.reach <<= 1
	packet, sequence := p.exchanger.Request(n.rng, n.now, false, p.buffer[:0])
	p.buffer = packet
	p.waiting, p.heard = true, reason.OK
	p.deadline = n.now.Add(n.config.ticks(p.config.Timeout))
	p.sent++
	n.act(Action{Kind: ActionSend, Source: p.config.ID, Sequence: sequence, Packet: packet})
}

// giveUpPeer ends the wait for an answer.
func (n *Node) giveUpPeer(p *peer) {
	p.waiting = false
	p.exchanger.Expire()
	why := p.heard
	if why == reason.OK {
		why = reason.PeerSilent
		n.rejectPeer(p, why)
	}
	p.down = why
	if p.retries < quickRetries && p.reach != 0 {
		p.retries++
		p.nextPoll = hw.Earlier(p.nextPoll, n.now.Add(n.config.ticks(p.config.Poll*retrySpacing)))
	}
}

func (n *Node) rejectPeer(p *peer, code reason.Code) {
	p.rejections.Add(code)
	p.lastRejection = code
	n.report(Report{Topic: "packet", Source: p.config.ID, Reason: code})
}

// tellPeer reports a verdict on a peer when it changes.
func (n *Node) tellPeer(p *peer, code reason.Code) {
	if code == reason.PeerSilent && p.down != reason.OK && p.down != reason.PeerSilent {
		code = p.down
	}
	if code != p.told {
		p.told = code
		n.report(Report{Topic: "peer", Source: p.config.ID, Reason: code})
	}
}

// onPeer takes an event that belongs to one peer.
func (n *Node) onPeer(p *peer, e *Event) {
	switch e.Kind {
	case EventPacket:
		n.onPeerPacket(p, e)
	case EventSent:
		p.exchanger.Sent(e.Sequence, e.Stamp)
	case EventSendFailed, EventUnreachable:
		if q, waiting := p.exchanger.Outstanding(); e.Kind == EventSendFailed && (!waiting || q != e.Sequence) {
			return
		}
		n.rejectPeer(p, e.Reason)
		p.heard = e.Reason
		if p.waiting {
			n.giveUpPeer(p)
		}
	}
}

// onPeerPacket takes a datagram. The NTP header counts for nothing but the request that it answers: a host without UTC has no
// time to give there, and still has a clock that its peers can use.
func (n *Node) onPeerPacket(p *peer, e *Event) {
	p.vouched.Good = e.Authentic
	_, code := p.exchanger.Receive(e.Packet, e.Stamp)
	p.vouched.Good = false
	fields := p.exchanger.Extensions()
	if _, p.waiting = p.exchanger.Outstanding(); len(fields) == 0 {
		if code == reason.OK || code == reason.ServerUnsynchronised {
			code = reason.PeerMalformed // authentic, but not of a member
		}
		n.rejectPeer(p, code)
		if code != reason.PacketDuplicate && code != reason.PacketUnsolicited {
			p.heard = code
			p.down = code
		}
		return
	}
	p.exchanger.Expire()
	p.waiting = false
	var answer peerwire.Answer
	if code = answer.Decode(fields); code == reason.OK {
		code = n.group.member.Receive(n.group.raw.At(n.now), p.index, &answer.State)
	}
	switch code {
	case reason.OK, reason.PeerRestarted:
	default:
		p.heard, p.down = code, code
		n.rejectPeer(p, code)
		n.tellPeer(p, code)
		return
	}
	p.received++
	p.reach |= 1
	p.retries = 0
	n.onPeerAnswer(p, &answer, e.Stamp)
}

// onPeerAnswer gives the stamps of an answer to the filter.
func (n *Node) onPeerAnswer(p *peer, a *peerwire.Answer, arrive hw.Stamp) {
	if p.era != a.State.Era {
		p.era = a.State.Era
		p.filter.Reset()
		p.sampled = false
	}
	p.state = a.State
	sample := roundtrip.Sample{Depart: p.exchanger.Departed(), Arrive: arrive, Receive: a.Receive, Transmit: a.Transmit}
	p.transmitKind, p.receiveKind = sample.Depart.Kind, arrive.Kind
	code := p.filter.Update(&sample, true)
	if code != reason.OK {
		n.rejectPeer(p, code)
	}
	if p.down = code; code == reason.OK || code == reason.SampleEmptyInterval {
		p.sampled, p.sampledAt = true, hw.Later(p.sampledAt, arrive.At)
		p.down = reason.OK
	}
}

// reading is what the group is told of the peer's counter at reading at.
func (p *peer) reading(at hw.Ticks) agreement.Reading {
	r := p.filter.Reading(at)
	if r.Samples == 0 {
		return agreement.Reading{}
	}
	slack := roundtrip.RoundingError(r.Low) + roundtrip.RoundingError(r.High) + 1e-9
	return agreement.Reading{
		Known: true, Era: p.era, Low: r.Low - slack, High: r.High + slack, Offset: r.Offset, Rate: r.Rate, RateStd: r.RateStd,
	}
}
