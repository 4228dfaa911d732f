package e2e

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// truth is the clock that the tests know to be right: CLOCK_REALTIME, moved by as much as a test's server is.
type truth struct{ shift time.Duration }

// now returns the truth in nanoseconds since 1970, rounded down.
func (w truth) now() int64 { return time.Now().UnixNano() + int64(w.shift) }

// sight is one look at a page between two looks at the truth.
type sight struct {
	before, after int64
	reading       virtualclock.Reading
	why           reason.Code
}

// look reads the page with everything there is to know.
func (w truth) look(r *virtualclock.Reader) (s sight) {
	s.before = w.now()
	s.reading, s.why = r.ReadReason()
	s.after = w.now()
	return s
}

// glance reads only the interval, by the path that programs use most.
func (w truth) glance(r *virtualclock.Reader) (s sight) {
	s.before = w.now()
	s.reading.Interval, s.why = r.NowReason()
	s.after = w.now()
	return s
}

// wrong says what is false in what was seen, "" if nothing is. The truth was between before and after + 1 ns when the page was
// read, so a sound interval must reach into that.
func (s *sight) wrong() string {
	i := &s.reading.Interval
	if !i.Sound() {
		if i.Earliest != virtualclock.MinTime() || i.Latest != virtualclock.MaxTime() {
			return fmt.Sprintf("an interval that is %v has edges: %v to %v", i.Status, i.Earliest, i.Latest)
		}
		return ""
	}
	if i.Latest.Before(i.Earliest) {
		return fmt.Sprintf("the interval is inverted: %v to %v", i.Earliest, i.Latest)
	}
	before, after := virtualclock.Unix(s.before, 0), virtualclock.Unix(s.after+1, 0)
	if i.Latest.Before(before) || after.Before(i.Earliest) {
		return fmt.Sprintf("true time, between %v and %v, is not in the interval %v to %v (%v, epoch %d)", before, after, i.Earliest, i.Latest, i.Status, i.Epoch)
	}
	return ""
}

// tally is what many looks came to.
type tally struct {
	reads, sound, wrong uint64
	first               string
	statuses            map[virtualclock.Status]uint64
	// whys counts the reasons of looks that were below synchronised.
	whys reason.Counts
	// lastSound is when true time was before the last sound look began; epochs are those of sound looks, in order.
	lastSound int64
	epochs    []virtualclock.Epoch
	// lastLook is when the last look began, void whether it found nothing.
	lastLook int64
	void     bool
	// backwards counts the looks at which the virtual clock went back within an epoch.
	backwards uint64
	last      virtualclock.Reading
	// own: the clock is a truth of its own, so what it says cannot be wrong.
	own bool
}

func newTally() tally { return tally{statuses: map[virtualclock.Status]uint64{}} }

func (n *tally) add(s *sight) {
	n.reads++
	i := &s.reading.Interval
	n.statuses[i.Status]++
	n.lastLook, n.void = s.before, !i.Sound()
	if complaint := s.wrong(); complaint != "" && !n.own {
		n.wrong++
		if n.first == "" {
			n.first = complaint
		}
	}
	if s.why != reason.OK {
		n.whys.Add(s.why)
	}
	if !i.Sound() {
		return
	}
	n.sound++
	n.lastSound = s.before
	if !slices.Contains(n.epochs, i.Epoch) {
		n.epochs = append(n.epochs, i.Epoch)
	}
	if s.reading.Time == (virtualclock.Time{}) {
		return // a glance
	}
	if n.last.Interval.Sound() && n.last.Interval.Epoch == i.Epoch && s.reading.Time.Before(n.last.Time) {
		n.backwards++
	}
	n.last = s.reading
}

// lost counts the looks at which the clock was not synchronised, and which must have been. A writer that was interrupted while it
// wrote (there are two processors, and much else runs) leaves readers with nothing until it runs again: that is not counted.
func (n *tally) lost() uint64 {
	return n.reads - n.statuses[virtualclock.Synchronised] - n.whys[reason.PageTorn]
}

// unsound is lost for a clock that may also be held over.
func (n *tally) unsound() uint64 { return n.reads - n.sound - n.whys[reason.PageTorn] }

func (n *tally) String() string {
	return fmt.Sprintf("%d reads, %d sound, %d wrong, %d times backwards, epochs %v, statuses %v, reasons %v", n.reads, n.sound, n.wrong, n.backwards,
		n.epochs, n.statuses, n.whys.Map())
}

// watcher reads a host's page all the time in its own goroutine.
type watcher struct {
	t      *testing.T
	reader *virtualclock.Reader
	stop   chan struct{}
	done   chan struct{}
	once   sync.Once

	mu    sync.Mutex
	tally tally
}

// watch begins to watch the host's page, until the test ends; an interval that is wrong fails the test.
func (h *host) watch(w truth) *watcher {
	h.t.Helper()
	x := &watcher{t: h.t, reader: h.open(), stop: make(chan struct{}), done: make(chan struct{}), tally: newTally()}
	go x.run(w)
	h.t.Cleanup(x.end)
	return x
}

// open returns a reader of the host's page, which must be there.
func (h *host) open() *virtualclock.Reader {
	h.t.Helper()
	r, err := virtualclock.OpenPage(h.page)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = r.Close() })
	return r
}

// Looks come in bursts, so that many fall into the moments in which something changes, and still leave the machine to others.
const (
	watchBurst = 20
	watchPause = time.Millisecond
)

func (x *watcher) run(w truth) {
	defer close(x.done)
	pause := time.NewTicker(watchPause)
	defer pause.Stop()
	for {
		x.mu.Lock()
		for i := range watchBurst {
			s := sight{}
			if i%2 == 0 {
				s = w.look(x.reader)
			} else {
				s = w.glance(x.reader)
			}
			x.tally.add(&s)
		}
		x.mu.Unlock()
		select {
		case <-pause.C:
		case <-x.stop:
			return
		}
	}
}

// end stops watching and says what was wrong.
func (x *watcher) end() {
	x.once.Do(func() {
		close(x.stop)
		<-x.done
		if x.tally.wrong > 0 || x.tally.backwards > 0 {
			x.t.Errorf("the page told an untruth: %s\nfirst: %s", &x.tally, x.tally.first)
		}
		x.t.Logf("watched: %s", &x.tally)
	})
}

// seen returns what was seen since the last call of fresh.
func (x *watcher) seen() tally {
	x.mu.Lock()
	defer x.mu.Unlock()
	copied := x.tally
	copied.statuses, copied.epochs = maps.Clone(x.tally.statuses), slices.Clone(x.tally.epochs)
	return copied
}

// forgive drops the demand that intervals contain the truth: for a clock that is a truth of its own.
func (x *watcher) forgive() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.tally.own = true
	x.tally.wrong, x.tally.first = 0, ""
}

// fresh forgets what was seen of statuses and reasons, but not what was wrong.
func (x *watcher) fresh() {
	x.mu.Lock()
	defer x.mu.Unlock()
	old := x.tally
	x.tally = newTally()
	x.tally.wrong, x.tally.first, x.tally.backwards, x.tally.last, x.tally.own = old.wrong, old.first, old.backwards, old.last, old.own
}

// figures are what a measurement against the truth gave, in seconds.
type figures struct {
	errors, bounds []float64
	// beyond counts errors that were larger than the bound claimed for them.
	beyond int
}

func (f *figures) String() string {
	at := func(x []float64, q float64) float64 { return 1e6 * x[int(q*float64(len(x)-1))] }
	return fmt.Sprintf("|error| median %.3f p99 %.3f max %.3f µs, claimed bound median %.3f max %.3f µs (%d readings)", at(f.errors, 0.5), at(f.errors, 0.99),
		at(f.errors, 1), at(f.bounds, 0.5), at(f.bounds, 1), len(f.errors))
}

func (f *figures) median() float64 { return f.errors[len(f.errors)/2] }

// narrow is how long, in nanoseconds, a look may take that is to tell the error: the error is known to half of it.
const narrow = 4000

var errNever = errors.New("the clock was not sound at any look")

// measure looks n times, with a pause after each, at the pages of several hosts, and returns for each what it is worth. Every look
// must contain the truth; the error is taken from those that were quick.
func measure(t *testing.T, w truth, n int, pause time.Duration, readers ...*virtualclock.Reader) []figures {
	t.Helper()
	out := make([]figures, len(readers))
	for range n {
		for i, r := range readers {
			if err := out[i].look(w, r); err != nil {
				t.Fatalf("clock %d: %v", i, err)
			}
		}
		time.Sleep(pause)
	}
	for i := range out {
		if len(out[i].errors) < n/2 {
			t.Fatalf("only %d of %d looks were quick enough to measure by", len(out[i].errors), n)
		}
		slices.Sort(out[i].errors)
		slices.Sort(out[i].bounds)
	}
	return out
}

// look makes one look that counts, and a few more if it was slow.
func (f *figures) look(w truth, r *virtualclock.Reader) error {
	for range 5 {
		s := w.look(r)
		if complaint := s.wrong(); complaint != "" {
			return errors.New(complaint)
		}
		if s.why == reason.PageTorn {
			continue // see lost
		}
		if !s.reading.Interval.Sound() {
			return fmt.Errorf("%w: %v, %v", errNever, s.reading.Interval.Status, s.why)
		}
		if s.after-s.before > narrow {
			continue
		}
		middle := virtualclock.Unix(s.before+(s.after-s.before)/2, 0)
		off := s.reading.Time.Seconds(middle)
		if off < 0 {
			off = -off
		}
		bound := s.reading.Bound()
		f.errors, f.bounds = append(f.errors, off), append(f.bounds, bound)
		if off > bound+float64(s.after-s.before)/2*1e-9 {
			f.beyond++
		}
		return nil
	}
	return nil
}
