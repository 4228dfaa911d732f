package clocktest

import (
	"fmt"
	"sync"
	"time"

	"github.com/clockd/clockd/virtualclock"
)

// TB is what a Checker needs of a *testing.T.
type TB interface {
	Helper()
	Errorf(format string, args ...any)
}

// Checker fails a test when the program under test trusts a time that it must not trust. The test, or the program through hooks of its own, tells it
// what the program does: which interval it decides by (Uses), which time it gives to an event (Stamps), when it shows something to
// the world (Shows), what it says of the order of events (Says), and who holds what (Holds). The Checker knows true time.
//
// It complains of what the program could have known. That a clock lies it cannot; but with a lie the promises to the program's own users are
// broken too, and those Shows, Says, Holds and Commits check against true time.
type Checker struct {
	world *World
	t     TB

	mu      sync.Mutex
	events  map[string]time.Duration
	holders map[string]string
	// finished is the greatest timestamp of any commit that is complete, and its name.
	finished     virtualclock.Time
	finishedName string
	complaints   int
}

// Check returns a Checker of a World that complains to t.
func (w *World) Check(t TB) *Checker {
	return &Checker{
		world: w, t: t, events: map[string]time.Duration{}, holders: map[string]string{}, finished: virtualclock.MinTime(),
	}
}

// Complaints returns how often the Checker has complained.
func (c *Checker) Complaints() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.complaints
}

func (c *Checker) complain(format string, args ...any) {
	c.t.Helper()
	c.mu.Lock()
	c.complaints++
	c.mu.Unlock()
	c.t.Errorf("after %v: %s", c.world.Passed(), fmt.Sprintf(format, args...))
}

// recall looks among what a program was told by the host, the newest first.
func (h *Host) recall(like func(*reading) bool) (found reading, ok bool) {
	h.world.mu.Lock()
	defer h.world.mu.Unlock()
	for k := range min(h.told, remembered) {
		if r := &h.given[(h.told-1-k)%remembered]; like(r) {
			return *r, true
		}
	}
	return reading{}, false
}

// peek reads the host's clock as the program would, without its being told.
func (h *Host) peek() reading {
	h.world.mu.Lock()
	defer h.world.mu.Unlock()
	return h.look(max(h.world.passed(), h.world.now))
}

// Uses says that the program decides something now by an interval that it read of a host. It must be sound, be of the host's
// present epoch, and be one that the host gave (narrowing an interval by oneself is a way to be wrong).
func (c *Checker) Uses(h *Host, i virtualclock.Interval) {
	c.t.Helper()
	if !i.Sound() {
		c.complain("the program decides by an interval of %s that says nothing: the clock was %v", h.Name(), i.Status)
		return
	}
	if now := h.peek().Interval; now.Epoch != i.Epoch {
		c.complain("the program decides by an interval of %s of epoch %d, and it is epoch %d by now: the clock was stepped", h.Name(), i.Epoch, now.Epoch)
		return
	}
	if _, ok := h.recall(func(r *reading) bool {
		return r.Interval.Epoch == i.Epoch && !r.Interval.Earliest.Before(i.Earliest) && !i.Latest.Before(r.Interval.Latest)
	}); !ok {
		c.complain("the program decides by an interval of %s that the clock never gave, or a narrower one: %v to %v", h.Name(), i.Earliest, i.Latest)
	}
}

// Stamps says that the program gives time t to something that happens now on a host. What the program read last of the host must
// be sound and of the present epoch, and t must not come from a reading that was not sound (a Reading has a Time even then).
func (c *Checker) Stamps(h *Host, t virtualclock.Time) {
	c.t.Helper()
	last, ok := h.recall(func(*reading) bool { return true })
	switch {
	case !ok:
		c.complain("the program stamps an event on %s and never asked its clock", h.Name())
		return
	case t == virtualclock.MinTime() || t == virtualclock.MaxTime():
		c.complain("the program stamps an event on %s with the edge of an interval that says nothing", h.Name())
		return
	case !last.Interval.Sound():
		c.complain("the program stamps an event on %s although its clock was %v when it was asked last (%v)", h.Name(), last.Interval.Status, last.why)
		return
	}
	if from, ok := h.recall(func(r *reading) bool { return r.Time == t }); ok && !from.Interval.Sound() {
		c.complain("the program stamps an event on %s with a time that the clock showed while it was %v (%v)", h.Name(), from.Interval.Status, from.why)
		return
	}
	if now := h.peek().Interval; now.Epoch != last.Interval.Epoch {
		c.complain("the program stamps an event on %s by a reading of epoch %d, and it is epoch %d by now", h.Name(), last.Interval.Epoch, now.Epoch)
	}
}

// Shows says that the program makes something with timestamp s visible now, on a host. It must have waited until s has
// certainly passed, as far as that host's clock knows: if s merely has passed, the program was lucky.
func (c *Checker) Shows(h *Host, s virtualclock.Time) {
	c.t.Helper()
	now := h.peek()
	at := c.world.reference(now.at)
	switch {
	case now.Interval.After(s) && !s.Before(at):
		c.complain("the program shows %v on %s %v too early, because its clock lies", s, h.Name(), s.Sub(at))
	case now.Interval.After(s):
	case !now.Interval.Sound():
		c.complain("the program shows %v on %s although its clock is %v (%v)", s, h.Name(), now.Interval.Status, now.why)
	case at.Before(s):
		c.complain("the program shows %v on %s %v too early: the commit wait was not over", s, h.Name(), s.Sub(at))
	default:
		c.complain("the program shows %v on %s, which had passed, but nobody could know: the commit wait was not over for %v more", s, h.Name(),
			s.Sub(now.Interval.Earliest))
	}
}

// Tx is a transaction that a Checker watches.
type Tx struct {
	checker *Checker
	name    string
	// before is the greatest timestamp that was complete when it began, and whose.
	before     virtualclock.Time
	beforeName string
}

// Begin says that a transaction begins now.
func (c *Checker) Begin(name string) *Tx {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &Tx{c, name, c.finished, c.finishedName}
}

// Commits says that the transaction is complete now, with timestamp s: its result has been shown. Any transaction that was complete
// before this one began must have a smaller timestamp (external consistency).
func (x *Tx) Commits(s virtualclock.Time) {
	c := x.checker
	c.t.Helper()
	c.mu.Lock()
	if c.finished.Before(s) {
		c.finished, c.finishedName = s, x.name
	}
	c.mu.Unlock()
	if !x.before.Before(s) {
		c.complain("%s began after %s was complete, and has an earlier timestamp by %v: an anomaly", x.name, x.beforeName, x.before.Sub(s))
	}
}

// Happens says that an event of that name happens now.
func (c *Checker) Happens(name string) {
	t := c.world.Passed()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events[name] = t
}

// Says says that the program takes event x to have come before event y. Both must have happened.
func (c *Checker) Says(x, y string) {
	c.t.Helper()
	c.mu.Lock()
	a, okX := c.events[x]
	b, okY := c.events[y]
	c.mu.Unlock()
	if !okX || !okY || b < a {
		c.complain("the program says that %s came before %s; it came %v later", x, y, a-b)
	}
}

// Holds says that somebody holds something now and acts on it; until Drops nobody else may.
func (c *Checker) Holds(thing, who string) {
	c.t.Helper()
	c.mu.Lock()
	other, taken := c.holders[thing]
	c.holders[thing] = who
	c.mu.Unlock()
	if taken && other != who {
		c.complain("%s holds %s, and %s still does", who, thing, other)
	}
}

// Drops says that somebody does not hold something any more.
func (c *Checker) Drops(thing, who string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.holders[thing] == who {
		delete(c.holders, thing)
	}
}
