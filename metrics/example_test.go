package metrics_test

import (
	"encoding/json"
	"fmt"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/metrics"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// Two clocks drift apart for a second, and are then set right, one after the other. The worst moment is between the two: no sample needs
// to hit it.
func ExampleEnsemble() {
	start := virtualclock.Unix(1_800_000_000_000_000_000, 0)
	at := func(s float64) virtualclock.Time { return start.AddSeconds(s) }
	ensemble, err := metrics.NewEnsemble(2, metrics.EnsembleOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	segment := func(clock int, from, offset, rate float64, epoch virtualclock.Epoch) {
		if err := ensemble.Begin(clock, metrics.Segment{From: at(from), Clock: at(from + offset), Rate: rate, Epoch: epoch}); err != nil {
			fmt.Println(err)
		}
	}
	segment(0, 0, 0, 50e-6, 1)
	segment(1, 0, 0, -50e-6, 1)
	segment(0, 1, -60e-6, 50e-6, 2) // corrected by too much
	segment(1, 1.2, 0, -50e-6, 2)
	if err := ensemble.RoundEnds(at(1.2)); err != nil {
		fmt.Println(err)
	}
	r, err := ensemble.Result(at(2))
	if err != nil {
		fmt.Println(err)
	}
	fmt.Printf("π_v %.0f µs, between the clocks %v after %v\n", r.PrecisionSeconds.Value*1e6, r.PrecisionSeconds.Clocks, r.PrecisionSeconds.At.Sub(start))
	fmt.Printf("α_v %.0f µs, δ_v %.0f µs\n", r.AccuracySeconds.Value*1e6, r.ConvergenceSeconds.Value*1e6)
	fmt.Printf("ρ_v %.0f ppm, but for %d steps\n", r.Rate.Value*1e6, r.Steps)
	// Output:
	// π_v 100 µs, between the clocks [0 1] after 1s
	// α_v 60 µs, δ_v 50 µs
	// ρ_v 50 ppm, but for 2 steps
}

// The coefficients that a clockd publishes become segments: one begins where they are published, another where their slew ends.
func ExampleSegmentOf() {
	truth := virtualclock.Unix(1_800_000_000_000_000_000, 0)
	clock := virtualclock.NewClock(virtualclock.PeriodOf(1e9), 500e-6)
	clock.Step(0, truth.AddSeconds(-25e-6), 0)
	s := metrics.SegmentOf(clock.Coefficients(), hw.Ticks(0), truth, 1e9*(1+3e-6)) // the counter is 3 ppm fast
	fmt.Printf("off by %.0f µs, %+.0f ppm\n", s.Clock.Seconds(s.From)*1e6, s.Rate*1e6)
	// Output: off by -25 µs, +3 ppm
}

// A message is delivered by three members. They stamp it with their own clocks, which are within 20 µs of each other.
func ExampleDeliveries() {
	deliveries, err := metrics.NewDeliveries(metrics.DeliveryOptions{Receivers: 3})
	if err != nil {
		fmt.Println(err)
		return
	}
	const precision = 20e-6
	sent := virtualclock.Unix(1_800_000_000_000_000_000, 0)
	stamp := func(after float64) metrics.Stamp {
		return metrics.Stamp{At: sent.AddSeconds(after), UncertaintySeconds: precision / 2}
	}
	for sequence, delays := range [][]float64{{200e-6, 240e-6, 210e-6}, {205e-6, 500e-6, 230e-6}} {
		id := metrics.MessageID{Sender: 7, Sequence: uint64(sequence)}
		if err := deliveries.Send(id, stamp(0), len(delays)); err != nil {
			fmt.Println(err)
		}
		for receiver, delay := range delays {
			if err := deliveries.Deliver(id, receiver, stamp(delay)); err != nil {
				fmt.Println(err)
			}
		}
	}
	r := deliveries.Result()
	fmt.Printf("σ %.0f ± %.0f µs\n", r.SteadinessSeconds.Value*1e6, r.SteadinessSeconds.UncertaintySeconds()*1e6)
	fmt.Printf("τ %.0f ± %.0f µs\n", r.TightnessSeconds.Value*1e6, r.TightnessSeconds.UncertaintySeconds()*1e6)
	// Output:
	// σ 260 ± 40 µs
	// τ 295 ± 20 µs
}

// Phase streams past, one sample is lost, and the deviations are there for every octave.
func ExampleStability() {
	stability, err := metrics.NewStability(1, 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	for i := range 100 {
		if i == 40 {
			stability.Miss(1)
			continue
		}
		stability.Add(float64(i*i%7) * 1e-9)
	}
	for _, p := range stability.Result().Points[:3] {
		fmt.Printf("τ %g s: ADEV %.2g from %d terms (%d excluded), MTIE %.0f ns\n", p.TauSeconds, p.ADEV.Value, p.ADEV.Samples, p.ExcludedADEV,
			p.MTIESeconds.Value*1e9)
	}
	// Output:
	// τ 1 s: ADEV 2.2e-09 from 95 terms (3 excluded), MTIE 3 ns
	// τ 2 s: ADEV 1.6e-09 from 93 terms (3 excluded), MTIE 4 ns
	// τ 4 s: ADEV 6.1e-10 from 89 terms (3 excluded), MTIE 4 ns
}

// The nine frequencies of NBS Monograph 140, as NIST SP 1065 gives them.
func ExampleOverlappingADEV() {
	phase := []float64{0}
	for i, y := range []float64{892, 809, 823, 798, 671, 644, 883, 903, 677} {
		phase = append(phase, phase[i]+y)
	}
	for _, m := range []int{1, 2} {
		f := metrics.OverlappingADEV(phase, 1, m)
		edf := metrics.DegreesOfFreedom(metrics.Terms{Kind: metrics.Allan, Samples: len(phase), Factor: m, Stride: 1}, metrics.WhiteFM)
		low, high, _ := metrics.ConfidenceInterval(f.Value, edf.Value, 0.683)
		fmt.Printf("%.5f (%.0f to %.0f)\n", f.Value, low, high)
	}
	fmt.Println("at 9:", metrics.OverlappingADEV(phase, 1, 9).Known)
	// Output:
	// 91.22945 (73 to 138)
	// 85.95287 (67 to 144)
	// at 9: false
}

func ExampleMTIE() {
	for _, f := range metrics.MTIE([]float64{0, 3, 1, 4, 1, 5, 9, 2, 6}, []int{1, 2, 4}) {
		fmt.Println(f.Value, "in", f.Samples, "windows")
	}
	// Output:
	// 7 in 8 windows
	// 8 in 7 windows
	// 8 in 5 windows
}

func ExampleQuantiles() {
	var q metrics.Quantiles
	for i := 1; i <= 1000; i++ {
		q.Add(float64(i) * 1e-6)
	}
	d := q.Distribution()
	fmt.Printf("p50 %.0f µs, p99 %.0f µs, each ± %.1f %%; max %.0f µs\n", d.P50.Value*1e6, d.P99.Value*1e6, metrics.QuantileError*100, d.Max.Value*1e6)
	// Output: p50 502 µs, p99 988 µs, each ± 0.4 %; max 1000 µs
}

func ExamplePhysicalGranularity() {
	var g metrics.PhysicalGranularity
	for _, reading := range []hw.Ticks{1000, 1026, 1026, 1078} {
		g.Add(reading)
	}
	g.AddBatch(2000, 2990, 100)
	r := g.Result(hw.Frequency{Hertz: 1e9})
	fmt.Printf("g %.0f ns, a reading costs %.0f ns\n", r.TickSeconds.Value*1e9, r.ReadCostSeconds.Value*1e9)
	// Output: g 26 ns, a reading costs 10 ns
}

func ExampleVirtualGranularity() {
	clock := virtualclock.NewClock(virtualclock.PeriodOf(1e6), 500e-6)
	clock.Step(0, virtualclock.Unix(0, 0), 0.25)
	var g metrics.VirtualGranularity
	for c := range hw.Ticks(10) {
		g.Add(c, clock.Time(c))
	}
	fmt.Printf("g_v %.2f µs\n", g.Result().SmallestTickSeconds.Value*1e6)
	// Output: g_v 1.25 µs
}

func ExampleReadingErrors() {
	var e metrics.ReadingErrors
	now := virtualclock.Unix(1_800_000_000_000_000_000, 0)
	// One of four peers may be faulty, and one interval too wide.
	if err := e.AddRound(now, 0, []float64{18e-6, 20e-6, 5e-3}, 1); err != nil {
		fmt.Println(err)
	}
	fmt.Printf("ε %.0f µs\n", e.Result().WorstSeconds.Value*1e6)
	// Output: ε 20 µs
}

// A table never has a hole: what was not measured says why.
func ExampleTable() {
	table := metrics.NewTable()
	if err := table.SetExact(metrics.Precision, metrics.Figure{Value: 41e-6, Samples: 1200, Known: true}); err != nil {
		fmt.Println(err)
	}
	if err := table.SetBound(metrics.Precision, 120e-6, "5ε + 2.5Γ"); err != nil {
		fmt.Println(err)
	}
	if err := table.SetMissing(metrics.Steadiness, reason.FigureNotApplicable, "nothing was broadcast"); err != nil {
		fmt.Println(err)
	}
	for _, p := range []metrics.Property{metrics.Precision, metrics.Steadiness, metrics.Accuracy} {
		row := table.Row(p)
		if row.Value.Known {
			fmt.Printf("%s %s: %.0f µs, %s %.0f µs = %s\n", p.Symbol(), p.Name(), row.Value.Value*1e6, row.Verdict(), row.Bound.Value*1e6, row.Formula)
			continue
		}
		fmt.Printf("%s %s: %s (%s)\n", p.Symbol(), p.Name(), row.Missing.Explain(), row.Missing.String())
	}
	b, err := json.Marshal(table.Row(metrics.Rate))
	fmt.Println(string(b), err)
	// Output:
	// π_v precision: 41 µs, within 120 µs = 5ε + 2.5Γ
	// σ steadiness: there is no such thing in this setting (figure_not_applicable)
	// α_v accuracy: this run did not measure it (figure_not_measured)
	// {"property":"rate","symbol":"ρ_v","name":"rate","unit":"1","value":null,"samples":0,"origin":null,"uncertainty":null,"bound":null,"bound_formula":null,"verdict":"undecided","missing":"figure_not_measured","detail":null} <nil>
}
