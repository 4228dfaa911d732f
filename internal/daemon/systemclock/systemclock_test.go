//go:build linux

package systemclock

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/internal/discipline"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// fake is a kernel's clock in memory; no test of this package writes to a real one.
type fake struct {
	counter *hw.Manual
	kernel  discipline.Kernel
	ns      float64
	at      hw.Ticks
	err     error
	orders  []discipline.Order
	rates   int
	leaps   bool
	// slow is how long a write takes, in ticks, the next times.
	slow []int64
}

func (f *fake) Name() string { return "CLOCK_FAKE" }
func (f *fake) Leaps() bool  { return f.leaps }

func (f *fake) run() {
	now := f.counter.Read()
	f.ns += float64(now.Sub(f.at)) * (1 + f.kernel.Rate())
	f.at = now
}

func (f *fake) Get() (discipline.Kernel, error) { return f.kernel, f.err }

func (f *fake) Set(o *discipline.Order) (discipline.Kernel, error) {
	if f.err != nil {
		return discipline.Kernel{}, f.err
	}
	if len(f.slow) > 0 {
		f.counter.Advance(f.slow[0])
		f.slow = f.slow[1:]
	}
	f.run()
	f.ns += float64(o.StepNS)
	f.kernel.Tick, f.kernel.Freq, f.kernel.Status = o.Tick, o.Freq, o.Status
	if o.TAI != 0 {
		f.kernel.TAI = o.TAI
	}
	f.orders = append(f.orders, *o)
	return f.kernel, nil
}

func (f *fake) SetRate(tick, freq int64) error {
	f.run()
	f.kernel.Tick, f.kernel.Freq = tick, freq
	f.rates++
	return f.err
}

func (f *fake) Cross(c hw.Counter) (hw.CrossReading, error) {
	f.run()
	return hw.CrossReading{At: c.Read(), Realtime: int64(f.ns), Error: 50}, nil
}

// rig is a steerer over a fake clock, and the time that passes for both.
type rig struct {
	*Steerer
	clock *fake
	now   time.Time
	owner string
	log   bytes.Buffer
	news  News
}

const begin = int64(1_800_000_000) * 1e9

func newRig(t *testing.T, config discipline.Config) *rig {
	t.Helper()
	counter := hw.NewManual(hw.Frequency{Hertz: 1e9})
	counter.Set(1000)
	r := &rig{clock: &fake{counter: counter, kernel: discipline.Kernel{Tick: discipline.NominalTick}, ns: float64(begin), at: 1000, leaps: true}, now: time.Unix(1, 0)}
	config.Hertz, config.Interval = 1e9, 1
	if config.MaxSlew == 0 {
		config.MaxSlew = 400e-6
	}
	config.StepThreshold = 0.1
	r.Steerer = New(Options{Discipline: "realtime", Clock: r.clock, Counter: counter, Config: config, Owner: func() string { return r.owner },
		Now: func() time.Time { return r.now }, Log: slog.New(slog.NewTextHandler(&r.log, nil))})
	return r
}

// sound makes the virtual clock ahead of the kernel's by that much.
func (r *rig) sound(ahead time.Duration) {
	c := virtualclock.NewClock(virtualclock.PeriodOf(1e9), 500e-6)
	now := r.clock.counter.Read()
	r.clock.run()
	t := virtualclock.Unix(int64(r.clock.ns), 0).Add(ahead)
	c.Step(now, t, 0)
	period := virtualclock.PeriodOf(1e9)
	c.SetBounds(now, t.Add(-time.Microsecond), t.Add(time.Microsecond), period.Scale(-50e-6), period.Scale(50e-6))
	c.SetStatus(virtualclock.Synchronised, now.Add(1e15), now.Add(1e15))
	r.news = News{Clock: *c.Coefficients(), Std: 1e-6, TAI: 37}
	r.Publish(&r.news)
}

func (r *rig) steps(n int) {
	for range n {
		r.clock.counter.Advance(1e9)
		r.now = r.now.Add(time.Second)
		r.Step()
	}
}

func TestNothingIsWrittenBeforeTheClockIsSound(t *testing.T) {
	r := newRig(t, discipline.Config{})
	r.steps(3)
	r.Publish(&News{Clock: virtualclock.Coefficients{}, Std: math.Inf(1)})
	r.steps(3)
	if len(r.clock.orders) > 0 || r.Status().State != control.SystemClockWaiting {
		t.Fatalf("%d orders, %+v", len(r.clock.orders), r.Status())
	}
	r.sound(10 * time.Microsecond)
	r.steps(20)
	s := r.Status()
	if s.State != control.SystemClockFollowing || s.Reason != reason.OK || math.Abs(*s.OffsetS) > 1e-6 || *s.MaxErrorS > 1.2e-3 || *s.MaxErrorS < 1e-3 || *s.TAIOffsetS != 37 || s.Steps != 0 {
		t.Errorf("%+v, offset %g, maxerror %g", s, *s.OffsetS, *s.MaxErrorS)
	}
	if !r.clock.orders[0].Clear || r.clock.orders[1].Clear {
		t.Error("what an earlier program left is cleared at the first write, and only then")
	}
	go func() { close(r.done) }() // it was not started
	r.rest()
	if r.clock.rates != 1 {
		t.Error("the clock was left with its last correction")
	}
}

func TestStepIsToldAndCounted(t *testing.T) {
	r := newRig(t, discipline.Config{Step: discipline.StepStart})
	r.sound(-5 * time.Second)
	r.steps(3)
	s := r.Status()
	if s.Steps != 1 || math.Abs(s.SteppedS+5) > 1e-3 || !strings.Contains(r.log.String(), "stepped") || s.State != control.SystemClockFollowing {
		t.Errorf("%+v\n%s", s, r.log.String())
	}
}

func TestAnOwnerIsRespected(t *testing.T) {
	r := newRig(t, discipline.Config{})
	r.owner = "chronyd (process 77)"
	r.sound(time.Millisecond)
	r.steps(5)
	s := r.Status()
	if len(r.clock.orders) > 0 || s.State != control.SystemClockRefused || s.Reason != reason.ClockOwned || s.Detail != r.owner {
		t.Fatalf("%d orders, %+v", len(r.clock.orders), s)
	}
	if n := strings.Count(r.log.String(), "not steered"); n != 1 {
		t.Errorf("told %d times", n)
	}
	r.owner = ""
	r.steps(15)
	if s := r.Status(); s.State != control.SystemClockFollowing {
		t.Errorf("the owner has gone, and it is %+v", s)
	}
	r.owner = "ntpd (process 5)" // it comes later
	r.steps(11)
	n := len(r.clock.orders)
	r.steps(5)
	if s := r.Status(); s.State != control.SystemClockRefused || len(r.clock.orders) != n {
		t.Errorf("%+v", s)
	}
}

func TestAContestIsGivenUp(t *testing.T) {
	r := newRig(t, discipline.Config{})
	r.sound(time.Millisecond)
	r.steps(5)
	r.clock.kernel.Freq += 1000
	n := len(r.clock.orders)
	r.steps(60)
	s := r.Status()
	if len(r.clock.orders) != n || s.State != control.SystemClockRefused || s.Reason != reason.ClockContested || s.Contested != 1 || s.OffsetS != nil {
		t.Errorf("%d orders more, %+v", len(r.clock.orders)-n, s)
	}
	r.now = r.now.Add(contestedFor)
	r.steps(2)
	if s := r.Status(); s.State != control.SystemClockFollowing {
		t.Errorf("an hour later: %+v", s)
	}
	r.clock.ns += 1e9 // date -s
	r.steps(1)
	if s := r.Status(); s.Reason != reason.ClockContested || s.Contested != 2 {
		t.Errorf("after a step by hand: %+v", s)
	}
}

func TestWhatTheKernelRefusesIsNamed(t *testing.T) {
	for want, err := range map[reason.Code]error{reason.ClockForbidden: unix.EPERM, reason.ClockUnsupported: unix.ENODEV} {
		r := newRig(t, discipline.Config{})
		r.clock.err = fmt.Errorf("systemclock: %w: %w", want, err)
		r.sound(0)
		r.steps(3)
		if s := r.Status(); s.State != control.SystemClockRefused || s.Reason != want {
			t.Errorf("%v: %+v", err, s)
		}
		r.clock.err = nil
		r.steps(61)
		if s := r.Status(); s.State != control.SystemClockFollowing {
			t.Errorf("a minute later: %+v", s)
		}
	}
}

func TestALateWriteIsRepeated(t *testing.T) {
	r := newRig(t, discipline.Config{})
	r.sound(0)
	r.clock.slow = []int64{3e8} // the process stood still for 0.3 s between reading and writing
	r.steps(1)
	if len(r.clock.orders) != 2 {
		t.Errorf("%d orders", len(r.clock.orders))
	}
}

// An auxiliary clock has neither leap seconds nor a TAI offset. Linux has them from 6.17 on, and the kernels that these tests meet do
// not: this is the interface with a fake behind it.
func TestAnAuxiliaryClockHasNoLeapSeconds(t *testing.T) {
	r := newRig(t, discipline.Config{})
	r.clock.leaps = false
	r.sound(0)
	r.news.Leap = discipline.Leap{At: begin/1e9 + 3600, Sign: 1}
	r.Publish(&r.news)
	r.steps(3)
	for _, o := range r.clock.orders {
		if o.TAI != 0 || o.Status&(discipline.StatusInsert|discipline.StatusDelete) != 0 {
			t.Errorf("%+v", o)
		}
	}
	if a := Aux(3); a.Name() != "CLOCK_AUX3" || a.Leaps() {
		t.Errorf("%+v", a)
	}
	// A kernel without them says so; with them this one is not switched on. Nothing is written.
	if _, err := Aux(7).Get(); err == nil {
		t.Log("this kernel has auxiliary clocks")
	} else if !errors.Is(err, reason.ClockUnsupported) && !errors.Is(err, reason.ClockForbidden) {
		t.Errorf("it says %v", err)
	}
}

func TestTimex(t *testing.T) {
	x := timexOf(&discipline.Order{Freq: -5, Tick: 9999, MaxError: 7, EstError: 3, Status: 0x50, TAI: 37, StepNS: -1_250_000_000})
	if x.Modes != adjFrequency|adjTick|adjMaxError|adjEstError|adjStatus|adjNano|adjTAI|adjSetOffset || x.Time.Sec != -2 || x.Time.Usec != 750_000_000 ||
		x.Freq != -5 || x.Tick != 9999 || x.Maxerror != 7 || x.Esterror != 3 || x.Status != 0x50 || x.Constant != 37 {
		t.Errorf("%+v", x)
	}
	if x := timexOf(&discipline.Order{Tick: 10000}); x.Modes&(adjSetOffset|adjTAI) != 0 {
		t.Errorf("%+v", x)
	}
	// The real clock is only read.
	if k, err := Realtime().Get(); err == nil && (k.Tick < 9000 || k.Tick > 11000) {
		t.Errorf("the kernel says %+v", k)
	}
}

// process makes a directory as /proc has it.
func process(t *testing.T, root string, pid int, comm, capabilities string, arguments ...string) {
	t.Helper()
	dir := filepath.Join(root, "proc", fmt.Sprint(pid))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"comm": comm + "\n", "cmdline": strings.Join(arguments, "\x00") + "\x00",
		"status": "Name:\t" + comm + "\nCapEff:\t" + capabilities + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOwnersAreFound(t *testing.T) {
	const all, nothing = "000001ffffffffff", "0000000000000000"
	for name, x := range map[string]struct {
		comm, capabilities string
		arguments          []string
		owner              bool
	}{
		"chronyd":              {"chronyd", all, []string{"/usr/sbin/chronyd", "-F", "1"}, true},
		"chronyd -x":           {"chronyd", all, []string{"/usr/sbin/chronyd", "-x", "-d"}, false},
		"chronyd without":      {"chronyd", nothing, []string{"chronyd"}, false},
		"ntpd":                 {"ntpd", "0000000002000000", []string{"ntpd", "-p", "x"}, true},
		"timesyncd":            {"systemd-timesyn", "0000000002000000", []string{"/lib/systemd/systemd-timesyncd"}, true},
		"ntpd, helper process": {"ntpd", "0000000000000400", []string{"ntpd: ntp engine"}, false},
		"bash":                 {"bash", all, []string{"bash", "chronyd"}, false},
	} {
		root := t.TempDir()
		process(t, root, 1, "init", all, "init")
		process(t, root, 4711, x.comm, x.capabilities, x.arguments...)
		if got := FindOwner(root); (got != "") != x.owner || x.owner && !strings.Contains(got, "4711") {
			t.Errorf("%s: %q", name, got)
		}
	}
	// Where /proc hides others' processes, their files in /run tell.
	root := t.TempDir()
	if got := FindOwner(root); got != "" {
		t.Errorf("nobody: %q", got)
	}
	if err := os.MkdirAll(filepath.Join(root, "run/chrony"), 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(root, "run/chrony/chronyd.pid")
	for text, want := range map[string]bool{fmt.Sprint(os.Getppid()): true, "99999999": false, "-1": false, "0": false, "x": false, "": false} {
		if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := FindOwner(root); (got != "") != want {
			t.Errorf("a file with %q: %q", text, got)
		}
	}
	if err := os.MkdirAll(filepath.Join(root, "run/systemd/timesync"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got := FindOwner(root); !strings.Contains(got, "timesyncd") {
		t.Errorf("timesyncd: %q", got)
	}
}
