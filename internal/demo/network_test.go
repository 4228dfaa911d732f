package demo

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/virtualclock"
)

// TestALopsidedLineMakesAClockWrongWithinItsBound: by half of the difference of the two ways, which the clock cannot know and does claim.
func TestALopsidedLineMakesAClockWrongWithinItsBound(t *testing.T) {
	testkit.NoLeaks(t)
	ownDirectory(t)
	const delay = 20 * time.Millisecond
	n, err := StartNetwork(t.Context(), NetworkOptions{Hosts: 2, Delay: func(i int) (there, back time.Duration) {
		if i == 0 {
			return delay, 0
		}
		return 0, delay
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}()
	for i, sign := range []float64{1, -1} {
		r, err := virtualclock.OpenPage(n.Page(i))
		if err != nil {
			t.Fatal(err)
		}
		reading := r.Read()
		truth := n.True()
		if !reading.Interval.Sound() || truth.Before(reading.Interval.Earliest) {
			t.Errorf("host %d: true time %v, interval %+v", i, truth, reading.Interval)
		}
		// On a busy machine some milliseconds may be anywhere.
		if off := reading.Time.Seconds(truth) * sign; off < 5e-3 || off > 15e-3 {
			t.Errorf("host %d is off by %g s", i, off)
		}
		if width := reading.Interval.Width(); width < delay.Seconds() {
			t.Errorf("host %d claims a width of %g s", i, width)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	select {
	case err := <-n.Ended():
		t.Error(err)
	default:
	}
	if n.Hosts() != 2 {
		t.Errorf("%d hosts", n.Hosts())
	}
}

func TestANetworkThatCannotStart(t *testing.T) {
	testkit.NoLeaks(t)
	ownDirectory(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := StartNetwork(ctx, NetworkOptions{Hosts: 1}); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: %v", err)
	}
}
