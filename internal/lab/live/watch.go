package live

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/config"
	"github.com/clockd/clockd/internal/lab/observer"
	"github.com/clockd/clockd/internal/lab/result"
	"github.com/clockd/clockd/metrics"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/agreement"
	"github.com/clockd/clockd/virtualclock"
)

const (
	// gridSeconds is the distance of the evenly spaced samples.
	gridSeconds = 0.05
	// lateJump is by how much a clock may differ, in seconds, where one line ends and the next begins: lines meet where they were
	// computed, and a reader sees the new one when it was published, a little later.
	lateJump = 50e-6
	// settleRounds is for how many rounds a group that has just formed is not measured.
	settleRounds  = 2
	maxViolations = 1000
	maxEvents     = 5000
	// envelopeWindow is how many periods the window of the envelope rate has at least.
	envelopeWindow = 20
)

// clock is a host under observation.
type clock struct {
	*node
	// index is its place in the ensembles, −1 for a liar.
	index int
	track *result.Track
	// before is what its last publication said where a new one began; last is the last ordinary sample.
	before, last observer.Look
	lastAt       hw.Ticks
	retargeted   hw.Ticks
	stability    *metrics.Stability
	errors       metrics.Quantiles
	// worst and claimed are the largest |time error| and the largest claim while it was sound, since the measurement began, in
	// seconds; part the largest share of a claim that an error was.
	worst, claimed, part float64
	sound, samples       uint64
	checked, wrong       uint64
	jumped               jumped
}

// jumped is what became of the jumps of a host's counter.
type jumped struct {
	// ahead are the true counter's readings at which it still has to jump.
	ahead []hw.Ticks
	// since is when it jumped last; believed that its clock claims something, in the epoch of then, that nobody must believe.
	since    hw.Ticks
	epoch    virtualclock.Epoch
	unsound  bool // it has noticed
	believed bool
	notes    []string
}

// watch measures.
type watch struct {
	plan    *Plan
	base    hw.Counter
	hertz   float64
	truth   virtualclock.Line
	masters []*node
	// hasTruth: somebody keeps true time.
	hasTruth bool
	observer *observer.Observer
	clocks   []*clock
	correct  []*clock
	promised agreement.Guarantee

	measuring  bool
	roundBegan hw.Ticks // when the last round ended first
	formedAt   hw.Ticks // when the measurement began
	now        hw.Ticks // the last instant that the ensembles were told
	shown      *metrics.Ensemble
	targets    *metrics.Ensemble
	together   *result.Track
	dir        *result.Directory

	checked, wrong                uint64
	worstOutside                  float64
	violations                    []result.Violation
	events                        []result.Event
	rounds                        []result.Round
	roundCount                    uint64
	epsilon                       metrics.ReadingErrors
	samples                       uint64
	accuracyClaim                 float64 // the largest that a correct synchronised host claimed
	second                        secondFigures
	jumps                         uint64
	err                           error
	epsilonNow                    float64
	worstPrecision, worstAccuracy float64 // since the measurement began, for the screen
	lastConvergence               float64
}

// secondFigures are the largest of the last second, for the screen.
type secondFigures struct{ precision, accuracy, claim float64 }

func newWatch(f *fleet, pages []observer.Page, dir *result.Directory) (*watch, error) {
	w := &watch{plan: f.plan, base: f.base, hertz: f.base.Frequency().Hertz, dir: dir, formedAt: f.start, lastConvergence: math.NaN(), epsilonNow: math.NaN()}
	w.observer = observer.NewWith(f.base, observer.Options{Grid: int64(gridSeconds * w.hertz), Breakpoints: true, Continuous: true}, pages...)
	for _, n := range f.nodes {
		if n.master {
			w.masters = append(w.masters, n)
			continue
		}
		c := &clock{node: n, index: -1}
		if !n.lies {
			c.index = len(w.correct)
			w.correct = append(w.correct, c)
			if n.skewed != nil {
				c.jumped.ahead = n.skewed.JumpsAt()
				slices.SortFunc(c.jumped.ahead, func(a, b hw.Ticks) int { return cmp.Compare(a.Sub(b), 0) })
			}
		}
		var err error
		if c.stability, err = metrics.NewStability(gridSeconds, 0); err != nil {
			return nil, err
		}
		w.clocks = append(w.clocks, c)
	}
	return w, w.reference(f, pages)
}

// reference finds true time: the first master's clock, or where there is none the true counter at its nominal frequency.
func (w *watch) reference(f *fleet, pages []observer.Page) error {
	w.truth = virtualclock.Line{C0: f.start, T0: virtualclock.FromTime(time.Now()), Period: virtualclock.PeriodOf(w.hertz)}
	if len(w.masters) > 0 {
		k, why := pages[0].Coefficients()
		if why != reason.OK || !k.Status.Sound() {
			return fmt.Errorf("the first master has no clock: %s", why.Explain())
		}
		w.truth, w.hasTruth = k.Steady, true
	}
	if w.plan.Group() {
		g, err := agreement.Bounds(w.agreement().Model())
		if err != nil {
			return err
		}
		w.promised = g
	}
	return nil
}

func (w *watch) agreement() agreement.Config {
	a := w.plan.agreementConfig(w.base)
	if w.plan.Mode == ModeHybrid {
		a.Gain = gain
		a.ExternalError = config.Duration(externalError)
	}
	return a.Group(w.plan.Hosts - 1)
}

// begin starts the measurement, now that all clocks are synchronised.
func (w *watch) begin() error {
	cell := max(w.plan.Period.Seconds(), w.plan.Poll.Seconds())
	o := metrics.EnsembleOptions{JumpSeconds: lateJump, CellSeconds: cell}
	var err, err2 error
	w.shown, err = metrics.NewEnsemble(len(w.correct), o)
	w.targets, err2 = metrics.NewEnsemble(len(w.correct), metrics.EnsembleOptions{JumpSeconds: lateJump})
	if err := errors.Join(err, err2, w.openTracks()); err != nil {
		return err
	}
	// What was wrong before is told in the time of the measurement, too: it was then less than 0.
	formed := w.base.Read()
	for i := range w.violations {
		v := &w.violations[i]
		v.At = result.Of(v.At.Float() - w.seconds(formed))
	}
	w.formedAt, w.now, w.measuring = formed, 0, true
	return nil
}

// openTracks opens the series.
func (w *watch) openTracks() (err error) {
	if w.dir == nil {
		return nil
	}
	name := "time error"
	if !w.hasTruth {
		name = "clock − middle of the correct clocks"
	}
	for _, c := range w.clocks {
		c.track, err = w.dir.Track(c.name, c.name, result.Field{Quantity: result.TimeError, Name: name, Unit: "s"},
			result.Field{Quantity: result.IntervalLow, Name: "claimed: earliest", Unit: "s"}, result.Field{Quantity: result.IntervalHigh, Name: "claimed: latest", Unit: "s"},
			result.Field{Quantity: result.ClaimedBound, Name: "claimed bound", Unit: "s"})
		if err != nil {
			return err
		}
	}
	fields := []result.Field{{Quantity: result.Precision, Name: "precision", Unit: "s"}, {Quantity: result.PrecisionBound, Name: w.precisionFormula(), Unit: "s"}}
	if w.hasTruth {
		fields = append(fields, result.Field{Quantity: result.Accuracy, Name: "accuracy", Unit: "s"}, result.Field{Quantity: result.AccuracyBound, Name: "claimed: the greatest bound", Unit: "s"})
	}
	w.together, err = w.dir.Track("all", "", fields...)
	return err
}

func (w *watch) precisionFormula() string {
	if w.plan.Mode == ModeInternal {
		return "promised by theory"
	}
	return "claimed: sum of two bounds"
}

// seconds is when something was, since the measurement began.
func (w *watch) seconds(t hw.Ticks) float64 { return float64(t.Sub(w.formedAt)) / w.hertz }

// sample looks at all clocks once.
func (w *watch) sample() { w.observer.Observe(w.visit) }

// visit takes all looks at one instant.
func (w *watch) visit(s *observer.Sample) {
	at := w.truth.At(s.At)
	w.check(s, at)
	if s.Changing >= 0 && !s.Begun {
		if c := w.clockOf(s.Changing); c != nil {
			c.before = s.Looks[s.Changing]
		}
		return
	}
	if w.measuring && !s.At.Before(w.now) && !s.At.Before(w.formedAt) {
		w.now = s.At
		w.measure(s, at)
	}
	if s.Last {
		w.remember(s, at)
	}
}

// clockOf is the clock of a node, nil for a master.
func (w *watch) clockOf(node int) *clock {
	if i := node - len(w.masters); i >= 0 && i < len(w.clocks) {
		return w.clocks[i]
	}
	return nil
}

// check holds every claim of a correct host against what is so, with no tolerance.
func (w *watch) check(s *observer.Sample, truth virtualclock.Time) {
	for _, c := range w.correct {
		w.followJumps(c, &s.Looks[c.number], s.At)
	}
	for i, a := range w.correct {
		l := &s.Looks[a.number]
		if !a.claims(l) {
			continue
		}
		if l.Kind == virtualclock.External {
			w.checkTruth(s, a, l, truth)
			continue
		}
		for _, b := range w.correct[:i] {
			if !b.claims(&s.Looks[b.number]) {
				continue
			}
			if s.Changing < 0 || s.Changing == a.number || s.Changing == b.number {
				w.checkPair(s, a, b)
			}
		}
	}
}

// claims reports whether a host claims something that it is held to: not from a jump of its counter on until it has begun anew.
func (c *clock) claims(l *observer.Look) bool { return l.Sound() && !c.jumped.believed }

// followJumps keeps account of the jumps of a host's counter: what it said before of the time after is not its fault.
func (w *watch) followJumps(c *clock, l *observer.Look, at hw.Ticks) {
	j := &c.jumped
	for len(j.ahead) > 0 && !at.Before(j.ahead[0]) {
		j.since, j.ahead, j.believed, j.unsound, j.epoch = j.ahead[0], j.ahead[1:], true, false, c.last.Epoch
		if l.Known {
			j.epoch = l.Epoch
		}
		w.event(result.Event{At: result.Of(w.seconds(j.since)), Clock: c.name, Kind: result.EventFault, Text: "the counter of " + c.name + " jumps"})
	}
	if !j.believed || !l.Known {
		return
	}
	passed := float64(at.Sub(j.since)) / w.hertz
	if !j.unsound && (!l.Sound() || l.Epoch != j.epoch) {
		j.unsound = true
		j.notes = append(j.notes, fmt.Sprintf("%s said %.3f s after its counter jumped that its clock is not to be trusted", c.name, passed))
	}
	if l.Sound() && l.Epoch != j.epoch {
		j.believed = false
		j.notes = append(j.notes, fmt.Sprintf("%s claimed again %.3f s after its counter jumped", c.name, passed))
		w.event(result.Event{At: result.Of(w.seconds(at)), Clock: c.name, Kind: result.EventRepair, Text: c.name + " has a clock again"})
	}
}

// checkTruth holds an interval against true time.
func (w *watch) checkTruth(s *observer.Sample, c *clock, l *observer.Look, truth virtualclock.Time) {
	if !w.hasTruth {
		w.violate(s, c, l, math.NaN(), math.NaN(), "it claims to know true time, and nobody does")
		return
	}
	w.checked++
	c.checked++
	if l.Interval.Contains(truth) {
		return
	}
	outside := truth.Seconds(l.Interval.Latest)
	if truth.Before(l.Interval.Earliest) {
		outside = truth.Seconds(l.Interval.Earliest)
	}
	w.violate(s, c, l, outside, l.Time.Seconds(truth), "true time was not in the interval")
}

// checkPair holds what two members of a group say of each other against their distance, and that against what is promised.
func (w *watch) checkPair(s *observer.Sample, a, b *clock) {
	x, y := &s.Looks[a.number], &s.Looks[b.number]
	p, ok := observer.Compare(x, y)
	if !ok || y.Kind != virtualclock.Internal {
		return
	}
	w.checked++
	a.checked++
	b.checked++
	apart := math.Abs(p.Apart)
	switch {
	case p.Gap > 0:
		w.violate(s, a, x, p.Gap, p.Apart, "its interval and that of "+b.name+" have no point in common")
	case apart > p.Allowed:
		w.violate(s, a, x, apart-p.Allowed, p.Apart, "it is further from "+b.name+" than the two claim")
	case w.measuring && w.plan.Mode == ModeInternal && apart > w.promised.Precision && x.Status == virtualclock.Synchronised && y.Status == virtualclock.Synchronised:
		w.violate(s, a, x, apart-w.promised.Precision, p.Apart, "it is further from "+b.name+" than the promised precision")
	}
}

// violate writes down a wrong claim.
func (w *watch) violate(s *observer.Sample, c *clock, l *observer.Look, outside, wrong float64, text string) {
	w.wrong++
	c.wrong++
	w.worstOutside = max(w.worstOutside, math.Abs(outside))
	if len(w.violations) < maxViolations {
		w.violations = append(w.violations, result.Violation{
			At: result.Of(w.seconds(s.At)), Clock: c.name, Outside: result.Of(outside), HalfWidth: result.Of(l.Interval.Latest.Seconds(l.Interval.Earliest) / 2),
			Error: result.Of(wrong), Status: l.Status.String(), Text: text,
		})
	}
}

// measure gives the instant to the estimators.
func (w *watch) measure(s *observer.Sample, at virtualclock.Time) {
	for _, c := range w.correct {
		l := &s.Looks[c.number]
		if !l.Known || l.Status != virtualclock.Synchronised || c.jumped.believed {
			w.fail(w.shown.End(c.index, at))
			w.fail(w.targets.End(c.index, at))
			continue
		}
		w.fail(w.shown.Begin(c.index, metrics.Segment{From: at, Clock: l.Time, Rate: l.Rate, Epoch: l.Epoch}))
		steady := l.Steady.Period.Nanoseconds()*1e-9*w.hertz*(1+l.Oscillator) - 1
		w.fail(w.targets.Begin(c.index, metrics.Segment{From: at, Clock: l.Target, Rate: steady, Epoch: l.Epoch}))
	}
	w.extremes(s)
	if s.Changing >= 0 && w.plan.Group() {
		w.roundMade(s, at)
	}
	if s.Regular {
		w.fail(w.shown.Sample(at))
		w.write(s, at)
	}
}

func (w *watch) fail(err error) {
	if w.err == nil && err != nil {
		w.err = err
	}
}

// extremes keeps the largest figures of the last second and of each host.
func (w *watch) extremes(s *observer.Sample) {
	spread, worst, claims := w.spread(s)
	w.worstPrecision, w.worstAccuracy = larger(w.worstPrecision, spread), larger(w.worstAccuracy, worst)
	w.second.precision, w.second.accuracy, w.second.claim = larger(w.second.precision, spread), larger(w.second.accuracy, worst), larger(w.second.claim, claims[0])
	w.accuracyClaim = max(w.accuracyClaim, claims[0])
}

// larger is max, but not a number counts for nothing.
func larger(a, b float64) float64 {
	if b != b || a > b {
		return a
	}
	return b
}

// spread is how far apart the correct synchronised clocks are, their largest |time error|, and their two largest claims; not a number
// where there is none.
func (w *watch) spread(s *observer.Sample) (spread, worst float64, claims [2]float64) {
	truth := w.truth.At(s.At)
	low, high := math.Inf(1), math.Inf(-1)
	worst = math.NaN()
	for _, c := range w.correct {
		l := &s.Looks[c.number]
		if !c.claims(l) || l.Status != virtualclock.Synchronised {
			continue
		}
		x := l.Time.Seconds(truth)
		low, high = min(low, x), max(high, x)
		if w.hasTruth {
			worst = larger(worst, math.Abs(x))
		}
		switch b := l.FarEdge(); {
		case b > claims[0]:
			claims[0], claims[1] = b, claims[0]
		case b > claims[1]:
			claims[1] = b
		}
	}
	if spread = high - low; math.IsInf(spread, -1) {
		spread = math.NaN()
	}
	return spread, worst, claims
}

// roundMade takes note that a host's target was moved, and that a round has ended if it was the last.
func (w *watch) roundMade(s *observer.Sample, at virtualclock.Time) {
	c := w.clockOf(s.Changing)
	if c == nil || c.index < 0 {
		return
	}
	l := &s.Looks[c.number]
	// A publication that only tells the same line anew, or a wider interval, is no round.
	if !c.claims(l) || c.before.Sound() && c.before.Epoch == l.Epoch && c.before.Steady.Period == l.Steady.Period && math.Abs(l.Target.Seconds(c.before.Target)) < 1e-9 {
		return
	}
	c.retargeted = s.At
	half := int64(w.plan.Period.Seconds() * w.hertz / 2)
	first, last, n := math.Inf(1), math.Inf(-1), 0
	for _, x := range w.correct {
		y := &s.Looks[x.number]
		if !x.claims(y) || y.Status != virtualclock.Synchronised {
			continue
		}
		if s.At.Sub(x.retargeted) > half || x.retargeted == 0 {
			return
		}
		d := y.Target.Seconds(at)
		first, last, n = min(first, d), max(last, d), n+1
	}
	if n < 2 {
		return
	}
	w.fail(w.targets.RoundEnds(at))
	w.roundCount++
	w.lastConvergence = last - first
	r := result.Round{Number: w.roundCount, At: result.Of(w.seconds(s.At)), Convergence: result.Of(last - first), Bound: result.Of(w.promised.Convergence), Epsilon: result.Of(w.epsilonNow)}
	// The last host of a round may be followed by another publication of the same round: it replaces it.
	if k := len(w.rounds); k > 0 && s.At.Sub(w.roundBegan) < half {
		r.Number--
		w.roundCount--
		w.rounds[k-1] = r
		return
	}
	w.roundBegan = s.At
	if len(w.rounds) < maxEvents {
		w.rounds = append(w.rounds, r)
	}
}

// middle is the middle of the correct sound clocks relative to truth in seconds; not a number without any.
func (w *watch) middle(s *observer.Sample, truth virtualclock.Time) float64 {
	low, high := math.Inf(1), math.Inf(-1)
	for _, c := range w.correct {
		if l := &s.Looks[c.number]; c.claims(l) {
			x := l.Time.Seconds(truth)
			low, high = min(low, x), max(high, x)
		}
	}
	return (low + high) / 2 // Inf − Inf is not a number
}

// write puts an evenly spaced sample into the series.
func (w *watch) write(s *observer.Sample, truth virtualclock.Time) {
	w.samples++
	t, zero := w.seconds(s.At), 0.0
	if !w.hasTruth {
		zero = w.middle(s, truth)
	}
	for _, c := range w.clocks {
		l := &s.Looks[c.number]
		x, low, high, bound, phase := math.NaN(), math.NaN(), math.NaN(), math.NaN(), math.NaN()
		c.samples++
		if l.Sound() {
			phase = l.Time.Seconds(truth)
			x, low, high = phase-zero, l.Interval.Earliest.Seconds(truth)-zero, l.Interval.Latest.Seconds(truth)-zero
			bound = l.FarEdge()
		}
		if c.claims(l) {
			c.sound++
			c.errors.Add(math.Abs(x))
			c.worst, c.claimed = larger(c.worst, math.Abs(x)), max(c.claimed, bound)
			c.part = larger(c.part, math.Abs(x)/bound)
		}
		if c.index >= 0 && l.Known && !c.jumped.believed && l.Status == virtualclock.Synchronised {
			c.stability.Add(phase)
		} else {
			c.stability.Add(math.NaN())
		}
		if c.track != nil {
			c.track.Add(t, x, low, high, bound)
		}
	}
	if w.together != nil {
		spread, worst, claims := w.spread(s)
		promise := claims[0] + claims[1]
		if w.plan.Mode == ModeInternal {
			promise = w.promised.Precision
		}
		if spread != spread {
			promise = math.NaN()
		}
		if !w.hasTruth {
			w.together.Add(t, spread, promise)
			return
		}
		claim := claims[0]
		if worst != worst {
			claim = math.NaN()
		}
		w.together.Add(t, spread, promise, worst, claim)
	}
}

// remember keeps an ordinary sample: for the screen, for the changes of a status, and to see that clocks do not jump.
func (w *watch) remember(s *observer.Sample, truth virtualclock.Time) {
	for _, c := range w.clocks {
		l := &s.Looks[c.number]
		if !l.Known {
			continue
		}
		if w.measuring && l.Status != c.last.Status {
			w.event(result.Event{At: result.Of(w.seconds(s.At)), Clock: c.name, Kind: result.EventStatus, Status: l.Status.String(), Reason: codeName(l.Why)})
		}
		if c.index >= 0 {
			w.continuous(s, c, l)
		}
		c.last, c.lastAt = *l, s.At
	}
	for i, m := range w.masters {
		l := &s.Looks[m.number]
		if !l.Sound() {
			continue
		}
		limit := masterBound.Seconds()
		if i == 0 {
			limit = 5e-9
		}
		if off := l.Time.Seconds(truth); math.Abs(off) > limit {
			w.fail(fmt.Errorf("master %s is %.9f s from the time that it keeps: the machine's wall clock was set meanwhile; nothing can be measured", m.name, off))
		}
	}
}

// continuous complains of a clock that went back, or jumped, within an epoch.
func (w *watch) continuous(s *observer.Sample, c *clock, l *observer.Look) {
	if !c.claims(l) || !c.last.Sound() || l.Epoch != c.last.Epoch {
		return
	}
	passed, moved := float64(s.At.Sub(c.lastAt))/w.hertz, l.Time.Seconds(c.last.Time)
	if moved < 0 || math.Abs(moved-passed) > w.rateBound()*passed+lateJump {
		w.jumps++
		w.violate(s, c, l, moved-passed, math.NaN(), "its clock jumped within an epoch")
	}
}

func (w *watch) event(e result.Event) {
	if len(w.events) < maxEvents {
		w.events = append(w.events, e)
	}
}

func codeName(c reason.Code) string {
	if c == reason.OK {
		return ""
	}
	return c.String()
}

// coverage is for which part of the time the correct clocks were known and sound; not a number before the first sample.
func (w *watch) coverage() float64 {
	var sound, all uint64
	for _, c := range w.correct {
		sound, all = sound+c.sound, all+c.samples
	}
	return float64(sound) / float64(all)
}
