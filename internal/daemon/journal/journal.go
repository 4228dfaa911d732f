// Package journal remembers the last things that happened to a clock, for people: its statuses and epochs, which sources and peers
// are not used and since when, disruptions, refused configurations. It is not the event log (package eventlog), which has everything.
//
// Main type: Journal. Invariants: memory is bounded; what concerns the clock is never pushed out by sources that flap; writing never
// waits for a reader longer than it takes to copy the list.
package journal

import (
	"slices"
	"sync"
	"time"

	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// The topics.
const (
	TopicClock      = "clock"      // the clock's status or its reason changed: Status, Reason
	TopicEpoch      = "epoch"      // the clock was set: Epoch
	TopicDisruption = "disruption" // of the counter or the host: Reason
	TopicSource     = "source"     // a source is used (reason OK) or not: Name, Reason
	TopicPeer       = "peer"       // a peer is used (reason OK) or not: Name, Reason
	TopicConfig     = "config"     // a configuration was refused or taken: Reason
)

const (
	// limit is how many entries are kept of the clock, and as many of sources and peers.
	limit = 100
	// together is how long the same news of the same source only count up.
	together = time.Minute
	// among is how many of the newest entries of sources are looked through for the same news.
	among = 16
)

// Entry is one thing that happened.
type Entry struct {
	// Sequence grows with every change of the journal; an entry that is counted up gets a new one.
	Sequence uint64
	// First and Last are when it happened, Count how often.
	First, Last time.Time
	Count       uint64

	Topic string
	// Name is the source's or the peer's.
	Name   string
	Reason reason.Code
	Status virtualclock.Status
	Epoch  virtualclock.Epoch
	// Value is a figure that belongs to the reason, in seconds (a bound, a false source's distance), 0 for none.
	Value float64
}

func (e *Entry) sameNews(x *Entry) bool {
	return e.Topic == x.Topic && e.Name == x.Name && e.Reason == x.Reason && e.Status == x.Status
}

// Journal may be used by several goroutines.
type Journal struct {
	now func() time.Time

	mu       sync.Mutex
	sequence uint64
	clock    []Entry
	others   []Entry
}

// New makes an empty journal.
func New(now func() time.Time) *Journal { return &Journal{now: now} }

// Add writes down what happened now; the caller fills in what happened, not when.
func (j *Journal) Add(e Entry) {
	now := j.now()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.sequence++
	e.Sequence, e.First, e.Last, e.Count = j.sequence, now, now, 1
	if e.Topic != TopicSource && e.Topic != TopicPeer {
		j.clock = appendBounded(j.clock, e)
		return
	}
	for i := len(j.others) - 1; i >= max(0, len(j.others)-among); i-- {
		if old := &j.others[i]; old.sameNews(&e) && now.Sub(old.Last) < together {
			e.First, e.Count = old.First, old.Count+1
			j.others = slices.Delete(j.others, i, i+1)
			break
		}
	}
	j.others = appendBounded(j.others, e)
}

func appendBounded(list []Entry, e Entry) []Entry {
	if len(list) >= limit {
		list = slices.Delete(list, 0, len(list)-limit+1)
	}
	return append(list, e)
}

// Since returns what was added or counted up after that sequence, oldest first, and the newest sequence.
func (j *Journal) Since(sequence uint64) ([]Entry, uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var list []Entry
	for _, all := range [][]Entry{j.clock, j.others} {
		for i := range all {
			if all[i].Sequence > sequence {
				list = append(list, all[i])
			}
		}
	}
	slices.SortFunc(list, func(a, b Entry) int { return int(int64(a.Sequence) - int64(b.Sequence)) })
	return list, j.sequence
}
