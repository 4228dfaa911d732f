package sequencer

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/clockd/clockd/order/abcast/core"
	"github.com/clockd/clockd/order/abcast/internal/once"
	"github.com/clockd/clockd/reason"
)

// requestVersion begins a frame with messages that are handed on; no frame of package core begins so.
const requestVersion = 0x53

const maxBatch = 4096

// message is a broadcast that is not delivered.
type message struct {
	number  uint64
	key     core.Key
	payload []byte
}

// request is what a member hands to the sequencer of a view.
type request struct {
	group    uint64
	from     core.Member
	view     core.ViewID
	messages []message // with numbers that follow each other
}

func (r *request) encode() []byte {
	size := 64
	for k := range r.messages {
		size += len(r.messages[k].payload) + 24
	}
	b := append(make([]byte, 0, size), requestVersion)
	for _, x := range []uint64{r.group, uint64(r.from.ID), r.from.Incarnation, uint64(r.view), r.messages[0].number, uint64(len(r.messages))} {
		b = binary.AppendUvarint(b, x)
	}
	for k := range r.messages {
		m := &r.messages[k]
		b = append(b, m.key[:]...)
		b = append(binary.AppendUvarint(b, uint64(len(m.payload))), m.payload...)
	}
	return b
}

func decodeRequest(b []byte) (*request, error) {
	malformed := fmt.Errorf("sequencer: REQUEST: %w", reason.FrameMalformed)
	var head [6]uint64
	b = b[1:]
	for k := range head {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return nil, malformed
		}
		head[k], b = v, b[n:]
	}
	r := &request{group: head[0], from: core.Member{ID: core.ID(head[1]), Incarnation: head[2]}, view: core.ViewID(head[3])}
	number, count := head[4], head[5]
	if number == 0 || number > 1<<62 || count == 0 || count > maxBatch || count*17 > uint64(len(b)) {
		return nil, malformed
	}
	r.messages = make([]message, count)
	for k := range r.messages {
		m := &r.messages[k]
		m.number = number + uint64(k)
		b = b[copy(m.key[:], b):]
		v, n := binary.Uvarint(b)
		if n <= 0 || v > uint64(len(b)-n) || k+1 < len(r.messages) && len(b)-n-int(v) < 17 {
			return nil, malformed
		}
		m.payload, b = b[n:n+int(v):n+int(v)], b[n+int(v):]
	}
	if len(b) > 0 {
		return nil, malformed
	}
	return r, nil
}

// wrap makes what the sequencer sends: who broadcast it, then the payload. The key is wrapped too: only what passes the filter counts.
func wrap(origin core.Member, m *message) []byte {
	b := make([]byte, 0, len(m.payload)+48)
	b = binary.AppendUvarint(b, uint64(origin.ID))
	b = binary.AppendUvarint(b, origin.Incarnation)
	b = binary.AppendUvarint(b, m.number)
	if m.key == (core.Key{}) {
		return append(append(b, 0), m.payload...)
	}
	return append(append(append(b, 1), m.key[:]...), m.payload...)
}

// overhead is how much longer a wrapped payload can be.
const overhead = 48

func unwrap(b []byte) (origin core.Member, m message, ok bool) {
	var head [3]uint64
	for k := range head {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return origin, m, false
		}
		head[k], b = v, b[n:]
	}
	if len(b) == 0 || b[0] == 1 && len(b) < 17 {
		return origin, m, false
	}
	keyed := b[0] == 1
	if b = b[1:]; keyed {
		b = b[copy(m.key[:], b):]
	}
	m.number, m.payload = head[2], b
	return core.Member{ID: core.ID(head[0]), Incarnation: head[1]}, m, true
}

// A snapshot's description is the core's, its length before it, and the filter, with a checksum.

func encodeMeta(inner []byte, f *once.Filter) []byte {
	b := binary.AppendUvarint([]byte{requestVersion}, uint64(len(inner)))
	b = f.Append(append(b, inner...))
	return binary.LittleEndian.AppendUint32(b, checksum(b))
}

func decodeMeta(b []byte) (inner []byte, f *once.Filter, err error) {
	unusable := fmt.Errorf("sequencer: the snapshot's description: %w", reason.SnapshotUnusable)
	if len(b) < 6 || b[0] != requestVersion || checksum(b[:len(b)-4]) != binary.LittleEndian.Uint32(b[len(b)-4:]) {
		return nil, nil, unusable
	}
	b = b[1 : len(b)-4]
	length, n := binary.Uvarint(b)
	if n <= 0 || length > uint64(len(b)-n) {
		return nil, nil, unusable
	}
	inner = b[n : n+int(length)]
	f, ok := once.Decode(b[n+int(length):])
	if !ok {
		return nil, nil, unusable
	}
	return inner, f, nil
}

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }
