package demo

import (
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	mathrand "math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/config"
	"github.com/clockd/clockd/internal/keys"
	"github.com/clockd/clockd/internal/sim/adversary"
	"github.com/clockd/clockd/sync/agreement"
	"github.com/clockd/clockd/virtualclock"
)

// How the members of a group measure each other.
const (
	// pollsPerPeriod is how often each asks each other in a period; an answer is waited for half as long as a poll.
	pollsPerPeriod = 5
	// usualReadingError is the widest reading that a round may use: on loopback three times what is usual, for machines that are busy.
	usualReadingError = 50 * time.Microsecond
	// externalError is how wrong a member's estimate of UTC may be whose masters are right, and gain the part of the distance to
	// UTC that a round makes good.
	externalError = 200 * time.Microsecond
	gain          = 0.25
	// farthestStart is how far from the wall clock the members' clocks are at the start, in seconds, and falseBy how far from true
	// time a false master is.
	farthestStart = 5
	falseBy       = 3e-3
)

// crowd is what the members of a group share, and what the omniscient liars among them see of it.
type crowd struct {
	config  agreement.Config
	base    hw.Counter
	start   hw.Ticks
	correct []int
	liars   []*liar

	// identities are the members' numbers by their public keys.
	identities map[keys.PublicKey]int
	// ports are held for members that are still to be started.
	ports map[*host]*net.UDPConn

	mu sync.Mutex
	// pages and counters are those of the members that were started.
	members  []*host
	pages    []clock
	counters []*hw.Skewed
}

// newCrowd makes the hosts members of one group, and the last of them liars.
func newCrowd(f *fleet, hosts []*host) (*crowd, error) {
	n, o := len(hosts), &f.options
	c := &crowd{
		base: f.base, start: f.base.Read(), identities: map[keys.PublicKey]int{}, ports: map[*host]*net.UDPConn{},
		members: hosts, pages: make([]clock, n), counters: make([]*hw.Skewed, n),
	}
	// What all members must know of each other before the first is started.
	var peers []config.Peer
	for i, h := range hosts {
		p, err := c.enrol(h, i)
		if err != nil {
			return c, err
		}
		peers = append(peers, p)
	}
	common := o.agreement(f.base)
	c.config = common.Group(n - 1)
	random := mathrand.New(mathrand.NewPCG(o.Seed, 1<<33))
	for i, h := range hosts {
		h.config.Agreement = &common
		for j, p := range peers {
			if j != i {
				h.config.Peer = append(h.config.Peer, p)
			}
		}
		ahead := farthestStart * (2*random.Float64() - 1)
		h.realtime = func(hw.Ticks) virtualclock.Time { return virtualclock.FromTime(time.Now()).AddSeconds(ahead) }
		if i < n-o.Liars {
			c.correct = append(c.correct, i)
		}
	}
	if o.Liars == 0 {
		return c, nil
	}
	minds, err := adversary.Mix(o.adversaries(), o.Liars, o.Seed)
	if err != nil {
		return c, fmt.Errorf("demo: %w", err)
	}
	names := o.adversaries()
	for i, mind := range minds {
		self := n - o.Liars + i
		hosts[self].liar = newLiar(c, mind, names[i%len(names)], self)
		c.liars = append(c.liars, hosts[self].liar)
	}
	return c, nil
}

// agreement is what all members of the group have in common.
func (o *Options) agreement(base hw.Counter) config.Agreement {
	e := base.Frequency().ErrorPPB * 1e-9
	poll := config.Duration(o.Period / pollsPerPeriod)
	a := config.Agreement{
		Period: config.Duration(o.Period), Faults: -1, ReadingError: config.Duration(o.readingError), Poll: poll, Timeout: poll / 2,
		// The nominal frequency is wrong for all alike, and counts all the same (node.Config).
		DriftBound: config.Ratio(o.driftBound + e + o.driftBound*e), ExternalFaults: -1,
	}
	if o.Mode == ModeHybrid {
		a.Gain, a.ExternalError = gain, config.Duration(externalError)
	}
	return a
}

// enrol makes a member's identity and takes an address for it.
func (c *crowd) enrol(h *host, number int) (config.Peer, error) {
	none := config.Peer{}
	identity, err := keys.Generate(rand.Reader)
	if err != nil {
		return none, fmt.Errorf("demo: %w", err)
	}
	dir := filepath.Dir(h.config.Page.Path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return none, fmt.Errorf("demo: %w", err)
	}
	h.config.Identity.KeyFile = filepath.Join(dir, "identity")
	if err := identity.Create(h.config.Identity.KeyFile); err != nil {
		return none, fmt.Errorf("demo: %w", err)
	}
	// The port stays taken until the member itself listens there: the sockets with which those before it ask take free ones too.
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return none, fmt.Errorf("demo: no free UDP port on 127.0.0.1: %w", err)
	}
	c.ports[h] = conn
	address, err := netip.ParseAddrPort(conn.LocalAddr().String())
	if err != nil {
		return none, fmt.Errorf("demo: %w", err)
	}
	h.config.Server.Listen = []config.Listen{config.Listen(address)}
	c.identities[identity.Public()] = number
	return config.Peer{
		Name: h.name, Address: config.Address{Host: address.Addr().String(), Port: address.Port()}, PublicKey: config.PublicKey(identity.Public()),
	}, nil
}

// release gives a member's address free for it.
func (c *crowd) release(h *host) {
	if c == nil || c.ports[h] == nil {
		return
	}
	_ = c.ports[h].Close()
	delete(c.ports, h)
}

// see lets the liars see a member that was started.
func (c *crowd) see(h *host) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, m := range c.members {
		if m == h {
			c.pages[i], c.counters[i] = h.page, h.skewed
		}
	}
}

// close ends all sight, before the pages are closed, and gives the addresses free that nobody took.
func (c *crowd) close() {
	if c == nil {
		return
	}
	c.mu.Lock()
	clear(c.pages)
	c.mu.Unlock()
	for _, conn := range c.ports {
		_ = conn.Close()
	}
	clear(c.ports)
}

// crowd is what the liars see: an adversary.Sight.
var _ adversary.Sight = (*crowd)(nil)

// Now is true time in seconds since the start.
func (c *crowd) Now() float64 { return float64(c.base.Read().Sub(c.start)) / c.base.Frequency().Hertz }

// Members is how many there are.
func (c *crowd) Members() int { return len(c.members) }

// Correct lists who does not lie.
func (c *crowd) Correct() []int { return c.correct }

// Config is what the members have in common.
func (c *crowd) Config() agreement.Config { return c.config }

// Ahead is the displayed clock of one member minus that of another, at one reading of the true counter.
func (c *crowd) Ahead(member, of int) (seconds float64, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.base.Read()
	a, ok := c.clockAt(member, t)
	b, also := c.clockAt(of, t)
	if !ok || !also {
		return math.NaN(), false
	}
	return a.Seconds(b), true
}

// clockAt is a member's clock when the true counter reads t, whether anybody may believe it or not.
func (c *crowd) clockAt(member int, t hw.Ticks) (virtualclock.Time, bool) {
	if c.pages[member] == nil {
		return virtualclock.Time{}, false
	}
	k, _ := c.pages[member].Coefficients()
	if k.Steady.Period == 0 {
		return virtualclock.Time{}, false
	}
	return k.Time(c.counters[member].At(t)), true
}

// promised is what the members' configuration promises.
func (c *crowd) promised() (agreement.Guarantee, error) {
	g, err := agreement.Bounds(c.config.Model())
	if err != nil {
		return g, errors.Join(errors.New("demo: nothing can be promised of this group"), err)
	}
	return g, nil
}
