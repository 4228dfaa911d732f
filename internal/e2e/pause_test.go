package e2e

import (
	"errors"
	"fmt"
	"os/exec"
	"syscall"
	"testing"

	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// A daemon that stands still: its readers see the interval widen, then holdover, then nothing; every claim on the way is true. When it goes
// on, the clock is good again without a new epoch, because the counter was not disturbed.
func TestStoppedDaemonIsNotBelieved(t *testing.T) {
	t.Parallel()
	server := chronyServer(t, 1)
	h := newHost(t)
	h.configure(fastSource(server.Address()), "[clock]\nheartbeat = \"100ms\"\nlifetime = \"2s\"\n")
	h.run()
	epoch := h.reach(virtualclock.Synchronised).Epoch
	h.watch(truth{}) // looks at every claim until the test ends
	reader := h.open()
	before := reader.Bound()
	if err := h.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	seen := map[virtualclock.Status]reason.Code{}
	testkit.WaitFor(t, patience, "readers to be told nothing", func() bool {
		i, why := reader.NowReason()
		seen[i.Status] = why
		return !i.Sound()
	})
	if seen[virtualclock.Holdover] != reason.Stale || seen[virtualclock.Unsynchronised] != reason.PageVoid {
		t.Errorf("readers of a daemon that was stopped saw %v", seen)
	}
	if err := h.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if s := h.reach(virtualclock.Synchronised); s.Epoch != epoch {
		t.Errorf("epoch %d, then %d", epoch, s.Epoch)
	}
	testkit.WaitFor(t, patience, "the bound to be narrow again", func() bool { return reader.Bound() < 20*before })
}

// A daemon in a time namespace of its own, where CLOCK_MONOTONIC and CLOCK_BOOTTIME are shifted against one another, as if the host had
// slept: that is no suspend. Readers outside, who have other clocks, read the same time from a counter that is no clock of the kernel's, and
// are refused one that is.
func TestTimeNamespaceIsNoDisruption(t *testing.T) {
	t.Parallel()
	testkit.RequireRoot(t)
	unshare := testkit.RequireTool(t, "unshare")
	wrap := []string{unshare, "--time", "--monotonic", "1000", "--boottime", "50000", "--fork", "--kill-child=SIGTERM"}
	if out, err := exec.Command(unshare, "--time", "--boottime", "1000", "true").CombinedOutput(); err != nil {
		t.Skipf("this kernel has no time namespaces: %v: %s", err, out)
	}
	server := chronyServer(t, 1)
	for _, counter := range []string{"auto", "monotonic_raw"} {
		h := newHost(t)
		h.wrap = wrap
		h.configure(fastSource(server.Address()), fmt.Sprintf("[counter]\nsource = %q\n", counter))
		h.run()
		s := h.reach(virtualclock.Synchronised)
		reader, err := virtualclock.OpenPage(h.page)
		if s.Counter.Spec[:3] == "mon" {
			if !errors.Is(err, reason.PageCounter) {
				t.Errorf("%s: a reader in another time namespace: %v", s.Counter.Spec, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		_ = reader.Close()
		measure(t, truth{}, 200, 0, h.open())
		if s := h.status(); s.Steps != 1 || s.Reports["host_suspended"] != 0 {
			t.Errorf("%d steps, %v", s.Steps, s.Reports)
		}
	}
}
