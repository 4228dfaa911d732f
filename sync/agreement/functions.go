package agreement

import (
	"fmt"
	"math"
	"slices"
)

// Interval bounds a quantity, such as another clock's reading relative to one's own, in seconds.
type Interval struct {
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// Centre is the middle.
func (i Interval) Centre() float64 { return i.Low + (i.High-i.Low)/2 }

// HalfWidth is half the distance of the edges.
func (i Interval) HalfWidth() float64 { return (i.High - i.Low) / 2 }

// Contains reports whether x is in the closed interval.
func (i Interval) Contains(x float64) bool { return i.Low <= x && x <= i.High }

// Meets reports whether the closed intervals have a point in common.
func (i Interval) Meets(o Interval) bool { return i.Low <= o.High && o.Low <= i.High }

// Hull is the smallest interval that contains both.
func (i Interval) Hull(o Interval) Interval {
	return Interval{min(i.Low, o.Low), max(i.High, o.High)}
}

// Algorithm names a convergence function.
type Algorithm uint8

// The convergence functions. IntervalMidpoint is the one to use; the others are there to be compared with it, and Average for
// groups with n > 4f, where its bound is smaller.
const (
	IntervalMidpoint Algorithm = iota // iFTM
	Midpoint                          // FTM, on centres
	Average                           // FTA
	Egocentric                        // CNV
	PlainMedian                       // unsafe with a two-faced clock from n = 5 on
	algorithms
)

var algorithmNames = [algorithms]string{"iftm", "ftm", "fta", "cnv", "median"}

// String returns iftm, ftm, fta, cnv or median.
func (a Algorithm) String() string {
	if a >= algorithms {
		return fmt.Sprintf("algorithm_%d", uint8(a))
	}
	return algorithmNames[a]
}

// MarshalText writes the name.
func (a Algorithm) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads a name.
func (a *Algorithm) UnmarshalText(b []byte) error {
	for i, name := range algorithmNames {
		if name == string(b) {
			*a = Algorithm(i)
			return nil
		}
	}
	return fmt.Errorf("agreement: no convergence function is called %q: it is one of %v", b, algorithmNames)
}

// MaxFaults is the default f for n clocks: the most that n ≥ 3f+1 allows, which is necessary without signatures (Dolev, Halpern
// & Strong 1984).
func MaxFaults(n int) int { return max((n-1)/3, 0) }

// sorted copies x into scratch and sorts it there. It allocates only when scratch is too small.
func sorted(x, scratch []float64) []float64 {
	scratch = append(scratch[:0], x...)
	slices.Sort(scratch)
	return scratch
}

// FaultTolerantInterval is the interval fault-tolerant midpoint's interval, iFTM (theory 3.2, 3.4):
//
//	L = (f+1)-th smallest lower edge, U = (f+1)-th largest upper edge
//
// whose middle is the new clock. Edges are trimmed on the outside, because n clocks are n different quantities; for n readings of
// one quantity the inner edges are right (roundtrip.Fusion).
//
// n ≥ 3f+1; contraction 1/2; Π = 4ε+2Γ, δ_v = 4ε+Γ (Bounds). Source: Lynch & Welch, Inf. & Comput. 77, 1988, carried over to
// intervals. The lemma, for correct clocks in [a, b], liars ≤ f, and at each observer at most f readings bad (a liar's, or wider
// than ε on either side of the centre):
//
//   - a−2ε ≤ L and U ≤ b+2ε: of the f+1 smallest lower edges one is not bad. Likewise L ≤ b and U ≥ a: so the middle is
//     in [a−ε, b+ε].
//   - For any two observers p and q: L_p ≤ U_q. At most f clocks have a lower edge < L_p at p, at most f an upper edge > U_q
//     at q, at most f are liars; n > 3f leaves a correct j with L_p ≤ l_pj ≤ v_j ≤ u_qj ≤ U_q.
//   - Hence the middles differ by ½[(U_p−L_q)+(L_p−U_q)] ≤ ½(b−a)+2ε.
//
// Members that an observer does not know at all are left out of in (which needs 2f+1 to remain). That equals putting a value
// between L and U in their place, as a liar might: the lemma holds for p and q while the liars and those left out by p or by q
// are together not more than f. (Theory 3.4 asks it of each observer alone. That is not enough: with n = 4, clocks {0,0,10,10},
// f = 1 and no liar, an observer that misses a 0 gets 10 and one that misses a 10 gets 0.)
//
// It reports false if fewer than 2f+1 intervals are given. scratch is working memory of capacity ≥ len(in), else it allocates.
func FaultTolerantInterval(in []Interval, f int, scratch []float64) (Interval, bool) {
	if f < 0 || len(in) < 2*f+1 {
		return Interval{math.Inf(-1), math.Inf(1)}, false
	}
	scratch = scratch[:0]
	for i := range in {
		scratch = append(scratch, in[i].Low)
	}
	slices.Sort(scratch)
	low := scratch[f]
	scratch = scratch[:0]
	for i := range in {
		scratch = append(scratch, in[i].High)
	}
	slices.Sort(scratch)
	return Interval{low, scratch[len(in)-1-f]}, true
}

// FaultTolerantMidpoint is FTM on centres: the middle of the (f+1)-th smallest and the (f+1)-th largest (theory 3.2).
//
// n ≥ 3f+1; contraction 1/2, Π = 4ε+2Γ, where ε is the worst of all correct readings: unlike iFTM's, up to f wide readings
// count. Source: Lynch & Welch 1988. It reports false if fewer than 2f+1 values are given.
func FaultTolerantMidpoint(x []float64, f int, scratch []float64) (float64, bool) {
	if f < 0 || len(x) < 2*f+1 {
		return 0, false
	}
	s := sorted(x, scratch)
	low, high := s[f], s[len(s)-1-f]
	return low + (high-low)/2, true
}

// FaultTolerantAverage is FTA: the mean of what is left without the f smallest and the f largest (theory 3.2).
//
// n ≥ 3f+1; contraction f/(n−2f), Π = (2ε+Γ)(n−2f)/(n−3f): better than the midpoint if n > 4f. Source: Kopetz &
// Ochsenreiter, IEEE ToC C-36(8), 1987. It reports false if fewer than 2f+1 values are given.
func FaultTolerantAverage(x []float64, f int, scratch []float64) (float64, bool) {
	if f < 0 || len(x) < 2*f+1 {
		return 0, false
	}
	s := sorted(x, scratch)
	return mean(s[f : len(s)-f]), true
}

// EgocentricAverage is CNV: the mean of n values, where those farther than radius from the own one, and the missing ones, are
// replaced by the own one (theory 3.2). x holds the values known, own among them; n ≥ len(x).
//
// n ≥ 3f+1 and radius ≥ Π+ε; contraction 3f/n, Π = n(2ε+Γ)/(n−3f). The result may leave the range of the correct clocks by
// (f(Π+ε)+(n−f)ε)/n. Source: Lamport & Melliar-Smith, JACM 32(1), 1985.
func EgocentricAverage(x []float64, own, radius float64, n int) float64 {
	sum := 0.0
	for _, v := range x {
		if math.Abs(v-own) <= radius {
			sum += v - own
		}
	}
	return own + sum/float64(max(n, 1))
}

// Median is the middle value, or the mean of the two middle ones.
//
// UNSAFE as a convergence function on private readings: from n = 5 on one two-faced clock keeps the others apart for ever
// (theory 3.6; TestMedianDiverges). With n = 4, f = 1 it is FTM. It is safe only on a vector that all have agreed on before. It
// reports false for no values.
func Median(x, scratch []float64) (float64, bool) {
	if len(x) == 0 {
		return 0, false
	}
	return FaultTolerantMidpoint(x, (len(x)-1)/2, scratch)
}

func mean(x []float64) float64 {
	sum := 0.0
	for _, v := range x {
		sum += v - x[0]
	}
	return x[0] + sum/float64(len(x))
}

// pointShare is how far from the middle of the guaranteed interval a point estimate may be, as a share of the half-width.
const pointShare = 0.5

// AroundPoint returns the smallest interval that contains i and is symmetric around point, after point was confined to the inner
// half of i. So its half-width is at most 1.5 times that of i, and as small as i's if the point is in the middle.
//
// With it a convergence function works on point estimates and keeps its guarantee: see CommonHalfWidth.
func AroundPoint(i Interval, point float64) (centre, halfWidth float64) {
	c, w := i.Centre(), i.HalfWidth()
	centre = min(max(point, c-pointShare*w), c+pointShare*w)
	return centre, max(centre-i.Low, i.High-centre)
}

// CommonHalfWidth returns h*, the (n−f)-th smallest of the half-widths of the readings of n clocks, of which those not given count
// as infinite; +Inf if fewer than n−f are given.
//
// It makes the guaranteed midpoint as good as the point estimates. Readings are taken as symmetric intervals around their point
// estimates (AroundPoint), and those narrower than h* are widened to h*. Then at least n−f have the same half-width, and iFTM is
// FTM on the point estimates: the guaranteed edges, whose widths differ between observers by more than the point estimates err,
// cancel out. And the lemma of FaultTolerantInterval still holds, with the same ε:
//
// Let ε be such that at this observer at most f readings are bad: a liar's, missing, or of half-width > ε. Then at least n−f
// readings have a half-width ≤ ε, so h* ≤ ε. Widening makes no good reading wider than max(h*, ε) = ε, and an interval that
// contains a clock still does when it is widened. These two, containment and half-width ≤ ε for all but f, are all that the
// lemma uses. ∎ (ε is here the half-width around the point estimate: at most 1.5 times that of the guaranteed interval.)
func CommonHalfWidth(halfWidths []float64, n, f int, scratch []float64) float64 {
	if f < 0 || n-f < 1 || len(halfWidths) < n-f {
		return math.Inf(1)
	}
	return sorted(halfWidths, scratch)[n-f-1]
}
