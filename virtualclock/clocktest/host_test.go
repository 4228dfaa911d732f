package clocktest

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// watch looks at a host at random instants until span has passed, and calls see with each reading.
func watch(w *World, r *rand.Rand, h *Host, span time.Duration, see func(virtualclock.Reading, reason.Code)) {
	for w.Passed() < span {
		see(h.ReadReason())
		switch left := h.nextPoll - w.Passed(); {
		case left == 1:
			w.Advance(1)
		case left > 1 && r.IntN(3) == 0:
			// Right before the poll, and then right after it: there the edges move against the time.
			w.Advance(left - 1)
		default:
			w.Advance(time.Duration(r.Int64N(int64(200 * time.Millisecond))))
		}
	}
}

// TestHonestClocksKeepThePromise of docs/bounds.md and of theory 3.8, whatever honest faults they have, and so teach programs nothing
// that a daemon would not.
func TestHonestClocksKeepThePromise(t *testing.T) {
	r := rand.New(rand.NewPCG(testkit.Seed(t), 0))
	const span = 40 * time.Second
	seen := map[virtualclock.Status]int{}
	for range 300 {
		o := Options{Seed: r.Uint64(), Internal: r.IntN(2) == 0, GroupOffset: time.Duration(r.Int64N(1e12)), GroupPPM: r.Float64()*100 - 50}
		if o.Internal {
			// Members count seconds of the group, so its rate eats into what is left of the drift bound.
			o.GroupPPM /= 10
		}
		w := NewManual(o)
		faults := Honest
		like := HostOptions{}
		if o.Internal {
			like.DriftBoundPPM = 50
			faults = Losing | Disrupting
			like.Script = []Event{Drift(0, r.Float64()*80-40)}
		}
		h := w.Random(r.Uint64(), 1, span, faults, like)[0]
		var last virtualclock.Reading
		watch(w, r, h, span, func(now virtualclock.Reading, why reason.Code) {
			seen[now.Interval.Status]++
			if !h.Truthful() {
				t.Fatalf("the interval %+v is wrong by an honest clock, script %+v, options %+v", now.Interval, h.options.Script, o)
			}
			if (why == reason.OK) != (now.Interval.Status == virtualclock.Synchronised) {
				t.Fatalf("status %v with reason %v", now.Interval.Status, why)
			}
			if !now.Interval.Sound() && (now.Interval.Earliest != virtualclock.MinTime() || now.Interval.Latest != virtualclock.MaxTime()) {
				t.Fatalf("an interval that says something: %+v", now.Interval)
			}
			if now.Interval.Sound() && (now.Interval.Kind == virtualclock.Internal) != o.Internal {
				t.Fatalf("kind %v", now.Interval.Kind)
			}
			if last.Interval.Sound() && now.Interval.Sound() && last.Interval.Epoch == now.Interval.Epoch {
				if now.Time.Before(last.Time) {
					t.Fatalf("the virtual clock went back from %v to %v", last.Time, now.Time)
				}
				if !o.Internal && now.Interval.Earliest.Before(last.Interval.Earliest) {
					t.Fatalf("earliest went back by %v", last.Interval.Earliest.Sub(now.Interval.Earliest))
				}
				if o.Internal && now.Interval.Latest.Before(last.Interval.Latest) {
					t.Fatalf("latest went back by %v", last.Interval.Latest.Sub(now.Interval.Latest))
				}
			}
			if now.Interval.Epoch < last.Interval.Epoch {
				t.Fatalf("epoch %d became %d", last.Interval.Epoch, now.Interval.Epoch)
			}
			if now.Interval.Sound() {
				last = now
			}
		})
	}
	for _, s := range []virtualclock.Status{virtualclock.Synchronised, virtualclock.Holdover, virtualclock.Unsynchronised, virtualclock.Disrupted} {
		if seen[s] < 100 {
			t.Errorf("status %v was seen %d times only", s, seen[s])
		}
	}
}

// TestLiesAreLies: each dishonest fault makes wrong intervals; else tests with them would show nothing.
func TestLiesAreLies(t *testing.T) {
	for name, script := range map[string][]Event{
		"jump":      {Jump(10300*time.Millisecond, 5*time.Millisecond)},
		"stall":     {Stall(10300*time.Millisecond, 5*time.Millisecond)},
		"lie ahead": {Lie(0, time.Minute, 3*time.Millisecond)},
		"lie back":  {Lie(0, time.Minute, -3*time.Millisecond)},
		"drift":     {Drift(0, 2000)},
	} {
		w := NewManual(Options{})
		h := w.Host(HostOptions{Name: "h", Script: script})
		wrong, disrupted, epochs := 0, 0, map[virtualclock.Epoch]bool{}
		for range 3000 {
			i, why := h.NowReason()
			if epochs[i.Epoch] = true; !h.Truthful() {
				wrong++
			}
			if i.Status == virtualclock.Disrupted {
				if disrupted++; why != reason.Contradiction {
					t.Errorf("%s: disrupted because %v", name, why)
				}
			}
			w.Advance(10 * time.Millisecond)
		}
		if wrong == 0 {
			t.Errorf("%s: all intervals were true", name)
		}
		if found := name == "jump" || name == "stall"; found && (disrupted == 0 || len(epochs) != 2) {
			t.Errorf("%s: disrupted %d times, epochs %v", name, disrupted, epochs)
		}
	}
}

// TestScript: the stations of one host's life, each at its time.
func TestScript(t *testing.T) {
	w := NewManual(Options{})
	h := w.Host(HostOptions{Name: "h", FirstPoll: 500 * time.Millisecond, MaxBound: 400 * time.Microsecond, Script: []Event{
		Lose(10*time.Second, 30*time.Second), Disrupt(60200*time.Millisecond, 100*time.Millisecond, reason.HostSuspended),
	}})
	for _, station := range []struct {
		at     time.Duration
		status virtualclock.Status
		why    reason.Code
		epoch  virtualclock.Epoch
	}{
		{0, virtualclock.Unsynchronised, reason.NeverSynchronised, 0},
		{600 * time.Millisecond, virtualclock.Synchronised, reason.OK, 1},
		{11 * time.Second, virtualclock.Synchronised, reason.OK, 1},
		{13 * time.Second, virtualclock.Holdover, reason.Stale, 1},
		{20 * time.Second, virtualclock.Unsynchronised, reason.BoundTooWide, 1},
		{41 * time.Second, virtualclock.Synchronised, reason.OK, 1},
		{60250 * time.Millisecond, virtualclock.Disrupted, reason.HostSuspended, 1},
		{60400 * time.Millisecond, virtualclock.Disrupted, reason.HostSuspended, 1},
		{60600 * time.Millisecond, virtualclock.Synchronised, reason.OK, 2},
	} {
		w.Advance(station.at - w.Passed())
		if i, why := h.NowReason(); i.Status != station.status || why != station.why || i.Epoch != station.epoch {
			t.Errorf("after %v: %v because %v in epoch %d, want %+v", station.at, i.Status, why, i.Epoch, station)
		}
	}
	if k, why := h.Coefficients(); why != reason.OK || k.Epoch != 2 || k.Difference == 0 {
		t.Errorf("coefficients %+v, %v", k, why)
	}
}

func TestTheSameSeedGivesTheSameReadings(t *testing.T) {
	life := func() (all []virtualclock.Reading) {
		w := NewManual(Options{Seed: 7})
		for _, h := range w.Random(8, 3, 20*time.Second, Everything, HostOptions{}) {
			for range 30 {
				all = append(all, h.Read())
			}
			w.Advance(3 * time.Second)
		}
		return all
	}
	a, b := life(), life()
	for k := range a {
		if a[k] != b[k] {
			t.Fatalf("reading %d is %+v and %+v", k, a[k], b[k])
		}
	}
}

// TestInABubble: time passes as the bubble's does, for who sleeps and, slowly, for who spins.
func TestInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := New(Options{})
		h := w.Host(HostOptions{Name: "h", ReadingError: 2 * time.Millisecond})
		before := h.Now()
		time.Sleep(10 * time.Second)
		if d := h.Now().Earliest.Sub(before.Earliest); d < 9*time.Second || d > 11*time.Second {
			t.Errorf("in 10 s of the bubble the clock went on by %v", d)
		}
		// This spins for its last 80 µs.
		s := h.Now().Latest
		if err := h.CommitWait(context.Background(), s); err != nil {
			t.Fatal(err)
		}
		if !h.After(s) || !s.Before(w.True()) || h.Before(s) {
			t.Error("the commit wait ended too early")
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := h.CommitWait(ctx, s.Add(time.Hour)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a wait with a deadline ended with %v", err)
		}
	})
}

// TestInProcessTime: outside of a bubble the world follows the process' time.
func TestInProcessTime(t *testing.T) {
	w := New(Options{})
	h := w.Host(HostOptions{Name: "h"})
	a := h.Now()
	time.Sleep(2 * time.Millisecond)
	if b := h.Now(); !a.Earliest.Before(b.Earliest) || !h.Truthful() || w.Passed() < 2*time.Millisecond {
		t.Errorf("from %+v to %+v", a, b)
	}
	if w.Advance(time.Hour); w.Passed() > 30*time.Minute {
		t.Error("a world in process time was advanced")
	}
}

func TestForge(t *testing.T) {
	w := NewManual(Options{})
	h := w.Host(HostOptions{Name: "h", FirstPoll: time.Second})
	if i, why := Forge(h, 0.1).NowReason(); i.Sound() || why != reason.NeverSynchronised {
		t.Errorf("of nothing: %+v, %v", i, why)
	}
	w.Advance(2 * time.Second)
	whole, narrow := h.Now(), Forge(h, 0.25).Now()
	if ratio := narrow.Width() / whole.Width(); ratio < 0.249 || ratio > 0.251 || narrow.Earliest.Before(whole.Earliest) || whole.Latest.Before(narrow.Latest) {
		t.Errorf("%+v of %+v", narrow, whole)
	}
	if i := Forge(plain{whole}, 0).Now(); !i.Sound() || i.Width() > 1e-12 {
		t.Errorf("a point: %+v", i)
	}
}

type plain struct{ i virtualclock.Interval }

func (p plain) Now() virtualclock.Interval { return p.i }
