package abcast

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/clockd/clockd/order/abcast/core"
	"github.com/clockd/clockd/order/abcast/wal"
)

// BenchmarkBroadcast broadcasts from all of three members on loopback, each with so many outstanding; a message has 100 bytes. ns/op is the time per message of the group.
func BenchmarkBroadcast(b *testing.B) {
	for _, mode := range []wal.Mode{wal.Memory, wal.Fsync} {
		for _, outstanding := range []int{1, 64, 1024} {
			for _, plain := range []bool{true, false} {
				b.Run(fmt.Sprintf("%v/outstanding=%d/tls=%v", mode, outstanding, !plain), func(b *testing.B) {
					benchmarkBroadcast(b, mode, outstanding, plain)
				})
			}
		}
	}
}

func benchmarkBroadcast(b *testing.B, mode wal.Mode, outstanding int, plain bool) {
	c := newCluster(b, TSAB, 3, func(c *Config) {
		c.Durability = mode
		c.Tuning = core.Config{Seed: uint64(c.ID), SnapshotEvery: -1, SuspectAfter: 5 * time.Second}
		if plain {
			c.Security, c.Plain = nil, true
		}
	})
	c.inView(1, 2, 3)
	work := make(chan struct{}, outstanding)
	payload := make([]byte, 100)
	var all sync.WaitGroup
	b.ResetTimer()
	for _, p := range c.processes {
		for range outstanding {
			all.Go(func() {
				for range work {
					if _, err := p.Broadcast(b.Context(), payload); err != nil {
						b.Error(err)
					}
				}
			})
		}
	}
	for range b.N {
		work <- struct{}{}
	}
	close(work)
	all.Wait()
	b.StopTimer()
	m := c.processes[1].Metrics()
	b.ReportMetric(float64(m.Latency.P50.Microseconds()), "p50-µs")
	b.ReportMetric(float64(m.Latency.P99.Microseconds()), "p99-µs")
}
