package chrony

import (
	"math"
	"net/netip"
	"strings"
	"testing"
)

// sample is what chronyc 4.3 prints.
const sample = "7F000001,127.0.0.1,2,1764209400.123456789,-0.000012345,-0.000001234,0.000004321,-12.345,-0.001,0.123,0.000456789,0.000023456,1.0,Normal\n"

func TestParseTracking(t *testing.T) {
	got, err := ParseTracking(sample)
	want := Tracking{Synchronised: true, Stratum: 2, Correction: -12.345e-6, FrequencyPPM: -12.345, SkewPPM: 0.123, RootDelay: 0.000456789, RootDispersion: 0.000023456}
	if err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	if b := got.Bound(); math.Abs(b-(0.000456789/2+0.000023456)) > 1e-15 {
		t.Errorf("bound %g", b)
	}
	for text, part := range map[string]string{
		"": "EOF", "1,2,3\n": "fields", strings.Replace(sample, "-12.345,-0.001", "NaN,-0.001", 1): "no finite number",
		strings.Replace(sample, "0.000456789", "x", 1): "column 11", strings.Replace(sample, ",2,", ",two,", 1): "stratum",
	} {
		if _, err := ParseTracking(text); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q: %v, want %q", text, err, part)
		}
	}
	for _, text := range []string{strings.Replace(sample, "Normal", "Not synchronised", 1), strings.Replace(sample, ",2,", ",0,", 1)} {
		if got, err := ParseTracking(text); err != nil || got.Synchronised {
			t.Errorf("%q is synchronised: %v", text, err)
		}
	}
}

// FuzzParseTracking: whatever chronyc prints, no figure is infinite or no number, and nothing panics.
func FuzzParseTracking(f *testing.F) {
	f.Add(sample)
	f.Add("")
	f.Add("\"\n,,,,,,,,,,,,,\n")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseTracking(text)
		if err != nil && got != (Tracking{}) {
			t.Errorf("%+v with %v", got, err)
		}
		for _, x := range []float64{got.Correction, got.FrequencyPPM, got.SkewPPM, got.RootDelay, got.RootDispersion} {
			if math.IsNaN(x) || math.IsInf(x, 0) {
				t.Errorf("%+v", got)
			}
		}
	})
}

func TestText(t *testing.T) {
	c := Config{Directory: "/tmp/x", Servers: []Server{{Address: "127.0.0.1:999", MinPoll: -2, MaxPoll: 0, Interleaved: true, Extra: []string{"iburst"}}}, Extra: []string{"logchange 0.1"}}
	text, err := c.Text()
	for _, line := range []string{"port 0", "cmdport 0", "server 127.0.0.1 port 999 minpoll -2 maxpoll 0 xleave iburst", "logchange 0.1", "bindcmdaddress /tmp/x/chronyd.sock"} {
		if err != nil || !strings.Contains(text, line+"\n") {
			t.Errorf("%v, no %q in\n%s", err, line, text)
		}
	}
	c.Listen, c.LocalStratum = netip.MustParseAddrPort("127.0.0.9:1234"), 3
	if text, err = c.Text(); err != nil || !strings.Contains(text, "port 1234\nbindaddress 127.0.0.9\nallow all\nlocal stratum 3\n") {
		t.Errorf("%v\n%s", err, text)
	}
	c.Servers[0].Address = "nowhere"
	if _, err := c.Text(); err == nil || c.Write() == nil {
		t.Error("an address without a port")
	}
	args, err := c.Arguments()
	if err != nil || args[0] != "-x" {
		t.Errorf("%v, %v: the clock could be touched", args, err)
	}
}

func TestFind(t *testing.T) {
	if _, err := Find("chronyd-of-nowhere"); err == nil || !strings.Contains(err.Error(), "apt install chrony") {
		t.Errorf("%v does not say what to install", err)
	}
}
