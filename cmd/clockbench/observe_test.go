package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/cli"
	"github.com/clockd/clockd/internal/lab/observe"
	lab "github.com/clockd/clockd/internal/lab/report"
	"github.com/clockd/clockd/internal/lab/result"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
)

// chronyds starts real servers, all on this machine's own clock.
func chronyds(t *testing.T, n int) []string {
	t.Helper()
	var list []string
	for i := range n {
		list = append(list, testkit.StartChronyd(t, testkit.ChronyOptions{LocalStratum: i + 1}).Address())
	}
	return list
}

// fast are flags for servers on loopback.
func fast(more ...string) []string {
	return append([]string{"observe", "--fast", "--poll", "100ms"}, more...)
}

// TestObserveFindsTheFalseServer: the whole way, from real servers to the report.
func TestObserveFindsTheFalseServer(t *testing.T) {
	testkit.NoLeaks(t)
	hosts := chronyds(t, 3)
	hosts[2] = testkit.ShiftProxy(t, hosts[2], 5*time.Millisecond).Address()
	dir := filepath.Join(t.TempDir(), "out")
	code, out, errors := run(t, fast(append(hosts, "--for", "3s", "--out", dir, "--json")...)...)
	if code != exitViolation || !strings.Contains(errors, "broke its promise") {
		t.Fatalf("code %d\n%s\n%s", code, out, errors)
	}
	var r observe.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for i, s := range r.Servers {
		if isFalse := i == 2; isFalse != (s.RoundsFalse > 0) || isFalse && (s.Worst.Least <= 0 || s.Worst.Least > 5e-3 || s.Worst.Most < 5e-3) {
			t.Errorf("%+v", s)
		}
	}
	if !strings.Contains(errors, "FALSE: off by +") {
		t.Errorf("no line for a round says it:\n%s", errors)
	}
	x, err := result.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !x.Complete || x.Mode != result.ModeObserve || x.Truth != result.TruthEstimated || len(x.Clocks) != 4 || x.Machine == nil || x.Machine.CPUs < 1 {
		t.Errorf("%+v", x)
	}
	d := x.Disagreement
	if d.Disagree[0][1] || !d.Disagree[0][2] || !d.Disagree[2][1] || d.Offset[2][0].Float() < 3e-3 || d.Offset[2][0].Float() > 7e-3 {
		t.Errorf("%+v", d)
	}
	var stable []string
	for _, c := range x.Stability {
		stable = append(stable, string(c.Statistic)+" "+c.Clock)
	}
	for _, want := range []string{"oadev ", "mdev ", "tdev ", "mtie "} {
		if !strings.Contains(strings.Join(stable, "\n"), want+hosts[2]) {
			t.Errorf("no %s: %v", want, stable)
		}
	}
	for _, p := range x.Properties {
		if _, ok := p.Value.Value(); !ok && p.Reason == "" {
			t.Errorf("%s %s is missing without a reason", p.Symbol, p.Name)
		}
	}
	for _, name := range []string{lab.PageName, observe.LogName, "figures/tdev.svg", "series/system-clock.csv"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What is summed up from the record is the same.
	code, again, _ := run(t, "observe", "--summary", "--out", dir, "--json")
	var s observe.Report
	if err := json.Unmarshal([]byte(again), &s); code != exitViolation || err != nil || s.Rounds != r.Rounds || *s.Servers[2].Worst != *r.Servers[2].Worst {
		t.Errorf("code %d, %v\n%s", code, err, again)
	}
}

// TestObserveHelper is no test: it is the program that TestKilledObservation kills.
func TestObserveHelper(t *testing.T) {
	words := os.Getenv("CLOCKBENCH_OBSERVE")
	if words == "" {
		t.Skip("it runs only as the child of TestKilledObservation")
	}
	a := &app{version: "child", out: os.Stdout, err: os.Stderr}
	if code := execute(t.Context(), a, strings.Fields(words)); code != cli.OK {
		t.Fatalf("code %d", code)
	}
}

// samples counts the answers in a log.
func samples(t *testing.T, dir string) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, observe.LogName))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return bytes.Count(b, []byte(`{"sample":`))
}

// TestKilledObservation: kill -9 in the middle loses nothing that was written, and --resume goes on with the same servers.
func TestKilledObservation(t *testing.T) {
	hosts := chronyds(t, 2)
	dir := filepath.Join(t.TempDir(), "out")
	child := exec.Command(os.Args[0], "-test.run=^TestObserveHelper$")
	child.Env = append(os.Environ(), "CLOCKBENCH_OBSERVE="+strings.Join(fast(append(hosts, "--out", dir)...), " "))
	p := testkit.StartProcess(t, child)
	testkit.WaitFor(t, time.Minute, "some answers", func() bool { return samples(t, dir) >= 10 })
	p.Kill()
	path := filepath.Join(dir, observe.LogName)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	kept := samples(t, dir)
	code, out, errors := run(t, "observe", "--resume", "--out", dir, "--for", "2s", "--json")
	if code != cli.OK {
		t.Fatalf("code %d\n%s\n%s", code, out, errors)
	}
	after, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	whole := before[:bytes.LastIndexByte(before, '\n')+1]
	if !bytes.HasPrefix(after, whole) {
		t.Error("what was written before is not there any more")
	}
	var r observe.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	total := int(r.Servers[0].SamplesOK + r.Servers[1].SamplesOK)
	if total <= kept || total != samples(t, dir) || r.Log.Damaged != 0 || r.GapsTotal != 1 || r.Segments != 1 {
		t.Errorf("%d answers were kept, there are %d in the log and %d in the result; %+v, gaps %+v", kept, samples(t, dir), total, r.Log, r.Gaps)
	}
	if r.Config.Hosts[0] != hosts[0] || r.Servers[1].Reason != reason.OK {
		t.Errorf("%+v", r.Servers)
	}
}

func TestMistakesOfObserve(t *testing.T) {
	kept, other := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(other, result.FileName), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := observe.DefaultConfig()
	c.Hosts = []string{"127.0.0.1:9"}
	l, err := observe.CreateLog(kept, observe.NewHeader("test", &c))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		words string
		code  int
		want  string
	}{
		{"", cli.Usage, "no host is given"},
		{"a.test a.test", cli.Usage, "given twice"},
		{"a.test:x", cli.Usage, "not a port"},
		{"a.test --poll 1s", cli.Usage, "--fast"},
		{"a.test --fast --poll 1ms", cli.Usage, "50ms"},
		{"a.test --for 0s", cli.Usage, "above 0"},
		{"a.test --for -1s", cli.Usage, "above 0"},
		{"a.test b.test --max-false 1", cli.Usage, "fewer than half"},
		{"a.test --max-false -1", cli.Usage, "not be below 0"},
		{"a.test --drift-bound 0", cli.Usage, "drift bound"},
		{"a.test --max-error 1h", cli.Usage, "largest error"},
		{"a.test --resume", cli.Usage, "--out DIR"},
		{"--resume --summary --out x", cli.Usage, "either"},
		{"a.test --summary --out x", cli.Usage, "give no hosts"},
		{"--summary --out " + t.TempDir(), cli.Error, "holds no observation"},
		{"--resume --out " + t.TempDir(), cli.Error, "holds no observation"},
		{"--resume --out " + kept + " b.test", cli.Usage, "not of"},
		{"--resume --out " + kept + " --poll 32s", cli.Usage, "a poll of 16s and not of 32s"},
		{"127.0.0.1:9 --out " + kept, cli.Error, "say --resume"},
		{"127.0.0.1:9 --out " + other, cli.Error, "result of another run"},
		{"127.0.0.1:9 --out /proc/nowhere", cli.Error, "cannot be stored"},
		{"127.0.0.1:9 --counter nonsense --for 1s", cli.Error, "counter"},
	} {
		code, out, errors := run(t, append([]string{"observe"}, strings.Fields(c.words)...)...)
		if code != c.code || !strings.Contains(errors, c.want) || out != "" {
			t.Errorf("%q: code %d, %q, %q; want %q", c.words, code, out, errors, c.want)
		}
	}
	if _, err := os.Stat(filepath.Join(other, observe.LogName)); err == nil {
		t.Error("a record was begun beside the result of another run")
	}
}

// TestInterruptedObservation: Ctrl-C keeps and sums up what was measured; that is no error.
func TestInterruptedObservation(t *testing.T) {
	testkit.NoLeaks(t)
	hosts := chronyds(t, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var o bytes.Buffer
	e := watcher{want: "round 3:", found: cancel}
	code := execute(ctx, &app{out: &o, err: &e}, fast(hosts...))
	if code != cli.OK || !strings.Contains(o.String(), "It was interrupted") || !strings.Contains(o.String(), hosts[0]) {
		t.Errorf("code %d\n%s\n%s", code, o.String(), e.text.String())
	}
	if !strings.Contains(e.text.String(), "1 of 1 compared; correct the system clock by") {
		t.Errorf("no line for each round:\n%s", e.text.String())
	}
}

// watcher calls found when the text that it wants was written.
type watcher struct {
	text  bytes.Buffer
	want  string
	found func()
}

func (w *watcher) Write(b []byte) (int, error) {
	n, err := w.text.Write(b)
	if strings.Contains(w.text.String(), w.want) {
		w.found()
	}
	return n, err
}

// TestLiveTable: on a terminal the table is drawn over itself, with the time left, and wiped away at the end.
func TestLiveTable(t *testing.T) {
	hosts := chronyds(t, 1)
	var o, e bytes.Buffer
	if code := execute(t.Context(), &app{out: &o, err: &e, terminal: true}, fast(hosts[0], "--for", "1500ms")); code != cli.OK {
		t.Fatalf("code %d\n%s", code, e.String())
	}
	text := e.String()
	for _, want := range []string{"left; round ", "SERVER", "\x1b[", "A\r\x1b[J", "%, "} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in %q", want, text)
		}
	}
	if !strings.HasSuffix(text, "\x1b[J") {
		t.Errorf("it was not wiped away: %q", text[max(0, len(text)-100):])
	}
	for line := range strings.SplitSeq(text, "\n") {
		if n := len([]rune(line)); n > 80+20 {
			t.Errorf("a line of %d runes would be wrapped: %q", n, line)
		}
	}
}

func TestWordsOfTheResult(t *testing.T) {
	a := &app{}
	c := newObserve(a)
	if err := c.ParseFlags([]string{"--poll", "4s", "--out", "x", "ntp.test"}); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(words(c, []string{"ntp.test"})); got != "[observe --poll=4s --out=x ntp.test]" {
		t.Error(got)
	}
}
