package influxdb

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/lab/result"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/metrics/influx"
)

// leave makes a directory as a run leaves it behind.
func leave(t *testing.T) (string, *result.Result) {
	t.Helper()
	dir := t.TempDir()
	d, err := result.Prepare(dir, result.PrepareOptions{})
	if err != nil {
		t.Fatal(err)
	}
	host, err := d.Track("h1", "h1", result.Field{Quantity: result.TimeError, Name: "time error", Unit: "s"}, result.Field{Quantity: result.FrequencyError, Name: "rate", Unit: "ppm"},
		result.Field{Quantity: result.Delay, Name: "delay", Unit: "s", Peer: "m, 1"}, result.Field{Quantity: result.Delay, Name: "delay", Unit: "s", Peer: "m2"})
	if err != nil {
		t.Fatal(err)
	}
	group, err := d.Track("group", "", result.Field{Quantity: result.Precision, Name: "precision", Unit: "s"})
	if err != nil {
		t.Fatal(err)
	}
	none := math.NaN()
	for i := range 5_000 {
		host.Add(float64(i)*0.01, 1e-6*float64(i), 0.5, none, 2e-3)
	}
	host.Add(49.99, 7, none, none, none) // the other side of a step
	host.Add(300, none, none, none, none)
	group.Add(1.000000001, 3e-6)
	seed, began := uint64(7), "2026-11-27T06:00:00.000000123Z"
	used := 3
	r := &result.Result{
		Format: result.Format, FormatVersion: result.FormatVersion, Version: "1", Mode: result.ModeLive, Title: "t", Truth: result.TruthExact, Began: &began, Seed: &seed,
		Length: result.Of(300), Complete: true, Scenario: &result.Scenario{Name: "lan"},
		Clocks:     []result.Clock{{Name: "h1", Role: result.RoleHost}},
		Properties: []result.Property{{Symbol: "π_v", Name: "precision", Statistic: "max", Value: result.Of(1e-6), Bound: result.Of(2e-6), Unit: "s", Known: result.KnownExact}, {Name: "steadiness", Statistic: "max", Unit: "s", Known: result.KnownNot, Reason: "no messages"}},
		Events:     []result.Event{{At: result.Of(5), Clock: "h1", Kind: result.EventFault, Text: "killed"}, {At: result.Of(5), Clock: "h1", Kind: result.EventFault, Text: "restarted"}},
		Rounds:     []result.Round{{Number: 4, At: result.Of(2), Convergence: result.Of(1e-7), Used: &used}},
	}
	if err := d.Write(r); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, r
}

// A real InfluxDB has every row of every file, at its time and under its tags, and no more of them when the same is written again.
func TestARunIsInInfluxDB(t *testing.T) {
	testkit.NoLeaks(t)
	i := testkit.StartInfluxd(t, testkit.InfluxdOptions{})
	p, err := influx.NewPusher(influx.Target{URL: i.URL(), Bucket: testkit.InfluxdDatabase}, func() float64 { return 0 })
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	dir, r := leave(t)
	for range 2 {
		run, err := Begin(t.Context(), p, "a run", "here", "1", []string{"live", "lan"}, time.Unix(1_700_000_000, 0))
		if err != nil {
			t.Fatal(err)
		}
		if err := run.Write(t.Context(), dir, r); err != nil {
			t.Fatal(err)
		}
	}
	if n := p.Written(); n < 2*10_000 {
		t.Errorf("%d points were written", n)
	}
	for field, want := range map[string]int64{"time_error_s": 5_001, "frequency_error_ppm": 5_000, "delay_s": 5_000, "precision_s": 1} {
		if n := i.Count(MeasurementSeries, field); n != want {
			t.Errorf("%s: %d points, want %d", field, n, want)
		}
	}
	for measurement, want := range map[string]int64{MeasurementEvent: 2, MeasurementRound: 1, MeasurementProperty: 2, MeasurementRun: 1} {
		field := map[string]string{MeasurementEvent: "text", MeasurementRound: "number", MeasurementProperty: "known", MeasurementRun: "command"}[measurement]
		if n := i.Count(measurement, field); n != want {
			t.Errorf("%s: %d points, want %d", measurement, n, want)
		}
	}
	base := time.Date(2026, 11, 27, 6, 0, 0, 123, time.UTC).UnixNano()
	row := i.Query("SELECT * FROM clockbench_series WHERE track = 'group'")[0].Rows[0]
	for k, want := range map[string]any{"run": "a run", "host": "here", "mode": "live", "scenario": "lan", "seed": "7", "time": json.Number(fmt.Sprint(base + 1_000_000_001)), "clock": nil} {
		if row[k] != want {
			t.Errorf("%s is %v, want %v", k, row[k], want)
		}
	}
	steps := i.Query(fmt.Sprintf("SELECT time_error_s FROM clockbench_series WHERE clock = 'h1' AND time >= %d AND time < %d", base+49_990_000_000, base+49_991_000_000))
	if len(steps) != 1 || len(steps[0].Rows) != 2 || steps[0].Rows[1]["time_error_s"] != json.Number("7") {
		t.Errorf("the two sides of a step: %+v", steps)
	}
	if v := i.Query("SELECT value, bound, reason FROM clockbench_property WHERE property = 'steadiness'")[0].Rows[0]; v["value"] != nil || v["reason"] != "no messages" {
		t.Errorf("%v", v)
	}
	// Files that went away or are not what they were are told, and cost nothing else.
	if err := os.WriteFile(filepath.Join(dir, "series", "group.csv"), []byte("t_s,precision_s\nnow,1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	run, err := Begin(t.Context(), p, "another", "here", "1", nil, time.Unix(1, 0))
	if err != nil {
		t.Fatal(err)
	}
	if err := run.Write(t.Context(), dir, r); err == nil || !strings.Contains(err.Error(), "series/group.csv were not all written") {
		t.Error(err)
	}
	if n := len(i.Query("SELECT time_error_s FROM clockbench_series WHERE run = 'another'")[0].Rows); n != 5_001 {
		t.Errorf("%d points", n)
	}
}

// A server that takes nothing is told before any work is done.
func TestNobodyIsThere(t *testing.T) {
	testkit.NoLeaks(t)
	i := testkit.FreeUDPPort(t)
	p, err := influx.NewPusher(influx.Target{URL: fmt.Sprintf("http://127.0.0.1:%d", i), Bucket: "b"}, func() float64 { return 0 })
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := Begin(ctx, p, "r", "h", "1", nil, time.Now()); err == nil || !strings.Contains(err.Error(), "takes no points") {
		t.Error(err)
	}
}
