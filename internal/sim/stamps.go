package sim

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/clockd/clockd/hw"
)

// StampConfig says how well a host stamps its packets. Stamps are valid in the sense of theory 2.1 unless Invalid is set.
type StampConfig struct {
	// Kind is user, kernel or hardware; kernel if it is missing.
	Kind string `toml:"kind"`
	// Transmit is how long before its departure a packet is stamped, Receive how long after its arrival.
	Transmit Delay `toml:"transmit"`
	Receive  Delay `toml:"receive"`
	// Error is the half-width of an error that the stamper knows of and declares; the stamp's own error is uniform in it.
	Error Length `toml:"error"`
	// Report is how long after the departure a kernel or hardware stamp of it is reported.
	Report Delay `toml:"report"`
	// Invalid breaks the stamps: departures are stamped so much too late and arrivals so much too early.
	Invalid Length `toml:"invalid"`
}

func (c *StampConfig) check() error {
	if _, err := c.kind(); err != nil {
		return err
	}
	if !(c.Error >= 0 && c.Error <= 1) {
		return fmt.Errorf("stamps: error is %g s, must be from 0 to 1 s", float64(c.Error))
	}
	if !(c.Invalid >= 0 && c.Invalid <= 1) {
		return fmt.Errorf("stamps: invalid is %g s, must be from 0 to 1 s", float64(c.Invalid))
	}
	return nil
}

func (c *StampConfig) kind() (hw.StampKind, error) {
	switch c.Kind {
	case "", "kernel":
		return hw.StampKernel, nil
	case "user":
		return hw.StampUser, nil
	case "hardware":
		return hw.StampHardware, nil
	}
	return hw.StampNone, fmt.Errorf("stamps: kind is %.40q, must be user, kernel or hardware", c.Kind)
}

// stamper takes the stamps of one host, from its own random stream.
type stamper struct {
	config  StampConfig
	kind    hw.StampKind
	error   Instant
	invalid Instant
	rng     *rand.Rand
}

func newStamper(c StampConfig, rng *rand.Rand) (stamper, error) {
	kind, err := c.kind()
	return stamper{config: c, kind: kind, error: c.Error.Instant(), invalid: c.Invalid.Instant(), rng: rng}, err
}

// noise is the stamper's known error, uniform in ±error.
func (s *stamper) noise() Instant {
	if s.error == 0 {
		return 0
	}
	return Instant(s.rng.Int64N(int64(2*s.error+1))) - s.error
}

// errorTicks is the declared error on a counter of that frequency, rounded up with a tick for the reading's own rounding and
// another for the frequency error.
func (s *stamper) errorTicks(hertz float64) hw.Ticks {
	if s.error == 0 {
		return 0
	}
	return hw.Ticks(math.Ceil(s.error.Seconds()*hertz*(1+largestError))) + 1
}

// departure stamps a packet that is sent at instant t; it leaves after the transmit delay.
func (s *stamper) departure(h *Host, t Instant) hw.Stamp {
	return hw.Stamp{At: h.Reading(t + s.noise() + s.invalid), Error: s.errorTicks(h.hertz), Kind: s.kind}
}

// arrival stamps a packet that arrives at instant t, and returns when the stamp is there.
func (s *stamper) arrival(h *Host, t Instant) (stamp hw.Stamp, ready Instant) {
	at := t + s.config.Receive.DrawInstant(s.rng) + s.noise()
	ready = max(at, t)
	return hw.Stamp{At: h.Reading(at - s.invalid), Error: s.errorTicks(h.hertz), Kind: s.kind}, ready
}
