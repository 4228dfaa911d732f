package report

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/clockd/clockd/internal/lab/result"
)

// Run is a result with the name that it has among others.
type Run struct {
	Label  string
	Result *result.Result
}

// Scale is how an axis is divided.
type Scale string

// The scales: symmetric logarithmic is linear near 0 and logarithmic on both sides of it, so that a microsecond and a second are
// both seen.
const (
	Linear       Scale = "linear"
	Log          Scale = "log"
	SymmetricLog Scale = "symlog"
)

// Axis is one axis of a chart.
type Axis struct {
	Label string `json:"label"`
	Unit  string `json:"unit"`
	Scale Scale  `json:"scale"`
	// Threshold is where a symmetric logarithmic scale begins to be linear.
	Threshold float64 `json:"threshold"`
}

// Shape is how a curve is drawn.
type Shape string

// The shapes.
const (
	Line   Shape = "line"
	Points Shape = "points"
	Both   Shape = "both"
	Steps  Shape = "steps"
)

// Curve is one curve of a chart.
type Curve struct {
	Name string `json:"name"`
	// Style is the number of the colour and the dashes.
	Style int   `json:"style"`
	Shape Shape `json:"shape"`
	// Bound: what is claimed or promised, drawn thin.
	Bound bool   `json:"bound"`
	X     coarse `json:"x"`
	Y     coarse `json:"y"`
}

// Band is the area between two curves.
type Band struct {
	Low  int `json:"low"`
	High int `json:"high"`
}

// Mark is an event in a chart over time.
type Mark struct {
	At float64 `json:"at"`
	// Number is the event's in the table.
	Number int    `json:"number"`
	Kind   string `json:"kind"`
	Text   string `json:"text"`
}

// Chart describes a picture.
type Chart struct {
	ID    string `json:"id"`
	Title string `json:"title"`
	// Text says what is to be seen.
	Text   string  `json:"text"`
	X      Axis    `json:"x"`
	Y      Axis    `json:"y"`
	Curves []Curve `json:"curves"`
	Bands  []Band  `json:"bands"`
	Marks  []Mark  `json:"marks"`
	// Time: the x axis is the time since the beginning, common to all such charts. Zero: y = 0 is the truth.
	Time bool `json:"time"`
	Zero bool `json:"zero"`
	// Small: it may share its row with another.
	Small bool `json:"small"`
}

// coarse are figures as pictures need them: eight digits.
type coarse []float64

// MarshalJSON writes numbers and nulls.
func (c coarse) MarshalJSON() ([]byte, error) {
	b := append(make([]byte, 0, 2+10*len(c)), '[')
	for i, x := range c {
		if i > 0 {
			b = append(b, ',')
		}
		if math.IsNaN(x) || math.IsInf(x, 0) {
			b = append(b, "null"...)
			continue
		}
		b = strconv.AppendFloat(b, x, 'g', 8, 64)
	}
	return append(b, ']'), nil
}

// What a page shows at the most; the rest is in result.json and the CSV files, and the page says so.
const (
	maxCurves    = 24
	maxIntervals = 12
	maxMarks     = 200
)

// builder makes the charts of some runs.
type builder struct {
	runs   []Run
	styles map[string]int
	charts []Chart
}

// Charts returns the pictures of the runs, curves of several runs in common ones.
func Charts(runs []Run) []Chart {
	b := &builder{runs: runs, styles: map[string]int{}}
	b.errors()
	b.intervals()
	b.quantities("precision", "Precision π_v", "How far apart two correct clocks are, beside what is claimed or promised of it.", true,
		result.Precision, result.PrecisionBound)
	b.quantities("accuracy", "Accuracy α_v", "How far from true time the worst correct clock is, beside what is claimed or promised of it.", true,
		result.Accuracy, result.AccuracyBound)
	b.quantities("claimed", "Claimed bound", "Half the length of the interval that each clock claims.", true, result.ClaimedBound)
	b.quantities("uncertainty", "Uncertainty of the measurement", "How wrong each measured time error can be.", true, result.Uncertainty)
	b.quantities("frequency", "Frequency error", "Rate of each clock against true time, minus 1.", false, result.FrequencyError)
	b.quantities("delays", "Delays", "How long packets were on their way.", true, result.Delay)
	b.stability()
	b.histograms()
	b.rounds()
	b.plots()
	b.pair()
	return b.charts
}

// pair gives a small chart that has no neighbour the whole row.
func (b *builder) pair() {
	for i := 0; i < len(b.charts); i++ {
		if !b.charts[i].Small {
			continue
		}
		if i+1 == len(b.charts) || !b.charts[i+1].Small {
			b.charts[i].Small = false
		}
		i++
	}
}

// style returns the number of the style of a clock in a run, the same in all charts.
func (b *builder) style(run int, clock string) int {
	key := strconv.Itoa(run) + "\x00" + clock
	n, ok := b.styles[key]
	if !ok {
		n = len(b.styles)
		b.styles[key] = n
	}
	return n
}

// name puts a curve's name together: run, clock, peer, what it is.
func (b *builder) name(run int, parts ...string) string {
	var all []string
	if len(b.runs) > 1 {
		all = append(all, b.runs[run].Label)
	}
	for _, p := range parts {
		if p != "" {
			all = append(all, p)
		}
	}
	if all == nil {
		return "all clocks"
	}
	return strings.Join(all, " · ")
}

func timeAxis() Axis { return Axis{Label: "time since the beginning", Unit: "s", Scale: Linear} }

// alone reports whether a chart has one measured curve: it needs no dashes to be told from others.
func (c *Chart) alone() bool {
	n := 0
	for i := range c.Curves {
		if !c.Curves[i].Bound {
			n++
		}
	}
	return n <= 1
}

// add puts a chart in, unless it is empty; too many curves are cut off, visibly.
func (b *builder) add(c Chart) {
	c.Curves = slices.DeleteFunc(c.Curves, func(k Curve) bool { return len(k.X) == 0 })
	if len(c.Curves) == 0 {
		return
	}
	if n := len(c.Curves); n > maxCurves {
		c.Curves = c.Curves[:maxCurves]
		c.Text += fmt.Sprintf(" The first %d of %d curves are shown; result.json has all.", maxCurves, n)
	}
	if c.Bands == nil {
		c.Bands = []Band{}
	}
	if c.Marks == nil {
		c.Marks = []Mark{}
	}
	b.charts = append(b.charts, c)
}

// marks are the events that concern a clock, or all if clock is "". Only one run's events are marked.
func (b *builder) marks(clock string) []Mark {
	var all []Mark
	if len(b.runs) > 1 {
		return all
	}
	r := b.runs[0].Result
	for i := range r.Events {
		e := &r.Events[i]
		at, ok := e.At.Value()
		mine := clock == "" && (e.Kind != result.EventStatus || len(r.Clocks) <= 1) || clock != "" && (e.Clock == clock || e.Clock == "")
		if ok && mine && len(all) < maxMarks {
			all = append(all, Mark{at, i + 1, string(e.Kind), eventText(e)})
		}
	}
	for i := range r.Violations {
		v := &r.Violations[i]
		at, ok := v.At.Value()
		if ok && (clock == "" || v.Clock == clock) && len(all) < 2*maxMarks {
			all = append(all, Mark{at, 0, "violation", v.Clock + ": true time was outside of the interval"})
		}
	}
	return all
}

func eventText(e *result.Event) string {
	var all []string
	for _, s := range []string{e.Clock, e.Status, e.Reason, e.Text} {
		if s != "" {
			all = append(all, s)
		}
	}
	return strings.Join(all, ": ")
}

// errors is the picture of all time errors.
func (b *builder) errors() {
	c := Chart{
		ID: "time-error", Title: "Time error of every clock", Text: "Clock − true time; 0 is true time.", X: timeAxis(),
		Y: Axis{Label: "time error", Unit: "s"}, Time: true, Zero: true, Marks: b.marks(""),
	}
	for i, run := range b.runs {
		r := run.Result
		if r.Truth == result.TruthEstimated {
			c.Text = "Clock − the observer's best knowledge of true time; see the uncertainty."
		}
		for j := range r.Series {
			if s := &r.Series[j]; s.Quantity == result.TimeError {
				c.Curves = append(c.Curves, b.curve(i, s, s.Peer))
			}
		}
	}
	if len(b.runs) == 1 && len(c.Curves) == 1 {
		return // the picture of its interval shows it
	}
	c.Y.choose(c.Curves)
	b.add(c)
}

func (b *builder) curve(run int, s *result.Series, also ...string) Curve {
	return Curve{
		Name: b.name(run, append([]string{s.Clock}, also...)...), Style: b.style(run, s.Clock), Shape: Line, X: coarse(s.Times), Y: coarse(s.Values),
	}
}

// within names a curve in a picture that belongs to one clock.
func within(k Curve, name string) Curve {
	k.Name = name
	return k
}

// intervals has a picture for each clock: its error inside, or outside, of the interval that it claims.
func (b *builder) intervals() {
	if len(b.runs) > 1 {
		return
	}
	r := b.runs[0].Result
	shown, left := 0, 0
	for i := range r.Clocks {
		k := &r.Clocks[i]
		var c Chart
		var low, high = -1, -1
		for j := range r.Series {
			s := &r.Series[j]
			if s.Clock != k.Name || s.Peer != "" {
				continue
			}
			switch s.Quantity {
			case result.TimeError:
				c.Curves = append(c.Curves, within(b.curve(0, s), "time error"))
			case result.IntervalLow, result.IntervalHigh:
				edge := within(b.curve(0, s), "claimed: latest")
				edge.Bound = true
				if s.Quantity == result.IntervalLow {
					low, edge.Name = len(c.Curves), "claimed: earliest"
				} else {
					high = len(c.Curves)
				}
				c.Curves = append(c.Curves, edge)
			}
		}
		if len(c.Curves) == 0 {
			continue
		}
		if shown == maxIntervals {
			left++
			continue
		}
		shown++
		if low >= 0 && high >= 0 {
			c.Bands = []Band{{low, high}}
		}
		c.ID, c.Title = fmt.Sprintf("interval-%d", i+1), k.Name+": time error and claimed interval"
		c.Text = "The claim holds wherever 0, which is true time, is inside of the band."
		if k.Role == result.RoleLiar {
			c.Text = "This clock lies on purpose: its claim need not hold. " + c.Text
		} else if k.Correct != nil && !*k.Correct {
			c.Text = "The assumptions that this clock rests on are broken on purpose: its claim need not hold. " + c.Text
		}
		c.X, c.Y = timeAxis(), Axis{Label: "clock − true time", Unit: "s"}
		c.Time, c.Zero, c.Small, c.Marks = true, true, len(r.Clocks) > 1, b.marks(k.Name)
		c.Y.choose(c.Curves)
		b.add(c)
	}
	if last := len(b.charts) - 1; left > 0 && last >= 0 {
		b.charts[last].Text += fmt.Sprintf(" The pictures of %d more clocks are left out; their series are in result.json.", left)
	}
	if shown == 1 && len(b.charts) == 1 {
		b.charts[0].Small = false
	}
}

// quantities is a picture over time of some quantities, the first of which is measured.
func (b *builder) quantities(id, title, text string, positive bool, all ...result.Quantity) {
	c := Chart{ID: id, Title: title, Text: text, X: timeAxis(), Y: Axis{Label: strings.ToLower(title), Unit: "s"}, Time: true, Marks: b.marks("")}
	for i, run := range b.runs {
		for j := range run.Result.Series {
			s := &run.Result.Series[j]
			if !slices.Contains(all, s.Quantity) {
				continue
			}
			k := b.curve(i, s, s.Peer, s.Name)
			k.Bound = s.Quantity != all[0]
			c.Y.Unit = s.Unit
			c.Curves = append(c.Curves, k)
		}
	}
	if id == "claimed" && len(b.runs) == 1 && len(b.charts) > 0 && b.drawsIntervals() {
		return
	}
	if positive {
		c.Y.chooseLog(c.Curves)
	} else {
		c.Y.choose(c.Curves)
	}
	b.add(c)
}

// drawsIntervals reports whether the bounds are to be seen as bands already.
func (b *builder) drawsIntervals() bool {
	return slices.ContainsFunc(b.charts, func(c Chart) bool { return len(c.Bands) > 0 })
}

// names of the measures of stability, in the order in which they are shown.
var statistics = []struct {
	statistic   result.Statistic
	title, text string
}{
	{result.ADEV, "Allan deviation", "Frequency stability against the observation interval τ."},
	{result.OADEV, "Overlapping Allan deviation", "Frequency stability against the observation interval τ."},
	{result.MDEV, "Modified Allan deviation", "Frequency stability against the observation interval τ; tells white from flicker phase noise."},
	{result.HDEV, "Hadamard deviation", "Frequency stability against the observation interval τ; a constant drift does not show."},
	{result.TDEV, "Time deviation", "Time stability against the observation interval τ."},
	{result.MTIE, "Maximum time interval error", "The greatest change of the time error within any window of length τ."},
	{result.EnvelopeRate, "Envelope rate ρ_α", "MTIE divided by the window's length: the long-term drift rate."},
}

// stability has a picture for each measure.
func (b *builder) stability() {
	for _, m := range statistics {
		c := Chart{
			ID: string(m.statistic), Title: m.title + abbreviation(m.statistic), Text: m.text,
			X: Axis{Label: "observation interval τ", Unit: "s", Scale: Log}, Y: Axis{Label: m.title, Scale: Log}, Small: true,
		}
		for i, run := range b.runs {
			for j := range run.Result.Stability {
				s := &run.Result.Stability[j]
				if s.Statistic != m.statistic {
					continue
				}
				c.Y.Unit = s.Unit
				k := Curve{Name: b.name(i, s.Clock), Style: b.style(i, s.Clock), Shape: Both, X: coarse(s.Tau), Y: positive(s.Values)}
				at := len(c.Curves)
				c.Curves = append(c.Curves, k)
				if len(s.Low) > 0 && len(b.runs) == 1 && len(run.Result.Stability) < 2*maxIntervals {
					low, high := k, k
					percent := ""
					if p, ok := s.Confidence.Value(); ok {
						percent = fmt.Sprintf("%.4g %% ", 100*p)
					}
					low.Name, low.Y, low.Bound, low.Shape = b.name(i, s.Clock, percent+"confidence, lower limit"), positive(s.Low), true, Line
					high.Name, high.Y, high.Bound, high.Shape = b.name(i, s.Clock, percent+"confidence, upper limit"), positive(s.High), true, Line
					c.Curves = append(c.Curves, low, high)
					c.Bands = append(c.Bands, Band{at + 1, at + 2})
				}
			}
		}
		b.add(c)
	}
}

// positive leaves out what a logarithmic scale cannot show.
func positive(x result.Column) coarse {
	y := make(coarse, len(x))
	for i, v := range x {
		y[i] = v
		if v <= 0 {
			y[i] = math.NaN()
		}
	}
	return y
}

// histograms is a picture of all delays.
func (b *builder) histograms() {
	c := Chart{
		ID: "histogram", Title: "Delays: how often", Text: "The part of all packets in each class.",
		X: Axis{Label: "delay", Unit: "s", Scale: Log}, Y: Axis{Label: "part of the packets", Unit: "1", Scale: Linear}, Small: true,
	}
	for i, run := range b.runs {
		for j := range run.Result.Histograms {
			h := &run.Result.Histograms[j]
			way := map[result.Direction]string{result.DirectionTo: h.Clock + " → " + h.Peer, result.DirectionFrom: h.Peer + " → " + h.Clock, result.DirectionRoundTrip: h.Clock + " ⇄ " + h.Peer}[h.Direction]
			k := Curve{Name: b.name(i, way), Style: b.style(i, "link "+way), Shape: Steps}
			c.X.Unit = h.Unit
			total := 0.0
			for _, n := range h.Counts {
				total += float64(n)
			}
			for n, edge := range h.Edges {
				y := 0.0
				if n < len(h.Counts) && total > 0 {
					y = float64(h.Counts[n]) / total
				}
				if edge > 0 {
					k.X, k.Y = append(k.X, edge), append(k.Y, y)
				}
			}
			c.Curves = append(c.Curves, k)
		}
	}
	b.add(c)
}

// rounds is the picture of the agreement, round by round.
func (b *builder) rounds() {
	c := Chart{
		ID: "rounds", Title: "Rounds of agreement", Text: "How far apart the correct clocks were before each round and after it (δ_v), the reading error ε, and what theory promises.",
		X: Axis{Label: "round", Unit: "count", Scale: Linear}, Y: Axis{Label: "distance", Unit: "s", Scale: Log}, Small: true,
	}
	figures := []struct {
		name  string
		get   func(*result.Round) result.Number
		bound bool
	}{
		{"δ_v after the round", func(r *result.Round) result.Number { return r.Convergence }, false},
		{"spread before", func(r *result.Round) result.Number { return r.Spread }, false},
		{"reading error ε", func(r *result.Round) result.Number { return r.Epsilon }, false},
		{"bound of δ_v", func(r *result.Round) result.Number { return r.Bound }, true},
	}
	for i, run := range b.runs {
		var views []string
		for j := range run.Result.Rounds {
			if v := run.Result.Rounds[j].Clock; !slices.Contains(views, v) {
				views = append(views, v)
			}
		}
		for _, view := range views {
			for _, f := range figures {
				k := Curve{Name: b.name(i, view, f.name), Style: b.style(i, "round "+f.name+view), Shape: Both, Bound: f.bound}
				if f.bound {
					k.Shape = Line
				}
				for j := range run.Result.Rounds {
					r := &run.Result.Rounds[j]
					if x, ok := f.get(r).Value(); ok && x > 0 && r.Clock == view {
						k.X, k.Y = append(k.X, float64(r.Number)), append(k.Y, x)
					}
				}
				sortByX(&k)
				c.Curves = append(c.Curves, k)
			}
		}
	}
	b.add(c)
}

// sortByX puts the points of a curve in order.
func sortByX(k *Curve) {
	order := make([]int, len(k.X))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int {
		switch {
		case k.X[i] < k.X[j]:
			return -1
		case k.X[i] > k.X[j]:
			return 1
		}
		return 0
	})
	x, y := make(coarse, len(order)), make(coarse, len(order))
	for to, from := range order {
		x[to], y[to] = k.X[from], k.Y[from]
	}
	k.X, k.Y = x, y
}

// plots are the pictures that a mode has of its own.
func (b *builder) plots() {
	for i, run := range b.runs {
		for j := range run.Result.Plots {
			p := &run.Result.Plots[j]
			c := Chart{ID: fmt.Sprintf("plot-%d-%d", i+1, j+1), Title: b.title(i, p.Title), Text: p.Text, X: axis(p.X), Y: axis(p.Y)}
			for n := range p.Curves {
				q := &p.Curves[n]
				k := Curve{Name: q.Name, Style: n, Shape: Line, Bound: q.Bound}
				if q.Points {
					k.Shape = Points
				}
				for m, x := range q.X {
					if math.IsNaN(x) || p.X.Log && x <= 0 {
						continue
					}
					y := q.Y[m]
					if p.Y.Log && y <= 0 {
						y = math.NaN()
					}
					k.X, k.Y = append(k.X, x), append(k.Y, y)
				}
				sortByX(&k)
				c.Curves = append(c.Curves, k)
			}
			b.add(c)
		}
	}
}

func (b *builder) title(run int, title string) string {
	if len(b.runs) > 1 {
		return b.runs[run].Label + ": " + title
	}
	return title
}

func axis(a result.Axis) Axis {
	if a.Log {
		return Axis{Label: a.Label, Unit: a.Unit, Scale: Log}
	}
	return Axis{Label: a.Label, Unit: a.Unit, Scale: Linear}
}

// manyTimes: a range this much wider than what is usual hides what is usual on a linear scale.
const manyTimes = 30

// choose takes a linear scale, or, where a linear one would make a flat line of what is usual, a symmetric logarithmic one.
func (a *Axis) choose(curves []Curve) {
	usual, greatest := magnitudes(curves, false)
	a.Scale, a.Threshold = Linear, 1
	if usual > 0 {
		a.Threshold = math.Pow(10, math.Floor(math.Log10(usual)))
	}
	if greatest > manyTimes*usual && usual > 0 {
		a.Scale = SymmetricLog
	}
}

// chooseLog takes a logarithmic scale where it can show all there is, and where the range is wide.
func (a *Axis) chooseLog(curves []Curve) {
	a.choose(curves)
	smallest := math.Inf(1)
	for i := range curves {
		for _, y := range curves[i].Y {
			if y < smallest {
				smallest = y
			}
		}
	}
	_, greatest := magnitudes(curves, true)
	if smallest > 0 && greatest > manyTimes/3*smallest {
		a.Scale = Log
	}
}

// magnitudes returns the median of |y| of the measured curves (of all if bounds), the one of the smallest of them, and the greatest
// of all curves.
func magnitudes(curves []Curve, bounds bool) (usual, greatest float64) {
	usual = math.Inf(1)
	for i := range curves {
		k := &curves[i]
		var all []float64
		for _, y := range k.Y {
			if m := math.Abs(y); m > 0 && !math.IsInf(m, 0) {
				all = append(all, m)
				greatest = max(greatest, m)
			}
		}
		if len(all) == 0 || k.Bound && !bounds {
			continue
		}
		slices.Sort(all)
		usual = min(usual, all[len(all)/2])
	}
	if math.IsInf(usual, 0) {
		usual = 0
	}
	return usual, greatest
}

// abbreviation is what metrologists call a measure.
func abbreviation(s result.Statistic) string {
	if s == result.EnvelopeRate {
		return ""
	}
	return " (" + strings.ToUpper(string(s)) + ")"
}
