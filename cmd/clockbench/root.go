package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/clockd/clockd/internal/cli"
)

// The exit codes beside those of internal/cli, documented in docs/scenarios.md and docs/observe.md.
const (
	exitViolation = 3
	exitDifferent = 4
)

// app is what every command needs of the world.
type app struct {
	version  string
	out, err io.Writer
	// terminal: err is one, so a progress bar is welcome.
	terminal bool
	json     bool
}

func newApp(version string) *app {
	a := &app{version: version, out: os.Stdout, err: os.Stderr}
	info, err := os.Stderr.Stat()
	a.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
	return a
}

// execute runs one command line and returns the exit code.
func execute(ctx context.Context, a *app, args []string) int {
	root := newRoot(a)
	root.SetArgs(args)
	return cli.Exit(root.ExecuteContext(ctx), "clockbench", a.err)
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "clockbench",
		Short: "Measure clockd where the truth is known",
		Long: `clockbench runs clockd's own node, unchanged, in a simulation of oscillators, networks,
servers and faults, where true time is known exactly: it measures the clock's true error and
checks every interval that the node claims, with no tolerance.`,
		Example: `  clockbench scenarios                      # what there is to measure in
  clockbench sim lan_sw dc --seeds 1-5      # ours beside chrony, tuned chrony and an oracle
  clockbench sim --all --seeds 1-20 --json  # everything, for a program
  clockbench sim ./mine.toml -v             # a scenario of your own, a row for each seed
  clockbench course external                # a lesson: what is measured beside what theory bounds
  clockbench live live_faults --out run     # real daemons, one of which lies, cut in two and killed
  clockbench compare                        # ours and a real chronyd behind one master
  clockbench observe ntp1.test ntp2.test    # NTP servers over time, and who disagrees with whom
  clockbench order --engine tsab,raft-log   # replicated logs side by side`,
		SilenceUsage: true, SilenceErrors: true,
	}
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return cli.UsageError(err) })
	root.AddCommand(newScenarios(a), newSim(a), newLive(a), newCompare(a), newLiveMember(a), newObserve(a), newScale(a), newOrder(a), newOrderMember(), newCourse(a), newReport(a),
		newRerun(a), newVersion(a))
	return root
}

// print writes to the output; a terminal that has gone away has nobody to be told.
func (a *app) print(format string, args ...any) { _, _ = fmt.Fprintf(a.out, format, args...) }

// printJSON writes v as one indented JSON document.
func (a *app) printJSON(w io.Writer, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("the result cannot be written as JSON: %w", err)
	}
	if _, err = fmt.Fprintf(w, "%s\n", b); err != nil {
		return fmt.Errorf("the result cannot be written: %w", err)
	}
	return nil
}

// args makes a wrong number of arguments a usage error.
func args(f cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, list []string) error { return cli.UsageError(f(c, list)) }
}
