package demo

import (
	"math"

	"github.com/clockd/clockd/hw"
)

// closeEnough is the error in seconds below which the demonstration promises all clocks to be soon.
const closeEnough = 100e-6

// extreme is the largest value of something, and what was claimed of it at that moment.
type extreme struct {
	value, claim float64
	known        bool
}

func (e *extreme) note(value, claim float64) {
	if !e.known || value > e.value {
		*e = extreme{value, claim, true}
	}
}

// hostTally is what is known of one host's samples.
type hostTally struct {
	name string
	// sound and unsound count the samples; unsound those since all hosts were synchronised first.
	sound, unsound uint64
	violations     uint64
	// worst is by how much true time was outside a claimed interval, in seconds.
	worst float64
	// The rest is of the samples since all hosts were synchronised first.
	errors, bounds histogram
	squares        float64
	second         float64 // the largest error since the last second's end, −1 without a sample
}

// tally adds the samples up.
type tally struct {
	hosts   []hostTally
	samples uint64
	// The figures of the last second, and since all hosts were synchronised first.
	second, total struct{ precision, accuracy extreme }
	// synchronised is the first reading of the true counter at which all hosts' clocks were sound, close the first at which
	// all errors were below closeEnough too.
	synchronised, close           hw.Ticks
	hasSynchronised, hasComeClose bool
}

func newTally(subjects []subject) *tally {
	t := &tally{}
	for _, s := range subjects {
		t.hosts = append(t.hosts, hostTally{name: s.name, second: -1})
	}
	return t
}

// add takes one sample, taken when the true counter read at.
func (t *tally) add(at hw.Ticks, looks []look) {
	t.samples++
	everyone, largest := true, 0.0
	for i := range looks {
		l := &looks[i]
		if l.sound && !l.held {
			t.violated(i, l.excess)
		}
		everyone = everyone && l.sound
		if l.sound {
			largest = max(largest, math.Abs(l.error))
		}
	}
	if everyone && !t.hasSynchronised {
		t.synchronised, t.hasSynchronised = at, true
	}
	if everyone && largest < closeEnough && !t.hasComeClose {
		t.close, t.hasComeClose = at, true
	}
	for i := range looks {
		t.hosts[i].add(&looks[i], t.hasSynchronised)
	}
	t.global(looks)
}

func (h *hostTally) add(l *look, counts bool) {
	if !l.sound {
		if counts {
			h.unsound++
		}
		return
	}
	h.sound++
	size := math.Abs(l.error)
	h.second = max(h.second, size)
	if counts {
		h.errors.add(size)
		h.bounds.add(l.bound)
		h.squares += size * size
	}
}

// violated counts a claim of host i that true time contradicts by so many seconds.
func (t *tally) violated(i int, by float64) {
	h := &t.hosts[i]
	h.violations++
	h.worst = max(h.worst, by)
}

// violations is the number for all hosts.
func (t *tally) violations() (n uint64) {
	for i := range t.hosts {
		n += t.hosts[i].violations
	}
	return n
}

// global takes the sample's precision, the largest distance between two hosts, and accuracy, the largest error. What is claimed
// of a pair is the sum of its bounds; of the precision, the largest such sum.
func (t *tally) global(looks []look) {
	var accuracy, bound, apart, sum float64
	hosts := 0
	for i := range looks {
		a := &looks[i]
		if !a.sound {
			continue
		}
		hosts++
		accuracy, bound = max(accuracy, math.Abs(a.error)), max(bound, a.bound)
		for j := range looks[:i] {
			if b := &looks[j]; b.sound {
				apart, sum = max(apart, math.Abs(a.time.Seconds(b.time))), max(sum, a.bound+b.bound)
			}
		}
	}
	if hosts >= 1 {
		t.second.accuracy.note(accuracy, bound)
		if t.hasSynchronised {
			t.total.accuracy.note(accuracy, bound)
		}
	}
	if hosts >= 2 {
		t.second.precision.note(apart, sum)
		if t.hasSynchronised {
			t.total.precision.note(apart, sum)
		}
	}
}

// newSecond forgets the figures of the last second.
func (t *tally) newSecond() {
	t.second.precision, t.second.accuracy = extreme{}, extreme{}
	for i := range t.hosts {
		t.hosts[i].second = -1
	}
}
