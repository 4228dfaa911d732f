package course

import (
	"fmt"
	"math"
	"strings"

	"github.com/clockd/clockd/internal/lab/report"
	"github.com/clockd/clockd/internal/sim"
	"github.com/clockd/clockd/virtualclock"
)

func broken() Experiment {
	return Experiment{
		Name: "broken", Title: "What breaks the bound",
		Question: "A bound is as good as its assumptions: what if they are broken, and who finds out?",
		Setup: `Scenarios of clockd's own (` + "`clockbench scenarios`" + `), each of which breaks one assumption in the middle of the run: the drift bound, the validity of stamps, the number of liars. The judge, who knows
true time, counts the intervals that are wrong; the clock must find out by itself, where that is possible.`,
		Bound: `Here it is the other way round: no bound holds. Each scenario must say of itself that its assumptions are broken (the void bound is admitted); and where a contradiction reaches the clock, it must be
detected: the status falls, with a reason (theory 2.3, 5.2).`,
		Lesson:  `A broken assumption makes bounds wrong before anybody can know, and some can never be known from inside: they are assumptions because they cannot be measured. Where answers contradict each other, a clock that keeps intervals finds out and says so.`,
		Reading: []string{"[docs/bounds.md](../bounds.md): when a bound is really guaranteed", "[docs/security.md](../security.md)", "[docs/scenarios.md](../scenarios.md)"},
		run:     runBroken,
	}
}

// violation is a scenario that breaks an assumption.
type violation struct {
	scenario, assumption string
	// seen: a contradiction reaches the clock, so that it must find out.
	seen bool
}

func violations() []violation {
	return []violation{
		{"drift_beyond", "drift bound", true},
		{"vm_pause_unseen", "drift bound (the counter stops)", true},
		{"wander_broken", "wander bound", true},
		{"invalid_stamps", "validity of stamps", false},
		{"too_many_liars", "number of false masters", true},
		{"group_liar_too_many", "number of liars", true},
		{"group_liar_too_many_unseen", "number of liars, who lie with care", false},
	}
}

func runBroken(r *run) error {
	all := violations()
	if r.options.Short {
		all = all[:5]
	}
	r.columns("scenario", "text", "broken assumption", "text", "at", "s", "checked", "", "wrong", "", "by at most", "s", "bounds exceeded", "text", "detected after", "s", "as", "text")
	curve := report.Curve{Name: "wrong intervals, parts of all that were checked", Style: 1, Shape: report.Points}
	wrongs := 0.0
	for i, v := range all {
		s, err := sim.Load(v.scenario)
		if err != nil {
			return fmt.Errorf("the scenario: %w", err)
		}
		results, err := r.simulateScenario(s, nil)
		if err != nil {
			return err
		}
		x := &results[0]
		at := brokenAt(s)
		checked, wrong, by := float64(x.BoundChecks), float64(x.BoundViolations), float64(x.WorstViolation)
		if g := x.Group; g != nil {
			checked, wrong, by = float64(g.IntervalChecks), float64(g.IntervalsApart), math.NaN()
		}
		exceeded := "-"
		if g := x.Group; g != nil && len(g.Exceeded) > 0 {
			exceeded = strings.Join(g.Exceeded, ", ")
		}
		after, why := found(x, at)
		r.row(v.scenario, v.assumption, at, checked, wrong, by, exceeded, after, why)
		r.under(v.scenario+": says that its assumptions hold", "", oneIf(x.AssumptionsHold), 0, true)
		r.over(v.scenario+": intervals checked", "", checked, 1)
		if v.seen {
			r.over(v.scenario+": detected", "", oneIf(after >= 0), 1)
		}
		wrongs += wrong
		curve.X, curve.Y = append(curve.X, float64(i+1)), append(curve.Y, wrong/checked*100)
		if err := r.done(i+1, len(all)); err != nil {
			return err
		}
	}
	r.over("wrong intervals in all, without which nothing would be broken", "", wrongs, 1)
	r.report.Chart.Curves = []report.Curve{curve}
	r.axes(linear("row of the table", ""), linear("wrong intervals (% of those checked)", ""))
	return nil
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// brokenAt is when the scenario breaks its assumption: its first fault or step of the frequency.
func brokenAt(s *sim.Scenario) float64 {
	switch {
	case len(s.Faults) > 0:
		return float64(s.Faults[0].At)
	case len(s.Client.Oscillator.Steps) > 0:
		return float64(s.Client.Oscillator.Steps[0].At)
	}
	return 0
}

// found is how long after the assumption broke the clock said that something is wrong, and as what.
func found(x *sim.Result, at float64) (after float64, why string) {
	if g := x.Group; g != nil {
		if d := float64(g.DetectedAt); d >= at {
			return d - at, g.DetectedReason
		}
		return math.NaN(), "not seen: admitted as an assumption"
	}
	for _, c := range x.Timeline {
		if c.At >= at && c.Status != virtualclock.Synchronised {
			return c.At - at, c.Reason.String()
		}
	}
	return math.NaN(), "not seen: admitted as an assumption"
}
