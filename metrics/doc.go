// Package metrics measures what a global clock is: granularity g and g_v, convergence δ_v, precision π_v, rate ρ_v, envelope rate
// ρ_α, accuracy α_v, steadiness σ, tightness τ and the reading error ε, and the time error, ADEV, MDEV, TDEV, HDEV and MTIE of
// those who measure oscillators.
//
// Main types: Ensemble (the virtual clocks, as affine segments on one true timeline), Deliveries (messages), ReadingErrors,
// PhysicalGranularity and VirtualGranularity, Stability (phase at a fixed interval), Quantiles, and Table, which holds one row for each
// property with its theory bound beside it, and a reason where a value is missing.
//
// Invariants: memory is bounded, whatever is fed; a supremum over clocks is taken at the breakpoints, with left and right limits, and
// not over samples; what is missing is missing (a Figure that is not Known, null in JSON), never 0; nothing is interpolated; there is no
// clock and no randomness, so that the same input gives the same bytes.
//
// Sources: P. Veríssimo and L. Rodrigues, Distributed Systems for System Architects, Kluwer 2001 (the properties); IEEE 1139 and W. J.
// Riley, Handbook of Frequency Stability Analysis, NIST SP 1065, 2008 (the deviations); ITU-T G.810, 1996 (TE, MTIE, TDEV);
// C. Greenhall and W. Riley, PTTI 2003 (confidence).
package metrics
