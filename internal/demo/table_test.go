package demo

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

func ptr(x float64) *float64 { return &x }

// extremeSecond has the longest texts that can be.
func extremeSecond() (*Second, *Summary) {
	s := &Second{ElapsedS: 86399.7, PrecisionS: ptr(999.99e-6), PrecisionBoundS: ptr(-999.99e-3), AccuracyS: ptr(12345.6), AccuracyBoundS: ptr(1)}
	t := &Summary{
		DurationS: 86399.7, PrecisionS: ptr(999.99e-6), PrecisionBoundS: ptr(999.99e-3), AccuracyS: ptr(1), AccuracyBoundS: nil,
		BoundViolations: 1 << 40, Samples: 1 << 40, SynchronisedAfterS: ptr(3599.9), TimeTo100usS: ptr(3600.1),
	}
	for _, status := range []virtualclock.Status{virtualclock.Unsynchronised, virtualclock.Disrupted, virtualclock.Holdover, virtualclock.Synchronised} {
		s.Hosts = append(s.Hosts, HostSecond{
			Name: "host31", Status: status, Reason: reason.CounterBackwards, OscillatorPPM: -54.99, LeftAloneS: -999.99e-6,
			ClockRatePPM: ptr(-555.55), ErrorS: ptr(-999.99e-3), BoundS: ptr(999.99e-6),
		})
		t.Hosts = append(t.Hosts, HostSummary{Name: "host31", LeftAloneS: 999.99e-6, ErrorRMSS: ptr(999.99e-6), ErrorP99S: nil, BoundViolations: 1, WorstViolationS: ptr(1e-6)})
	}
	return s, t
}

func TestThePictureFitsIntoEightyColumns(t *testing.T) {
	s, total := extremeSecond()
	o := &Options{Hosts: MaxHosts, Poll: 10 * time.Second}
	// A reason's explanation, the number of violations and a path may be longer: the terminal's width cuts them.
	lines := append(introduction(o, "/tmp/clockd-demo-4294967295"), body(s, total)...)
	for _, l := range append(lines, conclusion(total)...) {
		if text := l.show(0, false); utf8.RuneCountInString(text) > 80 && !strings.HasPrefix(text, "!") {
			t.Errorf("%d columns: %s", utf8.RuneCountInString(text), text)
		}
	}
	// Every column is apart from its neighbour.
	for _, l := range body(s, total) {
		if text := l.show(0, false); strings.HasPrefix(text, "host31") && len(strings.Fields(text)) != 12 {
			t.Errorf("the columns touch: %s", text)
		}
	}
}

func TestALineIsCutAtTheWidthOfTheTerminal(t *testing.T) {
	l := line{{"µµµµ", red}, {"bbbb", plain}, {"cccc", green}}
	for columns, want := range map[int]string{
		0: "µµµµbbbbcccc", 1: "µ", 4: "µµµµ", 6: "µµµµbb", 8: "µµµµbbbb", 9: "µµµµbbbbc", 12: "µµµµbbbbcccc", 99: "µµµµbbbbcccc",
	} {
		if got := l.show(columns, false); got != want {
			t.Errorf("%d columns: %q", columns, got)
		}
		coloured := l.show(columns, true)
		if got := regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(coloured, ""); got != want {
			t.Errorf("%d columns in colour: %q", columns, coloured)
		}
		if strings.Count(coloured, "\x1b[3") != strings.Count(coloured, "\x1b[0m") {
			t.Errorf("%d columns: a colour is left on: %q", columns, coloured)
		}
	}
}

func TestFiguresAreWrittenInTheirUnits(t *testing.T) {
	for _, c := range []struct {
		x    *float64
		want string
	}{
		{nil, "-"}, {ptr(0), "0.00 µs"}, {ptr(1.5e-9), "0.00 µs"}, {ptr(-12.346e-6), "-12.35 µs"}, {ptr(999.99e-6), "999.99 µs"},
		{ptr(999.996e-6), "1.00 ms"}, {ptr(0.25), "250.00 ms"}, {ptr(-3), "-3.00 s"},
	} {
		if got := showSeconds(c.x); got != c.want {
			t.Errorf("%v: %q instead of %q", c.x, got, c.want)
		}
	}
	if got := showSigned(ptr(1e-6)) + showSigned(ptr(-1e-6)) + showSigned(nil); got != "+1.00 µs-1.00 µs-" {
		t.Errorf("%q", got)
	}
	if got := showPPM(ptr(-3.14159)) + showPPM(nil); got != "-3.14 ppm-" {
		t.Errorf("%q", got)
	}
}

func TestThePictureSaysWhatIsWrong(t *testing.T) {
	s, total := extremeSecond()
	text := render(body(s, total), 0, false)
	for _, want := range []string{reason.CounterBackwards.Explain(), "violations of a claim", "! host31: true time was outside"} {
		if !strings.Contains(text, want) {
			t.Errorf("nothing of %q in\n%s", want, text)
		}
	}
	for _, c := range []struct {
		summary Summary
		want    string
	}{
		{Summary{}, "never all synchronised"},
		{Summary{SynchronisedAfterS: ptr(1)}, "never all within 100 µs"},
		{Summary{SynchronisedAfterS: ptr(1), TimeTo100usS: ptr(2)}, "within 100 µs of true time after 2.0 s"},
		{Summary{Logs: "/tmp/x/log"}, "/tmp/x/log"},
	} {
		if text := render(conclusion(&c.summary), 0, false); !strings.Contains(text, c.want) {
			t.Errorf("nothing of %q in\n%s", c.want, text)
		}
	}
}

// terminal understands what the picture writes: text, new lines, the cursor up, the rest erased, colours.
type terminal struct {
	t    *testing.T
	rows []string
	row  int
}

var sequence = regexp.MustCompile("^\x1b\\[([0-9]*)([A-Za-z])")

func (v *terminal) Write(p []byte) (int, error) {
	for rest := string(p); rest != ""; {
		for v.row >= len(v.rows) {
			v.rows = append(v.rows, "")
		}
		if m := sequence.FindStringSubmatch(rest); m != nil {
			rest = rest[len(m[0]):]
			switch m[2] {
			case "A":
				n := 0
				for _, c := range m[1] {
					n = 10*n + int(c-'0')
				}
				v.row -= n
				if v.row < 0 {
					v.t.Fatal("the cursor went up over the top")
				}
			case "J":
				v.rows = v.rows[:v.row]
			case "m":
			default:
				v.t.Fatalf("the sequence %q", m[0])
			}
			continue
		}
		r, n := utf8.DecodeRuneInString(rest)
		rest = rest[n:]
		switch r {
		case '\n':
			v.row++
		case '\r':
		default:
			v.rows[v.row] += string(r)
		}
	}
	return len(p), nil
}

func TestTheTableIsDrawnInPlace(t *testing.T) {
	v := &terminal{t: t}
	rows := 50
	o := &Options{Hosts: 4, Poll: time.Second, Out: v, Screen: Screen{Size: func() (int, int) { return 80, rows }, Colour: true}}
	p := &textPicture{options: o, dir: "/tmp/d"}
	s, total := extremeSecond()
	draw := func() {
		t.Helper()
		if err := p.second(s, total); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.begin(); err != nil {
		t.Fatal(err)
	}
	draw()
	high := len(v.rows)
	s.ElapsedS = 86400
	draw()
	if len(v.rows) != high {
		t.Errorf("the picture grew from %d to %d rows", high, len(v.rows))
	}
	// Fewer lines: nothing of the old ones stays.
	for i := range total.Hosts {
		total.Hosts[i].WorstViolationS = nil
	}
	draw()
	if err := p.end(total); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(v.rows, "\n")
	if n := strings.Count(text, "OSCILLATOR"); n != 1 || !strings.Contains(text, "after 24h0m0s") || !strings.Contains(text, "In 86399.7 s") ||
		strings.Contains(text, "true time was outside") {
		t.Errorf("the terminal shows %d tables:\n%s", n, text)
	}
	// A terminal lower than the table: the tables follow each other.
	rows = 5
	draw()
	draw()
	if text := strings.Join(v.rows, "\n"); strings.Count(text, "OSCILLATOR") != 3 {
		t.Errorf("the terminal shows\n%s", text)
	}
}

func TestWithoutATerminalThereAreNoSequences(t *testing.T) {
	var out bytes.Buffer
	p := &textPicture{options: &Options{Hosts: 4, Poll: time.Second, Out: &out}, dir: "/tmp/d"}
	s, total := extremeSecond()
	for _, err := range []error{p.begin(), p.second(s, total), p.second(s, total), p.end(total)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if strings.Contains(out.String(), "\x1b") || strings.Count(out.String(), "OSCILLATOR") != 2 {
		t.Errorf("the output is\n%s", out.String())
	}
}
