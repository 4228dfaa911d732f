package course

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// pagesDir is where the pages are kept.
const pagesDir = "../../../docs/experiments"

func runShort(t *testing.T, e *Experiment, seed uint64) (*Report, []byte) {
	t.Helper()
	r, err := e.Run(t.Context(), Options{Seed: seed, Short: true})
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return r, b
}

// Every experiment holds its bounds, fills its table, draws a small picture, and gives the same bytes for the same seed.
func TestEveryExperiment(t *testing.T) {
	for _, e := range All() {
		t.Run(e.Name, func(t *testing.T) {
			t.Parallel()
			const seed = 7
			r, first := runShort(t, &e, seed)
			for _, s := range r.Broken {
				t.Errorf("seed %d: broken: %s", seed, s)
			}
			must := 0
			for _, c := range r.Checks {
				if c.Must {
					must++
				}
			}
			if must == 0 || len(r.Rows) == 0 || len(r.Chart.Curves) == 0 {
				t.Errorf("%d checks, %d rows, %d curves: nothing was measured", must, len(r.Rows), len(r.Chart.Curves))
			}
			for _, row := range r.Rows {
				if len(row) != len(r.Columns) {
					t.Errorf("a row of %d cells under %d columns", len(row), len(r.Columns))
				}
				for i, c := range row {
					if (r.Columns[i].Unit == "text") != c.text {
						t.Errorf("column %s: the unit %q does not fit the cell %v", r.Columns[i].Name, r.Columns[i].Unit, c)
					}
				}
			}
			picture, err := r.Picture()
			if err != nil {
				t.Fatal(err)
			}
			checkPicture(t, picture)
			if _, again := runShort(t, &e, seed); !bytes.Equal(first, again) {
				t.Error("the same seed gave other bytes")
			}
		})
	}
}

// Another seed gives other figures: they come from the run.
func TestAnotherSeedIsAnotherRun(t *testing.T) {
	for _, name := range []string{"drift", "external", "critical-path", "holdover"} {
		e, err := Find(name)
		if err != nil {
			t.Fatal(err)
		}
		a, _ := runShort(t, &e, 1)
		b, _ := runShort(t, &e, 2)
		x, _ := json.Marshal(a.Rows)
		y, _ := json.Marshal(b.Rows)
		if bytes.Equal(x, y) {
			t.Errorf("%s: two seeds gave the same table", name)
		}
	}
}

// checkPicture: well-formed, at most 60 kB, on a ground of its own so that it can be read on dark pages.
func checkPicture(t *testing.T, b []byte) {
	t.Helper()
	if len(b) > 60<<10 {
		t.Errorf("the picture has %d bytes", len(b))
	}
	d := xml.NewDecoder(bytes.NewReader(b))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the picture is no XML: %v", err)
		}
	}
	if !strings.Contains(strings.ToUpper(string(b)), "FILL:#FFFFFF") {
		t.Error("the picture has no white ground: on a dark page nobody can read it")
	}
}

func TestFindSaysWhatThereIs(t *testing.T) {
	_, err := Find("externl")
	if err == nil {
		t.Fatal("found what is not there")
	}
	for _, name := range append(Names(), "externl") {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%q does not name %s", err, name)
		}
	}
}

// An interrupt ends a run with its cause.
func TestRunEnds(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	cause := errors.New("enough")
	cancel(cause)
	for _, name := range []string{"drift", "internal"} {
		e, _ := Find(name)
		if _, err := e.Run(ctx, Options{Seed: 1, Short: true}); !errors.Is(err, cause) && !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
	e, _ := Find("drift")
	if _, err := e.Run(t.Context(), Options{Seed: 1, Short: true, Progress: func(float64) error { return cause }}); !errors.Is(err, cause) {
		t.Errorf("progress: %v", err)
	}
}

// A bound that does not hold is told of, and so is a figure that is missing.
func TestBrokenIsTold(t *testing.T) {
	r := &run{report: &Report{}}
	r.under("a", "s", 1, 2, true)
	r.over("b", "s", 2, 1)
	r.under("c", "s", 3, 2, false)
	if len(r.report.Broken) != 0 {
		t.Fatalf("broken: %v", r.report.Broken)
	}
	r.under("d", "s", 3, 2, true)
	r.under("e", "s", math.NaN(), 2, true)
	r.under("f", "s", 1, math.NaN(), true)
	r.over("g", "s", math.NaN(), 1)
	if len(r.report.Broken) != 4 || !strings.Contains(r.report.Broken[0], "d: 3 s, and at most 2 s") {
		t.Errorf("broken: %q", r.report.Broken)
	}
}

// The formulas, at points worked out by hand.
func TestFormulas(t *testing.T) {
	for _, c := range []struct {
		name      string
		got, want float64
	}{
		{"2ρt + g", freeDrift(50e-6, 100, 1e-9), 0.010000001},
		{"RTT/2", readingError(3e-3), 1.5e-3},
		{"2α", masterBound(2e-3), 4e-3},
		{"P'", roundLength(1, 0, 0.5), 2},
		{"5ε without drift", convergencePrecision(1, 20e-6, 0), 100e-6},
		{"hops without drift", hopError(3, 1e-3, 2e-3, 0), 1.5e-3},
		{"background without drift", backgroundError(3e-3, 1e-3, 0, 10), 0.5e-3},
		{"σ of perfect oscillators", triggeredSteadiness(1e-3, 1, 0), 2e-3},
		{"τ of perfect oscillators", triggeredTightness(1e-3, 0), 1e-3},
		{"slew", slewRate(0, 1e-3, 0.5), 2e-3},
	} {
		if math.Abs(c.got-c.want) > 1e-12*math.Max(1, math.Abs(c.want)) {
			t.Errorf("%s: %g, not %g", c.name, c.got, c.want)
		}
	}
	// Theory 3.5, the table for ε = 20 µs, ρ = 20 ppm, P = 1 s: π_v = 180 µs, and the terms that are left out there are below 0.2 %.
	if x := convergencePrecision(1, 20e-6, 20e-6); x < 180e-6 || x > 180.4e-6 {
		t.Errorf("theory 3.5 says 180 µs, not %g s", x)
	}
}

func TestText(t *testing.T) {
	for _, c := range []struct {
		x    float64
		unit string
		want string
	}{
		{0, "s", "0 s"}, {1.5e-3, "s", "1.5 ms"}, {20e-9, "s", "20 ns"}, {math.NaN(), "s", "-"}, {math.Inf(1), "", "-"}, {3600, "s", "3600 s"},
		{20e-6, "s/s", "20 ppm"}, {1e-14, "s/s", "< 0.001 ppm"}, {1e9, "Hz", "1 GHz"}, {2e4, "Hz", "20 kHz"}, {12.345, "%", "12.3 %"}, {7, "", "7"},
	} {
		if got := Quantity(c.x, c.unit); got != c.want {
			t.Errorf("%g %s: %q, not %q", c.x, c.unit, got, c.want)
		}
	}
	if got := plain("[docs/a.md](../a.md): x; [b](b.md); no link"); got != "docs/a.md: x; b; no link" {
		t.Errorf("links: %q", got)
	}
	for _, broken := range []string{"](", "[a](", "a](b)", ""} {
		if got := plain(broken); got != broken {
			t.Errorf("%q became %q", broken, got)
		}
	}
}

// The pages and pictures of docs/experiments are there for all experiments, and no others; what they link to is there.
func TestPagesAreThere(t *testing.T) {
	want := map[string]bool{"README.md": true}
	for _, e := range All() {
		want[e.Name+".md"], want[e.Name+".svg"] = true, true
	}
	files, err := os.ReadDir(pagesDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !want[f.Name()] {
			t.Errorf("docs/experiments/%s belongs to no experiment", f.Name())
		}
		delete(want, f.Name())
	}
	for name := range want {
		t.Errorf("docs/experiments/%s is missing: make experiments", name)
	}
	index, err := os.ReadFile(filepath.Join(pagesDir, "README.md"))
	if err != nil || string(index) != Index() {
		t.Errorf("docs/experiments/README.md is not current (%v): make experiments", err)
	}
	for _, e := range All() {
		for _, s := range e.Reading {
			_, rest, linked := strings.Cut(s, "](")
			target, _, _ := strings.Cut(rest, ")")
			if linked {
				if _, err := os.Stat(filepath.Join(pagesDir, target)); err != nil {
					t.Errorf("%s: %v", e.Name, err)
				}
			}
		}
		page, err := os.ReadFile(filepath.Join(pagesDir, e.Name+".md"))
		if err != nil {
			continue // told above
		}
		for _, s := range []string{"# " + e.Title, e.Question, wrap(e.Setup), wrap(e.Bound), wrap(e.Lesson), "clockbench course " + e.Name + " --seed 1"} {
			if !strings.Contains(string(page), s) {
				t.Errorf("docs/experiments/%s.md does not say %q: make experiments", e.Name, s)
			}
		}
		if b, err := os.ReadFile(filepath.Join(pagesDir, e.Name+".svg")); err == nil {
			checkPicture(t, b)
		}
	}
}

// The pages are byte for byte what a run gives: those that do not change with each better estimate of the node always, all of them with
// COURSE_ALL=1 (half a minute).
func TestPagesAreCurrent(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("made on amd64; elsewhere the last digits of floating-point numbers may differ")
	}
	stable := map[string]bool{"drift": true, "critical-path": true}
	for _, e := range All() {
		if !stable[e.Name] && os.Getenv("COURSE_ALL") == "" {
			continue
		}
		t.Run(e.Name, func(t *testing.T) {
			r, err := e.Run(t.Context(), Options{Seed: 1})
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range r.Broken {
				t.Errorf("broken: %s", s)
			}
			picture, err := r.Picture()
			if err != nil {
				t.Fatal(err)
			}
			for name, want := range map[string][]byte{e.Name + ".md": []byte(r.Page()), e.Name + ".svg": picture} {
				if got, err := os.ReadFile(filepath.Join(pagesDir, name)); err != nil || !bytes.Equal(got, want) {
					t.Errorf("docs/experiments/%s is not what seed 1 gives (%v): make experiments", name, err)
				}
			}
		})
	}
}
