package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/clockd/clockd/internal/cli"
	"github.com/clockd/clockd/internal/daemon/eventlog"
)

// replayResult is what replay --json prints.
type replayResult struct {
	Same    bool   `json:"same"`
	Events  uint64 `json:"events"`
	Actions uint64 `json:"actions"`
	Clockd  string `json:"clockd"`
	// End is why the record ended; null if it was cut off.
	End *string `json:"end"`
	// Line is that of the first difference.
	Line     int    `json:"line,omitempty"`
	Recorded string `json:"recorded,omitempty"`
	Replayed string `json:"replayed,omitempty"`
}

func newReplay(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "replay LOG",
		Short: "Replay an event log and see whether the same decisions are made",
		Long: `Feed the events of an event log (log.events in the configuration) to a fresh node and compare
what it decides with what the daemon decided, byte for byte. The exit code is 0 if all is the
same, 1 at the first difference, which is shown with its line.`,
		Example: "  clockd replay /var/log/clockd/events.jsonl",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, list []string) error {
			return a.replay(list[0])
		},
	}
	return a.asJSON(c)
}

func (a *app) replay(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	r, err := eventlog.Replay(f)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if a.json {
		out := replayResult{Same: r.Difference == nil, Events: r.Events, Actions: r.Actions, Clockd: r.Header.Clockd}
		if r.End != "" {
			out.End = &r.End
		}
		if d := r.Difference; d != nil {
			out.Line, out.Recorded, out.Replayed = d.Line, d.Recorded, d.Replayed
		}
		if err := a.printJSON(out); err != nil {
			return err
		}
	}
	if r.Difference != nil {
		if !a.json {
			a.print("%s: %s\n", path, r.Difference)
		}
		return &cli.CodeError{Code: cli.Error, Err: errors.New("the replay differs"), Quiet: true}
	}
	if !a.json {
		end := r.End
		if end == "" {
			end = "cut off: the daemon was killed, or is still running"
		}
		a.print("%s: %d events, %d actions, all the same (recorded by clockd %s; end: %s)\n", path, r.Events, r.Actions, r.Header.Clockd, end)
	}
	return nil
}
