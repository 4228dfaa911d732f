package roundtrip

import (
	"math"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
)

// Fusion combines the readings of n sources, at most f of which are false, by the fault-tolerant interval function
//
//	F = [ (f+1)-th largest lower edge , (f+1)-th smallest upper edge ]
//
// (Schmid & Schossmaier, Distributed Computing 2001; theory 2.5): of the f+1 largest lower edges one belongs to a true
// source, so the smallest of them is not above the truth; likewise above. A source that has nothing to say takes part with an
// infinite interval, which is never false; so n and f stay fixed whoever answers.
type Fusion struct {
	edges []float64
	order []int
}

// MaxFalse is the default f for n sources: the most that n ≥ 2f+1 allows.
func MaxFalse(n int) int { return max((n-1)/2, 0) }

// Fuse combines the readings, all taken at the same counter reading at. A reading is left out (its interval counts as infinite)
// where codes is not OK. verdicts, of the same length, is filled with one verdict per reading; Source is left to the caller.
//
// The estimate's Reason is OK, TooFewSources (an edge is infinite) or NoMajority (F is empty: more than f are false).
func (u *Fusion) Fuse(at hw.Ticks, readings []Reading, codes []reason.Code, f int, verdicts []Verdict) Estimate {
	e := Estimate{At: at, Low: u.edge(readings, codes, f, true), High: u.edge(readings, codes, f, false)}
	for i := range verdicts {
		verdicts[i] = Verdict{Source: verdicts[i].Source, Reason: codes[i]}
	}
	switch {
	case math.IsInf(e.Low, 0) || math.IsInf(e.High, 0):
		e.Reason = reason.TooFewSources
		return e
	case e.Low > e.High:
		e.Reason = reason.NoMajority
		return e
	}
	u.judge(&e, readings, verdicts)
	u.combine(&e, readings, verdicts)
	return e
}

// edge returns the (f+1)-th largest lower or the (f+1)-th smallest upper edge.
func (u *Fusion) edge(readings []Reading, codes []reason.Code, f int, lower bool) float64 {
	u.edges = u.edges[:0]
	for i := range readings {
		x := math.Inf(1)
		if codes[i] == reason.OK && lower {
			x = -readings[i].Low
		} else if codes[i] == reason.OK {
			x = readings[i].High
		}
		u.edges = append(u.edges, x)
	}
	if f >= len(u.edges) {
		u.edges = append(u.edges[:0], math.Inf(1))
		f = 0
	}
	insertionSort(u.edges)
	if lower {
		return -u.edges[f]
	}
	return u.edges[f]
}

// judge names the falsetickers: an interval that does not meet the fused one cannot contain the truth.
func (u *Fusion) judge(e *Estimate, readings []Reading, verdicts []Verdict) {
	for i := range readings {
		v := &verdicts[i]
		if v.Reason != reason.OK {
			continue
		}
		switch r := &readings[i]; {
		case r.Low > e.High:
			v.Reason, v.Distance = reason.SourceFalseticker, r.Low-e.High
		case r.High < e.Low:
			v.Reason, v.Distance = reason.SourceFalseticker, r.High-e.Low
		default:
			e.Used++
		}
	}
}

// outlierReach is how many standard deviations from the middle of all a source keeps about its full weight.
const outlierReach = 3

// combine weights the point estimates by their variances, and by how far they are from the median of all: a source that drags
// its clock away inside its interval proves nothing false, but the others need not follow it. The result is kept inside the
// interval.
func (u *Fusion) combine(e *Estimate, readings []Reading, verdicts []Verdict) {
	middle, doubt := u.median(readings, verdicts)
	var weight, rateWeight float64
	for i := range readings {
		if verdicts[i].Reason != reason.OK {
			continue
		}
		r := &readings[i]
		variance := max(r.OffsetStd*r.OffsetStd, 1e-24)
		off := 1 + square(r.Offset-middle)/(square(outlierReach)*(variance+doubt))
		w := 1 / (variance * square(off))
		x := 1 / (max(r.RateStd*r.RateStd, 1e-30) * square(off))
		verdicts[i].Weight = w
		weight += w
		rateWeight += x
		e.Offset += w * r.Offset
		e.Rate += x * r.Rate
	}
	if weight == 0 {
		e.Offset, e.OffsetStd = (e.Low+e.High)/2, (e.High-e.Low)/2
		return
	}
	for i := range verdicts {
		verdicts[i].Weight /= weight
	}
	e.Offset = min(max(e.Offset/weight, e.Low), e.High)
	e.OffsetStd = math.Sqrt(1 / weight)
	e.Rate /= rateWeight
	e.RateStd = math.Sqrt(1 / rateWeight)
}

// median returns the median of the used offsets, each counted once, and its variance: that of the source or the two sources in
// the middle.
func (u *Fusion) median(readings []Reading, verdicts []Verdict) (offset, variance float64) {
	u.order = u.order[:0]
	for i := range readings {
		if verdicts[i].Reason != reason.OK {
			continue
		}
		u.order = append(u.order, i)
		for j := len(u.order) - 1; j > 0 && readings[u.order[j]].Offset < readings[u.order[j-1]].Offset; j-- {
			u.order[j], u.order[j-1] = u.order[j-1], u.order[j]
		}
	}
	n := len(u.order)
	if n == 0 {
		return 0, 0
	}
	a, b := &readings[u.order[(n-1)/2]], &readings[u.order[n/2]]
	return (a.Offset + b.Offset) / 2, (square(a.OffsetStd) + square(b.OffsetStd)) / 2
}
