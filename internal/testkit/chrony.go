package testkit

import (
	"encoding/csv"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/lab/chrony"
)

// ChronyOptions says what a chronyd does. The zero value is a server that is not synchronised to anything.
type ChronyOptions struct {
	// LocalStratum, if not 0, makes it serve this machine's own clock at that stratum ("local stratum N"): its true offset
	// from CLOCK_REALTIME is then 0 by construction.
	LocalStratum int
	// Servers are what it follows.
	Servers []ChronyServer
	// Address is the loopback address that it serves on, 127.0.0.1 if not set. All of 127.0.0.0/8 will do. A chain of servers
	// on one address looks like a synchronisation loop to chronyd, since the reference id is the address: give each its own.
	Address netip.Addr
	// ClientOnly: it serves nobody.
	ClientOnly bool
	// Port is where it serves; 0: a free one.
	Port int
	// Extra are further lines of chrony.conf.
	Extra []string
	// Host runs it in that host of a Net instead of on this machine's loopback. Address must be set.
	Host *Host
}

// ChronyServer is one server line of chrony.conf.
type ChronyServer struct {
	// Address is "127.0.0.1:12345".
	Address string
	// MinPoll and MaxPoll are the poll intervals, log2 of seconds: −6 to 24.
	MinPoll, MaxPoll int
	// Interleaved asks for interleaved mode (xleave).
	Interleaved bool
	// Extra are further words of the line, such as "iburst" or "key 1".
	Extra []string
}

// Chronyd is a running chronyd that never touches the machine's clock.
type Chronyd struct {
	*Process
	t       testing.TB
	options ChronyOptions
	address netip.AddrPort
	dir     string
	chronyd string
	chronyc string
}

// StartChronyd starts a chronyd with its own directory and command socket, waits until it answers, and ends it with the test.
// The test is skipped if chrony is not installed.
func StartChronyd(t testing.TB, o ChronyOptions) *Chronyd {
	t.Helper()
	c := &Chronyd{t: t, options: o, chronyd: RequireTool(t, "chronyd"), chronyc: RequireTool(t, "chronyc")}
	if !o.Address.IsValid() {
		o.Address = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	port := o.Port
	if port == 0 && !o.ClientOnly {
		port = FreeUDPPort(t)
	}
	c.address = netip.AddrPortFrom(o.Address, uint16(port))
	// t.TempDir would make names longer than the 107 bytes of a Unix socket's path.
	dir, err := os.MkdirTemp("", "chronyd")
	if err != nil {
		t.Fatalf("chronyd's directory: %v", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	c.dir = dir
	if err := c.config().Write(); err != nil {
		t.Fatal(err)
	}
	c.Start()
	return c
}

// config is what chronyd is told.
func (c *Chronyd) config() *chrony.Config {
	o := &c.options
	config := &chrony.Config{Directory: c.dir, LocalStratum: o.LocalStratum, Extra: o.Extra}
	if !o.ClientOnly {
		config.Listen = c.address
	}
	for _, s := range o.Servers {
		config.Servers = append(config.Servers, chrony.Server(s))
	}
	return config
}

func (c *Chronyd) socket() string { return c.config().Socket() }

// Start starts the program again, on the same address and with the same configuration, after Stop or Kill.
func (c *Chronyd) Start() {
	c.t.Helper()
	args, err := c.config().Arguments()
	if err != nil {
		c.t.Fatal(err)
	}
	command := exec.Command(c.chronyd, args...)
	if c.options.Host != nil {
		command = c.options.Host.Command(c.chronyd, args...)
	}
	c.Process = StartProcess(c.t, command)
	WaitFor(c.t, 20*time.Second, "chronyd to answer chronyc", func() bool {
		select {
		case <-c.Done():
			c.t.Fatalf("chronyd ended at once:\n%s", c.Output())
		default:
		}
		_, err := c.TryChronyc("tracking")
		return err == nil
	})
}

// Address returns where it serves NTP, "127.0.0.1:12345".
func (c *Chronyd) Address() string { return c.address.String() }

// AddrPort returns where it serves NTP.
func (c *Chronyd) AddrPort() netip.AddrPort { return c.address }

// Chronyc runs one chronyc command and returns what it prints as CSV (chronyc -c); it fails the test if chronyc fails.
func (c *Chronyd) Chronyc(args ...string) string {
	c.t.Helper()
	out, err := c.TryChronyc(args...)
	if err != nil {
		c.t.Fatal(err)
	}
	return out
}

// TryChronyc is Chronyc for commands that may fail.
func (c *Chronyd) TryChronyc(args ...string) (string, error) {
	out, err := exec.Command(c.chronyc, append([]string{"-c", "-n", "-h", c.socket()}, args...)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("testkit: chronyc %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

// ChronySource is one line of "chronyc sources": how a chronyd sees one of its servers.
type ChronySource struct {
	// State is '*' for the source that is followed, '+' for one combined with it, '-' not combined, 'x' a falseticker, '~' too
	// variable, '?' unreachable.
	State   byte
	Address string
	Stratum int
	// Reach is the register of the last eight polls: 0o377 when all were answered.
	Reach uint8
	// Offset is the last measured offset in seconds, Error its half-width. Here positive means that this host is ahead of the
	// source, as chronyc prints it.
	Offset, Error float64
}

// Sources returns how it sees its servers.
func (c *Chronyd) Sources() []ChronySource {
	c.t.Helper()
	var list []ChronySource
	for _, row := range c.rows("sources") {
		p := fields{c: c, row: row}
		s := ChronySource{Address: p.text(2), Stratum: int(p.number(3)), Offset: p.number(8), Error: p.number(9)}
		if state := p.text(1); state != "" {
			s.State = state[0]
		}
		reach, err := strconv.ParseUint(p.text(5), 8, 8)
		if err != nil {
			c.t.Fatalf("chronyc sources: reach: %v", err)
		}
		s.Reach = uint8(reach)
		list = append(list, s)
	}
	return list
}

// ChronyData is what "chronyc ntpdata" says of a server's last answer; times are in seconds.
type ChronyData struct {
	Leap, Stratum             int
	RootDelay, RootDispersion float64
	// ReferenceID is eight hexadecimal digits.
	ReferenceID string
	// Offset is server − this host: positive when the server is ahead, the other way round than ChronySource.Offset.
	Offset, PeerDelay float64
	// Interleaved: the server's last answer was in interleaved mode (RFC 9769).
	Interleaved bool
	// TransmitStamp and ReceiveStamp are Daemon, Kernel or Hardware.
	TransmitStamp, ReceiveStamp string
	// Sent, Received, Valid and Good count packets; Good ones passed every test and gave a sample.
	Sent, Received, Valid, Good int
}

// Data returns what it knows of the last exchange with the server at that IP address.
func (c *Chronyd) Data(address string) ChronyData {
	c.t.Helper()
	rows := c.rows("ntpdata", address)
	if len(rows) != 1 {
		c.t.Fatalf("chronyc ntpdata %s: %d lines", address, len(rows))
	}
	// The columns are those of process_cmd_ntpdata in chrony's client.c, version 4.3.
	p := fields{c: c, row: rows[0]}
	leaps := map[string]int{"Normal": 0, "Insert second": 1, "Delete second": 2, "Not synchronised": 3}
	leap, known := leaps[p.text(5)]
	if !known {
		c.t.Fatalf("chronyc ntpdata: leap %q", p.text(5))
	}
	return ChronyData{
		Leap: leap, Stratum: int(p.number(8)), RootDelay: p.number(13), RootDispersion: p.number(14), ReferenceID: p.text(15),
		Offset: p.number(18), PeerDelay: p.number(19), Interleaved: p.text(26) == "Yes",
		TransmitStamp: p.text(28), ReceiveStamp: p.text(29),
		Sent: int(p.number(30)), Received: int(p.number(31)), Valid: int(p.number(32)), Good: int(p.number(33)),
	}
}

// rows runs a chronyc command and splits its CSV.
func (c *Chronyd) rows(args ...string) [][]string {
	c.t.Helper()
	r := csv.NewReader(strings.NewReader(c.Chronyc(args...)))
	r.FieldsPerRecord = -1
	rows, err := r.ReadAll()
	if err != nil {
		c.t.Fatalf("chronyc %v: %v", args, err)
	}
	return rows
}

// fields reads the columns of one CSV line and fails the test where one is missing or no number.
type fields struct {
	c   *Chronyd
	row []string
}

func (f *fields) text(i int) string {
	f.c.t.Helper()
	if i >= len(f.row) {
		f.c.t.Fatalf("chronyc printed %d columns, want more than %d: %q", len(f.row), i, f.row)
	}
	return f.row[i]
}

func (f *fields) number(i int) float64 {
	f.c.t.Helper()
	v, err := strconv.ParseFloat(f.text(i), 64)
	if err != nil {
		f.c.t.Fatalf("chronyc column %d: %v in %q", i, err, f.row)
	}
	return v
}
