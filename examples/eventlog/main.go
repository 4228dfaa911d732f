// Eventlog merges the logs of hosts that know nothing of each other, by the intervals that their clocks gave, and shows which pairs of
// events nobody can put in order. See README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/clockd/clockd/order"
	"github.com/clockd/clockd/virtualclock"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// The exit codes.
const (
	exitOK     = 0
	exitWrong  = 1
	exitUsage  = 2
	exitFailed = 3
)

const usage = `usage:
  eventlog demo [--events 40] [--delay 4ms] [--forge-bound 1] [--seed N]   three hosts log, an observer who knows true time checks
  eventlog write --page PAGE --node NUMBER --log FILE TEXT                 append one event to a log
  eventlog merge [--json] FILE...                                          show several hosts' logs as one
`

// run is the program.
func run(ctx context.Context, args []string, out, errs io.Writer) int {
	if len(args) == 0 {
		args = []string{"demo"}
	}
	var err error
	switch command, rest := args[0], args[1:]; command {
	case "demo":
		err = runDemo(ctx, rest, out)
	case "write":
		err = runWrite(rest, out)
	case "merge":
		err = runMerge(rest, out)
	case "help", "-h", "--help":
		fmt.Fprint(out, usage)
	default:
		err = fmt.Errorf("no command is called %q: %w", command, errUsage)
	}
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(out, usage)
		return exitOK
	case errors.Is(err, errUsage):
		fmt.Fprintf(errs, "eventlog: %v\n%s", err, usage)
		return exitUsage
	case errors.Is(err, errWrong):
		fmt.Fprintf(errs, "eventlog: %v\n", err)
		return exitWrong
	}
	fmt.Fprintf(errs, "eventlog: %v\n", err)
	return exitFailed
}

var (
	errUsage = errors.New("it was called wrongly")
	errWrong = errors.New("the log contradicts real time")
)

// flags parses a command's flags.
func flags(name string, args []string, define func(*flag.FlagSet)) ([]string, error) {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	define(f)
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, err
		}
		return nil, fmt.Errorf("%s: %w: %w", name, err, errUsage)
	}
	return f.Args(), nil
}

// runWrite appends one event.
func runWrite(args []string, out io.Writer) error {
	var page, path string
	var node, group uint64
	text, err := flags("write", args, func(f *flag.FlagSet) {
		f.StringVar(&page, "page", "/run/clockd/page", "")
		f.StringVar(&path, "log", "", "")
		f.Uint64Var(&node, "node", 0, "")
		f.Uint64Var(&group, "group", 0, "")
	})
	if err != nil {
		return err
	}
	if path == "" || node == 0 || len(text) == 0 {
		return fmt.Errorf("write needs --node, --log and a text: %w", errUsage)
	}
	clock, err := virtualclock.OpenPage(page)
	if err != nil {
		return err
	}
	defer clock.Close()
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	l := &writer{stamper: order.NewStamper(clock, group, order.Node(node)), out: file}
	e, err := l.write(strings.Join(text, " "))
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	fmt.Fprintf(out, "%v, give or take %.3f ms\n", e.Earliest, e.width()*1e3)
	return nil
}

// runMerge shows logs as one.
func runMerge(args []string, out io.Writer) error {
	asJSON := false
	paths, err := flags("merge", args, func(f *flag.FlagSet) { f.BoolVar(&asJSON, "json", false, "") })
	if err != nil {
		return err
	}
	if len(paths) == 0 {
		return fmt.Errorf("merge needs the logs: %w", errUsage)
	}
	m := newMerger()
	for _, path := range paths {
		if err := m.file(path); err != nil {
			return err
		}
	}
	if asJSON {
		return m.merge().json(out)
	}
	return m.merge().text(out)
}

// runDemo lets hosts log and checks what the merged log says.
func runDemo(ctx context.Context, args []string, out io.Writer) error {
	var p play
	rest, err := flags("demo", args, func(f *flag.FlagSet) {
		f.IntVar(&p.events, "events", 40, "")
		f.DurationVar(&p.delay, "delay", 4*time.Millisecond, "")
		f.Float64Var(&p.forge, "forge-bound", 1, "")
		f.Uint64Var(&p.seed, "seed", uint64(time.Now().UnixNano()), "")
	})
	if err != nil {
		return err
	}
	if len(rest) > 0 || p.events < 2 || p.events > 100_000 || p.delay < 0 || p.delay > 100*time.Millisecond || p.forge <= 0 {
		return fmt.Errorf("demo: --events must be 2 to 100000, --delay 0 to 100ms, --forge-bound positive: %w", errUsage)
	}
	return p.run(ctx, out)
}
