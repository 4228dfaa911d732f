package core

import (
	"fmt"
	"slices"
)

// decided returns the newest view that raft has decided.
func (c *Core) decided() ViewID {
	if len(c.chain) == 0 {
		return c.view.ID
	}
	return max(c.view.ID, c.chain[len(c.chain)-1].prev+1)
}

// decidedView returns the newest decided view.
func (c *Core) decidedView() *View {
	if len(c.chain) == 0 || c.view.ID > c.chain[len(c.chain)-1].prev {
		return c.view
	}
	return c.chain[len(c.chain)-1].view()
}

// successor returns the entry that ends a view, nil if it is not decided (or not known here any more).
func (c *Core) successor(v ViewID) *newView {
	for k := len(c.chain) - 1; k >= 0; k-- {
		if c.chain[k].prev == v {
			return &c.chain[k]
		}
	}
	return nil
}

// apply takes a NEWVIEW that raft has committed (V5). It counts only if it follows the last decided view: that is the same at all processes, whatever they have
// installed. It must also fit the group as it is at this point of raft's log.
func (c *Core) apply(data []byte) {
	d := &decoder{b: data}
	var v newView
	v.decode(d)
	if !d.end() || v.prev != c.raft.decided || !c.acceptable(&v) {
		return
	}
	c.raft.decided = v.prev + 1
	c.chain = append(c.chain, v)
	c.frozen = max(c.frozen, v.prev)
	c.statDue, c.statForced = true, true
	if c.change != nil && c.change.view.ID <= v.prev {
		c.change = nil
	}
}

func (c *Core) acceptable(v *newView) bool {
	ids := c.raft.voters()
	if v.quorum != len(ids)/2+1 || len(v.members) < v.quorum {
		return false
	}
	for k, m := range v.members {
		if m.ID == 0 || k > 0 && m.ID <= v.members[k-1].ID || !slices.Contains(ids, m.ID) {
			return false
		}
	}
	return true
}

// install installs decided views one after the other: each needs the whole cut of the one before (V5).
func (c *Core) install() {
	for c.broken == nil {
		next := c.successor(c.view.ID)
		if next == nil {
			if c.decided() > c.view.ID || c.raft.decided > c.decided() {
				c.askAnySnapshot()
			}
			return
		}
		if !c.finish(next) {
			return
		}
		c.enter(next.view())
	}
}

// finish delivers what is in the cut and was not delivered, in order; false if some of it is missing, or the application is too far behind.
func (c *Core) finish(next *newView) bool {
	if c.current == nil {
		return true // view 0
	}
	complete := true
	for _, p := range next.cut {
		s := c.current.stream(p.id)
		if s == nil {
			continue
		}
		if s.next > p.seq+1 && c.config.Mutation == Faithful {
			c.fail(fmt.Errorf("abcast: process %d delivered message %d of process %d in view %d, but the view ended with %d: the log or the rules were broken", c.config.ID, s.next-1, p.id, c.view.ID, p.seq))
			return false
		}
		if s.recv < p.seq {
			complete = false
			c.ask(c.view.ID, s, p.seq, c.withOthers(next.holders))
		}
	}
	if !complete {
		return false
	}
	for {
		if c.unconsumed >= c.config.Unconsumed {
			return false
		}
		var least *stream
		var at Timestamp
		for _, p := range next.cut {
			s := c.current.stream(p.id)
			if s == nil || s.next > p.seq {
				continue
			}
			if ts, ok := s.head(); ok && (least == nil || ts < at) {
				least, at = s, ts
			}
		}
		if least == nil {
			return true
		}
		c.deliverNext(least, c.config.Delta > 0 && c.late(at))
	}
}

// withOthers appends everybody else: those who held the cut once may be gone by now.
func (c *Core) withOthers(holders []ID) []ID {
	ids := slices.Clone(holders)
	for _, p := range c.peers {
		if !slices.Contains(ids, p.id) {
			ids = append(ids, p.id)
		}
	}
	return ids
}

// cutOf returns how much of a sender's messages the decided end of a view, or the change that is under way, wants.
func (c *Core) cutOf(v ViewID, id ID) uint64 {
	var cut []prefix
	if next := c.successor(v); next != nil {
		cut = next.cut
	} else if c.fill != nil && c.fill.view == v {
		cut = c.fill.cut
	}
	for _, p := range cut {
		if p.id == id {
			return p.seq
		}
	}
	return 0
}

// enter installs a view.
func (c *Core) enter(v *View) {
	if c.place >= 0 {
		c.reclaim(c.current.streams[c.place])
	}
	c.leaveView()
	c.view = v
	c.place = c.memberAt(c.self)
	c.current = c.openLog(v.ID)
	c.current.settle(v)
	c.last, c.seen, c.seq = 0, 0, 0
	c.fill = nil
	c.leave = c.leave && c.place < 0
	c.leaveUntil = max(c.leaveUntil, c.now.Elapsed+c.config.EvictAfter)
	c.counters.ViewChanges++
	c.out.upcalls = append(c.out.upcalls, Upcall{Kind: UpcallView, View: v})
	c.snapshots.views++
	for _, s := range c.current.streams {
		if c.place >= 0 {
			c.acknowledge(s)
		}
	}
	c.restartReads()
	c.statDue, c.statForced = true, true
	c.replayEarly()
}

// leaveView keeps of the old view what outlives it: the numbers of its members' last messages.
func (c *Core) leaveView() {
	if c.current == nil {
		return
	}
	for _, s := range c.current.streams {
		if s.number > 0 {
			c.setNumber(s.origin, s.number)
		}
	}
}

// setNumber keeps the last number of the newest life of each process.
func (c *Core) setNumber(m Member, number uint64) {
	for k := range c.numbers {
		if n := &c.numbers[k]; n.member.ID == m.ID {
			if n.member.Incarnation < m.Incarnation || n.member == m && n.number < number {
				*n = lifeNumber{m, number}
			}
			return
		}
	}
	c.numbers = append(c.numbers, lifeNumber{m, number})
	slices.SortFunc(c.numbers, func(a, b lifeNumber) int { return int(int64(a.member.ID) - int64(b.member.ID)) })
}
