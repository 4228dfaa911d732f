package order

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
	"github.com/clockd/clockd/virtualclock/clocktest"
)

func isReason(err, want error) bool { return errors.Is(err, want) }

// transaction is one commit in a history: when it began and ended in true time.
type transaction struct {
	begin, end int64
	s          virtualclock.Time
}

// anomalies is the slow twin: all pairs.
func anomalies(h []transaction) (n, pairs int) {
	for i := range h {
		for j := range h {
			if h[i].end <= h[j].begin {
				if pairs++; !h[i].s.Before(h[j].s) {
					n++
				}
			}
		}
	}
	return n, pairs
}

// history is what random transactions on three nodes did, some within the waits of others.
func history(ctx context.Context, r *rand.Rand, kind virtualclock.Kind, wrong int64, wait bool, room []transaction) []transaction {
	u := &universe{r: r, now: r.Int64N(1000)}
	var clocks [3]fastClock
	var committers [3]Committer
	for k := range clocks {
		clocks[k] = fastClock{u: u, kind: kind, half: 1 + r.Int64N(2000)}
		if k == 0 {
			clocks[k].wrong = wrong
		}
		committers[k] = *NewCommitter(&clocks[k], time.Hour, u)
	}
	room = room[:0]
	var run func(depth int)
	run = func(depth int) {
		x := transaction{begin: u.now}
		c := &committers[r.IntN(len(committers))]
		after := virtualclock.MinTime()
		if len(room) > 0 && r.IntN(4) == 0 {
			after = room[r.IntN(len(room))].s
		}
		s, err := c.PickAfter(after)
		if err != nil {
			return
		}
		x.s = s.Time
		outer := u.during
		u.during = nil
		if depth < 2 {
			u.during = func() {
				if u.during = nil; r.IntN(3) == 0 {
					run(depth + 1)
				}
			}
		}
		if wait && c.Wait(ctx, s) != nil {
			return
		}
		u.during = outer
		x.end = u.now
		room = append(room, x)
	}
	for range 4 {
		run(0)
		u.now += r.Int64N(300)
	}
	return room
}

// TestCommitWaitInAMillionHistories gives external consistency: for a million random histories of clocks whose bound holds, of either kind; and the same test
// finds anomalies when a bound does not hold, and when nobody waits.
func TestCommitWaitInAMillionHistories(t *testing.T) {
	r := seeded(t)
	n := 1_000_000
	if rounds(n) < n {
		n = 20_000
	}
	ctx := context.Background()
	var room []transaction
	total := 0
	for k := range n {
		room = history(ctx, r, virtualclock.Kind(k%2), 0, true, room)
		bad, pairs := anomalies(room)
		if total += pairs; bad != 0 {
			t.Fatalf("history %d has %d anomalies: %+v", k, bad, room)
		}
	}
	if total < 3*n {
		t.Errorf("only %d pairs were in order", total)
	}
	t.Logf("%d histories, %d pairs of transactions of which one was complete before the other began, 0 anomalies", n, total)
	for name, c := range map[string]struct {
		wrong int64
		wait  bool
	}{"a clock 4 µs ahead of its bound": {4000, true}, "no commit wait": {0, false}} {
		found := 0
		for k := range 20_000 {
			room = history(ctx, r, virtualclock.Kind(k%2), c.wrong, c.wait, room)
			bad, _ := anomalies(room)
			found += bad
		}
		if found == 0 {
			t.Errorf("%s: no anomaly: the test is blind", name)
		}
		t.Logf("%s: %d anomalies in 20000 histories", name, found)
	}
}

// TestCommitWaitOnClocksWithFaults: the hosts of clocktest lose samples and are disrupted; a commit fails then, or is good.
func TestCommitWaitOnClocksWithFaults(t *testing.T) {
	r := seeded(t)
	count := func(faults clocktest.Faults, worlds int) (complaints, done, failed int) {
		for range worlds {
			w := clocktest.NewManual(clocktest.Options{Seed: r.Uint64()})
			n := &notes{}
			check := w.Check(n)
			hosts := w.Random(r.Uint64(), 3, 20*time.Second, faults, clocktest.HostOptions{})
			var committers []*Committer
			for _, h := range hosts {
				committers = append(committers, NewCommitter(h, time.Second, w))
			}
			for w.Passed() < 20*time.Second {
				k := r.IntN(len(hosts))
				x := check.Begin("x")
				s, err := committers[k].Pick()
				if err == nil {
					check.Stamps(hosts[k], s.Time)
					err = committers[k].Wait(t.Context(), s)
				}
				if err != nil {
					failed++
					committers[k].Resume()
				} else {
					check.Shows(hosts[k], s.Time)
					x.Commits(s.Time)
					done++
				}
				w.Advance(time.Duration(r.Int64N(int64(50 * time.Millisecond))))
			}
			complaints += n.count
		}
		return complaints, done, failed
	}
	if complaints, done, failed := count(clocktest.Honest, 40); complaints != 0 || done < 1000 || failed < 10 {
		t.Errorf("honest clocks: %d complaints, %d commits, %d failed", complaints, done, failed)
	}
	if complaints, _, _ := count(clocktest.Lying|clocktest.Racing, 40); complaints == 0 {
		t.Error("lying clocks: no complaint: the test is blind")
	}
}

// notes counts what a Checker complains of.
type notes struct{ count int }

func (*notes) Helper()                 {}
func (n *notes) Errorf(string, ...any) { n.count++ }

func TestWaitsThatGiveUp(t *testing.T) {
	good, later := interval(0, 100, external), interval(900, 1000, external)
	stepped := later
	stepped.Epoch = 2
	cancelled, cancel := context.WithCancelCause(context.Background())
	cause := errors.New("the user went away")
	cancel(cause)
	broken := errors.New("no more time")
	u := &universe{r: rand.New(rand.NewPCG(1, 1))}
	for name, c := range map[string]struct {
		ctx       context.Context
		intervals []virtualclock.Interval
		sleeper   Sleeper
		want      error
	}{
		"lost":      {context.Background(), []virtualclock.Interval{good, voidInterval(virtualclock.Unsynchronised)}, u, reason.ClockUnsound},
		"stepped":   {context.Background(), []virtualclock.Interval{good, stepped}, u, virtualclock.ErrEpoch},
		"cancelled": {cancelled, []virtualclock.Interval{good}, u, cause},
		"broken":    {context.Background(), []virtualclock.Interval{good}, failing{broken}, broken},
		"good":      {context.Background(), []virtualclock.Interval{good, good, later}, u, nil},
	} {
		if err := WaitUntilAfter(c.ctx, &script{intervals: c.intervals}, point(500), c.sleeper); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	// The commit is of another epoch than the first look already.
	s := Commit{point(500), 1, external}
	if err := CommitWait(context.Background(), &script{intervals: []virtualclock.Interval{stepped}}, s, u); !errors.Is(err, reason.EpochChanged) {
		t.Errorf("a commit of an old epoch: %v", err)
	}
	other := interval(900, 1000, internal)
	if err := CommitWait(context.Background(), &script{intervals: []virtualclock.Interval{other}}, s, u); !errors.Is(err, reason.KindChanged) {
		t.Errorf("a commit of another kind: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Sleep(context.Context, time.Duration) error { return f.err }

func TestCommitterGrowsAndBelievesNobodyTooFarAhead(t *testing.T) {
	c := NewCommitter(&script{intervals: []virtualclock.Interval{interval(0, 100, external), interval(0, 90, external)}}, time.Microsecond, nil)
	last := virtualclock.MinTime()
	for k := range 5 {
		s, err := c.Pick()
		if err != nil || !last.Before(s.Time) || s.Time.Before(point(100)) {
			t.Fatalf("commit %d: %+v, %v", k, s, err)
		}
		last = s.Time
	}
	if s, err := c.PickAfter(point(1000)); err != nil || !point(1000).Before(s.Time) {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := c.PickAfter(point(5000)); !isReason(err, reason.ClockAhead) {
		t.Errorf("5 µs ahead: %v", err)
	}
	if s, err := c.Pick(); err != nil || s.Time.After(point(1001)) {
		t.Errorf("what was refused left a trace: %+v, %v", s, err)
	}
}

func TestNextIsTheNext(t *testing.T) {
	for _, c := range [][2]virtualclock.Time{
		{virtualclock.Unix(5, 7), virtualclock.Unix(5, 8)},
		{virtualclock.Unix(5, 1<<32-1), virtualclock.Unix(6, 0)},
		{virtualclock.Unix(-1, 1<<32-1), virtualclock.Unix(0, 0)},
		{virtualclock.MaxTime(), virtualclock.MaxTime()},
	} {
		if next(c[0]) != c[1] {
			t.Errorf("after %v comes %v", c[0], next(c[0]))
		}
	}
}

// TestAtFiresTogether: on hosts that wait for one time, in a bubble, within the precision that their readings promise.
func TestAtFiresTogether(t *testing.T) {
	seed := seeded(t)
	synctest.Test(t, func(t *testing.T) {
		w := clocktest.New(clocktest.Options{Seed: seed.Uint64()})
		hosts := w.Random(seed.Uint64(), 5, time.Minute, clocktest.Drifting, clocktest.HostOptions{})
		time.Sleep(10 * time.Second)
		at := w.True().Add(20 * time.Second)
		type firing struct {
			passed time.Duration
			r      virtualclock.Reading
			err    error
		}
		fired := make(chan firing)
		for _, h := range hosts {
			go func() {
				r, err := At(t.Context(), h, at, nil)
				fired <- firing{w.Passed(), r, err}
			}()
		}
		var all []firing
		for range hosts {
			f := <-fired
			if f.err != nil {
				t.Fatal(f.err)
			}
			if late := f.r.Time.Sub(at); late < 0 || late > 100*time.Nanosecond {
				t.Errorf("fired when the clock showed %v after", late)
			}
			all = append(all, f)
		}
		for _, a := range all {
			for _, b := range all {
				// 100 ns for the last sleeps.
				if apart := a.passed - b.passed; apart.Seconds() > a.r.Bound()+b.r.Bound()+100e-9 {
					t.Errorf("two hosts fired %v apart, and their bounds are %g and %g s", apart, a.r.Bound(), b.r.Bound())
				}
			}
		}
		// It is over already.
		if r, err := At(t.Context(), hosts[0], at, nil); err != nil || r.Time.Before(at) {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

func TestAtGivesUp(t *testing.T) {
	w := clocktest.NewManual(clocktest.Options{})
	h := w.Host(clocktest.HostOptions{FirstPoll: time.Second, Script: []clocktest.Event{clocktest.Disrupt(3*time.Second, time.Millisecond, reason.HostPaused)}})
	if _, err := At(t.Context(), h, w.True(), w); !isReason(err, reason.NeverSynchronised) {
		t.Errorf("never synchronised: %v", err)
	}
	w.Advance(2 * time.Second)
	if _, err := At(t.Context(), h, w.True().Add(10*time.Second), w); !isReason(err, reason.HostPaused) && !isReason(err, virtualclock.ErrEpoch) {
		t.Errorf("disrupted: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := At(ctx, h, w.True().Add(time.Second), w); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	w.Advance(5 * time.Second)
	if _, err := At(t.Context(), h, w.True().Add(time.Second), failing{context.DeadlineExceeded}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a sleeper that fails: %v", err)
	}
}

// TestSleepers in real time: they sleep, and end with the context.
func TestSleepers(t *testing.T) {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for _, s := range []Sleeper{Timer{}, Spinner(50 * time.Microsecond)} {
		for _, d := range []time.Duration{-1, 0, time.Microsecond, time.Millisecond} {
			if err := s.Sleep(context.Background(), d); err != nil {
				t.Errorf("%T of %v: %v", s, d, err)
			}
			if err := s.Sleep(ended, d+time.Hour); !errors.Is(err, context.Canceled) {
				t.Errorf("%T of an ended context: %v", s, err)
			}
		}
		// A real commit wait.
		w := clocktest.New(clocktest.Options{})
		h := w.Host(clocktest.HostOptions{ReadingError: 500 * time.Microsecond})
		c := NewCommitter(h, 0, s)
		commit, err := c.Pick()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Wait(t.Context(), commit); err != nil || !h.After(commit.Time) {
			t.Errorf("%T: %v", s, err)
		}
	}
}
