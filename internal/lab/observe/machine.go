package observe

import (
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/clockd/clockd/internal/lab/result"
)

// machine describes this host. What it does not know is empty.
func machine(counter string) *result.Machine {
	m := &result.Machine{CPUs: runtime.NumCPU(), Arch: runtime.GOARCH, Counter: counter}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = Clean(unix.ByteSliceToString(u.Release[:]))
	}
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return m
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			m.CPU = Clean(strings.TrimSpace(value))
			break
		}
	}
	return m
}
