package roundtrip

import (
	"math"

	"github.com/clockd/clockd/hw"
)

// Wander is an assumption beyond the drift bound, off by default: within any Period seconds the oscillator's rate does not change
// by more than Bound. With it the rate that was measured bounds the rate that comes, and intervals grow with that and not with ρ
// (theory 2.6, a certified frequency model). Bound 0 means that nothing is assumed.
type Wander struct {
	Bound  float64
	Period float64
}

// WanderPeriod is the period that goes with a configured wander bound, in seconds.
const WanderPeriod = 3600

const rateAnchors = 24

// rateAnchor is a proved interval of the offset at one reading.
type rateAnchor struct {
	at        hw.Ticks
	low, high float64
}

// RateBound bounds d(offset)/d(raw time). Without a Wander it is the drift bound; with one it is narrowed by proved intervals:
// between two of them the mean rate is at least (low₂ − high₁)/Δ and at most (high₂ − low₁)/Δ, and the rate at any instant within
// Period of both differs from that mean by no more than Bound. Only the first half of the period is used for measuring, so that
// the result holds for the second.
type RateBound struct {
	drift   float64
	wander  Wander
	anchors [rateAnchors]rateAnchor
	count   int
	// low and high hold until the reading until; later the drift bound alone does.
	low, high float64
	until     hw.Ticks
	narrowed  bool
	// Broken counts how often the measured rates contradicted the wander bound.
	Broken uint64
}

// NewRateBound returns the bound that the drift bound ρ alone gives.
func NewRateBound(drift float64, wander Wander) RateBound {
	return RateBound{drift: drift, wander: wander}
}

// Reset forgets what was measured.
func (b *RateBound) Reset() { *b = RateBound{drift: b.drift, wander: b.wander, Broken: b.Broken} }

// Configure replaces the assumptions; where they differ, what was measured is forgotten.
func (b *RateBound) Configure(drift float64, wander Wander) {
	if drift != b.drift || wander != b.wander {
		b.drift, b.wander = drift, wander
		b.Reset()
	}
}

// Shift moves the offsets of all anchors by −d seconds.
func (b *RateBound) Shift(d float64) {
	for i := range b.anchors {
		b.anchors[i].low -= d + RoundingError(b.anchors[i].low)
		b.anchors[i].high -= d - RoundingError(b.anchors[i].high)
	}
}

// least and most are what the drift bound gives: true time passes at a rate between 1/(1+ρ) and 1/(1−ρ) of the raw one.
func (b *RateBound) least() float64 { low, _ := growth(b.drift, 1); return -low }
func (b *RateBound) most() float64  { _, high := growth(b.drift, 1); return high }

// Observe takes a proved interval [low, high] of the offset at reading at, and measures the rate against earlier ones.
func (b *RateBound) Observe(raw *Raw, at hw.Ticks, low, high float64) {
	if b.wander.Bound <= 0 || math.IsInf(high-low, 0) {
		return
	}
	b.narrow(raw, at, low, high)
	spacing := b.wander.Period / 2 / (rateAnchors - 2)
	last := &b.anchors[(b.count+rateAnchors-1)%rateAnchors]
	switch {
	case b.count > 0 && raw.Elapsed(last.at, at) < spacing/8 && high-low < (last.high-last.low)/2:
		*last = rateAnchor{at, low, high} // much better than the one just kept
	case b.count == 0 || raw.Elapsed(last.at, at) >= spacing:
		b.anchors[b.count%rateAnchors] = rateAnchor{at, low, high}
		b.count++
	}
}

// narrow computes low and high from all anchors that are young enough.
func (b *RateBound) narrow(raw *Raw, at hw.Ticks, low, high float64) {
	least, most := b.least(), b.most()
	// The assumption is about the oscillator's frequency, d(raw)/d(true); the rate is its inverse.
	bound := b.wander.Bound / ((1 - b.drift) * (1 - b.drift))
	oldest := at
	for _, a := range b.anchors[:min(b.count, rateAnchors)] {
		d := raw.Elapsed(a.at, at)
		if d <= 0 || d > b.wander.Period/2 {
			continue
		}
		if x := (low-a.high)/d - bound; x > least {
			least = x
		}
		if x := (high-a.low)/d + bound; x < most {
			most = x
		}
		if a.at.Before(oldest) {
			oldest = a.at
		}
	}
	if least > most {
		b.Reset()
		b.Broken++
		return
	}
	b.narrowed = oldest != at
	b.low, b.high = least, most
	// The raw period may pass 1 + ρ times as fast as true time.
	b.until = oldest.Add(int64(b.wander.Period * (1 - 2*b.drift) / (raw.Line.Period.Nanoseconds() * 1e-9)))
}

// Rates returns the least and the greatest rate that hold from reading at for as long as d seconds.
func (b *RateBound) Rates(raw *Raw, at hw.Ticks, d float64) (least, most float64) {
	if b.narrowed && raw.Elapsed(at, b.until) >= d {
		return b.low, b.high
	}
	return b.least(), b.most()
}

// Spread moves the edges of an interval of the offset from reading from to reading to.
func (b *RateBound) Spread(raw *Raw, low, high float64, from, to hw.Ticks) (float64, float64) {
	if !b.narrowed || to.Before(from) || b.until.Before(from) {
		return Spread(b.drift, low, high, raw.Elapsed(from, to))
	}
	end := to
	if b.until.Before(to) {
		end = b.until
	}
	d := raw.Elapsed(from, end)
	return Spread(b.drift, low+b.low*d, high+b.high*d, raw.Elapsed(end, to))
}
