package simrun

import (
	"math"

	"github.com/clockd/clockd/internal/lab/result"
	"github.com/clockd/clockd/internal/sim"
)

// properties are the rows that the simulation itself knows.
func (r *recorder) properties(figures []sim.Result) []result.Property {
	all := []result.Property{}
	few := "the run ended before its figures begin"
	for i := range figures {
		f := &figures[i]
		row := func(symbol, name, statistic string, value sim.Number, unit string, known result.Known, reason string) *result.Property {
			p := result.Property{
				Symbol: symbol, Name: name, Statistic: statistic, Subject: f.Client, Value: result.Of(float64(value)), Unit: unit, Known: known, Reason: reason,
			}
			if _, ok := p.Value.Value(); ok {
				p.Reason = ""
			} else {
				p.Known = result.KnownNot
			}
			all = append(all, p)
			return &all[len(all)-1]
		}
		worst, greatest := r.extremes(f.Client)
		p := row("α_v", "accuracy, while synchronised", "max", sim.Number(worst), "s", result.KnownSampled, "it was at no sample synchronised")
		if !math.IsNaN(greatest) {
			p.Bound, p.Formula = result.Of(greatest), "greatest bound that the clock claimed"
		}
		row("", "time error, at all times", "max", f.MaxError, "s", result.KnownSampled, few)
		row("", "time error", "rms", f.RMSError, "s", result.KnownSampled, few)
		row("", "time error", "p99", f.P99Error, "s", result.KnownSampled, few)
		row("", "claimed bound", "median", f.MedianHalfWidth, "s", result.KnownClaimed, few)
		row("", "frequency error", "rms", f.RMSFrequencyError*1e6, "ppm", result.KnownSampled, few)
		row("", "time until the error stayed under 1 ms", "max", f.ErrorUnder1ms, "s", result.KnownSampled, "it did not stay under 1 ms")
		row("", "time until the claimed bound stayed under 1 ms", "max", f.BoundUnder1ms, "s", result.KnownSampled, "it did not stay under 1 ms")
		row("", "time with a bound", "mean", f.SoundFraction*100, "%", result.KnownSampled, few)
	}
	p := result.Property{Symbol: "π_v", Name: "precision", Statistic: "max", Unit: "s", Known: result.KnownNot, Reason: "there is one client only: no pair to compare"}
	switch {
	case r.pairs > 0:
		p.Value, p.Bound, p.Known, p.Reason = result.Of(r.precision), result.Of(r.precisionBound), result.KnownSampled, ""
		p.Formula = "greatest sum of two claimed bounds"
	case len(figures) > 1:
		p.Reason = "no two clocks were synchronised at one time"
	}
	return append(all, p)
}

// extremes are a client's worst error while it had a bound, and the greatest bound, since the figures began; not a number without any.
func (r *recorder) extremes(name string) (worst, greatest float64) {
	for _, c := range r.clients {
		if c.host.Name == name {
			return c.worst, c.greatest
		}
	}
	return math.NaN(), math.NaN()
}
