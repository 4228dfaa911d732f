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
	worst, greatest, part := math.NaN(), math.NaN(), math.NaN()
	for _, c := range r.clients {
		worst, greatest, part = greater(c.worst, worst), greater(c.greatest, greatest), greater(c.part, part)
	}
	claims(all, "", worst, greatest, part)
	why := "no two clocks were synchronised at one time"
	switch len(r.clients) {
	case 0:
		why = "there is no client whose clock could be watched"
	case 1:
		why = "there is one client only: no pair to compare"
	}
	precision, bound := math.NaN(), math.NaN()
	if r.pairs > 0 {
		precision, bound = r.precision, r.precisionBound
	}
	all.add(result.Property{
		Symbol: "π_v", Name: "precision", Statistic: "max", Unit: "s", Bound: result.Of(bound), Formula: "greatest sum of two claimed bounds",
		Known: result.KnownSampled,
	}, precision, why)
	for i := range figures {
		f := &figures[i]
		if c := r.client(f.Client); c != nil && len(r.clients) > 1 {
			claims(all, f.Client, c.worst, c.greatest, c.part)
		}
		of(all, f)
	}
	return *all
}

// claims are the rows about what was claimed: of a client, or of all.
func claims(all *rows, subject string, worst, greatest, part float64) {
	all.add(result.Property{
		Symbol: "α_v", Name: "accuracy, while synchronised", Statistic: "max", Subject: subject, Unit: "s", Bound: result.Of(greatest),
		Formula: "greatest bound that was claimed", Known: result.KnownSampled,
	}, worst, never)
	all.add(result.Property{
		Name: "time error ÷ the bound claimed at that instant", Statistic: "max", Subject: subject, Unit: "1", Bound: result.Of(1),
		Formula: "a claim holds at every instant", Known: result.KnownSampled,
	}, part, never)
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
