package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/testkit"
)

// fluxQueries reads all queries of the dashboard of experiments, with its variables filled in.
func fluxQueries(t *testing.T) map[string]string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dashboards, "experiment.json"))
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Panels []struct {
			Type, Title string
			Targets     []struct{ RefID, Query string }
		}
		Templating struct {
			List []struct {
				Name  string
				Type  string
				Query any
			}
		}
	}
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	fill := strings.NewReplacer("${bucket}", testkit.InfluxdDatabase, "v.timeRangeStart", "-1h", "v.timeRangeStop", "10h", "v.windowPeriod", "10s",
		"${run:regex}", ".*", "${clock:regex}", ".*", "${host:regex}", ".*")
	out := map[string]string{}
	add := func(where, query string) {
		query = fill.Replace(query)
		if strings.Contains(query, "${") || strings.Contains(query, "v.") {
			t.Errorf("%s asks for an unknown variable: %s", where, query)
		}
		out[where] = query
	}
	for _, p := range d.Panels {
		for _, x := range p.Targets {
			add(p.Title+" "+x.RefID, x.Query)
		}
	}
	for _, v := range d.Templating.List {
		if q, ok := v.Query.(map[string]any); ok && v.Type == "query" {
			text, _ := q["query"].(string)
			add("variable "+v.Name, text)
		}
	}
	return out
}

// askFlux returns how many rows answer a query.
func askFlux(t *testing.T, at, query string) int {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, at+"/api/v2/query", strings.NewReader(query))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/vnd.flux")
	r.Header.Set("Accept", "application/csv")
	c := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	a, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Body.Close() }()
	b, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	if a.StatusCode != http.StatusOK || strings.Contains(string(b), "error,reference") {
		t.Errorf("InfluxDB does not like this: %s\n%s", query, b)
		return 0
	}
	rows := 0
	for _, line := range strings.Split(string(b), "\n") {
		if strings.HasPrefix(line, ",,") || strings.HasPrefix(line, ",_result,") && !strings.HasPrefix(line, ",result,") {
			rows++
		}
	}
	return rows
}

// writeLines writes line protocol.
func writeLines(t *testing.T, at, lines string) {
	t.Helper()
	a, err := http.Post(at+"/write?db="+testkit.InfluxdDatabase, "text/plain", strings.NewReader(lines))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Body.Close() }()
	if b, _ := io.ReadAll(a.Body); a.StatusCode != http.StatusNoContent {
		t.Fatalf("InfluxDB answers %s: %s", a.Status, b)
	}
}

// Every query of every panel and variable of the dashboard of experiments is answered by a real InfluxDB that has what it asks for, and
// by none that has not.
func TestExperimentDashboard(t *testing.T) {
	i := testkit.StartInfluxd(t, testkit.InfluxdOptions{})
	queries := fluxQueries(t)
	if len(queries) < 12 {
		t.Fatalf("only %d queries", len(queries))
	}
	for where, q := range queries {
		if n := askFlux(t, i.URL(), q); n != 0 {
			t.Errorf("%s: an empty data base answers with %d rows", where, n)
		}
	}
	clockbench := filepath.Join(t.TempDir(), "clockbench")
	if out, err := exec.Command("go", "build", "-o", clockbench, "../../cmd/clockbench").CombinedOutput(); err != nil {
		t.Fatalf("clockbench cannot be built: %v\n%s", err, out)
	}
	for _, scenario := range []string{"cold_start", "group_honest_4"} {
		c := exec.Command(clockbench, "sim", scenario, "--seeds", "1", "--out", filepath.Join(t.TempDir(), scenario), "--influx", i.URL(), "--influx-run", scenario)
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", scenario, err, out)
		}
	}
	now := time.Now().Add(-time.Minute).UnixNano()
	var lines []string
	// What only runs with real clocks have, which take longer than a test may.
	for _, field := range []string{"accuracy_s", "accuracy_bound_s", "frequency_error_ppm", "delay_s"} {
		lines = append(lines, fmt.Sprintf("clockbench_series,clock=c1,host=m,mode=live,run=r1,scenario=s,seed=1,track=c1 %s=1e-6 %d", field, now))
	}
	lines = append(lines, fmt.Sprintf("clockd_clock,host=a bound_s=1e-5 %d", now), fmt.Sprintf("clockd_exchange,host=a,source=s,kind=basic,reason=ok offset_s=1e-6 %d", now),
		fmt.Sprintf("clockd_event,host=a,topic=clock,reason=stale text=\"holdover\",status=\"holdover\" %d", now))
	writeLines(t, i.URL(), strings.Join(lines, "\n"))
	for where, q := range queries {
		if n := askFlux(t, i.URL(), q); n == 0 {
			t.Errorf("%s is not answered:\n%s", where, q)
		}
	}
}
