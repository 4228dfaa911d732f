package roundtrip

import (
	"math"
	"testing"

	"github.com/clockd/clockd/reason"
)

// TestRateBoundContainsTruth: while the oscillator keeps to its wander bound, the intervals contain the truth, and are far
// narrower than with the drift bound alone.
func TestRateBoundContainsTruth(t *testing.T) {
	const bound = 2e-6
	for seed := range uint64(60) {
		w := newWorld(seed, 50e-6)
		w.bang = false
		middle := w.drift * 0.9
		w.drift = middle
		raw := w.rawLine()
		with := NewFilter(raw, FilterConfig{Drift: 50e-6, Granularity: 1e-9, Wander: Wander{bound, WanderPeriod}})
		without := NewFilter(raw, FilterConfig{Drift: 50e-6, Granularity: 1e-9})
		var narrow, wide float64
		for i := range 600 {
			s := w.exchange(50e-6, 10e-6, 0, 0)
			if code := with.Update(&s, true); code != reason.OK {
				t.Fatalf("seed %d sample %d: %v", seed, i, code)
			}
			without.Update(&s, true)
			w.pass(16)
			checkReading(t, seed, i, w, raw, with)
			r, u := with.Reading(w.ticks()), without.Reading(w.ticks())
			if i > 50 {
				narrow += r.High - r.Low
				wide += u.High - u.Low
			}
			if r.High-r.Low > (u.High-u.Low)*(1+1e-9) {
				t.Fatalf("seed %d sample %d: an assumption more made the interval wider", seed, i)
			}
			if w.rng.IntN(200) == 0 {
				w.pass(3 * WanderPeriod) // a long holdover, past what the measured rate vouches for
				checkReading(t, seed, i, w, raw, with)
			}
			// Anywhere within bound/2 of the middle: any two instants differ by no more than the bound.
			w.drift = middle + bound/2.02*(2*w.rng.Float64()-1)
		}
		if narrow > 0.3*wide {
			t.Errorf("seed %d: the wander bound makes the intervals only %.2f times as wide", seed, narrow/wide)
		}
	}
}

// TestRateBoundBroken: a frequency step beyond the wander bound is noticed, and the bound falls back to the drift bound.
func TestRateBoundBroken(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(seed, 50e-6)
		w.bang, w.drift = false, 10e-6
		raw := w.rawLine()
		f := NewFilter(raw, FilterConfig{Drift: 50e-6, Granularity: 1e-9, Wander: Wander{1e-6, WanderPeriod}})
		for range 100 {
			s := w.exchange(50e-6, 10e-6, 0, 0)
			f.Update(&s, true)
			w.pass(16)
		}
		w.drift = -20e-6
		noticed := false
		for range 100 {
			s := w.exchange(50e-6, 10e-6, 0, 0)
			noticed = f.Update(&s, true) == reason.SampleEmptyInterval || f.rates.Broken > 0 || noticed
			w.pass(16)
		}
		if !noticed {
			t.Errorf("seed %d: a step of 30 ppm with a wander bound of 1 ppm went unnoticed", seed)
		}
		if least, most := f.rates.Rates(raw, w.ticks(), 1); least > 1/(1-20e-6)-1 || most < 1/(1-20e-6)-1 {
			t.Errorf("seed %d: the rate 20 ppm is outside [%g, %g] long after the step", seed, least, most)
		}
	}
}

// TestRateBoundOff: without a wander bound it is the drift bound, however much is observed.
func TestRateBoundOff(t *testing.T) {
	w := newWorld(1, 50e-6)
	raw := w.rawLine()
	b := NewRateBound(50e-6, Wander{})
	for range 100 {
		b.Observe(raw, w.ticks(), -1e-6, 1e-6)
		w.pass(10)
	}
	least, most := b.Rates(raw, w.ticks(), 10)
	if math.Abs(least+50e-6/(1+50e-6)) > 1e-18 || math.Abs(most-50e-6/(1-50e-6)) > 1e-18 {
		t.Errorf("rates [%g, %g]", least, most)
	}
}
