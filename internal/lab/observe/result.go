package observe

import (
	"errors"
	"fmt"
	"math"

	"github.com/clockd/clockd/internal/lab/result"
	"github.com/clockd/clockd/reason"
)

// systemClockName is what this host's system clock is called in a result.
const systemClockName = "this host's system clock"

// WriteResult reads the log in a directory again and writes result.json, with the series as CSV, beside it.
func WriteResult(d *result.Directory, command []string) (*result.Result, error) {
	var s *series
	var a *Analysis
	var failed error
	begin := func(h *Header) {
		a = NewAnalysis(h)
		if s, failed = newSeries(d, h); failed == nil {
			a.Observer = s
		}
	}
	_, err := ReadLog(d.Path(), begin, func(r *Record) error { return a.Step(r) })
	if err = errors.Join(err, failed); err != nil {
		return nil, err
	}
	r := a.result(a.Report(true), command)
	r.Histograms = s.histograms()
	return r, d.Write(r)
}

// series are the figures over time.
type series struct {
	servers []*result.Track
	delays  []*result.Track
	classes []result.Classes
	hosts   []string
	system  *result.Track
	all     *result.Track
	// last is the time of the last value of each delay, since a series' times never decrease.
	last []float64
}

func newSeries(d *result.Directory, h *Header) (*series, error) {
	s := &series{hosts: h.Config.Hosts}
	clock := []result.Field{
		{Quantity: result.TimeError, Name: "offset from true time, estimated", Unit: "s"},
		{Quantity: result.IntervalLow, Name: "lower edge of the certain interval", Unit: "s"},
		{Quantity: result.IntervalHigh, Name: "upper edge of the certain interval", Unit: "s"},
		{Quantity: result.Uncertainty, Name: "half-width of what all servers prove of true time", Unit: "s"},
	}
	n := len(h.Config.Hosts)
	s.classes, s.last = make([]result.Classes, n), make([]float64, n)
	var err error
	track := func(name, clock string, fields ...result.Field) *result.Track {
		t, e := d.Track(name, clock, fields...)
		err = errors.Join(err, e)
		return t
	}
	for _, host := range h.Config.Hosts {
		name := Clean(host)
		s.servers = append(s.servers, track(name, name, clock...))
		s.delays = append(s.delays, track(name+"-delay", name, result.Field{Quantity: result.Delay, Name: "round trip", Unit: "s"}))
	}
	s.system = track("system-clock", systemClockName, clock...)
	s.all = track("all", "", result.Field{Quantity: result.Precision, Name: "greatest difference of two servers, estimated", Unit: "s"})
	return s, err
}

// Sampled is Observer's.
func (s *series) Sampled(server int, at float64, m Measured) {
	s.classes[server].Add(m.Delay)
	s.last[server] = max(s.last[server], at)
	s.delays[server].Add(s.last[server], m.Delay)
}

// Compared is Observer's. The time errors are relative to the statistical estimate of true time, and their edges too.
func (s *series) Compared(c *Comparison) {
	none := math.NaN()
	truth, half := none, none
	if c.Fused.Reason == reason.OK {
		truth, half = c.Fused.Offset, (c.Fused.High-c.Fused.Low)/2
	}
	least, most := math.Inf(1), math.Inf(-1)
	for i, t := range s.servers {
		if x := &c.Servers[i]; x.takesPart() {
			g := &x.Reading
			t.Add(c.At, g.Offset-truth, g.Low-truth, g.High-truth, half)
			least, most = min(least, g.Offset), max(most, g.Offset)
			continue
		}
		t.Add(c.At, none, none, none, none)
	}
	// The system clock is −System from the raw timeline, and true time is in [Low, High] from it.
	s.system.Add(c.At, -c.System-truth, -c.System-c.SystemError-(c.Fused.High+0*truth), -c.System+c.SystemError-(c.Fused.Low+0*truth), half)
	if c.Taking < 2 {
		most = none
	}
	s.all.Add(c.At, most-least)
}

func (s *series) histograms() []result.Histogram {
	var all []result.Histogram
	for i := range s.classes {
		if h, ok := s.classes[i].Histogram(); ok {
			h.Name, h.Clock, h.Peer, h.Direction = "round trip", Clean(s.hosts[i]), "this host", result.DirectionRoundTrip
			all = append(all, h)
		}
	}
	return all
}

// result turns a report into the common format of all modes.
func (a *Analysis) result(r *Report, command []string) *result.Result {
	began := r.Began
	x := &result.Result{
		Version: r.Version, Command: command, Mode: result.ModeObserve, Truth: result.TruthEstimated, Began: &began, Length: result.Of(a.passed),
		Complete: r.Ended != nil && *r.Ended == EndLength, Title: fmt.Sprintf("%s observed for %v", count(len(r.Servers), "NTP server"), round(r.Measured)),
		Notes: notes(r), Properties: properties(r),
	}
	if r.Counter != nil {
		x.Machine = result.ThisMachine(r.Counter.Spec)
	}
	for i := range r.Servers {
		s := &r.Servers[i]
		k := result.Clock{Name: Clean(s.Host), Role: result.RoleServer}
		if s.Address != nil {
			k.Address = *s.Address
		}
		x.Clocks = append(x.Clocks, k)
		x.Stability = append(x.Stability, curves(k.Name, s.Stability)...)
	}
	x.Clocks = append(x.Clocks, result.Clock{Name: systemClockName, Role: result.RoleHost})
	for _, g := range r.Gaps {
		x.Events = append(x.Events, result.Event{At: result.Of(g.At), Kind: result.EventNote, Reason: g.Reason.String(), Text: Clean(g.Text)})
	}
	for _, e := range r.Events {
		v := result.Event{At: result.Of(e.At), Kind: result.EventFinding, Reason: e.Reason.String(), Text: Clean(e.Text)}
		if e.Server != nil {
			v.Clock = Clean(*e.Server)
		}
		x.Events = append(x.Events, v)
	}
	x.Disagreement = disagreement(r)
	x.Plots = pairPlots(r)
	return x
}

// notes are the paragraphs that a reader must know.
func notes(r *Report) []string {
	list := []string{
		"There is no ground truth here. A server's interval is certain on two conditions: the server is within the error that it states itself, " +
			"and this host's counter within its drift bound. Two servers whose intervals had no common point at one instant contradict each other: at " +
			"least one of them is false.",
		"True time is the statistical estimate of all servers together; its uncertainty, drawn as such, is what they prove. The estimate knows nothing " +
			"of paths that are slower one way than the other.",
		"The local reference is this host's raw counter: a step of the system clock moves no series but its own. The stability of a server is that of " +
			"the server, the network and this host's oscillator together; in the differences of two servers the oscillator cancels out.",
		r.together(),
	}
	if r.GapsTotal > 0 {
		list = append(list, fmt.Sprintf("%s in which nothing was measured.", count(int(r.GapsTotal), "gap")))
	}
	return list
}

// curves are the measures of stability of one clock.
func curves(clock string, s *Stability) []result.Curve {
	if s == nil {
		return nil
	}
	var all []result.Curve
	for _, m := range []struct {
		statistic result.Statistic
		unit      string
		get       func(*StabilityPoint) (*float64, uint64)
	}{
		{result.OADEV, "1", func(p *StabilityPoint) (*float64, uint64) { return p.ADEV, p.ADEVTerms }},
		{result.MDEV, "1", func(p *StabilityPoint) (*float64, uint64) { return p.MDEV, p.MDEVTerms }},
		{result.TDEV, "s", func(p *StabilityPoint) (*float64, uint64) { return p.TDEV, p.MDEVTerms }},
		{result.MTIE, "s", func(p *StabilityPoint) (*float64, uint64) { return p.MTIE, p.MTIEWindows }},
	} {
		c := result.Curve{Statistic: m.statistic, Clock: clock, Unit: m.unit}
		for i := range s.Points {
			if v, n := m.get(&s.Points[i]); v != nil {
				c.Tau, c.Values, c.Counts = append(c.Tau, s.Points[i].Tau), append(c.Values, *v), append(c.Counts, n)
			}
		}
		if len(c.Tau) > 0 {
			all = append(all, c)
		}
	}
	return all
}

// disagreement compares the servers in pairs, when they were farthest apart for certain, or else now.
func disagreement(r *Report) *result.Disagreement {
	n := len(r.Servers)
	d := &result.Disagreement{}
	for i := range r.Servers {
		d.Clocks = append(d.Clocks, Clean(r.Servers[i].Host))
		d.Offset, d.Uncertainty = append(d.Offset, make([]result.Number, n)), append(d.Uncertainty, make([]result.Number, n))
		d.Disagree = append(d.Disagree, make([]bool, n))
		d.Offset[i][i], d.Uncertainty[i][i] = result.Of(0), result.Of(0) // of a clock from itself
	}
	k := 0
	for i := range n {
		for j := i + 1; j < n; j++ {
			p := &r.Pairs[k]
			k++
			x := p.Worst
			if x == nil {
				x = p.Latest
			}
			if x == nil {
				continue
			}
			middle, half := (x.Least+x.Most)/2, result.Of((x.Most-x.Least)/2)
			d.Offset[i][j], d.Offset[j][i] = result.Of(middle), result.Of(-middle)
			d.Uncertainty[i][j], d.Uncertainty[j][i] = half, half
			d.Disagree[i][j], d.Disagree[j][i] = p.Apart > 0, p.Apart > 0
		}
	}
	return d
}

// pairPlots shows the stability of the servers against each other.
func pairPlots(r *Report) []result.Plot {
	adev := result.Plot{
		Title: "Allan deviation of two servers against each other", Text: "This host's oscillator cancels out: what is left are the two servers and the network.",
		X: result.Axis{Label: "τ", Unit: "s", Log: true}, Y: result.Axis{Label: "ADEV", Unit: "1", Log: true},
	}
	tdev := adev
	tdev.Title, tdev.Y = "Time deviation of two servers against each other", result.Axis{Label: "TDEV", Unit: "s", Log: true}
	for i := range r.Pairs {
		p := &r.Pairs[i]
		if p.Stability == nil {
			continue
		}
		for _, c := range curves("", p.Stability) {
			curve := result.PlotCurve{Name: Clean(p.A) + " − " + Clean(p.B), X: c.Tau, Y: c.Values}
			switch c.Statistic {
			case result.OADEV:
				adev.Curves = append(adev.Curves, curve)
			case result.TDEV:
				tdev.Curves = append(tdev.Curves, curve)
			}
		}
	}
	if len(adev.Curves) == 0 {
		return nil
	}
	return []result.Plot{adev, tdev}
}
