package sim

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/clockd/clockd/internal/testkit"
)

// TestQueueAgainstSortedList plays random pushes and pops on the heap and on its slow twin, a list that is sorted each time.
func TestQueueAgainstSortedList(t *testing.T) {
	r := rand.New(rand.NewPCG(testkit.Seed(t), 1))
	for range 200 {
		var q queue
		var twin []event
		serial := uint64(0)
		for range 300 {
			if q.len() != len(twin) {
				t.Fatalf("%d events in the heap, %d in the list", q.len(), len(twin))
			}
			if r.IntN(5) < 3 {
				serial++
				// Few different instants, so that the order of arrival matters.
				e := event{at: Instant(r.IntN(20)), kind: eventWake, host: int32(r.IntN(100))}
				q.push(e)
				e.serial = serial
				twin = append(twin, e)
				continue
			}
			if len(twin) == 0 {
				if q.next() != Never {
					t.Fatal("an empty queue has a next event")
				}
				continue
			}
			slices.SortStableFunc(twin, func(a, b event) int { return int(a.at - b.at) })
			if q.next() != twin[0].at {
				t.Fatalf("next is %v, want %v", q.next(), twin[0].at)
			}
			if got := q.pop(); got != twin[0] {
				t.Fatalf("popped %+v, want %+v", got, twin[0])
			}
			twin = twin[1:]
		}
	}
}

func TestQueueDoesNotAllocate(t *testing.T) {
	var q queue
	for i := range 100 {
		q.push(event{at: Instant(i)})
	}
	if n := testing.AllocsPerRun(1000, func() {
		e := q.pop()
		e.at += 100
		q.push(e)
	}); n != 0 {
		t.Errorf("%g allocations per event", n)
	}
}

func BenchmarkQueue(b *testing.B) {
	var q queue
	r := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		q.push(event{at: Instant(r.Int64N(1e12))})
	}
	for b.Loop() {
		e := q.pop()
		e.at += Instant(r.Int64N(1e12))
		q.push(e)
	}
}
