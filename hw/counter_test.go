package hw

import (
	"encoding/json"
	"math"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// everyCounter opens what this machine has.
func everyCounter(t testing.TB) map[string]Counter {
	t.Helper()
	counters := map[string]Counter{}
	for _, name := range []string{nameTSC, nameCNTVCT, nameMonotonicRaw} {
		c, err := Open(name)
		if err != nil {
			t.Logf("%s: %v", name, err)
			continue
		}
		counters[name] = c
		s, err := NewSkewed(c, Skew{PPM: 40, WalkPerRootSecond: 1e-8, Seed: 1, Start: c.Read()})
		if err != nil {
			t.Fatal(err)
		}
		counters["skewed "+name] = s
	}
	if len(counters) == 0 {
		t.Fatal("this machine has no counter at all")
	}
	return counters
}

// A reading that happens after another, as a shared variable shows, is not before it: on any CPU.
func TestReadingsNeverGoBackwardsAcrossCPUs(t *testing.T) {
	var allowed unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		t.Fatal(err)
	}
	for name, c := range everyCounter(t) {
		rounds := 200_000
		if strings.Contains(name, nameMonotonicRaw) {
			rounds = 20_000
		}
		var last, failures atomic.Uint64
		last.Store(uint64(c.Read()))
		var group sync.WaitGroup
		for cpu := range runtime.NumCPU() {
			group.Go(func() {
				// The thread is bound to its CPU and ends with the goroutine, since it is never unlocked.
				runtime.LockOSThread()
				var one unix.CPUSet
				one.Set(cpu)
				if allowed.IsSet(cpu) {
					if err := unix.SchedSetaffinity(0, &one); err != nil {
						t.Errorf("CPU %d: %v", cpu, err)
					}
				}
				for range rounds {
					before := Ticks(last.Load())
					now := c.Read()
					if now.Before(before) {
						failures.Add(1)
					}
					last.CompareAndSwap(uint64(before), uint64(now))
				}
			})
		}
		group.Wait()
		if n := failures.Load(); n != 0 {
			t.Errorf("%s: %d of %d readings were before one that happened before them", name, n, rounds*runtime.NumCPU())
		}
	}
}

func TestReadTSCIsTheCounter(t *testing.T) {
	c := mustOpenTSC(t)
	if !IsTSC(c) || IsCNTVCT(c) {
		t.Errorf("%s is not called the TSC", c.Spec())
	}
	for range 1000 {
		a, b, d := ReadTSC(), c.Read(), ReadTSC()
		if b.Before(a) || d.Before(b) {
			t.Fatalf("ReadTSC %d, Read %d, ReadTSC %d", a, b, d)
		}
	}
}

func TestSpecOpensTheSameCounter(t *testing.T) {
	for name, c := range everyCounter(t) {
		again, err := Open(c.Spec())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if again.Spec() != c.Spec() || again.Frequency() != c.Frequency() {
			t.Errorf("%s %v became %s %v", c.Spec(), c.Frequency(), again.Spec(), again.Frequency())
		}
		for range 1000 {
			a, b, d := c.Read(), again.Read(), c.Read()
			if b.Before(a) || d.Before(b) {
				t.Fatalf("%s: %d, from its spec %d, %d", name, a, b, d)
			}
		}
	}
}

func TestOpenRefusesAnImpossibleFrequency(t *testing.T) {
	c := mustOpenTSC(t)
	wrong := Frequency{Hertz: c.Frequency().Hertz * 1.01}
	if _, err := Open(nameTSC + frequencyText(wrong)); err == nil || !strings.Contains(err.Error(), "ticks per second") {
		t.Errorf("a frequency that is 1 %% off: %v", err)
	}
	close := Frequency{Hertz: c.Frequency().Hertz * 1.0001}
	if _, err := Open(nameTSC + frequencyText(close)); err != nil {
		t.Errorf("a frequency that is 100 ppm off: %v", err)
	}
}

func TestMonotonicRawRefusesAnotherTimeNamespace(t *testing.T) {
	inode, known := timeNamespace()
	if !known {
		t.Skip("the kernel shows no time namespaces")
	}
	if _, err := Open((&monotonicRaw{timeNamespace: inode}).Spec()); err != nil {
		t.Error(err)
	}
	other := &monotonicRaw{timeNamespace: inode + 1}
	if _, err := Open(other.Spec()); err == nil || !strings.Contains(err.Error(), "time namespace") {
		t.Errorf("the spec of another namespace: %v", err)
	}
	if err := StillTrusted(other); err == nil {
		t.Error("a counter of another time namespace is trusted")
	}
}

func TestManualIsNotOpened(t *testing.T) {
	m := NewManual(Frequency{Hertz: 1e6, ErrorPPB: 2.5})
	m.Set(7)
	if got := m.Advance(-2); got != 5 || m.Read() != 5 {
		t.Errorf("7 − 2 = %d", got)
	}
	if m.Spec() != "manual(hz=1000000,error_ppb=2.5)" {
		t.Error(m.Spec())
	}
	if c, err := Open(m.Spec()); err == nil || c != nil || !strings.Contains(err.Error(), "by hand") {
		t.Errorf("%v, %v", c, err)
	}
}

func TestChooseAutoTellsWhy(t *testing.T) {
	choice, err := Choose(nameAuto)
	if err != nil {
		t.Fatal(err)
	}
	name, _, _ := strings.Cut(choice.Counter.Spec(), "(")
	candidates := Probe()
	for _, c := range candidates {
		if c.Usable {
			if c.Name != name {
				t.Errorf("auto took %s, the best that can be used is %s", name, c.Name)
			}
			break
		}
	}
	if len(choice.Reason) < 20 {
		t.Errorf("the reason is %q", choice.Reason)
	}
	t.Logf("%s: %s", choice.Counter.Spec(), choice.Reason)
}

func TestProbe(t *testing.T) {
	usable := 0
	for _, c := range Probe() {
		text, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		t.Log(string(text))
		if c.Reason == "" {
			t.Errorf("%s has no reason", c.Name)
		}
		if !c.Usable {
			if c.Frequency != nil || c.Resolution != nil {
				t.Errorf("%s cannot be used and has figures", c.Name)
			}
			continue
		}
		usable++
		if c.Frequency.Hertz < 1e6 || c.Resolution.Granularity < 1 || c.Resolution.ReadCost <= 0 || c.Resolution.ReadCost > 1e6 {
			t.Errorf("%s: %+v %+v", c.Name, *c.Frequency, *c.Resolution)
		}
	}
	if usable == 0 {
		t.Error("no counter can be used")
	}
}

// stepping is a counter whose every reading is some ticks after the one before.
type stepping struct {
	Manual
	steps []int64
	next  int
}

func (s *stepping) Read() Ticks {
	s.next++
	return s.Advance(s.steps[s.next%len(s.steps)])
}

func TestMeasureResolution(t *testing.T) {
	counter := func(steps ...int64) *stepping {
		return &stepping{Manual: Manual{frequency: Frequency{Hertz: 1e6}}, steps: steps}
	}
	// Four readings make 78 ticks of a microsecond; the smallest step but 0 is 26.
	r, err := MeasureResolution(counter(0, 26, 0, 52))
	if err != nil || r.Granularity != 26 || math.Abs(r.ReadCost-19500) > 200 {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := MeasureResolution(counter(0)); err == nil {
		t.Error("a stopped counter has a resolution")
	}
	if _, err := MeasureResolution(counter(5, 5, -5)); err == nil {
		t.Error("a counter that goes backwards has a resolution")
	}
}

func TestBetweenContainsTheTruth(t *testing.T) {
	// A counter of 2.5 ticks per nanosecond, events at real times; its readings and the clock's are rounded down.
	const rate = 2.5
	reading := func(ns float64) Ticks { return Ticks(math.Floor(ns * rate)) }
	for baseline := 100.0; baseline < 1e9; baseline *= 1.7 {
		for shift := 0.0; shift < 3; shift += 0.13 {
			a := rawBracket{reading(10 + shift), reading(40 + shift), int64(math.Floor(11 + shift))}
			b := rawBracket{reading(baseline + shift), reading(baseline + 33.7), int64(math.Floor(baseline + 33.3))}
			f, err := between(a, b)
			if err != nil {
				t.Fatal(err)
			}
			if off := math.Abs(f.Hertz/(rate*1e9)-1) * 1e9; off > f.ErrorPPB {
				t.Fatalf("baseline %g: %+v is off by %g ppb", baseline, f, off)
			}
			if tidied := tidy(f); math.Abs(tidied.Hertz/(rate*1e9)-1)*1e9 > tidied.ErrorPPB || tidied.ErrorPPB > f.ErrorPPB+0.003 {
				t.Fatalf("%+v is tidied to %+v", f, tidied)
			}
		}
	}
	if _, err := between(rawBracket{0, 100, 50}, rawBracket{90, 200, 51}); err == nil {
		t.Error("overlapping ends give a frequency")
	}
}

// A skewed counter calibrates to its own wrong frequency, within the error that is claimed.
func TestCalibrateFindsTheSkew(t *testing.T) {
	base, err := Open(nameMonotonicRaw)
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSkewed(base, Skew{PPM: 5000, Start: base.Read()})
	if err != nil {
		t.Fatal(err)
	}
	f, err := Calibrate(s, 50*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if off := math.Abs(f.Hertz/1.005e9-1) * 1e9; off > f.ErrorPPB {
		t.Errorf("%+v is off by %.0f ppb", f, off)
	}
	if s.Frequency().Hertz != 1e9 {
		t.Errorf("the nominal frequency of a skewed counter is %v", s.Frequency())
	}
}

func TestCalibrateRefusesACounterThatGoesBackwards(t *testing.T) {
	c := &stepping{Manual: Manual{frequency: Frequency{Hertz: 1e6}}, steps: []int64{100, 100, -1}}
	if _, err := Calibrate(c, time.Millisecond); err == nil {
		t.Error("it has a frequency")
	}
}
