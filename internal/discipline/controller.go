package discipline

import (
	"math"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// Policy says when the clock may be stepped.
type Policy uint8

// The policies.
const (
	// StepNever: every difference is amortised.
	StepNever Policy = iota
	// StepStart: only until the clock has been near the virtual clock for the first time.
	StepStart
	// StepAlways: whenever the difference is above the threshold.
	StepAlways
)

// Config is how a clock is disciplined.
type Config struct {
	// Hertz is the counter's nominal frequency.
	Hertz float64
	// MaxSlew is the largest rate, as a ratio, at which a difference is amortised.
	MaxSlew float64
	Step    Policy
	// StepThreshold is the difference in seconds above which the policy steps.
	StepThreshold float64
	// Interval is the time between two updates, in seconds.
	Interval float64
}

// Leap is a leap second that is to come, or the last one: UTC's day ends at At, in seconds since the Unix epoch, and has one second more
// (Sign +1) or less (−1). The zero value is none.
type Leap struct {
	At   int64
	Sign int
}

// Reading is all that an update needs to know.
type Reading struct {
	// Cross says when the clock passed through what it read.
	Cross hw.CrossReading
	// Kernel is the clock's state, read before Cross.
	Kernel Kernel
	// Clock is the virtual clock.
	Clock *virtualclock.Coefficients
	// Std is the standard deviation of the virtual clock's error in seconds, +Inf if it is not known.
	Std float64
	// Leap is what is known of leap seconds; TAI is TAI − UTC in seconds, 0 if it is not known.
	Leap Leap
	TAI  int32
}

// Order is what is to be written to the kernel's clock, in one call.
type Order struct {
	// Write: all of the below. Otherwise nothing is to be written.
	Write bool
	// StepNS is added to the clock at once, in nanoseconds; 0: no step. Clear: what another program has left in the kernel's own loop
	// and has not been amortised yet is dropped, by a step of nothing if need be.
	StepNS     int64
	Clear      bool
	Freq, Tick int64
	// MaxError and EstError are in microseconds.
	MaxError, EstError int64
	Status             int32
	// TAI is TAI − UTC; 0: leave it.
	TAI int32

	// Offset is virtual clock − kernel's clock in seconds, before the step; known if Known.
	Offset float64
	Known  bool
	// Slew is the part of the rate that amortises the offset, as a ratio.
	Slew float64
	// Bound is what MaxError is rounded up from, in seconds; +Inf without a promise.
	Bound float64
	// Reason says why the clock is not disciplined now, or OK.
	Reason reason.Code
}

const (
	// horizon is in how many intervals an offset is amortised, if the largest slew allows it.
	horizon = 4
	// safeGrowth is the largest rate at which the clock may part from true time so that the kernel's own growth of maxerror covers it.
	safeGrowth = 490e-6
	// margin is for how long, in seconds, maxerror must hold without the kernel's help: it adds to it only when one of its seconds
	// ends, and the reading is a little older than the write.
	margin = 1.1
	// abandoned is for how many intervals maxerror holds after the daemon's death where max_slew is above what is safe.
	abandoned = 10
	// baseWander is by how much the ratio of the counter and the kernel's own may wander, per square root of a second.
	baseWander = 3e-9
	// basePrior is how far that ratio may be from 1 before it was measured.
	basePrior = 500e-6
	// stepNoise is the least jump of the clock in seconds that counts as a step by somebody else.
	stepNoise = 1e-3
	// leapHold is for how long after a leap second, in seconds, a difference of one second is waited out.
	leapHold = 3600
	// nearLeap is how far the clock may be off to be told of a leap second, in seconds: it inserts it by its own midnight.
	nearLeap = 1
)

// Controller makes a kernel's clock follow. One goroutine at a time may use it.
type Controller struct {
	config Config

	// last is the reading before, wrote what the kernel said of itself after the last write.
	last    hw.CrossReading
	lastOK  bool
	wrote   Kernel
	wroteOK bool
	// applied is the counter after that write; before that the rate was rateBefore.
	applied    hw.Ticks
	rateBefore float64

	// base is what the clock gains per second of the counter at its nominal frequency while it is programmed to nothing, with its
	// variance.
	base, baseVar float64

	started bool // the clock has been near: StepStart steps no more
	leap    Leap
}

// New makes a controller that knows nothing of the clock yet.
func New(c Config) *Controller {
	return &Controller{config: c, baseVar: basePrior * basePrior}
}

// Configure changes the figures.
func (c *Controller) Configure(config Config) { c.config = config }

// Wrote tells what the kernel said of itself after an order was carried out, and the counter then.
func (c *Controller) Wrote(after Kernel, at hw.Ticks, o *Order) {
	if c.wroteOK {
		c.rateBefore = c.wrote.Rate()
	} else {
		c.rateBefore = after.Rate()
	}
	c.wrote, c.wroteOK, c.applied = after, true, at
	if o.StepNS != 0 {
		c.last.Realtime += o.StepNS
		c.started = true
	}
}

// Forget drops what is known of the clock's course, after a pause or after something else has moved it.
func (c *Controller) Forget() {
	c.lastOK, c.wroteOK = false, false
	c.base, c.baseVar = 0, basePrior*basePrior
}

// Moved says whether something else has changed the clock since the last write: reason.ClockContested, or OK. It must be called before
// Update with the same reading.
func (c *Controller) Moved(r *Reading) reason.Code {
	k := &r.Kernel
	if !c.wroteOK {
		return reason.OK // what a program that has ended left behind
	}
	if k.Status&statusOthers != 0 || k.Offset != 0 {
		return reason.ClockContested
	}
	if k.Freq != c.wrote.Freq || k.Tick != c.wrote.Tick {
		return reason.ClockContested
	}
	if !c.lastOK || c.leaping(r) {
		return reason.OK
	}
	since := c.seconds(r.Cross.At.Sub(c.last.At))
	if since > 10*c.config.Interval+10 {
		return reason.OK // the process slept, or the host: nothing is known of the time between
	}
	got := float64(r.Cross.Realtime-c.last.Realtime) * 1e-9
	expected := since * (1 + c.base) * (1 + c.programmed(r.Cross.At, since))
	noise := stepNoise + c.seconds(int64(r.Cross.Error+c.last.Error)) + since*(4*math.Sqrt(c.baseVar)+20e-6)
	if math.Abs(got-expected) > noise {
		return reason.ClockContested
	}
	return reason.OK
}

// leaping says whether a leap second explains a jump since the last reading.
func (c *Controller) leaping(r *Reading) bool {
	if c.leap.Sign == 0 {
		return false
	}
	at := c.leap.At * 1e9
	return r.Kernel.State == StateOOP || r.Kernel.State == StateWait || c.last.Realtime < at+2e9 && r.Cross.Realtime > at-2e9
}

// programmed is the mean programmed rate over the last `since` seconds before at.
func (c *Controller) programmed(at hw.Ticks, since float64) float64 {
	now := c.wrote.Rate()
	if since <= 0 {
		return now
	}
	share := min(max(c.seconds(at.Sub(c.applied))/since, 0), 1)
	return share*now + (1-share)*c.rateBefore
}

func (c *Controller) seconds(ticks int64) float64 { return float64(ticks) / c.config.Hertz }

// learn takes the measured course since the last reading into the base rate (a Kalman filter of one state).
func (c *Controller) learn(r *Reading) {
	defer func() { c.last, c.lastOK = r.Cross, true }()
	if !c.lastOK || !c.wroteOK || c.leaping(r) {
		return
	}
	since := c.seconds(r.Cross.At.Sub(c.last.At))
	changed := math.Abs(c.wrote.Rate() - c.rateBefore)
	if since < 0.1*c.config.Interval || since > 10*c.config.Interval+10 {
		return
	}
	got := float64(r.Cross.Realtime-c.last.Realtime) * 1e-9 / since
	base := got/(1+c.programmed(r.Cross.At, since)) - 1
	// The kernel takes a new rate up at its next tick, up to 10 ms later.
	noise := (c.seconds(int64(r.Cross.Error+c.last.Error)) + 2e-9 + 0.01*changed) / since
	c.baseVar += baseWander * baseWander * since
	gain := c.baseVar / (c.baseVar + noise*noise)
	c.base += gain * (base - c.base)
	c.baseVar *= 1 - gain
}

// Update decides. The reading is not older than the one before.
func (c *Controller) Update(r *Reading) Order {
	c.learn(r)
	c.know(r)
	k := r.Clock
	at := r.Cross.At
	i := k.Interval(at)
	if k.Steady.Period == 0 || !i.Sound() || i.Kind != virtualclock.External {
		return c.unsound(r)
	}
	clock := virtualclock.Unix(r.Cross.Realtime, 0)
	o := Order{Write: true, Clear: !c.wroteOK, Offset: k.Time(at).Seconds(clock), Known: true, TAI: r.TAI}
	if c.waitsForLeap(r, &o) {
		held := c.unsound(r)
		held.Offset, held.Known, held.Reason = o.Offset, true, reason.LeapSecond
		return held
	}
	x := o.Offset
	threshold := c.config.StepThreshold
	if math.Abs(x) > threshold && (c.config.Step == StepAlways || c.config.Step == StepStart && !c.started) {
		o.StepNS = int64(math.Round(x * 1e9))
		clock = clock.AddSeconds(float64(o.StepNS) * 1e-9)
		x = k.Time(at).Seconds(clock)
	} else if math.Abs(x) <= threshold {
		c.started = true
	}
	c.steer(&o, k, at, x)
	c.vouch(&o, r, i, clock)
	o.Status = c.status(r)
	if o.Bound >= ErrorLimit*1e-6 {
		o.Status |= StatusUnsync
	}
	return o
}

// know keeps the leap second in mind: while it happens the virtual clock is not sound, and nobody can be asked.
func (c *Controller) know(r *Reading) {
	now := r.Cross.Realtime / 1e9
	switch {
	case r.Leap.Sign != 0:
		c.leap = r.Leap
	case c.leap.Sign != 0 && now < c.leap.At-60 && r.Clock.Interval(r.Cross.At).Sound():
		c.leap = Leap{} // it was called off
	case c.leap.Sign != 0 && now > c.leap.At+2*leapHold:
		c.leap = Leap{}
	}
}

// waitsForLeap says whether the difference is a leap second that one of the two clocks has had already.
func (c *Controller) waitsForLeap(r *Reading, o *Order) bool {
	if c.leap.Sign == 0 {
		return false
	}
	since := r.Cross.Realtime/1e9 - c.leap.At
	return since > -2 && since < leapHold && math.Abs(math.Abs(o.Offset)-1) < 0.2
}

// status is the kernel's status word for a sound clock, without what only the kernel writes.
func (c *Controller) status(r *Reading) int32 {
	var s int32
	left := c.leap.At - r.Cross.Realtime/1e9
	if c.leap.Sign == 0 || left <= 0 || left > 86400 || r.Kernel.State == StateWait {
		return s
	}
	if i := r.Clock.Interval(r.Cross.At); i.Sound() && math.Abs(r.Clock.Time(r.Cross.At).Seconds(virtualclock.Unix(r.Cross.Realtime, 0))) > nearLeap {
		return s // by its own midnight it would be inserted at a wrong time
	}
	if c.leap.Sign > 0 {
		return s | StatusInsert
	}
	return s | StatusDelete
}

// steer programs the rate: that of the virtual clock until the horizon, and what amortises x on the way, in seconds.
func (c *Controller) steer(o *Order, k *virtualclock.Coefficients, at hw.Ticks, x float64) {
	ahead := horizon * c.config.Interval
	course := c.course(k, at, ahead)
	limit := c.config.MaxSlew
	if limit <= safeGrowth {
		limit = min(limit, max(safeGrowth-c.growth(course, k), 0))
	}
	o.Slew = min(max(x/ahead, -limit), limit)
	o.Tick, o.Freq = program((course+o.Slew)/(1+c.base) - 1)
}

// course is the virtual clock's mean rate from at, in its seconds per second of the counter at its nominal frequency.
func (c *Controller) course(k *virtualclock.Coefficients, at hw.Ticks, ahead float64) float64 {
	then := at.Add(int64(ahead * c.config.Hertz))
	return k.Time(then).Seconds(k.Time(at)) / c.seconds(then.Sub(at))
}

// growth is how fast a clock that runs at that rate, per second of the counter, can part from true time.
func (c *Controller) growth(rate float64, k *virtualclock.Coefficients) float64 {
	slow, fast := k.Slow.Nanoseconds()*c.config.Hertz*1e-9, k.Fast.Nanoseconds()*c.config.Hertz*1e-9
	unsure := 4*math.Sqrt(c.baseVar) + 2*FreqUnit
	return max(rate-slow, fast-rate, 0) + unsure
}

// vouch computes what the clock may say of its error: the virtual clock's bound seen from the kernel's clock, what the two readings
// of it leave open, and what it can part from true time before the kernel adds to it.
func (c *Controller) vouch(o *Order, r *Reading, i virtualclock.Interval, clock virtualclock.Time) {
	reading := (float64(r.Cross.Error)+1)/c.config.Hertz*1.001 + 2e-9
	bound := i.Bound(clock) + reading
	rate := (1 + rateOf(o.Tick, o.Freq)) * (1 + c.base)
	growth := c.growth(rate, r.Clock)
	before := growth
	if c.wroteOK {
		before = c.growth((1+c.wrote.Rate())*(1+c.base), r.Clock)
	}
	bound += max(growth, before) * margin
	if growth > errorGrowth {
		bound += (growth - errorGrowth) * abandoned * c.config.Interval
	}
	o.Bound = bound
	o.MaxError = microseconds(bound)
	estimate := bound
	if !math.IsInf(r.Std, 0) {
		left := o.Offset - float64(o.StepNS)*1e-9
		estimate = min(bound, math.Hypot(r.Std, math.Abs(left)+reading/2))
	}
	o.EstError = microseconds(estimate)
}

// microseconds rounds up, and ends at the kernel's limit.
func microseconds(s float64) int64 {
	if !(s < ErrorLimit*1e-6) {
		return ErrorLimit
	}
	return int64(math.Ceil(s * 1e6))
}

// unsound is what to do while the virtual clock promises nothing: the clock goes on at the last known rate without amortising
// anything, and says that it is not synchronised. A clock that was never disciplined is not touched.
func (c *Controller) unsound(r *Reading) Order {
	o := Order{Bound: math.Inf(1), MaxError: ErrorLimit, EstError: ErrorLimit, Reason: reason.ClockUnsound, Status: c.status(r) | StatusUnsync}
	o.Tick, o.Freq = r.Kernel.Tick, r.Kernel.Freq
	if !c.wroteOK || r.Kernel.State == StateOOP {
		return o
	}
	o.Write = true
	if k := r.Clock; k.Difference != 0 {
		o.Tick, o.Freq = program(k.Difference.Nanoseconds()*c.config.Hertz*1e-9/(1+c.base) - 1)
	}
	return o
}

// Rest is the order to leave the clock with when the daemon ends: the last known rate, nothing amortised any more; what it says of its
// error goes on growing. Not ok if nothing was written before.
func (c *Controller) Rest(k *virtualclock.Coefficients, at hw.Ticks) (tick, freq int64, ok bool) {
	if !c.wroteOK || k.Steady.Period == 0 {
		return 0, 0, false
	}
	rate := k.Steady.Period.Nanoseconds() * c.config.Hertz * 1e-9
	if k.Difference != 0 {
		rate = k.Difference.Nanoseconds() * c.config.Hertz * 1e-9
	}
	tick, freq = program(rate/(1+c.base) - 1)
	return tick, freq, true
}
