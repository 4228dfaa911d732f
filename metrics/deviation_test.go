package metrics

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// phaseOf integrates frequencies at an interval of one second. The mean frequency is removed if asked.
func phaseOf(frequency []float64, centred bool) []float64 {
	mean := 0.0
	for _, y := range frequency {
		mean += y / float64(len(frequency))
	}
	if !centred {
		mean = 0
	}
	phase := []float64{0}
	for i, y := range frequency {
		phase = append(phase, phase[i]+y-mean)
	}
	return phase
}

// nbs is the data set of NBS Monograph 140, annex 8.E, of which SP 1065 (12.4, table 30) takes nine frequencies.
func nbs() []float64 { return []float64{892, 809, 823, 798, 671, 644, 883, 903, 677} }

// thousand is the 1000-point test suite of SP 1065, 12.4: the prime modulus generator of Park and Miller.
func thousand(t testing.TB) []float64 {
	n := uint64(1234567890)
	var out []float64
	for i := range 1000 {
		// SP 1065 prints these, so that an implementation can be checked.
		if want := []uint64{1234567890, 395529916, 1209410747, 633705974}; i < len(want) && n != want[i] {
			t.Fatalf("n%d = %d, want %d", i, n, want[i])
		}
		out = append(out, float64(n)/2147483647)
		n = 16807 * n % 2147483647
	}
	return out
}

type published struct {
	name   string
	of     func([]float64, float64, int) Figure
	values []float64
}

// TestPublishedNBS: SP 1065, table 30.
func TestPublishedNBS(t *testing.T) {
	for _, p := range []published{
		{"ADEV", ADEV, []float64{91.22945, 115.8082}},
		{"overlapping ADEV", OverlappingADEV, []float64{91.22945, 85.95287}},
		{"MDEV", MDEV, []float64{91.22945, 74.78849}},
		{"TDEV", TDEV, []float64{52.67135, 86.35831}},
		{"HDEV", HDEV, []float64{70.80608, 116.7980}},
		{"overlapping HDEV", OverlappingHDEV, []float64{70.80608, 85.61487}},
	} {
		for i, want := range p.values {
			for _, centred := range []bool{false, true} {
				expect(t, fmt.Sprintf("%s(%d), centred %t", p.name, i+1, centred), p.of(phaseOf(nbs(), centred), 1, i+1), want, 1e-6, 0)
			}
		}
	}
}

// TestPublishedThousand: SP 1065, table 31, at m = 1, 10, 100. Its row "Hadamard Dev" of the later editions overlaps.
func TestPublishedThousand(t *testing.T) {
	phase := phaseOf(thousand(t), false)
	for _, p := range []published{
		{"ADEV", ADEV, []float64{2.922319e-01, 9.965736e-02, 3.897804e-02}},
		{"overlapping ADEV", OverlappingADEV, []float64{2.922319e-01, 9.159953e-02, 3.241343e-02}},
		{"MDEV", MDEV, []float64{2.922319e-01, 6.172376e-02, 2.170921e-02}},
		{"TDEV", TDEV, []float64{1.687202e-01, 3.563623e-01, 1.253382e-00}},
		{"HDEV", HDEV, []float64{2.943883e-01, 1.052754e-01, 3.910861e-02}},
		{"overlapping HDEV", OverlappingHDEV, []float64{2.943883e-01, 9.581083e-02, 3.237638e-02}},
	} {
		for i, want := range p.values {
			m := []int{1, 10, 100}[i]
			expect(t, fmt.Sprintf("%s(%d)", p.name, m), p.of(phase, 1, m), want, 3e-7, 0)
		}
	}
	// The time unit must not matter: in units of τ0 = 1 ms with phase in milliseconds all is the same but TDEV, which is time.
	milli := make([]float64, len(phase))
	for i, x := range phase {
		milli[i] = x * 1e-3
	}
	expect(t, "overlapping ADEV in ms", OverlappingADEV(milli, 1e-3, 10), 9.159953e-02, 3e-7, 0)
	expect(t, "TDEV in ms", TDEV(milli, 1e-3, 10), 3.563623e-04, 3e-7, 0)
}

// mtieStable32 is what Stable32 1.60 prints for the phase of the 1000-point suite without its mean frequency (its file PHASE.DAT), five
// digits. SP 1065's tables have no MTIE.
func mtieStable32() map[int]float64 {
	return map[int]float64{
		1: 5.0597e-01, 3: 1.2984e+00, 7: 2.2922e+00, 15: 2.9949e+00, 31: 4.4550e+00, 63: 6.5989e+00, 127: 6.8061e+00, 255: 7.8205e+00,
		511: 7.8205e+00,
	}
}

func TestPublishedMTIE(t *testing.T) {
	phase := phaseOf(thousand(t), true)
	for m, want := range mtieStable32() {
		got := MTIE(phase, []int{m})[0]
		digits(t, fmt.Sprintf("MTIE(%d)", m), got, want)
		if got.Samples != uint64(1001-m) {
			t.Errorf("MTIE(%d) of %d windows, want %d", m, got.Samples, 1001-m)
		}
	}
}

// digits checks a figure against one that was printed with five digits.
func digits(t *testing.T, what string, got Figure, want float64) {
	t.Helper()
	if !got.Known || fmt.Sprintf("%.4e", got.Value) != fmt.Sprintf("%.4e", want) {
		t.Errorf("%s: %+v, want %.4e", what, got, want)
	}
}

// The slow definitions, written as the sums in the comments are.

func slowADEV(x []float64, tau0 float64, m, stride int) (value float64, n int) {
	sum := 0.0
	for k := 0; k < len(x); k += stride {
		if k+2*m < len(x) && finite(x[k]) && finite(x[k+m]) && finite(x[k+2*m]) {
			sum += square(x[k+2*m] - 2*x[k+m] + x[k])
			n++
		}
	}
	tau := float64(m) * tau0
	return math.Sqrt(sum / (2 * float64(n) * tau * tau)), n
}

func slowHDEV(x []float64, tau0 float64, m, stride int) (value float64, n int) {
	sum := 0.0
	for k := 0; k < len(x); k += stride {
		if k+3*m < len(x) && finite(x[k]) && finite(x[k+m]) && finite(x[k+2*m]) && finite(x[k+3*m]) {
			sum += square(x[k+3*m] - 3*x[k+2*m] + 3*x[k+m] - x[k])
			n++
		}
	}
	tau := float64(m) * tau0
	return math.Sqrt(sum / (6 * float64(n) * tau * tau)), n
}

// slowMDEV takes the second difference of three averages, every stride samples.
func slowMDEV(x []float64, tau0 float64, m, stride int) (value float64, n int) {
	average := func(k int) float64 {
		sum := 0.0
		for _, v := range x[k : k+m] {
			sum += v
		}
		return sum / float64(m)
	}
	sum := 0.0
	for k := 0; k+3*m <= len(x); k += stride {
		if d := average(k+2*m) - 2*average(k+m) + average(k); finite(d) {
			sum += d * d
			n++
		}
	}
	tau := float64(m) * tau0
	return math.Sqrt(sum / (2 * float64(n) * tau * tau)), n
}

func slowMTIE(x []float64, m int) (value float64, n int) {
	for k := 0; k+m < len(x); k++ {
		low, high, whole := math.Inf(1), math.Inf(-1), true
		for _, v := range x[k : k+m+1] {
			low, high, whole = math.Min(low, v), math.Max(high, v), whole && finite(v)
		}
		if whole {
			value, n = math.Max(value, high-low), n+1
		}
	}
	return value, n
}

// randomPhase is a random walk of frequency with white phase noise, an offset and a slope, and some samples missing.
func randomPhase(r *rand.Rand, n int) []float64 {
	x, y := 0.0, r.NormFloat64()*1e-5
	offset, noise, walk := r.NormFloat64(), math.Pow(10, -9+3*r.Float64()), math.Pow(10, -10+3*r.Float64())
	lost := []float64{0, 0, 0.01, 0.2}[r.IntN(4)]
	out := make([]float64, n)
	for i := range out {
		y += r.NormFloat64() * walk
		x += y
		out[i] = offset + x + r.NormFloat64()*noise
		if r.Float64() < lost {
			out[i] = []float64{math.NaN(), math.Inf(1), math.Inf(-1)}[r.IntN(3)]
		}
	}
	return out
}

func same(t *testing.T, what string, got Figure, want float64, n int, tolerance float64) {
	t.Helper()
	if n == 0 {
		unknown(t, what, got)
		return
	}
	if !got.Known || got.Samples != uint64(n) || !near(got.Value, want, tolerance, 0) {
		t.Errorf("%s: %+v, want %g from %d", what, got, want, n)
	}
}

func TestDeviationsAgreeWithTheirDefinitions(t *testing.T) {
	r := newRand(t)
	for range 300 {
		x := randomPhase(r, 1+r.IntN(200))
		tau0 := math.Pow(10, float64(r.IntN(6)-3))
		m := 1 + r.IntN(40)
		what := fmt.Sprintf("n %d, m %d, τ0 %g", len(x), m, tau0)
		value, n := slowADEV(x, tau0, m, m)
		same(t, "ADEV "+what, ADEV(x, tau0, m), value, n, 1e-5)
		value, n = slowADEV(x, tau0, m, 1)
		same(t, "overlapping ADEV "+what, OverlappingADEV(x, tau0, m), value, n, 1e-5)
		value, n = slowHDEV(x, tau0, m, m)
		same(t, "HDEV "+what, HDEV(x, tau0, m), value, n, 1e-5)
		value, n = slowHDEV(x, tau0, m, 1)
		same(t, "overlapping HDEV "+what, OverlappingHDEV(x, tau0, m), value, n, 1e-5)
		value, n = slowMDEV(x, tau0, m, 1)
		same(t, "MDEV "+what, MDEV(x, tau0, m), value, n, 1e-5)
		same(t, "TDEV "+what, TDEV(x, tau0, m), value*float64(m)*tau0/math.Sqrt(3), n, 1e-5)
		value, n = slowMTIE(x, m)
		same(t, "MTIE "+what, MTIE(x, []int{m})[0], value, n, 0)
		if t.Failed() {
			return
		}
	}
}

// exactMDEV is MDEV in integers of 2⁻⁴⁴ s, in which the phase is exact. Sums may wrap around on the way: what comes out is right.
func exactMDEV(x []int64, m int) float64 {
	sum, squares, n := int64(0), 0.0, 0
	for i := range x {
		if i >= 3*m {
			sum += x[i] - 3*x[i-m] + 3*x[i-2*m] - x[i-3*m]
		}
		if i == 3*m-1 {
			for j := range m {
				sum += x[j+2*m] - 2*x[j+m] + x[j]
			}
		}
		if i >= 3*m-1 {
			squares += square(math.Ldexp(float64(sum), -44))
			n++
		}
	}
	return math.Sqrt(squares/(2*float64(n))) / square(float64(m))
}

// TestMDEVKeepsItsDigits: a large offset and slope, as clocks without a master have, must not drown the noise in the running sum.
func TestMDEVKeepsItsDigits(t *testing.T) {
	r := newRand(t)
	exact := make([]int64, 200_000)
	phase := make([]float64, len(exact))
	s := newStability(t, 1, 1024)
	for i := range exact {
		phase[i] = 490 + float64(i)*61e-6 + r.NormFloat64()*1e-9
		exact[i] = int64(math.Ldexp(phase[i], 44))
		if math.Ldexp(float64(exact[i]), -44) != phase[i] {
			t.Fatalf("%g is not exact", phase[i])
		}
		s.Add(phase[i])
	}
	for _, k := range []int{1, 4, 10} {
		want := exactMDEV(exact, 1<<k)
		expect(t, fmt.Sprint("MDEV at 2^", k), MDEV(phase, 1, 1<<k), want, 1e-9, 0)
		expect(t, fmt.Sprint("streamed MDEV at 2^", k), s.Result().Points[k].MDEV, want, 1e-9, 0)
	}
}

func TestDeviationsOfNothing(t *testing.T) {
	for _, x := range [][]float64{nil, {1}, {1, 2}, {math.NaN(), 1, math.NaN()}} {
		for _, m := range []int{-1, 0, 1, 2, math.MaxInt} {
			for _, of := range []func([]float64, float64, int) Figure{ADEV, OverlappingADEV, HDEV, OverlappingHDEV, MDEV, TDEV} {
				unknown(t, fmt.Sprint(x, m), of(x, 1, m))
			}
			if len(x) < 2 {
				unknown(t, fmt.Sprint("MTIE ", x, m), MTIE(x, []int{m})[0])
			}
		}
	}
	long := make([]float64, 100)
	for _, tau0 := range []float64{0, -1, math.NaN(), math.Inf(1)} {
		unknown(t, fmt.Sprint("τ0 ", tau0), OverlappingADEV(long, tau0, 1))
		unknown(t, fmt.Sprint("τ0 ", tau0), MDEV(long, tau0, 1))
	}
	expect(t, "ADEV of a clock that never errs", OverlappingADEV(long, 1, 1), 0, 0, 0)
	unknown(t, "max|TE| of nothing", MaxTimeError([]float64{math.NaN()}))
	expect(t, "max|TE|", MaxTimeError([]float64{1, -3, math.NaN(), 2}), 3, 0, 0)
}

func TestFactors(t *testing.T) {
	if got := fmt.Sprint(OctaveFactors(18), DecadeFactors(101), OctaveFactors(2), DecadeFactors(0)); got != "[1 2 4 8] [1 2 5 10 20 50] [] []" {
		t.Error(got)
	}
}
