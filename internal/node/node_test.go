package node

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"testing"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/roundtrip"
	"github.com/clockd/clockd/virtualclock"
)

func lan() *server { return &server{delay: 50e-6, queue: 10e-6} }

func oneSource(poll float64) Config { return Config{Sources: sources(1, poll), MaxFalse: -1} }

// TestOneServer: cold start, synchronisation within the burst, small error, true bound.
func TestOneServer(t *testing.T) {
	s := newStage(t, 1, oneSource(1), map[int]*server{1: lan()})
	s.start()
	s.run(2)
	s.expectStatus(virtualclock.Synchronised, reason.OK)
	s.run(60)
	if e := math.Abs(s.clockError()); e > 30e-6 {
		t.Errorf("error %g s after a minute", e)
	}
	if b := s.bound(); b > 200e-6 {
		t.Errorf("bound %g s with a round trip of 100 µs, a poll of 1 s and 50 ppm", b)
	}
	snap := s.node.Snapshot(s.ticks())
	if math.Abs(snap.Rate-(1/(1+s.skew)-1)) > 1e-6 {
		t.Errorf("rate %g for a counter with skew %g", snap.Rate, s.skew)
	}
	if snap.Steps != 1 || s.pub.Clock.Epoch != 1 {
		t.Errorf("%d steps, epoch %d", snap.Steps, s.pub.Clock.Epoch)
	}
	s.expect("clock unsynchronised never_synchronised", "clock synchronised ok")
}

// TestServerDies: holdover, the bound grows as promised, unsynchronised at the limit, back after the return.
func TestServerDies(t *testing.T) {
	c := oneSource(1)
	c.MaxBound = 2e-3
	v := lan()
	s := newStage(t, 2, c, map[int]*server{1: v})
	s.start()
	s.run(20)
	v.dead = true
	s.run(6)
	s.expectStatus(virtualclock.Holdover, reason.Stale)
	before := s.bound()
	s.run(10)
	if grown := s.bound() - before; grown < 10*49e-6 || grown > 10*51e-6 {
		t.Errorf("in 10 s of holdover the bound grew by %g s", grown)
	}
	s.run(60)
	s.expectStatus(virtualclock.Unsynchronised, reason.BoundTooWide)
	if !math.IsInf(s.node.Snapshot(s.ticks()).Bound, 1) {
		t.Error("an unsynchronised clock claims a bound")
	}
	v.dead = false
	s.run(5)
	s.expectStatus(virtualclock.Synchronised, reason.OK)
	s.expect("clock synchronised ok", "clock holdover stale", "clock unsynchronised bound_too_wide", "clock synchronised ok")
	if s.pub.Clock.Epoch != 1 {
		t.Errorf("the clock stepped: epoch %d", s.pub.Clock.Epoch)
	}
}

// TestFalseticker: four servers, one 50 ms off: named, and without effect.
func TestFalseticker(t *testing.T) {
	servers := map[int]*server{1: lan(), 2: lan(), 3: {delay: 50e-6, queue: 10e-6, offset: 50e-3}, 4: lan()}
	s := newStage(t, 3, Config{Sources: sources(4, 1), MaxFalse: -1}, servers)
	s.start()
	s.run(60)
	s.expectStatus(virtualclock.Synchronised, reason.OK)
	s.expect("source 3 source_falseticker")
	if e := math.Abs(s.clockError()); e > 30e-6 {
		t.Errorf("error %g s", e)
	}
	snap := s.node.Snapshot(s.ticks())
	if x := snap.Sources[2]; x.Reason != reason.SourceFalseticker || math.Abs(x.Distance-50e-3) > 1e-3 || x.Weight != 0 {
		t.Errorf("the falseticker's status: %+v", x)
	}
	// A second liar is one too many: whatever is said, it is not sound and wrong.
	servers[1].offset = -30e-3
	s.run(60)
	if s.wrong == 0 && s.status().Sound() && math.Abs(s.clockError()) > 1e-3 {
		t.Errorf("two liars of four moved the clock by %g", s.clockError())
	}
}

// TestTwoThatDisagree: without a majority there is no time, and the reason is named.
func TestTwoThatDisagree(t *testing.T) {
	s := newStage(t, 4, Config{Sources: sources(2, 1), MaxFalse: -1}, map[int]*server{1: lan(), 2: {delay: 50e-6, offset: 1}})
	s.start()
	s.run(10)
	s.expectStatus(virtualclock.Unsynchronised, reason.NoMajority)
}

// TestTooFewToOutvote: one of three answers, f is 1.
func TestTooFewToOutvote(t *testing.T) {
	s := newStage(t, 5, Config{Sources: sources(3, 1), MaxFalse: -1}, map[int]*server{1: lan(), 2: {dead: true}, 3: {dead: true}})
	s.start()
	s.run(20)
	s.expectStatus(virtualclock.Unsynchronised, reason.TooFewSources)
	s.servers[2].dead, s.servers[2].delay = false, 1e-4
	s.run(10)
	s.expectStatus(virtualclock.Synchronised, reason.OK)
	s.expect()
}

// TestServerSteps: the only server jumps by 10 ms. The bound is taken back at once, and the clock begins a new epoch.
func TestServerSteps(t *testing.T) {
	v := lan()
	s := newStage(t, 6, oneSource(1), map[int]*server{1: v})
	s.start()
	s.run(20)
	if s.wrong != 0 {
		t.Fatal("wrong before the fault")
	}
	v.offset = 10e-3 // from here the server is not true: only the story counts
	s.run(20)
	s.expectStatus(virtualclock.Synchronised, reason.OK)
	s.wrong = 0
	s.expect("clock synchronised ok", "clock unsynchronised sample_empty_interval", "disruption contradiction", "clock synchronised ok")
	if s.pub.Clock.Epoch != 2 || math.Abs(s.clockError()-10e-3) > 50e-6 {
		t.Errorf("epoch %d, error %g", s.pub.Clock.Epoch, s.clockError())
	}
}

// TestPausedHost: the counter misses 2 s that nobody reports. The first sample after it takes the status away, and no interval
// that is called sound after that sample is wrong.
func TestPausedHost(t *testing.T) {
	for _, n := range []int{1, 4} {
		servers := map[int]*server{}
		for i := range n {
			servers[i+1] = lan()
		}
		s := newStage(t, 7, Config{Sources: sources(n, 1), MaxFalse: -1}, servers)
		s.start()
		s.run(20)
		s.now += 2
		s.jump += 2
		// Until the first new sample nothing can be known: the pause is undetectable without a watch.
		answers := len(servers[1].answered)
		for range 40 {
			s.run(0.05)
			if s.pub.Clock.Status != virtualclock.Synchronised {
				break
			}
		}
		if len(servers[1].answered)-answers > 2 {
			t.Errorf("n=%d: the pause was noticed only after %d answers", n, len(servers[1].answered)-answers)
		}
		s.wrong = 0
		s.run(20)
		s.expectStatus(virtualclock.Synchronised, reason.OK)
		s.expect("clock synchronised ok", "clock unsynchronised sample_empty_interval", "disruption contradiction", "clock synchronised ok")
		if s.pub.Clock.Epoch != 2 {
			t.Errorf("n=%d: epoch %d", n, s.pub.Clock.Epoch)
		}
	}
}

// TestOneOfFourSteps: a server among four contradicts itself, again and again. That is explained by one false source: the others are
// asked at once, the clock stays synchronised in its epoch, and a server that jumps about cannot make us ask without end.
func TestOneOfFourSteps(t *testing.T) {
	servers := map[int]*server{1: lan(), 2: lan(), 3: lan(), 4: lan()}
	s := newStage(t, 8, Config{Sources: sources(4, 4), MaxFalse: -1}, servers)
	s.start()
	s.run(30)
	before := servers[1].requests
	for range 20 {
		servers[2].offset += 0.3
		for range 80 {
			s.run(0.1)
			if !s.status().Sound() {
				t.Fatalf("at %.1f s one liar of four took the clock away: %v", s.now, s.pub.Reason)
			}
		}
	}
	s.expectStatus(virtualclock.Synchronised, reason.OK)
	s.expect("source 2 sample_empty_interval")
	if s.pub.Clock.Epoch != 1 || math.Abs(s.clockError()) > 50e-6 {
		t.Errorf("epoch %d, error %g", s.pub.Clock.Epoch, s.clockError())
	}
	if n := servers[1].requests - before; n > 60 {
		t.Errorf("an honest server was asked %d times in 160 s at a poll of 4 s", n)
	}
}

// TestDisruption: a reported disruption takes everything back at once; then a new epoch.
func TestDisruption(t *testing.T) {
	s := newStage(t, 9, oneSource(1), map[int]*server{1: lan()})
	s.start()
	s.run(10)
	s.jump += 5
	s.now += 5
	s.step(Event{Kind: EventDisruption, Reason: reason.HostSuspended})
	s.expectStatus(virtualclock.Disrupted, reason.HostSuspended)
	s.run(5)
	s.expectStatus(virtualclock.Synchronised, reason.OK)
	s.expect("disruption host_suspended", "clock disrupted host_suspended", "clock synchronised ok")
}

// TestReconfigure: the sources are replaced one by one and all at once; the clock is not lost.
func TestReconfigure(t *testing.T) {
	servers := map[int]*server{1: lan(), 2: lan(), 3: lan()}
	c := Config{Sources: sources(1, 1), MaxFalse: -1}
	s := newStage(t, 10, c, servers)
	s.start()
	s.run(10)
	next := Config{Sources: sources(3, 1)[1:], MaxFalse: -1, Counter: hw.Frequency{Hertz: stageHertz}}
	s.step(Event{Kind: EventConfigure, Config: &next})
	s.expectStatus(virtualclock.Synchronised, reason.OK)
	s.run(10)
	s.expectStatus(virtualclock.Synchronised, reason.OK)
	if s.pub.Clock.Epoch != 1 || math.Abs(s.clockError()) > 50e-6 {
		t.Errorf("epoch %d, error %g", s.pub.Clock.Epoch, s.clockError())
	}
	bad := next
	bad.MaxSlew = -1
	s.step(Event{Kind: EventConfigure, Config: &bad})
	s.run(5)
	s.expectStatus(virtualclock.Synchronised, reason.OK)
	s.expect("config config_refused")
}

// TestReconfigureAssumptions: a reload that assumes less takes back what was proved under the old assumptions: nothing is claimed
// until it is proved anew, in a new epoch. One that assumes more takes effect at once.
func TestReconfigureAssumptions(t *testing.T) {
	c := oneSource(1)
	c.DriftBound = 20e-6 // not true: the counter is off by 31 ppm, but nobody can have noticed yet
	s := newStage(t, 14, c, map[int]*server{1: {delay: 5e-3, queue: 1e-3}})
	s.start()
	s.run(10)
	epoch := s.pub.Clock.Epoch
	for i, change := range []struct {
		weaker bool
		do     func(*Config)
	}{
		{true, func(c *Config) { c.DriftBound = 60e-6 }}, {false, func(c *Config) { c.DriftBound = 40e-6 }},
		{false, func(c *Config) { c.WanderBound = 1e-6 }}, {true, func(c *Config) { c.WanderBound = 0 }},
		{false, func(c *Config) { c.Sources[0].MinDelay = 4e-3 }}, {true, func(c *Config) { c.Sources[0].MinDelay = 0 }},
	} {
		c.Counter = hw.Frequency{Hertz: stageHertz}
		c.Sources = slices.Clone(c.Sources)
		change.do(&c)
		k := c
		s.step(Event{Kind: EventConfigure, Config: &k})
		s.frozen = nil // it was published under other assumptions
		if change.weaker {
			s.expectStatus(virtualclock.Disrupted, reason.AssumptionsWeakened)
			epoch++
		}
		if i == 0 {
			s.wrong = 0
		}
		s.run(60)
		s.expectStatus(virtualclock.Synchronised, reason.OK)
		if s.pub.Clock.Epoch != epoch {
			t.Errorf("change %d: epoch %d, want %d", i, s.pub.Clock.Epoch, epoch)
		}
	}
	s.expect()
}

// TestReferenceStaysReference: a running host does not become the reference, nor cease to be it.
func TestReferenceStaysReference(t *testing.T) {
	local := Config{Local: &LocalConfig{Stratum: 5, Bound: 1}, Counter: hw.Frequency{Hertz: stageHertz}}
	follower := Config{Sources: sources(1, 1), MaxFalse: -1, Counter: hw.Frequency{Hertz: stageHertz}}
	for _, c := range [][2]Config{{local, follower}, {follower, local}} {
		s := newStage(t, 15, c[0], map[int]*server{1: {dead: true}})
		s.start()
		s.run(3)
		before := s.status()
		s.step(Event{Kind: EventConfigure, Config: &c[1]})
		s.run(3)
		if s.status() != before || s.pub.Server.Stratum != 0 && c[0].Local == nil {
			t.Errorf("the status went from %v to %v, stratum %d", before, s.status(), s.pub.Server.Stratum)
		}
		s.wrong = 0 // a reference is true by definition, not by the stage's clock
		s.expect("config config_refused")
	}
}

// TestCoarseReference: the reference's own interval holds for the whole tick that a reading stands for.
func TestCoarseReference(t *testing.T) {
	c := Config{Local: &LocalConfig{Stratum: 1}, Granularity: 1e6} // 1 ms
	s := newStage(t, 16, c, nil)
	s.skew = 0
	s.step(Event{Kind: EventStart, Realtime: stageEpoch})
	s.run(1)
	k := s.pub.Clock
	coarse := s.ticks() / 1e6 * 1e6
	if late := k.Interval(coarse).Latest; late.Before(k.Time(coarse + 999_999)) {
		t.Errorf("the end of the tick is %g s after the upper edge", k.Time(coarse+999_999).Seconds(late))
	}
}

// TestLeapSecond: the servers announce a leap second and step at it. No interval reaches over it: the clock is measured anew.
func TestLeapSecond(t *testing.T) {
	const month = 1_801_440_000 // 2027-02-01 00:00:00 UTC
	for n := 1; n <= 4; n += 3 {
		for leap, step := range map[uint8]float64{1: -1, 2: 1} {
			servers := map[int]*server{}
			for i := range n {
				servers[i+1] = lan()
				servers[i+1].leap = leap
			}
			s := newStage(t, 17, Config{Sources: sources(n, 16), MaxFalse: -1}, servers)
			leapAt := float64(month - 1_800_000_000)
			if leap == leapDelete {
				leapAt--
			}
			s.now = leapAt - 200
			s.start()
			s.run(199.9)
			s.expectStatus(virtualclock.Synchronised, reason.OK)
			s.run(0.1 + 2e-9)
			for i := range servers {
				servers[i].offset, servers[i].leap = step, 0
			}
			s.expectStatus(virtualclock.Disrupted, reason.LeapSecond)
			s.frozen = nil
			s.leaped = step
			s.run(30)
			s.expectStatus(virtualclock.Synchronised, reason.OK)
			s.expect("clock synchronised ok", "disruption leap_second", "clock synchronised ok")
		}
	}
}

// TestBadServers: what is wrong with a server is named, and nothing comes of it.
func TestBadServers(t *testing.T) {
	for name, c := range map[string]struct {
		server server
		want   reason.Code
	}{
		"dead":           {server{dead: true}, reason.SourceUnreachable},
		"unsynchronised": {server{leap: 3}, reason.ServerUnsynchronised},
		"stratum 16":     {server{stratum: 16}, reason.ServerUnsynchronised},
		"wide":           {server{claims: 5}, reason.ServerRootDistance},
		"forged":         {server{wrongNonce: true}, reason.PacketOrigin},
		"deny":           {server{kiss: "DENY"}, reason.KissDeny},
		"rate":           {server{kiss: "RATE"}, reason.KissRate},
		"late":           {server{delay: 0.15}, reason.PacketLate},
	} {
		t.Run(name, func(t *testing.T) {
			v := c.server
			s := newStage(t, 11, oneSource(1), map[int]*server{1: &v})
			s.start()
			s.run(30)
			snap := s.node.Snapshot(s.ticks())
			if snap.Sources[0].Rejections[c.want] == 0 {
				t.Errorf("%v was not counted: %v", c.want, snap.Sources[0].Rejections.Map())
			}
			if s.status().Sound() {
				t.Errorf("the clock is %v", s.status())
			}
			if name == "deny" && v.requests != 1 {
				t.Errorf("%d requests to a server that denied", v.requests)
			}
			if name == "rate" && v.requests > 6 {
				t.Errorf("%d requests in 30 s to a server that asks for fewer", v.requests)
			}
		})
	}
}

// TestFarAway: the host believes it is 1970; the offset of half a century costs no precision.
func TestFarAway(t *testing.T) {
	s := newStage(t, 12, oneSource(1), map[int]*server{1: lan()})
	s.step(Event{Kind: EventStart})
	s.run(30)
	s.expectStatus(virtualclock.Synchronised, reason.OK)
	s.expect()
	if e := math.Abs(s.clockError()); e > 30e-6 {
		t.Errorf("error %g s", e)
	}
}

// TestReference: a host without sources that is told to be the reference.
func TestReference(t *testing.T) {
	s := newStage(t, 13, Config{Local: &LocalConfig{Stratum: 1, Bound: 1e-6}}, nil)
	s.skew = 0
	s.step(Event{Kind: EventStart, Realtime: stageEpoch})
	s.run(100)
	s.expectStatus(virtualclock.Synchronised, reason.OK)
	s.expect()
	if b := s.bound(); math.Abs(b-1e-6) > 1e-9 {
		t.Errorf("bound %g", b)
	}
	if p := s.pub.Server; p.Stratum != 1 || p.Leap != 0 {
		t.Errorf("server state %+v", p)
	}
}

// TestBoundsHold runs many worlds with skews, delays, liars within f and deaths: no interval may ever be wrong.
func TestBoundsHold(t *testing.T) {
	for seed := range uint64(60) {
		servers := map[int]*server{}
		probe := newStage(t, seed, Config{}, nil)
		n := 1 + probe.rng.IntN(6)
		liars := probe.rng.IntN(roundtrip.MaxFalse(n) + 1)
		for i := range n {
			v := &server{delay: math.Pow(10, -5+3*probe.rng.Float64()), claims: 1e-4}
			v.queue = v.delay * probe.rng.Float64()
			if i < liars {
				v.offset = probe.rng.NormFloat64() * math.Pow(10, -5+4*probe.rng.Float64())
			}
			servers[i+1] = v
		}
		s := newStage(t, seed, Config{Sources: sources(n, 1), MaxFalse: -1, MaxBound: 0.05}, servers)
		s.skew = 49e-6 * (2*probe.rng.Float64() - 1)
		s.start()
		for range 20 {
			s.run(3)
			s.drift(50e-6 * float64(2*s.rng.IntN(2)-1))
			v := servers[1+s.rng.IntN(n)]
			v.dead = s.rng.IntN(3) == 0
		}
		if s.wrong != 0 {
			t.Errorf("seed %d (n=%d, %d liars): %d of %d intervals are wrong: %s", seed, n, liars, s.wrong, s.checks, s.story[len(s.story)-1])
		}
	}
}

// TestBoundsHoldHasTeeth: with one liar too many the same check finds wrong intervals.
func TestBoundsHoldHasTeeth(t *testing.T) {
	servers := map[int]*server{1: {delay: 1e-4, offset: 5e-3}}
	s := newStage(t, 1, oneSource(1), servers)
	s.start()
	s.run(10)
	if s.wrong == 0 {
		t.Error("a single server that is 5 ms wrong went unnoticed by the check")
	}
}

// TestSameEventsSameActions: a second node fed with the same events, through JSON, gives the same actions to the byte.
func TestSameEventsSameActions(t *testing.T) {
	c := Config{Sources: sources(4, 1), MaxFalse: -1, Counter: hw.Frequency{Hertz: stageHertz}}
	record := func() []byte {
		s := newStage(t, 77, c, map[int]*server{1: lan(), 2: lan(), 3: {delay: 1e-4, offset: 0.05}, 4: lan()})
		s.start()
		s.run(20)
		j, err := json.Marshal(s.node.publication)
		if err != nil {
			t.Fatal(err)
		}
		return append(j, []byte(s.story[len(s.story)-1])...)
	}
	if a, b := record(), record(); !bytes.Equal(a, b) {
		t.Errorf("two runs of one seed differ:\n%s\n%s", a, b)
	}
}

// TestConfigMistakes: each is named.
func TestConfigMistakes(t *testing.T) {
	good := Config{Sources: sources(4, 1), MaxFalse: -1, Counter: hw.Frequency{Hertz: 1e9}}
	for name, spoil := range map[string]func(*Config){
		"frequency": func(c *Config) { c.Counter.Hertz = 0 }, "slow counter": func(c *Config) { c.Counter.Hertz = 2e4 }, "drift": func(c *Config) { c.DriftBound = 1 }, "slew": func(c *Config) { c.MaxSlew = 2 },
		"bound": func(c *Config) { c.MaxBound = math.NaN() }, "f": func(c *Config) { c.MaxFalse = 2 }, "id": func(c *Config) { c.Sources[1].ID = 1 },
		"poll": func(c *Config) { c.Sources[0].Poll = 0 }, "local": func(c *Config) { c.Local = &LocalConfig{} }, "rate": func(c *Config) { c.Rate = 1 },
		"timeout": func(c *Config) { c.Sources[0].Timeout = -1 },
	} {
		c := good
		c.Sources = slices.Clone(good.Sources)
		spoil(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := New(good); err != nil {
		t.Error(err)
	}
}
