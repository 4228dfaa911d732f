package core

import (
	"slices"
	"time"
)

// stream is what is here of one sender's messages in one view.
type stream struct {
	id     ID
	frames []*frame
	base   uint64 // sequence number of the first message in frames; what is below is not here any more
	recv   uint64 // received without a gap up to here
	dur    uint64 // durable up to here
	next   uint64 // to be delivered next
	at     int    // the frame in frames that next is in, or would be
	early  uint64 // to be shown early next
	eat    int

	honoured Timestamp // every message up to this timestamp is here
	promise  Timestamp // not yet honoured: everything up to it has a sequence number up to promised
	promised uint64
	acked    []uint64 // per member of the view
	quorum   uint64   // acknowledged by Quorum members

	number   uint64 // of the last delivered message
	origin   Member
	asked    time.Duration
	askedAt  uint64 // recv then
	tries    int
	released int // own stream: frames up to here do not count in the window any more
}

// newStream makes a stream whose first message is next.
func newStream(id ID, next uint64) *stream {
	return &stream{id: id, base: next, recv: next - 1, dur: next - 1, next: next, early: next, asked: -time.Hour}
}

// head returns the timestamp of the next message to be delivered, if it is here.
func (s *stream) head() (Timestamp, bool) {
	if s.next > s.recv {
		return 0, false
	}
	f := s.frames[s.at]
	return f.ts + Timestamp(s.next-f.seq), true
}

func (s *stream) earlyHead() (Timestamp, bool) {
	if s.early > s.recv {
		return 0, false
	}
	f := s.frames[s.eat]
	return f.ts + Timestamp(s.early-f.seq), true
}

// append takes the next frame.
func (s *stream) append(f *frame) {
	s.frames = append(s.frames, f)
	s.recv = f.last()
	s.honoured = max(s.honoured, f.ts+Timestamp(len(f.entries)-1))
	s.honour()
}

// honour takes the promise once everything that it speaks of is here (R4).
func (s *stream) honour() {
	if s.promised <= s.recv {
		s.honoured = max(s.honoured, s.promise)
	}
}

// drop forgets the first frame.
func (s *stream) drop() *frame {
	f := s.frames[0]
	s.frames[0] = nil
	s.frames = s.frames[1:]
	s.base = f.last() + 1
	s.at--
	s.eat = max(0, s.eat-1)
	s.released = max(0, s.released-1)
	return f
}

// find returns the index of the frame that contains seq, which must be at least base; len(frames) if it is not here yet.
func (s *stream) find(seq uint64) int {
	k, _ := slices.BinarySearchFunc(s.frames, seq, func(f *frame, seq uint64) int {
		switch {
		case f.last() < seq:
			return -1
		case f.seq > seq:
			return 1
		}
		return 0
	})
	return k
}

// viewLog is what is here of one view's messages.
type viewLog struct {
	id      ViewID
	streams []*stream // in ascending order of ID; those of the view's members once it is known
	count   uint64    // delivered messages
	bytes   int
}

func (l *viewLog) stream(id ID) *stream {
	for _, s := range l.streams {
		if s.id == id {
			return s
		}
	}
	return nil
}

// add returns the stream of a sender, made if needed.
func (l *viewLog) add(id ID) *stream {
	k, found := slices.BinarySearchFunc(l.streams, id, func(s *stream, id ID) int {
		switch {
		case s.id < id:
			return -1
		case s.id > id:
			return 1
		}
		return 0
	})
	if !found {
		l.streams = slices.Insert(l.streams, k, newStream(id, 1))
	}
	return l.streams[k]
}

// settle gives the log the members of its view.
func (l *viewLog) settle(v *View) {
	for _, m := range v.Members {
		l.add(m.ID)
	}
	l.streams = slices.DeleteFunc(l.streams, func(s *stream) bool {
		return !slices.ContainsFunc(v.Members, func(m Member) bool { return m.ID == s.id })
	})
	for _, s := range l.streams {
		s.acked = make([]uint64, len(v.Members))
	}
}

// log returns the log of a view, nil if there is none.
func (c *Core) log(v ViewID) *viewLog {
	for k := len(c.logs) - 1; k >= 0; k-- {
		if c.logs[k].id == v {
			return c.logs[k]
		}
	}
	return nil
}

// openLog returns the log of a view, made if needed.
func (c *Core) openLog(v ViewID) *viewLog {
	if l := c.log(v); l != nil {
		return l
	}
	l := &viewLog{id: v}
	k, _ := slices.BinarySearchFunc(c.logs, v, func(l *viewLog, v ViewID) int { return int(int64(l.id) - int64(v)) })
	c.logs = slices.Insert(c.logs, k, l)
	return l
}

// store appends a frame, which is the next of its stream, to memory and to the log on disk.
func (c *Core) store(l *viewLog, s *stream, f *frame) {
	s.append(f)
	l.bytes += f.size()
	c.held += f.size()
	f.lsn = c.record(RecordData, recordFrame, f.body)
	c.counters.Held = uint64(c.held)
	if c.config.Durability == Memory || c.config.Mutation == AckBeforeDurable {
		c.frameDurable(l, s, f)
		return
	}
	c.waiting = append(c.waiting, waitingFrame{l, s, f})
}

// waitingFrame waits for its record to be durable.
type waitingFrame struct {
	log    *viewLog
	stream *stream
	frame  *frame
}

func (c *Core) frameDurable(l *viewLog, s *stream, f *frame) {
	s.dur = max(s.dur, f.last())
	if l == c.current {
		c.acknowledge(s)
	}
}

// acknowledge raises this member's own acknowledgement of a sender to what is durable, unless it is frozen.
func (c *Core) acknowledge(s *stream) {
	if c.place < 0 || c.frozen >= c.view.ID && c.config.Mutation != AckFrozen || s.acked[c.place] >= s.dur {
		return
	}
	s.acked[c.place] = s.dur
	c.countQuorum(s)
	if s.id != c.self.ID || c.config.Durability != Memory {
		c.statDue = true // in memory mode DATA has said it
	}
}

// countQuorum finds up to where Quorum members have acknowledged.
func (c *Core) countQuorum(s *stream) {
	a := c.view.Quorum
	if c.config.Mutation == SmallAckQuorum {
		a--
	}
	var sorted [maxMembers]uint64
	n := copy(sorted[:], s.acked)
	s.quorum = max(s.quorum, kthLargest(sorted[:n], a))
}

// kthLargest returns the k-th largest of v, k from 1, and may reorder v; 0 if there are fewer.
func kthLargest(v []uint64, k int) uint64 {
	if k < 1 || k > len(v) {
		return 0
	}
	for i := range k {
		for j := i + 1; j < len(v); j++ {
			if v[j] > v[i] {
				v[i], v[j] = v[j], v[i]
			}
		}
	}
	return v[k-1]
}

// trim forgets delivered messages when more is held than may be: of old views first, then what every member of this view has delivered.
func (c *Core) trim() {
	for c.held > c.config.Retain && len(c.logs) > 0 && c.logs[0] != c.current && c.logs[0].id < c.view.ID {
		c.held -= c.logs[0].bytes
		c.logs = c.logs[1:]
	}
	if c.current != nil {
		everywhere := c.deliveredEverywhere()
		for c.held > c.config.Retain && c.trimOne(everywhere) {
		}
	}
	c.counters.Held = uint64(c.held)
}

func (c *Core) trimOne(everywhere uint64) bool {
	var oldest *stream
	for _, s := range c.current.streams {
		if len(s.frames) == 0 || s.frames[0].end == 0 || s.frames[0].end > everywhere || s.at == 0 || s.dur < s.frames[0].last() {
			continue
		}
		if oldest == nil || s.frames[0].end < oldest.frames[0].end {
			oldest = s
		}
	}
	if oldest == nil {
		return false
	}
	f := oldest.drop()
	c.held -= f.size()
	c.current.bytes -= f.size()
	return true
}
