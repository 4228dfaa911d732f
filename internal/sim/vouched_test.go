package sim

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/clockd/clockd/internal/testkit"
)

const quiet = `
assumptions_hold = true
length = "6h"
[client]
start_error = "1ms"
poll = "16s"
VOUCHED
[client.oscillator]
offset_ppm = 12
random_walk = 1e-9
[[server]]
delay = "50us + exp(10us)"
[[fault]]
at = "4h"
frequency_step_ppm = STEP
`

func quietResult(t *testing.T, vouched, step string) (Result, *Scenario) {
	t.Helper()
	s, err := Parse("quiet", []byte(strings.NewReplacer("VOUCHED", vouched, "STEP", step).Replace(quiet)))
	if err != nil {
		t.Fatal(err)
	}
	results, err := s.Run(3, nil)
	if err != nil {
		t.Fatal(err)
	}
	return results[0], s
}

// TestVouchedChangesNothingElse: a second run tells what a wander bound would give; the figures of the first are what they are without it.
func TestVouchedChangesNothingElse(t *testing.T) {
	without, _ := quietResult(t, "", "0.1")
	with, s := quietResult(t, "vouched_wander_ppm = 0.5", "0.1")
	v := with.Vouched
	if v == nil || without.Vouched != nil {
		t.Fatalf("vouched: %v, without %v", v, without.Vouched)
	}
	sum := s.Summarise([]Result{with}).Vouched
	with.Vouched = nil
	a, err := json.Marshal(with)
	b, err2 := json.Marshal(without)
	if err != nil || err2 != nil || !bytes.Equal(a, b) {
		t.Errorf("%s\nwithout %s\n%v %v", a, b, err, err2)
	}
	if v.BoundViolations != 0 || v.BoundChecks < 1000 || !v.SameExchanges || !v.Kept() || v.LargestWander < 0.1e-6 || v.SoundFraction != 1 {
		t.Errorf("%+v", v)
	}
	if !(v.MedianHalfWidth < 0.2*with.MedianHalfWidth && v.MedianHalfWidth > 50e-6) {
		t.Errorf("half-width %g s, without %g s", v.MedianHalfWidth, with.MedianHalfWidth)
	}
	if sum.MedianHalfWidth != v.MedianHalfWidth || sum.HalfWidthToOwn != v.MedianHalfWidth/with.MedianHalfWidth ||
		sum.HalfWidthToChrony != v.MedianHalfWidth/with.ChronyHalfWidth || !sum.Kept || sum.OtherExchanges != 0 {
		t.Errorf("%+v", sum)
	}
}

// TestVouchedHasTeeth: an oscillator that does not keep what is vouched for makes wrong intervals in the second run, and they are counted; that
// it did not keep it is said.
func TestVouchedHasTeeth(t *testing.T) {
	r, s := quietResult(t, "vouched_wander_ppm = 0.5", "8")
	if v := r.Vouched; v.Kept() || v.LargestWander < 8e-6 || v.LargestWander > 8.5e-6 || v.BoundViolations == 0 || v.FirstViolation == nil || r.BoundViolations != 0 {
		t.Errorf("%+v; without it %d wrong", v, r.BoundViolations)
	}
	if sum := s.Summarise([]Result{r}).Vouched; sum.Kept || sum.BoundViolations == 0 {
		t.Errorf("%+v", sum)
	}
}

// TestWanderRange: the largest change within an hour is that of all pairs.
func TestWanderRange(t *testing.T) {
	r := rand.New(rand.NewPCG(testkit.Seed(t), 30))
	for range 20 {
		var w wanderRange
		var seen []frequencyAt
		y, at := 0.0, Instant(0)
		for range 300 {
			at += Instant(r.Int64N(int64(100 * Second)))
			y += 1e-8 * r.NormFloat64()
			w.add(at, y)
			seen = append(seen, frequencyAt{at, y})
		}
		largest := 0.0
		for _, a := range seen {
			for _, b := range seen {
				if b.at >= a.at && b.at-a.at <= 3600*Second {
					largest = max(largest, math.Abs(a.y-b.y))
				}
			}
		}
		if w.largest != largest {
			t.Fatalf("%g, all pairs say %g", w.largest, largest)
		}
	}
}

// TestVouchedRefused: what cannot be compared is refused.
func TestVouchedRefused(t *testing.T) {
	for _, text := range []string{"vouched_wander_ppm = -1", "vouched_wander_ppm = 0.5\nwander_bound_ppm = 0.5", "vouched_wander_ppm = nan"} {
		_, err := Parse("x", []byte(strings.NewReplacer("VOUCHED", text, "STEP", "0").Replace(quiet)))
		if err == nil || !strings.Contains(err.Error(), "vouched_wander_ppm") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
