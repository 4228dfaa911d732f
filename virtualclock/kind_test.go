package virtualclock

import (
	"path/filepath"
	"testing"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
)

// TestKindIsReadFromThePage: readers learn what the interval bounds, and it can change.
func TestKindIsReadFromThePage(t *testing.T) {
	counter, err := hw.Open("monotonic_raw")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "page")
	w, err := CreatePage(path, counter, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	r, err := OpenPage(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	period := PeriodOf(counter.Frequency().Hertz)
	c := NewClock(period, 1e-3)
	now := counter.Read()
	c.Step(now, Unix(1e18, 0), 0)
	c.SetBounds(now, Unix(1e18-1000, 0), Unix(1e18+1000, 0), period-1, period+1)
	c.SetStatus(Synchronised, now.Add(1<<50), now.Add(1<<50))
	for _, want := range []Kind{External, Internal, External} {
		c.SetKind(want)
		if err := w.Publish(c.Coefficients()); err != nil {
			t.Fatal(err)
		}
		if k, why := r.Coefficients(); why != reason.OK || k.Kind != want || k.Status != Synchronised {
			t.Errorf("kind %v, status %v (%v), want %v", k.Kind, k.Status, why, want)
		}
		if i, whole := r.Now(), r.Read().Interval; i.Kind != want || whole.Kind != want || i.Status != Synchronised {
			t.Errorf("an interval of kind %v and one of kind %v, want %v", i.Kind, whole.Kind, want)
		}
	}
	if External.String() != "EXTERNAL" || Internal.String() != "INTERNAL" {
		t.Errorf("the names are %v and %v", External, Internal)
	}
}
