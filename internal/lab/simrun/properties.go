package simrun

import (
	"math"

	"github.com/clockd/clockd/internal/lab/result"
	"github.com/clockd/clockd/internal/sim"
)

// rows collects properties; a missing one says why.
type rows []result.Property

func (a *rows) add(p result.Property, value float64, why string) {
	p.Value = result.Of(value)
	if _, ok := p.Value.Value(); !ok {
		p.Known, p.Reason = result.KnownNot, why
	}
	*a = append(*a, p)
}

// never is why a figure of the synchronised clock is missing.
const never = "it was synchronised at no sample after the part of the run that is left out"

// properties are the rows that the simulation itself knows: of the whole run, then of each client.
func (r *recorder) properties(figures []sim.Result) []result.Property {
	all := &rows{}
	part := math.NaN()
	for _, c := range r.clients {
		part = greater(c.part, part)
	}
	if len(r.clients) > 0 {
		fraction(all, "", part)
	}
	for i := range figures {
		f := &figures[i]
		if f.Group != nil {
			agreed(all, f)
			continue
		}
		if c := r.client(f.Client); c != nil && len(r.clients) > 1 {
			all.add(result.Property{
				Symbol: "α_v", Name: "accuracy at the samples, while synchronised", Statistic: "max", Subject: f.Client, Unit: "s",
				Bound: result.Of(c.greatest), Formula: "greatest bound that was claimed", Known: result.KnownSampled,
			}, c.worst, never)
			fraction(all, f.Client, c.part)
		}
		of(all, f)
	}
	return *all
}

// fraction is the row about how much of what was claimed was needed: by a client, or by all.
func fraction(all *rows, subject string, part float64) {
	all.add(result.Property{
		Name: "time error ÷ the bound claimed at that instant", Statistic: "max", Subject: subject, Unit: "1", Bound: result.Of(1),
		Formula: "a claim holds at every instant", Known: result.KnownSampled,
	}, part, never)
}

// agreed are the further figures of a group.
func agreed(all *rows, f *sim.Result) {
	g := f.Group
	none := "no settled member made a round in the part of the run that counts"
	add := func(symbol, name, statistic string, value, bound sim.Number, formula string, unit string, known result.Known, why string) {
		all.add(result.Property{
			Symbol: symbol, Name: name, Statistic: statistic, Subject: f.Client, Unit: unit, Bound: result.Of(float64(bound)), Formula: formula, Known: known,
		}, float64(value), why)
	}
	nothing := sim.Number(math.NaN())
	add("Π", "spread just before a round", "max", g.Spread, g.SpreadBound, "δ_v + Γ", "s", result.KnownExact, none)
	add("π_v", "precision promised by the configuration", "max", g.PromisedPrecision, nothing, "", "s", result.KnownGiven, "this algorithm promises nothing")
	add("", "difference of two clocks", "rms", g.RMSPairwise, nothing, "", "s", result.KnownSampled, none)
	add("", "distance to the far edge of a member's interval", "max", g.FarEdge, nothing, "", "s", result.KnownClaimed, "no member's interval bounds the group's clocks")
	add("", "until all correct members were synchronised", "", g.InSync, nothing, "", "s", result.KnownSampled, "they never all were")
	add("", "part of the time with a bound", "", f.SoundFraction*100, nothing, "", "%", result.KnownSampled, "the run ended before its figures begin")
}

// of are the further figures of a client.
func of(all *rows, f *sim.Result) {
	few := "the run ended before its figures begin"
	add := func(name, statistic string, value sim.Number, unit string, known result.Known, why string) {
		all.add(result.Property{Name: name, Statistic: statistic, Subject: f.Client, Unit: unit, Known: known}, float64(value), why)
	}
	add("time error, at all times", "max", f.MaxError, "s", result.KnownSampled, few)
	add("time error", "p99", f.P99Error, "s", result.KnownSampled, few)
	add("time error", "rms", f.RMSError, "s", result.KnownSampled, few)
	add("claimed bound", "median", f.MedianHalfWidth, "s", result.KnownClaimed, never)
	add("frequency error", "rms", f.RMSFrequencyError*1e6, "ppm", result.KnownSampled, few)
	add("until the time error stayed under 1 ms", "", f.ErrorUnder1ms, "s", result.KnownSampled, "it did not stay under 1 ms")
	add("until the claimed bound stayed under 1 ms", "", f.BoundUnder1ms, "s", result.KnownSampled, "it did not stay under 1 ms")
	add("part of the time with a bound", "", f.SoundFraction*100, "%", result.KnownSampled, few)
}

// client returns the client of that name, nil without one.
func (r *recorder) client(name string) *watched {
	for _, c := range r.clients {
		if c.host.Name == name {
			return c
		}
	}
	return nil
}
