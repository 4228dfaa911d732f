package roundtrip

import (
	"math"
	"testing"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
)

// TestEdgesAreAttained: for both edges there is an oscillator within the drift bound, and there are delays of at least 0, with which
// every stamp would have been the same and the truth would be on that edge. So nobody can claim a narrower interval from the same samples
// and the same assumptions without being wrong in one of these worlds (docs/bounds.md).
func TestEdgesAreAttained(t *testing.T) {
	type constraint struct {
		at    hw.Ticks
		bound float64
	}
	const rho = 50e-6
	for seed := range uint64(60) {
		w := newWorld(seed, rho)
		raw := w.rawLine()
		f := NewFilter(raw, FilterConfig{Drift: rho, Granularity: 1e-9})
		var uppers, lowers []constraint
		for range 60 {
			s := w.exchange(50e-6, 10e-6, 0, 0)
			if code := f.Update(&s, true); code != reason.OK {
				t.Fatalf("seed %d: %v", seed, code)
			}
			upper, upperAt, lower, lowerAt := f.constraints(&s)
			uppers, lowers = append(uppers, constraint{upperAt, upper}), append(lowers, constraint{lowerAt, lower})
			w.pass(w.rng.ExpFloat64() * 16)
		}
		// The highest and the lowest offset at reading h that any oscillator within the bound allows: both are such an oscillator.
		highest := func(h hw.Ticks) float64 {
			x := math.Inf(1)
			for _, c := range uppers {
				_, high := Spread(rho, 0, c.bound, raw.Elapsed(c.at, h))
				x = min(x, high)
			}
			return x
		}
		lowest := func(h hw.Ticks) float64 {
			x := math.Inf(-1)
			for _, c := range lowers {
				low, _ := Spread(rho, c.bound, 0, raw.Elapsed(c.at, h))
				x = max(x, low)
			}
			return x
		}
		now := w.ticks()
		r := f.Reading(now)
		if math.Abs(r.High-highest(now)) > 1e-12 || math.Abs(r.Low-lowest(now)) > 1e-12 {
			t.Errorf("seed %d: the interval is [%.12f, %.12f], the worlds reach [%.12f, %.12f]", seed, r.Low, r.High, lowest(now), highest(now))
		}
		for i := range uppers {
			// In the world of the upper edge the request takes upper − highest and the answer highest − lower, and so on.
			for _, delay := range []float64{
				uppers[i].bound - highest(uppers[i].at), highest(lowers[i].at) - lowers[i].bound,
				uppers[i].bound - lowest(uppers[i].at), lowest(lowers[i].at) - lowers[i].bound,
			} {
				if delay < -1e-12 {
					t.Errorf("seed %d, exchange %d: a packet of that world would have taken %g s", seed, i, delay)
				}
			}
		}
	}
}
