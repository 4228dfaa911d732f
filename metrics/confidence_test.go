package metrics

import (
	"fmt"
	"math"
	"testing"
)

// TestPublishedConfidence: the 0.683 intervals that Stable32 1.60 prints for the 1000-point suite (PHASE.DAT), white frequency noise.
func TestPublishedConfidence(t *testing.T) {
	phase := phaseOf(thousand(t), true)
	for _, c := range []struct {
		name        string
		kind        Kind
		overlapping bool
		of          func([]float64, float64, int) Figure
		low, high   []float64
	}{
		{"ADEV", Allan, false, ADEV,
			[]float64{2.8515e-01, 1.9787e-01, 1.4201e-01, 1.0254e-01, 5.6510e-02, 4.9153e-02, 2.7109e-02, 2.6481e-02},
			[]float64{2.9987e-01, 2.1319e-01, 1.5815e-01, 1.1971e-01, 7.0567e-02, 6.7635e-02, 4.3537e-02, 5.5744e-02}},
		{"overlapping ADEV", Allan, true, OverlappingADEV,
			[]float64{2.8515e-01, 1.9520e-01, 1.3931e-01, 1.0038e-01, 5.7696e-02, 4.3654e-02, 3.1755e-02, 2.3045e-02},
			[]float64{2.9987e-01, 2.0738e-01, 1.5098e-01, 1.1198e-01, 6.7217e-02, 5.4202e-02, 4.3377e-02, 3.7027e-02}},
		{"MDEV", Modified, true, MDEV,
			[]float64{2.8515e-01, 1.5336e-01, 1.0322e-01, 6.9840e-02, 3.8022e-02, 3.0466e-02, 2.3687e-02, 1.4874e-02},
			[]float64{2.9987e-01, 1.6355e-01, 1.1304e-01, 7.9481e-02, 4.5809e-02, 3.9933e-02, 3.5511e-02, 2.8584e-02}},
		{"HDEV", Hadamard, false, HDEV,
			[]float64{2.8635e-01, 1.9887e-01, 1.4054e-01, 1.0744e-01, 5.3296e-02, 4.6987e-02, 2.4870e-02, 2.8841e-02},
			[]float64{3.0315e-01, 2.1659e-01, 1.5896e-01, 1.2829e-01, 6.8811e-02, 6.8092e-02, 4.3652e-02, 7.3807e-02}},
		{"overlapping HDEV", Hadamard, true, OverlappingHDEV,
			[]float64{2.8635e-01, 1.9491e-01, 1.3777e-01, 1.0388e-01, 5.6173e-02, 4.0664e-02, 2.9271e-02, 2.3761e-02},
			[]float64{3.0315e-01, 2.0825e-01, 1.5043e-01, 1.1704e-01, 6.6369e-02, 5.1382e-02, 4.1477e-02, 4.1367e-02}},
	} {
		for k := range c.low {
			m := 1 << k
			terms := Terms{Kind: c.kind, Samples: len(phase), Factor: m, Stride: m}
			if c.overlapping {
				terms.Stride = 1
			}
			edf := DegreesOfFreedom(terms, WhiteFM)
			low, high, ok := ConfidenceInterval(c.of(phase, 1, m).Value, edf.Value, 0.683)
			// Stable32 averages the phase over τ0 for this noise too: its degrees of freedom are up to 10 % off those of the matrix below.
			if !edf.Known || !ok || !near(low, c.low[k], 3e-3, 0) || !near(high, c.high[k], 4e-3, 0) {
				t.Errorf("%s(%d): %g … %g with %+v, want %g … %g", c.name, m, low, high, edf, c.low[k], c.high[k])
			}
		}
	}
}

// TestPublishedErrorBars: SP 1065, table 32: 95 % of the overlapping ADEV at m = 10. Its 146.177 degrees of freedom are by an older formula.
func TestPublishedErrorBars(t *testing.T) {
	edf := DegreesOfFreedom(Terms{Allan, 1001, 10, 1}, WhiteFM)
	expect(t, "degrees of freedom", edf, 146.177, 5e-3, 0)
	low, high, ok := ConfidenceInterval(9.159953e-02, 146.177, 0.95)
	if !ok || !near(low, 8.223942e-02, 1e-3, 0) || !near(high, 1.035201e-01, 1e-3, 0) {
		t.Errorf("%g … %g", low, high)
	}
}

// TestDegreesOfFreedomByMatrix: the definition, by brute force. For white noise of phase or of frequency the covariance of the terms can
// be written down, and edf = (Σ variances)² / Σ all covariances².
func TestDegreesOfFreedomByMatrix(t *testing.T) {
	for _, c := range []struct {
		terms Terms
		noise Noise
	}{
		{Terms{Allan, 60, 1, 1}, WhiteFM}, {Terms{Allan, 60, 4, 1}, WhiteFM}, {Terms{Allan, 61, 4, 4}, WhiteFM}, {Terms{Allan, 60, 6, 2}, WhiteFM}, {Terms{Allan, 20, 6, 1}, WhiteFM},
		{Terms{Hadamard, 60, 3, 1}, WhiteFM}, {Terms{Modified, 60, 4, 1}, WhiteFM},
		{Terms{Allan, 60, 1, 1}, WhitePM}, {Terms{Allan, 60, 4, 1}, WhitePM}, {Terms{Modified, 60, 5, 1}, WhitePM},
		{Terms{Hadamard, 60, 4, 4}, WhitePM}, {Terms{Modified, 60, 6, 3}, WhitePM},
	} {
		rows := kernels(c.terms)
		if c.noise == WhiteFM {
			for _, row := range rows { // phase is the sum of frequencies: weights become sums of all later weights
				for i := len(row) - 2; i >= 0; i-- {
					row[i] += row[i+1]
				}
			}
		}
		trace, squares := 0.0, 0.0
		for i, a := range rows {
			for j, b := range rows {
				product := 0.0
				for k := range a {
					product += a[k] * b[k]
				}
				squares += product * product
				if i == j {
					trace += product
				}
			}
		}
		want := trace * trace / squares
		tolerance := 1e-9
		if c.terms.Kind == Modified && c.noise == WhiteFM {
			tolerance = 0.03 // the average is taken for an integral
		}
		expect(t, fmt.Sprintf("%+v, noise %d", c.terms, c.noise), DegreesOfFreedom(c.terms, c.noise), want, tolerance, 0)
	}
}

// kernels are the weights of the samples in each term.
func kernels(t Terms) (rows [][]float64) {
	weights, width := []float64{1, -2, 1}, 1
	if t.Kind == Hadamard {
		weights = []float64{-1, 3, -3, 1}
	}
	if t.Kind == Modified {
		width = t.Factor
	}
	for first := 0; first+(len(weights)-1)*t.Factor+width <= t.Samples; first += t.Stride {
		row := make([]float64, t.Samples)
		for i, w := range weights {
			for j := range width {
				row[first+i*t.Factor+j] += w
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// TestDegreesOfFreedomScale: for large m the derivatives take over, and the overlap is limited; neither may show.
func TestDegreesOfFreedomScale(t *testing.T) {
	for noise := RandomRunFM; noise <= WhitePM; noise++ {
		for _, kind := range []Kind{Allan, Modified, Hadamard} {
			if kind != Hadamard && noise < RandomWalkFM {
				unknown(t, fmt.Sprint(kind, noise), DegreesOfFreedom(Terms{kind, 1000, 10, 1}, noise))
				continue
			}
			if kind != Modified && noise > WhiteFM {
				continue // depends on m itself
			}
			small, large := DegreesOfFreedom(Terms{kind, 200*20 + 1, 200, 1}, noise), DegreesOfFreedom(Terms{kind, 200_000*20 + 1, 200_000, 1}, noise)
			if !small.Known || !large.Known || !near(small.Value, large.Value, 1e-2, 0) {
				t.Errorf("kind %d, noise %d: %+v and %+v", kind, noise, small, large)
			}
		}
	}
	for _, bad := range []Terms{{}, {Allan, 2, 1, 1}, {Allan, 100, 0, 1}, {Allan, 100, 1, 0}, {Allan, 100, 4, 8}, {Allan, 100, 50, 1}} {
		unknown(t, fmt.Sprint(bad), DegreesOfFreedom(bad, WhiteFM))
	}
	unknown(t, "noise 3", DegreesOfFreedom(Terms{Allan, 100, 1, 1}, 3))
}

func TestChiSquared(t *testing.T) {
	// Abramowitz and Stegun, table 26.8.
	for _, c := range []struct{ p, k, want float64 }{
		{0.5, 1, 0.454937}, {0.95, 1, 3.84146}, {0.025, 1, 0.000982069}, {0.95, 2, 5.99146}, {0.05, 10, 3.94030}, {0.975, 10, 20.4831},
		{0.995, 30, 53.6720}, {0.005, 30, 13.7867}, {0.95, 100, 124.342}, {0.05, 100, 77.9295},
	} {
		if got := chiSquared(c.p, c.k); !near(got, c.want, 6e-6, 0) {
			t.Errorf("χ²(%g, %g) = %g, want %g", c.p, c.k, got, c.want)
		}
	}
	// The density, integrated by Simpson's rule, is the other implementation.
	r := newRand(t)
	for range 200 {
		k := 2 + r.Float64()*300
		x := k * (0.3 + 1.5*r.Float64())
		logGamma, _ := math.Lgamma(k / 2)
		density := func(u float64) float64 {
			if u == 0 {
				return 0
			}
			return math.Exp((k/2-1)*math.Log(u) - u/2 - k/2*math.Ln2 - logGamma)
		}
		const steps = 20000
		sum := density(x)
		for i := 1; i < steps; i++ {
			sum += density(x*float64(i)/steps) * float64(2+i%2*2)
		}
		if got, want := incompleteGamma(k/2, x/2), sum*x/steps/3; !near(got, want, 1e-3, 1e-4) {
			t.Fatalf("P(%g, %g) = %g, want %g", k/2, x/2, got, want)
		}
	}
}

func TestConfidenceOfNothing(t *testing.T) {
	for _, c := range [][3]float64{{1, 0, 0.9}, {1, -1, 0.9}, {-1, 5, 0.9}, {1, 5, 0}, {1, 5, 1}, {math.NaN(), 5, 0.9}, {1, math.NaN(), 0.9},
		{1, math.Inf(1), 0.9}, {1, 5, math.NaN()}} {
		if low, high, ok := ConfidenceInterval(c[0], c[1], c[2]); ok {
			t.Errorf("%v: %g … %g", c, low, high)
		}
	}
}

// TestConfidenceCovers: of many runs of white frequency noise, whose deviation is known, 90 % intervals contain it in some 90 %.
func TestConfidenceCovers(t *testing.T) {
	r := newRand(t)
	const runs, m = 1500, 8
	held := 0
	for range runs {
		frequency := make([]float64, 150)
		for i := range frequency {
			frequency[i] = r.NormFloat64()
		}
		edf := DegreesOfFreedom(Terms{Allan, 151, m, 1}, WhiteFM)
		low, high, ok := ConfidenceInterval(OverlappingADEV(phaseOf(frequency, false), 1, m).Value, edf.Value, 0.9)
		if truth := 1 / math.Sqrt(m); ok && low <= truth && truth <= high {
			held++
		}
	}
	if part := float64(held) / runs; part < 0.86 || part > 0.94 { // 5 standard deviations are 3.9 %
		t.Errorf("%.3f of the intervals contain the truth", part)
	}
}

func TestIdentifyNoise(t *testing.T) {
	// Stable32 names white FM for the suite at all octaves at which it has 30 samples.
	phase := phaseOf(thousand(t), true)
	for _, m := range []int{1, 2, 4, 8, 16, 32} {
		if noise, ok := IdentifyNoise(phase, m, 2); !ok || noise != WhiteFM {
			t.Errorf("the suite at %d: %d %t", m, noise, ok)
		}
	}
	// Noises that are easy to make: white, summed up 0 to 3 times.
	r := newRand(t)
	x := make([]float64, 4000)
	for i := range x {
		x[i] = r.NormFloat64()
	}
	for _, want := range []Noise{WhitePM, WhiteFM, RandomWalkFM, RandomRunFM} {
		for _, m := range []int{1, 4} {
			if want == WhitePM || m == 1 {
				if noise, ok := IdentifyNoise(x, m, 3); !ok || noise != want {
					t.Errorf("noise %d at %d: %d %t", want, m, noise, ok)
				}
			}
		}
		x = phaseOf(x, false)
	}
	// A frequency offset and a drift are not noise.
	for i := range x {
		x[i] = r.NormFloat64() + 0.1*float64(i) + 1e-4*float64(i)*float64(i)
	}
	if noise, ok := IdentifyNoise(x, 1, 0); !ok || noise != WhitePM {
		t.Errorf("white noise on a drift: %d %t", noise, ok)
	}
	for what, bad := range map[string][]float64{"short": make([]float64, 29), "constant": make([]float64, 100), "a gap": append(phase[:200:200], math.NaN())} {
		if noise, ok := IdentifyNoise(bad, 1, 2); ok {
			t.Errorf("%s: noise %d", what, noise)
		}
	}
	if _, ok := IdentifyNoise(phase, 0, 2); ok {
		t.Error("a factor of 0 was accepted")
	}
}
