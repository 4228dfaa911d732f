package sim

import (
	"math"
	"slices"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/ntp"
)

// exchange is what the simulation remembers of a round trip: the client's stamps as its node sees them.
type exchange struct{ depart, arrive hw.Stamp }

// regressionWindows are the numbers of samples that the reference estimator tries; the best of them for a scenario is what a
// well-tuned linear regression gives.
var regressionWindows = [...]int{4, 8, 16, 32, 64}

// chronyWindow is the index of the window that stands for chrony's in its formula.
const chronyWindow = 3

// filterStages is the length of RFC 5905's clock filter.
const filterStages = 8

// comparison follows the samples of one link with other people's formulas, so that they can be reported beside the node's figures.
type comparison struct {
	samples []reading // the last 64, oldest first
	number  uint64    // of the newest one
	order   []ranked  // the same in the order of their delays
	lines   [len(regressionWindows)]line

	rms    [len(regressionWindows)]sumOfSquares
	chrony []float64
	// claims counts how often chrony's formula was held against the truth, wrong how often the truth was outside of it.
	claims, wrong uint64
	ntp           []float64
	// bestDelay is delay/2 + dispersion of chrony's best sample, at its age; ntp's figures are those of the clock filter.
	chronyBase, chronySlope float64
	ntpBase, ntpSlope       float64
	at                      float64
	last                    pending
}

// pending is the newest exchange: the next answer may tell when its own really left. added: it counts as a sample already.
type pending struct {
	t1, t2, t4 float64
	added      bool
}

// reading is one sample: seconds of the client's counter, offset of the server from it, round-trip delay and the server's claims.
type reading struct{ x, offset, delay, root float64 }

// line is an offset as a function of the counter's seconds, with the uncertainties of a regression.
type line struct {
	x0, offset, rate   float64
	offsetStd, rateStd float64
}

// forget drops all samples, as after a disruption of the counter.
func (c *comparison) forget() {
	c.samples, c.order, c.last = c.samples[:0], c.order[:0], pending{}
}

// add takes a sample, in the place of the newest one if that is only known better now.
func (c *comparison) add(r reading, again bool) {
	n := len(c.samples)
	if again && n > 0 {
		c.samples[n-1] = r
		return
	}
	if n == regressionWindows[len(regressionWindows)-1] {
		copy(c.samples, c.samples[1:])
		c.samples = c.samples[:n-1]
	}
	c.samples = append(c.samples, r)
	c.number++
}

func sampleOf(t1, t2, t3, t4, root float64) reading {
	return reading{x: (t1 + t4) / 2, offset: ((t2 - t1) + (t3 - t4)) / 2, delay: max((t4-t1)-(t3-t2), 0), root: root}
}

// seconds is a counter reading in nominal seconds since the beginning.
func (h *Host) seconds(c hw.Ticks) float64 {
	return float64(c.Sub(h.startReading)) / h.hertz
}

// take is given a genuine answer.
func (c *comparison) take(h *Host, m *message) {
	var p ntp.Packet
	if p.Decode(m.data) != 0 || p.Stratum == 0 || p.Leap == ntp.LeapUnsynchronised || p.Stratum > ntp.MaxStratum {
		return
	}
	t2, t3 := h.sinceEpoch(p.Receive), h.sinceEpoch(p.Transmit)
	root := p.RootDelay.Seconds()/2 + p.RootDispersion.Seconds() + math.Ldexp(1, int(p.Precision))
	x := pending{t1: h.seconds(m.exchange.depart.At), t2: t2, t4: h.seconds(m.exchange.arrive.At)}
	if t2-t3 > 2*math.Ldexp(1, int(p.Precision)) {
		// Interleaved: the transmit timestamp is when the answer before really left.
		if last := &c.last; last.t4 != 0 && last.t2 <= t3 {
			c.add(sampleOf(last.t1, last.t2, t3, last.t4, root), last.added)
			c.at = last.t4
		}
	} else {
		c.add(sampleOf(x.t1, t2, max(t3, t2), x.t4, root), false)
		c.at, x.added = x.t4, true
	}
	c.last = x
	held := len(c.samples)
	if held == 0 {
		return
	}
	c.rank(c.samples[held-1].delay, c.number, c.number+1-uint64(held))
	for i, n := range regressionWindows {
		n = min(n, held)
		shortest, typical := c.delays(n)
		c.lines[i] = regress(c.samples[held-n:], shortest, typical)
	}
	c.chronyFigures(h.drift())
	c.ntpFigures(h.drift())
}

// sinceEpoch converts a server's timestamp to seconds since instant 0.
func (h *Host) sinceEpoch(t ntp.Timestamp) float64 {
	e := h.world.Epoch
	ns, frac := t.Unix(e.UnixNano() + int64(h.world.now/1000))
	return float64(ns-e.UnixNano())*1e-9 + (float64(frac)-float64(e.Fraction()))*0x1p-32*1e-9
}

// drift is ρ as the node uses it.
func (h *Host) drift() float64 { return h.driftBound }

// regress fits a line by least squares. As in chrony the weight of a sample falls with how much longer than the shortest its
// round trip was; the unit is half the median of that, which is about the residuals' standard deviation and which no outlier moves.
func regress(s []reading, shortest, typical float64) line {
	l := line{x0: s[len(s)-1].x}
	if len(s) < 3 {
		l.offset = s[len(s)-1].offset
		l.offsetStd = s[len(s)-1].delay / 2
		return l
	}
	l.fit(s, shortest, (typical-shortest)/2)
	return l
}

// ranked is a sample's delay with its number.
type ranked struct {
	delay  float64
	number uint64
}

// rank keeps the remembered samples in the order of their delays; remembered samples are those from number oldest on.
func (c *comparison) rank(delay float64, number, oldest uint64) {
	c.order = slices.DeleteFunc(c.order, func(r ranked) bool { return r.number < oldest || r.number == number })
	c.order = append(c.order, ranked{delay, number})
	for i := len(c.order) - 1; i > 0 && c.order[i].delay < c.order[i-1].delay; i-- {
		c.order[i], c.order[i-1] = c.order[i-1], c.order[i]
	}
}

// delays returns the shortest delay of the last n samples and the one in the middle (of two, the greater).
func (c *comparison) delays(n int) (shortest, middle float64) {
	first := c.number + 1 - uint64(n)
	seen := 0
	for i := range c.order {
		if c.order[i].number < first {
			continue
		}
		if seen == 0 {
			shortest = c.order[i].delay
		}
		if seen++; seen == n/2+1 {
			return shortest, c.order[i].delay
		}
	}
	return shortest, shortest
}

// distanceRatio is chrony's ratio of the standard deviation to the distance (SD_TO_DIST_RATIO).
const distanceRatio = 0.7

func (l *line) fit(s []reading, shortest, unit float64) {
	var sw, sx, sy, sxx, sxy float64
	weight := func(r *reading) float64 {
		if unit <= 0 {
			return 1
		}
		d := 1 + distanceRatio*(r.delay-shortest)/unit
		return 1 / (d * d)
	}
	for i := range s {
		w, x := weight(&s[i]), s[i].x-l.x0
		sw, sx, sy = sw+w, sx+w*x, sy+w*s[i].offset
	}
	mx, my := sx/sw, sy/sw
	for i := range s {
		w, x := weight(&s[i]), s[i].x-l.x0-mx
		sxx, sxy = sxx+w*x*x, sxy+w*x*(s[i].offset-my)
	}
	rate := 0.0
	if sxx > 0 {
		rate = sxy / sxx
	}
	ss := 0.0
	for i := range s {
		d := s[i].offset - my - rate*(s[i].x-l.x0-mx)
		ss += weight(&s[i]) * d * d
	}
	variance := ss / sw * float64(len(s)) / float64(max(len(s)-2, 1))
	l.rate, l.offset = rate, my-rate*mx
	l.offsetStd = math.Sqrt(variance/sw + variance*mx*mx/max(sxx, 1e-300))
	l.rateStd = math.Sqrt(variance / max(sxx, 1e-300))
}

// at returns the line's offset at counter second x.
func (l *line) at(x float64) float64 { return l.offset + l.rate*(x-l.x0) }

// chronyFigures computes the root distance as chronyd does (sourcestats.c, SST_GetTrackingData; reference.c,
// get_root_dispersion): the sample with the least root distance among those of the regression, aged by the regression's skew (the
// half-width of the rate's 95 % interval), plus the offset's standard deviation; from the last update on it grows by skew +
// maxclockerror, for which the node's drift bound is put.
func (c *comparison) chronyFigures(drift float64) {
	l := &c.lines[chronyWindow]
	skew := min(2*l.rateStd, drift)
	if len(c.samples) < 3 {
		skew = drift
	}
	best := math.Inf(1)
	for i := range c.samples {
		r := &c.samples[i]
		best = min(best, r.delay/2+r.root+skew*(c.at-r.x))
	}
	c.chronyBase, c.chronySlope = best+l.offsetStd, skew+drift
}

// ntpFigures computes the root synchronisation distance of RFC 5905 (sections 10 and 11.2): half the delay of the sample with the
// shortest round trip of the last eight, the filter's dispersion Σ ε_i/2^(i+1) in order of the delay, every ε_i grown with its
// age, the jitter, and the server's own root distance. The drift bound stands for PHI.
func (c *comparison) ntpFigures(drift float64) {
	last := c.samples[max(0, len(c.samples)-filterStages):]
	var order [filterStages]reading
	n := copy(order[:], last)
	slices.SortStableFunc(order[:n], func(a, b reading) int {
		switch {
		case a.delay < b.delay:
			return -1
		case a.delay > b.delay:
			return 1
		}
		return 0
	})
	best := &order[0]
	dispersion, weights, jitter := 0.0, 0.0, 0.0
	for i := range n {
		w := math.Ldexp(1, -i-1)
		dispersion += w * drift * (c.at - order[i].x)
		weights += w
		// NTP's offsets are those from a clock whose frequency is corrected already.
		d := order[i].offset - best.offset - c.lines[3].rate*(order[i].x-best.x)
		jitter += d * d
	}
	jitter = math.Sqrt(jitter / float64(max(n-1, 1)))
	c.ntpBase, c.ntpSlope = best.delay/2+best.root+dispersion+jitter+drift*(c.at-best.x), drift*(1+weights)
}

// compare takes the present errors of the reference estimators of all links.
func (h *Host) compare() {
	w := h.world
	x := h.seconds(h.Reading(w.now))
	truth := w.now.Seconds()
	left, _ := h.Publication.Clock.Slewing(h.Reading(w.now))
	for _, l := range h.links {
		c := &l.comparison
		if len(c.samples) == 0 {
			continue
		}
		for i := range c.lines {
			c.rms[i].add(c.lines[i].at(x) + x - truth)
		}
		age := max(x-c.at, 0)
		// chrony's clock is where its regression puts it.
		c.claims++
		if math.Abs(c.lines[chronyWindow].at(x)+x-truth) > c.chronyBase+c.chronySlope*age {
			c.wrong++
		}
		c.chrony = append(c.chrony, math.Abs(left)+c.chronyBase+c.chronySlope*age)
		c.ntp = append(c.ntp, math.Abs(left)+c.ntpBase+c.ntpSlope*age)
	}
}

// reference returns the figures of the link and the window whose regression was best: its RMS error, the window, the medians
// of chrony's and of RFC 5905's bounds, and the part of chrony's claims that did not hold. Not a number if there is nothing to
// compare with.
func (h *Host) reference() (rms float64, window int, chrony, ntp, wrong float64) {
	rms, chrony, ntp, wrong = math.NaN(), math.NaN(), math.NaN(), math.NaN()
	for _, l := range h.links {
		c := &l.comparison
		for i := range c.rms {
			if r := c.rms[i].rms(); r < rms || rms != rms && r == r {
				rms, window = r, regressionWindows[i]
				chrony, ntp = quantile(c.chrony, 0.5), quantile(c.ntp, 0.5)
				wrong = float64(c.wrong) / float64(c.claims)
			}
		}
	}
	return rms, window, chrony, ntp, wrong
}
