package raftlog

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/clockd/clockd/order/abcast/core"
	"github.com/clockd/clockd/order/abcast/internal/etcdraft"
	"github.com/clockd/clockd/reason"
)

// drainRaft takes what raft wants until it wants no more, or waits for the disk.
func (e *Engine) drainRaft() {
	for !e.busy && e.broken == nil && e.node.HasReady() {
		e.takeReady()
	}
}

// takeReady records what must be durable. A leader sends at once, while its own disk works (Ongaro's thesis, 10.2.1); others only when it is done.
func (e *Engine) takeReady() {
	e.ready = e.node.Ready()
	rd := &e.ready
	if !raft.IsEmptySnap(rd.Snapshot) {
		if err := e.storage.ApplySnapshot(rd.Snapshot); err != nil {
			e.fail(fmt.Errorf("raftlog: a snapshot of raft: %w", err))
			return
		}
	}
	for _, x := range rd.Entries {
		e.recordProto(recordEntry, x)
	}
	if err := e.storage.Append(rd.Entries); err != nil {
		e.fail(fmt.Errorf("raftlog: raft's entries: %w", err))
		return
	}
	if !raft.IsEmptyHardState(rd.HardState) {
		_ = e.storage.SetHardState(rd.HardState) // it never fails
		e.recordProto(recordHardState, rd.HardState)
	}
	if e.node.BasicStatus().RaftState == raft.StateLeader {
		e.sendRaft(rd.Messages)
		rd.Messages = nil
	}
	e.busy, e.until = true, 0
	if rd.MustSync && e.config.Durability != core.Memory {
		e.until = e.lsn
	}
	e.finishReady()
}

// finishReady goes on once all is durable.
func (e *Engine) finishReady() {
	if !e.busy || e.durable < e.until || e.broken != nil {
		return
	}
	rd := e.ready
	if !raft.IsEmptySnap(rd.Snapshot) {
		e.install(rd.Snapshot)
	}
	e.sendRaft(rd.Messages)
	e.committed = append(e.committed, rd.CommittedEntries...)
	e.reads.take(rd.ReadStates)
	e.busy, e.ready = false, raft.Ready{}
	e.node.Advance(rd)
	e.watchLeader()
}

func (e *Engine) recordProto(what byte, m proto.Message) {
	b, err := proto.Marshal(m)
	if err != nil {
		e.fail(fmt.Errorf("raftlog: raft's state cannot be written: %w", err))
		return
	}
	e.record(false, what, b)
}

func (e *Engine) sendRaft(messages []*pb.Message) {
	for _, m := range messages {
		if m.GetType() == pb.MsgSnap {
			m = e.sendSnapshot(m)
		}
		b, err := proto.Marshal(m)
		if err != nil {
			continue
		}
		e.out.Messages = append(e.out.Messages, core.Outgoing{To: core.ID(m.GetTo()), Frame: append(e.header(frameRaft), b...)})
	}
}

func (e *Engine) receiveRaft(from core.ID, b []byte) error {
	m := &pb.Message{}
	if err := proto.Unmarshal(b, m); err != nil {
		return malformed("RAFT")
	}
	// Raft's own hands-on of proposals and reads keep who asked in From.
	if m.GetFrom() != uint64(from) && m.GetType() != pb.MsgProp && m.GetType() != pb.MsgReadIndex || m.GetTo() != uint64(e.self.ID) {
		return fmt.Errorf("raftlog: a raft message of %d to %d: %w", m.GetFrom(), m.GetTo(), reason.FrameSender)
	}
	if m.GetType() == pb.MsgSnap && !e.takeSnap(m) {
		return nil
	}
	e.guard(func() { _ = e.node.Step(m) }) // a proposal that was dropped is made again
	return nil
}

// watchLeader proposes anew what a former leader may have lost.
func (e *Engine) watchLeader() {
	s := e.node.BasicStatus()
	if s.Lead == e.leader && s.GetTerm() == e.term {
		return
	}
	e.leader, e.term = s.Lead, s.GetTerm()
	for _, x := range e.inflight {
		x.at = e.now.Elapsed - time.Hour
	}
	e.reads.again()
}

// propose makes entries of what is pending, and proposes again what seems to be lost: all that is on its way, since numbers must follow each other.
func (e *Engine) propose() {
	for len(e.pending) > 0 {
		e.inflight = append(e.inflight, e.nextBatch())
	}
	if e.leader == 0 || len(e.inflight) == 0 {
		return
	}
	first := e.inflight[0]
	all := first.at != 0 && e.now.Elapsed-first.at > 2*e.config.SuspectAfter
	for _, x := range e.inflight {
		if x.at != 0 && !all {
			continue
		}
		if x.at != 0 {
			e.counters.Rebroadcast += uint64(len(x.messages))
		}
		if err := e.node.Propose(x.data); err != nil {
			return // the rest must not overtake it
		}
		x.at = max(e.now.Elapsed, 1)
	}
}

func (e *Engine) nextBatch() *proposal {
	n, bytes := 0, 0
	x := &proposal{batch: batch{origin: e.self, number: e.pending[0].number, ts: core.Timestamp(max(e.now.Clock.UnixNano(), 0))}}
	for n < len(e.pending) && n < maxBatch && (n == 0 || bytes+len(e.pending[n].message.payload) <= e.config.MaxFrame) {
		m := e.pending[n].message
		bytes += len(m.payload)
		x.cost += len(m.payload) + messageCost
		x.messages = append(x.messages, m)
		n++
	}
	x.encode()
	if e.pending = e.pending[n:]; len(e.pending) == 0 {
		e.pending = nil
	}
	return x
}

// release lets go of own messages that all of the view have applied.
func (e *Engine) release() {
	least := e.applied
	for _, m := range e.view.Members {
		if p := e.peer(m.ID); p != nil {
			if !p.known || p.life != m.Incarnation {
				return
			}
			least = min(least, p.stat.applied)
		}
	}
	n := 0
	for n < len(e.delivered) && e.delivered[n].index <= least {
		e.outstanding -= e.delivered[n].cost
		n++
	}
	if e.delivered = e.delivered[n:]; len(e.delivered) == 0 {
		e.delivered = nil
	}
}

// proposeMember asks raft to change the group by one process.
func (e *Engine) proposeMember(kind core.EventKind, id core.ID) error {
	change, err := etcdraft.Added(e.universe, id, maxMembers)
	if kind == core.EventRemoveMember {
		change, err = etcdraft.Removed(e.universe, id)
	}
	if err != nil {
		return fmt.Errorf("raftlog: %w", err)
	}
	e.guard(func() { err = e.node.ProposeConfChange(change) })
	if err = errors.Join(err, e.broken); err != nil {
		return fmt.Errorf("raftlog: the change of the group by process %d was not proposed, try again when there is a leader: %w", id, err)
	}
	return nil
}

// setUniverse takes the processes of the group from raft's configuration.
func (e *Engine) setUniverse() {
	var ids []core.ID
	for _, id := range e.conf.GetVoters() {
		ids = append(ids, core.ID(id))
	}
	slices.Sort(ids)
	if slices.Equal(ids, e.universe) {
		return
	}
	if slices.Contains(e.universe, e.self.ID) && !slices.Contains(ids, e.self.ID) {
		e.removed, e.out.Removed = true, true
	}
	e.universe = ids
	e.peers = slices.DeleteFunc(e.peers, func(p *peer) bool { return !slices.Contains(ids, p.id) })
	for _, id := range ids {
		if id != e.self.ID && e.peer(id) == nil {
			e.peers = append(e.peers, &peer{id: id, heard: e.now.Elapsed, snapAt: -time.Hour})
		}
	}
	e.peersDue = true
}
