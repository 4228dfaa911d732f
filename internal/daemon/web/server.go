package web

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/netutil"

	"github.com/clockd/clockd/internal/config"
	"github.com/clockd/clockd/internal/daemon/control"
)

// The limits. A scrape takes milliseconds; whoever takes longer is slow on purpose, or dead.
const (
	maxConnections = 32 // at each address
	maxHeader      = 8 << 10
	headerTimeout  = 2 * time.Second
	readTimeout    = 5 * time.Second
	writeTimeout   = 10 * time.Second
	idleTimeout    = 2 * time.Minute
	// farewell is how long requests that are under way may take when the server ends.
	farewell = time.Second
)

// Server serves one [http] section. Its methods may be called by the daemon's loop: none waits for a request.
type Server struct {
	config *config.HTTP
	log    *slog.Logger
	pages  *pages

	mu sync.Mutex
	// wanted are the addresses that are not served.
	wanted  []config.Listen
	serving []*http.Server
	sockets []net.Listener
	at      []netip.AddrPort
	trouble []string
	stop    context.CancelFunc
	ctx     context.Context
	running sync.WaitGroup
	watch   sync.Once
}

// New makes a server that listens nowhere yet. ask is the daemon's: it answers the commands of package control.
// What m remembers is shown on the status page.
func New(c *config.HTTP, ask control.Handler, m Memory, version string, log *slog.Logger) *Server {
	ctx, stop := context.WithCancel(context.Background())
	return &Server{config: c, log: log, wanted: c.Listen, ctx: ctx, stop: stop, pages: newPages(ask, m, version, log)}
}

// Listen tries every address that is not served yet; it may be called again and again. Trouble says what is missing.
func (s *Server) Listen() {
	secured, err := loadSecrets(s.config)
	if err != nil {
		s.setTrouble([]string{err.Error()})
		return
	}
	var waiting []config.Listen
	var trouble []string
	s.mu.Lock()
	wanted := s.wanted
	s.wanted = nil
	s.mu.Unlock()
	for _, a := range wanted {
		l, err := net.Listen("tcp", netip.AddrPort(a).String())
		if err != nil {
			waiting, trouble = append(waiting, a), append(trouble, err.Error())
			continue
		}
		s.serve(a, l, secured)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted = append(s.wanted, waiting...)
	s.trouble = trouble
}

// serve answers on one listener in its own goroutine.
func (s *Server) serve(a config.Listen, l net.Listener, secured *secrets) {
	h := &http.Server{
		Handler:           secured.guard(s.pages.handler()),
		ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeader,
		ErrorLog:       slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // strangers' mistakes are not worth more
		BaseContext:    func(net.Listener) context.Context { return s.ctx },
		TLSConfig:      secured.tls,
		// HTTP/2 brings nothing to a scrape, and streams that the limit of connections does not count.
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
	var address netip.AddrPort
	if t, ok := l.Addr().(*net.TCPAddr); ok {
		address = t.AddrPort()
	}
	l = netutil.LimitListener(l, maxConnections)
	s.mu.Lock()
	s.serving, s.sockets, s.at = append(s.serving, h), append(s.sockets, l), append(s.at, address)
	s.mu.Unlock()
	// Somebody may look: from now on there is a history to show.
	s.watch.Do(func() { s.running.Go(func() { s.pages.live.watch(s.ctx) }) })
	s.log.Info("HTTP", "address", address.String(), "tls", secured.tls != nil, "token", secured.token != "")
	s.running.Go(func() {
		err := h.Serve(tlsListener(l, secured.tls))
		if !errors.Is(err, http.ErrServerClosed) && s.ctx.Err() == nil {
			s.log.Error("HTTP is not served any more", "address", address.String(), "error", err)
			s.mu.Lock()
			defer s.mu.Unlock()
			s.wanted, s.trouble = append(s.wanted, a), append(s.trouble, address.String()+": "+err.Error())
			s.at = slices.DeleteFunc(s.at, func(x netip.AddrPort) bool { return x == address })
		}
	})
}

func tlsListener(l net.Listener, c *tls.Config) net.Listener {
	if c == nil {
		return l
	}
	return tls.NewListener(l, c)
}

func (s *Server) setTrouble(list []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble = list
}

// Trouble says why not all of it is served, "" if all is.
func (s *Server) Trouble() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.trouble, "; ")
}

// Addresses returns where the server listens.
func (s *Server) Addresses() []netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]netip.AddrPort(nil), s.at...)
}

// Release frees the addresses at once, for another server to take, and ends what is under way. It does not wait for that: Close does.
func (s *Server) Release() {
	s.stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.sockets {
		_ = l.Close()
	}
}

// Close ends every connection and waits for that, not longer than a second. A request that waits for the loop is told that the
// daemon ends.
func (s *Server) Close() {
	s.Release()
	s.mu.Lock()
	serving := s.serving
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	var ending sync.WaitGroup
	for _, h := range serving {
		ending.Go(func() {
			if h.Shutdown(ctx) != nil {
				_ = h.Close() // somebody who neither asks nor goes
			}
		})
	}
	ending.Wait()
	s.running.Wait()
}

// Check reads the files of an [http] section and reports whether they can be used; nil is a section that is not there.
func Check(c *config.HTTP) error {
	if c == nil {
		return nil
	}
	_, err := loadSecrets(c)
	return err
}
