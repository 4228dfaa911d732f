package adversary

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/peerwire"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/agreement"
	"github.com/clockd/clockd/virtualclock"
)

// view is a Sight of clocks that stand where a test puts them. The last ones lie.
type view struct {
	now    float64
	clocks []float64
	liars  int
	config agreement.Config
}

func (v *view) Now() float64             { return v.now }
func (v *view) Members() int             { return len(v.clocks) }
func (v *view) Config() agreement.Config { return v.config }
func (v *view) Correct() (all []int) {
	for i := range len(v.clocks) - v.liars {
		all = append(all, i)
	}
	return all
}

func (v *view) Ahead(member, of int) (float64, bool) {
	x := v.clocks[member] - v.clocks[of]
	return x, !math.IsNaN(x)
}

func newView(liars int, clocks ...float64) *view {
	return &view{clocks: clocks, liars: liars, config: agreement.Config{
		Members: len(clocks), Faults: liars, Period: time.Second, Drift: 50e-6, RateLimit: 50e-6, ReadingError: 150e-6, PublicationDelay: 0.2,
	}}
}

// honest is what a member in sync tells in its k-th round.
func honest(k int64) peerwire.Answer {
	at := func(k int64) virtualclock.Time { return virtualclock.Unix(1_764_000_000_000_000_000+k*1e9, 0) }
	return peerwire.Answer{
		State: agreement.State{
			Era: 77, Version: uint64(k), Epoch: 3, Status: agreement.Sync, Round: 1_764_000_000 + k,
			Current: agreement.Map{Ref: at(k), Base: at(k)}, Previous: agreement.Map{Ref: at(k - 1), Base: at(k - 1)},
		},
		Receive: at(k).AddSeconds(0.25), Transmit: at(k).AddSeconds(0.2501),
	}
}

func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for _, d := range Names() {
		if seen[d.Name] || d.Name == "" || d.Summary == "" || strings.ContainsAny(d.Name, " @") {
			t.Errorf("%+v is not a good name and summary", d)
		}
		seen[d.Name] = true
		if _, err := New(d.Name, 1); err != nil {
			t.Error(err)
		}
		if _, err := New(d.Name+"@12.5", 1); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"silent", "random", "stuck", "fast", "jumping", "two-faced", "drag", "wide", "replayed-era", "colluding", "sleeper"} {
		if !seen[name] {
			t.Errorf("%s is missing (issue 4)", name)
		}
	}
	_, err := New("nobody", 1)
	if err == nil || !strings.Contains(err.Error(), "two-faced") {
		t.Errorf("the error does not list the names: %v", err)
	}
	for _, name := range []string{"drag@", "drag@-1", "drag@NaN", "drag@x"} {
		if _, err := New(name, 1); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestMix(t *testing.T) {
	all, err := Mix([]string{"silent", "drag"}, 3, 5)
	if err != nil || len(all) != 3 {
		t.Fatalf("%v, %v", all, err)
	}
	a := honest(1)
	for i, want := range []bool{false, true, false} {
		if got := all[i].Answer(newView(1, 0, 1, 2, 3), 3, 0, &a); got != want {
			t.Errorf("liar %d: answers %v", i, got)
		}
	}
	if _, err := Mix(nil, 1, 5); err == nil {
		t.Error("liars of no sort: no error")
	}
	if _, err := Mix([]string{"x"}, 1, 5); err == nil {
		t.Error("unknown sort: no error")
	}
}

// answers is all that a liar tells three peers in 40 rounds, asked three times in each.
func answers(t *testing.T, name string, seed uint64, each func(to int, a *peerwire.Answer)) {
	t.Helper()
	l, err := New(name, seed)
	if err != nil {
		t.Fatal(err)
	}
	v := newView(1, 0, 100e-6, 250e-6, 0)
	for k := int64(1); k <= 40; k++ {
		for turn := range 3 {
			v.now = float64(k) + 0.3*float64(turn)
			v.clocks[1] = 100e-6 + 1e-6*v.now
			for to := range 3 {
				if h := l.Hold(v, 3, to); !(h >= 0 && h <= 1) {
					t.Fatalf("%s holds packets for %g s", name, h)
				}
				a := honest(k)
				if l.Answer(v, 3, to, &a) {
					each(to, &a)
				}
			}
		}
	}
}

// TestOneStory: what a liar tells one peer does not contradict itself, the equivocator aside: so it is not caught by Group.Receive. And it
// is something that the wire can carry.
func TestOneStory(t *testing.T) {
	all := Names()
	for _, d := range Names() {
		// Those that shift their clocks wake up between two rounds of theirs; the others may be caught at it.
		switch d.Name {
		case "silent", "replayed-era", "equivocator", "counter", "false-group", "false-utc":
		default:
			all = append(all, Description{Name: d.Name + "@12.35"})
		}
	}
	for _, d := range all {
		caught, told := false, 0
		var members [3]*agreement.Group
		for i := range members {
			at := honest(0).State.Current.Ref
			g, err := agreement.New(newView(1, 0, 0, 0, 0).config, uint64(i+1), at, at)
			if err != nil {
				t.Fatal(err)
			}
			members[i] = g
		}
		answers(t, d.Name, 9, func(to int, a *peerwire.Answer) {
			told++
			var back peerwire.Answer
			if code := back.Decode(a.Append(nil)); code != reason.OK || back != *a {
				t.Errorf("%s: what it tells does not fit the wire: %v", d.Name, code)
			}
			switch code := members[to].Receive(a.Receive, 2, &a.State); code {
			case reason.OK, reason.PeerRestarted:
			case reason.PeerEquivocates:
				caught = true
			default:
				t.Errorf("%s: %v", d.Name, code)
			}
		})
		if want := d.Name == "equivocator"; caught != want {
			t.Errorf("%s: caught contradicting itself: %v", d.Name, caught)
		}
		if (told == 0) != (d.Name == "silent") {
			t.Errorf("%s answered %d times", d.Name, told)
		}
	}
}

// TestLies: every sort alters something, and the same seed alters it alike.
func TestLies(t *testing.T) {
	for _, d := range Names() {
		record := func(name string, seed uint64) (all []peerwire.Answer, altered bool) {
			k := 0
			answers(t, name, seed, func(_ int, a *peerwire.Answer) {
				all = append(all, *a)
				altered = altered || *a != honest(int64(k/9)+1)
				k++
			})
			return all, altered || k == 0
		}
		one, altered := record(d.Name, 4)
		same, _ := record(d.Name, 4)
		if !altered && d.Name != "sleeper" {
			t.Errorf("%s tells the truth", d.Name)
		}
		if !slices.Equal(one, same) {
			t.Errorf("%s: the same seed lies otherwise", d.Name)
		}
		if asleep, altered := record(d.Name+"@1e6", 4); altered || len(asleep) != 360 {
			t.Errorf("%s lies in its sleep", d.Name)
		}
	}
	if all, _ := New("wide", 3); all.Hold(newView(1, 0, 0, 0, 0), 3, 1) == 0 {
		t.Error("wide does not hold anything back")
	}
}

// TestSplitterKeepsApart is theory 3.6: who is behind sees the liar behind all, who is ahead sees it ahead of all, and the midpoint does not
// get nearer: with correct clocks {0, 0, d, d} the median of what each sees is its own clock.
func TestSplitterKeepsApart(t *testing.T) {
	const d = 1e-3
	v := newView(1, 0, 0, d, d, 0.4e-3)
	for _, name := range []string{"two-faced", "colluding", "sleeper@0", "two-faced@0"} {
		l, err := New(name, 1)
		if err != nil {
			t.Fatal(err)
		}
		if name == "sleeper@0" {
			v.now = SleeperWakes
		}
		for to := range 4 {
			a := honest(5)
			l.Answer(v, 4, to, &a)
			shown := v.clocks[4] + a.State.Current.Base.Seconds(honest(5).State.Current.Base)
			seen := append([]float64{shown}, v.clocks[:4]...)
			if m, _ := agreement.Median(seen, nil); math.Abs(m-v.clocks[to]) > 1e-9 {
				t.Errorf("%s: member %d at %g s is shown %g s, its median is %g s", name, to, v.clocks[to], shown, m)
			}
		}
	}
	// The egocentric average counts it as far as its radius reaches.
	v.config.Algorithm = agreement.Egocentric
	g, err := agreement.Bounds(v.config.Model())
	if err != nil {
		t.Fatal(err)
	}
	l, _ := New("two-faced", 1)
	for to, side := range []float64{-1, -1, 1, 1} {
		a := honest(5)
		l.Answer(v, 4, to, &a)
		x := v.clocks[4] + a.State.Current.Base.Seconds(honest(5).State.Current.Base) - v.clocks[to]
		if math.Abs(x-side*0.95*g.Spread) > 1e-9 {
			t.Errorf("member %d is shown a clock %g s away", to, x)
		}
	}
}

// TestUnknownClocks: a liar that cannot see the others does not invent infinities.
func TestUnknownClocks(t *testing.T) {
	nan := math.NaN()
	v := newView(1, nan, nan, nan, nan)
	for _, a := range []agreement.Algorithm{agreement.IntervalMidpoint, agreement.Egocentric} {
		v.config.Algorithm = a
		for _, d := range Names() {
			l, _ := New(d.Name, 1)
			x := honest(3)
			if l.Answer(v, 3, 1, &x) {
				var back peerwire.Answer
				if code := back.Decode(x.Append(nil)); code != reason.OK {
					t.Errorf("%s, %v: %v", d.Name, a, code)
				}
			}
		}
	}
}
