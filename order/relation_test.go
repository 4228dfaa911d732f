package order

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
	"github.com/clockd/clockd/virtualclock/clocktest"
)

// randomInterval makes intervals of few points, so that all relations and many touching edges come up.
func randomInterval(r *rand.Rand) virtualclock.Interval {
	if r.IntN(10) == 0 {
		return voidInterval(virtualclock.Status(r.IntN(2)))
	}
	a, b := r.Int64N(12), r.Int64N(4)
	i := interval(a, a+b, virtualclock.Kind(r.IntN(8)/7))
	if r.IntN(2) == 0 {
		i.Status = virtualclock.Holdover
	}
	if r.IntN(3) == 0 {
		i.Earliest = virtualclock.Unix(i.Earliest.UnixNano()-1, 1<<31)
	}
	return i
}

// slowCompare is the definition: x is before y if all times that x can have had are before all that y can have had.
func slowCompare(x, y virtualclock.Interval) Relation {
	if x.Status < virtualclock.Holdover || y.Status < virtualclock.Holdover || x.Kind != y.Kind {
		return CannotTell
	}
	before, after := true, true
	for _, a := range []virtualclock.Time{x.Earliest, x.Latest} {
		for _, b := range []virtualclock.Time{y.Earliest, y.Latest} {
			before, after = before && a.Compare(b) < 0, after && a.Compare(b) > 0
		}
	}
	switch {
	case before:
		return Before
	case after:
		return After
	}
	return CannotTell
}

func TestTheIntervalOrderIsAStrictPartialOrder(t *testing.T) {
	r := seeded(t)
	var seen [3]int
	for range 200_000 {
		x, y, z := randomInterval(r), randomInterval(r), randomInterval(r)
		c := Compare(x, y)
		seen[c]++
		if want := slowCompare(x, y); c != want || Compare(y, x) != want.Inverse() {
			t.Fatalf("%+v and %+v: %v and %v, by definition %v", x, y, c, Compare(y, x), want)
		}
		if Compare(x, x) != CannotTell {
			t.Fatalf("%+v is %v itself", x, Compare(x, x))
		}
		if c == Before && Compare(y, z) == Before && Compare(x, z) != Before {
			t.Fatalf("not transitive: %+v, %+v, %+v", x, y, z)
		}
		// What makes it an interval order (Fishburn 1970): of two pairs in order, one first is before the other second.
		if v := randomInterval(r); c == Before && Compare(z, v) == Before && x.Kind == z.Kind && Compare(x, v) != Before && Compare(z, y) != Before {
			t.Fatalf("two pairs that have nothing to do with each other: %+v, %+v; %+v, %+v", x, y, z, v)
		}
		if why := Why(x, y); (why == reason.OK) != (c != CannotTell) {
			t.Fatalf("%v because %v", c, why)
		}
	}
	for k, n := range seen {
		if n < 10_000 {
			t.Errorf("%v came up %d times only", Relation(k), n)
		}
	}
}

func TestWhyNobodyCanTell(t *testing.T) {
	x, y := interval(0, 10, external), interval(10, 20, external)
	for _, c := range []struct {
		x, y virtualclock.Interval
		want reason.Code
	}{
		{x, y, reason.IntervalsOverlap},
		{x, interval(11, 20, external), reason.OK},
		{x, interval(11, 20, internal), reason.IntervalKind},
		{x, voidInterval(virtualclock.Disrupted), reason.ClockUnsound},
	} {
		if got := Why(c.x, c.y); got != c.want {
			t.Errorf("%+v, %+v: %v, want %v", c.x, c.y, got, c.want)
		}
	}
	a, b := Stamp{Interval: interval(0, 10, internal), Group: 1}, Stamp{Interval: interval(20, 30, internal), Group: 2}
	if a.Compare(&b) != CannotTell || a.Why(&b) != reason.IntervalGroup {
		t.Errorf("of two groups: %v, %v", a.Compare(&b), a.Why(&b))
	}
	if b.Group = 1; a.Compare(&b) != Before || a.Why(&b) != reason.OK {
		t.Errorf("of one group: %v, %v", a.Compare(&b), a.Why(&b))
	}
	for r, want := range map[Relation]string{Before: "before", After: "after", CannotTell: "cannot tell"} {
		if r.String() != want || r.Inverse().Inverse() != r {
			t.Errorf("%v is called %s", int(r), r)
		}
	}
}

// TestTheTotalOrderExtendsThePartialOne on any stamps, and sorting by it never puts an event before one that was certainly earlier.
func TestTheTotalOrderExtendsThePartialOne(t *testing.T) {
	r := seeded(t)
	for range 3000 {
		kind := virtualclock.Kind(r.IntN(2))
		stamps := make([]Stamp, 2+r.IntN(12))
		for k := range stamps {
			stamps[k] = Stamp{Interval: randomInterval(r), Group: 5, Node: Node(r.IntN(3)), Sequence: uint64(k)}
			stamps[k].Kind = kind
		}
		slices.SortFunc(stamps, func(a, b Stamp) int { return a.Key().Compare(b.Key()) })
		for j := range stamps {
			for i := range j {
				if stamps[i].Compare(&stamps[j]) == After {
					t.Fatalf("the total order puts %+v before %+v", stamps[i], stamps[j])
				}
				if stamps[i].Key().Compare(stamps[j].Key()) >= 0 || stamps[j].Key().Compare(stamps[i].Key()) <= 0 {
					t.Fatalf("two events have one place: %+v, %+v", stamps[i], stamps[j])
				}
			}
		}
	}
}

// judged is what became of one world of stamps.
type judged struct{ told, wrong, disordered, stamps int }

// stampWorld lets hosts stamp events at random instants and judges every pair against true time.
func stampWorld(t *testing.T, r *rand.Rand, faults clocktest.Faults, o clocktest.Options) (out judged) {
	t.Helper()
	const span = 20 * time.Second
	w := clocktest.NewManual(o)
	like := clocktest.HostOptions{ReadingError: time.Millisecond}
	hosts := w.Random(r.Uint64(), 3, span, faults, like)
	var stampers []*Stamper
	for k, h := range hosts {
		stampers = append(stampers, NewStamper(h, 9, Node(k)))
	}
	type event struct {
		stamp Stamp
		at    time.Duration
	}
	var events []event
	for w.Passed() < span {
		k := r.IntN(len(stampers))
		s, err := stampers[k].Stamp()
		if err != nil {
			stampers[k].Resume()
		} else {
			if !s.Sound() {
				t.Fatalf("a stamp of nothing: %+v", s)
			}
			events = append(events, event{s, w.Passed()})
		}
		w.Advance(time.Duration(r.Int64N(int64(3 * time.Millisecond))))
		if r.IntN(40) == 0 {
			w.Advance(time.Duration(r.Int64N(int64(3 * time.Second))))
		}
	}
	for j := range events {
		for i := range j {
			x, y := &events[i], &events[j]
			switch x.stamp.Compare(&y.stamp) {
			case After:
				out.wrong++
			case Before:
				out.told++
			}
			if x.stamp.Node == y.stamp.Node && x.stamp.Epoch == y.stamp.Epoch && x.stamp.Key().Compare(y.stamp.Key()) > 0 {
				out.disordered++
			}
		}
	}
	out.stamps = len(events)
	return out
}

// TestWhatStampsTellIsTrue, of EXTERNAL and of INTERNAL clocks (theory 3.8), and events of one node are in their order; with wrong
// bounds the same test finds wrong answers.
func TestWhatStampsTellIsTrue(t *testing.T) {
	r := seeded(t)
	var told, stamps int
	for k := range 60 {
		o := clocktest.Options{Seed: r.Uint64(), Internal: k%2 == 1, GroupOffset: time.Hour}
		j := stampWorld(t, r, clocktest.Honest, o)
		if j.wrong != 0 || j.disordered != 0 {
			t.Fatalf("%+v with honest clocks, options %+v", j, o)
		}
		told, stamps = told+j.told, stamps+j.stamps
	}
	if told < 10_000 || stamps < 1000 {
		t.Errorf("only %d pairs were told, of %d stamps", told, stamps)
	}
	wrong := 0
	for range 60 {
		wrong += stampWorld(t, r, clocktest.Honest|clocktest.Lying, clocktest.Options{Seed: r.Uint64()}).wrong
	}
	if wrong == 0 {
		t.Error("lying clocks made no wrong order: the test is blind")
	}
}

func TestStamperSaysThatTheClockWasStepped(t *testing.T) {
	w := clocktest.NewManual(clocktest.Options{})
	h := w.Host(clocktest.HostOptions{Script: []clocktest.Event{clocktest.Disrupt(5*time.Second, time.Second, reason.HostSuspended)}})
	s := NewStamper(h, 0, 1)
	a, err := s.Stamp()
	if err != nil || a.Sequence != 1 {
		t.Fatalf("%+v, %v", a, err)
	}
	w.Advance(5500 * time.Millisecond)
	if _, err := s.Stamp(); !isReason(err, reason.HostSuspended) {
		t.Errorf("while disrupted: %v", err)
	}
	w.Advance(2 * time.Second)
	for range 2 {
		if _, err := s.Stamp(); !isReason(err, reason.EpochChanged) || !isReason(err, virtualclock.ErrEpoch) {
			t.Errorf("after the step: %v", err)
		}
	}
	s.Resume()
	b, err := s.Stamp()
	if err != nil || b.Sequence != 2 || b.Epoch != a.Epoch+1 {
		t.Errorf("%+v, %v", b, err)
	}
	e := NewEpochs(1)
	if e.Note(&a) != reason.OK || e.Note(&b) != reason.OK || e.Note(&a) != reason.EpochChanged || e.Note(&b) != reason.OK {
		t.Error("the older stamp is not doubted")
	}
	if c := (Stamp{Node: 2}); e.Note(&c) != reason.QueueSender {
		t.Error("more nodes than the limit")
	}
}

func TestGuardHoldsTheRightEdge(t *testing.T) {
	for _, c := range []struct {
		kind             virtualclock.Kind
		earliest, latest int64
	}{{external, 50, 80}, {internal, 40, 100}} {
		g := guard{clock: &script{intervals: []virtualclock.Interval{interval(50, 100, c.kind), interval(40, 80, c.kind)}}}
		if _, err := g.look("test"); err != nil {
			t.Fatal(err)
		}
		if i, err := g.look("test"); err != nil || i.Earliest != point(c.earliest) || i.Latest != point(c.latest) {
			t.Errorf("%v: %+v, %v", c.kind, i, err)
		}
	}
	g := guard{clock: &script{intervals: []virtualclock.Interval{interval(50, 100, external), interval(10, 20, external), interval(60, 70, internal)}}}
	_, _ = g.look("test")
	if _, err := g.look("test"); !isReason(err, reason.Contradiction) {
		t.Errorf("a clock that contradicts itself: %v", err)
	}
	if _, err := g.look("test"); !isReason(err, reason.KindChanged) {
		t.Errorf("another kind: %v", err)
	}
}

// TestKeysOfOneNodeGrow although the other edge goes back at every new sample.
func TestKeysOfOneNodeGrow(t *testing.T) {
	r := seeded(t)
	for _, kind := range []virtualclock.Kind{external, internal} {
		u := &universe{r: r, now: 1000}
		s := NewStamper(&fastClock{u: u, kind: kind, half: 500}, 3, 1)
		last, err := s.Stamp()
		if err != nil {
			t.Fatal(err)
		}
		back := 0
		for range 2000 {
			x, err := s.Stamp()
			if err != nil {
				t.Fatal(err)
			}
			if last.Key().Compare(x.Key()) >= 0 {
				t.Fatalf("%v: %+v is not after %+v", kind, x.Key(), last.Key())
			}
			if kind == external && x.Latest.Before(last.Latest) || kind == internal && x.Earliest.Before(last.Earliest) {
				back++
			}
			last = x
		}
		if back < 100 {
			t.Errorf("%v: the other edge went back %d times only", kind, back)
		}
	}
}

func TestStampEncoding(t *testing.T) {
	r := seeded(t)
	for range 10_000 {
		s := Stamp{Interval: randomInterval(r), Group: r.Uint64(), Node: Node(r.Uint64()), Sequence: r.Uint64()}
		b, err := s.MarshalBinary()
		var back Stamp
		if err != nil || len(b) != StampSize || back.UnmarshalBinary(b) != nil || back != s {
			t.Fatalf("%+v became %+v (%v)", s, back, err)
		}
	}
}

func FuzzStamp(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 4 {
		s := Stamp{Interval: randomInterval(r), Node: 3, Sequence: 4}
		b, _ := s.MarshalBinary()
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var s Stamp
		if err := s.UnmarshalBinary(b); err != nil {
			if !isReason(err, reason.EncodingMalformed) || s != (Stamp{}) {
				t.Fatalf("%v, and %+v", err, s)
			}
			return
		}
		if back, _ := s.MarshalBinary(); string(back) != string(b) || s.Latest.Before(s.Earliest) {
			t.Fatalf("%x became %x", b, back)
		}
	})
}

func TestNothingLeaks(t *testing.T) {
	testkit.NoLeaks(t)
	w := clocktest.NewManual(clocktest.Options{})
	h := w.Host(clocktest.HostOptions{})
	if err := WaitUntilAfter(t.Context(), h, h.Now().Latest, w); err != nil {
		t.Error(err)
	}
}
