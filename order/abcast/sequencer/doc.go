// Package sequencer is a fixed-sequencer (asymmetric) engine of package abcast: members hand their messages to the first member of the view, which alone sends them in its order. It is the classical
// counterpart of ordering by timestamps, and a baseline for it: no promise of any clock is waited for, but every message goes through one process.
//
// Its main type is Engine: core.Core with only one sender for each view (core.Config.Sequencer), and the handing on around it. So its fault tolerance is that of TSAB: a message is delivered
// once a majority holds it (the third delay, without which a crash of the sequencer could take back what was delivered), and the fail-over is a view that raft decides, with the flush of everything that
// a majority may have seen. A message that was handed on and lost is handed on again, in a new view or after a time; numbers keep it from being delivered twice.
//
// Source: Défago, Schiper and Urbán, "Total order broadcast and multicast algorithms", 2004 (unicast-broadcast fixed sequencer).
package sequencer
