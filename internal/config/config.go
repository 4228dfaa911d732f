package config

import (
	"log/slog"
	"net/netip"
	"os"
)

// Config is a whole configuration.
type Config struct {
	Counter   Counter   `toml:"counter"`
	Clock     Clock     `toml:"clock"`
	Source    []Source  `toml:"source"`
	Selection Selection `toml:"sources"`
	Stamps    Stamps    `toml:"stamps"`
	// Keys and Identity are where the secrets are that others are known by.
	Keys     Keys     `toml:"keys"`
	Identity Identity `toml:"identity"`
	// Peer are the other members of this host's group, Agreement is nil without them.
	Peer      []Peer     `toml:"peer"`
	Agreement *Agreement `toml:"agreement"`
	// Server is nil when the host does not answer NTP requests.
	Server *Server `toml:"server"`
	// NTSServer is nil when the host gives no keys for NTS.
	NTSServer *NTSServer `toml:"nts_server"`
	// Local is nil unless this host is the reference.
	Local *Local `toml:"local"`
	// HTTP is nil when nothing is served over HTTP.
	HTTP *HTTP `toml:"http"`
	// Influx is nil when nothing is sent to InfluxDB.
	Influx *Influx `toml:"influx"`
	// ClockBound is nil when nothing is written for ClockBound's readers.
	ClockBound *ClockBound `toml:"clockbound"`
	// SystemClock is what the kernel's clock is told, nothing by default.
	SystemClock SystemClock `toml:"system_clock"`

	Page    Page    `toml:"page"`
	Control Control `toml:"control"`
	// Privileges says what the daemon gives up.
	Privileges Privileges `toml:"privileges"`
	State      State      `toml:"state"`
	Log        Log        `toml:"log"`
}

// Counter chooses the hardware counter.
type Counter struct {
	// Source is "auto" or a counter's specification (hw.Open).
	Source string `toml:"source"`
	// DriftBound is the largest relative error of its oscillator.
	DriftBound Ratio `toml:"drift_bound"`
	// WanderBound is by how much its rate can change within any hour; 0: nothing is assumed.
	WanderBound Ratio `toml:"wander_bound"`
}

// Clock says how the virtual clock behaves.
type Clock struct {
	MaxSlew       Ratio    `toml:"max_slew"`
	MaxBound      Duration `toml:"max_bound"`
	TargetError   Duration `toml:"target_error"` // 0: polls are fixed
	HoldoverAfter Duration `toml:"holdover_after"`
	Heartbeat     Duration `toml:"heartbeat"`
	Lifetime      Duration `toml:"lifetime"`
}

// Source is one [[source]]: an NTP server, or a name that stands for several.
type Source struct {
	Address      Address  `toml:"address"`
	Pool         bool     `toml:"pool"`
	PoolSize     int      `toml:"pool_size"`
	Poll         Duration `toml:"poll"`
	MaxPoll      Duration `toml:"max_poll"` // 0: the poll is fixed
	Burst        int      `toml:"burst"`
	BurstSpacing Duration `toml:"burst_spacing"`
	Timeout      Duration `toml:"timeout"`
	Interleaved  bool     `toml:"interleaved"`
	MinDelay     Duration `toml:"min_delay"`
	MaxError     Duration `toml:"max_error"`
	// Key is the identifier of the symmetric key of its exchanges, PublicKey the server's identity; of both at most one is set.
	Key       KeyID     `toml:"key"`
	PublicKey PublicKey `toml:"public_key"`
	// NTS: its answers are authenticated by Network Time Security, for which keys are exchanged at NTSPort of Address's host. NTSCA
	// is a file with those who may vouch for it, "" for those that the system trusts.
	NTS          bool      `toml:"nts"`
	NTSPort      int       `toml:"nts_port"`
	NTSCA        string    `toml:"nts_ca"`
	NTSTimeCheck TimeCheck `toml:"nts_time_check"`
}

// Selection says how the sources are weighed against each other.
type Selection struct {
	// MaxFalse is how many sources may be false at a time, −1 for automatic.
	MaxFalse MaxFalse `toml:"max_false"`
}

// Stamps switches the kernel's packet stamps.
type Stamps struct {
	Kernel   bool `toml:"kernel"`
	Hardware bool `toml:"hardware"`
}

// Server answers NTP requests.
type Server struct {
	Listen []Listen `toml:"listen"`
	Allow  []Prefix `toml:"allow"`
	Deny   []Prefix `toml:"deny"`
	// Rate is how many requests a second one client may send in the long run; Burst how many at once.
	Rate        float64 `toml:"rate"`
	Burst       int     `toml:"burst"`
	Interleaved bool    `toml:"interleaved"`
	// Keys and PublicKeys are the clients' that authenticate their requests; Require says who must.
	Keys       []KeyID     `toml:"keys"`
	PublicKeys []PublicKey `toml:"public_keys"`
	Require    []Prefix    `toml:"require"`
}

// Keys is where the symmetric keys are.
type Keys struct {
	// File is in chrony's format; "" for none.
	File string `toml:"file"`
}

// Identity is this host's own key.
type Identity struct {
	// KeyFile is a private key that clockd keygen made; "" for none.
	KeyFile string `toml:"key_file"`
}

// Local makes this host the reference.
type Local struct {
	Stratum int      `toml:"stratum"`
	Bound   Duration `toml:"bound"`
}

// HTTP is what monitoring asks: metrics, liveness and readiness, for reading only.
type HTTP struct {
	Listen []Listen `toml:"listen"`
	// CertFile and KeyFile, both or neither, are for TLS; TokenFile holds what clients must show; "" for none.
	CertFile  string `toml:"cert_file"`
	KeyFile   string `toml:"key_file"`
	TokenFile string `toml:"token_file"`
	// Insecure allows addresses that others can reach without TLS and token.
	Insecure bool `toml:"insecure"`
}

// Page is the shared page.
type Page struct {
	Path string `toml:"path"`
}

// Control is the Unix socket of the command line.
type Control struct {
	Path  string   `toml:"path"`
	Group string   `toml:"group"`
	Mode  FileMode `toml:"mode"`
}

// Privileges says what the daemon gives up when it starts.
type Privileges struct {
	// Seccomp: the kernel refuses all system calls that a clock does not need.
	Seccomp bool `toml:"seccomp"`
}

// State is what is remembered across restarts.
type State struct {
	// Path is "" when the user asked for no state file ("none").
	Path string `toml:"path"`
}

// Log says what is logged.
type Log struct {
	Level  Level  `toml:"level"`
	Format Format `toml:"format"`
	// Events is the path of the event log, "" for none.
	Events      string `toml:"events"`
	EventsLimit Size   `toml:"events_limit"`
}

// Prefixes returns the plain prefixes of a list.
func Prefixes(list []Prefix) []netip.Prefix {
	out := make([]netip.Prefix, 0, len(list))
	for _, p := range list {
		out = append(out, netip.Prefix(p))
	}
	return out
}

// SlogLevel returns the level in slog's type.
func (l Level) SlogLevel() slog.Level { return slog.Level(l) }

// FileMode returns the mode in os' type.
func (m FileMode) FileMode() os.FileMode { return os.FileMode(m) }
