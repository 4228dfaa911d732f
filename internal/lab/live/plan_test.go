package live

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/delay"
)

// plan reads a scenario, completes and checks it.
func plan(t testing.TB, text string) (*Plan, error) {
	t.Helper()
	p, err := ParsePlan("test", []byte(text))
	if err != nil {
		return nil, err
	}
	full := p.WithDefaults()
	return &full, full.Check()
}

// TestScenariosOfTheProgram: each is good, tells what it is about, and its agreement can be kept.
func TestScenariosOfTheProgram(t *testing.T) {
	if len(Scenarios()) < 4 {
		t.Errorf("only %v", Scenarios())
	}
	base := hw.NewManual(hw.Frequency{Hertz: 1e9, ErrorPPB: 250_000})
	for _, name := range Scenarios() {
		b, err := Source(name)
		if err != nil {
			t.Fatal(err)
		}
		p, err := plan(t, string(b))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if p.Summary == "" || p.Details == "" || !p.Holds() {
			t.Errorf("%s says too little of itself, or its hypothesis does not hold: %+v", name, p)
		}
		if p.Group() {
			a := p.agreementConfig(base)
			if err := a.Group(p.Hosts - 1).Check(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if _, err := Source("nothing"); err == nil || !strings.Contains(err.Error(), "live_lan") {
		t.Errorf("%v does not say what there is", err)
	}
}

// TestPlansThatCannotBe: each is refused, with words that help.
func TestPlansThatCannotBe(t *testing.T) {
	fault := func(text string) string { return "hosts = 4\nfor = \"60s\"\n[[fault]]\n" + text }
	for text, part := range map[string]string{
		`mode = "magic"`:                                    "there is no mode",
		`network = "tokens"`:                                "there is no network",
		`hosts = 40`:                                        "1 to 31",
		`hosts = -1`:                                        "1 to 31",
		`for = "1s"`:                                        "5s",
		`for = "soon"`:                                      "no length of time",
		`poll = "1ms"`:                                      "out of range",
		"hosts = 3\nliars = 1":                              "3f+1",
		"hosts = 4\nliars = 4":                              "at least one host must be correct",
		"hosts = 4\nliars = -1":                             "-1 liars",
		"hosts = 1":                                         "nobody to agree with",
		"mode = \"external\"\nliars = 1":                    "do not talk to each other",
		"mode = \"external\"\nperiod = \"1s\"":              "belong to a group",
		"masters = 2":                                       "choose hybrid",
		"adversary = \"silent\"":                            "no liar",
		"liars = 1\nadversary = \"kind\"":                   "no liar called",
		"loss = 2.0":                                        "probabilities",
		"speed = 1":                                         "nobody knows",
		"delay = \"now\"":                                   "delay",
		"[[link]]\nfrom = \"h1\"\nto = \"x\"":               "no node \"x\"",
		"[[link]]\nfrom = \"h1\"\nto = \"h2\"":              "neither a delay nor a loss",
		"hosts = ":                                          "line 1",
		fault("at = \"60s\"\ndo = \"heal\""):                "before the end",
		fault("at = \"-1s\"\ndo = \"heal\""):                "from 0s",
		fault("at = \"1s\"\ndo = \"dance\""):                "nobody knows how",
		fault("at = \"1s\"\ndo = \"kill\""):                 "there is no host",
		fault("at = \"1s\"\ndo = \"kill\"\nhost=\"h5\""):    "there is no host \"h5\"",
		fault("at = \"1s\"\ndo = \"restart\"\nhost=\"h1\""): "not ended",
		fault("at = \"1s\"\ndo = \"resume\"\nhost=\"h1\""):  "not paused",
		fault("at = \"1s\"\ndo = \"kill\"\nhost=\"h1\"\n[[fault]]\nat=\"2s\"\ndo=\"stop\"\nhost=\"h1\""): "not running",
		fault("at = \"1s\"\ndo = \"heal\"\nhost=\"h1\""):                                                 "leave out host",
		fault("at = \"1s\"\ndo = \"partition\""):                                                         "needs its parts",
		fault("at = \"1s\"\ndo = \"partition\"\ngroups=[[\"h1\"],[\"h1\"]]"):                             "in two parts",
		fault("at = \"1s\"\ndo = \"partition\"\ngroups=[[\"h9\"]]"):                                      "no node \"h9\"",
		fault("at = \"50s\"\nfor=\"20s\"\ndo = \"partition\"\ngroups=[[\"h1\"]]"):                        "undone before the end",
		fault("at = \"1s\"\nfor=\"2s\"\ndo = \"kill\"\nhost=\"h1\""):                                     "undone by themselves",
		fault("at = \"1s\"\ndo = \"link\"\nfrom=\"h1\""):                                                 "needs added, delay or loss",
		fault("at = \"1s\"\ndo = \"link\"\nfrom=\"h1\"\nloss=7.0"):                                       "probabilities",
		fault("at = \"1s\"\ndo = \"link\"\nfrom=\"hx\"\nadded=\"1ms\""):                                  "no node \"hx\"",
		fault("at = \"1s\"\ndo = \"kill\"\nhost=\"h1\"\nadded=\"1ms\""):                                  "belong to a link",
		fault("at = \"1s\"\ndo = \"kill\"\nhost=\"h1\"\nwall_clock=\"1s\""):                              "leave out wall_clock",
		"mode=\"external\"\n" + fault("at = \"1s\"\ndo = \"restart\"\nhost=\"m1\""):                      "restart hosts only",
		"mode=\"external\"\n" + fault("at = \"1s\"\ndo = \"lie\"\nhost=\"h1\""):                          "only a host of a group can lie",
		"liars = 1\n" + fault("at = \"1s\"\ndo = \"lie\"\nhost=\"h4\""):                                  "lies from the beginning",
		fault("at = \"1s\"\ndo = \"step\"\nhost=\"h1\""):                                                 "by how much",
		fault("at = \"1s\"\ndo = \"step\"\nhost=\"h1\"\nby=\"2h\""):                                      "at most 1h",
		fault("at = \"1s\"\ndo = \"kill\"\nhost=\"h1\"\nby=\"1s\""):                                      "belongs to a step",
		"liars = 1\n" + fault("at = \"1s\"\ndo = \"step\"\nhost=\"h4\"\nby=\"1s\""):                      "nobody would see",
		"mode=\"external\"\n" + fault("at = \"1s\"\ndo = \"step\"\nhost=\"m1\"\nby=\"1s\""):              "only a host's can jump",
	} {
		if _, err := plan(t, text); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q: %v, want %q", text, err, part)
		}
	}
}

// TestHostsWhoseCountersJump: they count as faulty, like liars.
func TestHostsWhoseCountersJump(t *testing.T) {
	step := func(host string) string {
		return "[[fault]]\nat=\"1s\"\ndo=\"step\"\nby=\"2s\"\nhost=\"" + host + "\"\n"
	}
	for text, holds := range map[string]bool{
		"hosts = 4\n" + step("h1") + step("h1"):                      true,
		"hosts = 4\n" + step("h1") + step("h2"):                      false,
		"hosts = 4\nliars = 1\n" + step("h1"):                        false,
		"mode = \"external\"\nhosts = 2\n" + step("h1") + step("h2"): true,
	} {
		p, err := plan(t, text)
		if err != nil || p.Holds() != holds {
			t.Errorf("%q: holds %t, %v", text, !holds, err)
		}
	}
}

// TestStepsAreInOrder: what undoes itself is undone at its time, between the others.
func TestStepsAreInOrder(t *testing.T) {
	p, err := plan(t, `
hosts = 4
[[fault]]
at = "20s"
do = "kill"
host = "h1"
[[fault]]
at = "10s"
for = "15s"
do = "partition"
groups = [["h2"]]
[[fault]]
at = "12s"
for = "3s"
do = "pause"
host = "h3"
[[fault]]
at = "30s"
for = "1s"
do = "link"
from = "h2"
added = "5ms"
`)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range p.steps() {
		got = append(got, time.Duration(s.At).String()+" "+s.Do+" "+s.Host+s.From)
	}
	want := []string{"10s partition ", "12s pause h3", "15s resume h3", "20s kill h1", "25s heal ", "30s link h2", "31s mend h2"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestLiarsAndHypothesis: those that lie from the beginning and those that begin to, and whether the group bears them.
func TestLiarsAndHypothesis(t *testing.T) {
	p, err := plan(t, "hosts = 7\nliars = 2\n[[fault]]\nat = \"1s\"\ndo = \"lie\"\nhost = \"h2\"\n")
	if err != nil {
		t.Fatal(err)
	}
	if got := p.liars(); !slices.Equal(got, []int{1, 5, 6}) || p.Faults() != 2 || p.Holds() {
		t.Errorf("liars %v, f = %d, holds %t", got, p.Faults(), p.Holds())
	}
	if p, err = plan(t, "mode = \"hybrid\"\nhosts = 4\nliars = 1"); err != nil || !slices.Equal(p.liars(), []int{6}) || !p.Holds() || p.Adversary != defaultMischief {
		t.Errorf("%v, %+v", err, p)
	}
}

// TestLaws: one direction may be another than the other, and a link another than the others.
func TestLaws(t *testing.T) {
	p, err := plan(t, `
mode = "external"
hosts = 2
delay = "1ms"
delay_back = "3ms"
loss = 0.1
[[link]]
from = "h2"
to = "m1"
delay = "9ms"
loss = 0.0
`)
	if err != nil {
		t.Fatal(err)
	}
	nodes := p.Nodes()
	for _, x := range []struct {
		from, to int
		delay    string
		loss     float64
	}{{1, 0, "1ms", 0.1}, {0, 1, "3ms", 0.1}, {2, 0, "9ms", 0}, {0, 2, "3ms", 0.1}} {
		if l := p.law(nodes, x.from, x.to); l.Delay.String() != x.delay || l.Loss != x.loss {
			t.Errorf("from %s to %s: %v and %g", nodes[x.from], nodes[x.to], l.Delay, l.Loss)
		}
	}
}

// TestDefaultScript fits every setup.
func TestDefaultScript(t *testing.T) {
	for _, mode := range []string{ModeExternal, ModeInternal, ModeHybrid} {
		for hosts := 2; hosts < 12; hosts++ {
			for _, length := range []time.Duration{shortest, time.Minute, time.Hour} {
				p := Plan{Mode: mode, Hosts: hosts, For: Length(length)}
				if mode != ModeExternal && hosts >= leastLiedTo {
					p.Liars = 1
				}
				p = p.WithDefaults()
				p.Fault = DefaultScript(&p)
				if err := p.Check(); err != nil {
					t.Errorf("%s with %d hosts for %v: %v", mode, hosts, length, err)
				}
			}
		}
	}
}

// FuzzPlan: whatever a file says, it is refused or it is a plan that can be written and read again as the same one.
func FuzzPlan(f *testing.F) {
	for _, name := range Scenarios() {
		b, err := Source(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte("mode = \"external\"\nhosts = 2\n[[fault]]\nat = \"1s\"\ndo = \"pause\"\nhost = \"m1\"\nfor = \"2s\"\n"))
	f.Add([]byte("hosts = 4\n[[fault]]\nat = \"1s\"\ndo = \"link\"\nloss = 0.5\ndelay = \"exp(1ms)\"\n[[link]]\nfrom=\"h1\"\nto=\"h2\"\nloss=1.0\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := plan(t, string(b))
		if err != nil {
			return
		}
		text, err := p.source()
		if err != nil {
			t.Fatal(err)
		}
		again, err := plan(t, text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if !same(p, again) {
			t.Errorf("%+v became %+v by\n%s", p, again, text)
		}
		for _, s := range p.steps() {
			if s.String() == "" || s.At < 0 {
				t.Errorf("%+v", s)
			}
		}
	})
}

// same compares plans; an empty list is none.
func same(p, q *Plan) bool {
	a, err := p.source()
	b, err2 := q.source()
	return err == nil && err2 == nil && a == b && reflect.DeepEqual(p.liars(), q.liars())
}

// FuzzScript: whatever a script says, nothing panics, and what is taken can be played.
func FuzzScript(f *testing.F) {
	f.Add([]byte("[[fault]]\nat = \"30s\"\ndo = \"kill\"\nhost = \"h3\"\n"))
	f.Add([]byte("[[fault]]\nat = \"3s\"\nfor = \"1s\"\ndo = \"partition\"\ngroups = [[\"h1\", \"h2\"], [\"h3\"]]\n"))
	f.Add([]byte("[[fault]]\nat = \"3s\"\ndo = \"lie\"\nhost = \"h1\"\n"))
	law := delay.Constant(1e-4)
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := ParseScript("x", b)
		if err != nil {
			return
		}
		p := Plan{Mode: ModeInternal, Hosts: 7, Delay: &law, Fault: all}
		p = p.WithDefaults()
		if p.Check() != nil {
			return
		}
		states := map[string]state{}
		for _, s := range p.steps() {
			if err := play(states, &s); err != nil {
				t.Errorf("%v", err)
			}
		}
	})
}
