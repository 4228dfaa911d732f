package network

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/clockd/clockd/internal/delay"
)

// Law is what one direction of a link does to packets. The zero value hands them on at once.
type Law struct {
	// Delay is drawn for each packet; packets overtake each other if it varies, unless Ordered.
	Delay delay.Law
	// Added is a further, constant delay.
	Added time.Duration
	// Loss and Duplicate are probabilities. The second copy has a delay of its own.
	Loss, Duplicate float64
	Ordered         bool
}

// maxAdded is the longest Added; a law of delay has a limit of its own.
const maxAdded = 1000 * time.Second

// Check says what is wrong with the law.
func (l *Law) Check() error {
	probability := func(p float64) bool { return p >= 0 && p <= 1 }
	switch {
	case !probability(l.Loss), !probability(l.Duplicate):
		return fmt.Errorf("network: loss %g and duplicate %g must be probabilities, from 0 to 1", l.Loss, l.Duplicate)
	case l.Added < 0, l.Added > maxAdded:
		return fmt.Errorf("network: the added delay is %v; it must be from 0 to %v", l.Added, maxAdded)
	}
	return nil
}

// Counters are what became of the packets of one direction of a link.
type Counters struct {
	// Received came from the sender, Forwarded were handed to the receiver; those still under way are Queued.
	Received  uint64 `json:"received"`
	Forwarded uint64 `json:"forwarded"`
	Queued    uint64 `json:"queued"`
	// Lost were lost and Duplicated sent twice by the law, Cut met a cut link, Overflowed a full queue, and Refused were not taken by
	// the receiver: its interface is down, or nobody listens.
	Lost       uint64 `json:"lost"`
	Duplicated uint64 `json:"duplicated"`
	Cut        uint64 `json:"cut"`
	Overflowed uint64 `json:"overflowed"`
	Refused    uint64 `json:"refused"`
	// Late were handed over more than LateAfter after the law's time; the worst of all was WorstLateS seconds late.
	Late       uint64  `json:"late"`
	WorstLateS float64 `json:"worst_late_s"`
}

// LateAfter is how much later than its law says a packet may be handed over without being counted as late.
const LateAfter = 250 * time.Microsecond

func (c *Counters) add(x Counters) {
	c.Received, c.Forwarded, c.Queued = c.Received+x.Received, c.Forwarded+x.Forwarded, c.Queued+x.Queued
	c.Lost, c.Duplicated, c.Cut = c.Lost+x.Lost, c.Duplicated+x.Duplicated, c.Cut+x.Cut
	c.Overflowed, c.Refused, c.Late = c.Overflowed+x.Overflowed, c.Refused+x.Refused, c.Late+x.Late
	c.WorstLateS = max(c.WorstLateS, x.WorstLateS)
}

// link is one direction between two hosts. What is not atomic belongs to the engine's goroutine.
type link struct {
	from, to int
	law      atomic.Pointer[Law]
	cut      atomic.Bool

	rng  *rand.Rand
	last int64 // when the last packet is due, for ordered links

	received, forwarded, lost, duplicated, cutOff, overflowed, refused, late atomic.Uint64
	queued, worst                                                            atomic.Int64
}

func newLink(seed, from, to uint64) *link {
	l := &link{from: int(from), to: int(to), rng: rand.New(rand.NewPCG(seed, from<<32|to))}
	l.law.Store(&Law{})
	return l
}

func (l *link) counters() Counters {
	return Counters{
		Received: l.received.Load(), Forwarded: l.forwarded.Load(), Queued: uint64(max(l.queued.Load(), 0)), Lost: l.lost.Load(),
		Duplicated: l.duplicated.Load(), Cut: l.cutOff.Load(), Overflowed: l.overflowed.Load(), Refused: l.refused.Load(), Late: l.late.Load(),
		WorstLateS: float64(l.worst.Load()) / 1e9,
	}
}

// transit says when a packet that was taken at t is due: never, once or twice. Times are nanoseconds.
func (l *link) transit(t, overhead int64) (due [2]int64, n int) {
	l.received.Add(1)
	law := l.law.Load()
	// Always as many draws, so that one setting does not move what the others do.
	wait, lost, twice := law.Delay.Draw(l.rng), l.rng.Float64() < law.Loss, l.rng.Float64() < law.Duplicate
	switch {
	case l.cut.Load():
		l.cutOff.Add(1)
		return due, 0
	case lost:
		l.lost.Add(1)
		return due, 0
	}
	due[0], n = t+max(nanoseconds(wait)+int64(law.Added)-overhead, 0), 1
	if law.Ordered {
		due[0] = max(due[0], l.last)
	}
	l.last = due[0]
	if twice {
		l.duplicated.Add(1)
		due[1], n = t+max(nanoseconds(law.Delay.Draw(l.rng))+int64(law.Added)-overhead, 0), 2
	}
	return due, n
}

func nanoseconds(s float64) int64 { return int64(math.Round(s * 1e9)) }

// Links are all directions between n hosts, which are numbered from 0. Its methods may be called at any time from any goroutine. A
// packet meets the law and the cut that are in force when it leaves its sender; one that is under way arrives.
type Links struct {
	n     int
	links []*link
}

func newLinks(n int, seed uint64) *Links {
	s := &Links{n: n}
	for from := range n {
		for to := range n {
			s.links = append(s.links, newLink(seed, uint64(from), uint64(to)))
		}
	}
	return s
}

// Hosts returns n.
func (s *Links) Hosts() int { return s.n }

func (s *Links) known(host int) bool { return host >= 0 && host < s.n }

func (s *Links) link(from, to int) *link { return s.links[from*s.n+to] }

// Set gives the direction from one host to another its law.
func (s *Links) Set(from, to int, law Law) error {
	if !s.known(from) || !s.known(to) {
		return fmt.Errorf("network: there is no link from host %d to host %d: hosts are numbered from 0 to %d", from, to, s.n-1)
	}
	if err := law.Check(); err != nil {
		return err
	}
	s.link(from, to).law.Store(&law)
	return nil
}

// SetAll gives all directions the same law.
func (s *Links) SetAll(law Law) error {
	if err := law.Check(); err != nil {
		return err
	}
	for _, l := range s.links {
		l.law.Store(&law)
	}
	return nil
}

// Law returns a direction's law.
func (s *Links) Law(from, to int) Law {
	if !s.known(from) || !s.known(to) {
		return Law{}
	}
	return *s.link(from, to).law.Load()
}

// Cut cuts one direction or mends it.
func (s *Links) Cut(from, to int, cut bool) error {
	if !s.known(from) || !s.known(to) {
		return fmt.Errorf("network: there is no link from host %d to host %d: hosts are numbered from 0 to %d", from, to, s.n-1)
	}
	s.link(from, to).cut.Store(cut)
	return nil
}

// Partition cuts the network into groups of hosts, and mends all other links: packets between hosts of different groups are lost.
// Hosts in no group form one more. Without groups the network is whole again.
func (s *Links) Partition(groups ...[]int) error {
	group := make([]int, s.n)
	var errs []error
	for g, members := range groups {
		for _, i := range members {
			switch {
			case !s.known(i):
				errs = append(errs, fmt.Errorf("network: there is no host %d to partition: hosts are numbered from 0 to %d", i, s.n-1))
			case group[i] != 0:
				errs = append(errs, fmt.Errorf("network: host %d is in two groups of the partition", i))
			default:
				group[i] = g + 1
			}
		}
	}
	if errs != nil {
		return errors.Join(errs...)
	}
	for from := range s.n {
		for to := range s.n {
			s.link(from, to).cut.Store(group[from] != group[to])
		}
	}
	return nil
}

// Counters returns what became of the packets of a direction.
func (s *Links) Counters(from, to int) Counters {
	if !s.known(from) || !s.known(to) {
		return Counters{}
	}
	return s.link(from, to).counters()
}

// Total returns the sum over all directions.
func (s *Links) Total() Counters {
	var c Counters
	for _, l := range s.links {
		c.add(l.counters())
	}
	return c
}
