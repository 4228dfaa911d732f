package daemon

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"time"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/config"
	"github.com/clockd/clockd/internal/daemon/systemclock"
	"github.com/clockd/clockd/internal/keys"
	"github.com/clockd/clockd/internal/peerwire"
	"github.com/clockd/clockd/virtualclock"
)

// Options is all that a daemon is told.
type Options struct {
	// Config is the configuration in force at the start; it is not changed. It must come from package config.
	Config *config.Config
	// ConfigPath is where it came from, for people; "" for a built-in one.
	ConfigPath string
	// Load reads the configuration again, for a reload. nil: a reload is refused.
	Load func() (*config.Config, error)
	// Reload asks for a reload with each value (SIGHUP). nil: never.
	Reload <-chan struct{}
	// Version is the program's, for people and the event log.
	Version string
	// Log is where the daemon logs; nil: nowhere. Level, if not nil, follows log.level at a reload.
	Log   *slog.Logger
	Level *slog.LevelVar
	// Boot is the identity of the host's boot as the page's readers see it, "" if this process sees the same.
	Boot string
	// Counter, if not nil, is used in the place of the one that the configuration names: a demonstration's skewed counter.
	Counter hw.Counter
	// Seed makes the requests' nonces; the zero value asks the system for a secret one.
	Seed [32]byte
	// Notify tells the service manager (sd_notify); nil: nobody. Watchdog is how often it must hear WATCHDOG=1; 0: never.
	Notify   func(state string)
	Watchdog time.Duration
	// Started is called from the loop when the page exists and the loop runs, with the addresses that are served; again after a
	// restart within Run, which a counter that went backwards causes.
	Started func(served []netip.AddrPort)
	// VMClock is the hypervisor's device; "": hw.VMClockPath.
	VMClock string
	// SystemClock, if not nil, is used in the place of the kernel's clock, and nothing is looked for that might own it: for tests, which must
	// not touch this machine's.
	SystemClock systemclock.Clock
	// Lookup resolves names; nil: the system's resolver.
	Lookup lookupFunc

	// What follows is for demonstrations and tests only, and nil in every real daemon: no configuration can ask for it.

	// Lie makes this host a liar among its peers: it may alter what the peer with that public key is about to be told, or take its
	// time; false: there is no answer at all. It is called by the one goroutine that answers.
	Lie func(to keys.PublicKey, a *peerwire.Answer) bool
	// Realtime is what the host's wall clock reads at reading now of its counter, in the place of the system's: where its clock begins.
	Realtime func(now hw.Ticks) virtualclock.Time
}

// withDefaults fills in what was left out.
func (o Options) withDefaults() (Options, error) {
	if o.Config == nil {
		return o, errors.New("daemon: Options.Config must be set")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if o.Notify == nil {
		o.Notify = func(string) {}
	}
	if o.Started == nil {
		o.Started = func([]netip.AddrPort) {}
	}
	if o.VMClock == "" {
		o.VMClock = hw.VMClockPath
	}
	if o.Lookup == nil {
		o.Lookup = systemLookup
	}
	if o.Seed == [32]byte{} {
		if _, err := rand.Read(o.Seed[:]); err != nil {
			return o, fmt.Errorf("daemon: the system gives no secret seed: %w", err)
		}
	}
	return o, nil
}
