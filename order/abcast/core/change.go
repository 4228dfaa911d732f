package core

import (
	"slices"
	"time"
)

// change is a view change that this process coordinates (V1–V4). Duels of coordinators are harmless.
type change struct {
	view    *View // the decided view that is to end
	round   uint64
	members []Member // of the next view
	quorum  int
	without ID
	forced  bool
	began   time.Duration
	sent    time.Duration
	reports []report
	cut     []prefix
	holders []ID // per sender of the cut: who reported it
	filled  []ID
}

type report struct {
	id       ID
	prefixes []prefix
}

// filling is what a coordinator asked this process to fill up.
type filling struct {
	view    ViewID
	round   uint64
	to      ID
	cut     []prefix
	holders []ID
	done    bool
}

// coordinate begins a view change if this process is raft's leader and there is a reason, and carries on one that it began.
func (c *Core) coordinate() {
	c.admit()
	if ch := c.change; ch != nil {
		switch {
		case ch.view.ID != c.decided() || !ch.forced && !c.raft.leads():
			c.change = nil
		case c.now.Elapsed-ch.began > 2*c.config.SuspectAfter:
			c.change = nil
			if ch.forced {
				return
			}
		default:
			c.advance(ch)
			return
		}
	}
	if !c.raft.leads() || c.now.Elapsed < c.consider {
		return
	}
	c.consider = c.now.Elapsed + c.config.Heartbeat/4
	if c.reasonToChange() {
		c.beginChange(0, false)
	}
}

// admit keeps account of since when each process could be let into the view.
func (c *Core) admit() {
	for _, p := range c.peers {
		if p.suspected || !p.known || p.stat.flags&flagLeave != 0 {
			p.clean = c.now.Elapsed
			continue
		}
		for _, id := range p.stat.suspects {
			// Nobody is to blame for not hearing one who is silent to all.
			if q := c.peer(id); q != nil && !q.suspected {
				p.clean, q.clean = c.now.Elapsed, c.now.Elapsed
			} else if id == c.self.ID {
				p.clean = c.now.Elapsed
			}
		}
	}
}

// ready reports whether a process that is not in the view may come in: it has been in good standing for a while, and has caught up
// (or need not, because there are too few others).
func (c *Core) ready(p *peer, anyLag bool) bool {
	if p.suspected || !p.known || p.stat.flags&flagLeave != 0 || p.stat.view != c.decided() {
		return false
	}
	if c.decided() == 0 {
		return true
	}
	if c.now.Elapsed-p.clean < c.config.SuspectAfter {
		return false
	}
	if anyLag {
		return true
	}
	if c.view.ID != c.decided() || len(p.stat.acked) != len(c.current.streams) {
		return false
	}
	lag := uint64(0)
	for k, s := range c.current.streams {
		if a := p.stat.acked[k]; s.recv > a {
			lag += s.recv - a
		}
	}
	return lag <= uint64(c.config.JoinLag)
}

// choose chooses the members of the next view (V1): those of the old one who are alive, and who is ready to come in; of two who do not hear each other one is left out.
func (c *Core) choose(old *View, without ID) []Member {
	members := c.chooseFrom(old, without, false)
	if len(members) < len(c.universe)/2+1 {
		// Too few are left, perhaps all were restarted: whoever is behind must come in as well.
		return c.chooseFrom(old, without, true)
	}
	return members
}

// chooseFrom is choose; anyone: also those who are behind, or asked to be put out.
func (c *Core) chooseFrom(old *View, without ID, anyone bool) []Member {
	var members []Member
	consider := func(m Member, fit bool) {
		if fit && m.ID != without && slices.Contains(c.universe, m.ID) {
			members = append(members, m)
		}
	}
	consider(c.self, (!c.leave || anyone) && (old.Contains(c.self) || c.view.ID == old.ID))
	for _, p := range c.peers {
		m := Member{p.id, p.life}
		switch {
		case p.life == 0 || p.suspected:
		case old.Contains(m):
			consider(m, p.stat.flags&flagLeave == 0 || !p.known || anyone)
		default:
			consider(m, c.ready(p, anyone))
		}
	}
	c.separate(&members)
	slices.SortFunc(members, func(a, b Member) int { return int(int64(a.ID) - int64(b.ID)) })
	return members
}

// separate leaves out of members those with most complaints until all that are left hear each other.
func (c *Core) separate(members *[]Member) {
	in := func(id ID) bool { return slices.ContainsFunc(*members, func(m Member) bool { return m.ID == id }) }
	for {
		complaints := make(map[ID]int)
		for _, m := range *members {
			p := c.peer(m.ID)
			if p == nil || !p.known {
				continue
			}
			for _, id := range p.stat.suspects {
				if in(id) {
					complaints[id]++
					complaints[m.ID]++
				}
			}
		}
		worst, most := ID(0), 0
		for _, m := range *members {
			if n := complaints[m.ID]; m.ID != c.self.ID && n > 0 && n >= most {
				worst, most = m.ID, n
			}
		}
		if worst == 0 {
			return
		}
		*members = slices.DeleteFunc(*members, func(m Member) bool { return m.ID == worst })
	}
}

// reasonToChange reports whether the decided view should end.
func (c *Core) reasonToChange() bool {
	old := c.decidedView()
	quorum := len(c.universe)/2 + 1
	members := c.choose(old, 0)
	if len(members) < quorum {
		return false
	}
	if old.ID == 0 {
		// Wait a little for all of the first ones.
		return len(members) == len(c.universe) || c.now.Elapsed-c.raft.ledSince > c.config.SuspectAfter
	}
	if quorum != old.Quorum || !slices.Equal(members, old.Members) || c.frozen >= old.ID || c.leave && old.Contains(c.self) {
		return true
	}
	// A frozen view is at an end. Who wants to leave and cannot be spared gets a new view all the same: its messages are in the cut, and timestamps begin anew.
	return slices.ContainsFunc(c.peers, func(p *peer) bool {
		return !p.suspected && p.known && p.stat.decided == old.ID &&
			(p.stat.flags&flagFrozen != 0 || p.stat.flags&flagLeave != 0 && p.stat.view == old.ID && old.Contains(Member{p.id, p.life}))
	})
}

// beginChange begins V1.
func (c *Core) beginChange(without ID, forced bool) {
	old := c.decidedView()
	quorum := len(c.universe)/2 + 1
	members := c.choose(old, without)
	if len(members) < quorum || c.removed {
		return
	}
	c.raft.rounds++
	c.change = &change{
		view: old, round: c.raft.rounds, members: members, quorum: quorum, without: without, forced: forced, began: c.now.Elapsed,
		sent: c.now.Elapsed - time.Hour,
	}
	c.advance(c.change)
}

// advance does what the change needs next, and repeats what may have been lost.
func (c *Core) advance(ch *change) {
	if c.now.Elapsed-ch.sent < c.config.Resend {
		return
	}
	ch.sent = c.now.Elapsed
	switch {
	case ch.cut == nil:
		c.sendFreeze(ch)
	case len(ch.filled) < ch.quorum:
		c.sendFill(ch)
	default:
		c.propose(ch)
	}
}

// sendFreeze asks all of the old view to freeze and report (V2).
func (c *Core) sendFreeze(ch *change) {
	if c.flushed(ch) {
		return
	}
	e := c.begun(kindFreeze, 16)
	e.uint(uint64(ch.view.ID))
	e.uint(ch.round)
	for _, m := range ch.view.Members {
		c.send(m.ID, &e)
	}
	if prefixes, ok := c.freeze(ch.view); ok {
		c.reported(ch, c.self.ID, prefixes)
	} else {
		c.flushed(ch)
	}
}

// freeze stops acknowledging in a view for ever, and returns what is durable here of it. Not ok: this process cannot answer, because what it acknowledged in its former
// life is gone, or was never a member.
func (c *Core) freeze(v *View) ([]prefix, bool) {
	k := slices.IndexFunc(v.Members, func(m Member) bool { return m.ID == c.self.ID })
	if k < 0 {
		return nil, false
	}
	if v.Members[k] != c.self && c.config.Durability == Memory && c.config.Mutation != AnswerWithoutMemory {
		return nil, false
	}
	if life := v.Members[k].Incarnation; life < c.firstLife || life > c.self.Incarnation {
		return nil, false // a life on another disk: what it acknowledged is not here
	}
	c.frozen = max(c.frozen, v.ID)
	var prefixes []prefix
	l := c.log(v.ID)
	for _, m := range v.Members {
		p := prefix{id: m.ID}
		if l != nil {
			if s := l.stream(m.ID); s != nil {
				p.seq = s.dur
			}
		}
		prefixes = append(prefixes, p)
	}
	return prefixes, true
}

func (c *Core) receiveFreeze(p *peer, d *decoder) error {
	id, round := ViewID(d.uint()), d.uint()
	if !d.end() {
		return malformed("FREEZE")
	}
	if id != c.decided() {
		return nil // over, or not known here yet: it will be repeated
	}
	prefixes, ok := c.freeze(c.decidedView())
	if !ok {
		return nil
	}
	e := c.begun(kindReport, 16+12*len(prefixes))
	e.uint(uint64(id))
	e.uint(round)
	e.prefixes(prefixes)
	c.send(p.id, &e)
	return nil
}

func (c *Core) receiveReport(p *peer, d *decoder) error {
	id, round, prefixes := ViewID(d.uint()), d.uint(), d.prefixes()
	if !d.end() {
		return malformed("REPORT")
	}
	if ch := c.change; ch != nil && ch.view.ID == id && ch.round == round && ch.cut == nil {
		c.reported(ch, p.id, prefixes)
	}
	return nil
}

// reported takes one member's report.
func (c *Core) reported(ch *change, id ID, prefixes []prefix) {
	if !slices.ContainsFunc(ch.view.Members, func(m Member) bool { return m.ID == id }) {
		return
	}
	ch.reports = slices.DeleteFunc(ch.reports, func(r report) bool { return r.id == id })
	ch.reports = append(ch.reports, report{id, prefixes})
	c.flushed(ch)
}

// flushed computes the cut once enough have frozen (V3).
func (c *Core) flushed(ch *change) bool {
	need := ch.view.FlushQuorum()
	if ch.view.ID == 0 {
		need = 0
	}
	if c.config.Mutation == SmallFlushQuorum && need > 0 {
		need--
	}
	if len(ch.reports) < need {
		return false
	}
	ch.cut, ch.holders = make([]prefix, 0, len(ch.view.Members)), nil
	for _, m := range ch.view.Members {
		best, holder := prefix{id: m.ID}, ID(0)
		for _, r := range ch.reports {
			for _, p := range r.prefixes {
				if p.id == m.ID && p.seq > best.seq {
					best, holder = p, r.id
				}
			}
		}
		ch.cut, ch.holders = append(ch.cut, best), append(ch.holders, holder)
	}
	ch.sent = c.now.Elapsed
	c.sendFill(ch)
	return true
}

// sendFill tells the members of the next view what they must hold (V3).
func (c *Core) sendFill(ch *change) {
	e := c.begun(kindFill, 16+24*len(ch.cut))
	e.uint(uint64(ch.view.ID))
	e.uint(ch.round)
	e.prefixes(ch.cut)
	e.ids(ch.holders)
	for _, m := range ch.members {
		if m != c.self && !slices.Contains(ch.filled, m.ID) {
			c.send(m.ID, &e)
		}
	}
	if slices.Contains(ch.members, c.self) && !slices.Contains(ch.filled, c.self.ID) {
		c.fill = &filling{view: ch.view.ID, round: ch.round, to: c.self.ID, cut: ch.cut, holders: ch.holders}
	}
	if ch.view.ID == 0 {
		c.fillUp()
	}
}

func (c *Core) receiveFill(p *peer, d *decoder) error {
	f := &filling{view: ViewID(d.uint()), round: d.uint(), to: p.id, cut: d.prefixes(), holders: d.ids()}
	if !d.end() || len(f.holders) != len(f.cut) {
		return malformed("FILL")
	}
	if f.view == c.view.ID {
		c.fill = f
	}
	return nil
}

// fillUp fetches what a coordinator wants this process to hold, and says when it is durable.
func (c *Core) fillUp() {
	f := c.fill
	if f == nil || f.done || f.view != c.view.ID {
		return
	}
	complete := true
	for k, p := range f.cut {
		if c.current == nil {
			break
		}
		s := c.current.stream(p.id)
		if s == nil {
			return
		}
		if s.recv < p.seq {
			c.ask(f.view, s, p.seq, c.fillHolders(f, k, s))
		}
		complete = complete && s.dur >= p.seq
	}
	if !complete {
		return
	}
	f.done = true
	if f.to == c.self.ID {
		c.filled(c.self, f.view, f.round)
		return
	}
	e := c.begun(kindFillOK, 16)
	e.uint(uint64(f.view))
	e.uint(f.round)
	c.send(f.to, &e)
}

func (c *Core) fillHolders(f *filling, k int, s *stream) []ID {
	ids := []ID{f.holders[k]}
	for i, m := range c.view.Members {
		if m.ID != f.holders[k] && m.ID != c.self.ID && s.acked[i] > s.recv {
			ids = append(ids, m.ID)
		}
	}
	return ids
}

func (c *Core) receiveFillOK(from Member, d *decoder) error {
	id, round := ViewID(d.uint()), d.uint()
	if !d.end() {
		return malformed("FILLOK")
	}
	c.filled(from, id, round)
	return nil
}

// filled counts who holds the cut, and proposes the next view when that is a quorum (V4).
func (c *Core) filled(m Member, id ViewID, round uint64) {
	ch := c.change
	if ch == nil || ch.view.ID != id || ch.round != round || ch.cut == nil || !slices.Contains(ch.members, m) || slices.Contains(ch.filled, m.ID) {
		return
	}
	ch.filled = append(ch.filled, m.ID)
	if len(ch.filled) == ch.quorum {
		ch.sent = c.now.Elapsed
		c.propose(ch)
	}
}

func (c *Core) propose(ch *change) {
	v := newView{prev: ch.view.ID, members: ch.members, quorum: ch.quorum, cut: ch.cut, holders: ch.filled}
	var e encoder
	v.encode(&e)
	c.raft.propose(e.b)
}
