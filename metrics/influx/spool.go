package influx

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

const (
	segmentSuffix = ".lp"
	// segmentSize is when a new file is begun.
	segmentSize = 4 << 20
	// readAhead is how much is read at once.
	readAhead = maxFrame + 4096
)

// segment is one file of the spool.
type segment struct {
	number uint64
	size   int64
	// points are those that are not sent; an estimate where the file is damaged.
	points int64
}

// spool is a queue of batches on disk, oldest first. One goroutine at a time may use it. A file that another run began is only read,
// so whatever it ends with is harmless. What is sent is forgotten file by file: after a crash some is sent again.
type spool struct {
	dir      string
	limit    int64
	lock     *os.File
	segments []segment
	// active is the file of the last segment, if this run began it.
	active *os.File
	next   uint64
	size   int64

	head       *os.File // of the first segment
	headOffset int64
	// room, buffer and frame are kept from call to call.
	room, buffer, frame []byte

	// damaged counts lines that belonged to no whole batch, overwritten points that had to make room.
	damaged, overwritten int64
}

// openSpool opens the spool in a directory, which is made if it is missing. Only one process may have it.
func openSpool(dir string, limit int64) (*spool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("influx: the spool cannot be made: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("influx: the spool cannot be used: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("influx: another daemon has the spool %s: give each its own", dir)
	}
	s := &spool{dir: dir, limit: limit, lock: lock, next: 1}
	if err := s.find(); err != nil {
		_ = lock.Close()
		return nil, err
	}
	return s, nil
}

func (s *spool) path(number uint64) string {
	return filepath.Join(s.dir, fmt.Sprintf("%016d%s", number, segmentSuffix))
}

// find looks for what an earlier run left. Other files are left alone.
func (s *spool) find() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("influx: the spool cannot be read: %w", err)
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), segmentSuffix)
		number, err := strconv.ParseUint(name, 10, 63)
		if !ok || err != nil || len(name) != 16 || !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if err != nil {
			continue // it went away
		}
		x := segment{number: number, size: info.Size()}
		if x.points, err = countPoints(s.path(number)); err != nil {
			return fmt.Errorf("influx: the spool cannot be read: %w", err)
		}
		s.segments = append(s.segments, x)
		s.size += x.size
		s.next = max(s.next, number+1)
	}
	slices.SortFunc(s.segments, func(a, b segment) int {
		if a.number < b.number {
			return -1
		}
		return 1
	})
	return nil
}

// countPoints adds up what the headers of a file say, up to the first that is none.
func countPoints(path string) (points int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	room := make([]byte, maxHeader)
	for at := int64(0); ; {
		n, err := f.ReadAt(room, at)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		h, ok := parseHeader(room[:n])
		if !ok {
			return points, nil
		}
		points += int64(h.points)
		at += int64(h.size + h.bytes)
	}
}

// append puts a batch at the end, and makes room for it at the beginning. After an error nothing of it is there.
func (s *spool) append(points int, lines []byte) error {
	if s.active == nil || s.segments[len(s.segments)-1].size >= min(segmentSize, s.limit/4) {
		if err := s.begin(); err != nil {
			return err
		}
	}
	s.frame = appendFrame(s.frame[:0], points, lines)
	last := &s.segments[len(s.segments)-1]
	if _, err := s.active.Write(s.frame); err != nil {
		// What half of it is there would be skipped anyway; the room is needed.
		_ = s.active.Truncate(last.size)
		return fmt.Errorf("influx: the spool cannot be written: %w", err)
	}
	last.size += int64(len(s.frame))
	last.points += int64(points)
	s.size += int64(len(s.frame))
	for s.size > s.limit && len(s.segments) > 1 {
		s.overwritten += s.segments[0].points
		if err := s.drop(); err != nil {
			return err
		}
	}
	return nil
}

// begin starts a new file.
func (s *spool) begin() error {
	f, err := os.OpenFile(s.path(s.next), os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("influx: the spool cannot be written: %w", err)
	}
	err = s.finish()
	s.active = f
	s.segments = append(s.segments, segment{number: s.next})
	s.next++
	return err
}

// finish closes the active file and sees it to the disk.
func (s *spool) finish() error {
	if s.active == nil {
		return nil
	}
	err := errors.Join(s.active.Sync(), s.active.Close())
	s.active = nil
	if err != nil {
		return fmt.Errorf("influx: the spool cannot be written: %w", err)
	}
	return nil
}

// drop removes the first file, sent or not.
func (s *spool) drop() error {
	first := s.segments[0]
	if s.head != nil {
		_ = s.head.Close()
		s.head = nil
	}
	s.headOffset = 0
	if len(s.segments) == 1 {
		if s.active != nil { // it goes on in the same file
			if err := s.active.Truncate(0); err != nil {
				return fmt.Errorf("influx: the spool cannot be written: %w", err)
			}
			s.size -= first.size
			s.segments[0] = segment{number: first.number}
			return nil
		}
	}
	s.segments = s.segments[1:]
	s.size -= first.size
	if err := os.Remove(s.path(first.number)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("influx: the spool cannot be cleared: %w", err)
	}
	return nil
}

// points returns how many points wait.
func (s *spool) points() (n int64) {
	for i := range s.segments {
		n += s.segments[i].points
	}
	return n
}

// peek returns the oldest batches, as many as fit into most bytes but at least one, how many points they say they have, and where
// they end: done takes it. The lines are valid until the next call. No lines: there is nothing.
func (s *spool) peek(most int) (lines []byte, mark spoolMark, err error) {
	for len(s.segments) > 0 {
		first := &s.segments[0]
		lines, mark, err = s.read(first, most)
		if err != nil || len(lines) > 0 {
			return lines, mark, err
		}
		if len(s.segments) == 1 && s.active != nil && first.size == 0 {
			return nil, mark, nil
		}
		if err := s.drop(); err != nil {
			return nil, mark, err
		}
	}
	return nil, mark, nil
}

// spoolMark is how far a batch reaches.
type spoolMark struct {
	number uint64
	offset int64
	points int64
}

// read takes what stands next in the first file; what belongs to no batch is skipped.
func (s *spool) read(first *segment, most int) (lines []byte, mark spoolMark, err error) {
	if s.head == nil {
		if s.head, err = os.Open(s.path(first.number)); err != nil {
			if errors.Is(err, os.ErrNotExist) { // somebody cleared it by hand
				s.damaged += first.points
				return nil, mark, nil
			}
			return nil, mark, fmt.Errorf("influx: the spool cannot be read: %w", err)
		}
	}
	for s.headOffset < first.size {
		want := int(min(readAhead, first.size-s.headOffset))
		s.room = slices.Grow(s.room[:0], want)[:want]
		chunk := s.room
		n, err := s.head.ReadAt(chunk, s.headOffset)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, mark, fmt.Errorf("influx: the spool cannot be read: %w", err)
		}
		chunk = chunk[:n]
		if n == 0 { // it was cut by hand
			break
		}
		lines, mark = s.take(chunk, first, most, s.headOffset+int64(n) >= first.size)
		if len(lines) > 0 {
			return lines, mark, nil
		}
	}
	return nil, mark, nil
}

// take finds the batches in a chunk that begins at headOffset. last: the file ends with it.
func (s *spool) take(chunk []byte, first *segment, most int, last bool) (lines []byte, mark spoolMark) {
	at := 0
	s.buffer = s.buffer[:0]
	mark.number = first.number
	for {
		skip, h, body := nextFrame(chunk[at:])
		if skip > 0 && len(s.buffer) > 0 {
			break // what is damaged is looked at when it is its turn
		}
		if body == nil {
			if len(s.buffer) > 0 {
				break
			}
			if skip = max(skip, 1); last {
				skip = len(chunk) - at
			}
			s.skip(first, chunk[at:at+skip])
			return nil, mark
		}
		if len(s.buffer) > 0 && len(s.buffer)+len(body) > most {
			break
		}
		if skip > 0 {
			s.skip(first, chunk[at:at+skip])
			chunk, at = chunk[at+skip:], 0
		}
		s.buffer = append(s.buffer, body...)
		at += h.size + h.bytes
		mark.points += int64(h.points)
	}
	mark.offset = s.headOffset + int64(at)
	return s.buffer, mark
}

// skip goes past what belongs to no batch, and counts the lines of it as lost.
func (s *spool) skip(first *segment, damaged []byte) {
	lost := int64(0)
	for line := range bytes.Lines(damaged) {
		if !bytes.HasPrefix(line, []byte("#")) {
			lost++
		}
	}
	s.damaged += max(lost, 1)
	first.points = max(first.points-lost, 0)
	s.headOffset += int64(len(damaged))
}

// done forgets what peek returned. It was not there any more if it had to make room meanwhile, and is counted as lost then.
func (s *spool) done(mark spoolMark) (there bool, err error) {
	if len(s.segments) == 0 || s.segments[0].number != mark.number || mark.offset <= s.headOffset {
		return false, nil
	}
	first := &s.segments[0]
	s.headOffset = mark.offset
	first.points = max(first.points-mark.points, 0)
	if s.headOffset >= first.size {
		return true, s.drop()
	}
	return true, nil
}

// close sees everything to the disk. A file that is empty is not left behind.
func (s *spool) close() error {
	if s.head != nil {
		_ = s.head.Close()
	}
	err := s.finish()
	if n := len(s.segments); n > 0 && s.segments[n-1].size == 0 {
		err = errors.Join(err, os.Remove(s.path(s.segments[n-1].number)))
	}
	return errors.Join(err, s.lock.Close())
}
