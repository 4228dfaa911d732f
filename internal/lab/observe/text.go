package observe

import (
	"math"
	"strconv"
	"strings"
)

// missing stands for what is not known.
const missing = "-"

// Seconds writes a time for people: three digits and a unit.
func Seconds(x float64) string {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return missing
	}
	scaled, unit := x, "s"
	for _, u := range []struct {
		name string
		size float64
	}{{"ms", 1e-3}, {"µs", 1e-6}, {"ns", 1e-9}} {
		// What rounds to less than 1 of a unit is written in the next smaller one.
		if math.Abs(scaled) >= 0.9995 || x == 0 {
			break
		}
		scaled, unit = x/u.size, u.name
	}
	decimals := 2
	for limit := 9.995; decimals > 0 && math.Abs(scaled) >= limit; limit *= 10 {
		decimals--
	}
	return strconv.FormatFloat(scaled, 'f', decimals, 64) + " " + unit
}

// Signed is Seconds with the sign also where it is +.
func Signed(x float64) string {
	if x > 0 {
		return "+" + Seconds(x)
	}
	return Seconds(x)
}

// Clean makes text from outside harmless to a terminal.
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\u2028' || r == '\u202e' {
			return '?'
		}
		return r
	}, s)
}
