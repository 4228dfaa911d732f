package node

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// stage is a small world for one node: true time, a wrong counter, and servers that answer as their script says. It is
// single-threaded and depends on nothing but its seed.
type stage struct {
	t       *testing.T
	node    *Node
	rng     *rand.Rand
	now     float64 // true seconds since the start
	skew    float64 // relative error of the counter
	raw     float64 // the counter's seconds at true second rawAt, from where skew holds
	rawAt   float64
	leaped  float64      // what true UTC has stepped by
	frozen  *Publication // an old publication, as the readers of a dead daemon's page have it
	jump    float64      // seconds by which the counter has lost true time (a pause that it did not see)
	servers map[int]*server
	queue   []event
	wakeAt  float64
	story   []string
	pub     *Publication
	pubs    int
	checks  int
	wrong   int // intervals that did not contain the truth
	serial  int
	// measured, if set, is told of measurements.
	measured func(*Measurement)
}

type event struct {
	at     float64
	serial int
	do     func()
}

// server is a master as the script wants it.
type server struct {
	offset     float64 // its clock − true time
	delay      float64 // one way, s
	queue      float64 // mean of the exponential part
	dead       bool
	claims     float64 // root dispersion
	kiss       string
	leap       uint8
	stratum    uint8
	wrongNonce bool
	loss       float64
	reference  uint32
	requests   int
	answered   []float64
}

const stageHertz = 1e9

var stageEpoch = virtualclock.Unix(1_800_000_000_000_000_000, 0)

func newStage(t *testing.T, seed uint64, c Config, servers map[int]*server) *stage {
	t.Helper()
	c.Counter = hw.Frequency{Hertz: stageHertz}
	s := &stage{t: t, rng: rand.New(rand.NewPCG(seed, 3)), servers: servers, skew: 31e-6, wakeAt: math.Inf(1)}
	n, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	s.node = n
	return s
}

// sources makes n sources of one poll interval.
func sources(n int, poll float64) []SourceConfig {
	var out []SourceConfig
	for i := range n {
		out = append(out, SourceConfig{
			ID: i + 1, Name: fmt.Sprintf("s%d", i+1), Address: fmt.Sprintf("192.0.2.%d:123", i+1), ReferenceID: uint32(i + 1), Poll: poll, Burst: 4,
			BurstSpacing: 0.25, Timeout: 0.2, MaxServerError: 1,
		})
	}
	return out
}

func (s *stage) ticks() hw.Ticks {
	return hw.Ticks(1<<40 + math.Floor((s.raw+(s.now-s.jump-s.rawAt)*(1+s.skew))*stageHertz))
}

// drift changes the counter's rate from now on.
func (s *stage) drift(skew float64) {
	s.raw += (s.now - s.jump - s.rawAt) * (1 + s.skew)
	s.rawAt, s.skew = s.now-s.jump, skew
}

func (s *stage) at(delay float64, do func()) {
	s.serial++
	s.queue = append(s.queue, event{s.now + delay, s.serial, do})
}

func (s *stage) truth() virtualclock.Time { return stageEpoch.AddSeconds(s.now + s.leaped) }

func (s *stage) start() {
	s.step(Event{Kind: EventStart, Realtime: stageEpoch.AddSeconds(-3)})
}

// step hands an event to the node and does what it asks for.
func (s *stage) step(e Event) {
	e.Now = s.ticks()
	for _, a := range s.node.Step(e) {
		switch a.Kind {
		case ActionSend:
			s.send(a)
		case ActionWake:
			s.wakeAt = s.now + float64(a.At.Sub(s.ticks()))/stageHertz/(1+s.skew) + 2e-9
		case ActionPublish:
			p := *a.Publication
			if s.pubs++; s.pubs%10 == 0 {
				s.frozen = s.pub
			}
			s.pub = &p
		case ActionMeasured:
			if s.measured != nil {
				s.measured(a.Measurement)
			}
		case ActionReport:
			if a.Report.Topic != "packet" {
				s.tell(a.Report)
			}
		}
	}
}

func (s *stage) tell(r Report) {
	line := fmt.Sprintf("%.0f %s", s.now, r.Topic)
	if r.Source != 0 {
		line += fmt.Sprintf(" %d", r.Source)
	}
	if r.Topic == "clock" {
		line += " " + r.Status.String()
	}
	s.story = append(s.story, line+" "+r.Reason.String())
}

func (s *stage) send(a Action) {
	packet := slices.Clone(a.Packet)
	stamp := hw.Stamp{At: s.ticks(), Kind: hw.StampKernel}
	s.at(0, func() { s.step(Event{Kind: EventSent, Source: a.Source, Sequence: a.Sequence, Stamp: stamp}) })
	v := s.servers[a.Source]
	v.requests++
	if v.dead || s.rng.Float64() < v.loss {
		return
	}
	s.at(v.delay+v.queue*s.rng.ExpFloat64(), func() {
		answer := v.answer(packet, stageEpoch.AddSeconds(s.now+v.offset))
		v.answered = append(v.answered, s.now)
		s.at(v.delay+v.queue*s.rng.ExpFloat64(), func() {
			s.step(Event{Kind: EventPacket, Source: a.Source, Packet: answer, Stamp: hw.Stamp{At: s.ticks(), Kind: hw.StampKernel}})
		})
	})
}

// answer is written down byte by byte, not with clockd's own codec.
func (v *server) answer(request []byte, t virtualclock.Time) []byte {
	b := make([]byte, 48)
	stratum := v.stratum
	if stratum == 0 {
		stratum = 1
	}
	b[0], b[1], b[2], b[3] = v.leap<<6|4<<3|4, stratum, 4, 0xe2 // precision 2⁻³⁰
	if v.kiss != "" {
		b[1] = 0
		copy(b[12:], v.kiss)
	}
	if v.reference != 0 {
		binary.BigEndian.PutUint32(b[12:], v.reference)
	}
	binary.BigEndian.PutUint32(b[8:], uint32(math.Ceil(v.claims*65536)))
	copy(b[24:32], request[40:48])
	if v.wrongNonce {
		b[31]++
	}
	const unixToNTP = 2208988800
	stamp := uint64(t.UnixNano()/1e9+unixToNTP)<<32 | uint64(float64(t.UnixNano()%1e9)/1e9*(1<<32))
	for _, at := range []int{16, 32, 40} {
		binary.BigEndian.PutUint64(b[at:], stamp)
	}
	return b
}

// run lets the world go on for so many seconds, and checks the clock at every event and ten times a second.
func (s *stage) run(seconds float64) {
	s.t.Helper()
	end := s.now + seconds
	for tick := s.now; s.now < end; {
		next, i := min(s.wakeAt, tick+0.1, end), -1
		for j, e := range s.queue {
			if e.at < next || i < 0 && e.at == next || i >= 0 && e.at == next && e.serial < s.queue[i].serial {
				next, i = e.at, j
			}
		}
		s.now = max(s.now, next)
		switch {
		case i >= 0:
			e := s.queue[i]
			s.queue = slices.Delete(s.queue, i, i+1)
			e.do()
		case next == s.wakeAt:
			s.wakeAt = math.Inf(1)
			s.step(Event{Kind: EventTimer})
		default:
			tick = next
		}
		s.check()
	}
}

// check holds the published interval against the truth.
func (s *stage) check() {
	s.t.Helper()
	if s.pub == nil {
		return
	}
	s.checkOne(s.pub)
	if s.frozen != nil && s.pub.Clock.Status.Sound() && s.frozen.Clock.Epoch == s.pub.Clock.Epoch {
		s.checkOne(s.frozen)
	}
}

func (s *stage) checkOne(p *Publication) {
	s.t.Helper()
	s.checks++
	i := p.Clock.Interval(s.ticks())
	if i.Status.Sound() && (s.truth().Before(i.Earliest) || s.truth().After(i.Latest)) {
		s.wrong++
		if s.wrong == 1 {
			s.story = append(s.story, fmt.Sprintf("%.3f WRONG early %.9f late %.9f", s.now, s.truth().Seconds(i.Earliest), i.Latest.Seconds(s.truth())))
		}
	}
}

func (s *stage) status() virtualclock.Status { return s.pub.Clock.Interval(s.ticks()).Status }

// clockError is the virtual clock − true time.
func (s *stage) clockError() float64 {
	c := s.ticks()
	return s.pub.Clock.Time(c).Seconds(s.truth())
}

func (s *stage) bound() float64 {
	i := s.pub.Clock.Interval(s.ticks())
	return i.Latest.Seconds(i.Earliest) / 2
}

// expect fails unless the story so far contains these lines in this order, and nothing was wrong.
func (s *stage) expect(lines ...string) {
	s.t.Helper()
	if s.wrong != 0 {
		s.t.Errorf("%d of %d intervals did not contain the truth", s.wrong, s.checks)
	}
	rest := s.story
	for _, want := range lines {
		i := slices.IndexFunc(rest, func(l string) bool { return strings.Contains(l, want) })
		if i < 0 {
			s.t.Errorf("%q does not come in the story:\n%s", want, strings.Join(s.story, "\n"))
			return
		}
		rest = rest[i+1:]
	}
}

func (s *stage) expectStatus(want virtualclock.Status, why reason.Code) {
	s.t.Helper()
	if got := s.status(); got != want || s.pub.Reason != why {
		s.t.Errorf("at %.1f s the status is %v (%v), want %v (%v); the story:\n%s", s.now, got, s.pub.Reason, want, why, strings.Join(s.story, "\n"))
	}
}
