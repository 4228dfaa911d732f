package agreement

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// bench is one member with peers that are made up: raw times of all hosts are the same, readings are exact but for a half-width.
type bench struct {
	t        testing.TB
	g        *Group
	raw      virtualclock.Time
	offset   []float64 // of the peers' target clocks from raw
	readings []Reading
	states   []State
	half     float64
}

var benchStart = virtualclock.Unix(1_764_000_000_000_000_000, 0)

func newBench(t testing.TB, c Config) *bench {
	b := &bench{t: t, raw: benchStart, half: 50e-6}
	g, err := New(c, 1, b.raw, b.raw)
	if err != nil {
		t.Fatal(err)
	}
	b.g = g
	b.offset, b.readings, b.states = make([]float64, c.Members-1), make([]Reading, c.Members-1), make([]State, c.Members-1)
	for i := range b.states {
		b.states[i] = State{Era: uint64(i + 2), Version: 1}
	}
	return b
}

// publish makes all peers' states for raw time b.raw: in rounds, or forming, as the member is.
func (b *bench) publish() {
	own := b.g.State()
	for i := range b.states {
		s := &b.states[i]
		old := *s
		m := Map{Ref: benchStart, Base: benchStart.AddSeconds(b.offset[i])}
		s.Current, s.Previous = m, m
		s.Status, s.Round = Sync, b.g.number(m.At(b.raw))
		if own.Status == Init {
			s.Status, s.Round = Init, own.Round
		}
		if s.Status != old.Status || s.Current != old.Current {
			s.Epoch++
		}
		if *s != old {
			s.Version++
		}
		b.readings[i] = Reading{Known: true, Era: s.Era, Low: -b.half, High: b.half, RateStd: 1e-9}
	}
}

// deliver gives the member all states.
func (b *bench) deliver() {
	b.t.Helper()
	for i := range b.states {
		if code := b.g.Receive(b.raw, i, &b.states[i]); code != reason.OK {
			b.t.Fatalf("the state of peer %d: %v", i, code)
		}
	}
}

// step goes to the next due time and makes the round, after change has had its way.
func (b *bench) step(change func()) *Outcome {
	b.t.Helper()
	b.raw = b.g.Due()
	b.publish()
	if change != nil {
		change()
	}
	b.deliver()
	return b.g.Round(b.raw, b.readings, External{})
}

// settle brings the member into the group.
func (b *bench) settle() *bench {
	b.t.Helper()
	for range 100 {
		b.step(nil)
		if b.g.Interval(b.raw).Status == virtualclock.Synchronised {
			return b
		}
	}
	b.t.Fatalf("never in: %+v", b.g.outcome)
	return b
}

func TestVerdicts(t *testing.T) {
	cases := map[string]struct {
		change func(b *bench)
		want   reason.Code
		used   bool
	}{
		"fine":        {func(*bench) {}, reason.OK, true},
		"not read":    {func(b *bench) { b.readings[2].Known = false }, reason.PeerSilent, false},
		"no interval": {func(b *bench) { b.readings[2].High = math.Inf(1) }, reason.PeerSilent, false},
		"NaN":         {func(b *bench) { b.readings[2].Offset = math.NaN() }, reason.PeerSilent, false},
		"old era":     {func(b *bench) { b.readings[2].Era = 99 }, reason.PeerRestarted, false},
		"joining":     {func(b *bench) { b.states[2].Status = Join; b.states[2].Version++ }, reason.PeerJoining, false},
		"forming":     {func(b *bench) { b.states[2].Status = Init; b.states[2].Version++ }, reason.PeerJoining, false},
		"behind":      {func(b *bench) { b.states[2].Round -= 2; b.states[2].Epoch++; b.states[2].Version++ }, reason.PeerRound, false},
		"ahead":       {func(b *bench) { b.states[2].Round += 2; b.states[2].Version++ }, reason.PeerRound, false},
		"wide":        {func(b *bench) { b.readings[2].Low, b.readings[2].High = -1e-3, 1e-3 }, reason.PeerTooWide, true},
		"far":         {func(b *bench) { b.readings[2].Low, b.readings[2].High, b.readings[2].Offset = 0.01, 0.01, 0.01 }, reason.PeerOutlier, true},
	}
	for name, c := range cases {
		b := newBench(t, testConfig(5, 1, IntervalMidpoint)).settle()
		o := b.step(func() { c.change(b) })
		if v := o.Verdicts[2]; v.Reason != c.want || v.Used != c.used || o.Kind != Adjusted || o.Verdicts[1].Reason != reason.OK {
			t.Errorf("%s: %+v in %+v", name, v, o)
		}
		if (o.Margin == 1) != (c.want == reason.OK) || o.Margin < 0 {
			t.Errorf("%s: the margin is %d", name, o.Margin)
		}
		if math.Abs(o.Adjustment) > 1e-9 {
			t.Errorf("%s: one of five moved the clock by %g s", name, o.Adjustment)
		}
	}
}

func TestSkips(t *testing.T) {
	silent := func(b *bench, n int) {
		for i := range n {
			b.readings[i].Known = false
		}
	}
	cases := map[string]struct {
		change func(b *bench)
		want   reason.Code
		status virtualclock.Status
		kind   Kind
	}{
		"three of six silent":   {func(b *bench) { silent(b, 3) }, reason.TooFewPeers, virtualclock.Holdover, Skipped},
		"two of six silent":     {func(b *bench) { silent(b, 2) }, reason.OK, virtualclock.Synchronised, Adjusted},
		"three of six too wide": {func(b *bench) { widen(b, 3) }, reason.ReadingsTooWide, virtualclock.Holdover, Skipped},
		"two of six too wide":   {func(b *bench) { widen(b, 2) }, reason.OK, virtualclock.Synchronised, Adjusted},
		"three of six far off":  {func(b *bench) { move(b, 3, 0.01) }, reason.TooManyLiars, virtualclock.Unsynchronised, Skipped},
		"late":                  {func(b *bench) { b.raw = b.raw.AddSeconds(0.2) }, reason.RoundLate, virtualclock.Holdover, Skipped},
	}
	for name, c := range cases {
		b := newBench(t, testConfig(7, 2, IntervalMidpoint)).settle()
		o := b.step(func() { c.change(b) })
		i := b.g.Interval(b.raw)
		if o.Kind != c.kind || o.Reason != c.want || i.Status != c.status {
			t.Errorf("%s: %v %v %v, the interval is %v (%v)", name, o.Kind, o.Reason, o.Status, i.Status, i.Reason)
		}
		if p := b.g.Promised(); o.Kind == Skipped && (o.Adjustment != 0 || i.FarEdge < p.Precision+b.g.config.ReadingError) {
			t.Errorf("%s: adjusted by %g, and the others are said to be within %g s", name, o.Adjustment, i.FarEdge)
		}
	}
	// More missing than may be faulty, but a quorum: contained, and nothing claimed but what was promised before.
	b := newBench(t, testConfig(7, 1, IntervalMidpoint)).settle()
	if o := b.step(func() { silent(b, 3) }); o.Kind != Adjusted || o.Reason != reason.TooFewPeers || o.Margin >= 0 || b.g.Interval(b.raw).Status != virtualclock.Holdover {
		t.Errorf("three of six silent with f = 1: %+v", o)
	}
}

func widen(b *bench, n int) {
	for i := range n {
		b.readings[i].Low, b.readings[i].High = -1e-3, 1e-3
	}
}

func move(b *bench, n int, by float64) {
	for i := range n {
		r := &b.readings[i]
		r.Low, r.High, r.Offset = r.Low+by, r.High+by, r.Offset+by
	}
}

// TestAdjustmentLimit: the group asks for more than a correct clock can need. It is not followed; three times in a row, and the member takes
// itself for lost and enters anew, with a step.
func TestAdjustmentLimit(t *testing.T) {
	c := testConfig(7, 2, IntervalMidpoint)
	b := newBench(t, c).settle()
	for i := range b.offset {
		b.offset[i] += b.g.Promised().Adjustment + 3*c.ReadingError
	}
	epoch := b.g.State().Epoch
	for i := range strikes {
		o := b.step(nil)
		if o.Kind != Skipped || o.Reason != reason.TooManyLiars && o.Reason != reason.AdjustmentLimit {
			t.Fatalf("strike %d: %+v", i, o)
		}
		if i := b.g.Interval(b.raw); i.Status != virtualclock.Unsynchronised {
			t.Errorf("it claims %v", i.Status)
		}
	}
	if s := b.g.State().Status; s != Join {
		t.Fatalf("after %d strikes it is in status %v", strikes, s)
	}
	o := b.step(nil)
	if o.Kind != Joined || !o.Step || math.Abs(o.Adjustment-b.offset[0]) > 1e-9 || b.g.State().Epoch != epoch+1 {
		t.Errorf("it did not enter: %+v", o)
	}
	if o = b.step(nil); o.Kind != Adjusted || o.Status != Sync || b.g.Interval(b.raw).Status != virtualclock.Synchronised {
		t.Errorf("its first round: %+v", o)
	}
}

// TestJoinWantsAgreement: peers that do not agree among themselves are not entered.
func TestJoinWantsAgreement(t *testing.T) {
	b := newBench(t, testConfig(7, 2, IntervalMidpoint))
	b.raw = b.raw.AddSeconds(1)
	b.publish()
	for i := range b.states {
		b.states[i].Status, b.states[i].Round = Sync, b.g.number(b.raw)
		move(b, i+1, 0.05)
	}
	b.deliver()
	o := b.g.Round(b.raw, b.readings, External{})
	if o.Kind != Idle || o.Reason != reason.TooManyLiars || o.Status != Join {
		t.Errorf("it entered a group that is apart by %g s: %+v", 0.05, o)
	}
}

func TestReceive(t *testing.T) {
	b := newBench(t, testConfig(4, 1, IntervalMidpoint)).settle()
	good := b.states[0]
	change := func(f func(s *State)) *State {
		s := good
		f(&s)
		return &s
	}
	type step struct {
		s    *State
		want reason.Code
	}
	for name, steps := range map[string][]step{
		"twice":          {{&good, reason.OK}, {&good, reason.OK}},
		"rate":           {{change(func(s *State) { s.Current.Rate = 1e-3 }), reason.PeerMalformed}},
		"NaN":            {{change(func(s *State) { s.Previous.Rate = math.NaN() }), reason.PeerMalformed}},
		"status":         {{change(func(s *State) { s.Status = 9 }), reason.PeerMalformed}},
		"no version":     {{change(func(s *State) { s.Version = 0 }), reason.PeerMalformed}},
		"external":       {{change(func(s *State) { s.External = External{Known: true, Low: 1} }), reason.PeerMalformed}},
		"other era":      {{change(func(s *State) { s.Era++ }), reason.PeerRestarted}, {change(func(s *State) { s.Era++ }), reason.OK}},
		"old comes late": {{change(func(s *State) { s.Version += 5; s.Round++ }), reason.OK}, {&good, reason.OK}},
		"two stories of one version": {
			{change(func(s *State) { s.Current.Base = s.Current.Base.Add(time.Nanosecond) }), reason.PeerEquivocates}, {&good, reason.PeerEquivocates},
		},
		"the past rewritten": {
			{change(func(s *State) {
				s.Version++
				s.Round++
				s.Previous.Base = s.Previous.Base.Add(time.Nanosecond)
			}), reason.PeerEquivocates},
		},
		"the present rewritten": {{change(func(s *State) { s.Version++; s.Current.Rate = 0; s.Current.Base = s.Current.Base.Add(1) }), reason.PeerEquivocates}},
		"back a round":          {{change(func(s *State) { s.Version++; s.Round-- }), reason.PeerEquivocates}},
		"back an epoch":         {{change(func(s *State) { s.Version++; s.Epoch-- }), reason.PeerEquivocates}},
		"an honest step": {{change(func(s *State) {
			s.Version++
			s.Epoch++
			s.Round -= 7
			s.Current.Base = s.Current.Base.Add(time.Second)
		}), reason.OK}},
	} {
		g := newBench(t, testConfig(4, 1, IntervalMidpoint)).settle().g
		g.peers[0] = peer{}
		if code := g.Receive(b.raw, 0, &good); code != reason.OK {
			t.Fatalf("%s: %v", name, code)
		}
		for i, s := range steps {
			if code := g.Receive(b.raw, 0, s.s); code != s.want {
				t.Errorf("%s, step %d: %v, want %v", name, i, code, s.want)
			}
		}
	}
	if code := b.g.Receive(b.raw, 17, &good); code != reason.PeerMalformed {
		t.Errorf("a peer that does not exist: %v", code)
	}
}

func TestHear(t *testing.T) {
	b := newBench(t, testConfig(4, 1, IntervalMidpoint)).settle()
	s := b.states[1]
	other := s
	other.Current.Base = other.Current.Base.Add(1)
	for name, c := range map[string]struct {
		subject int
		s       State
		want    reason.Code
	}{
		"the same story": {1, s, reason.OK},
		"another story":  {1, other, reason.PeerEquivocates},
		"nobody":         {9, s, reason.PeerMalformed},
	} {
		if code := b.g.Hear(c.subject, s.Era, s.Version, c.s.Digest()); code != c.want {
			t.Errorf("%s: %v", name, code)
		}
	}
	if code := b.g.Hear(1, s.Era, s.Version+1, other.Digest()); code != reason.OK {
		t.Errorf("of another version: %v", code)
	}
	fields := []func(*State){
		func(s *State) { s.Era++ }, func(s *State) { s.Version++ }, func(s *State) { s.Epoch++ }, func(s *State) { s.Status++ }, func(s *State) { s.Round++ },
		func(s *State) { s.Current.Ref = s.Current.Ref.Add(1) }, func(s *State) { s.Previous.Rate += 1e-9 }, func(s *State) { s.External.Known = true },
	}
	for i, f := range fields {
		x := s
		if f(&x); x.Digest() == s.Digest() {
			t.Errorf("the digest does not cover field %d", i)
		}
	}
}

func TestConfigCheck(t *testing.T) {
	good := testConfig(7, 2, IntervalMidpoint)
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*Config)
		says   string
	}{
		"one member":      {func(c *Config) { c.Members = 1 }, "2 to 1000 members"},
		"too many liars":  {func(c *Config) { c.Faults = 3 }, "at least 3f+1"},
		"no period":       {func(c *Config) { c.Period = 0 }, "period"},
		"no error":        {func(c *Config) { c.ReadingError = 0 }, "reading error"},
		"no drift":        {func(c *Config) { c.Drift = 0 }, "drift"},
		"late":            {func(c *Config) { c.Lateness = 0.5 }, "lateness"},
		"C1":              {func(c *Config) { c.PublicationDelay = 0.5 }, "condition C1"},
		"short slew":      {func(c *Config) { c.Slew = 1e-3 }, "cannot be slewed"},
		"gain":            {func(c *Config) { c.Gain = 2 }, "gain"},
		"weak pull":       {func(c *Config) { c.Gain, c.Clamp, c.ExternalFaults = 0.1, 1e-6, -1 }, "too weak"},
		"short forming":   {func(c *Config) { c.InitRound = 0.1 }, "publication delay"},
		"many bad master": {func(c *Config) { c.Gain, c.ExternalFaults = 0.1, 5 }, "external model"},
	} {
		bad := good
		c.change(&bad)
		if err := bad.Check(); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := New(bad, 1, benchStart, benchStart); err == nil {
			t.Errorf("%s: a group was made all the same", name)
		}
	}
	auto := good
	auto.Faults = -1
	if m := auto.Model(); m.Faults != 2 {
		t.Errorf("f for 7 is %d", m.Faults)
	}
}

// TestRoundDoesNotAllocate: neither rounds nor the states of peers nor reads cost memory.
func TestRoundDoesNotAllocate(t *testing.T) {
	for _, a := range []Algorithm{IntervalMidpoint, Average, Egocentric} {
		c := testConfig(10, 3, a)
		c.RateLimit, c.Gain, c.Clamp, c.ExternalFaults = 50e-6, 0.125, 0.04, -1
		c.Slew, c.Period = 1.2, 2*time.Second
		b := newBench(t, c).settle()
		e := External{Known: true, Low: -1e-4, High: 1e-4}
		if n := testing.AllocsPerRun(200, func() {
			b.raw = b.g.Due()
			b.publish()
			for i := range b.states {
				b.g.Receive(b.raw, i, &b.states[i])
			}
			e.At, e.Base = b.raw, b.raw
			b.g.Round(b.raw, b.readings, e)
			b.g.Interval(b.raw)
			b.g.UTC(b.raw)
		}); n != 0 {
			t.Errorf("%v: %g allocations per round", a, n)
		}
		if b.g.outcome.Kind != Adjusted || b.g.outcome.Masters != 1 {
			t.Errorf("%v: %+v", a, b.g.outcome)
		}
	}
}

// TestSymmetry: relabelling the peers changes nothing.
func TestSymmetry(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 30))
		perm := rng.Perm(6)
		a, b := newBench(t, testConfig(7, 2, IntervalMidpoint)).settle(), newBench(t, testConfig(7, 2, IntervalMidpoint)).settle()
		for range 5 {
			var by, wide [6]float64
			for i := range by {
				by[i], wide[i] = rng.NormFloat64()*1e-4, rng.Float64()*1e-4
			}
			apply := func(x *bench, at func(int) int) func() {
				return func() {
					for i := range 6 {
						r := &x.readings[at(i)]
						r.Offset, r.Low, r.High = r.Offset+by[i], r.Low+by[i]-wide[i], r.High+by[i]+wide[i]/2
					}
				}
			}
			o := *a.step(apply(a, func(i int) int { return i }))
			p := b.step(apply(b, func(i int) int { return perm[i] }))
			if o.Adjustment != p.Adjustment || o.Trimmed != p.Trimmed || o.Epsilon != p.Epsilon || o.Kind != p.Kind {
				t.Fatalf("seed %d: relabelled %+v became %+v", seed, o, *p)
			}
		}
	}
}

// FuzzGroup feeds a member with states and readings that no correct peer has: it never panics, its clock stays on the timeline and its
// interval stays ordered.
func FuzzGroup(f *testing.F) {
	for seed := range uint64(16) {
		f.Add(seed, uint8(seed))
	}
	f.Fuzz(func(t *testing.T, seed uint64, flags uint8) {
		rng := rand.New(rand.NewPCG(seed, 31))
		c := testConfig(4+int(flags%4), 1, Algorithm(flags>>3)%algorithms)
		c.RateLimit = 50e-6
		if flags&4 != 0 && c.Algorithm != Egocentric {
			c.Gain, c.ExternalFaults = 0.1, -1
		}
		b := newBench(t, c)
		if flags&128 != 0 {
			b.settle()
		}
		wild := func() virtualclock.Time {
			switch rng.IntN(4) {
			case 0:
				return virtualclock.MinTime()
			case 1:
				return virtualclock.Unix(int64(rng.Uint64()), rng.Uint32())
			}
			return b.raw.AddSeconds(rng.NormFloat64())
		}
		number := func() float64 {
			switch rng.IntN(5) {
			case 0:
				return math.Inf(1 - 2*rng.IntN(2))
			case 1:
				return math.NaN()
			case 2:
				return math.MaxFloat64
			}
			return rng.NormFloat64() * math.Pow(10, float64(rng.IntN(24)-12))
		}
		for range 40 {
			b.raw = b.g.Due().AddSeconds(float64(rng.IntN(2)) * rng.ExpFloat64())
			b.publish()
			for i := range b.states {
				s := b.states[i]
				if rng.IntN(2) == 0 {
					s = State{
						Era: s.Era + uint64(rng.IntN(2)), Version: rng.Uint64N(50), Epoch: rng.Uint32N(3), Status: Status(rng.IntN(5)),
						Round: b.g.next + int64(rng.IntN(5)-2), Current: Map{wild(), wild(), 1e-5 * rng.NormFloat64()}, Previous: Map{wild(), wild(), 0},
						External: External{Known: true, At: wild(), Base: wild(), Low: number(), High: number(), Rate: number()},
					}
					if rng.IntN(3) == 0 {
						s.Round = int64(rng.Uint64())
					}
				}
				b.g.Receive(b.raw, i, &s)
				if rng.IntN(3) == 0 {
					b.readings[i] = Reading{rng.IntN(4) > 0, s.Era, number(), number(), number(), number(), number()}
				}
			}
			o := b.g.Round(b.raw, b.readings[:rng.IntN(len(b.readings)+1)], External{Known: true, At: wild(), Base: wild(), Low: -math.Abs(number()), High: math.Abs(number())})
			if math.IsNaN(o.Adjustment) || math.IsInf(o.Adjustment, 0) {
				t.Fatalf("adjusted by %g: %+v", o.Adjustment, o)
			}
			if i := b.g.Interval(b.raw); i.Latest.Before(i.Earliest) || i.Status.Sound() && math.IsNaN(i.FarEdge) {
				t.Fatalf("the interval is %+v", i)
			}
			if r := b.g.State().Current.Rate; !(math.Abs(r) <= c.RateLimit) {
				t.Fatalf("the rate is %g", r)
			}
			if !b.raw.Before(b.g.Due()) {
				t.Fatalf("the next round is due at %v, before now %v: %+v", b.g.Due(), b.raw, o)
			}
		}
	})
}

// TestPeerIsAhead: of a peer that has made this round already, the clock of the round before counts.
func TestPeerIsAhead(t *testing.T) {
	b := newBench(t, testConfig(5, 1, IntervalMidpoint)).settle()
	o := b.step(func() {
		for i := range b.states {
			s := &b.states[i]
			s.Current.Base = s.Current.Base.AddSeconds(80e-6)
		}
	})
	for _, v := range o.Verdicts {
		if v.Reason != reason.OK || math.Abs(v.Centre) > 1e-9 {
			t.Errorf("in the mixed window: %+v", v)
		}
	}

	b = newBench(t, testConfig(4, 1, IntervalMidpoint))
	b.raw = benchStart.AddSeconds(1.5)
	b.publish()
	for i := range b.states {
		b.states[i].Round = 1
		b.states[i].Previous.Base = b.states[i].Previous.Base.AddSeconds(7)
	}
	b.deliver()
	if o := b.g.Round(b.raw, b.readings, External{}); o.Kind != Formed || math.Abs(o.Verdicts[0].Centre-7) > 1e-9 {
		t.Errorf("forming: %+v", o)
	}
	// And this member publishes its own clock of the round before.
	if s := b.g.State(); math.Abs(s.Previous.At(b.raw).Seconds(b.raw)) > 1e-9 || math.Abs(s.Current.At(b.raw).Seconds(b.raw)) < 1 {
		t.Errorf("after forming it publishes %+v", s)
	}
}

func TestFormingWaits(t *testing.T) {
	for name, c := range map[string]struct {
		change func(b *bench)
		want   reason.Code
	}{
		"too wide":   {func(b *bench) { widen(b, 2) }, reason.ReadingsTooWide},
		"too few":    {func(b *bench) { b.readings[0].Known, b.readings[1].Known = false, false }, reason.TooFewPeers},
		"not heard":  {func(b *bench) { b.g.peers = make([]peer, 3) }, reason.TooFewPeers},
		"not yet":    {func(b *bench) { b.raw = b.raw.AddSeconds(-1.2) }, reason.GroupForming},
		"long since": {func(b *bench) { b.raw = b.raw.AddSeconds(30) }, reason.TooFewPeers},
	} {
		b := newBench(t, testConfig(4, 1, IntervalMidpoint))
		b.raw = benchStart.AddSeconds(1.5)
		b.publish()
		b.deliver()
		c.change(b)
		if o := b.g.Round(b.raw, b.readings, External{}); o.Kind != Idle || o.Reason != c.want || b.g.Interval(b.raw).Status != virtualclock.Unsynchronised {
			t.Errorf("%s: %+v", name, o)
		}
	}
}

// TestWideOnCentres: functions of centres leave out what is too wide, since they would not trim it.
func TestWideOnCentres(t *testing.T) {
	for _, a := range []Algorithm{Midpoint, Average, Egocentric} {
		c := testConfig(5, 1, a)
		c.ReadingError = 100e-6
		b := newBench(t, c).settle()
		if o := b.step(func() { widen(b, 1) }); o.Verdicts[0].Used || o.Verdicts[0].Reason != reason.PeerTooWide || o.Kind != Adjusted || o.Margin != 0 {
			t.Errorf("%v: %+v", a, o)
		}
	}
}

// TestRateLeaks: the group's common rate, which nobody can measure, decays.
func TestRateLeaks(t *testing.T) {
	c := testConfig(5, 1, IntervalMidpoint)
	c.RateLimit = 50e-6
	b := newBench(t, c).settle()
	b.step(func() {
		for i := range b.states {
			b.readings[i].Rate = 20e-6
		}
	})
	if r := b.g.State().Current.Rate; math.Abs(r-20e-6*(1-rateLeak)) > 1e-12 {
		t.Errorf("with peers that are 20 ppm faster the rate is %g", r)
	}
	b.step(func() {
		for i := range b.states {
			b.readings[i].Rate = 90e-6
		}
	})
	if r := b.g.State().Current.Rate; r != c.RateLimit {
		t.Errorf("with peers that are 90 ppm faster the rate is %g", r)
	}
	old := b.g.State().Current.Rate
	b.step(func() {
		for i := range b.states {
			b.readings[i].RateStd = 1e-5
		}
	})
	if r := b.g.State().Current.Rate; r != old {
		t.Errorf("with rates that are not known well the rate became %g", r)
	}
}

// TestMastersDisagree: estimates of UTC of which more than f_e must be false give no interval of UTC.
func TestMastersDisagree(t *testing.T) {
	c := testConfig(4, 1, IntervalMidpoint)
	c.Gain, c.ExternalFaults = 0.125, -1
	for _, apart := range []float64{0, 0.01} {
		b := newBench(t, c).settle()
		at := func(i int) External {
			return External{Known: true, At: b.raw, Base: b.raw.AddSeconds(apart * float64(i)), Low: -1e-4, High: 1e-4}
		}
		b.step(func() {
			for i := range b.states {
				s := &b.states[i]
				s.External, s.ExternalPrevious = at(i), at(i)
				s.Version++
				s.Epoch++
			}
		})
		i, ok := b.g.UTC(b.raw)
		if ok != (apart == 0) || ok && (!i.Contains(0) || i.HalfWidth() > 2e-4) || b.g.outcome.Masters != 3 || !ok && b.g.outcome.Pull != 0 {
			t.Errorf("estimates %g s apart: UTC in %v (%v), %+v", apart, i, ok, b.g.outcome)
		}
	}
}

func TestNames(t *testing.T) {
	for k, want := range map[interface{ String() string }]string{
		Idle: "idle", Formed: "formed", Joined: "joined", Adjusted: "adjusted", Skipped: "skipped",
		Init: "init", Join: "join", Sync: "sync", Holdover: "holdover", Status(7): "status_7",
	} {
		if k.String() != want {
			t.Errorf("%q is called %q", want, k.String())
		}
	}
	if a, _ := Joined.MarshalText(); string(a) != "joined" {
		t.Errorf("%s", a)
	}
	if a, _ := Sync.MarshalText(); string(a) != "sync" {
		t.Errorf("%s", a)
	}
}

// TestNumber: rounds are numbered alike before and after the epoch of the timeline.
func TestNumber(t *testing.T) {
	g := newBench(t, testConfig(4, 1, IntervalMidpoint)).g
	for ns, want := range map[int64]int64{0: 0, 999_999_999: 0, 1_000_000_000: 1, -1: -1, -1_000_000_000: -1, -1_000_000_001: -2} {
		if k := g.number(virtualclock.Unix(ns, 0)); k != want || g.instant(k).After(virtualclock.Unix(ns, 0)) {
			t.Errorf("%d ns is in round %d, want %d", ns, k, want)
		}
	}
	if c := g.Config(); c.Slew != 0.4 || c.Lateness != 0.125 || c.InitRound != 1 {
		t.Errorf("the defaults are %+v", c)
	}
}
