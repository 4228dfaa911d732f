package order

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// How a wait is divided. While the interval reaches over the awaited time a new sample may narrow it at any moment, so the clock
// is looked at often; before that, only often enough to notice that the clock is lost.
const (
	waitNarrow  = 5 * time.Millisecond
	waitLongest = time.Second
	// atShare: before the last nanosecond, 1/atShare of what is left is left for another look.
	atShare = 256
)

// WaitUntilAfter returns nil once t has certainly passed: even the earliest possible time is later. It gives up with an error that
// wraps a reason.Code when the clock is not sound, virtualclock.ErrEpoch when it is stepped, and the context's error when that ends.
// A nil Sleeper is Timer.
//
// On a clock of kind INTERNAL it means: no other member of the group will ever read an interval that is wholly before t or at t.
func WaitUntilAfter(ctx context.Context, clock virtualclock.Source, t virtualclock.Time, s Sleeper) error {
	return waitUntilAfter(ctx, &guard{clock: clock}, t, orTimer(s))
}

func waitUntilAfter(ctx context.Context, g *guard, t virtualclock.Time, s Sleeper) error {
	for {
		if ctx.Err() != nil {
			return fmt.Errorf("order: waiting for %v: %w", t, context.Cause(ctx))
		}
		i, err := g.look("wait")
		if err != nil {
			return err
		}
		if t.Before(i.Earliest) {
			return nil
		}
		pause := min(t.Sub(i.Earliest)+1, waitNarrow)
		if i.Latest.Before(t) {
			pause = min(t.Sub(i.Latest)+1, waitLongest)
		}
		if err := s.Sleep(ctx, pause); err != nil && ctx.Err() == nil {
			return fmt.Errorf("order: waiting for %v: %w", t, err)
		}
	}
}

// Commit is a timestamp that becomes good by waiting.
type Commit struct {
	Time virtualclock.Time
	// Epoch and Kind are the clock's when the timestamp was taken.
	Epoch virtualclock.Epoch
	Kind  virtualclock.Kind
}

// CommitWait returns nil once the commit may be made visible. Then every commit that is taken anywhere from now on has a greater
// timestamp (external consistency, Corbett et al. 2012, 4.1.2; theory 5.4), as long as the clocks keep their bounds. What it costs is
// twice the half-width of the interval, less what is done meanwhile.
//
// It gives up as WaitUntilAfter does; the clock being in another epoch than the commit's is a step. Then the timestamp may have
// been wrong: take a new one. A nil Sleeper is Timer.
func CommitWait(ctx context.Context, clock virtualclock.Source, c Commit, s Sleeper) error {
	g := guard{clock: clock, begun: true, kind: c.Kind, epoch: c.Epoch, edge: virtualclock.MinTime()}
	return waitUntilAfter(ctx, &g, c.Time, orTimer(s))
}

// Committer takes commit timestamps for one node: each is at least the latest possible time, and greater than all before. Any
// number of goroutines may use it.
type Committer struct {
	mu      sync.Mutex
	guard   guard
	ahead   time.Duration
	last    virtualclock.Time
	sleeper Sleeper
}

// NewCommitter makes a Committer. ahead is how far in the future a timestamp that PickAfter is told may be: a participant whose clock
// is within its bound is ahead by no more than the width of its interval, and whoever is believed makes everybody wait that long. A
// nil Sleeper is Timer.
func NewCommitter(clock virtualclock.Source, ahead time.Duration, s Sleeper) *Committer {
	return &Committer{guard: guard{clock: clock}, ahead: ahead, last: virtualclock.MinTime(), sleeper: orTimer(s)}
}

// Pick takes a timestamp. It refuses while the clock is not sound, and when it was stepped, until Resume.
func (c *Committer) Pick() (Commit, error) { return c.PickAfter(virtualclock.MinTime()) }

// PickAfter is Pick for a commit that must also be later than t, such as the timestamps that other participants propose or what this
// commit reads. It refuses with ClockAhead if t is too far in the future.
func (c *Committer) PickAfter(t virtualclock.Time) (Commit, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i, err := c.guard.look("take a commit timestamp")
	if err != nil {
		return Commit{}, err
	}
	if t.After(i.Latest.Add(c.ahead)) {
		return Commit{}, fmt.Errorf("order: cannot commit after %v: that is more than %v ahead of this clock: %w", t, c.ahead, reason.ClockAhead)
	}
	at := i.Latest
	if !c.last.Before(at) {
		at = next(c.last)
	}
	if !t.Before(at) {
		at = next(t)
	}
	c.last = at
	return Commit{at, i.Epoch, i.Kind}, nil
}

// Wait is CommitWait on the Committer's clock.
func (c *Committer) Wait(ctx context.Context, commit Commit) error {
	return CommitWait(ctx, c.guard.clock, commit, c.sleeper)
}

// Resume goes on after the clock was stepped: the caller says by it that it has dealt with commits that may have been wrong.
// Timestamps go on growing.
func (c *Committer) Resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.guard.resume()
}

// At returns as soon as the virtual clock shows t, with what it shows then. Two hosts that wait for the same t return within the
// precision π_v, which is at most the sum of their readings' bounds, plus what their sleepers are late. If t is over already it
// returns at once: Reading.Time tells how late it is.
//
// It gives up as WaitUntilAfter does. A nil Sleeper is Timer.
func At(ctx context.Context, clock PointClock, t virtualclock.Time, s Sleeper) (virtualclock.Reading, error) {
	const doing = "wait"
	s = orTimer(s)
	for first, since := true, (virtualclock.Interval{}); ; first = false {
		if ctx.Err() != nil {
			return virtualclock.Reading{}, fmt.Errorf("order: waiting for %v: %w", t, context.Cause(ctx))
		}
		r, why := lookPoint(clock)
		switch {
		case !r.Interval.Sound():
			return r, refuse(doing, r.Interval.Status, why)
		case first:
			since = r.Interval
		case r.Interval.Epoch != since.Epoch:
			return r, stepped(doing, since.Epoch, r.Interval.Epoch)
		}
		if !r.Time.Before(t) {
			return r, nil
		}
		// The virtual clock may be slewed either way, so most of the way is slept first, and then most of what is left.
		left := t.Sub(r.Time)
		if err := s.Sleep(ctx, min(left-left/atShare+1, waitLongest)); err != nil && ctx.Err() == nil {
			return r, fmt.Errorf("order: waiting for %v: %w", t, err)
		}
	}
}
