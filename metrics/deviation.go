package metrics

import "math"

// The functions of this file take phase: time errors in seconds at a fixed interval tau0Seconds, math.NaN() where a sample is missing.
// A term that needs a missing sample does not count; nothing is interpolated. factor is m = τ/τ0. Each result's Samples are the terms
// that it is the mean of; without one it is unknown. None of them depends on an offset of the phase, and HDEV and OverlappingHDEV
// do not depend on a constant frequency drift either.
//
// They take O(n) time for each factor, and no memory, but for MTIE.

// ADEV returns the Allan deviation at τ = m·τ0 from terms that do not overlap (SP 1065, 5.2.2):
//
//	σ²(τ) = 1/(2·n·τ²) · Σ (x[k+2m] − 2x[k+m] + x[k])², k = 0, m, 2m …
func ADEV(phase []float64, tau0Seconds float64, factor int) Figure {
	return deviation(phase, tau0Seconds, factor, factor, 2)
}

// OverlappingADEV returns the Allan deviation from all terms, k = 0, 1, 2 … (SP 1065, 5.2.4).
func OverlappingADEV(phase []float64, tau0Seconds float64, factor int) Figure {
	return deviation(phase, tau0Seconds, factor, 1, 2)
}

// HDEV returns the Hadamard deviation from terms that do not overlap (SP 1065, 5.2.8):
//
//	σ²(τ) = 1/(6·n·τ²) · Σ (x[k+3m] − 3x[k+2m] + 3x[k+m] − x[k])², k = 0, m, 2m …
func HDEV(phase []float64, tau0Seconds float64, factor int) Figure {
	return deviation(phase, tau0Seconds, factor, factor, 3)
}

// OverlappingHDEV returns the Hadamard deviation from all terms, k = 0, 1, 2 … (SP 1065, 5.2.9).
func OverlappingHDEV(phase []float64, tau0Seconds float64, factor int) Figure {
	return deviation(phase, tau0Seconds, factor, 1, 3)
}

// secondDifference is x − 2y + z.
func secondDifference(x, y, z float64) float64 { return (x - y) - (y - z) }

// thirdDifference is w − 3x + 3y − z.
func thirdDifference(w, x, y, z float64) float64 {
	return secondDifference(w, x, y) - secondDifference(x, y, z)
}

// usable reports whether a deviation can be asked for.
func usable(tau0Seconds float64, factor int) bool {
	return tau0Seconds > 0 && !math.IsInf(tau0Seconds, 1) && factor >= 1
}

func deviation(phase []float64, tau0Seconds float64, factor, stride, order int) Figure {
	if !usable(tau0Seconds, factor) || factor > len(phase)/order {
		return Figure{}
	}
	m := factor
	var sum float64
	var n uint64
	for k := 0; k+order*m < len(phase); k += stride {
		d := secondDifference(phase[k+2*m], phase[k+m], phase[k])
		if order == 3 {
			d = thirdDifference(phase[k+3*m], phase[k+2*m], phase[k+m], phase[k])
		}
		if d*d-d*d == 0 { // neither missing nor infinite
			sum += d * d
			n++
		}
	}
	return deviationOf(sum, n, order, float64(m)*tau0Seconds)
}

// deviationOf is the root of the mean of n squares, normalised so that white frequency noise has the same Allan and Hadamard deviation.
func deviationOf(sum float64, n uint64, order int, tauSeconds float64) Figure {
	norm := 2.0
	if order == 3 {
		norm = 6
	}
	return known(math.Sqrt(sum/(norm*float64(n)))/tauSeconds, n)
}

// MDEV returns the modified Allan deviation at τ = m·τ0 (SP 1065, 5.2.5): the overlapping Allan deviation of the phase averaged over m
// samples,
//
//	σ²(τ) = 1/(2·n·m²·τ²) · Σ ( Σ x[j+2m] − 2x[j+m] + x[j], j = k … k+m−1 )², k = 0, 1, 2 …
//
// A term needs all of its 3m samples.
func MDEV(phase []float64, tau0Seconds float64, factor int) Figure {
	if !usable(tau0Seconds, factor) || factor > len(phase)/3 {
		return Figure{}
	}
	var a averages
	m, run := factor, 0
	for i, x := range phase {
		run++
		if !finite(x) {
			run = 0
		}
		switch {
		case run == 3*m:
			a.sum = 0
			for j := i - 3*m + 1; j <= i-2*m; j++ {
				a.sum += secondDifference(phase[j+2*m], phase[j+m], phase[j])
			}
			a.term()
		case run > 3*m:
			a.sum += thirdDifference(x, phase[i-m], phase[i-2*m], phase[i-3*m])
			a.term()
		}
	}
	return deviationOf(a.squares, a.count, 2, float64(m)*float64(m)*tau0Seconds)
}

// TDEV returns the time deviation in seconds: τ·MDEV(τ)/√3 (SP 1065, 5.2.6; ITU-T G.810).
func TDEV(phase []float64, tau0Seconds float64, factor int) Figure {
	return timeDeviation(MDEV(phase, tau0Seconds, factor), float64(factor)*tau0Seconds)
}

func timeDeviation(mdev Figure, tauSeconds float64) Figure {
	mdev.Value *= tauSeconds / math.Sqrt(3)
	return mdev
}

// averages carries the inner sum of MDEV from one term to the next, and the sum of its squares. Each step rounds differences over m
// samples, not the phase itself: what adds up stays far below the noise.
type averages struct {
	sum, squares float64
	count        uint64
}

// term adds the square of the inner sum.
func (a *averages) term() {
	a.squares += a.sum * a.sum
	a.count++
}

// MTIE returns the maximum time interval error over windows of m·τ0, that is of m+1 samples, for each factor m (ITU-T G.810): the largest
// difference between two samples of one window. A window with a missing sample does not count. It takes O(n) time for each factor
// and for each octave up to the largest one, and memory for 2n samples.
func MTIE(phase []float64, factors []int) []Figure {
	out := make([]Figure, len(factors))
	// windows[i] is the extent of the samples i … i + 2^j − 1; missing ones are not in it.
	windows := make([]extent, len(phase))
	for i, x := range phase {
		windows[i] = nothing()
		if finite(x) {
			windows[i] = extent{x, x}
		}
	}
	for j := 0; 1<<j <= len(phase); j++ {
		for i, m := range factors {
			// Two windows of 2^j samples, which overlap, make one of m+1.
			if m >= 1 && m < len(phase) && 1<<j <= m+1 && m+1 < 2<<j {
				out[i] = largestWindow(phase, windows, 1<<j, m+1)
			}
		}
		for i := 0; i+1<<j < len(phase); i++ {
			windows[i] = windows[i].with(windows[i+1<<j])
		}
	}
	return out
}

// largestWindow looks at all windows of that many samples, no more than two parts long.
func largestWindow(phase []float64, parts []extent, part, samples int) Figure {
	most, n, run := 0.0, uint64(0), 0
	for last, x := range phase {
		run++
		if !finite(x) {
			run = 0
		}
		if run < samples {
			continue
		}
		first := last - samples + 1
		most = max(most, parts[first].with(parts[last-part+1]).length())
		n++
	}
	return known(most, n)
}

// MaxTimeError returns max|TE|, the largest magnitude of a time error.
func MaxTimeError(phase []float64) Figure {
	most, n := 0.0, uint64(0)
	for _, x := range phase {
		if finite(x) {
			most = max(most, math.Abs(x))
			n++
		}
	}
	return known(most, n)
}

// OctaveFactors returns 1, 2, 4 … as far as n samples have a term of ADEV.
func OctaveFactors(n int) []int {
	var out []int
	for m := 1; 2*m < n; m *= 2 {
		out = append(out, m)
	}
	return out
}

// DecadeFactors returns 1, 2, 5, 10, 20, 50 … as far as n samples have a term of ADEV.
func DecadeFactors(n int) []int {
	var out []int
	for decade := 1; 2*decade < n; decade *= 10 {
		for _, step := range []int{1, 2, 5} {
			if m := decade * step; 2*m < n {
				out = append(out, m)
			}
		}
	}
	return out
}
