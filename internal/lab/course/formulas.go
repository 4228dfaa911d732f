package course

// freeDrift is how far two free-running counters of drift ρ may be apart after t seconds, each read in ticks of g: 2ρt + g (theory 1.1).
func freeDrift(rho, t, g float64) float64 { return 2*rho*t + g }

// readingError is Λ, the best reading error of a round trip of which no minimum is known: RTT/2 (theory 2.1).
func readingError(roundTrip float64) float64 { return roundTrip / 2 }

// masterBound is how far two clocks may be apart that follow one master with accuracy α: π_v ≤ 2α_v (properties.md, the triangle inequality).
func masterBound(accuracy float64) float64 { return 2 * accuracy }

// roundLength is P' = (P+ε)/(1−ρ), the longest round (theory 0).
func roundLength(period, epsilon, rho float64) float64 { return (period + epsilon) / (1 - rho) }

// convergencePrecision is π_v of the fault-tolerant midpoint, stepped: Π = (2ε+Γ)/(1−½−4ρ/(1−ρ)), Γ = 2ρP', π_v = Π + ε + 2ρβ, β = Π/(1−ρ)
// (theory 3.2 and 3.5).
func convergencePrecision(period, epsilon, rho float64) float64 {
	spread := (2*epsilon + 2*rho*roundLength(period, epsilon, rho)) / (0.5 - 4*rho/(1-rho))
	return spread + epsilon + 2*rho*spread/(1-rho)
}

// hopError is the reading error of a value that is relayed over r hops in the critical path, each of which takes from least to most: half of
// the uncertainty (lecture: the reading error is the variance of the delay), and κ for the time on the way, which is κ = 2ρ/(1−ρ) (theory 2.1).
func hopError(hops int, least, most, rho float64) float64 {
	r := float64(hops)
	return r*(most-least)/2 + 2*rho/(1-rho)*r*most
}

// backgroundError is the reading error of the best round trip of some, aged by at most age: RTT/2 − d_min + κ·age (theory 2.1 and 2.3).
func backgroundError(roundTrip, least, rho, age float64) float64 {
	return roundTrip/2 - least + 2*rho/(1-rho)*(age+roundTrip)
}

// triggeredSteadiness bounds σ of deliveries at the sender's timestamp + Δ: sender and receiver are apart by at most π_v, one way or the
// other, and Δ passes at a rate wrong by ρ_v at most (theory 1.2).
func triggeredSteadiness(precision, delta, rate float64) float64 {
	return 2*precision*(1+2*rate) + 2*rate*delta*(1+2*rate)
}

// triggeredTightness bounds τ of the same: the clocks reach one reading within π_v, on a clock whose rate is wrong by ρ_v (theory 1.2).
func triggeredTightness(precision, rate float64) float64 { return precision * (1 + 2*rate) }

// slewRate bounds ρ_v of a clock that makes corrections of at most π_v over slew seconds, on an oscillator of drift ρ (theory 3.4: slew rate).
func slewRate(rho, precision, slew float64) float64 {
	s := precision / slew
	return rho + s + rho*s
}
