package sim

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
)

// PathConfig is one direction of a link.
type PathConfig struct {
	// Delay is the one-way delay.
	Delay Delay `toml:"delay"`
	// Loss and Duplicate are the probabilities, from 0 to 1, that a packet is lost, and that it comes twice.
	Loss      float64 `toml:"loss"`
	Duplicate float64 `toml:"duplicate"`
	// Congestion comes and goes.
	Congestion CongestionConfig `toml:"congestion"`
	// Ordered: a packet does not overtake the one before it.
	Ordered bool `toml:"ordered"`
}

// CongestionConfig is a Markov chain of two states whose times are exponential: while it is on, Delay comes on top.
type CongestionConfig struct {
	On    Length `toml:"on"`
	Off   Length `toml:"off"`
	Delay Delay  `toml:"delay"`
}

func (c *PathConfig) check() error {
	var errs []error
	within := func(name string, x, low, high float64) {
		if !(x >= low && x <= high) {
			errs = append(errs, fmt.Errorf("path: %s is %g, must be from %g to %g", name, x, low, high))
		}
	}
	within("loss", c.Loss, 0, 1)
	within("duplicate", c.Duplicate, 0, 1)
	if !c.Congestion.Delay.IsZero() {
		within("congestion.on (s)", float64(c.Congestion.On), 1e-6, longest.Seconds())
		within("congestion.off (s)", float64(c.Congestion.Off), 1e-6, longest.Seconds())
	}
	return errors.Join(errs...)
}

// Path is one direction of a link between two hosts. Its fields may be changed while the simulation runs.
type Path struct {
	PathConfig
	// Added is a constant that a route change adds to the delay; it may be negative, but no packet travels back in time.
	Added Instant
	// Down loses everything.
	Down bool

	delay, loss, congestion *rand.Rand
	congested               bool
	congestedUntil          Instant
	last                    Instant
}

// newPath gives every purpose its own stream, so that a change of the loss does not move the delays.
func newPath(c PathConfig, seed uint64, name string) *Path {
	return &Path{
		PathConfig: c,
		delay:      stream(seed, "delay/"+name),
		loss:       stream(seed, "loss/"+name),
		congestion: stream(seed, "congestion/"+name),
	}
}

// transit says when packets that leave at instant t arrive: none, one or two of them.
func (p *Path) transit(t Instant) (arrivals [2]Instant, n int) {
	delay := p.Delay.Draw(p.delay)
	spike := p.crowded(t)
	lost, twice := p.loss.Float64() < p.Loss, p.loss.Float64() < p.Duplicate
	if p.Down || lost {
		return arrivals, 0
	}
	at := t + max(Seconds(delay+spike)+p.Added, 0)
	if p.Ordered {
		at = max(at, p.last)
	}
	p.last = at
	arrivals[0], n = at, 1
	if twice {
		arrivals[1], n = t+max(Seconds(p.Delay.Draw(p.loss)+spike)+p.Added, 0), 2
	}
	return arrivals, n
}

// crowded returns the congestion's delay at instant t, in seconds.
func (p *Path) crowded(t Instant) float64 {
	c := &p.Congestion
	if c.Delay.IsZero() {
		return 0
	}
	if p.congestedUntil == 0 {
		p.congestedUntil = t + p.holding(c.Off)
	}
	for p.congestedUntil <= t {
		p.congested = !p.congested
		mean := c.Off
		if p.congested {
			mean = c.On
		}
		p.congestedUntil += p.holding(mean)
	}
	if !p.congested {
		return 0
	}
	return c.Delay.Draw(p.congestion)
}

// holding draws how long a state lasts.
func (p *Path) holding(mean Length) Instant {
	return max(Seconds(float64(mean)*math.Min(p.congestion.ExpFloat64(), 100)), Microsecond)
}
