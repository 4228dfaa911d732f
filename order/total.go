package order

import (
	"fmt"
	"math"

	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// Total is a hold-back queue that delivers the messages of all members in the order of their keys, on every host alike (Lamport 1978,
// the symmetric algorithm). A message is delivered when every member has promised to send nothing before it any more: each
// message is such a promise, and Promise takes one without a message. A member's messages and promises must come in the order in
// which it made them (FIFO sees to that), with growing keys; timestamps of a Stamper, a Committer or an HLC grow.
//
// A member that is silent holds up all: have it promise its clock's time now and then, and let those who agree on the membership
// Remove it when it is gone. Nobody can be given up without such agreement, so the policy is always Refuse. Since a member's room is its
// own, a flood of others cannot keep out the message that all wait for.
//
// One goroutine at a time may use it.
type Total[T any] struct {
	limits  Limits
	size    func(T) int
	index   map[Node]int
	members []totalMember[T]
	// slowest is the member with the smallest frontier.
	slowest int
	// last is the key of the last message that was delivered.
	last   Key
	counts Counts
}

type totalMember[T any] struct {
	node Node
	// frontier: the member will send nothing with this key or a smaller one.
	frontier Key
	// queue is a ring of the messages that are held: count of them from first on.
	queue        []totalMessage[T]
	first, count int
	bytes        int
	// removed: it is gone as soon as nothing is held of it.
	removed bool
}

type totalMessage[T any] struct {
	key     Key
	message T
}

// NewTotal makes a Total for these members; Limits.Senders bounds how many there may be, Limits.Window the messages held of each. size
// counts a message's bytes; it may be nil if Limits.Bytes is 0.
func NewTotal[T any](l Limits, size func(T) int, members ...Node) (*Total[T], error) {
	if err := l.check(size != nil); err != nil {
		return nil, err
	}
	if l.Policy != Refuse {
		return nil, fmt.Errorf("order: a total order has only the policy Refuse; let the members agree, and Remove")
	}
	q := &Total[T]{limits: l, size: size, index: make(map[Node]int), last: Key{Time: virtualclock.MinTime()}}
	for _, m := range members {
		if err := q.Join(m, Key{Time: virtualclock.MinTime()}); err != nil {
			return nil, err
		}
	}
	return q, nil
}

// Join adds a member that will send nothing with a key of frontier or less, which must not be before what was delivered already
// (PromiseBroken). All hosts must add it at the same place in the order.
func (q *Total[T]) Join(node Node, frontier Key) error {
	q.sweep()
	if _, known := q.index[node]; known || len(q.members) >= q.limits.Senders {
		q.counts.Refused.Add(reason.QueueSender)
		return fmt.Errorf("order: no room for member %d, or it is one: %w", node, reason.QueueSender)
	}
	if frontier.Compare(q.last) < 0 {
		q.counts.Refused.Add(reason.PromiseBroken)
		return fmt.Errorf("order: member %d may send what should have been delivered already: %w", node, reason.PromiseBroken)
	}
	q.index[node] = len(q.members)
	q.members = append(q.members, totalMember[T]{node: node, frontier: frontier})
	q.findSlowest()
	return nil
}

// Remove takes a member out, and appends to dst what need not wait for it any more. What is held of it is still delivered in its
// order. All hosts must do it at the same place in the order.
func (q *Total[T]) Remove(dst []Delivery[T], node Node) []Delivery[T] {
	if i, known := q.index[node]; known {
		q.members[i].frontier, q.members[i].removed = Key{virtualclock.MaxTime(), math.MaxUint64, math.MaxUint64}, true
		q.findSlowest()
		dst = q.drain(dst)
		q.sweep()
	}
	return dst
}

// Add takes a message and appends what can be delivered now to dst. It refuses with a code: QueueSender, PromiseBroken,
// QueueDuplicate, QueueFull; a message that is refused promises nothing.
func (q *Total[T]) Add(dst []Delivery[T], k Key, m T) ([]Delivery[T], error) {
	i, known := q.index[k.Node]
	if !known {
		return dst, q.refuse(k, reason.QueueSender)
	}
	member := &q.members[i]
	if k.Compare(member.frontier) <= 0 {
		if member.count > 0 && k == member.at(member.count-1).key {
			return dst, q.refuse(k, reason.QueueDuplicate)
		}
		return dst, q.refuse(k, reason.PromiseBroken)
	}
	if member.count >= q.limits.Window {
		return dst, q.refuse(k, reason.QueueFull)
	}
	if q.size != nil {
		size := q.size(m)
		if q.limits.Bytes > 0 && member.count > 0 && member.bytes+size > q.limits.Bytes {
			return dst, q.refuse(k, reason.QueueFull)
		}
		member.bytes += size
	}
	member.push(totalMessage[T]{k, m})
	q.counts.Held++
	return q.promised(dst, i, k), nil
}

// Promise says that a member will send nothing with a timestamp of t or less any more, and appends what can be delivered now to dst. A
// promise that says less than an earlier one changes nothing.
func (q *Total[T]) Promise(dst []Delivery[T], node Node, t virtualclock.Time) []Delivery[T] {
	i, known := q.index[node]
	k := Key{t, math.MaxUint64, math.MaxUint64}
	if !known || k.Compare(q.members[i].frontier) <= 0 {
		return dst
	}
	return q.promised(dst, i, k)
}

func (q *Total[T]) promised(dst []Delivery[T], i int, k Key) []Delivery[T] {
	q.members[i].frontier = k
	if i != q.slowest {
		return dst // what held up the others still does
	}
	q.findSlowest()
	return q.drain(dst)
}

func (q *Total[T]) findSlowest() {
	q.slowest = 0
	for i := range q.members {
		if q.members[i].frontier.less(&q.members[q.slowest].frontier) {
			q.slowest = i
		}
	}
}

// drain delivers the least messages up to the smallest frontier.
func (q *Total[T]) drain(dst []Delivery[T]) []Delivery[T] {
	if len(q.members) == 0 {
		return dst
	}
	for limit := &q.members[q.slowest].frontier; ; {
		var m *totalMember[T]
		least := limit
		for i := range q.members {
			if x := &q.members[i]; x.count > 0 {
				if head := &x.at(0).key; !least.less(head) {
					m, least = x, head
				}
			}
		}
		if m == nil {
			return dst
		}
		head := m.pop()
		if q.size != nil {
			m.bytes -= q.size(head.message)
		}
		q.counts.Held--
		q.counts.Delivered++
		q.last = head.key
		dst = append(dst, Delivery[T]{m.node, head.key.Sequence, head.message, 0})
	}
}

// sweep drops members that were removed and of whom nothing is held.
func (q *Total[T]) sweep() {
	kept := q.members[:0]
	for _, m := range q.members {
		if m.removed && m.count == 0 {
			delete(q.index, m.node)
			continue
		}
		q.index[m.node] = len(kept)
		kept = append(kept, m)
	}
	clear(q.members[len(kept):])
	q.members = kept
	q.findSlowest()
}

// Slowest returns the member for whose promise all wait, and up to where it has promised. Not ok: there is no member.
func (q *Total[T]) Slowest() (node Node, frontier Key, ok bool) {
	if len(q.members) == 0 {
		return 0, Key{}, false
	}
	m := &q.members[q.slowest]
	return m.node, m.frontier, true
}

// Counts says what became of the messages.
func (q *Total[T]) Counts() Counts { return q.counts }

func (q *Total[T]) refuse(k Key, why reason.Code) error {
	q.counts.Refused.Add(why)
	return refusal(k.Node, k.Sequence, why)
}

func (m *totalMember[T]) at(i int) *totalMessage[T] { return &m.queue[(m.first+i)&(len(m.queue)-1)] }

func (m *totalMember[T]) push(x totalMessage[T]) {
	if m.count == len(m.queue) {
		bigger := make([]totalMessage[T], max(leastRing, 2*len(m.queue)))
		for i := range m.count {
			bigger[i] = *m.at(i)
		}
		m.queue, m.first = bigger, 0
	}
	m.count++
	*m.at(m.count - 1) = x
}

func (m *totalMember[T]) pop() totalMessage[T] {
	x := *m.at(0)
	*m.at(0) = totalMessage[T]{}
	m.first = (m.first + 1) & (len(m.queue) - 1)
	m.count--
	return x
}
