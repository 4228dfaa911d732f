package wal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
)

// A segment is a file of a header and frames:
//
//	0  magic     8   "clockWAL"
//	8  version   4
//	12 salt      4   random; begins all checksums of the file but the header's own
//	16 first     8   position of its first record, also in its name
//	24 previous  4   checksum of the last payload of the segment before
//	28 checksum  4   CRC-32C of the 28 bytes before
const (
	segmentMagic   = "clockWAL"
	segmentVersion = 1
	segmentHeader  = 32
	// maxSegment is the longest file that is read as a segment: memory stays bounded whatever is in the directory.
	maxSegment = 1 << 30
)

type segment struct {
	name     string
	salt     uint32
	first    Position // the least position that a record in it may have
	previous uint32
	size     int64
}

func (s segment) header() []byte {
	b := make([]byte, segmentHeader)
	copy(b, segmentMagic)
	le := binary.LittleEndian
	le.PutUint32(b[8:], segmentVersion)
	le.PutUint32(b[12:], s.salt)
	le.PutUint64(b[16:], uint64(s.first))
	le.PutUint32(b[24:], s.previous)
	le.PutUint32(b[28:], checksum(0, b[:28]))
	return b
}

func segmentName(first Position) string { return fmt.Sprintf("%016x.wal", uint64(first)) }

func parseSegmentName(name string) (Position, bool) {
	var n uint64
	if _, err := fmt.Sscanf(name, "%016x.wal", &n); err != nil || name != segmentName(Position(n)) || n == 0 {
		return 0, false
	}
	return Position(n), true
}

// CorruptError says that a log or a snapshot is not what was written. Whoever gets it must not go on with this disk: the member is to
// be replaced by one with a new identity, or the directory restored.
type CorruptError struct {
	File   string   // the file's name
	Offset int64    // where in it, in bytes
	After  Position // the last position that was read before; 0 if none was, or in a snapshot
	Reason string
}

// Error implements error.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("wal: %s is corrupt at byte %d, after position %d: %s; replace this member by a new one, or restore the directory", e.File, e.Offset, e.After, e.Reason)
}

// tear is a frame at the end of the last segment that was not written whole.
type tear struct {
	offset int64
	reason string
}

// walk is the state of reading a log from its beginning.
type walk struct {
	file     string
	last     Position // of the last record read
	previous uint32   // checksum of the last payload read
	records  uint64
}

func (w *walk) corrupt(offset int64, format string, args ...any) *CorruptError {
	return &CorruptError{File: w.file, Offset: offset, After: w.last, Reason: fmt.Sprintf(format, args...)}
}

// segmentHeader reads a segment's header. A header that is not all there is a tear: its file was being made.
func (w *walk) header(b []byte) (segment, *tear, error) {
	if len(b) < segmentHeader || len(bytes.Trim(b, "\x00")) == 0 {
		return segment{}, &tear{0, "the segment was being made"}, nil
	}
	le := binary.LittleEndian
	switch {
	case string(b[:8]) != segmentMagic:
		return segment{}, nil, w.corrupt(0, "this is no segment of a log")
	case le.Uint32(b[28:]) != checksum(0, b[:28]):
		return segment{}, nil, w.corrupt(0, "the segment's header has a wrong checksum")
	case le.Uint32(b[8:]) != segmentVersion:
		return segment{}, nil, w.corrupt(0, "the segment has version %d, and this program reads %d only", le.Uint32(b[8:]), segmentVersion)
	}
	return segment{salt: le.Uint32(b[12:]), first: Position(le.Uint64(b[16:])), previous: le.Uint32(b[24:]), size: int64(len(b))}, nil, nil
}

// frames calls f with all records of a segment's bytes b. It returns where the sound frames end and, if something unsound follows that
// can be the last write before a crash, that. Anything else is a CorruptError.
func (w *walk) frames(s segment, b []byte, f func(Position, Record) error) (int64, *tear, error) {
	at := int64(segmentHeader)
	for at < int64(len(b)) {
		rest := b[at:]
		h, ok := readHeader(s.salt, rest)
		if !ok || uint64(h.length) > uint64(len(rest)-frameHeader) {
			return w.judge(s, b, at, ok, 0)
		}
		payload := rest[frameHeader : frameHeader+int(h.length)]
		if checksum(s.salt, payload) != h.checksum {
			if oneBitOff(s.salt, h.checksum, payload) {
				return at, nil, w.corrupt(at, "a bit of the frame has flipped")
			}
			return w.judge(s, b, at, true, int64(frameHeader)+int64(h.length))
		}
		if h.previous != w.previous {
			return at, nil, w.corrupt(at, "the frame does not follow the one before it: frames are missing or in the wrong order")
		}
		if h.first <= w.last || h.first < s.first || h.count == 0 {
			return at, nil, w.corrupt(at, "the frame begins with position %d", h.first)
		}
		err := readRecords(h, payload, func(p Position, r Record) error {
			w.last = p
			w.records++
			return f(p, r)
		})
		if err != nil {
			return at, nil, fmt.Errorf("wal: %s at byte %d: %w", w.file, at, err)
		}
		w.previous = h.checksum
		at += frameHeader + int64(h.length)
	}
	return at, nil, nil
}

// judge says whether what is at an offset is a torn end or corruption. It is corruption if a sound frame follows, for that one was
// written after this one was durable, and if it is whole but for one flipped bit of its header.
func (w *walk) judge(s segment, b []byte, at int64, soundHeader bool, skip int64) (int64, *tear, error) {
	rest := b[at:]
	if !soundHeader && len(rest) >= frameHeader && headerOneBitOff(s.salt, rest[:frameHeader]) {
		return at, nil, w.corrupt(at, "a bit of the frame's header has flipped")
	}
	if next := w.soundFrame(s, rest, max(skip, 1)); next >= 0 {
		return at, nil, w.corrupt(at, "the frame is unsound, and a sound one that was written later is at byte %d", at+next)
	}
	why := "the last frame was not written whole"
	if len(bytes.Trim(rest, "\x00")) == 0 {
		why = "the file ends in zeros"
	}
	return at, &tear{at, why}, nil
}

// headerOneBitOff reports whether h is a frame's header with one bit flipped.
func headerOneBitOff(salt uint32, h []byte) bool {
	copied := [frameHeader]byte(h)
	for bit := range 8 * frameHeader {
		copied[bit/8] ^= 1 << (bit % 8)
		if _, ok := readHeader(salt, copied[:]); ok {
			return true
		}
		copied[bit/8] ^= 1 << (bit % 8)
	}
	return false
}

// soundFrame returns the offset of the first sound frame in b from the offset from on, or -1.
func (w *walk) soundFrame(s segment, b []byte, from int64) int64 {
	magic := binary.LittleEndian.AppendUint32(nil, frameMagic)
	for from < int64(len(b)) {
		i := bytes.Index(b[from:], magic)
		if i < 0 {
			return -1
		}
		from += int64(i)
		h, ok := readHeader(s.salt, b[from:])
		if ok && h.first > w.last && uint64(h.length) <= uint64(int64(len(b))-from-frameHeader) &&
			checksum(s.salt, b[from+frameHeader:from+frameHeader+int64(h.length)]) == h.checksum {
			return from
		}
		from++
	}
	return -1
}

// readFile returns a file's content, if it is not longer than limit.
func readFile(fs FS, name string, limit int64) (_ []byte, err error) {
	f, err := fs.Open(name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer func() { err = closing(f, err) }()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, fmt.Errorf("wal: %s has %d bytes, and at most %d are read", name, size, limit)
	}
	b := make([]byte, size)
	n, err := io.ReadFull(f, b)
	if err != nil {
		return nil, fmt.Errorf("wal: %s: %d of %d bytes read: %w", name, n, size, err)
	}
	return b, nil
}

func closing(c io.Closer, err error) error {
	if e := c.Close(); err == nil {
		err = e
	}
	return err
}
