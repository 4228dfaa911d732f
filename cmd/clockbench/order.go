package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/clockd/clockd/internal/cli"
	"github.com/clockd/clockd/internal/lab/orderbench"
	"github.com/clockd/clockd/internal/lab/result"
	"github.com/clockd/clockd/internal/sim"
)

// orderOptions are the flags of order.
type orderOptions struct {
	plan           orderbench.Plan
	hashicorp, dir string
	out            string
	force          bool
}

// hashicorpMember is the program that plays a member of hashicorp-raft.
const hashicorpMember = "hashicorp-raft-member"

func newOrder(a *app) *cobra.Command {
	o := orderOptions{}
	c := &cobra.Command{
		Use: "order", Short: "Measure replicated logs side by side: timestamps, sequencer, raft",
		Long: `Starts groups of real processes on this machine, lets members broadcast, and measures throughput and
latency where messages come from and where they are delivered, and how steady and tight delivery is. A
message is stamped with a counter that all processes share, so differences are exact.

Engines: tsab (order/abcast, by timestamps), sequencer and raft-log (the same runtime, log and sessions),
hashicorp-raft (github.com/hashicorp/raft as its users run it: the program ` + hashicorpMember + `, see
bench/hashicorp; followers hand on to the leader). Ours speak TLS over TCP, hashicorp-raft TCP; --plain: all TCP.

Every list is combined with every other. Each origin has --outstanding messages on their way. With a --link
that is not loopback each member has a network namespace (needs root), and the formula of docs/abcast.md is
beside the measured latency. Ctrl-C keeps what was measured. On a busy machine only ratios within one run
mean anything.`,
		Example: `  clockbench order --engine tsab,hashicorp-raft --outstanding 1,256
  sudo clockbench order --engine tsab,raft-log,hashicorp-raft --link wan --outstanding 1 --origin follower
  clockbench order --engine tsab --delta 20ms --clock-spread 1ms --outstanding 1
  clockbench order --durability memory,fsync --size 100,4096 --json --out run`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return a.order(c.Context(), c.Flags(), &o) },
	}
	f := c.Flags()
	f.StringSliceVar(&o.plan.Engines, "engine", orderbench.AllEngines(), "the engines")
	f.IntSliceVar(&o.plan.Nodes, "nodes", []int{3}, "how many members")
	f.IntSliceVar(&o.plan.Sizes, "size", []int{100}, "bytes of a message")
	f.StringSliceVar(&o.plan.Durabilities, "durability", []string{"memory"}, "memory, os (survives the process), fsync (survives the power)")
	f.IntSliceVar(&o.plan.Outstanding, "outstanding", []int{1, 256}, "how many messages of each origin are on their way")
	f.StringSliceVar(&o.plan.Origins, "origin", []string{orderbench.OriginAll}, "who broadcasts: all, leader (or sequencer), follower (one of the others)")
	f.StringSliceVar(&o.plan.Links, "link", []string{"loopback"}, "loopback, a one-way delay such as 50us or 5ms, or wan (a triangle of 30, 40 and 60 ms)")
	f.DurationVar(&o.plan.For, "for", 5*time.Second, "how long each is measured")
	f.DurationVar(&o.plan.Warm, "warm", time.Second, "how long it runs before that")
	f.IntVar(&o.plan.Repeat, "repeat", 1, "how often everything is measured; the table shows the fastest")
	f.BoolVar(&o.plan.Plain, "plain", false, "no engine speaks TLS")
	f.DurationVar(&o.plan.Delta, "delta", 0, "time-triggered delivery, so much after the timestamp (tsab only)")
	f.DurationVar(&o.plan.Spread, "clock-spread", 0, "by how much the members' clocks differ")
	f.StringVar(&o.hashicorp, hashicorpMember, "", "that program (default: beside clockbench, else in the PATH)")
	f.StringVar(&o.dir, "dir", "", "where members keep their logs while they run: the disk that is measured (default: the directory for temporary files)")
	f.StringVarP(&o.out, "out", "o", "", "write order.json into this directory")
	f.BoolVar(&o.force, "force", false, "replace results that the directory holds already")
	f.BoolVar(&a.json, "json", false, "print JSON, for programs")
	return c
}

// newOrderMember is the hidden command that is a member.
func newOrderMember() *cobra.Command {
	return &cobra.Command{
		Use: "order-member", Hidden: true, Args: args(cobra.NoArgs), Short: "Be a member of clockbench order",
		Example: "  clockbench order-member   # as clockbench order does",
		RunE: func(c *cobra.Command, _ []string) error {
			return orderbench.RunMember(c.Context(), os.Stdin, os.Stdout, orderbench.Engines())
		},
	}
}

// orderReport is what order --json prints and order.json holds.
type orderReport struct {
	Format   string           `json:"format"`
	Version  string           `json:"clockd_version"`
	Command  []string         `json:"command"`
	Began    string           `json:"began"`
	Complete bool             `json:"complete"`
	Machine  *result.Machine  `json:"machine"`
	Rows     []orderbench.Row `json:"rows"`
}

func (a *app) order(ctx context.Context, f *pflag.FlagSet, o *orderOptions) (err error) {
	if err := o.plan.Check(); err != nil {
		return cli.UsageError(err)
	}
	settings, err := a.orderSettings(o)
	if err != nil {
		return err
	}
	var dir *result.Directory
	if o.out != "" {
		if dir, err = result.Prepare(o.out, result.PrepareOptions{Replace: o.force}); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, dir.Close()) }()
	}
	// The emulated network needs a free one of Go's processors to go on.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(runtime.NumCPU() + 4))
	r := orderReport{Format: "clockbench-order-1", Version: a.version, Command: orderWords(f), Began: time.Now().UTC().Format(time.RFC3339),
		Machine: result.ThisMachine("CLOCK_MONOTONIC")}
	bar := newProgress(a, float64(len(o.plan.Points())))
	settings.Done = func(x orderbench.Row) {
		bar.add(1)
		if x.Error != "" {
			bar.tell("%s, %s, %s: %s", x.Engine, x.Link, x.Durability, x.Error)
		}
	}
	rows, outcome := orderbench.Run(ctx, &o.plan, settings)
	bar.end()
	r.Rows, r.Complete = append([]orderbench.Row{}, rows...), outcome == nil
	return errors.Join(outcome, a.keepOrder(&r, dir))
}

func (a *app) orderSettings(o *orderOptions) (*orderbench.Options, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("this program cannot be found: %w", err)
	}
	s := &orderbench.Options{Member: []string{self, "order-member"}, Dir: o.dir}
	if !slices.Contains(o.plan.Engines, orderbench.Hashicorp) {
		return s, nil
	}
	program := o.hashicorp
	if program == "" {
		program = filepath.Join(filepath.Dir(self), hashicorpMember)
		if _, err := os.Stat(program); err != nil {
			program = hashicorpMember
		}
	}
	if program, err = exec.LookPath(program); err != nil {
		return nil, cli.UsageError(fmt.Errorf("the program of --engine %s is not there (make %s builds it; --%s says where it is): %w", orderbench.Hashicorp,
			hashicorpMember, hashicorpMember, err))
	}
	s.HashicorpMember = []string{program}
	return s, nil
}

// orderWords are the command that measures the same again.
func orderWords(f *pflag.FlagSet) []string {
	words := []string{"order"}
	f.Visit(func(x *pflag.Flag) {
		if slices.Contains([]string{"out", "force", "json", "dir", hashicorpMember}, x.Name) {
			return
		}
		value := x.Value.String()
		if list, ok := x.Value.(pflag.SliceValue); ok {
			value = ""
			for i, part := range list.GetSlice() {
				if i > 0 {
					value += ","
				}
				value += part
			}
		}
		words = append(words, "--"+x.Name+"="+value)
	})
	return words
}

// keepOrder writes and prints what was measured, whole or not.
func (a *app) keepOrder(r *orderReport, dir *result.Directory) error {
	if dir != nil {
		b, err := json.MarshalIndent(r, "", "  ")
		if err == nil {
			err = dir.WriteFile("order.json", b)
		}
		if err != nil {
			return err
		}
	}
	if a.json {
		return a.printJSON(a.out, r)
	}
	return a.orderTable(r)
}

// best are the rows with the most messages per second of those that measured the same.
func best(rows []orderbench.Row) []orderbench.Row {
	var kept []orderbench.Row
	for i := range rows {
		r := &rows[i]
		same := func(x orderbench.Row) bool {
			return x.Engine == r.Engine && x.Link == r.Link && x.Durability == r.Durability && x.Nodes == r.Nodes && x.Size == r.Size && x.Outstanding == r.Outstanding && x.Origin == r.Origin
		}
		k := slices.IndexFunc(kept, same)
		switch {
		case r.Error != "":
		case k < 0:
			kept = append(kept, *r)
		case r.MessagesPerS.Float() > kept[k].MessagesPerS.Float():
			kept[k] = *r
		}
	}
	return kept
}

func (a *app) orderTable(r *orderReport) error {
	rows := [][]string{{"engine", "link", "durability", "n", "size", "outst.", "origin", "messages/s", "p50", "p99", "max", "at receivers: p50", "p99", "max", "σ", "τ", "τ p50", "τ p99", "cores", "CPU/message", "failed"}}
	length := func(n result.Number) string { return seconds(sim.Number(n.Float())) }
	kept := best(r.Rows)
	for i := range kept {
		x := &kept[i]
		tightness := length(x.TightnessS)
		if bound, known := x.TightnessBoundS.Value(); known {
			tightness += fmt.Sprintf(" (π_v %s)", seconds(sim.Number(bound)))
		}
		rows = append(rows, []string{
			x.Engine, x.Link, x.Durability, fmt.Sprint(x.Nodes), fmt.Sprint(x.Size), fmt.Sprint(x.Outstanding), x.Origin, fmt.Sprintf("%.0f", x.MessagesPerS.Float()),
			length(x.P50), length(x.P99), length(x.Max), length(x.ReceiverP50), length(x.ReceiverP99), length(x.ReceiverMax), length(x.SteadinessS), tightness,
			length(x.TightnessP50S), length(x.TightnessP99S), ratio(sim.Number(x.CPUSeconds.Float())), length(x.CPUPerMessage), fmt.Sprint(x.Failed),
		})
	}
	if err := a.columns(rows); err != nil {
		return err
	}
	return a.orderPaths(kept)
}

// orderPaths prints the emulated paths beside the formula.
func (a *app) orderPaths(kept []orderbench.Row) error {
	rows := [][]string{{"engine", "link", "durability", "n", "outst.", "origin", "from", "to", "p50", "formula", "/formula"}}
	for i := range kept {
		x := &kept[i]
		for _, p := range x.Paths {
			formula, known := p.Formula.Value()
			if !known {
				continue
			}
			rows = append(rows, []string{x.Engine, x.Link, x.Durability, fmt.Sprint(x.Nodes), fmt.Sprint(x.Outstanding), x.Origin, fmt.Sprint(p.From), fmt.Sprint(p.To),
				seconds(sim.Number(p.P50.Float())), seconds(sim.Number(formula)), ratio(sim.Number(p.P50.Float() / formula))})
		}
	}
	if len(rows) == 1 {
		return nil
	}
	a.print("\nFrom broadcast to delivery, medians, beside the formula for a message without load (docs/abcast.md).\n\n")
	return a.columns(rows)
}
