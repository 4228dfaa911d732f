package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/clockd/clockd/internal/daemon/control"
)

func newPeers(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "peers",
		Short: "Show the group of peers: how far apart its clocks can be, and who takes part",
		Long: `Show this host's group: its standing, how far apart the clocks of correct members can be (the spread,
beside the bound that the configuration promises beforehand), how far UTC can be, and every peer
with its offset at the last round and why its clock was used or not.`,
		Example: "  clockd peers\n  clockd peers --json | jq '.peers[] | {name, reason}'",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			var g control.Group
			if err := control.Call(c.Context(), a.control(), control.CommandPeers, &g); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(&g)
			}
			a.showPeers(&g)
			return nil
		},
	}
	return a.asJSON(c)
}

// groupLine is the group in one line.
func groupLine(g *control.Group) string {
	used := 1
	for i := range g.Peers {
		if g.Peers[i].Used {
			used++
		}
	}
	line := fmt.Sprintf("%s, %d of %d members took part (%d may lie); spread %s, promised %s", g.Status, used, g.Members, g.Faults,
		optional(g.SpreadS, showSeconds), optional(g.PrecisionBoundS, showSeconds))
	if g.ToUTCS != nil {
		line += ", UTC within " + showSeconds(*g.ToUTCS)
	}
	if g.Reason != 0 {
		line += "; " + g.Explanation
	}
	return line
}

func (a *app) showPeers(g *control.Group) {
	a.print("%s\n", groupLine(g))
	rows := [][]string{{"", "PEER", "ADDRESS", "STANDING", "REACH", "OFFSET", "± ERROR", "ROUND TRIP", "STAMPS", "VERDICT"}}
	for i := range g.Peers {
		p := &g.Peers[i]
		mark, address, standing, stamps := " ", "-", "-", "-"
		if p.Used {
			mark = "+"
		}
		if p.Address != nil {
			address = *p.Address
		}
		if p.Status != nil {
			standing = p.Status.String()
		}
		if p.Received > 0 {
			stamps = p.TransmitStamp + "/" + p.ReceiveStamp
		}
		rows = append(rows, []string{mark, p.Name, address, standing, fmt.Sprintf("%03o", p.Reach), optional(p.OffsetS, showSigned),
			optional(p.ErrorS, showSeconds), optional(p.DelayS, showSeconds), stamps, p.Reason.String()})
	}
	a.table(rows)
	for i := range g.Peers {
		if p := &g.Peers[i]; p.Reason != 0 {
			a.print("%s %s: %s\n", a.paint(yellow, "!"), p.Name, p.Explanation)
		}
	}
}
