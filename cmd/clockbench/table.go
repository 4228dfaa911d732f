package main

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"text/tabwriter"

	"github.com/clockd/clockd/internal/sim"
)

// seconds formats a length of time for people: three digits and a unit.
func seconds(n sim.Number) string {
	x := float64(n)
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return "-"
	}
	for _, u := range []struct {
		scale float64
		name  string
	}{{1, "s"}, {1e-3, "ms"}, {1e-6, "µs"}, {1e-9, "ns"}} {
		if math.Abs(x) >= u.scale*0.9995 || u.scale == 1e-9 {
			return digits(x/u.scale) + " " + u.name
		}
	}
	return "-"
}

// digits formats x with three significant digits.
func digits(x float64) string {
	switch a := math.Abs(x); {
	case a == 0:
		return "0"
	case a < 9.995:
		return fmt.Sprintf("%.2f", x)
	case a < 99.95:
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.0f", x)
}

// ratio formats a ratio.
func ratio(n sim.Number) string {
	x := float64(n)
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return "-"
	}
	return digits(x)
}

func published(s *sim.Summary, get func(*sim.Published) sim.Length) string {
	if s.Published == nil {
		return "-"
	}
	return seconds(sim.Number(get(s.Published)))
}

func percent(n sim.Number) string {
	if x := float64(n); !math.IsNaN(x) && !math.IsInf(x, 0) {
		return fmt.Sprintf("%.1f %%", 100*x)
	}
	return "-"
}

// part formats a part of many that may be small but is not nothing.
func part(n sim.Number) string {
	switch x := 100 * float64(n); {
	case math.IsNaN(x):
		return "-"
	case x == 0:
		return "0"
	case x < 0.01:
		return "<0.01 %"
	default:
		return digits(x) + " %"
	}
}

// violations tells how many intervals were wrong, and whether they were allowed to be.
func violations(s *sim.Summary) string {
	switch {
	case s.BoundViolations == 0:
		return "0"
	case s.AssumptionsHold:
		return fmt.Sprintf("%d WRONG, by %s", s.BoundViolations, seconds(s.WorstViolation))
	}
	return fmt.Sprintf("%d (assumptions broken)", s.BoundViolations)
}

// vouched are the columns of the second run with a wander bound: half-width, bound, ratio to chrony's, and wrong intervals.
func vouched(v *sim.VouchedSummary) []string {
	if v == nil {
		return []string{"-", "-", "-", "-"}
	}
	wrong := fmt.Sprint(v.BoundViolations)
	switch {
	case v.BoundViolations == 0:
	case v.Kept:
		wrong += " WRONG, by " + seconds(v.WorstViolation)
	default:
		wrong += " (it wandered further)"
	}
	return []string{seconds(v.MedianHalfWidth), fmt.Sprintf("%.4g ppm", float64(v.WanderBound)*1e6), ratio(v.HalfWidthToChrony), wrong}
}

// print writes rows in columns.
func (a *app) columns(rows [][]string) error {
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		_, _ = fmt.Fprintln(w, strings.TrimRight(strings.Join(r, "\t"), "\t "))
	}
	return w.Flush()
}

// tellViolation tells at once of a run with an interval that may not be wrong: a long run need not be waited for.
func (a *app) tellViolation(p *progress, r *sim.Result) {
	if !r.AssumptionsHold || r.BoundViolations == 0 {
		return
	}
	first := ""
	if v := r.FirstViolation; v != nil {
		first = fmt.Sprintf(", the first at %.9f s (%s, %v), true time %s outside of ±%s", v.At, v.Side, v.Status, seconds(sim.Number(v.Outside)),
			seconds(sim.Number(v.HalfWidth)))
	}
	p.tell("WRONG: %s, seed %d, %s: %d intervals%s", r.Scenario, r.Seed, r.Client, r.BoundViolations, first)
}

// boundsTable prints what --bounds-only has checked.
func (a *app) boundsTable(r *report) error {
	rows := [][]string{{"scenario", "runs", "intervals checked", "wrong intervals", "jumps", "half-width", "sound"}}
	var runs int
	var checks, wrong uint64
	for i := range r.Summary {
		s := &r.Summary[i]
		rows = append(rows, []string{s.Scenario, fmt.Sprint(s.Runs), fmt.Sprint(s.BoundChecks), violations(s), fmt.Sprint(s.Jumps), seconds(s.MedianHalfWidth),
			percent(s.SoundFraction)})
		if s.AssumptionsHold {
			runs, checks, wrong = runs+s.Runs, checks+s.BoundChecks, wrong+s.BoundViolations
		}
	}
	if err := a.columns(rows); err != nil {
		return err
	}
	a.print("\nWhere the assumptions hold: %d runs, %d intervals checked, %d wrong.\n", runs, checks, wrong)
	return nil
}

// tables prints a report for people.
func (a *app) tables(r *report, verbose bool) error {
	clients, groups := r.divide()
	var errs []error
	if len(clients.Summary) > 0 {
		errs = append(errs, a.clientTables(clients, verbose))
	}
	if len(groups.Summary) > 0 {
		errs = append(errs, a.groupTables(groups, verbose))
	}
	return errors.Join(errs...)
}

// clientTables prints what clients did.
func (a *app) clientTables(r *report, verbose bool) error {
	a.print("True error: virtual clock − true time, medians over the runs. chrony, tuned, oracle: published RMS (peers.md).\n\n")
	rows := [][]string{{"scenario", "runs", "RMS", "p99", "max", "chrony", "tuned", "oracle", "/chrony", "/oracle", "p99/chrony", "regression", "/regression"}}
	for i := range r.Summary {
		s := &r.Summary[i]
		rows = append(rows, []string{
			s.Scenario, fmt.Sprint(s.Runs), seconds(s.RMSError), seconds(s.P99Error), seconds(s.MaxError),
			published(s, func(p *sim.Published) sim.Length { return p.ChronyRMS }), published(s, func(p *sim.Published) sim.Length { return p.TunedRMS }),
			published(s, func(p *sim.Published) sim.Length { return p.OracleRMS }), ratio(s.Ratios.RMSToChrony), ratio(s.Ratios.RMSToOracle),
			ratio(s.Ratios.P99ToChrony), seconds(s.RegressionRMS), ratio(s.Ratios.RMSToRegression),
		})
	}
	if err := a.columns(rows); err != nil {
		return err
	}
	a.print("\nClaimed half-width, medians; chrony, NTP: their formulas on the same samples with the same drift bound.\n" +
		"chrony wrong: the part of the samples at which true time was outside of what chrony's formula claims.\n" +
		"with wander: our half-width if the user vouches for that wander within any hour, in a second run with the same seeds.\n\n")
	rows = [][]string{{"scenario", "half-width", "chrony", "/chrony", "chrony wrong", "with wander", "of", "/chrony", "wrong then", "NTP", "/NTP", "error<1ms", "error<100µs", "bound<1ms", "sound", "packets", "wrong intervals"}}
	for i := range r.Summary {
		s := &r.Summary[i]
		row := append([]string{s.Scenario, seconds(s.MedianHalfWidth), seconds(s.ChronyHalfWidth), ratio(s.Ratios.HalfWidthToChrony), part(s.ChronyWrong)},
			vouched(s.Vouched)...)
		rows = append(rows, append(row, seconds(s.NTPHalfWidth),
			ratio(s.Ratios.HalfWidthToNTP), seconds(s.ErrorUnder1ms), seconds(s.ErrorUnder100us), seconds(s.BoundUnder1ms),
			percent(s.SoundFraction), fmt.Sprint(float64(s.Packets)), violations(s),
		))
	}
	if err := a.columns(rows); err != nil || !verbose {
		return err
	}
	return a.runs(r)
}

// runs prints a row for each run.
func (a *app) runs(r *report) error {
	a.print("\nEach run.\n\n")
	rows := [][]string{{"scenario", "seed", "client", "RMS", "p50", "p99", "max", "frequency", "half-width", "regression", "wrong", "packets", "status at the end"}}
	for i := range r.Runs {
		x := &r.Runs[i]
		rows = append(rows, []string{
			x.Scenario, fmt.Sprint(x.Seed), x.Client, seconds(x.RMSError), seconds(x.MedianError), seconds(x.P99Error), seconds(x.MaxError),
			fmt.Sprintf("%.2g", float64(x.RMSFrequencyError)), seconds(x.MedianHalfWidth), fmt.Sprintf("%s (%d)", seconds(x.RegressionRMS), x.RegressionWindow),
			fmt.Sprint(x.BoundViolations), fmt.Sprint(x.Packets), strings.TrimSuffix(x.Status+" "+x.Reason, " ok"),
		})
	}
	if err := a.columns(rows); err != nil {
		return err
	}
	for i := range r.Runs {
		x := &r.Runs[i]
		if v := x.FirstViolation; v != nil {
			a.print("\n%s, seed %d, %s: first wrong interval at %.9f s (%s, %v): true time was %s outside of ±%s, the clock was %s off\n",
				x.Scenario, x.Seed, x.Client, v.At, v.Side, v.Status, seconds(sim.Number(v.Outside)), seconds(sim.Number(v.HalfWidth)), seconds(sim.Number(v.Error)))
		}
	}
	return nil
}
