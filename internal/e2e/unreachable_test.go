package e2e

import (
	"testing"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// TestPeerOutOfReach: the network says in its own words that a member cannot be reached (nobody has the address; no route, because
// the own interface is down). The member is named with that, is asked on as before and no oftener, and is back as soon as it can be.
func TestPeerOutOfReach(t *testing.T) {
	net := testkit.NamespaceNet(t, 4)
	base, err := hw.Open("auto")
	if err != nil {
		t.Fatal(err)
	}
	hosts := groupHosts(t, len(net.Hosts), inNamespaces(t, net), base)
	interfaceOf := func(i int, state string) {
		t.Helper()
		if out, err := net.Hosts[i].Command(testkit.RequireTool(t, "ip"), "link", "set", "eth0", state).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	interfaceOf(3, "down")
	for _, h := range hosts[:3] {
		h.run()
	}
	for _, h := range hosts[:3] {
		h.reach(virtualclock.Synchronised)
		h.await("the kernel to say that nobody has the address", func() bool {
			p := h.judges("h4")
			return p.Rejections[reason.SourceUnreachable.String()] > 0 && p.Reason == reason.SourceUnreachable && p.Received == 0
		})
	}
	hosts[3].run()
	alone := hosts[3]
	alone.await("no route to anybody", func() bool {
		unreachable := 0
		for _, p := range alone.peers().Peers {
			if p.Reason == reason.SourceUnreachable {
				unreachable++
			}
		}
		return unreachable == 3
	})
	if s := alone.status(); s.Status != virtualclock.Unsynchronised {
		t.Errorf("alone and %v", s.Status)
	}
	// How often it asks does not depend on what the network says.
	first := asked(alone.peers())
	rest(5)
	const fair = 3 * 5 * 8 // peers, periods, questions a period
	if more := asked(alone.peers()) - first; more > 3*fair {
		t.Errorf("%d requests in 5 rounds to peers out of reach, %d are fair", more, fair)
	}
	before := epochs(hosts[:3])
	interfaceOf(3, "up")
	for _, h := range hosts {
		h.reach(virtualclock.Synchronised)
		h.await("everybody to take part", func() bool {
			for _, p := range h.peers().Peers {
				if !p.Used {
					return false
				}
			}
			return true
		})
	}
	sameEpochs(t, "a member came into reach", hosts[:3], before)
	// Now a member of the group that has been heard.
	interfaceOf(0, "down")
	for _, h := range hosts[1:] {
		h.await("the member to be missed", func() bool { p := h.judges("h1"); return !p.Used && p.Reason != reason.OK })
	}
	if s := hosts[0].reach(virtualclock.Holdover); s.Reason == reason.OK {
		t.Error("in holdover without a reason")
	}
	interfaceOf(0, "up")
	for _, h := range hosts {
		h.reach(virtualclock.Synchronised)
	}
	for i, h := range hosts {
		t.Logf("h%d: %s", i+1, usage(h.PID()))
		h.terminate()
	}
}

func asked(g control.Group) (n uint64) {
	for _, p := range g.Peers {
		n += p.Sent
	}
	return n
}
