package e2e

import (
	"testing"
	"time"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/delay"
	"github.com/clockd/clockd/internal/lab/network"
	"github.com/clockd/clockd/virtualclock"
)

// TestGroupThroughRelays: the same without root. Four daemons on loopback reach each other through relays with delays that differ
// by direction, with loss, duplicates and reordering; one is cut off and comes back.
func TestGroupThroughRelays(t *testing.T) {
	const n = 4
	base, err := hw.Open("auto")
	if err != nil {
		t.Fatal(err)
	}
	net, err := network.NewLoopback(n, network.Options{Seed: 7})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = net.Close() }()
	law, err := delay.Parse("uniform(150us, 250us) + 1% exp(1ms)")
	if err != nil {
		t.Fatal(err)
	}
	if err := net.SetAll(network.Law{Delay: law, Loss: 0.02, Duplicate: 0.02}); err != nil {
		t.Fatal(err)
	}
	if err := net.Set(0, 1, network.Law{Delay: law, Added: time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	var servers [n]string
	for i := range n {
		servers[i] = freeAddress(t, 1)
	}
	hosts := groupHosts(t, n, groupPlan{
		wrap:   func(int) []string { return nil },
		listen: func(i int) string { return servers[i] },
		reach: func(i, j int) string {
			at, err := net.Relay(i, j, mustParse(t, servers[j]))
			if err != nil {
				t.Fatal(err)
			}
			return at.String()
		},
	}, base)
	w := openGroup(t, hosts, base)
	w.enter("together")
	rest(3)
	// The delay that two directions have more or less of is in the round trip, and no more than that is known.
	if p := hosts[0].judges("h2"); p.DelayS == nil || *p.DelayS < 1.3e-3 || p.ErrorS == nil {
		t.Errorf("h1 measures h2 through links of 1.3 ms at least: %+v", p)
	}
	before := epochs(hosts[1:])
	w.enter("cut")
	if err := net.Partition([]int{0}); err != nil {
		t.Fatal(err)
	}
	hosts[0].reach(virtualclock.Holdover)
	rest(3)
	if err := net.Partition(); err != nil {
		t.Fatal(err)
	}
	for _, h := range hosts {
		h.reach(virtualclock.Synchronised)
	}
	sameEpochs(t, "a member came back", hosts[1:], before)
	if c := net.Total(); c.Lost == 0 || c.Duplicated == 0 || c.Cut == 0 || c.Forwarded < 500 {
		t.Errorf("the network: %+v", c)
	}
	closeGroup(t, w, hosts)
}
