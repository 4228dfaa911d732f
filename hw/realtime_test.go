package hw

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/clockd/clockd/reason"
)

// wallClock is a simulated CLOCK_REALTIME: a sum of rate changes and steps, at true times in nanoseconds.
type wallClock struct {
	origin  int64
	changes []wallChange
}

type wallChange struct {
	at   float64 // true nanoseconds
	rate float64 // relative rate error from here on
	step float64 // nanoseconds added here
}

// read returns REALTIME and MONOTONIC at true time t. The first change is at −Inf.
func (w *wallClock) read(t float64) (realtime, monotonic int64) {
	sum, steps := 0.0, 0.0
	for i, c := range w.changes {
		if c.at > t {
			break
		}
		from, to := max(c.at, 0), t
		if i+1 < len(w.changes) && w.changes[i+1].at < t {
			to = w.changes[i+1].at
		}
		if to > from {
			sum += (to - from) * (1 + c.rate)
		}
		steps += c.step
	}
	return w.origin + int64(math.Floor(sum+steps)), int64(math.Floor(sum))
}

// slewAt returns the programmed rate error at true time t.
func (w *wallClock) slewAt(t float64) float64 {
	s := 0.0
	for _, c := range w.changes {
		if c.at <= t {
			s = math.Abs(c.rate)
		}
	}
	return s
}

// scene is one simulated packet: the counter, the wall clock, two brackets and the event between.
type scene struct {
	rng     *rand.Rand
	wall    wallClock
	perNano float64 // true ticks per true nanosecond
	start   Ticks
}

func (s *scene) counter(t float64) Ticks { return s.start + Ticks(math.Floor(t*s.perNano)) }

// bracket simulates a bracket that begins at true time t; it returns the true time at which it ends.
func (s *scene) bracket(t float64, knowsSlew, monotonic bool) (Bracket, float64) {
	a := t + s.rng.Float64()*60
	m := a + s.rng.Float64()*60
	end := m + s.rng.Float64()*60
	b := Bracket{Low: s.counter(t), High: s.counter(end), Slew: SlewUnknown, HasMonotonic: monotonic}
	b.Realtime, _ = s.wall.read(a)
	_, b.Monotonic = s.wall.read(m)
	b.Monotonic += 12345 // another origin
	if knowsSlew {
		b.Slew = s.wall.slewAt(end)
	}
	return b, end
}

// logUniform draws from low to high, uniformly in the logarithm.
func logUniform(rng *rand.Rand, low, high float64) float64 {
	return low * math.Exp(rng.Float64()*math.Log(high/low))
}

func sign(rng *rand.Rand) float64 { return float64(1 - 2*rng.IntN(2)) }

// newScene makes a counter within the allowance and times for the event and the two brackets.
func newScene(seed uint64) (s *scene, before, event, after float64) {
	rng := rand.New(rand.NewPCG(seed, 7))
	hertz := []float64{1e9, 2.1e9, 25e6, 62.5e6}[rng.IntN(4)]
	s = &scene{rng: rng, start: Ticks(rng.Uint64()), perNano: hertz * 1e-9 * (1 + (rng.Float64()*2-1)*counterAllowance)}
	s.wall.origin = 1_700_000_000_000_000_000 + rng.Int64N(1e18)
	before = 1e6
	event = before + 200 + logUniform(rng, 1, 3e8)
	after = event + logUniform(rng, 1, 3e8)
	return s, before, event, after
}

func (s *scene) mapper() RealtimeMapper {
	hertz := []float64{1e9, 2.1e9, 25e6, 62.5e6}
	best := hertz[0]
	for _, h := range hertz {
		if math.Abs(s.perNano*1e9/h-1) < math.Abs(s.perNano*1e9/best-1) {
			best = h
		}
	}
	return NewRealtimeMapper(Frequency{Hertz: best})
}

// checkScene maps one event both as a departure and as an arrival and fails if a stamp is false. It returns whether the
// kernel's stamp was used, and whether the naive mapping (the last bracket and its width) would have been false.
func checkScene(t *testing.T, seed uint64, s *scene, before, event, after float64, knowsSlew, monotonic bool) (used, naiveFalse bool) {
	t.Helper()
	b, _ := s.bracket(before, knowsSlew, monotonic)
	stamp, _ := s.wall.read(event)
	seen := s.counter(after)
	a, _ := s.bracket(after, knowsSlew, monotonic)
	truth := s.counter(event)
	m := s.mapper()
	user := s.counter(event - 100 - s.rng.Float64()*90)

	d, code := m.Departure(stamp, &b, &a, user, seen)
	if truth.Before(d.NotBefore()) {
		t.Errorf("seed %d: departure at %d, claimed not before %+d (%v, %v) wall %+v", seed, truth, d.NotBefore().Sub(truth), d.Kind, code, s.wall)
	}
	if d.NotBefore().Before(user) {
		t.Errorf("seed %d: the kernel's stamp made a departure wider than the user's by %d", seed, user.Sub(d.NotBefore()))
	}
	r, code := m.Arrival(stamp, &b, &a, seen)
	if r.NotAfter().Before(truth) {
		t.Errorf("seed %d: arrival at %d, claimed not after %+d (%v, %v) wall %+v", seed, truth, r.NotAfter().Sub(truth), r.Kind, code, s.wall)
	}
	if seen.Before(r.NotAfter()) {
		t.Errorf("seed %d: the kernel's stamp made an arrival wider than the user's", seed)
	}
	if (r.Kind == StampKernel) != (code == reason.OK) {
		t.Errorf("seed %d: kind %v with code %v", seed, r.Kind, code)
	}
	naive := a.Middle().Add(int64(math.Round(-float64(a.Realtime-stamp) * m.ticksPerNano)))
	w := a.Width() + 1
	naiveFalse = truth.Before(naive-w) || (naive + w).Before(truth)
	return r.Kind == StampKernel, naiveFalse
}

const scenes = 40000

// TestMapperSteps: one step of any size at any moment, on a clock with any constant slew; validity must always hold.
func TestMapperSteps(t *testing.T) {
	for _, monotonic := range []bool{true, false} {
		used, naive := 0, 0
		for seed := range uint64(scenes) {
			s, before, event, after := newScene(seed)
			slew := sign(s.rng) * logUniform(s.rng, 1e-9, maxSlew)
			at := before + (after+300-before)*s.rng.Float64()
			if s.rng.IntN(4) == 0 {
				at = event + sign(s.rng)*s.rng.Float64()*50
			}
			s.wall.changes = []wallChange{{math.Inf(-1), slew, 0}, {at, slew, sign(s.rng) * logUniform(s.rng, 1, 1e17)}}
			u, n := checkScene(t, seed, s, before, event, after, seed%3 > 0, monotonic)
			if u {
				used++
			}
			if n {
				naive++
			}
		}
		t.Logf("monotonic %v: kernel stamp used in %d of %d, naive mapping false in %d", monotonic, used, scenes, naive)
		if naive < scenes/10 || used == 0 {
			t.Errorf("the scenes prove nothing: naive mapping false in %d, kernel stamps used in %d", naive, used)
		}
	}
}

// TestMapperSlews: any profile of slews up to 10 % without knowledge of the rate; or known rates with one change at any moment.
func TestMapperSlews(t *testing.T) {
	used, naive := 0, 0
	for seed := range uint64(scenes) {
		s, before, event, after := newScene(seed)
		knows := seed%2 == 0
		changes := 1
		if !knows {
			changes = s.rng.IntN(8)
		}
		s.wall.changes = []wallChange{{math.Inf(-1), sign(s.rng) * logUniform(s.rng, 1e-9, 0.1), 0}}
		if s.rng.IntN(3) == 0 && !knows { // the profile that fools the hull: a change of sign at the event
			rate := s.wall.changes[0].rate
			s.wall.changes = append(s.wall.changes, wallChange{event, -rate, 0})
			changes = 0
		}
		at := before
		for range changes {
			at += (after - at) * s.rng.Float64()
			s.wall.changes = append(s.wall.changes, wallChange{at, sign(s.rng) * logUniform(s.rng, 1e-9, 0.1), 0})
		}
		u, n := checkScene(t, seed, s, before, event, after, knows, true)
		if u {
			used++
		}
		if n {
			naive++
		}
	}
	t.Logf("kernel stamp used in %d of %d, naive mapping false in %d", used, scenes, naive)
	if used < scenes*9/10 {
		t.Errorf("the kernel's stamp was used in %d of %d only: a slewed clock is no reason to refuse it", used, scenes)
	}
	if naive < scenes/10 {
		t.Errorf("the scenes prove nothing: naive mapping false in %d", naive)
	}
}

// TestMapperStepSeen: a step larger than the brackets is named as such.
func TestMapperStepSeen(t *testing.T) {
	for seed := range uint64(2000) {
		s, before, event, after := newScene(seed)
		s.wall.changes = []wallChange{{math.Inf(-1), 0, 0}, {event - 90, 0, logUniform(s.rng, 1e3, 1e9)}}
		b, _ := s.bracket(before, true, true)
		stamp, _ := s.wall.read(event)
		a, _ := s.bracket(after, true, true)
		if _, code := s.mapper().Map(stamp, &b, &a); code != reason.ClockStepped {
			t.Fatalf("seed %d: code %v", seed, code)
		}
	}
}

// TestMapperQueued: the bracket "before" was really taken after the arrival, and a set-back clock hides it.
func TestMapperQueued(t *testing.T) {
	used := 0
	for seed := range uint64(scenes) {
		s, event, before, after := newScene(seed) // event and before change places
		step := 0.0
		if s.rng.IntN(4) > 0 {
			step = sign(s.rng) * logUniform(s.rng, 1, 3e8)
		}
		s.wall.changes = []wallChange{{math.Inf(-1), 0, 0}, {event + (before-event)*s.rng.Float64(), 0, step}}
		b, _ := s.bracket(before, true, true)
		after += 200
		stamp, _ := s.wall.read(event)
		seen := s.counter(after)
		a, _ := s.bracket(after, true, true)
		r, code := s.mapper().Arrival(stamp, &b, &a, seen)
		if truth := s.counter(event); r.NotAfter().Before(truth) {
			t.Fatalf("seed %d: arrival claimed %d ticks too early (%v)", seed, truth.Sub(r.NotAfter()), code)
		}
		if b.Realtime > stamp && r.Kind != StampUser {
			t.Fatalf("seed %d: a stamp from before the first bracket was used", seed)
		}
		if r.Kind == StampKernel {
			used++
		}
	}
	if used == 0 {
		t.Error("no set-back clock hid the order: the test proves nothing")
	}
}

// TestMapperQuiet: on a quiet clock the stamp is narrow: no wider than the brackets and a per mille of the window.
func TestMapperQuiet(t *testing.T) {
	for seed := range uint64(5000) {
		s, before, event, after := newScene(seed)
		s.perNano = 2.1
		s.wall.changes = []wallChange{{math.Inf(-1), 20e-6, 0}}
		b, _ := s.bracket(before, true, true)
		stamp, _ := s.wall.read(event)
		a, _ := s.bracket(after, true, true)
		m := NewRealtimeMapper(Frequency{Hertz: 2.1e9})
		r, code := m.Arrival(stamp, &b, &a, s.counter(after))
		limit := 2.1 * (3*180 + 2*1.1e-3*min(event-before, after-event))
		if code != reason.OK || float64(r.Error) > limit {
			t.Fatalf("seed %d: %v, error %d ticks over %.0f", seed, code, r.Error, limit)
		}
		if off := math.Abs(float64(r.At.Sub(s.counter(event)))); off > limit {
			t.Fatalf("seed %d: estimate off by %.0f ticks", seed, off)
		}
	}
}

// TestMapperExtremes: no input, however absurd, gives a stamp beyond the user's or panics.
func TestMapperExtremes(t *testing.T) {
	values := []int64{math.MinInt64, -1, 0, 1, 1e9, 1.7e18, math.MaxInt64 - 1, math.MaxInt64}
	m := NewRealtimeMapper(Frequency{Hertz: 3e9})
	for _, r := range values {
		for _, rb := range values {
			for _, ra := range values {
				for _, width := range []Ticks{0, 100, 1 << 62, math.MaxUint64} {
					b := Bracket{Low: 5, High: 5 + width, Realtime: rb, HasMonotonic: rb%2 == 0}
					a := Bracket{Low: 1000, High: 1000 + width, Realtime: ra, HasMonotonic: true, Slew: math.NaN()}
					s, code := m.Arrival(r, &b, &a, 1000)
					if Ticks(1000).Before(s.NotAfter()) {
						t.Errorf("arrival %d %d %d %d: not after %d (%v)", r, rb, ra, width, s.NotAfter(), code)
					}
					d, code := m.Departure(r, &b, &a, 100, 1000)
					if d.NotBefore().Before(100) {
						t.Errorf("departure %d %d %d %d: not before %d (%v)", r, rb, ra, width, d.NotBefore(), code)
					}
				}
			}
		}
	}
}

// TestHistory: the bracket found is the newest not after the stamp, until it is forgotten.
func TestHistory(t *testing.T) {
	h := bracketHistory{spacing: 1000}
	if h.find(1) != nil {
		t.Fatal("an empty history found something")
	}
	for i := int64(1); i <= 1000; i++ {
		h.push(&Bracket{Low: Ticks(i * 500), Realtime: i * 10})
	}
	if b := h.find(10000); b == nil || b.Realtime != 10000 {
		t.Errorf("the last bracket was not found: %+v", b)
	}
	if b := h.find(9999); b == nil || b.Realtime != 9990 && b.Realtime != 9980 {
		t.Errorf("stamp 9999: %+v", b)
	}
	oldest := int64(10000 - (historyLength-1)*20 - 20)
	if b := h.find(oldest + 40); b == nil || b.Realtime > oldest+40 || b.Realtime < oldest {
		t.Errorf("an old stamp: %+v", b)
	}
	if b := h.find(100); b != nil {
		t.Errorf("a forgotten bracket was found: %+v", b)
	}
}
