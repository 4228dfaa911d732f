package sim

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
)

// TestEmbeddedScenarios: every scenario of the program can be built, is described in a line, and those of peers.md are as published.
func TestEmbeddedScenarios(t *testing.T) {
	names := Names()
	if len(names) < 20 {
		t.Fatalf("%d scenarios", len(names))
	}
	published := map[string]Published{
		"lan_sw": {2.69e-6, 1.73e-6, 1.09e-6, 7.3e-6}, "dc": {6.97e-6, 6.14e-6, 2.98e-6, 17.7e-6},
		"wan": {105e-6, 86e-6, 37.5e-6, 279e-6}, "temp": {6.41e-6, 3.80e-6, 2.04e-6, 17.1e-6},
	}
	world := map[string]struct {
		length, poll Length
		delay        string
		sine         float64
	}{
		"lan_sw": {40000, 16, "50us + exp(10us)", 0}, "dc": {40000, 16, "200us + exp(50us) + 5% exp(1ms)", 0},
		"wan": {80000, 64, "20ms + exp(1ms)", 0}, "temp": {28800, 16, "50us + exp(10us)", 1},
	}
	for _, name := range names {
		s, err := Load(name)
		if err != nil {
			t.Error(err)
			continue
		}
		if s.Summary == "" || strings.Contains(s.Summary, "\n") || s.Name != name {
			t.Errorf("%s is called %q and described as %q", name, s.Name, s.Summary)
		}
		if _, err := Source(name); err != nil {
			t.Error(err)
		}
		want, is := world[name]
		if !is {
			continue
		}
		c, o := &s.Client, &s.Client.Oscillator
		if s.Length != want.length || c.Poll != want.poll || s.Servers[0].Delay.String() != want.delay || o.Sine.PPM != want.sine ||
			o.OffsetPPM != 12 || o.RandomWalk != 1e-9 || c.StartError != 10e-3 || *s.Discard != 0.25 || !s.AssumptionsHold || *s.Published != published[name] {
			t.Errorf("%s is not as peers.md has it: %+v", name, s)
		}
	}
	for _, bad := range []string{"nothing", "../scenario", ""} {
		if _, err := Load(bad); err == nil || !strings.Contains(err.Error(), "lan_sw") {
			t.Errorf("%q: %v", bad, err)
		}
		if _, err := Source(bad); err == nil {
			t.Errorf("%q has a source", bad)
		}
	}
}

const small = `
length = "60s"
assumptions_hold = true
[client]
poll = "1s"
timeout = "200ms"
[[server]]
delay = "50us + exp(10us)"
`

// TestScenarioMistakes: every kind of mistake is an error that says where and what.
func TestScenarioMistakes(t *testing.T) {
	for document, want := range map[string]string{
		"length = ":        "line 1",
		"longth = \"60s\"": `line 1: there is no key "longth"`,
		strings.Replace(small, `poll = "1s"`, `pol = "1s"`, 1):              `line 5: there is no key "client.pol"`,
		strings.Replace(small, `"60s"`, `"60"`, 1):                          "write a number with a unit",
		strings.Replace(small, `"60s"`, `60`, 1):                            "", // a bare number is in seconds
		strings.Replace(small, `"60s"`, `"0s"`, 1):                          "length is 0 s",
		strings.Replace(small, `"60s"`, `"200d"`, 1):                        "must be from 1ms to 100d",
		strings.Replace(small, "exp(10us)", "exp(10)", 1):                   "neither a law nor a length",
		strings.Replace(small, `poll = "1s"`, `poll = "-1s"`, 1):            "poll (s) is -1",
		strings.Replace(small, "length", "discard = 1.5\nlength", 1):        "discard is 1.5",
		strings.Replace(small, "length", "sample = \"1us\"\nlength", 1):     "samples",
		strings.Replace(small, "length", "epoch = \"tomorrow\"\nlength", 1): "epoch is",
		small + "loss = 2":                                            "loss is 2",
		small + "stratum = 16":                                        "stratum is at most 15",
		small + "follows = [\"nobody\"]":                              `follows "nobody"`,
		small + "count = 5000":                                        "count is 5000",
		small + "[[server]]\nname = \"server2\"\n[[server]]\n":        "",
		small + "[[fault]]\nat = \"2h\"":                              "fault 1: at is 7200 s",
		small + "[[fault]]\nat = \"2s\"\nuntil = \"1s\"":              "until is 1 s",
		small + "[[fault]]\nat = \"2s\"\nserver = \"x\"":              `no server called "x"`,
		small + "[[fault]]\nat = \"2s\"\nkiss = \"LONGER\"":           "at most four letters",
		small + "[[fault]]\nat = \"2s\"\nforge = \"x\"":               "must be one of",
		small + "[[fault]]\nat = \"2s\"\nreport = \"x\"":              "no code is called",
		small + "[[fault]]\nat = \"2s\"\nloss = -1":                   "loss must be from 0 to 1",
		small + "[[fault]]\nat = \"2s\"\nleap = 4":                    "leap must be from 0 to 3",
		small + "[client.stamps]\nkind = \"x\"":                       "kind is",
		small + "[client.oscillator]\nrandom_walk = -1":               "random_walk is -1",
		small + "[client.oscillator]\nsquare = { ppm = 1 }":           "square.period",
		small + "name = \"a\"\n[[server]]\nname = \"a\"":              "two hosts are called a",
		strings.Replace(small, "[client]", "[client]\ncount=2000", 1): "client.count is 2000",
		strings.Repeat("#", 1<<20):                                    "more than a scenario has",
	} {
		_, err := Parse("test", []byte(document))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%.300s\n: %v, want %q", document, err, want)
		}
	}
}

// TestRunMeasures: the figures of a quiet run are there and make sense together.
func TestRunMeasures(t *testing.T) {
	s, err := Parse("small", []byte(small))
	if err != nil {
		t.Fatal(err)
	}
	parts := 0
	last := 0.0
	results, err := s.Run(4, func(p float64) error {
		if p <= last {
			t.Errorf("progress from %g to %g", last, p)
		}
		parts, last = parts+1, p
		return nil
	})
	if err != nil || len(results) != 1 || parts != 100 || last != 1 {
		t.Fatalf("%v, %d results, %d parts to %g", err, len(results), parts, last)
	}
	r := results[0]
	if r.Scenario != "small" || r.Seed != 4 || r.Samples != 46 || r.SoundFraction != 1 || r.BoundViolations != 0 || r.Packets != 63 || r.Epoch != 1 {
		t.Errorf("%+v", r)
	}
	if !(0 < r.MedianError && r.MedianError <= r.P99Error && r.P99Error <= r.MaxError && r.RMSError <= r.MaxError && r.MaxError < 100e-6) {
		t.Errorf("errors: %+v", r)
	}
	if !(r.MedianHalfWidth > 50e-6 && r.MedianHalfWidth < 150e-6 && r.ChronyHalfWidth > 50e-6 && r.NTPHalfWidth > r.ChronyHalfWidth) {
		t.Errorf("half-widths: %+v", r)
	}
	if !(r.RegressionRMS > 0 && r.RegressionRMS < 30e-6 && r.RegressionWindow >= 4 && r.RMSFrequencyError > 0 && r.RMSFrequencyError < 1e-4) {
		t.Errorf("others: %+v", r)
	}
	if !(r.ErrorUnder1ms > 0 && r.ErrorUnder1ms < 1 && r.BoundUnder1ms == r.ErrorUnder1ms && math.IsNaN(float64(r.BoundUnder100us)) == (r.MedianHalfWidth > 100e-6)) {
		t.Errorf("times: %+v", r)
	}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"scenario", "seed", "rms_error_s", "p50_error_s", "p99_error_s", "max_error_s", "rms_frequency_error", "rms_halfwidth_s",
		"median_halfwidth_s", "bound_violations", "packets", "error_under_1ms_after_s", "timeline", "chrony_median_halfwidth_s"} {
		if m[key] == nil {
			t.Errorf("%s is missing in %s", key, b)
		}
	}
	if v, there := m["first_violation"]; !there || v != nil {
		t.Errorf("first_violation is %v", v)
	}
	var back Result
	if err := json.Unmarshal(b, &back); err != nil || back.RMSError != r.RMSError {
		t.Errorf("%v, %v", err, back)
	}
}

// TestNothingToMeasure: figures that do not exist are null, never 0.
func TestNothingToMeasure(t *testing.T) {
	s, err := Parse("dead", []byte(small+"[[fault]]\nat = \"0s\"\ndead = true\n"))
	if err != nil {
		t.Fatal(err)
	}
	results, err := s.Run(1, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(results[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"rms_error_s", "p99_error_s", "rms_frequency_error", "median_halfwidth_s", "chrony_median_halfwidth_s", "regression_rms_error_s",
		"error_under_1ms_after_s", "bound_under_100us_after_s"} {
		if !strings.Contains(string(b), `"`+key+`":null`) {
			t.Errorf("%s is not null in %s", key, b)
		}
	}
	if results[0].SoundFraction != 0 || results[0].Status != "unsynchronised" {
		t.Errorf("%+v", results[0])
	}
	sum := s.Summarise(results)
	if b, err := json.Marshal(sum); err != nil || !strings.Contains(string(b), `"rms_error_s":null`) || !strings.Contains(string(b), `"rms_to_oracle":null`) {
		t.Errorf("%s, %v", b, err)
	}
}

// TestFaultsAreTakenBack: with until everything is again as it was.
func TestFaultsAreTakenBack(t *testing.T) {
	s, err := Parse("faults", []byte(small+`
[[fault]]
at = "10s"
until = "20s"
offset = "1s"
drift_ppm = 100
dead = true
kiss = "RATE"
leap = 3
root_dispersion = "1s"
turnaround = "1ms"
forge = "zero"
add_to = "1ms"
add_from = "2ms"
delay_to = "5ms"
delay_from = "6ms"
loss = 0.5
down = true
frequency_step_ppm = 3
invalid_stamps = "1ms"
`))
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.Build(1)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Run(Second); err != nil {
		t.Fatal(err)
	}
	m, l, c := w.Host("server").Master, w.links[0], w.Host("client")
	masterBefore, toBefore, fromBefore := *m, *l.To, *l.From
	f := c.Oscillator().FrequencyError(9 * Second)
	if err := w.Run(15 * Second); err != nil {
		t.Fatal(err)
	}
	if m.Offset != 1 || !m.Dead || m.Kiss != "RATE" || m.Leap != 3 || m.RootDispersion != 1 || m.Turnaround.Least() != 1e-3 || m.Forge != ForgeZero || math.Abs(m.Drift-100e-6) > 1e-18 {
		t.Errorf("the master: %+v", m)
	}
	if l.To.Added != Millisecond || l.From.Added != 2*Millisecond || l.To.Delay.Least() != 5e-3 || l.From.Delay.Least() != 6e-3 || l.To.Loss != 0.5 || !l.From.Down {
		t.Errorf("the paths: %+v %+v", l.To, l.From)
	}
	if d := c.Oscillator().FrequencyError(14*Second) - f; math.Abs(d-3e-6) > 1e-12 || c.stamps.invalid != Millisecond {
		t.Errorf("the client: frequency +%g, stamps %v", d, c.stamps.invalid)
	}
	if err := w.Run(25 * Second); err != nil {
		t.Fatal(err)
	}
	if m.Dead != masterBefore.Dead || m.Kiss != "" || m.Leap != 0 || m.RootDispersion != masterBefore.RootDispersion || m.Forge != "" || m.Drift != 0 || m.Turnaround.Least() != 20e-6 {
		t.Errorf("the master afterwards: %+v", m)
	}
	if l.To.Added != 0 || l.From.Added != 0 || l.To.Delay.String() != toBefore.Delay.String() || l.From.Loss != fromBefore.Loss || l.To.Down {
		t.Errorf("the paths afterwards: %+v %+v", l.To, l.From)
	}
	if d := c.Oscillator().FrequencyError(24*Second) - f; math.Abs(d) > 1e-12 || c.stamps.invalid != 0 {
		t.Errorf("the client afterwards: frequency +%g, stamps %v", d, c.stamps.invalid)
	}
}

// FuzzScenario: no document crashes the parser, and one that is accepted can be run for a moment.
func FuzzScenario(f *testing.F) {
	f.Add(small)
	f.Add(stormy)
	for _, name := range Names() {
		if b, err := Source(name); err == nil {
			f.Add(string(b))
		}
	}
	f.Add("length = \"1s\"\n[client]\noscillator = { offset_ppm = nan }")
	f.Add("length = \"1s\"\nsample=\"-1s\"")
	f.Fuzz(func(t *testing.T, document string) {
		s, err := Parse("fuzz", []byte(document))
		if err != nil {
			return
		}
		hosts := s.Client.Count
		for i := range s.Servers {
			hosts += s.Servers[i].Count
		}
		if g := s.Group; g != nil && (g.Members > 7 || g.Probes/float64(g.Period) > 10) {
			return
		}
		if hosts > 20 || s.Sample < 1e-3 || s.Client.Poll != 0 && s.Client.Poll < 0.01 || s.Client.BurstSpacing != 0 && s.Client.BurstSpacing < 0.01 ||
			s.Client.Heartbeat != 0 && s.Client.Heartbeat < 0.01 {
			return // right, but too much for a fuzz test
		}
		w, err := s.Build(1)
		if err != nil {
			t.Fatalf("accepted, but cannot be built: %v", err)
		}
		if err := w.Run(Second); err != nil {
			t.Fatal(err)
		}
	})
}
