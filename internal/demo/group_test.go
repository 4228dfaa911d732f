package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/internal/peerwire"
	"github.com/clockd/clockd/internal/sim/adversary"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/agreement"
	"github.com/clockd/clockd/virtualclock"
)

// patientGroup is a group that agrees on a busy machine with the race detector too. What it promises is less.
func patientGroup(t *testing.T, mode string, hosts, liars int, sorts string) Options {
	return Options{
		Mode: mode, Hosts: hosts, Liars: liars, Adversary: sorts, JSON: true, Seed: testkit.Seed(t), Period: 400 * time.Millisecond,
		readingError: 4 * time.Millisecond,
	}
}

// played runs a demonstration and returns its lines.
func played(t *testing.T, o Options) (seconds []Second, last Summary, err error) {
	t.Helper()
	var out bytes.Buffer
	o.Out = &out
	got, err := Run(context.Background(), o)
	if got == nil {
		t.Fatalf("Run returned %v", err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	strictly(t, lines[len(lines)-1], &last)
	for _, l := range lines[:len(lines)-1] {
		var s Second
		strictly(t, l, &s)
		seconds = append(seconds, s)
	}
	t.Logf("%s", lines[len(lines)-1])
	return seconds, last, err
}

// TestFourHostsAgreeBesideALiar is the real thing: daemons, packets, keys, and a liar who sees all clocks.
func TestFourHostsAgreeBesideALiar(t *testing.T) {
	testkit.NoLeaks(t)
	dir := ownDirectory(t)
	o := patientGroup(t, ModeInternal, 4, 1, "two-faced")
	o.For = 10 * time.Second
	seconds, last, err := played(t, o)
	if err != nil {
		t.Fatal(err)
	}
	if left := files(t, dir); len(left) != 0 {
		t.Errorf("these files were left behind: %v", left)
	}
	g := last.Group
	if last.Mode != ModeInternal || last.BoundViolations != 0 || g == nil || g.Void != nil || g.Liars != 1 || g.Faults != 1 || last.Logs != "" {
		t.Fatalf("%+v, %+v", last, g)
	}
	if last.PrecisionS == nil || last.PrecisionBoundS == nil || g.OnlineBoundS == nil || g.ConvergenceS == nil || g.EpsilonS == nil {
		t.Fatal("a figure of an agreed group is missing")
	}
	// The clocks started seconds apart.
	if *last.PrecisionS > *last.PrecisionBoundS || *last.PrecisionS > *g.OnlineBoundS || *last.PrecisionBoundS > 0.05 || *g.ConvergenceS > *g.ConvergenceBoundS {
		t.Errorf("precision %g s, promised %g, on line %g; convergence %g", *last.PrecisionS, *last.PrecisionBoundS, *g.OnlineBoundS, *g.ConvergenceS)
	}
	if last.AccuracyS != nil || last.TimeTo100usS != nil || last.Hosts[0].ErrorRMSS != nil {
		t.Error("a group without masters knows how far it is from true time")
	}
	if len(g.LiarSummaries) != 1 {
		t.Fatalf("the liars are %+v", g.LiarSummaries)
	}
	if l := g.LiarSummaries[0]; l.Name != "host4" || l.Adversary != "two-faced" || l.Altered < 10 || l.Altered > l.Answers ||
		*l.ToldLowS > -o.readingError.Seconds() || *l.ToldHighS < o.readingError.Seconds() {
		t.Errorf("the liar did not show two faces: %+v", l)
	}
	s := seconds[len(seconds)-1]
	for i, h := range s.Hosts {
		if h.Group == nil || h.Group.Liar != (i == 3) || h.Group.IntervalKind != "INTERNAL" || h.ErrorS != nil || h.BoundS == nil {
			t.Errorf("%s: %+v", h.Name, h.Group)
		}
	}
	if len(s.Group.Liars) != 1 || len(s.Group.Liars[0].ToldS) != 3 || s.PrecisionBoundS == nil {
		t.Errorf("%+v", s.Group)
	}
}

// TestAHybridBearsALiarAndAFalseMaster at once.
func TestAHybridBearsALiarAndAFalseMaster(t *testing.T) {
	testkit.NoLeaks(t)
	ownDirectory(t)
	o := patientGroup(t, ModeHybrid, 4, 1, "drag")
	o.FalseMasters, o.For = 1, 10*time.Second
	seconds, last, err := played(t, o)
	if err != nil {
		t.Fatal(err)
	}
	if last.BoundViolations != 0 || last.AccuracyS == nil || *last.AccuracyS >= falseBy/2 || last.PrecisionS == nil {
		t.Errorf("%d violations; accuracy %v, a master is false by %g s; precision %v", last.BoundViolations, last.AccuracyS, falseBy, last.PrecisionS)
	}
	s := seconds[len(seconds)-1]
	if s.Group.ToUTCS == nil || s.Group.OnlineBoundS == nil || last.Group.PromisedAccuracyS == nil {
		t.Errorf("one of the two figures of a hybrid is missing: %+v", s.Group)
	}
	for _, h := range s.Hosts {
		if h.Group.IntervalKind != "EXTERNAL" || h.ErrorS == nil || h.Group.Status == nil || *h.Group.Status == agreement.Init {
			t.Errorf("%s: %+v", h.Name, h.Group)
		}
	}
}

// TestTooManyLiarsVoidThePromise: it is allowed, said, and no failure; what is detected is shown.
func TestTooManyLiarsVoidThePromise(t *testing.T) {
	testkit.NoLeaks(t)
	ownDirectory(t)
	o := patientGroup(t, ModeInternal, 4, 2, "silent@4,silent@4")
	o.For = 12 * time.Second
	seconds, last, err := played(t, o)
	if err != nil {
		t.Fatal(err)
	}
	g := last.Group
	if g.Void == nil || last.PrecisionBoundS != nil || g.ConvergenceBoundS != nil || g.EpsilonBoundS != nil || seconds[0].PrecisionBoundS != nil {
		t.Errorf("something is promised among two liars of four: %+v", g)
	}
	// Two of four is no quorum.
	s := seconds[len(seconds)-1]
	for _, h := range s.Hosts[:2] {
		if h.Status == virtualclock.Synchronised || h.Group.Suspects["host3"] != reason.PeerSilent {
			t.Errorf("%s is %v, %v; it suspects %v", h.Name, h.Status, h.Reason, h.Group.Suspects)
		}
	}
	for _, l := range g.LiarSummaries {
		if l.Unanswered == 0 || l.Verdicts["peer_silent"] == 0 {
			t.Errorf("%+v", l)
		}
	}
}

// TestTwoFacedLiarsPartAGroupThatBearsOne: the observer of a group has teeth. The daemons may notice or not: liars that stay within
// what correct clocks may do cannot be told from them.
func TestTwoFacedLiarsPartAGroupThatBearsOne(t *testing.T) {
	testkit.NoLeaks(t)
	ownDirectory(t)
	o := patientGroup(t, ModeInternal, 4, 2, "two-faced@7")
	o.For = 14 * time.Second
	_, last, err := played(t, o)
	if err != nil {
		t.Fatal(err) // the promise is void, so this is no failure
	}
	g := last.Group
	if last.SynchronisedAfterS == nil || *last.SynchronisedAfterS > 7 {
		t.Fatalf("the group had not formed after 7 s, when the liars began to lie: %v", last.SynchronisedAfterS)
	}
	if last.BoundViolations == 0 || g.Disjoint == 0 || g.WorstViolationS == nil || strings.Join(g.WorstBetween, " ") != "host1 host2" {
		t.Errorf("two hosts were driven apart and nobody noticed: %d violations, %+v", last.BoundViolations, g)
	}
}

func TestGroupsThatCannotBe(t *testing.T) {
	good := Options{Mode: ModeInternal, Hosts: 7, Liars: 2, Out: &bytes.Buffer{}}.WithDefaults()
	if err := good.Check(); err != nil || good.Adversary != DefaultAdversary || good.Period != DefaultPeriod {
		t.Fatalf("the defaults: %+v, %v", good, err)
	}
	for name, c := range map[string]struct {
		spoil func(*Options)
		says  string
	}{
		"mode":                  {func(o *Options) { o.Mode = "magic" }, "external, internal and hybrid"},
		"all lie":               {func(o *Options) { o.Liars = 7 }, "fewer liars than hosts"},
		"less than none":        {func(o *Options) { o.Liars = -1 }, "fewer liars than hosts"},
		"three with a liar":     {func(o *Options) { o.Hosts, o.Liars = 3, 1 }, "at least 4"},
		"alone":                 {func(o *Options) { o.Hosts, o.Liars, o.Adversary = 1, 0, "" }, "nobody to agree with"},
		"unknown adversary":     {func(o *Options) { o.Adversary = "honest" }, "two-faced"},
		"one of two unknown":    {func(o *Options) { o.Adversary = "silent,honest" }, "honest"},
		"nobody to be it":       {func(o *Options) { o.Liars = 0 }, "--liars"},
		"no masters":            {func(o *Options) { o.FalseMasters = 1 }, "--mode hybrid"},
		"no true master":        {func(o *Options) { o.Mode, o.FalseMasters = ModeHybrid, 3 }, "0 to 2"},
		"short period":          {func(o *Options) { o.Period = time.Millisecond }, "50ms"},
		"long period":           {func(o *Options) { o.Period = time.Hour }, "10s"},
		"liars and one master":  {func(o *Options) { o.Mode, o.Adversary, o.Period = ModeExternal, "", 0 }, "--mode internal"},
		"period and one master": {func(o *Options) { *o = Options{Mode: ModeExternal, Hosts: 3, Period: time.Second} }, "--mode internal"},
	} {
		bad := good
		if c.spoil(&bad); bad.Check() == nil || !strings.Contains(bad.Check().Error(), c.says) {
			t.Errorf("%s: %v", name, bad.Check())
		}
	}
	for _, many := range []int{2, 4, 7, 16, MaxHosts} {
		o := Options{Mode: ModeInternal, Hosts: many, Out: &bytes.Buffer{}}.WithDefaults()
		if rate := float64(pollsPerPeriod*many*(many-1)) / o.Period.Seconds(); o.Check() != nil || rate > exchangesPerSecond*1.1 {
			t.Errorf("%d hosts agree every %v, with %.0f exchanges a second: %v", many, o.Period, rate, o.Check())
		}
	}
}

// TestPromisesAreWorthShowing: they can be made in every size that can be asked for, and are within a millisecond for the usual ones.
func TestPromisesAreWorthShowing(t *testing.T) {
	base := hw.NewManual(hw.Frequency{Hertz: worldHertz, ErrorPPB: 1000})
	for _, mode := range []string{ModeInternal, ModeHybrid} {
		for _, n := range []int{2, 4, 7, 10, MaxHosts} {
			for _, period := range []time.Duration{0, minPeriod, maxPeriod} {
				o := Options{Mode: mode, Hosts: n, Period: period}.WithDefaults()
				common := o.agreement(base)
				config := common.Group(n - 1)
				if err := config.Check(); err != nil {
					t.Errorf("%s, %d hosts, period %v: %v", mode, n, o.Period, err)
					continue
				}
				g, err := agreement.Bounds(config.Model())
				if err != nil || period == 0 && n <= 7 && g.Precision > 1e-3 {
					t.Errorf("%s, %d hosts: π_v is %g s, %v", mode, n, g.Precision, err)
				}
				if finite := !math.IsInf(g.Accuracy, 1); finite != (mode == ModeHybrid) {
					t.Errorf("%s, %d hosts: α_v is %g s", mode, n, g.Accuracy)
				}
			}
		}
	}
}

// TestWhatALiarShows is by how much its clock seems ahead to the one who is told.
func TestWhatALiarShows(t *testing.T) {
	start := virtualclock.Unix(epochNS, 0)
	honest := peerwire.Answer{
		State:   agreement.State{Current: agreement.Map{Ref: start, Base: start.AddSeconds(5), Rate: 30e-6}},
		Receive: start.AddSeconds(1), Transmit: start.AddSeconds(1.0001),
	}
	for name, c := range map[string]struct {
		alter func(*peerwire.Answer)
		want  float64
	}{
		"nothing":  {func(*peerwire.Answer) {}, 0},
		"the map":  {func(a *peerwire.Answer) { a.State.Current.Base = a.State.Current.Base.AddSeconds(-200e-6) }, -200e-6},
		"the rate": {func(a *peerwire.Answer) { a.State.Current.Rate += 50e-6 }, 50e-6},
		"the counter": {func(a *peerwire.Answer) {
			a.Receive, a.Transmit = a.Receive.AddSeconds(1e-4), a.Transmit.AddSeconds(1e-4)
		}, 1e-4},
	} {
		told := honest
		if c.alter(&told); !near(shownAhead(&honest, &told), c.want, 1e-8) {
			t.Errorf("%s: shown ahead by %g s instead of %g", name, shownAhead(&honest, &told), c.want)
		}
	}
}

// TestTheLiarsSeeAllClocks at one reading of the true counter, and nothing of those that are not there.
func TestTheLiarsSeeAllClocks(t *testing.T) {
	w := newGroupWorld(t, 1, 37, -52, 11, 0)
	c := &crowd{base: w.base, start: worldStart, members: make([]*host, 4), pages: make([]clock, 4), counters: w.hosts, correct: []int{0, 1, 2}}
	var sight adversary.Sight = c
	if _, known := sight.Ahead(0, 1); known {
		t.Error("a member that was not started has a clock")
	}
	for i := range 4 {
		c.pages[i] = w.clock[i]
	}
	if _, known := sight.Ahead(0, 1); known {
		t.Error("a clock that was never set is known")
	}
	w.agree(0, 30e-6, 1, 60e-6, 0)
	w.agree(3, -10e-6, 1, 60e-6, 0)
	w.pass(2)
	if x, known := sight.Ahead(0, 3); !known || !near(x, 40e-6, 3e-9) {
		t.Errorf("host a is ahead of host d by %g s", x)
	}
	if x := sight.Now(); x != 2 {
		t.Errorf("2 s have passed, not %g", x)
	}
	c.close()
	if _, known := sight.Ahead(0, 3); known {
		t.Error("there is something to see after the end")
	}
}

// TestMembersAreWholeDaemons: clockd peers and status work with them, keys are files that only their owner can read.
func TestMembersAreWholeDaemons(t *testing.T) {
	testkit.NoLeaks(t)
	ownDirectory(t)
	o := patientGroup(t, ModeInternal, 2, 0, "")
	seen := false
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	o.Out = writeFunc(func(p []byte) {
		dirs, err := filepath.Glob(filepath.Join(os.Getenv("TMPDIR"), "clockd-demo-*"))
		var s Second
		if json.Unmarshal(p, &s) != nil || s.Kind != KindSecond || err != nil || len(dirs) != 1 || seen {
			return
		}
		var g control.Group
		if err := control.Call(ctx, filepath.Join(dirs[0], "host1", "control"), control.CommandPeers, &g); err != nil || g.Members != 2 {
			t.Errorf("clockd peers: %+v, %v", g, err)
		}
		info, err := os.Stat(filepath.Join(dirs[0], "host1", "identity"))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the private key: %v, %v", info, err)
		}
		seen = true
		cancel()
	})
	if _, err := Run(ctx, o); err != nil || !seen {
		t.Errorf("Run returned %v; seen: %v", err, seen)
	}
}

type writeFunc func(p []byte)

func (f writeFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}

// extremeGroup has the longest texts that can be.
func extremeGroup(mode string) (*Second, *Summary) {
	s, t := extremeSecond()
	t.Mode = mode
	why := "30 of 31 hosts lie, and 10 may: nothing is promised"
	s.Group = &GroupSecond{OnlineBoundS: ptr(999.99e-6), OnlineBoundMaxS: ptr(999.99e-6), ConvergenceS: ptr(999.99e-6), EpsilonS: ptr(999.99e-6), ToUTCS: ptr(999.99e-3)}
	t.Group = &GroupSummary{Void: &why, OnlineBoundS: ptr(999.99e-6), OnlineBoundMaxS: ptr(999.99e-3), ConvergenceBoundS: ptr(999.99e-6), PromisedAccuracyS: ptr(999.99e-6)}
	for i := range s.Hosts {
		s.Hosts[i].Group = &HostGroup{Liar: i == 3, FromMiddleS: ptr(-999.99e-3)}
	}
	s.Hosts[0].Name = "host30"
	s.Group.Liars = []LiarSecond{
		{Name: "host31", ToldS: map[string]*float64{"host30": ptr(-999.99e-3), "host31": ptr(-999.99e-6)}, SuspectedBy: map[string]reason.Code{"host30": reason.PeerEquivocates, "host1": reason.PeerOutlier, "host2": reason.PeerEquivocates}},
		{Name: "host31", ToldS: map[string]*float64{"host31": ptr(5)}}, {Name: "host31"},
	}
	t.Group.LiarSummaries = []LiarSummary{
		{Name: "host31", Adversary: "two-faced-rate", Answers: 1 << 20, Altered: 1 << 20, ToldLowS: ptr(-999.99e-3), ToldHighS: ptr(999.99e-3)},
		{Name: "host31", Adversary: "silent", Unanswered: 1 << 30},
	}
	return s, t
}

func TestTheGroupsPictureFitsIntoEightyColumns(t *testing.T) {
	for _, mode := range []string{ModeInternal, ModeHybrid} {
		for _, d := range adversary.Names() {
			o := Options{Mode: mode, Hosts: MaxHosts, Liars: 30, Adversary: d.Name + "@1000,silent"}.WithDefaults()
			if mode == ModeHybrid {
				o.FalseMasters = 2
			}
			s, total := extremeGroup(mode)
			intro := introduction(&o, "/tmp/clockd-demo-4294967295")
			lines := append(intro, body(s, total)...)
			for _, l := range append(lines, conclusion(total)...) {
				if text := l.show(0, false); utf8.RuneCountInString(text) > 80 && !strings.HasPrefix(text, "!") {
					t.Errorf("%d columns: %s", utf8.RuneCountInString(text), text)
				}
			}
			if text := strings.Join(strings.Fields(render(intro, 0, false)), " "); !strings.Contains(text, d.Summary) {
				t.Errorf("the introduction does not say what a %s liar does:\n%s", d.Name, text)
			}
		}
	}
}

func TestTheGroupsPictureSaysWhatIsWrong(t *testing.T) {
	s, total := extremeGroup(ModeInternal)
	text := render(body(s, total), 0, false)
	for _, want := range []string{
		"host31 tells host30 -999.99 ms, host31 -999.99 µs; peer_equivocates by 2", "tells all +5.00 s; not noticed", "host31 tells nothing", "! " + *total.Group.Void, "lies",
		"precision π_v", "convergence δ_v", "reading error ε",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("nothing of %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "accuracy") {
		t.Errorf("a group without masters has an accuracy:\n%s", text)
	}
	total.Group.WorstViolationS, total.Group.WorstBetween, total.Group.Disjoint = ptr(3e-6), []string{"host1", "host2"}, 5
	for _, text := range []string{render(body(s, total), 0, false), render(conclusion(total), 0, false)} {
		if !strings.Contains(text, "5 disjoint") || !strings.Contains(text, "3.00 µs (host1, host2)") {
			t.Errorf("who was apart is not said:\n%s", text)
		}
	}
	if text := render(conclusion(total), 0, false); !strings.Contains(text, "left 1073741824 requests unanswered") || !strings.Contains(text, "They agreed after") {
		t.Errorf("%s", text)
	}
	s, total = extremeGroup(ModeHybrid)
	if text := render(body(s, total), 0, false); !strings.Contains(text, "accuracy α_v") || !strings.Contains(text, "distance to UTC") {
		t.Errorf("the two figures of a hybrid are not there:\n%s", text)
	}
}

// TestEveryKeyIsDocumented in docs/cli.md.
func TestEveryKeyIsDocumented(t *testing.T) {
	b, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	var walk func(x reflect.Type)
	walk = func(x reflect.Type) {
		for x.Kind() == reflect.Pointer || x.Kind() == reflect.Slice || x.Kind() == reflect.Map {
			x = x.Elem()
		}
		if x.Kind() != reflect.Struct || !strings.HasSuffix(x.PkgPath(), "/demo") {
			return
		}
		for f := range x.Fields() {
			key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if !strings.Contains(text, "`"+key+"`") {
				t.Errorf("%s.%s: nothing of `%s`", x.Name(), f.Name, key)
			}
			walk(f.Type)
		}
	}
	walk(reflect.TypeFor[Second]())
	walk(reflect.TypeFor[Summary]())
	for _, d := range adversary.Names() {
		if !strings.Contains(text, "`"+d.Name+"`") {
			t.Errorf("nothing of the adversary `%s`", d.Name)
		}
	}
}
