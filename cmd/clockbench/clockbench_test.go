package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/cli"
	"github.com/clockd/clockd/internal/sim"
	"github.com/clockd/clockd/internal/testkit"
)

// run executes a command line and returns what it prints.
func run(t *testing.T, args ...string) (code int, out, errors string) {
	t.Helper()
	var o, e bytes.Buffer
	a := &app{version: "1.2.3", out: &o, err: &e}
	code = execute(t.Context(), a, args)
	return code, o.String(), e.String()
}

// file writes a scenario and returns its path.
func file(t *testing.T, text string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "mine.toml")
	if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

const quiet = `
assumptions_hold = true
length = "100s"
[client]
poll = "1s"
oscillator = { offset_ppm = 12 }
[[server]]
delay = "50us + exp(10us)"
`

// liar claims that its assumptions hold, and has a server that is wrong beyond its claims.
const liar = quiet + "offset = \"1s\"\n"

func TestSimAsJSON(t *testing.T) {
	path := file(t, quiet)
	code, out, errors := run(t, "sim", path, "--seeds", "3,1-2", "--json")
	if code != cli.OK || errors != "" {
		t.Fatalf("code %d, %s", code, errors)
	}
	var r struct {
		Runs    []map[string]any `json:"runs"`
		Summary []map[string]any `json:"summary"`
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Runs) != 3 || len(r.Summary) != 1 || r.Runs[0]["seed"] != 3.0 || r.Runs[2]["seed"] != 2.0 || r.Runs[0]["scenario"] != "mine" {
		t.Errorf("%s", out)
	}
	for _, key := range []string{"scenario", "seed", "rms_error_s", "p99_error_s", "max_error_s", "rms_frequency_error", "median_halfwidth_s", "bound_violations", "packets"} {
		if r.Runs[0][key] == nil {
			t.Errorf("%s is missing", key)
		}
	}
}

// TestJobsDoNotMatter: the bytes do not depend on how many runs go on at a time, nor on the day.
func TestJobsDoNotMatter(t *testing.T) {
	testkit.NoLeaks(t)
	path := file(t, quiet)
	_, one, _ := run(t, "sim", path, "--seeds", "1-6", "--json", "--jobs", "1")
	_, many, _ := run(t, "sim", path, "--seeds", "1-6", "--json", "--jobs", "5")
	if one != many || len(one) < 1000 {
		t.Errorf("with one job\n%s\nwith five\n%s", one, many)
	}
}

func TestSimAsTable(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out.json")
	code, text, errors := run(t, "sim", "cold_start", "--seeds", "1-2", "-v", "--out", out)
	if code != cli.OK {
		t.Fatal(errors)
	}
	for _, want := range []string{"cold_start", "oracle", "half-width", "error<1ms", "synchronised", "regression"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal(b, &r); err != nil || len(r.Runs) != 2 {
		t.Errorf("%v: %s", err, b)
	}
}

// TestViolationsAreAnError: where the assumptions are said to hold, a wrong interval ends with its own exit code; where they
// are broken on purpose, it does not.
func TestViolationsAreAnError(t *testing.T) {
	code, out, errors := run(t, "sim", file(t, liar), "--seeds", "1", "-v")
	if code != exitViolation || !strings.Contains(errors, "did not contain true time") || !strings.Contains(out, "WRONG") || !strings.Contains(out, "first wrong interval") {
		t.Errorf("code %d\n%s\n%s", code, out, errors)
	}
	broken := strings.Replace(liar, "= true", "= false", 1)
	code, out, _ = run(t, "sim", file(t, broken), "--seeds", "1")
	if code != cli.OK || !strings.Contains(out, "assumptions broken") {
		t.Errorf("code %d\n%s", code, out)
	}
}

// TestBoundsOnly: the same intervals are checked, what does not matter is left out, and a wrong one is told at once.
func TestBoundsOnly(t *testing.T) {
	path := file(t, quiet)
	var all, only report
	for r, args := range map[*report][]string{&all: {"sim", path, "--seeds", "1-3", "--json"}, &only: {"sim", path, "--seeds", "1-3", "--json", "--bounds-only"}} {
		code, out, errors := run(t, args...)
		if code != cli.OK || errors != "" {
			t.Fatalf("code %d, %s", code, errors)
		}
		if err := json.Unmarshal([]byte(out), r); err != nil {
			t.Fatal(err)
		}
	}
	a, b := all.Summary[0], only.Summary[0]
	if a.BoundChecks != b.BoundChecks || a.BoundChecks == 0 || a.MedianHalfWidth != b.MedianHalfWidth || a.Jumps != b.Jumps || a.RMSError != b.RMSError {
		t.Errorf("all figures %+v, bounds only %+v", a, b)
	}
	if !(a.RegressionRMS > 0) || b.RegressionRMS == b.RegressionRMS || len(only.Runs[0].Timeline) != 0 {
		t.Errorf("regression %v and %v", a.RegressionRMS, b.RegressionRMS)
	}
	code, out, _ := run(t, "sim", path, "--seeds", "1-3", "--bounds-only")
	if code != cli.OK || !strings.Contains(out, fmt.Sprintf("3 runs, %d intervals checked, 0 wrong.", b.BoundChecks)) {
		t.Errorf("code %d: %s", code, out)
	}
	code, out, errors := run(t, "sim", file(t, liar), "--seeds", "1", "--bounds-only")
	if code != exitViolation || !strings.Contains(errors, "WRONG: mine, seed 1") || !strings.Contains(out, "WRONG, by") {
		t.Errorf("code %d\n%s\n%s", code, out, errors)
	}
}

func TestMistakesOnTheCommandLine(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"sim"}, "give the names of scenarios"},
		{[]string{"sim", "nothing"}, "there is no scenario called"},
		{[]string{"sim", "./nothing.toml"}, "there is no scenario file"},
		{[]string{"sim", "--all", "lan_sw"}, "either --all or"},
		{[]string{"sim", "lan_sw", "lan_sw"}, "given twice"},
		{[]string{"sim", "lan_sw", "--seeds", "5-1"}, "neither a seed nor a range"},
		{[]string{"sim", "lan_sw", "--seeds", "x"}, "neither a seed nor a range"},
		{[]string{"sim", "lan_sw", "--seeds", "1-1000000000"}, "more than"},
		{[]string{"sim", "lan_sw", "--seeds", "0-18446744073709551615"}, "more than"},
		{[]string{"sim", "lan_sw", "--seeds", "1-501", "--out", filepath.Join(t.TempDir(), "many")}, "more than the 500"},
		{[]string{"sim", "lan_sw", "--jobs", "0"}, "at least one"},
		{[]string{"sim", "--colour"}, "unknown flag"},
		{[]string{"simulate"}, "unknown command"},
		{[]string{"scenarios", "nothing"}, "there is no scenario called"},
		{[]string{"scenarios", "a", "b"}, "accepts at most 1"},
		{[]string{"sim", file(t, "nonsense = 1")}, `there is no key "nonsense"`},
	} {
		code, out, errors := run(t, c.args...)
		if code != cli.Usage || !strings.Contains(errors, c.want) || out != "" {
			t.Errorf("%v: code %d, %q, %q; want %q", c.args, code, out, errors, c.want)
		}
	}
	if code, _, errors := run(t, "sim", t.TempDir()+"/"); code != cli.Error || !strings.Contains(errors, "cannot be read") {
		t.Errorf("a directory: code %d, %s", code, errors)
	}
	if code, _, errors := run(t, "sim", file(t, quiet), "--out", "/dev/null/x.json"); code != cli.Error || !strings.Contains(errors, "cannot be stored") {
		t.Errorf("an impossible place: code %d, %s", code, errors)
	}
}

func TestScenariosAreListed(t *testing.T) {
	code, out, _ := run(t, "scenarios")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if code != cli.OK || len(lines) != len(sim.Names()) {
		t.Fatalf("code %d, %d lines for %d scenarios", code, len(lines), len(sim.Names()))
	}
	if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "lan_sw ") && strings.Contains(l, "Exp(10") }) {
		t.Errorf("lan_sw is not described:\n%s", out)
	}
	if !strings.Contains(out, "[assumptions broken]") {
		t.Errorf("nothing is marked as broken:\n%s", out)
	}
	code, out, _ = run(t, "scenarios", "--json")
	var list []scenarioLine
	if err := json.Unmarshal([]byte(out), &list); code != cli.OK || err != nil || len(list) != len(lines) || list[0].Summary == "" {
		t.Errorf("code %d, %v, %d scenarios", code, err, len(list))
	}
	// What is shown of a scenario is a file that can be run.
	code, out, _ = run(t, "scenarios", "cold_start")
	if code != cli.OK {
		t.Fatal(out)
	}
	if code, _, errors := run(t, "sim", file(t, out), "--seeds", "1"); code != cli.OK {
		t.Errorf("code %d, %s", code, errors)
	}
	code, out, _ = run(t, "scenarios", "lan_sw", "--json")
	if code != cli.OK || !strings.Contains(out, `"chrony_rms_s": 0.00000269`) && !strings.Contains(out, `"chrony_rms_s": 2.69e-6`) && !strings.Contains(out, `"chrony_rms_s": 2.69e-06`) {
		t.Errorf("code %d, %s", code, out)
	}
}

func TestVersionAndCompletion(t *testing.T) {
	if code, out, _ := run(t, "version"); code != cli.OK || !strings.HasPrefix(out, "clockbench 1.2.3 (go") {
		t.Errorf("code %d, %s", code, out)
	}
	if code, out, _ := run(t, "version", "--json"); code != cli.OK || !strings.Contains(out, `"version": "1.2.3"`) {
		t.Errorf("code %d, %s", code, out)
	}
	if code, out, _ := run(t, "completion", "bash"); code != cli.OK || !strings.Contains(out, "clockbench") {
		t.Errorf("code %d", code)
	}
}

// TestInterrupt: a run that is interrupted ends at once with an error, and leaves nothing behind.
func TestInterrupt(t *testing.T) {
	testkit.NoLeaks(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var o, e bytes.Buffer
	code := execute(ctx, &app{out: &o, err: &e}, []string{"sim", "--all", "--seeds", "1-20"})
	if code != cli.Error || !strings.Contains(e.String(), "canceled") || o.Len() != 0 {
		t.Errorf("code %d, %s", code, e.String())
	}
}

// TestProgressBar: it shows only on a terminal, only when a run is long, and is wiped away.
func TestProgressBar(t *testing.T) {
	var e bytes.Buffer
	p := newProgress(&app{err: &e, terminal: true}, 100)
	p.add(10)
	if e.Len() != 0 {
		t.Errorf("a short run shows %q", e.String())
	}
	p.began = time.Now().Add(-time.Minute)
	p.add(40)
	if !strings.Contains(e.String(), " 50 %, 1m0s left") || strings.Count(e.String(), "=") != barWidth/2 {
		t.Errorf("%q", e.String())
	}
	p.end()
	if !strings.HasSuffix(e.String(), "\r\x1b[K") {
		t.Errorf("%q", e.String())
	}
	e.Reset()
	q := newProgress(&app{err: &e}, 100)
	q.began = time.Now().Add(-lineEvery / 2)
	q.add(25)
	if e.Len() != 0 {
		t.Errorf("without a terminal, soon: %q", e.String())
	}
	q.began, q.lined = time.Now().Add(-lineEvery), time.Time{}
	q.add(25)
	q.add(0)
	q.tell("WRONG: %s", "x")
	q.end()
	if want := "50 %, 1m0s left\nWRONG: x\n"; e.String() != want {
		t.Errorf("without a terminal: %q", e.String())
	}
}

func TestUnits(t *testing.T) {
	for x, want := range map[float64]string{
		1.234e-6: "1.23 µs", 99.94e-6: "99.9 µs", 99.96e-6: "100 µs", 999.9e-6: "1.00 ms", 0.9999: "1.00 s", 12.34: "12.3 s", 0: "0 ns", 5.1e-12: "0.01 ns",
		-2e-3: "-2.00 ms", 40000: "40000 s",
	} {
		if got := seconds(sim.Number(x)); got != want {
			t.Errorf("%g is %q, want %q", x, got, want)
		}
	}
	if got := strings.Join([]string{ratio(0.5), ratio(13.37), ratio(1337)}, " "); got != "0.50 13.4 1337" {
		t.Error(got)
	}
}

const gathering = `
assumptions_hold = true
length = "20s"
[client]
spread_ppm = 20
[client.oscillator]
[group]
members = 4
liars = ["two-faced"]
delay = "50us + exp(10us)"
`

// TestSimOfGroups: groups have a table of their own, and figures in the JSON.
func TestSimOfGroups(t *testing.T) {
	path := file(t, gathering)
	code, out, errors := run(t, "sim", path, "--seeds", "1-2", "-v")
	if code != cli.OK || errors != "" {
		t.Fatalf("code %d, %s", code, errors)
	}
	for _, text := range []string{"Groups of peers", "δ_v", "two-faced", "4, 1", " of ", "synchronised"} {
		if !strings.Contains(out, text) {
			t.Errorf("%q is missing:\n%s", text, out)
		}
	}
	if strings.Contains(out, "chrony") {
		t.Errorf("a table of clients without any:\n%s", out)
	}
	code, out, _ = run(t, "sim", path, "--seeds", "1", "--json")
	var r report
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != cli.OK {
		t.Fatalf("code %d, %v", code, err)
	}
	g, s := r.Runs[0].Group, r.Summary[0].Group
	if g == nil || s == nil || g.Members != 4 || g.Spread <= 0 || g.Spread > g.SpreadBound || s.Spread != g.Spread || !strings.Contains(out, `"accuracy_s": null`) {
		t.Errorf("%s", out)
	}
}

// TestScale: a line for each deployment, as a table and as JSON.
func TestScale(t *testing.T) {
	code, out, errors := run(t, "scale", "--members", "4", "--hosts", "8", "--group", "4", "--length", "20")
	if code != cli.OK || errors != "" || len(strings.Split(strings.TrimSpace(out), "\n")) != 3 || !strings.Contains(out, "4, 1") {
		t.Fatalf("code %d, %s\n%s", code, errors, out)
	}
	code, out, _ = run(t, "scale", "--members", "4", "--hosts", "0", "--length", "20", "--json")
	var lines []scaleLine
	if err := json.Unmarshal([]byte(out), &lines); err != nil || code != cli.OK {
		t.Fatalf("code %d, %v", code, err)
	}
	if l := lines[0]; len(lines) != 1 || l.Hosts != 4 || !(l.PacketRate > 20) || !(l.CPU > 0) || !strings.Contains(out, `"across_bound_s": null`) {
		t.Errorf("%s", out)
	}
	for _, wrong := range [][]string{{"--hosts", "7"}, {"--length", "1"}, {"--probes", "0"}, {"--ties", "20"}, {"--group", "2"}, {"--members", "1", "--hosts", "0"}} {
		if code, _, _ := run(t, append([]string{"scale"}, wrong...)...); code == cli.OK {
			t.Errorf("%v: accepted", wrong)
		}
	}
}
