package observer

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/virtualclock"
)

// withOptions makes the world's observer anew.
func (w *world) withOptions(o Options) {
	var pages []Page
	for _, p := range w.pages {
		pages = append(pages, p)
	}
	w.Observer = NewWith(w.base, o, pages...)
}

// slew gives host i a correction of by seconds that begins now and takes that long.
func (w *world) slew(i int, by, seconds float64) {
	p := w.pages[i]
	k := p.k
	at := p.counter.Read()
	now := k.Time(at)
	rate := by / seconds
	end := at.Add(int64(seconds * hertz))
	k.Slew = virtualclock.Line{C0: at, T0: now, Period: k.Steady.Period.Scale(rate)}
	k.SlewEnd = end
	k.Steady = virtualclock.Line{C0: end, T0: k.Slew.At(end), Period: k.Steady.Period}
	k.At = at
	p.k = k
}

// TestGridIsEven: the instants of the grid are evenly spaced, whenever the samples are, and in order among all others.
func TestGridIsEven(t *testing.T) {
	r := rand.New(rand.NewPCG(testkit.Seed(t), 1))
	w := newWorld(t, 20, -20)
	w.withOptions(Options{Grid: hertz / 100, Breakpoints: true})
	w.publish(0, 0, 1e-3, 1e-3)
	w.publish(1, 0, 1e-3, 1e-3)
	var grid []hw.Ticks
	var last hw.Ticks
	for range 300 {
		w.pass(r.ExpFloat64() * 0.01)
		if r.IntN(3) == 0 {
			w.publish(r.IntN(2), 0, 1e-3, 1e-3)
			w.pass(1e-4)
		}
		w.look()
		for _, s := range w.seen {
			if s.At.Before(last) {
				t.Fatalf("%d after %d", s.At, last)
			}
			last = s.At
			if s.Regular {
				grid = append(grid, s.At)
			}
		}
	}
	if len(grid) < 100 {
		t.Fatalf("%d instants", len(grid))
	}
	for i := range grid[1:] {
		if d := grid[i+1].Sub(grid[i]); d != hertz/100 {
			t.Errorf("instants %d ticks apart", d)
		}
	}
}

// TestSlewEndsAreVisited: where a slew ends, on the line that follows.
func TestSlewEndsAreVisited(t *testing.T) {
	w := newWorld(t, 40)
	w.withOptions(Options{Breakpoints: true, Continuous: true})
	w.publish(0, 0, 1e-3, 1e-3)
	w.look()
	w.pass(0.1)
	w.slew(0, 50e-6, 0.2)
	begin := w.base.Read()
	w.pass(0.05)
	w.look()
	w.pass(0.3)
	w.look()
	if len(w.seen) != 2 {
		t.Fatalf("%d visits, want the slew's end and the sample", len(w.seen))
	}
	s := &w.seen[0]
	if d := float64(s.At.Sub(begin))/hertz - 0.2; math.Abs(d) > 1e-4 {
		t.Errorf("the slew's end is %g s away", d)
	}
	if rate := s.Looks[0].Rate; math.Abs(rate) > 1e-12 {
		t.Errorf("after the slew the clock runs too fast by %g", rate)
	}
	if apart := s.Looks[0].Target.Seconds(s.Looks[0].Time); apart != 0 {
		t.Errorf("after the slew the target is %g s away", apart)
	}
	if w.Missed() != 0 {
		t.Errorf("%d publications missed", w.Missed())
	}
}

// TestMissedPublicationsAreNoticed: of two publications between two samples the first is not seen, and the host is not known from the
// sample before to the second one's beginning; the others are.
func TestMissedPublicationsAreNoticed(t *testing.T) {
	w := newWorld(t, 40, -40)
	w.withOptions(Options{Grid: hertz / 100, Continuous: true, Breakpoints: true})
	w.publish(0, 0, 1e-3, 1e-3)
	w.publish(1, 0, 1e-3, 1e-3)
	w.look()
	w.pass(0.02)
	w.slew(0, 50e-6, 0.05) // nobody looks while this is the last one
	w.pass(0.02)
	w.slew(0, -10e-6, 0.05)
	second := w.base.Read()
	w.pass(0.02)
	w.look()
	if w.Missed() != 1 {
		t.Errorf("%d missed, want 1", w.Missed())
	}
	known := 0
	for _, s := range w.seen {
		if !s.Looks[1].Known {
			t.Errorf("the other host is not known at %d", s.At)
		}
		switch before := s.At.Sub(second) < -1; {
		case before && s.Looks[0].Known:
			t.Errorf("at %d the host is known", s.At)
		case !before && s.Looks[0].Known:
			known++
		}
	}
	if first := &w.seen[0]; first.Looks[0].Known || first.At.Sub(second) > -hertz/50 {
		t.Errorf("the first visit is not that of the sample before: %d", first.At)
	}
	if known < 2 {
		t.Errorf("the host is known again %d times", known)
	}
}
