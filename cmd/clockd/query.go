package main

import (
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/clockd/clockd/internal/cli"
	"github.com/clockd/clockd/internal/query"
)

func newQuery(a *app) *cobra.Command {
	var o query.Options
	c := &cobra.Command{
		Use:   "query HOST...",
		Short: "Measure NTP servers once, without a daemon",
		Long: `Ask NTP servers several times and show how far this machine's system clock is from each, with
the error of that. No daemon is needed and nothing is changed. The exit code is 0 if every
host gave a measurement, 1 if not.`,
		Example: "  clockd query pool.ntp.org time.cloudflare.com\n  clockd query --samples 8 --json 192.0.2.1:123",
		Args:    args(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, hosts []string) error {
			return a.query(c, hosts, o)
		},
	}
	c.Flags().IntVar(&o.Samples, "samples", 4, "how many requests each host gets")
	c.Flags().DurationVar(&o.Gap, "gap", time.Second, "the least time between two requests to one host")
	c.Flags().DurationVar(&o.Timeout, "timeout", 2*time.Second, "how long an answer is waited for")
	return a.asJSON(c)
}

func (a *app) query(c *cobra.Command, hosts []string, o query.Options) error {
	if o.Samples < 1 || o.Timeout <= 0 || o.Gap < 0 {
		return cli.UsageError(errors.New("--samples and --timeout must be above 0, --gap not below"))
	}
	r, err := query.Run(c.Context(), hosts, o)
	if err != nil {
		return cli.UsageError(err)
	}
	if a.json {
		err = r.JSON(a.out)
	} else {
		err = r.Table(a.out)
	}
	if err == nil && !r.Good() {
		err = &cli.CodeError{Code: cli.Error, Err: errors.New("not every host gave a measurement"), Quiet: true}
	}
	return err
}
