package agreement

import "testing"

// lanSoftware is the network and oscillator of the scenario lan_sw: 50 µs + Exp(10 µs) each way, frequency walk 1e-9/√s.
func lanSoftware(w *world) {
	w.queue = func() float64 { return w.rng.ExpFloat64() * 10e-6 }
	w.drift, w.point = driftQuiet, true
}

// TestHonestPrecision: five honest members on a quiet network with 1 s rounds are within 1 µs RMS of each other, far under what is
// promised in the worst case. Two real oscillators hardly ever differ by more than ρ; where they do, the rate limit must be 2ρ.
func TestHonestPrecision(t *testing.T) {
	for seed := range uint64(4 * seeds) {
		c := testConfig(5, 1, IntervalMidpoint)
		c.RateLimit = c.Drift
		wide := seed%4 == 3
		if wide {
			c.RateLimit = 2 * c.Drift
		}
		w := newWorld(t, 500+seed, c, 0, 1e-3)
		lanSoftware(w)
		w.probe = 0.125
		for _, h := range w.hosts {
			if !wide {
				h.drift *= 0.5
			}
		}
		if !w.inSync(30) {
			t.Fatalf("seed %d: not in sync", seed)
		}
		w.run(90)
		w.measuring = true
		w.run(90)
		b := w.check("honest", 1e-9)
		t.Logf("seed %d: RMS pairwise %.3f µs, largest %.2f µs, bound π_v %.0f µs, own far edge %.0f µs", seed, w.seen.rmsPair()*1e6, w.seen.precision*1e6,
			b.Precision*1e6, w.seen.farEdge*1e6)
		if rms := w.seen.rmsPair(); rms > 1e-6 {
			t.Errorf("seed %d: RMS pairwise %.2f µs", seed, rms*1e6)
		}
	}
}

// TestRateCorrectionKeepsBounds: with rates learnt and an adversary that lies on them too, or oscillators that jump, the bounds hold with
// the drift that the rate limit allows.
func TestRateCorrectionKeepsBounds(t *testing.T) {
	for seed := range uint64(8 * seeds) {
		c := testConfig(7, 2, IntervalMidpoint)
		c.RateLimit = c.Drift
		w := newWorld(t, 600+seed, c, 2, 1e-3)
		w.point = true
		w.drift = driftMode(seed % uint64(driftModes))
		if seed >= 4 {
			w.delay = unfairDelays(w)
		}
		shift := shifted(splitter)
		w.lie = func(w *world, l, d *host, honest State) (State, bool) {
			s, ok := shift(w, l, d, honest)
			rate := c.RateLimit * float64(1-2*(d.id%2)) // two-faced in the rate too
			for _, m := range []*Map{&s.Current, &s.Previous} {
				m.Rate = rate
			}
			return s, ok
		}
		if !w.inSync(60) {
			t.Fatalf("seed %d: not in sync", seed)
		}
		w.run(10)
		w.measuring = true
		w.run(40)
		w.check("two-faced rates", 1e-9)
	}
}
