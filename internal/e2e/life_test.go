package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// reload sends SIGHUP and waits until the daemon has taken it, well or not.
func (h *host) reload() control.Status {
	h.t.Helper()
	before := h.status().Config
	if err := h.Signal(syscall.SIGHUP); err != nil {
		h.t.Fatal(err)
	}
	var s control.Status
	h.await("the reload", func() bool {
		s = h.status()
		return s.Config.Reloads > before.Reloads || s.Config.Error != before.Error
	})
	return s
}

// SIGHUP reloads without losing the clock: sources come and go, the server starts and stops, and the clock is synchronised at every
// single read, in one epoch. A configuration that is no good is refused and named.
func TestReloadKeepsTheClock(t *testing.T) {
	t.Parallel()
	one, two := chronyServer(t, 1), chronyServer(t, 1)
	h := newHost(t)
	simple := fastSource(one.Address())
	serve := freeAddress(t, 1)
	h.configure(simple)
	h.run()
	first := h.reach(virtualclock.Synchronised)
	watched := h.watch(truth{})
	kept := h.source().Samples

	h.configure(simple, fastSource(two.Address()), listening(serve))
	if s := h.reload(); s.Config.Reloads != 1 || s.Config.Error != "" || s.Sources.Configured != 2 || s.Server == nil || s.Server.Listening[0] != serve {
		t.Errorf("after a good reload: %+v", s)
	}
	h.await("both sources to be used", func() bool { return h.status().Sources.Used == 2 })
	if x := h.source(one.Address()); x.Samples < kept {
		t.Errorf("the source that stayed has %d samples, it had %d", x.Samples, kept)
	}

	for document, want := range map[string]string{
		simple + "[clock]\nmax_slew = 5\n": h.config + ":7:1: clock.max_slew", simple + "[clokc]\n": h.config + ":6:2: clokc",
		"": "could never know the time",
	} {
		if err := os.WriteFile(h.config, []byte(document), 0o600); err != nil {
			t.Fatal(err)
		}
		s := h.reload()
		if s.Config.Reloads != 1 || !strings.Contains(s.Config.Error, want) || len(s.Trouble) != 1 || s.Sources.Configured != 2 {
			t.Errorf("after a bad reload: %+v, want an error with %q", s, want)
		}
		if r := h.clockd("status"); !strings.Contains(r.out, want) {
			t.Errorf("clockd status does not name the mistake:\n%s", r.out)
		}
	}

	// The first source goes, so the clock goes on by the second.
	h.configure(fastSource(two.Address(), `timeout = "300ms"`))
	if s := h.reload(); s.Config.Error != "" || s.Sources.Configured != 1 || s.Server != nil || len(s.Trouble) != 0 {
		t.Errorf("after another good reload: %+v", s)
	}
	before := h.source().Received
	h.await("more answers", func() bool { return h.source().Received > before+5 })
	if s := h.status(); s.Epoch != first.Epoch || s.Steps != first.Steps || s.Status != virtualclock.Synchronised {
		t.Errorf("in the end: %+v", s)
	}
	if seen := watched.seen(); seen.lost() > 0 {
		t.Errorf("the clock was lost meanwhile: %s", &seen)
	}
}

// SIGTERM ends the daemon in order: exit code 0, the page void at once, no socket left. The rate is remembered, and the next daemon
// has it from its first synchronisation on.
func TestRateIsRemembered(t *testing.T) {
	t.Parallel()
	server := chronyServer(t, 1)
	h := newHost(t)
	const ppm = 40.0
	h.configure(fastSource(server.Address()), fmt.Sprintf("[counter]\nsource = \"skewed(auto,ppm=%g)\"\ndrift_bound = \"100ppm\"\n[clock]\nlifetime = \"1h\"\n", ppm))
	h.run()
	h.watch(truth{})
	var s control.Status
	h.await("the rate to be known", func() bool {
		s = h.status()
		return s.RatePPM != nil && s.RateStdPPM != nil && *s.RateStdPPM < 0.5 && s.Status == virtualclock.Synchronised
	})
	reader := h.open()
	s = h.status()
	h.terminate()
	// The counter's own calibration has an error, which is part of the rate.
	want := -ppm / (1 + ppm*1e-6)
	if math.Abs(*s.RatePPM-want) > 2+s.Counter.ErrorPPB*1e-3 {
		t.Errorf("the rate is %+.3f ± %.3f ppm, want %+.3f", *s.RatePPM, *s.RateStdPPM, want)
	}
	if i, why := reader.NowReason(); i.Sound() || why != reason.PageVoid {
		t.Errorf("after the daemon's end the page says %v, %v: it must be void at once, not after an hour", i.Status, why)
	}
	if _, err := os.Stat(h.control); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the control socket is still there: %v", err)
	}
	if r := h.clockd("status"); r.code != exitError || !strings.Contains(r.err, "no daemon answers") {
		t.Errorf("clockd status without a daemon: %+v", r)
	}
	if r := h.clockd("now"); r.code != exitOK || !strings.Contains(r.out, "time unknown") {
		t.Errorf("clockd now without a daemon: %+v", r)
	}
	var saved map[string]any
	b, err := os.ReadFile(h.state)
	if err != nil || json.Unmarshal(b, &saved) != nil || saved["rate"] == nil {
		t.Fatalf("the state file: %v, %s", err, b)
	}

	h.start()
	again := h.reach(virtualclock.Synchronised)
	t.Logf("the rate was %+.3f ± %.3f ppm; at the next start, after %.3f s, %+.3f ± %.3f", *s.RatePPM, *s.RateStdPPM, again.UptimeS, *again.RatePPM, *again.RateStdPPM)
	if again.Epoch <= s.Epoch {
		t.Errorf("epoch %d after %d", again.Epoch, s.Epoch)
	}
	// Without the memory the rate would be unknown to the drift bound at first.
	if math.Abs(*again.RatePPM-*s.RatePPM) > 5 || *again.RateStdPPM > 5 {
		t.Errorf("at once after the restart the rate is %+.3f ± %.3f ppm, it was %+.3f", *again.RatePPM, *again.RateStdPPM, *s.RatePPM)
	}
	if !strings.Contains(h.Output(), "remembered rate") {
		t.Error("the log does not speak of the remembered rate")
	}
}

// A state file that is broken, or somebody else's, does no harm: the daemon says so and begins without.
func TestBrokenStateIsNoObstacle(t *testing.T) {
	t.Parallel()
	server := chronyServer(t, 1)
	for name, text := range map[string]string{
		"empty": "", "garbage": "\x00\xff{{{", "other counter": `{"format":1,"counter":"sundial","hertz":1e9,"rate":0,"rate_std":1e-6}`,
		"later format": `{"format":99}`, "absurd rate": `{"format":1,"counter":"tsc","hertz":1,"rate":5,"rate_std":1e-6}`,
		"long": strings.Repeat("x", 1<<20),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			h.configure(fastSource(server.Address()))
			if err := os.WriteFile(h.state, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			h.run()
			h.watch(truth{})
			h.reach(virtualclock.Synchronised)
			if !strings.Contains(h.Output(), "without a remembered rate") {
				t.Error("the log does not say that the state was not used")
			}
			h.terminate()
			if b, err := os.ReadFile(h.state); err != nil || !json.Valid(b) {
				t.Errorf("the state was not written anew: %v, %.100q", err, b)
			}
		})
	}
}

// There is no network at the start: one server's name does not resolve, the other's port is closed. The daemon runs, says why it has
// no time, and synchronises when the server appears.
func TestStartsBeforeItsServer(t *testing.T) {
	t.Parallel()
	address := freeAddress(t, 31)
	h := newHost(t)
	// Only names under .invalid never resolve (RFC 6761).
	h.configure(fastSource(address), fastSource("no-such-server.invalid"))
	h.run()
	h.await("the reasons to be told", func() bool {
		a, b := h.source(address), h.source("no-such-server.invalid")
		return a.Reason == reason.SourceUnreachable && strings.Contains(a.Detail, "refused") && b.Reason == reason.SourceResolve && b.Detail != "" && b.Address == nil
	})
	s := h.status()
	if s.Status != virtualclock.Unsynchronised || s.Reason == reason.OK || s.TimeNS != nil || s.BoundS != nil || s.Epoch != 0 && s.Steps != 0 {
		t.Errorf("without a server: %+v", s)
	}
	if r := h.clockd("status"); r.code != exitOK || !strings.Contains(r.out, "unsynchronised  this clock is not set yet") && !strings.Contains(r.out, "unsynchronised  do not trust this clock") {
		t.Errorf("clockd status: %+v", r)
	}
	if r := h.clockd("wait", "--bound", "1ms", "--timeout", "200ms"); r.code != exitTimeout || !strings.Contains(r.err, s.Reason.Explain()) {
		t.Errorf("clockd wait: %+v", r)
	}
	chronyServerAt(t, address, 1)
	h.reach(virtualclock.Synchronised)
	h.watch(truth{})
	h.terminate()
}

// A name that does not resolve at the start resolves later. The names of this machine are not touched: the daemon runs in a mount
// namespace with its own hosts file.
func TestNameResolvesLater(t *testing.T) {
	t.Parallel()
	unshare := testkit.RequireTool(t, "unshare")
	testkit.RequireRoot(t)
	server := chronyServerAt(t, freeAddress(t, 32), 1)
	h := newHost(t)
	hosts, resolver := filepath.Join(h.dir, "hosts"), filepath.Join(h.dir, "resolv.conf")
	for path, text := range map[string]string{hosts: "127.0.0.1 localhost\n", resolver: "nameserver 127.0.0.33\noptions timeout:1 attempts:1\n"} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	script := fmt.Sprintf(`mount --bind %q /etc/hosts && mount --bind %q /etc/resolv.conf && exec "$@"`, hosts, resolver)
	h.wrap = []string{unshare, "--mount", "--propagation", "private", testkit.RequireTool(t, "sh"), "-c", script, "sh"}
	name := fmt.Sprintf("ntp.clockd.test:%d", server.AddrPort().Port())
	h.configure(fastSource(name))
	h.run()
	h.await("the failed look-up to be told", func() bool {
		x := h.source()
		return x.Reason == reason.SourceResolve && x.Detail != "" && x.Detail != "not resolved yet" && x.Address == nil
	})
	t.Logf("the resolver said: %s", h.source().Detail)
	// In place, since it is this very file that is mounted.
	if err := os.WriteFile(hosts, []byte("127.0.0.1 localhost\n127.0.0.32 ntp.clockd.test\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	h.reach(virtualclock.Synchronised)
	h.watch(truth{})
	if x := h.source(); x.Address == nil || *x.Address != server.Address() || x.Name != name {
		t.Errorf("the source: %+v", x)
	}
	h.terminate()
}
