package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
)

func pinned(t testing.TB, ids ...uint64) map[uint64]*Security {
	t.Helper()
	all := map[uint64]*Security{}
	pins := map[uint64]Pin{}
	for _, id := range ids {
		c, err := SelfSigned(testGroup, id, time.Now(), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		pins[id] = PinOf(c.Leaf)
		all[id] = &Security{Certificate: c, Pins: pins}
	}
	return all
}

func TestFramesArriveInOrder(t *testing.T) {
	a := newAuthority(t)
	pins := pinned(t, 1, 2, 3)
	for name, security := range map[string]func(id uint64) options{
		"plain":     func(uint64) options { return func(*Config) {} },
		"authority": func(id uint64) options { return secure(a.security(t, testGroup, id)) },
		"pinned":    func(id uint64) options { return secure(pins[id]) },
		"lingering": func(id uint64) options {
			s := a.security(t, testGroup, id)
			return func(c *Config) { c.Security, c.Linger, c.Batch = s, 100*time.Microsecond, 1<<12 }
		},
	} {
		t.Run(name, func(t *testing.T) {
			testkit.NoLeaks(t)
			var nodes []*node
			for id := uint64(1); id <= 3; id++ {
				nodes = append(nodes, start(t, id, security(id)))
			}
			join(t, nodes...)
			const count = 200
			for i := range count {
				for _, n := range nodes {
					n.SendAll([]byte(message(n.id, i)))
				}
			}
			for _, n := range nodes {
				for _, from := range nodes {
					if n == from {
						continue
					}
					eventually(t, "all frames", func() bool { return len(n.received(from.id)) >= count })
					for i, text := range n.received(from.id) {
						if text != message(from.id, i) {
							t.Fatalf("frame %d of %d at %d is %.40q", i, from.id, n.id, text)
						}
					}
				}
				c := n.Counters()
				if c.FramesSent != 2*count || c.FramesReceived != 2*count || c.Writes == 0 || c.Refused.Map()["link_down"] != 0 {
					t.Errorf("node %d: %+v", n.id, c)
				}
			}
		})
	}
}

// message is of different lengths, some longer than a batch.
func message(from uint64, i int) string {
	return fmt.Sprintf("%d of %d", i, from) + strings.Repeat(".", i%100*i%100*20)
}

func TestTheLongestFrame(t *testing.T) {
	const longest = 1 << 20
	limit := func(c *Config) { c.MaxFrame = longest }
	a, b := start(t, 1, limit), start(t, 2, limit)
	join(t, a, b)
	if a.Send(2, nil) || a.Send(2, make([]byte, longest+1)) || a.Send(3, []byte("x")) {
		t.Error("a frame was taken that must not be")
	}
	if !a.Send(2, make([]byte, longest)) {
		t.Error("the longest frame was not taken")
	}
	eventually(t, "the longest frame", func() bool { return len(b.received(1)) == 1 })
	if a.refused(reason.LinkFrameLong) != 2 || a.refused(reason.LinkMember) != 1 {
		t.Errorf("refused: %v", a.Counters().Refused.Map())
	}
}

// TestBackPressure: a peer that takes nothing costs a bounded number of bytes, others go on, and once it takes them again frames flow in order.
func TestBackPressure(t *testing.T) {
	testkit.NoLeaks(t)
	const queue = 1 << 20
	limit := func(c *Config) { c.Queue = queue }
	a, b, c := start(t, 1, limit), start(t, 2, limit), start(t, 3, limit)
	b.hold = make(chan struct{})
	join(t, a, b, c)
	frame := func(i int) []byte { return fmt.Appendf(nil, "%08d%s", i, strings.Repeat("x", 8<<10)) }
	sent := 0
	for a.refused(reason.LinkQueueFull) < 100 {
		if a.Send(2, frame(sent)) {
			sent++
		} else {
			time.Sleep(time.Millisecond)
		}
		for _, p := range a.Counters().Peers {
			if p.Queued > queue {
				t.Fatalf("%d bytes wait for %d", p.Queued, p.ID)
			}
		}
	}
	if !a.Send(3, []byte("others go on")) {
		t.Error("a frame for another peer was dropped")
	}
	eventually(t, "the frame for another peer", func() bool { return len(c.received(1)) == 1 })
	b.mu.Lock()
	close(b.hold)
	b.hold = nil
	b.mu.Unlock()
	eventually(t, "the frames that waited", func() bool { return len(b.received(1)) == sent })
	for i, text := range b.received(1) {
		if text != string(frame(i)) {
			t.Fatalf("frame %d is %.8s", i, text)
		}
	}
}

func TestSessionsComeBack(t *testing.T) {
	testkit.NoLeaks(t)
	authority := newAuthority(t)
	a := start(t, 1, secure(authority.security(t, testGroup, 1)))
	s := authority.security(t, testGroup, 2)
	// An address of loopback's on which nobody else takes the port while nobody listens there.
	own := fmt.Sprintf("127.%d.%d.1:7002", 1+os.Getpid()>>8&0x3f, os.Getpid()&0xff)
	b := start(t, 2, secure(s), func(c *Config) { c.Listener = listen(t, own) })
	join(t, a, b)
	for incarnation := uint64(2); incarnation < 5; incarnation++ {
		address := b.Address().String()
		b.shut(t)
		eventually(t, "the end of the session", func() bool { return !a.linked(2) })
		if a.Send(2, []byte("to nobody")) {
			t.Error("a frame for nobody was taken")
		}
		b = start(t, 2, secure(s), func(c *Config) { c.Incarnation, c.Listener = incarnation, listen(t, address) })
		join(t, a, b)
		if got := a.Counters().Peers[0].Incarnation; got != incarnation {
			t.Errorf("a session with incarnation %d instead of %d", got, incarnation)
		}
		text := fmt.Sprint("hello ", incarnation)
		if !a.Send(2, []byte(text)) || !b.Send(1, []byte(text)) {
			t.Error("a frame was dropped")
		}
		eventually(t, "frames both ways", func() bool { return slices.Contains(a.received(2), text) && slices.Contains(b.received(1), text) })
	}
	a.mu.Lock()
	if a.connected[2] != 4 {
		t.Errorf("told of %d sessions", a.connected[2])
	}
	a.mu.Unlock()
	if a.refused(reason.LinkDown) != 3 {
		t.Errorf("refused: %v", a.Counters().Refused.Map())
	}
}

func TestPeersComeAndGo(t *testing.T) {
	testkit.NoLeaks(t)
	a, b := start(t, 1), start(t, 2)
	join(t, a, b)
	a.SetPeers(nil)
	eventually(t, "the end of the session", func() bool { return !b.linked(1) })
	if a.Send(2, []byte("x")) {
		t.Error("a frame for a former peer was taken")
	}
	eventually(t, "the refusal", func() bool { return a.refused(reason.LinkMember) > 1 && b.refused(reason.LinkMember) > 0 })
	join(t, a, b)
	// An address that is wrong, then right.
	a.SetPeers(map[uint64]string{2: "127.0.0.1:1"})
	b.SetPeers(nil)
	eventually(t, "the end of the session", func() bool { return !a.linked(2) })
	introduce(a, b)
	eventually(t, "the session", func() bool { return a.linked(2) })
}

func TestStreams(t *testing.T) {
	testkit.NoLeaks(t)
	authority := newAuthority(t)
	a, b := start(t, 1, secure(authority.security(t, testGroup, 1))), start(t, 2, secure(authority.security(t, testGroup, 2)))
	join(t, a, b)
	text := strings.Repeat("stream ", 100_000)
	send := func(ctx context.Context, end error) error {
		return a.Stream(ctx, 2, func(w io.Writer) error {
			_, err := io.WriteString(w, text)
			return errors.Join(err, end)
		})
	}
	if err := send(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if len(b.streams) != 1 || b.streams[0] != text {
		t.Errorf("%d streams", len(b.streams))
	}
	// One that is given up is not taken for a whole one.
	broken := errors.New("the disk is on fire")
	if err := send(t.Context(), broken); !errors.Is(err, broken) {
		t.Errorf("a stream that was given up: %v", err)
	}
	eventually(t, "the end of the broken stream", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.streams) == 2
	})
	if c := b.Counters(); c.StreamsReceived != 1 {
		t.Errorf("%d streams received", c.StreamsReceived)
	}
	if err := a.Stream(t.Context(), 9, nil); !errors.Is(err, reason.LinkMember) {
		t.Errorf("a stream to nobody: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	started := make(chan struct{})
	go func() { <-started; cancel() }()
	if err := a.Stream(ctx, 2, func(w io.Writer) error {
		close(started)
		for {
			if _, err := io.WriteString(w, text); err != nil {
				return err
			}
		}
	}); err == nil {
		t.Error("a stream without end ended")
	}
	// While one is open no other is taken; the one that was given up may take a moment to end.
	eventually(t, "a stream", func() bool { return send(t.Context(), nil) == nil })
	first, open := make(chan struct{}), make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		ended <- a.Stream(t.Context(), 2, func(io.Writer) error { close(open); <-first; return nil })
	}()
	select {
	case <-open:
	case err := <-ended:
		t.Fatal(err)
	}
	if err := send(t.Context(), nil); !errors.Is(err, reason.LinkBusy) {
		t.Errorf("a second stream: %v", err)
	}
	close(first)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	eventually(t, "another stream", func() bool { return send(t.Context(), nil) == nil })
	// The session of frames was left in peace.
	if !a.Send(2, []byte("still here")) {
		t.Error("the session ended with a stream")
	}
}

func TestConfigurationsThatAreRefused(t *testing.T) {
	authority := newAuthority(t)
	for name, change := range map[string]options{
		"no listener":           func(c *Config) { c.Listener = nil },
		"no ID":                 func(c *Config) { c.ID = 0 },
		"no incarnation":        func(c *Config) { c.Incarnation = 0 },
		"nobody to take frames": func(c *Config) { c.Handler = Handler{} },
		"no certificates":       func(c *Config) { c.Plain = false },
		"plain, certificates":   func(c *Config) { c.Security = authority.security(t, testGroup, 1) },
		"nobody believed": func(c *Config) {
			c.Plain, c.Security = false, &Security{Certificate: authority.security(t, testGroup, 1).Certificate}
		},
		"no own certificate":        func(c *Config) { c.Plain, c.Security = false, &Security{Roots: authority.Roots()} },
		"another's certificate":     func(c *Config) { c.Plain, c.Security = false, authority.security(t, testGroup, 2) },
		"a certificate of a group":  func(c *Config) { c.Plain, c.Security = false, authority.security(t, testGroup+1, 1) },
		"a certificate of anything": func(c *Config) { c.Plain, c.Security = false, nameless(t, authority) },
	} {
		t.Run(name, func(t *testing.T) {
			l := listen(t, "127.0.0.1:0")
			defer l.Close()
			c := Config{Group: testGroup, ID: 1, Incarnation: 1, Listener: l, Plain: true, Handler: Handler{
				Frame: func(uint64, []byte) {}, Connected: func(uint64) {}, Stream: func(context.Context, uint64, io.Reader) error { return nil }}}
			change(&c)
			if tr, err := Start(c); err == nil {
				_ = tr.Close()
				t.Error("it was started")
			}
		})
	}
}

func TestCloseWhileConnecting(t *testing.T) {
	testkit.NoLeaks(t)
	silentListener := listen(t, "127.0.0.1:0")
	defer silentListener.Close()
	a := start(t, 1)
	a.SetPeers(map[uint64]string{2: silentListener.Addr().String(), 3: "192.0.2.1:9", 4: ""})
	time.Sleep(5 * time.Millisecond)
	a.shut(t)
	if a.Send(2, []byte("x")) {
		t.Error("a closed transport takes frames")
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}
