package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/clockd/clockd/internal/cli"
	"github.com/clockd/clockd/internal/lab/observe"
	lab "github.com/clockd/clockd/internal/lab/report"
	"github.com/clockd/clockd/internal/lab/result"
)

// observation are the flags of observe.
type observation struct {
	length, poll, maxError time.Duration
	driftPPM               float64
	maxFalse               int
	fast, resume, summary  bool
	out, counter           string
	influx                 influxOptions
}

func newObserve(a *app) *cobra.Command {
	var o observation
	c := &cobra.Command{
		Use:   "observe HOST...",
		Short: "Measure NTP servers over time, and who disagrees with whom",
		Long: `Measure NTP servers of any make (clockd's too) from this host, for as long as asked: offset,
delay, uncertainty, stability (ADEV, TDEV, MTIE), and who disagrees with whom.

There is no ground truth here. Each server's offset is an interval that holds if the server is
within the error that it states; two servers whose intervals have no common point contradict
each other for certain; of three or more, the false ones are named. A statistical estimate
stands beside it, and is called one. The reference is this host's raw counter, so a step of
the system clock does not spoil the series.

Servers are asked every --poll, by default 16 s and never more often than every 4 s: that is what
public servers bear. --fast permits less, to loopback and private addresses only. A server that
says RATE is asked half as often from then on; one that says DENY or RSTR is not asked again.

With --out, every answer is in the record before it is shown. A measurement that was killed, or
whose host was rebooted, goes on with --resume, with the same servers. Ctrl-C ends it, and
sums up what was measured.

The exit code is 0 if every server was measured and none contradicts another; 1 after an error,
or if a server gave no measurement; 3 if it is proved that a server broke its promise.`,
		Example: `  clockbench observe pool.ntp.org time.cloudflare.com ntp.se        # until Ctrl-C
  clockbench observe --for 24h --out paris ntp1.test ntp2.test ntp3.test
  clockbench observe --resume --out paris                           # go on after an interruption
  clockbench observe --summary --out paris --json                   # only read what is there
  clockbench observe --fast --poll 1s --for 1m 192.168.1.2 192.168.1.3 127.0.0.1:11123`,
		RunE: func(c *cobra.Command, hosts []string) error { return a.observe(c, hosts, &o) },
	}
	d := observe.DefaultConfig()
	f := c.Flags()
	f.DurationVar(&o.length, "for", 0, "how long to measure; without it until Ctrl-C, or as long as the resumed one was meant to last")
	f.DurationVar(&o.poll, "poll", time.Duration(d.Poll*float64(time.Second)), "the time between two requests to one server")
	f.BoolVar(&o.fast, "fast", false, "permit a --poll below 4s, down to 50ms, to loopback and private addresses; others are asked every 4s")
	f.DurationVar(&o.maxError, "max-error", time.Duration(d.MaxError*float64(time.Second)), "leave servers out that state a larger error of themselves")
	f.IntVar(&o.maxFalse, "max-false", -1, "how many servers may be false (default: fewer than half of those that answer)")
	f.Float64Var(&o.driftPPM, "drift-bound", d.DriftBound*1e6, "how far this host's counter may be from its nominal rate, in ppm")
	f.StringVar(&o.counter, "counter", "auto", "this host's counter (clockd doctor lists them)")
	f.StringVar(&o.out, "out", "", "the directory of the record and the result")
	f.BoolVar(&o.resume, "resume", false, "go on with the observation in --out")
	f.BoolVar(&o.summary, "summary", false, "measure nothing: sum up the observation in --out")
	f.BoolVar(&a.json, "json", false, "print JSON, for programs")
	o.influx.flags(f)
	return c
}

// config makes the configuration that the flags ask for.
func (o *observation) config(hosts []string) observe.Config {
	c := observe.Config{
		Hosts: hosts, Poll: o.poll.Seconds(), Fast: o.fast, DriftBound: o.driftPPM / 1e6, MaxError: o.maxError.Seconds(),
	}
	if o.maxFalse >= 0 {
		c.MaxFalse = &o.maxFalse
	}
	if o.length > 0 {
		length := o.length.Seconds()
		c.Length = &length
	}
	return c
}

// mistakes finds flags that do not go together.
func (o *observation) mistakes(c *cobra.Command, hosts []string) error {
	switch {
	case o.length < 0 || o.length == 0 && c.Flags().Changed("for"):
		return errors.New("--for must be above 0")
	case (o.resume || o.summary) && o.out == "":
		return errors.New("--resume and --summary need --out DIR: the directory of the observation")
	case o.resume && o.summary:
		return errors.New("either --resume or --summary")
	case o.summary && len(hosts) > 0:
		return errors.New("--summary measures nothing: give no hosts")
	case c.Flags().Changed("max-false") && o.maxFalse < 0:
		return errors.New("--max-false must not be below 0")
	case o.resume || o.summary:
		return nil
	}
	config := o.config(hosts)
	return config.Check()
}

// agree compares what is said on the command line of a resumption with what the observation is: what is not said is not compared.
func (o *observation) agree(c *cobra.Command, hosts []string, kept *observe.Config) error {
	said, asked := *kept, o.config(hosts)
	if len(hosts) > 0 {
		said.Hosts = asked.Hosts
	}
	for flag, set := range map[string]func(){
		"poll": func() { said.Poll = asked.Poll }, "fast": func() { said.Fast = asked.Fast }, "max-error": func() { said.MaxError = asked.MaxError },
		"drift-bound": func() { said.DriftBound = asked.DriftBound }, "max-false": func() { said.MaxFalse = asked.MaxFalse },
	} {
		if c.Flags().Changed(flag) {
			set()
		}
	}
	if err := kept.Same(&said); err != nil {
		return cli.UsageError(fmt.Errorf("the observation in %s cannot be resumed so: %w", o.out, err))
	}
	return nil
}

func (a *app) observe(c *cobra.Command, hosts []string, o *observation) error {
	if err := o.mistakes(c, hosts); err != nil {
		return cli.UsageError(err)
	}
	pushed, err := a.openInflux(c.Context(), &o.influx, c.Flags(), "observe", o.out)
	if err != nil {
		return err
	}
	defer pushed.close()
	if o.summary {
		return a.summarise(c.Context(), o, pushed)
	}
	view := &liveView{app: a, began: time.Now()}
	s := observe.Session{
		Options: observe.Options{Config: o.config(hosts), Version: a.version, Counter: o.counter, For: o.length}, Out: o.out, Resume: o.resume,
		Agree:   func(kept *observe.Config) error { return o.agree(c, hosts, kept) },
		Command: func(kept *observe.Config) []string { return words(c, kept.Hosts) },
	}
	s.Show = func(x *observe.Analysis, over bool) { view.show(x, over, s.For) }
	r, files, err := s.Run(c.Context())
	view.end()
	if r == nil {
		return err
	}
	if files != nil {
		err = errors.Join(err, a.pages(o.out, files), pushed.write(c.Context(), o.out, files))
	}
	return a.observed(r, err)
}

// words are the command line that was given, with the hosts also where they come from the record.
func words(c *cobra.Command, hosts []string) []string {
	list := []string{"observe"}
	for _, name := range []string{"for", "poll", "fast", "max-error", "max-false", "drift-bound", "counter", "out", "resume"} {
		if f := c.Flags().Lookup(name); f.Changed {
			list = append(list, "--"+name+"="+f.Value.String())
		}
	}
	return append(list, hosts...)
}

// pages writes the report and its pictures beside the result.
func (a *app) pages(dir string, r *result.Result) error {
	if err := lab.Write(dir, r, a.version); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(a.err, "The record, the result and the report are in %s: %s, %s, %s\n", dir, observe.LogName, result.FileName, lab.PageName)
	return nil
}

// summarise reads a record and makes the result and the report of it, unless a measurement that goes on holds their place.
func (a *app) summarise(ctx context.Context, o *observation, pushed *pushed) error {
	r, err := observe.Summarise(o.out, nil)
	if err != nil {
		return err
	}
	place, err := result.Prepare(o.out, result.PrepareOptions{Replace: true})
	if err != nil {
		_, _ = fmt.Fprintf(a.err, "clockbench: result and report are not written anew: %v\n", err)
		return a.observed(r, nil)
	}
	files, err := observe.WriteResult(place, append([]string{"observe"}, r.Config.Hosts...))
	if files != nil {
		err = errors.Join(err, a.pages(o.out, files), pushed.write(ctx, o.out, files))
	}
	return a.observed(r, errors.Join(err, place.Close()))
}

// observed prints the result, and makes the exit code of it. An error comes after what was measured in spite of it.
func (a *app) observed(r *observe.Report, failed error) error {
	var err error
	if a.json {
		err = a.printJSON(a.out, r)
	} else {
		err = r.Summary(a.out)
	}
	switch {
	case failed != nil || err != nil:
		return errors.Join(failed, err)
	case r.Contradicted():
		return &cli.CodeError{Code: exitViolation, Err: errors.New("it is proved that a server broke its promise")}
	case !r.Complete():
		return &cli.CodeError{Code: cli.Error, Err: errors.New("not every server gave a measurement")}
	}
	return nil
}

// liveView shows a running observation: a table that is redrawn on a terminal, a line for each round elsewhere.
type liveView struct {
	app   *app
	began time.Time
	lines int
}

func (v *liveView) show(x *observe.Analysis, over bool, length time.Duration) {
	if !v.app.terminal {
		if over {
			_, _ = fmt.Fprintln(v.app.err, x.Report(false).Line())
		}
		return
	}
	var b strings.Builder
	r := x.Report(false)
	passed := time.Since(v.began).Round(time.Second)
	if left := observe.Left(v.began, length); length > 0 {
		part := min(float64(time.Since(v.began))/float64(length), 1)
		fmt.Fprintf(&b, "[%s] %3.0f %%, %v left; round %d; Ctrl-C ends it\n\n", bar(part), 100*part, left.Round(time.Second), r.Rounds)
	} else {
		fmt.Fprintf(&b, "%v so far, round %d; Ctrl-C ends it\n\n", passed, r.Rounds)
	}
	if err := r.Table(&b); err != nil {
		return
	}
	v.draw(b.String(), width(v.app.err))
}

// draw puts text in the place of what was drawn before. Lines are cut at the terminal's width: one that is wrapped would be two.
func (v *liveView) draw(text string, columns int) {
	v.end()
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for _, l := range lines {
		if r := []rune(l); len(r) > columns {
			l = string(r[:columns])
		}
		_, _ = fmt.Fprintf(v.app.err, "%s\n", l)
	}
	v.lines = len(lines)
}

// end wipes away what was drawn.
func (v *liveView) end() {
	if v.lines > 0 {
		_, _ = fmt.Fprintf(v.app.err, "\x1b[%dA\r\x1b[J", v.lines)
	}
	v.lines = 0
}

func bar(part float64) string {
	full := int(part * barWidth)
	return strings.Repeat("=", full) + strings.Repeat(" ", barWidth-full)
}

// width is that of the terminal, 80 columns if it does not say.
func width(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 0 {
			return int(size.Col)
		}
	}
	return 80
}
