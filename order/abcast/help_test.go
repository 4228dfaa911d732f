package abcast

import (
	"context"
	"encoding/gob"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clockd/clockd/order/abcast/core"
	"github.com/clockd/clockd/order/abcast/transport"
	"github.com/clockd/clockd/order/abcast/wal"
)

const testGroup = 0x7e57

// engine makes a protocol.
type engine func(core.Config, core.Restart) (Engine, error)

// state is the tests' application: it keeps all payloads.
type state struct {
	mu       sync.Mutex
	Index    uint64
	CommitTS Timestamp
	Position Position
	Payloads []string
	Indexes  []uint64
	views    []View
	early    []string
	restored int
	wrong    []string
}

func (s *state) apply(d Delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch d.Kind {
	case ViewChange:
		s.views = append(s.views, d.View)
		return
	case Early:
		s.early = append(s.early, string(d.Payload))
		return
	}
	if d.Index <= s.Index || d.CommitTS <= s.CommitTS || d.Position.Compare(s.Position) <= 0 {
		s.wrong = append(s.wrong, fmt.Sprintf("message %d at %v, commit %d, after %d at %v, commit %d", d.Index, d.Position, d.CommitTS, s.Index, s.Position, s.CommitTS))
	}
	s.Index, s.CommitTS, s.Position = d.Index, d.CommitTS, d.Position
	s.Payloads = append(s.Payloads, string(d.Payload))
	s.Indexes = append(s.Indexes, d.Index)
}

func (s *state) snapshot(w io.Writer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return gob.NewEncoder(w).Encode(s)
}

func (s *state) restore(r io.Reader) error {
	var fresh state
	if err := gob.NewDecoder(r).Decode(&fresh); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Index, s.CommitTS, s.Position, s.Payloads, s.Indexes = fresh.Index, fresh.CommitTS, fresh.Position, fresh.Payloads, fresh.Indexes
	s.restored++
	return nil
}

func (s *state) payloads() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.Payloads)
}

// process is one member as a program would run it.
type process struct {
	*Group
	*state
	cluster *cluster
	id      ID
	cancel  context.CancelFunc
	over    chan struct{} // the consumer is over
	running bool
}

// cluster is a group in one process, over real TCP and TLS.
type cluster struct {
	t         testing.TB
	dir       string
	authority *transport.Authority
	addresses map[ID]string
	bootstrap []ID
	change    func(*Config)
	network   *network
	engine    engine
	number    int32
	processes map[ID]*process
}

func newCluster(t testing.TB, e engine, n int, change func(*Config)) *cluster {
	t.Helper()
	a, err := transport.NewAuthority(testGroup, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, dir: t.TempDir(), authority: a, addresses: map[ID]string{}, change: change, processes: map[ID]*process{}, network: newNetwork(), engine: e, number: 1 + clusters.Add(1)%250}
	t.Cleanup(func() {
		for _, p := range c.processes {
			p.kill()
		}
	})
	for id := ID(1); id <= ID(n); id++ {
		c.bootstrap = append(c.bootstrap, id)
		c.address(id)
	}
	for _, id := range c.bootstrap {
		c.start(id)
	}
	return c
}

// clusters counts the clusters of this process.
var clusters atomic.Int32

// address gives a process an address: each cluster has one of loopback's of its own, so that nobody takes a port while its process is down.
func (c *cluster) address(id ID) {
	pid := os.Getpid()
	c.addresses[id] = fmt.Sprintf("127.%d.%d.%d:%d", 1+pid>>8&0x3f, pid&0xff, c.number, 7000+id)
	c.network.mu.Lock()
	c.network.ids[c.addresses[id]] = id
	c.network.mu.Unlock()
}

// start starts a process, or starts it again with what is on its disk.
func (c *cluster) start(id ID) *process {
	c.t.Helper()
	p, err := c.try(id)
	if err != nil {
		c.t.Fatal(err)
	}
	return p
}

func (c *cluster) try(id ID) (*process, error) {
	c.t.Helper()
	certificate, err := c.authority.Issue(testGroup, uint64(id), time.Now(), time.Hour)
	if err != nil {
		c.t.Fatal(err)
	}
	p := &process{cluster: c, id: id, state: &state{}, over: make(chan struct{}), running: true}
	config := Config{
		Group: testGroup, ID: id, Dir: filepath.Join(c.dir, fmt.Sprint(id)), Members: maps.Clone(c.addresses), Durability: wal.OS,
		Security: &transport.Security{Certificate: certificate, Roots: c.authority.Roots()},
		Snapshot: p.state.snapshot, Restore: p.state.restore,
		Tuning: core.Config{Seed: uint64(id), Heartbeat: 20 * time.Millisecond, SuspectAfter: 300 * time.Millisecond},
	}
	if slices.Contains(c.bootstrap, id) {
		config.Bootstrap = c.bootstrap
	}
	if testing.Verbose() {
		config.Log = slog.New(slog.NewTextHandler(testWriter{c.t}, nil))
	}
	config.Engine = c.engine
	config.Transport.Dial = c.network.dialler(id)
	if c.change != nil {
		c.change(&config)
	}
	if p.Group, err = Open(config); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	go func() {
		defer close(p.over)
		for d := range p.Deliveries(ctx) {
			p.apply(d)
		}
	}()
	c.processes[id] = p
	return p, nil
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", b)
	return len(b), nil
}

// kill ends a process without a word to the others, as far as that is possible within one.
func (p *process) kill() {
	p.cluster.t.Helper()
	if !p.running {
		return
	}
	p.running = false
	failed := p.Err()
	if err := p.Close(); err != nil && failed == nil {
		p.cluster.t.Errorf("process %d: %v", p.id, err)
	}
	p.cancel()
	<-p.over
	for _, w := range p.wrong {
		p.cluster.t.Errorf("process %d: %s", p.id, w)
	}
}

// broadcast is Broadcast with a generous limit, that must succeed.
func (p *process) broadcast(text string) Position {
	p.cluster.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	at, err := p.Broadcast(ctx, []byte(text))
	if err != nil {
		p.cluster.t.Fatalf("process %d: %v", p.id, err)
	}
	return at
}

func (p *process) read() {
	p.cluster.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := p.Read(ctx); err != nil {
		p.cluster.t.Fatalf("process %d: %v", p.id, err)
	}
}

// inView waits until exactly these processes are in the view of each of them.
func (c *cluster) inView(ids ...ID) {
	c.t.Helper()
	eventually(c.t, fmt.Sprintf("a view of %v", ids), func() bool {
		for _, id := range ids {
			var members []ID
			for _, m := range c.processes[id].View().Members {
				members = append(members, m.ID)
			}
			if !slices.Equal(members, ids) || !c.processes[id].Status().InView {
				return false
			}
		}
		return true
	})
}

// same waits until the processes have delivered count payloads, and compares them.
func (c *cluster) same(count int, ids ...ID) []string {
	c.t.Helper()
	var want []string
	for _, id := range ids {
		p := c.processes[id]
		eventually(c.t, fmt.Sprintf("%d messages at %d", count, id), func() bool { return len(p.payloads()) >= count })
		got := p.payloads()
		if want == nil {
			want = got
		}
		if !slices.Equal(got, want) {
			c.t.Fatalf("process %d delivered %d messages, process %d others:\n%q\n%q", ids[0], len(want), id, want, got)
		}
	}
	return want
}

func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

// network is what the processes' sessions go through; it can be cut.
type network struct {
	mu    sync.Mutex
	cut   map[[2]ID]bool
	conns map[net.Conn][2]ID
	ids   map[string]ID // by address
}

func newNetwork() *network {
	return &network{cut: map[[2]ID]bool{}, conns: map[net.Conn][2]ID{}, ids: map[string]ID{}}
}

func (n *network) dialler(from ID) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, address string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			return nil, err
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		to := n.ids[address]
		if n.cut[[2]ID{from, to}] {
			_ = c.Close()
			return nil, fmt.Errorf("the cable between %d and %d is cut", from, to)
		}
		n.conns[c] = [2]ID{from, to}
		return c, nil
	}
}

// block cuts what from sends to to, or mends it.
func (n *network) block(from, to ID, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[[2]ID{from, to}] = cut
	for c, ends := range n.conns {
		if cut && ends == [2]ID{from, to} {
			_ = c.Close()
			delete(n.conns, c)
		}
	}
}

// part cuts all cables between two groups of processes, both ways, or mends them.
func (n *network) part(cut bool, some, others []ID) {
	for _, a := range some {
		for _, b := range others {
			n.block(a, b, cut)
			n.block(b, a, cut)
		}
	}
}
