package wal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/testkit"
)

type kept struct {
	at   Position
	kind byte
	data string
}

// reopen opens a log and returns what is in it.
func reopen(t testing.TB, dir string, o Options) (*Log, []kept) {
	t.Helper()
	l, all, err := tryOpen(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return l, all
}

func tryOpen(dir string, o Options) (*Log, []kept, error) {
	var all []kept
	l, err := Open(dir, o, func(p Position, r Record) error {
		all = append(all, kept{p, r.Kind, string(r.Data)})
		return nil
	})
	return l, all, err
}

func appendAll(t testing.TB, l *Log, data ...string) Position {
	t.Helper()
	var last Position
	for i, d := range data {
		p, err := l.Append(Record{Kind: byte(i), Data: []byte(d)})
		if err != nil {
			t.Fatal(err)
		}
		last = p
	}
	return last
}

func wait(t testing.TB, l *Log, p Position) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := l.Wait(ctx, p); err != nil {
		t.Fatal(err)
	}
}

func shut(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsAppendedIsReadAgain(t *testing.T) {
	testkit.NoLeaks(t)
	for _, mode := range []Mode{Fsync, OS} {
		t.Run(mode.String(), func(t *testing.T) {
			dir := t.TempDir()
			l, all := reopen(t, dir, Options{Mode: mode, SegmentSize: 200})
			if len(all) != 0 {
				t.Fatalf("a new log holds %v", all)
			}
			var want []kept
			for i := range 100 {
				data := strings.Repeat("x", i)
				p, err := l.Append(Record{Kind: byte(i), Data: []byte(data)})
				if err != nil || p != Position(i+1) {
					t.Fatalf("append %d: position %d, %v", i, p, err)
				}
				want = append(want, kept{p, byte(i), data})
				if i%10 == 0 {
					wait(t, l, p)
				}
			}
			wait(t, l, 100)
			shut(t, l)
			l, all = reopen(t, dir, Options{Mode: mode, SegmentSize: 200})
			if !slices.Equal(all, want) {
				t.Fatalf("read %d records, %v", len(all), all)
			}
			if r := l.Recovery(); r.Torn || r.Last != 100 || r.Records != 100 || r.Segments < 5 {
				t.Errorf("recovery %+v", r)
			}
			if p := appendAll(t, l, "more"); p != 101 {
				t.Errorf("the log goes on at %d", p)
			}
			shut(t, l)
			if _, err := l.Append(Record{}); !errors.Is(err, ErrClosed) {
				t.Errorf("a closed log takes records: %v", err)
			}
			if err := l.Wait(t.Context(), 102); !errors.Is(err, ErrClosed) {
				t.Errorf("a closed log lets one wait: %v", err)
			}
		})
	}
}

func TestMemoryModeKeepsOnlyWhatIsAlwaysKept(t *testing.T) {
	testkit.NoLeaks(t)
	fs := newMemFS()
	l, _ := reopen(t, "d", Options{Mode: Memory, FS: fs})
	var want []kept
	for i := range 50 {
		always := i%7 == 3
		p, err := l.Append(Record{Kind: 1, Data: fmt.Append(nil, i), Always: always})
		if err != nil {
			t.Fatal(err)
		}
		if always {
			want = append(want, kept{p, 1, fmt.Sprint(i)})
		}
	}
	wait(t, l, 50)
	fs.powerOff(rand.New(rand.NewPCG(1, 1)))
	shut(t, l)
	l, all := reopen(t, "d", Options{Mode: Memory, FS: fs})
	if !slices.Equal(all, want) {
		t.Errorf("read %v, want %v", all, want)
	}
	shut(t, l)
}

func TestPositionsOfTheCaller(t *testing.T) {
	fs := newMemFS()
	l, _ := reopen(t, "d", Options{FS: fs, SegmentSize: 200})
	var want []kept
	for p := Position(5); p < 500; p += 7 {
		last, err := l.AppendAt(p, Record{Kind: 1, Data: []byte("a")}, Record{Kind: 2, Data: []byte("b")})
		if err != nil || last != p+1 {
			t.Fatalf("at %d: %d, %v", p, last, err)
		}
		want = append(want, kept{p, 1, "a"}, kept{p + 1, 2, "b"})
		if p%3 == 0 {
			wait(t, l, last)
		}
	}
	if _, err := l.AppendAt(100, Record{}); err == nil {
		t.Error("a position was given twice")
	}
	shut(t, l)
	l, all := reopen(t, "d", Options{FS: fs})
	if !slices.Equal(all, want) {
		t.Errorf("read %v", all)
	}
	shut(t, l)
}

func TestOneProcessAtATime(t *testing.T) {
	dir := t.TempDir()
	l, _ := reopen(t, dir, Options{})
	if _, _, err := tryOpen(dir, Options{}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a log in use was opened: %v", err)
	}
	shut(t, l)
	l, _ = reopen(t, dir, Options{})
	shut(t, l)
}

func TestTruncate(t *testing.T) {
	dir := t.TempDir()
	o := Options{SegmentSize: 300}
	l, _ := reopen(t, dir, o)
	for i := range 40 {
		wait(t, l, appendAll(t, l, strings.Repeat("y", 40+i)))
	}
	before := l.Size()
	if err := l.Truncate(25); err != nil {
		t.Fatal(err)
	}
	if l.First() > 25 || l.First() < 15 || l.Size() >= before {
		t.Errorf("after truncation below 25 the log begins at %d with %d of %d bytes", l.First(), l.Size(), before)
	}
	first := l.First()
	if err := l.Truncate(1000); err != nil {
		t.Fatal(err)
	}
	appendAll(t, l, "last")
	shut(t, l)
	l, all := reopen(t, dir, o)
	if len(all) == 0 || all[len(all)-1].data != "last" || all[len(all)-1].at != 41 || all[0].at < first {
		t.Errorf("after truncation: %v", all)
	}
	shut(t, l)
}

// TestTruncateWhileAppending is for the race detector.
func TestTruncateWhileAppending(t *testing.T) {
	fs := newMemFS()
	l, _ := reopen(t, "d", Options{FS: fs, SegmentSize: 200})
	var all sync.WaitGroup
	for i := range 200 {
		p := appendAll(t, l, strings.Repeat("z", i))
		if i%10 == 0 {
			wait(t, l, p)
			all.Go(func() {
				if err := l.Truncate(p); err != nil {
					t.Error(err)
				}
			})
		}
	}
	all.Wait()
	shut(t, l)
	l, kept := reopen(t, "d", Options{FS: fs, SegmentSize: 200})
	if n := len(kept); n == 0 || kept[n-1].at != 200 || kept[0].at < 100 {
		t.Errorf("%d records are left", n)
	}
	shut(t, l)
}

// TestTornEnds cuts a log at every byte of its last frame: the end is removed, the rest is there, and the log goes on.
func TestTornEnds(t *testing.T) {
	fs := newMemFS()
	l, _ := reopen(t, "d", Options{FS: fs})
	wait(t, l, appendAll(t, l, "one"))
	whole := l.Size()
	wait(t, l, appendAll(t, l, "two, which is longer"))
	shut(t, l)
	name := fs.segments()[0]
	original := slices.Clone(fs.read(name))
	for cut := whole; cut < int64(len(original)); cut++ {
		for _, zeros := range []int{0, 3, 600} {
			fs.now[name].data = append(slices.Clone(original[:cut]), make([]byte, zeros)...)
			l, all := reopen(t, "d", Options{FS: fs})
			r := l.Recovery()
			if len(all) != 1 || r.Torn != (cut > whole || zeros > 0) || (r.Torn && (r.TornOffset != whole || r.TornReason == "")) {
				t.Fatalf("cut at %d, %d zeros: %v, %+v", cut, zeros, all, r)
			}
			wait(t, l, appendAll(t, l, "three"))
			shut(t, l)
			l, all = reopen(t, "d", Options{FS: fs})
			if len(all) != 2 || all[1].data != "three" || l.Recovery().Torn {
				t.Fatalf("cut at %d, then appended: %v", cut, all)
			}
			shut(t, l)
		}
	}
}

// TestFlippedBitsAreFound flips every bit of a log of three segments, one after the other. Each is an error that says where, but
// for those that make what was written last look as if it was not written whole, of which there must be none.
func TestFlippedBitsAreFound(t *testing.T) {
	fs := newMemFS()
	o := Options{FS: fs, SegmentSize: 150}
	l, _ := reopen(t, "d", o)
	for i := range 6 {
		wait(t, l, appendAll(t, l, strings.Repeat("z", 10+i)))
	}
	shut(t, l)
	if n := len(fs.segments()); n < 3 {
		t.Fatalf("%d segments", n)
	}
	for _, name := range fs.segments() {
		for bit := range 8 * len(fs.read(name)) {
			fs.read(name)[bit/8] ^= 1 << (bit % 8)
			l, _, err := tryOpen("d", o)
			var corrupt *CorruptError
			if !errors.As(err, &corrupt) {
				t.Fatalf("%s: bit %d flipped: %v", name, bit, err)
			}
			if corrupt.File != filepath.Base(name) && bit/8 >= segmentHeader {
				t.Errorf("%s: bit %d flipped: it says %v", name, bit, err)
			}
			if l != nil {
				shut(t, l)
			}
			fs.read(name)[bit/8] ^= 1 << (bit % 8)
		}
	}
	l, all := reopen(t, "d", o)
	if len(all) != 6 {
		t.Errorf("%d records", len(all))
	}
	shut(t, l)
}

func TestDamageOtherThanBits(t *testing.T) {
	for name, damage := range map[string]func(fs *memFS){
		"a segment in the middle is missing": func(fs *memFS) { delete(fs.now, fs.segments()[1]) },
		"a segment in the middle is empty":   func(fs *memFS) { fs.now[fs.segments()[1]].data = nil },
		"a segment in the middle is cut": func(fs *memFS) {
			n := fs.now[fs.segments()[1]]
			n.data = n.data[:len(n.data)-5]
		},
		"a sector in the middle is zero": func(fs *memFS) { clear(fs.read(fs.segments()[0])[40:100]) },
		"a frame is there twice": func(fs *memFS) {
			n := fs.now[fs.segments()[0]]
			n.data = append(n.data, n.data[segmentHeader:]...)
		},
		"another segment's frames": func(fs *memFS) {
			a, b := fs.read(fs.segments()[0]), fs.read(fs.segments()[1])
			copy(b[segmentHeader:], a[segmentHeader:])
		},
		"a segment by another name": func(fs *memFS) {
			s := fs.segments()
			fs.now["d/"+segmentName(2)] = fs.now[s[1]]
			delete(fs.now, s[1])
		},
		"something else": func(fs *memFS) { fs.now[fs.segments()[0]].data = []byte(strings.Repeat("foreign ", 100)) },
	} {
		t.Run(name, func(t *testing.T) {
			fs := newMemFS()
			o := Options{FS: fs, SegmentSize: 200}
			l, _ := reopen(t, "d", o)
			for i := range 9 {
				wait(t, l, appendAll(t, l, strings.Repeat("z", 40+i)))
			}
			shut(t, l)
			damage(fs)
			_, _, err := tryOpen("d", o)
			var corrupt *CorruptError
			if !errors.As(err, &corrupt) || corrupt.Reason == "" {
				t.Errorf("the log was opened: %v", err)
			}
		})
	}
}

// TestPayloadThatLooksLikeAFrame: somebody's message that holds a log's bytes does not make a torn end look like corruption.
func TestPayloadThatLooksLikeAFrame(t *testing.T) {
	fs := newMemFS()
	l, _ := reopen(t, "other", Options{FS: fs})
	wait(t, l, appendAll(t, l, "a", "b"))
	shut(t, l)
	foreign := slices.Clone(fs.read(fs.segments()[0]))
	l, _ = reopen(t, "d", Options{FS: fs})
	wait(t, l, appendAll(t, l, "one"))
	wait(t, l, appendAll(t, l, string(foreign)))
	shut(t, l)
	n := fs.now["d/"+segmentName(1)]
	n.data = n.data[:len(n.data)-1]
	l, all := reopen(t, "d", Options{FS: fs})
	if len(all) != 1 || !l.Recovery().Torn {
		t.Errorf("%v, %+v", all, l.Recovery())
	}
	shut(t, l)
}

func TestFullDiskFreezes(t *testing.T) {
	testkit.NoLeaks(t)
	fs := newMemFS()
	told := make(chan error, 100)
	l, _ := reopen(t, "d", Options{FS: fs, Durable: func(_ Position, err error) { told <- err }})
	wait(t, l, appendAll(t, l, "before"))
	fs.mu.Lock()
	fs.room = 40
	fs.mu.Unlock()
	p := appendAll(t, l, strings.Repeat("w", 100))
	if err := l.Wait(t.Context(), p); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("waiting for what does not fit: %v", err)
	}
	if durable, err := l.Durable(); durable != 1 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("durable %d, %v", durable, err)
	}
	fs.mu.Lock()
	fs.room = -1 // room again: a frozen log stays frozen
	fs.mu.Unlock()
	if _, err := l.Append(Record{Data: []byte("small")}); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a frozen log takes records: %v", err)
	}
	if err := l.Close(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("close: %v", err)
	}
	var last error
	for len(told) > 0 {
		last = <-told
	}
	if !errors.Is(last, syscall.ENOSPC) {
		t.Errorf("the owner was told %v", last)
	}
	fs.processDies()
	l, all := reopen(t, "d", Options{FS: fs})
	if len(all) != 1 || all[0].data != "before" || !l.Recovery().Torn {
		t.Errorf("after the disk was full: %v, %+v", all, l.Recovery())
	}
	shut(t, l)
}

// TestCrashes appends from several goroutines, lets calls fail and the power go at random instants, and holds what is read again
// against what was reported durable.
func TestCrashes(t *testing.T) {
	seed := testkit.Seed(t)
	r := rand.New(rand.NewPCG(seed, 1))
	for round := range 120 {
		fs := newMemFS()
		o := Options{FS: fs, SegmentSize: int64(100 + r.IntN(2000))}
		written := map[Position]string{}
		var durable Position
		for life := range 4 {
			l, all, err := tryOpen("d", o)
			if err != nil {
				t.Fatalf("round %d, life %d: %v", round, life, err)
			}
			if len(all) < int(durable) {
				t.Fatalf("round %d, life %d: %d records were durable, %d are there", round, life, durable, len(all))
			}
			for i, k := range all {
				if k.at != Position(i+1) || k.data != written[k.at] {
					t.Fatalf("round %d, life %d: record %d is %v, and %q was written", round, life, i+1, k, written[k.at])
				}
			}
			for p := range written {
				if int(p) > len(all) {
					delete(written, p)
				}
			}
			durable = live(fs, l, r, written)
			if r.IntN(2) == 0 {
				fs.powerOff(r)
			}
			_ = l.Close()
			fs.processDies()
		}
	}
}

// live appends at random and returns what was durable in the end.
func live(fs *memFS, l *Log, r *rand.Rand, written map[Position]string) Position {
	fs.mu.Lock()
	switch r.IntN(3) {
	case 0:
		fs.calls = r.IntN(40)
	case 1:
		fs.room = r.IntN(3000)
	}
	fs.mu.Unlock()
	for range r.IntN(60) {
		var records []Record
		for range 1 + r.IntN(4) {
			records = append(records, Record{Kind: byte(r.IntN(255)), Data: []byte(strings.Repeat(fmt.Sprint(r.IntN(10)), r.IntN(300)))})
		}
		last, err := l.Append(records...)
		if err != nil {
			break
		}
		for i, rec := range records {
			written[last-Position(len(records)-1-i)] = string(rec.Data)
		}
		if r.IntN(4) == 0 {
			_ = l.Wait(context.Background(), last)
		}
	}
	durable, _ := l.Durable()
	return durable
}

func TestGroupCommit(t *testing.T) {
	dir := t.TempDir()
	l, _ := reopen(t, dir, Options{})
	var all sync.WaitGroup
	for k := range 16 {
		all.Go(func() {
			for i := range 20 {
				p, err := l.Append(Record{Kind: byte(k), Data: fmt.Append(nil, i)})
				if err == nil {
					err = l.Wait(t.Context(), p)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	shut(t, l)
	l, records := reopen(t, dir, Options{})
	next := map[byte]int{}
	for _, k := range records {
		if k.data != fmt.Sprint(next[k.kind]) {
			t.Fatalf("goroutine %d: %q after %d", k.kind, k.data, next[k.kind]-1)
		}
		next[k.kind]++
	}
	if len(records) != 320 {
		t.Errorf("%d records", len(records))
	}
	shut(t, l)
}

func TestAppendWaitsWhenTooMuchWaits(t *testing.T) {
	testkit.NoLeaks(t)
	fs := newMemFS()
	l, _ := reopen(t, "d", Options{FS: fs, MaxPending: 1 << 10})
	for range 200 {
		if _, err := l.Append(Record{Data: make([]byte, 512)}); err != nil {
			t.Fatal(err)
		}
		if n := l.Pending(); n > 2<<10 {
			t.Fatalf("%d bytes wait", n)
		}
	}
	shut(t, l)
}

func TestRefusals(t *testing.T) {
	l, _ := reopen(t, t.TempDir(), Options{})
	defer shut(t, l)
	if _, err := l.Append(Record{Data: make([]byte, MaxRecord+1)}); err == nil {
		t.Error("a record that is too long was taken")
	}
	if _, err := l.Append(Record{Kind: MaxKind + 1}); err == nil {
		t.Error("the kind of gaps was taken")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Wait(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting without end: %v", err)
	}
	for _, m := range []Mode{Fsync, OS, Memory} {
		if got, err := ParseMode(m.String()); err != nil || got != m {
			t.Errorf("%v is read as %v, %v", m, got, err)
		}
	}
	if _, err := ParseMode("ram"); err == nil {
		t.Error("there is a mode ram")
	}
}

func TestIncarnations(t *testing.T) {
	dir := t.TempDir()
	var disk uint64
	for i := uint64(1); i < 12; i++ {
		id, err := NextIncarnation(nil, dir)
		if err != nil || id.Incarnation != i || (i > 1 && id.Disk != disk) {
			t.Fatalf("%+v, %v", id, err)
		}
		disk = id.Disk
	}
	path := filepath.Join(dir, incarnationFile)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for bit := range 8 * len(whole) {
		damaged := slices.Clone(whole)
		damaged[bit/8] ^= 1 << (bit % 8)
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		var corrupt *CorruptError
		if id, err := NextIncarnation(nil, dir); !errors.As(err, &corrupt) {
			// The case of a hexadecimal digit of the checksum says nothing.
			if bytes.EqualFold(damaged, whole) {
				if err := os.WriteFile(path, whole, 0o600); err != nil {
					t.Fatal(err)
				}
				continue
			}
			t.Fatalf("bit %d flipped: %+v, %v", bit, id, err)
		}
	}
	// A counter that could not be written was not counted.
	fs := newMemFS()
	if _, err := NextIncarnation(fs, "d"); err != nil {
		t.Fatal(err)
	}
	for calls := range 4 {
		fs.calls = calls
		if id, err := NextIncarnation(fs, "d"); err == nil {
			t.Fatalf("%d calls were enough: %+v", calls, id)
		}
		fs.powerOff(rand.New(rand.NewPCG(1, uint64(calls))))
	}
	if id, err := NextIncarnation(fs, "d"); err != nil || id.Incarnation < 2 || id.Incarnation > 6 {
		t.Errorf("%+v, %v", id, err)
	}
}
