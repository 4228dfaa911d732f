package hw

import (
	"fmt"
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
)

// Skew describes a wrong oscillator. The zero value is a perfect one. Frequencies are relative: a counter that is 30 ppm fast
// counts 1.00003 ticks for each of its base. Times are seconds of the base counter, at its nominal frequency, after Start.
type Skew struct {
	// Seed makes the random walk; the same seed, the same walk.
	Seed uint64
	// PPM is the constant frequency error in parts per million.
	PPM float64
	// WalkPerRootSecond is the standard deviation by which the relative frequency moves in one second; after t seconds it is √t
	// times as much.
	WalkPerRootSecond float64
	// Sine is the influence of temperature. Its zero value is none.
	Sine Sine
	// Steps are sudden changes of the frequency that last. They take effect at the first segment boundary at or after their
	// time, less than 1.5 s later.
	Steps []FrequencyStep
	// Jumps are readings that the counter leaves out, as after a pause that it went through and nobody else did. They take effect
	// where Steps do (JumpsAt).
	Jumps []CounterJump
	// AgeingPPBPerDay is a linear drift of the frequency, in parts per 10⁹ per day.
	AgeingPPBPerDay float64
	// LimitPPM bounds the whole relative frequency error, and the walk with the ageing by itself: theirs stops at the limit.
	// 0 means 100000 ppm, the most that is allowed.
	LimitPPM float64
	// Start is the base's reading at which the history begins; before it the frequency error is PPM alone.
	Start Ticks
	// Origin is what the skewed counter reads when the base reads Start.
	Origin Ticks
}

// Sine is a frequency error of PPM·sin(2π(t/PeriodSeconds + PhaseTurns)).
type Sine struct{ PPM, PeriodSeconds, PhaseTurns float64 }

// FrequencyStep changes the frequency by PPM for good, AtSeconds after the start.
type FrequencyStep struct{ PPM, AtSeconds float64 }

// CounterJump moves the counter forward at once, AtSeconds after the start.
type CounterJump struct{ Seconds, AtSeconds float64 }

// What a Skew may ask for.
const (
	minHertz      = 1
	maxHertz      = 1e12
	maxPPM        = 100_000
	minLimit      = 1e-6
	maxWalk       = 1e-4
	maxAgeing     = 1e6
	maxSeconds    = 1e9
	minSinePeriod = 10
	minJump       = 1e-9
	maxJump       = 1e6
)

// check refuses what is out of range. The comparisons are written so that NaN is refused too.
func (k *Skew) check() error {
	within := func(name string, x, least, most float64) error {
		if x >= least && x <= most {
			return nil
		}
		return fmt.Errorf("hw: skew: %s is %g; it must be from %g to %g", name, x, least, most)
	}
	limit := k.limit()
	errs := []error{
		within("limit", limit, minLimit, maxPPM),
		within("ppm", k.PPM, -limit, limit),
		within("walk", k.WalkPerRootSecond, 0, maxWalk),
		within("ageing", k.AgeingPPBPerDay, -maxAgeing, maxAgeing),
	}
	if k.Sine != (Sine{}) {
		errs = append(errs, within("sine amplitude", k.Sine.PPM, -limit, limit),
			within("sine period", k.Sine.PeriodSeconds, minSinePeriod, maxSeconds),
			within("sine phase", k.Sine.PhaseTurns, 0, 1))
	}
	if len(k.Steps) > maxSteps {
		return fmt.Errorf("hw: skew: %d frequency steps; at most %d are allowed", len(k.Steps), maxSteps)
	}
	if len(k.Jumps) > maxSteps {
		return fmt.Errorf("hw: skew: %d jumps; at most %d are allowed", len(k.Jumps), maxSteps)
	}
	for _, j := range k.Jumps {
		errs = append(errs, within("jump", j.Seconds, minJump, maxJump), within("time of a jump", j.AtSeconds, 0, maxSeconds))
	}
	for _, s := range k.Steps {
		errs = append(errs, within("step", s.PPM, -maxPPM, maxPPM), within("time of a step", s.AtSeconds, 0, maxSeconds))
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (k *Skew) limit() float64 {
	if k.LimitPPM == 0 {
		return maxPPM
	}
	return k.LimitPPM
}

// Sizes of what a Skewed remembers of its history.
const (
	// recentSegments are kept whole, by their index modulo this number.
	recentSegments = 64
	// Every checkpointEvery-th segment is kept for good: 64 bytes for about 17 minutes.
	checkpointEvery = 1024
)

// Skewed is a counter seen through a wrong oscillator. Its reading is a pure function of the base's reading and of the Skew, in
// whole-number arithmetic: it is the same in every process and on every run. It is monotone, since no frequency error reaches
// 10 % and jumps go forward. It may be read from any goroutine; a reading allocates only when the base enters a new segment, about once a second.
//
// Frequency is the base's nominal one: the skew is what a synchronisation has to find out.
type Skewed struct {
	base       Counter
	skew       Skew
	oscillator oscillator

	// present is the segment that was read last. It is only a cache: a reading outside of it takes the slow path.
	present atomic.Pointer[segment]

	mutex       sync.Mutex
	recent      [recentSegments]segment
	checkpoints []segment
	frontier    segment
}

// NewSkewed returns the image of base through the oscillator that skew describes, with the start and the origin in it.
func NewSkewed(base Counter, skew Skew) (*Skewed, error) {
	if err := skew.check(); err != nil {
		return nil, err
	}
	hertz := base.Frequency().Hertz
	if !(hertz >= minHertz && hertz <= maxHertz) {
		return nil, fmt.Errorf("hw: skew: the base counter's frequency is %g Hz; it must be from %g to %g", hertz, float64(minHertz), float64(maxHertz))
	}
	skew.Steps = append([]FrequencyStep(nil), skew.Steps...)
	skew.Jumps = append([]CounterJump(nil), skew.Jumps...)
	s := &Skewed{base: base, skew: skew, oscillator: newOscillator(hertz, &skew)}
	first := s.oscillator.first()
	s.checkpoints = []segment{first}
	s.frontier = first
	s.recent[0] = first
	for i := 1; i < recentSegments; i++ {
		s.recent[i].index = -1
	}
	s.present.Store(&first)
	return s, nil
}

// Read reads the base and returns its image.
func (s *Skewed) Read() Ticks { return s.At(s.base.Read()) }

// Frequency returns the base's nominal frequency.
func (s *Skewed) Frequency() Frequency { return s.base.Frequency() }

// Base returns the counter below.
func (s *Skewed) Base() Counter { return s.base }

// Skew returns the oscillator's description.
func (s *Skewed) Skew() Skew {
	k := s.skew
	k.Steps = append([]FrequencyStep(nil), k.Steps...)
	k.Jumps = append([]CounterJump(nil), k.Jumps...)
	return k
}

// JumpsAt returns the base's readings at which the jumps take effect, in their order in the Skew.
func (s *Skewed) JumpsAt() []Ticks {
	var all []Ticks
	for _, j := range s.oscillator.jumps {
		all = append(all, s.skew.Start+Ticks(uint64(j.index)<<s.oscillator.shift))
	}
	return all
}

// Spec returns the text from which Open makes the same counter.
func (s *Skewed) Spec() string { return nameSkewed + "(" + s.base.Spec() + s.skew.text() + ")" }

// At returns what the skewed counter reads when its base reads the given ticks.
func (s *Skewed) At(base Ticks) Ticks {
	p := s.present.Load()
	if x := uint64(base - p.start); x < p.length {
		return p.at(x)
	}
	if base.Before(s.skew.Start) {
		return s.beforeStart(base)
	}
	g := s.lookup(base)
	s.present.Store(&g)
	return g.at(uint64(base - g.start))
}

// imageOf is At that leaves the cache of the present segment alone: for questions about other times.
func (s *Skewed) imageOf(base Ticks) Ticks {
	if base.Before(s.skew.Start) {
		return s.beforeStart(base)
	}
	g := s.lookup(base)
	return g.at(uint64(base - g.start))
}

// beforeStart continues the constant frequency error backwards.
func (s *Skewed) beforeStart(base Ticks) Ticks {
	back := uint64(s.skew.Start - base)
	// floor(−y·back) of a number with 64 fractional bits.
	whole, _ := mulSigned(-s.oscillator.constant, back)
	return s.skew.Origin - Ticks(back) + Ticks(whole)
}

// Inverse returns the smallest reading of the base at which the skewed counter reads v or more: a timer that is due at v is due
// there. At(Inverse(v)) ≥ v > At(Inverse(v)−1). Readings must be within 2⁶² ticks of the origin.
func (s *Skewed) Inverse(v Ticks) Ticks {
	// A fixed-point iteration: since the relative frequency error is at most 0.1, each step leaves at most a tenth of the error.
	b := s.skew.Start + (v - s.skew.Origin)
	for range 24 {
		short := v.Sub(s.imageOf(b))
		b = b.Add(short)
		if -2 <= short && short <= 2 {
			break
		}
	}
	// Now b is a few ticks away at most.
	for i := 0; i < 16 && s.imageOf(b).Before(v); i++ {
		b++
	}
	for i := 0; i < 16 && !s.imageOf(b-1).Before(v); i++ {
		b--
	}
	if s.imageOf(b).Before(v) || !s.imageOf(b-1).Before(v) {
		return s.bisect(v, b) // near a jump the iteration does not settle
	}
	return b
}

// bisect is Inverse from any b: slower, and sure.
func (s *Skewed) bisect(v, b Ticks) Ticks {
	low, high := b, b // at low the image is before v, at high it is not
	for reach := int64(1); !s.imageOf(low).Before(v); reach *= 2 {
		low = low.Add(-reach)
	}
	for reach := int64(1); s.imageOf(high).Before(v); reach *= 2 {
		high = high.Add(reach)
	}
	for high.Sub(low) > 1 {
		if middle := low.Add(high.Sub(low) / 2); s.imageOf(middle).Before(v) {
			low = middle
		} else {
			high = middle
		}
	}
	return high
}

// FrequencyErrorAt returns the relative frequency error when the base reads the given ticks: 30e-6 means 30 ppm fast.
func (s *Skewed) FrequencyErrorAt(base Ticks) float64 {
	if base.Before(s.skew.Start) {
		return math.Ldexp(float64(s.oscillator.constant), -64)
	}
	g := s.lookup(base)
	return math.Ldexp(float64(g.rate), -64)
}

// lookup returns the segment of a reading that is not before Start.
func (s *Skewed) lookup(base Ticks) segment {
	index := s.oscillator.index(uint64(base - s.skew.Start))
	s.mutex.Lock()
	defer s.mutex.Unlock()
	g := s.nearest(index)
	for g.index < index {
		g = s.oscillator.next(&g)
		s.remember(&g)
	}
	return g
}

// nearest returns the latest known segment that is not after index: of the recent ones, the frontier, the checkpoints.
func (s *Skewed) nearest(index int64) segment {
	for back := int64(0); back < recentSegments && back <= index; back++ {
		if g := &s.recent[(index-back)%recentSegments]; g.index == index-back {
			return *g
		}
	}
	g := &s.checkpoints[min(index/checkpointEvery, int64(len(s.checkpoints)-1))]
	if s.frontier.index <= index && s.frontier.index > g.index {
		g = &s.frontier
	}
	return *g
}

func (s *Skewed) remember(g *segment) {
	s.recent[g.index%recentSegments] = *g
	if g.index > s.frontier.index {
		s.frontier = *g
	}
	if g.index == int64(len(s.checkpoints))*checkpointEvery {
		s.checkpoints = append(s.checkpoints, *g)
	}
}

// mulSigned returns y·x for a signed y as a 128-bit number.
func mulSigned(y int64, x uint64) (hi int64, lo uint64) {
	h, l := bits.Mul64(uint64(y), x)
	// uint64(y) is y + 2⁶⁴ when y is negative.
	return int64(h - x&uint64(y>>63)), l
}
