package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/clockd/clockd/internal/testkit"
)

// portsInARow returns the first of n ports that follow each other.
func portsInARow(t *testing.T, n int) int {
	t.Helper()
	first, last := 0, -1
	for range 20 * n {
		p := testkit.FreeUDPPort(t)
		if p != last+1 {
			first = p
		}
		if last = p; last-first == n-1 {
			return first
		}
	}
	t.Fatalf("there are no %d free ports in a row", n)
	return 0
}

// health asks a Prometheus how its targets are.
func health(at string) map[string]string {
	a, err := http.Get("http://" + at + "/api/v1/targets")
	if err != nil {
		return nil
	}
	defer func() { _ = a.Body.Close() }()
	b, _ := io.ReadAll(a.Body)
	var answer struct {
		Data struct {
			ActiveTargets []struct {
				Labels map[string]string
				Health string
			}
		}
	}
	_ = json.Unmarshal(b, &answer)
	out := map[string]string{}
	for _, x := range answer.Data.ActiveTargets {
		out[x.Labels["instance"]] = x.Health
	}
	return out
}

// mentioning returns the processes whose command lines have that text.
func mentioning(t *testing.T, text string) []string {
	t.Helper()
	list, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, path := range list {
		if b, err := os.ReadFile(path); err == nil && bytes.Contains(b, []byte(text)) {
			out = append(out, strings.ReplaceAll(string(b), "\x00", " "))
		}
	}
	return out
}

// make demo-observability comes up with all that is installed, its Prometheus sees all seven daemons and has the rules, and Ctrl-C ends
// all of it and leaves nothing: no process, no file.
func TestDemoObservability(t *testing.T) {
	t.Parallel()
	testkit.RequireTool(t, "prometheus")
	testkit.RequireTool(t, "influxd")
	testkit.RequireTool(t, "curl")
	tmp := filepath.Join("/tmp", fmt.Sprintf("clockd-watched-%d", os.Getpid())) // short: sockets are in it
	if err := os.Mkdir(tmp, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(tmp) })
	program, ports, at := os.Getenv(variableProgram), portsInARow(t, 7), testkit.FreeUDPPort(t)
	influx := testkit.FreeUDPPort(t)
	script := exec.Command("../../scripts/demo-observability", "--seed", "7")
	script.Env = append(os.Environ(), "CLOCKD="+program, "TMPDIR="+tmp, fmt.Sprintf("CLOCKD_HTTP_PORT=%d", ports), fmt.Sprintf("PROMETHEUS_PORT=%d", at),
		fmt.Sprintf("GRAFANA_PORT=%d", testkit.FreeUDPPort(t)), fmt.Sprintf("INFLUXD_PORT=%d", influx))
	// A terminal sends Ctrl-C to all of them at once.
	script.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p := testkit.StartProcess(t, script)
	t.Cleanup(func() { _ = syscall.Kill(-p.PID(), syscall.SIGKILL) })
	where := fmt.Sprintf("127.0.0.1:%d", at)
	testkit.WaitFor(t, patience, "all targets to be up", func() bool {
		select {
		case <-p.Done():
			t.Fatalf("it ended: %s", p.Output())
		default:
		}
		up := 0
		for _, name := range []string{"master1", "master2", "master3", "host1", "host2", "host3", "host4"} {
			if health(where)[name] == "up" {
				up++
			}
		}
		return up == 7
	})
	own := &prometheus{t, where}
	testkit.WaitFor(t, patience, "the recorded figures, a group of four and the hosts' names", func() bool {
		return len(own.query("instance:clockd_bound_of_limit:ratio", "")) >= 6 && own.query(`count(count by (group) (clockd_group_info{group!="none"}))`, "")[[2]string{}] == "1" &&
			own.query("count(clockd_peer_offset_seconds)", "")[[2]string{}] == "12"
	})
	for _, say := range []string{"Where to look", "Grafana", "InfluxDB", "Ctrl-C ends"} {
		if !strings.Contains(p.Output(), say) {
			t.Errorf("it does not say %q", say)
		}
	}
	where = fmt.Sprintf("http://127.0.0.1:%d/query?db=clockd&q=SELECT+last(bound_s)+FROM+clockd_clock+GROUP+BY+host", influx)
	testkit.WaitFor(t, patience, "points of all hosts in InfluxDB", func() bool {
		a, err := http.Get(where)
		if err != nil {
			return false
		}
		defer func() { _ = a.Body.Close() }()
		b, _ := io.ReadAll(a.Body)
		return bytes.Count(b, []byte(`"host":"host`)) == 4 && bytes.Count(b, []byte(`"host":"master`)) == 3
	})
	pages := regexp.MustCompile(`http://127\.0\.0\.1:\d+/[^ \n]+`).FindAllString(p.Output(), -1)
	for _, page := range pages {
		if a, err := http.Get(page); err != nil || a.StatusCode != http.StatusOK {
			t.Errorf("it sends people to %s, and nothing is there (%v)", page, err)
		} else {
			_ = a.Body.Close()
		}
	}
	if len(pages) < 4 {
		t.Errorf("it sends people nowhere but to %v", pages)
	}
	http.DefaultClient.CloseIdleConnections()
	if err := syscall.Kill(-p.PID(), syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	testkit.WaitFor(t, patience, "it to end", func() bool {
		select {
		case <-p.Done():
			return true
		default:
			return false
		}
	})
	if left, err := os.ReadDir(tmp); err != nil || len(left) != 0 {
		t.Errorf("it left %v (%v)", left, err)
	}
	if left := mentioning(t, tmp); len(left) != 0 {
		t.Errorf("these still run: %v", left)
	}
	if !strings.Contains(p.Output(), "violations of a claim") {
		t.Errorf("the demo was not let end in order: %s", p.Output())
	}
}

// Where nothing is installed it says so, and shows the hosts all the same.
func TestDemoObservabilityNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	bin := t.TempDir()
	for _, name := range []string{"bash", "curl", "cat", "dirname", "mktemp", "rm", "sleep", "tail"} {
		if err := os.Symlink(testkit.RequireTool(t, name), filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	script := exec.Command(filepath.Join(bin, "bash"), "../../scripts/demo-observability", "--for", "1s")
	script.Env = []string{"PATH=" + bin, "HOME=" + bin, "CLOCKD=" + os.Getenv(variableProgram), fmt.Sprintf("CLOCKD_HTTP_PORT=%d", portsInARow(t, 7))}
	out, err := script.CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
	for _, say := range []string{"Prometheus   not installed: run \"make deps\"", "InfluxDB     not installed", "Grafana      not installed", "violations of a claim"} {
		if !strings.Contains(string(out), say) {
			t.Errorf("it does not say %q: %s", say, out)
		}
	}
}

// A port that is taken is named before anything is started.
func TestDemoObservabilityNamesATakenPort(t *testing.T) {
	testkit.RequireTool(t, "curl")
	h := newShippedHost(t)
	port := testkit.FreeUDPPort(t)
	h.configure("[local]\nstratum = 3\n", fmt.Sprintf("[http]\nlisten = [\"127.0.0.1:%d\"]\n", port))
	h.run()
	h.await("HTTP", func() bool {
		a, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/healthz", port))
		if err == nil {
			_ = a.Body.Close()
		}
		return err == nil
	})
	http.DefaultClient.CloseIdleConnections()
	script := exec.Command("../../scripts/demo-observability", "--for", "1s")
	script.Env = append(os.Environ(), "CLOCKD="+h.program, fmt.Sprintf("CLOCKD_HTTP_PORT=%d", port))
	out, err := script.CombinedOutput()
	if err == nil || !strings.Contains(string(out), fmt.Sprintf("port %d is taken: set CLOCKD_HTTP_PORT", port)) {
		t.Errorf("%v: %s", err, out)
	}
}
