package daemon

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/clockbound"
	"github.com/clockd/clockd/internal/config"
	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/internal/daemon/eventlog"
	"github.com/clockd/clockd/internal/daemon/journal"
	"github.com/clockd/clockd/internal/daemon/systemclock"
	"github.com/clockd/clockd/internal/daemon/web"
	"github.com/clockd/clockd/internal/node"
	"github.com/clockd/clockd/internal/ntp"
	"github.com/clockd/clockd/virtualclock"
)

// daemon is one run of the loop. Its fields belong to the loop's goroutine unless their own type says otherwise.
type daemon struct {
	options Options
	config  *config.Config
	log     *slog.Logger
	counter hw.Counter
	started time.Time

	node       *node.Node
	nodeConfig node.Config
	roster     roster
	peers      peers
	client     *client
	server     *server
	resolver   *resolver
	exchanger  *exchanger
	ntsServer  *ntsServer
	page       *virtualclock.PageWriter
	secrets    *secrets
	// sealed is the last request that was sent under a key.
	sealed  []byte
	control *control.Listener
	web     *web.Server
	// influx is nil where nothing is sent to InfluxDB.
	influx *exporter
	// clockbound is nil where nothing is written for ClockBound's readers.
	clockbound *clockbound.Writer
	// steerer is nil where the kernel's clock is not to be touched.
	steerer *systemclock.Steerer
	leaps   leaps
	// retired are the servers and writers that a reload has replaced and that still say goodbye.
	retired   sync.WaitGroup
	questions chan command
	recorder  *eventlog.Writer
	journal   *journal.Journal
	history   *web.History
	reporter  *reporter
	watch     *watch
	keeper    *keeper

	// last is the newest reading handed to the node; queue the events that are still to be handed over.
	last      hw.Ticks
	queue     []node.Event
	event     node.Event
	timer     *time.Timer
	wakeAt    hw.Ticks
	published node.Publication
	// beganTime is what the host's wall clock read at beganAt.
	beganAt   hw.Ticks
	beganTime virtualclock.Time
	toldEpoch virtualclock.Epoch

	// lastRight is when the clock was last right, by the state file; timeKnown: datesHold has seen a sound clock, in datesEpoch.
	lastRight  time.Time
	timeKnown  bool
	datesEpoch virtualclock.Epoch

	reloads                                                        uint64
	reloadError, stateError, controlError, counterError            string
	toldStatus                                                     string
	nextListen, nextControl, nextWeb, nextSave, nextTrust, beatDue time.Time
}

// errRestart ends a run that must begin anew, because the counter is not what it was.
var errRestart = errors.New("daemon: the counter is not what it was")

// Run keeps a clock until ctx ends, and returns nil then. It returns an error only for what waiting cannot mend: a configuration
// that cannot be used, a counter that cannot be read, a page that cannot be made, another daemon in its place.
func Run(ctx context.Context, o Options) error {
	for {
		// Each run has a fresh seed: no nonce is used twice.
		run, err := o.withDefaults()
		if err != nil {
			return err
		}
		d, err := newDaemon(ctx, run)
		if err == nil {
			err = d.loop(ctx)
			// A reload during this run outlives it.
			o.Config = d.config
		}
		d.close()
		if !errors.Is(err, errRestart) {
			return err
		}
		run.Log.Error("starting anew on a fresh page", "reason", err)
		if !sleep(ctx, time.Second) {
			return nil
		}
	}
}

// newDaemon makes everything but the network's links. What it returns must be closed, even if there is an error.
func newDaemon(ctx context.Context, o Options) (*daemon, error) {
	d := &daemon{
		options: o, config: o.Config, log: o.Log, started: time.Now(), questions: make(chan command),
		journal: journal.New(time.Now), history: web.NewHistory(), keeper: newKeeper(), resolver: newResolver(ctx, o.Lookup), exchanger: newExchanger(ctx),
		timer: time.NewTimer(time.Hour),
	}
	d.reporter = newReporter(o.Log, time.Now, d.journal)
	var err error
	if d.secrets, err = loadSecrets(o.Config); err != nil {
		return d, fmt.Errorf("daemon: %w", err)
	}
	d.warnOfWeakKeys()
	if err := d.openCounter(); err != nil {
		return d, err
	}
	if err := d.openControl(); err != nil {
		return d, err
	}
	if d.client, err = newClient(); err != nil {
		return d, fmt.Errorf("daemon: %w", err)
	}
	if err := d.openPage(); err != nil {
		return d, err
	}
	if err := d.openServer(); err != nil {
		return d, err
	}
	d.openInflux()
	d.openClockBound()
	d.openLeaps()
	d.openSystemClock()
	if err := d.openNode(); err != nil {
		return d, err
	}
	d.openWeb()
	return d, nil
}

// close ends what was started, the page last but one: readers learn from it that the daemon has gone.
func (d *daemon) close() {
	d.timer.Stop()
	if d.control != nil {
		_ = d.control.Close()
	}
	if d.web != nil {
		d.web.Close()
	}
	d.retired.Wait()
	d.exchanger.Close()
	d.resolver.Close()
	d.closeNTSServer()
	if d.server != nil {
		d.server.Close()
	}
	if d.client != nil {
		d.client.Close()
	}
	if d.page != nil {
		if err := d.page.Close(); err != nil {
			d.log.Warn("the page was not closed well", "error", err)
		}
	}
	d.closeClockBound()
	d.closeSystemClock()
	if d.influx != nil {
		d.influx.writer.Close()
	}
	if d.node != nil {
		d.saveState(true)
	}
	d.keeper.Close()
	if d.recorder != nil {
		if err := d.recorder.Close(); err != nil {
			d.log.Warn("the event log was not closed well", "error", err)
		}
	}
}

func (d *daemon) openCounter() error {
	d.counter = d.options.Counter
	if d.counter == nil {
		choice, err := hw.Choose(d.config.Counter.Source)
		if err != nil {
			return fmt.Errorf("daemon: %w", err)
		}
		d.counter = choice.Counter
		d.log.Info("counter", "spec", d.counter.Spec(), "why", choice.Reason)
	}
	d.last = d.counter.Read()
	var err error
	d.watch, err = newWatch(d.counter, d.openVMClock())
	return err
}

func (d *daemon) openPage() error {
	path := d.config.Page.Path
	if err := ownDirectory(filepath.Dir(path)); err != nil {
		return err
	}
	page, err := virtualclock.CreatePageOfBoot(path, d.counter, uint64(d.started.UnixNano()), d.options.Boot)
	if err != nil {
		return fmt.Errorf("daemon: %w", err)
	}
	d.page = page
	d.markPage()
	return nil
}

// ownDirectory makes a directory that others may read. In a place where everybody may write, such as /tmp, it must not belong to
// somebody else, who could put a false page there.
func ownDirectory(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("daemon: the directory cannot be made: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("daemon: %w", err)
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok && int(s.Uid) != os.Geteuid() && s.Uid != 0 && os.Geteuid() != 0 {
		return fmt.Errorf("daemon: %s belongs to another user (uid %d), who could put a false page there: choose another page.path and control.path", dir, s.Uid)
	}
	return nil
}

func (d *daemon) openControl() error {
	c := d.config.Control
	if err := ownDirectory(filepath.Dir(c.Path)); err != nil {
		return err
	}
	s, err := control.Listen(c.Path, c.Group, c.Mode.FileMode(), d.ask)
	if errors.Is(err, control.ErrInUse) {
		return fmt.Errorf("daemon: %w", err)
	}
	// Without its socket the daemon still keeps the clock; it says so and tries again.
	if err != nil {
		if d.controlError == "" {
			d.log.Error("no control socket, trying again", "error", err)
		}
		d.controlError = err.Error()
		return nil
	}
	d.control, d.controlError = s, ""
	return nil
}

// openWeb serves HTTP as the configuration says. Nobody's clock depends on it, so nothing that is wrong here ends the daemon: it is
// said, and tried again.
func (d *daemon) openWeb() {
	if old := d.web; old != nil {
		d.web = nil
		old.Release()
		d.retired.Go(old.Close) // slow clients must not hold up the loop
	}
	if h := d.config.HTTP; h != nil {
		d.web = web.New(h, d.ask, web.Memory{Started: d.started, Journal: d.journal, History: d.history}, d.options.Version, d.log)
		d.listenWeb()
	}
}

// listenWeb tries the HTTP addresses that are not served yet.
func (d *daemon) listenWeb() {
	d.nextWeb = time.Now().Add(listenAgain)
	before := d.web.Trouble()
	if d.web.Listen(); d.web.Trouble() != "" && before == "" {
		d.log.Error("not all of HTTP is served yet, trying again", "error", d.web.Trouble())
	}
}

func (d *daemon) stampOptions() hw.StampOptions {
	return hw.StampOptions{Counter: d.counter, Kernel: d.config.Stamps.Kernel, Hardware: d.config.Stamps.Hardware}
}

// openServer starts to serve, or stops, as the configuration says.
func (d *daemon) openServer() error {
	d.closeNTSServer()
	if d.server != nil {
		d.server.Close()
		d.server = nil
	}
	if d.config.Server == nil {
		return nil
	}
	if c := d.config.NTSServer; c != nil {
		var err error
		if d.ntsServer, err = newNTSServer(c, d.config.Server, d.log); err != nil {
			return err
		}
	}
	// Not the requests' seed, which the event log shows.
	var seed [32]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return fmt.Errorf("daemon: the system gives no secret seed: %w", err)
	}
	s, err := newServer(d.config.Server, d.secrets, d.counter, d.stampOptions(), seed, d.options.Lie, d.ntsServer)
	if err != nil {
		return err
	}
	d.server = s
	if d.node != nil {
		s.AnswerPeers(d.peers.stamper)
		s.Publish(&d.published)
	}
	d.listen()
	return nil
}

// listenAgain is how long after a failure an address or a socket is tried again.
const listenAgain = 10 * time.Second

// listen tries the addresses that are not served yet.
func (d *daemon) listen() {
	d.nextListen = time.Now().Add(listenAgain)
	before := d.server.status().Error
	for _, err := range d.server.Listen() {
		if before == "" {
			d.log.Error("not serving yet, trying again", "error", err)
		}
	}
	if s := d.ntsServer; s != nil {
		s.Serves(d.server.Addresses())
		for _, err := range s.Listen() {
			d.log.Error("not exchanging keys for NTS yet, trying again", "error", err)
		}
	}
}

// listening reports whether every address is served.
func (d *daemon) listening() bool {
	waiting := len(d.server.wanted) > 0
	if d.ntsServer != nil {
		_, _, _, keys := d.ntsServer.state()
		waiting = waiting || keys
	}
	return !waiting
}

// openNode makes the node and hands it its first event.
func (d *daemon) openNode() error {
	_, _, ask := d.roster.configure(d.config)
	d.lockSources()
	_, _, askPeers := d.configurePeers()
	ask = append(ask, askPeers...)
	for _, e := range ask {
		e.question = d.resolver.Ask(e.config.Address.Host)
	}
	resolution, err := hw.MeasureResolution(d.counter)
	if err != nil {
		return fmt.Errorf("daemon: the counter %s cannot be used: %w", d.counter.Spec(), err)
	}
	d.nodeConfig = node.Config{Seed: d.options.Seed, Counter: d.counter.Frequency(), Granularity: uint64(resolution.Granularity),
		StartEpoch: d.page.LastEpoch()}
	d.fillNodeConfig()
	d.loadState()
	if d.node, err = node.New(d.nodeConfig); err != nil {
		return fmt.Errorf("daemon: %w", err)
	}
	if err := d.openRecorder(); err != nil {
		return err
	}
	return d.begin()
}

// fillNodeConfig copies what a reload may change.
func (d *daemon) fillNodeConfig() {
	c, n := d.config, &d.nodeConfig
	n.DriftBound, n.MaxSlew = float64(c.Counter.DriftBound), float64(c.Clock.MaxSlew)
	n.WanderBound, n.OwnReferenceIDs = float64(c.Counter.WanderBound), ownReferenceIDs()
	n.MaxBound, n.HoldoverAfter = c.Clock.MaxBound.Seconds(), c.Clock.HoldoverAfter.Seconds()
	n.TargetError = c.Clock.TargetError.Seconds()
	n.Heartbeat, n.Lifetime = c.Clock.Heartbeat.Seconds(), c.Clock.Lifetime.Seconds()
	n.MaxFalse = int(c.Selection.MaxFalse)
	n.Sources = d.roster.nodeSources()
	d.fillGroup(n)
	n.Measure = c.Influx != nil && c.Influx.Exchanges
	n.Local = nil
	if c.Local != nil {
		n.Local = &node.LocalConfig{Stratum: uint8(c.Local.Stratum), Bound: c.Local.Bound.Seconds()}
	}
}

// ownReferenceIDs are what servers that follow this host name as their reference. Loopback addresses tell nothing: every host
// has them, and many daemons of one host may share them.
func ownReferenceIDs() []uint32 {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return nil // only the hint at a loop is lost
	}
	var ids []uint32
	for _, a := range addresses {
		if p, err := netip.ParsePrefix(a.String()); err == nil && !p.Addr().IsLoopback() {
			ids = append(ids, ntp.ReferenceID(p.Addr()))
		}
	}
	return ids
}

func (d *daemon) openRecorder() error {
	if d.config.Log.Events == "" {
		return nil
	}
	w, err := eventlog.Create(d.config.Log.Events, int64(d.config.Log.EventsLimit),
		eventlog.Header{Clockd: d.options.Version, Counter: d.counter.Spec(), Config: d.nodeConfig})
	if err != nil {
		return fmt.Errorf("daemon: %w", err)
	}
	d.recorder = w
	return nil
}

// begin is the first event: the host's wall clock is a hint to anchor the raw timeline near true time.
func (d *daemon) begin() error {
	cross, err := hw.CrossStamp(d.counter)
	if err != nil {
		return fmt.Errorf("daemon: %w", err)
	}
	now := d.now()
	realtime := virtualclock.Unix(cross.Realtime, 0).AddSeconds(d.seconds(now.Sub(cross.At)))
	if d.options.Realtime != nil {
		realtime = d.options.Realtime(now)
	}
	d.beganAt, d.beganTime = now, realtime
	d.handleAt(now, node.Event{Kind: node.EventStart, Realtime: realtime})
	d.exchangeKeys()
	return nil
}

// seconds converts ticks at the nominal frequency.
func (d *daemon) seconds(ticks int64) float64 { return float64(ticks) / d.counter.Frequency().Hertz }

// served returns the addresses that are served.
func (d *daemon) served() []netip.AddrPort {
	if d.server == nil {
		return nil
	}
	return d.server.Addresses()
}
