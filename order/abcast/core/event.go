package core

// EventKind says what happened.
type EventKind uint8

// The kinds of events.
const (
	// EventTimer: Ready.Wake has come. Any event serves as one.
	EventTimer EventKind = iota + 1
	// EventFrame: Frame came from Peer, whom the transport has authenticated. The core keeps Frame: the driver must not use it again.
	EventFrame
	// EventPersisted: all records up to and including LSN are as durable as the mode says.
	EventPersisted
	// EventConnected: a new session with Peer exists; what was sent before it may be lost.
	EventConnected
	// EventSnapshotSaved: the application's state at the UpcallSnapshot whose Meta this is has been stored durably.
	EventSnapshotSaved
	// EventSnapshotReceived: a snapshot was received from Peer and stored durably under Meta. If the core takes it, UpcallInstall follows; if it is of no use (older than what
	// is here), nothing happens, and the driver must keep the one it had as the newest.
	EventSnapshotReceived
	// EventAddMember: let Peer, a process with a new ID, into the group. The group goes on to count it in its majorities at once, so begin it soon. One change at a time.
	EventAddMember
	// EventRemoveMember: take Peer out of the group for ever. One change at a time.
	EventRemoveMember
	// EventReconfigure: try to agree on a new view now, coordinated by this process, without Peer (0: with all that can be). Anybody may at any time; it costs a view change.
	EventReconfigure
)

// Event is one input of Step: a union; which fields mean anything is said at each kind.
type Event struct {
	Kind  EventKind
	Peer  ID
	Frame []byte
	LSN   uint64
	Meta  []byte
}
