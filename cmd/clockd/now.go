package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/clockd/clockd/internal/cli"
	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/internal/daemon/explain"
	"github.com/clockd/clockd/virtualclock"
)

// clock reads this host's clock: the shared page where this user can read it, else the daemon's socket.
type clock struct {
	reader  *virtualclock.Reader
	control string
	// pageError says why the page is not read.
	pageError error
}

func (a *app) openClock() *clock {
	c := &clock{control: a.control()}
	// A socket that was asked for by name is meant, unless a page was too.
	if a.controlPath != "" && a.pagePath == "" {
		return c
	}
	c.reader, c.pageError = virtualclock.OpenPage(a.page())
	return c
}

func (c *clock) close() {
	if c.reader != nil {
		_ = c.reader.Close()
	}
}

func (c *clock) now(ctx context.Context) (control.Now, error) {
	if c.reader != nil {
		reading, why := c.reader.ReadReason()
		k, _ := c.reader.Coefficients()
		return control.MakeNow(reading.Time, reading.Interval, why, "page").As(k.Kind), nil
	}
	var n control.Now
	if err := control.Call(ctx, c.control, control.CommandNow, &n); err != nil {
		return control.Now{}, errors.Join(err, c.pageError)
	}
	return n, nil
}

func newNow(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "now",
		Short: "Read the clock once: the time and how wrong it can be",
		Long: `Read the clock once, from the shared page if this user can read it, else from the daemon.
With --json, earliest_ns and latest_ns are the edges of the interval that contains true time
(nanoseconds since 1970, UTC), null when the clock is not sound. The exit code is 0 whatever
the status is: look at status.`,
		Example: "  clockd now\n  clockd now --json | jq '.latest_ns - .earliest_ns'",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			clock := a.openClock()
			defer clock.close()
			n, err := clock.now(c.Context())
			if err != nil {
				return err
			}
			return a.showNow(&n)
		},
	}
	return a.asJSON(c)
}

func (a *app) showNow(n *control.Now) error {
	if a.json {
		return a.printJSON(n)
	}
	status := a.paint(statusColour(n.Status), n.Status.String())
	if n.TimeNS == nil {
		a.print("time unknown  %s: %s\n", status, n.Explanation)
		return nil
	}
	a.print("%s ± %s  %s  epoch %d", time.Unix(0, *n.TimeNS).UTC().Format("2006-01-02T15:04:05.000000000Z"), explain.Known(n.BoundS, explain.Seconds), status, n.Epoch)
	if n.Kind == control.KindInternal {
		a.print("  INTERNAL: agreed with the peers, says nothing of true time")
	}
	if n.Reason != 0 {
		a.print("  (%s)", n.Explanation)
	}
	a.print("\n")
	return nil
}

// waitPause is how long wait pauses between two looks.
const waitPause = 20 * time.Millisecond

func newWait(a *app) *cobra.Command {
	var bound, timeout time.Duration
	c := &cobra.Command{
		Use:   "wait",
		Short: "Wait until the clock can be trusted within a bound",
		Long: `Wait until the clock is synchronised or held over with a bound of at most --bound, also for a
daemon that has not started yet. Exit codes: 0 reached, 1 error, 2 wrong usage, 3 not reached
within --timeout.`,
		Example: "  clockd wait --bound 1ms --timeout 60s && start-my-database",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if bound <= 0 || timeout < 0 {
				return cli.UsageError(errors.New("--bound must be above 0 and --timeout not below (0 waits for ever)"))
			}
			return a.wait(c.Context(), bound, timeout)
		},
	}
	c.Flags().DurationVar(&bound, "bound", time.Millisecond, "the largest error that is good enough")
	c.Flags().DurationVar(&timeout, "timeout", time.Minute, "how long to wait at most; 0: for ever")
	return a.asJSON(c)
}

func (a *app) wait(ctx context.Context, bound, timeout time.Duration) error {
	limit := ctx
	if timeout > 0 {
		var cancel context.CancelFunc
		limit, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	pause := time.NewTicker(waitPause)
	defer pause.Stop()
	var last string
	for {
		// The page is opened anew each time: there may be none yet.
		clock := a.openClock()
		n, err := clock.now(limit)
		clock.close()
		switch {
		case err == nil && n.BoundS != nil && *n.BoundS <= bound.Seconds():
			return a.showNow(&n)
		case err != nil && limit.Err() == nil:
			last = err.Error()
		case err != nil: // the time is up: what was wrong before tells more
			last = cmp.Or(last, err.Error())
		case n.BoundS != nil:
			last = fmt.Sprintf("the clock is %s within %s", n.Status, explain.Seconds(*n.BoundS))
		default:
			last = fmt.Sprintf("the clock is %s: %s", n.Status, n.Explanation)
		}
		select {
		case <-pause.C:
		case <-limit.Done():
			if ctx.Err() != nil {
				return errors.New("interrupted")
			}
			return &cli.CodeError{Code: exitTimeout, Err: fmt.Errorf("no bound of %v within %v: %s", bound, timeout, last)}
		}
	}
}
