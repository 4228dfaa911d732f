package wal

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// recoverer reads a log when it is opened.
type recoverer struct {
	log      *Log
	replay   func(Position, Record) error
	recovery Recovery
}

func (r *recoverer) run() error {
	l := r.log
	names, err := l.fs.List(l.dir)
	if err != nil {
		return fmt.Errorf("wal: %w", err)
	}
	var found []segment
	for _, name := range names {
		if first, ok := parseSegmentName(name); ok {
			found = append(found, segment{name: name, first: first})
		}
	}
	slices.SortFunc(found, func(a, b segment) int { return cmp.Compare(a.first, b.first) })
	w := &walk{}
	for i, s := range found {
		if err := r.segment(w, s, i == 0, i == len(found)-1); err != nil {
			return err
		}
	}
	l.w.previous = w.previous
	if err := r.settle(); err != nil {
		return err
	}
	// A segment that is empty, but for its header, says where the log goes on as well as a record does.
	if n := len(l.segments); n > 0 {
		l.next = max(l.segments[n-1].first, w.last+1)
	}
	r.recovery.Segments, r.recovery.Records, r.recovery.Last = len(l.segments), w.records, w.last
	return nil
}

func (r *recoverer) segment(w *walk, found segment, first, last bool) error {
	l := r.log
	path := filepath.Join(l.dir, found.name)
	b, err := readFile(l.fs, path, maxSegment)
	if err != nil {
		return fmt.Errorf("wal: the log cannot be read: %w", err)
	}
	w.file = found.name
	s, torn, err := w.header(b)
	switch {
	case err != nil:
		return err
	case torn != nil && !last:
		return w.corrupt(0, "the segment has no header, and another follows")
	case torn != nil:
		r.tell(found.name, torn, int64(len(b)))
		return errors.Join(l.fs.Remove(path), l.fs.SyncDir(l.dir))
	case s.first != found.first:
		return w.corrupt(0, "the header is that of the segment of position %d", s.first)
	case first:
		w.previous = s.previous // what was before is truncated
	case s.previous != w.previous:
		return w.corrupt(0, "the segment does not follow the one before it: a segment is missing or was cut")
	}
	s.name = found.name
	end, torn, err := w.frames(s, b, r.replay)
	if err != nil {
		return err
	}
	if torn != nil {
		if !last {
			return w.corrupt(torn.offset, "%s, but the segment is not the last one", torn.reason)
		}
		if err := r.cut(path, end); err != nil {
			return err
		}
		r.tell(found.name, torn, int64(len(b)))
	}
	s.size = end
	l.segments = append(l.segments, &s)
	return nil
}

// settle makes durable what was read: a process that was killed may have written it without a sync.
func (r *recoverer) settle() error {
	l := r.log
	if len(l.segments) == 0 {
		return nil
	}
	f, err := l.fs.Open(filepath.Join(l.dir, l.segments[len(l.segments)-1].name), os.O_WRONLY)
	if err == nil {
		err = errors.Join(f.Sync(), f.Close(), l.fs.SyncDir(l.dir))
	}
	if err != nil {
		return fmt.Errorf("wal: what was read cannot be made durable: %w", err)
	}
	return nil
}

func (r *recoverer) tell(name string, t *tear, size int64) {
	r.recovery.Torn, r.recovery.TornFile, r.recovery.TornReason = true, name, t.reason
	r.recovery.TornOffset, r.recovery.TornBytes = t.offset, size-t.offset
}

// cut removes a torn end, durably, so that it cannot come back behind what is written next.
func (r *recoverer) cut(path string, size int64) error {
	f, err := r.log.fs.Open(path, os.O_WRONLY)
	if err == nil {
		err = errors.Join(f.Truncate(size), f.Sync(), f.Close())
	}
	if err != nil {
		return fmt.Errorf("wal: the torn end of %s cannot be removed: %w", path, err)
	}
	return nil
}
