package metrics

import (
	"fmt"
	"math"
	"slices"

	"github.com/clockd/clockd/virtualclock"
)

// ReadingError is ε of one four-stamp exchange: half of the width of the interval that it proves for the remote clock's offset, when
// it ends. RTT = (T4 − T1) − (T3 − T2); known minimum one-way delays there and back are subtracted, what the local counter may drift
// during the exchange and its granularity are added (theory 2.1). It is unknown if the stamps contradict the minimum.
func ReadingError(rttSeconds, minimumThereSeconds, minimumBackSeconds, driftSeconds, granularitySeconds float64) Figure {
	width := rttSeconds - minimumThereSeconds - minimumBackSeconds + driftSeconds + granularitySeconds
	if !(width >= 0) {
		return Figure{}
	}
	return known(width/2, 1)
}

// ReadingErrors measures ε: the largest half-width of an interval that a correct node used for a correct peer where clocks converge.
// The zero value has seen none.
type ReadingErrors struct {
	worst   peak
	all     Quantiles
	scratch []float64
}

// Add takes the half-width of one interval.
func (r *ReadingErrors) Add(at virtualclock.Time, observer int, halfWidthSeconds float64) error {
	return r.AddRound(at, observer, []float64{halfWidthSeconds}, 0)
}

// AddRound takes the half-widths of all intervals that an observer used in a round. The discard widest are left out: a convergence
// function that tolerates f faulty clocks tolerates f − (those that are faulty) intervals that are too wide (theory 1.3, rule 5).
func (r *ReadingErrors) AddRound(at virtualclock.Time, observer int, halfWidthsSeconds []float64, discard int) error {
	if discard < 0 {
		return fmt.Errorf("metrics: %d widest intervals to leave out; give 0 or more", discard)
	}
	for _, w := range halfWidthsSeconds {
		if math.IsNaN(w) || w < 0 {
			return fmt.Errorf("metrics: a half-width of %g s: %w", w, ErrNumber)
		}
	}
	r.scratch = append(r.scratch[:0], halfWidthsSeconds...)
	slices.Sort(r.scratch)
	kept := r.scratch[:max(0, len(r.scratch)-discard)]
	for _, w := range kept {
		r.all.Add(w)
	}
	if len(kept) > 0 {
		r.worst.note(kept[len(kept)-1], at, observer, -1)
	}
	return nil
}

// ReadingErrorResult is ε.
type ReadingErrorResult struct {
	// WorstSeconds is ε, and which observer had it when; its Samples are rounds of observers. It is unknown if an interval that counts
	// was unbounded.
	WorstSeconds Extreme      `json:"worst_s"`
	Seconds      Distribution `json:"half_width_s"`
}

// Result returns ε.
func (r *ReadingErrors) Result() ReadingErrorResult {
	return ReadingErrorResult{r.worst.extreme(), r.all.Distribution()}
}
