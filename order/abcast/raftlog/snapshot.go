package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/clockd/clockd/order/abcast/core"
	"github.com/clockd/clockd/order/abcast/internal/once"
	"github.com/clockd/clockd/reason"
)

// snapshots is about the snapshots of the application. Raft's own have the same description, and are only ever of an index at which there is one of the application.
type snapshots struct {
	since    int // bytes delivered since the last one was asked for
	saved    uint64
	pending  uint64
	begun    time.Duration
	wanted   bool // by a process that is behind
	forget   uint64
	after    uint64
	received *meta       // stored here, from another process
	offered  *pb.Message // raft's, which waits for it
}

// meta is what the engine needs to go on from a snapshot.
type meta struct {
	group       uint64
	raft, term  uint64
	conf        *pb.ConfState
	view        *core.View
	position    core.Position
	index       uint64
	commitTS    core.Timestamp
	filter      *once.Filter
	description []byte
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

func (e *Engine) meta() ([]byte, error) {
	term, err := e.storage.Term(e.applied)
	if err != nil {
		return nil, err
	}
	conf, err := proto.Marshal(e.conf)
	if err != nil {
		return nil, err
	}
	b := []byte{wireVersion}
	for _, x := range []uint64{e.config.Group, e.applied, term, uint64(len(conf))} {
		b = binary.AppendUvarint(b, x)
	}
	b = encodeView(append(b, conf...), e.view)
	for _, x := range []uint64{uint64(e.position.View), uint64(e.position.Time), uint64(e.position.Sender), e.index, uint64(e.commitTS)} {
		b = binary.AppendUvarint(b, x)
	}
	b = e.filter.Append(b)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli())), nil
}

func decodeMeta(b []byte) (*meta, error) {
	unusable := fmt.Errorf("raftlog: the snapshot's description: %w", reason.SnapshotUnusable)
	if len(b) < 5 || crc32.Checksum(b[:len(b)-4], castagnoli()) != binary.LittleEndian.Uint32(b[len(b)-4:]) {
		return nil, unusable
	}
	r := reader{b: b[:len(b)-4]}
	if r.byte() != wireVersion {
		return nil, unusable
	}
	m := &meta{group: r.uint(), raft: r.uint(), term: r.uint(), conf: &pb.ConfState{}, description: b}
	if err := proto.Unmarshal(r.bytes(r.uint()), m.conf); err != nil {
		return nil, unusable
	}
	m.view = r.view()
	m.position = core.Position{View: core.ViewID(r.uint()), Time: core.Timestamp(r.uint()), Sender: core.ID(r.uint())}
	m.index, m.commitTS = r.uint(), core.Timestamp(r.uint())
	filter, ok := once.Decode(r.b)
	if m.filter = filter; !ok || r.bad || m.raft == 0 {
		return nil, unusable
	}
	return m, nil
}

// snapshot is raft's.
func (m *meta) snapshot() *pb.Snapshot {
	return &pb.Snapshot{Data: m.description, Metadata: &pb.SnapshotMetadata{Index: proto.Uint64(m.raft), Term: proto.Uint64(m.term), ConfState: m.conf}}
}

// adopt goes on from a snapshot.
func (e *Engine) adopt(m *meta) {
	e.applied, e.conf, e.view = m.raft, m.conf, m.view
	e.position, e.index, e.commitTS, e.filter = m.position, m.index, m.commitTS, m.filter
	e.snapshots.saved, e.snapshots.since, e.snapshots.pending = m.index, 0, 0
}

// restore begins from what is on the disk.
func (e *Engine) restore(restart core.Restart) error {
	first := &pb.Snapshot{}
	e.conf = &pb.ConfState{}
	if restart.Snapshot != nil {
		m, err := decodeMeta(restart.Snapshot)
		if err != nil {
			return err
		}
		if m.group != e.config.Group {
			return fmt.Errorf("raftlog: a snapshot of group %d, this is %d: %w", m.group, e.config.Group, reason.SnapshotUnusable)
		}
		e.adopt(m)
		first = m.snapshot()
	} else if len(e.config.Bootstrap) > 0 {
		for _, id := range e.config.Bootstrap {
			e.conf.Voters = append(e.conf.Voters, uint64(id))
		}
		slices.Sort(e.conf.Voters)
		e.applied = 1
		first = &pb.Snapshot{Metadata: &pb.SnapshotMetadata{Index: proto.Uint64(1), Term: proto.Uint64(1), ConfState: e.conf}}
	}
	hard := &pb.HardState{Term: proto.Uint64(first.GetMetadata().GetTerm()), Vote: proto.Uint64(0), Commit: proto.Uint64(e.applied)}
	log, err := e.replay(restart.Records, &hard)
	if err != nil {
		return err
	}
	e.storage = raft.NewMemoryStorage()
	if e.applied > 0 {
		if err := e.storage.ApplySnapshot(first); err != nil {
			return fmt.Errorf("raftlog: raft's snapshot: %w", err)
		}
	}
	if err := e.storage.Append(after(log, e.applied, first.GetMetadata().GetTerm())); err != nil {
		return fmt.Errorf("raftlog: raft's entries: %w", err)
	}
	last, err := e.storage.LastIndex()
	if err != nil {
		return fmt.Errorf("raftlog: raft's storage: %w", err)
	}
	hard.Commit = proto.Uint64(min(max(hard.GetCommit(), e.applied), last))
	if hard.GetTerm() == 0 && last == 0 {
		return nil // a process that joins
	}
	return e.storage.SetHardState(hard)
}

// replay reads the records: the entries that are left of them, in order.
func (e *Engine) replay(records []core.Record, hard **pb.HardState) ([]*pb.Entry, error) {
	var log []*pb.Entry
	for k := range records {
		x := &records[k]
		malformed := fmt.Errorf("raftlog: record %d after %d in the log of process %d: %w", x.LSN, e.lsn, e.config.ID, reason.EncodingMalformed)
		if len(x.Data) == 0 || x.LSN <= e.lsn {
			return nil, malformed
		}
		e.lsn = x.LSN
		body := x.Data[1:]
		switch x.Data[0] {
		case recordLife:
			r := reader{b: body}
			e.self.Incarnation = max(e.self.Incarnation, r.uint())
		case recordHardState:
			h := &pb.HardState{}
			if err := proto.Unmarshal(body, h); err != nil {
				return nil, errors.Join(malformed, err)
			}
			*hard = h
		case recordEntry:
			y := &pb.Entry{}
			if err := proto.Unmarshal(body, y); err != nil {
				return nil, errors.Join(malformed, err)
			}
			log = extend(log, y)
		default:
			return nil, malformed
		}
	}
	e.durable = e.lsn
	return log, nil
}

// extend appends an entry, which replaces those from its index on.
func extend(log []*pb.Entry, y *pb.Entry) []*pb.Entry {
	if len(log) == 0 {
		return append(log, y)
	}
	first, next := log[0].GetIndex(), log[len(log)-1].GetIndex()+1
	switch i := y.GetIndex(); {
	case i > next || i < first:
		return []*pb.Entry{y} // what was between is in a snapshot
	default:
		return append(log[:i-first], y)
	}
}

// after are the entries that follow a snapshot of that index and term; none if the log is another one there.
func after(log []*pb.Entry, index, term uint64) []*pb.Entry {
	for len(log) > 0 && log[0].GetIndex() <= index {
		if log[0].GetIndex() == index && log[0].GetTerm() != term {
			return nil
		}
		log = log[1:]
	}
	if len(log) > 0 && log[0].GetIndex() != index+1 {
		return nil
	}
	return log
}

// wantSnapshot asks the application for a snapshot when it is time, and forgets records that an earlier one replaces.
func (e *Engine) wantSnapshot() {
	s := &e.snapshots
	if s.forget > 0 && e.durable >= s.after {
		e.out.Forget, s.forget = s.forget, 0
	}
	due := e.config.SnapshotEvery > 0 && s.since >= e.config.SnapshotEvery || s.wanted
	if !due || e.index <= s.saved || s.pending != 0 && e.now.Elapsed-s.begun < 20*e.config.SuspectAfter {
		return
	}
	b, err := e.meta()
	if err != nil {
		e.fail(fmt.Errorf("raftlog: no snapshot can be described: %w", err))
		return
	}
	s.since, s.pending, s.begun, s.wanted = 0, e.index, e.now.Elapsed, false
	e.out.Upcalls = append(e.out.Upcalls, core.Upcall{Kind: core.UpcallSnapshot, Snapshot: core.Snapshot{Position: e.position, Index: e.index, Meta: b}})
}

// snapshotSaved cuts raft's log at a snapshot that is stored, and writes the rest anew, so that what is before can be forgotten.
func (e *Engine) snapshotSaved(b []byte) error {
	m, err := decodeMeta(b)
	if err != nil {
		return err
	}
	s := &e.snapshots
	if m.index != s.pending || m.index <= s.saved {
		return nil
	}
	s.pending, s.saved = 0, m.index
	e.guard(func() {
		if _, err = e.storage.CreateSnapshot(m.raft, m.conf, b); err == nil {
			err = e.storage.Compact(m.raft)
		}
	})
	if errors.Is(err, raft.ErrSnapOutOfDate) || errors.Is(err, raft.ErrCompacted) {
		return nil // a newer one came from another process
	}
	if err != nil {
		e.fail(fmt.Errorf("raftlog: raft's log cannot be cut: %w", err))
		return e.broken
	}
	return e.checkpoint()
}

func (e *Engine) checkpoint() error {
	from := e.lsn + 1
	first, err := e.storage.FirstIndex()
	last, err2 := e.storage.LastIndex()
	if err = errors.Join(err, err2); err == nil && last >= first {
		var entries []*pb.Entry
		if entries, err = e.storage.Entries(first, last+1, 1<<62); err == nil {
			for _, x := range entries {
				e.recordProto(recordEntry, x)
			}
		}
	}
	hard, _, err2 := e.storage.InitialState()
	if err = errors.Join(err, err2); err != nil {
		e.fail(fmt.Errorf("raftlog: raft's storage: %w", err))
		return e.broken
	}
	e.recordProto(recordHardState, hard)
	e.record(true, recordLife, binary.AppendUvarint(nil, e.self.Incarnation))
	e.snapshots.forget, e.snapshots.after = from, e.lsn
	return nil
}

// sendSnapshot lets the driver send the application's snapshot beside raft's. Raft hears that it failed if nothing came of it in time, and tries again.
// A process refuses a snapshot of a group that it is not in, so the group is told as it is now: the change that let it in is committed, and follows in the log.
func (e *Engine) sendSnapshot(m *pb.Message) *pb.Message {
	p := e.peer(core.ID(m.GetTo()))
	if p == nil {
		return m
	}
	p.snapAt, p.snapSent = e.now.Elapsed, true
	if len(m.GetSnapshot().GetData()) > 0 {
		e.counters.SnapshotsAsked++
		e.out.SendSnapshot = append(e.out.SendSnapshot, p.id)
	}
	at := m.GetSnapshot().GetMetadata()
	now := &pb.Message{}
	proto.Merge(now, m)
	now.Snapshot = &pb.Snapshot{Data: m.GetSnapshot().GetData(), Metadata: &pb.SnapshotMetadata{
		Index: proto.Uint64(at.GetIndex()), Term: proto.Uint64(at.GetTerm()), ConfState: e.conf,
	}}
	return now
}

// takeSnap reports whether a snapshot of raft can be taken now: one of the application of the same place must be here.
func (e *Engine) takeSnap(m *pb.Message) bool {
	s := &e.snapshots
	if len(m.GetSnapshot().GetData()) == 0 || m.GetSnapshot().GetMetadata().GetIndex() <= e.applied {
		return true // the beginning, or of no use
	}
	if s.received != nil && s.received.raft == m.GetSnapshot().GetMetadata().GetIndex() {
		return true
	}
	s.offered = m
	return false
}

// snapshotReceived takes a snapshot that is stored here, once raft has offered the same.
func (e *Engine) snapshotReceived(b []byte) error {
	m, err := decodeMeta(b)
	if err != nil {
		return err
	}
	if m.group != e.config.Group || m.raft <= e.applied || m.index <= e.index {
		return fmt.Errorf("raftlog: a snapshot of message %d, here is %d: %w", m.index, e.index, reason.SnapshotUnusable)
	}
	s := &e.snapshots
	s.received = m
	if x := s.offered; x != nil && x.GetSnapshot().GetMetadata().GetIndex() == m.raft {
		s.offered = nil
		e.guard(func() { _ = e.node.Step(x) })
	}
	return nil
}

// install goes on from a snapshot that raft has taken.
func (e *Engine) install(x *pb.Snapshot) {
	e.committed = nil
	if len(x.GetData()) == 0 {
		e.conf, e.applied = x.GetMetadata().GetConfState(), x.GetMetadata().GetIndex()
		e.setUniverse()
		return
	}
	m, err := decodeMeta(x.GetData())
	if err != nil {
		e.fail(err)
		return
	}
	e.adopt(m)
	e.conf = x.GetMetadata().GetConfState()
	e.setUniverse()
	e.snapshots.received, e.snapshots.offered = nil, nil
	own, _ := e.filter.Delivered(e.self)
	e.settle(&batch{number: own, messages: make([]message, 1)})
	e.out.Upcalls = append(e.out.Upcalls, core.Upcall{Kind: core.UpcallInstall, View: e.view, Snapshot: core.Snapshot{Position: m.position, Index: m.index, Meta: m.description, Own: own}})
	if err := e.checkpoint(); err != nil {
		e.fail(err)
	}
}

// retrySnapshots tells raft of processes that took none in time.
func (e *Engine) retrySnapshots() {
	for _, p := range e.peers {
		if p.snapSent && e.now.Elapsed-p.snapAt > 2*e.config.SuspectAfter {
			p.snapSent = false
			e.node.ReportSnapshot(uint64(p.id), raft.SnapshotFailure)
		}
	}
}
