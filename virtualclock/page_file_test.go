//go:build linux

package virtualclock

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
)

// manualCounters opens the one Manual counter of a test, as hw.Open opens a real one.
type manualCounters struct {
	*hw.Manual
	opened int
}

func newManual() *manualCounters {
	m := &manualCounters{Manual: hw.NewManual(hw.Frequency{Hertz: 1e9})}
	m.Set(1e9)
	return m
}

func (m *manualCounters) open(spec string) (hw.Counter, error) {
	m.opened++
	if spec != m.Spec() {
		return nil, errors.New("there is no such counter here")
	}
	return m.Manual, nil
}

// otherCounter has a spec of its own.
type otherCounter struct{ hw.Counter }

func (otherCounter) Spec() string { return "other" }

func mustCreate(t *testing.T, path string, c hw.Counter, instance uint64) *PageWriter {
	t.Helper()
	w, err := CreatePage(path, c, instance)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w
}

func mustOpen(t *testing.T, path string, open func(string) (hw.Counter, error)) *Reader {
	t.Helper()
	r, err := openPage(path, open)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// die leaves a writer as kill -9 does: the lock is gone, the page is as it was.
func (w *PageWriter) die() {
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = unix.Munmap(w.mapped)
	w.mapped, w.page.words = nil, nil
	_ = w.file.Close()
}

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	var s unix.Stat_t
	if err := unix.Stat(path, &s); err != nil {
		t.Fatal(err)
	}
	return s.Ino
}

func expectReason(t *testing.T, r *Reader, status Status, why reason.Code) {
	t.Helper()
	if i, got := r.NowReason(); i.Status != status || got != why {
		t.Errorf("status %v, reason %v; want %v, %v", i.Status, got, status, why)
	}
	if _, got := r.ReadReason(); got != why {
		t.Errorf("Read: reason %v, want %v", got, why)
	}
}

func TestPageFromWriterToReader(t *testing.T) {
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	m, path := newManual(), filepath.Join(t.TempDir(), "page")
	w := mustCreate(t, path, m, 42)
	info, err := os.Stat(path)
	if err != nil || info.Size() != pageSize || info.Mode() != 0o644 {
		t.Fatalf("%v, %v", info, err)
	}
	if w.LastEpoch() != 0 || w.TookOver() || w.Path() != path {
		t.Errorf("a new page: epoch %d, taken over %t, path %s", w.LastEpoch(), w.TookOver(), w.Path())
	}
	r := mustOpen(t, path, m.open)
	expectReason(t, r, Unsynchronised, reason.NeverSynchronised)
	k := goodCoefficients()
	if err := w.Publish(k); err != nil {
		t.Fatal(err)
	}
	m.Set(1.5e9)
	want := Reading{k.Time(1.5e9), k.Interval(1.5e9), 1.5e9}
	if got := r.Read(); got != want || r.Now() != want.Interval || r.Bound() != want.Bound() {
		t.Errorf("read %+v, want %+v", got, want)
	}
	if got, why := r.Coefficients(); why != reason.OK || got != *k {
		t.Errorf("coefficients %+v, %v", got, why)
	}
	if i, ok := r.Instance(); !ok || i != 42 {
		t.Errorf("instance %d, %t", i, ok)
	}
	if e, ok := r.Duration(r.Counter().Read(), r.Counter().Read()+1e9); !ok || math.Abs(e.Best-1) > 1e-12 || e.Shortest >= 1 || e.Longest <= 1 {
		t.Errorf("a second is %+v, %t", e, ok)
	}
	if !r.After(Unix(5e18, 0)) || r.Before(Unix(5e18, 0)) || !r.Before(Unix(6e18, 0)) {
		t.Error("After or Before is wrong")
	}
	if least, most, ok := r.Since(want.Interval.Earliest); !ok || least != 0 || most < time.Duration(want.Interval.Width()*1e9) {
		t.Errorf("since: %v to %v, %t", least, most, ok)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	expectReason(t, r, Unsynchronised, reason.PageVoid)
	if err := w.Publish(k); !errors.Is(err, ErrPageClosed) {
		t.Errorf("publishing after Close: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
	names, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
	hidden, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*"))
	if len(names)+len(hidden) != 1 {
		t.Errorf("left behind: %q %q", names, hidden)
	}
}

func TestOnlyOneWriter(t *testing.T) {
	m, path := newManual(), filepath.Join(t.TempDir(), "page")
	w := mustCreate(t, path, m, 1)
	for _, c := range []hw.Counter{m, otherCounter{m}} {
		if _, err := CreatePage(path, c, 2); !errors.Is(err, ErrPageBusy) {
			t.Errorf("a second writer: %v", err)
		}
	}
	if err := w.Publish(goodCoefficients()); err != nil {
		t.Fatal(err)
	}
	expectReason(t, mustOpen(t, path, m.open), Synchronised, reason.OK)
	// Many that begin at once: exactly one is let in, whether there is a file or not.
	for round := range 30 {
		path := filepath.Join(t.TempDir(), "page")
		if round%2 == 0 {
			mustCreate(t, path, otherCounter{m}, 3).die()
		}
		var wg sync.WaitGroup
		var mu sync.Mutex
		var writers []*PageWriter
		for i := range 8 {
			wg.Go(func() {
				w, err := CreatePage(path, m, uint64(i))
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					writers = append(writers, w)
				} else if !errors.Is(err, ErrPageBusy) {
					t.Errorf("round %d: %v", round, err)
				}
			})
		}
		wg.Wait()
		if len(writers) != 1 {
			t.Fatalf("round %d: %d writers", round, len(writers))
		}
		if err := writers[0].Publish(goodCoefficients()); err != nil {
			t.Fatal(err)
		}
		m.Set(1e9)
		expectReason(t, mustOpen(t, path, m.open), Synchronised, reason.OK)
		_ = writers[0].Close()
	}
}

// TestWriterNoticesThatTheFileMoved: between opening the file and getting its lock another writer may have put a new one there.
func TestWriterNoticesThatTheFileMoved(t *testing.T) {
	m, path := newManual(), filepath.Join(t.TempDir(), "page")
	mustCreate(t, path, otherCounter{m}, 1).die()
	old, info, err := openRegular(path, os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	winner := mustCreate(t, path, m, 2) // replaces it, and lets the old file's lock go
	loser := &PageWriter{path: path, page: publisher{counter: m}}
	if taken, err := loser.replace(&header{kind: kindOther, spec: m.Spec()}, old, info); taken || !errors.Is(err, errPageMoved) {
		t.Errorf("taken %t, %v", taken, err)
	}
	if err := winner.Publish(goodCoefficients()); err != nil {
		t.Fatal(err)
	}
	expectReason(t, mustOpen(t, path, m.open), Synchronised, reason.OK)
}

func TestDeadWritersPageIsTakenOverInPlace(t *testing.T) {
	for _, torn := range []bool{false, true} {
		m, path := newManual(), filepath.Join(t.TempDir(), "page")
		first := mustCreate(t, path, m, 1)
		k := goodCoefficients()
		k.Epoch = 9
		if err := first.Publish(k); err != nil {
			t.Fatal(err)
		}
		r := mustOpen(t, path, m.open)
		if torn {
			first.page.words.store(wordSequence, first.page.sequence+1)
			expectReason(t, r, Unsynchronised, reason.PageTorn)
		}
		first.die()
		before := inode(t, path)
		second := mustCreate(t, path, m, 2)
		if inode(t, path) != before || !second.TookOver() || second.LastEpoch() != 9 {
			t.Fatalf("torn %t: taken over %t, epoch %d", torn, second.TookOver(), second.LastEpoch())
		}
		if torn {
			expectReason(t, r, Unsynchronised, reason.NeverSynchronised)
			if i := r.Now(); i.Epoch != 9 {
				t.Errorf("the epoch fell to %d", i.Epoch)
			}
		} else {
			expectReason(t, r, Synchronised, reason.OK) // what the dead one said is good until it expires
		}
		c := NewClock(1<<48, 500e-6)
		c.SetEpoch(second.LastEpoch())
		c.Step(m.Read(), Unix(7e18, 0), 0)
		c.SetBounds(m.Read(), Unix(7e18, 0), Unix(7e18, 5), 1<<48, 1<<48)
		c.SetStatus(Synchronised, m.Read()+5, m.Read()+5)
		if err := second.Publish(c.Coefficients()); err != nil {
			t.Fatal(err)
		}
		if i := r.Now(); i != (Interval{Unix(7e18, 0), Unix(7e18, 5), 10, Standing{Status: Synchronised}}) {
			t.Errorf("torn %t: the reader of the first sees %+v", torn, i)
		}
		if n, _ := r.Instance(); n != 2 || m.opened != 1 {
			t.Errorf("instance %d, counter opened %d times", n, m.opened)
		}
	}
}

func TestPageOfAnotherCounterIsReplaced(t *testing.T) {
	m, path := newManual(), filepath.Join(t.TempDir(), "page")
	first := mustCreate(t, path, otherCounter{m}, 1)
	k := goodCoefficients()
	k.Epoch = 4
	if err := first.Publish(k); err != nil {
		t.Fatal(err)
	}
	openAny := func(spec string) (hw.Counter, error) {
		if spec == "other" {
			return otherCounter{m}, nil
		}
		return m.open(spec)
	}
	follows, stays := mustOpen(t, path, openAny), mustOpen(t, path, openAny)
	stays.path += ".moved" // this one never finds the new file
	expectReason(t, follows, Synchronised, reason.OK)
	first.die()
	before := inode(t, path)
	second := mustCreate(t, path, m, 2)
	if inode(t, path) == before || second.TookOver() || second.LastEpoch() != 4 {
		t.Errorf("taken over %t, epoch %d", second.TookOver(), second.LastEpoch())
	}
	k.Epoch = 5
	if err := second.Publish(k); err != nil {
		t.Fatal(err)
	}
	expectReason(t, stays, Unsynchronised, reason.PageRetired)
	if i := follows.Now(); i.Status != Synchronised || i.Epoch != 5 {
		t.Errorf("the reader did not find the new page: %+v", i)
	}
	if err := stays.Reopen(); !errors.Is(err, reason.PageMissing) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("reopening what is not there: %v", err)
	}
	stays.path = path
	if err := stays.Reopen(); err != nil {
		t.Fatal(err)
	}
	expectReason(t, stays, Synchronised, reason.OK)
}

// TestReaderLooksForANewPageNowAndThen: the path is looked at on the first void reading and then once in 100 ms of the counter.
func TestReaderLooksForANewPageNowAndThen(t *testing.T) {
	m, path := newManual(), filepath.Join(t.TempDir(), "page")
	first := mustCreate(t, path, m, 1)
	r := mustOpen(t, path, m.open)
	expectReason(t, r, Unsynchronised, reason.NeverSynchronised) // looks
	first.die()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	second := mustCreate(t, path, m, 2)
	if err := second.Publish(goodCoefficients()); err != nil {
		t.Fatal(err)
	}
	m.Set(1e9 + 99e6)
	expectReason(t, r, Unsynchronised, reason.NeverSynchronised)
	m.Set(1e9 + 101e6)
	expectReason(t, r, Synchronised, reason.OK)
}

func TestOpenPageNamesWhatIsWrong(t *testing.T) {
	m := newManual()
	good := filepath.Join(t.TempDir(), "good")
	mustCreate(t, good, m, 1).die()
	bytesOfGood, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	spoilt := func(spoil func(b []byte) []byte) func(path string) error {
		return func(path string) error { return os.WriteFile(path, spoil(bytes.Clone(bytesOfGood)), 0o600) }
	}
	for name, c := range map[string]struct {
		make func(path string) error
		want reason.Code
	}{
		"missing":      {func(string) error { return nil }, reason.PageMissing},
		"magic":        {spoilt(func(b []byte) []byte { b[0] = 'X'; return b }), reason.PageMagic},
		"version":      {spoilt(func(b []byte) []byte { b[8]++; return b }), reason.PageVersion},
		"stated size":  {spoilt(func(b []byte) []byte { b[13]++; return b }), reason.PageSize},
		"short":        {spoilt(func(b []byte) []byte { return b[:100] }), reason.PageSize},
		"long":         {spoilt(func(b []byte) []byte { return append(b, 0) }), reason.PageSize},
		"empty":        {spoilt(func([]byte) []byte { return nil }), reason.PageSize},
		"spec length":  {spoilt(func(b []byte) []byte { b[8*wordSpecLength+7] = 1; return b }), reason.PageSize},
		"counter":      {spoilt(func(b []byte) []byte { b[8*wordSpec]++; return b }), reason.PageCounter},
		"earlier boot": {spoilt(func(b []byte) []byte { b[8*wordBoot]++; return b }), reason.PageVoid},
		"directory":    {func(path string) error { return os.Mkdir(path, 0o700) }, reason.PageMagic},
		"pipe":         {func(path string) error { return unix.Mkfifo(path, 0o600) }, reason.PageMagic},
		"text":         {func(path string) error { return os.WriteFile(path, bytes.Repeat([]byte("x"), pageSize), 0o600) }, reason.PageMagic},
		"dangling":     {func(path string) error { return os.Symlink("nowhere", path) }, reason.PageMissing},
	} {
		path := filepath.Join(t.TempDir(), "page")
		if err := c.make(path); err != nil {
			t.Fatal(err)
		}
		_, err := openPage(path, m.open)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if r, err := openPage(good, m.open); err != nil {
		t.Error(err)
	} else {
		_ = r.Close()
	}
}

func TestCreatePageLeavesForeignFilesAlone(t *testing.T) {
	m := newManual()
	dir := t.TempDir()
	for name, content := range map[string]string{"text": "a letter to my mother", "zeros": string(make([]byte, pageSize)), "short": "CLOCK"} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := CreatePage(path, m, 1); !errors.Is(err, reason.PageMagic) {
			t.Errorf("%s: %v", name, err)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != content {
			t.Errorf("%s: the file now holds %q, %v", name, b, err)
		}
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink("text", link); err != nil {
		t.Fatal(err)
	}
	if _, err := CreatePage(link, m, 1); err == nil || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("link: %v", err)
	}
	if _, err := CreatePage(dir, m, 1); err == nil {
		t.Error("a directory became a page")
	}
	if _, err := CreatePage(filepath.Join(dir, "no", "page"), m, 1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	long := otherSpec{m, strings.Repeat("x", specBytes+1)}
	if _, err := CreatePage(filepath.Join(dir, "page"), long, 1); err == nil {
		t.Error("a spec that is too long was taken")
	}
	names, _ := os.ReadDir(dir)
	if len(names) != 4 {
		t.Errorf("left behind: %v", names)
	}
}

type otherSpec struct {
	hw.Counter
	spec string
}

func (o otherSpec) Spec() string { return o.spec }

// TestPageLeftovers: what may lie at the path and may be replaced.
func TestPageLeftovers(t *testing.T) {
	m := newManual()
	good := filepath.Join(t.TempDir(), "good")
	w := mustCreate(t, good, m, 1)
	k := goodCoefficients()
	k.Epoch = 6
	if err := w.Publish(k); err != nil {
		t.Fatal(err)
	}
	w.die()
	b, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		spoil func(b []byte) []byte
		epoch Epoch
	}{
		"empty":         {func([]byte) []byte { return nil }, 0},
		"other version": {func(b []byte) []byte { b[8] = 2; return b }, 0},
		"short":         {func(b []byte) []byte { return b[:512] }, 0},
		"earlier boot":  {func(b []byte) []byte { b[8*wordBoot]++; return b }, 6},
		"retired":       {func(b []byte) []byte { copy(b[8*wordSequence:], bytes.Repeat([]byte{255}, 8)); return b }, 6},
	} {
		path := filepath.Join(t.TempDir(), "page")
		if err := os.WriteFile(path, c.spoil(bytes.Clone(b)), 0o600); err != nil {
			t.Fatal(err)
		}
		old, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		w := mustCreate(t, path, m, 1)
		if w.TookOver() || w.LastEpoch() != c.epoch {
			t.Errorf("%s: taken over %t, last epoch %d", name, w.TookOver(), w.LastEpoch())
		}
		expectReason(t, mustOpen(t, path, m.open), Unsynchronised, reason.NeverSynchronised)
		var sequence [8]byte
		if n, err := old.ReadAt(sequence[:], 8*wordSequence); n == 8 && len(c.spoil(bytes.Clone(b))) == pageSize &&
			sequence != [8]byte{255, 255, 255, 255, 255, 255, 255, 255} {
			t.Errorf("%s: the old page is not marked as retired: %x, %v", name, sequence, err)
		}
		_ = old.Close()
	}
}

func TestReaderClosesUnderReaders(t *testing.T) {
	m, path := newManual(), filepath.Join(t.TempDir(), "page")
	w := mustCreate(t, path, m, 1)
	if err := w.Publish(goodCoefficients()); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		r := mustOpen(t, path, m.open)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for {
					i, why := r.NowReason()
					if i.Status == Synchronised && i.Latest.Sub(i.Earliest) >= 2000 {
						continue
					}
					if why != reason.PageMissing {
						t.Errorf("%+v, %v", i, why)
					}
					return
				}
			})
		}
		runtime.Gosched()
		_ = r.Reopen()
		_ = r.Close()
		runtime.GC()
		wg.Wait()
		if err := r.Reopen(); !errors.Is(err, reason.PageMissing) {
			t.Errorf("a closed reader was opened again: %v", err)
		}
		if r.Counter() != nil || r.Bound() < math.Inf(1) || r.Read().Interval.Sound() {
			t.Error("a closed reader reads")
		}
		if _, ok := r.Duration(1, 2); ok {
			t.Error("a closed reader measures")
		}
		if _, ok := r.Instance(); ok {
			t.Error("a closed reader knows its instance")
		}
	}
}

// mappings returns the kernel's lines about mappings of a file.
func mappings(t *testing.T, path string) []string {
	t.Helper()
	b, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, path) {
			lines = append(lines, line)
		}
	}
	return lines
}

func TestReaderMapsReadOnlyAndLetsGo(t *testing.T) {
	m, path := newManual(), filepath.Join(t.TempDir(), "page")
	mustCreate(t, path, m, 1).die()
	if err := os.Chmod(path, 0o444); err != nil {
		t.Fatal(err)
	}
	r := mustOpen(t, path, m.open)
	if lines := mappings(t, path); len(lines) != 1 || !strings.Contains(lines[0], " r--s ") {
		t.Fatalf("mapped as %q", lines)
	}
	for range 10 {
		if err := r.Reopen(); err != nil {
			t.Fatal(err)
		}
	}
	_ = r.Close()
	for range 200 {
		runtime.GC()
		if len(mappings(t, path)) == 0 {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Errorf("still mapped: %q", mappings(t, path))
}

func TestCommitWaitOnTheRealCounter(t *testing.T) {
	r, w, counter := benchPage(t)
	for range 30 {
		at := r.Now().Latest
		if err := r.CommitWait(context.Background(), at); err != nil {
			t.Fatal(err)
		}
		if !r.After(at) {
			t.Fatalf("%v has not passed: %+v", at, r.Now())
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.CommitWait(ctx, r.Now().Latest.Add(time.Hour)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	ctx, cancel = context.WithTimeout(context.Background(), 5*time.Millisecond)
	defer cancel()
	if err := CommitWait(ctx, r, r.Now().Latest.Add(time.Hour)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("timed out: %v", err)
	}
	k, _ := r.Coefficients()
	k.VoidAfter = counter.Read() + hw.Ticks(counter.Frequency().Hertz*0.05)
	k.StaleAfter = k.VoidAfter
	if err := w.Publish(&k); err != nil {
		t.Fatal(err)
	}
	if err := r.CommitWait(context.Background(), r.Now().Latest.Add(100*time.Millisecond)); !errors.Is(err, reason.PageVoid) {
		t.Errorf("the daemon dies while it is waited for: %v", err)
	}
	_ = w.Close()
	if err := r.CommitWait(context.Background(), MinTime()); !errors.Is(err, reason.PageVoid) {
		t.Errorf("a dead clock: %v", err)
	}
}

// A writer in a mount namespace of its own is told what its readers see as the boot.
func TestPageOfAnotherViewOfTheBoot(t *testing.T) {
	counter := hw.NewManual(hw.Frequency{Hertz: 1e9})
	path := filepath.Join(t.TempDir(), "page")
	own, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	open := func(string) (hw.Counter, error) { return counter, nil }
	for _, c := range []struct {
		boot string
		good bool
	}{{"", true}, {strings.ReplaceAll(strings.TrimSpace(string(own)), "-", ""), true}, {"00112233-4455-6677-8899-aabbccddeeff", false}} {
		w, err := CreatePageOfBoot(path, counter, 1, c.boot)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := openPage(path, open); (err == nil) != c.good {
			t.Errorf("boot %q: %v", c.boot, err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := CreatePageOfBoot(path, counter, 1, "nonsense"); err == nil {
		t.Error("nonsense is taken for a boot's identity")
	}
}
