package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

var update = flag.Bool("update", false, "write deploy/grafana/dashboards anew")

const committed = "../dashboards"

func TestDashboardsAreCurrent(t *testing.T) {
	if *update {
		if err := run([]string{committed}); err != nil {
			t.Fatal(err)
		}
	}
	files, err := render()
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(committed)
	if err != nil || len(entries) != len(files) {
		t.Errorf("%d files in %s, %d dashboards (%v)", len(entries), committed, len(files), err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(committed, name))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what the code says (%v): run make docs", name, err)
		}
	}
	again, err := render()
	if err != nil {
		t.Fatal(err)
	}
	for name := range files {
		if !bytes.Equal(files[name], again[name]) {
			t.Errorf("%s is not the same the second time", name)
		}
	}
}

// each calls visit for every panel of every dashboard, as Grafana would read it.
func each(t *testing.T, visit func(board string, p *dashboard.Panel)) {
	t.Helper()
	plugins.RegisterDefaultPlugins()
	files, err := render()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		d := &dashboard.Dashboard{}
		if err := json.Unmarshal(text, d); err != nil {
			t.Fatalf("%s is not a dashboard: %v", name, err)
		}
		if err := d.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if d.Uid == nil || !strings.HasPrefix(*d.Uid, "clockd-") || d.SchemaVersion < 42 {
			t.Errorf("%s has no identifier, or an old schema", name)
		}
		n := 0
		for _, p := range d.Panels {
			if p.Panel != nil {
				n++
				visit(name, p.Panel)
			}
		}
		if n < 5 {
			t.Errorf("%s has %d panels", name, n)
		}
	}
}

// A panel that does not explain itself, or that lies under another, is of no use.
func TestPanelsExplainThemselves(t *testing.T) {
	type place struct {
		board string
		x, y  uint32
	}
	taken, ids := map[place]string{}, map[string]map[uint32]bool{}
	each(t, func(board string, p *dashboard.Panel) {
		if p.Title == nil || p.Description == nil || len(*p.Description) < 25 || !strings.HasSuffix(*p.Description, ".") {
			t.Errorf("%s: panel %v does not say what it shows", board, *p.Id)
			return
		}
		if ids[board] == nil {
			ids[board] = map[uint32]bool{}
		}
		if ids[board][*p.Id] {
			t.Errorf("%s: two panels have the number %d", board, *p.Id)
		}
		ids[board][*p.Id] = true
		if p.Type != "table" && p.Type != "state-timeline" && *p.Title != "Status" && (p.FieldConfig == nil || p.FieldConfig.Defaults.Unit == nil) {
			t.Errorf("%s: %s has no unit", board, *p.Title)
		}
		if len(p.Targets) == 0 {
			t.Errorf("%s: %s asks nothing", board, *p.Title)
		}
		if p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("%s: %s is beyond the edge", board, *p.Title)
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[place{board, x, y}]; other != "" {
					t.Errorf("%s: %s lies over %s", board, *p.Title, other)
					return
				}
				taken[place{board, x, y}] = *p.Title
			}
		}
	})
}

// A panel about a metric that does not exist stays empty for ever.
func TestDashboardsNameOnlyMetricsThatExist(t *testing.T) {
	document, err := os.ReadFile("../../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := render()
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	delete(files, "experiment.json") // InfluxDB has names of its own
	for name, text := range files {
		for _, m := range regexp.MustCompile(`\bclockd_[a-z_]+`).FindAllString(string(text), -1) {
			used[m] = true
			if !bytes.Contains(document, []byte("`"+m+"`")) {
				t.Errorf("%s: %s does not exist", name, m)
			}
		}
	}
	// What is measured and shown nowhere is asked for by nobody: a new metric belongs on a panel, or in this list with the reason.
	spared := map[string]string{
		"clockd_clock_kind": "in the status", "clockd_clock_slewing": "slew_remaining says it", "clockd_clock_steps_total": "epoch says it",
		"clockd_clock_holdover_age_seconds": "last_sample_age says it", "clockd_clock_next_poll_seconds": "for alerts", "clockd_clock_stratum": "for NTP clients",
		"clockd_sources_max_false": "in the alert", "clockd_group_status": "peers' say it", "clockd_group_reason": "the clock's reason has it", "clockd_group_members": "used has it",
		"clockd_kernel_stamps_wanted": "in the alert", "clockd_source_offset_stddev_seconds": "half_width is the honest one", "clockd_source_rate_ratio": "the clock's rate",
		"clockd_source_selected": "weight says it", "clockd_source_last_sample_age_seconds": "reach says it", "clockd_source_poll_interval_seconds": "configured",
		"clockd_source_next_poll_seconds": "of no interest over time", "clockd_source_last_rejection": "rejections have it", "clockd_source_requests_total": "reach says it",
		"clockd_source_answers_total": "reach says it", "clockd_source_interleaved": "in clockd sources", "clockd_source_authenticated": "in clockd sources",
		"clockd_influx_waiting_bytes": "waiting_points says it", "clockd_peer_interleaved": "always 0", "clockd_peer_authenticated": "always 1", "clockd_peer_jitter_seconds": "half_width has it", "clockd_peer_poll_interval_seconds": "configured",
		"clockd_peer_last_rejection": "rejections have it", "clockd_peer_requests_total": "reach says it", "clockd_peer_answers_total": "reach says it",
		// Only where the section is there, which no host of the test has: docs/sources.md and docs/system-clock.md name them.
		"clockd_ntp_nts_answers_total": "with NTS", "clockd_nts_key_exchanges_total": "with NTS", "clockd_nts_key_exchange_drops_total": "with NTS", "clockd_source_nts_key_exchanges_total": "with NTS", "clockd_source_nts_cookies": "with NTS",
		"clockd_system_clock_state": "with [system_clock]", "clockd_system_clock_reason": "with [system_clock]", "clockd_system_clock_offset_seconds": "with [system_clock]", "clockd_system_clock_frequency_ratio": "with [system_clock]", "clockd_system_clock_slew_ratio": "with [system_clock]", "clockd_system_clock_max_error_seconds": "with [system_clock]", "clockd_system_clock_estimated_error_seconds": "with [system_clock]", "clockd_system_clock_updates_total": "with [system_clock]", "clockd_system_clock_steps_total": "with [system_clock]", "clockd_system_clock_stepped_seconds": "with [system_clock]", "clockd_system_clock_contested_total": "with [system_clock]",
		"clockd_leap_table_expiry_timestamp_seconds": "for alerts", "clockd_leap_tai_offset_seconds": "for alerts", "clockd_leap_next_timestamp_seconds": "for alerts",
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `(clockd_[a-z_]+)`").FindAllStringSubmatch(string(document), -1) {
		if !used[m[1]] && spared[m[1]] == "" {
			t.Errorf("%s is on no dashboard", m[1])
		}
		if used[m[1]] && spared[m[1]] != "" {
			t.Errorf("%s is on a dashboard and need not be spared", m[1])
		}
	}
}
