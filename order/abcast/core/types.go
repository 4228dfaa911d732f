package core

import (
	"cmp"
	"fmt"
	"time"

	"github.com/clockd/clockd/virtualclock"
)

// ID names a process of the group for ever. It is also its node number in raft: never 0, and never given to another process, nor to the same one after it
// lost its disk (or in memory mode to one whose raft log is gone).
type ID uint64

// Member is one life of a process: every restart takes the next incarnation, so a restarted process is a member of no old view.
type Member struct {
	ID          ID
	Incarnation uint64
}

// String returns "id.incarnation".
func (m Member) String() string { return fmt.Sprintf("%d.%d", m.ID, m.Incarnation) }

// Timestamp is a reading of a virtual clock in nanoseconds since the Unix epoch, made unique and monotone by its member.
type Timestamp int64

// Time converts to the virtual timeline.
func (t Timestamp) Time() virtualclock.Time { return virtualclock.Unix(int64(t), 0) }

// ViewID numbers the views from 1; view 0 is the empty one before the first.
type ViewID uint64

// View is an agreed membership. Members are in ascending order of ID.
type View struct {
	ID      ViewID
	Members []Member
	// Quorum is a_v: how many members must hold a message durably before anybody delivers it.
	Quorum int
}

// FlushQuorum is φ_v: how many members must have frozen before the view's cut is known. Quorum + FlushQuorum > len(Members).
func (v *View) FlushQuorum() int { return len(v.Members) - v.Quorum + 1 }

// Contains reports whether exactly this life of a process is a member.
func (v *View) Contains(m Member) bool {
	for _, x := range v.Members {
		if x == m {
			return true
		}
	}
	return false
}

// Position is the key of the total order: (view, timestamp, sender). The zero value is before everything.
type Position struct {
	View   ViewID
	Time   Timestamp
	Sender ID
}

// Compare returns −1, 0 or +1.
func (p Position) Compare(q Position) int {
	return cmp.Or(cmp.Compare(p.View, q.View), cmp.Compare(p.Time, q.Time), cmp.Compare(p.Sender, q.Sender))
}

// String returns "view/timestamp/sender".
func (p Position) String() string { return fmt.Sprintf("%d/%d/%d", p.View, p.Time, p.Sender) }

// Key makes a broadcast idempotent: of messages with the same key that is not zero only the first in the order is delivered, as long as no more than
// DedupeWindow keyed messages lie between them. It also holds across restarts of the sender, and when another process sends it again.
type Key [16]byte

// DedupeWindow is how many keys are remembered. It is part of the protocol: all processes must forget at the same place.
const DedupeWindow = 1 << 16

// Now is the time of a step.
type Now struct {
	// Elapsed is a monotonic time since any fixed instant. It never decreases, and serves timeouts only.
	Elapsed time.Duration
	// Clock is what the host's virtual clock shows. It may be wrong by any amount: that costs latency, never safety.
	Clock virtualclock.Time
	// Sound reports whether the clock is synchronised or in holdover. Without it the process still acknowledges and promises, but sends nothing.
	Sound bool
}

// Message is a delivered message.
type Message struct {
	Position Position
	// Index counts what was delivered since the group began: 1 is the first. It is the same everywhere.
	Index uint64
	// CommitTS is a timestamp that strictly increases along the order: max(Position.Time, previous + 1).
	CommitTS Timestamp
	// Origin is the life of the process that broadcast it, and Number what Broadcast returned there: per Origin it increases.
	Origin  Member
	Number  uint64
	Key     Key
	Payload []byte // not to be changed
	// Late: time-triggered delivery (Config.Delta) could not keep its instant.
	Late bool
}

// UpcallKind says what the application is told.
type UpcallKind uint8

// The kinds of upcalls.
const (
	// UpcallMessage delivers Message. It is uniform: whoever survives delivers it, at the same place.
	UpcallMessage UpcallKind = iota + 1
	// UpcallDuplicate is a message whose Key was delivered before: the application ignores it, a Broadcast that waits for it has its answer. It takes a place in the
	// order (Index, CommitTS), like any.
	UpcallDuplicate
	// UpcallView: View was installed here, after all messages of earlier views and before any of its own.
	UpcallView
	// UpcallInstall: the application's state is to be replaced by the snapshot Snapshot, which the driver has stored (EventSnapshotReceived); View is the one that it was
	// taken in. What follows is after it.
	UpcallInstall
	// UpcallSnapshot: the application should take a snapshot of its state right here, and the driver store it together with Snapshot.Meta, atomically; then
	// Step(EventSnapshotSaved). If it cannot, nothing is lost but room in the log.
	UpcallSnapshot
	// UpcallEarly shows Message before it is uniform (Config.Early): its place among the messages of its view is final, but if members crash now it may yet be
	// delivered in a later view or, if its sender dies, never. Its Index and CommitTS are 0: unknown.
	UpcallEarly
)

// Upcall is one item of what the application must see, in order: a union.
type Upcall struct {
	Kind     UpcallKind
	Message  Message  // UpcallMessage, UpcallDuplicate, UpcallEarly
	View     *View    // UpcallView, UpcallInstall
	Snapshot Snapshot // UpcallInstall, UpcallSnapshot
}

// Snapshot names a place in the order at which an application's state is kept.
type Snapshot struct {
	Position Position
	Index    uint64
	// Own belongs to UpcallInstall: messages of this life of this process with a Number up to it were delivered within the snapshot; those above will be delivered later.
	Own uint64
	// Meta is what the core needs to go on from there; opaque, stored and sent with the application's state. A few hundred bytes, and 16 per remembered key.
	Meta []byte
}

// Outgoing is a frame to be sent.
type Outgoing struct {
	// To is the receiver; 0 means every other process of Ready.Peers. A process that is being added may be told to answer one that is not in Peers yet.
	To    ID
	Frame []byte // not to be changed; the core may keep it
}

// RecordKind says what a record is for.
type RecordKind uint8

// The kinds of records.
const (
	// RecordData carries messages. In memory mode it need not be stored: it counts as durable at once, and a restart begins without it.
	RecordData RecordKind = iota + 1
	// RecordRaft is raft's: it must be durable (as fsync in modes Fsync and Memory, at least in the operating system in mode OS) before EventPersisted names it.
	RecordRaft
)

// Record is something to be appended to the log. LSN increases by one from record to record, across restarts.
type Record struct {
	LSN  uint64
	Kind RecordKind
	Data []byte // not to be changed; the core may keep it. Empty for RecordData in memory mode
}

// Durability is what EventPersisted means for RecordData.
type Durability uint8

// The modes of durability.
const (
	// Fsync: it survives power failures.
	Fsync Durability = iota
	// OS: it survives crashes of the process.
	OS
	// Memory: it is in this process's memory. A restarted process has lost it, so at most N − a processes may crash at once.
	Memory
)

// ReadResult answers Read: the application's state is linearizable as soon as it has taken all upcalls up to and including those of this Ready.
type ReadResult struct {
	ID    uint64 // what Read returned
	Index uint64 // of the last message that belongs before the read
}

// Ready is what a driver has to do. Its slices are valid until the next call of Ready; frames, records' data and payloads longer.
type Ready struct {
	Records  []Record
	Messages []Outgoing
	Upcalls  []Upcall
	Reads    []ReadResult
	// SendSnapshot: stream the newest stored snapshot, application state and Meta, to these processes, over a way of the driver's own. The receiver's driver stores
	// it and then calls Step(EventSnapshotReceived). It is asked again if that does not come.
	SendSnapshot []ID
	// Forget: records with an LSN below it are not needed any more. 0: nothing new to forget.
	Forget uint64
	// Peers is set when it changed: the processes of the group without this one, to keep sessions with.
	Peers []ID
	// Room: a Broadcast that was refused with reason.BroadcastWindow may be tried again.
	Room bool
	// Removed: this process was taken out of the group by RemoveMember, for ever; it should stop.
	Removed bool
	// Wake is the Elapsed at which EventTimer is due.
	Wake time.Duration
}

// Restart is what a process finds on its disk. The zero value is that of a process that never ran.
type Restart struct {
	// Snapshot is the Meta of the newest stored snapshot; nil if there is none. The application's state must already be restored from it.
	Snapshot []byte
	// Records are those in the log, in the order in which they were appended, from the first that was not forgotten up to the first that is torn.
	Records []Record
}
