package course

import (
	"fmt"
	"math"
	"slices"

	"github.com/clockd/clockd/internal/lab/report"
	"github.com/clockd/clockd/internal/sim"
)

func internal() Experiment {
	return Experiment{
		Name: "internal", Title: "Internal: precision follows the reading error",
		Question: "How close are clocks that agree among themselves, without a master?",
		Setup: `Seven members, rounds of 1 s, two of them two-faced liars who know all clocks; oscillators (ρ = 10 ppm) are played on, and the network keeps clocks apart within what
is not known of its delays. That unknown part, and with it the reading error ε, grows.`,
		Bound: `Theory 3.5 for the interval fault-tolerant midpoint, with the ε that the rounds really used: Π = 4ε + 2Γ, π_v = 5ε + 2Γ and what the slew over P/2 adds, Γ = 2ρP'
(package agreement, Bounds).`,
		Lesson:  `Precision is a few reading errors, whatever the clocks show in themselves: better reading is better precision, until the drift of one round (Γ) is left. What is not known of the delay counts, not the delay.`,
		Reading: []string{"[docs/agreement.md](../agreement.md)", "`clockbench sim group_tight`", "Lynch and Welch, 1988"},
		run:     runInternal,
	}
}

func runInternal(r *run) error {
	all := short(r, []float64{10e-6, 30e-6, 100e-6, 300e-6, 1e-3}, []float64{100e-6})
	r.columns("unknown delay", "s", "ε used", "s", "δ_v", "s", "bound of δ_v", "s", "π_v", "s", "bound of π_v", "s", "of it", "%")
	for i, unfair := range all {
		g := r.hard(7, 2)
		g.unfair, g.delay = unfair, unfair/4
		x, err := r.runGroup("internal", g, nil)
		if err != nil {
			return err
		}
		s := x.Group
		r.row(unfair, s.ReadingError, s.Convergence, s.ConvergenceBound, s.Precision, s.PrecisionBound, 100*float64(s.Precision)/float64(s.PrecisionBound))
		r.groupHolds("unknown delay "+Quantity(unfair, "s"), x)
		if err := r.done(i+1, len(all)); err != nil {
			return err
		}
	}
	r.curve("precision π_v", 0, 1, 4, false)
	r.curve("bound of π_v", 0, 1, 5, true)
	r.curve("convergence δ_v", 1, 1, 2, false)
	r.curve("bound of δ_v", 1, 1, 3, true)
	r.axes(logarithmic("reading error ε", "s"), logarithmic("difference of clocks", "s"))
	return nil
}

func liars() Experiment {
	return Experiment{
		Name: "liars", Title: "f liars of n",
		Question: "How many clocks may lie, and what does it cost?",
		Setup: `Groups of n = 3f+1 members, with 0 to f+1 liars who know all clocks and lie from a quarter of the run on; two-faced ones, and where they are one too many also colluding
ones, who stay among the correct clocks; network and oscillators are as bad as they may be. The group is built for f and
is not told how many really lie.`,
		Bound: `π_v of theory 3.5 (package agreement, Bounds) with up to f liars. With f+1 nothing is promised: the bound in that row is void, and whether it holds is chance; a contradiction must be detected (Dolev, Halpern and
Strong 1984: n > 3f is necessary without signatures).`,
		Lesson:  `Up to f liars cost precision, but no bound. One more makes the bound void, and if it lies with care nobody inside can know: f must be chosen before.`,
		Reading: []string{"[docs/agreement.md](../agreement.md): what liars can do", "[broken](broken.md)", "Lamport and Melliar-Smith, 1985"},
		run:     runLiars,
	}
}

// lie is how many members of a group lie, and how.
type lie struct {
	count int
	sort  string
}

// lies are what is tried with a group for f liars: the last two are one too many.
func lies(f int) []lie {
	var all []lie
	for k := 0; k <= f+1; k++ {
		all = append(all, lie{k, "two-faced"})
	}
	return append(all, lie{f + 1, "colluding"})
}

func runLiars(r *run) error {
	faults := short(r, []int{1, 2, 3}, []int{1})
	r.columns("n", "", "f", "", "liars", "", "sort", "text", "ε used", "s", "π_v", "s", "bound of π_v", "s", "detected at", "s", "the bound", "text")
	done, total := 0, 0
	for _, f := range faults {
		total += len(lies(f))
	}
	for i, f := range faults {
		curve := report.Curve{Name: fmt.Sprintf("π_v / bound, n = %d", 3*f+1), Style: i, Shape: report.Both}
		for _, l := range lies(f) {
			part, err := r.liarsRow(f, l)
			if err != nil {
				return err
			}
			if !math.IsNaN(part) {
				curve.X, curve.Y = append(curve.X, float64(l.count-f)), append(curve.Y, part)
			}
			done++
			if err := r.done(done, total); err != nil {
				return err
			}
		}
		r.report.Chart.Curves = append(r.report.Chart.Curves, curve)
	}
	least := -float64(faults[len(faults)-1])
	r.report.Chart.Curves = append(r.report.Chart.Curves, report.Curve{Name: "the bound", Style: 6, Shape: report.Line, Bound: true, X: []float64{least, 1}, Y: []float64{1, 1}})
	r.axes(linear("liars − f (0: as many as may be, 1: one too many)", ""), linear("π_v as a part of its bound", ""))
	return nil
}

// liarsRow measures one group, and returns π_v as a part of its bound.
func (r *run) liarsRow(f int, l lie) (part float64, err error) {
	n := 3*f + 1
	g := r.hard(n, l.count)
	g.seconds = short(r, 40.0, 24)
	g.broken, g.liar = l.count > f, fmt.Sprintf("%s@%g", l.sort, g.seconds/4)
	x, err := r.runGroup("liars", g, nil)
	if err != nil {
		return 0, err
	}
	s, word := x.Group, "must hold"
	at := float64(s.DetectedAt)
	what := fmt.Sprintf("n = %d, %d liars, %s", n, l.count, l.sort)
	switch {
	case l.count <= f:
		r.groupHolds(what, x)
	case math.IsNaN(at):
		word = "void, and nobody knows"
		r.under(what+": precision π_v", "s", float64(s.Precision), float64(s.PrecisionBound), false)
	default:
		word = "void, seen: " + s.DetectedReason
	}
	if l.count > f && l.sort == "two-faced" {
		r.over(what+": the void bound is detected", "", oneIf(at >= g.seconds/4), 1)
	}
	r.row(n, f, l.count, l.sort, s.ReadingError, s.Precision, s.PrecisionBound, at, word)
	return float64(s.Precision) / float64(s.PrecisionBound), nil
}

func median() Experiment {
	return Experiment{
		Name: "median", Title: "Median against midpoint under a two-faced clock",
		Question: "Is the median, which no single outlier can move, a good convergence function?",
		Setup: `The same group and the same adversary twice: once the members take the interval fault-tolerant midpoint, once the plain median of what they read. The two-faced clock shows
itself high to the high ones and low to the low ones. With n = 4 the median is the midpoint; from n = 5 on it is not.`,
		Bound: `For the midpoint π_v of theory 3.5. For the median nothing is promised from n = 5 on: its contraction is 1 (theory 3.6), so that the clocks part by 2ρ for
ever.`,
		Lesson:  `Robust against outliers is not agreement: each median is the member's own value, so nobody moves towards the others. A convergence function must contract whatever a two-faced clock says to whom.`,
		Reading: []string{"[docs/agreement.md](../agreement.md): the convergence functions", "`clockbench sim group_median group_tight`", "theory 3.6"},
		run:     runMedian,
	}
}

func runMedian(r *run) error {
	sizes := short(r, []int{4, 5, 7}, []int{5})
	seconds := short(r, 180.0, 60)
	r.columns("n", "", "liars", "", "function", "text", "apart at half time", "s", "apart at the end", "s", "growth", "s/s", "bound of π_v", "s")
	for i, n := range sizes {
		for j, algorithm := range []string{"iftm", "median"} {
			g := r.hard(n, 1)
			g.algorithm, g.seconds, g.discard = algorithm, seconds, 0.4
			curve := report.Curve{Name: fmt.Sprintf("%s, n = %d", algorithm, n), Style: 2*i + j, Shape: report.Line}
			x, err := r.runGroup("median", g, spreadWatch(&curve, n-1))
			if err != nil {
				return err
			}
			half, end, growth := ends(&curve, seconds)
			r.row(n, 1, algorithm, half, end, growth, x.Group.PrecisionBound)
			if n == 5 || n == sizes[len(sizes)-1] {
				r.report.Chart.Curves = append(r.report.Chart.Curves, curve)
			}
			switch {
			case algorithm == "iftm":
				r.groupHolds(fmt.Sprintf("iftm, n = %d", n), x)
				r.under(fmt.Sprintf("iftm, n = %d: apart at the end", n), "s", end, float64(x.Group.PrecisionBound), true)
			case n >= 5:
				r.over(fmt.Sprintf("median, n = %d: growth, at least half of 2ρ", n), "s/s", growth, g.drift)
				r.under(fmt.Sprintf("median, n = %d: growth, at most 2ρ", n), "s/s", growth, 2*g.drift*(1+1e-3), true)
			}
			if err := r.done(2*i+j+1, 2*len(sizes)); err != nil {
				return err
			}
		}
	}
	r.report.Chart.Time = true
	r.axes(linear("time", "s"), linear("difference of the correct clocks", "s"))
	return nil
}

// spreadWatch puts the difference of the first n members' clocks into a curve, once a second: the worst of it.
func spreadWatch(curve *report.Curve, n int) func(w *sim.World) {
	return func(w *sim.World) {
		hosts := clocksOf(w, n, member)
		w.Sampled = func() {
			at := math.Floor(w.Now().Seconds())
			all, ok := showAll(w, hosts)
			if !ok || at < 20 {
				return
			}
			x := spread(all)
			if k := len(curve.X); k > 0 && curve.X[k-1] == at {
				curve.Y[k-1] = max(curve.Y[k-1], x)
				return
			}
			curve.X, curve.Y = append(curve.X, at), append(curve.Y, x)
		}
	}
}

// ends are the values of a curve at half of the time and at its end, and its slope between the two.
func ends(c *report.Curve, seconds float64) (half, end, growth float64) {
	i := slices.IndexFunc(c.X, func(x float64) bool { return x >= seconds/2 })
	k := len(c.X) - 1
	if i < 0 || k <= i {
		return math.NaN(), math.NaN(), math.NaN()
	}
	return c.Y[i], c.Y[k], (c.Y[k] - c.Y[i]) / (c.X[k] - c.X[i])
}

func hybrid() Experiment {
	return Experiment{
		Name: "hybrid", Title: "Hybrid: agree inside, follow masters slowly",
		Question: "Can a group have both, the precision of internal and the accuracy of external synchronisation?",
		Setup: `Four members with a two-faced liar among them follow three masters that are right to 100 µs, over 30 µs + Exp(10 µs). Each round the group takes the midpoint of its own clocks and
then goes a part G (the gain) of the way towards the members' common estimate of UTC.`,
		Bound: `Theory 4.2 with the readings that were used (package agreement, Bounds): Π = 2(2ε+Gα_e+Γ)/(1+G), α_v = α_e + (ε+ρP')/G, and what slew and clamp
add.`,
		Lesson:  `The pull is the same for all members, so accuracy comes without giving up precision, and a small gain is enough to hold UTC. A larger gain promises more accuracy, and, by what it may move clocks in a round, a little less precision.`,
		Reading: []string{"[docs/agreement.md](../agreement.md): with masters", "`clockbench sim group_masters_vanish`", "Fetzer and Cristian 1997; Veríssimo, Rodrigues and Casimiro (CesiumSpray) 1997"},
		run:     runHybrid,
	}
}

func runHybrid(r *run) error {
	all := short(r, []float64{0.1, 0.25, 0.5, 1}, []float64{0.25})
	r.columns("gain G", "", "π_v", "s", "bound of π_v", "s", "α_v", "s", "bound of α_v", "s")
	for i, gain := range all {
		results, err := r.simulate("hybrid", fmt.Sprintf(`
assumptions_hold = true
length = "%gs"
sample = "250ms"
discard = 0.5
[client]
poll = "1s"
timeout = "200ms"
spread_ppm = 30
[client.oscillator]
random_walk = 1e-9
[[server]]
name = "gps"
count = 3
delay = "30us + exp(10us)"
root_dispersion = "100us"
noise = "uniform(0s, 100us)"
[group]
members = 4
liars = ["two-faced"]
start_spread = "1ms"
gain = %g
external_error = "300us"
delay = "50us + exp(10us)"
`, short(r, 120.0, 40), gain), nil)
		if err != nil {
			return err
		}
		x := &results[0]
		s := x.Group
		what := fmt.Sprintf("G = %g", gain)
		r.row(gain, s.Precision, s.PrecisionBound, s.Accuracy, s.AccuracyBound)
		r.under(what+": precision π_v", "s", float64(s.Precision), float64(s.PrecisionBound), true)
		r.under(what+": accuracy α_v", "s", float64(s.Accuracy), float64(s.AccuracyBound), true)
		r.under(what+": intervals that do not contain UTC", "", float64(s.UTCWrong), 0, true)
		r.over(what+": intervals of UTC checked", "", float64(s.UTCChecks), 1)
		if err := r.done(i+1, len(all)); err != nil {
			return err
		}
	}
	last := len(all) - 1
	r.under("bound of α_v with the largest gain, against that with the smallest", "s", r.column(4)[last], r.column(4)[0], true)
	r.over("bound of π_v with the largest gain, against that with the smallest", "s", r.column(2)[last], r.column(2)[0])
	r.curve("accuracy α_v", 0, 0, 3, false)
	r.curve("bound of α_v", 0, 0, 4, true)
	r.curve("precision π_v", 1, 0, 1, false)
	r.curve("bound of π_v", 1, 0, 2, true)
	r.axes(logarithmic("gain G", ""), logarithmic("time error", "s"))
	return nil
}
