package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/clockd/clockd/internal/cli"
	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/reason"
)

func newResync(a *app) *cobra.Command {
	var why string
	var wait time.Duration
	c := &cobra.Command{
		Use:   "resync",
		Short: "Tell the daemon that this host was disrupted: measure everything anew",
		Long: `For hooks that know of a suspend, a migration or a restored snapshot, and for administrators. What was
measured so far is void: readers are told at once that the clock is disrupted, every source is
asked in a quick burst, and the clock begins a new epoch. Only root and the daemon's own user may
do this. With --wait, the command ends when the clock is synchronised again; exit code 3 if it is
not by then.

clockd notices most disruptions by itself; docs/operations.md lists what it cannot notice.`,
		Example: "  clockd resync --reason host_paused          # in a hook after a restored snapshot\n  clockd resync --wait 30s",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			code, err := control.ResyncReason(why)
			if err != nil {
				return cli.UsageError(err)
			}
			if wait < 0 {
				return cli.UsageError(errors.New("--wait must not be below 0"))
			}
			return a.resync(c.Context(), code, wait)
		},
	}
	c.Flags().StringVar(&why, "reason", reason.ResyncRequested.String(), "what happened: resync_requested, host_suspended, host_paused or counter_stopped")
	c.Flags().DurationVar(&wait, "wait", 0, "how long to wait at most until the clock is synchronised again; 0: not at all")
	return a.asJSON(c)
}

func (a *app) resync(ctx context.Context, why reason.Code, wait time.Duration) error {
	var r control.Resync
	if err := control.Ask(ctx, a.control(), control.Request{Version: control.Version, Command: control.CommandResync, Reason: why.String()}, &r); err != nil {
		return err
	}
	if wait > 0 {
		if err := a.awaitEpoch(ctx, &r, wait); err != nil {
			return err
		}
	}
	if a.json {
		return a.printJSON(r)
	}
	if wait > 0 {
		a.print("synchronised anew\n")
		return nil
	}
	a.print("everything is measured anew; the next synchronised clock has an epoch above %d\n", r.Epoch)
	return nil
}

// awaitEpoch waits for a sound clock of a later epoch.
func (a *app) awaitEpoch(ctx context.Context, r *control.Resync, wait time.Duration) error {
	limit, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	pause := time.NewTicker(waitPause)
	defer pause.Stop()
	for {
		var n control.Now
		if err := control.Call(limit, a.control(), control.CommandNow, &n); err == nil && n.Status.Sound() && n.Epoch > r.Epoch {
			return nil
		}
		select {
		case <-pause.C:
		case <-limit.Done():
			if ctx.Err() != nil {
				return errors.New("interrupted")
			}
			return &cli.CodeError{Code: exitTimeout, Err: fmt.Errorf("the clock is not synchronised %v after the resync", wait)}
		}
	}
}
