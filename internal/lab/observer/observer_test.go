package observer

import (
	"errors"
	"math"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

const (
	hertz   = 1e9
	start   = hw.Ticks(5_000_000_000)
	epochNS = 1_800_000_000_000_000_000
)

// page is what a host of the test publishes; reads may change it.
type page struct {
	k        virtualclock.Coefficients
	why      reason.Code
	counter  hw.Counter
	onRead   func(*page)
	reopened int
}

func (p *page) Coefficients() (virtualclock.Coefficients, reason.Code) {
	if p.onRead != nil {
		p.onRead(p)
	}
	if p.why != reason.OK {
		return virtualclock.Coefficients{}, p.why
	}
	return p.k, reason.OK
}

func (p *page) Counter() hw.Counter { return p.counter }

func (p *page) Reopen() error {
	p.reopened++
	p.why = reason.OK
	return nil
}

// world has hosts whose publications the test writes. The nominal time is epochNS when the true counter reads start.
type world struct {
	t     *testing.T
	base  *hw.Manual
	pages []*page
	*Observer
	seen []Sample
}

func newWorld(t *testing.T, ppm ...float64) *world {
	t.Helper()
	w := &world{t: t, base: hw.NewManual(hw.Frequency{Hertz: hertz})}
	w.base.Set(start)
	var pages []Page
	for i, y := range ppm {
		s, err := hw.NewSkewed(w.base, hw.Skew{PPM: y, Start: start, Origin: hw.Ticks(i+1) * 1e12})
		if err != nil {
			t.Fatal(err)
		}
		p := &page{counter: s}
		w.pages, pages = append(w.pages, p), append(pages, p)
	}
	w.Observer = New(w.base, pages...)
	return w
}

// now is the nominal time.
func (w *world) now() virtualclock.Time {
	return virtualclock.Unix(epochNS, 0).AddSeconds(float64(w.base.Read()-start) / hertz)
}

// publish makes host i claim low to high around its clock, which is wrong by so many seconds and runs right.
func (w *world) publish(i int, wrong, low, high float64) {
	p := w.pages[i]
	s := p.counter.(*hw.Skewed)
	at, period := s.Read(), virtualclock.PeriodOf(hertz)
	c := virtualclock.NewClock(period, 1e-3)
	c.SetEpoch(p.k.Epoch)
	y := s.Skew().PPM * 1e-6
	t := w.now().AddSeconds(wrong)
	c.Step(at, t, -y/(1+y))
	true := period.Scale(-y / (1 + y))
	c.SetBounds(at, t.AddSeconds(-low), t.AddSeconds(high), true, true)
	c.SetKind(virtualclock.Internal)
	c.SetStatus(virtualclock.Synchronised, at.Add(10*hertz), at.Add(20*hertz))
	p.k = *c.Coefficients()
}

func (w *world) pass(seconds float64) { w.base.Advance(int64(seconds * hertz)) }

// look observes once and returns the ordinary sample; the others are in seen.
func (w *world) look() []Look {
	w.seen = nil
	w.Observe(func(s *Sample) {
		c := *s
		c.Looks = append([]Look(nil), s.Looks...)
		w.seen = append(w.seen, c)
	})
	last := w.seen[len(w.seen)-1]
	if last.Changing != -1 || last.At != w.base.Read() {
		w.t.Errorf("the last visit is of %d at %d", last.Changing, last.At)
	}
	return last.Looks
}

// TestDistancesAreExact: two clocks over different wrong counters are as far apart as they were made, to a nanosecond.
func TestDistancesAreExact(t *testing.T) {
	r := rand.New(rand.NewPCG(testkit.Seed(t), 1))
	for range 200 {
		w := newWorld(t, r.Float64()*200-100, r.Float64()*200-100)
		a, b := r.NormFloat64()*1e-3, r.NormFloat64()*1e-3
		la, ha, lb, hb := r.Float64()*1e-3, r.Float64()*1e-3, r.Float64()*1e-3, r.Float64()*1e-3
		w.publish(0, a, la, ha)
		w.publish(1, b, lb, hb)
		w.pass(r.Float64() * 5)
		looks := w.look()
		p, ok := Compare(&looks[0], &looks[1])
		gap := max(a-la-(b+hb), b-lb-(a+ha))
		const near = 5e-9 // a tick is 1 ns, and claims are rounded outward by one
		if !ok || math.Abs(p.Apart-(a-b)) > near || math.Abs(p.Allowed-max(la, ha)-max(lb, hb)) > near || math.Abs(p.Gap-gap) > near {
			t.Errorf("made %g and %g, claiming %g+%g and %g+%g; seen %+v", a, b, la, ha, lb, hb, p)
		}
		for _, l := range looks {
			if math.Abs(l.Rate) > 1e-12 || !l.Known || l.Kind != virtualclock.Internal || l.Status != virtualclock.Synchronised {
				t.Errorf("%+v", l)
			}
		}
		if math.Abs(looks[0].Oscillator-w.pages[0].counter.(*hw.Skewed).Skew().PPM*1e-6) > 1e-12 {
			t.Errorf("the oscillator is off by %g", looks[0].Oscillator)
		}
	}
}

// TestWrongClaimsAreSeen: intervals that miss each other, and clocks farther apart than they claim.
func TestWrongClaimsAreSeen(t *testing.T) {
	w := newWorld(t, 30, -30)
	w.publish(0, 0, 1e-6, 1e-6)
	w.publish(1, 5e-6, 1e-6, 1e-6)
	looks := w.look()
	if p, ok := Compare(&looks[0], &looks[1]); !ok || !(p.Gap > 2.9e-6) || !(math.Abs(p.Apart) > p.Allowed) {
		t.Errorf("%+v %t", p, ok)
	}
	w.publish(1, 5e-6, 6e-6, 1e-6)
	looks = w.look()
	if p, _ := Compare(&looks[0], &looks[1]); p.Gap > 0 || math.Abs(p.Apart) > p.Allowed {
		t.Errorf("a good claim is refused: %+v", p)
	}
}

// TestClaimsAreLookedAtWhereTheyBegin: a claim that was wrong between two samples, and is right at both, is seen: as the old one at
// the reading where the new one begins, and as the new one there.
func TestClaimsAreLookedAtWhereTheyBegin(t *testing.T) {
	w := newWorld(t, 30, -30)
	w.publish(0, 0, 1e-6, 1e-6)
	w.publish(1, 0, 1e-6, 1e-6)
	w.look()
	if len(w.seen) != 1 {
		t.Errorf("%d visits at the first sample", len(w.seen))
	}
	w.pass(0.5)
	w.publish(0, 7e-6, 1e-6, 1e-6) // from here on
	begins := w.base.Read()
	w.pass(0.1)
	w.look()
	if len(w.seen) != 3 {
		t.Fatalf("%d visits, want the change from both sides and the sample", len(w.seen))
	}
	var gaps []float64
	for _, s := range w.seen {
		p, ok := Compare(&s.Looks[0], &s.Looks[1])
		if !ok {
			t.Fatalf("%+v", s)
		}
		gaps = append(gaps, p.Gap)
	}
	if gaps[0] > 0 || !(gaps[1] > 4.9e-6) || !(gaps[2] > 4.9e-6) {
		t.Errorf("gaps %g", gaps)
	}
	for _, s := range w.seen[:2] {
		if d := s.At.Sub(begins); s.Changing != 0 || d < -1 || d > 1 {
			t.Errorf("host %d at %d, want host 0 at %d", s.Changing, s.At, begins)
		}
	}
	// Both publish: at the earlier change the other's old claim counts, at the later one the new.
	w.pass(0.1)
	w.publish(0, 0, 1e-6, 1e-6)
	w.pass(0.1)
	w.publish(1, 9e-6, 1e-6, 1e-6)
	w.pass(0.1)
	w.look()
	if len(w.seen) != 5 {
		t.Fatalf("%d visits", len(w.seen))
	}
	var apart []float64
	for _, s := range w.seen {
		p, ok := Compare(&s.Looks[0], &s.Looks[1])
		if !ok {
			t.Fatal("a clock is not known")
		}
		apart = append(apart, math.Round(p.Apart*1e6))
	}
	for i, want := range []float64{7, 0, 0, -9, -9} {
		if apart[i] != want {
			t.Errorf("apart by %v µs", apart)
			break
		}
	}
}

// TestUnknownIsUnknown: who publishes all the time, has died in writing, has no page or another counter, is not known, and does not
// keep the others from being looked at.
func TestUnknownIsUnknown(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	for i := range w.pages {
		w.publish(i, 0, 1e-6, 1e-6)
	}
	w.pages[1].onRead = func(p *page) { p.k.VoidAfter++ }
	looks := w.look()
	if looks[1].Known || !looks[0].Sound() || !looks[2].Sound() || looks[1].Sound() {
		t.Errorf("%+v", looks)
	}
	w.pages[1].onRead = nil
	for _, why := range []reason.Code{reason.PageTorn, reason.PageMissing, reason.PageVoid} {
		w.pages[1].why = why
		if looks = w.look(); looks[1].Sound() || looks[1].Why != why || !looks[0].Sound() {
			t.Errorf("%v: %+v", why, looks[1])
		}
	}
	w.pages[1].why = reason.PageRetired
	if looks = w.look(); !looks[1].Sound() || w.pages[1].reopened != 1 {
		t.Errorf("a page that was replaced is opened %d times: %+v", w.pages[1].reopened, looks[1])
	}
	if err := w.Check(); err != nil {
		t.Error(err)
	}
	stranger := hw.NewManual(hw.Frequency{Hertz: 2 * hertz})
	own := w.pages[1].counter
	w.pages[1].counter = stranger
	if looks = w.look(); looks[1].Known || w.Check() == nil || !errors.Is(w.Check(), errForeign) {
		t.Errorf("a host with another counter: %+v, %v", looks[1], w.Check())
	}
	w.pages[1].counter = nil
	if looks = w.look(); looks[1].Known {
		t.Errorf("a page that was closed: %+v", looks[1])
	}
	w.pages[1].counter = own
	if looks = w.look(); !looks[1].Sound() {
		t.Errorf("back again: %+v", looks[1])
	}
	w.pass(15)
	if looks = w.look(); looks[0].Status != virtualclock.Holdover || !looks[0].Sound() {
		t.Errorf("stale: %+v", looks[0])
	}
	w.pass(10)
	if looks = w.look(); looks[0].Sound() || !looks[0].Known || !math.IsInf(looks[0].FarEdge(), 1) {
		t.Errorf("void: %+v", looks[0])
	}
	if _, ok := Compare(&looks[0], &looks[1]); ok {
		t.Error("nothing was compared with nothing")
	}
}

// TestRealPage: a page of a writer over an image of this machine's counter, read through the file.
func TestRealPage(t *testing.T) {
	base, err := hw.Open("auto")
	if err != nil {
		t.Fatal(err)
	}
	var pages []Page
	var writers []*virtualclock.PageWriter
	for i := range 2 {
		s, err := hw.NewSkewed(base, hw.Skew{Seed: uint64(i), PPM: 40, WalkPerRootSecond: 1e-8, Start: base.Read(), Origin: hw.Ticks(i+1) * 1e13})
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "page")
		w, err := virtualclock.CreatePage(path, s, 1)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = w.Close() }()
		r, err := virtualclock.OpenPage(path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = r.Close() }()
		p := virtualclock.PeriodOf(s.Frequency().Hertz)
		c := virtualclock.NewClock(p, 1e-3)
		at := s.Read()
		c.Step(at, virtualclock.Unix(epochNS, 0), 0)
		c.SetBounds(at, virtualclock.Unix(epochNS-1e6, 0), virtualclock.Unix(epochNS+1e6, 0), p.Scale(-1e-4), p.Scale(1e-4))
		c.SetStatus(virtualclock.Synchronised, at.Add(1<<40), at.Add(1<<41))
		if err := w.Publish(c.Coefficients()); err != nil {
			t.Fatal(err)
		}
		pages, writers = append(pages, r), append(writers, w)
	}
	o := New(base, pages...)
	o.Observe(func(s *Sample) {
		if p, ok := Compare(&s.Looks[0], &s.Looks[1]); !ok || !(p.Allowed >= 2e-3) {
			t.Errorf("%+v %t", p, ok)
		}
	})
	if err := errors.Join(o.Check(), writers[0].Close()); err != nil {
		t.Fatal(err)
	}
	o.Observe(func(s *Sample) {
		if s.Looks[0].Sound() || !s.Looks[1].Sound() {
			t.Errorf("one daemon ended: %+v", s.Looks)
		}
	})
}

func BenchmarkObserve(b *testing.B) {
	base, err := hw.Open("auto")
	if err != nil {
		b.Fatal(err)
	}
	var pages []Page
	for i := range 7 {
		s, err := hw.NewSkewed(base, hw.Skew{Seed: uint64(i), PPM: 40, Start: base.Read()})
		if err != nil {
			b.Fatal(err)
		}
		pages = append(pages, &page{counter: s})
	}
	o := New(base, pages...)
	b.ReportAllocs()
	for b.Loop() {
		o.Observe(func(*Sample) {})
	}
}
