package core

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"time"

	"github.com/clockd/clockd/reason"
)

// snapshotState is about the snapshots of this process.
type snapshotState struct {
	saved     uint64 // index of the newest durable one
	savedView ViewID
	since     int // bytes delivered since the last one was asked for
	views     int // views installed since then
	// Asked for from the application, not yet stored.
	pending      uint64
	pendingView  ViewID
	pendingNeeds uint64 // LSN of the oldest record that a restart from it needs
	pendingSince time.Duration
	marks        []snapshotMark
	forgotten    uint64
	forgetting   uint64 // to be forgotten once the log is durable up to forgetAfter
	forgetAfter  uint64
	wanted       []wantedSnapshot
	asked        time.Duration // from a peer
}

// snapshotMark remembers which records a restart from a snapshot needs.
type snapshotMark struct{ index, needs uint64 }

// wantedSnapshot is a peer that needs a snapshot beyond an index.
type wantedSnapshot struct {
	id    ID
	index uint64
}

// viewsPerSnapshot is after how many view changes a snapshot is asked for even if little was delivered: the chain of views must not grow for ever.
const viewsPerSnapshot = 64

// wantSnapshot asks the application for a snapshot when it is time, sends to others who need one, and forgets records.
func (c *Core) wantSnapshot() {
	s := &c.snapshots
	needed := false
	s.wanted = slices.DeleteFunc(s.wanted, func(w wantedSnapshot) bool {
		if s.saved > w.index {
			c.out.send = append(c.out.send, w.id)
			return true
		}
		needed = true
		return false
	})
	due := c.config.SnapshotEvery > 0 && (s.since >= c.config.SnapshotEvery || s.views >= viewsPerSnapshot)
	if (due || needed) && c.index > s.saved && c.current != nil &&
		(s.pending == 0 || c.now.Elapsed-s.pendingSince > 20*c.config.SuspectAfter) {
		c.takeSnapshot()
	}
	c.forget()
}

// takeSnapshot asks for a snapshot right here.
func (c *Core) takeSnapshot() {
	s := &c.snapshots
	s.since, s.views = 0, 0
	s.pending, s.pendingView, s.pendingSince = c.index, c.view.ID, c.now.Elapsed
	s.pendingNeeds = c.lsn + 1
	for _, q := range c.current.streams {
		if k := q.find(max(q.next, q.base)); k < len(q.frames) {
			s.pendingNeeds = min(s.pendingNeeds, q.frames[k].lsn)
		}
	}
	for _, l := range c.logs {
		if l.id <= c.view.ID {
			continue
		}
		for _, q := range l.streams {
			if len(q.frames) > 0 {
				s.pendingNeeds = min(s.pendingNeeds, q.frames[0].lsn)
			}
		}
	}
	c.out.upcalls = append(c.out.upcalls, Upcall{Kind: UpcallSnapshot, Snapshot: Snapshot{Position: c.position, Index: c.index, Meta: c.meta()}})
}

func (c *Core) snapshotSaved(meta []byte) error {
	m, err := decodeMeta(meta)
	if err != nil {
		return err
	}
	s := &c.snapshots
	if m.index != s.pending || m.index <= s.saved {
		return nil
	}
	s.pending = 0
	s.saved, s.savedView = m.index, s.pendingView
	s.marks = append(s.marks, snapshotMark{m.index, s.pendingNeeds})
	c.statDue = true
	return nil
}

// forget says which records are not needed any more: those before a snapshot of this process that is covered by durable snapshots at a majority of the group.
func (c *Core) forget() {
	s := &c.snapshots
	if s.forgetting > 0 && c.durable >= s.forgetAfter {
		c.out.forget, s.forgetting = s.forgetting, 0
	}
	if len(s.marks) == 0 || s.forgetting > 0 {
		return
	}
	var saved [maxMembers]uint64
	n := 1
	saved[0] = s.saved
	for _, p := range c.peers {
		if p.known && n < maxMembers {
			saved[n] = p.stat.snapshot
			n++
		}
	}
	covered := kthLargest(saved[:n], len(c.universe)/2+1)
	upto := uint64(0)
	for len(s.marks) > 0 && s.marks[0].index <= covered {
		upto = s.marks[0].needs
		s.marks = s.marks[1:]
	}
	if upto <= s.forgotten {
		return
	}
	// Raft's state must stay: write it anew, and forget what is before only when that is durable.
	c.guard(c.compactRaft)
	s.forgotten = min(upto, c.raft.checkpoint)
	s.forgetting, s.forgetAfter = s.forgotten, c.lsn
}

// askAnySnapshot asks one of the others for a snapshot: the views between here and there are not known any more.
func (c *Core) askAnySnapshot() {
	var best *peer
	for _, p := range c.peers {
		if p.known && !p.suspected && p.stat.view > c.view.ID && (best == nil || p.stat.view > best.stat.view || p.snapAsked < best.snapAsked) {
			best = p
		}
	}
	if best != nil && c.now.Elapsed-c.snapshots.asked >= c.config.SuspectAfter {
		best.snapAsked = c.now.Elapsed
		c.askSnapshot(best)
	}
}

func (c *Core) receiveSnapAsk(p *peer, d *decoder) error {
	index := d.uint()
	if !d.end() {
		return malformed("SNAPASK")
	}
	if c.now.Elapsed-p.snapSent < c.config.SuspectAfter/2 {
		return nil
	}
	p.snapSent = c.now.Elapsed
	w := wantedSnapshot{p.id, index}
	c.snapshots.wanted = slices.DeleteFunc(c.snapshots.wanted, func(x wantedSnapshot) bool { return x.id == p.id })
	c.snapshots.wanted = append(c.snapshots.wanted, w)
	return nil
}

// meta is the core's part of a snapshot.
type meta struct {
	group    uint64
	position Position
	index    uint64
	commitTS Timestamp
	view     *View
	count    uint64
	streams  []metaStream
	numbers  []lifeNumber
	keys     []Key
}

type metaStream struct {
	id     ID
	next   uint64
	number uint64
	origin Member
}

// meta encodes what is needed to go on from here. It ends with a CRC-32C.
func (c *Core) meta() []byte {
	keys := c.keys.inOrder()
	e := encoder{b: make([]byte, 0, 256+16*len(keys))}
	e.byte(wireVersion)
	e.uint(c.config.Group)
	e.uint(uint64(c.position.View))
	e.int(int64(c.position.Time))
	e.uint(uint64(c.position.Sender))
	e.uint(c.index)
	e.int(int64(c.commitTS))
	v := newView{prev: c.view.ID - 1, members: c.view.Members, quorum: c.view.Quorum}
	v.encode(&e)
	e.uint(c.current.count)
	e.uint(uint64(len(c.current.streams)))
	for _, s := range c.current.streams {
		e.uint(uint64(s.id))
		e.uint(s.next)
		e.uint(s.number)
		e.member(s.origin)
	}
	e.uint(uint64(len(c.numbers)))
	for _, n := range c.numbers {
		e.member(n.member)
		e.uint(n.number)
	}
	e.uint(uint64(len(keys)))
	for k := range keys {
		e.bytes(keys[k][:])
	}
	return binary.LittleEndian.AppendUint32(e.b, crc32.Checksum(e.b, castagnoli()))
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

func decodeMeta(b []byte) (*meta, error) {
	unusable := fmt.Errorf("abcast: the snapshot's description: %w", reason.SnapshotUnusable)
	if len(b) < 5 || crc32.Checksum(b[:len(b)-4], castagnoli()) != binary.LittleEndian.Uint32(b[len(b)-4:]) {
		return nil, unusable
	}
	d := &decoder{b: b[:len(b)-4]}
	if d.byte() != wireVersion {
		return nil, unusable
	}
	m := &meta{group: d.uint()}
	m.position = Position{ViewID(d.uint()), d.timestamp(), ID(d.uint())}
	m.index, m.commitTS = d.uint(), Timestamp(d.int())
	var v newView
	v.decode(d)
	m.view = v.view()
	m.count = d.uint()
	for range d.count(maxMembers) {
		m.streams = append(m.streams, metaStream{ID(d.uint()), d.uint(), d.uint(), d.member()})
	}
	for range d.count(1 << 20) {
		m.numbers = append(m.numbers, lifeNumber{d.member(), d.uint()})
		if d.bad {
			return nil, unusable
		}
	}
	for range d.count(DedupeWindow) {
		var k Key
		copy(k[:], d.bytes(uint64(len(k))))
		m.keys = append(m.keys, k)
		if d.bad {
			return nil, unusable
		}
	}
	if !d.end() || len(m.streams) != len(m.view.Members) || m.view.ID == 0 {
		return nil, unusable
	}
	for _, s := range m.streams {
		if s.next == 0 || !slices.ContainsFunc(m.view.Members, func(x Member) bool { return x.ID == s.id }) {
			return nil, unusable
		}
	}
	return m, nil
}

// restoreOwn begins from the snapshot that was on the disk.
func (c *Core) restoreOwn(b []byte) error {
	m, err := decodeMeta(b)
	if err != nil {
		return err
	}
	if m.group != c.config.Group {
		return fmt.Errorf("abcast: a snapshot of group %d, this is %d: %w", m.group, c.config.Group, reason.SnapshotUnusable)
	}
	c.place = -1
	c.adopt(m)
	return nil
}

// adopt goes on from a snapshot.
func (c *Core) adopt(m *meta) {
	c.view = m.view
	c.place = -1
	if c.self.Incarnation > 0 {
		c.place = c.memberAt(c.self)
	}
	c.current = c.openLog(m.view.ID)
	c.current.settle(m.view)
	c.current.count = m.count
	for _, x := range m.streams {
		s := c.current.stream(x.id)
		if s.recv+1 < x.next || s.base > x.next {
			for _, f := range s.frames {
				c.held -= f.size()
				c.current.bytes -= f.size()
			}
			fresh := newStream(x.id, x.next)
			fresh.acked, fresh.honoured, fresh.promise, fresh.promised = s.acked, 0, s.promise, s.promised
			if s.promised < x.next {
				fresh.honoured = max(s.honoured, s.promise)
			}
			*s = *fresh
		}
		s.next, s.at = x.next, s.find(x.next)
		s.early, s.eat = s.next, s.at
		s.dur = max(s.dur, x.next-1)
		for k := range s.at {
			if s.frames[k].end == 0 {
				s.frames[k].end = 1
			}
		}
		s.number, s.origin = x.number, x.origin
	}
	c.position, c.index, c.commitTS = m.position, m.index, m.commitTS
	c.numbers = m.numbers
	c.keys = keyRing{}
	for _, k := range m.keys {
		c.keys.add(k)
	}
	c.last, c.seen, c.seq, c.fill = 0, 0, 0, nil
	s := &c.snapshots
	s.saved, s.savedView, s.since, s.views, s.pending, s.marks = m.index, m.view.ID, 0, 0, 0, nil
}

// snapshotReceived goes on from another process's snapshot, which is durable here by now.
func (c *Core) snapshotReceived(b []byte) error {
	m, err := decodeMeta(b)
	if err != nil {
		return err
	}
	if m.group != c.config.Group || m.index <= c.index || m.view.ID < c.view.ID || m.view.ID == c.view.ID && c.place >= 0 && c.decided() == c.view.ID {
		return fmt.Errorf("abcast: a snapshot of message %d in view %d, here is %d in %d: %w", m.index, m.view.ID, c.index, c.view.ID, reason.SnapshotUnusable)
	}
	if c.place >= 0 && m.view.ID > c.view.ID {
		// The snapshot is of a later view, so it knows which of the own messages were delivered; those that were not go back into the queue.
		c.reclaim(c.current.streams[c.place])
	}
	c.adopt(m)
	own := c.ownNumber()
	c.pending = slices.DeleteFunc(c.pending, func(x pendingMessage) bool { return x.number <= own })
	c.recount()
	for _, q := range c.current.streams {
		if c.place >= 0 {
			c.acknowledge(q)
		}
	}
	c.out.upcalls = append(c.out.upcalls, Upcall{Kind: UpcallInstall, View: c.view, Snapshot: Snapshot{
		Position: m.position, Index: m.index, Meta: b, Own: own,
	}})
	c.restartReads()
	c.statDue, c.statForced = true, true
	c.replayEarly()
	return nil
}

// ownNumber is the last own number that was delivered before here.
func (c *Core) ownNumber() uint64 {
	own := uint64(0)
	for _, n := range c.numbers {
		if n.member == c.self {
			own = max(own, n.number)
		}
	}
	if c.current != nil {
		for _, s := range c.current.streams {
			if s.origin == c.self {
				own = max(own, s.number)
			}
		}
	}
	return own
}
