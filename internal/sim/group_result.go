package sim

import (
	"math"

	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/agreement"
	"github.com/clockd/clockd/virtualclock"
)

// GroupResult is what a group of peers did in one run: figures of its correct members, in seconds. What could not be measured, or is not
// promised, is null.
type GroupResult struct {
	Members   int      `json:"members"`
	Faults    int      `json:"faults"`
	Liars     []string `json:"liars"`
	Algorithm string   `json:"algorithm"`
	// Mode is internal or hybrid.
	Mode string `json:"mode"`

	// ReadingError is the a-posteriori ε: the largest half-width that a round really used of a correct member. The bounds are those of
	// theory 3.5 for it.
	ReadingError     Number `json:"reading_error_s"`
	Convergence      Number `json:"convergence_s"`
	ConvergenceBound Number `json:"convergence_bound_s"`
	Spread           Number `json:"spread_s"`
	SpreadBound      Number `json:"spread_bound_s"`
	Precision        Number `json:"precision_s"`
	PrecisionBound   Number `json:"precision_bound_s"`
	// PromisedPrecision is π_v as the configuration promises it beforehand.
	PromisedPrecision Number `json:"promised_precision_s"`
	RMSPairwise       Number `json:"rms_pairwise_error_s"`
	FarEdge           Number `json:"max_far_edge_s"`
	// Accuracy is the largest true error of a member's clock, of a hybrid group.
	Accuracy      Number `json:"accuracy_s"`
	AccuracyBound Number `json:"accuracy_bound_s"`
	// Exceeded names the figures that were above their bounds.
	Exceeded []string `json:"exceeded"`

	IntervalChecks uint64 `json:"interval_checks"`
	IntervalsApart uint64 `json:"intervals_apart"`
	UTCChecks      uint64 `json:"utc_checks"`
	UTCWrong       uint64 `json:"utc_wrong"`
	// Misordered counts the times at which the order of two events would have been told wrongly, Backwards clocks that went back.
	Misordered uint64 `json:"misordered"`
	Backwards  uint64 `json:"backwards"`

	Rounds  uint64 `json:"rounds"`
	Skipped uint64 `json:"skipped"`
	Steps   uint64 `json:"steps"`
	// InSync is when all correct members were synchronised, FormingRounds the most rounds of forming that one of them needed.
	InSync        Number    `json:"in_sync_after_s"`
	FormingRounds int       `json:"forming_rounds"`
	Rejoins       []*Rejoin `json:"rejoins"`
	// DetectedAt is when the first correct member said that there are too many liars, or asked for an impossible correction; Detectors is how
	// many did.
	DetectedAt     Number `json:"detected_at_s"`
	DetectedReason string `json:"detected_reason"`
	Detectors      int    `json:"detectors"`
	// What a host sends: requests and answers, and their UDP payloads.
	PacketRate Number `json:"packets_per_host_per_s"`
	ByteRate   Number `json:"bytes_per_host_per_s"`
}

// bounds are those of the group's model for the ε and the lateness that were seen.
func (g *Group) bounds() (agreement.Guarantee, error) {
	m := g.config.Model()
	if m.Algorithm == agreement.Egocentric {
		// The radius is fixed beforehand, for ε_max.
		promised, err := agreement.Bounds(m)
		if err != nil {
			return promised, err
		}
		m.Radius = promised.Spread*(1+4*(m.Drift+m.RateLimit+m.Drift*m.RateLimit)) + m.ReadingError
	}
	m.ReadingError, m.Lateness = g.judge.epsilon, max(g.judge.lateness, 0)
	return agreement.Bounds(m)
}

// known is x, or missing if nothing was measured or nothing is promised.
func known(x float64, ok bool) Number {
	if !ok || math.IsInf(x, 0) {
		return missing()
	}
	return Number(x)
}

// Result sums up what was measured of the group so far.
func (g *Group) Result() Result {
	j, w := &g.judge, g.world
	r := Result{
		Client: g.Name, RMSError: missing(), MedianError: missing(), P99Error: missing(), MaxError: missing(), RMSFrequencyError: missing(),
		RMSHalfWidth: missing(), MedianHalfWidth: missing(), ChronyHalfWidth: missing(), NTPHalfWidth: missing(), RegressionRMS: missing(),
		ErrorUnder1ms: missing(), ErrorUnder100us: missing(), BoundUnder1ms: missing(), BoundUnder100us: missing(),
		SoundFraction: Number(float64(j.sound) / float64(j.samples)), Samples: j.samples,
		BoundChecks: j.looks + j.utcChecks, BoundViolations: j.apart + j.utcWrong + j.misordered, WorstViolation: Number(j.worst), FirstViolation: j.first,
		Reasons: map[string]uint64{}, Timeline: []Change{}, Events: w.Events,
	}
	s := &GroupResult{
		Members: len(g.Members), Faults: g.config.Faults, Liars: []string{}, Algorithm: g.config.Algorithm.String(), Mode: "internal",
		Exceeded: []string{}, IntervalChecks: j.looks, IntervalsApart: j.apart, UTCChecks: j.utcChecks, UTCWrong: j.utcWrong,
		Misordered: j.misordered, Backwards: j.backwards, Rejoins: g.rejoins, Detectors: len(j.detectors), DetectedAt: missing(), InSync: missing(),
	}
	if s.Rejoins == nil {
		s.Rejoins = []*Rejoin{}
	}
	if g.hybrid {
		s.Mode = "hybrid"
	}
	if j.detectedAt != Never {
		s.DetectedAt, s.DetectedReason = Number(j.detectedAt.Seconds()), j.detectedWhy.String()
	}
	if j.inSync != Never {
		s.InSync = Number(j.inSync.Seconds())
	}
	status := virtualclock.Synchronised
	for _, m := range g.Members {
		g.count(m, s, &r, &status)
	}
	r.Status = status.String()
	g.figures(s)
	r.BoundViolations += uint64(len(s.Exceeded))
	seconds := w.now.Seconds() * float64(len(g.Members))
	s.PacketRate, s.ByteRate = s.PacketRate/Number(seconds), s.ByteRate/Number(seconds)
	r.Group = s
	return r
}

// count adds one member to the result; status becomes the worst of the correct ones'.
func (g *Group) count(m *Member, s *GroupResult, r *Result, status *virtualclock.Status) {
	h := m.Host
	r.Packets += h.Packets
	s.PacketRate += Number(h.Packets + m.Answers)
	s.ByteRate += Number(m.Bytes)
	for _, l := range h.links {
		r.Answers += l.Answers
	}
	if m.Liar != nil {
		s.Liars = append(s.Liars, m.LiarName)
		return
	}
	s.Rounds, s.Skipped, s.Steps = s.Rounds+m.rounds, s.Skipped+m.skipped, s.Steps+m.steps
	s.FormingRounds = max(s.FormingRounds, m.formed)
	c := &h.Checker
	r.BoundViolations += c.Violations
	r.BoundChecks += c.Checks
	r.Jumps += c.Jumps
	r.WorstViolation = max(r.WorstViolation, Number(c.Worst))
	if r.FirstViolation == nil {
		r.FirstViolation = c.First
	}
	for k, n := range h.Statistics.Reasons {
		r.Reasons[k.Topic+" "+k.Reason.String()] += n
	}
	now, why := virtualclock.Unsynchronised, reason.NeverSynchronised
	if h.Published && !h.down {
		now, why = h.Publication.Clock.Interval(h.Reading(g.world.now)).Status, h.Publication.Reason
	}
	if now < *status || r.Reason == "" {
		*status, r.Reason = min(now, *status), why.String()
	}
}

// figures fills in what was measured and its bounds.
func (g *Group) figures(s *GroupResult) {
	j := &g.judge
	measured := j.epsilon > 0
	s.ReadingError, s.Convergence, s.Spread, s.Precision = known(j.epsilon, measured), known(j.convergence, measured), known(j.spread, measured), known(j.precision, measured)
	s.RMSPairwise, s.FarEdge = Number(j.pairs.rms()), known(j.farEdge, j.farEdge > 0)
	s.ConvergenceBound, s.SpreadBound, s.PrecisionBound, s.Accuracy, s.AccuracyBound = missing(), missing(), missing(), missing(), missing()
	s.PromisedPrecision = missing()
	if promised, err := agreement.Bounds(g.config.Model()); err == nil {
		s.PromisedPrecision = known(promised.Precision, true)
	}
	if !measured {
		return
	}
	b, err := g.bounds()
	if err != nil {
		return
	}
	s.ConvergenceBound, s.SpreadBound, s.PrecisionBound = known(b.Convergence, true), known(b.Spread, true), known(b.Precision, true)
	if g.hybrid {
		s.Accuracy, s.AccuracyBound = Number(j.accuracy), known(b.Accuracy, true)
	}
	s.compare()
}

// compare names what is above its bound. The accuracy is not among it: it is promised for the steady state, with good masters.
func (s *GroupResult) compare() {
	for _, x := range []struct {
		name       string
		seen, most Number
	}{
		{"convergence", s.Convergence, s.ConvergenceBound}, {"spread", s.Spread, s.SpreadBound}, {"precision", s.Precision, s.PrecisionBound},
	} {
		if x.seen > x.most {
			s.Exceeded = append(s.Exceeded, x.name)
		}
	}
}
