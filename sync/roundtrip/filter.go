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
	// MinDelay is the known least one-way delay in seconds, each way; 0 when nothing is known.
	MinDelay float64
	// Rate and RateStd are what is known beforehand of d(true)/d(raw) − 1; RateStd 0 means nothing.
	Rate, RateStd float64
}

// Noise figures of the point estimate. They shape only the point inside the guaranteed interval, never the interval.
const (
	// wanderPerRootSecond is the assumed random walk of the oscillator's frequency, per √s.
	wanderPerRootSecond = 5e-9
	// userStampStd and kernelStampStd are the assumed noise of stamps, in seconds.
	userStampStd   = 3e-6
	kernelStampStd = 3e-7
	hardwareStd    = 2e-8
	// surprise is the mean of the squared normalised innovations above which the filter opens up.
	surprise = 6
	// delayMemory is how many round trips are remembered for the least and the median.
	delayMemory = 32
)

// Filter turns the samples of one source into a Reading: the guaranteed interval of theory 2.3 in two scalars, and a point
// estimate of offset and rate by a Kalman filter whose measurement noise follows from the round trip.
//
// Invariant: while the source's own error bound, the stamps' validity and the drift bound hold, the interval contains
// true time − raw time.
type Filter struct {
	config FilterConfig
	raw    *Raw

	at        hw.Ticks // where low, high and the state vector stand
	low, high float64
	started   bool

	offset, rate  float64 // state
	p00, p01, p11 float64 // its covariance
	innovation    float64 // mean of the squared normalised innovations
	jitter2       float64
	last          Reading // the figures that only samples change
	delays        [delayMemory]float64
	delayCount    int
	pointStarted  bool
}

// NewFilter returns a filter on the raw timeline raw, which it keeps a pointer to.
func NewFilter(raw *Raw, c FilterConfig) *Filter {
	f := &Filter{config: c, raw: raw}
	f.Reset()
	return f
}

// Reset forgets all samples.
func (f *Filter) Reset() {
	*f = Filter{config: f.config, raw: f.raw, low: math.Inf(-1), high: math.Inf(1)}
}

// Configure replaces the configuration; the state stays.
func (f *Filter) Configure(c FilterConfig) { f.config = c }

// Shift moves all offsets by −d seconds, as when the raw timeline's anchor is moved by +d. The edges are widened by what they
// may have been rounded by at their old size.
func (f *Filter) Shift(d float64) {
	f.low -= d + RoundingError(f.low)
	f.high -= d - RoundingError(f.high)
	f.offset -= d
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
	_, upper = Spread(f.config.Drift, 0, upper, f.raw.Elapsed(upperAt, at))
	lower, _ = Spread(f.config.Drift, lower, 0, f.raw.Elapsed(lowerAt, at))
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
	if !s.HalfOnly {
		f.count(s)
		if point {
			f.measure(s)
		}
	}
	f.clamp()
	return code
}

// advance moves interval and state to reading at, which is not before f.at.
func (f *Filter) advance(at hw.Ticks) {
	if !f.started {
		f.at, f.started = at, true
		return
	}
	dh := f.raw.Elapsed(f.at, at)
	if dh <= 0 {
		return
	}
	f.low, f.high = Spread(f.config.Drift, f.low, f.high, dh)
	f.offset += f.rate * dh
	q := wanderPerRootSecond * wanderPerRootSecond
	f.p00 += dh*(2*f.p01+dh*f.p11) + q*dh*dh*dh/3
	f.p01 += dh*f.p11 + q*dh*dh/2
	f.p11 += q * dh
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
	f.last.LastSample = s.Arrive.At
}

// medianExcess is the median of the remembered round trips above the least.
func (f *Filter) medianExcess() float64 {
	var d [delayMemory]float64
	n := min(f.delayCount, delayMemory)
	copy(d[:], f.delays[:n])
	insertionSort(d[:n])
	return d[n/2] - d[0]
}

// measurementVariance follows from the stamps' kinds and from how much longer than the least the round trip was: the excess
// is queueing, on one unknown side, so that half of it is the scale of the error.
func (f *Filter) measurementVariance(s *Sample) float64 {
	std := kernelStampStd
	switch min(s.Depart.Kind, s.Arrive.Kind) {
	case hw.StampUser:
		std = userStampStd
	case hw.StampHardware:
		std = hardwareStd
	}
	base := 0.25 * f.medianExcess()
	excess := (f.last.Delay - f.last.MinDelay) / 2
	return std*std + base*base + excess*excess
}

// measure is the Kalman filter's update with the sample's offset, which was true at the middle of the exchange, before f.at.
func (f *Filter) measure(s *Sample) {
	z := (f.raw.Offset(s.Receive, s.Depart.At) + f.raw.Offset(s.Transmit, s.Arrive.At)) / 2
	back := (f.raw.Elapsed(s.Depart.At, f.at) + f.raw.Elapsed(s.Arrive.At, f.at)) / 2
	r := f.measurementVariance(s)
	if !f.pointStarted {
		f.pointStarted = true
		rate, std := f.config.Rate, f.config.RateStd
		if std <= 0 {
			rate, std = 0, f.config.Drift
		}
		f.rate, f.p11 = rate, std*std
		f.offset, f.p00, f.p01 = z+rate*back, r+f.p11*back*back, f.p11*back
		f.jitter2 = r
		return
	}
	// The measurement is of offset − rate·back.
	h0, h1 := 1.0, -back
	innovation := z - (f.offset + h1*f.rate)
	g0, g1 := f.p00*h0+f.p01*h1, f.p01*h0+f.p11*h1
	variance := h0*g0 + h1*g1 + r
	f.watch(innovation*innovation/variance, &variance, &g0, &g1, h1)
	k0, k1 := g0/variance, g1/variance
	f.offset += k0 * innovation
	f.rate += k1 * innovation
	f.p00, f.p01, f.p11 = f.p00-k0*g0, f.p01-k0*g1, f.p11-k1*g1
	f.p00, f.p11 = max(f.p00, 1e-24), max(f.p11, 1e-24)
	f.jitter2 += (innovation*innovation - f.jitter2) / 8
}

// watch opens the filter up when its innovations are larger than it believes possible: the oscillator or the path has changed.
func (f *Filter) watch(normalised float64, variance, g0, g1 *float64, h1 float64) {
	f.innovation += (min(normalised, 50) - f.innovation) / 4
	if f.innovation < surprise {
		return
	}
	f.innovation = 1
	r := *variance - (*g0 + h1**g1)
	f.p00 += r
	f.p11 = max(f.p11*16, 1e-16)
	*g0, *g1 = f.p00+f.p01*h1, f.p01+f.p11*h1
	*variance = *g0 + h1**g1 + r
}

// clamp keeps the point estimate inside the guaranteed interval, and believes it less when it had to be moved.
func (f *Filter) clamp() {
	if !f.pointStarted {
		return
	}
	x := min(max(f.offset, f.low), f.high)
	if d := x - f.offset; d != 0 {
		f.p00 += d * d
		f.offset = x
	}
	f.rate = min(max(f.rate, -2*f.config.Drift), 2*f.config.Drift)
}

// Reading returns what is known at counter reading at. Without samples the interval is infinite and Samples is 0.
func (f *Filter) Reading(at hw.Ticks) Reading {
	r := f.last
	r.At, r.Low, r.High = at, f.low, f.high
	if !f.started {
		return r
	}
	dh := f.raw.Elapsed(f.at, at)
	r.Low, r.High = Spread(f.config.Drift, f.low, f.high, dh)
	if !f.pointStarted {
		if r.RateStd, r.OffsetStd = f.config.Drift, (r.High-r.Low)/2; !math.IsInf(r.OffsetStd, 0) {
			r.Offset = (r.Low + r.High) / 2
		}
		return r
	}
	q := wanderPerRootSecond * wanderPerRootSecond
	d := math.Abs(dh)
	r.Offset = min(max(f.offset+f.rate*dh, r.Low), r.High)
	r.OffsetStd = math.Sqrt(max(f.p00+dh*(2*f.p01+dh*f.p11)+q*d*d*d/3, 0))
	r.Rate, r.RateStd = f.rate, math.Sqrt(f.p11+q*d)
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
