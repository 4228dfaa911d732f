package core

import (
	"time"
)

const answerBytes = 256 << 10

// repair asks for messages of the installed view that were promised and are missing.
func (c *Core) repair() {
	if c.current == nil || c.decided() > c.view.ID {
		return // install and fillUp ask for what the cut needs
	}
	for k, s := range c.current.streams {
		if s.promised <= s.recv || s.id == c.self.ID && k == c.place {
			continue
		}
		c.ask(c.view.ID, s, s.promised, c.holdersOf(k, s))
	}
}

// holdersOf returns who may have more of a stream than this process: its sender first.
func (c *Core) holdersOf(k int, s *stream) []ID {
	ids := make([]ID, 0, len(c.view.Members))
	ids = append(ids, s.id)
	for i, m := range c.view.Members {
		if i != k && m.ID != c.self.ID && s.acked[i] > s.recv {
			ids = append(ids, m.ID)
		}
	}
	return ids
}

// ask asks one of the holders for what is missing of a stream, not too often.
func (c *Core) ask(v ViewID, s *stream, upto uint64, holders []ID) {
	since := c.now.Elapsed - s.asked
	progress := s.recv > s.askedAt
	if since < c.config.Resend && (!progress || since < c.config.Resend/4) {
		return
	}
	if progress || s.tries == 0 {
		s.tries = 0
	}
	var to ID
	for range holders {
		id := holders[s.tries%len(holders)]
		if p := c.peer(id); p != nil && !p.suspected {
			to = id
			break
		}
		s.tries++
	}
	if to == 0 {
		return
	}
	if !progress {
		s.tries++
	}
	s.asked, s.askedAt = c.now.Elapsed, s.recv
	e := c.begun(kindNeed, 32)
	e.uint(uint64(v))
	e.uint(uint64(s.id))
	e.uint(s.recv + 1)
	e.uint(upto)
	c.send(to, &e)
	c.counters.Requests++
}

// receiveNeed answers with the messages asked for, or that they are gone.
func (c *Core) receiveNeed(p *peer, d *decoder) error {
	v, id, from, upto := ViewID(d.uint()), ID(d.uint()), d.uint(), d.uint()
	if !d.end() || from == 0 {
		return malformed("NEED")
	}
	l := c.log(v)
	var s *stream
	if l != nil {
		s = l.stream(id)
	}
	if s == nil && v < c.view.ID || s != nil && from < s.base {
		e := c.begun(kindGone, 32)
		e.uint(uint64(v))
		e.uint(uint64(id))
		c.send(p.id, &e)
		return nil
	}
	if s == nil {
		return nil
	}
	c.counters.Answered++
	bytes := 0
	for k := s.find(from); k < len(s.frames) && bytes < answerBytes && s.frames[k].seq <= upto; k++ {
		f := s.frames[k]
		e := c.begun(kindData, len(f.body))
		e.bytes(f.body)
		c.send(p.id, &e)
		bytes += len(f.body)
	}
	return nil
}

// receiveGone: what this process needs is only left in a snapshot.
func (c *Core) receiveGone(p *peer, d *decoder) error {
	v, id := ViewID(d.uint()), ID(d.uint())
	if !d.end() {
		return malformed("GONE")
	}
	if v != c.view.ID || c.current == nil {
		return nil
	}
	if s := c.current.stream(id); s != nil && (s.promised > s.recv || c.cutOf(v, id) > s.recv) {
		c.askSnapshot(p)
	}
	return nil
}

func (c *Core) askSnapshot(p *peer) {
	if c.now.Elapsed-c.snapshots.asked < c.config.SuspectAfter {
		return
	}
	c.snapshots.asked = c.now.Elapsed
	c.counters.SnapshotsAsked++
	e := c.begun(kindSnapAsk, 16)
	e.uint(c.index)
	c.send(p.id, &e)
}

// leaving decides whether this member asks to be put out of the view: a quorum has its oldest message, and still it waits, because its timestamp is far ahead of
// the promises of a quorum. It comes back after a time that doubles.
func (c *Core) leaving() {
	if c.place < 0 {
		c.leave = c.leave && c.now.Elapsed < c.leaveUntil
		return
	}
	if c.frozen >= c.view.ID {
		return
	}
	own := c.current.streams[c.place]
	ts, waits := own.head()
	if !waits || own.quorum < own.next || ts <= c.quorumPromiseOfOthers() {
		c.leave, c.leaveUntil = false, c.now.Elapsed+c.config.EvictAfter
		return
	}
	if c.leave {
		return
	}
	if c.now.Elapsed >= c.leaveUntil {
		c.leave = true
		c.leaveUntil = c.now.Elapsed + c.leaveFor
		c.leaveFor = min(2*c.leaveFor, time.Hour)
		c.statDue = true
	}
}

// quorumPromiseOfOthers is the largest timestamp that as many others have promised as make a quorum with this member.
func (c *Core) quorumPromiseOfOthers() Timestamp {
	var promises [maxMembers]uint64
	n := 0
	for k, s := range c.current.streams {
		if k != c.place {
			promises[n] = uint64(s.honoured)
			n++
		}
	}
	return Timestamp(kthLargest(promises[:n], max(1, c.view.Quorum-1)))
}
