package virtualclock

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
)

// script is a Source that says one interval after another, and the last one for ever.
type script struct {
	intervals []Interval
	asked     int
}

func (s *script) Now() Interval {
	i := s.intervals[min(s.asked, len(s.intervals)-1)]
	s.asked++
	return i
}

func at(earliest, latest int64, e Epoch, s Status) Interval {
	return Interval{Unix(earliest, 0), Unix(latest, 0), e, Standing{Status: s}}
}

func TestCommitWaitIsNotFooled(t *testing.T) {
	ctx := context.Background()
	for name, c := range map[string]struct {
		intervals []Interval
		want      error
		text      string
	}{
		"passed":         {[]Interval{at(101, 110, 1, Synchronised)}, nil, ""},
		"passes":         {[]Interval{at(90, 95, 1, Synchronised), at(95, 105, 1, Holdover), at(100, 110, 1, Synchronised), at(101, 111, 1, Synchronised)}, nil, ""},
		"lost":           {[]Interval{at(90, 110, 1, Synchronised), void(Unsynchronised, 1)}, errAny, "unsynchronised"},
		"never good":     {[]Interval{void(Disrupted, 1)}, errAny, "disrupted"},
		"stepped":        {[]Interval{at(90, 110, 1, Synchronised), at(300, 310, 2, Synchronised)}, ErrEpoch, "epoch 1 became 2"},
		"inverted worry": {[]Interval{at(100, 100, 1, Synchronised), at(100, 100, 1, Synchronised), void(Unsynchronised, 1)}, errAny, "unsynchronised"},
	} {
		s := &script{intervals: c.intervals}
		err := CommitWait(ctx, s, Unix(100, 0))
		switch {
		case c.want == nil && err != nil, c.want != nil && err == nil, c.want == ErrEpoch && !errors.Is(err, ErrEpoch):
			t.Errorf("%s: %v, want %v", name, err, c.want)
		case err != nil && !strings.Contains(err.Error(), c.text):
			t.Errorf("%s: %v does not tell of %q", name, err, c.text)
		}
		if s.asked != len(c.intervals) {
			t.Errorf("%s: asked %d times, not %d", name, s.asked, len(c.intervals))
		}
	}
}

var errAny = errors.New("any")

func TestWaitPause(t *testing.T) {
	i := at(1e9, 2e9, 1, Synchronised)
	for target, want := range map[int64]time.Duration{
		1e9:          -waitSpin,              // about to pass: look at once
		1e9 + 50e3:   50e3 - waitSpin,        // within reach of a timer's lateness
		1e9 + 1080e3: time.Millisecond,       // sleep nearly all of it
		2e9:          waitNarrow,             // a sample may narrow the interval any moment
		2e9 + 10:     waitSpin,               // certainly still to come
		2e9 + 300e6:  300 * time.Millisecond, // sleep until it may come
		2e9 + 7200e9: waitLongest,            // but look now and then whether the clock is still there
		9.2e18:       waitLongest,
		-9.2e18:      -9.2e18 - 1e9 - waitSpin,
	} {
		if got := waitPause(i, Unix(target, 0)); got != want && !(target == -9.2e18 && got < 0) {
			t.Errorf("for %d: %v, want %v", target, got, want)
		}
	}
}

func TestQuestionsToASource(t *testing.T) {
	s := &script{intervals: []Interval{at(100, 200, 1, Synchronised)}}
	if !After(s, Unix(99, 0)) || After(s, Unix(100, 0)) || !Before(s, Unix(201, 0)) || Before(s, Unix(200, 0)) {
		t.Error("After or Before is wrong")
	}
	if least, most, ok := Since(s, Unix(50, 0)); least != 50 || most != 150 || !ok {
		t.Errorf("since: %v, %v, %t", least, most, ok)
	}
	s.intervals[0] = void(Disrupted, 1)
	if _, _, ok := Since(s, Unix(50, 0)); ok || After(s, MinTime()) || Before(s, MaxTime()) {
		t.Error("a disrupted clock answers")
	}
	var _ Reasoner = &Local{}
}

func TestLocal(t *testing.T) {
	l, m := newTestPage(1e9)
	m.Set(1e9)
	if err := l.Publish(goodCoefficients()); err != nil {
		t.Fatal(err)
	}
	if !l.After(Unix(5e18-1001, 0)) || l.After(Unix(5e18, 0)) || !l.Before(Unix(5e18+1001, 0)) || l.Counter() != hw.Counter(m) {
		t.Error("After, Before or Counter is wrong")
	}
	if least, most, ok := l.Since(Unix(5e18, 0)); least != -1000 || most != 1000 || !ok {
		t.Errorf("since: %v, %v, %t", least, most, ok)
	}
	if err := l.CommitWait(context.Background(), Unix(5e18-2000, 0)); err != nil {
		t.Errorf("waiting for the past: %v", err)
	}
	m.Set(4e9)
	if err := l.CommitWait(context.Background(), Unix(5e18-2000, 0)); !errors.Is(err, reason.PageVoid) {
		t.Errorf("waiting on an expired clock: %v", err)
	}
}
