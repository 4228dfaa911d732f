// Package abcast is atomic broadcast: what any member of a group broadcasts, all members deliver, in one order, which is that of the
// time at which it was sent (TSAB, docs/abcast.md; theory 6.4). It survives the crash of a minority, restarts, and partitions; clocks that are wrong
// cost time, never order.
//
//	g, err := abcast.Open(abcast.Config{Group: 7, ID: 1, Bootstrap: []abcast.ID{1, 2, 3}, Members: addresses, Dir: dir, ...})
//	go func() { position, err := g.Broadcast(ctx, payload) }()
//	for d := range g.Deliveries(ctx) { apply(d) }
//
// The main type is Group: the runtime of one process, which drives a pure Engine (package core; others may be put in its place) with a log on
// disk (package wal), sessions with the other members (package transport), a clock and timers. Log is the part of it that programs need.
//
// Invariants. Messages are delivered in ascending Position and Index, the same at all members; one that was delivered anywhere is delivered by all who stay. An
// error of Broadcast says whether the message may still be delivered: it may if errors.Is(err, reason.BroadcastMaybe), otherwise it never will be. A disk that
// fails, and an engine that finds a contradiction, stop the Group with its error; nothing that was delivered or acknowledged is lost by that.
package abcast
