package roundtrip

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/clockd/clockd/internal/testkit"
)

// randomPart has a covariance that is one.
func randomPart(r *rand.Rand) model {
	var a [3][3]float64
	for i := range a {
		for j := range a {
			a[i][j] = r.NormFloat64()
		}
	}
	scale := [3]float64{3e-6, 2e-8, 1e-11}
	product := func(i, j int) float64 {
		return (a[i][0]*a[j][0] + a[i][1]*a[j][1] + a[i][2]*a[j][2]) * scale[i] * scale[j]
	}
	return model{
		offset: 1e-5 * r.NormFloat64(), rate: 3e-8 * r.NormFloat64(), drift: 1e-11 * r.NormFloat64(), weight: r.Float64() + 1e-3,
		p00: product(0, 0), p01: product(0, 1), p02: product(0, 2), p11: product(1, 1), p12: product(1, 2), p22: product(2, 2),
	}
}

// secondMoments are the mean and the raw second moments of offset and rate.
func secondMoments(part []model) [6]float64 {
	var s [6]float64
	for i := range part {
		m := &part[i]
		w := m.weight
		for k, x := range [6]float64{1, m.offset, m.rate, m.p00 + m.offset*m.offset, m.p01 + m.offset*m.rate, m.p11 + m.rate*m.rate} {
			s[k] += w * x
		}
	}
	return s
}

func near(a, b [6]float64, tolerance float64) bool {
	scale := [6]float64{1, 1e-5, 3e-8, 1e-10, 3e-13, 1e-15}
	for k := range a {
		if !(math.Abs(a[k]-b[k]) <= tolerance*scale[k]) {
			return false
		}
	}
	return true
}

// TestReduceKeepsMoments: parts that are merged have the mean and the covariance that they had together.
func TestReduceKeepsMoments(t *testing.T) {
	r := rand.New(rand.NewPCG(testkit.Seed(t), 20))
	for range 300 {
		part := make([]model, 1+r.IntN(3*shapeParts))
		for i := range part {
			part[i] = randomPart(r)
		}
		before, n := secondMoments(part), len(part)
		left := reduce(part)
		if left != min(n, shapeParts) || !near(secondMoments(part[:left]), before, 1e-9) {
			t.Fatalf("%d parts became %d: moments %g, were %g", n, left, secondMoments(part[:left]), before)
		}
	}
}

// TestSplitKeepsMoments: the parts that one is split into have together its mean and covariance.
func TestSplitKeepsMoments(t *testing.T) {
	r := rand.New(rand.NewPCG(testkit.Seed(t), 21))
	for range 300 {
		m := randomPart(r)
		m.offset, m.rate, m.weight = 0, 0, 1
		before := secondMoments([]model{m})
		var parts [3]model
		n := m.split(parts[:])
		if after := secondMoments(parts[:n]); n != 3 || !near(after, before, 1e-3) {
			t.Fatalf("moments %g, were %g", after, before)
		}
	}
}

// TestMomentsOfAMixture: mean, variance and third moment agree with those of many draws.
func TestMomentsOfAMixture(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 22))
	part := []model{{offset: 1, p00: 0.25, weight: 3}, {offset: -2, p00: 1, weight: 1}}
	mean, variance, third := moments(part)
	var s1, s2, s3 float64
	const n = 400000
	for range n {
		x := 1 + 0.5*r.NormFloat64()
		if r.IntN(4) == 0 {
			x = -2 + r.NormFloat64()
		}
		x -= mean
		s1, s2, s3 = s1+x, s2+x*x, s3+x*x*x
	}
	if math.Abs(s1/n) > 0.01 || math.Abs(s2/n-variance) > 0.05 || math.Abs(s3/n-third) > 0.2 {
		t.Errorf("mean %g off, variance %g (drawn %g), third moment %g (drawn %g)", s1/n, variance, s2/n, third, s3/n)
	}
}

// TestSkewnessMakesTheTailLighter: with the point the rare errors of the data centre are smaller than with the mean, on the very same
// exchanges, and the RMS is not larger by more than a hundredth.
func TestSkewnessMakesTheTailLighter(t *testing.T) {
	var withTail, meanTail, withRMS, meanRMS float64
	const seeds = 8
	for seed := range uint64(seeds) {
		b := bouts()[1]
		var with, mean []float64
		e := &estimator{}
		e.reset(0, 50e-6)
		walkBout(b, 2000+seed, func(forward, backward, dt float64) { e.update(forward, backward, dt) }, func(dt, x float64) {
			m, _ := e.mean(dt)
			o, _, _, _ := e.at(dt)
			with, mean = append(with, o+x), append(mean, m+x)
		})
		r, p := rmsAndP99(with)
		withRMS, withTail = withRMS+r, withTail+p
		r, p = rmsAndP99(mean)
		meanRMS, meanTail = meanRMS+r, meanTail+p
	}
	t.Logf("of the mean's: p99 %.4f, RMS %.4f", withTail/meanTail, withRMS/meanRMS)
	if withTail > 0.997*meanTail || withRMS > 1.01*meanRMS {
		t.Errorf("p99 %.4f of the mean's, RMS %.4f", withTail/meanTail, withRMS/meanRMS)
	}
}

// TestQuickDirectionOfALongRoundTrip: an exchange whose answer comes back a second late still shows that the offset cannot be greater than
// its quick request says. The late direction moves nothing.
func TestQuickDirectionOfALongRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 23))
	learnt := estimator{}
	learnt.reset(0, 50e-6)
	for i := range 600 {
		learnt.update(200e-6+50e-6*rng.ExpFloat64(), -200e-6-50e-6*rng.ExpFloat64(), 16*min(float64(i), 1))
	}
	_, std, _, _ := learnt.at(16)
	before, _ := learnt.mean(16)
	for _, c := range []struct {
		name              string
		forward, backward float64
		moves             float64 // its sign
	}{
		{"quick request", learnt.forwardLeast + before - std, -1, -1},
		{"quick answer", 1, before + std - learnt.backwardLeast, 1},
		{"both late", 1, -1, 0},
	} {
		e := learnt
		e.update(c.forward, c.backward, 16)
		after, _ := e.mean(0)
		if !e.outlier {
			t.Fatalf("%s: no outlier", c.name)
		}
		if moved := (after - before) / std; c.moves == 0 && math.Abs(moved) > 0.05 || c.moves != 0 && moved*c.moves < 0.2 {
			t.Errorf("%s: the estimate moved by %.3f standard deviations", c.name, moved)
		}
	}
}

// walkBout is the world of fight: take is given the exchanges, look the clock once a second after the first quarter.
func walkBout(b bout, seed uint64, take func(forward, backward, dt float64), look func(dt, x float64)) {
	rng := rand.New(rand.NewPCG(seed, 99))
	delay := func() float64 {
		d := b.least + b.queue*rng.ExpFloat64()
		if rng.Float64() < b.heavyShare {
			d += b.heavy * rng.ExpFloat64()
		}
		return d
	}
	x, y, last := 0.010, 12e-6, 0.0
	for t := 0.0; t < b.length; t++ {
		if math.Mod(t, b.poll) == 0 {
			take(-x+delay(), -x-delay(), t-last)
			last = t
		}
		if t > b.length/4 {
			look(t-last, x)
		}
		y += b.walk * rng.NormFloat64()
		x += y
	}
}
