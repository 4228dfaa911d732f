// Package raftlog is a plain replicated log as an engine of package abcast: go.etcd.io/raft/v3 with one entry for each batch of messages, in the place of TSAB. It is the baseline that TSAB is
// measured against, and a choice for those who want quorums only: delivery never waits for a slow member, but every message goes through the leader.
//
// Its main type is Engine, a pure state machine like core.Core: no goroutine, no clock. Any member accepts a broadcast; raft hands the proposal on to its leader. A proposal that was lost is made
// again; numbers, which must follow each other without a gap for each life of a process, keep each message from being delivered twice. Views are entries of the log that its leader writes when it
// hears a member no more, or again: delivery does not depend on them. Position.Time is a timestamp that the origin proposes and that strictly increases along the log.
//
// In memory mode a process that ended has lost its vote and its log: it cannot come back under its ID, and New refuses that.
//
// Source: Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm", 2014.
package raftlog
