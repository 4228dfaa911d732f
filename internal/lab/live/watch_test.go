package live

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/lab/observer"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

const (
	testHertz = 1e9
	testStart = hw.Ticks(5_000_000_000)
)

// fakePage is what a host of a test publishes.
type fakePage struct {
	k       virtualclock.Coefficients
	why     reason.Code
	counter hw.Counter
}

func (p *fakePage) Coefficients() (virtualclock.Coefficients, reason.Code) { return p.k, p.why }
func (p *fakePage) Counter() hw.Counter                                    { return p.counter }

// stage is a watch of hosts whose publications the test writes.
type stage struct {
	t     *testing.T
	base  *hw.Manual
	pages []*fakePage
	*watch
}

// newStage begins to measure; the clocks are right at first, and claim 100 µs.
func newStage(t *testing.T, p Plan) *stage {
	t.Helper()
	p = p.WithDefaults()
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	s := &stage{t: t, base: hw.NewManual(hw.Frequency{Hertz: testHertz})}
	s.base.Set(testStart)
	f := &fleet{plan: &p, base: s.base, start: testStart}
	lying := map[int]bool{}
	for _, i := range p.liars() {
		lying[i] = true
	}
	var pages []observer.Page
	for i, name := range p.Nodes() {
		n := &node{number: i, name: name, master: i < p.Masters, lies: lying[i]}
		x := &fakePage{counter: s.base}
		if !n.master {
			c, err := hw.NewSkewed(s.base, oscillator(1, i, testStart, testHertz))
			if err != nil {
				t.Fatal(err)
			}
			n.skewed, x.counter = c, c
		}
		f.nodes, s.pages, pages = append(f.nodes, n), append(s.pages, x), append(pages, x)
	}
	for i := range s.pages {
		s.publish(i, 0, 100e-6, 0)
	}
	var err error
	if s.watch, err = newWatch(f, pages, nil); err != nil {
		t.Fatal(err)
	}
	s.sample()
	if err := s.begin(); err != nil {
		t.Fatal(err)
	}
	s.pass(0.01)
	return s
}

// true is the time that everybody should have.
func (s *stage) true() virtualclock.Time {
	return virtualclock.FromTime(time.Unix(1_800_000_000, 0)).AddSeconds(float64(s.base.Read()-testStart) / testHertz)
}

// publish makes node i claim its clock, which is wrong by so many seconds, within bound.
func (s *stage) publish(i int, wrong, bound float64, epoch virtualclock.Epoch) {
	p := s.pages[i]
	at, period, y := p.counter.Read(), virtualclock.PeriodOf(testHertz), 0.0
	if k, ok := p.counter.(*hw.Skewed); ok {
		y = k.FrequencyErrorAt(s.base.Read())
	}
	c := virtualclock.NewClock(period, 1e-3)
	c.SetEpoch(epoch)
	now := s.true().AddSeconds(wrong)
	c.Step(at, now, -y/(1+y))
	slow, fast := period.Scale(-y/(1+y)-1e-4), period.Scale(-y/(1+y)+1e-4)
	c.SetBounds(at, now.AddSeconds(-bound), now.AddSeconds(bound), slow, fast)
	if i >= s.masters0() && s.internal() {
		c.SetKind(virtualclock.Internal)
	}
	c.SetStatus(virtualclock.Synchronised, at.Add(100*testHertz), at.Add(200*testHertz))
	p.k = *c.Coefficients()
}

// masters0 counts the pages that have the true counter: masters.
func (s *stage) masters0() (n int) {
	for _, p := range s.pages {
		if p.counter == hw.Counter(s.base) {
			n++
		}
	}
	return n
}

func (s *stage) internal() bool { return s.masters0() == 0 }

// pass lets time pass and looks now and then.
func (s *stage) pass(seconds float64) {
	s.t.Helper()
	for left := seconds; left > 0; left -= 0.005 {
		s.base.Advance(int64(min(left, 0.005) * testHertz))
		s.sample()
		if s.err != nil {
			s.t.Fatal(s.err)
		}
	}
}

// texts are all that was found wrong.
func (s *stage) texts() string {
	var all []string
	for _, v := range s.violations {
		all = append(all, v.Clock+": "+v.Text)
	}
	return strings.Join(all, "; ")
}

// TestWatchOfClocksThatAreRight: nothing is wrong, and the figures are what was made.
func TestWatchOfClocksThatAreRight(t *testing.T) {
	s := newStage(t, Plan{Mode: ModeExternal, Hosts: 3})
	s.publish(1, 20e-6, 100e-6, 1)
	s.publish(2, -30e-6, 100e-6, 1)
	s.pass(1)
	if s.wrong != 0 || s.checked < 600 {
		t.Errorf("%d wrong of %d: %s", s.wrong, s.checked, s.texts())
	}
	r, err := s.shown.Result(s.truth.At(s.now))
	if err != nil {
		t.Fatal(err)
	}
	// The oscillators wander a little meanwhile.
	if p := r.PrecisionSeconds.Value; math.Abs(p-50e-6) > 2e-6 {
		t.Errorf("precision %g, made were 50 µs", p)
	}
	if a := r.AccuracySeconds.Value; math.Abs(a-30e-6) > 2e-6 {
		t.Errorf("accuracy %g, made were 30 µs", a)
	}
	if s.samples < 18 || s.samples > 21 {
		t.Errorf("%d evenly spaced samples of a second", s.samples)
	}
}

// TestWrongClaimsAreFound: each kind of wrong claim, and nothing else.
func TestWrongClaimsAreFound(t *testing.T) {
	external := Plan{Mode: ModeExternal, Hosts: 3}
	group := Plan{Mode: ModeInternal, Hosts: 4, Liars: 1}
	for name, x := range map[string]struct {
		plan Plan
		do   func(*stage)
		text string
	}{
		"true time is outside": {external, func(s *stage) { s.publish(2, 150e-6, 100e-6, 1) }, "h2: true time was not in the interval"},
		"for an instant": {external, func(s *stage) {
			s.publish(2, 150e-6, 100e-6, 1)
			s.pass(0.001)
			s.publish(2, 0, 100e-6, 2)
		}, "h2: true time was not in the interval"},
		"a jump":                         {external, func(s *stage) { s.publish(2, 90e-6, 100e-6, 0); s.pass(0.001); s.publish(2, -90e-6, 100e-6, 0) }, "h2: its clock jumped"},
		"two of a group miss each other": {group, func(s *stage) { s.publish(1, 300e-6, 100e-6, 1) }, "no point in common"},
		"beyond the promise":             {group, func(s *stage) { s.publish(1, 2*s.promised.Precision, 3*s.promised.Precision, 1) }, "promised precision"},
	} {
		s := newStage(t, x.plan)
		s.pass(0.1)
		if s.wrong != 0 {
			t.Fatalf("%s: wrong before: %s", name, s.texts())
		}
		x.do(s)
		s.pass(0.1)
		if s.wrong == 0 || !strings.Contains(s.texts(), x.text) {
			t.Errorf("%s: %d wrong: %.300s, want %q", name, s.wrong, s.texts(), x.text)
		}
	}
}

// TestLiarsMayClaimAnything: what a liar claims is nobody's business.
func TestLiarsMayClaimAnything(t *testing.T) {
	s := newStage(t, Plan{Mode: ModeInternal, Hosts: 4, Liars: 1})
	s.publish(3, 5, 1e-6, 1)
	s.pass(0.2)
	if s.wrong != 0 || len(s.correct) != 3 {
		t.Errorf("%s", s.texts())
	}
	if r, err := s.shown.Result(s.truth.At(s.now)); err != nil || r.PrecisionSeconds.Value > 10e-6 {
		t.Errorf("the liar counts: %v, %g", err, r.PrecisionSeconds.Value)
	}
}

// TestClaimsWithoutTruth: a host of a group without masters that says it knows true time is wrong.
func TestClaimsWithoutTruth(t *testing.T) {
	s := newStage(t, Plan{Mode: ModeInternal, Hosts: 2})
	s.pages[0].k.Kind = virtualclock.External
	s.pass(0.02)
	if s.wrong == 0 || !strings.Contains(s.texts(), "nobody does") {
		t.Errorf("%s", s.texts())
	}
}

// TestRoundsAreCounted: a round has ended when the last correct host has moved its clock; what is published without a move is no round.
func TestRoundsAreCounted(t *testing.T) {
	s := newStage(t, Plan{Mode: ModeInternal, Hosts: 4, Liars: 1})
	for round := range 5 {
		for i := range 3 {
			s.publish(i, float64(i)*1e-6+float64(round)*20e-6, 100e-6, virtualclock.Epoch(round+1))
			s.pass(0.01)
		}
		s.pass(0.4)
		k := s.pages[0].k
		k.StaleAfter++
		s.pages[0].k = k
		s.pass(0.57)
	}
	if s.roundCount != 5 {
		t.Errorf("%d rounds of 5", s.roundCount)
	}
	for _, r := range s.rounds {
		if d := r.Convergence.Float(); math.Abs(d-2e-6) > 1e-6 {
			t.Errorf("round %d: δ_v %g, made were 2 µs", r.Number, d)
		}
	}
}

// TestTheReferenceMayNotMove: true time that was set is none.
func TestTheReferenceMayNotMove(t *testing.T) {
	s := newStage(t, Plan{Mode: ModeExternal, Hosts: 2})
	s.publish(0, 1e-6, 0, 1)
	s.sample()
	if s.err == nil || !strings.Contains(s.err.Error(), "m1") {
		t.Errorf("%v", s.err)
	}
}

// TestTimesBeforeTheMeasurement: what was wrong while the clocks were synchronised for the first time is told as before 0.
func TestTimesBeforeTheMeasurement(t *testing.T) {
	s := newStage(t, Plan{Mode: ModeExternal, Hosts: 2})
	s.measuring, s.formedAt = false, testStart
	s.publish(1, 1e-3, 100e-6, 1)
	s.pass(0.004)
	s.base.Advance(testHertz)
	if err := s.begin(); err != nil {
		t.Fatal(err)
	}
	if len(s.violations) == 0 {
		t.Fatal("nothing is wrong")
	}
	for _, v := range s.violations {
		if at := v.At.Float(); at > -1 || at < -1.1 {
			t.Errorf("wrong at %g s, want a little before -1", at)
		}
	}
}
