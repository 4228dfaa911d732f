package simrun

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/node"
	"github.com/clockd/clockd/internal/sim"
	"github.com/clockd/clockd/metrics"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/agreement"
	"github.com/clockd/clockd/virtualclock"
)

// Properties is the table of properties of one set of clocks in one run.
type Properties struct {
	Scenario string `json:"scenario"`
	Seed     uint64 `json:"seed"`
	// Clocks says whose they are: "" for the clients, or the name of a group.
	Clocks string         `json:"clocks"`
	Table  *metrics.Table `json:"table"`
}

// observer measures the properties of the clients, or of one group.
type observer struct {
	follower    *follower
	scenario    *sim.Scenario
	group       *sim.Group // nil for clients
	granularity []granularity
	period      float64
	// epoch is what each client showed when its sources were read last.
	seen                map[*sim.Host]virtualclock.Coefficients
	convergence, spread extreme
	rounds              []round
}

// extreme is the largest of some numbers.
type extreme struct {
	value float64
	count uint64
}

func (e *extreme) note(x float64) {
	e.value = max(e.value, x)
	e.count++
}

// figure is what was found, unknown if there was nothing.
func (e *extreme) figure() metrics.Figure {
	return metrics.Figure{Value: e.value, Samples: e.count, Known: e.count > 0}
}

// round is a round of a group: when the last member made it, what it left, and what was before it; not numbers where nobody can say.
type round struct {
	number                       int64
	at                           float64
	convergence, spread, epsilon float64
	used                         int
}

// maxRounds is how many rounds are remembered.
const maxRounds = 10_000

// measure sets the hooks that measure the properties of all clocks.
func measure(w *sim.World, s *sim.Scenario) ([]*observer, error) {
	var all []*observer
	var clients []*sim.Host
	for _, h := range w.Hosts() {
		if h.Master == nil && !h.Serves() {
			clients = append(clients, h)
		}
	}
	from := sim.Seconds(float64(s.Length) * *s.Discard)
	add := func(hosts []*sim.Host, g *sim.Group, period float64) error {
		f, err := follow(w, from, hosts, period)
		if err != nil {
			return err
		}
		o := &observer{follower: f, scenario: s, group: g, granularity: make([]granularity, len(hosts)), period: period, seen: map[*sim.Host]virtualclock.Coefficients{}}
		all = append(all, o)
		return nil
	}
	if len(clients) > 0 {
		poll := max(float64(s.Client.Poll), float64(s.Client.MaxPoll))
		if poll == 0 {
			poll = defaultPoll
		}
		if err := add(clients, nil, poll); err != nil {
			return nil, err
		}
	}
	for _, g := range w.Groups() {
		hosts := make([]*sim.Host, 0, len(g.Members))
		for _, m := range g.Members {
			hosts = append(hosts, m.Host)
		}
		if err := add(hosts, g, g.Config().Period.Seconds()); err != nil {
			return nil, err
		}
		o := all[len(all)-1]
		g.Round = o.round
	}
	w.Stepping = func(h *sim.Host) {
		for _, o := range all {
			o.follower.stepping(h)
		}
	}
	w.Stepped = func(h *sim.Host) {
		for _, o := range all {
			o.follower.stepped(h)
			o.sources(h)
		}
	}
	return all, nil
}

// defaultPoll is that of a scenario that says nothing.
const defaultPoll = 16

// sampled looks at the counters.
func (o *observer) sampled() {
	for i, c := range o.follower.clocks {
		o.granularity[i].look(c.host, o.follower.world.Now())
	}
}

// sources takes the half-widths of a client's sources whenever it has put them together: the reading error ε.
func (o *observer) sources(h *sim.Host) {
	f := o.follower
	if h == nil || o.group != nil || !f.begun {
		return
	}
	c := f.byHost[h]
	if c == nil || !c.in || o.seen[h] == c.k {
		return
	}
	o.seen[h] = c.k
	s := h.Node.Snapshot(h.Reading(f.world.Now()))
	for i := range s.Sources {
		if r := &s.Sources[i].Reading; s.Sources[i].Reason == reason.OK && r.Samples > 0 {
			f.fail(f.reading.Add(f.world.Truth(f.world.Now()), c.number, (r.High-r.Low)/2))
		}
	}
}

// round takes a round of the group.
func (o *observer) round(r sim.RoundSeen) {
	i := len(o.rounds) - 1
	for i >= 0 && o.rounds[i].number > r.Number {
		i--
	}
	if i < 0 || o.rounds[i].number != r.Number {
		nothing := math.NaN()
		o.rounds = slices.Insert(o.rounds, i+1, round{r.Number, nothing, nothing, nothing, nothing, 0})
		i++
		if len(o.rounds) > maxRounds {
			o.rounds = slices.Delete(o.rounds, 0, 1)
			i--
		}
	}
	if i < 0 {
		return
	}
	x, w := &o.rounds[i], o.follower.world
	switch {
	case r.After:
		x.at, x.used, x.epsilon = w.Now().Seconds(), x.used+1, greater(r.Epsilon, x.epsilon)
		o.follower.fail(o.follower.reading.Add(w.Truth(w.Now()), r.Member.Index, r.Epsilon))
		if r.All {
			x.convergence = r.Spread
			o.convergence.note(r.Spread)
		}
	case r.All:
		x.spread = greater(r.Spread, x.spread)
		o.spread.note(r.Spread)
	}
}

// table sums up what was measured, with what theory promises.
func (o *observer) table() (*metrics.Table, error) {
	r, err := o.follower.result()
	if err != nil {
		return nil, fmt.Errorf("the clocks could not be followed: %w", err)
	}
	t := metrics.NewTable()
	// Theory 1.2: windows of 20 periods and more.
	errs := []error{
		t.SetEnsemble(&r, 20*o.period),
		t.SetMissing(metrics.Steadiness, reason.FigureNotMeasured, "nothing is broadcast in this scenario"),
		t.SetMissing(metrics.Tightness, reason.FigureNotMeasured, "nothing is broadcast in this scenario"),
		t.SetExact(metrics.ClockReadingError, o.follower.reading.Result().WorstSeconds.Figure),
		o.granularities(t),
	}
	slopes := window(&r)
	if o.group == nil {
		errs = append(errs, o.external(t, &r, slopes))
	} else {
		errs = append(errs, o.agreed(t, &r, slopes))
	}
	return t, errors.Join(errs...)
}

// window is the longest window of the envelope rate, 0 without one.
func window(r *metrics.EnsembleResult) float64 {
	if n := len(r.Envelope); n > 0 {
		return r.Envelope[n-1].WindowSeconds
	}
	return 0
}

// bound sets a bound where there is one.
func bound(t *metrics.Table, p metrics.Property, value float64, formula string) error {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return nil
	}
	return t.SetBound(p, value, formula)
}

// granularities are g and g_v: the largest of all clocks.
func (o *observer) granularities(t *metrics.Table) error {
	var g, v extreme
	for i := range o.granularity {
		x := &o.granularity[i]
		f := x.physical.Result(hw.Frequency{Hertz: o.follower.clocks[i].host.Nominal()}).TickSeconds
		if f.Known {
			g.value, g.count = max(g.value, f.Value), g.count+f.Samples
		}
		if f := x.virtual.Result().LargestTickSeconds; f.Known {
			v.value, v.count = max(v.value, f.Value), v.count+f.Samples
		}
	}
	tick := 0.0
	for _, c := range o.follower.clocks {
		tick = max(tick, 1/c.host.Nominal())
	}
	return errors.Join(t.SetExact(metrics.Granularity, g.figure()), t.SetExact(metrics.VirtualClockGranularity, v.figure()),
		t.SetBound(metrics.Granularity, tick*(1+1e-12), "1/f of the counter"))
}

// resolution is the grid of times in seconds: a tick of the virtual clock is rounded to it.
const resolution = 1e-9 / (1 << 32)

// rate sets the bounds of what depends on how fast a clock may be.
func (o *observer) rate(t *metrics.Table, rho, correction, slew float64, formula string) error {
	tick := t.Row(metrics.Granularity).Bound.Value
	return errors.Join(bound(t, metrics.Rate, rateBound(rho, correction, slew), formula),
		bound(t, metrics.VirtualClockGranularity, tick*(1+correction)*(1+slew)+resolution, "g(1 + r)(1 + s)"))
}

// external fills in what is promised to clients of servers (theory 2.7).
func (o *observer) external(t *metrics.Table, r *metrics.EnsembleResult, longest float64) error {
	f := o.follower
	errs := []error{t.SetMissing(metrics.Convergence, reason.FigureNotApplicable, "clients of servers make no rounds")}
	if len(f.clocks) < 2 {
		errs = append(errs, t.SetMissing(metrics.Precision, reason.FigureNotApplicable, "there is one client only: no two clocks to compare"))
	}
	if f.claims > 0 {
		errs = append(errs, t.SetBound(metrics.Accuracy, f.bound, "greatest claimed bound: α_m + RTT/2 − d_min + ρ/(1−ρ)·age + g"),
			t.SetBound(metrics.TimeError, f.bound, "as α_v"), t.SetBound(metrics.Precision, 2*f.bound, "2 α_v"))
		if longest > 0 {
			errs = append(errs, t.SetBound(metrics.EnvelopeRate, 2*f.bound/longest, fmt.Sprintf("2 α_v/w, w = %g s", longest)))
		}
	}
	rho := 0.0
	for _, c := range f.clocks {
		rho = max(rho, c.host.DriftBound())
	}
	rho += o.scenario.Client.CounterPPB * 1e-9 * (1 + rho)
	errs = append(errs, o.rate(t, rho, 2*rho, o.slew(), "ρ + r + s + …, r ≤ 2ρ the rate correction"))
	return errors.Join(errs...)
}

// slew is the limit of the clients' corrections.
func (o *observer) slew() float64 {
	if s := o.scenario.Client.MaxSlewPPM; s > 0 {
		return s * 1e-6
	}
	return node.DefaultMaxSlew
}

// agreed fills in what is promised to a group for the readings that were really used (theory 3.5, 4.2).
func (o *observer) agreed(t *metrics.Table, r *metrics.EnsembleResult, longest float64) error {
	c := o.group.Config()
	errs := []error{t.SetExact(metrics.Convergence, o.convergence.figure()), t.SetBound(metrics.ClockReadingError, c.ReadingError, "ε of the configuration")}
	b, err := o.group.Bounds()
	if err != nil {
		return errors.Join(errs...) // nothing is promised to a group that made no round
	}
	slew := math.Inf(1)
	if w := c.Model().Slew; w > 0 {
		slew = b.Adjustment / w
	}
	errs = append(errs,
		bound(t, metrics.Convergence, b.Convergence, formulaOf(&c, o.group.Hybrid(), "δ_v")),
		bound(t, metrics.Precision, b.Precision, formulaOf(&c, o.group.Hybrid(), "π_v")),
		o.rate(t, c.Drift, c.RateLimit, slew, "ρ + r + adjustment/W + …"))
	if o.group.Hybrid() {
		errs = append(errs, bound(t, metrics.Accuracy, b.Accuracy, "α_e + (ε + ρP')/G + ρW, in the steady state"),
			bound(t, metrics.TimeError, b.Accuracy, "as α_v"))
		if longest > 0 {
			errs = append(errs, bound(t, metrics.EnvelopeRate, 2*b.Accuracy/longest, fmt.Sprintf("2 α_v/w, w = %g s", longest)))
		}
	} else if longest > 0 {
		errs = append(errs, bound(t, metrics.EnvelopeRate, b.EnvelopeRate+2*b.Precision/longest, fmt.Sprintf("ρ + r + ε/P + 2 π_v/w, w = %g s", longest)))
	}
	return errors.Join(errs...)
}

// formulaOf says how a bound comes about, in its leading terms.
func formulaOf(c *agreement.Config, hybrid bool, symbol string) string {
	switch {
	case hybrid:
		return symbol + " of theory 4.2, for ε"
	case c.Faults == 0:
		if symbol == "δ_v" {
			return "2ε + O(ρΠ), f = 0"
		}
		return "3ε + Γ + 2ρW + O(ρΠ), f = 0"
	case c.Algorithm == agreement.IntervalMidpoint || c.Algorithm == agreement.Midpoint:
		if symbol == "δ_v" {
			return "4ε + Γ + O(ρΠ), with f liars"
		}
		return "5ε + 2Γ + 2ρW + O(ρΠ), with f liars"
	}
	return symbol + " of " + c.Algorithm.String() + " for ε (theory 3.5)"
}
