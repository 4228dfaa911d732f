package explain

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/internal/daemon/journal"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/agreement"
	"github.com/clockd/clockd/virtualclock"
)

func pointer[T any](x T) *T { return &x }

func TestSeconds(t *testing.T) {
	for x, want := range map[float64]string{
		0: "0 s", 1: "1.00 s", 1.5e-3: "1.50 ms", 23.44e-6: "23.4 µs", -330e-9: "-330 ns", 4e-10: "0.40 ns", 59: "59.0 s", 61: "1 min 1 s",
		7322: "2 h 2 min", 123e-6: "123 µs", 0.9999: "1.00 s", 59.996: "1 min", 3600: "1 h 0 min", 200 * 3600: "8 days 8 h", -61: "-1 min 1 s",
		math.Inf(1): "unknown", 1e300: "104166 days 16 h",
	} {
		if got := Seconds(x); got != want {
			t.Errorf("%g is shown as %q, want %q", x, got, want)
		}
	}
	if got := Known(nil, Seconds); got != "-" {
		t.Errorf("what is not known is shown as %q", got)
	}
	if Signed(1e-3) != "+1.00 ms" || Signed(-1e-3) != "-1.00 ms" || PPM(-0.5) != "-0.500 ppm" || Sentence("µs") != "Μs" || Sentence("") != "" {
		t.Error("figures are not written as they should be")
	}
}

// good is a clock with four sources of which nothing is wrong.
func good() (*control.Status, []control.Source) {
	s := &control.Status{Status: virtualclock.Synchronised, Mode: "external", Kind: control.KindExternal, BoundS: pointer(33.4e-6), MaxBoundS: 0.1, UptimeS: 100,
		Steps: 1, Sources: control.SourceCount{Configured: 4, Answering: 4, Used: 4, MaxFalse: 1}, Counter: control.Counter{DriftBoundPPM: 50}}
	var list []control.Source
	for i := range 4 {
		list = append(list, control.Source{Name: fmt.Sprintf("ntp%d.example", i+1), Reach: 0xff, Weight: 0.25, Selected: i == 0})
	}
	return s, list
}

func TestVerdicts(t *testing.T) {
	lie := func(s *control.Status, l []control.Source) {
		l[3].Reason, l[3].DistanceS, l[3].Weight = reason.SourceFalseticker, pointer(0.05), 0
		s.Sources.False, s.Sources.Used = 1, 3
	}
	cases := []struct {
		name  string
		alter func(*control.Status, []control.Source)
		level Level
		says  []string
		never []string
	}{
		{"good", func(*control.Status, []control.Source) {}, Good, []string{"this clock is good", "true time is within 33.4 µs", "4 of 4 sources are used"}, []string{"false", "answer"}},
		{"liar", lie, Good, []string{"ntp4.example contradicts the others and is outvoted: 1 of 4", "repair it or remove it: `clockd query ntp4.example`"}, nil},
		{"silent", func(s *control.Status, l []control.Source) {
			l[2].Reason, l[2].Reach, l[2].Weight = reason.SourceUnreachable, 0, 0
			s.Sources.Answering, s.Sources.Used = 3, 3
		}, Good, []string{"1 does not answer (ntp3.example)", "UDP port 123"}, nil},
		{"alone", func(s *control.Status, _ []control.Source) {
			s.Sources = control.SourceCount{Configured: 1, Answering: 1, Used: 1}
		}, Good, []string{"1 of 1 source is used", "none may be false"}, nil},
		{"wide", func(s *control.Status, _ []control.Source) { s.BoundS = pointer(0.06) }, Caution, []string{"this clock is usable", "60.0 ms", "limit of 100 ms"}, []string{"is good"}},
		{"holdover", func(s *control.Status, l []control.Source) {
			s.Status, s.Reason, s.BoundS, s.LastSampleAgeS = virtualclock.Holdover, reason.Stale, pointer(1.2e-3), pointer(42.0)
			s.Sources.Answering, s.Sources.Used = 0, 0
			for i := range l {
				l[i].Reason, l[i].Reach = reason.SourceUnreachable, 0
			}
		}, Caution, []string{"usable for now", "still within 1.20 ms", "for 42.0 s", "limit of 100 ms in 16 min", "4 do not answer (ntp1.example, ntp2.example, ntp3.example and 1 more)"}, []string{"is good"}},
		{"contradiction", func(s *control.Status, l []control.Source) {
			lie(s, l)
			s.Status, s.Reason, s.BoundS = virtualclock.Unsynchronised, reason.NoMajority, nil
		}, Bad, []string{"do not trust", "contradict one another", "add independent ones"}, []string{"outvoted", "true time is"}},
		{"start", func(s *control.Status, l []control.Source) {
			s.Status, s.Reason, s.BoundS, s.Steps, s.UptimeS = virtualclock.Unsynchronised, reason.NeverSynchronised, nil, 0, 2
			s.Sources.Answering, s.Sources.Used = 0, 0
		}, Waiting, []string{"not set yet", "started 2.00 s ago"}, []string{"trust", "do not answer"}},
		{"never", func(s *control.Status, _ []control.Source) {
			s.Status, s.Reason, s.BoundS, s.Steps = virtualclock.Unsynchronised, reason.NeverSynchronised, nil, 0
		}, Bad, []string{"do not trust"}, nil},
		{"disrupted", func(s *control.Status, _ []control.Source) {
			s.Status, s.Reason, s.BoundS = virtualclock.Disrupted, reason.HostSuspended, nil
		}, Bad, []string{"do not trust", "the host was suspended; time is being measured anew"}, nil},
		{"reference", func(s *control.Status, _ []control.Source) {
			s.Mode, s.Sources, s.BoundS = "local", control.SourceCount{}, pointer(0.0)
		}, Good,
			[]string{"this host is the reference", "nobody checks"}, []string{"0 s", "sources"}},
	}
	for _, c := range cases {
		s, l := good()
		c.alter(s, l)
		v := Clock(s, l)
		text := strings.Join(append(append([]string{v.Title, v.Bound}, v.Why...), v.Advice...), "\n")
		if v.Level != c.level {
			t.Errorf("%s is %s", c.name, v.Level)
		}
		for _, want := range c.says {
			if !strings.Contains(text, want) {
				t.Errorf("%s does not say %q:\n%s", c.name, want, text)
			}
		}
		for _, never := range c.never {
			if strings.Contains(text, never) {
				t.Errorf("%s says %q:\n%s", c.name, never, text)
			}
		}
	}
}

func TestGroups(t *testing.T) {
	member := func() (*control.Status, []control.Source) {
		s, _ := good()
		s.Mode, s.Kind, s.Sources = "internal", control.KindInternal, control.SourceCount{}
		s.Group = &control.Group{Status: agreement.Sync, Members: 4, Faults: 1, SpreadS: pointer(90e-6), PrecisionBoundS: pointer(424e-6)}
		for _, name := range []string{"b", "c", "d"} {
			s.Group.Peers = append(s.Group.Peers, control.Peer{Name: name, Used: true})
		}
		return s, nil
	}
	say := func(s *control.Status) (Verdict, string) {
		v := Clock(s, nil)
		return v, strings.Join(append(append([]string{v.Title, v.Bound}, v.Why...), v.Advice...), "\n")
	}
	has := func(name, text string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("%s does not say %q:\n%s", name, w, text)
			}
		}
	}
	s, _ := member()
	v, text := say(s)
	if has("internal", text, "agrees with its group", "424 µs apart; nothing is said of true time", "4 of 4 members", "within 90.0 µs of the time that all correct ones share"); v.Level != Good || strings.Contains(text, "true time is within") {
		t.Errorf("%s %s", v.Level, text)
	}
	s.Group.Peers[0].Used, s.Group.Peers[0].Reason = false, reason.PeerEquivocates
	if v, text = say(s); v.Level != Good {
		t.Errorf("one liar of four harms nothing: %s %s", v.Level, text)
	}
	has("liar", text, "b told what no correct peer can tell", "look at that host")
	s.Group.Peers[1].Used, s.Group.Peers[1].Reason = false, reason.PeerSilent
	if v, text = say(s); v.Level != Caution {
		t.Errorf("two of four are %s: %s", v.Level, text)
	}
	has("few", text, "2 of 4 members", "not in it: c", "at least 3 must")
	s.Status, s.Reason, s.Group.Reason = virtualclock.Unsynchronised, reason.TooFewPeers, reason.TooFewPeers
	if v, text = say(s); v.Level != Bad || strings.Contains(text, "apart") {
		t.Errorf("%s %s", v.Level, text)
	}
	has("too few", text, "do not trust", "start those that do not run")
	s, _ = member()
	s.Status, s.Reason, s.Group.Status, s.Group.Margin = virtualclock.Holdover, reason.TooFewPeers, agreement.Holdover, -1
	if v, text = say(s); strings.Contains(text, "424") {
		t.Errorf("what is promised is claimed without rounds: %s", text)
	}
	if g := Group(s.Group); g.Level == Good || strings.Contains(g.Bound, "424") {
		t.Errorf("what is promised is claimed without rounds: %+v", g)
	}
	s, _ = member()
	if s.Group.Margin = -1; Group(s.Group).Level == Good || Clock(s, nil).Level == Good || strings.Contains(Group(s.Group).Bound, "424") {
		t.Errorf("more liars than may be are %+v", Group(s.Group))
	}
	s, _ = member()
	s.Mode, s.Kind, s.Group.ToUTCS = "hybrid", control.KindExternal, pointer(2e-3)
	if v, text = say(s); v.Level != Good {
		t.Errorf("hybrid is %s", v.Level)
	}
	has("hybrid", text, "true time is within 33.4 µs", "UTC is within 2.00 ms")
}

// No verdict is better than the clock, whatever else is said; what is not known is never a number.
func TestNoVerdictIsBetterThanTheClock(t *testing.T) {
	r := rand.New(rand.NewPCG(testkit.Seed(t), 2))
	for range 20_000 {
		s, l := good()
		s.Status, s.Reason = virtualclock.Status(r.IntN(6)), reason.Code(r.IntN(int(reason.Count)))
		s.UptimeS, s.Steps, s.BoundS = r.Float64()*200, uint64(r.IntN(2)), nil
		s.Kind = []string{control.KindExternal, control.KindInternal}[r.IntN(2)]
		s.Mode = []string{"external", "internal", "local", "hybrid"}[r.IntN(4)]
		if r.IntN(2) == 0 {
			s.Group = &control.Group{Members: 1 + r.IntN(5), Faults: r.IntN(2), Reason: reason.Code(r.IntN(int(reason.Count))), Peers: make([]control.Peer, r.IntN(4))}
		}
		for i := range l {
			l[i].Reason = reason.Code(r.IntN(int(reason.Count)))
		}
		v := Clock(s, l[:r.IntN(5)])
		if v.Title == "" || v.Bound == "" {
			t.Fatalf("%+v of %+v", v, s)
		}
		if v.Level == Good && s.Status != virtualclock.Synchronised || v.Level == Caution && !s.Status.Sound() || v.Level == Waiting && s.Status.Sound() {
			t.Fatalf("%s is shown as %+v", s.Status, v)
		}
		if strings.Contains(v.Bound, " 0 s") || len(v.Advice) > mostAdvice {
			t.Fatalf("%+v", v)
		}
	}
}

func TestFindings(t *testing.T) {
	for c := reason.OK + 1; c < reason.Count; c++ {
		f := Source(&control.Source{Name: "a", Reason: c, Selected: true, Weight: 1})
		if f.Level == Good || f.State == "" || !strings.Contains(f.Words, c.Explain()[4:]) {
			t.Errorf("%s: %+v", c, f)
		}
		p := Peer(&control.Peer{Name: "a", Reason: c, Detail: "no such host"})
		if p.Level == Good || !strings.HasSuffix(p.Words, "(no such host)") {
			t.Errorf("%s: %+v", c, p)
		}
		for _, topic := range []string{journal.TopicClock, journal.TopicSource, journal.TopicPeer, journal.TopicDisruption, journal.TopicConfig} {
			if f := Event(&journal.Entry{Topic: topic, Reason: c, Status: virtualclock.Unsynchronised}); f.Level == Good || !strings.Contains(f.Words, c.Explain()) {
				t.Errorf("%s %s: %+v", topic, c, f)
			}
		}
	}
	if f := Source(&control.Source{Selected: true, Weight: 0.62}); f.Level != Good || f.Words != "has the greatest weight, 62 %" {
		t.Errorf("%+v", f)
	}
	if f := Source(&control.Source{Reason: reason.SourceFalseticker, DistanceS: pointer(0.05)}); f.State != "false" || !strings.Contains(f.Words, "by at least 50.0 ms") {
		t.Errorf("%+v", f)
	}
	if f := Source(&control.Source{Name: "pool.example#2", Address: pointer("192.0.2.1:123"), Reason: reason.SourceUnreachable}); !strings.Contains(f.Advice, "`clockd query 192.0.2.1:123`") {
		t.Errorf("%+v", f)
	}
	if f := Event(&journal.Entry{Topic: journal.TopicEpoch, Epoch: 2}); f.State != "epoch 2" {
		t.Errorf("%+v", f)
	}
	if f := Event(&journal.Entry{Topic: journal.TopicClock, Status: virtualclock.Synchronised, Value: 1e-3}); f.Level != Good || !strings.Contains(f.Words, "± 1.00 ms") {
		t.Errorf("%+v", f)
	}
}

// Whatever can be wrong with a clock, a source or a peer, one is told what to do, unless it passes by itself.
func TestAdvice(t *testing.T) {
	passes := map[reason.Code]bool{reason.SourceWaiting: true, reason.AssumptionsWeakened: true, reason.LeapSecond: true, reason.HostSuspended: true,
		reason.HostPaused: true, reason.ResyncRequested: true, reason.ClockStepped: true, reason.PeerRestarted: true, reason.PeerJoining: true, reason.PeerRound: true,
		reason.PacketDuplicate: true, reason.PacketUnsolicited: true, reason.KissNTSN: true, reason.KeyExchangeWaiting: true}
	for c := reason.OK + 1; c < reason.Count; c++ {
		name := c.String()
		about := !strings.HasPrefix(name, "request_") && !strings.HasPrefix(name, "page_") && !strings.HasPrefix(name, "stamp_") && c < reason.FigureNotMeasured
		if (Advice(c, "") == "") != (passes[c] || !about) {
			t.Errorf("%s: %q", c, Advice(c, ""))
		}
	}
}

// The keys of the configuration that one is told to look at are in its documentation.
func TestAdviceNamesKeysThatExist(t *testing.T) {
	b, err := os.ReadFile("../../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for c := reason.OK; c < reason.Count; c++ {
		for _, key := range regexp.MustCompile(`\b([a-z]+)\.([a-z_]+)\b`).FindAllStringSubmatch(Advice(c, ""), -1) {
			if key[0] == "security.md" || key[0] == "sources.md" {
				continue
			}
			named++
			section := regexp.MustCompile("(?s)\n## [^\n]*\\[" + key[1] + "\\][^\n]*\n.*?\n(## |$)").Find(b)
			if !strings.Contains(string(section), "`"+key[2]+"`") {
				t.Errorf("%s: there is no %s in the section of docs/configuration.md", c, key[0])
			}
		}
	}
	if named < 10 {
		t.Errorf("%d keys are named", named)
	}
}
