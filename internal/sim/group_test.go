package sim

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/clockd/clockd/internal/node"
	"github.com/clockd/clockd/virtualclock"
)

// runGroup runs a scenario of the program that measures a group.
func runGroup(t *testing.T, name string, seed uint64, change func(s *Scenario)) *Result {
	t.Helper()
	s, err := Load(name)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(s)
	}
	results, err := s.Run(seed, nil)
	if err != nil || len(results) != 1 || results[0].Group == nil {
		t.Fatalf("seed %d: %d results, %v", seed, len(results), err)
	}
	return &results[0]
}

// expectation is what a scenario shows; an empty text is yes.
type expectation func(r *Result, g *GroupResult) string

func unless(ok bool, format string, a ...any) string {
	if ok {
		return ""
	}
	return fmt.Sprintf(format, a...)
}

// groupExpectations are what the scenarios of issue 4 must show, besides that nothing is wrong where the assumptions hold.
func groupExpectations() map[string]expectation {
	back := func(n int, within float64) expectation {
		return func(_ *Result, g *GroupResult) string {
			for _, r := range g.Rejoins {
				if !(float64(r.After) < within) {
					return fmt.Sprintf("%s is back after %g s", r.Member, float64(r.After))
				}
			}
			return unless(len(g.Rejoins) == n && g.Steps == 0, "%d rejoined, there were %d steps", len(g.Rejoins), g.Steps)
		}
	}
	properties := func(n int) expectation {
		return func(_ *Result, g *GroupResult) string {
			return unless(g.Members == n && g.Faults == (n-1)/3 && g.RMSPairwise < 1e-6 && g.Steps == 0, "%+v", g)
		}
	}
	together := func(limit, accuracy float64) expectation {
		return func(_ *Result, g *GroupResult) string {
			return unless(float64(g.Precision) < limit && float64(g.Accuracy) < accuracy && g.Steps == 0 && g.UTCChecks > 0,
				"precision %g s, accuracy %g s, %d steps, %d checks of UTC", float64(g.Precision), float64(g.Accuracy), g.Steps, g.UTCChecks)
		}
	}
	return map[string]expectation{
		"group_honest": func(_ *Result, g *GroupResult) string {
			return unless(g.RMSPairwise <= 1e-6, "RMS pairwise error %g s", float64(g.RMSPairwise))
		},
		"group_honest_4":  properties(4),
		"group_honest_7":  properties(7),
		"group_honest_10": properties(10),
		"group_bounds":    nil,
		"group_zoo": func(_ *Result, g *GroupResult) string {
			return unless(len(g.Liars) == 10 && g.Members == 31, "%v", g.Liars)
		},
		"group_tight": func(_ *Result, g *GroupResult) string {
			return unless(g.Spread > 0.9*g.SpreadBound && g.Convergence > 0.9*g.ConvergenceBound, "the adversary does not come within 10 %%")
		},
		"group_median": func(_ *Result, g *GroupResult) string {
			// 2ρ for the measured part of the run, and for what came before.
			return unless(g.Spread > 2e-3 && math.IsNaN(float64(g.SpreadBound)), "spread %g s, bound %g", float64(g.Spread), float64(g.SpreadBound))
		},
		"group_cold_start": func(_ *Result, g *GroupResult) string {
			most := math.Ceil(math.Log2(36000/float64(g.PromisedPrecision))) + 4
			return unless(float64(g.FormingRounds) <= most && g.InSync < 40, "%d forming rounds, more than %g; in sync after %g s", g.FormingRounds, most, float64(g.InSync))
		},
		"group_restart":   back(2, 1.8),
		"group_partition": back(2, 3),
		"group_split":     back(7, 3),
		"group_one_way": func(r *Result, g *GroupResult) string {
			return unless(g.Steps == 0 && g.Skipped > 10 && r.Reasons["peer peer_too_wide"] > 0, "%d steps, %d skipped", g.Steps, g.Skipped)
		},
		"group_liar_too_many": func(_ *Result, g *GroupResult) string {
			return unless(g.Detectors == 4 && g.DetectedReason == "too_many_liars" && g.DetectedAt > 45 && g.DetectedAt < 48, "%d found out (%s at %g s)", g.Detectors,
				g.DetectedReason, float64(g.DetectedAt))
		},
		"group_liar_too_many_unseen": func(_ *Result, g *GroupResult) string {
			return unless(g.Detectors == 0, "%d found out what cannot be", g.Detectors)
		},
		"group_masters_vanish":     together(100e-6, 2e-3),
		"group_masters_half_wrong": together(100e-6, 2e-3),
		"group_masters_drag":       together(100e-6, 100e-6),
		"group_masters_all_wrong": func(r *Result, g *GroupResult) string {
			return unless(g.Precision < 100e-6 && g.Accuracy > 10e-3 && r.BoundViolations > 0, "precision %g s, accuracy %g s", float64(g.Precision), float64(g.Accuracy))
		},
	}
}

// TestGroupScenarios: what the scenarios of groups say of themselves is so: no bound is exceeded, no two intervals are apart, no clock jumps.
func TestGroupScenarios(t *testing.T) {
	expected := groupExpectations()
	for _, name := range Names() {
		if !strings.HasPrefix(name, "group_") {
			continue
		}
		want, known := expected[name]
		if !known {
			t.Errorf("what %s shows is not tested", name)
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if s, _ := Load(name); (testing.Short() || raceDetector) && s.Work() > 3e4 {
				t.Skip("long")
			}
			r := runGroup(t, name, 1, nil)
			g := r.Group
			if r.AssumptionsHold && r.BoundViolations > 0 || r.Jumps > 0 || g.Backwards > 0 || len(g.Exceeded) > 0 {
				t.Errorf("%d violations (%v), %d jumps, %d backwards: %+v; the first: %+v", r.BoundViolations, g.Exceeded, r.Jumps, g.Backwards, g, r.FirstViolation)
			}
			if r.AssumptionsHold && !(r.SoundFraction > 0.7) {
				t.Errorf("there is a bound in only %g of the time", float64(r.SoundFraction))
			}
			if g.IntervalChecks == 0 || g.PacketRate == 0 || g.ByteRate == 0 {
				t.Errorf("nothing was measured: %+v", g)
			}
			if want != nil {
				if text := want(r, g); text != "" {
					t.Errorf("%s: %+v", text, g)
				}
			}
		})
	}
}

// TestGroupBounds is issue 4: δ_v, Π and π_v never exceed the bounds for the ε that was really used, whoever lies. Every (n, f), function and
// sort of liar comes once in Variations() seeds; with -tags soak 200 times.
func TestGroupBounds(t *testing.T) {
	s, err := Load("group_bounds")
	if err != nil {
		t.Fatal(err)
	}
	step, last := boundsStep, Variations()*boundsTurns
	if raceDetector || testing.Short() {
		step *= 4
	}
	const parts = 8
	for part := range uint64(parts) {
		t.Run(fmt.Sprint(part), func(t *testing.T) {
			t.Parallel()
			for seed := step * part; seed < last; seed += step * parts {
				results, err := s.Run(seed, nil)
				if err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				r := &results[0]
				if g := r.Group; r.BoundViolations > 0 || r.Jumps > 0 || g.Backwards > 0 || len(g.Liars) == 0 || math.IsNaN(float64(g.Spread)) || g.Spread == 0 {
					t.Errorf("seed %d, %s (%d,%d) with %v: %+v; the first: %+v", seed, g.Algorithm, g.Members, g.Faults, g.Liars, g, r.FirstViolation)
				}
			}
		})
	}
}

// TestVariations: the seeds do what TestGroupBounds counts on.
func TestVariations(t *testing.T) {
	s, err := Load("group_bounds")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for seed := range Variations() {
		c := s.Group.varied(seed)
		seen[fmt.Sprint(c.Members, *c.Faults, c.Algorithm, c.Liars)]++
		if err := c.check(0); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
	if len(seen) != int(Variations()) {
		t.Errorf("%d combinations in %d seeds", len(seen), Variations())
	}
}

// TestGroupSameBytes: the same seed gives the same bytes.
func TestGroupSameBytes(t *testing.T) {
	text := func(seed uint64) string {
		r := runGroup(t, "group_zoo", seed, func(s *Scenario) { s.Length, s.Group.Members, *s.Discard = 12, 7, 0 })
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if a, b := text(5), text(5); a != b {
		t.Errorf("the same seed gives\n%s\nand\n%s", a, b)
	}
	if text(5) == text(6) {
		t.Error("another seed gives the same")
	}
}

const smallGroup = `
length = "20s"
discard = 0
[client]
spread_ppm = 20
[client.oscillator]
[group]
members = 4
delay = "50us + exp(10us)"
rate_limit_ppm = 50
`

// TestGroupNullIsNull: a group that never gets together has no figures, and says so.
func TestGroupNullIsNull(t *testing.T) {
	s, err := Parse("alone", []byte(smallGroup+"loss = 1.0\n"))
	if err != nil {
		t.Fatal(err)
	}
	results, err := s.Run(1, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(results[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"precision_s", "precision_bound_s", "convergence_s", "spread_s", "reading_error_s", "rms_pairwise_error_s", "in_sync_after_s",
		"accuracy_s", "accuracy_bound_s", "detected_at_s", "max_far_edge_s", "rms_error_s"} {
		if !strings.Contains(string(b), `"`+key+`":null`) {
			t.Errorf("%s is not null in %s", key, b)
		}
	}
	if b, err := json.Marshal(s.Summarise(results)); err != nil || !strings.Contains(string(b), `"spread_s":null`) || !strings.Contains(string(b), `"rejoin_after_s":null`) {
		t.Errorf("%s, %v", b, err)
	}
}

// TestJudgeSeesLies: an interval that is made too narrow, or moved, does not stay unnoticed; nor does a clock that goes back.
func TestJudgeSeesLies(t *testing.T) {
	s, err := Parse("judged", []byte(smallGroup))
	if err != nil {
		t.Fatal(err)
	}
	fresh := func() (*World, *Group) {
		w, err := s.Build(3)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Run(15 * Second); err != nil {
			t.Fatal(err)
		}
		g := w.groups[0]
		if j := &g.judge; j.apart+j.misordered+j.backwards != 0 || j.looks < 100 || j.epsilon == 0 {
			t.Fatalf("before: %+v", j)
		}
		return w, g
	}
	move := func(by float64) func(k *virtualclock.Coefficients) {
		return func(k *virtualclock.Coefficients) {
			k.Earliest, k.Latest = k.Earliest.AddSeconds(by), k.Latest.AddSeconds(by)
		}
	}
	for name, c := range map[string]struct {
		tamper func(k *virtualclock.Coefficients)
		seen   func(j *judge) uint64
	}{
		"ahead of the others": {move(10e-3), func(j *judge) uint64 { return j.apart }},
		"behind the others":   {move(-10e-3), func(j *judge) uint64 { return j.apart }},
		"latest edge too low": {func(k *virtualclock.Coefficients) { k.Latest = k.Earliest }, func(j *judge) uint64 { return j.misordered + j.apart }},
		"a clock that goes back": {func(k *virtualclock.Coefficients) {
			k.Slew.T0, k.Steady.T0 = k.Slew.T0.AddSeconds(-1e-3), k.Steady.T0.AddSeconds(-1e-3)
		}, func(j *judge) uint64 { return j.backwards }},
	} {
		_, g := fresh()
		c.tamper(&g.Members[1].Host.Publication.Clock)
		g.look("test")
		if c.seen(&g.judge) == 0 {
			t.Errorf("%s: nobody sees it", name)
		}
	}
	// A bound that is too small is exceeded.
	_, g := fresh()
	g.judge.spread, g.judge.convergence = 1, 1
	if r := g.Result(); len(r.Group.Exceeded) != 2 || r.BoundViolations < 2 {
		t.Errorf("exceeded: %v", r.Group.Exceeded)
	}
}

// TestDrivenOscillators: what drives a group's oscillators stays within the drift bound, and does something.
func TestDrivenOscillators(t *testing.T) {
	for _, drive := range drives() {
		s, err := Parse("driven", []byte(strings.Replace(smallGroup, "spread_ppm = 20", "", 1)+fmt.Sprintf("drive = %q\n", drive)))
		if err != nil {
			t.Fatal(err)
		}
		w, err := s.Build(4)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[float64]bool{}
		for at := Second / 2; at < 20*Second; at += Second {
			if err := w.Run(at); err != nil {
				t.Fatal(err)
			}
			for _, m := range w.groups[0].Members {
				y := m.Host.Oscillator().FrequencyError(at)
				seen[y] = true
				if math.Abs(y) > 50e-6 {
					t.Errorf("%s: %g at %v", drive, y, at)
				}
			}
		}
		if (len(seen) > 1) != (drive != driveNone) {
			t.Errorf("%q: %d different rates", drive, len(seen))
		}
	}
}

// TestBadGroups: every mistake is told.
func TestBadGroups(t *testing.T) {
	for text, want := range map[string]string{
		"members = 1":                                                    "members",
		"members = 4\nfaults = 2":                                        "3f+1",
		"members = 4\nliars = [\"x\"]":                                   "no liar called",
		"members = 4\nliar_count = 1":                                    "of what sort",
		"members = 4\ndrive = \"up\"":                                    "drive",
		"members = 4\nperiod = \"1us\"":                                  "period",
		"members = 4\nprobes = 0.5":                                      "probes",
		"members = 4\nalgorithm = \"?\"":                                 "convergence function",
		"members = 4\nmasters = 9":                                       "masters",
		"members = 4\nloss = 2.0":                                        "loss",
		"members = 4\nfoo = 2":                                           "foo",
		"members = 4\n[[fault]]\nmembers = [\"m9\"]\nkill = true":        "no member",
		"members = 4\n[[fault]]\nkill = true":                            "need members",
		"members = 4\n[[fault]]\nmembers = [\"m1\"]\nlie = \"x\"":        "no liar called",
		"members = 4\n[[server]]\nname = \"gps\"\ndelay = \"1ms\"\n":     "gain",
		"members = 4\nreading_error = \"100ms\"":                         "condition C1",
		"members = 4\n[[server]]\nname = \"m1\"\ndelay = \"1ms\"\n":      "two hosts",
		"members = 4\nperiod = \"1s\"\nslew = \"900ms\"":                 "condition C1",
		"members = 4\nmasters_each = 1":                                  "servers",
		"members = 4\n[[fault]]\nat=\"1s\"\npartition = [\"m1\", \"q\"]": "no member",
	} {
		_, err := Parse("bad", []byte("length = \"20s\"\n[group]\n"+text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := Parse("bad", []byte("length = \"20s\"\n[[fault]]\npartition = [\"m1\"]\n[[server]]\ndelay = \"1ms\"")); err == nil {
		t.Error("a partition without a group: no error")
	}
}

// TestMembersAreToldApart: a kill ends all that the host does; what lies is left out of the figures.
func TestMembersAreToldApart(t *testing.T) {
	s, err := Parse("kill", []byte(smallGroup+"liars = [\"silent\"]\n[[fault]]\nat = \"10s\"\nmembers = [\"m1\"]\nkill = true\n"))
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.Build(1)
	if err != nil {
		t.Fatal(err)
	}
	reports := 0
	w.Observe = func(h *Host, _ node.Report) {
		if h.Name == "m1" && w.now > 10*Second {
			reports++
		}
	}
	if err := w.Run(20 * Second); err != nil {
		t.Fatal(err)
	}
	h := w.Host("m1")
	if reports > 0 || h.Published || len(w.groups[0].Correct()) != 2 {
		t.Errorf("m1 is dead and reports %d times; correct: %v", reports, w.groups[0].Correct())
	}
	r := w.groups[0].Result()
	if r.Status != "unsynchronised" || len(r.Group.Liars) != 1 || r.Group.Liars[0] != "silent" {
		t.Errorf("%+v %+v", r, r.Group)
	}
}

// TestScale: packets of a mesh grow with its size, those of a federation do not with the number of groups; all hosts are within what they
// know of UTC.
func TestScale(t *testing.T) {
	run := func(c Scale) ScaleResult {
		c.Probes, c.Length, c.Seed = 4, 24, 1
		r, err := c.Run(nil)
		if err != nil {
			t.Fatal(err)
		}
		if r.Violations != 0 || r.Precision == 0 || r.Precision > r.PrecisionBound {
			t.Errorf("%+v", r)
		}
		return r
	}
	small, large := run(Scale{Groups: 1, Members: 4}), run(Scale{Groups: 1, Members: 7})
	if ratio := float64(large.PacketRate / small.PacketRate); ratio < 1.9 || ratio > 2.1 {
		t.Errorf("packets of 7 and 4 members: %g", ratio)
	}
	if raceDetector {
		return
	}
	few, many := run(Scale{Groups: 2, Members: 4, Ties: 3}), run(Scale{Groups: 6, Members: 4, Ties: 3})
	if few.Hosts != 12 || many.Hosts != 28 || math.Abs(float64(few.PacketRate/many.PacketRate)-1) > 0.1 {
		t.Errorf("%+v\n%+v", few, many)
	}
	if !(many.Across > 0 && many.Across < many.AcrossBound && many.AcrossBound < 5e-3) {
		t.Errorf("across all: %g of %g s", float64(many.Across), float64(many.AcrossBound))
	}
}

// BenchmarkGroup is the cost of one round of one host of a full mesh, with the simulation around it.
func BenchmarkGroup(b *testing.B) {
	for _, n := range []int{4, 10, 31, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := Scale{Groups: 1, Members: n, Probes: 4, Length: 1000, Seed: 1}
			client := ClientConfig{SpreadPPM: 20}
			w, err := c.build(&client, 0)
			if err != nil {
				b.Fatal(err)
			}
			if err := w.Run(6 * Second); err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			for i := range b.N {
				if err := w.Run((7 + Instant(i)) * Second); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/host-round")
		})
	}
}

// TestLateToTheFormingGroup: a correct host that enters a round later than the others is missed by all of them, besides f liars that they
// do read. With this seed the others vouched for that round, and two of their intervals were 27 µs apart.
func TestLateToTheFormingGroup(t *testing.T) {
	s, err := Load("group_tight")
	if err != nil {
		t.Fatal(err)
	}
	s.Length = 7
	for _, seed := range []uint64{501, 1, 2} {
		results, err := s.Run(seed, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := range results {
			if r := &results[i]; r.BoundViolations != 0 || r.BoundChecks == 0 {
				t.Errorf("seed %d: %d of %d intervals apart, the first: %+v", seed, r.BoundViolations, r.BoundChecks, r.FirstViolation)
			}
		}
	}
}
