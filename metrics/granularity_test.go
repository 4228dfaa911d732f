package metrics

import (
	"testing"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/virtualclock"
)

func TestPhysicalGranularity(t *testing.T) {
	var g PhysicalGranularity
	f := hw.Frequency{Hertz: 1e9}
	r := g.Result(f)
	for _, x := range []Figure{r.TickSeconds, r.LargestStepSeconds, r.ReadCostSeconds, r.EffectiveSeconds} {
		unknown(t, "of nothing", x)
	}
	for _, c := range []hw.Ticks{100, 126, 126, 178, 170, 196, 296} {
		g.Add(c)
	}
	g.Break()
	g.Add(297) // it does not follow the last one: no tick of 1
	g.AddBatch(1000, 1000+99*30, 100)
	g.AddBatch(2000, 2000+99*20, 100)
	g.AddBatch(3000, 3000, 1)
	g.AddBatch(3000, 2000, 10)
	r = g.Result(f)
	expect(t, "g", r.TickSeconds, 26e-9, 1e-12, 0)
	expect(t, "largest step", r.LargestStepSeconds, 100e-9, 1e-12, 0)
	expect(t, "cost of reading", r.ReadCostSeconds, 20e-9, 1e-12, 0)
	expect(t, "effective g", r.EffectiveSeconds, 26e-9, 1e-12, 0)
	if r.Unchanged != 1 || r.Backwards != 1 || r.TickSeconds.Samples != 4 || r.ReadCostSeconds.Samples != 2 {
		t.Errorf("%+v", r)
	}
	// Readings wrap around.
	g = PhysicalGranularity{}
	g.Add(^hw.Ticks(4))
	g.Add(3)
	expect(t, "g across the wrap", g.Result(f).TickSeconds, 8e-9, 1e-12, 0)
}

// TestPhysicalGranularityOfThisMachine: the real counter, both by our own readings and by hw's.
func TestPhysicalGranularityOfThisMachine(t *testing.T) {
	counter, err := hw.Open("auto")
	if err != nil {
		t.Fatal(err)
	}
	var own, told PhysicalGranularity
	for range 10_000 {
		own.Add(counter.Read())
	}
	for range 50 {
		first := counter.Read()
		for range 98 {
			counter.Read()
		}
		own.AddBatch(first, counter.Read(), 100)
	}
	resolution, err := hw.MeasureResolution(counter)
	if err != nil {
		t.Fatal(err)
	}
	told.AddResolution(resolution, counter.Frequency())
	for _, g := range []*PhysicalGranularity{&own, &told} {
		r := g.Result(counter.Frequency())
		if !r.EffectiveSeconds.Known || r.TickSeconds.Value < 1/counter.Frequency().Hertz*0.999 || r.Backwards > 0 ||
			r.EffectiveSeconds.Value < r.TickSeconds.Value || r.EffectiveSeconds.Value < r.ReadCostSeconds.Value {
			t.Errorf("%+v", r)
		}
	}
	unknown(t, "largest step, which hw does not tell", told.Result(counter.Frequency()).LargestStepSeconds)
}

// TestVirtualGranularity: a clock on a counter of 1 MHz that runs 10 % fast, read at each tick and across gaps.
func TestVirtualGranularity(t *testing.T) {
	clock := virtualclock.NewClock(virtualclock.PeriodOf(1e6), 500e-6)
	clock.Step(0, seconds(0), 0.1)
	var g VirtualGranularity
	unknown(t, "of nothing", g.Result().SmallestTickSeconds)
	for _, c := range []hw.Ticks{1, 5, 5, 9} {
		g.Add(c, clock.Time(c))
	}
	r := g.Result()
	unknown(t, "no two readings are a tick apart", r.SmallestTickSeconds)
	expect(t, "smallest step", r.SmallestStepSeconds, 4.4e-6, 1e-9, 0)
	for c := hw.Ticks(10); c < 1000; c++ {
		g.Add(c, clock.Time(c))
	}
	r = g.Result()
	// g_v ≥ g·rate, up to the rounding of a tick to 2⁻³² ns.
	expect(t, "g_v", r.SmallestTickSeconds, 1.1e-6, 1e-12, 1e-18)
	expect(t, "largest g_v", r.LargestTickSeconds, 1.1e-6, 1e-12, 1e-18)
	expect(t, "largest step", r.LargestStepSeconds, 4.4e-6, 1e-9, 0)
	if r.Unchanged != 1 || r.Backwards != 0 || r.SmallestTickSeconds.Samples != 990 {
		t.Errorf("%+v", r)
	}
	g.Break()
	g.Add(2000, seconds(5))
	g.Add(2001, seconds(4))
	g.Add(2002, seconds(4))
	if r = g.Result(); r.Backwards != 1 || r.Unchanged != 2 || r.LargestStepSeconds.Value > 1e-5 {
		t.Errorf("%+v", r)
	}
}
