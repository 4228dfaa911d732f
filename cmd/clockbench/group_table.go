package main

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/clockd/clockd/internal/sim"
)

// divide separates what clients did from what groups of peers did.
func (r *report) divide() (clients, groups *report) {
	clients, groups = &report{}, &report{}
	for i := range r.Summary {
		if r.Summary[i].Group != nil {
			groups.Summary = append(groups.Summary, r.Summary[i])
		} else {
			clients.Summary = append(clients.Summary, r.Summary[i])
		}
	}
	for i := range r.Runs {
		if r.Runs[i].Group != nil {
			groups.Runs = append(groups.Runs, r.Runs[i])
		} else {
			clients.Runs = append(clients.Runs, r.Runs[i])
		}
	}
	return clients, groups
}

// ofBound is a figure and its bound; ∞ where none is promised.
func ofBound(seen, most sim.Number) string {
	switch x := float64(most); {
	case math.IsNaN(float64(seen)):
		return "-"
	case math.IsNaN(x):
		return seconds(seen) + " of ∞"
	}
	return seconds(seen) + " of " + seconds(most)
}

// groupTables prints what groups of peers did.
func (a *app) groupTables(r *report, verbose bool) error {
	if len(r.Summary) > 0 {
		a.print("Groups of peers: convergence δ_v, spread Π and precision π_v of the run that was nearest to its bound, which is that for the reading error ε.\n\n")
	}
	rows := [][]string{{"scenario", "runs", "n, f", "liars", "function", "ε", "δ_v", "Π", "π_v", "RMS pairwise", "far edge", "in after", "rejoin", "steps", "detected", "packets/s", "bytes/s", "wrong"}}
	for i := range r.Summary {
		s := &r.Summary[i]
		g := s.Group
		rows = append(rows, []string{
			s.Scenario, fmt.Sprint(s.Runs), fmt.Sprintf("%d, %d", g.Members, g.Faults), fmt.Sprint(g.Liars), g.Algorithm, seconds(g.ReadingError),
			ofBound(g.Convergence, g.ConvergenceBound), ofBound(g.Spread, g.SpreadBound), ofBound(g.Precision, g.PrecisionBound), seconds(g.RMSPairwise),
			seconds(g.FarEdge), seconds(g.InSync), seconds(g.Rejoin), fmt.Sprint(g.Steps), fmt.Sprintf("%d/%d", g.DetectedRuns, s.Runs),
			ratio(g.PacketRate), ratio(g.ByteRate), violations(s),
		})
	}
	if err := a.columns(rows); err != nil || !verbose {
		return err
	}
	a.print("\nEach run.\n\n")
	rows = [][]string{{"scenario", "seed", "n, f", "function", "liars", "ε", "δ_v", "Π", "π_v", "RMS pairwise", "rounds", "skipped", "wrong", "status at the end"}}
	for i := range r.Runs {
		x := &r.Runs[i]
		g := x.Group
		rows = append(rows, []string{
			x.Scenario, fmt.Sprint(x.Seed), fmt.Sprintf("%d, %d", g.Members, g.Faults), g.Algorithm, liars(g.Liars), seconds(g.ReadingError),
			ofBound(g.Convergence, g.ConvergenceBound), ofBound(g.Spread, g.SpreadBound), ofBound(g.Precision, g.PrecisionBound), seconds(g.RMSPairwise),
			fmt.Sprint(g.Rounds), fmt.Sprint(g.Skipped), fmt.Sprint(x.BoundViolations), strings.TrimSuffix(x.Status+" "+x.Reason, " ok"),
		})
	}
	return a.columns(rows)
}

// liars names the sorts of liars.
func liars(names []string) string {
	if len(names) == 0 {
		return "-"
	}
	names = slices.Clone(names)
	slices.Sort(names)
	return strings.Join(slices.Compact(names), " ")
}
