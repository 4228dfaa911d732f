package sim

import (
	"math"
	"slices"

	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/agreement"
	"github.com/clockd/clockd/virtualclock"
)

// judge holds the clocks of a group's correct members against each other, with no tolerance, at every instant at which something
// changes: before and after each publication, where a slew ends, where a second and with it a new rate of an oscillator begins, and
// at the samples. In between everything is a straight line.
type judge struct {
	from Instant // when the figures begin

	// Looks counts the instants, apart those at which the INTERNAL intervals of two correct members had no point in common, by worst at the
	// most, in seconds.
	looks, apart uint64
	worst        float64
	first        *Violation
	// backwards counts clocks that went back within an epoch, misordered the times at which a latest edge was before an earliest edge that
	// somebody had been shown before: the order of two events that a reader would get wrong.
	backwards, misordered uint64
	seen                  map[*Member]seenEdges

	epsilon, lateness              float64
	convergence, spread, precision float64
	farEdge, accuracy              float64
	utcWrong, utcChecks            uint64
	pairs                          sumOfSquares
	inSync                         Instant // when all correct members were synchronised for the first time, Never before
	detectedAt                     Instant
	detectedWhy                    reason.Code
	detectors                      map[*Member]bool
	// samples counts the looks at correct members' clocks at the regular samples, sound those at which they had a bound.
	samples, sound uint64
}

// seenEdges is what readers have seen since a member's epoch began or its interval was sound again: of its own clock, and the greatest
// earliest edge of anybody.
type seenEdges struct {
	epoch          virtualclock.Epoch
	shown, highest virtualclock.Time
	internal       bool
	look           uint64 // number of the last look at which it was sound
}

func newJudge(from Instant) judge {
	return judge{from: from, seen: map[*Member]seenEdges{}, inSync: Never, detectedAt: Never, detectors: map[*Member]bool{}}
}

// counts reports whether what is seen now counts for the figures.
func (j *judge) counts(w *World) bool { return w.now >= j.from }

// beforeRound measures Π just before the first settled member computes a round.
func (j *judge) beforeRound(m *Member) {
	if !m.settled() || !j.counts(m.group.world) {
		return
	}
	x, all := m.group.targets(m.stamper.State.Round)
	if all {
		j.spread = max(j.spread, x)
	}
	if m.group.Round != nil {
		m.group.Round(RoundSeen{Number: m.stamper.State.Round + 1, Member: m, Spread: x, All: all})
	}
}

// afterRound measures δ_v when the last settled member has computed the round, and takes the a-posteriori ε.
func (j *judge) afterRound(m *Member, o *agreement.Outcome) {
	if !m.settled() || !j.counts(m.group.world) {
		return
	}
	s := &m.stamper.State
	k := virtualclock.Unix(s.Round*int64(m.group.config.Period), 0)
	j.lateness = max(j.lateness, s.Previous.At(o.At).Seconds(k))
	epsilon := m.aposteriori(o)
	j.epsilon = max(j.epsilon, epsilon)
	x, all := m.group.targets(s.Round)
	if all {
		j.convergence = max(j.convergence, x)
	}
	if m.group.Round != nil {
		m.group.Round(RoundSeen{Number: s.Round, Member: m, After: true, Spread: x, All: all, Epsilon: epsilon})
	}
}

// targets is the spread of the settled members' target clocks; all reports whether they are in round k, all of them.
func (g *Group) targets(k int64) (spread float64, all bool) {
	var first virtualclock.Time
	low, high, n := 0.0, 0.0, 0
	for _, m := range g.Members {
		if !m.settled() {
			continue
		}
		if m.stamper.State.Round != k {
			return 0, false
		}
		v := m.target()
		if n++; n == 1 {
			first = v
		}
		x := v.Seconds(first)
		low, high = min(low, x), max(high, x)
	}
	return high - low, n >= 2
}

// aposteriori is the largest half-width that a round used of a correct member, without the widest where the function trims them: f of
// them less those that are faulty (theory 1.3, rule 5). Who is not settled is faulty.
func (m *Member) aposteriori(o *agreement.Outcome) float64 {
	f := m.group.config.Faults
	widths, faulty := []float64{0}, 0
	for _, q := range m.group.Members {
		switch {
		case q == m:
		case !q.settled():
			faulty++
		default:
			x := math.Inf(1)
			if v := o.Verdicts[m.peerIndex(q)]; v.Used {
				x = v.HalfWidth
			}
			widths = append(widths, x)
		}
	}
	slices.Sort(widths)
	if m.group.config.Algorithm == agreement.IntervalMidpoint {
		widths = widths[:max(len(widths)-(f-min(faulty, f)), 1)]
	}
	for len(widths) > 1 && math.IsInf(widths[len(widths)-1], 1) {
		widths = widths[:len(widths)-1] // not read at all, and so not used
	}
	return widths[len(widths)-1]
}

// peerIndex is the place of q among m's peers.
func (m *Member) peerIndex(q *Member) int {
	if q.Index > m.Index {
		return q.Index - 1
	}
	return q.Index
}

func (j *judge) detected(m *Member, why reason.Code) {
	if !m.correct() {
		return
	}
	if j.detectedAt == Never {
		j.detectedAt, j.detectedWhy = m.group.world.now, why
	}
	j.detectors[m] = true
}

// look compares the published clocks of all correct members at this instant.
func (j *judge) look(g *Group, side string) {
	w := g.world
	earliest, latest := virtualclock.MinTime(), virtualclock.MaxTime()
	var reference virtualclock.Time
	low, high, settled, n := 0.0, 0.0, 0, 0
	j.looks++
	for _, m := range g.Members {
		h := m.Host
		if !m.correct() || !h.Published {
			continue
		}
		k := &h.Publication.Clock
		c := h.Reading(w.now)
		i := k.Interval(c)
		if !i.Status.Sound() {
			continue
		}
		v := k.Time(c)
		j.monotone(m, v, &i, k.Kind)
		if k.Kind == virtualclock.Internal {
			n++
			earliest, latest = later(earliest, i.Earliest), earlier(latest, i.Latest)
		}
		if i.Status != virtualclock.Synchronised || !m.settled() {
			continue
		}
		if settled++; settled == 1 {
			reference = v
		}
		x := v.Seconds(reference)
		low, high = min(low, x), max(high, x)
		if j.counts(w) && k.Kind == virtualclock.Internal {
			j.farEdge = max(j.farEdge, v.Seconds(i.Earliest), i.Latest.Seconds(v))
		}
	}
	if j.counts(w) {
		j.precision = max(j.precision, high-low)
	}
	if n < 2 {
		return
	}
	j.order(g, earliest)
	if latest.Before(earliest) {
		j.apart++
		by := earliest.Seconds(latest)
		j.worst = max(j.worst, by)
		if j.first == nil {
			j.first = &Violation{At: w.now.Seconds(), Side: side, Outside: by, HalfWidth: 0, Error: high - low, Status: virtualclock.Synchronised}
		}
	}
}

// monotone checks that a clock does not go back within an epoch.
func (j *judge) monotone(m *Member, v virtualclock.Time, i *virtualclock.Interval, kind virtualclock.Kind) {
	s, known := j.seen[m]
	if known && s.epoch == i.Epoch && v.Before(s.shown) {
		j.backwards++
	}
	next := seenEdges{epoch: i.Epoch, shown: v, highest: virtualclock.MinTime(), internal: kind == virtualclock.Internal, look: j.looks}
	if s.epoch == i.Epoch && s.internal && next.internal && s.look == j.looks-1 {
		next.highest = s.highest
	}
	j.seen[m] = next
}

// order checks what the order of events is told by: if the latest edge at event x is before the earliest edge at event y, x happened before
// y. So no latest edge may be before an earliest edge that was shown before or is shown now.
func (j *judge) order(g *Group, earliest virtualclock.Time) {
	for _, m := range g.Members {
		s, known := j.seen[m]
		if !known || s.look != j.looks || !s.internal {
			continue
		}
		s.highest = later(s.highest, earliest)
		j.seen[m] = s
		k := &m.Host.Publication.Clock
		if i := k.Interval(m.Host.Reading(g.world.now)); i.Latest.Before(s.highest) {
			j.misordered++
		}
	}
}

func earlier(a, b virtualclock.Time) virtualclock.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b virtualclock.Time) virtualclock.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// sample takes the pairwise differences, and when all are in; in a hybrid group also where UTC is by all members' masters.
func (j *judge) sample(g *Group) {
	w := g.world
	g.look("sample")
	var shown []float64
	in, correct := 0, 0
	for _, m := range g.Members {
		if !m.correct() {
			continue
		}
		correct++
		h := m.Host
		if j.counts(w) {
			j.samples++
		}
		if !h.Published {
			continue
		}
		k, c := &h.Publication.Clock, h.Reading(w.now)
		status := k.Interval(c).Status
		if status == virtualclock.Synchronised {
			in++
		}
		if status.Sound() && j.counts(w) {
			j.sound++
		}
		if m.settled() {
			shown = append(shown, k.Time(c).Seconds(w.Truth(w.now)))
		}
	}
	if in == correct && correct > 0 && j.inSync == Never {
		j.inSync = w.now
	}
	if !j.counts(w) {
		return
	}
	for a := range shown {
		if g.hybrid {
			j.accuracy = max(j.accuracy, math.Abs(shown[a]))
		}
		for b := range a {
			j.pairs.add(shown[a] - shown[b])
		}
	}
	if g.hybrid {
		j.external(g)
	}
}

// external checks the interval of UTC that all members' masters make, also at members that have none.
func (j *judge) external(g *Group) {
	w := g.world
	for _, m := range g.Members {
		h := m.Host
		if !m.settled() || !h.Published {
			continue
		}
		c := h.Reading(w.now)
		s := h.Node.Snapshot(c)
		if s.Group == nil || math.IsInf(s.Group.ToUTC, 1) {
			continue
		}
		j.utcChecks++
		if math.Abs(s.Time.Seconds(w.Truth(w.now))) > s.Group.ToUTC+1/h.hertz {
			j.utcWrong++
		}
	}
}
