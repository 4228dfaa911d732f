package daemon

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/clockd/clockd/internal/config"
	"github.com/clockd/clockd/internal/keys"
	"github.com/clockd/clockd/internal/nts"
	"github.com/clockd/clockd/internal/nts/ke"
	"github.com/clockd/clockd/sync/roundtrip"
)

// ntsServer gives keys for NTS to the clients of [server], and keeps the keys of their cookies: in goroutines of its own, so neither the
// loop nor the goroutine that answers waits for TLS or for a disk.
type ntsServer struct {
	config  *config.NTSServer
	log     *slog.Logger
	ke      *ke.Server
	masters atomic.Pointer[nts.Masters]
	pair    atomic.Pointer[tls.Certificate]
	// port is where NTP is served if that is not 123.
	port atomic.Uint32
	quit chan struct{}
	done sync.WaitGroup

	mu        sync.Mutex
	listening []netip.AddrPort
	waiting   map[netip.AddrPort]string // not listened on yet, and why
	trouble   map[string]string         // of files, by what they are
}

// housekeeping is how often certificate and cookie keys are looked after.
const housekeeping = time.Minute

// loadPair reads certificate and private key.
func loadPair(c *config.NTSServer) (*tls.Certificate, error) {
	if err := keys.Private(c.KeyFile); err != nil {
		return nil, fmt.Errorf("nts_server.key_file: %w", err)
	}
	pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("nts_server.cert_file and nts_server.key_file: %w", err)
	}
	return &pair, nil
}

// loadMasters reads the keys of the cookies, or makes the first.
func loadMasters(path string) (*nts.Masters, error) {
	if path == "" {
		return nts.NewMasters(rand.Reader, time.Now())
	}
	b, err := keys.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nts.NewMasters(rand.Reader, time.Now())
	}
	if err != nil {
		return nil, err
	}
	m, err := nts.ParseMasters(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

// newNTSServer makes a server that listens nowhere yet.
func newNTSServer(c *config.NTSServer, server *config.Server, log *slog.Logger) (*ntsServer, error) {
	s := &ntsServer{config: c, log: log, quit: make(chan struct{}), waiting: map[netip.AddrPort]string{}, trouble: map[string]string{}}
	pair, err := loadPair(c)
	if err != nil {
		return nil, fmt.Errorf("daemon: %w", err)
	}
	s.pair.Store(pair)
	masters, err := loadMasters(c.CookieKeyFile)
	if err != nil {
		return nil, fmt.Errorf("daemon: nts_server.cookie_key_file: %w", err)
	}
	access, err := roundtrip.NewAccess(config.Prefixes(server.Allow), config.Prefixes(server.Deny))
	if err != nil {
		return nil, fmt.Errorf("daemon: %w", err)
	}
	s.masters.Store(masters)
	s.keep(masters)
	host, port := "", uint16(0)
	if c.NTPServer != "" {
		a, err := config.ParseAddress(c.NTPServer)
		if err != nil {
			return nil, fmt.Errorf("daemon: nts_server.ntp_server: %w", err)
		}
		host, port = a.Host, a.Port
	}
	s.ke = ke.NewServer(ke.ServerConfig{
		Certificate: func() (*tls.Certificate, error) { return s.pair.Load(), nil },
		Masters:     s.masters.Load, Allow: access.Allows, Rate: c.Rate, Burst: c.Burst, Server: host, Random: rand.Reader,
		Port: func() uint16 {
			at := port
			if host == "" {
				at = uint16(s.port.Load())
			}
			if at == ntpPort {
				return 0
			}
			return at
		},
	})
	for _, l := range c.Listen {
		s.waiting[netip.AddrPort(l)] = "not tried yet"
	}
	s.done.Go(s.housekeep)
	return s, nil
}

const ntpPort = 123

// housekeep makes new keys when it is time, and takes up a renewed certificate.
func (s *ntsServer) housekeep() {
	every := min(housekeeping, time.Duration(s.config.Rotate)/4)
	// What has passed since the newest key was made, by a clock that may be wrong: no less than nothing.
	made := time.Now().Add(-max(0, time.Since(s.masters.Load().Created().Local())))
	timer := time.NewTicker(every)
	defer timer.Stop()
	for {
		select {
		case <-s.quit:
			return
		case <-timer.C:
		}
		if time.Since(made) >= time.Duration(s.config.Rotate) {
			if next, err := s.masters.Load().Rotate(rand.Reader, time.Now()); err == nil {
				// On disk first: a restart must not forget a key that clients have cookies of.
				s.keep(next)
				s.masters.Store(next)
				made = time.Now()
			}
		}
		pair, err := loadPair(s.config)
		if err == nil {
			s.pair.Store(pair)
		}
		s.complain("the certificate", err)
	}
}

// keep writes the keys down.
func (s *ntsServer) keep(m *nts.Masters) {
	if path := s.config.CookieKeyFile; path != "" {
		s.complain("the keys of the cookies", saveSecret(path, m.Text()))
	}
}

// complain remembers what is wrong with a file, nil: nothing.
func (s *ntsServer) complain(what string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.trouble[what]
	delete(s.trouble, what)
	if err != nil {
		s.trouble[what] = err.Error()
		if before == "" {
			s.log.Error("NTS: "+what, "error", err)
		}
	}
}

// saveSecret writes a file that only its owner may read, atomically.
func saveSecret(path string, text []byte) (err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("daemon: the directory cannot be made: %w", err)
	}
	f, err := os.CreateTemp(dir, ".nts-*") // mode 0600
	if err != nil {
		return fmt.Errorf("daemon: %w", err)
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("daemon: %w", err)
	}
	return syncDirectory(dir)
}

// Listen tries the addresses that are not listened on yet. It returns the failures.
func (s *ntsServer) Listen() (errs []error) {
	for _, l := range s.config.Listen {
		a := netip.AddrPort(l)
		s.mu.Lock()
		_, wanted := s.waiting[a]
		s.mu.Unlock()
		if !wanted {
			continue
		}
		at, err := s.ke.Listen(a)
		s.mu.Lock()
		if err != nil {
			errs = append(errs, err)
			s.waiting[a] = err.Error()
		} else {
			delete(s.waiting, a)
			s.listening = append(s.listening, at)
		}
		s.mu.Unlock()
	}
	return errs
}

// Serves takes where NTP is served.
func (s *ntsServer) Serves(at []netip.AddrPort) {
	if len(at) > 0 {
		s.port.Store(uint32(at[0].Port()))
	}
}

// state is what people are told: where it listens, what was done, what is wrong.
func (s *ntsServer) state() (listening []string, stats ke.Stats, trouble string, waiting bool) {
	stats = s.ke.Stats()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.listening {
		listening = append(listening, a.String())
	}
	var all []string
	for _, why := range s.waiting {
		all = append(all, why)
	}
	for what, why := range s.trouble {
		all = append(all, what+": "+why)
	}
	slices.Sort(all)
	return listening, stats, strings.Join(all, "; "), len(s.waiting) > 0
}

// Close ends all exchanges.
func (s *ntsServer) Close() {
	close(s.quit)
	s.ke.Close()
	s.done.Wait()
}

// closeNTSServer ends the server of keys, if there is one.
func (d *daemon) closeNTSServer() {
	if d.ntsServer != nil {
		d.ntsServer.Close()
		d.ntsServer = nil
	}
}

// renew takes up master keys that have changed. It is called by the goroutine that answers.
func (s *server) renew() {
	if s.masters == nil {
		return
	}
	if m := s.masters(); s.nts.Masters() != m {
		if err := s.nts.SetMasters(m); err != nil {
			return // it goes on with those that it has
		}
	}
}
