package hw

import (
	"errors"
	"math"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// perfHertz returns the rate at which the kernel converts its counter to nanoseconds, from a perf event's user page
// (perf_event_open(2), cap_user_time): a source that our own calibration does not use.
func perfHertz() (float64, error) {
	attribute := unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_DUMMY}
	attribute.Size = uint32(unsafe.Sizeof(attribute))
	fd, err := unix.PerfEventOpen(&attribute, 0, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	page, err := unix.Mmap(fd, 0, os.Getpagesize(), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return 0, err
	}
	defer func() { _ = unix.Munmap(page) }()
	p := (*unix.PerfEventMmapPage)(unsafe.Pointer(&page[0]))
	const userTime = 1 << 3
	if p.Capabilities&userTime == 0 || p.Time_mult == 0 {
		return 0, errors.New("the perf page tells no rate")
	}
	// ns = ticks·mult/2^shift
	return math.Ldexp(1e9, int(p.Time_shift)) / float64(p.Time_mult), nil
}

// logHertz returns the rate of the TSC that the kernel wrote to its log at boot, to a kilohertz: the refined one if it did
// refine it, else the detected one.
func logHertz() (float64, error) {
	log, err := exec.Command("dmesg").Output()
	if err != nil {
		return 0, err
	}
	for _, pattern := range []string{`tsc: Refined TSC clocksource calibration: ([0-9.]+) MHz`, `tsc: Detected ([0-9.]+) MHz`} {
		if m := regexp.MustCompile(pattern).FindSubmatch(log); m != nil {
			mhz, err := strconv.ParseFloat(string(m[1]), 64)
			return mhz * 1e6, err
		}
	}
	return 0, errors.New("the kernel log tells no rate")
}

func kernelHertz(t *testing.T) float64 {
	t.Helper()
	hertz, errPerf := perfHertz()
	if errPerf == nil {
		return hertz
	}
	hertz, errLog := logHertz()
	if errLog != nil {
		t.Skipf("the kernel tells the rate of its counter neither by perf (%v) nor in its log (%v)", errPerf, errLog)
	}
	return hertz
}

func TestCalibrationMeetsTheKernelsOwnFigure(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the kernel's figure is known for the TSC only")
	}
	c := mustOpenTSC(t)
	want := kernelHertz(t)
	// The kernel's log is rounded to a kilohertz, and its conversion to nanoseconds to half of 2⁻²²: 119 ppb.
	kernelPPB := 500/want*1e9 + 119 + 1
	check := func(f Frequency) {
		t.Helper()
		if off := math.Abs(f.Hertz/want-1) * 1e9; off > f.ErrorPPB+kernelPPB {
			t.Errorf("measured %.3f Hz ± %.0f ppb, the kernel says %.3f: off by %.0f ppb", f.Hertz, f.ErrorPPB, want, off)
		}
	}
	check(c.Frequency())
	k, err := StartCalibration(c)
	if err != nil {
		t.Fatal(err)
	}
	last := math.Inf(1)
	for _, wait := range []time.Duration{10 * time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond} {
		time.Sleep(wait)
		f, err := k.Frequency()
		if err != nil {
			t.Fatal(err)
		}
		check(f)
		t.Logf("%.3f Hz ± %.0f ppb", f.Hertz, f.ErrorPPB)
		last = min(last, f.ErrorPPB)
	}
	if last > 50_000 {
		t.Errorf("after 600 ms the frequency is known to %.0f ppb only", last)
	}
}
