package virtualclock

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
)

// vmclockFile writes a file like the device of a hypervisor, with that disruption marker.
func vmclockFile(t testing.TB, marker uint64) string {
	t.Helper()
	b := make([]byte, os.Getpagesize())
	copy(b, "VCLK")
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)))
	b[8] = 1
	binary.LittleEndian.PutUint64(b[16:], marker)
	path := filepath.Join(t.TempDir(), "vmclock")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// migrate changes the marker in place, as a hypervisor does.
func migrate(t testing.TB, path string, marker uint64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if _, err := f.WriteAt(binary.LittleEndian.AppendUint64(nil, marker), 16); err != nil {
		t.Fatal(err)
	}
}

// The very first reading after a migration is void, although the daemon has not noticed anything; once it has, the clock is good again.
func TestReaderNoticesAMigrationWithinOneReading(t *testing.T) {
	counter := hw.NewManual(hw.Frequency{Hertz: 1e9})
	counter.Set(1000)
	path, device := filepath.Join(t.TempDir(), "page"), vmclockFile(t, 7)
	w, err := CreatePage(path, counter, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	tick := PeriodOf(1e9)
	k := Coefficients{
		Steady: Line{C0: 1000, T0: Unix(5000, 0), Period: tick}, Slew: Line{C0: 1000, T0: Unix(5000, 0), Period: tick}, SlewEnd: 1000,
		At: 1000, Earliest: Unix(4000, 0), Latest: Unix(6000, 0), Slow: tick, Fast: tick, StaleAfter: 1 << 40, VoidAfter: 1 << 41,
		Difference: tick, Epoch: 1, Status: Synchronised,
	}
	publish := func() {
		t.Helper()
		if err := w.Publish(&k); err != nil {
			t.Fatal(err)
		}
	}
	r, err := openPageBeside(path, func(string) (hw.Counter, error) { return counter, nil }, device)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	read := func(want Status, wantReason reason.Code) {
		t.Helper()
		i, why := r.NowReason()
		slow, slowWhy := r.ReadReason()
		if i.Status != want || why != wantReason || slow.Interval != i || slowWhy != why {
			t.Errorf("read %v, %v and %v, %v, want %v, %v", i.Status, why, slow.Interval.Status, slowWhy, want, wantReason)
		}
		if _, ok := r.Coefficients(); (ok == reason.OK) != want.Sound() {
			t.Errorf("the coefficients of a clock that is %v: %v", want, ok)
		}
	}
	publish() // by a daemon that does not watch the device: readers need not either
	read(Synchronised, reason.OK)
	migrate(t, device, 8)
	read(Synchronised, reason.OK)
	w.Mark(8)
	publish()
	read(Synchronised, reason.OK)
	migrate(t, device, 9)
	read(Disrupted, reason.HostPaused)
	publish() // a daemon that has not noticed yet cannot make it good
	read(Disrupted, reason.HostPaused)
	w.Mark(9)
	publish()
	read(Synchronised, reason.OK)
	if n := testing.AllocsPerRun(100, func() { r.Now() }); n != 0 {
		t.Errorf("a reading allocates %g times", n)
	}
}
