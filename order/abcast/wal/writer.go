package wal

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// writer is what only the log's goroutine touches.
type writer struct {
	file     File
	previous uint32 // checksum of the last payload
	free     []byte // the buffer that is not pending
}

func randomSalt() (uint32, error) {
	var b [4]byte
	_, err := rand.Read(b[:])
	return binary.LittleEndian.Uint32(b[:]), err
}

// write is the log's goroutine: it writes what is pending as one frame, makes it durable and says so, until Close.
func (l *Log) write() {
	defer close(l.done)
	for {
		l.mu.Lock()
		for l.pending.empty() && !l.closing && l.err == nil {
			l.wake.Wait()
		}
		if l.err != nil || l.pending.empty() {
			l.mu.Unlock()
			l.finish()
			return
		}
		b, last := l.pending, l.next-1
		l.pending = batch{bytes: l.w.free[:0]}
		l.busy = true
		l.wake.Broadcast() // who waits for room
		l.mu.Unlock()

		err := l.commit(&b)
		l.w.free = b.bytes

		l.mu.Lock()
		l.busy = false
		if err != nil {
			l.freeze(fmt.Errorf("wal: %s is frozen, nothing more becomes durable: %w", l.dir, err))
		} else {
			if l.pending.empty() {
				last = l.next - 1
			}
			l.advance(last)
		}
		durable, err := l.durable, l.err
		l.mu.Unlock()
		if l.options.Durable != nil {
			l.options.Durable(durable, err)
		}
	}
}

// commit writes a frame and makes it durable.
func (l *Log) commit(b *batch) error {
	if err := l.room(int64(len(b.bytes)), b.first); err != nil {
		return err
	}
	s := l.last()
	payload := b.bytes[frameHeader:]
	h := header{length: uint32(len(payload)), first: b.first, count: b.count, previous: l.w.previous, checksum: checksum(s.salt, payload)}
	h.put(s.salt, b.bytes)
	if _, err := l.w.file.Write(b.bytes); err != nil {
		return err
	}
	if l.options.Mode == Fsync || b.always {
		if err := l.w.file.Sync(); err != nil {
			return err
		}
	}
	l.w.previous = h.checksum
	l.mu.Lock()
	s.size += int64(len(b.bytes))
	l.mu.Unlock()
	return nil
}

// room opens a segment that has room for a frame, or begins one.
func (l *Log) room(size int64, first Position) (err error) {
	if s := l.last(); s != nil {
		if s.size+size <= l.options.SegmentSize || s.size == segmentHeader {
			if l.w.file == nil {
				l.w.file, err = l.fs.Open(filepath.Join(l.dir, s.name), os.O_WRONLY|os.O_APPEND)
			}
			return err
		}
	}
	return l.begin(first)
}

// begin begins a new segment; what is in the old one becomes durable first, whatever the mode, so that only the last one can be torn.
func (l *Log) begin(first Position) error {
	if l.w.file != nil {
		if err := errors.Join(l.w.file.Sync(), l.w.file.Close()); err != nil {
			return err
		}
		l.w.file = nil
	}
	salt, err := l.options.Random()
	if err != nil {
		return err
	}
	s := &segment{name: segmentName(first), salt: salt, first: first, previous: l.w.previous, size: segmentHeader}
	f, err := l.fs.Open(filepath.Join(l.dir, s.name), os.O_WRONLY|os.O_APPEND|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	l.w.file = f
	if _, err := f.Write(s.header()); err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), l.fs.SyncDir(l.dir)); err != nil {
		return err
	}
	l.mu.Lock()
	l.segments = append(l.segments, s)
	l.mu.Unlock()
	return nil
}

// finish is the end of the log's goroutine.
func (l *Log) finish() {
	if l.w.file == nil {
		return
	}
	var err error
	if l.options.Mode == OS {
		err = l.w.file.Sync() // a machine that is shut down in order keeps it all
	}
	if err = errors.Join(err, l.w.file.Close()); err != nil {
		l.mu.Lock()
		l.freeze(fmt.Errorf("wal: the log could not be closed: %w", err))
		l.mu.Unlock()
	}
}
