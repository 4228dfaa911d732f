package order

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/virtualclock"
	"github.com/clockd/clockd/virtualclock/clocktest"
)

func seeded(t testing.TB) *rand.Rand { return rand.New(rand.NewPCG(testkit.Seed(t), 0)) }

// rounds is n, or a sixth of it where everything is slow.
func rounds(n int) int {
	if raceEnabled || testing.CoverMode() != "" {
		return n / 6
	}
	return n
}

const (
	external = virtualclock.External
	internal = virtualclock.Internal
	start    = int64(1_800_000_000_000_000_000)
)

// point is a time a few nanoseconds after the tests' beginning.
func point(ns int64) virtualclock.Time { return virtualclock.Unix(start+ns, 0) }

func interval(earliest, latest int64, kind virtualclock.Kind) virtualclock.Interval {
	return virtualclock.Interval{
		Earliest: point(earliest), Latest: point(latest), Epoch: 1,
		Standing: virtualclock.Standing{Status: virtualclock.Synchronised, Kind: kind},
	}
}

func voidInterval(s virtualclock.Status) virtualclock.Interval {
	return virtualclock.Interval{Earliest: virtualclock.MinTime(), Latest: virtualclock.MaxTime(), Standing: virtualclock.Standing{Status: s}}
}

// script is a clock that says one interval after another, and the last one for ever.
type script struct {
	intervals []virtualclock.Interval
	asked     int
}

func (s *script) Now() virtualclock.Interval {
	i := s.intervals[min(s.asked, len(s.intervals)-1)]
	s.asked++
	return i
}

// universe is true time and clocks, as plain and fast as can be: each reading's interval is made up on the spot, and has true time in it (or
// the group's, of an INTERNAL clock) unless the clock is wrong by so much.
type universe struct {
	r   *rand.Rand
	now int64
	// during is called when somebody sleeps.
	during func()
}

// Sleep implements Sleeper.
func (u *universe) Sleep(ctx context.Context, d time.Duration) error {
	if u.during != nil {
		u.during()
	}
	// Early, in time or late.
	u.now += max(1, int64(float64(d)*(0.5+u.r.Float64())))
	return ctx.Err()
}

// fastClock is a clock in a universe.
type fastClock struct {
	u    *universe
	kind virtualclock.Kind
	// half is the largest distance of an edge from the truth; wrong is added to both.
	half, wrong int64
	// highest keeps the upper edge from going back (theory 3.8).
	highest int64
}

func (c *fastClock) Now() virtualclock.Interval {
	// Readings come in chunks that share a true time more often than not, as on busy hosts.
	if c.u.r.IntN(4) == 0 {
		c.u.now += c.u.r.Int64N(c.half/8 + 1)
	}
	early, late := c.u.now-c.u.r.Int64N(c.half+1)+c.wrong, c.u.now+c.u.r.Int64N(c.half+1)+c.wrong
	if c.kind == internal {
		// Other members may read at any time, also between readings of this clock, so its upper edge is where a clock that always reads the
		// widest would be at least.
		c.highest = max(c.highest, late, c.u.now+c.wrong)
		late = c.highest
	}
	return interval(early, late, c.kind)
}

// What all of this runs on.
var (
	_ PointClock            = (*virtualclock.Reader)(nil)
	_ PointClock            = (*virtualclock.Local)(nil)
	_ PointClock            = (*clocktest.Host)(nil)
	_ virtualclock.Reasoner = (*clocktest.Host)(nil)
	_ Sleeper               = (*clocktest.World)(nil)
)
