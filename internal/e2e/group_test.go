package e2e

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/internal/lab/network"
	"github.com/clockd/clockd/internal/lab/observer"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// The group of the test. A busy machine makes round trips longer by milliseconds and rounds late by tens of them: the limits are
// such that this costs rounds now and then, and never the truth.
const (
	members     = 7
	groupPeriod = 800 * time.Millisecond
	groupFixed  = "period = \"800ms\"\nreading_error = \"5ms\"\npoll = \"100ms\"\ntimeout = \"90ms\"\ndrift_bound = \"400ppm\"\n"
	slowLink    = 50 * time.Millisecond
)

// groupWatch is what the observer has found.
type groupWatch struct {
	stop chan struct{}
	done sync.WaitGroup

	mu         sync.Mutex
	phase      string
	promise    float64 // π_v, 0 while the group has not formed
	violations []string
	phases     map[string]*groupPhase
	order      []string
	last       []observer.Look
}

// groupPhase is what was seen in one phase.
type groupPhase struct {
	pairs, holdovers             uint64
	apart, allowed, synchronised float64 // the largest distance of any pair and what it claimed, and of two that are synchronised
}

// watchGroup looks at all hosts until the test ends.
func watchGroup(t *testing.T, base hw.Counter, pages []observer.Page) *groupWatch {
	t.Helper()
	w := &groupWatch{stop: make(chan struct{}), phases: map[string]*groupPhase{}, last: make([]observer.Look, len(pages))}
	w.enter("forming")
	o := observer.New(base, pages...)
	w.done.Go(func() {
		for {
			select {
			case <-w.stop:
				return
			case <-time.After(4 * time.Millisecond):
				o.Observe(w.visit)
			}
		}
	})
	t.Cleanup(w.end)
	return w
}

func (w *groupWatch) end() {
	select {
	case <-w.stop:
	default:
		close(w.stop)
	}
	w.done.Wait()
}

func (w *groupWatch) enter(phase string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.phase = phase
	w.order = append(w.order, phase)
	w.phases[phase] = &groupPhase{}
}

func (w *groupWatch) promised(precision float64) {
	w.mu.Lock()
	w.promise = precision
	w.mu.Unlock()
}

func (w *groupWatch) complain(format string, a ...any) {
	if len(w.violations) < 20 {
		w.violations = append(w.violations, w.phase+": "+fmt.Sprintf(format, a...))
	}
}

// visit checks every pair: a common point, the distance that the two claim, and the precision that was promised.
func (w *groupWatch) visit(s *observer.Sample) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.phases[w.phase]
	for i := range s.Looks {
		a := &s.Looks[i]
		if a.Sound() && a.Kind != virtualclock.Internal {
			w.complain("h%d has an interval of kind %v", i+1, a.Kind)
		}
		if a.Sound() && a.Status == virtualclock.Holdover {
			p.holdovers++
		}
		if before := &w.last[i]; s.Changing < 0 {
			if a.Sound() && before.Sound() && a.Epoch == before.Epoch && a.Time.Before(before.Time) {
				w.complain("the clock of h%d went back by %.9f s", i+1, before.Time.Seconds(a.Time))
			}
			*before = *a
		}
		for j := range s.Looks[:i] {
			b := &s.Looks[j]
			pair, ok := observer.Compare(a, b)
			if !ok {
				continue
			}
			p.pairs++
			apart := math.Abs(pair.Apart)
			if apart > p.apart {
				p.apart, p.allowed = apart, pair.Allowed
			}
			if pair.Gap > 0 {
				w.complain("the intervals of h%d (%v) and h%d (%v) miss each other by %.9f s", i+1, a.Status, j+1, b.Status, pair.Gap)
			}
			if apart > pair.Allowed {
				w.complain("h%d (%v) and h%d (%v) are %.9f s apart and claim %.9f", i+1, a.Status, j+1, b.Status, apart, pair.Allowed)
			}
			if a.Status == virtualclock.Synchronised && b.Status == virtualclock.Synchronised && w.promise > 0 {
				if p.synchronised = max(p.synchronised, apart); apart > w.promise {
					w.complain("h%d and h%d are synchronised and %.9f s apart, promised is %.9f", i+1, j+1, apart, w.promise)
				}
			}
		}
	}
}

// report ends the watch and says what it has seen.
func (w *groupWatch) report(t *testing.T) {
	t.Helper()
	w.end()
	for _, name := range w.order {
		p := w.phases[name]
		t.Logf("%-10s %7d pairs, %6d looks in holdover; at most %.1f µs apart (claimed %.1f), %.1f of two that are synchronised (promised %.0f)",
			name, p.pairs, p.holdovers, p.apart*1e6, p.allowed*1e6, p.synchronised*1e6, w.promise*1e6)
		if name != "forming" && p.pairs < 500 {
			t.Errorf("%s: only %d pairs of sound clocks were seen", name, p.pairs)
		}
	}
	for _, v := range w.violations {
		t.Error(v)
	}
}

// groupPlan is where the members of a group are.
type groupPlan struct {
	// wrap starts a program where member i is; listen is where it answers; reach is where member i asks member j.
	wrap   func(i int) []string
	listen func(i int) string
	reach  func(i, j int) string
}

// inNamespaces is the plan of a group in network namespaces.
func inNamespaces(t *testing.T, net *testkit.Net) groupPlan {
	t.Helper()
	ip := testkit.RequireTool(t, "ip")
	return groupPlan{
		wrap:   func(i int) []string { return []string{ip, "netns", "exec", net.Hosts[i].Name} },
		listen: func(i int) string { return net.Hosts[i].Address.String() + ":123" },
		reach:  func(_, j int) string { return net.Hosts[j].Address.String() + ":123" },
	}
}

// groupHosts makes n members with their keys and their wrong counters, which are images of base.
func groupHosts(t *testing.T, n int, plan groupPlan, base hw.Counter) []*host {
	t.Helper()
	var hosts []*host
	var publics []string
	for i := range n {
		h := newHost(t)
		h.wrap = plan.wrap(i)
		key := h.command("keygen", "--out", filepath.Join(h.dir, "identity"))
		if key.code != exitOK {
			t.Fatalf("clockd keygen: %s%s", key.out, key.err)
		}
		hosts, publics = append(hosts, h), append(publics, strings.TrimSpace(key.out))
	}
	for i, h := range hosts {
		c, err := hw.NewSkewed(base, hw.Skew{
			Seed: uint64(i), PPM: float64(20*i - 60), WalkPerRootSecond: 2e-8, Sine: hw.Sine{PPM: 3, PeriodSeconds: 20, PhaseTurns: float64(i) / members},
			LimitPPM: 90, Start: base.Read(), Origin: hw.Ticks(1+i) * 1e12,
		})
		if err != nil {
			t.Fatal(err)
		}
		parts := []string{
			"[clock]\nmax_bound = \"1s\"\n",
			fmt.Sprintf("[counter]\nsource = %q\ndrift_bound = \"100ppm\"\n[identity]\nkey_file = %q\n", c.Spec(), filepath.Join(h.dir, "identity")),
			listening(plan.listen(i)), "[agreement]\n" + groupFixed,
		}
		for j := range hosts {
			if j != i {
				parts = append(parts, fmt.Sprintf("[[peer]]\nname = \"h%d\"\naddress = %q\npublic_key = %q\n", j+1, plan.reach(i, j), publics[j]))
			}
		}
		h.configure(parts...)
	}
	return hosts
}

// openGroup starts the members and watches them on the counter that all of theirs are images of, until all are synchronised and what
// is promised holds.
func openGroup(t *testing.T, hosts []*host, base hw.Counter) *groupWatch {
	t.Helper()
	var pages []observer.Page
	for _, h := range hosts {
		h.start()
	}
	for _, h := range hosts {
		h.up()
		page, err := virtualclock.OpenPage(h.page)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = page.Close() })
		pages = append(pages, page)
	}
	w := watchGroup(t, base, pages)
	for _, h := range hosts {
		h.reach(virtualclock.Synchronised)
	}
	p := hosts[0].peers().PrecisionBoundS
	if p == nil {
		t.Fatal("no precision is promised")
	}
	rest(2) // a group that has just formed promises from the second round on
	w.promised(*p)
	return w
}

// closeGroup ends the watch and the members.
func closeGroup(t *testing.T, w *groupWatch, hosts []*host) {
	t.Helper()
	w.report(t)
	for i, h := range hosts {
		t.Logf("h%d: %s", i+1, usage(h.PID()))
		h.terminate()
	}
}

// peers returns the host's group.
func (h *host) peers() control.Group {
	h.t.Helper()
	var g control.Group
	if err := control.Call(context.Background(), h.control, control.CommandPeers, &g); err != nil {
		h.t.Fatal(err)
	}
	return g
}

// judges says what the host thinks of its peer.
func (h *host) judges(name string) control.Peer { h.t.Helper(); return peerNamed(h.t, h.peers(), name) }

func peerNamed(t *testing.T, g control.Group, name string) control.Peer {
	t.Helper()
	for _, p := range g.Peers {
		if p.Name == name {
			return p
		}
	}
	t.Fatalf("%s is not among the peers", name)
	return control.Peer{}
}

// rest lets a number of rounds pass.
func rest(rounds int) { time.Sleep(time.Duration(rounds) * groupPeriod) }

// epochs returns how often each host's clock was set.
func epochs(hosts []*host) (e []virtualclock.Epoch) {
	for _, h := range hosts {
		e = append(e, h.status().Epoch)
	}
	return e
}

// TestGroupThroughItsTroubles: seven daemons with keys and wrong counters agree in network namespaces; the group is cut in two, a
// member is killed and returns, another's packets are late. Whatever is claimed meanwhile is true on the counter that all of theirs
// are images of.
func TestGroupThroughItsTroubles(t *testing.T) {
	net := testkit.NamespaceNet(t, members)
	testkit.RequireTool(t, "nft")
	testkit.RequireTUN(t)
	base, err := hw.Open("auto")
	if err != nil {
		t.Fatal(err)
	}
	var cable *network.Cable
	net.Hosts[members-1].Rewire(func(bridge, name, host string) error {
		var err error
		cable, err = network.NewCable(network.End{Namespace: host, Interface: "eth0"}, network.End{Namespace: bridge, Interface: name},
			network.Options{Seed: 1, RealTime: true})
		return err
	})
	defer func() { _ = cable.Close() }()
	hosts := groupHosts(t, members, inNamespaces(t, net), base)
	w := openGroup(t, hosts, base)
	w.enter("together")
	rest(4)
	testPartition(t, w, net, hosts)
	testKill(t, w, hosts)
	testSlowLink(t, w, cable, hosts)
	closeGroup(t, w, hosts)
}

// testPartition: the minority holds over and is let in again, and nobody of the majority is set.
func testPartition(t *testing.T, w *groupWatch, net *testkit.Net, hosts []*host) {
	t.Helper()
	minority, majority := hosts[:2], hosts[2:]
	before := epochs(majority)
	w.enter("cut")
	net.Partition([]int{0, 1})
	for _, h := range minority {
		s := h.reach(virtualclock.Holdover)
		if s.Reason == reason.OK {
			t.Error("the minority is in holdover without a reason")
		}
	}
	counted := hosts[2].peers().Rounds
	rest(6)
	for i, h := range majority {
		// A round may be missed on a busy machine, but the five go on by themselves.
		h.reach(virtualclock.Synchronised)
		if p := h.judges("h1"); p.Used || p.Reason == reason.OK {
			t.Errorf("h%d uses h1, which is cut off (reason %v)", i+3, p.Reason)
		}
	}
	if now := hosts[2].peers().Rounds; now <= counted {
		t.Errorf("the majority has made no round since: %d and %d", counted, now)
	}
	for i, h := range minority {
		if s := h.status(); s.Status == virtualclock.Synchronised {
			t.Errorf("h%d is one of two of seven and is synchronised", i+1)
		}
	}
	w.enter("healed")
	net.Heal()
	for _, h := range hosts {
		h.reach(virtualclock.Synchronised)
	}
	rest(2)
	sameEpochs(t, "the minority came back", majority, before)
}

// testKill: a member dies without a word and comes back.
func testKill(t *testing.T, w *groupWatch, hosts []*host) {
	t.Helper()
	others, victim := append(append([]*host{}, hosts[:2]...), hosts[3:]...), hosts[2]
	before := epochs(others)
	w.enter("killed")
	victim.Kill()
	others[0].await("the dead member to be missed", func() bool { p := others[0].judges("h3"); return !p.Used && p.Reason != reason.OK })
	rest(2)
	w.enter("restarted")
	victim.run()
	victim.reach(virtualclock.Synchronised)
	for _, h := range others {
		h.await("the member to be believed again", func() bool { return h.judges("h3").Used })
		h.reach(virtualclock.Synchronised)
	}
	sameEpochs(t, "a member was killed and came back", others, before)
}

// testSlowLink: what a member sends is late by 50 ms. Nobody can know which way: it cannot be read well enough any more, nor can it
// read the others.
func testSlowLink(t *testing.T, w *groupWatch, cable *network.Cable, hosts []*host) {
	t.Helper()
	others, slow := hosts[:members-1], hosts[members-1]
	before := epochs(others)
	w.enter("slow")
	if err := cable.Set(0, 1, network.Law{Added: slowLink}); err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("h%d", members)
	// What was read before stays true and grows with the drift that counters may have, so this takes some rounds.
	for _, h := range others {
		h.await("the slow member to be named", func() bool {
			p := h.judges(name)
			return p.Reason == reason.PeerTooWide || p.Reason == reason.PeerSilent || p.Reason == reason.PacketLate
		})
	}
	s := slow.reach(virtualclock.Holdover)
	var g control.Group
	others[0].commandJSON(exitOK, &g, "peers")
	if p := peerNamed(t, g, name); p.Reason == reason.OK || p.Explanation == "" {
		t.Errorf("clockd peers --json does not name the slow member: %+v", p)
	} else {
		t.Logf("h1 says of %s: %v; it says of itself: %v, %v", name, p.Reason, s.Status, s.Reason)
	}
	rest(5)
	w.enter("quick")
	if err := cable.Set(0, 1, network.Law{}); err != nil {
		t.Fatal(err)
	}
	for _, h := range hosts {
		h.reach(virtualclock.Synchronised)
	}
	others[0].await("the member to be used again", func() bool { return others[0].judges(name).Used })
	sameEpochs(t, "a member's packets were late", others, before)
	if c := cable.Counters(0, 1); c.Forwarded == 0 || c.Lost+c.Cut+c.Overflowed > 0 {
		t.Errorf("the emulated cable: %+v", c)
	}
}

func sameEpochs(t *testing.T, event string, hosts []*host, before []virtualclock.Epoch) {
	t.Helper()
	for i, e := range epochs(hosts) {
		if e != before[i] {
			t.Errorf("%s, and the clock of another member was set: epoch %d, %d before", event, e, before[i])
		}
	}
}

// usage is what a process has used, for people.
func usage(pid int) string {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	var words []string
	for _, line := range strings.Split(string(status), "\n") {
		if strings.HasPrefix(line, "VmRSS") || strings.HasPrefix(line, "Threads") {
			words = append(words, strings.Join(strings.Fields(line), " "))
		}
	}
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if _, rest, ok := strings.Cut(string(stat), ") "); ok {
		if f := strings.Fields(rest); len(f) > 12 {
			words = append(words, "user and system ticks of 10 ms: "+f[11]+" + "+f[12])
		}
	}
	return strings.Join(words, ", ")
}
