// Package agreement keeps the clocks of n peers together without a master, among up to f < n/3 liars.
//
// Peers compare their hardware counters in the background (package roundtrip) and publish, as an affine map, what their target
// clock is. When a member's target clock reads a multiple of the period, it computes what the others' clocks read, as intervals,
// and applies a convergence function (FaultTolerantInterval and its kin): no message is in the critical path of precision.
//
// Group is one member's state machine, pure: no socket, no wall clock, no goroutine, no randomness, no allocation per round.
// Bounds gives what is promised of it; Group.Interval what is known on line. See docs/agreement.md.
//
// Clocks are virtualclock.Time; a member's raw timeline (its counter at nominal rate from an anchor that stays for one era) is
// virtualclock.Time too and is always called raw. All other figures are seconds; errors are worst-case half-widths.
//
// Sources: Lynch & Welch 1988 (midpoint), Kopetz & Ochsenreiter 1987 (average), Lamport & Melliar-Smith 1985 (egocentric
// average), Schneider 1987 (the common frame), Schmid & Schossmaier 2001 (intervals); theory 3, 4 and appendix A.
package agreement
