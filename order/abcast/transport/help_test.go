package transport

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/clockd/clockd/reason"
)

const testGroup = 0xabc

// node is a transport with what it received.
type node struct {
	*Transport
	id uint64

	mu        sync.Mutex
	got       map[uint64][]string
	connected map[uint64]int
	streams   []string
	hold      chan struct{} // if there is one, frames are taken only once it is closed
}

// options change a node's configuration.
type options func(*Config)

func listen(t testing.TB, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func start(t testing.TB, id uint64, change ...options) *node {
	t.Helper()
	n := &node{id: id, got: map[uint64][]string{}, connected: map[uint64]int{}}
	c := Config{Group: testGroup, ID: id, Incarnation: 1, HandshakeTimeout: 20 * time.Second, SilenceTimeout: time.Minute, Unacknowledged: time.Minute}
	c.Handler = Handler{
		Frame: func(peer uint64, frame []byte) {
			n.mu.Lock()
			hold := n.hold
			n.mu.Unlock()
			if hold != nil {
				<-hold
			}
			n.mu.Lock()
			defer n.mu.Unlock()
			n.got[peer] = append(n.got[peer], string(frame))
		},
		Connected: func(peer uint64) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.connected[peer]++
		},
		Stream: func(_ context.Context, _ uint64, r io.Reader) error {
			b, err := io.ReadAll(r)
			n.mu.Lock()
			defer n.mu.Unlock()
			n.streams = append(n.streams, string(b))
			return err
		},
	}
	for _, f := range change {
		f(&c)
	}
	if c.Security == nil {
		c.Plain = true
	}
	if c.Listener == nil {
		c.Listener = listen(t, "127.0.0.1:0")
	}
	tr, err := Start(c)
	if err != nil {
		t.Fatal(err)
	}
	n.Transport = tr
	t.Cleanup(func() { n.shut(t) })
	return n
}

func (n *node) shut(t testing.TB) {
	t.Helper()
	n.mu.Lock()
	if n.hold != nil {
		close(n.hold)
		n.hold = nil
	}
	n.mu.Unlock()
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}

func (n *node) received(peer uint64) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string(nil), n.got[peer]...)
}

func (n *node) refused(c reason.Code) uint64 { return n.Counters().Refused[c] }

// join makes the nodes each other's peers and waits for their sessions.
func join(t testing.TB, nodes ...*node) {
	t.Helper()
	introduce(nodes...)
	for _, a := range nodes {
		for _, b := range nodes {
			if a != b {
				eventually(t, "a session", func() bool { return a.linked(b.id) })
			}
		}
	}
}

func introduce(nodes ...*node) {
	addresses := map[uint64]string{}
	for _, n := range nodes {
		addresses[n.id] = n.Address().String()
	}
	for _, n := range nodes {
		n.SetPeers(addresses)
	}
}

func (n *node) linked(to uint64) bool {
	for _, p := range n.Counters().Peers {
		if p.ID == to {
			return p.Connected
		}
	}
	return false
}

func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

// authority and certificates of the tests.
func newAuthority(t testing.TB) *Authority {
	t.Helper()
	a, err := NewAuthority(testGroup, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *Authority) security(t testing.TB, group, id uint64) *Security {
	t.Helper()
	c, err := a.Issue(group, id, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return &Security{Certificate: c, Roots: a.Roots()}
}

func secure(s *Security) options { return func(c *Config) { c.Security = s } }
