package delay

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// longestText is the longest length in seconds that can be written: 300 years.
const longestText = 300 * 366 * 86400

// units of length in seconds, longest suffix first.
var lengthUnits = []struct {
	name     string
	exponent string // decimal, where the unit is a power of ten
	seconds  float64
}{
	{"ps", "e-12", 1e-12}, {"ns", "e-9", 1e-9}, {"us", "e-6", 1e-6}, {"µs", "e-6", 1e-6}, {"ms", "e-3", 1e-3},
	{"min", "", 60}, {"s", "e0", 1}, {"h", "", 3600}, {"d", "", 86400},
}

// ParseLength reads a length of time such as "50us", "1.5ms", "-3 s", "2h" or "0"; the unit is ps, ns, us (or µs), ms, s, min, h
// or d. The result is in seconds.
func ParseLength(text string) (float64, error) {
	trimmed := strings.TrimSpace(text)
	for _, u := range lengthUnits {
		number, ok := strings.CutSuffix(trimmed, u.name)
		if !ok {
			continue
		}
		number = strings.TrimSpace(number)
		x, err := ParseNumber(number)
		if err != nil {
			return 0, fmt.Errorf("delay: %.40q is not a length of time: the number before %q cannot be read", text, u.name)
		}
		x *= u.seconds
		if u.exponent != "" && !strings.ContainsAny(number, "eE") {
			// 50us is then the same float64 as 50e-6.
			x, _ = strconv.ParseFloat(number+u.exponent, 64)
		}
		if math.Abs(x) <= longestText {
			return x, nil
		}
		return 0, fmt.Errorf("delay: %.40q is longer than 300 years", text)
	}
	if x, err := ParseNumber(trimmed); err == nil && x == 0 {
		return 0, nil
	}
	return 0, fmt.Errorf("delay: %.40q is not a length of time: write a number with a unit, such as 50us, 1.5ms, 16s, 2h", text)
}

// ParseNumber reads a plain decimal number: no hexadecimal, no infinity, no NaN.
func ParseNumber(text string) (float64, error) {
	if strings.Trim(text, "+-0123456789.eE") != "" {
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseFloat(text, 64)
}
