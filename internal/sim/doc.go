// Package sim is a deterministic simulation of hosts, counters, networks and servers around true time. It drives internal/node
// unchanged, with the same events that the daemon feeds it, and holds every interval that a node publishes against the truth.
//
// Main types: World (true time and the event queue), Host (an oscillator with a node, a master or both), Path (one direction of a
// link), Group (hosts that are each other's peers, with liars from internal/sim/adversary among them), Scenario (a TOML file) and Result
// (what a run measured).
//
// Invariants: true time is a whole number of picoseconds and never a float; a counter is exact 128-bit arithmetic with an exact
// inverse; every random stream has its own seed, so that changing one does not move another; the same seed gives the same bytes.
// The code under test sees counter readings only, the checker alone sees true time (theory 1.3).
package sim
