package node

import (
	"errors"
	"fmt"
	"math"

	"github.com/clockd/clockd/sync/roundtrip"
)

// Defaults of the figures that a Config may leave at zero.
const (
	DefaultDriftBound = 50e-6
	DefaultMaxSlew    = 500e-6
	DefaultMaxBound   = 0.1
	DefaultHeartbeat  = 1.0
	DefaultLifetime   = 30.0
)

// withDefaults fills in the zero figures.
func (c Config) withDefaults() Config {
	for _, d := range []struct {
		field *float64
		value float64
	}{
		{&c.DriftBound, DefaultDriftBound}, {&c.MaxSlew, DefaultMaxSlew}, {&c.MaxBound, DefaultMaxBound},
		{&c.Heartbeat, DefaultHeartbeat}, {&c.Lifetime, DefaultLifetime},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	c.Granularity = max(c.Granularity, 1)
	return c
}

// check returns all that is wrong with c.
func (c *Config) check() error {
	var errs []error
	bad := func(ok bool, format string, a ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("node: "+format, a...))
		}
	}
	within := func(name string, x, low, high float64) {
		bad(x >= low && x <= high, "%s is %g, must be from %g to %g", name, x, low, high)
	}
	within("counter frequency (Hz)", c.Counter.Hertz, 6.2e4, 1e11) // below 61 kHz a virtualclock.Clock cannot keep the rate
	within("counter frequency error (ppb)", c.Counter.ErrorPPB, 0, 1e6)
	within("drift_bound", c.DriftBound, 0, 0.01)
	within("wander_bound", c.WanderBound, 0, 0.01)
	within("max_slew", c.MaxSlew, 1e-9, 0.1)
	within("max_bound (s)", c.MaxBound, 1e-9, 1e6)
	within("target_error (s)", c.TargetError, 0, 1e6)
	within("holdover_after (s)", c.HoldoverAfter, 0, 1e8)
	within("heartbeat (s)", c.Heartbeat, 0.001, 1e4)
	within("lifetime (s)", c.Lifetime, c.Heartbeat, 1e7)
	bad(c.WanderBound == 0 || c.Lifetime <= roundtrip.WanderPeriod/4, "lifetime is %g s, must be at most %d with a wander_bound", c.Lifetime,
		roundtrip.WanderPeriod/4)
	within("remembered rate", c.Rate, -0.01, 0.01)
	within("remembered rate's std", c.RateStd, 0, 0.01)
	bad(c.MaxFalse >= -1, "max_false is %d, must be -1 (automatic) or more", c.MaxFalse)
	bad(c.MaxFalse <= 0 || len(c.Sources) >= 2*c.MaxFalse+1, "%d sources cannot outvote %d false ones: at least %d are needed",
		len(c.Sources), c.MaxFalse, 2*c.MaxFalse+1)
	seen := map[int]bool{}
	for i := range c.Sources {
		s := &c.Sources[i]
		bad(s.ID != 0 && !seen[s.ID], "source %q: ID %d is zero or not unique", s.Name, s.ID)
		seen[s.ID] = true
		errs = append(errs, s.check()...)
	}
	errs = append(errs, c.checkPeers(seen)...)
	if l := c.Local; l != nil {
		bad(len(c.Peers) == 0, "a host with peers cannot be the reference too: leave out local")
		bad(l.Stratum >= 1 && l.Stratum <= 15, "local stratum is %d, must be from 1 to 15", l.Stratum)
		within("local bound (s)", l.Bound, 0, 1e6)
	}
	return errors.Join(errs...)
}

// checkPeers returns what is wrong with the group; seen are the IDs that are taken.
func (c *Config) checkPeers(seen map[int]bool) (errs []error) {
	bad := func(ok bool, format string, a ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("node: "+format, a...))
		}
	}
	if bad(len(c.Peers) == 0 || c.Agreement != nil, "there are peers and no agreement"); c.Agreement == nil {
		return errs
	}
	if bad(len(c.Peers) > 0, "there is an agreement and no peers"); len(c.Peers) == 0 {
		return errs
	}
	keys := map[SourceKey]bool{}
	for i := range c.Peers {
		p := &c.Peers[i]
		bad(p.ID != 0 && !seen[p.ID], "peer %q: ID %d is zero or not unique", p.Name, p.ID)
		bad(!keys[p.Key], "peer %q: its key is that of another peer", p.Name)
		bad(p.Key.vouched().Valid(), "peer %q: a peer needs a key, and %+v is none", p.Name, p.Key)
		seen[p.ID], keys[p.Key] = true, true
		bad(p.Poll >= 0.001 && p.Poll <= 1e6, "peer %q: poll (s) is %g, must be from 0.001 to 1e6", p.Name, p.Poll)
		bad(p.Timeout >= 0.0001 && p.Timeout <= 1e4, "peer %q: timeout (s) is %g, must be from 0.0001 to 1e4", p.Name, p.Timeout)
		bad(p.MinDelay >= 0 && p.MinDelay <= 10, "peer %q: min_delay (s) is %g, must be from 0 to 10", p.Name, p.MinDelay)
	}
	a := c.agreement()
	bad(c.Agreement.Members == 0 || c.Agreement.Members == a.Members, "the group has %d members, but %d peers are given", c.Agreement.Members, len(c.Peers))
	bad(a.Drift >= c.drift(), "the group's drift bound is %g, below this host's %g", a.Drift, c.drift())
	bad(len(c.Sources) == 0 || a.Gain > 0, "with sources and peers the agreement needs a gain above 0")
	if err := a.Check(); err != nil {
		errs = append(errs, err)
	}
	return errs
}

func (s *SourceConfig) check() (errs []error) {
	within := func(name string, x, low, high float64) {
		if !(x >= low && x <= high) {
			errs = append(errs, fmt.Errorf("node: source %q: %s is %g, must be from %g to %g", s.Name, name, x, low, high))
		}
	}
	within("poll (s)", s.Poll, 0.001, 1e6)
	within("max_poll (s)", max(s.MaxPoll, s.Poll), s.Poll, 1e6)
	within("burst", float64(s.Burst), 0, 64)
	within("burst_spacing (s)", s.BurstSpacing, 0.0001, 1e4)
	within("timeout (s)", s.Timeout, 0.0001, 1e4)
	within("min_delay (s)", s.MinDelay, 0, 10)
	within("max_error (s)", s.MaxServerError, 1e-9, 1e6)
	if k := s.Key; k != (SourceKey{}) && !k.vouched().Valid() {
		errs = append(errs, fmt.Errorf("node: source %q: key %d with MACs of %d bytes cannot be", s.Name, k.ID, k.Length))
	}
	return errs
}

// promisesMore reports whether c assumes more than next does. Then what was proved under c is not proved under next.
func (c *Config) promisesMore(next *Config) bool {
	if next.drift() > c.drift() || next.maxFalse() > c.maxFalse() && len(next.Sources) <= len(c.Sources) ||
		c.WanderBound > 0 && (next.WanderBound == 0 || next.WanderBound > c.WanderBound) {
		return true
	}
	for i := range c.Sources {
		for j := range next.Sources {
			if a, b := &c.Sources[i], &next.Sources[j]; a.ID == b.ID && a.Address == b.Address && b.MinDelay < a.MinDelay {
				return true
			}
		}
	}
	return false
}

// reference reports whether the host's own clock is the reference.
func (c *Config) reference() bool { return c.Local != nil && len(c.Sources) == 0 && len(c.Peers) == 0 }

// maxFalse is f.
func (c *Config) maxFalse() int {
	if c.MaxFalse >= 0 {
		return c.MaxFalse
	}
	return roundtrip.MaxFalse(len(c.Sources))
}

// drift is ρ: the oscillator's bound and what the nominal frequency itself may be wrong by.
func (c *Config) drift() float64 {
	e := c.Counter.ErrorPPB * 1e-9
	return c.DriftBound + e + c.DriftBound*e
}

// wander is the assumption on top of the drift bound, or none.
func (c *Config) wander() roundtrip.Wander {
	return roundtrip.Wander{Bound: c.WanderBound, Period: roundtrip.WanderPeriod}
}

// granularity is g in seconds.
func (c *Config) granularity() float64 { return float64(c.Granularity) / c.Counter.Hertz }

// ticks converts seconds to ticks at the nominal frequency, rounded down, saturated at 2⁶² ticks.
func (c *Config) ticks(seconds float64) int64 {
	return int64(math.Floor(min(seconds*c.Counter.Hertz, 0x1p62)))
}

// filterConfig is what the filter of source s is told.
func (c *Config) filterConfig(s *SourceConfig) roundtrip.FilterConfig {
	return roundtrip.FilterConfig{Drift: c.drift(), Wander: c.wander(), Granularity: c.granularity(), MinDelay: s.MinDelay, Rate: c.Rate, RateStd: c.RateStd}
}
