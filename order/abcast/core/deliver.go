package core

import (
	"math"
	"time"
)

// stable returns σ: every message up to this timestamp that any other member ever sent in the view is here.
func (c *Core) stable() Timestamp {
	sigma := Timestamp(math.MaxInt64)
	for k, s := range c.current.streams {
		if k != c.place && (k == 0 || !c.config.Sequencer) {
			sigma = min(sigma, s.honoured)
		}
	}
	return sigma
}

// first returns the undelivered message that is least in (timestamp, sender).
func (c *Core) first() (*stream, Timestamp, bool) {
	var least *stream
	var at Timestamp
	for _, s := range c.current.streams {
		if ts, ok := s.head(); ok && (least == nil || ts < at) {
			least, at = s, ts
		}
	}
	return least, at, least != nil
}

// deliver delivers what is stable and durable at a quorum (R5).
func (c *Core) deliver() {
	c.firstWait = 0
	if c.current == nil || c.frozen >= c.view.ID {
		return
	}
	c.leaving()
	sigma := c.stable()
	if c.config.Early {
		c.deliverEarly(sigma)
	}
	for c.unconsumed < c.config.Unconsumed {
		s, ts, ok := c.first()
		if !ok {
			break
		}
		if ts > sigma && c.config.Mutation != IgnoreStability {
			c.counters.StabilityWait++
			break
		}
		if s.next > s.quorum {
			c.counters.QuorumWait++
			break
		}
		if c.hold(ts) {
			break
		}
		if c.config.Mutation != IgnoreOwnPromise {
			c.last = max(c.last, ts)
		}
		c.deliverNext(s, c.late(ts))
	}
	// That something was delivered only frees room at others. What they wait for, an acknowledgement, must not wait because this was just told.
	if c.untold > c.config.Window/8 {
		c.statDue = true
	}
	if c.current.count > 0 {
		c.release()
	}
}

// hold reports whether a message must wait for its instant (Δ-mode). A clock that is not sound, or was set back by more than Delta + Bump, holds nothing up.
func (c *Core) hold(ts Timestamp) bool {
	if c.config.Delta == 0 || !c.now.Sound {
		return false
	}
	wait := time.Duration(ts - c.clock)
	if wait+c.config.Delta <= 0 || wait > c.config.Bump {
		return false
	}
	c.firstWait = ts
	return true
}

// lateBy is how much later than its instant a message may be delivered without counting as late: a timer is not exact.
const lateBy = Timestamp(time.Millisecond)

func (c *Core) late(ts Timestamp) bool {
	if c.config.Delta == 0 || c.now.Sound && c.clock <= ts+Timestamp(c.config.Delta)+lateBy {
		return false
	}
	c.counters.Late++
	return true
}

// deliverNext gives the stream's next message to the application.
func (c *Core) deliverNext(s *stream, late bool) {
	f := s.frames[s.at]
	k := s.next - f.seq
	x := &f.entries[k]
	ts := f.ts + Timestamp(k)
	c.index++
	c.current.count++
	c.commitTS = max(ts, c.commitTS+1)
	c.position = Position{c.view.ID, ts, s.id}
	kind := UpcallMessage
	if x.key != (Key{}) && !c.keys.add(x.key) {
		kind = UpcallDuplicate
		c.counters.Duplicates++
	}
	s.number, s.origin = f.number+k, f.origin
	c.out.upcalls = append(c.out.upcalls, Upcall{Kind: kind, Message: Message{
		Position: c.position, Index: c.index, CommitTS: c.commitTS, Origin: f.origin, Number: f.number + k, Key: x.key,
		Payload: x.payload, Late: late,
	}})
	c.counters.Delivered++
	c.counters.DeliveredBytes += uint64(len(x.payload))
	c.unconsumed += len(x.payload)
	c.untold += cost(x.payload)
	c.snapshots.since += len(x.payload)
	s.next++
	if s.next > f.last() {
		f.end = c.current.count
		s.at++
	}
	if s.early < s.next {
		s.early, s.eat = s.next, s.at
	}
}

// Consumed says that the application is done with so many payload bytes of UpcallMessage and UpcallDuplicate.
func (c *Core) Consumed(bytes int) { c.unconsumed = max(0, c.unconsumed-bytes) }

// deliverEarly shows what is stable and perhaps not yet durable.
func (c *Core) deliverEarly(sigma Timestamp) {
	for {
		var least *stream
		var at Timestamp
		for _, s := range c.current.streams {
			if ts, ok := s.earlyHead(); ok && (least == nil || ts < at) {
				least, at = s, ts
			}
		}
		if least == nil || at > sigma {
			return
		}
		c.last = max(c.last, at)
		f := least.frames[least.eat]
		k := least.early - f.seq
		c.out.upcalls = append(c.out.upcalls, Upcall{Kind: UpcallEarly, Message: Message{
			Position: Position{c.view.ID, at, least.id}, Origin: f.origin, Number: f.number + k, Key: f.entries[k].key, Payload: f.entries[k].payload,
		}})
		least.early++
		if least.early > f.last() {
			least.eat++
		}
	}
}

// keyRing remembers the last DedupeWindow keys.
type keyRing struct {
	ring []Key
	at   int
	set  map[Key]struct{}
}

// add reports whether the key is new, and remembers it.
func (r *keyRing) add(k Key) bool {
	if _, known := r.set[k]; known {
		return false
	}
	if r.set == nil {
		r.set = make(map[Key]struct{})
	}
	r.set[k] = struct{}{}
	if len(r.ring) < DedupeWindow {
		r.ring = append(r.ring, k)
		return true
	}
	delete(r.set, r.ring[r.at])
	r.ring[r.at] = k
	r.at = (r.at + 1) % DedupeWindow
	return true
}

// inOrder returns the keys from the oldest to the newest.
func (r *keyRing) inOrder() []Key {
	return append(append(make([]Key, 0, len(r.ring)), r.ring[r.at:]...), r.ring[:r.at]...)
}
