package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/clockd/clockd/internal/testkit"
)

// prometheus is a real one on loopback.
type prometheus struct {
	t  *testing.T
	at string
}

// impatient makes minutes of a rule file seconds, for a test: what must last, how far back is looked, and how long a daemon has run.
func impatient(rules string) string {
	rules = regexp.MustCompile(`for: \d+[ms]`).ReplaceAllString(rules, "for: 1s")
	return strings.NewReplacer("[10m]", "[5s]", "[2m:15s]", "[6s:500ms]", "offset 15m", "offset 20s", "age_seconds < 600", "age_seconds < 3", "clockd_uptime_seconds > 600", "clockd_uptime_seconds > 6").Replace(rules)
}

// startPrometheus scrapes those ports, with the rules that ship but for their patience.
func startPrometheus(t *testing.T, ports ...int) *prometheus {
	t.Helper()
	program := testkit.RequireTool(t, "prometheus")
	dir := t.TempDir()
	for _, name := range []string{"recording.rules.yml", "alerts.rules.yml"} {
		b, err := os.ReadFile(filepath.Join("../../deploy/prometheus", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(impatient(string(b))), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	targets := []string{}
	for _, p := range ports {
		targets = append(targets, fmt.Sprintf("\"127.0.0.1:%d\"", p))
	}
	config := fmt.Sprintf("global: {scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}\nrule_files: [recording.rules.yml, alerts.rules.yml]\n"+
		"scrape_configs:\n  - job_name: clockd\n    static_configs: [{targets: [%s]}]\n", strings.Join(targets, ", "))
	path := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &prometheus{t, fmt.Sprintf("127.0.0.1:%d", testkit.FreeUDPPort(t))}
	testkit.StartProcess(t, exec.Command(program, "--config.file="+path, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+p.at, "--log.level=error"))
	return p
}

// series is one of an answer.
type series struct {
	Metric map[string]string
	Value  [2]any
}

// instant asks an instant query. There is no answer while the server is starting; a query that it does not understand is an error.
func (p *prometheus) instant(expression string) (list []series, ok bool, err error) {
	a, err := http.Get("http://" + p.at + "/api/v1/query?query=" + url.QueryEscape(expression))
	if err != nil {
		return nil, false, nil // not up yet
	}
	defer func() { _ = a.Body.Close() }()
	b, err := io.ReadAll(a.Body)
	if err != nil || a.StatusCode == http.StatusServiceUnavailable {
		return nil, false, err
	}
	var answer struct {
		Status, Error string
		Data          struct{ Result []series }
	}
	if err := json.Unmarshal(b, &answer); err != nil || answer.Status != "success" {
		return nil, false, fmt.Errorf("%s: %w %s", expression, err, b)
	}
	return answer.Data.Result, true, nil
}

// count returns how many series answer an instant query. It may be called from any goroutine.
func (p *prometheus) count(expression string) (int, bool) {
	list, ok, err := p.instant(expression)
	if err != nil {
		p.t.Error(err)
	}
	return len(list), ok
}

// query returns the value of each series of an instant query, by its instance and the label that is asked for.
func (p *prometheus) query(expression, label string) map[[2]string]string {
	p.t.Helper()
	list, ok, err := p.instant(expression)
	if err != nil {
		p.t.Fatal(err)
	}
	if !ok {
		return nil
	}
	out := map[[2]string]string{}
	for _, r := range list {
		out[[2]string{r.Metric["instance"], r.Metric[label]}] = fmt.Sprint(r.Value[1])
	}
	return out
}

// firing returns the alerts that fire, as "instance alert".
func (p *prometheus) firing() []string {
	p.t.Helper()
	var out []string
	for k := range p.query(`ALERTS{alertstate="firing"}`, "alertname") {
		out = append(out, k[0]+" "+k[1])
	}
	slices.Sort(out)
	return out
}
