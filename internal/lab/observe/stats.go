package observe

import (
	"github.com/clockd/clockd/metrics"
)

const (
	// serverOverlap and pairOverlap are how densely the stability of servers and of pairs, of which there are many, is taken.
	serverOverlap = 256
	pairOverlap   = 64
	// longestMiss is the longest gap, in rounds, over which a series of phases goes on.
	longestMiss = 1 << 16
)

// Stability is the stability of a series of phases at one value each poll: of the longest stretch without a break.
type Stability struct {
	Poll    float64 `json:"tau0_s"`
	Samples uint64  `json:"samples"`
	Missing uint64  `json:"missing"`
	// Breaks counts the stretches that were left out, since a new segment or a new address has a phase of its own.
	Breaks int64            `json:"breaks"`
	Points []StabilityPoint `json:"points"`
}

// StabilityPoint is the stability at one observation interval; null where there are not enough values.
type StabilityPoint struct {
	Tau  float64  `json:"tau_s"`
	ADEV *float64 `json:"adev"`
	MDEV *float64 `json:"mdev"`
	TDEV *float64 `json:"tdev_s"`
	MTIE *float64 `json:"mtie_s"`
	// How many terms each comes from.
	ADEVTerms   uint64 `json:"adev_terms"`
	MDEVTerms   uint64 `json:"mdev_terms"`
	MTIEWindows uint64 `json:"mtie_windows"`
}

// phases is a series with one value each round.
type phases struct {
	poll    float64
	overlap int
	now     *metrics.Stability
	// last is the round of the last value.
	last   int64
	best   metrics.StabilityResult
	breaks int64
}

// cut says that what comes has nothing to do with what was.
func (p *phases) cut() {
	if p.now == nil {
		return
	}
	if r := p.now.Result(); r.Samples > p.best.Samples {
		p.best = r
	}
	p.now = nil
	p.breaks++
}

// put takes the value of a round; the rounds since the last one are missing.
func (p *phases) put(round int64, x float64) {
	if p.now != nil && round-p.last > longestMiss {
		p.cut()
	}
	if p.now == nil {
		s, err := metrics.NewStability(p.poll, p.overlap)
		if err != nil {
			return // the poll was checked: this does not happen
		}
		p.now, p.last = s, round-1
	}
	if round <= p.last {
		return
	}
	p.now.Miss(int(round - p.last - 1))
	p.now.Add(x)
	p.last = round
}

func (p *phases) report() *Stability {
	r := p.best
	if p.now != nil {
		if now := p.now.Result(); now.Samples > r.Samples {
			r = now
		}
	}
	if r.Samples == 0 {
		return nil
	}
	s := &Stability{Poll: p.poll, Samples: r.Samples, Missing: r.Missing, Breaks: p.breaks, Points: []StabilityPoint{}}
	for _, x := range r.Points {
		s.Points = append(s.Points, StabilityPoint{
			Tau: x.TauSeconds, ADEV: figure(x.ADEV), MDEV: figure(x.MDEV), TDEV: figure(x.TDEVSeconds), MTIE: figure(x.MTIESeconds),
			ADEVTerms: x.ADEV.Samples, MDEVTerms: x.MDEV.Samples, MTIEWindows: x.MTIESeconds.Samples,
		})
	}
	return s
}

// figure is nil for a figure that is not known.
func figure(f metrics.Figure) *float64 {
	if !f.Known {
		return nil
	}
	return &f.Value
}

// spread sums a distribution up.
func spread(q *metrics.Quantiles) Spread {
	return Spread{Count: q.Count(), Min: figure(q.Min()), Median: figure(q.Quantile(0.5)), P99: figure(q.Quantile(0.99)), Max: figure(q.Max())}
}

// serverStats are the figures of one server over time.
type serverStats struct {
	delay, halfWidth, system metrics.Quantiles
	phases                   phases
}

func (s *serverStats) cut() { s.phases.cut() }

func (s *serverStats) add(round int64, m *Measured) {
	s.delay.Add(m.Delay)
	s.halfWidth.Add(m.halfWidth())
	s.system.Add(m.System)
	s.phases.put(round, m.Offset)
}

func (s *serverStats) report(r *ServerReport, stability bool) {
	r.Delay, r.Error, r.SystemOffset = spread(&s.delay), spread(&s.halfWidth), spread(&s.system)
	if stability {
		r.Stability = s.phases.report()
	}
}

// pairStats are the figures of the difference of two servers over time.
type pairStats struct {
	difference metrics.Quantiles
	phases     phases
}

func newPairStats(poll float64) pairStats {
	return pairStats{phases: phases{poll: poll, overlap: pairOverlap}}
}

func (s *pairStats) cut() { s.phases.cut() }

func (s *pairStats) add(round int64, difference float64) {
	s.difference.Add(difference)
	s.phases.put(round, difference)
}

func (s *pairStats) report(r *PairReport, stability bool) {
	r.Difference = spread(&s.difference)
	if stability {
		r.Stability = s.phases.report()
	}
}
