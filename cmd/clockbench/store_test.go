package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clockd/clockd/internal/cli"
	"github.com/clockd/clockd/internal/lab/result"
	"github.com/clockd/clockd/internal/testkit"
)

func exists(t *testing.T, path ...string) {
	t.Helper()
	if info, err := os.Stat(filepath.Join(path...)); err != nil || info.Size() == 0 {
		t.Errorf("%s: %v", filepath.Join(path...), err)
	}
}

// TestOneRun: its directory has everything; it is not overwritten by accident; it can be repeated and reported again.
func TestOneRun(t *testing.T) {
	long(t)
	scenario, dir := file(t, quiet), filepath.Join(t.TempDir(), "run")
	if code, _, errors := run(t, "sim", scenario, "--seeds", "7", "--out", dir); code != cli.OK {
		t.Fatal(errors)
	}
	for _, name := range []string{"result.json", "report.html", "series/client.csv", "figures/adev.svg", "figures/adev.png", "figures/histogram.svg"} {
		exists(t, dir, name)
	}
	code, out, errors := run(t, "sim", scenario, "--seeds", "7", "--out", dir)
	if code != cli.Error || !strings.Contains(errors, "holds a result already") || out != "" {
		t.Errorf("code %d, %s", code, errors)
	}
	stale := []string{"series/old.csv", "figures/old.svg", ".clockbench-123", "series/.clockbench-4"}
	for _, name := range stale {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if code, _, errors := run(t, "sim", scenario, "--seeds", "7", "--out", dir, "--force"); code != cli.OK {
		t.Error(errors)
	}
	for _, name := range stale {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			t.Errorf("%s of the run before is still there", name)
		}
	}
	code, out, errors = run(t, "rerun", filepath.Join(dir, "result.json"))
	if code != cli.OK || !strings.Contains(out, "result.json: the same") || !strings.Contains(out, "series/client.csv: the same") {
		t.Errorf("code %d, %s %s", code, out, errors)
	}
	again := filepath.Join(t.TempDir(), "again")
	if code, _, errors := run(t, "rerun", dir, "--out", again); code != cli.OK {
		t.Error(errors)
	}
	exists(t, again, "report.html")
	if err := os.Remove(filepath.Join(dir, "report.html")); err != nil {
		t.Fatal(err)
	}
	if code, out, errors := run(t, "report", dir); code != cli.OK || !strings.Contains(out, "report.html") {
		t.Errorf("code %d, %s %s", code, out, errors)
	}
	exists(t, dir, "report.html")
}

// TestRerunFindsADifference: a series and a result that were touched.
func TestRerunFindsADifference(t *testing.T) {
	long(t)
	dir := filepath.Join(t.TempDir(), "run")
	if code, _, errors := run(t, "sim", file(t, quiet), "--seeds", "1", "--out", dir); code != cli.OK {
		t.Fatal(errors)
	}
	for _, name := range []string{"series/client.csv", "result.json"} {
		path := filepath.Join(dir, name)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		i := bytes.LastIndexAny(b, "123456789")
		if b[i]++; b[i] > '9' {
			b[i] = '1'
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		code, _, errors := run(t, "rerun", dir)
		if code != exitDifferent || !strings.Contains(errors, name+": line ") {
			t.Errorf("%s: code %d, %s", name, code, errors)
		}
	}
}

// TestSeveralRuns: a directory for each, and a page that compares them; report does the same later.
func TestSeveralRuns(t *testing.T) {
	long(t)
	testkit.NoLeaks(t)
	dir := filepath.Join(t.TempDir(), "runs")
	if code, _, errors := run(t, "sim", file(t, quiet), "--seeds", "1-2", "--out", dir, "--jobs", "2"); code != cli.OK {
		t.Fatal(errors)
	}
	exists(t, dir, "report.html")
	exists(t, dir, "mine-2", "result.json")
	out := filepath.Join(dir, "both.html")
	code, text, errors := run(t, "report", filepath.Join(dir, "mine-1"), filepath.Join(dir, "mine-2", "result.json"), "--out", out, "--title", "one & two")
	if code != cli.OK || strings.TrimSpace(text) != out {
		t.Fatalf("code %d, %s %s", code, text, errors)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"one &amp; two", ">mine-1</th>", ">mine-2</th>"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%q is not on the page", want)
		}
	}
}

// TestBadPlaces: an error before any work.
func TestBadPlaces(t *testing.T) {
	scenario := file(t, quiet)
	for _, dir := range []string{scenario, "/proc/nothing", filepath.Join(scenario, "below")} {
		code, out, errors := run(t, "sim", scenario, "--seeds", "1", "--out", dir)
		if code != cli.Error || !strings.Contains(errors, "the results cannot be stored") || out != "" {
			t.Errorf("%s: code %d, %s%s", dir, code, errors, out)
		}
	}
	corrupt := filepath.Join(t.TempDir(), "result.json")
	if err := os.WriteFile(corrupt, []byte("{\"format\": \"clockd-result\",\n \"format_version\": 1,\n \"mode\": 5}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"report", corrupt}, {"rerun", corrupt}, {"report", corrupt, corrupt}} {
		if code, _, errors := run(t, args...); code != cli.Error || !strings.Contains(errors, "line 3: mode") {
			t.Errorf("%v: code %d, %s", args, code, errors)
		}
	}
	if code, _, errors := run(t, "report", t.TempDir()); code != cli.Error || !strings.Contains(errors, "there is no result to read") {
		t.Errorf("code %d, %s", code, errors)
	}
	if code, _, _ := run(t, "report"); code != cli.Usage {
		t.Errorf("code %d", code)
	}
}

// TestInterruptKeepsWhatWasMeasured: of three runs one was over, one was going on.
func TestInterruptKeepsWhatWasMeasured(t *testing.T) {
	testkit.NoLeaks(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	dir := filepath.Join(t.TempDir(), "runs")
	var o, e bytes.Buffer
	a := &app{out: &o, err: &e}
	long := file(t, strings.Replace(quiet, `"100s"`, `"3d"`, 1))
	short := filepath.Join(filepath.Dir(file(t, quiet)), "short.toml")
	if err := os.WriteFile(short, []byte(quiet), 0o600); err != nil {
		t.Fatal(err)
	}
	go func() {
		// The short run is over when its page is there.
		for ctx.Err() == nil {
			if _, err := os.Stat(filepath.Join(dir, "short-1", "report.html")); err == nil {
				cancel()
			}
		}
	}()
	code := execute(ctx, a, []string{"sim", short, long, "--seeds", "1", "--jobs", "1", "--out", dir, "--json"})
	if code != cli.Error || !strings.Contains(e.String(), "canceled") {
		t.Fatalf("code %d, %s", code, e.String())
	}
	var r report
	if err := json.Unmarshal(o.Bytes(), &r); err != nil || len(r.Runs) != 1 || r.Runs[0].Scenario != "short" {
		t.Errorf("%v: %s", err, o.String())
	}
	if x, err := result.Read(filepath.Join(dir, "short-1")); err != nil || !x.Complete {
		t.Errorf("the run that was over is not kept: %v", err)
	}
}

// TestRerunOfOtherModes: a command that this program has not is told; words about where to write are left out.
func TestRerunOfOtherModes(t *testing.T) {
	dir := t.TempDir()
	d, err := result.Prepare(dir, result.PrepareOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r := &result.Result{Mode: result.ModeLive, Truth: result.TruthExact, Command: []string{"live", "--hosts", "3", "--out", "x"}}
	if err := d.Write(r); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	newRoot(&app{})
	if code, _, errors := run(t, "rerun", dir); code != cli.Usage || !strings.Contains(errors, `no command "live"`) {
		t.Logf("code %d, %s (a mode called live is there by now)", code, errors)
	}
	got := strings.Join(withoutOut([]string{"live", "--out", "a", "-o", "b", "--out=c", "--force", "--for", "5s", "--json", "--resume"}), " ")
	if got != "live --for 5s" {
		t.Errorf("%q is left", got)
	}
}

// TestComparisonOfMeasurements: a change is one only if it is beyond the uncertainties.
func TestComparisonOfMeasurements(t *testing.T) {
	p := func(value, uncertainty float64) *result.Property {
		return &result.Property{Symbol: "α_v", Name: "accuracy", Unit: "s", Value: result.Of(value), Uncertainty: result.Of(uncertainty)}
	}
	if row := compared(p(1e-6, 1e-6), p(2e-6, 1e-6)); row[6] != "within the uncertainty" {
		t.Errorf("%q", row)
	}
	if row := compared(p(1e-6, 1e-7), p(2e-6, 1e-7)); row[6] != "the measured quantity changed" || row[4] != "1 µs" {
		t.Errorf("%q", row)
	}
	if row := compared(&result.Property{Name: "x"}, p(1, 1)); row[4] != "-" {
		t.Errorf("%q", row)
	}
}
