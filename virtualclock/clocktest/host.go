package clocktest

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// HostOptions is what a Host is like. Zero values are replaced by the defaults given here.
type HostOptions struct {
	Name string
	// DriftBoundPPM is what the host is told of its oscillator; 50.
	DriftBoundPPM float64
	// ReadingError is the half-width of what it learns at each poll; 100 µs. The actual errors are anywhere within it.
	ReadingError time.Duration
	// Poll is how often it learns something; 1 s. The first time is at FirstPoll.
	Poll, FirstPoll time.Duration
	// MaxBound is the half-width above which it takes itself for unsynchronised; 10 ms.
	MaxBound time.Duration
	// Script is what happens to it.
	Script []Event
}

// withDefaults fills in what was left out.
func (o HostOptions) withDefaults() HostOptions {
	if o.DriftBoundPPM == 0 {
		o.DriftBoundPPM = 50
	}
	if o.ReadingError == 0 {
		o.ReadingError = 100 * time.Microsecond
	}
	if o.Poll <= 0 {
		o.Poll = time.Second
	}
	if o.MaxBound == 0 {
		o.MaxBound = 10 * time.Millisecond
	}
	o.Script = slices.Clone(o.Script)
	slices.SortStableFunc(o.Script, func(a, b Event) int { return int(min(max(a.at-b.at, -1), 1)) })
	return o
}

// Host is a clock in a World. It offers what a virtualclock.Reader does.
type Host struct {
	world   *World
	options HostOptions
	life    []segment
	// alive is the present place in life: true time only goes on.
	alive  int
	random *rand.Rand

	clock *virtualclock.Clock
	// nextPoll is when it learns something next; disruptions are those that are still to come.
	nextPoll    time.Duration
	disruptions []Event
	// ever: it has learnt something since the last disruption; why is the reason if not.
	ever bool
	why  reason.Code
	// floor is where the upper edge was when the newest interval was laid: that of an INTERNAL clock never goes back.
	floor virtualclock.Time
	// given is what programs were last told, the newest at index told-1 modulo its length.
	given []reading
	told  int
}

// reading is what a program was told.
type reading struct {
	virtualclock.Reading
	at    time.Duration
	why   reason.Code
	truth bool
}

// remembered is how many readings of each host a Checker can look back on.
const remembered = 1024

// nominal is the counters' frequency: one tick a nanosecond.
const (
	nominalHertz = 1e9
	granularity  = time.Nanosecond
	maxSlew      = 500e-6
	// firstTicks is where counters begin; each has its own.
	firstTicks = 1 << 40
)

// Host adds a host.
func (w *World) Host(o HostOptions) *Host {
	w.mu.Lock()
	defer w.mu.Unlock()
	o = o.withDefaults()
	h := &Host{
		world: w, options: o, life: segments(o.Script), nextPoll: o.FirstPoll, why: reason.NeverSynchronised,
		random: rand.New(rand.NewPCG(w.options.Seed, uint64(len(w.hosts)))),
		clock:  virtualclock.NewClock(virtualclock.PeriodOf(nominalHertz), maxSlew),
	}
	for _, e := range o.Script {
		if e.kind == disrupt {
			h.disruptions = append(h.disruptions, e)
		}
	}
	first := firstTicks + h.random.Int64N(firstTicks)
	for k := range h.life {
		h.life[k].ticks += first
	}
	if w.options.Internal {
		h.clock.SetKind(virtualclock.Internal)
	}
	h.clock.SetDifference(virtualclock.PeriodOf(nominalHertz))
	w.hosts = append(w.hosts, h)
	return h
}

// Hosts returns the hosts.
func (w *World) Hosts() []*Host {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.hosts)
}

// Name returns the host's name.
func (h *Host) Name() string { return h.options.Name }

// Now returns the interval, as virtualclock.Reader does.
func (h *Host) Now() virtualclock.Interval {
	r, _ := h.ReadReason()
	return r.Interval
}

// NowReason is Now with the reason why the status is below Synchronised, OK if it is not.
func (h *Host) NowReason() (virtualclock.Interval, reason.Code) {
	r, why := h.ReadReason()
	return r.Interval, why
}

// Read returns the virtual clock and the interval. While the interval is not sound the virtual clock goes on showing something that
// looks like a time, as that of a daemon does: it must not be trusted.
func (h *Host) Read() virtualclock.Reading {
	r, _ := h.ReadReason()
	return r
}

// ReadReason is Read with the reason why the status is below Synchronised, OK if it is not.
func (h *Host) ReadReason() (virtualclock.Reading, reason.Code) {
	h.world.mu.Lock()
	t, spin := h.world.lookAt()
	r := h.look(t)
	if h.given == nil {
		h.given = make([]reading, remembered)
	}
	h.given[h.told%remembered] = r
	h.told++
	h.world.mu.Unlock()
	if spin {
		breathe()
	}
	return r.Reading, r.why
}

// Coefficients returns a copy of what the host publishes.
func (h *Host) Coefficients() (virtualclock.Coefficients, reason.Code) {
	h.world.mu.Lock()
	defer h.world.mu.Unlock()
	t, _ := h.world.lookAt()
	r := h.look(t)
	return *h.clock.Coefficients(), r.why
}

// CommitWait is virtualclock.CommitWait. In a manual World use package order's, with World.Sleep.
func (h *Host) CommitWait(ctx context.Context, t virtualclock.Time) error {
	return virtualclock.CommitWait(ctx, h, t)
}

// After reports that t has certainly passed.
func (h *Host) After(t virtualclock.Time) bool { return h.Now().After(t) }

// Before reports that t has certainly not come yet.
func (h *Host) Before(t virtualclock.Time) bool { return h.Now().Before(t) }

// Truthful reports whether what the host says at this instant is true: true time (or the group's) is in its interval. An interval that is not sound
// is always true. No program can know it; tests can.
func (h *Host) Truthful() bool {
	h.world.mu.Lock()
	defer h.world.mu.Unlock()
	t, _ := h.world.lookAt()
	return h.look(t).truth
}

// ticks is the counter's reading at t, which must not be before that of the last call.
func (h *Host) ticks(t time.Duration) hw.Ticks {
	for h.alive+1 < len(h.life) && h.life[h.alive+1].from <= t {
		h.alive++
	}
	return hw.Ticks(h.life[h.alive].at(t))
}

// look brings the host up to t and reads its clock; the World is locked.
func (h *Host) look(t time.Duration) reading {
	for h.nextPoll <= t || len(h.disruptions) > 0 && h.disruptions[0].at <= t {
		if len(h.disruptions) > 0 && h.disruptions[0].at <= h.nextPoll {
			h.startOver(h.disruptions[0].code)
			h.disruptions = h.disruptions[1:]
			continue
		}
		h.poll(h.nextPoll)
		h.nextPoll += h.options.Poll
	}
	c := h.ticks(t)
	k := h.clock.Coefficients()
	r := reading{at: t, why: h.why}
	r.Ticks, r.Time = c, k.Time(c)
	r.Interval = k.Interval(c)
	switch {
	case r.Interval.Status == virtualclock.Synchronised:
		r.why = reason.OK
	case r.Interval.Status == virtualclock.Holdover:
		r.why = reason.Stale
	case r.Interval.Status == virtualclock.Unsynchronised && h.ever:
		r.why = reason.BoundTooWide
	}
	if r.Interval.Sound() && r.Interval.Kind == virtualclock.Internal && r.Interval.Latest.Before(h.floor) {
		r.Interval.Latest = h.floor
	}
	r.truth = !r.Interval.Sound() || r.Interval.Contains(h.world.reference(t))
	return r
}

// poll is what the host does when it learns something, or should have.
func (h *Host) poll(t time.Duration) {
	shift, lost := time.Duration(0), false
	for k := range h.options.Script {
		switch e := &h.options.Script[k]; {
		case !e.covers(t):
		case e.kind == lose || e.kind == disrupt:
			lost = true
		case e.kind == lie:
			shift += e.by
		}
	}
	if lost {
		return
	}
	half := h.options.ReadingError.Seconds()
	wrong := (2*h.random.Float64() - 1) * half
	middle := h.world.reference(t).Add(shift).AddSeconds(wrong)
	h.learn(t, middle, half)
}

// startOver forgets what was proved; the next reading begins a new epoch.
func (h *Host) startOver(why reason.Code) {
	h.ever, h.why = false, why
	h.clock.SetStatus(virtualclock.Disrupted, 0, 0)
}

// learn takes a reading: the time is within half seconds of middle.
func (h *Host) learn(t time.Duration, middle virtualclock.Time, half float64) {
	// A reading stands for a whole tick, and so does that of which it is told later.
	earliest, latest := middle.AddSeconds(-half-1e-12).Add(-granularity), middle.AddSeconds(half+1e-12).Add(granularity)
	c, k := h.ticks(t), *h.clock.Coefficients()
	// What was proved stays so even when it has become too wide to be of use.
	k.Status, k.StaleAfter, k.VoidAfter = virtualclock.Synchronised, c, c
	held := k.Interval(c)
	switch {
	case !h.ever:
		h.clock.Step(c, middle, 0)
		h.floor = virtualclock.MinTime()
	case k.Kind == virtualclock.Internal:
		if h.floor.Before(held.Latest) {
			h.floor = held.Latest
		}
		h.clock.Steer(c, middle, 0, h.options.Poll.Seconds()/2)
	case held.Latest.Before(earliest) || latest.Before(held.Earliest):
		h.startOver(reason.Contradiction)
		return
	default:
		if earliest.Before(held.Earliest) {
			earliest = held.Earliest
		}
		if held.Latest.Before(latest) {
			latest = held.Latest
		}
		h.clock.Steer(c, middle, 0, h.options.Poll.Seconds()/2)
	}
	h.ever, h.why = true, reason.OK
	rho := h.options.DriftBoundPPM * 1e-6
	period := virtualclock.PeriodOf(nominalHertz)
	h.clock.SetBounds(c, earliest, latest, period.Scale(-rho/(1+rho))-1, period.Scale(rho/(1-rho))+1)
	width := latest.Seconds(earliest)
	void := math.Max(0, (2*h.options.MaxBound.Seconds()-width)/(2*rho))
	h.clock.SetStatus(virtualclock.Synchronised, c.Add(int64(3*h.options.Poll)), c.Add(int64(math.Min(void, 1e9)*nominalHertz)))
}
