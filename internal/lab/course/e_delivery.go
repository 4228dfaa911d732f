package course

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/clockd/clockd/internal/sim"
	"github.com/clockd/clockd/metrics"
	"github.com/clockd/clockd/virtualclock"
)

func steadiness() Experiment {
	return Experiment{
		Name: "steadiness", Title: "Steadiness and tightness: delivery by the clock",
		Question: "How much do delivery times of a broadcast differ, from one message to the next (σ) and from one host to another (τ), and what do clocks change?",
		Setup: `Five correct members of a group of seven (two two-faced liars, the worst network for the clocks) broadcast messages whose delay is uniform between 0.1 ms and 0.1 ms + J. They are
delivered on reception, and, the same messages, when the receiver's virtual clock shows the sender's timestamp + Δ, Δ = 0.1 ms + J + 5 ms. All is measured in true time, and again from the clocks' own
stamps.`,
		Bound: `On reception σ ≤ J and τ ≤ J. By the clock τ ≤ π_v and σ ≤ 2π_v + 2ρ_vΔ, if Δ ≥ d_max + π_v (Δ-protocol; lecture and theory 1.2). Measured with the clocks' own stamps σ is within ±2π_v
and τ within ±π_v of the truth (theory 1.2).`,
		Lesson:  `Delivery by the clock trades delay for steadiness: the network's variance is waited out, and what is left is the clocks' precision. The clocks themselves see no tightness but 0: their own stamps cannot show how far they are apart, which is why σ and τ need their uncertainty.`,
		Reading: []string{"[docs/ordering.md](../ordering.md)", "lecture: steadiness and tightness; Veríssimo and Rodrigues 2001", "Cristian, Aghili, Strong and Dolev, Atomic broadcast, 1985: Δ-protocols"},
		run:     runSteadiness,
	}
}

// margin is what Δ has beyond the longest delay: more than π_v can be, which is checked.
const margin, leastDelay = 5e-3, 100e-6

// class is the messages of one jitter J.
type class struct {
	jitter float64
	random *rand.Rand
	// received and triggered are measured in true time; the own ones by the clocks.
	received, triggered, receivedOwn, triggeredOwn *metrics.Deliveries
}

// broadcasts sends a message of each class at every sample.
type broadcasts struct {
	world       *sim.World
	hosts       []*sim.Host
	classes     []*class
	from, until float64
	uncertainty float64
	sequence    uint64
	err         error
}

func newClass(jitter float64, hosts int, random *rand.Rand) (*class, error) {
	c := &class{jitter: jitter, random: random}
	for _, d := range []**metrics.Deliveries{&c.received, &c.triggered, &c.receivedOwn, &c.triggeredOwn} {
		var err error
		if *d, err = metrics.NewDeliveries(metrics.DeliveryOptions{Receivers: hosts}); err != nil {
			return nil, fmt.Errorf("deliveries cannot be measured: %w", err)
		}
	}
	return c, nil
}

func (b *broadcasts) note(err error) {
	if err != nil && b.err == nil {
		b.err = err
	}
}

func (b *broadcasts) sampled() {
	w := b.world
	if at := w.Now().Seconds(); at < b.from || at > b.until {
		return
	}
	if _, ok := showAll(w, b.hosts); !ok {
		return
	}
	b.sequence++
	sender := int(b.sequence) % len(b.hosts)
	for _, c := range b.classes {
		b.send(c, metrics.MessageID{Sender: uint64(sender), Sequence: b.sequence}, sender)
	}
}

// own is a stamp by a host's own clock.
func (b *broadcasts) own(v virtualclock.Time) metrics.Stamp {
	return metrics.Stamp{At: v, UncertaintySeconds: b.uncertainty}
}

func (b *broadcasts) truth() metrics.Stamp { return metrics.Stamp{At: b.world.Truth(b.world.Now())} }

func (b *broadcasts) send(c *class, id metrics.MessageID, sender int) {
	w := b.world
	stamp, _ := show(w, b.hosts[sender])
	for _, d := range []*metrics.Deliveries{c.received, c.triggered} {
		b.note(d.Send(id, b.truth(), len(b.hosts)))
	}
	for _, d := range []*metrics.Deliveries{c.receivedOwn, c.triggeredOwn} {
		b.note(d.Send(id, b.own(stamp), len(b.hosts)))
	}
	due := stamp.AddSeconds(leastDelay + c.jitter + margin)
	for p, h := range b.hosts {
		w.At(w.Now()+sim.Seconds(leastDelay+c.random.Float64()*c.jitter), func() error {
			b.deliver(c.received, c.receivedOwn, id, p)
			await(w, h, due, func() { b.deliver(c.triggered, c.triggeredOwn, id, p) })
			return nil
		})
	}
}

func (b *broadcasts) deliver(truth, own *metrics.Deliveries, id metrics.MessageID, p int) {
	b.note(truth.Deliver(id, p, b.truth()))
	if v, ok := show(b.world, b.hosts[p]); ok {
		b.note(own.Deliver(id, p, b.own(v)))
	}
}

func runSteadiness(r *run) error {
	g := r.hard(7, 2)
	g.sampling = 0.05
	b := &broadcasts{from: g.seconds * g.discard, until: g.seconds - 1, uncertainty: margin / 2}
	for _, jitter := range short(r, []float64{100e-6, 1e-3, 5e-3, 20e-3}, []float64{100e-6, 20e-3}) {
		c, err := newClass(jitter, 5, r.stream(fmt.Sprintf("steadiness/%g", jitter)))
		if err != nil {
			return err
		}
		b.classes = append(b.classes, c)
	}
	x, err := r.runGroup("steadiness", g, func(w *sim.World) {
		b.world, b.hosts, w.Sampled = w, clocksOf(w, 5, member), b.sampled
	})
	if err != nil {
		return err
	}
	if b.err != nil {
		return b.err
	}
	r.groupHolds("the group", x)
	bound := float64(x.Group.PrecisionBound)
	r.under("Δ waits long enough: π_v that is promised beforehand", "s", float64(x.Group.PromisedPrecision), margin, true)
	r.columns("jitter J", "s", "σ on reception", "s", "τ on reception", "s", "Δ", "s", "σ by the clock", "s", "its bound", "s", "τ by the clock", "s", "its bound", "s", "τ, own stamps", "s")
	for _, c := range b.classes {
		r.deliveries(c, bound, slewRate(g.drift, bound, 0.5))
	}
	r.curve("τ by the clock", 0, 0, 6, false)
	r.curve("its bound, π_v", 0, 0, 7, true)
	r.curve("τ on reception", 1, 0, 2, false)
	r.curve("σ by the clock", 2, 0, 4, false)
	r.curve("its bound, 2π_v + 2ρ_vΔ", 2, 0, 5, true)
	r.curve("σ on reception", 3, 0, 1, false)
	r.axes(logarithmic("jitter of the network J", "s"), logarithmic("variation of the delivery", "s"))
	return nil
}

// deliveries adds the row of one class.
func (r *run) deliveries(c *class, bound, rate float64) {
	received, triggered, receivedOwn, triggeredOwn := c.received.Result(), c.triggered.Result(), c.receivedOwn.Result(), c.triggeredOwn.Result()
	delta := leastDelay + c.jitter + margin
	steady, tight := triggeredSteadiness(bound, delta, rate), triggeredTightness(bound, rate)
	r.row(c.jitter, received.SteadinessSeconds.Value, received.TightnessSeconds.Value, delta, triggered.SteadinessSeconds.Value, steady,
		triggered.TightnessSeconds.Value, tight, triggeredOwn.TightnessSeconds.Value)
	what := "J = " + Quantity(c.jitter, "s")
	const rounding = 1e-9 // an instant is a picosecond, a clock is awaited to a nanosecond
	r.under(what+", on reception: steadiness σ", "s", received.SteadinessSeconds.Value, c.jitter+rounding, true)
	r.under(what+", on reception: tightness τ", "s", received.TightnessSeconds.Value, c.jitter+rounding, true)
	r.under(what+", by the clock: steadiness σ", "s", triggered.SteadinessSeconds.Value, steady, true)
	r.under(what+", by the clock: tightness τ", "s", triggered.TightnessSeconds.Value, tight, true)
	for _, p := range []struct {
		name     string
		own, all metrics.DeliveryResult
	}{{"on reception", receivedOwn, received}, {"by the clock", triggeredOwn, triggered}} {
		r.under(what+", "+p.name+": σ by own stamps is off by", "s", math.Abs(p.own.SteadinessSeconds.Value-p.all.SteadinessSeconds.Value), 2*bound*(1+2*rate)+2*rate*delta, true)
		r.under(what+", "+p.name+": τ by own stamps is off by", "s", math.Abs(p.own.TightnessSeconds.Value-p.all.TightnessSeconds.Value), bound+2*rate*delta, true)
		r.under(what+", "+p.name+": messages that not all delivered", "", float64(p.all.Sent-p.all.Complete+p.own.Sent-p.own.Complete), 0, true)
		r.over(what+", "+p.name+": messages", "", float64(p.all.Sent), 50)
	}
}
