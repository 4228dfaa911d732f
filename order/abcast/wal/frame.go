package wal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/bits"
)

// Position numbers the records of a log from 1 upwards. In Memory mode there are gaps on disk, where records were not written.
type Position uint64

// Record is one entry of the log. The log knows nothing of its kind or data.
type Record struct {
	Kind byte
	Data []byte
	// Always makes the record, and all before it, durable as in the mode Fsync, whatever the log's mode is.
	Always bool
}

// MaxRecord is the most bytes of data that one record may have.
const MaxRecord = 16 << 20

// A frame on disk is a header and a payload of records. All numbers are little-endian.
//
//	0  magic      4   "cWfr"
//	4  length     4   of the payload
//	8  first      8   position of the first record
//	16 count      4   of records
//	20 previous   4   checksum of the payload before this one in the log, 0 in the first
//	24 checksum   4   CRC-32C of the payload, begun with the segment's salt
//	28 header     4   CRC-32C of the 28 bytes before, begun with the segment's salt
//
// A record is its kind (1 byte), its length (uvarint) and its data. If its position does not follow the one before it in the frame
// (records of the mode Memory are not written) the kind is preceded by the byte 0xff and the gap (uvarint).
const (
	frameMagic  = uint32('c') | uint32('W')<<8 | uint32('f')<<16 | uint32('r')<<24
	frameHeader = 32
	gapMark     = 0xff
)

// MaxKind is the greatest kind that a record may have.
const MaxKind = gapMark - 1

type header struct {
	length   uint32
	first    Position
	count    uint32
	previous uint32
	checksum uint32
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// checksum is CRC-32C begun with a salt, so that frames of another segment, or in somebody's payload, are not taken for this one's.
func checksum(salt uint32, b []byte) uint32 { return crc32.Update(salt, castagnoli(), b) }

// put writes the header into b, which has frameHeader bytes.
func (h header) put(salt uint32, b []byte) {
	le := binary.LittleEndian
	le.PutUint32(b[0:], frameMagic)
	le.PutUint32(b[4:], h.length)
	le.PutUint64(b[8:], uint64(h.first))
	le.PutUint32(b[16:], h.count)
	le.PutUint32(b[20:], h.previous)
	le.PutUint32(b[24:], h.checksum)
	le.PutUint32(b[28:], checksum(salt, b[:28]))
}

// readHeader returns the header at the beginning of b, if there is a sound one.
func readHeader(salt uint32, b []byte) (header, bool) {
	le := binary.LittleEndian
	if len(b) < frameHeader || le.Uint32(b) != frameMagic || le.Uint32(b[28:]) != checksum(salt, b[:28]) {
		return header{}, false
	}
	return header{le.Uint32(b[4:]), Position(le.Uint64(b[8:])), le.Uint32(b[16:]), le.Uint32(b[20:]), le.Uint32(b[24:])}, true
}

// appendRecord appends a record's encoding; gap is by how much its position is beyond the one that follows the last record.
func appendRecord(b []byte, r Record, gap uint64) []byte {
	if gap > 0 {
		b = append(b, gapMark)
		b = binary.AppendUvarint(b, gap)
	}
	b = append(b, r.Kind)
	b = binary.AppendUvarint(b, uint64(len(r.Data)))
	return append(b, r.Data...)
}

// readRecords calls f with the records of a payload whose checksum is right. Data is part of the payload.
func readRecords(h header, payload []byte, f func(Position, Record) error) error {
	at := h.first
	for range h.count {
		kind, rest, err := take(payload)
		if err != nil {
			return err
		}
		if kind == gapMark {
			gap, n := binary.Uvarint(rest)
			if n <= 0 || at+Position(gap) < at {
				return fmt.Errorf("record %d: its gap cannot be read", at)
			}
			at += Position(gap)
			if kind, rest, err = take(rest[n:]); err != nil {
				return err
			}
		}
		size, n := binary.Uvarint(rest)
		if n <= 0 || size > MaxRecord || size > uint64(len(rest)-n) {
			return fmt.Errorf("record %d: its length cannot be right", at)
		}
		data := rest[n : n+int(size) : n+int(size)]
		if err := f(at, Record{Kind: kind, Data: data}); err != nil {
			return err
		}
		payload = rest[n+int(size):]
		at++
	}
	if len(payload) > 0 {
		return fmt.Errorf("%d bytes follow the last record of a frame", len(payload))
	}
	return nil
}

func take(b []byte) (byte, []byte, error) {
	if len(b) == 0 {
		return 0, nil, fmt.Errorf("the frame has fewer records than its header says")
	}
	return b[0], b[1:], nil
}

// oneBitOff reports whether b would have the checksum want if a single bit of b, or of want, were another. No write that was cut
// short looks like that.
func oneBitOff(salt, want uint32, b []byte) bool {
	difference := checksum(salt, b) ^ want
	if bits.OnesCount32(difference) == 1 {
		return true
	}
	// A flipped bit changes the checksum by a pattern that depends on its distance from the end only: the polynomial's powers,
	// from the last bit backwards.
	pattern := uint32(1)
	for range 8 * len(b) {
		if pattern&1 != 0 {
			pattern = pattern>>1 ^ crc32.Castagnoli
		} else {
			pattern >>= 1
		}
		if pattern == difference {
			return true
		}
	}
	return false
}
