package daemon

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"time"

	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/internal/discipline"
	"github.com/clockd/clockd/internal/node"
	"github.com/clockd/clockd/internal/ntp"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// leapFiles are where systems have the table of leap seconds.
var leapFiles = [...]string{"/usr/share/zoneinfo/leap-seconds.list", "/usr/share/zoneinfo/leapseconds"}

const (
	// leapsEvery is how often the file is read again: a system's update brings a new one.
	leapsEvery = 6 * time.Hour
	// leapDay is how long before it happens a leap second counts as announced.
	leapDay = 24 * time.Hour
)

// leaps is what is known of leap seconds.
type leaps struct {
	table *virtualclock.LeapTable
	path  string
	err   error
	next  time.Time
	// announced is the last leap second that the sources announced.
	announced discipline.Leap
}

// openLeaps reads the table that the configuration names.
func (d *daemon) openLeaps() {
	before := d.leaps
	d.leaps = leaps{next: time.Now().Add(leapsEvery), announced: before.announced}
	switch path := d.config.SystemClock.LeapFile; path {
	case "none":
	case "auto":
		d.leaps.read(leapFiles[:]...)
	default:
		d.leaps.read(path)
	}
	if d.leaps.err != nil && (before.err == nil || before.err.Error() != d.leaps.err.Error()) {
		d.log.Warn("leap seconds are only known as sources announce them", "error", d.leaps.err)
	}
}

// read takes the file that is good for the longest time.
func (l *leaps) read(paths ...string) {
	for _, path := range paths {
		table, err := readLeaps(path)
		switch {
		case errors.Is(err, fs.ErrNotExist) && (l.table != nil || l.err != nil):
		case err != nil && l.table == nil:
			l.err = err
		case err == nil && (l.table == nil || table.Expires().After(l.table.Expires())):
			l.table, l.path, l.err = table, path, nil
		}
	}
}

func readLeaps(path string) (*virtualclock.LeapTable, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("daemon: %w: %w", reason.LeapTableMissing, err)
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, 2<<20))
	if err != nil {
		return nil, fmt.Errorf("daemon: %w: %w", reason.LeapTableMissing, err)
	}
	table, err := virtualclock.ParseLeapTable(b)
	if err != nil {
		return nil, fmt.Errorf("daemon: %s: %w: %w", path, reason.LeapTableMissing, err)
	}
	return table, nil
}

// leapAt is the leap second that is to come within a day of t: by the table, while it is good, else by what the sources announce.
func (d *daemon) leapAt(t virtualclock.Time) discipline.Leap {
	if d.leaps.table.Valid(t) {
		if at, sign, ok := d.leaps.table.Near(t, leapDay); ok && t.Before(at) {
			return discipline.Leap{At: at.UnixNano() / 1e9, Sign: sign}
		}
		return discipline.Leap{}
	}
	sign := 0
	switch d.published.Server.Leap {
	case ntp.LeapInsert:
		sign = 1
	case ntp.LeapDelete:
		sign = -1
	default:
		return discipline.Leap{}
	}
	// It is at the end of a month: RFC 5905, section 7.3.
	now := t.Time()
	end := time.Date(now.Year(), now.Month()+1, 1, 0, 0, 0, 0, time.UTC)
	if end.Sub(now) > leapDay {
		return discipline.Leap{}
	}
	d.leaps.announced = discipline.Leap{At: end.Unix(), Sign: sign}
	return d.leaps.announced
}

// leapState is what readers of the page are told.
func (d *daemon) leapState() virtualclock.LeapState {
	var s virtualclock.LeapState
	k := &d.published.Clock
	if l := d.leaps.table; l != nil {
		s.Expires = l.Expires().UnixNano() / 1e9
	}
	if !k.Status.Sound() || k.Kind != virtualclock.External || k.Steady.Period == 0 {
		return s
	}
	t := k.Time(d.last)
	if at, sign, ok := d.leaps.table.Near(t, leapDay); ok {
		s.At, s.Sign = at.UnixNano()/1e9, int8(sign)
		s.TAI, s.TAIKnown = d.leaps.table.TAI(at.Add(-time.Second))
		return s
	}
	s.TAI, s.TAIKnown = d.leaps.table.TAI(t)
	if next := d.leapAt(t); next.Sign != 0 {
		s.At, s.Sign = next.At, int8(next.Sign)
	} else if a := d.leaps.announced; a.Sign != 0 && !s.TAIKnown && t.UnixNano()/1e9-a.At >= 0 && t.UnixNano()/1e9-a.At < 86400 {
		s.At, s.Sign = a.At, int8(a.Sign) // it is over, and the smear of it is not
	}
	return s
}

// tai is TAI − UTC at t, 0 if it is not known.
func (d *daemon) tai(t virtualclock.Time) int32 {
	offset, _ := d.leaps.table.TAI(t)
	return offset
}

// leapStatus is for people and programs; t is the clock.
func (d *daemon) leapStatus(t virtualclock.Time) *control.Leap {
	l := &d.leaps
	out := &control.Leap{Table: l.path}
	if l.table == nil {
		out.Reason = reason.LeapTableMissing
	} else {
		expires := l.table.Expires().UnixNano()
		out.ExpiresNS = &expires
		if !l.table.Valid(t) && d.published.Clock.Status.Sound() {
			out.Reason = reason.LeapTableExpired
		}
	}
	out.Explanation = out.Reason.Explain()
	if !d.published.Clock.Status.Sound() {
		return out
	}
	if offset := d.tai(t); offset != 0 {
		out.TAIOffsetS = &offset
	}
	if next := d.leapAt(t); next.Sign != 0 {
		at := next.At * 1e9
		out.NextNS, out.Sign = &at, next.Sign
	}
	return out
}

// smears says whether a source that contradicts the others is off by just what the smear of the leap second that is near makes it: it
// smears and the others do not, or the other way round.
func (d *daemon) smears(s *node.Snapshot, x *node.SourceStatus) bool {
	if s.Steps == 0 || x.Reading.Samples == 0 || !s.Interval.Sound() {
		return false
	}
	leap, clock := d.leapState(), s.Time.Seconds(s.Raw)
	return smearedBy(&leap, s.Time, x.Reading.Low-clock, x.Reading.High-clock, s.Bound)
}

// leastSmear is the smallest smear in seconds that is called one: a plain error of that size is rare.
const leastSmear = 5e-3

// smearedBy says whether a source whose offset from the clock is in [low, high] is off by the smear at t, where the clock itself is wrong by
// up to bound. The cosine smear is up to 0.11 s from the linear one.
func smearedBy(leap *virtualclock.LeapState, t virtualclock.Time, low, high, bound float64) bool {
	for _, how := range []virtualclock.Smear{virtualclock.SmearLinear, virtualclock.SmearCosine} {
		off := leap.SmearOffset(t, how)
		if math.Abs(off) < max(leastSmear, 2*bound+(high-low)) {
			continue
		}
		for _, want := range []float64{off, -off} {
			if low-bound <= want && want <= high+bound {
				return true
			}
		}
	}
	return false
}
