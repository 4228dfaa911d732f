package metrics

import (
	"math"
	"slices"
	"testing"
)

// TestQuantilesAgreeWithSorting: the nearest rank of the sorted numbers, within the stated error.
func TestQuantilesAgreeWithSorting(t *testing.T) {
	r := newRand(t)
	for range 200 {
		var q, other Quantiles
		n := 1 + r.IntN(2000)
		scale, mixed := math.Pow(10, float64(r.IntN(14)-12)), r.IntN(3)
		var x []float64
		for i := range n {
			v := math.Exp(r.NormFloat64()*3) * scale
			switch {
			case mixed == 1 && r.IntN(2) == 0:
				v = -v
			case mixed == 2 && r.IntN(5) == 0:
				v = 0
			}
			x = append(x, v)
			if i%3 == 0 {
				other.Add(v)
			} else {
				q.Add(v)
			}
		}
		q.Merge(&other)
		slices.Sort(x)
		for range 50 {
			p := r.Float64()
			if r.IntN(5) == 0 {
				p = []float64{0, 1, 0.5, 1 / float64(n), 0.999}[r.IntN(5)]
			}
			want := x[max(0, int(math.Ceil(p*float64(n)))-1)]
			got := q.Quantile(p)
			if !got.Known || got.Samples != uint64(n) || math.Abs(got.Value-want) > max(QuantileError*math.Abs(want), 0x1p-60) {
				t.Fatalf("quantile %g of %d: %+v, want %g", p, n, got, want)
			}
		}
		squares := 0.0
		for _, v := range x {
			squares += v * v
		}
		expect(t, "smallest", q.Min(), x[0], 0, 0)
		expect(t, "largest", q.Max(), x[n-1], 0, 0)
		expect(t, "RMS", q.RMS(), math.Sqrt(squares/float64(n)), 1e-12, 0)
	}
}

func TestQuantilesAtTheEdges(t *testing.T) {
	var q Quantiles
	for _, f := range []Figure{q.Min(), q.Max(), q.RMS(), q.Quantile(0.5)} {
		unknown(t, "of nothing", f)
	}
	q.Add(math.NaN())
	q.Add(math.Inf(-1))
	if q.Count() != 0 || q.Rejected() != 2 {
		t.Errorf("%d counted, %d rejected", q.Count(), q.Rejected())
	}
	for _, x := range []float64{0x1p40, 0x1p50, -0x1p45, -0x1p44, 5e-324, math.MaxFloat64, 1} {
		q.Add(x)
	}
	expect(t, "smallest", q.Quantile(0), -0x1p45, 0, 0)
	expect(t, "largest", q.Quantile(1), math.MaxFloat64, 0, 0)
	unknown(t, "second, below −2⁴⁰", q.Quantile(2.0/7))
	expect(t, "third, about 0", q.Quantile(3.0/7), 0, 0, 0x1p-60)
	expect(t, "fourth", q.Quantile(4.0/7), 1, QuantileError, 0)
	unknown(t, "fifth, above 2⁴⁰", q.Quantile(5.0/7))
	for _, p := range []float64{-0.1, 1.1, math.NaN()} {
		unknown(t, "no probability", q.Quantile(p))
	}
	var merged Quantiles
	merged.Merge(&q)
	if merged.Distribution() != q.Distribution() || merged.Rejected() != 2 {
		t.Errorf("%+v, merged %+v", q.Distribution(), merged.Distribution())
	}
}

// TestQuantilesInBuckets: every bucket's middle is within the error of both of the bucket's ends.
func TestQuantilesInBuckets(t *testing.T) {
	for octave := range octaves {
		for i := range subBuckets {
			low := math.Ldexp(1+float64(i)/subBuckets, octave+leastExponent)
			high := math.Ldexp(1+float64(i+1)/subBuckets, octave+leastExponent)
			if m := middle(octave, i); m-low > QuantileError*low || high-m > QuantileError*high {
				t.Fatalf("bucket %d of octave %d: %g in %g … %g", i, octave, m, low, high)
			}
		}
	}
}
