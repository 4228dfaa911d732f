package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/config"
	"github.com/clockd/clockd/internal/daemon"
	"github.com/clockd/clockd/virtualclock"
)

// host is one daemon: a master or one of the hosts whose clocks are held together.
type host struct {
	name   string
	master bool
	// skewed is the host's counter, nil for the master, which has the true one.
	skewed  *hw.Skewed
	counter hw.Counter
	config  *config.Config
	// address is where it answers NTP requests.
	address netip.AddrPort
	page    *virtualclock.Reader
	// realtime is where its clock begins, nil for the wall clock's time.
	realtime func(now hw.Ticks) virtualclock.Time
	// liar is nil for an honest host.
	liar *liar
}

// fleet is all daemons, and the directory that they live in.
type fleet struct {
	options Options
	base    hw.Counter
	dir     string
	logFile *os.File
	log     *slog.Logger
	stop    context.CancelFunc
	running sync.WaitGroup
	// ended takes the reason of each daemon that ends before it is told to.
	ended chan error
	// masters are the true ones, of which the first is true time by definition, and then the false ones.
	masters []*host
	hosts   []*host
	// crowd is nil unless the hosts are a group.
	crowd *crowd
	// configured is how many daemons have a configuration: masters first.
	configured int
}

// logName is the file in the fleet's directory that all daemons log to.
const logName = "log"

// newFleet makes the directory. What it returns must be closed.
func newFleet(o Options, base hw.Counter) (*fleet, error) {
	dir, err := os.MkdirTemp("", "clockd-demo-")
	if err != nil {
		return nil, fmt.Errorf("demo: no directory for the daemons' files; set TMPDIR to one that can be written: %w", err)
	}
	logFile, err := os.OpenFile(filepath.Join(dir, logName), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("demo: no log file: %w", err), os.RemoveAll(dir))
	}
	return &fleet{
		options: o, base: base, dir: dir, logFile: logFile, log: slog.New(slog.NewTextHandler(logFile, nil)),
		stop: func() {}, ended: make(chan error, o.Hosts+o.masters()),
	}, nil
}

// truth is the page of the master that is right by definition, nil without masters.
func (f *fleet) truth() *virtualclock.Reader {
	if len(f.masters) == 0 {
		return nil
	}
	return f.masters[0].page
}

// start starts the masters, and then the hosts, and returns when all of their pages can be read. The daemons run until close.
func (f *fleet) start(ctx context.Context) error {
	// Not ctx itself: when that ends, the observer has its last look first.
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	f.stop = stop
	for i := range f.options.masters() {
		if err := f.launch(ctx, running, f.newMaster(i)); err != nil {
			return err
		}
	}
	hosts, err := f.newHosts()
	if err != nil {
		return err
	}
	for _, h := range hosts {
		if err := f.launch(ctx, running, h); err != nil {
			return err
		}
	}
	return nil
}

// newMaster makes a master, which has the true counter. All but the first begin where the first is, or a little beside it.
func (f *fleet) newMaster(i int) *host {
	h := &host{name: "master", counter: f.base, config: f.config(masterName(&f.options, i)), master: true}
	h.name = masterName(&f.options, i)
	h.config.Local = &config.Local{Stratum: 1}
	if i > 0 {
		shift := 0.0
		if i >= f.options.masters()-f.options.FalseMasters {
			shift = falseBy
		}
		h.realtime = func(now hw.Ticks) virtualclock.Time {
			k, _ := f.truth().Coefficients()
			return k.Time(now).AddSeconds(shift)
		}
	}
	return h
}

// masterName is master, or master1 and so on.
func masterName(o *Options, i int) string {
	if o.masters() == 1 {
		return "master"
	}
	return fmt.Sprintf("master%d", i+1)
}

// newHosts makes all hosts.
func (f *fleet) newHosts() ([]*host, error) {
	var hosts []*host
	for i := range f.options.Hosts {
		h, err := f.newHost(i)
		if err != nil {
			return nil, err
		}
		hosts = append(hosts, h)
	}
	if !f.options.Group() {
		return hosts, nil
	}
	var err error
	f.crowd, err = newCrowd(f, hosts)
	return hosts, err
}

// newHost makes a host with a wrong oscillator that follows the masters.
func (f *fleet) newHost(i int) (*host, error) {
	h := &host{name: fmt.Sprintf("host%d", i+1)}
	skew := f.options.oscillator(i)
	skew.Start = f.base.Read()
	skew.Origin = skew.Start + hw.Ticks(float64(i+1)*originStep*f.base.Frequency().Hertz)
	var err error
	if h.skewed, err = hw.NewSkewed(f.base, skew); err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	h.counter, h.config = h.skewed, f.config(h.name)
	h.config.Counter.DriftBound = config.Ratio(f.options.driftBound)
	poll := config.Duration(f.options.Poll)
	for _, m := range f.masters {
		master, err := f.options.through(i, m.address)
		if err != nil {
			return nil, err
		}
		h.config.Source = append(h.config.Source, config.Source{
			Address: config.Address{Host: master.Addr().String(), Port: master.Port()},
			Poll:    poll, Burst: 4, BurstSpacing: min(poll, config.Duration(firstRequests)),
			Timeout: config.Duration(answerWithin), Interleaved: true, MaxError: config.Duration(answerWithin),
		})
	}
	return h, nil
}

// config is what all daemons are told.
func (f *fleet) config(name string) *config.Config {
	dir := filepath.Join(f.dir, name)
	c := config.Default(config.Paths{Page: filepath.Join(dir, "page"), Control: filepath.Join(dir, "control")})
	// The oscillators change from run to run: nothing is worth remembering.
	c.State.Path = ""
	c.Stamps.Hardware = false
	loopback := config.Listen(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0))
	// All hosts share the address 127.0.0.1, so a limit for each client would be one for all together.
	c.Server = &config.Server{Listen: []config.Listen{loopback}, Rate: 100_000, Burst: 100_000, Interleaved: true}
	if o := &f.options; o.HTTP > 0 {
		port := o.HTTP + f.configured
		c.HTTP = &config.HTTP{Listen: []config.Listen{config.Listen(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port)))}}
	}
	f.configured++
	if f.options.Influx != "" {
		x := config.DefaultInflux()
		x.URL, x.Bucket, x.Host, x.Every = f.options.Influx, influxBucket, name, config.Duration(time.Second)
		c.Influx = &x
	}
	return c
}

// influxBucket is where the daemons' points go.
const influxBucket = "clockd"

// launch starts a daemon, which is one of the fleet from then on, and waits until its page can be read.
func (f *fleet) launch(ctx, running context.Context, h *host) error {
	if h.master {
		f.masters = append(f.masters, h)
	} else {
		f.hosts = append(f.hosts, h)
	}
	f.crowd.release(h)
	started := make(chan []netip.AddrPort, 1)
	failed := make(chan error, 1)
	o := daemon.Options{
		Config: h.config, Version: f.options.Version, Log: f.log.With("host", h.name), Counter: h.counter, Realtime: h.realtime,
		Started: func(served []netip.AddrPort) {
			select {
			case started <- served:
			default: // it started anew after a disruption
			}
		},
	}
	if h.liar != nil {
		o.Lie = h.liar.answer
	}
	f.running.Go(func() {
		err := daemon.Run(running, o)
		if running.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("it ended by itself")
		}
		err = fmt.Errorf("demo: %w: %s: %w", errDaemon, h.name, err)
		failed <- err
		f.ended <- err
	})
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-failed:
		return err
	case served := <-started:
		if len(served) == 0 {
			return fmt.Errorf("demo: the daemon of %s found no free UDP port on 127.0.0.1", h.name)
		}
		h.address = served[0]
	}
	page, err := virtualclock.OpenPage(h.config.Page.Path)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	h.page = page
	f.crowd.see(h)
	return nil
}

// close ends all daemons and waits for them. It removes their files, unless keep says that somebody will want to read the logs.
func (f *fleet) close(keep bool) error {
	f.stop()
	f.running.Wait()
	var errs []error
	f.crowd.close()
	for _, h := range slices.Concat(f.masters, f.hosts) {
		if h.page != nil {
			errs = append(errs, h.page.Close())
		}
	}
	errs = append(errs, f.logFile.Close())
	if !keep {
		errs = append(errs, os.RemoveAll(f.dir))
	}
	return errors.Join(errs...)
}

// logPath is where the daemons log to.
func (f *fleet) logPath() string { return filepath.Join(f.dir, logName) }
