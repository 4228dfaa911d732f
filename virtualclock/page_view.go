package virtualclock

import (
	"encoding/binary"
	"math/bits"
	"runtime"
	"time"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
)

// view is a page together with the counter that belongs to it. It is what is read; it never changes, so a reader that looks at
// one while another takes its place does no harm.
type view struct {
	words   *pageWords
	kind    uint64
	counter hw.Counter
	// marker, if not nil, is where the hypervisor tells of disruptions.
	marker *hw.VMClock
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
// because they stay in registers then, which is also why status and kind are packed into one number.
func (v *view) now() (earliest, latest Time, epoch Epoch, worth packed, why reason.Code) {
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
	// Read after the counter: a disruption before that reading shows.
	if m := v.marker; m != nil && v.disrupted(m) {
		return v.slow()
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
	return Unix(early, uint32(earlyFrac)), Unix(late, uint32(lateFrac)), Epoch(meta), packed(Synchronised) | packed(meta>>40)&0xff00, reason.OK
}

// disrupted reports that the hypervisor tells of a disruption that the page's writer did not know of.
func (v *view) disrupted(m *hw.VMClock) bool {
	return v.words.load(wordMarked) == 1 && m.Marker() != v.words.load(wordMarker)
}

// packed is a Standing in one number: the kind above the status.
type packed uint16

func (p packed) standing() Standing { return Standing{Status(p), Kind(p >> 8)} }

// How long a reader waits for a writer that is at work, which takes it well below 1 µs: first spinning; then letting others run, for
// a writer that was interrupted on this very processor; then sleeping, for one that a busy machine keeps from running.
const (
	spins  = 2000
	yields = 20
	naps   = 30
	nap    = 200 * time.Microsecond
)

// slow is now for all cases.
//
//go:noinline
func (v *view) slow() (earliest, latest Time, epoch Epoch, worth packed, why reason.Code) {
	r, why := v.read()
	i := &r.Interval
	return i.Earliest, i.Latest, i.Epoch, packed(i.Status) | packed(i.Kind)<<8, why
}

// load copies the page's changing part to k and reads the counter while it does not change. Not OK: PageRetired, PageTorn, or what
// the view is dead of; then k is worth nothing.
func (v *view) load(k *content) (c hw.Ticks, why reason.Code) {
	if v.dead != reason.OK {
		return 0, v.dead
	}
	for try := range spins + yields + naps {
		sequence := v.words.load(wordSequence)
		if sequence == pageRetired {
			return 0, reason.PageRetired
		}
		if sequence&1 == 0 {
			c = v.ticks()
			v.words.decode(k)
			if v.words.load(wordSequence) == sequence {
				runtime.KeepAlive(v)
				return c, reason.OK
			}
		}
		switch {
		case try >= spins+yields:
			time.Sleep(nap)
		case try >= spins:
			runtime.Gosched()
		}
	}
	runtime.KeepAlive(v)
	return 0, reason.PageTorn
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
	var k content
	c, why := v.load(&k)
	if why != reason.OK {
		return Reading{Time: minTime, Interval: void(Unsynchronised, 0), Ticks: c}, why
	}
	if k.disrupted(v.marker) {
		return Reading{Time: minTime, Interval: void(Disrupted, k.Epoch), Ticks: c}, reason.HostPaused
	}
	return k.reading(c)
}

// disrupted is view.disrupted of what was copied, after the counter was read.
func (k *content) disrupted(m *hw.VMClock) bool {
	return m != nil && k.marked && m.Marker() != k.marker
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

// ticks reads the counter.
func (v *view) ticks() hw.Ticks {
	switch v.kind {
	case kindTSC:
		return hw.ReadTSC()
	case kindCNTVCT:
		return hw.ReadCNTVCT()
	}
	return v.counter.Read()
}

// coefficients is load for those who want the coefficients only.
func (v *view) coefficients() (Coefficients, reason.Code) {
	var k content
	if _, why := v.load(&k); why != reason.OK {
		return Coefficients{}, why
	}
	if k.disrupted(v.marker) {
		return Coefficients{}, reason.HostPaused
	}
	return k.Coefficients, reason.OK
}

// decode reads the changing part, whatever is in it. It is good only if the sequence did not change meanwhile.
func (p *pageWords) decode(k *content) {
	// Field by field: a composite literal would be built elsewhere and copied.
	bounds, lines, meta := p.load(wordBoundFractions), p.load(wordLineFractions), p.load(wordMeta)
	k.Slew.C0, k.Slew.Period = hw.Ticks(p.load(wordSlewC0)), Period(p.load(wordSlewPeriod))
	k.Slew.T0 = Unix(int64(p.load(wordSlewT0)), uint32(lines))
	k.SlewEnd = hw.Ticks(p.load(wordSlewEnd))
	k.Steady.C0, k.Steady.Period = hw.Ticks(p.load(wordSteadyC0)), Period(p.load(wordSteadyPeriod))
	k.Steady.T0 = Unix(int64(p.load(wordSteadyT0)), uint32(lines>>32))
	k.At = hw.Ticks(p.load(wordAt))
	k.Earliest = Unix(int64(p.load(wordEarliest)), uint32(bounds))
	k.Latest = Unix(int64(p.load(wordLatest)), uint32(bounds>>32))
	k.Slow, k.Fast = Period(p.load(wordSlow)), Period(p.load(wordFast))
	k.Difference = Period(p.load(wordDifference))
	k.StaleAfter, k.VoidAfter = hw.Ticks(p.load(wordStaleAfter)), hw.Ticks(p.load(wordVoidAfter))
	k.Epoch, k.Status, k.Kind = Epoch(meta), Status(meta>>32), Kind(meta>>48)
	if k.Status > Synchronised {
		k.Status = Unsynchronised
	}
	k.notBefore, k.published = hw.Ticks(p.load(wordNotBefore)), hw.Ticks(p.load(wordPublished))
	k.frequency = hw.Frequency{Hertz: float64frombits(p.load(wordHertz)), ErrorPPB: float64frombits(p.load(wordHertzError))}
	k.instance = p.load(wordInstance)
	k.marked, k.marker = p.load(wordMarked) == 1, p.load(wordMarker)
	k.why = p.decodeReason(reason.Code(meta >> 40))
}

// decodeReason reads the reason's name. The number is a hint: 0 if there is no reason, and right if the writer was of the same
// version.
func (p *pageWords) decodeReason(hint reason.Code) reason.Code {
	if hint == reason.OK {
		return reason.OK
	}
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
