package sim

import (
	"testing"
	"time"

	"github.com/clockd/clockd/internal/node"
	"github.com/clockd/clockd/virtualclock"
)

func mustDelay(t testing.TB, text string) Delay {
	t.Helper()
	d, err := ParseDelay(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func testEpoch() virtualclock.Time {
	return virtualclock.FromTime(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
}

// pair is a world of one master and one client that polls once a second.
type pair struct {
	world          *World
	master, client *Host
	link           *Link
}

// newPair makes the pair and starts the client; change may alter everything before.
func newPair(t testing.TB, seed uint64, change func(m *Master, h *HostConfig, p *PathConfig, c *ClientConfig)) *pair {
	t.Helper()
	m := &Master{Turnaround: Constant(20e-6)}
	h := HostConfig{Name: "client", Start: 1 << 40}
	p := PathConfig{Delay: mustDelay(t, "50us + exp(10us)")}
	c := ClientConfig{Poll: 1, Timeout: 0.2}
	if change != nil {
		change(m, &h, &p, &c)
	}
	w := NewWorld(seed, testEpoch())
	w.Sample = 100 * Millisecond
	x := &pair{world: w}
	var err error
	if x.master, err = w.AddHost(HostConfig{Name: "master", Master: m}); err != nil {
		t.Fatal(err)
	}
	if x.client, err = w.AddHost(h); err != nil {
		t.Fatal(err)
	}
	to, errTo := w.NewPath(p, "to")
	from, errFrom := w.NewPath(p, "from")
	if errTo != nil || errFrom != nil {
		t.Fatal(errTo, errFrom)
	}
	if x.link, err = w.Connect(x.client, 1, x.master, to, from); err != nil {
		t.Fatal(err)
	}
	if err := x.client.Start(c.Node([]*Host{x.master}), 0); err != nil {
		t.Fatal(err)
	}
	return x
}

func (x *pair) run(t testing.TB, seconds float64) {
	t.Helper()
	if err := x.world.Run(x.world.Now() + Seconds(seconds)); err != nil {
		t.Fatal(err)
	}
}

func (x *pair) source() node.SourceStatus {
	return x.client.Node.Snapshot(x.client.Reading(x.world.Now())).Sources[0]
}
