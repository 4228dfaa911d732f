package daemon

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/internal/daemon/eventlog"
	"github.com/clockd/clockd/internal/keys"
	"github.com/clockd/clockd/internal/peerwire"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// crowd is the members of a group on loopback, before they are started.
type crowd struct {
	t       *testing.T
	dirs    []string
	publics []keys.PublicKey
	ports   []int
}

func newCrowd(t *testing.T, n int) *crowd {
	t.Helper()
	c := &crowd{t: t}
	for range n {
		identity, err := keys.Generate(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		if err := identity.Create(filepath.Join(dir, "identity")); err != nil {
			t.Fatal(err)
		}
		c.dirs, c.publics, c.ports = append(c.dirs, dir), append(c.publics, identity.Public()), append(c.ports, testkit.FreeUDPPort(t))
	}
	return c
}

// document is the configuration of member i; publics may be others than the true ones.
func (c *crowd) document(i int, publics []keys.PublicKey) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[identity]\nkey_file = %q\n[server]\nlisten = [\"127.0.0.1:%d\"]\nrate = 10000.0\nburst = 10000\n[agreement]\nperiod = \"400ms\"\nreading_error = \"4ms\"\n"+
		"drift_bound = \"200ppm\"\n", filepath.Join(c.dirs[i], "identity"), c.ports[i])
	for j := range c.ports {
		if j != i {
			fmt.Fprintf(&b, "[[peer]]\nname = \"h%d\"\naddress = \"127.0.0.1:%d\"\npublic_key = %q\n", j+1, c.ports[j], publics[j])
		}
	}
	return b.String()
}

func (c *crowd) launch(i int, publics []keys.PublicKey) *running {
	c.t.Helper()
	return launch(c.t, Options{Config: parse(c.t, c.dirs[i], c.document(i, publics)), Counter: skewed(c.t, float64(30*i-40))})
}

func group(t *testing.T, r *running) control.Group {
	t.Helper()
	var g control.Group
	if err := control.Call(context.Background(), r.config.Control.Path, control.CommandPeers, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

// TestPeersAgreeWithoutAMaster: four daemons with wrong counters, over real sockets with real keys.
func TestPeersAgreeWithoutAMaster(t *testing.T) {
	c := newCrowd(t, 4)
	var all []*running
	for i := range 4 {
		all = append(all, c.launch(i, c.publics))
	}
	for _, r := range all {
		r.reach(virtualclock.Synchronised)
	}
	var readers []*virtualclock.Reader
	for _, r := range all {
		reader, err := virtualclock.OpenPage(r.config.Page.Path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = reader.Close() }()
		readers = append(readers, reader)
	}
	compared, disjoint := 0, 0
	for range 200 {
		for i := range readers {
			j := (i + 1) % len(readers)
			before, middle, after := readers[i].Now(), readers[j].Now(), readers[i].Now()
			if !before.Sound() || !middle.Sound() || !after.Sound() || before.Epoch != after.Epoch {
				continue
			}
			compared++
			// What was read between two readings of i overlaps what i had at that moment, which is within both of them.
			if after.Latest.Before(middle.Earliest) || middle.Latest.Before(before.Earliest) {
				disjoint++
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	if disjoint > 0 || compared == 0 {
		t.Errorf("%d of %d pairs of intervals have no point in common", disjoint, compared)
	}
	for i, r := range all {
		s, g := r.status(), group(t, r)
		k, _ := readers[i].Coefficients()
		if s.Mode != "internal" || s.Kind != control.KindInternal || s.Stratum != nil || s.Group == nil || k.Kind != virtualclock.Internal {
			t.Errorf("h%d: mode %q, kind %q, stratum %v, on the page %v", i+1, s.Mode, s.Kind, s.Stratum, k.Kind)
		}
		if g.PrecisionBoundS == nil || g.Members != 4 || g.Faults != 1 || len(g.Peers) != 3 {
			t.Errorf("h%d: %+v", i+1, g)
		}
		if g.SpreadS != nil && g.PrecisionBoundS != nil {
			t.Logf("h%d: far edge %.0f µs, promised precision %.0f µs, %d rounds, %d skipped", i+1, *g.SpreadS*1e6, *g.PrecisionBoundS*1e6, g.Rounds, g.Skipped)
		}
		for _, p := range g.Peers {
			if p.Received == 0 || p.Status == nil || !strings.HasPrefix(p.Key, "identity clockd-public-1:") {
				t.Errorf("h%d: of %s %d answers were taken, key %q", i+1, p.Name, p.Received, p.Key)
			}
		}
	}
}

// TestPeerWithAnotherKeyIsRefused: who has not the key is not believed, and its requests get no answer, both with their reason.
func TestPeerWithAnotherKeyIsRefused(t *testing.T) {
	c := newCrowd(t, 2)
	stranger, err := keys.Generate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	honest := c.launch(0, c.publics)
	mistaken := c.launch(1, []keys.PublicKey{stranger.Public(), c.publics[1]})
	testkit.WaitFor(t, patience20, "requests to be refused", func() bool {
		return mistaken.status().Server.Rejected["request_authentication"] > 2 && honest.status().Server.Rejected["request_authentication"] > 2
	})
	for _, r := range []*running{honest, mistaken} {
		g, s := group(t, r), r.status()
		if s.Status.Sound() || g.Peers[0].Received != 0 || g.Peers[0].Reason == 0 || s.Server.Answers != 0 {
			t.Errorf("status %v, of the peer %d answers were taken (%v), %d given", s.Status, g.Peers[0].Received, g.Peers[0].Reason, s.Server.Answers)
		}
	}
}

// TestHostWithoutPeersHasNoGroup: the command says so.
func TestHostWithoutPeersHasNoGroup(t *testing.T) {
	r := launchReference(t, 0)
	var g control.Group
	err := control.Call(context.Background(), r.config.Control.Path, control.CommandPeers, &g)
	if err == nil || !strings.Contains(err.Error(), "[[peer]]") {
		t.Errorf("the answer is %v", err)
	}
	if s := r.status(); s.Group != nil || s.Kind != control.KindExternal {
		t.Errorf("kind %q, group %+v", s.Kind, s.Group)
	}
}

// TestGroupIsReplayed: a record of a host with peers is decided again as it was, and holds no key.
func TestGroupIsReplayed(t *testing.T) {
	c := newCrowd(t, 2)
	path := filepath.Join(t.TempDir(), "events")
	document := c.document(0, c.publics) + fmt.Sprintf("[log]\nevents = %q\n", path)
	recorded := launch(t, Options{Config: parse(t, c.dirs[0], document), Counter: skewed(t, 20)})
	other := c.launch(1, c.publics)
	recorded.reach(virtualclock.Synchronised)
	other.stop()
	recorded.reach(virtualclock.Holdover)
	recorded.stop()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	result, err := eventlog.Replay(f)
	if err != nil || result.Difference != nil || result.Events < 10 {
		t.Errorf("%v; after %d events: %v", err, result.Events, result.Difference)
	}
}

// TestALiarIsAltered: what a daemon with Options.Lie tells each of its peers is what Lie makes of it, and the others find it out; a peer
// that is to get no answer gets none; and Realtime is where the clocks begin.
func TestALiarIsAltered(t *testing.T) {
	c := newCrowd(t, 4)
	var lied [4]atomic.Uint64
	number := map[keys.PublicKey]int{}
	for i, p := range c.publics {
		number[p] = i
	}
	const ahead = 3 * time.Hour
	begin := virtualclock.FromTime(time.Now().Add(ahead))
	var all []*running
	for i := range 4 {
		o := Options{Config: parse(t, c.dirs[i], c.document(i, c.publics)), Counter: skewed(t, float64(30*i-40)),
			Realtime: func(hw.Ticks) virtualclock.Time { return begin }}
		if i == 3 {
			o.Lie = func(to keys.PublicKey, a *peerwire.Answer) bool {
				i, ok := number[to]
				if !ok || i == 3 {
					t.Errorf("a lie is told to %v, who is no peer", to)
					return true
				}
				lied[i].Add(1)
				a.State.Current.Base = a.State.Current.Base.AddSeconds(1)
				a.State.Previous.Base = a.State.Previous.Base.AddSeconds(1)
				return i != 0
			}
		}
		all = append(all, launch(t, o))
	}
	for _, r := range all[:3] {
		r.reach(virtualclock.Synchronised)
	}
	verdict := func(i int) reason.Code {
		for _, p := range group(t, all[i]).Peers {
			if p.Name == "h4" {
				return p.Reason
			}
		}
		return reason.OK
	}
	testkit.WaitFor(t, patience20, "the liar to be found out", func() bool {
		return verdict(0) == reason.PeerSilent && verdict(1) == reason.PeerOutlier && verdict(2) == reason.PeerOutlier
	})
	for i := range 3 {
		if lied[i].Load() == 0 {
			t.Errorf("h%d was told no lie", i+1)
		}
	}
	for _, p := range group(t, all[0]).Peers {
		if p.Name == "h4" && p.Received > 0 {
			t.Errorf("h1 took %d answers from the liar, which gave it none", p.Received)
		}
	}
	s := all[0].status()
	if off := time.Until(time.Unix(0, *s.TimeNS)) - ahead; off < -time.Minute || off > time.Minute {
		t.Errorf("the clocks are %v from where they were to begin", off)
	}
}
