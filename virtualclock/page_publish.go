package virtualclock

import (
	"fmt"
	"math"
	"math/bits"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
)

func float64frombits(v uint64) float64 { return math.Float64frombits(v) }

// publisher writes the changing part of a page. One goroutine at a time may use it.
type publisher struct {
	words    *pageWords
	counter  hw.Counter
	instance uint64
	// sequence is the last even one.
	sequence uint64
	// companion, if there is one, writes the interval as a function of CLOCK_MONOTONIC_RAW.
	companion *companion
	// last is what readers see now, if anything was published by this publisher.
	last      Coefficients
	published bool
	// marked: marker is the hypervisor's disruption marker of which k takes account.
	marked bool
	marker uint64
	leap   LeapState
}

// check says whether coefficients may be shown as good.
func (k *Coefficients) check() error {
	switch {
	case k.Status > Synchronised:
		return fmt.Errorf("the status is %v", k.Status)
	case !k.Status.Sound():
		return nil
	case k.Latest.Before(k.Earliest):
		return fmt.Errorf("the bounds are the wrong way round: %v to %v", k.Earliest, k.Latest)
	case k.Slow == 0 || k.Slow > k.Fast:
		return fmt.Errorf("the slowest tick is %g ns and the fastest %g ns", k.Slow.Nanoseconds(), k.Fast.Nanoseconds())
	case k.Steady.Period == 0 || k.Slew.Period == 0:
		return fmt.Errorf("the clock is not set")
	}
	return nil
}

// publish writes coefficients, as Unsynchronised and with an error if they contradict themselves. It allocates nothing unless it
// fails.
func (b *publisher) publish(k *Coefficients, why reason.Code) error {
	next := *k
	err := next.check()
	if err != nil {
		err = fmt.Errorf("virtualclock: the page was made void: %w: %w", err, reason.Contradiction)
		next.Status, why = Unsynchronised, reason.Contradiction
	}
	if why >= reason.Count {
		why = reason.OK
	}
	frequency := b.counter.Frequency()
	slack := hw.Ticks(0)
	if ticks := frequency.Hertz * slackSeconds; ticks > 0 && ticks < 1<<62 {
		slack = hw.Ticks(ticks)
	}

	if b.companion != nil {
		b.companion.prepare()
	}
	b.words.store(wordSequence, b.sequence+1)
	// From here on no reader gets anything, so none has a reading of the old content that is later than this:
	now := b.counter.Read()
	if b.published {
		next.continueFrom(&b.last, now)
	}
	shown := content{Coefficients: next, notBefore: now - slack, published: now, frequency: frequency, instance: b.instance, why: why,
		marked: b.marked, marker: b.marker, leap: b.leap}
	b.store(&shown)
	b.sequence += 2
	if b.companion != nil {
		b.companion.store(b.words, &shown, b.sequence)
	}
	b.words.store(wordSequence, b.sequence)
	b.last, b.published = next, true
	return err
}

// slackSeconds is by how much a reader's counter may be behind the writer's, on another processor, before it counts as reset.
const slackSeconds = 1e-3

// store is the reverse of decode.
func (b *publisher) store(k *content) {
	p := b.words
	p.store(wordNotBefore, uint64(k.notBefore))
	p.store(wordStaleAfter, uint64(k.StaleAfter))
	p.store(wordVoidAfter, uint64(k.VoidAfter))
	p.store(wordAt, uint64(k.At))
	p.store(wordEarliest, uint64(k.Earliest.ns()))
	p.store(wordLatest, uint64(k.Latest.ns()))
	p.store(wordBoundFractions, uint64(k.Earliest.frac)|uint64(k.Latest.frac)<<32)
	p.store(wordSlow, uint64(k.Slow))
	p.store(wordFast, uint64(k.Fast))
	p.store(wordMeta, uint64(k.Epoch)|uint64(k.Status)<<32|uint64(k.why)<<40|uint64(k.Kind)<<48)
	p.store(wordSlewEnd, uint64(k.SlewEnd))
	p.store(wordSlewC0, uint64(k.Slew.C0))
	p.store(wordSlewT0, uint64(k.Slew.T0.ns()))
	p.store(wordSlewPeriod, uint64(k.Slew.Period))
	p.store(wordSteadyC0, uint64(k.Steady.C0))
	p.store(wordSteadyT0, uint64(k.Steady.T0.ns()))
	p.store(wordSteadyPeriod, uint64(k.Steady.Period))
	p.store(wordLineFractions, uint64(k.Slew.T0.frac)|uint64(k.Steady.T0.frac)<<32)
	p.store(wordDifference, uint64(k.Difference))
	p.store(wordHertz, math.Float64bits(k.frequency.Hertz))
	p.store(wordHertzError, math.Float64bits(k.frequency.ErrorPPB))
	p.store(wordPublished, uint64(k.published))
	p.store(wordInstance, k.instance)
	marked := uint64(0)
	if k.marked {
		marked = 1
	}
	p.store(wordMarked, marked)
	p.store(wordMarker, k.marker)
	p.storeText(wordReason, reasonBytes, k.why.String())
	l := &k.leap
	leap := uint64(uint32(l.TAI)) | uint64(uint8(l.Sign))<<40
	if l.TAIKnown {
		leap |= 1 << 32
	}
	p.store(wordLeap, leap)
	p.store(wordLeapAt, uint64(l.At))
	p.store(wordLeapExpires, uint64(l.Expires))
}

// bridgeSlew is the additional rate at which a publication's delay is made good: 10 ppm, so that 100 ns take 10 ms.
const bridgeSlew = 1e-5

// continueFrom makes k's virtual clock go on, at counter reading now, from where prev's is. A decision takes effect for readers
// only when it is published, some time after the reading at which it was taken, and until then they follow the old rate: without
// this the new line would be a little above or, worse, below what they have seen. The clock rejoins k's own lines where its
// correction ends, or later if the difference would need more than bridgeSlew. A new epoch is free to step.
func (k *Coefficients) continueFrom(prev *Coefficients, now hw.Ticks) {
	if k.Epoch != prev.Epoch || k.Steady.Period == 0 || prev.Steady.Period == 0 {
		return
	}
	from, to := prev.Time(now), k.Time(now)
	if from == to {
		return
	}
	ticks := math.Abs(to.Seconds(from)) * 1e9 / (k.Steady.Period.Nanoseconds() * bridgeSlew)
	if !(ticks < 1<<60) {
		return // not the same clock at all
	}
	end := now + hw.Ticks(math.Ceil(ticks)) + 1
	if end.Before(k.SlewEnd) {
		end = k.SlewEnd
	}
	ns, frac, behind := k.Steady.At(end).distance(from)
	n := uint64(end - now)
	hi, lo := ns>>16, ns<<48|uint64(frac)<<16 // in units of 2⁻⁴⁸ ns
	if behind || hi >= n {
		return
	}
	period, _ := bits.Div64(hi, lo, n)
	if period == 0 {
		return
	}
	k.SlewEnd = end
	k.Slew = Line{now, from, Period(period)}
	k.Steady = Line{end, k.Slew.At(end), k.Steady.Period}
}
