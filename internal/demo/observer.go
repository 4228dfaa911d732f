package demo

import (
	"math"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// clock is what the observer reads: a page's Reader.
type clock interface {
	Coefficients() (virtualclock.Coefficients, reason.Code)
}

// subject is one clock under observation.
type subject struct {
	name  string
	clock clock
	// counter is the host's image of the true counter.
	counter *hw.Skewed
	// liar: what it claims is nobody's business.
	liar bool
}

// publication is what a host publishes at some time.
type publication struct {
	virtualclock.Coefficients
	why reason.Code
}

// look is one host at one instant. Its figures mean something only if it is sound.
type look struct {
	status virtualclock.Status
	sound  bool
	// internal: the claim is on the peers' clocks; there is no error.
	internal bool
	// time is the virtual clock, interval what is claimed with it, error its distance from true time (positive: ahead) in seconds,
	// bound its distance to the claim's far edge.
	time         virtualclock.Time
	interval     virtualclock.Interval
	error, bound float64
	// held: true time was in the claimed interval, and the error within the bound. An internal claim has no part in it.
	held bool
	// excess is by how much true time was outside, in seconds, not positive if it was inside.
	excess float64
	// clockRate is by how much the virtual clock runs too fast at this instant, as a ratio.
	clockRate float64
}

// observer sees the true counter.
type observer struct {
	base hw.Counter
	// truth is nil where nobody keeps true time.
	truth    clock
	subjects []subject
	// group is nil unless the subjects are one.
	group *groupWatch
	// read is when the last sample was taken, on the true counter; reference is what the master published then; published and
	// looks belong to the subjects.
	read      hw.Ticks
	reference virtualclock.Coefficients
	published []publication
	looks     []look
	// earlier and again are room for the publications before and after the reading of the true counter.
	earlier, again []publication
	tally          *tally
}

func newObserver(base hw.Counter, truth clock, subjects []subject) *observer {
	n := len(subjects)
	return &observer{
		base: base, truth: truth, subjects: subjects, tally: newTally(subjects), read: base.Read(), published: make([]publication, n),
		earlier: make([]publication, n+1), again: make([]publication, n+1), looks: make([]look, n),
	}
}

// attempts is how often a sample is tried; publications are some milliseconds apart, and a try takes some microseconds.
const attempts = 5

// sample looks at all hosts at one instant. It reports false if there was none at which nobody published, or no true time.
func (o *observer) sample() bool {
	for range attempts {
		o.publications(o.earlier)
		t := o.base.Read()
		o.publications(o.again)
		if !settled(o.earlier, o.again) {
			continue
		}
		last := len(o.subjects)
		if o.truth != nil && !o.again[last].Status.Sound() {
			return false
		}
		if o.group != nil {
			o.breakpoints(t)
		}
		o.read, o.reference = t, o.again[last].Coefficients
		for i := range o.subjects {
			o.edges(i, &o.again[i])
			o.published[i] = o.again[i]
			o.looks[i] = o.lookAt(i, t)
		}
		o.tally.add(t, o.looks, o.group == nil || o.group.formed)
		if o.group != nil {
			o.checkPairs(o.looks, -1)
		}
		return true
	}
	return false
}

// publications reads what everybody publishes, the master last.
func (o *observer) publications(into []publication) {
	for i := range o.subjects {
		into[i].Coefficients, into[i].why = o.subjects[i].clock.Coefficients()
	}
	if o.truth != nil {
		last := len(o.subjects)
		into[last].Coefficients, into[last].why = o.truth.Coefficients()
	}
}

// settled reports whether nobody published between two looks. A daemon that was interrupted while it published is at it still.
func settled(a, b []publication) bool {
	for i := range a {
		if a[i] != b[i] || a[i].why == reason.PageTorn {
			return false
		}
	}
	return true
}

// lookAt evaluates host i's last publication when the true counter reads t.
func (o *observer) lookAt(i int, t hw.Ticks) look {
	return o.lookAs(i, &o.published[i].Coefficients, t)
}

// lookAs evaluates what host i publishes, published or has yet to, when the true counter reads t.
func (o *observer) lookAs(i int, k *virtualclock.Coefficients, t hw.Ticks) look {
	s := &o.subjects[i]
	return lookAt(k, s.counter.At(t), o.reference.Time(t), s.counter.Frequency().Hertz*(1+s.counter.FrequencyErrorAt(t)))
}

// lookAt evaluates coefficients at reading c, when true time is truth. hertz is how many ticks the host's counter really counts
// per second then.
func lookAt(k *virtualclock.Coefficients, c hw.Ticks, truth virtualclock.Time, hertz float64) look {
	interval := k.Interval(c)
	l := look{status: interval.Status, sound: interval.Sound()}
	if !l.sound {
		return l
	}
	l.time, l.interval = k.Time(c), interval
	l.bound = interval.Bound(l.time)
	if l.internal = k.Kind == virtualclock.Internal; l.internal {
		l.held = true
	} else {
		l.error = l.time.Seconds(truth)
		l.held = interval.Contains(truth) && math.Abs(l.error) <= l.bound
		l.excess = outside(interval, truth)
	}
	line := &k.Steady
	if c.Before(k.SlewEnd) {
		line = &k.Slew
	}
	l.clockRate = line.Period.Nanoseconds()*1e-9*hertz - 1
	return l
}

// edges checks the claims where they are tightest and where they are oldest: a claim is narrowest where it begins, and errors
// are largest before a correction. Both are at the reading where a new publication begins, which the samples never hit.
func (o *observer) edges(i int, next *publication) {
	before := &o.published[i]
	if o.subjects[i].liar {
		return
	}
	if *before == *next || !next.Status.Sound() || before.At == next.At {
		return
	}
	truth := o.reference.Time(o.subjects[i].counter.Inverse(next.At))
	for _, k := range []*publication{before, next} {
		if interval := k.Interval(next.At); k.Kind == virtualclock.External && interval.Sound() && !interval.Contains(truth) {
			o.tally.violated(i, outside(interval, truth))
		}
	}
}

// outside is by how much t is outside of the interval, in seconds.
func outside(i virtualclock.Interval, t virtualclock.Time) float64 {
	return max(i.Earliest.Seconds(t), t.Seconds(i.Latest))
}

// oscillatorPPM is by how much host i's oscillator is too fast at the last sample.
func (o *observer) oscillatorPPM(i int) float64 {
	return o.subjects[i].counter.FrequencyErrorAt(o.read) * 1e6
}

// leftAlone is how far host i's counter would be off by now if nobody had corrected it since reading start, in seconds.
func (o *observer) leftAlone(i int, start hw.Ticks) float64 {
	c := o.subjects[i].counter
	counted, passed := c.At(o.read).Sub(c.At(start)), o.read.Sub(start)
	return float64(counted-passed) / c.Frequency().Hertz
}

// newSecond forgets the figures of the last second.
func (o *observer) newSecond() {
	o.tally.newSecond()
	if o.group != nil {
		o.group.second = extreme{}
	}
}
