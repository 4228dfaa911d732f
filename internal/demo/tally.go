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
	// liar: its samples count for nothing.
	liar bool
	// sound and unsound count the samples; unsound those since all hosts were synchronised first.
	sound, unsound uint64
	// violations counts all claims that did not hold, and apart those of them that were on the distance to another host.
	violations, apart uint64
	// worst is by how much true time was outside a claimed interval, in seconds.
	worst float64
	// The rest is of the samples since all hosts were synchronised first; errors has only those in which true time was known.
	errors, bounds histogram
	squares        float64
	sampled        uint64
	second         float64 // the largest error since the last second's end, −1 without a sample
}

// tally adds the samples up.
type tally struct {
	hosts   []hostTally
	samples uint64
	// The figures of the last second, and since all hosts were synchronised first. online is the largest sum of two hosts' bounds.
	second, total struct{ precision, accuracy, online extreme }
	// synchronised is the first reading of the true counter at which all hosts' clocks were sound, close the first at which
	// all errors were below closeEnough too.
	synchronised, close           hw.Ticks
	hasSynchronised, hasComeClose bool
	// pairs counts the claims on the distance between two hosts that did not hold.
	pairs uint64
}

func newTally(subjects []subject) *tally {
	t := &tally{}
	for _, s := range subjects {
		t.hosts = append(t.hosts, hostTally{name: s.name, liar: s.liar, second: -1})
	}
	return t
}

// add takes one sample, taken when the true counter read at. ready: the figures may begin to count.
func (t *tally) add(at hw.Ticks, looks []look, ready bool) {
	t.samples++
	everyone, close := ready, ready
	for i := range looks {
		l := &looks[i]
		if t.hosts[i].liar {
			continue
		}
		if l.sound && !l.held {
			t.violated(i, l.excess)
		}
		everyone = everyone && l.sound
		close = close && l.sound && !l.internal && math.Abs(l.error) < closeEnough
	}
	if everyone && !t.hasSynchronised {
		t.synchronised, t.hasSynchronised = at, true
	}
	if close && !t.hasComeClose {
		t.close, t.hasComeClose = at, true
	}
	for i := range looks {
		if !t.hosts[i].liar {
			t.hosts[i].add(&looks[i], t.hasSynchronised)
		}
	}
	t.accuracy(looks)
	t.precision(looks)
}

func (h *hostTally) add(l *look, counts bool) {
	if !l.sound {
		if counts {
			h.unsound++
		}
		return
	}
	h.sound++
	if counts {
		h.sampled++
		h.bounds.add(l.bound)
	}
	if l.internal {
		return
	}
	size := math.Abs(l.error)
	h.second = max(h.second, size)
	if counts {
		h.errors.add(size)
		h.squares += size * size
	}
}

// violated counts a claim of host i that true time contradicts by so many seconds.
func (t *tally) violated(i int, by float64) {
	h := &t.hosts[i]
	h.violations++
	h.worst = max(h.worst, by)
}

// parted counts a claim on the distance of hosts i and j that did not hold.
func (t *tally) parted(i, j int) {
	t.pairs++
	for _, h := range [...]*hostTally{&t.hosts[i], &t.hosts[j]} {
		h.violations++
		h.apart++
	}
}

// violations is the number for all hosts and pairs of them.
func (t *tally) violations() uint64 {
	n := t.pairs
	for i := range t.hosts {
		n += t.hosts[i].violations - t.hosts[i].apart
	}
	return n
}

// accuracy takes the sample's accuracy, the largest error, and the largest that was claimed.
func (t *tally) accuracy(looks []look) {
	var accuracy, bound float64
	hosts := 0
	for i := range looks {
		if l := &looks[i]; l.sound && !l.internal && !t.hosts[i].liar {
			hosts++
			accuracy, bound = max(accuracy, math.Abs(l.error)), max(bound, l.bound)
		}
	}
	if hosts >= 1 {
		t.second.accuracy.note(accuracy, bound)
		if t.hasSynchronised {
			t.total.accuracy.note(accuracy, bound)
		}
	}
}

// precision takes an instant's precision, the largest distance between two hosts. What is claimed of a pair is the sum of its
// bounds; of the precision, the largest such sum.
func (t *tally) precision(looks []look) {
	var apart, sum float64
	hosts := 0
	for i := range looks {
		a := &looks[i]
		if !a.sound || t.hosts[i].liar {
			continue
		}
		hosts++
		for j := range looks[:i] {
			if b := &looks[j]; b.sound && !t.hosts[j].liar {
				apart, sum = max(apart, math.Abs(a.time.Seconds(b.time))), max(sum, a.bound+b.bound)
			}
		}
	}
	if hosts >= 2 {
		t.second.precision.note(apart, sum)
		t.second.online.note(sum, apart)
		if t.hasSynchronised {
			t.total.precision.note(apart, sum)
			t.total.online.note(sum, apart)
		}
	}
}

// newSecond forgets the figures of the last second.
func (t *tally) newSecond() {
	t.second.precision, t.second.accuracy, t.second.online = extreme{}, extreme{}, extreme{}
	for i := range t.hosts {
		t.hosts[i].second = -1
	}
}
