package metrics

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/clockd/clockd/reason"
)

// exampleTable has a row of each sort.
func exampleTable(t testing.TB) *Table {
	t.Helper()
	table := NewTable()
	for _, err := range []error{
		table.SetExact(Precision, Figure{41.5e-6, 1200, true}), table.SetBound(Precision, 120e-6, "5ε + 2.5Γ"),
		table.SetEstimate(Steadiness, Figure{300e-6, 50, true}, 80e-6), table.SetBound(Steadiness, 350e-6, "d_max − d_min"),
		table.SetMissing(Accuracy, reason.FigureNoTruth, "three servers were asked, none of them is the truth"),
		table.SetExact(Convergence, Figure{}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	table.AddStability([]StabilityPoint{{TauSeconds: 1, Factor: 1, Stride: 1, ADEV: Figure{1e-9, 7, true}}}, "host1")
	return table
}

func TestTableHasNoHoles(t *testing.T) {
	for _, table := range []*Table{NewTable(), exampleTable(t)} {
		rows := table.Rows()
		if len(rows) != 11 {
			t.Fatalf("%d rows", len(rows))
		}
		for i, r := range rows {
			if r.Value.Known == (r.Missing != reason.OK) {
				t.Errorf("%s: %+v", r.Property, r)
			}
			if p := r.Property; int(p) != i || p.Symbol() == "" || p.Name() == "" || p.Unit() == "" || table.Row(p) != r {
				t.Errorf("%+v", r)
			}
		}
	}
}

func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		value, uncertainty, bound float64
		want                      Verdict
	}{{1, 0, 2, Within}, {2, 0, 2, Within}, {2.1, 0, 2, Violated}, {1.9, 0.2, 2, Undecided}, {2.1, 0.2, 2, Undecided}, {2.3, 0.2, 2, Violated},
		{1.8, 0.2, 2, Within}} {
		r := Row{Value: Figure{c.value, 1, true}, Uncertainty: c.uncertainty, Bound: Figure{c.bound, 0, true}}
		if got := r.Verdict(); got != c.want {
			t.Errorf("%g ± %g under %g: %s", c.value, c.uncertainty, c.bound, got)
		}
		r.Bound.Known = false
		if got := r.Verdict(); got != Undecided {
			t.Errorf("without a bound: %s", got)
		}
	}
}

// documented is the example in docs/properties-table.md.
func documented(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../docs/properties-table.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := strings.Cut(string(text), "```json\n")
	block, _, closed := strings.Cut(after, "```")
	if !ok || !closed {
		t.Fatal("docs/properties-table.md has no example")
	}
	return block
}

// TestTableIsDocumented: the documentation's example is what the program writes, and every property and reason is explained.
func TestTableIsDocumented(t *testing.T) {
	b, err := json.Marshal(exampleTable(t))
	if err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	if err := json.Compact(&want, []byte(documented(t))); err != nil {
		t.Fatal(err)
	}
	if string(b) != want.String() {
		t.Errorf("docs/properties-table.md has\n%s\nand not\n%s", want.String(), b)
	}
	text, err := os.ReadFile("../docs/properties-table.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range Properties() {
		if !strings.Contains(strings.ReplaceAll(string(text), `\|`, "|"), "| `"+p.String()+"` | "+p.Symbol()+" |") {
			t.Errorf("%s is not explained", p)
		}
	}
	for _, why := range []reason.Code{reason.FigureNotMeasured, reason.FigureNotApplicable, reason.FigureTooFew, reason.FigureUndefined, reason.FigureNoTruth} {
		if !strings.Contains(string(text), "`"+why.String()+"`") {
			t.Errorf("%s is not explained", why.String())
		}
	}
}

func TestTableReadsWhatItWrites(t *testing.T) {
	want := exampleTable(t)
	first, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Table
	if err := json.Unmarshal(first, &got); err != nil {
		t.Fatal(err)
	}
	if got.rows != want.rows {
		t.Errorf("\n%+v, read\n%+v", want.rows, got.rows)
	}
	if second, err := json.Marshal(&got); err != nil || string(second) != string(first) {
		t.Errorf("%s\n%s %v", first, second, err)
	}
}

func TestTableRefuses(t *testing.T) {
	table := NewTable()
	for what, err := range map[string]error{
		"no property":        table.SetExact(-1, Figure{}),
		"beyond":             table.SetMissing(propertyCount, reason.FigureTooFew, ""),
		"bound of nothing":   table.SetBound(propertyCount, 1, "x"),
		"NaN":                table.SetExact(Rate, Figure{math.NaN(), 1, true}),
		"uncertainty":        table.SetEstimate(Rate, Figure{1, 1, true}, math.Inf(1)),
		"negative":           table.SetEstimate(Rate, Figure{1, 1, true}, -1),
		"no reason":          table.SetMissing(Rate, reason.OK, "because"),
		"bound is infinite":  table.SetBound(Rate, math.Inf(1), "x"),
		"bound is negative":  table.SetBound(Rate, -1, "x"),
		"bound from nowhere": table.SetBound(Rate, 1, ""),
	} {
		if err == nil {
			t.Errorf("%s was accepted", what)
		}
	}
	if (table.Row(-1) != Row{}) || Property(99).String() != "property_99" || Property(99).Symbol() != "" {
		t.Error("a property that is none")
	}
	good, err := json.Marshal(exampleTable(t))
	if err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string][2]string{
		"schema":        {"clockd.properties/1", "clockd.properties/2"},
		"order":         {`"property":"granularity"`, `"property":"accuracy"`},
		"unknown":       {`"property":"granularity"`, `"property":"grain"`},
		"no reason":     {`"missing":"figure_no_truth"`, `"missing":null`},
		"not a reason":  {`"missing":"figure_no_truth"`, `"missing":"because"`},
		"ok":            {`"missing":"figure_no_truth"`, `"missing":"ok"`},
		"both":          {`"verdict":"within","missing":null`, `"verdict":"within","missing":"stale"`},
		"origin":        {`"origin":"exact"`, `"origin":"hearsay"`},
		"uncertain":     {`"uncertainty":0`, `"uncertainty":-1`},
		"exactly wrong": {`"origin":"estimate","uncertainty":0.00008`, `"origin":"exact","uncertainty":0.00008`},
		"not JSON":      {"{", "["},
	} {
		bad := strings.Replace(string(good), change[0], change[1], 1)
		if bad == string(good) {
			t.Errorf("%s: nothing was changed in %s", what, good)
			continue
		}
		var table Table
		if err := json.Unmarshal([]byte(bad), &table); err == nil {
			t.Errorf("%s was read", what)
		}
	}
}

// FuzzTable: whatever is read as a table has no holes and is written again as it was read.
func FuzzTable(f *testing.F) {
	for _, table := range []*Table{NewTable(), exampleTable(f)} {
		b, err := json.Marshal(table)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"schema":"clockd.properties/1","properties":[{"property":"granularity","value":1e999}]}`))
	f.Add([]byte(`{"schema":"clockd.properties/1","properties":null,"curves":[]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var table Table
		if json.Unmarshal(b, &table) != nil {
			return
		}
		for _, r := range table.Rows() {
			if r.Value.Known == (r.Missing != reason.OK) {
				t.Fatalf("%+v", r)
			}
		}
		first, err := json.Marshal(&table)
		if err != nil {
			t.Fatal(err)
		}
		var again Table
		if err := json.Unmarshal(first, &again); err != nil || again.rows != table.rows {
			t.Fatalf("%s: %v", first, err)
		}
	})
}

func TestTableOfAnEnsemble(t *testing.T) {
	e := newEnsemble(t, 2, EnsembleOptions{CellSeconds: 1})
	for clock, rate := range []float64{10e-6, -10e-6} {
		if err := e.Begin(clock, Segment{seconds(0), seconds(0), rate, 1}); err != nil {
			t.Fatal(err)
		}
	}
	r := result(t, e, seconds(100))
	table := NewTable()
	if err := table.SetEnsemble(&r, 20); err != nil {
		t.Fatal(err)
	}
	expect(t, "π_v", table.Row(Precision).Value, 2e-3, 1e-9, 0)
	expect(t, "α_v", table.Row(Accuracy).Value, 1e-3, 1e-9, 0)
	expect(t, "ρ_v", table.Row(Rate).Value, 10e-6, 2e-5, 0)
	envelope := table.Row(EnvelopeRate)
	if d := math.Abs(envelope.Value.Value - 10e-6); !envelope.Value.Known || d > envelope.Uncertainty+1e-15 || envelope.Uncertainty > 1e-6 {
		t.Errorf("ρ_α %+v", envelope)
	}
	if table.Row(Convergence).Missing != reason.FigureTooFew || len(table.Curves) != 1 || len(table.Curves[0].Points) != 7 {
		t.Errorf("δ_v %+v, curves %+v", table.Row(Convergence), table.Curves)
	}
	if err := table.SetEnsemble(&r, 65); err != nil || table.Row(EnvelopeRate).Missing != reason.FigureTooFew {
		t.Errorf("ρ_α without a window: %+v %v", table.Row(EnvelopeRate), err)
	}
	r.Rate, r.Jumps = Figure{}, 3
	if err := table.SetEnsemble(&r, 1); err != nil || table.Row(Rate).Missing != reason.FigureUndefined {
		t.Errorf("ρ_v of a clock that jumped: %+v %v", table.Row(Rate), err)
	}
	if err := table.SetBounded(Tightness, Bounded{Figure{2, 5, true}, 1.5, 3}); err != nil || table.Row(Tightness).Uncertainty != 1 || table.Row(Tightness).Origin != Estimate {
		t.Errorf("τ %+v %v", table.Row(Tightness), err)
	}
	if err := table.SetBounded(Tightness, Bounded{Figure{2, 5, true}, 2, 2}); err != nil || table.Row(Tightness).Origin != Exact {
		t.Errorf("τ %+v %v", table.Row(Tightness), err)
	}
}
