package explore

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/clockd/clockd/order/abcast/core"
)

// Options of a schedule.
type Options struct {
	Seed uint64
	// Nodes is how many processes begin; 0: three to seven, by the seed.
	Nodes int
	// Faulty is how long things go wrong: 1.5 s of simulated time.
	Faulty   time.Duration
	Mutation core.Mutation
	// Durability is the mode of the disks; nil: by the seed.
	Durability *core.Durability
	// Blackouts ends most processes at once, again and again, instead of the usual faults.
	Blackouts bool
	// Shape changes the processes' configuration.
	Shape func(*core.Config)
	// Trace keeps the last events for the report.
	Trace bool
}

// Result is what a schedule did.
type Result struct {
	Seed       uint64
	Nodes      int
	Deliveries int
	Messages   int
	Reads      int
	Views      int
	Lives      int
	Snapshots  uint64
	Steps      int
	// Violation is nil if all properties held.
	Violation error
}

// Run runs one schedule. The same seed and options give the same run.
func Run(seed uint64, o Options) Result {
	o.Seed = seed
	if o.Faulty == 0 {
		o.Faulty = 1500 * time.Millisecond
	}
	w := &world{options: o, random: rand.New(rand.NewPCG(seed, 0x7ab)), checker: newChecker(), blocked: make(map[[2]core.ID]bool)}
	w.draw()
	count := o.Nodes
	if count == 0 {
		count = pick(w, 3, 3, 3, 4, 5, 5, 6, 7)
	}
	var ids []core.ID
	for k := range count {
		ids = append(ids, core.ID(k+1))
	}
	w.nextID = core.ID(count + 1)
	for _, id := range ids {
		w.nodes = append(w.nodes, &node{w: w, id: id, bootstrap: ids, sound: true, offset: w.someOffset()})
	}
	for _, n := range w.nodes {
		n.start()
	}
	w.after(200*time.Millisecond, w.fault)
	w.after(0, w.work)
	w.run(200*time.Millisecond + o.Faulty)
	w.heal()
	r := Result{
		Seed: seed, Nodes: count, Deliveries: w.checker.deliveries, Messages: len(w.checker.order), Reads: w.checker.reads, Views: len(w.checker.views),
		Steps: w.steps, Violation: w.checker.violation,
	}
	for _, n := range w.nodes {
		r.Lives += (n.life + 1) / 2
		if n.core != nil {
			r.Snapshots += n.core.Counters().SnapshotsAsked
		}
	}
	if r.Violation != nil {
		r.Violation = fmt.Errorf("seed %d, %d processes, %+v: %w%s", seed, count, w.kind.config, r.Violation, w.story())
	}
	return r
}

func (w *world) story() string {
	if len(w.trace) == 0 {
		return ""
	}
	return "\n" + strings.Join(w.trace, "\n")
}

// work is what the users of the group do.
func (w *world) work() {
	if w.quiet {
		return
	}
	w.after(w.exponential(w.kind.work), w.work)
	up := w.alive()
	if len(up) == 0 {
		return
	}
	n := up[w.random.IntN(len(up))]
	if w.chance(0.3) {
		n.read()
		return
	}
	for range pick(w, 1, 1, 1, 2, 10) {
		payload := make([]byte, w.random.IntN(120))
		for k := range payload {
			payload[k] = byte(w.random.Uint32())
		}
		var key core.Key
		if w.chance(0.2) {
			key[0], key[1] = 1, byte(w.random.IntN(50))
		}
		n.broadcast(payload, key)
	}
}

// heal ends all faults; then the group must come together and deliver everything (validity, agreement, liveness).
func (w *world) heal() {
	w.quiet = true
	clear(w.blocked)
	if n := w.nodes[w.random.IntN(len(w.nodes))]; n.core == nil && w.replace == nil && w.chance(0.7) {
		n.gone = true // the others must do without it
		w.note("%d stays away", n.id)
	}
	for _, n := range w.nodes {
		n.offset, n.drift, n.sound = 0, 0, true
		if n.core == nil && !n.gone {
			n.start()
		}
	}
	w.note("all is healed")
	end := w.now + 30*time.Second
	for w.now < end && w.checker.violation == nil {
		w.run(w.now + 100*time.Millisecond)
		if w.replace != nil {
			if up := w.alive(); len(up) > 0 {
				n := up[w.random.IntN(len(up))]
				w.carryOn(w.replace, n, n.core.Status().Universe)
			}
			continue
		}
		if w.unsettled() == nil {
			return
		}
	}
	if err := w.unsettled(); err != nil {
		w.checker.fail("liveness: 30 s after all was healed: %w", err)
	}
}

// unsettled returns what is still missing of the end of a schedule.
func (w *world) unsettled() error {
	if w.replace != nil {
		return fmt.Errorf("a process was not replaced: %+v%s", *w.replace, w.statuses())
	}
	if !w.settled() {
		return fmt.Errorf("the processes are not all in one view:%s", w.statuses())
	}
	for _, n := range w.alive() {
		if n.delivered != uint64(len(w.checker.order)) {
			return fmt.Errorf("agreement: %v delivered %d of %d messages", n.member, n.delivered, len(w.checker.order))
		}
		if len(n.reads) > 0 {
			return fmt.Errorf("%d reads of %v are not answered", len(n.reads), n.member)
		}
	}
	for id, b := range w.checker.broadcasts {
		if b.index != 0 {
			continue
		}
		for _, n := range w.alive() {
			if n.member == id.member {
				return fmt.Errorf("validity: message %d of %v, broadcast at %v, is not delivered, %d are pending there", id.number, id.member, b.at, n.core.Status().Pending)
			}
		}
	}
	return nil
}

// statuses are what all processes that run say of themselves.
func (w *world) statuses() string {
	var b strings.Builder
	for _, n := range w.alive() {
		s := n.core.Status()
		fmt.Fprintf(&b, "\n%v: view %d %v of %d decided, in view %v, frozen %v, leader %d, universe %v, suspects %v, index %d", s.Member, s.View.ID, s.View.Members, s.Decided,
			s.InView, s.Frozen, s.Leader, s.Universe, s.Suspected, s.Index)
	}
	return b.String()
}
