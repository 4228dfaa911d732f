package roundtrip

import "math"

const (
	edgeCells = 16
	// edgeSpan is how far below the smallest round trip the least one is looked for, in doubts of the order statistics.
	edgeSpan = 3.2
	// edgePoints is the number of points of the grid over the offset, edgePriorReach its half-width in standard deviations.
	edgePoints     = 16
	edgePriorReach = 4.0
	// edgeSettled is how many round trips it takes until the order statistics are outdone.
	edgeSettled = 64
	// edgeFloor is how much less probable than under the best hypothesis an exchange may be under another.
	edgeFloor = 1e-3
	// edgeShare is how far the hypotheses are followed: where the delays do not begin with a step they are all wrong.
	edgeShare = 0.5
	// edgeScale turns the standard deviation of the least round trip into the order statistics' doubt, which is a scale.
	edgeScale = 1.6
)

// edge knows the least round trip better than the order statistics of the round trips do: it holds hypotheses on it, and weighs them by
// how probable they make each exchange given what is known of the offset. Two quick packets in opposite directions say as much of the
// least round trip as one quick exchange, even if they are minutes apart; and there are many more of them.
type edge struct {
	top, step float64 // the hypotheses are top − step·(k + ½)
	log       [edgeCells]float64
	valid     bool
}

// place moves the hypotheses to where the order statistics have the least round trip.
func (g *edge) place(smallest, doubt float64) {
	step := edgeSpan * doubt / edgeCells
	if g.valid && math.Abs(smallest-g.top) < g.step/2 && step < 1.5*g.step && step > g.step/1.5 {
		return
	}
	old := *g
	g.top, g.step, g.valid = smallest, step, true
	if !old.valid {
		return
	}
	for k := range g.log {
		g.log[k] = old.at(g.value(k))
	}
}

// value is the least round trip of hypothesis k.
func (g *edge) value(k int) float64 { return g.top - g.step*(float64(k)+0.5) }

// at interpolates the log-evidence of a least round trip; beyond the hypotheses it goes on with their last slope, but never up.
func (g *edge) at(least float64) float64 {
	u := (g.top-least)/g.step - 0.5
	k := min(max(int(u), 0), edgeCells-2)
	slope := g.log[k+1] - g.log[k]
	switch u -= float64(k); {
	case u < 0:
		return g.log[k] + min(u*slope, 0)
	case u > 1:
		return g.log[k+1] + min((u-1)*slope, 0)
	}
	return g.log[k] + u*slope
}

// learn weighs the hypotheses by an exchange, given a Gaussian on the offset. forwardLeast and backwardLeast are the least delays as they
// are believed now; below the delay flat the density is taken to be flat.
func (g *edge) learn(d *delayDensity, offset, std, forward, backward, forwardLeast, backwardLeast, flat float64) {
	var evidence [edgeCells]float64
	most, least := 0.0, forwardLeast+backwardLeast
	for k := range evidence {
		shift := (g.value(k) - least) / 2
		late, early := forward-forwardLeast-shift, backward+backwardLeast+shift // the edges of the offset
		from, to := max(early, offset-edgePriorReach*std), min(late, offset+edgePriorReach*std)
		step := (to - from) / edgePoints
		if !(step > 0) {
			continue
		}
		x := from + step/2
		u, du := (x-offset)/std, step/std
		prior, ratio, second := math.Exp(-u*u/2), math.Exp(-u*du-du*du/2), math.Exp(-du*du)
		sum := 0.0
		for range edgePoints {
			sum += prior * d.at(max(late-x, flat)) * d.at(max(x-early, flat))
			prior *= ratio
			ratio *= second
			x += step
		}
		evidence[k] = sum * step
		most = max(most, evidence[k])
	}
	if !(most > 0) {
		return
	}
	for k := range evidence {
		g.log[k] = g.log[k]*(1-1.0/learnMemory) + math.Log(max(evidence[k]/most, edgeFloor))
	}
}

// estimate returns the mean of the least round trip and its standard deviation.
func (g *edge) estimate() (least, std float64) {
	most := math.Inf(-1)
	for _, l := range g.log {
		most = max(most, l)
	}
	var sum, s1, s2 float64
	for k, l := range g.log {
		w, x := math.Exp(l-most), float64(k)+0.5
		sum += w
		s1 += w * x
		s2 += w * x * x
	}
	s1 /= sum
	return g.top - g.step*s1, g.step * math.Sqrt(max(s2/sum-s1*s1, 0)+1.0/12)
}
