package roundtrip

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

const testHertz = 1e9

// world is true time and one wrong counter: the slow, obvious truth that the filter is held against. True time is kept in
// integer nanoseconds since its start.
type world struct {
	rng   *rand.Rand
	rho   float64 // the promise
	drift float64 // the present relative error of the counter
	bang  bool    // the drift jumps between the extremes
	now   float64 // s
	raw   float64 // s of raw time, ∫(1+drift)
	epoch virtualclock.Time
}

func newWorld(seed uint64, rho float64) *world {
	rng := rand.New(rand.NewPCG(seed, 1))
	w := &world{rng: rng, rho: rho, epoch: virtualclock.Unix(1_764_000_000_000_000_000, 0)}
	w.drift = rho * (2*rng.Float64() - 1)
	w.bang = rng.IntN(2) == 0
	return w
}

func (w *world) pass(s float64) {
	w.now += s
	w.raw += s * (1 + w.drift)
	if w.bang && w.rng.IntN(3) == 0 {
		w.drift = w.rho * float64(2*w.rng.IntN(2)-1)
	}
}

func (w *world) ticks() hw.Ticks         { return hw.Ticks(1<<40 + math.Floor(w.raw*testHertz)) }
func (w *world) time() virtualclock.Time { return w.epoch.AddSeconds(w.now) }

// rawLine is anchored one second wrong, so that offsets are not small by luck.
func (w *world) rawLine() *Raw {
	return &Raw{Line: virtualclock.Line{C0: 1 << 40, T0: w.epoch.AddSeconds(-1), Period: virtualclock.PeriodOf(testHertz)}}
}

// delay is a least delay and an exponential queue with a heavy tail.
func (w *world) delay(least, queue float64) float64 {
	d := least + w.rng.ExpFloat64()*queue
	if w.rng.IntN(20) == 0 {
		d += w.rng.ExpFloat64() * 50 * queue
	}
	return d
}

// exchange runs one exchange with a server whose clock is wrong by serverError, which it states.
func (w *world) exchange(least, queue, serverError, stated float64) Sample {
	var s Sample
	slack := hw.Ticks(w.rng.IntN(2000))
	s.Depart = hw.Stamp{At: w.ticks(), Kind: hw.StampUser}
	w.pass(w.rng.Float64() * 2e-6) // the packet leaves later than user space says
	w.pass(w.delay(least, queue))
	s.Receive = w.time().AddSeconds(serverError + w.rng.Float64()*1e-6)
	w.pass(20e-6)
	s.Transmit = w.time().AddSeconds(serverError - w.rng.Float64()*1e-6)
	w.pass(w.delay(least, queue))
	s.Arrive = hw.Stamp{At: w.ticks(), Error: slack, Kind: hw.StampKernel}
	s.ServerError = stated
	return s
}

// TestIntervalContainsTruth is the law of theory 2.3: whatever the delays, the drift within its bound and the gaps, the interval
// contains the truth, at the sample and later, and the point estimate is inside the interval.
func TestIntervalContainsTruth(t *testing.T) {
	for seed := range uint64(200) {
		w := newWorld(seed, 50e-6)
		raw := w.rawLine()
		least := math.Pow(10, -5+3*w.rng.Float64())
		known := least * w.rng.Float64() * float64(w.rng.IntN(2))
		f := NewFilter(raw, FilterConfig{Drift: 50e-6, Granularity: 1e-9, MinDelay: known * 0.99})
		for i := range 300 {
			wrong := (2*w.rng.Float64() - 1) * 20e-6
			s := w.exchange(least, least*w.rng.Float64(), wrong, 21e-6)
			s.HalfOnly = w.rng.IntN(10) == 0
			if code := f.Update(&s, w.rng.IntN(5) != 0); code != reason.OK {
				t.Fatalf("seed %d sample %d: a valid sample was rejected: %v", seed, i, code)
			}
			for range 3 {
				checkReading(t, seed, i, w, raw, f)
				w.pass(w.rng.ExpFloat64() * 5)
			}
			if w.rng.IntN(50) == 0 {
				w.pass(5000)
				checkReading(t, seed, i, w, raw, f)
			}
		}
	}
}

func checkReading(t *testing.T, seed uint64, i int, w *world, raw *Raw, f *Filter) {
	t.Helper()
	c := w.ticks()
	truth := raw.Offset(w.time(), c)
	r := f.Reading(c)
	// The truth is measured at an instant inside the tick: the upper edge is promised at its start.
	if truth < r.Low-1e-12 || truth > r.High+1.2e-9 {
		t.Fatalf("seed %d sample %d: truth %.12f is outside [%.12f, %.12f]", seed, i, truth, r.Low, r.High)
	}
	if !(r.Offset >= r.Low && r.Offset <= r.High) {
		t.Fatalf("seed %d sample %d: the estimate %g is outside [%g, %g]", seed, i, r.Offset, r.Low, r.High)
	}
}

// TestIntervalCheckHasTeeth: with a drift beyond the promise the same check must find the violation, or the filter must.
func TestIntervalCheckHasTeeth(t *testing.T) {
	found := 0
	for seed := range uint64(50) {
		w := newWorld(seed, 50e-6)
		w.bang, w.drift = false, 200e-6
		raw := w.rawLine()
		f := NewFilter(raw, FilterConfig{Drift: 50e-6, Granularity: 1e-9})
		for range 20 {
			s := w.exchange(50e-6, 5e-6, 0, 0)
			bad := f.Update(&s, true) == reason.SampleEmptyInterval
			w.pass(16)
			c := w.ticks()
			r, truth := f.Reading(c), raw.Offset(w.time(), c)
			if bad || truth < r.Low || truth > r.High+1e-9 {
				found++
				break
			}
		}
	}
	if found != 50 {
		t.Errorf("a drift four times the bound was noticed in %d of 50 runs", found)
	}
}

// TestIntervalNeverShrinksWithoutSample: time alone never makes the interval narrower.
func TestIntervalNeverShrinksWithoutSample(t *testing.T) {
	w := newWorld(7, 50e-6)
	f := NewFilter(w.rawLine(), FilterConfig{Drift: 50e-6, Granularity: 1e-9})
	s := w.exchange(1e-4, 1e-5, 0, 0)
	f.Update(&s, true)
	last := 0.0
	for range 1000 {
		w.pass(w.rng.Float64())
		r := f.Reading(w.ticks())
		if width := r.High - r.Low; width < last {
			t.Fatalf("the interval shrank from %g to %g s", last, width)
		} else {
			last = width
		}
	}
}

// TestEstimateIsGood: on a quiet network the point estimate is far better than the interval, and the rate is learnt.
func TestEstimateIsGood(t *testing.T) {
	for seed := range uint64(10) {
		w := newWorld(seed, 50e-6)
		w.bang, w.drift = false, 31e-6
		raw := w.rawLine()
		f := NewFilter(raw, FilterConfig{Drift: 50e-6, Granularity: 1e-9})
		var sum float64
		n := 0
		for i := range 400 {
			s := w.exchange(50e-6, 10e-6, 0, 0)
			s.Depart.Kind = hw.StampKernel
			f.Update(&s, true)
			w.pass(16)
			if i > 100 {
				c := w.ticks()
				e := f.Reading(c).Offset - raw.Offset(w.time(), c)
				sum += e * e
				n++
			}
		}
		if rms := math.Sqrt(sum / float64(n)); rms > 8e-6 {
			t.Errorf("seed %d: RMS error %g s", seed, rms)
		}
		if r := f.Reading(w.ticks()); math.Abs(r.Rate-(1/(1+31e-6)-1)) > 0.5e-6 {
			t.Errorf("seed %d: rate %g", seed, r.Rate)
		}
	}
}

func TestFilterRejections(t *testing.T) {
	w := newWorld(3, 50e-6)
	raw := w.rawLine()
	f := NewFilter(raw, FilterConfig{Drift: 50e-6, Granularity: 1e-9})
	if r := f.Reading(w.ticks()); !math.IsInf(r.Low, -1) || !math.IsInf(r.High, 1) || r.Samples != 0 || r.Offset != 0 {
		t.Errorf("without a sample the reading is %+v", r)
	}
	s := w.exchange(1e-4, 1e-5, 0, 0)
	negative := s
	negative.Transmit = negative.Receive.AddSeconds(1)
	none := s
	none.Arrive.Kind = hw.StampNone
	backwards := s
	backwards.Arrive.At = s.Depart.At - 5000
	for _, c := range []struct {
		sample Sample
		want   reason.Code
	}{{negative, reason.SampleNegativeDelay}, {none, reason.SampleStamp}, {backwards, reason.SampleStamp}, {s, reason.OK}} {
		if code := f.Update(&c.sample, true); code != c.want {
			t.Errorf("got %v, want %v", code, c.want)
		}
	}
	before := f.Reading(w.ticks())
	liar := w.exchange(1e-4, 1e-5, 0.05, 0)
	if code := f.Update(&liar, true); code != reason.SampleEmptyInterval {
		t.Errorf("a server that jumped by 50 ms: %v", code)
	}
	after := f.Reading(w.ticks())
	if after.Samples != 1 || after.Low < before.High {
		t.Errorf("the filter did not begin anew: %+v", after)
	}
}

func TestFilterShift(t *testing.T) {
	w := newWorld(5, 50e-6)
	raw := w.rawLine()
	f := NewFilter(raw, FilterConfig{Drift: 50e-6, Granularity: 1e-9})
	for range 5 {
		s := w.exchange(1e-4, 1e-5, 0, 0)
		f.Update(&s, true)
		w.pass(1)
	}
	c := w.ticks()
	before := f.Reading(c)
	f.Shift(1)
	raw.Line.T0 = raw.Line.T0.AddSeconds(1)
	after := f.Reading(c)
	if d := after.Offset - (before.Offset - 1); math.Abs(d) > 1e-12 {
		t.Errorf("the offset moved by %g too much", d)
	}
	if after.Low > before.Low-1 || after.High < before.High-1 {
		t.Errorf("the interval became narrower: %+v then %+v", before, after)
	}
}

func TestFilterDoesNotAllocate(t *testing.T) {
	w := newWorld(9, 50e-6)
	f := NewFilter(w.rawLine(), FilterConfig{Drift: 50e-6, Granularity: 1e-9})
	if n := testing.AllocsPerRun(1000, func() {
		s := w.exchange(1e-4, 1e-5, 0, 0)
		f.Update(&s, true)
		_ = f.Reading(w.ticks())
		w.pass(1)
	}); n != 0 {
		t.Errorf("%g allocations per sample", n)
	}
}

func BenchmarkFilterUpdate(b *testing.B) {
	w := newWorld(9, 50e-6)
	f := NewFilter(w.rawLine(), FilterConfig{Drift: 50e-6, Granularity: 1e-9})
	samples := make([]Sample, 0, 4096)
	for range 4096 {
		samples = append(samples, w.exchange(1e-4, 1e-5, 0, 0))
		w.pass(1)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		f.Update(&samples[i%4096], true)
		i++
	}
}
