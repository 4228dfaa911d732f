package abcast

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/clockd/clockd/order/abcast/core"
)

// A payload begins with a byte that says whose it is.
const (
	envelopeUser    = 0
	envelopeAddress = 1 // the runtime's own: the address of a member, which all learn in order
)

// maxAddress is the longest address of a member in bytes.
const maxAddress = 1024

func encodeAddress(id core.ID, address string) []byte {
	return append(binary.AppendUvarint(nil, uint64(id)), address...)
}

func decodeAddress(b []byte) (core.ID, string, bool) {
	id, n := binary.Uvarint(b)
	if n <= 0 || id == 0 || len(b)-n > maxAddress {
		return 0, "", false
	}
	return core.ID(id), string(b[n:]), true
}

// heed does what a message of the runtime's own says.
func (g *Group) heed(payload []byte) {
	if len(payload) == 0 || payload[0] != envelopeAddress {
		return
	}
	if id, address, ok := decodeAddress(payload[1:]); ok {
		g.loop.book[id] = address
		g.setPeers()
	}
}

// setPeers tells the transport who the others are: those that the engine names, or all with an address while it has named none.
func (g *Group) setPeers() {
	l := &g.loop
	addresses := map[uint64]string{}
	if l.known && len(l.peers) > 0 {
		for _, id := range l.peers {
			addresses[uint64(id)] = l.book[id]
		}
	} else {
		for id, address := range l.book {
			addresses[uint64(id)] = address
		}
	}
	g.transport.SetPeers(addresses)
}

// Announce tells all members at which address a member is, in the order of the messages.
func (g *Group) Announce(ctx context.Context, id ID, address string) error {
	if id == 0 || len(address) > maxAddress {
		return fmt.Errorf("abcast: member %d cannot be at %.40q", id, address)
	}
	_, err := g.broadcast(ctx, envelopeAddress, encodeAddress(id, address), Key{})
	return err
}

// AddMember lets a process with a new ID into the group. It returns when the group counts it among its own; the process, which should be there already, then fetches
// what it misses and comes into the view by itself. One change of the group should be made at a time.
func (g *Group) AddMember(ctx context.Context, id ID, address string) error {
	if err := g.Announce(ctx, id, address); err != nil {
		return err
	}
	return g.change(ctx, core.EventAddMember, id, func(universe []core.ID) bool { return slices.Contains(universe, id) })
}

// RemoveMember takes a process out of the group for ever: its ID must not be used again. It returns when the group no longer counts it.
func (g *Group) RemoveMember(ctx context.Context, id ID) error {
	return g.change(ctx, core.EventRemoveMember, id, func(universe []core.ID) bool { return len(universe) > 0 && !slices.Contains(universe, id) })
}

// Members returns the processes of the group, in the view or not, with their addresses as far as they are known here.
func (g *Group) Members() map[ID]string {
	members := map[ID]string{}
	g.ask(func(core.Now) {
		for _, id := range g.engine.Status().Universe {
			members[id] = g.loop.book[id]
		}
	})
	return members
}

// change proposes a change of the group until it is done.
func (g *Group) change(ctx context.Context, kind core.EventKind, id core.ID, done func([]core.ID) bool) error {
	var refused error
	for attempt := 0; ; attempt++ {
		over := false
		if !g.ask(func(now core.Now) {
			if over = done(g.engine.Status().Universe); !over && attempt%10 == 0 {
				refused = g.engine.Step(now, core.Event{Kind: kind, Peer: id})
			}
		}) {
			return fmt.Errorf("abcast: the group was not changed: %w", g.why())
		}
		if over {
			return nil
		}
		timer := time.NewTimer(50 * time.Millisecond)
		select {
		case <-timer.C:
		case <-g.ctx.Done():
		case <-ctx.Done():
			timer.Stop()
			return errors.Join(fmt.Errorf("abcast: the change of the group may still be made: %w", ctx.Err()), refused)
		}
	}
}

// ask lets the loop call f and waits for it; false: the loop is over.
func (g *Group) ask(f func(core.Now)) bool {
	done := make(chan struct{})
	if !g.box.call(func(now core.Now) {
		f(now)
		close(done)
	}) {
		return false
	}
	<-done
	return true
}

func encodeBook(b []byte, book map[core.ID]string) []byte {
	b = binary.AppendUvarint(b, uint64(len(book)))
	for _, id := range slices.Sorted(maps.Keys(book)) {
		entry := encodeAddress(id, book[id])
		b = binary.AppendUvarint(b, uint64(len(entry)))
		b = append(b, entry...)
	}
	return b
}

// decodeBook reads a book and returns what follows it.
func decodeBook(b []byte) (map[core.ID]string, []byte, bool) {
	count, n := binary.Uvarint(b)
	if n <= 0 || count > uint64(len(b)) {
		return nil, nil, false
	}
	b = b[n:]
	book := map[core.ID]string{}
	for range count {
		length, n := binary.Uvarint(b)
		if n <= 0 || length > uint64(len(b)-n) {
			return nil, nil, false
		}
		id, address, ok := decodeAddress(b[n : n+int(length)])
		if !ok {
			return nil, nil, false
		}
		book[id] = address
		b = b[n+int(length):]
	}
	return book, b, true
}
