package virtualclock

import (
	"math"

	"github.com/clockd/clockd/hw"
)

// The words of the page's companion: the interval as a function of CLOCK_MONOTONIC_RAW, for programs that cannot read the page's
// counter. All of it is zero if there is none.
const (
	wordRawNotBefore     = 38
	wordRawStaleAfter    = 39
	wordRawVoidAfter     = 40
	wordRawAt            = 41
	wordRawEarliest      = 42
	wordRawLatest        = 43
	wordRawSlow          = 44
	wordRawFast          = 45
	wordRawTimeNamespace = 46
	wordRawSuspended     = 47
	wordRawCheck         = 48
)

const (
	// rawBaseline is over how many nanoseconds the relation is measured at least before it is published.
	rawBaseline = 500e6
	// rawUncertain is by how much the relation may be uncertain at most to be published, as a part of it.
	rawUncertain = 10e-6
	// rawMargin covers the rounding of the floating-point numbers below.
	rawMargin = 1e-12
)

// rawBracket is one reading of CLOCK_MONOTONIC_RAW and the two of the counter around it.
type rawBracket struct {
	low, high hw.Ticks
	ns        int64
}

// companion measures how CLOCK_MONOTONIC_RAW follows the counter. While the kernel keeps time by that counter the one is the other
// times a constant, rounded down to nanoseconds; the constant is not known beforehand, but each pair of brackets bounds it, and what
// all of them leave of it shrinks as they are further apart. If nothing is left it was no constant: everything begins anew.
type companion struct {
	counter hw.Counter
	read    func() (int64, error)
	// namespace is that in which the clock is read.
	namespace uint64
	// same: the counter is CLOCK_MONOTONIC_RAW itself.
	same        bool
	first, last rawBracket
	begun       bool
	least, most float64 // nanoseconds per tick
	// suspended is for how many nanoseconds the host was suspended since its boot, during which the clock stands still.
	suspended func() int64
	known     bool
}

// prepare takes the measurements for the next publication.
func (m *companion) prepare() { m.known = m.same || m.measure() }

// bracket reads the clock between two readings of the counter, the better of two tries.
func (m *companion) bracket() (b rawBracket, ok bool) {
	for range 2 {
		low := m.counter.Read()
		ns, err := m.read()
		high := m.counter.Read()
		if err != nil || high.Before(low) {
			return rawBracket{}, false
		}
		if !ok || high-low < b.high-b.low {
			b, ok = rawBracket{low, high, ns}, true
		}
	}
	return b, ok
}

// measure takes another bracket; false if the relation is not known well enough.
func (m *companion) measure() bool {
	b, ok := m.bracket()
	if !ok {
		m.begun = false
		return false
	}
	if !m.begun || b.ns < m.last.ns {
		m.begun, m.first, m.last, m.least, m.most = true, b, b, 0, math.Inf(1)
		return false
	}
	m.last = b
	if b.ns-m.first.ns < rawBaseline {
		return false
	}
	passed := float64(b.ns - m.first.ns)
	m.least = max(m.least, (passed-1)/float64(b.high-m.first.low)*(1-rawMargin))
	m.most = min(m.most, (passed+1)/float64(b.low-m.first.high)*(1+rawMargin))
	if m.most < m.least {
		m.begun = false
		return false
	}
	return m.most-m.least <= rawUncertain*m.least
}

// store writes the companion of what the page holds: sequence is the one with which it will be published.
func (m *companion) store(p *pageWords, k *content, sequence uint64) {
	var w [wordRawCheck - wordRawNotBefore]uint64
	if m.known && k.Status.Sound() {
		m.fill(&w, k)
	}
	for i, v := range w {
		p.store(wordRawNotBefore+i, v)
	}
	p.store(wordRawCheck, rawCheck(p, sequence))
}

func (m *companion) fill(w *[wordRawCheck - wordRawNotBefore]uint64, k *content) {
	set := func(word int, v uint64) { w[word-wordRawNotBefore] = v }
	set(wordRawTimeNamespace, m.namespace)
	set(wordRawSuspended, uint64(m.suspended()))
	if m.same {
		set(wordRawNotBefore, uint64(k.notBefore))
		set(wordRawStaleAfter, uint64(k.StaleAfter))
		set(wordRawVoidAfter, uint64(k.VoidAfter))
		set(wordRawAt, uint64(k.At))
		set(wordRawEarliest, uint64(k.Earliest.ns()))
		set(wordRawLatest, uint64(ceiling(k.Latest)))
		set(wordRawSlow, uint64(k.Slow))
		set(wordRawFast, uint64(k.Fast))
		return
	}
	b := m.last
	low, high := k.Interval(b.low), k.Interval(b.high)
	slow, fast := float64(k.Slow)/m.most*(1-rawMargin), float64(k.Fast)/m.least*(1+rawMargin)
	if !low.Sound() || !high.Sound() || !(fast < 1<<62) {
		return
	}
	// At the reading ns the clock was in [ns, ns+1), somewhere between low and high. From there to a later reading it has run the
	// difference of both readings less or more one nanosecond. Measured from ns+1, that is the difference, or two more.
	set(wordRawAt, uint64(b.ns+1))
	set(wordRawEarliest, uint64(low.Earliest.ns()))
	set(wordRawLatest, uint64(ceiling(high.Latest.afterUp(2, Period(fast)+1))))
	set(wordRawSlow, uint64(slow))
	set(wordRawFast, uint64(fast)+1)
	set(wordRawNotBefore, uint64(b.ns-int64(slackSeconds*1e9)))
	set(wordRawStaleAfter, uint64(m.deadline(k.StaleAfter)))
	set(wordRawVoidAfter, uint64(m.deadline(k.VoidAfter)))
}

// deadline is a reading of the clock at which the counter is certainly not past c, if c is not in the past already.
func (m *companion) deadline(c hw.Ticks) int64 {
	ticks := float64(c.Sub(m.last.high))
	if ticks <= 0 {
		return m.last.ns - int64(slackSeconds*1e9) - 1
	}
	return m.last.ns + int64(min(ticks*m.least*(1-rawMargin), 1<<62)) - 2
}

// ceiling rounds up to whole nanoseconds.
func ceiling(t Time) int64 {
	if t.frac != 0 && t.ns() < math.MaxInt64 {
		return t.ns() + 1
	}
	return t.ns()
}

// rawCheck is a sum over everything that a reader of the companion needs, and the sequence: such readers are written in languages
// that cannot order their loads, and see by it that what they have is of one publication.
func rawCheck(p *pageWords, sequence uint64) uint64 {
	sum := mix(0, sequence)
	sum = mix(sum, p.load(wordMeta))
	for i := wordReason; i < wordRawCheck; i++ {
		sum = mix(sum, p.load(i))
	}
	return sum
}

func mix(sum, v uint64) uint64 {
	sum = (sum ^ v) * 0x9e3779b97f4a7c15
	return sum ^ sum>>32
}
