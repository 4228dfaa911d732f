package delay

import "testing"

func TestLengths(t *testing.T) {
	for text, want := range map[string]float64{
		"50us": 50e-6, "50µs": 50e-6, "1.5 ms": 1.5e-3, "-3s": -3, "2h": 7200, "1e3s": 1000, "0": 0, "250ps": 250e-12, "3min": 180, "2d": 172800, "+7ns": 7e-9, " 1s ": 1,
	} {
		if got, err := ParseLength(text); err != nil || got != want {
			t.Errorf("%q is %g (%v), want %g", text, got, err, want)
		}
	}
	for _, text := range []string{"", "5", "s", "1 y", "NaNs", "infs", "0x10s", "1e300s", "--1s", "1,5s"} {
		if got, err := ParseLength(text); err == nil {
			t.Errorf("%q is %g", text, got)
		}
	}
}
