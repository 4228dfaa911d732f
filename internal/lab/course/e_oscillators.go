package course

import (
	"fmt"
	"math"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/sim"
	"github.com/clockd/clockd/metrics"
	"github.com/clockd/clockd/virtualclock"
)

func drift() Experiment {
	return Experiment{
		Name: "drift", Title: "Free-running clocks drift apart",
		Question: "How long do clocks that were set together, and are then left alone, stay together?",
		Setup: `Five counters of 1 GHz begin at the same reading. Each oscillator has a constant error, a daily course of temperature and a walk of its
frequency, all together never more than ρ: once with ρ = 50 ppm, as an ordinary quartz, and once with ρ = 1 ppm, as a compensated one.`,
		Bound:   `Two counters part by at most 2ρt + g (theory 1.1, the definition of a correct physical clock).`,
		Lesson:  `No oscillator is good enough for long: what is left alone leaves every precision in a time that can be computed. So clocks must be synchronised again and again, and ρ decides how often.`,
		Reading: []string{"[docs/bounds.md](../bounds.md): ρ and who vouches for it", "lecture, \"Time and synchrony\": physical clocks"},
		run:     runDrift,
	}
}

func runDrift(r *run) error {
	const clocks, hertz = 5, 1e9
	bounds := []float64{50e-6, 1e-6}
	times := short(r, []float64{1, 10, 60, 600, 3600, 6 * 3600, 24 * 3600}, []float64{1, 10, 60, 600})
	var measured [2][]float64
	for b, rho := range bounds {
		all := make([]*sim.Oscillator, clocks)
		for i := range all {
			rng := r.stream(fmt.Sprintf("drift/%g/%d", rho, i))
			all[i] = sim.NewOscillator(sim.OscillatorConfig{
				OffsetPPM: rho * 1e6 * (2*rng.Float64() - 1), RandomWalk: rho / 5000, ClipPPM: rho * 1e6,
				Sine: sim.SineConfig{PPM: rho * 1e6 / 4, Period: 86400, Phase: rng.Float64()},
			}, hertz, 0, rng)
		}
		worst, next := 0.0, 0
		// Within a second all frequencies are constant, so the spread is greatest at the ends.
		for s := 1.0; next < len(times); s++ {
			low, high := math.Inf(1), math.Inf(-1)
			for _, o := range all {
				x := float64(o.Reading(sim.Seconds(s))) / hertz
				low, high = min(low, x), max(high, x)
			}
			if worst = max(worst, high-low); s == times[next] {
				measured[b] = append(measured[b], worst)
				next++
			}
		}
		if err := r.done(b+1, len(bounds)); err != nil {
			return err
		}
	}
	r.columns("after", "s", "apart, ρ = 50 ppm", "s", "2ρt + g", "s", "apart, ρ = 1 ppm", "s", "2ρt + g", "s")
	for i, t := range times {
		r.row(t, measured[0][i], freeDrift(bounds[0], t, 1/hertz), measured[1][i], freeDrift(bounds[1], t, 1/hertz))
		for b, rho := range bounds {
			r.under(fmt.Sprintf("apart after %s with ρ = %g ppm", Quantity(t, "s"), rho*1e6), "s", measured[b][i], freeDrift(rho, t, 1/hertz), true)
		}
	}
	r.over("apart at the end", "s", measured[0][len(times)-1], measured[0][0])
	r.curve("apart, ρ = 50 ppm", 0, 0, 1, false)
	r.curve("bound, ρ = 50 ppm", 0, 0, 2, true)
	r.curve("apart, ρ = 1 ppm", 1, 0, 3, false)
	r.curve("bound, ρ = 1 ppm", 1, 0, 4, true)
	r.axes(logarithmic("time since they were set", "s"), logarithmic("greatest difference of two clocks", "s"))
	return nil
}

func granularity() Experiment {
	return Experiment{
		Name: "granularity", Title: "Granularity: no clock is better than its tick",
		Question: "What does a coarse counter cost?",
		Setup: `A client follows one perfect server over 50 µs + Exp(10 µs) each way; only the tick of its counter changes, from 10 µs to 1 ns. g is
measured from readings of the counter, g_v from readings of the virtual clock at successive ticks.`,
		Bound: `Every stamp is rounded down by up to g, and a client that does not know more must add it: its interval is never narrower than g/2 either way (theory 2.1), and contains true
time. g_v is g times the virtual clock's rate (theory 1.2).`,
		Lesson:  `Granularity is a floor under every other property, and costs nothing once it is well below the reading error. A virtual clock cannot tick more finely than its counter, whatever its arithmetic can.`,
		Reading: []string{"[docs/properties-table.md](../properties-table.md): g and g_v", "lecture: granularity of physical and virtual clocks"},
		run:     runGranularity,
	}
}

func runGranularity(r *run) error {
	all := short(r, []float64{1e5, 1e6, 1e7, 1e9}, []float64{1e5, 1e9})
	r.columns("counter", "Hz", "g", "s", "g_v", "s", "α_v", "s", "claimed bound", "s", "wrong intervals", "")
	for i, hertz := range all {
		var world *sim.World
		w := watchClients(&world, 0.5)
		results, err := r.simulate("granularity", fmt.Sprintf(`
assumptions_hold = true
length = "%gs"
[client]
poll = "1s"
counter_hz = %g
[client.oscillator]
offset_ppm = 12
random_walk = 1e-9
[[server]]
delay = "50us + exp(10us)"
`, short(r, 2000.0, 400), hertz), w.watch)
		if err != nil {
			return err
		}
		g, gv, rate := ticks(world, hertz)
		x := w.clients[0]
		what := fmt.Sprintf("counter of %g Hz", hertz)
		r.row(hertz, g, gv, x.worst, x.bound, results[0].BoundViolations)
		r.under(what+": |g − 1/f|", "s", math.Abs(g-1/hertz), 1e-6/hertz, true)
		r.under(what+": |g_v − g·rate|", "s", math.Abs(gv-g*rate), 1e-6/hertz, true)
		r.under(what+": |g_v/g − 1|, twice the drift bound", "s/s", math.Abs(gv/g-1), 1e-4, true)
		r.under(what+": wrong intervals", "", float64(results[0].BoundViolations), 0, true)
		r.over(what+": intervals checked", "", float64(results[0].BoundChecks), 1)
		r.over(what+": claimed bound", "s", x.bound, g/2)
		r.under(what+": accuracy α_v", "s", x.worst, x.bound, true)
		if err := r.done(i+1, len(all)); err != nil {
			return err
		}
	}
	r.curve("claimed bound", 1, 1, 4, true)
	r.curve("accuracy α_v", 0, 1, 3, false)
	r.axes(logarithmic("granularity g", "s"), logarithmic("time error", "s"))
	return nil
}

// ticks measures g of the client's counter and g_v of its clock at the present instant, and the clock's rate by its own coefficients.
func ticks(w *sim.World, hertz float64) (g, gv, rate float64) {
	h := w.Host("client")
	var physical metrics.PhysicalGranularity
	var virtual metrics.VirtualGranularity
	for i := range sim.Instant(1000) {
		physical.Add(h.Reading(w.Now() + i*sim.Seconds(0.3/hertz)))
	}
	k := &h.Publication.Clock
	first := h.Reading(w.Now())
	if k.SlewEnd.Before(first) {
		rate = k.Steady.Period.Nanoseconds() * 1e-9 * hertz
	} else {
		rate = k.Slew.Period.Nanoseconds() * 1e-9 * hertz
	}
	for i := range int64(100) {
		c := first.Add(i)
		virtual.Add(c, k.Time(c))
	}
	return physical.Result(hw.Frequency{Hertz: hertz}).TickSeconds.Value, virtual.Result().SmallestTickSeconds.Value, rate
}

// watchedClient is what is remembered of one client's clock.
type watchedClient struct {
	host *sim.Host
	// worst is α_v, bound the greatest bound claimed when the clock was sound.
	worst, bound float64
}

// clientWatch looks at clients at every sample of the later part of a run.
type clientWatch struct {
	world *sim.World
	out   **sim.World
	from  float64
	// precision is the greatest difference of two clients.
	precision float64
	clients   []*watchedClient
	// each, if set, is told of each sample of all clients.
	each func(errors, bounds []float64)
}

// watchClients makes an observer that begins when so many seconds have passed, or, below 1, at 200 s.
func watchClients(out **sim.World, from float64) *clientWatch {
	if from < 1 {
		from = 200
	}
	return &clientWatch{out: out, from: from}
}

func (c *clientWatch) watch(w *sim.World) {
	c.world = w
	if c.out != nil {
		*c.out = w
	}
	for _, h := range w.Hosts() {
		if h.Master == nil && !h.Serves() {
			c.clients = append(c.clients, &watchedClient{host: h})
		}
	}
	w.Sampled = c.sampled
}

func (c *clientWatch) sampled() {
	w := c.world
	if w.Now().Seconds() < c.from {
		return
	}
	truth := w.Truth(w.Now())
	errors, bounds := make([]float64, len(c.clients)), make([]float64, len(c.clients))
	low, high := math.Inf(1), math.Inf(-1)
	for i, x := range c.clients {
		errors[i], bounds[i] = math.NaN(), math.NaN()
		v, ok := show(w, x.host)
		if !ok {
			continue
		}
		errors[i] = v.Seconds(truth)
		k := x.host.Publication.Clock.Interval(x.host.Reading(w.Now()))
		bounds[i] = farEdge(v, k)
		x.worst, x.bound = max(x.worst, math.Abs(errors[i])), max(x.bound, bounds[i])
		low, high = min(low, errors[i]), max(high, errors[i])
	}
	if high > low {
		c.precision = max(c.precision, high-low)
	}
	if c.each != nil {
		c.each(errors, bounds)
	}
}

// farEdge is how wrong the clock can be by its own interval.
func farEdge(v virtualclock.Time, i virtualclock.Interval) float64 {
	return max(v.Seconds(i.Earliest), i.Latest.Seconds(v))
}

func holdover() Experiment {
	return Experiment{
		Name: "holdover", Title: "Holdover: when the master is gone",
		Question: "How wrong may a clock be that has lost its master, and does it say so?",
		Setup: `A client (drift bound 50 ppm, real error 12 ppm, frequency walking by 1e-9 per √s) follows one server for 2000 s; then the server dies. The client
goes on with the frequency that it has learnt, and its interval with the drift that its user has promised. At 50 ms it gives up (max_bound).`,
		Bound: `The true error is within the claimed bound, with no tolerance, as long as there is a claim; and the claim after t seconds is at most the claim when the server died plus
2ρ/(1−ρ)·t (theory 2.3).`,
		Lesson:  `What was learnt makes the error grow slowly; what is promised makes the bound grow honestly. A clock that cannot bound its error any more must say "I don't know", not guess.`,
		Reading: []string{"[docs/bounds.md](../bounds.md): holdover", "`clockbench sim server_returns`"},
		run:     runHoldover,
	}
}

func runHoldover(r *run) error {
	const lost, rho = 2000.0, 50e-6
	times := short(r, []float64{0, 10, 30, 100, 300, 900, 1800, 3600}, []float64{0, 10, 100, 300})
	var before float64
	var errorAt, boundAt []float64
	var statusAt []string
	watch := watchClients(nil, lost)
	watch.each = func(errors, bounds []float64) {
		at := watch.world.Now().Seconds() - lost
		if len(errorAt) == len(times) || at < times[len(errorAt)] {
			return
		}
		h := watch.clients[0].host
		errorAt, boundAt = append(errorAt, math.Abs(errors[0])), append(boundAt, bounds[0])
		statusAt = append(statusAt, h.Publication.Clock.Interval(h.Reading(watch.world.Now())).Status.String())
		if at == 0 {
			before = bounds[0]
		}
	}
	results, err := r.simulate("holdover", fmt.Sprintf(`
assumptions_hold = true
length = "%gs"
[client]
start_error = "10ms"
poll = "16s"
drift_bound_ppm = 50
max_bound = "50ms"
[client.oscillator]
offset_ppm = 12
random_walk = 1e-9
[[server]]
delay = "50us + exp(10us)"
[[fault]]
at = "2000s"
dead = true
`, lost+times[len(times)-1]+2), watch.watch)
	if err != nil {
		return err
	}
	r.columns("without master for", "s", "true error", "s", "claimed bound", "s", "bound at its death + 2ρt/(1−ρ)", "s", "status", "text")
	for i, t := range times[:len(errorAt)] {
		most := before + 2*rho/(1-rho)*t
		r.row(t, errorAt[i], boundAt[i], most, statusAt[i])
		if math.IsNaN(boundAt[i]) {
			continue // it says that it does not know
		}
		what := "after " + Quantity(t, "s")
		r.under(what+": true error", "s", errorAt[i], boundAt[i], true)
		r.under(what+": claimed bound", "s", boundAt[i], most, true)
	}
	r.under("wrong intervals", "", float64(results[0].BoundViolations), 0, true)
	r.over("intervals checked", "", float64(results[0].BoundChecks), 1)
	r.curve("true error", 0, 0, 1, false)
	r.curve("claimed bound", 1, 0, 2, true)
	r.curve("formula", 2, 0, 3, true)
	r.axes(linear("time without master", "s"), logarithmic("time error", "s"))
	return nil
}
