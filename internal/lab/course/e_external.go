package course

import (
	"fmt"
)

func external() Experiment {
	return Experiment{
		Name: "external", Title: "External: accuracy follows the round trip",
		Question: "How accurate can a clock be that asks a master over a network, and how far apart are two of them?",
		Setup: `Two clients ask one perfect master. The round trip grows from 0.1 ms to 50 ms. First the way is the same in both directions ("fair"). Then all of it is on one
side, for one client on the way there and for the other on the way back ("unfair"): no two-way exchange can see that.`,
		Bound: `Λ = RTT/2 is the reading error of one exchange (theory 2.1); what the client claims is that, with the drift since. |vc − t| is within the claimed bound always, and with a
common master π_v ≤ 2α_v (the triangle inequality; properties.md).`,
		Lesson:  `Accuracy is paid for in round trips: a fair network gives far more than half a round trip, but only half a round trip can be promised. The unfair one takes the whole of it, and then the two clients are nearly 2α_v apart.`,
		Reading: []string{"[docs/bounds.md](../bounds.md)", "[docs/estimation.md](../estimation.md): what a fair network gives", "Cristian 1989: probabilistic reading of remote clocks"},
		run:     runExternal,
	}
}

const externalScenario = `
assumptions_hold = true
length = "%gs"
[client]
count = 2
start_error = "1ms"
spread_ppm = 20
poll = "4s"
[client.oscillator]
random_walk = 1e-9
[[server]]
delay = "%s + exp(%s)"
`

const unfairWays = `
[[fault]]
client = "client1"
delay_to = %q
delay_from = "1us"
[[fault]]
client = "client2"
delay_to = "1us"
delay_from = %q
`

func runExternal(r *run) error {
	trips := short(r, []float64{100e-6, 200e-6, 500e-6, 1e-3, 5e-3, 10e-3, 50e-3}, []float64{100e-6, 10e-3})
	r.columns("RTT", "s", "Λ = RTT/2", "s", "α_v fair", "s", "claimed", "s", "π_v fair", "s", "2α_v", "s", "α_v unfair", "s", "claimed", "s", "π_v unfair", "s", "2α_v", "s")
	for i, trip := range trips {
		cells := []any{trip, readingError(trip)}
		for _, unfair := range []bool{false, true} {
			document := fmt.Sprintf(externalScenario, short(r, 2000.0, 500), length(trip/2*0.9), length(trip/2*0.1))
			name := "fair"
			if unfair {
				name = "unfair"
				document += fmt.Sprintf(unfairWays, length(trip-1e-6), length(trip-1e-6))
			}
			watch := watchClients(nil, 0)
			results, err := r.simulate("external", document, watch.watch)
			if err != nil {
				return err
			}
			accuracy, claimed := 0.0, 0.0
			what := fmt.Sprintf("RTT %s, %s", Quantity(trip, "s"), name)
			for j, c := range watch.clients {
				accuracy, claimed = max(accuracy, c.worst), max(claimed, c.bound)
				r.under(what+": wrong intervals", "", float64(results[j].BoundViolations), 0, true)
				r.over(what+": intervals checked", "", float64(results[j].BoundChecks), 1)
			}
			cells = append(cells, accuracy, claimed, watch.precision, masterBound(accuracy))
			r.under(what+": accuracy α_v", "s", accuracy, claimed, true)
			r.under(what+": precision π_v", "s", watch.precision, masterBound(accuracy)*(1+1e-12), true)
			if unfair {
				r.over(what+": accuracy α_v is most of RTT/2", "s", accuracy, 0.8*readingError(trip))
			}
		}
		r.row(cells...)
		if err := r.done(i+1, len(trips)); err != nil {
			return err
		}
	}
	r.curve("α_v, unfair", 1, 0, 6, false)
	r.curve("α_v, fair", 0, 0, 2, false)
	r.curve("Λ = RTT/2", 2, 0, 1, true)
	r.curve("claimed, unfair", 1, 0, 7, true)
	r.curve("π_v, unfair", 3, 0, 8, false)
	r.axes(logarithmic("round trip", "s"), logarithmic("time error", "s"))
	return nil
}
