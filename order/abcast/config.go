package abcast

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"time"

	"github.com/clockd/clockd/order/abcast/core"
	"github.com/clockd/clockd/order/abcast/transport"
	"github.com/clockd/clockd/order/abcast/wal"
	"github.com/clockd/clockd/virtualclock"
)

// Config is what a member must know.
type Config struct {
	// Group is the group's number: the same at all members, and no other group's in reach.
	Group uint64
	// ID is this process' own: never 0, never used again by another, nor by the same one after it lost its directory.
	ID ID
	// Bootstrap are the first members, the same at each of them. Who joins later (AddMember) has none.
	Bootstrap []ID
	// Members are the addresses of the members, as far as they are known: at least one's for who joins. What AddMember announces comes on top.
	Members map[ID]string
	// Listener is where the others connect; the group closes it. Without it the group listens at this member's address in Members.
	Listener net.Listener
	// Dir is a directory of this process' own: the log, snapshots, the incarnation.
	Dir string
	// Durability is the same at all members: what a message survives before it is acknowledged.
	Durability wal.Mode
	// Security says by what members know each other; Plain does without, for tests and measurements.
	Security *transport.Security
	Plain    bool

	// Clock is the host's clock: a virtualclock.Reader of clockd's page, a clock in this process. Without it the system's clock is used, of which nothing is known:
	// the order is as right, but messages may wait for the clock that is furthest behind.
	Clock virtualclock.Source

	// Snapshot writes the application's state, and Restore replaces it by one that was written. Both are called by the consumer of Deliveries, between two items.
	// Without them the log on disk grows for ever, and nobody can join who needs more than what the others still hold in memory.
	Snapshot func(io.Writer) error
	Restore  func(io.Reader) error

	// Engine makes the protocol; nil means TSAB.
	Engine func(core.Config, core.Restart) (Engine, error)
	// Tuning are the protocol's times and sizes; its Group, ID, Bootstrap and Durability are overwritten.
	Tuning core.Config
	// Transport are the sessions' times and sizes; its Group, ID, Incarnation, Disk, Listener, Security, Plain, Handler and Log are overwritten.
	Transport transport.Config
	// Wal are the log's sizes; its Mode and Durable are overwritten. FS is also where snapshots are.
	Wal wal.Options
	// InboxBytes is how many bytes of frames of one peer may wait for the engine before the peer has to: 16 MiB.
	InboxBytes int
	// Log is told of views, sessions and refusals; nil means nobody.
	Log *slog.Logger
}

func (c *Config) prepare() error {
	switch {
	case c.ID == 0:
		return errors.New("abcast: a member needs an ID that is not 0")
	case c.Dir == "":
		return errors.New("abcast: a member needs a directory of its own")
	case len(c.Bootstrap) > 0 && !slices.Contains(c.Bootstrap, c.ID):
		return fmt.Errorf("abcast: member %d is not among the first ones, %v: who joins later has none of them configured", c.ID, c.Bootstrap)
	case (c.Snapshot == nil) != (c.Restore == nil):
		return errors.New("abcast: an application that writes snapshots must read them, and the other way round")
	}
	if c.Engine == nil {
		c.Engine = TSAB
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.InboxBytes <= 0 {
		c.InboxBytes = 16 << 20
	}
	c.Log = c.Log.With("group", c.Group, "member", uint64(c.ID))
	t := &c.Tuning
	t.Group, t.ID, t.Bootstrap = c.Group, c.ID, c.Bootstrap
	if t.MaxPayload == 0 {
		t.MaxPayload = 1 << 20
	}
	t.MaxPayload++ // the envelope
	if c.Snapshot == nil {
		t.SnapshotEvery = -1
	}
	switch c.Durability {
	case wal.Fsync:
		t.Durability = core.Fsync
	case wal.OS:
		t.Durability = core.OS
	case wal.Memory:
		t.Durability = core.Memory
	default:
		return fmt.Errorf("abcast: durability %v", c.Durability)
	}
	return c.listen()
}

func (c *Config) listen() error {
	if c.Listener != nil {
		return nil
	}
	address, ok := c.Members[c.ID]
	if !ok {
		return fmt.Errorf("abcast: member %d has no address to listen at", c.ID)
	}
	var err error
	if c.Listener, err = (&net.ListenConfig{}).Listen(context.Background(), "tcp", address); err != nil {
		return fmt.Errorf("abcast: %w", err)
	}
	return nil
}

// clock reads the time for the engine.
type clock struct {
	source virtualclock.Source
	start  time.Time
}

// point is a source that shows one number too: the clocks of package virtualclock and clocktest do.
type point interface{ Read() virtualclock.Reading }

func (c *clock) now() core.Now {
	at := time.Now()
	now := core.Now{Elapsed: at.Sub(c.start)}
	switch s := c.source.(type) {
	case nil:
		now.Clock, now.Sound = virtualclock.FromTime(at), true
	case point:
		r := s.Read()
		now.Clock, now.Sound = r.Time, r.Interval.Sound()
	default:
		i := s.Now()
		if now.Sound = i.Sound(); now.Sound {
			now.Clock = i.Earliest.Add(i.Latest.Sub(i.Earliest) / 2)
		}
	}
	return now
}
