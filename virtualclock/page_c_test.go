//go:build linux

package virtualclock

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
)

// foreignReader is a reader in another language, as testdata's programs for it are run.
type foreignReader struct {
	name    string
	command []string
	// comparisons is how many pages it can be asked about in a test's time.
	comparisons int
	// interval: it says nothing of the virtual clock, and reads CLOCK_MONOTONIC_RAW whatever the page's counter is.
	interval bool
}

func needTool(t *testing.T, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("none of %v is here", names)
	}
	t.Skipf("none of %v is here: install it", names)
	return ""
}

// cReader compiles the C reader with further flags.
func cReader(t *testing.T, name string, flags ...string) foreignReader {
	t.Helper()
	program := filepath.Join(t.TempDir(), "reader")
	arguments := append([]string{"-std=gnu99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-O2", "-g",
		"-I", "../readers/c", "-o", program, "testdata/reader.c"}, flags...)
	if out, err := exec.Command(needTool(t, "cc", "gcc", "clang"), arguments...).CombinedOutput(); err != nil {
		if strings.Contains(name, "sanitized") && !strings.Contains(string(out), "clockd.h:") && os.Getenv("CI") != "true" {
			t.Skipf("this compiler has no sanitizers: %s", out)
		}
		t.Fatalf("%v\n%s", err, out)
	}
	return foreignReader{name, []string{program}, 8_000, false}
}

func cReaders(t *testing.T) []foreignReader {
	return []foreignReader{
		cReader(t, "C"),
		cReader(t, "C, 64-bit products", "-DCLOCKD_NO_INT128"),
		cReader(t, "C, sanitized", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
	}
}

// foreignReading is what testdata's programs write.
type foreignReading struct {
	Earliest, Latest, Time                                int64
	EarliestFraction, LatestFraction, TimeFraction, Epoch uint32
	Ticks, Instance                                       uint64
	Status, Kind                                          uint8
	Reason                                                [38]byte
}

// reading converts; known is false for a reason that this package does not have.
func (f *foreignReading) reading() (r Reading, why reason.Code, known bool) {
	i := Interval{Unix(f.Earliest, f.EarliestFraction), Unix(f.Latest, f.LatestFraction), Epoch(f.Epoch),
		Standing{Status(f.Status), Kind(f.Kind)}}
	name := string(bytes.TrimRight(f.Reason[:], "\x00"))
	for c := range reason.Count {
		if c.String() == name {
			why, known = c, true
		}
	}
	return Reading{Time: Unix(f.Time, f.TimeFraction), Interval: i, Ticks: hw.Ticks(f.Ticks)}, why, known
}

// randomPage fills p as randomWords, or with noise from end to end; what no reader gets anything from is rare, because waiting for
// the writer takes long.
func randomPage(r *rand.Rand, p *pageWords, m *hw.Manual) {
	randomWords(r, p, m)
	if r.IntN(20) == 0 {
		for i := wordSequence; i < wordSpec; i++ {
			p.store(i, r.Uint64())
		}
		p.store(wordMeta, p.load(wordMeta)&^(0xff<<32)|uint64(r.IntN(4))<<32)
	}
	if p.load(wordSequence)&1 != 0 && r.IntN(50) != 0 {
		p.store(wordSequence, 0)
	}
}

// compareForeign asks another reader about pages of all kinds, damaged ones included, and wants this package's answers bit by bit.
func compareForeign(t *testing.T, f foreignReader) {
	r := newRand(t, 71)
	m := hw.NewManual(hw.Frequency{Hertz: 1e9})
	v := newView(new(pageWords), m)
	cmd := exec.Command(f.command[0], append(f.command[1:], "compare")...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	const batch = 500
	answers := bufio.NewReaderSize(out, 1<<20)
	var sound, behind int
	for done := 0; done < f.comparisons; done += batch {
		var pages [batch][]byte
		for n := range pages {
			randomPage(r, v.words, m)
			b := make([]byte, 0, 520)
			for i := range wordSpec {
				b = binary.LittleEndian.AppendUint64(b, v.words.load(i))
			}
			pages[n] = binary.LittleEndian.AppendUint64(b, uint64(m.Read()))
		}
		go func() { _, _ = in.Write(bytes.Join(pages[:], nil)) }()
		for _, b := range pages {
			var got foreignReading
			if err := binary.Read(answers, binary.LittleEndian, &got); err != nil {
				t.Fatalf("the other reader ended: %v", err)
			}
			for i := range wordSpec {
				v.words.store(i, binary.LittleEndian.Uint64(b[8*i:]))
			}
			m.Set(hw.Ticks(binary.LittleEndian.Uint64(b[512:])))
			want, whyWanted := v.look()
			reading, why, known := got.reading()
			if reading != want || why != whyWanted && (known || whyWanted != reason.NeverSynchronised && whyWanted != reason.Stale) {
				t.Fatalf("page %x\nsays %+v %s\nwant %+v %s", b, reading, got.Reason, want, whyWanted)
			}
			if want.Interval.Sound() {
				sound++
				if m.Read().Before(hw.Ticks(v.words.load(wordAt))) {
					behind++
				}
			}
		}
	}
	if sound < f.comparisons/10 || behind == 0 {
		t.Errorf("only %d of %d were sound, %d before their time", sound, f.comparisons, behind)
	}
	_ = in.Close()
	if _, err := answers.Peek(1); err != io.EOF {
		t.Error("it says more than it was asked")
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// watchForeign starts the other reader on a page; the function returned gives one reading after the other.
func watchForeign(t *testing.T, f foreignReader, path string) func() foreignReading {
	t.Helper()
	cmd := exec.Command(f.command[0], append(f.command[1:], "watch", path)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	buffer := bufio.NewReader(out)
	return func() (r foreignReading) {
		t.Helper()
		if err := binary.Read(buffer, binary.LittleEndian, &r); err != nil {
			t.Fatalf("the other reader ended: %v", err)
		}
		return r
	}
}

// soakForeign: a writer that publishes as fast as it can is killed with -9, again and again, and the other reader never says
// anything wrong or torn, sees each death, and goes on with each successor.
func soakForeign(t *testing.T, f foreignReader, spec string) {
	counter, err := hw.Open(spec)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "page")
	hertz := counter.Frequency().Hertz
	world := truth{Line{counter.Read(), Unix(1.8e18, 7), PeriodOf(hertz)}, counter.Spec(), hw.Ticks(hertz * 0.1)}
	line, err := json.Marshal(world)
	if err != nil {
		t.Fatal(err)
	}
	writer := startRole(t, "writer", path, line, 1)
	writer.line()
	next := watchForeign(t, f, path)
	var seen tally
	look := func() Reading {
		got := next()
		reading, why, known := got.reading()
		if !known {
			t.Fatalf("there is no reason %q", got.Reason)
		}
		if f.interval && reading.Interval.Sound() {
			reading.Time = world.Line.At(reading.Ticks)
		}
		seen.check(&world, reading, why)
		return reading
	}
	const deaths = 5
	for death := range deaths {
		for sound := seen.Sound; seen.Sound < sound+500; {
			look()
		}
		writer.kill()
		dead := counter.Read()
		for r := look(); r.Interval.Sound() || r.Ticks != 0 && r.Ticks.Before(dead); r = look() {
			if r.Interval.Sound() && r.Ticks.Sub(dead) > int64(world.Lifetime) {
				t.Fatalf("sound %d ticks after the writer's death", r.Ticks.Sub(dead))
			}
		}
		writer = startRole(t, "writer", path, line, uint64(death+2))
		if got := writer.line(); got != "ready true" {
			t.Fatalf("the next writer says %q", got)
		}
	}
	if len(seen.Wrong) > 0 {
		t.Error(strings.Join(seen.Wrong, "\n"))
	}
	if len(seen.Epochs) < deaths {
		t.Errorf("only %d epochs", len(seen.Epochs))
	}
	t.Logf("%s, %s: %d sound readings in %d epochs, %d void, of which %d torn; none wrong", f.name, spec, seen.Sound, len(seen.Epochs), seen.Void, seen.Torn)
}

// followForeign: a daemon with another counter puts a new file in the page's place, and the other reader finds it.
func followForeign(t *testing.T, f foreignReader, specs [2]string) {
	path := filepath.Join(t.TempDir(), "page")
	var next func() foreignReading
	for i, spec := range specs {
		counter, err := hw.Open(spec)
		if err != nil {
			t.Fatal(err)
		}
		w, err := CreatePage(path, counter, uint64(i+1))
		if err != nil {
			t.Fatal(err)
		}
		k := goodCoefficients()
		now := counter.Read()
		k.At, k.StaleAfter, k.VoidAfter = now, now+hw.Ticks(counter.Frequency().Hertz*600), now+hw.Ticks(counter.Frequency().Hertz*600)
		if err := w.Publish(k); err != nil {
			t.Fatal(err)
		}
		if next == nil {
			next = watchForeign(t, f, path)
		}
		for got := next(); got.Instance != uint64(i+1) || !Status(got.Status).Sound(); got = next() {
			if i == 0 && !f.interval {
				t.Fatalf("%+v %s", got, got.Reason)
			}
			if f.interval { // it needs more than one publication
				if err := w.Publish(k); err != nil {
					t.Fatal(err)
				}
			}
		}
		if i == 0 {
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if got := next(); Status(got.Status).Sound() { // one that was under way
				for got = next(); Status(got.Status).Sound(); got = next() {
				}
			}
		}
	}
}

// vmclockForeign: the other reader sees by the hypervisor's page that the machine was migrated, until the daemon has dealt with it.
func vmclockForeign(t *testing.T, f foreignReader) {
	device := filepath.Join(t.TempDir(), "vmclock")
	write := func(marker uint64) {
		b := make([]byte, 4096)
		copy(b, "VCLK")
		binary.LittleEndian.PutUint32(b[4:], 4096)
		b[8] = 1
		binary.LittleEndian.PutUint64(b[16:], marker)
		file, err := os.OpenFile(device, os.O_WRONLY|os.O_CREATE, 0o600)
		if err == nil {
			_, err = file.WriteAt(b, 0)
		}
		if err = errors.Join(err, file.Close()); err != nil {
			t.Fatal(err)
		}
	}
	write(5)
	t.Setenv("CLOCKD_TEST_VMCLOCK", device)
	counter, err := hw.Open("monotonic_raw")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "page")
	w := mustCreate(t, path, counter, 1)
	w.Mark(5)
	k := goodCoefficients()
	k.At = counter.Read()
	k.StaleAfter, k.VoidAfter = k.At+600e9, k.At+600e9
	publish := func() {
		t.Helper()
		if err := w.Publish(k); err != nil {
			t.Fatal(err)
		}
	}
	publish()
	next := watchForeign(t, f, path)
	until := func(status Status, name string) {
		t.Helper()
		for got := next(); Status(got.Status) != status || string(bytes.TrimRight(got.Reason[:], "\x00")) != name; got = next() {
			if s := Status(got.Status); s != Synchronised && s != Disrupted {
				t.Fatalf("%+v", got)
			}
		}
	}
	until(Synchronised, "ok")
	write(6)
	until(Disrupted, reason.HostPaused.String())
	w.Mark(6)
	publish()
	until(Synchronised, "ok")
}

// openForeign holds what the other reader says of files that are no good against what OpenPage says.
func openForeign(t *testing.T, f foreignReader) {
	dir := t.TempDir()
	counter, err := hw.Open("monotonic_raw")
	if err != nil {
		t.Fatal(err)
	}
	good := filepath.Join(dir, "good")
	mustCreate(t, good, counter, 1)
	b, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	change := func(offset int, text string) []byte { c := bytes.Clone(b); copy(c[offset:], text); return c }
	spec := func(text string) []byte {
		c := bytes.Clone(b)
		clear(c[8*wordSpec : 8*wordSpec+specBytes])
		copy(c[8*wordSpec:], text)
		binary.LittleEndian.PutUint64(c[8*wordSpecLength:], uint64(len(text)))
		return c
	}
	cases := map[string]struct {
		content []byte
		// theirs is the other reader's answer where it must not open what OpenPage can.
		theirs reason.Code
	}{
		"good":      {b, 0},
		"empty":     {nil, 0},
		"short":     {b[:4095], 0},
		"long":      {append(bytes.Clone(b), 0), 0},
		"magic":     {change(0, "CLOCKDPX"), 0},
		"version":   {change(8, "\x02"), 0},
		"size":      {change(13, "\x20"), 0},
		"boot":      {change(24, "another boot...."), 0},
		"no spec":   {change(40, "\x00"), 0},
		"long spec": {change(40, "\x01\x08\x00"), 0},
		"spec":      {spec("sundial"), 0},
		"skewed":    {spec("skewed(monotonic_raw,ppm=3)"), reason.PageCounter},
		"timens":    {spec("monotonic_raw(timens=1)"), 0},
		"settings":  {spec("monotonic_raw(timens=)"), 0},
		"more":      {spec(counter.Spec() + "x"), 0},
		"kind":      {change(16, "\x01"), reason.PageCounter},
		"no kind":   {change(16, "\x00"), reason.PageCounter},
		"zeros":     {make([]byte, pageSize), 0},
	}
	for name, c := range cases {
		path := filepath.Join(dir, "page")
		if err := os.WriteFile(path, c.content, 0o600); err != nil {
			t.Fatal(err)
		}
		want := c.theirs
		r, err := OpenPage(path)
		if err == nil {
			_ = r.Close()
		} else if c.theirs == reason.OK && !errors.As(err, &want) {
			t.Fatal(err)
		}
		if got := openOne(t, f, path); got != want.String() {
			t.Errorf("%s: %q, want %s (%v)", name, got, want, err)
		}
	}
	for _, path := range []string{filepath.Join(dir, "none"), dir, "/dev/null"} {
		var want reason.Code
		if _, err := OpenPage(path); !errors.As(err, &want) {
			t.Fatal(err)
		}
		if got := openOne(t, f, path); got != want.String() {
			t.Errorf("%s: %q, want %s", path, got, want)
		}
	}
}

func openOne(t *testing.T, f foreignReader, path string) string {
	t.Helper()
	out, err := exec.Command(f.command[0], append(f.command[1:], "open", path)...).Output()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 2) {
		t.Fatalf("%v: %s %s", err, out, exit.Stderr)
	}
	return strings.TrimSpace(string(out))
}

// TestCReader: readers/c/clockd.h says what this package says.
func TestCReader(t *testing.T) {
	specs := [2]string{"monotonic_raw", "auto"}
	for _, f := range cReaders(t) {
		t.Run(f.name, func(t *testing.T) {
			t.Run("compare", func(t *testing.T) { compareForeign(t, f) })
			t.Run("open", func(t *testing.T) { openForeign(t, f) })
			t.Run("vmclock", func(t *testing.T) { vmclockForeign(t, f) })
			t.Run("follow", func(t *testing.T) { followForeign(t, f, specs) })
		})
	}
}

// TestCReaderWhileWritersDie is the C reader under load.
func TestCReaderWhileWritersDie(t *testing.T) {
	f := cReader(t, "C, sanitized", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
	for _, spec := range []string{"auto", "monotonic_raw"} {
		soakForeign(t, f, spec)
	}
}

// TestCExample compiles readers/c/now.c, as C and as C++, and runs it.
func TestCExample(t *testing.T) {
	compiler := needTool(t, "cc", "gcc", "clang")
	program := filepath.Join(t.TempDir(), "now")
	for _, flags := range [][]string{{"-std=c99", "-pedantic"}, {"-std=c11"}} {
		arguments := append(flags, "-Wall", "-Wextra", "-Werror", "-O2", "-o", program, "../readers/c/now.c")
		if out, err := exec.Command(compiler, arguments...).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	if cxx, err := exec.LookPath("c++"); err == nil {
		if out, err := exec.Command(cxx, "-x", "c++", "-std=c++11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "../readers/c/now.c").CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
	exampleRuns(t, program)
}

// exampleRuns shows an example program a page that holds something, then one that does not, then none.
func exampleRuns(t *testing.T, command ...string) {
	t.Helper()
	counter, err := hw.Open("monotonic_raw")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "page")
	w := mustCreate(t, path, counter, 1)
	k := goodCoefficients()
	k.At = counter.Read()
	k.Earliest, k.Latest = Unix(-1_500_000_000, 0), Unix(-1_499_999_000, 0)
	k.StaleAfter, k.VoidAfter = k.At+600e9, k.At+600e9
	if err := w.Publish(k); err != nil {
		t.Fatal(err)
	}
	run := func(path string) (string, int) {
		cmd := exec.Command(command[0], append(command[1:], path)...)
		out, _ := cmd.CombinedOutput()
		return string(out), cmd.ProcessState.ExitCode()
	}
	if out, code := run(path); code != 0 || !strings.Contains(out, "synchronised (ok)") || !strings.Contains(out, "earliest 19") {
		t.Errorf("%d: %s", code, out)
	}
	if err := w.PublishReason(&Coefficients{}, reason.NeverSynchronised); err != nil {
		t.Fatal(err)
	}
	if out, code := run(path); code != 1 || !strings.Contains(out, "unsynchronised (never_synchronised)") {
		t.Errorf("%d: %s", code, out)
	}
	if out, code := run(path + "x"); code != 2 || !strings.Contains(out, "page_missing") {
		t.Errorf("%d: %s", code, out)
	}
}
