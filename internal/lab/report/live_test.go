package report

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/lab/result"
	"github.com/clockd/clockd/internal/testkit"
)

// Seven hosts, one of which lies, and a partition in the middle. A busy machine makes packets late by milliseconds: readings may be so
// wide that this costs rounds, and never the truth.
const liveScenario = `
mode = "MODE"
hosts = 7
masters = MASTERS
liars = 1
adversary = "two-faced"
delay = "uniform(150us, 250us)"
for = "FOR"
period = "1s"
poll = "125ms"
reading_error = "5ms"

[[fault]]
at = "BEGIN"
for = "LONG"
do = "partition"
groups = [["h1", "h2"]]
`

// liveLength is how long the run is: 5 minutes in `make soak`.
func liveLength(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("CLOCKD_LIVE_FOR")
	if text == "" {
		return 40 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 30*time.Second {
		t.Fatalf("CLOCKD_LIVE_FOR=%q: want 30s or more", text)
	}
	return d
}

// programs builds clockd and clockbench.
func programs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", dir+"/", "github.com/clockd/clockd/cmd/clockd", "github.com/clockd/clockd/cmd/clockbench")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return dir
}

// TestLiveRunInTheBrowser: real daemons in namespaces, one of which lies, are cut in two; whatever the correct ones claim is true, every
// property is within its bound or missing with a reason, and a real Chromium shows the report.
func TestLiveRunInTheBrowser(t *testing.T) {
	testkit.RequireTUN(t)
	testkit.RequireTool(t, "chromium")
	dir, length := programs(t), liveLength(t)
	for _, x := range []struct{ mode, masters string }{{"internal", "0"}, {"hybrid", "3"}} {
		t.Run(x.mode, func(t *testing.T) {
			begin, long := length/4, length/4
			text := strings.NewReplacer("MODE", x.mode, "masters = MASTERS", "masters = "+x.masters, "FOR", length.String(), "BEGIN", begin.String(), "LONG", long.String()).Replace(liveScenario)
			scenario := filepath.Join(t.TempDir(), "seven.toml")
			if err := os.WriteFile(scenario, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			out := filepath.Join(t.TempDir(), "run")
			ctx, cancel := context.WithTimeout(context.Background(), length+4*time.Minute)
			defer cancel()
			c := exec.CommandContext(ctx, filepath.Join(dir, "clockbench"), "live", scenario, "--network", "namespaces", "--seed", "5", "--out", out)
			c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			var all bytes.Buffer
			c.Stdout, c.Stderr = &all, &all
			if err := c.Run(); err != nil {
				t.Fatalf("clockbench live: %v\n%s", err, all.String())
			}
			t.Logf("%s", all.String())
			checkLive(t, out, x.mode)
		})
	}
}

// checkLive looks at what a run has left.
func checkLive(t *testing.T, out, mode string) {
	t.Helper()
	r, err := result.Read(out)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Complete || *r.Checks.Wrong != 0 || *r.Checks.Checked < 1000 {
		t.Errorf("complete %t, %d claims checked and %d wrong: %+v", r.Complete, *r.Checks.Checked, *r.Checks.Wrong, r.Violations)
	}
	found := map[string]result.Property{}
	for _, p := range r.Properties {
		if p.Subject == "" && p.Statistic == "max" {
			found[p.Symbol] = p
		}
		if v, known := p.Value.Value(); !known && p.Reason == "" {
			t.Errorf("%s %s is missing without a reason", p.Symbol, p.Name)
		} else if b, bounded := p.Bound.Value(); known && bounded && v > b {
			t.Errorf("%s %s %s is %g, its bound %g", p.Symbol, p.Name, p.Subject, v, b)
		}
	}
	need := []string{"g", "g_v", "δ_v", "π_v", "ρ_v", "ε"}
	if mode == "hybrid" {
		need = append(need, "α_v")
	}
	for _, symbol := range need {
		if _, known := found[symbol].Value.Value(); !known {
			t.Errorf("%s is missing: %s", symbol, found[symbol].Reason)
		}
	}
	for _, symbol := range []string{"δ_v", "π_v"} {
		if _, known := found[symbol].Bound.Value(); !known {
			t.Errorf("%s has no bound", symbol)
		}
	}
	for _, text := range r.Notes {
		if strings.Contains(text, "not complete") {
			t.Error(text)
		}
	}
	// No packet was sooner than the law.
	for _, h := range r.Histograms {
		if least := h.Min.Float(); !(least >= 150e-6) {
			t.Errorf("a packet from %s to %s took %g s", h.Clock, h.Peer, least)
		}
	}
	if len(r.Histograms) < 40 {
		t.Errorf("delays of %d directions", len(r.Histograms))
	}
	kinds := map[result.EventKind]int{}
	for _, e := range r.Events {
		kinds[e.Kind]++
	}
	if kinds[result.EventFault] != 1 || kinds[result.EventRepair] != 1 {
		t.Errorf("events %v, want the partition and its end", kinds)
	}
	html, err := os.ReadFile(filepath.Join(out, PageName))
	if err != nil {
		t.Fatal(err)
	}
	b := open(t, html)
	b.canvases(Charts([]Run{{r.Title, r}}))
	b.Picture("live-" + mode + ".png")
	b.check()
}
