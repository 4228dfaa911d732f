package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/internal/daemon/explain"
	promexport "github.com/clockd/clockd/metrics/prometheus"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

const (
	// patience is how long the loop may take to answer.
	patience = 2 * time.Second
	// shareFor is how long one snapshot serves all who ask: so the loop is never asked more than twenty times a second.
	shareFor = 50 * time.Millisecond
)

// pages are what is served.
type pages struct {
	ask     control.Handler
	metrics http.Handler
	live    *live
	// document is the status page; it is made when it is asked for first.
	document func() (*document, error)
	log      *slog.Logger

	mu   sync.Mutex
	last *control.Snapshot
	at   time.Time
}

func newPages(ask control.Handler, m Memory, version string, log *slog.Logger) *pages {
	p := &pages{ask: ask, log: log, document: sync.OnceValues(func() (*document, error) { return makeDocument(version) })}
	host, err := os.Hostname()
	if err != nil {
		host = "this host"
	}
	p.live = newLive(m, p.look, host, log)
	p.metrics = promexport.Handler(p.snapshot, version, slog.NewLogLogger(log.Handler(), slog.LevelWarn))
	return p
}

// snapshot asks the loop, or hands out what it said a moment ago. Whoever waits for the loop has the others wait too.
func (p *pages) snapshot(ctx context.Context) (*control.Snapshot, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last != nil && time.Since(p.at) < shareFor {
		return p.last, nil
	}
	p.last = nil
	s, err := ask(ctx, p.ask)
	if err != nil {
		return nil, err
	}
	p.last, p.at = s, time.Now()
	return s, nil
}

// look is a snapshot for the status page, which looks once a second whether anybody asks or not. Nobody else is handed that one: who
// asks seldom gets what is true when he asks.
func (p *pages) look(ctx context.Context) (*control.Snapshot, error) {
	p.mu.Lock()
	handler := p.ask
	p.mu.Unlock()
	return ask(ctx, handler)
}

func ask(ctx context.Context, handler control.Handler) (*control.Snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	result, err := handler(ctx, control.CommandSnapshot)
	if err != nil {
		return nil, err
	}
	s, ok := result.(*control.Snapshot)
	if !ok {
		return nil, errors.New("web: the daemon answered something else")
	}
	return s, nil
}

func (p *pages) handler() http.Handler {
	m := http.NewServeMux()
	m.Handle("/metrics", p.metrics)
	m.HandleFunc("/healthz", p.health)
	m.HandleFunc("/readyz", p.ready)
	m.HandleFunc("/stream", p.live.serve)
	m.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			http.Error(w, "there is no such page: there are "+places, http.StatusNotFound)
			return
		}
		p.front(w, r)
	})
	return m
}

const places = "/, /metrics, /healthz and /readyz"

// front is the status page for browsers, and its first lines for others, such as curl.
func (p *pages) front(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Vary", "Accept")
	if strings.Contains(r.Header.Get("Accept"), "text/html") {
		d, err := p.document()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		d.serve(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	s, err := p.snapshot(r.Context())
	if err != nil {
		_, _ = fmt.Fprintf(w, "the daemon does not answer: %v\n", err)
		return
	}
	v := explain.Clock(s.Status, s.Sources.Sources)
	_, _ = fmt.Fprintf(w, "%s %s: %s\n", v.Level.Sign(), v.Title, v.Bound)
	for _, why := range v.Why {
		_, _ = fmt.Fprintf(w, "  %s\n", why)
	}
	_, _ = fmt.Fprintf(w, "clockd %s serves %s; / is a page for browsers\n", s.Status.Version, places)
}

// health is whether the daemon lives, whatever its clock is worth: the loop answers.
func (p *pages) health(w http.ResponseWriter, r *http.Request) {
	_, err := p.snapshot(r.Context())
	a := answer{OK: err == nil, Explanation: "the daemon is alive"}
	if err != nil {
		a.Explanation = "the daemon does not answer: " + err.Error()
	}
	a.write(w, r)
}

// ready is whether the clock may be used.
func (p *pages) ready(w http.ResponseWriter, r *http.Request) {
	s, err := p.snapshot(r.Context())
	if err != nil {
		(&answer{Explanation: "the daemon does not answer: " + err.Error()}).write(w, r)
		return
	}
	readiness(s.Status).write(w, r)
}

// answer is what a probe is told.
type answer struct {
	OK bool `json:"ok"`
	// Status, Reason, BoundS and MaxBoundS are null where the daemon was not asked for its clock, or does not know.
	Status      *virtualclock.Status `json:"status"`
	Reason      *reason.Code         `json:"reason"`
	Explanation string               `json:"explanation"`
	BoundS      *float64             `json:"bound_s"`
	MaxBoundS   *float64             `json:"max_bound_s"`
}

// readiness is 200 only while the clock is synchronised within the configured bound: in holdover the interval holds, but news is
// missing, and who sends work elsewhere wants to know before it ends.
func readiness(s *control.Status) *answer {
	a := &answer{Status: &s.Status, Reason: &s.Reason, BoundS: s.BoundS, MaxBoundS: &s.MaxBoundS}
	switch {
	case s.Status != virtualclock.Synchronised:
		a.Explanation = fmt.Sprintf("the clock is %s: %s", s.Status, s.Explanation)
	case s.BoundS == nil:
		a.Explanation = "the clock's error bound is not known"
	case *s.BoundS > s.MaxBoundS:
		a.Explanation = fmt.Sprintf("the clock's error bound of %v is above the limit of %v (clock.max_bound)", seconds(*s.BoundS), seconds(s.MaxBoundS))
	default:
		a.OK = true
		a.Explanation = fmt.Sprintf("the clock is synchronised within %v", seconds(*s.BoundS))
	}
	return a
}

func seconds(s float64) time.Duration { return time.Duration(s * 1e9).Round(time.Nanosecond) }

// write answers in JSON to who asks for it, and in words to all others.
func (a *answer) write(w http.ResponseWriter, r *http.Request) {
	code := http.StatusOK
	if !a.OK {
		code = http.StatusServiceUnavailable
	}
	w.Header().Set("Vary", "Accept")
	if !strings.Contains(r.Header.Get("Accept"), "application/json") {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(code)
		_, _ = fmt.Fprintln(w, a.Explanation)
		return
	}
	b, err := json.Marshal(a)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(append(b, '\n'))
}
