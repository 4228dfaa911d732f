package influx

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
)

func testLines(from, count int) []byte {
	var b []byte
	for n := range count {
		b = fmt.Appendf(b, "m,host=h x=%d %d\n", from+n, from+n)
	}
	return b
}

func open(t *testing.T, dir string, limit int64) *spool {
	t.Helper()
	s, err := openSpool(dir, limit)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// drainSpool reads all that is there.
func drainSpool(t *testing.T, s *spool, most int) []byte {
	t.Helper()
	var all []byte
	for {
		lines, mark, err := s.peek(most)
		if err != nil {
			t.Fatal(err)
		}
		if len(lines) == 0 {
			return all
		}
		all = append(all, lines...)
		if there, err := s.done(mark); err != nil || !there {
			t.Fatal(there, err)
		}
	}
}

// What goes in comes out in its order, whoever ends and begins anew in between; what was not yet forgotten may come again.
func TestSpoolIsAQueue(t *testing.T) {
	rng := rand.New(rand.NewPCG(testkit.Seed(t), 1))
	dir := t.TempDir()
	s := open(t, dir, 1<<30)
	next, want := 0, 0 // the numbers of the next point to go in, and of the next that must come out
	for range 600 {
		switch k := rng.IntN(20); {
		case k < 10:
			n := 1 + rng.IntN(200)
			if err := s.append(n, testLines(next, n)); err != nil {
				t.Fatal(err)
			}
			next += n
		case k < 19:
			lines, mark, err := s.peek(1 + rng.IntN(20_000))
			if err != nil {
				t.Fatal(err)
			}
			if len(lines) == 0 {
				if want < next {
					t.Fatalf("nothing comes out, and %d are in", next-want)
				}
				continue
			}
			first, last := 0, 0
			if _, err := fmt.Sscanf(string(lines), "m,host=h x=%d", &first); err != nil {
				t.Fatal(err)
			}
			last = first + bytes.Count(lines, []byte("\n"))
			if first > want || !bytes.Equal(lines, testLines(first, last-first)) {
				t.Fatalf("%d to %d come out, %d is next", first, last, want)
			}
			if rng.IntN(3) > 0 { // else it could not be sent
				want = max(want, last)
				if there, err := s.done(mark); err != nil || !there {
					t.Fatal(there, err)
				}
			}
		default:
			if rng.IntN(2) == 0 {
				if err := s.close(); err != nil {
					t.Fatal(err)
				}
			} else { // killed: nothing is finished
				_ = s.lock.Close()
			}
			s = open(t, dir, 1<<30)
		}
	}
	if s.damaged != 0 || s.overwritten != 0 {
		t.Errorf("%d damaged, %d overwritten", s.damaged, s.overwritten)
	}
	drainSpool(t, s, 1<<20)
	if n := s.points(); n != 0 || s.size != 0 {
		t.Errorf("%d points and %d bytes are left", n, s.size)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*.lp")); len(files) != 0 {
		t.Errorf("%v are left behind", files)
	}
}

// The host died while the last batch was being written, or the disk has bad sectors: all whole batches are there, and the others are counted.
func TestDamagedSpool(t *testing.T) {
	rng := rand.New(rand.NewPCG(testkit.Seed(t), 2))
	for name, damage := range map[string]func(b []byte) []byte{
		"torn":     func(b []byte) []byte { return b[:len(b)-1-rng.IntN(600)] },
		"zeros":    func(b []byte) []byte { return append(b, make([]byte, 4096)...) },
		"flipped":  func(b []byte) []byte { b[len(b)/2+rng.IntN(1000)] ^= 1 << rng.IntN(8); return b },
		"spliced":  func(b []byte) []byte { k := len(b) / 3; return append(b[:k:k], b[k+1+rng.IntN(500):]...) },
		"appended": func(b []byte) []byte { return append(b, "\n#clockd 1 5 100 00000000\nmore"...) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, 1<<30)
			for k := range 40 {
				if err := s.append(50, testLines(50*k, 50)); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.close(); err != nil {
				t.Fatal(err)
			}
			path := s.path(1)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, damage(b), 0o600); err != nil {
				t.Fatal(err)
			}
			s = open(t, dir, 1<<30)
			defer func() { _ = s.close() }()
			if err := s.append(50, testLines(2000, 50)); err != nil {
				t.Fatal(err)
			}
			got := drainSpool(t, s, 4000)
			whole := 0
			for k := range 41 {
				if bytes.Contains(got, testLines(50*k, 50)) {
					whole++
				}
			}
			if n := bytes.Count(got, []byte("\n")); n != 50*whole || whole < 38 || whole == 41 && name != "zeros" && name != "appended" {
				t.Errorf("%d lines, %d whole batches", n, whole)
			}
			if s.damaged == 0 || whole < 41 && s.damaged < 10 || s.points() != 0 {
				t.Errorf("%d damaged, %d points left", s.damaged, s.points())
			}
		})
	}
}

func TestSpoolHasALimit(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, 100_000)
	defer func() { _ = s.close() }()
	const batches = 200
	for k := range batches {
		if err := s.append(100, testLines(100*k, 100)); err != nil {
			t.Fatal(err)
		}
		if s.size > 100_000 {
			t.Fatalf("%d bytes", s.size)
		}
	}
	if s.overwritten == 0 || s.overwritten+s.points() != 100*batches {
		t.Errorf("%d overwritten, %d there", s.overwritten, s.points())
	}
	there := s.points()
	got := drainSpool(t, s, 1<<20)
	if int64(bytes.Count(got, []byte("\n"))) != there || !bytes.HasSuffix(got, testLines(100*(batches-1), 100)) {
		t.Error("not the newest are there")
	}
}

// What was being sent when it had to make room is not counted twice.
func TestWhatIsOverwrittenIsNotDone(t *testing.T) {
	s := open(t, t.TempDir(), 40_000)
	defer func() { _ = s.close() }()
	if err := s.append(100, testLines(0, 100)); err != nil {
		t.Fatal(err)
	}
	_, mark, err := s.peek(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	for k := range 30 {
		if err := s.append(100, testLines(100*(k+1), 100)); err != nil {
			t.Fatal(err)
		}
	}
	before := s.points()
	if there, err := s.done(mark); there || err != nil || s.points() != before {
		t.Error(there, err)
	}
}

func TestSpoolBelongsToOne(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"README.lp": "not ours", "0000000000000007.lp.bak": "x", "7.lp": "m x=1 1\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, dir, 1<<20)
	if _, err := openSpool(dir, 1<<20); err == nil || !strings.Contains(err.Error(), "another daemon") {
		t.Errorf("a second one: %v", err)
	}
	if got := drainSpool(t, s, 1<<20); len(got) != 0 {
		t.Errorf("%q is somebody else's", got)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 4 {
		t.Errorf("%v", entries)
	}
	if _, err := openSpool("/proc/nowhere/spool", 1<<20); err == nil {
		t.Error("there cannot be one")
	}
}

// A disk that fails costs nothing but memory, and is used again when it works.
func TestBrokenSpoolFallsBackToMemory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // a file where the directory should be
		t.Fatal(err)
	}
	o := Options{Spool: dir}.withDefaults()
	var x stats
	s := newStore(&o, &x)
	s.add(batch{testLines(0, 10), 10})
	if c := x.status(); c.BufferedPoints != 10 || !strings.Contains(c.Trouble, "spool") {
		t.Errorf("%+v", c)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	s.tryAgain = s.tryAgain.Add(-spoolAgain)
	s.add(batch{testLines(10, 10), 10})
	if c := x.status(); c.BufferedPoints != 10 || c.SpooledPoints != 10 || c.Trouble != "" {
		t.Errorf("%+v", c)
	}
	_ = s.spool.active.Close() // the disk goes away
	s.add(batch{testLines(20, 10), 10})
	if c := x.status(); c.BufferedPoints != 20 || c.Trouble == "" {
		t.Errorf("%+v", c)
	}
	s.spool.active = nil
	if lost, err := s.close(); lost != 0 || err != nil { // what is in memory is saved at the end
		t.Error(lost, err)
	}
	again := open(t, dir, 1<<20)
	defer func() { _ = again.close() }()
	if got := drainSpool(t, again, 1<<20); bytes.Count(got, []byte("\n")) != 30 {
		t.Errorf("%q", got)
	}
}

func TestMemoryHasALimit(t *testing.T) {
	o := Options{Buffer: 10_000}.withDefaults()
	var x stats
	s := newStore(&o, &x)
	for k := range 100 {
		s.add(batch{testLines(10*k, 10), 10})
		if k == 50 { // one of them is on its way
			s.keep(s.take(1))
		}
	}
	c := x.status()
	if c.BufferedBytes > 10_000 || c.BufferedPoints+c.Dropped[reason.ExportBuffer.String()] != 1000 || c.BufferedPoints < 300 {
		t.Errorf("%+v", c)
	}
	n, last := 0, []byte(nil)
	for tk := s.take(5000); tk.present; tk = s.take(5000) {
		n += bytes.Count(tk.lines, []byte("\n"))
		last = tk.lines
		s.done(tk)
	}
	if c := x.status(); n == 0 || !bytes.HasSuffix(last, testLines(990, 10)) || c.BufferedBytes+c.BufferedPoints != 0 {
		t.Errorf("%d points, then %+v", n, c)
	}
}

// Whatever is on the disk: nothing panics, all that comes out has a good checksum, and what was put in whole comes out whole.
func FuzzFrames(f *testing.F) {
	frame := appendFrame(nil, 2, testLines(1, 2))
	f.Add(frame, []byte(nil), 0)
	f.Add(frame[:len(frame)-3], frame, 1)
	f.Add([]byte("#clockd 1 1 1048577 00000000\n"), frame, 2)
	f.Add([]byte("#clockd 1 99999999999 99999999999 zzzzzzzz\n#clockd 1 "), frame[3:], 4096)
	f.Fuzz(func(t *testing.T, before, after []byte, most int) {
		whole := testLines(77, 3)
		path := filepath.Join(t.TempDir(), "0000000000000001.lp")
		content := append(append(bytes.Clone(before), appendFrame(nil, 3, whole)...), after...)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		s := open(t, filepath.Dir(path), 1<<20)
		defer func() { _ = s.close() }()
		got := drainSpool(t, s, max(most, 1))
		// A frame before it may claim it as a part of itself, but then its checksum is right.
		if !bytes.Contains(got, whole) && !bytes.Contains(before, []byte(frameMark)) {
			t.Errorf("%q has lost what was whole", got)
		}
		if len(got) > len(content) || s.points() > 0 && len(s.segments) == 0 {
			t.Errorf("%d bytes of %d", len(got), len(content))
		}
	})
}
