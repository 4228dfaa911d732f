package abcast

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/clockd/clockd/reason"
)

func allDeliverTheSame(t *testing.T, e engine) {
	c := newCluster(t, e, 3, nil)
	const each = 50
	var all sync.WaitGroup
	for _, p := range c.processes {
		all.Go(func() {
			last := Position{}
			for i := range each {
				at := p.broadcast(fmt.Sprintf("%d of %d", i, p.id))
				if at.Compare(last) <= 0 {
					t.Errorf("process %d: %v after %v", p.id, at, last)
				}
				last = at
			}
			p.read()
			if n := len(p.payloads()); n < each {
				t.Errorf("process %d: %d messages after a read", p.id, n)
			}
		})
	}
	all.Wait()
	got := c.same(3*each, 1, 2, 3)
	for id := 1; id <= 3; id++ {
		last := -1
		for i := range each {
			k := slices.Index(got, fmt.Sprintf("%d of %d", i, id))
			if k <= last {
				t.Fatalf("message %d of %d is at %d, the one before at %d", i, id, k, last)
			}
			last = k
		}
	}
	for _, p := range c.processes {
		m := p.Metrics()
		if m.Latency.Count != each || m.Latency.P50 <= 0 || m.Latency.P50 > m.Latency.P99 || m.Latency.P99 > m.Latency.Max || m.Index != 3*each {
			t.Errorf("metrics %+v", m)
		}
	}
}

func canceledBroadcastsAndReads(t *testing.T, e engine) {
	c := newCluster(t, e, 3, nil)
	p := c.processes[1]
	c.inView(1, 2, 3)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Broadcast(ctx, []byte("x")); !errors.Is(err, context.Canceled) || errors.Is(err, reason.BroadcastMaybe) {
		t.Errorf("a broadcast with a context that is over: %v", err)
	}
	c.processes[2].kill()
	c.processes[3].kill()
	// Alone it can do nothing, and says so.
	ctx, cancel = context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() {
		if _, err := p.Broadcast(ctx, []byte("sent before")); !errors.Is(err, context.Canceled) || !errors.Is(err, reason.BroadcastMaybe) {
			t.Errorf("a broadcast that was sent: %v", err)
		}
	})
	all.Go(func() {
		if err := p.Read(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("a read without a majority: %v", err)
		}
	})
	eventually(t, "the broadcast to be sent", func() bool { return p.Status().Pending == 1 })
	cancel()
	all.Wait()
	all.Go(func() {
		if _, err := p.Broadcast(t.Context(), []byte("when closed")); !errors.Is(err, ErrClosed) {
			t.Errorf("a broadcast when the group is closed: %v", err)
		}
	})
	all.Go(func() {
		if err := p.Read(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("a read when the group is closed: %v", err)
		}
	})
	eventually(t, "the broadcast to be sent", func() bool { return p.Status().Pending == 2 })
	p.kill()
	all.Wait()
	if _, err := p.Broadcast(t.Context(), nil); !errors.Is(err, ErrClosed) {
		t.Errorf("a broadcast after the end: %v", err)
	}
	if err := p.Read(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("a read after the end: %v", err)
	}
	if err := p.Err(); err != nil {
		t.Errorf("a closed group has the error %v", err)
	}
	for range p.Deliveries(t.Context()) {
		t.Error("a closed group delivers")
	}
}

func restartWithDisk(t *testing.T, e engine) {
	c := newCluster(t, e, 3, nil)
	sent := 0
	say := func(id ID) {
		c.processes[id].broadcast(fmt.Sprintf("message %d", sent))
		sent++
	}
	for id := ID(1); id <= 3; id++ {
		say(id)
	}
	for id := ID(1); id <= 3; id++ {
		c.processes[id].kill()
		say(id%3 + 1)
		c.start(id)
		say(id)
		c.inView(1, 2, 3)
	}
	c.same(sent, 1, 2, 3)
	// All at once.
	for id := ID(1); id <= 3; id++ {
		c.processes[id].kill()
	}
	for id := ID(1); id <= 3; id++ {
		c.start(id)
	}
	for id := ID(1); id <= 3; id++ {
		say(id)
	}
	got := c.same(sent, 1, 2, 3)
	for i, text := range got {
		if text != fmt.Sprintf("message %d", i) {
			t.Fatalf("message %d is %q", i, text)
		}
	}
}
