package virtualclock

import (
	"time"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
)

// Source is anything that knows the time with its error: a Reader of a daemon's page, a Local clock in this process, or a clock
// that misbehaves on purpose (clocktest). It may be used from any goroutine.
type Source interface {
	// Now returns the interval in which true time was at some instant between the call and the return, or one that is not
	// sound.
	Now() Interval
}

// Reasoner is a Source that tells why its interval is not synchronised.
type Reasoner interface {
	Source
	NowReason() (Interval, reason.Code)
}

// nowReason reads a source with its reason, if it gives one.
func nowReason(s Source) (Interval, reason.Code) {
	if r, ok := s.(Reasoner); ok {
		return r.NowReason()
	}
	return s.Now(), reason.OK
}

// Reading is one look at a clock: what it shows, in which bounds true time was, and the counter reading that both belong to.
type Reading struct {
	// Time is the virtual clock: monotone within an epoch. It is worth something only while Interval is sound, and MinTime if
	// there is none.
	Time     Time
	Interval Interval
	Ticks    hw.Ticks
}

// Bound returns the largest error of Time in seconds, +Inf if the interval is not sound.
func (r *Reading) Bound() float64 { return r.Interval.Bound(r.Time) }

// After reports that t has certainly passed. False also if the clock is not sound.
func After(s Source, t Time) bool { return s.Now().After(t) }

// Before reports that t has certainly not come yet. False also if the clock is not sound. If After and Before are both false,
// the clock cannot tell.
func Before(s Source, t Time) bool { return s.Now().Before(t) }

// Since returns the least and the most time that can have passed since t; not ok if the clock is not sound.
func Since(s Source, t Time) (least, most time.Duration, ok bool) { return s.Now().Since(t) }
