package hw

import (
	"math"
	"math/bits"
)

// segment is a stretch of the base counter in which the relative frequency error is constant.
type segment struct {
	// start is the base's reading at which the segment begins; length is in ticks of the base.
	start  Ticks
	length uint64
	// value and fraction (in 2⁻⁶⁴ ticks) are the skewed reading at the start.
	value    Ticks
	fraction uint64
	// rate is the relative frequency error in units of 2⁻⁶⁴.
	rate int64

	index int64
	// wander is the sum of the random walk and the ageing up to here, in units of 2⁻⁶⁴.
	wander int64
}

// at returns the skewed reading x ticks of the base after the segment's start: value + fraction + x·(1 + rate), rounded down.
func (g *segment) at(x uint64) Ticks {
	hi, lo := mulSigned(g.rate, x)
	_, carry := bits.Add64(lo, g.fraction, 0)
	return g.value + Ticks(x) + Ticks(hi) + Ticks(carry)
}

// lastSegment is where the history ends: from there on the frequency stays what it is. It is 2²⁶ segments, two years, away, and
// bounds the work of somebody who asks about the far future.
const lastSegment = 1 << 26

// oscillator makes the segments of a Skewed one after the other. Everything in it is a whole number, so that no two builds of
// this program round differently: the only floating-point operations are single ones, in newOscillator.
type oscillator struct {
	// shift is the binary logarithm of a segment's length in ticks of the base: about one second.
	shift uint
	seed  uint64

	// Relative frequencies in units of 2⁻⁶⁴: constant error, walk's standard deviation per segment, ageing per segment, limit.
	constant, walk, ageing, limit int64

	// The sine's amplitude in 2⁻⁶⁴, and its phase in the middle of segment 0 and advance per segment, in 2⁻⁶⁴ turns.
	amplitude         int64
	phase, phaseSteps uint64

	steps []segmentStep
	jumps []segmentJump

	start, origin Ticks
}

// segmentStep changes the frequency from the segment index on.
type segmentStep struct{ index, rate int64 }

// segmentJump moves the counter forward by so many ticks where the segment begins.
type segmentJump struct {
	index int64
	by    Ticks
}

// relative converts a relative frequency to units of 2⁻⁶⁴.
func relative(y float64) int64 { return int64(math.RoundToEven(math.Ldexp(y, 64))) }

func newOscillator(hertz float64, k *Skew) oscillator {
	// hertz = fraction·2^exponent with fraction in [½, 1): the nearest power of two in the logarithm.
	fraction, exponent := math.Frexp(hertz)
	if fraction < math.Sqrt2/2 {
		exponent--
	}
	seconds := math.Ldexp(1, exponent) / hertz // length of a segment, from 0.70 to 1.42
	o := oscillator{
		shift:    uint(max(exponent, 0)),
		seed:     k.Seed,
		constant: relative(k.PPM / 1e6),
		walk:     relative(k.WalkPerRootSecond * math.Sqrt(seconds)),
		ageing:   relative(k.AgeingPPBPerDay / 1e9 * (seconds / 86400)),
		limit:    relative(k.limit() / 1e6),
		start:    k.Start,
		origin:   k.Origin,
	}
	if k.Sine.PPM != 0 {
		o.amplitude = relative(k.Sine.PPM / 1e6)
		o.phaseSteps = uint64(math.Ldexp(seconds/k.Sine.PeriodSeconds, 64))
		o.phase = turns(k.Sine.PhaseTurns) + o.phaseSteps/2
	}
	for _, s := range k.Steps {
		at := math.Ceil(s.AtSeconds / seconds)
		o.steps = append(o.steps, segmentStep{int64(at), relative(s.PPM / 1e6)})
	}
	for _, j := range k.Jumps {
		at := math.Ceil(j.AtSeconds / seconds)
		o.jumps = append(o.jumps, segmentJump{int64(at), Ticks(math.RoundToEven(j.Seconds * hertz))})
	}
	return o
}

// turns converts a phase in [0, 1] to units of 2⁻⁶⁴ turns; 1 is 0.
func turns(phase float64) uint64 {
	if phase >= 1 {
		return 0
	}
	return uint64(math.Ldexp(phase, 64))
}

// index returns the segment in which the base is, so many ticks after the start.
func (o *oscillator) index(since uint64) int64 { return int64(min(since>>o.shift, lastSegment)) }

func (o *oscillator) first() segment {
	g := segment{start: o.start, value: o.origin}
	o.jump(&g)
	o.finish(&g)
	return g
}

// next returns the segment after g.
func (o *oscillator) next(g *segment) segment {
	hi, lo := mulSigned(g.rate, g.length)
	fraction, carry := bits.Add64(lo, g.fraction, 0)
	n := segment{
		start:    g.start + Ticks(g.length),
		value:    g.value + Ticks(g.length) + Ticks(hi) + Ticks(carry),
		fraction: fraction,
		index:    g.index + 1,
		wander:   g.wander + o.ageing,
	}
	if o.walk != 0 {
		n.wander += o.walkStep(n.index)
	}
	n.wander = min(max(n.wander, -o.limit), o.limit)
	o.jump(&n)
	o.finish(&n)
	return n
}

// jump leaves out what is left out before a segment.
func (o *oscillator) jump(g *segment) {
	for _, j := range o.jumps {
		if j.index == g.index {
			g.value += j.by
		}
	}
}

// finish computes a segment's length and rate.
func (o *oscillator) finish(g *segment) {
	g.length = 1 << o.shift
	if g.index == lastSegment {
		g.length = math.MaxInt64
	}
	rate := o.constant + g.wander
	if o.amplitude != 0 {
		rate += o.sine(g.index)
	}
	for _, s := range o.steps {
		if s.index <= g.index {
			rate = min(max(rate+s.rate, -1<<62), 1<<62)
		}
	}
	g.rate = min(max(rate, -o.limit), o.limit)
}

// sine returns the sine's value in the middle of a segment.
func (o *oscillator) sine(index int64) int64 {
	return mulShift(o.amplitude, sineOfTurn(o.phase+uint64(index)*o.phaseSteps), 62)
}

// walkStep returns the step of the random walk into a segment: a normal deviate (the sum of twelve uniform ones, whose variance
// is 1) times the walk's standard deviation. It depends on the seed and the index alone.
func (o *oscillator) walkStep(index int64) int64 {
	const uniforms, mean = 12, 65535 * 12
	sum := int64(0)
	for word := range uint64(uniforms / 4) {
		w := mix(mix(o.seed) + uint64(index)*3 + word)
		sum += int64(w&0xffff + w>>16&0xffff + w>>32&0xffff + w>>48)
	}
	// 2·sum − mean has the standard deviation 2·√(2³²−1) ≈ 2¹⁷.
	return mulShift(o.walk, 2*sum-mean, 17)
}

// mix is the finaliser of SplitMix64 (Steele, Lea and Flood 2014) after its increment.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// mulShift returns a·b/2^shift, rounded towards zero, for a result that fits.
func mulShift(a, b int64, shift uint) int64 {
	hi, lo := bits.Mul64(magnitude(a), magnitude(b))
	r := int64(hi<<(64-shift) | lo>>shift)
	if (a < 0) != (b < 0) {
		return -r
	}
	return r
}

func magnitude(a int64) uint64 {
	if a < 0 {
		return -uint64(a)
	}
	return uint64(a)
}

// sineOfTurn returns sin(2π·x/2⁶⁴) in units of 2⁻⁶², wrong by less than 10⁻⁹: the Taylor series of the first quarter in whole
// numbers.
func sineOfTurn(x uint64) int64 {
	const one = 1 << 62
	quarter, r := x>>62, x&(one-1)
	if quarter&1 == 1 {
		r = one - r
	}
	z := mul62(r, r)
	// (π/2)ⁿ/n! in units of 2⁻⁶², for n = 13, 11, …, 1.
	sum := uint64(262505142787)
	for _, c := range [...]uint64{16596735030340, 739904368663792, 21590780087563799, 367517370231208053, 2978983596875621757, 7244019458077122842} {
		sum = c - mul62(z, sum)
	}
	// The truncated series ends 10⁻⁹ away from one at the quarter.
	v := int64(min(mul62(r, sum), one))
	if quarter >= 2 {
		return -v
	}
	return v
}

// mul62 multiplies two numbers with 62 fractional bits.
func mul62(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi<<2 | lo>>62
}
