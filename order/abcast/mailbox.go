package abcast

import (
	"sync"
	"sync/atomic"

	"github.com/clockd/clockd/order/abcast/core"
	"github.com/clockd/clockd/order/abcast/wal"
)

// mailbox is what waits for the loop. The loop takes all of it at once.
type mailbox struct {
	limit int // bytes of frames of one peer
	wake  chan struct{}

	mu     sync.Mutex
	room   sync.Cond
	closed bool
	eaten  atomic.Int64 // bytes that the application is done with
	bytes  map[core.ID]int
	mail
}

type mail struct {
	frames     []arrived
	broadcasts []*broadcast
	calls      []func(core.Now)
	durable    wal.Position
	consumed   int
}

type arrived struct {
	from  core.ID
	frame []byte
}

func newMailbox(limit int) *mailbox {
	b := &mailbox{limit: limit, wake: make(chan struct{}, 1), bytes: map[core.ID]int{}}
	b.room.L = &b.mu
	return b
}

func (b *mailbox) poke() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// frame puts a frame in; it waits while too many of the same peer wait.
func (b *mailbox) frame(from core.ID, frame []byte) {
	b.mu.Lock()
	for b.bytes[from] > b.limit && !b.closed {
		b.room.Wait()
	}
	if !b.closed {
		b.frames = append(b.frames, arrived{from, frame})
		b.bytes[from] += len(frame)
	}
	b.mu.Unlock()
	b.poke()
}

// broadcast puts a broadcast in; false: nobody will look at it.
func (b *mailbox) broadcast(x *broadcast) bool {
	b.mu.Lock()
	defer b.poke()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.broadcasts = append(b.broadcasts, x)
	return true
}

// call lets the loop call f; false: it never will.
func (b *mailbox) call(f func(core.Now)) bool {
	b.mu.Lock()
	defer b.poke()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.calls = append(b.calls, f)
	return true
}

// persisted says how far the log is durable.
func (b *mailbox) persisted(p wal.Position) {
	b.mu.Lock()
	b.durable = max(b.durable, p)
	b.mu.Unlock()
	b.poke()
}

// done says that the application is done with so many bytes. The loop is woken for many only: it wakes by itself often enough for few.
func (b *mailbox) done(bytes int) {
	if now := b.eaten.Add(int64(bytes)); now > 1<<20 && now-int64(bytes) <= 1<<20 {
		b.poke()
	}
}

// take empties the mailbox into m, whose slices are used again.
func (b *mailbox) take(m *mail) {
	clear(m.frames)
	clear(m.broadcasts)
	clear(m.calls)
	b.mu.Lock()
	defer b.mu.Unlock()
	*m, b.mail = b.mail, mail{frames: m.frames[:0], broadcasts: m.broadcasts[:0], calls: m.calls[:0], durable: b.durable}
	m.consumed = int(b.eaten.Swap(0))
	clear(b.bytes)
	b.room.Broadcast()
}

// close lets nobody in any more, and returns what nobody will look at.
func (b *mailbox) close() mail {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.room.Broadcast()
	left := b.mail
	b.mail = mail{}
	return left
}
