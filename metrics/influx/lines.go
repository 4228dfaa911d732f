package influx

import (
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/influxdata/line-protocol/v2/lineprotocol"
)

// Lines makes line protocol, point by point: Start, then tags in the order of their names, then fields, then End. What is not
// known is left out: an empty tag, a figure that is infinite or not a number.
type Lines struct {
	encoder lineprotocol.Encoder
	// Count is how many points there are, Malformed how many could not be written.
	Count, Malformed int
}

// Start begins a point.
func (l *Lines) Start(measurement string) { l.encoder.StartLine(measurement) }

// Tag adds a tag.
func (l *Lines) Tag(name, value string) {
	if value != "" {
		l.encoder.AddTag(name, clean(value))
	}
}

func (l *Lines) field(name string, v lineprotocol.Value) { l.encoder.AddField(name, v) }

// Float adds a number, if it is one.
func (l *Lines) Float(name string, x float64) {
	if v, ok := lineprotocol.FloatValue(x); ok {
		l.field(name, v)
	}
}

// Known adds a number, if there is one.
func (l *Lines) Known(name string, x *float64) {
	if x != nil {
		l.Float(name, *x)
	}
}

// Int adds a whole number.
func (l *Lines) Int(name string, n int64) { l.field(name, lineprotocol.IntValue(n)) }

// Uint adds a count. InfluxDB 1.8 has no unsigned numbers: it is an integer there, and one beyond is left at the largest.
func (l *Lines) Uint(name string, n uint64) { l.Int(name, int64(min(n, math.MaxInt64))) }

// Bool adds a truth.
func (l *Lines) Bool(name string, b bool) { l.field(name, lineprotocol.BoolValue(b)) }

// Text adds a text, if it is not empty.
func (l *Lines) Text(name, s string) {
	if s == "" {
		return
	}
	if v, ok := lineprotocol.StringValue(clean(s)); ok {
		l.field(name, v)
	}
}

// End ends the point. One that cannot be written is left out and counted.
func (l *Lines) End(unixNano int64) {
	l.encoder.EndLine(time.Unix(0, unixNano))
	if l.encoder.Err() != nil {
		l.Malformed++
		l.encoder.SetBuffer(l.encoder.Bytes()) // it has taken the point's beginning out
		return
	}
	l.Count++
}

// Bytes returns the points. They are overwritten after Reset.
func (l *Lines) Bytes() []byte { return l.encoder.Bytes() }

// Reset forgets the points.
func (l *Lines) Reset() {
	l.encoder.Reset()
	l.Count, l.Malformed = 0, 0
}

// clean makes a text that the protocol can carry in one line: names come from configurations and from other hosts.
func clean(s string) string {
	good := utf8.ValidString(s) && !strings.HasSuffix(s, `\`)
	for i := 0; good && i < len(s); i++ {
		good = s[i] >= ' ' && s[i] != 0x7f
	}
	if good {
		return s
	}
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if strings.HasSuffix(s, `\`) {
		s += " "
	}
	return s
}
