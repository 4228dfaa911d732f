package daemon

import (
	"errors"
	"fmt"
	"reflect"

	"golang.org/x/sys/unix"

	"github.com/clockd/clockd/internal/config"
	"github.com/clockd/clockd/internal/daemon/journal"
	"github.com/clockd/clockd/reason"
)

// reload reads the configuration again. The clock is not touched: sources that stay keep what is known of them. A configuration
// that is not good leaves the one before in force.
func (d *daemon) reload() {
	d.options.Notify(reloading())
	defer d.options.Notify("READY=1")
	next, locks, err := d.load()
	if err != nil {
		d.reloadError = "the configuration was not reloaded, the one before stays in force: " + err.Error()
		d.log.Error("the configuration was not reloaded, the one before stays in force", "error", err)
		d.journal.Add(journal.Entry{Topic: journal.TopicConfig, Reason: reason.ConfigRefused})
		return
	}
	d.reloadError = ""
	d.reloads++
	d.apply(next, locks)
}

// reloading is what sd_notify(3) asks for: the manager sees by CLOCK_MONOTONIC that this is the answer to its own signal.
func reloading() string {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return "RELOADING=1"
	}
	return fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", now.Nano()/1000)
}

func (d *daemon) load() (*config.Config, *secrets, error) {
	if d.options.Load == nil {
		return nil, nil, errors.New("there is no configuration file to read again")
	}
	c, err := d.options.Load()
	if err != nil {
		return nil, nil, err
	}
	if (c.Local != nil) != (d.config.Local != nil) {
		return nil, nil, errors.New("a running clock does not turn from the reference into a follower, or back: restart clockd for that")
	}
	locks, err := loadSecrets(c)
	own := *c // keepFixed writes to it, and what Load returned may be in somebody else's hands
	return &own, locks, err
}

// apply puts a configuration into force.
func (d *daemon) apply(next *config.Config, locks *secrets) {
	before, clients := d.config, d.secrets.clients
	d.keepFixed(next)
	d.config, d.secrets = next, locks
	d.warnOfWeakKeys()
	if d.options.Level != nil {
		d.options.Level.Set(next.Log.Level.SlogLevel())
	}
	if before.Stamps != next.Stamps {
		d.roster.all(func(_ *entry, s *slot) { d.unlink(s) })
		d.peers.roster.all(func(_ *entry, s *slot) { d.unlink(s) })
	}
	gone, entries, ask := d.roster.configure(next)
	d.lockSources()
	gonePeers, peerEntries, askPeers := d.configurePeers()
	gone, entries, ask = append(gone, gonePeers...), append(entries, peerEntries...), append(ask, askPeers...)
	for _, s := range gone {
		d.unlink(s)
		if s.nts != nil && s.nts.cancel != nil {
			s.nts.cancel()
		}
	}
	for _, e := range entries {
		if e.question != nil {
			e.question.cancel()
		}
	}
	for _, e := range ask {
		e.question = d.resolver.Ask(e.config.Address.Host)
	}
	if !reflect.DeepEqual(before.Server, next.Server) || before.Stamps != next.Stamps || !sameKeys(clients, locks.clients) || !reflect.DeepEqual(before.NTSServer, next.NTSServer) {
		if err := d.openServer(); err != nil {
			d.reloadError = err.Error()
			d.log.Error("not serving", "error", err)
		}
	}
	if !reflect.DeepEqual(before.Influx, next.Influx) {
		d.openInflux()
	}
	if !reflect.DeepEqual(before.ClockBound, next.ClockBound) {
		d.openClockBound()
	}
	if before.SystemClock != next.SystemClock {
		d.openLeaps()
		d.openSystemClock()
	}
	d.openWeb() // always: certificates and tokens are renewed in their files
	d.configureNode()
	d.exchangeKeys()
	d.log.Info("the configuration was reloaded", "path", d.options.ConfigPath)
	d.journal.Add(journal.Entry{Topic: journal.TopicConfig})
}

// keepFixed keeps what cannot change while readers hold the page: it says so, and the rest is reloaded.
func (d *daemon) keepFixed(next *config.Config) {
	now := d.config
	for _, f := range []struct {
		key  string
		same bool
	}{
		{"counter.source", next.Counter.Source == now.Counter.Source}, {"page", next.Page == now.Page},
		{"control", next.Control == now.Control}, {"log.events", next.Log.Events == now.Log.Events},
		{"log.events_limit", next.Log.EventsLimit == now.Log.EventsLimit}, {"log.format", next.Log.Format == now.Log.Format}, {"privileges.seccomp", next.Privileges == now.Privileges},
	} {
		if !f.same {
			d.reloadError = f.key + " takes effect at the next start only"
			d.log.Warn("a change takes effect at the next start only", "key", f.key)
		}
	}
	next.Counter.Source, next.Page, next.Control = now.Counter.Source, now.Page, now.Control
	next.Privileges = now.Privileges
	next.Log.Events, next.Log.EventsLimit, next.Log.Format = now.Log.Events, now.Log.EventsLimit, now.Log.Format
}
