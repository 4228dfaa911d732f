package sim

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/node"
	"github.com/clockd/clockd/internal/sim/adversary"
	"github.com/clockd/clockd/sync/agreement"
	"github.com/clockd/clockd/virtualclock"
)

// Group is a set of hosts that are each other's peers. It is also what its liars see (adversary.Sight).
type Group struct {
	Name    string
	Members []*Member

	// Round, if set, is told of every round that counts for the figures, when a settled member is about to make it and when it has.
	Round func(r RoundSeen)

	world    *World
	config   agreement.Config
	nodes    []node.Config // of the members, for restarts
	poll     float64       // s
	timeout  float64       // s
	minDelay float64       // s
	hybrid   bool
	unfair   Instant
	drive    string
	rng      *rand.Rand // of the oscillators' driver

	judge   judge
	rejoins []*Rejoin
}

// Rejoin is how a member came back.
type Rejoin struct {
	Member string `json:"member"`
	// At is when it was started, or connected, again; After is how much later its clock was synchronised. Missing: it never was.
	At    Number `json:"at_s"`
	After Number `json:"after_s"`
	at    Instant
}

// RoundSeen is a round at one settled member, as somebody sees it who sees all clocks.
type RoundSeen struct {
	Number int64
	Member *Member
	// After: the member has made it; else it is about to.
	After bool
	// Spread is that of the settled members' target clocks, if All of them are in the same round: Π before it, when none has made it,
	// δ_v after it, when all have.
	Spread float64
	All    bool
	// Epsilon is the a-posteriori reading error that the member made the round with.
	Epsilon float64
}

func missing() Number { return Number(math.NaN()) }

// The ways in which an adversary plays on the members' oscillators, within the drift bound.
const (
	driveNone     = ""
	driveBangBang = "bang_bang" // jumps between the extremes at random
	driveRandom   = "random"    // a random walk inside the bound
	driveSplit    = "split"     // the upper half of the clocks as fast as possible, the lower half as slow as possible
	driveSwap     = "swap"      // the same the other way round
)

// Now is true time in seconds since the beginning.
func (g *Group) Now() float64 { return g.world.now.Seconds() }

// Correct lists the members that run and do not lie.
func (g *Group) Correct() []int {
	var all []int
	for i, m := range g.Members {
		if m.correct() {
			all = append(all, i)
		}
	}
	return all
}

// Ahead is the target clock of member minus that of of.
func (g *Group) Ahead(member, of int) (float64, bool) {
	a, b := g.Members[member], g.Members[of]
	if !a.told || !b.told {
		return 0, false
	}
	return a.target().Seconds(b.target()), true
}

// Hybrid reports whether members follow masters.
func (g *Group) Hybrid() bool { return g.hybrid }

// Bounds are the bounds of theory 3.5 and 4.2 for the readings that were really used so far; the error says that nothing is promised.
func (g *Group) Bounds() (agreement.Guarantee, error) {
	if g.judge.epsilon <= 0 {
		return agreement.Guarantee{}, errNoRound
	}
	return g.bounds()
}

var errNoRound = errors.New("sim: no settled member has made a round yet")

// Config is what the members have in common.
func (g *Group) Config() agreement.Config { return g.config }

// sight is the Group as its liars see it; the name Members is taken.
type sight struct{ *Group }

func (s sight) Members() int { return len(s.Group.Members) }

// hold is for how long a packet between two members is held up.
func (g *Group) hold(l *Link, answer bool) Instant {
	a, b := l.Client.member, l.Server.member
	held := 0.0
	if a.Liar != nil {
		held += a.Liar.Hold(sight{g}, a.Index, b.Index)
	}
	if b.Liar != nil {
		held += b.Liar.Hold(sight{g}, b.Index, a.Index)
	}
	by := Seconds(held)
	// Whoever is to be kept ahead reads the others too far ahead: its requests are late. Who is to be kept behind gets its answers late.
	if g.unfair > 0 && (a.side > 0) != answer {
		by += g.unfair
	}
	return by
}

// tick begins a second: the oscillators get their new rates, and all clocks are looked at.
func (g *Group) tick() {
	w := g.world
	g.look("second")
	g.takeSides()
	rho := g.config.Drift * (1 - 1e-6)
	for _, m := range g.Members {
		o := m.Host.oscillator
		y := o.driven
		switch g.drive {
		case driveNone:
			continue
		case driveBangBang:
			if y == 0 || g.rng.IntN(4) == 0 {
				y = math.Copysign(rho, g.rng.Float64()-0.5)
			}
		case driveRandom:
			y = min(max(y+0.2*rho*g.rng.NormFloat64(), -rho), rho)
		case driveSplit:
			y = rho * m.side
		case driveSwap:
			y = -rho * m.side
		}
		o.Drive(w.now-m.Host.stopped, y)
		if !m.Host.down {
			m.Host.scheduleWake()
		}
	}
	w.queue.push(event{at: w.now + Second, kind: eventTick, host: -1, slot: int32(slices.Index(w.groups, g))})
}

// takeSides divides the correct members into those that are ahead and those that are behind.
func (g *Group) takeSides() {
	if g.drive != driveSplit && g.drive != driveSwap && g.unfair == 0 {
		return
	}
	var order []*Member
	for _, m := range g.Members {
		if m.correct() && m.told {
			order = append(order, m)
		}
	}
	if len(order) == 0 {
		return
	}
	first := order[0].target()
	slices.SortStableFunc(order, func(a, b *Member) int {
		x, y := a.target().Seconds(first), b.target().Seconds(first)
		switch {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
	for i, m := range order {
		m.side = -1
		if 2*i >= len(order) {
			m.side = 1
		}
	}
}

// look judges all published clocks at this instant.
func (g *Group) look(side string) { g.judge.look(g, side) }

// sample takes the figures of the regular samples.
func (g *Group) sample() { g.judge.sample(g) }

// cut makes or mends a partition: the named members on one side, the rest on the other.
func (g *Group) cut(names []string, down bool) {
	for _, m := range g.Members {
		for _, l := range m.Host.links {
			if l.Peer && slices.Contains(names, l.Client.Name) != slices.Contains(names, l.Server.Name) {
				l.To.Down, l.From.Down = down, down
			}
		}
	}
	if down {
		return
	}
	for _, m := range g.Members {
		h := m.Host
		if m.correct() && h.Published && h.Publication.Clock.Interval(h.Reading(g.world.now)).Status != virtualclock.Synchronised {
			m.await()
		}
	}
}

// lieFrom makes members lie from now on; an empty name makes them honest again.
func (g *Group) lieFrom(m *Member, name string, seed uint64) error {
	m.Liar, m.LiarName = nil, ""
	if name == "" {
		return nil
	}
	// It wakes up now, and has told the truth until now: so it is not caught contradicting itself.
	l, err := adversary.New(fmt.Sprintf("%s@%.9f", name, g.Now()+1e-9), seed)
	if err != nil {
		return fmt.Errorf("sim: member %s: %w", m.Host.Name, err)
	}
	if m.told {
		for to := range g.Members {
			a := m.stamper.Answer(hw.Stamp{}, m.Host.Reading(g.world.now))
			l.Answer(sight{g}, m.Index, to, &a)
		}
	}
	m.Liar, m.LiarName = l, name
	return nil
}
