package sim

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/clockd/clockd/internal/delay"
	"github.com/clockd/clockd/internal/sim/adversary"
)

// TestDocumentedScenarios: the examples in docs/scenarios.md can be run, and every key of a scenario and of the JSON is in it.
func TestDocumentedScenarios(t *testing.T) {
	b, err := os.ReadFile("../../docs/scenarios.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	examples := strings.Split(text, "```toml\n")[1:]
	if len(examples) == 0 {
		t.Error("there is no example")
	}
	for _, e := range examples {
		e, _, _ = strings.Cut(e, "```")
		s, err := Parse("example", []byte(e))
		if err != nil {
			t.Error(err)
			continue
		}
		s.Length = 60
		for i := range s.Faults {
			s.Faults[i].At, s.Faults[i].Until = 20, 40
		}
		if r, err := s.Run(1, nil); err != nil || r[0].BoundViolations != 0 {
			t.Errorf("%v: %+v", err, r)
		}
	}
	for _, v := range []any{Scenario{}, Published{}, ClientConfig{}, OscillatorConfig{}, SineConfig{}, FrequencyStep{}, StampConfig{}, ServerConfig{}, PathConfig{},
		CongestionConfig{}, FaultConfig{}, GroupConfig{}, GroupFault{}, Result{}, Vouched{}, VouchedSummary{}, GroupResult{}, Rejoin{}, Violation{}, Change{}, Ratios{}} {
		for _, tag := range []string{"toml", "json"} {
			for i := range reflect.TypeOf(v).NumField() {
				f := reflect.TypeOf(v).Field(i)
				if key := f.Tag.Get(tag); key != "" && !strings.Contains(text, "`"+key) && !strings.Contains(text, "\n"+key+" =") && !documented(key) {
					t.Errorf("%T: %s is not documented", v, key)
				}
			}
		}
	}
	for _, law := range delay.Names() {
		if !strings.Contains(text, law+"(") {
			t.Errorf("the law %s is not documented", law)
		}
	}
	for _, d := range adversary.Names() {
		if !strings.Contains(text, "`"+d.Name+"`") {
			t.Errorf("the liar %s is not documented", d.Name)
		}
	}
	for _, d := range drives() {
		if d != driveNone && !strings.Contains(text, "`"+d+"`") {
			t.Errorf("the drive %s is not documented", d)
		}
	}
	for _, f := range Forgeries() {
		if !strings.Contains(text, "`"+string(f)+"`") {
			t.Errorf("the forgery %s is not documented", f)
		}
	}
}

// documented lists the headings.
func documented(key string) bool {
	return key == "client" || key == "server" || key == "fault" || key == "group"
}
