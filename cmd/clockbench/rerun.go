package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/clockd/clockd/internal/cli"
	lab "github.com/clockd/clockd/internal/lab/report"
	"github.com/clockd/clockd/internal/lab/result"
	"github.com/clockd/clockd/internal/lab/simrun"
)

// rerunOptions are the flags of rerun.
type rerunOptions struct {
	out   string
	force bool
}

// repeater repeats the run of a result into a directory and tells what came of it. The directory of the old result is old.
type repeater func(ctx context.Context, old string, r *result.Result, dir string, o *rerunOptions) error

// repeaters are the modes whose runs are repeated in a way of their own; every other mode's command is run again.
func (a *app) repeaters() map[result.Mode]repeater {
	return map[result.Mode]repeater{
		result.ModeSim: a.rerunSim,
	}
}

func newRerun(a *app) *cobra.Command {
	o := rerunOptions{}
	c := &cobra.Command{
		Use: "rerun DIR|result.json", Short: "Repeat a run and compare with what it gave",
		Long: `Repeats the run that a result tells of. A simulated run must give the same bytes: result.json and all
series are compared, and exit code 4 says that something differs. A measurement of real clocks is made
again with the same command, and the properties are shown side by side.`,
		Example: `  clockbench rerun run
  clockbench rerun run/result.json --out again   # and keep the repetition`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, names []string) error { return a.rerun(c.Context(), names[0], &o) },
	}
	c.Flags().StringVarP(&o.out, "out", "o", "", "keep the repetition in this directory")
	c.Flags().BoolVar(&o.force, "force", false, "replace results that the directory holds already")
	return c
}

func (a *app) rerun(ctx context.Context, name string, o *rerunOptions) (err error) {
	r, err := result.Read(name)
	if err != nil {
		return err
	}
	old := name
	if info, err := os.Stat(name); err == nil && !info.IsDir() {
		old = filepath.Dir(name)
	}
	dir := o.out
	if dir == "" {
		if dir, err = os.MkdirTemp("", "clockbench-rerun-"); err != nil {
			return fmt.Errorf("there is no place for the repetition: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	repeat := a.repeaters()[r.Mode]
	if repeat == nil {
		repeat = a.rerunCommand
	}
	return repeat(ctx, old, r, dir, o)
}

// rerunSim repeats a simulated run, and compares byte for byte.
func (a *app) rerunSim(ctx context.Context, old string, r *result.Result, dir string, o *rerunOptions) error {
	q, err := simrun.Again(r)
	if err != nil {
		return cli.UsageError(err)
	}
	d, err := result.Prepare(dir, result.PrepareOptions{Replace: o.force})
	if err != nil {
		return err
	}
	bar := newProgress(a, q.Scenario.Work())
	done := 0.0
	_, again, err := simrun.Run(q, d, func(part float64) error {
		bar.add((part - done) * q.Scenario.Work())
		done = part
		return context.Cause(ctx)
	})
	bar.end()
	if err == nil && o.out != "" {
		err = lab.Write(dir, again, a.version)
	}
	if err := errors.Join(err, d.Close()); err != nil {
		return err
	}
	if r.Version != a.version {
		a.print("Made by clockd %s, repeated by %s: where they differ, so may the bytes.\n", r.Version, a.version)
	}
	if !r.Complete {
		a.print("The old run was interrupted after %s, the repetition went to its end: there is nothing to compare.\n", lab.Number(r.Length, "s"))
		return nil
	}
	different, err := a.compareBytes(old, dir, again)
	if err != nil {
		return err
	}
	if len(different) > 0 {
		return &cli.CodeError{Code: exitDifferent, Err: fmt.Errorf("the repetition differs: %s", strings.Join(different, "; "))}
	}
	return nil
}

// compareBytes compares result.json and every series, and returns where they differ.
func (a *app) compareBytes(old, dir string, again *result.Result) ([]string, error) {
	names := []string{result.FileName}
	for i := range again.Series {
		if f := again.Series[i].File; f != "" && !slices.Contains(names, f) {
			names = append(names, f)
		}
	}
	var different []string
	for _, name := range names {
		x, err := os.ReadFile(filepath.Join(old, filepath.FromSlash(name)))
		if errors.Is(err, os.ErrNotExist) && name != result.FileName {
			a.print("%s: is not beside the old result, nothing to compare with\n", name)
			continue
		}
		y, err2 := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		if err := errors.Join(err, err2); err != nil {
			return nil, fmt.Errorf("the runs cannot be compared: %w", err)
		}
		if bytes.Equal(x, y) {
			a.print("%s: the same %d bytes\n", name, len(x))
			continue
		}
		different = append(different, name+": "+firstDifference(x, y))
	}
	return different, nil
}

// firstDifference tells the first line in which two texts differ.
func firstDifference(x, y []byte) string {
	xs, ys := bytes.Split(x, []byte("\n")), bytes.Split(y, []byte("\n"))
	for i := range min(len(xs), len(ys)) {
		if !bytes.Equal(xs[i], ys[i]) {
			return fmt.Sprintf("line %d was %.80q and is %.80q", i+1, bytes.TrimSpace(xs[i]), bytes.TrimSpace(ys[i]))
		}
	}
	return fmt.Sprintf("it had %d lines and has %d", len(xs), len(ys))
}

// rerunCommand runs the command of a result again, and shows the properties side by side.
func (a *app) rerunCommand(ctx context.Context, _ string, r *result.Result, dir string, o *rerunOptions) error {
	if err := usable(r); err != nil {
		return err
	}
	words := append(withoutOut(r.Command), "--out", dir)
	if o.force {
		words = append(words, "--force")
	}
	root := newRoot(a)
	if c, _, err := root.Find(words); err != nil || c == root {
		return cli.UsageError(fmt.Errorf("this clockbench has no command %q to repeat the run with", r.Command[0]))
	}
	root.SetArgs(words)
	if err := root.ExecuteContext(ctx); err != nil {
		return err
	}
	again, err := result.Read(dir)
	if err != nil {
		return err
	}
	return a.sideBySide(r, again)
}

// withoutOut leaves out where the old run wrote.
func withoutOut(command []string) []string {
	var words []string
	for i := 0; i < len(command); i++ {
		switch w := command[i]; {
		case w == "--out" || w == "-o":
			i++
		case strings.HasPrefix(w, "--out=") || strings.HasPrefix(w, "-o") || w == "--force" || w == "--resume" || w == "--json":
		default:
			words = append(words, w)
		}
	}
	return words
}

// sideBySide prints the properties of two runs, and whether they differ by more than their uncertainties.
func (a *app) sideBySide(old, again *result.Result) error {
	rows := [][]string{{"property", "whose", "was", "is", "differ by", "uncertainty", ""}}
	for i := range old.Properties {
		p := &old.Properties[i]
		j := slices.IndexFunc(again.Properties, func(q result.Property) bool {
			return q.Symbol == p.Symbol && q.Name == p.Name && q.Statistic == p.Statistic && q.Subject == p.Subject
		})
		if j < 0 {
			rows = append(rows, []string{p.Name, p.Subject, lab.Number(p.Value, p.Unit), "-", "-", "-", "was not measured again"})
			continue
		}
		rows = append(rows, compared(p, &again.Properties[j]))
	}
	return a.columns(rows)
}

// compared is one row of the comparison.
func compared(p, q *result.Property) []string {
	row := []string{strings.TrimSpace(p.Symbol + " " + p.Name + " " + p.Statistic), p.Subject, lab.Number(p.Value, p.Unit), lab.Number(q.Value, q.Unit), "-", "-", ""}
	x, known := p.Value.Value()
	y, known2 := q.Value.Value()
	if !known || !known2 {
		return row
	}
	row[4] = lab.Number(result.Of(y-x), p.Unit)
	u, stated := p.Uncertainty.Value()
	v, stated2 := q.Uncertainty.Value()
	if stated && stated2 {
		row[5] = lab.Number(result.Of(u+v), p.Unit)
		row[6] = "within the uncertainty"
		if math.Abs(y-x) > u+v {
			row[6] = "the measured quantity changed"
		}
	}
	return row
}
