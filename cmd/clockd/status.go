package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/clockd/clockd/internal/daemon/control"
)

func newStatus(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "status",
		Short: "Show whether the clock can be trusted, and why",
		Long: `Show what the daemon on this host knows: whether the clock can be trusted and within which
bound, what it follows, and what is wrong if something is. With --json a figure that is not
known is null.`,
		Example: "  clockd status\n  clockd status --json | jq .bound_s",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			var s control.Status
			if err := control.Call(c.Context(), a.control(), control.CommandStatus, &s); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(&s)
			}
			a.showStatus(&s)
			return nil
		},
	}
	return a.asJSON(c)
}

// showStatus is to be understood in five seconds: the first line says all that most people want to know.
func (a *app) showStatus(s *control.Status) {
	verdict := "do not trust this clock: " + s.Explanation
	if s.Status.Sound() {
		verdict = "true time is within " + optional(s.BoundS, showSeconds) + " of this clock"
		if s.Kind == control.KindInternal {
			verdict = "this clock agrees with its peers (INTERNAL: nothing is said of true time)"
		}
		if s.Reason != 0 {
			verdict += "; " + s.Explanation
		}
	}
	a.print("%s  %s\n", a.paint(statusColour(s.Status), "● "+s.Status.String()), verdict)
	var rows [][]string
	row := func(name, format string, args ...any) {
		rows = append(rows, []string{"  " + name, fmt.Sprintf(format, args...)})
	}
	if s.TimeNS != nil {
		row("time", "%s ± %s (epoch %d)", time.Unix(0, *s.TimeNS).UTC().Format("2006-01-02 15:04:05.000000000 MST"),
			optional(s.BoundS, showSeconds), s.Epoch)
	}
	row("source", "%s", sourceLine(s))
	if g := s.Group; g != nil {
		row("group", "%s", groupLine(g))
	}
	row("rate", "%s ± %s", optional(s.RatePPM, showPPM), strings.TrimPrefix(optional(s.RateStdPPM, showPPM), "+"))
	if s.Slewing {
		row("slewing", "%s to go", showSigned(s.SlewLeftS))
	}
	if s.LastSampleAgeS != nil {
		row("last sample", "%s ago", showSeconds(*s.LastSampleAgeS))
	}
	if s.Server != nil {
		listening := strings.Join(s.Server.Listening, ", ")
		row("serving", "%s; %d requests, %d answers (%d interleaved)", firstOf(listening, "nowhere"), s.Server.Requests, s.Server.Answers,
			s.Server.InterleavedAnswers)
		if n := s.Server.NTS; n != nil {
			row("NTS keys", "given on %s; %d exchanges, %d answers under NTS", firstOf(strings.Join(n.Listening, ", "), "nothing"), n.Exchanges, s.Server.NTSAnswers)
		}
	}
	row("counter", "%s, drift bound %g ppm", s.Counter.Spec, s.Counter.DriftBoundPPM)
	row("page", "%s", s.Page)
	row("daemon", "clockd %s, process %d, up %s, configuration %s", s.Version, s.PID, showSeconds(s.UptimeS), firstOf(s.Config.Path, "built in (public servers)"))
	if s.EventLog != nil {
		row("event log", "%s, %d bytes %s", s.EventLog.Path, s.EventLog.Bytes, s.EventLog.Ended)
	}
	a.table(rows)
	for _, t := range s.Trouble {
		a.print("%s %s\n", a.paint(yellow, "!"), t)
	}
}

func sourceLine(s *control.Status) string {
	if s.Mode == "internal" {
		return "none; the clock is that of the group"
	}
	if s.Mode == "local" {
		return "this host is the reference"
	}
	name := "none"
	if s.Source != nil {
		name = *s.Source
	}
	if s.Stratum != nil {
		name += fmt.Sprintf(" (this host is stratum %d)", *s.Stratum)
	}
	n := &s.Sources
	return fmt.Sprintf("%s; %d of %d answer, %d used, %d false (%d may be)", name, n.Answering, n.Configured, n.Used, n.False, n.MaxFalse)
}

func newSources(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "sources",
		Short: "Show every source, what it says and why it is used or not",
		Long: `Show every source with its offset from this clock, the interval that it proves, its round trip,
and why it is used or not. Reach is octal: a bit for each of the last eight requests.`,
		Example: "  clockd sources\n  clockd sources --json | jq '.sources[] | {name, reason}'",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			var s control.Sources
			if err := control.Call(c.Context(), a.control(), control.CommandSources, &s); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(&s)
			}
			a.showSources(&s)
			return nil
		},
	}
	return a.asJSON(c)
}

func (a *app) showSources(s *control.Sources) {
	rows := [][]string{{"", "SOURCE", "ADDRESS", "AUTH", "STRATUM", "REACH", "POLL", "LAST", "OFFSET", "± BOUND", "ROUND TRIP", "STAMPS", "VERDICT"}}
	for i := range s.Sources {
		rows = append(rows, sourceRow(&s.Sources[i]))
	}
	a.table(rows)
	for i := range s.Sources {
		if x := &s.Sources[i]; x.Reason != 0 {
			detail := ""
			if x.Detail != "" {
				detail = " (" + x.Detail + ")"
			}
			a.print("%s %s: %s%s\n", a.paint(yellow, "!"), x.Name, x.Explanation, detail)
		}
	}
	if len(s.Sources) == 0 {
		a.print("no source is configured\n")
	}
}

func sourceRow(x *control.Source) []string {
	mark, address, bound, stamps := " ", "-", "-", "-"
	switch {
	case x.Selected:
		mark = "*"
	case x.Weight > 0:
		mark = "+"
	case x.DistanceS != nil:
		mark = "x"
	}
	if x.Address != nil {
		address = *x.Address
	}
	if x.LowS != nil && x.HighS != nil && x.OffsetS != nil {
		bound = showSeconds(max(*x.OffsetS-*x.LowS, *x.HighS-*x.OffsetS))
	}
	if x.Received > 0 {
		stamps = x.TransmitStamp + "/" + x.ReceiveStamp
		if x.Interleaved {
			stamps += " interleaved"
		}
	}
	verdict := x.Reason.String()
	if x.DistanceS != nil {
		verdict += " by " + showSeconds(*x.DistanceS)
	}
	return []string{
		mark, x.Name, address, x.Authentication, optional(x.Stratum, func(n uint8) string { return fmt.Sprint(n) }), fmt.Sprintf("%03o", x.Reach), showSeconds(x.PollS), optional(x.LastSampleAgeS, showSeconds),
		optional(x.OffsetS, showSigned), bound, optional(x.DelayS, showSeconds), stamps, verdict,
	}
}
