//go:build kernel && linux

package kernel

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/reason"
)

// TestMain: as process 1 this program is the guest.
func TestMain(m *testing.M) {
	if scenario := os.Getenv("CLOCKD_SCENARIO"); scenario != "" && os.Getpid() == 1 {
		guest(scenario)
		return
	}
	m.Run()
}

// patience ends a guest that hangs.
const patience = 9 * time.Minute

// uml returns the kernel, or skips.
func uml(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs(firstOf(os.Getenv("CLOCKD_UML"), "../../../.tools/uml/linux"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Skipf("there is no User-mode Linux kernel: run scripts/uml-kernel, some 4 minutes: %v", err)
	}
	return path
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

// program builds clockd.
func program(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "clockd-kernel")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "clockd")
	command := exec.Command("go", "build", "-o", path, "../../../cmd/clockd")
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("clockd cannot be built: %v\n%s", err, out)
	}
	return path
}

// phases is what a guest found, by phase.
type phases map[string]result

// play boots a guest whose simulated clock begins at that time, and returns what it found.
func play(t *testing.T, scenario string, begin time.Time) phases {
	t.Helper()
	kernel, clockd := uml(t), program(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "uml")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	clocked := []string{"time-travel=inf-cpu", fmt.Sprintf("time-travel-start=%d", begin.UnixNano())}
	if scale := os.Getenv("CLOCKD_SCALE"); scale != "" { // a kernel without simulated time: minutes instead of hours
		clocked = []string{"CLOCKD_SCALE=" + scale, fmt.Sprintf("CLOCKD_BEGIN=%d", begin.Unix())}
	}
	command := exec.Command(kernel, append(clocked, "mem=384M", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "init="+self, "con=null", "ssl=null", "con0=null,fd:1",
		"umid=clockd"+fmt.Sprint(os.Getpid())+scenario, "uml_dir="+dir, "quiet",
		"CLOCKD_SCENARIO="+scenario, "CLOCKD_PROGRAM="+clockd, "CLOCKD_HOURS="+os.Getenv("CLOCKD_HOURS"), "CLOCKD_SEED="+os.Getenv("CLOCKD_SEED"))...)
	command.Env = append(os.Environ(), "TMPDIR="+dir)
	if shim := filepath.Join(filepath.Dir(kernel), "xstate.so"); exists(shim) {
		command.Env = append(command.Env, "LD_PRELOAD="+shim)
	}
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	command.Stderr = command.Stdout
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	group := command.Process.Pid
	kill := func() { _ = unix.Kill(-group, unix.SIGKILL) }
	timer := time.AfterFunc(patience, kill)
	defer timer.Stop()
	found, all := phases{}, strings.Builder{}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<22)
	for lines.Scan() {
		text, ok := strings.CutPrefix(strings.TrimRight(lines.Text(), "\r"), mark)
		if !ok {
			all.WriteString(lines.Text() + "\n")
			continue
		}
		var r result
		if err := json.Unmarshal([]byte(text), &r); err != nil {
			t.Errorf("%v in %q", err, text)
			continue
		}
		if r.Error != "" {
			t.Errorf("the guest: %s\n%s", r.Error, r.Log)
		}
		found[r.Phase] = r
		t.Logf("%s, %s: %d samples, %d promised, %d false; off by %.3g s rms, %.3g s at most, claims %.3g s; %+.3f ppm, status %#x, state %d, TAI %d",
			scenario, r.Phase, r.Samples, r.Promised, r.Violations, r.RMS, r.Max, r.MeanMaxError, r.FrequencyPPM, r.Status, r.State, r.TAI)
		if r.Violations > 0 {
			t.Errorf("%s, %s: %d of %d claims were false, the last: %s", scenario, r.Phase, r.Violations, r.Promised, r.Worst)
		}
		if t.Failed() && r.Log != "" {
			t.Log(r.Log)
		}
	}
	_ = command.Wait()
	kill()
	if len(found) == 0 {
		t.Fatalf("the guest said nothing:\n%s", all.String())
	}
	return found
}

func day(t *testing.T, text string) time.Time {
	t.Helper()
	x, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// promised checks that a clock promises something nearly always, and is near.
func (p phases) promised(t *testing.T, phase string, share, near float64) {
	t.Helper()
	r, ok := p[phase]
	switch {
	case !ok:
		t.Errorf("there was no phase %q", phase)
	case r.Samples < 10 || float64(r.Promised) < share*float64(r.Samples):
		t.Errorf("%s: only %d of %d samples promised anything", phase, r.Promised, r.Samples)
	case r.Max > near:
		t.Errorf("%s: off by up to %g s, not %g", phase, r.Max, near)
	}
}

// A clock that is 4.2 s behind and 37 ppm slow is stepped once, then follows; it never claims too little, not even while its daemon is
// dead, and is not stepped again by the next one.
func TestFollow(t *testing.T) {
	p := play(t, "follow", day(t, "2026-06-15T10:00:00Z"))
	if r := p["untouched"]; r.Promised != 0 || math.Abs(r.Last+4.2) > 0.01 {
		t.Errorf("before clockd began: %+v", r)
	}
	p.promised(t, "following", 1, 1e-3)
	if c := p["following"].Clockd; c == nil || c.State != control.SystemClockFollowing || c.Steps != 1 || math.Abs(c.SteppedS-4.2) > 0.05 {
		t.Errorf("following: %+v", c)
	}
	p.promised(t, "killed", 1, 0.1)
	p.promised(t, "settled again", 1, 1e-3)
	if c := p["settled again"].Clockd; c == nil || c.Steps != 0 || c.State != control.SystemClockFollowing {
		t.Errorf("again: %+v", c)
	}
	p.promised(t, "ended", 1, 0.1)
	for phase, r := range p {
		if r.Backwards > 0 {
			t.Errorf("%s: %d times the clock went backwards", phase, r.Backwards)
		}
	}
}

// A leap second, known from a table or announced by the servers only, is inserted by the kernel at the right instant.
func TestLeapSecond(t *testing.T) {
	start := firstOf(os.Getenv("CLOCKD_LEAP_START"), "2026-12-31T23:45:00Z")
	for _, scenario := range []string{"leap", "announced"} {
		t.Run(scenario, func(t *testing.T) {
			p := play(t, scenario, day(t, start))
			p.promised(t, "before", 1, 1e-3)
			before, after := p["before"], p["after"]
			if before.Status&unix.STA_INS == 0 || before.Clockd == nil || before.Clockd.Leap != "insert" {
				t.Errorf("the kernel was not told: %+v, %+v", before, before.Clockd)
			}
			if scenario == "leap" && (before.TAI != 37 || after.TAI != 38) {
				t.Errorf("TAI - UTC is %d s before and %d s after", before.TAI, after.TAI)
			}
			if p["through"].Backwards == 0 && p["through"].States["3"] == 0 {
				t.Log("no sample fell into the inserted second")
			}
			p.promised(t, "after", 0.9, 1e-3)
			if after.Status&(unix.STA_INS|unix.STA_UNSYNC) != 0 || after.State != 0 || after.Clockd == nil || after.Clockd.State != control.SystemClockFollowing || after.Clockd.Steps != 0 {
				t.Errorf("after: %+v, %+v", after, after.Clockd)
			}
		})
	}
}

// Another program that keeps the clock is left alone, and named; a step by hand is noticed.
func TestContest(t *testing.T) {
	if _, err := exec.LookPath("chronyd"); err != nil {
		if _, err := os.Stat("/usr/sbin/chronyd"); err != nil {
			t.Skip("chronyd is not installed: run `make deps` as root")
		}
	}
	p := play(t, "contest", day(t, "2026-06-15T10:00:00Z"))
	p.promised(t, "following", 0.5, 0.01)
	c := p["chronyd"].Clockd
	if c == nil || c.State != control.SystemClockRefused || c.Reason != reason.ClockOwned && c.Reason != reason.ClockContested || !strings.Contains(c.Detail, "chronyd") {
		t.Errorf("beside chronyd: %+v", c)
	}
	if c := p["anew"].Clockd; c == nil || c.State != control.SystemClockFollowing {
		t.Errorf("alone again: %+v", c)
	}
	if c := p["another hand"].Clockd; c == nil || c.State != control.SystemClockRefused || c.Reason != reason.ClockContested {
		t.Errorf("after a step by hand: %+v", c)
	}
}
