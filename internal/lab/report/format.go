package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/clockd/clockd/internal/lab/result"
)

// prefixes are for seconds and hertz.
var prefixes = []struct {
	scale float64
	name  string
}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}, {1, ""}, {1e-3, "m"}, {1e-6, "µ"}, {1e-9, "n"}, {1e-12, "p"}}

// format writes a figure for people, with its unit and three or four digits.
func format(x float64, unit string) string {
	switch unit {
	case "s", "Hz":
		return scaled(x, unit)
	case "1", "":
		return digits(x)
	case "count":
		if x == math.Trunc(x) && math.Abs(x) < 1e15 {
			return strconv.FormatFloat(x, 'f', 0, 64)
		}
		return digits(x)
	}
	return digits(x) + "\u00a0" + unit
}

func scaled(x float64, unit string) string {
	a := math.Abs(x)
	if a == 0 {
		return "0\u00a0" + unit
	}
	for _, p := range prefixes {
		if unit == "s" && p.scale > 1 {
			continue
		}
		if a >= p.scale*0.9995 {
			return digits(x/p.scale) + "\u00a0" + p.name + unit
		}
	}
	return strconv.FormatFloat(x, 'e', 2, 64) + "\u00a0" + unit
}

// digits writes three or four significant digits.
func digits(x float64) string {
	switch a := math.Abs(x); {
	case a == 0:
		return "0"
	case a < 1e-3 || a >= 1e6:
		return strconv.FormatFloat(x, 'e', 2, 64)
	case a < 9.995:
		return strings.TrimRight(strings.TrimRight(strconv.FormatFloat(x, 'f', max(2, 2-int(math.Floor(math.Log10(a)))), 64), "0"), ".")
	case a < 99.95:
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.0f", x)
}

// number writes a figure that may be missing.
func number(n result.Number, unit string) string {
	x, ok := n.Value()
	if !ok {
		return "–"
	}
	return format(x, unit)
}

// Number writes a figure for people, with its unit; a missing one is a dash.
func Number(n result.Number, unit string) string {
	return strings.ReplaceAll(number(n, unit), "\u00a0", " ")
}

// moment writes a time since the beginning.
func moment(n result.Number) string {
	x, ok := n.Value()
	if !ok {
		return "–"
	}
	return strconv.FormatFloat(math.Round(x*1000)/1000, 'f', -1, 64) + "\u00a0s"
}

// duration writes a length for people.
func duration(n result.Number) string {
	x, ok := n.Value()
	switch {
	case !ok:
		return "–"
	case x >= 2*86400:
		return digits(x/86400) + " days"
	case x >= 2*3600:
		return digits(x/3600) + " hours"
	case x >= 120:
		return digits(x/60) + " minutes"
	}
	return format(x, "s")
}
