package order

import (
	"fmt"

	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// PointClock is a clock that also shows one number, its virtual clock: a virtualclock.Reader, a Local, a clocktest.Host.
type PointClock interface {
	virtualclock.Source
	Read() virtualclock.Reading
}

// look reads a clock with its reason.
func look(c virtualclock.Source) (virtualclock.Interval, reason.Code) {
	if r, ok := c.(virtualclock.Reasoner); ok {
		return r.NowReason()
	}
	return c.Now(), reason.OK
}

// lookPoint is look for the virtual clock too.
func lookPoint(c PointClock) (virtualclock.Reading, reason.Code) {
	if r, ok := c.(interface {
		ReadReason() (virtualclock.Reading, reason.Code)
	}); ok {
		return r.ReadReason()
	}
	return c.Read(), reason.OK
}

// refuse says that a clock which is not sound cannot be used for something.
func refuse(doing string, s virtualclock.Status, why reason.Code) error {
	if why == reason.OK {
		why = reason.ClockUnsound
	}
	return fmt.Errorf("order: cannot %s: the clock is %v: %w", doing, s, why)
}

// stepped says that the clock's epoch changed. The error is both virtualclock.ErrEpoch and reason.EpochChanged.
func stepped(doing string, from, to virtualclock.Epoch) error {
	return fmt.Errorf("order: cannot %s: epoch %d became %d: %w: %w", doing, from, to, virtualclock.ErrEpoch, reason.EpochChanged)
}

// guard reads a clock for a primitive that remembers something of it. It holds the clock to one epoch and one kind, and the edge
// that never goes back within an epoch to never going back: the lower one of EXTERNAL intervals, the upper one of INTERNAL ones. A
// daemon's page keeps both rules by itself, so this matters only for other sources; it costs a comparison.
type guard struct {
	clock virtualclock.Source
	begun bool
	kind  virtualclock.Kind
	epoch virtualclock.Epoch
	edge  virtualclock.Time
}

// look returns a sound interval of the epoch and kind of the first one, or an error.
func (g *guard) look(doing string) (virtualclock.Interval, error) {
	i := g.clock.Now()
	if !i.Sound() || !g.begun || i.Epoch != g.epoch || i.Kind != g.kind {
		return g.begin(doing, i)
	}
	if i.Kind == virtualclock.External {
		if i.Earliest.Before(g.edge) {
			i.Earliest = g.edge
			if i.Latest.Before(i.Earliest) {
				return i, refuse(doing, i.Status, reason.Contradiction)
			}
		}
		g.edge = i.Earliest
		return i, nil
	}
	if i.Latest.Before(g.edge) {
		i.Latest = g.edge
	}
	g.edge = i.Latest
	return i, nil
}

// begin is look in all but the usual case.
func (g *guard) begin(doing string, i virtualclock.Interval) (virtualclock.Interval, error) {
	if !i.Sound() {
		// Once more, for the reason; it may have become sound meanwhile.
		var why reason.Code
		if i, why = look(g.clock); !i.Sound() {
			return i, refuse(doing, i.Status, why)
		}
	}
	switch {
	case g.begun && i.Epoch != g.epoch:
		return i, stepped(doing, g.epoch, i.Epoch)
	case g.begun && i.Kind != g.kind:
		return i, fmt.Errorf("order: cannot %s: %v intervals became %v ones: %w", doing, g.kind, i.Kind, reason.KindChanged)
	}
	g.begun, g.kind, g.epoch, g.edge = true, i.Kind, i.Epoch, i.Earliest
	if i.Kind == virtualclock.Internal {
		g.edge = i.Latest
	}
	return i, nil
}

// resume takes whatever epoch and kind the clock has next.
func (g *guard) resume() { g.begun = false }
