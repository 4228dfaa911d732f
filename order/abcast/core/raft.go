package core

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/clockd/clockd/order/abcast/internal/etcdraft"
	"github.com/clockd/clockd/reason"
)

// raftState is the embedded raft: it decides the views and the processes of the group, a few entries per failure.
type raftState struct {
	storage *raft.MemoryStorage
	node    *raft.RawNode
	conf    *pb.ConfState
	applied uint64
	decided ViewID // by the entries applied so far

	ready      raft.Ready // being persisted
	busy       bool
	until      uint64 // LSN that ready waits for
	compacted  uint64 // applied at the last compaction
	checkpoint uint64 // LSN of the first record of the last compaction

	tickAt, campaignAt, ledSince time.Duration
	leading                      bool
	changed                      bool   // the group, since the last compaction
	rounds                       uint64 // of view changes coordinated in this life
}

// compactEvery is how many entries are applied before raft's log is compacted.
const compactEvery = 64

// init gives raft the first processes of the group, as if a snapshot had: the same at all of them.
func (r *raftState) init(bootstrap []ID) {
	r.storage = raft.NewMemoryStorage()
	r.conf = &pb.ConfState{}
	if len(bootstrap) == 0 {
		return
	}
	for _, id := range bootstrap {
		r.conf.Voters = append(r.conf.Voters, uint64(id))
	}
	slices.Sort(r.conf.Voters)
	first := &pb.Snapshot{Metadata: &pb.SnapshotMetadata{Index: proto.Uint64(1), Term: proto.Uint64(1), ConfState: r.conf}}
	// It cannot fail: the storage is empty.
	_ = r.storage.ApplySnapshot(first)
	_ = r.storage.SetHardState(&pb.HardState{Term: proto.Uint64(1), Commit: proto.Uint64(1)})
}

// replay takes a record of raft's from the log.
func (r *raftState) replay(what byte, body []byte) error {
	switch what {
	case recordHardState:
		h := &pb.HardState{}
		if err := proto.Unmarshal(body, h); err != nil {
			return fmt.Errorf("raft's state: %w", reason.EncodingMalformed)
		}
		return r.storage.SetHardState(h)
	case recordEntry:
		e := &pb.Entry{}
		if err := proto.Unmarshal(body, e); err != nil {
			return fmt.Errorf("raft's entry: %w", reason.EncodingMalformed)
		}
		last, err := r.storage.LastIndex()
		if err != nil || e.GetIndex() > last+1 {
			return err // the remains of what was forgotten: a compaction follows
		}
		return r.storage.Append([]*pb.Entry{e})
	case recordRaftSnapshot:
		s := &pb.Snapshot{}
		if err := proto.Unmarshal(body, s); err != nil || s.GetMetadata() == nil {
			return fmt.Errorf("raft's snapshot: %w", reason.EncodingMalformed)
		}
		return r.replaySnapshot(s)
	}
	return fmt.Errorf("of kind %d: %w", what, reason.EncodingMalformed)
}

// replaySnapshot takes a snapshot from the log. The entries after it stay, if it is one of this process's own log: they are in the log again behind it, but a torn
// tail may have taken them.
func (r *raftState) replaySnapshot(s *pb.Snapshot) error {
	index := s.GetMetadata().GetIndex()
	var rest []*pb.Entry
	if term, err := r.storage.Term(index); err == nil && term == s.GetMetadata().GetTerm() {
		if last, err := r.storage.LastIndex(); err == nil && last > index {
			if rest, err = r.storage.Entries(index+1, last+1, 1<<62); err != nil {
				return fmt.Errorf("raft's entries: %w", err)
			}
		}
	}
	err := r.storage.ApplySnapshot(s)
	if errors.Is(err, raft.ErrSnapOutOfDate) {
		return nil
	}
	if err == nil {
		err = r.storage.Append(rest)
	}
	if err != nil {
		return fmt.Errorf("raft's snapshot: %w", err)
	}
	return nil
}

// startRaft begins raft from its storage.
func (c *Core) startRaft() (err error) {
	r := &c.raft
	snapshot, err := r.storage.Snapshot()
	if err != nil {
		return fmt.Errorf("abcast: raft's storage: %w", err)
	}
	if err := c.raftRestore(snapshot); err != nil {
		return err
	}
	if err := r.fitCommit(); err != nil {
		return err
	}
	c.guard(func() {
		r.node, err = raft.NewRawNode(&raft.Config{
			ID: uint64(c.config.ID), ElectionTick: electionTicks, HeartbeatTick: 2, Storage: r.storage, Applied: r.applied,
			MaxSizePerMsg: 1 << 20, MaxInflightMsgs: 64, MaxUncommittedEntriesSize: 1 << 20,
			CheckQuorum: true, PreVote: true, StepDownOnRemoval: true, Logger: etcdraft.Quiet(),
		})
	})
	if err == nil {
		err = c.broken
	}
	if err != nil {
		return fmt.Errorf("abcast: raft does not start: %w", err)
	}
	return nil
}

// fitCommit makes the commit index fit the log: a torn tail may have taken the state that came with a snapshot, or, however the log was cut, entries.
func (r *raftState) fitCommit() error {
	hard, _, err := r.storage.InitialState()
	if err != nil {
		return fmt.Errorf("abcast: raft's storage: %w", err)
	}
	last, err := r.storage.LastIndex()
	if err != nil {
		return fmt.Errorf("abcast: raft's storage: %w", err)
	}
	commit := min(max(hard.GetCommit(), r.applied), last)
	if commit == hard.GetCommit() {
		return nil
	}
	fitting := &pb.HardState{Term: proto.Uint64(hard.GetTerm()), Vote: proto.Uint64(hard.GetVote()), Commit: proto.Uint64(commit)}
	return r.storage.SetHardState(fitting)
}

// guard turns a panic of raft into Broken.
func (c *Core) guard(f func()) {
	if err := etcdraft.Guard(uint64(c.config.ID), f); err != nil {
		c.fail(fmt.Errorf("abcast: %w", err))
	}
}

func (r *raftState) voters() []ID {
	ids := make([]ID, 0, len(r.conf.GetVoters()))
	for _, id := range r.conf.GetVoters() {
		ids = append(ids, ID(id))
	}
	slices.Sort(ids)
	return ids
}

func (r *raftState) leader() ID {
	if r.node == nil {
		return 0
	}
	return ID(r.node.BasicStatus().Lead)
}

func (r *raftState) leads() bool { return r.leading }

// propose hands an entry to raft, or to its leader. It may be lost.
func (r *raftState) propose(data []byte) { _ = r.node.Propose(data) }

func (c *Core) electionDelay() time.Duration {
	return c.config.ElectionTimeout + time.Duration(c.random.Int64N(int64(c.config.ElectionTimeout)))
}

// raftWork lets raft's time pass and carries out what it wants. Elections are begun here, not by raft, whose own timeouts are not repeatable.
func (c *Core) raftWork() {
	r := &c.raft
	c.guard(func() {
		if c.now.Elapsed >= r.tickAt {
			r.tickAt = c.now.Elapsed + c.config.ElectionTimeout/electionTicks
			if r.leading {
				r.node.Tick()
			} else {
				r.node.TickQuiesced()
			}
		}
		leading := r.node.BasicStatus().RaftState == raft.StateLeader
		if leading && !r.leading {
			r.ledSince = c.now.Elapsed
		}
		r.leading = leading
		if !leading && c.now.Elapsed >= r.campaignAt {
			r.campaignAt = c.now.Elapsed + c.electionDelay()
			if slices.Contains(c.universe, c.self.ID) {
				_ = r.node.Campaign()
			}
		}
		for !r.busy && c.broken == nil && r.node.HasReady() {
			c.takeRaftReady()
		}
	})
}

// takeRaftReady persists first: nothing of it is sent or applied before that.
func (c *Core) takeRaftReady() {
	r := &c.raft
	r.ready = r.node.Ready()
	rd := &r.ready
	wait := rd.MustSync
	if !raft.IsEmptySnap(rd.Snapshot) {
		wait = true
		if err := r.storage.ApplySnapshot(rd.Snapshot); err != nil {
			c.fail(fmt.Errorf("abcast: a snapshot of raft: %w", err))
			return
		}
		c.recordProto(recordRaftSnapshot, rd.Snapshot)
	}
	for _, e := range rd.Entries {
		c.recordProto(recordEntry, e)
	}
	if err := r.storage.Append(rd.Entries); err != nil {
		c.fail(fmt.Errorf("abcast: raft's entries: %w", err))
		return
	}
	if !raft.IsEmptyHardState(rd.HardState) {
		_ = r.storage.SetHardState(rd.HardState)
		c.recordProto(recordHardState, rd.HardState)
	}
	r.busy, r.until = true, 0
	if wait {
		r.until = c.lsn
	}
	c.finishRaftReady()
}

func (c *Core) recordProto(what byte, m proto.Message) {
	b, err := proto.Marshal(m)
	if err != nil {
		c.fail(fmt.Errorf("abcast: raft's state cannot be written: %w", err))
		return
	}
	c.record(RecordRaft, what, b)
}

func (c *Core) raftPersisted() { c.guard(c.finishRaftReady) }

// finishRaftReady sends and applies once all is durable.
func (c *Core) finishRaftReady() {
	r := &c.raft
	if !r.busy || c.durable < r.until || c.broken != nil {
		return
	}
	rd := r.ready
	if !raft.IsEmptySnap(rd.Snapshot) {
		if err := c.raftRestore(rd.Snapshot); err != nil {
			c.fail(err)
			return
		}
		c.setUniverse(r.voters())
	}
	for _, m := range rd.Messages {
		c.sendRaft(m)
	}
	for _, e := range rd.CommittedEntries {
		c.applyEntry(e)
	}
	r.busy, r.ready = false, raft.Ready{}
	r.node.Advance(rd)
	// After a change of the group too: raft brings a new process in by a snapshot that has it.
	if r.applied >= r.compacted+compactEvery || r.changed {
		r.changed = false
		c.compactRaft()
	}
}

func (c *Core) sendRaft(m *pb.Message) {
	b, err := proto.Marshal(m)
	if err != nil {
		return
	}
	e := c.begun(kindRaft, len(b))
	e.bytes(b)
	c.send(ID(m.GetTo()), &e)
	if m.GetType() == pb.MsgSnap {
		c.raft.node.ReportSnapshot(m.GetTo(), raft.SnapshotFinish)
	}
}

func (c *Core) applyEntry(e *pb.Entry) {
	c.raft.applied = e.GetIndex()
	switch e.GetType() {
	case pb.EntryNormal:
		if len(e.GetData()) > 0 {
			c.apply(e.GetData())
		}
	case pb.EntryConfChange, pb.EntryConfChangeV2:
		change, err := etcdraft.Change(e)
		if err != nil {
			c.fail(fmt.Errorf("abcast: %w", err))
			return
		}
		c.raft.conf = c.raft.node.ApplyConfChange(change)
		c.raft.changed = true
		c.setUniverse(c.raft.voters())
	}
}

// compactRaft replaces the applied part of raft's log by the chain of views.
func (c *Core) compactRaft() {
	r := &c.raft
	c.trimChain()
	var e encoder
	e.uint(uint64(r.decided))
	e.uint(uint64(len(c.chain)))
	for k := range c.chain {
		c.chain[k].encode(&e)
	}
	snapshot, err := r.storage.CreateSnapshot(r.applied, r.conf, e.b)
	if err == nil {
		err = r.storage.Compact(r.applied)
	} else { // nothing new since the last one; that is written again, because its record may be forgotten
		snapshot, err = r.storage.Snapshot()
	}
	if err != nil {
		c.fail(fmt.Errorf("abcast: raft's log cannot be compacted: %w", err))
		return
	}
	r.compacted = r.applied
	r.checkpoint = c.lsn + 1
	c.recordProto(recordRaftSnapshot, snapshot)
	first := snapshot.GetMetadata().GetIndex() + 1
	if last, err := r.storage.LastIndex(); err == nil && last >= first {
		entries, err := r.storage.Entries(first, last+1, 1<<62)
		if err != nil {
			c.fail(fmt.Errorf("abcast: raft's entries: %w", err))
			return
		}
		for _, entry := range entries {
			c.recordProto(recordEntry, entry)
		}
	}
	if hard, _, err := r.storage.InitialState(); err == nil {
		c.recordProto(recordHardState, hard)
	}
	c.recordLife()
}

// raftRestore takes raft's snapshot: the chain of views up to it.
func (c *Core) raftRestore(s *pb.Snapshot) error {
	r := &c.raft
	if conf := s.GetMetadata().GetConfState(); conf != nil {
		r.conf = conf
	}
	r.applied = s.GetMetadata().GetIndex()
	r.compacted = r.applied
	if len(s.GetData()) == 0 {
		return nil
	}
	d := &decoder{b: s.GetData()}
	decided, n := ViewID(d.uint()), d.uint()
	var chain []newView
	for range min(n, uint64(len(s.GetData()))) {
		var v newView
		v.decode(d)
		chain = append(chain, v)
	}
	if !d.end() || uint64(len(chain)) != n || n > 0 && chain[n-1].prev+1 != decided {
		return fmt.Errorf("abcast: raft's snapshot: %w", reason.EncodingMalformed)
	}
	r.decided = max(r.decided, decided)
	for k := range chain {
		v := chain[k]
		if len(c.chain) > 0 && v.prev <= c.chain[len(c.chain)-1].prev {
			continue
		}
		if len(c.chain) > 0 && v.prev != c.chain[len(c.chain)-1].prev+1 {
			c.chain = nil // what is between is unknown: a snapshot of the application must bridge it
		}
		c.chain = append(c.chain, v)
		c.frozen = max(c.frozen, v.prev)
	}
	return nil
}

// trimChain forgets views that neither this process nor its snapshot needs any more.
func (c *Core) trimChain() {
	need := min(c.view.ID, c.snapshots.savedView)
	for len(c.chain) > 1 && c.chain[0].prev < need {
		c.chain = c.chain[1:]
	}
}

// receiveRaft takes a message of raft.
func (c *Core) receiveRaft(from Member, b []byte) error {
	m := &pb.Message{}
	if err := proto.Unmarshal(b, m); err != nil {
		return malformed("RAFT")
	}
	if m.GetFrom() != uint64(from.ID) || m.GetTo() != uint64(c.self.ID) {
		return fmt.Errorf("abcast: a raft message of %d to %d: %w", m.GetFrom(), m.GetTo(), reason.FrameSender)
	}
	c.guard(func() {
		if err := c.raft.node.Step(m); err != nil {
			return // a proposal that was dropped, or an answer of one who was removed
		}
		switch m.GetType() {
		case pb.MsgApp, pb.MsgHeartbeat, pb.MsgSnap:
			if c.raft.leader() == from.ID {
				c.raft.campaignAt = c.now.Elapsed + c.electionDelay()
			}
		case pb.MsgVote:
			if c.raft.node.BasicStatus().HardState.GetVote() == uint64(from.ID) {
				c.raft.campaignAt = c.now.Elapsed + c.electionDelay()
			}
		}
	})
	return nil
}

// proposeMember asks raft to change the group by one process.
func (c *Core) proposeMember(kind EventKind, id ID) error {
	change, err := etcdraft.Added(c.universe, id, maxMembers)
	if kind == EventRemoveMember {
		change, err = etcdraft.Removed(c.universe, id)
	}
	if err != nil {
		return fmt.Errorf("abcast: %w", err)
	}
	c.guard(func() { err = c.raft.node.ProposeConfChange(change) })
	if err != nil {
		return fmt.Errorf("abcast: the change of the group by process %d was not proposed, try again when there is a leader: %w", id, err)
	}
	return nil
}
