package roundtrip

import "math"

const (
	// onsetMemory is how many round trips the least delay is learnt from, onsetRecent how many of them tell a new path.
	onsetMemory = 1024
	onsetRecent = 16
	onsetOrder  = 16
	// leastDoubt is the least doubt of the onset, in seconds.
	leastDoubt = 2e-9
)

// orderMean[k] is Γ(k+½)/Γ(k): the mean of the k-th smallest of many values whose density grows linearly from 0, in units in
// which the first one's is √π/2. The sum of two delays, each with a density that starts with a step, is such a value.
var orderMean = [onsetOrder + 1]float64{
	0, 0.886226925, 1.329340388, 1.661675485, 1.938621399, 2.180949074, 2.399043982, 2.598964314, 2.784604622, 2.958642411,
	3.123011434, 3.279162005, 3.428214824, 3.571057108, 3.708405458, 3.840848510, 3.968876794,
}

// onset knows the least round trip of a path, which no sample quite attains: it extrapolates from the smallest ones
// remembered to where their density begins.
type onset struct {
	memory [onsetMemory]float64
	count  int
	// smallest is the smallest round trip remembered, least the extrapolated least one, doubt the scale of its error, in seconds.
	smallest, least, doubt float64
	// scale is the inverse of a one-way delay's density at its least as the smallest round trips show it, in seconds.
	scale float64
}

// add remembers a round trip. origin is the density of a one-way delay at its least, per second: with few round trips it says
// how far they must be expected to stay away from it.
func (o *onset) add(delay, origin float64) {
	o.memory[o.count%onsetMemory] = delay
	o.count++
	o.extrapolate()
	if origin > 0 {
		expected := orderMean[1] * math.Sqrt(2/float64(min(o.count, onsetMemory))) / origin
		if o.count > onsetMemory/16 {
			expected *= 0.3 // the order statistics know better by now, but chance may bring the smallest ones together
		}
		o.doubt = max(o.doubt, min(expected, o.least/2))
	}
}

// forget keeps the newest n round trips only.
func (o *onset) forget(n int) {
	n = min(n, o.count, onsetMemory)
	var kept [onsetMemory]float64
	for i := range n {
		kept[i] = o.memory[(o.count-n+i)%onsetMemory]
	}
	o.memory, o.count = kept, n
}

// steadilyAbove reports whether all of the newest onsetRecent round trips are above limit and half of them within spread of the
// least of them: a new path, and neither congestion nor the last of the old path among the first of the new.
func (o *onset) steadilyAbove(limit, spread float64) bool {
	if o.count < onsetRecent {
		return false
	}
	var d [onsetRecent]float64
	for i := range d {
		if d[i] = o.memory[(o.count-1-i)%onsetMemory]; d[i] <= limit {
			return false
		}
	}
	insertionSort(d[:])
	return d[onsetRecent/2]-d[0] <= spread
}

func (o *onset) extrapolate() {
	n := min(o.count, onsetMemory)
	if n == 0 {
		return
	}
	k := min(max(n/16, 2), onsetOrder)
	var smallest [onsetOrder]float64
	have := 0
	for _, d := range o.memory[:n] {
		if have == k && d >= smallest[k-1] {
			continue
		}
		i := have
		if have < k {
			have++
		} else {
			i = k - 1
		}
		for ; i > 0 && smallest[i-1] > d; i-- {
			smallest[i] = smallest[i-1]
		}
		smallest[i] = d
	}
	o.doubt = 0
	if have > 1 {
		o.doubt = (smallest[have-1] - smallest[0]) * orderMean[1] / (orderMean[have] - orderMean[1])
	}
	o.doubt = min(o.doubt, smallest[0])
	o.smallest = smallest[0]
	o.scale = o.doubt / orderMean[1] * math.Sqrt(float64(n)/2)
	o.least = smallest[0] - o.doubt
	o.doubt = max(o.doubt, leastDoubt)
}
