package observe

import (
	"fmt"
	"math"
	"time"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
)

// host is this machine: its counter, and what may disrupt it.
type host struct {
	counter  hw.Counter
	detector *hw.Detector
	suspend  time.Duration
}

const (
	// suspendNoise is how much two readings of the suspend offset may differ without a suspend.
	suspendNoise = time.Millisecond
	// A counter has run on between two processes if it agrees with CLOCK_MONOTONIC_RAW within this time and this part of the time that
	// passed: both are driven by one oscillator, and only the reading of two clocks one after the other keeps them apart.
	resumeNoise = 20e-3
	resumePart  = 1e-3
)

func openHost(spec string) (*host, error) {
	counter, err := hw.Open(spec)
	if err != nil {
		return nil, err
	}
	h := &host{counter: counter, detector: hw.NewDetector(counter.Frequency())}
	if h.suspend, err = hw.SuspendOffset(); err != nil {
		return nil, fmt.Errorf("observe: %w", err)
	}
	_ = h.look() // the first pair is what later ones are compared with
	return h, nil
}

// resumeHost opens the counter of a segment again; the code is OK if it has run on undisturbed since the last instant.
func resumeHost(s *Segment, last *Instant) (*host, reason.Code) {
	h, err := openHost(s.Counter)
	if err != nil {
		return nil, reason.CounterStopped
	}
	ticks, raw, err := hw.RawPair(h.counter)
	if err != nil {
		return nil, reason.HostPaused
	}
	return h, ranOn(s, last, ticks, raw, h.suspend)
}

// ranOn compares this host's clocks with what they were at the last instant.
func ranOn(s *Segment, last *Instant, ticks hw.Ticks, raw int64, suspend time.Duration) reason.Code {
	counted := float64(ticks.Sub(last.Ticks)) / s.Hertz
	passed := float64(raw-last.Raw) * 1e-9
	switch {
	case counted < 0:
		return reason.CounterBackwards
	case passed < 0:
		return reason.HostPaused
	case math.Abs(float64(int64(suspend)-last.Suspended)) > float64(suspendNoise):
		return reason.HostSuspended
	case math.Abs(counted-passed) > resumeNoise+resumePart*passed:
		return reason.CounterStopped
	}
	return reason.OK
}

// look returns what has happened since the last look, reason.OK if nothing.
func (h *host) look() reason.Code {
	code := reason.OK
	if c, raw, err := hw.RawPair(h.counter); err == nil {
		code = h.detector.Step(c, raw)
	}
	if offset, err := hw.SuspendOffset(); err == nil {
		if d := offset - h.suspend; d > suspendNoise || d < -suspendNoise {
			h.suspend = offset
			if code == reason.OK {
				code = reason.HostSuspended
			}
		}
	}
	return code
}

// now reads this host's clocks together.
func (h *host) now() (Instant, error) {
	cross, err := hw.CrossStamp(h.counter)
	if err != nil {
		return Instant{}, err
	}
	raw, err := hw.RawNanoseconds()
	if err != nil {
		return Instant{}, err
	}
	return Instant{Ticks: cross.At, Realtime: cross.Realtime, Error: cross.Error, Raw: raw, Suspended: int64(h.suspend)}, nil
}
