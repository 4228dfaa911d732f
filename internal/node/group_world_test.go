package node

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/ntp"
	"github.com/clockd/clockd/internal/peerwire"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/agreement"
	"github.com/clockd/clockd/sync/roundtrip"
	"github.com/clockd/clockd/virtualclock"
)

// town is a small world of nodes that are each other's peers, on one thread: true time, wrong counters, random delays, and real
// requests and answers between them, by roundtrip.Responder. Some lie.
type town struct {
	t      *testing.T
	seed   uint64
	rng    *rand.Rand
	now    float64
	serial int
	queue  []event
	hosts  []*citizen
	config agreement.Config
	cut    func(a, b *citizen) bool
	slow   *citizen                                         // what it sends to its peers is late by 20 ms
	hybrid bool                                             // intervals are of UTC: the checks of those of the group do not apply
	forged bool                                             // no answer's MAC is good
	lie    func(from, to *citizen, a *peerwire.Answer) bool // false: no answer
	only   []*citizen                                       // who is judged; nil: all honest ones

	promised             float64
	worst, worstFar      float64 // the largest difference, and the largest far edge, of two synchronised clocks
	checks, sound, wrong int
	story                []string

	// measured, if set, is told of measurements.
	measured func(h *citizen, m *Measurement)
	// watch is whose events and actions are kept.
	watch   *citizen
	events  []Event
	actions []byte
}

// appendAction writes an action down as the event log does.
func appendAction(t *testing.T, b []byte, a *Action) []byte {
	t.Helper()
	text, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	return append(append(b, text...), '\n')
}

// citizen is one host.
type citizen struct {
	id        int
	liar, up  bool
	base      hw.Ticks
	skew      float64
	node      *Node
	config    Config
	responder *roundtrip.Responder
	stamper   peerwire.Stamper
	asker     *citizen // of the request that is being answered
	arrival   hw.Stamp
	wakeAt    float64
	pub       *Publication
	old       *Publication
	pubs      int
	born      int // counts the starts, so that events of an earlier life are dropped
	shown     virtualclock.Time
	epoch     virtualclock.Epoch
	masters   map[int]*server // by source ID
}

// ring is the key ring of citizen c: the key of the pair (a, b) has the identifier pairKey(a, b).
type ring struct{ c *citizen }

func pairKey(a, b int) uint32 { return uint32(1000*min(a, b) + max(a, b)) }

func (r ring) Find(_ []byte, m *ntp.MAC) ntp.Authenticator {
	if r.c.asker == nil || m.KeyID != pairKey(r.c.id, r.c.asker.id) {
		return nil
	}
	return &roundtrip.Vouched{KeyID: m.KeyID, Length: ntp.MACShort, Good: true}
}

func townConfig(n, f int) agreement.Config {
	return agreement.Config{
		Members: n, Faults: f, Period: time.Second, Drift: 50e-6, RateLimit: 50e-6, ReadingError: 150e-6, PublicationDelay: 0.2,
	}
}

func newTown(t *testing.T, seed uint64, c agreement.Config, liars int) *town {
	t.Helper()
	w := &town{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 9)), config: c}
	bounds, err := agreement.Bounds(c.Model())
	if err != nil {
		t.Fatal(err)
	}
	w.promised = bounds.Precision
	for i := range c.Members {
		h := &citizen{id: i + 1, liar: i >= c.Members-liars, masters: map[int]*server{}}
		h.skew = c.Drift * (2*w.rng.Float64() - 1)
		if i%2 == 0 { // half of them at the bounds
			h.skew = math.Copysign(c.Drift*(1-1e-6), float64(i%4)-1)
		}
		w.hosts = append(w.hosts, h)
	}
	return w
}

// boot starts a host (again), with a wall clock that is off by so many seconds.
func (w *town) boot(h *citizen, off float64) {
	h.up, h.pub, h.old, h.shown = true, nil, nil, virtualclock.MinTime()
	h.born++
	h.base = hw.Ticks(w.rng.Uint64N(1 << 50)).Add(-int64(w.now * stageHertz))
	c := Config{Counter: hw.Frequency{Hertz: stageHertz}, MaxSlew: 500e-6, Sources: h.config.Sources, MaxBound: h.config.MaxBound, Measure: w.measured != nil}
	c.Seed[0], c.Seed[1], c.Seed[2] = byte(h.id), byte(h.born), byte(w.seed)
	shared := w.config
	c.Agreement = &shared
	for _, q := range w.hosts {
		if q != h {
			c.Peers = append(c.Peers, PeerConfig{
				ID: 100 + q.id, Name: fmt.Sprintf("h%d", q.id), Address: fmt.Sprintf("192.0.2.%d:123", q.id),
				Key: SourceKey{ID: pairKey(h.id, q.id), Length: ntp.MACShort}, Poll: w.config.Period.Seconds() / 8, Timeout: 0.05,
			})
		}
	}
	h.config = c
	var err error
	if h.node, err = New(c); err != nil {
		w.t.Fatal(err)
	}
	h.responder, err = roundtrip.NewResponder(roundtrip.ResponderConfig{
		Hertz: stageHertz, Keys: ring{h},
		Extend: func(_ ntp.Authenticator, request, answer []byte) bool {
			if !peerwire.IsRequest(request) {
				return false
			}
			a := h.stamper.Answer(h.arrival, w.ticks(h))
			if h.liar && w.lie != nil && !w.lie(h, h.asker, &a) {
				return false
			}
			a.Append(answer[:0])
			return true
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.step(h, Event{Kind: EventStart, Realtime: stageEpoch.AddSeconds(w.now + off)})
}

func (w *town) kill(h *citizen) { h.up = false; h.born++; h.wakeAt = math.Inf(1) }

func (w *town) ticks(h *citizen) hw.Ticks {
	return h.base.Add(int64(math.Floor(w.now * (1 + h.skew) * stageHertz)))
}

func (w *town) at(h *citizen, delay float64, do func()) {
	w.serial++
	life := h.born
	w.queue = append(w.queue, event{w.now + delay, w.serial, func() {
		if h.up && h.born == life {
			do()
		}
	}})
}

func (w *town) delay() float64 { return 20e-6 + 10e-6*w.rng.ExpFloat64() }

func (w *town) step(h *citizen, e Event) {
	e.Now = w.ticks(h)
	if w.watch == h {
		w.events = append(w.events, e)
	}
	for _, a := range h.node.Step(e) {
		if w.watch == h {
			w.actions = appendAction(w.t, w.actions, &a)
		}
		switch a.Kind {
		case ActionSend:
			w.send(h, a)
		case ActionWake:
			h.wakeAt = max(w.now, w.now+float64(a.At.Sub(w.ticks(h)))/stageHertz/(1+h.skew)+2e-9)
		case ActionPublish:
			p := *a.Publication
			if h.pubs++; h.pubs%7 == 0 {
				h.old = h.pub
			}
			h.pub = &p
		case ActionAnswerPeers:
			h.stamper = *a.Peers
		case ActionMeasured:
			w.measured(h, a.Measurement)
		case ActionReport:
			if a.Report.Topic == "clock" {
				w.story = append(w.story, fmt.Sprintf("%.2f h%d %v %v", w.now, h.id, a.Report.Status, a.Report.Reason))
			}
		}
	}
}

// send carries a request to a master or a peer, and the answer back.
func (w *town) send(h *citizen, a Action) {
	packet := slices.Clone(a.Packet)
	stamp := hw.Stamp{At: w.ticks(h), Kind: hw.StampKernel}
	w.at(h, 0, func() { w.step(h, Event{Kind: EventSent, Source: a.Source, Sequence: a.Sequence, Stamp: stamp}) })
	if m := h.masters[a.Source]; m != nil {
		if !m.dead {
			w.at(h, w.delay(), func() {
				answer := m.answer(packet, stageEpoch.AddSeconds(w.now+m.offset))
				w.arrive(h, a.Source, answer, false)
			})
		}
		return
	}
	q := w.hosts[a.Source-101]
	if w.cut != nil && w.cut(h, q) || !q.up {
		return
	}
	w.at(q, w.delay()+w.late(h), func() {
		q.asker, q.arrival = h, hw.Stamp{At: w.ticks(q), Kind: hw.StampKernel}
		var k *virtualclock.Coefficients
		var s *roundtrip.ServerState
		if q.pub != nil {
			k, s = &q.pub.Clock, &q.pub.Server
		}
		answer, _, code := q.responder.Respond(packet, netip.MustParseAddrPort("192.0.2.1:123"), q.arrival, w.ticks(q), k, s, make([]byte, 0, 1500))
		if code != reason.OK || answer == nil {
			w.t.Errorf("h%d does not answer h%d: %v", q.id, h.id, code)
			return
		}
		if h.up {
			late := slices.Clone(answer)
			w.at(h, w.late(q), func() { w.arrive(h, a.Source, late, !w.forged) })
		}
	})
}

func (w *town) late(from *citizen) float64 {
	if from == w.slow {
		return 0.02
	}
	return 0
}

func (w *town) arrive(h *citizen, source int, answer []byte, authentic bool) {
	w.at(h, w.delay(), func() {
		w.step(h, Event{Kind: EventPacket, Source: source, Packet: answer, Authentic: authentic, Stamp: hw.Stamp{At: w.ticks(h), Kind: hw.StampKernel}})
	})
}

// run lets so many seconds pass, and looks at all clocks a hundred times a second and at every event.
func (w *town) run(seconds float64) {
	w.t.Helper()
	end := w.now + seconds
	for tick := w.now; w.now < end; {
		next, which, who := min(tick+0.01, end), -1, (*citizen)(nil)
		for i := range w.queue {
			if e := &w.queue[i]; e.at < next || e.at == next && (which < 0 || e.serial < w.queue[which].serial) {
				next, which = e.at, i
			}
		}
		for _, h := range w.hosts {
			if h.up && h.wakeAt < next {
				next, which, who = h.wakeAt, -1, h
			}
		}
		w.now = max(w.now, next)
		switch {
		case who != nil:
			who.wakeAt = math.Inf(1)
			w.step(who, Event{Kind: EventTimer})
		case which >= 0:
			e := w.queue[which]
			w.queue = slices.Delete(w.queue, which, which+1)
			e.do()
		default:
			tick = next
			w.check()
		}
	}
}

func (w *town) judged() []*citizen {
	if w.only != nil {
		return w.only
	}
	var out []*citizen
	for _, h := range w.hosts {
		if !h.liar {
			out = append(out, h)
		}
	}
	return out
}

// check holds the published clocks and intervals of all honest hosts against each other, also those of older publications, as
// readers of a dead daemon's page have them.
func (w *town) check() {
	w.t.Helper()
	type seen struct {
		h    *citizen
		i    virtualclock.Interval
		v    virtualclock.Time
		live bool
	}
	var all []seen
	for _, h := range w.judged() {
		c := w.ticks(h)
		if h.up && h.pub != nil {
			v := h.pub.Clock.Time(c)
			if h.epoch == h.pub.Clock.Epoch && v.Before(h.shown) {
				w.fail("h%d's clock goes back by %g s", h.id, h.shown.Seconds(v))
			}
			h.epoch, h.shown = h.pub.Clock.Epoch, v
		}
		w.checkEdges(h)
		for n, p := range []*Publication{h.pub, h.old} {
			if p == nil || !h.up {
				continue
			}
			if i := p.Clock.Interval(c); i.Status.Sound() {
				all = append(all, seen{h, i, p.Clock.Time(c), n == 0})
			}
		}
	}
	if w.hybrid {
		all = nil
	}
	for x := range all {
		for y := range x {
			a, b := &all[x], &all[y]
			w.checks++
			if a.i.Latest.Before(b.i.Earliest) || b.i.Latest.Before(a.i.Earliest) {
				w.fail("the intervals of h%d and h%d have no point in common", a.h.id, b.h.id)
			}
			if !a.live || !b.live || a.i.Status != virtualclock.Synchronised || b.i.Status != virtualclock.Synchronised {
				continue
			}
			w.sound++
			d := math.Abs(a.v.Seconds(b.v))
			far := func(s *seen) float64 { return max(s.v.Seconds(s.i.Earliest), s.i.Latest.Seconds(s.v)) }
			w.worst, w.worstFar = max(w.worst, d), max(w.worstFar, far(a), far(b))
			if d > w.promised {
				w.fail("h%d and h%d are %g s apart, promised are %g s", a.h.id, b.h.id, d, w.promised)
			}
			if d > far(a)+far(b) {
				w.fail("h%d and h%d are %g s apart, their far edges %g s", a.h.id, b.h.id, d, far(a)+far(b))
			}
		}
	}
}

// checkEdges holds what readers compute from the last publication against what the group says at this very moment.
func (w *town) checkEdges(h *citizen) {
	w.t.Helper()
	if !h.up || h.pub == nil || !h.pub.Internal || h.node.group.member == nil {
		return
	}
	c := w.ticks(h)
	i, b := h.pub.Clock.Interval(c), h.node.group.member.Interval(h.node.group.raw.At(c))
	if i.Status.Sound() && b.Status.Sound() && (b.Earliest.Before(i.Earliest) || i.Latest.Before(b.Latest)) {
		w.fail("h%d's readers are told [%v, %v], the group says [%v, %v]", h.id, i.Earliest, i.Latest, b.Earliest, b.Latest)
	}
	if i.Status.Sound() && !b.Status.Sound() {
		w.fail("h%d's readers are told %v, the group says %v (%v)", h.id, i.Status, b.Status, b.Reason)
	}
}

func (w *town) fail(format string, a ...any) {
	w.t.Helper()
	if w.wrong++; w.wrong <= 3 {
		w.t.Errorf("seed %d, %.3f s: %s", w.seed, w.now, fmt.Sprintf(format, a...))
	}
}

// standing is the live status of a host.
func (w *town) standing(h *citizen) virtualclock.Status {
	if h.pub == nil {
		return virtualclock.Unsynchronised
	}
	return h.pub.Clock.Interval(w.ticks(h)).Status
}

// expect fails unless these hosts have that status.
func (w *town) expect(want virtualclock.Status, hosts ...*citizen) {
	w.t.Helper()
	for _, h := range hosts {
		if got := w.standing(h); got != want {
			why := reason.OK
			if h.pub != nil {
				why = h.pub.Reason
			}
			w.t.Errorf("seed %d, %.2f s: h%d is %v (%v), want %v; the last of the story: %q", w.seed, w.now, h.id, got, why, want, w.story[max(0, len(w.story)-12):])
		}
	}
}

// offsets are the wall clocks at the start: apart by hours, or by little.
func (w *town) bootAll(spread float64) {
	for _, h := range w.hosts {
		w.boot(h, spread*(2*w.rng.Float64()-1))
	}
}
