package config

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"time"
)

// TimeCheck says against which time the dates of a server's certificate are checked.
type TimeCheck string

// The ways to check.
const (
	// TimeCheckAfterFirst: against the clock once it is set; until then dates that the system's clock contradicts are let pass, and
	// checked when the clock has been set.
	TimeCheckAfterFirst TimeCheck = "after_first"
	// TimeCheckAlways: against the clock once it is set, and against the system's until then.
	TimeCheckAlways TimeCheck = "always"
)

func (c *TimeCheck) setTOML(v any) error {
	if s, ok := v.(string); ok && (s == string(TimeCheckAfterFirst) || s == string(TimeCheckAlways)) {
		*c = TimeCheck(s)
		return nil
	}
	return fmt.Errorf(`%s is not a way to check the dates of certificates; write %q or %q`, written(v), TimeCheckAfterFirst, TimeCheckAlways)
}

// NTSServer gives the clients of [server] keys for NTS.
type NTSServer struct {
	Listen []Listen `toml:"listen"`
	// CertFile and KeyFile are the certificate, with those that lead to its root, and its private key.
	CertFile string `toml:"cert_file"`
	KeyFile  string `toml:"key_file"`
	// CookieKeyFile remembers the keys of the cookies across restarts; "" for nowhere.
	CookieKeyFile string `toml:"cookie_key_file"`
	// Rotate is how often a new one is made.
	Rotate Duration `toml:"rotate"`
	// NTPServer is what clients are told to ask for the time; "": this host.
	NTPServer string `toml:"ntp_server"`
	// Rate is how many exchanges a second one client may make in the long run; Burst how many at once.
	Rate  float64 `toml:"rate"`
	Burst int     `toml:"burst"`
}

// ntsPort is that of key exchanges.
const ntsPort = 4460

// defaultNTSServer has the default of every value of [nts_server].
func defaultNTSServer() NTSServer {
	return NTSServer{
		Listen: []Listen{Listen(netip.AddrPortFrom(netip.IPv6Unspecified(), ntsPort))},
		Rotate: Duration(24 * time.Hour), Rate: 0.1, Burst: 16,
	}
}

// cookieKeys is the name of the file of the cookies' keys, in the directory of the state file.
const cookieKeys = "nts-cookie-keys"

// validateNTS checks what a source says of NTS.
func (d *decoder) validateNTS(path string, s *Source) {
	d0 := defaultSource()
	for _, f := range []struct {
		key string
		set bool
	}{
		{"nts_port", s.NTSPort != d0.NTSPort}, {"nts_ca", s.NTSCA != d0.NTSCA}, {"nts_time_check", s.NTSTimeCheck != d0.NTSTimeCheck},
	} {
		if f.set && !s.NTS && !d.bad[path+".nts"] {
			d.complain(path+"."+f.key, "this source does not use NTS; write nts = true as well")
		}
	}
	if !s.NTS {
		return
	}
	within(d, path+".nts_port", s.NTSPort, 1, 65535, showInt)
	if s.NTSCA != "" {
		d.path(path+".nts_ca", s.NTSCA)
	}
	if s.Pool {
		d.complain(path+".nts", "the servers of a pool have no certificate in common; give each its own [[source]]")
	}
	if s.Key != 0 || s.PublicKey != (PublicKey{}) {
		d.complain(path+".nts", "the source has a key already; remove one of the two")
	}
}

// validateNTSServer checks what can be seen without the files.
func (d *decoder) validateNTSServer(c *Config) {
	s := c.NTSServer
	if c.Server == nil && !d.bad["server"] {
		d.complain("nts_server", "keys are given to the clients of [server], and there is none; add [server]")
	}
	for _, f := range []struct{ key, path, example string }{
		{"cert_file", s.CertFile, "/etc/clockd/nts.crt"}, {"key_file", s.KeyFile, "/etc/clockd/nts.key"},
	} {
		if path := "nts_server." + f.key; f.path != "" {
			d.path(path, f.path)
		} else if !d.bad[path] {
			d.complain("nts_server", "clients must be shown a certificate; write %s = %q", f.key, f.example)
		}
	}
	switch {
	case s.CookieKeyFile == "none":
		s.CookieKeyFile = ""
	case s.CookieKeyFile == "" && c.State.Path != "":
		s.CookieKeyFile = filepath.Join(filepath.Dir(c.State.Path), cookieKeys)
	case s.CookieKeyFile != "":
		d.path("nts_server.cookie_key_file", s.CookieKeyFile)
	}
	within(d, "nts_server.rotate", s.Rotate, Duration(time.Second), Duration(365*24*time.Hour), showDuration)
	within(d, "nts_server.rate", s.Rate, 0.0001, 1e4, showFloat)
	within(d, "nts_server.burst", s.Burst, 1, 1_000_000, showInt)
	if s.NTPServer != "" {
		if a, err := ParseAddress(s.NTPServer); err != nil {
			d.complain("nts_server.ntp_server", "%s", err)
		} else if len(a.Host) > 255 {
			d.complain("nts_server.ntp_server", "the name is too long")
		}
	}
	if len(s.Listen) == 0 && !d.bad["nts_server.listen"] {
		d.complain("nts_server.listen", `the list is empty; write at least one address, such as "[::]:4460", or leave out [nts_server]`)
	}
	seen := map[Listen]bool{}
	for i, l := range s.Listen {
		if seen[l] && netip.AddrPort(l).Port() != 0 {
			d.complain(fmt.Sprintf("nts_server.listen[%d]", i), "%s is in the list already", netip.AddrPort(l))
		}
		seen[l] = true
	}
}
