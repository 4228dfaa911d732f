package influx

import (
	"sync"
	"time"

	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/reason"
)

// stats is what is known of a writer. Its lock is never held while anything waits.
type stats struct {
	mu                             sync.Mutex
	written, batches, retries      uint64
	dropped                        [reason.Count]uint64
	queued, bytes, spooled, onDisk int64
	failing                        int
	lastError, spoolError, refusal string
	lastErrorAt, lastWritten       time.Time
}

func (s *stats) drop(code reason.Code, n int64) {
	if n <= 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropped[code] += uint64(n)
}

func (s *stats) waiting(queued, bytes, spooled, onDisk int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queued, s.bytes, s.spooled, s.onDisk = queued, bytes, spooled, onDisk
}

func (s *stats) spoolTrouble(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.spoolError = ""; err != nil {
		s.spoolError = err.Error()
	}
}

// wrote counts a batch that the server took, all but what it refused. There is false if all of it is counted as lost already.
func (s *stats) wrote(d *delivery, there bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.failing, s.lastWritten = 0, now
	s.batches++
	if there {
		s.written += d.written
		for code, n := range d.dropped {
			s.dropped[code] += n
		}
	}
	if d.why != "" {
		s.refusal, s.lastError, s.lastErrorAt = d.why, d.why, now
	}
}

// failed counts a batch that must be tried again, and returns how many were so in a row.
func (s *stats) failed(err error) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failing++
	s.retries++
	s.lastError, s.lastErrorAt = err.Error(), time.Now()
	return s.failing
}

// patience is how many failures in a row are nothing to speak of.
const patience = 3

// status returns what people and programs are told.
func (s *stats) status() *control.Influx {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := &control.Influx{
		Written: s.written, Batches: s.batches, Retries: s.retries, Dropped: map[string]uint64{}, BufferedPoints: uint64(max(s.queued, 0)),
		BufferedBytes: uint64(max(s.bytes, 0)), SpooledPoints: uint64(max(s.spooled, 0)), SpooledBytes: uint64(max(s.onDisk, 0)), LastError: s.lastError,
	}
	for code, n := range s.dropped {
		if n > 0 {
			x.Dropped[reason.Code(code).String()] = n
		}
	}
	if s.lastError != "" {
		x.LastErrorAgeS = control.Known(time.Since(s.lastErrorAt).Seconds())
	}
	if !s.lastWritten.IsZero() {
		x.LastWriteAgeS = control.Known(time.Since(s.lastWritten).Seconds())
	}
	if s.failing >= patience {
		x.Trouble = s.lastError
	}
	if s.spoolError != "" {
		if x.Trouble != "" {
			x.Trouble += "; "
		}
		x.Trouble += s.spoolError
	}
	return x
}
