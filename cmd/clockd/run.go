package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"github.com/clockd/clockd/internal/config"
	"github.com/clockd/clockd/internal/daemon"
	"github.com/clockd/clockd/internal/privileges"
)

func newRun(a *app) *cobra.Command {
	var path string
	c := &cobra.Command{
		Use:   "run",
		Short: "Run the daemon that keeps this host's clock",
		Long: `Keep this host's virtual clock in the foreground until SIGTERM or SIGINT. SIGHUP reads the
configuration again without losing the clock. The system's own clock is not touched unless
[system_clock] asks for it.

Without --config the file ` + "/etc/clockd/clockd.toml" + ` is used if there is one, else several independent
public servers are followed and nobody is served.`,
		Example: "  clockd run\n  clockd run -c clockd.toml",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return a.run(c.Context(), path)
		},
	}
	c.Flags().StringVarP(&path, "config", "c", "", "the configuration file")
	return c
}

// loadConfig reads the configuration that run uses. origin is its path, "" for the built-in one.
func (a *app) loadConfig(path string) (c *config.Config, origin string, err error) {
	paths := a.paths()
	origin = path
	if path == "" {
		origin = paths.Config
	}
	c, err = config.Load(origin, paths)
	if path == "" && errors.Is(err, fs.ErrNotExist) {
		c, origin, err = config.Public(paths), "", nil
	}
	if err != nil {
		return nil, origin, err
	}
	// The flags of all commands say where this daemon is, too.
	c.Page.Path = firstOf(a.pagePath, a.getenv("CLOCKD_PAGE"), c.Page.Path)
	c.Control.Path = firstOf(a.controlPath, a.getenv("CLOCKD_CONTROL"), c.Control.Path)
	return c, origin, nil
}

func (a *app) logger(c *config.Config) (*slog.Logger, *slog.LevelVar) {
	level := &slog.LevelVar{}
	level.Set(c.Log.Level.SlogLevel())
	o := &slog.HandlerOptions{Level: level}
	// journald has its own time stamps.
	if a.getenv("JOURNAL_STREAM") != "" {
		o.ReplaceAttr = func(groups []string, x slog.Attr) slog.Attr {
			if len(groups) == 0 && x.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return x
		}
	}
	if c.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(a.err, o)), level
	}
	return slog.New(slog.NewTextHandler(a.err, o)), level
}

func (a *app) run(ctx context.Context, path string) error {
	c, origin, err := a.loadConfig(path)
	if err != nil {
		return fmt.Errorf("the configuration cannot be used:\n%w", err)
	}
	log, level := a.logger(c)
	log.Info("clockd starts", "version", a.version, "config", firstOf(origin, "built in: public servers"), "does", describe(c), "sources", names(c), "page", c.Page.Path,
		"control", c.Control.Path)
	a.giveUp(c, log)
	reload := make(chan struct{}, 1)
	stop := onHangup(reload)
	defer stop()
	o := daemon.Options{
		Config: c, ConfigPath: origin, Reload: reload, Version: a.version, Boot: a.getenv("CLOCKD_BOOT_ID"), Log: log, Level: level, Notify: notifier(log), Watchdog: watchdog(log),
		Load: func() (*config.Config, error) {
			next, _, err := a.loadConfig(path)
			return next, err
		},
	}
	err = daemon.Run(ctx, o)
	if err != nil {
		log.Error("clockd ends", "error", err)
		return err
	}
	log.Info("clockd ends")
	return nil
}

// giveUp takes from this process what it does not need. A clock without these walls is as good a clock, so a wall that cannot be
// built is said and nothing else.
func (a *app) giveUp(c *config.Config, log *slog.Logger) {
	if !a.alone {
		return
	}
	need := []privileges.Capability{privileges.BindPort}
	if c.Stamps.Hardware {
		need = append(need, privileges.NetworkCard)
	}
	if c.Control.Group != "" {
		need = append(need, privileges.GiveGroup)
	}
	steer := c.SystemClock.Discipline != config.DisciplineOff
	if steer {
		need = append(need, privileges.SetClock)
	}
	left, err := privileges.Limit(need...)
	if err != nil {
		log.Warn("more privileges are kept than are needed", "error", err)
	}
	confined := false
	if c.Privileges.Seccomp {
		// What the kernel runs the system's clock at is asked by the call that could steer it; the right to steer is given up above.
		if err := privileges.Confine(steer || c.ClockBound != nil); err != nil {
			log.Warn("system calls are not confined", "error", err)
		} else {
			confined = true
		}
	}
	log.Info("privileges", "kept", strings.Join(left, " "), "seccomp", confined, "uid", a.uid)
}

// names lists what is followed.
func names(c *config.Config) string {
	list := make([]string, 0, len(c.Source))
	for i := range c.Source {
		list = append(list, c.Source[i].Address.String())
	}
	return strings.Join(list, " ")
}

// onHangup turns SIGHUP into values of reload until stop is called.
func onHangup(reload chan<- struct{}) (stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-signals:
				select {
				case reload <- struct{}{}:
				default: // one is waiting already
				}
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(signals)
		close(done)
	}
}

// notifier tells systemd, if it listens.
func notifier(log *slog.Logger) func(string) {
	return func(state string) {
		if _, err := sd.SdNotify(false, state); err != nil {
			log.Debug("the service manager was not told", "state", state, "error", err)
		}
	}
}

func watchdog(log *slog.Logger) time.Duration {
	interval, err := sd.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("the service manager's watchdog is not understood", "error", err)
	}
	return interval
}
