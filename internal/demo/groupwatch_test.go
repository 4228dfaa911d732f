package demo

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/sync/agreement"
	"github.com/clockd/clockd/virtualclock"
)

const promisedHere = 300e-6

// newGroupWorld is a world without true time whose hosts are a group, the last liars of which lie.
func newGroupWorld(t *testing.T, liars int, ppm ...float64) *world {
	t.Helper()
	w := newWorld(t, ppm...)
	for i := range w.subjects {
		w.subjects[i].liar = i >= len(ppm)-liars
	}
	w.observer = newObserver(w.base, nil, w.subjects)
	w.group = newGroupWatch(agreement.Guarantee{Precision: promisedHere}, true, worldHertz, len(ppm))
	return w
}

// agree makes host i claim, at this moment, that the others' clocks are within the bound; its clock is wrong by so many seconds and
// gets there over slew seconds from where it was, 0 for a step.
func (w *world) agree(i int, wrong, bound, drift, slew float64) {
	w.t.Helper()
	s, now := w.hosts[i], w.hosts[i].Read()
	p := virtualclock.PeriodOf(worldHertz)
	c := virtualclock.NewClock(p, 1e-3)
	k, _ := w.clock[i].Coefficients()
	t, rate := w.now().AddSeconds(wrong), -s.Skew().PPM*1e-6/(1+s.Skew().PPM*1e-6)
	c.SetEpoch(k.Epoch)
	if slew > 0 {
		c.Step(now, k.Time(now), rate)
		c.SetMaxSlew(1e-3)
		c.Steer(now, t, rate, slew)
		t = k.Time(now)
	} else {
		c.Step(now, t, rate)
	}
	c.SetKind(virtualclock.Internal)
	c.SetBounds(now, t.AddSeconds(-bound), t.AddSeconds(bound), p.Scale(-drift), p.Scale(drift))
	c.SetStatus(virtualclock.Synchronised, now.Add(10*worldHertz), now.Add(20*worldHertz))
	if err := w.clock[i].Publish(c.Coefficients()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) mustHaveBroken(disjoint, edges, promise bool) {
	w.t.Helper()
	b := &w.group.broken
	if b.disjoint > 0 != disjoint || b.beyondEdges > 0 != edges || b.beyondPromise > 0 != promise {
		w.t.Errorf("%+v", *b)
	}
	if (w.tally.violations() > 0) != (disjoint || edges || promise) {
		w.t.Errorf("%d violations", w.tally.violations())
	}
}

func TestInternalClaimsNeedNoTrueTime(t *testing.T) {
	w := newGroupWorld(t, 0, 37, -52, 11)
	for i, wrong := range []float64{100, 100 + 20e-6, 100 - 30e-6} { // all 100 s from true time, which is nobody's business
		w.agree(i, wrong, 60e-6, 60e-6, 0)
	}
	w.pass(0.1)
	w.mustSample()
	w.mustHaveBroken(false, false, false)
	if p, a := w.tally.total.precision, w.tally.total.accuracy; !near(p.value, 50e-6, 3e-9) || a.known {
		t.Errorf("precision %+v, accuracy %+v", p, a)
	}
	if m, ok := w.middle(); !ok || !near(w.looks[1].time.Seconds(m), 25e-6, 3e-9) {
		t.Errorf("the middle of the clocks is %v", m)
	}
	if w.tally.hasComeClose || w.tally.hosts[0].errors.count != 0 || w.tally.hosts[0].bounds.count != 1 {
		t.Error("an error is known without true time")
	}
}

func TestIntervalsWithoutACommonPoint(t *testing.T) {
	w := newGroupWorld(t, 0, 37, -52, 11)
	for i, wrong := range []float64{0, 50e-6, 25e-6} {
		w.agree(i, wrong, 20e-6, 60e-6, 0)
	}
	w.mustSample()
	w.mustHaveBroken(true, true, false)
	if b := w.group.broken; b.i != 0 || b.j != 1 || !near(b.worst, 10e-6, 3e-9) || w.tally.hosts[2].violations != 0 {
		t.Errorf("%+v", b)
	}
}

func TestBeyondWhatWasPromised(t *testing.T) {
	w := newGroupWorld(t, 0, 37, -52)
	w.agree(0, 0, 500e-6, 60e-6, 0)
	w.agree(1, promisedHere+5e-6, 500e-6, 60e-6, 0)
	w.mustSample()
	w.mustHaveBroken(false, false, true)
	// Who is in holdover rests on what it knows itself.
	w = newGroupWorld(t, 0, 37, -52)
	w.agree(0, 0, 500e-6, 60e-6, 0)
	w.agree(1, promisedHere+5e-6, 500e-6, 60e-6, 0)
	w.pass(15)
	w.agree(0, 0, 5000e-6, 60e-6, 0)
	w.mustSample()
	w.mustHaveBroken(false, false, false)
	if w.looks[1].status != virtualclock.Holdover || !w.looks[1].sound {
		t.Errorf("the test is wrong: the status is %v", w.looks[1].status)
	}
}

func TestLiarsAreNobodysBusiness(t *testing.T) {
	w := newGroupWorld(t, 1, 37, -52, 11)
	for i, wrong := range []float64{0, 10e-6, 1} {
		w.agree(i, wrong, 20e-6, 60e-6, 0)
	}
	w.mustSample()
	w.mustHaveBroken(false, false, false)
	if p := w.tally.total.precision; !near(p.value, 10e-6, 3e-9) || w.tally.hosts[2].sampled != 0 {
		t.Errorf("precision %+v, %d samples of the liar", p, w.tally.hosts[2].sampled)
	}
}

// TestGroupIsCheckedWherePublicationsBegin: what is wrong between two samples only is found.
func TestGroupIsCheckedWherePublicationsBegin(t *testing.T) {
	w := newGroupWorld(t, 0, 0, 0)
	w.agree(0, 0, 20e-6, 1e-3, 0)
	w.agree(1, 0, 20e-6, 60e-6, 0)
	w.mustSample()
	w.mustHaveBroken(false, false, false)
	w.pass(0.002)
	w.agree(1, 42e-6, 1e-6, 5e-3, 0)
	w.agree(0, 0, 10e-6, 5e-3, 0)
	w.pass(0.008)
	w.mustSample() // 8 ms later both have grown by 40 µs and meet again
	if l := w.looks; l[0].interval.Latest.Before(l[1].interval.Earliest) {
		t.Fatal("the test is wrong: the intervals are apart at the sample")
	}
	w.mustHaveBroken(true, true, false)
}

// TestTheLargestDistanceIsAtABreakpoint: the clocks are furthest apart between two samples, where a slew ends.
func TestTheLargestDistanceIsAtABreakpoint(t *testing.T) {
	w := newGroupWorld(t, 0, 0, 0)
	w.agree(0, 0, 100e-6, 60e-6, 0)
	w.agree(1, 0, 100e-6, 60e-6, 0)
	w.mustSample()
	w.agree(1, 20e-6, 100e-6, 60e-6, 0.1) // it moves away for 0.1 s
	w.pass(0.15)
	w.agree(1, 2e-6, 100e-6, 60e-6, 0.03) // and back
	w.pass(0.1)
	w.mustSample()
	if p := w.tally.total.precision.value; !near(p, 20e-6, 3e-9) {
		t.Errorf("the clocks were 20 µs apart, not %g s", p)
	}
	if l := w.looks; !near(l[1].time.Seconds(l[0].time), 2e-6, 3e-9) {
		t.Error("the test is wrong: the clocks are still apart")
	}
	w.mustHaveBroken(false, false, false)
}

// TestConvergenceIsTakenAfterTheLastRound of the correct hosts, of the clocks that they are going to.
func TestConvergenceIsTakenAfterTheLastRound(t *testing.T) {
	w := newGroupWorld(t, 1, 0, 0, 0, 0)
	for i := range 4 {
		w.agree(i, 0, 100e-6, 60e-6, 0)
	}
	w.pass(0.1)
	w.mustSample()
	w.pass(0.8)
	targets := []float64{4e-6, -3e-6, 1e-6, 900e-6} // the liar's does not count
	for i, x := range targets {
		w.agree(i, x, 100e-6, 60e-6, 0.4)
		w.pass(0.001)
		if before := w.group.rounds; i == 1 {
			w.mustSample()
			if w.group.rounds != before {
				t.Error("the round is over before the last host has made it")
			}
		}
	}
	w.mustSample()
	if !near(w.group.total.value, 7e-6, 5e-9) || w.group.rounds == 0 {
		t.Errorf("δ_v is 7 µs, not %+v, in %d rounds", w.group.total, w.group.rounds)
	}
	w.newSecond()
	if w.group.second.known || !w.group.total.known {
		t.Error("a new second knows something of the old one, or the old ones are forgotten")
	}
}

// TestHonestGroupsAreNeverBlamed: random clocks and publications, each of which claims what is so by construction: that all correct clocks
// stay within half the bound of where they were published.
func TestHonestGroupsAreNeverBlamed(t *testing.T) {
	r := rand.New(rand.NewPCG(testkit.Seed(t), 3))
	for range 100 {
		ppm := make([]float64, 3)
		for i := range ppm {
			ppm[i] = 50 * (2*r.Float64() - 1)
		}
		w := newGroupWorld(t, 0, ppm...)
		for range 40 {
			i := r.IntN(3)
			slew := 0.0
			if k, _ := w.clock[i].Coefficients(); k.Status.Sound() && r.IntN(2) == 0 {
				slew = 0.001 + 0.05*r.Float64()
			}
			w.agree(i, 20e-6*(2*r.Float64()-1), 41e-6+20e-6*r.Float64(), 60e-6, slew)
			for range r.IntN(3) {
				w.pass(0.01 * r.Float64())
				w.mustSample()
			}
		}
		w.mustHaveBroken(false, false, false)
		if p := w.tally.total.precision; p.known && p.value > 40e-6*1.001 || math.IsNaN(p.value) {
			t.Fatalf("ppm %v: precision %g", ppm, p.value)
		}
	}
}
