package live

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/lab/observer"
	"github.com/clockd/clockd/internal/lab/result"
	"github.com/clockd/clockd/virtualclock"
)

// Options are what an experiment is told beside its plan.
type Options struct {
	// Seed makes the oscillators, the emulated network, the liars and the instants of the samples.
	Seed uint64
	// Clockd is the program that the hosts run (FindClockd), Self this program, which plays liars.
	Clockd, Self string
	// Version is this program's, Command the words that it was called with.
	Version string
	Command []string
	// Dir is where the series go; nil: nowhere.
	Dir *result.Directory
	// Shown is called about once a second, from the goroutine that measures.
	Shown func(*View)
	// KeepLogs is a directory in which the daemons' logs are kept; "": they are thrown away unless something failed.
	KeepLogs string
}

// ErrWrong says that a claim was wrong although the fault hypothesis held.
var ErrWrong = errors.New("a clock claimed what was not so although the fault hypothesis held")

// The samples are from leastPause to leastPause + dither apart, so that they keep no step with the polls.
const (
	leastPause = time.Millisecond
	dither     = 2 * time.Millisecond
	// formWithin is how long the clocks may take to be synchronised at first.
	formWithin = 2 * time.Minute
	showEvery  = time.Second
)

// Run runs the experiment until it is over or ctx ends, and returns what was measured: also with an error, if anything was. The error
// wraps ErrWrong if a claim was wrong and the fault hypothesis held.
func Run(ctx context.Context, p Plan, o Options) (r *result.Result, err error) {
	p = p.WithDefaults()
	if err := p.Check(); err != nil {
		return nil, err
	}
	about, base, err := found(ctx, o)
	if err != nil {
		return nil, err
	}
	x := &experiment{plan: &p, options: o, base: base, began: time.Now(), about: about, random: rand.New(rand.NewPCG(o.Seed, 1<<32)), states: map[string]state{}, lying: map[string]bool{}}
	x.fleet, err = newFleet(&p, programs{o.Clockd, o.Self, o.Version}, x.base, o.Seed, nil)
	defer func() { err = errors.Join(err, x.close(err)) }()
	if err != nil {
		return nil, err
	}
	return x.run(ctx)
}

// found returns the daemon's version and the true counter, without which nothing can begin.
func found(ctx context.Context, o Options) (version string, base hw.Counter, err error) {
	version, err = versionOf(ctx, o.Clockd)
	if err != nil {
		return "", nil, err
	}
	choice, err := hw.Choose("auto")
	return version, choice.Counter, err
}

// experiment is one under way.
type experiment struct {
	plan    *Plan
	options Options
	base    hw.Counter
	began   time.Time
	about   string
	random  *rand.Rand
	fleet   *fleet
	pages   []*virtualclock.Reader
	watch   *watch
	survey  *survey
	// resolution is g.
	resolution hw.Resolution
	shown      time.Time
	steps      chan step
	stepping   sync.WaitGroup
	// states are what the script has made of the nodes.
	states map[string]state
	forms  float64 // how long the clocks took to be synchronised
	lying  map[string]bool
}

// step is one of the script that was carried out.
type step struct {
	fault Fault
	at    hw.Ticks
	err   error
}

// close ends all processes. The logs are kept if somebody will want to read them.
func (x *experiment) close(failure error) error {
	x.stepping.Wait()
	var errs []error
	for _, p := range x.pages {
		errs = append(errs, p.Close())
	}
	if x.options.KeepLogs != "" && x.fleet.work != nil {
		errs = append(errs, x.fleet.keepLogs(x.options.KeepLogs))
	}
	keep := failure != nil && x.fleet.work != nil && x.options.KeepLogs == "" && !errors.Is(failure, context.Canceled) && len(x.fleet.nodes) > 0 && x.fleet.nodes[0].process() != nil
	if err := x.fleet.close(keep); err != nil {
		errs = append(errs, err)
	}
	if keep {
		errs = append(errs, fmt.Errorf("the daemons' logs are in %s/*/log", x.fleet.work.path))
	}
	return errors.Join(errs...)
}

// keepLogs copies the logs.
func (f *fleet) keepLogs(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("the logs cannot be kept: %w", err)
	}
	for _, n := range f.nodes {
		b, err := os.ReadFile(n.log)
		if err != nil {
			continue // it was never started
		}
		if err := os.WriteFile(filepath.Join(dir, n.name+".log"), b, 0o600); err != nil {
			return fmt.Errorf("the logs cannot be kept: %w", err)
		}
	}
	return nil
}

func (x *experiment) run(ctx context.Context) (*result.Result, error) {
	var err error
	if x.resolution, err = hw.MeasureResolution(x.base); err != nil {
		return nil, err
	}
	if err := x.fleet.startAll(ctx); err != nil {
		return nil, err
	}
	if x.pages, err = x.fleet.openPages(); err != nil {
		return nil, err
	}
	var pages []observer.Page
	for _, p := range x.pages {
		pages = append(pages, p)
	}
	if x.watch, err = newWatch(x.fleet, pages, x.options.Dir); err != nil {
		return nil, err
	}
	x.survey = newSurvey(ctx, x.plan, x.fleet.nodes)
	defer x.survey.close()
	release := preferred()
	defer release()
	if err := x.form(ctx); err != nil {
		return nil, err
	}
	x.steps = make(chan step, 2*maxFaults+1)
	scripted, stop := context.WithCancel(ctx)
	x.stepping.Go(func() { x.playScript(scripted) })
	complete, err := x.play(ctx)
	stop()
	x.stepping.Wait()
	x.takeSteps()
	r := x.result(complete && err == nil)
	if err == nil && x.watch.wrong > 0 && x.plan.Holds() {
		err = ErrWrong
	}
	return r, err
}

// preferred keeps the calling goroutine on a thread that the kernel prefers to ordinary ones, if it may, so that samples are not
// late when the daemons are busy. The function that it returns undoes that.
func preferred() (release func()) {
	runtime.LockOSThread()
	set := func(a unix.SchedAttr) error { a.Size = unix.SizeofSchedAttr; return unix.SchedSetAttr(0, &a, 0) }
	if set(unix.SchedAttr{Policy: unix.SCHED_FIFO, Flags: unix.SCHED_FLAG_RESET_ON_FORK, Priority: 5}) != nil {
		return runtime.UnlockOSThread
	}
	return func() {
		_ = set(unix.SchedAttr{Policy: unix.SCHED_NORMAL})
		runtime.UnlockOSThread()
	}
}

// pause waits for the next sample; it reports false if ctx has ended.
func (x *experiment) pause(ctx context.Context) bool {
	timer := time.NewTimer(leastPause + time.Duration(x.random.Int64N(int64(dither))))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// form waits until all correct clocks are synchronised, and a group has made some rounds.
func (x *experiment) form(ctx context.Context) error {
	begin := x.base.Read()
	settled := math.Inf(1)
	for {
		if !x.pause(ctx) {
			return fmt.Errorf("the clocks were not synchronised yet: %w", context.Cause(ctx))
		}
		x.watch.sample()
		passed := float64(x.base.Read().Sub(begin)) / x.watch.hertz
		if err := errors.Join(x.watch.err, x.watch.observer.Check(), x.fleet.crashed(nil)); err != nil {
			return err
		}
		ready := !slices.ContainsFunc(x.watch.correct, func(c *clock) bool { return c.last.Status != virtualclock.Synchronised })
		switch {
		case ready && math.IsInf(settled, 1):
			settled = passed + settleRounds*max(x.plan.Period.Seconds(), x.plan.Poll.Seconds())
		case ready && passed >= settled && !x.early():
			x.forms = passed
			return x.watch.begin()
		case len(x.plan.stepped()) > 0 && !x.early():
			return fmt.Errorf("the clocks were not synchronised %v after the start, from which on the script counts: %s", x.plan.formsBefore(), x.waiting())
		case passed > formWithin.Seconds():
			return fmt.Errorf("the clocks were not synchronised within %v: %s", formWithin, x.waiting())
		}
		x.show(0)
	}
}

// formsBefore is for how long after the start a group may form, if the script has steps: counters jump at times that are in their
// specifications, so the measurement must begin at one.
func (p *Plan) formsBefore() time.Duration {
	return 8*time.Second + time.Duration(p.Hosts+p.Masters)*time.Second + time.Duration(settleRounds)*time.Duration(max(p.Period, p.Poll))
}

// early reports whether the measurement must wait for the time that the steps of the script count from.
func (x *experiment) early() bool {
	return len(x.plan.stepped()) > 0 && float64(x.base.Read().Sub(x.fleet.start)) < x.plan.formsBefore().Seconds()*x.watch.hertz
}

// waiting names the clocks that are not synchronised.
func (x *experiment) waiting() string {
	var all []string
	for _, c := range x.watch.correct {
		if c.last.Status != virtualclock.Synchronised {
			all = append(all, fmt.Sprintf("%s is %v", c.name, c.last.Status))
		}
	}
	return strings.Join(all, ", ") + "; a busy machine needs a larger reading error and a longer period"
}

// play measures until the time is over; complete is false if ctx ended before.
func (x *experiment) play(ctx context.Context) (complete bool, err error) {
	for {
		if !x.pause(ctx) {
			return false, nil
		}
		x.watch.sample()
		x.fleet.note()
		x.takeSteps()
		elapsed := x.watch.seconds(x.base.Read())
		if err := errors.Join(x.watch.err, x.fleet.crashed(x.states)); err != nil {
			return false, err
		}
		x.show(elapsed)
		if elapsed >= x.plan.For.Seconds() {
			return true, nil
		}
	}
}

// playScript carries out the script. A step that takes its time delays no sample, and the next step at most.
func (x *experiment) playScript(ctx context.Context) {
	for _, s := range x.plan.steps() {
		if s.Do == DoStep {
			continue // the counter does it by itself
		}
		timer := time.NewTimer(time.Duration((s.At.Seconds() - x.watch.seconds(x.base.Read())) * 1e9))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		at := x.base.Read()
		// What breaks something is told before it is done, and what repairs it after: a process that has ended meanwhile was meant to.
		if !s.repairs() {
			x.steps <- step{fault: s, at: at}
		}
		if err := x.fleet.do(&s); err != nil {
			x.steps <- step{fault: s, at: at, err: err}
			return
		}
		if s.repairs() {
			x.steps <- step{fault: s, at: at}
		}
	}
}

// takeSteps writes down what the script has done.
func (x *experiment) takeSteps() {
	for {
		select {
		case s := <-x.steps:
			if s.err != nil {
				x.watch.fail(fmt.Errorf("the script: %s: %w", &s.fault, s.err))
				continue
			}
			_ = play(x.states, &s.fault) // the plan was checked
			x.lying[s.fault.Host] = x.lying[s.fault.Host] || s.fault.Do == DoLie
			kind := result.EventFault
			if s.fault.repairs() {
				kind = result.EventRepair
			}
			text := s.fault.String()
			if s.fault.Do == doMend {
				text = "the link is as before"
			}
			x.watch.event(result.Event{At: result.Of(x.watch.seconds(s.at)), Clock: s.fault.Host, Kind: kind, Text: text})
		default:
			return
		}
	}
}

// show lets people see the second that has passed.
func (x *experiment) show(elapsed float64) {
	now := time.Now()
	if now.Sub(x.shown) < showEvery {
		return
	}
	x.shown = now
	if x.watch.measuring {
		for i, all := range x.survey.take() {
			for _, e := range all {
				x.watch.epsilonNow = e
				x.watch.fail(x.watch.epsilon.Add(x.watch.truth.At(x.base.Read()), i, e))
			}
		}
	} else {
		x.survey.take()
	}
	if x.options.Shown != nil {
		x.options.Shown(x.view(elapsed))
	}
	x.watch.second = secondFigures{math.NaN(), math.NaN(), 0}
}

// Logger is what a member logs with: to its standard error, which is its log file.
func Logger(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }
