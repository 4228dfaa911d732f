// Package order puts events of different hosts in order by time, for programs that must not guess how far clocks are apart: each
// primitive works with the bound that the clock itself states (virtualclock), and refuses while there is none.
//
//	Compare, Stamp, Stamper        which of two events came first, or that nobody can tell; a total order that respects it
//	Lattice, Sparse                coarse timestamps that all hosts agree on
//	Committer, CommitWait          timestamps in the order of real time (external consistency)
//	At                             the same instant on all hosts
//	Between                        how long from an event here to one there, with the error
//	Lamport, Vector, HLC           logical and hybrid clocks; HLC takes no message that a clock within its bound cannot have sent
//	Grantor, Holder                leases that never overlap
//	FIFO, Causal, Total            hold-back queues in bounded memory
//
// The clock is a virtualclock.Source: the shared page of a daemon, a clock of one's own, one of package clocktest, or a simulation.
// Nothing here starts a goroutine, and nothing waits but for a Sleeper and a context.
//
// Invariants. A clock that is not sound gives an error with a code of package reason, never a guess; so does one that was stepped,
// until Resume says that this was dealt with. Intervals of kind INTERNAL are compared within one group only, and their lower edge
// is never held up (it may go back: theory 3.8); their upper edge and the lower edge of EXTERNAL ones never go back.
//
// Sources: Lamport 1978; Fishburn 1970 (interval orders); Fidge and Mattern 1988; Singhal and Kshemkalyani 1992; Birman, Schiper and
// Stephenson 1991 (causal delivery); Kopetz 1992 (sparse time); Gray and Cheriton 1989 (leases); Corbett et al. 2012 (commit wait);
// Kulkarni et al. 2014 (hybrid logical clocks). What each costs is in docs/ordering.md.
package order
