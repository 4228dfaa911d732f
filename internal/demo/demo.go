package demo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/clockd/clockd/hw"
)

// ErrViolated says that a clock was further from true time than it claimed.
var ErrViolated = errors.New("a clock was further from true time than it claimed")

// The samples are from leastPause to leastPause + dither apart, so that they keep no step with the polls.
const (
	leastPause = 5 * time.Millisecond
	dither     = 9 * time.Millisecond
)

// Run plays a network on this machine, until ctx ends or for Options.For, and shows it. The Summary is nil if it could not begin.
// The error wraps ErrViolated if a claim was violated; then, and if a daemon failed, the daemons' logs are kept, and the Summary
// or the error says where.
func Run(ctx context.Context, o Options) (summary *Summary, err error) {
	o = o.withDefaults()
	if err := o.Check(); err != nil {
		return nil, err
	}
	choice, err := hw.Choose("auto")
	if err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	r := &run{options: o, base: choice.Counter, start: choice.Counter.Read(), random: rand.New(rand.NewPCG(o.Seed, 1<<32))}
	if r.fleet, err = newFleet(o, r.base); err != nil {
		return nil, err
	}
	r.picture = &textPicture{options: &r.options, dir: r.fleet.dir}
	if o.JSON {
		r.picture = &jsonPicture{o.Out}
	}
	keep := false
	defer func() { err = errors.Join(err, r.fleet.close(keep)) }()
	if err := r.fleet.start(ctx); err != nil {
		keep = ctx.Err() == nil
		return nil, r.failed(err, keep)
	}
	outcome := r.play(ctx)
	summary = r.observer.summary(r.start, &r.options)
	if keep = summary.BoundViolations > 0 || errors.Is(outcome, errDaemon); keep {
		summary.Logs = r.fleet.logPath()
	}
	if summary.BoundViolations > 0 {
		err = ErrViolated
	}
	// An output that has failed before is not tried again.
	if errors.Is(outcome, errOutput) {
		return summary, errors.Join(err, outcome)
	}
	return summary, errors.Join(err, r.failed(outcome, keep), r.picture.end(summary))
}

// errDaemon and errOutput say what ended a run early.
var (
	errDaemon = errors.New("a daemon ended")
	errOutput = errors.New("the output cannot be written")
)

// run is one demonstration under way.
type run struct {
	options  Options
	base     hw.Counter
	start    hw.Ticks
	random   *rand.Rand
	fleet    *fleet
	observer *observer
	picture  picture
}

// failed adds to an error where the logs are.
func (r *run) failed(err error, keep bool) error {
	if err == nil || !keep {
		return err
	}
	return fmt.Errorf("%w; the daemons' logs are in %s", err, r.fleet.logPath())
}

// play observes until ctx ends, the time is over, a daemon fails, or nobody can see it any more.
func (r *run) play(ctx context.Context) error {
	var subjects []subject
	for _, h := range r.fleet.hosts {
		subjects = append(subjects, subject{h.name, h.page, h.skewed})
	}
	r.observer = newObserver(r.base, r.fleet.master.page, subjects)
	if err := r.picture.begin(); err != nil {
		return err
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for seconds := 1; ; {
		select {
		case <-ctx.Done():
			return nil
		case err := <-r.fleet.ended:
			return err
		case <-timer.C:
		}
		r.observer.sample()
		elapsed := r.observer.elapsed(r.start, r.base.Read())
		if elapsed >= float64(seconds) {
			seconds = int(elapsed) + 1
			if err := r.report(); err != nil {
				return err
			}
		}
		if r.options.For > 0 && elapsed >= r.options.For.Seconds() {
			return nil
		}
		timer.Reset(leastPause + time.Duration(r.random.Int64N(int64(dither))))
	}
}

// report shows the second that has just ended, and begins the next.
func (r *run) report() error {
	second, sofar := r.observer.second(r.start), r.observer.summary(r.start, &r.options)
	r.observer.tally.newSecond()
	return r.picture.second(second, sofar)
}
