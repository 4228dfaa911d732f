package report

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/clockd/clockd/internal/lab/result"
)

func pointer[T any](x T) *T { return &x }

// group is a result with everything that a page can show: a group of hosts, a liar, a partition, a wrong interval.
func group(t testing.TB, seed uint64, names ...string) *result.Result {
	t.Helper()
	if len(names) == 0 {
		names = []string{"host1", "host2", "host3", "host4"}
	}
	random := rand.New(rand.NewPCG(seed, 1))
	r := &result.Result{
		Version: "1.2.3", Command: []string{"live", "--hosts", "4", "--for", "300s"}, Mode: result.ModeLive, Title: "four hosts, one liar, one partition",
		Truth: result.TruthExact, Began: pointer("2026-11-27T01:00:00Z"), Length: result.Of(300), Complete: true,
		Scenario: &result.Scenario{Name: "partition", Summary: "hosts that agree while one of them lies and another is cut off", Source: pointer("length = \"300s\"\n")},
		Seed:     &seed, Machine: &result.Machine{CPU: "a processor", CPUs: 2, Kernel: "Linux 6.18", Arch: "amd64", Counter: "tsc, 2.1 GHz"},
		Notes:  []string{"Precision follows the reading error: π_v stays under 5ε + 2.5Γ, liar or not."},
		Checks: result.Checks{Checked: pointer(uint64(123456)), Wrong: pointer(uint64(1)), Worst: result.Of(3e-6)},
	}
	dir, err := result.Prepare(t.TempDir(), result.PrepareOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dir.Close() }()
	together, err := dir.Track("all", "", result.Field{Quantity: result.Precision, Name: "precision", Unit: "s"}, result.Field{Quantity: result.PrecisionBound, Name: "bound", Unit: "s"})
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range names {
		liar := i == len(names)-1
		role := result.RolePeer
		if liar {
			role = result.RoleLiar
		}
		r.Clocks = append(r.Clocks, result.Clock{Name: name, Role: role, Correct: pointer(!liar), Program: "clockd", Address: fmt.Sprintf("10.0.0.%d:123", i+1)})
		track, err := dir.Track(name, name, result.Field{Quantity: result.TimeError, Name: "time error", Unit: "s"}, result.Field{Quantity: result.IntervalLow, Name: "earliest", Unit: "s"},
			result.Field{Quantity: result.IntervalHigh, Name: "latest", Unit: "s"})
		if err != nil {
			t.Fatal(err)
		}
		walk := 0.0
		for k := range 6000 {
			at := float64(k) * 0.05
			walk = 0.995*walk + 4e-8*random.NormFloat64()
			e, half := walk, 2e-5+1e-5*math.Mod(at, 8)/8+2e-6*random.Float64()
			if at > 120 && at < 180 && i == 1 {
				half += (at - 120) * 2e-6
				e += (at - 120) * 5e-8
			}
			if liar {
				e += 1e-3 * math.Sin(at/20)
			}
			low, high := e-half, e+half
			if k == 4321 && i == 0 {
				low = 3e-6
				e = low + half
				high = e + half
			}
			if at < 3 || i == 2 && at > 200 && at < 215 {
				low, high = math.NaN(), math.NaN()
			}
			track.Add(at, e, low, high)
			if i == 0 {
				together.Add(at, 6e-7+3e-7*random.Float64(), 4e-5+1e-5*math.Mod(at, 8)/8)
			}
		}
		for _, s := range []struct {
			statistic result.Statistic
			unit      string
			slope     float64
		}{{result.ADEV, "1", -0.9}, {result.MDEV, "1", -1.3}, {result.TDEV, "s", -0.3}, {result.MTIE, "s", 0.4}} {
			c := result.Curve{Statistic: s.statistic, Clock: name, Unit: s.unit, Confidence: result.Of(0.683)}
			for tau := 0.05; tau < 120; tau *= 2 {
				v := 1e-6 * float64(i+1) * math.Pow(tau, s.slope)
				c.Tau, c.Values, c.Counts = append(c.Tau, tau), append(c.Values, v), append(c.Counts, uint64(6000/(tau/0.05)))
				if s.statistic == result.ADEV && i == 0 {
					c.Low, c.High = append(c.Low, v*0.8), append(c.High, v*1.3)
				}
			}
			if len(c.Low) == 0 {
				c.Confidence = result.Number{}
			}
			r.Stability = append(r.Stability, c)
		}
		if i > 0 {
			classes := &result.Classes{}
			for range 2000 {
				classes.Add(200e-6 + 50e-6*random.ExpFloat64())
			}
			h, _ := classes.Histogram()
			h.Name, h.Clock, h.Peer, h.Direction = "one-way delay", names[0], name, result.DirectionTo
			r.Histograms = append(r.Histograms, h)
		}
	}
	for k := range 38 {
		eps := 2e-6 + 5e-7*random.Float64()
		r.Rounds = append(r.Rounds, result.Round{
			Number: uint64(k + 1), At: result.Of(float64(k) * 8), Convergence: result.Of(5e-7 + 1e-3*math.Exp(-float64(k))), Spread: result.Of(1e-6 + 2e-3*math.Exp(-float64(k))),
			Epsilon: result.Of(eps), Bound: result.Of(4*eps + 1e-6), Used: pointer(4),
		})
	}
	property := func(symbol, name, subject, unit string, value, bound float64, formula string) {
		r.Properties = append(r.Properties, result.Property{
			Symbol: symbol, Name: name, Statistic: "max", Subject: subject, Value: result.Of(value), Unit: unit, Bound: result.Of(bound), Formula: formula, Known: result.KnownExact,
		})
	}
	property("g", "physical granularity", "", "s", 0.48e-9, math.NaN(), "")
	property("δ_v", "convergence", "", "s", 5e-7, 1.1e-5, "4ε + Γ")
	property("π_v", "precision", "", "s", 9e-7, 1.4e-5, "5ε + 2.5Γ")
	property("α_v", "accuracy", "", "s", 1.2e-6, 1e-6, "α_e + (ε + ρP')/G")
	r.Properties = append(r.Properties, result.Property{Symbol: "σ", Name: "steadiness", Statistic: "max", Unit: "s", Known: result.KnownNot, Reason: "no message was broadcast in this run"})
	for i, name := range names {
		property("ρ_v", "rate", name, "ppm", 0.1*float64(i+1), 100, "ρ + slew")
		property("", "time error", name, "s", 1e-6*float64(i+1), math.NaN(), "")
	}
	r.Events = []result.Event{
		{At: result.Of(3), Clock: names[0], Kind: result.EventStatus, Status: "synchronised", Reason: "ok"},
		{At: result.Of(120), Clock: names[1], Kind: result.EventFault, Text: "cut off from the others"},
		{At: result.Of(122), Clock: names[1], Kind: result.EventStatus, Status: "holdover", Reason: "no_samples"},
		{At: result.Of(140), Clock: names[0], Kind: result.EventFinding, Text: names[len(names)-1] + " is false"},
		{At: result.Of(180), Clock: names[1], Kind: result.EventRepair, Text: "joined again"},
	}
	r.Violations = []result.Violation{{At: result.Of(216.05), Clock: names[0], Outside: result.Of(-3e-6), HalfWidth: result.Of(2e-5), Error: result.Of(2.3e-5), Status: "synchronised"}}
	n := len(names)
	d := &result.Disagreement{Clocks: names}
	for i := range n {
		var offset, uncertainty []result.Number
		var disagree []bool
		for j := range n {
			offset, uncertainty = append(offset, result.Of(float64(i-j)*1e-6)), append(uncertainty, result.Of(4e-5))
			disagree = append(disagree, i != j && (i == n-1 || j == n-1))
		}
		d.Offset, d.Uncertainty, d.Disagree = append(d.Offset, offset), append(d.Uncertainty, uncertainty), append(d.Disagree, disagree)
	}
	r.Disagreement = d
	plot := result.Plot{
		Title: "Accuracy follows the round trip", Text: "Each point is an exchange; the line is RTT/2.", X: result.Axis{Label: "round trip", Unit: "s", Log: true},
		Y: result.Axis{Label: "|time error|", Unit: "s", Log: true},
	}
	points, line := result.PlotCurve{Name: "measured", Points: true}, result.PlotCurve{Name: "RTT/2", Bound: true}
	for range 200 {
		rtt := 1e-4 * math.Exp(2*random.Float64())
		points.X, points.Y = append(points.X, rtt), append(points.Y, rtt/2*random.Float64())
		line.X, line.Y = append(line.X, rtt), append(line.Y, rtt/2)
	}
	plot.Curves = []result.PlotCurve{points, line}
	r.Plots = []result.Plot{plot}
	if err := dir.Write(r); err != nil {
		t.Fatal(err)
	}
	return r
}
