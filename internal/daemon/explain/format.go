package explain

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// siUnits are for lengths of time below a minute.
var siUnits = [...]struct {
	size float64
	name string
}{{1, "s"}, {1e-3, "ms"}, {1e-6, "µs"}, {1e-9, "ns"}}

// Seconds writes a length of time, in seconds, with three or four digits and its unit.
func Seconds(x float64) string {
	size := math.Abs(x)
	switch {
	case math.IsNaN(x) || math.IsInf(x, 0):
		return "unknown"
	case size < 5e-12:
		return "0 s"
	case size >= 59.995:
		return age(x)
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

// age writes a longer time in whole units.
func age(x float64) string {
	d := time.Duration(min(math.Abs(x), 9e9) * float64(time.Second)).Round(time.Second)
	sign := ""
	if x < 0 {
		sign = "-"
	}
	hours, minutes, seconds := int(d/time.Hour), int(d/time.Minute)%60, int(d/time.Second)%60
	switch {
	case hours >= 48:
		return fmt.Sprintf("%s%d days %d h", sign, hours/24, hours%24)
	case hours > 0:
		return fmt.Sprintf("%s%d h %d min", sign, hours, minutes)
	case seconds == 0:
		return fmt.Sprintf("%s%d min", sign, minutes)
	}
	return fmt.Sprintf("%s%d min %d s", sign, minutes, seconds)
}

// Signed is Seconds with the sign of what is above 0.
func Signed(x float64) string {
	if x > 0 {
		return "+" + Seconds(x)
	}
	return Seconds(x)
}

// PPM writes a relative rate that is in millionths already.
func PPM(x float64) string { return fmt.Sprintf("%+.3f ppm", x) }

// Known writes a figure, "-" if it is not known.
func Known[T any](x *T, show func(T) string) string {
	if x == nil {
		return "-"
	}
	return show(*x)
}

// Sentence begins a text with a capital.
func Sentence(text string) string {
	r, n := utf8.DecodeRuneInString(text)
	if n == 0 {
		return text
	}
	return string(unicode.ToUpper(r)) + text[n:]
}

// count writes "1 source", "2 sources".
func count(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

// verb returns "contradicts" for one, "contradict" for more.
func verb(n int, many string) string {
	if n == 1 {
		return many + "s"
	}
	return many
}

// list joins names: "a", "a and b", "a, b and c", "a, b, c and 4 more".
// nouns joins names behind what they are: so a sentence never begins with one, which would get a capital.
func nouns(all []string, one string) string {
	if len(all) == 1 {
		return one + " " + all[0]
	}
	return one + "s " + list(all)
}

func list(all []string) string { return List(all, 3) }

// List joins names, at most so many.
func List(all []string, most int) string {
	if more := len(all) - most; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(all[:most], ", "), more)
	}
	if n := len(all); n > 1 {
		return strings.Join(all[:n-1], ", ") + " and " + all[n-1]
	}
	return strings.Join(all, "")
}
