package virtualclock

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/clockd/clockd/hw"
)

// twin is the slow, obvious second implementation of Clock, in exact rational arithmetic and real time: it knows no ticks between
// which a correction must end, no rounding, and no 64-bit word. Times are in nanoseconds.
type twin struct {
	now     *big.Rat // ticks since the test began
	value   *big.Rat // at now
	slew    *big.Rat // ns per tick until slewEnd
	slewEnd *big.Rat
	steady  *big.Rat // ns per tick after it
}

func rat(f float64) *big.Rat { return new(big.Rat).SetFloat64(f) }

func ratTime(t Time) *big.Rat {
	return new(big.Rat).SetFrac(bigTime(t), new(big.Int).Lsh(big.NewInt(1), 32))
}

func ratPeriod(p Period) *big.Rat {
	return new(big.Rat).SetFrac(new(big.Int).SetUint64(uint64(p)), new(big.Int).Lsh(big.NewInt(1), 48))
}

// at returns the twin's time after that many ticks.
func (w *twin) at(ticks *big.Rat) *big.Rat {
	line := func(from, ticks, rate *big.Rat) *big.Rat {
		d := new(big.Rat).Sub(ticks, from)
		return d.Mul(d, rate)
	}
	v := new(big.Rat).Set(w.value)
	if ticks.Cmp(w.slewEnd) <= 0 {
		return v.Add(v, line(w.now, ticks, w.slew))
	}
	v.Add(v, line(w.now, w.slewEnd, w.slew))
	return v.Add(v, line(w.slewEnd, ticks, w.steady))
}

// steer is theory and nothing else: the difference, the clamped rate, the meeting point.
func (w *twin) steer(ticks, target, period *big.Rat, window, maxSlew float64) {
	value := w.at(ticks)
	e := new(big.Rat).Sub(target, value)
	w.now, w.value, w.steady, w.slewEnd, w.slew = ticks, value, period, ticks, period
	if e.Sign() == 0 {
		return
	}
	rate := rat(maxSlew)
	if window > 0 {
		asked := new(big.Rat).Abs(e)
		asked.Quo(asked, rat(window)).Quo(asked, rat(1e9))
		if asked.Cmp(rate) < 0 {
			rate = asked
		}
	}
	if e.Sign() < 0 {
		rate.Neg(rate)
	}
	change := new(big.Rat).Mul(period, rate)
	w.slew = new(big.Rat).Add(period, change)
	w.slewEnd = new(big.Rat).Add(ticks, new(big.Rat).Quo(e, change))
}

// clockStory is one random life of a Clock beside its twin.
type clockStory struct {
	t       *testing.T
	seed    uint64
	r       *rand.Rand
	clock   *Clock
	twin    *twin
	nominal Period
	maxSlew float64
	hertz   float64
	start   hw.Ticks
	now     hw.Ticks
	last    Time
	lastAt  hw.Ticks
	epoch   Epoch
}

func newClockStory(t *testing.T, r *rand.Rand) *clockStory {
	hertz := []float64{1e6, 24e6, 1e9, 2.6e9, 5e9}[r.IntN(5)]
	maxSlew := []float64{500e-6, 1e-6, 1e-3, 0.1, 83e-6}[r.IntN(5)]
	start := hw.Ticks(r.Uint64())
	if r.IntN(2) == 0 {
		start = -hw.Ticks(r.Uint64N(uint64(hertz) * 10)) // the counter wraps soon
	}
	s := &clockStory{t: t, r: r, nominal: PeriodOf(hertz), maxSlew: maxSlew, hertz: hertz, start: start, now: start}
	s.clock = NewClock(s.nominal, maxSlew)
	s.step()
	return s
}

func (s *clockStory) fatalf(format string, arguments ...any) {
	s.t.Helper()
	s.t.Fatalf("seed %d: %s", s.seed, fmt.Sprintf(format, arguments...))
}

func (s *clockStory) ticks(c hw.Ticks) *big.Rat {
	return new(big.Rat).SetInt(new(big.Int).SetUint64(uint64(c - s.start)))
}

func (s *clockStory) rate() float64 { return (s.r.Float64() - 0.5) * 400e-6 }

func (s *clockStory) step() {
	at := Unix(s.r.Int64N(4e18), s.r.Uint32())
	rate := s.rate()
	s.clock.Step(s.now, at, rate)
	p := ratPeriod(s.clock.Coefficients().Steady.Period)
	s.twin = &twin{now: s.ticks(s.now), value: ratTime(at), slew: p, slewEnd: s.ticks(s.now), steady: p}
	if s.clock.Coefficients().Epoch != s.epoch+1 || s.clock.Time(s.now) != at {
		s.fatalf("step to %v: %+v, epoch before %d", at, s.clock.Coefficients(), s.epoch)
	}
	s.epoch++
	s.last, s.lastAt = at, s.now
}

func (s *clockStory) steer() {
	before := s.clock.Time(s.now)
	e := (s.r.Float64() - 0.5) * math.Pow(10, float64(s.r.IntN(13)-10))
	target := before.AddSeconds(e)
	if s.r.IntN(20) == 0 {
		target = before
	}
	window := math.Pow(10, s.r.Float64()*6-3)
	if s.r.IntN(10) == 0 {
		window = []float64{0, -1, math.NaN(), math.Inf(1)}[s.r.IntN(4)]
	}
	rate := s.rate()
	s.clock.Steer(s.now, target, rate, window)
	k := s.clock.Coefficients()
	twinWindow := window
	if math.IsInf(window, 1) {
		twinWindow = 1e300
	}
	s.twin.steer(s.ticks(s.now), ratTime(target), ratPeriod(s.nominal.Scale(rate)), twinWindow, s.maxSlew)
	what := fmt.Sprintf("steer by %g s over %g s at %g Hz, max slew %g: %+v", e, window, s.hertz, s.maxSlew, *k)
	s.checkJoint(what, before, target)
}

// checkJoint holds a correction to its promises: no jump where it begins and ends, the target met, the slew within its limit.
func (s *clockStory) checkJoint(what string, before, target Time) {
	k := s.clock.Coefficients()
	if got := s.clock.Time(s.now); got != before {
		s.fatalf("%s: jumped from %+v to %+v at the correction", what, before, got)
	}
	if k.SlewEnd.Before(s.now) {
		s.fatalf("%s: ends before it began", what)
	}
	if end := k.Slew.At(k.SlewEnd); k.Steady.At(k.SlewEnd) != end || k.Steady.C0 != k.SlewEnd {
		s.fatalf("%s: jumps at its end from %+v to %+v", what, end, k.Steady.At(k.SlewEnd))
	}
	n := float64(k.SlewEnd - s.now)
	line := Line{s.now, target, k.Steady.Period}
	if n == maxSlewTicks { // cut off: it does not get there
	} else if off := math.Abs(line.At(k.SlewEnd).Seconds(k.Steady.T0)); off > ((1<<17)+n)*0x1p-48*1e-9 {
		s.fatalf("%s: misses its target by %g s", what, off)
	} else if n < 1<<47 && off > 1e-9 {
		s.fatalf("%s: misses its target by %g s, more than 1 ns", what, off)
	}
	change := math.Abs(float64(int64(k.Slew.Period - k.Steady.Period)))
	if change > float64(k.Steady.Period)*s.maxSlew*(1+1e-12) {
		s.fatalf("%s: slews at %g", what, change/float64(k.Steady.Period))
	}
	if k.Slew.Period == 0 || k.Slew.Period > 1<<63 {
		s.fatalf("%s: does not advance", what)
	}
	left, slewing := s.clock.Slewing(s.now)
	if want := target.Seconds(before); slewing != (n > 0) || n < maxSlewTicks && math.Abs(left-want) > math.Abs(want)*1e-12+(0x1p18+n)*0x1p-48*1e-9 {
		s.fatalf("%s: says that %g s are left (%t), want %g", what, left, slewing, want)
	}
}

// advance moves on, mostly a little, at times by hours, at times to just around the end of the correction.
func (s *clockStory) advance() {
	switch s.r.IntN(10) {
	case 0: // the same tick
	case 1:
		s.now++
	case 2:
		s.now += hw.Ticks(s.r.Uint64N(uint64(s.hertz * 3600 * 5)))
	case 3, 4:
		if end := s.clock.Coefficients().SlewEnd - 2 + hw.Ticks(s.r.IntN(5)); s.now.Before(end) && end.Sub(s.now) < int64(s.hertz*3600*24) {
			s.now = end
		}
	default:
		s.now += hw.Ticks(s.r.Uint64N(uint64(s.hertz)))
	}
}

// read compares with the twin and with the reading before.
func (s *clockStory) read() {
	got := s.clock.Time(s.now)
	if got.Before(s.last) || got == s.last && s.now != s.lastAt {
		s.fatalf("at %d: %+v, but %+v at %d: %+v", s.now, got, s.last, s.lastAt, *s.clock.Coefficients())
	}
	s.last, s.lastAt = got, s.now
	diff := new(big.Rat).Sub(ratTime(got), s.twin.at(s.ticks(s.now)))
	d, _ := diff.Float64()
	// Allowed: that the correction ends at a whole tick and that its rate is a whole number (one tick's worth of the slew, and
	// 2⁻⁴⁸ ns for each tick of it), and rounding down.
	k := s.clock.Coefficients()
	n := float64(k.SlewEnd - k.Slew.C0)
	if limit := k.Steady.Period.Nanoseconds()*s.maxSlew + (n+0x1p18)*0x1p-48; math.Abs(d) > limit {
		s.fatalf("at %d, %g Hz: %g ns from the twin, allowed %g: %+v", s.now, s.hertz, d, limit, *k)
	}
	// The twin has no rounding to inherit: from here it goes on from the value that the clock really has.
	s.twin = &twin{now: s.ticks(s.now), value: ratTime(got), slew: ratPeriod(k.Slew.Period), steady: ratPeriod(k.Steady.Period),
		slewEnd: s.ticks(k.SlewEnd)}
	if !s.now.Before(k.SlewEnd) {
		s.twin.slew, s.twin.slewEnd = s.twin.steady, s.twin.now
	}
}

// TestClockLivesLikeItsTwin plays 10⁵ random lives (fewer where they would be slow), each with its own seed.
func TestClockLivesLikeItsTwin(t *testing.T) {
	lives := uint64(100_000)
	if testing.Short() || raceEnabled {
		lives = 10_000
	}
	for seed := range lives {
		s := newClockStory(t, rand.New(rand.NewPCG(seed, 77)))
		s.seed = seed
		for range 8 {
			s.advance()
			s.read()
			switch s.r.IntN(12) {
			case 0:
				s.step()
			case 1, 2, 3, 4, 5, 6, 7, 8:
				s.steer()
			}
			s.read()
		}
	}
}

// TestClockIsMonotoneTickByTick reads every tick around many corrections, which the twin's rationals would be too slow for.
func TestClockIsMonotoneTickByTick(t *testing.T) {
	r := newRand(t, 20)
	for range 5000 {
		hertz := math.Pow(10, 6+3.7*r.Float64())
		c := NewClock(PeriodOf(hertz), math.Pow(10, -7+6*r.Float64()))
		now := hw.Ticks(r.Uint64())
		c.Step(now, Unix(r.Int64N(4e18), r.Uint32()), (r.Float64()-0.5)*0.6)
		last := c.Time(now)
		for range 20 {
			e := (r.Float64() - 0.5) * math.Pow(10, float64(r.IntN(6)-9))
			c.Steer(now, c.Time(now).AddSeconds(e), (r.Float64()-0.5)*0.6, r.Float64()*1e-6)
			if got := c.Time(now); got != last {
				t.Fatalf("jump at a correction: %+v to %+v", last, got)
			}
			if end := c.Coefficients().SlewEnd - 3; r.IntN(2) == 0 && now.Before(end) {
				now, last = end, c.Time(end)
			}
			for range 8 {
				now++
				if got := c.Time(now); !last.Before(got) {
					t.Fatalf("%+v after %+v at %d: %+v", got, last, now, *c.Coefficients())
				} else {
					last = got
				}
			}
		}
	}
}

func TestClockTakesInsaneValues(t *testing.T) {
	odd := []float64{0, -1, 1e300, -1e300, math.NaN(), math.Inf(1), math.Inf(-1), 1e-300, 0.5, -0.5}
	for _, nominal := range []Period{0, 1, math.MaxUint64, 1 << 48} {
		for _, maxSlew := range odd {
			for _, rate := range odd {
				for _, window := range odd {
					for _, target := range []Time{minTime, {}, maxTime, Unix(1e18, 1)} {
						c := NewClock(nominal, maxSlew)
						c.Steer(3, Unix(1e18, 0), rate, window) // not set: steps
						c.Steer(math.MaxUint64-5, target, rate, window)
						k := c.Coefficients()
						low, high := min(max(nominal, minNominal), maxNominal)/2, min(max(nominal, minNominal), maxNominal)/2*4
						if k.Epoch != 1 || k.Slew.Period < low || k.Slew.Period > high || k.Steady.Period < low || k.Steady.Period > high {
							t.Fatalf("nominal %d, max slew %g, rate %g, window %g: %+v", nominal, maxSlew, rate, window, *k)
						}
						if k.SlewEnd.Sub(k.Slew.C0) < 0 || k.Steady.At(k.SlewEnd) != k.Slew.At(k.SlewEnd) {
							t.Fatalf("lines do not meet: %+v", *k)
						}
					}
				}
			}
		}
	}
}

func TestClockKeepsItsEpochThroughReset(t *testing.T) {
	c := NewClock(1<<48, 500e-6)
	if c.Time(5) != MinTime() {
		t.Error("a clock that was never set tells a time")
	}
	c.SetEpoch(7)
	c.Step(10, Unix(1000, 0), 0)
	c.SetBounds(10, Unix(990, 0), Unix(1010, 0), 1<<48, 1<<48)
	c.SetStatus(Synchronised, 1000, 2000)
	c.SetDifference(1 << 48)
	c.SetEpoch(3)
	if i := c.Coefficients().Interval(20); i != (Interval{Unix(1000, 0), Unix(1020, 0), 8, Standing{Status: Synchronised}}) {
		t.Errorf("interval %+v", i)
	}
	if d, ok := c.Coefficients().Duration(10, 30); !ok || math.Abs(d.Best-20e-9) > 1e-20 {
		t.Errorf("difference clock: %+v, %t", d, ok)
	}
	c.Reset()
	if k := c.Coefficients(); *k != (Coefficients{Epoch: 8, Status: Disrupted}) || c.Time(5) != MinTime() {
		t.Errorf("after a reset: %+v", *k)
	}
	c.Steer(1, Unix(5, 0), 0, 1)
	if k := c.Coefficients(); k.Epoch != 9 || c.Time(1) != Unix(5, 0) {
		t.Errorf("steering a clock that is not set: %+v", *k)
	}
	c.SetMaxSlew(1e-3)
	c.Steer(1, Unix(1e9, 0), 0, 0)
	if k := c.Coefficients(); math.Abs(float64(k.Slew.Period)/float64(k.Steady.Period)-1.001) > 1e-12 {
		t.Errorf("the new slew limit is not used: %+v", *k)
	}
}

func FuzzClock(f *testing.F) {
	f.Add(uint64(1<<48), 500e-6, uint64(5), int64(0), 1e-5, uint64(99), 1e-3, 1.0)
	f.Add(uint64(0), math.NaN(), uint64(math.MaxUint64), int64(math.MinInt64), -1e9, uint64(1)<<63, math.Inf(1), 0.0)
	f.Fuzz(func(t *testing.T, nominal uint64, maxSlew float64, start uint64, ns int64, rate float64, gap uint64, e, window float64) {
		c := NewClock(Period(nominal), maxSlew)
		now := hw.Ticks(start)
		c.Step(now, Unix(ns, 0), rate)
		now += hw.Ticks(gap >> 1)
		before := c.Time(now)
		c.Steer(now, before.AddSeconds(e), rate, window)
		last := c.Time(now)
		if last != before {
			t.Fatalf("jumped from %+v to %+v", before, last)
		}
		end := c.Coefficients().SlewEnd
		for _, at := range []hw.Ticks{now + 1, end - 1, end, end + 1} {
			if at.Before(now) {
				continue
			}
			now = at
			if got := c.Time(at); got.Before(last) {
				t.Fatalf("went back from %+v to %+v", last, got)
			} else {
				last = got
			}
		}
	})
}
