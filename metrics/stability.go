package metrics

import (
	"fmt"
	"math"
)

// StabilityPoint is what is known at one observation interval τ.
type StabilityPoint struct {
	TauSeconds float64 `json:"tau_s"`
	// Factor is τ/τ0. Successive terms of the deviations are Stride samples apart: 1 is full overlap, Factor is none.
	Factor uint64 `json:"factor"`
	Stride uint64 `json:"stride"`
	// The deviations by their definitions in ADEV, MDEV, TDEV and HDEV, over the terms at that stride.
	ADEV        Figure `json:"adev"`
	MDEV        Figure `json:"mdev"`
	TDEVSeconds Figure `json:"tdev_s"`
	HDEV        Figure `json:"hdev"`
	// MTIESeconds is the largest difference within a complete window of τ: exact where Stride is 1, else no less than it, and that
	// of some window which is longer by less than one stride; a window then counts as complete if the blocks of Stride samples that it
	// touches are. MTIEAtLeastSeconds was certainly reached within τ, in a window that
	// need not be complete.
	MTIESeconds        Figure `json:"mtie_s"`
	MTIEAtLeastSeconds Figure `json:"mtie_at_least_s"`
	// How many terms and windows were left out because a sample was missing.
	ExcludedADEV uint64 `json:"excluded_adev"`
	ExcludedMDEV uint64 `json:"excluded_mdev"`
	ExcludedHDEV uint64 `json:"excluded_hdev"`
	ExcludedMTIE uint64 `json:"excluded_mtie"`
}

// StabilityOf computes the points at those factors from stored phase (see ADEV), with full overlap.
func StabilityOf(phase []float64, tau0Seconds float64, factors []int) []StabilityPoint {
	mtie := MTIE(phase, factors)
	var out []StabilityPoint
	for i, m := range factors {
		if !usable(tau0Seconds, m) {
			continue
		}
		tau := float64(m) * tau0Seconds
		p := StabilityPoint{TauSeconds: tau, Factor: uint64(m), Stride: 1, MTIESeconds: mtie[i], MTIEAtLeastSeconds: mtie[i]}
		p.ADEV, p.MDEV = OverlappingADEV(phase, tau0Seconds, m), MDEV(phase, tau0Seconds, m)
		p.HDEV, p.TDEVSeconds = OverlappingHDEV(phase, tau0Seconds, m), timeDeviation(p.MDEV, tau)
		p.ExcludedADEV = excluded(len(phase)-2*m, p.ADEV)
		p.ExcludedMDEV = excluded(len(phase)-3*m+1, p.MDEV)
		p.ExcludedHDEV = excluded(len(phase)-3*m, p.HDEV)
		p.ExcludedMTIE = excluded(len(phase)-m, p.MTIESeconds)
		out = append(out, p)
	}
	return out
}

func excluded(possible int, f Figure) uint64 { return uint64(max(0, possible)) - f.Samples }

// Stability computes the deviations at τ = 1, 2, 4, 8 … τ0 from phase that streams past, in memory that grows with the logarithm of
// its length: about 100 bytes · overlap for each octave.
//
// Up to τ = overlap·τ0 all terms are taken, as OverlappingADEV, MDEV, OverlappingHDEV and MTIE do. Beyond it the terms are τ/overlap apart:
// they are terms of the same definition, not approximations, but fewer. (A phase that is decimated by s gives the terms of ADEV and
// HDEV at a stride of s, one averaged over s samples those of MDEV.) A missing sample takes those terms with it that need it.
type Stability struct {
	tau0    float64
	top     int
	levels  []*stabilityLevel
	octaves []*stabilityOctave
	ranges  *cascade

	samples, missing  uint64
	greatest, squares float64
}

// stabilityLevel holds the last 4·2^top samples at a spacing of 2^level·τ0.
type stabilityLevel struct {
	// points are the samples at that spacing, means the averages over the spacing. NaN is missing.
	points, means []float64
	count         uint64
	run           int // means without one missing
	pendingPoint  float64
	pendingMean   float64
	half          bool
}

// stabilityOctave sums up the terms for one τ.
type stabilityOctave struct {
	second, third sumOfTerms
	averages      averages
	noAverage     uint64
}

type sumOfTerms struct {
	squares         float64
	count, excluded uint64
}

func (s *sumOfTerms) add(d float64) {
	if d*d-d*d != 0 {
		s.excluded++
		return
	}
	s.squares += d * d
	s.count++
}

// maxOverlap keeps the memory bounded.
const maxOverlap = 1 << 20

// NewStability returns an estimator for samples that are tau0Seconds apart. The overlap is rounded up to a power of 2; 0 means 256.
func NewStability(tau0Seconds float64, overlap int) (*Stability, error) {
	if !usable(tau0Seconds, 1) || overlap < 0 || overlap > maxOverlap {
		return nil, fmt.Errorf("metrics: samples %g s apart with an overlap of %d; give a positive interval and at most %d", tau0Seconds,
			overlap, maxOverlap)
	}
	if overlap == 0 {
		overlap = 256
	}
	top := logarithm(overlap, maxOverlap)
	return &Stability{tau0: tau0Seconds, top: top, ranges: newCascade(top, true)}, nil
}

// Add takes the next sample, in seconds. One that is not a finite number is missing.
func (s *Stability) Add(timeErrorSeconds float64) {
	x := timeErrorSeconds
	if !finite(x) {
		s.missing++
		s.ranges.add(nothing(), false)
		s.push(math.NaN(), math.NaN())
		return
	}
	s.samples++
	s.greatest = max(s.greatest, math.Abs(x))
	s.squares += x * x
	s.ranges.add(extent{x, x}, true)
	s.push(x, x)
}

// Miss says that the next n samples are missing.
func (s *Stability) Miss(n int) {
	for range n {
		s.Add(math.NaN())
	}
}

// push gives a sample to level 0, and what two of each level make to the next.
func (s *Stability) push(point, mean float64) {
	size := 4 << s.top
	for number := range maxLevels {
		if number == len(s.levels) {
			l := &stabilityLevel{points: make([]float64, size)}
			l.means = l.points // at level 0 they are the same
			if number > 0 {
				l.means = make([]float64, size)
			}
			s.levels = append(s.levels, l)
		}
		l := s.levels[number]
		l.store(point, mean)
		if number > 0 {
			s.octave(s.top+number).take(l, 1<<s.top)
		} else {
			for j := range s.top + 1 {
				s.octave(j).take(l, 1<<j)
			}
		}
		if !l.half {
			l.pendingPoint, l.pendingMean, l.half = point, mean, true
			return
		}
		l.half = false
		point, mean = l.pendingPoint, l.pendingMean+(mean-l.pendingMean)/2
	}
}

func (s *Stability) octave(k int) *stabilityOctave {
	for k >= len(s.octaves) {
		s.octaves = append(s.octaves, &stabilityOctave{})
	}
	return s.octaves[k]
}

func (l *stabilityLevel) store(point, mean float64) {
	slot := l.count & uint64(len(l.points)-1)
	l.points[slot], l.means[slot] = point, mean
	l.count++
	l.run++
	if mean != mean {
		l.run = 0
	}
}

// take adds the terms whose last sample is the level's last one.
func (o *stabilityOctave) take(l *stabilityLevel, m int) {
	mask := uint64(len(l.points) - 1)
	last := l.count - 1
	if l.count <= 2*uint64(m) {
		return
	}
	x, y, z := l.points[last&mask], l.points[(last-uint64(m))&mask], l.points[(last-2*uint64(m))&mask]
	second := secondDifference(x, y, z)
	o.second.add(second)
	if l.count > 3*uint64(m) {
		o.third.add(second - secondDifference(y, z, l.points[(last-3*uint64(m))&mask]))
	}
	if l.count >= 3*uint64(m) {
		o.average(l, m, last, mask)
	}
}

// average adds the term of MDEV.
func (o *stabilityOctave) average(l *stabilityLevel, m int, last, mask uint64) {
	mean := func(back int) float64 { return l.means[(last-uint64(back))&mask] }
	switch {
	case l.run < 3*m:
		o.noAverage++
		return
	case l.run == 3*m:
		o.averages.sum = 0
		for j := range m {
			o.averages.sum += secondDifference(mean(j), mean(j+m), mean(j+2*m))
		}
	default:
		o.averages.sum += thirdDifference(mean(0), mean(m), mean(2*m), mean(3*m))
	}
	o.averages.term()
}

// StabilityResult is what Stability has found.
type StabilityResult struct {
	Tau0Seconds float64 `json:"tau0_s"`
	Samples     uint64  `json:"samples"`
	Missing     uint64  `json:"missing"`
	// MaxTimeErrorSeconds is max|TE|, RMSTimeErrorSeconds the root mean square.
	MaxTimeErrorSeconds Figure           `json:"max_te_s"`
	RMSTimeErrorSeconds Figure           `json:"rms_te_s"`
	Points              []StabilityPoint `json:"points"`
}

// Result returns the points for which the data are long enough. More samples may follow.
func (s *Stability) Result() StabilityResult {
	r := StabilityResult{
		Tau0Seconds: s.tau0, Samples: s.samples, Missing: s.missing, MaxTimeErrorSeconds: known(s.greatest, s.samples),
		RMSTimeErrorSeconds: known(math.Sqrt(s.squares/float64(s.samples)), s.samples), Points: []StabilityPoint{},
	}
	ranges := s.ranges.brackets(nothing())
	for k, o := range s.octaves {
		if o.second.count+o.second.excluded == 0 {
			break
		}
		stride := math.Ldexp(1, max(0, k-s.top))
		tau := math.Ldexp(s.tau0, k)
		p := StabilityPoint{TauSeconds: tau, Factor: 1 << k, Stride: uint64(stride)}
		p.ADEV = deviationOf(o.second.squares, o.second.count, 2, tau)
		p.HDEV = deviationOf(o.third.squares, o.third.count, 3, tau)
		p.MDEV = deviationOf(o.averages.squares, o.averages.count, 2, tau*math.Ldexp(1, min(k, s.top)))
		p.TDEVSeconds = timeDeviation(p.MDEV, tau)
		p.ExcludedADEV, p.ExcludedMDEV, p.ExcludedHDEV = o.second.excluded, o.noAverage, o.third.excluded
		if f := ranges[k]; f.windows+f.excluded > 0 {
			p.MTIESeconds, p.MTIEAtLeastSeconds = known(f.high, f.windows), known(f.low, f.windows+f.excluded)
			p.ExcludedMTIE = f.excluded
		}
		r.Points = append(r.Points, p)
	}
	return r
}
