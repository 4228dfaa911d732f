package orderbench

import (
	"encoding/json"
	"fmt"
	"math/bits"
	"slices"
	"time"
)

// subBits gives a bucket 1/64 of its octave: a quantile is wrong by 1/128 of itself at the most.
const subBits = 6

// Histogram counts durations. It can be sent, and added to another one.
type Histogram struct {
	counts []uint64
	count  uint64
	max    int64
}

func bucketOf(ns int64) int {
	n := uint64(max(ns, 0))
	if n < 1<<subBits {
		return int(n)
	}
	e := bits.Len64(n) - 1 - subBits
	return e<<subBits + int(n>>e)
}

// middle is in the middle of a bucket.
func middle(b int) float64 {
	if b < 2<<subBits {
		return float64(b)
	}
	e := b>>subBits - 1
	low := uint64(b-e<<subBits) << e
	return float64(low) + float64(uint64(1)<<e)/2
}

// Add counts a duration.
func (h *Histogram) Add(d time.Duration) {
	b := bucketOf(int64(d))
	if b >= len(h.counts) {
		h.counts = append(h.counts, make([]uint64, b+1-len(h.counts))...)
	}
	h.counts[b]++
	h.count++
	h.max = max(h.max, int64(d))
}

// Merge adds another one's counts.
func (h *Histogram) Merge(x *Histogram) {
	if len(x.counts) > len(h.counts) {
		h.counts = append(h.counts, make([]uint64, len(x.counts)-len(h.counts))...)
	}
	for b, n := range x.counts {
		h.counts[b] += n
	}
	h.count += x.count
	h.max = max(h.max, x.max)
}

// Count is how many durations there are.
func (h *Histogram) Count() uint64 { return h.count }

// Quantile is in seconds; false: there is none.
func (h *Histogram) Quantile(q float64) (float64, bool) {
	if h.count == 0 {
		return 0, false
	}
	rest := uint64(q * float64(h.count-1))
	for b, n := range h.counts {
		if n > rest {
			return min(middle(b), float64(h.max)) / 1e9, true
		}
		rest -= n
	}
	return float64(h.max) / 1e9, true
}

// wireHistogram has pairs of a bucket and its count.
type wireHistogram struct {
	Buckets [][2]uint64 `json:"buckets"`
	MaxNS   int64       `json:"max_ns"`
}

// MarshalJSON implements json.Marshaler.
func (h Histogram) MarshalJSON() ([]byte, error) {
	w := wireHistogram{Buckets: [][2]uint64{}, MaxNS: h.max}
	for b, n := range h.counts {
		if n > 0 {
			w.Buckets = append(w.Buckets, [2]uint64{uint64(b), n})
		}
	}
	return json.Marshal(w)
}

// UnmarshalJSON implements json.Unmarshaler.
func (h *Histogram) UnmarshalJSON(text []byte) error {
	var w wireHistogram
	if err := json.Unmarshal(text, &w); err != nil {
		return err
	}
	*h = Histogram{max: w.MaxNS}
	const most = 64 << subBits
	for _, x := range w.Buckets {
		if x[0] >= most {
			return fmt.Errorf("orderbench: a histogram has %d buckets, and no number %d", most, x[0])
		}
		h.counts = slices.Grow(h.counts, int(x[0]+1))
		if n := int(x[0]) + 1 - len(h.counts); n > 0 {
			h.counts = append(h.counts, make([]uint64, n)...)
		}
		h.counts[x[0]] += x[1]
		h.count += x[1]
	}
	return nil
}
