package daemon

import (
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// A host whose battery is flat begins in 1970, and one whose firmware was set by hand may begin in 2076: the wall clock is a hint and
// nothing more.
func TestColdStartWithAWallClockFiftyYearsWrong(t *testing.T) {
	testkit.NoLeaks(t)
	reference := launchReference(t, testkit.FreeUDPPort(t))
	for _, years := range []int{-50, 50} {
		wrong := virtualclock.FromTime(time.Now().AddDate(years, 0, 0))
		follower := launch(t, Options{Config: parse(t, t.TempDir(), followerDocument(reference.served[0].String(), "")), Counter: skewed(t, 20),
			Realtime: func(hw.Ticks) virtualclock.Time { return wrong }})
		follower.reach(virtualclock.Synchronised)
		if n := contained(t, reference, follower, 200); n > 0 {
			t.Errorf("%d years: the truth was outside of %d of 200 intervals", years, n)
		}
		follower.stop()
	}
}

// Whoever knows of a disruption says so: readers are told, a new epoch begins, nothing of before is used.
func TestResyncBeginsANewEpoch(t *testing.T) {
	testkit.NoLeaks(t)
	reference := launchReference(t, testkit.FreeUDPPort(t))
	follower := launch(t, Options{Config: parse(t, t.TempDir(), followerDocument(reference.served[0].String(), "")), Counter: skewed(t, 20)})
	follower.reach(virtualclock.Synchronised)
	before := follower.status()
	ask := func(why string) (control.Resync, error) {
		var r control.Resync
		err := control.Ask(context.Background(), follower.config.Control.Path,
			control.Request{Version: control.Version, Command: control.CommandResync, Reason: why}, &r)
		return r, err
	}
	if _, err := ask("full_moon"); err == nil || !strings.Contains(err.Error(), "host_suspended") {
		t.Errorf("a reason that is none: %v", err)
	}
	r, err := ask("host_paused")
	if err != nil || r.Epoch != before.Epoch || r.Reason != reason.HostPaused {
		t.Fatalf("%+v, %v", r, err)
	}
	testkit.WaitFor(t, patience20, "a new epoch", func() bool {
		s := follower.status()
		return s.Epoch > before.Epoch && s.Status == virtualclock.Synchronised
	})
	if n := follower.status().Reports["host_paused"]; n == 0 {
		t.Errorf("host_paused was reported %d times", n)
	}
	if n := contained(t, reference, follower, 200); n > 0 {
		t.Errorf("the truth was outside of %d of 200 intervals", n)
	}
}

// The hypervisor's sign: a reader refuses at once, the daemon within its next look, and then all is measured anew.
func TestMigrationIsNoticed(t *testing.T) {
	testkit.NoLeaks(t)
	device := filepath.Join(t.TempDir(), "vmclock")
	page := make([]byte, os.Getpagesize())
	copy(page, "VCLK")
	binary.LittleEndian.PutUint32(page[4:], uint32(len(page)))
	page[8], page[16] = 1, 7
	if err := os.WriteFile(device, page, 0o600); err != nil {
		t.Fatal(err)
	}
	reference := launchReference(t, testkit.FreeUDPPort(t))
	follower := launch(t, Options{Config: parse(t, t.TempDir(), followerDocument(reference.served[0].String(), "")), Counter: skewed(t, 20), VMClock: device})
	follower.reach(virtualclock.Synchronised)
	before := follower.status()
	f, err := os.OpenFile(device, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if _, err := f.WriteAt([]byte{8}, 16); err != nil {
		t.Fatal(err)
	}
	testkit.WaitFor(t, patience20, "a new epoch", func() bool {
		s := follower.status()
		return s.Epoch > before.Epoch && s.Status == virtualclock.Synchronised
	})
	if n := follower.status().Reports["host_paused"]; n == 0 {
		t.Errorf("host_paused was reported %d times", n)
	}
}
