// Package transport carries frames between the members of a group: over TCP with mutual TLS 1.3, or without either for tests and
// benchmarks.
//
// The main type is Transport. Each member keeps one session with each other one, in each direction: it dials, is told who answers and
// in which incarnation, says who it is, and then sends frames, which arrive in order and at most once, or the session ends. Whatever is
// lost with a session the protocol above repairs. Frames that wait leave together (up to 64 KiB a write), without waiting for an
// answer. For snapshots there are streams, each a connection of its own.
//
// Invariants. Who a peer is stands in its certificate (Security), and is held against the membership (SetPeers) before a byte of a
// frame is read. Of two sessions of one peer only the later one is heard: one of an earlier incarnation, an older one of the same,
// or a recorded one that is played again is refused. Whatever arrives, memory is bounded: by the bytes that may wait for each peer, the frame's greatest
// length, and the number of connections whose other side is not known yet. Every refusal is counted under its reason.
package transport
