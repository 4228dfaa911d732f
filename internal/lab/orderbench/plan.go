package orderbench

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/clockd/clockd/internal/delay"
)

// The engines.
const (
	TSAB      = "tsab"
	Sequencer = "sequencer"
	RaftLog   = "raft-log"
	Hashicorp = "hashicorp-raft"
)

// AllEngines are their names.
func AllEngines() []string { return []string{TSAB, Sequencer, RaftLog, Hashicorp} }

// The origins: who broadcasts.
const (
	OriginAll      = "all"      // every member
	OriginLeader   = "leader"   // who orders; where nobody does, the leader of the views
	OriginFollower = "follower" // one of the others
)

// Link is a network that is emulated: the one-way delay between each two members.
type Link struct {
	Name   string
	Delays Delays // nil: loopback, nothing is emulated
}

// wan are the sides of the triangle, in seconds; further members are at its corners in turn.
var wan = [3][3]float64{{0.25e-3, 60e-3, 40e-3}, {60e-3, 0.25e-3, 30e-3}, {40e-3, 30e-3, 0.25e-3}}

// ParseLink is the link of that name for so many members: loopback, wan (a triangle of 30, 40 and 60 ms one way), or a constant delay such as 5ms.
func ParseLink(name string, members int) (Link, error) {
	l := Link{Name: name}
	if name == "loopback" {
		return l, nil
	}
	constant := 0.0
	if name != "wan" {
		var err error
		if constant, err = delay.ParseLength(name); err != nil || constant <= 0 || constant > 10 {
			return l, fmt.Errorf("--link %q: give loopback, wan, or a one-way delay of at most 10 s such as 50us or 5ms", name)
		}
	}
	for x := range members {
		row := make([]float64, members)
		for y := range members {
			if row[y] = constant; name == "wan" {
				row[y] = wan[x%3][y%3]
			}
		}
		l.Delays = append(l.Delays, row)
	}
	return l, nil
}

// Point is one measurement: its members are started for it, and end with it.
type Point struct {
	Engine      string
	Link        string
	Durability  string
	Nodes       int
	Size        int
	Outstanding int
	Origin      string
}

// Plan is what is measured: every combination of its lists, those of one kind after each other for each engine in turn, so that a machine that changes changes for
// all of them.
type Plan struct {
	Engines, Links, Durabilities, Origins []string
	Nodes, Sizes, Outstanding             []int
	// For is how long each is measured, after Warm.
	For, Warm time.Duration
	Repeat    int
	// Plain is without TLS for the engines that have it.
	Plain bool
	// Delta is time-triggered delivery, for tsab; Spread is by how much members' clocks differ.
	Delta, Spread time.Duration
}

// Check says what is wrong with a plan.
func (p *Plan) Check() error {
	for _, list := range []struct {
		flag       string
		given, all []string
	}{
		{"engine", p.Engines, AllEngines()}, {"durability", p.Durabilities, []string{"memory", "os", "fsync"}},
		{"origin", p.Origins, []string{OriginAll, OriginLeader, OriginFollower}},
	} {
		if len(list.given) == 0 {
			return fmt.Errorf("--%s is empty: give one or more of %s", list.flag, strings.Join(list.all, ", "))
		}
		for _, x := range list.given {
			if !slices.Contains(list.all, x) {
				return fmt.Errorf("--%s %q: give one or more of %s", list.flag, x, strings.Join(list.all, ", "))
			}
		}
	}
	for _, list := range []struct {
		flag        string
		given       []int
		least, most int
	}{{"nodes", p.Nodes, 1, 9}, {"size", p.Sizes, MinSize, 1 << 20}, {"outstanding", p.Outstanding, 1, 1 << 16}} {
		if len(list.given) == 0 {
			return fmt.Errorf("--%s is empty: give one or more numbers", list.flag)
		}
		for _, x := range list.given {
			if x < list.least || x > list.most {
				return fmt.Errorf("--%s %d: from %d to %d", list.flag, x, list.least, list.most)
			}
		}
	}
	for _, name := range p.Links {
		if _, err := ParseLink(name, 1); err != nil {
			return err
		}
	}
	return p.checkTimes()
}

func (p *Plan) checkTimes() error {
	switch {
	case len(p.Links) == 0:
		return fmt.Errorf("--link is empty: give loopback, wan, or a one-way delay")
	case p.For < 100*time.Millisecond || p.For > time.Hour:
		return fmt.Errorf("--for %v: from 100ms to 1h", p.For)
	case p.Warm < 0 || p.Warm > time.Minute:
		return fmt.Errorf("--warm %v: from 0 to 1m", p.Warm)
	case p.Repeat < 1 || p.Repeat > 100:
		return fmt.Errorf("--repeat %d: from 1 to 100", p.Repeat)
	case p.Delta < 0 || p.Delta > 10*time.Second:
		return fmt.Errorf("--delta %v: from 0 to 10s", p.Delta)
	case p.Delta > 0 && !slices.Equal(p.Engines, []string{TSAB}):
		return fmt.Errorf("--delta is what only tsab can do: add --engine tsab")
	case p.Spread < 0 || p.Spread > time.Second:
		return fmt.Errorf("--clock-spread %v: from 0 to 1s", p.Spread)
	}
	for _, o := range p.Origins {
		if slices.Contains(p.Nodes, 1) && o == OriginFollower {
			return fmt.Errorf("--origin follower: one node has no followers")
		}
	}
	return nil
}

// Points are the measurements, in order.
func (p *Plan) Points() []Point {
	var all []Point
	for range p.Repeat {
		for _, link := range p.Links {
			for _, durability := range p.Durabilities {
				for _, nodes := range p.Nodes {
					for _, size := range p.Sizes {
						for _, outstanding := range p.Outstanding {
							for _, origin := range p.Origins {
								for _, engine := range p.Engines {
									all = append(all, Point{engine, link, durability, nodes, size, outstanding, origin})
								}
							}
						}
					}
				}
			}
		}
	}
	return all
}
