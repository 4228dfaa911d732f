package report

import (
	"fmt"
	"strings"

	"github.com/clockd/clockd/internal/lab/result"
)

// table is the table of properties.
type table struct {
	Head []cell
	Rows [][]cell
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
	case value <= bound:
		return 1
	}
	// Without truth only what is above the bound for certain is above it.
	if u, known := p.Uncertainty.Value(); known && value-u <= bound {
		return 0
	}
	return -1
}

// row names a property across runs.
type row struct{ symbol, name, statistic, subject string }

// properties makes the table: all about one run, or one column for each of several.
func properties(runs []Run) table {
	if len(runs) == 1 {
		return single(runs[0].Result)
	}
	t := table{Head: []cell{{}, {Text: "Property"}, {Text: "Whose"}}}
	t.Head[0].Text = "Symbol"
	var order []row
	cells := map[row]map[int]*result.Property{}
	for i, run := range runs {
		t.Head = append(t.Head, cell{Text: run.Label, Number: true})
		for j := range run.Result.Properties {
			p := &run.Result.Properties[j]
			key := row{p.Symbol, p.Name, p.Statistic, p.Subject}
			if cells[key] == nil {
				cells[key] = map[int]*result.Property{}
				order = append(order, key)
			}
			cells[key][i] = p
		}
	}
	for _, key := range order {
		line := []cell{symbol(key.symbol), {Text: key.name, Small: key.statistic}, {Text: whose(key.subject)}}
		for i := range runs {
			p := cells[key][i]
			if p == nil {
				line = append(line, cell{Text: "–", Class: "number missing"})
				continue
			}
			c := value(p)
			if bound, ok := p.Bound.Value(); ok {
				c.Small = strings.TrimPrefix(c.Small+"; bound "+format(bound, p.Unit), "; ")
			}
			line = append(line, c)
		}
		t.Rows = append(t.Rows, line)
	}
	return t
}

func single(r *result.Result) table {
	t := table{Head: []cell{{Text: "Symbol"}, {Text: "Property"}, {Text: "Whose"}, {Text: "Value", Number: true}, {Text: "Bound of theory", Number: true}, {Text: "Known"}}}
	for i := range r.Properties {
		p := &r.Properties[i]
		bound := cell{Text: number(p.Bound, p.Unit), Small: p.Formula, Class: "number"}
		t.Rows = append(t.Rows, []cell{
			symbol(p.Symbol), {Text: p.Name, Small: p.Statistic}, {Text: whose(p.Subject)}, value(p), bound, {Text: string(p.Known)},
		})
	}
	return t
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

func whose(subject string) string {
	if subject == "" {
		return "all"
	}
	return subject
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
