package observe

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/clockd/clockd/reason"
)

// Table writes where all servers stand now: a line for each, and what follows from them together.
func (r *Report) Table(w io.Writer) error {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "SERVER\tSTRATUM\tOFFSET\tCERTAIN\tESTIMATE\tDELAY\tROOT DISTANCE\tANSWERS\tVERDICT")
	for i := range r.Servers {
		s := &r.Servers[i]
		middle, half := missing, missing
		if s.Low != nil && s.High != nil {
			middle, half = Signed((*s.Low+*s.High)/2), "±"+Seconds((*s.High-*s.Low)/2)
		}
		estimate := missing
		if s.Estimate != nil && s.Std != nil {
			estimate = Signed(*s.Estimate) + " (σ " + Seconds(*s.Std) + ")"
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d/%d\t%s\n", Clean(s.Host), whole(s.Stratum), middle, half, estimate, optional(s.Delay.Median),
			optional(s.RootDistance), s.SamplesOK, s.SamplesSent, s.verdict())
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("observe: write the table: %w", err)
	}
	b.WriteString("\n" + r.together() + "\n")
	for i := range r.Pairs {
		if p := &r.Pairs[i]; p.Latest != nil && p.Latest.size() > 0 {
			fmt.Fprintf(&b, "%s and %s contradict each other: they are at least %s apart, at most %s\n", Clean(p.A), Clean(p.B),
				Seconds(p.Latest.size()), Seconds(max(p.Latest.Most, -p.Latest.Least)))
		}
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("observe: write the table: %w", err)
	}
	return nil
}

func whole(n *int) string {
	if n == nil {
		return missing
	}
	return fmt.Sprint(*n)
}

func optional(x *float64) string {
	if x == nil {
		return missing
	}
	return Seconds(*x)
}

// verdict is a server's standing in a few words.
func (s *ServerReport) verdict() string {
	switch {
	case s.Reason == reason.SourceFalseticker && s.Off != nil:
		return fmt.Sprintf("FALSE: off by %s to %s", Signed(s.Off.Least), Signed(s.Off.Most))
	case s.Stopped:
		return s.Reason.String() + ": not asked any more"
	case s.Reason == reason.OK && s.RoundsFalse > 0:
		return fmt.Sprintf("ok; was false %d times", s.RoundsFalse)
	}
	return s.Reason.String()
}

// together says what all servers prove.
func (r *Report) together() string {
	n := r.Now
	if n == nil {
		return "No round is over yet."
	}
	switch n.Reason {
	case reason.OK:
		return fmt.Sprintf("If %s, the system clock must be corrected by %s to %s; statistically by %s (σ %s).", condition(n.MaxFalse, n.Taking),
			Signed(*n.Low), Signed(*n.High), Signed(*n.Estimate), Seconds(*n.Std))
	case reason.NoMajority:
		if n.MaxFalse == 0 {
			return fmt.Sprintf("At least one of the %d is false: nobody can tell which, and nothing is known of true time.", n.Taking)
		}
		return fmt.Sprintf("More than %d of %d are false: nobody can tell which, and nothing is known of true time.", n.MaxFalse, n.Taking)
	case reason.TooFewSources:
		return fmt.Sprintf("%d servers answer: too few to know true time if %d may be false.", n.Taking, n.MaxFalse)
	}
	return n.Reason.Explain()
}

// condition is on what what is proved depends.
func condition(f, n int) string {
	switch {
	case n == 1:
		return "the server is within the error that it states"
	case f == 0:
		return fmt.Sprintf("none of the %d is false", n)
	case f == 1:
		return fmt.Sprintf("at most 1 of the %d is false", n)
	}
	return fmt.Sprintf("at most %d of the %d are false", f, n)
}

// Line is one line about the last round, for a log.
func (r *Report) Line() string {
	n := r.Now
	if n == nil {
		return "no round is over yet"
	}
	var b strings.Builder
	at := n.Realtime
	if t, err := time.Parse(time.RFC3339Nano, n.Realtime); err == nil {
		at = t.Format("15:04:05")
	}
	fmt.Fprintf(&b, "%s UTC  round %d: %d of %d compared", at, r.Rounds, n.Taking, len(r.Servers))
	if n.Reason == reason.OK {
		fmt.Fprintf(&b, "; correct the system clock by %s ± %s", Signed((*n.Low+*n.High)/2), Seconds((*n.High-*n.Low)/2))
	} else {
		fmt.Fprintf(&b, "; %s", strings.ReplaceAll(n.Reason.String(), "_", " "))
	}
	for i := range r.Servers {
		s := &r.Servers[i]
		if s.Reason != reason.OK {
			fmt.Fprintf(&b, "; %s: %s", Clean(s.Host), s.verdict())
		}
	}
	return b.String()
}

// Summary writes the result for people.
func (r *Report) Summary(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Observed %s for %v in %d rounds, a request every %v at the most", count(len(r.Servers), "server"), round(r.Measured),
		r.Rounds, duration(r.Config.Poll))
	if r.GapsTotal > 0 {
		fmt.Fprintf(&b, ", with %s", count(int(r.GapsTotal), "gap"))
	}
	b.WriteString(".\n")
	if r.Ended != nil && *r.Ended == EndInterrupted {
		b.WriteString("It was interrupted; this is what was measured until then.\n")
	}
	b.WriteString("\n")
	if err := r.Table(&b); err != nil {
		return err
	}
	r.noteSteps(&b)
	r.noteServers(&b)
	r.noteStability(&b)
	r.noteEvents(&b)
	if l := r.Log; l != nil && l.Damaged > 0 {
		fmt.Fprintf(&b, "\n%s of the record damaged and not used; the first is line %d: %s\n", count(int(l.Damaged), "line"), l.Damages[0].Line, Clean(l.Damages[0].Why))
	}
	b.WriteString(explanation)
	_, err := io.WriteString(w, b.String())
	if err != nil {
		return fmt.Errorf("observe: write the summary: %w", err)
	}
	return nil
}

// round leaves of a length of time what a person wants to know.
func round(seconds float64) time.Duration {
	if seconds < 10 {
		return duration(seconds).Round(10 * time.Millisecond)
	}
	return duration(seconds).Round(time.Second)
}

const explanation = `
OFFSET is the server's clock − this host's system clock; CERTAIN holds if the server is within the error that it states (ROOT DISTANCE)
and this host's counter within its drift bound. ESTIMATE is statistical: σ knows nothing of paths that are slower one way than the other.
`

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func (r *Report) noteSteps(b *strings.Builder) {
	if r.SystemSteps > 0 {
		fmt.Fprintf(b, "The system clock was stepped %s, by %s in all; the series against the raw counter went on.\n", times(r.SystemSteps), Signed(r.SystemStepped))
	}
}

func times(n int64) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// noteServers tells of each server what the table has no room for.
func (r *Report) noteServers(b *strings.Builder) {
	for i := range r.Servers {
		s := &r.Servers[i]
		if s.Reason != reason.OK && s.Reason != reason.SourceFalseticker {
			fmt.Fprintf(b, "%s: %s", Clean(s.Host), s.Reason.Explain())
			if s.Message != nil {
				fmt.Fprintf(b, " (%s)", Clean(*s.Message))
			}
			b.WriteString("\n")
		}
		if s.RoundsFalse > 0 && s.Worst != nil {
			fmt.Fprintf(b, "%s: false in %d of %d rounds; at the worst off by %s to %s\n", Clean(s.Host), s.RoundsFalse, s.RoundsJudged,
				Signed(s.Worst.Least), Signed(s.Worst.Most))
		}
		if s.Contradictions > 0 {
			fmt.Fprintf(b, "%s: contradicted itself %s: its clock moved in a way that it, or this host's counter, must not\n", Clean(s.Host), times(int64(s.Contradictions)))
		}
	}
}

// noteStability shows the stability of each server at a few intervals.
func (r *Report) noteStability(b *strings.Builder) {
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	title := "\nStability of server, network and this host's oscillator together:\nSERVER\tτ\tADEV\tTDEV\tMTIE\n"
	for i := range r.Servers {
		title = stabilityRows(t, title, Clean(r.Servers[i].Host), r.Servers[i].Stability)
	}
	if len(r.Pairs) > shownPairs {
		_ = t.Flush()
		return // too much for a terminal: it is in the JSON
	}
	title = "\nStability of two servers against each other, this host's oscillator cancelled:\nSERVERS\tτ\tADEV\tTDEV\tMTIE\n"
	for i := range r.Pairs {
		title = stabilityRows(t, title, Clean(r.Pairs[i].A)+" − "+Clean(r.Pairs[i].B), r.Pairs[i].Stability)
	}
	_ = t.Flush()
}

// stabilityRows prints the shortest, the middle and the longest interval, under the title if it is not printed yet.
func stabilityRows(w io.Writer, title, name string, s *Stability) string {
	if s == nil || len(s.Points) == 0 {
		return title
	}
	if title != "" {
		_, _ = io.WriteString(w, title)
	}
	n := len(s.Points)
	shown := map[int]bool{}
	for _, i := range []int{0, n / 2, n - 1} {
		if shown[i] {
			continue
		}
		shown[i] = true
		p := &s.Points[i]
		adev := missing
		if p.ADEV != nil {
			adev = fmt.Sprintf("%.2g", *p.ADEV)
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", name, Seconds(p.Tau), adev, optional(p.TDEV), optional(p.MTIE))
	}
	return ""
}

// How much of a list is shown on a terminal; the JSON has all of it.
const (
	shownEvents = 20
	shownPairs  = 6
)

func (r *Report) noteEvents(b *strings.Builder) {
	if len(r.Events) == 0 {
		return
	}
	b.WriteString("\nWhat happened:\n")
	for i, e := range r.Events {
		if i == shownEvents {
			fmt.Fprintf(b, "  … and %d more\n", int64(len(r.Events)-i)+r.EventsDropped)
			break
		}
		who := ""
		if e.Server != nil {
			who = Clean(*e.Server) + ": "
		}
		fmt.Fprintf(b, "  %8v  %s%s\n", round(e.At), who, Clean(e.Text))
	}
}
