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
		Long: `Play a network on this machine: one master and some hosts, each a whole daemon on loopback UDP,
each host with an oscillator that is wrong by tens of ppm. An observer who alone sees the true
counter shows how far each clock really is from true time, beside what the host itself claims.
It needs no root, no network and no configuration, and leaves nothing behind.

It runs until Ctrl-C. The exit code is 1 if any clock was ever further from true time than it
claimed. With --json there is one object a second, and a summary as the last line.`,
		Example: "  clockd demo\n  clockd demo --hosts 7 --poll 1s\n  clockd demo --for 30s --json | tail -n 1 | jq .accuracy_s",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			o.JSON, o.Out, o.Screen, o.Version = a.json, a.out, a.screen(), a.version
			return a.demo(c, o)
		},
	}
	f := c.Flags()
	f.IntVar(&o.Hosts, "hosts", demo.DefaultHosts, "how many hosts follow the master")
	f.DurationVar(&o.For, "for", 0, "end after this time (default: at Ctrl-C)")
	f.DurationVar(&o.Poll, "poll", demo.DefaultPoll, "how often each host asks the master")
	f.Uint64Var(&o.Seed, "seed", 1, "which oscillators the hosts have")
	return a.asJSON(c)
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
