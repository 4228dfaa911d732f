package web

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"
	"unicode"

	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/internal/daemon/journal"
)

const (
	// beat is how often the clock is looked at for the page and its pictures.
	beat = time.Second
	// maxStreams is how many pages may be open at a time: others than people need connections too (maxConnections).
	maxStreams = 8
	// slowest is how long a page may take to take an update; then it must ask again.
	slowest = 5 * time.Second
	// again is how long a page waits before it asks again.
	again = 2 * time.Second
)

// Memory is what a daemon remembers for its page; it outlives the server that a reload replaces.
type Memory struct {
	Started time.Time
	Journal *journal.Journal
	History *History
}

// live looks at the clock once a second and tells who watches.
type live struct {
	Memory
	ask   func(context.Context) (*control.Snapshot, error)
	host  string
	log   *slog.Logger
	slots chan struct{}
	// slowest is how long a page may take to take an update.
	slowest time.Duration

	mu      sync.Mutex
	newest  *look
	changed chan struct{}
}

func newLive(m Memory, ask func(context.Context) (*control.Snapshot, error), host string, log *slog.Logger) *live {
	return &live{Memory: m, ask: ask, host: host, log: log, slots: make(chan struct{}, maxStreams), slowest: slowest, changed: make(chan struct{})}
}

// look is one look at the clock; its view is made once, for all who watch, and not at all if nobody does.
type look struct {
	at       time.Time
	snapshot *control.Snapshot
	err      error
	written  sync.Once
	view     json.RawMessage
}

// watch looks at the clock until ctx ends.
func (l *live) watch(ctx context.Context) {
	t := time.NewTicker(beat)
	defer t.Stop()
	for {
		l.once(ctx)
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

func (l *live) once(ctx context.Context) {
	x := &look{}
	x.snapshot, x.err = l.ask(ctx)
	if ctx.Err() != nil {
		return
	}
	if x.at = time.Now(); x.err == nil {
		l.History.add(pointOf(x.at.Sub(l.Started).Seconds(), x.snapshot))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.newest = x
	close(l.changed)
	l.changed = make(chan struct{})
}

// current returns the newest look, nil before the first, and a channel that is closed at the next.
func (l *live) current() (*look, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.newest, l.changed
}

// update is what a page is sent. Points are arrays, see point; Events are all of them, or null if there is nothing new.
type update struct {
	// Started is when the daemon started, in nanoseconds: another one is another daemon, and what was known of the one before is void.
	Started string `json:"started"`
	// UptimeS is the age of the daemon at this look: times of points and events count from the same instant.
	UptimeS float64 `json:"uptime_s"`
	// Error says why View is null.
	Error  string          `json:"error,omitempty"`
	View   json.RawMessage `json:"view"`
	Points json.RawMessage `json:"points"`
	Coarse json.RawMessage `json:"coarse"`
	Events []event         `json:"events"`
}

// reader is one page that watches.
type reader struct {
	told   place
	events uint64
	first  bool
}

// message is what a page has not been told yet.
func (l *live) message(r *reader, x *look) ([]byte, error) {
	u := update{Started: fmt.Sprint(l.Started.UnixNano()), UptimeS: x.at.Sub(l.Started).Seconds()}
	if x.err != nil {
		u.Error = "the daemon does not answer: " + x.err.Error()
	} else {
		x.written.Do(func() {
			b, err := json.Marshal(makeView(l.host, x.snapshot))
			if err != nil {
				l.log.Error("the page's view cannot be made", "error", err)
				return
			}
			x.view = visible(b)
		})
		u.View = x.view
	}
	u.Points, u.Coarse, r.told = l.History.since(r.told)
	if _, newest := l.Journal.Since(r.events); newest != r.events || r.first {
		all, newest := l.Journal.Since(0)
		u.Events, r.events, r.first = makeEvents(l.Started, all), newest, false
	}
	b, err := json.Marshal(u)
	return visible(b), err
}

// visible replaces what is not seen and changes how the rest is seen, such as the turning of the writing's direction in a name.
func visible(b []byte) []byte {
	return bytes.Map(func(r rune) rune {
		if unicode.Is(unicode.Cf, r) {
			return '\ufffd'
		}
		return r
	}, b)
}

// serve streams server-sent events (WHATWG HTML, 9.2) until the page goes, is too slow or the server ends.
func (l *live) serve(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	select {
	case l.slots <- struct{}{}:
		defer func() { <-l.slots }()
	default:
		header.Set("Retry-After", "10")
		http.Error(w, fmt.Sprintf("%d pages are open already, more are not served at a time", maxStreams), http.StatusServiceUnavailable)
		return
	}
	header.Set("Content-Type", "text/event-stream; charset=utf-8")
	header.Set("X-Accel-Buffering", "no")
	if r.Method == http.MethodHead {
		return
	}
	c := http.NewResponseController(w)
	// What is not watched for a while looks to the server like a request that does not end.
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	send := func(text string) bool {
		if err := c.SetWriteDeadline(time.Now().Add(l.slowest)); err != nil {
			return false
		}
		if _, err := fmt.Fprint(w, text); err != nil {
			return false
		}
		return c.Flush() == nil
	}
	if !send(fmt.Sprintf("retry: %d\n\n", again.Milliseconds())) {
		return
	}
	told := &reader{first: true}
	for {
		x, changed := l.current()
		if x != nil {
			b, err := l.message(told, x)
			if err != nil {
				l.log.Error("the page's update cannot be made", "error", err)
				return
			}
			if !send("data: " + string(b) + "\n\n") {
				return
			}
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}
