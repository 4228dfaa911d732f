package observe

import (
	"fmt"
	"math"

	"github.com/clockd/clockd/internal/lab/result"
)

// properties is the table of properties: what can be known of it without ground truth, and why the rest cannot.
func properties(r *Report) []result.Property {
	var list []result.Property
	unknown := func(symbol, name, unit, why string) {
		list = append(list, result.Property{Symbol: symbol, Name: name, Statistic: "max", Unit: unit, Known: result.KnownNot, Reason: why})
	}
	if c := r.Counter; c != nil {
		list = append(list,
			result.Property{Symbol: "g", Name: "granularity of this host's counter", Statistic: "mean", Value: result.Of(1 / c.Hertz), Unit: "s", Known: result.KnownGiven, Formula: "1/frequency"},
			result.Property{Symbol: "ρ", Name: "drift bound of this host's counter", Statistic: "max", Value: result.Of(c.DriftBound * 1e6), Unit: "ppm", Known: result.KnownGiven})
	}
	unknown("g_v", "virtual granularity", "s", "no virtual clock is observed: the servers' answers do not show their clocks' steps")
	unknown("δ_v", "convergence", "s", "there are no rounds of agreement to be seen from outside")
	list = append(list, precision(r), accuracy(r))
	for i := range r.Servers {
		list = append(list, ofServer(&r.Servers[i])...)
	}
	unknown("ρ_α", "envelope rate", "ppm", "true time is not known: only rates against this host's counter are, above")
	unknown("σ", "steadiness", "s", "nothing is delivered in an observation")
	unknown("τ", "tightness", "s", "nothing is delivered in an observation")
	return list
}

// interval makes a property of what is certain to be between two values.
func interval(p result.Property, low, high *float64, why string) result.Property {
	p.Known, p.Unit = result.KnownEstimated, "s"
	if low == nil || high == nil {
		p.Known, p.Reason = result.KnownNot, why
		return p
	}
	p.Value, p.Uncertainty = result.Of((*low+*high)/2), result.Of((*high-*low)/2)
	return p
}

// precision is how far two servers are apart, now.
func precision(r *Report) result.Property {
	p := result.Property{Symbol: "π_v", Name: "precision of the servers: greatest difference of two", Statistic: "max", Known: result.KnownNot, Unit: "s"}
	var worst *Distance
	for i := range r.Pairs {
		d := r.Pairs[i].Worst
		if d == nil {
			d = r.Pairs[i].Latest
		}
		if d != nil && (worst == nil || math.Abs(d.Least+d.Most) > math.Abs(worst.Least+worst.Most)) {
			worst = d
		}
	}
	if worst == nil {
		p.Reason = "no two servers were measured at one time"
		return p
	}
	p.Known, p.Value, p.Uncertainty = result.KnownEstimated, result.Of(math.Abs(worst.Least+worst.Most)/2), result.Of((worst.Most-worst.Least)/2)
	return p
}

// accuracy is how far this host's system clock is from true time, now.
func accuracy(r *Report) result.Property {
	p := result.Property{Symbol: "α_v", Name: "accuracy: system clock − true time, at the end", Statistic: "last", Subject: systemClockName}
	if r.Now == nil {
		return interval(p, nil, nil, "no round was over")
	}
	if r.Now.Low == nil || r.Now.High == nil {
		return interval(p, nil, nil, r.Now.Reason.Explain())
	}
	low, high := -*r.Now.High, -*r.Now.Low
	p.Name += ", if " + condition(r.Now.MaxFalse, r.Now.Taking)
	return interval(p, &low, &high, "")
}

// ofServer are the rows of one server.
func ofServer(s *ServerReport) []result.Property {
	name := Clean(s.Host)
	silent := s.Reason.Explain()
	single := func(symbol, what, statistic string, v *float64) result.Property {
		p := result.Property{Symbol: symbol, Name: what, Statistic: statistic, Subject: name, Unit: "s", Known: result.KnownEstimated}
		if v == nil {
			p.Known, p.Reason = result.KnownNot, silent
			return p
		}
		p.Value = result.Of(*v)
		return p
	}
	list := []result.Property{
		interval(result.Property{Symbol: "", Name: "offset: server − system clock, at the end", Statistic: "last", Subject: name}, s.Low, s.High, silent),
		single("ε", "reading error of one exchange, the server's own included", "median", s.Error.Median),
		single("", "round trip", "min", s.Delay.Min),
		single("", "round trip", "median", s.Delay.Median),
	}
	claimed := single("", "root distance: the error that it states", "last", s.RootDistance)
	if s.RootDistance != nil {
		claimed.Known = result.KnownClaimed
	}
	rate := result.Property{Symbol: "ρ_v", Name: "rate against this host's counter, statistical (1 σ)", Statistic: "last", Subject: name, Unit: "ppm", Known: result.KnownEstimated}
	if s.Rate == nil || s.RateStd == nil {
		rate.Known, rate.Reason = result.KnownNot, "two samples are needed"
	} else {
		rate.Value, rate.Uncertainty = result.Of(*s.Rate*1e6), result.Of(*s.RateStd*1e6)
	}
	answers := result.Property{Name: fmt.Sprintf("good answers to %d requests", s.SamplesSent), Statistic: "count", Subject: name, Value: result.Of(float64(s.SamplesOK)), Unit: "count", Known: result.KnownSampled}
	list = append(list, claimed, rate, answers)
	if s.RoundsFalse > 0 && s.Worst != nil {
		list = append(list, interval(result.Property{Name: "false: off from true time, at the worst", Statistic: "max", Subject: name}, &s.Worst.Least, &s.Worst.Most, ""))
	}
	return list
}
