//go:build linux

package virtualclock

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"math/big"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
)

// rawReading is a second, slow implementation of what docs/page.md says of the companion, for programs in namespace 9 on a host that was
// suspended for 7 ns.
func rawReading(p *pageWords, raw int64) (Interval, reason.Code) {
	var k content
	p.decode(&k)
	word := func(i int) *big.Int { return big.NewInt(int64(p.load(i))) }
	period := func(i int) *big.Int { return new(big.Int).SetUint64(p.load(i)) }
	switch {
	case !k.Status.Sound():
		return void(k.Status, k.Epoch), k.whyNot()
	case p.load(wordRawFast) == 0 || p.load(wordRawTimeNamespace) != 9:
		return void(Unsynchronised, k.Epoch), reason.PageCounter
	case raw < int64(p.load(wordRawNotBefore)):
		return void(Disrupted, k.Epoch), reason.CounterBackwards
	case int64(p.load(wordRawSuspended)) < 7-1e6:
		return void(Disrupted, k.Epoch), reason.HostSuspended
	case raw > int64(p.load(wordRawVoidAfter)):
		return void(Unsynchronised, k.Epoch), reason.PageVoid
	}
	i, why := Interval{Epoch: k.Epoch, Standing: Standing{k.Status, k.Kind}}, reason.OK
	if k.Status == Synchronised && raw > int64(p.load(wordRawStaleAfter)) {
		i.Status, why = Holdover, reason.Stale
	} else if k.Status == Holdover {
		why = k.whyNot()
	}
	n := new(big.Int).Sub(big.NewInt(raw), word(wordRawAt))
	early, late := period(wordRawSlow), period(wordRawFast)
	if n.Sign() < 0 {
		early, late = late, early
	}
	one := new(big.Int).Lsh(big.NewInt(1), 48)
	down := new(big.Int).Div(new(big.Int).Mul(n, early), one) // Euclidean: rounded down
	up := new(big.Int).Neg(new(big.Int).Div(new(big.Int).Mul(new(big.Int).Neg(n), late), one))
	down.Add(down, word(wordRawEarliest))
	up.Add(up, word(wordRawLatest))
	if up.Cmp(down) < 0 {
		return void(Unsynchronised, k.Epoch), reason.Contradiction
	}
	clamp := func(v *big.Int) int64 {
		if !v.IsInt64() {
			return map[int]int64{-1: math.MinInt64, 1: math.MaxInt64}[v.Sign()]
		}
		return v.Int64()
	}
	i.Earliest, i.Latest = Unix(clamp(down), 0), Unix(clamp(up), 0)
	return i, why
}

// world is a counter and a CLOCK_MONOTONIC_RAW that is a constant times it, read one after the other with random delays.
type rawWorld struct {
	r       *rand.Rand
	now     float64 // in ticks, with a fraction
	perTick float64 // nanoseconds
	start   float64
}

func (w *rawWorld) pass() { w.now += w.r.ExpFloat64() * 200 }

func (w *rawWorld) Read() hw.Ticks { w.pass(); return hw.Ticks(w.now) }

func (w *rawWorld) Frequency() hw.Frequency { return hw.Frequency{Hertz: 1e9 / w.perTick} }

func (w *rawWorld) Spec() string { return "tsc" }

func (w *rawWorld) raw() (int64, error) { w.pass(); return w.at(w.now), nil }

func (w *rawWorld) at(ticks float64) int64 {
	return int64(math.Floor(w.start + math.Floor(ticks)*w.perTick))
}

// TestCompanionContainsThePage: at every reading of both clocks, before and after the publication, the interval by CLOCK_MONOTONIC_RAW
// contains the interval by the counter, and ends no later.
func TestCompanionContainsThePage(t *testing.T) {
	r := newRand(t, 81)
	var known, narrow int
	for range 40 {
		w := &rawWorld{r: r, now: r.Float64() * 1e12, perTick: []float64{1.0 / 3, 0.385194, 1, 0.4, 41.6666}[r.IntN(5)], start: r.Float64() * 1e6}
		m := &companion{counter: w, read: w.raw, namespace: 9, suspended: func() int64 { return 7 }}
		b := publisher{words: new(pageWords), counter: w, companion: m}
		for range 20 {
			w.now += r.Float64() * 2e8 / w.perTick
			k := goodCoefficients()
			period := PeriodOf(1e9 / w.perTick)
			k.Slow, k.Fast = period.Scale(-r.Float64()*1e-5), period.Scale(r.Float64()*1e-5)
			k.At = hw.Ticks(w.now) - hw.Ticks(r.IntN(1e6))
			k.Earliest, k.Latest = Unix(1e18, r.Uint32()), Unix(1e18+100, r.Uint32())
			k.StaleAfter, k.VoidAfter = hw.Ticks(w.now+r.Float64()*1e9/w.perTick), hw.Ticks(w.now+r.Float64()*2e9/w.perTick)
			if err := b.publish(k, reason.OK); err != nil {
				t.Fatal(err)
			}
			if b.words.load(wordRawFast) == 0 {
				continue
			}
			known++
			for range 20 {
				ticks := w.now + (r.Float64()*3e9-1e6)*min(1, r.ExpFloat64())/w.perTick
				ours := k.Interval(hw.Ticks(ticks))
				theirs, _ := rawReading(b.words, w.at(ticks))
				if !theirs.Sound() {
					continue
				}
				if !ours.Sound() || ours.Earliest.Before(theirs.Earliest) || ours.Latest.After(theirs.Latest) || theirs.Status > ours.Status {
					t.Fatalf("%v ticks after: by the counter %+v, by the other clock %+v", ticks-w.now, ours, theirs)
				}
				if theirs.Width() < ours.Width()+20e-6 {
					narrow++
				}
			}
		}
	}
	if known < 300 || narrow < 1000 {
		t.Errorf("known %d times, narrow %d times", known, narrow)
	}
}

// TestCompanionSeesThatTheClockChanged: when the kernel begins to keep time by another counter, the companion goes away.
func TestCompanionSeesThatTheClockChanged(t *testing.T) {
	w := &rawWorld{r: newRand(t, 82), perTick: 0.4}
	m := &companion{counter: w, read: w.raw, suspended: func() int64 { return 7 }}
	step := func() bool { w.now += 2.5e8; return m.measure() }
	for range 30 {
		step()
	}
	if !step() {
		t.Fatal("a constant relation is not known after 3 s")
	}
	at := float64(w.at(w.now))
	w.perTick *= 1 + 30e-6
	w.start = at - w.now*w.perTick
	if step() {
		t.Error("a clock that changed by 30 ppm is still believed")
	}
	for range 20 {
		step()
	}
	if !step() {
		t.Error("the new relation is not learned")
	}
}

func pythonReader(t *testing.T) foreignReader {
	t.Helper()
	// What is called python3 may be a script that looks for it each time.
	python, err := exec.Command(needTool(t, "python3"), "-c", "import sys; print(sys.executable)").Output()
	if err != nil {
		t.Fatal(err)
	}
	return foreignReader{"Python", []string{strings.TrimSpace(string(python)), "-S", "-B", "testdata/reader.py"}, 4_000, true}
}

// TestPythonComputes compares readers/python/clockd.py with the second implementation on pages of all kinds.
func TestPythonComputes(t *testing.T) {
	f := pythonReader(t)
	r := newRand(t, 83)
	var in bytes.Buffer
	type question struct {
		interval Interval
		why      reason.Code
		raw      int64
	}
	var questions []question
	m := hw.NewManual(hw.Frequency{Hertz: 1e9})
	for range f.comparisons {
		p := new(pageWords)
		randomWords(r, p, m)
		p.store(wordSequence, uint64(r.IntN(1000))*2)
		k := randomCoefficients(r)
		c := &companion{same: true, namespace: 9, known: true, suspended: func() int64 { return []int64{7, 7, 7, 1e9, -1e7}[r.IntN(5)] }}
		k.Status = Status(1 + r.IntN(3))
		k.At, k.StaleAfter, k.VoidAfter = hw.Ticks(r.Int64N(1e18)), hw.Ticks(r.Int64N(1<<62)), hw.Ticks(r.Int64N(1<<62))
		b := publisher{words: p, counter: m, companion: c, sequence: uint64(r.IntN(1000)) * 2}
		m.Set(k.At)
		_ = b.publish(&k, []reason.Code{reason.OK, reason.NoMajority}[r.IntN(2)])
		for range r.IntN(3) {
			p.store(wordRawNotBefore+r.IntN(9), []uint64{0, 1, math.MaxUint64, 1 << 63, 1 << 47, r.Uint64()}[r.IntN(6)])
		}
		p.store(wordRawCheck, rawCheck(p, p.load(wordSequence)))
		raw := int64(k.At) + r.Int64()>>r.IntN(63)
		if r.IntN(2) == 0 {
			raw = int64(k.At) + r.Int64N(1e12) - 1e5
		}
		i, why := rawReading(p, raw)
		if r.IntN(100) == 0 { // of two publications
			p.store(wordRawNotBefore+r.IntN(10), r.Uint64())
			i, why = void(Unsynchronised, 0), reason.PageTorn
		}
		for i := range wordSpec {
			in.Write(binary.LittleEndian.AppendUint64(nil, p.load(i)))
		}
		in.Write(binary.LittleEndian.AppendUint64(nil, uint64(raw)))
		questions = append(questions, question{i, why, raw})
	}
	cmd := exec.Command(f.command[0], append(f.command[1:], "compare")...)
	cmd.Stdin, cmd.Stderr = &in, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	answers, sound := bufio.NewReader(bytes.NewReader(out)), 0
	for n, q := range questions {
		var got foreignReading
		if err := binary.Read(answers, binary.LittleEndian, &got); err != nil {
			t.Fatal(err)
		}
		reading, why, _ := got.reading()
		if reading.Interval != q.interval || why != q.why {
			t.Fatalf("%d: it says %+v, %s, want %+v, %v, at %d", n, reading.Interval, got.Reason, q.interval, q.why, q.raw)
		}
		if q.interval.Sound() {
			sound++
		}
	}
	if sound < len(questions)/10 {
		t.Errorf("only %d of %d were sound", sound, len(questions))
	}
}

// TestPythonReader: readers/python/clockd.py opens what it should and finds a new file.
func TestPythonReader(t *testing.T) {
	f := pythonReader(t)
	openForeign(t, f)
	vmclockForeign(t, f)
	followForeign(t, f, [2]string{"monotonic_raw", "auto"})
	exampleRuns(t, f.command[0], "../readers/python/clockd.py")
}

// TestPythonReaderWhileWritersDie is the Python reader under load, where it reads the page's very counter.
func TestPythonReaderWhileWritersDie(t *testing.T) {
	soakForeign(t, pythonReader(t), "monotonic_raw")
}

// TestPythonReaderOfTheProcessorsCounter: true time is a function of the processor's counter, and what Python says by
// CLOCK_MONOTONIC_RAW is right.
func TestPythonReaderOfTheProcessorsCounter(t *testing.T) {
	counter, err := hw.Open("auto")
	if err != nil {
		t.Fatal(err)
	}
	if k := kindOf(counter); k != kindTSC && k != kindCNTVCT {
		t.Skipf("this machine's counter is %s", counter.Spec())
	}
	path := filepath.Join(t.TempDir(), "page")
	hertz := counter.Frequency().Hertz
	world := truth{Line{counter.Read(), Unix(1.8e18, 7), PeriodOf(hertz)}, counter.Spec(), hw.Ticks(hertz * 0.1)}
	line, err := json.Marshal(world)
	if err != nil {
		t.Fatal(err)
	}
	narrowest := func() (best rawBracket) {
		m := &companion{counter: counter, read: hw.RawNanoseconds}
		for i := range 1000 {
			if b, ok := m.bracket(); ok && (i == 0 || b.high-b.low < best.high-best.low) {
				best = b
			}
		}
		return best
	}
	before := narrowest()
	writer := startRole(t, "writer", path, line, 1)
	writer.line()
	next := watchForeign(t, pythonReader(t), path)
	var sound []foreignReading
	for len(sound) < 2000 {
		if got := next(); Status(got.Status).Sound() {
			sound = append(sound, got)
		}
	}
	writer.kill()
	dead, err := hw.RawNanoseconds()
	if err != nil {
		t.Fatal(err)
	}
	for got := next(); Status(got.Status).Sound(); got = next() {
		if int64(got.Ticks)-dead > 100e6+1e4 {
			t.Fatalf("sound %d ns after the writer's death", int64(got.Ticks)-dead)
		}
	}
	after := narrowest()
	middle := func(b rawBracket) float64 { return float64(b.low-before.low)/2 + float64(b.high-before.low)/2 }
	perNanosecond := (middle(after) - middle(before)) / float64(after.ns-before.ns)
	width := 0.0
	for _, got := range sound {
		// Where the counter was when Python read its clock, as interpolated between two brackets that have nothing to do with the page.
		ticks := before.low + hw.Ticks(middle(before)+float64(int64(got.Ticks)-before.ns)*perNanosecond)
		r, _, _ := got.reading()
		if real := world.Line.At(ticks); !r.Interval.Contains(real) {
			t.Fatalf("true time %v is outside %+v by %g s", real, r.Interval, math.Max(real.Seconds(r.Interval.Latest), r.Interval.Earliest.Seconds(real)))
		}
		width = max(width, r.Interval.Width())
	}
	if width > 100e-6 {
		t.Errorf("it is up to %g s wide", width)
	}
	t.Logf("%d sound readings, up to %.3g µs wide; brackets of %d and %d ticks", len(sound), width*1e6, before.high-before.low, after.high-after.low)
}

// TestCompanionPublishingDoesNotAlloc: with the companion too a publication needs no memory.
func TestCompanionPublishingDoesNotAlloc(t *testing.T) {
	counter, err := hw.Open("auto")
	if err != nil {
		t.Fatal(err)
	}
	w := mustCreate(t, filepath.Join(t.TempDir(), "page"), counter, 1)
	k := goodCoefficients()
	k.At = counter.Read()
	k.StaleAfter, k.VoidAfter = k.At+1e15, k.At+1e15
	if n := testing.AllocsPerRun(100, func() { _ = w.Publish(k) }); n > 0 {
		t.Errorf("%g allocations", n)
	}
}
