package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/clockd/clockd/internal/cli"
	"github.com/clockd/clockd/internal/sim"
)

// scaleOptions are the flags of scale.
type scaleOptions struct {
	members []int
	hosts   int
	size    int
	ties    int
	probes  float64
	length  float64
	seed    uint64
}

// scaleLine is what scale --json prints of each deployment.
type scaleLine struct {
	sim.ScaleResult
	// CPU is the processor time that the whole simulation took for each round of each host: more than a host needs, since oscillators, network
	// and judge are in it.
	CPU float64 `json:"cpu_per_host_per_round_s"`
}

func newScale(a *app) *cobra.Command {
	o := scaleOptions{}
	c := &cobra.Command{
		Use: "scale", Short: "Measure what groups of peers cost, and how precise they are, from 4 hosts to 1,000",
		Long: `Simulates full meshes of honest hosts (rounds of 1 s, lan_sw), and a federation: groups that agree inside, a few
members of each follow a core group that has masters. Prints packets and bytes that a host sends, processor time,
precision and bounds. The processor time is this machine's; all else depends on the seed only.`,
		Example: "  clockbench scale\n  clockbench scale --members 4,31 --hosts 0",
		Args:    args(cobra.NoArgs),
		RunE:    func(c *cobra.Command, _ []string) error { return a.scale(c.Context(), &o) },
	}
	f := c.Flags()
	f.IntSliceVar(&o.members, "members", []int{4, 7, 10, 16, 31, 50, 100}, "the sizes of the full meshes")
	f.IntVar(&o.hosts, "hosts", 1000, "how many hosts the federation has beside its core; 0: none is measured")
	f.IntVar(&o.size, "group", 10, "how many members each group of the federation has")
	f.IntVar(&o.ties, "ties", 3, "how many members of each group follow the core")
	f.Float64Var(&o.probes, "probes", 4, "how often each peer is asked in a round")
	f.Float64Var(&o.length, "length", 40, "how long each run is, in simulated seconds")
	f.Uint64Var(&o.seed, "seed", 1, "the seed")
	f.BoolVar(&a.json, "json", false, "print JSON, for programs")
	return c
}

// deployments are what is measured.
func (o *scaleOptions) deployments() ([]sim.Scale, error) {
	var all []sim.Scale
	for _, n := range o.members {
		all = append(all, sim.Scale{Groups: 1, Members: n, Probes: o.probes, Length: sim.Length(o.length), Seed: o.seed})
	}
	if o.hosts == 0 {
		return all, nil
	}
	if o.size < 4 || o.hosts%o.size != 0 || o.ties < 1 || o.ties > o.size {
		return nil, fmt.Errorf("--hosts %d --group %d --ties %d: hosts must be a multiple of group, group at least 4, ties from 1 to group", o.hosts, o.size, o.ties)
	}
	return append(all, sim.Scale{Groups: o.hosts / o.size, Members: o.size, Ties: o.ties, Probes: o.probes, Length: sim.Length(o.length), Seed: o.seed}), nil
}

func (a *app) scale(ctx context.Context, o *scaleOptions) error {
	all, err := o.deployments()
	switch {
	case err != nil:
		return cli.UsageError(err)
	case !(o.length >= 20 && o.length <= 3600) || !(o.probes >= 1 && o.probes <= 100):
		return cli.UsageError(fmt.Errorf("--length %g --probes %g: from 20 to 3600 seconds and from 1 to 100 probes", o.length, o.probes))
	}
	work := 0.0
	for i := range all {
		work += all[i].Work()
	}
	bar := newProgress(a, work)
	var lines []scaleLine
	for i := range all {
		done, before := 0.0, processorTime()
		r, err := all[i].Run(func(part float64) error {
			bar.add((part - done) * all[i].Work())
			done = part
			return context.Cause(ctx)
		})
		if err != nil {
			bar.end()
			return fmt.Errorf("%d groups of %d: %w", all[i].Groups, all[i].Members, err)
		}
		lines = append(lines, scaleLine{r, (processorTime() - before) / float64(max(r.HostRounds, 1))})
	}
	bar.end()
	if a.json {
		if err := a.printJSON(a.out, lines); err != nil {
			return err
		}
	} else if err := a.scaleTable(lines); err != nil {
		return err
	}
	for i := range lines {
		if lines[i].Violations > 0 {
			return &cli.CodeError{Code: exitViolation, Err: fmt.Errorf("%d bounds were wrong with %d hosts", lines[i].Violations, lines[i].Hosts)}
		}
	}
	return nil
}

func (a *app) scaleTable(lines []scaleLine) error {
	rows := [][]string{{"hosts", "groups", "n, f", "packets/s", "most", "bytes/s", "CPU/round", "ε", "RMS pairwise", "π_v in a group", "across all", "to UTC (RMS)", "wrong"}}
	for i := range lines {
		r := &lines[i]
		rows = append(rows, []string{
			fmt.Sprint(r.Hosts), fmt.Sprint(r.Groups), fmt.Sprintf("%d, %d", r.Members, r.Faults), ratio(r.PacketRate), ratio(r.MostPacketRate),
			ratio(r.ByteRate), seconds(sim.Number(r.CPU)), seconds(r.ReadingError), seconds(r.RMSPairwise), ofBound(r.Precision, r.PrecisionBound),
			across(r), seconds(r.RMSError), fmt.Sprint(r.Violations),
		})
	}
	return a.columns(rows)
}

// across is how far apart any two hosts of a federation are.
func across(r *scaleLine) string {
	if r.Ties == 0 {
		return "-"
	}
	return ofBound(r.Across, r.AcrossBound)
}

// processorTime is what this process has used, in seconds.
func processorTime() float64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)*1e-6
}
