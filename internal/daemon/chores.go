package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/internal/node"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// suspendNoise is how much two readings of the suspend offset may differ without a suspend.
const suspendNoise = time.Millisecond

// watch looks for disruptions of the counter and of the host.
type watch struct {
	counter  hw.Counter
	detector *hw.Detector
	suspend  time.Duration
	// vmclock is nil where the hypervisor tells nothing; marker is its disruption marker at the last look.
	vmclock *hw.VMClock
	marker  uint64
}

// newWatch begins to watch. The VMClock comes first: what is measured later is measured after its marker was read.
func newWatch(c hw.Counter, vmclock *hw.VMClock) (*watch, error) {
	w := &watch{counter: c, detector: hw.NewDetector(c.Frequency()), vmclock: vmclock}
	if vmclock != nil {
		w.marker = vmclock.Marker()
	}
	offset, err := hw.SuspendOffset()
	if err != nil {
		return nil, fmt.Errorf("daemon: %w", err)
	}
	w.suspend = offset
	_ = w.Look() // the first pair is what later ones are compared with
	return w, nil
}

// Look returns what has happened since the last look, reason.OK if nothing.
func (w *watch) Look() reason.Code {
	code := reason.OK
	if w.vmclock != nil {
		if marker := w.vmclock.Marker(); marker != w.marker {
			w.marker, code = marker, reason.HostPaused
		}
	}
	if c, raw, err := hw.RawPair(w.counter); err == nil {
		if found := w.detector.Step(c, raw); found != reason.OK {
			code = found
		}
	}
	if offset, err := hw.SuspendOffset(); err == nil {
		if d := offset - w.suspend; d > suspendNoise || d < -suspendNoise {
			w.suspend = offset
			if code == reason.OK {
				code = reason.HostSuspended
			}
		}
	}
	return code
}

// openVMClock opens the hypervisor's page, if there is one.
func (d *daemon) openVMClock() *hw.VMClock {
	v, err := hw.OpenVMClock(d.options.VMClock)
	switch {
	case err == nil:
		d.log.Info("the hypervisor tells of migrations and restored snapshots", "device", d.options.VMClock)
	case !errors.Is(err, fs.ErrNotExist):
		d.log.Warn("migrations of this virtual machine may go unnoticed", "error", err)
	}
	return v
}

// markPage tells readers of which disruptions the next publication takes account.
func (d *daemon) markPage() {
	if d.watch.vmclock != nil {
		d.page.Mark(d.watch.marker)
	}
}

// chores are what must be looked after now and then, whatever the network does.
func (d *daemon) chores() error {
	if code := d.watch.Look(); code != reason.OK {
		d.markPage()
		d.handle(node.Event{Kind: node.EventDisruption, Reason: code})
		if code == reason.CounterBackwards {
			// Readings would seem to stand still until the counter has caught up with its past: begin anew instead.
			return fmt.Errorf("%w: %w", errRestart, code)
		}
	}
	now := time.Now()
	if now.After(d.beatDue) && d.options.Watchdog > 0 {
		d.beatDue = now.Add(d.options.Watchdog / 3)
		d.options.Notify("WATCHDOG=1")
	}
	d.tellStatus()
	d.exchangeKeys()
	if d.server != nil && now.After(d.nextListen) && !d.listening() {
		d.listen()
	}
	if d.web != nil && now.After(d.nextWeb) && d.web.Trouble() != "" {
		d.listenWeb()
	}
	if d.control == nil && now.After(d.nextControl) {
		d.nextControl = now.Add(listenAgain)
		if err := d.openControl(); err != nil {
			d.controlError = err.Error()
		}
	}
	d.sendState(now)
	if now.After(d.nextSave) {
		d.nextSave = now.Add(time.Minute)
		d.saveState(false)
	}
	if now.After(d.leaps.next) {
		d.openLeaps()
	}
	select {
	case err := <-d.keeper.errors:
		d.stateTrouble(err)
	default:
	}
	if now.After(d.nextTrust) {
		d.nextTrust = now.Add(time.Minute)
		return d.checkTrust()
	}
	return nil
}

// resync is what a hook asks for who knows that the host was disrupted: what was measured is void, all sources are asked in a quick
// burst, and the clock begins a new epoch.
func (d *daemon) resync(name string) (*control.Resync, error) {
	why, err := control.ResyncReason(name)
	if err != nil {
		return nil, err
	}
	before := d.published.Clock.Epoch
	_ = d.watch.Look() // what happened until now is dealt with
	d.markPage()
	d.handle(node.Event{Kind: node.EventDisruption, Reason: why})
	return &control.Resync{Epoch: before, Reason: why}, nil
}

// checkTrust asks whether the kernel still trusts the counter. If not, "auto" chooses another on a fresh page; a counter that was
// asked for by name cannot be replaced, and its bounds cannot be believed.
func (d *daemon) checkTrust() error {
	err := hw.StillTrusted(d.counter)
	if err == nil {
		return nil
	}
	d.handle(node.Event{Kind: node.EventDisruption, Reason: reason.CounterStopped})
	if d.options.Counter == nil && d.config.Counter.Source == "auto" {
		return fmt.Errorf("%w: %w", errRestart, err)
	}
	return fmt.Errorf("daemon: %w: configure counter.source = \"auto\" or another counter", err)
}

// tellStatus tells the service manager in one line, when it has changed.
func (d *daemon) tellStatus() {
	p := &d.published
	text := p.Clock.Status.String()
	if p.Reason != reason.OK {
		text += ": " + p.Reason.Explain()
	}
	if text != d.toldStatus {
		d.toldStatus = text
		d.options.Notify("STATUS=" + text)
	}
}

// loadState makes use of what was remembered, if it can be believed.
func (d *daemon) loadState() {
	path := d.config.State.Path
	if path == "" {
		return
	}
	s, err := loadState(path)
	if s != nil {
		d.lastRight = s.Saved
	}
	if s != nil {
		d.nodeConfig.Rate, d.nodeConfig.RateStd, err = s.rateFor(d.counter.Spec(), d.counter.Frequency(), float64(d.config.Counter.DriftBound))
	}
	if err != nil {
		d.nodeConfig.Rate, d.nodeConfig.RateStd = 0, 0
		d.log.Warn("starting without a remembered rate", "error", err)
		return
	}
	if s != nil {
		d.log.Info("remembered rate", "ppm", d.nodeConfig.Rate*1e6, "saved", s.Saved)
	}
}

// saveState remembers the rate, if it is known. wait: until it is on disk.
func (d *daemon) saveState(wait bool) {
	path := d.config.State.Path
	if path == "" || d.published.Clock.Status != virtualclock.Synchronised {
		return
	}
	s := d.node.Snapshot(d.now())
	if !(s.RateStd > 0) || s.RateStd > 0.01 || s.Mode != "external" {
		return
	}
	f := d.counter.Frequency()
	d.keeper.Save(path, state{Counter: counterIdentity(d.counter.Spec()), Hertz: f.Hertz, Rate: s.Rate, RateStd: s.RateStd, Saved: s.Time.Time()})
	if wait {
		d.keeper.Close()
		select {
		case err := <-d.keeper.errors:
			d.stateTrouble(err)
		default:
		}
	}
}

func (d *daemon) stateTrouble(err error) {
	if err == nil {
		d.stateError = ""
		return
	}
	if d.stateError == "" {
		d.log.Warn("the rate is not remembered", "error", err)
	}
	d.stateError = err.Error()
}

// keeper writes the state file in its own goroutine, since a disk may take its time.
type keeper struct {
	jobs   chan func() error
	errors chan error
	done   chan struct{}
	once   sync.Once
}

func newKeeper() *keeper {
	k := &keeper{jobs: make(chan func() error, 1), errors: make(chan error, 1), done: make(chan struct{})}
	go func() {
		defer close(k.done)
		for job := range k.jobs {
			err := job()
			select {
			case old := <-k.errors: // an older answer that nobody took
				_ = old
			default:
			}
			k.errors <- err
		}
	}()
	return k
}

// Save asks for a state to be written; it is left out if the disk is still busy with the one before.
func (k *keeper) Save(path string, s state) {
	select {
	case k.jobs <- func() error { return saveState(path, s) }:
	default:
	}
}

// Close waits for what is being written. Save must not be called afterwards.
func (k *keeper) Close() {
	k.once.Do(func() { close(k.jobs) })
	<-k.done
}
