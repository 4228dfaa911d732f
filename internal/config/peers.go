package config

import (
	"fmt"
	"time"

	"github.com/clockd/clockd/sync/agreement"
)

// Peer is one [[peer]]: another member of this host's group.
type Peer struct {
	// Name is what the peer is called, "" for its address.
	Name    string  `toml:"name"`
	Address Address `toml:"address"`
	// PublicKey is the peer's identity; without it nothing of the peer is believed.
	PublicKey PublicKey `toml:"public_key"`
	MinDelay  Duration  `toml:"min_delay"`
}

// Agreement is what all members of the group must have in common.
type Agreement struct {
	Period Duration `toml:"period"`
	// Faults is f, how many members may lie; −1: as many as their number allows.
	Faults MaxFalse `toml:"faults"`
	// ReadingError is the largest error with which members may be measured.
	ReadingError Duration `toml:"reading_error"`
	// DriftBound is the largest of the members' drift bounds, that of their counter's nominal frequency included; 0: this host's own.
	DriftBound Ratio `toml:"drift_bound"`
	// RateLimit is the largest rate correction; 0: the drift bound.
	RateLimit Ratio `toml:"rate_limit"`
	// Poll is the time between two exchanges with a peer, 0: an eighth of the period; Timeout how long an answer is waited for, 0:
	// half of that.
	Poll    Duration `toml:"poll"`
	Timeout Duration `toml:"timeout"`
	// Gain is how much of the distance to UTC is made good in a round; 0: sources are not used by the group.
	Gain           float64  `toml:"gain"`
	ExternalError  Duration `toml:"external_error"`
	ExternalFaults MaxFalse `toml:"external_faults"`
}

func defaultAgreement() Agreement {
	return Agreement{
		Period: Duration(time.Second), Faults: -1, ReadingError: Duration(500 * time.Microsecond),
		ExternalError: Duration(time.Millisecond), ExternalFaults: -1,
	}
}

// PollInterval is the time between two exchanges with a peer.
func (a *Agreement) PollInterval() Duration {
	if a.Poll > 0 {
		return a.Poll
	}
	return a.Period / 8
}

// AnswerTimeout is how long a peer's answer is waited for.
func (a *Agreement) AnswerTimeout() Duration {
	if a.Timeout > 0 {
		return a.Timeout
	}
	return a.PollInterval() / 2
}

// Group returns the configuration of a group with that many peers of this host.
func (a *Agreement) Group(peers int) agreement.Config {
	c := agreement.Config{
		Members: peers + 1, Faults: int(a.Faults), Period: time.Duration(a.Period), Drift: float64(a.DriftBound), RateLimit: float64(a.RateLimit),
		ReadingError: a.ReadingError.Seconds(), PublicationDelay: (a.PollInterval() + a.AnswerTimeout()).Seconds(),
		Gain: a.Gain, ExternalError: a.ExternalError.Seconds(), ExternalFaults: int(a.ExternalFaults),
	}
	if c.RateLimit == 0 {
		c.RateLimit = c.Drift
	}
	return c
}

// validatePeers checks the group.
func (d *decoder) validatePeers(c *Config) {
	if len(c.Peer) == 0 {
		if c.Agreement != nil && !d.bad["peer"] {
			d.complain("agreement", "there is no [[peer]] to agree with; add one for each other member of the group")
		}
		return
	}
	if c.Agreement == nil {
		a := defaultAgreement()
		c.Agreement = &a
	}
	if c.Local != nil {
		d.complain("local", "a host with peers cannot be the reference too; remove [local]")
	}
	if c.Server == nil && !d.bad["server"] {
		d.complain("peer", "peers must be able to ask this host too; add [server] with the address that they have for it")
	}
	addresses, identities := map[Address]int{}, map[PublicKey]int{}
	for i := range c.Peer {
		p, path := &c.Peer[i], fmt.Sprintf("peer[%d]", i)
		if p.Name == "" {
			p.Name = p.Address.String()
		}
		if p.Address.Host == "" && !d.bad[path+".address"] {
			d.complain(path, `a peer needs an address; write address = "192.0.2.7"`)
		} else if j, twice := addresses[p.Address]; twice {
			d.complain(path+".address", "%s is peer[%d] already: a member must not vote twice", p.Address, j)
		}
		addresses[p.Address] = i
		within(d, path+".min_delay", p.MinDelay, 0, Duration(10*time.Second), showDuration)
		if p.PublicKey == (PublicKey{}) {
			if !d.bad[path+".public_key"] {
				d.complain(path, "a peer needs its public key, or anybody could speak for it; write public_key with the line that clockd keygen prints on it")
			}
			continue
		}
		d.needsIdentity(path+".public_key", c)
		if j, twice := identities[p.PublicKey]; twice {
			d.complain(path+".public_key", "this is the key of peer[%d] already: a member must not vote twice", j)
		}
		identities[p.PublicKey] = i
	}
	d.validateAgreement(c)
}

// validateAgreement checks that the promises can be made.
func (d *decoder) validateAgreement(c *Config) {
	a := c.Agreement
	within(d, "agreement.period", a.Period, Duration(10*time.Millisecond), Duration(time.Hour), showDuration)
	within(d, "agreement.reading_error", a.ReadingError, Duration(time.Nanosecond), Duration(time.Minute), showDuration)
	within(d, "agreement.poll", a.PollInterval(), Duration(time.Millisecond), Duration(time.Hour), showDuration)
	within(d, "agreement.timeout", a.AnswerTimeout(), Duration(time.Millisecond), Duration(time.Minute), showDuration)
	within(d, "agreement.gain", a.Gain, 0, 1, showFloat)
	if a.DriftBound != 0 && a.DriftBound < c.Counter.DriftBound {
		d.complain("agreement.drift_bound", "%q is below this host's counter.drift_bound of %q", a.DriftBound, c.Counter.DriftBound)
	}
	if len(c.Source) > 0 && a.Gain == 0 {
		d.complain("agreement", "there are sources, and the gain with which the group follows them is 0; write gain = 0.25 on all members")
	}
	if n := len(c.Peer) + 1; a.Faults > 0 && n < 3*int(a.Faults)+1 {
		d.complain("agreement.faults", "%d liars cannot be borne by %d members; at least %d are needed, or write \"auto\"", int(a.Faults), n, 3*int(a.Faults)+1)
		return
	}
	if len(d.problems) > 0 {
		return
	}
	g := a.Group(len(c.Peer))
	if g.Drift == 0 {
		g.Drift = float64(c.Counter.DriftBound)
		g.RateLimit = max(g.RateLimit, g.Drift)
	}
	if err := g.Check(); err != nil {
		d.complain("agreement", "%s", err)
	}
}
