package virtualclock

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/clockd/clockd/reason"
)

// ErrEpoch says that the clock was stepped during a wait: what was read of it before may have been wrong.
var ErrEpoch = errors.New("the clock was stepped, take a new timestamp")

// How CommitWait divides its waiting. A timer is late by tens of microseconds, so the last stretch is spent looking; while the
// interval reaches over t a new sample may narrow it at any time, so it looks often; before that, only often enough to notice
// that the clock is lost.
const (
	waitSpin    = 80 * time.Microsecond
	waitNarrow  = 5 * time.Millisecond
	waitLongest = time.Second
)

// CommitWait returns nil once t has certainly passed (After(t)): the wait of Spanner's commit rule (Corbett et al. 2012, 4.1.2).
//
// It gives up at once with an error that wraps the reason.Code if the clock is not sound, with ErrEpoch if the clock's epoch
// changes while it waits (then t itself may come from a wrong interval), and with the context's error when that ends. The epoch
// at the first look is taken to be that of t.
func CommitWait(ctx context.Context, s Source, t Time) error {
	var timer *time.Timer
	for first, epoch := true, Epoch(0); ; first = false {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("virtualclock: waiting for %v: %w", t, context.Cause(ctx))
		}
		i, why := nowReason(s)
		if !i.Sound() {
			return unsoundError(t, i.Status, why)
		}
		if first {
			epoch = i.Epoch
		}
		if i.Epoch != epoch {
			return fmt.Errorf("virtualclock: waiting for %v: epoch %d became %d: %w", t, epoch, i.Epoch, ErrEpoch)
		}
		if i.After(t) {
			return nil
		}
		pause := waitPause(i, t)
		if pause <= 0 {
			runtime.Gosched()
			continue
		}
		if timer == nil {
			timer = time.NewTimer(pause)
			defer timer.Stop()
		} else {
			timer.Reset(pause)
		}
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
	}
}

// unsoundError names the reason, if there is one.
func unsoundError(t Time, s Status, why reason.Code) error {
	if why == reason.OK {
		return fmt.Errorf("virtualclock: cannot wait for %v: the clock is %v", t, s)
	}
	return fmt.Errorf("virtualclock: cannot wait for %v: the clock is %v: %w", t, s, why)
}

// waitPause is how long CommitWait sleeps before it looks again; not positive: it looks at once.
func waitPause(i Interval, t Time) time.Duration {
	if i.Before(t) {
		return min(max(t.Sub(i.Latest), waitSpin), waitLongest)
	}
	return min(t.Sub(i.Earliest)-waitSpin, waitNarrow)
}
