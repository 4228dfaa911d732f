package roundtrip

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/clockd/clockd/internal/testkit"
)

// TestEdgeBeatsOrderStatistics: what each direction says of the least round trip brings it nearer than the round trips alone, and
// the claimed doubt is about the error.
func TestEdgeBeatsOrderStatistics(t *testing.T) {
	b := bouts()[1]
	var hypotheses, order, claimed float64
	const seeds = 12
	for seed := range uint64(seeds) {
		e := &estimator{}
		fightWith(e, b, seed+1)
		least, std := e.edge.estimate()
		hypotheses += square(least - 2*b.least)
		order += square(e.onset.least - 2*b.least)
		claimed += std * std
	}
	hypotheses, order, claimed = math.Sqrt(hypotheses/seeds), math.Sqrt(order/seeds), math.Sqrt(claimed/seeds)
	t.Logf("error of the least round trip: hypotheses %.3g s (they claim %.3g s), order statistics %.3g s", hypotheses, claimed, order)
	if hypotheses > 0.8*order {
		t.Errorf("the hypotheses are %g s off, the order statistics %g s", hypotheses, order)
	}
	if claimed < hypotheses/3 || claimed > 3*hypotheses {
		t.Errorf("the hypotheses are %g s off and claim %g s", hypotheses, claimed)
	}
}

// TestNoisyServer: what a server's clock jitters by is not the network's, shows in no round trip, and is averaged over all the same.
func TestNoisyServer(t *testing.T) {
	for seed := range uint64(5) {
		rng := rand.New(rand.NewPCG(seed, 12))
		var e estimator
		e.reset(0, 50e-6)
		var after sum
		for i := range 1250 {
			noise := 600e-6 * (2*rng.Float64() - 1)
			e.update(noise+50e-6+10e-6*rng.ExpFloat64(), noise-50e-6-10e-6*rng.ExpFloat64(), 16*min(float64(i), 1))
			if offset, _ := e.mean(0); i > 300 {
				after.add(offset)
			}
		}
		if r := after.rms(); r > 120e-6 { // each exchange alone: 346 µs
			t.Errorf("seed %d: RMS %g s", seed, r)
		}
	}
}

// sum is of squares.
type sum struct{ x, n float64 }

func (s *sum) add(x float64) { s.x, s.n = s.x+x*x, s.n+1 }
func (s *sum) rms() float64  { return math.Sqrt(s.x / s.n) }

// TestEdgeKeepsEvidence: hypotheses that are moved keep what they know, as far as they still reach it.
func TestEdgeKeepsEvidence(t *testing.T) {
	r := rand.New(rand.NewPCG(testkit.Seed(t), 8))
	for range 200 {
		var g edge
		g.place(1e-3, 10e-6)
		width := 2e-6 + 3e-6*r.Float64()
		moved, doubt := 1e-3+5e-6*(r.Float64()-0.5), 10e-6*(0.7+0.8*r.Float64())
		// The truth is where both the old and the new hypotheses have some on either side of it.
		high, low := min(1e-3, moved)-2*width, max(1e-3-edgeSpan*10e-6, moved-edgeSpan*doubt)+2*width
		true0 := low + (high-low)*r.Float64()
		for k := range g.log {
			g.log[k] = -square((g.value(k) - true0) / width)
		}
		before, _ := g.estimate()
		g.place(moved, doubt)
		after, std := g.estimate()
		if math.Abs(after-before) > 1e-6+std/2 || math.IsNaN(after) || !(std > 0) {
			t.Fatalf("the least round trip was %g s and is %g s after the move", before, after)
		}
	}
}

// TestEdgeWithoutSense: exchanges that fit nothing change nothing, and no figure becomes unusable.
func TestEdgeWithoutSense(t *testing.T) {
	var d delayDensity
	d.guess(10e-6)
	var g edge
	g.place(100e-6, 1e-6)
	for _, x := range [][2]float64{{1, -1}, {-1, 1}, {1e-3, 1e-3}, {math.Inf(1), math.Inf(-1)}, {math.NaN(), 0}} {
		g.learn(&d, 0, 1e-6, x[0], x[1], 50e-6, 50e-6, 1e-6)
		if least, std := g.estimate(); !(least > 90e-6 && least <= 100e-6 && std > 0) {
			t.Errorf("after %v the least round trip is %g ± %g s", x, least, std)
		}
	}
}
