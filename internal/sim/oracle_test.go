package sim

import (
	"flag"
	"math"
	"math/rand/v2"
	"testing"
)

// The defaults are quick; docs/estimation.md has the figures of -oracle.seeds 20 -oracle.particles 5000.
var (
	oracleSeeds     = flag.Int("oracle.seeds", 3, "how many seeds TestOracleOnTheSameSamples takes")
	oracleFirst     = flag.Int("oracle.first", 1, "the first of them")
	oracleParticles = flag.Int("oracle.particles", 1500, "how many particles its oracle has")
)

// oracle is a particle filter that is told everything but the truth itself: the true density of the delays, the true wander, and
// where it begins. What it does is about what the data allow.
type oracle struct {
	rng                  *rand.Rand
	offset, rate         []float64
	nextOffset, nextRate []float64
	weight               []float64
	// mean and meanRate are its estimate at counter second at; tail is the offset with the least mean fourth power of the error.
	mean, meanRate, at, tail float64
	number                   uint64
}

func newOracle(n int, seed uint64) *oracle {
	o := &oracle{rng: rand.New(rand.NewPCG(seed, 7))}
	for _, x := range []*[]float64{&o.offset, &o.rate, &o.nextOffset, &o.nextRate, &o.weight} {
		*x = make([]float64, n)
	}
	return o
}

// oracleNoise is the one-way delay of scenario dc, and its oscillator.
const oracleWalk = 1e-9

func oracleDensity(d float64) float64 {
	const least, queue, heavy, share = 200e-6, 50e-6, 1e-3, 0.05
	d -= least
	soft := 1.0
	if d < 0 { // so that the few particles cannot all be impossible
		soft, d = math.Exp(d/0.1e-6), 0
	}
	return soft * ((1-share)*math.Exp(-d/queue)/queue + share*(math.Exp(-d/heavy)-math.Exp(-d/queue))/(heavy-queue))
}

// begin is told the truth at counter second x.
func (o *oracle) begin(x, truth float64) {
	o.mean, o.meanRate, o.at = truth, (truth-o.mean)/(x-o.at), x
}

func (o *oracle) take(r reading) {
	dt := r.x - o.at
	for i := range o.offset {
		if o.number == 0 {
			o.offset[i] = o.mean + o.meanRate*dt + 5e-6*o.rng.NormFloat64()
			o.rate[i] = o.meanRate + 2e-8*o.rng.NormFloat64()
			continue
		}
		s := oracleWalk * math.Sqrt(dt)
		step := s * o.rng.NormFloat64()
		o.offset[i] += o.rate[i]*dt + dt/2*step + s*dt/math.Sqrt(12)*o.rng.NormFloat64()
		o.rate[i] += step
	}
	o.at = r.x
	forward, backward, total := r.offset+r.delay/2, r.offset-r.delay/2, 0.0
	for i, x := range o.offset {
		o.weight[i] = oracleDensity(forward-x) * oracleDensity(x-backward)
		total += o.weight[i]
	}
	o.resample(total)
	// One step of Newton's method from the mean.
	var cubes, squares float64
	for _, x := range o.offset {
		d := x - o.mean
		cubes, squares = cubes+d*d*d, squares+d*d
	}
	o.tail = o.mean + cubes/(3*squares)
}

func (o *oracle) resample(total float64) {
	n := len(o.offset)
	step := total / float64(n)
	at, j, sum := step*o.rng.Float64(), 0, o.weight[0]
	o.mean, o.meanRate = 0, 0
	for i := range n {
		for sum < at && j < n-1 {
			j++
			sum += o.weight[j]
		}
		o.nextOffset[i], o.nextRate[i] = o.offset[j], o.rate[j]
		o.mean += o.offset[j] / float64(n)
		o.meanRate += o.rate[j] / float64(n)
		at += step
	}
	o.offset, o.nextOffset = o.nextOffset, o.offset
	o.rate, o.nextRate = o.nextRate, o.rate
}

// beside runs scenario dc and an oracle on the very same samples, and returns the absolute errors of the oracle's mean and tail
// estimates at the same instants as the node's.
func beside(t *testing.T, s *Scenario, seed uint64) (node Result, mean, tail []float64) {
	w, err := s.Build(seed)
	if err != nil {
		t.Fatal(err)
	}
	const begin = 2000 * Second // it is still early in the part that is left out
	o := newOracle(*oracleParticles, seed)
	var h *Host
	for at := Instant(0); at < s.Length.Instant(); at += Second {
		if err := w.Run(at); err != nil {
			t.Fatal(err)
		}
		if h == nil {
			for _, x := range w.hosts {
				if x.Node != nil {
					h = x
				}
			}
		}
		if h == nil || len(h.links) == 0 {
			continue
		}
		x, c := h.seconds(h.Reading(w.now)), &h.links[0].comparison
		truth := w.now.Seconds() - x
		if at < begin {
			o.begin(x, truth)
			continue
		}
		if c.number != o.number {
			o.take(c.samples[len(c.samples)-1])
			o.number = c.number
		}
		if at >= h.Statistics.From {
			moved := o.meanRate * (x - o.at)
			mean = append(mean, math.Abs(o.mean+moved-truth))
			tail = append(tail, math.Abs(o.tail+moved-truth))
		}
	}
	return h.Result(), mean, tail
}

// TestOracleOnTheSameSamples: in the data centre, told nothing, the node's errors are near those of an oracle that has the same samples
// and is told all noise, the rare large ones too. It guards the result against chance in the seeds, which moves both alike.
func TestOracleOnTheSameSamples(t *testing.T) {
	if testing.Short() || raceDetector {
		t.Skip("long")
	}
	s, err := Load("dc")
	if err != nil {
		t.Fatal(err)
	}
	var ours, ours99, oracle, oracle99, tails, tails99 []float64
	for i := range *oracleSeeds {
		r, mean, tail := beside(t, s, uint64(*oracleFirst+i))
		ours, ours99 = append(ours, float64(r.RMSError)), append(ours99, float64(r.P99Error))
		oracle, oracle99 = append(oracle, rms(mean)), append(oracle99, quantile(mean, 0.99))
		tails, tails99 = append(tails, rms(tail)), append(tails99, quantile(tail, 0.99))
	}
	chrony, chrony99 := float64(s.Published.ChronyRMS), float64(s.Published.ChronyP99)
	t.Logf("medians of %d seeds, of chrony's: RMS ours %.3f, oracle %.3f, oracle for the tail %.3f; p99 ours %.3f, oracle %.3f, oracle for the tail %.3f", *oracleSeeds,
		median(ours)/chrony, median(oracle)/chrony, median(tails)/chrony, median(ours99)/chrony99, median(oracle99)/chrony99, median(tails99)/chrony99)
	if x := median(ours) / median(oracle); x > 1.2 {
		t.Errorf("RMS %.3f times the oracle's", x)
	}
	if x := median(ours99) / median(oracle99); x > 1.2 {
		t.Errorf("p99 %.3f times the oracle's", x)
	}
}
