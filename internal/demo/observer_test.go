package demo

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

func deterministic() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

const (
	worldHertz = 1e9
	// worldStart is what the true counter reads when true time is epochTime.
	worldStart = hw.Ticks(5_000_000_000)
	epochNS    = 1_800_000_000_000_000_000
)

// world has a master and hosts whose publications the test writes.
type world struct {
	t     *testing.T
	base  *hw.Manual
	truth *virtualclock.Local
	hosts []*hw.Skewed
	clock []*virtualclock.Local
	*observer
}

func newWorld(t *testing.T, ppm ...float64) *world {
	t.Helper()
	w := &world{t: t, base: hw.NewManual(hw.Frequency{Hertz: worldHertz})}
	w.base.Set(worldStart)
	w.truth = virtualclock.NewLocal(w.base)
	w.setTruth(0)
	var subjects []subject
	for i, y := range ppm {
		s, err := hw.NewSkewed(w.base, hw.Skew{PPM: y, Start: worldStart, Origin: hw.Ticks(i+1) * 1e12})
		if err != nil {
			t.Fatal(err)
		}
		l := virtualclock.NewLocal(s)
		w.hosts, w.clock = append(w.hosts, s), append(w.clock, l)
		subjects = append(subjects, subject{[]string{"a", "b", "c", "d"}[i], l, s, false})
	}
	w.observer = newObserver(w.base, w.truth, subjects)
	return w
}

// setTruth publishes the master's clock, ahead of the nominal one by so many seconds.
func (w *world) setTruth(ahead float64) {
	w.t.Helper()
	c := virtualclock.NewClock(virtualclock.PeriodOf(worldHertz), 1e-3)
	k, _ := w.truth.Coefficients()
	c.SetEpoch(k.Epoch) // a new epoch may jump
	t := virtualclock.Unix(epochNS, 0).AddSeconds(ahead)
	c.Step(worldStart, t, 0)
	p := virtualclock.PeriodOf(worldHertz)
	c.SetBounds(worldStart, t, t, p, p)
	c.SetStatus(virtualclock.Synchronised, worldStart.Add(1e15), worldStart.Add(1e15))
	if err := w.truth.Publish(c.Coefficients()); err != nil {
		w.t.Fatal(err)
	}
}

// publish makes host i claim, at this moment, to be within ±bound of a time that is wrong by so many seconds, its counter
// being wrong by drift at most. The clock runs at the counter's true rate.
func (w *world) publish(i int, wrong, bound, drift float64) {
	w.t.Helper()
	s, now := w.hosts[i], w.hosts[i].Read()
	p := virtualclock.PeriodOf(worldHertz)
	c := virtualclock.NewClock(p, 1e-3)
	k, _ := w.clock[i].Coefficients()
	c.SetEpoch(k.Epoch)
	t := w.now().AddSeconds(wrong)
	c.Step(now, t, -s.Skew().PPM*1e-6/(1+s.Skew().PPM*1e-6))
	c.SetBounds(now, t.AddSeconds(-bound), t.AddSeconds(bound), p.Scale(-drift), p.Scale(drift))
	c.SetStatus(virtualclock.Synchronised, now.Add(10*worldHertz), now.Add(20*worldHertz))
	if err := w.clock[i].Publish(c.Coefficients()); err != nil {
		w.t.Fatal(err)
	}
}

// now is true time.
func (w *world) now() virtualclock.Time {
	k, _ := w.truth.Coefficients()
	return k.Time(w.base.Read())
}

func (w *world) pass(seconds float64) { w.base.Advance(int64(seconds * worldHertz)) }

func (w *world) mustSample() {
	w.t.Helper()
	if !w.sample() {
		w.t.Fatal("there was no sample")
	}
}

func near(a, b, within float64) bool { return math.Abs(a-b) <= within }

func TestAnErrorIsMeasuredExactly(t *testing.T) {
	w := newWorld(t, 37, -52)
	w.publish(0, 3e-6, 10e-6, 60e-6)
	w.publish(1, -4e-6, 20e-6, 60e-6)
	w.pass(0.25)
	w.mustSample()
	for i, want := range []float64{3e-6, -4e-6} {
		l := w.looks[i]
		// A tick is 1 ns, and the rates of the lines are rounded to 2⁻⁴⁸ ns.
		if !l.sound || !l.held || !near(l.error, want, 2e-9) {
			t.Errorf("host %d: error %g instead of %g", i, l.error, want)
		}
		if grown := []float64{10e-6, 20e-6}[i] + 0.25*(60e-6+math.Abs([]float64{37e-6, -52e-6}[i])); !near(l.bound, grown, 10e-9) {
			t.Errorf("host %d: bound %g instead of %g", i, l.bound, grown)
		}
		if !near(l.clockRate, 0, 1e-12) {
			t.Errorf("host %d: its clock runs at the right rate, not %g off", i, l.clockRate)
		}
	}
	if p := w.tally.total.precision; !near(p.value, 7e-6, 4e-9) || !near(p.claim, w.looks[0].bound+w.looks[1].bound, 1e-15) {
		t.Errorf("precision %g, claimed %g", p.value, p.claim)
	}
	if a := w.tally.total.accuracy; !near(a.value, 4e-6, 2e-9) || a.claim != w.looks[1].bound {
		t.Errorf("accuracy %g, claimed %g", a.value, a.claim)
	}
	if n := w.tally.violations(); n != 0 {
		t.Errorf("%d violations of honest claims", n)
	}
}

func TestAClaimThatIsTooNarrowIsAViolation(t *testing.T) {
	w := newWorld(t, 37, -52)
	w.publish(0, 3e-6, 10e-6, 60e-6)
	w.publish(1, 15e-6, 10e-6, 60e-6)
	w.mustSample()
	if a, b := w.tally.hosts[0].violations, w.tally.hosts[1].violations; a != 0 || b == 0 {
		t.Errorf("%d and %d violations", a, b)
	}
	if worst := w.tally.hosts[1].worst; !near(worst, 5e-6, 2e-9) {
		t.Errorf("true time was 5 µs outside, not %g s", worst)
	}
}

// TestAShiftedTruthIsAViolationForAll: the observer does not compare clocks with themselves.
func TestAShiftedTruthIsAViolationForAll(t *testing.T) {
	for _, shift := range []float64{-100e-6, 100e-6} {
		w := newWorld(t, 37, -52, 11)
		for i := range w.hosts {
			w.publish(i, 1e-6, 10e-6, 60e-6)
		}
		w.mustSample()
		if n := w.tally.violations(); n != 0 {
			t.Fatalf("%d violations before", n)
		}
		w.setTruth(shift)
		w.pass(0.01)
		w.mustSample()
		for i := range w.hosts {
			if w.tally.hosts[i].violations == 0 {
				t.Errorf("truth shifted by %g s: host %d was believed", shift, i)
			}
		}
	}
}

// TestAClaimIsCheckedWhereItBegins: a claim that is wrong for a moment only, between two samples, is found too.
func TestAClaimIsCheckedWhereItBegins(t *testing.T) {
	w := newWorld(t, 0)
	w.publish(0, 0, 10e-6, 60e-6)
	w.mustSample()
	w.pass(0.005)
	// True time is 1 µs outside here, but the interval grows so fast that 5 ms later it is inside.
	w.publish(0, 11e-6, 10e-6, 1e-3)
	w.pass(0.005)
	w.mustSample()
	if l := w.looks[0]; !l.held {
		t.Fatalf("the test is wrong: at the sample the claim did not hold: error %g, bound %g", l.error, l.bound)
	}
	if n := w.tally.violations(); n != 1 {
		t.Errorf("%d violations, not the one at the beginning", n)
	}
}

// TestAClaimIsCheckedWhereItEnds: and one that goes wrong after the last sample, before the next publication.
func TestAClaimIsCheckedWhereItEnds(t *testing.T) {
	w := newWorld(t, 50)
	w.publish(0, 9.9e-6, 10e-6, 1e-6) // its counter is 50 ppm off, and it claims 1 ppm
	w.pass(0.001)
	w.mustSample()
	if n := w.tally.violations(); n != 0 {
		t.Fatalf("the test is wrong: %d violations already", n)
	}
	w.pass(0.009)
	w.publish(0, 0, 10e-6, 60e-6)
	w.mustSample()
	if n := w.tally.violations(); n != 1 {
		t.Errorf("%d violations, not the one at the end", n)
	}
}

func TestWhoClaimsNothingViolatesNothing(t *testing.T) {
	w := newWorld(t, 37, -52)
	w.publish(0, 3e-6, 10e-6, 60e-6)
	w.mustSample()
	if w.looks[1].sound || w.tally.hasSynchronised || w.tally.total.accuracy.known || w.tally.second.precision.known {
		t.Error("a host that was never synchronised counts as one that is")
	}
	w.publish(1, 3, 10, 60e-6) // seconds off, and says so
	w.mustSample()
	if w.tally.violations() != 0 || !w.tally.hasSynchronised || w.tally.hasComeClose || !near(w.tally.total.accuracy.value, 3, 1e-6) {
		t.Errorf("an honest bad clock: %+v", w.tally)
	}
	w.pass(25) // past the deadline of both
	w.mustSample()
	if h := w.tally.hosts[0]; w.looks[0].sound || h.unsound != 1 || w.tally.violations() != 0 {
		t.Errorf("a void publication: %+v", h)
	}
}

// busy is a clock that publishes whenever it is looked at, some times.
type busy struct {
	clock
	times int
	epoch virtualclock.Epoch
	why   reason.Code
}

func (b *busy) Coefficients() (virtualclock.Coefficients, reason.Code) {
	k, why := b.clock.Coefficients()
	if b.times > 0 {
		b.times--
		b.epoch++
		why = b.why
	}
	k.Epoch += b.epoch
	return k, why
}

func TestASampleWaitsUntilNobodyPublishes(t *testing.T) {
	for _, c := range []struct {
		times int
		why   reason.Code
		good  bool
	}{{0, reason.OK, true}, {3, reason.OK, true}, {1000, reason.OK, false}, {1000, reason.PageTorn, false}} {
		w := newWorld(t, 37)
		w.publish(0, 0, 10e-6, 60e-6)
		w.subjects[0].clock = &busy{clock: w.subjects[0].clock, times: c.times, why: c.why}
		if got := w.sample(); got != c.good {
			t.Errorf("%d publications in the way: sample is %v", c.times, got)
		}
		if got := w.tally.samples == 1; got != c.good {
			t.Errorf("%d publications in the way: %d samples", c.times, w.tally.samples)
		}
	}
}

// torn is a page whose writer was interrupted for good.
type torn struct{}

func (torn) Coefficients() (virtualclock.Coefficients, reason.Code) {
	return virtualclock.Coefficients{}, reason.PageTorn
}

func TestThereIsNoSampleWithoutTrueTimeOrOfATornPage(t *testing.T) {
	w := newWorld(t, 37)
	w.publish(0, 0, 10e-6, 60e-6)
	good := w.observer.truth
	w.observer.truth = virtualclock.NewLocal(w.base)
	if w.sample() {
		t.Error("there was a sample without a master")
	}
	w.observer.truth, w.subjects[0].clock = good, torn{}
	if w.sample() {
		t.Error("there was a sample of a torn page")
	}
}

func TestWhatTheObserverKnowsOfTheOscillators(t *testing.T) {
	w := newWorld(t, 40)
	w.publish(0, 0, 10e-6, 60e-6)
	w.pass(2)
	w.mustSample()
	if y := w.oscillatorPPM(0); !near(y, 40, 1e-9) {
		t.Errorf("its error is 40 ppm, not %g", y)
	}
	if x := w.leftAlone(0, worldStart); !near(x, 80e-6, 2e-9) {
		t.Errorf("left alone for 2 s it would be 80 µs off, not %g", x)
	}
	if x := w.elapsed(worldStart, w.base.Read()); x != 2 {
		t.Errorf("2 s have passed, not %g", x)
	}
}

// TestHonestClaimsAreNeverBlamed: random oscillators, publications and samples; every claim is right by construction.
func TestHonestClaimsAreNeverBlamed(t *testing.T) {
	r := rand.New(rand.NewPCG(testkit.Seed(t), 0))
	for range 200 {
		ppm := []float64{100 * (2*r.Float64() - 1), 100 * (2*r.Float64() - 1)}
		w := newWorld(t, ppm...)
		for range 30 {
			i := r.IntN(2)
			bound := 1e-9 + 50e-6*r.Float64()
			// A tick of margin, in time and in rate, for the rounding of this test's own construction.
			wrong := (bound - 1e-9) * (2*r.Float64() - 1) * 0.999
			w.publish(i, wrong, bound, math.Abs(ppm[i])*1e-6*1.001+1e-9)
			for range r.IntN(3) {
				w.pass(r.Float64())
				w.mustSample()
			}
		}
		if n := w.tally.violations(); n != 0 {
			t.Fatalf("%d violations of honest claims, by up to %g s; oscillators %v", n, max(w.tally.hosts[0].worst, w.tally.hosts[1].worst), ppm)
		}
	}
}
