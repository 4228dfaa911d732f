package hw

import (
	"fmt"
	"math"
	"time"

	"github.com/clockd/clockd/reason"
)

const (
	// calibrationBaseline is how far apart the two ends of Open's own calibration are.
	calibrationBaseline = 100 * time.Millisecond
	// calibrationBrackets is how many brackets are tried at each end; the narrowest is used.
	calibrationBrackets = 40
	// suspendTolerance is by how much the suspend offset may seem to change through the noise of reading it.
	suspendTolerance = time.Millisecond
)

// rawBracket is a reading of CLOCK_MONOTONIC_RAW between two readings of a counter.
type rawBracket struct {
	before, after Ticks
	raw           int64
}

// bracketRaw takes n brackets and returns the narrowest. A bracket in which the counter went backwards is an error: such a
// counter is unfit.
func bracketRaw(c Counter, n int) (rawBracket, error) {
	var best rawBracket
	for i := range n {
		before := c.Read()
		raw, err := RawNanoseconds()
		after := c.Read()
		if err != nil {
			return best, err
		}
		if after.Before(before) {
			return best, fmt.Errorf("hw: %w", reason.CounterBackwards)
		}
		if i == 0 || after-before < best.after-best.before {
			best = rawBracket{before, after, raw}
		}
	}
	return best, nil
}

// between returns the counter's frequency between two brackets. The counter's readings are whole ticks, those of the clock whole
// nanoseconds, both rounded down: one of each is added to either side. The result contains the ratio of the two rates
// whatever happened inside the brackets.
func between(a, b rawBracket) (Frequency, error) {
	ns := b.raw - a.raw
	shortest, longest := b.before.Sub(a.after)-1, b.after.Sub(a.before)+1
	if ns < 2 || shortest < 1 {
		return Frequency{}, fmt.Errorf("hw: the two ends of the calibration overlap: %d ns, %d ticks; let more time pass", ns, shortest)
	}
	slowest := float64(shortest) / float64(ns+1)
	fastest := float64(longest) / float64(ns-1)
	hertz := (slowest + fastest) / 2 * nanosecondsPerSecond
	// The last term covers the rounding of these floating-point operations.
	relative := (fastest-slowest)/(fastest+slowest) + 8*0x1p-53
	return Frequency{Hertz: hertz, ErrorPPB: relative * 1e9}, nil
}

// Calibration measures a counter's frequency against CLOCK_MONOTONIC_RAW over a growing baseline. The result is the rate
// relative to that clock, whose own rate is only as good as what the kernel knew of its clocksource at boot: a bound on the
// oscillator's drift has to cover that too.
type Calibration struct {
	counter   Counter
	first     rawBracket
	suspended time.Duration
}

// StartCalibration takes the first end of a baseline.
func StartCalibration(c Counter) (*Calibration, error) {
	suspended, err := SuspendOffset()
	if err != nil {
		return nil, err
	}
	first, err := bracketRaw(c, calibrationBrackets)
	if err != nil {
		return nil, err
	}
	return &Calibration{c, first, suspended}, nil
}

// Frequency takes the other end of the baseline now and returns the frequency over all of it. Its ErrorPPB falls with the time
// since StartCalibration. Across a suspend, in which the two clocks do not both go on, it is an error: start again.
func (k *Calibration) Frequency() (Frequency, error) {
	last, err := bracketRaw(k.counter, calibrationBrackets)
	if err != nil {
		return Frequency{}, err
	}
	suspended, err := SuspendOffset()
	if err != nil {
		return Frequency{}, err
	}
	if (suspended - k.suspended).Abs() > suspendTolerance {
		return Frequency{}, fmt.Errorf("hw: calibration: %w; start it again", reason.HostSuspended)
	}
	return between(k.first, last)
}

// Calibrate measures c's frequency over the given baseline, during which it sleeps.
func Calibrate(c Counter, baseline time.Duration) (Frequency, error) {
	k, err := StartCalibration(c)
	if err != nil {
		return Frequency{}, err
	}
	time.Sleep(baseline)
	return k.Frequency()
}

// tidy rounds a frequency to a thousandth of a hertz, so that specs are short, and widens its error by that rounding.
func tidy(f Frequency) Frequency {
	hertz := math.Round(f.Hertz*1e3) / 1e3
	errorPPB := f.ErrorPPB + math.Abs(f.Hertz-hertz)/hertz*1e9
	return Frequency{Hertz: hertz, ErrorPPB: (math.Floor(errorPPB*1e3) + 1) / 1e3}
}

// plausible says whether a frequency that was told, and not measured here, can be that of c: a short calibration must not
// contradict it by more than a part in a thousand. This finds specs from other hosts and slips of the pen, not small errors.
func plausible(c Counter, told Frequency) error {
	measured, err := Calibrate(c, 2*time.Millisecond)
	if err != nil {
		return err
	}
	margin := 1e-3 + (measured.ErrorPPB+told.ErrorPPB)*1e-9
	if math.Abs(measured.Hertz/told.Hertz-1) > margin {
		return fmt.Errorf("it counts %.0f ticks per second and not %.0f; leave the frequency out and it will be measured",
			measured.Hertz, told.Hertz)
	}
	return nil
}

// Resolution is how finely a counter can be read.
type Resolution struct {
	// Granularity is the smallest difference seen between two successive readings that differ, in ticks: no less than the
	// counter's step.
	Granularity Ticks `json:"granularity_ticks"`
	// ReadCost is what one reading costs, in nanoseconds, at the counter's nominal frequency.
	ReadCost float64 `json:"read_cost_ns"`
}

// MeasureResolution reads c some 10⁵ times. An error says that the counter stood still or went backwards.
func MeasureResolution(c Counter) (Resolution, error) {
	const readings, batches, batch = 20000, 50, 400
	smallest := Ticks(math.MaxInt64)
	last := c.Read()
	for range readings {
		now := c.Read()
		if now.Before(last) {
			return Resolution{}, fmt.Errorf("hw: %w", reason.CounterBackwards)
		}
		if d := now - last; d != 0 {
			smallest = min(smallest, d)
		}
		last = now
	}
	if smallest == math.MaxInt64 {
		return Resolution{}, fmt.Errorf("hw: %w: %d readings were all the same", reason.CounterStopped, readings)
	}
	// The cheapest batch is the one that nobody interrupted.
	cheapest := int64(math.MaxInt64)
	for range batches {
		first := c.Read()
		for range batch - 1 {
			c.Read()
		}
		cheapest = min(cheapest, c.Read().Sub(first))
	}
	return Resolution{smallest, float64(cheapest) / batch / c.Frequency().Hertz * 1e9}, nil
}
