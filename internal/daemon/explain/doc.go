// Package explain says in words what a daemon's snapshot means: whether the clock can be trusted, within which bound, why or why not,
// and what to do about it. `clockd status`, `sources` and `peers` and the status page take their words from here, so that they never
// disagree.
//
// Main functions: Clock, Source, Peer, Event; Seconds writes a length of time. Invariants: what is not known is said to be so, never
// shown as 0; no verdict is better than the status that it explains; sentences are for people and not stable, programs read reasons.
package explain
