package agreement

import "github.com/clockd/clockd/virtualclock"

// EdgeRates returns the least and the greatest rate, per second of the raw timeline and less one, at which the edges of Interval
// move from raw time h until the next call of Round, so that one who has Interval at h can bound it at later ones: Interval's lower edge
// there is not below the lower edge here advanced at slow, its upper edge not above the upper one advanced at fast, as long as it is
// not after LastUse. The displayed clock is one of the edges while it is out of the spans.
func (g *Group) EdgeRates(h virtualclock.Time) (slow, fast float64) {
	slow, fast = g.state.Current.Rate, g.state.Current.Rate
	if g.residual != 0 {
		change := -g.residual / g.config.Slew
		slow, fast = min(slow, slow+change), max(fast, fast+change)
	}
	for _, s := range [...]*span{&g.spans[0], &g.spans[1], &g.hold} {
		// What was promised beforehand, which spreads much faster, has no part in the interval as long as rounds are made in time.
		if s.ok && (s != &g.hold || !g.fresh() || g.late(h)) {
			slow, fast = min(slow, s.slow), max(fast, s.fast)
		}
	}
	const slack = 1e-12 // roundings, which relative adds to the edges
	return slow - slack, fast + slack
}

// LastUse is until which raw time what Interval says now may be advanced: from then on the round that is due is late, and the others
// may be a round ahead. limited is false where that no longer matters.
func (g *Group) LastUse() (at virtualclock.Time, limited bool) {
	if !g.fresh() {
		return virtualclock.MaxTime(), false
	}
	return g.due.AddSeconds(g.config.Lateness), true
}
