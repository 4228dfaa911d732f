package agreement

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

func (h *host) bound(w *world) Bound { return h.group.Interval(h.rawAt(w.now)) }

// TestColdStart: clocks that start hours apart agree after ⌈log2(first spread/Π)⌉ rounds and a few more, whoever lies; without a liar after
// three.
func TestColdStart(t *testing.T) {
	names := []string{"silent", "random", "two-faced", "drag", "colluding", "jumping", "stuck", "false-group"}
	for _, nf := range groups() {
		for seed := range uint64(seeds) {
			for i, a := range append(adversaries(), adversary{name: "none"}) {
				if !slices.Contains(names, a.name) && a.name != "none" {
					continue
				}
				liars := nf[1]
				if a.name == "none" {
					liars = 0
				}
				const apart = 36000.0
				w := newWorld(t, 2000+100*seed+uint64(i), testConfig(nf[0], nf[1], IntervalMidpoint), liars, apart)
				arm(w, a, seed+uint64(i))
				formed := map[*host]int{}
				w.onRound = func(h *host, _, _ virtualclock.Time, o *Outcome) {
					if o.Kind == Formed {
						formed[h]++
					}
				}
				if !w.inSync(120) {
					t.Fatalf("%s (%d,%d), seed %d: not in sync after 120 s", a.name, nf[0], nf[1], w.seed)
				}
				limit := int(math.Ceil(math.Log2(apart/w.hosts[0].group.Promised().Spread))) + 4
				if a.name == "none" {
					limit = 4
				}
				for h, n := range formed {
					if !h.liar && n > limit {
						t.Errorf("%s (%d,%d), seed %d: host %d needed %d rounds, more than %d", a.name, nf[0], nf[1], w.seed, h.id, n, limit)
					}
				}
				w.run(6)
				w.measuring = true
				w.run(25)
				w.check("after a cold start with "+a.name, 1e-9)
			}
		}
	}
}

// TestStragglers: correct members that need longer than others to form the group are let in, although liars count themselves among its
// members. (Once two were locked out for good.)
func TestStragglers(t *testing.T) {
	for _, name := range []string{"stuck", "false-group"} {
		i := slices.IndexFunc(adversaries(), func(a adversary) bool { return a.name == name })
		a := adversaries()[i]
		w := newWorld(t, 9002, testConfig(10, 3, IntervalMidpoint), 3, 1e-3)
		arm(w, a, 11)
		if !w.inSync(90) {
			t.Errorf("%s: not in sync", name)
		}
	}
}

// TestRestart: a host that restarts with a clock of its own is back within a round of having heard its peers, nobody else steps or
// misses a round, and the bounds hold for the others throughout.
func TestRestart(t *testing.T) {
	for seed := range uint64(4 * seeds) {
		w := newWorld(t, 3000+seed, testConfig(7, 2, IntervalMidpoint), 1, 1)
		w.lie = adversaries()[5].lie
		w.drift = driftMode(seed % uint64(driftModes))
		if !w.inSync(60) {
			t.Fatalf("seed %d: not in sync", seed)
		}
		w.run(5)
		gone := w.hosts[0]
		w.only = w.hosts[1:6]
		w.measuring = true
		w.run(5)
		gone.up = false
		w.run(5.3)
		gone.anchor = gone.anchor.AddSeconds(7200 * (w.rng.Float64() - 0.5))
		began := w.now
		w.start(gone)
		for gone.bound(w).Status != virtualclock.Synchronised && w.now < began+20 {
			w.run(0.05)
		}
		// A quarter of a second of probes, an eighth of a round until it looks, one round.
		if took := w.now - began; took > 1.7 {
			t.Errorf("seed %d: back after %.2f s", seed, took)
		}
		w.only = w.hosts[:6]
		w.run(20)
		w.check("restart", 1e-9)
	}
}

// TestPartition: two of seven are cut off, go to holdover and keep a true bound: their intervals meet the others' at all times. After the cut
// they come back; nobody of the majority steps or misses a round.
func TestPartition(t *testing.T) {
	for seed := range uint64(4 * seeds) {
		for _, length := range []float64{10, 120} {
			w := newWorld(t, 4000+seed, testConfig(7, 2, IntervalMidpoint), 0, 1e-3)
			w.drift = driftConstant
			if seed%2 == 1 {
				w.drift = driftSplit
			}
			if !w.inSync(60) {
				t.Fatalf("seed %d: not in sync", seed)
			}
			w.run(6)
			w.only = w.hosts[2:]
			w.measuring = true
			w.run(3)
			w.cut = func(a, b *host) bool { return (a.id < 2) != (b.id < 2) }
			w.run(length)
			for _, h := range w.hosts[:2] {
				if b := h.bound(w); b.Status != virtualclock.Holdover || b.Reason != reason.TooFewPeers || h.group.State().Status != Holdover {
					t.Errorf("seed %d: host %d cut off is %v (%v)", seed, h.id, b.Status, b.Reason)
				}
			}
			w.cut = nil
			back := w.now
			for w.now < back+20 && (w.hosts[0].bound(w).Status != virtualclock.Synchronised || w.hosts[1].bound(w).Status != virtualclock.Synchronised) {
				w.run(0.25)
			}
			if w.now-back > 8 {
				t.Errorf("seed %d: back %.1f s after a cut of %g s", seed, w.now-back, length)
			}
			w.only = nil
			w.run(10)
			w.check(fmt.Sprintf("partition of %g s", length), 1e-9)
		}
	}
}

// TestLeftBehind: while one member is cut off the others are driven away from it as fast as reading errors and oscillators can. What it claims
// in holdover stays true; when it comes back it is too far off to be slewed, says so, and enters anew.
func TestLeftBehind(t *testing.T) {
	w := newWorld(t, 12, testConfig(7, 2, IntervalMidpoint), 0, 1e-3)
	w.late = 200e-6
	left := w.hosts[0]
	for _, h := range w.hosts {
		h.drift = w.config.Drift
	}
	left.drift = -w.config.Drift
	if !w.inSync(60) {
		t.Fatal("not in sync")
	}
	w.run(5)
	w.cut = func(a, b *host) bool { return (a == left) != (b == left) }
	w.only = w.hosts[1:]
	w.measuring = true
	before := w.hosts[1].group.Target(w.hosts[1].rawAt(w.now)).Seconds(left.group.Target(left.rawAt(w.now)))
	w.run(60)
	moved := w.hosts[1].group.Target(w.hosts[1].rawAt(w.now)).Seconds(left.group.Target(left.rawAt(w.now))) - before
	if rate := moved / 60; rate < 150e-6 {
		t.Errorf("the others went away at %g: this test has no teeth", rate)
	}
	w.cut = nil
	var reasons []reason.Code
	w.onRound = func(h *host, _, _ virtualclock.Time, o *Outcome) {
		if h == left && o.Kind == Skipped {
			reasons = append(reasons, o.Reason)
			if b := h.bound(w); o.Status == Holdover && b.Status != virtualclock.Holdover {
				t.Errorf("after %v it claims %v (%v)", o.Reason, b.Status, b.Reason)
			}
		}
	}
	w.run(10)
	if n := len(reasons); n < strikes || reasons[n-1] != reason.AdjustmentLimit || left.bound(w).Status != virtualclock.Synchronised {
		t.Errorf("it came back by %v and is %v", reasons, left.bound(w).Status)
	}
	w.check("the others", 1e-9)
}

// TestNoQuorum: when the group is cut in halves nobody has a quorum: all hold over, nobody guesses, all intervals still meet; together again,
// they go on, and after a long time apart they form anew.
func TestNoQuorum(t *testing.T) {
	for seed := range uint64(2 * seeds) {
		for _, length := range []float64{10, 200} {
			w := newWorld(t, 5000+seed, testConfig(7, 2, IntervalMidpoint), 0, 1e-3)
			w.drift = driftConstant
			if !w.inSync(60) {
				t.Fatalf("seed %d: not in sync", seed)
			}
			w.run(5)
			adjusted := 0
			w.cut = func(a, b *host) bool { return (a.id < 4) != (b.id < 4) }
			w.run(2)
			w.onRound = func(_ *host, _, _ virtualclock.Time, o *Outcome) {
				if o.Adjustment != 0 {
					adjusted++
				}
			}
			w.measuring = true
			w.run(length)
			if adjusted != 0 {
				t.Errorf("seed %d: %d adjustments without a quorum", seed, adjusted)
			}
			for _, h := range w.hosts {
				if s := h.bound(w).Status; s != virtualclock.Holdover {
					t.Errorf("seed %d: host %d is %v", seed, h.id, s)
				}
			}
			w.cut, w.measuring = nil, false
			if !w.inSync(60) {
				for _, h := range w.hosts {
					t.Logf("%+v %v", h.group.outcome, h.group.state.Status)
				}
				t.Fatalf("seed %d: not in sync after a cut of %g s", seed, length)
			}
			if w.seen.disjoint != 0 || w.seen.lost != 0 || w.seen.outside != 0 {
				t.Errorf("seed %d, %g s apart: %v", seed, length, &w.seen)
			}
			w.seen, w.measuring = measured{}, false
			w.run(5)
			w.measuring = true
			w.run(25)
			w.check("after a loss of quorum", 1e-9)
		}
	}
}

// TestOneLiarTooMany: f+1 liars void the promises. Where correct members can prove that, they say so and claim nothing: here the liars show
// clocks that no correct member can have.
func TestOneLiarTooMany(t *testing.T) {
	for _, nf := range groups() {
		c := testConfig(nf[0], nf[1], IntervalMidpoint)
		w := newWorld(t, 7, c, nf[1]+1, 1e-3)
		if !w.inSync(60) {
			t.Fatal("not in sync while everybody behaves")
		}
		w.run(5)
		from := w.now
		w.lie = shifted(func(w *world, _, _ *host, round int64) float64 {
			if w.now < from+3 {
				return 0
			}
			return 0.05
		})
		w.run(3.5)
		said := map[*host]reason.Code{}
		w.onRound = func(h *host, _, _ virtualclock.Time, o *Outcome) {
			if o.Reason == reason.TooManyLiars && said[h] == reason.OK {
				said[h] = o.Reason
			}
			if o.Kind == Adjusted && !h.liar && math.Abs(o.Adjustment) > 0.01 {
				t.Errorf("(%d,%d): host %d followed the liars by %g s", nf[0], nf[1], h.id, o.Adjustment)
			}
		}
		w.run(4)
		for _, h := range w.correct() {
			if b := h.bound(w); said[h] != reason.TooManyLiars || b.Status != virtualclock.Unsynchronised || !math.IsInf(b.FarEdge, 1) {
				t.Errorf("(%d,%d): host %d says %v and claims %v (%v)", nf[0], nf[1], h.id, said[h], b.Status, b.Reason)
			}
		}
	}
}

// TestMedianDivergesOverMessages: the two-faced clock keeps members with the plain median apart for ever, with the midpoint it does not.
func TestMedianDivergesOverMessages(t *testing.T) {
	for _, nf := range groups()[1:] {
		spread := map[Algorithm]float64{}
		for _, a := range []Algorithm{PlainMedian, IntervalMidpoint} {
			w := newWorld(t, 8, testConfig(nf[0], nf[1], a), nf[1], 1e-3)
			w.lie, w.drift = shifted(splitter), driftSplit
			if !w.inSync(60) && a == IntervalMidpoint {
				t.Fatal("not in sync")
			}
			w.run(60)
			spread[a] = w.targets()
		}
		t.Logf("(%d,%d) after 60 rounds with a two-faced clock: median %.0f µs, iftm %.0f µs apart", nf[0], nf[1], spread[PlainMedian]*1e6, spread[IntervalMidpoint]*1e6)
		if spread[PlainMedian] < 50*2*50e-6 || spread[IntervalMidpoint] > 700e-6 {
			t.Errorf("(%d,%d): median %g s, iftm %g s", nf[0], nf[1], spread[PlainMedian], spread[IntervalMidpoint])
		}
	}
}

// TestStuck: three of seven restart with other clocks while the four that are left are farther apart than a group can be. Neither of the two
// sorts has a quorum of its own; in the end they form a group together.
func TestStuck(t *testing.T) {
	w := newWorld(t, 11, testConfig(7, 2, IntervalMidpoint), 0, 1e-3)
	if !w.inSync(60) {
		t.Fatal("not in sync")
	}
	w.cut = func(*host, *host) bool { return true }
	w.run(5)
	for i, h := range w.hosts[:4] {
		m := h.group.state.Current
		m.Base = m.Base.AddSeconds(0.02 * float64(i))
		h.group.retarget(h.rawAt(w.now), m, false)
	}
	for _, h := range w.hosts[4:] {
		h.up = false
	}
	w.run(1)
	for _, h := range w.hosts[4:] {
		w.start(h)
	}
	w.cut = nil
	if !w.inSync(3*stuckRounds + 60) {
		for _, h := range w.hosts {
			t.Logf("%v %+v", h.group.state.Status, h.group.outcome)
		}
		t.Fatal("they never come together")
	}
	w.run(6)
	w.measuring = true
	w.run(30)
	w.check("together again", 1e-9)
}

// TestPausedHost: a host that is stopped for seconds misses its rounds, says so, and comes back without anybody stepping.
func TestPausedHost(t *testing.T) {
	w := newWorld(t, 9, testConfig(5, 1, IntervalMidpoint), 0, 1e-3)
	if !w.inSync(30) {
		t.Fatal("not in sync")
	}
	w.run(5)
	h := w.hosts[0]
	h.token++ // its timer is lost
	w.run(2.6)
	if b := h.bound(w); b.Status != virtualclock.Holdover || b.Reason != reason.RoundLate {
		t.Errorf("overdue by rounds it is %v (%v)", b.Status, b.Reason)
	}
	var first *Outcome
	w.onRound = func(q *host, _, _ virtualclock.Time, o *Outcome) {
		if q == h && first == nil {
			first = &Outcome{Kind: o.Kind, Reason: o.Reason}
		}
	}
	w.measuring = true
	w.rearm(h)
	w.run(0.01)
	if first == nil || first.Kind != Skipped || first.Reason != reason.RoundLate {
		t.Errorf("the round that was missed: %+v", first)
	}
	w.run(5)
	if b := h.bound(w); b.Status != virtualclock.Synchronised || w.seen.steps != 0 || w.seen.disjoint != 0 || w.seen.backwards != 0 {
		t.Errorf("afterwards it is %v; %v", b.Status, &w.seen)
	}
}

// TestSameSeedSameRun: two runs of one seed are the same to the bit.
func TestSameSeedSameRun(t *testing.T) {
	run := func() (states []State, seen measured) {
		w := newWorld(t, 10, testConfig(7, 2, IntervalMidpoint), 2, 1)
		arm(w, adversaries()[1], 3)
		w.run(8)
		w.measuring = true
		w.run(10)
		for _, h := range w.hosts {
			states = append(states, *h.group.State())
		}
		return states, w.seen
	}
	a, x := run()
	b, y := run()
	if !slices.Equal(a, b) || x != y {
		t.Errorf("two runs of one seed differ: %v and %v", &x, &y)
	}
}
