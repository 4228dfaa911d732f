package clocktest

import (
	"context"
	"sync"
	"time"

	"github.com/clockd/clockd/virtualclock"
)

// Options is what a World is told.
type Options struct {
	// Start is true time at the beginning; the zero value is 2027-01-15 08:00:00 UTC.
	Start virtualclock.Time
	// Internal makes the clocks agree with each other only: their intervals are of kind INTERNAL, and the group's time is GroupOffset
	// from true time at the beginning and runs too fast by GroupPPM.
	Internal    bool
	GroupOffset time.Duration
	GroupPPM    float64
	// Seed makes the readings' errors.
	Seed uint64
}

// World is true time, and the hosts. Any number of goroutines may use it.
type World struct {
	options Options
	manual  bool

	mu     sync.Mutex
	passed func() time.Duration
	hosts  []*Host
	// now is the last true time that was seen, and looks how often in a row it was the same.
	now   time.Duration
	looks int
	// advanced is the true time of a manual world.
	advanced time.Duration
}

// spinning is how many looks at the same instant are taken for a program that waits for time to pass without sleeping.
const spinning = 1000

const usualStart = 1_800_000_000_000_000_000

func newWorld(o Options) *World {
	if o.Start == (virtualclock.Time{}) {
		o.Start = virtualclock.Unix(usualStart, 0)
	}
	return &World{options: o}
}

// New makes a World whose true time passes as the process' time does, from now on. In a bubble of testing/synctest that is the bubble's time;
// there a program that looks at a clock a thousand times without any time passing is put to sleep for a microsecond, so that one that spins gets on.
func New(o Options) *World {
	w := newWorld(o)
	w.passed = processTime()
	return w
}

// NewManual makes a World whose true time passes only by Advance and Sleep.
func NewManual(o Options) *World {
	w := newWorld(o)
	w.manual = true
	w.passed = func() time.Duration { return w.advanced }
	return w
}

// Advance lets time pass in a World of NewManual; in another it does nothing. Negative durations count as none.
func (w *World) Advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.advanced += max(d, 0)
}

// Sleep is Advance in the shape of package order's Sleeper: who waits in a manual World makes its time pass.
func (w *World) Sleep(ctx context.Context, d time.Duration) error {
	w.Advance(d)
	return ctx.Err()
}

// Passed returns how much true time has passed since the beginning.
func (w *World) Passed() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.passed()
}

// True returns true time, as no host knows it.
func (w *World) True() virtualclock.Time { return w.options.Start.Add(w.Passed()) }

// lookAt is the instant of a look by a program; the World is locked. It reports whether the program should be put to sleep afterwards.
func (w *World) lookAt() (t time.Duration, spin bool) {
	t = max(w.passed(), w.now)
	if t != w.now {
		w.now, w.looks = t, 0
	}
	w.looks++
	if w.looks > spinning && !w.manual {
		w.looks, spin = 0, true
	}
	return t, spin
}

// reference is the time that the hosts' intervals are about: true time, or the group's.
func (w *World) reference(t time.Duration) virtualclock.Time {
	r := w.options.Start.Add(t)
	if w.options.Internal {
		r = r.Add(w.options.GroupOffset).AddSeconds(t.Seconds() * w.options.GroupPPM * 1e-6)
	}
	return r
}
