package roundtrip

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// bout is one of the published scenarios (docs/estimation.md), reduced to the estimator: true time, one counter, one perfect
// server, and the peers' figures on it.
type bout struct {
	name                string
	length, poll        float64
	least, queue        float64
	heavyShare, heavy   float64
	walk, sine, period  float64
	chrony, oracle, p99 float64
	delay               func(*rand.Rand) float64
	event               func(t float64, x, y *float64) (forward, backward float64)
}

func bouts() []bout {
	return []bout{
		{name: "lan_sw", length: 40000, poll: 16, least: 50e-6, queue: 10e-6, walk: 1e-9, period: 1, chrony: 2.69e-6, oracle: 1.09e-6, p99: 7.3e-6},
		{name: "dc", length: 40000, poll: 16, least: 200e-6, queue: 50e-6, heavyShare: 0.05, heavy: 1e-3, walk: 1e-9, period: 1, chrony: 6.97e-6, oracle: 2.98e-6, p99: 17.7e-6},
		{name: "wan", length: 80000, poll: 64, least: 20e-3, queue: 1e-3, walk: 1e-9, period: 1, chrony: 105e-6, oracle: 37.5e-6, p99: 279e-6},
		{name: "temp", length: 28800, poll: 16, least: 50e-6, queue: 10e-6, walk: 1e-9, sine: 1e-6, period: 3600, chrony: 6.41e-6, oracle: 2.04e-6, p99: 17.1e-6},
	}
}

// fight runs an estimator on a bout and returns the errors of its estimate, one a second, after the first quarter.
func fight(b bout, seed uint64) []float64 { return fightWith(&estimator{}, b, seed) }

func fightWith(e *estimator, b bout, seed uint64) []float64 {
	rng := rand.New(rand.NewPCG(seed, 99))
	e.reset(0, 50e-6)
	delay := b.delay
	if delay == nil {
		delay = func(rng *rand.Rand) float64 {
			d := b.least + b.queue*rng.ExpFloat64()
			if b.heavyShare > 0 && rng.Float64() < b.heavyShare {
				d += b.heavy * rng.ExpFloat64()
			}
			return d
		}
	}
	x, y, last := 0.010, 12e-6, 0.0
	var errors []float64
	for t := 0.0; t < b.length; t++ {
		var df, db float64
		if b.event != nil {
			df, db = b.event(t, &x, &y)
		}
		if math.Mod(t, b.poll) == 0 {
			e.update(-x+delay(rng)+df, -x-delay(rng)-db, t-last)
			last = t
		}
		if t > b.length/4 {
			o, _, _, _ := e.at(t - last)
			errors = append(errors, o+x)
		}
		y += b.walk * rng.NormFloat64()
		x += y + b.sine*math.Sin(2*math.Pi*(t+0.5)/b.period)
	}
	return errors
}

func rmsAndP99(errors []float64) (rms, p99 float64) {
	a := make([]float64, len(errors))
	for i, v := range errors {
		rms += v * v
		a[i] = math.Abs(v)
	}
	slices.Sort(a)
	return math.Sqrt(rms / float64(len(a))), a[len(a)*99/100]
}

// TestEstimatorNearOracle: on the published networks, told nothing of their noise, the estimate is near that of an oracle which
// is told it, and less than half as wrong as chrony's. The figures guard the result; clockbench sim measures the whole node.
func TestEstimatorNearOracle(t *testing.T) {
	const seeds = 5
	for _, b := range bouts() {
		var rs, ps []float64
		for seed := range uint64(seeds) {
			r, p := rmsAndP99(fight(b, seed+1))
			rs, ps = append(rs, r), append(ps, p)
		}
		slices.Sort(rs)
		slices.Sort(ps)
		r, p := rs[seeds/2], ps[seeds/2]
		t.Logf("%-7s RMS %.3g s: %.3f of chrony's, %.3f of the oracle's; worst seed %.3f; p99 %.3f of chrony's", b.name, r, r/b.chrony, r/b.oracle, rs[seeds-1]/b.oracle, p/b.p99)
		if p > 0.5*b.p99 {
			t.Errorf("%s: p99 %g s is %.3f of chrony's", b.name, p, p/b.p99)
		}
		if r > 0.5*b.chrony || r > 1.15*b.oracle {
			t.Errorf("%s: RMS %g s is %.3f of chrony's and %.3f of the oracle's", b.name, r, r/b.chrony, r/b.oracle)
		}
		if rs[seeds-1] > 2*b.oracle {
			t.Errorf("%s: the worst seed has %.3f times the oracle's error", b.name, rs[seeds-1]/b.oracle)
		}
	}
}

// TestRouteChange: 300 µs more, on one direction or both, look like an offset to whoever has no memory. Here they must not, nor
// may the way back.
func TestRouteChange(t *testing.T) {
	for seed := range uint64(8) {
		for _, more := range [][2]float64{{300e-6, 0}, {0, 300e-6}, {300e-6, 300e-6}, {20e-6, 0}} {
			b := bouts()[0]
			b.length, b.event = 40000, func(t float64, _, _ *float64) (float64, float64) {
				if t < 15000 || t >= 30000 {
					return 0, 0
				}
				return more[0], more[1]
			}
			errors := fight(b, seed+1)
			if rms, _ := rmsAndP99(errors); rms > 15e-6 {
				t.Errorf("seed %d, %v s more: RMS %g s", seed, more, rms)
			}
			if last, _ := rmsAndP99(errors[len(errors)-5000:]); last > 12e-6 {
				t.Errorf("seed %d, %v s more: RMS %g s after the way back", seed, more, last)
			}
		}
	}
}

// TestFrequencyStep: 2 ppm at once. A few samples later the estimate is back, and it does not ring.
func TestFrequencyStep(t *testing.T) {
	for seed := range uint64(5) {
		b := bouts()[0]
		b.length, b.event = 20000, func(t float64, _, y *float64) (float64, float64) {
			if t == 10000 {
				*y += 2e-6
			}
			return 0, 0
		}
		errors := fight(b, seed+1)
		at := 10000 - 5001
		if worst := worstOf(errors[at : at+200]); worst > 80e-6 {
			t.Errorf("seed %d: %g s wrong right after the step", seed, worst)
		}
		if worst := worstOf(errors[at+200:]); worst > 25e-6 {
			t.Errorf("seed %d: still %g s wrong more than 200 s after the step", seed, worst)
		}
	}
}

func worstOf(errors []float64) float64 {
	worst := 0.0
	for _, e := range errors {
		worst = max(worst, math.Abs(e))
	}
	return worst
}

// TestOtherNetworks: nothing is tuned to exponential delays. The estimate is compared with the best straight line through the
// quickest half of the last 64 samples, which is what a careful linear regression does.
func TestOtherNetworks(t *testing.T) {
	for name, delay := range map[string]func(*rand.Rand) float64{
		"normal":     func(r *rand.Rand) float64 { return max(5e-3+1e-3*r.NormFloat64(), 1e-3) },
		"uniform":    func(r *rand.Rand) float64 { return 100e-6 + 200e-6*r.Float64() },
		"pareto":     func(r *rand.Rand) float64 { return 100e-6 * math.Pow(r.Float64(), -1/1.5) },
		"log-normal": func(r *rand.Rand) float64 { return 50e-6 + 100e-6*math.Exp(r.NormFloat64()) },
		"constant":   func(*rand.Rand) float64 { return 1e-3 },
		"jitter":     func(r *rand.Rand) float64 { return 10e-6 + 50e-9*math.Abs(r.NormFloat64()) },
		"two paths": func(r *rand.Rand) float64 {
			return 1e-3 + float64(r.IntN(2))*2e-3 + 50e-6*r.ExpFloat64()
		},
	} {
		b := bout{length: 20000, poll: 16, walk: 1e-9, period: 1, delay: delay}
		var ours, theirs float64
		for seed := range uint64(5) {
			r, _ := rmsAndP99(fight(b, seed+1))
			ours += r
			theirs += regress(b, seed+1)
		}
		t.Logf("%-10s RMS %.3g s, a linear regression %.3g s", name, ours/5, theirs/5)
		if ours > theirs {
			t.Errorf("%s: RMS %g s, worse than a linear regression with %g s", name, ours/5, theirs/5)
		}
	}
}

// regress is the rival of TestOtherNetworks on the same world.
func regress(b bout, seed uint64) float64 {
	rng := rand.New(rand.NewPCG(seed, 99))
	type point struct{ t, z, delay float64 }
	var window []point
	x, y := 0.010, 12e-6
	var intercept, slope, origin float64
	var errors []float64
	for t := 0.0; t < b.length; t++ {
		if math.Mod(t, b.poll) == 0 {
			f, g := b.delay(rng), b.delay(rng)
			window = append(window, point{t, -x + (f-g)/2, f + g})
			window = window[max(0, len(window)-64):]
			quick := slices.Clone(window)
			slices.SortFunc(quick, func(p, q point) int { return int(math.Copysign(1, p.delay-q.delay)) })
			quick = quick[:(len(quick)+1)/2]
			var n, st, sz, stt, stz float64
			origin = t
			for _, p := range quick {
				u := p.t - origin
				n, st, sz, stt, stz = n+1, st+u, sz+p.z, stt+u*u, stz+u*p.z
			}
			slope, intercept = 0, sz/n
			if d := n*stt - st*st; d > 0 {
				slope = (n*stz - st*sz) / d
				intercept = (sz - slope*st) / n
			}
		}
		if t > b.length/4 {
			errors = append(errors, intercept+slope*(t-origin)+x)
		}
		y += b.walk * rng.NormFloat64()
		x += y
	}
	r, _ := rmsAndP99(errors)
	return r
}

// TestDensityTable: the table agrees with the sum of exponentials.
func TestDensityTable(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	for range 50 {
		var d delayDensity
		mean := math.Pow(10, -8+8*rng.Float64())
		d.guess(mean)
		for range 200 {
			x := math.Pow(10, -9+9*rng.Float64())
			want, got := d.exact(x), d.at(x)
			if math.Abs(got-want) > 0.03*want+1e-6*d.origin {
				t.Fatalf("density at %g s: %g, the table says %g", x, want, got)
			}
		}
	}
}

// TestDensityLearns: shares learnt from delays give their density back, and always sum to 1.
func TestDensityLearns(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	var d delayDensity
	d.guess(1e-3)
	for i := range 20000 {
		var r [delayScales]float64
		d.responsibilities(50e-6*rng.ExpFloat64(), 1, &r)
		d.learn(&r, max(1/float64(i+10), 1.0/2000))
	}
	sum := 0.0
	for _, s := range d.share {
		sum += s
	}
	if math.Abs(sum-1) > 1e-9 {
		t.Errorf("the shares sum to %g", sum)
	}
	for _, x := range []float64{5e-6, 20e-6, 50e-6, 100e-6} {
		want := math.Exp(-x/50e-6) / 50e-6
		if got := d.exact(x); got < 0.75*want || got > 1.33*want {
			t.Errorf("density at %g s: learnt %g, true %g", x, got, want)
		}
	}
}

// TestOnset: the extrapolated least round trip is nearer to the true one than the smallest seen, on the average.
func TestOnset(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 6))
	var extrapolated, smallest float64
	for range 200 {
		var o onset
		for range 400 {
			o.add(1e-3+10e-6*(rng.ExpFloat64()+rng.ExpFloat64()), 1e5)
		}
		extrapolated += math.Abs(o.least - 1e-3)
		smallest += slices.Min(o.memory[:400]) - 1e-3
	}
	if extrapolated > 0.75*smallest {
		t.Errorf("mean error %g s, that of the smallest seen is %g s", extrapolated/200, smallest/200)
	}
}

func TestEstimatorDoesNotAllocate(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 99))
	var e estimator
	e.reset(0, 50e-6)
	if n := testing.AllocsPerRun(500, func() {
		e.update(50e-6+10e-6*rng.ExpFloat64(), -50e-6-10e-6*rng.ExpFloat64(), 16)
	}); n != 0 {
		t.Errorf("%g allocations per sample", n)
	}
}

func BenchmarkEstimatorUpdate(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 99))
	var e estimator
	e.reset(0, 50e-6)
	b.ReportAllocs()
	for b.Loop() {
		e.update(50e-6+10e-6*rng.ExpFloat64(), -50e-6-10e-6*rng.ExpFloat64(), 16)
	}
}
