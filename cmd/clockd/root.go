package main

import (
	"context"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/clockd/clockd/internal/cli"
	"github.com/clockd/clockd/internal/config"
)

// The exit codes beside those of internal/cli, documented in docs/cli.md.
const (
	exitTimeout = 3
)

// app is what every command needs of the world.
type app struct {
	version  string
	out, err io.Writer
	getenv   func(string) string
	uid      int
	// alone: the whole process is this one command's, which may give up privileges for good.
	alone bool
	// hostDirectory is where the daemon of the host, rather than of a user, has its page and its socket.
	hostDirectory string
	// terminal: out is one, so colours are welcome.
	terminal bool

	// Flags of all commands.
	controlPath, pagePath string
	json                  bool
}

func newApp(version string) *app {
	a := &app{version: version, out: os.Stdout, err: os.Stderr, getenv: os.Getenv, uid: os.Geteuid(), hostDirectory: "/run/clockd", alone: true}
	info, err := os.Stdout.Stat()
	a.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return a
}

func (a *app) paths() config.Paths { return config.DefaultPaths(a.getenv, a.uid) }

// execute runs one command line and returns the exit code.
func execute(ctx context.Context, a *app, args []string) int {
	root := newRoot(a)
	root.SetArgs(args)
	return cli.Exit(root.ExecuteContext(ctx), "clockd", a.err)
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "clockd",
		Short: "A clock that knows how wrong it can be",
		Long: `clockd keeps a virtual clock on this host from its hardware counter, synchronised by NTP
round trips, and always knows how wrong that clock can be: programs read an interval that
contains true time, not a number to be believed.`,
		Example: `  clockd demo                    # no root, no network: watch clocks being held together
  clockd run                     # follow public servers
  clockd run -c clockd.toml      # follow your own
  clockd status                  # can the clock be trusted?
  clockd now --json              # one reading, for a program`,
		SilenceUsage: true, SilenceErrors: true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: false},
	}
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return cli.UsageError(err) })
	f := root.PersistentFlags()
	f.StringVar(&a.controlPath, "control", "", "the daemon's control socket (default: that of this user's daemon)")
	f.StringVar(&a.pagePath, "page", "", "the shared page (default: that of this user's daemon)")
	root.AddCommand(newRun(a), newStatus(a), newSources(a), newPeers(a), newNow(a), newWait(a), newQuery(a), newReplay(a), newCheck(a), newDoctor(a), newResync(a), newKeygen(a), newVersion(a))
	root.AddCommand(demoCommands(a)...)
	return root
}

// args makes a wrong number of arguments a usage error.
func args(f cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, list []string) error { return cli.UsageError(f(c, list)) }
}

// asJSON gives a command the flag --json.
func (a *app) asJSON(c *cobra.Command) *cobra.Command {
	c.Flags().BoolVar(&a.json, "json", false, "print JSON, for programs")
	return c
}

// control returns the path of the control socket, page that of the shared page: as they were named, or of this user's own daemon, or,
// without one, of the host's.
func (a *app) control() string {
	return firstOf(a.controlPath, a.getenv("CLOCKD_CONTROL"), a.ownOrHosts(a.paths().Control))
}
func (a *app) page() string {
	return firstOf(a.pagePath, a.getenv("CLOCKD_PAGE"), a.ownOrHosts(a.paths().Page))
}

// ownOrHosts returns the file of the host's daemon that corresponds to one of this user's, if only that exists.
func (a *app) ownOrHosts(own string) string {
	hosts := filepath.Join(a.hostDirectory, filepath.Base(own))
	if _, err := os.Stat(own); err == nil || a.uid == 0 {
		return own
	}
	if _, err := os.Stat(hosts); err != nil {
		return own
	}
	return hosts
}

func firstOf(candidates ...string) string {
	for _, c := range candidates {
		if c != "" {
			return c
		}
	}
	return ""
}
