package metrics

import "math"

// A histogram has 2^subBits buckets to the octave, from 2^leastExponent to 2^mostExponent.
const (
	subBits       = 7
	subBuckets    = 1 << subBits
	leastExponent = -60
	mostExponent  = 40
	octaves       = mostExponent - leastExponent
)

// QuantileError is the largest relative error of a quantile that Quantiles returns.
const QuantileError = 1.0 / (2 * subBuckets)

// Quantiles counts numbers of either sign in bounded memory, for quantiles that are wrong by no more than QuantileError (1/256) of the
// value, or by 2⁻⁶⁰ (8.7·10⁻¹⁹) if that is more. The smallest, the largest, the number and the root mean square are exact, apart from
// rounding. It needs no seed, and the order of the numbers changes nothing but the last bits of the root mean square.
//
// Memory: 1 KiB for each octave of each sign in which there was a number, 200 KiB at the very most. The zero value is empty.
type Quantiles struct {
	// buckets are numbers' magnitudes: [0] positive, [1] negative.
	buckets            [2][octaves]*[subBuckets]uint64
	counts             [2][octaves]uint64
	zero               uint64
	beyond             [2]uint64
	count              uint64
	smallest, greatest float64
	squares            float64
	rejected           uint64
}

// Add counts a number. Infinities and what is not a number are counted apart, as Rejected.
func (q *Quantiles) Add(x float64) {
	if !finite(x) {
		q.rejected++
		return
	}
	if q.count == 0 || x < q.smallest {
		q.smallest = x
	}
	if q.count == 0 || x > q.greatest {
		q.greatest = x
	}
	q.count++
	q.squares += x * x
	q.place(x)
}

// place finds the number's bucket: the exponent is the octave, the first bits of the mantissa the bucket in it.
func (q *Quantiles) place(x float64) {
	bits := math.Float64bits(x)
	sign := bits >> 63
	octave := int(bits>>52&0x7ff) - 1023 - leastExponent
	switch {
	case octave < 0:
		q.zero++
	case octave >= octaves:
		q.beyond[sign]++
	default:
		page := q.buckets[sign][octave]
		if page == nil {
			page = new([subBuckets]uint64)
			q.buckets[sign][octave] = page
		}
		page[bits>>(52-subBits)&(subBuckets-1)]++
		q.counts[sign][octave]++
	}
}

// Count returns how many numbers were added, Rejected how many were not numbers.
func (q *Quantiles) Count() uint64 { return q.count }

// Rejected counts what was not a finite number.
func (q *Quantiles) Rejected() uint64 { return q.rejected }

// Min returns the smallest number.
func (q *Quantiles) Min() Figure { return known(q.smallest, q.count) }

// Max returns the largest number.
func (q *Quantiles) Max() Figure { return known(q.greatest, q.count) }

// RMS returns the root mean square.
func (q *Quantiles) RMS() Figure { return known(math.Sqrt(q.squares/float64(q.count)), q.count) }

// Quantile returns the number of rank ⌈p·n⌉ of n, in ascending order (the first for p = 0). It is unknown if there are no numbers, if p
// is not in [0, 1], and if the number of that rank is beyond ±2⁴⁰ and neither the smallest nor the largest.
func (q *Quantiles) Quantile(p float64) Figure {
	if q.count == 0 || !(p >= 0 && p <= 1) {
		return Figure{Samples: q.count}
	}
	rank := max(1, uint64(math.Ceil(p*float64(q.count))))
	switch {
	case rank == 1:
		return q.Min()
	case rank >= q.count:
		return q.Max()
	}
	value, ok := q.ranked(rank)
	if !ok {
		return Figure{Samples: q.count}
	}
	return Figure{min(max(value, q.smallest), q.greatest), q.count, true}
}

// ranked walks from the most negative number up.
func (q *Quantiles) ranked(rank uint64) (float64, bool) {
	if rank <= q.beyond[1] {
		return 0, false
	}
	left := rank - q.beyond[1]
	for octave := octaves - 1; octave >= 0; octave-- {
		if left > q.counts[1][octave] {
			left -= q.counts[1][octave]
			continue
		}
		for i := subBuckets - 1; i >= 0; i-- {
			if n := q.buckets[1][octave][i]; left > n {
				left -= n
				continue
			}
			return -middle(octave, i), true
		}
	}
	if left <= q.zero {
		return 0, true
	}
	left -= q.zero
	for octave := range octaves {
		if left > q.counts[0][octave] {
			left -= q.counts[0][octave]
			continue
		}
		for i, n := range q.buckets[0][octave] {
			if left > n {
				left -= n
				continue
			}
			return middle(octave, i), true
		}
	}
	return 0, false
}

// middle of a bucket: no number in it is farther from it than half a bucket, 2⁻⁸ of the octave's lower end.
func middle(octave, i int) float64 {
	return math.Ldexp(1+(float64(i)+0.5)/subBuckets, octave+leastExponent)
}

// Merge adds all that other has counted.
func (q *Quantiles) Merge(other *Quantiles) {
	if other.count > 0 {
		if q.count == 0 || other.smallest < q.smallest {
			q.smallest = other.smallest
		}
		if q.count == 0 || other.greatest > q.greatest {
			q.greatest = other.greatest
		}
	}
	for sign := range q.buckets {
		q.beyond[sign] += other.beyond[sign]
		for octave, page := range other.buckets[sign] {
			if page == nil {
				continue
			}
			if q.buckets[sign][octave] == nil {
				q.buckets[sign][octave] = new([subBuckets]uint64)
			}
			for i, n := range page {
				q.buckets[sign][octave][i] += n
			}
			q.counts[sign][octave] += other.counts[sign][octave]
		}
	}
	q.zero += other.zero
	q.count += other.count
	q.squares += other.squares
	q.rejected += other.rejected
}

// Distribution is a summary of many numbers. The quantiles are as exact as Quantiles says.
type Distribution struct {
	Min  Figure `json:"min"`
	P50  Figure `json:"p50"`
	P99  Figure `json:"p99"`
	P999 Figure `json:"p99_9"`
	Max  Figure `json:"max"`
	RMS  Figure `json:"rms"`
}

// Distribution sums the numbers up.
func (q *Quantiles) Distribution() Distribution {
	return Distribution{q.Min(), q.Quantile(0.5), q.Quantile(0.99), q.Quantile(0.999), q.Max(), q.RMS()}
}
