package abcast

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/clockd/clockd/order/abcast/core"
	"github.com/clockd/clockd/order/abcast/transport"
	"github.com/clockd/clockd/order/abcast/wal"
	"github.com/clockd/clockd/reason"
)

// Group is one process of a group. Its methods may be called from any goroutine.
type Group struct {
	config    Config
	clock     clock
	engine    Engine // the loop's own
	log       *wal.Log
	snapshots *wal.Snapshots
	transport *transport.Transport
	box       *mailbox
	queue     *queue
	identity  wal.Identity
	self      Member

	ctx     context.Context
	cancel  context.CancelCauseFunc
	ended   chan struct{}  // the loop is over
	beside  sync.WaitGroup // what runs beside the loop: senders of snapshots, the one who truncates the log
	forget  atomic.Uint64  // below which the log is to be truncated; 0: nobody is at it
	once    sync.Once
	view    atomic.Pointer[View]
	latency histogram
	spare   sync.Pool // of broadcasts

	consumer chan struct{} // a token: who holds it consumes
	storing  sync.Mutex    // of snapshots
	begin    *startState   // what the first consumer has to restore; guarded by the consumer's token

	loop loopState
}

var _ Log = (*Group)(nil)

// startState is what a process finds on its disk for the application.
type startState struct{ sequence uint64 }

// broadcast is a Broadcast that waits.
type broadcast struct {
	payload []byte
	key     Key
	begun   time.Time
	done    chan struct{}
	// Set by the loop before it tells done, which is the last that it does.
	position Position
	err      error
	// The loop's own.
	number  uint64
	settled bool
}

// Open begins, or goes on with, a member of a group. What is in the directory is read first: an error that is a *wal.CorruptError says that it is not what was
// written. Open does not wait for the other members.
func Open(c Config) (*Group, error) {
	if err := c.prepare(); err != nil {
		if c.Listener != nil {
			err = errors.Join(err, c.Listener.Close())
		}
		return nil, err
	}
	g := &Group{
		config: c, clock: clock{source: c.Clock, start: time.Now()}, box: newMailbox(c.InboxBytes), queue: newQueue(),
		ended: make(chan struct{}), consumer: make(chan struct{}, 1),
	}
	g.ctx, g.cancel = context.WithCancelCause(context.Background())
	g.view.Store(&View{})
	if err := g.open(); err != nil {
		err = errors.Join(err, g.config.Listener.Close())
		if g.log != nil {
			err = errors.Join(err, g.log.Close())
		}
		return nil, err
	}
	go g.run()
	return g, nil
}

func (g *Group) open() (err error) {
	c := &g.config
	var restart core.Restart
	options := c.Wal
	options.Mode = c.Durability
	options.Durable = func(p wal.Position, _ error) { g.box.persisted(p) }
	g.log, err = wal.Open(filepath.Join(c.Dir, "log"), options, func(p wal.Position, r wal.Record) error {
		restart.Records = append(restart.Records, core.Record{LSN: uint64(p), Kind: core.RecordKind(r.Kind), Data: append([]byte(nil), r.Data...)})
		return nil
	})
	if err != nil {
		return err
	}
	if r := g.log.Recovery(); r.Torn {
		c.Log.Warn("the log's end was not written whole and was removed", "file", r.TornFile, "offset", r.TornOffset, "bytes", r.TornBytes, "why", r.TornReason)
	}
	if g.identity, err = wal.NextIncarnation(options.FS, c.Dir); err != nil {
		return err
	}
	g.loop.book = map[core.ID]string{}
	for id, address := range c.Members {
		g.loop.book[id] = address
	}
	if err := g.openSnapshots(&restart); err != nil {
		return err
	}
	if g.engine, err = c.Engine(c.Tuning, restart); err != nil {
		return err
	}
	g.self = g.engine.Status().Member
	g.loop.waiting = map[uint64]*broadcast{}
	g.loop.reads = map[uint64]chan uint64{}
	return g.listen()
}

func (g *Group) listen() (err error) {
	c := &g.config
	t := c.Transport
	t.Group, t.ID, t.Incarnation = c.Group, uint64(c.ID), g.identity.Incarnation
	t.Disk = g.identity.Disk
	t.Listener, t.Security, t.Plain, t.Log = c.Listener, c.Security, c.Plain, c.Log
	if t.MaxFrame == 0 {
		t.MaxFrame = core.MaxFrameSize
	}
	t.Handler = transport.Handler{
		Frame: func(peer uint64, frame []byte) { g.box.frame(core.ID(peer), frame) },
		Connected: func(peer uint64) {
			g.box.call(func(now core.Now) { g.step(now, core.Event{Kind: core.EventConnected, Peer: core.ID(peer)}) })
		},
		Stream: g.receiveSnapshot,
	}
	if g.transport, err = transport.Start(t); err != nil {
		return err
	}
	g.setPeers()
	return nil
}

// Address is where this member listens.
func (g *Group) Address() string { return g.transport.Address().String() }

// Broadcast implements Log.
func (g *Group) Broadcast(ctx context.Context, payload []byte) (Position, error) {
	return g.broadcast(ctx, envelopeUser, payload, Key{})
}

// BroadcastKey is Broadcast with a key: of the messages with one key only the first in the order is delivered, also if this or another process sent them again after an
// error that left it open. Keys are remembered for core.DedupeWindow messages. The position is that of the message with this key that took a place in the order
// for this call; if it was delivered before, the call is answered all the same.
func (g *Group) BroadcastKey(ctx context.Context, key Key, payload []byte) (Position, error) {
	return g.broadcast(ctx, envelopeUser, payload, key)
}

func (g *Group) broadcast(ctx context.Context, kind byte, payload []byte, key Key) (Position, error) {
	if err := ctx.Err(); err != nil {
		return Position{}, fmt.Errorf("abcast: the message was not sent: %w", err)
	}
	b, _ := g.spare.Get().(*broadcast)
	if b == nil {
		b = &broadcast{done: make(chan struct{}, 1)}
	}
	b.key, b.begun = key, time.Now()
	b.payload = append(append(make([]byte, 0, len(payload)+1), kind), payload...)
	if !g.box.broadcast(b) {
		return Position{}, fmt.Errorf("abcast: the message was not sent: %w", g.why())
	}
	select {
	case <-b.done:
		return g.finished(b)
	case <-ctx.Done():
	}
	if g.box.call(func(core.Now) { g.giveUp(b, ctx.Err()) }) {
		<-b.done
	} else {
		<-g.ended
		<-b.done
	}
	return b.position, b.err
}

// finished returns what became of a broadcast, which nobody looks at any more: it is used again.
func (g *Group) finished(b *broadcast) (Position, error) {
	p, err := b.position, b.err
	*b = broadcast{done: b.done}
	g.spare.Put(b)
	return p, err
}

// Deliveries implements Log. The first consumer after Open first gets the state that is on the disk (Config.Restore).
func (g *Group) Deliveries(ctx context.Context) iter.Seq[Delivery] {
	return func(yield func(Delivery) bool) {
		select {
		case g.consumer <- struct{}{}:
		case <-ctx.Done():
			return
		case <-g.ctx.Done():
			return
		}
		defer func() { <-g.consumer }()
		if err := g.restoreStart(); err != nil {
			g.stop(err)
			return
		}
		for {
			x, ok := g.queue.next(ctx)
			if !ok {
				return
			}
			more, err := g.consume(x, yield)
			g.queue.finish()
			if x.bytes > 0 {
				g.box.done(x.bytes)
			}
			if err != nil {
				g.stop(err)
				return
			}
			if !more {
				return
			}
		}
	}
}

// consume does with an item what is to be done.
func (g *Group) consume(x item, yield func(Delivery) bool) (bool, error) {
	switch {
	case x.hidden:
		return true, nil
	case x.snapshot != nil:
		g.saveSnapshot(x)
		return true, nil
	case x.install != nil:
		return true, g.restore(x.install.Index)
	}
	return yield(x.delivery), nil
}

// View implements Log.
func (g *Group) View() View { return *g.view.Load() }

// Read implements Log.
func (g *Group) Read(ctx context.Context) error {
	answer := make(chan uint64, 1)
	var id uint64
	refused := make(chan error, 1)
	ok := g.box.call(func(now core.Now) {
		var err error
		if id, err = g.engine.Read(now); err != nil {
			refused <- err
			return
		}
		g.loop.reads[id] = answer
	})
	if !ok {
		return fmt.Errorf("abcast: cannot read: %w", g.why())
	}
	select {
	case upto := <-answer:
		return g.applied(ctx, upto)
	case err := <-refused:
		return err
	case <-g.ctx.Done():
		return fmt.Errorf("abcast: the read was not finished: %w", g.why())
	case <-ctx.Done():
		g.box.call(func(core.Now) {
			g.engine.CancelRead(id)
			delete(g.loop.reads, id)
		})
		return fmt.Errorf("abcast: the read was not finished: %w", ctx.Err())
	}
}

// applied waits until the consumer is done with so many items.
func (g *Group) applied(ctx context.Context, upto uint64) error {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(g.ctx, cancel) // a group that stopped may have no consumer any more
	defer stop()
	err := g.queue.wait(waiting, upto)
	switch {
	case err == nil:
		return nil
	case ctx.Err() == nil:
		err = g.why()
	}
	return fmt.Errorf("abcast: the read was not finished: %w", err)
}

// Leave takes this process out of the view, so that the others need not first suspect it when it ends: call it before Close when a program is restarted in
// order. It returns when that is done, or with an error when ctx ends. The process comes back into the view by itself unless it is closed soon.
func (g *Group) Leave(ctx context.Context) error {
	for {
		again := time.NewTimer(g.config.leaveAgain())
		left := make(chan bool, 1)
		if !g.box.call(func(now core.Now) {
			s := g.engine.Status()
			if s.InView {
				g.step(now, core.Event{Kind: core.EventReconfigure, Peer: g.config.ID})
			}
			left <- !s.InView || len(s.View.Members) == 1
		}) {
			again.Stop()
			return fmt.Errorf("abcast: cannot leave: %w", g.why())
		}
		select {
		case gone := <-left:
			if gone {
				again.Stop()
				return nil
			}
		case <-g.ctx.Done():
			again.Stop()
			return fmt.Errorf("abcast: cannot leave: %w", g.why())
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return fmt.Errorf("abcast: this process is still in the view: %w", ctx.Err())
		}
	}
}

// leaveAgain is how often a request to leave is repeated.
func (c *Config) leaveAgain() time.Duration { return 20 * time.Millisecond }

// Done is closed when the group has stopped: Err says why.
func (g *Group) Done() <-chan struct{} { return g.ctx.Done() }

// Err implements Log.
func (g *Group) Err() error {
	err := context.Cause(g.ctx)
	if errors.Is(err, ErrClosed) {
		return nil
	}
	return err
}

func (g *Group) why() error {
	if err := context.Cause(g.ctx); err != nil {
		return err
	}
	return ErrClosed
}

// stop ends the group with an error.
func (g *Group) stop(err error) {
	if g.ctx.Err() == nil {
		g.config.Log.Error("the group is stopped", "err", err)
	}
	g.cancel(err)
}

// Close implements Log. It returns when nothing of the group runs any more but a consumer in the middle of an item, which must not itself call Close.
func (g *Group) Close() error {
	var err error
	g.once.Do(func() {
		g.cancel(ErrClosed)
		<-g.ended
		g.queue.end(true)
		err = g.transport.Close()
		g.beside.Wait()
		if e := g.log.Close(); g.Err() == nil {
			err = errors.Join(err, e) // otherwise it is known already
		}
	})
	return err
}

// giveUp answers a broadcast whose caller waits no longer. It runs in the loop.
func (g *Group) giveUp(b *broadcast, why error) {
	if b.settled {
		return
	}
	if b.number == 0 {
		g.loop.unblock(b)
		b.settle(Position{}, fmt.Errorf("abcast: the message was not sent: %w", why))
		return
	}
	err := g.engine.Cancel(b.number)
	delete(g.loop.waiting, b.number)
	if err == nil {
		b.settle(Position{}, fmt.Errorf("abcast: the message was not sent: %w", why))
		return
	}
	b.settle(Position{}, fmt.Errorf("abcast: %w: %w", reason.BroadcastMaybe, why))
}

func (b *broadcast) settle(p Position, err error) {
	if !b.settled {
		b.settled, b.position, b.err = true, p, err
		b.done <- struct{}{} // it has room
	}
}
