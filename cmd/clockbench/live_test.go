package main

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/clockd/clockd/internal/cli"
	"github.com/clockd/clockd/internal/lab/live"
	"github.com/clockd/clockd/internal/lab/result"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// measured is a result as a run gives it.
func measured(wrong uint64) *result.Result {
	checked := uint64(1000)
	seed := uint64(1)
	r := &result.Result{
		Version: "1", Command: []string{"live"}, Mode: result.ModeLive, Title: "a run", Truth: result.TruthExact, Length: result.Of(60), Complete: true, Seed: &seed,
		Checks: result.Checks{Checked: &checked, Wrong: &wrong}, Clocks: []result.Clock{{Name: "h1", Role: result.RolePeer}},
		Properties: []result.Property{
			{Symbol: "π_v", Name: "precision", Statistic: "max", Unit: "s", Value: result.Of(30e-6), Bound: result.Of(1e-3), Formula: "Π + ε", Known: result.KnownExact},
			{Symbol: "σ", Name: "steadiness", Statistic: "max", Unit: "s", Known: result.KnownNot, Reason: "no messages"},
		},
	}
	if wrong > 0 {
		r.Checks.Worst = result.Of(1e-6)
		r.Violations = []result.Violation{{At: result.Of(3), Clock: "h1", Outside: result.Of(1e-6), Status: "synchronised", Text: "true time was not in the interval"}}
	}
	return r
}

// TestExitCodesOfLive: 3 is for wrong claims only, and what was measured is printed and written in every case.
func TestExitCodesOfLive(t *testing.T) {
	for _, x := range []struct {
		name    string
		wrong   uint64
		outcome error
		code    int
		text    string
	}{
		{"well", 0, nil, 0, "0 wrong"},
		{"wrong", 1, live.ErrWrong, exitViolation, "WRONG at 3 s: h1"},
		{"borne", 1, nil, 0, "1 wrong"}, // more liars than the group bears: the run is no proof of anything
		{"died", 0, errors.New("the daemon of h2 ended by itself"), 1, "missing: σ steadiness: no messages"},
	} {
		var out, complaints bytes.Buffer
		a := &app{version: "1", out: &out, err: &complaints}
		dir := t.TempDir()
		err := a.measure(t.Context(), pflag.NewFlagSet("live", pflag.ContinueOnError), &liveOptions{out: dir, clockd: "/bin/true"}, "live", func(o live.Options) (*result.Result, error) {
			if o.Dir == nil || o.Clockd == "" || o.Self == "" {
				t.Errorf("%+v", o)
			}
			return measured(x.wrong), x.outcome
		})
		code := cli.Exit(err, "clockbench", &complaints)
		if code != x.code || !strings.Contains(out.String(), x.text) {
			t.Errorf("%s: exit code %d (%v), want %d and %q in\n%s", x.name, code, err, x.code, x.text, out.String())
		}
		if r, err := result.Read(dir); err != nil || *r.Checks.Wrong != x.wrong {
			t.Errorf("%s: %v", x.name, err)
		}
	}
}

// TestPlanOfTheCommandLine: flags change a scenario, and only those that were given.
func TestPlanOfTheCommandLine(t *testing.T) {
	planOf := func(args ...string) (live.Plan, error) {
		o := liveOptions{}
		f := liveCommand(&app{}, &o).Flags()
		if err := f.Parse(args); err != nil {
			return live.Plan{}, err
		}
		return livePlan(f.Args(), f, &o)
	}
	p, err := planOf("live_faults", "--for", "2m", "--hosts", "10", "--delay", "1ms")
	if err != nil || p.Hosts != 10 || p.Liars != 1 || p.Delay.String() != "1ms" || time.Duration(p.For) != 2*time.Minute || len(p.Fault) != 4 {
		t.Errorf("%v, %+v", err, p)
	}
	if p, err = planOf("live_internal", "--liars", "0"); err != nil || p.Liars != 0 || p.Adversary != "" {
		t.Errorf("%v, %+v", err, p)
	}
	if p, err = planOf("live_lan", "--script", "default"); err != nil || len(p.Fault) != 4 || p.Mode != live.ModeExternal {
		t.Errorf("%v, %+v", err, p)
	}
	if p, err = planOf("live_faults", "--script", "none"); err != nil || len(p.Fault) != 0 {
		t.Errorf("%v, %+v", err, p)
	}
	// The script of the scenario names hosts that are no more.
	if _, err = planOf("live_faults", "--hosts", "4"); err != nil {
		t.Errorf("h4 lies, and is behind the slow link: %v", err)
	}
	if _, err = planOf("live_faults", "--hosts", "2", "--liars", "0"); err == nil || !strings.Contains(err.Error(), `"h3"`) {
		t.Errorf("%v", err)
	}
}

// TestScreenShowsWhatIs: every host, what is unknown as unknown, and lines that fit.
func TestScreenShowsWhatIs(t *testing.T) {
	p := live.Plan{Mode: live.ModeExternal, Hosts: 2}.WithDefaults()
	var out bytes.Buffer
	s := newScreen(&app{err: &out, terminal: true}, &p)
	nothing := math.NaN()
	v := &live.View{
		Plan: &p, Network: "loopback", Measuring: true, Elapsed: 15, Precision: 12e-6, PrecisionWorst: 40e-6, PrecisionBound: nothing, Accuracy: nothing, AccuracyWorst: nothing,
		AccuracyClaim: 200e-6, Convergence: nothing, Checked: 77, Hosts: []live.HostView{
			{Name: "h1", Known: true, Status: virtualclock.Synchronised, Error: -5e-6, Claim: 200e-6, Worst: 9e-6, OscillatorPPM: 21},
			{Name: "h2", Known: true, Status: virtualclock.Holdover, Why: reason.Stale, Error: nothing, Claim: nothing, Worst: nothing, OscillatorPPM: -30, State: "paused"},
			{Name: "h3", Liar: true, Error: nothing, Claim: nothing, Worst: nothing, Wrong: 0},
		},
		Events: []result.Event{{At: result.Of(3), Kind: result.EventFault, Text: "pause h2"}, {At: result.Of(4), Kind: result.EventStatus, Clock: "h2", Status: "holdover"}},
	}
	all := strings.Join(s.lines(v), "\n")
	for _, text := range []string{"25 %, 45s left", "-5.00 µs", "holdover", "paused", "lies", "77 claims checked, 0 wrong", "pause h2", "α_v", "+21.0 ppm"} {
		if !strings.Contains(all, text) {
			t.Errorf("no %q in\n%s", text, all)
		}
	}
	if strings.Contains(all, "NaN") || strings.Contains(all, "Inf") || strings.Contains(all, "δ_v") {
		t.Errorf("%s", all)
	}
	s.draw(s.lines(v), 30)
	for line := range strings.SplitSeq(out.String(), "\n") {
		if n := len([]rune(strings.Trim(line, "\r"))) - len("\x1b[K"); n > 30 {
			t.Errorf("a line of %d on 30 columns: %q", n, line)
		}
	}
	first := out.Len()
	s.draw(s.lines(v), 30)
	if second := out.String()[first:]; !strings.HasPrefix(second, fmt.Sprintf("\x1b[%dA", len(s.lines(v)))) {
		t.Errorf("the second picture does not replace the first: %.20q", second)
	}
}

// TestSidesOf: two programs stand beside each other, with what is not known as unknown.
func TestSidesOf(t *testing.T) {
	r := &result.Result{Properties: []result.Property{
		{Name: "time error", Statistic: "rms", Subject: "clockd", Unit: "s", Value: result.Of(1e-5)}, {Name: "wrong bounds", Statistic: "count", Subject: "clockd", Unit: "count", Value: result.Of(0)},
		{Name: "time error", Statistic: "rms", Subject: "chronyd", Unit: "s", Value: result.Of(3e-5), Uncertainty: result.Of(1e-6)}, {Name: "wrong bounds", Statistic: "count", Subject: "chronyd", Unit: "count"},
	}}
	got := fmt.Sprintf("%q", sidesOf(r))
	if want := `[["" "" "clockd" "chronyd"] ["time error" "rms" "10.0 µs" "30.0 µs ± 1 µs"] ["wrong bounds" "count" "0" "–"]]`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
