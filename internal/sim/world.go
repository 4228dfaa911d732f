package sim

import (
	"fmt"
	"net/netip"

	"github.com/clockd/clockd/internal/node"
	"github.com/clockd/clockd/virtualclock"
)

// World is true time, the queue of what is to come, and all hosts. It is used by one goroutine and depends on nothing but its seed.
type World struct {
	// Epoch is the true time at instant 0.
	Epoch virtualclock.Time
	// Sample is how often all clocks are looked at; 0: only at events.
	Sample Instant
	// Events counts what was taken from the queue.
	Events uint64
	// BoundsOnly leaves out the reference estimators, which no interval depends on.
	BoundsOnly bool
	// Observe, if set, is called for every report of a node.
	Observe func(h *Host, r node.Report)
	// Sampled, if set, is called when all clocks have been looked at.
	Sampled func()
	// Stepping, if set, is called when an event is due, just before anything of it happens, and Stepped when all of it has: between the
	// two, and only there, a clock can become another one. h is the host that it happens to, nil if it may be any.
	Stepping, Stepped func(h *Host)
	// Travelled, if set, is told how long each packet is on its way, in seconds; a lost one is not told of.
	Travelled func(l *Link, answer bool, delay float64)

	seed     uint64
	now      Instant
	queue    queue
	hosts    []*Host
	links    []*Link
	groups   []*Group
	messages []message
	free     []int32
	timeline []func() error
	sampling bool
	err      error
}

// message is a packet on its way, or the report of its departure. Slots are used again.
type message struct {
	link int32
	// answer: it goes from the server to the client.
	answer bool
	// genuine: it was made by the server for this request and altered by nobody.
	genuine  bool
	sequence uint32
	exchange exchange
	data     []byte
	token    uint64
}

// NewWorld returns an empty world that begins at epoch.
func NewWorld(seed uint64, epoch virtualclock.Time) *World {
	return &World{Epoch: epoch, seed: seed}
}

// Now returns the present instant.
func (w *World) Now() Instant { return w.now }

// Truth returns true time at instant t, rounded down to 2⁻³² ns.
func (w *World) Truth(t Instant) virtualclock.Time {
	v, _ := t.after(w.Epoch)
	return v
}

// Hosts returns all hosts in the order in which they were added.
func (w *World) Hosts() []*Host { return w.hosts }

// Groups returns all groups in the order in which they were added.
func (w *World) Groups() []*Group { return w.groups }

// Host returns the host of that name, nil without one.
func (w *World) Host(name string) *Host {
	for _, h := range w.hosts {
		if h.Name == name {
			return h
		}
	}
	return nil
}

// At puts an entry on the timeline: do is called at instant t, after everything that was put there before. An error from it ends
// the run.
func (w *World) At(t Instant, do func() error) {
	w.timeline = append(w.timeline, do)
	w.queue.push(event{at: max(t, w.now), kind: eventDo, slot: int32(len(w.timeline) - 1), host: -1})
}

// NewPath returns one direction of a link with random streams of that name.
func (w *World) NewPath(c PathConfig, name string) (*Path, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("path %s: %w", name, err)
	}
	return newPath(c, w.seed, name), nil
}

// Run lets the world go on until instant end, the events at end included.
func (w *World) Run(end Instant) error {
	if w.Sample > 0 && !w.sampling {
		w.sampling = true
		w.queue.push(event{at: w.now, kind: eventSample, host: -1, slot: -1})
	}
	for w.err == nil && w.queue.next() <= end {
		e := w.queue.pop()
		w.now = e.at
		w.Events++
		w.take(&e)
	}
	w.now = max(w.now, end)
	return w.err
}

// fail ends the run: something happened that only a mistake in this package or in a node can cause.
func (w *World) fail(format string, a ...any) {
	if w.err == nil {
		w.err = fmt.Errorf("sim: at %v: %w", w.now, fmt.Errorf(format, a...))
	}
}

// take handles an event in front of the observer.
func (w *World) take(e *event) {
	if w.Stepping == nil && w.Stepped == nil {
		w.handle(e)
		return
	}
	var h *Host
	if e.host >= 0 {
		h = w.hosts[e.host]
	}
	if w.Stepping != nil {
		w.Stepping(h)
	}
	w.handle(e)
	if w.Stepped != nil {
		w.Stepped(h)
	}
}

func (w *World) handle(e *event) {
	if e.host >= 0 {
		if h := w.hosts[e.host]; h.paused {
			h.postpone(e)
			return
		}
	}
	switch e.kind {
	case eventWake:
		w.hosts[e.host].onWake(e.generation)
	case eventArrive:
		w.hosts[e.host].onArrive(e.slot)
	case eventHandle:
		w.hosts[e.host].onHandle(e.slot)
	case eventDepart:
		w.hosts[e.host].onDepart(e.slot)
	case eventSent:
		w.hosts[e.host].onSent(e.slot)
	case eventSample:
		for _, h := range w.hosts {
			h.sample()
		}
		for _, g := range w.groups {
			g.sample()
		}
		if w.Sampled != nil {
			w.Sampled()
		}
		w.queue.push(event{at: w.now + w.sampleStep(), kind: eventSample, host: -1, slot: -1})
	case eventLook:
		w.hosts[e.host].member.slewEnded(e.generation)
	case eventTick:
		w.groups[e.slot].tick()
	case eventDo:
		do := w.timeline[e.slot]
		w.timeline[e.slot] = nil
		if err := do(); err != nil {
			w.fail("%w", err)
		}
	}
}

// The beginning is looked at more closely, so that the time to synchronise is known to a hundredth of a second.
const (
	startSample = 10 * Millisecond
	startLength = 10 * Second
)

func (w *World) sampleStep() Instant {
	if w.now < startLength {
		return min(startSample, w.Sample)
	}
	return w.Sample
}

// slot returns the index of an unused message.
func (w *World) slot() int32 {
	if n := len(w.free); n > 0 {
		i := w.free[n-1]
		w.free = w.free[:n-1]
		return i
	}
	w.messages = append(w.messages, message{data: make([]byte, 0, 96)})
	return int32(len(w.messages) - 1)
}

// release gives a slot back.
func (w *World) release(i int32) {
	m := &w.messages[i]
	*m = message{data: m.data[:0]}
	w.free = append(w.free, i)
}

// address returns the address of host number index: 10.0.0.1 and so on.
func address(index int) netip.Addr {
	n := index + 1
	return netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
}

func addressPort(h *Host) netip.AddrPort { return netip.AddrPortFrom(address(int(h.index)), 123) }
