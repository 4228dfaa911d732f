package result

import (
	"bytes"
	"encoding/csv"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/clockd/clockd/internal/testkit"
)

// pointer returns a pointer to a value.
func pointer[T any](x T) *T { return &x }

// whole is a result with something in each of its lists.
func whole() *Result {
	return &Result{
		Version: "1.2.3", Command: []string{"sim", "lan"}, Mode: ModeSim, Title: "a whole result", Truth: TruthExact, Length: Of(100), Complete: true,
		Scenario: &Scenario{Name: "lan", Summary: "a network", Source: pointer("length = \"100s\"\n"), AssumptionsHold: pointer(true)},
		Seed:     pointer(uint64(math.MaxUint64)), Machine: &Machine{CPU: "x", CPUs: 2, Kernel: "6.1", Arch: "amd64", Counter: "tsc"},
		Notes:  []string{"a paragraph"},
		Clocks: []Clock{{Name: "a", Role: RoleHost, Correct: pointer(true), Program: "clockd"}, {Name: "b", Role: RoleLiar, Address: "127.0.0.1:123"}},
		Properties: []Property{
			{Symbol: "α_v", Name: "accuracy", Statistic: "max", Value: Of(1e-6), Unit: "s", Bound: Of(5e-6), Formula: "RTT/2", Known: KnownExact},
			{Symbol: "π_v", Name: "precision", Statistic: "max", Unit: "s", Known: KnownNot, Reason: "there is one clock only"},
		},
		Checks:     Checks{Checked: pointer(uint64(10)), Wrong: pointer(uint64(1)), Worst: Of(1e-6)},
		Violations: []Violation{{At: Of(3), Clock: "a", Outside: Of(-1e-6), HalfWidth: Of(1e-5), Error: Of(1.1e-5), Status: "synchronised"}},
		Series:     []Series{{Quantity: TimeError, Name: "time error", Clock: "a", Unit: "s", Count: 3, Times: Column{0, 1, 1}, Values: Column{1, math.NaN(), 3}}},
		Stability:  []Curve{{Statistic: ADEV, Clock: "a", Unit: "1", Tau: Column{1, 2}, Values: Column{1e-9, 2e-9}, Counts: []uint64{5, 3}}},
		Histograms: []Histogram{{Name: "delay", Clock: "a", Peer: "b", Direction: DirectionTo, Unit: "s", Edges: Column{1, 2}, Counts: []uint64{4}, Min: Of(1)}},
		Rounds:     []Round{{Number: 1, At: Of(4), Convergence: Of(1e-6), Used: pointer(3)}},
		Events:     []Event{{At: Of(5), Clock: "a", Kind: EventStatus, Status: "holdover", Reason: "no_samples", Text: "it went away"}},
		Disagreement: &Disagreement{
			Clocks: []string{"a", "b"}, Offset: [][]Number{{Of(0), Of(1)}, {Of(-1), {}}}, Uncertainty: [][]Number{{{}, {}}, {{}, {}}},
			Disagree: [][]bool{{false, true}, {true, false}},
		},
		Plots: []Plot{{Title: "x", Curves: []PlotCurve{{Name: "c", X: Column{1}, Y: Column{2}}}}},
	}
}

func encoded(t testing.TB, r *Result) []byte {
	t.Helper()
	b, err := Encode(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestThereAndBack: what is read is what was written, and the same bytes come out again.
func TestThereAndBack(t *testing.T) {
	b := encoded(t, whole())
	r, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if again := encoded(t, r); !bytes.Equal(b, again) {
		t.Errorf("written\n%s\nread and written again\n%s", b, again)
	}
	if *r.Seed != math.MaxUint64 || !math.IsNaN(r.Series[0].Values[1]) || r.Series[0].Values[2] != 3 {
		t.Errorf("seed %d, values %v", *r.Seed, r.Series[0].Values)
	}
}

// TestMissingIsNull: nothing that is not known is a 0 in the file, and a key that is not there is not known.
func TestMissingIsNull(t *testing.T) {
	b := encoded(t, &Result{Mode: ModeObserve, Truth: TruthEstimated, Properties: []Property{{Name: "x", Known: KnownNot, Reason: "nobody measured it"}}})
	for _, want := range []string{`"length_s": null`, `"value": null`, `"bound": null`, `"intervals_wrong": null`, `"seed": null`, `"machine": null`, `"series": []`, `"disagreement": null`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("no %s in\n%s", want, b)
		}
	}
	r, err := Decode([]byte(`{"format": "clockd-result", "format_version": 1, "mode": "live", "truth": "exact"}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := r.Length.Value(); ok || r.Checks.Wrong != nil {
		t.Errorf("a figure appeared from nowhere: %+v", r)
	}
}

// TestDirectory: a run's files are all there, and the decimated series ends where the whole one does.
func TestDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "run")
	d, err := Prepare(dir, PrepareOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Prepare(dir, PrepareOptions{}); err == nil || !strings.Contains(err.Error(), "another run") {
		t.Errorf("two runs write into one directory: %v", err)
	}
	r := whole()
	r.Series = nil
	track, err := d.Track("../a b", "a", Field{TimeError, "time error", "s", ""}, Field{Delay, "delay to b", "s", "b,\n"})
	if err != nil {
		t.Fatal(err)
	}
	n := 12345
	for i := range n {
		track.Add(float64(i), float64(i)*1e-6, math.Inf(1))
	}
	if err := d.Write(r); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := got.Series[0]
	if s.Count != uint64(n) || s.Values[0] != 0 || s.Values[len(s.Values)-1] != float64(n-1)*1e-6 || len(s.Values) > 6*buckets || s.File != "series/___a_b.csv" {
		t.Errorf("%d values of %d, the last %g, file %q", len(s.Values), s.Count, s.Values[len(s.Values)-1], s.File)
	}
	f, err := os.Open(filepath.Join(dir, filepath.FromSlash(s.File)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil || len(rows) != n+1 || rows[0][0] != "t_s" || rows[0][1] != s.Column || rows[0][1] != "time_error_s" || rows[0][2] != "b___delay_s" || rows[5][2] != "" {
		t.Errorf("%v, %d rows, %q", err, len(rows), rows[0])
	}
	if _, err := Prepare(dir, PrepareOptions{}); err == nil || !strings.Contains(err.Error(), "--force") {
		t.Errorf("a result is overwritten: %v", err)
	}
	again, err := Prepare(dir, PrepareOptions{Replace: true})
	if err != nil {
		t.Fatal(err)
	}
	_ = again.Close()
}

// TestNoExtremeIsLost: whatever the series, its extremes, its ends and its gaps are in the picture.
func TestNoExtremeIsLost(t *testing.T) {
	random := rand.New(rand.NewPCG(testkit.Seed(t), 1))
	for range 200 {
		n := 1 + random.IntN(20000)
		d := &Decimator{}
		at, low, high, gaps := 0.0, math.Inf(1), math.Inf(-1), 0
		var times []float64
		for i := range n {
			if i > 0 {
				at += float64(random.IntN(3)) * math.Pow(10, float64(random.IntN(5)))
			}
			v := random.NormFloat64() * math.Pow(10, 3*random.Float64())
			if random.IntN(1000) == 0 {
				v = math.NaN()
				gaps++
			} else {
				low, high = min(low, v), max(high, v)
			}
			times = append(times, at)
			if !d.Add(at, v) {
				t.Fatalf("%g is refused", at)
			}
		}
		x, y := d.Columns()
		if len(x) != len(y) || len(x) > 6*buckets || d.Count() != uint64(n) || !slices.IsSorted(x) {
			t.Fatalf("%d times, %d values of %d", len(x), len(y), n)
		}
		gotLow, gotHigh, gotGaps := math.Inf(1), math.Inf(-1), 0
		for _, v := range y {
			if math.IsNaN(v) {
				gotGaps++
				continue
			}
			gotLow, gotHigh = min(gotLow, v), max(gotHigh, v)
		}
		if gotLow != low || gotHigh != high || (gotGaps > 0) != (gaps > 0) {
			t.Fatalf("of %d values from %g to %g with %d gaps there are %g to %g and %d", n, low, high, gaps, gotLow, gotHigh, gotGaps)
		}
		if x[0] != times[0] || x[len(x)-1] != times[n-1] {
			t.Fatalf("from %g to %g became %g to %g", times[0], times[n-1], x[0], x[len(x)-1])
		}
	}
}
