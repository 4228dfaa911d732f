package core

import (
	"fmt"
	"math"
	"time"
)

// Config is what a process must know. The zero value of a field takes the default that is named there.
type Config struct {
	// Group is a number that all processes of the group share and no other group in reach has; frames of others are refused.
	Group uint64
	ID    ID
	// Bootstrap are the first processes of the group, the same at each of them. A process that is added later has none, and joins when EventAddMember was
	// accepted by one that is in the group.
	Bootstrap []ID
	// Disk is a random number that was drawn when the disk was first used: a process that comes back under its ID without its disk then does not answer for its former
	// lives, so nothing that they acknowledged is lost. It is an emergency exit: raft's state is gone all the same, and it should have a new ID. 0: not known.
	Disk uint64
	// Durability must be the same at all processes.
	Durability Durability
	// Seed makes the timeouts of elections differ between processes.
	Seed uint64

	// Heartbeat is h, the longest silence of an idle process: 5 ms.
	Heartbeat time.Duration
	// StatGap is the shortest time between two STAT frames that nothing else forces: 100 µs.
	StatGap time.Duration
	// SuspectAfter is T_fd, the silence after which a process is suspected: 500 ms. At least three heartbeats. A false suspicion costs a view change, never safety.
	SuspectAfter time.Duration
	// ElectionTimeout is raft's; the actual one is between it and twice of it: SuspectAfter.
	ElectionTimeout time.Duration
	// Resend is the shortest time between two requests for the same missing messages: 4 heartbeats.
	Resend time.Duration

	// Bump is B: a message that is stamped further ahead than this of the own clock does not pull the own promise along, unless a quorum is there already: 50 ms.
	Bump time.Duration
	// LookAhead is x: an idle process promises that far ahead. It spares others the wait for its next heartbeat, and delays its own next message by up to x. 0.
	LookAhead time.Duration
	// Delta makes delivery time-triggered: not before the own clock shows the message's timestamp + Delta. 0: as soon as possible.
	Delta time.Duration
	// Sequencer lets only the first member of each view send: no other member's promise is waited for. Package sequencer hands on to it what others broadcast; the same at all processes.
	Sequencer bool
	// Early gives an UpcallEarly for every message as soon as it is stable.
	Early bool
	// EvictAfter: a member whose own messages wait that long for the others' clocks asks to be put out of the view: 5 s.
	EvictAfter time.Duration

	// MaxPayload is the longest payload in bytes: 1 MiB.
	MaxPayload int
	// MaxFrame is how many bytes of payloads a DATA frame collects: 64 KiB. A payload that is longer has a frame of its own.
	MaxFrame int
	// Window is how many bytes of own messages may be on their way, each counted with 64 bytes besides its payload, until every member has delivered them: 16 MiB.
	Window int
	// Retain is how many bytes of delivered messages are kept in memory for those that lag; who lags further gets a snapshot: 64 MiB.
	Retain int
	// SnapshotEvery is after how many delivered bytes a snapshot is asked for: 64 MiB. Negative: only when another process needs one.
	SnapshotEvery int
	// Unconsumed is how many bytes the application may be behind with its upcalls before delivery pauses: 16 MiB (see Core.Consumed).
	Unconsumed int
	// JoinLag is how many messages a process may be behind to be let into the view: 4096.
	JoinLag int

	// Mutation breaks the protocol on purpose, to test the tests. Never set it.
	Mutation Mutation
}

// Mutation is a fault in the protocol that the explorer's checker must find.
type Mutation uint8

// The mutations of theory 7.1.
const (
	Faithful            Mutation = iota
	SmallAckQuorum               // a − 1
	SmallFlushQuorum             // φ − 1
	AckFrozen                    // acknowledges after freezing
	IgnoreStability              // delivers what is acknowledged without waiting for promises
	IgnoreOwnPromise             // does not raise its own promise before it delivers
	ReadWithoutProbe             // reads on its clock alone
	AckBeforeDurable             // acknowledges what is not yet durable
	AnswerWithoutMemory          // in memory mode a restarted process answers for its former life
)

func (c *Config) defaults() {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	size := func(n *int, v int) {
		if *n == 0 {
			*n = v
		}
	}
	set(&c.Heartbeat, 5*time.Millisecond)
	set(&c.StatGap, 100*time.Microsecond)
	set(&c.SuspectAfter, 500*time.Millisecond)
	set(&c.ElectionTimeout, c.SuspectAfter)
	set(&c.Resend, 4*c.Heartbeat)
	set(&c.Bump, 50*time.Millisecond)
	set(&c.EvictAfter, 5*time.Second)
	size(&c.MaxPayload, 1<<20)
	size(&c.MaxFrame, 64<<10)
	size(&c.Window, 16<<20)
	size(&c.Retain, 64<<20)
	size(&c.SnapshotEvery, 64<<20)
	size(&c.Unconsumed, 16<<20)
	size(&c.JoinLag, 4096)
}

func (c *Config) check() error {
	if c.ID == 0 {
		return fmt.Errorf("abcast: a process needs an ID that is not 0")
	}
	for k, id := range c.Bootstrap {
		for _, other := range c.Bootstrap[:k] {
			if id == other {
				return fmt.Errorf("abcast: process %d is twice among the first of the group", id)
			}
		}
		if id == 0 {
			return fmt.Errorf("abcast: a process cannot have the ID 0")
		}
	}
	if len(c.Bootstrap) > maxMembers {
		return fmt.Errorf("abcast: a group has %d processes at the most, not %d", maxMembers, len(c.Bootstrap))
	}
	if c.Heartbeat <= 0 || c.SuspectAfter < 3*c.Heartbeat {
		return fmt.Errorf("abcast: suspicion after %v needs a heartbeat of a third of that at the most, not %v", c.SuspectAfter, c.Heartbeat)
	}
	if c.ElectionTimeout < 2*electionTicks || c.StatGap < 0 || c.Resend <= 0 || c.Bump < 0 || c.LookAhead < 0 || c.Delta < 0 || c.EvictAfter <= 0 {
		return fmt.Errorf("abcast: a time in the configuration is negative")
	}
	if c.MaxPayload < 1 || c.MaxPayload > MaxPayload || c.MaxFrame < 1 || c.MaxFrame > MaxPayload {
		return fmt.Errorf("abcast: payloads and frames are from 1 byte to %d", MaxPayload)
	}
	if c.Window < c.MaxPayload || c.Window > math.MaxInt32 || c.Unconsumed < 1 || c.Retain < 0 || c.JoinLag < 0 {
		return fmt.Errorf("abcast: the window of %d bytes must have room for the longest payload of %d", c.Window, c.MaxPayload)
	}
	return nil
}
