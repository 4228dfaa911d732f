package config

import (
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Duration is a length of time, written "16s" or "250ms".
type Duration time.Duration

// Seconds returns the length in seconds.
func (d Duration) Seconds() float64 { return time.Duration(d).Seconds() }

// Duration returns the length in the standard library's type.
func (d Duration) Duration() time.Duration { return time.Duration(d) }

// String returns the length as it is written in the file.
func (d Duration) String() string { return time.Duration(d).String() }

// Ratio is a number without unit, written "50ppm", "20ppb", "0.01%" or "50e-6".
type Ratio float64

// Size is a number of bytes, written "64MiB".
type Size int64

// FileMode is a set of permission bits, written "0660".
type FileMode uint32

// Level is a slog level, written "info".
type Level slog.Level

// Format is the log's format: "text" or "json".
type Format string

// Address is a host name or an IP address with a port; port 123 if none is written.
type Address struct {
	Host string
	Port uint16
}

// String returns host:port, and the host alone when the port is 123.
func (a Address) String() string {
	if a.Port == 123 {
		return a.Host
	}
	if strings.Contains(a.Host, ":") {
		return fmt.Sprintf("[%s]:%d", a.Host, a.Port)
	}
	return fmt.Sprintf("%s:%d", a.Host, a.Port)
}

// Listen is an IP address and a port to answer on.
type Listen netip.AddrPort

// Prefix is a set of IP addresses, written "192.0.2.0/24" or as one address.
type Prefix netip.Prefix

// MaxFalse is a number of sources, or −1 for "auto".
type MaxFalse int

// value is a leaf that reads itself from what the TOML parser found (string, int64, float64, bool, …).
type value interface{ setTOML(v any) error }

// written shows a TOML value as the user would write it.
func written(v any) string {
	switch x := v.(type) {
	case string:
		if len(x) > 60 {
			x = x[:60] + "…"
		}
		return strconv.Quote(x)
	case []any:
		return "an array"
	case map[string]any:
		return "a table"
	}
	return fmt.Sprint(v)
}

func (d *Duration) setTOML(v any) error {
	const right = `write a duration with its unit in quotes, such as "16s", "250ms" or "2h"`
	s, ok := v.(string)
	if !ok {
		return fmt.Errorf("%s is not a duration; %s", written(v), right)
	}
	x, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("%s is not a duration; %s", written(v), right)
	}
	*d = Duration(x)
	return nil
}

// ratioUnits have exact divisors, so that "50ppm" is the number that 50e-6 is.
var ratioUnits = [...]struct {
	suffix  string
	divisor float64
}{{"ppm", 1e6}, {"ppb", 1e9}, {"%", 100}}

func (r *Ratio) setTOML(v any) error {
	const right = `write a ratio in quotes, such as "50ppm", "200ppb" or "0.01%"`
	s, ok := v.(string)
	if !ok {
		return fmt.Errorf("%s is not a ratio; %s", written(v), right)
	}
	number, divisor := s, 1.0
	for _, u := range ratioUnits {
		if rest, found := strings.CutSuffix(s, u.suffix); found {
			number, divisor = strings.TrimSpace(rest), u.divisor
			break
		}
	}
	x, err := strconv.ParseFloat(number, 64)
	if err != nil || math.IsNaN(x) || math.IsInf(x, 0) {
		return fmt.Errorf("%s is not a ratio; %s", written(v), right)
	}
	*r = Ratio(x / divisor)
	return nil
}

// String returns the ratio in ppm.
func (r Ratio) String() string { return strconv.FormatFloat(float64(r)*1e6, 'g', 6, 64) + "ppm" }

func (z *Size) setTOML(v any) error {
	const right = `write a size with its unit in quotes, such as "64MiB" or "1GiB"`
	s, ok := v.(string)
	if !ok {
		return fmt.Errorf("%s is not a size; %s", written(v), right)
	}
	for i, unit := range []string{"KiB", "MiB", "GiB"} {
		if number, found := strings.CutSuffix(s, unit); found {
			n, err := strconv.ParseUint(strings.TrimSpace(number), 10, 20)
			if err != nil {
				break
			}
			*z = Size(n << (10 * (i + 1)))
			return nil
		}
	}
	return fmt.Errorf("%s is not a size; %s", written(v), right)
}

func (m *FileMode) setTOML(v any) error {
	s, ok := v.(string)
	n, err := strconv.ParseUint(s, 8, 12)
	if !ok || err != nil || n > 0o777 {
		return fmt.Errorf(`%s is not a file mode; write octal digits in quotes, such as "0660"`, written(v))
	}
	*m = FileMode(n)
	return nil
}

func (l *Level) setTOML(v any) error {
	s, ok := v.(string)
	var level slog.Level
	if !ok || level.UnmarshalText([]byte(s)) != nil || strings.ContainsAny(s, "+-") {
		return fmt.Errorf(`%s is not a log level; write "debug", "info", "warn" or "error"`, written(v))
	}
	*l = Level(level)
	return nil
}

func (f *Format) setTOML(v any) error {
	if s, ok := v.(string); ok && (s == "text" || s == "json") {
		*f = Format(s)
		return nil
	}
	return fmt.Errorf(`%s is not a log format; write "text" or "json"`, written(v))
}

func (a *Address) setTOML(v any) error {
	s, ok := v.(string)
	if !ok {
		return fmt.Errorf(`%s is not an address; write "ntp.example.org", "192.0.2.1:123" or "[2001:db8::1]:123"`, written(v))
	}
	x, err := ParseAddress(s)
	if err != nil {
		return err
	}
	*a = x
	return nil
}

// ParseAddress reads host, host:port, an IPv6 address with or without brackets, or [IPv6]:port.
func ParseAddress(s string) (Address, error) {
	bad := func(why string) (Address, error) {
		return Address{}, fmt.Errorf(`%s is not an address (%s); write "ntp.example.org", "192.0.2.1:123" or "[2001:db8::1]:123"`, written(s), why)
	}
	bare := s
	if inner, found := strings.CutPrefix(s, "["); found && strings.HasSuffix(s, "]") {
		bare = strings.TrimSuffix(inner, "]")
	}
	if ip, err := netip.ParseAddr(bare); err == nil {
		return Address{Host: ip.String(), Port: 123}, nil
	}
	host, port, hasPort := s, "123", false
	if i := strings.LastIndexByte(s, ':'); i >= 0 {
		host, port, hasPort = s[:i], s[i+1:], true
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || hasPort && n == 0 {
		return bad("the port must be a number from 1 to 65535")
	}
	if inner, found := strings.CutPrefix(host, "["); found {
		ip, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		if err != nil {
			return bad("what stands in brackets must be an IPv6 address")
		}
		return Address{Host: ip.String(), Port: uint16(n)}, nil
	}
	if !validHost(host) {
		return bad("the host must be a DNS name or an IP address")
	}
	return Address{Host: host, Port: uint16(n)}, nil
}

// validHost accepts what a resolver could make sense of.
func validHost(h string) bool {
	if h == "" || len(h) > 253 || h[0] == '-' || h[0] == '.' {
		return false
	}
	for _, c := range []byte(h) {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	return true
}

func (l *Listen) setTOML(v any) error {
	const right = `write an IP address and a port, such as "[::]:123", "127.0.0.1:11123" or ":123"`
	s, ok := v.(string)
	if !ok {
		return fmt.Errorf("%s is not an address to listen on; %s", written(v), right)
	}
	if strings.HasPrefix(s, ":") {
		s = "[::]" + s
	}
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		return fmt.Errorf("%s is not an address to listen on; %s", written(v), right)
	}
	*l = Listen(a)
	return nil
}

func (p *Prefix) setTOML(v any) error {
	s, _ := v.(string)
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		*p = Prefix(netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()))
		return nil
	}
	x, err := netip.ParsePrefix(s)
	if err != nil {
		return fmt.Errorf(`%s is not a set of addresses; write "192.0.2.0/24", "2001:db8::/32" or one address`, written(v))
	}
	if x != x.Masked() {
		return fmt.Errorf("%s has bits set after its prefix; write %q", written(v), x.Masked())
	}
	*p = Prefix(x)
	return nil
}

func (m *MaxFalse) setTOML(v any) error {
	switch x := v.(type) {
	case string:
		if x == "auto" {
			*m = -1
			return nil
		}
	case int64:
		if x >= 0 && x <= 100 {
			*m = MaxFalse(x)
			return nil
		}
	}
	return fmt.Errorf(`%s is not a number of false sources; write "auto" or a number from 0`, written(v))
}
