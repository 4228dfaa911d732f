package daemon

import (
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/clockd/clockd/internal/clockbound"
	"github.com/clockd/clockd/internal/config"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/virtualclock"
)

// A daemon writes for ClockBound's readers, and what they compute has a point in common with what the page says at the same time; a
// reload takes it back.
func TestClockBoundsReadersAreServed(t *testing.T) {
	testkit.NoLeaks(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "clockbound", "shm0")
	local := "[local]\nstratum = 3\nbound = \"2ms\"\n"
	r := launch(t, Options{Config: parse(t, dir, local+"[clockbound]\nrealtime_slew = \"100ppm\"\npath = \""+path+"\"\n"), Counter: skewed(t, 0)})
	r.reach(virtualclock.Synchronised)
	page, err := virtualclock.OpenPage(r.config.Page.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = page.Close() }()
	clock := func(c int32) int64 {
		var x unix.Timespec
		if err := unix.ClockGettime(c, &x); err != nil {
			t.Fatal(err)
		}
		return x.Nano()
	}
	testkit.WaitFor(t, patience20, "a segment that is trusted", func() bool {
		s, err := clockbound.Read(path)
		return err == nil && s.Status == clockbound.Synchronised
	})
	for range 100 {
		before := page.Now()
		s, err := clockbound.Read(path)
		if err != nil {
			t.Fatal(err)
		}
		real := clock(unix.CLOCK_REALTIME)
		early, late, status, err := s.At(real, clock(unix.CLOCK_MONOTONIC))
		after := page.Now()
		if err != nil || !status.Trusted() || !before.Sound() || !after.Sound() {
			continue // a machine too busy to publish in time
		}
		if virtualclock.Unix(late, 0).Before(before.Earliest) || virtualclock.Unix(early, 0).After(after.Latest) {
			t.Fatalf("ClockBound says %d to %d, the page %v before and %v after", early, late, before, after)
		}
		if s.Bound < 2e6 {
			t.Fatalf("a bound of %d ns, but the reference vouches for 2 ms only", s.Bound)
		}
	}
	r.reloadWith(func() (*config.Config, error) { return parse(t, dir, local), nil })
	if s, err := clockbound.Read(path); err != nil || s.Status != clockbound.Unknown {
		t.Errorf("after the section was taken out: %+v, %v", s, err)
	}
}
