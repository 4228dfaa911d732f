package ke

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/clockd/clockd/internal/nts"
	"github.com/clockd/clockd/reason"
)

const (
	// serverPatience bounds one exchange, handshake and all.
	serverPatience = 5 * time.Second
	// maxConnections is how many exchanges there may be at a time; others wait in the kernel's queue.
	maxConnections = 64
	// overall is how many handshakes a second are made for all clients together: each costs about a millisecond of a processor,
	// which the clock needs too. overallBurst is how many at once.
	overall      = 100
	overallBurst = 100
	maxClients   = 4096
)

// ServerConfig is all that a Server is told.
type ServerConfig struct {
	// Certificate returns the present certificate and its key.
	Certificate func() (*tls.Certificate, error)
	// Masters returns the present master keys.
	Masters func() *nts.Masters
	// Allow says which clients get keys.
	Allow func(netip.Addr) bool
	// Rate is how many exchanges a second one client may make in the long run, Burst how many at once. A client is an IPv4 address
	// or an IPv6 /64.
	Rate  float64
	Burst int
	// Server and Port are where the clients are to ask for the time; "": this host, 0: port 123.
	Server string
	Port   func() uint16
	// Random makes cookies; it must be unpredictable and safe for concurrent use.
	Random io.Reader
	// Now is the time for the rate limit; nil: time.Now.
	Now func() time.Time
}

// Stats counts exchanges.
type Stats struct {
	Granted  uint64
	Rejected reason.Counts
}

// Server gives keys to clients. It is safe for concurrent use.
type Server struct {
	config ServerConfig
	tls    *tls.Config
	slots  chan struct{}
	ctx    context.Context
	stop   context.CancelFunc
	busy   sync.WaitGroup

	mu        sync.Mutex
	stats     Stats
	limit     *limiter
	listeners []net.Listener
}

// NewServer returns a server that listens nowhere yet.
func NewServer(c ServerConfig) *Server {
	if c.Now == nil {
		c.Now = time.Now
	}
	s := &Server{config: c, slots: make(chan struct{}, maxConnections), limit: newLimiter(c.Rate, c.Burst)}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.tls = &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{ALPN}, SessionTicketsDisabled: true,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.Certificate() },
	}
	return s
}

// Listen serves an address, and returns where that really is.
func (s *Server) Listen(at netip.AddrPort) (netip.AddrPort, error) {
	network := "tcp"
	if at.Addr().Is4() {
		network = "tcp4"
	}
	l, err := (&net.ListenConfig{}).Listen(s.ctx, network, at.String())
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("ke: %w", err)
	}
	s.mu.Lock()
	s.listeners = append(s.listeners, l)
	s.mu.Unlock()
	s.busy.Go(func() { s.accept(l) })
	return netip.MustParseAddrPort(l.Addr().String()), nil
}

// Close ends all exchanges and waits for them.
func (s *Server) Close() {
	s.stop()
	s.mu.Lock()
	for _, l := range s.listeners {
		_ = l.Close()
	}
	s.mu.Unlock()
	s.busy.Wait()
}

// Stats returns what was done so far.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

func (s *Server) accept(l net.Listener) {
	for {
		select {
		case s.slots <- struct{}{}:
		case <-s.ctx.Done():
			return
		}
		c, err := l.Accept()
		if err != nil {
			<-s.slots
			if s.ctx.Err() != nil {
				return
			}
			// Out of file descriptors, perhaps: others may end.
			select {
			case <-time.After(100 * time.Millisecond):
			case <-s.ctx.Done():
				return
			}
			continue
		}
		s.busy.Go(func() {
			defer func() { <-s.slots }()
			s.count(s.serve(c))
		})
	}
}

func (s *Server) count(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.stats.Granted++
		return
	}
	s.stats.Rejected.Add(Code(err))
}

// serve makes one exchange.
func (s *Server) serve(c net.Conn) error {
	defer func() { _ = c.Close() }()
	stop := context.AfterFunc(s.ctx, func() { _ = c.Close() })
	defer stop()
	_ = c.SetDeadline(time.Now().Add(serverPatience))
	if code := s.admit(c.RemoteAddr()); code != reason.OK {
		return code
	}
	conn := tls.Server(c, s.tls)
	if err := conn.HandshakeContext(s.ctx); err != nil {
		return &Error{reason.KeyExchangeConnect, err}
	}
	state := conn.ConnectionState()
	if state.NegotiatedProtocol != ALPN {
		return &Error{reason.KeyExchangeConnect, errors.New("the client does not speak ntske/1")}
	}
	message, err := readMessage(conn)
	if err != nil {
		if Code(err) == reason.KeyExchangeMalformed {
			_, _ = conn.Write(nts.Refusal(err))
		}
		return err
	}
	answer, err := s.answer(message, &state)
	if _, sent := conn.Write(answer); err == nil && sent != nil {
		err = &Error{reason.KeyExchangeConnect, sent}
	}
	// The client closes first, or the deadline comes: so the answer is not lost in a reset.
	_ = conn.CloseWrite()
	var rest [1]byte
	_, _ = conn.Read(rest[:])
	return err
}

// admit says whether a client may exchange keys now.
func (s *Server) admit(from net.Addr) reason.Code {
	tcp, ok := from.(*net.TCPAddr)
	if !ok {
		return reason.KeyExchangeDenied
	}
	a, _ := netip.AddrFromSlice(tcp.IP)
	a = a.Unmap()
	if !s.config.Allow(a) {
		return reason.KeyExchangeDenied
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.limit.take(a, s.config.Now()) {
		return reason.KeyExchangeRate
	}
	return reason.OK
}

// answer returns what is said to a client's message.
func (s *Server) answer(message []byte, state *tls.ConnectionState) ([]byte, error) {
	offer, err := nts.ParseOffer(message)
	if err != nil {
		return nts.Refusal(err), err
	}
	a, ok := offer.Choose()
	if !ok {
		return nts.NoCommonAEAD(), &Error{reason.KeyExchangeNegotiation, errors.New("no AEAD in common")}
	}
	keys, err := export(state, a)
	if err != nil {
		return nil, err
	}
	g := nts.Grant{Algorithm: a, Compliant: offer.Compliant && a == nts.AES128GCMSIV, Server: s.config.Server, Port: s.config.Port()}
	if g.Cookies, ok = s.config.Masters().NewCookies(&keys, s.config.Random); !ok {
		return nil, &Error{reason.KeyExchangeRefused, errors.New("there is no randomness")}
	}
	return g.Append(nil), nil
}

// bucket holds the exchanges that a client may still make.
type bucket struct {
	tokens float64
	last   time.Time
}

// limiter is token buckets, one for each client that came lately and one for all.
type limiter struct {
	rate, burst float64
	clients     map[netip.Prefix]*bucket
	all         bucket
}

func newLimiter(rate float64, burst int) *limiter {
	return &limiter{rate: rate, burst: float64(burst), clients: map[netip.Prefix]*bucket{}, all: bucket{tokens: overallBurst}}
}

func (b *bucket) fill(now time.Time, rate, burst float64) {
	if passed := now.Sub(b.last).Seconds(); passed > 0 && !b.last.IsZero() {
		b.tokens = min(burst, b.tokens+passed*rate)
	}
	b.last = now
}

// take counts an exchange; false: it is one too many.
func (l *limiter) take(a netip.Addr, now time.Time) bool {
	bits := 32
	if a.Is6() {
		bits = 64
	}
	key, err := a.WithZone("").Prefix(bits)
	if err != nil {
		return false
	}
	if l.all.fill(now, overall, overallBurst); l.all.tokens < 1 {
		return false
	}
	b := l.clients[key]
	if b == nil {
		if len(l.clients) >= maxClients {
			l.forget(now)
		}
		b = &bucket{tokens: l.burst}
		if len(l.clients) < maxClients {
			l.clients[key] = b
		}
	}
	b.fill(now, l.rate, l.burst)
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	l.all.tokens--
	return true
}

// forget drops the clients whose buckets are full again. Where none is, new clients share the limit of all only.
func (l *limiter) forget(now time.Time) {
	for key, b := range l.clients {
		if b.tokens+now.Sub(b.last).Seconds()*l.rate >= l.burst {
			delete(l.clients, key)
		}
	}
}
