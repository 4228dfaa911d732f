package raftlog

import (
	"encoding/binary"
	"fmt"

	"github.com/clockd/clockd/order/abcast/core"
	"github.com/clockd/clockd/reason"
)

const (
	wireVersion = 0x52 // no frame of another engine begins so
	maxMembers  = 32
	maxBatch    = 4096
)

// Kinds of frames.
const (
	frameRaft byte = iota + 1
	frameStat
)

// Kinds of entries.
const (
	entryBatch byte = iota + 1
	entryView
)

// Kinds of records.
const (
	recordLife byte = iota + 1
	recordHardState
	recordEntry
)

// reader takes from a buffer; after an error all it gives is zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) byte() byte {
	b := r.bytes(1)
	if len(b) == 0 {
		return 0
	}
	return b[0]
}

func (r *reader) bytes(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) count(most int) int {
	n := r.uint()
	if n > uint64(most) {
		r.bad, r.b = true, nil
		return 0
	}
	return int(n)
}

func (r *reader) member() core.Member {
	return core.Member{ID: core.ID(r.uint()), Incarnation: r.uint()}
}

func (r *reader) end() bool { return !r.bad && len(r.b) == 0 }

func appendMember(b []byte, m core.Member) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, uint64(m.ID)), m.Incarnation)
}

func malformed(what string) error { return fmt.Errorf("raftlog: %s: %w", what, reason.FrameMalformed) }

// message is one broadcast.
type message struct {
	key     core.Key
	payload []byte
}

// batch is what one entry carries: messages of one origin whose numbers follow each other.
type batch struct {
	origin   core.Member
	number   uint64
	ts       core.Timestamp
	messages []message
	data     []byte
}

func (x *batch) last() uint64 { return x.number + uint64(len(x.messages)) - 1 }

func (x *batch) encode() {
	size := 64
	for k := range x.messages {
		size += len(x.messages[k].payload) + 20
	}
	b := make([]byte, 0, size)
	b = append(b, entryBatch)
	b = appendMember(b, x.origin)
	b = binary.AppendUvarint(b, x.number)
	b = binary.AppendUvarint(b, uint64(x.ts))
	b = binary.AppendUvarint(b, uint64(len(x.messages)))
	for k := range x.messages {
		m := &x.messages[k]
		n := uint64(len(m.payload)) << 1
		if m.key != (core.Key{}) {
			b = append(binary.AppendUvarint(b, n|1), m.key[:]...)
		} else {
			b = binary.AppendUvarint(b, n)
		}
		b = append(b, m.payload...)
	}
	x.data = b
}

// decodeBatch reads an entry's data behind its kind.
func decodeBatch(b []byte) (batch, bool) {
	r := reader{b: b}
	x := batch{origin: r.member(), number: r.uint(), ts: core.Timestamp(r.uint())}
	n := r.count(maxBatch)
	if r.bad || n == 0 || n > len(r.b) || x.number == 0 || x.number > 1<<62 || x.ts < 0 || x.ts > 1<<62 {
		return x, false
	}
	x.messages = make([]message, n)
	for k := range x.messages {
		v := r.uint()
		if v&1 != 0 {
			copy(x.messages[k].key[:], r.bytes(16))
		}
		x.messages[k].payload = r.bytes(v >> 1)
	}
	return x, r.end()
}

func encodeView(b []byte, v *core.View) []byte {
	b = binary.AppendUvarint(b, uint64(v.ID))
	b = binary.AppendUvarint(b, uint64(v.Quorum))
	b = binary.AppendUvarint(b, uint64(len(v.Members)))
	for _, m := range v.Members {
		b = appendMember(b, m)
	}
	return b
}

func (r *reader) view() *core.View {
	v := &core.View{ID: core.ViewID(r.uint()), Quorum: r.count(maxMembers)}
	for range r.count(maxMembers) {
		v.Members = append(v.Members, r.member())
	}
	return v
}

// stat is what a process tells all others, every heartbeat.
type stat struct {
	applied uint64 // raft's index
	index   uint64 // messages delivered
	leaving bool
}

func (e *Engine) header(kind byte) []byte {
	b := make([]byte, 0, 64)
	b = append(b, wireVersion, kind)
	b = binary.AppendUvarint(b, e.config.Group)
	return appendMember(b, e.self)
}

// receive takes a frame.
func (e *Engine) receive(from core.ID, b []byte) error {
	r := reader{b: b}
	version, kind, group, sender := r.byte(), r.byte(), r.uint(), r.member()
	switch {
	case r.bad || sender.ID == 0 || sender.Incarnation == 0:
		return malformed("header")
	case version != wireVersion:
		return fmt.Errorf("raftlog: a frame of version %d, this is %d: %w", version, wireVersion, reason.FrameVersion)
	case group != e.config.Group:
		return fmt.Errorf("raftlog: a frame of group %d, this is %d: %w", group, e.config.Group, reason.FrameGroup)
	case sender.ID != from || from == e.self.ID:
		return fmt.Errorf("raftlog: process %d sends as %v: %w", from, sender, reason.FrameSender)
	}
	p := e.peer(from)
	switch {
	case p == nil && kind == frameRaft: // who is added learns of the others by it
		return e.receiveRaft(from, r.b)
	case p == nil:
		return fmt.Errorf("raftlog: process %d is not in the group: %w", from, reason.FrameSender)
	case sender.Incarnation < p.life:
		return fmt.Errorf("raftlog: %v is over, its life is %d: %w", sender, p.life, reason.FrameStale)
	case sender.Incarnation > p.life:
		p.life, p.known = sender.Incarnation, false
	}
	p.heard = e.now.Elapsed
	switch kind {
	case frameRaft:
		return e.receiveRaft(from, r.b)
	case frameStat:
		s := stat{applied: r.uint(), index: r.uint(), leaving: r.byte() != 0}
		if !r.end() {
			return malformed("STAT")
		}
		p.stat, p.known = s, true
		return nil
	}
	return malformed("kind")
}

// sendStat tells all others.
func (e *Engine) sendStat() {
	if e.now.Elapsed-e.statAt < e.config.Heartbeat && !e.statDue {
		return
	}
	e.statAt, e.statDue = e.now.Elapsed, false
	b := e.header(frameStat)
	b = binary.AppendUvarint(b, e.applied)
	b = binary.AppendUvarint(b, e.index)
	leaving := byte(0)
	if e.leaving() {
		leaving = 1
	}
	e.out.Messages = append(e.out.Messages, core.Outgoing{Frame: append(b, leaving)})
}
