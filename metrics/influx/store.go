package influx

import (
	"sync"
	"time"

	"github.com/clockd/clockd/reason"
)

// batch is some points.
type batch struct {
	lines  []byte
	points int64
}

// store is what waits to be written: on disk where there is a spool that works, else in memory. Its methods may wait for the disk.
type store struct {
	stats *stats
	limit int64

	mu    sync.Mutex
	queue []batch
	bytes int64
	// sending is a batch of the queue that is being written.
	sending *batch

	dir        string
	spoolLimit int64
	spool      *spool
	tryAgain   time.Time

	// more is told that there is something.
	more chan struct{}
}

// spoolAgain is how long after a failure the spool is opened again.
const spoolAgain = 1 * time.Second

func newStore(o *Options, s *stats) *store {
	return &store{stats: s, limit: o.Buffer, dir: o.Spool, spoolLimit: o.SpoolLimit, more: make(chan struct{}, 1)}
}

// open opens the spool, if there is to be one and it is not open. The disk may come later than the daemon.
func (s *store) open() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.openSpool()
	s.report()
}

func (s *store) openSpool() {
	if s.dir == "" || s.spool != nil || time.Now().Before(s.tryAgain) {
		return
	}
	spool, err := openSpool(s.dir, s.spoolLimit)
	if err != nil {
		s.tryAgain = time.Now().Add(spoolAgain)
		s.stats.spoolTrouble(err)
		return
	}
	s.spool = spool
	s.stats.spoolTrouble(nil)
	s.notify()
}

func (s *store) notify() {
	select {
	case s.more <- struct{}{}:
	default:
	}
}

// add takes a batch, which it keeps.
func (s *store) add(b batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.openSpool()
	if s.spool != nil {
		err := s.spool.append(int(b.points), b.lines)
		s.stats.spoolTrouble(err)
		if err == nil {
			s.report()
			s.notify()
			return
		}
	}
	s.queue = append(s.queue, b)
	s.bytes += int64(len(b.lines))
	for s.bytes > s.limit && len(s.queue) > 0 {
		s.stats.drop(reason.ExportBuffer, s.queue[0].points)
		s.pop()
	}
	s.report()
	s.notify()
}

func (s *store) pop() batch {
	b := s.queue[0]
	s.queue[0] = batch{}
	s.queue = s.queue[1:]
	s.bytes -= int64(len(b.lines))
	return b
}

// report tells the statistics how much waits; the lock is held.
func (s *store) report() {
	waiting := int64(0)
	for i := range s.queue {
		waiting += s.queue[i].points
	}
	if s.sending != nil {
		waiting += s.sending.points
	}
	var spooled, size int64
	if s.spool != nil {
		spooled, size = s.spool.points(), s.spool.size
		s.stats.drop(reason.ExportCorrupt, s.spool.damaged)
		s.stats.drop(reason.ExportSpool, s.spool.overwritten)
		s.spool.damaged, s.spool.overwritten = 0, 0
	}
	s.stats.waiting(waiting, s.bytes, spooled, size)
}

// ticket is what take gave, for done or keep.
type ticket struct {
	lines   []byte
	onDisk  bool
	mark    spoolMark
	memory  batch
	present bool
}

// take returns what is to be written next, at most about so many bytes; not present: there is nothing. What take returned must be
// given to done or keep before the next take.
func (s *store) take(most int) ticket {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.spool != nil {
		lines, mark, err := s.spool.peek(most)
		if err != nil {
			s.stats.spoolTrouble(err)
		} else if len(lines) > 0 {
			return ticket{lines: lines, onDisk: true, mark: mark, present: true}
		}
	}
	if len(s.queue) == 0 {
		s.report()
		return ticket{}
	}
	b := s.pop()
	for len(s.queue) > 0 && len(b.lines)+len(s.queue[0].lines) <= most {
		next := s.pop()
		b = batch{append(b.lines, next.lines...), b.points + next.points}
	}
	s.sending = &b
	s.bytes += int64(len(b.lines))
	return ticket{lines: b.lines, memory: b, present: true}
}

// done forgets what was written, and reports whether it had not been given up meanwhile.
func (s *store) done(t ticket) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.report()
	if !t.onDisk {
		s.bytes -= int64(len(t.lines))
		s.sending = nil
		return true
	}
	there, err := s.spool.done(t.mark)
	if err != nil {
		s.stats.spoolTrouble(err)
	}
	return there
}

// keep puts what could not be written back, unless there is no room for it any more.
func (s *store) keep(t ticket) {
	if t.onDisk {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sending = nil
	s.queue = append([]batch{t.memory}, s.queue...)
	for s.bytes > s.limit && len(s.queue) > 0 {
		s.stats.drop(reason.ExportBuffer, s.queue[0].points)
		s.pop()
	}
	s.report()
}

// close gives up what is in memory only, and keeps what is on disk.
func (s *store) close() (lost int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.queue) > 0 {
		b := s.pop()
		if s.spool != nil && s.spool.append(int(b.points), b.lines) == nil {
			continue
		}
		lost += b.points
	}
	s.stats.drop(reason.ExportEnded, lost)
	s.report()
	if s.spool != nil {
		err = s.spool.close()
	}
	return lost, err
}
