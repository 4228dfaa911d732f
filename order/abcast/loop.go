package abcast

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/clockd/clockd/order/abcast/core"
	"github.com/clockd/clockd/order/abcast/wal"
	"github.com/clockd/clockd/reason"
)

// loopState is touched by the loop only.
type loopState struct {
	mail      mail
	persisted wal.Position
	waiting   map[uint64]*broadcast // by number
	blocked   []*broadcast          // until there is room in the window, in order
	reads     map[uint64]chan uint64
	book      map[core.ID]string // the addresses
	peers     []core.ID
	known     bool // the engine has named peers
	records   []wal.Record
	items     []item
	status    core.Status   // the last one, once the loop is over
	counters  core.Counters // likewise
}

// unblock takes a broadcast out of those that wait for room.
func (l *loopState) unblock(b *broadcast) {
	l.blocked = slices.DeleteFunc(l.blocked, func(x *broadcast) bool { return x == b })
}

// run is the loop: the only goroutine that touches the engine.
func (g *Group) run() {
	defer close(g.ended)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-g.ctx.Done():
			g.finish()
			return
		case <-g.box.wake:
		case <-timer.C:
		}
		if g.ctx.Err() != nil {
			continue
		}
		g.box.take(&g.loop.mail)
		g.feed(g.clock.now(), &g.loop.mail)
		wake, err := g.work()
		if err != nil {
			g.stop(err)
			continue
		}
		timer.Reset(max(0, wake-time.Since(g.clock.start)))
	}
}

// feed gives the engine what came.
func (g *Group) feed(now core.Now, m *mail) {
	if m.consumed > 0 {
		g.engine.Consumed(m.consumed)
	}
	for _, f := range m.frames {
		g.step(now, core.Event{Kind: core.EventFrame, Peer: f.from, Frame: f.frame})
	}
	for _, f := range m.calls {
		f(now)
	}
	for _, b := range m.broadcasts {
		g.offer(now, b)
	}
}

// step gives the engine one event whose refusal concerns nobody: the engine counts it.
func (g *Group) step(now core.Now, e core.Event) {
	if err := g.engine.Step(now, e); err != nil {
		g.config.Log.Debug("refused", "peer", uint64(e.Peer), "err", err)
	}
}

// offer gives the engine a broadcast, or lets it wait for room behind those that do.
func (g *Group) offer(now core.Now, b *broadcast) {
	if b.settled {
		return
	}
	if len(g.loop.blocked) > 0 {
		g.loop.blocked = append(g.loop.blocked, b)
		return
	}
	if err := g.try(now, b); errors.Is(err, reason.BroadcastWindow) {
		g.loop.blocked = append(g.loop.blocked, b)
	}
}

func (g *Group) try(now core.Now, b *broadcast) error {
	number, err := g.engine.Broadcast(now, b.payload, b.key)
	switch {
	case errors.Is(err, reason.BroadcastWindow):
	case err != nil:
		b.settle(Position{}, err)
	default:
		b.number, b.payload = number, nil
		g.loop.waiting[number] = b
	}
	return err
}

// retry offers what waits for room.
func (g *Group) retry(now core.Now) {
	blocked := g.loop.blocked
	for len(blocked) > 0 {
		if err := g.try(now, blocked[0]); errors.Is(err, reason.BroadcastWindow) {
			break
		}
		blocked[0] = nil
		blocked = blocked[1:]
	}
	g.loop.blocked = blocked
}

// work does what the engine wants until it wants nothing more, and returns when it wants to be woken.
func (g *Group) work() (time.Duration, error) {
	for {
		now := g.clock.now()
		r := g.engine.Ready(now)
		if err := g.append(r.Records); err != nil {
			return 0, err
		}
		g.deliver(r.Upcalls)
		g.answerReads(r.Reads)
		g.send(r.Messages)
		if err := g.attend(now, &r); err != nil {
			return 0, err
		}
		durable, err := g.log.Durable()
		if err != nil {
			return 0, fmt.Errorf("abcast: this member's disk failed, so it stops; restart it when there is a disk again: %w", err)
		}
		again := r.Room
		if durable > g.loop.persisted {
			g.loop.persisted = durable
			g.step(now, core.Event{Kind: core.EventPersisted, LSN: uint64(durable)})
			again = true
		}
		// The timer's event tells whether the engine goes on.
		if err := g.engine.Step(now, core.Event{Kind: core.EventTimer}); err != nil {
			return 0, fmt.Errorf("abcast: this member stops: %w", err)
		}
		if !again {
			return r.Wake, nil
		}
	}
}

// append appends records to the log, at the positions that they have.
func (g *Group) append(records []core.Record) error {
	if len(records) == 0 {
		return nil
	}
	l := &g.loop
	l.records = l.records[:0]
	for _, r := range records {
		l.records = append(l.records, wal.Record{Kind: byte(r.Kind), Data: r.Data, Always: r.Kind == core.RecordRaft && g.config.Durability == wal.Memory})
	}
	_, err := g.log.AppendAt(wal.Position(records[0].LSN), l.records...)
	clear(l.records)
	return err
}

func (g *Group) send(messages []core.Outgoing) {
	for _, m := range messages {
		if m.To == 0 {
			g.transport.SendAll(m.Frame)
		} else {
			g.transport.Send(uint64(m.To), m.Frame)
		}
	}
}

// attend does the rarer things of a Ready.
func (g *Group) attend(now core.Now, r *core.Ready) error {
	if r.Peers != nil {
		g.loop.peers, g.loop.known = slices.Clone(r.Peers), true
		g.setPeers()
	}
	for _, id := range r.SendSnapshot {
		g.sendSnapshot(id)
	}
	if r.Forget > 0 {
		g.truncate(wal.Position(r.Forget))
	}
	if r.Room {
		g.retry(now)
	}
	if r.Removed {
		return fmt.Errorf("abcast: this process was removed from the group: %w", reason.BroadcastRemoved)
	}
	return nil
}

// truncate removes the log's records below a position, beside the loop: a slow disk must not hold it up.
func (g *Group) truncate(below wal.Position) {
	if g.forget.Swap(uint64(below)) != 0 {
		return // who does it already will see
	}
	g.beside.Go(func() {
		for below := g.forget.Load(); ; below = g.forget.Load() {
			if err := g.log.Truncate(wal.Position(below)); err != nil {
				g.config.Log.Warn("the log keeps more than it needs", "err", err)
			}
			if g.forget.CompareAndSwap(below, 0) {
				return
			}
		}
	})
}

// deliver puts upcalls into the queue, and answers the broadcasts of this process among them.
func (g *Group) deliver(upcalls []core.Upcall) {
	if len(upcalls) == 0 {
		return
	}
	items := g.loop.items[:0]
	for i := range upcalls {
		items = append(items, g.item(&upcalls[i]))
	}
	g.queue.push(items...)
	now := time.Now()
	for i := range upcalls {
		g.settle(now, &upcalls[i])
	}
	clear(items)
	g.loop.items = items
}

func (g *Group) item(u *core.Upcall) item {
	m := &u.Message
	switch u.Kind {
	case core.UpcallView:
		g.installed(u.View)
		return item{delivery: Delivery{Kind: ViewChange, View: *u.View}}
	case core.UpcallInstall:
		g.installed(u.View)
		s := u.Snapshot
		return item{install: &s}
	case core.UpcallSnapshot:
		s := u.Snapshot
		return item{snapshot: &s, book: copyBook(g.loop.book)}
	case core.UpcallDuplicate:
		return item{hidden: true, bytes: len(m.Payload)}
	}
	x := item{bytes: len(m.Payload), delivery: Delivery{
		Kind: Message, Position: m.Position, Index: m.Index, CommitTS: m.CommitTS, Origin: m.Origin, Number: m.Number, Key: m.Key, Late: m.Late,
	}}
	if u.Kind == core.UpcallEarly {
		x.delivery.Kind, x.bytes = Early, 0
	}
	if len(m.Payload) == 0 || m.Payload[0] != envelopeUser {
		x.hidden = true
		if u.Kind == core.UpcallMessage {
			g.heed(m.Payload)
		}
		return x
	}
	x.delivery.Payload = m.Payload[1:]
	return x
}

func (g *Group) installed(v *View) {
	g.view.Store(v)
	g.config.Log.Info("view", "id", uint64(v.ID), "members", fmt.Sprint(v.Members), "quorum", v.Quorum)
}

// settle answers the broadcast that an upcall is of.
func (g *Group) settle(now time.Time, u *core.Upcall) {
	switch u.Kind {
	case core.UpcallMessage, core.UpcallDuplicate:
		b := g.loop.waiting[u.Message.Number]
		if b == nil || u.Message.Origin != g.self {
			return
		}
		delete(g.loop.waiting, u.Message.Number)
		g.latency.add(now.Sub(b.begun))
		b.settle(u.Message.Position, nil)
	case core.UpcallInstall:
		for number, b := range g.loop.waiting {
			if number <= u.Snapshot.Own {
				delete(g.loop.waiting, number)
				b.settle(Position{}, ErrPlaceUnknown)
			}
		}
	}
}

// answerReads says up to which item the consumer must be for each read.
func (g *Group) answerReads(reads []core.ReadResult) {
	if len(reads) == 0 {
		return
	}
	upto := g.queue.position()
	for _, r := range reads {
		if answer := g.loop.reads[r.ID]; answer != nil {
			answer <- upto
			delete(g.loop.reads, r.ID)
		}
	}
}

// finish ends the loop: nobody waits any longer.
func (g *Group) finish() {
	left := g.box.close()
	g.loop.status, g.loop.counters = g.engine.Status(), g.engine.Counters()
	for _, f := range left.calls {
		f(g.clock.now()) // they may have somebody waiting
	}
	why := g.why()
	for _, b := range slices.Concat(g.loop.blocked, left.broadcasts) {
		b.settle(Position{}, fmt.Errorf("abcast: the message was not sent: %w", why))
	}
	for _, b := range g.loop.waiting {
		g.giveUp(b, why)
	}
	g.queue.end(false)
}
