package clocktest

import (
	"slices"
	"time"

	"github.com/clockd/clockd/reason"
)

// Event is something that happens to a host at an instant after the World's beginning. The functions of this file make them.
type Event struct {
	at   time.Duration
	kind eventKind
	// span, ppm, by and code are what the kind of event needs.
	span time.Duration
	ppm  float64
	by   time.Duration
	code reason.Code
}

type eventKind uint8

const (
	drift eventKind = iota
	jump
	stall
	lie
	disrupt
	lose
)

// Drift makes the host's oscillator too fast by that many parts per million from then on. Beyond the host's DriftBoundPPM it is a lie: the
// intervals need not contain true time any more.
func Drift(at time.Duration, ppm float64) Event { return Event{at: at, kind: drift, ppm: ppm} }

// Jump makes the host's counter jump ahead, as when a virtual machine is restored; by must be positive. It is a lie until the next poll that
// finds it out: then the clock is Disrupted (contradiction), and in a new epoch one poll later.
func Jump(at, by time.Duration) Event { return Event{at: at, kind: jump, by: by} }

// Stall makes the host's counter stand still for a time. It is a lie, like Jump.
func Stall(at, span time.Duration) Event { return Event{at: at, kind: stall, span: span} }

// Lie makes everything that the host learns of the time wrong by so much, for a time: its sources are false, or more of its group than it can bear.
func Lie(at, span, by time.Duration) Event { return Event{at: at, kind: lie, span: span, by: by} }

// Disrupt is a disruption that the host notices by itself: for a time its status is Disrupted with that reason, then it is
// in a new epoch at the first poll.
func Disrupt(at, span time.Duration, why reason.Code) Event {
	return Event{at: at, kind: disrupt, span: span, code: why}
}

// Lose takes away the host's samples for a time: it goes to Holdover, its interval grows, and in the end it is Unsynchronised.
func Lose(at, span time.Duration) Event { return Event{at: at, kind: lose, span: span} }

// until is when the event is over.
func (e *Event) until() time.Duration { return e.at + e.span }

// covers reports whether t is within the event's span.
func (e *Event) covers(t time.Duration) bool { return e.at <= t && t < e.until() }

// segment is a stretch of the counter's life during which its rate does not change.
type segment struct {
	from  time.Duration
	ticks int64
	ppm   float64
	still bool
}

// segments lays out the counter's life from the script, which is sorted.
func segments(script []Event) []segment {
	type change struct {
		at   time.Duration
		make func(*segment)
	}
	stalls := 0
	var changes []change
	for _, e := range script {
		switch e.kind {
		case drift:
			changes = append(changes, change{e.at, func(s *segment) { s.ppm = e.ppm }})
		case jump:
			changes = append(changes, change{e.at, func(s *segment) { s.ticks += int64(max(e.by, 0)) }})
		case stall:
			changes = append(changes, change{e.at, func(s *segment) { stalls++; s.still = true }},
				change{e.until(), func(s *segment) { stalls--; s.still = stalls > 0 }})
		}
	}
	slices.SortStableFunc(changes, func(a, b change) int { return int(min(max(a.at-b.at, -1), 1)) })
	all := []segment{{}}
	for _, c := range changes {
		last := &all[len(all)-1]
		s := segment{c.at, last.at(c.at), last.ppm, last.still}
		c.make(&s)
		all = append(all, s)
	}
	return all
}

// at is the counter's reading at t, which is in the segment.
func (s *segment) at(t time.Duration) int64 {
	if s.still {
		return s.ticks
	}
	d := int64(t - s.from)
	return s.ticks + d + int64(float64(d)*s.ppm*1e-6)
}
