package config

import (
	"log/slog"
	"net/netip"
	"time"
)

// Default is a configuration without sources, and with the documented default of every value.
func Default(paths Paths) *Config {
	return &Config{
		Counter: Counter{Source: "auto", DriftBound: 50e-6},
		Clock: Clock{
			MaxSlew: 500e-6, MaxBound: Duration(100 * time.Millisecond),
			Heartbeat: Duration(time.Second), Lifetime: Duration(30 * time.Second),
		},
		Selection:  Selection{MaxFalse: -1},
		Stamps:     Stamps{Kernel: true, Hardware: true},
		Page:       Page{Path: paths.Page},
		Control:    Control{Path: paths.Control, Mode: 0o660},
		Privileges: Privileges{Seccomp: true},
		State:      State{Path: paths.State},
		Log:        Log{Level: Level(slog.LevelInfo), Format: "text", EventsLimit: 256 << 20},
		SystemClock: SystemClock{
			Discipline: DisciplineOff, Step: "start", StepThreshold: Duration(100 * time.Millisecond), MaxSlew: 400e-6,
			Interval: Duration(time.Second), LeapFile: "auto",
		},
	}
}

// defaultSource has the default of every value of a [[source]].
func defaultSource() Source {
	return Source{
		PoolSize: 4, Poll: Duration(16 * time.Second), Burst: 4, BurstSpacing: Duration(500 * time.Millisecond),
		Timeout: Duration(time.Second), Interleaved: true, MaxError: Duration(time.Second),
		NTSPort: ntsPort, NTSTimeCheck: TimeCheckAfterFirst,
	}
}

// defaultServer has the default of every value of [server].
func defaultServer() Server {
	return Server{
		Listen: []Listen{Listen(netip.AddrPortFrom(netip.IPv6Unspecified(), 123))},
		Rate:   16, Burst: 32, Interleaved: true,
	}
}

// defaultLocal has the default of every value of [local].
func defaultLocal() Local { return Local{Stratum: 10} }

// defaultHTTP has the default of every value of [http].
func defaultHTTP() HTTP {
	return HTTP{Listen: []Listen{Listen(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 9123))}}
}

// publicServers are independent operators on purpose: with f of n allowed to be false, two names of one operator are one.
// None of them smears leap seconds, because a smeared source contradicts the others for a whole day. Those that anybody on the path
// can forge, which have no NTS, are no more than f: whoever owns the network cannot outvote the others in their names.
var publicServers = [...]struct {
	name string
	nts  bool
	pool int
}{
	{"time.cloudflare.com", true, 0}, // Cloudflare, anycast
	{"nts.netnod.se", true, 0},       // Netnod, Sweden, anycast
	{"ptbtime1.ptb.de", true, 0},     // PTB, Germany's metrology institute
	{"ntppool1.time.nl", true, 0},    // SIDN Labs, the Netherlands
	{"a.st1.ntp.br", true, 0},        // NIC.br, Brazil
	{"time.nist.gov", false, 0},      // NIST, the United States' metrology institute
	{"2.pool.ntp.org", false, 2},     // volunteers near this host, IPv4 and IPv6
}

// Public is the configuration of a daemon that was given none: it follows several independent public servers, most of them under NTS,
// slowly enough for a guest, and serves nobody.
func Public(paths Paths) *Config {
	c := Default(paths)
	c.Clock.TargetError = Duration(time.Millisecond) // what public servers are good for: they are asked no more than that needs
	for _, p := range publicServers {
		s := defaultSource()
		s.Address = Address{Host: p.name, Port: 123}
		s.Poll, s.MaxPoll, s.BurstSpacing = Duration(64*time.Second), Duration(1024*time.Second), Duration(time.Second)
		s.NTS = p.nts
		if p.pool > 0 {
			s.Pool, s.PoolSize = true, p.pool
		}
		c.Source = append(c.Source, s)
	}
	return c
}
