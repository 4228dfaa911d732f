package course

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/clockd/clockd/sync/agreement"
)

func critical() Experiment {
	return Experiment{
		Name: "critical-path", Title: "Time to agree, in or out of the critical path",
		Question: "What does it cost to agree by messages at the instant of synchronisation, rather than on readings that were taken before?",
		Setup: `An abstract model, not clockd's node: n = 3f+1 clocks with ρ = 10 ppm, one-way delays from 0.1 to 1 ms, f two-faced liars, rounds of 1 s, fault-tolerant midpoint. "In": at the
instant the values are relayed over f+1 hops, as a Byzantine agreement does, and used when the last may have come. "Out": the best of 8 round trips of the round before, aged by drift, is
used at once. Delays are as unfair as they can be in both.`,
		Bound: `π_v = Π + ε + 2ρβ with Π = (2ε+Γ)/(½−4ρ/(1−ρ)) (theory 3.2, 3.5). In: ε = (f+1)·(d_max−d_min)/2 + κT, T = (f+1)·d_max (lecture: the reading error is the variance of the delay;
theory 2.1 for κ). Out: the largest half-width used, RTT/2 − d_min + κ·age (theory 2.1, 2.3).`,
		Lesson:  `What happens between reading and adjusting is in the reading error, hop by hop, so every message there costs precision. Readings taken in the background have age instead, and age costs only drift, κ for every second.`,
		Reading: []string{"[docs/agreement.md](../agreement.md): no message in the critical path", "theory 3.1", "Schneider 1987: the common frame of all such protocols"},
		run:     runCritical,
	}
}

// rounds is the abstract model of one group.
type rounds struct {
	n, f        int
	rho, period float64
	least, most float64
	clocks      []float64 // of the correct members, relative to true time
	rates       []float64
	random      *rand.Rand
	epsilon     float64 // the largest half-width used
	precision   float64
}

func newRounds(f int, random *rand.Rand) *rounds {
	m := &rounds{n: 3*f + 1, f: f, rho: 10e-6, period: 1, least: 100e-6, most: 1e-3, random: random}
	for i := range m.n - f {
		m.clocks = append(m.clocks, random.Float64()*1e-3)
		m.rates = append(m.rates, m.side(i)*m.rho)
	}
	return m
}

// side is +1 for the members that are driven ahead and −1 for the others.
func (m *rounds) side(p int) float64 {
	if p < (m.n-m.f)/2 {
		return -1
	}
	return 1
}

func (m *rounds) advance(seconds float64) {
	for i := range m.clocks {
		m.clocks[i] += m.rates[i] * seconds
	}
}

// adjust gives every member the midpoint of what it reads, and measures: old and new clocks are there at the same time for a while.
func (m *rounds) adjust(read func(p, j int) float64, counts bool) {
	next := make([]float64, len(m.clocks))
	for p := range m.clocks {
		x := []float64{m.clocks[p]}
		for j := range m.clocks {
			if j != p {
				x = append(x, read(p, j))
			}
		}
		for range m.f {
			x = append(x, m.side(p)) // a second ahead to those who are ahead
		}
		if v, ok := agreement.FaultTolerantMidpoint(x, m.f, nil); ok {
			next[p] = v
		} else {
			next[p] = math.NaN()
		}
	}
	low, high := math.Inf(1), math.Inf(-1)
	for p := range next {
		low, high = min(low, next[p], m.clocks[p]), max(high, next[p], m.clocks[p])
	}
	if counts {
		m.precision = max(m.precision, high-low)
	}
	m.clocks = next
}

// inside makes a round whose messages are in the critical path.
func (m *rounds) inside(hops int, counts bool) {
	wait := float64(hops) * m.most
	m.advance(m.period - wait)
	sent := append([]float64(nil), m.clocks...)
	m.advance(wait)
	m.adjust(func(p, j int) float64 {
		// The receiver takes the delay for the middle of what it can be, and adds what its own counter has counted since.
		delay := m.least
		if m.side(p) < 0 {
			delay = m.most
		}
		way := float64(hops) * (m.least + m.most) / 2
		own := wait - float64(hops)*delay
		return sent[j] + (way - float64(hops)*delay) + m.rates[p]*own
	}, counts)
	m.epsilon = hopError(hops, m.least, m.most, m.rho)
}

// outside makes a round with readings from the background.
func (m *rounds) outside(probes int, counts bool) {
	m.advance(m.period)
	m.adjust(func(p, j int) float64 {
		best, err := math.Inf(1), 0.0
		for i := range probes {
			there, back := m.least+m.random.Float64()*(m.most-m.least), m.least+m.random.Float64()*(m.most-m.least)
			age := m.period * (float64(i) + 1) / float64(probes)
			if half := backgroundError(there+back, m.least, m.rho, age); half < best {
				best, err = half, m.side(p)*math.Abs(there-back)/2+(m.rates[p]-m.rates[j])*age
			}
		}
		if counts {
			m.epsilon = max(m.epsilon, best)
		}
		return m.clocks[j] + err
	}, counts)
}

func runCritical(r *run) error {
	faults := short(r, []int{1, 2, 3, 4, 5}, []int{1, 3})
	const settle = 20
	all := short(r, 200, 60)
	r.columns("f", "", "n", "", "time to agree", "s", "ε in", "s", "π_v in", "s", "bound in", "s", "ε out", "s", "π_v out", "s", "bound out", "s")
	for i, f := range faults {
		in, out := newRounds(f, r.stream(fmt.Sprintf("critical/in/%d", f))), newRounds(f, r.stream(fmt.Sprintf("critical/out/%d", f)))
		for k := range all {
			in.inside(f+1, k >= settle)
			out.outside(8, k >= settle)
		}
		boundIn, boundOut := convergencePrecision(in.period, in.epsilon, in.rho), convergencePrecision(out.period, out.epsilon, out.rho)
		r.row(f, in.n, float64(f+1)*in.most, in.epsilon, in.precision, boundIn, out.epsilon, out.precision, boundOut)
		r.under(fmt.Sprintf("f = %d, in: precision π_v", f), "s", in.precision, boundIn, true)
		r.under(fmt.Sprintf("f = %d, out: precision π_v", f), "s", out.precision, boundOut, true)
		r.under(fmt.Sprintf("f = %d: the bound out of the path is below that in it", f), "s", boundOut, boundIn, true)
		r.over(fmt.Sprintf("f = %d, in: the adversary comes within half of the bound", f), "s", in.precision, boundIn/2)
		if err := r.done(i+1, len(faults)); err != nil {
			return err
		}
	}
	r.curve("π_v, agreement in the critical path", 1, 2, 4, false)
	r.curve("its bound", 1, 2, 5, true)
	r.curve("π_v, readings from the background", 0, 2, 7, false)
	r.curve("its bound", 0, 2, 8, true)
	r.axes(linear("time to agree, (f+1)·d_max", "s"), linear("precision", "s"))
	r.report.Chart.Y.Scale = logarithmic("", "").Scale
	return nil
}
