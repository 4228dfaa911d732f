package main

import (
	"fmt"
	"math"
	"strings"

	"github.com/clockd/clockd/internal/lab/simrun"
	"github.com/clockd/clockd/internal/sim"
	"github.com/clockd/clockd/metrics"
)

// propertyTables prints a table of properties for the clocks of each scenario. Of several seeds each row is that of the run that was
// nearest to its bound, or had the largest value where there is none.
func (a *app) propertyTables(r *report) error {
	a.print("Properties of a global clock (docs/properties-table.md). exact: a supremum over all instants; ±: an estimate.\n")
	type clocks struct{ scenario, name string }
	sets := map[clocks][]*simrun.Properties{}
	var order []clocks
	for i := range r.Properties {
		x := &r.Properties[i]
		key := clocks{x.Scenario, x.Clocks}
		if sets[key] == nil {
			order = append(order, key)
		}
		sets[key] = append(sets[key], x)
	}
	broken := map[string]bool{}
	for i := range r.Summary {
		broken[r.Summary[i].Scenario] = !r.Summary[i].AssumptionsHold
	}
	for _, key := range order {
		own := sets[key]
		text := heading(own)
		if broken[key.scenario] {
			text += " (assumptions broken: nothing is promised, and a bound can be violated)"
		}
		a.print("\n%s\n\n", text)
		rows := [][]string{{"property", "", "value", "known", "bound", "verdict", "bound, by; or why there is none, or no value"}}
		for _, p := range metrics.Properties() {
			rows = append(rows, propertyRow(nearest(own, p)))
		}
		if err := a.columns(rows); err != nil {
			return err
		}
	}
	return nil
}

// heading says whose properties they are.
func heading(own []*simrun.Properties) string {
	text := own[0].Scenario
	if own[0].Clocks != "" {
		text += ", group " + own[0].Clocks
	}
	if len(own) == 1 {
		return fmt.Sprintf("%s, seed %d", text, own[0].Seed)
	}
	return fmt.Sprintf("%s, of %d runs the one that is nearest to its bound", text, len(own))
}

// nearest is the row of the run that is nearest to its bound.
func nearest(own []*simrun.Properties, p metrics.Property) metrics.Row {
	best, worst := own[0].Table.Row(p), math.Inf(-1)
	for _, x := range own {
		row := x.Table.Row(p)
		if !row.Value.Known {
			continue
		}
		near := row.Value.Value
		if row.Bound.Known && row.Bound.Value > 0 {
			near /= row.Bound.Value
		}
		if near > worst {
			best, worst = row, near
		}
	}
	return best
}

// propertyRow is a row for people.
func propertyRow(row metrics.Row) []string {
	p := row.Property
	cells := []string{p.Symbol(), p.Name(), "-", "", "none promised", "-", row.Formula}
	if row.Bound.Known {
		cells[4] = quantity(row.Bound.Value, p.Unit())
	}
	if !row.Value.Known {
		// A bound of nothing says nothing.
		cells[4], cells[6] = "-", row.Missing.String()+": "+row.Missing.Explain()
		if row.Detail != "" {
			cells[6] = row.Missing.String() + ": " + row.Detail
		}
		return cells
	}
	cells[2], cells[3] = quantity(row.Value.Value, p.Unit()), string(row.Origin)
	if row.Origin == metrics.Estimate {
		cells[3] = "± " + quantity(row.Uncertainty, p.Unit())
	}
	if !row.Bound.Known {
		cells[6] = unpromised(p)
	} else {
		cells[5] = string(row.Verdict())
		if row.Verdict() == metrics.Violated {
			cells[5] = strings.ToUpper(cells[5])
		}
	}
	return cells
}

// unpromised says why nothing is promised.
func unpromised(p metrics.Property) string {
	switch p {
	case metrics.Accuracy, metrics.TimeError:
		return "nothing that is promised ties these clocks to true time"
	case metrics.ClockReadingError:
		return "no largest delay is assumed; each reading tells its own error"
	}
	return "nothing is promised of it under these assumptions"
}

// quantity formats seconds or a ratio.
func quantity(x float64, unit string) string {
	switch {
	case unit == "s":
		return seconds(sim.Number(x))
	case math.Abs(x) < 1e-7:
		return digits(x*1e9) + " ppb"
	}
	return digits(x*1e6) + " ppm"
}
