package transport

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/clockd/clockd/reason"
)

// Handler is told what arrives. Its functions are called from several goroutines, but for one peer's frames, which come one after the
// other. One that does not return holds back its peer, whose frames then wait at the peer: that is the back-pressure. After Close has begun they
// must return.
type Handler struct {
	// Frame takes a frame of a peer; the memory is the handler's.
	Frame func(peer uint64, frame []byte)
	// Connected says that a new session to a peer has begun: what was sent before may be lost, what is sent from now on goes through it.
	Connected func(peer uint64)
	// Stream takes a stream that a peer opened. io.EOF comes only at its end; an error tells the peer that it was not taken.
	Stream func(ctx context.Context, peer uint64, r io.Reader) error
}

// Config is what a Transport must know. The zero value of a field takes the default that is named there.
type Config struct {
	// Group is the group's number, ID the member's, Incarnation how often it was started: greater in every process of the member.
	Group, ID, Incarnation uint64
	// Disk is a number that the member draws when it first uses a disk, and keeps there: one that comes back with another has lost its disk, and is refused.
	Disk uint64
	// Listener is where others connect; Close closes it.
	Listener net.Listener
	// Security says whom to believe. Without it nothing is: see Plain.
	Security *Security
	// Plain does without TLS: anybody who reaches the port can be any member. Only for tests and measurements.
	Plain   bool
	Handler Handler

	// MaxFrame is the longest frame in bytes: 16 MiB and 64 KiB.
	MaxFrame int
	// Queue is how many bytes of frames may wait for a peer before more are dropped: 32 MiB.
	Queue int
	// Batch is how many bytes leave in one write: 64 KiB.
	Batch int
	// Linger is how long less than a batch waits for more. 0 is best unless system calls are dear: what comes while a write lasts leaves together anyway.
	Linger time.Duration
	// Connections is how many connections there may be whose other side is not known yet: 64.
	Connections int
	// HandshakeTimeout is how long connecting may take, and then how long introducing oneself: 2 s each.
	HandshakeTimeout time.Duration
	// SilenceTimeout is how long a peer may send nothing, or take nothing: 10 s. Protocols above send heartbeats.
	SilenceTimeout time.Duration
	// Unacknowledged is how long sent bytes may stay without acknowledgement of the other side's kernel: 2 s.
	Unacknowledged time.Duration
	// MinBackoff and MaxBackoff bound the time between attempts to connect: 10 ms and 500 ms.
	MinBackoff, MaxBackoff time.Duration
	// Dial connects; nil means TCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// Log is told of refusals and of sessions; nil means nobody.
	Log *slog.Logger
}

func (c *Config) defaults() {
	size := func(n *int, v int) {
		if *n <= 0 {
			*n = v
		}
	}
	last := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	size(&c.MaxFrame, 16<<20+64<<10)
	size(&c.Queue, 32<<20)
	size(&c.Batch, 64<<10)
	size(&c.Connections, 64)
	last(&c.HandshakeTimeout, 2*time.Second)
	last(&c.SilenceTimeout, 10*time.Second)
	last(&c.Unacknowledged, 2*time.Second)
	last(&c.MinBackoff, 10*time.Millisecond)
	last(&c.MaxBackoff, 500*time.Millisecond)
	if c.Dial == nil {
		c.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", address)
		}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

func (c *Config) check() error {
	switch {
	case c.Listener == nil:
		return errors.New("transport: there is nowhere to listen")
	case c.ID == 0 || c.Incarnation == 0:
		return errors.New("transport: a member has an ID and an incarnation that are not 0")
	case c.Handler.Frame == nil || c.Handler.Connected == nil || c.Handler.Stream == nil:
		return errors.New("transport: there is nobody to take what arrives")
	case c.Security == nil && !c.Plain:
		return errors.New("transport: no certificates are configured; a group without them must say that it is plain")
	case c.Security != nil && c.Plain:
		return errors.New("transport: certificates are configured, and so is a transport without them")
	case c.Security != nil:
		return c.Security.check(c.Group, c.ID)
	}
	return nil
}

// Transport is one member's sessions with the others. Its methods may be called from any goroutine.
type Transport struct {
	config  Config
	tls     *tls.Config
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
	unknown chan struct{} // a token for each connection whose other side is not known
	session atomic.Uint64

	mu      sync.Mutex
	closed  bool
	peers   map[uint64]*peer
	heard   map[uint64]*inbound // the sessions that are heard, by peer; also the last one that was
	streams map[uint64]bool     // the peers that have a stream open to this member

	counters counters
}

// Start begins to listen. Nobody is a peer before SetPeers.
func Start(c Config) (*Transport, error) {
	c.defaults()
	if err := c.check(); err != nil {
		return nil, err
	}
	t := &Transport{config: c, peers: map[uint64]*peer{}, heard: map[uint64]*inbound{}, streams: map[uint64]bool{}, unknown: make(chan struct{}, c.Connections)}
	if c.Security != nil {
		t.tls = c.Security.config(c.Group)
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.running.Go(t.accept)
	return t, nil
}

// Address is where it listens.
func (t *Transport) Address() net.Addr { return t.config.Listener.Addr() }

// SetPeers says who the other members are, and at which addresses. Sessions with others end. A peer without an address is not
// dialled, but may connect.
func (t *Transport) SetPeers(addresses map[uint64]string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	for id, p := range t.peers {
		if _, ok := addresses[id]; !ok {
			p.stop()
			delete(t.peers, id)
			if in := t.heard[id]; in != nil {
				in.close()
			}
		}
	}
	for id, address := range addresses {
		if id == t.config.ID || id == 0 {
			continue
		}
		if p := t.peers[id]; p != nil {
			p.move(address)
			continue
		}
		t.peers[id] = t.newPeer(id, address)
	}
}

// Send queues a frame for a peer and reports whether it did; if not, it was dropped and counted. It never waits. The frame must not be
// changed afterwards.
func (t *Transport) Send(to uint64, frame []byte) bool {
	t.mu.Lock()
	p := t.peers[to]
	t.mu.Unlock()
	if p == nil {
		t.counters.refuse(reason.LinkMember)
		return false
	}
	return p.send(frame)
}

// SendAll queues a frame for every peer.
func (t *Transport) SendAll(frame []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.peers {
		p.send(frame)
	}
}

// Stream sends a stream of bytes to a peer, over a connection of its own, and returns when the peer's handler has taken it. If write
// returns an error the peer is not told that the stream ended.
func (t *Transport) Stream(ctx context.Context, to uint64, write func(io.Writer) error) error {
	t.mu.Lock()
	p := t.peers[to]
	t.mu.Unlock()
	if p == nil {
		return fmt.Errorf("transport: %d: %w", to, reason.LinkMember)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(t.ctx, cancel)
	defer stop()
	return p.stream(ctx, write)
}

// Close ends all sessions and waits until nothing of the transport runs any more.
func (t *Transport) Close() error {
	t.mu.Lock()
	already := t.closed
	t.closed = true
	t.cancel()
	for _, in := range t.heard {
		in.close()
	}
	t.mu.Unlock()
	var err error
	if !already {
		err = t.config.Listener.Close()
	}
	t.running.Wait()
	return err
}

// introduced turns a fresh connection into a secure one, unless it is plain, and returns who the other side is by its certificate (0: plain).
func (t *Transport) introduced(ctx context.Context, c net.Conn, client bool) (net.Conn, uint64, error) {
	if t.tls == nil {
		return c, 0, nil
	}
	s := tls.Server(c, t.tls)
	if client {
		s = tls.Client(c, t.tls)
	}
	if err := s.HandshakeContext(ctx); err != nil {
		return nil, 0, err
	}
	state := s.ConnectionState()
	if state.NegotiatedProtocol != t.tls.NextProtos[0] {
		return nil, 0, fmt.Errorf("transport: the other side speaks TLS, but not this protocol: %w", reason.LinkForeign)
	}
	id, err := t.config.Security.verify(t.config.Group, state.PeerCertificates)
	return s, id, err
}

func newNonce() (n [nonceLength]byte, err error) {
	_, err = rand.Read(n[:])
	return n, err
}

// classify is the reason for which a connection ended before it was a session.
func classify(err error) reason.Code {
	var code reason.Code
	var alert tls.AlertError
	var header tls.RecordHeaderError
	var network net.Error
	switch {
	case errors.As(err, &code):
		return code
	case errors.As(err, &header):
		return reason.LinkForeign
	case errors.As(err, &alert):
		return reason.LinkRefused
	case errors.As(err, &network) && network.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return reason.LinkSilent
	}
	return reason.LinkForeign
}
