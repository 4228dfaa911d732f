package sim

import (
	"fmt"
	"math"

	"github.com/clockd/clockd/sync/roundtrip"
)

// Vouched is what the node would have claimed if its user had vouched for a wander bound that the oscillator really keeps: of a second run
// with the same seed whose node differs in that one assumption. The clock that the other figures are of does not know of it.
type Vouched struct {
	// WanderBound is the assumption: within any hour the relative frequency changes by no more. LargestWander is by how much it really
	// changed at the most.
	WanderBound   Number `json:"wander_bound"`
	LargestWander Number `json:"largest_wander"`

	MedianHalfWidth Number `json:"median_halfwidth_s"`
	RMSHalfWidth    Number `json:"rms_halfwidth_s"`
	SoundFraction   Number `json:"sound_fraction"`

	BoundViolations uint64     `json:"bound_violations"`
	BoundChecks     uint64     `json:"bound_checks"`
	WorstViolation  Number     `json:"worst_violation_s"`
	FirstViolation  *Violation `json:"first_violation"`
	// SameExchanges: every exchange had the same four stamps in both runs.
	SameExchanges bool `json:"same_exchanges"`
}

// Kept reports whether the oscillator kept what was vouched for.
func (v *Vouched) Kept() bool { return v.LargestWander <= v.WanderBound }

// vouches reports whether there is to be a second run.
func (s *Scenario) vouches() bool { return s.Client.VouchedWanderPPM > 0 && !s.BoundsOnly }

// checkVouched refuses a second run that could not be held beside the first one.
func (s *Scenario) checkVouched() error {
	x := s.Client.VouchedWanderPPM
	switch {
	case !(x >= 0 && x <= 1e4):
		return fmt.Errorf("client.vouched_wander_ppm is %g, must be from 0 to 10000", x)
	case x > 0 && s.Client.WanderBoundPPM != 0:
		return fmt.Errorf("client.vouched_wander_ppm compares with a client that assumes no wander bound: leave wander_bound_ppm out")
	case x > 0 && s.Group != nil:
		return fmt.Errorf("client.vouched_wander_ppm is for clients, and a group has none")
	}
	return nil
}

// runVouched runs the scenario once more with the wander bound, and adds to each client's result what came of it.
func (s *Scenario) runVouched(seed uint64, results []Result, digests map[string]uint64, progress func(part float64) error) error {
	second := *s
	second.BoundsOnly = true
	second.Client.WanderBoundPPM, second.Client.VouchedWanderPPM = s.Client.VouchedWanderPPM, 0
	w, err := second.Build(seed)
	if err != nil {
		return err
	}
	wanders := map[string]*wanderRange{}
	w.Sampled = func() {
		for _, h := range w.hosts {
			if !h.measured() {
				continue
			}
			if wanders[h.Name] == nil {
				wanders[h.Name] = &wanderRange{}
			}
			wanders[h.Name].add(w.now, h.Hertz(w.now)/h.hertz-1)
		}
	}
	if err := w.runTo(s.Length.Instant(), progress); err != nil {
		return err
	}
	for i := range results {
		h := w.Host(results[i].Client)
		if h == nil || wanders[h.Name] == nil {
			continue
		}
		r := h.Result()
		results[i].Vouched = &Vouched{
			WanderBound: Number(s.Client.VouchedWanderPPM * 1e-6), LargestWander: Number(wanders[h.Name].largest),
			MedianHalfWidth: r.MedianHalfWidth, RMSHalfWidth: r.RMSHalfWidth, SoundFraction: r.SoundFraction, BoundViolations: r.BoundViolations,
			BoundChecks: r.BoundChecks, WorstViolation: r.WorstViolation, FirstViolation: r.FirstViolation, SameExchanges: h.digest() == digests[h.Name],
		}
	}
	return nil
}

// digest is of all stamps of all exchanges of the host's links.
func (h *Host) digest() uint64 {
	sum := uint64(0)
	for _, l := range h.links {
		sum = fold(sum, l.digest)
	}
	return sum
}

// fold is a step of FNV-1a over words.
func fold(sum, x uint64) uint64 { return (sum ^ x) * 0x100000001b3 }

// wanderRange follows by how much a frequency changes within any hour: the least and the greatest of the last hour are the first of two
// queues that are kept in order.
type wanderRange struct {
	low, high []frequencyAt
	largest   float64
}

type frequencyAt struct {
	at Instant
	y  float64
}

func (r *wanderRange) add(now Instant, y float64) {
	const hour = roundtrip.WanderPeriod * Second
	keep := func(q []frequencyAt, sign float64) []frequencyAt {
		for len(q) > 0 && sign*q[len(q)-1].y <= sign*y {
			q = q[:len(q)-1]
		}
		q = append(q, frequencyAt{now, y})
		for q[0].at < now-hour {
			q = q[1:]
		}
		return q
	}
	r.low, r.high = keep(r.low, -1), keep(r.high, 1)
	r.largest = max(r.largest, r.high[0].y-r.low[0].y)
}

// VouchedSummary is Vouched over all seeds and clients: medians, sums and the largest.
type VouchedSummary struct {
	WanderBound       Number `json:"wander_bound"`
	LargestWander     Number `json:"largest_wander"`
	MedianHalfWidth   Number `json:"median_halfwidth_s"`
	RMSHalfWidth      Number `json:"rms_halfwidth_s"`
	SoundFraction     Number `json:"sound_fraction"`
	HalfWidthToOwn    Number `json:"halfwidth_to_own"`
	HalfWidthToChrony Number `json:"halfwidth_to_chrony"`
	BoundViolations   uint64 `json:"bound_violations"`
	BoundChecks       uint64 `json:"bound_checks"`
	WorstViolation    Number `json:"worst_violation_s"`
	// Kept: the oscillators of all runs kept the bound. OtherExchanges counts the runs whose exchanges were not the same in both.
	Kept           bool `json:"kept"`
	OtherExchanges int  `json:"other_exchanges"`
}

// summariseVouched sums up; nil where nothing is vouched for. own and chrony are the medians without it.
func summariseVouched(results []Result, own, chrony Number) *VouchedSummary {
	var medians, squares, sound []float64
	s := &VouchedSummary{Kept: true}
	for i := range results {
		v := results[i].Vouched
		if v == nil {
			continue
		}
		medians, squares, sound = append(medians, float64(v.MedianHalfWidth)), append(squares, float64(v.RMSHalfWidth)), append(sound, float64(v.SoundFraction))
		s.WanderBound, s.LargestWander = v.WanderBound, max(s.LargestWander, v.LargestWander)
		s.BoundViolations += v.BoundViolations
		s.BoundChecks += v.BoundChecks
		s.WorstViolation = max(s.WorstViolation, v.WorstViolation)
		s.Kept = s.Kept && v.Kept()
		if !v.SameExchanges {
			s.OtherExchanges++
		}
	}
	if medians == nil {
		return nil
	}
	s.MedianHalfWidth, s.RMSHalfWidth, s.SoundFraction = Number(medianOrNone(medians)), Number(medianOrNone(squares)), Number(medianOrNone(sound))
	s.HalfWidthToOwn, s.HalfWidthToChrony = s.MedianHalfWidth/own, s.MedianHalfWidth/chrony
	return s
}

// medianOrNone takes what is missing for greater than anything.
func medianOrNone(x []float64) float64 {
	for i, v := range x {
		if v != v {
			x[i] = math.Inf(1)
		}
	}
	return median(x)
}
