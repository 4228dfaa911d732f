package demo

import (
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/clockd/clockd/virtualclock"
)

// paint is a colour of the terminal, "" for none.
type paint string

// The colours of ECMA-48.
const (
	plain  paint = ""
	bold   paint = "1"
	dim    paint = "2"
	red    paint = "31"
	green  paint = "32"
	yellow paint = "33"
)

// line is a line of text in parts of different colours.
type line []part

type part struct {
	text  string
	paint paint
}

func text(format string, a ...any) line { return line{{fmt.Sprintf(format, a...), plain}} }

// show writes the line with no more than that many columns, 0 for any number.
func (l line) show(columns int, colour bool) string {
	var b strings.Builder
	for _, p := range l {
		s := p.text
		if columns > 0 {
			n := utf8.RuneCountInString(s)
			if n > columns {
				s, n = string([]rune(s)[:columns]), columns
			}
			if columns -= n; columns == 0 {
				columns = -1
			}
		} else if columns < 0 {
			break
		}
		if colour && p.paint != plain {
			s = "\x1b[" + string(p.paint) + "m" + s + "\x1b[0m"
		}
		b.WriteString(s)
	}
	return strings.TrimRight(b.String(), " ")
}

// introduction tells a newcomer what is to be seen, in at most 80 columns.
func introduction(o *Options, dir string) []line {
	if o.Group() {
		return groupIntroduction(o, dir)
	}
	hosts := fmt.Sprintf("%d hosts", o.Hosts)
	if o.Hosts == 1 {
		hosts = "1 host"
	}
	return []line{
		{{"clockd demo", bold}, {fmt.Sprintf(": 1 master and %s on this machine, each a whole clockd daemon.", hosts), plain}},
		text("Each host's oscillator is wrong by tens of ppm: left alone, the clocks part."),
		text("So every %v each asks the master over UDP how late it is. An observer, who", o.Poll),
		text("alone sees the true counter, checks about 100 times a second that no clock is"),
		text("further from true time than it claims to be."),
		{{"Look closer: clockd status --control " + dir + "/host1/control", dim}},
		nil,
	}
}

// statusPaint is a status' colour.
func statusPaint(s virtualclock.Status) paint {
	switch s {
	case virtualclock.Synchronised:
		return green
	case virtualclock.Holdover:
		return yellow
	}
	return red
}

// hostLine is one row of the table: 78 columns.
func hostLine(name, status, oscillator, alone, rate, wrong, claim string, p paint) line {
	return line{
		{fmt.Sprintf("%-7s", name), plain}, {fmt.Sprintf("%-14s", status), p},
		{fmt.Sprintf("%11s%11s%12s%12s%11s", oscillator, alone, rate, wrong, claim), plain},
	}
}

// body is the part of the picture that changes: seconds and what has been seen so far.
func body(s *Second, t *Summary) []line {
	if s.Group != nil {
		return groupBody(s, t)
	}
	out := []line{
		elapsedLine(s),
		{{hostLine("HOST", "STATE", "OSCILLATOR", "LEFT ALONE", "CLOCK RATE", "TRUE ERROR", "CLAIMED ±", plain).show(0, false), dim}},
		hostLine("master", "true time", "", "", "", "", "", plain),
	}
	for i := range s.Hosts {
		h := &s.Hosts[i]
		out = append(out, hostLine(h.Name, h.Status.String(), showPPM(&h.OscillatorPPM), showSigned(&h.LeftAloneS),
			showPPM(h.ClockRatePPM), showSigned(h.ErrorS), showSeconds(h.BoundS), statusPaint(h.Status)))
	}
	row := "%-33s%11s%11s%12s%11s"
	out = append(out, nil,
		line{{fmt.Sprintf("%-33s%22s%23s", "", "LAST SECOND", "SINCE SYNCHRONISED"), dim}},
		line{{fmt.Sprintf(row, "", "MEASURED", "CLAIMED ±", "WORST", "CLAIMED ±"), dim}},
		text(row, "precision: two hosts apart", showSeconds(s.PrecisionS), showSeconds(s.PrecisionBoundS),
			showSeconds(t.PrecisionS), showSeconds(t.PrecisionBoundS)),
		text(row, "accuracy: a host from true time", showSeconds(s.AccuracyS), showSeconds(s.AccuracyBoundS),
			showSeconds(t.AccuracyS), showSeconds(t.AccuracyBoundS)),
	)
	out = append(out, verdict(t))
	for i := range s.Hosts {
		out = append(out, trouble(&s.Hosts[i], &t.Hosts[i])...)
	}
	return out
}

func elapsedLine(s *Second) line {
	return line{{fmt.Sprintf("after %v", (time.Duration(s.ElapsedS) * time.Second)), bold}}
}

// verdict says whether all claims have held.
func verdict(t *Summary) line {
	p := green
	switch {
	case t.BoundViolations > 0 && t.void():
		p = yellow
	case t.BoundViolations > 0:
		p = red
	}
	return line{{fmt.Sprintf("%d violations of a claim", t.BoundViolations), p}, {fmt.Sprintf(" in %d samples", t.Samples), plain}}
}

// trouble tells what is wrong with one host.
func trouble(h *HostSecond, t *HostSummary) (out []line) {
	if h.Status != virtualclock.Synchronised {
		out = append(out, line{{"! " + h.Name + ": " + h.Reason.Explain(), yellow}})
	}
	if t.WorstViolationS != nil {
		out = append(out, line{{fmt.Sprintf("! %s: true time was outside of the claimed interval %d times, by up to %s", h.Name, t.BoundViolations,
			showSeconds(t.WorstViolationS)), red}})
	}
	return out
}

// conclusion is the last thing that a person reads.
func conclusion(t *Summary) []line {
	if t.Group != nil {
		return groupConclusion(t)
	}
	out := []line{
		nil,
		{{fmt.Sprintf("In %.1f s: ", t.DurationS), bold}, verdict(t)[0], verdict(t)[1]},
	}
	switch {
	case t.SynchronisedAfterS == nil:
		out = append(out, text("The hosts were never all synchronised."))
	case t.TimeTo100usS == nil:
		out = append(out, text("All were synchronised after %.1f s, but never all within 100 µs of true time.", *t.SynchronisedAfterS))
	default:
		out = append(out, text("All were synchronised after %.1f s, within 100 µs of true time after %.1f s.", *t.SynchronisedAfterS,
			*t.TimeTo100usS))
	}
	out = append(out,
		line{{hostLine("HOST", "", "LEFT ALONE", "ERROR RMS", "P99", "MAX", "CLAIMED ±", plain).show(0, false), dim}})
	for i := range t.Hosts {
		h := &t.Hosts[i]
		out = append(out, hostLine(h.Name, "", showSigned(&h.LeftAloneS), showSeconds(h.ErrorRMSS), showSeconds(h.ErrorP99S),
			showSeconds(h.ErrorMaxS), showSeconds(h.BoundMedianS), plain))
	}
	if t.Logs != "" {
		out = append(out, line{{"The daemons' logs: " + t.Logs, yellow}})
	}
	return out
}

// showSeconds writes a length of time, "-" if it is not known: in microseconds, so that figures below each other can be compared,
// but for those that would be too long.
func showSeconds(x *float64) string {
	if x == nil {
		return "-"
	}
	switch size := math.Abs(*x); {
	case size < 999.995e-6:
		return fmt.Sprintf("%.2f µs", *x*1e6)
	case size < 999.995e-3:
		return fmt.Sprintf("%.2f ms", *x*1e3)
	}
	return fmt.Sprintf("%.2f s", *x)
}

func showSigned(x *float64) string {
	if x != nil && *x >= 0 {
		return "+" + showSeconds(x)
	}
	return showSeconds(x)
}

func showPPM(x *float64) string {
	if x == nil {
		return "-"
	}
	return fmt.Sprintf("%+.2f ppm", *x)
}
