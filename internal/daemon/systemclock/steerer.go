//go:build linux

package systemclock

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/internal/discipline"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

const (
	// ownerEvery is how often others that keep the clock are looked for, forbiddenEvery how often the kernel is asked again.
	ownerEvery, forbiddenEvery = 10 * time.Second, time.Minute
	// contestedFor is how long the clock is left alone after something else has changed it.
	contestedFor = time.Hour
	// lateWrite is how old a reading may be when the write that rests on it is done, in seconds; then it is done again.
	lateWrite = 0.1
	lateTries = 3
)

// Options are what a Steerer needs.
type Options struct {
	// Discipline is its name in the configuration.
	Discipline string
	Clock      Clock
	Counter    hw.Counter
	Config     discipline.Config
	// Owner returns who else keeps the clock, "" if nobody does.
	Owner func() string
	// Now is the monotonic time for waiting; nil: time.Now.
	Now func() time.Time
	Log *slog.Logger
}

// News is what the loop tells: the virtual clock, and what is known of leap seconds.
type News struct {
	Clock virtualclock.Coefficients
	// Std is the standard deviation of the clock's error in seconds, +Inf if it is not known.
	Std  float64
	Leap discipline.Leap
	TAI  int32
}

// Steerer makes a kernel's clock follow. Publish and Status may be called from any goroutine and never wait for the kernel.
type Steerer struct {
	options    Options
	controller *discipline.Controller

	mu     sync.Mutex
	news   News
	known  bool
	status control.SystemClock

	// Of the goroutine.
	owner     string
	nextOwner time.Time
	retry     time.Time // nothing is tried before
	quit      chan struct{}
	done      chan struct{}
	once      sync.Once
}

// New makes a Steerer that does nothing yet: Start begins, or a test calls Step.
func New(o Options) *Steerer {
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Steerer{options: o, controller: discipline.New(o.Config), quit: make(chan struct{}), done: make(chan struct{})}
	s.status = control.SystemClock{Discipline: o.Discipline, Clock: o.Clock.Name(), State: control.SystemClockWaiting,
		Reason: reason.NeverSynchronised, Explanation: reason.NeverSynchronised.Explain(), Leap: "none"}
	return s
}

// Start begins to steer, once in every interval.
func (s *Steerer) Start() {
	interval := time.Duration(s.options.Config.Interval * 1e9)
	go func() {
		defer close(s.done)
		t := time.NewTicker(interval)
		defer t.Stop()
		for {
			select {
			case <-s.quit:
				s.rest()
				return
			case <-t.C:
				s.Step()
			}
		}
	}()
}

// Close leaves the clock at its rate, amortising nothing, and waits for the goroutine.
func (s *Steerer) Close() {
	s.once.Do(func() { close(s.quit) })
	<-s.done
}

// Publish hands over what the virtual clock is from now on.
func (s *Steerer) Publish(n *News) {
	s.mu.Lock()
	s.news, s.known = *n, true
	s.mu.Unlock()
}

// Status returns a copy of the state.
func (s *Steerer) Status() control.SystemClock {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// Step is one update.
func (s *Steerer) Step() {
	s.mu.Lock()
	news, known := s.news, s.known
	s.mu.Unlock()
	now := s.options.Now()
	if !known || now.Before(s.retry) {
		return
	}
	if !now.Before(s.nextOwner) {
		s.nextOwner = now.Add(ownerEvery)
		s.owner = s.options.Owner()
	}
	if s.owner != "" {
		s.refuse(reason.ClockOwned, s.owner)
		return
	}
	for range lateTries {
		late, err := s.update(&news)
		if err != nil {
			s.fail(err)
			return
		}
		if !late {
			return
		}
	}
}

// update reads, decides and writes. late: the write came so long after the reading that it has to be made again.
func (s *Steerer) update(n *News) (late bool, err error) {
	kernel, err := s.options.Clock.Get()
	if err != nil {
		return false, err
	}
	cross, err := s.options.Clock.Cross(s.options.Counter)
	if err != nil {
		return false, err
	}
	r := discipline.Reading{Cross: cross, Kernel: kernel, Clock: &n.Clock, Std: n.Std}
	if s.options.Clock.Leaps() {
		r.Leap, r.TAI = n.Leap, n.TAI
	}
	if why := s.controller.Moved(&r); why != reason.OK {
		return false, why
	}
	o := s.controller.Update(&r)
	if !o.Write {
		s.tell(&o, nil)
		return false, nil
	}
	after, err := s.options.Clock.Set(&o)
	if err != nil {
		return false, err
	}
	at := s.options.Counter.Read()
	s.controller.Wrote(after, at, &o)
	s.tell(&o, &after)
	if o.StepNS != 0 {
		s.options.Log.Warn("the system clock was stepped", "clock", s.options.Clock.Name(), "by", time.Duration(o.StepNS))
	}
	return float64(at.Sub(cross.At)) > lateWrite*s.options.Config.Hertz, nil
}

// fail gives the clock up for a while, with a reason.
func (s *Steerer) fail(err error) {
	var code reason.Code
	if !errors.As(err, &code) {
		code = reason.ClockUnsupported
	}
	switch code {
	case reason.ClockContested:
		s.retry = s.options.Now().Add(contestedFor)
		s.mu.Lock()
		s.status.Contested++
		s.mu.Unlock()
		s.owner = s.options.Owner()
		s.nextOwner = s.options.Now().Add(ownerEvery)
		detail := "it is left alone for " + contestedFor.String()
		if s.owner != "" {
			detail = s.owner
		}
		s.refuse(code, detail)
	default:
		s.retry = s.options.Now().Add(forbiddenEvery)
		s.refuse(code, err.Error())
	}
}

// refuse leaves the clock alone.
func (s *Steerer) refuse(code reason.Code, detail string) {
	s.controller.Forget()
	s.mu.Lock()
	defer s.mu.Unlock()
	x := &s.status
	if x.State != control.SystemClockRefused || x.Reason != code || x.Detail != detail {
		s.options.Log.Error("the system clock is not steered", "clock", x.Clock, "reason", code.String(), "explanation", code.Explain(), "detail", detail)
	}
	x.State, x.Reason, x.Explanation, x.Detail = control.SystemClockRefused, code, code.Explain(), detail
	x.OffsetS, x.SlewPPM, x.FrequencyPPM, x.MaxErrorS, x.EstErrorS, x.TAIOffsetS, x.Leap = nil, nil, nil, nil, nil, nil, "none"
}

// tell makes the status of an order; after is what the kernel said then, nil if nothing was written.
func (s *Steerer) tell(o *discipline.Order, after *discipline.Kernel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x, before := &s.status, s.status.State
	x.Reason, x.Explanation, x.Detail = o.Reason, o.Reason.Explain(), ""
	x.OffsetS, x.SlewPPM, x.MaxErrorS, x.EstErrorS = nil, nil, nil, nil
	if o.Known {
		x.OffsetS = control.Known(o.Offset)
	}
	switch {
	case after == nil:
		x.State = control.SystemClockWaiting
	case o.Reason != reason.OK:
		x.State = control.SystemClockHolding
	default:
		x.State = control.SystemClockFollowing
		x.SlewPPM = control.Known(o.Slew * 1e6)
		x.MaxErrorS, x.EstErrorS = control.Known(float64(o.MaxError)*1e-6), control.Known(float64(o.EstError)*1e-6)
	}
	if after != nil {
		x.Updates++
		x.FrequencyPPM = control.Known(after.Rate() * 1e6)
		x.TAIOffsetS = nil
		if o.TAI != 0 {
			tai := after.TAI
			x.TAIOffsetS = &tai
		}
	}
	if o.StepNS != 0 {
		x.Steps++
		x.SteppedS += float64(o.StepNS) * 1e-9
	}
	switch {
	case o.Status&discipline.StatusInsert != 0:
		x.Leap = "insert"
	case o.Status&discipline.StatusDelete != 0:
		x.Leap = "delete"
	default:
		x.Leap = "none"
	}
	if x.State != before {
		s.options.Log.Info("the system clock", "clock", x.Clock, "state", x.State, "reason", o.Reason.String())
	}
}

// rest is the last word to the clock.
func (s *Steerer) rest() {
	s.mu.Lock()
	news, refused := s.news, s.status.State == control.SystemClockRefused
	s.mu.Unlock()
	if refused {
		return
	}
	tick, freq, ok := s.controller.Rest(&news.Clock, s.options.Counter.Read())
	if !ok {
		return
	}
	kernel, err := s.options.Clock.Get()
	if err != nil {
		return
	}
	if cross, err := s.options.Clock.Cross(s.options.Counter); err != nil || s.controller.Moved(&discipline.Reading{Cross: cross, Kernel: kernel, Clock: &news.Clock}) != reason.OK {
		return // it is somebody else's by now
	}
	if err := s.options.Clock.SetRate(tick, freq); err != nil {
		s.options.Log.Warn("the system clock keeps the rate of its last correction", "error", err)
	}
}
