package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/clockd/clockd/internal/cli"
	"github.com/clockd/clockd/internal/lab/result"
	"github.com/clockd/clockd/internal/testkit"
)

// takes is a server that keeps the lines it is given; what a real InfluxDB makes of them is tested in internal/lab/influxdb.
func takes(t *testing.T) (url string, lines func() string) {
	t.Helper()
	var mu sync.Mutex
	var all bytes.Buffer
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.URL.Query().Get("bucket") == "refused" {
			http.Error(w, `{"code":"not found"}`, http.StatusNotFound)
			return
		}
		_, _ = io.Copy(&all, r.Body)
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(s.Close)
	return s.URL, func() string {
		mu.Lock()
		defer mu.Unlock()
		return all.String()
	}
}

func TestSimWritesToInfluxDB(t *testing.T) {
	testkit.NoLeaks(t)
	url, lines := takes(t)
	dir := filepath.Join(t.TempDir(), "runs")
	code, out, complaints := run(t, "sim", "lan_sw", "--seeds", "7-8", "--out", dir, "--influx", url, "--influx-run", "mine")
	if code != cli.OK || !strings.Contains(complaints, "points are in the InfluxDB at "+url) {
		t.Fatalf("code %d\n%s\n%s", code, out, complaints)
	}
	text := lines()
	for _, want := range []string{"clockbench_run,host=", `command="sim lan_sw --out=`, "clockbench_series,clock=client,host=", "mode=sim,run=mine,scenario=lan_sw,seed=7,track=client",
		"seed=8", "clockbench_property,", "clockbench_event,"} {
		if !strings.Contains(text, want) {
			t.Errorf("no line has %s", want)
		}
	}
	for _, seed := range []string{"7", "8"} {
		r, err := result.Read(filepath.Join(dir, "lan_sw-"+seed))
		if err != nil {
			t.Fatal(err)
		}
		if words := strings.Join(r.Command, " "); strings.Contains(words, "influx") {
			t.Errorf("to repeat it: %s", words)
		}
		if n := strings.Count(text, "seed="+seed+",track=client"); n < 1000 {
			t.Errorf("%d rows of seed %s", n, seed)
		}
	}
}

func TestInfluxMistakes(t *testing.T) {
	testkit.NoLeaks(t)
	url, _ := takes(t)
	dir := filepath.Join(t.TempDir(), "x")
	for _, x := range []struct {
		code  int
		says  string
		flags []string
	}{
		{cli.Usage, "give --out DIR too", []string{"--influx", url}},
		{cli.Usage, "give --out DIR too", []string{"--influx", url, "--out", dir + ".json"}},
		{cli.Usage, "--influx-bucket without --influx", []string{"--influx-bucket", "b", "--out", dir}},
		{cli.Usage, "give an address such as", []string{"--influx", "127.0.0.1:8086", "--out", dir}},
		{cli.Usage, "must not be empty", []string{"--influx", url, "--influx-bucket", "", "--out", dir}},
		{cli.Error, "no such file", []string{"--influx", url, "--influx-token-file", dir + "/token", "--out", dir}},
		{cli.Error, "no such bucket", []string{"--influx", url, "--influx-bucket", "refused", "--out", dir}},
	} {
		code, _, complaints := run(t, append([]string{"sim", "lan_sw", "--seeds", "1"}, x.flags...)...)
		if code != x.code || !strings.Contains(complaints, x.says) {
			t.Errorf("%v: code %d, %s", x.flags, code, complaints)
		}
	}
	if _, err := result.Read(dir); err == nil {
		t.Error("work was done for nothing")
	}
}
