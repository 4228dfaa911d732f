package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/cli"
	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/virtualclock"
)

// TestMain lets this test binary be clockd itself, for the tests that need a process of its own.
func TestMain(m *testing.M) {
	if os.Getenv("CLOCKD_TEST_MAIN") == "1" {
		main()
		return
	}
	os.Exit(m.Run())
}

const patience = 20 * time.Second

// buffer may be written by one goroutine and read by another.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// runLine runs one command line with the environment of a user whose runtime directory is dir.
func runLine(t *testing.T, dir string, args ...string) (code int, out, err string) {
	t.Helper()
	var stdout, stderr buffer
	code = execute(context.Background(), testApp(dir, &stdout, &stderr), args)
	return code, stdout.String(), stderr.String()
}

func testApp(dir string, stdout, stderr *buffer) *app {
	env := map[string]string{"RUNTIME_DIRECTORY": dir, "STATE_DIRECTORY": dir}
	return &app{version: "test", out: stdout, err: stderr, uid: os.Geteuid(), getenv: func(k string) string { return env[k] }}
}

// start runs `clockd run` with a configuration until the test ends.
func start(t *testing.T, dir, document string) (log *buffer, stop func() int) {
	t.Helper()
	path := filepath.Join(dir, "clockd.toml")
	if err := os.WriteFile(path, []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	log = &buffer{}
	done := make(chan int, 1)
	go func() { done <- execute(ctx, testApp(dir, &buffer{}, log), []string{"run", "-c", path}) }()
	stop = sync.OnceValue(func() int {
		cancel()
		return <-done
	})
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Logf("log:\n%s", log.String())
		}
	})
	testkit.WaitFor(t, patience, "the daemon", func() bool {
		var s control.Status
		return control.Call(context.Background(), filepath.Join(dir, "control"), control.CommandStatus, &s) == nil
	})
	return log, stop
}

// decode reads JSON as a program would.
func decode(t *testing.T, text string) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		t.Fatalf("%q is not JSON: %v", text, err)
	}
	return m
}

func TestCommandsOnARunningHost(t *testing.T) {
	testkit.NoLeaks(t)
	port := testkit.FreeUDPPort(t)
	master, host := t.TempDir(), t.TempDir()
	start(t, master, fmt.Sprintf("[local]\nstratum = 2\n[server]\nlisten = [\"127.0.0.1:%d\"]\n", port))
	source := fmt.Sprintf("127.0.0.1:%d", port)
	events := filepath.Join(host, "events")
	_, stop := start(t, host, fmt.Sprintf("[[source]]\naddress = %q\npoll = \"250ms\"\n[counter]\nsource = \"skewed(auto,ppm=20)\"\n[log]\nevents = %q\n", source, events))

	if code, out, err := runLine(t, host, "wait", "--bound", "20ms", "--timeout", "20s"); code != cli.OK || !strings.Contains(out, "synchronised") {
		t.Fatalf("wait: exit %d, %s, %s", code, out, err)
	}
	code, out, _ := runLine(t, host, "status")
	for _, want := range []string{"✓ synchronised  this clock is good: true time is within", "1 of 1 source is used", source, "this host is stratum 3", "1 of 1 answer", "epoch 1", "clockd test"} {
		if !strings.Contains(out, want) {
			t.Errorf("status (exit %d) does not say %q:\n%s", code, want, out)
		}
	}
	if strings.Contains(out, "\x1b[") {
		t.Error("colours where there is no terminal")
	}
	_, out, _ = runLine(t, host, "status", "--json")
	s := decode(t, out)
	if s["status"] != "synchronised" || s["source"] != source || s["mode"] != "external" || s["bound_s"] == nil || s["rate_ppm"] == nil {
		t.Errorf("status --json: %s", out)
	}
	_, out, _ = runLine(t, master, "status", "--json")
	if s := decode(t, out); s["mode"] != "local" || s["source"] != nil || s["bound_s"] == nil {
		t.Errorf("the master's status --json: %s", out)
	}
	if _, out, _ = runLine(t, master, "status"); !strings.Contains(out, "this host is the reference") || !strings.Contains(out, "serving") {
		t.Errorf("the master's status: %s", out)
	}
	if _, out, _ = runLine(t, host, "sources"); !strings.Contains(out, "*  "+source) || !strings.Contains(out, " used, best ") || !strings.HasPrefix(out, "✓ synchronised  1 of 1 source is used") {
		t.Errorf("sources: %s", out)
	}
	_, out, _ = runLine(t, host, "sources", "--json")
	if list := decode(t, out)["sources"].([]any); len(list) != 1 || list[0].(map[string]any)["selected"] != true {
		t.Errorf("sources --json: %s", out)
	}
	checkNow(t, host)
	if code, out, err := runLine(t, host, "doctor"); !strings.Contains(out, "auto takes") || !strings.Contains(out, "is running as process") || code > 1 {
		t.Errorf("doctor: exit %d, %s, %s", code, out, err)
	}
	if code := stop(); code != cli.OK {
		t.Errorf("run: exit %d", code)
	}
	if code, out, err := runLine(t, host, "replay", events); code != cli.OK || !strings.Contains(out, "all the same") {
		t.Errorf("replay: exit %d, %s, %s", code, out, err)
	}
	// The page of a daemon that has gone tells nothing.
	if code, out, err := runLine(t, host, "now", "--json"); code != cli.OK || decode(t, out)["earliest_ns"] != nil {
		t.Errorf("now after the end: exit %d, %s, %s", code, out, err)
	}
	if code, _, err := runLine(t, host, "status"); code != cli.Error || !strings.Contains(err, `start it with "clockd run"`) {
		t.Errorf("status after the end: exit %d, %s", code, err)
	}
}

// checkNow compares the two ways in which now reads the clock.
func checkNow(t *testing.T, dir string) {
	t.Helper()
	for via, args := range map[string][]string{"page": nil, "socket": {"--control", filepath.Join(dir, "control")}} {
		_, out, err := runLine(t, dir, append(args, "now", "--json")...)
		for _, field := range []string{"earliest_ns", "latest_ns", "epoch", "status"} {
			if v, ok := decode(t, out)[field]; !ok || v == nil {
				t.Errorf("now by the %s has no %s: %s", via, field, out)
			}
		}
		// Into int64: a number with a fraction or an exponent would be an error.
		var now control.Now
		if e := json.Unmarshal([]byte(out), &now); e != nil || *now.EarliestNS > *now.TimeNS || *now.TimeNS > *now.LatestNS {
			t.Fatalf("now by the %s: %s, %v, %s", via, out, e, err)
		}
		if now.Via != via || now.Kind != "EXTERNAL" || now.Epoch != 1 || now.Status != virtualclock.Synchronised {
			t.Errorf("now by the %s: %s", via, out)
		}
		// The reference is this machine's own clock, read at its start.
		if d := time.Since(time.Unix(0, *now.TimeNS)); d < -time.Second || d > 20*time.Second {
			t.Errorf("now by the %s is %v ago", via, d)
		}
	}
	if _, out, _ := runLine(t, dir, "now"); !strings.Contains(out, "Z ± ") || !strings.Contains(out, "synchronised  epoch 1") {
		t.Errorf("now: %s", out)
	}
}

func TestExitCodes(t *testing.T) {
	testkit.NoLeaks(t)
	dir := t.TempDir()
	good, bad, log := filepath.Join(dir, "good"), filepath.Join(dir, "bad"), filepath.Join(dir, "log")
	for path, text := range map[string]string{good: "[local]\n", bad: "[local]\nstratm = 3\n", log: "no log\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		args []string
		code int
		says string // on either output
	}{
		{nil, cli.OK, "clockd run"},
		{[]string{"help", "wait"}, cli.OK, "Exit codes"},
		{[]string{"version"}, cli.OK, "clockd test (go"},
		{[]string{"version", "--json"}, cli.OK, `"version": "test"`},
		{[]string{"check", good}, cli.OK, "is the reference at stratum 10, serves nobody"},
		{[]string{"check", bad}, cli.Error, bad + `:2:1: local.stratm: [local] has no key "stratm"; did you mean "stratum"?`},
		{[]string{"check", "--json", bad}, cli.Error, `"line": 2`},
		{[]string{"check", filepath.Join(dir, "none")}, cli.Error, "no such file"},
		{[]string{"check"}, cli.Usage, "accepts 1 arg"},
		{[]string{"run", "-c", bad}, cli.Error, "did you mean"},
		{[]string{"run", "extra"}, cli.Usage, `unknown command "extra" for "clockd run"`},
		{[]string{"status"}, cli.Error, "no daemon answers"},
		{[]string{"sources"}, cli.Error, "no daemon answers"},
		{[]string{"now"}, cli.Error, "page missing"},
		{[]string{"now", "--zap"}, cli.Usage, "unknown flag: --zap"},
		{[]string{"zap"}, cli.Usage, `unknown command "zap"`},
		{[]string{"wait", "--timeout", "60ms"}, exitTimeout, "no bound of 1ms within 60ms"},
		{[]string{"wait", "--bound", "0s"}, cli.Usage, "--bound must be above 0"},
		{[]string{"wait", "--bound", "1"}, cli.Usage, "invalid argument"},
		{[]string{"replay", log}, cli.Error, "not the header of an event log"},
		{[]string{"replay", filepath.Join(dir, "none")}, cli.Error, "no such file"},
		{[]string{"query"}, cli.Usage, "requires at least 1 arg"},
		{[]string{"query", "--samples", "0", "a"}, cli.Usage, "must be above 0"},
		{[]string{"completion", "bash"}, cli.OK, "clockd"},
	} {
		code, out, err := runLine(t, dir, c.args...)
		if code != c.code || !strings.Contains(out+err, c.says) {
			t.Errorf("clockd %s: exit %d, want %d with %q\n%s%s", strings.Join(c.args, " "), code, c.code, c.says, out, err)
		}
	}
}

func TestQueryMeasuresAServer(t *testing.T) {
	testkit.NoLeaks(t)
	port, silent := testkit.FreeUDPPort(t), testkit.FreeUDPPort(t)
	dir := t.TempDir()
	start(t, dir, fmt.Sprintf("[local]\n[server]\nlisten = [\"127.0.0.1:%d\"]\n", port))
	args := []string{"query", "--samples", "2", "--gap", "10ms", "--timeout", "1s"}
	code, out, err := runLine(t, dir, append(args, "--json", fmt.Sprintf("127.0.0.1:%d", port))...)
	if code != cli.OK || len(decode(t, out)) == 0 {
		t.Errorf("query: exit %d, %s, %s", code, out, err)
	}
	if code, out, err := runLine(t, dir, append(args, fmt.Sprintf("127.0.0.1:%d", silent))...); code != cli.Error || out == "" {
		t.Errorf("query of nobody: exit %d, %s, %s", code, out, err)
	}
}

// The real program: systemd is told, SIGHUP reloads, SIGTERM ends it in order, and a bad configuration is refused with its line.
func TestProgramObeysSignals(t *testing.T) {
	testkit.NoLeaks(t)
	dir := t.TempDir()
	path, notify := filepath.Join(dir, "clockd.toml"), filepath.Join(dir, "notify")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("[local]\nstratum = 5\n")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = manager.Close() }()
	command := exec.Command(os.Args[0], "run", "-c", path)
	command.Env = append(os.Environ(), "CLOCKD_TEST_MAIN=1", "RUNTIME_DIRECTORY="+dir, "STATE_DIRECTORY="+dir, "NOTIFY_SOCKET="+notify, "WATCHDOG_USEC=1000000")
	p := testkit.StartProcess(t, command)
	hear := func(want string) {
		t.Helper()
		buf := make([]byte, 4096)
		_ = manager.SetReadDeadline(time.Now().Add(patience))
		for {
			n, err := manager.Read(buf)
			if err != nil {
				t.Fatalf("the service manager did not hear %s: %v\n%s", want, err, p.Output())
			}
			if strings.HasPrefix(string(buf[:n]), want) {
				return
			}
		}
	}
	hear("READY=1")
	hear("WATCHDOG=1")
	hear("STATUS=synchronised")
	status := func() map[string]any {
		code, out, err := runLine(t, dir, "status", "--json")
		if code != cli.OK {
			t.Fatalf("status: exit %d, %s", code, err)
		}
		return decode(t, out)
	}
	if s := status(); s["stratum"] != 5.0 || int(s["pid"].(float64)) != p.PID() {
		t.Errorf("status %v", s)
	}
	write("[local]\nstratum = 99\n")
	if err := p.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	hear("RELOADING=1")
	hear("READY=1")
	s := status()
	if text := fmt.Sprint(s["config"]); s["stratum"] != 5.0 || !strings.Contains(text, "clockd.toml:2:1: local.stratum: 99 is out of range") {
		t.Errorf("after a bad reload: %v", s)
	}
	write("[local]\nstratum = 6\n")
	if err := p.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	testkit.WaitFor(t, patience, "the reload", func() bool { return status()["stratum"] == 6.0 })
	if s := status(); s["epoch"] != 1.0 {
		t.Errorf("a reload began epoch %v", s["epoch"])
	}
	if err := p.Stop(patience); err != nil {
		t.Errorf("after SIGTERM: %v\n%s", err, p.Output())
	}
	hear("STOPPING=1")
	if _, err := os.Stat(filepath.Join(dir, "control")); err == nil {
		t.Error("the socket was left behind")
	}
}

func TestOtherDaemonsAreSeen(t *testing.T) {
	proc := t.TempDir()
	for pid, name := range map[string]string{"1": "systemd", "42": "chronyd", "self": "chronyd"} {
		if err := os.MkdirAll(filepath.Join(proc, pid), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(proc, pid, "comm"), []byte(name+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := otherDaemons(proc); len(got) != 1 || got[0] != "chronyd (process 42)" {
		t.Errorf("seen: %v", got)
	}
}

// Without a file the public servers are followed; with one at the usual place, that.
func TestRunWithoutAFile(t *testing.T) {
	a := testApp(t.TempDir(), &buffer{}, &buffer{})
	if _, err := os.Stat(a.paths().Config); err == nil {
		t.Skipf("this host has a %s", a.paths().Config)
	}
	c, origin, err := a.loadConfig("")
	if err != nil || origin != "" || len(c.Source) < 5 || c.Server != nil {
		t.Errorf("%+v, %q, %v", c, origin, err)
	}
	a.controlPath, a.pagePath = "/a/control", "/a/page"
	if c, _, err := a.loadConfig(""); err != nil || c.Control.Path != "/a/control" || c.Page.Path != "/a/page" {
		t.Errorf("the flags are not obeyed: %+v, %v", c, err)
	}
}
