package simrun

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/clockd/clockd/internal/lab/result"
	"github.com/clockd/clockd/internal/sim"
)

const pair = `
summary = "two clients of one server"
assumptions_hold = true
length = "300s"
[client]
count = 2
poll = "4s"
spread_ppm = 10
oscillator = { offset_ppm = 12, random_walk = 1e-9 }
[[server]]
delay = "50us + exp(10us)"
[[fault]]
at = "100s"
until = "150s"
server = "server"
add_to = "1ms"
`

// liar claims that its assumptions hold, and has a server that is wrong beyond its claims for a while.
const liar = `
assumptions_hold = true
length = "200s"
[client]
poll = "2s"
[[server]]
delay = "50us + exp(10us)"
[[fault]]
at = "100s"
offset = "5ms"
`

func request(t *testing.T, source string, seed uint64) Request {
	t.Helper()
	s, err := sim.Parse("mine", []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	return Request{Scenario: s, Source: []byte(source), Seed: seed, Version: "1.2.3", Command: Command("mine", seed)}
}

// run runs a scenario into a fresh directory and returns that.
func run(t *testing.T, q Request) ([]sim.Result, string) {
	t.Helper()
	dir := t.TempDir()
	d, err := result.Prepare(dir, result.PrepareOptions{})
	if err != nil {
		t.Fatal(err)
	}
	figures, _, err := Run(q, d, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return figures, dir
}

func read(t *testing.T, path ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestWatchingChangesNothing: a watched run has the figures of an unwatched one.
func TestWatchingChangesNothing(t *testing.T) {
	for _, source := range []string{pair, liar, four} {
		q := request(t, source, 3)
		watched, _ := run(t, q)
		alone, err := q.Scenario.Run(3, nil)
		if err != nil {
			t.Fatal(err)
		}
		a, err := json.Marshal(watched)
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(alone)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a, b) {
			t.Errorf("watched\n%s\nalone\n%s", a, b)
		}
	}
}

// TestTheSameBytes: the same seed gives the same files, another one others; and what a result tells is enough to repeat it.
func TestTheSameBytes(t *testing.T) {
	_, one := run(t, request(t, pair, 5))
	_, other := run(t, request(t, pair, 6))
	r, err := result.Read(one)
	if err != nil {
		t.Fatal(err)
	}
	q, err := Again(r)
	if err != nil {
		t.Fatal(err)
	}
	_, again := run(t, q)
	for _, name := range []string{"result.json", "series/client1.csv", "series/client2.csv", "series/all.csv"} {
		if !bytes.Equal(read(t, one, name), read(t, again, name)) {
			t.Errorf("%s differs", name)
		}
		if bytes.Equal(read(t, one, name), read(t, other, name)) {
			t.Errorf("%s does not depend on the seed", name)
		}
	}
}

// TestWhatIsWrittenDown: the series agree with the simulation's own figures; everything else has its place.
func TestWhatIsWrittenDown(t *testing.T) {
	figures, dir := run(t, request(t, pair, 7))
	r, err := result.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range figures {
		rows, err := csv.NewReader(bytes.NewReader(read(t, dir, "series", f.Client+".csv"))).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		worst := 0.0
		for _, row := range rows[1:] {
			at, err := strconv.ParseFloat(row[0], 64)
			if err != nil {
				t.Fatal(err)
			}
			e, err := strconv.ParseFloat(row[1], 64)
			if at >= 75 && err == nil {
				worst = max(worst, math.Abs(e))
			}
		}
		if worst != float64(f.MaxError) || worst == 0 {
			t.Errorf("%s: the worst error is %g in the series and %g in the figures", f.Client, worst, float64(f.MaxError))
		}
		if r.Clocks[i+1].Name != f.Client || r.Clocks[0].Role != result.RoleMaster || !*r.Clocks[i+1].Correct {
			t.Errorf("%+v", r.Clocks)
		}
	}
	kinds := map[result.EventKind]int{}
	for _, e := range r.Events {
		kinds[e.Kind]++
	}
	if kinds[result.EventFault] != 1 || kinds[result.EventRepair] != 1 || kinds[result.EventStatus] < 2 {
		t.Errorf("%v in %+v", kinds, r.Events)
	}
	statistics := map[result.Statistic]int{}
	for _, c := range r.Stability {
		statistics[c.Statistic]++
	}
	if statistics[result.ADEV] != 2 || statistics[result.MTIE] != 2 || statistics[result.TDEV] != 2 {
		t.Errorf("%v", statistics)
	}
	if len(r.Histograms) != 4 || r.Histograms[0].Min.Float() < 50e-6 || r.Histograms[0].Min.Float() > 60e-6 {
		t.Errorf("%d histograms", len(r.Histograms))
	}
	symbols := map[string]result.Property{}
	for _, p := range r.Properties {
		if p.Symbol != "" && p.Subject == "" {
			symbols[p.Symbol] = p
		}
	}
	for _, symbol := range []string{"α_v", "π_v"} {
		p := symbols[symbol]
		value, ok := p.Value.Value()
		bound, promised := p.Bound.Value()
		if !ok || !promised || value <= 0 || value > bound {
			t.Errorf("%s is %v, at most %v", symbol, p.Value, p.Bound)
		}
	}
	if symbols["π_v"].Value.Float() > 2*symbols["α_v"].Value.Float() {
		t.Errorf("π_v is %v, and 2 α_v %v", symbols["π_v"].Value, symbols["α_v"].Value)
	}
	if r.Machine != nil || r.Began != nil || *r.Checks.Wrong != 0 || *r.Checks.Checked == 0 || !r.Complete {
		t.Errorf("machine %v, began %v, %d of %d wrong", r.Machine, r.Began, *r.Checks.Wrong, *r.Checks.Checked)
	}
}

// TestAWrongIntervalIsInTheSeries: every violation is listed, and one edge of the decimated series is on its wrong side.
func TestAWrongIntervalIsInTheSeries(t *testing.T) {
	figures, dir := run(t, request(t, liar, 8))
	r, err := result.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if figures[0].BoundViolations == 0 || *r.Checks.Wrong != figures[0].BoundViolations || len(r.Violations) != int(min(figures[0].BoundViolations, maxViolations)) {
		t.Fatalf("%d violations, %d in the checks, %d listed", figures[0].BoundViolations, *r.Checks.Wrong, len(r.Violations))
	}
	wrong := 0
	for _, s := range r.Series {
		for _, v := range s.Values {
			if s.Quantity == result.IntervalLow && v > 0 || s.Quantity == result.IntervalHigh && v < 0 {
				wrong++
			}
		}
	}
	part := math.NaN()
	for _, p := range r.Properties {
		if p.Subject == "" && strings.HasPrefix(p.Name, "time error ÷") {
			part = p.Value.Float()
		}
	}
	if wrong == 0 || !(part > 1) {
		t.Errorf("%d wrong edges in the series; the error was %g of the bound", wrong, part)
	}
}

// TestInterrupted: what was measured until then is kept, and is marked.
func TestInterrupted(t *testing.T) {
	stop := errors.New("enough")
	dir := t.TempDir()
	d, err := result.Prepare(dir, result.PrepareOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = Run(request(t, pair, 9), d, func(part float64) error {
		if part > 0.4 {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := result.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if length := r.Length.Float(); r.Complete || length < 100 || length > 150 || len(r.Series) == 0 || len(r.Series[0].Values) < 100 {
		t.Errorf("complete: %v, %g s, %d series", r.Complete, length, len(r.Series))
	}
}

func TestWhatCannotBeRepeated(t *testing.T) {
	_, dir := run(t, request(t, pair, 10))
	r, err := result.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	bad := "length = 5 parsecs"
	r.Scenario.Source = &bad
	if _, err := Again(r); err == nil {
		t.Error("a scenario that is none is repeated")
	}
	r.Mode = result.ModeLive
	if _, err := Again(r); err == nil {
		t.Error("a live run is simulated")
	}
}
