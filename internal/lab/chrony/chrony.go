package chrony

import (
	"encoding/csv"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
)

// Server is one server line of chrony.conf.
type Server struct {
	// Address is "127.0.0.1:12345".
	Address string
	// MinPoll and MaxPoll are the poll intervals, log2 of seconds: −6 to 24.
	MinPoll, MaxPoll int
	// Interleaved asks for interleaved mode (xleave).
	Interleaved bool
	// Extra are further words of the line, such as "iburst" or "key 1".
	Extra []string
}

// Config is what a chronyd does.
type Config struct {
	// Directory has its configuration, its process id and its command socket. Its name must be short: a socket's has 107 bytes.
	Directory string
	// LocalStratum, if not 0, makes it serve this machine's own clock at that stratum.
	LocalStratum int
	Servers      []Server
	// Listen is where it serves; not valid: nowhere.
	Listen netip.AddrPort
	// Extra are further lines of chrony.conf.
	Extra []string
}

// Socket is the path of its command socket.
func (c *Config) Socket() string { return filepath.Join(c.Directory, "chronyd.sock") }

// File is the path of its configuration.
func (c *Config) File() string { return filepath.Join(c.Directory, "chrony.conf") }

// Text is chrony.conf.
func (c *Config) Text() (string, error) {
	var b strings.Builder
	line := func(format string, values ...any) { fmt.Fprintf(&b, format+"\n", values...) }
	line("pidfile %s/chronyd.pid", c.Directory)
	line("bindcmdaddress %s", c.Socket())
	line("cmdport 0")
	if c.Listen.IsValid() {
		line("port %d", c.Listen.Port())
		line("bindaddress %s", c.Listen.Addr())
		line("allow all")
	} else {
		line("port 0")
	}
	if c.LocalStratum != 0 {
		line("local stratum %d", c.LocalStratum)
	}
	for _, s := range c.Servers {
		host, port, err := net.SplitHostPort(s.Address)
		if err != nil {
			return "", fmt.Errorf("chrony: the address of a server: %w", err)
		}
		words := []string{"server", host, "port", port, "minpoll", strconv.Itoa(s.MinPoll), "maxpoll", strconv.Itoa(s.MaxPoll)}
		if s.Interleaved {
			words = append(words, "xleave")
		}
		line("%s", strings.Join(append(words, s.Extra...), " "))
	}
	for _, extra := range c.Extra {
		line("%s", extra)
	}
	return b.String(), nil
}

// Write writes chrony.conf into the directory, which must be there.
func (c *Config) Write() error {
	text, err := c.Text()
	if err != nil {
		return err
	}
	// chronyd refuses its command socket in a directory that others can read.
	if err := os.Chmod(c.Directory, 0o750); err != nil {
		return fmt.Errorf("chrony: its directory: %w", err)
	}
	if err := os.WriteFile(c.File(), []byte(text), 0o600); err != nil {
		return fmt.Errorf("chrony: its configuration: %w", err)
	}
	return nil
}

// Arguments are those of a chronyd that stays in the foreground, logs to its standard error and never touches the clock (-x).
func (c *Config) Arguments() ([]string, error) {
	args := []string{"-x", "-d", "-u", "root", "-f", c.File()}
	if os.Geteuid() != 0 {
		me, err := user.Current()
		if err != nil {
			return nil, fmt.Errorf("chrony: it runs as the present user: %w", err)
		}
		args[3] = me.Username
		args = append(args, "-U")
	}
	// Without IPv6 it needs no socket for it, unless something here has such an address.
	six := c.Listen.IsValid() && !c.Listen.Addr().Is4()
	for _, s := range c.Servers {
		six = six || strings.HasPrefix(s.Address, "[")
	}
	if !six {
		args = append(args, "-4")
	}
	return args, nil
}

// Find returns the path of chronyd or chronyc. They are in directories that an ordinary user's PATH may lack.
func Find(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return filepath.Abs(path)
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("there is no %s on this machine: install the package chrony (Debian: apt install chrony; the service need not run)", name)
}

// Tracking is what chronyc says of chronyd's estimate, in seconds.
type Tracking struct {
	// Synchronised: it follows a server.
	Synchronised bool
	Stratum      int
	// Correction is what chronyd would add to the system's clock to have its estimate of true time.
	Correction float64
	// FrequencyPPM is by how much the system's clock is fast without its corrections, SkewPPM how well that is known.
	FrequencyPPM, SkewPPM     float64
	RootDelay, RootDispersion float64
}

// Bound is how wrong its estimate is at the most, as chrony's documentation gives it: half of the root delay and the root dispersion.
func (t *Tracking) Bound() float64 { return t.RootDelay/2 + t.RootDispersion }

// trackingColumns are those of "chronyc -c tracking" of chrony 4: reference id, name, stratum, reference time, system time, last
// offset, RMS offset, frequency, residual frequency, skew, root delay, root dispersion, update interval, leap status.
const trackingColumns = 14

// ParseTracking reads what "chronyc -c tracking" prints.
func ParseTracking(text string) (Tracking, error) {
	r := csv.NewReader(strings.NewReader(text))
	r.FieldsPerRecord = trackingColumns
	row, err := r.Read()
	if err != nil {
		return Tracking{}, fmt.Errorf("chrony: chronyc tracking: %w", err)
	}
	var errs []error
	number := func(i int) float64 {
		x, err := strconv.ParseFloat(row[i], 64)
		if err == nil && (math.IsNaN(x) || math.IsInf(x, 0)) {
			err = fmt.Errorf("%.40q is no finite number", row[i])
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("chrony: chronyc tracking, column %d: %w", i+1, err))
		}
		return x
	}
	stratum, err := strconv.Atoi(row[2])
	if err != nil {
		errs = append(errs, fmt.Errorf("chrony: chronyc tracking, the stratum: %w", err))
	}
	// chronyc prints by how much the system's clock is slow.
	t := Tracking{
		Synchronised: row[13] != "Not synchronised" && stratum > 0 && stratum < 16, Stratum: stratum, Correction: number(4),
		FrequencyPPM: number(7), SkewPPM: number(9), RootDelay: number(10), RootDispersion: number(11),
	}
	if err := errors.Join(errs...); err != nil {
		return Tracking{}, err
	}
	return t, nil
}
