package main

import (
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/clockd/clockd/internal/lab/live"
	"github.com/clockd/clockd/internal/lab/result"
	"github.com/clockd/clockd/internal/sim"
	"github.com/clockd/clockd/virtualclock"
)

// screen shows a run under way: a table that is drawn anew on a terminal, and a line for each event elsewhere.
type screen struct {
	app    *app
	plan   *live.Plan
	drawn  int // lines
	events int
	told   float64
	// two: two programs are compared, which are no ensemble.
	two bool
}

const (
	// tellEvery is how many seconds pass between two lines where there is no terminal.
	tellEvery  = 30
	lastEvents = 4
)

func newScreen(a *app, p *live.Plan) *screen { return &screen{app: a, plan: p} }

// show shows one second.
func (s *screen) show(v *live.View) {
	if s.app.terminal {
		s.draw(s.lines(v), width(s.app.err))
		return
	}
	for ; s.events < len(v.Events); s.events++ {
		if e := &v.Events[s.events]; e.Kind != result.EventStatus {
			_, _ = fmt.Fprintf(s.app.err, "%6.1f s  %s\n", e.At.Float(), e.Text)
		}
	}
	if v.Measuring && v.Elapsed-s.told >= tellEvery {
		s.told = v.Elapsed
		_, _ = fmt.Fprintf(s.app.err, "%6.1f s  of %v; %d claims checked, %d wrong\n", v.Elapsed, time.Duration(s.plan.For), v.Checked, v.Wrong)
	}
}

// short is a number of seconds for people, - for none.
func short(x float64) string { return seconds(sim.Number(x)) }

// draw replaces what was drawn last.
func (s *screen) draw(lines []string, columns int) {
	var b strings.Builder
	if s.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", s.drawn)
	}
	for _, l := range lines {
		if utf8.RuneCountInString(l) >= columns {
			l = string([]rune(l)[:max(columns-1, 0)])
		}
		b.WriteString("\r" + l + "\x1b[K\n")
	}
	b.WriteString("\x1b[J")
	s.drawn = len(lines)
	_, _ = fmt.Fprint(s.app.err, b.String())
}

// end leaves the terminal to the table that is printed at the end.
func (s *screen) end() {
	if s.drawn > 0 {
		_, _ = fmt.Fprintf(s.app.err, "\x1b[%dA\x1b[J", s.drawn)
	}
}

// lines are the table.
func (s *screen) lines(v *live.View) []string {
	length := time.Duration(s.plan.For).Seconds()
	head := fmt.Sprintf("%s, %d hosts, %d masters, %s", s.plan.Mode, s.plan.Hosts, s.plan.Masters, v.Network)
	progress := "the clocks are being synchronised …"
	if v.Measuring {
		part := min(v.Elapsed/length, 1)
		left := time.Duration((length - min(v.Elapsed, length)) * 1e9).Round(time.Second)
		progress = fmt.Sprintf("[%s] %3.0f %%, %v left", bar(part), 100*part, left)
	}
	error := "error"
	if s.plan.Mode == live.ModeInternal {
		error = "from middle"
	}
	all := []string{head, progress, "", fmt.Sprintf("%-5s %-15s %11s %11s %11s %9s  %s", "host", "status", error, "claims ±", "worst", "counter", "")}
	for i := range v.Hosts {
		all = append(all, hostLine(&v.Hosts[i]))
	}
	if s.two {
		return append(all, "", fmt.Sprintf("%d claims checked, %d wrong", v.Checked, v.Wrong))
	}
	all = append(all, "", fmt.Sprintf("π_v precision  %11s now %11s worst   bound %s", short(v.Precision), short(v.PrecisionWorst), short(v.PrecisionBound)))
	if s.plan.Mode != live.ModeInternal {
		all = append(all, fmt.Sprintf("α_v accuracy   %11s now %11s worst   claimed %s", short(v.Accuracy), short(v.AccuracyWorst), short(v.AccuracyClaim)))
	}
	if s.plan.Group() {
		all = append(all, fmt.Sprintf("δ_v convergence %10s after the last of %d rounds", short(v.Convergence), v.Rounds))
	}
	all = append(all, fmt.Sprintf("%d claims checked, %d wrong", v.Checked, v.Wrong))
	for _, e := range scripted(v.Events) {
		all = append(all, fmt.Sprintf("%6.1f s  %s", e.At.Float(), e.Text))
	}
	return all
}

// scripted are the last events of the script.
func scripted(events []result.Event) []result.Event {
	var all []result.Event
	for _, e := range events {
		if e.Kind != result.EventStatus {
			all = append(all, e)
		}
	}
	return all[max(0, len(all)-lastEvents):]
}

func hostLine(h *live.HostView) string {
	status, note := "-", h.State
	if h.Known {
		status = h.Status.String()
		if h.Status != virtualclock.Synchronised && note == "" {
			note = h.Why.Explain()
		}
	}
	if h.Liar {
		note = strings.TrimSuffix("lies, "+note, ", ")
	}
	if h.Wrong > 0 {
		note = fmt.Sprintf("%d WRONG claims", h.Wrong)
	}
	oscillator := "-"
	if !math.IsNaN(h.OscillatorPPM) {
		oscillator = fmt.Sprintf("%+.1f ppm", h.OscillatorPPM)
	}
	return fmt.Sprintf("%-5s %-15s %11s %11s %11s %9s  %s", h.Name, status, short(h.Error), short(h.Claim), short(h.Worst), oscillator, note)
}
