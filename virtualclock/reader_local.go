package virtualclock

import (
	"context"
	"sync"
	"time"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
)

// Local is a virtual clock for the program that keeps it: what PageWriter and Reader do between processes, without a file. Any
// number of goroutines may read; publications may come from any goroutine too.
type Local struct {
	view view
	mu   sync.Mutex
	page publisher
}

// NewLocal returns a Local that is Unsynchronised until something is published.
func NewLocal(counter hw.Counter) *Local {
	words := new(pageWords)
	l := &Local{view: *newView(words, counter), page: publisher{words: words, counter: counter}}
	k := Coefficients{}
	_ = l.page.publish(&k, reason.NeverSynchronised) // fails only for coefficients that claim to be sound
	l.page.published = false
	return l
}

// Publish makes readers see k; it is PageWriter.Publish.
func (l *Local) Publish(k *Coefficients) error { return l.PublishReason(k, reason.OK) }

// PublishReason is Publish with the reason why the status is not Synchronised.
func (l *Local) PublishReason(k *Coefficients, why reason.Code) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.page.publish(k, why)
}

// Now returns the interval. It does not allocate.
func (l *Local) Now() (i Interval) {
	var worth packed
	i.Earliest, i.Latest, i.Epoch, worth, _ = l.view.now()
	i.Standing = worth.standing()
	return
}

// NowReason is Now with the reason why the status is below Synchronised, OK if it is not.
func (l *Local) NowReason() (i Interval, why reason.Code) {
	var worth packed
	i.Earliest, i.Latest, i.Epoch, worth, why = l.view.now()
	i.Standing = worth.standing()
	return
}

// Read returns the virtual clock and the interval at one counter reading.
func (l *Local) Read() Reading { r, _ := l.view.read(); return r }

// ReadReason is Read with the reason why the status is below Synchronised, OK if it is not.
func (l *Local) ReadReason() (Reading, reason.Code) { return l.view.read() }

// Coefficients returns what was published last, with the clock's lines as readers follow them.
func (l *Local) Coefficients() (Coefficients, reason.Code) { return l.view.coefficients() }

// Counter returns the counter.
func (l *Local) Counter() hw.Counter { return l.view.counter }

// After reports that t has certainly passed; see the function After.
func (l *Local) After(t Time) bool { return l.Now().After(t) }

// Before reports that t has certainly not come yet; see the function Before.
func (l *Local) Before(t Time) bool { return l.Now().Before(t) }

// Since returns the least and the most time that can have passed since t; not ok if the clock is not sound.
func (l *Local) Since(t Time) (least, most time.Duration, ok bool) { return l.Now().Since(t) }

// CommitWait waits until t has certainly passed; see the function CommitWait.
func (l *Local) CommitWait(ctx context.Context, t Time) error { return CommitWait(ctx, l, t) }
