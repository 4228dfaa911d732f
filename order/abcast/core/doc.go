// Package core is the pure core of TSAB, the timestamp-ordered atomic broadcast of clockd (docs/abcast.md; theory 6.4): one process of one
// group as a state machine. It has no goroutine, no socket, no file, no clock and no randomness but what is passed in; package abcast drives it.
//
//	c, err := core.New(config, restart)
//	c.Step(now, event); c.Broadcast(now, payload, key); c.Read(now)     // something happened, or is wanted
//	ready := c.Ready(now)                                               // what to do about it
//
// What the driver owes to the core, for each Ready, and in this order of importance:
//
//  1. Append Records to the log in their order. They need not be durable before the messages go out: the core itself holds back whatever must wait, until
//     EventPersisted says up to which record the log is durable.
//  2. Hand Upcalls to the application, in order, exactly as they come: messages, views, snapshots to install and to take.
//  3. Send Messages. They may be lost, repeated and reordered; the core repairs. Sessions that keep the order only make it faster.
//  4. Call Step with EventTimer when the monotonic time is Wake, at the latest a little later.
//
// Invariants. The position (view, timestamp, sender) of deliveries strictly increases; all processes, also those that crash later, deliver contiguous parts of one
// sequence; what was delivered anywhere is in every later cut. None of this rests on the clock, which only buys time (theory 6.5).
//
// Sources: Lamport 1978; Du et al. 2014 (Clock-RSM); Birman et al. 1991 (views and flush); Ongaro and Ousterhout 2014, through
// go.etcd.io/raft/v3, which decides the views.
package core
