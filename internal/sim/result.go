package sim

import (
	"math"
	"strings"

	"github.com/clockd/clockd/virtualclock"
)

// Number is a figure that may be missing: not a number and the infinities are null in JSON.
type Number float64

// MarshalJSON writes a number, or null if there is none.
func (n Number) MarshalJSON() ([]byte, error) {
	if !finite(float64(n)) {
		return []byte("null"), nil
	}
	return appendFloat(nil, float64(n)), nil
}

// UnmarshalJSON reads a number or null.
func (n *Number) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*n = Number(math.NaN())
		return nil
	}
	x, err := parseNumber(strings.TrimSpace(string(b)))
	*n = Number(x)
	return err
}

// Result is what one client did in one run. All figures are in seconds, and all but BoundViolations, BoundChecks, Packets and the
// times to settle leave the first part of the run out.
type Result struct {
	Scenario        string `json:"scenario"`
	Seed            uint64 `json:"seed"`
	Client          string `json:"client"`
	AssumptionsHold bool   `json:"assumptions_hold"`
	Length          Number `json:"length_s"`

	// The true error: virtual clock − true time at the samples.
	RMSError    Number `json:"rms_error_s"`
	MedianError Number `json:"p50_error_s"`
	P99Error    Number `json:"p99_error_s"`
	MaxError    Number `json:"max_error_s"`
	// RMSFrequencyError is the RMS of (error at a sample − error at the sample before) / the time between them, both in one epoch.
	RMSFrequencyError Number `json:"rms_frequency_error"`

	// The claimed half-width at the samples where the status is sound, and what others would have claimed from the same
	// samples with the same drift bound: chrony's formula, and the root synchronisation distance of RFC 5905.
	RMSHalfWidth    Number `json:"rms_halfwidth_s"`
	MedianHalfWidth Number `json:"median_halfwidth_s"`
	ChronyHalfWidth Number `json:"chrony_median_halfwidth_s"`
	NTPHalfWidth    Number `json:"ntp_median_halfwidth_s"`
	// ChronyWrong is the part of the samples at which true time was outside of what chrony's formula would have claimed.
	ChronyWrong Number `json:"chrony_wrong_fraction"`
	// The best linear regression over 4 to 64 of the same samples: its RMS error and its window.
	RegressionRMS    Number `json:"regression_rms_error_s"`
	RegressionWindow int    `json:"regression_window"`

	BoundViolations uint64     `json:"bound_violations"`
	BoundChecks     uint64     `json:"bound_checks"`
	WorstViolation  Number     `json:"worst_violation_s"`
	FirstViolation  *Violation `json:"first_violation"`
	Jumps           uint64     `json:"jumps"`

	Packets uint64 `json:"packets"`
	Answers uint64 `json:"answers"`
	// After how long the true error, and the claimed half-width, stayed under 1 ms and under 100 µs; null: they do not.
	ErrorUnder1ms   Number `json:"error_under_1ms_after_s"`
	ErrorUnder100us Number `json:"error_under_100us_after_s"`
	BoundUnder1ms   Number `json:"bound_under_1ms_after_s"`
	BoundUnder100us Number `json:"bound_under_100us_after_s"`

	// SoundFraction is the part of the samples at which the status was synchronised or holdover.
	SoundFraction Number            `json:"sound_fraction"`
	Samples       uint64            `json:"samples"`
	Epoch         uint32            `json:"epoch"`
	Status        string            `json:"status"`
	Reason        string            `json:"reason"`
	Timeline      []Change          `json:"timeline"`
	Reasons       map[string]uint64 `json:"reasons"`
	// Events is how many events the whole world took.
	Events uint64 `json:"events"`
	// Vouched is what the claim would have been with a wander bound; nil where the scenario states none.
	Vouched *Vouched `json:"vouched"`
	// Group is what a group of peers did; nil for a client.
	Group *GroupResult `json:"group"`
}

// Run runs the scenario with one seed and returns one result for each client. progress, if not nil, is told now and then how far
// it is, from 0 to 1; if it returns an error the run ends with it.
func (s *Scenario) Run(seed uint64, progress func(part float64) error) ([]Result, error) {
	return s.RunWatched(seed, nil, progress)
}

// RunWatched is Run with an observer, nil for none, that is given the world before anything has happened in it, to set the world's
// and the checkers' hooks. It must not change the run.
func (s *Scenario) RunWatched(seed uint64, watch func(w *World), progress func(part float64) error) ([]Result, error) {
	w, err := s.Build(seed)
	if err != nil {
		return nil, err
	}
	if watch != nil {
		watch(w)
	}
	share := 1.0 // of the progress
	if s.vouches() {
		share = 0.5
	}
	if err := w.runTo(s.Length.Instant(), partOf(progress, 0, share)); err != nil {
		return nil, err
	}
	var results []Result
	digests := map[string]uint64{}
	for _, h := range w.hosts {
		if h.measured() {
			results = append(results, h.Result())
			digests[h.Name] = h.digest()
		}
	}
	for _, g := range w.groups {
		results = append(results, g.Result())
	}
	for i := range results {
		r := &results[i]
		if s.BoundsOnly {
			r.Timeline, r.Reasons = nil, nil
		}
		r.Scenario, r.Seed, r.AssumptionsHold, r.Length = s.Name, seed, s.AssumptionsHold, Number(s.Length)
	}
	if s.vouches() {
		return results, s.runVouched(seed, results, digests, partOf(progress, share, 1-share))
	}
	return results, nil
}

// runTo runs until instant end; progress, if not nil, is told a hundred times how far it is.
func (w *World) runTo(end Instant, progress func(part float64) error) error {
	const parts = 100
	for i := range Instant(parts) {
		// end/100 first: no overflow.
		at := end / parts * (i + 1)
		if i == parts-1 {
			at = end
		}
		if err := w.Run(at); err != nil {
			return err
		}
		if progress == nil {
			continue
		}
		if err := progress(float64(i+1) / parts); err != nil {
			return err
		}
	}
	return nil
}

// partOf is the progress of a part of something.
func partOf(progress func(part float64) error, begin, share float64) func(float64) error {
	if progress == nil {
		return nil
	}
	return func(part float64) error { return progress(begin + part*share) }
}

// measured reports whether the host is a client.
func (h *Host) measured() bool { return h.Node != nil && !h.serve }

// Result sums up what was measured of the host's clock so far.
func (h *Host) Result() Result {
	s, c := &h.Statistics, &h.Checker
	r := Result{
		Client: h.Name, RMSError: Number(rms(s.errors)), RMSHalfWidth: Number(rms(s.halfWidths)), RMSFrequencyError: Number(s.frequency.rms()),
		MedianError: Number(quantile(s.errors, 0.5)), P99Error: Number(quantile(s.errors, 0.99)), MaxError: Number(quantile(s.errors, 1)),
		MedianHalfWidth: Number(quantile(s.halfWidths, 0.5)), BoundViolations: c.Violations, BoundChecks: c.Checks,
		WorstViolation: Number(c.Worst), FirstViolation: c.First, Jumps: c.Jumps, Packets: h.Packets, Samples: s.Samples,
		SoundFraction: Number(float64(s.Sound) / float64(s.Samples)), Timeline: s.Timeline, Reasons: map[string]uint64{},
		Events: h.world.Events, Status: virtualclock.Unsynchronised.String(),
	}
	regression, window, chrony, ntp, wrong := h.reference()
	r.ChronyWrong = Number(wrong)
	r.RegressionRMS, r.RegressionWindow, r.ChronyHalfWidth, r.NTPHalfWidth = Number(regression), window, Number(chrony), Number(ntp)
	for i, to := range [][2]*Number{{&r.ErrorUnder1ms, &r.BoundUnder1ms}, {&r.ErrorUnder100us, &r.BoundUnder100us}} {
		e, bound, errorOK, boundOK := s.settledAfter(i)
		*to[0], *to[1] = Number(math.NaN()), Number(math.NaN())
		if errorOK {
			*to[0] = Number(e)
		}
		if boundOK {
			*to[1] = Number(bound)
		}
	}
	for _, l := range h.links {
		r.Answers += l.Answers
	}
	for k, n := range s.Reasons {
		r.Reasons[k.Topic+" "+k.Reason.String()] = n
	}
	if h.Published {
		k := &h.Publication.Clock
		r.Epoch, r.Status, r.Reason = uint32(k.Epoch), k.Interval(h.Reading(h.world.now)).Status.String(), h.Publication.Reason.String()
	}
	return r
}
