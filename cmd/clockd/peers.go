package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/internal/daemon/explain"
)

func newPeers(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "peers",
		Short: "Show the group of peers: how far apart its clocks can be, and who takes part",
		Long: `Show this host's group: whether it agrees and how far apart the clocks of correct members can be, by
what the configuration promises beforehand and by the last round, how far UTC can be, and every peer
with its offset at the last round, in words why its clock was not used, and what to do.`,
		Example: "  clockd peers\n  clockd peers --watch\n  clockd peers --json | jq '.peers[] | {name, reason}'",
		Args:    args(cobra.NoArgs),
	}
	c.RunE = a.report(c, func(ctx context.Context) (func(), any, error) {
		var g control.Group
		if err := control.Call(ctx, a.control(), control.CommandPeers, &g); err != nil {
			return nil, nil, err
		}
		return func() { a.showPeers(&g) }, &g, nil
	})
	return c
}

// groupLine is the group in one line.
func groupLine(g *control.Group) string {
	used := 1
	for i := range g.Peers {
		if g.Peers[i].Used {
			used++
		}
	}
	return fmt.Sprintf("%s, round %d; %d of %d took part (%d may lie); within %s of the common time", g.Status, g.Round, used, g.Members, g.Faults,
		explain.Known(g.SpreadS, explain.Seconds))
}

func (a *app) showPeers(g *control.Group) {
	v := explain.Group(g)
	a.verdict(g.Status.String(), &v)
	a.grounds(&v)
	a.print("\n")
	rows := [][]string{{" ", "PEER", "VERDICT", "OFFSET", "± ERROR", "ROUND TRIP", "ANSWERED", "SAYS OF ITSELF", "STAMPS", "ADDRESS"}}
	for i := range g.Peers {
		p := &g.Peers[i]
		mark, standing, stamps := " ", "-", "-"
		if p.Used {
			mark = "+"
		}
		if p.Status != nil {
			standing = p.Status.String()
		}
		if p.Received > 0 {
			stamps = p.TransmitStamp + "/" + p.ReceiveStamp
		}
		rows = append(rows, []string{mark, p.Name, explain.Peer(p).State, explain.Known(p.OffsetS, explain.Signed), explain.Known(p.ErrorS, explain.Seconds),
			explain.Known(p.DelayS, explain.Seconds), answered(p.Reach), standing, stamps, addressOf(p.Name, p.Address)})
	}
	a.table(withoutEmpty(rows))
	var found []trouble
	for i := range g.Peers {
		p := &g.Peers[i]
		found = gather(found, p.Name, p.Reason, explain.Peer(p))
	}
	a.troubles(found)
}
