package raftlog

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/clockd/clockd/order/abcast/core"
	"github.com/clockd/clockd/order/abcast/internal/etcdraft"
	"github.com/clockd/clockd/reason"
)

// apply applies committed entries, as far as the application can follow.
func (e *Engine) apply() {
	n := 0
	for n < len(e.committed) && e.unconsumed < e.config.Unconsumed && e.broken == nil {
		e.applyEntry(e.committed[n])
		e.committed[n] = nil
		n++
	}
	if e.committed = e.committed[n:]; len(e.committed) == 0 {
		e.committed = nil
	}
}

func (e *Engine) applyEntry(x *pb.Entry) {
	if x.GetIndex() <= e.applied {
		return
	}
	e.applied = x.GetIndex()
	data := x.GetData()
	switch x.GetType() {
	case pb.EntryNormal:
		switch {
		case len(data) == 0:
		case data[0] == entryView:
			e.applyView(data[1:])
		case data[0] == entryBatch:
			e.applyBatch(data[1:])
		}
	case pb.EntryConfChange, pb.EntryConfChangeV2:
		change, err := etcdraft.Change(x)
		if err != nil {
			e.fail(fmt.Errorf("raftlog: %w", err))
			return
		}
		e.conf = e.node.ApplyConfChange(change)
		e.setUniverse()
	}
}

// applyBatch delivers what of a batch is next of its origin.
func (e *Engine) applyBatch(b []byte) {
	x, ok := decodeBatch(b)
	if !ok {
		return // the same at every process
	}
	if n, over := e.filter.Delivered(x.origin); over || x.last() <= n || x.number > n+1 {
		return // of a life that is over; or it was delivered; or one before it was lost, and it will be proposed again
	}
	if x.origin == e.self {
		e.settle(&x)
	}
	for k := range uint64(len(x.messages)) {
		if e.filter.Pass(x.origin, x.number+k) {
			e.deliver(&x, k)
		}
	}
}

// settle takes own proposals that are in the log.
func (e *Engine) settle(x *batch) {
	for len(e.inflight) > 0 && e.inflight[0].last() <= x.last() {
		e.delivered = append(e.delivered, ownBatch{e.applied, e.inflight[0].cost})
		e.inflight[0] = nil
		e.inflight = e.inflight[1:]
	}
}

func (e *Engine) deliver(x *batch, k uint64) {
	m := &x.messages[k]
	e.index++
	e.commitTS = max(x.ts, e.commitTS+1)
	e.position = core.Position{View: e.view.ID, Time: e.commitTS, Sender: x.origin.ID}
	kind := core.UpcallMessage
	if !e.filter.Fresh(m.key) {
		kind = core.UpcallDuplicate
		e.counters.Duplicates++
	}
	e.out.Upcalls = append(e.out.Upcalls, core.Upcall{Kind: kind, Message: core.Message{
		Position: e.position, Index: e.index, CommitTS: e.commitTS, Origin: x.origin, Number: x.number + k, Key: m.key, Payload: m.payload,
	}})
	e.counters.Delivered++
	e.counters.DeliveredBytes += uint64(len(m.payload))
	e.unconsumed += len(m.payload)
	e.snapshots.since += len(m.payload)
}

// reads are linearizable reads, by raft's ReadIndex: those that begin while one is under way share the next.
type reads struct {
	next    uint64
	waiting []uint64
	probe   []uint64
	nonce   uint64
	sent    time.Duration
	asked   bool
	at      uint64 // raft's index that answers the probe; 0: not known
}

func (r *reads) take(states []raft.ReadState) {
	for _, s := range states {
		if len(s.RequestCtx) == 8 && binary.LittleEndian.Uint64(s.RequestCtx) == r.nonce {
			r.at = max(s.Index, 1)
		}
	}
}

func (r *reads) again() { r.asked = false }

// Read begins a linearizable read; see core.Core.
func (e *Engine) Read(now core.Now) (uint64, error) {
	if e.broken != nil {
		return 0, e.broken
	}
	e.tell(now)
	if e.removed {
		return 0, fmt.Errorf("raftlog: process %d: %w", e.self.ID, reason.BroadcastRemoved)
	}
	e.reads.next++
	e.reads.waiting = append(e.reads.waiting, e.reads.next)
	return e.reads.next, nil
}

// CancelRead forgets a read.
func (e *Engine) CancelRead(id uint64) {
	is := func(x uint64) bool { return x == id }
	e.reads.waiting = slices.DeleteFunc(e.reads.waiting, is)
	e.reads.probe = slices.DeleteFunc(e.reads.probe, is)
}

func (e *Engine) readWork() {
	r := &e.reads
	if len(r.probe) > 0 && r.at > 0 && e.applied >= r.at {
		for _, id := range r.probe {
			e.out.Reads = append(e.out.Reads, core.ReadResult{ID: id, Index: e.index})
		}
		r.probe = nil
	}
	if len(r.probe) == 0 {
		if len(r.waiting) == 0 {
			return
		}
		r.probe, r.waiting, r.at, r.asked = r.waiting, nil, 0, false
		r.nonce++
	}
	if r.at > 0 || e.leader == 0 || r.asked && e.now.Elapsed-r.sent < e.config.SuspectAfter {
		return
	}
	r.asked, r.sent = true, e.now.Elapsed
	e.node.ReadIndex(binary.LittleEndian.AppendUint64(nil, r.nonce))
	e.drainRaft()
	if r.at > 0 && e.applied >= r.at {
		e.readWork()
	}
}
