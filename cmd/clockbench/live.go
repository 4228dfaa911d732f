package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/clockd/clockd/internal/cli"
	"github.com/clockd/clockd/internal/delay"
	"github.com/clockd/clockd/internal/lab/live"
	lab "github.com/clockd/clockd/internal/lab/report"
	"github.com/clockd/clockd/internal/lab/result"
	"github.com/clockd/clockd/internal/sim/adversary"
)

// liveOptions are the flags of live and compare.
type liveOptions struct {
	plan                      live.Plan
	delay, delayBack          string
	runs, period, poll, width time.Duration
	script, clockd, out, logs string
	seed                      uint64
	force, list               bool
	influx                    influxOptions
}

func newLive(a *app) *cobra.Command { return liveCommand(a, &liveOptions{}) }

// liveCommand is the command whose flags are these options.
func liveCommand(a *app, o *liveOptions) *cobra.Command {
	c := &cobra.Command{
		Use: "live [SCENARIO|FILE.toml]", Short: "Run real clockd processes over an emulated network, break them, and measure exactly",
		Long: `Runs a group of real clockd processes on this machine, each over a wrong counter of its own and an
emulated network, breaks them by a script, and measures what their clocks do: exactly, since all
counters are images of one. Prints every property of the global clock beside its theory bound.

As root each host has a network namespace of its own, else they share 127.0.0.1. The machine's clock
is never touched. Flags change the scenario; without one a group of four hosts agrees for a minute.
Liars are hosts that clockbench plays itself: the shipped clockd cannot be told to lie.
Ctrl-C ends the measurement and keeps what there is. Exit code 3: a claim was wrong although
no more hosts lied than the group bears.`,
		Example: `  clockbench live live_lan                  # hosts that follow a master
  sudo clockbench live live_faults --out run  # a liar, a partition, a death, a slow link; with a report
  clockbench live --mode internal --hosts 7 --liars 2 --adversary colluding,two-faced
  clockbench live --hosts 5 --delay "200us + exp(50us)" --script default --for 2m
  clockbench live --list                    # the scenarios, and the ways to lie`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, names []string) error { return a.live(c.Context(), names, c.Flags(), o) },
	}
	f := c.Flags()
	f.StringVar(&o.plan.Mode, "mode", "", "external (masters), internal (the hosts agree) or hybrid (both) (default internal)")
	f.IntVar(&o.plan.Hosts, "hosts", 0, "how many hosts (default 4)")
	f.IntVar(&o.plan.Masters, "masters", 0, "how many masters (default 1 for external, 3 for hybrid)")
	f.IntVar(&o.plan.Liars, "liars", 0, "how many of the hosts lie to the others")
	f.StringVar(&o.plan.Adversary, "adversary", "", "how they lie, several ways between commas in turns (default two-faced)")
	f.StringVar(&o.plan.Network, "network", "", "namespaces (needs root) or loopback (default: namespaces as root)")
	f.StringVar(&o.delay, "delay", "", `the law of every link's delay (default "150us + uniform(0us, 100us)")`)
	f.StringVar(&o.delayBack, "delay-back", "", "another law for packets from a node to a later one, masters first: answers of masters")
	f.Float64Var(&o.plan.Loss, "loss", 0, "the part of the packets that is lost, 0 to 1")
	f.DurationVar(&o.runs, "for", 0, "how long to measure (default 1m)")
	f.DurationVar(&o.period, "period", 0, "from one agreement to the next (default 1s)")
	f.DurationVar(&o.poll, "poll", 0, "from one question to the next (default 250ms, in a group an eighth of the period)")
	f.DurationVar(&o.width, "reading-error", 0, "the widest reading that an agreement uses (default 2ms)")
	f.StringVar(&o.script, "script", "", `a file with what happens when, "default" for one that fits every setup, or "none"`)
	f.BoolVar(&o.list, "list", false, "list the scenarios and the ways to lie")
	a.liveFlags(f, o)
	return c
}

// liveFlags are those that live and compare have in common.
func (a *app) liveFlags(f *pflag.FlagSet, o *liveOptions) {
	f.Uint64Var(&o.seed, "seed", 1, "the seed of the oscillators, the network and the liars")
	f.StringVar(&o.clockd, "clockd", "", "the clockd that the hosts run (default: the one beside clockbench, else that of the PATH)")
	f.StringVarP(&o.out, "out", "o", "", "write result.json, series, report.html and pictures into this directory")
	f.BoolVar(&o.force, "force", false, "replace results that the directory holds already")
	f.StringVar(&o.logs, "logs", "", "keep the daemons' logs in this directory")
	f.BoolVar(&a.json, "json", false, "print JSON, for programs: result.json without its series")
	o.influx.flags(f)
}

// newLiveMember is the hidden command that plays a host which the shipped clockd cannot be. clockbench live starts it.
func newLiveMember(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "live-member FILE", Hidden: true, Args: args(cobra.ExactArgs(1)), Short: "Play a member of clockbench live",
		Example: "  clockbench live-member /tmp/clockbench-live-123/h7/member.json   # as clockbench live does",
		RunE: func(c *cobra.Command, names []string) error {
			return live.RunMember(c.Context(), names[0], os.Stdin, live.Logger(a.err))
		},
	}
}

// liveList is what live --list --json prints.
type liveList struct {
	Scenarios   []liveLine              `json:"scenarios"`
	Adversaries []adversary.Description `json:"adversaries"`
}

type liveLine struct {
	Name    string `json:"scenario"`
	Summary string `json:"summary"`
}

func (a *app) listLive() error {
	l := liveList{Adversaries: adversary.Names()}
	for _, name := range live.Scenarios() {
		b, err := live.Source(name)
		if err != nil {
			return err
		}
		p, err := live.ParsePlan(name, b)
		if err != nil {
			return err
		}
		l.Scenarios = append(l.Scenarios, liveLine{name, p.Summary})
	}
	if a.json {
		return a.printJSON(a.out, l)
	}
	rows := [][]string{{"SCENARIO", ""}}
	for _, s := range l.Scenarios {
		rows = append(rows, []string{s.Name, s.Summary})
	}
	rows = append(rows, []string{""}, []string{"ADVERSARY", ""})
	for _, s := range l.Adversaries {
		rows = append(rows, []string{s.Name, s.Summary})
	}
	return a.columns(rows)
}

func newCompare(a *app) *cobra.Command {
	o := liveOptions{}
	exponent := 0
	c := &cobra.Command{
		Use: "compare", Short: "Measure clockd and a real chronyd side by side, against a known truth",
		Long: `Runs a clockd and the machine's chronyd (-x: it disciplines nothing) behind one master, over equal
emulated links and at equal polls, and measures how wrong each one's estimate is and whether its
claimed bound holds. The master is a clockd whose clock is true time by definition; its counter is
wrong and wanders, and both follow it with the machine's own oscillator. chronyd's estimate is its
tracking. The machine's clock is never touched.`,
		Example: `  clockbench compare --for 5m --out run
  clockbench compare --delay "200us + exp(200us)" --delay-back 300us --poll 2 --json`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return a.compare(c.Context(), c.Flags(), exponent, &o) },
	}
	f := c.Flags()
	f.StringVar(&o.plan.Network, "network", "", "namespaces (needs root) or loopback (default: namespaces as root)")
	f.StringVar(&o.delay, "delay", "", `the law of every link's delay (default "150us + uniform(0us, 100us)")`)
	f.StringVar(&o.delayBack, "delay-back", "", "another law for the master's answers")
	f.Float64Var(&o.plan.Loss, "loss", 0, "the part of the packets that is lost, 0 to 1")
	f.DurationVar(&o.runs, "for", 0, "how long to measure (default 1m)")
	f.IntVar(&exponent, "poll", 0, "the poll of both as a power of two, in seconds: -4 to 6")
	a.liveFlags(f, &o)
	return c
}

func (a *app) compare(ctx context.Context, f *pflag.FlagSet, exponent int, o *liveOptions) error {
	p := live.Plan{}
	if err := o.change(&p, f, "poll"); err != nil { // which is an exponent here
		return cli.UsageError(err)
	}
	c := live.Comparison{Plan: p, PollExponent: exponent}
	shown, err := c.Check()
	if err != nil {
		return cli.UsageError(err)
	}
	return a.measure(ctx, f, o, "compare", func(settings live.Options) (*result.Result, error) {
		settings.Command = liveWords("compare", nil, f)
		s := newScreen(a, &shown)
		s.two = true
		settings.Shown = s.show
		r, err := live.Compare(ctx, c, settings)
		s.end()
		return r, err
	})
}

// livePlan makes the plan of the scenario and the flags.
func livePlan(names []string, f *pflag.FlagSet, o *liveOptions) (live.Plan, error) {
	p := live.Plan{}
	if len(names) == 1 {
		read, err := loadPlan(names[0])
		if err != nil {
			return p, err
		}
		p = *read
	}
	if err := o.change(&p, f); err != nil {
		return p, cli.UsageError(err)
	}
	p = p.WithDefaults()
	switch o.script {
	case "":
	case "none":
		p.Fault = nil
	case "default":
		p.Fault = live.DefaultScript(&p)
	default:
		b, err := readFile(o.script)
		if err != nil {
			return p, cli.UsageError(fmt.Errorf("the script cannot be read: %w", err))
		}
		if p.Fault, err = live.ParseScript(o.script, b); err != nil {
			return p, cli.UsageError(err)
		}
		p = p.WithDefaults() // a script may have liars
	}
	return p, cli.UsageError(p.Check())
}

// change makes the flags that were given count, but for those of other meaning.
func (o *liveOptions) change(p *live.Plan, f *pflag.FlagSet, others ...string) error {
	var errs []error
	law := func(flag, text string) *delay.Law {
		l, err := delay.Parse(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("--%s: %w", flag, err))
		}
		return &l
	}
	f.Visit(func(x *pflag.Flag) {
		if slices.Contains(others, x.Name) {
			return
		}
		switch x.Name {
		case "mode":
			p.Mode = o.plan.Mode
		case "hosts":
			if p.Hosts = o.plan.Hosts; p.Hosts < 1 {
				errs = append(errs, fmt.Errorf("--hosts %d: at least one host is needed", p.Hosts))
			}
		case "masters":
			p.Masters = o.plan.Masters
		case "liars":
			if p.Liars = o.plan.Liars; p.Liars == 0 && !f.Changed("adversary") {
				p.Adversary = ""
			}
		case "adversary":
			p.Adversary = o.plan.Adversary
		case "network":
			p.Network = o.plan.Network
		case "delay":
			p.Delay = law(x.Name, o.delay)
		case "delay-back":
			p.DelayBack = law(x.Name, o.delayBack)
		case "loss":
			p.Loss = o.plan.Loss
		case "for":
			if p.For = live.Length(o.runs); o.runs <= 0 {
				errs = append(errs, fmt.Errorf("--for %v: give a positive time", o.runs))
			}
		case "period":
			p.Period = live.Length(o.period)
		case "poll":
			p.Poll = live.Length(o.poll)
		case "reading-error":
			p.ReadingError = live.Length(o.width)
		}
	})
	return errors.Join(errs...)
}

// loadPlan reads a scenario by its name or path.
func loadPlan(name string) (*live.Plan, error) {
	if !strings.ContainsAny(name, "/.") {
		b, err := live.Source(name)
		if err != nil {
			return nil, cli.UsageError(err)
		}
		return live.ParsePlan(name, b)
	}
	b, err := readFile(name)
	if err != nil {
		return nil, cli.UsageError(fmt.Errorf("the scenario cannot be read: %w", err))
	}
	p, err := live.ParsePlan(strings.TrimSuffix(filepath.Base(name), ".toml"), b)
	return p, cli.UsageError(err)
}

// readFile reads a file of a reasonable size.
func readFile(name string) (b []byte, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, maxFile))
}

// liveWords are the command that repeats a run: the scenario and every flag that was given.
func liveWords(command string, names []string, f *pflag.FlagSet) []string {
	all := append([]string{command}, names...)
	f.Visit(func(x *pflag.Flag) {
		if !slices.Contains([]string{"out", "force", "json", "logs", "clockd"}, x.Name) && !isInflux(x.Name) {
			all = append(all, "--"+x.Name+"="+x.Value.String())
		}
	})
	return all
}

func (a *app) live(ctx context.Context, names []string, f *pflag.FlagSet, o *liveOptions) error {
	if o.list {
		return a.listLive()
	}
	p, err := livePlan(names, f, o)
	if err != nil {
		return err
	}
	return a.measure(ctx, f, o, "live", func(settings live.Options) (*result.Result, error) {
		settings.Command = liveWords("live", names, f)
		s := newScreen(a, &p)
		settings.Shown = s.show
		r, err := live.Run(ctx, p, settings)
		s.end()
		return r, err
	})
}

// measure prepares everything for a run of real programs, and keeps what comes of it, whole or not.
func (a *app) measure(ctx context.Context, f *pflag.FlagSet, o *liveOptions, command string, run func(live.Options) (*result.Result, error)) (err error) {
	settings := live.Options{Seed: o.seed, Version: a.version, KeepLogs: o.logs}
	if settings.Clockd, err = live.FindClockd(o.clockd); err != nil {
		return cli.UsageError(err)
	}
	if settings.Self, err = os.Executable(); err != nil {
		return fmt.Errorf("this program cannot be found: %w", err)
	}
	if o.out != "" {
		if settings.Dir, err = result.Prepare(o.out, result.PrepareOptions{Replace: o.force}); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, settings.Dir.Close()) }()
	}
	pushed, err := a.openInflux(ctx, &o.influx, f, command, o.out)
	if err != nil {
		return err
	}
	defer pushed.close()
	// The emulated network needs a free one of Go's processors to go on, whatever else is to be done.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(runtime.NumCPU() + 4))
	r, outcome := run(settings)
	if r == nil {
		return outcome
	}
	if settings.Dir != nil {
		if err := settings.Dir.Write(r); err != nil {
			return errors.Join(outcome, err)
		}
		if err := errors.Join(lab.Write(o.out, r, a.version), pushed.write(ctx, o.out, r)); err != nil {
			return errors.Join(outcome, err)
		}
	}
	if err := a.printRun(r, o.out); err != nil {
		return errors.Join(outcome, err)
	}
	if errors.Is(outcome, live.ErrWrong) {
		return &cli.CodeError{Code: exitViolation, Err: outcome}
	}
	return outcome
}

// printRun prints what was measured.
func (a *app) printRun(r *result.Result, out string) error {
	if a.json {
		short := *r
		short.Series = nil
		b, err := result.Encode(&short)
		if err != nil {
			return err
		}
		_, err = a.out.Write(b)
		return err
	}
	complete := ""
	if !r.Complete {
		complete = " (interrupted)"
	}
	a.print("%s\n%s measured%s; ", r.Title, lab.Number(r.Length, "s"), complete)
	wrong := uint64(0)
	if r.Checks.Wrong != nil {
		wrong = *r.Checks.Wrong
		a.print("%d claims checked, %d wrong\n\n", *r.Checks.Checked, wrong)
	}
	rows := [][]string{{"PROPERTY", "", "", "MEASURED", "BOUND", "", "FROM"}}
	var missing []string
	for i := range r.Properties {
		p := &r.Properties[i]
		if p.Known == result.KnownNot {
			missing = append(missing, strings.TrimSpace(p.Subject+" "+strings.TrimSpace(p.Symbol+" "+p.Name))+": "+p.Reason)
		}
		rows = append(rows, livePropertyRow(p))
	}
	if r.Mode == result.ModeCompare {
		rows = sidesOf(r)
	}
	if err := a.columns(rows); err != nil {
		return err
	}
	for _, text := range missing {
		a.print("missing: %s\n", text)
	}
	for i := range min(len(r.Violations), 5) {
		v := &r.Violations[i]
		a.print("WRONG at %s: %s (%s): %s, by %s\n", lab.Number(v.At, "s"), v.Clock, v.Status, v.Text, lab.Number(v.Outside, "s"))
	}
	for _, text := range r.Notes {
		a.print("\n%s\n", text)
	}
	if out != "" {
		a.print("\nwritten: %s\n", filepath.Join(out, lab.PageName))
	}
	return nil
}

// sidesOf are the properties of the programs that were compared, beside each other.
func sidesOf(r *result.Result) [][]string {
	var subjects []string
	for i := range r.Properties {
		if x := r.Properties[i].Subject; !slices.Contains(subjects, x) {
			subjects = append(subjects, x)
		}
	}
	rows := [][]string{append([]string{"", ""}, subjects...)}
	for i := range r.Properties {
		p := &r.Properties[i]
		if p.Subject != subjects[0] {
			continue
		}
		row := []string{p.Name, p.Statistic}
		for _, x := range subjects {
			j := slices.IndexFunc(r.Properties, func(q result.Property) bool { return q.Subject == x && q.Name == p.Name && q.Statistic == p.Statistic })
			cell := "–"
			if j >= 0 {
				q := &r.Properties[j]
				cell = lab.Number(q.Value, q.Unit)
				if u, known := q.Uncertainty.Value(); known && u > 0 {
					cell += " ± " + lab.Number(q.Uncertainty, q.Unit)
				}
			}
			row = append(row, cell)
		}
		rows = append(rows, row)
	}
	return rows
}

// livePropertyRow is a property for people.
func livePropertyRow(p *result.Property) []string {
	verdict := ""
	if v, known := p.Value.Value(); known {
		if b, known := p.Bound.Value(); known {
			if verdict = "ok"; v > b {
				verdict = "ABOVE"
			}
		}
	}
	name := p.Name
	if p.Subject != "" {
		name = p.Subject + ": " + name
	}
	return []string{p.Symbol, name, p.Statistic, lab.Number(p.Value, p.Unit), lab.Number(p.Bound, p.Unit), verdict, p.Formula}
}
