package main

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/clockd/clockd/internal/cli"
	"github.com/clockd/clockd/internal/lab/influxdb"
	"github.com/clockd/clockd/internal/lab/result"
	"github.com/clockd/clockd/metrics/influx"
)

// influxOptions are the flags by which sim, live, compare and observe write into InfluxDB what they write into --out.
type influxOptions struct {
	target influx.Target
	run    string
}

func (o *influxOptions) flags(f *pflag.FlagSet) {
	f.StringVar(&o.target.URL, "influx", "", "write the series, events, rounds and properties into the InfluxDB at this URL too (needs --out DIR)")
	f.StringVar(&o.target.Org, "influx-org", "", "the organisation, of InfluxDB 2.x")
	f.StringVar(&o.target.Bucket, "influx-bucket", "clockd", "the bucket; of InfluxDB 1.8 the data base")
	f.StringVar(&o.target.TokenFile, "influx-token-file", "", "a file with the token; for InfluxDB 1.8 with USER:PASSWORD")
	f.StringVar(&o.target.CAFile, "influx-ca-file", "", "certificates that the server's is checked against, as PEM (default: the system's)")
	f.StringVar(&o.run, "influx-run", "", "the tag by which this run is found again (default: the command and the time)")
}

// isInflux reports whether a flag is one of these: where a run's figures go is no part of what repeats it.
func isInflux(flag string) bool { return flag == "influx" || strings.HasPrefix(flag, "influx-") }

// pushed writes results into InfluxDB; nil: nobody asked for it.
type pushed struct {
	pusher *influx.Pusher
	run    *influxdb.Run
	app    *app
	url    string
}

// openInflux tells the server that a run begins: one that takes nothing is found before any work is done.
func (a *app) openInflux(ctx context.Context, o *influxOptions, f *pflag.FlagSet, command, out string) (*pushed, error) {
	if o.target.URL == "" {
		var other string
		f.Visit(func(x *pflag.Flag) {
			if isInflux(x.Name) {
				other = x.Name
			}
		})
		if other != "" {
			return nil, cli.UsageError(fmt.Errorf("--%s without --influx URL says nothing", other))
		}
		return nil, nil
	}
	switch {
	case !strings.HasPrefix(o.target.URL, "http://") && !strings.HasPrefix(o.target.URL, "https://"):
		return nil, cli.UsageError(fmt.Errorf("--influx %s: give an address such as http://127.0.0.1:8086", o.target.URL))
	case o.target.Bucket == "":
		return nil, cli.UsageError(errors.New("--influx-bucket must not be empty"))
	case out == "" || strings.HasSuffix(out, ".json"):
		return nil, cli.UsageError(errors.New("--influx writes what is written into a directory: give --out DIR too"))
	}
	var seed [32]byte
	_, _ = crand.Read(seed[:]) // it never fails
	p, err := influx.NewPusher(o.target, rand.New(rand.NewChaCha8(seed)).Float64)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	name := o.run
	if name == "" {
		name = command + " " + now.UTC().Format("2006-01-02T15:04:05.000Z")
	}
	host, _ := os.Hostname()
	words := append([]string{command}, f.Args()...)
	f.Visit(func(x *pflag.Flag) {
		if !isInflux(x.Name) {
			words = append(words, "--"+x.Name+"="+x.Value.String())
		}
	})
	run, err := influxdb.Begin(ctx, p, name, host, a.version, words, now)
	if err != nil {
		p.Close()
		return nil, err
	}
	return &pushed{pusher: p, run: run, app: a, url: o.target.URL}, nil
}

// write writes one result. What was measured is kept after an interrupt too.
func (p *pushed) write(ctx context.Context, dir string, r *result.Result) error {
	if p == nil || r == nil {
		return nil
	}
	return p.run.Write(context.WithoutCancel(ctx), dir, r)
}

func (p *pushed) close() {
	if p == nil {
		return
	}
	_, _ = fmt.Fprintf(p.app.err, "%d points are in the InfluxDB at %s\n", p.pusher.Written(), p.url)
	p.pusher.Close()
}
