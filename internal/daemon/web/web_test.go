package web

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/config"
	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/internal/daemon/journal"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

func pointer[T any](x T) *T { return &x }

// synchronised is what a good clock says.
func synchronised() *control.Snapshot {
	return &control.Snapshot{
		Status:  &control.Status{Status: virtualclock.Synchronised, Kind: control.KindExternal, BoundS: pointer(0.002), MaxBoundS: 0.1},
		Sources: &control.Sources{},
	}
}

func says(s *control.Snapshot) control.Handler {
	return func(context.Context, string) (any, error) { return s, nil }
}

func loopback() *config.HTTP {
	return &config.HTTP{Listen: []config.Listen{config.Listen(netip.MustParseAddrPort("127.0.0.1:0"))}}
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func memory() Memory {
	return Memory{Started: time.Now(), Journal: journal.New(time.Now), History: NewHistory()}
}

// open serves, and returns the address.
func open(t *testing.T, c *config.HTTP, ask control.Handler) (*Server, string) {
	t.Helper()
	s := New(c, ask, memory(), "test", quiet())
	t.Cleanup(s.Close)
	s.Listen()
	if s.Trouble() != "" {
		t.Fatal(s.Trouble())
	}
	return s, s.Addresses()[0].String()
}

type got struct {
	code   int
	body   string
	header http.Header
}

func request(t *testing.T, method, url string, header map[string]string) got {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		if r.Header.Set(k, v); k == "Host" {
			r.Host = v
		}
	}
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // a certificate of its own making
	a, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Body.Close() }()
	b, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return got{a.StatusCode, string(b), a.Header}
}

func TestOnlyReadingIsAnswered(t *testing.T) {
	testkit.NoLeaks(t)
	_, at := open(t, loopback(), says(synchronised()))
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"} {
		if g := request(t, method, "http://"+at+"/metrics", nil); g.code != http.StatusMethodNotAllowed || g.header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s gives %+v", method, g)
		}
	}
	for path, code := range map[string]int{"/": 200, "/metrics": 200, "/healthz": 200, "/readyz": 200, "/debug/pprof/": 404, "/debug/vars": 404, "/x": 404} {
		g := request(t, "GET", "http://"+at+path, nil)
		if g.code != code {
			t.Errorf("%s gives %d", path, g.code)
		}
		for _, h := range []string{"X-Content-Type-Options", "X-Frame-Options", "Content-Security-Policy", "Referrer-Policy", "Cache-Control"} {
			if g.header.Get(h) == "" {
				t.Errorf("%s comes without %s", path, h)
			}
		}
	}
	if g := request(t, "HEAD", "http://"+at+"/readyz", nil); g.code != 200 || g.body != "" {
		t.Errorf("HEAD gives %+v", g)
	}
	if g := request(t, "GET", "http://"+at+"/metrics", nil); !strings.Contains(g.body, `clockd_clock_status{status="synchronised"} 1`) {
		t.Error("the metrics are not those of the clock")
	}
}

func TestReadiness(t *testing.T) {
	cases := []struct {
		name  string
		alter func(*control.Status)
		code  int
		says  string
	}{
		{"good", func(*control.Status) {}, 200, "the clock is synchronised within 2ms"},
		{"holdover", func(s *control.Status) {
			s.Status, s.Reason, s.Explanation = virtualclock.Holdover, reason.Stale, reason.Stale.Explain()
		}, 503, "the clock is holdover: no new sample"},
		{"nothing", func(s *control.Status) {
			s.Status, s.Reason, s.Explanation, s.BoundS = virtualclock.Unsynchronised, reason.NoMajority, reason.NoMajority.Explain(), nil
		}, 503, "contradict one another"},
		{"too wide", func(s *control.Status) { s.BoundS = pointer(0.2) }, 503, "200ms is above the limit of 100ms"},
		{"no bound", func(s *control.Status) { s.BoundS = nil }, 503, "not known"},
	}
	for _, c := range cases {
		s := synchronised()
		c.alter(s.Status)
		_, at := open(t, loopback(), says(s))
		if g := request(t, "GET", "http://"+at+"/readyz", nil); g.code != c.code || !strings.Contains(g.body, c.says) {
			t.Errorf("%s: %d %s", c.name, g.code, g.body)
		}
		g := request(t, "GET", "http://"+at+"/readyz", map[string]string{"Accept": "application/json"})
		var a answer
		if err := json.Unmarshal([]byte(g.body), &a); err != nil || a.OK != (c.code == 200) || *a.Status != s.Status.Status || *a.Reason != s.Status.Reason ||
			(a.BoundS == nil) != (s.Status.BoundS == nil) || !strings.Contains(a.Explanation, c.says) || g.code != c.code {
			t.Errorf("%s: %v %s", c.name, err, g.body)
		}
		if g := request(t, "GET", "http://"+at+"/healthz", nil); g.code != 200 {
			t.Errorf("%s: a daemon that lives is not healthy: %s", c.name, g.body)
		}
	}
}

func TestALoopThatDoesNotAnswerIsSaid(t *testing.T) {
	_, at := open(t, loopback(), func(context.Context, string) (any, error) { return nil, errors.New("the daemon is busy or ending") })
	for path, code := range map[string]int{"/healthz": 503, "/readyz": 503, "/metrics": 500} {
		if g := request(t, "GET", "http://"+at+path, nil); g.code != code || !strings.Contains(g.body, "busy or ending") {
			t.Errorf("%s gives %d %s", path, g.code, g.body)
		}
	}
}

// Many who ask at once cost the loop one answer, and nobody gets an old one.
func TestTheLoopIsAskedSeldom(t *testing.T) {
	var asked atomic.Int64
	p := newPages(func(context.Context, string) (any, error) {
		asked.Add(1)
		return synchronised(), nil
	}, memory(), "", quiet())
	p.at = time.Now().Add(time.Hour)
	p.last = synchronised()
	for range 100 {
		if s, err := p.snapshot(t.Context()); err != nil || s != p.last {
			t.Fatal(err)
		}
	}
	if asked.Load() != 0 {
		t.Errorf("asked %d times for what was known", asked.Load())
	}
	p.at = time.Now().Add(-shareFor)
	if _, err := p.snapshot(t.Context()); err != nil || asked.Load() != 1 {
		t.Errorf("an old snapshot is handed out: %v", err)
	}
}

func TestForeignNamesOnLoopbackAreRefused(t *testing.T) {
	_, at := open(t, loopback(), says(synchronised()))
	for host, code := range map[string]int{"localhost:1": 200, "127.0.0.1": 200, "[::1]:5": 200, "evil.example": 421, "evil.example:9123": 421, "localhost.evil.example": 421} {
		if g := request(t, "GET", "http://"+at+"/readyz", map[string]string{"Host": host}); g.code != code {
			t.Errorf("%s gives %d", host, g.code)
		}
	}
}

// certificate writes a certificate of its own making, and a token.
func certificate(t *testing.T) *config.HTTP {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)},
		&x509.Certificate{SerialNumber: big.NewInt(1)}, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	c, dir := loopback(), t.TempDir()
	c.CertFile, c.KeyFile, c.TokenFile = filepath.Join(dir, "crt"), filepath.Join(dir, "key"), filepath.Join(dir, "token")
	for path, b := range map[string][]byte{
		c.CertFile:  pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		c.KeyFile:   pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		c.TokenFile: []byte("0123456789abcdef\n"),
	} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func TestTLSAndToken(t *testing.T) {
	testkit.NoLeaks(t)
	_, at := open(t, certificate(t), says(synchronised()))
	for header, code := range map[string]int{"": 401, "Bearer": 401, "Bearer 0123456789abcdeF": 401, "Basic 0123456789abcdef": 401, "Bearer 0123456789abcdef0": 401,
		"Bearer 0123456789abcdef": 200, "bearer 0123456789abcdef": 200} {
		for _, path := range []string{"/metrics", "/readyz", "/"} {
			if g := request(t, "GET", "https://"+at+path, map[string]string{"Authorization": header}); g.code != code || strings.Contains(g.body, "0123456789abcdef") {
				t.Errorf("%s with %q gives %d %s", path, header, g.code, g.body)
			}
		}
	}
	if g := request(t, "GET", "https://"+at+"/healthz", nil); g.code != 200 {
		t.Errorf("liveness needs the token: %d", g.code)
	}
	if g := request(t, "GET", "http://"+at+"/healthz", nil); g.code != 400 {
		t.Errorf("without TLS: %d", g.code)
	}
	if _, err := tls.Dial("tcp", at, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
}

func TestFilesThatCannotBeUsedAreSaid(t *testing.T) {
	cases := map[string]struct {
		spoil func(c *config.HTTP) error
		says  string
	}{
		"token for all to read": {func(c *config.HTTP) error { return os.Chmod(c.TokenFile, 0o644) }, "chmod 600"},
		"key for all to read":   {func(c *config.HTTP) error { return os.Chmod(c.KeyFile, 0o644) }, "chmod 600"},
		"no token":              {func(c *config.HTTP) error { return os.Remove(c.TokenFile) }, "no such file"},
		"short token":           {func(c *config.HTTP) error { return os.WriteFile(c.TokenFile, []byte("short"), 0o600) }, "openssl rand"},
		"two words":             {func(c *config.HTTP) error { return os.WriteFile(c.TokenFile, []byte("0123456789abcdef 0"), 0o600) }, "one word"},
		"endless token":         {func(c *config.HTTP) error { return os.WriteFile(c.TokenFile, make([]byte, maxToken+1), 0o600) }, "one word"},
		"no certificate":        {func(c *config.HTTP) error { return os.Remove(c.CertFile) }, "cert_file"},
		"bad certificate":       {func(c *config.HTTP) error { return os.WriteFile(c.CertFile, []byte("x"), 0o600) }, "cert_file"},
	}
	for name, c := range cases {
		h := certificate(t)
		if err := c.spoil(h); err != nil {
			t.Fatal(err)
		}
		s := New(h, says(synchronised()), memory(), "", quiet())
		s.Listen()
		if !strings.Contains(s.Trouble(), c.says) || len(s.Addresses()) != 0 {
			t.Errorf("%s: trouble %q, served at %v", name, s.Trouble(), s.Addresses())
		}
		if err := Check(h); err == nil || err.Error() != s.Trouble() {
			t.Errorf("%s: clockd check says %v", name, err)
		}
		s.Close()
	}
	if Check(nil) != nil || Check(certificate(t)) != nil {
		t.Error("what is good, or not there, is complained of")
	}
}

func TestATakenPortIsTriedAgain(t *testing.T) {
	testkit.NoLeaks(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := loopback()
	c.Listen = append(c.Listen, config.Listen(netip.MustParseAddrPort(l.Addr().String())))
	s := New(c, says(synchronised()), memory(), "", quiet())
	defer s.Close()
	s.Listen()
	if !strings.Contains(s.Trouble(), "in use") || len(s.Addresses()) != 1 {
		t.Errorf("trouble %q, served at %v", s.Trouble(), s.Addresses())
	}
	_ = l.Close()
	if s.Listen(); s.Trouble() != "" || len(s.Addresses()) != 2 {
		t.Errorf("trouble %q, served at %v", s.Trouble(), s.Addresses())
	}
	// Another one takes the place at once.
	s.Release()
	next := New(c, says(synchronised()), memory(), "", quiet())
	defer next.Close()
	if next.Listen(); next.Trouble() != "" {
		t.Error(next.Trouble())
	}
}

// A socket that breaks under the server is said, and opened again.
func TestABrokenSocketIsOpenedAgain(t *testing.T) {
	testkit.NoLeaks(t)
	s, _ := open(t, loopback(), says(synchronised()))
	s.mu.Lock()
	_ = s.sockets[0].Close()
	s.mu.Unlock()
	testkit.WaitFor(t, 20*time.Second, "the trouble to be said", func() bool { return s.Trouble() != "" && len(s.Addresses()) == 0 })
	if s.Listen(); s.Trouble() != "" || len(s.Addresses()) != 1 {
		t.Fatalf("trouble %q, served at %v", s.Trouble(), s.Addresses())
	}
	if g := request(t, "GET", "http://"+s.Addresses()[0].String()+"/healthz", nil); g.code != 200 {
		t.Errorf("afterwards: %d", g.code)
	}
}

// Whoever is slow on purpose holds a connection for a moment, and no more of them than there are.
func TestSlowAndGreedyClientsAreCutOff(t *testing.T) {
	testkit.NoLeaks(t)
	_, at := open(t, loopback(), says(synchronised()))
	for name, text := range map[string]string{"slow": "GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-A: ", "greedy": "GET / HTTP/1.1\r\nHost: localhost\r\nX-A: " + strings.Repeat("a", 64<<10)} {
		c, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, text)
		_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
		b, err := io.ReadAll(bufio.NewReader(c))
		if e := net.Error(nil); errors.As(err, &e) && e.Timeout() || strings.Contains(string(b), "200 OK") {
			t.Errorf("%s: %v %s", name, err, b)
		}
		_ = c.Close()
	}
	var held []net.Conn
	for range maxConnections {
		c, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
	}
	// They are cut off by the header's deadline, and then others are served.
	if g := request(t, "GET", "http://"+at+"/healthz", nil); g.code != 200 {
		t.Errorf("after a flood: %d", g.code)
	}
	for _, c := range held {
		_ = c.Close()
	}
}

func TestCloseDoesNotWaitForTheLoop(t *testing.T) {
	testkit.NoLeaks(t)
	entered := make(chan struct{})
	var asked atomic.Int64
	s, at := open(t, loopback(), func(ctx context.Context, _ string) (any, error) {
		switch asked.Add(1) { // the page looks at the clock by itself, too
		case 1:
			return nil, errors.New("the daemon is busy or ending")
		case 2:
			close(entered)
		}
		<-ctx.Done()
		return nil, errors.New("the daemon is busy or ending")
	})
	answered := make(chan string, 1)
	go func() {
		a, err := http.Get("http://" + at + "/readyz")
		if err != nil {
			answered <- err.Error()
			return
		}
		b, _ := io.ReadAll(a.Body)
		_ = a.Body.Close()
		answered <- fmt.Sprint(a.StatusCode, " ", string(b))
	}()
	<-entered
	s.Close()
	if got := <-answered; !strings.HasPrefix(got, "503") {
		t.Errorf("the request was answered with %s", got)
	}
	http.DefaultClient.CloseIdleConnections()
}
