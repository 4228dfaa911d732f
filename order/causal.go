package order

import (
	"fmt"
	"math"
	"slices"

	"github.com/clockd/clockd/reason"
)

// Causal is a hold-back queue that delivers a message only after everything that may have caused it (CBCAST: Birman, Schiper and
// Stephenson 1991). Members are numbered from 0. Each message carries a vector: at its sender's place the message's own number, from 1 on, and at every
// other place the number of the last message of that member which its sender had delivered before. One goroutine at a time may use it.
type Causal[T any] struct {
	limits    Limits
	size      func(T) int
	delivered Vector
	lost      []uint64
	rings     []ring[causalMessage[T]]
	// A member whose next message is there but must wait for messages of another is in the list of that one: waiters is the first
	// member in each list (−1: none), following the next in the same list.
	waiters, following []int
	waiting            []bool
	ready              []int
	counts             Counts
}

type causalMessage[T any] struct {
	vector  Vector
	message T
}

// NewCausal makes a Causal for Limits.Senders members. size counts a message's bytes; it may be nil if Limits.Bytes is 0.
func NewCausal[T any](l Limits, size func(T) int) (*Causal[T], error) {
	if err := l.check(size != nil); err != nil {
		return nil, err
	}
	n := l.Senders
	q := &Causal[T]{
		limits: l, size: size, delivered: make(Vector, n), lost: make([]uint64, n), rings: make([]ring[causalMessage[T]], n),
		waiters: make([]int, n), following: make([]int, n), waiting: make([]bool, n), ready: make([]int, 0, n),
	}
	for k := range q.waiters {
		q.waiters[k] = -1
	}
	return q, nil
}

// Delivered appends the number of the last message of each member that was delivered or given up: the vector of the next message to
// be sent is this, with the sender's own place counted on.
func (q *Causal[T]) Delivered(dst Vector) Vector { return append(dst, q.delivered...) }

// Add takes a message of a member, and appends what can be delivered now to dst. The queue keeps the vector. It refuses with a code:
// QueueSender, VectorImpossible, QueuePast, QueueDuplicate, QueueFull.
func (q *Causal[T]) Add(dst []Delivery[T], member int, v Vector, m T) ([]Delivery[T], error) {
	if member < 0 || member >= len(q.rings) {
		q.counts.Refused.Add(reason.QueueSender)
		return dst, fmt.Errorf("order: a message of member %d: %w", member, reason.QueueSender)
	}
	sequence, next := v.At(member), q.delivered[member]+1
	switch {
	case len(v) != len(q.rings) || sequence == 0 || slices.Contains(v, math.MaxUint64):
		return dst, q.refuse(member, sequence, reason.VectorImpossible)
	case sequence < next:
		return dst, q.refuse(member, sequence, reason.QueuePast)
	case sequence == next && q.blocker(member, v) < 0 && !q.rings[member].has(next, sequence):
		return q.settle(q.deliver(dst, member, m)), nil
	}
	size := 0
	if q.size != nil {
		size = q.size(m)
	}
	for !q.fits(member, sequence, size) {
		if q.limits.Policy == Refuse {
			return dst, q.refuse(member, sequence, reason.QueueFull)
		}
		dst = q.giveUp(dst, member, sequence)
		if sequence <= q.delivered[member] {
			// A message that was in the way said, wrongly, that its sender had this one.
			return dst, q.refuse(member, sequence, reason.QueuePast)
		}
		if q.delivered[member]+1 == sequence && q.blocker(member, v) < 0 {
			return q.settle(q.deliver(dst, member, m)), nil
		}
	}
	ring := &q.rings[member]
	first := q.delivered[member] + 1
	if ring.has(first, sequence) {
		return dst, q.refuse(member, sequence, reason.QueueDuplicate)
	}
	ring.put(first, sequence-first, causalMessage[T]{v, m}, size)
	q.counts.Held++
	if sequence == first {
		dst = q.check(dst, member)
	}
	return dst, nil
}

// fits reports whether a message may be held. The next one of a member always may: others may wait for it.
func (q *Causal[T]) fits(member int, sequence uint64, size int) bool {
	ring, ahead := &q.rings[member], sequence-q.delivered[member]-1
	return ahead == 0 || ahead <= uint64(q.limits.Window) && (q.limits.Bytes == 0 || ring.held == 0 || ring.bytes+size <= q.limits.Bytes)
}

// blocker returns a member of whom something must be delivered before a message with vector v; −1: nobody.
func (q *Causal[T]) blocker(member int, v Vector) int {
	for k, need := range v {
		if need > q.delivered[k] && k != member {
			return k
		}
	}
	return -1
}

// check delivers a member's next message if it can be, and what can be after it; else it notes for whom it waits.
func (q *Causal[T]) check(dst []Delivery[T], member int) []Delivery[T] {
	q.ready = append(q.ready[:0], member)
	return q.drain(dst)
}

// settle is check of those for whom a delivery that has just been made may have been the last thing missing: q.ready.
func (q *Causal[T]) settle(dst []Delivery[T]) []Delivery[T] { return q.drain(dst) }

func (q *Causal[T]) drain(dst []Delivery[T]) []Delivery[T] {
	for len(q.ready) > 0 {
		member := q.ready[len(q.ready)-1]
		q.ready = q.ready[:len(q.ready)-1]
		ring, next := &q.rings[member], q.delivered[member]+1
		if q.waiting[member] || ring.held == 0 || !ring.has(next, next) {
			continue
		}
		head := ring.at(next)
		if k := q.blocker(member, head.message.vector); k >= 0 {
			q.waiting[member], q.following[member], q.waiters[k] = true, q.waiters[k], member
			continue
		}
		m := ring.take(next).message
		if q.size != nil {
			ring.bytes -= q.size(m)
		}
		q.counts.Held--
		dst = q.deliver(dst, member, m)
	}
	return dst
}

// deliver delivers a member's next message, and makes those ready that wait for it.
func (q *Causal[T]) deliver(dst []Delivery[T], member int, m T) []Delivery[T] {
	dst = append(dst, Delivery[T]{Node(member), q.delivered[member] + 1, m, q.lost[member]})
	q.counts.Delivered++
	q.lost[member] = 0
	q.advance(member, q.delivered[member]+1)
	return dst
}

// advance says that a member's messages up to a number are delivered or given up.
func (q *Causal[T]) advance(member int, to uint64) {
	q.delivered[member] = to
	for k := q.waiters[member]; k >= 0; k = q.following[k] {
		q.waiting[k] = false
		q.ready = append(q.ready, k)
	}
	q.waiters[member] = -1
	q.ready = append(q.ready, member)
}

// giveUp gives up as little as lets the queue go on with a member: what is missing of it, or, if its next message waits for others,
// of the first of those of whom something is missing.
func (q *Causal[T]) giveUp(dst []Delivery[T], member int, sequence uint64) []Delivery[T] {
	need := sequence - 1
	if window := uint64(q.limits.Window); need-q.delivered[member] > window {
		need -= window
	}
	for range q.rings {
		ring, next := &q.rings[member], q.delivered[member]+1
		if ring.held == 0 || !ring.has(next, next) {
			break
		}
		v := ring.at(next).message.vector
		k := q.blocker(member, v)
		member, need = k, v[k]
	}
	// Members that wait for each other in a circle, which only liars do, come here with a message that is held: it is delivered.
	through := q.delivered[member]
	for through < need && !q.rings[member].has(q.delivered[member]+1, through+1) {
		if through++; q.rings[member].held == 0 {
			through = need
		}
	}
	if through == q.delivered[member] {
		return q.force(dst, member)
	}
	return q.skip(dst, member, through)
}

// force delivers a member's next message, which is held, whatever it waits for.
func (q *Causal[T]) force(dst []Delivery[T], member int) []Delivery[T] {
	v := q.rings[member].at(q.delivered[member] + 1).message.vector
	for k := range v {
		v[k] = min(v[k], q.delivered[k])
	}
	for k, at := range q.waiters {
		if at == member {
			q.waiters[k] = q.following[member]
			continue
		}
		for ; at >= 0; at = q.following[at] {
			if q.following[at] == member {
				q.following[at] = q.following[member]
				break
			}
		}
	}
	q.waiting[member] = false
	return q.check(dst, member)
}

// Skip gives up the messages of a member up to and including through that were neither delivered nor are held, and appends what can
// be delivered now to dst.
func (q *Causal[T]) Skip(dst []Delivery[T], member int, through uint64) []Delivery[T] {
	for member >= 0 && member < len(q.rings) && q.delivered[member] < through && through < math.MaxUint64 {
		ring, upTo := &q.rings[member], q.delivered[member]
		if ring.held == 0 {
			upTo = through
		}
		for upTo < through && !ring.has(q.delivered[member]+1, upTo+1) {
			upTo++
		}
		if upTo == q.delivered[member] {
			break // it is there, and waits for others
		}
		dst = q.skip(dst, member, upTo)
	}
	return dst
}

func (q *Causal[T]) skip(dst []Delivery[T], member int, through uint64) []Delivery[T] {
	lost := through - q.delivered[member]
	q.lost[member] += lost
	q.counts.Lost += lost
	q.ready = q.ready[:0]
	q.advance(member, through)
	return q.drain(dst)
}

// Missing returns a member of whom messages are known to be missing, and the first and the last number of them. Not ok: nothing
// is known to be missing.
func (q *Causal[T]) Missing() (member int, first, last uint64, ok bool) {
	for k := range q.rings {
		ring, next := &q.rings[k], q.delivered[k]+1
		if ring.held == 0 {
			continue
		}
		if !ring.has(next, next) {
			last = next
			for !ring.has(next, last+1) {
				last++
			}
			return k, next, last, true
		}
		v := ring.at(next).message.vector
		b := q.blocker(k, v)
		if b < 0 || q.rings[b].has(q.delivered[b]+1, q.delivered[b]+1) {
			continue
		}
		first := q.delivered[b] + 1
		last := first
		for last < v[b] && q.rings[b].held > 0 && !q.rings[b].has(first, last+1) {
			last++
		}
		if q.rings[b].held == 0 {
			last = v[b]
		}
		return b, first, last, true
	}
	return 0, 0, 0, false
}

// Counts says what became of the messages.
func (q *Causal[T]) Counts() Counts { return q.counts }

func (q *Causal[T]) refuse(member int, sequence uint64, why reason.Code) error {
	q.counts.Refused.Add(why)
	return refusal(Node(member), sequence, why)
}
