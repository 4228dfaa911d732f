package web

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"

	"github.com/clockd/clockd/internal/config"
)

const (
	minToken = 16
	maxToken = 4096
)

// secrets is what the files of an [http] section hold.
type secrets struct {
	tls   *tls.Config
	token string
}

func loadSecrets(c *config.HTTP) (*secrets, error) {
	s := &secrets{}
	if c.CertFile != "" {
		if err := private(c.KeyFile); err != nil {
			return nil, err
		}
		if info, err := os.Stat(c.CertFile); err != nil || !info.Mode().IsRegular() {
			return nil, fmt.Errorf("web: http.cert_file: %s is not a file that can be read", c.CertFile)
		}
		pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("web: http.cert_file and http.key_file: %w", err)
		}
		s.tls = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	}
	if c.TokenFile == "" {
		return s, nil
	}
	if err := private(c.TokenFile); err != nil {
		return nil, err
	}
	f, err := os.Open(c.TokenFile)
	if err != nil {
		return nil, fmt.Errorf("web: http.token_file: %w", err)
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxToken+1))
	if err != nil {
		return nil, fmt.Errorf("web: http.token_file: %w", err)
	}
	s.token = strings.TrimSpace(string(b))
	if len(s.token) < minToken || len(b) > maxToken || strings.ContainsAny(s.token, " \t\r\n") {
		return nil, fmt.Errorf("web: %s must hold one word of %d to %d characters; `openssl rand -hex 32` makes one", c.TokenFile, minToken, maxToken)
	}
	return s, nil
}

// private refuses a file that others may read.
func private(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("web: %w", err)
	}
	if mode := info.Mode().Perm(); !info.Mode().IsRegular() || mode&0o027 != 0 {
		return fmt.Errorf("web: %s holds a secret, and with mode %04o others may read or change it: chmod 600 %s (640 if a group must read it)", path, mode, path)
	}
	return nil
}

// guard lets through only what may be asked: by these methods, by this name, from this origin, with this token.
func (s *secrets) guard(next http.Handler) http.Handler {
	want := sha256.Sum256([]byte(s.token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("X-Frame-Options", "DENY")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Set("Cache-Control", "no-store")
		switch {
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			header.Set("Allow", "GET, HEAD")
			http.Error(w, "nothing can be changed over HTTP: only GET and HEAD are answered", http.StatusMethodNotAllowed)
			return
		case s.token == "" && !rightName(r):
			http.Error(w, "on a loopback address this is served as localhost or by address only: another name is how foreign web pages get in", http.StatusMisdirectedRequest)
			return
		case foreign(r):
			http.Error(w, "another site's page asks for this: it may link to it, nothing else", http.StatusForbidden)
			return
		}
		if s.token != "" && r.URL.Path != "/healthz" {
			got := sha256.Sum256([]byte(shown(r))) // of one length, so that the comparison's time tells nothing
			if subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
				header.Add("WWW-Authenticate", `Bearer realm="clockd"`)
				header.Add("WWW-Authenticate", `Basic realm="clockd: any name, and the token as password", charset="UTF-8"`)
				http.Error(w, "the token is missing or wrong: send Authorization: Bearer and what http.token_file holds, or it as the password of any user", http.StatusUnauthorized)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// shown is the token that a request shows, "" if none. Programs send it as it is (RFC 6750); browsers ask their user for a name, which
// is nobody's business, and a password (RFC 7617), and send both again with everything that the page asks for.
func shown(r *http.Request) string {
	if _, password, ok := r.BasicAuth(); ok {
		return password
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return token
}

// foreign: a browser says that another site's page asks (Fetch Metadata), with the user's password if it has one, and not because the user
// followed a link. It could not read the answer, but take the places of those who watch.
func foreign(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
		return false
	}
	return r.Header.Get("Sec-Fetch-Mode") != "navigate" || r.Header.Get("Sec-Fetch-Dest") != "document"
}

// rightName refuses foreign names on loopback: a page in this host's browser could otherwise have its own name resolve to 127.0.0.1
// and read what is served there (DNS rebinding).
func rightName(r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !ok || !local.IP.IsLoopback() {
		return true
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if host == "" || strings.EqualFold(host, "localhost") {
		return true
	}
	_, err := netip.ParseAddr(host)
	return err == nil
}
