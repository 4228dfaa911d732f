package metrics

import "math"

// leastForNoise is how many samples the autocorrelation needs to tell the noises apart.
const leastForNoise = 30

// IdentifyNoise estimates the noise that dominates phase at τ = factor·τ0, from the lag-1 autocorrelation of the phase at that interval,
// differenced until it is stationary (W. Riley and C. Greenhall, Power law noise identification using the lag 1 autocorrelation,
// EFTF 2004; SP 1065, 5.5.4). Not ok if there are fewer than 30 samples at that interval, one of them is missing, or the phase does
// not vary. most is the largest number of differences: 2 for Allan, 3 for Hadamard deviations.
func IdentifyNoise(phase []float64, factor, most int) (noise Noise, ok bool) {
	if factor < 1 {
		return 0, false
	}
	var x []float64
	for i := 0; i < len(phase); i += factor {
		if !finite(phase[i]) {
			return 0, false
		}
		x = append(x, phase[i])
	}
	if len(x) < leastForNoise {
		return 0, false
	}
	withoutParabola(x)
	for differences := 0; ; differences++ {
		r, varies := autocorrelation(x)
		if !varies {
			return 0, false
		}
		// The fractional difference δ: the series is white noise integrated δ times.
		delta := r / (1 + r)
		if delta < 0.25 || differences >= most {
			return Noise(2 - 2*differences - int(math.Round(2*delta))), true
		}
		for i := range len(x) - 1 {
			x[i] = x[i+1] - x[i]
		}
		x = x[:len(x)-1]
	}
}

// autocorrelation is that of x and x one step later; not ok if x is constant.
func autocorrelation(x []float64) (r float64, varies bool) {
	var mean, lagged, squares float64
	for _, v := range x {
		mean += v / float64(len(x))
	}
	for i, v := range x {
		squares += square(v - mean)
		if i > 0 {
			lagged += (v - mean) * (x[i-1] - mean)
		}
	}
	return lagged / squares, squares > 0
}

// withoutParabola subtracts the parabola that fits best, a frequency offset and drift, by orthogonal polynomials.
func withoutParabola(x []float64) {
	n := float64(len(x))
	middle := (n - 1) / 2
	// The mean of the squared distances from the middle makes t² − curve orthogonal to 1.
	curve := (n*n - 1) / 12
	shapes := []func(t float64) float64{
		func(float64) float64 { return 1 },
		func(t float64) float64 { return t },
		func(t float64) float64 { return t*t - curve },
	}
	for _, shape := range shapes {
		var product, norm float64
		for i, v := range x {
			p := shape(float64(i) - middle)
			product += p * v
			norm += p * p
		}
		for i := range x {
			x[i] -= product / norm * shape(float64(i)-middle)
		}
	}
}
