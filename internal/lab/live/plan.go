package live

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/clockd/clockd/internal/delay"
	"github.com/clockd/clockd/internal/lab/network"
	"github.com/clockd/clockd/internal/sim/adversary"
	"github.com/clockd/clockd/sync/agreement"
)

//go:embed scenarios/*.toml
var scenarioFiles embed.FS

// The modes: how the hosts' clocks are held together.
const (
	ModeExternal = "external" // the hosts follow masters
	ModeInternal = "internal" // they agree among themselves
	ModeHybrid   = "hybrid"   // they agree, and masters pull the agreed clock to UTC
)

// The networks.
const (
	NetworkAuto       = ""           // namespaces as root, else loopback
	NetworkNamespaces = "namespaces" // a namespace for each host; needs root
	NetworkLoopback   = "loopback"   // relays on 127.0.0.1
)

// Length is a length of time in a file: "150us", "1.5s", "5m".
type Length time.Duration

// UnmarshalText reads a Go duration.
func (l *Length) UnmarshalText(b []byte) error {
	d, err := time.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("%.40q is no length of time; write \"150us\", \"1.5s\" or \"5m\"", b)
	}
	*l = Length(d)
	return nil
}

// MarshalText writes it.
func (l Length) MarshalText() ([]byte, error) { return []byte(time.Duration(l).String()), nil }

// Seconds returns the length in seconds.
func (l Length) Seconds() float64 { return time.Duration(l).Seconds() }

// Plan is an experiment: a scenario's file. What is left out has a default (withDefaults).
type Plan struct {
	Name    string `toml:"-"`
	Summary string `toml:"summary,omitempty"`
	Details string `toml:"details,omitempty"`

	Mode string `toml:"mode"`
	// Hosts are h1, h2 and so on, Masters m1 and so on. The last Liars hosts lie, in the ways that Adversary names, in turns.
	Hosts     int    `toml:"hosts"`
	Masters   int    `toml:"masters,omitempty"`
	Liars     int    `toml:"liars,omitempty"`
	Adversary string `toml:"adversary,omitempty"`

	Network string `toml:"network,omitempty"`
	// Delay is that of every link; DelayBack, if set, that of packets from a node to one after it, masters first: answers of masters.
	Delay     *delay.Law `toml:"delay,omitempty"`
	DelayBack *delay.Law `toml:"delay_back,omitempty"`
	Loss      float64    `toml:"loss,omitempty"`
	Link      []Link     `toml:"link,omitempty"`

	// For is how long is measured, once all clocks are synchronised.
	For Length `toml:"for"`
	// Period is that of the agreement, Poll the time between two questions, ReadingError the widest reading that an agreement uses.
	Period       Length `toml:"period,omitempty"`
	Poll         Length `toml:"poll,omitempty"`
	ReadingError Length `toml:"reading_error,omitempty"`

	Fault []Fault `toml:"fault,omitempty"`
}

// Link is one direction of one link that is not like the others.
type Link struct {
	From  string     `toml:"from,omitempty"`
	To    string     `toml:"to,omitempty"`
	Delay *delay.Law `toml:"delay,omitempty"`
	Loss  *float64   `toml:"loss,omitempty"`
}

// Defaults and limits of a Plan.
const (
	maxNodes        = 31
	defaultHosts    = 4
	defaultFor      = 60 * time.Second
	shortest        = 5 * time.Second
	longest         = 7 * 24 * time.Hour
	defaultPeriod   = time.Second
	defaultPoll     = 250 * time.Millisecond
	pollsPerPeriod  = 8
	leastPoll       = 20 * time.Millisecond
	defaultReading  = 2 * time.Millisecond
	defaultDelay    = "150us + uniform(0us, 100us)"
	hybridMasters   = 3
	leastLiedTo     = 4
	maxFile         = 1 << 18
	maxFaults       = 1000
	scenarioDir     = "scenarios"
	scenarioSuffix  = ".toml"
	defaultMischief = "two-faced"
	mostJump        = Length(time.Hour)
	mostJumps       = 64
)

// Group reports whether the hosts are peers of each other.
func (p *Plan) Group() bool { return p.Mode == ModeInternal || p.Mode == ModeHybrid }

// Nodes are the names of all nodes, the masters first: their numbers in the network.
func (p *Plan) Nodes() []string {
	var all []string
	for i := range p.Masters {
		all = append(all, fmt.Sprintf("m%d", i+1))
	}
	for i := range p.Hosts {
		all = append(all, fmt.Sprintf("h%d", i+1))
	}
	return all
}

// Faults is f: how many liars the group bears.
func (p *Plan) Faults() int { return agreement.MaxFaults(p.Hosts) }

// liars are the numbers of the nodes that lie at some time, in order.
func (p *Plan) liars() []int {
	nodes := p.Nodes()
	var all []int
	for i := len(nodes) - p.Liars; i < len(nodes); i++ {
		all = append(all, i)
	}
	for i := range p.Fault {
		if f := &p.Fault[i]; f.Do == DoLie {
			if n := slices.Index(nodes, f.Host); n >= 0 && !slices.Contains(all, n) {
				all = append(all, n)
			}
		}
	}
	slices.Sort(all)
	return all
}

// Holds reports whether the fault hypothesis holds: no more liars, and hosts whose counters jump, than the group bears. Drift is within
// its bound by construction but for the jumps.
func (p *Plan) Holds() bool { return len(p.liars())+len(p.stepped()) <= p.Faults() || !p.Group() }

// WithDefaults fills in what was left out.
func (p Plan) WithDefaults() Plan {
	set := func(l *Length, d time.Duration) {
		if *l == 0 {
			*l = Length(d)
		}
	}
	if p.Mode == "" {
		p.Mode = ModeInternal
	}
	if p.Hosts == 0 {
		p.Hosts = defaultHosts
	}
	if p.Masters == 0 {
		switch p.Mode {
		case ModeExternal:
			p.Masters = 1
		case ModeHybrid:
			p.Masters = hybridMasters
		}
	}
	if p.Adversary == "" && (p.Liars > 0 || slices.ContainsFunc(p.Fault, func(f Fault) bool { return f.Do == DoLie })) {
		p.Adversary = defaultMischief
	}
	if p.Delay == nil {
		if l, err := delay.Parse(defaultDelay); err == nil {
			p.Delay = &l
		}
	}
	set(&p.For, defaultFor)
	if p.Group() {
		set(&p.Period, defaultPeriod)
		set(&p.ReadingError, defaultReading)
		set(&p.Poll, max(time.Duration(p.Period)/pollsPerPeriod, leastPoll))
	}
	set(&p.Poll, defaultPoll)
	return p
}

// Check complains of a plan that cannot be: of all that is wrong, before anything is started. Call it on one with defaults.
func (p *Plan) Check() error {
	var errs []error
	bad := func(wrong bool, format string, a ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, a...))
		}
	}
	bad(!slices.Contains([]string{ModeExternal, ModeInternal, ModeHybrid}, p.Mode), "there is no mode %.40q; there are %s, %s and %s", p.Mode, ModeExternal, ModeInternal, ModeHybrid)
	bad(!slices.Contains([]string{NetworkAuto, NetworkNamespaces, NetworkLoopback}, p.Network), "there is no network %.40q; there are %s and %s", p.Network, NetworkNamespaces, NetworkLoopback)
	bad(p.Hosts < 1 || p.Masters < 0 || p.Hosts+p.Masters > maxNodes, "%d hosts and %d masters cannot be run; ask for 1 to %d in all", p.Hosts, p.Masters, maxNodes)
	bad(time.Duration(p.For) < shortest || time.Duration(p.For) > longest, "it cannot run for %v; ask for %v to %v", time.Duration(p.For), shortest, longest)
	bad(time.Duration(p.Poll) < leastPoll || time.Duration(p.Poll) > time.Minute, "a poll of %v is out of range; ask for 20ms to 1m", time.Duration(p.Poll))
	if errs != nil {
		return errors.Join(errs...)
	}
	errs = append(errs, p.checkMode()...)
	errs = append(errs, p.checkLinks()...)
	errs = append(errs, p.checkFaults()...)
	return errors.Join(errs...)
}

// checkMode complains of what does not fit the mode, and of impossible n and f.
func (p *Plan) checkMode() (errs []error) {
	bad := func(wrong bool, format string, a ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, a...))
		}
	}
	bad(p.Liars < 0, "%d liars: give a number of hosts, or 0", p.Liars)
	if !p.Group() {
		bad(p.Liars > 0 || p.Adversary != "", "with masters alone the hosts do not talk to each other, so none can lie to another: choose the mode %s or %s", ModeInternal, ModeHybrid)
		bad(p.Period != 0 || p.ReadingError != 0, "a period and a reading error belong to a group: choose the mode %s or %s", ModeInternal, ModeHybrid)
		bad(p.Masters < 1, "the mode %s needs a master", ModeExternal)
		return errs
	}
	bad(p.Mode == ModeInternal && p.Masters > 0, "%d masters in the mode %s: choose %s", p.Masters, ModeInternal, ModeHybrid)
	bad(p.Mode == ModeHybrid && p.Masters < 1, "the mode %s needs masters", ModeHybrid)
	bad(p.Hosts < 2, "%d host has nobody to agree with; ask for 2 or more", p.Hosts)
	liars := len(p.liars())
	bad(liars > 0 && p.Hosts < leastLiedTo, "%d hosts bear no liar: with n ≥ 3f+1 the least that bears one is %d", p.Hosts, leastLiedTo)
	bad(liars >= p.Hosts, "%d liars among %d hosts: at least one host must be correct", liars, p.Hosts)
	bad(liars == 0 && p.Adversary != "", "there is an adversary and no liar: say how many hosts lie")
	if len(errs) == 0 && liars > 0 {
		if _, err := adversary.Mix(p.adversaries(), liars, 0); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

func (p *Plan) adversaries() []string { return strings.Split(p.Adversary, ",") }

// checkLinks complains of links between nobody, and of laws that cannot be.
func (p *Plan) checkLinks() (errs []error) {
	nodes := p.Nodes()
	if err := (&network.Law{Loss: p.Loss}).Check(); err != nil {
		errs = append(errs, err)
	}
	for i := range p.Link {
		l := &p.Link[i]
		for _, name := range []string{l.From, l.To} {
			if !slices.Contains(nodes, name) {
				errs = append(errs, fmt.Errorf("link[%d]: there is no node %.40q; there are %s", i, name, strings.Join(nodes, ", ")))
			}
		}
		if l.Loss != nil {
			if err := (&network.Law{Loss: *l.Loss}).Check(); err != nil {
				errs = append(errs, fmt.Errorf("link[%d]: %w", i, err))
			}
		}
		if l.Delay == nil && l.Loss == nil {
			errs = append(errs, fmt.Errorf("link[%d]: it has neither a delay nor a loss", i))
		}
	}
	return errs
}

// law is that of the direction from one node to another.
func (p *Plan) law(nodes []string, from, to int) network.Law {
	l := network.Law{Delay: *p.Delay, Loss: p.Loss}
	if p.DelayBack != nil && from < to {
		l.Delay = *p.DelayBack
	}
	for i := range p.Link {
		if x := &p.Link[i]; x.From == nodes[from] && x.To == nodes[to] {
			if x.Delay != nil {
				l.Delay = *x.Delay
			}
			if x.Loss != nil {
				l.Loss = *x.Loss
			}
		}
	}
	return l
}

// decode reads TOML strictly: a key that nobody knows is an error, with its place.
func decode(b []byte, into any) error {
	if len(b) > maxFile {
		return fmt.Errorf("the file has %d bytes; at most %d are read", len(b), maxFile)
	}
	d := toml.NewDecoder(bytes.NewReader(b)).DisallowUnknownFields()
	err := d.Decode(into)
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) {
		return fmt.Errorf("there are keys that nobody knows:\n%s", strict.String())
	}
	var place *toml.DecodeError
	if errors.As(err, &place) {
		line, column := place.Position()
		return fmt.Errorf("line %d, column %d: %w", line, column, err)
	}
	return err
}

// ParsePlan reads a scenario's file. It is neither completed nor checked.
func ParsePlan(name string, b []byte) (*Plan, error) {
	p := &Plan{}
	if err := decode(b, p); err != nil {
		return nil, fmt.Errorf("the scenario %s: %w", name, err)
	}
	if len(p.Fault) > maxFaults {
		return nil, fmt.Errorf("the scenario %s has %d faults; at most %d are allowed", name, len(p.Fault), maxFaults)
	}
	p.Name = name
	return p, nil
}

// Scenarios are the names of the scenarios that the program has.
func Scenarios() []string {
	entries, err := fs.ReadDir(scenarioFiles, scenarioDir)
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), scenarioSuffix))
	}
	slices.Sort(names)
	return names
}

// Source is the file of a scenario of the program.
func Source(name string) ([]byte, error) {
	if !slices.Contains(Scenarios(), name) {
		return nil, fmt.Errorf("there is no scenario %.60q; there are %s, and files (./mine.toml)", name, strings.Join(Scenarios(), ", "))
	}
	return scenarioFiles.ReadFile(scenarioDir + "/" + name + scenarioSuffix)
}

// source is the plan as a file: what was run, whatever flags made it.
func (p *Plan) source() (string, error) {
	b, err := toml.Marshal(p)
	return string(b), err
}
