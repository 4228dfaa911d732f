package sim

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/testkit"
)

func everything() OscillatorConfig {
	return OscillatorConfig{
		OffsetPPM: 12, WhiteFM: 1e-8, FlickerFM: 1e-8, RandomWalk: 1e-8, AgeingPPBPerDay: 1e5,
		Sine: SineConfig{PPM: 3, Period: 100, Phase: 0.3}, Square: SineConfig{PPM: 5, Period: 33}, Steps: []FrequencyStep{{At: 50, PPM: 7}, {At: 77.5, PPM: -20}},
	}
}

// TestReadingIsExact holds the reading against rational arithmetic over the same rates: there is no drift from rounding.
func TestReadingIsExact(t *testing.T) {
	r := rand.New(rand.NewPCG(testkit.Seed(t), 4))
	for _, hertz := range []float64{32768 * 4, 1e6, 1e9, 2.6e9, 5e9} {
		o := NewOscillator(everything(), hertz, 1<<63, rand.New(rand.NewPCG(1, 2)))
		phase := new(big.Int).Lsh(new(big.Int).SetUint64(1<<63), 64) // in 2⁻⁶⁴ ticks
		for i := range int64(300) {
			x := Instant(r.Int64N(int64(Second)))
			rate := new(big.Int).SetUint64(o.at(i).rate)
			want := new(big.Int).Mul(rate, big.NewInt(int64(x)))
			want.Add(want, phase).Rsh(want, 64)
			if got := o.Reading(Instant(i)*Second + x); got != hw.Ticks(want.Uint64()) {
				t.Fatalf("%g Hz, second %d + %d ps: %d, want %d", hertz, i, x, got, want.Uint64())
			}
			phase.Add(phase, rate.Mul(rate, big.NewInt(int64(Second))))
		}
	}
}

// TestWhenIsTheInverse: a timer for reading c fires at the first picosecond at which the counter reads c or more.
func TestWhenIsTheInverse(t *testing.T) {
	r := rand.New(rand.NewPCG(testkit.Seed(t), 5))
	for _, hertz := range []float64{32768, 1e6, 1e9, 2.6e9, 1e10} {
		o := NewOscillator(everything(), hertz, math.MaxUint64-1000, rand.New(rand.NewPCG(1, 2)))
		for range 3000 {
			from := Instant(r.Int64N(int64(100 * Second)))
			c := o.Reading(from).Add(r.Int64N(2 + int64(hertz*math.Pow(10, r.Float64()*8-6))))
			if r.IntN(5) == 0 {
				c = o.Reading(from.wholeSecond() + Second).Add(int64(r.IntN(5)) - 2) // around the seam of two seconds
			}
			at := o.When(c, from, 1000*Second)
			if o.Reading(at).Before(c) {
				t.Fatalf("%g Hz: at %v the counter has not reached %d", hertz, at, c)
			}
			if at > from && !o.Reading(at-1).Before(c) {
				t.Fatalf("%g Hz: at %v − 1 ps the counter had reached %d already", hertz, at, c)
			}
		}
		if at := o.When(o.Reading(0).Add(int64(hertz*5000)), 0, 1000*Second); at != Never {
			t.Errorf("a timer in 5000 s fires at %v within 1000 s", at)
		}
	}
}

func (t Instant) wholeSecond() Instant { return t / Second * Second }

// frequencies returns the relative errors of n seconds, as the readings show them.
func frequencies(c OscillatorConfig, n int, seed uint64) []float64 {
	const hertz = 1e10
	o := NewOscillator(c, hertz, 0, rand.New(rand.NewPCG(seed, 9)))
	y := make([]float64, n)
	for i := range y {
		a, b := o.Reading(Instant(i)*Second), o.Reading(Instant(i+1)*Second)
		y[i] = float64(b.Sub(a))/hertz - 1
	}
	return y
}

// allan returns the Allan deviation of y at m seconds, from all overlapping pairs.
func allan(y []float64, m int) float64 {
	sums := make([]float64, len(y)+1)
	for i, v := range y {
		sums[i+1] = sums[i] + v
	}
	var total float64
	n := 0
	for i := 0; i+2*m < len(sums); i++ {
		d := (sums[i+2*m] - 2*sums[i+m] + sums[i]) / float64(m)
		total += d * d
		n++
	}
	return math.Sqrt(total / float64(n) / 2)
}

// TestOscillatorNoise measures the Allan deviations of the three kinds of noise against their laws (IEEE 1139): white FM falls as
// 1/√τ, flicker FM is flat, random walk FM grows: σ²(τ) = s²·(2τ² + 1)/(6τ)·… ≈ s²·τ/3 for steps of s each second.
func TestOscillatorNoise(t *testing.T) {
	const n, s = 200_000, 1e-7
	for _, m := range []int{1, 4, 16, 64, 256} {
		tau := float64(m)
		for name, c := range map[string]struct {
			config  OscillatorConfig
			want    float64
			allowed float64
		}{
			"white":       {OscillatorConfig{WhiteFM: s}, s / math.Sqrt(tau), 0.1},
			"flicker":     {OscillatorConfig{FlickerFM: s}, s, 0.2},
			"random walk": {OscillatorConfig{RandomWalk: s}, s * math.Sqrt((2*tau*tau+1)/(6*tau)), 0.2},
		} {
			if got := allan(frequencies(c.config, n, 7), m); math.Abs(got/c.want-1) > c.allowed {
				t.Errorf("%s noise: the Allan deviation at %d s is %.3g, want %.3g", name, m, got, c.want)
			}
		}
	}
}

// TestRandomWalkStep: each second the frequency moves by a normal draw of the configured deviation, no more and no less.
func TestRandomWalkStep(t *testing.T) {
	const n, s = 100_000, 1e-6
	y := frequencies(OscillatorConfig{RandomWalk: s}, n, 3)
	sum, beyond := 0.0, 0
	for i := 1; i < n; i++ {
		d := y[i] - y[i-1]
		sum += d * d
		if math.Abs(d) > 2*s {
			beyond++
		}
	}
	if got := math.Sqrt(sum / (n - 1)); math.Abs(got/s-1) > 0.02 {
		t.Errorf("the frequency moves by %g a second, want %g", got, s)
	}
	if p := float64(beyond) / n; math.Abs(p-0.0455) > 0.004 {
		t.Errorf("%g of the steps are beyond two deviations", p)
	}
}

func TestOscillatorShapes(t *testing.T) {
	y := frequencies(OscillatorConfig{OffsetPPM: 12}, 10, 1)
	for _, v := range y {
		if math.Abs(v-12e-6) > 2e-10 { // two ticks of 10 GHz
			t.Fatalf("constant: %g", v)
		}
	}
	y = frequencies(OscillatorConfig{Sine: SineConfig{PPM: 1, Period: 3600, Phase: 0.25}}, 3600, 1)
	if math.Abs(y[0]-1e-6) > 1e-9 || math.Abs(y[1800]+1e-6) > 1e-9 || math.Abs(y[900]) > 1e-8 {
		t.Errorf("sine: %g %g %g", y[0], y[900], y[1800])
	}
	y = frequencies(OscillatorConfig{Square: SineConfig{PPM: 50, Period: 10}}, 20, 1)
	if math.Abs(y[0]-50e-6) > 1e-9 || math.Abs(y[5]+50e-6) > 1e-9 || math.Abs(y[10]-50e-6) > 1e-9 {
		t.Errorf("square: %g %g %g", y[0], y[5], y[10])
	}
	y = frequencies(OscillatorConfig{AgeingPPBPerDay: 86400}, 1001, 1)
	if math.Abs(y[1000]-y[0]-1e-6) > 1e-9 {
		t.Errorf("ageing of 1 ppb a second: %g in 1000 s", y[1000]-y[0])
	}
	y = frequencies(OscillatorConfig{Steps: []FrequencyStep{{At: 3, PPM: 2}, {At: 5.5, PPM: -1}}}, 10, 1)
	for i, want := range []float64{0, 0, 0, 2, 2, 2, 1, 1, 1, 1} {
		if math.Abs(y[i]-want*1e-6) > 1e-9 {
			t.Errorf("steps: %g ppm in second %d, want %g", y[i]*1e6, i, want)
		}
	}
	for i, v := range frequencies(OscillatorConfig{RandomWalk: 1e-5, ClipPPM: 20}, 5000, 1) {
		if math.Abs(v) > 20e-6+1e-9 {
			t.Fatalf("clipped: %g in second %d", v, i)
		}
	}
}

// TestAddStep: a step that is announced while the oscillator runs is the same as one that was configured, though the future had
// been looked at already.
func TestAddStep(t *testing.T) {
	c := everything()
	a := NewOscillator(c, 1e9, 5, rand.New(rand.NewPCG(1, 2)))
	c.Steps = append(c.Steps, FrequencyStep{At: 30.2, PPM: -9})
	b := NewOscillator(c, 1e9, 5, rand.New(rand.NewPCG(1, 2)))
	_ = a.Reading(90 * Second)
	a.AddStep(Seconds(30.2), -9)
	for i := range Instant(200) {
		at := i * Second * 6 / 10
		if x, y := a.Reading(at), b.Reading(at); x != y {
			t.Fatalf("at %v: %d, want %d", at, x, y)
		}
	}
}

// TestOscillatorForgets: the memory of a long run is bounded, and the recent past can still be asked.
func TestOscillatorForgets(t *testing.T) {
	o := NewOscillator(everything(), 1e9, 0, rand.New(rand.NewPCG(1, 2)))
	past := o.Reading(99_000 * Second)
	for i := range int64(100_000) {
		o.Reading(Instant(i) * Second)
	}
	if len(o.seconds) > 2*keptSeconds+1 {
		t.Errorf("%d seconds are remembered", len(o.seconds))
	}
	if got := o.Reading(99_000 * Second); got != past {
		t.Errorf("the past has changed: %d, was %d", got, past)
	}
}
