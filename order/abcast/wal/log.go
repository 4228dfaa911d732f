package wal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// Options are what a log needs to know. The zero value is a log in the mode Fsync.
type Options struct {
	Mode Mode
	// SegmentSize is after how many bytes a new file is begun; 0 means 64 MiB, and 512 MiB is the most. The longest a file can become is this and a frame.
	SegmentSize int64
	// MaxPending is how many bytes may wait for the disk before Append waits too; 0 means 64 MiB, and 256 MiB is the most.
	MaxPending int
	// Durable, if there is one, is called after each group commit with the last durable position, and once with the error that froze
	// the log. It is called by the log's own goroutine and must not block, nor call the log's Close.
	Durable func(Position, error)
	// Random gives each segment its salt; nil means crypto/rand.
	Random func() (uint32, error)
	// FS is the file system; nil means the machine's.
	FS FS
}

// ErrClosed is what a closed log answers.
var ErrClosed = errors.New("wal: the log is closed")

// Recovery is what Open found.
type Recovery struct {
	Segments int
	Records  uint64
	Last     Position // of the last record; 0 if there is none
	// Torn says that the log ended in a frame that was not written whole, and so was never durable; it was removed.
	Torn       bool
	TornFile   string
	TornOffset int64
	TornBytes  int64
	TornReason string
}

// Log is an append-only log in a directory. Its methods may be called from any goroutine.
type Log struct {
	dir      string
	options  Options
	fs       FS
	recovery Recovery
	lock     File

	mu      sync.Mutex
	wake    sync.Cond     // the writer, and who waits for it
	changed chan struct{} // closed when durable or err change
	next    Position      // of the next record
	durable Position
	err     error
	closing bool
	busy    bool // the writer is at the disk

	pending batch

	segments []*segment // the last one is being written
	done     chan struct{}
	w        writer
}

// batch is what waits for the disk: the encoded records behind room for a header.
type batch struct {
	bytes  []byte
	first  Position // of its first record
	last   Position // of its last record
	count  uint32
	always bool
}

func (b *batch) empty() bool { return b.count == 0 }

func (b *batch) add(p Position, r Record) {
	if b.count == 0 {
		b.bytes = append(b.bytes[:0], make([]byte, frameHeader)...)
		b.first, b.last = p, p-1
	}
	b.bytes = appendRecord(b.bytes, r, uint64(p-b.last-1))
	b.last = p
	b.count++
	b.always = b.always || r.Always
}

// Open opens the log in a directory, which is made if it is not there, and calls replay with every record in it, in order; a record's
// data is only valid during the call. A torn end is removed; corruption is a *CorruptError. The directory is this process' own until
// Close: another Open fails.
func Open(dir string, o Options, replay func(Position, Record) error) (*Log, error) {
	if o.SegmentSize <= 0 {
		o.SegmentSize = 64 << 20
	}
	o.SegmentSize = min(o.SegmentSize, maxSegment/2)
	if o.MaxPending <= 0 {
		o.MaxPending = 64 << 20
	}
	o.MaxPending = min(o.MaxPending, maxSegment/4)
	if o.FS == nil {
		o.FS = Disk{}
	}
	if o.Random == nil {
		o.Random = randomSalt
	}
	l := &Log{dir: dir, options: o, fs: o.FS, next: 1, changed: make(chan struct{}), done: make(chan struct{})}
	l.wake.L = &l.mu
	if err := l.open(replay); err != nil {
		return nil, err
	}
	go l.write()
	return l, nil
}

func (l *Log) open(replay func(Position, Record) error) (err error) {
	if err := l.fs.MakeDir(l.dir); err != nil {
		return fmt.Errorf("wal: %w", err)
	}
	if l.lock, err = l.fs.Open(filepath.Join(l.dir, "lock"), os.O_RDWR|os.O_CREATE); err != nil {
		return fmt.Errorf("wal: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.lock.Close())
		}
	}()
	if err := l.lock.Lock(); err != nil {
		return fmt.Errorf("wal: %s is used by another process: %w", l.dir, err)
	}
	if replay == nil {
		replay = func(Position, Record) error { return nil }
	}
	r := recoverer{log: l, replay: replay}
	if err := r.run(); err != nil {
		return err
	}
	l.recovery = r.recovery
	l.durable = l.next - 1
	return nil
}

// Recovery returns what Open found.
func (l *Log) Recovery() Recovery { return l.recovery }

// Mode returns the log's mode.
func (l *Log) Mode() Mode { return l.options.Mode }

// Append appends records and returns the position of the last one; they are durable when Durable reaches it, and not before. It waits
// only if too much waits for the disk already. The records' data are copied. An error means that nothing was appended: the
// log is frozen or closed, or a record is too long.
func (l *Log) Append(records ...Record) (Position, error) { return l.AppendAt(0, records...) }

// AppendAt is Append for records that have positions already, the first one this: it must be greater than all before, or 0 for the
// next one.
func (l *Log) AppendAt(first Position, records ...Record) (Position, error) {
	for _, r := range records {
		if len(r.Data) > MaxRecord {
			return 0, fmt.Errorf("wal: a record has %d bytes, and %d is the most", len(r.Data), MaxRecord)
		}
		if r.Kind > MaxKind {
			return 0, fmt.Errorf("wal: a record's kind is %d, and %d is the greatest", r.Kind, MaxKind)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.err == nil && !l.closing && len(l.pending.bytes) > l.options.MaxPending {
		l.wake.Wait()
	}
	if l.err != nil {
		return 0, l.err
	}
	if l.closing {
		return 0, ErrClosed
	}
	if first > 0 {
		if first < l.next {
			return 0, fmt.Errorf("wal: position %d is taken, the next one is %d", first, l.next)
		}
		l.next = first
	}
	for _, r := range records {
		if l.options.Mode != Memory || r.Always {
			l.pending.add(l.next, r)
		}
		l.next++
	}
	switch {
	case !l.pending.empty():
		l.wake.Broadcast()
	case !l.busy:
		l.advance(l.next - 1)
	}
	return l.next - 1, nil
}

// advance says that all up to a position is durable. The lock is held.
func (l *Log) advance(p Position) {
	if p > l.durable {
		l.durable = p
		close(l.changed)
		l.changed = make(chan struct{})
	}
}

// freeze ends the log with an error. The lock is held.
func (l *Log) freeze(err error) {
	if l.err == nil {
		l.err = err
		close(l.changed)
		l.changed = make(chan struct{})
		l.wake.Broadcast()
	}
}

// Durable returns the last durable position, and the error that froze the log, if it is frozen.
func (l *Log) Durable() (Position, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.durable, l.err
}

// Wait waits until a position is durable. It returns the error that froze the log if that will never be, and the context's if it ends first.
func (l *Log) Wait(ctx context.Context, p Position) error {
	for {
		l.mu.Lock()
		durable, err, changed := l.durable, l.err, l.changed
		if err == nil && l.closing && l.stopped() {
			err = ErrClosed
		}
		l.mu.Unlock()
		if durable >= p {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case <-changed:
		case <-l.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (l *Log) stopped() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

// Pending returns how many bytes wait for the disk.
func (l *Log) Pending() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.pending.bytes)
}

// First returns the least position that the log may still hold.
func (l *Log) First() Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.segments) == 0 {
		return l.next
	}
	return l.segments[0].first
}

// Size returns how many bytes the log has on disk.
func (l *Log) Size() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	var n int64
	for _, s := range l.segments {
		n += s.size
	}
	return n
}

// last is the segment that is being written; nil if there is none.
func (l *Log) last() *segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.segments) == 0 {
		return nil
	}
	return l.segments[len(l.segments)-1]
}

// Truncate removes the files all of whose records are below a position. What it must not remove it keeps: records below the position may
// still be there afterwards.
func (l *Log) Truncate(below Position) error {
	for {
		l.mu.Lock()
		if len(l.segments) < 2 || l.segments[1].first > below {
			l.mu.Unlock()
			return nil
		}
		oldest := l.segments[0]
		l.segments = l.segments[1:]
		l.mu.Unlock()
		if err := l.fs.Remove(filepath.Join(l.dir, oldest.name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("wal: the log cannot be truncated: %w", err)
		}
		if err := l.fs.SyncDir(l.dir); err != nil {
			return fmt.Errorf("wal: the log cannot be truncated: %w", err)
		}
	}
}

// Close writes what waits, makes it durable and ends the log. It returns the error that froze it, if any.
func (l *Log) Close() error {
	l.mu.Lock()
	already := l.closing
	l.closing = true
	l.wake.Broadcast()
	l.mu.Unlock()
	<-l.done
	if already {
		return nil
	}
	err := l.lock.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.err, err)
}
