//go:build linux

package systemclock

import (
	"errors"
	"fmt"
	"math"

	"golang.org/x/sys/unix"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/discipline"
	"github.com/clockd/clockd/reason"
)

// Clock is a kernel's clock.
type Clock interface {
	// Name is what people call it.
	Name() string
	// Get reads its state and changes nothing.
	Get() (discipline.Kernel, error)
	// Set carries out an order and returns the state then.
	Set(o *discipline.Order) (discipline.Kernel, error)
	// SetRate sets the rate and nothing else.
	SetRate(tick, freq int64) error
	// Cross reads it against the counter.
	Cross(c hw.Counter) (hw.CrossReading, error)
	// Leaps says whether it has leap seconds and a TAI offset.
	Leaps() bool
}

// Modes of clock_adjtime(2).
const (
	adjFrequency = 0x0002
	adjMaxError  = 0x0004
	adjEstError  = 0x0008
	adjStatus    = 0x0010
	adjTAI       = 0x0080
	adjSetOffset = 0x0100
	adjNano      = 0x2000
	adjTick      = 0x4000
)

const (
	clockRealtime = 0
	// clockAux is the first of the auxiliary clocks, CLOCK_AUX of Linux 6.17 and later.
	clockAux = 16
	auxCount = 8
)

// kernelClock is a clock by its number.
type kernelClock struct {
	id   int32
	name string
}

// Realtime returns CLOCK_REALTIME.
func Realtime() Clock { return &kernelClock{clockRealtime, "CLOCK_REALTIME"} }

// Aux returns the auxiliary clock n, 0 to 7.
func Aux(n int) Clock {
	return &kernelClock{clockAux + int32(min(max(n, 0), auxCount-1)), fmt.Sprintf("CLOCK_AUX%d", n)}
}

func (k *kernelClock) Name() string { return k.name }
func (k *kernelClock) Leaps() bool  { return k.id == clockRealtime }

// put fills a field whose width depends on the architecture.
func put[T ~int32 | ~int64](field *T, v int64) { *field = T(v) }

// wide is the reverse of put.
func wide[T ~int32 | ~int64](v T) int64 { return int64(v) }

func (k *kernelClock) Get() (discipline.Kernel, error) {
	var t unix.Timex
	return k.call(&t)
}

// call is clock_adjtime(2). Its errors are reasons.
func (k *kernelClock) call(t *unix.Timex) (discipline.Kernel, error) {
	state, err := unix.ClockAdjtime(k.id, t) // the fields' widths depend on the architecture
	switch {
	case errors.Is(err, unix.EPERM):
		return discipline.Kernel{}, fmt.Errorf("systemclock: %s: %w: %w", k.name, reason.ClockForbidden, err)
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL) && t.Modes == 0:
		return discipline.Kernel{}, fmt.Errorf("systemclock: %s: %w: %w", k.name, reason.ClockUnsupported, err)
	case err != nil:
		return discipline.Kernel{}, fmt.Errorf("systemclock: %s: %w", k.name, err)
	}
	return discipline.Kernel{Freq: wide(t.Freq), Tick: wide(t.Tick), Status: t.Status, State: state, TAI: t.Tai, Offset: wide(t.Offset)}, nil
}

func (k *kernelClock) Set(o *discipline.Order) (discipline.Kernel, error) {
	t := timexOf(o)
	return k.call(&t)
}

// timexOf is what an order is for the kernel: one call, in which the kernel steps first and then takes the rest.
func timexOf(o *discipline.Order) unix.Timex {
	t := unix.Timex{Modes: adjFrequency | adjTick | adjMaxError | adjEstError | adjStatus | adjNano}
	put(&t.Freq, o.Freq)
	put(&t.Tick, o.Tick)
	put(&t.Maxerror, o.MaxError)
	put(&t.Esterror, o.EstError)
	t.Status = o.Status
	if o.TAI > 0 {
		t.Modes |= adjTAI
		put(&t.Constant, int64(o.TAI))
	}
	if o.StepNS != 0 || o.Clear {
		t.Modes |= adjSetOffset
		seconds, rest := o.StepNS/1e9, o.StepNS%1e9
		if rest < 0 { // the kernel wants nanoseconds that are not negative
			seconds, rest = seconds-1, rest+1e9
		}
		put(&t.Time.Sec, seconds)
		put(&t.Time.Usec, rest)
	}
	return t
}

func (k *kernelClock) SetRate(tick, freq int64) error {
	t := unix.Timex{Modes: adjFrequency | adjTick}
	put(&t.Freq, freq)
	put(&t.Tick, tick)
	_, err := k.call(&t)
	return err
}

func (k *kernelClock) Cross(c hw.Counter) (hw.CrossReading, error) {
	if k.id == clockRealtime {
		return hw.CrossStamp(c)
	}
	return hw.CrossStampWith(c, func() (int64, error) {
		var now unix.Timespec
		if err := unix.ClockGettime(k.id, &now); err != nil {
			return 0, fmt.Errorf("systemclock: %s: %w: %w", k.name, reason.ClockUnsupported, err)
		}
		if wide(now.Sec) >= math.MaxInt64/1_000_000_000 || now.Sec < 0 {
			return 0, fmt.Errorf("systemclock: %s reads %d s: %w", k.name, now.Sec, reason.ClockUnsupported)
		}
		return now.Nano(), nil
	})
}
