// Package observer looks at the clocks of several hosts of one machine at one instant of their true counter. Each host's counter
// is an image of it (hw.Skewed), so what a host's page says at a reading of the true counter is known exactly, without asking
// anybody at the right moment: precision and bounds are measured, not estimated. The hosts may be other processes; all that is
// needed of one is its page.
package observer

import (
	"errors"
	"fmt"
	"math"

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
	// Changing is the host whose new publication begins at this instant, −1 at an ordinary sample.
	Changing int
}

// publication is what a host publishes at some time.
type publication struct {
	virtualclock.Coefficients
	why reason.Code
	// begins is the true counter's reading at At.
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
}

// Observer sees the true counter. It is for one goroutine.
type Observer struct {
	base  hw.Counter
	hosts []host
	looks []Look
}

// New returns an observer of hosts whose counters are images of base, or base itself.
func New(base hw.Counter, pages ...Page) *Observer {
	o := &Observer{base: base, looks: make([]Look, len(pages))}
	for _, p := range pages {
		o.hosts = append(o.hosts, host{page: p})
	}
	return o
}

// errForeign is told of a host whose counter has another base.
var errForeign = errors.New("observer: the host's counter is not an image of the true counter")

// attempts is how often a page is read until nobody publishes meanwhile. A publication takes a microsecond, but a writer may be
// interrupted in it.
const attempts = 5

// Observe looks at all hosts at one instant and calls visit with what it sees. Before that, it visits the instants since the last
// sample at which a host's new publication began, with what was said just before and what was said from then on: there claims are
// oldest, and there they are narrowest, and no sample would hit them.
func (o *Observer) Observe(visit func(*Sample)) {
	pending := true
	var t hw.Ticks
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
	for i := range o.hosts {
		h := &o.hosts[i]
		h.before, h.now = h.now, h.again
		h.now.known = h.first.same(&h.again) && h.valid
		if h.now.known && h.now.why == reason.OK {
			h.now.begins = h.truth(h.now.At)
		}
	}
	for i := range o.hosts {
		o.changes(i, visit)
	}
	for i := range o.hosts {
		o.looks[i] = o.hosts[i].look(&o.hosts[i].now, t)
	}
	visit(&Sample{At: t, Looks: o.looks, Changing: -1})
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

// changes visits the instant at which host i's new publication began, if there is one.
func (o *Observer) changes(i int, visit func(*Sample)) {
	h := &o.hosts[i]
	if !h.before.known || !h.now.known || h.now.why != reason.OK || h.before.same(&h.now) || !h.now.Status.Sound() {
		return
	}
	for _, mine := range []*publication{&h.before, &h.now} {
		for j := range o.hosts {
			x := &o.hosts[j]
			at := &x.before
			switch {
			case j == i:
				at = mine
			case x.now.known && (x.now.same(&x.before) || x.now.why == reason.OK && !h.now.begins.Before(x.now.begins)):
				at = &x.now
			}
			if o.looks[j] = (Look{}); !h.now.begins.Before(at.begins) {
				o.looks[j] = x.look(at, h.now.begins)
			}
		}
		visit(&Sample{At: h.now.begins, Looks: o.looks, Changing: i})
	}
}

// truth returns the true counter's reading when the host's counter reads c.
func (h *host) truth(c hw.Ticks) hw.Ticks {
	if h.skewed == nil {
		return c
	}
	return h.skewed.Inverse(c)
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
	c := t
	if h.skewed != nil {
		c = h.skewed.At(t)
		l.Oscillator = h.skewed.FrequencyErrorAt(t)
	}
	k := &p.Coefficients
	l.Interval = k.Interval(c)
	l.Status, l.Kind, l.Epoch = l.Interval.Status, k.Kind, l.Interval.Epoch
	if !l.Interval.Sound() {
		return l
	}
	l.Time = k.Time(c)
	line := &k.Steady
	if c.Before(k.SlewEnd) {
		line = &k.Slew
	}
	hertz := h.page.Counter().Frequency().Hertz * (1 + l.Oscillator)
	l.Rate = line.Period.Nanoseconds()*1e-9*hertz - 1
	return l
}
