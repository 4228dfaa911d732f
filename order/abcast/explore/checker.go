package explore

import (
	"fmt"
	"hash/fnv"
	"time"

	"github.com/clockd/clockd/order/abcast/core"
)

// origin names a broadcast.
type origin struct {
	member core.Member
	number uint64
}

// broadcast is what the checker knows of one.
type broadcast struct {
	hash  uint64
	key   core.Key
	floor uint64 // messages delivered anywhere before it began
	at    time.Duration
	index uint64 // its place; 0: not delivered
}

// placed is one place in the order, as the first process that delivered there saw it.
type placed struct {
	id       origin
	position core.Position
	commitTS core.Timestamp
	kind     core.UpcallKind
}

// installed is where a view begins.
type installed struct {
	index   uint64
	members string
}

// checker holds what happened against the properties of theory 7.1. All of them are checked at each event, on all processes, also those that crash later.
type checker struct {
	broadcasts map[origin]*broadcast
	order      []placed // order[i] has index i+1
	views      map[core.ViewID]installed
	numbers    map[core.Member]uint64
	keys       map[core.Key]uint64
	deliveries int
	reads      int
	violation  error
}

func newChecker() *checker {
	return &checker{
		broadcasts: make(map[origin]*broadcast), views: make(map[core.ViewID]installed), numbers: make(map[core.Member]uint64), keys: make(map[core.Key]uint64),
	}
}

func (c *checker) fail(format string, args ...any) {
	if c.violation == nil {
		c.violation = fmt.Errorf(format, args...)
	}
}

func hashOf(b []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(b) // a hash never fails
	return h.Sum64()
}

// sent is told of a broadcast that was accepted.
func (c *checker) sent(id origin, payload []byte, key core.Key, at time.Duration) {
	c.broadcasts[id] = &broadcast{hash: hashOf(payload), key: key, floor: uint64(len(c.order)), at: at}
}

// started is told of each life. One that crashed before it was durable that it had begun has sent nothing, and its number is taken again.
func (c *checker) started(who core.Member) {
	for id, b := range c.broadcasts {
		if id.member != who {
			continue
		}
		if b.index != 0 {
			c.fail("%v began twice, and was heard of in between", who)
		}
		delete(c.broadcasts, id)
	}
}

// delivered is told of each delivery at each process; last is what the same life of it delivered before (or its snapshot's index).
func (c *checker) delivered(who core.Member, last uint64, kind core.UpcallKind, m *core.Message) {
	c.deliveries++
	id := origin{m.Origin, m.Number}
	if m.Index != last+1 {
		c.fail("total order: %v delivers index %d after %d", who, m.Index, last)
		return
	}
	b := c.broadcasts[id]
	if b == nil || b.hash != hashOf(m.Payload) || b.key != m.Key {
		c.fail("integrity: %v delivers message %d of %v, which was not broadcast so", who, m.Number, m.Origin)
		return
	}
	p := placed{id, m.Position, m.CommitTS, kind}
	if m.Index <= uint64(len(c.order)) {
		if c.order[m.Index-1] != p {
			c.fail("uniform total order: at index %d %v delivers %+v, another delivered %+v", m.Index, who, p, c.order[m.Index-1])
		}
		return
	}
	c.extends(who, p, b)
}

// extends checks the first delivery at a place.
func (c *checker) extends(who core.Member, p placed, b *broadcast) {
	index := uint64(len(c.order)) + 1
	if b.index != 0 {
		c.fail("integrity: %v delivers message %d of %v at %d, it was delivered at %d", who, p.id.number, p.id.member, index, b.index)
	}
	b.index = index
	if index <= b.floor {
		c.fail("real time: %v delivers at %d what was broadcast after %d had been delivered", who, index, b.floor)
	}
	if index > 1 {
		before := &c.order[index-2]
		if p.position.Compare(before.position) <= 0 {
			c.fail("order: %v delivers %v after %v", who, p.position, before.position)
		}
		if p.commitTS <= before.commitTS {
			c.fail("CommitTS: %v delivers %d after %d", who, p.commitTS, before.commitTS)
		}
	}
	if n := c.numbers[p.id.member]; p.id.number <= n {
		c.fail("FIFO: %v delivers message %d of %v after %d", who, p.id.number, p.id.member, n)
	}
	c.numbers[p.id.member] = p.id.number
	want := core.UpcallMessage
	if b.key != (core.Key{}) {
		if c.keys[b.key] != 0 {
			want = core.UpcallDuplicate
		} else {
			c.keys[b.key] = index
		}
	}
	if p.kind != want {
		c.fail("integrity: %v delivers a message whose key was delivered before at %d", who, c.keys[b.key])
	}
	c.order = append(c.order, p)
}

// view is told of each installation of a view: it is at the same place and has the same members at all processes.
func (c *checker) view(who core.Member, index uint64, v *core.View) {
	at := installed{index, fmt.Sprint(v.Members, v.Quorum)}
	if was, known := c.views[v.ID]; known && was != at {
		c.fail("view synchrony: %v installs view %d as %+v, another as %+v", who, v.ID, at, was)
	}
	c.views[v.ID] = at
}

// read is told of the result of a read that began when floor messages had been delivered somewhere.
func (c *checker) read(who core.Member, floor, index uint64) {
	c.reads++
	if index < floor {
		c.fail("linearizability: a read at %v sees %d messages, %d had been delivered before it began", who, index, floor)
	}
}
