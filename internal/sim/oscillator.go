package sim

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"sort"

	"github.com/clockd/clockd/hw"
)

// OscillatorConfig describes the oscillator behind a counter as relative frequency errors; its zero value is a perfect one. The
// frequency is constant within each second of the counter's life.
type OscillatorConfig struct {
	// OffsetPPM is the constant error in parts per million.
	OffsetPPM float64 `toml:"offset_ppm"`
	// WhiteFM is the Allan deviation at 1 s of white frequency noise; after t seconds it is WhiteFM/√t.
	WhiteFM float64 `toml:"white_fm"`
	// FlickerFM is the Allan deviation of flicker frequency noise, the same at all times from a second to days.
	FlickerFM float64 `toml:"flicker_fm"`
	// RandomWalk is the standard deviation by which the frequency moves in each second.
	RandomWalk float64 `toml:"random_walk"`
	// AgeingPPBPerDay is a linear drift in parts per 10⁹ per day.
	AgeingPPBPerDay float64 `toml:"ageing_ppb_per_day"`
	// Sine is the influence of the temperature: PPM·sin(2π(t/Period + Phase)).
	Sine SineConfig `toml:"sine"`
	// Square switches the error between +PPM and −PPM every half period, the worst that a drift bound of PPM allows.
	Square SineConfig `toml:"square"`
	// Steps change the frequency for good.
	Steps []FrequencyStep `toml:"step"`
	// ClipPPM bounds the whole error; 0 means that nothing does.
	ClipPPM float64 `toml:"clip_ppm"`
}

// SineConfig is a periodic frequency error. Phase is in turns, from 0 to 1.
type SineConfig struct {
	PPM    float64 `toml:"ppm"`
	Period Length  `toml:"period"`
	Phase  float64 `toml:"phase"`
}

// FrequencyStep changes the frequency by PPM from the first whole second at or after At.
type FrequencyStep struct {
	At  Length  `toml:"at"`
	PPM float64 `toml:"ppm"`
}

// largestError is the largest relative frequency error that an Oscillator can have; larger ones are cut to it.
const largestError = 0.1

func (c *OscillatorConfig) check() error {
	var errs []error
	within := func(name string, x, low, high float64) {
		if !(x >= low && x <= high) {
			errs = append(errs, fmt.Errorf("oscillator: %s is %g, must be from %g to %g", name, x, low, high))
		}
	}
	within("offset_ppm", c.OffsetPPM, -largestError*1e6, largestError*1e6)
	within("white_fm", c.WhiteFM, 0, 1e-3)
	within("flicker_fm", c.FlickerFM, 0, 1e-3)
	within("random_walk", c.RandomWalk, 0, 1e-3)
	within("ageing_ppb_per_day", c.AgeingPPBPerDay, -1e9, 1e9)
	within("clip_ppm", c.ClipPPM, 0, largestError*1e6)
	for name, s := range map[string]*SineConfig{"sine": &c.Sine, "square": &c.Square} {
		within(name+".ppm", s.PPM, -largestError*1e6, largestError*1e6)
		within(name+".phase", s.Phase, 0, 1)
		if s.PPM != 0 {
			within(name+".period (s)", float64(s.Period), 2, longest.Seconds())
		}
	}
	for _, s := range c.Steps {
		within("step.ppm", s.PPM, -largestError*1e6, largestError*1e6)
		within("step.at (s)", float64(s.At), 0, longest.Seconds())
	}
	return errors.Join(errs...)
}

// flickerProcesses is how many Ornstein-Uhlenbeck processes make flicker noise. Their time constants are 1, 4, 16 … s, and each
// has the variance σ_y²: Σ 4vτ/(1+(2πfτ)²) over time constants with ratio r is close to v/(f·ln r), and flicker noise of the
// one-sided density h/f has the Allan variance 2h·ln 2 (IEEE 1139), so that with r = 4 v is the Allan variance itself.
const flickerProcesses = 10

// second is one second of an oscillator: the reading at its beginning and the rate in it.
type second struct {
	value    uint64 // whole ticks
	fraction uint64 // of a tick, in 2⁻⁶⁴
	rate     uint64 // ticks per picosecond in 2⁻⁶⁴
	noise    float64
}

// Oscillator is an integrated oscillator: its reading is ⌊phase⌋ in exact integer arithmetic on picoseconds. Seconds are made
// when they are asked for, from its own random stream.
type Oscillator struct {
	config OscillatorConfig
	hertz  float64
	rng    *rand.Rand

	// driven is what somebody outside adds to the frequency error (Drive).
	driven float64

	first   int64 // index of seconds[0]
	seconds []second

	walk        float64
	flicker     [flickerProcesses]float64
	flickerStep [flickerProcesses]struct{ keep, push float64 }
}

// keptSeconds is for how many seconds the past can still be asked.
const keptSeconds = 4096

// NewOscillator returns an oscillator of that nominal frequency whose counter reads start at instant 0.
func NewOscillator(c OscillatorConfig, hertz float64, start hw.Ticks, rng *rand.Rand) *Oscillator {
	c.Steps = append([]FrequencyStep(nil), c.Steps...)
	o := &Oscillator{config: c, hertz: hertz, rng: rng}
	for i := range o.flicker {
		keep := math.Exp(-1 / math.Pow(4, float64(i)))
		o.flickerStep[i].keep, o.flickerStep[i].push = keep, math.Sqrt(1-keep*keep)
		if c.FlickerFM > 0 {
			o.flicker[i] = rng.NormFloat64()
		}
	}
	o.seconds = append(o.seconds, second{value: uint64(start), noise: o.noise()})
	o.seconds[0].rate = o.rate(0, o.seconds[0].noise)
	return o
}

// noise draws the random part of the next second's frequency error.
func (o *Oscillator) noise() float64 {
	y := o.walk
	if o.config.RandomWalk > 0 {
		o.walk += o.config.RandomWalk * o.rng.NormFloat64()
	}
	if o.config.WhiteFM > 0 {
		y += o.config.WhiteFM * o.rng.NormFloat64()
	}
	if o.config.FlickerFM > 0 {
		sum := 0.0
		for i := range o.flicker {
			s := &o.flickerStep[i]
			o.flicker[i] = s.keep*o.flicker[i] + s.push*o.rng.NormFloat64()
			sum += o.flicker[i]
		}
		y += o.config.FlickerFM * sum
	}
	return y
}

// frequencyError is the whole error in second number index, whose random part is noise.
func (o *Oscillator) frequencyError(index int64, noise float64) float64 {
	c := &o.config
	t := float64(index) + 0.5
	y := noise + o.driven + c.OffsetPPM*1e-6 + c.AgeingPPBPerDay*1e-9*t/86400
	if s := &c.Sine; s.PPM != 0 {
		y += s.PPM * 1e-6 * math.Sin(2*math.Pi*(t/float64(s.Period)+s.Phase))
	}
	if s := &c.Square; s.PPM != 0 {
		turn := t/float64(s.Period) + s.Phase
		if turn-math.Floor(turn) < 0.5 {
			y += s.PPM * 1e-6
		} else {
			y -= s.PPM * 1e-6
		}
	}
	for i := range c.Steps {
		if float64(c.Steps[i].At) <= float64(index) {
			y += c.Steps[i].PPM * 1e-6
		}
	}
	limit := largestError
	if c.ClipPPM > 0 {
		limit = c.ClipPPM * 1e-6
	}
	return min(max(y, -limit), limit)
}

func (o *Oscillator) rate(index int64, noise float64) uint64 {
	return uint64(math.RoundToEven(math.Ldexp(o.hertz*(1+o.frequencyError(index, noise))/float64(Second), 64)))
}

// at returns second number index, making those up to it.
func (o *Oscillator) at(index int64) *second {
	for index >= o.first+int64(len(o.seconds)) {
		o.extend()
	}
	return &o.seconds[max(index-o.first, 0)]
}

func (o *Oscillator) extend() {
	if len(o.seconds) > 2*keptSeconds {
		n := copy(o.seconds, o.seconds[len(o.seconds)-keptSeconds:])
		o.first += int64(len(o.seconds) - n)
		o.seconds = o.seconds[:n]
	}
	last := &o.seconds[len(o.seconds)-1]
	next := second{noise: o.noise()}
	next.value, next.fraction = last.end()
	next.rate = o.rate(o.first+int64(len(o.seconds)), next.noise)
	o.seconds = append(o.seconds, next)
}

// end returns the phase at the end of the second.
func (s *second) end() (value, fraction uint64) { return s.after(Second) }

// after returns the phase x picoseconds after the beginning of the second.
func (s *second) after(x Instant) (value, fraction uint64) {
	hi, lo := bits.Mul64(s.rate, uint64(x))
	fraction, carry := bits.Add64(lo, s.fraction, 0)
	return s.value + hi + carry, fraction
}

// Reading returns the counter at instant t: whole ticks, rounded down. Before the beginning it stands still; more than about an
// hour before the latest instant asked for it is not known any more and wrong.
func (o *Oscillator) Reading(t Instant) hw.Ticks {
	t = max(t, 0)
	index := int64(t / Second)
	v, _ := o.at(index).after(t - Instant(index)*Second)
	return hw.Ticks(v)
}

// phase is Reading with the part of a tick that is rounded away.
func (o *Oscillator) phase(t Instant) (hw.Ticks, float64) {
	t = max(t, 0)
	index := int64(t / Second)
	v, fraction := o.at(index).after(t - Instant(index)*Second)
	return hw.Ticks(v), math.Ldexp(float64(fraction), -64)
}

// FrequencyError returns the relative frequency error at instant t: 12e-6 is 12 ppm fast.
func (o *Oscillator) FrequencyError(t Instant) float64 {
	s := o.at(int64(max(t, 0) / Second))
	return math.Ldexp(float64(s.rate), -64)*float64(Second)/o.hertz - 1
}

// When returns the first instant, not before from, at which the counter reads c or more; Never if that is more than within
// later.
func (o *Oscillator) When(c hw.Ticks, from, within Instant) Instant {
	if !o.Reading(from).Before(c) {
		return from
	}
	index := int64(from / Second)
	for last := int64((from + within) / Second); index <= last; index++ {
		s := o.at(index)
		if end, _ := s.end(); hw.Ticks(end).Before(c) {
			continue
		}
		return max(Instant(index)*Second+s.inverse(uint64(c)), from)
	}
	return Never
}

// inverse returns the least x with after(x) ≥ c, for a c that is after the second's beginning and not after its end.
func (s *second) inverse(c uint64) Instant {
	ticks := c - s.value
	if int64(ticks) <= 0 {
		return 0
	}
	// The least x with x·rate ≥ ticks·2⁶⁴ − fraction.
	lo, borrow := bits.Sub64(0, s.fraction, 0)
	hi := ticks - borrow
	x, rest := bits.Div64(hi, lo, s.rate)
	if rest != 0 {
		x++
	}
	return Instant(x)
}

// AddStep changes the frequency by ppm from the first whole second at or after at, which must not have passed.
func (o *Oscillator) AddStep(at Instant, ppm float64) {
	o.config.Steps = append(o.config.Steps, FrequencyStep{Length(at.Seconds()), ppm})
	sort.SliceStable(o.config.Steps, func(i, j int) bool { return o.config.Steps[i].At < o.config.Steps[j].At })
	o.renew(at)
}

// Drive adds y to the frequency error from the first whole second at or after at on, which must not have passed, until the next
// call: for an adversary that plays on the oscillators.
func (o *Oscillator) Drive(at Instant, y float64) {
	if y != o.driven {
		o.driven = y
		o.renew(at)
	}
}

// renew makes the seconds that begin at or after at anew, with the same noise.
func (o *Oscillator) renew(at Instant) {
	from := max(int64((at+Second-1)/Second)-o.first, 0)
	for i := from; i < int64(len(o.seconds)); i++ {
		s := &o.seconds[i]
		if i > 0 {
			s.value, s.fraction = o.seconds[i-1].end()
		}
		s.rate = o.rate(o.first+i, s.noise)
	}
}
