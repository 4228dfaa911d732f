package daemon

import (
	"math"

	"github.com/clockd/clockd/internal/config"
	"github.com/clockd/clockd/internal/daemon/systemclock"
	"github.com/clockd/clockd/internal/discipline"
	"github.com/clockd/clockd/reason"
)

// openSystemClock begins to steer the kernel's clock, or ends it, as the configuration says.
func (d *daemon) openSystemClock() {
	d.closeSystemClock()
	c := d.config.SystemClock
	o := systemclock.Options{
		Discipline: c.Discipline, Counter: d.counter, Log: d.log,
		Config: discipline.Config{Hertz: d.counter.Frequency().Hertz, MaxSlew: float64(c.MaxSlew), Step: policy(c.Step),
			StepThreshold: c.StepThreshold.Seconds(), Interval: c.Interval.Seconds()},
		Owner: func() string { return "" },
	}
	switch c.Discipline {
	case config.DisciplineRealtime:
		o.Clock = systemclock.Realtime()
		o.Owner = func() string { return systemclock.FindOwner("/") }
	case config.DisciplineAux:
		o.Clock = systemclock.Aux(c.Aux)
	default:
		return
	}
	if d.options.SystemClock != nil {
		o.Clock = d.options.SystemClock
		o.Owner = func() string { return "" }
	}
	d.steerer = systemclock.New(o)
	d.steerer.Start()
	d.log.Info("the system clock is to be steered", "clock", o.Clock.Name(), "step", c.Step, "step_threshold", c.StepThreshold.String())
	d.tellSystemClock()
}

// closeSystemClock waits for one system call at the most.
func (d *daemon) closeSystemClock() {
	if d.steerer != nil {
		d.steerer.Close()
		d.steerer = nil
	}
}

func policy(step string) discipline.Policy {
	switch step {
	case "start":
		return discipline.StepStart
	case "always":
		return discipline.StepAlways
	}
	return discipline.StepNever
}

// tellSystemClock hands the published clock over.
func (d *daemon) tellSystemClock() {
	if d.steerer == nil || d.node == nil {
		return
	}
	k := &d.published.Clock
	n := systemclock.News{Clock: *k, Std: math.Inf(1)}
	if k.Status.Sound() && k.Steady.Period != 0 {
		t := k.Time(d.last)
		n.Leap, n.TAI = d.leapAt(t), d.tai(t)
		if e := d.node.Estimate(); e.Used > 0 && e.Reason == reason.OK {
			n.Std = e.OffsetStd
		}
	}
	d.steerer.Publish(&n)
}
