package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/clockd/clockd/internal/cli"
	"github.com/clockd/clockd/internal/lab/course"
)

// courseOptions are the flags of course.
type courseOptions struct {
	seed  uint64
	out   string
	pages bool
	short bool
}

// courseLine is what course --json prints of each experiment where none is named.
type courseLine struct {
	Name     string `json:"experiment"`
	Title    string `json:"title"`
	Question string `json:"question"`
}

func newCourse(a *app) *cobra.Command {
	o := courseOptions{}
	c := &cobra.Command{
		Use: "course [EXPERIMENT|all]", Short: "The properties of a global clock as experiments: a question, a measurement beside its bound, a lesson",
		Long: `Without an argument: lists the experiments. With one: runs it in the deterministic simulation and prints the question,
a table of what was measured beside what theory bounds, and the lesson. The same seed gives the same bytes. The code is 3
if a bound that must hold did not.`,
		Example: "  clockbench course\n  clockbench course external\n  clockbench course all --out pictures   # result and picture of each",
		Args:    args(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, names []string) error {
			if len(names) == 0 {
				return a.listCourse()
			}
			return a.course(c.Context(), names[0], &o)
		},
	}
	f := c.Flags()
	f.Uint64Var(&o.seed, "seed", 1, "the seed")
	f.StringVar(&o.out, "out", "", "a directory for NAME.json and the picture NAME.svg of each experiment; it is made if needed, and files in it are replaced")
	f.BoolVar(&o.short, "short", false, "fewer rows and shorter runs")
	f.BoolVar(&o.pages, "pages", false, "with --out: write the pages of docs/experiments (NAME.md, README.md) instead of NAME.json")
	f.BoolVar(&a.json, "json", false, "print JSON, for programs: one report, or a list for all")
	return c
}

func (a *app) listCourse() error {
	var lines []courseLine
	for _, e := range course.All() {
		lines = append(lines, courseLine{e.Name, e.Title, e.Question})
	}
	if a.json {
		return a.printJSON(a.out, lines)
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	for _, l := range lines {
		_, _ = fmt.Fprintf(w, "%s\t%s\n", l.Name, l.Question)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("the list cannot be written: %w", err)
	}
	return nil
}

// courseNamed returns the experiments that a name means.
func courseNamed(name string) ([]course.Experiment, error) {
	if name == "all" {
		return course.All(), nil
	}
	e, err := course.Find(name)
	return []course.Experiment{e}, cli.UsageError(err)
}

func (a *app) course(ctx context.Context, name string, o *courseOptions) error {
	list, err := courseNamed(name)
	if err != nil {
		return err
	}
	if o.pages && o.out == "" {
		return cli.UsageError(errors.New("--pages needs --out DIR, where the pages are to be"))
	}
	if o.out != "" {
		// Before any work is lost.
		if err := writable(o.out); err != nil {
			return err
		}
	}
	bar := newProgress(a, float64(len(list)))
	defer bar.end()
	var reports []*course.Report
	for i := range list {
		done := 0.0
		r, err := list[i].Run(ctx, course.Options{Seed: o.seed, Short: o.short, Progress: func(part float64) error {
			bar.add(part - done)
			done = part
			return nil
		}})
		if err != nil {
			return err
		}
		bar.add(1 - done)
		if o.out != "" {
			if err := a.storeCourse(r, o); err != nil {
				return err
			}
		}
		reports = append(reports, r)
	}
	bar.end()
	if o.pages && name == "all" {
		if err := keepFile(filepath.Join(o.out, "README.md"), []byte(course.Index())); err != nil {
			return err
		}
	}
	return a.tellCourse(name, reports)
}

// tellCourse prints the reports, and returns an error if a bound was broken.
func (a *app) tellCourse(name string, reports []*course.Report) error {
	var wrong []string
	for i, r := range reports {
		if !a.json {
			if i > 0 {
				a.print("\n%s\n\n", strings.Repeat("─", 100))
			}
			if err := r.Text(a.out); err != nil {
				return fmt.Errorf("the report cannot be written: %w", err)
			}
		}
		for _, s := range r.Broken {
			wrong = append(wrong, r.Name+": "+s)
		}
	}
	if a.json {
		var v any = reports
		if name != "all" {
			v = reports[0]
		}
		if err := a.printJSON(a.out, v); err != nil {
			return err
		}
	}
	if len(wrong) > 0 {
		return &cli.CodeError{Code: exitViolation, Err: fmt.Errorf("what must hold did not: %s", strings.Join(wrong, "; "))}
	}
	return nil
}

// storeCourse writes an experiment's files.
func (a *app) storeCourse(r *course.Report, o *courseOptions) error {
	picture, err := r.Picture()
	if err != nil {
		return err
	}
	if err := keepFile(filepath.Join(o.out, r.Name+".svg"), picture); err != nil {
		return err
	}
	if o.pages {
		return keepFile(filepath.Join(o.out, r.Name+".md"), []byte(r.Page()))
	}
	f, err := os.Create(filepath.Join(o.out, r.Name+".json"))
	if err != nil {
		return fmt.Errorf("the result cannot be stored: %w", err)
	}
	return errors.Join(a.printJSON(f, r), f.Close())
}

func keepFile(path string, b []byte) error {
	if err := os.WriteFile(path, b, 0o644); err != nil {
		return fmt.Errorf("the result cannot be stored: %w", err)
	}
	return nil
}

// writable makes a directory, and finds out whether files can be made in it.
func writable(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return cli.UsageError(fmt.Errorf("--out %s: the directory cannot be made: %w", dir, err))
	}
	f, err := os.CreateTemp(dir, ".clockbench-*")
	if err != nil {
		return cli.UsageError(fmt.Errorf("--out %s: nothing can be written there: %w", dir, err))
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}
