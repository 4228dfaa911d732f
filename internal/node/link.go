package node

import (
	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/roundtrip"
)

// link is what a master and a peer have in common: requests go out, one at a time, and answers come or do not.
type link struct {
	id        int
	exchanger *roundtrip.Exchanger
	// vouched stands for the key, where there is one.
	vouched *roundtrip.Vouched
	buffer  []byte

	nextPoll hw.Ticks
	deadline hw.Ticks
	waiting  bool
	reach    uint8
	retries  int // quick retries of lost requests

	heard reason.Code // what came instead of an answer to the present request
	down  reason.Code // why nothing comes, when that is known
	told  reason.Code // the last verdict that was reported

	// answered is the clock at the arrival of the last answer, which the next one may complete.
	answered instant

	sampled      bool
	sampledAt    hw.Ticks
	transmitKind hw.StampKind
	receiveKind  hw.StampKind

	sent, received uint64
	lastRejection  reason.Code
	rejections     reason.Counts
}

// wake is the next reading at which the link wants a timer.
func (l *link) wake() hw.Ticks {
	if l.waiting {
		return hw.Earlier(l.nextPoll, l.deadline)
	}
	return l.nextPoll
}

// concerns reports whether an event of failure is about the present state of the link, and not about a request that was given up.
func (l *link) concerns(e *Event) bool {
	q, waiting := l.exchanger.Outstanding()
	return e.Kind != EventSendFailed || waiting && q == e.Sequence
}

// ask sends a request and waits for its answer for timeout seconds.
func (n *Node) ask(l *link, interleaved bool, timeout float64) {
	packet, sequence := l.exchanger.Request(n.rng, n.now, interleaved, l.buffer[:0])
	l.buffer = packet
	l.waiting, l.heard = true, reason.OK
	l.deadline = n.now.Add(n.config.ticks(timeout))
	l.sent++
	n.act(Action{Kind: ActionSend, Source: l.id, Sequence: sequence, Packet: packet})
}

// reject counts and reports that an exchange gave nothing.
func (n *Node) reject(l *link, code reason.Code) {
	n.rejected(l, code)
	n.measureNothing(l, code)
}

// rejected counts and reports.
func (n *Node) rejected(l *link, code reason.Code) {
	l.rejections.Add(code)
	l.lastRejection = code
	n.report(Report{Topic: "packet", Source: l.id, Reason: code})
}
