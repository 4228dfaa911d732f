package main

import (
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
)

// board builds a dashboard and numbers its panels.
type board struct {
	*dashboard.DashboardBuilder
	panels uint32
}

func newBoard(uid, title, what string) *board {
	b := &board{DashboardBuilder: dashboard.NewDashboardBuilder(title)}
	b.Uid(uid).Description(what).Tags([]string{"clockd"}).Time("now-1h", "now").Refresh("10s").Timezone(common.TimeZoneBrowser).
		Tooltip(dashboard.DashboardCursorSyncCrosshair).Editable()
	b.Link(dashboard.NewDashboardLinkBuilder("clockd").Type(dashboard.DashboardLinkTypeDashboards).Tags([]string{"clockd"}).IncludeVars(true).KeepTime(true))
	return b
}

// row begins a row of panels.
func (b *board) row(title string) { b.WithRow(dashboard.NewRowBuilder(title)) }

// numbered are builders whose panel can be given its number.
type numbered[B any] interface {
	cog.Builder[dashboard.Panel]
	Id(uint32) B
}

// add puts a panel on the board.
func add[B numbered[B]](b *board, p B) {
	b.panels++
	b.WithPanel(p.Id(b.panels))
}

// variables gives the reader the choice of the data source, the job, the group of peers, and hosts: several, or one.
func (b *board) variables(several bool) {
	b.WithVariable(dashboard.NewDatasourceVariableBuilder("datasource").Label("Prometheus").Type("prometheus"))
	b.ask("job", "Job", `label_values(clockd_group_info, job)`, true)
	b.ask("group", "Group", `label_values(clockd_group_info{job=~"$job"}, group)`, true)
	b.ask("host", "Host", `label_values(clockd_group_info{job=~"$job", group=~"$group"}, instance)`, several)
}

func (b *board) ask(name, label, question string, several bool) {
	v := dashboard.NewQueryVariableBuilder(name).Label(label).Datasource(fromPrometheus()).Query(dashboard.StringOrMap{String: &question}).
		Definition(question).Refresh(dashboard.VariableRefreshOnTimeRangeChanged).Sort(dashboard.VariableSortNaturalAsc)
	if several {
		v.Multi(true).IncludeAll(true).Current(dashboard.VariableOption{
			Text: dashboard.StringOrArrayOfString{String: cog.ToPtr("All")}, Value: dashboard.StringOrArrayOfString{String: cog.ToPtr("$__all")},
		})
	}
	b.WithVariable(v)
}

// chosen are the hosts that the reader has chosen.
const chosen = `job=~"$job", instance=~"$host"`

// of returns a metric of the chosen hosts, with further conditions.
func of(metric string, conditions ...string) string {
	list := chosen
	for _, c := range conditions {
		list += ", " + c
	}
	return fmt.Sprintf("%s{%s}", metric, list)
}

// grouped joins a figure of a host with the name of its group.
func grouped(expr string) string {
	return fmt.Sprintf("%s * on (job, instance) group_left (group) %s", expr, of("clockd_group_info"))
}

// event marks the instants at which an expression has a value.
func (b *board) event(name, colour, expr string) {
	b.Annotation(dashboard.NewAnnotationQueryBuilder().Name(name).Datasource(fromPrometheus()).Enable(true).IconColor(colour).Expr(expr).
		Target(prometheus.NewDataqueryBuilder().Expr(expr).RefId("Trouble" + name).Range().Interval("15s").LegendFormat(titles()[name])))
}

// titles are what events are called beside their marks; labels are filled in.
func titles() map[string]string {
	return map[string]string{
		"stepped":       "{{instance}}: the clock was stepped: a new epoch",
		"status":        "{{instance}} is {{status}}",
		"reported":      "{{instance}}: {{reason}}",
		"false source":  "{{instance}}: {{source}} is false",
		"restarted":     "{{instance}}: clockd was started",
		"reloaded":      "{{instance}}: the configuration was read again",
		"round skipped": "{{instance}}: a round of agreement was not made",
	}
}

// statuses are the words for clockd_clock_status as status writes it.
func statuses() map[string]text {
	return map[string]text{
		"3": {"synchronised", good}, "2": {"holdover", warning}, "1": {"unsynchronised", bad}, "0": {"disrupted", "purple"},
	}
}

// status writes the four statuses of each host as one number.
func status() string {
	return fmt.Sprintf(`sum by (instance) (%s * 3) + sum by (instance) (%s * 2) + sum by (instance) (%s)`,
		of("clockd_clock_status", `status="synchronised"`), of("clockd_clock_status", `status="holdover"`), of("clockd_clock_status", `status="unsynchronised"`))
}

// ofLimit is the bound as part of the host's own limit.
func ofLimit() string {
	return of("clockd_clock_bound_seconds") + " / " + of("clockd_clock_max_bound_seconds")
}
