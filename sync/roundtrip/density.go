package roundtrip

import "math"

const (
	// delayScales is the number of exponentials of the mixture, each three times slower than the one before, from 10 ns to 1.3 s.
	delayScales   = 18
	shortestScale = 10e-9
	scaleRatio    = 3
	// The table of the density has tableSteps entries per octave from 2^tableLow s on.
	tableSteps   = 8
	tableLow     = -34
	tableOctaves = 37
	// leastShare keeps every exponential alive, so that it can come back when the network changes.
	leastShare = 1e-3
)

// delayDensity is the probability density of how much longer than the least a one-way delay is: a mixture of exponentials with
// a sharp beginning at 0, whose shares are learnt on line by expectation maximisation. Mixtures of exponentials fit every
// density that falls off completely monotonely, heavy tails among them (Bernstein), and cost one table look-up.
type delayDensity struct {
	share  [delayScales]float64
	table  [tableSteps*tableOctaves + 2]float64
	origin float64 // the density at 0
}

// scale is the mean of exponential k, in seconds.
func scale(k int) float64 { return shortestScale * math.Pow(scaleRatio, float64(k)) }

// guess sets the shares from nothing but a typical delay above the least, in seconds.
func (d *delayDensity) guess(typical float64) {
	typical = min(max(typical, 2*shortestScale), 1)
	total := 0.0
	for k := range d.share {
		d.share[k] = min(scale(k)/typical, typical/scale(k))
		total += d.share[k]
	}
	for k := range d.share {
		d.share[k] /= total
	}
	d.rebuild()
}

// exact is the density at delay e ≥ 0, per second.
func (d *delayDensity) exact(e float64) float64 {
	sum := 0.0
	for k := range d.share {
		sum += d.share[k] / scale(k) * math.Exp(-e/scale(k))
	}
	return sum
}

// rebuild computes the table from the shares. Along the entries of one octave an exponential is a geometric sequence.
func (d *delayDensity) rebuild() {
	d.table = [len(d.table)]float64{}
	for k := range d.share {
		height, mean := d.share[k]/scale(k), scale(k)
		for octave := range tableOctaves {
			start := math.Ldexp(1, tableLow+octave)
			x := start / mean
			if x > 40 {
				break
			}
			value, ratio := height*math.Exp(-x), math.Exp(-x/tableSteps)
			row := d.table[octave*tableSteps : octave*tableSteps+tableSteps]
			for i := range row {
				row[i] += value
				value *= ratio
			}
		}
	}
	d.origin = d.exact(0)
}

// at is the density at delay e ≥ 0 by linear interpolation in the table.
func (d *delayDensity) at(e float64) float64 {
	bits := math.Float64bits(e)
	i := int(bits>>49) - (1023+tableLow)*tableSteps
	if uint(i) >= uint(len(d.table)-2) {
		if i < 0 {
			return d.origin
		}
		return 0
	}
	fraction := float64(bits&(1<<49-1)) * (1.0 / (1 << 49))
	return d.table[i] + (d.table[i+1]-d.table[i])*fraction
}

// responsibilities adds to sum, weighted, how probable each exponential is as the origin of a delay e ≥ 0.
func (d *delayDensity) responsibilities(e, weight float64, sum *[delayScales]float64) {
	var each [delayScales]float64
	total := 0.0
	mean := shortestScale
	for k := range each {
		if x := e / mean; x < 40 {
			each[k] = d.share[k] / mean * math.Exp(-x)
			total += each[k]
		}
		mean *= scaleRatio
	}
	if total <= 0 {
		return
	}
	for k := range each {
		sum[k] += weight * each[k] / total
	}
}

// learn moves the shares towards the responsibilities, which sum to 1, by the step eta.
func (d *delayDensity) learn(responsibility *[delayScales]float64, eta float64) {
	logMean := 0.0
	for k := range d.share {
		d.share[k] += eta * (responsibility[k] - d.share[k])
		logMean += d.share[k] * float64(k)
	}
	// The floor of the short exponentials shrinks with their length, or they would put a spike at 0.
	total := 0.0
	for k := range d.share {
		d.share[k] = max(d.share[k], leastShare*min(1, math.Pow(scaleRatio, float64(k)-logMean)))
		total += d.share[k]
	}
	for k := range d.share {
		d.share[k] /= total
	}
}
