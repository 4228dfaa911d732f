package daemon

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
)

func goodState() state {
	return state{Format: stateFormat, Counter: "tsc", Hertz: 1e9, Rate: 20e-6, RateStd: 1e-8, Saved: time.Unix(1_700_000_000, 0).UTC()}
}

func TestStateIsReadBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "state.json")
	if s, err := loadState(path); s != nil || err != nil {
		t.Errorf("no file gives %+v, %v", s, err)
	}
	for range 2 { // the second time there is one already
		if err := saveState(path, goodState()); err != nil {
			t.Fatal(err)
		}
	}
	s, err := loadState(path)
	if err != nil || *s != goodState() {
		t.Errorf("read back %+v, %v", s, err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("something was left beside the state: %v, %v", entries, err)
	}
}

func TestStateThatCannotBeWrittenLeavesTheOldOne(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state.json")
	if err := os.MkdirAll(filepath.Join(path, "in the way"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := saveState(path, goodState()); err == nil || !strings.Contains(err.Error(), "cannot be written") {
		t.Errorf("over a directory: %v", err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("a failed write leaves %v", entries)
	}
	if err := saveState(filepath.Join("/proc/nowhere", "state.json"), goodState()); err == nil {
		t.Error("a state in /proc")
	}
}

func TestAbsurdStatesAreRefused(t *testing.T) {
	f := hw.Frequency{Hertz: 1e9, ErrorPPB: 1000}
	for name, change := range map[string]func(*state){
		"other counter": func(s *state) { s.Counter = "monotonic_raw" },
		"no frequency":  func(s *state) { s.Hertz = 0 },
		"negative":      func(s *state) { s.Hertz = -1 },
		"no deviation":  func(s *state) { s.RateStd = 0 },
		"wide":          func(s *state) { s.RateStd = 1 },
		"too fast":      func(s *state) { s.Rate = 60e-6 },
		"too slow":      func(s *state) { s.Rate = -1 },
		"NaN":           func(s *state) { s.Rate = math.NaN() },
		"infinite":      func(s *state) { s.Hertz = math.Inf(1) },
		"other crystal": func(s *state) { s.Hertz = 1.1e9 },
	} {
		s := goodState()
		change(&s)
		if rate, std, err := s.rateFor("tsc(hz=1)", f, 50e-6); err == nil || rate != 0 || std != 0 {
			t.Errorf("%s: rate %g ± %g, %v", name, rate, std, err)
		}
	}
	for _, text := range []string{"", "{", "null x", `{"format":2}`, strings.Repeat(" ", maxState+1)} {
		if s, err := parseState([]byte(text)); err == nil {
			t.Errorf("%.20q gives %+v", text, s)
		}
	}
}

// The same oscillator, calibrated a little otherwise after a restart: the length of a tick is what was remembered.
func TestRateFollowsTheNominalFrequency(t *testing.T) {
	s := goodState()
	for _, hertz := range []float64{1e9, 1e9 * (1 + 3e-6), 1e9 * (1 - 2e-6)} {
		rate, std, err := s.rateFor("tsc(hz=5,error_ppb=1)", hw.Frequency{Hertz: hertz, ErrorPPB: 5000}, 50e-6)
		if err != nil {
			t.Fatal(err)
		}
		if was, is := (1+s.Rate)/s.Hertz, (1+rate)/hertz; math.Abs(is/was-1) > 1e-12 {
			t.Errorf("at %g Hz a tick is %g s, it was %g s", hertz, is, was)
		}
		if std < rateAgeing {
			t.Errorf("after a restart the rate is claimed within %g", std)
		}
	}
}

func TestCounterIdentity(t *testing.T) {
	for spec, want := range map[string]string{
		"tsc(hz=2596119994.142,error_ppb=2460.03)": "tsc",
		"monotonic_raw":           "monotonic_raw",
		"monotonic_raw(timens=4)": "monotonic_raw",
		"skewed(tsc(hz=1),seed=4,ppm=3,start=7,origin=9)":                          "skewed(tsc,seed=4,ppm=3)",
		"skewed(tsc(hz=1,error_ppb=2),seed=4,walk=1e-9,sine=1ppm/60s/0.5,start=7)": "skewed(tsc,seed=4,walk=1e-9,sine=1ppm/60s/0.5)",
	} {
		if got := counterIdentity(spec); got != want {
			t.Errorf("%s is %s, want %s", spec, got, want)
		}
	}
}

func TestKeeperTellsWhatWentWrong(t *testing.T) {
	testkit.NoLeaks(t)
	k := newKeeper()
	path := filepath.Join(t.TempDir(), "state.json")
	k.Save(path, goodState())
	if err := <-k.errors; err != nil {
		t.Fatal(err)
	}
	k.Save("/proc/nowhere/state.json", goodState())
	if err := <-k.errors; err == nil {
		t.Error("a state in /proc")
	}
	k.Close()
	k.Close()
}

func FuzzParseState(f *testing.F) {
	b, err := json.Marshal(goodState())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"format":1,"counter":"tsc","hertz":1e308,"rate":-1e308,"rate_std":1e-300}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseState(b)
		if err != nil {
			return
		}
		const bound = 50e-6
		rate, std, err := s.rateFor("tsc(hz=1)", hw.Frequency{Hertz: 1e9}, bound)
		if err == nil && (!(math.Abs(rate) <= bound) || !(std > 0) || std > 0.011) {
			t.Errorf("%s gives rate %g ± %g", b, rate, std)
		}
	})
}

// The watch sees a counter that stops, jumps back, or runs through what the kernel's clock slept.
func TestWatchSeesDisruptions(t *testing.T) {
	real, err := hw.Open("monotonic_raw")
	if err != nil {
		t.Fatal(err)
	}
	counter := &jumping{Counter: real}
	w, err := newWatch(counter, nil)
	if err != nil {
		t.Fatal(err)
	}
	second := int64(real.Frequency().Hertz)
	if code := w.Look(); code != reason.OK {
		t.Errorf("nothing has happened, but %v", code)
	}
	counter.back.Store(10 * second)
	if code := w.Look(); code != reason.CounterBackwards {
		t.Errorf("the counter went back: %v", code)
	}
	counter.back.Store(0)
	if code := w.Look(); code != reason.HostSuspended {
		t.Errorf("the counter ran on alone: %v", code)
	}
	if code := w.Look(); code != reason.OK {
		t.Errorf("it is over, but %v", code)
	}
	w.suspend -= time.Second
	if code := w.Look(); code != reason.HostSuspended {
		t.Errorf("the host slept for a second: %v", code)
	}
	if code := w.Look(); code != reason.OK {
		t.Errorf("told twice: %v", code)
	}
}
