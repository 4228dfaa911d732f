package core

import (
	"slices"
	"testing"
	"time"

	"github.com/clockd/clockd/virtualclock"
)

// bench is a group on a table: frames arrive after a delay that is the same for all, records are durable at once, and time moves when told to.
type bench struct {
	t     testing.TB
	now   time.Duration
	delay time.Duration
	ids   []ID
	hosts map[ID]*host
	queue []letter
	// cut drops frames between processes.
	cut func(from, to ID) bool
}

type letter struct {
	at       time.Duration
	from, to ID
	frame    []byte
}

type host struct {
	config     Config
	core       *Core
	offset     time.Duration
	unsound    bool
	records    []Record
	upcalls    []Upcall
	reads      []ReadResult
	wake       time.Duration
	room       bool
	forgot     uint64
	meta       []byte
	unconsumed bool // the application does not take anything
}

func newBench(t testing.TB, n int, shape func(*Config)) *bench {
	b := &bench{t: t, delay: 100 * time.Microsecond, hosts: make(map[ID]*host)}
	for k := range n {
		b.ids = append(b.ids, ID(k+1))
	}
	for _, id := range b.ids {
		config := Config{Group: 1, ID: id, Bootstrap: b.ids, Seed: 5, SuspectAfter: 50 * time.Millisecond}
		if shape != nil {
			shape(&config)
		}
		b.hosts[id] = &host{config: config}
		b.start(id)
	}
	return b
}

func (b *bench) start(id ID) {
	b.t.Helper()
	h := b.hosts[id]
	c, err := New(h.config, Restart{Snapshot: h.meta, Records: slices.Clone(h.records)})
	if err != nil {
		b.t.Fatal(err)
	}
	h.core, h.wake = c, b.now
}

func (b *bench) clock(h *host) Now {
	return Now{Elapsed: b.now, Clock: virtualclock.Unix(int64(1e18)+int64(b.now+h.offset), 0), Sound: !h.unsound}
}

func (b *bench) step(id ID, e Event) error {
	h := b.hosts[id]
	err := h.core.Step(b.clock(h), e)
	b.turn(id)
	return err
}

// turn carries out what a core wants until it wants nothing more.
func (b *bench) turn(id ID) {
	h := b.hosts[id]
	for {
		r := h.core.Ready(b.clock(h))
		if err := h.core.Status().Broken; err != nil {
			b.t.Fatal(err)
		}
		h.records = append(h.records, r.Records...)
		if r.Forget > 0 {
			h.forgot = r.Forget
			h.records = slices.DeleteFunc(h.records, func(x Record) bool { return x.LSN < r.Forget })
		}
		for _, u := range r.Upcalls {
			if !h.unconsumed {
				h.core.Consumed(len(u.Message.Payload))
			}
		}
		h.upcalls = append(h.upcalls, r.Upcalls...)
		h.reads = append(h.reads, r.Reads...)
		h.room = h.room || r.Room
		h.wake = r.Wake
		for _, m := range r.Messages {
			for _, to := range b.ids {
				if to != id && (m.To == 0 || m.To == to) && (b.cut == nil || !b.cut(id, to)) {
					b.queue = append(b.queue, letter{b.now + b.delay, id, to, m.Frame})
				}
			}
		}
		for _, u := range r.Upcalls {
			if u.Kind == UpcallSnapshot {
				h.meta = u.Snapshot.Meta
				_ = h.core.Step(b.clock(h), Event{Kind: EventSnapshotSaved, Meta: u.Snapshot.Meta})
			}
		}
		if len(r.Records) == 0 {
			return
		}
		_ = h.core.Step(b.clock(h), Event{Kind: EventPersisted, LSN: r.Records[len(r.Records)-1].LSN})
	}
}

// run lets time pass.
func (b *bench) run(d time.Duration) {
	end := b.now + d
	for {
		next := end
		for _, id := range b.ids {
			if h := b.hosts[id]; h.core != nil {
				next = min(next, max(h.wake, b.now))
			}
		}
		if len(b.queue) > 0 {
			next = min(next, b.queue[0].at)
		}
		if next >= end {
			b.now = end
			return
		}
		b.now = max(next, b.now)
		for len(b.queue) > 0 && b.queue[0].at <= b.now {
			m := b.queue[0]
			b.queue = b.queue[1:]
			if b.hosts[m.to].core != nil {
				_ = b.step(m.to, Event{Kind: EventFrame, Peer: m.from, Frame: slices.Clone(m.frame)})
			}
		}
		for _, id := range b.ids {
			if h := b.hosts[id]; h.core != nil && h.wake <= b.now {
				_ = b.step(id, Event{Kind: EventTimer})
				if h.wake <= b.now {
					h.wake = b.now + 10*time.Microsecond
				}
			}
		}
	}
}

// until lets time pass until something is so, for a minute at the most.
func (b *bench) until(what string, ok func() bool) time.Duration {
	b.t.Helper()
	start := b.now
	for b.now < start+time.Minute {
		if ok() {
			return b.now - start
		}
		b.run(100 * time.Microsecond)
	}
	b.t.Fatalf("not within a minute: %s", what)
	return 0
}

// together waits for all to be in one view.
func (b *bench) together() {
	b.t.Helper()
	b.until("all in one view", func() bool {
		for _, id := range b.ids {
			s := b.hosts[id].core.Status()
			if !s.InView || s.Frozen || len(s.View.Members) != len(b.ids) || s.View.ID != b.hosts[b.ids[0]].core.Status().View.ID {
				return false
			}
		}
		return true
	})
}

func (b *bench) broadcast(id ID, payload string) uint64 {
	b.t.Helper()
	n, err := b.hosts[id].core.Broadcast(b.clock(b.hosts[id]), []byte(payload), Key{})
	if err != nil {
		b.t.Fatal(err)
	}
	b.turn(id)
	return n
}

// messages are the payloads that a process delivered.
func (h *host) messages() []string {
	var s []string
	for _, u := range h.upcalls {
		if u.Kind == UpcallMessage {
			s = append(s, string(u.Message.Payload))
		}
	}
	return s
}
