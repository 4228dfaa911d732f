package hw

import (
	"math"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"
)

// A bracket around a clock that is rounded down to nanoseconds contains the moment when the clock passed through what it read.
func TestCrossReadingContainsTheMoment(t *testing.T) {
	seeds(t, 500, func(t *testing.T, r *rand.Rand) {
		hertz := 1e6 + r.Float64()*5e9
		rate := hertz / 1e9 * (1 + (r.Float64()-0.5)*0.2) // ticks per nanosecond; up to 10 % wrong
		start := r.Float64() * 1e6
		width := r.Float64() * 1000
		event := start + r.Float64()*width // real time in nanoseconds of the clock
		reading := func(ns float64) Ticks { return Ticks(math.Floor(ns * rate)) }
		before, after := reading(start), reading(start+width)
		realtime := math.Floor(event)
		x := crossReading(before, uint64(after-before), int64(realtime), hertz)
		moment := realtime * rate // on the continuous timeline of the counter
		if low, high := float64(x.At)-float64(x.Error), float64(x.At)+float64(x.Error)+1; moment < low || moment >= high {
			t.Fatalf("bracket %d to %d, clock %g: the moment %g is not in [%g, %g)", before, after, realtime, moment, low, high)
		}
		if x.Error > (after-before)/2+Ticks(math.Ceil(hertz/1e9)*1.25)+2 {
			t.Fatalf("the error %d is wider than the bracket of %d ticks needs", x.Error, after-before)
		}
	})
}

// agrees says whether two cross-readings can both be true: the clock may be slewed by 0.06 % between them.
func agrees(x, y CrossReading, hertz float64) bool {
	ticks := float64(y.At.Sub(x.At))
	expected := float64(y.Realtime-x.Realtime) * hertz / 1e9
	return math.Abs(ticks-expected) <= float64(x.Error+y.Error)+math.Abs(expected)*6e-4+2
}

// secondMethod brackets the clock by a system call instead of by the library.
func secondMethod(t *testing.T, c Counter) CrossReading {
	before := c.Read()
	ns, err := clockNanoseconds(unix.CLOCK_REALTIME)
	after := c.Read()
	if err != nil {
		t.Fatal(err)
	}
	return crossReading(before, uint64(after-before), ns, c.Frequency().Hertz)
}

func TestCrossStampAgreesWithASecondMethod(t *testing.T) {
	for name, c := range everyCounter(t) {
		hertz := c.Frequency().Hertz
		narrowest := Ticks(math.MaxUint64)
		for range 300 {
			y := secondMethod(t, c)
			x, err := CrossStamp(c)
			if err != nil {
				t.Fatal(err)
			}
			z := secondMethod(t, c)
			if !agrees(y, x, hertz) || !agrees(x, z, hertz) {
				t.Fatalf("%s: %+v does not agree with %+v and %+v", name, x, y, z)
			}
			narrowest = min(narrowest, x.Error)
		}
		t.Logf("%s: the narrowest error is %d ticks, %.0f ns", name, narrowest, float64(narrowest)/hertz*1e9)
		// The check itself sees an error of 2 µs beyond the brackets.
		x, err := CrossStamp(c)
		if err != nil {
			t.Fatal(err)
		}
		wrong := x
		wrong.Realtime += int64(float64(2*x.Error)/hertz*1e9) + 2000
		if agrees(x, wrong, hertz) {
			t.Errorf("%s: the test does not notice an error of %d ns", name, wrong.Realtime-x.Realtime)
		}
	}
}

func TestCrossStampRefusesACounterThatGoesBackwards(t *testing.T) {
	c := &stepping{Manual: Manual{frequency: Frequency{Hertz: 1e6}}, steps: []int64{-1}}
	if x, err := CrossStamp(c); err == nil {
		t.Errorf("it gives %+v", x)
	}
}
