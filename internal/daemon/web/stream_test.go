package web

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/internal/daemon/explain"
	"github.com/clockd/clockd/internal/daemon/journal"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/agreement"
	"github.com/clockd/clockd/virtualclock"
)

func TestHistoryIsBoundedAndWorst(t *testing.T) {
	h := NewHistory()
	nothing := math.NaN()
	for i := range 2 * 86400 {
		p := point{at: float64(i), bound: 1e-3, low: -1e-3, high: 1e-3, estimate: 1e-6, std: nothing, spread: nothing, epsilon: nothing}
		switch i {
		case 2*86400 - 30: // in the last whole minute
			p.bound, p.estimate = 5e-3, -4e-6
		case 2*86400 - 90: // in the one before
			p.bound = nothing
		}
		h.add(p)
	}
	parse := func(b []byte) (list [][]*float64) {
		t.Helper()
		if err := json.Unmarshal(b, &list); err != nil {
			t.Fatal(err)
		}
		return list
	}
	fine, coarse, at := h.since(place{})
	f, c := parse(fine), parse(coarse)
	if len(f) != finePoints || len(c) != coarsePoints || *f[0][0] != 2*86400-finePoints || *f[len(f)-1][0] != 2*86400-1 {
		t.Fatalf("%d and %d points", len(f), len(c))
	}
	if last := c[len(c)-1]; *last[1] != 5e-3 || *last[4] != -4e-6 || last[5] != nil {
		t.Errorf("the worst of a minute is %s", coarse[len(coarse)-80:])
	}
	if before := c[len(c)-2]; before[1] != nil {
		t.Error("a minute in which the bound was not known has one")
	}
	if fine, coarse, next := h.since(at); string(fine) != "[]" || string(coarse) != "[]" || next != at {
		t.Errorf("nothing new is %s, %s", fine, coarse)
	}
	h.add(point{at: 1e6})
	if fine, _, _ := h.since(at); len(parse(fine)) != 1 {
		t.Errorf("one more is %s", fine)
	}
}

// A point has the error as the page draws it: clock minus true time.
func TestPointsHaveTheErrorsSign(t *testing.T) {
	s := synchronised()
	s.LowS, s.HighS, s.EstimateS, s.EstimateStdS = pointer(-1e-3), pointer(2e-3), pointer(5e-4), pointer(1e-6)
	if p := pointOf(7, s); p.low != -2e-3 || p.high != 1e-3 || p.estimate != -5e-4 || p.std != 1e-6 || p.at != 7 || !math.IsNaN(p.spread) {
		t.Errorf("%+v", p)
	}
	if b := pointOf(1, &control.Snapshot{Status: &control.Status{}, Sources: &control.Sources{}}).appendJSON(nil); string(b) != "[1.00,null,null,null,null,null,null,null]" {
		t.Errorf("what is not known is %s", b)
	}
}

// streaming is a page that watches.
type streaming struct {
	answer *http.Response
	lines  *bufio.Reader
}

func follow(t *testing.T, at string) *streaming {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+at+"/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	a, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Body.Close() })
	return &streaming{a, bufio.NewReader(a.Body)}
}

// next returns the next update; the error is the stream's end.
func (s *streaming) next() (update, error) {
	for {
		line, err := s.lines.ReadString('\n')
		if err != nil {
			return update{}, err
		}
		if text, ok := strings.CutPrefix(line, "data: "); ok {
			var u update
			return u, json.Unmarshal([]byte(text), &u)
		}
	}
}

func TestUpdatesAreStreamed(t *testing.T) {
	testkit.NoLeaks(t)
	var silent atomic.Bool
	m := memory()
	s := New(loopback(), func(context.Context, string) (any, error) {
		if silent.Load() {
			return nil, errors.New("the daemon is busy or ending")
		}
		return synchronised(), nil
	}, m, "test", quiet())
	t.Cleanup(s.Close)
	m.Journal.Add(journal.Entry{Topic: journal.TopicClock, Status: virtualclock.Synchronised})
	s.Listen()
	page := follow(t, s.Addresses()[0].String())
	if kind := page.answer.Header.Get("Content-Type"); kind != "text/event-stream; charset=utf-8" || page.answer.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("the stream is %q", kind)
	}
	first, err := page.next()
	if err != nil {
		t.Fatal(err)
	}
	var v view
	if err := json.Unmarshal(first.View, &v); err != nil || v.Level != explain.Good || v.Bound != "True time is within 2.00 ms of it" || v.Short != "± 2.00 ms" || len(first.Events) != 1 {
		t.Errorf("%v %s %+v", err, first.View, first.Events)
	}
	second, err := page.next()
	if err != nil || second.Events != nil || !strings.HasPrefix(string(second.Points), "[[") || strings.Count(string(second.Points), "[") != 2 || second.UptimeS <= first.UptimeS || second.Started != first.Started {
		t.Errorf("%v %+v", err, second)
	}
	m.Journal.Add(journal.Entry{Topic: journal.TopicSource, Name: "a", Reason: reason.SourceFalseticker, Value: 0.05})
	testkit.WaitFor(t, time.Minute, "the event", func() bool { u, err := page.next(); return err == nil && len(u.Events) == 2 })
	// What is not known is not shown as if it were.
	silent.Store(true)
	testkit.WaitFor(t, time.Minute, "the silence", func() bool {
		u, err := page.next()
		return err == nil && u.Error == "the daemon does not answer: the daemon is busy or ending" && string(u.View) == "null"
	})
	s.Close()
	for err == nil {
		_, err = page.next()
	}
}

// Places are limited and given back; others than pages still get an answer.
func TestStreamsAreLimited(t *testing.T) {
	testkit.NoLeaks(t)
	s, at := open(t, loopback(), says(synchronised()))
	var pages []*streaming
	for range maxStreams {
		p := follow(t, at)
		if _, err := p.next(); err != nil {
			t.Fatal(err)
		}
		pages = append(pages, p)
	}
	if g := request(t, "GET", "http://"+at+"/stream", nil); g.code != 503 || g.header.Get("Retry-After") == "" || !strings.Contains(g.body, "8 pages are open") {
		t.Errorf("one page more: %+v", g)
	}
	if g := request(t, "GET", "http://"+at+"/readyz", nil); g.code != 200 {
		t.Errorf("readiness with all pages open: %d", g.code)
	}
	if g := request(t, "HEAD", "http://"+at+"/", nil); g.code != 200 {
		t.Errorf("the page itself with all streams taken: %d", g.code)
	}
	_ = pages[0].answer.Body.Close()
	testkit.WaitFor(t, time.Minute, "the place to be given back", func() bool { return len(s.pages.live.slots) < maxStreams })
	if _, err := follow(t, at).next(); err != nil {
		t.Errorf("in the place that was left: %v", err)
	}
}

// Whoever does not read is dropped, and the others are not held up.
func TestSlowReadersAreDropped(t *testing.T) {
	testkit.NoLeaks(t)
	big := synchronised()
	for i := range maxRows {
		big.Sources.Sources = append(big.Sources.Sources, control.Source{Name: fmt.Sprintf("%s%d", strings.Repeat("n", 5_000), i)})
	}
	s := New(loopback(), says(big), memory(), "test", quiet())
	t.Cleanup(s.Close)
	s.pages.live.slowest = 4 * time.Second // the one that reads may be slow, too, on a busy machine
	s.Listen()
	at := s.Addresses()[0].String()
	c, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).SetReadBuffer(4096); err != nil { // so that it is full soon
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := io.WriteString(c, "GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	reader := follow(t, at)
	testkit.WaitFor(t, time.Minute, "both pages", func() bool { _, err := reader.next(); return err == nil && len(s.pages.live.slots) == 2 })
	testkit.WaitFor(t, 2*time.Minute, "the one that does not read to be dropped", func() bool { _, err := reader.next(); return err == nil && len(s.pages.live.slots) == 1 })
}

func TestThePageIsOneCompressedDocument(t *testing.T) {
	_, at := open(t, loopback(), says(synchronised()))
	plain := request(t, "GET", "http://"+at+"/", map[string]string{"Accept": "text/html", "Accept-Encoding": "identity"})
	packed := request(t, "GET", "http://"+at+"/", map[string]string{"Accept": "text/html", "Accept-Encoding": "br;q=1, gzip;q=0.5"})
	if plain.code != 200 || plain.header.Get("Content-Encoding") != "" || !strings.HasPrefix(plain.body, "<!DOCTYPE html>") || strings.Contains(plain.body, "{{") {
		t.Errorf("%d %v", plain.code, plain.header)
	}
	if packed.header.Get("Content-Encoding") != "gzip" || len(packed.body) > 50_000 || !strings.Contains(strings.Join(packed.header.Values("Vary"), ","), "Accept-Encoding") {
		t.Errorf("%d bytes, %v", len(packed.body), packed.header)
	}
	policy := plain.header.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "script-src 'sha256-", "style-src 'sha256-", "connect-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("the policy lacks %s: %s", want, policy)
		}
	}
	if strings.Contains(policy, "unsafe") || plain.header.Get("X-Frame-Options") != "DENY" || plain.header.Get("Cross-Origin-Opener-Policy") != "same-origin" {
		t.Errorf("%v", plain.header)
	}
	// curl gets the verdict in words.
	if g := request(t, "GET", "http://"+at+"/", map[string]string{"Accept": "*/*"}); !strings.HasPrefix(g.body, "✓ this clock is good: true time is within 2.00 ms of it\n") || !strings.Contains(g.body, "/readyz") {
		t.Errorf("without HTML: %s", g.body)
	}
	t.Logf("the page has %d bytes, %d with gzip", len(plain.body), len(packed.body))
}

func TestCodingsAreNegotiated(t *testing.T) {
	for header, want := range map[string]bool{"": false, "gzip": true, "GZIP": true, "br, gzip": true, "gzip;q=0": false, "gzip; q=0.0": false, "gzip;q=0.001": true, "gzipped": false, "gzip;q=x": false, "identity": false} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Accept-Encoding", header)
		if accepts(r, "gzip") != want {
			t.Errorf("%q gives %v", header, !want)
		}
	}
}

// Another site's page may link here, nothing else: it would use the user's password.
func TestForeignPagesAreRefused(t *testing.T) {
	_, at := open(t, loopback(), says(synchronised()))
	for _, c := range []struct {
		site, mode, destination string
		code                    int
	}{{"cross-site", "no-cors", "image", 403}, {"same-site", "cors", "empty", 403}, {"cross-site", "navigate", "iframe", 403}, {"cross-site", "navigate", "document", 200},
		{"same-origin", "cors", "empty", 200}, {"none", "navigate", "document", 200}} {
		if g := request(t, "GET", "http://"+at+"/healthz", map[string]string{"Sec-Fetch-Site": c.site, "Sec-Fetch-Mode": c.mode, "Sec-Fetch-Dest": c.destination}); g.code != c.code {
			t.Errorf("%+v gives %d", c, g.code)
		}
	}
}

// Browsers show the token as a password.
func TestThePasswordIsTheToken(t *testing.T) {
	_, at := open(t, certificate(t), says(synchronised()))
	basic := func(user, password string) string {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.SetBasicAuth(user, password)
		return r.Header.Get("Authorization")
	}
	for header, code := range map[string]int{basic("", "0123456789abcdef"): 200, basic("me", "0123456789abcdef"): 200, basic("0123456789abcdef", ""): 401, basic("me", "0123456789abcdeF"): 401, "Basic x": 401} {
		for _, path := range []string{"/", "/metrics", "/stream"} {
			method := "GET"
			if path == "/stream" {
				method = "HEAD"
			}
			if g := request(t, method, "https://"+at+path, map[string]string{"Authorization": header, "Accept": "text/html"}); g.code != code {
				t.Errorf("%s with %q gives %d", path, header, g.code)
			}
		}
	}
	g := request(t, "GET", "https://"+at+"/", nil)
	if all := strings.Join(g.header.Values("WWW-Authenticate"), "; "); !strings.Contains(all, "Bearer realm") || !strings.Contains(all, "Basic realm") {
		t.Errorf("the browser is not told to ask: %q", all)
	}
}

// Whatever a snapshot has, the view is JSON and bounded, and has no number for what is not known.
func TestViewsOfStrangeSnapshots(t *testing.T) {
	s := synchronised()
	s.Status.Status, s.Status.Reason, s.Status.BoundS = virtualclock.Unsynchronised, reason.NoMajority, nil
	for i := range 1000 {
		s.Sources.Sources = append(s.Sources.Sources, control.Source{Name: fmt.Sprint(i), Reason: reason.Code(i % int(reason.Count)), Rejections: map[string]uint64{"packet_late": 3, "no_such_reason": 1}})
	}
	s.Status.Group = &control.Group{Status: agreement.Sync, Members: 2, Peers: []control.Peer{{Name: "b", Reason: reason.PeerSilent}}}
	v := makeView("h", s)
	b, err := json.Marshal(v)
	if err != nil || len(v.Sources) != maxRows || !strings.HasPrefix(v.More, "800 more sources") || v.Level != explain.Bad || v.TimeMS != nil {
		t.Fatalf("%v: %d rows, %q, %s", err, len(v.Sources), v.More, v.Level)
	}
	for _, never := range []string{`"offset":"0`, `"bound":"0`, "NaN", "± 0 s"} {
		if strings.Contains(string(b), never) {
			t.Errorf("%s is in the view", never)
		}
	}
	if more := strings.Join(v.Sources[1].More, "|"); !strings.Contains(more, "rejected 3×: the answer came after its deadline") || !strings.Contains(more, "rejected 1×: no_such_reason") {
		t.Errorf("rejections read %s", more)
	}
}

// What a look costs the daemon, once a second, watched or not.
func BenchmarkLook(b *testing.B) {
	s := synchronised()
	for i := range 100 {
		s.Sources.Sources = append(s.Sources.Sources, control.Source{Name: fmt.Sprint(i), Rejections: map[string]uint64{"packet_late": 3}})
	}
	l := newLive(memory(), func(context.Context) (*control.Snapshot, error) { return s, nil }, "h", quiet())
	b.Run("unwatched", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			l.once(context.Background())
		}
	})
	b.Run("watched", func(b *testing.B) {
		b.ReportAllocs()
		r := &reader{}
		for b.Loop() {
			l.once(context.Background())
			if _, err := l.message(r, l.newest); err != nil {
				b.Fatal(err)
			}
		}
	})
}
