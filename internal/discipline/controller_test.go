package discipline

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
)

func worlds(t *testing.T, n int, f func(t *testing.T, r *rand.Rand)) {
	seed := testkit.Seed(t)
	for i := range n {
		f(t, rand.New(rand.NewPCG(seed, uint64(i))))
		if t.Failed() {
			t.Fatalf("in world %d", i)
		}
	}
}

// check holds the clock's own words against the truth: whoever reads it at any moment is within maxerror.
func (w *world) check(t *testing.T) {
	t.Helper()
	if w.kernel.k.Status&StatusUnsync != 0 {
		return
	}
	if off := math.Abs(w.offset()); off > float64(w.kernel.maxError)*1e-6 {
		t.Fatalf("at %.3f s the clock is off by %.1f µs and says %d µs; last order %+v", w.kernel.truth, off*1e6, w.kernel.maxError, w.lastOrder)
	}
}

// run lets the world go on, with reads at random moments.
func (w *world) run(t *testing.T, seconds float64, spread float64) {
	t.Helper()
	end := w.kernel.truth + seconds
	for w.kernel.truth < end {
		if w.kernel.truth >= w.nextSync {
			w.synchronise(spread)
			w.nextSync = w.kernel.truth + 4 + 28*w.r.Float64()
			if w.edges {
				w.nextSync = w.kernel.truth + 0.5
			}
		}
		w.status()
		before := w.kernel.ns
		w.update()
		w.check(t)
		next := w.kernel.truth + w.config.Interval*(0.9+0.2*w.r.Float64())
		for range 3 {
			w.kernel.advance(w.kernel.truth + (next-w.kernel.truth)*w.r.Float64())
			w.check(t)
		}
		w.kernel.advance(next)
		w.check(t)
		if w.kernel.ns < before {
			w.backwards++
		}
		if w.jumps && w.r.IntN(2) == 0 {
			w.kernel.oscillator = -w.kernel.oscillator
		}
		// The oscillator wanders within what is vouched for.
		w.kernel.oscillator = min(max(w.kernel.oscillator+w.r.NormFloat64()*2e-9, -w.drift), w.drift)
	}
}

// What the clock says of its error is true at every moment, whatever the network, the oscillator and the scheduler do, and goes on being
// true for ever after the daemon was killed.
func TestMaxErrorIsTrue(t *testing.T) {
	worlds(t, 60, func(t *testing.T, r *rand.Rand) {
		w := newWorld(r, Policy(r.IntN(3)))
		w.kernel.ns += int64((2*r.Float64() - 1) * math.Pow(10, 9-9*r.Float64()+1))
		spread := math.Pow(10, -6+4*r.Float64())
		w.run(t, 120, spread)
		if r.IntN(2) == 0 {
			w.sound = false
			w.run(t, 20, spread)
			if w.kernel.k.Status&StatusUnsync == 0 {
				t.Fatal("a clock that promises nothing was not called unsynchronised")
			}
			w.sound = true
			w.run(t, 40, spread)
		}
		if w.kernel.k.Status&StatusUnsync != 0 {
			t.Fatalf("a sound clock is called unsynchronised: %+v", w.lastOrder)
		}
		if w.kernel.contestants != 0 {
			t.Fatalf("%d times somebody else was suspected", w.kernel.contestants)
		}
		for range 2000 { // dead
			w.kernel.advance(w.kernel.truth + 4*r.Float64())
			w.check(t)
		}
	})
}

// Nothing in maxerror can be left out: where all errors are as large as they may be it is nearly reached.
func TestMaxErrorIsNotTooSmallAtTheEdges(t *testing.T) {
	worlds(t, 20, func(t *testing.T, r *rand.Rand) {
		w := newWorld(r, StepStart)
		w.edges, w.jumps, w.readNoise = true, true, 1e-7
		w.kernel.oscillator = w.drift
		w.run(t, 200, 1e-8)
	})
	worlds(t, 20, func(t *testing.T, r *rand.Rand) {
		w := newWorld(r, StepStart)
		w.edges, w.readNoise, w.drift = true, 1e-4, 1e-7
		w.kernel.oscillator, w.kernel.base = 0.9e-7, 0
		w.run(t, 600, 1e-8)
	})
}

// It converges to what the reading of the clock allows, and stays there.
func TestItConverges(t *testing.T) {
	worst := 0.0
	worlds(t, 40, func(t *testing.T, r *rand.Rand) {
		w := newWorld(r, StepStart)
		w.kernel.ns += int64((2*r.Float64() - 1) * 2e9)
		for w.run(t, 2, 1e-6); math.Abs(w.lag()) > 10*w.readNoise+1e-5; w.run(t, 1, 1e-6) {
			if w.kernel.truth > 400 { // 0.1 s, which is not stepped, at 300 ppm and more
				t.Fatalf("after 400 s it is still %g s off", w.lag())
			}
		}
		w.run(t, 200, 1e-6)
		sum, n := 0.0, 0
		for range 100 {
			w.run(t, 1, 1e-6)
			sum, n = sum+w.lag()*w.lag(), n+1
		}
		rms := math.Sqrt(sum / float64(n))
		worst = max(worst, rms/w.readNoise)
		if rms > 1.5*w.readNoise+0.3e-6 {
			t.Errorf("the clock is off the virtual clock by %.3g s (root mean square) where reading it is wrong by up to %.3g s", rms, w.readNoise)
		}
	})
	t.Logf("worst root mean square error: %.2f of a bracket", worst)
}

// A clock that may not be stepped never goes backwards, and gets there all the same.
func TestItNeverStepsAgainstThePolicy(t *testing.T) {
	worlds(t, 20, func(t *testing.T, r *rand.Rand) {
		w := newWorld(r, StepNever)
		w.kernel.ns += int64((2*r.Float64() - 1) * 0.5e9)
		w.run(t, 2500, 1e-6)
		if w.backwards > 0 {
			t.Errorf("%d times it went backwards", w.backwards)
		}
		if math.Abs(w.lag()) > w.readNoise+1e-5 {
			t.Errorf("after 2500 s it is off by %g s", w.lag())
		}
	})
	worlds(t, 20, func(t *testing.T, r *rand.Rand) {
		w := newWorld(r, StepStart)
		w.kernel.ns += 30e9
		w.run(t, 20, 1e-6)
		if math.Abs(w.offset()) > 1e-3 {
			t.Fatalf("it was not stepped at the start: off by %g s", w.offset())
		}
		w.kernel.ns += 5e8 // somebody's hand
		r2 := w.reading()
		if why := w.controller.Moved(r2); why != reason.ClockContested {
			t.Errorf("half a second by another hand: %v", why)
		}
		if o := w.controller.Update(r2); o.StepNS != 0 {
			t.Errorf("later it is stepped by %d ns all the same", o.StepNS)
		}
	})
}

// Whatever another program does to the clock shows at the next look.
func TestAnotherHandIsSeen(t *testing.T) {
	hands := map[string]func(w *world){
		"frequency": func(w *world) { w.kernel.k.Freq += 3 },
		"tick":      func(w *world) { w.kernel.k.Tick++ },
		"step":      func(w *world) { w.kernel.ns -= 20e6 },
		"loop":      func(w *world) { w.kernel.k.Status |= StatusPLL },
		"offset":    func(w *world) { w.kernel.k.Offset = 1000 },
	}
	for name, hand := range hands {
		worlds(t, 10, func(t *testing.T, r *rand.Rand) {
			w := newWorld(r, StepAlways)
			w.run(t, 60, 1e-5)
			hand(w)
			if why := w.controller.Moved(w.reading()); why != reason.ClockContested {
				t.Errorf("%s: %v", name, why)
			}
		})
	}
}

// A leap second is announced to the kernel on its day, told once, and is over afterwards; between, the clock does not promise anything.
func TestLeapSecond(t *testing.T) {
	worlds(t, 20, func(t *testing.T, r *rand.Rand) {
		w := newWorld(r, StepNever)
		midnight := (w.epoch/86400 + 1) * 86400
		w.leap = Leap{At: midnight, Sign: 1}
		w.kernel.truth = float64(midnight-w.epoch) - 100
		w.kernel.ns = (midnight - 100) * 1e9
		w.nextSync = w.kernel.truth
		w.run(t, 97, 1e-5)
		if w.kernel.k.State != StateInsert {
			t.Fatalf("the kernel does not know: state %d, status %#x", w.kernel.k.State, w.kernel.k.Status)
		}
		// The virtual clock gives up before the leap second and comes back after it (internal/node).
		w.sound = false
		w.run(t, 6, 1e-5)
		w.sound, w.nextSync = true, w.kernel.truth
		w.run(t, 100, 1e-5)
		if w.kernel.contestants != 0 {
			t.Errorf("the leap second was taken for another hand %d times", w.kernel.contestants)
		}
		if math.Abs(w.offset()) > 1e-3+w.readNoise || w.kernel.k.State != StateOK || w.kernel.k.Status&(StatusUnsync|StatusInsert) != 0 {
			t.Errorf("after it the clock is off by %g s, state %d, status %#x, order %+v", w.offset(), w.kernel.k.State, w.kernel.k.Status, w.lastOrder)
		}
	})
}

func TestProgramming(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 10000 {
		rate := (2*r.Float64() - 1) * 0.1
		if r.IntN(2) == 0 {
			rate *= 1e-2
		}
		tick, freq := program(rate)
		if d := math.Abs(rateOf(tick, freq) - rate); d > FreqUnit {
			t.Fatalf("%g becomes tick %d, freq %d: %g off", rate, tick, freq, d)
		}
		if math.Abs(rate) <= 500e-6 && tick != NominalTick {
			t.Fatalf("%g changes the tick", rate)
		}
	}
	for _, x := range []float64{math.Inf(1), math.Inf(-1), 5, -5} {
		if tick, freq := program(x); tick < minTick || tick > maxTick || freq < -maxFreq || freq > maxFreq {
			t.Errorf("%g becomes tick %d, freq %d", x, tick, freq)
		}
	}
}
