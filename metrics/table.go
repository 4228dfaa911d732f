package metrics

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/clockd/clockd/reason"
)

// TableSchema names the form of a Table in JSON. It changes if a field changes its meaning or goes.
const TableSchema = "clockd.properties/1"

// Property is a property of a global clock.
type Property int

// The properties of docs/properties.md, in its order, and the time error.
const (
	Granularity Property = iota
	VirtualClockGranularity
	Convergence
	Precision
	Rate
	EnvelopeRate
	Accuracy
	Steadiness
	Tightness
	ClockReadingError
	TimeError
	propertyCount
)

type propertyText struct{ key, symbol, name, unit string }

// text returns what a property is called; the zero value for what is none.
func (p Property) text() propertyText {
	all := [propertyCount]propertyText{
		{"granularity", "g", "physical granularity", "s"},
		{"virtual_granularity", "g_v", "virtual granularity", "s"},
		{"convergence", "δ_v", "convergence", "s"},
		{"precision", "π_v", "precision", "s"},
		{"rate", "ρ_v", "rate", "1"},
		{"envelope_rate", "ρ_α", "envelope rate", "1"},
		{"accuracy", "α_v", "accuracy", "s"},
		{"steadiness", "σ", "steadiness", "s"},
		{"tightness", "τ", "tightness", "s"},
		{"reading_error", "ε", "clock reading error", "s"},
		{"time_error", "max|TE|", "time error", "s"},
	}
	if p < 0 || p >= propertyCount {
		return propertyText{}
	}
	return all[p]
}

// Properties returns all of them, in the table's order.
func Properties() []Property {
	var out []Property
	for p := range propertyCount {
		out = append(out, p)
	}
	return out
}

// String returns the key that programs read.
func (p Property) String() string {
	if t := p.text(); t.key != "" {
		return t.key
	}
	return fmt.Sprintf("property_%d", int(p))
}

// Symbol returns the course's symbol, Name the English name, Unit "s" or "1" for a ratio.
func (p Property) Symbol() string { return p.text().symbol }

// Name returns the English name.
func (p Property) Name() string { return p.text().name }

// Unit returns "s", or "1" for a ratio.
func (p Property) Unit() string { return p.text().unit }

// Origin says where a value comes from.
type Origin string

// The origins.
const (
	// Exact: from the clocks' segments and true time, or from the counter itself.
	Exact Origin = "exact"
	// Estimate: measured with clocks or samples that are wrong themselves, by no more than the uncertainty.
	Estimate Origin = "estimate"
)

// Verdict says whether a value is within its bound.
type Verdict string

// The verdicts.
const (
	Within    Verdict = "within"
	Violated  Verdict = "violated"
	Undecided Verdict = "undecided"
)

// Row is what is known of one property.
type Row struct {
	Property Property
	// Value is the measured figure, and Origin where it comes from. An estimate is wrong by UncertaintySeconds (or that ratio) at the
	// most, either way; an exact one has 0 there.
	Value       Figure
	Origin      Origin
	Uncertainty float64
	// Bound is what theory promises, and Formula how it comes about ("5ε + 2.5Γ"); unknown if it promises nothing.
	Bound   Figure
	Formula string
	// Missing says why there is no value, Detail in a sentence what exactly it was.
	Missing reason.Code
	Detail  string
}

// Verdict compares the value with the bound: an estimate may straddle it. It is undecided where either is missing.
func (r *Row) Verdict() Verdict {
	switch {
	case !r.Value.Known || !r.Bound.Known:
		return Undecided
	case r.Value.Value-r.Uncertainty > r.Bound.Value:
		return Violated
	case r.Value.Value+r.Uncertainty <= r.Bound.Value:
		return Within
	}
	return Undecided
}

// rowJSON is how a Row is written; docs/properties-table.md explains it.
type rowJSON struct {
	Property    string   `json:"property"`
	Symbol      string   `json:"symbol"`
	Name        string   `json:"name"`
	Unit        string   `json:"unit"`
	Value       *float64 `json:"value"`
	Samples     uint64   `json:"samples"`
	Origin      *Origin  `json:"origin"`
	Uncertainty *float64 `json:"uncertainty"`
	Bound       *float64 `json:"bound"`
	Formula     *string  `json:"bound_formula"`
	Verdict     Verdict  `json:"verdict"`
	Missing     *string  `json:"missing"`
	Detail      *string  `json:"detail"`
}

func orNull[T comparable](x T) *T {
	var zero T
	if x == zero {
		return nil
	}
	return &x
}

// MarshalJSON writes the row as docs/properties-table.md says.
func (r Row) MarshalJSON() ([]byte, error) {
	t := r.Property.text()
	j := rowJSON{
		Property: t.key, Symbol: t.symbol, Name: t.name, Unit: t.unit, Value: pointer(r.Value.Value, r.Value.Known),
		Samples: r.Value.Samples, Bound: pointer(r.Bound.Value, r.Bound.Known), Formula: orNull(r.Formula), Verdict: r.Verdict(),
		Detail: orNull(r.Detail),
	}
	if r.Value.Known {
		j.Origin, j.Uncertainty = &r.Origin, pointer(r.Uncertainty, true)
	}
	if r.Missing != reason.OK {
		j.Missing = orNull(r.Missing.String())
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (r *Row) UnmarshalJSON(b []byte) error {
	var j rowJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	i := slices.IndexFunc(Properties(), func(p Property) bool { return p.String() == j.Property })
	if i < 0 {
		return fmt.Errorf("metrics: no property is called %.40q", j.Property)
	}
	*r = Row{Property: Property(i), Value: Figure{Samples: j.Samples}}
	if j.Value != nil {
		r.Value.Value, r.Value.Known = *j.Value, true
	}
	if j.Bound != nil {
		r.Bound = Figure{Value: *j.Bound, Known: true}
	}
	if j.Uncertainty != nil {
		r.Uncertainty = *j.Uncertainty
	}
	if j.Origin != nil {
		r.Origin = *j.Origin
	}
	if j.Formula != nil {
		r.Formula = *j.Formula
	}
	if j.Detail != nil {
		r.Detail = *j.Detail
	}
	if j.Missing != nil {
		return r.Missing.UnmarshalText([]byte(*j.Missing))
	}
	return nil
}

// Curve is a figure against the observation interval: "ADEV", "MDEV", "TDEV", "HDEV", "MTIE", or "MTIE/w" for the envelope rate.
type Curve struct {
	Symbol string `json:"symbol"`
	Unit   string `json:"unit"`
	// Clock says which clock, "" the worst of all.
	Clock  string       `json:"clock"`
	Points []CurvePoint `json:"points"`
}

// CurvePoint is one point of a Curve. A missing value is null.
type CurvePoint struct {
	TauSeconds float64  `json:"tau_s"`
	Value      *float64 `json:"value"`
	Samples    uint64   `json:"samples"`
	Origin     Origin   `json:"origin"`
}

// Table is the whole of what was measured of a global clock: one row for each property, none without a value or a reason.
type Table struct {
	rows   [propertyCount]Row
	Curves []Curve
}

// NewTable returns a table in which nothing was measured.
func NewTable() *Table {
	t := &Table{Curves: []Curve{}}
	for _, p := range Properties() {
		t.rows[p] = Row{Property: p, Missing: reason.FigureNotMeasured}
	}
	return t
}

// Rows returns a copy of all rows, in the order of the properties.
func (t *Table) Rows() []Row { return slices.Clone(t.rows[:]) }

// Row returns the property's row; the zero value for what is no property.
func (t *Table) Row(p Property) Row {
	if p < 0 || p >= propertyCount {
		return Row{}
	}
	return t.rows[p]
}

// errProperty is about a Property that is none.
var errProperty = errors.New("metrics: there is no such property")

// SetExact sets a value that is known exactly. If the figure is not known the row says that there were too few observations: tell a better
// reason with SetMissing.
func (t *Table) SetExact(p Property, f Figure) error { return t.set(p, f, Exact, 0) }

// SetEstimate sets a value that is wrong by no more than the uncertainty, either way.
func (t *Table) SetEstimate(p Property, f Figure, uncertainty float64) error {
	return t.set(p, f, Estimate, uncertainty)
}

// SetBounded sets an estimate from what it is at least and at the most.
func (t *Table) SetBounded(p Property, b Bounded) error {
	u := 0.0
	if b.Known {
		u = b.UncertaintySeconds()
	}
	if b.Known && u == 0 {
		return t.SetExact(p, b.Figure)
	}
	return t.SetEstimate(p, b.Figure, u)
}

func (t *Table) set(p Property, f Figure, origin Origin, uncertainty float64) error {
	if p < 0 || p >= propertyCount {
		return errProperty
	}
	if f.Known && (!finite(f.Value) || !finite(uncertainty) || uncertainty < 0) {
		return fmt.Errorf("metrics: %s is %g ± %g: %w", p, f.Value, uncertainty, ErrNumber)
	}
	r := &t.rows[p]
	r.Value, r.Origin, r.Uncertainty, r.Missing, r.Detail = f, origin, uncertainty, reason.OK, ""
	if !f.Known {
		r.Value, r.Origin, r.Uncertainty, r.Missing = Figure{Samples: f.Samples}, "", 0, reason.FigureTooFew
	}
	return nil
}

// SetMissing says why there is no value: a reason code, and in a sentence what exactly was the matter ("" if the code says it all).
func (t *Table) SetMissing(p Property, why reason.Code, detail string) error {
	if p < 0 || p >= propertyCount {
		return errProperty
	}
	if why == reason.OK {
		return fmt.Errorf("metrics: %s is missing without a reason", p)
	}
	r := &t.rows[p]
	r.Value, r.Origin, r.Uncertainty, r.Missing, r.Detail = Figure{}, "", 0, why, detail
	return nil
}

// SetBound sets what theory promises, and by which formula.
func (t *Table) SetBound(p Property, bound float64, formula string) error {
	if p < 0 || p >= propertyCount {
		return errProperty
	}
	if !finite(bound) || bound < 0 || formula == "" {
		return fmt.Errorf("metrics: the bound %g of %s by the formula %q: give a finite number and a formula", bound, p, formula)
	}
	t.rows[p].Bound, t.rows[p].Formula = Figure{bound, 0, true}, formula
	return nil
}

// SetEnsemble sets δ_v, π_v, ρ_v, ρ_α, α_v and max|TE| from what was measured on the true timeline. The envelope rate is that at the
// longest window that the run has, if this is windowSeconds or longer (theory: 20 resynchronisation periods).
func (t *Table) SetEnsemble(r *EnsembleResult, windowSeconds float64) error {
	err := errors.Join(
		t.SetExact(Convergence, r.ConvergenceSeconds.Figure), t.SetExact(Precision, r.PrecisionSeconds.Figure),
		t.SetExact(Rate, r.Rate), t.SetExact(Accuracy, r.AccuracySeconds.Figure), t.SetExact(TimeError, r.AccuracySeconds.Figure),
	)
	if r.Jumps > 0 && !r.Rate.Known {
		err = errors.Join(err, t.SetMissing(Rate, reason.FigureUndefined, fmt.Sprintf("clocks jumped %d times within an epoch", r.Jumps)))
	}
	n := len(r.Envelope)
	if n == 0 || r.Envelope[n-1].WindowSeconds < windowSeconds {
		detail := fmt.Sprintf("no stretch without a step has a window of %g s", windowSeconds)
		return errors.Join(err, t.SetMissing(EnvelopeRate, reason.FigureTooFew, detail))
	}
	p := r.Envelope[n-1]
	t.AddEnvelope(r.Envelope, "")
	// The truth is between the two: their middle, with half of their distance.
	half := (p.AtMost.Value - p.AtLeast.Value) / 2
	return errors.Join(err, t.SetEstimate(EnvelopeRate, Figure{p.AtLeast.Value + half, p.AtMost.Samples, p.AtMost.Known}, half))
}

// AddEnvelope adds the curve of ρ_α.
func (t *Table) AddEnvelope(points []EnvelopePoint, clock string) {
	c := Curve{Symbol: "MTIE/w", Unit: "1", Clock: clock}
	for _, p := range points {
		c.Points = append(c.Points, CurvePoint{p.WindowSeconds, pointer(p.AtMost.Value, p.AtMost.Known), p.AtMost.Samples, Estimate})
	}
	t.Curves = append(t.Curves, c)
}

// AddStability adds the curves of ADEV, MDEV, TDEV, HDEV and MTIE. The deviations are statistics, and estimates whatever they are
// measured with; MTIE is exact for the samples where its windows have full overlap.
func (t *Table) AddStability(points []StabilityPoint, clock string) {
	get := []struct {
		symbol, unit string
		figure       func(*StabilityPoint) Figure
	}{
		{"ADEV", "1", func(p *StabilityPoint) Figure { return p.ADEV }},
		{"MDEV", "1", func(p *StabilityPoint) Figure { return p.MDEV }},
		{"TDEV", "s", func(p *StabilityPoint) Figure { return p.TDEVSeconds }},
		{"HDEV", "1", func(p *StabilityPoint) Figure { return p.HDEV }},
		{"MTIE", "s", func(p *StabilityPoint) Figure { return p.MTIESeconds }},
	}
	for _, g := range get {
		c := Curve{Symbol: g.symbol, Unit: g.unit, Clock: clock}
		for i := range points {
			f, origin := g.figure(&points[i]), Estimate
			if g.symbol == "MTIE" && points[i].Stride == 1 {
				origin = Exact
			}
			c.Points = append(c.Points, CurvePoint{points[i].TauSeconds, pointer(f.Value, f.Known), f.Samples, origin})
		}
		t.Curves = append(t.Curves, c)
	}
}

// tableJSON is how a Table is written.
type tableJSON struct {
	Schema     string  `json:"schema"`
	Properties []Row   `json:"properties"`
	Curves     []Curve `json:"curves"`
}

// MarshalJSON writes the table as docs/properties-table.md says.
func (t *Table) MarshalJSON() ([]byte, error) {
	return json.Marshal(tableJSON{TableSchema, t.rows[:], t.Curves})
}

// UnmarshalJSON reads a table that MarshalJSON has written, and checks that nothing is missing without a reason.
func (t *Table) UnmarshalJSON(b []byte) error {
	var j tableJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	if j.Schema != TableSchema {
		return fmt.Errorf("metrics: a table of schema %.40q; this program reads %s", j.Schema, TableSchema)
	}
	if len(j.Properties) != int(propertyCount) {
		return fmt.Errorf("metrics: a table with %d properties; there are %d", len(j.Properties), propertyCount)
	}
	n := Table{Curves: j.Curves}
	for i := range j.Properties {
		r := &j.Properties[i]
		if r.Property != Property(i) {
			return fmt.Errorf("metrics: row %d of the table is %s, not %s", i, r.Property, Property(i))
		}
		if err := r.check(); err != nil {
			return err
		}
		n.rows[i] = *r
	}
	*t = n
	return nil
}

// check holds a row that was read to what Set promises.
func (r *Row) check() error {
	switch {
	case !r.Value.Known && r.Missing == reason.OK:
		return fmt.Errorf("metrics: %s is missing without a reason", r.Property)
	case r.Value.Known && (r.Missing != reason.OK || r.Origin != Exact && r.Origin != Estimate):
		return fmt.Errorf("metrics: %s has a value of origin %.20q, and is missing because of %q", r.Property, string(r.Origin), r.Missing.String())
	case math.Signbit(r.Uncertainty) || r.Origin == Exact && r.Uncertainty != 0:
		return fmt.Errorf("metrics: %s has an uncertainty of %g", r.Property, r.Uncertainty)
	}
	return nil
}
