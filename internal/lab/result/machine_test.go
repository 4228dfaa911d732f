package result

import (
	"runtime"
	"strings"
	"testing"
)

// TestThisMachine: what it says of this machine is so, and a result may hold it.
func TestThisMachine(t *testing.T) {
	r := whole()
	r.Machine = ThisMachine("tsc")
	if m := r.Machine; m.CPUs != runtime.NumCPU() || m.Arch != runtime.GOARCH || m.Counter != "tsc" || runtime.GOOS == "linux" && m.Kernel == "" {
		t.Errorf("%+v", m)
	}
	encoded(t, r)
}

// TestPrintable: foreign text cannot play with a terminal, nor make a result too long.
func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{"a\x1b[31mb": "a [31mb", "x\xffy": "x?y", "é\u0085": "é "} {
		if got := printable(text); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
	if n := len(printable(strings.Repeat("x", 10_000))); n > 300 {
		t.Errorf("%d bytes", n)
	}
}
