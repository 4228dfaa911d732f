package core

import (
	"encoding/binary"
	"fmt"

	"github.com/clockd/clockd/reason"
)

const (
	// MaxPayload is the longest payload that the wire format allows, in bytes.
	MaxPayload = 16 << 20
	// MaxFrameSize is longer than any frame that the core sends, in bytes: what a transport must be able to carry, and the most that it should accept.
	MaxFrameSize = 2*MaxPayload + 1<<16

	maxMembers    = 32
	electionTicks = 10
	wireVersion   = 1
	// maxTimestamp leaves room above for arithmetic: the year 2116.
	maxTimestamp = Timestamp(1) << 62
	// maxBatch is the most messages in one DATA frame.
	maxBatch = 4096
)

type frameKind uint8

const (
	kindData frameKind = iota + 1
	kindStat
	kindFreeze
	kindReport
	kindFill
	kindFillOK
	kindNeed
	kindGone
	kindProbe
	kindProbeOK
	kindRaft
	kindSnapAsk
	kindLast = kindSnapAsk
)

// header begins every frame: version, kind, group, and the life of the process that sent it.
type header struct {
	kind  frameKind
	group uint64
	from  Member
}

// encoder appends to a buffer.
type encoder struct{ b []byte }

func (e *encoder) uint(v uint64)   { e.b = binary.AppendUvarint(e.b, v) }
func (e *encoder) int(v int64)     { e.b = binary.AppendVarint(e.b, v) }
func (e *encoder) byte(v byte)     { e.b = append(e.b, v) }
func (e *encoder) bytes(v []byte)  { e.b = append(e.b, v...) }
func (e *encoder) member(m Member) { e.uint(uint64(m.ID)); e.uint(m.Incarnation) }
func (e *encoder) header(h *header) {
	e.byte(wireVersion)
	e.byte(byte(h.kind))
	e.uint(h.group)
	e.member(h.from)
}

func (e *encoder) ids(ids []ID) {
	e.uint(uint64(len(ids)))
	for _, id := range ids {
		e.uint(uint64(id))
	}
}

func (e *encoder) prefixes(p []prefix) {
	e.uint(uint64(len(p)))
	for _, x := range p {
		e.uint(uint64(x.id))
		e.uint(x.seq)
	}
}

// decoder takes from a buffer; after an error all it gives is zero.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) int() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.bad = true
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *decoder) bytes(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.bad, d.b = true, nil
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

// count reads a length of a list that is most long at the most.
func (d *decoder) count(most int) int {
	n := d.uint()
	if n > uint64(most) {
		d.bad, d.b = true, nil
		return 0
	}
	return int(n)
}

func (d *decoder) member() Member { return Member{ID(d.uint()), d.uint()} }

func (d *decoder) timestamp() Timestamp {
	t := Timestamp(d.int())
	if t < 0 || t > maxTimestamp {
		d.bad = true
	}
	return t
}

func (d *decoder) ids() []ID {
	n := d.count(maxMembers)
	ids := make([]ID, 0, n)
	for range n {
		ids = append(ids, ID(d.uint()))
	}
	return ids
}

func (d *decoder) prefixes() []prefix {
	n := d.count(maxMembers)
	p := make([]prefix, 0, n)
	for range n {
		p = append(p, prefix{ID(d.uint()), d.uint()})
	}
	return p
}

// end reports whether all was read, and rightly.
func (d *decoder) end() bool { return !d.bad && len(d.b) == 0 }

func decodeHeader(frame []byte) (header, decoder, error) {
	d := decoder{b: frame}
	version, kind := d.byte(), frameKind(d.byte())
	if d.bad || version != wireVersion {
		if d.bad {
			return header{}, d, malformed("header")
		}
		return header{}, d, fmt.Errorf("abcast: a frame of version %d, this is %d: %w", version, wireVersion, reason.FrameVersion)
	}
	h := header{kind: kind, group: d.uint(), from: d.member()}
	if d.bad || kind == 0 || kind > kindLast || h.from.ID == 0 || h.from.Incarnation == 0 {
		return header{}, d, malformed("header")
	}
	return h, d, nil
}

func malformed(what string) error {
	return fmt.Errorf("abcast: %s: %w", what, reason.FrameMalformed)
}

// prefix says of a sender that its messages up to seq are there.
type prefix struct {
	id  ID
	seq uint64
}

// entry is one message in a frame.
type entry struct {
	key     Key
	payload []byte
}

// frame is a batch of messages of one sender that are consecutive in sequence number, timestamp and number, and travel, are stored and repaired together.
type frame struct {
	view    ViewID
	origin  Member
	seq     uint64 // of the first message
	ts      Timestamp
	number  uint64
	entries []entry
	body    []byte // its encoding
	lsn     uint64 // of its record
	end     uint64 // how many messages of the view were delivered when its last was; 0 before
}

func (f *frame) last() uint64 { return f.seq + uint64(len(f.entries)) - 1 }

// size is what the frame takes in memory, roughly.
func (f *frame) size() int { return len(f.body) + 40*len(f.entries) + 160 }

func (f *frame) payloadBytes() int {
	n := 0
	for k := range f.entries {
		n += len(f.entries[k].payload)
	}
	return n
}

// encode makes the body; the payloads then lie in it.
func (f *frame) encode() {
	e := encoder{b: make([]byte, 0, 64+f.payloadBytes()+20*len(f.entries))}
	e.uint(uint64(f.view))
	e.member(f.origin)
	e.uint(f.seq)
	e.int(int64(f.ts))
	e.uint(f.number)
	e.uint(uint64(len(f.entries)))
	for k := range f.entries {
		x := &f.entries[k]
		keyed := x.key != Key{}
		n := uint64(len(x.payload)) << 1
		if keyed {
			n |= 1
		}
		e.uint(n)
		if keyed {
			e.bytes(x.key[:])
		}
		start := len(e.b)
		e.bytes(x.payload)
		x.payload = e.b[start:len(e.b):len(e.b)]
	}
	f.body = e.b
}

// from returns the rest of the frame from a sequence number in it on: snapshots may divide a frame.
func (f *frame) from(seq uint64) *frame {
	n := seq - f.seq
	if n == 0 {
		return f
	}
	rest := &frame{view: f.view, origin: f.origin, seq: seq, ts: f.ts + Timestamp(n), number: f.number + n, entries: f.entries[n:], lsn: f.lsn}
	rest.encode()
	return rest
}

func decodeFrame(body []byte) (*frame, error) {
	d := &decoder{b: body}
	f := &frame{view: ViewID(d.uint()), origin: d.member(), seq: d.uint(), ts: d.timestamp(), number: d.uint(), body: body}
	n := d.count(maxBatch)
	if d.bad || n == 0 || n > len(d.b) || f.view == 0 || f.origin.ID == 0 || f.seq == 0 || f.seq > 1<<62 || f.number == 0 || f.number > 1<<62 {
		return nil, malformed("DATA")
	}
	f.entries = make([]entry, n)
	for k := range f.entries {
		v := d.uint()
		if v&1 != 0 {
			copy(f.entries[k].key[:], d.bytes(16))
		}
		f.entries[k].payload = d.bytes(v >> 1)
	}
	if !d.end() {
		return nil, malformed("DATA")
	}
	return f, nil
}

const (
	flagMember = 1 << iota
	flagFrozen
	flagLeave
)

// stat is the promise, the acknowledgements and the state of a process.
type stat struct {
	view      ViewID // installed
	decided   ViewID
	flags     byte
	promise   Timestamp
	seq       uint64
	delivered uint64 // messages of this view
	snapshot  uint64 // index of the newest durable snapshot
	acked     []uint64
	suspects  []ID
}

func (s *stat) encode(e *encoder) {
	e.uint(uint64(s.view))
	e.uint(uint64(s.decided))
	e.byte(s.flags)
	e.int(int64(s.promise))
	e.uint(s.seq)
	e.uint(s.delivered)
	e.uint(s.snapshot)
	e.uint(uint64(len(s.acked)))
	for _, a := range s.acked {
		e.uint(a)
	}
	e.ids(s.suspects)
}

func (s *stat) decode(d *decoder) error {
	s.view, s.decided, s.flags = ViewID(d.uint()), ViewID(d.uint()), d.byte()
	s.promise, s.seq, s.delivered, s.snapshot = d.timestamp(), d.uint(), d.uint(), d.uint()
	n := d.count(maxMembers)
	s.acked = s.acked[:0]
	for range n {
		s.acked = append(s.acked, d.uint())
	}
	n = d.count(maxMembers)
	s.suspects = s.suspects[:0]
	for range n {
		s.suspects = append(s.suspects, ID(d.uint()))
	}
	if !d.end() {
		return malformed("STAT")
	}
	return nil
}

// newView is an entry of raft's log: NEWVIEW of theory 6.4.
type newView struct {
	prev    ViewID
	members []Member
	quorum  int
	cut     []prefix // of view prev
	holders []ID     // who hold the cut
}

func (v *newView) encode(e *encoder) {
	e.uint(uint64(v.prev))
	e.uint(uint64(len(v.members)))
	for _, m := range v.members {
		e.member(m)
	}
	e.uint(uint64(v.quorum))
	e.prefixes(v.cut)
	e.ids(v.holders)
}

func (v *newView) decode(d *decoder) {
	v.prev = ViewID(d.uint())
	n := d.count(maxMembers)
	v.members = make([]Member, 0, n)
	for range n {
		v.members = append(v.members, d.member())
	}
	v.quorum = d.count(maxMembers)
	v.cut, v.holders = d.prefixes(), d.ids()
}

// view is the view that the entry begins.
func (v *newView) view() *View { return &View{ID: v.prev + 1, Members: v.members, Quorum: v.quorum} }
