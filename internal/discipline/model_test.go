package discipline

import (
	"math"
	"math/rand/v2"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/virtualclock"
)

// kernelModel is a kernel's clock as kernel/time/ntp.c has it, after true time: whole ticks and frequencies, a new rate that begins at
// the next of its ticks, maxerror that grows at its own seconds, leap seconds at its own midnight.
type kernelModel struct {
	hz float64 // of its ticks
	// true time in seconds since start, and the clock in nanoseconds since the epoch (integer and fraction)
	truth float64
	ns    int64
	frac  float64
	// oscillator is the counter's rate error against true time, base the ratio of the kernel's counter and ours.
	oscillator, base float64
	counted          float64 // what the counter has counted, in seconds of its nominal frequency

	k           Kernel
	rate        float64 // in force
	rateFrom    float64 // true time from which k's rate is in force
	maxError    int64
	contestants int
}

func (m *kernelModel) advance(to float64) {
	for m.truth < to {
		next := math.Min(to, m.truth+0.25)
		if m.rateFrom > m.truth && m.rateFrom < next {
			next = m.rateFrom
		}
		if m.truth >= m.rateFrom {
			m.rate = m.k.Rate()
		}
		dt := next - m.truth
		run := dt * 1e9 * (1 + m.oscillator) * (1 + m.base) * (1 + m.rate)
		second := m.ns / 1e9
		m.counted += dt * (1 + m.oscillator)
		m.frac += run
		whole := math.Floor(m.frac)
		m.ns, m.frac = m.ns+int64(whole), m.frac-whole
		for range m.ns/1e9 - second {
			m.second()
		}
		m.truth = next
	}
}

// second is second_overflow().
func (m *kernelModel) second() {
	if m.maxError += 500; m.maxError > ErrorLimit {
		m.maxError = ErrorLimit
		m.k.Status |= StatusUnsync
	}
	switch m.k.State {
	case StateOK:
		if m.k.Status&StatusInsert != 0 {
			m.k.State = StateInsert
		}
	case StateInsert:
		if m.k.Status&StatusInsert == 0 {
			m.k.State = StateOK
		} else if m.ns/1e9%86400 == 0 {
			m.ns -= 1e9
			m.k.State = StateOOP
			m.k.TAI++
		}
	case StateOOP:
		m.k.State = StateWait
	case StateWait:
		if m.k.Status&(StatusInsert|StatusDelete) == 0 {
			m.k.State = StateOK
		}
	}
}

// write is do_adjtimex().
func (m *kernelModel) write(o *Order, r *rand.Rand) {
	if o.StepNS != 0 {
		m.ns += o.StepNS
		m.k.Status |= StatusUnsync
		m.maxError = ErrorLimit
	}
	m.k.Freq = min(max(o.Freq, -maxFreq), maxFreq)
	m.k.Tick = min(max(o.Tick, minTick), maxTick)
	m.k.Status = o.Status
	m.maxError = min(max(o.MaxError, 0), ErrorLimit)
	if o.TAI > 0 {
		m.k.TAI = o.TAI
	}
	m.rateFrom = m.truth + r.Float64()/m.hz
}

// world is a host: its counter, its kernel's clock, its virtual clock, and the truth.
type world struct {
	r          *rand.Rand
	counterHz  float64
	kernel     kernelModel
	clock      *virtualclock.Clock
	controller *Controller
	config     Config
	drift      float64
	readNoise  float64 // seconds, largest width of a bracket
	epoch      int64   // true time 0, in seconds since the Unix epoch
	sound      bool
	// edges: all errors are as large as they may be; jumps: the oscillator jumps between its limits.
	edges, jumps bool
	nextSync     float64
	leap         Leap
	lastOrder    Order
	backwards    int
	written      int
}

func newWorld(r *rand.Rand, policy Policy) *world {
	drift := 50e-6
	w := &world{r: r, counterHz: 1e9 * math.Exp(r.Float64()), drift: drift, readNoise: math.Pow(10, -7+3*r.Float64()), epoch: 1_800_000_000, sound: true}
	w.kernel = kernelModel{
		hz: []float64{100, 250, 1000}[r.IntN(3)], ns: w.epoch * 1e9, oscillator: (2*r.Float64() - 1) * drift * 0.95, base: (2*r.Float64() - 1) * 20e-6,
		k: Kernel{Tick: NominalTick, Status: StatusUnsync},
	}
	w.config = Config{Hertz: w.counterHz, MaxSlew: 400e-6, Step: policy, StepThreshold: 0.1, Interval: 1}
	w.controller = New(w.config)
	w.clock = virtualclock.NewClock(virtualclock.PeriodOf(w.counterHz), 500e-6)
	return w
}

// true time since the Unix epoch as a virtualclock.Time; UTC after a leap second.
func (w *world) utc() virtualclock.Time {
	t := virtualclock.Unix(w.epoch*1e9, 0).AddSeconds(w.kernel.truth)
	if w.leap.Sign != 0 && !t.Before(virtualclock.Unix(w.leap.At*1e9, 0)) {
		t = t.AddSeconds(-float64(w.leap.Sign))
	}
	return t
}

func (w *world) ticks() hw.Ticks {
	return hw.Ticks(w.kernel.counted * w.counterHz)
}

// synchronise gives the virtual clock a new estimate, at most spread wrong, with a bound that holds.
func (w *world) synchronise(spread float64) {
	now, truth := w.ticks(), w.utc()
	wrong := (2*w.r.Float64() - 1) * spread
	rate := -w.kernel.oscillator + (2*w.r.Float64()-1)*0.1e-6
	if k := w.clock.Coefficients(); k.Steady.Period != 0 && math.Abs(k.Time(now).Seconds(truth)) > 0.5 {
		w.clock.Step(now, truth.AddSeconds(wrong), rate)
	} else {
		w.clock.Steer(now, truth.AddSeconds(wrong), rate, 8)
	}
	half := spread + spread*w.r.Float64()
	if w.edges {
		half = spread
	}
	period := virtualclock.PeriodOf(w.counterHz)
	shift := (2*w.r.Float64() - 1) * (half - spread)
	w.clock.SetBounds(now, truth.AddSeconds(wrong+shift-half), truth.AddSeconds(wrong+shift+half), period.Scale(-w.drift-1e-9)-1, period.Scale(w.drift+1e-9)+1)
	w.clock.SetDifference(period.Scale(rate))
	w.status()
}

func (w *world) status() {
	now := w.ticks()
	s := virtualclock.Synchronised
	if !w.sound {
		s = virtualclock.Unsynchronised
	}
	w.clock.SetStatus(s, now.Add(int64(1000*w.counterHz)), now.Add(int64(1000*w.counterHz)))
}

// reading brackets the clock.
func (w *world) reading() *Reading {
	state := w.kernel.k
	width := w.readNoise * (0.2 + 0.8*w.r.Float64())
	if w.edges {
		width = w.readNoise
	}
	low := w.ticks()
	start := w.kernel.truth
	share := w.r.Float64()
	if w.edges {
		share = math.Round(share)
	}
	w.kernel.advance(start + width*share)
	ns := w.kernel.ns
	w.kernel.advance(start + width)
	high := w.ticks()
	whole := uint64(high-low) + uint64(math.Ceil(w.counterHz*1.25e-9))
	return &Reading{
		Cross:  hw.CrossReading{At: low + hw.Ticks(whole/2), Realtime: ns, Error: hw.Ticks(whole - whole/2)},
		Kernel: state, Clock: w.clock.Coefficients(), Std: w.readNoise, Leap: w.announced(), TAI: 37,
	}
}

func (w *world) announced() Leap {
	if w.leap.Sign != 0 && w.utc().Before(virtualclock.Unix(w.leap.At*1e9, 0)) && w.sound {
		return w.leap
	}
	return Leap{}
}

// update is what the daemon does once in an interval. The write comes some time after the reading.
func (w *world) update() {
	r := w.reading()
	if why := w.controller.Moved(r); why != 0 {
		w.kernel.contestants++
	}
	o := w.controller.Update(r)
	w.lastOrder = o
	if !o.Write {
		return
	}
	w.kernel.advance(w.kernel.truth + w.r.Float64()*w.r.Float64()*0.01)
	w.kernel.write(&o, w.r)
	w.written++
	w.controller.Wrote(w.kernel.k, w.ticks(), &o)
}

// offset is the kernel's clock's error in seconds.
func (w *world) offset() float64 {
	return virtualclock.Unix(w.kernel.ns, 0).Seconds(w.utc())
}

// lag is virtual clock − kernel's clock in seconds.
func (w *world) lag() float64 {
	return w.clock.Time(w.ticks()).Seconds(virtualclock.Unix(w.kernel.ns, 0))
}
