package hw

import (
	"math"

	"github.com/clockd/clockd/reason"
)

// Limits of the model under which a kernel stamp is mapped onto the counter.
const (
	// maxSlew is the largest relative rate error that Linux gives CLOCK_REALTIME: tick ± 10 % and frequency ± 500 ppm
	// (adjtimex(2)), cut at 11 % (kernel/time/clocksource.c, clocksource_max_adjustment).
	maxSlew = 0.11
	// slewAllowance is added to the programmed rate: adjtime(3) slews by up to 500 ppm without showing in adjtimex(2).
	slewAllowance = 500e-6
	// counterAllowance is how far the counter may run from its nominal frequency, measurement error excluded.
	counterAllowance = 500e-6
	// steadyWindow, in nanoseconds, is the longest time between the brackets in which the programmed rate is trusted.
	steadyWindow = 2e9
	// longWindow, in nanoseconds, is the longest distance from the bracket before the event that is still extrapolated.
	longWindow = 1e12
	// unboundedTicks stands for "no limit"; twice its size still fits an int64.
	unboundedTicks = float64(1 << 61)
)

// SlewUnknown is the value of Bracket.Slew when the programmed rate could not be read.
const SlewUnknown = -1.0

// Bracket is one reading of a clock (CLOCK_REALTIME, or a PHC) between two readings of the counter.
type Bracket struct {
	// Low and High are the counter readings around the reading of the clock.
	Low, High Ticks
	// Realtime is what the clock said, in nanoseconds since the Unix epoch, rounded down.
	Realtime int64
	// Monotonic is what CLOCK_MONOTONIC, which is slewed with CLOCK_REALTIME and never stepped, said within the same two
	// counter readings, in nanoseconds since any origin that stays; meaningless without HasMonotonic.
	Monotonic    int64
	HasMonotonic bool
	// Slew is the size of the relative rate error that the clock is programmed to, or SlewUnknown: for a bracket before an event
	// read at most two seconds before Low, for one after an event read after High.
	Slew float64
}

// Width returns High − Low.
func (b *Bracket) Width() Ticks { return b.High - b.Low }

// Middle returns the reading halfway between Low and High.
func (b *Bracket) Middle() Ticks { return b.Low + (b.High-b.Low)/2 }

// Mapped is the place of an event on the counter: not before Low, not after High, best estimate At.
type Mapped struct {
	Low, At, High Ticks
}

// RealtimeMapper maps stamps of CLOCK_REALTIME onto the counter, by a bracket taken before the event and one taken after it.
// It does no I/O and keeps no state.
//
// Let x be the time from the bracket before to the event, y that from the event to the bracket after, s the relative rate
// error of the clock. The forward estimate is wrong by s·x and by any step made before the event; the backward estimate is
// wrong by s·y and by any step made after it. So with |s| ≤ S the event lies in
//
//	F = before + elapsed·[1/(1+S), 1/(1−S)]   unless the clock was stepped before it,
//	B = after  − elapsed·[1/(1+S), 1/(1−S)]   unless the clock was stepped after it,
//
// hence in the hull of F and B if it was stepped at most once. A step also shows as a change of REALTIME − MONOTONIC between
// the two brackets: if that changed by more than the brackets' widths the stamp is refused (reason.ClockStepped), else an
// unseen step is at most q, and the event lies in the intersection of F ± q and B ± q too.
//
// What is assumed, and all that is assumed: between the two brackets the clock is stepped at most once (any size, any moment);
// its rate is wrong by no more than 11 %, in any shape; and, when both brackets know the programmed rate and are less than two
// seconds apart, the rate is never further from true between the two readings of it than the worse of them and 500 ppm (for
// adjtime(3), which does not show, and small corrections): no faster slew both begins and ends in between. Then S is that plus
// 500 ppm for the counter, else 11 %. The counter is within 500 ppm of its nominal frequency plus that frequency's own error.
type RealtimeMapper struct {
	ticksPerNano float64
	counterError float64
}

// NewRealtimeMapper makes a mapper for a counter of frequency f.
func NewRealtimeMapper(f Frequency) RealtimeMapper {
	return RealtimeMapper{ticksPerNano: f.Hertz * 1e-9, counterError: counterAllowance + f.ErrorPPB*1e-9}
}

// tolerance returns S for a window of the given length in nanoseconds: (s + e)/(1 − e), so that both 1/(1−S) ≥ (1+e)/(1−s) and
// 1/(1+S) ≤ (1−e)/(1+s), where s is the clock's rate error and e the counter's.
func (m RealtimeMapper) tolerance(before, after *Bracket, window float64) float64 {
	s := maxSlew
	if before.Slew >= 0 && after.Slew >= 0 && window <= steadyWindow {
		s = min(maxSlew, max(before.Slew, after.Slew)+slewAllowance)
	}
	return (s + m.counterError) / (1 - m.counterError)
}

// span is an interval in ticks relative to the bracket after the event.
type span struct{ low, high float64 }

func (a span) intersect(b span) span { return span{max(a.low, b.low), min(a.high, b.high)} }
func (a span) hull(b span) span      { return span{min(a.low, b.low), max(a.high, b.high)} }
func (a span) widen(q float64) span  { return span{a.low - q, a.high + q} }

// Map returns where the event stamped realtime (nanoseconds since the Unix epoch) lies. The code is OK; ClockStepped if the
// clock was stepped between the brackets; or StampOutOfOrder if the stamp is not between them or no place agrees with both.
func (m RealtimeMapper) Map(realtime int64, before, after *Bracket) (Mapped, reason.Code) {
	if realtime < before.Realtime || realtime > after.Realtime {
		return Mapped{}, reason.StampOutOfOrder
	}
	// Unsigned differences are right even where a signed one would overflow.
	x := float64(uint64(realtime) - uint64(before.Realtime))
	y := float64(uint64(after.Realtime) - uint64(realtime))
	if y > longWindow {
		return Mapped{}, reason.StampOutOfOrder
	}
	s := m.tolerance(before, after, x+y)
	k := m.ticksPerNano
	// Each reading of the clock is rounded down, so a difference of two is wrong by less than one nanosecond.
	backward := span{-(y + 1) * k / (1 - s), float64(after.Width()) - max(y-1, 0)*k/(1+s)}
	forward := span{-unboundedTicks, unboundedTicks}
	origin := float64(before.Low.Sub(after.Low))
	if x <= longWindow {
		forward = span{origin + max(x-1, 0)*k/(1+s), origin + float64(before.Width()) + (x+1)*k/(1-s)}
	}
	place := forward.hull(backward)
	if before.HasMonotonic && after.HasMonotonic {
		q, stepped := unseenStep(before, after, k)
		if stepped {
			return Mapped{}, reason.ClockStepped
		}
		q = q * k / (1 - s)
		place = place.intersect(forward.widen(q).intersect(backward.widen(q)))
	}
	if place.low > place.high {
		return Mapped{}, reason.StampOutOfOrder
	}
	at := float64(after.Width())/2 - y*k
	if x < y {
		at = origin + float64(before.Width())/2 + x*k
	}
	at = min(max(at, place.low), place.high)
	return Mapped{
		Low:  after.Low.Add(int64(math.Floor(place.low))),
		At:   after.Low.Add(int64(math.Round(at))),
		High: after.Low.Add(int64(math.Ceil(place.high))),
	}, reason.OK
}

// unseenStep returns the size in nanoseconds of the largest step that the two brackets leave possible, and whether they prove
// one. Each bracket's REALTIME − MONOTONIC is wrong by no more than its width, since the two were read one after the other.
func unseenStep(before, after *Bracket, ticksPerNano float64) (q float64, stepped bool) {
	change := math.Abs(float64((after.Realtime - after.Monotonic) - (before.Realtime - before.Monotonic)))
	noise := float64(max(before.Width(), after.Width()))/ticksPerNano*(1+maxSlew) + 2
	return change + noise, change > noise
}

// Departure makes the stamp of a departure that the kernel stamped realtime. user is the counter read before the system call
// that sent, seen is the counter read after the stamp was fetched; before was taken before the system call, after since.
// If the stamp cannot be trusted the result is the user-space stamp and the reason why.
//
// NotBefore of the result is never earlier than user, so the kernel's stamp never makes the user-space stamp worse.
func (m RealtimeMapper) Departure(realtime int64, before, after *Bracket, user, seen Ticks) (Stamp, reason.Code) {
	fallback := Stamp{At: user, Kind: StampUser}
	p, code := m.Map(realtime, before, after)
	if code != reason.OK {
		return fallback, code
	}
	low, high := Later(p.Low, user), Earlier(p.High, seen)
	if high.Before(low) {
		return fallback, reason.StampOutOfOrder
	}
	at := Earlier(Later(p.At, low), high)
	return Stamp{At: at, Error: at - low, Kind: StampKernel}, reason.OK
}

// Arrival makes the stamp of an arrival that the kernel stamped realtime. seen is the counter read after the system call that
// received; after was taken since. before is a bracket whose Realtime is not after the stamp. If the stamp cannot be trusted
// the result is the user-space stamp and the reason why.
//
// NotAfter of the result is never later than seen. It holds even if before was really taken after the arrival and precedes
// the stamp only because the clock was set back in between: then both estimates are late, which widens and does not falsify.
func (m RealtimeMapper) Arrival(realtime int64, before, after *Bracket, seen Ticks) (Stamp, reason.Code) {
	fallback := Stamp{At: seen, Kind: StampUser}
	p, code := m.Map(realtime, before, after)
	if code != reason.OK {
		return fallback, code
	}
	if seen.Before(p.Low) {
		return fallback, reason.StampOutOfOrder
	}
	high := Earlier(p.High, seen)
	at := Earlier(p.At, high)
	return Stamp{At: at, Error: high - at, Kind: StampKernel}, reason.OK
}

// History lengths: a datagram that waited in the socket's queue for longer than historyLength·historySpacing gets a user stamp.
const (
	historyLength  = 64
	historySpacing = 1e-3 // seconds
)

// bracketHistory keeps the last bracket and earlier ones at a spacing, so that for a datagram that waited in the queue one
// from before its arrival can still be found.
type bracketHistory struct {
	spacing Ticks
	last    Bracket
	ring    [historyLength]Bracket
	count   int
	next    int
}

// push records b, which is not older than those before it.
func (h *bracketHistory) push(b *Bracket) {
	h.last = *b
	if h.count > 0 {
		newest := &h.ring[(h.next+historyLength-1)%historyLength]
		if b.Low-newest.Low < h.spacing {
			return
		}
	}
	h.ring[h.next] = *b
	h.next = (h.next + 1) % historyLength
	h.count = min(h.count+1, historyLength)
}

// find returns the newest bracket not after the stamp realtime, or nil.
func (h *bracketHistory) find(realtime int64) *Bracket {
	if h.count == 0 {
		return nil
	}
	if h.last.Realtime <= realtime {
		return &h.last
	}
	for i := 1; i <= h.count; i++ {
		b := &h.ring[(h.next+historyLength-i)%historyLength]
		if b.Realtime <= realtime {
			return b
		}
	}
	return nil
}
