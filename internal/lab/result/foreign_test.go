package result

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/metrics"
	"github.com/clockd/clockd/reason"
)

// TestCorruptFiles: an error names the place.
func TestCorruptFiles(t *testing.T) {
	good := string(encoded(t, whole()))
	for _, c := range []struct{ what, old, new, want string }{
		{"not JSON", good, "hello", "line 1: invalid character"},
		{"empty", good, "", "line 1: the file ends in the middle"},
		{"another program's", `"clockd-result"`, `"something"`, "format: this is no result"},
		{"of the future", `"format_version": 1`, `"format_version": 2`, "format_version: 2 is newer"},
		{"no version", `"format_version": 1`, `"format_version": null`, "format_version: is missing"},
		{"an unknown key", `"title"`, `"titel"`, `unknown field "titel"`},
		{"cut off", `"plots"`, "", "line "},
		{"twice", good, good + "{}", "something follows"},
		{"a text for a number", `"length_s": 100`, `"length_s": "long"`, `length_s: "\"long\"" cannot be a`},
		{"a number beyond all", `"length_s": 100`, `"length_s": 1e999`, "length_s: "},
		{"a negative length", `"length_s": 100`, `"length_s": -1`, "length_s: -1 is negative"},
		{"a mode that is none", `"mode": "sim"`, `"mode": "dream"`, `mode: "dream" is none of`},
		{"a clock that is none", `"clock": "a",
   "kind"`, `"clock": "z",
   "kind"`, `events[0].clock: there is no clock "z"`},
		{"two clocks of one name", `"name": "b",
   "role"`, `"name": "a",
   "role"`, `clocks[1].name: "a" is empty or used twice`},
		{"times that go back", `0,
    1,
    1`, `0,
    1,
    0.5`, "series[0].t_s[2]: 0.5 comes after 1"},
		{"a time that is missing", `0,
    1,
    1`, `0,
    null,
    1`, "series[0].t_s[1]: is missing"},
		{"fewer values than times", `0,
    1,
    1`, `0,
    1`, "series[0]: 2 times and 3 values"},
		{"a file elsewhere", `"file": ""`, `"file": "../../etc/passwd"`, "series[0].file: "},
		{"an absolute file", `"file": ""`, `"file": "/etc/passwd"`, "series[0].file: "},
		{"a missing value without a reason", `"reason": "there is one clock only"`, `"reason": ""`, "properties[1].reason: the value is missing"},
		{"more wrong than checked", `"intervals_wrong": 1`, `"intervals_wrong": 11`, "checks: intervals_wrong"},
		{"a terminal's escape", `"a whole result"`, `"a \u001b[2J result"`, "title: has control characters"},
		{"a long text", "a paragraph", strings.Repeat("x", maxText+1), "notes[0]: 4097 bytes are more"},
		{"no seed", `"seed": 18446744073709551615`, `"seed": null`, "seed: a simulated run has"},
		{"a seed beyond all", `"seed": 18446744073709551615`, `"seed": 18446744073709551616`, "seed: number 18446744073709551616 cannot be"},
		{"a histogram's edges", `"edges": [
    1,
    2
   ]`, `"edges": [2, 1]`, "histograms[0].edges[1]: 1 comes after 2"},
		{"a matrix that is no square", `"clocks": [
   "a",
   "b"
  ]`, `"clocks": ["a"]`, "disagreement.offset_s: 2 rows for 1 clocks"},
		{"τ of 0", `"tau_s": [
    1,`, `"tau_s": [
    0,`, "stability[0].tau_s[0]: 0 is not above 0"},
	} {
		text := strings.Replace(good, c.old, c.new, 1)
		if c.what == "cut off" {
			text = good[:strings.Index(good, c.old)]
		} else if text == good {
			t.Errorf("%s: nothing was replaced", c.what)
			continue
		}
		_, err := Decode([]byte(text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.what, err, c.want)
		}
	}
	path := filepath.Join(t.TempDir(), "result.json")
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("the error does not name the file: %v", err)
	}
	if _, err := Read(filepath.Dir(path) + "/nothing"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// TestWritingIsChecked: what could not be read is not written.
func TestWritingIsChecked(t *testing.T) {
	r := whole()
	r.Series[0].Clock = "nobody"
	if _, err := Encode(r); err == nil || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("%v", err)
	}
	r = whole()
	r.Series[0].Times = make(Column, maxPoints+1)
	if _, err := Encode(r); err == nil || !strings.Contains(err.Error(), "series[0].t_s") {
		t.Errorf("%v", err)
	}
}

// TestPlacesThatCannotBeWritten: the error comes before any work.
func TestPlacesThatCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, place := range []string{file, filepath.Join(file, "below"), "/proc/nothing", "/dev/null"} {
		if d, err := Prepare(place, PrepareOptions{}); err == nil {
			_ = d.Close()
			t.Errorf("%s is taken", place)
		}
	}
	if os.Geteuid() != 0 {
		closed := filepath.Join(dir, "closed")
		if err := os.Mkdir(closed, 0o500); err != nil {
			t.Fatal(err)
		}
		if _, err := Prepare(closed, PrepareOptions{}); err == nil || !strings.Contains(err.Error(), "--out") {
			t.Errorf("a closed directory: %v", err)
		}
	}
}

// TestAbandoned: a run that ends without a result leaves no half of one.
func TestAbandoned(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	d, err := Prepare(dir, PrepareOptions{})
	if err != nil {
		t.Fatal(err)
	}
	track, err := d.Track("a", "a", Field{TimeError, "x", "s", ""})
	if err != nil {
		t.Fatal(err)
	}
	track.Add(1, 2)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("%v are left, %v", entries, err)
	}
}

// TestMistakesOfATrack are told at the end, and cost nothing else.
func TestMistakesOfATrack(t *testing.T) {
	for _, wrong := range []func(*Track){
		func(x *Track) { x.Add(1, 1); x.Add(0.5, 1) },
		func(x *Track) { x.Add(1, 1); x.Add(math.NaN(), 1) },
		func(x *Track) { x.Add(1, 1); x.Add(2, 1, 2) },
	} {
		d, err := Prepare(t.TempDir(), PrepareOptions{})
		if err != nil {
			t.Fatal(err)
		}
		track, err := d.Track("a", "a", Field{TimeError, "x", "s", ""})
		if err != nil {
			t.Fatal(err)
		}
		wrong(track)
		r := whole()
		r.Series = nil
		if err := d.Write(r); err == nil || !strings.Contains(err.Error(), "series/a.csv") {
			t.Errorf("%v", err)
		}
		got, err := Read(d.Path())
		if err != nil || len(got.Series) != 1 || got.Series[0].Values[0] != 1 || got.Series[0].File != "" {
			t.Errorf("what was measured is not kept: %v", err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestClasses: no delay is lost, whatever it is, and the classes are bounded.
func TestClasses(t *testing.T) {
	random := rand.New(rand.NewPCG(testkit.Seed(t), 2))
	for range 100 {
		c := &Classes{}
		var positive uint64
		low, high := math.Inf(1), math.Inf(-1)
		for range 1 + random.IntN(500) {
			x := random.NormFloat64() * math.Pow(10, float64(random.IntN(600)-300))
			c.Add(x)
			if x > 0 {
				positive++
			}
			low, high = min(low, x), max(high, x)
		}
		c.Add(math.NaN())
		h, ok := c.Histogram()
		if ok != (positive > 0) {
			t.Fatalf("%v for %d delays", ok, positive)
		}
		if !ok {
			continue
		}
		var sum uint64
		for _, n := range h.Counts {
			sum += n
		}
		if sum != positive || len(h.Counts) > widest+1 || len(h.Edges) != len(h.Counts)+1 || h.Min.Float() != low || h.Max.Float() != high {
			t.Fatalf("%d of %d delays in %d classes, from %v to %v", sum, positive, len(h.Counts), h.Min, h.Max)
		}
	}
	if _, ok := (&Classes{}).Histogram(); ok {
		t.Error("classes of nothing")
	}
}

// TestTableOfMetrics: what package metrics measured arrives, with its bounds and its reasons.
func TestTableOfMetrics(t *testing.T) {
	table := metrics.NewTable()
	for _, err := range []error{
		table.SetExact(metrics.Precision, metrics.Figure{Value: 1e-6, Samples: 5, Known: true}), table.SetBound(metrics.Precision, 5e-6, "5ε + 2Γ"),
		table.SetEstimate(metrics.Accuracy, metrics.Figure{Value: 2e-6, Samples: 5, Known: true}, 1e-7),
		table.SetMissing(metrics.Tightness, reason.FigureTooFew, "two messages"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	phase := make([]float64, 500)
	for i := range phase {
		phase[i] = 1e-6 * math.Sin(float64(i))
	}
	table.AddStability(metrics.StabilityOf(phase, 1, []int{1, 2, 4}), "a")
	r := whole()
	r.Properties, r.Stability = nil, nil
	r.AddTable(table, "")
	if b := encoded(t, r); !bytes.Contains(b, []byte("two messages")) {
		t.Error("the detail of the reason is lost")
	}
	rows := map[string]Property{}
	for _, p := range r.Properties {
		rows[p.Symbol] = p
	}
	if p := rows["π_v"]; p.Value != Of(1e-6) || p.Bound != Of(5e-6) || p.Formula != "5ε + 2Γ" || p.Known != KnownExact {
		t.Errorf("%+v", p)
	}
	if p := rows["α_v"]; p.Uncertainty != Of(1e-7) || p.Known != KnownEstimated {
		t.Errorf("%+v", p)
	}
	if p := rows["τ"]; p.Known != KnownNot || p.Reason == "" || p.Value != (Number{}) {
		t.Errorf("%+v", p)
	}
	names := map[Statistic]bool{}
	for _, c := range r.Stability {
		names[c.Statistic] = len(c.Tau) == 3
	}
	if !names[ADEV] || !names[MDEV] || !names[TDEV] || !names[MTIE] || !names[HDEV] {
		t.Errorf("%v", names)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encoded(f, whole()))
	f.Add(encoded(f, &Result{Mode: ModeLive, Truth: TruthExact}))
	f.Add([]byte(`{"format":"clockd-result","format_version":1,"mode":"live","truth":"exact","series":[{"t_s":[1,null],"value":[1e400]}]}`))
	f.Add([]byte(`{"format":"clockd-result","format_version":1,"disagreement":{"clocks":["a"],"offset_s":[[]]}}`))
	f.Add([]byte("[]"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Decode(b)
		if err != nil {
			if len(err.Error()) > 1<<17 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		once, err := Encode(r)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		again, err := Decode(once)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		if twice, err := Encode(again); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%v\n%s\n%s", err, once, twice)
		}
	})
}
