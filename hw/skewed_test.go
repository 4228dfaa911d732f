package hw

import (
	"bytes"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// twin is the slow and obvious Skewed: it adds the segments up from the beginning, in rational numbers, and remembers nothing.
type twin struct {
	hertz float64
	skew  Skew
}

// rates lists the relative frequency errors of the first n segments as exact fractions.
func (w twin) rates(n int64) []*big.Rat {
	o := newOscillator(w.hertz, &w.skew)
	var list []*big.Rat
	for g := o.first(); int64(len(list)) < n; g = o.next(&g) {
		list = append(list, new(big.Rat).SetFrac(big.NewInt(g.rate), new(big.Int).Lsh(big.NewInt(1), 64)))
	}
	return list
}

// at returns the image of the reading that is since ticks after the start.
func (w twin) at(since int64) Ticks {
	o := newOscillator(w.hertz, &w.skew)
	length := int64(1) << o.shift
	sum := new(big.Rat)
	add := func(ticks int64, rate *big.Rat) {
		factor := new(big.Rat).Add(big.NewRat(1, 1), rate)
		sum.Add(sum, factor.Mul(factor, new(big.Rat).SetInt64(ticks)))
	}
	rates := w.rates(max(since/length, 0) + 1)
	if since < 0 {
		// Before the start there is the constant error alone, as it was asked for.
		constant := new(big.Rat).SetFrac(big.NewInt(o.constant), new(big.Int).Lsh(big.NewInt(1), 64))
		add(since, constant)
	}
	for i := int64(0); i*length < since; i++ {
		add(min(length, since-i*length), rates[i])
	}
	for _, j := range o.jumps {
		if since >= j.index*length {
			sum.Add(sum, new(big.Rat).SetInt64(int64(j.by)))
		}
	}
	floor := new(big.Int).Div(sum.Num(), sum.Denom()) // Euclidean: rounds down, since the denominator is positive
	return w.skew.Origin + Ticks(floor.Int64())
}

func TestSkewedAgreesWithTheSlowTwin(t *testing.T) {
	seeds(t, 60, func(t *testing.T, r *rand.Rand) {
		hertz, k := randomHertz(r), randomSkew(r)
		s, m := newSkewed(t, hertz, k)
		w := twin{hertz, k}
		length := int64(1) << s.oscillator.shift
		for range 40 {
			since := r.Int64N(200*length) - 20*length
			switch r.IntN(4) {
			case 0: // at a boundary
				since = since / length * length
			case 1: // just before one
				since = since/length*length - 1
			}
			m.Set(k.Start.Add(since))
			if got, want := s.Read(), w.at(since); got != want {
				t.Fatalf("%+v at %g Hz, %d ticks after the start: %d, the twin says %d", k, hertz, since, got, want)
			}
		}
	})
}

func TestSkewedIsMonotoneAndContinuous(t *testing.T) {
	seeds(t, 40, func(t *testing.T, r *rand.Rand) {
		hertz, k := randomHertz(r), randomSkew(r)
		k.Jumps = nil
		s, _ := newSkewed(t, hertz, k)
		length := int64(1) << s.oscillator.shift
		for segment := int64(-2); segment < 80; segment++ {
			base := k.Start.Add(segment*length - 20)
			for range 40 {
				if step := s.At(base + 1).Sub(s.At(base)); step < 0 || step > 2 {
					t.Fatalf("%+v: one tick of the base at %d makes %d", k, base.Sub(k.Start), step)
				}
				base++
			}
			// Over a longer way: at least 0.9 and at most 1.1 of the base's ticks.
			way := r.Int64N(length)
			image := s.At(base.Add(way)).Sub(s.At(base))
			if float64(image) < 0.9*float64(way)-1 || float64(image) > 1.1*float64(way)+1 {
				t.Fatalf("%+v: %d ticks of the base make %d", k, way, image)
			}
		}
	})
}

func TestSkewedInverseIsTheFirstReadingThatGetsThere(t *testing.T) {
	seeds(t, 60, func(t *testing.T, r *rand.Rand) {
		hertz, k := randomHertz(r), randomSkew(r)
		s, _ := newSkewed(t, hertz, k)
		length := int64(1) << s.oscillator.shift
		for range 60 {
			v := k.Origin.Add(r.Int64N(3000*length) - 100*length)
			b := s.Inverse(v)
			if s.At(b).Before(v) || !s.At(b-1).Before(v) {
				t.Fatalf("%+v: Inverse(%d) = start%+d, where it reads %d, and %d one tick before", k, v, b.Sub(k.Start), s.At(b), s.At(b-1))
			}
			base := k.Start.Add(r.Int64N(3000*length) - 100*length)
			if back := s.Inverse(s.At(base)); base.Sub(back) < 0 || base.Sub(back) > 1 {
				t.Fatalf("%+v: Inverse(At(%d)) is %d ticks away", k, base, back.Sub(base))
			}
		}
	})
}

func TestSkewedInverseFarAway(t *testing.T) {
	// No walk that would have to be followed for two years: the frozen end is reached at once with long segments.
	s, _ := newSkewed(t, 1e9, Skew{PPM: maxPPM, Start: 77, Origin: 1 << 40})
	for _, v := range []Ticks{1 << 41, 1 << 44, 1 << 46} {
		if b := s.Inverse(v); s.At(b).Before(v) || !s.At(b-1).Before(v) {
			t.Errorf("Inverse(%d) = %d", v, b)
		}
	}
}

// A jump is where JumpsAt says, as large as was asked, and what it leaves out is reached where it is.
func TestSkewedJumps(t *testing.T) {
	const hertz = 1e9
	s, _ := newSkewed(t, hertz, Skew{PPM: -50, Start: 77, Origin: 1 << 40, Jumps: []CounterJump{{2, 35}, {3600, 50}}})
	jumps := s.JumpsAt()
	if len(jumps) != 2 {
		t.Fatalf("%d jumps", len(jumps))
	}
	for i, seconds := range []float64{2, 3600} {
		at := jumps[i]
		if late := float64(at.Sub(77))/hertz - []float64{35, 50}[i]; late < 0 || late > 1.5 {
			t.Errorf("jump %d is %g s late", i, late)
		}
		if by := s.At(at).Sub(s.At(at - 1)); math.Abs(float64(by)-seconds*hertz) > 1 {
			t.Errorf("jump %d is by %d ticks", i, by)
		}
		for _, part := range []float64{0.001, 0.5, 0.999} {
			if b := s.Inverse(s.At(at - 1).Add(int64(part * seconds * hertz))); b != at {
				t.Errorf("what jump %d leaves out is reached %d ticks after it", i, b.Sub(at))
			}
		}
	}
}

// probes are readings from everywhere, for comparing two counters.
func probes(r *rand.Rand, s *Skewed) []Ticks {
	length := int64(1) << s.oscillator.shift
	list := make([]Ticks, 200)
	for i := range list {
		list[i] = s.skew.Start.Add(r.Int64N(5000*length) - 500*length)
	}
	return list
}

func TestSkewedReadsTheSameFromItsSpec(t *testing.T) {
	seeds(t, 40, func(t *testing.T, r *rand.Rand) {
		k := randomSkew(r)
		text := nameSkewed + "(" + nameMonotonicRaw + k.text() + ")"
		opened, err := Open(text)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Open(opened.Spec())
		if err != nil {
			t.Fatal(err)
		}
		if again.Spec() != opened.Spec() {
			t.Fatalf("the spec changes:\n%s\n%s", opened.Spec(), again.Spec())
		}
		a, b := opened.(*Skewed), again.(*Skewed)
		direct, _ := newSkewed(t, 1e9, k)
		for _, base := range probes(r, a) {
			if a.At(base) != b.At(base) || a.At(base) != direct.At(base) {
				t.Fatalf("%s at %d: %d, %d, %d", text, base, a.At(base), b.At(base), direct.At(base))
			}
		}
	})
}

// In another process this test prints readings instead.
const otherProcess = "CLOCKD_HW_TEST_SPEC"

func printReadings(t *testing.T, spec string) string {
	t.Helper()
	c, err := Open(spec)
	if err != nil {
		t.Fatal(err)
	}
	s := c.(*Skewed)
	var b strings.Builder
	for _, base := range probes(rand.New(rand.NewPCG(5, 5)), s) {
		fmt.Fprintf(&b, "reading %d %d\n", base, s.At(base))
	}
	fmt.Fprintf(&b, "reading of %s at %g Hz\n", s.Spec(), s.Frequency().Hertz)
	return b.String()
}

func TestSkewedReadsTheSameInAnotherProcess(t *testing.T) {
	if spec := os.Getenv(otherProcess); spec != "" {
		fmt.Print(printReadings(t, spec))
		return
	}
	c, err := Open("skewed(auto,seed=3,ppm=31.5,walk=1e-8,sine=1ppm/3600s/0.3,step=2ppm@100s,ageing=10ppb/day)")
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$")
	child.Env = append(os.Environ(), otherProcess+"="+c.Spec())
	out, err := child.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if want := printReadings(t, c.Spec()); !bytes.Contains(out, []byte(want)) {
		t.Fatalf("the other process reads differently:\n%s\nhere:\n%s", out, want)
	}
	// And the base is the same there: what is read now is not before what was read here.
	if before, after := c.Read(), c.Read(); after.Before(before) {
		t.Errorf("%d after %d", after, before)
	}
}

func TestSkewedConcurrentReadersAgreeWithTheTwin(t *testing.T) {
	const readers, readings = 8, 400
	k := Skew{Seed: 9, PPM: 40, WalkPerRootSecond: 1e-7, Sine: Sine{5, 60, 0.1}, Start: 1000, Origin: 5}
	s, m := newSkewed(t, 1e6, k)
	fresh, _ := newSkewed(t, 1e6, k)
	var group sync.WaitGroup
	var failures sync.Map
	for reader := range uint64(readers) {
		group.Go(func() {
			r := rand.New(rand.NewPCG(reader, 1))
			last := Ticks(0)
			for range readings {
				m.Advance(r.Int64N(300_000))
				if now := s.Read(); now < last {
					failures.Store("backwards", fmt.Sprint(last, now))
				} else {
					last = now
				}
				base := k.Start.Add(r.Int64N(3e9) - 1e6)
				fast, inverse := s.At(base), s.Inverse(s.At(base))
				if base-inverse > 1 {
					failures.Store("inverse", base)
				}
				if reader == 0 && fast != fresh.At(base) { // fresh is read by one goroutine only
					failures.Store("differs", base)
				}
			}
		})
	}
	group.Wait()
	failures.Range(func(what, where any) bool { t.Errorf("%v: %v", what, where); return true })
	w := twin{1e6, k}
	for _, since := range []int64{0, 1, 12345678, 1e9} {
		if got, want := s.At(k.Start.Add(since)), w.at(since); got != want {
			t.Errorf("after the readers: %d, the twin says %d", got, want)
		}
	}
}

func TestSkewedFrequencyErrorsAreAsAsked(t *testing.T) {
	const hertz = 1 << 20 // a segment is exactly one second
	meanOver := func(s *Skewed, from, to int64) float64 {
		base := func(seconds int64) Ticks { return s.skew.Start.Add(seconds * hertz) }
		return float64(s.At(base(to)).Sub(s.At(base(from))))/float64((to-from)*hertz) - 1
	}
	near := func(what string, got, want, tolerance float64) {
		t.Helper()
		if math.Abs(got-want) > tolerance {
			t.Errorf("%s: the frequency error is %g, not %g", what, got, want)
		}
	}
	// One tick of rounding over the way.
	const tick = 1.0 / (1000 * hertz)

	s, _ := newSkewed(t, hertz, Skew{PPM: 31.5, Start: 1 << 50})
	near("constant", meanOver(s, 0, 1000), 31.5e-6, tick)
	near("constant, before the start", meanOver(s, -1000, 0), 31.5e-6, tick)
	near("constant, at an instant", s.FrequencyErrorAt(s.skew.Start+5), 31.5e-6, 1e-18)

	s, _ = newSkewed(t, hertz, Skew{PPM: -10, Sine: Sine{2, 500, 0.125}})
	near("two whole periods of the sine", meanOver(s, 0, 1000), -10e-6, tick)
	for _, second := range []int64{0, 17, 125, 499, 5000} {
		want := -10e-6 + 2e-6*math.Sin(2*math.Pi*((float64(second)+0.5)/500+0.125))
		near("sine", s.FrequencyErrorAt(Ticks(second*hertz)), want, 2e-6*2e-9)
	}

	s, _ = newSkewed(t, hertz, Skew{PPM: 1, Steps: []FrequencyStep{{2, 100}, {-5, 200.5}}})
	near("before the step", meanOver(s, 0, 100), 1e-6, 10*tick)
	near("after it", meanOver(s, 100, 200), 3e-6, 10*tick)
	near("until the boundary after the second", meanOver(s, 200, 201), 3e-6, 1000*tick)
	near("after that", meanOver(s, 201, 1201), -2e-6, tick)

	s, _ = newSkewed(t, hertz, Skew{AgeingPPBPerDay: 10_000})
	near("ageing", s.FrequencyErrorAt(43200*hertz), 5e-6, 1e-12)

	s, _ = newSkewed(t, hertz, Skew{WalkPerRootSecond: 1e-6, LimitPPM: 3, Seed: 4})
	touched := false
	for second := range int64(3000) {
		y := s.FrequencyErrorAt(Ticks(second * hertz))
		if math.Abs(y) > 3e-6*(1+1e-12) {
			t.Fatalf("the error %g is over the limit at second %d", y, second)
		}
		touched = touched || math.Abs(y) > 2.999e-6
	}
	if !touched {
		t.Error("a walk of 55 ppm never met its limit of 3 ppm")
	}
}

// The variance of the walk after t seconds is t·σ², for every length of a segment, and its steps do not depend on each other.
func TestSkewedWalkHasTheStandardDeviationAsked(t *testing.T) {
	const walks, sigma = 2000, 1e-9
	for _, hertz := range []float64{1 << 20, 1.35 * (1 << 20), 0.75 * (1 << 20)} {
		for _, seconds := range []int64{1, 10, 100} {
			var sum, squares, correlation float64
			for seed := range uint64(walks) {
				s, _ := newSkewed(t, hertz, Skew{WalkPerRootSecond: sigma, Seed: seed})
				// The walk is constant in a segment: the number of segments begun counts.
				since := uint64(float64(seconds) * hertz)
				index := s.oscillator.index(since)
				length := math.Ldexp(1, int(s.oscillator.shift)) / hertz
				y := s.FrequencyErrorAt(Ticks(since)) / (sigma * math.Sqrt(max(float64(index), 1)*length))
				y2 := s.FrequencyErrorAt(Ticks(2*uint64(index)<<s.oscillator.shift))/(sigma*math.Sqrt(max(float64(index), 1)*length)) - y
				sum += y
				squares += y * y
				correlation += y * y2
			}
			if mean := sum / walks; math.Abs(mean) > 5/math.Sqrt(walks) {
				t.Errorf("%g Hz, %d s: the mean is %.3f σ", hertz, seconds, mean)
			}
			if rho := correlation / walks; math.Abs(rho) > 5/math.Sqrt(walks) {
				t.Errorf("%g Hz, %d s: what follows is correlated by %.3f", hertz, seconds, rho)
			}
			if index := float64(seconds); index >= 2 || hertz == 1<<20 {
				if variance := squares / walks; math.Abs(variance-1) > 5*math.Sqrt(2.0/walks) {
					t.Errorf("%g Hz, %d s: the variance is %.3f of what was asked", hertz, seconds, variance)
				}
			}
		}
	}
}

func TestSkewedCatchesUpCheaply(t *testing.T) {
	s, m := newSkewed(t, 1000, Skew{PPM: 5, WalkPerRootSecond: 1e-9, Seed: 1})
	length := Ticks(1) << s.oscillator.shift
	const far = 300_000 // segments: three and a half days
	m.Set(far * length)
	s.Read()
	if n := len(s.checkpoints); n != far/checkpointEvery+1 {
		t.Errorf("%d checkpoints after %d segments", n, far)
	}
	// However one jumps about, no question is further than one checkpoint away from what is known.
	r := rand.New(rand.NewPCG(1, 2))
	fresh, _ := newSkewed(t, 1000, s.skew)
	for range 200 {
		index := r.Int64N(far)
		if near := s.nearest(index).index; near > index || index-near >= checkpointEvery {
			t.Fatalf("segment %d would be computed from segment %d", index, near)
		}
		base := Ticks(index)*length + 17
		if s.At(base) != fresh.At(base) {
			t.Fatalf("segment %d reads %d after jumping about and %d in order", index, s.At(base), fresh.At(base))
		}
	}
	// The history ends: the far future is one segment.
	if i := s.oscillator.index(math.MaxUint64 / 2); i != lastSegment {
		t.Errorf("the far future is segment %d", i)
	}
}

func TestSkewedEndsInOneLongSegment(t *testing.T) {
	o := newOscillator(1000, &Skew{PPM: 7})
	g := segment{index: lastSegment - 1, start: 5, value: 9, rate: o.constant, length: 1 << o.shift}
	last := o.next(&g)
	if last.length != math.MaxInt64 || last.rate != o.constant {
		t.Errorf("%+v", last)
	}
	want := new(big.Int).Mul(big.NewInt(math.MaxInt64), big.NewInt(last.rate))
	want.Add(want, new(big.Int).SetUint64(last.fraction)).Rsh(want, 64).Add(want, big.NewInt(math.MaxInt64))
	if got := last.at(math.MaxInt64) - last.value; uint64(got) != want.Uint64() {
		t.Errorf("its end is at %d, not at %v", got, want)
	}
}

func TestSkewedOverSkewed(t *testing.T) {
	inner, m := newSkewed(t, 1e9, Skew{PPM: 100})
	outer, err := NewSkewed(inner, Skew{PPM: -100})
	if err != nil {
		t.Fatal(err)
	}
	m.Set(1e9)
	if got := outer.Read(); got < 1e9-12 || got > 1e9-8 { // (1+10⁻⁴)(1−10⁻⁴) = 1 − 10⁻⁸
		t.Errorf("reads %d", got)
	}
	if outer.Frequency() != m.Frequency() || outer.Base() != Counter(inner) || bottom(outer) != Counter(m) {
		t.Error("the nominal frequency or the base is not that below")
	}
	if want := "skewed(skewed(manual(hz=1000000000),seed=0,ppm=100,start=0,origin=0),seed=0,ppm=-100,start=0,origin=0)"; outer.Spec() != want {
		t.Errorf("spec %s", outer.Spec())
	}
}

func TestNewSkewedRefuses(t *testing.T) {
	nan := math.NaN()
	for name, k := range map[string]Skew{
		"ppm":     {PPM: 100_001},
		"nan":     {PPM: nan},
		"limit":   {LimitPPM: -1},
		"over":    {PPM: 11, LimitPPM: 10},
		"walk":    {WalkPerRootSecond: -1},
		"walkNaN": {WalkPerRootSecond: nan},
		"period":  {Sine: Sine{1, 9.9, 0}},
		"phase":   {Sine: Sine{1, 100, 1.1}},
		"sineNaN": {Sine: Sine{nan, 100, 0}},
		"sine":    {Sine: Sine{11, 100, 0}, LimitPPM: 10},
		"step":    {Steps: []FrequencyStep{{1, -1}}},
		"steps":   {Steps: make([]FrequencyStep, maxSteps+1)},
		"jump":    {Jumps: []CounterJump{{-1, 1}}},
		"jumpNaN": {Jumps: []CounterJump{{nan, 1}}},
		"jumpAt":  {Jumps: []CounterJump{{1, -1}}},
		"jumps":   {Jumps: make([]CounterJump, maxSteps+1)},
		"ageing":  {AgeingPPBPerDay: math.Inf(1)},
	} {
		if _, err := NewSkewed(NewManual(Frequency{Hertz: 1e9}), k); err == nil {
			t.Errorf("%s: %+v was accepted", name, k)
		}
	}
	for _, hertz := range []float64{0, -1, nan, math.Inf(1), 1e13} {
		if _, err := NewSkewed(NewManual(Frequency{Hertz: hertz}), Skew{}); err == nil {
			t.Errorf("a base of %g Hz was accepted", hertz)
		}
	}
}

func TestSineOfTurn(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	check := func(x uint64) {
		want := math.Sin(2 * math.Pi * math.Ldexp(float64(x), -64))
		if got := math.Ldexp(float64(sineOfTurn(x)), -62); math.Abs(got-want) > 1e-9 {
			t.Fatalf("sin of %#x/2⁶⁴ turns is %.12f, not %.12f", x, got, want)
		}
	}
	for quarter := range uint64(4) {
		for _, d := range []uint64{0, 1, 1<<62 - 1} {
			check(quarter<<62 + d)
		}
	}
	for range 10000 {
		check(r.Uint64())
	}
}

// What a Skewed reads must never change: a state file or a log of another version would not fit any more.
func TestSkewedGolden(t *testing.T) {
	s, _ := newSkewed(t, 2596120000.123, Skew{Seed: 3, PPM: 31.5, WalkPerRootSecond: 1e-7, Sine: Sine{1, 3600, 0.25},
		Steps: []FrequencyStep{{2, 100}}, AgeingPPBPerDay: 100, Start: 12345, Origin: 67890})
	for since, want := range golden {
		if got := s.At(s.skew.Start.Add(since)); got != want {
			t.Errorf("%d ticks after the start it reads %d, not %d", since, got, want)
		}
	}
}

func TestReadsDoNotAllocate(t *testing.T) {
	k := Skew{PPM: 30, WalkPerRootSecond: 1e-9, Sine: Sine{1, 3600, 0}}
	s, m := newSkewed(t, 1e9, k)
	raw, err := Open(nameMonotonicRaw)
	if err != nil {
		t.Fatal(err)
	}
	counters := map[string]Counter{"manual": m, "skewed": s, nameMonotonicRaw: raw}
	if c, err := Open(nameTSC); err == nil {
		counters[nameTSC] = c
	}
	for name, c := range counters {
		if n := testing.AllocsPerRun(1000, func() { c.Read() }); n != 0 {
			t.Errorf("reading %s allocates %v times", name, n)
		}
		if n := testing.AllocsPerRun(100, func() {
			if _, err := CrossStamp(c); err != nil {
				t.Error(err)
			}
		}); n != 0 {
			t.Errorf("a cross-stamp of %s allocates %v times", name, n)
		}
	}
	if n := testing.AllocsPerRun(1000, func() { s.Inverse(s.Read() + 1e10) }); n != 0 {
		t.Errorf("Inverse allocates %v times", n)
	}
}
