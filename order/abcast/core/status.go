package core

import "github.com/clockd/clockd/reason"

// Counters count since the process began. All but Held and Outstanding only grow.
type Counters struct {
	Broadcast, BroadcastBytes uint64 // own messages, sent for the first time
	Rebroadcast               uint64 // own messages sent again in a new view
	Delivered, DeliveredBytes uint64
	Duplicates                uint64 // keyed messages that had been delivered before
	Late                      uint64 // time-triggered deliveries that missed their instant
	ViewChanges               uint64 // views installed
	Suspicions                uint64
	Requests, Answered        uint64 // of missing messages
	SnapshotsAsked            uint64
	// StabilityWait and QuorumWait count the steps that ended with a first message waiting for a promise, or for acknowledgements.
	StabilityWait, QuorumWait uint64
	Refused                   [reason.Count]uint64 // frames and broadcasts, by reason
	Held                      uint64               // bytes of messages in memory
	Outstanding               uint64               // bytes of own messages that are on their way
}

// Status is the state of a process for people and metrics.
type Status struct {
	Member  Member
	View    View // the installed one
	Decided ViewID
	// InView: this process is a member of the installed view. Frozen: the view is being changed.
	InView, Frozen bool
	Leader         ID // raft's; 0: not known
	Universe       []ID
	Suspected      []ID
	Position       Position // of the last delivery
	Index          uint64
	CommitTS       Timestamp
	// StabilityLag is how far the others' promises are behind the own clock; OrderWait how long the oldest message that is not delivered has been waiting, both in
	// nanoseconds of the own clock and 0 if there is none.
	StabilityLag, OrderWait int64
	// Pending is how many own messages are accepted and not delivered.
	Pending int
	// Broken is why the core has stopped for good, if it has: its log contradicts itself or the group's. Nothing is sent or delivered any more.
	Broken error
}
