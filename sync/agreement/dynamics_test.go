package agreement

import (
	"fmt"
	"testing"
)

// groups are the (n, f) of theory 3.5.
func groups() [][2]int {
	if light {
		return [][2]int{{4, 1}, {5, 1}, {7, 2}}
	}
	return [][2]int{{4, 1}, {5, 1}, {7, 1}, {7, 2}, {10, 3}}
}

// arm gives a world an adversary, and a drift and delays by its seed.
func arm(w *world, a adversary, seed uint64) {
	w.lie = a.lie
	w.drift = driftMode(seed % uint64(driftModes))
	if a.worst && seed/2%2 == 0 {
		w.drift = driftSplit
	}
	w.point = seed%4 == 0
	if seed%4 != 0 {
		w.know() // so that the readings are as wrong as they may be
	}
	switch {
	case a.slow:
		w.delay = slowLiars(w)
	case seed%2 == 1:
		w.delay = unfairDelays(w)
	}
}

// check compares what was seen with the bounds for the recorded ε.
func (w *world) check(name string, slack float64) (guarantee Guarantee) {
	w.t.Helper()
	m := &w.seen
	model := w.config.Model()
	model.ReadingError, model.Lateness = m.epsilon, 2e-9
	if model.Algorithm == Egocentric {
		model.Radius = w.hosts[0].group.radius
	}
	b, err := Bounds(model)
	if err != nil {
		w.t.Fatal(err)
	}
	fail := func(ok bool, format string, a ...any) {
		w.t.Helper()
		if !ok {
			w.t.Errorf("%s, seed %d: "+format+"\n%v", append(append([]any{name, w.seed}, a...), m)...)
		}
	}
	fail(m.rounds >= 20*len(w.judged()) && m.skipped == 0 && m.steps == 0 && m.voids == 0, "rounds were missed")
	fail(m.wrong == 0, "a guaranteed reading was wrong")
	fail(m.convergence <= b.Convergence+slack, "δ_v %.2f µs is above its bound %.2f", m.convergence*1e6, b.Convergence*1e6)
	fail(m.spread <= b.Spread+slack, "Π %.2f µs is above its bound %.2f", m.spread*1e6, b.Spread*1e6)
	fail(m.precision <= b.Precision+slack, "π_v %.2f µs is above its bound %.2f", m.precision*1e6, b.Precision*1e6)
	fail(m.disjoint == 0, "intervals J of correct members did not meet")
	fail(m.outside == 0 && m.lost == 0, "an interval did not contain the own clock, or in holdover another's")
	fail(m.backwards == 0 && m.jumps == 0, "a clock jumped, or it or a latest edge went back")
	return b
}

// TestBoundsHold is theory 3.5 at message level: with at most f liars the observed δ_v, Π and π_v never exceed the bounds for the
// recorded a-posteriori ε, and the intervals J of correct members always meet.
func TestBoundsHold(t *testing.T) {
	for _, a := range []Algorithm{IntervalMidpoint, Average, Egocentric} {
		for _, nf := range groups() {
			t.Run(fmt.Sprintf("%v/%d,%d", a, nf[0], nf[1]), func(t *testing.T) {
				t.Parallel()
				boundsHold(t, testConfig(nf[0], nf[1], a))
			})
		}
	}
}

func boundsHold(t *testing.T, c Config) {
	var worst, ratio measured
	var at Guarantee
	var worstName string
	alone := 0
	for seed := range uint64(seeds) {
		for i, a := range adversaries() {
			if light && i%3 != 2 {
				continue
			}
			w := newWorld(t, 1000*seed+uint64(i), c, c.Faults, 1e-3)
			arm(w, a, seed+uint64(i))
			if !w.inSync(90) {
				t.Fatalf("%s, seed %d: not in sync after 90 s", a.name, w.seed)
			}
			w.run(6)
			w.measuring = true
			w.run(24)
			b := w.check(a.name, 1e-9)
			alone += w.seen.disjointNow
			if r := w.seen.spread / b.Spread; r > ratio.spread {
				ratio.spread, worst, at, worstName = r, w.seen, b, a.name
			}
			ratio.precision = max(ratio.precision, w.seen.precision/b.Precision)
		}
	}
	t.Logf("%v (%d,%d) nearest to its bound: %s ε %.1f  δ_v %.1f ≤ %.1f  Π %.1f ≤ %.1f  π_v %.1f ≤ %.1f µs (%.2f of Π, %.2f of π_v); one round's intervals apart %d times",
		c.Algorithm, c.Members, c.Faults, worstName, worst.epsilon*1e6, worst.convergence*1e6, at.Convergence*1e6, worst.spread*1e6, at.Spread*1e6,
		worst.precision*1e6, at.Precision*1e6, ratio.spread, ratio.precision, alone)
}
