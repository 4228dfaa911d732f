// Package observer looks at the clocks of several hosts of one machine at one instant of their true counter. Each host's counter
// is an image of it (hw.Skewed), so what a host's page says at a reading of the true counter is known exactly, without asking
// anybody at the right moment: precision and bounds are measured, not estimated. The hosts may be other processes; all that is
// needed of one is its page.
package observer

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// Page is what is read of a host: a virtualclock.Reader.
type Page interface {
	Coefficients() (virtualclock.Coefficients, reason.Code)
	Counter() hw.Counter
}

// reopener is a page that can look whether it was replaced.
type reopener interface{ Reopen() error }

// Look is one host at one instant.
type Look struct {
	// Status is what the page is worth, Why the reason if it cannot be read. Known is false if the page could not be read in peace at
	// this instant: nothing is known of the host then.
	Known  bool
	Status virtualclock.Status
	Why    reason.Code
	Kind   virtualclock.Kind
	Epoch  virtualclock.Epoch
	// Time is the virtual clock and Interval what is claimed. They mean something only if the status is sound.
	Time     virtualclock.Time
	Interval virtualclock.Interval
	// Target is what the clock is being slewed to: what it would show if the correction were over. Steady is that line.
	Target virtualclock.Time
	Steady virtualclock.Line
	// Rate is by how much the virtual clock runs too fast at this instant, as a ratio, and Oscillator by how much the counter does.
	Rate, Oscillator float64
}

// Sound reports whether the host claims anything.
func (l *Look) Sound() bool { return l.Known && l.Status.Sound() }

// FarEdge is the larger distance of the clock from an edge of its interval, in seconds; +Inf if it is not sound.
func (l *Look) FarEdge() float64 {
	if !l.Sound() {
		return math.Inf(1)
	}
	return l.Interval.Bound(l.Time)
}

// Pair is two hosts at one instant.
type Pair struct {
	// Apart is by how much the first clock is ahead of the second in seconds, Allowed what the two claim of its absolute value.
	Apart, Allowed float64
	// Gap is by how much the two intervals miss each other in seconds, not positive if they have a point in common.
	Gap float64
}

// Compare compares two hosts; not ok unless both are sound.
func Compare(a, b *Look) (p Pair, ok bool) {
	if !a.Sound() || !b.Sound() {
		return Pair{}, false
	}
	return Pair{
		Apart: a.Time.Seconds(b.Time), Allowed: a.FarEdge() + b.FarEdge(),
		Gap: max(a.Interval.Earliest.Seconds(b.Interval.Latest), b.Interval.Earliest.Seconds(a.Interval.Latest)),
	}, true
}

// Sample is all hosts at one reading of the true counter. It is valid during the visit only.
type Sample struct {
	At    hw.Ticks
	Looks []Look
	// Changing is the host whose new publication begins at this instant, −1 if none does. Such an instant is visited twice: Begun is
	// false where its last one still counts, and true from then on.
	Changing int
	Begun    bool
	// Regular: this is an instant of the grid (Options.Grid).
	Regular bool
	// Last: this is the sample itself, and no more instants follow in this call.
	Last bool
}

// publication is what a host publishes at some time.
type publication struct {
	virtualclock.Coefficients
	why reason.Code
	// begins is the true counter's reading where it begins: at At, or where its lines begin if that is later.
	begins hw.Ticks
	known  bool
}

// same reports whether nothing was published between the two.
func (p *publication) same(q *publication) bool {
	return p.why == q.why && p.Coefficients == q.Coefficients
}

// host is one host under observation.
type host struct {
	page    Page
	counter hw.Counter
	// skewed is the image of the true counter, nil if the host has that itself; valid says that the page's counter is known.
	skewed *hw.Skewed
	valid  bool
	// before and now are the publications at the last two samples, first and again what is read before and after the true counter.
	before, now, first, again publication
	// missed: a publication between the last two samples was not seen (Options.Continuous).
	missed bool
}

// Options say what else than samples and new publications is visited.
type Options struct {
	// Grid, if not 0, is the distance in ticks of the true counter of instants that are visited as well: evenly spaced, whenever the
	// samples are.
	Grid int64
	// Breakpoints: the ends of slews are visited too, so that between two visits all clocks are straight lines, but for what the
	// oscillators do.
	Breakpoints bool
	// Continuous: the hosts' clocks go on within an epoch without a jump, as clockd's do. A new publication that does not go on where
	// the last one was shows that one between them was missed: from the last sample to its beginning nothing is known of that host.
	Continuous bool
}

// missedBy is by how much a clock must be elsewhere, in seconds, than its last publication says, for one to have been missed.
const missedBy = 2e-9

// mostInstants is how many instants of the grid are visited at the most after a long pause.
const mostInstants = 20_000

// Observer sees the true counter. It is for one goroutine.
type Observer struct {
	base    hw.Counter
	options Options
	hosts   []host
	looks   []Look
	// last is when the last sample was, begun that there was one; grid is the next instant of the grid.
	last, grid hw.Ticks
	begun      bool
	instants   []instant
	missed     uint64
}

// instant is where something is to be visited.
type instant struct {
	at   hw.Ticks
	host int // −1 for none
	kind instantKind
}

type instantKind uint8

const (
	missing instantKind = iota // from here on a host is not known
	begins                     // a new publication begins
	slewEnds
	regular
)

// New returns an observer of hosts whose counters are images of base, or base itself.
func New(base hw.Counter, pages ...Page) *Observer { return NewWith(base, Options{}, pages...) }

// NewWith is New with options.
func NewWith(base hw.Counter, options Options, pages ...Page) *Observer {
	o := &Observer{base: base, options: options, looks: make([]Look, len(pages))}
	for _, p := range pages {
		o.hosts = append(o.hosts, host{page: p})
	}
	return o
}

// Missed is how many publications, at least, began and ended between two samples (Options.Continuous).
func (o *Observer) Missed() uint64 { return o.missed }

// errForeign is told of a host whose counter has another base.
var errForeign = errors.New("observer: the host's counter is not an image of the true counter")

// attempts is how often a page is read until nobody publishes meanwhile. A publication takes a microsecond, but a writer may be
// interrupted in it.
const attempts = 5

// Observe looks at all hosts at one instant and calls visit with what it sees. Before that, it visits, in their order, the instants
// since the last sample at which a host's new publication began, with what was said just before and what was said from then on: there
// claims are oldest, and there they are narrowest, and no sample would hit them. Options add further instants.
func (o *Observer) Observe(visit func(*Sample)) {
	t := o.takeAll()
	for i := range o.hosts {
		h := &o.hosts[i]
		h.before, h.now = h.now, h.again
		h.now.known = h.first.same(&h.again) && h.valid
		h.missed = false
		if h.now.known && h.now.why == reason.OK {
			h.now.begins = h.truth(h.now.At)
			if lines := h.truth(h.now.Slew.C0); h.before.Slew != h.now.Slew && h.now.begins.Before(lines) && !t.Before(lines) {
				h.now.begins = lines
			}
		}
		if o.options.Continuous && o.begun {
			o.continues(h, t)
		}
	}
	o.collect(t)
	for _, x := range o.instants {
		o.visit(x, visit)
	}
	for i := range o.hosts {
		o.looks[i] = o.hosts[i].look(&o.hosts[i].now, t)
	}
	visit(&Sample{At: t, Looks: o.looks, Changing: -1, Last: true})
	o.last, o.begun = t, true
}

// takeAll reads all publications at one reading of the true counter, which it returns.
func (o *Observer) takeAll() (t hw.Ticks) {
	pending := true
	for try := 0; pending && try < attempts; try++ {
		o.read(true)
		t = o.base.Read()
		o.read(false)
		pending = false
		for i := range o.hosts {
			h := &o.hosts[i]
			pending = pending || !h.first.same(&h.again) || h.again.why == reason.PageTorn
		}
	}
	return t
}

// changed reports whether a host's new publication began since the last sample.
func (h *host) changed() bool {
	return h.before.known && h.now.known && h.now.why == reason.OK && !h.before.same(&h.now) && h.now.Status.Sound()
}

// continues finds out whether a publication of the host was missed since the last sample.
func (o *Observer) continues(h *host, t hw.Ticks) {
	switch {
	case !h.now.known || !h.before.known:
		h.missed = true
	case h.changed() && h.before.why == reason.OK && h.before.Status.Sound() && h.before.Epoch == h.now.Epoch:
		c := h.image(h.now.begins)
		h.missed = math.Abs(h.now.Time(c).Seconds(h.before.Time(c))) > missedBy || t.Before(h.now.begins)
		if h.missed {
			o.missed++
		}
	}
}

// collect lists the instants since the last sample, in their order.
func (o *Observer) collect(t hw.Ticks) {
	o.instants = o.instants[:0]
	add := func(at hw.Ticks, host int, kind instantKind) {
		o.instants = append(o.instants, instant{at, host, kind})
	}
	for i := range o.hosts {
		h := &o.hosts[i]
		if h.missed && o.begun {
			add(o.last, i, missing)
		}
		if h.changed() {
			add(h.now.begins, i, begins)
		}
		if !o.options.Breakpoints || !o.begun {
			continue
		}
		for _, p := range []*publication{&h.before, &h.now} {
			if !p.known || p.why != reason.OK || p.SlewEnd == p.Slew.C0 {
				continue
			}
			at := h.truth(p.SlewEnd)
			for h.image(at).Before(p.SlewEnd) {
				at++
			}
			if o.last.Before(at) && at.Before(t) && o.inForce(h, at) == p {
				add(at, i, slewEnds)
			}
		}
	}
	if o.options.Grid > 0 {
		o.grids(t, add)
	}
	slices.SortStableFunc(o.instants, func(a, b instant) int { return cmp.Compare(a.at.Sub(b.at), 0) })
}

// grids adds the instants of the grid up to t.
func (o *Observer) grids(t hw.Ticks, add func(hw.Ticks, int, instantKind)) {
	if !o.begun {
		o.grid = t.Add(o.options.Grid)
		return
	}
	if late := t.Sub(o.grid) / o.options.Grid; late > mostInstants {
		o.grid = o.grid.Add(late * o.options.Grid)
	}
	for ; o.grid.Before(t); o.grid = o.grid.Add(o.options.Grid) {
		add(o.grid, -1, regular)
	}
}

// visit looks at all hosts at an instant.
func (o *Observer) visit(x instant, visit func(*Sample)) {
	for j := range o.hosts {
		h := &o.hosts[j]
		if o.looks[j] = (Look{}); x.kind == missing && j == x.host {
			continue
		}
		if p := o.inForce(h, x.at); p != nil && (p.begins == 0 || !x.at.Before(p.begins)) {
			o.looks[j] = h.look(p, x.at)
		}
	}
	if x.kind != begins {
		visit(&Sample{At: x.at, Looks: o.looks, Changing: -1, Regular: x.kind == regular})
		return
	}
	h := &o.hosts[x.host]
	o.looks[x.host] = Look{}
	if !h.missed {
		o.looks[x.host] = h.look(&h.before, x.at)
	}
	visit(&Sample{At: x.at, Looks: o.looks, Changing: x.host})
	o.looks[x.host] = h.look(&h.now, x.at)
	visit(&Sample{At: x.at, Looks: o.looks, Changing: x.host, Begun: true})
}

// inForce is what a host said when the true counter read t, since the last sample; nil if that is not known.
func (o *Observer) inForce(h *host, t hw.Ticks) *publication {
	switch {
	case h.now.known && (h.now.same(&h.before) || h.now.why == reason.OK && !t.Before(h.now.begins)):
		return &h.now
	case h.missed:
		return nil
	}
	return &h.before
}

// read takes all publications, the first or the second time.
func (o *Observer) read(first bool) {
	for i := range o.hosts {
		h := &o.hosts[i]
		p := &h.again
		if first {
			p = &h.first
		}
		p.Coefficients, p.why = h.page.Coefficients()
		if p.why == reason.PageRetired {
			if r, ok := h.page.(reopener); ok && r.Reopen() == nil {
				p.Coefficients, p.why = h.page.Coefficients()
			}
		}
		o.recognise(h)
	}
}

// recognise finds out what the host's counter is to the true one.
func (o *Observer) recognise(h *host) {
	c := h.page.Counter()
	if c == nil {
		h.counter, h.valid = nil, false
		return
	}
	if h.valid && h.counter == c {
		return
	}
	h.counter, h.skewed, h.valid = c, nil, c.Spec() == o.base.Spec()
	if s, ok := c.(*hw.Skewed); ok && s.Base().Spec() == o.base.Spec() {
		h.skewed, h.valid = s, true
	}
}

// Check returns an error for the hosts whose counters are not images of the true one: nothing can be said of them.
func (o *Observer) Check() error {
	var errs []error
	for i := range o.hosts {
		if h := &o.hosts[i]; !h.valid {
			errs = append(errs, fmt.Errorf("%w: host %d has %s, the true counter is %s", errForeign, i, specOf(h.counter), specOf(o.base)))
		}
	}
	return errors.Join(errs...)
}

func specOf(c hw.Counter) string {
	if c == nil {
		return "none"
	}
	return c.Spec()
}

// truth returns the true counter's reading when the host's counter reads c.
func (h *host) truth(c hw.Ticks) hw.Ticks {
	if h.skewed == nil {
		return c
	}
	return h.skewed.Inverse(c)
}

// image returns the host's counter's reading when the true counter reads t.
func (h *host) image(t hw.Ticks) hw.Ticks {
	if h.skewed == nil {
		return t
	}
	return h.skewed.At(t)
}

// look evaluates a publication at a reading of the true counter.
func (h *host) look(p *publication, t hw.Ticks) Look {
	if !p.known {
		return Look{Why: p.why}
	}
	l := Look{Known: true, Why: p.why, Status: virtualclock.Unsynchronised}
	if p.why != reason.OK {
		return l
	}
	c := h.image(t)
	if h.skewed != nil {
		l.Oscillator = h.skewed.FrequencyErrorAt(t)
	}
	k := &p.Coefficients
	l.Interval = k.Interval(c)
	l.Status, l.Kind, l.Epoch = l.Interval.Status, k.Kind, l.Interval.Epoch
	if !l.Interval.Sound() {
		return l
	}
	l.Time, l.Target = k.Time(c), k.Steady.At(c)
	l.Steady = k.Steady
	line := &k.Steady
	if c.Before(k.SlewEnd) {
		line = &k.Slew
	}
	hertz := h.page.Counter().Frequency().Hertz * (1 + l.Oscillator)
	l.Rate = line.Period.Nanoseconds()*1e-9*hertz - 1
	return l
}
