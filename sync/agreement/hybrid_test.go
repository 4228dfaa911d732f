package agreement

import (
	"math"
	"testing"

	"github.com/clockd/clockd/virtualclock"
)

// abstractPull is theory 4.2 in the abstract rounds: every member has masters that are wrong by up to alpha, as the adversary likes it, and
// the liars lie on UTC too.
func abstractPull(e *ExternalModel, alpha float64) func(*rounds, int, float64, float64) float64 {
	return func(g *rounds, p int, s, internal float64) float64 {
		utc, side := s+g.true0, g.side(p)
		if g.strategy >= 6 {
			side = -side
		}
		g.in = g.in[:0]
		for q := range g.x {
			wrong := alpha
			if g.strategy != 4 && q%2 == 0 {
				wrong = -alpha
			}
			if g.strategy == 3 {
				wrong = alpha * g.draw[q] // the same for all observers: estimates are fixed when they are published
			}
			read := side * g.model.ReadingError
			if q == p {
				read = 0
			}
			v := utc + wrong + read
			g.in = append(g.in, Interval{v - g.model.ReadingError, v + g.model.ReadingError})
		}
		for range g.liars {
			g.in = append(g.in, Interval{utc + side*1e3, utc + side*1e3})
		}
		x, _ := FaultTolerantInterval(g.in, e.Faults, nil)
		return e.Gain * min(max(x.Centre()-internal, -e.Clamp), e.Clamp)
	}
}

// TestHybridBounds is theory 4.2 in the abstract rounds: Π and α_v stay under their bounds and come near them, for good and bad masters and
// all gains.
func TestHybridBounds(t *testing.T) {
	for _, n := range []int{4, 7} {
		for _, alpha := range []float64{10e-6, 100e-6, 500e-6} {
			for _, gain := range []float64{0.1, 0.5, 1} {
				m := paperModel(n, MaxFaults(n), IntervalMidpoint)
				m.External = &ExternalModel{Gain: gain, Error: alpha, Members: n, Faults: m.Faults, Clamp: 5e-3}
				b, err := Bounds(m)
				if err != nil {
					t.Fatal(err)
				}
				eps, gamma := m.ReadingError, b.Gamma
				unclamped := 2 * (2*eps + gain*alpha + gamma) / (1 + gain)
				accuracy := alpha + (eps+m.Drift*(m.Period+eps+m.pull())/(1-m.Drift))/gain
				if want := max(4*eps+2*gamma, unclamped); b.Spread < want || b.Spread > want*1.005 || math.Abs(b.Accuracy-accuracy) > 1e-12 {
					t.Errorf("n %d α_e %g G %g: Π %g, the formula says %g; α_v %g, %g", n, alpha, gain, b.Spread, want, b.Accuracy, accuracy)
				}
				var most measured
				for strategy := range strategies {
					g := newRounds(uint64(n), m, strategy)
					g.pull = abstractPull(m.External, alpha)
					for k := range 400 {
						g.round(k >= 150)
					}
					most.spread, most.accuracy, most.precision = max(most.spread, g.seen.spread), max(most.accuracy, g.seen.accuracy), max(most.precision, g.seen.precision)
				}
				t.Logf("n %d α_e %3.0f µs G %.1f: Π %.1f of %.1f µs, α_v %.1f of %.1f µs", n, alpha*1e6, gain, most.spread*1e6, unclamped*1e6, most.accuracy*1e6, b.Accuracy*1e6)
				if most.spread > unclamped*1.005 || most.accuracy > b.Accuracy+1e-12 || most.precision > b.SteppedPrecision {
					t.Errorf("n %d α_e %g G %g: a bound is exceeded: %+v against %+v", n, alpha, gain, most, b)
				}
				if most.spread < 0.9*unclamped || most.accuracy < 0.9*b.Accuracy {
					t.Errorf("n %d α_e %g G %g: the adversary stays far from the bounds: this test has no teeth", n, alpha, gain)
				}
			}
		}
	}
}

// hybridConfig is testConfig with a pull.
func hybridConfig(n, f int, alpha float64) Config {
	c := testConfig(n, f, IntervalMidpoint)
	c.ReadingError = 200e-6
	c.Gain, c.ExternalError, c.ExternalFaults = 0.125, alpha, -1
	return c
}

// mastersWithin gives every host masters that are wrong by up to alpha, always in the same direction, and say so.
func mastersWithin(w *world, alpha float64) func(*host) External {
	return func(h *host) External {
		wrong := alpha * (2*w.rng.Float64() - 1)
		if w.seed%2 == 0 {
			wrong = alpha * math.Copysign(1, math.Sin(float64(h.id)))
		}
		return External{Known: true, At: h.rawAt(w.now), Base: w.truth().AddSeconds(wrong), Low: -alpha, High: alpha}
	}
}

// checkHybrid compares with the bounds of theory 4.2 for the recorded ε. The estimates age by up to a round and a bit until they are used.
func (w *world) checkHybrid(name string, alpha float64, withMasters int) {
	w.t.Helper()
	w.check(name, 1e-9)
	m := w.config.Model()
	m.ReadingError, m.Lateness = w.seen.epsilon, 2e-9
	m.External.Members, m.External.Error = withMasters, alpha+1.2*m.Drift*m.Period
	b, err := Bounds(m)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Logf("%s, seed %d: Π %.1f of %.1f, π_v %.1f of %.1f, α_v %.1f of %.1f µs", name, w.seed, w.seen.spread*1e6, b.Spread*1e6, w.seen.precision*1e6,
		b.Precision*1e6, w.seen.accuracy*1e6, b.Accuracy*1e6)
	if w.seen.accuracy > b.Accuracy || w.seen.utcMiss != 0 {
		w.t.Errorf("%s, seed %d: α_v %.1f µs is above its bound %.1f, or UTC was outside its interval (%d times)", name, w.seed, w.seen.accuracy*1e6, b.Accuracy*1e6, w.seen.utcMiss)
	}
}

// TestHybrid: with masters the group comes to UTC and stays within α_v of it, its precision holds; two of seven lie about their clocks and
// about UTC.
func TestHybrid(t *testing.T) {
	for seed := range uint64(4 * seeds) {
		const alpha = 300e-6
		w := newWorld(t, 7000+seed, hybridConfig(7, 2, alpha), 2, 1e-3)
		w.masters = mastersWithin(w, alpha)
		w.drift = driftMode(seed % uint64(driftModes))
		lieAboutClocks := shifted(splitter)
		w.lie = func(w *world, l, d *host, honest State) (State, bool) {
			s, ok := lieAboutClocks(w, l, d, honest)
			for _, e := range []*External{&s.External, &s.ExternalPrevious} {
				e.Base = e.Base.AddSeconds(1e-3 * float64(1-2*(d.id%2)))
			}
			return s, ok
		}
		if !w.inSync(60) {
			t.Fatalf("seed %d: not in sync", seed)
		}
		w.run(60)
		w.measuring = true
		w.run(60)
		w.checkHybrid("masters for all", alpha, 7)
	}
}

// TestHybridDegrades: masters vanish and the group stays together, its interval of UTC grows and holds; they return and it goes back to
// UTC, no faster than it may be dragged.
func TestHybridDegrades(t *testing.T) {
	for seed := range uint64(2 * seeds) {
		const alpha = 200e-6
		c := hybridConfig(7, 2, alpha)
		w := newWorld(t, 7100+seed, c, 2, 1e-3)
		w.lie = shifted(splitter)
		good := mastersWithin(w, alpha)
		w.masters = good
		if !w.inSync(60) {
			t.Fatalf("seed %d: not in sync", seed)
		}
		w.run(30)
		w.measuring = true
		w.run(30)
		w.checkHybrid("with masters", alpha, 7)

		w.masters = func(*host) External { return External{} }
		w.seen = measured{}
		w.run(300)
		w.check("without masters", 1e-9)
		lost := w.seen.accuracy
		i, ok := w.hosts[0].group.UTC(w.hosts[0].rawAt(w.now))
		if !ok || i.HalfWidth() < 300*c.Drift || w.seen.utcMiss != 0 {
			t.Errorf("seed %d: after 300 s without masters UTC is said to be in %v (%v), missed %d times", seed, i, ok, w.seen.utcMiss)
		}
		w.masters = good
		w.seen = measured{}
		fastest := 0.0
		w.onRound = func(h *host, _, _ virtualclock.Time, o *Outcome) {
			if !h.liar {
				fastest = max(fastest, math.Abs(o.Pull))
			}
		}
		w.run(120)
		w.seen = measured{}
		w.run(30)
		w.checkHybrid("with masters again", alpha, 7)
		limit := w.hosts[0].group.config.Gain * w.hosts[0].group.config.Clamp
		t.Logf("seed %d: %.0f µs from UTC after 300 s without masters; pulled back by up to %.1f µs a round, limit %.1f", seed, lost*1e6, fastest*1e6, limit*1e6)
		if fastest > limit+1e-12 {
			t.Errorf("seed %d: dragged by %g s in a round", seed, fastest)
		}
	}
}

// TestHybridBadMasters: while at most f_e members' masters are wrong the clock stays at UTC; with fewer than 2f_e+1 members that have
// masters nobody is moved; when all are wrong alike, the group goes with them, slowly, and together.
func TestHybridBadMasters(t *testing.T) {
	const alpha = 200e-6
	c := hybridConfig(7, 2, alpha)
	c.MaxDrag = 400e-6
	start := func(bad func(h *host) (float64, bool)) *world {
		w := newWorld(t, 7200, c, 0, 1e-3)
		good := mastersWithin(w, alpha)
		w.masters = func(h *host) External {
			e := good(h)
			by, known := bad(h)
			e.Base, e.Known = e.Base.AddSeconds(by), known
			if !known {
				return External{}
			}
			return e
		}
		if !w.inSync(60) {
			t.Fatal("not in sync")
		}
		w.run(60)
		w.measuring = true
		w.run(30)
		return w
	}
	w := start(func(h *host) (float64, bool) { return 0.5 * float64(h.id/5), true })
	w.checkHybrid("two of seven wrong by half a second", alpha, 7)

	w = start(func(h *host) (float64, bool) { return 0, h.id < 4 })
	w.check("masters at four of seven", 1e-9)
	for _, h := range w.hosts {
		if o := h.group.outcome; o.Pull != 0 || o.Masters != 4 {
			t.Errorf("with %d masters it is pulled by %g s", o.Masters, o.Pull)
		}
	}

	turned := false
	w = start(func(*host) (float64, bool) {
		if turned {
			return 0.5, true
		}
		return 0, true
	})
	turned = true
	w.run(30)
	w.check("all wrong by half a second", 1e-9)
	a := w.hosts[0].group.Target(w.hosts[0].rawAt(w.now)).Seconds(w.truth())
	w.run(20)
	moved := w.hosts[0].group.Target(w.hosts[0].rawAt(w.now)).Seconds(w.truth()) - a
	if moved < 20*200e-6 || moved > 20*(c.MaxDrag+c.Drift+1e-5)+1e-3 {
		t.Errorf("in 20 s the group was dragged by %g s", moved)
	}
}

// TestHybridAlone: a member without peers follows its own masters, slewing, and its interval of the others holds.
func TestHybridAlone(t *testing.T) {
	const alpha = 100e-6
	w := newWorld(t, 7300, hybridConfig(7, 2, alpha), 0, 1e-3)
	w.masters = mastersWithin(w, alpha)
	if !w.inSync(60) {
		t.Fatal("not in sync")
	}
	w.run(40)
	alone := w.hosts[0]
	w.cut = func(a, b *host) bool { return (a == alone) != (b == alone) }
	w.run(10)
	w.measuring = true
	w.run(200)
	raw := alone.rawAt(w.now)
	far := math.Abs(alone.group.Display(raw).Seconds(w.truth()))
	if b := alone.bound(w); b.Status != virtualclock.Holdover || w.seen.disjoint != 0 || w.seen.utcMiss != 0 || w.seen.backwards != 0 {
		t.Errorf("alone it is %v; intervals did not meet %d times, UTC was missed %d times", b.Status, w.seen.disjoint, w.seen.utcMiss)
	}
	if far > alpha+2*50e-6 {
		t.Errorf("alone it is %g s from UTC with masters that are within %g s", far, alpha)
	}
}

// TestHybridHonest: with rates learnt and masters that are a few microseconds off, the group is at UTC within little more than what they
// are off on average; without the rates it would lag by drift·P/G.
func TestHybridHonest(t *testing.T) {
	for seed := range uint64(2 * seeds) {
		const alpha = 20e-6
		c := hybridConfig(5, 1, alpha)
		c.RateLimit = 2 * c.Drift
		w := newWorld(t, 7400+seed, c, 0, 1e-3)
		lanSoftware(w)
		wrong := make([]float64, c.Members)
		for i := range wrong {
			wrong[i] = 10e-6 * (2*w.rng.Float64() - 1)
		}
		w.masters = func(h *host) External {
			return External{
				Known: true, At: h.rawAt(w.now), Base: w.truth().AddSeconds(wrong[h.id] + 2e-6*w.rng.NormFloat64()), Low: -alpha, High: alpha,
				Rate: -h.drift / (1 + h.drift),
			}
		}
		if !w.inSync(60) {
			t.Fatalf("seed %d: not in sync", seed)
		}
		w.run(120)
		w.measuring = true
		w.run(60)
		w.checkHybrid("honest masters", alpha, 5)
		if w.seen.accuracy > 15e-6 || w.seen.rmsPair() > 1.5e-6 {
			t.Errorf("seed %d: %.2f µs from UTC, %.2f µs RMS from one another", seed, w.seen.accuracy*1e6, w.seen.rmsPair()*1e6)
		}
	}
}
