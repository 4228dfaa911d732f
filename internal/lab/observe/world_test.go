package observe

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// world is a host and its servers whose true times are known: it makes the records that a measurement of them would make.
type world struct {
	t       testing.TB
	rng     *rand.Rand
	config  Config
	log     []byte
	a       *Analysis
	hertz   float64
	boot    string
	segment int
	round   int64
	// now is true time in seconds since the beginning; rate is the counter's frequency error, system the system clock's offset.
	now, rate, system float64
	ticks             float64 // the counter's reading at now, less its origin
	origin            hw.Ticks
	servers           []worldServer
}

// worldServer is a server whose clock is off by offset, and which claims to be within claim.
type worldServer struct {
	offset, claim float64
	delay         float64 // mean of each way
	deaf          bool
}

const worldEpoch = int64(1.7e18)

func newWorld(t testing.TB, seed uint64, c Config, servers ...worldServer) *world {
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 5)), config: c, hertz: 2.4e9, boot: "boot one", servers: servers, origin: 1 << 40}
	h := &Header{Program: "clockbench observe", Version: "test", Format: LogFormat, Config: c, Began: "2026-01-02T03:04:05Z"}
	w.log = logOf(t, &Record{Header: h})
	w.a = NewAnalysis(h)
	w.rate = (2*w.rng.Float64() - 1) * c.DriftBound
	w.begin(reason.OK)
	return w
}

func (w *world) record(r *Record) {
	w.t.Helper()
	w.log = append(w.log, logOf(w.t, r)...)
	if err := w.a.Step(r); err != nil {
		w.t.Fatalf("%v: %s", err, logOf(w.t, r))
	}
}

// begin begins a segment.
func (w *world) begin(code reason.Code) {
	w.record(&Record{Segment: &Segment{Number: w.segment, BootID: w.boot, Counter: "tsc", Hertz: w.hertz, Anchor: w.instant(), Reason: code}})
	w.round = 0
	w.segment++
}

// reboot starts the counter anew.
func (w *world) reboot() {
	w.pass(100)
	w.boot, w.origin, w.ticks = "boot two", 12345, 0
	w.begin(reason.OK)
}

func (w *world) pass(seconds float64) {
	w.now += seconds
	w.ticks += seconds * w.hertz * (1 + w.rate)
}

func (w *world) counter() hw.Ticks { return w.origin + hw.Ticks(w.ticks) }

func (w *world) realtime() int64 { return worldEpoch + int64((w.now+w.system)*1e9) }

func (w *world) time(offset float64) virtualclock.Time {
	return virtualclock.Unix(worldEpoch, 0).AddSeconds(w.now + offset)
}

func (w *world) instant() Instant {
	return Instant{Ticks: w.counter(), Realtime: w.realtime(), Error: 10, Raw: int64(w.ticks / w.hertz * 1e9)}
}

// ask makes one exchange with a server.
func (w *world) ask(i int) {
	s := w.servers[i]
	if s.deaf {
		w.pass(0.01)
		w.record(&Record{Failure: &Failure{Segment: w.segment - 1, Round: w.round, Server: i, Reason: reason.SourceUnreachable, Sent: true, Every: 1}})
		return
	}
	r := &Sample{Segment: w.segment - 1, Round: w.round, Server: i, Address: address(i + 1), Stratum: 2, Version: 4, Precision: -30, RootDispersion: s.claim}
	r.Departed = hw.Stamp{At: w.counter(), Kind: hw.StampUser}
	w.pass(w.rng.ExpFloat64() * s.delay)
	r.Receive = w.time(s.offset)
	w.pass(w.rng.Float64() * 1e-4)
	r.Transmit = w.time(s.offset)
	w.pass(w.rng.ExpFloat64() * s.delay)
	r.Arrived = hw.Stamp{At: w.counter() + 1, Kind: hw.StampUser}
	w.pass(1e-6)
	r.Cross = hw.CrossReading{At: w.counter(), Realtime: w.realtime(), Error: 10}
	w.a.Complete(r)
	w.record(&Record{Sample: r})
}

// play makes a round: all servers are asked, and compared.
func (w *world) play() *Comparison {
	w.pass(w.config.Poll)
	// The oscillator goes where it likes within its bound.
	w.rate = min(max(w.rate+w.rng.NormFloat64()*1e-6, -0.99*w.config.DriftBound), 0.99*w.config.DriftBound)
	for i := range w.servers {
		w.ask(i)
		w.pass(0.01 * w.rng.Float64())
	}
	w.record(&Record{Round: &Round{Segment: w.segment - 1, Number: w.round, At: w.instant()}})
	w.round++
	return w.a.latest
}

// again analyses the log from its beginning.
func (w *world) again() *Report {
	w.t.Helper()
	var a *Analysis
	c, err := Read(bytes.NewReader(w.log), func(h *Header) { a = NewAnalysis(h) }, func(r *Record) error { return a.Step(r) })
	if err != nil || c.Damaged != 0 {
		w.t.Fatalf("%v, %+v", err, c)
	}
	return a.Report(true)
}

func number(hosts int) []string {
	var list []string
	for i := range hosts {
		list = append(list, fmt.Sprintf("server%d.test", i+1))
	}
	return list
}

// contains checks that a value, of which a nanosecond is lost to the clocks' resolution, is in an interval.
func contains(low, high, x float64) bool { return x >= low-2e-9 && x <= high+2e-9 }

// check compares a comparison with the truth: true are the servers that keep their promise.
func (w *world) check(c *Comparison) {
	w.t.Helper()
	raw := w.a.raw.At(w.counter())
	truth := virtualclock.Unix(worldEpoch, 0).AddSeconds(w.now).Seconds(raw)
	liars := 0
	for i, s := range w.servers {
		if c.Servers[i].takesPart() && math.Abs(s.offset) > s.claim {
			liars++
		}
	}
	if liars <= c.MaxFalse && c.Fused.Reason == reason.OK && !contains(c.Fused.Low, c.Fused.High, truth) {
		w.t.Fatalf("F is [%v, %v] and true time at %v; %d liars of %d", c.Fused.Low, c.Fused.High, truth, liars, c.MaxFalse)
	}
	if liars <= c.MaxFalse && c.Fused.Reason == reason.OK {
		n := c.report()
		if !contains(*n.Low, *n.High, -w.system) {
			w.t.Fatalf("the system clock must be corrected by %v, and not by %v to %v", -w.system, *n.Low, *n.High)
		}
	}
	for i, s := range w.servers {
		x := &c.Servers[i]
		if !x.takesPart() {
			continue
		}
		honest := math.Abs(s.offset) <= s.claim
		if honest && !contains(x.Reading.Low, x.Reading.High, truth) {
			w.t.Fatalf("server %d keeps its promise, and its interval [%v, %v] does not contain %v", i, x.Reading.Low, x.Reading.High, truth)
		}
		if x.Code == reason.SourceFalseticker && liars <= c.MaxFalse {
			if honest {
				w.t.Fatalf("server %d keeps its promise and is blamed: %+v", i, x)
			}
			if !contains(x.Off.Least, x.Off.Most, s.offset) {
				w.t.Fatalf("server %d is off by %v, and not by %+v", i, s.offset, x.Off)
			}
		}
	}
	for _, p := range c.Apart {
		x, y := w.servers[p.I], w.servers[p.J]
		if math.Abs(x.offset) <= x.claim && math.Abs(y.offset) <= y.claim {
			w.t.Fatalf("two servers that keep their promises contradict each other: %+v", p)
		}
		if d := x.offset - y.offset; !contains(p.Distance.Least, p.Distance.Most, d) {
			w.t.Fatalf("server %d − %d is %v, and not in %+v", p.I, p.J, d, p.Distance)
		}
	}
}
