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
	link
	config PeerConfig
	index  int // in the group
	filter *roundtrip.Filter
	era    uint64 // of what the filter has measured
	state  agreement.State
}

func (n *Node) newPeer(g *group, c PeerConfig) *peer {
	p := &peer{config: c, index: len(g.peers), link: link{id: c.ID, exchanger: new(roundtrip.Exchanger), buffer: make([]byte, 0, 512)}}
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
	n.ask(&p.link, false, p.config.Timeout)
}

// giveUpPeer ends the wait for an answer.
func (n *Node) giveUpPeer(p *peer) {
	p.waiting = false
	p.exchanger.Expire()
	why := p.heard
	if why == reason.OK {
		why = reason.PeerSilent
		n.reject(&p.link, why)
	}
	p.down = why
	if p.retries < quickRetries && p.reach != 0 {
		p.retries++
		p.nextPoll = hw.Earlier(p.nextPoll, n.now.Add(n.config.ticks(p.config.Poll*retrySpacing)))
	}
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
		if !p.concerns(e) {
			return
		}
		n.reject(&p.link, e.Reason)
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
		n.reject(&p.link, code)
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
		n.reject(&p.link, code)
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
	answered := n.instant(arrive.At)
	m := n.measure(&p.link, p.filter, &n.group.raw, &sample, &answered)
	code := p.filter.Update(&sample, true)
	if code != reason.OK {
		n.rejected(&p.link, code)
	}
	n.measured(m, code)
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
