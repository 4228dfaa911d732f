package abcast

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/clockd/clockd/order/abcast/core"
)

// item is one thing that the consumer has to do.
type item struct {
	delivery Delivery
	hidden   bool // the runtime's own message
	bytes    int  // of the message as the engine counts them

	install  *core.Snapshot // replace the state
	snapshot *core.Snapshot // write it
	book     map[core.ID]string
}

// queue is between the loop and the consumer. Its length is bounded by the engine (core.Config.Unconsumed).
type queue struct {
	mu      sync.Mutex
	items   []item
	batch   []item // what the consumer has taken and not looked at yet, from head on; the consumer's own
	head    int
	pushed  uint64        // items ever
	done    atomic.Uint64 // items the consumer is done with
	readers atomic.Int32  // who wait for done
	changed chan struct{}
	waiting bool // somebody listens to changed
	ended   bool // nothing comes after what is in it
	closed  atomic.Bool
}

func newQueue() *queue { return &queue{changed: make(chan struct{})} }

// signal tells who waits. The lock is held.
func (q *queue) signal() {
	if q.waiting {
		close(q.changed)
		q.changed = make(chan struct{})
		q.waiting = false
	}
}

func (q *queue) push(items ...item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.items = append(q.items, items...)
	q.pushed += uint64(len(items))
	q.signal()
}

// position is the number of items that were ever pushed.
func (q *queue) position() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.pushed
}

// end says that no more items come; now: not even those that are in it.
func (q *queue) end(now bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ended = true
	if now {
		q.closed.Store(true)
	}
	q.signal()
}

// next waits for an item. It takes all that there are at once: the lock is for the first only.
func (q *queue) next(ctx context.Context) (item, bool) {
	for {
		if q.closed.Load() || ctx.Err() != nil {
			return item{}, false
		}
		if q.head < len(q.batch) {
			x := q.batch[q.head]
			q.batch[q.head] = item{}
			q.head++
			return x, true
		}
		q.mu.Lock()
		if len(q.items) > 0 {
			q.items, q.batch, q.head = q.batch[:0], q.items, 0
			q.mu.Unlock()
			continue
		}
		if q.ended {
			q.mu.Unlock()
			return item{}, false
		}
		changed := q.changed
		q.waiting = true
		q.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// finish says that the consumer is done with one more item.
func (q *queue) finish() {
	q.done.Add(1)
	if q.readers.Load() == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.signal()
}

// wait waits until the consumer is done with so many items.
func (q *queue) wait(ctx context.Context, n uint64) error {
	q.readers.Add(1) // before done is looked at: either this sees what finish counted, or finish sees this
	defer q.readers.Add(-1)
	for {
		q.mu.Lock()
		if q.done.Load() >= n {
			q.mu.Unlock()
			return nil
		}
		if q.closed.Load() {
			q.mu.Unlock()
			return ErrClosed
		}
		changed := q.changed
		q.waiting = true
		q.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func copyBook(b map[core.ID]string) map[core.ID]string { return maps.Clone(b) }
