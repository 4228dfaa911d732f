package course

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/clockd/clockd/internal/lab/report"
)

func marshalText(s string) ([]byte, error) { return json.Marshal(s) }

// Quantity writes a figure with its unit, three digits; a missing one is a dash.
func Quantity(x float64, unit string) string {
	switch {
	case math.IsNaN(x) || math.IsInf(x, 0):
		return "-"
	case x == 0:
		return strings.TrimSpace("0 " + unitName(unit))
	case unit == "s":
		for _, u := range []struct {
			scale float64
			name  string
		}{{1, "s"}, {1e-3, "ms"}, {1e-6, "µs"}, {1e-9, "ns"}} {
			if math.Abs(x) >= u.scale*0.9995 || u.scale == 1e-9 {
				return round(x/u.scale) + " " + u.name
			}
		}
	case unit == "Hz":
		for _, u := range []struct {
			scale float64
			name  string
		}{{1e9, "GHz"}, {1e6, "MHz"}, {1e3, "kHz"}} {
			if x >= u.scale {
				return round(x/u.scale) + " " + u.name
			}
		}
	case unit == "s/s" && math.Abs(x) < 1e-9:
		return "< 0.001 ppm"
	case unit == "s/s":
		return round(x*1e6) + " ppm"
	}
	return strings.TrimSpace(round(x) + " " + unitName(unit))
}

func unitName(unit string) string {
	if unit == "s/s" {
		return "ppm"
	}
	return unit
}

// round writes three digits, or all digits of a whole number.
func round(x float64) string {
	if x == math.Trunc(x) && math.Abs(x) < 1e7 {
		return strconv.FormatFloat(x, 'f', 0, 64)
	}
	if a := math.Abs(x); a >= 99.95 && a < 1e7 {
		return strconv.FormatFloat(x, 'f', 0, 64)
	}
	return strconv.FormatFloat(x, 'g', 3, 64)
}

// cells writes the table's cells.
func (p *Report) cells() [][]string {
	head := []string{}
	for _, c := range p.Columns {
		head = append(head, c.Name)
	}
	rows := [][]string{head}
	for _, row := range p.Rows {
		var all []string
		for i, c := range row {
			if c.text {
				all = append(all, c.Text)
			} else {
				all = append(all, Quantity(float64(c.Value), p.Columns[i].Unit))
			}
		}
		rows = append(rows, all)
	}
	return rows
}

// Text writes a report for people.
func (p *Report) Text(out io.Writer) error {
	b := &strings.Builder{}
	fmt.Fprintf(b, "%s\n\n%s\n%s\n\n", p.Title, p.Question, wrap(p.Setup))
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, r := range p.cells() {
		_, _ = fmt.Fprintln(w, strings.Join(r, "\t"))
	}
	_ = w.Flush()
	fmt.Fprintf(b, "\n%s", bars(&p.Chart))
	fmt.Fprintf(b, "Bound: %s\n", wrap(p.Bound))
	held, must := 0, 0
	for _, c := range p.Checks {
		if c.Must {
			must++
			if c.Holds {
				held++
			}
		}
	}
	fmt.Fprintf(b, "Checks: %d of %d hold\n", held, must)
	for _, s := range p.Broken {
		fmt.Fprintf(b, "BROKEN: %s\n", s)
	}
	fmt.Fprintf(b, "\nLesson: %s\nRead on: %s\n", wrap(p.Lesson), plain(strings.Join(p.Reading, "; ")))
	_, err := io.WriteString(out, b.String())
	return err
}

// plain turns links of a page into what a terminal can use: the file's name.
func plain(text string) string {
	for {
		open := strings.Index(text, "](")
		begin := strings.LastIndex(text[:max(open, 0)], "[")
		end := strings.Index(text[max(open, 0):], ")")
		if open < 0 || begin < 0 || end < 0 {
			return text
		}
		text = text[:begin] + text[begin+1:open] + text[open+end+1:]
	}
}

// wrap breaks a text into lines of at most 120 runes.
func wrap(text string) string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len([]rune(line))+1+len([]rune(word)) > 120 {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return strings.Join(append(lines, line), "\n")
}

// bars draws the picture's first curve as bars, where it has few points.
func bars(c *report.Chart) string {
	const width, most = 48, 16
	if len(c.Curves) == 0 || len(c.Curves[0].Y) > most {
		return ""
	}
	k := &c.Curves[0]
	low, high := math.Inf(1), math.Inf(-1)
	for _, y := range k.Y {
		if !math.IsNaN(y) && !math.IsInf(y, 0) {
			low, high = min(low, y), max(high, y)
		}
	}
	if !(high > 0) {
		return ""
	}
	logarithmic := c.Y.Scale == report.Log && low > 0 && high > low
	b := &strings.Builder{}
	fmt.Fprintf(b, "%s (%s)\n", k.Name, map[bool]string{true: "logarithmic", false: "linear"}[logarithmic])
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for i, y := range k.Y {
		part := y / high
		if logarithmic {
			part = (math.Log(y/low) + 0.1) / (math.Log(high/low) + 0.1)
		}
		n := 0
		if part > 0 && !math.IsInf(part, 0) {
			n = max(int(math.Round(part*width)), 1)
		}
		_, _ = fmt.Fprintf(w, "  %s\t%s %s\n", Quantity(k.X[i], c.X.Unit), strings.Repeat("█", n), Quantity(y, c.Y.Unit))
	}
	_ = w.Flush()
	b.WriteString("\n")
	return b.String()
}

// Picture returns the report's picture as SVG.
func (p *Report) Picture() ([]byte, error) {
	all, err := report.Figures([]report.Chart{p.Chart})
	if err != nil {
		return nil, err
	}
	return all[0].Data, nil
}

// Page returns the experiment's page in docs/experiments: all of it is made from a run.
func (p *Report) Page() string {
	b := &strings.Builder{}
	fmt.Fprintf(b, "# %s\n\n<!-- made by `make experiments`; do not edit -->\n\n", p.Title)
	fmt.Fprintf(b, "**%s**\n\n    clockbench course %s --seed %d\n\n%s\n\n", p.Question, p.Name, p.Seed, wrap(p.Setup))
	fmt.Fprintf(b, "![%s](%s.svg)\n\n", p.Title, p.Name)
	for i, r := range p.cells() {
		fmt.Fprintf(b, "| %s |\n", strings.Join(r, " | "))
		if i == 0 {
			fmt.Fprintf(b, "|%s\n", strings.Repeat("---|", len(r)))
		}
	}
	fmt.Fprintf(b, "\n## Bound\n\n%s\n\n## Lesson\n\n%s\n\n## Read on\n\n", wrap(p.Bound), wrap(p.Lesson))
	for _, s := range p.Reading {
		fmt.Fprintf(b, "- %s\n", s)
	}
	return b.String()
}

// Index returns docs/experiments/README.md.
func Index() string {
	b := &strings.Builder{}
	b.WriteString("# The course as experiments\n\n<!-- made by `make experiments`; do not edit -->\n\n")
	b.WriteString(wrap(`Each experiment asks one question of the course "Fault Tolerance in Distributed Systems" (P. Veríssimo), measures in a deterministic
simulation, where true time is known exactly, what theory bounds, and prints both. The same seed gives the same bytes. A bound that must
hold and does not ends the command with the code 3.`))
	b.WriteString("\n\n    clockbench course                      # list them\n    clockbench course external             # one of them\n" +
		"    clockbench course all --out pictures   # all, with their pictures\n    make experiments                       # make these pages anew\n\n")
	b.WriteString(wrap(`For programs there is --json (one report, or a list of them for all), and NAME.json with --out: "schema" (clockd.course/1), "experiment",
"title", "seed", "short", "question", "setup", "bound", "lesson", "read_on"; "columns" (name, unit) and "rows", whose cells are numbers in that unit, texts where
the unit is "text", and null where nothing is known; "checks" (what, measured, bound, unit, at_least: the bound is the least that is expected; holds; must: theory says that it
holds), "broken" (in words, empty if all is well) and "chart", the picture's curves. New fields may come; if one changes its meaning, so does the
schema's number.`) + "\n\n")
	b.WriteString("| experiment | question |\n|---|---|\n")
	for _, e := range All() {
		fmt.Fprintf(b, "| [%s](%s.md) | %s |\n", e.Name, e.Name, e.Question)
	}
	return b.String()
}
