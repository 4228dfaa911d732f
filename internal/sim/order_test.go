package sim

import (
	"testing"

	"github.com/clockd/clockd/order"
	"github.com/clockd/clockd/virtualclock"
)

// source is a simulated host's clock, as package order reads it: what the daemon's own core has published, at this instant.
type source struct{ h *Host }

func (s source) Now() virtualclock.Interval {
	if !s.h.Published {
		return virtualclock.Interval{}
	}
	return s.h.Publication.Clock.Interval(s.h.Reading(s.h.world.Now()))
}

// TestOrderInSimulation: package order runs on the core's clocks in the simulation. What it says of two hosts' events is true, it
// cannot tell of events that are closer than the clocks know, and before the clocks are synchronised it refuses.
func TestOrderInSimulation(t *testing.T) {
	s, err := Load("many_clients")
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.Build(11)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Run(10 * Millisecond); err != nil { // the nodes are started, and nothing is known yet
		t.Fatal(err)
	}
	var clocks []source
	for _, h := range w.hosts {
		if h.Node != nil && !h.serve && len(clocks) < 3 {
			clocks = append(clocks, source{h})
		}
	}
	var stampers []*order.Stamper
	for i, c := range clocks {
		stampers = append(stampers, order.NewStamper(c, 0, order.Node(i)))
	}
	if len(stampers) != 3 {
		t.Fatalf("there are %d clients", len(stampers))
	}
	if _, err := stampers[0].Stamp(); err == nil {
		t.Error("an event was stamped before the clock was synchronised")
	}
	count := map[order.Relation]int{}
	var last virtualclock.Interval
	at := 30 * Second
	for i := range 600 {
		// A microsecond to ten milliseconds between events: the clocks know some hundred microseconds.
		at += Microsecond << (i % 14)
		if err := w.Run(at); err != nil {
			t.Fatal(err)
		}
		c := clocks[i%len(clocks)]
		if _, err := stampers[i%len(clocks)].Stamp(); err != nil {
			t.Fatalf("event %d: %v", i, err)
		}
		now := c.Now()
		if i > 0 {
			count[order.Compare(last, now)]++
		}
		last = now
	}
	if count[order.After] != 0 {
		t.Errorf("%d events are said to be before an earlier one", count[order.After])
	}
	if count[order.Before] == 0 || count[order.CannotTell] == 0 {
		t.Errorf("%v: both answers are to be had here", count)
	}
}
