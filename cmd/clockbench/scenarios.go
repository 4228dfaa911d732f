package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/clockd/clockd/internal/cli"
	"github.com/clockd/clockd/internal/sim"
)

// scenarioLine is what scenarios --json prints of each.
type scenarioLine struct {
	Name            string         `json:"scenario"`
	Summary         string         `json:"summary"`
	Details         string         `json:"details"`
	AssumptionsHold bool           `json:"assumptions_hold"`
	Length          float64        `json:"length_s"`
	Published       *sim.Published `json:"published"`
}

func newScenarios(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "scenarios [SCENARIO]", Short: "List the scenarios, or show the file of one",
		Example: "  clockbench scenarios\n  clockbench scenarios lan_sw > mine.toml   # a file to begin with",
		Args:    args(cobra.MaximumNArgs(1)),
		RunE: func(_ *cobra.Command, names []string) error {
			if len(names) == 1 {
				return a.showScenario(names[0])
			}
			return a.listScenarios()
		},
	}
	c.Flags().BoolVar(&a.json, "json", false, "print JSON, for programs")
	return c
}

func (a *app) showScenario(name string) error {
	s, err := sim.Load(name)
	if err != nil {
		return cli.UsageError(err)
	}
	if a.json {
		return a.printJSON(a.out, lineOf(s))
	}
	b, err := sim.Source(name)
	if err != nil {
		return err
	}
	a.print("%s", b)
	return nil
}

func lineOf(s *sim.Scenario) scenarioLine {
	return scenarioLine{s.Name, s.Summary, strings.TrimSpace(s.Details), s.AssumptionsHold, float64(s.Length), s.Published}
}

func (a *app) listScenarios() error {
	var lines []scenarioLine
	for _, name := range sim.Names() {
		s, err := sim.Load(name)
		if err != nil {
			return err
		}
		lines = append(lines, lineOf(s))
	}
	if a.json {
		return a.printJSON(a.out, lines)
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	for _, l := range lines {
		broken := ""
		if !l.AssumptionsHold {
			broken = " [assumptions broken]"
		}
		_, _ = fmt.Fprintf(w, "%s\t%s%s\n", l.Name, l.Summary, broken)
	}
	return w.Flush()
}

// loaded is a scenario with its file, and the name that it was asked for by.
type loaded struct {
	*sim.Scenario
	source []byte
	asked  string
}

// load returns the scenarios that the arguments name, by name or by path.
func load(names []string) ([]loaded, error) {
	var all []loaded
	for _, name := range names {
		s, err := loadOne(name)
		if err != nil {
			return nil, err
		}
		for _, other := range all {
			if other.Name == s.Name {
				return nil, cli.UsageError(fmt.Errorf("the scenario %s is given twice", s.Name))
			}
		}
		all = append(all, s)
	}
	return all, nil
}

// maxFile is more than any scenario has.
const maxFile = 1 << 20

func loadOne(name string) (loaded, error) {
	if !strings.ContainsAny(name, "/.") {
		s, err := sim.Load(name)
		if err != nil {
			return loaded{}, cli.UsageError(err)
		}
		b, err := sim.Source(name)
		return loaded{s, b, name}, err
	}
	f, err := os.Open(name)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return loaded{}, cli.UsageError(fmt.Errorf("there is no scenario file %s", name))
		}
		return loaded{}, fmt.Errorf("the scenario cannot be read: %w", err)
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return loaded{}, fmt.Errorf("the scenario cannot be read: %w", err)
	}
	s, err := sim.Parse(strings.TrimSuffix(filepath.Base(name), ".toml"), b)
	return loaded{s, b, name}, cli.UsageError(err)
}
