package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/clockd/clockd/order/abcast/core"
	"github.com/clockd/clockd/order/abcast/internal/etcdraft"
	"github.com/clockd/clockd/order/abcast/internal/once"
	"github.com/clockd/clockd/reason"
)

// Engine is one process of a group. One goroutine at a time may use it.
type Engine struct {
	config core.Config
	self   core.Member
	now    core.Now
	broken error

	lsn, durable, alive uint64
	started             bool

	storage    *raft.MemoryStorage
	node       *raft.RawNode
	conf       *pb.ConfState
	ready      raft.Ready
	busy       bool
	until      uint64 // LSN that ready waits for
	tickAt     time.Duration
	leader     uint64
	term       uint64
	committed  []*pb.Entry // that are not applied yet
	applied    uint64
	universe   []core.ID
	peers      []*peer
	peersDue   bool
	removed    bool
	view       *core.View
	viewAt     time.Duration // when a view was last proposed
	leaveUntil time.Duration
	statAt     time.Duration
	statDue    bool

	number      uint64
	pending     []pendingMessage
	inflight    []*proposal // proposed, not applied
	delivered   []ownBatch  // applied here, not yet everywhere
	outstanding int
	room        bool

	position   core.Position
	index      uint64
	commitTS   core.Timestamp
	filter     *once.Filter
	unconsumed int

	reads     reads
	snapshots snapshots
	counters  core.Counters
	out       core.Ready
}

type pendingMessage struct {
	number  uint64
	message message
}

// proposal is a batch that was proposed, and when.
type proposal struct {
	batch
	cost int
	at   time.Duration
}

type ownBatch struct {
	index uint64 // raft's
	cost  int
}

type peer struct {
	id       core.ID
	life     uint64
	heard    time.Duration
	stat     stat
	known    bool
	snapAt   time.Duration
	snapSent bool
}

const electionTicks = 10

// New makes the engine of a process from what it finds on its disk.
func New(config core.Config, restart core.Restart) (*Engine, error) {
	if err := prepare(&config); err != nil {
		return nil, err
	}
	e := &Engine{config: config, view: &core.View{}, filter: once.New()}
	e.self.ID = config.ID
	if err := e.restore(restart); err != nil {
		return nil, err
	}
	if e.self.Incarnation > 0 && config.Durability == core.Memory {
		return nil, fmt.Errorf("raftlog: process %d ran before, and in memory mode its vote and its log ended with it: remove it from the group and begin it under a new ID", config.ID)
	}
	e.self.Incarnation++
	e.alive = e.record(true, recordLife, binary.AppendUvarint(nil, e.self.Incarnation))
	var err error
	e.guard(func() {
		e.node, err = raft.NewRawNode(&raft.Config{
			ID: uint64(config.ID), ElectionTick: electionTicks, HeartbeatTick: 1, Storage: e.storage, Applied: e.applied, MaxSizePerMsg: 1 << 20, MaxInflightMsgs: 256,
			MaxCommittedSizePerReady: 4 << 20, CheckQuorum: true, PreVote: true, StepDownOnRemoval: true, Logger: etcdraft.Quiet(),
		})
	})
	if err = errors.Join(err, e.broken); err != nil {
		return nil, fmt.Errorf("raftlog: raft does not start: %w", err)
	}
	e.setUniverse()
	return e, nil
}

// prepare sets the defaults of those settings that mean something here; they are those of package core, which also checks them.
func prepare(c *core.Config) error {
	if _, err := core.New(*c, core.Restart{}); err != nil {
		return err
	}
	size := func(n *int, v int) {
		if *n == 0 {
			*n = v
		}
	}
	last := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	last(&c.Heartbeat, 5*time.Millisecond)
	last(&c.SuspectAfter, 500*time.Millisecond)
	last(&c.ElectionTimeout, c.SuspectAfter)
	last(&c.EvictAfter, 5*time.Second)
	size(&c.MaxPayload, 1<<20)
	size(&c.MaxFrame, 64<<10)
	size(&c.Window, 16<<20)
	size(&c.SnapshotEvery, 64<<20)
	size(&c.Unconsumed, 16<<20)
	if c.Delta > 0 || c.Early {
		return errors.New("raftlog: time-triggered and early delivery are what only the timestamp-ordered engine can do")
	}
	return nil
}

// guard turns a panic of raft into broken.
func (e *Engine) guard(f func()) {
	if err := etcdraft.Guard(uint64(e.config.ID), f); err != nil {
		e.fail(fmt.Errorf("raftlog: %w", err))
	}
}

func (e *Engine) fail(err error) {
	if e.broken == nil {
		e.broken = err
	}
}

func (e *Engine) record(always bool, what byte, body []byte) uint64 {
	e.lsn++
	kind := core.RecordRaft
	if !always && e.config.Durability == core.Memory {
		kind = core.RecordData
	}
	e.out.Records = append(e.out.Records, core.Record{LSN: e.lsn, Kind: kind, Data: append(append(make([]byte, 0, len(body)+1), what), body...)})
	return e.lsn
}

func (e *Engine) tell(now core.Now) {
	now.Elapsed = max(now.Elapsed, e.now.Elapsed)
	if !e.started {
		e.started = true
		for _, p := range e.peers {
			p.heard = now.Elapsed
		}
		e.statAt, e.tickAt = now.Elapsed-e.config.Heartbeat, now.Elapsed
		e.viewAt = now.Elapsed - time.Hour
	}
	e.now = now
}

// Step takes an event.
func (e *Engine) Step(now core.Now, x core.Event) error {
	if e.broken != nil {
		return e.broken
	}
	e.tell(now)
	var err error
	switch x.Kind {
	case core.EventFrame:
		if err = e.receive(x.Peer, x.Frame); err != nil {
			e.refused(err)
		}
	case core.EventPersisted:
		e.durable = max(e.durable, min(x.LSN, e.lsn))
	case core.EventConnected:
		e.statDue = true
	case core.EventSnapshotSaved:
		err = e.snapshotSaved(x.Meta)
	case core.EventSnapshotReceived:
		err = e.snapshotReceived(x.Meta)
	case core.EventAddMember, core.EventRemoveMember:
		err = e.proposeMember(x.Kind, x.Peer)
	case core.EventReconfigure:
		e.reconfigure(x.Peer)
	case core.EventTimer:
	default:
		err = fmt.Errorf("raftlog: no event of kind %d", x.Kind)
	}
	return err
}

func (e *Engine) refused(err error) {
	var code reason.Code
	if errors.As(err, &code) && code < reason.Count {
		e.counters.Refused[code]++
	}
}

// messageCost is what a message counts in the window besides its payload.
const messageCost = 64

// Broadcast accepts a payload; see core.Core.
func (e *Engine) Broadcast(now core.Now, payload []byte, key core.Key) (uint64, error) {
	if e.broken != nil {
		return 0, e.broken
	}
	e.tell(now)
	var err error
	n := len(payload) + messageCost
	switch {
	case e.removed:
		err = fmt.Errorf("raftlog: process %d: %w", e.self.ID, reason.BroadcastRemoved)
	case len(payload) > e.config.MaxPayload:
		err = fmt.Errorf("raftlog: a payload of %d bytes, %d are allowed: %w", len(payload), e.config.MaxPayload, reason.BroadcastTooLong)
	case e.outstanding+n > e.config.Window && e.outstanding > 0:
		e.room = true
		err = fmt.Errorf("raftlog: %d bytes are on their way: %w", e.outstanding, reason.BroadcastWindow)
	}
	if err != nil {
		e.refused(err)
		return 0, err
	}
	e.number++
	e.pending = append(e.pending, pendingMessage{e.number, message{key, payload}})
	e.outstanding += n
	e.counters.Broadcast++
	e.counters.BroadcastBytes += uint64(len(payload))
	return e.number, nil
}

// Cancel gives up a broadcast. Only one that waits for the next Ready can be.
func (e *Engine) Cancel(number uint64) error {
	if n := len(e.pending); n > 0 && e.pending[n-1].number == number {
		// The last one: the numbers of the others must follow each other.
		e.outstanding -= len(e.pending[n-1].message.payload) + messageCost
		e.pending = e.pending[:n-1]
		e.number--
		return nil
	}
	return fmt.Errorf("raftlog: message %d: %w", number, reason.BroadcastMaybe)
}

// Consumed says that the application is done with so many payload bytes.
func (e *Engine) Consumed(bytes int) { e.unconsumed = max(0, e.unconsumed-bytes) }

// Ready returns what is to be done, and forgets it.
func (e *Engine) Ready(now core.Now) core.Ready {
	e.tell(now)
	if e.broken == nil {
		e.guard(e.work)
	}
	r := e.out
	e.out = core.Ready{}
	if e.durable < e.alive || e.broken != nil {
		e.out.Messages, r.Messages = r.Messages, nil
	}
	if e.peersDue {
		e.peersDue = false
		for _, p := range e.peers {
			r.Peers = append(r.Peers, p.id)
		}
	}
	if e.room && (e.outstanding == 0 || 2*e.outstanding <= e.config.Window) {
		e.room, r.Room = false, true
	}
	r.Wake = max(min(e.tickAt, e.statAt+e.config.Heartbeat), e.now.Elapsed)
	return r
}

func (e *Engine) work() {
	if e.now.Elapsed >= e.tickAt {
		e.tickAt = e.now.Elapsed + e.config.ElectionTimeout/electionTicks
		e.node.Tick()
	}
	e.finishReady()
	e.retrySnapshots()
	e.propose()
	e.changeView()
	e.drainRaft()
	e.apply()
	e.drainRaft() // what was applied may be read, or change the group
	e.readWork()
	e.release()
	e.wantSnapshot()
	e.sendStat()
}

// Status returns the state.
func (e *Engine) Status() core.Status {
	s := core.Status{
		Member: e.self, View: *e.view, Decided: e.view.ID, InView: e.view.Contains(e.self), Leader: core.ID(e.node.BasicStatus().Lead), Universe: slices.Clone(e.universe),
		Position: e.position, Index: e.index, CommitTS: e.commitTS, Pending: len(e.pending), Broken: e.broken,
	}
	for _, x := range e.inflight {
		s.Pending += len(x.messages)
	}
	for _, p := range e.peers {
		if e.silent(p) {
			s.Suspected = append(s.Suspected, p.id)
		}
	}
	return s
}

// Counters returns a copy of the counters.
func (e *Engine) Counters() core.Counters {
	n := e.counters
	n.Outstanding = uint64(e.outstanding)
	for _, x := range e.committed {
		n.Held += uint64(len(x.GetData()))
	}
	return n
}

func (e *Engine) peer(id core.ID) *peer {
	for _, p := range e.peers {
		if p.id == id {
			return p
		}
	}
	return nil
}
