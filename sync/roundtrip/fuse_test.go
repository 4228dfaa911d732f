package roundtrip

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/clockd/clockd/reason"
)

// slowF is F by its definition, with sorted copies.
func slowF(lows, highs []float64, f int) (float64, float64) {
	lows, highs = slices.Clone(lows), slices.Clone(highs)
	slices.Sort(lows)
	slices.Reverse(lows)
	slices.Sort(highs)
	return lows[f], highs[f]
}

// randomReadings makes n readings of the truth 0, false of which are false in any way.
func randomReadings(rng *rand.Rand, n, falseOnes int) ([]Reading, []reason.Code) {
	readings, codes := make([]Reading, n), make([]reason.Code, n)
	for i := range readings {
		r := &readings[i]
		r.Low, r.High = -rng.ExpFloat64(), rng.ExpFloat64()
		switch {
		case i < falseOnes:
			shift := rng.NormFloat64() * math.Pow(10, float64(rng.IntN(6)-3))
			r.Low, r.High = r.Low+shift, r.High+shift
			if rng.IntN(3) == 0 {
				r.Low, r.High = shift, shift
			}
		case rng.IntN(8) == 0:
			codes[i] = reason.SourceWaiting
		case rng.IntN(8) == 0:
			r.Low = math.Inf(-1)
		}
		r.OffsetStd, r.RateStd = rng.ExpFloat64(), 1e-6*rng.ExpFloat64()
		lo, hi := max(r.Low, -9), min(r.High, 9)
		r.Offset = lo + (hi-lo)*rng.Float64()
	}
	rng.Shuffle(n, func(i, j int) {
		readings[i], readings[j] = readings[j], readings[i]
		codes[i], codes[j] = codes[j], codes[i]
	})
	return readings, codes
}

// TestFuseContainsTruth is the law of F: the result contains the truth whenever at most f inputs lie and at least f+1 have
// something to say; it equals the slow twin; nothing depends on the order of the sources.
func TestFuseContainsTruth(t *testing.T) {
	for seed := range uint64(20000) {
		rng := rand.New(rand.NewPCG(seed, 2))
		n := 1 + rng.IntN(9)
		f := rng.IntN(MaxFalse(n) + 1)
		readings, codes := randomReadings(rng, n, rng.IntN(f+1))
		var u Fusion
		verdicts := make([]Verdict, n)
		e := u.Fuse(5, readings, codes, f, verdicts)
		lows, highs := make([]float64, n), make([]float64, n)
		for i := range readings {
			lows[i], highs[i] = readings[i].Low, readings[i].High
			if codes[i] != reason.OK {
				lows[i], highs[i] = math.Inf(-1), math.Inf(1)
			}
		}
		if lo, hi := slowF(lows, highs, f); e.Low != lo || e.High != hi {
			t.Fatalf("seed %d: F is [%g, %g], the twin says [%g, %g]", seed, e.Low, e.High, lo, hi)
		}
		if e.Low > 0 || e.High < 0 {
			t.Fatalf("seed %d: the truth 0 is outside [%g, %g] with at most %d of %d false", seed, e.Low, e.High, f, n)
		}
		checkEstimate(t, seed, &e, readings, verdicts)
		rng.Shuffle(n, func(i, j int) {
			readings[i], readings[j] = readings[j], readings[i]
			codes[i], codes[j] = codes[j], codes[i]
		})
		again := u.Fuse(5, readings, codes, f, verdicts)
		if again.Low != e.Low || again.High != e.High || again.Used != e.Used || again.Reason != e.Reason {
			t.Fatalf("seed %d: relabelling the sources changed %+v to %+v", seed, e, again)
		}
	}
}

func checkEstimate(t *testing.T, seed uint64, e *Estimate, readings []Reading, verdicts []Verdict) {
	t.Helper()
	if math.IsInf(e.Low, 0) || math.IsInf(e.High, 0) {
		if e.Reason != reason.TooFewSources {
			t.Fatalf("seed %d: an infinite edge with reason %v", seed, e.Reason)
		}
		return
	}
	if e.Reason != reason.OK || e.Offset < e.Low || e.Offset > e.High {
		t.Fatalf("seed %d: %+v", seed, *e)
	}
	weight := 0.0
	for i, v := range verdicts {
		weight += v.Weight
		r := readings[i]
		if miss := r.Low > e.High || r.High < e.Low; miss != (v.Reason == reason.SourceFalseticker) && v.Reason != reason.SourceWaiting {
			t.Fatalf("seed %d: source %d [%g, %g] against [%g, %g] is called %v", seed, i, r.Low, r.High, e.Low, e.High, v.Reason)
		}
	}
	if math.Abs(weight-1) > 1e-9 {
		t.Fatalf("seed %d: the weights sum to %g", seed, weight)
	}
}

// TestFuseNamesFalseticker: four sources, one 50 ms off.
func TestFuseNamesFalseticker(t *testing.T) {
	readings := make([]Reading, 4)
	for i := range readings {
		readings[i] = Reading{Low: -20e-6, High: 20e-6, OffsetStd: 1e-6, RateStd: 1e-7}
	}
	readings[2].Low, readings[2].High, readings[2].Offset = 50e-3-20e-6, 50e-3+20e-6, 50e-3
	verdicts := make([]Verdict, 4)
	var u Fusion
	e := u.Fuse(0, readings, make([]reason.Code, 4), MaxFalse(4), verdicts)
	if e.Low != -20e-6 || e.High != 20e-6 || e.Offset != 0 || e.Used != 3 {
		t.Errorf("the liar moved the result: %+v", e)
	}
	if v := verdicts[2]; v.Reason != reason.SourceFalseticker || math.Abs(v.Distance-(50e-3-40e-6)) > 1e-12 || v.Weight != 0 {
		t.Errorf("verdict on the liar: %+v", v)
	}
}

// TestFuseDoesNotFollowADrag: one of four, which claims to know best, is 100 µs away inside its interval.
func TestFuseDoesNotFollowADrag(t *testing.T) {
	readings := make([]Reading, 4)
	for i := range readings {
		readings[i] = Reading{Low: -500e-6, High: 500e-6, Offset: float64(i) * 1e-6, OffsetStd: 3e-6, RateStd: 1e-7}
	}
	readings[3].Offset, readings[3].OffsetStd, readings[3].Rate = 100e-6, 1e-6, 1e-6
	verdicts := make([]Verdict, 4)
	var u Fusion
	e := u.Fuse(0, readings, make([]reason.Code, 4), 1, verdicts)
	if e.Offset < 0 || e.Offset > 3e-6 || e.Rate > 0.05e-6 {
		t.Errorf("the estimate followed: %+v", e)
	}
	if w := verdicts[3].Weight; w > 0.02 {
		t.Errorf("the one that drags has weight %g", w)
	}
}

// TestFusePrefersTheBest: a good source among bad ones that agree with it within their noise keeps its weight.
func TestFusePrefersTheBest(t *testing.T) {
	readings := []Reading{
		{Low: -1, High: 1, Offset: 0, OffsetStd: 1e-6, RateStd: 1e-8},
		{Low: -1, High: 1, Offset: 900e-6, OffsetStd: 1e-3, RateStd: 1e-6}, {Low: -1, High: 1, Offset: 1500e-6, OffsetStd: 1e-3, RateStd: 1e-6},
	}
	verdicts := make([]Verdict, 3)
	var u Fusion
	if e := u.Fuse(0, readings, make([]reason.Code, 3), 1, verdicts); math.Abs(e.Offset) > 1e-6 || verdicts[0].Weight < 0.99 {
		t.Errorf("%+v %+v", e, verdicts)
	}
}

func TestFuseSaysWhy(t *testing.T) {
	var u Fusion
	verdicts := make([]Verdict, 2)
	apart := []Reading{{Low: 0, High: 1}, {Low: 2, High: 3}}
	if e := u.Fuse(0, apart, make([]reason.Code, 2), 0, verdicts); e.Reason != reason.NoMajority {
		t.Errorf("two that contradict each other: %v", e.Reason)
	}
	waiting := []reason.Code{reason.SourceWaiting, reason.OK}
	if e := u.Fuse(0, apart, waiting, 0, verdicts); e.Reason != reason.OK || e.Low != 2 || e.High != 3 {
		t.Errorf("one that answers, none false: %+v", e)
	}
	if e := u.Fuse(0, nil, nil, 0, nil); e.Reason != reason.TooFewSources {
		t.Errorf("no source at all: %v", e.Reason)
	}
	three := []Reading{{Low: 0, High: 1}, {Low: 0, High: 1}, {Low: 0, High: 1}}
	codes := []reason.Code{reason.SourceWaiting, reason.OK, reason.SourceWaiting}
	if e := u.Fuse(0, three, codes, 1, make([]Verdict, 3)); e.Reason != reason.TooFewSources {
		t.Errorf("one of three cannot outvote a liar: %v", e.Reason)
	}
}

func TestFuseDoesNotAllocate(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	readings, codes := randomReadings(rng, 7, 2)
	verdicts := make([]Verdict, 7)
	var u Fusion
	u.Fuse(0, readings, codes, 2, verdicts)
	if n := testing.AllocsPerRun(100, func() { u.Fuse(0, readings, codes, 2, verdicts) }); n != 0 {
		t.Errorf("%g allocations", n)
	}
}
