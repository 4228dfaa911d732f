package report

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/clockd/clockd/internal/lab/result"
	"github.com/clockd/clockd/internal/uplot"
)

//go:embed page.html assets
var files embed.FS

// PageName is the page's name in the directory of a run.
const PageName = "report.html"

// Options are what a page needs beside the results.
type Options struct {
	// Title is the heading; "" takes that of the only run.
	Title string
	// Version is the program's.
	Version string
}

// maxRuns is how many runs one page compares.
const maxRuns = 24

// HTML returns one page about one run, or about several side by side: a whole document that needs no other file.
func HTML(runs []Run, o Options) ([]byte, error) {
	if len(runs) == 0 || len(runs) > maxRuns {
		return nil, fmt.Errorf("report: %d runs: a page shows from 1 to %d", len(runs), maxRuns)
	}
	return render(runs, Charts(runs), o)
}

// Write makes report.html and the pictures of a run in its directory, beside its result.json.
func Write(dir string, r *result.Result, version string) error {
	runs := []Run{{Label: r.Title, Result: r}}
	charts := Charts(runs)
	b, err := render(runs, charts, Options{Version: version})
	if err != nil {
		return err
	}
	figures, err := Figures(charts)
	if err != nil {
		return err
	}
	// Pictures of a run before, which this one has not.
	for _, kind := range []string{"svg", "png"} {
		old, err := filepath.Glob(filepath.Join(dir, "figures", "*."+kind))
		if err != nil {
			continue // the directory's name is a pattern: the old ones stay
		}
		for _, name := range old {
			if !slices.ContainsFunc(figures, func(f Figure) bool { return f.Name == filepath.Base(name) }) {
				_ = os.Remove(name)
			}
		}
	}
	for _, f := range figures {
		if err := result.WriteFile(filepath.Join(dir, "figures", f.Name), f.Data); err != nil {
			return err
		}
	}
	return result.WriteFile(filepath.Join(dir, PageName), b)
}

// view is what the template shows.
type view struct {
	Policy, Title, Lead, Version, Pictures string
	Style                                  template.CSS
	Script                                 template.JS
	Data                                   []Chart
	Several, HasEvents                     bool
	Verdicts                               []verdict
	Notes                                  []string
	Properties                             []table
	Charts                                 []figureView
	Matrices                               []matrix
	Runs                                   []runView
}

type verdict struct{ Class, Sign, Short, Long string }

// figureView is a chart with the table behind it.
type figureView struct {
	ID, Title, Text, Alt, Caption string
	Small                         bool
	Head                          []string
	Rows                          [][]string
	Files                         []string
}

type matrix struct {
	Label  string
	Clocks []string
	Rows   []matrixRow
}

type matrixRow struct {
	Clock string
	Cells []cell
}

type runView struct {
	Label      string
	Facts      []fact
	Clocks     []clockView
	Source     string
	Events     []eventView
	MoreEvents string
}

type fact struct {
	Name, Text string
	Code       bool
}

type clockView struct{ Name, Role, Correct, Program, Address string }

type eventView struct {
	Number                       int
	At, Clock, Kind, Text, Class string
}

func render(runs []Run, charts []Chart, o Options) ([]byte, error) {
	text, err := files.ReadFile("page.html")
	if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	t, err := template.New("page").Parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	style, err := files.ReadFile("assets/page.css")
	if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	own, err := files.ReadFile("assets/page.js")
	if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	script, sheet := uplot.Script()+"\n"+string(own), uplot.Style()+"\n"+string(style)
	v := view{
		Style: template.CSS(sheet), Script: template.JS(script), Pictures: uplot.Credit, Version: o.Version, Title: o.Title, Several: len(runs) > 1, Data: charts,
		Properties: properties(runs), Matrices: matrices(runs),
	}
	v.Policy = fmt.Sprintf("default-src 'none'; script-src '%s'; style-src '%s'; base-uri 'none'; form-action 'none'", hash(script), hash(sheet))
	if charts == nil {
		v.Data = []Chart{}
	}
	for i := range charts {
		v.Charts = append(v.Charts, charts[i].view(runs))
	}
	for _, run := range runs {
		v.Runs = append(v.Runs, viewRun(run))
		v.HasEvents = v.HasEvents || len(run.Result.Events) > 0 || len(run.Result.Violations) > 0
	}
	v.head(runs)
	var b bytes.Buffer
	if err := t.Execute(&b, v); err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	return b.Bytes(), nil
}

// hash is what the page's policy knows its script and its style by.
func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// head fills in the title and the verdicts.
func (v *view) head(runs []Run) {
	if len(runs) > 1 {
		if v.Title == "" {
			v.Title = fmt.Sprintf("%d runs side by side", len(runs))
		}
		for _, run := range runs {
			x := wrongness(run.Result)
			x.Short, x.Long = run.Label, x.Short+" "+x.Long
			v.Verdicts = append(v.Verdicts, x)
		}
		return
	}
	r := runs[0].Result
	if v.Title == "" {
		v.Title = r.Title
	}
	if v.Title == "" {
		v.Title = "A run of clockbench " + string(r.Mode)
	}
	v.Notes = r.Notes
	if r.Scenario != nil {
		v.Lead = r.Scenario.Summary
	}
	v.Verdicts = append(v.Verdicts, wrongness(r), bounds(r), length(r))
}

// wrongness is the first thing to know: was any interval wrong?
func wrongness(r *result.Result) verdict {
	k := &r.Checks
	switch {
	case k.Checked == nil:
		return verdict{"", "?", "No interval could be checked.", "There is no truth to compare with: every figure has an uncertainty."}
	case *k.Wrong == 0 && *k.Checked == 0:
		return verdict{"warn", "?", "No interval was sound.", "There was nothing to hold against the truth."}
	case *k.Wrong == 0:
		return verdict{"good", "✓", "No interval was wrong.", fmt.Sprintf("%s claims were held against what the clocks really read.", thousands(*k.Checked))}
	}
	x := verdict{"bad", "✗", fmt.Sprintf("%s of %s intervals were wrong.", thousands(*k.Wrong), thousands(*k.Checked)), "The worst missed the truth by " + number(k.Worst, "s") + "."}
	if r.Scenario != nil && r.Scenario.AssumptionsHold != nil && !*r.Scenario.AssumptionsHold {
		x.Class, x.Long = "warn", x.Long+" The scenario breaks the assumptions on purpose."
	}
	return x
}

// bounds counts the properties that are under their bounds.
func bounds(r *result.Result) verdict {
	under, over, missing := 0, 0, 0
	for i := range r.Properties {
		switch p := &r.Properties[i]; judge(p) {
		case 1:
			under++
		case -1:
			over++
		default:
			if _, ok := p.Value.Value(); !ok {
				missing++
			}
		}
	}
	long := fmt.Sprintf("%d figures in all", len(r.Properties))
	if missing > 0 {
		long += fmt.Sprintf(", %d of them could not be measured (the table says why)", missing)
	}
	switch {
	case over > 0:
		return verdict{"bad", "✗", fmt.Sprintf("%d of %d bounds exceeded.", over, over+under), long + "."}
	case under > 0:
		short := map[int]string{1: "The bound is kept.", 2: "Both bounds are kept."}[under]
		if short == "" {
			short = fmt.Sprintf("All %d bounds are kept.", under)
		}
		return verdict{"good", "✓", short, long + "."}
	}
	return verdict{"", "–", "Nothing to hold against a bound.", long + "."}
}

func length(r *result.Result) verdict {
	x := verdict{"", "◷", duration(r.Length) + ", " + modeText(r.Mode), "Truth: " + string(r.Truth) + "."}
	if r.Seed != nil {
		x.Long = fmt.Sprintf("Seed %d. ", *r.Seed) + x.Long
	}
	if !r.Complete {
		x.Class, x.Sign, x.Long = "warn", "!", "Interrupted: what was measured until then. "+x.Long
	}
	return x
}

func modeText(m result.Mode) string {
	switch m {
	case result.ModeSim:
		return "simulated"
	case result.ModeLive:
		return "real processes"
	case result.ModeObserve:
		return "observed"
	case result.ModeCompare:
		return "compared"
	case result.ModeCourse:
		return "an experiment of the course"
	}
	return string(m)
}

// thousands writes a count with thin spaces.
func thousands(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "\u202f" + s[i:]
	}
	return s
}

// maxEvents is how many events a page lists.
const maxEvents = 500

func viewRun(run Run) runView {
	r := run.Result
	v := runView{Label: run.Label}
	add := func(name, text string, code bool) {
		if text != "" {
			v.Facts = append(v.Facts, fact{name, text, code})
		}
	}
	add("Command", strings.TrimSpace("clockbench "+strings.Join(quoted(r.Command), " ")), true)
	add("To repeat it", "clockbench rerun result.json", true)
	if r.Scenario != nil {
		add("Scenario", r.Scenario.Name, false)
		v.Source = deref(r.Scenario.Source)
	}
	if r.Seed != nil {
		add("Seed", strconv.FormatUint(*r.Seed, 10), false)
	}
	add("Version of clockd", r.Version, false)
	add("Began", deref(r.Began), false)
	if m := r.Machine; m != nil {
		add("Machine", fmt.Sprintf("%s, %d CPUs, %s, %s", m.CPU, m.CPUs, m.Arch, m.Kernel), false)
		add("Counter", m.Counter, false)
	} else if r.Mode == result.ModeSim {
		add("Machine", "any: a simulated run gives the same bytes on every machine of one architecture", false)
	}
	for i := range r.Clocks {
		k := &r.Clocks[i]
		correct := "not known"
		if k.Correct != nil {
			correct = map[bool]string{true: "yes", false: "no"}[*k.Correct]
		}
		v.Clocks = append(v.Clocks, clockView{k.Name, string(k.Role), correct, k.Program, k.Address})
	}
	for i := range r.Events {
		if i == maxEvents {
			v.MoreEvents = fmt.Sprintf("%d more events are in result.json.", len(r.Events)-maxEvents)
			break
		}
		e := &r.Events[i]
		v.Events = append(v.Events, eventView{i + 1, moment(e.At), e.Clock, string(e.Kind), describe(e), string(e.Kind)})
	}
	return v
}

func describe(e *result.Event) string {
	var all []string
	for _, s := range []string{e.Status, e.Reason, e.Text} {
		if s != "" {
			all = append(all, s)
		}
	}
	return strings.Join(all, ": ")
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// quoted puts words of a command line that need it in quotes.
func quoted(words []string) []string {
	var all []string
	for _, w := range words {
		if w == "" || strings.ContainsAny(w, " \t\n\"'\\$`&|;<>()*?[]#~!{}") {
			w = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
		all = append(all, w)
	}
	return all
}

// view makes the table behind a chart: all points where there are few, the extremes of each curve where there are many.
func (c *Chart) view(runs []Run) figureView {
	v := figureView{ID: c.ID, Title: c.Title, Text: c.Text, Small: c.Small}
	names := make([]string, 0, len(c.Curves))
	points := 0
	for i := range c.Curves {
		names = append(names, c.Curves[i].Name)
		points += len(c.Curves[i].X)
	}
	v.Alt = fmt.Sprintf("Picture: %s. Curves: %s. The table after it has the figures.", c.Title, strings.Join(names, ", "))
	x := func(x float64) string {
		if c.Time {
			return moment(result.Of(x))
		}
		return format(x, c.X.Unit)
	}
	if points <= 400 && !c.Time {
		v.Caption, v.Head = "All points.", []string{"Curve", c.X.Label, c.Y.Label}
		for i := range c.Curves {
			k := &c.Curves[i]
			for j := range k.X {
				v.Rows = append(v.Rows, []string{k.Name, x(k.X[j]), number(result.Of(k.Y[j]), c.Y.Unit)})
			}
		}
		return v
	}
	v.Caption, v.Head = "The extremes of each curve.", []string{"Curve", "smallest", "at", "greatest", "at", "last"}
	for i := range c.Curves {
		k := &c.Curves[i]
		low, high, last := -1, -1, -1
		for j, y := range k.Y {
			if math.IsNaN(y) {
				continue
			}
			if low < 0 || y < k.Y[low] {
				low = j
			}
			if high < 0 || y > k.Y[high] {
				high = j
			}
			last = j
		}
		if low < 0 {
			continue
		}
		v.Rows = append(v.Rows, []string{
			k.Name, format(k.Y[low], c.Y.Unit), x(k.X[low]), format(k.Y[high], c.Y.Unit), x(k.X[high]), format(k.Y[last], c.Y.Unit),
		})
	}
	if len(runs) == 1 && c.Time {
		v.Files = seriesFiles(runs[0].Result, c)
	}
	return v
}

// seriesFiles are the CSV files with the whole series of a chart over time.
func seriesFiles(r *result.Result, c *Chart) []string {
	var all []string
	seen := map[string]bool{}
	for i := range r.Series {
		s := &r.Series[i]
		if s.File == "" || seen[s.File] || len(all) == maxCurves {
			continue
		}
		for j := range c.Curves {
			if k := &c.Curves[j]; len(k.X) == len(s.Times) && len(k.X) > 0 && &k.X[0] == &s.Times[0] {
				seen[s.File] = true
				all = append(all, s.File)
				break
			}
		}
	}
	return all
}
