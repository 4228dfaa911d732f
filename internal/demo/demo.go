package demo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/clockd/clockd/hw"
)

// ErrViolated says that a clock was further from true time, or from another clock, than it claimed.
var ErrViolated = errors.New("a clock was further from true time, or from another correct clock, than it claimed")

// The samples are from leastPause to leastPause + dither apart, so that they keep no step with the polls.
const (
	leastPause = 5 * time.Millisecond
	dither     = 9 * time.Millisecond
)

// Run plays a network on this machine, until ctx ends or for Options.For, and shows it. The Summary is nil if it could not begin.
// The error wraps ErrViolated if a claim was violated, unless there were more liars than can be borne (Summary.Void); then, and if a daemon failed, the daemons' logs are kept, and the Summary
// or the error says where.
func Run(ctx context.Context, o Options) (summary *Summary, err error) {
	o = o.WithDefaults()
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
	summary = r.summary()
	violated := summary.BoundViolations > 0 && !summary.void()
	if keep = violated || errors.Is(outcome, errDaemon); keep {
		summary.Logs = r.fleet.logPath()
	}
	if violated {
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
	// survey is what the daemons of a group say of themselves, nil without one.
	survey *survey
}

// failed adds to an error where the logs are.
func (r *run) failed(err error, keep bool) error {
	if err == nil || !keep {
		return err
	}
	return fmt.Errorf("%w; the daemons' logs are in %s", err, r.fleet.logPath())
}

// observe makes the observer.
func (r *run) observe() error {
	var subjects []subject
	for _, h := range r.fleet.hosts {
		subjects = append(subjects, subject{h.name, h.page, h.skewed, h.liar != nil})
	}
	var truth clock
	if page := r.fleet.truth(); page != nil {
		truth = page
	}
	r.observer = newObserver(r.base, truth, subjects)
	if r.fleet.crowd == nil {
		return nil
	}
	promised, err := r.fleet.crowd.promised()
	if err != nil {
		return err
	}
	period := int64(r.options.Period.Seconds() * r.base.Frequency().Hertz)
	r.observer.group = newGroupWatch(promised, r.options.Mode == ModeInternal, period, len(subjects))
	return nil
}

// play observes until ctx ends, the time is over, a daemon fails, or nobody can see it any more.
func (r *run) play(ctx context.Context) error {
	if err := r.observe(); err != nil {
		return err
	}
	if r.fleet.crowd != nil {
		r.survey = newSurvey(ctx, r.fleet.hosts)
		defer r.survey.close()
	}
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
	if r.survey != nil {
		r.survey.take()
		r.observer.group.formed = r.observer.group.formed || r.survey.formed()
	}
	second, sofar := r.second(), r.summary()
	r.observer.newSecond()
	return r.picture.second(second, sofar)
}
