package sim

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/virtualclock"
)

func TestQuantiles(t *testing.T) {
	x := []float64{5, 1, 4, 2, 3, 10, 9, 8, 7, 6}
	for q, want := range map[float64]float64{0: 1, 0.1: 1, 0.5: 5, 0.99: 10, 1: 10} {
		if got := quantile(x, q); got != want {
			t.Errorf("quantile %g is %g, want %g", q, got, want)
		}
	}
	if m := median(x); m != 5.5 {
		t.Errorf("median %g", m)
	}
	if m := median([]float64{3, 1, 2}); m != 2 {
		t.Errorf("median %g", m)
	}
	if !math.IsNaN(quantile(nil, 0.5)) || !math.IsNaN(median(nil)) || !math.IsNaN(rms(nil)) {
		t.Error("nothing has a median")
	}
	if r := rms([]float64{3, -4}); math.Abs(r-math.Sqrt(12.5)) > 1e-15 {
		t.Errorf("RMS %g", r)
	}
}

// TestSamplesAgainstTruth recomputes the figures of a clock that is exactly 3 µs ahead and gains 2 ppm.
func TestSamplesAgainstTruth(t *testing.T) {
	w := NewWorld(1, testEpoch())
	w.Sample = Second
	h, err := w.AddHost(HostConfig{Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	h.Statistics.began(0)
	h.Published = true
	line := virtualclock.Line{C0: 0, T0: testEpoch().AddSeconds(3e-6), Period: virtualclock.PeriodOf(1e9).Scale(2e-6)}
	k := &h.Publication.Clock
	k.Slew, k.Steady, k.Epoch, k.Status = line, line, 1, virtualclock.Synchronised
	k.Earliest, k.Latest = testEpoch().AddSeconds(-1e-3), testEpoch().AddSeconds(1e-3)
	k.Slow, k.Fast = virtualclock.PeriodOf(1e9), virtualclock.PeriodOf(1e9)
	k.StaleAfter, k.VoidAfter = 1<<60, 1<<60
	h.Statistics.From = 20 * Second
	if err := w.Run(100 * Second); err != nil {
		t.Fatal(err)
	}
	var sum float64
	for i := 20; i <= 100; i++ {
		e := 3e-6 + 2e-6*float64(i)
		sum += e * e
	}
	r := h.Result()
	check := func(name string, got Number, want float64) {
		if math.Abs(float64(got)/want-1) > 1e-6 {
			t.Errorf("%s is %g, want %g", name, float64(got), want)
		}
	}
	check("RMS", r.RMSError, math.Sqrt(sum/81))
	check("median", r.MedianError, 3e-6+2e-6*60)
	check("p99", r.P99Error, 3e-6+2e-6*100)
	check("max", r.MaxError, 203e-6)
	check("frequency", r.RMSFrequencyError, 2e-6)
	check("half-width", r.MedianHalfWidth, 1e-3)
	if r.Samples != 81 || r.SoundFraction != 1 || r.BoundViolations != 0 || r.BoundChecks < 1000 {
		t.Errorf("%+v", r)
	}
	// It was under 100 µs at the beginning, but does not stay there.
	if !math.IsNaN(float64(r.ErrorUnder100us)) || r.ErrorUnder1ms != 0 {
		t.Errorf("under 100 µs after %g, under 1 ms after %g", float64(r.ErrorUnder100us), float64(r.ErrorUnder1ms))
	}
}

// regressSlowly finds the shortest and the middle delay by sorting.
func regressSlowly(s []reading) line {
	var d []float64
	for i := range s {
		d = append(d, s[i].delay)
	}
	slices.Sort(d)
	return regress(s, d[0], d[len(d)/2])
}

// TestRanksAgainstSorting holds the incremental order of the delays against sorting.
func TestRanksAgainstSorting(t *testing.T) {
	r := rand.New(rand.NewPCG(testkit.Seed(t), 4))
	var c comparison
	var all []float64
	for range 500 {
		if len(all) > 0 && r.IntN(4) == 0 {
			all = all[:len(all)-1] // the newest one is known better now
		} else {
			c.number++
		}
		all = append(all, float64(r.IntN(50)))
		held := min(len(all), 64)
		c.rank(all[len(all)-1], c.number, c.number+1-uint64(held))
		for _, n := range []int{1, 4, 8, 16, 32, 64} {
			n = min(n, held)
			last := slices.Clone(all[len(all)-n:])
			slices.Sort(last)
			if a, b := c.delays(n); a != last[0] || b != last[n/2] {
				t.Fatalf("of the last %d of %v: %g and %g", n, all, a, b)
			}
		}
	}
}

// TestRegressionAgainstLine: samples on a line give the line, and noise of known size gives the errors of theory.
func TestRegressionAgainstLine(t *testing.T) {
	var s []reading
	for i := range 16 {
		x := float64(i) * 16
		s = append(s, reading{x: x, offset: 1e-3 + 12e-6*x, delay: 100e-6})
	}
	l := regressSlowly(s)
	if math.Abs(l.at(300)-1e-3-12e-6*300) > 1e-15 || l.offsetStd > 1e-15 {
		t.Errorf("%+v", l)
	}
	r := rand.New(rand.NewPCG(testkit.Seed(t), 3))
	const n = 5000
	var at, claimed, rate, claimedRate float64
	for range n {
		for i := range s {
			s[i].offset = 1e-6 * r.NormFloat64()
		}
		l := regressSlowly(s)
		at += l.at(s[15].x) * l.at(s[15].x) / n
		claimed += l.offsetStd * l.offsetStd / n
		rate += l.rate * l.rate / n
		claimedRate += l.rateStd * l.rateStd / n
	}
	if math.Abs(at/claimed-1) > 0.15 || math.Abs(rate/claimedRate-1) > 0.15 {
		t.Errorf("offset variance %g, claimed %g; rate variance %g, claimed %g", at, claimed, rate, claimedRate)
	}
	// A sample that was queued for long has no say.
	s[7].offset, s[7].delay = 1, 2
	for i := range s {
		if i != 7 {
			s[i].offset, s[i].delay = 0, 100e-6+float64(i)*1e-6
		}
	}
	if l := regressSlowly(s); math.Abs(l.at(s[15].x)) > 1e-6 {
		t.Errorf("one late sample moves the line by %g", l.at(s[15].x))
	}
}

// TestBoundsOfOthers computes chrony's and RFC 5905's bounds by hand.
func TestBoundsOfOthers(t *testing.T) {
	const rho = 50e-6
	var c comparison
	for i := range 10 {
		c.samples = append(c.samples, reading{x: float64(i) * 16, offset: 12e-6 * float64(i) * 16, delay: 200e-6, root: 1e-4})
	}
	c.samples[8].delay = 100e-6
	c.at = 9 * 16
	for i, n := range regressionWindows {
		c.lines[i] = regressSlowly(c.samples[max(0, 10-n):])
	}
	c.chronyFigures(rho)
	// The samples are on a line, so skew and standard deviation are 0: half the least delay, and the server's own part.
	if math.Abs(c.chronyBase-150e-6) > 1e-9 || math.Abs(c.chronySlope-rho) > 1e-9 {
		t.Errorf("chrony: %g + %g·age", c.chronyBase, c.chronySlope)
	}
	c.ntpFigures(rho)
	// The best one is 16 s old and comes first with weight ½; the other seven follow in the order of their age, oldest first.
	dispersion := 0.5 * rho * 16
	for i, age := range []float64{112, 96, 80, 64, 48, 32, 0} {
		dispersion += math.Ldexp(rho*age, -i-2)
	}
	want := 50e-6 + 1e-4 + dispersion + rho*16
	if math.Abs(c.ntpBase-want) > 1e-9 || math.Abs(c.ntpSlope-rho*(2-math.Ldexp(1, -8))) > 1e-12 {
		t.Errorf("NTP: %g + %g·age, want %g", c.ntpBase, c.ntpSlope, want)
	}
}

// TestChronyIsWrongAtTheEdges: an oscillator that turns round within its bound makes chrony's claims wrong, and ours not.
func TestChronyIsWrongAtTheEdges(t *testing.T) {
	for name, least := range map[string]float64{"edges": 0.5, "lan_sw": 0} {
		s, err := Load(name)
		if err != nil {
			t.Fatal(err)
		}
		s.Length = min(s.Length, 10000)
		results, err := s.Run(1, nil)
		if err != nil {
			t.Fatal(err)
		}
		if r := &results[0]; float64(r.ChronyWrong) < least || least == 0 && r.ChronyWrong != 0 || r.BoundViolations != 0 {
			t.Errorf("%s: chrony's claim is wrong at %g of the samples, %d of our intervals are", name, float64(r.ChronyWrong), r.BoundViolations)
		}
	}
}

func TestSummary(t *testing.T) {
	s := &Scenario{Name: "x", AssumptionsHold: true, Published: &Published{ChronyRMS: 4e-6, TunedRMS: 2e-6, OracleRMS: 1e-6, ChronyP99: 10e-6}}
	nan := Number(math.NaN())
	sum := s.Summarise([]Result{
		{RMSError: 1e-6, P99Error: 4e-6, ErrorUnder1ms: 2, BoundViolations: 3, WorstViolation: 1e-9, MedianHalfWidth: 1, ChronyHalfWidth: 2, NTPHalfWidth: 4, RegressionRMS: 4e-6},
		{RMSError: 3e-6, P99Error: 6e-6, ErrorUnder1ms: nan, WorstViolation: 0, MedianHalfWidth: 1, ChronyHalfWidth: 2, NTPHalfWidth: 4, RegressionRMS: 4e-6},
		{RMSError: 2e-6, P99Error: 5e-6, ErrorUnder1ms: 4, BoundViolations: 1, WorstViolation: 2e-9, MedianHalfWidth: 1, ChronyHalfWidth: 2, NTPHalfWidth: 4, RegressionRMS: 4e-6},
	})
	if sum.RMSError != 2e-6 || sum.Ratios.RMSToChrony != 0.5 || sum.Ratios.RMSToOracle != 2 || sum.Ratios.P99ToChrony != 0.5 || sum.Ratios.RMSToTuned != 1 ||
		sum.ErrorUnder1ms != 4 || sum.BoundViolations != 4 || sum.ViolatedRuns != 2 || sum.WorstViolation != 2e-9 || sum.Ratios.HalfWidthToChrony != 0.5 ||
		sum.Ratios.HalfWidthToNTP != 0.25 || sum.Ratios.RMSToRegression != 0.5 {
		t.Errorf("%+v", sum)
	}
}

func TestInstants(t *testing.T) {
	if Seconds(math.NaN()) != 0 || Seconds(1e300) != longest || Seconds(-1e300) != -longest || Seconds(1e-12) != 1 {
		t.Error("conversion from seconds")
	}
	at, exact := (Instant(1_000_000_000_001)).after(virtualclock.Unix(5, 0))
	if at != virtualclock.Unix(1_000_000_005, 4294967) || exact {
		t.Errorf("%v %t", at, exact)
	}
	if at, exact := (-Picosecond * 1000).after(virtualclock.Unix(5, 7)); at != virtualclock.Unix(4, 7) || !exact {
		t.Errorf("%v %t", at, exact)
	}
	if Never.String() != "never" || (1500*Millisecond).String() != "1.5s" {
		t.Error("names of instants")
	}
}
