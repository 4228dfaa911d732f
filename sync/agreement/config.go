package agreement

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Config is what all members of a group must have in common. Figures are in seconds unless said otherwise.
type Config struct {
	// Members is n, this one included. Faults is f; −1: as many as n ≥ 3f+1 allows.
	Members int
	Faults  int
	// Algorithm is for the rounds; groups are formed and entered by IntervalMidpoint always.
	Algorithm Algorithm
	// Period is P on the virtual timeline. Slew is W, over which displayed clocks go from one target to the next; 0: P/2.
	Period time.Duration
	Slew   float64
	// Drift is ρ; RateLimit the largest rate correction that a target clock may have, 0 for none (the usual value is ρ).
	Drift, RateLimit float64
	// ReadingError is ε_max: a round that would need wider readings is not made. All limits follow from it (Config.Model).
	ReadingError float64
	// PublicationDelay is D_pub, the longest that a new state takes to be known to all correct peers: probe interval + longest delay.
	PublicationDelay float64
	// Lateness is how late a round may be computed; 0: P/8. Later it is skipped.
	Lateness float64
	// InitRound is the length of the rounds in which a group forms, on the raw timeline, at least twice the PublicationDelay;
	// 0: the larger of P and that.
	InitRound float64
	// Gain is G: 0 ignores masters. Clamp is c; 0: 2(ε_max+ρP')/G. ExternalError is α_e. ExternalFaults is f_e; −1: f.
	Gain, Clamp, ExternalError float64
	ExternalFaults             int
	// MaxDrag limits G·c to MaxDrag·P: how fast UTC may drag the group, a relative frequency; 0: no further limit.
	MaxDrag float64
}

// withDefaults fills in what may be left at zero.
func (c Config) withDefaults() Config {
	if c.Faults < 0 {
		c.Faults = MaxFaults(c.Members)
	}
	if c.ExternalFaults < 0 {
		c.ExternalFaults = c.Faults
	}
	p := c.Period.Seconds()
	set := func(field *float64, value float64) {
		if *field == 0 {
			*field = value
		}
	}
	set(&c.Slew, p/2)
	set(&c.Lateness, p/8)
	set(&c.InitRound, max(p, 2*c.PublicationDelay))
	if c.Gain > 0 {
		rho := c.Drift + c.RateLimit + c.Drift*c.RateLimit
		set(&c.Clamp, 2*(c.ReadingError+rho*(p*1.01+c.Lateness))/c.Gain)
		if c.MaxDrag > 0 {
			c.Clamp = min(c.Clamp, c.MaxDrag*p/c.Gain)
		}
	}
	return c
}

// Model returns the model of the promises that a group with this configuration makes beforehand, with the widest readings that it
// uses.
func (c Config) Model() Model {
	c = c.withDefaults()
	m := Model{
		Members: c.Members, Faults: c.Faults, Algorithm: c.Algorithm, ReadingError: c.ReadingError,
		Drift: c.Drift, RateLimit: c.RateLimit, Period: c.Period.Seconds(), Slew: c.Slew, Lateness: c.Lateness,
	}
	if c.Gain > 0 {
		// How many members will have masters is not known beforehand: the least that are pulled at all promise the least.
		m.External = &ExternalModel{Gain: c.Gain, Clamp: c.Clamp, Error: c.ExternalError, Members: 2*c.ExternalFaults + 1, Faults: c.ExternalFaults}
	}
	return m
}

// Check returns all that is wrong with c. Among it is condition C1 (theory 3.1), without which a correct peer's clock may not be
// known in time: P(1−ρ) ≥ Π + ε + D_pub + W.
func (c Config) Check() error {
	c = c.withDefaults()
	var errs []error
	bad := func(ok bool, format string, a ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("agreement: "+format, a...))
		}
	}
	p := c.Period.Seconds()
	bad(c.Members >= 2 && c.Members <= 1000, "a group has 2 to 1000 members, not %d", c.Members)
	bad(c.Period >= time.Millisecond && c.Period <= time.Hour, "the period is %v, must be from 1ms to 1h", c.Period)
	bad(c.ReadingError > 0, "the reading error is %g s, must be positive", c.ReadingError)
	bad(c.Drift > 0 && c.Drift < 0.005 && c.RateLimit >= 0 && c.RateLimit < 0.005, "drift and rate limit are %g and %g, must be below 0.005",
		c.Drift, c.RateLimit)
	bad(c.PublicationDelay >= 0 && c.InitRound >= 2*c.PublicationDelay, "a round of %g s while the group forms is less than twice the publication delay of %g s",
		c.InitRound, c.PublicationDelay)
	bad(c.Lateness >= 0 && c.Lateness <= p/4, "a lateness of %g s is more than a quarter of the period of %v", c.Lateness, c.Period)
	bad(c.Gain >= 0 && c.Gain <= 1 && c.MaxDrag >= 0, "the gain is %g, must be from 0 to 1, and the drag %g, not negative", c.Gain, c.MaxDrag)
	if errs != nil {
		return errors.Join(errs...)
	}
	m := c.Model()
	g, err := Bounds(m)
	if err != nil {
		return err
	}
	spread := g.Spread
	if math.IsInf(spread, 1) {
		spread = 0 // a function that promises nothing: for demonstrations
	}
	need := (spread + c.ReadingError + c.PublicationDelay + c.Slew + c.Lateness) / (1 - m.virtualDrift())
	bad(p >= need, "the period of %v is too short: the spread %.3g s, the reading error %.3g s, the publication delay %.3g s, the slew %.3g s and the lateness %.3g s need %.3g s (condition C1)",
		c.Period, spread, c.ReadingError, c.PublicationDelay, c.Slew, c.Lateness, need)
	bad(math.IsInf(g.Adjustment, 1) || g.Adjustment < c.Slew/2, "a correction of up to %.3g s cannot be slewed in %.3g s: make the slew or the period longer",
		g.Adjustment, c.Slew)
	bad(c.Gain == 0 || !math.IsInf(g.Accuracy, 1) || math.IsInf(g.Spread, 1), "the pull of at most %.3g s in a round is too weak to hold the group to UTC: raise the clamp or the drag", m.pull())
	return errors.Join(errs...)
}
