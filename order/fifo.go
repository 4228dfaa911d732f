package order

import (
	"fmt"
	"math"

	"github.com/clockd/clockd/reason"
)

// FIFO is a hold-back queue that delivers the messages of each sender in the order of their sequence numbers, without gaps. One
// goroutine at a time may use it.
type FIFO[T any] struct {
	limits  Limits
	size    func(T) int
	senders map[Node]*fifoSender[T]
	counts  Counts
}

type fifoSender[T any] struct {
	next uint64
	lost uint64 // right before next
	ring ring[T]
}

// NewFIFO makes a FIFO. size counts a message's bytes; it may be nil if Limits.Bytes is 0.
func NewFIFO[T any](l Limits, size func(T) int) (*FIFO[T], error) {
	if err := l.check(size != nil); err != nil {
		return nil, err
	}
	return &FIFO[T]{limits: l, size: size, senders: make(map[Node]*fifoSender[T])}, nil
}

// Begin makes next the sequence number that is to be delivered next of a sender, and makes room for it if it is new. What was held of
// it is dropped. A sender that was never begun begins with number 1.
func (q *FIFO[T]) Begin(sender Node, next uint64) error {
	if s := q.senders[sender]; s != nil {
		q.counts.Held -= uint64(s.ring.held)
	} else if len(q.senders) >= q.limits.Senders {
		return q.refuse(sender, next, reason.QueueSender)
	}
	q.senders[sender] = &fifoSender[T]{next: next}
	return nil
}

// Forget drops a sender and what is held of it.
func (q *FIFO[T]) Forget(sender Node) {
	if s := q.senders[sender]; s != nil {
		q.counts.Held -= uint64(s.ring.held)
		delete(q.senders, sender)
	}
}

// Add takes a message and appends what can be delivered now to dst. It refuses with a code: QueuePast, QueueDuplicate, QueueFull,
// QueueSender; CounterExhausted for the largest number there is.
func (q *FIFO[T]) Add(dst []Delivery[T], sender Node, sequence uint64, m T) ([]Delivery[T], error) {
	s := q.senders[sender]
	if s == nil {
		if err := q.Begin(sender, 1); err != nil {
			return dst, err
		}
		s = q.senders[sender]
	}
	switch {
	case sequence < s.next:
		return dst, q.refuse(sender, sequence, reason.QueuePast)
	case sequence == math.MaxUint64:
		return dst, q.refuse(sender, sequence, reason.CounterExhausted)
	case sequence == s.next:
		return q.run(q.deliver(dst, sender, s, m), sender, s), nil
	}
	size := 0
	if q.size != nil {
		size = q.size(m)
	}
	for !q.fits(s, sequence, size) {
		if q.limits.Policy == Refuse {
			return dst, q.refuse(sender, sequence, reason.QueueFull)
		}
		if dst = q.giveUp(dst, sender, s, sequence); sequence == s.next {
			return q.Add(dst, sender, sequence, m)
		}
	}
	if s.ring.has(s.next, sequence) {
		return dst, q.refuse(sender, sequence, reason.QueueDuplicate)
	}
	s.ring.put(s.next, sequence-s.next, m, size)
	q.counts.Held++
	return dst, nil
}

// fits reports whether a message may be held.
func (q *FIFO[T]) fits(s *fifoSender[T], sequence uint64, size int) bool {
	return sequence-s.next <= uint64(q.limits.Window) &&
		(q.limits.Bytes == 0 || s.ring.held == 0 || s.ring.bytes+size <= q.limits.Bytes)
}

// giveUp gives up what is missing before the first message that is held, or before sequence if there is none before that; less if
// a smaller step brings sequence into the window.
func (q *FIFO[T]) giveUp(dst []Delivery[T], sender Node, s *fifoSender[T], sequence uint64) []Delivery[T] {
	through := sequence - 1
	if window := uint64(q.limits.Window); sequence-s.next > window {
		through -= window
	}
	if s.ring.held > 0 {
		// One that is held is within a window of next.
		first := s.next + 1
		for first <= through && !s.ring.has(s.next, first) {
			first++
		}
		through = first - 1
	}
	return q.skip(dst, sender, s, through)
}

// Skip gives up the messages of a sender up to and including through that have not been delivered or held: who is asked for them
// does not have them any more. It appends what can be delivered now to dst.
func (q *FIFO[T]) Skip(dst []Delivery[T], sender Node, through uint64) []Delivery[T] {
	s := q.senders[sender]
	for s != nil && s.next <= through && through < math.MaxUint64 {
		if s.ring.held == 0 {
			return q.skip(dst, sender, s, through)
		}
		first := s.next
		for first <= through && !s.ring.has(s.next, first) {
			first++
		}
		dst = q.skip(dst, sender, s, first-1)
	}
	return dst
}

// skip gives up the numbers from next to through, none of which is held.
func (q *FIFO[T]) skip(dst []Delivery[T], sender Node, s *fifoSender[T], through uint64) []Delivery[T] {
	lost := through + 1 - s.next
	s.lost += lost
	q.counts.Lost += lost
	s.next = through + 1
	return q.run(dst, sender, s)
}

// run delivers what is held and next.
func (q *FIFO[T]) run(dst []Delivery[T], sender Node, s *fifoSender[T]) []Delivery[T] {
	for s.ring.held > 0 && s.ring.has(s.next, s.next) {
		m := s.ring.take(s.next)
		if q.size != nil {
			s.ring.bytes -= q.size(m)
		}
		q.counts.Held--
		dst = q.deliver(dst, sender, s, m)
	}
	return dst
}

func (q *FIFO[T]) deliver(dst []Delivery[T], sender Node, s *fifoSender[T], m T) []Delivery[T] {
	dst = append(dst, Delivery[T]{sender, s.next, m, s.lost})
	s.next++
	s.lost = 0
	q.counts.Delivered++
	return dst
}

// Missing returns the first sequence number of a sender that is missing although later ones are held, and the last one before those.
// Not ok: nothing is known to be missing.
func (q *FIFO[T]) Missing(sender Node) (first, last uint64, ok bool) {
	s := q.senders[sender]
	if s == nil || s.ring.held == 0 {
		return 0, 0, false
	}
	last = s.next
	for !s.ring.has(s.next, last+1) {
		last++
	}
	return s.next, last, true
}

// Counts says what became of the messages.
func (q *FIFO[T]) Counts() Counts { return q.counts }

func (q *FIFO[T]) refuse(sender Node, sequence uint64, why reason.Code) error {
	q.counts.Refused.Add(why)
	return refusal(sender, sequence, why)
}

func refusal(sender Node, sequence uint64, why reason.Code) error {
	return fmt.Errorf("order: message %d of %d: %w", sequence, sender, why)
}
