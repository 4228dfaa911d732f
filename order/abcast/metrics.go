package abcast

import (
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/clockd/clockd/order/abcast/core"
	"github.com/clockd/clockd/order/abcast/transport"
	"github.com/clockd/clockd/order/abcast/wal"
)

// Metrics is what a group shows of itself.
type Metrics struct {
	core.Status
	core.Counters
	Transport *transport.Counters
	// Latency is from Broadcast to the delivery here, of the messages of this process.
	Latency Latency
	// Blocked is how many broadcasts wait for room in the window.
	Blocked int
	// Queued is how many items wait for the consumer of Deliveries.
	Queued uint64
	// LogDurable is the last durable record, LogPending how many bytes wait for the disk, LogBytes how many are on it.
	LogDurable wal.Position
	LogPending int
	LogBytes   int64
}

// Metrics returns the state and the counters.
func (g *Group) Metrics() Metrics {
	m := Metrics{Transport: g.transport.Counters(), Latency: g.latency.read(), LogPending: g.log.Pending(), LogBytes: g.log.Size()}
	m.LogDurable, _ = g.log.Durable()
	if !g.ask(func(core.Now) {
		m.Status, m.Counters, m.Blocked = g.engine.Status(), g.engine.Counters(), len(g.loop.blocked)
	}) {
		<-g.ended
		m.Status, m.Counters = g.loop.status, g.loop.counters
	}
	g.queue.mu.Lock()
	m.Queued = g.queue.pushed - g.queue.done.Load()
	g.queue.mu.Unlock()
	return m
}

// Status is the engine's state alone.
func (g *Group) Status() core.Status {
	var s core.Status
	if !g.ask(func(core.Now) { s = g.engine.Status() }) {
		<-g.ended
		s = g.loop.status
	}
	return s
}

// histogram counts durations in buckets whose edges are an eighth of a power of two apart: a quantile is never too small, and at most 12.5 % too large.
type histogram struct {
	buckets [64 * 8]atomic.Uint64
	max     atomic.Int64
}

func bucket(d time.Duration) int {
	n := uint64(max(d, 1))
	e := bits.Len64(n) - 1
	if e < 3 {
		return int(n)
	}
	return 8*(e-2) + int(n>>(e-3)&7)
}

// edge is the greatest duration of a bucket.
func edge(b int) time.Duration {
	if b < 8 {
		return time.Duration(b)
	}
	e := b/8 + 2
	return time.Duration(uint64(b%8+9)<<(e-3) - 1)
}

func (h *histogram) add(d time.Duration) {
	h.buckets[bucket(d)].Add(1)
	for {
		m := h.max.Load()
		if int64(d) <= m || h.max.CompareAndSwap(m, int64(d)) {
			return
		}
	}
}

// Latency is a distribution of durations; the quantiles are upper edges, at most 12.5 % too large. Without a message all are 0, and so is Count.
type Latency struct {
	Count              uint64
	P50, P90, P99, Max time.Duration
}

func (h *histogram) read() Latency {
	var counts [len(h.buckets)]uint64
	var l Latency
	for i := range h.buckets {
		counts[i] = h.buckets[i].Load()
		l.Count += counts[i]
	}
	l.Max = time.Duration(h.max.Load())
	quantile := func(q float64) time.Duration {
		rest := uint64(q * float64(l.Count))
		for i, n := range counts {
			if n > rest {
				return min(edge(i), l.Max)
			}
			rest -= n
		}
		return l.Max
	}
	if l.Count > 0 {
		l.P50, l.P90, l.P99 = quantile(0.5), quantile(0.9), quantile(0.99)
	}
	return l
}

// Member is this process' life, as the origin of its messages shows it.
func (g *Group) Member() Member { return g.self }
