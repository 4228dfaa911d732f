package promexport

import (
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// inWords puts the word in the place of P.
func inWords(help, who string) string {
	help = strings.ReplaceAll(help, "the P", "the "+who)
	return strings.ReplaceAll(help, "The P", "The "+who)
}

func split(labels string) []string {
	if labels == "" {
		return nil
	}
	return strings.Split(labels, ",")
}

func sectionOf(who string) string {
	return map[string]string{"source": "Sources", "peer": "Peers"}[who]
}

const preface = `<!-- Made by ` + "`go generate ./metrics/prometheus`" + ` from the code: do not edit. -->
# Metrics

What ` + "`/metrics`" + ` of a daemon shows to Prometheus, once its configuration has ` + "`[http]`" + ` ([configuration.md](configuration.md)):

    scrape_configs:
      - job_name: clockd
        static_configs: [{targets: ["127.0.0.1:9123"]}]

- **What is not known has no series.** There is no 0 that means "unknown", and nothing of before: a scrape is one snapshot, or it fails.
- Times are in seconds, rates are ratios (1e-6 is 1 ppm). ` + "`source`" + ` and ` + "`peer`" + ` are names of the configuration, ` + "`reason`" + ` a code of the
  [one list](../reason/reason.go): the number of series is bounded by the configuration.
- Counters by reason code are there as 0 before the first occurrence, for the codes that are usual at that place, so that the first is seen.
- Of the rate (ρ_v) a host knows a bound, not the value. Steadiness (σ) and tightness (τ) are missing: they are of messages delivered to
  several hosts, and no daemon sees those. clockbench measures all three.
- Every single exchange, with nanosecond times, goes to InfluxDB if asked so: [influxdb.md](influxdb.md).
- Rules and alerts are in [deploy/prometheus](../deploy/prometheus), what to do about each in [runbooks.md](runbooks.md), dashboards in
  [dashboards.md](dashboards.md).
- Beside these there are the usual ` + "`go_*` and `process_*`" + `.
`

// Document returns docs/metrics.md.
func Document() string {
	b := &strings.Builder{}
	b.WriteString(preface)
	section := ""
	list := families()
	// Sources first, then peers: in the list they alternate.
	var parties [2][]metric
	for i, m := range list[partyFamilies:] {
		parties[i%2] = append(parties[i%2], m)
	}
	for _, m := range append(append(list[:partyFamilies:partyFamilies], parties[0]...), parties[1]...) {
		if m.name == "" {
			continue
		}
		if m.section != section {
			section = m.section
			fmt.Fprintf(b, "\n## %s\n\n| metric | type | labels | |\n|---|---|---|---|\n", section)
		}
		kind := "gauge"
		if m.kind == prometheus.CounterValue {
			kind = "counter"
		}
		labels := ""
		if len(m.labels) > 0 {
			labels = "`" + strings.Join(m.labels, "`, `") + "`"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", m.name, kind, labels, m.help)
	}
	return b.String()
}
