package agreement

import (
	"math"
	"testing"
	"time"

	"github.com/clockd/clockd/virtualclock"
)

// TestEdgesAdvancedByTheirRatesHoldTheInterval: what was known at one raw time bounds what is known at every later one until LastUse,
// while the clock is being slewed and after that.
func TestEdgesAdvancedByTheirRatesHoldTheInterval(t *testing.T) {
	c := Config{Members: 4, Faults: 1, Period: time.Second, Drift: 50e-6, RateLimit: 50e-6, ReadingError: 150e-6, PublicationDelay: 0.1}
	start := virtualclock.Unix(5e17, 0)
	g, err := New(c, 1, start, start)
	if err != nil {
		t.Fatal(err)
	}
	if at, limited := g.LastUse(); limited || at != virtualclock.MaxTime() {
		t.Errorf("a group that forms knows nothing, and yet LastUse is %v", at)
	}
	g.state.Status, g.state.Round = Sync, 9
	g.residual, g.slewFrom = 40e-6, start
	g.state.Current = Map{Ref: start, Base: start, Rate: 3e-6}
	for i, s := range []struct{ slow, fast float64 }{{-60e-6, 130e-6}, {-210e-6, 90e-6}} {
		g.spans[i] = span{Interval: Interval{-100e-6, 80e-6}, ok: true, round: int64(9 - i), at: start, base: start, slow: s.slow, fast: s.fast}
	}
	g.due = start.AddSeconds(1)
	// What is promised beforehand spreads faster, and counts only when the round that is due is late.
	g.hold = span{Interval: Interval{-500e-6, 500e-6}, ok: true, at: start, base: start, slow: -800e-6, fast: 800e-6}
	last, limited := g.LastUse()
	if !limited || last != g.due.AddSeconds(g.config.Lateness) {
		t.Errorf("LastUse is %v (%v), want the round that is due and its lateness", last, limited)
	}
	for _, from := range []float64{0, 0.1, 0.499, 0.5, 0.9} {
		h := start.AddSeconds(from)
		b := g.Interval(h)
		slow, fast := g.EdgeRates(h)
		if slow > -210e-6 || fast < 130e-6 || slow < -400e-6 || fast > 400e-6 || math.IsNaN(slow+fast) {
			t.Fatalf("the rates are %g and %g", slow, fast)
		}
		for dt := 0.0; dt < 1.1-from; dt += 0.01 {
			now := g.Interval(h.AddSeconds(dt))
			low, high := b.Earliest.AddSeconds(dt*(1+slow)-1e-9), b.Latest.AddSeconds(dt*(1+fast)+1e-9)
			if now.Earliest.Before(low) || high.Before(now.Latest) {
				t.Fatalf("from %g s, %g s later: [%v, %v] is not within [%v, %v]", from, dt, now.Earliest, now.Latest, low, high)
			}
		}
	}
	late := last.AddSeconds(0.01)
	b := g.Interval(late)
	slow, fast := g.EdgeRates(late)
	if b.Status != virtualclock.Holdover || slow > -800e-6 || fast < 800e-6 {
		t.Errorf("when the round is late the status is %v and the edges go at %g and %g", b.Status, slow, fast)
	}
	for dt := 0.0; dt < 5; dt += 0.1 {
		now := g.Interval(late.AddSeconds(dt))
		if now.Earliest.Before(b.Earliest.AddSeconds(dt*(1+slow)-1e-9)) || b.Latest.AddSeconds(dt*(1+fast)+1e-9).Before(now.Latest) {
			t.Fatalf("%g s after the late one: [%v, %v]", dt, now.Earliest, now.Latest)
		}
	}
}
