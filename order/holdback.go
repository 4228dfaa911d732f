package order

import (
	"errors"
	"fmt"

	"github.com/clockd/clockd/reason"
)

// Policy is what a hold-back queue does when a sender's room is full because a message is missing.
type Policy uint8

// The policies.
const (
	// Refuse: messages that would be held any later are refused with QueueFull. The sender must send them again, and the missing one
	// first; for that one there is always room.
	Refuse Policy = iota
	// Skip: what is missing is given up, as little as is needed to make room. Delivery.Lost tells of it.
	Skip
)

// Limits bound a hold-back queue's memory: Senders times Window messages, and Senders times Bytes of payload.
type Limits struct {
	// Senders is how many senders are known at a time.
	Senders int
	// Window is how many messages of one sender are held at most; more exactly, how far a sequence number may be beyond the next
	// one. At most 2²⁰.
	Window int
	// Bytes, if not 0, is how many bytes of one sender's messages, as counted by the queue's size function, are held; a single
	// message that is larger is held only if nothing else of its sender is.
	Bytes  int
	Policy Policy
}

const maxWindow = 1 << 20

func (l *Limits) check(sized bool) error {
	switch {
	case l.Senders < 1 || l.Window < 1 || l.Window > maxWindow || l.Bytes < 0:
		return fmt.Errorf("order: Limits need at least 1 of Senders, 1 to %d of Window, and Bytes that are not negative", maxWindow)
	case l.Bytes > 0 && !sized:
		return errors.New("order: Limits.Bytes needs a size function")
	case l.Policy > Skip:
		return fmt.Errorf("order: there is no policy %d", l.Policy)
	}
	return nil
}

// Delivery is a message in its order.
type Delivery[T any] struct {
	Sender   Node
	Sequence uint64
	Message  T
	// Lost is how many messages of the same sender were given up right before this one.
	Lost uint64
}

// Counts says what became of the messages that a hold-back queue was given.
type Counts struct {
	Delivered, Held, Lost uint64
	// Refused counts by reason.
	Refused reason.Counts
}

// slot is a place in a ring.
type slot[T any] struct {
	message T
	full    bool
}

// ring holds the messages of one sender by their sequence number, in a window of them. It grows to what it needs.
type ring[T any] struct {
	slots []slot[T]
	held  int
	bytes int
}

const leastRing = 8

// at returns the place of a sequence number.
func (r *ring[T]) at(sequence uint64) *slot[T] { return &r.slots[sequence&uint64(len(r.slots)-1)] }

// has reports whether a sequence number is held; first is that of the window's first place.
func (r *ring[T]) has(first, sequence uint64) bool {
	return sequence-first < uint64(len(r.slots)) && r.at(sequence).full
}

// put holds a message whose number is ahead beyond the first number of the window, first.
func (r *ring[T]) put(first, ahead uint64, m T, size int) {
	if ahead >= uint64(len(r.slots)) {
		r.grow(first, ahead)
	}
	*r.at(first + ahead) = slot[T]{m, true}
	r.held++
	r.bytes += size
}

func (r *ring[T]) grow(first, ahead uint64) {
	length := max(leastRing, len(r.slots))
	for uint64(length) <= ahead {
		length *= 2
	}
	old := *r
	r.slots = make([]slot[T], length)
	for k := range uint64(len(old.slots)) {
		if s := old.at(first + k); s.full {
			*r.at(first + k) = *s
		}
	}
}

// take removes a message that is held.
func (r *ring[T]) take(sequence uint64) T {
	s := r.at(sequence)
	m := s.message
	*s = slot[T]{}
	r.held--
	return m
}
