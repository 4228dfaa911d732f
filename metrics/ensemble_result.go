package metrics

import (
	"math"

	"github.com/clockd/clockd/virtualclock"
)

// Sample notes the spread and the time errors at an instant, once all that happens then is known, for the root mean square and the
// quantiles. The suprema do not need it.
func (e *Ensemble) Sample(at virtualclock.Time) error {
	if err := e.moveTo(at); err != nil {
		return err
	}
	e.sampling = true
	return nil
}

// RoundBegins says that a resynchronisation begins: the first correct clock is about to be adjusted. The spread just before is Π.
func (e *Ensemble) RoundBegins(at virtualclock.Time) error {
	if err := e.moveTo(at); err != nil {
		return err
	}
	if e.leftKnown {
		e.figures.before.note(e.left, at, e.leftAhead, e.leftBehind)
	}
	return nil
}

// RoundEnds says that a resynchronisation has ended for the last correct clock. The spread right after it, once all that happens at
// this instant is known, is the round's convergence.
func (e *Ensemble) RoundEnds(at virtualclock.Time) error {
	if err := e.moveTo(at); err != nil {
		return err
	}
	e.roundEnds = true
	return nil
}

// Errors puts the clocks' time errors V − t in seconds at the last instant that was told, after all that happened then, into dst,
// which it grows as needed: not a number for clocks that are not in.
func (e *Ensemble) Errors(dst []float64) []float64 {
	dst = dst[:0]
	for i := range e.members {
		x := math.NaN()
		if m := &e.members[i]; m.in {
			x = m.at(e.elapsed)
		}
		dst = append(dst, x)
	}
	return dst
}

// Reset forgets all figures, but not where the clocks are: what was measured until now, at the last instant that was told, was
// settling.
func (e *Ensemble) Reset() {
	e.flush()
	e.figures = ensembleFigures{}
	e.leftKnown = false
	for i := range e.members {
		m := &e.members[i]
		now := m.at(e.elapsed)
		*m = member{
			in: m.in, segment: m.segment, offset: m.offset, from: m.from, position: m.position,
			accrued: e.elapsed, since: e.elapsed, sinceOffset: now,
		}
		if e.options.CellSeconds > 0 {
			m.envelope = newEnvelope(e.options.CellSeconds, e.options.CellsPerWindow)
		}
		if m.in {
			m.accuracy.note(math.Abs(now), e.now, i, -1)
		}
	}
	if spread, ahead, behind, ok := e.spread(); ok {
		e.figures.precision.note(spread, e.now, ahead, behind)
	}
}

// ClockResult is what was measured of one clock.
type ClockResult struct {
	// AccuracySeconds is α_v: the supremum of |V − t|. ErrorRMSSeconds is the root of the mean of (V − t)² over the time that the
	// clock was in, exactly; its Samples are those of the accuracy.
	AccuracySeconds Extreme `json:"accuracy_s"`
	ErrorRMSSeconds Figure  `json:"error_rms_s"`
	// PresentSeconds is how long the clock was in.
	PresentSeconds float64 `json:"present_s"`
	// Rate is ρ_v: the largest max(|r − 1|, |1/r − 1|) of a segment that lasted, r = dV/dt. It is unknown if the clock jumped within
	// an epoch, or stood still, or ran backwards.
	Rate Figure `json:"rate"`
	// MeanRate is the slope of V − t from end to end of the longest stretch without a step, StretchSeconds that stretch's length.
	MeanRate       Figure  `json:"mean_rate"`
	StretchSeconds float64 `json:"stretch_s"`
	// Envelope is the curve for ρ_α.
	Envelope []EnvelopePoint `json:"envelope"`
	// Steps counts the new epochs, where the rate is not defined, Jumps those of more than the tolerance within an epoch.
	Steps              uint64 `json:"steps"`
	Jumps              uint64 `json:"jumps"`
	LargestJumpSeconds Figure `json:"largest_jump_s"`
}

// EnsembleResult is what was measured of the clocks together.
type EnsembleResult struct {
	Clocks []ClockResult `json:"clocks"`
	// AccuracySeconds is α_v, the largest of all clocks.
	AccuracySeconds Extreme `json:"accuracy_s"`
	// PrecisionSeconds is π_v: the supremum of max V − min V over all instants at which at least two clocks were in.
	PrecisionSeconds Extreme `json:"precision_s"`
	// SpreadSeconds and ErrorSeconds are max V − min V and |V − t| at the samples.
	SpreadSeconds Distribution `json:"spread_s"`
	ErrorSeconds  Distribution `json:"error_s"`
	// ConvergenceSeconds is δ_v: the largest spread at the end of a round. LastConvergenceSeconds is that of the last round.
	ConvergenceSeconds     Extreme `json:"convergence_s"`
	LastConvergenceSeconds Figure  `json:"last_convergence_s"`
	// SpreadBeforeSeconds is Π: the largest spread just before a round.
	SpreadBeforeSeconds Extreme `json:"spread_before_s"`
	// Rate is ρ_v: the largest of all clocks, unknown if that of one clock that was in is.
	Rate Figure `json:"rate"`
	// MeanRate is the largest |mean rate| of all clocks, over the longest stretch of each.
	MeanRate Figure `json:"mean_rate"`
	// Envelope is the curve for ρ_α: for each window the largest of all clocks. Samples are the windows of all of them.
	Envelope []EnvelopePoint `json:"envelope"`
	Steps    uint64          `json:"steps"`
	Jumps    uint64          `json:"jumps"`
}

// Result returns the figures up to that instant, which all that happens then was told about. More may follow.
func (e *Ensemble) Result(at virtualclock.Time) (EnsembleResult, error) {
	if err := e.moveTo(at); err != nil {
		return EnsembleResult{}, err
	}
	e.flush()
	for _, clock := range e.active {
		e.settle(&e.members[clock])
	}
	f := &e.figures
	r := EnsembleResult{
		PrecisionSeconds: f.precision.extreme(), ConvergenceSeconds: f.convergence.extreme(), SpreadBeforeSeconds: f.before.extreme(),
		LastConvergenceSeconds: f.lastRound, SpreadSeconds: f.spreads.Distribution(), ErrorSeconds: f.errors.Distribution(),
	}
	rateLost := false
	for i := range e.members {
		m := &e.members[i]
		c := m.result(e.elapsed)
		r.Clocks = append(r.Clocks, c)
		n := r.AccuracySeconds.Samples + c.AccuracySeconds.Samples
		if c.AccuracySeconds.Known && (!r.AccuracySeconds.Known || c.AccuracySeconds.Value > r.AccuracySeconds.Value) {
			r.AccuracySeconds = c.AccuracySeconds
		}
		r.AccuracySeconds.Samples = n
		r.Rate = largest(r.Rate, c.Rate)
		size := c.MeanRate
		size.Value = math.Abs(size.Value)
		r.MeanRate = largest(r.MeanRate, size)
		r.Steps += c.Steps
		r.Jumps += c.Jumps
		rateLost = rateLost || m.rateLost
		r.Envelope = worse(r.Envelope, c.Envelope)
	}
	if rateLost {
		r.Rate = Figure{Samples: r.Rate.Samples}
	}
	return r, nil
}

func (m *member) result(elapsed float64) ClockResult {
	c := ClockResult{
		AccuracySeconds: m.accuracy.extreme(), PresentSeconds: m.present, Rate: m.rate, StretchSeconds: m.stretch,
		Steps: m.steps, Jumps: m.jumps, LargestJumpSeconds: known(m.largestJump, m.steps+m.jumps),
	}
	if m.present > 0 {
		c.ErrorRMSSeconds = known(math.Sqrt(m.squares/m.present), m.accuracy.samples)
	}
	if m.rateLost {
		c.Rate = Figure{Samples: m.rate.Samples}
	}
	slope := m.stretchRate
	if length := elapsed - m.since; m.in && length > m.stretch {
		c.StretchSeconds, slope = length, (m.at(elapsed)-m.sinceOffset)/length
	}
	if c.StretchSeconds > 0 {
		c.MeanRate = known(slope, 1)
	}
	if m.envelope != nil {
		c.Envelope = m.envelope.curve()
	}
	return c
}

// worse joins two curves: the larger of each figure.
func worse(a, b []EnvelopePoint) []EnvelopePoint {
	for i, p := range b {
		if i == len(a) {
			a = append(a, p)
			continue
		}
		q := &a[i]
		q.MTIESeconds, q.MTIEAtLeastSeconds = largest(q.MTIESeconds, p.MTIESeconds), largest(q.MTIEAtLeastSeconds, p.MTIEAtLeastSeconds)
		q.AtMost, q.AtLeast = largest(q.AtMost, p.AtMost), largest(q.AtLeast, p.AtLeast)
	}
	return a
}
