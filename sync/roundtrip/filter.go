package roundtrip

import (
	"math"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
)

// FilterConfig is what a Filter is told of its counter and of the way to its source.
type FilterConfig struct {
	// Drift is ρ, the bound of the counter's relative frequency error, the nominal frequency's own error included.
	Drift float64
	// Granularity is g, the counter's tick, in seconds.
	Granularity float64
	// Wander, if it is set, is assumed on top of Drift.
	Wander Wander
	// MinDelay is the known least one-way delay in seconds, each way; 0 when nothing is known.
	MinDelay float64
	// Rate and RateStd are what is known beforehand of d(true)/d(raw) − 1; RateStd 0 means nothing.
	Rate, RateStd float64
}

// delayMemory is how many round trips the shown least one is taken over.
const delayMemory = 32

// Filter turns the samples of one source into a Reading: the guaranteed interval of theory 2.3 in two scalars, and inside it the
// point estimate of an estimator.
//
// Invariant: while the source's own error bound, the stamps' validity and the drift bound hold, the interval contains
// true time − raw time.
type Filter struct {
	config FilterConfig
	raw    *Raw

	at        hw.Ticks // where low and high stand
	low, high float64
	started   bool
	rates     RateBound

	estimator   estimator
	estimatedAt hw.Ticks // where the estimator stands
	rate        float64  // its rate, kept inside what the drift bound allows
	jitter2     float64
	last        Reading // the figures that only samples change
	delays      [delayMemory]float64
	delayCount  int
}

// NewFilter returns a filter on the raw timeline raw, which it keeps a pointer to.
func NewFilter(raw *Raw, c FilterConfig) *Filter {
	f := &Filter{config: c, raw: raw}
	f.Reset()
	return f
}

// Reset forgets all samples.
func (f *Filter) Reset() {
	broken := f.rates.Broken
	*f = Filter{config: f.config, raw: f.raw, low: math.Inf(-1), high: math.Inf(1)}
	f.rates = NewRateBound(f.config.Drift, f.config.Wander)
	f.rates.Broken = broken
	rate, std := f.config.Rate, f.config.RateStd
	if std <= 0 {
		rate, std = 0, max(f.config.Drift, 1e-9)
	}
	f.estimator.reset(rate, std)
}

// Configure replaces the configuration; the state stays.
func (f *Filter) Configure(c FilterConfig) {
	f.config = c
	f.rates.Configure(c.Drift, c.Wander)
}

// Shift moves all offsets by −d seconds, as when the raw timeline's anchor is moved by +d. The edges are widened by what they
// may have been rounded by at their old size.
func (f *Filter) Shift(d float64) {
	f.low -= d + RoundingError(f.low)
	f.high -= d - RoundingError(f.high)
	f.rates.Shift(d)
	f.estimator.shift(d)
}

// RoundingError bounds what a few floating-point operations on an offset of x seconds may have cost, in seconds.
func RoundingError(x float64) float64 {
	if math.IsInf(x, 0) {
		return 0
	}
	return math.Abs(x)*8*0x1p-53 + 1e-15
}

// growth returns how far the lower and the upper edge of an interval move apart from the raw timeline in dh seconds of raw time:
// true time passes at a rate between 1/(1+ρ) and 1/(1−ρ) of the raw one.
func growth(rho, dh float64) (low, high float64) {
	dh = math.Abs(dh)
	return dh * rho / (1 + rho), dh * rho / (1 - rho)
}

// Spread moves an edge pair from where it was taken to dh seconds away. Backwards in time the roles of the edges' rates swap.
func Spread(rho, low, high, dh float64) (float64, float64) {
	l, h := growth(rho, dh)
	if dh < 0 {
		l, h = h, l
	}
	return low - l, high + h
}

// constraints returns the one-sided bounds of a sample, each at the reading at which it holds (theory 2.1).
func (f *Filter) constraints(s *Sample) (upper float64, upperAt hw.Ticks, lower float64, lowerAt hw.Ticks) {
	upperAt, lowerAt = s.Depart.NotBefore(), s.Arrive.NotAfter()
	upper = f.raw.Offset(s.Receive, upperAt) + s.ServerError - f.config.MinDelay
	if s.HalfOnly {
		return upper, upperAt, math.Inf(-1), upperAt
	}
	lower = f.raw.Offset(s.Transmit, lowerAt) - s.ServerError + f.config.MinDelay - f.config.Granularity
	return upper, upperAt, lower, lowerAt
}

// Alone returns what one sample says for itself, whatever the others say: true time − raw time is in [low, high] at the reading
// at which it arrived (theory 2.1), and offset is NTP's point estimate of it. Not ok: it is half a sample, or its stamps cannot be.
func (f *Filter) Alone(s *Sample) (low, offset, high float64, ok bool) {
	if s.HalfOnly || s.Depart.Kind == hw.StampNone || s.Arrive.Kind == hw.StampNone || s.Arrive.NotAfter().Before(s.Depart.NotBefore()) {
		return 0, 0, 0, false
	}
	upper, upperAt, lower, lowerAt := f.constraints(s)
	_, high = f.rates.Spread(f.raw, 0, upper, upperAt, s.Arrive.At)
	low, _ = f.rates.Spread(f.raw, lower, 0, lowerAt, s.Arrive.At)
	offset = (f.raw.Offset(s.Receive, s.Depart.At) + f.raw.Offset(s.Transmit, s.Arrive.At)) / 2
	return low, offset, high, true
}

// Update takes a sample. With point false it only narrows the interval (a better sample of the same exchange will follow).
// The reasons are SampleStamp, SampleNegativeDelay (the sample contradicts itself: it is not used) and SampleEmptyInterval (it
// contradicts earlier ones: the filter starts anew with this sample).
func (f *Filter) Update(s *Sample, point bool) reason.Code {
	if s.Depart.Kind == hw.StampNone || !s.HalfOnly && (s.Arrive.Kind == hw.StampNone || s.Arrive.NotAfter().Before(s.Depart.NotBefore())) {
		return reason.SampleStamp
	}
	upper, upperAt, lower, lowerAt := f.constraints(s)
	at := lowerAt
	if f.started && at.Before(f.at) {
		at = f.at
	}
	_, upper = f.rates.Spread(f.raw, 0, upper, upperAt, at)
	lower, _ = f.rates.Spread(f.raw, lower, 0, lowerAt, at)
	if lower > upper {
		return reason.SampleNegativeDelay
	}
	code := reason.OK
	f.advance(at)
	low, high := max(f.low, lower), min(f.high, upper)
	if low > high {
		f.Reset()
		f.advance(at)
		low, high, code = lower, upper, reason.SampleEmptyInterval
	}
	f.low, f.high = low, high
	broken := f.rates.Broken
	if f.rates.Observe(f.raw, at, low, high); f.rates.Broken != broken {
		f.low, f.high, code = lower, upper, reason.SampleEmptyInterval
	}
	if !s.HalfOnly {
		f.count(s)
		if point {
			f.measure(s)
		}
	}
	f.clamp()
	return code
}

// advance moves the interval to reading at, which is not before f.at.
func (f *Filter) advance(at hw.Ticks) {
	if !f.started {
		f.at, f.started = at, true
		return
	}
	dh := f.raw.Elapsed(f.at, at)
	if dh <= 0 {
		return
	}
	f.low, f.high = f.rates.Spread(f.raw, f.low, f.high, f.at, at)
	f.at = at
}

// count keeps the figures of the round trip.
func (f *Filter) count(s *Sample) {
	elapsed := f.raw.Elapsed(s.Depart.At, s.Arrive.At)
	delay := max(elapsed-s.Transmit.Seconds(s.Receive), 0)
	f.delays[f.delayCount%delayMemory] = delay
	f.delayCount++
	f.last.Delay = delay
	f.last.MinDelay = delay
	for _, d := range f.delays[:min(f.delayCount, delayMemory)] {
		f.last.MinDelay = min(f.last.MinDelay, d)
	}
	f.last.Samples++
	if f.last.Samples == 1 || f.last.LastSample.Before(s.Arrive.At) {
		f.last.LastSample = s.Arrive.At
	}
}

// measure gives the estimator the sample's two one-sided readings of the offset, both referred to the arrival.
func (f *Filter) measure(s *Sample) {
	dt := 0.0
	if f.estimator.started {
		if dt = f.raw.Elapsed(f.estimatedAt, s.Arrive.At); dt < 0 {
			return // older than what is known
		}
	}
	f.estimatedAt = s.Arrive.At
	forward := f.raw.Offset(s.Receive, s.Depart.At) + f.rate*f.raw.Elapsed(s.Depart.At, s.Arrive.At)
	backward := f.raw.Offset(s.Transmit, s.Arrive.At)
	if forward < backward { // stamps with an error larger than the delay
		forward, backward = (forward+backward)/2+1e-10, (forward+backward)/2-1e-10
	}
	if f.estimator.started {
		offset, _ := f.estimator.mean(dt)
		f.jitter2 += (square((forward+backward)/2-offset) - f.jitter2) / float64(min(f.last.Samples, 16))
	}
	f.estimator.update(forward, backward, dt)
}

// clamp keeps the point estimate inside the guaranteed interval, and the rate inside what the drift bound allows.
func (f *Filter) clamp() {
	if !f.estimator.started {
		return
	}
	dt := f.raw.Elapsed(f.estimatedAt, f.at)
	f.estimator.confine(f.low, f.high, dt)
	_, rate := f.estimator.mean(dt)
	f.rate = min(max(rate, -2*f.config.Drift), 2*f.config.Drift)
}

// Reading returns what is known at counter reading at. Without samples the interval is infinite and Samples is 0.
func (f *Filter) Reading(at hw.Ticks) Reading {
	r := f.last
	r.At, r.Low, r.High = at, f.low, f.high
	if !f.started {
		return r
	}
	r.Low, r.High = f.rates.Spread(f.raw, f.low, f.high, f.at, at)
	if !f.estimator.started {
		if r.RateStd, r.OffsetStd = f.config.Drift, (r.High-r.Low)/2; !math.IsInf(r.OffsetStd, 0) {
			r.Offset = (r.Low + r.High) / 2
		}
		return r
	}
	dt := f.raw.Elapsed(f.estimatedAt, at)
	r.Offset, r.OffsetStd, r.Rate, r.RateStd = f.estimator.at(dt)
	r.Offset = min(max(r.Offset, r.Low), r.High)
	r.Rate = min(max(r.Rate, -2*f.config.Drift), 2*f.config.Drift)
	r.Jitter = math.Sqrt(f.jitter2)
	return r
}

// insertionSort sorts a short slice without allocating.
func insertionSort(x []float64) {
	for i := 1; i < len(x); i++ {
		for j := i; j > 0 && x[j] < x[j-1]; j-- {
			x[j], x[j-1] = x[j-1], x[j]
		}
	}
}
