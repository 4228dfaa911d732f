package order

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"time"

	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// Tick numbers the ticks of a Lattice: tick 0 begins at the Unix epoch.
type Tick int64

// Lattice is a coarse time that is the same everywhere (Kopetz 1992): the virtual clock in whole ticks of the length g_G. As long as
// g_G > π_v, two hosts that stamp the same instant differ by one tick at the most. So
//
//   - stamps that are two ticks or more apart tell the order of their events, on all hosts alike;
//   - the time between two events is within two ticks of what their stamps say.
//
// That g_G > π_v is not assumed: Stamp checks it with each reading's bound.
type Lattice struct{ tick int64 }

// NewLattice makes a lattice whose ticks are of that length, which must be positive.
func NewLattice(tick time.Duration) (Lattice, error) {
	if tick <= 0 {
		return Lattice{}, errors.New("order: a lattice's tick must be longer than nothing")
	}
	return Lattice{int64(tick)}, nil
}

// LatticeFor makes the lattice that is recommended for clocks of that precision π_v in seconds: ticks of 1.25·π_v, rounded up to
// nanoseconds. A precision that is no positive number gives an error.
func LatticeFor(precision float64) (Lattice, error) {
	ns := math.Ceil(precision * 1.25e9)
	if !(ns > 0 && ns < 1<<62) {
		return Lattice{}, fmt.Errorf("order: no lattice fits a precision of %g s", precision)
	}
	return Lattice{int64(ns)}, nil
}

// TickLength is g_G.
func (l Lattice) TickLength() time.Duration { return time.Duration(l.tick) }

// Of returns the tick in which t is.
func (l Lattice) Of(t virtualclock.Time) Tick { return Tick(floorDiv(t.UnixNano(), l.tick)) }

// Start returns the time at which a tick begins, saturated at the ends of the timeline.
func (l Lattice) Start(k Tick) virtualclock.Time {
	n := uint64(k)
	if k < 0 {
		n = -n
	}
	switch hi, lo := bits.Mul64(n, uint64(l.tick)); {
	case k < 0 && (hi != 0 || lo > 1<<63):
		return virtualclock.MinTime()
	case k < 0:
		return virtualclock.Unix(-int64(lo), 0)
	case hi != 0 || lo > math.MaxInt64:
		return virtualclock.MaxTime()
	default:
		return virtualclock.Unix(int64(lo), 0)
	}
}

// Check returns LatticeTooFine unless g_G > π_v is certain as far as this clock is concerned: the precision between two clocks is
// at most the sum of their bounds, so if all refuse a bound of g_G/2 it is below g_G.
func (l Lattice) Check(r *virtualclock.Reading) error {
	if bound := r.Bound(); !(2*bound < float64(l.tick)*1e-9) {
		return fmt.Errorf("order: the clock's error of up to %.3g s is not below half a tick of %v: %w", bound, l.TickLength(), reason.LatticeTooFine)
	}
	return nil
}

// Stamp returns the tick in which the virtual clock is. It refuses while the clock is not sound or not good enough for this lattice.
// Within an epoch of the clock stamps never go back.
func (l Lattice) Stamp(c PointClock) (Tick, error) {
	r, why := lookPoint(c)
	if !r.Interval.Sound() {
		return 0, refuse("stamp an event", r.Interval.Status, why)
	}
	if err := l.Check(&r); err != nil {
		return 0, err
	}
	return l.Of(r.Time), nil
}

// Compare tells the order of two events from their stamps. It cannot tell if they are less than two ticks apart.
func (l Lattice) Compare(x, y Tick) Relation {
	switch {
	case x < y && uint64(y)-uint64(x) >= 2:
		return Before
	case y < x && uint64(x)-uint64(y) >= 2:
		return After
	}
	return CannotTell
}

// Between returns limits of the time from an event with stamp x to one with stamp y, for clocks of kind EXTERNAL: more than least,
// less than most. They are two ticks to either side of what the stamps say, saturated.
func (l Lattice) Between(x, y Tick) (least, most time.Duration) {
	d := saturated(y, x)
	return l.length(saturatedAdd(d, -2)), l.length(saturatedAdd(d, 2))
}

func saturated(y, x Tick) int64 {
	d := int64(y) - int64(x)
	switch {
	case y >= x && d < 0:
		return math.MaxInt64
	case y < x && d >= 0:
		return math.MinInt64
	}
	return d
}

func saturatedAdd(d, n int64) int64 {
	s := d + n
	switch {
	case n > 0 && s < d:
		return math.MaxInt64
	case n < 0 && s > d:
		return math.MinInt64
	}
	return s
}

// length is the length of so many ticks, saturated.
func (l Lattice) length(ticks int64) time.Duration {
	n := uint64(ticks)
	if ticks < 0 {
		n = -n
	}
	hi, lo := bits.Mul64(n, uint64(l.tick))
	switch {
	case hi == 0 && lo <= math.MaxInt64 && ticks < 0:
		return -time.Duration(lo)
	case hi == 0 && lo <= math.MaxInt64:
		return time.Duration(lo)
	case ticks < 0:
		return math.MinInt64
	}
	return math.MaxInt64
}

// Wait returns when tick k begins on the virtual clock, at once if it has begun; see At. Hosts that wait for the same tick return
// within the precision.
func (l Lattice) Wait(ctx context.Context, c PointClock, k Tick, s Sleeper) (virtualclock.Reading, error) {
	r, err := At(ctx, c, l.Start(k), s)
	if err != nil {
		return r, err
	}
	return r, l.Check(&r)
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// Sparse is a sparse time base (Kopetz 1992): events are made only in active slots, which are apart by silence. Every host, whatever
// its stamp of such an event, attributes it to the slot in which it was made. So all of them derive one order of the slots without
// a word of agreement; events of one slot are simultaneous by convention.
type Sparse struct {
	lattice        Lattice
	active, silent int64
}

// leastSilence is what keeps the stamps of different slots two ticks apart: a stamp may be one tick off to either side.
const leastSilence = 3

// NewSparse makes a sparse time base with active slots of so many ticks, at least 1, and silence of at least 3 ticks between them.
func NewSparse(l Lattice, active, silent int64) (Sparse, error) {
	const most = 1 << 40
	if l.tick <= 0 || active < 1 || silent < leastSilence || active > most || silent > most {
		return Sparse{}, fmt.Errorf("order: a sparse time base needs active slots of 1 tick and silence of %d ticks at least, not %d and %d",
			leastSilence, active, silent)
	}
	return Sparse{l, active, silent}, nil
}

// Lattice returns the lattice of the time base.
func (s Sparse) Lattice() Lattice { return s.lattice }

// Slot returns the number of the slot to which an event belongs that was stamped with tick k here or at any other host.
func (s Sparse) Slot(k Tick) int64 { return floorDiv(saturatedAdd(int64(k), 1), s.active+s.silent) }

// Active reports whether events may be made in tick k.
func (s Sparse) Active(k Tick) bool {
	cycle := s.active + s.silent
	return int64(k)-floorDiv(int64(k), cycle)*cycle < s.active
}

// Next returns the first active tick from k on.
func (s Sparse) Next(k Tick) Tick {
	if s.Active(k) {
		return k
	}
	cycle := s.active + s.silent
	return Tick((floorDiv(int64(k), cycle) + 1) * cycle)
}

// Wait returns in an active slot, with its number: an event may be made now, while Active of the clock's tick is true. It refuses
// while the clock is not sound or not good enough for the lattice.
func (s Sparse) Wait(ctx context.Context, c PointClock, sleeper Sleeper) (slot int64, err error) {
	for {
		k, err := s.lattice.Stamp(c)
		if err != nil {
			return 0, err
		}
		if s.Active(k) {
			return floorDiv(int64(k), s.active+s.silent), nil
		}
		if _, err := s.lattice.Wait(ctx, c, s.Next(k), sleeper); err != nil {
			return 0, err
		}
	}
}
