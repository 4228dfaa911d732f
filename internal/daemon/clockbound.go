package daemon

import (
	"github.com/clockd/clockd/internal/clockbound"
)

// openClockBound starts to write for ClockBound's readers, or stops, as the configuration says. A segment that cannot be made is
// said and left out: the clock does not depend on it.
func (d *daemon) openClockBound() {
	d.closeClockBound()
	c := d.config.ClockBound
	if c == nil {
		return
	}
	w, err := clockbound.Create(clockbound.Options{Path: c.Path, Counter: d.counter, Slew: float64(c.RealtimeSlew), Log: d.log})
	if err != nil {
		d.log.Error("nothing is written for ClockBound's readers", "error", err)
		return
	}
	d.clockbound = w
	if d.node != nil {
		w.Publish(&d.published.Clock)
	}
	d.log.Info("writing for ClockBound's readers", "path", c.Path)
}

func (d *daemon) closeClockBound() {
	if d.clockbound == nil {
		return
	}
	if err := d.clockbound.Close(); err != nil {
		d.log.Warn("the segment was not closed well", "error", err)
	}
	d.clockbound = nil
}
