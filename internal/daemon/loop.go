package daemon

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/daemon/journal"
	"github.com/clockd/clockd/internal/node"
	"github.com/clockd/clockd/reason"
)

// command is one from the control socket that waits for its answer.
type command struct {
	name   string
	answer chan<- reply
}

type reply struct {
	result any
	err    error
}

// ask hands a command to the loop and waits for the answer. It is called by the control socket's goroutines.
func (d *daemon) ask(ctx context.Context, name string) (any, error) {
	answer := make(chan reply, 1)
	select {
	case d.questions <- command{name, answer}:
	case <-ctx.Done():
		return nil, errors.New("the daemon is busy or ending")
	}
	select {
	case r := <-answer:
		return r.result, r.err
	case <-ctx.Done():
		return nil, errors.New("the daemon is busy or ending")
	}
}

// watchEvery is how often the counter is compared with the kernel's clocks: until then a suspend goes unseen.
const watchEvery = 250 * time.Millisecond

// loop is the one loop.
func (d *daemon) loop(ctx context.Context) error {
	chores := time.NewTicker(watchEvery)
	defer chores.Stop()
	d.options.Notify("READY=1")
	d.options.Started(d.served())
	for {
		var err error
		select {
		case <-ctx.Done():
			d.options.Notify("STOPPING=1")
			return nil
		case m := <-d.client.out:
			d.take(m)
		case <-d.timer.C:
			d.wake()
		case r := <-d.exchanger.results:
			d.exchanged(r)
		case r := <-d.resolver.results:
			d.resolved(r)
		case q := <-d.questions:
			result, err := d.answer(q.name)
			q.answer <- reply{result, err}
		case <-d.options.Reload:
			d.reload()
		case <-chores.C:
			err = d.chores()
		}
		if err != nil {
			return err
		}
	}
}

// now reads the counter. A reading is never before the one before it: CPUs may differ by a few ticks. Real jumps backwards are
// the watch's business.
func (d *daemon) now() hw.Ticks {
	if c := d.counter.Read(); d.last.Before(c) {
		d.last = c
	}
	return d.last
}

// handle gives an event to the node and carries out the actions, and then the events that these caused.
func (d *daemon) handle(e node.Event) { d.handleAt(d.now(), e) }

func (d *daemon) handleAt(now hw.Ticks, e node.Event) {
	e.Now = now
	d.queue = append(d.queue[:0], e)
	for i := 0; i < len(d.queue); i++ {
		// A field, not a variable: the recorder's use of its address must not cost an allocation when there is no recorder.
		d.event = d.queue[i]
		if i > 0 {
			d.event.Now = d.now()
		}
		actions := d.node.Step(d.event)
		for j := range actions {
			d.perform(&actions[j])
		}
		d.sendNews(d.event.Now)
		if d.recorder != nil {
			d.recorder.Event(&d.event)
			for j := range actions {
				d.recorder.Action(&actions[j])
			}
		}
	}
}

func (d *daemon) perform(a *node.Action) {
	switch a.Kind {
	case node.ActionSend:
		d.send(a)
	case node.ActionWake:
		d.wakeAt = a.At
		d.arm()
	case node.ActionPublish:
		d.publish(a.Publication)
	case node.ActionAnswerPeers:
		d.peers.stamper = *a.Peers
		if d.server != nil {
			d.server.AnswerPeers(d.peers.stamper)
		}
	case node.ActionMeasured:
		d.sendExchange(a.Measurement)
	case node.ActionReport:
		name := ""
		if s := d.slot(a.Report.Source); s != nil {
			name = s.name
		}
		d.reporter.Report(&a.Report, name)
		d.noteNews(&a.Report, name)
		if a.Report.Reason == reason.ConfigRefused {
			d.reloadError = a.Report.Reason.Explain()
		}
	}
}

// arm sets the timer to the counter reading wakeAt.
func (d *daemon) arm() {
	left := max(d.seconds(d.wakeAt.Sub(d.counter.Read())), 0)
	// The counter may run otherwise than its nominal frequency says; wake looks again.
	d.timer.Reset(time.Duration(math.Ceil(min(left, 3600) * 1e9)))
}

func (d *daemon) wake() {
	if d.now().Before(d.wakeAt) {
		d.arm()
		return
	}
	d.handle(node.Event{Kind: node.EventTimer})
}

func (d *daemon) publish(p *node.Publication) {
	if p.Clock.Epoch != d.toldEpoch && p.Clock.Status.Sound() {
		d.toldEpoch = p.Clock.Epoch
		d.journal.Add(journal.Entry{Topic: journal.TopicEpoch, Epoch: p.Clock.Epoch})
	}
	d.published = *p
	if !d.datesHold(p) {
		return // it is void, and the next publication says so
	}
	d.page.SetLeap(d.leapState())
	if err := d.page.PublishReason(&p.Clock, p.Reason); err != nil {
		d.log.Error("the page refuses the clock", "error", err)
	}
	if d.clockbound != nil {
		d.clockbound.Publish(&p.Clock)
	}
	if d.server != nil {
		d.server.Publish(p)
	}
	d.tellSystemClock()
}

// send sends a request and has its departure, or its failure, told to the node.
func (d *daemon) send(a *node.Action) {
	s := d.slot(a.Source)
	if s == nil {
		return
	}
	stamp, err := d.sendTo(s, a)
	if err == nil {
		d.queue = append(d.queue, node.Event{Kind: node.EventSent, Source: a.Source, Sequence: a.Sequence, Stamp: stamp})
		return
	}
	if errors.Is(err, reason.SourceResolve) || errors.Is(err, reason.KeyExchangeWaiting) {
		// What the resolver or the key exchange has to say is in s already.
		why := s.why
		if why == reason.OK {
			s.why = reason.KeyExchangeWaiting
			why = s.why
		}
		d.queue = append(d.queue, node.Event{Kind: node.EventSendFailed, Source: a.Source, Sequence: a.Sequence, Reason: why})
		return
	}
	var m mail
	m.complain(err)
	s.why, s.detail = m.why, err.Error()
	d.unlink(s)
	d.queue = append(d.queue, node.Event{Kind: node.EventSendFailed, Source: a.Source, Sequence: a.Sequence, Reason: m.why})
}

func (d *daemon) sendTo(s *slot, a *node.Action) (hw.Stamp, error) {
	if s.nts != nil {
		if d.exchangeKeys(); !s.address.IsValid() || !s.nts.usable() {
			return hw.Stamp{}, reason.KeyExchangeWaiting
		}
	}
	if !s.address.IsValid() {
		return hw.Stamp{}, reason.SourceResolve
	}
	packet, err := d.seal(s, a.Packet)
	if err != nil {
		return hw.Stamp{}, err
	}
	d.unanswered(s)
	if s.link == nil {
		l, err := d.client.Dial(s.id, s.address, d.stampOptions())
		if err != nil {
			return hw.Stamp{}, err
		}
		s.link = l
	}
	l := s.link
	l.mu.Lock()
	id, stamp, err := l.conn.Send(packet, netip.AddrPort{}, netip.Addr{})
	l.mu.Unlock()
	if err != nil {
		return hw.Stamp{}, fmt.Errorf("daemon: %w", err)
	}
	l.remember(id, uint64(a.Sequence))
	return stamp, nil
}

// unanswered counts a request. After several without an answer the name is asked for again and a new socket is made: the host
// may have moved to another network, and a connected socket keeps the address that it left from.
func (d *daemon) unanswered(s *slot) {
	s.unanswered++
	if s.unanswered%staleAfter != 0 {
		return
	}
	d.unlink(s)
	if s.nts != nil {
		s.nts.again = true // another server may have to be asked
	}
	for _, e := range d.allEntries() {
		for _, x := range e.slots {
			if x == s && e.question != nil {
				e.question.Again()
			}
		}
	}
}

// unlink gives up a slot's socket.
func (d *daemon) unlink(s *slot) {
	if s.link != nil {
		d.client.pump.Remove(s.link)
		s.link = nil
	}
}

// take handles what the client's goroutine tells.
func (d *daemon) take(m *mail) {
	defer d.client.Done(m)
	s := d.slot(m.link.source)
	if s == nil || s.link != m.link {
		return // from a socket that was given up
	}
	switch m.kind {
	case mailPacket:
		s.unanswered = 0
		if s.why != reason.OK {
			s.why, s.detail = reason.OK, ""
		}
		authentic, why := s.authentic(m.room[:m.n])
		d.handle(node.Event{Kind: node.EventPacket, Source: s.id, Stamp: m.stamp, Packet: m.room[:m.n], Authentic: authentic, Reason: why})
	case mailStamp:
		if sequence, ok := m.link.recall(m.id); ok {
			d.handle(node.Event{Kind: node.EventSent, Source: s.id, Sequence: uint32(sequence), Stamp: m.stamp})
		}
	case mailUnreachable:
		s.why, s.detail = m.why, m.err.Error()
		if m.why == reason.SourceSend {
			d.unlink(s) // not the network's word: the socket itself is broken
		}
		d.handle(node.Event{Kind: node.EventUnreachable, Source: s.id, Reason: m.why})
	}
}

// resolved takes a resolver's answer.
func (d *daemon) resolved(r resolution) {
	changed, gone := d.roster.resolved(r)
	peersChanged, _ := d.peers.roster.resolved(r)
	changed = append(changed, peersChanged...)
	if r.err != nil {
		d.unresolved(r)
		return
	}
	for _, s := range gone {
		d.unlink(s)
	}
	for _, s := range changed {
		d.unlink(s)
		d.log.Info("source", "source", s.name, "address", s.address.String())
	}
	if len(changed)+len(gone) > 0 {
		d.configureNode()
	}
}

// unresolved logs a resolver's failure under the source that it concerns.
func (d *daemon) unresolved(r resolution) {
	for _, e := range d.allEntries() {
		if e.question == r.name {
			d.reporter.Report(&node.Report{Topic: "source", Source: e.slots[0].id, Reason: reason.SourceResolve}, r.name.host)
		}
	}
}

// configureNode tells the node of new sources or figures.
func (d *daemon) configureNode() {
	d.fillNodeConfig()
	c := d.nodeConfig
	d.handle(node.Event{Kind: node.EventConfigure, Config: &c})
}
