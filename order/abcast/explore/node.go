package explore

import (
	"slices"
	"time"

	"github.com/clockd/clockd/order/abcast/core"
	"github.com/clockd/clockd/virtualclock"
)

// node is one simulated process: its disk outlives its core.
type node struct {
	w         *world
	id        core.ID
	bootstrap []core.ID
	core      *core.Core
	life      int // counts starts: events of an earlier life are dropped
	member    core.Member
	gone      bool // disk lost, or removed from the group for good

	// The disk.
	durable  []core.Record
	unsynced []core.Record
	syncing  bool
	snapshot []byte // meta; the application's state is the index in it
	index    uint64 // of snapshot

	// The application.
	delivered  uint64
	early      core.Position
	unconsumed []int
	reads      map[uint64]uint64 // read → floor
	removed    bool

	// The clock.
	offset  time.Duration
	drift   float64
	sound   bool
	wakeAt  time.Duration
	waking  bool
	arrival map[core.ID]time.Duration // fifo: the last arrival scheduled at each
}

func (n *node) clock() core.Now {
	epoch := int64(1_800_000_000_000_000_000)
	shown := int64(float64(n.w.now)*(1+n.drift)) + int64(n.offset)
	return core.Now{Elapsed: n.w.now, Clock: virtualclock.Unix(epoch+shown, 0), Sound: n.sound}
}

// start begins a life from the disk.
func (n *node) start() {
	config := n.w.kind.config
	config.ID, config.Bootstrap, config.Seed = n.id, n.bootstrap, n.w.options.Seed
	c, err := core.New(config, core.Restart{Snapshot: n.snapshot, Records: slices.Clone(n.durable)})
	if err != nil {
		n.w.checker.fail("process %d does not start from its disk: %v", n.id, err)
		return
	}
	n.core, n.life, n.delivered, n.early = c, n.life+1, n.index, core.Position{}
	n.member = c.Status().Member
	n.w.checker.started(n.member)
	n.unsynced, n.syncing, n.waking = nil, false, false
	n.reads, n.unconsumed, n.arrival = make(map[uint64]uint64), nil, make(map[core.ID]time.Duration)
	n.w.note("start %v from index %d with %d records", n.member, n.index, len(n.durable))
	n.turn()
}

// crash ends a life: what is not synced may be gone, from some record on.
func (n *node) crash() {
	n.w.note("crash %v", n.member)
	kept := len(n.unsynced)
	if n.w.kind.durability == core.Fsync {
		kept = n.w.random.IntN(kept + 1)
	}
	n.durable = append(n.durable, n.unsynced[:kept]...)
	n.unsynced = nil
	if n.w.kind.durability != core.Fsync {
		// Raft's records count as stored only when they were synced; the prefix that a process crash leaves is all of it.
		n.durable = slices.Clone(n.durable)
	}
	n.core = nil
	n.life++
}

// step hands an event to the core.
func (n *node) step(e core.Event) error {
	err := n.core.Step(n.clock(), e)
	n.turn()
	return err
}

// turn does what the core wants.
func (n *node) turn() {
	r := n.core.Ready(n.clock())
	if err := n.core.Status().Broken; err != nil {
		n.w.checker.fail("broken: %v: %v", n.member, err)
		return
	}
	n.store(r.Records)
	if r.Forget > 0 {
		n.durable = slices.DeleteFunc(n.durable, func(x core.Record) bool { return x.LSN < r.Forget })
	}
	for k := range r.Upcalls {
		n.upcall(&r.Upcalls[k])
	}
	for _, m := range r.Messages {
		n.send(m)
	}
	for _, x := range r.Reads {
		if floor, known := n.reads[x.ID]; known {
			n.w.checker.read(n.member, floor, x.Index)
			delete(n.reads, x.ID)
		}
		if x.Index != n.delivered {
			n.w.checker.fail("a read at %v is answered with index %d, delivered is %d", n.member, x.Index, n.delivered)
		}
	}
	for _, id := range r.SendSnapshot {
		n.sendSnapshot(id)
	}
	if r.Removed {
		n.removed = true
	}
	n.wake(r.Wake)
}

func (n *node) wake(at time.Duration) {
	if n.waking && n.wakeAt <= at {
		return
	}
	n.waking, n.wakeAt = true, at
	life := n.life
	n.w.at(max(at, n.w.now+time.Microsecond), func() {
		if n.life != life || n.core == nil || n.wakeAt != at {
			return
		}
		n.waking = false
		_ = n.step(core.Event{Kind: core.EventTimer})
	})
}

// store appends records; they become durable together after a while (group commit).
func (n *node) store(records []core.Record) {
	for _, r := range records {
		if r.Kind == core.RecordData && n.w.kind.durability == core.Memory {
			continue
		}
		n.unsynced = append(n.unsynced, r)
	}
	if n.syncing || len(n.unsynced) == 0 {
		return
	}
	n.syncing = true
	life, count := n.life, len(n.unsynced)
	n.w.after(n.w.exponential(n.w.kind.sync), func() {
		if n.life != life || n.core == nil {
			return
		}
		lsn := n.unsynced[count-1].LSN
		n.durable = append(n.durable, n.unsynced[:count]...)
		n.unsynced = slices.Clone(n.unsynced[count:])
		n.syncing = false
		n.store(nil)
		_ = n.step(core.Event{Kind: core.EventPersisted, LSN: lsn})
	})
}

// upcall is the application.
func (n *node) upcall(u *core.Upcall) {
	c := n.w.checker
	switch u.Kind {
	case core.UpcallMessage, core.UpcallDuplicate:
		n.w.note("%v delivers %d: %v of %v number %d", n.member, u.Message.Index, u.Message.Position, u.Message.Origin, u.Message.Number)
		c.delivered(n.member, n.delivered, u.Kind, &u.Message)
		n.delivered = u.Message.Index
		n.consume(len(u.Message.Payload))
	case core.UpcallView:
		n.w.note("%v installs view %d %v at %d", n.member, u.View.ID, u.View.Members, n.delivered)
		c.view(n.member, n.delivered, u.View)
	case core.UpcallInstall:
		n.w.note("%v goes on from a snapshot at %d in view %d", n.member, u.Snapshot.Index, u.View.ID)
		n.delivered, n.early = u.Snapshot.Index, core.Position{}
		if u.Snapshot.Own > 0 {
			if b := c.broadcasts[origin{n.member, u.Snapshot.Own}]; b == nil || b.index == 0 || b.index > n.delivered {
				c.fail("integrity: %v is told that message %d is in a snapshot, and it is not", n.member, u.Snapshot.Own)
			}
		}
	case core.UpcallSnapshot:
		n.save(u.Snapshot)
	case core.UpcallEarly:
		if u.Message.Position.Compare(n.early) <= 0 {
			c.fail("early order: %v shows %v after %v", n.member, u.Message.Position, n.early)
		}
		n.early = u.Message.Position
	}
}

// consume tells the core later that the application is done.
func (n *node) consume(bytes int) {
	life := n.life
	n.w.after(n.w.exponential(time.Millisecond), func() {
		if n.life == life && n.core != nil {
			n.core.Consumed(bytes)
		}
	})
}

// save stores a snapshot after a while.
func (n *node) save(s core.Snapshot) {
	if s.Index != n.delivered {
		n.w.checker.fail("a snapshot of %v at %d is asked for at %d", n.member, n.delivered, s.Index)
	}
	life := n.life
	n.w.after(n.w.exponential(5*n.w.kind.sync), func() {
		if n.life != life || n.core == nil || s.Index <= n.index {
			return
		}
		n.w.note("%v has stored a snapshot at %d", n.member, s.Index)
		n.snapshot, n.index = s.Meta, s.Index
		if err := n.step(core.Event{Kind: core.EventSnapshotSaved, Meta: s.Meta}); err != nil {
			n.w.checker.fail("a snapshot of its own is refused by %v: %v", n.member, err)
		}
	})
}

func (n *node) sendSnapshot(to core.ID) {
	meta, index, w := n.snapshot, n.index, n.w
	w.note("%v sends %d its snapshot at %d", n.member, to, index)
	if meta == nil || w.blocked[[2]core.ID{n.id, to}] {
		return
	}
	w.after(w.exponential(5*w.kind.delay), func() {
		m := w.node(to)
		if m == nil || m.core == nil || w.blocked[[2]core.ID{n.id, to}] {
			return
		}
		// Stored under Meta before the core is told; put back if the core has no use for it.
		was, wasIndex := m.snapshot, m.index
		m.snapshot, m.index = meta, index
		if err := m.core.Step(m.clock(), core.Event{Kind: core.EventSnapshotReceived, Peer: n.id, Meta: meta}); err != nil {
			w.note("%v refuses it: %v", m.member, err)
			m.snapshot, m.index = was, wasIndex
		}
		m.turn()
	})
}

// send gives a frame to the network.
func (n *node) send(m core.Outgoing) {
	for _, to := range n.w.nodes {
		if to.id == n.id || m.To != 0 && m.To != to.id {
			continue
		}
		n.transmit(to, m.Frame)
		if n.w.kind.repeat > 0 && n.w.chance(n.w.kind.repeat) {
			n.transmit(to, m.Frame)
		}
	}
}

func (n *node) transmit(to *node, frame []byte) {
	w := n.w
	if w.blocked[[2]core.ID{n.id, to.id}] || w.kind.loss > 0 && !w.quiet && w.chance(w.kind.loss) {
		return
	}
	at := w.now + w.kind.delay/4 + w.exponential(w.kind.delay)
	if w.kind.fifo {
		at = max(at, n.arrival[to.id]+1)
		n.arrival[to.id] = at
	}
	life := to.life
	w.at(at, func() {
		// A frame outlives its sender, but not the session with its receiver.
		if to.core == nil || to.life != life || w.blocked[[2]core.ID{n.id, to.id}] {
			return
		}
		_ = to.step(core.Event{Kind: core.EventFrame, Peer: n.id, Frame: slices.Clone(frame)})
	})
}

// broadcast gives the core something to send.
func (n *node) broadcast(payload []byte, key core.Key) {
	number, err := n.core.Broadcast(n.clock(), payload, key)
	if err == nil {
		n.w.checker.sent(origin{n.member, number}, payload, key, n.w.now)
		n.w.note("%v broadcasts %d", n.member, number)
	}
	n.turn()
}

func (n *node) read() {
	id, err := n.core.Read(n.clock())
	if err == nil {
		n.reads[id] = uint64(len(n.w.checker.order))
	}
	n.turn()
}
