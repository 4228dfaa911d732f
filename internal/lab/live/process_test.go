package live

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/lab/result"
	"github.com/clockd/clockd/internal/testkit"
)

// patience ends a test that hangs.
const patience = 2 * time.Minute

// build makes clockd and clockbench.
func build(t *testing.T) (clockbench string) {
	t.Helper()
	dir := t.TempDir()
	c := exec.Command("go", "build", "-o", dir+"/", "github.com/clockd/clockd/cmd/clockd", "github.com/clockd/clockd/cmd/clockbench")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return filepath.Join(dir, "clockbench")
}

// children are the processes whose command line names the directory.
func children(t *testing.T, dir string) (all []int) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		// One that has ended has no command line.
		line, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if bytes.Contains(line, []byte(dir+"/")) && bytes.Contains(line, []byte(workPattern)) {
			all = append(all, pid)
		}
	}
	return all
}

// left are the directories of experiments in a temporary directory.
func left(t *testing.T, dir string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, workPattern+"*"))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// shortTemp is a temporary directory with a short name: sockets are in it.
func shortTemp(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lv")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// run starts clockbench with a temporary directory of its own.
func runBench(t *testing.T, temporary, clockbench string, args ...string) *testkit.Process {
	t.Helper()
	c := exec.Command(clockbench, args...)
	c.Env = append(os.Environ(), "TMPDIR="+temporary)
	return testkit.StartProcess(t, c)
}

// TestCounterJumps: a host whose counter jumps is not held to what it said before; it finds out, and has a true clock again.
func TestCounterJumps(t *testing.T) {
	t.Parallel()
	temporary := shortTemp(t)
	scenario, out := filepath.Join(temporary, "jumps.toml"), filepath.Join(temporary, "out")
	text := "mode = \"external\"\nhosts = 2\nfor = \"12s\"\n[[fault]]\nat = \"1s\"\ndo = \"step\"\nhost = \"h2\"\nby = \"2s\"\n" +
		"[[fault]]\nat = \"6s\"\ndo = \"step\"\nhost = \"h2\"\nby = \"50ms\"\n"
	if err := os.WriteFile(scenario, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := runBench(t, temporary, build(t), "live", scenario, "--network", "loopback", "--out", out, "--json")
	select {
	case <-p.Done():
	case <-time.After(patience):
		t.Fatalf("it does not end:\n%s", p.Output())
	}
	r, err := result.Read(out)
	if err != nil {
		t.Fatal(err)
	}
	notes := strings.Join(r.Notes, "\n")
	if n := strings.Count(notes, "h2 claimed again"); n != 2 || *r.Checks.Wrong != 0 || *r.Checks.Checked == 0 || !r.Complete {
		t.Errorf("%d jumps were got over, %d of %d claims wrong:\n%s", n, *r.Checks.Wrong, *r.Checks.Checked, notes)
	}
	if strings.Contains(notes, "h1 claimed again") {
		t.Errorf("the other host was moved:\n%s", notes)
	}
}

// TestNothingIsLeft: after Ctrl-C the measurement is kept and nothing runs or lies about; after kill -9 nothing runs, and the next
// run removes the files. On loopback and in namespaces.
func TestNothingIsLeft(t *testing.T) {
	clockbench := build(t)
	networks := []string{NetworkLoopback}
	if os.Geteuid() == 0 {
		networks = append(networks, NetworkNamespaces)
	}
	for _, network := range networks {
		t.Run(network, func(t *testing.T) {
			dir := shortTemp(t)
			out := filepath.Join(dir, "out")
			args := []string{"live", "--mode", "internal", "--hosts", "4", "--liars", "1", "--network", network, "--reading-error", "5ms", "--for", "1h", "--out", out}
			p := runBench(t, dir, clockbench, args...)
			awaitMeasuring(t, p, dir)
			if n := len(children(t, dir)); n != 4 {
				t.Errorf("%d processes of 4 hosts", n)
			}
			if err := p.Signal(syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
			<-p.Done()
			if !strings.Contains(p.Output(), "(interrupted)") {
				t.Errorf("what was measured is not shown:\n%s", p.Output())
			}
			if r, err := result.Read(out); err != nil || r.Complete || *r.Checks.Checked == 0 || *r.Checks.Wrong != 0 {
				t.Errorf("%v: what was measured is not kept", err)
			}
			if pids, dirs := children(t, dir), left(t, dir); pids != nil || dirs != nil {
				t.Errorf("after Ctrl-C there are %v and %v", pids, dirs)
			}

			p = runBench(t, dir, clockbench, append(args, "--force")...)
			awaitMeasuring(t, p, dir)
			p.Kill()
			testkit.WaitFor(t, patience, "all hosts to die", func() bool { return children(t, dir) == nil })
			if n := len(left(t, dir)); n != 1 {
				t.Errorf("%d directories after kill -9; the test does not test what it should", n)
			}
			sweep(dir)
			if dirs := left(t, dir); dirs != nil {
				t.Errorf("the next run leaves %v", dirs)
			}
		})
	}
}

// awaitMeasuring waits until a run measures: its series are being written.
func awaitMeasuring(t *testing.T, p *testkit.Process, dir string) {
	t.Helper()
	testkit.WaitFor(t, patience, "the measurement", func() bool {
		select {
		case <-p.Done():
			t.Fatalf("it ended:\n%s", p.Output())
		default:
		}
		files, err := filepath.Glob(filepath.Join(dir, "out", "series", ".clockbench-*"))
		return err == nil && len(files) >= 5
	})
	time.Sleep(time.Second) // some samples
}

// TestSweepLeavesOthersAlone: the directory of one that lives stays, and so does what is not ours.
func TestSweepLeavesOthersAlone(t *testing.T) {
	dir := shortTemp(t)
	t.Setenv("TMPDIR", dir)
	w, err := newWork()
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(dir, workPattern+"no-lock")
	if err := os.Mkdir(other, 0o700); err != nil {
		t.Fatal(err)
	}
	sweep(dir)
	if n := len(left(t, dir)); n != 2 {
		t.Errorf("%d of 2 are left", n)
	}
	if err := w.close(false); err != nil {
		t.Error(err)
	}
	if got := left(t, dir); len(got) != 1 || got[0] != other {
		t.Errorf("%v", got)
	}
}

// TestBadInputBeforeAnyWork: each is an error at once, before anything is started.
func TestBadInputBeforeAnyWork(t *testing.T) {
	clockbench := build(t)
	dir := shortTemp(t)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("[[fault]]\nat = \"1s\"\ndo = \"kill\"\nhost = \"h77\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		code int
		text string
		args []string
	}{
		{2, "there is no scenario", []string{"live", "nowhere"}},
		{2, "cannot be read", []string{"live", "./nowhere.toml"}},
		{2, "3f+1", []string{"live", "--hosts", "3", "--liars", "1"}},
		{2, "h77", []string{"live", "--script", file}},
		{2, "--hosts 0", []string{"live", "--hosts", "0"}},
		{2, "--delay", []string{"live", "--delay", "soon"}},
		{2, "no program", []string{"live", "--clockd", "./nothing"}},
		{1, "is no clockd", []string{"live", "--clockd", "/bin/echo"}},
		{1, "not a directory", []string{"live", "--out", filepath.Join(file, "x")}},
		{1, "condition C1", []string{"live", "--reading-error", "1s"}},
		{2, "out of range", []string{"compare", "--poll", "9"}},
		{2, "--for", []string{"compare", "--for", "-1s"}},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		c := exec.CommandContext(ctx, clockbench, x.args...)
		c.Env = append(os.Environ(), "TMPDIR="+dir)
		out, err := c.CombinedOutput()
		cancel()
		var exit *exec.ExitError
		if err == nil || errors.As(err, &exit) && exit.ExitCode() != x.code || !strings.Contains(string(out), x.text) {
			t.Errorf("%v: %v, want exit code %d and %q:\n%s", x.args, err, x.code, x.text, out)
		}
	}
	if dirs := left(t, dir); dirs != nil {
		t.Errorf("left: %v", dirs)
	}
	// Without chrony it says what to install.
	c := exec.Command(clockbench, "compare", "--for", "10s")
	c.Env = []string{"TMPDIR=" + dir, "PATH=" + dir}
	if _, err := os.Stat("/usr/sbin/chronyd"); err != nil {
		if out, err := c.CombinedOutput(); err == nil || !strings.Contains(string(out), "apt install chrony") {
			t.Errorf("%v: %s", err, out)
		}
	}
}

// TestScriptOnRealHosts: a host dies, returns as one whose wall clock is wrong, another stands still for a while, a link is slow, and
// one begins to lie: on loopback, without rights. All that the correct ones claim is true.
func TestScriptOnRealHosts(t *testing.T) {
	clockbench := build(t)
	dir := shortTemp(t)
	script := filepath.Join(dir, "script.toml")
	text := `
[[fault]]
at = "1s"
do = "lie"
host = "h4"
[[fault]]
at = "2s"
do = "kill"
host = "h1"
[[fault]]
at = "4s"
do = "restart"
host = "h1"
wall_clock = "-3s"
[[fault]]
at = "6s"
for = "2s"
do = "pause"
host = "h2"
[[fault]]
at = "9s"
for = "2s"
do = "link"
to = "h3"
added = "30ms"
`
	if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := runBench(t, dir, clockbench, "live", "--hosts", "4", "--network", NetworkLoopback, "--reading-error", "5ms", "--for", "15s", "--script", script, "--json", "--out", filepath.Join(dir, "out"))
	<-p.Done()
	r, err := result.Read(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatalf("%v\n%s", err, p.Output())
	}
	if !r.Complete || *r.Checks.Wrong != 0 || *r.Checks.Checked < 100 {
		t.Errorf("complete %t, %d wrong of %d: %+v", r.Complete, *r.Checks.Wrong, *r.Checks.Checked, r.Violations)
	}
	var faults, repairs int
	ended := false
	for _, e := range r.Events {
		switch e.Kind {
		case result.EventFault:
			faults++
		case result.EventRepair:
			repairs++
		case result.EventStatus:
			ended = ended || e.Clock == "h1" && e.Status != "synchronised"
		}
	}
	if faults != 4 || repairs != 3 || !ended {
		t.Errorf("%d faults, %d repairs, the dead one was missed: %t; %+v", faults, repairs, ended, r.Events)
	}
	// What --json prints is a result, too.
	begin := strings.Index(p.Output(), "{")
	var printed map[string]any
	if begin < 0 || json.Unmarshal([]byte(p.Output()[begin:]), &printed) != nil || printed["format"] != "clockd-result" {
		t.Errorf("--json printed no result:\n%.500s", p.Output())
	}
}

// TestCompareWithChronyd: a real chronyd and a clockd follow a master whose clock drifts; both are found to be right, and near it.
func TestCompareWithChronyd(t *testing.T) {
	testkit.RequireTool(t, "chronyd")
	testkit.RequireTool(t, "chronyc")
	clockbench := build(t)
	dir := shortTemp(t)
	p := runBench(t, dir, clockbench, "compare", "--network", NetworkLoopback, "--for", "16s", "--poll", "-1", "--out", filepath.Join(dir, "out"))
	<-p.Done()
	r, err := result.Read(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatalf("%v\n%s", err, p.Output())
	}
	t.Logf("%s", p.Output())
	if !r.Complete || r.Mode != result.ModeCompare {
		t.Errorf("%+v", r)
	}
	rms, claimed := map[string]float64{}, map[string]float64{}
	for _, x := range r.Properties {
		v, known := x.Value.Value()
		switch {
		case x.Name == "time error" && x.Statistic == "rms" && known:
			rms[x.Subject] = v
		case x.Name == "claimed bound" && x.Statistic == "median" && known:
			claimed[x.Subject] = v
		case x.Name == "wrong bounds" && x.Subject == "clockd" && v != 0:
			t.Errorf("%g bounds of clockd were wrong", v)
		}
	}
	// The master drifts by tens of ppm: a program that did not follow it would be milliseconds off in the end, and one whose correction
	// were counted the wrong way too.
	for _, name := range []string{"clockd", "chronyd"} {
		if !(rms[name] > 0 && rms[name] < 2e-3) || !(claimed[name] > rms[name]/10) {
			t.Errorf("%s: RMS error %g s, claimed bound %g s", name, rms[name], claimed[name])
		}
	}
	if pids, dirs := children(t, dir), left(t, dir); pids != nil || dirs != nil {
		t.Errorf("left: %v, %v", pids, dirs)
	}
}
