package core

import (
	"fmt"
	"slices"
	"time"

	"github.com/clockd/clockd/reason"
)

// peer is what is known of another process.
type peer struct {
	id        ID
	life      uint64 // its newest incarnation
	heard     time.Duration
	suspected bool
	stat      stat
	known     bool          // stat is of this life
	clean     time.Duration // since when nobody complains of it, nor it of anybody
	snapAsked time.Duration
	snapSent  time.Duration
}

func (c *Core) peer(id ID) *peer {
	for _, p := range c.peers {
		if p.id == id {
			return p
		}
	}
	return nil
}

// setUniverse takes the processes of the group.
func (c *Core) setUniverse(ids []ID) {
	if slices.Equal(ids, c.universe) {
		return
	}
	if slices.Contains(c.universe, c.self.ID) && !slices.Contains(ids, c.self.ID) {
		c.removed, c.out.removed = true, true
	}
	c.universe = ids
	c.peers = slices.DeleteFunc(c.peers, func(p *peer) bool { return !slices.Contains(ids, p.id) })
	for _, id := range ids {
		if id != c.self.ID && c.peer(id) == nil {
			c.peers = append(c.peers, &peer{id: id, heard: c.now.Elapsed, clean: c.now.Elapsed, snapAsked: -time.Hour, snapSent: -time.Hour})
		}
	}
	slices.SortFunc(c.peers, func(a, b *peer) int { return int(int64(a.id) - int64(b.id)) })
	c.peersDue = true
}

// begin is called at the first step: what is to happen after a time counts from here.
func (c *Core) begin(elapsed time.Duration) {
	c.now.Elapsed = elapsed
	for _, p := range c.peers {
		p.heard, p.clean, p.snapAsked, p.snapSent = elapsed, elapsed, elapsed-time.Hour, elapsed-time.Hour
	}
	c.statAt = elapsed - c.config.Heartbeat
	c.raft.tickAt = elapsed
	c.raft.campaignAt = elapsed + c.electionDelay()
	c.snapshots.asked = elapsed - time.Hour
}

// receive takes a frame.
func (c *Core) receive(from ID, b []byte) error {
	h, d, err := decodeHeader(b)
	if err != nil {
		return err
	}
	if h.group != c.config.Group {
		return fmt.Errorf("abcast: a frame of group %d, this is %d: %w", h.group, c.config.Group, reason.FrameGroup)
	}
	if h.from.ID != from || from == c.self.ID {
		return fmt.Errorf("abcast: process %d sends as %v: %w", from, h.from, reason.FrameSender)
	}
	p := c.peer(from)
	if p == nil {
		// A process that is added, or was away for long, learns of the others from raft.
		if h.kind == kindRaft {
			return c.receiveRaft(h.from, d.b)
		}
		return fmt.Errorf("abcast: process %d is not in the group: %w", from, reason.FrameSender)
	}
	if h.from.Incarnation < p.life {
		return fmt.Errorf("abcast: %v is over, its life is %d: %w", h.from, p.life, reason.FrameStale)
	}
	if h.from.Incarnation > p.life {
		p.life, p.known, p.clean = h.from.Incarnation, false, c.now.Elapsed
	}
	p.heard = c.now.Elapsed
	return c.dispatch(&h, p, &d, b)
}

func (c *Core) dispatch(h *header, p *peer, d *decoder, b []byte) error {
	switch h.kind {
	case kindData:
		return c.receiveData(d.b, b)
	case kindStat:
		return c.receiveStat(p, d)
	case kindFreeze:
		return c.receiveFreeze(p, d)
	case kindReport:
		return c.receiveReport(p, d)
	case kindFill:
		return c.receiveFill(p, d)
	case kindFillOK:
		return c.receiveFillOK(h.from, d)
	case kindNeed:
		return c.receiveNeed(p, d)
	case kindGone:
		return c.receiveGone(p, d)
	case kindProbe:
		return c.receiveProbe(p, d)
	case kindProbeOK:
		return c.receiveProbeOK(p, d)
	case kindRaft:
		return c.receiveRaft(h.from, d.b)
	case kindSnapAsk:
		return c.receiveSnapAsk(p, d)
	}
	return malformed("kind")
}

// observe suspects the silent. Where a life is over, that one is as good as silent.
func (c *Core) observe() {
	for _, p := range c.peers {
		silent := c.now.Elapsed-p.heard > c.config.SuspectAfter
		if silent && !p.suspected {
			c.counters.Suspicions++
		}
		p.suspected = silent
	}
}

func (c *Core) suspects() []ID {
	var ids []ID
	for _, p := range c.peers {
		if p.suspected {
			ids = append(ids, p.id)
		}
	}
	return ids
}

// sendStat sends promise and acknowledgements (R3), at least every heartbeat.
func (c *Core) sendStat() {
	idle := c.now.Elapsed - c.statAt
	if len(c.peers) == 0 {
		c.statDue, c.statForced, c.statAt = false, false, c.now.Elapsed
		return
	}
	if idle < c.config.Heartbeat && !c.statForced && (!c.statDue || idle < c.config.StatGap) {
		return
	}
	c.statDue, c.statForced, c.statAt, c.untold = false, false, c.now.Elapsed, 0
	s := stat{
		view: c.view.ID, decided: c.decided(), seq: c.seq, snapshot: c.snapshots.saved, suspects: c.suspects(),
	}
	if c.place >= 0 {
		s.flags |= flagMember
		if c.frozen < c.view.ID || c.config.Mutation == AckFrozen {
			s.promise = c.raise()
		} else {
			s.promise = c.last
		}
		c.current.streams[c.place].honoured = c.last
	}
	if c.frozen >= c.decided() && c.decided() > 0 {
		s.flags |= flagFrozen
	}
	if c.leave {
		s.flags |= flagLeave
	}
	if c.current != nil {
		s.delivered = c.current.count
		s.acked = make([]uint64, 0, len(c.current.streams))
		for _, q := range c.current.streams {
			if c.place >= 0 {
				s.acked = append(s.acked, q.acked[c.place])
			} else {
				s.acked = append(s.acked, q.recv)
			}
		}
	}
	e := c.begun(kindStat, 64+10*len(s.acked))
	s.encode(&e)
	c.send(0, &e)
}

// raise makes the promise as high as may be: the clock, or the clocks of others where they are ahead by less than Bump, or where a quorum of them is (a clock far
// behind does not hold up the group, one far ahead does not pull it along). Without a sound clock all that was seen counts, and nothing else.
func (c *Core) raise() Timestamp {
	if !c.now.Sound {
		c.last = max(c.last, c.seen)
		return c.last
	}
	promise := c.clock
	if c.config.LookAhead > 0 && len(c.pending) == 0 {
		promise += Timestamp(c.config.LookAhead)
	}
	if c.seen > promise {
		promise = max(promise, min(c.seen, max(c.clock+Timestamp(c.config.Bump), c.quorumPromise())))
	}
	c.last = max(c.last, promise)
	return c.last
}

// quorumPromise is the largest timestamp that a quorum has promised.
func (c *Core) quorumPromise() Timestamp {
	var promises [maxMembers]uint64
	for k, s := range c.current.streams {
		promises[k] = uint64(s.honoured)
	}
	return Timestamp(kthLargest(promises[:len(c.current.streams)], c.view.Quorum))
}

func (c *Core) receiveStat(p *peer, d *decoder) error {
	was := p.stat.view
	if err := p.stat.decode(d); err != nil {
		p.known = false
		return err
	}
	p.known = true
	s := &p.stat
	if s.view != was || s.decided > c.decided() {
		c.statDue = true
	}
	if s.view != c.view.ID || c.current == nil || len(s.acked) != len(c.view.Members) {
		return nil
	}
	k := c.memberAt(Member{p.id, p.life})
	if k < 0 || s.flags&flagMember == 0 {
		return nil
	}
	q := c.current.streams[k]
	if s.promise > q.promise {
		q.promise, q.promised = s.promise, s.seq
		q.honour()
	}
	for i, a := range s.acked {
		if t := c.current.streams[i]; a > t.acked[k] {
			t.acked[k] = a
			c.countQuorum(t)
		}
	}
	c.release()
	return nil
}

// memberAt returns the index of a life in the installed view, −1 if it is not there.
func (c *Core) memberAt(m Member) int { return slices.Index(c.view.Members, m) }

// deliveredEverywhere is how many messages of the view every member has delivered.
func (c *Core) deliveredEverywhere() uint64 {
	least := c.current.count
	for _, m := range c.view.Members {
		if m == c.self {
			continue
		}
		p := c.peer(m.ID)
		if p == nil || !p.known || p.life != m.Incarnation || p.stat.view != c.view.ID {
			return 0
		}
		least = min(least, p.stat.delivered)
	}
	return least
}
