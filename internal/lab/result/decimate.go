package result

import "math"

// buckets is how many classes of time a decimated series has at the most. Each leaves its first, its last, its smallest and its
// greatest value, and the first and the last gap if it has any: at the width of a picture nothing looks different, and no extreme is lost.
const buckets = 400

// point is one value; its number orders values of the same time.
type point struct {
	t, v   float64
	number uint64
}

// bucket is what is kept of one class of time.
type bucket struct {
	first, last, low, high, gap, lastGap point
	values, gaps                         bool
}

func (b *bucket) add(p point) {
	if math.IsNaN(p.v) {
		if !b.gaps {
			b.gap, b.gaps = p, true
		}
		b.lastGap = p
		return
	}
	if !b.values {
		b.first, b.last, b.low, b.high, b.values = p, p, p, p, true
		return
	}
	b.last = p
	if p.v < b.low.v {
		b.low = p
	}
	if p.v > b.high.v {
		b.high = p
	}
}

// merge takes in the bucket after b.
func (b *bucket) merge(next *bucket) {
	if next.gaps {
		if !b.gaps {
			b.gap, b.gaps = next.gap, true
		}
		b.lastGap = next.lastGap
	}
	if !next.values {
		return
	}
	if !b.values {
		b.first, b.low, b.high = next.first, next.low, next.high
	}
	b.last, b.values = next.last, true
	if next.low.v < b.low.v {
		b.low = next.low
	}
	if next.high.v > b.high.v {
		b.high = next.high
	}
}

// points returns what is kept, in order and each once.
func (b *bucket) points() []point {
	var all []point
	insert := func(p point) {
		i := len(all)
		for i > 0 && all[i-1].number > p.number {
			i--
		}
		if i > 0 && all[i-1].number == p.number {
			return
		}
		all = append(all, point{})
		copy(all[i+1:], all[i:])
		all[i] = p
	}
	if b.values {
		for _, p := range []point{b.first, b.last, b.low, b.high} {
			insert(p)
		}
	}
	if b.gaps {
		insert(b.gap)
		insert(b.lastGap)
	}
	return all
}

// Decimator keeps of a series, however long, what a picture of it needs: its memory does not grow. The zero Decimator is ready.
type Decimator struct {
	// start is the time of the first value, width that of a bucket.
	start, width float64
	count        uint64
	buckets      []bucket
	// early are the first values, before the width of a bucket is known.
	early []point
}

// Add takes the next value, not a number for a gap. A time that is before the last one, or none, is refused.
func (d *Decimator) Add(t, v float64) bool {
	if !finite(t) || d.count > 0 && t < d.lastTime() {
		return false
	}
	if math.IsInf(v, 0) {
		v = math.NaN()
	}
	p := point{t, v, d.count}
	d.count++
	if d.buckets == nil {
		d.early = append(d.early, p)
		if len(d.early) > 4*buckets {
			d.sort()
		}
		return true
	}
	d.place(p)
	return true
}

func (d *Decimator) lastTime() float64 {
	if d.buckets == nil {
		return d.early[len(d.early)-1].t
	}
	b := &d.buckets[len(d.buckets)-1]
	switch {
	case !b.values:
		return b.lastGap.t
	case !b.gaps:
		return b.last.t
	}
	return max(b.last.t, b.lastGap.t)
}

// sort puts the early values into buckets.
func (d *Decimator) sort() {
	d.start = d.early[0].t
	d.width = (d.early[len(d.early)-1].t - d.start) / buckets
	d.buckets = make([]bucket, 0, buckets)
	early := d.early
	d.early = nil
	for _, p := range early {
		d.place(p)
	}
}

func (d *Decimator) place(p point) {
	if d.width <= 0 {
		// All values so far had one time.
		d.width = (p.t - d.start) / buckets
	}
	for d.width > 0 && p.t-d.start >= d.width*buckets {
		d.halve()
	}
	i := 0
	if d.width > 0 {
		i = min(int((p.t-d.start)/d.width), buckets-1)
	}
	for len(d.buckets) <= i {
		d.buckets = append(d.buckets, bucket{})
	}
	d.buckets[i].add(p)
}

// halve makes the buckets twice as wide.
func (d *Decimator) halve() {
	d.width *= 2
	for i := range d.buckets {
		if i%2 == 0 {
			d.buckets[i/2] = d.buckets[i]
		} else {
			d.buckets[i/2].merge(&d.buckets[i])
		}
	}
	d.buckets = d.buckets[:(len(d.buckets)+1)/2]
}

// Count is how many values there were.
func (d *Decimator) Count() uint64 { return d.count }

// Columns returns what is left of the series.
func (d *Decimator) Columns() (times, values Column) {
	add := func(p point) { times, values = append(times, p.t), append(values, p.v) }
	times, values = Column{}, Column{}
	for _, p := range d.early {
		add(p)
	}
	for i := range d.buckets {
		for _, p := range d.buckets[i].points() {
			add(p)
		}
	}
	return times, values
}
