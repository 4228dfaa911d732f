package sim

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/clockd/clockd/internal/node"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

//go:embed scenarios/*.toml
var embedded embed.FS

// Scenario is one world to measure a node in, as its TOML file describes it (docs/scenarios.md).
type Scenario struct {
	// Name is the name of the file without .toml; Summary is one line for people, Details what else there is to say.
	Name    string `toml:"name"`
	Summary string `toml:"summary"`
	Details string `toml:"details"`
	// AssumptionsHold: drift bound, stamps and number of liars are as the node is told, so that no interval may be wrong.
	AssumptionsHold bool `toml:"assumptions_hold"`
	// Length of the run in true time; Discard is the part of it that is left out of the figures; Sample how often the clocks
	// are looked at.
	Length  Length   `toml:"length"`
	Discard *float64 `toml:"discard"`
	Sample  Length   `toml:"sample"`
	// Epoch is the true time at the beginning (RFC 3339).
	Epoch     string         `toml:"epoch"`
	Published *Published     `toml:"published"`
	Client    ClientConfig   `toml:"client"`
	Servers   []ServerConfig `toml:"server"`
	// Group, if set, is what is measured instead of clients.
	Group  *GroupConfig  `toml:"group"`
	Faults []FaultConfig `toml:"fault"`

	// BoundsOnly leaves out the reference estimators and the timelines: for long runs that are only to show that no interval is wrong.
	BoundsOnly bool `toml:"-"`

	epoch virtualclock.Time
}

// Published are the figures of others in the same scenario (peers.md), in seconds.
type Published struct {
	ChronyRMS Length `toml:"chrony_rms" json:"chrony_rms_s"`
	TunedRMS  Length `toml:"tuned_rms" json:"tuned_rms_s"`
	OracleRMS Length `toml:"oracle_rms" json:"oracle_rms_s"`
	ChronyP99 Length `toml:"chrony_p99" json:"chrony_p99_s"`
}

// ClientConfig describes the clients, which are alike but for their random streams. What is 0 or missing is the node's default.
type ClientConfig struct {
	Count int `toml:"count"`
	// StartError is what the clients' wall clocks are wrong by when they start.
	StartError Length           `toml:"start_error"`
	CounterHz  float64          `toml:"counter_hz"`
	Oscillator OscillatorConfig `toml:"oscillator"`
	// SpreadPPM: the constant frequency errors of several clients are spread evenly over ± so much around offset_ppm.
	SpreadPPM float64     `toml:"spread_ppm"`
	Stamps    StampConfig `toml:"stamps"`

	DriftBoundPPM  float64 `toml:"drift_bound_ppm"`
	WanderBoundPPM float64 `toml:"wander_bound_ppm"`
	// VouchedWanderPPM is a wander that the oscillator keeps within any hour but the node is not told: a second run with the same seed
	// is, and its bounds are reported beside the first one's.
	VouchedWanderPPM float64 `toml:"vouched_wander_ppm"`
	CounterPPB       float64 `toml:"counter_error_ppb"`
	MaxSlewPPM       float64 `toml:"max_slew_ppm"`
	MaxBound         Length  `toml:"max_bound"`
	HoldoverAfter    Length  `toml:"holdover_after"`
	Heartbeat        Length  `toml:"heartbeat"`
	Lifetime         Length  `toml:"lifetime"`
	MaxFalse         *int    `toml:"max_false"`
	TargetError      Length  `toml:"target_error"`
	Poll             Length  `toml:"poll"`
	MaxPoll          Length  `toml:"max_poll"`
	Burst            *int    `toml:"burst"`
	BurstSpacing     Length  `toml:"burst_spacing"`
	Timeout          Length  `toml:"timeout"`
	Interleaved      *bool   `toml:"interleaved"`
	MinDelay         Length  `toml:"min_delay"`
	MaxServerError   Length  `toml:"max_server_error"`
}

// ServerConfig describes a server, or Count like ones, and the ways to and from it.
type ServerConfig struct {
	Name  string `toml:"name"`
	Count int    `toml:"count"`
	// Delay and Loss are for both directions; To and From are for one.
	Delay      Delay            `toml:"delay"`
	Loss       float64          `toml:"loss"`
	Duplicate  float64          `toml:"duplicate"`
	Congestion CongestionConfig `toml:"congestion"`
	To         *PathConfig      `toml:"to"`
	From       *PathConfig      `toml:"from"`

	Offset         Length  `toml:"offset"`
	DriftPPM       float64 `toml:"drift_ppm"`
	Noise          Delay   `toml:"noise"`
	RootDelay      Length  `toml:"root_delay"`
	RootDispersion Length  `toml:"root_dispersion"`
	Stratum        uint8   `toml:"stratum"`
	Turnaround     *Delay  `toml:"turnaround"`
	Receive        Delay   `toml:"receive"`
	Transmit       Delay   `toml:"transmit"`
	Interleaved    bool    `toml:"interleaved"`

	// Follows makes this server a clockd like the clients, which follows the named servers and serves what it knows.
	Follows    []string         `toml:"follows"`
	Oscillator OscillatorConfig `toml:"oscillator"`
}

const (
	defaultTurnaround = 20e-6
	defaultDiscard    = 0.25
	defaultSample     = 1
	defaultEpoch      = "2026-01-01T00:00:00Z"
	maxScenarioBytes  = 1 << 18
	maxHosts          = 1000
	maxEntries        = 10000
	// maxSamples bounds the memory of one client's figures.
	maxSamples = 1 << 20
)

// Names returns the names of the scenarios in the program, sorted.
func Names() []string {
	entries, err := fs.ReadDir(embedded, "scenarios")
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".toml"))
	}
	slices.Sort(names)
	return names
}

// Load returns a scenario of the program.
func Load(name string) (*Scenario, error) {
	b, err := embedded.ReadFile(path.Join("scenarios", name+".toml"))
	if err != nil {
		return nil, fmt.Errorf("sim: there is no scenario called %q; there are %s; give a path to use a file of your own", name, strings.Join(Names(), ", "))
	}
	return Parse(name, b)
}

// Parse reads a scenario; name is used where it has none. An error names the line, or all that is wrong.
func Parse(name string, document []byte) (*Scenario, error) {
	if len(document) > maxScenarioBytes {
		return nil, fmt.Errorf("sim: scenario %s: %d bytes are more than a scenario has", name, len(document))
	}
	s := &Scenario{Name: name}
	d := toml.NewDecoder(bytes.NewReader(document))
	d.DisallowUnknownFields()
	if err := d.Decode(s); err != nil {
		return nil, fmt.Errorf("sim: scenario %s: %w", name, describe(err))
	}
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("sim: scenario %s: %w", s.Name, err)
	}
	return s, nil
}

// describe adds the line to an error of the TOML decoder.
func describe(err error) error {
	if strict := (*toml.StrictMissingError)(nil); errors.As(err, &strict) {
		var all []error
		for i := range strict.Errors {
			e := &strict.Errors[i]
			line, _ := e.Position()
			all = append(all, fmt.Errorf("line %d: there is no key %q", line, strings.Join(e.Key(), ".")))
		}
		return errors.Join(all...)
	}
	if e := (*toml.DecodeError)(nil); errors.As(err, &e) {
		line, column := e.Position()
		return fmt.Errorf("line %d, column %d: %w", line, column, err)
	}
	return err
}

// check fills in the defaults and returns all that is wrong.
func (s *Scenario) check() error {
	var errs []error
	bad := func(ok bool, format string, a ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, a...))
		}
	}
	if s.Sample == 0 {
		s.Sample = defaultSample
	}
	if s.Discard == nil {
		d := defaultDiscard
		s.Discard = &d
	}
	if s.Epoch == "" {
		s.Epoch = defaultEpoch
	}
	bad(s.Length >= 1e-3 && s.Length <= Length(longest.Seconds()), "length is %g s, must be from 1ms to 100d", float64(s.Length))
	bad(s.Sample >= 1e-6 && float64(s.Length/s.Sample) <= maxSamples, "sample is %g s: that makes more than %d samples, or none", float64(s.Sample), maxSamples)
	bad(*s.Discard >= 0 && *s.Discard < 1, "discard is %g, must be from 0 to less than 1", *s.Discard)
	at, err := time.Parse(time.RFC3339Nano, s.Epoch)
	bad(err == nil && at.Year() >= 1970 && at.Year() < 2200, "epoch is %.40q, must be a time like %s", s.Epoch, defaultEpoch)
	s.epoch = virtualclock.FromTime(at)
	bad(s.Client.Count >= 0 && s.Client.Count <= maxHosts, "client.count is %d, must be from 0 to %d", s.Client.Count, maxHosts)
	if s.Group == nil {
		s.Client.Count = max(s.Client.Count, 1)
	}
	bad(len(s.Faults) <= maxEntries, "there are %d faults; at most %d are allowed", len(s.Faults), maxEntries)
	errs = append(errs, s.Client.Oscillator.check(), s.Client.Stamps.check(), s.checkServers(), s.checkVouched())
	if s.Group != nil {
		servers := 0
		for i := range s.Servers {
			servers += s.Servers[i].Count
		}
		errs = append(errs, s.Group.check(servers))
	}
	for i := range s.Faults {
		if err := s.Faults[i].check(s); err != nil {
			errs = append(errs, fmt.Errorf("fault %d: %w", i+1, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	_, err = s.Build(1)
	return err
}

func (s *Scenario) checkServers() error {
	var errs []error
	hosts := s.Client.Count
	s.Servers = slices.Clone(s.Servers)
	for i := range s.Servers {
		v := &s.Servers[i]
		if v.Name == "" {
			v.Name = "server"
			if len(s.Servers) > 1 {
				v.Name = fmt.Sprintf("server%d", i+1)
			}
		}
		if v.Count < 0 || v.Count > maxHosts {
			errs = append(errs, fmt.Errorf("server %s: count is %d, must be from 0 to %d", v.Name, v.Count, maxHosts))
			continue
		}
		v.Count = max(v.Count, 1)
		hosts += v.Count
		if err := v.Oscillator.check(); err != nil {
			errs = append(errs, fmt.Errorf("server %s: %w", v.Name, err))
		}
		if v.Stratum > 15 || !(v.RootDelay >= 0 && v.RootDelay < 1000) || !(v.RootDispersion >= 0 && v.RootDispersion < 1000) {
			errs = append(errs, fmt.Errorf("server %s: stratum is at most 15, root_delay and root_dispersion from 0 to 1000 s", v.Name))
		}
	}
	if hosts > maxHosts {
		errs = append(errs, fmt.Errorf("%d hosts are more than %d", hosts, maxHosts))
	}
	return errors.Join(errs...)
}

// names returns the names of a server's instances.
func (v *ServerConfig) names() []string {
	if v.Count <= 1 {
		return []string{v.Name}
	}
	var names []string
	for i := range v.Count {
		names = append(names, fmt.Sprintf("%s%d", v.Name, i+1))
	}
	return names
}

// paths returns what the two directions are like.
func (v *ServerConfig) paths() (to, from PathConfig) {
	to = PathConfig{Delay: v.Delay, Loss: v.Loss, Duplicate: v.Duplicate, Congestion: v.Congestion}
	from = to
	if v.To != nil {
		to = *v.To
	}
	if v.From != nil {
		from = *v.From
	}
	return to, from
}

func (v *ServerConfig) master() *Master {
	turnaround := Constant(defaultTurnaround)
	if v.Turnaround != nil {
		turnaround = *v.Turnaround
	}
	return &Master{
		Offset: float64(v.Offset), Drift: v.DriftPPM * 1e-6, Noise: v.Noise, RootDelay: float64(v.RootDelay),
		RootDispersion: float64(v.RootDispersion), Stratum: v.Stratum, Turnaround: turnaround, Receive: v.Receive, Transmit: v.Transmit,
		Interleaved: v.Interleaved,
	}
}

// Node returns the configuration of a node that follows these servers. The sources' addresses follow from their hosts.
func (c *ClientConfig) Node(servers []*Host) node.Config {
	n := node.Config{
		DriftBound: c.DriftBoundPPM * 1e-6, WanderBound: c.WanderBoundPPM * 1e-6, TargetError: float64(c.TargetError), MaxSlew: c.MaxSlewPPM * 1e-6, MaxBound: float64(c.MaxBound), HoldoverAfter: float64(c.HoldoverAfter),
		Heartbeat: float64(c.Heartbeat), Lifetime: float64(c.Lifetime), MaxFalse: -1,
	}
	n.Counter.ErrorPPB = c.CounterPPB
	if c.MaxFalse != nil {
		n.MaxFalse = *c.MaxFalse
	}
	for i, s := range servers {
		n.Sources = append(n.Sources, c.Source(i+1, s))
	}
	return n
}

// Source returns the configuration of one source: the server s with that ID.
func (c *ClientConfig) Source(id int, s *Host) node.SourceConfig {
	or := func(x Length, otherwise float64) float64 {
		if x == 0 {
			return otherwise
		}
		return float64(x)
	}
	burst, interleaved := 4, false
	if c.Burst != nil {
		burst = *c.Burst
	}
	if c.Interleaved != nil {
		interleaved = *c.Interleaved
	}
	return node.SourceConfig{
		ID: id, Name: s.Name, Address: s.Address(), ReferenceID: s.ReferenceID(), Poll: or(c.Poll, 16), MaxPoll: float64(c.MaxPoll), Burst: burst,
		BurstSpacing: or(c.BurstSpacing, 0.25), Timeout: or(c.Timeout, 1), Interleaved: interleaved, MinDelay: float64(c.MinDelay),
		MaxServerError: or(c.MaxServerError, 1),
	}
}

// Build makes the world of one run: nothing has happened in it yet.
func (s *Scenario) Build(seed uint64) (*World, error) {
	w := NewWorld(seed, s.epoch)
	w.Sample, w.BoundsOnly = s.Sample.Instant(), s.BoundsOnly
	servers, err := s.addServers(w)
	if err != nil {
		return nil, err
	}
	for i := range s.Client.Count {
		if err := s.addClient(w, i, servers); err != nil {
			return nil, err
		}
	}
	if s.Group != nil {
		if err := s.addGroup(w, servers); err != nil {
			return nil, err
		}
	}
	for i := range s.Faults {
		s.Faults[i].plan(w, s)
	}
	return w, nil
}

// addGroup makes the group of peers.
func (s *Scenario) addGroup(w *World, servers []*Host) error {
	from := Seconds(float64(s.Length) * *s.Discard)
	group := s.Group.varied(w.seed)
	_, err := group.AddGroup(w, &s.Client, from, func(i int, h *Host) ([]*Host, error) {
		masters := group.mastersOf(i, servers)
		return masters, s.connect(w, h, masters, func(m *Host) *ServerConfig { return s.server(m.Name) })
	})
	return err
}

// addServers makes all servers; only those that no other server follows are the clients'.
func (s *Scenario) addServers(w *World) (forClients []*Host, err error) {
	configs := map[*Host]*ServerConfig{}
	followed := map[string]bool{}
	for i := range s.Servers {
		v := &s.Servers[i]
		for _, name := range v.Follows {
			followed[name] = true
		}
		for _, name := range v.names() {
			c := HostConfig{Name: name, Oscillator: v.Oscillator, Hertz: s.Client.CounterHz, Stamps: s.Client.Stamps, Serve: true}
			if len(v.Follows) == 0 {
				c.Master = v.master()
			}
			h, err := w.AddHost(c)
			if err != nil {
				return nil, err
			}
			configs[h] = v
		}
	}
	for _, h := range w.Hosts() {
		if v := configs[h]; len(v.Follows) > 0 {
			if err := s.follow(w, h, v, configs); err != nil {
				return nil, err
			}
		}
		if !followed[h.Name] {
			forClients = append(forClients, h)
		}
	}
	return forClients, nil
}

// follow makes a server the client of others.
func (s *Scenario) follow(w *World, h *Host, v *ServerConfig, configs map[*Host]*ServerConfig) error {
	var masters []*Host
	for _, name := range v.Follows {
		m := w.Host(name)
		if m == nil || m == h {
			return fmt.Errorf("server %s follows %q, which is no other server", v.Name, name)
		}
		masters = append(masters, m)
	}
	return s.attach(w, h, masters, func(m *Host) *ServerConfig { return configs[m] })
}

func (s *Scenario) addClient(w *World, i int, servers []*Host) error {
	name := "client"
	oscillator := s.Client.Oscillator
	if n := s.Client.Count; n > 1 {
		name = fmt.Sprintf("client%d", i+1)
		oscillator.OffsetPPM += s.Client.SpreadPPM * (2*float64(i)/float64(n-1) - 1)
	}
	h, err := w.AddHost(HostConfig{Name: name, Oscillator: oscillator, Hertz: s.Client.CounterHz, Start: 1 << 40, Stamps: s.Client.Stamps})
	if err != nil {
		return err
	}
	return s.attach(w, h, servers, func(m *Host) *ServerConfig { return s.server(m.Name) })
}

// attach connects a client with its servers, and starts it at instant 0.
func (s *Scenario) attach(w *World, h *Host, servers []*Host, config func(*Host) *ServerConfig) error {
	if err := s.connect(w, h, servers, config); err != nil {
		return err
	}
	h.Statistics.From = Seconds(float64(s.Length) * *s.Discard)
	c := s.Client.Node(servers)
	if err := checkNode(c, h.hertz); err != nil {
		return err
	}
	w.At(0, func() error { return h.Start(c, float64(s.Client.StartError)) })
	return nil
}

// connect makes the links of a client.
func (s *Scenario) connect(w *World, h *Host, servers []*Host, config func(*Host) *ServerConfig) error {
	for i, m := range servers {
		toConfig, fromConfig := config(m).paths()
		to, err := w.NewPath(toConfig, h.Name+"→"+m.Name)
		if err != nil {
			return err
		}
		from, err := w.NewPath(fromConfig, m.Name+"→"+h.Name)
		if err != nil {
			return err
		}
		if _, err := w.Connect(h, i+1, m, to, from); err != nil {
			return err
		}
	}
	return nil
}

// checkNode refuses what the node would refuse, before the run.
func checkNode(c node.Config, hertz float64) error {
	c.Counter.Hertz = hertz
	_, err := node.New(c)
	return err
}

// server returns the configuration that an instance's name belongs to.
func (s *Scenario) server(name string) *ServerConfig {
	for i := range s.Servers {
		if slices.Contains(s.Servers[i].names(), name) {
			return &s.Servers[i]
		}
	}
	return &ServerConfig{}
}

// reasonNamed reads a reason code.
func reasonNamed(text string) (reason.Code, error) {
	var c reason.Code
	err := c.UnmarshalText([]byte(text))
	return c, err
}

// finite reports whether x can be printed as JSON.
func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// Source returns the TOML file of a scenario of the program.
func Source(name string) ([]byte, error) {
	b, err := embedded.ReadFile(path.Join("scenarios", name+".toml"))
	if err != nil {
		return nil, fmt.Errorf("sim: there is no scenario called %q; there are %s", name, strings.Join(Names(), ", "))
	}
	return b, nil
}

// Work is an estimate of how long a run takes, for progress bars: clients, or probes of peers, times seconds.
func (s *Scenario) Work() float64 {
	hosts := float64(max(s.Client.Count, 1))
	if g := s.Group; g != nil {
		hosts = float64(g.Members*g.Members) * g.Probes
	}
	return float64(s.Length) * hosts
}
