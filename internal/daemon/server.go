package daemon

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/config"
	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/internal/keys"
	"github.com/clockd/clockd/internal/node"
	"github.com/clockd/clockd/internal/ntp"
	"github.com/clockd/clockd/internal/nts"
	"github.com/clockd/clockd/internal/peerwire"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/roundtrip"
	"github.com/clockd/clockd/virtualclock"
)

// server answers NTP requests in its own goroutine, from a copy of the last publication.
type server struct {
	pump    *pump
	counter hw.Counter
	// lie is Options.Lie.
	lie func(to keys.PublicKey, a *peerwire.Answer) bool
	// What follows belongs to the goroutine. silent: the request that is being answered gets no answer.
	responder *roundtrip.Responder
	nts       *nts.Responder // nil: NTS is not spoken
	masters   func() *nts.Masters
	arrival   hw.Stamp // of the request that is being answered
	silent    bool
	request   [packetRoom]byte
	answer    [packetRoom]byte

	mu        sync.Mutex
	clock     virtualclock.Coefficients
	stamper   peerwire.Stamper
	state     roundtrip.ServerState
	published bool
	requests  uint64
	answers   uint64
	// interleaved is how many of the answers were in interleaved mode, authenticated how many under a key: the responder's own
	// figures belong to the server's goroutine.
	interleaved, authenticated, underNTS uint64

	rejected  reason.Counts
	listening []netip.AddrPort
	troubles  []string
	// wanted are the addresses of the configuration that are not listened on yet. It belongs to the loop.
	wanted []netip.AddrPort
	stamps hw.StampOptions
}

// newServer makes a server that listens nowhere yet.
func newServer(c *config.Server, locks *secrets, counter hw.Counter, stamps hw.StampOptions, seed [32]byte,
	lie func(keys.PublicKey, *peerwire.Answer) bool, exchange *ntsServer) (*server, error) {
	resolution, err := hw.MeasureResolution(counter)
	if err != nil {
		return nil, fmt.Errorf("daemon: %w", err)
	}
	// What is said of the precision covers the tick that a reading stands for.
	tick := float64(max(resolution.Granularity, 1)) / counter.Frequency().Hertz
	s := &server{counter: counter, stamps: stamps, lie: lie}
	var speaks ntp.NTS
	if exchange != nil {
		// The nonces need not be secret, but must not repeat: the seed is this run's own.
		s.masters = exchange.masters.Load
		if s.nts, err = nts.NewResponder(s.masters(), rand.NewChaCha8(seed)); err != nil {
			return nil, fmt.Errorf("daemon: %w", err)
		}
		speaks = s.nts
	}
	responder, err := roundtrip.NewResponder(roundtrip.ResponderConfig{
		NTS:  speaks,
		Keys: keys.NewRing(locks.clients...), Require: config.Prefixes(c.Require), Extend: s.extend(locks),
		Allow: config.Prefixes(c.Allow), Deny: config.Prefixes(c.Deny), RatePerSecond: c.Rate, Burst: c.Burst,
		Interleaved: c.Interleaved, Hertz: counter.Frequency().Hertz, Precision: int8(math.Ceil(math.Log2(tick))), Seed: seed,
	})
	if err != nil {
		return nil, fmt.Errorf("daemon: %w", err)
	}
	s.responder = responder
	for _, l := range c.Listen {
		s.wanted = append(s.wanted, netip.AddrPort(l))
	}
	if s.pump, err = newPump(s.ready, refresh); err != nil {
		return nil, err
	}
	s.pump.start()
	return s, nil
}

// refresh keeps the sockets' brackets young, so that the stamps of rare requests are narrow.
func refresh(links map[uint64]*link) {
	for _, l := range links {
		l.send(func(c *hw.PacketConn) { c.Refresh() })
	}
}

// Listen tries every address that is not listened on yet; it may be called again and again. It returns the failures.
func (s *server) Listen() []error {
	var errs []error
	var waiting []netip.AddrPort
	var troubles []string
	for _, a := range s.wanted {
		o := s.stamps
		// :: beside 0.0.0.0 on one port must leave IPv4 to the other.
		o.IPv6Only = a.Addr().Is6() && slices.ContainsFunc(s.wanted, func(b netip.AddrPort) bool { return b.Addr().Is4() && b.Port() == a.Port() })
		conn, err := hw.ListenUDP(a, o)
		if err != nil {
			errs = append(errs, err)
			waiting, troubles = append(waiting, a), append(troubles, err.Error())
			continue
		}
		local := conn.LocalAddr()
		s.pump.Add(conn, 0)
		s.mu.Lock()
		s.listening = append(s.listening, local)
		s.mu.Unlock()
	}
	s.wanted = waiting
	s.mu.Lock()
	s.troubles = troubles
	s.mu.Unlock()
	return errs
}

// Publish takes the new state of the clock.
func (s *server) Publish(p *node.Publication) {
	s.mu.Lock()
	s.clock, s.state, s.published = p.Clock, p.Server, true
	s.mu.Unlock()
}

// Addresses returns where the server listens.
func (s *server) Addresses() []netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.listening)
}

func (s *server) status() *control.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := &control.Server{Listening: []string{}, Error: strings.Join(s.troubles, "; "), Requests: s.requests, Answers: s.answers,
		InterleavedAnswers: s.interleaved, AuthenticatedAnswers: s.authenticated, NTSAnswers: s.underNTS, Rejected: s.rejected.Map()}
	for _, a := range s.listening {
		out.Listening = append(out.Listening, a.String())
	}
	return out
}

// Close ends the goroutine and closes the sockets.
func (s *server) Close() { s.pump.Close() }

// ready answers what has come on a socket.
func (s *server) ready(l *link) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.departed(l)
	for range fairShare {
		d, err := l.conn.Receive(s.request[:])
		if err != nil {
			return
		}
		s.respond(l, &d)
		s.departed(l)
	}
}

// departed tells the responder when answers really left.
func (s *server) departed(l *link) {
	for range len(l.sent) {
		id, stamp, err := l.conn.TransmitStamp()
		if err != nil {
			return
		}
		if token, ok := l.recall(id); ok {
			k, _ := s.snapshot()
			s.responder.Sent(token, stamp, &k)
		}
	}
}

// snapshot returns the clock and what may be said of it, nil before the first publication.
func (s *server) snapshot() (virtualclock.Coefficients, *roundtrip.ServerState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.published {
		return s.clock, nil
	}
	return s.clock, &s.state
}

func (s *server) respond(l *link, d *hw.Datagram) {
	code := reason.RequestLong
	sent := false
	if !d.Truncated {
		code, sent = s.reply(l, d)
	}
	s.mu.Lock()
	s.requests++
	if sent {
		s.answers++
		stats := s.responder.Stats()
		s.interleaved, s.authenticated, s.underNTS = stats.Interleaved, stats.Authenticated, stats.NTS
	}
	if code != reason.OK {
		s.rejected.Add(code)
	}
	s.mu.Unlock()
}

// reply answers one request.
func (s *server) reply(l *link, d *hw.Datagram) (code reason.Code, sent bool) {
	s.mu.Lock()
	k, state, published := s.clock, s.state, s.published
	s.mu.Unlock()
	said := &state
	if !published {
		said = nil
	}
	s.arrival, s.silent = d.Stamp, false
	s.renew()
	reply, token, code := s.responder.Respond(s.request[:d.N], d.From, d.Stamp, s.counter.Read(), &k, said, s.answer[:0])
	if reply == nil || s.silent {
		return code, false
	}
	id, stamp, err := l.conn.Send(reply, d.From, d.To)
	if err != nil {
		return reason.RequestSend, false
	}
	if token != 0 {
		l.remember(id, token)
		s.responder.Sent(token, stamp, &k)
	}
	return code, true
}
