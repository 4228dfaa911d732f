package influxdb

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/clockd/clockd/internal/lab/result"
	"github.com/clockd/clockd/metrics/influx"
)

// The measurements of clockbench.
const (
	MeasurementRun      = "clockbench_run"
	MeasurementSeries   = "clockbench_series"
	MeasurementEvent    = "clockbench_event"
	MeasurementRound    = "clockbench_round"
	MeasurementProperty = "clockbench_property"
)

// Run is one call of clockbench, which may run several scenarios with several seeds.
type Run struct {
	pusher *influx.Pusher
	name   string
	host   string
	began  time.Time
}

// Begin says to InfluxDB that a run begins: so a server that takes nothing is known before any work is done. name is the tag run, host
// the machine's, version and command are the program's.
func Begin(ctx context.Context, p *influx.Pusher, name, host, version string, command []string, began time.Time) (*Run, error) {
	r := &Run{pusher: p, name: name, host: host, began: began}
	var l influx.Lines
	l.Start(MeasurementRun)
	l.Tag("host", host)
	l.Tag("run", name)
	l.Text("version", version)
	l.Text("command", strings.Join(command, " "))
	l.End(began.UnixNano())
	return r, p.Push(ctx, &l)
}

// writer writes one result.
type writer struct {
	*Run
	ctx      context.Context
	result   *result.Result
	scenario string
	seed     string
	base     int64
	lines    influx.Lines
}

// Write writes a result whose files are in a directory.
func (r *Run) Write(ctx context.Context, dir string, x *result.Result) error {
	w := &writer{Run: r, ctx: ctx, result: x, base: r.began.UnixNano()}
	if x.Began != nil {
		if t, err := time.Parse(time.RFC3339Nano, *x.Began); err == nil {
			w.base = t.UnixNano()
		}
	}
	if x.Scenario != nil {
		w.scenario = x.Scenario.Name
	}
	if x.Seed != nil {
		w.seed = strconv.FormatUint(*x.Seed, 10)
	}
	w.properties()
	w.events()
	w.rounds()
	err := w.series(dir)
	if e := w.pusher.Push(ctx, &w.lines); err == nil {
		err = e
	}
	return err
}

// tags adds the run's, and others whose names lie between them in the alphabet.
func (w *writer) start(measurement string, others map[string]string) {
	tags := map[string]string{"host": w.host, "mode": string(w.result.Mode), "run": w.name, "scenario": w.scenario, "seed": w.seed}
	names := []string{"host", "mode", "run", "scenario", "seed"}
	for k, v := range others {
		tags[k] = v
		names = append(names, k)
	}
	slices.Sort(names)
	w.lines.Start(measurement)
	for _, k := range names {
		w.lines.Tag(k, tags[k])
	}
}

// at is a point's time. Times in a result are seconds since it began.
func (w *writer) at(seconds float64) int64 { return w.base + int64(math.Round(seconds*1e9)) }

func (w *writer) properties() {
	for i := range w.result.Properties {
		p := &w.result.Properties[i]
		w.start(MeasurementProperty, map[string]string{"property": p.Name, "statistic": p.Statistic, "subject": p.Subject, "symbol": p.Symbol, "unit": p.Unit})
		w.lines.Float("value", p.Value.Float())
		w.lines.Float("uncertainty", p.Uncertainty.Float())
		w.lines.Float("bound", p.Bound.Float())
		w.lines.Text("known", string(p.Known))
		w.lines.Text("reason", p.Reason)
		w.lines.End(w.base + int64(i)) // two rows may differ in nothing that is a tag
	}
}

func (w *writer) events() {
	last := int64(math.MinInt64)
	for i := range w.result.Events {
		e := &w.result.Events[i]
		w.start(MeasurementEvent, map[string]string{"clock": e.Clock, "kind": string(e.Kind)})
		w.lines.Text("status", e.Status)
		w.lines.Text("reason", e.Reason)
		w.lines.Text("text", e.Text)
		w.lines.Bool("event", true)
		last = max(w.at(e.At.Float()), last+1)
		w.lines.End(last)
	}
}

func (w *writer) rounds() {
	for i := range w.result.Rounds {
		r := &w.result.Rounds[i]
		w.start(MeasurementRound, map[string]string{"clock": r.Clock})
		w.lines.Uint("number", r.Number)
		w.lines.Float("delta_v_s", r.Convergence.Float())
		w.lines.Float("spread_s", r.Spread.Float())
		w.lines.Float("epsilon_s", r.Epsilon.Float())
		w.lines.Float("bound_s", r.Bound.Float())
		if r.Used != nil {
			w.lines.Int("used", int64(*r.Used))
		}
		w.lines.End(w.at(r.At.Float()))
	}
}

// line is the points that a row of a file gives: one for each peer.
type line struct {
	tags   map[string]string
	fields []field
}

type field struct {
	name   string
	column int
}

// series writes the CSV files.
func (w *writer) series(dir string) error {
	var files []string
	for i := range w.result.Series {
		if f := w.result.Series[i].File; f != "" && !slices.Contains(files, f) {
			files = append(files, f)
		}
	}
	var errs []error
	for _, f := range files {
		if err := w.file(filepath.Join(dir, filepath.FromSlash(f)), f); err != nil {
			errs = append(errs, fmt.Errorf("the series %s were not all written to InfluxDB: %w", f, err))
			if w.ctx.Err() != nil || !errors.Is(err, errFile) {
				break
			}
		}
	}
	return errors.Join(errs...)
}

// errFile is what is wrong with a file, and not with the server.
var errFile = errors.New("the file cannot be read")

// layout says which columns of a file belong to which point.
func (w *writer) layout(name string, header []string) (list []*line) {
	byPeer := map[string]*line{}
	for i := range w.result.Series {
		s := &w.result.Series[i]
		k := slices.Index(header, s.Column)
		if s.File != name || k < 1 {
			continue
		}
		x := byPeer[s.Peer]
		if x == nil {
			base := strings.TrimSuffix(filepath.Base(name), ".csv")
			x = &line{tags: map[string]string{"clock": s.Clock, "peer": s.Peer, "track": base}}
			byPeer[s.Peer] = x
			list = append(list, x)
		}
		unit := s.Unit
		if unit == "1" || unit == "" {
			unit = "ratio"
		}
		f := field{string(s.Quantity) + "_" + unit, k}
		unique := f.name
		for n := 2; slices.ContainsFunc(x.fields, func(o field) bool { return o.name == unique }); n++ {
			unique = f.name + "_" + strconv.Itoa(n)
		}
		f.name = unique
		x.fields = append(x.fields, f)
	}
	return list
}

func (w *writer) file(path, name string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("%w: %w", errFile, err)
	}
	defer func() { _ = f.Close() }()
	rows := csv.NewReader(f)
	rows.ReuseRecord = true
	header, err := rows.Read()
	if err != nil {
		return fmt.Errorf("%w: %w", errFile, err)
	}
	lines := w.layout(name, slices.Clone(header))
	last := int64(math.MinInt64)
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errFile, err)
		}
		t, err := strconv.ParseFloat(row[0], 64)
		if err != nil {
			return fmt.Errorf("%w: %w", errFile, err)
		}
		// Two rows of one time are two sides of a step: both are wanted.
		last = max(w.at(t), last+1)
		for _, x := range lines {
			if err := w.row(x, row, last); err != nil {
				return err
			}
		}
	}
}

// row writes one point, if a figure of it is known.
func (w *writer) row(x *line, row []string, at int64) error {
	if !slices.ContainsFunc(x.fields, func(f field) bool { return row[f.column] != "" }) {
		return nil
	}
	w.start(MeasurementSeries, x.tags)
	for _, f := range x.fields {
		if v, err := strconv.ParseFloat(row[f.column], 64); err == nil {
			w.lines.Float(f.name, v)
		}
	}
	w.lines.End(at)
	if w.lines.Full() {
		return w.pusher.Push(w.ctx, &w.lines)
	}
	return nil
}
