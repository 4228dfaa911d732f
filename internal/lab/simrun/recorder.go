package simrun

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"

	"github.com/clockd/clockd/internal/lab/result"
	"github.com/clockd/clockd/internal/node"
	"github.com/clockd/clockd/internal/sim"
	"github.com/clockd/clockd/metrics"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// What is written down at the most of what may happen without end.
const (
	maxLinks      = 64
	maxEvents     = 5000
	maxViolations = 1000
)

// irregular is when the samples begin to be evenly spaced: the simulation looks more closely at the beginning.
const irregular = 10

// watched is a client.
type watched struct {
	host   *sim.Host
	track  *result.Track
	member *sim.Member // nil for a client
	// error, low and high are of the present sample, not a number where there is none; far is the distance to the farther edge of the
	// interval, whatever that bounds.
	error, low, high, far float64
	sound                 bool
	// worst is the greatest |time error| while the clock had a bound, greatest the greatest bound, part the greatest ratio of the two
	// at one instant, since the figures began.
	worst, greatest, part float64
	// stability takes the time error at every regular sample.
	stability *metrics.Stability
}

// linkKey is one direction of a link.
type linkKey struct {
	link   *sim.Link
	answer bool
}

// recorder is the observer of one run.
type recorder struct {
	request Request
	dir     *result.Directory
	world   *sim.World
	clients []*watched
	// members are those of groups, together is of the clients, groups of each group.
	members    []*watched
	observers  []*observer
	together   *result.Track
	groups     []*result.Track
	delays     map[linkKey]*result.Classes
	order      []linkKey
	events     []result.Event
	violations []result.Violation
	// from is when the figures begin.
	from float64
	err  error
}

// watch sets the hooks and opens the series.
func (r *recorder) watch(w *sim.World) {
	r.world, r.delays = w, map[linkKey]*result.Classes{}
	r.from = float64(r.request.Scenario.Length) * *r.request.Scenario.Discard
	if r.observers, r.err = measure(w, r.request.Scenario); r.err != nil {
		return
	}
	for _, h := range w.Hosts() {
		if h.Member() == nil && (h.Master != nil || h.Serves()) {
			continue
		}
		if r.err = r.add(h); r.err != nil {
			return
		}
	}
	if len(r.clients) > 1 {
		r.together, r.err = r.dir.Track("all", "",
			result.Field{Quantity: result.Precision, Name: "precision", Unit: "s"},
			result.Field{Quantity: result.PrecisionBound, Name: "claimed: sum of two bounds", Unit: "s"},
			result.Field{Quantity: result.Accuracy, Name: "accuracy", Unit: "s"},
			result.Field{Quantity: result.AccuracyBound, Name: "claimed: the greatest bound", Unit: "s"})
	}
	for _, g := range w.Groups() {
		t, err := r.dir.Track("group-"+g.Name, "",
			result.Field{Quantity: result.Precision, Name: g.Name + ": precision", Unit: "s"},
			result.Field{Quantity: result.PrecisionBound, Name: g.Name + ": bound for the readings so far", Unit: "s"})
		r.groups, r.err = append(r.groups, t), errors.Join(r.err, err)
	}
	w.Sampled, w.Observe, w.Travelled = r.sampled, r.observe, r.travelled
}

// add opens the series of a client or of a member.
func (r *recorder) add(h *sim.Host) error {
	c := &watched{host: h, member: h.Member(), worst: math.NaN(), greatest: math.NaN(), part: math.NaN()}
	fields := []result.Field{
		{Quantity: result.TimeError, Name: "time error", Unit: "s"},
		{Quantity: result.IntervalLow, Name: "claimed: earliest", Unit: "s"},
		{Quantity: result.IntervalHigh, Name: "claimed: latest", Unit: "s"},
		{Quantity: result.ClaimedBound, Name: "claimed bound", Unit: "s"},
	}
	if c.member != nil {
		fields[3].Name = "distance to the far edge"
		fields = append(fields, result.Field{Quantity: result.Precision, Name: "distance from the middle", Unit: "s"})
	}
	var err error
	if c.track, err = r.dir.Track(h.Name, h.Name, fields...); err != nil {
		return err
	}
	if c.stability, err = metrics.NewStability(float64(r.request.Scenario.Sample), 0); err != nil {
		return err
	}
	h.Checker.Found = func(v sim.Violation) { r.found(c, v) }
	if c.member != nil {
		r.members = append(r.members, c)
	} else {
		r.clients = append(r.clients, c)
	}
	return nil
}

// look reads a client's clock at the present instant.
func (c *watched) look(w *sim.World) {
	c.error, c.low, c.high, c.far, c.sound = math.NaN(), math.NaN(), math.NaN(), math.NaN(), false
	h := c.host
	if !h.Published || h.Paused() {
		return
	}
	k := &h.Publication.Clock
	truth, now := w.Truth(w.Now()), h.Reading(w.Now())
	if k.Steady.Period != 0 {
		c.error = k.Time(now).Seconds(truth)
	}
	i := k.Interval(now)
	if !i.Status.Sound() {
		return
	}
	v := k.Time(now)
	c.far = max(v.Seconds(i.Earliest), i.Latest.Seconds(v))
	// The interval of a group without masters says nothing of true time.
	if k.Kind != virtualclock.Internal {
		c.low, c.high, c.sound = i.Earliest.Seconds(truth), i.Latest.Seconds(truth), true
	}
}

// write puts what was seen into the client's series.
func (c *watched) write(at, middle float64) {
	if c.member != nil {
		c.track.Add(at, c.error, c.low, c.high, c.far, math.Abs(c.error-middle))
		return
	}
	c.track.Add(at, c.error, c.low, c.high, (c.high-c.low)/2)
}

// bound is how wrong the clock can be by its own claim.
func (c *watched) bound() float64 { return max(c.error-c.low, c.high-c.error) }

// count takes what was seen into the extremes. The claim is the edge of the interval that the error is towards: an error that is beyond
// it makes a part above 1.
func (c *watched) count(counted bool) {
	if !c.sound || !counted {
		return
	}
	claim := c.error - c.low
	if c.error < 0 {
		claim = c.high - c.error
	}
	c.worst, c.greatest = greater(math.Abs(c.error), c.worst), greater(c.bound(), c.greatest)
	if claim > 0 {
		c.part = greater(math.Abs(c.error)/claim, c.part)
	}
}

// greater is max, but anything is more than nothing.
func greater(a, b float64) float64 {
	if a != a || a < b {
		return b
	}
	return a
}

// sampled looks at all clocks.
func (r *recorder) sampled() {
	at := r.world.Now().Seconds()
	for _, c := range r.clients {
		c.look(r.world)
		c.write(at, 0)
		c.count(at >= r.from)
		if at >= max(r.from, irregular) {
			c.stability.Add(c.error)
		}
	}
	if r.together != nil {
		r.compare(at)
	}
	for i, g := range r.world.Groups() {
		r.agreed(at, g, r.groups[i])
	}
	sampled(r.observers)
}

// agreed looks at the members of a group; its precision and its middle are those of the settled ones.
func (r *recorder) agreed(at float64, g *sim.Group, track *result.Track) {
	first, last, n := math.Inf(1), math.Inf(-1), 0
	for _, c := range r.members {
		if c.member.Group() != g {
			continue
		}
		c.look(r.world)
		if c.member.Settled() && c.error == c.error {
			n++
			first, last = min(first, c.error), max(last, c.error)
		}
		if at >= max(r.from, irregular) {
			c.stability.Add(c.error)
		}
	}
	middle, precision, bound := math.NaN(), math.NaN(), math.NaN()
	if n > 0 {
		middle = (first + last) / 2
	}
	if n > 1 {
		precision = last - first
	}
	if b, err := g.Bounds(); err == nil && n > 1 {
		bound = b.Precision
	}
	track.Add(at, precision, bound)
	for _, c := range r.members {
		if c.member.Group() == g {
			c.write(at, middle)
			c.count(at >= r.from && c.member.Correct())
		}
	}
}

// compare looks at the sound clocks together.
func (r *recorder) compare(at float64) {
	first, last, worst := math.Inf(1), math.Inf(-1), 0.0
	bounds := [2]float64{}
	n := 0
	for _, c := range r.clients {
		if !c.sound {
			continue
		}
		n++
		first, last, worst = min(first, c.error), max(last, c.error), max(worst, math.Abs(c.error))
		switch b := c.bound(); {
		case b > bounds[0]:
			bounds[0], bounds[1] = b, bounds[0]
		case b > bounds[1]:
			bounds[1] = b
		}
	}
	nothing := math.NaN()
	switch n {
	case 0:
		r.together.Add(at, nothing, nothing, nothing, nothing)
	case 1:
		r.together.Add(at, nothing, nothing, worst, bounds[0])
	default:
		r.together.Add(at, last-first, bounds[0]+bounds[1], worst, bounds[0])
	}
}

// found writes down a wrong interval, and puts it into the series: it must not hide between two samples.
func (r *recorder) found(c *watched, v sim.Violation) {
	if len(r.violations) < maxViolations {
		r.violations = append(r.violations, result.Violation{
			At: result.Of(v.At), Clock: c.host.Name, Outside: result.Of(v.Outside), HalfWidth: result.Of(v.HalfWidth), Error: result.Of(v.Error),
			Status: v.Status.String(), Text: "seen at: " + v.Side,
		})
	}
	if v.Side != "sample" {
		c.look(r.world)
		c.write(v.At, math.NaN())
		c.count(v.At >= r.from)
	}
}

// observe takes the changes of the status from the nodes' reports.
func (r *recorder) observe(h *sim.Host, p node.Report) {
	wanted := p.Topic == "clock" || p.Topic == "disruption" || p.Topic == "round" && p.Reason != reason.OK
	if h.Serves() && h.Member() == nil || len(r.events) >= maxEvents || !wanted {
		return
	}
	e := result.Event{At: result.Of(r.world.Now().Seconds()), Clock: h.Name, Kind: result.EventStatus, Reason: p.Reason.String()}
	if p.Topic == "clock" {
		e.Status = p.Status.String()
	} else {
		e.Kind = result.EventFinding
	}
	r.events = append(r.events, e)
}

// travelled counts a delay.
func (r *recorder) travelled(l *sim.Link, answer bool, delay float64) {
	key := linkKey{l, answer}
	c := r.delays[key]
	if c == nil {
		if len(r.order) >= maxLinks {
			return
		}
		c = &result.Classes{}
		r.delays[key] = c
		r.order = append(r.order, key)
	}
	c.Add(delay)
}

// partial sums up a run that was ended before its end.
func (r *recorder) partial() []sim.Result {
	var all []sim.Result
	for _, c := range r.clients {
		x := c.host.Result()
		s := r.request.Scenario
		x.Scenario, x.Seed, x.AssumptionsHold, x.Length = s.Name, r.request.Seed, s.AssumptionsHold, sim.Number(r.world.Now().Seconds())
		all = append(all, x)
	}
	for _, g := range r.world.Groups() {
		x, s := g.Result(), r.request.Scenario
		x.Scenario, x.Seed, x.AssumptionsHold, x.Length = s.Name, r.request.Seed, s.AssumptionsHold, sim.Number(r.world.Now().Seconds())
		all = append(all, x)
	}
	return all
}

// result puts everything together.
func (r *recorder) result(figures []sim.Result, properties []Properties, complete bool) *result.Result {
	s := r.request.Scenario
	source, holds, seed := string(r.request.Source), s.AssumptionsHold, r.request.Seed
	out := &result.Result{
		Version: r.request.Version, Command: r.request.Command, Mode: result.ModeSim, Title: fmt.Sprintf("%s, seed %d", s.Name, seed),
		Truth: result.TruthExact, Length: result.Of(r.world.Now().Seconds()), Complete: complete,
		Scenario: &result.Scenario{Name: s.Name, Summary: s.Summary, Source: &source, AssumptionsHold: &holds}, Seed: &seed,
		Violations: r.violations,
	}
	if text := strings.TrimSpace(s.Details); text != "" {
		out.Notes = append(out.Notes, strings.Join(strings.Fields(text), " "))
	}
	for _, h := range r.world.Hosts() {
		k := result.Clock{Name: h.Name, Role: result.RoleHost, Program: "clockd", Address: h.Address()}
		switch {
		case h.Master != nil:
			k.Role, k.Program = result.RoleMaster, ""
		case h.Member() != nil:
			correct := h.Member().Liar == nil
			if k.Role, k.Correct = result.RolePeer, &correct; !correct {
				k.Role = result.RoleLiar
			}
		case h.Serves():
			k.Role = result.RoleServer
		default:
			k.Correct = &holds
		}
		out.Clocks = append(out.Clocks, k)
	}
	var checked, wrong uint64
	worst := 0.0
	for i := range figures {
		checked, wrong = checked+figures[i].BoundChecks, wrong+figures[i].BoundViolations
		worst = max(worst, float64(figures[i].WorstViolation))
	}
	for i := range figures {
		// Of intervals of a group that have no point in common the first is told.
		if v := figures[i].FirstViolation; v != nil && figures[i].Group != nil && len(out.Violations) < maxViolations {
			out.Violations = append(out.Violations, result.Violation{
				At: result.Of(v.At), Outside: result.Of(v.Outside), HalfWidth: result.Of(v.HalfWidth), Error: result.Of(v.Error), Status: v.Status.String(),
				Text: "the first of " + figures[i].Client + ", seen at: " + v.Side,
			})
		}
	}
	out.Checks = result.Checks{Checked: &checked, Wrong: &wrong}
	if wrong > 0 {
		out.Checks.Worst = result.Of(worst)
	}
	out.Events = r.allEvents()
	out.Histograms = r.histograms()
	for _, p := range properties {
		out.AddTable(p.Table, "")
	}
	out.Properties = append(out.Properties, r.properties(figures)...)
	out.Rounds = r.rounds()
	for _, c := range append(slices.Clone(r.clients), r.members...) {
		out.AddStability(c.stability.Result().Points, c.host.Name)
	}
	return out
}

// rounds are those of the groups. The bound is that for the widest reading of the whole run: what a round begins with is what those before
// it left.
func (r *recorder) rounds() []result.Round {
	var all []result.Round
	for _, o := range r.observers {
		if o.group == nil {
			continue
		}
		most := math.NaN()
		if b, err := o.group.Bounds(); err == nil {
			most = b.Convergence
		}
		for _, x := range o.rounds {
			if x.used == 0 {
				continue
			}
			out := result.Round{
				Number: uint64(x.number), At: result.Of(x.at), Convergence: result.Of(x.convergence), Spread: result.Of(x.spread),
				Epsilon: result.Of(x.epsilon), Bound: result.Of(most),
			}
			all = append(all, out)
		}
	}
	return all
}

// allEvents are the reports and what the scenario did, in order.
func (r *recorder) allEvents() []result.Event {
	end := r.world.Now().Seconds()
	all := []result.Event{}
	for i := range r.request.Scenario.Faults {
		f := &r.request.Scenario.Faults[i]
		text := fault(f)
		clock := ""
		if r.world.Host(f.Client) != nil {
			clock = f.Client
		}
		if float64(f.At) <= end {
			all = append(all, result.Event{At: result.Of(float64(f.At)), Clock: clock, Kind: result.EventFault, Text: text})
		}
		if f.Until > 0 && float64(f.Until) <= end {
			all = append(all, result.Event{At: result.Of(float64(f.Until)), Clock: clock, Kind: result.EventRepair, Text: "over: " + text})
		}
	}
	all = append(all, r.events...)
	slices.SortStableFunc(all, func(a, b result.Event) int {
		switch {
		case a.At.Float() < b.At.Float():
			return -1
		case a.At.Float() > b.At.Float():
			return 1
		}
		return 0
	})
	return all
}

// fault says in words what a fault changes: all its keys but the times, as in the scenario's file.
func fault(f *sim.FaultConfig) string {
	var all []string
	v := reflect.ValueOf(f).Elem()
	for i := range v.NumField() {
		key := v.Type().Field(i).Tag.Get("toml")
		x := v.Field(i)
		if key == "" || key == "at" || key == "until" || x.IsZero() {
			continue
		}
		if x.Kind() == reflect.Pointer {
			x = x.Elem()
		}
		text := fmt.Sprint(x.Interface())
		if l, ok := x.Interface().(sim.Length); ok {
			text = fmt.Sprintf("%g s", float64(l))
		}
		if d, ok := x.Interface().(sim.Delay); ok {
			text = d.String()
		}
		all = append(all, key+" = "+text)
	}
	return strings.Join(all, ", ")
}

// histograms are the delays of each link and direction.
func (r *recorder) histograms() []result.Histogram {
	all := []result.Histogram{}
	for _, key := range r.order {
		h, ok := r.delays[key].Histogram()
		if !ok {
			continue
		}
		h.Name, h.Clock, h.Peer, h.Direction = "one-way delay", key.link.Client.Name, key.link.Server.Name, result.DirectionTo
		if key.answer {
			h.Direction = result.DirectionFrom
		}
		all = append(all, h)
	}
	return all
}
