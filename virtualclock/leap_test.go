package virtualclock

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"
)

const shortList = "#$ 3960835200\n#@ 3991766400\n3644697600 36 # 1 Jul 2015\n3692217600\t37 # 1 Jan 2017\n"

func day(text string) Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return minTime
	}
	return FromTime(t)
}

// The system's two files say the same, and what everybody knows.
func TestTheSystemsTables(t *testing.T) {
	var tables []*LeapTable
	for _, path := range []string{"/usr/share/zoneinfo/leap-seconds.list", "/usr/share/zoneinfo/leapseconds"} {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Skipf("no table of leap seconds here: %v", err)
		}
		l, err := ParseLeapTable(b)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		tables = append(tables, l)
		for when, want := range map[string]int32{"1972-01-01T00:00:00Z": 10, "1972-06-30T23:59:59Z": 10, "1972-07-01T00:00:00Z": 11,
			"1999-01-01T00:00:00Z": 32, "2016-12-31T23:59:59Z": 36, "2017-01-01T00:00:00Z": 37, "2024-02-29T12:00:00Z": 37} {
			if got, ok := l.TAI(day(when)); !ok || got != want {
				t.Errorf("%s: TAI - UTC at %s is %d, %v", path, when, got, ok)
			}
		}
		for _, when := range []string{"1971-12-31T23:59:59Z", "2150-01-01T00:00:00Z"} {
			if got, ok := l.TAI(day(when)); ok {
				t.Errorf("%s: at %s it says %d", path, when, got)
			}
		}
	}
	if tables[0].Expires() != tables[1].Expires() || len(tables[0].seconds) != len(tables[1].seconds) {
		t.Errorf("they differ: %v and %v", tables[0], tables[1])
	}
}

func TestNearALeapSecond(t *testing.T) {
	l, err := ParseLeapTable([]byte(shortList))
	if err != nil {
		t.Fatal(err)
	}
	midnight := day("2017-01-01T00:00:00Z")
	for when, want := range map[string]bool{"2016-12-30T23:59:59Z": false, "2016-12-31T00:00:00Z": true, "2017-01-01T00:00:00Z": true,
		"2017-01-01T23:59:59Z": true, "2017-01-02T00:00:00Z": false, "2015-07-01T00:00:00Z": false} {
		got, sign, ok := l.Near(day(when), 24*time.Hour)
		if ok != want || ok && (got != midnight || sign != 1) {
			t.Errorf("%s: %v %d %v", when, got, sign, ok)
		}
	}
}

func TestDamagedTables(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "no expiry": "3692217600 37\n", "damaged": shortList + "#h 1 2 3 4 5\n", "few words": shortList + "#h 1\n", "order": "#@ 3991766400\n3692217600 37\n3644697600 36\n",
		"two at once": "#@ 3991766400\n3644697600 36\n3692217600 38\n", "not midnight": "#@ 3991766400\n3644697601 36\n", "words": "#@ 3991766400\nhello world\n",
		"expired at once": "#@ 3644697600\n3644697600 36\n", "huge": "#@ 99999999999999999\n3644697600 36\n", "rolling": "#expires 1782604800\nLeap 2016 Dec 31 23:59:60 + R\n",
		"no date": "#expires 1782604800\nLeap 2016 Foo 31 23:59:60 + S\n", "one field": "#expires \n",
	} {
		if l, err := ParseLeapTable([]byte(text)); err == nil {
			t.Errorf("%s: %+v", name, l)
		}
	}
	if _, err := ParseLeapTable(bytes.Repeat([]byte("#"), maxLeapTable+1)); err == nil {
		t.Error("a file without end is taken")
	}
	if b, err := os.ReadFile("/usr/share/zoneinfo/leap-seconds.list"); err == nil {
		if _, err := ParseLeapTable([]byte(strings.Replace(string(b), "1 Jan 1972", "x", 1))); err != nil {
			t.Errorf("a comment changes the checksum: %v", err)
		}
		if _, err := ParseLeapTable([]byte(strings.Replace(string(b), "3692217600", "3692304000", 1))); err == nil {
			t.Error("a changed date is not noticed")
		}
	}
}

func FuzzParseLeapTable(f *testing.F) {
	f.Add([]byte(shortList))
	f.Add([]byte("#expires 1782604800 (2026-06-28)\nLeap	2016	Dec	31	23:59:60	+	S\n"))
	f.Add([]byte("Expires 2026 Jun 28 00:00:00\nLeap 1972 Jun 30 23:59:60 + S\nLeap 2040 Dec 31 23:59:59 - S\n"))
	f.Add([]byte("#expires \n#h\n#$\n#@\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := ParseLeapTable(text)
		if err != nil {
			return
		}
		for i, s := range l.seconds {
			if i > 0 && (!s.Time.After(l.seconds[i-1].Time) || s.Offset == l.seconds[i-1].Offset) {
				t.Fatalf("out of order: %v", l.seconds)
			}
			if got, ok := l.TAI(s.Time); !ok || got != s.Offset {
				t.Fatalf("at %v: %d, %v", s.Time, got, ok)
			}
		}
		if _, ok := l.TAI(l.expires); ok {
			t.Fatal("an expired table answers")
		}
	})
}
