package sim

import (
	"math"
	"math/bits"
	"strconv"
	"strings"

	"github.com/clockd/clockd/internal/delay"
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

// ParseLength reads a length of time such as "50us"; see delay.ParseLength.
func ParseLength(text string) (float64, error) { return delay.ParseLength(text) }

// parseNumber reads a plain decimal number.
func parseNumber(text string) (float64, error) { return delay.ParseNumber(text) }

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
