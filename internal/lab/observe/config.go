package observe

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/clockd/clockd/internal/query"
)

const (
	// PolitePoll is the shortest poll that a server of somebody else's may be asked with: public servers limit their clients to a
	// packet every few seconds (chronyd's and ntpd's defaults, and RFC 8633 section 3), and more samples than that tell little
	// more over a network.
	PolitePoll = 4 * time.Second
	// FastPoll is the shortest of all, for servers on this machine and in private networks.
	FastPoll = 50 * time.Millisecond
	// LongestPoll is RFC 5905's.
	LongestPoll = 131072 * time.Second
	// MaxHosts bounds the pairs, of which there are half its square.
	MaxHosts = 32
)

// Config is what is asked of whom, and under which assumptions. It is the beginning of the log, and does not change.
type Config struct {
	// Hosts are names or addresses, with or without a port, each once.
	Hosts []string `json:"hosts"`
	// Poll is the time between two requests to one server, in seconds.
	Poll float64 `json:"poll_s"`
	// Fast permits a Poll below PolitePoll, to servers on loopback and private addresses only.
	Fast bool `json:"fast"`
	// DriftBound is ρ of this host's counter, its measured frequency's own error excluded.
	DriftBound float64 `json:"drift_bound"`
	// MaxFalse is f, how many of the servers may be false; nil: fewer than half of those that answer.
	MaxFalse *int `json:"max_false"`
	// MaxError is the largest error, in seconds, that a server may state of itself and still take part.
	MaxError float64 `json:"max_error_s"`
	// Length is for how long, in seconds, it was meant to last; nil: until it is stopped.
	Length *float64 `json:"length_s"`
}

// DefaultConfig has the default of every value but the hosts.
func DefaultConfig() Config {
	return Config{Poll: 16, DriftBound: 50e-6, MaxError: 1}
}

// Check says what is wrong with a configuration, for a person at the command line.
func (c *Config) Check() error {
	if len(c.Hosts) == 0 {
		return errors.New("no host is given: name at least one, such as pool.ntp.org; two can contradict each other, three can outvote one")
	}
	if len(c.Hosts) > MaxHosts {
		return fmt.Errorf("%d hosts: at most %d can be observed at once", len(c.Hosts), MaxHosts)
	}
	for i, h := range c.Hosts {
		if len(h) > 300 {
			return fmt.Errorf("host %d has a name of %d bytes", i+1, len(h))
		}
		if err := query.CheckHost(h); err != nil {
			return err
		}
		if slices.Contains(c.Hosts[:i], h) {
			return fmt.Errorf("%s is given twice: it would count as two that agree", h)
		}
	}
	least, word := PolitePoll, "; --fast permits less for servers on loopback and private addresses"
	if c.Fast {
		least, word = FastPoll, ""
	}
	switch {
	case !(c.Poll >= least.Seconds()) || c.Poll > LongestPoll.Seconds():
		return fmt.Errorf("a poll of %v: want %v to %v%s", duration(c.Poll), least, LongestPoll, word)
	case !(c.DriftBound > 0 && c.DriftBound <= 0.01):
		return fmt.Errorf("a drift bound of %g ppm: want above 0 and at most 10000", c.DriftBound*1e6)
	case !(c.MaxError > 0 && c.MaxError <= 16):
		return fmt.Errorf("a largest error of %v: want above 0 and at most 16s", duration(c.MaxError))
	case c.MaxFalse != nil && (*c.MaxFalse < 0 || 2**c.MaxFalse >= len(c.Hosts)):
		return fmt.Errorf("%d of %d servers may be false: nothing can be said unless it is fewer than half", *c.MaxFalse, len(c.Hosts))
	case c.Length != nil && !(*c.Length > 0 && *c.Length <= 10*365*86400):
		return fmt.Errorf("a length of %v: want above 0", duration(*c.Length))
	}
	return nil
}

// Same reports whether a resumption with other is one of the same observation. The length may differ.
func (c *Config) Same(other *Config) error {
	f := func(n *int) string {
		if n == nil {
			return "fewer than half"
		}
		return fmt.Sprint(*n)
	}
	switch {
	case !slices.Equal(c.Hosts, other.Hosts):
		return fmt.Errorf("it is of the hosts %q and not of %q", c.Hosts, other.Hosts)
	case c.Poll != other.Poll || c.Fast != other.Fast:
		return fmt.Errorf("it has a poll of %v and not of %v", duration(c.Poll), duration(other.Poll))
	case c.DriftBound != other.DriftBound:
		return fmt.Errorf("it has a drift bound of %g ppm and not of %g ppm", c.DriftBound*1e6, other.DriftBound*1e6)
	case f(c.MaxFalse) != f(other.MaxFalse):
		return fmt.Errorf("it allows for %s false servers and not %s", f(c.MaxFalse), f(other.MaxFalse))
	case c.MaxError != other.MaxError:
		return fmt.Errorf("it has a largest error of %v and not of %v", duration(c.MaxError), duration(other.MaxError))
	}
	return nil
}

// near reports whether an address is one that only the people here can be bothered by asking.
func near(a netip.Addr) bool {
	a = a.Unmap()
	return a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast()
}

// everyFor is how many polls apart a server at that address is asked, if it does not ask for more.
func (c *Config) everyFor(a netip.Addr) int64 {
	if near(a) || c.Poll >= PolitePoll.Seconds() {
		return 1
	}
	return int64(math.Ceil(PolitePoll.Seconds() / c.Poll))
}

// duration converts seconds, which a check has found to be in range.
func duration(seconds float64) time.Duration {
	if !(math.Abs(seconds) < 9e9) {
		return math.MaxInt64
	}
	return time.Duration(math.Round(seconds * 1e9))
}
