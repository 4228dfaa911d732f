package metrics

import "math"

// Noise is the exponent α of a power law of frequency noise, S_y(f) ~ f^α.
type Noise int

// The noises, from the one that is worst at short times to the one that is worst at long times.
const (
	WhitePM       Noise = 2
	FlickerPM     Noise = 1
	WhiteFM       Noise = 0
	FlickerFM     Noise = -1
	RandomWalkFM  Noise = -2
	FlickerWalkFM Noise = -3
	RandomRunFM   Noise = -4
)

// Kind is a deviation, for its confidence.
type Kind int

// The deviations. TDEV has the confidence of MDEV.
const (
	Allan Kind = iota
	Modified
	Hadamard
)

// Terms is what a deviation was computed from: phase of Samples points, at τ = Factor·τ0, successive terms Stride samples apart.
type Terms struct {
	Kind    Kind
	Samples int
	Factor  int
	Stride  int
}

// mostOverlap is the overlap beyond which more of it tells nothing new: the degrees of freedom differ by less than 10⁻⁴.
const mostOverlap = 256

// DegreesOfFreedom returns the equivalent number of degrees of freedom of a variance for that noise, by the method of C. Greenhall and
// W. Riley (Uncertainty of stability variances based on finite differences, PTTI 2003; SP 1065, 5.4.1), with its sum in full. For MDEV, whose
// average over m samples it takes for an integral, it is 3 % off at m = 4, and less at larger m. It is unknown if the variance does not
// converge for that noise, or there is no term.
func DegreesOfFreedom(t Terms, noise Noise) Figure {
	order := 2
	if t.Kind == Hadamard {
		order = 3
	}
	if t.Factor < 1 || t.Stride < 1 || t.Stride > t.Factor || noise > 2 || noise < -4 || int(noise)+2*order <= 1 {
		return Figure{}
	}
	m := float64(t.Factor)
	// What the phase is averaged over is 1/filter of τ. Noise of frequency has a phase that needs no average; noise of phase would be
	// infinite without one, and is taken to be limited by the sampling.
	filter, span := math.Inf(1), m*float64(order)+1 // samples in a term
	switch {
	case t.Kind == Modified:
		filter, span = 1, m*float64(order+1)
	case noise > WhiteFM:
		filter = m
	}
	if float64(t.Samples) < span {
		return Figure{}
	}
	overlap := math.Min(m/float64(t.Stride), mostOverlap)
	terms := 1 + math.Floor(overlap*(float64(t.Samples)-span)/m)
	last := math.Min(terms, float64(order+1)*overlap)
	s := spectrum{filter, noise, order}
	zero := s.covariance(0)
	sum := zero*zero + (1-last/terms)*square(s.covariance(last/overlap))
	for j := 1.0; j < last; j++ {
		sum += 2 * (1 - j/terms) * square(s.covariance(j/overlap))
	}
	return known(terms*zero*zero/sum, uint64(terms))
}

func square(x float64) float64 { return x * x }

// spectrum gives the autocovariance of a deviation's terms, t apart in units of τ, for a power law noise.
type spectrum struct {
	filter float64
	noise  Noise
	order  int
}

// covariance is the 2·order-th difference of the averaged phase's generalised autocovariance.
func (s spectrum) covariance(t float64) float64 {
	if s.order == 2 {
		return 6*s.averaged(t) - 4*(s.averaged(t-1)+s.averaged(t+1)) + s.averaged(t-2) + s.averaged(t+2)
	}
	return 20*s.averaged(t) - 15*(s.averaged(t-1)+s.averaged(t+1)) + 6*(s.averaged(t-2)+s.averaged(t+2)) -
		(s.averaged(t-3) + s.averaged(t+3))
}

// averaged is F²·(2w(t) − w(t − 1/F) − w(t + 1/F)). Where F is large and t is not near 0 that is the second derivative, to 10⁻⁴, where
// all digits would cancel.
func (s spectrum) averaged(t float64) float64 {
	f := s.filter
	if t = math.Abs(t); f*t >= 100 && f >= 100 || math.IsInf(f, 1) {
		return -s.curvature(t)
	}
	return f * f * (2*s.phase(t) - s.phase(t-1/f) - s.phase(t+1/f))
}

// phase is the generalised autocovariance of phase, up to a factor and to polynomials that the differences remove.
func (s spectrum) phase(t float64) float64 {
	if t = math.Abs(t); t == 0 {
		return 0
	}
	switch s.noise {
	case WhitePM:
		return -t
	case FlickerPM:
		return t * t * math.Log(t)
	case WhiteFM:
		return t * t * t
	case FlickerFM:
		return -t * t * t * t * math.Log(t)
	case RandomWalkFM:
		return -t * t * t * t * t
	case FlickerWalkFM:
		return math.Pow(t, 6) * math.Log(t)
	default:
		return math.Pow(t, 7)
	}
}

// curvature is the second derivative of phase.
func (s spectrum) curvature(t float64) float64 {
	if t == 0 {
		return 0 // asked for noise of frequency only
	}
	log := math.Log(t)
	switch s.noise {
	case WhitePM:
		return 0
	case FlickerPM:
		return 2*log + 3
	case WhiteFM:
		return 6 * t
	case FlickerFM:
		return -t * t * (12*log + 7)
	case RandomWalkFM:
		return -20 * t * t * t
	case FlickerWalkFM:
		return math.Pow(t, 4) * (30*log + 11)
	default:
		return 42 * math.Pow(t, 5)
	}
}

// ConfidenceInterval returns the interval that contains the true deviation with that probability (0.683 for one sigma), given the
// measured one and its degrees of freedom (SP 1065, equation 45). Not ok if there is none.
func ConfidenceInterval(deviation, degreesOfFreedom, probability float64) (low, high float64, ok bool) {
	if !(deviation >= 0) || !(degreesOfFreedom > 0) || !(probability > 0 && probability < 1) || math.IsInf(degreesOfFreedom, 1) {
		return 0, 0, false
	}
	tail := (1 - probability) / 2
	low = deviation * math.Sqrt(degreesOfFreedom/chiSquared(1-tail, degreesOfFreedom))
	high = deviation * math.Sqrt(degreesOfFreedom/chiSquared(tail, degreesOfFreedom))
	return low, high, finite(low) && finite(high)
}

// chiSquared returns the p-quantile of χ² with k degrees of freedom, by bisection.
func chiSquared(p, k float64) float64 {
	low, high := 0.0, k+10
	for incompleteGamma(k/2, high/2) < p {
		high *= 2
	}
	for range 200 {
		middle := (low + high) / 2
		if middle == low || middle == high {
			break
		}
		if incompleteGamma(k/2, middle/2) < p {
			low = middle
		} else {
			high = middle
		}
	}
	return high
}

// incompleteGamma is the regularised lower incomplete gamma function P(a, x): a power series below its middle, Legendre's continued
// fraction of 1 − P above (Abramowitz and Stegun, 6.5.29 and 6.5.31).
func incompleteGamma(a, x float64) float64 {
	if x <= 0 {
		return 0
	}
	logGamma, _ := math.Lgamma(a)
	front := math.Exp(a*math.Log(x) - x - logGamma)
	const steps = 100_000
	if x < a+1 {
		term, sum := 1/a, 1/a
		for n := 1.0; n < steps && term > sum*0x1p-54; n++ {
			term *= x / (a + n)
			sum += term
		}
		return front * sum
	}
	// Evaluated from the front, by the ratios of successive convergents' numerators and denominators.
	b := x + 1 - a
	numerator, denominator := math.Inf(1), 1/b
	value := denominator
	for n := 1.0; n < steps; n++ {
		part := n * (a - n)
		b += 2
		denominator = 1 / (b + part*denominator)
		numerator = b + part/numerator
		value *= numerator * denominator
		if math.Abs(numerator*denominator-1) < 0x1p-52 {
			break
		}
	}
	return 1 - front*value
}
