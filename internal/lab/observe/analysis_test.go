package observe

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
)

// The laws, in random worlds: no honest server is ever blamed, every interval contains what it must, and the log read again gives
// the same result.
func TestLawsInRandomWorlds(t *testing.T) {
	seed := testkit.Seed(t)
	for k := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, k))
		n := 1 + rng.IntN(6)
		c := config(number(n)...)
		if rng.IntN(2) == 0 {
			c.Poll, c.Fast = 0.1+rng.Float64(), true
		}
		var servers []worldServer
		for range n {
			s := worldServer{claim: rng.Float64() * 1e-3, delay: rng.ExpFloat64() * 1e-3}
			s.offset = (2*rng.Float64() - 1) * s.claim
			switch rng.IntN(5) {
			case 0:
				s.offset = rng.NormFloat64() * 0.01
			case 1:
				s.deaf = rng.IntN(2) == 0
			}
			servers = append(servers, s)
		}
		w := newWorld(t, seed+k, c, servers...)
		w.system = rng.NormFloat64()
		for range 30 {
			w.check(w.play())
			switch rng.IntN(12) {
			case 0:
				w.system += rng.NormFloat64() // a step of the system clock
			case 1:
				w.servers[rng.IntN(n)].deaf = rng.IntN(2) == 0
			case 2:
				w.pass(rng.ExpFloat64() * 100)
				w.record(&Record{Start: &Start{Segment: w.segment - 1, At: w.instant()}})
				w.round += rng.Int64N(10)
			case 3:
				w.reboot()
			}
		}
		live := w.a.Report(true)
		if again := w.again(); !reflect.DeepEqual(live, again) {
			x, _ := json.Marshal(live)
			y, _ := json.Marshal(again)
			t.Fatalf("world %d: the log read again gives another result\n%s\n%s", k, x, y)
		}
	}
}

func honest(n int) []worldServer {
	var list []worldServer
	for range n {
		list = append(list, worldServer{claim: 1e-4, delay: 1e-4})
	}
	return list
}

func serverOf(t *testing.T, r *Report, i int) *ServerReport {
	t.Helper()
	if i >= len(r.Servers) {
		t.Fatalf("%d servers", len(r.Servers))
	}
	return &r.Servers[i]
}

func TestTheFalseOneOfThree(t *testing.T) {
	w := newWorld(t, 1, config(number(3)...), honest(3)...)
	w.servers[2].offset = 5e-3
	for range 20 {
		w.check(w.play())
	}
	r := w.a.Report(true)
	x := serverOf(t, r, 2)
	if x.Reason != reason.SourceFalseticker || x.RoundsFalse != 20 || x.RoundsJudged != 20 || x.Off == nil || x.Off.Least < 3e-3 || x.Off.Most > 7e-3 {
		t.Errorf("%+v %+v", x, x.Off)
	}
	for i := range 2 {
		if x := serverOf(t, r, i); x.Reason != reason.OK || x.RoundsFalse != 0 || x.Off != nil || x.Worst != nil {
			t.Errorf("%+v", x)
		}
	}
	for _, p := range r.Pairs {
		if with := p.B == "server3.test"; with != (p.Apart == 20) || !with && p.Apart != 0 || p.Rounds != 20 {
			t.Errorf("%+v", p)
		}
	}
	if !r.Contradicted() || !r.Complete() {
		t.Error("nothing was proved")
	}
	var b strings.Builder
	if err := r.Summary(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"FALSE: off by +4.", "If at most 1 of the 3 is false", "server1.test and server3.test contradict each other", "server3.test: false in 20 of 20 rounds",
		"server1.test − server2.test  16.0 s", "oscillator cancelled",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
}

func TestTwoThatContradict(t *testing.T) {
	w := newWorld(t, 1, config(number(2)...), honest(2)...)
	w.servers[1].offset = 5e-3
	c := w.play()
	r := w.a.Report(false)
	if c.Fused.Reason != reason.NoMajority || len(c.Apart) != 1 || r.Now.Low != nil || !strings.Contains(r.together(), "nobody can tell which") {
		t.Errorf("%+v\n%s", c, r.together())
	}
	for i := range 2 {
		if x := serverOf(t, r, i); x.Reason != reason.OK || x.RoundsJudged != 0 {
			t.Errorf("one of two was blamed, or judged: %+v", x)
		}
	}
}

// A server that is dead is missing: it has no figure at all, and the others are judged without it.
func TestDeadServerIsMissing(t *testing.T) {
	w := newWorld(t, 1, config(number(3)...), honest(3)...)
	w.servers[1].deaf = true
	for range 12 {
		w.check(w.play())
	}
	b, err := json.Marshal(w.a.Report(true).Servers[1])
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	for key, v := range m {
		switch key {
		case "host", "address", "samples_sent", "samples_lost", "every_s", "stopped", "reason", "message", "rejections":
		case "samples_ok", "rounds_judged", "rounds_false", "self_contradictions":
			if v != 0.0 {
				t.Errorf("%s is %v", key, v)
			}
		case "delay", "error", "system_offset":
			for k, x := range v.(map[string]any) {
				if k == "count" && x != 0.0 || k != "count" && x != nil {
					t.Errorf("%s.%s is %v", key, k, x)
				}
			}
		default:
			if v != nil {
				t.Errorf("%s is %v", key, v)
			}
		}
	}
	if m["samples_sent"] != 12.0 || m["samples_lost"] != 12.0 || m["reason"] != "source_unreachable" {
		t.Errorf("%v", m)
	}
	if n := w.a.Report(false).Now; n.Taking != 2 || n.MaxFalse != 0 || n.Reason != reason.OK {
		t.Errorf("%+v", n)
	}
}

// A server that dies takes part, with an interval that grows, until it has been silent for too long; then it does not vote.
func TestServerThatDies(t *testing.T) {
	w := newWorld(t, 1, config(number(3)...), honest(3)...)
	first := w.play()
	w.servers[0].deaf = true
	var c *Comparison
	for range deadPolls - 1 {
		c = w.play()
		w.check(c)
		if c.Taking != 3 {
			t.Fatalf("round %d: %d take part", c.Round, c.Taking)
		}
	}
	grown := c.Servers[0].Reading.High - c.Servers[0].Reading.Low
	if least := first.Servers[0].Reading.High - first.Servers[0].Reading.Low + 2*0.9*50e-6*16*(deadPolls-1); grown < least {
		t.Errorf("the interval has grown to %v only, want %v", grown, least)
	}
	w.play()
	if c = w.play(); c.Taking != 2 || c.Servers[0].Code != reason.SourceUnreachable {
		t.Errorf("%d take part; %v", c.Taking, c.Servers[0].Code)
	}
	w.servers[0].deaf = false
	if c = w.play(); c.Taking != 3 || c.Servers[0].Code != reason.OK {
		t.Errorf("it came back: %+v", c.Servers[0])
	}
}

// The series against the raw counter does not know of a step of the system clock; the report does.
func TestStepOfTheSystemClock(t *testing.T) {
	w := newWorld(t, 1, config(number(3)...), honest(3)...)
	for range 10 {
		w.check(w.play())
	}
	before := w.a.latest.Servers[0].Reading
	w.system = 3600
	for range 10 {
		w.check(w.play())
	}
	r, after := w.a.Report(true), w.a.latest.Servers[0].Reading
	if math.Abs(after.Offset-before.Offset) > 200*50e-6 {
		t.Errorf("the offset from the raw timeline went from %v to %v", before.Offset, after.Offset)
	}
	if r.SystemSteps != 1 || math.Abs(r.SystemStepped-3600) > 0.1 || r.Contradicted() || r.Servers[0].Contradictions != 0 {
		t.Errorf("%d steps, by %v", r.SystemSteps, r.SystemStepped)
	}
	if s := r.Servers[0].Stability; s == nil || s.Samples != 20 || s.Breaks != 0 || *s.Points[0].MTIE > 1e-2 {
		t.Errorf("%+v", s)
	}
	if *r.Servers[0].Low > -3599.9 || *r.Servers[0].High < -3600.1 {
		t.Errorf("against the system clock it is %v to %v", *r.Servers[0].Low, *r.Servers[0].High)
	}
}

// Every number of the three-cornered comparison is missing, and none is 0, where the servers state too large an error, contradict
// themselves or are refused.
func TestServersThatDoNotCount(t *testing.T) {
	c := config(number(4)...)
	c.MaxError = 0.01
	w := newWorld(t, 1, c, honest(4)...)
	w.servers[1].claim = 0.1
	w.play()
	w.servers[2].offset = 0.5
	w.play()
	w.record(&Record{Failure: &Failure{Segment: 0, Round: w.round, Server: 3, Reason: reason.KissDeny, Sent: true, Every: 1, Stopped: true}})
	w.pass(1)
	w.record(&Record{Round: &Round{Segment: 0, Number: w.round, At: w.instant()}})
	r := w.a.Report(false)
	for i, want := range []reason.Code{reason.OK, reason.ServerRootDistance, reason.SampleEmptyInterval, reason.KissDeny} {
		if x := serverOf(t, r, i); x.Reason != want || i > 0 && x.Low != nil {
			t.Errorf("server %d: %+v, want %v", i, x, want)
		}
	}
	if r.Servers[2].Contradictions != 1 || !r.Servers[3].Stopped || !r.Contradicted() {
		t.Errorf("%+v", r.Servers)
	}
	if r.Complete() {
		t.Error("a server whose answers were never used was called measured")
	}
	if !strings.Contains(r.Line(), "kiss_deny: not asked any more") {
		t.Error(r.Line())
	}
}

func TestAnotherAddressIsAnotherClock(t *testing.T) {
	w := newWorld(t, 1, config(number(2)...), honest(2)...)
	for range 5 {
		w.play()
	}
	w.record(&Record{Address: &Address{Server: 0, Address: address(200), Every: 1}})
	if w.a.servers[0].filter != nil || w.a.servers[0].stats.phases.breaks != 1 || w.a.pairs[0].stats.phases.breaks != 1 {
		t.Error("what was known of the old clock was kept")
	}
	// And if that record is lost: the sample tells where it comes from.
	w.play()
	if w.a.servers[0].stats.phases.breaks != 1 || w.a.servers[0].address != address(1) {
		t.Errorf("%+v", w.a.servers[0].stats.phases)
	}
}

func TestGapsAndSegments(t *testing.T) {
	w := newWorld(t, 1, config(number(3)...), honest(3)...)
	for range 10 {
		w.check(w.play())
	}
	w.pass(1000)
	w.record(&Record{Start: &Start{Segment: 0, At: w.instant()}})
	w.round += 62
	for range 4 {
		w.check(w.play())
	}
	w.reboot()
	for range 3 {
		w.check(w.play())
	}
	r := w.a.Report(true)
	if r.GapsTotal != 2 || len(r.Gaps) != 2 || math.Abs(*r.Gaps[0].Length-1000) > 0.1 || math.Abs(*r.Gaps[1].Length-100) > 1 || r.Segments != 2 || r.Rounds != 17 {
		t.Errorf("%+v", r.Gaps)
	}
	if math.Abs(r.Measured-17*16) > 2 || math.Abs(r.Now.At-(17*16+1100)) > 3 {
		t.Errorf("%v s were measured, the end is at %v s", r.Measured, r.Now.At)
	}
	// The gap is a gap: 62 rounds are missing in the series of the first segment, which is the longest.
	if s := r.Servers[0].Stability; s.Samples != 14 || s.Missing != 62 || s.Breaks != 1 {
		t.Errorf("%+v", s)
	}
}

func TestRecordsOutOfPlace(t *testing.T) {
	w := newWorld(t, 1, config(number(2)...), honest(2)...)
	w.play()
	old := w.instant()
	old.Ticks -= 1 << 35
	far := w.instant()
	far.Ticks += 1 << 62
	sample := func(change func(*Sample)) *Record {
		s := *exampleRecords()[3].Sample
		s.Departed.At, s.Arrived.At, s.Cross.At = w.counter(), w.counter()+1000, w.counter()+1001
		change(&s)
		return &Record{Sample: &s}
	}
	for name, r := range map[string]*Record{
		"an old segment":         {Segment: &Segment{Number: 0, Hertz: 1e9}},
		"a round again":          {Round: &Round{Number: 0, At: w.instant()}},
		"a round in the past":    {Round: &Round{Number: 5, At: old}},
		"a round far ahead":      {Round: &Round{Number: 5, At: far}},
		"a lost segment's round": {Round: &Round{Segment: 3, Number: 9, At: w.instant()}},
		"a lost segment's start": {Start: &Start{Segment: 3, At: w.instant()}},
		"a start in the past":    {Start: &Start{At: old}},
		"an end in the past":     {End: &End{At: old}},
		"a lost segment's end":   {End: &End{Segment: 1, At: w.instant()}},
		"no such server":         {Failure: &Failure{Server: 2, Reason: reason.KissDeny}},
		"no such address":        {Address: &Address{Server: -1}},
		"a lost segment's":       sample(func(s *Sample) { s.Segment = 7 }),
		"a strange stamp":        sample(func(s *Sample) { s.Departed.At = 3 }),
		"a strange cross-stamp":  sample(func(s *Sample) { s.Cross.At = math.MaxUint64 }),
		"a second header":        {Header: exampleRecords()[0].Header},
		"nothing":                {},
	} {
		if err := w.a.Step(r); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if w.a.rounds != 1 || len(w.a.gaps) != 0 {
		t.Errorf("what was refused has changed the result: %+v", w.a.gaps)
	}
	w.record(sample(func(s *Sample) { s.Server = 1; s.Address = address(2) }))
}

// RATE is remembered: who goes on with the log asks as seldom.
func TestMannersAreRemembered(t *testing.T) {
	w := newWorld(t, 1, config(number(2)...), honest(2)...)
	w.record(&Record{Address: &Address{Server: 0, Address: address(1), Every: 2}})
	w.record(&Record{Failure: &Failure{Server: 0, Reason: reason.KissRate, Sent: true, Every: 4}})
	w.record(&Record{Failure: &Failure{Server: 1, Reason: reason.KissDeny, Sent: true, Every: 1, Stopped: true}})
	if a, every, stopped := w.a.Manners(0); a != address(1) || every != 4 || stopped {
		t.Errorf("%v, every %d, %v", a, every, stopped)
	}
	if _, every, stopped := w.a.Manners(1); every != 1 || !stopped {
		t.Errorf("every %d, %v", every, stopped)
	}
	r := w.a.Report(false)
	if r.Servers[0].Every != 64 || len(r.Events) != 2 || !strings.Contains(r.Events[0].Text, "1m4s") || !strings.Contains(r.Events[1].Text, "not asked any more") {
		t.Errorf("%+v", r.Events)
	}
}

func TestExplicitMaxFalse(t *testing.T) {
	c := config(number(5)...)
	two := 2
	c.MaxFalse = &two
	w := newWorld(t, 1, c, honest(5)...)
	w.servers[0].offset, w.servers[1].offset = 0.01, -0.01
	if x := w.play(); x.MaxFalse != 2 || x.Fused.Reason != reason.OK || x.Servers[0].Code != reason.SourceFalseticker || x.Servers[1].Code != reason.SourceFalseticker {
		t.Errorf("%+v", x)
	}
	w.servers[2].deaf, w.servers[3].deaf, w.servers[4].deaf = true, true, true
	for range deadPolls + 1 {
		w.play()
	}
	if n := w.a.Report(false); n.Now.Reason != reason.TooFewSources || !strings.Contains(n.together(), "too few") {
		t.Errorf("%+v", n.Now)
	}
}

func TestText(t *testing.T) {
	for x, want := range map[float64]string{0: "0.00 s", 1.234e-6: "1.23 µs", -5e-3: "-5.00 ms", 12.34: "12.3 s", 0.9996: "1.00 s", 123e-9: "123 ns", math.Inf(1): "-"} {
		if got := Seconds(x); got != want {
			t.Errorf("%v is %q, want %q", x, got, want)
		}
	}
	if Signed(1e-3) != "+1.00 ms" || Signed(-1e-3) != "-1.00 ms" || Clean("a\x1b[2J\u202eb\tc") != "a?[2J?b?c" {
		t.Error("signs or cleaning")
	}
}

func TestEventsAreBounded(t *testing.T) {
	w := newWorld(t, 1, config(number(1)...), honest(1)...)
	for i := range 2 * maxEvents {
		code := reason.SourceUnreachable
		if i%2 == 0 {
			code = reason.PacketTooShort
		}
		w.record(&Record{Failure: &Failure{Server: 0, Reason: code, Every: 1}})
	}
	r := w.a.Report(false)
	if len(r.Events) != maxEvents || r.EventsDropped != maxEvents {
		t.Errorf("%d events, %d dropped", len(r.Events), r.EventsDropped)
	}
}

// A value stands in the slot of its own round, also where the rounds between are missing or were never closed.
func TestPhasesKeepTheirPlace(t *testing.T) {
	p := phases{poll: 16, overlap: pairOverlap}
	const rate = 20e-6
	for _, round := range []int64{3, 4, 5, 9, 10, 9, 11, 12, 13, 14} { // one comes twice, and too late
		p.put(round, rate*16*float64(round))
	}
	r := p.report()
	if r.Samples != 9 || r.Missing != 3 || r.Breaks != 0 {
		t.Fatalf("%+v", r)
	}
	// A constant rate has no deviation, and the phase moves by the rate in every interval.
	for _, x := range r.Points {
		if x.ADEV != nil && *x.ADEV > 1e-15 || x.MTIE != nil && math.Abs(*x.MTIE-rate*x.Tau) > 1e-12 {
			t.Errorf("τ = %v: ADEV %v, MTIE %v", x.Tau, *x.ADEV, *x.MTIE)
		}
	}
	p.put(14+longestMiss+2, 1)
	if r = p.report(); r.Breaks != 1 || r.Samples != 9 {
		t.Errorf("after a long gap: %+v", r)
	}
	p.cut()
	p.cut()
	if r = p.report(); r.Breaks != 2 || r.Samples != 9 {
		t.Errorf("after a cut: %+v", r)
	}
}

// A round that was never closed, as when the process is killed in it, does not put its samples into a later one.
func TestRoundThatWasNeverClosed(t *testing.T) {
	w := newWorld(t, 1, config(number(2)...), honest(2)...)
	w.rng = rand.New(rand.NewPCG(1, 1))
	w.rate = 0.9 * w.config.DriftBound
	play := func(closed bool) {
		w.pass(16)
		for i := range w.servers {
			w.ask(i)
		}
		if closed {
			w.record(&Record{Round: &Round{Segment: 0, Number: w.round, At: w.instant()}})
		}
		w.round++
	}
	for range 6 {
		play(true)
	}
	play(false)
	w.pass(160)
	w.record(&Record{Start: &Start{Segment: 0, At: w.instant()}})
	w.round += 10
	for range 6 {
		play(true)
	}
	// The counter is 45 ppm off: a value that was ten rounds out of place would be 7 ms off.
	if s := w.a.Report(true).Servers[0].Stability; s.Samples != 13 || s.Missing != 10 || *s.Points[0].MTIE > 45e-6*17+1e-3 {
		t.Errorf("%+v, MTIE %v", s, *s.Points[0].MTIE)
	}
}
