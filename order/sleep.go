package order

import (
	"context"
	"runtime"
	"time"
)

// Sleeper waits. It may return early, for whoever calls it looks at the clock again; that is also why the time that it sleeps by
// need not be good. In a simulation it advances the simulated time.
type Sleeper interface {
	// Sleep returns nil after about d, or the context's error when that ends.
	Sleep(ctx context.Context, d time.Duration) error
}

// Timer sleeps by the runtime's timers, which are late by some tens of microseconds. It is what is used where no Sleeper is given, and
// works in the bubbles of testing/synctest.
type Timer struct{}

// Sleep implements Sleeper.
func (Timer) Sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// Spinner is Timer for all but the last stretch, which it spends letting others run and looking: it costs a processor for that long
// and gains the timers' lateness. 80 µs is a good stretch. It must not be used in a bubble of testing/synctest, where time
// does not pass for who does not sleep.
type Spinner time.Duration

// Sleep implements Sleeper.
func (s Spinner) Sleep(ctx context.Context, d time.Duration) error {
	if d > time.Duration(s) {
		return Timer{}.Sleep(ctx, d-time.Duration(s))
	}
	runtime.Gosched()
	return ctx.Err()
}

// orTimer is the Sleeper to use if s is given or not.
func orTimer(s Sleeper) Sleeper {
	if s == nil {
		return Timer{}
	}
	return s
}
