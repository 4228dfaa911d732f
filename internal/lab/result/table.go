package result

import (
	"strings"

	"github.com/clockd/clockd/metrics"
	"github.com/clockd/clockd/reason"
)

// AddTable puts what package metrics measured into the result: its rows as properties of subject ("" for the whole run), its curves as
// measures of stability. All rows are exact suprema or estimates with their uncertainty, as the table says.
func (r *Result) AddTable(t *metrics.Table, subject string) {
	for _, row := range t.Rows() {
		p := Property{Symbol: row.Property.Symbol(), Name: row.Property.Name(), Statistic: "max", Subject: subject, Unit: row.Property.Unit(), Formula: row.Formula}
		if row.Bound.Known {
			p.Bound = Of(row.Bound.Value)
		}
		switch {
		case !row.Value.Known:
			p.Known, p.Reason = KnownNot, why(row.Missing, row.Detail)
		case row.Origin == metrics.Exact:
			p.Known, p.Value = KnownExact, Of(row.Value.Value)
		default:
			p.Known, p.Value, p.Uncertainty = KnownEstimated, Of(row.Value.Value), Of(row.Uncertainty)
		}
		r.Properties = append(r.Properties, p)
	}
	for i := range t.Curves {
		r.addCurve(&t.Curves[i])
	}
}

// why says why a value is missing, in words.
func why(code reason.Code, detail string) string {
	text := code.Explain()
	if detail == "" {
		return text
	}
	return strings.TrimRight(text, ".") + ": " + detail
}

// addCurve takes the points of a curve that have a value.
func (r *Result) addCurve(from *metrics.Curve) {
	statistic := Statistic(strings.ToLower(from.Symbol))
	if from.Symbol == "MTIE/w" {
		statistic = EnvelopeRate
	}
	c := Curve{Statistic: statistic, Clock: from.Clock, Unit: from.Unit}
	for i := range from.Points {
		if p := &from.Points[i]; p.Value != nil {
			c.Tau, c.Values, c.Counts = append(c.Tau, p.TauSeconds), append(c.Values, *p.Value), append(c.Counts, p.Samples)
		}
	}
	if len(c.Tau) > 0 {
		r.Stability = append(r.Stability, c)
	}
}

// AddStability puts the measures of stability of a clock into the result.
func (r *Result) AddStability(points []metrics.StabilityPoint, clock string) {
	t := metrics.NewTable()
	t.AddStability(points, clock)
	for i := range t.Curves {
		r.addCurve(&t.Curves[i])
	}
}
