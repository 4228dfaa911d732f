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
	"github.com/clockd/clockd/virtualclock"
)

// prometheus is a real one on loopback.
type prometheus struct {
	t  *testing.T
	at string
}

// startPrometheus scrapes those ports, with the rules that ship but for their patience: minutes become seconds.
func startPrometheus(t *testing.T, ports ...int) *prometheus {
	t.Helper()
	program := testkit.RequireTool(t, "prometheus")
	dir := t.TempDir()
	for _, name := range []string{"recording.rules.yml", "alerts.rules.yml"} {
		b, err := os.ReadFile(filepath.Join("../../deploy/prometheus", name))
		if err != nil {
			t.Fatal(err)
		}
		text := regexp.MustCompile(`for: \d+[ms]`).ReplaceAllString(string(b), "for: 1s")
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
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

// query returns the value of each series of an instant query, by its instance and the label that is asked for.
func (p *prometheus) query(expression, label string) map[[2]string]string {
	p.t.Helper()
	a, err := http.Get("http://" + p.at + "/api/v1/query?query=" + url.QueryEscape(expression))
	if err != nil {
		return nil // not up yet
	}
	defer func() { _ = a.Body.Close() }()
	b, err := io.ReadAll(a.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	var answer struct {
		Status, Error string
		Data          struct {
			Result []struct {
				Metric map[string]string
				Value  [2]any
			}
		}
	}
	if a.StatusCode == http.StatusServiceUnavailable {
		return nil
	}
	if err := json.Unmarshal(b, &answer); err != nil || answer.Status != "success" {
		p.t.Fatalf("%s: %v %s", expression, err, b)
	}
	out := map[[2]string]string{}
	for _, r := range answer.Data.Result {
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

// A real Prometheus scrapes three real daemons. One loses its source, and its alert fires, no other's; the source comes back, and the
// alert clears. Then that daemon is ended, and the alert for that fires.
func TestPrometheusSeesWhichClockIsIll(t *testing.T) {
	testkit.RequireTool(t, "prometheus")
	section := func(port int) string { return fmt.Sprintf("[http]\nlisten = [\"127.0.0.1:%d\"]\n", port) }
	ports := []int{testkit.FreeUDPPort(t), testkit.FreeUDPPort(t), testkit.FreeUDPPort(t)}
	instance := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", ports[i]) }
	ntp := testkit.FreeUDPPort(t)
	hosts := []*host{newHost(t), newHost(t), newHost(t)}
	hosts[0].configure(fmt.Sprintf("[local]\nstratum = 3\n[server]\nlisten = [\"127.0.0.1:%d\"]\nrate = 100000\nburst = 100000\n", ntp), section(ports[0]))
	hosts[0].run()
	cable := testkit.ShiftProxy(t, fmt.Sprintf("127.0.0.1:%d", ntp), 0)
	follow := "[[source]]\naddress = %q\npoll = \"100ms\"\nburst_spacing = \"10ms\"\n"
	hosts[1].configure(fmt.Sprintf(follow, fmt.Sprintf("127.0.0.1:%d", ntp)), section(ports[1]))
	// The ill one has a poor oscillator and a bound that it outgrows in seconds.
	hosts[2].configure(fmt.Sprintf(follow, cable.Address()), "[counter]\ndrift_bound = \"5000ppm\"\n[clock]\nmax_bound = \"30ms\"\n", section(ports[2]))
	for _, h := range hosts[1:] {
		h.run()
	}
	for _, h := range hosts {
		h.reach(virtualclock.Synchronised)
	}
	p := startPrometheus(t, ports...)
	testkit.WaitFor(t, patience, "three clocks to be seen, all well", func() bool {
		good := p.query(`clockd_clock_status{status="synchronised"} == 1`, "status")
		return len(good) == 3 && len(p.firing()) == 0 && len(p.query("instance:clockd_bound_of_limit:ratio", "")) == 3
	})
	cable.Cut(true)
	ill := instance(2) + " ClockdUnsynchronised"
	testkit.WaitFor(t, patience, "the alert of the clock that is ill", func() bool { return slices.Contains(p.firing(), ill) })
	for _, alert := range p.firing() {
		if !strings.HasPrefix(alert, instance(2)+" ") {
			t.Errorf("%s fires, and nothing is wrong with it", alert)
		}
	}
	if bound := p.query("clockd_clock_bound_seconds", ""); len(bound) != 2 {
		t.Errorf("a clock that guarantees nothing has a bound: %v", bound)
	}
	cable.Cut(false)
	testkit.WaitFor(t, patience, "the alert to clear", func() bool {
		return len(p.query("up == 1", "")) == 3 && len(p.firing()) == 0
	})
	hosts[2].terminate()
	gone := []string{instance(2) + " ClockdScrapeGone"}
	testkit.WaitFor(t, patience, "the alert of the daemon that is gone", func() bool { return slices.Equal(p.firing(), gone) })
	http.DefaultClient.CloseIdleConnections()
}
