package roundtrip

import "math"

const (
	gridPoints = 32
	gridReach  = 5.0 // standard deviations
	edgeReach  = 5.0 // doubts of the onset
	// doubtScale turns the onset's doubt into the scale of the fall below an edge.
	doubtScale = 0.35
	// modelShare is how probable it is held to be that the oscillator follows another model from one sample to the next.
	modelShare = 1e-4
	// learnMemory is over how many samples the delays are learnt.
	learnMemory = 1000
	// outlierExcess is how many times longer above the least than the median a round trip may be and still be used.
	outlierExcess = 10
	// flatPart is the part of the delays' scale near the least, or of the median round trip above the least, within which their density
	// says nothing: an onset that is believed too late puts a spike there, which keeps it too late.
	flatPart = 0.17
	// leastLog is the log-likelihood of what a model holds to be impossible. An oscillator that steps once is still the same one: the
	// model must not fall to where modelShare has the others, or one that lets everything wander takes over for many samples.
	leastLog = -10
	walks    = 8
	drifts   = 5
	normals  = 7 // of the walks, once more with normal noise
	noisy    = 5 // of the walks, once more with normal noise that does not come from the network
	models   = walks + drifts + normals + noisy
	// noiseMemory is over how many samples that noise is learnt.
	noiseMemory = 100
)

// model is one hypothesis on how the oscillator wanders: a Gaussian on offset (s), rate (1) and drift of the rate (1/s).
type model struct {
	offset, rate, drift          float64
	p00, p01, p02, p11, p12, p22 float64
	normal                       bool    // takes the network's noise for normal
	noise                        float64 // variance of the server's own noise, learnt where learnsNoise
	learnsNoise                  bool
	walk, driftWalk              float64 // spectral densities of the random walks of rate and of drift
	log                          float64 // log-likelihood of the present exchange
	weight                       float64 // its probability, given all exchanges
}

// estimator is the point estimate of one source's offset and rate: a bank of assumed-density filters over a learnt model of
// the network.
//
// The measurement is not a number with a Gaussian error but two one-sided ones: the request says offset ≤ forward − its delay,
// the answer offset ≥ backward + its delay, and the delays' density above the least is learnt (delayDensity, onset). The
// product of the two densities over the present Gaussian is integrated on a grid and replaced by the Gaussian with the same
// mean and variance. Several models of the oscillator's wander run side by side and are weighted by how well they predicted
// (Bayesian model averaging with fixed share, Herbster and Warmuth 1998); none of the noise is told beforehand.
//
// It knows nothing of the guaranteed interval; the Filter clamps it.
type estimator struct {
	bank    [models]model
	shape   shape
	density delayDensity
	onset   onset
	edge    edge
	// least is the least round trip, doubt the scale of its error.
	least, doubt float64
	// flat is the delay above the least below which the density is taken to be flat.
	flat float64
	// forwardLeast and backwardLeast are the least one-way delays; only their sum can be measured. It is split in half at the
	// start, and what changes later goes to the direction in which the history saw it.
	forwardLeast, backwardLeast float64
	started                     bool
	samples                     uint64
	// late and early are the recent delays above the least, as the history has them.
	late, early [onsetRecent]float64
	// earlier holds the least delays of the path before this one; settling counts samples on a new one.
	earlier  [2]float64
	settling int
	// outlier: the present round trip is so long that something may have happened to the path. No delay is probable then, but none is shorter
	// than the least: one direction may have been quick all the same.
	outlier bool
	// delayMean and delayVariance are the round trip's, over the recent samples.
	delayMean, delayVariance float64
}

// reset forgets everything; rate and std are what is known of the rate beforehand.
func (e *estimator) reset(rate, std float64) {
	*e = estimator{}
	for j := range e.bank {
		m := &e.bank[j]
		m.rate, m.p11, m.weight = rate, std*std, 1.0/models
		switch {
		case j < walks:
			m.walk = walk(j)
		case j < walks+drifts:
			m.walk, m.driftWalk = square(1e-9), square(1e-13*math.Pow(5, float64(j-walks)))
		case j < walks+drifts+normals:
			m.normal, m.walk = true, walk(j-walks-drifts)
		default:
			m.normal, m.learnsNoise, m.walk = true, true, walk(1+j-walks-drifts-normals)
		}
	}
}

// walk is the spectral density of the j-th random walk of the frequency.
func walk(j int) float64 { return square(8e-12 * math.Pow(4, float64(j))) }

func square(x float64) float64 { return x * x }

// predict moves a model on by dt seconds.
func (m *model) predict(dt float64) {
	h := dt * dt / 2
	m.offset += m.rate*dt + m.drift*h
	m.rate += m.drift * dt
	a00 := m.p00 + dt*m.p01 + h*m.p02
	a01 := m.p01 + dt*m.p11 + h*m.p12
	a02 := m.p02 + dt*m.p12 + h*m.p22
	a11 := m.p11 + dt*m.p12
	a12 := m.p12 + dt*m.p22
	q, r, dt3 := m.walk, m.driftWalk, dt*dt*dt
	m.p00 = a00 + dt*a01 + h*a02 + q*dt3/3 + r*dt3*dt*dt/20
	m.p01 = a01 + dt*a02 + q*h + r*dt3*dt/8
	m.p02 = a02 + r*dt3/6
	m.p11 = a11 + dt*a12 + q*dt + r*dt3/3
	m.p12 = a12 + r*h
	m.p22 += r * dt
}

// update takes one exchange, dt seconds after the one before. forward is T2 − T1 and backward T3 − T4 as offsets from the raw
// timeline, both at the instant of arrival.
func (e *estimator) update(forward, backward, dt float64) {
	e.samples++
	if !e.started {
		e.start(forward, backward)
		return
	}
	offset, _ := e.mean(dt)
	e.learnPath(forward, backward, offset)
	if e.outlier {
		e.cutAll(forward, backward, dt)
		return
	}
	if e.edge.valid {
		_, std, _, _ := e.at(dt)
		e.edge.learn(&e.density, offset, std, forward, backward, e.forwardLeast, e.backwardLeast, e.flat)
	}
	most := math.Inf(-1)
	for j := range e.bank {
		m := &e.bank[j]
		m.predict(dt)
		if m.normal {
			m.log = e.measureNormal(m, forward, backward)
		} else {
			m.log = e.measure(m, forward, backward, dt)
		}
		most = max(most, m.log)
	}
	e.learnDelays(e.compete(most), forward, backward)
	e.shape.update(e, forward, backward, dt)
}

// cutAll takes an exchange of which nothing is to be believed but that its delays were not shorter than the least ones.
func (e *estimator) cutAll(forward, backward, dt float64) {
	for j := range e.bank {
		m := &e.bank[j]
		m.predict(dt)
		if !m.normal {
			e.cut(m, forward, backward)
		}
	}
	for i := range e.shape.count {
		m := &e.shape.part[i]
		m.predict(dt)
		m.weight *= e.cut(m, forward, backward)
	}
	e.shape.aim()
}

// cut conditions a model on the edges of an exchange alone, and returns how probable it held them to be. A model that misses them is left as it
// is.
func (e *estimator) cut(m *model, forward, backward float64) float64 {
	from, to := e.reach(m, forward, backward)
	if from >= to {
		return 1
	}
	std, step := math.Sqrt(m.p00), (to-from)/gridPoints
	sum, mean, variance := e.integrate(m.offset, std, from, step, forward, backward, 1/(e.doubt*doubtScale))
	if sum <= 0 {
		return 1
	}
	m.condition(mean, variance)
	return sum * step / (std * math.Sqrt(2*math.Pi))
}

// reach is the part of what a model knows of the offset that an exchange leaves; none of it if from ≥ to.
func (e *estimator) reach(m *model, forward, backward float64) (from, to float64) {
	doubt := e.doubt * doubtScale
	low, high := backward+e.backwardLeast-edgeReach*doubt, forward-e.forwardLeast+edgeReach*doubt
	if low > high {
		low, high = backward, forward
	}
	std := math.Sqrt(m.p00)
	return max(low, m.offset-gridReach*std), min(high, m.offset+gridReach*std)
}

// compete weighs the models by how probable they held the present exchange to be, the best one by exp(most), and returns the most probable.
// Each keeps a little: a model that was wrong for days takes over within a few exchanges once it is right.
func (e *estimator) compete(most float64) *model {
	total := 0.0
	for j := range e.bank {
		m := &e.bank[j]
		m.weight = (m.weight*(1-modelShare) + modelShare/models) * math.Exp(m.log-most)
		total += m.weight
	}
	best := &e.bank[0]
	for j := range e.bank {
		m := &e.bank[j]
		m.weight /= total
		if m.weight > best.weight {
			best = m
		}
	}
	return best
}

// start takes the first exchange.
func (e *estimator) start(forward, backward float64) {
	offset, delay := (forward+backward)/2, forward-backward
	for j := range e.bank {
		m := &e.bank[j]
		m.offset, m.p00 = offset, square(delay/4)+1e-18
	}
	e.learnPath(forward, backward, offset)
	e.started = true
}

// learnPath keeps the least delays. A change of the path shows in the round trip; to which direction it belongs shows only
// against what the offset was before (late and early): a one-way change looks like an offset to whoever forgets that.
func (e *estimator) learnPath(forward, backward, offset float64) {
	delay := forward - backward
	share := 1 / float64(min(e.samples, delayMemory*4))
	e.delayVariance += share * ((1-share)*square(delay-e.delayMean) - e.delayVariance)
	e.delayMean += share * (delay - e.delayMean)
	slot := e.samples % onsetRecent
	late, early := forward-offset-e.forwardLeast, offset-backward-e.backwardLeast
	e.late[slot], e.early[slot] = late, early
	settled := e.started && e.onset.count >= onsetRecent
	typical := e.typical()
	e.flat = min(flatPart*e.onset.scale, flatPart*typical)
	// What the counter's own rate and the stamps can do to a round trip is no change of path.
	reach := 2*edgeReach*e.onset.doubt + 2e-4*delay + 5e-8
	e.outlier = settled && delay > e.onset.least+reach+outlierExcess*typical
	switch {
	case settled && delay < e.forwardLeast+e.backwardLeast-reach-typical:
		e.pathShorter(delay, late, early, reach+2*typical)
	case settled && e.onset.steadilyAbove(e.onset.least+reach+2*typical, reach+4*typical):
		e.pathLonger()
		e.outlier = false
	case e.settling > 0:
		// On a new path the first delays were not the least: what they lacked is known for each direction.
		e.settling--
		e.giveWay(late, early)
	}
	e.onset.add(delay, e.density.origin)
	if n := e.onset.count; e.samples <= 20 && (n < 4 || n%4 == 0) {
		e.density.guess(max(e.typical(), delay*1e-3))
	}
	e.learnLeast()
	change := e.least - (e.forwardLeast + e.backwardLeast)
	e.forwardLeast += change / 2
	e.backwardLeast += change / 2
}

// learnLeast takes the least round trip from the order statistics, and from the hypotheses once these know better.
func (e *estimator) learnLeast() {
	e.least, e.doubt = e.onset.least, e.onset.doubt
	e.edge.place(e.onset.smallest, e.onset.doubt)
	if e.onset.count < edgeSettled {
		return
	}
	least, std := e.edge.estimate()
	e.least += edgeShare * (least - e.least)
	e.doubt = min(e.doubt, max(edgeScale*std, edgeShare*e.doubt))
}

// pathShorter: this round trip is shorter than the least. If it fits a path that is remembered, that is the path again; else the
// direction that is now too early by the history gives way.
func (e *estimator) pathShorter(delay, late, early, fit float64) {
	e.onset.forget(0)
	e.edge = edge{}
	e.outlier = false
	old := e.earlier
	e.earlier = [2]float64{e.forwardLeast, e.backwardLeast}
	if sum := old[0] + old[1]; sum > 0 && delay > sum-fit && delay < sum+2*fit {
		e.forwardLeast, e.backwardLeast = old[0], old[1]
		return
	}
	e.settling = onsetRecent
	e.giveWay(late, early)
}

// giveWay lowers the least delay of a direction whose delay was below it.
func (e *estimator) giveWay(late, early float64) {
	e.forwardLeast += min(late, 0)
	e.backwardLeast += min(early, 0)
}

// pathLonger: none of the recent round trips comes near the least.
func (e *estimator) pathLonger() {
	late, early := math.Inf(1), math.Inf(1)
	for i := range e.late {
		late, early = min(late, e.late[i]), min(early, e.early[i])
	}
	e.onset.forget(onsetRecent)
	e.edge = edge{}
	e.earlier = [2]float64{e.forwardLeast, e.backwardLeast}
	e.forwardLeast += max(late, 0)
	e.backwardLeast += max(early, 0)
	for i := range e.late {
		e.late[i] -= max(late, 0)
		e.early[i] -= max(early, 0)
	}
}

// typical is the median above the least of the remembered round trips; the newest ones, which may be of another path, do not
// count once there are enough others.
func (e *estimator) typical() float64 {
	var d [32]float64
	n, skip := min(e.onset.count, onsetMemory), 0
	if n >= 2*onsetRecent {
		skip = onsetRecent
	}
	n = min(n-skip, len(d))
	for i := range n {
		d[i] = e.onset.memory[(e.onset.count-1-skip-i)%onsetMemory]
	}
	insertionSort(d[:n])
	return d[n/2] - d[0]
}

// likelihood is the density of a one-way delay x above the least, which is itself in doubt: below it falls off quickly.
func (e *estimator) likelihood(x, perDoubt float64) float64 {
	height := 1.0
	if !e.outlier {
		height = e.density.at(max(x, e.flat))
	}
	if x < 0 {
		return height * math.Exp(x*perDoubt)
	}
	return height
}

// measure conditions one model on an exchange and returns the log-likelihood of the exchange.
func (e *estimator) measure(m *model, forward, backward, dt float64) float64 {
	from, to := e.reach(m, forward, backward)
	std := math.Sqrt(m.p00)
	penalty := 0.0
	if from >= to {
		// What the model holds to be certain is impossible: the oscillator has changed. Open up by as much as was missed.
		miss := max(from-m.offset, m.offset-to)
		penalty = max(-square(miss)/(2*m.p00), leastLog)
		m.p00 += square(miss)
		if dt > 0 {
			m.p01 += square(miss) / dt
			m.p11 += 2 * square(miss/dt) // when in dt it changed is not known, nor by how much then
		}
		std = math.Sqrt(m.p00)
		from, to = e.reach(m, forward, backward)
	}
	step := (to - from) / gridPoints
	if !(step > 0) {
		return leastLog
	}
	sum, mean, variance := e.integrate(m.offset, std, from, step, forward, backward, 1/(e.doubt*doubtScale))
	if !(sum > 0) {
		return leastLog
	}
	m.condition(mean, variance)
	return math.Log(sum*step/(std*math.Sqrt(2*math.Pi))) + penalty
}

// measureNormal conditions a model on an exchange as if both delays were normal around means of their own (a Kalman filter), and
// returns the log-likelihood of the exchange. What the innovations are larger than delays and wander explain is noise of the
// server's clock, for the models that allow for it.
func (e *estimator) measureNormal(m *model, forward, backward float64) float64 {
	variance := e.delayVariance/4 + 1e-20
	innovation, total := (forward+backward)/2-m.offset, m.p00+variance+m.noise
	if m.learnsNoise {
		m.noise += (max(square(innovation)-m.p00-variance, 0) - m.noise) / float64(min(e.samples, noiseMemory))
	}
	l := -square(innovation)/(2*total) - square(forward-backward-e.delayMean)/(8*variance) - math.Log(4*math.Pi*math.Sqrt(total*variance))
	m.condition(m.offset+m.p00/total*innovation, m.p00*(variance+m.noise)/total)
	return max(l, leastLog)
}

// integrate returns the integral (in units of step), mean and variance of prior × likelihoods over the grid.
func (e *estimator) integrate(centre, std, from, step, forward, backward, perDoubt float64) (sum, mean, variance float64) {
	x := from + step/2
	// exp(−u²/2) along equidistant u by two recursions.
	u, du := (x-centre)/std, step/std
	prior, ratio, second := math.Exp(-u*u/2), math.Exp(-u*du-du*du/2), math.Exp(-du*du)
	late, early := forward-e.forwardLeast-x, x-e.backwardLeast-backward
	var s1, s2 float64
	for i := range gridPoints {
		w := prior * e.likelihood(late, perDoubt) * e.likelihood(early, perDoubt)
		d := float64(i)
		sum += w
		s1 += w * d
		s2 += w * d * d
		prior *= ratio
		ratio *= second
		late -= step
		early += step
	}
	if !(sum > 0) {
		return 0, 0, 0
	}
	s1 /= sum
	return sum, x + s1*step, (max(s2/sum-s1*s1, 0) + 1.0/12) * step * step
}

// condition sets mean and variance of the offset; rate and drift follow by their covariances.
func (m *model) condition(mean, variance float64) {
	d, k1, k2, less := mean-m.offset, m.p01/m.p00, m.p02/m.p00, m.p00-variance
	m.offset = mean
	m.rate += k1 * d
	m.drift += k2 * d
	m.p00 = max(variance, 1e-22)
	m.p01 -= k1 * less
	m.p02 -= k2 * less
	m.p11 = max(m.p11-k1*k1*less, 1e-26)
	m.p12 -= k1 * k2 * less
	m.p22 = max(m.p22-k2*k2*less, 0)
}

// learnDelays gives the delays that this exchange had, as far as the best model knows them, to the density.
func (e *estimator) learnDelays(m *model, forward, backward float64) {
	const points = 8
	std := math.Sqrt(m.p00)
	from := max(backward+e.backwardLeast, m.offset-2.5*std)
	step := (min(forward-e.forwardLeast, m.offset+2.5*std) - from) / points
	if !(step > 0) {
		return
	}
	var sum [delayScales]float64
	total := 0.0
	for i := range points {
		x := from + (float64(i)+0.5)*step
		w := math.Exp(-square((x-m.offset)/std) / 2)
		total += w
		e.density.responsibilities(forward-e.forwardLeast-x, w/2, &sum)
		e.density.responsibilities(x-e.backwardLeast-backward, w/2, &sum)
	}
	for k := range sum {
		sum[k] /= total
	}
	e.density.learn(&sum, max(1/float64(e.onset.count+10), 1.0/learnMemory))
	if e.samples < 64 || e.samples%16 == 0 {
		e.density.rebuild()
	}
}

// shift moves all offsets by −d seconds.
func (e *estimator) shift(d float64) {
	for j := range e.bank {
		e.bank[j].offset -= d
	}
	e.shape.shift(d)
}

// confine moves models whose offset, dt seconds after the last update, is outside [low, high] to its edge, and makes them less
// sure of themselves by as much.
func (e *estimator) confine(low, high, dt float64) {
	for j := range e.bank {
		e.bank[j].confine(low, high, dt)
	}
	for i := range e.shape.count {
		e.shape.part[i].confine(low, high, dt)
	}
}

func (m *model) confine(low, high, dt float64) {
	offset := m.offset + m.rate*dt + m.drift*dt*dt/2
	if miss := min(max(offset, low), high) - offset; miss != 0 {
		m.offset += miss
		m.p00 += square(miss)
	}
}

// mean returns the mean of what is known dt seconds after the last update, without its doubt.
func (e *estimator) mean(dt float64) (offset, rate float64) {
	for j := range e.bank {
		m := &e.bank[j]
		offset += m.weight * (m.offset + m.rate*dt + m.drift*dt*dt/2)
		rate += m.weight * (m.rate + m.drift*dt)
	}
	return offset, rate
}

// at returns the estimate dt seconds after the last update with its standard deviations: the mean, moved to where large errors are rarer.
func (e *estimator) at(dt float64) (offset, offsetStd, rate, rateStd float64) {
	offset, rate = e.mean(dt)
	var v0, v1 float64
	for j := range e.bank {
		m := e.bank[j]
		m.predict(dt)
		v0 += m.weight * (max(m.p00, 0) + square(m.offset-offset))
		v1 += m.weight * (max(m.p11, 0) + square(m.rate-rate))
	}
	return offset + e.shape.point, math.Sqrt(v0 + square(e.shape.point)), rate, math.Sqrt(v1)
}
