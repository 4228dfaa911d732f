package core

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/clockd/clockd/reason"
)

// Core is one process of a group. One goroutine at a time may use it.
type Core struct {
	config    Config
	self      Member
	firstLife uint64 // the first life on this disk
	random    *rand.Rand
	now       Now
	clock     Timestamp
	broken    error

	// The log on disk.
	lsn, durable uint64
	waiting      []waitingFrame
	alive        uint64 // LSN of the record of this incarnation; nothing is sent before it is durable
	started      bool

	// Views.
	chain   []newView // decided views in order; the first may be any
	view    *View     // installed
	place   int       // this process's index in view.Members, −1 if it is an observer
	frozen  ViewID
	logs    []*viewLog // ascending
	current *viewLog   // of view
	early   [][]byte   // frames of views not yet installed
	earlyN  int

	// Sending.
	last        Timestamp // the largest timestamp or promise issued in this view
	seen        Timestamp // the largest timestamp seen in this view
	seq         uint64    // of the last own message in this view
	number      uint64
	pending     []pendingMessage
	outstanding int
	room        bool
	statDue     bool
	statAt      time.Duration
	statForced  bool
	leave       bool
	leaveUntil  time.Duration
	leaveFor    time.Duration

	// Delivery.
	position   Position
	index      uint64
	commitTS   Timestamp
	keys       keyRing
	numbers    []lifeNumber // the last delivered number of each life, of earlier views
	unconsumed int
	untold     int // delivered since the last STAT, as the window counts
	held       int
	firstWait  Timestamp

	peers     []*peer
	universe  []ID
	removed   bool
	peersDue  bool
	change    *change
	consider  time.Duration // when to look again whether the view should change
	fill      *filling
	raft      raftState
	reads     readState
	snapshots snapshotState
	counters  Counters

	out, spare outbox
}

// outbox collects what the next Ready returns; while the driver works on that, the other one is filled.
type outbox struct {
	records  []Record
	messages []Outgoing
	upcalls  []Upcall
	reads    []ReadResult
	send     []ID
	forget   uint64
	removed  bool
}

type pendingMessage struct {
	number  uint64
	key     Key
	payload []byte
}

// lifeNumber is the number of the last message of a life that was delivered.
type lifeNumber struct {
	member Member
	number uint64
}

// Kinds of the records' contents: their first byte.
const (
	recordFrame byte = iota + 1
	recordLife
	recordHardState
	recordEntry
	recordRaftSnapshot
)

// New makes the core of a process from what it finds on its disk. It takes the next incarnation, and its first Ready contains the record that says so.
func New(config Config, restart Restart) (*Core, error) {
	config.defaults()
	if err := config.check(); err != nil {
		return nil, err
	}
	c := &Core{
		config: config, place: -1, view: &View{}, random: rand.New(rand.NewPCG(config.Seed, uint64(config.ID))),
		leaveFor: config.EvictAfter,
	}
	c.self.ID = config.ID
	c.raft.init(config.Bootstrap)
	if restart.Snapshot != nil {
		if err := c.restoreOwn(restart.Snapshot); err != nil {
			return nil, err
		}
	}
	if err := c.replay(restart.Records); err != nil {
		return nil, err
	}
	if c.firstLife == 0 {
		c.self.Incarnation = max(c.self.Incarnation, config.Disk&(1<<40-1)<<20)
		c.firstLife = c.self.Incarnation + 1
	}
	c.self.Incarnation++
	c.alive = c.recordLife()
	if err := c.startRaft(); err != nil {
		return nil, err
	}
	c.setUniverse(c.raft.voters())
	return c, nil
}

// replay takes what is in the log.
func (c *Core) replay(records []Record) error {
	for k := range records {
		r := &records[k]
		if len(r.Data) == 0 || r.LSN <= c.lsn {
			return fmt.Errorf("abcast: record %d after %d in the log of process %d: %w", r.LSN, c.lsn, c.config.ID, reason.EncodingMalformed)
		}
		c.lsn = r.LSN
		body := r.Data[1:]
		var err error
		switch r.Data[0] {
		case recordFrame:
			err = c.replayFrame(body, r.LSN)
		case recordLife:
			d := &decoder{b: body}
			if life, first := d.uint(), d.uint(); !d.bad {
				c.self.Incarnation, c.firstLife = max(c.self.Incarnation, life), first
			}
		default:
			err = c.raft.replay(r.Data[0], body)
		}
		if err != nil {
			return fmt.Errorf("abcast: record %d in the log of process %d: %w", r.LSN, c.config.ID, err)
		}
	}
	c.durable = c.lsn
	return nil
}

func (c *Core) replayFrame(body []byte, lsn uint64) error {
	f, err := decodeFrame(body)
	if err != nil {
		return err
	}
	if f.view < c.view.ID || c.config.Durability == Memory {
		return nil // delivered before the snapshot; or in memory mode not to be relied on
	}
	l := c.openLog(f.view)
	s := l.add(f.origin.ID)
	if len(s.frames) == 0 && s.recv == 0 && f.seq > 1 {
		// What was before was forgotten, so it is in a snapshot.
		*s = *newStream(s.id, f.seq)
	}
	if f.seq > s.recv+1 || f.last() <= s.recv {
		return nil
	}
	f = f.from(s.recv + 1)
	f.lsn = lsn
	s.append(f)
	s.dur = s.recv
	l.bytes += f.size()
	c.held += f.size()
	return nil
}

// record appends to the log on disk.
func (c *Core) record(kind RecordKind, what byte, body []byte) uint64 {
	c.lsn++
	if kind == RecordData && c.config.Durability == Memory {
		c.out.records = append(c.out.records, Record{LSN: c.lsn, Kind: kind}) // it has a place, and is not stored
		return c.lsn
	}
	data := make([]byte, 0, len(body)+1)
	data = append(append(data, what), body...)
	c.out.records = append(c.out.records, Record{LSN: c.lsn, Kind: kind, Data: data})
	return c.lsn
}

// recordLife writes down which lives this disk has seen.
func (c *Core) recordLife() uint64 {
	var e encoder
	e.uint(c.self.Incarnation)
	e.uint(c.firstLife)
	return c.record(RecordRaft, recordLife, e.b)
}

func (c *Core) tell(now Now) {
	now.Elapsed = max(now.Elapsed, c.now.Elapsed)
	if !c.started {
		c.started = true
		c.begin(now.Elapsed)
	}
	c.now = now
	c.clock = min(max(Timestamp(now.Clock.UnixNano()), 0), maxTimestamp/2)
}

// Step takes an event. An error says why a frame, a snapshot or a change was refused (reason codes); the core goes on in any case, unless
// Status().Broken says otherwise.
func (c *Core) Step(now Now, e Event) error {
	if c.broken != nil {
		return c.broken
	}
	c.tell(now)
	var err error
	switch e.Kind {
	case EventFrame:
		if err = c.receive(e.Peer, e.Frame); err != nil {
			c.refused(err)
		}
	case EventPersisted:
		c.persisted(e.LSN)
	case EventConnected:
		c.connected(e.Peer)
	case EventSnapshotSaved:
		err = c.snapshotSaved(e.Meta)
	case EventSnapshotReceived:
		err = c.snapshotReceived(e.Meta)
	case EventAddMember, EventRemoveMember:
		err = c.proposeMember(e.Kind, e.Peer)
	case EventReconfigure:
		c.beginChange(e.Peer, true)
	case EventTimer:
	default:
		err = fmt.Errorf("abcast: no event of kind %d", e.Kind)
	}
	return err
}

func (c *Core) refused(err error) {
	var code reason.Code
	if errors.As(err, &code) && code < reason.Count {
		c.counters.Refused[code]++
	}
}

// persisted takes that the log is durable up to a record.
func (c *Core) persisted(lsn uint64) {
	c.durable = max(c.durable, min(lsn, c.lsn))
	n := 0
	for n < len(c.waiting) && c.waiting[n].frame.lsn <= c.durable {
		w := &c.waiting[n]
		c.frameDurable(w.log, w.stream, w.frame)
		*w = waitingFrame{}
		n++
	}
	if c.waiting = c.waiting[n:]; len(c.waiting) == 0 {
		c.waiting = nil
	}
	c.raftPersisted()
}

func (c *Core) connected(id ID) {
	if p := c.peer(id); p != nil {
		c.statDue, c.statForced = true, true
	}
	if c.current != nil {
		for _, s := range c.current.streams {
			s.asked = c.now.Elapsed - time.Hour
		}
	}
}

// Ready returns what is to be done, and forgets it. It must be called after every step or group of steps.
func (c *Core) Ready(now Now) Ready {
	c.tell(now)
	if c.broken == nil {
		c.work()
	}
	r := Ready{
		Records: c.out.records, Upcalls: c.out.upcalls, Reads: c.out.reads, SendSnapshot: c.out.send, Forget: c.out.forget,
		Removed: c.out.removed, Wake: c.wake(),
	}
	held := c.durable < c.alive || c.broken != nil
	if !held {
		r.Messages = c.out.messages
	}
	if c.peersDue {
		c.peersDue = false
		for _, p := range c.peers {
			r.Peers = append(r.Peers, p.id)
		}
	}
	if c.room && (c.outstanding == 0 || 2*c.outstanding <= c.config.Window) {
		c.room, r.Room = false, true
	}
	c.out, c.spare = c.spare, c.out
	c.out.empty()
	if held {
		c.out.messages, c.spare.messages = c.spare.messages, c.out.messages
	}
	return r
}

// empty makes an outbox ready for use again, with the room that its slices have.
func (o *outbox) empty() {
	clear(o.records)
	clear(o.upcalls)
	clear(o.messages)
	*o = outbox{records: o.records[:0], messages: o.messages[:0], upcalls: o.upcalls[:0], reads: o.reads[:0], send: o.send[:0]}
}

// work does all that the state allows.
func (c *Core) work() {
	c.raftWork()
	c.observe()
	c.install()
	c.flush()
	c.deliver()
	c.fillUp()
	c.coordinate()
	c.raftWork()
	was := c.view
	c.install()
	if c.view != was {
		c.flush()
		c.deliver()
	}
	c.probe()
	c.wantSnapshot()
	c.sendStat()
	c.repair()
	c.trim()
}

// wake is when something is due although nothing happens.
func (c *Core) wake() time.Duration {
	at := c.statAt + c.config.Heartbeat
	if c.statDue {
		at = min(at, c.statAt+c.config.StatGap)
	}
	at = min(at, c.raft.tickAt)
	if c.config.Delta > 0 && c.firstWait > 0 {
		at = min(at, c.now.Elapsed+max(0, time.Duration(c.firstWait+Timestamp(c.config.Delta)-c.clock)))
	}
	return max(at, c.now.Elapsed)
}

// fail stops the core for good: what it knows contradicts what the group decided, and anything it did now could be wrong.
func (c *Core) fail(err error) {
	if c.broken == nil {
		c.broken = err
	}
}

// send sends a frame to one process, or to all others (0).
func (c *Core) send(to ID, e *encoder) {
	if to == c.self.ID {
		return
	}
	c.out.messages = append(c.out.messages, Outgoing{To: to, Frame: e.b})
}

func (c *Core) begun(kind frameKind, room int) encoder {
	e := encoder{b: make([]byte, 0, room+32)}
	e.header(&header{kind: kind, group: c.config.Group, from: c.self})
	return e
}

// Status returns the state.
func (c *Core) Status() Status {
	s := Status{
		Member: c.self, View: *c.view, Decided: c.decided(), InView: c.place >= 0, Frozen: c.frozen >= c.view.ID && c.view.ID > 0,
		Leader: c.raft.leader(), Universe: slices.Clone(c.universe), Position: c.position, Index: c.index, CommitTS: c.commitTS,
		Pending: len(c.pending), Broken: c.broken,
	}
	for _, p := range c.peers {
		if p.suspected {
			s.Suspected = append(s.Suspected, p.id)
		}
	}
	if c.current == nil {
		return s
	}
	if c.place >= 0 {
		if own := c.current.streams[c.place]; own.recv >= own.next {
			s.Pending += int(own.recv - own.next + 1)
		}
	}
	if len(c.view.Members) > 1 {
		s.StabilityLag = int64(max(0, c.clock-c.stable()))
	}
	if _, ts, ok := c.first(); ok {
		s.OrderWait = int64(max(0, c.clock-ts))
	}
	return s
}

// Counters returns a copy of the counters.
func (c *Core) Counters() Counters {
	n := c.counters
	n.Held, n.Outstanding = uint64(c.held), uint64(c.outstanding)
	return n
}
