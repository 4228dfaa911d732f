package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/clockd/clockd/internal/lab/result"
)

// table is the table of properties.
type table struct {
	Title string
	// Folded: it is long, and opened on demand.
	Folded bool
	// Symbols: some row has one, in its first cell.
	Symbols bool
	Head    []cell
	Rows    [][]cell
}

// cell is one cell of a table.
type cell struct {
	Text, Small, Class, Sign string
	// Symbol and Index are a property's: π and v.
	Symbol, Index string
	Number        bool
}

// judge tells whether a property is under its bound (1), not under it (−1), or has none (0).
func judge(p *result.Property) int {
	value, ok := p.Value.Value()
	bound, promised := p.Bound.Value()
	switch {
	case !ok || !promised || p.Known == result.KnownGiven:
		return 0
	}
	// Without truth only what is under the bound, or above it, for certain is so; the rest is not decided.
	uncertainty, _ := p.Uncertainty.Value()
	switch {
	case value+uncertainty <= bound:
		return 1
	case value-uncertainty > bound:
		return -1
	}
	return 0
}

// row names a property across runs.
type row struct{ symbol, name, statistic, subject string }

// wide is how many subjects have a column each; more than that have a row each, folded away.
const wide = 8

// properties makes the tables: that of the whole run (or runs), and that of single clocks or programs.
func properties(runs []Run) []table {
	whole, single := table{Title: ""}, table{Title: "Clock by clock"}
	if len(runs) > 1 {
		whole.side(runs, func(p *result.Property) bool { return p.Subject == "" }, false)
		single.side(runs, func(p *result.Property) bool { return p.Subject != "" }, true)
		single.Folded = len(single.Rows) > 24
	} else {
		r := runs[0].Result
		whole.list(r, func(p *result.Property) bool { return p.Subject == "" }, false)
		if subjects := subjectsOf(r); len(subjects) > 1 && len(subjects) <= wide {
			single.pivot(r, subjects)
		} else {
			single.list(r, func(p *result.Property) bool { return p.Subject != "" }, len(subjects) > 1)
			single.Folded = len(subjects) > wide
			if len(subjects) == 1 {
				single.Title = subjects[0]
			}
		}
	}
	var all []table
	for _, t := range []table{whole, single} {
		if len(t.Rows) > 0 {
			t.Symbols = slices.ContainsFunc(t.Rows, func(line []cell) bool { return line[0].Symbol != "" })
			all = append(all, t)
		}
	}
	return all
}

// subjectsOf are those whose properties a result has, in their order.
func subjectsOf(r *result.Result) []string {
	var all []string
	for i := range r.Properties {
		if s := r.Properties[i].Subject; s != "" && !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}

// side puts several runs side by side, a column each.
func (t *table) side(runs []Run, takes func(*result.Property) bool, subject bool) {
	t.Head = []cell{{Text: "Symbol"}, {Text: "Property"}}
	if subject {
		t.Head = append(t.Head, cell{Text: "Whose"})
	}
	var order []row
	cells := map[row]map[int]*result.Property{}
	for i, run := range runs {
		t.Head = append(t.Head, cell{Text: run.Label, Number: true})
		for j := range run.Result.Properties {
			p := &run.Result.Properties[j]
			if !takes(p) {
				continue
			}
			key := row{p.Symbol, p.Name, p.Statistic, p.Subject}
			if cells[key] == nil {
				cells[key] = map[int]*result.Property{}
				order = append(order, key)
			}
			cells[key][i] = p
		}
	}
	for _, key := range order {
		line := []cell{symbol(key.symbol), {Text: key.name, Small: key.statistic}}
		if subject {
			line = append(line, cell{Text: key.subject})
		}
		for i := range runs {
			line = append(line, withBound(cells[key][i]))
		}
		t.Rows = append(t.Rows, line)
	}
}

// pivot gives each subject a column.
func (t *table) pivot(r *result.Result, subjects []string) {
	t.Head = []cell{{Text: "Symbol"}, {Text: "Property"}}
	for _, s := range subjects {
		t.Head = append(t.Head, cell{Text: s, Number: true})
	}
	var order []row
	cells := map[row]map[string]*result.Property{}
	for i := range r.Properties {
		p := &r.Properties[i]
		if p.Subject == "" {
			continue
		}
		key := row{p.Symbol, p.Name, p.Statistic, ""}
		if cells[key] == nil {
			cells[key] = map[string]*result.Property{}
			order = append(order, key)
		}
		cells[key][p.Subject] = p
	}
	for _, key := range order {
		line := []cell{symbol(key.symbol), {Text: key.name, Small: key.statistic}}
		for _, s := range subjects {
			line = append(line, withBound(cells[key][s]))
		}
		t.Rows = append(t.Rows, line)
	}
}

// withBound is a value with its bound in the same cell.
func withBound(p *result.Property) cell {
	if p == nil {
		return cell{Text: "–", Class: "number missing"}
	}
	c := value(p)
	if bound, ok := p.Bound.Value(); ok {
		c.Small = strings.TrimPrefix(c.Small+"; bound "+format(bound, p.Unit), "; ")
	}
	return c
}

// list has a row for each property, with all that is known of it.
func (t *table) list(r *result.Result, takes func(*result.Property) bool, subject bool) {
	t.Head = []cell{{Text: "Symbol"}, {Text: "Property"}}
	if subject {
		t.Head = append(t.Head, cell{Text: "Whose"})
	}
	t.Head = append(t.Head, cell{Text: "Value", Number: true}, cell{Text: "Bound", Number: true}, cell{Text: "Known"})
	for i := range r.Properties {
		p := &r.Properties[i]
		if !takes(p) {
			continue
		}
		line := []cell{symbol(p.Symbol), {Text: p.Name, Small: p.Statistic}}
		if subject {
			line = append(line, cell{Text: p.Subject})
		}
		bound := cell{Text: number(p.Bound, p.Unit), Small: p.Formula, Class: "number"}
		t.Rows = append(t.Rows, append(line, value(p), bound, cell{Text: string(p.Known)}))
	}
}

// value is a property's value, with what is to be said of it.
func value(p *result.Property) cell {
	c := cell{Text: number(p.Value, p.Unit), Class: "number"}
	if _, ok := p.Value.Value(); !ok {
		c.Small, c.Class = p.Reason, "number missing"
		return c
	}
	if u, ok := p.Uncertainty.Value(); ok {
		c.Small = "± " + format(u, p.Unit)
	}
	switch judge(p) {
	case 1:
		c.Sign, c.Class = "✓", "number good"
	case -1:
		c.Sign, c.Class = "✗", "number bad"
	}
	return c
}

// symbol splits π_v into π and v.
func symbol(s string) cell {
	head, index, _ := strings.Cut(s, "_")
	return cell{Symbol: head, Index: index}
}

// matrices are the tables of pairs.
func matrices(runs []Run) []matrix {
	var all []matrix
	for _, run := range runs {
		d := run.Result.Disagreement
		if d == nil || len(d.Clocks) == 0 || len(d.Clocks) > 64 {
			continue
		}
		m := matrix{Clocks: d.Clocks}
		if len(runs) > 1 {
			m.Label = run.Label
		}
		for i, name := range d.Clocks {
			line := matrixRow{Clock: name}
			for j := range d.Clocks {
				if i == j {
					line.Cells = append(line.Cells, cell{Class: "self"})
					continue
				}
				c := cell{Text: number(d.Offset[i][j], "s")}
				if u, ok := d.Uncertainty[i][j].Value(); ok {
					c.Small = fmt.Sprintf("± %s", format(u, "s"))
				}
				if d.Disagree[i][j] {
					c.Sign, c.Class = "✗", "bad"
				}
				line.Cells = append(line.Cells, c)
			}
			m.Rows = append(m.Rows, line)
		}
		all = append(all, m)
	}
	return all
}
