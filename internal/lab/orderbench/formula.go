package orderbench

import (
	"slices"
)

// Delays are one-way delays in seconds: Delays[x][y] is that from member x to member y, from 0.
type Delays [][]float64

// Formula are the quantities of theory 6.6 beside the delays.
type Formula struct {
	// WriteS is w, HeartbeatS h and PrecisionS π.
	WriteS, HeartbeatS, PrecisionS float64
	// DeltaS is Δ of time-triggered delivery, OffsetsS by how much each member's clock is ahead.
	DeltaS   float64
	OffsetsS []float64
}

// TSAB is L_p(m) of theory 6.6 without load, for a message of q at p: the longest of data, stability and a quorum's acknowledgements, in seconds.
func (f *Formula) TSAB(d Delays, q, p int) float64 {
	n := len(d)
	data, stable := d.at(q, p), 0.0
	var acks []float64
	for r := range n {
		if r != p {
			promise := d.at(q, r)
			if r == q {
				promise = 0
			}
			stable = max(stable, d.at(r, p)+min(f.HeartbeatS+f.PrecisionS, promise))
		}
		switch r {
		case p:
			acks = append(acks, d.at(q, p)+f.WriteS)
		case q:
			acks = append(acks, f.WriteS+d.at(q, p))
		default:
			acks = append(acks, d.at(q, r)+f.WriteS+d.at(r, p))
		}
	}
	slices.Sort(acks)
	return max(data, stable, acks[n/2])
}

// Sequencer is the latency of a log with a sequencer s, whose members all acknowledge to all: q hands on to s, s sends to all, and p waits for a majority of the acknowledgements.
func (f *Formula) Sequencer(d Delays, q, s, p int) float64 {
	var acks []float64
	for r := range len(d) {
		switch r {
		case p, s:
			acks = append(acks, f.WriteS+d.at(s, p))
		default:
			acks = append(acks, d.at(s, r)+f.WriteS+d.at(r, p))
		}
	}
	slices.Sort(acks)
	return d.at(q, s) + max(d.at(s, p), acks[len(d)/2])
}

// Leader is the latency of a log with a leader s whose commitment the others learn from it: q sends to s, s to all, a majority (s is one of it)
// answers, and s tells p; theory 6.6, the rows of raft.
func (f *Formula) Leader(d Delays, q, s, p int) float64 {
	var acks []float64
	for r := range len(d) {
		acks = append(acks, d.at(s, r)+f.WriteS+d.at(r, s))
	}
	slices.Sort(acks)
	return d.at(q, s) + acks[len(d)/2] + d.at(s, p)
}

func (d Delays) at(x, y int) float64 {
	if x == y {
		return 0
	}
	return d[x][y]
}
