package demo

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/clockd/clockd/internal/sim/adversary"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/agreement"
)

// textWidth is how long the introduction's lines are at most.
const textWidth = 79

// wrapped breaks a text between words.
func wrapped(s string) (out []line) {
	row := ""
	for _, word := range strings.Fields(s) {
		if row != "" && len([]rune(row))+1+len([]rune(word)) > textWidth {
			out, row = append(out, text("%s", row)), ""
		}
		if row != "" {
			row += " "
		}
		row += word
	}
	return append(out, text("%s", row))
}

// groupIntroduction is introduction for a group.
func groupIntroduction(o *Options, dir string) []line {
	what := fmt.Sprintf("%d hosts agree on the time without a master", o.Hosts)
	if o.Mode == ModeHybrid {
		what = fmt.Sprintf("%d hosts agree, and %d masters pull them to UTC", o.Hosts, o.masters())
	}
	out := []line{{{"clockd demo", bold}, {": " + what + ".", plain}}}
	out = append(out, wrapped(fmt.Sprintf("Each is a whole clockd daemon on loopback UDP with keys of its own; its oscillator is wrong by tens of ppm "+
		"and its clock by up to %d s at the start. Every %v each reads all others' clocks and goes to their middle, without the %d lowest and highest.",
		farthestStart, o.Period, agreement.MaxFaults(o.Hosts)))...)
	out = append(out, liarLines(o)...)
	check := "An observer, who alone sees the true counter, checks about 100 times a second that no two hosts that do not lie are further apart " +
		"than they say themselves, nor than was promised."
	if o.Mode == ModeHybrid {
		check = "An observer, who alone sees the true counter, checks about 100 times a second that no host that does not lie is further from true " +
			"time than it claims to be."
	}
	out = append(out, wrapped(check)...)
	return append(out, line{{"Look closer: clockd peers --control " + dir + "/host1/control", dim}}, nil)
}

// liarLines say who lies and how.
func liarLines(o *Options) (out []line) {
	summaries := map[string]string{}
	for _, d := range adversary.Names() {
		summaries[d.Name] = d.Summary
	}
	if o.Liars > 0 {
		out = append(out, wrapped(fmt.Sprintf("%s to the others; %d may.", counted(o.Liars, "of them lies", "of them lie"), agreement.MaxFaults(o.Hosts)))...)
		for i, name := range o.adversaries() {
			kind, at, waits := strings.Cut(name, "@")
			what := "A " + kind + " liar " + summaries[kind]
			if waits {
				what += ", but is honest for " + at + " s"
			}
			if i < o.Liars && !slices.Contains(o.adversaries()[:i], name) {
				out = append(out, wrapped(what+".")...)
			}
		}
	}
	if o.FalseMasters > 0 {
		out = append(out, wrapped(fmt.Sprintf("%s true time by %s; %d may be.", counted(o.FalseMasters, "of the masters is ahead of", "of the masters are ahead of"),
			showFigure(falseBy), falseBorne))...)
	}
	return out
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func showFigure(x float64) string { return showSeconds(&x) }

// groupBody is body for a group.
func groupBody(s *Second, t *Summary) []line {
	distance, claim := "FROM MIDDLE", "FAR EDGE"
	if t.Mode == ModeHybrid {
		distance, claim = "TRUE ERROR", "CLAIMED ±"
	}
	out := []line{
		elapsedLine(s),
		{{hostLine("HOST", "STATE", "OSCILLATOR", "LEFT ALONE", "CLOCK RATE", distance, claim, plain).show(0, false), dim}},
	}
	for i := range s.Hosts {
		h := &s.Hosts[i]
		off, status, p := h.ErrorS, h.Status.String(), statusPaint(h.Status)
		if t.Mode == ModeInternal {
			off = h.Group.FromMiddleS
		}
		if h.Group.Liar {
			status, p = "lies", red
		}
		out = append(out, hostLine(h.Name, status, showPPM(&h.OscillatorPPM), showSigned(&h.LeftAloneS), showPPM(h.ClockRatePPM),
			showSigned(off), showSeconds(h.BoundS), p))
	}
	out = append(out, nil)
	out = append(out, groupFigures(s, t)...)
	for i := range s.Group.Liars {
		out = append(out, liarLine(s, &s.Group.Liars[i]))
	}
	if t.void() {
		out = append(out, line{{"! " + *t.Group.Void, yellow}})
	}
	out = append(out, groupVerdict(t))
	for i := range s.Hosts {
		if !s.Hosts[i].Group.Liar {
			out = append(out, trouble(&s.Hosts[i], &t.Hosts[i])...)
		}
	}
	return out
}

// figureRow is one row of the figures: 78 columns.
func figureRow(what, second, worst, promised string) string {
	return fmt.Sprintf("%-42s%12s%12s%12s", what, second, worst, promised)
}

// groupFigures are the properties of the global clock.
func groupFigures(s *Second, t *Summary) []line {
	g, all, edges := s.Group, t.Group, "far edges"
	if t.Mode == ModeHybrid {
		edges = "claims"
	}
	row := func(what string, second, worst, promised *float64) line {
		return text("%s", figureRow(what, showSeconds(second), showSeconds(worst), showSeconds(promised)))
	}
	out := []line{
		{{figureRow("", "LAST SECOND", "WORST", "PROMISED"), dim}},
		row("precision π_v: two hosts apart", s.PrecisionS, t.PrecisionS, t.PrecisionBoundS),
		row("  as they know it: sum of two "+edges, g.OnlineBoundMaxS, all.OnlineBoundMaxS, nil),
		row("convergence δ_v: apart after a round", g.ConvergenceS, all.ConvergenceS, all.ConvergenceBoundS),
		row("reading error ε", g.EpsilonS, all.EpsilonS, all.EpsilonBoundS),
	}
	if t.Mode == ModeHybrid {
		out = append(out,
			row("accuracy α_v: a host from true time", s.AccuracyS, t.AccuracyS, all.PromisedAccuracyS),
			row("  as it knows it: claimed", s.AccuracyBoundS, t.AccuracyBoundS, nil),
			row("  as the group knows it: distance to UTC", g.ToUTCS, nil, nil))
	}
	return out
}

// liarLine says what a liar tells, and who has noticed.
func liarLine(s *Second, x *LiarSecond) line {
	var low, high *float64
	var lowest, highest string
	for i := range s.Hosts {
		name := s.Hosts[i].Name
		told := x.ToldS[name]
		if told == nil {
			continue
		}
		if low == nil || *told < *low {
			low, lowest = told, name
		}
		if high == nil || *told > *high {
			high, highest = told, name
		}
	}
	what := "tells nothing"
	switch {
	case low != nil && *low == *high:
		what = fmt.Sprintf("tells all %s", showSigned(low))
	case low != nil:
		what = fmt.Sprintf("tells %s %s, %s %s", lowest, showSigned(low), highest, showSigned(high))
	}
	return line{{x.Name + " " + what, red}, {"; " + noticed(x), plain}}
}

// noticed says who found what wrong with a liar.
func noticed(x *LiarSecond) string {
	count := map[reason.Code]int{}
	for _, code := range x.SuspectedBy {
		count[code]++
	}
	if len(count) == 0 {
		return "not noticed"
	}
	// The one that most agree on; the first of equals, so that the picture does not flicker.
	most := slices.MaxFunc(slices.Sorted(maps.Keys(count)), func(a, b reason.Code) int { return cmp.Compare(count[a], count[b]) })
	return fmt.Sprintf("%s by %d", most.String(), count[most])
}

// groupVerdict says whether all claims have held, and how they were broken.
func groupVerdict(t *Summary) line {
	out, g := verdict(t), t.Group
	if g.WorstViolationS == nil {
		return out
	}
	return append(out, part{fmt.Sprintf(": %d disjoint, %d beyond the far edges, %d beyond the promise, by up to %s (%s)", g.Disjoint, g.BeyondOnline,
		g.BeyondPromise, showSeconds(g.WorstViolationS), strings.Join(g.WorstBetween, ", ")), plain})
}

// groupConclusion is conclusion for a group.
func groupConclusion(t *Summary) []line {
	g := t.Group
	out := []line{nil, append(line{{fmt.Sprintf("In %.1f s: ", t.DurationS), bold}}, groupVerdict(t)...)}
	if t.void() {
		out = append(out, line{{*g.Void + ".", yellow}})
	}
	if t.SynchronisedAfterS == nil {
		out = append(out, text("The hosts that do not lie were never all in agreement."))
	} else {
		out = append(out, text("They agreed after %.1f s. Since then two were at most %s apart.", *t.SynchronisedAfterS, showSeconds(t.PrecisionS)))
		if t.PrecisionBoundS != nil {
			out = append(out, text("Promised beforehand: %s; as they knew it: %s.", showSeconds(t.PrecisionBoundS), showSeconds(g.OnlineBoundS)))
		}
	}
	for i := range g.LiarSummaries {
		x := &g.LiarSummaries[i]
		said := fmt.Sprintf("%s (%s) altered %d answers, %s to %s", x.Name, x.Adversary, x.Altered, showSigned(x.ToldLowS), showSigned(x.ToldHighS))
		if x.Answers == 0 {
			said = fmt.Sprintf("%s (%s) left %d requests unanswered", x.Name, x.Adversary, x.Unanswered)
		}
		out = append(out, text("%s", said))
	}
	if t.Logs != "" {
		out = append(out, line{{"The daemons' logs: " + t.Logs, yellow}})
	}
	return out
}
