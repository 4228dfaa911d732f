package course

import (
	"fmt"
	"time"

	"github.com/clockd/clockd/internal/sim"
	"github.com/clockd/clockd/order"
	"github.com/clockd/clockd/virtualclock"
)

func lattice() Experiment {
	return Experiment{
		Name: "lattice", Title: "The time lattice: does 4:00 tick at exactly the same place everywhere?",
		Question: "Does 4:00 tick at exactly the same place everywhere, and what order of events do coarse stamps tell?",
		Setup: `Seven members, two of them two-faced liars, as far apart as the network can keep them. At random instants all five correct ones stamp the same event, and soon after another one; their
clocks, in whole ticks of length g_G, are the stamps. And at every whole second it is noted when each clock shows it, in true time.`,
		Bound: `If g_G > π_v, stamps of one event differ by one tick at the most, and stamps two ticks or more apart tell the order of their events, on all hosts alike (theory 5.3; Kopetz 1992).
All clocks show one reading within π_v.`,
		Lesson:  `Not at the same place, but within π_v; and on a lattice that is coarser than that, within one tick everywhere. A finer lattice only pretends: its stamps tell orders that were not.`,
		Reading: []string{"[docs/ordering.md](../ordering.md): Lattice and Sparse", "Kopetz, Sparse time versus dense time, 1992"},
		run:     runLattice,
	}
}

// event is what all hosts' clocks showed at one instant.
type event struct {
	at     sim.Instant
	clocks []virtualclock.Time
}

// eventWatch makes pairs of events, and notes when clocks show whole seconds.
type eventWatch struct {
	r     *run
	world *sim.World
	hosts []*sim.Host
	from  float64
	until float64
	gap   float64
	draw  func() float64
	pairs [][2]event
	// shown are the first and the last instant at which a clock showed a whole second, and how many did.
	shown map[int64]*[3]sim.Instant
	next  int64
}

func (e *eventWatch) watch(w *sim.World) {
	e.world, e.hosts = w, clocksOf(w, 5, member)
	rng := e.r.stream("lattice")
	e.draw = rng.Float64
	e.shown = map[int64]*[3]sim.Instant{}
	w.Sampled = e.sampled
}

func (e *eventWatch) sampled() {
	w := e.world
	if at := w.Now().Seconds(); at < e.from || at > e.until {
		return
	}
	w.At(w.Now()+sim.Seconds(e.draw()*0.02), func() error {
		first, ok := showAll(w, e.hosts)
		if !ok {
			return nil
		}
		x := event{w.Now(), first}
		w.At(w.Now()+sim.Seconds(e.draw()*e.gap)+1, func() error {
			if second, ok := showAll(w, e.hosts); ok {
				e.pairs = append(e.pairs, [2]event{x, {w.Now(), second}})
			}
			return nil
		})
		return nil
	})
	v, ok := show(w, e.hosts[0])
	if second := v.UnixNano()/1e9 + 1; ok && second > e.next {
		e.next = second + 1 // every other second; all clocks are still before it, as they are less than a sample apart
		e.await(second + 1)
	}
}

// await notes when each clock shows a whole second.
func (e *eventWatch) await(second int64) {
	for _, h := range e.hosts {
		await(e.world, h, virtualclock.Unix(second*1e9, 0), func() {
			now := e.world.Now()
			if s := e.shown[second]; s != nil {
				s[0], s[1], s[2] = min(s[0], now), max(s[1], now), s[2]+1
				return
			}
			e.shown[second] = &[3]sim.Instant{now, now, 1}
		})
	}
}

// told is what stamps in one lattice tell.
type told struct {
	differ                   order.Tick // the most that stamps of one event differ
	known, unknown, mistaken int
}

func (e *eventWatch) told(l order.Lattice) told {
	var t told
	for _, p := range e.pairs {
		for i, x := range p[0].clocks {
			a := l.Of(x)
			for _, y := range p[0].clocks[i:] {
				t.differ = max(t.differ, a-l.Of(y), l.Of(y)-a)
			}
			for _, y := range p[1].clocks {
				switch l.Compare(a, l.Of(y)) {
				case order.Before:
					t.known++
				case order.After:
					t.mistaken++
				default:
					t.unknown++
				}
			}
		}
	}
	return t
}

func runLattice(r *run) error {
	g := r.hard(7, 2)
	g.sampling = 0.05
	e := &eventWatch{r: r, from: g.seconds * g.discard, until: g.seconds - 3, gap: 8e-3}
	x, err := r.runGroup("lattice", g, e.watch)
	if err != nil {
		return err
	}
	r.groupHolds("the group", x)
	bound := float64(x.Group.PrecisionBound)
	r.columns("g_G / bound of π_v", "", "g_G", "s", "stamps of one event differ by (ticks)", "", "order told", "%", "not told", "%", "told wrongly", "%", "g_G > π_v", "text")
	for _, part := range []float64{0.1, 0.25, 0.5, 1.01, 1.25, 2} {
		l, err := order.NewLattice(time.Duration(part * bound * 1e9))
		if err != nil {
			return err
		}
		t := e.told(l)
		all := float64(t.known+t.unknown+t.mistaken) / 100
		word := "no: no promise"
		if part > 1 {
			word = "yes"
			r.under(fmt.Sprintf("g_G = %g of the bound: ticks between stamps of one event", part), "ticks", float64(t.differ), 1, true)
			r.under(fmt.Sprintf("g_G = %g of the bound: orders told wrongly", part), "", float64(t.mistaken), 0, true)
		}
		r.row(part, l.TickLength().Seconds(), float64(t.differ), float64(t.known)/all, float64(t.unknown)/all, float64(t.mistaken)/all, word)
	}
	apart, seconds := 0.0, 0
	for _, s := range e.shown {
		if s[2] == sim.Instant(len(e.hosts)) {
			apart = max(apart, (s[1] - s[0]).Seconds())
			seconds++
		}
	}
	rate := slewRate(g.drift, bound, 0.5)
	r.under("one whole second, the last clock that shows it after the first", "s", apart, bound*(1+2*rate), true)
	r.over("whole seconds at which all clocks were awaited", "", float64(seconds), 3)
	r.over("pairs of events", "", float64(len(e.pairs)), 50)
	finest := r.column(2)[0]
	r.over("a lattice that is too fine: ticks between stamps of one event", "ticks", finest, 2)
	r.curve("stamps of one event differ by (ticks)", 0, 0, 2, false)
	r.axes(logarithmic("g_G / bound of π_v", ""), linear("ticks", ""))
	return nil
}
