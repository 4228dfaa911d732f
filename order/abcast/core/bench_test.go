package core

import (
	"testing"
	"time"

	"github.com/clockd/clockd/virtualclock"
)

// BenchmarkGroup is what three cores cost together, without network and disk: every process broadcasts 100 B in batches of 64, frames are handed over at once.
// messages/s is of the group, on one processor; each process delivers all of them.
func BenchmarkGroup(b *testing.B) {
	for _, batch := range []struct {
		name string
		size int
	}{{"batch=1", 1}, {"batch=64", 64}} {
		b.Run(batch.name, func(b *testing.B) { benchmarkGroup(b, batch.size) })
	}
}

func benchmarkGroup(b *testing.B, batch int) {
	const n = 3
	ids := []ID{1, 2, 3}
	var cores [n]*Core
	for k := range cores {
		c, err := New(Config{Group: 1, ID: ids[k], Bootstrap: ids, Durability: Memory, Seed: 1, StatGap: time.Nanosecond}, Restart{})
		if err != nil {
			b.Fatal(err)
		}
		cores[k] = c
	}
	var elapsed time.Duration
	now := func() Now {
		return Now{Elapsed: elapsed, Clock: virtualclock.Unix(int64(1e18)+int64(elapsed), 0), Sound: true}
	}
	var inbox [n][][]byte
	var from [n][]ID
	turn := func(k int) {
		r := cores[k].Ready(now())
		for _, u := range r.Upcalls {
			cores[k].Consumed(len(u.Message.Payload))
		}
		for _, m := range r.Messages {
			for to := range n {
				if to != k && (m.To == 0 || m.To == ids[to]) {
					inbox[to] = append(inbox[to], m.Frame)
					from[to] = append(from[to], ids[k])
				}
			}
		}
		if len(r.Records) > 0 {
			_ = cores[k].Step(now(), Event{Kind: EventPersisted, LSN: r.Records[len(r.Records)-1].LSN})
		}
	}
	round := func() {
		elapsed += 50 * time.Microsecond
		for k := range n {
			frames, who := inbox[k], from[k]
			inbox[k], from[k] = nil, nil
			for i, f := range frames {
				if err := cores[k].Step(now(), Event{Kind: EventFrame, Peer: who[i], Frame: f}); err != nil {
					b.Fatal(err)
				}
			}
			turn(k)
		}
	}
	for !cores[0].Status().InView || !cores[1].Status().InView || !cores[2].Status().InView {
		round()
	}
	payload := make([]byte, 100)
	start := cores[0].Status().Index
	b.ReportAllocs()
	b.ResetTimer()
	sent := 0
	for sent < b.N {
		for k := range n {
			for range batch {
				if _, err := cores[k].Broadcast(now(), payload, Key{}); err != nil {
					break
				}
				sent++
			}
		}
		round()
	}
	for cores[0].Status().Index < start+uint64(sent) {
		round()
	}
	b.StopTimer()
	b.ReportMetric(float64(sent)/b.Elapsed().Seconds(), "messages/s")
}
