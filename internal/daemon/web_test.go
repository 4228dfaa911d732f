package daemon

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/clockd/clockd/internal/config"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/virtualclock"
)

// fetch asks a daemon over HTTP; the code is 0 if nobody answers.
func fetch(t *testing.T, port int, path string) (int, string) {
	t.Helper()
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	a, err := c.Get(fmt.Sprintf("http://127.0.0.1:%d%s", port, path))
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = a.Body.Close() }()
	b, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return a.StatusCode, string(b)
}

// pageIsTold waits until the status page has been told all of it, in one update or another.
func pageIsTold(t *testing.T, port int, all ...string) {
	t.Helper()
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience20}
	a, err := c.Get(fmt.Sprintf("http://127.0.0.1:%d/stream", port))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Body.Close() }()
	lines, told := bufio.NewReader(a.Body), ""
	for len(all) > 0 {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("the stream ends with %v, and %q was not told: %s", err, all, told)
		}
		told += line
		all = slices.DeleteFunc(all, func(want string) bool { return strings.Contains(line, want) })
	}
}

func httpSection(port int) string {
	return fmt.Sprintf("[http]\nlisten = [\"127.0.0.1:%d\"]\n", port)
}

// A real daemon's metrics are what its status says, and it is ready once it is synchronised.
func TestADaemonIsWatchedOverHTTP(t *testing.T) {
	testkit.NoLeaks(t)
	reference := launchReference(t, testkit.FreeUDPPort(t))
	port := testkit.FreeUDPPort(t)
	follower := launch(t, Options{Counter: skewed(t, 20), Config: parse(t, t.TempDir(), followerDocument(reference.served[0].String(), httpSection(port)))})
	follower.reach(virtualclock.Synchronised)
	if code, text := fetch(t, port, "/readyz"); code != 200 || !strings.Contains(text, "synchronised within") {
		t.Errorf("%d %s", code, text)
	}
	code, text := fetch(t, port, "/metrics")
	for _, line := range []string{`clockd_clock_status{status="synchronised"} 1`, "clockd_sources_max_false 0",
		fmt.Sprintf(`clockd_source_used{source=%q} 1`, reference.served[0].String()), `clockd_build_info{version="test"`} {
		if !strings.Contains(text, line) {
			t.Errorf("the metrics lack %s", line)
		}
	}
	if code != 200 || strings.Contains(text, "clockd_ntp_") || strings.Contains(text, "clockd_group_s") || !strings.Contains(text, `clockd_group_info{group="none"} 1`) || !strings.Contains(text, "\nclockd_property_rate_bound_ratio ") {
		t.Error("there is a server or a group that is not configured")
	}
	pageIsTold(t, port, `"state":"epoch 1"`, `"state":"synchronised"`, `"level":"good"`, `"status":"synchronised"`)
	reference.stop()
	testkit.WaitFor(t, patience20, "the follower to be ready no more", func() bool { code, _ := fetch(t, port, "/readyz"); return code == 503 })
	if code, _ := fetch(t, port, "/healthz"); code != 200 {
		t.Errorf("the daemon lives, and is said to be %d", code)
	}
}

func TestHTTPFollowsTheConfigurationAndHarmsNothing(t *testing.T) {
	testkit.NoLeaks(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	first, dir := taken.Addr().(*net.TCPAddr).Port, t.TempDir()
	document := "[local]\nstratum = 3\n"
	r := launch(t, Options{Config: parse(t, dir, document+httpSection(first)), Counter: skewed(t, 0)})
	r.reach(virtualclock.Synchronised) // a port that another daemon has costs no clock
	if s := r.status(); len(s.Trouble) != 1 || !strings.Contains(s.Trouble[0], "HTTP: ") {
		t.Errorf("trouble %v", s.Trouble)
	}
	epoch, second := r.status().Epoch, testkit.FreeUDPPort(t)
	load := func(text string) func() (*config.Config, error) {
		c := parse(t, dir, document+text)
		return func() (*config.Config, error) { return c, nil }
	}
	for range 3 { // the same address is taken over by the next server
		r.reloadWith(load(httpSection(second)))
		if code, _ := fetch(t, second, "/readyz"); code != 200 || len(r.status().Trouble) != 0 {
			t.Errorf("after a reload: %d, trouble %v", code, r.status().Trouble)
		}
	}
	// A token that cannot be read: nothing is served, rather than without it.
	token := filepath.Join(dir, "token")
	r.reloadWith(load(httpSection(second) + fmt.Sprintf("token_file = %q\n", token)))
	if code, _ := fetch(t, second, "/readyz"); code != 0 || len(r.status().Trouble) != 1 {
		t.Errorf("without its token: %d, trouble %v", code, r.status().Trouble)
	}
	if err := os.WriteFile(token, []byte("0123456789abcdef"), 0o600); err != nil {
		t.Fatal(err)
	}
	testkit.WaitFor(t, 2*patience20, "the token to be read", func() bool { code, _ := fetch(t, second, "/readyz"); return code == 401 })
	r.reloadWith(load(""))
	if code, _ := fetch(t, second, "/healthz"); code != 0 {
		t.Errorf("without [http] something answers: %d", code)
	}
	if s := r.status(); s.Epoch != epoch || s.Status != virtualclock.Synchronised {
		t.Errorf("the clock is %v in epoch %d, was in %d", s.Status, s.Epoch, epoch)
	}
}
