package demo

import "math"

// A histogram's buckets are 1/perOctave of an octave wide, from histogramLeast on: up to 4.5 %.
const (
	perOctave      = 16
	octaves        = 44
	histogramLeast = 1e-12
)

// histogram counts positive figures in fixed memory, for quantiles that are right to 4.5 %, and keeps the largest.
type histogram struct {
	buckets [perOctave * octaves]uint64
	count   uint64
	largest float64
}

func (h *histogram) add(x float64) {
	i := 0
	if x > histogramLeast {
		i = min(int(math.Log2(x/histogramLeast)*perOctave), len(h.buckets)-1)
	}
	h.buckets[i]++
	h.count++
	h.largest = max(h.largest, x)
}

// quantile returns a figure that the part p of all are not above, rounded up by at most a bucket's width; not ok if there are none.
func (h *histogram) quantile(p float64) (x float64, ok bool) {
	if h.count == 0 {
		return 0, false
	}
	want := uint64(math.Ceil(p * float64(h.count)))
	seen := uint64(0)
	for i, n := range h.buckets {
		if seen += n; seen >= want && seen > 0 && i < len(h.buckets)-1 {
			return min(histogramLeast*math.Exp2(float64(i+1)/perOctave), h.largest), true
		}
	}
	return h.largest, true
}
