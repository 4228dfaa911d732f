package hw

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/clockd/clockd/reason"
)

func TestDetector(t *testing.T) {
	const ms = 1_000_000 // both timelines are in nanoseconds
	type step struct {
		counter, raw int64 // advances, in ms
		want         reason.Code
	}
	for name, steps := range map[string][]step{
		"healthy":                 {{1000, 1000, 0}, {0, 0, 0}, {10, 10, 0}, {60_000, 60_000, 0}},
		"20 % fast":               {{1200, 1000, 0}, {12_000, 10_000, 0}, {12, 10, 0}},
		"20 % slow":               {{800, 1000, 0}, {8_000, 10_000, 0}, {8, 10, 0}},
		"read late":               {{1000, 1020, 0}, {1020, 1000, 0}},
		"backwards":               {{1000, 1000, 0}, {-1, 1000, reason.CounterBackwards}, {1000, 1000, 0}},
		"stopped":                 {{1000, 1000, 0}, {0, 1000, reason.CounterStopped}, {1000, 1000, 0}},
		"stopped, short steps":    {{1000, 1000, 0}, {0, 50, 0}, {0, 50, 0}, {0, 50, reason.CounterStopped}, {50, 50, 0}},
		"stood still for a while": {{1000, 1000, 0}, {500, 1000, reason.CounterStopped}, {1000, 1000, 0}},
		"clock stood still":       {{1000, 1000, 0}, {3600_000, 1000, reason.HostSuspended}, {1000, 1000, 0}},
		"clock went backwards":    {{1000, 1000, 0}, {1000, -1, reason.HostPaused}, {1000, 1000, 0}},
		"both stopped":            {{1000, 1000, 0}, {0, 0, 0}, {1000, 1000, 0}},
	} {
		d := NewDetector(Frequency{Hertz: 1e9})
		c, raw := ^Ticks(0)-5*ms, int64(7) // the counter wraps on the way
		if code := d.Step(c, raw); code != reason.OK {
			t.Errorf("%s: the first pair is %v", name, code)
		}
		for i, s := range steps {
			c, raw = c.Add(s.counter*ms), raw+s.raw*ms
			if code := d.Step(c, raw); code != s.want {
				t.Errorf("%s, step %d: %v, not %v", name, i, code, s.want)
			}
		}
	}
}

// A counter inside its promise is never accused, however the steps fall and however late the pairs are read; one that stands
// still is accused within 200 ms.
func TestDetectorIsSoundAndComplete(t *testing.T) {
	seeds(t, 200, func(t *testing.T, r *rand.Rand) {
		hertz := randomHertz(r)
		rate := 0.8 + r.Float64()*0.4
		d := NewDetector(Frequency{Hertz: hertz})
		now, stopped := 1e9, 0.0
		pairAt := func(counterTime float64) (Ticks, int64) {
			late := r.Float64() * float64(rawPairBound)
			return Ticks(counterTime * rate * hertz / 1e9), int64(now + late)
		}
		for range 300 {
			now += float64(rawPairBound) + r.Float64()*[]float64{1e6, 1e8, 1e10}[r.IntN(3)]
			if code := d.Step(pairAt(now)); code != reason.OK {
				t.Fatalf("rate %g: %v", rate, code)
			}
		}
		stopped = now
		for {
			now += 30e6
			code := d.Step(pairAt(stopped))
			if code == reason.CounterStopped {
				return
			}
			if code != reason.OK {
				t.Fatalf("a stopped counter is %v", code)
			}
			// A fast counter may have gained up to 0.2 of a second and what is forgiven before it stopped.
			if now-stopped > 1.2e9 {
				t.Fatal("the standstill is not seen")
			}
		}
	})
}

func TestDetectorOnThisMachine(t *testing.T) {
	for name, c := range everyCounter(t) {
		d := NewDetector(c.Frequency())
		for range 50 {
			reading, raw, err := RawPair(c)
			if err != nil {
				t.Fatal(err)
			}
			if code := d.Step(reading, raw); code != reason.OK {
				t.Errorf("%s: %v", name, code)
			}
			time.Sleep(100 * time.Microsecond)
		}
	}
	frozen := NewManual(Frequency{Hertz: 1e9})
	d := NewDetector(frozen.Frequency())
	for range 1000 {
		reading, raw, err := RawPair(frozen)
		if err != nil {
			t.Fatal(err)
		}
		if d.Step(reading, raw) == reason.CounterStopped {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Error("a counter that stands still is not seen beside the real clock")
}

func TestSuspendOffsetIsSteady(t *testing.T) {
	first, err := SuspendOffset()
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		offset, err := SuspendOffset()
		if err != nil {
			t.Fatal(err)
		}
		if (offset - first).Abs() > suspendTolerance {
			t.Errorf("without a suspend it changes from %v to %v", first, offset)
		}
	}
}
