package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/clockd/clockd/internal/cli"
	"github.com/clockd/clockd/internal/lab/result"
	"github.com/clockd/clockd/internal/lab/simrun"
	"github.com/clockd/clockd/internal/sim"
)

// simOptions are the flags of sim.
type simOptions struct {
	all     bool
	seeds   string
	jobs    int
	out     string
	force   bool
	verbose bool
	// boundsOnly checks intervals and nothing else.
	boundsOnly bool
	// properties: the table of properties is measured and printed.
	properties bool
	influx     influxOptions
}

// report is what sim --json prints.
type report struct {
	Runs    []sim.Result  `json:"runs"`
	Summary []sim.Summary `json:"summary"`
	// Properties are the tables of properties, one for the clients or each group of each run; empty without --properties.
	Properties []simrun.Properties `json:"properties"`
}

func newSim(a *app) *cobra.Command {
	o := simOptions{}
	c := &cobra.Command{
		Use: "sim [SCENARIO|FILE.toml]...", Short: "Run scenarios and report true errors, claimed bounds and violations",
		Long: `Runs each scenario with each seed and prints medians over the seeds, beside the published figures
of chrony, tuned chrony and an oracle where there are any, and beside a linear regression of the
same samples. Exit code 3: an interval did not contain true time although the assumptions hold.`,
		Example: `  clockbench sim lan_sw dc wan temp --seeds 1-20
  clockbench sim --all --seeds 1-20 --json --out figures.json
  clockbench sim lan_sw --seeds 7 --out run   # with report.html, pictures and series
  clockbench sim lan_sw --seeds 7 -v
  clockbench sim --all --seeds 1-1000 --bounds-only
  clockbench sim lan_sw group_honest_4 --seeds 7 --properties   # every property of a global clock, with its bound`,
		RunE: func(c *cobra.Command, names []string) error { return a.sim(c, names, &o) },
	}
	f := c.Flags()
	f.BoolVar(&o.all, "all", false, "run all scenarios of the program")
	f.StringVar(&o.seeds, "seeds", "1-5", "seeds such as 7, 1-20 or 1,4,9-12")
	f.IntVar(&o.jobs, "jobs", runtime.GOMAXPROCS(0), "how many runs at a time; the results do not depend on it")
	f.StringVarP(&o.out, "out", "o", "", "write result.json, series, report.html and pictures into this directory; a name ending in .json: the figures as JSON")
	f.BoolVar(&o.force, "force", false, "replace results that the directory holds already")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "a row for each seed as well")
	f.BoolVar(&o.boundsOnly, "bounds-only", false, "check intervals only, without the figures of other estimators: for very many seeds")
	f.BoolVar(&o.properties, "properties", false, "measure every property of a global clock exactly, and print it beside its bound instead of the other tables")
	f.BoolVar(&a.json, "json", false, "print JSON, for programs")
	o.influx.flags(f)
	return c
}

// maxSeeds is how many seeds one call may ask for.
const maxSeeds = 100_000

// parseSeeds reads "7", "1-20", "1,4,9-12".
func parseSeeds(text string) ([]uint64, error) {
	var seeds []uint64
	seen := map[uint64]bool{}
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(strings.TrimSpace(part), "-")
		low, err := strconv.ParseUint(first, 10, 64)
		high := low
		if err == nil && isRange {
			high, err = strconv.ParseUint(last, 10, 64)
		}
		if err != nil || high < low {
			return nil, fmt.Errorf("--seeds %q: %q is neither a seed nor a range of seeds; write 7, 1-20 or 1,4,9-12", text, part)
		}
		if high-low >= maxSeeds || uint64(len(seeds))+high-low >= maxSeeds {
			return nil, fmt.Errorf("--seeds %q: more than %d seeds", text, maxSeeds)
		}
		for n := range high - low + 1 {
			if seed := low + n; !seen[seed] {
				seen[seed] = true
				seeds = append(seeds, seed)
			}
		}
	}
	return seeds, nil
}

func (a *app) sim(c *cobra.Command, names []string, o *simOptions) error {
	seeds, err := parseSeeds(o.seeds)
	switch {
	case err != nil:
		return cli.UsageError(err)
	case o.all && len(names) > 0:
		return cli.UsageError(errors.New("give either --all or the names of scenarios"))
	case o.all:
		names = sim.Names()
	case len(names) == 0:
		return cli.UsageError(errors.New(`give the names of scenarios ("clockbench scenarios" lists them), a file, or --all`))
	case o.boundsOnly && o.out != "" && !strings.HasSuffix(o.out, ".json"):
		return cli.UsageError(errors.New("--bounds-only keeps no series: let --out end in .json, or leave one of them out"))
	case o.boundsOnly && o.properties:
		return cli.UsageError(errors.New("--bounds-only prints no properties: leave out one of the two"))
	case o.jobs < 1:
		return cli.UsageError(fmt.Errorf("--jobs %d: at least one run at a time is needed", o.jobs))
	}
	scenarios, err := load(names)
	if err != nil {
		return err
	}
	for _, s := range scenarios {
		s.BoundsOnly = o.boundsOnly
	}
	store, err := newStore(a, o, scenarios, seeds)
	if err != nil {
		return err
	}
	if store.influx, err = a.openInflux(c.Context(), &o.influx, c.Flags(), "sim", o.out); err != nil {
		return errors.Join(err, store.close())
	}
	defer store.influx.close()
	r, err := a.runAll(c.Context(), scenarios, seeds, o.jobs, store)
	if r == nil || len(r.Runs) == 0 {
		return errors.Join(err, store.close())
	}
	// What was measured is kept, even if the rest was not.
	if err := errors.Join(err, store.close(), a.write(r, o)); err != nil {
		return err
	}
	return r.verdict()
}

// write prints the report and stores it.
func (a *app) write(r *report, o *simOptions) error {
	if strings.HasSuffix(o.out, ".json") {
		var b bytes.Buffer
		if err := errors.Join(a.printJSON(&b, r), result.WriteFile(o.out, b.Bytes())); err != nil {
			return err
		}
	}
	if a.json {
		return a.printJSON(a.out, r)
	}
	if o.boundsOnly {
		return a.boundsTable(r)
	}
	if o.properties {
		return a.propertyTables(r)
	}
	return a.tables(r, o.verbose)
}

// verdict is an error if an interval was wrong where none may be.
func (r *report) verdict() error {
	var wrong []string
	for i := range r.Summary {
		if s := &r.Summary[i]; s.AssumptionsHold && s.BoundViolations > 0 {
			wrong = append(wrong, fmt.Sprintf("%s (%d intervals in %d runs)", s.Scenario, s.BoundViolations, s.ViolatedRuns))
		}
	}
	if wrong == nil {
		return nil
	}
	return &cli.CodeError{Code: exitViolation, Err: fmt.Errorf("intervals did not contain true time although the assumptions hold: %s", strings.Join(wrong, ", "))}
}

// runAll runs every scenario with every seed, some at a time; the order of the results does not depend on how many. With an error
// what was run until then is returned as well.
func (a *app) runAll(ctx context.Context, scenarios []loaded, seeds []uint64, jobs int, store *store) (*report, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	total := len(scenarios) * len(seeds)
	results := make([]*simrun.Outcome, total)
	var work float64
	for _, s := range scenarios {
		work += s.Work() * float64(len(seeds))
	}
	bar := newProgress(a, work)
	tasks := make(chan int)
	var group sync.WaitGroup
	for range min(jobs, total) {
		group.Go(func() {
			for i := range tasks {
				s, seed := scenarios[i/len(seeds)], seeds[i%len(seeds)]
				done := 0.0
				r, err := store.run(ctx, s, seed, func(part float64) error {
					bar.add((part - done) * s.Work())
					done = part
					return context.Cause(ctx)
				})
				if err != nil {
					cancel(fmt.Errorf("scenario %s, seed %d: %w", s.Name, seed, err))
				} else {
					results[i] = r
				}
				if r == nil {
					continue
				}
				for k := range r.Figures {
					a.tellViolation(bar, &r.Figures[k])
				}
			}
		})
	}
	for k := range total {
		// A seed of every scenario before the next seed: a long run that is ended early has seen them all.
		i := k%len(scenarios)*len(seeds) + k/len(scenarios)
		select {
		case tasks <- i:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(tasks)
	group.Wait()
	bar.end()
	return summarise(scenarios, results, len(seeds)), context.Cause(ctx)
}

// summarise puts the results of the runs that ended together.
func summarise(scenarios []loaded, results []*simrun.Outcome, seeds int) *report {
	r := &report{Properties: []simrun.Properties{}}
	for i, s := range scenarios {
		var own []sim.Result
		for _, x := range results[i*seeds : (i+1)*seeds] {
			if x != nil {
				own = append(own, x.Figures...)
				r.Properties = append(r.Properties, x.Properties...)
			}
		}
		if len(own) == 0 {
			continue
		}
		r.Runs = append(r.Runs, own...)
		r.Summary = append(r.Summary, s.Summarise(own))
	}
	return r
}
