package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"github.com/clockd/clockd/hw"
)

// within complains unless low ≤ v ≤ high. A value that was bad already is not looked at.
func within[T cmp.Ordered](d *decoder, path string, v, low, high T, show func(T) string) {
	if d.bad[path] || v >= low && v <= high {
		return
	}
	d.complain(path, "%s is out of range; write a value from %s to %s", show(v), show(low), show(high))
}

func showInt(n int) string           { return fmt.Sprint(n) }
func showFloat(x float64) string     { return fmt.Sprint(x) }
func showDuration(t Duration) string { return fmt.Sprintf("%q", t.String()) }
func showSize(z Size) string         { return fmt.Sprintf("%dKiB", z>>10) }
func showRatio(r Ratio) string       { return fmt.Sprintf("%q", r.String()) }

// The shortest poll protects other people's servers from a misprint; on a loopback or a test bench it is short enough.
const (
	minPoll = Duration(10 * time.Millisecond)
	maxPoll = Duration(36 * time.Hour)
)

func (d *decoder) validate(c *Config) {
	within(d, "counter.drift_bound", c.Counter.DriftBound, 1e-9, 5000e-6, showRatio)
	within(d, "counter.wander_bound", c.Counter.WanderBound, 0, 5000e-6, showRatio)
	if c.Counter.WanderBound > 0 && c.Clock.Lifetime > Duration(15*time.Minute) {
		d.complain("counter.wander_bound", "it vouches for a measured rate only so far ahead; set clock.lifetime to 15m or less")
	}
	if c.Counter.Source == "" {
		d.complain("counter.source", `it is empty; write "auto" or one of those that "clockd doctor" lists`)
	} else if err := hw.CheckSpec(c.Counter.Source); err != nil && !d.bad["counter.source"] {
		d.complain("counter.source", "%s", strings.TrimPrefix(err.Error(), "hw: "))
	}
	d.validateClock(&c.Clock)
	for i := range c.Source {
		d.validateSource(fmt.Sprintf("source[%d]", i), &c.Source[i])
	}
	if len(c.Source) == 0 && len(c.Peer) == 0 && c.Local == nil && !d.bad["source"] && !d.bad["local"] {
		d.complain("", "there is no [[source]] and no [local], so this clock could never know the time; add a [[source]] to follow, "+
			"or [local] to make this host the reference, or run without a file to follow public servers")
	}
	d.duplicates(c.Source)
	d.validateSecrets(c)
	d.validatePeers(c)
	if n := int(c.Selection.MaxFalse); n > 0 && !hasPool(c.Source) && len(c.Source) < 2*n+1 {
		d.complain("sources.max_false", "%d false sources cannot be outvoted by %d sources in all; configure at least %d, or write \"auto\"", n, len(c.Source), 2*n+1)
	}
	if c.Server != nil {
		d.validateServer(c.Server)
	}
	if c.Local != nil {
		d.validateLocal(c)
	}
	if c.HTTP != nil {
		d.validateHTTP(c.HTTP)
	}
	if c.Influx != nil {
		d.validateInflux(c.Influx)
	}
	if c.ClockBound != nil {
		d.validateClockBound(c.ClockBound)
	}
	d.validateSystemClock(&c.SystemClock)
	d.path("page.path", c.Page.Path)
	d.path("control.path", c.Control.Path)
	// sun_path holds 108 bytes, one of them the end.
	if len(c.Control.Path) > 107 {
		d.complain("control.path", "a socket's path must be shorter than 108 bytes, this one has %d", len(c.Control.Path))
	}
	if c.State.Path == "none" {
		c.State.Path = ""
	} else {
		d.path("state.path", c.State.Path)
	}
	if c.NTSServer != nil {
		d.validateNTSServer(c) // after the state's path
	}
	if c.Log.Events != "" {
		d.path("log.events", c.Log.Events)
	}
	within(d, "log.events_limit", c.Log.EventsLimit, 1<<20, 1<<40, showSize)
}

func (d *decoder) path(key, p string) {
	if !d.bad[key] && !filepath.IsAbs(p) {
		d.complain(key, "%s is not an absolute path; write one that begins with /", written(p))
	}
}

func (d *decoder) validateClock(c *Clock) {
	within(d, "clock.max_slew", c.MaxSlew, 1e-6, 0.1, showRatio)
	within(d, "clock.max_bound", c.MaxBound, Duration(time.Microsecond), Duration(time.Hour), showDuration)
	within(d, "clock.holdover_after", c.HoldoverAfter, 0, Duration(7*24*time.Hour), showDuration)
	within(d, "clock.heartbeat", c.Heartbeat, Duration(10*time.Millisecond), Duration(time.Minute), showDuration)
	if !d.bad["clock.lifetime"] && c.Lifetime < 4*c.Heartbeat {
		d.complain("clock.lifetime", "%q is shorter than four heartbeats of %q: readers would lose the clock of a daemon that is alive; write at least %q",
			c.Lifetime, c.Heartbeat, 4*c.Heartbeat)
	}
	within(d, "clock.target_error", c.TargetError, 0, Duration(time.Hour), showDuration)
	within(d, "clock.lifetime", c.Lifetime, 0, Duration(time.Hour), showDuration)
}

func (d *decoder) validateSource(path string, s *Source) {
	if s.Address.Host == "" && !d.bad[path+".address"] {
		d.complain(path, `a source needs an address; write address = "ntp.example.org"`)
	}
	within(d, path+".poll", s.Poll, minPoll, maxPoll, showDuration)
	if s.MaxPoll != 0 {
		within(d, path+".max_poll", s.MaxPoll, s.Poll, maxPoll, showDuration)
	}
	within(d, path+".burst", s.Burst, 1, 16, showInt)
	within(d, path+".burst_spacing", s.BurstSpacing, Duration(time.Millisecond), Duration(time.Minute), showDuration)
	within(d, path+".timeout", s.Timeout, Duration(time.Millisecond), Duration(time.Minute), showDuration)
	within(d, path+".min_delay", s.MinDelay, 0, Duration(10*time.Second), showDuration)
	within(d, path+".max_error", s.MaxError, Duration(time.Microsecond), Duration(time.Hour), showDuration)
	within(d, path+".pool_size", s.PoolSize, 1, 16, showInt)
	d.validateNTS(path, s)
	if d.has[path+".pool_size"] && !s.Pool {
		d.complain(path+".pool_size", "this source is not a pool; write pool = true as well")
	}
	if _, err := netip.ParseAddr(s.Address.Host); err == nil && s.Pool {
		d.complain(path+".pool", "%s is one address; a pool needs a name that resolves to several", s.Address.Host)
	}
}

func hasPool(sources []Source) bool {
	for _, s := range sources {
		if s.Pool {
			return true
		}
	}
	return false
}

// duplicates complains of sources that are the same: they would vote twice.
func (d *decoder) duplicates(sources []Source) {
	seen := map[Address]int{}
	for i, s := range sources {
		if s.Address.Host == "" {
			continue
		}
		if j, twice := seen[s.Address]; twice {
			d.complain(fmt.Sprintf("source[%d].address", i), "%s is source[%d] already: a server must not vote twice", s.Address, j)
			continue
		}
		seen[s.Address] = i
	}
}

func (d *decoder) validateServer(s *Server) {
	within(d, "server.rate", s.Rate, 0.01, 1e6, showFloat)
	within(d, "server.burst", s.Burst, 1, 1_000_000, showInt)
	if len(s.Listen) == 0 && !d.bad["server.listen"] {
		d.complain("server.listen", `the list is empty; write at least one address, such as "[::]:123", or leave out [server]`)
	}
	seen := map[Listen]bool{}
	for i, l := range s.Listen {
		if seen[l] && netip.AddrPort(l).Port() != 0 {
			d.complain(fmt.Sprintf("server.listen[%d]", i), "%s is in the list already", netip.AddrPort(l))
		}
		seen[l] = true
	}
}

func (d *decoder) validateLocal(c *Config) {
	within(d, "local.stratum", c.Local.Stratum, 1, 15, showInt)
	within(d, "local.bound", c.Local.Bound, 0, c.Clock.MaxBound, showDuration)
	if len(c.Source) > 0 {
		d.complain("local", "a host is either the reference or follows sources; remove [local] or every [[source]]")
	}
}
