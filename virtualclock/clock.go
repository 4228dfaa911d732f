package virtualclock

import (
	"math"
	"math/bits"

	"github.com/clockd/clockd/hw"
)

// What a Clock accepts. Outside of it values are clamped, so that the clock always advances: with both ratios at their limit a
// tick is still worth 0.75·0.75 of its nominal length.
const (
	minNominal = Period(1) << 32 // 15 femtoseconds
	maxNominal = Period(1) << 62 // 16 µs: counters from 61 kHz
	maxRate    = 0.25
	minMaxSlew = 1e-9
	// maxSlewTicks limits one correction: 29 years of a counter of 5 GHz.
	maxSlewTicks = 1 << 62
)

// Clock is the actuator of a virtual clock: it turns decisions (Step, Steer) into Coefficients whose Time is continuous and
// strictly monotone within an epoch. It is a value machine: no counter, no timer, no goroutine; readings are passed in. One
// goroutine at a time may use it.
//
// Rates are d(true)/d(raw) − 1 relative to the nominal period. A rate is clamped to ±0.25 and counts as 0 if it is not a number;
// maxSlew is clamped to 10⁻⁹ … 0.25, not a number being 10⁻⁹; the nominal period to 2⁻¹⁶ ns … 16 µs.
type Clock struct {
	nominal Period
	maxSlew float64
	set     bool
	k       Coefficients
}

// NewClock returns a clock that is not set: Unsynchronised, epoch 0. The nominal period is that of the raw counter; maxSlew is
// the largest rate, as a ratio to the true rate (500e-6 is 500 µs per second), at which Steer amortises a difference.
func NewClock(nominal Period, maxSlew float64) *Clock {
	return &Clock{
		nominal: min(max(nominal, minNominal), maxNominal),
		maxSlew: clamp(maxSlew, minMaxSlew, maxRate),
	}
}

// SetMaxSlew changes the limit for the corrections from the next Steer on.
func (c *Clock) SetMaxSlew(maxSlew float64) { c.maxSlew = clamp(maxSlew, minMaxSlew, maxRate) }

// clamp returns v within [low, high], and the value of the range that is nearest to 0 if v is not a number.
func clamp(v, low, high float64) float64 {
	if v != v {
		return min(max(0, low), high)
	}
	return min(max(v, low), high)
}

// period is the length of a tick at a rate.
func (c *Clock) period(rate float64) Period { return c.nominal.Scale(clamp(rate, -maxRate, maxRate)) }

// SetEpoch makes the epoch at least e, so that a restarted daemon goes on above the epoch that its readers saw last
// (PageWriter.LastEpoch). It never lowers the epoch.
func (c *Clock) SetEpoch(e Epoch) { c.k.Epoch = max(c.k.Epoch, e) }

// Step sets the clock to t at counter reading now, running at rate from there, and begins a new epoch. Bounds and status stay
// as they are.
func (c *Clock) Step(now hw.Ticks, t Time, rate float64) {
	line := Line{now, t, c.period(rate)}
	c.k.Slew, c.k.Steady, c.k.SlewEnd = line, line, now
	c.k.Epoch++
	c.set = true
}

// Steer makes the clock approach, from counter reading now on, the line through (now, target) with that rate. The present
// difference e = target − Time(now) is amortised at the rate clamp(e/window, ±maxSlew) relative to that line, window in seconds
// (one that is not positive means as fast as allowed); at SlewEnd the two lines meet and the clock goes on along the target.
//
// At now the clock does not jump at all; at SlewEnd Steady begins where Slew ends. There it is within
// (2¹⁶ + ticks of the correction)·2⁻⁴⁸ ns of the target line: well below 1 ns for any correction shorter than 15 hours of a
// counter of 5 GHz. A correction that would take more than 2⁶² ticks is cut off there.
//
// A clock that is not set is stepped instead.
func (c *Clock) Steer(now hw.Ticks, target Time, rate float64, window float64) {
	if !c.set {
		c.Step(now, target, rate)
		return
	}
	period := c.period(rate)
	from := c.k.Time(now)
	if from == target {
		line := Line{now, target, period}
		c.k.Slew, c.k.Steady, c.k.SlewEnd = line, line, now
		return
	}
	slew := c.maxSlew
	if window > 0 {
		slew = min(slew, math.Abs(target.Seconds(from))/window)
	}
	c.k.join(now, from, target, period, max(1, Period(float64(period)*slew)))
}

// join lays the lines that lead from (now, from) to the line through (now, target) with the given period, with a change of the
// period by no more than most, which is not 0.
//
// The number of ticks is rounded up to a whole one, and the change then made smaller to fit, so that the lines meet at a tick.
func (k *Coefficients) join(now hw.Ticks, from, target Time, period, most Period) {
	ns, frac, behind := from.distance(target)
	// The distance in units of 2⁻⁴⁸ ns, 112 bits.
	hi, lo := ns>>16, ns<<48|uint64(frac)<<16
	n, change := uint64(maxSlewTicks), most
	if hi < uint64(most) {
		q, r := bits.Div64(hi, lo, uint64(most))
		if r != 0 && q < math.MaxUint64 {
			q++
		}
		if q <= n {
			n = q
			d, _ := bits.Div64(hi, lo, n) // at most `most`, since n was rounded up
			change = Period(d)
		}
	}
	if behind {
		period, change = period+change, -change
	} else {
		period -= change
	}
	k.SlewEnd = now + hw.Ticks(n)
	k.Slew = Line{now, from, period}
	k.Steady = Line{k.SlewEnd, k.Slew.At(k.SlewEnd), period + change}
}

// SetBounds says that at counter reading at true time was in [earliest, latest], and that one tick of the raw counter is worth at
// least slow and at most fast.
//
// The caller rounds outward: earliest and slow may have been rounded down, never up; latest and fast up, never down. Whatever
// the Clock and its readers round afterwards they round outward too.
func (c *Clock) SetBounds(at hw.Ticks, earliest, latest Time, slow, fast Period) {
	c.k.At, c.k.Earliest, c.k.Latest, c.k.Slow, c.k.Fast = at, earliest, latest, slow, fast
}

// SetStatus sets the status, the reading after which it is at best Holdover, and the one after which it is Unsynchronised.
func (c *Clock) SetStatus(s Status, staleAfter, voidAfter hw.Ticks) {
	c.k.Status, c.k.StaleAfter, c.k.VoidAfter = s, staleAfter, voidAfter
}

// SetKind says what the bounds bound.
func (c *Clock) SetKind(k Kind) { c.k.Kind = k }

// SetDifference sets the period of the difference clock.
func (c *Clock) SetDifference(p Period) { c.k.Difference = p }

// Coefficients returns the present state. It is the Clock's own: copy it to keep it, do not change it.
func (c *Clock) Coefficients() *Coefficients { return &c.k }

// Time returns the virtual clock at counter reading now, MinTime if it is not set.
func (c *Clock) Time(now hw.Ticks) Time { return c.k.Time(now) }

// Slewing returns the offset that is still to be amortised at counter reading now, in seconds, positive if the clock is behind
// its target, and whether a correction is under way.
func (c *Clock) Slewing(now hw.Ticks) (left float64, slewing bool) { return c.k.Slewing(now) }

// Slewing is Clock.Slewing.
func (k *Coefficients) Slewing(now hw.Ticks) (left float64, slewing bool) {
	if !now.Before(k.SlewEnd) || k.Slew == k.Steady {
		return 0, false
	}
	perTick := float64(int64(k.Slew.Period-k.Steady.Period)) / periodOne
	return float64(k.SlewEnd.Sub(now)) * perTick * 1e-9, true
}

// Reset forgets everything but the epoch, after the counter was disrupted: the clock is not set, its status Disrupted, and the
// next Step begins the next epoch.
func (c *Clock) Reset() {
	c.k = Coefficients{Epoch: c.k.Epoch, Status: Disrupted}
	c.set = false
}
