// Package adversary is a library of Byzantine behaviours: ways in which a member of a group of peers may lie to the others. The
// simulation (internal/sim) and the live demo (internal/demo) lie with it.
//
// A Liar sits between an honest node and the wire: it alters what the node is about to tell a peer, or holds the peer's packets up.
// It knows everything (Sight), as the theory's adversary does, and is not to be caught where it can help it: to one peer it tells one
// story of a round (an equivocator aside).
//
// Main types: Liar, Sight. Source: theory 3.6 and 7.3. What belongs to the network and the oscillators, unfair delays and drift that
// keeps clocks apart, is internal/sim's.
package adversary
