package sim

import (
	"math"
	"slices"
)

// GroupSummary is a scenario's groups over all seeds. Figures beside bounds are those of the run that came nearest to its bound.
type GroupSummary struct {
	Members   int    `json:"members"`
	Faults    int    `json:"faults"`
	Liars     int    `json:"liars"`
	Algorithm string `json:"algorithm"`
	Mode      string `json:"mode"`

	ReadingError     Number `json:"reading_error_s"`
	Convergence      Number `json:"convergence_s"`
	ConvergenceBound Number `json:"convergence_bound_s"`
	Spread           Number `json:"spread_s"`
	SpreadBound      Number `json:"spread_bound_s"`
	Precision        Number `json:"precision_s"`
	PrecisionBound   Number `json:"precision_bound_s"`
	// RMSPairwise and the rates are medians, FarEdge, Accuracy, InSync and Rejoin the largest; null where one of them is.
	RMSPairwise Number `json:"rms_pairwise_error_s"`
	FarEdge     Number `json:"max_far_edge_s"`
	Accuracy    Number `json:"accuracy_s"`
	InSync      Number `json:"in_sync_after_s"`
	Rejoin      Number `json:"rejoin_after_s"`
	PacketRate  Number `json:"packets_per_host_per_s"`
	ByteRate    Number `json:"bytes_per_host_per_s"`

	IntervalsApart uint64 `json:"intervals_apart"`
	Misordered     uint64 `json:"misordered"`
	Exceeded       int    `json:"exceeded"`
	Rounds         uint64 `json:"rounds"`
	Skipped        uint64 `json:"skipped"`
	Steps          uint64 `json:"steps"`
	DetectedRuns   int    `json:"detected_runs"`
}

// summariseGroups sums up; nil where no group was measured.
func summariseGroups(results []Result) *GroupSummary {
	var all []*GroupResult
	for i := range results {
		if g := results[i].Group; g != nil {
			all = append(all, g)
		}
	}
	if len(all) == 0 {
		return nil
	}
	first := all[0]
	s := &GroupSummary{Algorithm: first.Algorithm, Mode: first.Mode, Rejoin: missing(), Accuracy: missing()}
	rejoins := 0
	for _, g := range all {
		s.Members, s.Faults, s.Liars = max(s.Members, g.Members), max(s.Faults, g.Faults), max(s.Liars, len(g.Liars))
		if g.Algorithm != s.Algorithm {
			s.Algorithm = "several"
		}
		s.IntervalsApart, s.Misordered, s.Exceeded = s.IntervalsApart+g.IntervalsApart, s.Misordered+g.Misordered, s.Exceeded+len(g.Exceeded)
		s.Rounds, s.Skipped, s.Steps = s.Rounds+g.Rounds, s.Skipped+g.Skipped, s.Steps+g.Steps
		if g.DetectedReason != "" {
			s.DetectedRuns++
		}
		for _, r := range g.Rejoins {
			if rejoins++; rejoins == 1 {
				s.Rejoin = r.After
			}
			s.Rejoin = largest(s.Rejoin, r.After)
		}
	}
	each := func(get func(*GroupResult) Number) []float64 {
		var x []float64
		for _, g := range all {
			x = append(x, float64(get(g)))
		}
		return x
	}
	s.RMSPairwise = Number(median(each(func(g *GroupResult) Number { return g.RMSPairwise })))
	s.PacketRate = Number(median(each(func(g *GroupResult) Number { return g.PacketRate })))
	s.ByteRate = Number(median(each(func(g *GroupResult) Number { return g.ByteRate })))
	most := func(get func(*GroupResult) Number) Number { return Number(slices.Max(each(get))) }
	s.ReadingError, s.FarEdge = most(func(g *GroupResult) Number { return g.ReadingError }), most(func(g *GroupResult) Number { return g.FarEdge })
	s.Accuracy, s.InSync = most(func(g *GroupResult) Number { return g.Accuracy }), most(func(g *GroupResult) Number { return g.InSync })
	s.Convergence, s.ConvergenceBound = nearest(all, func(g *GroupResult) (Number, Number) { return g.Convergence, g.ConvergenceBound })
	s.Spread, s.SpreadBound = nearest(all, func(g *GroupResult) (Number, Number) { return g.Spread, g.SpreadBound })
	s.Precision, s.PrecisionBound = nearest(all, func(g *GroupResult) (Number, Number) { return g.Precision, g.PrecisionBound })
	return s
}

// largest is the larger one, missing if one of them is.
func largest(a, b Number) Number { return Number(math.Max(float64(a), float64(b))) }

// nearest returns the figure that is nearest to its bound, with that; where nothing is promised the largest.
func nearest(all []*GroupResult, get func(*GroupResult) (seen, most Number)) (seen, most Number) {
	seen, most = get(all[0])
	for _, g := range all[1:] {
		x, b := get(g)
		if x/b > seen/most || (!finite(float64(b)) || !finite(float64(seen))) && !(x <= seen) {
			seen, most = x, b
		}
	}
	return seen, most
}
