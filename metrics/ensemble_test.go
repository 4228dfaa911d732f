package metrics

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/virtualclock"
)

// story is a random life of some clocks, remembered in full and in exact rationals: the slow, obvious second implementation.
type story struct {
	clocks int
	// instants are in nanoseconds since the origin, ascending; at each, what every clock does from there.
	instants []int64
	after    []map[int]*piece // nil: the clock is not in
	rounds   []int            // numbers of instants at which a round ended
}

// piece is a segment as told, and its time error at its beginning.
type piece struct {
	from  int64
	error *big.Rat // seconds
	rate  *big.Rat
	told  Segment
}

func ratOf(x float64) *big.Rat { return new(big.Rat).SetFloat64(x) }

// at is the piece's time error at an instant.
func (p *piece) at(ns int64) *big.Rat {
	d := big.NewRat(ns-p.from, 1_000_000_000)
	return d.Add(d.Mul(d, p.rate), p.error)
}

func instant(ns int64) virtualclock.Time { return virtualclock.Unix(origin().UnixNano()+ns, 0) }

// tell makes a piece whose error at ns is about e, as an Ensemble is told.
func tell(ns int64, e, rate float64, epoch virtualclock.Epoch) *piece {
	clock := instant(ns).AddSeconds(e)
	whole := big.NewRat(clock.UnixNano()-instant(ns).UnixNano(), 1_000_000_000)
	whole.Add(whole, new(big.Rat).SetFrac(big.NewInt(int64(clock.Fraction())), new(big.Int).Lsh(big.NewInt(1_000_000_000), 32)))
	return &piece{ns, whole, ratOf(rate), Segment{instant(ns), clock, rate, epoch}}
}

// play makes a story and tells it to an Ensemble at the same time.
func play(t *testing.T, r *rand.Rand, e *Ensemble, clocks, events int, stepping bool) *story {
	s := &story{clocks: clocks}
	now := int64(0)
	last := make([]*piece, clocks)
	for range events {
		if r.IntN(4) > 0 || len(s.instants) == 0 {
			now += int64(r.ExpFloat64() * 3e8)
		}
		clock := r.IntN(clocks)
		if n := len(s.instants); n == 0 || s.instants[n-1] != now {
			s.instants = append(s.instants, now)
			s.after = append(s.after, map[int]*piece{})
			for i, p := range last {
				s.after[len(s.after)-1][i] = p
			}
		}
		rate := (r.Float64() - 0.5) * math.Pow(10, float64(-1-r.IntN(5)))
		var next *piece
		switch p := last[clock]; {
		case p == nil:
			next = tell(now, r.NormFloat64()*1e-4, rate, 1)
		case stepping && r.IntN(8) == 0:
			next = tell(now, r.NormFloat64()*1e-3, rate, p.told.Epoch+1)
		case r.IntN(10) > 0:
			end, _ := p.at(now).Float64()
			next = tell(now, end, rate, p.told.Epoch)
		}
		var err error
		if next == nil {
			err = e.End(clock, instant(now))
		} else {
			err = e.Begin(clock, next.told)
		}
		if err == nil && r.IntN(5) == 0 {
			s.rounds = append(s.rounds, len(s.instants)-1)
			err = e.RoundEnds(instant(now))
		}
		if err != nil {
			t.Fatal(err)
		}
		last[clock] = next
		s.after[len(s.after)-1][clock] = next
	}
	return s
}

// spread of the clocks that are in after instant number i, when it is ns; not ok if there are fewer than two.
func (s *story) spread(i int, ns int64) (*big.Rat, bool) {
	var low, high *big.Rat
	n := 0
	for _, p := range s.after[i] {
		if p == nil {
			continue
		}
		x := p.at(ns)
		if low == nil || x.Cmp(low) < 0 {
			low = x
		}
		if high == nil || x.Cmp(high) > 0 {
			high = x
		}
		n++
	}
	if n < 2 {
		return nil, false
	}
	return new(big.Rat).Sub(high, low), true
}

// suprema goes through all intervals between instants, with both ends.
func (s *story) suprema(end int64) (precision float64, precisionKnown bool, accuracy []float64, rate float64) {
	accuracy = make([]float64, s.clocks)
	for i, from := range s.instants {
		to := end
		if i+1 < len(s.instants) {
			to = s.instants[i+1]
		}
		for _, ns := range []int64{from, to} {
			if x, ok := s.spread(i, ns); ok {
				v, _ := x.Float64()
				precision, precisionKnown = math.Max(precision, v), true
			}
			for clock, p := range s.after[i] {
				if p != nil {
					v, _ := p.at(ns).Float64()
					accuracy[clock] = math.Max(accuracy[clock], math.Abs(v))
				}
			}
		}
		for _, p := range s.after[i] {
			if p != nil && to > from {
				y := p.told.Rate
				rate = math.Max(rate, math.Max(math.Abs(y), math.Abs(1/(1+y)-1)))
			}
		}
	}
	return precision, precisionKnown, accuracy, rate
}

func newEnsemble(t testing.TB, clocks int, o EnsembleOptions) *Ensemble {
	t.Helper()
	e, err := NewEnsemble(clocks, o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func result(t testing.TB, e *Ensemble, at virtualclock.Time) EnsembleResult {
	t.Helper()
	r, err := e.Result(at)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestEnsembleAgreesWithTheDefinitions(t *testing.T) {
	r := newRand(t)
	for range 150 {
		clocks := 1 + r.IntN(7)
		e := newEnsemble(t, clocks, EnsembleOptions{})
		s := play(t, r, e, clocks, 1+r.IntN(120), r.IntN(2) == 0)
		end := s.instants[len(s.instants)-1] + r.Int64N(2)*int64(r.ExpFloat64()*1e9)
		got := result(t, e, instant(end))
		precision, precisionKnown, accuracy, rate := s.suprema(end)
		if got.PrecisionSeconds.Known != precisionKnown {
			t.Fatalf("π_v %+v, want known %t", got.PrecisionSeconds, precisionKnown)
		}
		const rounding = 1e-15 // of V: 2⁻³² ns and the error carried on, at rates of 5 % and times of a minute
		if precisionKnown {
			expect(t, "π_v", got.PrecisionSeconds.Figure, precision, 0, rounding)
			s.attained(t, &got.PrecisionSeconds)
		}
		worst := 0.0
		for i, want := range accuracy {
			if a := got.Clocks[i].AccuracySeconds; a.Known {
				expect(t, "α_v of a clock", a.Figure, want, 0, rounding)
			} else if want != 0 {
				t.Errorf("α_v of clock %d is missing", i)
			}
			worst = math.Max(worst, want)
		}
		if got.AccuracySeconds.Known {
			expect(t, "α_v", got.AccuracySeconds.Figure, worst, 0, rounding)
			s.attained(t, &got.AccuracySeconds)
			if got.PrecisionSeconds.Value > 2*got.AccuracySeconds.Value+rounding {
				t.Errorf("π_v %g > 2 α_v %g", got.PrecisionSeconds.Value, got.AccuracySeconds.Value)
			}
		}
		if got.Rate.Known {
			expect(t, "ρ_v", got.Rate, rate, 1e-12, 1e-15)
		} else if rate != 0 {
			t.Errorf("ρ_v is missing, want %g; %d jumps", rate, got.Jumps)
		}
		s.convergence(t, got)
		if t.Failed() {
			return
		}
	}
}

// attained: the clocks that are named really were that far apart (or off) at the instant that is named, on one side of it.
func (s *story) attained(t *testing.T, x *Extreme) {
	t.Helper()
	ns := x.At.UnixNano() - origin().UnixNano()
	i, found := slices.BinarySearch(s.instants, ns)
	sides := []int{i - 1}
	if found {
		sides = append(sides, i)
	}
	for _, side := range sides {
		if side < 0 {
			continue
		}
		p := s.after[side][x.Clocks[0]]
		if p == nil {
			continue
		}
		d := new(big.Rat).Set(p.at(ns))
		if len(x.Clocks) == 2 {
			q := s.after[side][x.Clocks[1]]
			if q == nil {
				continue
			}
			d.Sub(d, q.at(ns))
		}
		if v, _ := d.Float64(); near(math.Abs(v), x.Value, 0, 1e-15) {
			return
		}
	}
	t.Errorf("%+v was not attained", x)
}

// convergence: the spread right after the rounds' ends.
func (s *story) convergence(t *testing.T, got EnsembleResult) {
	t.Helper()
	worst, n := 0.0, uint64(0)
	for j, i := range s.rounds {
		if j > 0 && s.rounds[j-1] == i {
			continue // two ends at one instant are one
		}
		if x, ok := s.spread(i, s.instants[i]); ok {
			v, _ := x.Float64()
			worst, n = math.Max(worst, v), n+1
		}
	}
	same(t, "δ_v", Figure{got.ConvergenceSeconds.Value, got.ConvergenceSeconds.Samples, got.ConvergenceSeconds.Known}, worst, int(n), 1e-9)
}

// TestNoLookFindsMore: samples at random instants, however many, never find more than the suprema say.
func TestNoLookFindsMore(t *testing.T) {
	r := newRand(t)
	for range 20 {
		e := newEnsemble(t, 4, EnsembleOptions{})
		s := play(t, r, e, 4, 60, true)
		end := s.instants[len(s.instants)-1] + 1e9
		got := result(t, e, instant(end))
		for range 3000 {
			i := r.IntN(len(s.instants))
			to := end
			if i+1 < len(s.instants) {
				to = s.instants[i+1]
			}
			if x, ok := s.spread(i, s.instants[i]+r.Int64N(to-s.instants[i]+1)); ok {
				if v, _ := x.Float64(); v > got.PrecisionSeconds.Value+1e-15 {
					t.Fatalf("spread %g, π_v %g", v, got.PrecisionSeconds.Value)
				}
			}
		}
	}
}

// TestEnsembleMixedWindow: the case where sampling by luck fails. Two clocks drift apart, and jump towards each other at different
// instants: the supremum is the limit from the left at one instant and from the right at the other.
func TestEnsembleMixedWindow(t *testing.T) {
	e := newEnsemble(t, 2, EnsembleOptions{CellSeconds: 0.125})
	begin := func(clock int, at, offset, rate float64, epoch virtualclock.Epoch) {
		t.Helper()
		if err := e.Begin(clock, Segment{seconds(at), seconds(at).AddSeconds(offset), rate, epoch}); err != nil {
			t.Fatal(err)
		}
	}
	begin(0, 0, 0, 1e-4, 1)
	begin(1, 0, 0, -1e-4, 1)
	if err := e.RoundBegins(seconds(1)); err != nil {
		t.Fatal(err)
	}
	begin(0, 1, -3e-4, 1e-4, 2) // too far: now it is behind
	begin(1, 1.5, 0, -1e-4, 2)
	if err := e.RoundEnds(seconds(1.5)); err != nil {
		t.Fatal(err)
	}
	r := result(t, e, seconds(2))
	expect(t, "Π", r.SpreadBeforeSeconds.Figure, 2e-4, 1e-9, 0)
	expect(t, "δ_v", r.ConvergenceSeconds.Figure, 2.5e-4, 1e-9, 0)
	expect(t, "π_v", r.PrecisionSeconds.Figure, 2.5e-4, 1e-9, 0)
	expect(t, "α_v", r.AccuracySeconds.Figure, 3e-4, 1e-9, 0)
	if a := r.AccuracySeconds; a.At != seconds(1) || fmt.Sprint(a.Clocks, r.PrecisionSeconds.Clocks) != "[0] [1 0]" {
		t.Errorf("α_v %+v, π_v %+v", a, r.PrecisionSeconds)
	}
	if r.Steps != 2 || r.Jumps != 0 {
		t.Errorf("%d steps, %d jumps", r.Steps, r.Jumps)
	}
	expect(t, "ρ_v, which steps leave alone", r.Rate, 1/(1-1e-4)-1, 1e-9, 0)
	expect(t, "largest step", r.Clocks[0].LargestJumpSeconds, 4e-4, 1e-9, 0)
	expect(t, "mean rate", r.Clocks[0].MeanRate, 1e-4, 1e-9, 0)
	// No window reaches across a step: MTIE is that of a constant frequency, up to the longest stretch of 1.5 s.
	for _, p := range r.Envelope {
		expect(t, "rate at least", p.AtLeast, 1e-4, 1e-6, 0)
		expect(t, "rate at most", p.AtMost, 1e-4*(1+0.125/p.WindowSeconds), 1e-6, 0)
	}
	if n := len(r.Envelope); n != 4 || r.Envelope[3].WindowSeconds != 1 {
		t.Errorf("envelope %+v", r.Envelope)
	}
}

// TestEnsembleMeanRate: over the longest stretch without a step, be it over or not, also across changes of the rate.
func TestEnsembleMeanRate(t *testing.T) {
	for _, c := range []struct{ until, want float64 }{{3.5, 20e-6}, {10, -4e-6}} {
		e := newEnsemble(t, 1, EnsembleOptions{})
		for _, s := range []Segment{
			{seconds(0), seconds(0), 10e-6, 1}, {seconds(1), seconds(1 + 10e-6), 25e-6, 1}, // 60 µs in 3 s
			{seconds(3), seconds(3), -4e-6, 2},
		} {
			if err := e.Begin(0, s); err != nil {
				t.Fatal(err)
			}
		}
		r := result(t, e, seconds(c.until))
		expect(t, "mean rate", r.Clocks[0].MeanRate, c.want, 1e-6, 0)
		expect(t, "largest mean rate", r.MeanRate, math.Abs(c.want), 1e-6, 0)
		if r.Clocks[0].StretchSeconds != max(3, c.until-3) {
			t.Errorf("stretch of %g s", r.Clocks[0].StretchSeconds)
		}
		if err := e.End(0, seconds(c.until+20)); err != nil {
			t.Fatal(err)
		}
		r = result(t, e, seconds(100)) // what comes after its end does not count
		if r.Clocks[0].StretchSeconds != c.until+17 {
			t.Errorf("stretch of %g s until its end", r.Clocks[0].StretchSeconds)
		}
		expect(t, "mean rate until the end", r.Clocks[0].MeanRate, -4e-6, 1e-6, 0)
	}
}

// TestEnsembleRateIsNotDefined: where a clock jumps, stands still or runs backwards.
func TestEnsembleRateIsNotDefined(t *testing.T) {
	for what, second := range map[string]Segment{
		"jump":         {seconds(1), seconds(1.001), 0, 1},
		"standing":     {seconds(1), seconds(1), -1, 1},
		"backwards":    {seconds(1), seconds(1), -2, 1},
		"not at fault": {seconds(1), seconds(1), 1e-6, 1},
		"within 1 ns":  {seconds(1), seconds(1).AddSeconds(0.9e-9), 0, 1},
		"new epoch":    {seconds(1), seconds(1.001), 0, 2},
	} {
		e := newEnsemble(t, 2, EnsembleOptions{})
		for _, s := range []Segment{{seconds(0), seconds(0), 0, 1}, second} {
			if err := e.Begin(0, s); err != nil {
				t.Fatal(err)
			}
		}
		r := result(t, e, seconds(2))
		if want := what == "not at fault" || what == "within 1 ns" || what == "new epoch"; r.Rate.Known != want || r.Clocks[0].Rate.Known != want {
			t.Errorf("%s: %+v", what, r.Rate)
		}
		if r.PrecisionSeconds.Known || r.ConvergenceSeconds.Known || r.Clocks[1].AccuracySeconds.Known {
			t.Errorf("%s: of one clock: %+v", what, r)
		}
	}
}

// TestEnsembleRateOfOneIsLost: of two clocks one jumped, so the largest rate is not known.
func TestEnsembleRateOfOneIsLost(t *testing.T) {
	e := newEnsemble(t, 2, EnsembleOptions{})
	for clock, s := range []Segment{{seconds(0), seconds(0), 1e-6, 1}, {seconds(0), seconds(0), 1e-6, 1}, {seconds(1), seconds(1.5), 1e-6, 1}} {
		if err := e.Begin(min(clock, 1), s); err != nil {
			t.Fatal(err)
		}
	}
	r := result(t, e, seconds(2))
	unknown(t, "ρ_v", r.Rate)
	expect(t, "ρ_v of the other", r.Clocks[0].Rate, 1e-6, 1e-6, 0)
	if r.Jumps != 1 || r.Clocks[1].Jumps != 1 {
		t.Errorf("%d jumps", r.Jumps)
	}
}

// TestEnsembleReplacedAtOnce: of several segments that begin at one instant the last one counts, and only it.
func TestEnsembleReplacedAtOnce(t *testing.T) {
	e := newEnsemble(t, 2, EnsembleOptions{})
	for _, s := range []struct {
		clock int
		Segment
	}{
		{0, Segment{seconds(0), seconds(0), 0, 1}}, {1, Segment{seconds(0), seconds(0), 0, 1}},
		{0, Segment{seconds(1), seconds(5), 0.5, 7}}, {0, Segment{seconds(1), seconds(1), 1e-6, 1}},
		{1, Segment{seconds(2), seconds(9), 0, 2}},
	} {
		if err := e.Begin(s.clock, s.Segment); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.End(1, seconds(2)); err != nil { // it leaves at once: nobody saw its step
		t.Fatal(err)
	}
	r := result(t, e, seconds(3))
	expect(t, "π_v", r.PrecisionSeconds.Figure, 1e-6, 1e-9, 0)
	expect(t, "α_v", r.AccuracySeconds.Figure, 2e-6, 1e-9, 0)
	if r.Steps != 0 || r.Jumps != 0 || !r.Rate.Known || r.Clocks[1].PresentSeconds != 2 {
		t.Errorf("%+v", r)
	}
}

// TestEnsembleRMS: the root mean square over time, against a fine sum.
func TestEnsembleRMS(t *testing.T) {
	r := newRand(t)
	e := newEnsemble(t, 3, EnsembleOptions{})
	s := play(t, r, e, 3, 80, true)
	end := s.instants[len(s.instants)-1] + 1e9
	got := result(t, e, instant(end))
	for clock := range 3 {
		sum, length := 0.0, 0.0
		for i, from := range s.instants {
			to := end
			if i+1 < len(s.instants) {
				to = s.instants[i+1]
			}
			if p := s.after[i][clock]; p != nil {
				const parts = 50
				for k := range parts {
					v, _ := p.at(from + (to-from)*(2*int64(k)+1)/(2*parts)).Float64()
					sum += v * v * float64(to-from) / parts
				}
				length += float64(to - from)
			}
		}
		expect(t, "RMS", got.Clocks[clock].ErrorRMSSeconds, math.Sqrt(sum/length), 1e-3, 0)
		if !near(got.Clocks[clock].PresentSeconds, length/1e9, 1e-12, 0) {
			t.Errorf("present for %g s, want %g", got.Clocks[clock].PresentSeconds, length/1e9)
		}
	}
}

// TestEnvelopeBracketsTheTruth: MTIE of a piecewise affine error is attained between a breakpoint and another one, or one window away.
func TestEnvelopeBracketsTheTruth(t *testing.T) {
	r := newRand(t)
	for range 40 {
		e := newEnsemble(t, 1, EnsembleOptions{CellSeconds: 0.25, CellsPerWindow: 1 << r.IntN(6)})
		var at, x []float64 // breakpoints
		now, offset := 0.0, 0.0
		// The clock steps once, to where it has never been: what was before must count, and nothing across.
		var before []float64
		reached := 0.0
		pieces, step := 2+r.IntN(100), r.IntN(150)
		for i := range pieces {
			if i == step && i > 0 {
				checkEnvelope(t, result(t, e, seconds(now)).Envelope, append(at, now), append(x, offset), nil, 0)
				reached = slices.Max(append(x, offset)) - slices.Min(append(x, offset))
				for _, p := range result(t, e, seconds(now)).Envelope {
					before = append(before, slowContinuousMTIE(append(at, now), append(x, offset), p.WindowSeconds))
				}
				at, x, offset = nil, nil, offset+1
			}
			epoch := virtualclock.Epoch(1)
			if i >= step {
				epoch = 2
			}
			rate := math.Ldexp(float64(r.IntN(33)-16), -16)
			if err := e.Begin(0, Segment{seconds(now), seconds(now).AddSeconds(offset), rate, epoch}); err != nil {
				t.Fatal(err)
			}
			at, x = append(at, now), append(x, offset)
			length := float64(1+r.IntN(64)) / 64
			now, offset = now+length, offset+length*rate
		}
		at, x = append(at, now), append(x, offset)
		checkEnvelope(t, result(t, e, seconds(now)).Envelope, at, x, before, reached)
	}
}

// checkEnvelope holds a curve against the breakpoints of one stretch, and the MTIE of the stretch before, which was reached in all of it.
func checkEnvelope(t *testing.T, got []EnvelopePoint, at, x []float64, before []float64, reached float64) {
	t.Helper()
	n, length := len(got), at[len(at)-1]-at[0]
	if want := max(length, 0.25); n == 0 && length >= 0.25 || n > len(before) && got[n-1].WindowSeconds > want {
		t.Fatalf("envelope of %g s: %+v", length, got)
	}
	for i, p := range got {
		want := 0.0
		if length >= p.WindowSeconds {
			want = slowContinuousMTIE(at, x, p.WindowSeconds)
		}
		atLeast := max(want, reached)
		if i < len(before) {
			want = max(want, before[i])
			atLeast = want
		}
		if !p.MTIESeconds.Known || p.MTIESeconds.Value < want-1e-12 || p.MTIEAtLeastSeconds.Value > atLeast+1e-12 && length >= p.WindowSeconds {
			t.Fatalf("MTIE(%g) is %g, not in %g … %g", p.WindowSeconds, want, p.MTIEAtLeastSeconds.Value, p.MTIESeconds.Value)
		}
	}
}

// slowContinuousMTIE is the supremum of |x(s) − x(u)|, |s − u| ≤ window.
func slowContinuousMTIE(at, x []float64, window float64) float64 {
	start, end := at[0], at[len(at)-1]
	value := func(u float64) float64 {
		i, found := slices.BinarySearch(at, u)
		if found {
			return x[i]
		}
		return x[i-1] + (x[i]-x[i-1])*(u-at[i-1])/(at[i]-at[i-1])
	}
	candidates := []float64{end}
	for _, u := range at {
		for _, v := range []float64{u, u - window, u + window} {
			if v >= start && v <= end {
				candidates = append(candidates, v)
			}
		}
	}
	candidates = append(candidates, max(start, end-window))
	worst := 0.0
	for _, u := range candidates {
		for _, v := range candidates {
			if math.Abs(u-v) <= window+1e-12 {
				worst = math.Max(worst, math.Abs(value(u)-value(v)))
			}
		}
	}
	return worst
}

func TestEnsembleSamplesAndReset(t *testing.T) {
	e := newEnsemble(t, 3, EnsembleOptions{CellSeconds: 1})
	for clock, offset := range []float64{0, 1e-3, -1e-3} {
		if err := e.Begin(clock, Segment{seconds(0), seconds(offset), 0, 1}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(e.Sample(seconds(0)), e.Sample(seconds(1)), e.End(1, seconds(2)), e.Sample(seconds(2))); err != nil {
		t.Fatal(err)
	}
	r := result(t, e, seconds(3))
	// Two samples of three clocks, and one after the middle one has left: what holds at an instant is the limit from the right.
	if r.SpreadSeconds.Max.Samples != 3 || r.ErrorSeconds.Max.Samples != 8 {
		t.Errorf("%+v", r)
	}
	expect(t, "smallest spread", r.SpreadSeconds.Min, 1e-3, 1e-9, 0)
	expect(t, "RMS of the spreads", r.SpreadSeconds.RMS, math.Sqrt(3)*1e-3, 1e-9, 0)
	if x := e.Errors(nil); len(x) != 3 || x[0] != 0 || x[1] == x[1] || !near(x[2], -1e-3, 1e-9, 0) {
		t.Errorf("errors %v", x)
	}
	e.Reset()
	r = result(t, e, seconds(4))
	expect(t, "π_v after settling", r.PrecisionSeconds.Figure, 1e-3, 1e-9, 0)
	if r.SpreadSeconds.Max.Known || r.Clocks[1].AccuracySeconds.Known || r.Clocks[0].PresentSeconds != 1 || r.Clocks[1].PresentSeconds != 0 {
		t.Errorf("after a reset: %+v", r)
	}
}

func TestEnsembleRefuses(t *testing.T) {
	for _, c := range []struct {
		clocks int
		o      EnsembleOptions
	}{{0, EnsembleOptions{}}, {-1, EnsembleOptions{}}, {maxClocks + 1, EnsembleOptions{}}, {1, EnsembleOptions{JumpSeconds: -1}},
		{1, EnsembleOptions{JumpSeconds: math.NaN()}}, {1, EnsembleOptions{CellSeconds: math.NaN()}}, {1, EnsembleOptions{CellSeconds: 1e-9}},
		{1, EnsembleOptions{CellSeconds: -1}}, {1, EnsembleOptions{CellSeconds: math.Inf(1)}}} {
		if _, err := NewEnsemble(c.clocks, c.o); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
	e := newEnsemble(t, 1, EnsembleOptions{})
	good := Segment{seconds(5), seconds(5), 0, 1}
	for _, clock := range []int{-1, 1} {
		if err := errors.Join(e.Begin(clock, good), e.End(clock, seconds(5))); err == nil {
			t.Errorf("clock %d was accepted", clock)
		}
	}
	for _, rate := range []float64{math.NaN(), math.Inf(1)} {
		if err := e.Begin(0, Segment{seconds(5), seconds(5), rate, 1}); !errors.Is(err, ErrNumber) {
			t.Errorf("rate %g: %v", rate, err)
		}
	}
	if err := e.Begin(0, good); err != nil {
		t.Fatal(err)
	}
	_, err := e.Result(seconds(4))
	for _, err := range []error{err, e.Begin(0, Segment{From: seconds(4)}), e.End(0, seconds(4)), e.Sample(seconds(4)), e.RoundBegins(seconds(4)),
		e.RoundEnds(seconds(4))} {
		if !errors.Is(err, ErrOrder) {
			t.Errorf("back in time: %v", err)
		}
	}
	if r := result(t, e, seconds(5)); r.PrecisionSeconds.Known || r.Rate.Known || r.AccuracySeconds.Value != 0 || !r.AccuracySeconds.Known {
		t.Errorf("at once: %+v", r)
	}
}

// TestSegmentOf: a clock made of real coefficients is followed through its slew.
func TestSegmentOf(t *testing.T) {
	const hertz, fast = 1e9, 20e-6
	clock := virtualclock.NewClock(virtualclock.PeriodOf(hertz), 500e-6)
	clock.Step(1000, seconds(0), -fast) // it knows that its counter is fast
	e := newEnsemble(t, 1, EnsembleOptions{})
	reading := func(s float64) hw.Ticks { return 1000 + hw.Ticks(math.Round(s*hertz*(1+fast))) }
	follow := func(s float64) {
		t.Helper()
		if err := e.Begin(0, SegmentOf(clock.Coefficients(), reading(s), seconds(s), hertz*(1+fast))); err != nil {
			t.Fatal(err)
		}
	}
	follow(0)
	now := reading(1)
	clock.Steer(now, clock.Time(now).AddSeconds(100e-6), -fast, 0) // 100 µs at 500 ppm: until 1.2 s
	follow(1)
	end := float64(clock.Coefficients().SlewEnd-1000) / (hertz * (1 + fast))
	if !near(end, 1.2, 1e-3, 0) {
		t.Fatalf("slew ends at %g s", end)
	}
	follow(end)
	r := result(t, e, seconds(3))
	expect(t, "α_v", r.AccuracySeconds.Figure, 100e-6, 1e-3, 0)
	expect(t, "ρ_v", r.Rate, 500e-6, 2e-3, 0)
	if r.Jumps != 0 || r.Steps != 0 {
		t.Errorf("%+v", r)
	}
}

func TestEnsembleResultInJSON(t *testing.T) {
	e := newEnsemble(t, 2, EnsembleOptions{})
	for _, s := range []Segment{{seconds(0), seconds(1e-6), 0, 1}, {seconds(1), seconds(1.001), 0, 1}} {
		if err := e.Begin(0, s); err != nil {
			t.Fatal(err)
		}
	}
	want := result(t, e, seconds(2))
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got EnsembleResult
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("\n%+v, read\n%+v from\n%s", want, got, b)
	}
}

// TestEnvelopeOfAShortStretch: a restless stretch that is shorter than a window is none of its length, and is not what one has at least:
// the two sides of the bracket are never the wrong way round.
func TestEnvelopeOfAShortStretch(t *testing.T) {
	e := newEnsemble(t, 1, EnsembleOptions{CellSeconds: 0.25})
	for i, s := range []struct{ at, rate float64 }{{0, 1e-3}, {1, 1e-6}} {
		if err := e.Begin(0, Segment{seconds(s.at), seconds(s.at), s.rate, virtualclock.Epoch(i)}); err != nil {
			t.Fatal(err)
		}
	}
	r := result(t, e, seconds(9))
	if n := len(r.Envelope); n != 6 {
		t.Fatalf("%d windows: %+v", n, r.Envelope)
	}
	for _, p := range r.Envelope {
		if p.AtLeast.Value > p.AtMost.Value {
			t.Errorf("over %g s at least %g and at most %g", p.WindowSeconds, p.AtLeast.Value, p.AtMost.Value)
		}
	}
	if p := r.Envelope[5]; math.Abs(p.AtMost.Value-1e-6) > 1e-7 {
		t.Errorf("over %g s: %g, made were 1e-6", p.WindowSeconds, p.AtMost.Value)
	}
	if err := NewTable().SetEnsemble(&r, 5); err != nil {
		t.Error(err)
	}
}
