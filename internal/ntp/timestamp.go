package ntp

import (
	"math"
	"math/bits"
)

// UnixEpoch is the NTP seconds field at 1970-01-01: the seconds from 1900 to 1970.
const UnixEpoch = 2_208_988_800

const (
	nanosecondsPerSecond = 1_000_000_000
	secondsPerEra        = 1 << 32
	// The seconds since 1970 between which every timestamp of the nearest era fits into 64 bits of nanoseconds.
	maxPivotSeconds = math.MaxInt64/nanosecondsPerSecond - secondsPerEra/2 - 1
	minPivotSeconds = math.MinInt64/nanosecondsPerSecond + secondsPerEra/2 + 1
)

// Short is the 32-bit format of root delay and root dispersion: seconds with 16 fractional bits.
type Short uint32

// Seconds returns the value in seconds, exactly.
func (s Short) Seconds() float64 { return float64(s) / (1 << 16) }

// ShortCeil returns the least Short that is not below s seconds; 0 for what is not positive. What is too large for the format,
// and NaN, is the largest Short, so a caller must refuse to claim errors near 65536 s.
func ShortCeil(s float64) Short {
	v := math.Ceil(s * (1 << 16))
	switch {
	case v <= 0:
		return 0
	case v < math.MaxUint32:
		return Short(v)
	}
	return math.MaxUint32
}

// ShortFloor returns the largest Short that is not above s seconds; 0 for what is not positive and for NaN.
func ShortFloor(s float64) Short {
	v := math.Floor(s * (1 << 16))
	switch {
	case !(v > 0):
		return 0
	case v < math.MaxUint32:
		return Short(v)
	}
	return math.MaxUint32
}

// Timestamp is the 64-bit format: seconds since 1900-01-01 modulo 2³² and 32 fractional bits, a resolution of 0.23 ns. Zero
// means that the time is not known.
type Timestamp uint64

// IsZero reports whether the time is not known.
func (t Timestamp) IsZero() bool { return t == 0 }

// Sub returns t − u in units of 2⁻³² s, right if the two are less than 68 years apart, whatever their eras.
func (t Timestamp) Sub(u Timestamp) int64 { return int64(t - u) }

// Unix returns the instant in nanoseconds since 1970 and a fraction in 2⁻³² ns, exactly, in the era that brings it nearest to
// pivotNS (nanoseconds since 1970): not more than 68 years away from it. A pivot so near to the ends of the 64-bit timeline
// (1678, 2262) that the result would not fit is moved inwards by up to 68 years.
func (t Timestamp) Unix(pivotNS int64) (ns int64, frac uint32) {
	pivot := floorDiv(pivotNS, nanosecondsPerSecond)
	pivot = max(minPivotSeconds, min(maxPivotSeconds, pivot))
	// The seconds fields of t and of the pivot differ by less than half an era in the right era.
	away := int32(uint32(t>>32) - uint32(pivot+UnixEpoch))
	scaled := uint64(uint32(t)) * nanosecondsPerSecond
	return (pivot+int64(away))*nanosecondsPerSecond + int64(scaled>>32), uint32(scaled)
}

// NotBefore turns the earliest possible time of a timestamp into the pivot for Unix: the results are then in
// [earliestNS, earliestNS + 136 years).
func NotBefore(earliestNS int64) (pivotNS int64) {
	const half = secondsPerEra / 2 * nanosecondsPerSecond
	if earliestNS > math.MaxInt64-half {
		return math.MaxInt64
	}
	return earliestNS + half
}

// TimestampFloor returns the latest Timestamp that is not after ns + frac·2⁻³² nanoseconds since 1970. Where that instant is
// the very beginning of an era the result is 0, which on the wire means unknown.
func TimestampFloor(ns int64, frac uint32) Timestamp {
	second, quotient, _ := split(ns, frac)
	return Timestamp(uint64(uint32(second+UnixEpoch))<<32 + quotient)
}

// TimestampCeil returns the earliest Timestamp that is not before ns + frac·2⁻³² nanoseconds since 1970.
func TimestampCeil(ns int64, frac uint32) Timestamp {
	second, quotient, rest := split(ns, frac)
	if rest != 0 {
		quotient++
	}
	return Timestamp(uint64(uint32(second+UnixEpoch))<<32 + quotient)
}

// split returns the whole seconds, and the rest of the second as quotient·2⁻³² s + rest·10⁻⁹·2⁻³² s.
func split(ns int64, frac uint32) (second int64, quotient, rest uint64) {
	second = floorDiv(ns, nanosecondsPerSecond)
	n := uint64(ns - second*nanosecondsPerSecond)
	quotient, rest = bits.Div64(0, n<<32|uint64(frac), nanosecondsPerSecond)
	return second, quotient, rest
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
