package simrun

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/clockd/clockd/internal/lab/result"
	"github.com/clockd/clockd/internal/sim"
)

// Request is what to run.
type Request struct {
	Scenario *sim.Scenario
	// Source is the scenario's file.
	Source []byte
	Seed   uint64
	// Version is the program's, Command the words that repeat this very run.
	Version string
	Command []string
}

// ErrNothing says that a run ended before it had begun.
var ErrNothing = errors.New("nothing was measured")

// Run runs the scenario, writes result.json and the series into the directory, and returns the figures of the simulation with the
// result. If progress ends it, what was measured until then is written all the same, as not complete, and its error is returned.
func Run(q Request, dir *result.Directory, progress func(part float64) error) ([]sim.Result, *result.Result, error) {
	r := &recorder{request: q, dir: dir}
	figures, err := q.Scenario.RunWatched(q.Seed, r.watch, progress)
	if r.world == nil || r.err != nil {
		return nil, nil, errors.Join(err, r.err)
	}
	if err != nil && r.world.Now() == 0 {
		return nil, nil, err
	}
	complete := err == nil
	if !complete {
		figures = r.partial()
	}
	out := r.result(figures, complete)
	return figures, out, errors.Join(err, dir.Write(out))
}

// Command returns the words that repeat one run: the way a result tells how it was made.
func Command(scenario string, seed uint64) []string {
	return []string{"sim", scenario, "--seeds", strconv.FormatUint(seed, 10)}
}

// Again prepares the run that a result tells of.
func Again(r *result.Result) (Request, error) {
	if r.Mode != result.ModeSim || r.Seed == nil || r.Scenario == nil || r.Scenario.Source == nil {
		return Request{}, errors.New("this is no simulated run with a scenario and a seed: it cannot be repeated")
	}
	source := []byte(*r.Scenario.Source)
	s, err := sim.Parse(r.Scenario.Name, source)
	if err != nil {
		return Request{}, fmt.Errorf("the scenario in the result is not good: %w", err)
	}
	return Request{Scenario: s, Source: source, Seed: *r.Seed, Version: r.Version, Command: r.Command}, nil
}
