package live

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"strings"
	"time"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/lab/chrony"
	"github.com/clockd/clockd/internal/lab/result"
	"github.com/clockd/clockd/metrics"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// Comparison is what clockd and chronyd are compared in: both follow one master over equal links at equal polls.
type Comparison struct {
	// Plan has the network, the laws of its links, and the length.
	Plan Plan
	// PollExponent is the poll of both: 2^n seconds, −4 to 6. chronyd knows no others.
	PollExponent int
}

const (
	leastExponent, mostExponent = -4, 6
	// compareEvery is how often both are looked at.
	compareEvery = 200 * time.Millisecond
	// longestBracket is how long chronyc may take to answer for the answer to count, in seconds.
	longestBracket = 0.2
	// settlePart is the part of the run that the figures leave out: both begin with nothing.
	settlePart = 0.25
	closeError = 100e-6
	closeBound = 1e-3
)

// Check returns the plan of the three nodes, and complains of one that cannot be.
func (c *Comparison) Check() (Plan, error) {
	if c.PollExponent < leastExponent || c.PollExponent > mostExponent {
		return Plan{}, fmt.Errorf("a poll of 2^%d s is out of range; ask for 2^%d to 2^%d s, which both programs know", c.PollExponent, leastExponent, mostExponent)
	}
	p := c.Plan
	p.Name, p.Mode, p.Hosts, p.Masters, p.Poll = "compare", ModeExternal, 2, 1, Length(math.Ldexp(float64(time.Second), c.PollExponent))
	p.Summary = "a clockd and a chronyd follow one master over equal links"
	p = p.WithDefaults()
	return p, p.Check()
}

// comparison is what a fleet needs to run a chronyd.
type comparison struct {
	exponent         int
	chronyd, chronyc string
	version          string
}

// newComparison finds the programs.
func newComparison(ctx context.Context, exponent int) (*comparison, error) {
	c := &comparison{exponent: exponent}
	var err, err2 error
	c.chronyd, err = chrony.Find("chronyd")
	c.chronyc, err2 = chrony.Find("chronyc")
	if err := errors.Join(err, err2); err != nil {
		return nil, err
	}
	out, err := exec.CommandContext(ctx, c.chronyd, "--version").Output()
	if err != nil {
		return nil, fmt.Errorf("%s cannot be run: %w", c.chronyd, err)
	}
	c.version, _, _ = strings.Cut(string(out), " (+")
	return c, nil
}

// configureChronyd writes a chronyd's configuration.
func (f *fleet) configureChronyd(n *node) error {
	at, err := f.reach(n, f.nodes[0])
	if err != nil {
		return err
	}
	e := f.comparing.exponent
	n.chronyd = &chrony.Config{Directory: n.dir, Servers: []chrony.Server{{Address: at.String(), MinPoll: e, MaxPoll: e, Interleaved: true, Extra: []string{"iburst"}}}}
	return n.chronyd.Write()
}

func (f *fleet) launchChronyd(n *node) error {
	args, err := n.chronyd.Arguments()
	if err != nil {
		return err
	}
	return n.run(start(f.starterOf(n), n.log, nil, f.comparing.chronyd, args...))
}

// tracking asks a chronyd for its estimate.
func (c *comparison) tracking(ctx context.Context, n *node) (chrony.Tracking, error) {
	out, err := exec.CommandContext(ctx, c.chronyc, "-c", "-n", "-h", n.chronyd.Socket(), "tracking").CombinedOutput()
	if err != nil {
		return chrony.Tracking{}, fmt.Errorf("chronyc tracking: %w: %.200s", err, strings.TrimSpace(string(out)))
	}
	return chrony.ParseTracking(string(out))
}

// contender is one of the two programs.
type contender struct {
	name, about string
	track       *result.Track
	stability   *metrics.Stability
	errors      metrics.Quantiles
	claims      metrics.Quantiles
	part        float64
	looks, with uint64 // looks, and those with a claim
	wrong       uint64
	worst       float64 // by how much at the most
	// far and wide are when the error and the bound were last above what settling means, in seconds.
	far, wide       float64
	ever            bool
	error, bound    float64 // the last
	uncertainty     float64
	measured        uint64
	lastAt, firstAt float64
}

// look takes one look at the program's estimate. e is not a number if it has none.
func (c *contender) look(at, e, uncertainty, bound float64, counts bool) {
	if c.looks == 0 {
		c.firstAt = at
	}
	c.looks++
	c.lastAt = at
	c.error, c.bound = e, bound
	c.stability.Add(e)
	if c.track != nil {
		c.track.Add(at, e, e-bound, e+bound, bound)
	}
	size := math.Abs(e)
	if !(size <= closeError) {
		c.far = at
	}
	if !(bound <= closeBound) {
		c.wide = at
	}
	if e != e {
		return
	}
	c.with++
	c.ever = true
	c.uncertainty = max(c.uncertainty, uncertainty)
	if size-uncertainty > bound {
		c.wrong++
		c.worst = max(c.worst, size-uncertainty-bound)
	}
	if counts {
		c.measured++
		c.errors.Add(size)
		c.claims.Add(bound)
		c.part = larger(c.part, size/bound)
	}
}

// Compare runs the comparison. The result is there with an error too, if anything was measured.
func Compare(ctx context.Context, c Comparison, o Options) (r *result.Result, err error) {
	p, err := c.Check()
	if err != nil {
		return nil, err
	}
	programsFound, err := newComparison(ctx, c.PollExponent)
	if err != nil {
		return nil, err
	}
	about, base, err := found(ctx, o)
	if err != nil {
		return nil, err
	}
	x := &duel{experiment: experiment{plan: &p, options: o, base: base, began: time.Now(), about: about}, hertz: base.Frequency().Hertz}
	x.fleet, err = newFleet(&p, programs{o.Clockd, o.Self, o.Version}, x.base, o.Seed, programsFound)
	defer func() { err = errors.Join(err, x.close(err)) }()
	if err != nil {
		return nil, err
	}
	return x.run(ctx)
}

// duel is a comparison under way.
type duel struct {
	experiment
	hertz     float64
	master    *node
	truth     virtualclock.Line
	both      [2]*contender // clockd and chronyd
	began0    hw.Ticks
	discarded uint64
}

func (x *duel) run(ctx context.Context) (*result.Result, error) {
	nodes := x.fleet.nodes
	x.master = nodes[0]
	if err := x.startMaster(ctx); err != nil {
		return nil, err
	}
	x.both[0], x.both[1] = &contender{name: "clockd", about: x.about}, &contender{name: "chronyd", about: x.fleet.comparing.version}
	for _, c := range x.both {
		var err error
		if c.stability, err = metrics.NewStability(compareEvery.Seconds(), 0); err != nil {
			return nil, err
		}
		if x.options.Dir == nil {
			continue
		}
		c.track, err = x.options.Dir.Track(c.name, c.name, result.Field{Quantity: result.TimeError, Name: "time error", Unit: "s"}, result.Field{Quantity: result.IntervalLow, Name: "claimed: earliest", Unit: "s"},
			result.Field{Quantity: result.IntervalHigh, Name: "claimed: latest", Unit: "s"}, result.Field{Quantity: result.ClaimedBound, Name: "claimed bound", Unit: "s"})
		if err != nil {
			return nil, err
		}
	}
	// Both at the same time: how long they take is compared too.
	x.began0 = x.base.Read()
	for _, n := range nodes[1:] {
		if err := x.fleet.launch(n, 0); err != nil {
			return nil, err
		}
	}
	for _, n := range nodes[1:] {
		if err := x.fleet.await(ctx, n); err != nil {
			return nil, err
		}
	}
	page, err := virtualclock.OpenPage(nodes[1].page)
	if err != nil {
		return nil, err
	}
	x.pages = append(x.pages, page)
	complete, err := x.play(ctx)
	if err == nil && x.both[0].wrong > 0 {
		err = ErrWrong
	}
	return x.outcome(complete), err
}

// startMaster starts the master, whose clock is true time, over a counter that drifts.
func (x *duel) startMaster(ctx context.Context) error {
	if err := x.fleet.launch(x.master, 0); err != nil {
		return err
	}
	if err := x.fleet.await(ctx, x.master); err != nil {
		return err
	}
	page, err := virtualclock.OpenPage(x.master.page)
	if err != nil {
		return err
	}
	x.pages = append(x.pages, page)
	k, why := page.Coefficients()
	if why != reason.OK || !k.Status.Sound() {
		return fmt.Errorf("the master has no clock: %s", why.Explain())
	}
	x.truth = k.Steady
	return nil
}

// trueTime is the master's clock when the true counter reads t.
func (x *duel) trueTime(t hw.Ticks) virtualclock.Time { return x.truth.At(x.master.skewed.At(t)) }

func (x *duel) play(ctx context.Context) (complete bool, err error) {
	ticker := time.NewTicker(compareEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return false, nil
		case <-ticker.C:
		}
		if err := errors.Join(x.look(ctx), x.fleet.crashed(nil)); err != nil && ctx.Err() == nil {
			return false, err
		}
		x.fleet.note()
		elapsed := x.seconds(x.base.Read())
		if x.options.Shown != nil && time.Since(x.shown) >= showEvery {
			x.shown = time.Now()
			x.options.Shown(x.view(elapsed))
		}
		if elapsed >= x.plan.For.Seconds() {
			return true, nil
		}
	}
}

func (x *duel) seconds(t hw.Ticks) float64 { return float64(t.Sub(x.began0)) / x.hertz }

// look looks at both at about the same instant.
func (x *duel) look(ctx context.Context) error {
	before, err := hw.CrossStamp(x.base)
	if err != nil {
		return err
	}
	short, cancel := context.WithTimeout(ctx, 5*time.Second)
	t, err := x.fleet.comparing.tracking(short, x.fleet.nodes[2])
	cancel()
	if err != nil {
		return err
	}
	after, err := hw.CrossStamp(x.base)
	if err != nil {
		return err
	}
	at := x.seconds(after.At)
	counts := at >= settlePart*x.plan.For.Seconds()
	x.lookClockd(after.At, at, counts)
	if float64(after.At.Sub(before.At))/x.hertz > longestBracket {
		x.discarded++
		x.both[1].stability.Add(math.NaN())
		return nil
	}
	e, u := x.chronydError(&before, &after, &t)
	bound := t.Bound()
	if !t.Synchronised {
		e, bound = math.NaN(), math.NaN()
	}
	x.both[1].look(at, e, u, bound, counts)
	return nil
}

// lookClockd evaluates clockd's page.
func (x *duel) lookClockd(t hw.Ticks, at float64, counts bool) {
	k, _ := x.pages[1].Coefficients()
	e, bound := math.NaN(), math.NaN()
	if i := k.Interval(t); i.Sound() {
		now := k.Time(t)
		e, bound = now.Seconds(x.trueTime(t)), i.Bound(now)
	}
	x.both[0].look(at, e, 0, bound, counts)
}

// chronydError is by how much chronyd's estimate of true time is ahead, and how well that is known. chronyd answered at some instant
// between the two readings of the system's clock, which ran straight on between them.
func (x *duel) chronydError(before, after *hw.CrossReading, t *chrony.Tracking) (e, uncertainty float64) {
	ahead := func(c *hw.CrossReading) float64 { return virtualclock.Unix(c.Realtime, 0).Seconds(x.trueTime(c.At)) }
	a, b := ahead(before), ahead(after)
	stamps := float64(before.Error+after.Error) / x.hertz
	return (a+b)/2 + t.Correction, math.Abs(b-a)/2 + stamps + 1e-9
}

func (x *duel) view(elapsed float64) *View {
	v := &View{Plan: x.plan, Network: x.fleet.network(), Measuring: true, Elapsed: elapsed}
	for _, c := range x.both {
		h := HostView{Name: c.name, Known: c.error == c.error, Status: virtualclock.Synchronised, Error: c.error, Claim: c.bound, Worst: math.NaN(), OscillatorPPM: math.NaN(), Wrong: c.wrong}
		if c.measured > 0 {
			h.Worst = c.errors.Max().Value
		}
		v.Hosts = append(v.Hosts, h)
		v.Checked, v.Wrong = v.Checked+c.with, v.Wrong+c.wrong
	}
	return v
}

// outcome puts everything together.
func (x *duel) outcome(complete bool) *result.Result {
	seed, began, yes := x.options.Seed, x.began.UTC().Format(time.RFC3339), true
	var checked, wrong uint64
	r := &result.Result{
		Version: x.options.Version, Command: x.options.Command, Mode: result.ModeCompare, Truth: result.TruthExact, Began: &began, Complete: complete, Seed: &seed,
		Title:  fmt.Sprintf("clockd and chronyd behind one master, poll %v, delay %s", time.Duration(x.plan.Poll), x.plan.Delay),
		Length: result.Of(min(x.seconds(x.base.Read()), x.plan.For.Seconds())), Machine: result.ThisMachine(x.base.Spec()),
		Scenario: &result.Scenario{Name: "compare", Summary: x.plan.Summary, AssumptionsHold: &yes},
	}
	r.Clocks = []result.Clock{
		{Name: "m1", Role: result.RoleMaster, Correct: &yes, Program: "clockd", Address: x.master.address.String()},
		{Name: "clockd", Role: result.RoleHost, Correct: &yes, Program: "clockd"}, {Name: "chronyd", Role: result.RoleHost, Correct: &yes, Program: "chronyd"},
	}
	worst := 0.0
	for _, c := range x.both {
		checked, wrong, worst = checked+c.with, wrong+c.wrong, max(worst, c.worst)
		c.properties(r)
		r.AddStability(c.stability.Result().Points, c.name)
	}
	r.Checks = result.Checks{Checked: &checked, Wrong: &wrong}
	if wrong > 0 {
		r.Checks.Worst = result.Of(worst)
	}
	r.Histograms = x.fleet.histograms()
	total := x.fleet.links.Total()
	r.Notes = []string{
		fmt.Sprintf("%s and %s (-x: it disciplines nothing) on %s. The master's counter is wrong by %.1f ppm and wanders; both follow its clock with the machine's own oscillator. The first %.0f %% of the run is left out of the figures.",
			x.about, x.fleet.comparing.version, x.fleet.network(), x.master.skewed.FrequencyErrorAt(x.base.Read())*1e6, 100*settlePart),
		"What is compared: clockd's page with its claimed bound, and chronyd's tracking (system time and correction) with its root delay/2 + root dispersion, both against the master's page at the same reading of the true counter.",
		fmt.Sprintf("chronyd's error is known to ±%.3g µs at the worst, since chronyc takes its time; %d answers that took longer than %g s were not used. %d packets were carried.",
			x.both[1].uncertainty*1e6, x.discarded, longestBracket, total.Forwarded),
	}
	return r
}

// properties are the rows of one program.
func (c *contender) properties(r *result.Result) {
	add := func(symbol, name, statistic, unit string, known result.Known, value float64, why string) {
		p := result.Property{Symbol: symbol, Name: name, Statistic: statistic, Subject: c.name, Unit: unit, Known: known, Value: result.Of(value)}
		if _, ok := p.Value.Value(); !ok {
			p.Known, p.Reason = result.KnownNot, why
		} else if unit == "s" && known == result.KnownSampled && c.uncertainty > 0 && name == "time error" {
			p.Known, p.Uncertainty = result.KnownEstimated, result.Of(c.uncertainty)
		}
		r.Properties = append(r.Properties, p)
	}
	const never = "it had no estimate in the part of the run that counts"
	of := func(f metrics.Figure) float64 {
		if !f.Known {
			return math.NaN()
		}
		return f.Value
	}
	d := c.errors.Distribution()
	add("", "time error", "rms", "s", result.KnownSampled, of(d.RMS), never)
	add("", "time error", "median", "s", result.KnownSampled, of(d.P50), never)
	add("", "time error", "p99", "s", result.KnownSampled, of(d.P99), never)
	add("α_v", "time error", "max", "s", result.KnownSampled, of(d.Max), never)
	q := c.claims.Distribution()
	add("", "claimed bound", "median", "s", result.KnownClaimed, of(q.P50), never)
	add("", "claimed bound", "max", "s", result.KnownClaimed, of(q.Max), never)
	part := c.part
	if c.measured == 0 {
		part = math.NaN()
	}
	add("", "time error ÷ the bound claimed at that instant", "max", "1", result.KnownSampled, part, never)
	add("", "wrong bounds", "count", "count", result.KnownSampled, float64(c.wrong), "")
	settled := func(last float64) float64 {
		if !c.ever || last >= c.lastAt {
			return math.NaN()
		}
		return max(last, c.firstAt) // nobody looked before
	}
	add("", "until the time error stayed under 100 µs", "", "s", result.KnownSampled, settled(c.far), "it did not stay under 100 µs")
	add("", "until the claimed bound stayed under 1 ms", "", "s", result.KnownSampled, settled(c.wide), "it did not stay under 1 ms")
	share := math.NaN()
	if c.looks > 0 {
		share = 100 * float64(c.with) / float64(c.looks)
	}
	add("", "part of the time with a bound", "", "%", result.KnownSampled, share, "nobody looked")
}
