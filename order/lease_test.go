package order

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
	"github.com/clockd/clockd/virtualclock/clocktest"
)

// leaseRun lets hosts fight for two leases of a grantor that now and then is restarted without memory. It asks all holders at each
// instant of true time: at most one may hold a thing. It returns how often two did, and how often anybody did.
func leaseRun(t *testing.T, r *rand.Rand, faults clocktest.Faults, o clocktest.Options) (overlaps, holds int) {
	t.Helper()
	const span, longest = 60 * time.Second, 3 * time.Second
	w := clocktest.NewManual(o)
	hosts := w.Random(r.Uint64(), 4, span, faults, clocktest.HostOptions{ReadingError: 5 * time.Millisecond, MaxBound: 50 * time.Millisecond})
	things := []string{"a", "b"}
	w.Advance(2 * time.Second)
	var grantor *Grantor
	until, token := virtualclock.MinTime(), uint64(0)
	restart := func() {
		options := GrantorOptions{Longest: longest, Limit: 8, Fresh: grantor == nil, Token: token}
		if o.Internal {
			options.NotBefore = until
		}
		g, err := NewGrantor(hosts[0], options)
		if err == nil {
			grantor = g
		}
	}
	restart()
	holders := map[string][]*Holder{}
	for _, thing := range things {
		for _, h := range hosts[1:] {
			holders[thing] = append(holders[thing], NewHolder(h, 0))
		}
	}
	tokens := map[string]uint64{}
	for w.Passed() < span {
		thing := things[r.IntN(len(things))]
		k := r.IntN(len(holders[thing]))
		switch r.IntN(40) {
		case 0:
			if l, held := holders[thing][k].Lease(); held {
				holders[thing][k].Drop()
				_ = grantor.Release(thing, l)
			}
		case 1:
			if r.IntN(50) > 0 {
				break
			}
			until, token = grantor.HighWater()
			restart()
		case 2:
			if r.IntN(5) > 0 {
				break
			}
			w.Advance(time.Duration(r.Int64N(int64(3 * time.Second))))
		case 3, 4, 5, 6, 7, 8:
			if l, err := grantor.Grant(thing, Node(k), time.Duration(r.Int64N(int64(longest)))); err == nil {
				if l.Token < tokens[thing] {
					t.Fatalf("token %d after %d", l.Token, tokens[thing])
				}
				tokens[thing] = l.Token
				w.Advance(time.Duration(r.Int64N(int64(20 * time.Millisecond))))
				_ = holders[thing][k].Take(l)
			}
		}
		for _, thing := range things {
			n := 0
			for _, h := range holders[thing] {
				if h.Check() == nil {
					n++
				}
			}
			if holds += n; n > 1 {
				overlaps++
			}
		}
		w.Advance(time.Duration(r.Int64N(int64(5 * time.Millisecond))))
	}
	return overlaps, holds
}

// TestLeasesNeverOverlap with clocks of either kind whose bounds hold; with wrong bounds the same test finds overlaps.
func TestLeasesNeverOverlap(t *testing.T) {
	r := seeded(t)
	holds := 0
	for k := range rounds(60) {
		o := clocktest.Options{Seed: r.Uint64(), Internal: k%2 == 1}
		overlaps, n := leaseRun(t, r, clocktest.Honest, o)
		if holds += n; overlaps != 0 {
			t.Fatalf("%d overlaps, %+v", overlaps, o)
		}
	}
	if holds < rounds(100_000) {
		t.Errorf("leases were held at %d instants only", holds)
	}
	overlaps := 0
	for range rounds(120) {
		n, _ := leaseRun(t, r, clocktest.Lying, clocktest.Options{Seed: r.Uint64()})
		overlaps += n
	}
	if overlaps == 0 {
		t.Error("lying clocks: no overlap: the test is blind")
	}
}

// steady is a clock that shows what it is told.
type steady struct{ i virtualclock.Interval }

func (s *steady) Now() virtualclock.Interval { return s.i }

func TestLeaseStepByStep(t *testing.T) {
	clock := &steady{interval(0, 100, external)}
	g, err := NewGrantor(clock, GrantorOptions{Longest: 1000, Limit: 2, Fresh: true})
	if err != nil {
		t.Fatal(err)
	}
	refused := func(what string, err error, want reason.Code) {
		t.Helper()
		if !isReason(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	_, err = g.Grant("x", 1, 100)
	refused("a lease that ends within the clock's error", err, reason.LeaseTooShort)
	_, err = g.Grant("x", 1, 1001)
	refused("a long lease", err, reason.LeaseTooShort)
	l, err := g.Grant("x", 1, 1000)
	if err != nil || l.Until != point(1000) || l.Token != 1 {
		t.Fatalf("%+v, %v", l, err)
	}
	_, err = g.Grant("x", 2, 500)
	refused("another holder", err, reason.LeaseHeld)
	if again, err := g.Grant("x", 1, 500); err != nil || again.Token != 1 || again.Until != l.Until {
		t.Errorf("renewed for less: %+v, %v", again, err)
	}
	h := NewHolder(clock, 0)
	refused("nothing taken", h.Check(), reason.LeaseUnknown)
	if err := h.Take(l); err != nil {
		t.Fatal(err)
	}
	if left, err := h.Remaining(); err != nil || left != 900 {
		t.Errorf("%v left, %v", left, err)
	}
	_, _ = g.Grant("y", 1, 200)
	_, err = g.Grant("z", 1, 200)
	refused("more than the limit", err, reason.LeaseLimit)
	if until, token := g.HighWater(); until != point(1000) || token != 2 {
		t.Errorf("%v, %d", until, token)
	}
	clock.i = interval(950, 1000, external)
	refused("may be over", h.Check(), reason.LeaseOver)
	_, err = g.Grant("x", 2, 500)
	refused("may not be over", err, reason.LeaseHeld)
	if _, err = g.Grant("z", 1, 200); err != nil {
		t.Errorf("y is over: %v", err)
	}
	refused("released by another", g.Release("x", Lease{Holder: 2, Token: 1}), reason.LeaseUnknown)
	if err := g.Release("x", l); err != nil {
		t.Error(err)
	}
	refused("released twice", g.Release("x", l), reason.LeaseUnknown)
	if l, err = g.Grant("x", 2, 500); err != nil || l.Token != 4 {
		t.Errorf("%+v, %v", l, err)
	}
	if err := h.Take(l); err != nil {
		t.Fatal(err)
	}
	if _, held := h.Lease(); !held {
		t.Error("not held")
	}
	clock.i.Epoch++
	refused("stepped", h.Check(), reason.EpochChanged)
	refused("stepped, later", h.Check(), reason.LeaseUnknown)
	clock.i = voidInterval(virtualclock.Unsynchronised)
	refused("a void clock", h.Take(l), reason.ClockUnsound)
	_, err = g.Grant("w", 1, 200)
	refused("a void clock", err, reason.ClockUnsound)
	clock.i = interval(950, 1000, internal)
	refused("another kind", h.Take(l), reason.IntervalKind)
	l.Kind, l.Group = internal, 7
	refused("another group", h.Take(l), reason.IntervalGroup)
}

func TestAHolderIsBackAfterAGap(t *testing.T) {
	clock := &steady{interval(0, 100, external)}
	h := NewHolder(clock, 0)
	if err := h.Take(Lease{Until: point(1000)}); err != nil {
		t.Fatal(err)
	}
	clock.i = voidInterval(virtualclock.Unsynchronised)
	if err := h.Check(); !isReason(err, reason.ClockUnsound) {
		t.Errorf("while the clock says nothing: %v", err)
	}
	// The same epoch: nothing was wrong, it was only not known.
	clock.i = interval(500, 600, external)
	if err := h.Check(); err != nil {
		t.Errorf("when it knows again: %v", err)
	}
}

func TestAGrantorThatTakesOver(t *testing.T) {
	clock := &steady{interval(0, 100, external)}
	if _, err := NewGrantor(clock, GrantorOptions{}); err == nil {
		t.Error("without Longest")
	}
	g, err := NewGrantor(clock, GrantorOptions{Longest: 1000, Token: 7})
	if err != nil {
		t.Fatal(err)
	}
	if until, _ := g.HighWater(); until != point(1100) {
		t.Errorf("quiet until %v", until)
	}
	clock.i = interval(1100, 1200, external)
	if _, err := g.Grant("x", 1, 500); !isReason(err, reason.LeaseHeld) {
		t.Errorf("leases of the one before may last: %v", err)
	}
	clock.i = interval(1101, 1200, external)
	if l, err := g.Grant("x", 1, 500); err != nil || l.Token != 8 {
		t.Errorf("%+v, %v", l, err)
	}
	clock.i = interval(0, 100, internal)
	if _, err := NewGrantor(clock, GrantorOptions{Longest: 1000}); !isReason(err, reason.IntervalKind) {
		t.Errorf("INTERNAL without NotBefore: %v", err)
	}
	clock.i = voidInterval(virtualclock.Disrupted)
	if _, err := NewGrantor(clock, GrantorOptions{Longest: 1000}); !isReason(err, reason.ClockUnsound) {
		t.Errorf("a void clock: %v", err)
	}
}
