package hw

import (
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

// text writes a description as Spec does, with start and origin.
func (d *description) text() string {
	switch {
	case d.name == nameSkewed:
		return nameSkewed + "(" + d.base.text() + d.skew.text() + ")"
	case d.frequency != nil:
		return d.name + frequencyText(*d.frequency)
	case d.timeNamespace != 0:
		return (&monotonicRaw{timeNamespace: d.timeNamespace}).Spec()
	}
	return d.name
}

func TestParseSpec(t *testing.T) {
	for text, want := range map[string]description{
		"auto":                                   {name: "auto"},
		" tsc ":                                  {name: "tsc"},
		"tsc()":                                  {},
		"cntvct":                                 {name: "cntvct"},
		"monotonic_raw":                          {name: "monotonic_raw"},
		"tsc(hz=2596120000.123,error_ppb=80)":    {name: "tsc", frequency: &Frequency{2596120000.123, 80}},
		"cntvct( hz = 24e6 )":                    {name: "cntvct", frequency: &Frequency{24e6, 0}},
		"monotonic_raw(timens=4026531834)":       {name: "monotonic_raw", timeNamespace: 4026531834},
		"skewed(tsc)":                            {name: "skewed", base: &description{name: "tsc"}},
		"skewed(manual(hz=5),start=0,origin=18)": {name: "skewed", base: &description{name: "manual", frequency: &Frequency{5, 0}}, hasStart: true, hasOrigin: true, skew: Skew{Origin: 18}},
		"skewed(auto, seed=3, ppm=-31.5, walk=1e-9, sine=1ppm/3600s/0.25, step=2ppm@100s, step=-2ppm@200.5s, jump=2.5s@7s, jump=1e-3s@8s, ageing=1ppb/day, limit=50ppm)": {
			name: "skewed", base: &description{name: "auto"},
			skew: Skew{Seed: 3, PPM: -31.5, WalkPerRootSecond: 1e-9, Sine: Sine{1, 3600, 0.25},
				Steps: []FrequencyStep{{2, 100}, {-2, 200.5}}, Jumps: []CounterJump{{2.5, 7}, {1e-3, 8}}, AgeingPPBPerDay: 1, LimitPPM: 50},
		},
	} {
		got, err := parseSpec(text)
		if want.name == "" {
			if err == nil {
				t.Errorf("%s was accepted", text)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if !reflect.DeepEqual(*got, want) {
			t.Errorf("%s: %+v, not %+v", text, *got, want)
		}
	}
}

func TestParseSpecSaysWhatIsWrong(t *testing.T) {
	for text, want := range map[string]string{
		"":                                    "there are auto, tsc, cntvct",
		"hpet":                                `no counter "hpet"`,
		"auto(hz=1)":                          "auto takes no settings",
		"tsc(hz=1":                            "no closing parenthesis",
		"tsc(hz=1)x":                          "no closing parenthesis",
		"tsc(hz=1))":                          "do not match",
		"skewed(tsc)(ppm=1)":                  "do not match",
		"tsc(hertz=1)":                        "it has hz and error_ppb",
		"tsc(error_ppb=1)":                    "without hz",
		"tsc(hz=0)":                           "outside of 1 to 1e+12",
		"tsc(hz=NaN)":                         "outside of",
		"tsc(hz=inf)":                         "outside of",
		"tsc(hz=1,hz=2)":                      "given twice",
		"tsc(hz=1,error_ppb=-1)":              "outside of",
		"tsc(hz)":                             "key=value",
		"tsc(hz=)":                            "key=value",
		"tsc(hz=2.5GHz)":                      "not a number",
		"monotonic_raw(hz=1)":                 "it has timens",
		"monotonic_raw(timens=0)":             "leave it out",
		"monotonic_raw(timens=x)":             "whole number",
		"skewed":                              "needs the counter below it",
		"skewed()":                            "there is no counter",
		"skewed(ppm=3)":                       "there is no counter",
		"skewed(tsc,30)":                      "key=value",
		"skewed(tsc,drift=30)":                "it has seed, ppm",
		"skewed(tsc,ppm=200000)":              "outside of",
		"skewed(tsc,ppm=20,limit=10ppm)":      "ppm is 20; it must be from -10 to 10",
		"skewed(tsc,limit=0ppm)":              "outside of",
		"skewed(tsc,walk=-1)":                 "outside of",
		"skewed(tsc,sine=1ppm/5s/0)":          "outside of",
		"skewed(tsc,sine=1/50s/0)":            "does not end in ppm",
		"skewed(tsc,sine=1ppm/50s)":           "1ppm/3600s/0.25",
		"skewed(tsc,step=1ppm)":               "2ppm@100s",
		"skewed(tsc,step=1ppm@5)":             "does not end in s",
		"skewed(tsc,jump=1s)":                 "2s@100s",
		"skewed(tsc,jump=-1s@5s)":             "outside of",
		"skewed(tsc,ageing=1)":                "ppb/day",
		"skewed(tsc,seed=-1)":                 "whole number",
		"skewed(tsc,seed=1,seed=1)":           "given twice",
		"skewed(tsc,origin=1e3)":              "whole number",
		"skewed(skewed(skewed(skewed(tsc))))": "nested more than",
		"skewed(tsc" + strings.Repeat(",step=1ppm@1s", maxSteps+1) + ")": "at most 64",
		strings.Repeat("(", maxSpecBytes):                                "nested|no closing",
		strings.Repeat("x", maxSpecBytes+1):                              "at most 4096",
	} {
		_, err := parseSpec(text)
		if err == nil {
			t.Errorf("%.60s was accepted", text)
			continue
		}
		found := false
		for _, w := range strings.Split(want, "|") {
			found = found || strings.Contains(err.Error(), w)
		}
		if !found {
			t.Errorf("%.60s: %q does not say %q", text, err, want)
		}
		if len(err.Error()) > 700 {
			t.Errorf("%.60s: the error has %d bytes", text, len(err.Error()))
		}
		if _, errOpen := Open(text); errOpen == nil {
			t.Errorf("Open(%.60s) succeeds", text)
		}
	}
}

func TestSkewTextIsExact(t *testing.T) {
	seeds(t, 300, func(t *testing.T, r *rand.Rand) {
		k := randomSkew(r)
		d, err := parseSpec(nameSkewed + "(" + nameTSC + k.text() + ")")
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(d.skew, k) {
			t.Fatalf("%+v comes back as %+v", k, d.skew)
		}
	})
}

func FuzzParseSpec(f *testing.F) {
	for _, text := range []string{
		"auto", "tsc", "cntvct(hz=24000000)", "tsc(hz=2596120000.123,error_ppb=80)", "monotonic_raw(timens=4026531834)",
		"skewed(tsc,seed=3,ppm=31.5,walk=1e-9,sine=1ppm/3600s/0.25,step=2ppm@100s,jump=3s@9s,ageing=1ppb/day,limit=100ppm,start=1,origin=2)",
		"skewed(skewed(manual(hz=1),ppm=1),ppm=-1)", "skewed(tsc", "tsc(hz=0x1p3)", "((((", "a,b=c", "tsc(hz=-0)", "skewed(tsc,ppm=-0)",
		"skewed(tsc,sine=0ppm/10s/1)", "skewed(tsc,step=0ppm@0s)",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := parseSpec(text)
		if err != nil {
			if d != nil {
				t.Fatal("an error with a result")
			}
			return
		}
		// What is written means the same, and is written the same again.
		canonical := d.text()
		again, err := parseSpec(canonical)
		if err != nil {
			t.Fatalf("%q is written as %q, which is refused: %v", text, canonical, err)
		}
		if again.text() != canonical {
			t.Fatalf("%q, %q, %q", text, canonical, again.text())
		}
		if d.name != nameSkewed {
			return
		}
		// Any skew that is accepted makes a counter that is monotone, and goes at a believable rate between its jumps.
		s, err := NewSkewed(NewManual(Frequency{Hertz: 1e6}), d.skew)
		if err != nil {
			t.Fatalf("%q is parsed but refused: %v", text, err)
		}
		twin, err := NewSkewed(NewManual(Frequency{Hertz: 1e6}), again.skew)
		if err != nil {
			t.Fatal(err)
		}
		last := s.At(s.skew.Start - 1e6)
		for base := s.skew.Start; base != s.skew.Start+20e6; base += 1e6 {
			now := s.At(base)
			if now.Sub(last) < 0.9e6-1 || now.Sub(last) > 1.1e6+1 && d.skew.Jumps == nil {
				t.Fatalf("%q makes %d of a million ticks", text, now.Sub(last))
			}
			// The spec completes a missing start and origin with zero here, as the parsed skew has it.
			if twin.At(base) != now {
				t.Fatalf("%q reads differently from its own text", text)
			}
			last = now
		}
	})
}
