package sim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/clockd/clockd/internal/node"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// stormy is a scenario in which everything happens.
const stormy = `
assumptions_hold = true
length = "600s"
[client]
count = 3
spread_ppm = 30
start_error = "2s"
poll = "2s"
interleaved = true
oscillator = { white_fm = 1e-9, flicker_fm = 1e-9, random_walk = 1e-8, ageing_ppb_per_day = 100, sine = { ppm = 1, period = "100s" }, clip_ppm = 50 }
stamps = { kind = "user", transmit = "exp(5us)", receive = "exp(10us)" }
[[server]]
name = "server1"
count = 2
delay = "100us + lognormal(20us, 1)"
loss = 0.1
duplicate = 0.1
congestion = { on = "5s", off = "20s", delay = "pareto(1ms, 2)" }
interleaved = true
noise = "uniform(0us, 50us)"
root_dispersion = "50us"
[[server]]
name = "relay"
follows = ["server11"]
delay = "normal(200us, 20us)"
[[fault]]
at = "100s"
until = "130s"
server = "server12"
dead = true
[[fault]]
at = "200s"
pause = "20s"
client = "client2"
[[fault]]
at = "300s"
pause = "3s"
counter_stops = true
report = "host_suspended"
[[fault]]
at = "400s"
until = "420s"
add_to = "300us"
`

func document(t testing.TB, text string, seed uint64) []byte {
	t.Helper()
	s, err := Parse("test", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	results, err := s.Run(seed, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(results)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestSameSeedSameBytes: two runs agree to the last digit of everything that is measured; another seed gives another run.
func TestSameSeedSameBytes(t *testing.T) {
	for seed := range uint64(3) {
		a, b := document(t, stormy, seed), document(t, stormy, seed)
		if !bytes.Equal(a, b) {
			t.Fatalf("seed %d: two runs differ:\n%s\n%s", seed, a, b)
		}
		if bytes.Equal(a, document(t, stormy, seed+1)) {
			t.Fatalf("seeds %d and %d give the same", seed, seed+1)
		}
	}
}

// TestStreamsAreSplit: adding a host moves nothing of those that are there.
func TestStreamsAreSplit(t *testing.T) {
	alone := newPair(t, 7, nil)
	crowd := newPair(t, 7, nil)
	if _, err := crowd.world.AddHost(HostConfig{Name: "another", Master: &Master{Noise: Constant(1)}, Oscillator: everything()}); err != nil {
		t.Fatal(err)
	}
	alone.run(t, 20)
	crowd.run(t, 20)
	a, b := alone.client.Publication, crowd.client.Publication
	if a != b {
		t.Errorf("another host changed the clock:\n%+v\n%+v", a, b)
	}
}

// TestRunInPieces: it makes no difference in how many pieces a world is run.
func TestRunInPieces(t *testing.T) {
	whole, pieces := newPair(t, 9, nil), newPair(t, 9, nil)
	whole.run(t, 60)
	r := rand.New(rand.NewPCG(testkit.Seed(t), 6))
	for pieces.world.Now() < 60*Second {
		if err := pieces.world.Run(min(pieces.world.Now()+Instant(r.Int64N(int64(Second))), 60*Second)); err != nil {
			t.Fatal(err)
		}
	}
	if whole.client.Publication != pieces.client.Publication || whole.world.Events != pieces.world.Events {
		t.Error("a run in pieces went otherwise")
	}
}

// TestCheckerHasTeeth: an interval that is wrong by a picosecond, on either side, at any scale, is found; one that is right to
// the edge is not. The node is not asked: its coefficients are replaced.
func TestCheckerHasTeeth(t *testing.T) {
	x := newPair(t, 3, nil)
	x.run(t, 10.123456789)
	w, h := x.world, x.client
	c := h.Reading(w.Now())
	truth := w.Truth(w.Now())
	k := h.Publication.Clock
	for _, width := range []float64{1e-9, 1e-6, 1} {
		for _, outside := range []float64{-1e-9, -1e-12, 0, 1e-12, 1e-9} {
			for _, side := range []string{"early", "late"} {
				k.At, k.Slow, k.Fast = c, 1, 1
				if side == "early" {
					k.Earliest, k.Latest = truth.AddSeconds(outside), truth.AddSeconds(outside+width)
				} else {
					k.Earliest, k.Latest = truth.AddSeconds(-outside-width), truth.AddSeconds(-outside)
				}
				var checker Checker
				checker.check(h, &k, "test")
				if wrong := checker.Violations == 1; wrong != (outside > 0) || checker.Checks != 1 {
					t.Errorf("%s by %g s, width %g: %d violations", side, outside, width, checker.Violations)
				}
				if outside > 0 && (math.Abs(math.Abs(checker.First.Outside)-outside) > 1e-15 || (checker.First.Outside < 0) != (side == "early")) {
					t.Errorf("%s by %g s: told as %g", side, outside, checker.First.Outside)
				}
			}
		}
	}
	k.Status = virtualclock.Unsynchronised
	var checker Checker
	if checker.check(h, &k, "test"); checker.Checks != 0 || checker.Violations != 0 {
		t.Error("an interval that claims nothing was checked")
	}
}

// TestCheckerSeesJumps: a clock that is not continuous within its epoch is found.
func TestCheckerSeesJumps(t *testing.T) {
	x := newPair(t, 3, nil)
	x.run(t, 10)
	old := x.client.Publication.Clock
	var c Checker
	next := old
	next.Slew.T0, next.Steady.T0 = old.Slew.T0.AddSeconds(2e-9), old.Steady.T0.AddSeconds(2e-9)
	if c.continuous(x.client, &old, &next); c.Jumps != 1 {
		t.Error("a jump of 2 ns is not seen")
	}
	next.Epoch++
	if c.continuous(x.client, &old, &next); c.Jumps != 1 {
		t.Error("a step with a new epoch is called a jump")
	}
}

// TestBrokenAssumptionsAreFound: the checker sees the wrong intervals of a node that is told untruths about its world, and none
// where the same node is told the truth.
func TestBrokenAssumptionsAreFound(t *testing.T) {
	for name, c := range map[string]struct {
		broken, honest func(*Master, *HostConfig, *PathConfig, *ClientConfig)
	}{
		"drift": {
			func(_ *Master, h *HostConfig, _ *PathConfig, c *ClientConfig) {
				h.Oscillator.OffsetPPM, c.DriftBoundPPM, c.Poll = 60, 5, 16
			},
			func(_ *Master, h *HostConfig, _ *PathConfig, c *ClientConfig) {
				h.Oscillator.OffsetPPM, c.DriftBoundPPM, c.Poll = 60, 60.01, 16
			},
		},
		"stamps": {
			func(_ *Master, h *HostConfig, p *PathConfig, _ *ClientConfig) {
				h.Stamps.Invalid, p.Delay = 100e-6, Constant(150e-6)
				h.Oscillator.Square = SineConfig{PPM: 49, Period: 20}
			},
			func(_ *Master, h *HostConfig, p *PathConfig, _ *ClientConfig) {
				p.Delay = Constant(150e-6)
				h.Oscillator.Square = SineConfig{PPM: 49, Period: 20}
			},
		},
		"least delay": {
			func(_ *Master, _ *HostConfig, p *PathConfig, c *ClientConfig) {
				p.Delay, c.MinDelay = mustDelay(t, "uniform(0us,200us)"), 100e-6
			},
			func(_ *Master, _ *HostConfig, p *PathConfig, c *ClientConfig) {
				p.Delay, c.MinDelay = mustDelay(t, "100us + uniform(0us,200us)"), 100e-6
			},
		},
		"server": {
			func(m *Master, _ *HostConfig, _ *PathConfig, _ *ClientConfig) {
				m.Offset, m.RootDispersion = 2e-3, 1e-3
			},
			func(m *Master, _ *HostConfig, _ *PathConfig, _ *ClientConfig) {
				m.Offset, m.RootDispersion = 1e-3, 1e-3
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			found := uint64(0)
			for seed := range uint64(5) {
				x := newPair(t, seed, c.broken)
				x.run(t, 100)
				found += x.client.Checker.Violations
				y := newPair(t, seed, c.honest)
				y.run(t, 100)
				if n := y.client.Checker.Violations; n != 0 {
					t.Errorf("seed %d: told the truth, the node was wrong %d times: %+v", seed, n, *y.client.Checker.First)
				}
			}
			if name == "stamps" {
				// Symmetric delays hide it: what the interval loses on both sides is not where the truth is.
				return
			}
			if found == 0 {
				t.Error("no wrong interval was found")
			}
		})
	}
}

// TestStampsAreValid: no stamp of any kind breaks theory 2.1, unless it is told to.
func TestStampsAreValid(t *testing.T) {
	r := rand.New(rand.NewPCG(testkit.Seed(t), 8))
	w := NewWorld(1, testEpoch())
	for i, c := range []StampConfig{
		{}, {Kind: "kernel", Transmit: mustDelay(t, "exp(5us)"), Receive: mustDelay(t, "exp(5us)")},
		{Kind: "user", Transmit: mustDelay(t, "1us+exp(50us)"), Receive: mustDelay(t, "1us+exp(50us)")},
		{Kind: "hardware", Error: 50e-9}, {Kind: "hardware", Error: 1e-6, Receive: mustDelay(t, "exp(1us)")},
		{Kind: "hardware", Error: 50e-9, Invalid: 10e-6},
	} {
		h, err := w.AddHost(HostConfig{Name: fmt.Sprint(i), Stamps: c, Oscillator: everything(), Hertz: []float64{1e9, 2.6e9, 1e6}[i%3]})
		if err != nil {
			t.Fatal(err)
		}
		bad := 0
		for range 5000 {
			at := Instant(r.Int64N(int64(50 * Second)))
			leaves := at + c.Transmit.DrawInstant(r)
			if s := h.stamps.departure(h, at); h.Reading(leaves).Before(s.NotBefore()) {
				bad++
			}
			s, ready := h.stamps.arrival(h, at)
			// An arrival in tick c is told as c: the tick's length is the reader's business (granularity).
			if s.NotAfter().Before(h.Reading(at)) || ready < at {
				bad++
			}
			if h.Reading(ready).Before(s.At) {
				t.Fatalf("%+v: a stamp is handed over before it is taken", c)
			}
		}
		if (bad > 0) != (c.Invalid > 0) {
			t.Errorf("%+v: %d of 10000 stamps are invalid", c, bad)
		}
	}
}

func TestWorldRefuses(t *testing.T) {
	w := NewWorld(1, testEpoch())
	good := HostConfig{Name: "a"}
	if _, err := w.AddHost(good); err != nil {
		t.Fatal(err)
	}
	for _, c := range []HostConfig{good, {Name: "b", Hertz: 5}, {Name: "b", Oscillator: OscillatorConfig{OffsetPPM: 1e9}}, {Name: "b", Stamps: StampConfig{Kind: "psychic"}},
		{Name: "b", Oscillator: OscillatorConfig{Sine: SineConfig{PPM: 1}}}, {Name: "b", Stamps: StampConfig{Error: -1}}} {
		if _, err := w.AddHost(c); err == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
	h := w.Host("a")
	if err := h.Start(node.Config{MaxSlew: -1}, 0); err == nil {
		t.Error("a node of a bad configuration is started")
	}
	if err := h.Step(node.Event{Kind: node.EventTimer}); err == nil {
		t.Error("an event is handed to a host without a node")
	}
	p, err := w.NewPath(PathConfig{}, "p")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Connect(h, 1, h, p, p); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Connect(h, 1, h, p, p); err == nil {
		t.Error("two sources with one ID are accepted")
	}
	w.At(Second, func() error { return errors.New("told") })
	if err := w.Run(2 * Second); err == nil || !strings.Contains(err.Error(), "told") || !strings.Contains(err.Error(), "at 1s") {
		t.Errorf("an error on the timeline ends the run with %v", err)
	}
}

// TestSendToNowhere: a node that sends to a source without a link is a mistake that ends the run.
func TestSendToNowhere(t *testing.T) {
	w := NewWorld(1, testEpoch())
	h, err := w.AddHost(HostConfig{Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	c := ClientConfig{}
	if err := h.Start(c.Node([]*Host{h}), 0); err != nil {
		t.Fatal(err)
	}
	if err := w.Run(Second); err == nil || !strings.Contains(err.Error(), "which no link leads to") {
		t.Errorf("%v", err)
	}
}

// TestPauseKeepsWhatWaits: packets and timers of a paused host come after the pause, in their order, and the counter that stood
// still goes on where it stood.
func TestPauseKeepsWhatWaits(t *testing.T) {
	for _, stops := range []bool{false, true} {
		x := newPair(t, 4, func(_ *Master, _ *HostConfig, p *PathConfig, _ *ClientConfig) { p.Delay = Constant(0.05) })
		x.run(t, 10)
		requests := x.client.Packets
		x.run(t, 0.76) // a request is on its way
		before := x.client.Reading(x.world.Now())
		code := reason.OK
		if stops {
			code = reason.HostPaused
		}
		x.client.Pause(5*Second, stops, code, 0)
		x.run(t, 4.9)
		if x.client.Packets-requests > 1 {
			t.Errorf("a paused host sent %d requests", x.client.Packets-requests)
		}
		x.run(t, 0.2)
		passed := x.client.Reading(x.world.Now()).Sub(before)
		if want := map[bool]int64{false: 5.1e9, true: 0.1e9}[stops]; passed < want-1 || passed > want+1 {
			t.Errorf("stops %t: the counter went on by %d", stops, passed)
		}
		x.run(t, 20)
		if x.client.Checker.Violations != 0 {
			t.Errorf("stops %t: %+v", stops, *x.client.Checker.First)
		}
		if s := x.client.Publication.Clock.Status; s != virtualclock.Synchronised {
			t.Errorf("stops %t: %v", stops, s)
		}
	}
}

// TestFarTimer: a timer beyond the horizon is found again and again until it is due.
func TestFarTimer(t *testing.T) {
	x := newPair(t, 4, func(_ *Master, _ *HostConfig, _ *PathConfig, c *ClientConfig) {
		c.Heartbeat, c.Lifetime, c.Poll, c.Timeout, c.MaxBound = 9000, 1e6, 20000, 100, 1000
		c.HoldoverAfter = 1e6
	})
	x.world.Sample = 100 * Second
	x.run(t, 50_000)
	if n := x.link.Requests; n != 6 {
		t.Errorf("%d requests in 50,000 s of a poll of 20,000 s after a burst of 4, want 6", n)
	}
}

// TestEventsDoNotAllocate: the simulation itself allocates nothing per event in its steady state.
func TestEventsDoNotAllocate(t *testing.T) {
	x := newPair(t, 4, nil)
	x.world.Sample = 0
	x.run(t, 200)
	events := x.world.Events
	n := testing.AllocsPerRun(20, func() { x.run(t, 50) })
	per := n * 21 / float64(x.world.Events-events)
	if per > 0.02 {
		t.Errorf("%.3f allocations per event", per)
	}
}

func BenchmarkEvents(b *testing.B) {
	for _, c := range []struct {
		name    string
		servers int
		poll    Length
	}{{"one server, poll 1 s", 1, 1}, {"one server, poll 16 s", 1, 16}} {
		b.Run(c.name, func(b *testing.B) {
			x := newPair(b, 1, func(_ *Master, _ *HostConfig, _ *PathConfig, k *ClientConfig) { k.Poll = c.poll })
			x.world.Sample = Second
			b.ReportAllocs()
			for b.Loop() {
				x.run(b, 1)
			}
			b.ReportMetric(float64(x.world.Events)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
