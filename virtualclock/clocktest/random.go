package clocktest

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/clockd/clockd/reason"
)

// Faults says which sorts of events World.Random may make.
type Faults uint8

// The faults. Honest ones leave every interval true; with the others, programs get wrong ones.
const (
	// Drifting oscillators change their rate within the bound that the host is told.
	Drifting Faults = 1 << iota
	// Losing: samples stop for a time.
	Losing
	// Disrupting: disruptions that the host notices.
	Disrupting
	// Jumping: counters that jump or stand still, found out one poll later.
	Jumping
	// Lying: sources that are wrong for a time.
	Lying
	// Racing oscillators drift beyond the bound.
	Racing

	Honest     = Drifting | Losing | Disrupting
	Everything = Honest | Jumping | Lying | Racing
)

// Random adds n hosts, named host1 to hostn, to which those faults happen within span, as the seed has it. like gives what they have in common.
func (w *World) Random(seed uint64, n int, span time.Duration, f Faults, like HostOptions) []*Host {
	r := rand.New(rand.NewPCG(seed, 1))
	like = like.withDefaults()
	var all []*Host
	for k := range n {
		o := like
		o.Name = fmt.Sprintf("host%d", k+1)
		o.FirstPoll += time.Duration(r.Int64N(int64(o.Poll)))
		o.Script = append(o.Script, randomScript(r, span, f, &o)...)
		all = append(all, w.Host(o))
	}
	return all
}

func randomScript(r *rand.Rand, span time.Duration, f Faults, o *HostOptions) []Event {
	instant := func() time.Duration { return time.Duration(r.Int64N(int64(max(span, 1)))) }
	stretch := func(most time.Duration) time.Duration { return time.Duration(r.Int64N(int64(max(most, 1)))) + 1 }
	var s []Event
	if f&Drifting != 0 {
		for range 1 + r.IntN(4) {
			s = append(s, Drift(instant(), (2*r.Float64()-1)*o.DriftBoundPPM))
		}
		s = append(s, Drift(0, (2*r.Float64()-1)*o.DriftBoundPPM))
	}
	if f&Losing != 0 && r.IntN(2) == 0 {
		s = append(s, Lose(instant(), stretch(span/2)))
	}
	if f&Disrupting != 0 && r.IntN(3) == 0 {
		codes := []reason.Code{reason.HostSuspended, reason.HostPaused, reason.CounterStopped, reason.ClockStepped}
		s = append(s, Disrupt(instant(), stretch(span/10), codes[r.IntN(len(codes))]))
	}
	if f&Jumping != 0 && r.IntN(2) == 0 {
		if by := stretch(100 * o.ReadingError); r.IntN(2) == 0 {
			s = append(s, Jump(instant(), by))
		} else {
			s = append(s, Stall(instant(), by))
		}
	}
	if f&Lying != 0 && r.IntN(2) == 0 {
		by := stretch(20 * o.ReadingError)
		if r.IntN(2) == 0 {
			by = -by
		}
		s = append(s, Lie(instant(), stretch(span/2), by))
	}
	if f&Racing != 0 && r.IntN(2) == 0 {
		s = append(s, Drift(instant(), (2+20*r.Float64())*o.DriftBoundPPM))
	}
	return s
}
