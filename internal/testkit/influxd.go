package testkit

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// InfluxdOptions says how an InfluxDB server is set up. The zero value lets everybody in.
type InfluxdOptions struct {
	// User and Password, if set, are an administrator's, without which nobody may do anything.
	User, Password string
	// MaxBody is the largest request in bytes; 0: 25 MB.
	MaxBody int
}

// Influxd is a real InfluxDB 1.8 with a data base called clockd, on a loopback port of its own.
type Influxd struct {
	*Process
	t       testing.TB
	options InfluxdOptions
	program string
	dir     string
	address string
}

// InfluxdDatabase is the data base that each Influxd has.
const InfluxdDatabase = "clockd"

// StartInfluxd starts an InfluxDB with its own directory, makes its data base, and ends it with the test. The test is skipped if it is
// not installed.
func StartInfluxd(t testing.TB, o InfluxdOptions) *Influxd {
	t.Helper()
	i := &Influxd{t: t, options: o, program: RequireTool(t, "influxd"), dir: t.TempDir(), address: fmt.Sprintf("127.0.0.1:%d", FreeUDPPort(t))}
	config := fmt.Sprintf(`reporting-disabled = true
bind-address = "127.0.0.1:%d"
[meta]
  dir = "%[2]s/meta"
[data]
  dir = "%[2]s/data"
  wal-dir = "%[2]s/wal"
  query-log-enabled = false
[coordinator]
[http]
  bind-address = "%[3]s"
  flux-enabled = true
  log-enabled = false
  auth-enabled = %[4]t
  max-body-size = %[5]d
[monitor]
  store-enabled = false
[continuous_queries]
  enabled = false
[logging]
  level = "warn"
`, FreeUDPPort(t), i.dir, i.address, o.User != "", maxBody(o))
	if err := os.WriteFile(i.config(), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	i.Start()
	if o.User != "" {
		i.Query(fmt.Sprintf("CREATE USER %s WITH PASSWORD '%s' WITH ALL PRIVILEGES", o.User, o.Password))
	}
	i.Query("CREATE DATABASE " + InfluxdDatabase)
	return i
}

func maxBody(o InfluxdOptions) int {
	if o.MaxBody == 0 {
		return 25_000_000
	}
	return o.MaxBody
}

func (i *Influxd) config() string { return filepath.Join(i.dir, "influxdb.conf") }

// Start starts it again after Kill, with its data, and waits until it answers.
func (i *Influxd) Start() {
	i.t.Helper()
	i.Process = StartProcess(i.t, exec.Command(i.program, "-config", i.config()))
	WaitFor(i.t, time.Minute, "InfluxDB to answer", func() bool {
		select {
		case <-i.Done():
			i.t.Fatalf("influxd ended at once:\n%s", i.Output())
		default:
		}
		a, err := i.client().Get(i.URL() + "/health")
		if err != nil {
			return false
		}
		_ = a.Body.Close()
		return a.StatusCode == http.StatusOK
	})
}

func (i *Influxd) client() *http.Client {
	return &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
}

// URL returns where it answers.
func (i *Influxd) URL() string { return "http://" + i.address }

// Result is what one series of an answer has: the columns of each row by their names. Times are nanoseconds, numbers json.Number.
type Result struct {
	Name string
	Rows []map[string]any
}

// Query asks in InfluxQL, and fails the test if there is an error.
func (i *Influxd) Query(q string) []Result {
	i.t.Helper()
	form := url.Values{"q": {q}, "db": {InfluxdDatabase}, "epoch": {"ns"}}
	r, err := http.NewRequest(http.MethodPost, i.URL()+"/query", strings.NewReader(form.Encode()))
	if err != nil {
		i.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if i.options.User != "" {
		r.SetBasicAuth(i.options.User, i.options.Password)
	}
	a, err := i.client().Do(r)
	if err != nil {
		i.t.Fatal(err)
	}
	defer func() { _ = a.Body.Close() }()
	b, err := io.ReadAll(a.Body)
	if err != nil {
		i.t.Fatal(err)
	}
	var answer struct {
		Error   string
		Results []struct {
			Error  string
			Series []struct {
				Name    string
				Columns []string
				Values  [][]any
			}
		}
	}
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.UseNumber()
	if err := d.Decode(&answer); err != nil {
		i.t.Fatalf("InfluxDB answers %s: %v", b, err)
	}
	var out []Result
	for _, r := range answer.Results {
		answer.Error += r.Error
		for _, s := range r.Series {
			x := Result{Name: s.Name}
			for _, v := range s.Values {
				row := map[string]any{}
				for k, c := range s.Columns {
					row[c] = v[k]
				}
				x.Rows = append(x.Rows, row)
			}
			out = append(out, x)
		}
	}
	if answer.Error != "" {
		i.t.Fatalf("InfluxDB does not like %q: %s", q, answer.Error)
	}
	return out
}

// Count returns how many points a measurement has whose field is set.
func (i *Influxd) Count(measurement, field string) int64 {
	i.t.Helper()
	r := i.Query(fmt.Sprintf("SELECT count(%q) FROM %q", field, measurement))
	if len(r) == 0 {
		return 0
	}
	n, err := r[0].Rows[0]["count"].(json.Number).Int64()
	if err != nil {
		i.t.Fatal(err)
	}
	return n
}
