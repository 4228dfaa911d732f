package virtualclock_test

import (
	"fmt"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// A program that keeps a clock by itself: it decides (Step, Steer, SetBounds), publishes, and reads with the error. A daemon does the
// same with a PageWriter, and other programs read with OpenPage.
func ExampleLocal() {
	counter := hw.NewManual(hw.Frequency{Hertz: 1e9}) // a real one comes from hw.Open("auto")
	local := virtualclock.NewLocal(counter)
	if i, why := local.NowReason(); !i.Sound() {
		fmt.Println(i.Status, "because", why.Explain())
	}

	clock := virtualclock.NewClock(virtualclock.PeriodOf(1e9), 500e-6)
	now, t := counter.Read(), virtualclock.Unix(1_800_000_000_000_000_000, 0)
	clock.Step(now, t, 0)
	nominal := virtualclock.PeriodOf(1e9)
	clock.SetBounds(now, t.AddSeconds(-1e-6), t.AddSeconds(1e-6), nominal.Scale(-50e-6), nominal.Scale(50e-6))
	clock.SetStatus(virtualclock.Synchronised, now.Add(2e9), now.Add(10e9))
	if err := local.Publish(clock.Coefficients()); err != nil {
		fmt.Println(err)
	}

	for range 4 {
		counter.Advance(1e9)
		r, why := local.ReadReason()
		fmt.Printf("%v ± %.0f µs, %v (%v)\n", r.Time, r.Bound()*1e6, r.Interval.Status, why.String())
	}
	counter.Advance(10e9)
	i, why := local.NowReason()
	fmt.Println(i.Status, "because", why.Explain(), why == reason.PageVoid)
	fmt.Println("certainly after the start:", local.After(t), "certainly before:", local.Before(t))

	// Output:
	// unsynchronised because the clock has not been synchronised since it started
	// 2027-01-15T08:00:01.000000000Z ± 51 µs, synchronised (ok)
	// 2027-01-15T08:00:02.000000000Z ± 101 µs, synchronised (ok)
	// 2027-01-15T08:00:03.000000000Z ± 151 µs, holdover (stale)
	// 2027-01-15T08:00:04.000000000Z ± 201 µs, holdover (stale)
	// unsynchronised because the page's writer has not renewed it in time: the daemon is dead or stopped true
	// certainly after the start: false certainly before: false
}
