package config

import (
	"strings"
	"testing"
)

func TestSystemClockIsChecked(t *testing.T) {
	for text, want := range map[string]string{
		`discipline = "chrony"`:       `"chrony" is none of "off", "realtime" and "aux"`,
		`step = "sometimes"`:          `"sometimes" is none of "never", "start" and "always"`,
		`aux = 2`:                     `write discipline = "aux" as well`,
		"discipline = \"aux\"\naux=8": "out of range",
		`max_slew = "20%"`:            "out of range",
		`interval = "1ms"`:            "out of range",
		`leap_file = "leapseconds"`:   "absolute",
		`step_threshold = "0s"`:       "out of range",
	} {
		_, err := Parse("f", []byte(source+"[system_clock]\n"+text+"\n"), testPaths())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	c, err := Parse("f", []byte(source), testPaths())
	if err != nil || c.SystemClock.Discipline != DisciplineOff {
		t.Errorf("without the section: %+v, %v", c.SystemClock, err)
	}
}
