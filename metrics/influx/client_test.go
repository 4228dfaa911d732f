package influx

import (
	"bytes"
	"compress/gzip"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
)

// server answers as InfluxDB 2.x does: its bodies are those of influxdata/influxdb 2.7 (http/legacy and http/points), whose program
// cannot be had here.
type server struct {
	*httptest.Server
	mu sync.Mutex
	// answer, if set, decides instead of the lines; lines are what was taken.
	answer func(r *http.Request, body []byte) (status int, header map[string]string, text string)
	lines  map[string]int
	last   *http.Request
}

func newServer(t *testing.T, secured bool) *server {
	t.Helper()
	s := &server{lines: map[string]int{}}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		in := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			var err error
			if in, err = gzip.NewReader(r.Body); err != nil {
				t.Error(err)
				return
			}
		}
		body, err := io.ReadAll(in)
		if err != nil {
			return // it went away
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.last = r.Clone(r.Context())
		if s.answer != nil {
			status, header, text := s.answer(r, body)
			if status != http.StatusNoContent {
				w.Header().Set("Content-Type", "application/json; charset=utf-8")
			}
			for k, v := range header {
				w.Header().Set(k, v)
			}
			if status >= 300 || status == 0 {
				w.WriteHeader(status)
				_, _ = io.WriteString(w, text)
				return
			}
		}
		for l := range bytes.Lines(body) {
			s.lines[string(l)]++
		}
		w.WriteHeader(http.StatusNoContent)
	})
	if s.Server = httptest.NewUnstartedServer(h); secured {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

func (s *server) answers(f func(r *http.Request, body []byte) (int, map[string]string, string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = f
}

func (s *server) taken() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.lines)
}

// always is one answer to everything.
func always(status int, header map[string]string, text string) func(*http.Request, []byte) (int, map[string]string, string) {
	return func(*http.Request, []byte) (int, map[string]string, string) { return status, header, text }
}

// Each answer of 2.x is understood: what is dropped, what is waited for, how long, and what a person is told.
func TestAnswersOfInfluxDB2(t *testing.T) {
	testkit.NoLeaks(t)
	s := newServer(t, false)
	c, err := newClient(Target{URL: s.URL, Org: "lab", Bucket: "clockd"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	type header = map[string]string
	for _, x := range []struct {
		name    string
		status  int
		header  header
		text    string
		written uint64
		dropped reason.Code
		after   time.Duration
		token   bool
		says    string
	}{
		{"taken", 204, nil, "", 10, 0, 0, false, ""},
		{"unauthorised", 401, nil, `{"code":"unauthorized","message":"unauthorized access"}`, 0, 0, 0, true, "HTTP 401: the token, or user and password, is missing or wrong (unauthorized access)"},
		{"token without the right", 403, nil, `{"code":"forbidden","message":"insufficient permissions for write"}`, 0, 0, 0, true, "may not write there"},
		{"no bucket", 404, nil, `{"code":"not found","message":"bucket \"clockd\" not found"}`, 0, 0, 0, false, `bucket "clockd" not found`},
		{"no organisation", 404, nil, `{"code":"not found","message":"organization name \"lab\" not found"}`, 0, 0, 0, false, "organization"},
		{"all refused", 422, nil, `{"code":"unprocessable entity","message":"failure writing points to database: partial write: points beyond retention policy dropped=10"}`,
			0, reason.ExportRefused, 0, false, "beyond retention policy"},
		{"some refused", 422, nil, `{"code":"unprocessable entity","message":"failure writing points to database: partial write: field type conflict: input field \"x\" on measurement \"m\" is type float, already exists as type integer dropped=3"}`,
			7, reason.ExportRefused, 0, false, "type conflict"},
		{"more refused than sent", 422, nil, `{"code":"unprocessable entity","message":"partial write: x dropped=999"}`, 0, reason.ExportRefused, 0, false, "partial"},
		{"never parsed", 400, nil, `{"code":"invalid","message":"unable to parse 'm x=': missing field value"}`, 0, reason.ExportRefused, 0, false, "missing field value"},
		{"never small enough", 413, nil, `{"code":"request too large","message":"unable to read data: points batch is too large"}`, 0, reason.ExportTooLarge, 0, false, "too large"},
		{"too often", 429, header{"Retry-After": "17"}, `{"code":"too many requests","message":"org lab has exceeded limited_write plan limit"}`, 0, 0, 17 * time.Second, false, "is asked too much"},
		{"too often, for a year", 429, header{"Retry-After": "31536000"}, `{}`, 0, 0, maxRetryAfter, false, "is asked too much"},
		{"busy", 503, header{"Retry-After": "3"}, `{"code":"unavailable","message":"compaction backlog"}`, 0, 0, 3 * time.Second, false, "compaction backlog"},
		{"broken", 500, nil, `{"code":"internal error","message":"engine: cache-max-memory-size exceeded"}`, 0, 0, 0, false, "cache-max-memory-size"},
		{"a proxy", 502, header{"Content-Type": "text/html"}, "<html>" + strings.Repeat("x", 1<<20), 0, 0, 0, false, "…"},
		{"not JSON", 500, nil, `{"code":`, 0, 0, 0, false, "HTTP 500"},
		{"elsewhere", 307, header{"Location": "http://127.0.0.1:1/"}, ``, 0, 0, 0, false, "mend the URL"},
		{"lies about itself", 500, nil, `{"StatusCode":204,"code":"x","message":"\u0007\nx"}`, 0, 0, 0, false, ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			s.answers(always(x.status, x.header, x.text))
			d, err := c.deliver(t.Context(), testLines(0, 10))
			var wait *waitError
			if errors.As(err, &wait) {
				if x.written > 0 || x.dropped != 0 || wait.after != x.after || wait.token != x.token || !strings.Contains(err.Error(), x.says) || len(err.Error()) > 1000 {
					t.Errorf("it is waited for %v: %v", wait.after, err)
				}
				if strings.ContainsAny(err.Error(), "\a\n") {
					t.Errorf("%q", err)
				}
				return
			}
			if err != nil || x.written == 0 && x.dropped == 0 || d.written != x.written || d.lost != 10-x.written || d.lost != d.dropped[x.dropped] && d.lost > 0 || !strings.Contains(d.why, x.says) {
				t.Errorf("%+v, %v", d, err)
			}
		})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if q := s.last.URL.Query(); s.last.URL.Path != "/api/v2/write" || q.Get("org") != "lab" || q.Get("bucket") != "clockd" || q.Get("precision") != "ns" {
		t.Errorf("asked for %v", s.last.URL)
	}
}

// 2.x takes nothing of a batch of which a line is bad, and limits what a request may have: the bad lines are found, the others are taken.
func TestTheBadLinesAreFound(t *testing.T) {
	testkit.NoLeaks(t)
	s := newServer(t, false)
	requests := 0
	s.answers(func(_ *http.Request, body []byte) (int, map[string]string, string) {
		requests++
		switch {
		case len(body) > 5000:
			return 413, nil, `{"code":"request too large","message":"too large"}`
		case bytes.Contains(body, []byte("x=77 ")) || bytes.Contains(body, []byte("x=500 ")):
			return 400, nil, `{"code":"invalid","message":"unable to parse"}`
		}
		return 204, nil, ""
	})
	c, err := newClient(Target{URL: s.URL, Org: "lab", Bucket: "clockd"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	d, err := c.deliver(t.Context(), testLines(0, 1000))
	if err != nil || d.written != 998 || d.dropped[reason.ExportRefused] != 2 || d.lost != 2 || s.taken() != 998 || requests > 60 {
		t.Errorf("%+v, %v, %d lines taken, %d requests", d, err, s.taken(), requests)
	}
	// A server that refuses everything does not have to say so a thousand times.
	s.answers(func(*http.Request, []byte) (int, map[string]string, string) {
		requests++
		return 400, nil, `{"code":"invalid","message":"no"}`
	})
	requests = 0
	if d, err := c.deliver(t.Context(), testLines(0, 1000)); err != nil || d.lost != 1000 || requests > 2*maxRefusals {
		t.Errorf("%+v, %v, %d requests", d, err, requests)
	}
}

// The token is read again when it is refused, and never shown.
func TestRenewedToken(t *testing.T) {
	testkit.NoLeaks(t)
	s := newServer(t, false)
	s.answers(func(r *http.Request, _ []byte) (int, map[string]string, string) {
		if r.Header.Get("Authorization") != "Token new-secret==" {
			return 401, nil, `{"code":"unauthorized","message":"unauthorized access"}`
		}
		return 204, nil, ""
	})
	token := filepath.Join(t.TempDir(), "token")
	write := func(text string, mode os.FileMode) {
		if err := errors.Join(os.WriteFile(token, []byte(text), mode), os.Chmod(token, mode)); err != nil {
			t.Fatal(err)
		}
	}
	write("old-secret\n", 0o600)
	w := New(Options{Target: Target{URL: s.URL, Org: "o", Bucket: "b", TokenFile: token}, Flush: time.Millisecond, pauses: [2]time.Duration{50 * time.Millisecond, 100 * time.Millisecond}})
	w.Exchange(testExchange(1))
	testkit.WaitFor(t, time.Minute, "the refusal", func() bool { return w.Status().Trouble != "" })
	if x := w.Status(); strings.Contains(x.Trouble, "secret") || x.BufferedPoints != 1 {
		t.Errorf("%+v", x)
	}
	write("new-secret==\n", 0o644)
	testkit.WaitFor(t, time.Minute, "the mode of the file to be refused", func() bool { return strings.Contains(w.Status().Trouble, "chmod 600") })
	write("new-secret==\n", 0o600)
	wait(t, w, 1)
	w.Close()
	for text, says := range map[string]string{"": "one line", "a\nb": "one line", "\x01": "one line", strings.Repeat("x", maxToken+1): "larger"} {
		write(text, 0o600)
		if err := (Target{TokenFile: token}).Check(); err == nil || !strings.Contains(err.Error(), says) || len(text) > 1 && strings.Contains(err.Error(), text) {
			t.Errorf("%.10q: %v", text, err)
		}
	}
	if err := (Target{TokenFile: token + "x", CAFile: token}).Check(); err == nil || !strings.Contains(err.Error(), "token_file") || !strings.Contains(err.Error(), "ca_file") {
		t.Error(err)
	}
}

// TLS: the server's certificate is checked, against the system's or the given authorities.
func TestTLS(t *testing.T) {
	testkit.NoLeaks(t)
	s := newServer(t, true)
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o644); err != nil {
		t.Fatal(err)
	}
	for file, good := range map[string]bool{ca: true, "": false} {
		c, err := newClient(Target{URL: s.URL, Org: "o", Bucket: "b", CAFile: file}, nil)
		if err != nil {
			t.Fatal(err)
		}
		d, err := c.deliver(t.Context(), testLines(0, 3))
		if (err == nil) != good || good && d.written != 3 || !good && !strings.Contains(err.Error(), "certificate") {
			t.Errorf("with %q: %+v, %v", file, d, err)
		}
		c.close()
	}
}

// Elsewhere than on this host batches are compressed.
func TestCompressedAwayFromHome(t *testing.T) {
	testkit.NoLeaks(t)
	s := newServer(t, false)
	there := strings.Replace(s.URL, "127.0.0.1", "influx.invalid", 1)
	transport := &http.Transport{Proxy: func(*http.Request) (*url.URL, error) { return url.Parse(s.URL) }}
	c, err := newClient(Target{URL: there + "/behind/a/proxy", Bucket: "b"}, transport)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if d, err := c.deliver(t.Context(), testLines(0, 100)); err != nil || d.written != 100 || s.taken() != 100 {
		t.Errorf("%+v, %v, %d taken", d, err, s.taken())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last.Header.Get("Content-Encoding") != "gzip" || !strings.HasPrefix(s.last.URL.Path, "/behind/a/proxy/api/v2/") {
		t.Error(fmt.Sprint(s.last.Header, s.last.URL))
	}
}
