package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/clockd/clockd/internal/cli"
	lab "github.com/clockd/clockd/internal/lab/report"
	"github.com/clockd/clockd/internal/lab/result"
)

// reportOptions are the flags of report.
type reportOptions struct{ out, title string }

func newReport(a *app) *cobra.Command {
	o := reportOptions{}
	c := &cobra.Command{
		Use: "report DIR...", Short: "Make the page of a run again, or compare several runs on one page",
		Long: `Reads result.json of each directory. One run: writes report.html and the pictures into the directory
again. Several: writes one page that shows them side by side, with a column for each run and curves
in common pictures.`,
		Example: `  clockbench report run
  clockbench report before after --out comparison.html`,
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(_ *cobra.Command, dirs []string) error { return a.report(dirs, &o) },
	}
	c.Flags().StringVarP(&o.out, "out", "o", "", "the file to write (several runs: comparison.html)")
	c.Flags().StringVar(&o.title, "title", "", "the heading")
	return c
}

func (a *app) report(dirs []string, o *reportOptions) error {
	runs, err := readRuns(dirs)
	if err != nil {
		return err
	}
	if len(runs) == 1 && o.out == "" {
		dir := dirs[0]
		if filepath.Base(dir) == result.FileName {
			dir = filepath.Dir(dir)
		}
		if err := lab.Write(dir, runs[0].Result, a.version); err != nil {
			return err
		}
		a.print("%s\n", filepath.Join(dir, lab.PageName))
		return nil
	}
	if o.out == "" {
		o.out = "comparison.html"
	}
	b, err := lab.HTML(runs, lab.Options{Title: o.title, Version: a.version})
	if err != nil {
		return err
	}
	if err := result.WriteFile(o.out, b); err != nil {
		return err
	}
	a.print("%s\n", o.out)
	return nil
}

// readRuns reads all results; runs are called by their directories, by as much of the path as tells them apart.
func readRuns(dirs []string) ([]lab.Run, error) {
	var runs []lab.Run
	var errs []error
	for _, dir := range dirs {
		r, err := result.Read(dir)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		runs = append(runs, lab.Run{Label: label(dir, dirs), Result: r})
	}
	return runs, errors.Join(errs...)
}

// label is a directory's name, or its path where another one has the same name.
func label(dir string, dirs []string) string {
	name := func(d string) string {
		d = filepath.Clean(d)
		if filepath.Base(d) == result.FileName {
			d = filepath.Dir(d)
		}
		return filepath.Base(d)
	}
	same := 0
	for _, d := range dirs {
		if name(d) == name(dir) {
			same++
		}
	}
	if same > 1 || name(dir) == "." {
		return dir
	}
	return name(dir)
}

// usable says what is wrong with a result that is to be repeated.
func usable(r *result.Result) error {
	if len(r.Command) == 0 || r.Command[0] != string(r.Mode) {
		return cli.UsageError(fmt.Errorf("the result does not say by which command it was made: it cannot be repeated"))
	}
	return nil
}
