package clocktest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// notes is a TB that remembers.
type notes struct{ lines []string }

func (*notes) Helper() {}
func (n *notes) Errorf(format string, args ...any) {
	n.lines = append(n.lines, fmt.Sprintf(format, args...))
}

// expect wants exactly one complaint that says want since the last call, or none if want is empty.
func (n *notes) expect(t *testing.T, what, want string) {
	t.Helper()
	lines := n.lines
	n.lines = nil
	switch {
	case want == "" && len(lines) != 0:
		t.Errorf("%s: %q", what, lines)
	case want != "" && (len(lines) != 1 || !strings.Contains(lines[0], want)):
		t.Errorf("%s: %q, want one that says %q", what, lines, want)
	}
}

// TestCheckerFindsWhatMustNotBeTrusted: each way to be wrong, and beside it the right way, which passes.
func TestCheckerFindsWhatMustNotBeTrusted(t *testing.T) {
	w := NewManual(Options{})
	h := w.Host(HostOptions{Name: "h", FirstPoll: time.Second, Script: []Event{Disrupt(10*time.Second, time.Second, reason.HostPaused)}})
	n := &notes{}
	c := w.Check(n)

	c.Stamps(h, w.True())
	n.expect(t, "never asked", "never asked")
	void := h.Now()
	c.Uses(h, void)
	n.expect(t, "void", "says nothing")
	c.Stamps(h, h.Read().Time)
	n.expect(t, "stamp from a void clock", "edge of an interval")
	c.Stamps(h, w.True())
	n.expect(t, "stamp from elsewhere while void", "unsynchronised when it was asked last (never synchronised")
	c.Shows(h, w.True().Add(-time.Second))
	n.expect(t, "shown by a void clock", "although its clock is unsynchronised")

	w.Advance(2 * time.Second)
	good := h.Read()
	c.Uses(h, good.Interval)
	c.Stamps(h, good.Time)
	c.Stamps(h, good.Interval.Latest)
	n.expect(t, "a sound interval", "")
	narrow := good.Interval
	narrow.Latest = narrow.Latest.Add(-time.Microsecond)
	c.Uses(h, narrow)
	n.expect(t, "narrowed", "never gave, or a narrower one")

	s := good.Interval.Latest
	c.Shows(h, s)
	n.expect(t, "without waiting", "too early: the commit wait was not over")
	w.Advance(s.Sub(w.True()) + 2)
	c.Shows(h, s)
	n.expect(t, "with luck", "nobody could know")
	for !h.After(s) {
		w.Advance(time.Microsecond)
	}
	c.Shows(h, s)
	n.expect(t, "after waiting", "")

	w.Advance(10*time.Second - w.Passed() + time.Millisecond)
	shown := h.Read()
	if shown.Interval.Sound() || shown.Time == virtualclock.MinTime() {
		t.Fatalf("a disrupted clock shows %+v", shown)
	}
	c.Stamps(h, shown.Time)
	n.expect(t, "the time of a disrupted clock", "disrupted when it was asked last (host paused")
	w.Advance(3 * time.Second)
	c.Uses(h, good.Interval)
	n.expect(t, "an old epoch", "stepped")
	h.Now()
	c.Stamps(h, shown.Time)
	n.expect(t, "a time shown while disrupted", "while it was disrupted")
	if c.Complaints() != 11 {
		t.Errorf("%d complaints", c.Complaints())
	}
}

func TestCheckerSeesAStepBetweenReadingAndStamping(t *testing.T) {
	w := NewManual(Options{})
	h := w.Host(HostOptions{Name: "h", Script: []Event{Disrupt(1500*time.Millisecond, 100*time.Millisecond, reason.HostPaused)}})
	n := &notes{}
	c := w.Check(n)
	w.Advance(time.Second)
	r := h.Read()
	w.Advance(1200 * time.Millisecond)
	c.Stamps(h, r.Time)
	n.expect(t, "a step in between", "epoch 2 by now")
}

func TestCheckerSeesWhatLiesDo(t *testing.T) {
	w := NewManual(Options{})
	liar := w.Host(HostOptions{Name: "liar", Script: []Event{Lie(0, time.Hour, 5*time.Millisecond)}})
	n := &notes{}
	c := w.Check(n)
	w.Advance(time.Second)
	c.Shows(liar, w.True().Add(time.Millisecond))
	n.expect(t, "a lie", "because its clock lies")

	x, y := c.Begin("x"), c.Begin("y")
	x.Commits(w.True().Add(time.Millisecond))
	y.Commits(w.True()) // began before x was complete
	z := c.Begin("z")
	n.expect(t, "concurrent transactions", "")
	z.Commits(w.True())
	n.expect(t, "an anomaly", "z began after x was complete, and has an earlier timestamp by 1ms")

	c.Happens("first")
	w.Advance(time.Second)
	c.Happens("second")
	c.Says("first", "second")
	n.expect(t, "the true order", "")
	c.Says("second", "first")
	n.expect(t, "the wrong order", "it came 1s later")
	c.Says("first", "third")
	n.expect(t, "an order with what did not happen", "third")

	c.Holds("door", "a")
	c.Holds("door", "a")
	c.Drops("door", "b")
	n.expect(t, "one holder", "")
	c.Holds("door", "b")
	n.expect(t, "two holders", "b holds door, and a still does")
	c.Drops("door", "b")
	c.Holds("door", "a")
	n.expect(t, "one after the other", "")
}
