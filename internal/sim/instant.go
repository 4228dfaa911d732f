package sim

import (
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"

	"github.com/clockd/clockd/virtualclock"
)

// Instant is true time since the beginning of the simulation in picoseconds; it is also used for lengths of true time. It
// reaches 106 days.
type Instant int64

// Common lengths.
const (
	Picosecond  Instant = 1
	Nanosecond          = 1000 * Picosecond
	Microsecond         = 1000 * Nanosecond
	Millisecond         = 1000 * Microsecond
	Second              = 1000 * Millisecond

	// Never is an instant that does not come.
	Never Instant = math.MaxInt64
	// longest is the longest length that a conversion from seconds gives: 100 days.
	longest = 8_640_000 * Second
	// longestText is the longest length in seconds that can be written: 300 years.
	longestText = 300 * 366 * 86400
)

// Seconds converts a number of seconds, rounded to the nearest picosecond, saturated at ±100 days; NaN gives 0.
func Seconds(s float64) Instant {
	switch x := math.RoundToEven(s * 1e12); {
	case x != x:
		return 0
	case x > float64(longest):
		return longest
	case x < -float64(longest):
		return -longest
	default:
		return Instant(x)
	}
}

// Seconds returns t in seconds.
func (t Instant) Seconds() float64 { return float64(t) / 1e12 }

// String returns seconds with as many digits as needed.
func (t Instant) String() string {
	if t == Never {
		return "never"
	}
	return strconv.FormatFloat(t.Seconds(), 'f', -1, 64) + "s"
}

// after returns epoch + t, rounded down to 2⁻³² ns, and whether it is exact.
func (t Instant) after(epoch virtualclock.Time) (at virtualclock.Time, exact bool) {
	ns, ps := int64(t/1000), int64(t%1000)
	if ps < 0 {
		ns, ps = ns-1, ps+1000
	}
	frac, rest := bits.Div64(0, uint64(ps)<<32, 1000)
	sum := uint64(epoch.Fraction()) + frac
	return virtualclock.Unix(epoch.UnixNano()+ns+int64(sum>>32), uint32(sum)), rest == 0
}

// up returns the next representable time.
func up(t virtualclock.Time) virtualclock.Time {
	if t.Fraction() == math.MaxUint32 {
		return virtualclock.Unix(t.UnixNano()+1, 0)
	}
	return virtualclock.Unix(t.UnixNano(), t.Fraction()+1)
}

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
		x, err := parseNumber(number)
		if err != nil {
			return 0, fmt.Errorf("sim: %.40q is not a length of time: the number before %q cannot be read", text, u.name)
		}
		x *= u.seconds
		if u.exponent != "" && !strings.ContainsAny(number, "eE") {
			// 50us is then the same float64 as 50e-6.
			x, _ = strconv.ParseFloat(number+u.exponent, 64)
		}
		if math.Abs(x) <= longestText {
			return x, nil
		}
		return 0, fmt.Errorf("sim: %.40q is longer than 300 years", text)
	}
	if x, err := parseNumber(trimmed); err == nil && x == 0 {
		return 0, nil
	}
	return 0, fmt.Errorf("sim: %.40q is not a length of time: write a number with a unit, such as 50us, 1.5ms, 16s, 2h", text)
}

// parseNumber reads a plain decimal number: no hexadecimal, no infinity, no NaN.
func parseNumber(text string) (float64, error) {
	if strings.Trim(text, "+-0123456789.eE") != "" {
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseFloat(text, 64)
}

// Length is a length of time in seconds that a TOML or JSON file writes as text with a unit.
type Length float64

// UnmarshalText reads what ParseLength reads.
func (l *Length) UnmarshalText(b []byte) error {
	s, err := ParseLength(string(b))
	*l = Length(s)
	return err
}

// Instant returns the length in picoseconds.
func (l Length) Instant() Instant { return Seconds(float64(l)) }

// appendFloat writes x with as many digits as are needed to read it back.
func appendFloat(b []byte, x float64) []byte {
	if a := math.Abs(x); a != 0 && (a < 1e-6 || a >= 1e21) {
		return strconv.AppendFloat(b, x, 'e', -1, 64)
	}
	return strconv.AppendFloat(b, x, 'f', -1, 64)
}

// UnmarshalJSON reads a number of seconds, as it is written, or a text with a unit.
func (l *Length) UnmarshalJSON(b []byte) error {
	if text, quoted := strings.CutPrefix(string(b), `"`); quoted {
		return l.UnmarshalText([]byte(strings.TrimSuffix(text, `"`)))
	}
	x, err := parseNumber(string(b))
	*l = Length(x)
	return err
}
