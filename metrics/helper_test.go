package metrics

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/virtualclock"
)

// newRand is a source whose seed a failure prints.
func newRand(t testing.TB) *rand.Rand {
	t.Helper()
	return rand.New(rand.NewPCG(testkit.Seed(t), 5))
}

// origin is true time at the start of the tests' runs: far from 0, where a float64 of seconds is good to 0.2 µs only.
func origin() virtualclock.Time { return virtualclock.Unix(1_800_000_000_000_000_000, 0) }

func seconds(s float64) virtualclock.Time { return origin().AddSeconds(s) }

// near reports whether two numbers agree to a relative tolerance, or to an absolute one.
func near(got, want, relative, absolute float64) bool {
	return math.Abs(got-want) <= max(relative*math.Abs(want), absolute)
}

// expect checks a figure.
func expect(t *testing.T, what string, got Figure, want, relative, absolute float64) {
	t.Helper()
	if !got.Known || !near(got.Value, want, relative, absolute) {
		t.Errorf("%s: %+v, want %g", what, got, want)
	}
}

// unknown checks that a figure is missing.
func unknown(t *testing.T, what string, got Figure) {
	t.Helper()
	if got.Known || got.Value != 0 {
		t.Errorf("%s: %+v, want nothing", what, got)
	}
}
