package demo

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/sim/adversary"
)

// Defaults and limits of Options.
const (
	DefaultHosts = 3
	MaxHosts     = 31
	DefaultPoll  = 250 * time.Millisecond
	minPoll      = 20 * time.Millisecond
	maxPoll      = 10 * time.Second
)

// How the hosts ask: the first requests follow each other at firstRequests, so that nobody waits for the clocks; an answer must
// come within answerWithin.
const (
	firstRequests = 50 * time.Millisecond
	answerWithin  = time.Second
)

// The modes: how the hosts' clocks are held together.
const (
	// ModeExternal: the hosts follow a master.
	ModeExternal = "external"
	// ModeInternal: they agree among themselves.
	ModeInternal = "internal"
	// ModeHybrid: they agree, and masters pull the agreed clock to UTC.
	ModeHybrid = "hybrid"
)

// What groups are like.
const (
	DefaultGroupHosts = 4
	DefaultAdversary  = "two-faced"
	DefaultPeriod     = 200 * time.Millisecond
	minPeriod         = 50 * time.Millisecond
	maxPeriod         = 10 * time.Second
	// hybridMasters is how many masters a hybrid has: with three, each host bears a false one.
	hybridMasters = 3
	falseBorne    = 1
	// leastLiedTo is the smallest group that bears a liar.
	leastLiedTo = 4
)

// Options is what a demonstration is told.
type Options struct {
	// Mode is one of the modes; "": ModeExternal.
	Mode string
	// Hosts is the number of hosts besides the masters, up to MaxHosts; 0: DefaultHosts, in a group DefaultGroupHosts.
	Hosts int
	// Liars is how many of the hosts of a group lie to the others, Adversary how: the name of a behaviour, or several between
	// commas for the liars in turn; "": DefaultAdversary.
	Liars     int
	Adversary string
	// FalseMasters is how many of a hybrid's masters are wrong.
	FalseMasters int
	// Period is the time from one agreement to the next, 50 ms to 10 s; 0: DefaultPeriod, longer for many hosts.
	Period time.Duration
	// For is how long it runs; 0: until the context ends.
	For time.Duration
	// Poll is how often each host asks the master, 20 ms to 10 s; 0: DefaultPoll.
	Poll time.Duration
	// Seed makes the hosts' oscillators and the instants of the samples.
	Seed uint64
	// HTTP is the port on 127.0.0.1 where the first master answers HTTP (/metrics and so on); the other masters and then the hosts have
	// the ports after it. 0: none does.
	HTTP int
	// Influx is the address of an InfluxDB without a password, to whose data base clockd all daemons send what they measure; "": none does.
	Influx string
	// JSON: one object a second (Second) and a last one (Summary), instead of a table.
	JSON bool
	// Out is where the table or the JSON goes.
	Out io.Writer
	// Screen is the terminal that Out is; its zero value is for a file or a pipe.
	Screen Screen
	// Version is the program's.
	Version string

	// oscillator and driftBound, if set, replace the usual ones; through gives another address at which host i finds a
	// master.
	oscillator   func(i int) hw.Skew
	driftBound   float64
	readingError time.Duration
	through      func(i int, master netip.AddrPort) (netip.AddrPort, error)
}

// Screen is a terminal.
type Screen struct {
	// Size returns the number of columns and rows at present. nil: there is no terminal, and nothing is redrawn.
	Size func() (columns, rows int)
	// Colour: colours are welcome.
	Colour bool
}

// What the hosts' oscillators are like. The daemons know only the drift bound, which is larger than any frequency error can be.
const (
	leastPPM, mostPPM = 14, 48
	limitPPM          = 55
	usualDriftBound   = 60e-6
	// walkPerRootSecond is that of an ordinary crystal; the sine is that of a machine whose fan comes and goes.
	walkPerRootSecond               = 1e-8
	sinePPM                         = 1
	leastSinePeriod, mostSinePeriod = 100, 300
	// originStep is by how many seconds the counters of neighbours differ at the start.
	originStep = 1000
)

// Group reports whether the hosts are peers of each other.
func (o *Options) Group() bool { return o.Mode == ModeInternal || o.Mode == ModeHybrid }

// masters is how many there are.
func (o *Options) masters() int {
	switch o.Mode {
	case ModeInternal:
		return 0
	case ModeHybrid:
		return hybridMasters
	}
	return 1
}

// adversaries are the names of the liars' behaviours.
func (o *Options) adversaries() []string { return strings.Split(o.Adversary, ",") }

// WithDefaults fills in what was left out.
func (o Options) WithDefaults() Options {
	if o.Mode == "" {
		o.Mode = ModeExternal
	}
	if o.Hosts == 0 {
		o.Hosts = DefaultHosts
		if o.Group() {
			o.Hosts = DefaultGroupHosts
		}
	}
	if o.Adversary == "" && o.Liars > 0 {
		o.Adversary = DefaultAdversary
	}
	if o.Period == 0 && o.Group() {
		o.Period = defaultPeriod(o.Hosts)
	}
	if o.Poll == 0 {
		o.Poll = DefaultPoll
	}
	if o.driftBound == 0 {
		o.driftBound = usualDriftBound
	}
	if o.readingError == 0 {
		o.readingError = usualReadingError
	}
	if o.through == nil {
		o.through = func(_ int, master netip.AddrPort) (netip.AddrPort, error) { return master, nil }
	}
	if o.oscillator == nil {
		o.oscillator = func(i int) hw.Skew { return oscillator(o.Seed, i) }
	}
	return o
}

// exchangesPerSecond is how many a group may make: what two ordinary CPUs bear with room to spare.
const exchangesPerSecond = 1500

// defaultPeriod is such that n hosts, each of which asks every other pollsPerPeriod times in a period, are not too busy.
func defaultPeriod(n int) time.Duration {
	least := time.Duration(pollsPerPeriod*n*(n-1)) * time.Second / exchangesPerSecond
	return max(DefaultPeriod, least.Round(10*time.Millisecond))
}

// Check complains of options that cannot be. It takes a 0 for what it says, not for a default.
func (o Options) Check() error {
	if err := o.checkGroup(); err != nil {
		return err
	}
	switch {
	case o.Hosts < 1 || o.Hosts > MaxHosts:
		return fmt.Errorf("demo: %d hosts cannot be played; ask for 1 to %d", o.Hosts, MaxHosts)
	case o.Poll < minPoll || o.Poll > maxPoll:
		return fmt.Errorf("demo: a poll of %v is out of range; ask for %v to %v", o.Poll, minPoll, maxPoll)
	case o.HTTP < 0 || o.HTTP > 0 && o.HTTP+o.masters()+o.Hosts > 1<<16:
		return fmt.Errorf("demo: there are no ports for HTTP from %d on; ask for 1 to %d", o.HTTP, 1<<16-o.masters()-o.Hosts)
	case o.For < 0:
		return fmt.Errorf("demo: it cannot run for %v; ask for a positive time, or leave it out to run until Ctrl-C", o.For)
	case o.Out == nil:
		return errors.New("demo: Options.Out must be set")
	}
	return nil
}

// checkGroup complains of what cannot be of a group, or without one.
func (o *Options) checkGroup() error {
	switch o.Mode {
	case ModeExternal:
		if o.Liars != 0 || o.Adversary != "" || o.Period != 0 {
			return fmt.Errorf("demo: with a master the hosts do not talk to each other, so none can lie to another; add --mode %s or %s", ModeInternal, ModeHybrid)
		}
	case ModeInternal, ModeHybrid:
		if o.Hosts < 2 {
			return fmt.Errorf("demo: %d host has nobody to agree with; ask for 2 to %d", o.Hosts, MaxHosts)
		}
		if o.Period < minPeriod || o.Period > maxPeriod {
			return fmt.Errorf("demo: a period of %v is out of range; ask for %v to %v", o.Period, minPeriod, maxPeriod)
		}
	default:
		return fmt.Errorf("demo: there is no mode %q; there are %s, %s and %s", o.Mode, ModeExternal, ModeInternal, ModeHybrid)
	}
	if o.FalseMasters < 0 || o.FalseMasters > 0 && o.FalseMasters >= o.masters() {
		if o.Mode != ModeHybrid {
			return fmt.Errorf("demo: false masters need true ones beside them; add --mode %s", ModeHybrid)
		}
		return fmt.Errorf("demo: %d of %d masters cannot be false; ask for 0 to %d, of which %d is borne", o.FalseMasters, o.masters(), o.masters()-1, falseBorne)
	}
	switch {
	case o.Liars < 0 || o.Liars > 0 && o.Liars >= o.Hosts:
		return fmt.Errorf("demo: %d of %d hosts cannot lie; ask for fewer liars than hosts", o.Liars, o.Hosts)
	case o.Liars > 0 && o.Hosts < leastLiedTo:
		return fmt.Errorf("demo: %d hosts bear no liar; ask for at least %d (3f+1 hosts bear f liars)", o.Hosts, leastLiedTo)
	case o.Liars == 0 && o.Adversary != "":
		return errors.New("demo: there is an adversary and no liar; add --liars")
	case o.Liars > 0:
		if _, err := adversary.Mix(o.adversaries(), o.Liars, o.Seed); err != nil {
			return fmt.Errorf("demo: %w", err)
		}
	}
	return nil
}

// oscillator is host i's: neighbours err in opposite directions, so that clocks left alone would visibly part. Its Start and its
// Origin are not set.
func oscillator(seed uint64, i int) hw.Skew {
	r := rand.New(rand.NewPCG(seed, uint64(i)))
	ppm := leastPPM + (mostPPM-leastPPM)*r.Float64()
	if i%2 == 1 {
		ppm = -ppm
	}
	return hw.Skew{
		Seed: r.Uint64(), PPM: ppm, WalkPerRootSecond: walkPerRootSecond, LimitPPM: limitPPM,
		Sine: hw.Sine{PPM: sinePPM, PeriodSeconds: leastSinePeriod + (mostSinePeriod-leastSinePeriod)*r.Float64(), PhaseTurns: r.Float64()},
	}
}
