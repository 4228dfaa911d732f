package main

import (
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/clockd/clockd/internal/cli"
	"github.com/clockd/clockd/internal/demo"
)

// demoCommands are the commands that play a whole network on this machine.
func demoCommands(a *app) []*cobra.Command { return []*cobra.Command{newDemo(a)} }

func newDemo(a *app) *cobra.Command {
	o := demo.Options{}
	c := &cobra.Command{
		Use:   "demo",
		Short: "Watch clocks that drift apart being held together",
		Long: `Play a network on this machine: hosts, each a whole daemon on loopback UDP with an oscillator that
is wrong by tens of ppm. An observer who alone sees the true counter shows how far each clock
really is from true time, or the clocks from each other, beside what is claimed and promised.
It needs no root, no network and no configuration, and leaves nothing behind.

With --mode external (the default) the hosts follow one master. With --mode internal they agree
without any, from clocks that are seconds apart at the start, while --liars of them lie to the
others as --adversary says; fewer than a third may. With --mode hybrid they agree, and three
masters, --false-masters of them wrong, pull them to UTC.

It runs until Ctrl-C. The exit code is 1 if any correct clock was ever further from true time, or
from another one, than it claimed or than was promised; with more liars than can be borne nothing
is promised. With --json there is one object a second, and a summary as the last line.`,
		Example: "  clockd demo\n  clockd demo --hosts 7 --poll 1s\n  clockd demo --mode internal --hosts 7 --liars 2\n" +
			"  clockd demo --mode internal --hosts 4 --liars 2 --adversary two-faced@10\n  clockd demo --mode hybrid --hosts 7 --liars 2 --false-masters 1\n" +
			"  clockd demo --for 30s --json | tail -n 1 | jq .accuracy_s",
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			o.JSON, o.Out, o.Screen, o.Version = a.json, a.out, a.screen(), a.version
			return a.demo(c, withDemoDefaults(o, c.Flags().Changed))
		},
	}
	f := c.Flags()
	f.StringVar(&o.Mode, "mode", demo.ModeExternal, "how the clocks are held together: external (by a master), internal (by each other), hybrid (both)")
	f.IntVar(&o.Hosts, "hosts", 0, "how many hosts there are (default: 3, in a group 4)")
	f.IntVar(&o.Liars, "liars", 0, "how many hosts of a group lie to the others")
	f.StringVar(&o.Adversary, "adversary", "", "how they lie, several names between commas for each in turn (default: two-faced)")
	f.IntVar(&o.FalseMasters, "false-masters", 0, "how many of the three masters of a hybrid are wrong")
	f.DurationVar(&o.Period, "period", 0, "how often a group agrees (default: 200ms, longer for many hosts)")
	f.DurationVar(&o.For, "for", 0, "end after this time (default: at Ctrl-C)")
	f.DurationVar(&o.Poll, "poll", demo.DefaultPoll, "how often each host asks the masters")
	f.IntVar(&o.HTTP, "http", 0, "answer HTTP (/metrics) on 127.0.0.1: the first master at this port, the others after it (default: nobody does)")
	f.StringVar(&o.Influx, "influx", "", "send what all measure to the data base clockd of the InfluxDB at this URL (default: nowhere)")
	f.Uint64Var(&o.Seed, "seed", 1, "which oscillators the hosts have")
	return a.asJSON(c)
}

// withDemoDefaults fills in what was not given. A 0 that was given stays, to be refused.
func withDemoDefaults(o demo.Options, given func(flag string) bool) demo.Options {
	full := o.WithDefaults()
	if given("hosts") {
		full.Hosts = o.Hosts
	}
	if given("poll") {
		full.Poll = o.Poll
	}
	if given("period") {
		full.Period = o.Period
	}
	return full
}

// demo runs the demonstration.
func (a *app) demo(c *cobra.Command, o demo.Options) error {
	if err := o.Check(); err != nil {
		return cli.UsageError(err)
	}
	// A terminal that goes away, or a reader of the output, must not leave files behind.
	ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGHUP)
	defer stop()
	broken := make(chan os.Signal, 1)
	signal.Notify(broken, syscall.SIGPIPE)
	defer signal.Stop(broken)
	_, err := demo.Run(ctx, o)
	if errors.Is(err, syscall.EPIPE) {
		return &cli.CodeError{Code: cli.Error, Err: err, Quiet: true}
	}
	return err
}

// screen describes the terminal that the output is.
func (a *app) screen() demo.Screen {
	file, ok := a.out.(*os.File)
	if !ok || a.getenv("TERM") == "dumb" {
		return demo.Screen{}
	}
	size := func() (columns, rows int) {
		w, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ)
		if err != nil {
			return 0, 0
		}
		return int(w.Col), int(w.Row)
	}
	if _, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ); err != nil {
		return demo.Screen{}
	}
	return demo.Screen{Size: size, Colour: a.getenv("NO_COLOR") == ""}
}
