package order

import (
	"fmt"
	"sync"
	"time"

	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// Lease is the right to something until a time (Gray and Cheriton 1989). The holder gives it up when its own clock can no longer
// exclude that Until has come; the grantor takes it for over when its own clock is certain that Until has passed. So two holders
// never overlap, however wide the intervals are; wide ones only cost time in which nobody holds it.
type Lease struct {
	Holder Node
	// Token grows with each grant: a store that refuses tokens below the largest it has seen is safe also from a holder that was
	// paused between its check and its deed.
	Token uint64
	Until virtualclock.Time
	// Kind and Group say on which clocks Until is a time.
	Kind  virtualclock.Kind
	Group uint64
}

// GrantorOptions is what a Grantor is told.
type GrantorOptions struct {
	// Group is the grantor's group, if its clock is of kind INTERNAL.
	Group uint64
	// Longest is the longest lease that is ever granted.
	Longest time.Duration
	// Limit is how many leases are kept; 0: 1024.
	Limit int
	// Fresh: no grantor of these leases ran before. Otherwise the leases of the one before may still be held: nothing is granted
	// until NotBefore has certainly passed, if that is set (to the latest Until that was granted, kept on disk), or else until
	// Longest after the start has. A clock of kind INTERNAL needs NotBefore, for it has no time in common with the one before.
	Fresh     bool
	NotBefore virtualclock.Time
	// Token is the largest token ever granted.
	Token uint64
}

// Grantor grants leases of named things, one holder each. Any number of goroutines may use it.
type Grantor struct {
	options GrantorOptions
	clock   virtualclock.Source

	mu sync.Mutex
	// quiet: nothing is granted until resumeAt has certainly passed.
	quiet    bool
	resumeAt virtualclock.Time
	token    uint64
	leases   map[string]Lease
}

const defaultLeases = 1024

// NewGrantor makes a Grantor. The clock must be sound now.
func NewGrantor(clock virtualclock.Source, o GrantorOptions) (*Grantor, error) {
	if o.Limit == 0 {
		o.Limit = defaultLeases
	}
	if o.Longest <= 0 {
		return nil, fmt.Errorf("order: GrantorOptions.Longest must be set: %w", reason.LeaseTooShort)
	}
	g := &Grantor{options: o, clock: clock, token: o.Token, leases: make(map[string]Lease)}
	if o.Fresh {
		return g, nil
	}
	g.quiet, g.resumeAt = true, o.NotBefore
	if o.NotBefore == (virtualclock.Time{}) {
		i, why := look(clock)
		if !i.Sound() {
			return nil, refuse("take over as grantor", i.Status, why)
		}
		if i.Kind != virtualclock.External {
			return nil, fmt.Errorf("order: a grantor with an INTERNAL clock needs GrantorOptions.NotBefore: %w", reason.IntervalKind)
		}
		g.resumeAt = i.Latest.Add(o.Longest)
	}
	return g, nil
}

// Grant gives the lease of a thing for about d to a holder, or renews it if it is the holder's already. The lease ends d after the
// earliest possible time, so of d the holder has at least d less the width of the grantor's interval and of its own.
//
// It refuses with a code: the clock's, when it is not sound; LeaseHeld, LeaseTooShort (or longer than Longest), LeaseLimit.
func (g *Grantor) Grant(thing string, holder Node, d time.Duration) (Lease, error) {
	i, why := look(g.clock)
	if !i.Sound() {
		return Lease{}, refuse("grant a lease", i.Status, why)
	}
	if until := i.Earliest.Add(d); d > g.options.Longest || !i.Latest.Before(until) {
		return Lease{}, fmt.Errorf("order: no lease of %v: it must be above the clock's error of %.3g s and at most %v: %w", d, i.Width(),
			g.options.Longest, reason.LeaseTooShort)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.quiet {
		if !i.After(g.resumeAt) {
			return Lease{}, fmt.Errorf("order: leases of the grantor before may last until %v: %w", g.resumeAt, reason.LeaseHeld)
		}
		g.quiet = false
	}
	old, held := g.leases[thing]
	if held && old.Holder != holder && !g.over(&old, &i) {
		return Lease{}, fmt.Errorf("order: %q is held by %d until %v: %w", thing, old.Holder, old.Until, reason.LeaseHeld)
	}
	if !held && len(g.leases) >= g.options.Limit {
		if g.purge(&i); len(g.leases) >= g.options.Limit {
			return Lease{}, fmt.Errorf("order: %d leases are granted: %w", len(g.leases), reason.LeaseLimit)
		}
	}
	lease := Lease{Holder: holder, Until: i.Earliest.Add(d), Kind: i.Kind, Group: g.options.Group}
	if held && old.Holder == holder && !g.over(&old, &i) {
		// Renewing never shortens what the holder may rely on.
		lease.Token = old.Token
		if old.Kind == lease.Kind && lease.Until.Before(old.Until) {
			lease.Until = old.Until
		}
	} else {
		g.token++
		lease.Token = g.token
	}
	g.leases[thing] = lease
	return lease, nil
}

// over reports whether nobody can hold the lease any more.
func (g *Grantor) over(l *Lease, i *virtualclock.Interval) bool {
	return l.Kind == i.Kind && i.After(l.Until)
}

// purge forgets the leases that are over.
func (g *Grantor) purge(i *virtualclock.Interval) {
	for thing, l := range g.leases {
		if g.over(&l, i) {
			delete(g.leases, thing)
		}
	}
}

// Release gives a lease back before its time; only its holder may ask for it, with the last Lease that it was granted. LeaseUnknown: it is
// not that one any more.
func (g *Grantor) Release(thing string, l Lease) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if held, ok := g.leases[thing]; !ok || held.Token != l.Token || held.Holder != l.Holder {
		return fmt.Errorf("order: %q is not held by %d with token %d: %w", thing, l.Holder, l.Token, reason.LeaseUnknown)
	}
	delete(g.leases, thing)
	return nil
}

// HighWater returns the latest time until which any lease may be held, and the largest token: what GrantorOptions needs after a
// restart. Who keeps it on disk does so before the lease that raised it is handed out.
func (g *Grantor) HighWater() (until virtualclock.Time, token uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	until = virtualclock.MinTime()
	if g.quiet {
		until = g.resumeAt
	}
	for _, l := range g.leases {
		if until.Before(l.Until) {
			until = l.Until
		}
	}
	return until, g.token
}

// Holder is the holder's side of one lease. Any number of goroutines may use it.
type Holder struct {
	mu    sync.Mutex
	guard guard
	group uint64
	lease Lease
	held  bool
}

// NewHolder makes a Holder that holds nothing. group matters for a clock of kind INTERNAL.
func NewHolder(clock virtualclock.Source, group uint64) *Holder {
	return &Holder{guard: guard{clock: clock}, group: group}
}

// Take takes a lease that was granted, or renewed. It refuses one that this clock cannot judge (IntervalKind, IntervalGroup), and as
// Check does.
func (h *Holder) Take(l Lease) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.guard.resume()
	i, err := h.guard.look("take a lease")
	switch {
	case err != nil:
		return err
	case i.Kind != l.Kind:
		return fmt.Errorf("order: the lease is of an %v clock and this one is %v: %w", l.Kind, i.Kind, reason.IntervalKind)
	case l.Kind == virtualclock.Internal && l.Group != h.group:
		return fmt.Errorf("order: the lease is of group %d and this clock of %d: %w", l.Group, h.group, reason.IntervalGroup)
	}
	h.lease, h.held = l, true
	_, err = h.judge(&i)
	return err
}

// Check returns nil while the lease is certainly held, at the instant at which the clock is read. A deed that may be done later than
// that, after a pause of the process say, needs the Token besides.
//
// It refuses with the clock's code while it is not sound, with virtualclock.ErrEpoch when it was stepped (the lease is then
// gone: take it anew), and with LeaseOver or LeaseUnknown.
func (h *Holder) Check() error {
	_, err := h.Remaining()
	return err
}

// Remaining is Check with the least time that is left.
func (h *Holder) Remaining() (time.Duration, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.held {
		return 0, fmt.Errorf("order: no lease was taken: %w", reason.LeaseUnknown)
	}
	i, err := h.guard.look("hold a lease")
	if err != nil {
		if i.Sound() {
			h.held = false
		}
		return 0, err
	}
	return h.judge(&i)
}

func (h *Holder) judge(i *virtualclock.Interval) (time.Duration, error) {
	if !i.Before(h.lease.Until) {
		h.held = false
		return 0, fmt.Errorf("order: the lease ends at %v and it may be %v: %w", h.lease.Until, i.Latest, reason.LeaseOver)
	}
	return h.lease.Until.Sub(i.Latest), nil
}

// Lease returns the lease that was taken last, and whether it has not been found to be over.
func (h *Holder) Lease() (Lease, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lease, h.held
}

// Drop gives the lease up; afterwards tell the grantor.
func (h *Holder) Drop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held = false
}
