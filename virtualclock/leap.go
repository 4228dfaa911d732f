package virtualclock

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // the file format's own checksum: against damage, not against anybody
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// LeapSecond is a change of TAI − UTC: from Time on, which is the beginning of a UTC day, it is Offset seconds.
type LeapSecond struct {
	Time   Time
	Offset int32
}

// LeapTable is what the International Earth Rotation and Reference Systems Service has announced: all leap seconds until Expires. It
// does not change after ParseLeapTable.
type LeapTable struct {
	seconds []LeapSecond
	expires Time
}

const (
	// ntpEpoch is 1900-01-01 before the Unix epoch, in seconds.
	ntpEpoch = 2_208_988_800
	// maxLeapTable and maxLeapSeconds are far above what there will be: a file with more is another one.
	maxLeapTable   = 1 << 20
	maxLeapSeconds = 1000
	// firstOffset is TAI − UTC when leap seconds began, on 1 January 1972.
	firstOffset = 10
	maxOffset   = 1000
)

// ParseLeapTable reads a table of leap seconds: the IERS' and NIST's leap-seconds.list (its checksum is verified where there is one) or
// the time zone data base's leapseconds. A table without an expiry is refused: nobody could know what it leaves out.
func ParseLeapTable(text []byte) (*LeapTable, error) {
	if len(text) > maxLeapTable {
		return nil, fmt.Errorf("virtualclock: a table of leap seconds of %d bytes is none", len(text))
	}
	p := leapParser{table: &LeapTable{expires: minTime}}
	number := 0
	for line := range bytes.Lines(text) {
		number++
		if err := p.line(strings.TrimSpace(string(line))); err != nil {
			return nil, fmt.Errorf("virtualclock: line %d of the table of leap seconds: %w", number, err)
		}
		if len(p.table.seconds) > maxLeapSeconds {
			return nil, fmt.Errorf("virtualclock: the table of leap seconds has more than %d of them", maxLeapSeconds)
		}
	}
	return p.end()
}

type leapParser struct {
	table  *LeapTable
	digits strings.Builder // what the checksum is of
	hash   []string
}

func (p *leapParser) line(line string) error {
	switch {
	case line == "":
		return nil
	case strings.HasPrefix(line, "#$"):
		p.digits.WriteString(strings.TrimSpace(line[2:]))
		return nil
	case strings.HasPrefix(line, "#@"):
		text := strings.TrimSpace(line[2:])
		p.digits.WriteString(text)
		return p.expiry(text, -ntpEpoch)
	case strings.HasPrefix(line, "#h"):
		p.hash = strings.Fields(line[2:])
		return nil
	case strings.HasPrefix(line, "#expires"):
		return p.expiry(firstField(line[len("#expires"):]), 0)
	case strings.HasPrefix(line, "#"):
		return nil
	case strings.HasPrefix(line, "Leap"):
		return p.zoneLine(strings.Fields(line))
	case strings.HasPrefix(line, "Expires"):
		t, err := zoneTime(strings.Fields(line), 0)
		p.table.expires = t
		return err
	}
	return p.listLine(line)
}

func (p *leapParser) expiry(text string, shift int64) error {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return fmt.Errorf("the expiry %.40q is no number", text)
	}
	p.table.expires, err = unixSecond(n, shift)
	return err
}

// unixSecond is a count of seconds as a Time.
func unixSecond(n, shift int64) (Time, error) {
	if n < 0 || n > math.MaxInt64/1_000_000_000 {
		return Time{}, fmt.Errorf("%d s is not a time", n)
	}
	return Unix((n+shift)*1_000_000_000, 0), nil
}

// listLine is one of leap-seconds.list: NTP seconds and TAI − UTC.
func (p *leapParser) listLine(line string) error {
	line, _, _ = strings.Cut(line, "#")
	fields := strings.Fields(line)
	if len(fields) != 2 {
		return fmt.Errorf("%.60q is not a time and an offset", line)
	}
	p.digits.WriteString(fields[0])
	p.digits.WriteString(fields[1])
	n, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		return fmt.Errorf("%.40q is no time", fields[0])
	}
	offset, err := strconv.ParseInt(fields[1], 10, 32)
	if err != nil {
		return fmt.Errorf("%.40q is no offset", fields[1])
	}
	t, err := unixSecond(n, -ntpEpoch)
	if err != nil {
		return err
	}
	return p.add(t, offset)
}

// zoneLine is one of leapseconds: Leap YEAR MONTH DAY HH:MM:SS CORR R/S.
func (p *leapParser) zoneLine(fields []string) error {
	if len(fields) != 7 || fields[6] != "S" || fields[5] != "+" && fields[5] != "-" {
		return fmt.Errorf("%.60q is not a leap second", strings.Join(fields, " "))
	}
	sign := int64(1)
	if fields[5] == "-" {
		sign = -1
	}
	t, err := zoneTime(fields, sign)
	if err != nil {
		return err
	}
	if len(p.table.seconds) == 0 {
		// The file lists changes; before the first of them, on 30 June 1972, TAI − UTC was 10 s.
		if err := p.add(Unix(time.Date(1972, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano(), 0), firstOffset); err != nil {
			return err
		}
	}
	last := p.table.seconds[len(p.table.seconds)-1].Offset
	return p.add(t, int64(last)+sign)
}

// zoneTime reads the date of a line of leapseconds; a leap second (sign ±1) is at the end of its day.
func zoneTime(fields []string, sign int64) (Time, error) {
	if len(fields) < 5 {
		return Time{}, fmt.Errorf("%.60q is not a date", strings.Join(fields, " "))
	}
	want := map[int64]string{0: "00:00:00", 1: "23:59:60", -1: "23:59:59"}[sign]
	day, err := time.Parse("2006 Jan 2", strings.Join(fields[1:4], " "))
	if err != nil || fields[4] != want || day.Year() < 1972 || day.Year() > 2200 {
		return Time{}, fmt.Errorf("%.60q is not a date, or not at %s", strings.Join(fields[1:5], " "), want)
	}
	if sign != 0 {
		day = day.AddDate(0, 0, 1)
	}
	return FromTime(day), nil
}

func (p *leapParser) add(t Time, offset int64) error {
	n := len(p.table.seconds)
	if offset < -maxOffset || offset > maxOffset {
		return fmt.Errorf("%d s is no offset", offset)
	}
	if t.UnixNano()%86_400_000_000_000 != 0 {
		return fmt.Errorf("%v is not the beginning of a day", t)
	}
	if n > 0 {
		last := p.table.seconds[n-1]
		if d := offset - int64(last.Offset); !t.After(last.Time) || d != 1 && d != -1 {
			return fmt.Errorf("it does not follow from the one before: %d s at %v after %d s at %v", offset, t, last.Offset, last.Time)
		}
	}
	p.table.seconds = append(p.table.seconds, LeapSecond{t, int32(offset)})
	return nil
}

func (p *leapParser) end() (*LeapTable, error) {
	n := len(p.table.seconds)
	switch {
	case n == 0:
		return nil, fmt.Errorf("virtualclock: there is no leap second in the table")
	case p.table.expires == minTime:
		return nil, fmt.Errorf("virtualclock: the table of leap seconds does not say when it expires")
	case !p.table.expires.After(p.table.seconds[n-1].Time):
		return nil, fmt.Errorf("virtualclock: the table of leap seconds expires before its last one")
	}
	if p.hash != nil {
		sum := sha1.Sum([]byte(p.digits.String())) //nolint:gosec // see above
		for i := range 5 {
			want := uint64(sum[4*i])<<24 | uint64(sum[4*i+1])<<16 | uint64(sum[4*i+2])<<8 | uint64(sum[4*i+3])
			if len(p.hash) != 5 {
				return nil, fmt.Errorf("virtualclock: the checksum of the table of leap seconds has %d words, not 5", len(p.hash))
			}
			if got, err := strconv.ParseUint(p.hash[i], 16, 32); err != nil || got != want {
				return nil, fmt.Errorf("virtualclock: the table of leap seconds is damaged: its checksum is another one")
			}
		}
	}
	return p.table, nil
}

// Expires returns when the table ends: of later leap seconds it knows nothing.
func (l *LeapTable) Expires() Time { return l.expires }

// Valid says whether the table is good at t.
func (l *LeapTable) Valid(t Time) bool {
	return l != nil && t.Before(l.expires) && !t.Before(l.seconds[0].Time)
}

// TAI returns TAI − UTC in seconds at t; not ok before 1972 and after the table has expired.
func (l *LeapTable) TAI(t Time) (offset int32, ok bool) {
	if !l.Valid(t) {
		return 0, false
	}
	for i := len(l.seconds) - 1; i >= 0; i-- {
		if !t.Before(l.seconds[i].Time) {
			return l.seconds[i].Offset, true
		}
	}
	return 0, false
}

// Near returns the leap second that is at most that long before or after t: when the day that it ends is over, and +1 if that day has a
// second more, −1 if one less. Not ok if there is none, or if the table has expired.
func (l *LeapTable) Near(t Time, within time.Duration) (at Time, sign int, ok bool) {
	if !l.Valid(t) {
		return Time{}, 0, false
	}
	for i := len(l.seconds) - 1; i > 0; i-- {
		s := l.seconds[i]
		if !t.Before(s.Time.Add(-within)) && t.Before(s.Time.Add(within)) {
			return s.Time, int(s.Offset - l.seconds[i-1].Offset), true
		}
	}
	return Time{}, 0, false
}

// firstField returns the first word of a text, "" if there is none.
func firstField(text string) string {
	for field := range strings.FieldsSeq(text) {
		return field
	}
	return ""
}
