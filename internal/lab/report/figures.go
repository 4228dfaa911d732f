package report

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// The size of a picture, and how fine its PNG is.
const (
	figureWidth  = 24 * vg.Centimeter
	figureHeight = 13 * vg.Centimeter
	figureDPI    = 110
)

// Figure is a picture as a file.
type Figure struct {
	Name string
	Data []byte
}

// Figures draws the charts as SVG and PNG.
func Figures(charts []Chart) ([]Figure, error) {
	var all []Figure
	for i := range charts {
		c := &charts[i]
		svg := vgsvg.New(figureWidth, figureHeight)
		png := vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(figureWidth, figureHeight), vgimg.UseDPI(figureDPI))}
		for _, canvas := range []vg.CanvasSizer{svg, png} {
			if err := c.draw(draw.New(canvas)); err != nil {
				return nil, fmt.Errorf("the picture %s: %w", c.ID, err)
			}
		}
		var s, p bytes.Buffer
		if _, err := svg.WriteTo(&s); err != nil {
			return nil, fmt.Errorf("the picture %s: %w", c.ID, err)
		}
		if _, err := png.WriteTo(&p); err != nil {
			return nil, fmt.Errorf("the picture %s: %w", c.ID, err)
		}
		all = append(all, Figure{c.ID + ".svg", s.Bytes()}, Figure{c.ID + ".png", p.Bytes()})
	}
	return all, nil
}

// okabeIto are the colours of Okabe and Ito (2008) on white, without their yellow, which white swallows.
func okabeIto(n int) color.Color {
	all := [...]color.RGBA{
		{0x00, 0x72, 0xb2, 0xff}, {0xd5, 0x5e, 0x00, 0xff}, {0x00, 0x9e, 0x73, 0xff}, {0xcc, 0x79, 0xa7, 0xff}, {0xe6, 0x9f, 0x00, 0xff},
		{0x56, 0xb4, 0xe9, 0xff}, {0x40, 0x40, 0x40, 0xff},
	}
	return all[n%len(all)]
}

// dashes are a second way to tell curves apart.
func dashes(n int) []vg.Length {
	all := [...][]vg.Length{nil, {vg.Points(7), vg.Points(3)}, {vg.Points(2), vg.Points(2)}, {vg.Points(8), vg.Points(2), vg.Points(2), vg.Points(2)}}
	return all[n%len(all)]
}

// shapes are the marks of points.
func shapes(n int) draw.GlyphDrawer {
	all := [...]draw.GlyphDrawer{draw.CircleGlyph{}, draw.SquareGlyph{}, draw.TriangleGlyph{}, draw.PlusGlyph{}, draw.CrossGlyph{}, draw.RingGlyph{}}
	return all[n%len(all)]
}

// draw draws the chart, with its legend on the right.
func (c *Chart) draw(canvas draw.Canvas) error {
	p := plot.New()
	p.BackgroundColor = color.White
	p.Title.Text = c.Title
	p.Title.Padding = vg.Points(8)
	axisStyle(&p.X, ticker{of: c.X, time: c.Time})
	axisStyle(&p.Y, ticker{of: c.Y})
	sans(&p.Title.TextStyle.Font, 15)
	p.Add(grid())
	if err := c.bands(p); err != nil {
		return err
	}
	legend := plot.NewLegend()
	sans(&legend.TextStyle.Font, 9)
	legend.Top, legend.Left, legend.YOffs, legend.Padding = true, true, -vg.Points(30), vg.Points(2)
	for i := range c.Curves {
		if err := c.Curves[i].add(p, &legend, c); err != nil {
			return err
		}
	}
	if c.Zero && p.Y.Min <= 0 && p.Y.Max >= 0 && p.X.Max > p.X.Min {
		c.line(p, plotter.XYs{{X: p.X.Min, Y: 0}, {X: p.X.Max, Y: 0}}, draw.LineStyle{Color: color.Black, Width: vg.Points(0.8)})
	}
	c.marks(p)
	c.limits(p)
	if len(c.Curves) > 1 {
		width := legend.Rectangle(canvas).Size().X + vg.Points(14)
		legend.Draw(draw.Crop(canvas, canvas.Size().X-width, 0, 0, 0))
		canvas = draw.Crop(canvas, 0, -width, 0, 0)
	}
	p.Draw(draw.Crop(canvas, vg.Points(6), -vg.Points(10), vg.Points(6), -vg.Points(6)))
	return nil
}

// sans sets a font.
func sans(f *font.Font, size float64) {
	f.Typeface, f.Variant, f.Size = "Liberation", "Sans", vg.Points(size)
}

func grid() *plotter.Grid {
	g := plotter.NewGrid()
	pale := draw.LineStyle{Color: color.Gray{0xe4}, Width: vg.Points(0.5)}
	g.Vertical, g.Horizontal = pale, pale
	return g
}

func axisStyle(a *plot.Axis, t ticker) {
	of := t.of
	a.Label.Text = of.Label
	sans(&a.Label.TextStyle.Font, 11)
	sans(&a.Tick.Label.Font, 9)
	a.Label.Padding = vg.Points(4)
	a.Tick.Marker = t
	switch of.Scale {
	case Log:
		a.Scale = plot.LogScale{}
	case SymmetricLog:
		a.Scale = symmetric{of.Threshold}
	}
}

// limits widens what would be no range, and keeps logarithms possible.
func (c *Chart) limits(p *plot.Plot) {
	for _, a := range []struct {
		axis *plot.Axis
		of   Axis
	}{{&p.X, c.X}, {&p.Y, c.Y}} {
		low, high := a.axis.Min, a.axis.Max
		if a.of.Scale == Log {
			if !(low > 0) {
				low = high / 10
			}
			if !(high > low) {
				low, high = low/2, high*2
			}
			if !(low > 0) || math.IsInf(high, 0) {
				low, high = 0.1, 1
			}
		} else if !(high > low) {
			d := max(math.Abs(high)/2, 1e-12)
			low, high = low-d, high+d
		}
		a.axis.Min, a.axis.Max = low, high
	}
}

// line adds a line that cannot be wrong.
func (c *Chart) line(p *plot.Plot, points plotter.XYs, style draw.LineStyle) {
	l, err := plotter.NewLine(points)
	if err != nil {
		return
	}
	l.LineStyle = style
	p.Add(l)
}

// pieces cuts a curve where values are missing.
func (k *Curve) pieces() []plotter.XYs {
	var all []plotter.XYs
	var one plotter.XYs
	for i, y := range k.Y {
		if math.IsNaN(y) || math.IsInf(y, 0) {
			if one != nil {
				all, one = append(all, one), nil
			}
			continue
		}
		one = append(one, plotter.XY{X: k.X[i], Y: y})
	}
	if one != nil {
		all = append(all, one)
	}
	return all
}

// add draws the curve and names it in the legend.
func (k *Curve) add(p *plot.Plot, legend *plot.Legend, c *Chart) error {
	style := draw.LineStyle{Color: okabeIto(k.Style), Width: vg.Points(1.4), Dashes: dashes(k.Style)}
	if c.alone() {
		style.Dashes = nil
	}
	if k.Bound {
		style.Width, style.Dashes = vg.Points(0.7), []vg.Length{vg.Points(4), vg.Points(2)}
		if c.Time {
			style.Width, style.Dashes = vg.Points(0.6), nil // dashes of a line that goes up and down all the time are noise
		}
	}
	glyph := draw.GlyphStyle{Color: okabeIto(k.Style), Radius: vg.Points(2.5), Shape: shapes(k.Style)}
	for i, piece := range k.pieces() {
		var thumbs []plot.Thumbnailer
		if k.Shape != Points {
			l, err := plotter.NewLine(piece)
			if err != nil {
				return fmt.Errorf("the curve %s: %w", k.Name, err)
			}
			l.LineStyle = style
			if k.Shape == Steps {
				l.StepStyle = plotter.PostStep
			}
			p.Add(l)
			thumbs = append(thumbs, l)
		}
		if k.Shape == Points || k.Shape == Both || len(piece) == 1 {
			s, err := plotter.NewScatter(piece)
			if err != nil {
				return fmt.Errorf("the curve %s: %w", k.Name, err)
			}
			s.GlyphStyle = glyph
			p.Add(s)
			thumbs = append(thumbs, s)
		}
		if i == 0 {
			legend.Add(shorten(k.Name, 48), thumbs...)
		}
	}
	return nil
}

func shorten(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-1]) + "…"
}

// bands fills what is between two curves, piece by piece.
func (c *Chart) bands(p *plot.Plot) error {
	for _, b := range c.Bands {
		low, high := c.Curves[b.Low].pieces(), c.Curves[b.High].pieces()
		if len(low) != len(high) {
			continue // the edges are drawn all the same
		}
		for i := range low {
			ring := append(plotter.XYs{}, high[i]...)
			for j := len(low[i]) - 1; j >= 0; j-- {
				ring = append(ring, low[i][j])
			}
			fill, err := plotter.NewPolygon(ring)
			if err != nil {
				return fmt.Errorf("the band of %s: %w", c.Curves[b.Low].Name, err)
			}
			r, g, bl, _ := okabeIto(c.Curves[b.High].Style).RGBA()
			fill.Color, fill.LineStyle.Width = color.NRGBA{uint8(r >> 8), uint8(g >> 8), uint8(bl >> 8), 0x26}, 0
			p.Add(fill)
		}
	}
	return nil
}

// marks draws a line for each event.
func (c *Chart) marks(p *plot.Plot) {
	low, high := p.Y.Min, p.Y.Max
	if !(high > low) {
		return
	}
	for _, m := range c.Marks {
		if m.At < p.X.Min || m.At > p.X.Max {
			continue
		}
		style := draw.LineStyle{Color: color.Gray{0x90}, Width: vg.Points(0.6), Dashes: []vg.Length{vg.Points(2), vg.Points(3)}}
		switch m.Kind {
		case "violation":
			style.Color, style.Dashes, style.Width = color.RGBA{0xb0, 0, 0x20, 0xff}, nil, vg.Points(1)
		case "fault":
			style.Color = color.RGBA{0xd5, 0x5e, 0, 0xff}
		}
		c.line(p, plotter.XYs{{X: m.At, Y: low}, {X: m.At, Y: high}}, style)
	}
}

// symmetric is a scale that is linear near 0 and logarithmic on both sides.
type symmetric struct{ threshold float64 }

// Normalize maps min to 0 and max to 1.
func (s symmetric) Normalize(low, high, x float64) float64 {
	f := func(x float64) float64 { return math.Asinh(x / s.threshold) }
	return (f(x) - f(low)) / (f(high) - f(low))
}

// ticker writes ticks with prefixes of units.
type ticker struct {
	of Axis
	// time: minutes and hours rather than thousands of seconds.
	time bool
}

// Ticks returns the ticks between two limits.
func (t ticker) Ticks(low, high float64) []plot.Tick {
	var at []float64
	switch t.of.Scale {
	case Log:
		at = decades(low, high, 0)
	case SymmetricLog:
		at = decades(low, high, t.of.Threshold)
	default:
		if t.time && high-low > 100 {
			return clockTicks(low, high)
		}
		at = steps(low, high, 7)
	}
	var all []plot.Tick
	for _, x := range at {
		all = append(all, plot.Tick{Value: x, Label: tickText(x, t.of.Unit)})
	}
	if t.of.Scale == Log {
		for d := math.Floor(math.Log10(low)); d <= math.Log10(high); d++ {
			for m := 2.0; m < 10; m++ {
				if x := m * math.Pow(10, d); x >= low && x <= high {
					label := ""
					if len(at) < 2 && (m == 2 || m == 5) {
						label = tickText(x, t.of.Unit)
					}
					all = append(all, plot.Tick{Value: x, Label: label})
				}
			}
		}
	}
	return all
}

// tickText writes a round number.
func tickText(x float64, unit string) string {
	if x == 0 {
		return "0"
	}
	if unit != "s" && unit != "Hz" {
		return strconv.FormatFloat(x, 'g', 4, 64)
	}
	a := math.Abs(x)
	for _, p := range prefixes {
		if unit == "s" && p.scale > 1 {
			continue
		}
		if a >= p.scale*0.9995 {
			return strconv.FormatFloat(x/p.scale, 'g', 4, 64) + " " + p.name + unit
		}
	}
	return strconv.FormatFloat(x, 'g', 4, 64) + " " + unit
}

// decades are powers of ten, few enough to be read; with a threshold on both sides of 0.
func decades(low, high, threshold float64) []float64 {
	var all []float64
	powers := func(from, to float64, sign float64) {
		first, last := int(math.Ceil(math.Log10(from)-1e-9)), int(math.Floor(math.Log10(to)+1e-9))
		every := 1 + (last-first)/9
		if threshold > 0 {
			every = 1 + (last-first)/5
		}
		for k := first; k <= last; k++ {
			if (k-first)%every == 0 {
				all = append(all, sign*math.Pow(10, float64(k)))
			}
		}
	}
	if threshold == 0 {
		powers(low, high, 1)
		return all
	}
	from := threshold
	if max(-low, high) > 100*threshold {
		from *= 10 // its label would touch that of 0
	}
	if low < -from {
		powers(from, -low, -1)
	}
	all = append(all, 0)
	if high > from {
		powers(from, high, 1)
	}
	slices.Sort(all)
	return all
}

// steps are about n round numbers.
func steps(low, high float64, n int) []float64 {
	raw := (high - low) / float64(n)
	if !(raw > 0) || math.IsInf(raw, 0) {
		return nil
	}
	unit := math.Pow(10, math.Floor(math.Log10(raw)))
	step := unit
	for _, m := range []float64{1, 2, 5, 10} {
		if step = m * unit; step >= raw {
			break
		}
	}
	var all []float64
	for k := math.Ceil(low/step - 1e-9); k*step <= high+step*1e-9 && len(all) < 100; k++ {
		all = append(all, k*step+0) // no negative zero
	}
	return all
}

// clockTicks are round times: seconds, minutes, hours, days.
func clockTicks(low, high float64) []plot.Tick {
	unit, name := 1.0, "s"
	for _, u := range []struct {
		seconds float64
		name    string
	}{{60, "min"}, {3600, "h"}, {86400, "d"}} {
		if high-low >= 5*u.seconds {
			unit, name = u.seconds, u.name
		}
	}
	var all []plot.Tick
	for _, x := range steps(low/unit, high/unit, 8) {
		all = append(all, plot.Tick{Value: x * unit, Label: strconv.FormatFloat(x, 'g', 6, 64) + " " + name})
	}
	return all
}
