package hw

import (
	"fmt"
	"math"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clockd/clockd/reason"
)

// SuspendOffset returns CLOCK_BOOTTIME − CLOCK_MONOTONIC: how long the host has been suspended since it started, up to a
// constant (the time namespace's). A change of more than a millisecond between two calls is a suspend. It needs no privilege. It
// fails if the host is too busy to read the two clocks within a millisecond of one another.
func SuspendOffset() (time.Duration, error) {
	const attempts, good, bad = 50, 20_000, 1_000_000
	var offset time.Duration
	narrowest := int64(math.MaxInt64)
	for i := 0; i < attempts && narrowest > good; i++ {
		before, err := clockNanoseconds(unix.CLOCK_MONOTONIC)
		if err != nil {
			return 0, err
		}
		boot, err := clockNanoseconds(unix.CLOCK_BOOTTIME)
		if err != nil {
			return 0, err
		}
		after, err := clockNanoseconds(unix.CLOCK_MONOTONIC)
		if err != nil {
			return 0, err
		}
		if width := after - before; width < narrowest {
			narrowest, offset = width, time.Duration(boot-before-width/2)
		}
	}
	if narrowest > bad {
		return 0, fmt.Errorf("hw: CLOCK_BOOTTIME and CLOCK_MONOTONIC could not be read together: the host is too busy")
	}
	return offset, nil
}

// What the Detector forgives: by this much, and this part of the time passed, the counter may differ from the clock before it
// is called stopped or ahead. It is far above the delay between the two reads of a RawPair and any oscillator's error, and far
// below what a disruption that matters looks like.
const (
	forgivenNS   = 100_000_000
	forgivenPart = 4
	// anchorNS is for how long a pair is compared with later ones before it is replaced: so that a standstill is seen however
	// short the steps are.
	anchorNS        = nanosecondsPerSecond
	rawPairBound    = 20 * time.Millisecond
	rawPairAttempts = 20
)

// RawPair returns a reading of c and CLOCK_MONOTONIC_RAW in nanoseconds, taken within 20 ms of one another, for Detector.Step.
// It fails if the host is too busy to take them so.
func RawPair(c Counter) (Ticks, int64, error) {
	for range rawPairAttempts {
		first, err := RawNanoseconds()
		if err != nil {
			return 0, 0, err
		}
		reading := c.Read()
		second, err := RawNanoseconds()
		if err != nil {
			return 0, 0, err
		}
		if second-first <= int64(rawPairBound) {
			return reading, second, nil
		}
	}
	return 0, 0, fmt.Errorf("hw: the counter and the clock could not be read within %v of one another: the host is too busy",
		rawPairBound)
}

// Detector compares a counter with CLOCK_MONOTONIC_RAW and reports disruptions. It is pure: it reads neither. It never
// complains of a counter within 20 % of its nominal frequency if its pairs are taken within 20 ms (RawPair). It does not see
// disruptions that hit both alike, such as a paused virtual machine whose counter is stopped too.
type Detector struct {
	hertz        float64
	started      bool
	anchor, last pair
}

type pair struct {
	counter Ticks
	raw     int64
}

// NewDetector returns a detector for a counter of that nominal frequency.
func NewDetector(f Frequency) *Detector { return &Detector{hertz: f.Hertz} }

// Step takes the next pair and compares it with earlier ones: reason.OK; CounterBackwards if the counter went backwards;
// CounterStopped if, within about a second, it lost more than a tenth of a second and a quarter of the time passed; HostSuspended
// if the clock lost that much against the counter, as in a suspend through which the counter ran on; HostPaused if the clock
// itself went backwards, as when a process is restored from a checkpoint. A disruption is reported once; the comparison starts
// anew after it.
func (d *Detector) Step(c Ticks, raw int64) reason.Code {
	now, last := pair{c, raw}, d.last
	d.last = now
	if !d.started {
		d.started, d.anchor = true, now
		return reason.OK
	}
	code := d.compare(last, now)
	if code != reason.OK || now.raw-d.anchor.raw >= anchorNS {
		d.anchor = now
	}
	return code
}

func (d *Detector) compare(last, now pair) reason.Code {
	if now.counter.Before(last.counter) {
		return reason.CounterBackwards
	}
	if now.raw < last.raw {
		return reason.HostPaused
	}
	passed := float64(now.raw - d.anchor.raw)
	counted := float64(now.counter-d.anchor.counter) / d.hertz * nanosecondsPerSecond
	switch forgiven := forgivenNS + passed/forgivenPart; {
	case counted < passed-forgiven:
		return reason.CounterStopped
	case counted > passed+forgiven:
		return reason.HostSuspended
	}
	return reason.OK
}
