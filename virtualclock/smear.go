package virtualclock

import (
	"math"
	"time"
)

// LeapState is what a page says of TAI and of the leap second that is near. The zero value knows nothing.
type LeapState struct {
	// TAI is TAI − UTC in seconds before At, and at any time if Sign is 0; it is known if TAIKnown.
	TAI      int32
	TAIKnown bool
	// Sign is +1 if the day that ends at At (in seconds since the Unix epoch) has a second more, −1 if it has one less, 0 if no leap second
	// is known within a day of now.
	Sign int8
	At   int64
	// Expires is when the table ends that this is from, in seconds since the Unix epoch; 0 without a table.
	Expires int64
}

// Offset returns TAI − UTC in seconds at the UTC time t; not ok if it is not known.
func (l *LeapState) Offset(t Time) (seconds int32, ok bool) {
	if l.Sign != 0 && !t.Before(l.leap()) {
		return l.TAI + int32(l.Sign), l.TAIKnown
	}
	return l.TAI, l.TAIKnown
}

func (l *LeapState) leap() Time { return leapTime(l.At) }

func leapTime(at int64) Time {
	const most = math.MaxInt64 / int64(time.Second)
	return Unix(min(max(at, -most), most)*int64(time.Second), 0)
}

// ToTAI returns the interval in which TAI was; not ok if the interval is not sound or TAI − UTC is not known. TAI has no leap seconds,
// which makes it the scale for durations across one.
func (l *LeapState) ToTAI(i Interval) (tai Interval, ok bool) {
	early, known := l.Offset(i.Earliest)
	late, _ := l.Offset(i.Latest)
	if !known || !i.Sound() || i.Kind != External {
		return void(i.Status, i.Epoch), false
	}
	// Where the two edges are on different sides of the leap second each has its own offset: outward for one that is inserted, and for
	// one that is left out the lower edge keeps the smaller.
	i.Earliest = i.Earliest.Add(time.Duration(min(early, late)) * time.Second)
	i.Latest = i.Latest.Add(time.Duration(max(early, late)) * time.Second)
	return i, true
}

// Smear is a way to spread a leap second over a day, so that no second is ever repeated or left out.
type Smear uint8

// The smears.
const (
	// SmearLinear is that of Google's and Amazon's public servers: from noon before to noon after, every second longer (or shorter) by
	// the same, 11.6 ppm (developers.google.com/time/smear).
	SmearLinear Smear = iota
	// SmearCosine begins and ends without a jump of the rate; in the middle it is 18.2 ppm.
	SmearCosine
)

// smearHalf is half the length of a smear, in seconds.
const smearHalf = 43200

// Smeared returns what a clock that smears shows when UTC is t. Away from a leap second, and without one known, that is t. It is
// continuous and strictly monotone in true time, except that UTC itself shows an inserted second twice: t counts as after it from the
// leap second's end on.
func (l *LeapState) Smeared(t Time, how Smear) Time {
	return l.smeared(t, !t.Before(l.leap()), how)
}

func (l *LeapState) smeared(t Time, after bool, how Smear) Time {
	if l.Sign == 0 {
		return t
	}
	// SI seconds since the noon before, and until the noon after.
	elapsed := t.Seconds(l.leap()) + smearHalf
	if after {
		elapsed += float64(l.Sign)
	}
	total := 2*smearHalf + float64(l.Sign)
	if !(elapsed > 0 && elapsed < total) {
		return t
	}
	share := elapsed / total
	if how == SmearCosine {
		share = (1 - math.Cos(math.Pi*share)) / 2
	}
	shift := -share
	if after {
		shift = 1 - share
	}
	return t.AddSeconds(shift * float64(l.Sign))
}

// smearSlack covers the rounding of the smear's arithmetic, in seconds: a day in float64 is good to 2·10⁻¹¹ s.
const smearSlack = 1e-10

// SmearInterval returns the interval in which a clock that smears shows true time, rounded outward. An interval that is not sound stays
// as it is.
func (l *LeapState) SmearInterval(i Interval, how Smear) Interval {
	if l.Sign == 0 || !i.Sound() || i.Kind != External {
		return i
	}
	i.Earliest = l.Smeared(i.Earliest, how).AddSeconds(-smearSlack)
	i.Latest = l.Smeared(i.Latest, how).AddSeconds(smearSlack)
	return i
}

// SmearOffset returns smeared − UTC in seconds at the UTC time t: between −1 and 1, 0 away from a leap second.
func (l *LeapState) SmearOffset(t Time, how Smear) float64 { return l.Smeared(t, how).Seconds(t) }
