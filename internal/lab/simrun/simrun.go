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

// Outcome is what a run gave: the figures of the simulation, the properties, and the result that was written, if any.
type Outcome struct {
	Figures    []sim.Result
	Properties []Properties
	Result     *result.Result
}

// Measure runs a scenario and measures the properties of its clocks, and writes nothing.
func Measure(s *sim.Scenario, seed uint64, progress func(part float64) error) (*Outcome, error) {
	var all []*observer
	var failed error
	figures, err := s.RunWatched(seed, func(w *sim.World) {
		if all, failed = measure(w, s); failed == nil {
			w.Sampled = func() { sampled(all) }
		}
	}, progress)
	if err := errors.Join(err, failed); err != nil {
		return nil, err
	}
	p, err := tables(all, s.Name, seed)
	return &Outcome{Figures: figures, Properties: p}, err
}

// sampled lets all observers look at the counters.
func sampled(all []*observer) {
	for _, o := range all {
		o.sampled()
	}
}

// tables ends the figures of all observers.
func tables(all []*observer, scenario string, seed uint64) ([]Properties, error) {
	p := []Properties{}
	var errs []error
	for _, o := range all {
		t, err := o.table()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		x := Properties{Scenario: scenario, Seed: seed, Table: t}
		if o.group != nil {
			x.Clocks = o.group.Name
		}
		p = append(p, x)
	}
	return p, errors.Join(errs...)
}

// Run runs the scenario, writes result.json and the series into the directory, and returns the figures of the simulation with the
// result. If progress ends it, what was measured until then is written all the same, as not complete, and its error is returned.
func Run(q Request, dir *result.Directory, progress func(part float64) error) ([]sim.Result, *result.Result, error) {
	o, err := Write(q, dir, progress)
	if o == nil {
		return nil, nil, err
	}
	return o.Figures, o.Result, err
}

// Write is Run, and returns the properties as well. The outcome is nil if nothing was measured.
func Write(q Request, dir *result.Directory, progress func(part float64) error) (*Outcome, error) {
	r := &recorder{request: q, dir: dir}
	figures, err := q.Scenario.RunWatched(q.Seed, r.watch, progress)
	if r.world == nil || r.err != nil {
		return nil, errors.Join(err, r.err)
	}
	if err != nil && r.world.Now() == 0 {
		return nil, err
	}
	complete := err == nil
	if !complete {
		figures = r.partial()
	}
	p, failed := tables(r.observers, q.Scenario.Name, q.Seed)
	out := r.result(figures, p, complete)
	return &Outcome{figures, p, out}, errors.Join(err, failed, dir.Write(out))
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
