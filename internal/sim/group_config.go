package sim

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/clockd/clockd/internal/sim/adversary"
	"github.com/clockd/clockd/sync/agreement"
)

// GroupConfig describes a group of hosts that are each other's peers, the last of which lie. Their oscillators, stamps and what concerns
// masters are those of ClientConfig.
type GroupConfig struct {
	// Name is the prefix of the members' names.
	Name    string `toml:"name"`
	Members int    `toml:"members"`
	Faults  *int   `toml:"faults"`
	// Liars are the sorts of liars, in turns; LiarCount is how many there are, f if it is missing.
	Liars     []string `toml:"liars"`
	LiarCount *int     `toml:"liar_count"`

	Algorithm        agreement.Algorithm `toml:"algorithm"`
	Period           Length              `toml:"period"`
	Slew             Length              `toml:"slew"`
	ReadingError     Length              `toml:"reading_error"`
	DriftPPM         float64             `toml:"drift_ppm"`
	RateLimitPPM     float64             `toml:"rate_limit_ppm"`
	PublicationDelay Length              `toml:"publication_delay"`
	Gain             float64             `toml:"gain"`
	Clamp            Length              `toml:"clamp"`
	ExternalError    Length              `toml:"external_error"`
	ExternalFaults   *int                `toml:"external_faults"`
	MaxDragPPM       float64             `toml:"max_drag_ppm"`
	// Masters is how many members follow the servers, all of them if it is missing and there are any. MastersEach is how many servers each of
	// them follows, in turns; all of them if it is 0.
	Masters     *int `toml:"masters"`
	MastersEach int  `toml:"masters_each"`

	// StartSpread is how far apart the wall clocks are at the start.
	StartSpread Length `toml:"start_spread"`
	// Probes is how often each peer is asked in a period, Timeout how long it is waited for.
	Probes  float64 `toml:"probes"`
	Timeout Length  `toml:"timeout"`
	// The way between any two members: each direction draws its own.
	Delay      Delay            `toml:"delay"`
	Loss       float64          `toml:"loss"`
	Duplicate  float64          `toml:"duplicate"`
	Congestion CongestionConfig `toml:"congestion"`
	MinDelay   Length           `toml:"min_delay"`
	// Unfair is an extra delay by which the network keeps clocks apart; Drive is how the oscillators are played on.
	Unfair Length `toml:"unfair"`
	Drive  string `toml:"drive"`
	// Vary: the seed chooses members, faults, algorithm, the sort of liars, drive and unfair.
	Vary bool `toml:"vary"`
}

const (
	defaultReadingError = 400e-6
	defaultDrift        = 50e-6
	defaultProbes       = 8
	maxMembers          = 128
)

func drives() []string {
	return []string{driveNone, driveBangBang, driveRandom, driveSplit, driveSwap}
}

// withDefaults fills in what is left out.
func (c *GroupConfig) withDefaults() {
	set := func(to *Length, value float64) {
		if *to == 0 {
			*to = Length(value)
		}
	}
	if c.Name == "" {
		c.Name = "m"
	}
	set(&c.Period, 1)
	set(&c.ReadingError, defaultReadingError)
	if c.DriftPPM == 0 {
		c.DriftPPM = defaultDrift * 1e6
	}
	if c.Probes == 0 {
		c.Probes = defaultProbes
	}
	poll := float64(c.Period) / c.Probes
	set(&c.Timeout, poll/2)
	set(&c.PublicationDelay, 1.6*poll)
}

// faults is f.
func (c *GroupConfig) faults() int {
	if c.Faults != nil {
		return *c.Faults
	}
	return agreement.MaxFaults(c.Members)
}

// liars is how many lie.
func (c *GroupConfig) liars() int {
	switch {
	case c.LiarCount != nil:
		return *c.LiarCount
	case len(c.Liars) == 0:
		return 0
	}
	return c.faults()
}

// agreement is what the members have in common.
func (c *GroupConfig) agreement() agreement.Config {
	a := agreement.Config{
		Members: c.Members, Faults: c.faults(), Algorithm: c.Algorithm, Period: time.Duration(math.Round(float64(c.Period) * 1e9)), Slew: float64(c.Slew),
		Drift: c.DriftPPM * 1e-6, RateLimit: c.RateLimitPPM * 1e-6, ReadingError: float64(c.ReadingError), PublicationDelay: float64(c.PublicationDelay),
		Gain: c.Gain, Clamp: float64(c.Clamp), ExternalError: float64(c.ExternalError), ExternalFaults: -1, MaxDrag: c.MaxDragPPM * 1e-6,
	}
	if c.ExternalFaults != nil {
		a.ExternalFaults = *c.ExternalFaults
	}
	return a
}

func (c *GroupConfig) check(servers int) error {
	c.withDefaults()
	var errs []error
	bad := func(ok bool, format string, a ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("group: "+format, a...))
		}
	}
	bad(c.Members >= 2 && c.Members <= maxMembers, "members is %d, must be from 2 to %d", c.Members, maxMembers)
	bad(c.faults() >= 0 && c.liars() >= 0 && c.liars() < max(c.Members, 1), "faults is %d and liar_count %d: neither may be negative, and somebody must be honest", c.faults(), c.liars())
	bad(c.liars() == 0 || len(c.Liars) > 0, "liar_count is %d: say in liars of what sort", c.liars())
	bad(c.Period > 0 && c.Probes >= 1 && c.Probes <= 1000, "period must be positive, probes from 1 to 1000 in one")
	bad(c.Timeout > 0 && c.MinDelay >= 0 && c.Unfair >= 0 && c.StartSpread >= 0, "timeout must be positive; min_delay, unfair and start_spread cannot be negative")
	bad(slices.Contains(drives(), c.Drive), "drive is %.20q, must be one of %q", c.Drive, drives())
	bad(c.Masters == nil || *c.Masters >= 0 && *c.Masters <= c.Members, "masters must be from 0 to members")
	bad(c.MastersEach >= 0 && c.MastersEach <= servers, "masters_each is %d: there are %d servers", c.MastersEach, servers)
	for _, name := range c.Liars {
		_, err := adversary.New(name, 1)
		errs = append(errs, err)
	}
	path := PathConfig{Loss: c.Loss, Duplicate: c.Duplicate, Congestion: c.Congestion}
	errs = append(errs, path.check())
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := c.agreement().Check(); err != nil {
		return fmt.Errorf("group: %w", err)
	}
	return nil
}

// AddGroup adds the hosts of a group to the world and starts them at instant 0 or within the first period. client is what they have in
// common with clients; attach connects a member with its masters and returns them.
func (c *GroupConfig) AddGroup(w *World, client *ClientConfig, from Instant, attach func(i int, h *Host) ([]*Host, error)) (*Group, error) {
	g := &Group{
		Name: c.Name, world: w, config: c.agreement(), poll: float64(c.Period) / c.Probes, timeout: float64(c.Timeout), minDelay: float64(c.MinDelay),
		unfair: c.Unfair.Instant(), drive: c.Drive, rng: stream(w.seed, "drive/"+c.Name), judge: newJudge(from),
	}
	liars, err := adversary.Mix(c.Liars, c.liars(), w.seed)
	if err != nil {
		return nil, err
	}
	for i := range c.Members {
		m, err := c.addMember(w, g, client, i)
		if err != nil {
			return nil, err
		}
		if k := i - (c.Members - len(liars)); k >= 0 {
			m.Liar, m.LiarName = liars[k], c.Liars[k%len(c.Liars)]
		}
	}
	if err := c.connect(w, g); err != nil {
		return nil, err
	}
	w.groups = append(w.groups, g)
	starts := stream(w.seed, "start/"+c.Name)
	for i, m := range g.Members {
		masters, err := attach(i, m.Host)
		if err != nil {
			return nil, err
		}
		n := client.Node(masters)
		n.Agreement = &g.config
		if n.DriftBound == 0 {
			n.DriftBound = g.config.Drift
		}
		for _, q := range g.Members {
			if q != m {
				n.Peers = append(n.Peers, g.peerConfig(m, q))
			}
		}
		g.hybrid = g.hybrid || len(masters) > 0
		if err := checkNode(n, m.Host.hertz); err != nil {
			return nil, err
		}
		g.nodes = append(g.nodes, n)
		wall := float64(client.StartError) + float64(c.StartSpread)*(starts.Float64()-0.5)
		at := Seconds(starts.Float64() * float64(c.Period))
		w.At(at, func() error { return m.Host.Start(n, wall) })
	}
	w.queue.push(event{at: w.now, kind: eventTick, host: -1, slot: int32(len(w.groups) - 1)})
	return g, nil
}

// addMember adds a host.
func (c *GroupConfig) addMember(w *World, g *Group, client *ClientConfig, i int) (*Member, error) {
	oscillator := client.Oscillator
	if c.Members > 1 {
		oscillator.OffsetPPM += client.SpreadPPM * (2*float64(i)/float64(c.Members-1) - 1)
	}
	h, err := w.AddHost(HostConfig{
		Name: fmt.Sprintf("%s%d", c.Name, i+1), Oscillator: oscillator, Hertz: client.CounterHz, Start: 1 << 40, Stamps: client.Stamps, Serve: true,
	})
	if err != nil {
		return nil, err
	}
	m := &Member{Host: h, Index: i, group: g}
	h.member = m
	g.Members = append(g.Members, m)
	return m, nil
}

// connect makes the full mesh.
func (c *GroupConfig) connect(w *World, g *Group) error {
	path := PathConfig{Delay: c.Delay, Loss: c.Loss, Duplicate: c.Duplicate, Congestion: c.Congestion}
	for _, m := range g.Members {
		for _, q := range g.Members {
			if q == m {
				continue
			}
			to, err := w.NewPath(path, "ask/"+m.Host.Name+"→"+q.Host.Name)
			if err != nil {
				return err
			}
			from, err := w.NewPath(path, "tell/"+q.Host.Name+"→"+m.Host.Name)
			if err != nil {
				return err
			}
			l, err := w.Connect(m.Host, peerID(q.Index), q.Host, to, from)
			if err != nil {
				return err
			}
			l.Peer = true
		}
	}
	return nil
}

// mastersOf returns the servers that member i follows.
func (c *GroupConfig) mastersOf(i int, servers []*Host) []*Host {
	if c.Masters != nil && i >= *c.Masters || len(servers) == 0 {
		return nil
	}
	if c.MastersEach == 0 {
		return servers
	}
	var own []*Host
	for k := range c.MastersEach {
		own = append(own, servers[(i*c.MastersEach+k)%len(servers)])
	}
	return own
}

// GroupFault is what happens to members of a group.
type GroupFault struct {
	// Partition cuts these members off from the others.
	Partition []string `toml:"partition"`
	// Members are those that the rest is about.
	Members []string `toml:"members"`
	// Kill ends their daemons, until the fault ends; then they start with clocks that are wrong by RestartError.
	Kill         bool   `toml:"kill"`
	RestartError Length `toml:"restart_error"`
	// Lie makes them lie.
	Lie string `toml:"lie"`
	// AddIn and AddOut are added to the delays of all packets to them and from them.
	AddIn  Length `toml:"add_in"`
	AddOut Length `toml:"add_out"`
}

// none reports whether the fault is about no group at all.
func (f *GroupFault) none() bool {
	return len(f.Partition) == 0 && len(f.Members) == 0
}

func (f *GroupFault) check(s *Scenario) error {
	var errs []error
	for _, name := range slices.Concat(f.Partition, f.Members) {
		if s.Group == nil || !s.Group.has(name) {
			errs = append(errs, fmt.Errorf("there is no member called %q", name))
		}
	}
	if len(f.Members) == 0 && (f.Kill || f.Lie != "" || f.AddIn != 0 || f.AddOut != 0) {
		errs = append(errs, errors.New("kill, lie, add_in and add_out need members"))
	}
	if f.Lie != "" {
		_, err := adversary.New(f.Lie, 1)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// has reports whether a member has that name.
func (c *GroupConfig) has(name string) bool {
	for i := range c.Members {
		if name == fmt.Sprintf("%s%d", c.Name, i+1) {
			return true
		}
	}
	return false
}

// apply makes the change now. The errors of what takes it back end the run.
func (f *GroupFault) apply(w *World, undo *[]func()) error {
	if f.none() {
		return nil
	}
	for _, g := range w.groups {
		if len(f.Partition) > 0 {
			g.cut(f.Partition, true)
			*undo = append(*undo, func() { g.cut(f.Partition, false) })
		}
		for _, m := range g.Members {
			if !slices.Contains(f.Members, m.Host.Name) {
				continue
			}
			if err := f.applyMember(w, m, undo); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *GroupFault) applyMember(w *World, m *Member, undo *[]func()) error {
	if f.Kill {
		m.Host.Stop()
		*undo = append(*undo, func() {
			if err := m.restart(float64(f.RestartError)); err != nil {
				w.fail("%w", err)
			}
		})
	}
	if f.Lie != "" {
		if err := m.group.lieFrom(m, f.Lie, w.seed^splitMix(uint64(m.Index))); err != nil {
			return err
		}
		*undo = append(*undo, func() { m.Liar, m.LiarName = nil, "" })
	}
	add := func(in, out *Path, sign Instant) {
		in.Added += sign * f.AddIn.Instant()
		out.Added += sign * f.AddOut.Instant()
	}
	each := func(sign Instant) {
		for _, l := range w.links {
			switch m.Host {
			case l.Client:
				add(l.From, l.To, sign)
			case l.Server:
				add(l.To, l.From, sign)
			}
		}
	}
	if f.AddIn != 0 || f.AddOut != 0 {
		each(1)
		*undo = append(*undo, func() { each(-1) })
	}
	return nil
}
