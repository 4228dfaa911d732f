package explore

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/clockd/clockd/order/abcast/core"
)

// world is one schedule.
type world struct {
	options Options
	random  *rand.Rand
	now     time.Duration
	events  eventHeap
	serial  uint64
	nodes   []*node // all that ever were, by age
	checker *checker
	trace   []string
	quiet   bool // no new faults, no new work
	kind    traits
	nextID  core.ID
	replace *replacement
	blocked map[[2]core.ID]bool
	steps   int
}

// traits are drawn once per schedule.
type traits struct {
	durability core.Durability
	fifo       bool
	loss       float64
	repeat     float64
	delay      time.Duration // mean
	sync       time.Duration // mean of an fsync
	skew       time.Duration // of clocks, at the most
	work       time.Duration // mean time between broadcasts
	faults     time.Duration // mean time between faults
	snapshots  int
	retain     int
	config     core.Config
	members    bool // processes are added and removed
}

// replacement is a process that lost its disk and the new one that takes its place.
type replacement struct{ old, fresh core.ID }

type event struct {
	at     time.Duration
	serial uint64
	do     func()
}

type eventHeap []event

func (h eventHeap) Len() int { return len(h) }
func (h eventHeap) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].serial < h[j].serial
}
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push is for container/heap.
func (h *eventHeap) Push(x any) { *h = append(*h, x.(event)) }

// Pop is for container/heap.
func (h *eventHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = event{}
	*h = old[:len(old)-1]
	return e
}

// maxSteps is many times what a schedule takes.
const maxSteps = 400_000

func (w *world) at(t time.Duration, do func()) {
	w.serial++
	heap.Push(&w.events, event{max(t, w.now), w.serial, do})
}

func (w *world) after(d time.Duration, do func()) { w.at(w.now+d, do) }

// run lets time pass until end, or until something is broken.
func (w *world) run(end time.Duration) {
	for len(w.events) > 0 && w.checker.violation == nil {
		if w.events[0].at > end {
			break
		}
		e := heap.Pop(&w.events).(event)
		w.now = e.at
		if w.steps++; w.steps > maxSteps {
			w.checker.fail("liveness: %d events, and no end", maxSteps)
			return
		}
		e.do()
	}
	w.now = max(w.now, end)
}

// note keeps the last events for the report of a violation.
func (w *world) note(format string, args ...any) {
	if !w.options.Trace {
		return
	}
	w.trace = append(w.trace, fmt.Sprintf("%12v  ", w.now)+fmt.Sprintf(format, args...))
	if len(w.trace) > 4000 {
		w.trace = w.trace[2000:]
	}
}

// exponential draws a duration with that mean, at most ten times of it.
func (w *world) exponential(mean time.Duration) time.Duration {
	return time.Duration(min(w.random.ExpFloat64(), 10) * float64(mean))
}

func (w *world) chance(p float64) bool { return w.random.Float64() < p }

func pick[T any](w *world, from ...T) T { return from[w.random.IntN(len(from))] }

func (w *world) node(id core.ID) *node {
	for _, n := range w.nodes {
		if n.id == id {
			return n
		}
	}
	return nil
}

// alive returns the processes that run.
func (w *world) alive() []*node {
	var up []*node
	for _, n := range w.nodes {
		if n.core != nil {
			up = append(up, n)
		}
	}
	return up
}

func (w *world) draw() {
	k := &w.kind
	k.durability = pick(w, core.Fsync, core.Fsync, core.OS, core.Memory)
	if w.options.Durability != nil {
		k.durability = *w.options.Durability
	}
	k.fifo = w.chance(0.5)
	k.loss = pick(w, 0, 0, 0.01, 0.1)
	k.repeat = pick(w, 0, 0, 0.02)
	k.delay = pick(w, 200*time.Microsecond, time.Millisecond, 4*time.Millisecond)
	k.sync = pick(w, 100*time.Microsecond, time.Millisecond, 8*time.Millisecond)
	k.skew = pick(w, 0, 5*time.Millisecond, 100*time.Millisecond, 2*time.Second, time.Hour)
	k.work = pick(w, 4*time.Millisecond, 10*time.Millisecond, 30*time.Millisecond)
	k.faults = pick(w, 30*time.Millisecond, 80*time.Millisecond, 200*time.Millisecond)
	k.snapshots = pick(w, -1, 500, 3000)
	k.retain = pick(w, 0, 2000, 1<<20)
	k.members = w.chance(0.4)
	k.config = core.Config{
		Group: 7, Durability: k.durability, Heartbeat: 10 * time.Millisecond, StatGap: pick(w, time.Microsecond, 500*time.Microsecond, 2*time.Millisecond),
		SuspectAfter: 60 * time.Millisecond, ElectionTimeout: 60 * time.Millisecond, Resend: 15 * time.Millisecond, Bump: pick(w, time.Microsecond, 20*time.Millisecond),
		LookAhead: pick(w, 0, 0, 5*time.Millisecond), Delta: pick(w, 0, 0, 0, 30*time.Millisecond), Early: w.chance(0.3),
		EvictAfter: 300 * time.Millisecond, MaxPayload: 400, MaxFrame: 600, Window: pick(w, 1000, 1<<20), Retain: k.retain, SnapshotEvery: k.snapshots,
		Unconsumed: pick(w, 300, 1<<20), JoinLag: pick(w, 3, 4096), Mutation: w.options.Mutation,
	}
	if k.retain == 0 {
		k.config.Retain = 1
	}
	if w.options.Shape != nil {
		w.options.Shape(&k.config)
	}
}
