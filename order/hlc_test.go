package order

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
	"github.com/clockd/clockd/virtualclock/clocktest"
)

// said is one event of a run of hybrid clocks, with a vector clock as the slow twin.
type said struct {
	h        Hybrid
	v        Vector
	interval virtualclock.Interval
	truth    virtualclock.Time
}

// hybridRun lets nodes with hybrid clocks make events and send each other messages at random. It returns the events, and how many
// messages were refused as ahead.
func hybridRun(t *testing.T, r *rand.Rand, faults clocktest.Faults, o clocktest.Options) (events []said, refused int) {
	t.Helper()
	const nodes, span = 4, 10 * time.Second
	w := clocktest.NewManual(o)
	hosts := w.Random(r.Uint64(), nodes, span, faults, clocktest.HostOptions{ReadingError: time.Millisecond})
	var clocks []*HLC
	var vectors []*VectorClock
	for k, h := range hosts {
		clocks = append(clocks, NewHLC(h))
		v, err := NewVectorClock(k, nodes)
		if err != nil {
			t.Fatal(err)
		}
		vectors = append(vectors, v)
	}
	var wire []said
	for w.Passed() < span {
		k := r.IntN(nodes)
		var e said
		var err error
		truth := w.True()
		if len(wire) > 0 && r.IntN(2) == 0 {
			m := wire[r.IntN(len(wire))]
			if e.h, err = clocks[k].Receive(m.h); err == nil {
				e.v, err = vectors[k].Receive(nil, m.v)
			}
		} else if e.h, err = clocks[k].Now(); err == nil {
			e.v, err = vectors[k].Tick(nil)
		}
		switch {
		case isReason(err, reason.ClockAhead):
			refused++
		case isReason(err, reason.EpochChanged):
			clocks[k].Resume()
		case err == nil:
			// True time has not passed since the clock was read: this is the very interval, but for the guard's care.
			e.interval, e.truth = hosts[k].Now(), truth
			events = append(events, e)
			if wire = append(wire, e); len(wire) > 20 {
				wire = wire[1:]
			}
		case !isReason(err, reason.Stale) && hosts[k].Now().Sound():
			t.Fatal(err)
		}
		w.Advance(time.Duration(r.Int64N(int64(20 * time.Millisecond))))
		if r.IntN(3) > 0 {
			w.Advance(-1) // nothing: the same instant again
		}
	}
	return events, refused
}

// TestHybridClocksStayWithinTheMeasuredBound, follow causality, and agree with what the intervals tell; honest messages are never refused.
func TestHybridClocksStayWithinTheMeasuredBound(t *testing.T) {
	r := seeded(t)
	told, caused := 0, 0
	for k := range rounds(40) {
		o := clocktest.Options{Seed: r.Uint64(), Internal: k%2 == 1}
		events, refused := hybridRun(t, r, clocktest.Honest, o)
		if refused != 0 {
			t.Fatalf("%d honest messages were refused, %+v", refused, o)
		}
		for j, y := range events {
			if y.interval.Latest.Before(y.h.Time) || y.h.Time.Before(y.interval.Earliest) {
				t.Fatalf("the timestamp %v is not in the interval %v to %v", y.h.Time, y.interval.Earliest, y.interval.Latest)
			}
			if !o.Internal && y.truth.Before(y.h.Time) {
				t.Fatalf("the timestamp %v is ahead of true time %v", y.h.Time, y.truth)
			}
			for _, x := range events[:j] {
				c := x.h.Compare(y.h)
				if x.v.Compare(y.v) == HappenedBefore {
					if caused++; c >= 0 {
						t.Fatalf("%+v caused %+v", x, y)
					}
				}
				switch Compare(x.interval, y.interval) {
				case After:
					t.Fatalf("the intervals say that %+v came after %+v", x, y)
				case Before:
					if told++; c >= 0 {
						t.Fatalf("the intervals say that %+v came before %+v", x, y)
					}
				}
			}
		}
	}
	if told < rounds(10_000) || caused < rounds(10_000) {
		t.Errorf("only %d pairs told by intervals, %d by causality", told, caused)
	}
	refused := 0
	for range rounds(60) {
		_, n := hybridRun(t, r, clocktest.Lying, clocktest.Options{Seed: r.Uint64()})
		refused += n
	}
	if refused == 0 {
		t.Error("no message of a lying clock was refused: the limit limits nothing")
	}
}

func TestHLCStepByStep(t *testing.T) {
	s := &script{intervals: []virtualclock.Interval{
		interval(100, 200, external), interval(100, 200, external), interval(110, 210, external), interval(110, 210, external),
		interval(110, 160, external), interval(151, 161, external),
	}}
	h := NewHLC(s)
	step := func(what string, got Hybrid, err error, ns int64, logical uint32) {
		t.Helper()
		if want := (Hybrid{point(ns), logical}); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", what, got, err, want)
		}
	}
	if h.Last().Time != virtualclock.MinTime() {
		t.Error("there is a timestamp before the first")
	}
	got, err := h.Now()
	step("the first", got, err, 100, 0)
	got, err = h.Now()
	step("the clock stands", got, err, 100, 1)
	got, err = h.Receive(Hybrid{point(150), 7})
	step("a message ahead within the bound", got, err, 150, 8)
	if _, err = h.Receive(Hybrid{point(211), 0}); !isReason(err, reason.ClockAhead) || h.Last() != (Hybrid{point(150), 8}) {
		t.Errorf("a message beyond the bound: %v, %+v", err, h.Last())
	}
	if _, err = h.Receive(Hybrid{point(155), math.MaxUint32}); !isReason(err, reason.CounterExhausted) || h.Last() != (Hybrid{point(150), 8}) {
		t.Errorf("the largest counter: %v, %+v", err, h.Last())
	}
	got, err = h.Receive(Hybrid{point(90), 3})
	step("time has caught up", got, err, 151, 0)
}

func TestHLCSaysThatTheClockWasStepped(t *testing.T) {
	back := interval(10, 20, external)
	back.Epoch = 2
	later := interval(101, 120, external)
	later.Epoch = 2
	h := NewHLC(&script{intervals: []virtualclock.Interval{interval(100, 200, external), back, back, later}})
	first, err := h.Now()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Now(); !isReason(err, virtualclock.ErrEpoch) {
		t.Errorf("stepped: %v", err)
	}
	h.Resume()
	if _, err := h.Now(); !isReason(err, reason.ClockAhead) {
		t.Errorf("stepped back by more than the interval: %v", err)
	}
	if second, err := h.Now(); err != nil || second.Compare(first) <= 0 {
		t.Errorf("%+v, %v", second, err)
	}
	h = NewHLC(&script{intervals: []virtualclock.Interval{voidInterval(virtualclock.Unsynchronised)}})
	if _, err := h.Now(); !isReason(err, reason.ClockUnsound) {
		t.Errorf("unsynchronised: %v", err)
	}
	if _, err := h.Receive(first); !isReason(err, reason.ClockUnsound) {
		t.Errorf("unsynchronised: %v", err)
	}
}

// TestHybridEncodingKeepsTheOrder, byte by byte, also before the Unix epoch.
func TestHybridEncodingKeepsTheOrder(t *testing.T) {
	r := seeded(t)
	random := func() Hybrid {
		return Hybrid{virtualclock.Unix(r.Int64N(5)-2, uint32(r.IntN(3))<<30), uint32(r.IntN(3)) << 30}
	}
	for range 20_000 {
		a, b := random(), random()
		x, _ := a.MarshalBinary()
		y, _ := b.MarshalBinary()
		if bytes.Compare(x, y) != a.Compare(b) || len(x) != HybridSize {
			t.Fatalf("%+v and %+v are %x and %x", a, b, x, y)
		}
		var back Hybrid
		if back.UnmarshalBinary(x) != nil || back != a {
			t.Fatalf("%+v became %+v", a, back)
		}
	}
	var h Hybrid
	if err := h.UnmarshalBinary(make([]byte, 15)); !isReason(err, reason.EncodingMalformed) {
		t.Error(err)
	}
}

func FuzzHybrid(f *testing.F) {
	b, _ := Hybrid{point(5), 3}.MarshalBinary()
	f.Add(b, b)
	f.Fuzz(func(t *testing.T, x, y []byte) {
		var a, b Hybrid
		if a.UnmarshalBinary(x) != nil || b.UnmarshalBinary(y) != nil {
			return
		}
		if bytes.Compare(x, y) != a.Compare(b) {
			t.Fatalf("%x, %x", x, y)
		}
	})
}

func TestLamport(t *testing.T) {
	var l Lamport
	a, _ := l.Tick()
	b, _ := l.Witness(10)
	c, _ := l.Witness(3)
	if a != 1 || b != 11 || c != 12 || l.Last() != 12 {
		t.Errorf("%d, %d, %d, %d", a, b, c, l.Last())
	}
	if _, err := l.Witness(math.MaxUint64); !isReason(err, reason.CounterExhausted) || l.Last() != 12 {
		t.Errorf("%v, %d", err, l.Last())
	}
	if d, err := l.Witness(math.MaxUint64 - 1); err != nil || d != math.MaxUint64 {
		t.Errorf("%d, %v", d, err)
	}
	if _, err := l.Tick(); !isReason(err, reason.CounterExhausted) {
		t.Error(err)
	}
}
