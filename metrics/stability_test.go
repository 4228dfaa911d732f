package metrics

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"testing"
)

func newStability(t testing.TB, tau0 float64, overlap int) *Stability {
	t.Helper()
	s, err := NewStability(tau0, overlap)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestStabilityStreamsThePublishedValues: the streaming estimator gives what the definitions give on the suites, at octaves.
func TestStabilityStreamsThePublishedValues(t *testing.T) {
	phase := phaseOf(thousand(t), true)
	s := newStability(t, 1, 1024)
	for _, x := range phase {
		s.Add(x)
	}
	r := s.Result()
	// Stable32 1.60, PHASE.DAT, octaves, five digits.
	want := map[string][]float64{
		"ADEV": {2.9223e-01, 2.0102e-01, 1.4479e-01, 1.0570e-01, 6.1915e-02, 4.8082e-02, 3.6237e-02, 2.7674e-02},
		"MDEV": {2.9223e-01, 1.5821e-01, 1.0780e-01, 7.4192e-02, 4.1376e-02, 3.4255e-02, 2.7871e-02, 1.8669e-02},
		"TDEV": {1.6872e-01, 1.8268e-01, 2.4895e-01, 3.4268e-01, 3.8221e-01, 6.3287e-01, 1.0298e+00, 1.3797e+00},
		"HDEV": {2.9439e-01, 2.0125e-01, 1.4368e-01, 1.0987e-01, 6.0638e-02, 4.5095e-02, 3.3824e-02, 2.9147e-02},
	}
	if len(r.Points) != 9 || r.Samples != 1001 {
		t.Fatalf("%d points of %d samples", len(r.Points), r.Samples)
	}
	for k := range 8 {
		p := r.Points[k]
		for name, got := range map[string]Figure{"ADEV": p.ADEV, "MDEV": p.MDEV, "TDEV": p.TDEVSeconds, "HDEV": p.HDEV} {
			digits(t, fmt.Sprintf("%s(%d)", name, p.Factor), got, want[name][k])
		}
	}
	expect(t, "max|TE|", r.MaxTimeErrorSeconds, 4.707879, 1e-6, 0) // SP 1065's suite in Stable32: minimum −4.707879
}

// TestStabilityAgreesWithTheDefinitions: full overlap up to the given one, then terms of the same definition at the stated stride.
func TestStabilityAgreesWithTheDefinitions(t *testing.T) {
	r := newRand(t)
	for range 60 {
		x := randomPhase(r, 1+r.IntN(900))
		overlap := 1 << r.IntN(6)
		s := newStability(t, 0.5, overlap)
		for _, v := range x {
			s.Add(v)
		}
		points := s.Result().Points
		for _, p := range points {
			m, stride := int(p.Factor), int(p.Stride)
			what := fmt.Sprintf("n %d, overlap %d, m %d, stride %d", len(x), overlap, m, stride)
			if stride != max(1, m/overlap) || p.TauSeconds != float64(m)*0.5 {
				t.Fatalf("%s: τ %g", what, p.TauSeconds)
			}
			seen := x[:len(x)/stride*stride] // a block of stride samples counts once it is whole
			value, n := slowADEV(seen, 0.5, m, stride)
			same(t, "ADEV "+what, p.ADEV, value, n, 1e-5)
			if possible := (len(seen) - 2*m + stride - 1) / stride; n+int(p.ExcludedADEV) != possible {
				t.Errorf("ADEV %s: %d terms and %d excluded, of %d", what, n, p.ExcludedADEV, possible)
			}
			value, n = slowHDEV(seen, 0.5, m, stride)
			same(t, "HDEV "+what, p.HDEV, value, n, 1e-5)
			value, n = slowMDEV(seen, 0.5, m, stride)
			same(t, "MDEV "+what, p.MDEV, value, n, 1e-5)
			value, n = slowMTIE(x, m)
			if stride == 1 {
				same(t, "MTIE "+what, p.MTIESeconds, value, n, 0)
			} else {
				if value, n := slowBlocks(x, overlap, stride); p.MTIESeconds.Known != (n > 0) || p.MTIESeconds.Value != value {
					t.Errorf("MTIE %s: %+v, want %g from %d windows", what, p.MTIESeconds, value, n)
				}
				if p.ExcludedMTIE == 0 && p.MTIESeconds.Known {
					checkBracket(t, what, x, p)
				}
			}
		}
		want := 0
		for m := 1; len(x)/max(1, m/overlap) > 2*min(m, overlap); m *= 2 {
			want++
		}
		if len(points) != want {
			t.Errorf("n %d, overlap %d: %d octaves, want %d", len(x), overlap, len(points), want)
		}
		if t.Failed() {
			return
		}
	}
}

// slowBlocks is the largest difference within overlap+1 blocks of stride samples, one after the other, none of which lacks a sample. The
// last block need not be over.
func slowBlocks(x []float64, overlap, stride int) (value float64, n int) {
	for first := 0; first+overlap*stride < len(x); first += stride {
		window := x[first:min(len(x), first+(overlap+1)*stride)]
		if low, high := slices.Min(window), slices.Max(window); finite(low) && finite(high) { // the minimum of NaN is NaN
			value, n = math.Max(value, high-low), n+1
		}
	}
	return value, n
}

// checkBracket: the windows of τ that the strided estimate has seen are no worse than it says, and no better than what was reached.
func checkBracket(t *testing.T, what string, seen []float64, p StabilityPoint) {
	t.Helper()
	m, stride := int(p.Factor), int(p.Stride)
	inside, _ := slowMTIE(seen, m)
	beyond, _ := slowMTIE(seen, min(m+stride-1, len(seen)-1))
	if p.MTIESeconds.Value < inside || p.MTIESeconds.Value > beyond || p.MTIEAtLeastSeconds.Value > inside {
		t.Errorf("MTIE %s: %g … %g, want %g in between, and at most %g", what, p.MTIEAtLeastSeconds.Value, p.MTIESeconds.Value, inside, beyond)
	}
}

// TestStabilityWithGaps: what a gap hides is not known, and the largest difference that was seen all the same is.
func TestStabilityWithGaps(t *testing.T) {
	s := newStability(t, 1, 4)
	for i := range 64 {
		if i%3 == 2 {
			s.Miss(1)
			continue
		}
		s.Add(float64(i))
	}
	r := s.Result()
	p := r.Points[2] // τ = 4: no window of five samples is complete
	unknown(t, "MTIE", p.MTIESeconds)
	unknown(t, "MDEV", p.MDEV)
	expect(t, "MTIE at least", p.MTIEAtLeastSeconds, 4, 0, 0)
	if p.ExcludedMTIE != 60 || p.MTIEAtLeastSeconds.Samples != 60 || r.Missing != 21 || r.Samples != 43 {
		t.Errorf("%+v", r)
	}
	unknown(t, "ADEV: of three samples at equal distances one is always missing", p.ADEV)
	if b, err := json.Marshal(p); err != nil || !json.Valid(b) {
		t.Errorf("%s %v", b, err)
	}
}

// TestStabilityEndsInAGap: an unfinished block that lacks a sample is not complete.
func TestStabilityEndsInAGap(t *testing.T) {
	s := newStability(t, 1, 1)
	for _, x := range []float64{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, math.NaN(), 9} {
		s.Add(x)
	}
	p := s.Result().Points[2]
	expect(t, "MTIE(4), strided", p.MTIESeconds, 0, 0, 0)
	if p.Factor != 4 || p.Stride != 4 {
		t.Errorf("%+v", p)
	}
}

func TestStabilityOptions(t *testing.T) {
	for _, tau0 := range []float64{0, -1, math.NaN(), math.Inf(1)} {
		if _, err := NewStability(tau0, 8); err == nil {
			t.Errorf("τ0 = %g was accepted", tau0)
		}
	}
	for _, overlap := range []int{-1, maxOverlap + 1} {
		if _, err := NewStability(1, overlap); err == nil {
			t.Errorf("an overlap of %d was accepted", overlap)
		}
	}
	if r := newStability(t, 1, 0).Result(); len(r.Points) != 0 || r.MaxTimeErrorSeconds.Known {
		t.Errorf("of nothing: %+v", r)
	}
}

// TestStabilityOfIsTheStream: the batch and the stream are two programs with one result where both overlap fully.
func TestStabilityOfIsTheStream(t *testing.T) {
	x := randomPhase(newRand(t), 5000)
	s := newStability(t, 2, 4096)
	for _, v := range x {
		s.Add(v)
	}
	for i, p := range StabilityOf(x, 2, OctaveFactors(len(x))) {
		q := s.Result().Points[i]
		for name, f := range map[string][2]Figure{"ADEV": {p.ADEV, q.ADEV}, "MDEV": {p.MDEV, q.MDEV}, "HDEV": {p.HDEV, q.HDEV},
			"TDEV": {p.TDEVSeconds, q.TDEVSeconds}, "MTIE": {p.MTIESeconds, q.MTIESeconds}} {
			if f[0].Known != f[1].Known || f[0].Samples != f[1].Samples || !near(f[0].Value, f[1].Value, 1e-9, 0) {
				t.Errorf("%s(%d): %+v, streamed %+v", name, p.Factor, f[0], f[1])
			}
		}
		if p.ExcludedADEV != q.ExcludedADEV || p.ExcludedMDEV != q.ExcludedMDEV || p.ExcludedHDEV != q.ExcludedHDEV || p.ExcludedMTIE != q.ExcludedMTIE {
			t.Errorf("excluded at %d: %+v, streamed %+v", p.Factor, p, q)
		}
	}
}
