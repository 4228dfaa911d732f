package agreement

import (
	"fmt"
	"math"
)

// Model is what the promises rest on: the group, its readings, its oscillators and its rounds.
type Model struct {
	Members   int // n
	Faults    int // f
	Algorithm Algorithm
	// ReadingError is ε: the largest half-width of the readings that correct members use of correct members, at most f bad ones
	// per observer aside (IntervalMidpoint), or none aside (the others).
	ReadingError float64
	// Drift is ρ, the bound of a correct counter. RateLimit is the largest rate correction of a target clock: what is learnt of
	// the oscillators makes clocks better in fact, but an oscillator may change at any moment, so in the promises it only costs.
	Drift, RateLimit float64
	// Period is P and Slew is W, in seconds. Slew 0: displayed clocks step.
	Period, Slew float64
	// Lateness is how late a member may compute after its target clock reads kP, in seconds.
	Lateness float64
	// Radius is Δ of the egocentric average: how far from its own a member counts other clocks. 0: the least that is right, Π+ε.
	Radius float64
	// Honest: no member lies in fact (IntervalMidpoint, Midpoint and Average do better then, by observation, not by promise).
	Honest bool
	// External is the pull of masters, nil without.
	External *ExternalModel
}

// ExternalModel is what the promises of the hybrid rest on (theory 4.2).
type ExternalModel struct {
	// Gain is G, 0 < G ≤ 1; Clamp is c in seconds.
	Gain, Clamp float64
	// Error is α_e: the largest half-width of the external estimate of a member whose masters are right.
	Error float64
	// Members is n_e, how many members have masters; Faults is f_e, how many of their estimates may be wrong.
	Members, Faults int
}

// Guarantee is what holds while the Model does. All but Contraction and EnvelopeRate are in seconds.
type Guarantee struct {
	// Contraction is a: what a round leaves of the spread. 1 or more: nothing is promised, and the rest is +Inf.
	Contraction float64 `json:"contraction"`
	// Gamma is Γ: the drift between two clocks in the longest round.
	Gamma float64 `json:"gamma_s"`
	// Convergence is δ_v: the spread of the target clocks after the last correct member has computed.
	Convergence float64 `json:"convergence_s"`
	// Spread is Π: the spread of the target clocks just before a round.
	Spread float64 `json:"spread_s"`
	// Precision is π_v of the displayed clocks, which slew over W; SteppedPrecision that of the target clocks at any time.
	Precision        float64 `json:"precision_s"`
	SteppedPrecision float64 `json:"stepped_precision_s"`
	// Adjustment is the largest correction that a correct clock can need in a round.
	Adjustment float64 `json:"adjustment_s"`
	// EnvelopeRate bounds ρ_α: how fast the group as a whole may drift.
	EnvelopeRate float64 `json:"envelope_rate"`
	// Accuracy is α_v, the largest distance from true time in the steady state, +Inf without a pull that suffices.
	Accuracy float64 `json:"accuracy_s"`
}

// virtualDrift is the drift bound of a target clock: ρ and the rate correction.
func (m *Model) virtualDrift() float64 { return m.Drift + m.RateLimit + m.Drift*m.RateLimit }

// pull is G·c, the most that masters move a clock in one round.
func (m *Model) pull() float64 {
	if m.External == nil {
		return 0
	}
	return m.External.Gain * m.External.Clamp
}

// contraction is a of theory 3.2.
func (m *Model) contraction() float64 {
	n, f := float64(m.Members), float64(m.Faults)
	switch {
	case m.Faults == 0, m.Honest && (m.Algorithm == IntervalMidpoint || m.Algorithm == Midpoint || m.Algorithm == Average):
		return 0
	case m.Algorithm == Average:
		return f / (n - 2*f)
	case m.Algorithm == Egocentric:
		return 3 * f / n
	case m.Algorithm == PlainMedian && m.Members != 4:
		return 1
	}
	return 0.5
}

// check returns what is wrong with m.
func (m *Model) check() error {
	if m.Algorithm >= algorithms || m.Members < 1 || m.Faults < 0 || m.Members < 3*m.Faults+1 {
		return fmt.Errorf("agreement: %d members cannot tolerate %d liars with %v: at least 3f+1 = %d are needed",
			m.Members, m.Faults, m.Algorithm, 3*m.Faults+1)
	}
	for _, x := range []float64{m.ReadingError, m.Drift, m.RateLimit, m.Slew, m.Lateness, m.Radius} {
		if !(x >= 0) || math.IsInf(x, 1) {
			return fmt.Errorf("agreement: a figure of the model is negative, infinite or not a number: %+v", *m)
		}
	}
	if !(m.Period > 0) || math.IsInf(m.Period, 1) || m.virtualDrift() >= 0.02 {
		return fmt.Errorf("agreement: the period must be positive and the drift below 2 %%: %+v", *m)
	}
	if e := m.External; e != nil {
		if !(e.Gain > 0 && e.Gain <= 1 && e.Clamp >= 0 && e.Error >= 0) || e.Faults < 0 || e.Members < 2*e.Faults+1 || e.Members > m.Members {
			return fmt.Errorf("agreement: the external model needs 0 < gain ≤ 1, clamp and error ≥ 0 and 2f+1 ≤ members with masters: %+v", *e)
		}
	}
	return nil
}

// Bounds returns what is promised under m (theory 3.2, 3.5 and 4.2, with the O(ρΠ) terms). The error says what is wrong with m; a
// function that does not contract is no error: its Contraction is 1 and its bounds are +Inf.
//
// Members compute at different instants, apart by β ≤ Π/(1−ρ) + lateness, and referring a reading to another instant costs 2ρβ:
//
//	δ = aΠ + 2ε + 4ρβ,  Π = δ + Γ,  Γ = 2ρP',  P' = (P+ε+Gc)/(1−ρ) + lateness
//	π_v = Π + ε + Gc + 2ρβ (stepped)    π_v = Π + ε + Gc + 2ρ(W+β)/(1−ρ) (slewed over W)
//
// The egocentric average has aΠ + 2ε = (f(Π+2Δ) + 2(n−f)ε)/n, that is (3f/n)Π + 2ε for Δ = Π+ε, and may leave the hull of the correct
// clocks by (f·Δ + (n−f)ε)/n where the others leave it by ε: so that takes ε's place in π_v. With a pull, δ is the larger of the
// internal one (while clamped) and (1−G)(aΠ+2ε) + G·S + 4ρβ, where S is how far two members' views of UTC may be apart.
func Bounds(m Model) (Guarantee, error) {
	if err := m.check(); err != nil {
		return Guarantee{}, err
	}
	rho, eps, pull := m.virtualDrift(), m.ReadingError, m.pull()
	long := (m.Period+eps+pull)/(1-rho) + m.Lateness
	g := Guarantee{Contraction: m.contraction(), Gamma: 2 * rho * long}
	inf := math.Inf(1)
	g.Accuracy = inf
	// Π = aΠ + reading + 4ρ(Π/(1−ρ) + lateness) + Γ
	fixed := func(a, reading float64) float64 {
		rest := 1 - a - 4*rho/(1-rho)
		if rest <= 0 {
			return inf
		}
		return (reading + g.Gamma + 4*rho*m.Lateness) / rest
	}
	share, reading, outward := g.Contraction, 2*eps, eps
	part := float64(m.Faults) / float64(m.Members)
	if m.Algorithm == Egocentric && m.Radius > 0 {
		share, reading = part, 2*part*m.Radius+2*(1-part)*eps
	}
	g.Spread = fixed(share, reading)
	if e := m.External; e != nil {
		g.Spread = max(g.Spread, fixed((1-e.Gain)*share, (1-e.Gain)*reading+e.Gain*e.apart(eps)))
	}
	if m.Algorithm == Egocentric {
		radius := m.Radius
		if radius == 0 {
			radius = g.Spread + eps
		}
		outward = part*radius + (1-part)*eps
	}
	if e := m.External; e != nil && pull > outward+rho*long {
		g.Accuracy = e.Error + (outward+rho*long)/e.Gain + rho*m.Slew
	}
	g.EnvelopeRate = rho + outward/m.Period
	g.Convergence = g.Spread - g.Gamma
	apart := g.Spread/(1-rho) + m.Lateness
	g.SteppedPrecision = g.Spread + outward + pull + 2*rho*apart
	g.Precision = g.SteppedPrecision
	if m.Slew > 0 {
		g.Precision = g.Spread + outward + pull + 2*rho*(m.Slew+apart)/(1-rho)
	}
	g.Adjustment = g.SteppedPrecision
	if math.IsInf(g.Spread, 1) {
		g.Convergence, g.Accuracy = inf, inf
	}
	return g, nil
}

// apart is how far two members' fault-tolerant midpoints of the external estimates may be apart: with n_e ≥ 3f_e+1 they contract
// the estimates' spread of 2α_e, with fewer each is only within α_e+ε of the truth.
func (e *ExternalModel) apart(eps float64) float64 {
	if e.Members >= 3*e.Faults+1 {
		return e.Error + 2*eps
	}
	return 2 * (e.Error + eps)
}

// RelativeDrift is κ = 2ρ/(1−ρ): the bound of the drift of one correct counter against another, per unit of one of them. As the
// Drift of a roundtrip.FilterConfig it makes a filter's interval right for a peer's counter: κ/(1+κ) = 2ρ/(1+ρ) and
// κ/(1−κ) ≥ 2ρ/(1−ρ).
func RelativeDrift(rho float64) float64 { return 2 * rho / (1 - rho) }
