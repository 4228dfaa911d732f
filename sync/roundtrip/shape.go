package roundtrip

import "math"

const (
	shapeParts = 2
	// splitReach is within how many standard deviations of a part's mean an edge must be to cut into it; it is split then.
	splitReach = 2.5
	// largestSkew bounds the correction, in standard deviations: no posterior of two parts is trusted further.
	largestSkew = 0.5
)

// A normal distribution is nearly the sum of three narrower ones at −splitAt, 0 and splitAt, all in its standard deviations.
const (
	splitAt, splitStd = 1.0575, 0.70449 // so that the variance stays
	splitSide         = 0.2252          // the weight of an outer one
)

// shape knows how skew what is known of the offset is, which the bank's Gaussians do not: an edge cuts a piece off on one side, and for
// some minutes the truth is rather far on the other side than far on this one. It is a Gaussian sum of few parts (Alspach and Sorenson
// 1972) that moves as the bank's models do on the average.
//
// Its own mean is not better than the bank's, because it holds one oscillator to be the right one; only the skewness is used. The
// offset that makes the mean fourth power of the error least is about κ₃/(3σ²) from the mean (one step of Newton's method): rare
// large errors become smaller, and the common ones hardly larger.
type shape struct {
	part  [shapeParts]model // only offset, rate, drift, their covariances and the weight are used
	count int
	// point is how far from the mean the estimate is to be, share the weight of the bank's models that know of edges.
	point, share float64
}

// update takes an exchange that the bank has taken already.
func (s *shape) update(e *estimator, forward, backward, dt float64) {
	best, share := s.average(&e.bank)
	if s.point = 0; share < 0.5 {
		s.count = 0 // the models with normal noise have it, and no edges
		return
	}
	if s.count == 0 {
		s.restart(best)
		return
	}
	var next [3 * shapeParts]model
	n := 0
	low, high := backward+e.backwardLeast, forward-e.forwardLeast
	for i := range s.count {
		m := &s.part[i]
		m.predict(dt)
		reach := splitReach * math.Sqrt(m.p00)
		if low > m.offset-reach || high < m.offset+reach {
			n += m.split(next[n:])
		} else {
			next[n] = *m
			n++
		}
	}
	if !weigh(e, next[:n], forward, backward, dt) {
		s.restart(best)
		return
	}
	s.count = reduce(next[:n])
	copy(s.part[:], next[:s.count])
	s.share = share
	if mean, variance := s.aim(); square(mean-best.offset) > 9*(variance+best.p00) {
		s.restart(best) // it follows something else
	}
}

// aim computes the point, and returns the mean and the variance.
func (s *shape) aim() (mean, variance float64) {
	if s.count == 0 {
		return 0, 0
	}
	mean, variance, third := moments(s.part[:s.count])
	limit := largestSkew * math.Sqrt(variance)
	s.point = s.share * min(max(third/(6*variance), -limit), limit)
	return mean, variance
}

// average gives the parts the oscillator that the bank takes for the right one. It returns the most probable model of those that know
// of edges, and the weight of all those.
func (s *shape) average(bank *[models]model) (best *model, share float64) {
	var walk, drift float64
	best = &bank[0]
	for j := range bank {
		m := &bank[j]
		if m.normal {
			continue
		}
		share += m.weight
		walk += m.weight * math.Log(m.walk)
		drift += m.weight * m.driftWalk
		if m.weight > best.weight {
			best = m
		}
	}
	walk, drift = math.Exp(walk/share), drift/share
	for i := range s.part {
		s.part[i].walk, s.part[i].driftWalk = walk, drift
	}
	return best, share
}

// restart begins with what a model knows.
func (s *shape) restart(m *model) {
	s.part[0], s.count, s.point = *m, 1, 0
	s.part[0].weight = 1
}

// shift moves all offsets by −d seconds.
func (s *shape) shift(d float64) {
	for i := range s.count {
		s.part[i].offset -= d
	}
}

// split puts three narrower parts in the place of one and returns their number.
func (m *model) split(to []model) int {
	std := math.Sqrt(m.p00)
	for k := range 3 {
		to[k] = *m
		to[k].condition(m.offset+float64(k-1)*splitAt*std, m.p00*splitStd*splitStd)
		to[k].weight *= splitSide
	}
	to[1].weight = m.weight * (1 - 2*splitSide)
	return 3
}

// weigh conditions all parts on an exchange; their weights then sum to 1. False: it fits none.
func weigh(e *estimator, part []model, forward, backward, dt float64) bool {
	most, total := math.Inf(-1), 0.0
	for i := range part {
		part[i].log = math.Log(part[i].weight) + e.measure(&part[i], forward, backward, dt)
		most = max(most, part[i].log)
	}
	for i := range part {
		part[i].weight = math.Exp(part[i].log - most)
		total += part[i].weight
	}
	for i := range part {
		part[i].weight /= total
	}
	return total > 0 && !math.IsInf(total, 1)
}

// reduce merges parts (their log is their size then), always the two that lose least by it (Runnalls 2007), until there are no more than shapeParts, and returns how many
// there are.
func reduce(part []model) int {
	n := len(part)
	for i := range part {
		part[i].log = part[i].size()
	}
	for n > shapeParts {
		first, second, least := 0, 1, math.Inf(1)
		for i := range n {
			for j := range i {
				if x := loss(&part[j], &part[i]); x < least {
					first, second, least = j, i, x
				}
			}
		}
		part[first].merge(&part[second])
		part[first].log = part[first].size()
		n--
		part[second] = part[n]
	}
	return n
}

// size is the weight times the logarithm of the covariance's determinant, of offset and rate.
func (m *model) size() float64 {
	return m.weight * math.Log(max(m.p00*m.p11-m.p01*m.p01, 1e-60))
}

// loss bounds the information that is lost when two parts become one.
func loss(a, b *model) float64 {
	m := *a
	m.merge(b)
	return m.size() - a.log - b.log
}

// merge takes another part in; the moments up to the second stay.
func (m *model) merge(b *model) {
	weight := m.weight + b.weight
	if !(weight > 0) {
		return
	}
	u, v := m.weight/weight, b.weight/weight
	d0, d1, d2, w := m.offset-b.offset, m.rate-b.rate, m.drift-b.drift, u*v
	m.weight = weight
	m.offset -= v * d0
	m.rate -= v * d1
	m.drift -= v * d2
	m.p00 = u*m.p00 + v*b.p00 + w*d0*d0
	m.p01 = u*m.p01 + v*b.p01 + w*d0*d1
	m.p02 = u*m.p02 + v*b.p02 + w*d0*d2
	m.p11 = u*m.p11 + v*b.p11 + w*d1*d1
	m.p12 = u*m.p12 + v*b.p12 + w*d1*d2
	m.p22 = u*m.p22 + v*b.p22 + w*d2*d2
}

// moments returns the mean of the offset, its variance and its third central moment.
func moments(part []model) (mean, variance, third float64) {
	total := 0.0
	for i := range part {
		total += part[i].weight
		mean += part[i].weight * part[i].offset
	}
	mean /= total
	for i := range part {
		m := &part[i]
		d, w := m.offset-mean, m.weight/total
		variance += w * (m.p00 + d*d)
		third += w * (3*m.p00*d + d*d*d)
	}
	return mean, variance, third
}
