package order

import (
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// Relation is what is known of the order of two events.
type Relation int8

// The relations. CannotTell is no equality: it is not transitive.
const (
	CannotTell Relation = iota
	Before
	After
)

// String returns "cannot tell", "before" or "after".
func (r Relation) String() string {
	switch r {
	case Before:
		return "before"
	case After:
		return "after"
	}
	return "cannot tell"
}

// Inverse is the relation seen from the other event.
func (r Relation) Inverse() Relation {
	switch r {
	case Before:
		return After
	case After:
		return Before
	}
	return CannotTell
}

// Compare tells the order of two events from the intervals that were read when they happened: x came before y if even the latest
// time that x can have had is before the earliest of y. It is a strict partial order, an interval order: if x is before y and y
// before z then x is before z.
//
// Of intervals that are not sound, or of different kinds, nothing can be told; Why says which. Intervals of kind INTERNAL must be
// of one group; Stamp.Compare sees to that.
func Compare(x, y virtualclock.Interval) Relation {
	if !comparable(&x, &y) {
		return CannotTell
	}
	if x.Latest.Before(y.Earliest) {
		return Before
	}
	if y.Latest.Before(x.Earliest) {
		return After
	}
	return CannotTell
}

func comparable(x, y *virtualclock.Interval) bool { return x.Sound() && y.Sound() && x.Kind == y.Kind }

// Why returns why Compare cannot tell: ClockUnsound, IntervalKind or IntervalsOverlap; OK if it can.
func Why(x, y virtualclock.Interval) reason.Code {
	switch {
	case !x.Sound() || !y.Sound():
		return reason.ClockUnsound
	case x.Kind != y.Kind:
		return reason.IntervalKind
	case Compare(x, y) == CannotTell:
		return reason.IntervalsOverlap
	}
	return reason.OK
}
