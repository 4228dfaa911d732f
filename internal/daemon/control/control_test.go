package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// listen starts a listener whose handler answers with the command's name, and fails on sources.
func listen(t *testing.T) (path string, l *Listener) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "run", "control")
	l, err := Listen(path, "", 0o660, func(_ context.Context, command string) (any, error) {
		if command == CommandSources {
			return nil, errors.New("no sources today")
		}
		return map[string]string{"command": command}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return path, l
}

func TestCall(t *testing.T) {
	testkit.NoLeaks(t)
	path, l := listen(t)
	var got map[string]string
	if err := Call(context.Background(), path, CommandStatus, &got); err != nil || got["command"] != "status" {
		t.Errorf("%v, %v", got, err)
	}
	if err := Call(context.Background(), path, CommandSources, &got); err == nil || !strings.Contains(err.Error(), "no sources today") {
		t.Errorf("the handler's error: %v", err)
	}
	if err := Call(context.Background(), path, "explode", &got); err == nil || !strings.Contains(err.Error(), `no command is called "explode"`) {
		t.Errorf("an unknown command: %v", err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("the socket has mode %v, %v", info.Mode(), err)
	}
	if dir, err := os.Stat(filepath.Dir(path)); err != nil || dir.Mode().Perm() != 0o755 {
		t.Errorf("the directory has mode %v, %v", dir.Mode(), err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := Call(context.Background(), path, CommandStatus, &got); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("after the end: %v", err)
	}
}

func TestListenReplacesOnlyADeadSocket(t *testing.T) {
	testkit.NoLeaks(t)
	path, _ := listen(t)
	handler := func(context.Context, string) (any, error) { return nil, nil }
	if _, err := Listen(path, "", 0o660, handler); !errors.Is(err, ErrInUse) {
		t.Errorf("beside a living daemon: %v", err)
	}
	dead := filepath.Join(t.TempDir(), "control")
	u, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	u.SetUnlinkOnClose(false)
	_ = u.Close()
	l, err := Listen(dead, "", 0o600, handler)
	if err != nil {
		t.Fatalf("over a dead daemon's socket: %v", err)
	}
	_ = l.Close()
	file := filepath.Join(t.TempDir(), "control")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(file, "", 0o600, handler); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("over a file: %v", err)
	}
	if b, _ := os.ReadFile(file); string(b) != "precious" {
		t.Error("the file was lost")
	}
	if _, err := Listen(filepath.Join(t.TempDir(), "control"), "no-such-group", 0o600, handler); err == nil || !strings.Contains(err.Error(), "control.group") {
		t.Errorf("with an unknown group: %v", err)
	}
}

// exchange sends raw bytes and returns the answer.
func exchange(t *testing.T, path string, request []byte, half bool) string {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = c.Write(request) // the peer may have closed already
	if half {
		_ = c.(*net.UnixConn).CloseWrite()
	}
	b, _ := io.ReadAll(c)
	return string(b)
}

func TestGarbageIsAnsweredByAnError(t *testing.T) {
	testkit.NoLeaks(t)
	path, _ := listen(t)
	for name, c := range map[string]struct {
		request string
		says    string
	}{
		"text":    {"hello\n", "is not JSON"},
		"version": {`{"version":9,"command":"status"}` + "\n", "has version 9"},
		"array":   {"[1]\n", "is not JSON"},
		"no end":  {`{"version":1`, "has no end"},
		"nothing": {"", "has no end"},
		"binary":  {"\x00\xff\xfe\n", "is not JSON"},
	} {
		got := exchange(t, path, []byte(c.request), true)
		var r response
		if err := json.Unmarshal([]byte(got), &r); err != nil || !strings.Contains(r.Error, c.says) {
			t.Errorf("%s: answer %q, %v", name, got, err)
		}
	}
	// The answer to what is too long may be lost with the reset that the unread rest causes; the listener lives on.
	exchange(t, path, []byte(strings.Repeat("x", 10*maxRequest)), true)
	var got map[string]string
	if err := Call(context.Background(), path, CommandNow, &got); err != nil {
		t.Error(err)
	}
}

func TestPeerThatGoesAwayAndManyPeers(t *testing.T) {
	testkit.NoLeaks(t)
	path, _ := listen(t)
	var idle []net.Conn
	for range 2 * maxConnections {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, c)
	}
	for _, c := range idle {
		_ = c.Close()
	}
	done := make(chan error)
	for range 3 * maxConnections {
		go func() {
			var got map[string]string
			done <- Call(context.Background(), path, CommandStatus, &got)
		}()
	}
	for range 3 * maxConnections {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestMakeNow(t *testing.T) {
	at := virtualclock.Unix(1_000_000_000, 5)
	sound := virtualclock.Interval{Earliest: virtualclock.Unix(999_999_990, 7), Latest: virtualclock.Unix(1_000_000_020, 1), Epoch: 3, Standing: virtualclock.Standing{Status: virtualclock.Synchronised}}
	n := MakeNow(at, sound, reason.OK, "page")
	if *n.TimeNS != 1_000_000_000 || *n.EarliestNS != 999_999_990 || *n.LatestNS != 1_000_000_021 || n.Epoch != 3 || n.Kind != "EXTERNAL" {
		t.Errorf("rounded inward: %+v", n)
	}
	if math.Abs(*n.BoundS-20e-9) > 1e-9 {
		t.Errorf("bound %g", *n.BoundS)
	}
	for _, status := range []virtualclock.Status{virtualclock.Unsynchronised, virtualclock.Disrupted} {
		n := MakeNow(at, virtualclock.Interval{Earliest: virtualclock.MinTime(), Latest: virtualclock.MaxTime(), Standing: virtualclock.Standing{Status: status}}, reason.NoMajority, "page")
		b, err := json.Marshal(n)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{`"time_ns":null`, `"earliest_ns":null`, `"latest_ns":null`, `"bound_s":null`, `"reason":"no_majority"`} {
			if !strings.Contains(string(b), want) {
				t.Errorf("%v: %s is not in %s", status, want, b)
			}
		}
	}
	if Known(math.Inf(1)) != nil || Known(math.NaN()) != nil || *Known(0) != 0 {
		t.Error("Known confuses missing and zero")
	}
}

func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"version":1,"command":"status"}`))
	f.Add([]byte(`{"version":1,"command":"stat` + "\xff" + `us"}`))
	f.Add([]byte(`[[[[`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRequest(b)
		if err == nil && (r.Version != Version || r.Command != CommandStatus && r.Command != CommandSources && r.Command != CommandNow) {
			t.Errorf("%q is taken as %+v", b, r)
		}
		if err != nil && len(err.Error()) > 2*len(b)+1000 {
			t.Errorf("an error of %d bytes for a request of %d", len(err.Error()), len(b))
		}
	})
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"version":1,"result":{"status":"synchronised"}}`))
	f.Add([]byte(`{"version":1,"error":"no"}`))
	f.Add([]byte(`{"version":2,"result":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s Status
		if err := parseAnswer(b, &s); err == nil {
			if _, err := json.Marshal(s); err != nil {
				t.Errorf("%q gives a status that cannot be written: %v", b, err)
			}
		}
	})
}

func Example() {
	dir, err := os.MkdirTemp("", "control")
	if err != nil {
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "control")
	l, err := Listen(path, "", 0o600, func(context.Context, string) (any, error) { return Now{Kind: KindExternal}, nil })
	if err != nil {
		return
	}
	defer func() { _ = l.Close() }()
	var now Now
	err = Call(context.Background(), path, CommandNow, &now)
	fmt.Println(now.Kind, now.TimeNS == nil, err)
	// Output: EXTERNAL true <nil>
}
