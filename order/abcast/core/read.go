package core

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"time"

	"github.com/clockd/clockd/reason"
)

// readState is about linearizable reads. A read that begins while a probe is under way waits for the next one: the probe must begin after it.
type readState struct {
	next    uint64
	waiting []uint64
	probe   []uint64 // reads of the probe that is under way
	nonce   uint64
	oks     uint64    // bits: members that answered
	limit   Timestamp // the least that any of them had promised
	sent    time.Duration
}

// Read begins a linearizable read. ReadResult comes with a later Ready: then the application's state contains all that was delivered anywhere before Read was called. It
// takes a round trip to a quorum, which any number of reads share; observers may read too.
func (c *Core) Read(now Now) (id uint64, err error) {
	if c.broken != nil {
		return 0, c.broken
	}
	c.tell(now)
	if c.removed {
		return 0, fmt.Errorf("abcast: process %d: %w", c.self.ID, reason.BroadcastRemoved)
	}
	c.reads.next++
	c.reads.waiting = append(c.reads.waiting, c.reads.next)
	return c.reads.next, nil
}

// CancelRead forgets a read.
func (c *Core) CancelRead(id uint64) {
	is := func(x uint64) bool { return x == id }
	c.reads.waiting = slices.DeleteFunc(c.reads.waiting, is)
	c.reads.probe = slices.DeleteFunc(c.reads.probe, is)
}

// restartReads begins all reads again in a new view.
func (c *Core) restartReads() {
	r := &c.reads
	r.waiting = append(r.probe, r.waiting...)
	r.probe = nil
}

// probe carries reads on. Every completed write of the view needed a promise of every member that was not below it; so whatever any member that answers after the read
// began has promised by then is not below any write that the read must see. That the write was not completed in a later view, those vouch for who are not frozen: they are
// a quorum (theory 6.5; the limit there is the reader's own promise and its clock, here the least of all who answer, which a fast clock does not raise).
func (c *Core) probe() {
	r := &c.reads
	if c.current == nil || c.frozen >= c.view.ID {
		return
	}
	if len(r.probe) == 0 && len(r.waiting) > 0 {
		r.probe, r.waiting = r.waiting, nil
		r.nonce++
		r.oks, r.limit, r.sent = 0, math.MaxInt64, c.now.Elapsed-time.Hour
		if c.config.Sequencer {
			r.limit = 0
		}
		if c.place >= 0 {
			r.oks, r.limit = 1<<c.place, c.readLimit()
		}
	}
	if len(r.probe) == 0 {
		return
	}
	if bits.OnesCount64(r.oks) < c.view.Quorum && c.config.Mutation != ReadWithoutProbe {
		if c.now.Elapsed-r.sent >= c.config.Resend {
			r.sent = c.now.Elapsed
			e := c.begun(kindProbe, 16)
			e.uint(uint64(c.view.ID))
			e.uint(r.nonce)
			c.send(0, &e)
		}
		return
	}
	if c.stable() < r.limit {
		return
	}
	if _, ts, ok := c.first(); ok && ts <= r.limit {
		return
	}
	for _, id := range r.probe {
		c.out.reads = append(c.out.reads, ReadResult{ID: id, Index: c.index})
	}
	r.probe = nil
	if len(r.waiting) > 0 {
		c.probe()
	}
}

func (c *Core) receiveProbe(p *peer, d *decoder) error {
	id, nonce := ViewID(d.uint()), d.uint()
	if !d.end() {
		return malformed("PROBE")
	}
	if id != c.view.ID || c.place < 0 || c.frozen >= id {
		return nil
	}
	e := c.begun(kindProbeOK, 32)
	e.uint(uint64(id))
	e.uint(nonce)
	e.uint(p.life)
	e.int(int64(c.readLimit()))
	c.send(p.id, &e)
	c.statDue = true
	return nil
}

func (c *Core) receiveProbeOK(p *peer, d *decoder) error {
	id, nonce, life, promise := ViewID(d.uint()), d.uint(), d.uint(), d.timestamp()
	if !d.end() {
		return malformed("PROBEOK")
	}
	r := &c.reads
	if id != c.view.ID || nonce != r.nonce || life != c.self.Incarnation || len(r.probe) == 0 {
		return nil
	}
	if k := c.memberAt(Member{p.id, p.life}); k >= 0 {
		r.oks |= 1 << k
		if c.config.Sequencer {
			r.limit = max(r.limit, promise)
		} else {
			r.limit = min(r.limit, promise)
		}
	}
	return nil
}

// readLimit is up to which timestamp this member lets a read wait: its promise. With a sequencer a write is completed without the promises of all, but a quorum holds it, of which one
// answers: then it is the largest timestamp that is here, and the largest of the answers counts.
func (c *Core) readLimit() Timestamp {
	if c.config.Sequencer {
		return c.seen
	}
	return c.last
}
