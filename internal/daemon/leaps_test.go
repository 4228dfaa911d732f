package daemon

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/config"
	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/internal/discipline"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

func TestASmearIsNamed(t *testing.T) {
	midnight := time.Date(2017, 1, 1, 0, 0, 0, 0, time.UTC)
	leap := virtualclock.LeapState{Sign: 1, At: midnight.Unix()}
	at := func(hours float64) virtualclock.Time {
		return virtualclock.FromTime(midnight.Add(time.Duration(hours * float64(time.Hour))))
	}
	for _, x := range []struct {
		hours, low, high, bound float64
		want                    bool
	}{
		{-6, -0.252, -0.248, 0.001, true}, {-6, 0.249, 0.251, 0.001, true}, {-6, -0.5, -0.498, 0.001, false}, {6, 0.2497, 0.2503, 0.001, true},
		{-11.9, -0.005, -0.003, 0.001, false}, {-20, -0.25, -0.248, 0.001, false}, {-6, -0.5, 0.5, 0.001, false}, {-6, -0.148, -0.145, 0.001, true},
	} {
		if got := smearedBy(&leap, at(x.hours), x.low, x.high, x.bound); got != x.want {
			t.Errorf("%+v: %v", x, got)
		}
	}
	if smearedBy(&virtualclock.LeapState{}, at(-6), -0.252, -0.248, 0.001) {
		t.Error("without a leap second a source is said to smear")
	}
}

// steered is a clock of the kernel that is none.
type steered struct {
	counterClock
	written chan discipline.Order
}

func (s *steered) Set(o *discipline.Order) (discipline.Kernel, error) {
	select {
	case s.written <- *o:
	default:
	}
	return s.set(o), nil
}

// The daemon hands its clock over, and says what became of it; with the section gone it lets go.
func TestTheSystemClockFollows(t *testing.T) {
	testkit.NoLeaks(t)
	reference := launchReference(t, testkit.FreeUDPPort(t))
	dir := t.TempDir()
	table := filepath.Join(dir, "leaps")
	// It expires in 2150.
	if err := os.WriteFile(table, []byte("#@ 7889238000\n3644697600 36\n3692217600 37\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	document := followerDocument(reference.served[0].String(), "")
	section := "\n[system_clock]\ndiscipline = \"realtime\"\ninterval = \"100ms\"\nstep = \"start\"\nleap_file = \"" + table + "\"\n"
	clock := &steered{written: make(chan discipline.Order, 1000)}
	follower := launch(t, Options{Config: parse(t, dir, document+section), Counter: skewed(t, 20), SystemClock: clock})
	follower.reach(virtualclock.Synchronised)
	testkit.WaitFor(t, patience20, "the clock to follow", func() bool {
		c := follower.status().SystemClock
		return c != nil && c.State == control.SystemClockFollowing && c.Updates > 3
	})
	s := follower.status()
	if c := s.SystemClock; c.Steps != 1 || c.TAIOffsetS == nil || *c.TAIOffsetS != 37 || c.MaxErrorS == nil || c.Reason != reason.OK {
		t.Errorf("%+v", c)
	}
	if s.Leap == nil || s.Leap.TAIOffsetS == nil || *s.Leap.TAIOffsetS != 37 || s.Leap.Reason != reason.OK {
		t.Errorf("%+v", s.Leap)
	}
	if o := <-clock.written; o.StepNS == 0 || !o.Clear || o.Status != 0 {
		t.Errorf("the first order: %+v", o)
	}
	reader, err := virtualclock.OpenPage(follower.config.Page.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reader.Close() }()
	tai, ok := reader.TAI()
	if now := reader.Now(); !ok || now.Earliest.Seconds(tai.Earliest) > -36.9 || reader.Leap().TAI != 37 {
		t.Errorf("TAI %v, UTC %v, %v", tai.Earliest, now.Earliest, ok)
	}
	follower.reloadWith(func() (*config.Config, error) { return parse(t, dir, document), nil })
	testkit.WaitFor(t, patience20, "the clock to be let go", func() bool { return follower.status().SystemClock == nil })
}

// counterClock is the state of a kernel's clock after the machine's own, a second off.
type counterClock struct {
	mu     sync.Mutex
	kernel discipline.Kernel
	ahead  time.Duration
}

func (c *counterClock) Name() string { return "CLOCK_FAKE" }
func (c *counterClock) Leaps() bool  { return true }

func (c *counterClock) Get() (discipline.Kernel, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kernel.Tick = discipline.NominalTick
	return c.kernel, nil
}

func (c *counterClock) set(o *discipline.Order) discipline.Kernel {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += time.Duration(o.StepNS)
	c.kernel.Freq, c.kernel.Tick, c.kernel.Status = o.Freq, discipline.NominalTick, o.Status
	if o.TAI != 0 {
		c.kernel.TAI = o.TAI
	}
	return c.kernel
}

func (c *counterClock) SetRate(_, freq int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kernel.Freq = freq
	return nil
}

func (c *counterClock) Cross(counter hw.Counter) (hw.CrossReading, error) {
	c.mu.Lock()
	ahead := c.ahead
	c.mu.Unlock()
	x, err := hw.CrossStamp(counter)
	x.Realtime += int64(ahead) - 1e9
	return x, err
}
