package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/internal/daemon/explain"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

func newStatus(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "status",
		Short: "Show whether the clock can be trusted, and why",
		Long: `Show what the daemon on this host knows: whether the clock can be trusted and within which
bound, why, what to do if something is wrong, and what it follows. The first line has the verdict.
With --json a figure that is not known is null.`,
		Example: "  clockd status\n  clockd status --watch\n  clockd status --json | jq .bound_s",
		Args:    args(cobra.NoArgs),
	}
	c.RunE = a.report(c, func(ctx context.Context) (func(), any, error) {
		var s control.Status
		if err := control.Call(ctx, a.control(), control.CommandStatus, &s); err != nil {
			return nil, nil, err
		}
		var list control.Sources
		if !a.json {
			if err := control.Call(ctx, a.control(), control.CommandSources, &list); err != nil {
				return nil, nil, err
			}
		}
		return func() { a.showStatus(&s, list.Sources) }, &s, nil
	})
	return c
}

// showStatus is to be understood in five seconds: the first line says all that most people want to know.
func (a *app) showStatus(s *control.Status, sources []control.Source) {
	v := explain.Clock(s, sources)
	a.verdict(s.Status.String(), &v)
	a.grounds(&v)
	for i, t := range s.Trouble {
		a.fact(firstOnly(i, "trouble"), a.paint(yellow, t))
	}
	a.print("\n")
	if s.TimeNS != nil {
		a.fact("time", fmt.Sprintf("%s ± %s (epoch %d)", time.Unix(0, *s.TimeNS).UTC().Format("2006-01-02 15:04:05.000000000 MST"),
			explain.Known(s.BoundS, explain.Seconds), s.Epoch))
	}
	a.fact("source", sourceLine(s))
	if g := s.Group; g != nil {
		a.fact("group", groupLine(g))
	}
	if s.RatePPM != nil {
		a.fact("rate", explain.PPM(*s.RatePPM)+" ± "+strings.TrimPrefix(explain.Known(s.RateStdPPM, explain.PPM), "+"))
	}
	if s.Slewing {
		a.fact("slewing", explain.Signed(s.SlewLeftS)+" to go")
	}
	if s.LastSampleAgeS != nil {
		a.fact("last sample", explain.Seconds(*s.LastSampleAgeS)+" ago")
	}
	if n := s.Server; n != nil {
		a.fact("serving", fmt.Sprintf("%s; %d requests, %d answers (%d interleaved)", firstOf(strings.Join(n.Listening, ", "), "nowhere"), n.Requests, n.Answers,
			n.InterleavedAnswers))
		if k := n.NTS; k != nil {
			a.fact("NTS keys", fmt.Sprintf("given on %s; %d exchanges, %d answers under NTS", firstOf(strings.Join(k.Listening, ", "), "nothing"), k.Exchanges, n.NTSAnswers))
		}
	}
	a.fact("counter", fmt.Sprintf("%s, drift bound %g ppm", s.Counter.Spec, s.Counter.DriftBoundPPM))
	a.fact("page", s.Page)
	a.fact("daemon", fmt.Sprintf("clockd %s, process %d, up %s, configuration %s", s.Version, s.PID, explain.Seconds(s.UptimeS), firstOf(s.Config.Path, "built in (public servers)")))
	if s.Influx != nil {
		a.fact("InfluxDB", influxLine(s.Influx))
	}
	if s.SystemClock != nil {
		a.fact("system clock", systemClockLine(s.SystemClock))
	}
	if s.Leap != nil {
		if line := leapLine(s.Leap); line != "" {
			a.fact("leap seconds", line)
		}
	}
	if s.EventLog != nil {
		a.fact("event log", strings.TrimSpace(fmt.Sprintf("%s, %d bytes %s", s.EventLog.Path, s.EventLog.Bytes, s.EventLog.Ended)))
	}
}

// systemClockLine says how the kernel's clock follows, or why not.
func systemClockLine(x *control.SystemClock) string {
	line := x.Clock + " " + x.State
	switch {
	case x.Reason != reason.OK && x.Detail != "":
		return line + ": " + x.Explanation + ": " + x.Detail
	case x.Reason != reason.OK:
		return line + ": " + x.Explanation
	case x.OffsetS != nil && x.MaxErrorS != nil && x.FrequencyPPM != nil:
		line += fmt.Sprintf(", off by %s, error at most %s, rate %s", explain.Signed(*x.OffsetS), explain.Seconds(*x.MaxErrorS), explain.PPM(*x.FrequencyPPM))
	}
	if x.Steps > 0 {
		line += fmt.Sprintf(", stepped %d times, by %s in all", x.Steps, explain.Signed(x.SteppedS))
	}
	return line
}

// leapLine says what is known of leap seconds, if anything.
func leapLine(x *control.Leap) string {
	var parts []string
	if x.TAIOffsetS != nil {
		parts = append(parts, fmt.Sprintf("TAI - UTC = %d s", *x.TAIOffsetS))
	}
	if x.NextNS != nil {
		what := "inserted"
		if x.Sign < 0 {
			what = "left out"
		}
		parts = append(parts, fmt.Sprintf("a second is %s before %s", what, time.Unix(0, *x.NextNS).UTC().Format("2006-01-02 15:04:05 UTC")))
	}
	if x.Reason == reason.LeapTableExpired {
		parts = append(parts, x.Explanation+" ("+x.Table+")")
	}
	return strings.Join(parts, "; ")
}

// influxLine says what became of the points, and what waits.
func influxLine(x *control.Influx) string {
	dropped := uint64(0)
	for _, n := range x.Dropped {
		dropped += n
	}
	line := fmt.Sprintf("%s, %s; %d points written", x.URL, x.Bucket, x.Written)
	if n := x.BufferedPoints + x.SpooledPoints; n > 0 {
		line += fmt.Sprintf(", %d waiting", n)
	}
	if dropped > 0 {
		line += fmt.Sprintf(", %d dropped", dropped)
	}
	return line
}

func sourceLine(s *control.Status) string {
	switch s.Mode {
	case "internal":
		return "none; the clock is that of the group"
	case "local":
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
		Long: `Show every source: whether it is used (* has the greatest weight, + is used, x is false), its offset
from this clock and how wrong that can be, its round trip, how many of the last eight requests it
answered, and in words why it is not used and what to do.`,
		Example: "  clockd sources\n  clockd sources --watch\n  clockd sources --json | jq '.sources[] | {name, reason}'",
		Args:    args(cobra.NoArgs),
	}
	c.RunE = a.report(c, func(ctx context.Context) (func(), any, error) {
		var s control.Sources
		if err := control.Call(ctx, a.control(), control.CommandSources, &s); err != nil {
			return nil, nil, err
		}
		return func() { a.showSources(&s) }, &s, nil
	})
	return c
}

func (a *app) showSources(s *control.Sources) {
	if len(s.Sources) == 0 {
		a.print("no source is configured\n")
		return
	}
	a.print("%s  %s\n\n", a.paint(statusColour(s.Status), statusSign(s.Status)+" "+s.Status.String()), firstOf(strings.Join(explain.Sources(s), "; "), s.Reason.Explain()))
	rows := [][]string{{" ", "SOURCE", "VERDICT", "OFFSET", "± BOUND", "ROUND TRIP", "LAST", "ANSWERED", "POLL", "STRATUM", "AUTH", "STAMPS", "ADDRESS"}}
	for i := range s.Sources {
		rows = append(rows, sourceRow(&s.Sources[i]))
	}
	a.table(withoutEmpty(rows))
	var found []trouble
	for i := range s.Sources {
		x := &s.Sources[i]
		found = gather(found, x.Name, x.Reason, explain.Source(x))
	}
	a.troubles(found)
}

// trouble is what is to be said of some sources or peers.
type trouble struct {
	names []string
	explain.Finding
}

// gather puts those together of whom the same is to be said.
func gather(all []trouble, name string, why reason.Code, f explain.Finding) []trouble {
	if why == reason.OK {
		return all
	}
	for i := range all {
		if all[i].Words == f.Words {
			all[i].names = append(all[i].names, name)
			return all
		}
	}
	return append(all, trouble{[]string{name}, f})
}

// mostNames is how many names are listed of those of whom the same is to be said.
const mostNames = 6

// troubles says in words why sources or peers are not used, and what to do.
func (a *app) troubles(all []trouble) {
	for i, x := range all {
		if i == 0 {
			a.print("\n")
		}
		a.print("%s %s: %s\n", a.paint(levelColour(x.Level), x.Level.Sign()), a.paint(bold, explain.List(x.names, mostNames)), x.Words)
		if x.Advice != "" {
			a.print("  → %s\n", a.commands(x.Advice))
		}
	}
}

func statusSign(s virtualclock.Status) string {
	switch s {
	case virtualclock.Synchronised:
		return explain.Good.Sign()
	case virtualclock.Holdover:
		return explain.Caution.Sign()
	}
	return explain.Bad.Sign()
}

func sourceRow(x *control.Source) []string {
	mark, stamps := " ", "-"
	switch {
	case x.Selected:
		mark = "*"
	case x.Weight > 0:
		mark = "+"
	case x.Reason == reason.SourceFalseticker:
		mark = "x"
	}
	if x.Received > 0 {
		stamps = x.TransmitStamp + "/" + x.ReceiveStamp
		if x.Interleaved {
			stamps += " interleaved"
		}
	}
	return []string{
		mark, x.Name, explain.Source(x).State, explain.Known(x.OffsetS, explain.Signed), explain.Known(explain.SourceBound(x), explain.Seconds),
		explain.Known(x.DelayS, explain.Seconds), explain.Known(x.LastSampleAgeS, explain.Seconds), answered(x.Reach), explain.Seconds(x.PollS),
		explain.Known(x.Stratum, func(n uint8) string { return fmt.Sprint(n) }), x.Authentication, stamps, addressOf(x.Name, x.Address),
	}
}

// withoutEmpty drops the last column if nothing but its head is in it: addresses that are the names.
func withoutEmpty(rows [][]string) [][]string {
	for _, r := range rows[1:] {
		if r[len(r)-1] != "" {
			return rows
		}
	}
	for i, r := range rows {
		rows[i] = r[:len(r)-1]
	}
	return rows
}

// answered is how many of the last eight requests were.
func answered(reach uint8) string {
	return fmt.Sprintf("%d of 8", strings.Count(fmt.Sprintf("%b", reach), "1"))
}

// addressOf is an address that the name does not say already.
func addressOf(name string, address *string) string {
	switch {
	case address == nil:
		return "-"
	case *address == name:
		return ""
	}
	return *address
}
