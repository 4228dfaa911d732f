package live

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/lab/result"
	"github.com/clockd/clockd/metrics"
	"github.com/clockd/clockd/reason"
)

// maxSlew is the default of clock.max_slew, which the configurations leave as it is.
const maxSlew = 500e-6

// result puts everything together.
func (x *experiment) result(complete bool) *result.Result {
	w, p := x.watch, x.plan
	seed, began, holds := x.options.Seed, x.began.UTC().Format(time.RFC3339), p.Holds()
	checked, wrong := w.checked, w.wrong
	r := &result.Result{
		Version: x.options.Version, Command: x.options.Command, Mode: result.ModeLive, Title: x.title(), Truth: result.TruthExact, Began: &began,
		Length: result.Of(min(w.seconds(w.now), p.For.Seconds())), Complete: complete, Seed: &seed, Machine: result.ThisMachine(x.base.Spec()),
		Scenario: &result.Scenario{Name: cmp.Or(p.Name, "live"), Summary: cmp.Or(p.Summary, x.title()), AssumptionsHold: &holds},
		Checks:   result.Checks{Checked: &checked, Wrong: &wrong}, Violations: w.violations, Events: w.sortedEvents(), Rounds: w.rounds,
	}
	if source, err := p.source(); err == nil {
		r.Scenario.Source = &source
	}
	if w.wrong > 0 {
		r.Checks.Worst = result.Of(w.worstOutside)
	}
	for _, n := range x.fleet.nodes {
		correct := !n.lies
		k := result.Clock{Name: n.name, Role: result.RolePeer, Program: "clockd", Address: n.address.String(), Correct: &correct}
		switch {
		case n.master:
			k.Role = result.RoleMaster
		case n.lies:
			k.Role, k.Program = result.RoleLiar, "clockbench"
		case !p.Group():
			k.Role = result.RoleHost
		}
		r.Clocks = append(r.Clocks, k)
	}
	r.Histograms = x.fleet.histograms()
	r.Notes = x.notes()
	x.addProperties(r)
	for _, c := range w.correct {
		r.AddStability(c.stability.Result().Points, c.name)
	}
	return r
}

// sortedEvents are all in the order of time: the script's and the clocks' come by different ways.
func (w *watch) sortedEvents() []result.Event {
	all := slices.Clone(w.events)
	slices.SortStableFunc(all, func(a, b result.Event) int { return cmp.Compare(a.At.Float(), b.At.Float()) })
	return all
}

func (x *experiment) title() string {
	p := x.plan
	words := []string{count(p.Hosts, "host")}
	if p.Masters > 0 {
		words = append(words, count(p.Masters, "master"))
	}
	if n := len(p.liars()); n > 0 {
		words = append(words, fmt.Sprintf("%s (%s)", count(n, "liar"), p.Adversary))
	}
	if len(p.Fault) > 0 {
		words = append(words, count(len(p.Fault), "fault"))
	}
	return strings.TrimPrefix(p.Name+": ", ": ") + strings.Join(words, ", ") + ", " + p.Mode
}

// count is "1 host", "2 hosts".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// notes tell what was run and what to keep in mind.
func (x *experiment) notes() []string {
	p, w := x.plan, x.watch
	c := x.fleet.links.Total()
	all := []string{
		fmt.Sprintf("%s on %s: delay %s, loss %g %%; %d packets carried, %d lost by the law, %d met a cut, %d were handed over more than 250 µs late (worst %.3g ms).",
			x.about, x.fleet.network(), p.Delay, 100*p.Loss, c.Forwarded, c.Lost, c.Cut, c.Late, c.WorstLateS*1e3),
		fmt.Sprintf("All clocks were synchronised after %.1f s; the correct ones were sound for %.2f %% of the time, and %d publications at least were too short for the observer to see.",
			x.forms, 100*w.coverage(), w.observer.Missed()),
	}
	if text := strings.Join(strings.Fields(p.Details), " "); text != "" {
		all = append([]string{text}, all...)
	}
	if !w.hasTruth {
		all = append(all, "Nobody keeps true time here: time errors are distances from the middle of the correct clocks.")
	}
	all = append(all, w.jumpNotes()...)
	if !p.Holds() {
		all = append(all, fmt.Sprintf("The fault hypothesis does not hold: %d liars or hosts whose counters jump, and %d hosts bear %d. Claims may be wrong.", len(p.liars())+len(p.stepped()), p.Hosts, p.Faults()))
	}
	return all
}

// jumpNotes tell what became of the hosts whose counters jumped.
func (w *watch) jumpNotes() []string {
	var all []string
	for _, c := range w.correct {
		j := &c.jumped
		for _, n := range j.notes {
			all = append(all, n+".")
		}
		if j.believed && !j.unsound {
			all = append(all, fmt.Sprintf("%s did not notice until the end that its counter had jumped; it was not held to what it claimed meanwhile.", c.name))
		}
	}
	return all
}

// addProperties makes the table of properties, of the whole run and of each host.
func (x *experiment) addProperties(r *result.Result) {
	w := x.watch
	t := metrics.NewTable()
	at := w.truth.At(w.now)
	shown, err := w.shown.Result(at)
	targets, err2 := w.targets.Result(at)
	if err := errors.Join(err, err2); err != nil {
		r.Notes = append(r.Notes, "The figures are not complete: "+err.Error())
	}
	var errs []error
	note := func(err error) { errs = append(errs, err) }
	period := max(x.plan.Period.Seconds(), x.plan.Poll.Seconds())
	note(t.SetEnsemble(&shown, envelopeWindow*period))
	x.setGranularity(t, note)
	x.setGroup(t, &targets, note)
	x.setReading(t, note)
	for _, p := range []metrics.Property{metrics.Steadiness, metrics.Tightness} {
		note(t.SetMissing(p, reason.FigureNotMeasured, "no messages are broadcast in this experiment; clockbench order measures their delivery"))
	}
	if !w.hasTruth {
		for _, p := range []metrics.Property{metrics.Accuracy, metrics.TimeError} {
			note(t.SetMissing(p, reason.FigureNoTruth, "the group has no master: nobody keeps true time"))
		}
	}
	if err := errors.Join(errs...); err != nil {
		r.Notes = append(r.Notes, "The table is not complete: "+err.Error())
	}
	r.AddTable(t, "")
	for i := range r.Properties {
		if r.Properties[i].Symbol == metrics.ClockReadingError.Symbol() && r.Properties[i].Known != result.KnownNot {
			r.Properties[i].Known, r.Properties[i].Uncertainty = result.KnownSampled, result.Number{}
		}
	}
	x.addStatistics(r, &shown)
}

// setGranularity measures g, and g_v on the page of the first correct host: the clock at successive ticks.
func (x *experiment) setGranularity(t *metrics.Table, note func(error)) {
	f := x.base.Frequency()
	var g metrics.PhysicalGranularity
	g.AddResolution(x.resolution, f)
	note(t.SetExact(metrics.Granularity, g.Result(f).EffectiveSeconds))
	var v metrics.VirtualGranularity
	for _, c := range x.watch.correct {
		k, why := x.pages[c.number].Coefficients()
		if why != reason.OK || !k.Status.Sound() {
			continue
		}
		now := x.pages[c.number].Counter().Read()
		for i := range hw.Ticks(1000) {
			v.Add(now+i, k.Time(now+i))
		}
		v.Break()
	}
	note(t.SetExact(metrics.VirtualClockGranularity, v.Result().LargestTickSeconds))
	rate := x.watch.rateBound()
	note(t.SetBound(metrics.VirtualClockGranularity, (1+rate)/f.Hertz*(1+f.ErrorPPB*1e-9)+1e-18, "a tick of the counter · (1 + ρ_v)"))
}

// rateBound is what theory promises of ρ_v.
func (w *watch) rateBound() float64 {
	rho := driftPPM*1e-6 + w.base.Frequency().ErrorPPB*1e-9
	s := maxSlew
	if w.plan.Group() {
		c := w.agreement()
		s = max(s, w.promised.Adjustment/(c.Period.Seconds()/2))
		rho = c.Drift
	}
	r := (1+rho)*(1+rho)*(1+s) - 1
	return r / (1 - r) // the inverse rate, which is defined, differs by that much at the most
}

// setGroup sets what the mode promises.
func (x *experiment) setGroup(t *metrics.Table, targets *metrics.EnsembleResult, note func(error)) {
	w := x.watch
	note(t.SetBound(metrics.Rate, x.watch.rateBound(), "(1+ρ)(1+ρ)(1+s) − 1 of the inverse rate, s the fastest slew"))
	claim := w.accuracyClaim
	if w.hasTruth && claim > 0 {
		note(t.SetBound(metrics.Accuracy, claim, "the largest bound that a correct host claimed"))
		note(t.SetBound(metrics.TimeError, claim, "the largest bound that a correct host claimed"))
		if x.plan.Mode != ModeInternal {
			note(t.SetBound(metrics.Precision, 2*claim, "2 α_v, of the bounds that were claimed"))
		}
	}
	if !x.plan.Group() {
		note(t.SetMissing(metrics.Convergence, reason.FigureNotApplicable, "hosts that follow a master have no rounds in common"))
		return
	}
	if targets.ConvergenceSeconds.Known {
		note(t.SetExact(metrics.Convergence, targets.ConvergenceSeconds.Figure))
	} else {
		note(t.SetMissing(metrics.Convergence, reason.FigureTooFew, "no round was made by all correct hosts"))
	}
	g := &w.promised
	if !math.IsInf(g.Convergence, 0) {
		note(t.SetBound(metrics.Convergence, g.Convergence, "aΠ + 2ε + 4ρβ"))
	}
	if x.plan.Mode == ModeInternal && !math.IsInf(g.Precision, 0) {
		note(t.SetBound(metrics.Precision, g.Precision, "Π + ε + 2ρ(W+β)/(1−ρ)"))
		note(t.SetBound(metrics.EnvelopeRate, g.EnvelopeRate, "ρ + ε/P"))
	}
}

// setReading sets ε.
func (x *experiment) setReading(t *metrics.Table, note func(error)) {
	e := x.watch.epsilon.Result().WorstSeconds
	note(t.SetEstimate(metrics.ClockReadingError, e.Figure, 0))
	if !e.Known {
		note(t.SetMissing(metrics.ClockReadingError, reason.FigureTooFew, "no host told of a reading while it was measured"))
	}
	if x.plan.Group() {
		note(t.SetBound(metrics.ClockReadingError, x.plan.ReadingError.Seconds(), "the widest reading that a round uses, as configured"))
	}
}

// addStatistics adds what is not a supremum, and what is of each host.
func (x *experiment) addStatistics(r *result.Result, shown *metrics.EnsembleResult) {
	w := x.watch
	add := func(p result.Property, f metrics.Figure, why string) {
		if f.Known {
			p.Value = result.Of(f.Value)
		} else {
			p.Known, p.Reason = result.KnownNot, why
		}
		r.Properties = append(r.Properties, p)
	}
	statistics := func(symbol, name, subject string, d metrics.Distribution) {
		for _, s := range []struct {
			name   string
			figure metrics.Figure
		}{{"median", d.P50}, {"p99", d.P99}, {"rms", d.RMS}} {
			add(result.Property{Symbol: symbol, Name: name, Statistic: s.name, Subject: subject, Unit: "s", Known: result.KnownSampled}, s.figure, "there was no sample of it")
		}
	}
	statistics("π_v", "precision", "", shown.SpreadSeconds)
	if w.hasTruth {
		statistics("α_v", "accuracy", "", shown.ErrorSeconds)
	}
	name := "time error"
	if !w.hasTruth {
		name = "distance from the middle of the correct clocks"
	}
	for _, c := range w.correct {
		d := c.errors.Distribution()
		add(result.Property{Name: name, Statistic: "max", Subject: c.name, Unit: "s", Bound: result.Of(c.claimed), Formula: "the largest bound that it claimed", Known: result.KnownSampled},
			d.Max, "its clock was sound at no sample")
		statistics("", name, c.name, d)
		part := metrics.Figure{Value: c.part, Known: c.sound > 0, Samples: c.sound}
		add(result.Property{Name: name + " ÷ the bound claimed at that instant", Statistic: "max", Subject: c.name, Unit: "1", Bound: result.Of(1), Formula: "a claim holds at every instant",
			Known: result.KnownSampled}, part, "its clock was sound at no sample")
		share := metrics.Figure{Value: 100 * float64(c.sound) / float64(max(c.samples, 1)), Known: c.samples > 0}
		add(result.Property{Name: "part of the time with a bound", Subject: c.name, Unit: "%", Known: result.KnownSampled}, share, "there was no sample")
	}
}
