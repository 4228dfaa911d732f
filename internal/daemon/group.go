package daemon

import (
	"errors"

	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/internal/node"
	"github.com/clockd/clockd/reason"
)

// group is the host's standing in its group, for people.
func (d *daemon) group(s *node.Snapshot) (*control.Group, error) {
	g := s.Group
	if g == nil {
		return nil, errors.New("this host has no peers: its configuration has no [[peer]]")
	}
	why := g.Last.Reason
	if why == reason.OK {
		why = g.Standing
	}
	out := &control.Group{
		Status: g.Status, Reason: why, Explanation: why.Explain(), Round: g.Round, Members: g.Members, Faults: g.Faults, Margin: g.Last.Margin,
		Rounds: g.Rounds, Skipped: g.Skipped, SpreadS: control.Known(g.FarEdge), PrecisionBoundS: control.Known(g.Precision),
		ToUTCS: control.Known(g.ToUTC), EpsilonS: control.Known(g.Last.Epsilon), AdjustmentS: g.Last.Adjustment, PullS: g.Last.Pull, Peers: []control.Peer{},
	}
	for i := range g.Peers {
		out.Peers = append(out.Peers, d.peer(&g.Peers[i]))
	}
	return out, nil
}

func (d *daemon) peer(p *node.PeerStatus) control.Peer {
	out := control.Peer{
		Name: p.Name, Reason: p.Reason, Used: p.Verdict.Used, Reach: p.Reach, PollS: p.Poll, TransmitStamp: p.TransmitStamp.String(),
		ReceiveStamp: p.ReceiveStamp.String(), Sent: p.Sent, Received: p.Received, Rejections: p.Rejections.Map(),
		LastRejection: p.LastRejection,
	}
	if p.Address != "" {
		out.Address = &p.Address
	}
	if p.Heard {
		out.Status = &p.Status
	}
	if v := &p.Verdict; v.Used || v.HalfWidth > 0 {
		out.OffsetS, out.ErrorS = control.Known(v.Centre), control.Known(v.HalfWidth)
	}
	if p.Reading.Samples > 0 {
		out.DelayS, out.JitterS = control.Known(p.Reading.MinDelay), control.Known(p.Reading.Jitter)
	}
	if s := d.slot(p.ID); s != nil {
		out.Key, out.Detail = s.key.String(), s.detail
		if !s.address.IsValid() && out.Reason != reason.OK {
			out.Reason = s.why
		}
	}
	out.Explanation = out.Reason.Explain()
	return out
}
