package main

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/clockd/clockd/virtualclock"
)

// print writes to the output; a terminal that has gone away has nobody to be told.
func (a *app) print(format string, args ...any) { _, _ = fmt.Fprintf(a.out, format, args...) }

// printJSON writes v as one indented JSON document.
func (a *app) printJSON(v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("the answer cannot be written as JSON: %w", err)
	}
	a.print("%s\n", b)
	return nil
}

// table prints rows in columns.
func (a *app) table(rows [][]string) {
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		_, _ = fmt.Fprintln(w, strings.TrimRight(strings.Join(r, "\t"), "\t "))
	}
	_ = w.Flush()
}

// Terminal colours.
const (
	green  = "32"
	yellow = "33"
	red    = "31"
	bold   = "1"
)

// paint colours s if the output is a terminal.
func (a *app) paint(colour, s string) string {
	if !a.terminal {
		return s
	}
	return "\x1b[" + colour + "m" + s + "\x1b[0m"
}

func statusColour(s virtualclock.Status) string {
	switch s {
	case virtualclock.Synchronised:
		return green
	case virtualclock.Holdover:
		return yellow
	}
	return red
}

// siUnits are for lengths of time below a second.
var siUnits = [...]struct {
	size float64
	name string
}{{1, "s"}, {1e-3, "ms"}, {1e-6, "µs"}, {1e-9, "ns"}}

// showSeconds writes a length of time with three or four digits and its unit.
func showSeconds(x float64) string {
	size := math.Abs(x)
	switch {
	case math.IsNaN(x) || math.IsInf(x, 0):
		return "unknown"
	case size < 5e-12:
		return "0 s"
	case size >= 60:
		return showAge(x)
	}
	for _, u := range siUnits {
		if size >= 0.9995*u.size || u.name == "ns" {
			v := x / u.size
			decimals := max(0, 2-int(math.Floor(math.Log10(math.Max(math.Abs(v), 1)))))
			return strconv.FormatFloat(v, 'f', decimals, 64) + " " + u.name
		}
	}
	return ""
}

// showAge writes a longer time in whole units.
func showAge(x float64) string {
	d := time.Duration(x * float64(time.Second)).Round(time.Second)
	if d >= time.Hour {
		d = d.Round(time.Minute)
		return strings.TrimSuffix(d.String(), "0s")
	}
	return d.String()
}

// optional writes a figure that may be unknown.
func optional[T any](x *T, show func(T) string) string {
	if x == nil {
		return "-"
	}
	return show(*x)
}

func showSigned(x float64) string {
	if x > 0 {
		return "+" + showSeconds(x)
	}
	return showSeconds(x)
}

func showPPM(x float64) string { return fmt.Sprintf("%+.3f ppm", x) }
