package daemon

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/config"
	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/virtualclock"
)

const patience20 = 20 * time.Second

// running is a daemon in this process.
type running struct {
	t       *testing.T
	config  *config.Config
	options Options
	reload  chan struct{}
	cancel  context.CancelFunc
	done    chan error
	served  []netip.AddrPort
	log     lockedLog
	stopped bool

	mu   sync.Mutex
	told []string
	next func() (*config.Config, error)
}

// lockedLog is where a daemon logs.
type lockedLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// parse makes a configuration whose files are in dir.
func parse(t *testing.T, dir, document string) *config.Config {
	t.Helper()
	c, err := config.Parse("test", []byte(document), config.Paths{
		Page: filepath.Join(dir, "page"), Control: filepath.Join(dir, "control"), State: filepath.Join(dir, "state.json")})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// skewed returns this machine's counter through an oscillator that is wrong by ppm.
func skewed(t testing.TB, ppm float64) hw.Counter {
	t.Helper()
	c, err := hw.Open(fmt.Sprintf("skewed(auto,ppm=%g)", ppm))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// launch starts a daemon and waits until its loop runs.
func launch(t *testing.T, o Options) *running {
	t.Helper()
	r := &running{t: t, config: o.Config, reload: make(chan struct{}, 1), done: make(chan error, 1)}
	level := &slog.LevelVar{}
	level.Set(slog.LevelDebug)
	o.Log, o.Level, o.Version, o.Reload = slog.New(slog.NewTextHandler(&r.log, &slog.HandlerOptions{Level: level})), level, "test", r.reload
	o.Notify = func(s string) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.told = append(r.told, s)
	}
	o.Load = func() (*config.Config, error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.next()
	}
	started := make(chan []netip.AddrPort, 8)
	o.Started = func(a []netip.AddrPort) {
		select {
		case started <- a:
		default:
		}
	}
	r.options = o
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go func() { r.done <- Run(ctx, o) }()
	t.Cleanup(func() {
		r.stop()
		if t.Failed() {
			t.Logf("log of %s:\n%s", r.config.Page.Path, r.log.String())
		}
	})
	select {
	case r.served = <-started:
	case err := <-r.done:
		r.done <- err
		t.Fatalf("the daemon did not start: %v", err)
	case <-time.After(patience20):
		t.Fatal("the daemon does not start")
	}
	return r
}

// stop ends the daemon and checks that it ended well.
func (r *running) stop() {
	r.t.Helper()
	if r.stopped {
		return
	}
	r.stopped = true
	r.cancel()
	select {
	case err := <-r.done:
		if err != nil {
			r.t.Errorf("the daemon ended with %v", err)
		}
	case <-time.After(patience20):
		r.t.Error("the daemon does not end")
	}
}

func (r *running) heard(want string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.told {
		if strings.HasPrefix(s, want) {
			return true
		}
	}
	return false
}

func (r *running) status() control.Status {
	r.t.Helper()
	var s control.Status
	if err := control.Call(context.Background(), r.config.Control.Path, control.CommandStatus, &s); err != nil {
		r.t.Fatal(err)
	}
	return s
}

func (r *running) sources() control.Sources {
	r.t.Helper()
	var s control.Sources
	if err := control.Call(context.Background(), r.config.Control.Path, control.CommandSources, &s); err != nil {
		r.t.Fatal(err)
	}
	return s
}

// reach waits until the clock has that status.
func (r *running) reach(want virtualclock.Status) {
	r.t.Helper()
	testkit.WaitFor(r.t, patience20, "the clock to be "+want.String(), func() bool { return r.status().Status == want })
}

// reloadWith has the daemon read a new configuration and waits until it has.
func (r *running) reloadWith(next func() (*config.Config, error)) {
	r.t.Helper()
	before := r.status()
	r.mu.Lock()
	r.next = next
	r.mu.Unlock()
	r.reload <- struct{}{}
	testkit.WaitFor(r.t, patience20, "the reload", func() bool {
		s := r.status()
		return s.Config.Reloads > before.Config.Reloads || s.Config.Error != before.Config.Error
	})
}

// launchReference starts a daemon that is the reference, on a free port or the given one.
func launchReference(t *testing.T, port int) *running {
	t.Helper()
	document := fmt.Sprintf("[local]\nstratum = 3\n[server]\nlisten = [\"127.0.0.1:%d\"]\nrate = 100000\nburst = 100000\n", port)
	return launch(t, Options{Config: parse(t, t.TempDir(), document), Counter: skewed(t, 0)})
}

// followerDocument is the configuration of a daemon that follows one server quickly.
func followerDocument(address, rest string) string {
	return fmt.Sprintf("[[source]]\naddress = %q\npoll = \"100ms\"\nburst_spacing = \"10ms\"\n%s\n", address, rest)
}

// contained reads the reference's page around the follower's, n times, and counts how often the follower's interval did not
// contain the reference's time, which is true by definition.
func contained(t *testing.T, reference, follower *running, n int) (violations int) {
	t.Helper()
	open := func(r *running) *virtualclock.Reader {
		reader, err := virtualclock.OpenPage(r.config.Page.Path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = reader.Close() })
		return reader
	}
	truth, clock := open(reference), open(follower)
	for range n {
		before := truth.Now()
		i := clock.Now()
		after := truth.Now()
		if !before.Sound() || !after.Sound() {
			t.Fatal("the reference is not sound")
		}
		if after.Latest.Before(i.Earliest) || i.Latest.Before(before.Earliest) {
			violations++
		}
		time.Sleep(100 * time.Microsecond)
	}
	return violations
}
