package demo

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/clockd/clockd/hw"
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

// Options is what a demonstration is told.
type Options struct {
	// Hosts is the number of hosts besides the master, 1 to MaxHosts; 0: DefaultHosts.
	Hosts int
	// For is how long it runs; 0: until the context ends.
	For time.Duration
	// Poll is how often each host asks the master, 20 ms to 10 s; 0: DefaultPoll.
	Poll time.Duration
	// Seed makes the hosts' oscillators and the instants of the samples.
	Seed uint64
	// JSON: one object a second (Second) and a last one (Summary), instead of a table.
	JSON bool
	// Out is where the table or the JSON goes.
	Out io.Writer
	// Screen is the terminal that Out is; its zero value is for a file or a pipe.
	Screen Screen
	// Version is the program's.
	Version string

	// oscillator and driftBound, if set, replace the usual ones; through gives another address at which the hosts find the
	// master: for tests.
	oscillator func(i int) hw.Skew
	driftBound float64
	through    func(master netip.AddrPort) netip.AddrPort
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

// withDefaults fills in what was left out.
func (o Options) withDefaults() Options {
	if o.Hosts == 0 {
		o.Hosts = DefaultHosts
	}
	if o.Poll == 0 {
		o.Poll = DefaultPoll
	}
	if o.driftBound == 0 {
		o.driftBound = usualDriftBound
	}
	if o.through == nil {
		o.through = func(master netip.AddrPort) netip.AddrPort { return master }
	}
	if o.oscillator == nil {
		o.oscillator = func(i int) hw.Skew { return oscillator(o.Seed, i) }
	}
	return o
}

// Check complains of options that cannot be. It takes a 0 for what it says, not for a default.
func (o Options) Check() error {
	switch {
	case o.Hosts < 1 || o.Hosts > MaxHosts:
		return fmt.Errorf("demo: %d hosts cannot be played; ask for 1 to %d", o.Hosts, MaxHosts)
	case o.Poll < minPoll || o.Poll > maxPoll:
		return fmt.Errorf("demo: a poll of %v is out of range; ask for %v to %v", o.Poll, minPoll, maxPoll)
	case o.For < 0:
		return fmt.Errorf("demo: it cannot run for %v; ask for a positive time, or leave it out to run until Ctrl-C", o.For)
	case o.Out == nil:
		return errors.New("demo: Options.Out must be set")
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
