package abcast

import (
	"context"
	"errors"
	"iter"

	"github.com/clockd/clockd/order/abcast/core"
	"github.com/clockd/clockd/order/abcast/raftlog"
	"github.com/clockd/clockd/order/abcast/sequencer"
)

// The words of the protocol, see package core.
type (
	// ID names a process for ever.
	ID = core.ID
	// Member is one life of a process.
	Member = core.Member
	// Timestamp is in nanoseconds since the Unix epoch.
	Timestamp = core.Timestamp
	// View is an agreed membership.
	View = core.View
	// Position is a place in the total order.
	Position = core.Position
	// Key makes a broadcast idempotent.
	Key = core.Key
)

// Kind says what a Delivery is.
type Kind uint8

// The kinds of deliveries.
const (
	// Message is a message: Position, Index, CommitTS, Origin, Number, Key, Payload and Late mean something.
	Message Kind = iota + 1
	// ViewChange: View is installed, after all messages of earlier ones and before any of its own.
	ViewChange
	// Early shows a message that is not delivered yet, and may never be if members crash now; its place among the messages of its view is final. Index and CommitTS
	// are 0. Only with Config.Tuning.Early.
	Early
)

// Delivery is one item of what a group delivers, in order.
type Delivery struct {
	Kind     Kind
	Position Position
	// Index is the number of the message among all that were ever delivered in the group: the same at each member, ascending, but not without gaps.
	Index uint64
	// CommitTS strictly increases along the order.
	CommitTS Timestamp
	// Origin is who broadcast it; per Origin, Number increases.
	Origin  Member
	Number  uint64
	Key     Key
	Payload []byte // not to be changed
	Late    bool   // time-triggered delivery could not keep its instant
	View    View
}

// Log is a replicated log as programs see it, whichever engine makes it.
type Log interface {
	// Broadcast sends a payload to all members and returns its place in the order, once it is delivered here: then it will be delivered by all who stay. An
	// error is either reason.BroadcastMaybe too (errors.Is), then nobody knows yet, or the message will never be delivered. It obeys ctx.
	Broadcast(ctx context.Context, payload []byte) (Position, error)
	// Deliveries returns what is delivered, in order. An item is taken to be done with when the next one is asked for, or when the loop ends. There is one consumer:
	// a second one waits for the end of the first, and goes on where it ended. The sequence ends with ctx, with Close, and with the error that Err returns.
	Deliveries(ctx context.Context) iter.Seq[Delivery]
	// View returns the installed view.
	View() View
	// Read returns when this process' consumer has done with everything that was delivered anywhere before Read was called: what it shows then is linearizable. Without a
	// consumer it waits.
	Read(ctx context.Context) error
	// Err returns why the log stopped; nil while it runs, and after Close.
	Err() error
	// Close ends the log at this process. Others go on.
	Close() error
}

// ErrClosed is what a closed group answers.
var ErrClosed = errors.New("abcast: the group is closed")

// ErrPlaceUnknown is what Broadcast returns if the message was delivered, but this process learnt so by a snapshot, which does not say where.
var ErrPlaceUnknown = errors.New("abcast: the message was delivered, but its position is not known here")

// Engine is a protocol as a pure state machine: package core's Core is the one of TSAB. See there for what each call means.
type Engine interface {
	Step(core.Now, core.Event) error
	Broadcast(now core.Now, payload []byte, key core.Key) (number uint64, err error)
	Cancel(number uint64) error
	Read(core.Now) (id uint64, err error)
	CancelRead(id uint64)
	Consumed(bytes int)
	Ready(core.Now) core.Ready
	Status() core.Status
	Counters() core.Counters
}

// TSAB is the timestamp-ordered engine.
func TSAB(config core.Config, restart core.Restart) (Engine, error) { return core.New(config, restart) }

// RaftLog is a plain raft log: see package raftlog.
func RaftLog(config core.Config, restart core.Restart) (Engine, error) {
	return raftlog.New(config, restart)
}

// Sequencer is a fixed sequencer: see package sequencer.
func Sequencer(config core.Config, restart core.Restart) (Engine, error) {
	return sequencer.New(config, restart)
}
