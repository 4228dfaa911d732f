package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/clockd/clockd/internal/cli"
	lab "github.com/clockd/clockd/internal/lab/report"
	"github.com/clockd/clockd/internal/lab/result"
	"github.com/clockd/clockd/internal/lab/simrun"
)

// store is where sim --out DIR writes: nothing, if there is no such directory. One run has the directory to itself; several have
// one inside of it each, and a page that compares them.
type store struct {
	app *app
	dir string
	// properties: they are wanted.
	properties bool
	// places are the runs' directories, in the order of the runs, reserved before any work is done.
	places map[string]*result.Directory
	order  []string
	// influx, if not nil, takes what is written down as well.
	influx *pushed
}

// maxStored is how many runs one call may write down: each has a directory open.
const maxStored = 500

// maxCompared is how many runs the page beside them compares.
const maxCompared = 12

func runName(s loaded, seed uint64) string { return fmt.Sprintf("%s-%d", s.Name, seed) }

func newStore(a *app, o *simOptions, scenarios []loaded, seeds []uint64) (*store, error) {
	s := &store{app: a, properties: o.properties, places: map[string]*result.Directory{}}
	if o.out == "" || strings.HasSuffix(o.out, ".json") {
		return s, tryFile(o.out)
	}
	if n := len(scenarios) * len(seeds); n > maxStored {
		return nil, cli.UsageError(fmt.Errorf("%d runs are more than the %d that --out DIR writes down: give fewer seeds, or a file ending in .json", n, maxStored))
	}
	s.dir = o.out
	for _, x := range scenarios {
		for _, seed := range seeds {
			name, dir := runName(x, seed), o.out
			if len(scenarios)*len(seeds) > 1 {
				dir = filepath.Join(o.out, name)
			}
			d, err := result.Prepare(dir, result.PrepareOptions{Replace: o.force})
			if err != nil {
				return nil, errors.Join(err, s.close())
			}
			s.places[name] = d
			s.order = append(s.order, name)
		}
	}
	return s, nil
}

// tryFile makes sure, before any work is done, that a file can be written where it is to be.
func tryFile(name string) error {
	if name == "" {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".clockbench-*")
	if err != nil {
		return fmt.Errorf("the results cannot be stored: %w", err)
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// run runs a scenario once, and writes what is to be seen of it if that is wanted.
func (s *store) run(ctx context.Context, x loaded, seed uint64, progress func(part float64) error) (*simrun.Outcome, error) {
	dir := s.places[runName(x, seed)]
	switch {
	case dir == nil && s.properties:
		return simrun.Measure(x.Scenario, seed, progress)
	case dir == nil:
		figures, err := x.Run(seed, progress)
		return &simrun.Outcome{Figures: figures}, err
	}
	q := simrun.Request{Scenario: x.Scenario, Source: x.source, Seed: seed, Version: s.app.version, Command: simrun.Command(x.asked, seed)}
	o, err := simrun.Write(q, dir, progress)
	if o == nil {
		return nil, err
	}
	err = errors.Join(err, lab.Write(dir.Path(), o.Result, s.app.version), s.influx.write(ctx, dir.Path(), o.Result))
	if !s.properties {
		o.Properties = nil
	}
	return o, err
}

// close gives the directories free; several runs that ended get a page together.
func (s *store) close() error {
	var errs []error
	var runs []lab.Run
	for _, name := range s.order {
		d := s.places[name]
		if len(s.order) > 1 && len(runs) < maxCompared {
			if r, err := result.Read(d.Path()); err == nil {
				runs = append(runs, lab.Run{Label: name, Result: r})
			}
		}
		errs = append(errs, d.Close())
	}
	if len(runs) > 1 {
		b, err := lab.HTML(runs, lab.Options{Version: s.app.version})
		if err == nil {
			err = result.WriteFile(filepath.Join(s.dir, lab.PageName), b)
		}
		errs = append(errs, err)
	}
	s.order = nil
	return errors.Join(errs...)
}
