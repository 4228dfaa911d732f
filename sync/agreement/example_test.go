package agreement_test

import (
	"fmt"
	"time"

	"github.com/clockd/clockd/sync/agreement"
	"github.com/clockd/clockd/virtualclock"
)

// Five members that may be read within 100 µs, one of which may lie.
func ExampleBounds() {
	g, err := agreement.Bounds(agreement.Model{
		Members: 5, Faults: 1, ReadingError: 100e-6, Drift: 50e-6, Period: 1, Slew: 0.5,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("after a round within %.0f µs, before one within %.0f µs, readers within %.0f µs\n", g.Convergence*1e6, g.Spread*1e6, g.Precision*1e6)
	// Output: after a round within 500 µs, before one within 600 µs, readers within 750 µs
}

// The life of a member: states come in, rounds are made when they are due, readers ask for the interval.
func ExampleGroup() {
	now := virtualclock.Unix(1_764_000_000_000_000_000, 0)
	g, err := agreement.New(agreement.Config{
		Members: 4, Faults: 1, Period: time.Second, Drift: 50e-6, RateLimit: 50e-6, ReadingError: 200e-6, PublicationDelay: 0.2, Slew: 0.4,
	}, 12345, now, now)
	if err != nil {
		fmt.Println(err)
		return
	}
	// With every packet: g.Receive(raw, peer, &state), and publish *g.State(). At g.Due():
	o := g.Round(g.Due(), make([]agreement.Reading, 3), agreement.External{})
	fmt.Println(o.Kind, o.Status, o.Reason)
	fmt.Println(g.Interval(g.Due()).Status)
	// Output:
	// idle init group forming: the group has not agreed on a time yet
	// unsynchronised
}
