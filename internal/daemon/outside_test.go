package daemon

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/keys"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/virtualclock"
)

// However fast the counter really is, within its bounds, a second of the clock differs from a true one by no more than is said; and by
// as much at one of the bounds.
func TestRateBoundHoldsAndIsReached(t *testing.T) {
	r := rand.New(rand.NewPCG(testkit.Seed(t), 1))
	nominal := virtualclock.PeriodOf(1e9)
	for range 200 {
		drift, correction, slew := r.Float64()*5e-3, (2*r.Float64()-1)*1e-4, (2*r.Float64()-1)*5e-4
		k := virtualclock.Coefficients{
			Slew: virtualclock.Line{Period: nominal.Scale(slew + correction)}, SlewEnd: 1000, Steady: virtualclock.Line{Period: nominal.Scale(correction)},
			Slow: nominal.Scale(-drift), Fast: nominal.Scale(drift),
		}
		for now, line := range map[hw.Ticks]virtualclock.Line{999: k.Slew, 1000: k.Steady} {
			bound, worst := rateBound(&k, now), 0.0
			for _, x := range []float64{-drift, drift, (2*r.Float64() - 1) * drift} {
				second := nominal.Scale(x).Nanoseconds() / line.Period.Nanoseconds() // true time that passes in a second of the clock
				worst = max(worst, second-1, 1-second)
			}
			if worst > bound+1e-13 || worst < bound-1e-13 {
				t.Fatalf("at %d: the clock is wrong by %g, and %g is said", now, worst, bound)
			}
		}
	}
}

// All members name their group alike, whatever order their configurations have, and no other group.
func TestGroupName(t *testing.T) {
	a, b, c, d := keys.PublicKey{1}, keys.PublicKey{2}, keys.PublicKey{3}, keys.PublicKey{3, 1}
	members := []keys.PublicKey{a, b, c}
	want := groupName(slices.Clone(members))
	if len(want) != 8 {
		t.Errorf("%q is not eight letters", want)
	}
	for range 3 {
		members = append(members[1:], members[0])
		if got := groupName(slices.Clone(members)); got != want {
			t.Errorf("%s and %s are one group", got, want)
		}
	}
	for _, other := range [][]keys.PublicKey{{a, b}, {a, b, d}, {a, b, c, d}} {
		if groupName(other) == want {
			t.Errorf("%v has the name of another group", other)
		}
	}
}
