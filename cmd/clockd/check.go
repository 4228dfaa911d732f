package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/clockd/clockd/internal/cli"
	"github.com/clockd/clockd/internal/config"
	"github.com/clockd/clockd/internal/daemon"
)

// checkResult is what check --json prints.
type checkResult struct {
	OK       bool            `json:"ok"`
	File     string          `json:"file"`
	Problems config.Problems `json:"problems"`
	Sources  int             `json:"sources"`
	Serves   bool            `json:"serves"`
}

func newCheck(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "check CONFIG",
		Short: "Check a configuration file and name every mistake with its line",
		Long: `Check a configuration file without starting anything. Every mistake is named with file, line,
column and what would be right; the key files that it names are looked into as well. The exit
code is 0 if the file is good and 1 if not.`,
		Example: "  clockd check /etc/clockd/clockd.toml",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, list []string) error {
			return a.check(list[0])
		},
	}
	return a.asJSON(c)
}

func (a *app) check(path string) error {
	c, err := config.Load(path, a.paths())
	var problems config.Problems
	if err != nil && !errors.As(err, &problems) {
		return err
	}
	if err == nil {
		if keysErr := daemon.CheckKeys(c); keysErr != nil {
			problems = config.Problems{{File: path, Message: keysErr.Error()}}
			err = problems
		}
	}
	result := checkResult{OK: err == nil, File: path, Problems: config.Problems{}}
	if err != nil {
		result.Problems = problems
	} else {
		result.Sources, result.Serves = len(c.Source), c.Server != nil
	}
	if a.json {
		if err := a.printJSON(result); err != nil {
			return err
		}
	} else if err != nil {
		_, _ = fmt.Fprintln(a.err, problems)
	} else {
		a.print("%s: good; %s\n", path, describe(c))
	}
	if err != nil {
		return &cli.CodeError{Code: cli.Error, Err: err, Quiet: true}
	}
	return nil
}

// describe says in a few words what a configuration does.
func describe(c *config.Config) string {
	what := fmt.Sprintf("follows %d sources", len(c.Source))
	switch {
	case c.Local != nil:
		what = fmt.Sprintf("is the reference at stratum %d", c.Local.Stratum)
	case len(c.Source) == 1:
		what = "follows one source"
	}
	switch peers := fmt.Sprintf("agrees with %d peers", len(c.Peer)); {
	case len(c.Peer) > 0 && len(c.Source) > 0:
		what += ", " + peers
	case len(c.Peer) > 0:
		what = peers
	}
	served := ", answers NTP requests"
	if c.Server == nil {
		served = ", serves nobody"
	}
	if what += served; c.Influx != nil {
		what += ", sends points to " + c.Influx.URL
	}
	if c.ClockBound != nil {
		what += ", writes " + c.ClockBound.Path + " for ClockBound's readers"
	}
	switch c.SystemClock.Discipline {
	case config.DisciplineRealtime:
		what += ", steers the system clock"
	case config.DisciplineAux:
		what += fmt.Sprintf(", steers the auxiliary clock %d", c.SystemClock.Aux)
	}
	return what
}
