package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/virtualclock"
)

// patience ends a test that hangs; nothing that works takes nearly as long.
const patience = 60 * time.Second

// The exit codes that docs/cli.md promises.
const (
	exitOK      = 0
	exitError   = 1
	exitUsage   = 2
	exitTimeout = 3
)

// host is one clockd with its own directory.
type host struct {
	*testkit.Process
	t                          *testing.T
	program                    string
	dir, config, page, control string
	state                      string
	// before is what earlier runs logged.
	before string
	// wrap, if set, is the command that starts the program.
	wrap []string
	// crash: the test itself makes the program dump its goroutines.
	crash bool
}

// newHost makes a host's directory. In a test with the race detector its clockd has one too.
func newHost(t *testing.T) *host {
	t.Helper()
	variable := variableProgram
	if raceEnabled {
		variable = variableDetector
	}
	return newHostOf(t, variable)
}

// newShippedHost makes a host whose clockd is the one that ships, for measurements.
func newShippedHost(t *testing.T) *host {
	t.Helper()
	return newHostOf(t, variableProgram)
}

func newHostOf(t *testing.T, variable string) *host {
	t.Helper()
	program := os.Getenv(variable)
	if program == "" {
		t.Fatal("there is no clockd to test: see what the build said above")
	}
	// t.TempDir would make names longer than the 107 bytes of a Unix socket's path.
	dir, err := os.MkdirTemp("", "clockd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	in := func(name string) string { return filepath.Join(dir, name) }
	h := &host{t: t, program: program, dir: dir, config: in("clockd.toml"), page: in("page"), control: in("control"), state: in("state.json")}
	t.Cleanup(h.inspect)
	return h
}

// configure writes the configuration; the paths are added.
func (h *host) configure(parts ...string) {
	h.t.Helper()
	document := strings.Join(parts, "\n")
	for _, section := range []struct{ name, text string }{
		{"page", fmt.Sprintf("path = %q", h.page)}, {"control", fmt.Sprintf("path = %q", h.control)}, {"state", fmt.Sprintf("path = %q", h.state)},
	} {
		if !strings.Contains(document, "["+section.name+"]") {
			document += fmt.Sprintf("\n[%s]\n%s\n", section.name, section.text)
		}
	}
	// A file that is read while it is written would be another test.
	next := h.config + ".next"
	if err := os.WriteFile(next, []byte(document), 0o600); err != nil {
		h.t.Fatal(err)
	}
	if err := os.Rename(next, h.config); err != nil {
		h.t.Fatal(err)
	}
}

// start runs the daemon and returns at once.
func (h *host) start() {
	h.t.Helper()
	if h.Process != nil {
		h.before += h.Output()
	}
	words := append(append([]string{}, h.wrap...), h.program, "run", "-c", h.config)
	command := exec.Command(words[0], words[1:]...)
	command.Env = append(os.Environ(), "GOTRACEBACK=all", "GORACE=exitcode=66")
	h.Process = testkit.StartProcess(h.t, command)
}

// up waits until the daemon answers.
func (h *host) up() {
	h.t.Helper()
	h.await("the daemon to answer", func() bool { _, err := h.ask(); return err == nil })
}

// run starts the daemon and waits until it answers.
func (h *host) run() {
	h.t.Helper()
	h.start()
	h.up()
}

// await waits for something, and fails at once if the daemon ends meanwhile.
func (h *host) await(what string, ok func() bool) {
	h.t.Helper()
	h.awaitFor(patience, what, ok)
}

func (h *host) awaitFor(limit time.Duration, what string, ok func() bool) {
	h.t.Helper()
	testkit.WaitFor(h.t, limit, what, func() bool {
		if ok() {
			return true
		}
		select {
		case <-h.Done():
			h.t.Fatalf("the daemon ended while the test waited for %s", what)
		default:
		}
		return false
	})
}

// terminate asks the daemon to end and checks that it does in order.
func (h *host) terminate() {
	h.t.Helper()
	if err := h.Stop(patience); err != nil {
		h.t.Errorf("SIGTERM: %v, want exit code 0", err)
	}
}

// log returns all that the daemon has logged, in all its runs.
func (h *host) log() string {
	if h.Process == nil {
		return h.before
	}
	return h.before + h.Output()
}

// inspect looks for what must never be in a log. It runs after the process was ended.
func (h *host) inspect() {
	if h.crash {
		return
	}
	for _, mark := range []string{"panic:", "fatal error:", "DATA RACE", "goroutine 1 ["} {
		if strings.Contains(h.log(), mark) {
			h.t.Errorf("the daemon's log has %q:\n%s", mark, h.log())
		}
	}
}

// ask returns the daemon's status.
func (h *host) ask() (control.Status, error) {
	var s control.Status
	err := control.Call(context.Background(), h.control, control.CommandStatus, &s)
	return s, err
}

// status is ask for a daemon that must answer.
func (h *host) status() control.Status {
	h.t.Helper()
	s, err := h.ask()
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

func (h *host) sources() control.Sources {
	h.t.Helper()
	var s control.Sources
	if err := control.Call(context.Background(), h.control, control.CommandSources, &s); err != nil {
		h.t.Fatal(err)
	}
	return s
}

// source returns what is known of the only source, or of that with the name.
func (h *host) source(name ...string) control.Source {
	h.t.Helper()
	s := h.sources()
	for _, x := range s.Sources {
		if len(name) == 0 || x.Name == name[0] {
			return x
		}
	}
	h.t.Fatalf("there is no source %v among %+v", name, s.Sources)
	return control.Source{}
}

// reach waits until the clock has that status, and returns the whole of it.
func (h *host) reach(want virtualclock.Status) control.Status {
	h.t.Helper()
	var s control.Status
	h.await("the clock to be "+want.String(), func() bool {
		var err error
		s, err = h.ask()
		return err == nil && s.Status == want
	})
	return s
}

// result is what a command printed, and its exit code.
type result struct {
	out, err string
	code     int
}

// clockd runs a command of the program about this host.
func (h *host) clockd(args ...string) result {
	h.t.Helper()
	return h.command(append(args, "--page", h.page, "--control", h.control)...)
}

// command runs a command of the program.
func (h *host) command(args ...string) result {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	command := exec.CommandContext(ctx, h.program, args...)
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out, complaints bytes.Buffer
	command.Stdout, command.Stderr = &out, &complaints
	err := command.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		h.t.Fatalf("clockd %v: %v", args, err)
	}
	r := result{out.String(), complaints.String(), command.ProcessState.ExitCode()}
	if strings.Contains(r.err, "panic:") || strings.Contains(r.err, "DATA RACE") {
		h.t.Errorf("clockd %v:\n%s", args, r.err)
	}
	return r
}

// commandJSON runs a command with --json about this host, checks its exit code and reads what it prints.
func (h *host) commandJSON(code int, into any, args ...string) {
	h.t.Helper()
	r := h.clockd(append(args, "--json")...)
	if r.code != code {
		h.t.Fatalf("clockd %v ended with %d, want %d: %s%s", args, r.code, code, r.out, r.err)
	}
	if err := json.Unmarshal([]byte(r.out), into); err != nil {
		h.t.Fatalf("clockd %v printed no JSON: %v\n%s", args, err, r.out)
	}
}

// fastSource is a [[source]] that is asked often.
func fastSource(address string, more ...string) string {
	return fmt.Sprintf("[[source]]\naddress = %q\npoll = \"100ms\"\nburst_spacing = \"10ms\"\n%s\n", address, strings.Join(more, "\n"))
}

// listening is a [server] for tests: nobody is ever asking too often.
func listening(address string, more ...string) string {
	return fmt.Sprintf("[server]\nlisten = [%q]\nrate = 100000\nburst = 100000\n%s\n", address, strings.Join(more, "\n"))
}

// chronyServer is a chronyd that serves this machine's own clock.
func chronyServer(t *testing.T, stratum int) *testkit.Chronyd {
	t.Helper()
	return chronyServerAt(t, freeAddress(t, 1), stratum)
}

// chronyServerAt is chronyServer at that address.
func chronyServerAt(t *testing.T, address string, stratum int) *testkit.Chronyd {
	t.Helper()
	at := mustParse(t, address)
	return testkit.StartChronyd(t, testkit.ChronyOptions{LocalStratum: stratum, Address: at.Addr(), Port: int(at.Port())})
}

// loopback returns 127.0.0.n.
func loopback(n byte) netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 0, n}) }

// mustParse reads "127.0.0.1:12345".
func mustParse(t *testing.T, address string) netip.AddrPort {
	t.Helper()
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// freeAddress returns an address on 127.0.0.n that nobody uses.
func freeAddress(t *testing.T, n byte) string {
	t.Helper()
	return netip.AddrPortFrom(loopback(n), uint16(testkit.FreeUDPPort(t))).String()
}
