package delay

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/clockd/clockd/internal/testkit"
)

func mustParse(t testing.TB, text string) Law {
	t.Helper()
	d, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestLawMoments compares the draws with the moments of theory, written down by hand.
func TestLawMoments(t *testing.T) {
	const n = 400_000
	r := rand.New(rand.NewPCG(testkit.Seed(t), 2))
	for text, want := range map[string]struct{ mean, variance, least float64 }{
		"0":                            {0, 0, 0},
		"50us":                         {50e-6, 0, 50e-6},
		"const(1ms)":                   {1e-3, 0, 1e-3},
		"uniform(1ms, 3ms)":            {2e-3, 4e-6 / 12, 1e-3},
		"exp(10us)":                    {10e-6, 100e-12, 0},
		"exponential(10us)":            {10e-6, 100e-12, 0},
		"50us + exp(10us)":             {60e-6, 100e-12, 50e-6},
		"normal(5ms, 1ms)":             {5e-3, 1e-6, 0},
		"normal(0s, 1ms)":              {1e-3 * math.Sqrt(2/math.Pi), 1e-6 * (1 - 2/math.Pi), 0}, // half a normal distribution
		"lognormal(1ms, 0.5)":          {1e-3 * math.Exp(0.125), 1e-6 * math.Exp(0.25) * (math.Exp(0.25) - 1), 0},
		"pareto(1ms, 5)":               {1.25e-3, 1e-6 * 5 / 48, 1e-3},
		"5% exp(1ms)":                  {0.05e-3, 0.05*2e-6 - 0.0025e-6, 0},
		"25% (1ms + 50% 1ms)":          {0.375e-3, 0.25*(0.25e-6+2.25e-6) - 0.375e-3*0.375e-3, 0},
		"200us + exp(50us)+5%exp(1ms)": {300e-6, 2500e-12 + 0.0975e-6, 200e-6},
		"(1ms + uniform(1ms,1ms))":     {2e-3, 0, 2e-3},
		"0% 5s + 100% 1ms":             {1e-3, 0, 1e-3},
	} {
		d := mustParse(t, text)
		mean, variance := d.Moments()
		if math.Abs(mean-want.mean) > 1e-5*want.mean+1e-15 || math.Abs(variance-want.variance) > 1e-4*want.variance+1e-18 || d.Least() != want.least {
			t.Errorf("%s: mean %g, variance %g, least %g; want %+v", text, mean, variance, d.Least(), want)
		}
		var sum, squares, fourth float64
		for range n {
			x := d.Draw(r)
			if x < want.least {
				t.Fatalf("%s: drew %g, less than the least", text, x)
			}
			sum += x
			y := x - want.mean
			squares += y * y
			fourth += y * y * y * y
		}
		gotMean, gotVariance := sum/n, squares/n
		if math.Abs(gotMean-want.mean) > 6*math.Sqrt(want.variance/n)+1e-9*want.mean {
			t.Errorf("%s: the mean of %d draws is %g, want %g", text, n, gotMean, want.mean)
		}
		if math.Abs(gotVariance-want.variance) > 6*math.Sqrt(fourth/n/n)+1e-18 {
			t.Errorf("%s: the variance of %d draws is %g, want %g", text, n, gotVariance, want.variance)
		}
	}
}

// TestLawWithoutMoments: a Pareto law may have no variance and no mean; its quantiles are right all the same.
func TestLawWithoutMoments(t *testing.T) {
	d := mustParse(t, "pareto(1ms, 1.5)")
	if m, v := d.Moments(); math.Abs(m-3e-3) > 1e-12 || !math.IsInf(v, 1) {
		t.Errorf("mean %g, variance %g", m, v)
	}
	heavy := mustParse(t, "pareto(1ms, 0.5)")
	if m, _ := heavy.Moments(); !math.IsInf(m, 1) {
		t.Errorf("mean %g", m)
	}
	r := rand.New(rand.NewPCG(testkit.Seed(t), 3))
	above := 0
	const n = 100_000
	for range n {
		x := heavy.Draw(r)
		if x > maxDelay {
			t.Fatalf("drew %g s", x)
		}
		if x > 4e-3 { // 4^(−½)
			above++
		}
	}
	if p := float64(above) / n; math.Abs(p-0.5) > 6*0.5/math.Sqrt(n) {
		t.Errorf("the median is exceeded by %g of the draws", p)
	}
}

func TestLawErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":                        "expected a length or a law at character 1",
		"50":                      `"50" is neither a law nor a length`,
		"50us +":                  "expected a length or a law at character 7",
		"50us exp(1ms)":           "expected + or the end at character 6",
		"exp":                     "exp needs its parameters in brackets",
		"exp(1ms":                 "exp has 1 parameters",
		"exp(1ms, 2ms)":           "exp has 1 parameters",
		"uniform(1ms)":            "uniform has 2 parameters",
		"uniform(2ms, 1ms)":       "uniform(a, b) wants a ≤ b",
		"normal(-1ms, 1ms)":       "neither a law nor a length",
		"lognormal(1ms, 1ms)":     "a number without unit",
		"lognormal(1ms, 50)":      "sigma of lognormal is from 0 to 5",
		"pareto(1ms, 0)":          "alpha of pareto is from 0.1 to 100",
		"gauss(1ms, 1ms)":         `"gauss" is neither a law nor a length`,
		"150% 1ms":                "a probability is from 0% to 100%",
		"(1ms":                    "a bracket is not closed",
		"1ms)":                    "expected + or the end",
		"2000s":                   "neither a law nor a length from 0 to 1000 s",
		"const(NaN)":              "neither a law nor a length",
		strings.Repeat("(", 20):   "brackets inside one another",
		strings.Repeat("1", 2000): "longer than",
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.30q: %v, want %q", text, err, want)
		}
	}
}

func TestLawDrawsDoNotAllocate(t *testing.T) {
	d := mustParse(t, "50us + exp(10us) + 5% (lognormal(1ms, 1) + pareto(1us, 2)) + normal(1ms, 1ms) + uniform(0s, 1s)")
	r := rand.New(rand.NewPCG(1, 1))
	if n := testing.AllocsPerRun(1000, func() { d.Draw(r) }); n != 0 {
		t.Errorf("%g allocations per draw", n)
	}
}

// FuzzLaw: no expression crashes the parser, and every one that is accepted draws delays from its least to the limit and is
// read again from what it prints.
func FuzzLaw(f *testing.F) {
	for _, s := range []string{"50us + exp(10us)", "5% exp(1ms)", "uniform(1ms,2ms)", "(1ms + 2%(3ms))", "lognormal(1ms, 0.5)", "pareto(1ms, 1.5)",
		"normal(0s,1s)", "const(1e-3s)", "1e+2us", "100% 0", "µs", "(((", "5%%", "\xff", "exp(1ms))"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(d.String())
		if err != nil {
			t.Fatalf("%q was accepted, but not what it prints, %q: %v", text, d.String(), err)
		}
		a, b := rand.New(rand.NewPCG(1, 2)), rand.New(rand.NewPCG(1, 2))
		for range 20 {
			x := d.Draw(a)
			if !(x >= min(d.Least(), maxDelay)*(1-1e-12) && x <= maxDelay) {
				t.Fatalf("%q drew %g, least %g", text, x, d.Least())
			}
			if y := again.Draw(b); x != y {
				t.Fatalf("%q drew %g and then %g", text, x, y)
			}
		}
	})
}
