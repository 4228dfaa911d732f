package eventlog

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/clockd/clockd/internal/node"
)

const (
	// flushSize is how much is gathered before it is written; flushEvery how long it waits at most.
	flushSize  = 64 << 10
	flushEvery = time.Second
	// maxWaiting is how much may wait for a slow disk.
	maxWaiting = 8 << 20
)

// Writer records one run. Its methods may be called from any goroutine; those that record never wait for the disk.
type Writer struct {
	file  *os.File
	limit int64
	wake  chan struct{}
	done  chan struct{}

	mu      sync.Mutex
	waiting []byte
	total   int64 // accepted so far
	ended   string
	closing bool
	err     error
}

// Create starts a record at path, readable by its owner only, of at most limit bytes. A record that is there already is kept
// as path.1.
func Create(path string, limit int64, h Header) (*Writer, error) {
	h.Format = Format
	first, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("eventlog: the header cannot be written: %w", err)
	}
	if err := os.Rename(path, path+".1"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("eventlog: the record before cannot be kept: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("eventlog: cannot create the record: %w", err)
	}
	w := &Writer{file: f, limit: limit, wake: make(chan struct{}, 1), done: make(chan struct{})}
	w.mu.Lock()
	w.add(first)
	w.mu.Unlock()
	go w.run()
	return w, nil
}

// Event records an event, before or after it is handed to the node; it must still be what the node saw.
func (w *Writer) Event(e *node.Event) {
	b, err := encodeEvent(e)
	w.record(b, err)
}

// Action records one action of the last event.
func (w *Writer) Action(a *node.Action) {
	b, err := encodeAction(a)
	w.record(b, err)
}

func (w *Writer) record(b []byte, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended != "" || w.closing {
		return
	}
	switch {
	case err != nil:
		w.end("a line cannot be encoded: " + err.Error())
	case w.total+int64(len(b)) > w.limit:
		w.end(EndSize)
	case len(w.waiting)+len(b) > maxWaiting:
		w.end(EndSlow)
	default:
		w.add(b)
	}
}

// add appends a line; the lock is held.
func (w *Writer) add(b []byte) {
	w.waiting = append(append(w.waiting, b...), '\n')
	w.total += int64(len(b)) + 1
	if len(w.waiting) >= flushSize {
		w.poke()
	}
}

// end writes the last line; the lock is held.
func (w *Writer) end(why string) {
	w.ended = why
	b, _ := json.Marshal(line{End: why})
	w.add(b)
	w.poke()
}

func (w *Writer) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run writes what is waiting until Close.
func (w *Writer) run() {
	defer close(w.done)
	ticker := time.NewTicker(flushEvery)
	defer ticker.Stop()
	var spare []byte
	for {
		w.mu.Lock()
		chunk, closing := w.waiting, w.closing
		w.waiting = spare[:0]
		w.mu.Unlock()
		if len(chunk) > 0 {
			if _, err := w.file.Write(chunk); err != nil {
				w.fail(err)
			}
		}
		spare = chunk
		if cap(spare) > 4*flushSize {
			spare = nil
		}
		if closing {
			return
		}
		select {
		case <-w.wake:
		case <-ticker.C:
		}
	}
}

func (w *Writer) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
	if w.ended == "" {
		w.ended = "the record cannot be written: " + err.Error()
	}
}

// Status returns how many bytes were recorded and why the record ended, "" while it goes on.
func (w *Writer) Status() (bytes int64, ended string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.total, w.ended
}

// Close ends the record and waits until it is on disk.
func (w *Writer) Close() error {
	w.mu.Lock()
	if w.closing {
		w.mu.Unlock()
		return nil
	}
	if w.ended == "" {
		w.end(EndClosed)
	}
	w.closing = true
	w.mu.Unlock()
	w.poke()
	<-w.done
	err := errors.Join(w.err, w.file.Sync(), w.file.Close())
	if err != nil {
		return fmt.Errorf("eventlog: %w", err)
	}
	return nil
}
