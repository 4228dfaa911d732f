//go:build linux

package virtualclock

import (
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/clockd/clockd/hw"
)

// benchPage makes a page that is good for a long time, on the best counter that this machine has.
func benchPage(tb testing.TB) (*Reader, *PageWriter, hw.Counter) {
	tb.Helper()
	counter, err := hw.Open("auto")
	if err != nil {
		tb.Fatal(err)
	}
	path := filepath.Join(tb.TempDir(), "page")
	w, err := CreatePage(path, counter, 1)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = w.Close() })
	now := counter.Read()
	period := PeriodOf(counter.Frequency().Hertz)
	c := NewClock(period, 500e-6)
	t := FromTime(time.Now())
	c.Step(now, t, 0)
	c.SetBounds(now, t.AddSeconds(-1e-4), t.AddSeconds(1e-4), period.Scale(-50e-6), period.Scale(50e-6))
	hour := hw.Ticks(counter.Frequency().Hertz * 3600)
	c.SetStatus(Synchronised, now+hour, now+2*hour)
	c.SetDifference(period)
	if err := w.Publish(c.Coefficients()); err != nil {
		tb.Fatal(err)
	}
	r, err := OpenPage(path)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = r.Close() })
	if i, why := r.NowReason(); i.Status != Synchronised {
		tb.Fatalf("the page reads %+v: %v", i, why)
	}
	return r, w, counter
}

// What the batches leave behind, so that the compiler cannot leave out the reads.
type sinks struct {
	interval Interval
	ticks    hw.Ticks
	time     time.Time
	reading  Reading
}

func batchInterval(r *Reader, s *sinks, n int) {
	for range n {
		s.interval = r.Now()
	}
}

func batchReading(r *Reader, s *sinks, n int) {
	for range n {
		s.reading = r.Read()
	}
}

func batchCounter(c hw.Counter, s *sinks, n int) {
	if hw.IsTSC(c) {
		for range n {
			s.ticks = hw.ReadTSC()
		}
		return
	}
	if hw.IsCNTVCT(c) {
		for range n {
			s.ticks = hw.ReadCNTVCT()
		}
		return
	}
	for range n {
		s.ticks = c.Read()
	}
}

func batchTimeNow(s *sinks, n int) {
	for range n {
		s.time = time.Now()
	}
}

func BenchmarkRead(b *testing.B) {
	r, _, counter := benchPage(b)
	var s sinks
	b.Run("interval", func(b *testing.B) { b.ReportAllocs(); batchInterval(r, &s, b.N) })
	b.Run("counter", func(b *testing.B) { batchCounter(counter, &s, b.N) })
	b.Run("time.Now", func(b *testing.B) { batchTimeNow(&s, b.N) })
	b.Run("reading", func(b *testing.B) { b.ReportAllocs(); batchReading(r, &s, b.N) })
	b.Run("ratios", func(b *testing.B) {
		for range b.N {
			toCounter, toTimeNow, reading := ratios(r, counter, &s)
			b.ReportMetric(toCounter, "×counter")
			b.ReportMetric(toTimeNow, "×time.Now")
			b.ReportMetric(reading, "reading×counter")
		}
	})
	runtime.KeepAlive(&s)
}

// ratios measures an interval read against a bare ordered counter read and against time.Now: many short batches of each in turn,
// so that noise hits all alike, and the least of each, so that it does not count.
func ratios(r *Reader, counter hw.Counter, s *sinks) (toCounter, toTimeNow, reading float64) {
	const batches, size = 2000, 200
	best := [4]time.Duration{time.Hour, time.Hour, time.Hour, time.Hour}
	for range batches {
		for i, f := range []func(){
			func() { batchInterval(r, s, size) }, func() { batchCounter(counter, s, size) }, func() { batchTimeNow(s, size) },
			func() { batchReading(r, s, size) },
		} {
			start := time.Now()
			f()
			best[i] = min(best[i], time.Since(start))
		}
	}
	return float64(best[0]) / float64(best[1]), float64(best[0]) / float64(best[2]), float64(best[3]) / float64(best[1])
}

// TestReadCostRatios asserts the promise of the read path. It compares what was measured in one run, never a time; the best of
// several tries counts, since a busy machine can only make it look worse.
func TestReadCostRatios(t *testing.T) {
	if raceEnabled || testing.CoverMode() != "" {
		t.Skip("the race detector and coverage counters change the cost of every access")
	}
	r, _, counter := benchPage(t)
	if !hw.IsTSC(counter) && !hw.IsCNTVCT(counter) {
		t.Skipf("the counter here is %s, which is a system call", counter.Spec())
	}
	var s sinks
	var toCounter, toTimeNow []float64
	for range 20 {
		a, b, _ := ratios(r, counter, &s)
		toCounter, toTimeNow = append(toCounter, a), append(toTimeNow, b)
		if a <= 1.5 && b <= 0.7 {
			break
		}
	}
	t.Logf("an interval costs %.2f × a counter read (limit 1.5), %.2f × time.Now (limit 0.7)", slices.Min(toCounter), slices.Min(toTimeNow))
	if slices.Min(toCounter) > 1.5 || slices.Min(toTimeNow) > 0.7 {
		t.Errorf("the read path is too slow: %.2f × a counter read, %.2f × time.Now", toCounter, toTimeNow)
	}
}

func TestReadsAllocateNothing(t *testing.T) {
	r, w, counter := benchPage(t)
	k, _ := r.Coefficients()
	local := NewLocal(counter)
	if err := local.Publish(&k); err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]func(){
		"Reader.Now": func() { r.Now() }, "Reader.Read": func() { r.Read() }, "Reader.After": func() { r.After(Time{}) },
		"Reader.Coefficients": func() { r.Coefficients() }, "Local.Now": func() { local.Now() }, "Local.Read": func() { local.Read() },
		"PageWriter.Publish": func() { _ = w.Publish(&k) }, "Local.Publish": func() { _ = local.Publish(&k) },
	} {
		if n := testing.AllocsPerRun(200, f); n != 0 {
			t.Errorf("%s allocates %g times", name, n)
		}
	}
}
