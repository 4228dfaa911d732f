package main

import (
	"fmt"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// experiment is for a run of clockbench that was written to InfluxDB, and for daemons that write there.
func experiment() *dashboard.DashboardBuilder {
	b := newBoard("clockd-experiment", "clockd: experiment",
		"Series that clockbench --influx has written to InfluxDB, and the exchanges of daemons with [influx]. A simulation begins when the command was given and may end in the future: choose its time at the upper right.")
	b.Time("now-1h", "now+1h")
	b.WithVariable(dashboard.NewDatasourceVariableBuilder("datasource").Label("InfluxDB (Flux)").Type("influxdb"))
	b.WithVariable(dashboard.NewTextBoxVariableBuilder("bucket").Label("Bucket").DefaultValue(dashboard.StringOrMap{String: cog.ToPtr("clockd")}))
	b.influxVariable("run", "Run", tagValues("run", benchSeries))
	b.influxVariable("clock", "Clock", tagValues("clock", benchSeries))
	b.influxVariable("host", "Daemon", tagValues("host", "clockd_clock"))
	b.row("The run, measured against true time")
	experimentRun(b)
	b.row("Daemons that write to InfluxDB")
	experimentDaemons(b)
	return b.DashboardBuilder
}

// The measurements of clockbench (docs/influxdb.md).
const (
	benchSeries   = "clockbench_series"
	benchRound    = "clockbench_round"
	benchEvent    = "clockbench_event"
	benchProperty = "clockbench_property"
)

// flux is one question to InfluxDB.
type flux struct {
	measurement, where, fn string
	// field is its name; in a pivot several between bars.
	field string
	rows  []string
}

// text writes it. The extremes are what matters: a window has its largest value unless fn says otherwise.
func (f flux) text() string {
	fn := f.fn
	if fn == "" {
		fn = "max"
	}
	lines := []string{
		`from(bucket: "${bucket}")`,
		`  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)`,
		fmt.Sprintf(`  |> filter(fn: (r) => r._measurement == %q and (r._field == "%s"))`, f.measurement, strings.ReplaceAll(f.field, "|", `" or r._field == "`)),
	}
	if f.where != "" {
		lines = append(lines, `  |> filter(fn: (r) => `+f.where+`)`)
	}
	if fn != "none" {
		lines = append(lines, fmt.Sprintf(`  |> aggregateWindow(every: v.windowPeriod, fn: %s, createEmpty: false)`, fn))
	}
	if len(f.rows) > 0 {
		keys := `"` + strings.Join(f.rows, `", "`) + `"`
		lines = append(lines, `  |> group()`, fmt.Sprintf(`  |> pivot(rowKey: [%s], columnKey: ["_field"], valueColumn: "_value")`, keys), `  |> sort(columns: ["_time"])`)
	}
	return strings.Join(lines, "\n")
}

func tagValues(tag, measurement string) string {
	return strings.Join([]string{
		`from(bucket: "${bucket}")`, `  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)`, fmt.Sprintf(`  |> filter(fn: (r) => r._measurement == %q)`, measurement),
		fmt.Sprintf(`  |> keep(columns: [%q])`, tag), `  |> group()`, fmt.Sprintf(`  |> distinct(column: %q)`, tag),
	}, "\n")
}

// fromInflux is the data source that the reader has chosen.
func fromInflux() common.DataSourceRef {
	return common.DataSourceRef{Type: cog.ToPtr("influxdb"), Uid: cog.ToPtr("${datasource}")}
}

func (b *board) influxVariable(name, label, question string) {
	b.WithVariable(dashboard.NewQueryVariableBuilder(name).Label(label).Datasource(fromInflux()).
		Query(dashboard.StringOrMap{Map: map[string]any{"query": question, "refId": "variable"}}).Definition(question).Multi(true).IncludeAll(true).AllValue(".*").
		Refresh(dashboard.VariableRefreshOnTimeRangeChanged).Sort(dashboard.VariableSortNaturalAsc).
		Current(dashboard.VariableOption{
			Text: dashboard.StringOrArrayOfString{String: cog.ToPtr("All")}, Value: dashboard.StringOrArrayOfString{String: cog.ToPtr("$__all")},
		}))
}

// fluxTarget is a query in a panel; the SDK has no type for InfluxDB's.
type fluxTarget struct{ variants.UnknownDataquery }

// Build implements cog.Builder.
func (t fluxTarget) Build() (variants.Dataquery, error) { return t.UnknownDataquery, nil }

// asked gives a panel's builder its questions.
func asked[B known[B]](b B, list ...flux) B {
	b.Datasource(fromInflux())
	for i, f := range list {
		b.WithTarget(fluxTarget{variants.UnknownDataquery{"refId": string(rune('A' + i)), "query": f.text(), "datasource": fromInflux()}})
	}
	return b
}

// ofRun is a figure of the chosen run, of the chosen clocks or of all together.
func ofRun(measurement, field string, each bool) flux {
	where := `r.run =~ /^${run:regex}$/`
	if each {
		where += ` and r.clock =~ /^${clock:regex}$/`
	}
	return flux{measurement: measurement, field: field, where: where}
}

func experimentRun(b *board) {
	each := func(title, what, unit string, logarithmic bool, list ...flux) {
		add(b, asked(lines(panel{title: title, what: what, unit: unit, wide: 12, high: 9, logarithmic: logarithmic}).
			DisplayName("${__field.labels.clock} ${__field.labels.peer} ${__field.labels._field}").
			OverrideByRegexp(`/bound_s$/`, []dashboard.DynamicConfigValue{{Id: "custom.lineStyle", Value: map[string]any{"fill": "dash", "dash": []int{10, 6}}}}), list...))
	}
	of := func(field string) flux { return ofRun(benchSeries, field, true) }
	all := func(field string) flux { return ofRun(benchSeries, field, false) }
	least := func(f flux) flux { f.fn = "min"; return f }
	each("Time error of each clock", "Each clock minus true time, which the run knows. Of every window the greatest and the smallest value are drawn, so that no extreme is lost.", "s", false,
		of("time_error_s"), least(of("time_error_s")))
	each("Claimed intervals", "The edges of what each clock claims, minus true time. A lower edge above 0, or an upper edge below 0, is a broken promise.", "s", false,
		of("interval_low_s"), least(of("interval_high_s")))
	each("Precision and its bound", "The largest difference of two correct clocks, beside what the clocks claim or theory promises of it.", "s", true, all("precision_s"), least(all("precision_bound_s")))
	each("Accuracy and its bound", "The largest error of any correct clock, beside what the clocks claim or theory promises of it. Of runs with several clients or with real ones.", "s", true, all("accuracy_s"), least(all("accuracy_bound_s")))
	each("Claimed bounds", "Half of the length of each clock's claimed interval.", "s", true, of("claimed_bound_s"))
	each("Frequency errors", "Each clock's rate minus 1. Of runs that measure it.", "ppm", false, of("frequency_error_ppm"))
	each("Delays", "How long packets were under way. Of runs that observe servers.", "s", true, of("delay_s"))
	each("Rounds of agreement", "Convergence (delta_v) right after each round, the reading error (epsilon) in it, and the bound of delta_v. Empty without a group.", "s", true,
		ofRun(benchRound, "delta_v_s", false), ofRun(benchRound, "epsilon_s", false), least(ofRun(benchRound, "bound_s", false)))
	add(b, asked(rows(panel{title: "Events of the run", wide: 12, high: 9, what: "What happened: changes of status with their reason, faults and repairs of the script, findings."}, unnamed()),
		pivot(ofRun(benchEvent, "status|reason|text", false), "clock", "kind")))
	add(b, asked(rows(panel{title: "Properties of the run", wide: 12, high: 9, what: "The table of properties: what was measured, and what theory promises of it, with the unit."}, unnamed()),
		pivot(ofRun(benchProperty, "value|bound", false), "property", "statistic", "subject", "unit")))
}

// pivot makes a table with a row for each point: its time, those tags, and those of its fields that are asked for.
func pivot(f flux, tags ...string) flux {
	f.fn, f.rows = "none", append([]string{"_time"}, tags...)
	return f
}

// unnamed leaves out of a table what InfluxDB adds to every row.
func unnamed() dashboard.DataTransformerConfig {
	return dashboard.DataTransformerConfig{Id: "organize", Options: map[string]any{
		"excludeByName": map[string]bool{"_start": true, "_stop": true, "_measurement": true, "_field": true}, "renameByName": map[string]string{"_time": "time"},
	}}
}

func experimentDaemons(b *board) {
	daemon := func(measurement, field string) flux {
		return flux{measurement: measurement, field: field, where: `r.host =~ /^${host:regex}$/`}
	}
	add(b, asked(lines(panel{title: "Bound of each daemon", unit: "s", wide: 12, high: 9, logarithmic: true,
		what: "What each daemon guarantees as its largest error. A gap: nothing is guaranteed."}).DisplayName("${__field.labels.host}"), daemon("clockd_clock", "bound_s")))
	add(b, asked(lines(panel{title: "Every exchange", unit: "s", wide: 12, high: 9,
		what: "The offset of every single exchange with every source, used or not: its clock minus the daemon's, by this exchange alone."}).DisplayName("${__field.labels.host} ${__field.labels.source}"),
		daemon("clockd_exchange", "offset_s")))
	add(b, asked(rows(panel{title: "Events", wide: 24, high: 8, what: "Changes that matter to whoever looks at the series, in words."}, unnamed()),
		pivot(daemon("clockd_event", "text|status"), "host", "topic", "reason")))
}
