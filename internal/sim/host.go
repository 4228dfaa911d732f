package sim

import (
	"fmt"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/node"
	"github.com/clockd/clockd/internal/ntp"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/roundtrip"
)

// HostConfig describes one host.
type HostConfig struct {
	Name       string
	Oscillator OscillatorConfig
	// Hertz is the nominal frequency of its counter; 0 is 1 GHz.
	Hertz float64
	// Start is the counter's reading at instant 0.
	Start hw.Ticks
	// Stamps are the packet stamps of its node.
	Stamps StampConfig
	// Master, if set, answers requests from a clock that the scenario makes.
	Master *Master
	// Serve: a host with a node answers requests from its virtual clock.
	Serve bool
}

const defaultHertz = 1e9

// Host has a counter, and a node, a master or both roles of a node.
type Host struct {
	Name   string
	Master *Master
	// Node is nil where there is only a Master.
	Node *node.Node
	// Publication is the latest one of Node, if Published.
	Publication node.Publication
	Published   bool
	// Packets counts the requests that the node sent.
	Packets uint64
	// Checker and Statistics look at the node's clock.
	Checker    Checker
	Statistics Statistics

	world      *World
	index      int32
	hertz      float64
	driftBound float64
	oscillator *Oscillator
	// startReading is the counter at instant 0.
	startReading hw.Ticks
	stamps       stamper
	links        []*Link
	serve        bool
	responder    *roundtrip.Responder
	reply        []byte

	// stopped is how long the counter has stood still so far; jump is added to its reading.
	stopped  Instant
	jump     int64
	paused   bool
	resumeAt Instant

	wakeAt     hw.Ticks
	wakeSet    bool
	generation uint32

	// life counts the starts of the node, down is true while it has none. member is its part in a group, nil without.
	life   uint64
	down   bool
	member *Member
	// bySource finds the link of a source where there are many.
	bySource map[int]*Link
}

// AddHost adds a host; its node is started by Start.
func (w *World) AddHost(c HostConfig) (*Host, error) {
	if c.Hertz == 0 {
		c.Hertz = defaultHertz
	}
	if !(c.Hertz >= 2e4 && c.Hertz <= 1e10) {
		return nil, fmt.Errorf("sim: host %s: a counter of %g Hz cannot be simulated, only 20 kHz to 10 GHz", c.Name, c.Hertz)
	}
	if w.Host(c.Name) != nil {
		return nil, fmt.Errorf("sim: two hosts are called %s", c.Name)
	}
	if err := c.Oscillator.check(); err != nil {
		return nil, fmt.Errorf("sim: host %s: %w", c.Name, err)
	}
	if err := c.Stamps.check(); err != nil {
		return nil, fmt.Errorf("sim: host %s: %w", c.Name, err)
	}
	h := &Host{Name: c.Name, Master: c.Master, world: w, index: int32(len(w.hosts)), hertz: c.Hertz, serve: c.Serve, startReading: c.Start}
	h.oscillator = NewOscillator(c.Oscillator, c.Hertz, c.Start, stream(w.seed, "oscillator/"+c.Name))
	stamps, err := newStamper(c.Stamps, stream(w.seed, "stamps/"+c.Name))
	if err != nil {
		return nil, fmt.Errorf("sim: host %s: %w", c.Name, err)
	}
	h.stamps = stamps
	if h.Master != nil {
		h.Master.init(stream(w.seed, "master/"+c.Name))
	}
	w.hosts = append(w.hosts, h)
	return h, nil
}

// Address returns the host's address with NTP's port.
func (h *Host) Address() string { return address(int(h.index)).String() + ":123" }

// ReferenceID is what those who follow this host put in their answers.
func (h *Host) ReferenceID() uint32 { return ntp.ReferenceID(address(int(h.index))) }

// Serves reports whether the host's node answers others: it is a server that follows servers.
func (h *Host) Serves() bool { return h.serve }

// Paused reports whether the host stands still.
func (h *Host) Paused() bool { return h.paused }

// Oscillator returns the oscillator behind the counter.
func (h *Host) Oscillator() *Oscillator { return h.oscillator }

// Links returns the host's sources.
func (h *Host) Links() []*Link { return h.links }

// Reading returns the host's counter at instant t.
func (h *Host) Reading(t Instant) hw.Ticks { return h.oscillator.Reading(t - h.stopped).Add(h.jump) }

// Phase returns the counter at instant t with the part of the next tick that has passed, from 0 to 1: the line that the counter's steps
// are on.
func (h *Host) Phase(t Instant) (hw.Ticks, float64) {
	c, part := h.oscillator.phase(t - h.stopped)
	return c.Add(h.jump), part
}

// Hertz returns how many ticks the counter makes in a true second at instant t; Nominal what the node is told of that.
func (h *Host) Hertz(t Instant) float64 {
	return h.hertz * (1 + h.oscillator.FrequencyError(t-h.stopped))
}

// Nominal is the counter's nominal frequency in hertz.
func (h *Host) Nominal() float64 { return h.hertz }

// DriftBound is ρ, as the host's node has it.
func (h *Host) DriftBound() float64 { return h.driftBound }

// Member is the host's part in a group, nil without.
func (h *Host) Member() *Member { return h.member }

// When returns the first instant, not before from, at which the counter reads c or more; Never if that is more than within later.
func (h *Host) When(c hw.Ticks, from, within Instant) Instant {
	at := h.oscillator.When(c.Add(-h.jump), from-h.stopped, within)
	if at == Never {
		return Never
	}
	return at + h.stopped
}

// NextRate is the first instant after t at which the counter's rate may change.
func (h *Host) NextRate(t Instant) Instant {
	local := t - h.stopped
	if local < 0 {
		return h.stopped
	}
	return (local/Second+1)*Second + h.stopped
}

// Start makes the node and starts it now. The counter, the host's own reference identifier and, if it
// is missing, the seed are filled in. wallError is what the host's wall clock is wrong by, in seconds: a hint that the node is given.
func (h *Host) Start(c node.Config, wallError float64) error {
	c.Counter.Hertz = h.hertz
	c.OwnReferenceIDs = []uint32{h.ReferenceID()}
	if c.Seed == [32]byte{} {
		c.Seed = nodeSeed(h.world.seed, h.Name)
		if h.life > 0 {
			c.Seed = nodeSeed(h.world.seed, fmt.Sprintf("%s/life/%d", h.Name, h.life))
		}
	}
	h.life++
	h.down = false
	n, err := node.New(c)
	if err != nil {
		return fmt.Errorf("sim: host %s: %w", h.Name, err)
	}
	h.Node, h.driftBound = n, c.DriftBound
	if h.driftBound == 0 {
		h.driftBound = node.DefaultDriftBound
	}
	if h.serve {
		r := roundtrip.ResponderConfig{Interleaved: true, Hertz: h.hertz, Seed: c.Seed, MaxClients: 256}
		if h.member != nil {
			r.Keys, r.Extend = h.member, h.member.extend
		}
		h.responder, err = roundtrip.NewResponder(r)
		if err != nil {
			return fmt.Errorf("sim: host %s: %w", h.Name, err)
		}
	}
	h.Statistics.began(h.world.now)
	return h.Step(node.Event{Kind: node.EventStart, Realtime: h.world.Truth(h.world.now).AddSeconds(wallError)})
}

// Step hands an event to the node at the present instant, does what the node asks for, and checks the clock before and after.
func (h *Host) Step(e node.Event) error {
	w := h.world
	if h.Node == nil {
		return fmt.Errorf("sim: host %s has no node", h.Name)
	}
	e.Now = h.Reading(w.now)
	if e.Kind == node.EventDisruption {
		// The reference estimators are told as well.
		for _, l := range h.links {
			l.comparison.forget()
		}
	}
	if h.Published && e.Kind != node.EventDisruption {
		h.Checker.check(h, &h.Publication.Clock, "before")
	}
	for _, a := range h.Node.Step(e) {
		switch a.Kind {
		case node.ActionSend:
			h.send(&a)
		case node.ActionWake:
			h.setWake(a.At)
		case node.ActionPublish:
			h.publish(a.Publication)
		case node.ActionAnswerPeers:
			h.member.takeState(a.Peers)
		case node.ActionReport:
			h.Statistics.report(w.now, &a.Report)
			if w.Observe != nil {
				w.Observe(h, a.Report)
			}
		}
	}
	return nil
}

// step is Step inside of an event, whose error can only be a mistake here.
func (h *Host) step(e node.Event) {
	if err := h.Step(e); err != nil {
		h.world.fail("%w", err)
	}
}

// publish takes a publication and checks it on its right side.
func (h *Host) publish(p *node.Publication) {
	if h.Published {
		h.Checker.continuous(h, &h.Publication.Clock, &p.Clock)
	}
	if h.member != nil {
		h.member.group.look("before")
	}
	h.Publication, h.Published = *p, true
	h.Checker.check(h, &h.Publication.Clock, "after")
	if h.member != nil {
		h.member.published()
	}
}

// Stop ends the node, as a kill -9 does; what is on its way to it is lost.
func (h *Host) Stop() {
	h.down, h.Published, h.wakeSet = true, false, false
	if h.member != nil {
		h.member.stopped()
	}
}

// setWake replaces the node's timer.
func (h *Host) setWake(at hw.Ticks) {
	h.wakeAt, h.wakeSet = at, true
	h.scheduleWake()
}

// farWake is for how long a timer is looked for in the future; a later one is looked for again then.
const farWake = 3600 * Second

func (h *Host) scheduleWake() {
	if !h.wakeSet {
		return
	}
	h.generation++
	local := h.world.now - h.stopped
	at := h.oscillator.When(h.wakeAt.Add(-h.jump), local, farWake)
	if at == Never {
		at = local + farWake
	}
	h.world.queue.push(event{at: at + h.stopped, kind: eventWake, host: h.index, slot: -1, generation: h.generation})
}

func (h *Host) onWake(generation uint32) {
	if generation != h.generation || !h.wakeSet || h.down {
		return
	}
	if h.Reading(h.world.now).Before(h.wakeAt) {
		h.scheduleWake()
		return
	}
	h.wakeSet = false
	h.step(node.Event{Kind: node.EventTimer})
}

// link returns the link of a source, nil without one.
func (h *Host) link(source int) *Link {
	if h.bySource != nil {
		return h.bySource[source]
	}
	for _, l := range h.links {
		if l.Source == source {
			return l
		}
	}
	return nil
}

// send takes a request of the node to the wire: it is stamped now, and leaves after the stamper's transmit delay.
func (h *Host) send(a *node.Action) {
	w := h.world
	h.Packets++
	l := h.link(a.Source)
	if l == nil {
		w.fail("host %s sends to source %d, which no link leads to", h.Name, a.Source)
		return
	}
	l.Requests++
	if h.member != nil {
		h.member.Bytes += uint64(len(a.Packet))
	}
	stamp := h.stamps.departure(h, w.now)
	leaves := w.now + h.stamps.config.Transmit.DrawInstant(h.stamps.rng)
	slot := w.slot()
	m := &w.messages[slot]
	m.link, m.sequence, m.genuine = l.index, a.Sequence, true
	m.exchange = exchange{depart: stamp}
	m.data = append(m.data[:0], a.Packet...)

	told := w.slot()
	r := &w.messages[told]
	r.link, r.sequence, r.exchange.depart = l.index, a.Sequence, stamp
	w.queue.push(event{at: leaves + h.stamps.config.Report.DrawInstant(h.stamps.rng), kind: eventSent, host: h.index, slot: told})
	w.dispatch(slot, l.To, l.Server, leaves+l.hold(false))
}

// onSent reports a departure stamp to the node.
func (h *Host) onSent(slot int32) {
	m := &h.world.messages[slot]
	e := node.Event{Kind: node.EventSent, Source: h.world.links[m.link].Source, Sequence: m.sequence, Stamp: m.exchange.depart}
	h.world.release(slot)
	if h.down {
		return
	}
	h.step(e)
}

// onArrive: a packet has reached the host's wire. The program gets it when it has been stamped.
func (h *Host) onArrive(slot int32) {
	w := h.world
	m := &w.messages[slot]
	if !m.answer && h.Master != nil {
		h.Master.serve(h, slot)
		return
	}
	if h.down {
		w.release(slot)
		return
	}
	stamp, ready := h.stamps.arrival(h, w.now)
	m.exchange.arrive = stamp
	if ready > w.now {
		w.queue.push(event{at: ready, kind: eventHandle, host: h.index, slot: slot})
		return
	}
	h.onHandle(slot)
}

// onHandle gives a packet to the program.
func (h *Host) onHandle(slot int32) {
	w := h.world
	m := &w.messages[slot]
	if h.down {
		w.release(slot)
		return
	}
	if !m.answer {
		h.answer(slot)
		return
	}
	l := w.links[m.link]
	l.Answers++
	l.digest = fold(fold(l.digest, uint64(m.exchange.depart.At)), uint64(m.exchange.arrive.At))
	if m.genuine && !l.Peer && !w.BoundsOnly {
		l.comparison.take(h, m)
	}
	h.step(node.Event{Kind: node.EventPacket, Source: l.Source, Packet: m.data, Stamp: m.exchange.arrive, Authentic: l.Peer && m.genuine})
	w.release(slot)
}

// answer replies from the node's virtual clock.
func (h *Host) answer(slot int32) {
	w := h.world
	m := &w.messages[slot]
	l := w.links[m.link]
	if h.responder == nil || !h.Published && !l.Peer {
		w.release(slot)
		return
	}
	now := h.Reading(w.now)
	coefficients, state := &h.Publication.Clock, &h.Publication.Server
	if !h.Published {
		coefficients, state = nil, nil
	}
	if h.member != nil {
		h.member.asked(l, m.exchange.arrive)
	}
	reply, token, code := h.responder.Respond(m.data, addressPort(l.Client), m.exchange.arrive, now, coefficients, state, h.reply[:0])
	if h.member != nil && h.member.finish(reply) {
		reply = nil
	}
	if reply == nil {
		w.release(slot)
		return
	}
	h.reply = reply
	m.data = append(m.data[:0], reply...)
	m.answer, m.token, m.genuine = true, token, code == reason.OK
	w.queue.push(event{at: w.now + h.stamps.config.Transmit.DrawInstant(h.stamps.rng), kind: eventDepart, host: h.index, slot: slot})
}

// onDepart: an answer of the responder leaves.
func (h *Host) onDepart(slot int32) {
	w := h.world
	m := &w.messages[slot]
	l := w.links[m.link]
	if m.token != 0 && h.Published {
		h.responder.Sent(m.token, h.stamps.departure(h, w.now), &h.Publication.Clock)
	}
	w.dispatch(slot, l.From, l.Client, w.now+l.hold(true))
}
