package journal

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// A clock that a test moves.
type wall struct{ at time.Time }

func (w *wall) now() time.Time { return w.at }

func TestOrderAndSequence(t *testing.T) {
	w := &wall{time.Unix(1000, 0)}
	j := New(w.now)
	j.Add(Entry{Topic: TopicSource, Name: "a", Reason: reason.SourceWaiting})
	w.at = w.at.Add(time.Second)
	j.Add(Entry{Topic: TopicClock, Status: virtualclock.Synchronised})
	j.Add(Entry{Topic: TopicEpoch, Epoch: 1})
	all, newest := j.Since(0)
	if len(all) != 3 || newest != 3 || all[0].Name != "a" || all[1].Topic != TopicClock || all[2].Epoch != 1 || !all[1].First.Equal(w.at) {
		t.Fatalf("%+v", all)
	}
	if rest, _ := j.Since(2); len(rest) != 1 || rest[0].Topic != TopicEpoch {
		t.Errorf("%+v", rest)
	}
	if rest, same := j.Since(newest); len(rest) != 0 || same != newest {
		t.Errorf("%+v", rest)
	}
}

func TestTheSameNewsAreCounted(t *testing.T) {
	w := &wall{time.Unix(1000, 0)}
	j := New(w.now)
	for range 10 { // a source that flaps
		j.Add(Entry{Topic: TopicSource, Name: "a", Reason: reason.SourceUnreachable})
		w.at = w.at.Add(time.Second)
		j.Add(Entry{Topic: TopicSource, Name: "a"})
		w.at = w.at.Add(time.Second)
	}
	all, newest := j.Since(0)
	if len(all) != 2 || newest != 20 || all[0].Count != 10 || all[1].Count != 10 || all[0].Last.Sub(all[0].First) != 18*time.Second {
		t.Fatalf("%+v", all)
	}
	if again, _ := j.Since(19); len(again) != 1 || again[0].Reason != reason.OK {
		t.Errorf("what is counted up is not news: %+v", again)
	}
	j.Add(Entry{Topic: TopicSource, Name: "b", Reason: reason.SourceUnreachable})
	w.at = w.at.Add(together)
	j.Add(Entry{Topic: TopicSource, Name: "a", Reason: reason.SourceUnreachable})
	if all, _ := j.Since(0); len(all) != 4 || all[3].Count != 1 {
		t.Errorf("another source, or much later, is other news: %+v", all)
	}
	for range 3 { // each change of the clock matters
		j.Add(Entry{Topic: TopicClock, Status: virtualclock.Holdover, Reason: reason.Stale})
	}
	if all, _ := j.Since(0); len(all) != 7 {
		t.Errorf("%+v", all)
	}
}

// Whatever flaps: memory is bounded, the clock's own entries stay, order holds.
func TestBounds(t *testing.T) {
	r := rand.New(rand.NewPCG(testkit.Seed(t), 1))
	w := &wall{time.Unix(1000, 0)}
	j := New(w.now)
	j.Add(Entry{Topic: TopicDisruption, Reason: reason.HostSuspended})
	for i := range 20_000 {
		w.at = w.at.Add(time.Duration(r.IntN(3000)) * time.Millisecond)
		j.Add(Entry{Topic: []string{TopicSource, TopicPeer}[r.IntN(2)], Name: fmt.Sprint(r.IntN(500)), Reason: reason.Code(r.IntN(int(reason.Count)))})
		if i%500 != 0 {
			continue
		}
		all, _ := j.Since(0)
		if len(all) > limit+1 || all[0].Topic != TopicDisruption {
			t.Fatalf("%d entries, the first %+v", len(all), all[0])
		}
		for k := 1; k < len(all); k++ {
			if all[k].Sequence <= all[k-1].Sequence || all[k].Last.Before(all[k-1].Last) || all[k].Count == 0 {
				t.Fatalf("%+v after %+v", all[k], all[k-1])
			}
		}
	}
	for range 3 * limit {
		j.Add(Entry{Topic: TopicClock})
	}
	if all, _ := j.Since(0); len(all) != 2*limit {
		t.Errorf("%d entries", len(all))
	}
}
