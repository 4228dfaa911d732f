package order

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
	"github.com/clockd/clockd/virtualclock/clocktest"
)

// latticeWorld is hosts, and a lattice that fits them.
func latticeWorld(r *rand.Rand, faults clocktest.Faults) (*clocktest.World, []*clocktest.Host, Lattice) {
	w := clocktest.NewManual(clocktest.Options{Seed: r.Uint64(), Internal: r.IntN(2) == 0})
	hosts := w.Random(r.Uint64(), 4, time.Minute, faults, clocktest.HostOptions{ReadingError: time.Millisecond})
	l, _ := NewLattice(5 * time.Millisecond)
	return w, hosts, l
}

// TestStampsOfOneInstantAreOneTickApart at the most, stamps two ticks apart tell the true order, and lengths are within two ticks; with
// lying clocks none of it is so.
func TestStampsOfOneInstantAreOneTickApart(t *testing.T) {
	r := seeded(t)
	type stamped struct {
		tick Tick
		at   time.Duration
	}
	run := func(faults clocktest.Faults, worlds int) (apart, misordered, wrongLength, stamps, fine int) {
		for range worlds {
			w, hosts, l := latticeWorld(r, faults)
			var events []stamped
			for range 200 {
				w.Advance(time.Duration(r.Int64N(int64(300 * time.Millisecond))))
				if r.IntN(4) == 0 {
					w.Advance(time.Duration(r.Int64N(int64(3 * time.Second))))
				}
				first := len(events)
				for _, h := range hosts {
					k, err := l.Stamp(h)
					if isReason(err, reason.LatticeTooFine) {
						fine++
					}
					if err == nil {
						events = append(events, stamped{k, w.Passed()})
					}
				}
				for _, x := range events[first:] {
					for _, y := range events[first:] {
						if d := x.tick - y.tick; d > 1 {
							apart++
						}
					}
				}
			}
			for _, x := range events {
				for _, y := range events {
					if l.Compare(x.tick, y.tick) == Before && x.at >= y.at {
						misordered++
					}
					least, most := l.Between(x.tick, y.tick)
					// The group's seconds are true seconds in this test.
					if d := y.at - x.at; d <= least || d >= most {
						wrongLength++
					}
				}
			}
			stamps += len(events)
		}
		return apart, misordered, wrongLength, stamps, fine
	}
	apart, misordered, wrongLength, stamps, fine := run(clocktest.Drifting|clocktest.Losing, 20)
	if apart+misordered+wrongLength != 0 || stamps < 5000 || fine == 0 {
		t.Errorf("%d stamps of one instant more than a tick apart, %d in the wrong order, %d wrong lengths; %d stamps, %d refused as too fine",
			apart, misordered, wrongLength, stamps, fine)
	}
	if apart, misordered, wrongLength, _, _ = run(clocktest.Lying, 20); apart == 0 || misordered == 0 || wrongLength == 0 {
		t.Errorf("lying clocks: %d, %d, %d: the test is blind", apart, misordered, wrongLength)
	}
}

func TestALatticeNeedsAGoodClock(t *testing.T) {
	w := clocktest.NewManual(clocktest.Options{})
	h := w.Host(clocktest.HostOptions{FirstPoll: time.Second, ReadingError: 3 * time.Millisecond})
	l, err := NewLattice(time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Stamp(h); !isReason(err, reason.NeverSynchronised) {
		t.Errorf("a void clock: %v", err)
	}
	w.Advance(2 * time.Second)
	if _, err := l.Stamp(h); !isReason(err, reason.LatticeTooFine) {
		t.Errorf("a bad clock: %v", err)
	}
	if _, err := NewLattice(0); err == nil {
		t.Error("a lattice without length")
	}
	for _, p := range []float64{0, -1, math.NaN(), math.Inf(1)} {
		if _, err := LatticeFor(p); err == nil {
			t.Errorf("a lattice for a precision of %g", p)
		}
	}
	if l, err := LatticeFor(100e-6); err != nil || l.TickLength() != 125*time.Microsecond {
		t.Errorf("%v, %v", l.TickLength(), err)
	}
	for _, c := range [][2]int64{{0, 3}, {1, 2}, {1, -1}, {1, 1 << 50}} {
		if _, err := NewSparse(l, c[0], c[1]); err == nil {
			t.Errorf("a sparse time base of %v", c)
		}
	}
	if _, err := NewSparse(Lattice{}, 1, 3); err == nil {
		t.Error("a sparse time base on nothing")
	}
}

// TestLatticeArithmetic against big integers, to the ends of the timeline.
func TestLatticeArithmetic(t *testing.T) {
	r := seeded(t)
	any64 := func() int64 { return int64(r.Uint64()) >> r.IntN(64) }
	clamp := func(x *big.Int) int64 {
		switch {
		case x.Cmp(big.NewInt(math.MaxInt64)) > 0:
			return math.MaxInt64
		case x.Cmp(big.NewInt(math.MinInt64)) < 0:
			return math.MinInt64
		}
		return x.Int64()
	}
	for range 50_000 {
		l := Lattice{1 + any64()&math.MaxInt64>>1}
		at, x, y := any64(), Tick(any64()), Tick(any64())
		g := big.NewInt(l.tick)
		// Euclidean division is floor division for a positive divisor.
		if want := new(big.Int).Div(big.NewInt(at), g); int64(l.Of(virtualclock.Unix(at, 5))) != want.Int64() {
			t.Fatalf("%d of %d: %d, want %d", at, l.tick, l.Of(virtualclock.Unix(at, 5)), want)
		}
		if want := clamp(new(big.Int).Mul(big.NewInt(int64(x)), g)); l.Start(x).UnixNano() != want {
			t.Fatalf("tick %d of %d begins at %d, want %d", x, l.tick, l.Start(x).UnixNano(), want)
		}
		d := new(big.Int).Sub(big.NewInt(int64(y)), big.NewInt(int64(x)))
		two := big.NewInt(2)
		want := CannotTell
		if d.Cmp(two) >= 0 {
			want = Before
		} else if new(big.Int).Neg(d).Cmp(two) >= 0 {
			want = After
		}
		if got := l.Compare(x, y); got != want {
			t.Fatalf("%d and %d: %v, want %v", x, y, got, want)
		}
		least, most := l.Between(x, y)
		wantLeast := clamp(new(big.Int).Mul(new(big.Int).Sub(d, two), g))
		wantMost := clamp(new(big.Int).Mul(new(big.Int).Add(d, two), g))
		// Saturated twice it may be inside of what would be exact by two ticks of those at the end of the range; never the other way.
		if int64(least) > wantLeast || int64(most) < wantMost {
			t.Fatalf("from %d to %d: %d to %d, want %d to %d", x, y, least, most, wantLeast, wantMost)
		}
	}
}

// TestEveryHostPutsAnEventIntoTheSlotInWhichItWasMade, and so all derive the same order of slots, without a word.
func TestEveryHostPutsAnEventIntoTheSlotInWhichItWasMade(t *testing.T) {
	r := seeded(t)
	run := func(faults clocktest.Faults, silent int64, worlds int) (disagreed, made int) {
		for range worlds {
			w, hosts, l := latticeWorld(r, faults)
			s := Sparse{l, 1 + r.Int64N(3), silent}
			for range 100 {
				w.Advance(time.Duration(r.Int64N(int64(500 * time.Millisecond))))
				slot, err := s.Wait(t.Context(), hosts[0], w)
				if err != nil {
					continue
				}
				made++
				for _, h := range hosts {
					if k, err := l.Stamp(h); err == nil && s.Slot(k) != slot {
						disagreed++
					}
				}
			}
		}
		return disagreed, made
	}
	if disagreed, made := run(clocktest.Drifting, leastSilence, 20); disagreed != 0 || made < 1000 {
		t.Errorf("%d stamps in another slot, of %d events", disagreed, made)
	}
	if disagreed, _ := run(clocktest.Lying, leastSilence, 20); disagreed == 0 {
		t.Error("lying clocks: all agreed: the test is blind")
	}
	l, _ := NewLattice(time.Second)
	s, err := NewSparse(l, 2, 3)
	if err != nil || s.Lattice() != l {
		t.Fatal(err)
	}
	for k := Tick(-12); k < 12; k++ {
		// By enumeration: slot n has the active ticks 5n and 5n+1, and the stamps 5n−1 to 5n+2 belong to it.
		n := int64(math.Floor(float64(k+1) / 5))
		active := k == Tick(5*n) || k == Tick(5*n+1)
		first := k
		for !s.Active(first) {
			first++
		}
		if s.Slot(k) != n || s.Active(k) != active || s.Next(k) != first {
			t.Errorf("tick %d: slot %d, active %v, next %d", k, s.Slot(k), s.Active(k), s.Next(k))
		}
	}
}

// TestSilenceKeepsSlotsApart: stamps of different slots tell their order for certain; with less silence they would not.
func TestSilenceKeepsSlotsApart(t *testing.T) {
	l := Lattice{1}
	for silent := int64(1); silent < 6; silent++ {
		s := Sparse{l, 2, silent}
		lastOfSlot0, firstOfSlot1 := Tick(2), Tick(2+silent-1)
		if told := l.Compare(lastOfSlot0, firstOfSlot1) == Before; told != (silent >= leastSilence) {
			t.Errorf("with silence of %d ticks: %v", silent, told)
		}
		if silent >= leastSilence && (s.Slot(lastOfSlot0) != 0 || s.Slot(firstOfSlot1) != 1) {
			t.Errorf("with silence of %d ticks: slots %d and %d", silent, s.Slot(lastOfSlot0), s.Slot(firstOfSlot1))
		}
	}
}

// TestDurationsBetweenHosts contain the true length; with lying clocks some do not.
func TestDurationsBetweenHosts(t *testing.T) {
	r := seeded(t)
	run := func(faults clocktest.Faults) (wrong, measured int) {
		for range 20 {
			w := clocktest.NewManual(clocktest.Options{Seed: r.Uint64()})
			hosts := w.Random(r.Uint64(), 2, 10*time.Second, faults, clocktest.HostOptions{})
			for range 100 {
				x, from := hosts[0].Now(), w.Passed()
				w.Advance(time.Duration(r.Int64N(int64(200 * time.Millisecond))))
				y, to := hosts[1].Now(), w.Passed()
				d, err := Between(x, y)
				back, _ := Between(y, x)
				if err != nil {
					continue
				}
				truth := (to - from).Seconds()
				if measured++; truth < d.Shortest || truth > d.Longest || d.Best < d.Shortest || d.Best > d.Longest {
					wrong++
				}
				if back.Shortest > -d.Longest || back.Longest < -d.Shortest-1e-15 || math.Abs(back.Best+d.Best) > 1e-12 {
					t.Fatalf("there %+v, back %+v", d, back)
				}
			}
		}
		return wrong, measured
	}
	if wrong, measured := run(clocktest.Honest); wrong != 0 || measured < 1000 {
		t.Errorf("%d of %d durations are wrong", wrong, measured)
	}
	if wrong, _ := run(clocktest.Lying); wrong == 0 {
		t.Error("lying clocks: no duration is wrong: the test is blind")
	}
	if _, err := Between(interval(0, 1, internal), interval(2, 3, internal)); !isReason(err, reason.IntervalKind) {
		t.Errorf("INTERNAL: %v", err)
	}
	if _, err := Between(voidInterval(virtualclock.Disrupted), interval(2, 3, external)); !isReason(err, reason.ClockUnsound) {
		t.Errorf("void: %v", err)
	}
}
