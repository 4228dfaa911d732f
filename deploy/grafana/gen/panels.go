package main

import (
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/statetimeline"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// Colours, by what they mean.
const (
	good    = "green"
	warning = "orange"
	bad     = "red"
	neutral = "blue"
)

// query is one question to Prometheus.
type query struct {
	expr, legend string
	// trouble: nothing is answered while nothing is wrong. Its ref id begins with "Trouble", so that a test knows.
	trouble bool
	// limit: what is configured or promised, drawn as a dashed red line.
	limit bool
}

// step is where a colour begins.
type step struct {
	from   float64
	colour string
}

// panel is what all sorts have in common.
type panel struct {
	title, what string
	unit        string
	wide, high  uint32
	queries     []query
	// steps colour the value; the first begins at minus infinity.
	steps []step
	// text names values.
	text map[string]text
	// logarithmic is for series of very different sizes.
	logarithmic bool
	// least is the smallest value that is shown if none is smaller, from 0 by zero.
	zero bool
}

// text is a value's name and colour.
type text struct{ name, colour string }

// known are the sorts of panels' builders, as far as they are alike.
type known[B any] interface {
	cog.Builder[dashboard.Panel]
	Title(string) B
	Description(string) B
	Datasource(common.DataSourceRef) B
	Height(uint32) B
	Span(uint32) B
	Unit(string) B
	WithTarget(cog.Builder[variants.Dataquery]) B
	Thresholds(cog.Builder[dashboard.ThresholdsConfig]) B
	Mappings([]dashboard.ValueMapping) B
	ColorScheme(cog.Builder[dashboard.FieldColor]) B
	OverrideByName(string, []dashboard.DynamicConfigValue) B
	OverrideByQuery(string, []dashboard.DynamicConfigValue) B
	NoValue(string) B
}

// fill gives a builder what all have in common. Instant queries are for what is shown as it is now.
func fill[B known[B]](b B, p *panel, instant bool, format prometheus.PromQueryFormat) B {
	b.Title(p.title).Description(p.what).Datasource(fromPrometheus()).Span(p.wide).Height(p.high)
	if p.unit != "" {
		b.Unit(p.unit)
	}
	trouble := len(p.queries) > 0
	for i := range p.queries {
		q := &p.queries[i]
		ref := q.ref(i)
		trouble = trouble && q.trouble
		x := prometheus.NewDataqueryBuilder().Expr(q.expr).LegendFormat(q.legend).RefId(ref).Format(format).Datasource(fromPrometheus())
		if instant {
			x.Instant()
		} else {
			x.Range()
		}
		b.WithTarget(x)
		if q.limit {
			b.OverrideByQuery(ref, []dashboard.DynamicConfigValue{
				{Id: "color", Value: map[string]any{"mode": "fixed", "fixedColor": bad}},
				{Id: "custom.lineStyle", Value: map[string]any{"fill": "dash", "dash": []int{10, 6}}},
				{Id: "custom.fillOpacity", Value: 0},
			})
		}
	}
	if trouble {
		b.NoValue("nothing is wrong")
	}
	if len(p.steps) > 0 {
		b.Thresholds(thresholds(p.steps)).ColorScheme(dashboard.NewFieldColorBuilder().Mode(dashboard.FieldColorModeIdThresholds))
	}
	if len(p.text) > 0 {
		b.Mappings(mappings(p.text))
	}
	return b
}

// ref returns the identifier of a panel's i-th query.
func (q *query) ref(i int) string {
	letter := string(rune('A' + i))
	if q.trouble {
		return "Trouble" + letter
	}
	return letter
}

func thresholds(list []step) *dashboard.ThresholdsConfigBuilder {
	var out []dashboard.Threshold
	for i, s := range list {
		t := dashboard.Threshold{Color: s.colour}
		if i > 0 {
			t.Value = &s.from
		}
		out = append(out, t)
	}
	return dashboard.NewThresholdsConfigBuilder().Mode(dashboard.ThresholdsModeAbsolute).Steps(out)
}

func mappings(list map[string]text) []dashboard.ValueMapping {
	m := dashboard.ValueMap{Type: dashboard.MappingTypeValueToText, Options: map[string]dashboard.ValueMappingResult{}}
	for value, t := range list {
		m.Options[value] = dashboard.ValueMappingResult{Text: &t.name, Color: &t.colour}
	}
	return []dashboard.ValueMapping{{ValueMap: &m}}
}

// fromPrometheus is the data source that the reader has chosen.
func fromPrometheus() common.DataSourceRef {
	return common.DataSourceRef{Type: cog.ToPtr("prometheus"), Uid: cog.ToPtr("${datasource}")}
}

// lines are values over time.
func lines(p panel) *timeseries.PanelBuilder {
	b := fill(timeseries.NewPanelBuilder(), &p, false, prometheus.PromQueryFormatTimeSeries)
	b.LineWidth(1).FillOpacity(5).ShowPoints(common.VisibilityModeNever).
		Legend(common.NewVizLegendOptionsBuilder().ShowLegend(true).DisplayMode(common.LegendDisplayModeTable).Placement(common.LegendPlacementBottom).
			Calcs([]string{"lastNotNull", "max"})).
		Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeMulti).Sort(common.SortOrderDescending))
	if p.logarithmic {
		b.ScaleDistribution(common.NewScaleDistributionConfigBuilder().Type(common.ScaleDistributionLog).Log(10))
	}
	if p.zero {
		b.AxisSoftMin(0)
	}
	return b
}

// figure is one number, or one word, as it is now.
func figure(p panel) *stat.PanelBuilder {
	b := fill(stat.NewPanelBuilder(), &p, true, prometheus.PromQueryFormatTimeSeries)
	return b.ColorMode(common.BigValueColorModeValue).GraphMode(common.BigValueGraphModeNone).
		ReduceOptions(common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"}))
}

// states are words over time.
func states(p panel) *statetimeline.PanelBuilder {
	return fill(statetimeline.NewPanelBuilder(), &p, false, prometheus.PromQueryFormatTimeSeries).
		MergeValues(true).ShowValue(common.VisibilityModeAuto).RowHeight(0.8)
}

// rows is a table of what is now. Columns that a query brings by itself are left out.
func rows(p panel, transformations ...dashboard.DataTransformerConfig) *table.PanelBuilder {
	b := fill(table.NewPanelBuilder(), &p, true, prometheus.PromQueryFormatTable)
	for _, t := range transformations {
		b.WithTransformation(t)
	}
	return b
}

// matrix is a table with a row for each host and a column for each value of a label.
func matrix(p panel, label string) *table.PanelBuilder {
	b := rows(p, dashboard.DataTransformerConfig{Id: "groupingToMatrix", Options: map[string]any{
		"rowField": "instance", "columnField": label, "valueField": "Value", "emptyValue": "null",
	}})
	mode := common.TableCellBackgroundDisplayModeBasic
	return b.CellOptions(common.TableCellOptions{TableColoredBackgroundCellOptions: &common.TableColoredBackgroundCellOptions{
		Type: common.TableCellDisplayModeColorBackground, Mode: &mode,
	}}).OverrideByName(`instance\`+label, []dashboard.DynamicConfigValue{{Id: "displayName", Value: "host"}, {Id: "custom.cellOptions", Value: map[string]any{"type": "auto"}}})
}

// joined puts the answers of several queries beside each other, by those labels.
func joined(by string, hidden []string, names map[string]string) []dashboard.DataTransformerConfig {
	drop := map[string]bool{"Time": true, "__name__": true, "job": true}
	for i := 1; i <= 12; i++ { // a field that several answers have gets a number
		drop[fmt.Sprintf("Time %d", i)], drop[fmt.Sprintf("__name__ %d", i)], drop[fmt.Sprintf("job %d", i)] = true, true, true
	}
	for _, h := range hidden {
		drop[h] = true
		for i := 1; i <= 12; i++ {
			drop[fmt.Sprintf("%s %d", h, i)] = true
		}
	}
	return []dashboard.DataTransformerConfig{
		{Id: "joinByField", Options: map[string]any{"byField": by, "mode": "outer"}},
		{Id: "organize", Options: map[string]any{"excludeByName": drop, "renameByName": names}},
	}
}

// tidy leaves out what nobody wants to see in the table of a single query.
func tidy(names map[string]string) dashboard.DataTransformerConfig {
	if names == nil {
		names = map[string]string{} // Grafana wants an object
	}
	return dashboard.DataTransformerConfig{Id: "organize", Options: map[string]any{
		"excludeByName": map[string]bool{"Time": true, "__name__": true, "job": true}, "renameByName": names,
	}}
}

// column sets how a column of a table is shown.
func column(b *table.PanelBuilder, name, unit string, steps ...step) {
	properties := []dashboard.DynamicConfigValue{}
	if unit != "" {
		properties = append(properties, dashboard.DynamicConfigValue{Id: "unit", Value: unit})
	}
	if len(steps) > 0 {
		t, _ := thresholds(steps).Build() // it fails for no list of steps
		properties = append(properties, dashboard.DynamicConfigValue{Id: "thresholds", Value: t},
			dashboard.DynamicConfigValue{Id: "color", Value: map[string]any{"mode": "thresholds"}},
			dashboard.DynamicConfigValue{Id: "custom.cellOptions", Value: map[string]any{"type": "color-text"}})
	}
	b.OverrideByName(name, properties)
}
