package hw

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// nanosecondsPerSecond is the nominal frequency of CLOCK_MONOTONIC_RAW, by its definition.
const nanosecondsPerSecond = 1_000_000_000

// clockNanoseconds reads a kernel clock by a system call.
func clockNanoseconds(clock int32) (int64, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(clock, &t); err != nil {
		return 0, fmt.Errorf("hw: clock_gettime(%d): %w", clock, err)
	}
	return t.Nano(), nil
}

// RawNanoseconds returns CLOCK_MONOTONIC_RAW: nanoseconds since an arbitrary origin at the nominal rate of the kernel's
// clocksource, never slewed or stepped. It stands still while the host is suspended.
func RawNanoseconds() (int64, error) { return clockNanoseconds(unix.CLOCK_MONOTONIC_RAW) }

// monotonicRaw is CLOCK_MONOTONIC_RAW as a counter of 10⁹ ticks per second.
type monotonicRaw struct {
	// timeNamespace is the inode of the time namespace, whose offset is part of every reading; 0 if the kernel has none.
	timeNamespace uint64
}

// Read reads the clock. Open has shown that the call works; should it be forbidden later the reading is 0, which every check
// against going backwards sees.
func (*monotonicRaw) Read() Ticks {
	ns, err := RawNanoseconds()
	if err != nil {
		return 0
	}
	return Ticks(ns)
}

func (*monotonicRaw) Frequency() Frequency { return Frequency{Hertz: nanosecondsPerSecond} }

func (r *monotonicRaw) Spec() string {
	if r.timeNamespace == 0 {
		return nameMonotonicRaw
	}
	return nameMonotonicRaw + "(timens=" + strconv.FormatUint(r.timeNamespace, 10) + ")"
}

// TimeNamespace returns the inode of this process's time namespace, whose offset is part of every reading of CLOCK_MONOTONIC_RAW; 0
// where there are none.
func TimeNamespace() uint64 {
	inode, _ := timeNamespace()
	return inode
}

// timeNamespace returns the inode of this process's time namespace; known is false where /proc does not show it.
func timeNamespace() (inode uint64, known bool) {
	link, err := os.Readlink("/proc/self/ns/time")
	if err != nil {
		return 0, false
	}
	digits, ok := strings.CutPrefix(link, "time:[")
	if !ok {
		return 0, false
	}
	inode, err = strconv.ParseUint(strings.TrimSuffix(digits, "]"), 10, 64)
	return inode, err == nil
}

// sameTimeNamespace returns an error if this process sees the clock through another offset than the spec was made with: the
// same spec would then read differently.
func (r *monotonicRaw) sameTimeNamespace() error {
	inode, known := timeNamespace()
	switch {
	case r.timeNamespace == 0 || known && inode == r.timeNamespace:
		return nil
	case !known:
		return refused(nameMonotonicRaw, fmt.Errorf("it was opened in time namespace %d, and /proc does not tell whether this "+
			"process is in the same one; mount /proc", r.timeNamespace))
	}
	return refused(nameMonotonicRaw, fmt.Errorf("it was opened in time namespace %d and this process is in %d, where it reads "+
		"differently; run both in the same time namespace", r.timeNamespace, inode))
}

// openMonotonicRaw opens the clock as seen from this process, or checks that the namespace of the spec is this one.
func openMonotonicRaw(namespace uint64) (*monotonicRaw, error) {
	if _, err := RawNanoseconds(); err != nil {
		return nil, refused(nameMonotonicRaw, err)
	}
	if namespace == 0 {
		namespace, _ = timeNamespace()
	}
	r := &monotonicRaw{timeNamespace: namespace}
	if err := r.sameTimeNamespace(); err != nil {
		return nil, err
	}
	return r, nil
}
