package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"image/png"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/clockd/clockd/internal/lab/result"
)

func html(t testing.TB, runs ...Run) string {
	t.Helper()
	b, err := HTML(runs, Options{Version: "1.2.3"})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestEverythingIsOnThePage: each part of a result has its place.
func TestEverythingIsOnThePage(t *testing.T) {
	r := group(t, 1)
	page := html(t, Run{"run", r})
	unescape := strings.NewReplacer("&#43;", "+", "&#39;", "'")
	for _, want := range []string{
		"1 of 123\u202f456 intervals were wrong", "<var>π<sub>v</sub></var>", "4ε + Γ", "no message was broadcast in this run", "1 of 7 bounds exceeded",
		`data-chart="time-error"`, `data-chart="interval-1"`, `data-chart="precision"`, `data-chart="adev"`, `data-chart="mdev"`, `data-chart="tdev"`,
		`data-chart="mtie"`, `data-chart="histogram"`, `data-chart="rounds"`, `data-chart="plot-1-1"`, "cut off from the others", "clockbench rerun result.json",
		"clockbench live --hosts 4 --for 300s", "Linux 6.18", "Seed 1", "The scenario’s file", "10.0.0.2:123", "series/all.csv", "MIT licence", "Permission is hereby granted, free of charge",
	} {
		if !strings.Contains(unescape.Replace(page), want) {
			t.Errorf("%q is not on the page", want)
		}
	}
	if again := html(t, Run{"run", r}); again != page {
		t.Error("the same result makes another page")
	}
}

// TestNothingFromElsewhere: the page has no address but those of its own files.
func TestNothingFromElsewhere(t *testing.T) {
	page := html(t, Run{"run", group(t, 2)})
	for _, address := range regexp.MustCompile(`(?:src|href|action|url)\s*[=(]\s*["']?([^"'\s>)]+)`).FindAllStringSubmatch(page, -1) {
		if !strings.HasPrefix(address[1], "#") && !strings.HasPrefix(address[1], "series/") {
			t.Errorf("the page refers to %q", address[1])
		}
	}
	if !strings.Contains(page, `http-equiv="Content-Security-Policy" content="default-src &#39;none&#39;; script-src &#39;sha256-`) {
		t.Error("there is no policy")
	}
	if strings.Contains(page, "unsafe-inline") {
		t.Error("the policy allows what it did not bring")
	}
}

// hostile are names that would like to be more than names.
var hostile = []string{
	`<script>window.hacked=1</script>`, `"><img src=x onerror="window.hacked=1">`, `</script><script>window.hacked=1</script>`, `'-window.hacked++-'`,
	"${window.hacked=1}{{.Title}}", `javascript:window.hacked=1`, `</title><svg onload=window.hacked=1>`, "--></style><script>window.hacked=1</script>",
}

// TestNamesStayNames: markup in a result's texts reaches neither page nor pictures as markup. (The browser test runs the same page.)
func TestNamesStayNames(t *testing.T) {
	r := group(t, 3, hostile...)
	r.Title, r.Notes, r.Scenario.Summary = hostile[0], hostile, hostile[6]
	page := html(t, Run{hostile[2], r})
	for _, never := range []string{"<script>window", "<img", "<svg onload", `onerror="`, "</script><script>w"} {
		if strings.Contains(page, never) {
			t.Errorf("%q is in the page", never)
		}
	}
	figures, err := Figures(Charts([]Run{{"run", r}}))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range figures {
		if strings.HasSuffix(f.Name, ".svg") {
			checkSVG(t, f)
		}
	}
}

// checkSVG reads a picture as XML: it is well formed and has no script.
func checkSVG(t *testing.T, f Figure) {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(f.Data))
	elements := 0
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
		if e, ok := token.(xml.StartElement); ok {
			elements++
			if e.Name.Local == "script" || e.Name.Local == "img" {
				t.Errorf("%s has an element %s", f.Name, e.Name.Local)
			}
		}
	}
	if elements < 10 {
		t.Errorf("%s has %d elements", f.Name, elements)
	}
}

// TestFigures: every chart is drawn twice, and something is on it.
func TestFigures(t *testing.T) {
	charts := Charts([]Run{{"run", group(t, 4)}})
	figures, err := Figures(charts)
	if err != nil {
		t.Fatal(err)
	}
	if len(figures) != 2*len(charts) || len(charts) < 12 {
		t.Fatalf("%d charts, %d figures", len(charts), len(figures))
	}
	for _, f := range figures {
		if dir := os.Getenv("CLOCKD_ARTIFACTS"); dir != "" {
			if err := result.WriteFile(filepath.Join(dir, "figures", f.Name), f.Data); err != nil {
				t.Fatal(err)
			}
		}
		if strings.HasSuffix(f.Name, ".svg") {
			checkSVG(t, f)
			continue
		}
		picture, err := png.Decode(bytes.NewReader(f.Data))
		if err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
		colours := map[[3]uint32]bool{}
		for x := 0; x < picture.Bounds().Dx(); x += 3 {
			for y := 0; y < picture.Bounds().Dy(); y += 3 {
				r, g, b, _ := picture.At(x, y).RGBA()
				colours[[3]uint32{r, g, b}] = true
			}
		}
		if len(colours) < 10 {
			t.Errorf("%s has %d colours", f.Name, len(colours))
		}
	}
}

// TestAWrongBoundIsSeen: the one wrong interval among thousands is in the curve, and marked.
func TestAWrongBoundIsSeen(t *testing.T) {
	for _, c := range Charts([]Run{{"run", group(t, 5)}}) {
		if c.ID != "interval-1" {
			continue
		}
		wrong := false
		for i, y := range c.Curves[c.Bands[0].Low].Y {
			wrong = wrong || y > 0 && math.Abs(c.Curves[c.Bands[0].Low].X[i]-216.05) < 1e-9
		}
		marked := false
		for _, m := range c.Marks {
			marked = marked || m.Kind == "violation" && m.At == 216.05
		}
		if !wrong || !marked {
			t.Errorf("in the curve: %v, marked: %v", wrong, marked)
		}
		return
	}
	t.Error("there is no picture of the first clock")
}

// TestSideBySide: two runs have a column each, and their curves share pictures.
func TestSideBySide(t *testing.T) {
	a, b := group(t, 6), group(t, 7)
	charts := Charts([]Run{{"before", a}, {"after", b}})
	for _, c := range charts {
		names := ""
		for _, k := range c.Curves {
			names += k.Name + "\n"
		}
		if !strings.HasPrefix(c.ID, "plot") && (!strings.Contains(names, "before · ") || !strings.Contains(names, "after · ")) {
			t.Errorf("%s has not both runs:\n%s", c.ID, names)
		}
	}
	page := html(t, Run{"before", a}, Run{"after", b})
	if !strings.Contains(page, `<th scope="col" class="number">before</th>`) || !strings.Contains(page, "2 runs side by side") {
		t.Error("the table has no column for each run")
	}
}

// TestSmallResults: nothing is needed to make a page: no series, no property, one sample, all the same value, nothing but gaps.
func TestSmallResults(t *testing.T) {
	nothing := &result.Result{Mode: result.ModeObserve, Truth: result.TruthEstimated}
	one := &result.Result{
		Mode: result.ModeObserve, Truth: result.TruthEstimated, Clocks: []result.Clock{{Name: "a", Role: result.RoleServer}},
		Series: []result.Series{
			{Quantity: result.TimeError, Name: "x", Clock: "a", Unit: "s", Times: result.Column{5}, Values: result.Column{1e-3}},
			{Quantity: result.Delay, Name: "y", Clock: "a", Unit: "s", Times: result.Column{1, 2}, Values: result.Column{0, 0}},
			{Quantity: result.FrequencyError, Name: "z", Clock: "a", Unit: "ppm", Times: result.Column{1, 2}, Values: result.Column{math.NaN(), math.NaN()}},
			{Quantity: result.Uncertainty, Name: "u", Clock: "a", Unit: "s", Times: result.Column{1, 2}, Values: result.Column{1e-300, 1e300}},
		},
		Stability: []result.Curve{{Statistic: result.TDEV, Clock: "a", Unit: "s", Tau: result.Column{1}, Values: result.Column{0}, Counts: []uint64{1}}},
		Rounds:    []result.Round{{Number: 1}},
	}
	for _, r := range []*result.Result{nothing, one} {
		if _, err := result.Encode(r); err != nil {
			t.Fatal(err)
		}
		page := html(t, Run{"run", r})
		if !strings.Contains(page, "No interval could be checked") {
			t.Error("nothing is said of the bounds")
		}
		if _, err := Figures(Charts([]Run{{"run", r}})); err != nil {
			t.Error(err)
		}
	}
	if _, err := HTML(nil, Options{}); err == nil {
		t.Error("a page of nothing")
	}
}

func TestJudge(t *testing.T) {
	p := func(value, bound, uncertainty float64) *result.Property {
		return &result.Property{Value: result.Of(value), Bound: result.Of(bound), Uncertainty: result.Of(uncertainty)}
	}
	missing := math.NaN()
	for _, c := range []struct {
		p    *result.Property
		want int
	}{
		{p(1, 2, missing), 1}, {p(2, 2, missing), 1}, {p(3, 2, missing), -1}, {p(missing, 2, missing), 0}, {p(1, missing, missing), 0}, {p(3, 2, 1), 0}, {p(3, 2, 0.5), -1}, {p(1.9, 2, 0.5), 0}, {p(1.2, 2, 0.5), 1},
	} {
		if got := judge(c.p); got != c.want {
			t.Errorf("%+v is judged %d, want %d", c.p, got, c.want)
		}
	}
}

func TestFormat(t *testing.T) {
	for _, c := range []struct {
		x    float64
		unit string
		want string
	}{
		{1.234e-6, "s", "1.23 µs"}, {0, "s", "0 s"}, {-2e-3, "s", "-2 ms"}, {5e-15, "s", "5.00e-15 s"}, {4000, "s", "4000 s"}, {2.1e9, "Hz", "2.1 GHz"},
		{12.34, "ppm", "12.3 ppm"}, {7, "count", "7"}, {0.5, "1", "0.5"}, {99.96, "%", "100 %"}, {1e-9, "1", "1.00e-09"}, {9.9951e-4, "s", "1 ms"},
	} {
		if got := strings.ReplaceAll(format(c.x, c.unit), "\u00a0", " "); got != c.want {
			t.Errorf("%g %s is %q, want %q", c.x, c.unit, got, c.want)
		}
	}
}

// TestTicks: few, round, in order, inside.
func TestTicks(t *testing.T) {
	for _, k := range []ticker{
		{of: Axis{Unit: "s", Scale: Linear}}, {of: Axis{Unit: "s", Scale: Log}}, {of: Axis{Unit: "s", Scale: SymmetricLog, Threshold: 1e-6}},
		{of: Axis{Unit: "s", Scale: Linear}, time: true},
	} {
		for _, r := range [][2]float64{{1e-9, 1}, {1e-6, 2e-6}, {1, 1e9}, {3, 1000}, {1e-12, 1e12}} {
			low, high := r[0], r[1]
			if k.of.Scale == SymmetricLog {
				low = -high
			}
			labels, last := 0, math.Inf(-1)
			for _, tick := range k.Ticks(low, high) {
				if tick.Label == "" {
					continue
				}
				labels++
				if near := 1e-9 * (high - low); tick.Value < low-near || tick.Value > high+near || tick.Value <= last {
					t.Errorf("%+v from %g to %g: tick %g", k, low, high, tick.Value)
				}
				last = tick.Value
			}
			if labels < 2 || labels > 15 {
				t.Errorf("%+v from %g to %g: %d labels", k, low, high, labels)
			}
		}
	}
}

// TestWrite: the page and the pictures of a run are beside its result.
func TestWrite(t *testing.T) {
	dir := t.TempDir()
	if err := Write(dir, group(t, 8), "1.2.3"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{PageName, "figures/precision.svg", "figures/precision.png", "figures/rounds.svg"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() < 1000 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := Write(filepath.Join(dir, PageName), group(t, 8), ""); err == nil {
		t.Error("a file is taken for a directory")
	}
}
