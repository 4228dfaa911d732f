package agreement

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// The slow, obvious twins: by the definitions, with repeated removal instead of sorting.

// without returns x without its smallest value, or its largest.
func without(x []float64, largest bool) []float64 {
	at := 0
	for i := range x {
		if largest && x[i] > x[at] || !largest && x[i] < x[at] {
			at = i
		}
	}
	return slices.Delete(slices.Clone(x), at, at+1)
}

// trimmed removes the f smallest and the f largest.
func trimmed(x []float64, f int) []float64 {
	for range f {
		x = without(without(x, false), true)
	}
	return x
}

func slowInterval(in []Interval, f int) Interval {
	var lows, highs []float64
	for _, i := range in {
		lows, highs = append(lows, i.Low), append(highs, i.High)
	}
	for range f {
		lows, highs = without(lows, false), without(highs, true)
	}
	return Interval{slices.Min(lows), slices.Max(highs)}
}

func slowMidpoint(x []float64, f int) float64 {
	x = trimmed(x, f)
	return (slices.Min(x) + slices.Max(x)) / 2
}

func slowAverage(x []float64, f int) float64 {
	x = trimmed(x, f)
	sum := 0.0
	for _, v := range x {
		sum += v
	}
	return sum / float64(len(x))
}

func slowEgocentric(x []float64, own, radius float64, n int) float64 {
	sum := 0.0
	for i := range n {
		v := own
		if i < len(x) && x[i] >= own-radius && x[i] <= own+radius {
			v = x[i]
		}
		sum += v
	}
	return sum / float64(n)
}

func slowMedian(x []float64) float64 {
	for len(x) > 2 {
		x = without(without(x, false), true)
	}
	return (x[0] + x[len(x)-1]) / 2
}

// slowCommon: h* is the least h such that at least n−f half-widths are not above it.
func slowCommon(halves []float64, n, f int) float64 {
	best := math.Inf(1)
	for _, h := range halves {
		count := 0
		for _, o := range halves {
			if o <= h {
				count++
			}
		}
		if count >= n-f {
			best = min(best, h)
		}
	}
	return best
}

func near(a, b, scale float64) bool {
	return a == b || math.Abs(a-b) <= 1e-12*(scale+math.Abs(a)+math.Abs(b))
}

func randomIntervals(rng *rand.Rand, n int) []Interval {
	in := make([]Interval, n)
	for i := range in {
		c := float64(rng.IntN(7)) * math.Pow(10, float64(rng.IntN(4)))
		if rng.IntN(2) == 0 {
			c = rng.NormFloat64() * 100
		}
		w := rng.ExpFloat64() * 10 * float64(rng.IntN(2))
		in[i] = Interval{c - w, c + w}
	}
	return in
}

// TestTwins: each function equals its slow twin, and relabelling the members changes nothing.
func TestTwins(t *testing.T) {
	scratch := make([]float64, 0, 16)
	for seed := range uint64(100000) {
		rng := rand.New(rand.NewPCG(seed, 10))
		n := 1 + rng.IntN(13)
		f := rng.IntN((n-1)/2 + 1)
		in := randomIntervals(rng, n)
		var x, h []float64
		for _, i := range in {
			x, h = append(x, i.Centre()), append(h, i.HalfWidth())
		}
		got, ok := FaultTolerantInterval(in, f, scratch)
		if !ok || got != slowInterval(in, f) {
			t.Fatalf("seed %d: the interval is %v, its twin says %v", seed, got, slowInterval(in, f))
		}
		m, _ := FaultTolerantMidpoint(x, f, scratch)
		a, _ := FaultTolerantAverage(x, f, scratch)
		d, _ := Median(x, scratch)
		radius, more := rng.ExpFloat64()*100, n+rng.IntN(3)
		e := EgocentricAverage(x, x[0], radius, more)
		c := CommonHalfWidth(h, n, f, scratch)
		if !near(m, slowMidpoint(x, f), 1e4) || !near(a, slowAverage(x, f), 1e4) || !near(d, slowMedian(x), 1e4) ||
			!near(e, slowEgocentric(x, x[0], radius, more), 1e4) || c != slowCommon(h, n, f) {
			t.Fatalf("seed %d: %g %g, %g %g, %g %g, %g %g, %g %g", seed, m, slowMidpoint(x, f), a, slowAverage(x, f), d, slowMedian(x),
				e, slowEgocentric(x, x[0], radius, more), c, slowCommon(h, n, f))
		}
		own := x[0]
		rng.Shuffle(n, func(i, j int) { in[i], in[j], x[i], x[j], h[i], h[j] = in[j], in[i], x[j], x[i], h[j], h[i] })
		got2, _ := FaultTolerantInterval(in, f, scratch)
		m2, _ := FaultTolerantMidpoint(x, f, scratch)
		a2, _ := FaultTolerantAverage(x, f, scratch)
		d2, _ := Median(x, scratch)
		if got2 != got || m2 != m || !near(a2, a, 1e4) || d2 != d || !near(EgocentricAverage(x, own, radius, more), e, 1e4) ||
			CommonHalfWidth(h, n, f, scratch) != c {
			t.Fatalf("seed %d: relabelling changed a result", seed)
		}
	}
}

func TestFunctionsRefuse(t *testing.T) {
	if i, ok := FaultTolerantInterval(make([]Interval, 2), 1, nil); ok || !math.IsInf(i.Low, -1) || !math.IsInf(i.High, 1) {
		t.Errorf("two intervals against one liar: %v %v", i, ok)
	}
	for name, f := range map[string]func([]float64, int, []float64) (float64, bool){"ftm": FaultTolerantMidpoint, "fta": FaultTolerantAverage} {
		if _, ok := f(make([]float64, 4), 2, nil); ok {
			t.Errorf("%s: four values against two liars", name)
		}
		if _, ok := f(nil, 0, nil); ok {
			t.Errorf("%s: no value at all", name)
		}
		if _, ok := f(make([]float64, 4), -1, nil); ok {
			t.Errorf("%s: a negative number of liars", name)
		}
	}
	if _, ok := Median(nil, nil); ok {
		t.Error("the median of nothing")
	}
	if w := CommonHalfWidth([]float64{1, 2}, 4, 1, nil); !math.IsInf(w, 1) {
		t.Errorf("two of four known: %g", w)
	}
	for a := range algorithms {
		text, _ := a.MarshalText()
		var b Algorithm
		if err := b.UnmarshalText(text); err != nil || a != b {
			t.Errorf("%v: %v %v", a, b, err)
		}
	}
	var a Algorithm
	if a.UnmarshalText([]byte("marzullo")) == nil || Algorithm(99).String() != "algorithm_99" {
		t.Error("an unknown function has a name")
	}
}

// TestAroundPoint: the interval still contains what it contained, is at most 1.5 times as wide, and no wider for a point in the
// middle.
func TestAroundPoint(t *testing.T) {
	for seed := range uint64(20000) {
		rng := rand.New(rand.NewPCG(seed, 11))
		i := Interval{Low: rng.NormFloat64()}
		i.High = i.Low + rng.ExpFloat64()
		p := i.Low + (i.High-i.Low)*(rng.Float64()*1.2-0.1)
		c, h := AroundPoint(i, p)
		if c-h > i.Low+1e-15 || c+h < i.High-1e-15 || h > 1.5*i.HalfWidth()+1e-12 {
			t.Fatalf("seed %d: %v around %g is %g ± %g", seed, i, p, c, h)
		}
		if inner := math.Abs(p-i.Centre()) <= i.HalfWidth()/2; inner && c != p {
			t.Fatalf("seed %d: the point %g in the inner half was moved to %g", seed, p, c)
		}
		if c, h := AroundPoint(i, i.Centre()); c != i.Centre() || math.Abs(h-i.HalfWidth()) > 1e-15 {
			t.Fatalf("seed %d: around its own middle %v is %g ± %g", seed, i, c, h)
		}
	}
}

// lemma is one configuration of the convergence lemma: correct clocks, liars, and what two observers read of them.
type lemma struct {
	n, f    int
	spread  float64 // Π
	eps     float64
	correct []float64
	a, b    float64
	p, q    []Interval // readings of all n, liars last
	cp, cq  []float64  // their centres
	ownP    int
	ownQ    int
}

// newLemma makes a configuration, often an extreme one. liars ≤ f lie; up to f − liars other readings are too wide at each
// observer, not the same at both.
func newLemma(rng *rand.Rand, n, f, liars int, wide bool) *lemma {
	l := &lemma{n: n, f: f, spread: 100, eps: 10}
	m := n - liars
	split := 1 + rng.IntN(m)
	for i := range m {
		v := l.spread * rng.Float64()
		switch rng.IntN(4) {
		case 0:
			v = 0
		case 1:
			v = l.spread
		case 2:
			if v = 0; i >= split {
				v = l.spread
			}
		}
		l.correct = append(l.correct, v)
	}
	l.a, l.b = slices.Min(l.correct), slices.Max(l.correct)
	l.ownP, l.ownQ = rng.IntN(m), rng.IntN(m)
	if l.correct[l.ownP] > l.correct[l.ownQ] {
		l.ownP, l.ownQ = l.ownQ, l.ownP
	}
	l.p = l.read(rng, liars, -1, l.correct[l.ownP], wide)
	l.q = l.read(rng, liars, +1, l.correct[l.ownQ], wide)
	for i := range n {
		l.cp, l.cq = append(l.cp, l.p[i].Centre()), append(l.cq, l.q[i].Centre())
	}
	return l
}

// read is what an observer with that clock reads; an adversary wants it on the given side.
func (l *lemma) read(rng *rand.Rand, liars, side int, own float64, wide bool) []Interval {
	var in []Interval
	extreme, counted := rng.IntN(3) > 0, rng.IntN(2) == 0
	for _, v := range l.correct {
		w, e := l.eps, (2*rng.Float64()-1)*l.eps
		if extreme {
			e = float64(side) * l.eps
		} else if rng.IntN(2) == 0 {
			w = l.eps * rng.Float64()
			e = (2*rng.Float64() - 1) * w
		}
		in = append(in, Interval{v + e - w, v + e + w})
	}
	for range liars {
		v := float64(side) * math.Pow(10, float64(rng.IntN(6)))
		if rng.IntN(3) == 0 {
			v = l.spread * rng.Float64()
		}
		w := rng.ExpFloat64() * l.eps * float64(rng.IntN(3))
		if counted { // just near enough to count in an egocentric average
			v, w = own+float64(side)*(l.spread+l.eps)*(1-1e-9), 0
		}
		in = append(in, Interval{v - w, v + w})
	}
	if wide {
		for range l.f - liars {
			i := rng.IntN(len(l.correct))
			v, w := l.correct[i], l.eps*math.Pow(10, 3*rng.Float64())
			e := (2*rng.Float64() - 1) * w
			in[i] = Interval{v + e - w, v + e + w}
		}
	}
	return in
}

// cells are the (n, f) that the lemmas are tested with.
func cells() [][2]int { return [][2]int{{4, 1}, {5, 1}, {7, 1}, {7, 2}, {10, 3}, {3, 0}} }

const lemmaCases = 60000 * seeds

// TestLemma is theory 3.2: containment, and the contraction Π/2+2ε of the midpoints and that of the averages. It has teeth: the worst
// case found comes near the bound.
func TestLemma(t *testing.T) {
	for _, nf := range cells() {
		n, f := nf[0], nf[1]
		var worst [algorithms]float64
		var outside float64
		for seed := range uint64(lemmaCases) {
			rng := rand.New(rand.NewPCG(seed, uint64(100*n+f)))
			l := newLemma(rng, n, f, rng.IntN(f+1), seed%2 == 0)
			l.interval(t, seed, &worst[IntervalMidpoint])
			if seed%2 == 0 {
				continue // the others do not bear wide readings
			}
			for a, g := range map[Algorithm]func([]float64, int, []float64) (float64, bool){Midpoint: FaultTolerantMidpoint, Average: FaultTolerantAverage} {
				x, _ := g(l.cp, f, nil)
				y, _ := g(l.cq, f, nil)
				if min(x, y) < l.a-l.eps-1e-9 || max(x, y) > l.b+l.eps+1e-9 {
					t.Fatalf("%v (%d,%d) seed %d: %g or %g is outside [%g, %g] ± ε", a, n, f, seed, x, y, l.a, l.b)
				}
				worst[a] = max(worst[a], math.Abs(x-y))
			}
			radius := l.spread + l.eps
			x := EgocentricAverage(l.cp, l.correct[l.ownP], radius, n)
			y := EgocentricAverage(l.cq, l.correct[l.ownQ], radius, n)
			worst[Egocentric] = max(worst[Egocentric], math.Abs(x-y))
			outside = max(outside, l.a-min(x, y), max(x, y)-l.b)
			x, _ = Median(l.cp, nil)
			y, _ = Median(l.cq, nil)
			worst[PlainMedian] = max(worst[PlainMedian], math.Abs(x-y))
		}
		checkContraction(t, n, f, worst, outside)
	}
}

func checkContraction(t *testing.T, n, f int, worst [algorithms]float64, outside float64) {
	const spread, eps = 100.0, 10.0
	for a := range algorithms {
		m := Model{Members: n, Faults: f, Algorithm: a}
		bound := m.contraction()*spread + 2*eps
		t.Logf("(%d,%d) %-6v worst %6.2f of %6.2f", n, f, a, worst[a], bound)
		if worst[a] > bound+1e-9 {
			t.Errorf("(%d,%d) %v: two observers differ by %g, the lemma says %g", n, f, a, worst[a], bound)
		}
		if worst[a] < 0.9*bound {
			t.Errorf("(%d,%d) %v: the worst case found is %g, far from %g: this test has no teeth", n, f, a, worst[a], bound)
		}
	}
	limit := (float64(f)*(spread+eps) + float64(n-f)*eps) / float64(n)
	if outside > limit+1e-9 || f > 0 && outside <= eps {
		t.Errorf("(%d,%d) cnv leaves the range by %g: more than ε, at most %g", n, f, outside, limit)
	}
}

// interval checks all that FaultTolerantInterval's comment claims, with the widening of CommonHalfWidth too.
func (l *lemma) interval(t *testing.T, seed uint64, worst *float64) {
	t.Helper()
	plainP, _ := FaultTolerantInterval(l.p, l.f, nil)
	plainQ, _ := FaultTolerantInterval(l.q, l.f, nil)
	if plainP.Low > plainQ.High+1e-9 || plainQ.Low > plainP.High+1e-9 {
		t.Fatalf("(%d,%d) seed %d: the trimmed intervals %v and %v do not meet", l.n, l.f, seed, plainP, plainQ)
	}
	for _, wider := range []bool{false, true} {
		p, q := plainP, plainQ
		if wider {
			p, q = equalised(l.p, l.f), equalised(l.q, l.f)
		}
		for _, i := range []Interval{p, q} {
			if i.Low < l.a-2*l.eps-1e-9 || i.High > l.b+2*l.eps+1e-9 || i.Low > l.b || i.High < l.a {
				t.Fatalf("(%d,%d) seed %d: %v does not fit [%g, %g] ± 2ε", l.n, l.f, seed, i, l.a, l.b)
			}
			if c := i.Centre(); c < l.a-l.eps-1e-9 || c > l.b+l.eps+1e-9 {
				t.Fatalf("(%d,%d) seed %d: the middle %g is outside [%g, %g] ± ε", l.n, l.f, seed, c, l.a, l.b)
			}
		}
		d := math.Abs(p.Centre() - q.Centre())
		if d > (l.b-l.a)/2+2*l.eps+1e-9 {
			t.Fatalf("(%d,%d) seed %d: the middles differ by %g, the lemma says %g (widened: %v)", l.n, l.f, seed, d, (l.b-l.a)/2+2*l.eps, wider)
		}
		*worst = max(*worst, d)
	}
}

// equalised is iFTM on readings widened to the common half-width.
func equalised(in []Interval, f int) Interval {
	var halves []float64
	for _, i := range in {
		halves = append(halves, i.HalfWidth())
	}
	common := CommonHalfWidth(halves, len(in), f, nil)
	var out []Interval
	for _, i := range in {
		w := max(i.HalfWidth(), common)
		out = append(out, Interval{i.Centre() - w, i.Centre() + w})
	}
	r, _ := FaultTolerantInterval(out, f, nil)
	return r
}

// TestMissing is the omission rule. While the liars and those that p or q miss are together not more than f, everything holds as with a
// full vector; and the rule of theory 3.4, which counts each observer's own missing ones only, is too generous.
func TestMissing(t *testing.T) {
	for seed := range uint64(lemmaCases) {
		nf := cells()[seed%5]
		n, f := nf[0], nf[1]
		rng := rand.New(rand.NewPCG(seed, 12))
		liars := rng.IntN(f + 1)
		l := newLemma(rng, n, f, liars, false)
		gone := rng.Perm(n - liars)[:f-liars]
		drop := func(in []Interval) (out []Interval) {
			for i := range in {
				if !slices.Contains(gone, i) || rng.IntN(2) == 0 {
					out = append(out, in[i])
				}
			}
			return out
		}
		l.p, l.q = drop(l.p), drop(l.q)
		var worst float64
		l.interval(t, seed, &worst)
		if len(l.p) < 2*f+1 {
			t.Fatalf("seed %d: %d readings are left", seed, len(l.p))
		}
	}
	point := func(x ...float64) (in []Interval) {
		for _, v := range x {
			in = append(in, Interval{v, v})
		}
		return in
	}
	p, _ := FaultTolerantInterval(point(0, 10, 10), 1, nil)
	q, _ := FaultTolerantInterval(point(0, 0, 10), 1, nil)
	if d := p.Centre() - q.Centre(); d != 10 {
		t.Errorf("each of two observers misses another one of {0,0,10,10}: they differ by %g; the comment says 10", d)
	}
}

// TestMissingEqualsFilling: leaving k members out gives what n members give when the gaps are filled from within [L, U].
func TestMissingEqualsFilling(t *testing.T) {
	for seed := range uint64(20000) {
		rng := rand.New(rand.NewPCG(seed, 13))
		f := 1 + rng.IntN(3)
		in := randomIntervals(rng, 2*f+1+rng.IntN(6))
		short, _ := FaultTolerantInterval(in, f, nil)
		full := slices.Clone(in)
		for range 1 + rng.IntN(f) {
			a, b := min(short.Low, short.High), max(short.Low, short.High)
			v := a + (b-a)*rng.Float64()
			full = append(full, Interval{v, v})
		}
		if got, _ := FaultTolerantInterval(full, f, nil); got != short {
			t.Fatalf("seed %d: %v with gaps, %v filled", seed, short, got)
		}
	}
}

// TestAllCorrect: when nobody lies in fact, the midpoints and the average differ by 2ε at most, whatever Π.
func TestAllCorrect(t *testing.T) {
	var worst float64
	for seed := range uint64(lemmaCases) {
		nf := cells()[seed%6]
		rng := rand.New(rand.NewPCG(seed, 14))
		l := newLemma(rng, nf[0], nf[1], 0, false)
		p, _ := FaultTolerantInterval(l.p, l.f, nil)
		q, _ := FaultTolerantInterval(l.q, l.f, nil)
		m, _ := FaultTolerantMidpoint(l.cp, l.f, nil)
		o, _ := FaultTolerantMidpoint(l.cq, l.f, nil)
		x, _ := FaultTolerantAverage(l.cp, l.f, nil)
		y, _ := FaultTolerantAverage(l.cq, l.f, nil)
		d := max(math.Abs(p.Centre()-q.Centre()), math.Abs(m-o), math.Abs(x-y))
		if d > 2*l.eps+1e-9 {
			t.Fatalf("seed %d: %g apart without a liar", seed, d)
		}
		worst = max(worst, d)
	}
	if worst < 19.9 {
		t.Errorf("the worst case found is %g of 20: this test has no teeth", worst)
	}
}

// TestLipschitz: order statistics move by no more than the readings do.
func TestLipschitz(t *testing.T) {
	for seed := range uint64(50000) {
		rng := rand.New(rand.NewPCG(seed, 15))
		n := 1 + rng.IntN(10)
		f := rng.IntN((n-1)/2 + 1)
		in := randomIntervals(rng, n)
		moved, by := slices.Clone(in), 0.0
		for i := range moved {
			a, b := rng.NormFloat64(), rng.NormFloat64()
			moved[i].Low += a
			moved[i].High += b
			by = max(by, math.Abs(a), math.Abs(b))
		}
		p, _ := FaultTolerantInterval(in, f, nil)
		q, _ := FaultTolerantInterval(moved, f, nil)
		if d := max(math.Abs(p.Low-q.Low), math.Abs(p.High-q.High)); d > by+1e-9 {
			t.Fatalf("seed %d: readings moved by %g, an edge by %g", seed, by, d)
		}
	}
}

func TestFunctionsDoNotAllocate(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 16))
	in := randomIntervals(rng, 10)
	x := make([]float64, 10)
	scratch := make([]float64, 0, 10)
	if n := testing.AllocsPerRun(100, func() {
		FaultTolerantInterval(in, 3, scratch)
		FaultTolerantMidpoint(x, 3, scratch)
		FaultTolerantAverage(x, 3, scratch)
		EgocentricAverage(x, 0, 1, 10)
		Median(x, scratch)
		CommonHalfWidth(x, 10, 3, scratch)
	}); n != 0 {
		t.Errorf("%g allocations", n)
	}
}
