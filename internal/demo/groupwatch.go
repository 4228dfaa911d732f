package demo

import (
	"cmp"
	"math"
	"slices"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/sync/agreement"
	"github.com/clockd/clockd/virtualclock"
)

// groupWatch is what the observer does where the hosts are a group: no two correct ones may be further apart than they say, nor than
// their configuration promises.
type groupWatch struct {
	promised agreement.Guarantee
	// checkPromise: who is synchronised is within the promised precision of all others that are. In a hybrid a host that follows
	// its masters alone is synchronised too.
	checkPromise bool
	// formed: all correct hosts have been in the group. Until then the figures do not count. Internal clocks are not sound before, so
	// there it is known from the start.
	formed bool
	// period is the length of a round, in ticks of the true counter.
	period int64

	// retargeted is when each host's target clock was last moved; spread are the target clocks' distances after the last correct
	// host has made its round.
	retargeted []hw.Ticks
	rounds     uint64
	second     extreme
	total      extreme
	broken     brokenClaims

	// instants, times and again are working memory.
	instants []instant
	looks    []look
	again    []look
}

// brokenClaims counts what two correct hosts claimed of each other and what was not so.
type brokenClaims struct {
	// disjoint: their intervals had no point in common. beyondEdges: their clocks were further apart than the sum of the far edges.
	// beyondPromise: further than the promised precision.
	disjoint, beyondEdges, beyondPromise uint64
	// worst is by how much, at most, in seconds, and between whom.
	worst float64
	i, j  int
}

// instant is where something changes: a publication of that host begins, or a slew ends.
type instant struct {
	at   hw.Ticks
	host int
	// begins: it is where the host's new publication begins.
	begins bool
}

func newGroupWatch(promised agreement.Guarantee, internal bool, period int64, n int) *groupWatch {
	return &groupWatch{promised: promised, checkPromise: internal, formed: internal, period: period, retargeted: make([]hw.Ticks, n), looks: make([]look, n), again: make([]look, n)}
}

// breakpoints checks the group at all instants since the last sample at which a distance can have been largest, since the clocks are
// straight lines in between: where publications begin and where slews end. The sample itself is at t, after them.
func (o *observer) breakpoints(t hw.Ticks) {
	g := o.group
	g.instants = g.instants[:0]
	for i := range o.subjects {
		if o.subjects[i].liar {
			continue
		}
		before, next := &o.published[i], &o.again[i]
		if o.changed(i) {
			g.instants = append(g.instants, instant{o.begins(i), i, true})
		}
		for _, k := range []*publication{before, next} {
			if !k.Status.Sound() || k.SlewEnd == k.Slew.C0 {
				continue
			}
			if end := o.subjects[i].counter.Inverse(k.SlewEnd); o.read.Before(end) && end.Before(t) && o.inForce(i, end) == k {
				g.instants = append(g.instants, instant{end, i, false})
			}
		}
	}
	slices.SortFunc(g.instants, func(a, b instant) int { return cmp.Compare(a.at.Sub(b.at), 0) })
	for _, x := range g.instants {
		o.checkAt(x)
	}
}

// changed reports whether host i has published anew since the last sample, with something to claim.
func (o *observer) changed(i int) bool {
	before, next := &o.published[i], &o.again[i]
	return *before != *next && next.Status.Sound() && before.At != next.At
}

// begins is the reading of the true counter at which host i's new publication begins.
func (o *observer) begins(i int) hw.Ticks { return o.subjects[i].counter.Inverse(o.again[i].At) }

// inForce is what host i's readers saw when the true counter read t.
func (o *observer) inForce(i int, t hw.Ticks) *publication {
	if o.changed(i) && t.Before(o.begins(i)) {
		return &o.published[i]
	}
	return &o.again[i]
}

func (o *observer) look(i int, k *publication, t hw.Ticks, into []look) {
	into[i] = o.lookAs(i, &k.Coefficients, t)
}

// checkAt looks at all hosts at an instant; at the one whose publication begins then twice, since both may be read.
func (o *observer) checkAt(x instant) {
	g := o.group
	for i := range o.subjects {
		o.look(i, o.inForce(i, x.at), x.at, g.looks)
	}
	o.tally.precision(g.looks)
	o.checkPairs(g.looks, -1)
	if !x.begins {
		return
	}
	copy(g.again, g.looks)
	o.look(x.host, &o.published[x.host], x.at, g.again)
	o.tally.precision(g.again)
	o.checkPairs(g.again, x.host)
	if o.published[x.host].Steady != o.again[x.host].Steady {
		o.roundMade(x)
	}
}

// checkPairs checks what the correct hosts claim of each other; all pairs, or those of one host.
func (o *observer) checkPairs(looks []look, only int) {
	for i := range looks {
		for j := range looks[:i] {
			a, b := &looks[i], &looks[j]
			if !a.sound || !b.sound || o.subjects[i].liar || o.subjects[j].liar || only >= 0 && i != only && j != only {
				continue
			}
			o.checkPair(i, j, a, b)
		}
	}
}

// checkPair checks one pair, with no tolerance.
func (o *observer) checkPair(i, j int, a, b *look) {
	g, apart := o.group, math.Abs(a.time.Seconds(b.time))
	if !a.internal || !b.internal {
		return // the claim of one of them is on true time, which is checked as such
	}
	if a.interval.Latest.Before(b.interval.Earliest) || b.interval.Latest.Before(a.interval.Earliest) {
		g.broken.note(&g.broken.disjoint, i, j, max(a.interval.Earliest.Seconds(b.interval.Latest), b.interval.Earliest.Seconds(a.interval.Latest)))
		o.tally.parted(i, j)
	}
	if apart > a.bound+b.bound {
		g.broken.note(&g.broken.beyondEdges, i, j, apart-a.bound-b.bound)
		o.tally.parted(i, j)
	}
	both := a.status == virtualclock.Synchronised && b.status == virtualclock.Synchronised
	if g.checkPromise && both && apart > g.promised.Precision {
		g.broken.note(&g.broken.beyondPromise, i, j, apart-g.promised.Precision)
		o.tally.parted(i, j)
	}
}

func (b *brokenClaims) note(count *uint64, i, j int, by float64) {
	*count++
	if by >= b.worst {
		b.worst, b.i, b.j = by, j, i
	}
}

// roundMade takes note that a host's target clock was moved, and of how far apart all are when it was the last one of its round.
func (o *observer) roundMade(x instant) {
	g := o.group
	g.retargeted[x.host] = x.at
	low, high, v := math.Inf(1), math.Inf(-1), virtualclock.Time{}
	first := true
	for i := range o.subjects {
		if o.subjects[i].liar {
			continue
		}
		k := o.inForce(i, x.at)
		if !g.looks[i].sound || x.at.Sub(g.retargeted[i]) > g.period/2 {
			return
		}
		target := k.Steady.At(o.subjects[i].counter.At(x.at))
		if first {
			v, first = target, false
		}
		d := target.Seconds(v)
		low, high = min(low, d), max(high, d)
	}
	if o.tally.hasSynchronised {
		g.rounds++
		g.second.note(high-low, 0)
		g.total.note(high-low, 0)
	}
}

// middle is the middle of the correct hosts' clocks at the last sample; not ok without any.
func (o *observer) middle() (m virtualclock.Time, ok bool) {
	var low, high virtualclock.Time
	for i := range o.looks {
		l := &o.looks[i]
		if !l.sound || o.subjects[i].liar {
			continue
		}
		if !ok {
			low, high, ok = l.time, l.time, true
		}
		if l.time.Before(low) {
			low = l.time
		}
		if high.Before(l.time) {
			high = l.time
		}
	}
	return low.AddSeconds(high.Seconds(low) / 2), ok
}
