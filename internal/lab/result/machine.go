package result

import (
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// ThisMachine describes the computer that this program runs on, with the counter that it measures with. What is not known is empty.
func ThisMachine(counter string) *Machine {
	m := &Machine{CPUs: runtime.NumCPU(), Arch: runtime.GOARCH, Counter: counter}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = printable(unix.ByteSliceToString(u.Release[:]))
	}
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return m
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			m.CPU = printable(strings.TrimSpace(value))
			break
		}
	}
	return m
}

// printable makes foreign text one that a result may hold.
func printable(s string) string {
	return clip(strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?")), 200)
}
