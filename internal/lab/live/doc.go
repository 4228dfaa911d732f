// Package live runs groups of real clockd processes on this machine, each over a wrong counter of its own and an emulated network, breaks
// them by a script, and measures what their clocks really do.
//
// Main function: Run, of a Plan (a scenario file, with what the command line changes) and Options. Compare does the same for a clockd and
// a chronyd side by side.
//
// The hosts are the shipped program, `clockd run` with a configuration file. Nothing in it can be told to lie: a liar is the same daemon,
// run by this program's own child process (Member), which alters what it tells its peers with what it sees of all pages at one reading
// of the true counter.
//
// Invariants: the daemons are told nothing that the observer knows; truth is exact, since all counters are images of one
// (internal/lab/observer); what is not known is missing, with a reason; nothing is started before all that can be checked is; whatever
// was started dies with this process, in whatever way that dies, and what a killed run leaves on the disk the next one removes.
package live
