package hw

import (
	"math"
	"math/rand/v2"
	"testing"
)

// mustOpenTSC opens the TSC or skips where this machine has none that can be trusted.
func mustOpenTSC(t testing.TB) Counter {
	t.Helper()
	c, err := Open("tsc")
	if err != nil {
		t.Skipf("no TSC to test: %v", err)
	}
	return c
}

// seeds runs a property for some seeds, each its own subtest, so that a failure names its seed.
func seeds(t *testing.T, n int, property func(t *testing.T, r *rand.Rand)) {
	t.Helper()
	for seed := range uint64(n) {
		r := rand.New(rand.NewPCG(seed, 0xc10cd))
		ok := t.Run("", func(t *testing.T) { property(t, r) })
		if !ok {
			t.Fatalf("seed %d", seed)
		}
	}
}

// randomSkew draws a skew in which every part of the model may be at work, with a bound of limitPPM.
func randomSkew(r *rand.Rand) Skew {
	k := Skew{
		Seed:     r.Uint64(),
		PPM:      (r.Float64() - 0.5) * 200,
		LimitPPM: 150 + r.Float64()*1000,
		Start:    Ticks(r.Uint64()),
		Origin:   Ticks(r.Uint64()),
	}
	if r.IntN(2) == 0 {
		k.WalkPerRootSecond = r.Float64() * 1e-6
	}
	if r.IntN(2) == 0 {
		k.Sine = Sine{r.Float64() * 50, 10 + r.Float64()*5000, r.Float64()}
	}
	for range r.IntN(4) {
		k.Steps = append(k.Steps, FrequencyStep{(r.Float64() - 0.5) * 100, r.Float64() * 300})
	}
	for range r.IntN(8) / 5 {
		k.Jumps = append(k.Jumps, CounterJump{math.Pow(10, 10*r.Float64()-6), r.Float64() * 300})
	}
	if r.IntN(2) == 0 {
		k.AgeingPPBPerDay = (r.Float64() - 0.5) * 1e5
	}
	if r.IntN(8) == 0 { // as wrong as a Skewed can be
		k.LimitPPM, k.PPM = 0, (r.Float64()-0.5)*2*maxPPM
	}
	return k
}

// randomHertz draws a nominal frequency from 1 kHz to 5 GHz.
func randomHertz(r *rand.Rand) float64 {
	choices := []float64{1e3, 32768, 1e6, 24e6, 1e9, 2.59612e9, 5e9}
	return choices[r.IntN(len(choices))] * (1 + r.Float64()*1e-3)
}

func newSkewed(t testing.TB, hertz float64, k Skew) (*Skewed, *Manual) {
	t.Helper()
	m := NewManual(Frequency{Hertz: hertz})
	m.Set(k.Start)
	s, err := NewSkewed(m, k)
	if err != nil {
		t.Fatalf("%+v: %v", k, err)
	}
	return s, m
}
