package course

import (
	"context"
	"fmt"
	"math"
	"strings"

	"github.com/clockd/clockd/internal/lab/report"
	"github.com/clockd/clockd/internal/sim"
)

// Schema names the form of a Report in JSON.
const Schema = "clockd.course/1"

// Experiment is one lesson.
type Experiment struct {
	Name, Title, Question string
	// Setup says what is simulated, Bound what must hold and where that is from.
	Setup, Bound string
	// Lesson is two sentences.
	Lesson string
	// Reading is where to read on.
	Reading []string
	run     func(r *run) error
}

// Column is one column of a report's table.
type Column struct {
	Name string `json:"name"`
	// Unit is "s", "s/s" (a rate), "Hz", "%", "" for a number without one, "text" for words.
	Unit string `json:"unit"`
}

// Cell is one figure, or a text where Unit of the column is "text". A missing figure is null.
type Cell struct {
	Value sim.Number
	Text  string
	text  bool
}

// MarshalJSON writes a number, null or a text.
func (c Cell) MarshalJSON() ([]byte, error) {
	if c.text {
		return marshalText(c.Text)
	}
	return c.Value.MarshalJSON()
}

// Check is a figure beside its bound.
type Check struct {
	What     string     `json:"what"`
	Measured sim.Number `json:"measured"`
	Bound    sim.Number `json:"bound"`
	Unit     string     `json:"unit"`
	// AtLeast: the bound is the least that is expected, not the most that is allowed.
	AtLeast bool `json:"at_least"`
	Holds   bool `json:"holds"`
	// Must: theory says that it holds. Where an assumption is broken on purpose nothing must.
	Must bool `json:"must"`
}

// Report is what one run of an experiment measured.
type Report struct {
	Schema   string   `json:"schema"`
	Name     string   `json:"experiment"`
	Title    string   `json:"title"`
	Seed     uint64   `json:"seed"`
	Short    bool     `json:"short"`
	Question string   `json:"question"`
	Setup    string   `json:"setup"`
	Bound    string   `json:"bound"`
	Columns  []Column `json:"columns"`
	Rows     [][]Cell `json:"rows"`
	Checks   []Check  `json:"checks"`
	// Broken says in words which of the checks that must hold did not.
	Broken  []string `json:"broken"`
	Lesson  string   `json:"lesson"`
	Reading []string `json:"read_on"`
	// Chart is the picture.
	Chart report.Chart `json:"chart"`
}

// Options are what a run depends on.
type Options struct {
	Seed uint64
	// Short: fewer rows and shorter runs, for tests.
	Short bool
	// Progress, if set, is told how much is done, from 0 to 1, and ends the run with an error.
	Progress func(part float64) error
}

// All lists the experiments in the order of the course.
func All() []Experiment {
	return []Experiment{
		drift(), granularity(), external(), internal(), liars(), median(), critical(), lattice(), steadiness(), hybrid(), holdover(), broken(),
	}
}

// Names lists the names of all experiments.
func Names() []string {
	var all []string
	for _, e := range All() {
		all = append(all, e.Name)
	}
	return all
}

// Find returns the experiment of that name; an error lists the names.
func Find(name string) (Experiment, error) {
	for _, e := range All() {
		if e.Name == name {
			return e, nil
		}
	}
	return Experiment{}, fmt.Errorf("there is no experiment %.40q; there are %s, and all", name, strings.Join(Names(), ", "))
}

// Run runs the experiment.
func (e *Experiment) Run(ctx context.Context, o Options) (*Report, error) {
	r := &run{ctx: ctx, options: o, report: &Report{
		Schema: Schema, Name: e.Name, Title: e.Title, Seed: o.Seed, Short: o.Short, Question: e.Question, Setup: e.Setup, Bound: e.Bound, Lesson: e.Lesson,
		Reading: e.Reading, Rows: [][]Cell{}, Checks: []Check{}, Broken: []string{},
	}}
	r.report.Chart.ID = e.Name
	if err := e.run(r); err != nil {
		return nil, fmt.Errorf("the experiment %s: %w", e.Name, err)
	}
	return r.report, nil
}

// run is one run of an experiment.
type run struct {
	ctx     context.Context
	options Options
	report  *Report
}

// done tells the progress, and returns why the run is to end, nil if it is not.
func (r *run) done(part, of int) error {
	if err := context.Cause(r.ctx); err != nil {
		return err
	}
	if r.options.Progress != nil {
		return r.options.Progress(float64(part) / float64(of))
	}
	return nil
}

// columns sets the table's head: name, unit, name, unit …
func (r *run) columns(all ...string) {
	for i := 0; i+1 < len(all); i += 2 {
		r.report.Columns = append(r.report.Columns, Column{all[i], all[i+1]})
	}
}

// row adds a row: numbers and texts.
func (r *run) row(all ...any) {
	var cells []Cell
	for _, x := range all {
		switch v := x.(type) {
		case string:
			cells = append(cells, Cell{Text: v, text: true})
		case int:
			cells = append(cells, Cell{Value: sim.Number(v)})
		case uint64:
			cells = append(cells, Cell{Value: sim.Number(v)})
		case float64:
			cells = append(cells, Cell{Value: sim.Number(v)})
		case sim.Number:
			cells = append(cells, Cell{Value: v})
		default:
			cells = append(cells, Cell{Value: sim.Number(math.NaN())})
		}
	}
	r.report.Rows = append(r.report.Rows, cells)
}

// under checks measured ≤ bound. What is not known does not hold.
func (r *run) under(what, unit string, measured, bound float64, must bool) bool {
	holds := measured <= bound
	r.report.Checks = append(r.report.Checks, Check{what, sim.Number(measured), sim.Number(bound), unit, false, holds, must})
	if must && !holds {
		r.report.Broken = append(r.report.Broken, fmt.Sprintf("%s: %s, and at most %s is allowed", what, Quantity(measured, unit), Quantity(bound, unit)))
	}
	return holds
}

// over checks measured ≥ least: that something was seen at all.
func (r *run) over(what, unit string, measured, least float64) {
	holds := measured >= least
	r.report.Checks = append(r.report.Checks, Check{what, sim.Number(measured), sim.Number(least), unit, true, holds, true})
	if !holds {
		r.report.Broken = append(r.report.Broken, fmt.Sprintf("%s: %s, and at least %s was expected", what, Quantity(measured, unit), Quantity(least, unit)))
	}
}

// column returns a column's figures.
func (r *run) column(i int) []float64 {
	var all []float64
	for _, row := range r.report.Rows {
		all = append(all, float64(row[i].Value))
	}
	return all
}

// curve adds a curve of one column against another.
func (r *run) curve(name string, style, x, y int, bound bool) {
	r.report.Chart.Curves = append(r.report.Chart.Curves, report.Curve{Name: name, Style: style, Shape: report.Both, Bound: bound, X: r.column(x), Y: r.column(y)})
}

// axes names the picture's axes.
func (r *run) axes(x, y report.Axis) {
	c := &r.report.Chart
	c.Title, c.Text, c.X, c.Y = r.report.Title, r.report.Question, x, y
}

// short returns one of two values.
func short[T any](r *run, whole, less T) T {
	if r.options.Short {
		return less
	}
	return whole
}
