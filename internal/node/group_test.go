package node

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/peerwire"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/agreement"
	"github.com/clockd/clockd/virtualclock"
)

func TestHonestGroupAgrees(t *testing.T) {
	for _, size := range []struct{ n, f int }{{2, 0}, {4, 1}, {7, 2}} {
		for _, spread := range []float64{0.001, 5000} {
			w := newTown(t, uint64(size.n), townConfig(size.n, size.f), 0)
			w.bootAll(spread)
			w.run(30)
			w.expect(virtualclock.Synchronised, w.hosts...)
			before := w.sound
			w.run(8)
			if w.sound == before {
				t.Errorf("n %d: nothing was compared", size.n)
			}
			for _, h := range w.hosts {
				if s := h.pub.Server; !h.pub.Internal || s.Stratum != 0 || s.Leap != 3 {
					t.Errorf("h%d pretends to know UTC: internal %v, %+v", h.id, h.pub.Internal, s)
				}
			}
			t.Logf("n %d f %d, %g s apart: worst %.1f µs, far edge %.1f µs, promised %.1f µs; %d checks", size.n, size.f, spread,
				w.worst*1e6, w.worstFar*1e6, w.promised*1e6, w.checks)
		}
	}
}

// lies are what liars do with their answers.
func lies(rng *rand.Rand) map[string]func(from, to *citizen, a *peerwire.Answer) bool {
	return map[string]func(from, to *citizen, a *peerwire.Answer) bool{
		"two-faced": func(_, to *citizen, a *peerwire.Answer) bool {
			x := 0.0006 * float64(2*(to.id%2)-1)
			a.State.Current.Base = a.State.Current.Base.AddSeconds(x)
			a.State.Previous.Base = a.State.Previous.Base.AddSeconds(x)
			return true
		},
		"two-faced counter": func(_, to *citizen, a *peerwire.Answer) bool {
			x := 0.0004 * float64(2*(to.id%2)-1)
			a.Receive, a.Transmit = a.Receive.AddSeconds(x), a.Transmit.AddSeconds(x)
			return true
		},
		"random": func(_, _ *citizen, a *peerwire.Answer) bool {
			a.State.Current.Base = a.State.Current.Base.AddSeconds(100 * rng.NormFloat64())
			a.State.Version += rng.Uint64N(3)
			a.Receive = a.Receive.AddSeconds(rng.NormFloat64())
			return true
		},
		"silent":  func(*citizen, *citizen, *peerwire.Answer) bool { return false },
		"restart": func(_, _ *citizen, a *peerwire.Answer) bool { a.State.Era = rng.Uint64() | 1; return true },
		"extreme": func(_, _ *citizen, a *peerwire.Answer) bool {
			a.State.Round, a.State.Version = math.MaxInt64, math.MaxUint64
			a.State.Current.Base, a.Receive, a.Transmit = virtualclock.MaxTime(), virtualclock.MinTime(), virtualclock.MaxTime()
			return true
		},
	}
}

func TestGroupWithLiarsHoldsItsPromise(t *testing.T) {
	for name := range lies(nil) {
		for _, size := range []struct{ n, f int }{{4, 1}, {7, 2}} {
			t.Run(fmt.Sprintf("%s/%d", name, size.n), func(t *testing.T) {
				w := newTown(t, 5, townConfig(size.n, size.f), size.f)
				w.lie = lies(w.rng)[name]
				w.bootAll(0.2)
				w.run(35)
				w.expect(virtualclock.Synchronised, w.judged()...)
				t.Logf("worst %.1f µs, far edge %.1f µs, promised %.1f µs; %d checks", w.worst*1e6, w.worstFar*1e6, w.promised*1e6, w.checks)
			})
		}
	}
}

// TestLiarsAreNamed: a proved outlier and a silent one are reported with their reasons, and in the snapshot.
func TestLiarsAreNamed(t *testing.T) {
	w := newTown(t, 6, townConfig(4, 1), 1)
	w.bootAll(0.01)
	w.run(40)
	w.lie = func(_, _ *citizen, a *peerwire.Answer) bool {
		a.Receive, a.Transmit = a.Receive.AddSeconds(0.02), a.Transmit.AddSeconds(0.02)
		return true
	}
	w.run(20)
	h := w.hosts[0]
	s := h.node.Snapshot(w.ticks(h))
	if s.Mode != "internal" || s.Group == nil || len(s.Group.Peers) != 3 || s.Group.Status != agreement.Sync {
		t.Fatalf("mode %q, group %+v", s.Mode, s.Group)
	}
	liar := s.Group.Peers[2]
	if liar.Name != "h4" || liar.Reason != reason.PeerOutlier {
		t.Errorf("the liar %s is called %v", liar.Name, liar.Reason)
	}
	for _, p := range s.Group.Peers[:2] {
		if p.Reason != reason.OK || !p.Verdict.Used {
			t.Errorf("the honest %s is called %v, used %v", p.Name, p.Reason, p.Verdict.Used)
		}
	}
	if g := s.Group; !(g.FarEdge > 0 && g.FarEdge < 0.01) || g.Precision != w.promised || g.Rounds == 0 {
		t.Errorf("far edge %g, precision %g (promised %g), %d rounds", g.FarEdge, g.Precision, w.promised, g.Rounds)
	}
	w.lie = lies(w.rng)["silent"]
	w.run(20)
	if p := h.node.Snapshot(w.ticks(h)).Group.Peers[2]; p.Reason == reason.OK {
		t.Errorf("the silent one is called %v", p.Reason)
	}
}

func TestKilledMemberReturns(t *testing.T) {
	w := newTown(t, 8, townConfig(4, 1), 0)
	w.bootAll(1)
	w.run(40)
	victim, others := w.hosts[1], []*citizen{w.hosts[0], w.hosts[2], w.hosts[3]}
	steps := others[0].node.Snapshot(w.ticks(others[0])).Steps
	w.kill(victim)
	w.run(15)
	w.expect(virtualclock.Synchronised, others...)
	w.boot(victim, -77)
	start := w.now
	for w.standing(victim) != virtualclock.Synchronised && w.now < start+20 {
		w.run(0.1)
	}
	t.Logf("it was back after %.1f s", w.now-start)
	if w.now > start+6 {
		t.Errorf("it took %.1f s", w.now-start)
	}
	w.run(10)
	w.expect(virtualclock.Synchronised, w.hosts...)
	if now := others[0].node.Snapshot(w.ticks(others[0])).Steps; now != steps {
		t.Errorf("the others stepped %d times when it left and came back", now-steps)
	}
}

func TestPartition(t *testing.T) {
	w := newTown(t, 9, townConfig(7, 2), 0)
	w.bootAll(0.01)
	w.run(40)
	minority, majority := w.hosts[:2], w.hosts[2:]
	w.cut = func(a, b *citizen) bool { return (a.id <= 2) != (b.id <= 2) }
	w.run(20)
	w.expect(virtualclock.Holdover, minority...)
	w.expect(virtualclock.Synchronised, majority...)
	w.run(30)
	w.expect(virtualclock.Holdover, minority...)
	w.cut = nil
	w.run(30)
	w.expect(virtualclock.Synchronised, w.hosts...)
}

// TestLatePackets: what a member sends is late by 20 ms one way, which nobody can know. Neither can it be read well enough any more
// nor can it read the others: it is named, and it says itself why it is in holdover. Nothing that was claimed is false.
func TestLatePackets(t *testing.T) {
	w := newTown(t, 11, townConfig(7, 2), 0)
	w.bootAll(0.01)
	w.run(40)
	slow, others := w.hosts[6], w.hosts[:6]
	w.slow = slow
	w.run(20)
	w.expect(virtualclock.Synchronised, others...)
	w.expect(virtualclock.Holdover, slow)
	if slow.pub.Reason != reason.ReadingsTooWide {
		t.Errorf("it is in holdover because of %v", slow.pub.Reason)
	}
	for _, h := range others {
		if p := h.node.Snapshot(w.ticks(h)).Group.Peers[5]; p.Name != "h7" || p.Reason != reason.PeerTooWide {
			t.Errorf("h%d calls %s %v", h.id, p.Name, p.Reason)
		}
	}
	w.slow = nil
	w.run(20)
	w.expect(virtualclock.Synchronised, w.hosts...)
}

// TestDisruptedMemberBeginsANewEra: after a suspend the counter has lost time; what the peers measured of it is void.
func TestDisruptedMemberBeginsANewEra(t *testing.T) {
	w := newTown(t, 10, townConfig(4, 1), 0)
	w.bootAll(0.01)
	w.run(40)
	h := w.hosts[2]
	era := h.stamper.State.Era
	h.base = h.base.Add(-3 * stageHertz / 2)
	h.old, h.shown = nil, virtualclock.MinTime()
	for h.node.now.Sub(w.ticks(h)) > 0 { // readings never go back
		h.base = h.base.Add(4 * stageHertz)
	}
	w.step(h, Event{Kind: EventDisruption, Reason: reason.HostSuspended})
	w.expect(virtualclock.Disrupted, h)
	w.run(15)
	w.expect(virtualclock.Synchronised, w.hosts...)
	if h.stamper.State.Era == era {
		t.Error("the era is the old one")
	}
}

// TestUnauthenticatedAnswersAreRefused, with a reason, and nobody is believed.
func TestUnauthenticatedAnswersAreRefused(t *testing.T) {
	w := newTown(t, 12, townConfig(4, 1), 0)
	w.forged = true
	w.bootAll(0.01)
	w.run(10)
	w.expect(virtualclock.Unsynchronised, w.hosts...)
	for _, p := range w.hosts[0].node.Snapshot(w.ticks(w.hosts[0])).Group.Peers {
		if p.Reason != reason.PacketAuthentication || p.Received != 0 || p.Sent == 0 {
			t.Errorf("%s: %v, received %d of %d", p.Name, p.Reason, p.Received, p.Sent)
		}
	}
}

// TestGroupIsAFunctionOfItsEvents: a node with peers is a function of its events, as they are written to the event log.
func TestGroupIsAFunctionOfItsEvents(t *testing.T) {
	record := func() (out []byte, configured Config, events []Event) {
		w := newTown(t, 13, townConfig(4, 1), 1)
		w.lie = lies(w.rng)["two-faced"]
		w.watch = w.hosts[0]
		w.bootAll(0.01)
		w.run(15)
		return w.actions, w.hosts[0].config, w.events
	}
	first, config, events := record()
	if second, _, _ := record(); !bytes.Equal(first, second) || len(first) == 0 {
		t.Fatalf("two runs of one seed differ (%d and %d bytes)", len(first), len(second))
	}
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	var again Config
	if err := json.Unmarshal(text, &again); err != nil {
		t.Fatal(err)
	}
	n, err := New(again)
	if err != nil {
		t.Fatal(err)
	}
	var replayed []byte
	for i := range events {
		text, err := json.Marshal(events[i])
		if err != nil {
			t.Fatal(err)
		}
		var e Event
		if err := json.Unmarshal(text, &e); err != nil {
			t.Fatal(err)
		}
		for _, a := range n.Step(e) {
			replayed = appendAction(t, replayed, &a)
		}
	}
	if !bytes.Equal(first, replayed) {
		t.Error("the replay of the recorded events differs")
	}
}

func TestPeersThatCannotBeAreRefused(t *testing.T) {
	good := func() Config {
		a := townConfig(0, 1)
		c := Config{Counter: hw.Frequency{Hertz: 1e9}, Agreement: &a}
		for i := range 3 {
			c.Peers = append(c.Peers, PeerConfig{ID: i + 1, Name: "p", Key: SourceKey{ID: uint32(i + 1), Length: 20}, Poll: 0.125, Timeout: 0.05})
		}
		return c
	}
	if _, err := New(good()); err != nil {
		t.Fatalf("a good one: %v", err)
	}
	for name, spoil := range map[string]func(c *Config){
		"no agreement":           func(c *Config) { c.Agreement = nil },
		"no peers":               func(c *Config) { c.Peers = nil },
		"one ID twice":           func(c *Config) { c.Peers[1].ID = c.Peers[0].ID },
		"one key twice":          func(c *Config) { c.Peers[1].Key = c.Peers[0].Key },
		"no key":                 func(c *Config) { c.Peers[1].Key = SourceKey{} },
		"poll":                   func(c *Config) { c.Peers[1].Poll = 0 },
		"timeout":                func(c *Config) { c.Peers[1].Timeout = math.NaN() },
		"too few for the liars":  func(c *Config) { c.Peers = c.Peers[:2] },
		"another count":          func(c *Config) { c.Agreement.Members = 5 },
		"drift below the host's": func(c *Config) { c.Agreement.Drift = 10e-6 },
		"local too":              func(c *Config) { c.Local = &LocalConfig{Stratum: 10} },
		"sources without gain":   func(c *Config) { c.Sources = sources(1, 1); c.Sources[0].ID = 99 },
	} {
		c := good()
		spoil(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestReloadKeepsTheEraWhileThePeersStay(t *testing.T) {
	w := newTown(t, 14, townConfig(4, 1), 0)
	w.bootAll(0.01)
	w.run(40)
	h := w.hosts[0]
	era := h.stamper.State.Era
	next := h.config
	next.MaxBound = 0.05
	w.step(h, Event{Kind: EventConfigure, Config: &next})
	w.run(5)
	w.expect(virtualclock.Synchronised, h)
	if h.stamper.State.Era != era {
		t.Error("a reload that leaves the peers alone begins a new era")
	}
	other := next
	a := *next.Agreement
	a.ReadingError *= 1.01
	other.Agreement = &a
	w.step(h, Event{Kind: EventConfigure, Config: &other})
	if h.stamper.State.Era == era {
		t.Error("another agreement goes on in the same era")
	}
	w.run(20)
	w.expect(virtualclock.Synchronised, w.hosts...)
}

// hybridTown has masters on every host: the first three of four are right, the last host's lie by a second.
func hybridTown(t *testing.T, seed uint64) *town {
	c := townConfig(4, 1)
	c.Gain, c.ExternalError, c.ExternalFaults = 0.25, 200e-6, 1
	w := newTown(t, seed, c, 0)
	for _, h := range w.hosts {
		h.config.Sources, h.config.MaxBound = sources(1, 1), 0.003
		h.masters[1] = &server{claims: 50e-6}
		if h.id == 4 {
			h.masters[1].offset = 1
		}
	}
	return w
}

// TestHybridGoesToUTC: a bad master moves nobody's clock beyond what is promised; without masters the clocks stay together; when
// they come back the group is pulled to UTC again, and nobody steps.
func TestHybridGoesToUTC(t *testing.T) {
	w := hybridTown(t, 21)
	w.hybrid = true
	w.bootAll(0.0005)
	w.run(60)
	right := w.hosts[:3]
	w.expect(virtualclock.Synchronised, right...)
	truth := func() (worst float64) {
		for _, h := range w.hosts {
			worst = max(worst, math.Abs(h.pub.Clock.Time(w.ticks(h)).Seconds(stageEpoch.AddSeconds(w.now))))
		}
		return worst
	}
	accuracy := w.hosts[0].node.group.member.Promised().Accuracy
	if e := truth(); e > accuracy {
		t.Errorf("a clock is %g s from UTC, promised are %g", e, accuracy)
	}
	for _, h := range right {
		i := h.pub.Clock.Interval(w.ticks(h))
		if now := stageEpoch.AddSeconds(w.now); now.Before(i.Earliest) || now.After(i.Latest) || h.pub.Internal {
			t.Errorf("h%d: UTC is not in its interval, or it is called internal (%v)", h.id, h.pub.Internal)
		}
		if s := h.node.Snapshot(w.ticks(h)); s.Mode != "hybrid" || !(s.Group.ToUTC < 0.01) {
			t.Errorf("h%d: mode %q, %g s to UTC", h.id, s.Mode, s.Group.ToUTC)
		}
	}
	steps := w.hosts[0].node.Snapshot(w.ticks(w.hosts[0])).Steps
	for _, h := range w.hosts {
		h.masters[1].dead = true
	}
	w.run(120)
	w.expect(virtualclock.Synchronised, w.hosts...)
	for i := range w.hosts {
		for j := range i {
			a, b := w.hosts[i], w.hosts[j]
			if !a.pub.Internal || a.pub.Clock.Kind != virtualclock.Internal || a.pub.Server.Leap != 3 {
				t.Errorf("h%d has lost UTC, and yet its interval is called %v, and it serves %+v", a.id, a.pub.Clock.Kind, a.pub.Server)
			}
			if d := math.Abs(a.pub.Clock.Time(w.ticks(a)).Seconds(b.pub.Clock.Time(w.ticks(b)))); d > w.promised {
				t.Errorf("without masters h%d and h%d are %g s apart", a.id, b.id, d)
			}
		}
	}
	for _, h := range w.hosts {
		h.masters[1].dead = false
	}
	w.run(60)
	if e := truth(); e > accuracy {
		t.Errorf("back with masters, a clock is %g s from UTC, promised are %g", e, accuracy)
	}
	w.expect(virtualclock.Synchronised, right...)
	if now := w.hosts[0].node.Snapshot(w.ticks(w.hosts[0])).Steps; now != steps {
		t.Errorf("the clock stepped %d times", now-steps)
	}
}

// TestHybridWithoutPeersFollowsItsMasters: all others are gone, the clock goes on at UTC.
func TestHybridWithoutPeersFollowsItsMasters(t *testing.T) {
	w := hybridTown(t, 22)
	w.hybrid = true
	w.bootAll(0.0005)
	w.run(40)
	for _, h := range w.hosts[1:] {
		w.kill(h)
	}
	w.run(60)
	h := w.hosts[0]
	w.expect(virtualclock.Synchronised, h)
	if e := h.pub.Clock.Time(w.ticks(h)).Seconds(stageEpoch.AddSeconds(w.now)); math.Abs(e) > 500e-6 {
		t.Errorf("alone with its master, the clock is %g s from UTC", e)
	}
	i := h.pub.Clock.Interval(w.ticks(h))
	if now := stageEpoch.AddSeconds(w.now); now.Before(i.Earliest) || now.After(i.Latest) {
		t.Error("UTC is not in the interval")
	}
}

// TestInternalHostIsGivenMasters: after a reload with a source the interval is that of UTC only once the source has proved it.
func TestInternalHostIsGivenMasters(t *testing.T) {
	c := townConfig(4, 1)
	c.Gain, c.ExternalError, c.ExternalFaults = 0.25, 200e-6, 1
	w := newTown(t, 23, c, 0)
	w.hybrid = true
	w.bootAll(40)
	w.run(40)
	w.expect(virtualclock.Synchronised, w.hosts...)
	h := w.hosts[0]
	next := h.config
	next.Sources = sources(1, 1)
	h.masters[1] = &server{claims: 50e-6}
	w.step(h, Event{Kind: EventConfigure, Config: &next})
	for range 400 {
		w.run(0.1)
		i := h.pub.Clock.Interval(w.ticks(h))
		if now := stageEpoch.AddSeconds(w.now); i.Status.Sound() && !h.pub.Internal && (now.Before(i.Earliest) || now.After(i.Latest)) {
			t.Fatalf("%.1f s: UTC is not in [%v, %v]", w.now, i.Earliest, i.Latest)
		}
	}
	if s := h.node.Snapshot(w.ticks(h)); s.Mode != "hybrid" {
		t.Errorf("mode %q", s.Mode)
	}
}
