package influx

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/influxdata/influxdb-client-go/v2/api/write"
	"github.com/influxdata/line-protocol/v2/lineprotocol"
)

// The client library's own encoder writes the same.
func TestLinesAreThoseOfTheLibrary(t *testing.T) {
	at := time.Unix(1_800_000_000, 123456789)
	var l Lines
	l.Start("m, =x")
	l.Tag("a", `b,c =d`)
	l.Tag("empty", "")
	l.Tag("z", "é")
	l.Float("f", -1.25e-9)
	l.Float("inf", math.Inf(1))
	l.Float("nan", math.NaN())
	l.Known("none", nil)
	l.Int("i", -5)
	l.Uint("most", math.MaxUint64)
	l.Bool("yes", true)
	l.Text("t", `say "x\y" twice`)
	l.Text("no", "")
	l.End(at.UnixNano())
	p := write.NewPointWithMeasurement("m, =x").AddTag("a", `b,c =d`).AddTag("z", "é").AddField("f", -1.25e-9).AddField("i", int64(-5)).
		AddField("most", int64(math.MaxInt64)).AddField("t", `say "x\y" twice`).AddField("yes", true).SetTime(at)
	parse := func(text string) map[string]any {
		d := lineprotocol.NewDecoderWithBytes([]byte(text))
		if !d.Next() {
			t.Fatal(text)
		}
		out := map[string]any{}
		m, err := d.Measurement()
		out["m"] = string(m)
		for err == nil {
			var k, v []byte
			if k, v, err = d.NextTag(); k == nil {
				break
			}
			out["tag "+string(k)] = string(v)
		}
		for err == nil {
			var k []byte
			var v lineprotocol.Value
			if k, v, err = d.NextField(); k == nil {
				break
			}
			out["field "+string(k)] = v.Interface()
		}
		when, timeErr := d.Time(lineprotocol.Nanosecond, time.Time{})
		if err != nil || timeErr != nil {
			t.Fatal(text, err, timeErr)
		}
		out["time"] = when.UnixNano()
		return out
	}
	ours, theirs := parse(string(l.Bytes())), parse(write.PointToLineProtocol(p, time.Nanosecond))
	if len(ours) != len(theirs) || len(ours) != 9 {
		t.Errorf("%v\n%v", ours, theirs)
	}
	for k, v := range theirs {
		if ours[k] != v {
			t.Errorf("%s is %v, with the library %v", k, ours[k], v)
		}
	}
}

// A point that cannot be is left out, and the others stay whole.
func TestMalformedPointIsLeftOut(t *testing.T) {
	var l Lines
	for n := range 5 {
		l.Start("m")
		l.Tag("k", "v")
		switch n {
		case 1: // no field
		case 2:
			l.Tag("a", "out of order")
			l.Float("x", 2)
		case 3:
			l.Float("bad\nname", 3)
		default:
			l.Float("x", float64(n))
		}
		l.End(int64(n))
	}
	if got := string(l.Bytes()); got != "m,k=v x=0 0\nm,k=v x=4 4\n" || l.Count != 2 || l.Malformed != 3 {
		t.Errorf("%q, %d points, %d malformed", got, l.Count, l.Malformed)
	}
	l.Reset()
	if len(l.Bytes()) != 0 || l.Count+l.Malformed != 0 {
		t.Error("something is left")
	}
}

// Whatever others are called and say, a point is one line, which is read back as one.
func FuzzTexts(f *testing.F) {
	f.Add("ntp.example.org", "all is well")
	f.Add("a\\", "x\n#clockd 1 1 1 00000000\n")
	f.Add("\xff\x00\x7f", "\u2028\\\"")
	f.Fuzz(func(t *testing.T, name, text string) {
		var l Lines
		l.Start("m")
		l.Tag("name", name)
		l.Text("text", text)
		l.Bool("b", true)
		l.End(1)
		if l.Count != 1 || strings.Count(string(l.Bytes()), "\n") != 1 {
			t.Fatalf("%q", l.Bytes())
		}
		d := lineprotocol.NewDecoderWithBytes(l.Bytes())
		if !d.Next() {
			t.Fatalf("%q", l.Bytes())
		}
		if _, err := d.Measurement(); err != nil {
			t.Fatal(err)
		}
		for {
			k, v, err := d.NextTag()
			if err != nil {
				t.Fatalf("%q: %v", l.Bytes(), err)
			}
			if k == nil {
				break
			}
			if string(v) != clean(name) {
				t.Errorf("%q is read as %q", clean(name), v)
			}
		}
		for {
			k, v, err := d.NextField()
			if err != nil {
				t.Fatalf("%q: %v", l.Bytes(), err)
			}
			if k == nil {
				break
			}
			if string(k) == "text" && v.StringV() != clean(text) {
				t.Errorf("%q is read as %q", clean(text), v.StringV())
			}
		}
		if d.Next() {
			t.Fatalf("%q is two points", l.Bytes())
		}
	})
}
