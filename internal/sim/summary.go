package sim

import "math"

// Summary is a scenario over all seeds and clients: medians of the figures (of ChronyWrong the mean), sums of the counts, the largest
// of the worst.
type Summary struct {
	Scenario        string `json:"scenario"`
	Summary         string `json:"summary"`
	AssumptionsHold bool   `json:"assumptions_hold"`
	Runs            int    `json:"runs"`

	RMSError          Number `json:"rms_error_s"`
	MedianError       Number `json:"p50_error_s"`
	P99Error          Number `json:"p99_error_s"`
	MaxError          Number `json:"max_error_s"`
	RMSFrequencyError Number `json:"rms_frequency_error"`
	RMSHalfWidth      Number `json:"rms_halfwidth_s"`
	MedianHalfWidth   Number `json:"median_halfwidth_s"`
	ChronyHalfWidth   Number `json:"chrony_median_halfwidth_s"`
	NTPHalfWidth      Number `json:"ntp_median_halfwidth_s"`
	ChronyWrong       Number `json:"chrony_wrong_fraction"`
	RegressionRMS     Number `json:"regression_rms_error_s"`
	Packets           Number `json:"packets"`
	SoundFraction     Number `json:"sound_fraction"`
	ErrorUnder1ms     Number `json:"error_under_1ms_after_s"`
	ErrorUnder100us   Number `json:"error_under_100us_after_s"`
	BoundUnder1ms     Number `json:"bound_under_1ms_after_s"`
	BoundUnder100us   Number `json:"bound_under_100us_after_s"`

	BoundViolations uint64 `json:"bound_violations"`
	BoundChecks     uint64 `json:"bound_checks"`
	Jumps           uint64 `json:"jumps"`
	// ViolatedRuns counts the runs with at least one violation, WorstViolation is how far the truth was outside at the most.
	ViolatedRuns   int    `json:"violated_runs"`
	WorstViolation Number `json:"worst_violation_s"`
	Events         uint64 `json:"events"`

	// Published are the peers' figures, and the ratios of ours to them; null where nobody has published any.
	Published *Published `json:"published"`
	Ratios    Ratios     `json:"ratios"`
	// Vouched sums up the second runs with a wander bound; nil where the scenario states none.
	Vouched *VouchedSummary `json:"vouched"`
	// Group sums up groups of peers; nil where clients were measured.
	Group *GroupSummary `json:"group"`
}

// Ratios are our figures divided by others'.
type Ratios struct {
	RMSToChrony       Number `json:"rms_to_chrony"`
	RMSToTuned        Number `json:"rms_to_tuned"`
	RMSToOracle       Number `json:"rms_to_oracle"`
	P99ToChrony       Number `json:"p99_to_chrony"`
	RMSToRegression   Number `json:"rms_to_regression"`
	HalfWidthToChrony Number `json:"halfwidth_to_chrony"`
	HalfWidthToNTP    Number `json:"halfwidth_to_ntp"`
}

// Summarise sums up the results of one scenario.
func (s *Scenario) Summarise(results []Result) Summary {
	sum := Summary{
		Scenario: s.Name, Summary: s.Summary, AssumptionsHold: s.AssumptionsHold, Runs: len(results), Published: s.Published,
		WorstViolation: 0,
	}
	middle := func(get func(*Result) Number) Number {
		var x []float64
		for i := range results {
			v := float64(get(&results[i]))
			if v != v {
				v = math.Inf(1) // what did not happen came later than anything
			}
			x = append(x, v)
		}
		return Number(median(x))
	}
	sum.RMSError = middle(func(r *Result) Number { return r.RMSError })
	sum.MedianError = middle(func(r *Result) Number { return r.MedianError })
	sum.P99Error = middle(func(r *Result) Number { return r.P99Error })
	sum.MaxError = middle(func(r *Result) Number { return r.MaxError })
	sum.RMSFrequencyError = middle(func(r *Result) Number { return r.RMSFrequencyError })
	sum.RMSHalfWidth = middle(func(r *Result) Number { return r.RMSHalfWidth })
	sum.MedianHalfWidth = middle(func(r *Result) Number { return r.MedianHalfWidth })
	sum.ChronyHalfWidth = middle(func(r *Result) Number { return r.ChronyHalfWidth })
	sum.NTPHalfWidth = middle(func(r *Result) Number { return r.NTPHalfWidth })
	sum.ChronyWrong = mean(results, func(r *Result) Number { return r.ChronyWrong })
	sum.RegressionRMS = middle(func(r *Result) Number { return r.RegressionRMS })
	sum.Packets = middle(func(r *Result) Number { return Number(r.Packets) })
	sum.SoundFraction = middle(func(r *Result) Number { return r.SoundFraction })
	sum.ErrorUnder1ms = middle(func(r *Result) Number { return r.ErrorUnder1ms })
	sum.ErrorUnder100us = middle(func(r *Result) Number { return r.ErrorUnder100us })
	sum.BoundUnder1ms = middle(func(r *Result) Number { return r.BoundUnder1ms })
	sum.BoundUnder100us = middle(func(r *Result) Number { return r.BoundUnder100us })
	for i := range results {
		r := &results[i]
		sum.BoundViolations += r.BoundViolations
		sum.BoundChecks += r.BoundChecks
		sum.Jumps += r.Jumps
		if r.BoundViolations > 0 {
			sum.ViolatedRuns++
		}
		sum.WorstViolation = max(sum.WorstViolation, r.WorstViolation)
		sum.Events += r.Events
	}
	sum.Vouched = summariseVouched(results, sum.MedianHalfWidth, sum.ChronyHalfWidth)
	sum.Group = summariseGroups(results)
	sum.Ratios = Ratios{
		RMSToChrony: Number(math.NaN()), RMSToTuned: Number(math.NaN()), RMSToOracle: Number(math.NaN()), P99ToChrony: Number(math.NaN()),
		RMSToRegression: sum.RMSError / sum.RegressionRMS, HalfWidthToChrony: sum.MedianHalfWidth / sum.ChronyHalfWidth,
		HalfWidthToNTP: sum.MedianHalfWidth / sum.NTPHalfWidth,
	}
	if p := s.Published; p != nil {
		sum.Ratios.RMSToChrony = sum.RMSError / Number(p.ChronyRMS)
		sum.Ratios.RMSToTuned = sum.RMSError / Number(p.TunedRMS)
		sum.Ratios.RMSToOracle = sum.RMSError / Number(p.OracleRMS)
		sum.Ratios.P99ToChrony = sum.P99Error / Number(p.ChronyP99)
	}
	return sum
}

// mean is that over the results which have the figure.
func mean(results []Result, get func(*Result) Number) Number {
	sum, n := 0.0, 0
	for i := range results {
		if v := float64(get(&results[i])); v == v {
			sum += v
			n++
		}
	}
	return Number(sum / float64(n))
}

// median is the mean of the two middle values.
func median(x []float64) float64 {
	if len(x) == 0 {
		return math.NaN()
	}
	low, high := quantile(x, 0.5), x[len(x)/2]
	if low == high {
		return low
	}
	return (low + high) / 2
}
