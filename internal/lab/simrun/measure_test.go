package simrun

import (
	"bytes"
	"encoding/json"
	"math"
	"testing"

	"github.com/clockd/clockd/internal/lab/result"
	"github.com/clockd/clockd/internal/sim"
	"github.com/clockd/clockd/metrics"
	"github.com/clockd/clockd/reason"
)

// four is a group of four with a liar that knows all clocks, oscillators that are played on, and a member that is killed.
const four = `
assumptions_hold = true
length = "60s"
sample = "100ms"
[client]
spread_ppm = 20
oscillator = { random_walk = 1e-9 }
[group]
members = 4
liars = ["two-faced"]
drive = "split"
start_spread = "2ms"
delay = "50us + exp(10us)"
rate_limit_ppm = 50
[[fault]]
at = "40s"
until = "45s"
members = ["m1"]
kill = true
`

// hybrid is a group whose members follow servers.
const hybrid = `
assumptions_hold = true
length = "60s"
[client]
spread_ppm = 20
poll = "1s"
[group]
members = 4
delay = "50us + exp(10us)"
gain = 0.25
clamp = "2ms"
external_error = "1ms"
[[server]]
delay = "50us + exp(10us)"
`

// dense is a slow observer that looks at all clocks very often: it must never see more than the follower, which
// does not need to look.
type dense struct {
	accuracy, precision float64
	looks               int
}

func (d *dense) look(o *observer) {
	w := o.follower.world
	now := w.Now()
	if now < o.follower.from {
		return
	}
	low, high, n := math.Inf(1), math.Inf(-1), 0
	for _, c := range o.follower.clocks {
		if !c.counts(now) {
			continue
		}
		n++
		k, reading := &c.host.Publication.Clock, c.host.Reading(now)
		e := k.Time(reading).Seconds(w.Truth(now))
		low, high, d.accuracy = min(low, e), max(high, e), max(d.accuracy, math.Abs(e))
	}
	d.looks++
	if n > 1 {
		d.precision = max(d.precision, high-low)
	}
}

// TestTheSupremaAreExact: an observer that looks up to a thousand times a second sees no more than the ensemble, but for the counter's tick of a
// nanosecond, and comes near to it.
func TestTheSupremaAreExact(t *testing.T) {
	for name, source := range map[string]string{"clients": pair, "group": four, "hybrid": hybrid} {
		q := request(t, source, 11)
		var d dense
		var all []*observer
		w, err := q.Scenario.Build(11)
		if err != nil {
			t.Fatal(err)
		}
		if all, err = measure(w, q.Scenario); err != nil {
			t.Fatal(err)
		}
		w.Sampled = func() { sampled(all) }
		o := all[0]
		end := q.Scenario.Length.Instant()
		step := sim.Seconds(1e-3)
		if name == "clients" {
			step = sim.Seconds(1e-2)
		}
		for at := step; at <= end; at += step {
			if err := w.Run(at); err != nil {
				t.Fatal(err)
			}
			d.look(o)
		}
		tables, err := tables(all, q.Scenario.Name, 11)
		if err != nil {
			t.Fatal(err)
		}
		a, p := tables[0].Table.Row(metrics.Accuracy), tables[0].Table.Row(metrics.Precision)
		const tick = 1.1e-9
		for _, x := range []struct {
			row  metrics.Row
			seen float64
		}{{a, d.accuracy}, {p, d.precision}} {
			if !x.row.Value.Known || x.seen > x.row.Value.Value+tick || x.seen < 0.98*x.row.Value.Value-tick {
				t.Errorf("%s, %s: seen %.12g in %d looks, measured %+v", name, x.row.Property, x.seen, d.looks, x.row)
			}
			if v := x.row.Verdict(); x.row.Bound.Known && v != metrics.Within {
				t.Errorf("%s, %s: %s: %+v", name, x.row.Property, v, x.row)
			}
		}
	}
}

// TestTheJudgeAgrees: the group's own judge, which looks at all clocks at all events, finds what the ensemble finds.
func TestTheJudgeAgrees(t *testing.T) {
	for seed := range uint64(2) {
		q := request(t, four, seed)
		o, err := Measure(q.Scenario, seed, nil)
		if err != nil {
			t.Fatal(err)
		}
		g, table := o.Figures[0].Group, o.Properties[0].Table
		p := table.Row(metrics.Precision).Value.Value
		if seen := float64(g.Precision); seen > p+1.1e-9 || seen < 0.99*p {
			t.Errorf("seed %d: π_v is %.12g by the judge and %.12g by the ensemble", seed, seen, p)
		}
		if c := table.Row(metrics.Convergence).Value.Value; c != float64(g.Convergence) {
			t.Errorf("seed %d: δ_v is %g by the judge and %g in the table", seed, float64(g.Convergence), c)
		}
		if e := table.Row(metrics.ClockReadingError).Value.Value; e != float64(g.ReadingError) {
			t.Errorf("seed %d: ε is %g by the judge and %g in the table", seed, float64(g.ReadingError), e)
		}
	}
}

// complete: no property is without a value or a reason, and none that is promised is beyond its bound.
func complete(t *testing.T, name string, table *metrics.Table) {
	t.Helper()
	for _, row := range table.Rows() {
		if row.Value.Known == (row.Missing != reason.OK) {
			t.Errorf("%s: %+v", name, row)
		}
		if !row.Value.Known && row.Missing == reason.FigureNotMeasured && row.Detail == "" {
			t.Errorf("%s: %s is missing and nobody says why", name, row.Property)
		}
		if row.Verdict() == metrics.Violated {
			t.Errorf("%s: %s is %g, and %g by %s", name, row.Property, row.Value.Value, row.Bound.Value, row.Formula)
		}
		broadcast := row.Property == metrics.Steadiness || row.Property == metrics.Tightness
		if !row.Value.Known && !broadcast && (name != "clients" || row.Property != metrics.Convergence) {
			t.Errorf("%s: %s is missing: %v %s", name, row.Property, row.Missing, row.Detail)
		}
	}
}

// TestMeasuringChangesNothing: neither the figures of a run nor, the second time, a byte of the tables, which are complete.
func TestMeasuringChangesNothing(t *testing.T) {
	for name, source := range map[string]string{"clients": pair, "group": four, "hybrid": hybrid} {
		q := request(t, source, 13)
		var tables, figures [2][]byte
		for i := range tables {
			o, err := Measure(q.Scenario, 13, nil)
			if err != nil {
				t.Fatal(err)
			}
			complete(t, name, o.Properties[0].Table)
			if tables[i], err = json.Marshal(o.Properties); err != nil {
				t.Fatal(err)
			}
			if figures[i], err = json.Marshal(o.Figures); err != nil {
				t.Fatal(err)
			}
		}
		alone, err := q.Scenario.Run(13, nil)
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(alone)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(tables[0], tables[1]) || !bytes.Equal(figures[0], b) {
			t.Errorf("%s\n%s\n%s\n%s", tables[0], tables[1], figures[0], b)
		}
	}
}

// TestAGroupsPage: what is written down of a group.
func TestAGroupsPage(t *testing.T) {
	_, dir := run(t, request(t, four, 14))
	r, err := result.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	roles, kinds, quantities := map[result.Role]int{}, map[result.EventKind]int{}, map[result.Quantity]int{}
	for _, c := range r.Clocks {
		roles[c.Role]++
	}
	for _, e := range r.Events {
		kinds[e.Kind]++
	}
	for _, s := range r.Series {
		quantities[s.Quantity]++
	}
	if roles[result.RolePeer] != 3 || roles[result.RoleLiar] != 1 {
		t.Errorf("%v", roles)
	}
	if kinds[result.EventFault] != 1 || kinds[result.EventRepair] != 1 || kinds[result.EventStatus] < 4 {
		t.Errorf("%v", kinds)
	}
	if quantities[result.TimeError] != 4 || quantities[result.ClaimedBound] != 4 || quantities[result.Precision] != 5 || quantities[result.PrecisionBound] != 1 {
		t.Errorf("%v", quantities)
	}
	if len(r.Rounds) < 30 {
		t.Fatalf("%d rounds", len(r.Rounds))
	}
	for _, x := range r.Rounds {
		if c, ok := x.Convergence.Value(); ok && (c > x.Bound.Float() || c > x.Spread.Float()+x.Bound.Float()) {
			t.Errorf("%+v", x)
		}
	}
}
