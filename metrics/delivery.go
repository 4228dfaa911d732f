package metrics

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"github.com/clockd/clockd/virtualclock"
)

// The errors of Deliveries.
var (
	ErrUnknownMessage = errors.New("metrics: this message is not open: it was not sent, is complete, or was pushed out of the window")
	ErrTwice          = errors.New("metrics: this was told before")
)

// Stamp is when something happened, and by how much that may be wrong either way.
//
// Times of the true timeline have an uncertainty of 0. If each host stamps with its own virtual clock, and any two of them are within
// π_v of each other, give every stamp π_v/2: then a delay is uncertain by π_v, σ by 2π_v and τ by π_v.
type Stamp struct {
	At                 virtualclock.Time
	UncertaintySeconds float64
}

// MessageID names a message.
type MessageID struct{ Sender, Sequence uint64 }

// DeliveryOptions are what Deliveries is told once.
type DeliveryOptions struct {
	// Receivers is the number of members; they are numbered from 0.
	Receivers int
	// Window is how many messages are remembered: one that not all have delivered is closed, with what is known of it, when as many
	// others were sent after it. 0 means 1024.
	Window int
}

// Deliveries measures σ (steadiness) and τ (tightness) of the messages of one class, in bounded memory: about Window·Receivers/8
// bytes. Events may come in any order, but a message's Send before its Deliver.
type Deliveries struct {
	receivers []receiver
	open      []message
	byID      map[MessageID]int
	// oldest is the slot that is filled next, and the one whose message was sent first if it is still open.
	oldest int

	delays, spreads              Quantiles
	tightness                    interval
	sent, complete, closed, late uint64
	delivered                    uint64
}

// receiver is what is known of the delays to one member: bounds of the least and of the largest delay.
type receiver struct {
	least, most interval
	count       uint64
}

// interval is what is known of a number: it is from low to high. value is the measurement itself.
type interval struct {
	value, low, high float64
	known            bool
}

// atMost and atLeast are the interval of the smaller and of the larger of two numbers.
func (i interval) atMost(j interval) interval {
	if !i.known {
		return j
	}
	return interval{min(i.value, j.value), min(i.low, j.low), min(i.high, j.high), true}
}

func (i interval) atLeast(j interval) interval {
	if !i.known {
		return j
	}
	return interval{max(i.value, j.value), max(i.low, j.low), max(i.high, j.high), true}
}

// minus is the interval of a difference that cannot be negative.
func (i interval) minus(j interval) interval {
	return interval{i.value - j.value, max(0, i.low-j.high), i.high - j.low, i.known && j.known}
}

type message struct {
	id          MessageID
	used        bool
	sent        Stamp
	expected    int
	count       int
	seen        []uint64 // a bit for each receiver
	first, last interval // seconds after sent.At
}

// maxReceivers and maxWindow keep the memory bounded.
const (
	maxReceivers = 1 << 16
	maxWindow    = 1 << 20
)

// NewDeliveries returns an estimator that has seen nothing.
func NewDeliveries(options DeliveryOptions) (*Deliveries, error) {
	if options.Window == 0 {
		options.Window = 1024
	}
	if options.Receivers < 1 || options.Receivers > maxReceivers || options.Window < 1 || options.Window > maxWindow {
		return nil, fmt.Errorf("metrics: %d receivers and a window of %d messages; give 1 to %d and 1 to %d", options.Receivers,
			options.Window, maxReceivers, maxWindow)
	}
	return &Deliveries{
		receivers: make([]receiver, options.Receivers), open: make([]message, options.Window),
		byID: make(map[MessageID]int, options.Window),
	}, nil
}

// Send says that a message was sent, and how many members should deliver it: those that are in the view throughout.
func (d *Deliveries) Send(id MessageID, at Stamp, expected int) error {
	if _, ok := d.byID[id]; ok {
		return fmt.Errorf("message %d of sender %d was sent: %w", id.Sequence, id.Sender, ErrTwice)
	}
	if !(at.UncertaintySeconds >= 0) || math.IsInf(at.UncertaintySeconds, 0) {
		return fmt.Errorf("metrics: the uncertainty of a stamp: %w", ErrNumber)
	}
	if expected < 1 || expected > len(d.receivers) {
		return fmt.Errorf("metrics: a message that %d members should deliver, of %d", expected, len(d.receivers))
	}
	m := &d.open[d.oldest]
	if m.used {
		d.close(d.oldest)
		d.closed++
	}
	if m.seen == nil {
		m.seen = make([]uint64, (len(d.receivers)+63)/64)
	}
	clear(m.seen)
	*m = message{id: id, used: true, sent: at, expected: expected, seen: m.seen}
	d.byID[id] = d.oldest
	d.oldest = (d.oldest + 1) % len(d.open)
	d.sent++
	return nil
}

// Deliver says that a member has delivered a message.
func (d *Deliveries) Deliver(id MessageID, to int, at Stamp) error {
	if to < 0 || to >= len(d.receivers) {
		return fmt.Errorf("metrics: there is no receiver %d; they are numbered from 0 to %d", to, len(d.receivers)-1)
	}
	if !(at.UncertaintySeconds >= 0) || math.IsInf(at.UncertaintySeconds, 0) {
		return fmt.Errorf("metrics: the uncertainty of a stamp: %w", ErrNumber)
	}
	slot, ok := d.byID[id]
	if !ok {
		d.late++
		return fmt.Errorf("message %d of sender %d: %w", id.Sequence, id.Sender, ErrUnknownMessage)
	}
	m := &d.open[slot]
	bit := uint64(1) << (to % 64)
	if m.seen[to/64]&bit != 0 {
		return fmt.Errorf("message %d of sender %d was delivered by %d: %w", id.Sequence, id.Sender, to, ErrTwice)
	}
	m.seen[to/64] |= bit
	m.count++
	after := at.At.Seconds(m.sent.At)
	delivery := interval{after, after - at.UncertaintySeconds, after + at.UncertaintySeconds, true}
	m.first, m.last = m.first.atMost(delivery), m.last.atLeast(delivery)
	u := m.sent.UncertaintySeconds
	delay := interval{after, delivery.low - u, delivery.high + u, true}
	r := &d.receivers[to]
	r.least, r.most = r.least.atMost(delay), r.most.atLeast(delay)
	r.count++
	d.delays.Add(after)
	d.delivered++
	if m.count == m.expected {
		d.complete++
		d.close(slot)
	}
	return nil
}

// Forget says that a message will not be delivered by any more members: its tightness is that of those who did.
func (d *Deliveries) Forget(id MessageID) error {
	slot, ok := d.byID[id]
	if !ok {
		return fmt.Errorf("message %d of sender %d: %w", id.Sequence, id.Sender, ErrUnknownMessage)
	}
	d.closed++
	d.close(slot)
	return nil
}

// close takes a message's tightness. One delivery has none.
func (d *Deliveries) close(slot int) {
	m := &d.open[slot]
	if m.count >= 2 {
		spread := m.last.minus(m.first)
		d.spreads.Add(spread.value)
		d.tightness = d.tightness.atLeast(spread)
	}
	m.used = false
	delete(d.byID, m.id)
}

// Bounded is a figure with what it can be at least and at most, from the uncertainty of the stamps.
type Bounded struct {
	Figure
	AtLeast, AtMost float64
}

// boundedJSON is how a Bounded is written.
type boundedJSON struct {
	figureJSON
	AtLeast *float64 `json:"at_least"`
	AtMost  *float64 `json:"at_most"`
}

// MarshalJSON writes a figure with "at_least" and "at_most", null if nothing is known.
func (b Bounded) MarshalJSON() ([]byte, error) {
	return json.Marshal(boundedJSON{
		figureJSON{pointer(b.Value, b.Known), b.Samples}, pointer(b.AtLeast, b.Known), pointer(b.AtMost, b.Known),
	})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (b *Bounded) UnmarshalJSON(text []byte) error {
	var j boundedJSON
	if err := json.Unmarshal(text, &j); err != nil {
		return err
	}
	*b = Bounded{Figure: Figure{Samples: j.Samples}}
	if j.Value != nil && j.AtLeast != nil && j.AtMost != nil {
		b.Value, b.Known, b.AtLeast, b.AtMost = *j.Value, true, *j.AtLeast, *j.AtMost
	}
	return nil
}

// UncertaintySeconds is by how much the value may be wrong either way.
func (b Bounded) UncertaintySeconds() float64 { return max(b.AtMost-b.Value, b.Value-b.AtLeast) }

func bounded(i interval, n uint64) Bounded {
	f := known(i.value, n)
	if !i.known {
		f.Known = false
	}
	return Bounded{f, i.low, i.high}
}

// DeliveryResult is σ and τ.
type DeliveryResult struct {
	// SteadinessSeconds is σ: for each receiver the largest delay less the least one, and of these the largest. It is unknown if no
	// receiver has two deliveries.
	SteadinessSeconds Bounded `json:"steadiness_s"`
	// TightnessSeconds is τ: for each message the last delivery less the first, and of these the largest. Messages count that are
	// complete, forgotten or pushed out of the window, with two deliveries or more.
	TightnessSeconds Bounded `json:"tightness_s"`
	// DelaySeconds are all delays, SpreadSeconds the tightness of each message: where there is no bound, the largest alone says little.
	DelaySeconds  Distribution `json:"delay_s"`
	SpreadSeconds Distribution `json:"spread_s"`
	// Sent messages are complete, or were closed with deliveries missing, or are open. Late counts deliveries of messages that were
	// not open.
	Sent     uint64 `json:"sent"`
	Complete uint64 `json:"complete"`
	Closed   uint64 `json:"closed"`
	Open     uint64 `json:"open"`
	Late     uint64 `json:"late"`
}

// Result returns what is known so far.
func (d *Deliveries) Result() DeliveryResult {
	r := DeliveryResult{
		TightnessSeconds: bounded(d.tightness, d.spreads.Count()), DelaySeconds: d.delays.Distribution(),
		SpreadSeconds: d.spreads.Distribution(), Sent: d.sent, Complete: d.complete, Closed: d.closed,
		Open: uint64(len(d.byID)), Late: d.late,
	}
	var steadiness interval
	for i := range d.receivers {
		if p := &d.receivers[i]; p.count >= 2 {
			steadiness = steadiness.atLeast(p.most.minus(p.least))
		}
	}
	r.SteadinessSeconds = bounded(steadiness, d.delivered)
	return r
}
