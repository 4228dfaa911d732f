package config

import (
	"errors"
	"log/slog"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

func testPaths() Paths {
	return Paths{Page: "/run/clockd/page", Control: "/run/clockd/control", State: "/var/lib/clockd/state.json"}
}

const source = "[[source]]\naddress = \"a.example\"\n"

const (
	keysFile = "[keys]\nfile = \"/k\"\n"
	// ntsServer has all that an [nts_server] must have.
	ntsServer = "[nts_server]\ncert_file = \"/c\"\nkey_file = \"/k\"\n"
	identity  = "[identity]\nkey_file = \"/i\"\n"
	// alice is the public key of RFC 7748 section 6.1.
	alice = "clockd-public-1:hSDwCYkwp1R0i33ctD73Wg2_Og0mOBr066SpjqqbTmqnXpTc"
)

// Each kind of mistake, the line and column where it must be seen, and a part of what must be said.
func TestEachMistakeIsFoundWhereItStands(t *testing.T) {
	cases := []struct {
		name, document string
		line, column   int
		says           string
	}{
		{"syntax", source + "[clock\n", 3, 0, ""},
		{"duplicate key", source + "poll = \"1s\"\npoll = \"2s\"\n", 4, 0, "poll"},
		{"unknown section", source + "[clokc]\n", 3, 2, `did you mean "clock"?`},
		{"unknown key", source + "pol = \"16s\"\n", 3, 1, `did you mean "poll"?`},
		{"unknown key far from any", source + "[clock]\nzzzzzzzzzzzz = 1\n", 4, 1, "known here: max_slew, max_bound"},
		{"key of another section", source + "[clock]\nburst_spacing = \"1s\"\n", 4, 1, "it belongs to [[source]]"},
		{"duration as number", source + "poll = 16\n", 3, 1, `16 is not a duration; write a duration with its unit in quotes, such as "16s"`},
		{"duration without unit", source + "poll = \"16\"\n", 3, 1, `"16" is not a duration`},
		{"poll too short", source + "poll = \"1ms\"\n", 3, 1, `"1ms" is out of range; write a value from "10ms" to "36h0m0s"`},
		{"burst too large", source + "burst = 99\n", 3, 1, "99 is out of range; write a value from 1 to 16"},
		{"burst as text", source + "burst = \"4\"\n", 3, 1, `"4" is not a whole number`},
		{"bool as text", source + "interleaved = \"yes\"\n", 3, 1, "neither true nor false"},
		{"no address", "[[source]]\npoll = \"16s\"\n", 1, 3, "a source needs an address"},
		{"bad port", "[[source]]\naddress = \"a.example:99999\"\n", 2, 1, "the port must be a number"},
		{"bad host", "[[source]]\naddress = \"a b\"\n", 2, 1, "DNS name or an IP address"},
		{"bad bracket", "[[source]]\naddress = \"[zz]:1\"\n", 2, 1, "must be an IPv6 address"},
		{"address as number", "[[source]]\naddress = 5\n", 2, 1, "5 is not an address"},
		{"twice the same", source + source, 4, 1, "must not vote twice"},
		{"single brackets", "[source]\naddress = \"a\"\n", 1, 2, "write [[source]] with double brackets"},
		{"pool of an address", "[[source]]\naddress = \"192.0.2.1\"\npool = true\n", 3, 1, "is one address"},
		{"pool size without pool", source + "pool_size = 3\n", 3, 1, "write pool = true as well"},
		{"ratio", source + "[counter]\ndrift_bound = \"50 percent\"\n", 4, 1, `write a ratio in quotes, such as "50ppm"`},
		{"ratio as number", source + "[counter]\ndrift_bound = 50\n", 4, 1, "50 is not a ratio"},
		{"wander with a long lifetime", source + "[counter]\nwander_bound = \"1ppm\"\n[clock]\nlifetime = \"1h\"\n", 4, 1, "set clock.lifetime to 15m or less"},
		{"ratio out of range", source + "[counter]\ndrift_bound = \"2%\"\n", 4, 1, `"20000ppm" is out of range; write a value from "0.001ppm" to "5000ppm"`},
		{"no counter", source + "[counter]\nsource = \"\"\n", 4, 1, "clockd doctor"},
		{"unknown counter", source + "[counter]\nsource = \"tcs\"\n", 4, 1, "there are auto, tsc, cntvct, monotonic_raw"},
		{"counter as number", source + "[counter]\nsource = 5\n", 4, 1, "not a text"},
		{"lifetime", source + "[clock]\nheartbeat = \"10s\"\nlifetime = \"20s\"\n", 5, 1, `write at least "40s"`},
		{"too few for f", source + "[sources]\nmax_false = 1\n", 4, 1, "configure at least 3"},
		{"max false", source + "[sources]\nmax_false = \"some\"\n", 4, 1, `write "auto" or a number`},
		{"listen name", source + "[server]\nlisten = [\"[::]:123\", \"localhost:123\"]\n", 4, 23, "not an address to listen on"},
		{"listen text", source + "[server]\nlisten = \"[::]:123\"\n", 4, 1, "write it in square brackets"},
		{"listen nothing", source + "[server]\nlisten = []\n", 4, 1, "the list is empty"},
		{"listen twice", source + "[server]\nlisten = [\":123\", \"[::]:123\"]\n", 4, 19, "in the list already"},
		{"prefix bits", source + "[server]\nallow = [\"10.0.0.1/8\"]\n", 4, 10, `write "10.0.0.0/8"`},
		{"prefix", source + "[server]\ndeny = [\"everybody\"]\n", 4, 9, "not a set of addresses"},
		{"rate", source + "[server]\nrate = 0\n", 4, 1, "out of range"},
		{"rate kind", source + "[server]\nrate = \"fast\"\n", 4, 1, "not a number"},
		{"stratum", "[local]\nstratum = 16\n", 2, 1, "16 is out of range; write a value from 1 to 15"},
		{"local and source", source + "[local]\n", 3, 2, "either the reference or follows sources"},
		{"nothing to follow", "[stamps]\nkernel = true\n", 0, 0, "could never know the time"},
		{"relative page", source + "[page]\npath = \"page\"\n", 4, 1, "write one that begins with /"},
		{"page as number", source + "[page]\npath = 7\n", 4, 1, "7 is not a text"},
		{"long socket", source + "[control]\npath = \"/" + strings.Repeat("x", 120) + "\"\n", 4, 1, "shorter than 108 bytes"},
		{"mode", source + "[control]\nmode = \"rw\"\n", 4, 1, `such as "0660"`},
		{"level", source + "[log]\nlevel = \"loud\"\n", 4, 1, `write "debug", "info", "warn" or "error"`},
		{"format", source + "[log]\nformat = \"xml\"\n", 4, 1, `write "text" or "json"`},
		{"size", source + "[log]\nevents_limit = \"10\"\n", 4, 1, `such as "64MiB"`},
		{"small size", source + "[log]\nevents_limit = \"1KiB\"\n", 4, 1, "out of range"},
		{"section as value", source + "[other]\n", 3, 2, "a configuration has no section"},
		{"inline table", "source = [{ address = \"a\", pol = \"1s\" }]\n", 1, 28, `did you mean "poll"?`},
		{"key as text", source + "key = \"5\"\n" + keysFile, 3, 1, "without quotes"},
		{"key too large", source + "key = 4294967296\n" + keysFile, 3, 1, "from 1 to 4294967295"},
		{"key without file", source + "key = 5\n", 3, 1, "there is no file to take the key from"},
		{"relative file", source + "key = 5\n[keys]\nfile = \"keys\"\n", 5, 1, "begins with /"},
		{"public key as number", source + "public_key = 5\n" + identity, 3, 1, "the line that clockd keygen prints"},
		{"public key mistyped", source + "public_key = \"" + alice[:63] + "d\"\n" + identity, 3, 1, "a character was mistyped"},
		{"private key", source + "public_key = \"clockd-private-1:dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCphu0v4\"\n" + identity, 3, 1, "must not leave its host"},
		{"no identity", source + "public_key = \"" + alice + "\"\n", 3, 1, "run clockd keygen"},
		{"both keys", source + "key = 5\npublic_key = \"" + alice + "\"\n" + identity + keysFile, 4, 1, "remove one of the two"},
		{"one identity twice", source + "public_key = \"" + alice + "\"\n[[source]]\naddress = \"b\"\npublic_key = \"" + alice + "\"\n" + identity, 6, 1, "must not vote twice"},
		{"identity of a pool", source + "pool = true\npublic_key = \"" + alice + "\"\n" + identity, 4, 1, "no identity in common"},
		{"key for both directions", source + "key = 5\n" + keysFile + "[server]\nkeys = [4, 5]\n", 7, 12, "give clients and sources different keys"},
		{"client key twice", source + keysFile + "[server]\nkeys = [4, 4]\n", 6, 12, "in the list already"},
		{"client key 0", source + keysFile + "[server]\nkeys = [0]\n", 6, 9, "0 is no key"},
		{"client key without file", source + "[server]\nkeys = [4]\n", 4, 9, "there is no file to take the key from"},
		{"client identity twice", source + identity + "[server]\npublic_keys = [\"" + alice + "\", \"" + alice + "\"]\n", 6, 84, "in the list already"},
		{"empty client identity", source + identity + "[server]\npublic_keys = [\"\"]\n", 6, 16, "the key is empty"},
		{"clients without own identity", source + "[server]\npublic_keys = [\"" + alice + "\"]\n", 4, 16, "run clockd keygen"},
		{"require without keys", source + "[server]\nrequire = [\"10.0.0.0/8\"]\n", 4, 1, "none of these could be answered"},
		{"require nobody", source + identity + "[server]\npublic_keys = [\"" + alice + "\"]\nrequire = [\"all\"]\n", 7, 12, "not a set of addresses"},
		{"http nothing", source + "[http]\nlisten = []\n", 4, 1, "the list is empty"},
		{"http twice", source + "[http]\nlisten = [\"127.0.0.1:1\", \"127.0.0.1:1\"]\n", 4, 26, "in the list already"},
		{"http for all", source + "[http]\nlisten = [\"127.0.0.1:1\", \"0.0.0.0:1\"]\n", 4, 26, "insecure = true"},
		{"http token alone", source + "[http]\nlisten = [\":1\"]\ntoken_file = \"/t\"\n", 4, 11, "can be reached by others"},
		{"http key without certificate", source + "[http]\nkey_file = \"/k\"\n", 4, 1, "cert_file"},
		{"http certificate without key", source + "[http]\ncert_file = \"/k\"\n", 4, 1, "key_file"},
		{"http relative", source + "[http]\ntoken_file = \"t\"\n", 4, 1, "begins with /"},
		{"http insecure on loopback", source + "[http]\ninsecure = true\n", 4, 1, "nothing to allow"},
		{"nts port alone", source + "nts_port = 4461\n", 3, 1, "write nts = true as well"},
		{"nts ca alone", source + "nts_ca = \"/ca\"\n", 3, 1, "write nts = true as well"},
		{"nts port", source + "nts = true\nnts_port = 0\n", 4, 1, "out of range"},
		{"nts relative", source + "nts = true\nnts_ca = \"ca\"\n", 4, 1, "begins with /"},
		{"nts time check", source + "nts = true\nnts_time_check = \"never\"\n", 4, 1, `write "after_first" or "always"`},
		{"nts of a pool", source + "nts = true\npool = true\n", 3, 1, "no certificate in common"},
		{"nts and a key", source + "nts = true\nkey = 5\n" + keysFile, 3, 1, "remove one of the two"},
		{"nts server alone", source + ntsServer, 3, 2, "add [server]"},
		{"nts server without certificate", source + "[server]\n[nts_server]\nkey_file = \"/k\"\n", 4, 2, "write cert_file ="},
		{"nts server without key", source + "[server]\n[nts_server]\ncert_file = \"/k\"\n", 4, 2, "write key_file ="},
		{"nts cookie keys", source + "[server]\n" + ntsServer + "cookie_key_file = \"k\"\n", 7, 1, "begins with /"},
		{"nts rotation", source + "[server]\n" + ntsServer + "rotate = \"1ms\"\n", 7, 1, "out of range"},
		{"nts rate", source + "[server]\n" + ntsServer + "rate = 0\n", 7, 1, "out of range"},
		{"nts burst", source + "[server]\n" + ntsServer + "burst = 0\n", 7, 1, "out of range"},
		{"nts ntp server", source + "[server]\n" + ntsServer + "ntp_server = \"a b\"\n", 7, 1, "not an address"},
		{"nts listen nothing", source + "[server]\n" + ntsServer + "listen = []\n", 7, 1, "the list is empty"},
		{"nts listen twice", source + "[server]\n" + ntsServer + "listen = [\":1\", \":1\"]\n", 7, 17, "in the list already"},
		{"influx without server", source + "[influx]\nbucket = \"b\"\n", 3, 2, "there is no server"},
		{"influx without bucket", source + "[influx]\nurl = \"http://127.0.0.1:8086\"\n", 3, 2, "points need a place"},
		{"influx url", source + "[influx]\nbucket = \"b\"\nurl = \"127.0.0.1:8086\"\n", 5, 1, "not the address of a server"},
		{"influx url with password", source + "[influx]\nbucket = \"b\"\nurl = \"https://u:p@h:8086\"\n", 5, 1, "token_file"},
		{"influx url with bucket", source + "[influx]\nbucket = \"b\"\nurl = \"https://h:8086/?bucket=b\"\n", 5, 1, "more than an address"},
		{"influx token in clear", source + "[influx]\nbucket = \"b\"\nurl = \"http://h:8086\"\ntoken_file = \"/t\"\n", 5, 1, "for everybody on the way to read"},
		{"influx insecure for nothing", source + "[influx]\nbucket = \"b\"\nurl = \"http://localhost:8086\"\ninsecure = true\n", 6, 1, "nothing to allow"},
		{"influx ca without tls", source + "[influx]\nbucket = \"b\"\nurl = \"http://h:8086\"\nca_file = \"/c\"\n", 6, 1, "there is no TLS"},
		{"influx relative spool", source + "[influx]\nbucket = \"b\"\nurl = \"http://[::1]:8086\"\nspool = \"s\"\n", 6, 1, "begins with /"},
		{"influx limit without spool", source + "[influx]\nbucket = \"b\"\nurl = \"http://h\"\nspool_limit = \"8MiB\"\n", 6, 1, "there is no spool"},
		{"influx batch", source + "[influx]\nbucket = \"b\"\nurl = \"http://h\"\nbatch = 0\n", 6, 1, "out of range"},
		{"influx buffer", source + "[influx]\nbucket = \"b\"\nurl = \"http://h\"\nbuffer = \"1KiB\"\n", 6, 1, "out of range"},
		{"influx every", source + "[influx]\nbucket = \"b\"\nurl = \"http://h\"\nevery = \"10ms\"\n", 6, 1, "out of range"},
		{"dotted key", source + "[x]\n[page]\npath = \"/p\"\n", 3, 2, `has no section "x"`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := Parse("f.toml", []byte(c.document), testPaths())
			var p Problems
			if !errors.As(err, &p) || len(p) == 0 || got != nil {
				t.Fatalf("Parse gave %+v, %v", got, err)
			}
			if p[0].Line != c.line || c.column != 0 && p[0].Column != c.column {
				t.Errorf("found at %d:%d, stands at %d:%d: %v", p[0].Line, p[0].Column, c.line, c.column, p)
			}
			if !strings.Contains(p.Error(), c.says) {
				t.Errorf("%q does not say %q", p.Error(), c.says)
			}
			if len(p) != 1 {
				t.Errorf("one mistake, %d problems: %v", len(p), p)
			}
		})
	}
}

func TestAllMistakesAreReportedAtOnceInTheOrderOfTheLines(t *testing.T) {
	_, err := Parse("f.toml", []byte("[clock]\nmax_slew = 5\nmax_bonud = \"1s\"\n[[source]]\naddress = \"a\"\npoll = \"0s\"\n[log]\nlevel = 3\n"), testPaths())
	var p Problems
	if !errors.As(err, &p) {
		t.Fatal(err)
	}
	var lines []int
	for _, x := range p {
		lines = append(lines, x.Line)
	}
	if want := []int{2, 3, 6, 8}; !reflect.DeepEqual(lines, want) {
		t.Errorf("problems on lines %v, want %v:\n%v", lines, want, p)
	}
	if !strings.HasPrefix(p.Error(), "f.toml:2:1: clock.max_slew: ") {
		t.Errorf("the first line is %q", p.Error())
	}
}

func TestEveryValueIsRead(t *testing.T) {
	document := `
source = [{ address = "192.0.2.1:1123", poll = "1s", burst = 2, burst_spacing = "100ms", timeout = "2s", interleaved = false, min_delay = "10us", max_error = "5ms", nts = true, nts_port = 4461, nts_ca = "/ca", nts_time_check = "always" },
          { address = "pool.example", pool = true, pool_size = 3, key = 7 },
          { address = "peer.example", public_key = "` + alice + `" }]
[counter]
source = "monotonic_raw"
drift_bound = "20ppm"
[clock]
max_slew = "0.1%"
max_bound = "1s"
holdover_after = "30s"
heartbeat = "100ms"
lifetime = "5s"
[sources]
max_false = 2
[stamps]
kernel = false
hardware = false
[server]
listen = ["127.0.0.1:1", ":2"]
allow = ["10.0.0.0/8", "::1"]
deny = ["10.1.0.0/16"]
rate = 2.5
burst = 9
interleaved = false
keys = [8, 4294967295]
public_keys = ["` + alice + `"]
require = ["10.2.0.0/16"]
[nts_server]
listen = ["127.0.0.1:3"]
cert_file = "/nc"
key_file = "/nk"
cookie_key_file = "/nm"
rotate = "2h"
ntp_server = "ntp.example.org:1123"
rate = 0.5
burst = 3
[keys]
file = "/k"
[identity]
key_file = "/i"
[page]
path = "/a"
[control]
path = "/b"
group = "adm"
mode = "0600"
[privileges]
seccomp = false
[state]
path = "/c"
[system_clock]
discipline = "aux"
aux = 3
step = "always"
step_threshold = "2s"
max_slew = "1000ppm"
interval = "2s"
leap_file = "/leap"
[http]
listen = [":9"]
cert_file = "/cert"
key_file = "/key"
token_file = "/token"
[log]
level = "debug"
format = "json"
events = "/e"
events_limit = "2MiB"
`
	got, err := Parse("f", []byte(document), testPaths())
	if err != nil {
		t.Fatal(err)
	}
	prefix := func(s string) Prefix { return Prefix(netip.MustParsePrefix(s)) }
	var publicKey PublicKey
	if err := publicKey.setTOML(alice); err != nil || publicKey.String() != alice || (PublicKey{}).String() != "" {
		t.Fatal(err)
	}
	want := &Config{
		Counter: Counter{"monotonic_raw", 20e-6, 0},
		Clock: Clock{1e-3, Duration(time.Second), 0, Duration(30 * time.Second), Duration(100 * time.Millisecond),
			Duration(5 * time.Second)},
		Source: []Source{
			{Address: Address{"192.0.2.1", 1123}, PoolSize: 4, Poll: Duration(time.Second), Burst: 2, BurstSpacing: Duration(100 * time.Millisecond),
				Timeout: Duration(2 * time.Second), MinDelay: Duration(10 * time.Microsecond), MaxError: Duration(5 * time.Millisecond),
				NTS: true, NTSPort: 4461, NTSCA: "/ca", NTSTimeCheck: TimeCheckAlways},
			func() Source {
				s := defaultSource()
				s.Address, s.Pool, s.PoolSize, s.Key = Address{"pool.example", 123}, true, 3, 7
				return s
			}(),
			func() Source {
				s := defaultSource()
				s.Address, s.PublicKey = Address{"peer.example", 123}, publicKey
				return s
			}(),
		},
		Selection: Selection{2},
		Keys:      Keys{"/k"}, Identity: Identity{"/i"},
		Server: &Server{
			Listen: []Listen{Listen(netip.MustParseAddrPort("127.0.0.1:1")), Listen(netip.MustParseAddrPort("[::]:2"))},
			Allow:  []Prefix{prefix("10.0.0.0/8"), prefix("::1/128")}, Deny: []Prefix{prefix("10.1.0.0/16")}, Rate: 2.5, Burst: 9,
			Keys: []KeyID{8, 4294967295}, PublicKeys: []PublicKey{publicKey}, Require: []Prefix{prefix("10.2.0.0/16")},
		},
		NTSServer: &NTSServer{
			Listen: []Listen{Listen(netip.MustParseAddrPort("127.0.0.1:3"))}, CertFile: "/nc", KeyFile: "/nk", CookieKeyFile: "/nm",
			Rotate: Duration(2 * time.Hour), NTPServer: "ntp.example.org:1123", Rate: 0.5, Burst: 3,
		},
		Page: Page{"/a"}, Control: Control{"/b", "adm", 0o600}, State: State{"/c"},
		HTTP:        &HTTP{[]Listen{Listen(netip.MustParseAddrPort("[::]:9"))}, "/cert", "/key", "/token", false},
		SystemClock: SystemClock{DisciplineAux, 3, "always", Duration(2 * time.Second), 1e-3, Duration(2 * time.Second), "/leap"},
		Log:         Log{Level(slog.LevelDebug), "json", "/e", 2 << 20},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestWhatIsLeftOutHasItsDefault(t *testing.T) {
	got, err := Parse("f", []byte(source+"[server]\n"), testPaths())
	if err != nil {
		t.Fatal(err)
	}
	want := Default(testPaths())
	s, server := defaultSource(), defaultServer()
	s.Address = Address{"a.example", 123}
	want.Source, want.Server = []Source{s}, &server
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	local, err := Parse("f", []byte("[local]\n"), testPaths())
	if err != nil || local.Local == nil || local.Local.Stratum != 10 || local.Server != nil {
		t.Errorf("[local] alone gives %+v, %v", local, err)
	}
	none, err := Parse("f", []byte(source+"[state]\npath = \"none\"\n"), testPaths())
	if err != nil || none.State.Path != "" {
		t.Errorf("state path none gives %+v, %v", none, err)
	}
}

// The built-in values must obey the same rules as a file.
func TestBuiltInConfigurationsAreValid(t *testing.T) {
	for name, c := range map[string]*Config{"public": Public(testPaths())} {
		d := decoder{has: map[string]bool{}}
		d.validate(c)
		if len(d.problems) > 0 {
			t.Errorf("%s: %v", name, d.problems)
		}
	}
	if n := len(Public(testPaths()).Source); n < 5 {
		t.Errorf("only %d public operators: two false ones could not be outvoted", n)
	}
	// Whoever owns the network can speak for all that have no NTS: they may be false together.
	plain, all := 0, 0
	for _, s := range Public(testPaths()).Source {
		n := 1
		if s.Pool {
			n = s.PoolSize
		}
		if all += n; !s.NTS {
			plain += n
		}
	}
	if f := (all - 1) / 2; plain > f {
		t.Errorf("%d of %d public sources have no NTS, and only %d may be false", plain, all, f)
	}
}

func TestDefaultPaths(t *testing.T) {
	cases := []struct {
		name   string
		env    map[string]string
		uid    int
		expect Paths
	}{
		{"root", nil, 0, Paths{Page: "/run/clockd/page", Control: "/run/clockd/control", State: "/var/lib/clockd/state.json"}},
		{"systemd", map[string]string{"RUNTIME_DIRECTORY": "/run/x:/run/y", "STATE_DIRECTORY": "/var/lib/x"}, 7,
			Paths{Page: "/run/x/page", Control: "/run/x/control", State: "/var/lib/x/state.json"}},
		{"user", map[string]string{"XDG_RUNTIME_DIR": "/run/user/7", "HOME": "/home/u"}, 7,
			Paths{Page: "/run/user/7/clockd/page", Control: "/run/user/7/clockd/control", State: "/home/u/.local/state/clockd/state.json"}},
		{"state home", map[string]string{"XDG_STATE_HOME": "/s", "HOME": "/home/u"}, 7,
			Paths{Page: "/tmp/clockd-7/page", Control: "/tmp/clockd-7/control", State: "/s/clockd/state.json"}},
		{"bare", nil, 7, Paths{Page: "/tmp/clockd-7/page", Control: "/tmp/clockd-7/control", State: "/tmp/clockd-7/state.json"}},
		{"relative is no path", map[string]string{"RUNTIME_DIRECTORY": "x", "XDG_RUNTIME_DIR": "y"}, 7,
			Paths{Page: "/tmp/clockd-7/page", Control: "/tmp/clockd-7/control", State: "/tmp/clockd-7/state.json"}},
	}
	for _, c := range cases {
		c.expect.Config = "/etc/clockd/clockd.toml"
		if got := DefaultPaths(func(k string) string { return c.env[k] }, c.uid); got != c.expect {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.expect)
		}
	}
}

func TestParseAddress(t *testing.T) {
	good := map[string]Address{
		"ntp.example.org": {"ntp.example.org", 123}, "a:5": {"a", 5}, "192.0.2.1": {"192.0.2.1", 123}, "::1": {"::1", 123},
		"[::1]": {"::1", 123}, "[2001:db8::1]:11": {"2001:db8::1", 11}, "fe80::1%eth0": {"fe80::1%eth0", 123},
	}
	for in, want := range good {
		got, err := ParseAddress(in)
		if err != nil || got != want {
			t.Errorf("%q gives %+v, %v", in, got, err)
		}
		if back, err := ParseAddress(got.String()); err != nil || back != got {
			t.Errorf("%q does not read back from %q: %+v, %v", in, got.String(), back, err)
		}
	}
	for _, in := range []string{"", ":", "a:", "a:0", "a:x", "-a", "a/b", "[::1", "[a]:5", "a:1:2:x", "höst"} {
		if got, err := ParseAddress(in); err == nil {
			t.Errorf("%q is accepted as %+v", in, got)
		}
	}
}

func TestEditDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		d    int
	}{{"", "", 0}, {"a", "", 1}, {"poll", "pol", 1}, {"clokc", "clock", 1}, {"kitten", "sitting", 3}, {"abc", "abc", 0}} {
		if got := editDistance(c.a, c.b); got != c.d {
			t.Errorf("editDistance(%q, %q) = %d, want %d", c.a, c.b, got, c.d)
		}
		if got := editDistance(c.b, c.a); got != c.d {
			t.Errorf("editDistance(%q, %q) = %d, want %d", c.b, c.a, got, c.d)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(source))
	f.Add([]byte("source = [{ address = \"a\", pol = \"1s\" }, 5]\n[server]\nlisten=[1]\nallow=[[\"x\"]]\n"))
	f.Add([]byte("a.b.c = 1\n[a.b.d]\n[[source.x]]\n[[source.x.y]]\n\"q \\\" k\" = 1979-05-27T07:32:00Z\n"))
	f.Add([]byte("[sources]\nmax_false = \"auto\"\n[clock]\nmax_slew=\"1e999ppm\"\nmax_bound=\"-1s\"\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Parse("f", b, testPaths())
		if (c == nil) == (err == nil) {
			t.Fatalf("Parse gave %v and %v", c, err)
		}
		if c != nil {
			d := decoder{has: map[string]bool{}}
			if d.validate(c); len(d.problems) > 0 && c.State.Path != "" {
				t.Fatalf("what Parse accepts is not valid: %v", d.problems)
			}
		}
	})
}
