package agreement

import (
	"container/heap"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/roundtrip"
	"github.com/clockd/clockd/virtualclock"
)

// world is a discrete simulation at message level (theory, appendix A.4): hosts with wrong oscillators, four-stamp exchanges over
// random one-way delays, a roundtrip.Filter for each pair, a Group on each host, liars among them. Only the world sees true time.
type world struct {
	t      testing.TB
	seed   uint64
	rng    *rand.Rand
	config Config
	hosts  []*host
	now    float64 // true seconds
	events events
	order  uint64

	probe     float64 // s between two exchanges of a pair
	point     bool    // the filters make point estimates
	least     float64 // one-way delay, s
	known     float64 // what the hosts know of it
	queue     func() float64
	late      float64                      // requests take so much longer than answers, s: everybody reads the others ahead
	delay     func(from, to *host) float64 // nil: least + queue()
	drift     driftMode
	lie       lie
	masters   func(h *host) External
	cut       func(from, to *host) bool // packets between them are lost
	onRound   func(h *host, before, after virtualclock.Time, o *Outcome)
	only      []*host // whom δ_v, Π, π_v and steps are measured of; nil: all correct hosts
	measuring bool
	seen      measured
	spare     []*exchange
}

// measured is what the world has seen of the correct hosts while measuring.
type measured struct {
	epsilon     float64 // the a-posteriori ε
	convergence float64 // δ_v
	spread      float64 // Π
	precision   float64 // π_v
	rms         float64 // of the displayed clocks' pairwise differences, sum of squares until finish
	samples     int
	accuracy    float64
	utcMiss     int // UTC outside the interval that a host gave for it
	disjoint    int // instants at which two correct hosts' intervals J did not meet
	disjointNow int // the same for the present round's intervals alone: these may
	farEdge     float64
	rounds      int
	skipped     int
	steps       int
	voids       int
	outside     int // a host's displayed clock was outside of its own J
	lost        int // a host in holdover claimed to know where the others are, and another was not there
	jumps       int // a displayed clock was not continuous where it was not said to step
	backwards   int // the latest edge or the displayed clock went back
	readings    int
	wrong       int // readings whose guaranteed interval did not contain the truth
}

type driftMode uint8

const (
	driftConstant driftMode = iota
	driftBangBang           // jumps between the extremes at random
	driftRandom             // a random walk inside the bound
	driftSplit              // the upper half of the clocks as fast as possible, the lower half as slow as possible
	driftModes
	driftQuiet // constant, with a slow random walk of 1e-9 per √s
)

// lie says what liar l shows to host d instead of its state; honest is what it would have to show. ok false: nothing.
type lie func(w *world, l, d *host, honest State) (State, bool)

type host struct {
	id      int
	liar    bool
	up      bool
	era     uint64
	t0, h0  float64 // the counter reads h0 + (t − t0)(1 + drift)
	drift   float64
	anchor  virtualclock.Time
	raw     *roundtrip.Raw
	group   *Group
	filters []*roundtrip.Filter
	eras    []uint64
	told    map[string]State // what a liar has told whom of which round
	token   uint64           // of its round timer
	latest  virtualclock.Time
	shown   virtualclock.Time
	epoch   uint32
}

type eventKind uint8

const (
	eventProbe eventKind = iota
	eventServe
	eventArrive
	eventRound
	eventDrift
	eventLook
)

type event struct {
	at    float64
	order uint64
	kind  eventKind
	p, q  *host
	token uint64
	x     *exchange
}

type exchange struct {
	sample   roundtrip.Sample
	state    State
	silent   bool
	era, own uint64
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].order < e[j].order
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	x := old[len(old)-1]
	*e = old[:len(old)-1]
	return x
}

func (w *world) push(e event) {
	w.order++
	e.order = w.order
	heap.Push(&w.events, e)
}

// testConfig is the configuration of most tests: 1 s rounds, 50 ppm, no rate correction, so that the bounds are theory 3.5 verbatim.
func testConfig(n, f int, a Algorithm) Config {
	return Config{
		Members: n, Faults: f, Algorithm: a, Period: time.Second, Drift: 50e-6, ReadingError: 400e-6,
		PublicationDelay: 0.26, Slew: 0.4,
	}
}

// newWorld makes n hosts, the last liars of which lie. Their clocks start apart by up to apart seconds.
func newWorld(t testing.TB, seed uint64, c Config, liars int, apart float64) *world {
	w := &world{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 4)), config: c, probe: 0.25, least: 50e-6}
	w.queue = func() float64 {
		d := w.rng.ExpFloat64() * 10e-6
		if w.rng.IntN(5) == 0 {
			d += w.rng.ExpFloat64() * 50e-6
		}
		return d
	}
	for i := range c.Members {
		h := &host{id: i, liar: i >= c.Members-liars, told: map[string]State{}}
		w.hosts = append(w.hosts, h)
	}
	for _, h := range w.hosts {
		h.anchor = virtualclock.Unix(1_764_000_000_000_000_000, 0).AddSeconds(apart * (w.rng.Float64() - 0.5))
		w.start(h)
	}
	return w
}

// start boots a host (again).
func (w *world) start(h *host) {
	c := w.config
	h.up = true
	h.era = w.rng.Uint64()
	h.t0, h.h0 = w.now, w.rng.Float64()*100
	h.drift = c.Drift * (2*w.rng.Float64() - 1)
	h.raw = &roundtrip.Raw{Line: virtualclock.Line{C0: hw.Ticks(1 << 40), T0: h.anchor, Period: virtualclock.PeriodOf(1e9)}}
	h.filters, h.eras = nil, make([]uint64, c.Members-1)
	for range c.Members - 1 {
		h.filters = append(h.filters, roundtrip.NewFilter(h.raw, w.filterConfig()))
	}
	raw := h.rawAt(w.now)
	g, err := New(c, h.era, raw, raw)
	if err != nil {
		w.t.Fatal(err)
	}
	h.group = g
	h.latest, h.shown, h.epoch = virtualclock.MinTime(), virtualclock.MinTime(), 0
	for _, q := range w.hosts {
		if q != h {
			w.push(event{at: w.now + w.rng.Float64()*w.probe, kind: eventProbe, p: h, q: q, token: h.era})
		}
	}
	w.push(event{at: w.now + w.rng.Float64()*0.25, kind: eventDrift, p: h, token: h.era})
	w.rearm(h)
}

func (w *world) filterConfig() roundtrip.FilterConfig {
	return roundtrip.FilterConfig{Drift: RelativeDrift(w.config.Drift), Granularity: 1e-9, MinDelay: w.known}
}

// know tells all hosts the least delay, less what their own clocks may be fast.
func (w *world) know() {
	w.known = w.least * (1 - w.config.Drift)
	for _, h := range w.hosts {
		for _, f := range h.filters {
			f.Configure(w.filterConfig())
		}
	}
}

func (h *host) read(t float64) float64 { return h.h0 + (t-h.t0)*(1+h.drift) }

// ticks is the counter, rounded down.
func (h *host) ticks(t float64) hw.Ticks { return hw.Ticks(1<<40 + uint64(math.Floor(h.read(t)*1e9))) }

// rawAt is the exact raw time.
func (h *host) rawAt(t float64) virtualclock.Time { return h.anchor.AddSeconds(h.read(t)) }

// peer is the index of q among h's peers.
func (h *host) peer(q *host) int {
	if q.id > h.id {
		return q.id - 1
	}
	return q.id
}

// rearm sets the host's round timer, which fires a nanosecond late at most.
func (w *world) rearm(h *host) {
	h.token++
	wait := h.group.Due().Seconds(h.rawAt(w.now))
	w.push(event{at: w.now + max(wait, 0)/(1+h.drift) + 1e-9, kind: eventRound, p: h, token: h.token})
}

// run goes on for s seconds of true time.
func (w *world) run(s float64) {
	end := w.now + s
	for len(w.events) > 0 && w.events[0].at <= end {
		e := heap.Pop(&w.events).(event)
		w.now = e.at
		w.step(&e)
	}
	w.now = end
}

func (w *world) step(e *event) {
	switch e.kind {
	case eventProbe:
		if e.p.up && e.token == e.p.era {
			w.send(e.p, e.q)
			w.push(event{at: w.now + w.probe*(0.9+0.2*w.rng.Float64()), kind: eventProbe, p: e.p, q: e.q, token: e.token})
		}
	case eventServe:
		w.serve(e)
	case eventArrive:
		w.arrive(e)
	case eventRound:
		if e.p.up && e.token == e.p.token {
			w.round(e.p)
		}
	case eventDrift:
		if e.p.up && e.token == e.p.era {
			w.look()
			w.changeDrift(e.p)
			w.push(event{at: w.now + 0.2 + 0.1*w.rng.Float64(), kind: eventDrift, p: e.p, token: e.token})
		}
	case eventLook:
		w.look()
	}
}

func (w *world) oneWay(from, to *host) (float64, bool) {
	if w.cut != nil && w.cut(from, to) {
		return 0, false
	}
	if w.delay != nil {
		return w.delay(from, to), true
	}
	return w.least + w.queue(), true
}

func (w *world) send(p, q *host) {
	d, ok := w.oneWay(p, q)
	if !ok {
		return
	}
	var x *exchange
	if n := len(w.spare); n > 0 {
		x, w.spare = w.spare[n-1], w.spare[:n-1]
	} else {
		x = &exchange{}
	}
	x.own = p.era
	x.sample = roundtrip.Sample{Depart: hw.Stamp{At: p.ticks(w.now), Kind: hw.StampUser}}
	w.push(event{at: w.now + w.late + d, kind: eventServe, p: p, q: q, x: x})
}

// serve is q's part: stamps are rounded so that they hold, the state is q's, or what it says it is.
func (w *world) serve(e *event) {
	p, q, x := e.p, e.q, e.x
	d, ok := w.oneWay(q, p)
	if !q.up || !ok {
		w.spare = append(w.spare, x)
		return
	}
	x.sample.Receive = q.raw.At(q.ticks(w.now) + 1)
	x.sample.Transmit = q.raw.At(q.ticks(w.now + 20e-6))
	x.era, x.silent = q.era, false
	x.state = *q.group.State()
	if q.liar && w.lie != nil {
		x.state, ok = w.lie(w, q, p, x.state)
		x.silent, x.era = !ok, x.state.Era
	}
	w.push(event{at: w.now + 20e-6 + d, kind: eventArrive, p: p, q: q, x: x})
}

func (w *world) arrive(e *event) {
	p, x := e.p, e.x
	defer func() { w.spare = append(w.spare, x) }()
	if !p.up || x.own != p.era || x.silent {
		return
	}
	i := p.peer(e.q)
	x.sample.Arrive = hw.Stamp{At: p.ticks(w.now) + 1, Kind: hw.StampUser}
	if code := p.group.Receive(p.rawAt(w.now), i, &x.state); code == reason.PeerRestarted || p.eras[i] != x.era {
		p.filters[i].Reset()
		p.eras[i] = x.era
	}
	p.filters[i].Update(&x.sample, w.point)
}

func (w *world) changeDrift(h *host) {
	rho := w.config.Drift
	d := h.drift
	switch w.drift {
	case driftBangBang:
		d = rho * float64(2*w.rng.IntN(2)-1)
	case driftRandom:
		d = min(max(d+rho*0.3*w.rng.NormFloat64(), -rho), rho)
	case driftSplit:
		d = -rho
		if w.rank(h) >= 0.5 {
			d = rho
		}
	case driftQuiet:
		d = min(max(d+1e-9*0.5*w.rng.NormFloat64(), -rho), rho)
	default:
		return
	}
	h.t0, h.h0, h.drift = w.now, h.read(w.now), d
	w.rearm(h)
}

// rank is the share of the other correct hosts whose target clock is behind h's: what an adversary who sees all would know.
func (w *world) rank(h *host) float64 {
	v, behind, n := h.group.Target(h.rawAt(w.now)), 0, 0
	for _, q := range w.hosts {
		if q == h || q.liar || !q.up {
			continue
		}
		n++
		if x := q.group.Target(q.rawAt(w.now)); x.Before(v) || x == v && q.id < h.id {
			behind++
		}
	}
	return float64(behind) / float64(max(n, 1))
}

func (w *world) round(h *host) {
	now, ticks := h.rawAt(w.now), h.ticks(w.now)
	readings := make([]Reading, len(h.filters))
	for i, f := range h.filters {
		r := f.Reading(ticks)
		low, high := roundtrip.Spread(RelativeDrift(w.config.Drift), r.Low, r.High, 1e-9)
		readings[i] = Reading{
			Known: r.Samples > 0, Era: h.eras[i], Low: low - 1e-9, High: high + 1e-9, Offset: r.Offset,
			Rate: r.Rate, RateStd: r.RateStd,
		}
		if readings[i].Known && !h.liar {
			q := w.hosts[i]
			if i >= h.id {
				q = w.hosts[i+1]
			}
			if truth := q.rawAt(w.now).Seconds(now); q.up && q.era == h.eras[i] && !q.liar {
				w.seen.readings++
				if truth < low-1e-9 || truth > high+1e-9 {
					w.seen.wrong++
				}
			}
		}
	}
	var external External
	if w.masters != nil {
		external = w.masters(h)
	}
	w.before(h)
	target, shown := h.group.Target(now), h.group.Display(now)
	o := h.group.Round(now, readings, external)
	if w.measuring && !o.Step && math.Abs(h.group.Display(now).Seconds(shown)) > 1e-15 {
		w.seen.jumps++
	}
	w.after(h, o)
	if w.onRound != nil {
		w.onRound(h, target, h.group.Target(now), o)
	}
	if end := h.group.SlewEnd(); h.rawAt(w.now).Before(end) {
		w.push(event{at: w.now + end.Seconds(h.rawAt(w.now))/(1+h.drift), kind: eventLook})
	}
	w.rearm(h)
}

// judged returns the hosts that are measured.
func (w *world) judged() []*host {
	if w.only != nil {
		return w.only
	}
	return w.correct()
}

// correct returns the hosts that are up and do not lie.
func (w *world) correct() []*host {
	var hs []*host
	for _, h := range w.hosts {
		if !h.liar && h.up {
			hs = append(hs, h)
		}
	}
	return hs
}

// targets is the spread of the correct hosts' target clocks.
func (w *world) targets() float64 {
	first, low, high := virtualclock.Time{}, 0.0, 0.0
	for i, h := range w.judged() {
		v := h.group.Target(h.rawAt(w.now))
		if i == 0 {
			first = v
		}
		x := v.Seconds(first)
		low, high = min(low, x), max(high, x)
	}
	return high - low
}

// before measures Π just before the first correct host computes.
func (w *world) before(h *host) {
	if !w.measuring || !slices.Contains(w.judged(), h) {
		return
	}
	w.look()
	next := h.group.next
	for _, q := range w.judged() {
		if q.group.next != next {
			return
		}
	}
	w.seen.spread = max(w.seen.spread, w.targets())
}

// after measures δ_v when the last correct host has computed, and records the a-posteriori ε.
func (w *world) after(h *host, o *Outcome) {
	if !w.measuring || !slices.Contains(w.judged(), h) {
		return
	}
	w.look()
	switch {
	case o.Step:
		w.seen.steps++
	case o.Kind == Skipped:
		w.seen.skipped++
	case o.Kind == Adjusted:
		w.seen.rounds++
		w.seen.epsilon = max(w.seen.epsilon, w.aposteriori(h, o))
	}
	if h.group.void != reason.OK {
		w.seen.voids++
	}
	for _, q := range w.judged() {
		if q.group.next != h.group.next {
			return
		}
	}
	w.seen.convergence = max(w.seen.convergence, w.targets())
}

// aposteriori is the largest half-width that this round used of a correct host, without the f − #liars widest where the function
// trims them (theory 1.3, rule 5).
func (w *world) aposteriori(h *host, o *Outcome) float64 {
	widths, liars := []float64{0}, 0
	for _, q := range w.hosts {
		if q.liar {
			liars++
		}
		if q == h || q.liar {
			continue
		}
		if v := o.Verdicts[h.peer(q)]; v.Used {
			widths = append(widths, v.HalfWidth)
		} else {
			widths = append(widths, math.Inf(1))
		}
	}
	slices.Sort(widths)
	if w.config.Algorithm == IntervalMidpoint {
		widths = widths[:len(widths)-(h.group.config.Faults-min(liars, h.group.config.Faults))]
	}
	for len(widths) > 1 && math.IsInf(widths[len(widths)-1], 1) {
		widths = widths[:len(widths)-1]
	}
	return widths[len(widths)-1]
}

// look measures all that holds at every instant: π_v, and that the intervals J of correct hosts meet.
func (w *world) look() {
	if !w.measuring {
		return
	}
	hs := w.correct()
	var first virtualclock.Time
	low, high := math.Inf(1), math.Inf(-1)
	j, single := Interval{math.Inf(-1), math.Inf(1)}, Interval{math.Inf(-1), math.Inf(1)}
	var far, shown []float64
	for i, h := range hs {
		raw := h.rawAt(w.now)
		v := h.group.Display(raw)
		if i == 0 {
			first = v
		}
		x := v.Seconds(first)
		if w.only == nil || slices.Contains(w.only, h) {
			low, high = min(low, x), max(high, x)
			shown = append(shown, x)
		}
		b := h.group.Interval(raw)
		w.monotone(h, v, &b)
		w.trueTime(h, raw)
		if !b.Status.Sound() {
			continue
		}
		if v.Before(b.Earliest) || v.After(b.Latest) {
			w.seen.outside++
		}
		if b.Status == virtualclock.Holdover {
			for _, q := range hs {
				if v := q.group.Display(q.rawAt(w.now)); q.group.state.Status.member() && (v.Before(b.Earliest) || v.After(b.Latest)) {
					w.seen.lost++
				}
			}
		}
		j.Low, j.High = max(j.Low, b.Earliest.Seconds(first)), min(j.High, b.Latest.Seconds(first))
		far = append(far, b.FarEdge)
		if s := &h.group.spans[0]; s.ok {
			r := s.relative(raw, first)
			single.Low, single.High = max(single.Low, r.Low), min(single.High, r.High)
		}
	}
	w.seen.precision = max(w.seen.precision, high-low)
	if j.Low > j.High {
		w.seen.disjoint++
	}
	if single.Low > single.High {
		w.seen.disjointNow++
	}
	for i := range shown {
		for k := range i {
			w.seen.rms += (shown[i] - shown[k]) * (shown[i] - shown[k])
			w.seen.samples++
		}
	}
	if len(far) == len(hs) {
		for _, f := range far {
			w.seen.farEdge = max(w.seen.farEdge, f)
		}
	}
}

// monotone checks what a reader may rely on within an epoch.
func (w *world) monotone(h *host, v virtualclock.Time, b *Bound) {
	if b.Epoch == h.epoch && (v.Before(h.shown) || b.Status.Sound() && b.Latest.Before(h.latest)) {
		w.seen.backwards++
	}
	h.shown = v
	if b.Epoch != h.epoch {
		h.latest = virtualclock.MinTime()
	}
	if b.Status.Sound() {
		h.latest = b.Latest
	}
	h.epoch = b.Epoch
}

// truth is true time on the virtual timeline, for the hybrid.
func (w *world) truth() virtualclock.Time {
	return virtualclock.Unix(1_764_000_000_000_000_000, 0).AddSeconds(w.now)
}

func (w *world) trueTime(h *host, raw virtualclock.Time) {
	if w.masters == nil {
		return
	}
	x := w.truth().Seconds(h.group.Display(raw))
	w.seen.accuracy = max(w.seen.accuracy, math.Abs(x))
	// The world's own numbers are rounded at 3e-14 s.
	if i, ok := h.group.UTC(raw); ok && (x < i.Low-1e-13 || x > i.High+1e-13) {
		w.seen.utcMiss++
	}
}

// inSync waits until all correct hosts are in, at most s seconds.
func (w *world) inSync(s float64) bool {
	for end := w.now + s; w.now < end; {
		w.run(0.25)
		in := 0
		for _, h := range w.correct() {
			if h.group.Interval(h.rawAt(w.now)).Status == virtualclock.Synchronised {
				in++
			}
		}
		if in == len(w.correct()) {
			return true
		}
	}
	return false
}

// rmsPair is the root mean square of the pairwise differences.
func (m *measured) rmsPair() float64 { return math.Sqrt(m.rms / float64(max(m.samples, 1))) }

func (m *measured) String() string {
	return fmt.Sprintf("ε %.1f  δ_v %.1f  Π %.1f  π_v %.1f  far edge %.1f µs; %d rounds, %d skipped, %d steps, %d voids, %d of %d readings wrong, J disjoint %d (one round's alone: %d), outside %d, lost %d, jumps %d, backwards %d",
		m.epsilon*1e6, m.convergence*1e6, m.spread*1e6, m.precision*1e6, m.farEdge*1e6, m.rounds, m.skipped, m.steps, m.voids, m.wrong, m.readings, m.disjoint, m.disjointNow, m.outside, m.lost, m.jumps, m.backwards)
}
