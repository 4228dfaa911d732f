package explore

import (
	"slices"
	"time"

	"github.com/clockd/clockd/order/abcast/core"
)

// fault makes one thing go wrong, or right again.
func (w *world) fault() {
	if w.quiet {
		return
	}
	w.after(w.exponential(w.kind.faults), w.fault)
	if w.options.Blackouts {
		w.blackout()
		return
	}
	w.memberships()
	up := w.alive()
	if len(up) == 0 {
		return
	}
	n := up[w.random.IntN(len(up))]
	switch w.random.IntN(14) {
	case 0, 1:
		w.crashOne(n)
	case 2, 3, 4:
		w.restartOne()
	case 5:
		w.partition()
	case 6:
		w.oneWay(n)
	case 7, 8:
		w.note("network heals")
		clear(w.blocked)
	case 9:
		n.offset = w.someOffset()
		w.note("clock of %d jumps to %v", n.id, n.offset)
	case 10:
		n.drift = (w.random.Float64() - 0.5) / 5
	case 11:
		n.sound = w.chance(0.6)
	case 12:
		w.note("%v reconfigures", n.member)
		_ = n.step(core.Event{Kind: core.EventReconfigure, Peer: pick(w, 0, w.nodes[w.random.IntN(len(w.nodes))].id)})
	case 13:
		w.loseDisk(n)
	}
}

// blackout ends most processes at once, and starts all that do not run.
func (w *world) blackout() {
	if len(w.alive()) < len(w.nodes) {
		for _, n := range w.nodes {
			if n.core == nil {
				n.start()
			}
		}
		return
	}
	for _, n := range w.nodes {
		if w.kind.durability != core.Memory && w.chance(0.8) {
			n.crash()
		}
	}
}

func (w *world) someOffset() time.Duration {
	if w.kind.skew == 0 {
		return 0
	}
	return time.Duration(w.random.Int64N(int64(2*w.kind.skew))) - w.kind.skew
}

// crashOne ends a process. In memory mode only as many as may be lost at once.
func (w *world) crashOne(n *node) {
	if w.kind.durability == core.Memory && !w.memoryAllows(n) {
		return
	}
	n.crash()
}

// memoryAllows reports whether the memory of a process may be lost: at most N − a lack what the others hold.
func (w *world) memoryAllows(n *node) bool {
	universe := n.core.Status().Universe
	lost := 1
	var newest core.ViewID
	for _, m := range w.alive() {
		newest = max(newest, m.core.Status().Decided)
	}
	for _, id := range universe {
		m := w.node(id)
		if m == nil || m == n {
			continue
		}
		if m.core == nil {
			lost++
			continue
		}
		if s := m.core.Status(); !s.InView || s.View.ID != newest || s.Frozen {
			lost++
		}
	}
	return lost <= len(universe)-(len(universe)/2+1) && w.replace == nil
}

func (w *world) restartOne() {
	var down []*node
	for _, n := range w.nodes {
		if n.core == nil && !n.gone {
			down = append(down, n)
		}
	}
	if len(down) > 0 {
		down[w.random.IntN(len(down))].start()
	}
}

// partition cuts the group in two.
func (w *world) partition() {
	clear(w.blocked)
	side := make(map[core.ID]bool)
	for _, n := range w.nodes {
		side[n.id] = w.chance(0.5)
	}
	for _, a := range w.nodes {
		for _, b := range w.nodes {
			if side[a.id] != side[b.id] {
				w.blocked[[2]core.ID{a.id, b.id}] = true
			}
		}
	}
	w.note("partition %v", side)
	if w.chance(0.3) { // flapping
		w.after(w.exponential(20*time.Millisecond), func() { clear(w.blocked) })
	}
}

// oneWay blocks one direction of some links of a process.
func (w *world) oneWay(n *node) {
	for _, m := range w.nodes {
		if m != n && w.chance(0.5) {
			link := [2]core.ID{n.id, m.id}
			if w.chance(0.5) {
				link = [2]core.ID{m.id, n.id}
			}
			w.blocked[link] = true
		}
	}
	w.note("one-way cuts at %d", n.id)
}

// loseDisk ends a process for ever, and has a new one take its place: one at a time.
func (w *world) loseDisk(n *node) {
	if w.replace != nil || w.kind.durability == core.Memory || !w.kind.members || !w.settled() {
		return
	}
	n.crash()
	n.gone = true
	w.note("disk of %d is lost", n.id)
	w.replace = &replacement{old: n.id, fresh: w.join()}
}

// settled reports whether all processes run, in the same view.
func (w *world) settled() bool {
	var view core.ViewID
	for _, n := range w.nodes {
		if n.gone {
			continue
		}
		if n.core == nil {
			return false
		}
		s := n.core.Status()
		if !s.InView || s.Frozen || s.View.ID != s.Decided || view != 0 && view != s.View.ID {
			return false
		}
		view = s.View.ID
	}
	return true
}

// join starts a process that is not in the group yet.
func (w *world) join() core.ID {
	n := &node{w: w, id: w.nextID, sound: true, offset: w.someOffset()}
	w.nextID++
	w.nodes = append(w.nodes, n)
	n.start()
	return n.id
}

// memberships carries a replacement on, or begins to add or to remove a process.
func (w *world) memberships() {
	up := w.alive()
	if !w.kind.members || len(up) == 0 {
		return
	}
	n := up[w.random.IntN(len(up))]
	universe := n.core.Status().Universe
	if r := w.replace; r != nil {
		w.carryOn(r, n, universe)
		return
	}
	switch w.random.IntN(20) {
	case 0:
		if len(universe) > 0 && len(universe) < 7 && w.settled() {
			w.replace = &replacement{fresh: w.join()}
		}
	case 1:
		if len(universe) > 3 && w.settled() {
			w.replace = &replacement{old: universe[w.random.IntN(len(universe))]}
		}
	}
}

// carryOn adds the fresh process, then removes the old one, and is done when all agree.
func (w *world) carryOn(r *replacement, n *node, universe []core.ID) {
	switch {
	case r.fresh != 0 && !slices.Contains(universe, r.fresh):
		w.note("%v adds %d", n.member, r.fresh)
		_ = n.step(core.Event{Kind: core.EventAddMember, Peer: r.fresh})
	case r.old != 0 && slices.Contains(universe, r.old):
		w.note("%v removes %d", n.member, r.old)
		_ = n.step(core.Event{Kind: core.EventRemoveMember, Peer: r.old})
	default:
		if r.old != 0 {
			if old := w.node(r.old); !old.gone {
				if old.core != nil {
					old.crash()
				}
				old.gone = true
			}
		}
		if w.settled() {
			w.replace = nil
		}
	}
}
