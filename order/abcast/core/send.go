package core

import (
	"fmt"
	"slices"

	"github.com/clockd/clockd/reason"
)

// Broadcast accepts a payload for broadcast, and returns its number. The error wraps BroadcastUnsynchronised, BroadcastWindow, BroadcastTooLong or
// BroadcastRemoved: then it will not be delivered. Otherwise, unless this process crashes, it will be: an upcall with Origin == Status().Member and this Number says
// where (or UpcallInstall, if Snapshot.Own is not below it). Broadcasts of one step become one frame in the next Ready. While the view changes they wait. The core keeps
// payload.
func (c *Core) Broadcast(now Now, payload []byte, key Key) (number uint64, err error) {
	if c.broken != nil {
		return 0, c.broken
	}
	c.tell(now)
	if err := c.mayBroadcast(len(payload)); err != nil {
		c.refused(err)
		return 0, err
	}
	c.number++
	c.pending = append(c.pending, pendingMessage{c.number, key, payload})
	c.outstanding += cost(payload)
	c.counters.Broadcast++
	c.counters.BroadcastBytes += uint64(len(payload))
	return c.number, nil
}

// messageCost is what a message counts in the window besides its payload.
const messageCost = 64

func cost(payload []byte) int { return len(payload) + messageCost }

func (c *Core) mayBroadcast(n int) error {
	switch {
	case c.removed:
		return fmt.Errorf("abcast: process %d: %w", c.self.ID, reason.BroadcastRemoved)
	case !c.now.Sound:
		return fmt.Errorf("abcast: %w", reason.BroadcastUnsynchronised)
	case n > c.config.MaxPayload:
		return fmt.Errorf("abcast: a payload of %d bytes, %d are allowed: %w", n, c.config.MaxPayload, reason.BroadcastTooLong)
	case c.outstanding+n+messageCost > c.config.Window && c.outstanding > 0:
		c.room = true
		return fmt.Errorf("abcast: %d bytes are on their way: %w", c.outstanding, reason.BroadcastWindow)
	}
	return nil
}

// Cancel gives up a broadcast. nil: it was not sent yet and will never be delivered. reason.BroadcastMaybe: it was sent, and may still be delivered (or was).
func (c *Core) Cancel(number uint64) error {
	k, found := slices.BinarySearchFunc(c.pending, number, func(m pendingMessage, number uint64) int { return int(int64(m.number) - int64(number)) })
	if !found {
		return fmt.Errorf("abcast: message %d: %w", number, reason.BroadcastMaybe)
	}
	c.outstanding -= cost(c.pending[k].payload)
	c.pending = slices.Delete(c.pending, k, k+1)
	return nil
}

// maySend is the guard of R1.
func (c *Core) maySend() bool {
	return c.place >= 0 && c.frozen < c.view.ID && c.now.Sound && !c.leave && (!c.config.Sequencer || c.place == 0)
}

// flush sends what is pending (R1).
func (c *Core) flush() {
	if len(c.pending) == 0 || !c.maySend() {
		return
	}
	all := c.pending
	for len(c.pending) > 0 {
		f := c.nextFrame()
		s := c.current.streams[c.place]
		c.store(c.current, s, f)
		e := c.begun(kindData, len(f.body))
		e.bytes(f.body)
		c.send(0, &e)
	}
	clear(all)
	c.pending = all[:0]
}

// nextFrame makes a frame of what is pending.
func (c *Core) nextFrame() *frame {
	n, bytes := 0, 0
	for n < len(c.pending) && n < maxBatch {
		m := &c.pending[n]
		if n > 0 && (bytes+len(m.payload) > c.config.MaxFrame || m.number != c.pending[0].number+uint64(n)) {
			break
		}
		bytes += len(m.payload)
		n++
	}
	ts := max(c.clock, c.last+1)
	f := &frame{view: c.view.ID, origin: c.self, seq: c.seq + 1, ts: ts, number: c.pending[0].number, entries: make([]entry, n)}
	for k := range n {
		f.entries[k] = entry{c.pending[k].key, c.pending[k].payload}
	}
	f.encode()
	c.pending = c.pending[n:]
	c.last = ts + Timestamp(n-1)
	c.seen = max(c.seen, c.last)
	c.seq += uint64(n)
	return f
}

// receiveData takes messages: live ones of the view, or such as fill a gap (R2, R6).
func (c *Core) receiveData(body, raw []byte) error {
	f, err := decodeFrame(body)
	if err != nil {
		return err
	}
	if f.origin.ID == c.self.ID && f.origin == c.self {
		return nil // an echo of what is here
	}
	if f.view > c.view.ID {
		c.keepEarly(raw)
		return nil
	}
	l := c.log(f.view)
	if l == nil || f.view < c.view.ID {
		return nil
	}
	s := l.stream(f.origin.ID)
	if s == nil || c.memberAt(f.origin) < 0 {
		return fmt.Errorf("abcast: a message of %v in view %d: %w", f.origin, f.view, reason.FrameSender)
	}
	if f.seq > s.recv+1 || f.last() <= s.recv {
		if f.seq > s.recv+1 && s.promised < f.last() {
			// A gap: the frame still is a promise, and shows what is missing.
			s.promise, s.promised = max(s.promise, f.ts), f.last()
		}
		return nil
	}
	// No member sends more than its window before all have delivered; in memory a message takes up to four times what it counts there.
	// What a cut needs must come in whatever it takes.
	if c.cutOf(f.view, s.id) < f.seq && int64(l.bytes) > 4*int64(c.config.Window+c.config.MaxPayload)*int64(len(l.streams))+int64(c.config.Retain) {
		return fmt.Errorf("abcast: messages of %v: %w", f.origin, reason.QueueFull)
	}
	c.seen = max(c.seen, f.ts+Timestamp(len(f.entries)-1))
	last := f.last()
	c.store(l, s, f.from(s.recv+1))
	if c.config.Durability == Memory {
		// Its sender held it when it sent it: DATA is its own acknowledgement.
		if k := c.memberAt(f.origin); s.acked[k] < last {
			s.acked[k] = last
			c.countQuorum(s)
		}
	}
	c.statDue = true
	return nil
}

// keepEarly buffers a frame of a view that is not installed yet (R6).
func (c *Core) keepEarly(raw []byte) {
	const most = 1 << 20
	if c.earlyN+len(raw) > most {
		return // it will be asked for again
	}
	c.earlyN += len(raw)
	c.early = append(c.early, raw)
}

// replayEarly takes the buffered frames after a view was installed.
func (c *Core) replayEarly() {
	frames := c.early
	c.early, c.earlyN = nil, 0
	for _, raw := range frames {
		if _, d, err := decodeHeader(raw); err == nil {
			if err := c.receiveData(d.b, raw); err != nil {
				c.refused(err)
			}
		}
	}
}

// release lets go of own messages that every member has delivered: they no longer count in the window.
func (c *Core) release() {
	if c.place < 0 {
		return
	}
	everywhere := c.deliveredEverywhere()
	own := c.current.streams[c.place]
	for own.released < len(own.frames) {
		f := own.frames[own.released]
		if f.end == 0 || f.end > everywhere {
			return
		}
		c.outstanding -= f.payloadBytes() + messageCost*len(f.entries)
		own.released++
	}
}

// reclaim takes own messages of the old view that are not in its cut back into the queue, to be sent again in a later view (V5).
func (c *Core) reclaim(own *stream) {
	var again []pendingMessage
	for k := own.find(max(own.next, own.base)); k < len(own.frames); k++ {
		f := own.frames[k]
		for i := range f.entries {
			if f.seq+uint64(i) >= own.next {
				again = append(again, pendingMessage{f.number + uint64(i), f.entries[i].key, f.entries[i].payload})
			}
		}
	}
	c.counters.Rebroadcast += uint64(len(again))
	c.pending = append(again, c.pending...)
	c.recount()
}

// recount makes the window hold exactly what is pending.
func (c *Core) recount() {
	c.outstanding = 0
	for k := range c.pending {
		c.outstanding += cost(c.pending[k].payload)
	}
}
