package result

import (
	"math"
	"slices"
)

// Classes counts delays, in classes of equal ratio, so that a microsecond and a second are shown alike. The zero Classes is ready,
// and its memory is bounded by the range of a float.
type Classes struct {
	counts        map[int]uint64
	low, high     float64
	mean          float64
	n, unplotable uint64
}

// perDecade is how many classes a factor of ten has.
const perDecade = 50

// widest is how many classes are given at the most: beyond that neighbours are put together.
const widest = 200

// Add counts one delay. One that is not above 0, or no number, is counted for the extremes only.
func (c *Classes) Add(x float64) {
	if !finite(x) {
		return
	}
	if c.n == 0 {
		c.low, c.high, c.counts = x, x, map[int]uint64{}
	}
	c.n++
	c.low, c.high = min(c.low, x), max(c.high, x)
	c.mean += (x - c.mean) / float64(c.n)
	if x <= 0 {
		c.unplotable++
		return
	}
	c.counts[int(math.Floor(math.Log10(x)*perDecade))]++
}

// Histogram returns the classes; the caller fills in whose delays they are. Not ok if there is nothing to show.
func (c *Classes) Histogram() (h Histogram, ok bool) {
	if len(c.counts) == 0 {
		return h, false
	}
	var keys []int
	for k := range c.counts {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	first, last := keys[0], keys[len(keys)-1]
	step := 1 + (last-first)/widest
	n := (last-first)/step + 1
	h = Histogram{Unit: "s", Edges: make(Column, n+1), Counts: make([]uint64, n), Min: Of(c.low), Max: Of(c.high), Mean: Of(c.mean)}
	for i := range h.Edges {
		h.Edges[i] = math.Pow(10, float64(first+i*step)/perDecade)
	}
	for _, k := range keys {
		h.Counts[(k-first)/step] += c.counts[k]
	}
	return h, true
}
