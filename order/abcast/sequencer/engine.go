package sequencer

import (
	"errors"
	"fmt"
	"time"

	"github.com/clockd/clockd/order/abcast/core"
	"github.com/clockd/clockd/order/abcast/internal/once"
	"github.com/clockd/clockd/reason"
)

// Engine is one process of a group. One goroutine at a time may use it. It is a core.Core but for what is defined here.
type Engine struct {
	*core.Core
	config  core.Config
	self    core.Member
	filter  *once.Filter
	view    *core.View
	now     core.Now
	removed bool

	// What this process broadcast.
	number      uint64
	mine        []message // not delivered, in order
	handed      int       // of them, how many the sequencer of this view was given
	handedAt    time.Duration
	outstanding int
	room        bool

	// What the sequencer was given.
	queue  []request // to be sent, in order
	taken  map[core.Member]uint64
	early  []request // of views that are not installed yet
	earlyN int

	received *once.Filter // of a snapshot that the core has taken
}

// New makes the engine of a process from what it finds on its disk.
func New(config core.Config, restart core.Restart) (*Engine, error) {
	if config.Delta > 0 || config.Early {
		return nil, errors.New("sequencer: time-triggered and early delivery are what only the timestamp-ordered engine can do")
	}
	e := &Engine{config: config, filter: once.New(), view: &core.View{}, taken: map[core.Member]uint64{}}
	if restart.Snapshot != nil {
		inner, f, err := decodeMeta(restart.Snapshot)
		if err != nil {
			return nil, err
		}
		restart.Snapshot, e.filter = inner, f
	}
	if e.config.MaxPayload == 0 {
		e.config.MaxPayload = 1 << 20
	}
	if e.config.Window == 0 {
		e.config.Window = 16 << 20
	}
	inner := e.config
	inner.Sequencer = true
	inner.MaxPayload += overhead
	// The sequencer's window is for the messages of all.
	inner.Window = max(inner.Window, inner.MaxPayload)
	var err error
	if e.Core, err = core.New(inner, restart); err != nil {
		return nil, err
	}
	e.self = e.Core.Status().Member
	v := e.Core.Status().View
	e.view = &v
	return e, nil
}

// sequencer is who orders in the installed view; the zero Member if nobody does.
func (e *Engine) sequencer() core.Member {
	if len(e.view.Members) == 0 {
		return core.Member{}
	}
	return e.view.Members[0]
}

// messageCost is what a message counts in the window besides its payload.
const messageCost = 64

// Broadcast accepts a payload; see core.Core.
func (e *Engine) Broadcast(now core.Now, payload []byte, key core.Key) (uint64, error) {
	if broken := e.Core.Status().Broken; broken != nil {
		return 0, broken
	}
	e.now = now
	n := len(payload) + messageCost
	switch {
	case e.removed:
		return 0, fmt.Errorf("sequencer: process %d: %w", e.self.ID, reason.BroadcastRemoved)
	case len(payload) > e.config.MaxPayload:
		return 0, fmt.Errorf("sequencer: a payload of %d bytes, %d are allowed: %w", len(payload), e.config.MaxPayload, reason.BroadcastTooLong)
	case e.outstanding+n > e.config.Window && e.outstanding > 0, len(e.queue) > 0: // at the sequencer what others handed on comes first
		e.room = true
		return 0, fmt.Errorf("sequencer: %d bytes are on their way: %w", e.outstanding, reason.BroadcastWindow)
	}
	e.number++
	e.mine = append(e.mine, message{e.number, key, payload})
	e.outstanding += n
	return e.number, nil
}

// Cancel gives up a broadcast. Only the last one can be, while nobody has it.
func (e *Engine) Cancel(number uint64) error {
	if n := len(e.mine); n > e.handed && e.handedAt == 0 && e.mine[n-1].number == number {
		e.outstanding -= len(e.mine[n-1].payload) + messageCost
		e.mine = e.mine[:n-1]
		e.number--
		return nil
	}
	return fmt.Errorf("sequencer: message %d: %w", number, reason.BroadcastMaybe)
}

// Step takes an event.
func (e *Engine) Step(now core.Now, x core.Event) error {
	e.now = now
	switch {
	case x.Kind == core.EventFrame && len(x.Frame) > 0 && x.Frame[0] == requestVersion:
		return e.receive(x.Peer, x.Frame)
	case x.Kind == core.EventConnected && x.Peer == e.sequencer().ID:
		e.handed = 0 // what the last session carried may be lost
	case x.Kind == core.EventSnapshotSaved, x.Kind == core.EventSnapshotReceived:
		inner, f, err := decodeMeta(x.Meta)
		if err != nil {
			return err
		}
		x.Meta = inner
		if err := e.Core.Step(now, x); err != nil || x.Kind == core.EventSnapshotSaved {
			return err
		}
		e.received = f // UpcallInstall follows
		return nil
	}
	return e.Core.Step(now, x)
}

// receive takes a request.
func (e *Engine) receive(from core.ID, frame []byte) error {
	r, err := decodeRequest(frame)
	switch {
	case err != nil:
		return err
	case r.group != e.config.Group:
		return fmt.Errorf("sequencer: a request of group %d, this is %d: %w", r.group, e.config.Group, reason.FrameGroup)
	case r.from.ID != from || from == e.self.ID:
		return fmt.Errorf("sequencer: process %d sends as %v: %w", from, r.from, reason.FrameSender)
	case r.view > e.view.ID:
		if e.earlyN += len(frame); e.earlyN > e.config.Window {
			return fmt.Errorf("sequencer: requests of view %d, this is %d: %w", r.view, e.view.ID, reason.QueueFull)
		}
		e.early = append(e.early, *r)
		return nil
	case r.view < e.view.ID || e.sequencer() != e.self || !e.view.Contains(r.from):
		return nil // its sender learns of the view, and hands it on again
	}
	e.take(r)
	return nil
}

// take queues what is new of a request.
func (e *Engine) take(r *request) {
	upto, known := e.taken[r.from]
	if !known {
		upto, _ = e.filter.Delivered(r.from)
	}
	first := r.messages[0].number
	if first > upto+1 || first+uint64(len(r.messages))-1 <= upto {
		return
	}
	r.messages = r.messages[upto+1-first:]
	e.taken[r.from] = upto + uint64(len(r.messages))
	e.queue = append(e.queue, *r)
}

// order gives the core what is queued, as far as its window allows.
func (e *Engine) order(now core.Now) {
	for len(e.queue) > 0 {
		r := &e.queue[0]
		for len(r.messages) > 0 {
			if _, err := e.Core.Broadcast(now, wrap(r.from, &r.messages[0]), core.Key{}); err != nil {
				return // there is room later, or the clock will be right again
			}
			r.messages = r.messages[1:]
		}
		e.queue[0] = request{}
		e.queue = e.queue[1:]
	}
	e.queue = nil
}

// resendAfter is when what was handed on and is not delivered is handed on again.
func (e *Engine) resendAfter() time.Duration {
	if e.config.SuspectAfter > 0 {
		return 2 * e.config.SuspectAfter
	}
	return time.Second
}

// handOn gives what is pending to the sequencer of the view.
func (e *Engine) handOn(now core.Now) (out []core.Outgoing) {
	if len(e.mine) == 0 || !e.view.Contains(e.self) {
		return nil
	}
	if e.handed > 0 && now.Elapsed-e.handedAt > e.resendAfter() {
		e.handed = 0
	}
	for e.handed < len(e.mine) {
		n, bytes := 0, 0
		rest := e.mine[e.handed:]
		for n < len(rest) && n < maxBatch && (n == 0 || bytes+len(rest[n].payload) <= 64<<10) {
			bytes += len(rest[n].payload)
			n++
		}
		r := request{e.config.Group, e.self, e.view.ID, rest[:n:n]}
		if s := e.sequencer(); s == e.self {
			e.take(&r)
		} else {
			out = append(out, core.Outgoing{To: s.ID, Frame: r.encode()})
		}
		e.handed += n
		e.handedAt = max(now.Elapsed, 1)
	}
	return out
}

// Ready returns what is to be done.
func (e *Engine) Ready(now core.Now) core.Ready {
	e.now = now
	out := e.handOn(now)
	e.order(now)
	r := e.Core.Ready(now)
	upcalls := e.translate(r.Upcalls)
	if len(upcalls) > 0 && e.handed < len(e.mine) {
		// A new view: hand on at once.
		out = append(out, e.handOn(now)...)
	}
	r.Upcalls = upcalls
	r.Messages = append(r.Messages, out...)
	again := len(e.queue) > 0 && r.Room
	e.removed = e.removed || r.Removed
	r.Room = e.room && len(e.queue) == 0 && (e.outstanding == 0 || 2*e.outstanding <= e.config.Window)
	if r.Room {
		e.room = false
	}
	if again {
		r.Wake = now.Elapsed
	}
	return r
}

// translate turns the core's upcalls into those of the origins.
func (e *Engine) translate(all []core.Upcall) []core.Upcall {
	kept := all[:0]
	for _, u := range all {
		switch u.Kind {
		case core.UpcallMessage:
			if !e.delivered(&u) {
				continue
			}
		case core.UpcallView:
			e.enter(u.View)
		case core.UpcallInstall:
			e.filter = e.received
			own, _ := e.filter.Delivered(e.self)
			e.settle(own)
			u.Snapshot.Own, u.Snapshot.Meta = own, encodeMeta(u.Snapshot.Meta, e.filter)
			e.enter(u.View)
		case core.UpcallSnapshot:
			u.Snapshot.Meta = encodeMeta(u.Snapshot.Meta, e.filter)
		}
		kept = append(kept, u)
	}
	return kept
}

// delivered fills in an upcall; false: it was delivered before, or one before it was lost.
func (e *Engine) delivered(u *core.Upcall) bool {
	wrapped := len(u.Message.Payload)
	origin, m, ok := unwrap(u.Message.Payload)
	if !ok || !e.filter.Pass(origin, m.number) {
		e.Core.Consumed(wrapped)
		return false
	}
	e.Core.Consumed(wrapped - len(m.payload))
	u.Message.Origin, u.Message.Number, u.Message.Key, u.Message.Payload = origin, m.number, m.key, m.payload
	if !e.filter.Fresh(m.key) {
		u.Kind = core.UpcallDuplicate
	}
	if origin == e.self {
		e.settle(m.number)
	}
	return true
}

// settle lets go of own messages that are delivered.
func (e *Engine) settle(upto uint64) {
	n := 0
	for n < len(e.mine) && e.mine[n].number <= upto {
		e.outstanding -= len(e.mine[n].payload) + messageCost
		e.mine[n] = message{}
		n++
	}
	e.mine = e.mine[n:]
	if e.handed = max(0, e.handed-n); e.handed > 0 {
		e.handedAt = max(e.now.Elapsed, 1) // it goes on
	}
	if len(e.mine) == 0 {
		e.mine, e.handedAt = nil, 0
	}
}

// enter goes on in a view: with another sequencer, or one that began anew, everything is handed on again.
func (e *Engine) enter(v *core.View) {
	was := e.sequencer()
	e.view = v
	e.handed = 0
	if e.sequencer() != was {
		clear(e.taken)
		e.queue = nil
	}
	early := e.early
	e.early, e.earlyN = nil, 0
	for k := range early {
		switch r := &early[k]; {
		case r.view > v.ID:
			e.early = append(e.early, *r)
		case r.view == v.ID && e.sequencer() == e.self && v.Contains(r.from):
			e.take(r)
		}
	}
}

// Status returns the state.
func (e *Engine) Status() core.Status {
	s := e.Core.Status()
	s.Pending = len(e.mine)
	if s.InView {
		s.Leader = e.sequencer().ID
	}
	return s
}

// Counters returns a copy of the counters.
func (e *Engine) Counters() core.Counters {
	n := e.Core.Counters()
	n.Outstanding = uint64(e.outstanding)
	return n
}
