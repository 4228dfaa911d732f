package virtualclock

import (
	"encoding/binary"
	"math/bits"
	"runtime"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
)

// view is a page together with the counter that belongs to it. It is what is read; it never changes, so a reader that looks at
// one while another takes its place does no harm.
type view struct {
	words   *pageWords
	kind    uint64
	counter hw.Counter
	// dead, if not OK, is why there is nothing to read; the sequence of words is then odd.
	dead reason.Code
	// follow, if set, returns the view to read after this one gave nothing: itself, or another.
	follow func() *view
}

func newView(words *pageWords, counter hw.Counter) *view {
	return &view{words: words, kind: kindOf(counter), counter: counter}
}

// deadView is a view of nothing.
func deadView(why reason.Code) *view {
	v := &view{words: new(pageWords), dead: why}
	v.words[wordSequence].Store(pageRetired)
	return v
}

// now is the read path. A reading goes: sequence, counter, words, sequence again. The counter is read after the sequence, so it
// is not older than the publication; and before the sequence is seen unchanged, so a correction that was published at a later
// reading than this one's cannot be missed.
//
// Only the good case is done here, all others (a writer at work, a stale or bad page, arithmetic that would not fit) are left
// to slow, which does everything again from the beginning and with care. The parts of an Interval are returned one by one
// because they stay in registers then.
func (v *view) now() (earliest, latest Time, epoch Epoch, status Status, why reason.Code) {
	p := v.words
	sequence := p.load(wordSequence)
	if sequence&1 != 0 {
		return v.slow()
	}
	var c uint64
	switch v.kind {
	case kindTSC:
		c = uint64(hw.ReadTSC())
	case kindCNTVCT:
		c = uint64(hw.ReadCNTVCT())
	default:
		c = uint64(v.counter.Read())
	}
	// All of these differences are signed; one negative one is enough.
	meta, elapsed := p.load(wordMeta), c-p.load(wordAt)
	outside := elapsed | (c - p.load(wordNotBefore)) | (p.load(wordStaleAfter) - c) | (p.load(wordVoidAfter) - c)
	if int64(outside) < 0 || Status(meta>>32) != Synchronised {
		return v.slow()
	}
	fractions := p.load(wordBoundFractions)
	// The lower edge rounded down, the upper edge rounded up to 2⁻³² ns.
	slowHi, slowLo := bits.Mul64(elapsed, p.load(wordSlow))
	fastHi, fastLo := bits.Mul64(elapsed, p.load(wordFast))
	fastLo, carry := bits.Add64(fastLo, 1<<16-1, 0)
	fastHi += carry
	earlyFrac := uint64(uint32(fractions)) + uint64(uint32(slowLo>>16))
	lateFrac := fractions>>32 + uint64(uint32(fastLo>>16))
	earlyBase, lateBase := int64(p.load(wordEarliest)), int64(p.load(wordLatest))
	early := earlyBase + int64(slowHi<<16|slowLo>>48) + int64(earlyFrac>>32)
	late := lateBase + int64(fastHi<<16|fastLo>>48) + int64(lateFrac>>32)
	// Nothing may have overflowed, and the edges must be in order; equal nanoseconds are for slow to look at.
	if (slowHi|fastHi)>>47 != 0 || early < earlyBase || late < lateBase || late <= early || p.load(wordSequence) != sequence {
		return v.slow()
	}
	runtime.KeepAlive(v) // and with it the mapping
	return Unix(early, uint32(earlyFrac)), Unix(late, uint32(lateFrac)), Epoch(meta), Synchronised, reason.OK
}

// How long a reader waits for a writer that is at work, which takes it well below 1 µs: first spinning, then letting others run,
// for a writer that was interrupted on this very processor.
const (
	spins  = 2000
	yields = 50
)

// slow is now for all cases.
//
//go:noinline
func (v *view) slow() (earliest, latest Time, epoch Epoch, status Status, why reason.Code) {
	r, why := v.read()
	return r.Interval.Earliest, r.Interval.Latest, r.Interval.Epoch, r.Interval.Status, why
}

// load copies the page's changing part and reads the counter while it does not change. Not OK: PageRetired, PageTorn, or what
// the view is dead of.
func (v *view) load() (k content, c hw.Ticks, why reason.Code) {
	if v.dead != reason.OK {
		return content{}, 0, v.dead
	}
	for try := range spins + yields {
		sequence := v.words.load(wordSequence)
		if sequence == pageRetired {
			return content{}, 0, reason.PageRetired
		}
		if sequence&1 == 0 {
			c = v.counter.Read()
			v.words.decode(&k)
			if v.words.load(wordSequence) == sequence {
				runtime.KeepAlive(v)
				return k, c, reason.OK
			}
		}
		if try >= spins {
			runtime.Gosched()
		}
	}
	runtime.KeepAlive(v)
	return content{}, 0, reason.PageTorn
}

// read returns all that there is to read, and why the status is below Synchronised.
func (v *view) read() (Reading, reason.Code) {
	r, why := v.look()
	if !r.Interval.Sound() && v.follow != nil {
		if next := v.follow(); next != v {
			r, why = next.look()
		}
	}
	return r, why
}

// look is read of this very view.
func (v *view) look() (Reading, reason.Code) {
	k, c, why := v.load()
	if why != reason.OK {
		return Reading{Time: minTime, Interval: void(Unsynchronised, 0), Ticks: c}, why
	}
	return k.reading(c)
}

// reading judges the content at counter reading c.
func (k *content) reading(c hw.Ticks) (Reading, reason.Code) {
	if c.Before(k.notBefore) {
		// The writer had seen the counter further on: it was reset, or this is another host's page.
		return Reading{Time: minTime, Interval: void(Disrupted, k.Epoch), Ticks: c}, reason.CounterBackwards
	}
	i, why := k.judge(c)
	if why == reason.OK && i.Status != Synchronised {
		why = k.whyNot()
	}
	return Reading{Time: k.Time(c), Interval: i, Ticks: c}, why
}

// whyNot is the writer's reason, or the most harmless one that fits if it gave none.
func (k *content) whyNot() reason.Code {
	switch {
	case k.why != reason.OK:
		return k.why
	case k.Status == Holdover:
		return reason.Stale
	}
	return reason.NeverSynchronised
}

// decode reads the changing part, whatever is in it. It is good only if the sequence did not change meanwhile.
func (p *pageWords) decode(k *content) {
	bounds, lines, meta := p.load(wordBoundFractions), p.load(wordLineFractions), p.load(wordMeta)
	k.Coefficients = Coefficients{
		Slew: Line{hw.Ticks(p.load(wordSlewC0)), Unix(int64(p.load(wordSlewT0)), uint32(lines)), Period(p.load(wordSlewPeriod))},
		Steady: Line{hw.Ticks(p.load(wordSteadyC0)), Unix(int64(p.load(wordSteadyT0)), uint32(lines>>32)),
			Period(p.load(wordSteadyPeriod))},
		SlewEnd:    hw.Ticks(p.load(wordSlewEnd)),
		At:         hw.Ticks(p.load(wordAt)),
		Earliest:   Unix(int64(p.load(wordEarliest)), uint32(bounds)),
		Latest:     Unix(int64(p.load(wordLatest)), uint32(bounds>>32)),
		Slow:       Period(p.load(wordSlow)),
		Fast:       Period(p.load(wordFast)),
		Difference: Period(p.load(wordDifference)),
		StaleAfter: hw.Ticks(p.load(wordStaleAfter)),
		VoidAfter:  hw.Ticks(p.load(wordVoidAfter)),
		Epoch:      Epoch(meta),
		Status:     Status(meta >> 32),
	}
	if k.Status > Synchronised {
		k.Status = Unsynchronised
	}
	k.notBefore, k.published = hw.Ticks(p.load(wordNotBefore)), hw.Ticks(p.load(wordPublished))
	k.frequency = hw.Frequency{Hertz: float64frombits(p.load(wordHertz)), ErrorPPB: float64frombits(p.load(wordHertzError))}
	k.instance = p.load(wordInstance)
	k.why = p.decodeReason(reason.Code(meta >> 40))
}

// decodeReason reads the reason's name. The number is a hint that is right if the writer was of the same version.
func (p *pageWords) decodeReason(hint reason.Code) reason.Code {
	var name [reasonBytes]byte
	for i := range reasonBytes / 8 {
		binary.LittleEndian.PutUint64(name[8*i:], p.load(wordReason+i))
	}
	length := 0
	for length < len(name) && name[length] != 0 {
		length++
	}
	if hint < reason.Count && hint.String() == string(name[:length]) {
		return hint
	}
	for c := range reason.Count {
		if c.String() == string(name[:length]) {
			return c
		}
	}
	return reason.OK // a name of a later version: as if none had been given
}
