package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/clockd/clockd/internal/cli"
	"github.com/clockd/clockd/internal/testkit"
)

// demoApp is an app whose output goes into buffers.
func demoApp() (a *app, stdout, stderr *bytes.Buffer) {
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	return &app{version: "test", out: stdout, err: stderr, getenv: func(string) string { return "" }, uid: os.Geteuid()}, stdout, stderr
}

func TestDemoForScripts(t *testing.T) {
	testkit.NoLeaks(t)
	a, stdout, stderr := demoApp()
	if code := execute(context.Background(), a, []string{"demo", "--for", "2s", "--hosts", "2", "--seed", "5", "--poll", "300ms", "--json"}); code != cli.OK {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	lines := strings.Split(strings.TrimSpace(stdout.String()), "\n")
	var last map[string]any
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{"kind": "summary", "mode": "external", "bound_violations": 0.0, "seed": 5.0, "poll_s": 0.3} {
		if last[key] != want {
			t.Errorf("%s is %v and not %v", key, last[key], want)
		}
	}
	for _, key := range []string{"precision_s", "accuracy_s"} {
		if x, ok := last[key].(float64); !ok || x <= 0 || x > 1 {
			t.Errorf("%s is %v", key, last[key])
		}
	}
	if hosts, ok := last["hosts"].([]any); !ok || len(hosts) != 2 {
		t.Errorf("hosts: %v", last["hosts"])
	}
}

// TestDemoOfAGroupForScripts: with the defaults that a person gets. On a busy machine the group may not agree in time; no claim may fail.
func TestDemoOfAGroupForScripts(t *testing.T) {
	testkit.NoLeaks(t)
	a, stdout, stderr := demoApp()
	if code := execute(context.Background(), a, []string{"demo", "--mode", "internal", "--liars", "1", "--for", "4s", "--json"}); code != cli.OK {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	lines := strings.Split(strings.TrimSpace(stdout.String()), "\n")
	var last struct {
		Mode            string
		PrecisionBoundS float64 `json:"precision_bound_s"`
		Violations      uint64  `json:"bound_violations"`
		Hosts           []any
		Group           struct {
			Liars, Faults int
			Lies          []struct{ Adversary string }
		}
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
		t.Fatal(err)
	}
	if g := last.Group; last.Mode != "internal" || len(last.Hosts) != 4 || last.Violations != 0 || g.Liars != 1 || g.Faults != 1 || len(g.Lies) != 1 ||
		g.Lies[0].Adversary != "two-faced" || !(last.PrecisionBoundS > 0 && last.PrecisionBoundS < 1e-3) {
		t.Errorf("%s", lines[len(lines)-1])
	}
}

func TestDemoRefusesWhatCannotBe(t *testing.T) {
	for _, args := range [][]string{{"--hosts", "0"}, {"--hosts", "1000"}, {"--poll", "1ns"}, {"--poll", "0"}, {"--for", "-1s"}, {"--for", "soon"}, {"more"},
		{"--mode", "magic"}, {"--mode", "internal", "--hosts", "4", "--liars", "4"}, {"--mode", "internal", "--hosts", "3", "--liars", "1"}, {"--liars", "1"},
		{"--mode", "hybrid", "--liars", "1", "--adversary", "nobody"}, {"--mode", "internal", "--hosts", "0"}, {"--mode", "internal", "--period", "0"},
		{"--mode", "hybrid", "--false-masters", "3"}, {"--mode", "internal", "--false-masters", "1"}} {
		a, stdout, stderr := demoApp()
		if code := execute(context.Background(), a, append([]string{"demo"}, args...)); code != cli.Usage || stdout.Len() > 0 || stderr.Len() == 0 {
			t.Errorf("%v: exit code %d, output %q, error %q", args, code, stdout, stderr)
		}
	}
}

// TestDemoLeavesNothingBehind when its reader, or its terminal, goes away, or it is interrupted.
func TestDemoLeavesNothingBehind(t *testing.T) {
	program := t.TempDir() + "/clockd"
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, c := range []struct {
		name   string
		signal os.Signal
		code   int
	}{{"interrupted", os.Interrupt, cli.OK}, {"terminated", syscall.SIGTERM, cli.OK}, {"hung up", syscall.SIGHUP, cli.OK}, {"reader gone", nil, cli.Error}} {
		t.Run(c.name, func(t *testing.T) {
			dir, err := os.MkdirTemp("", "demo-")
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(dir)
			child := exec.Command(program, "demo", "--json", "--hosts", "1")
			child.Env = append(os.Environ(), "TMPDIR="+dir)
			var stderr bytes.Buffer
			child.Stderr = &stderr
			pipe, err := child.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := child.Start(); err != nil {
				t.Fatal(err)
			}
			defer child.Process.Kill()
			out := bufio.NewReader(pipe)
			if _, err := out.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
			var rest bytes.Buffer
			if c.signal == nil {
				_ = pipe.Close()
			} else {
				if err := child.Process.Signal(c.signal); err != nil {
					t.Fatal(err)
				}
				if _, err := rest.ReadFrom(out); err != nil {
					t.Fatal(err)
				}
				if !strings.Contains(rest.String(), `"kind":"summary"`) {
					t.Errorf("there is no summary: %s", &rest)
				}
			}
			_ = child.Wait()
			if code := child.ProcessState.ExitCode(); code != c.code || stderr.Len() > 0 {
				t.Errorf("exit code %d, standard error %q", code, &stderr)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// pseudoterminal returns the two ends of a terminal of that size: what a person sees and types at, and what the program has.
func pseudoterminal(t *testing.T, columns, rows uint16) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("this machine has no pseudoterminals: %v", err)
	}
	t.Cleanup(func() { _ = person.Close() })
	number, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = program.Close() })
	if err := unix.IoctlSetWinsize(int(program.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns}); err != nil {
		t.Fatal(err)
	}
	return person, program
}

func TestDemoOnATerminal(t *testing.T) {
	for _, c := range []struct {
		name            string
		env             map[string]string
		inPlace, colour bool
	}{
		{"coloured", map[string]string{"TERM": "xterm"}, true, true},
		{"without colours", map[string]string{"TERM": "xterm", "NO_COLOR": "1"}, true, false},
		{"dumb", map[string]string{"TERM": "dumb"}, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			testkit.NoLeaks(t)
			person, program := pseudoterminal(t, 60, 40)
			a, _, stderr := demoApp()
			a.out, a.getenv = program, func(key string) string { return c.env[key] }
			shown := make(chan string, 1)
			go func() {
				var b bytes.Buffer
				_, _ = b.ReadFrom(person) // ends with an error when the program's end is closed
				shown <- b.String()
			}()
			code := execute(context.Background(), a, []string{"demo", "--for", "3s", "--hosts", "1"})
			_ = program.Close()
			text := <-shown
			if code != cli.OK {
				t.Fatalf("exit code %d: %s", code, stderr)
			}
			if got := regexp.MustCompile("\x1b\\[[0-9]+A").MatchString(text); got != c.inPlace {
				t.Errorf("drawn in place: %v\n%q", got, text)
			}
			if got := strings.Contains(text, "\x1b[32m"); got != c.colour {
				t.Errorf("coloured: %v\n%q", got, text)
			}
			if cut := !strings.Contains(text, "TRUE ERROR"); cut != c.inPlace {
				t.Errorf("the table is cut at 60 columns: %v\n%q", cut, text)
			}
		})
	}
}
