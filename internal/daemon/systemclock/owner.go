//go:build linux

package systemclock

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// capSysTime is the bit of CAP_SYS_TIME in /proc/PID/status.
const capSysTime = 25

// keepers are programs that keep CLOCK_REALTIME, as /proc/PID/comm has them (15 letters).
var keepers = [...]string{"chronyd", "ntpd", "ntp-daemon", "openntpd", "systemd-timesyn", "phc2sys", "ptpd", "ptpd2", "timemaster", "adjtimed", "VBoxService", "sptp"}

// marks are left by keepers while they run, for a daemon that may not look at others' processes: files with a process id, and a
// directory.
var marks = [...]struct{ path, name string }{
	{"run/chrony/chronyd.pid", "chronyd"}, {"run/chronyd.pid", "chronyd"}, {"run/ntpd.pid", "ntpd"}, {"run/openntpd/ntpd.pid", "openntpd"},
	{"run/ntpsec/ntpd.pid", "ntpd"}, {"run/systemd/timesync", "systemd-timesyncd"},
}

// FindOwner returns who else keeps the system clock, such as "chronyd (process 123)", or "". root is where /proc and /run are, normally
// "/". A program that may not set the clock, or was told not to (chronyd -x), is none.
func FindOwner(root string) string {
	entries, err := os.ReadDir(filepath.Join(root, "proc"))
	if err != nil {
		entries = nil
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if name := keeper(filepath.Join(root, "proc", e.Name())); name != "" {
			return fmt.Sprintf("%s (process %d)", name, pid)
		}
	}
	return marked(root)
}

// keeper returns the name of the process if it keeps the clock.
func keeper(dir string) string {
	comm, err := os.ReadFile(filepath.Join(dir, "comm"))
	name := strings.TrimSpace(string(comm))
	if err != nil || !slices.Contains(keepers[:], name) || !maySetClock(dir) {
		return ""
	}
	line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err == nil && harmless(name, strings.Split(strings.TrimRight(string(line), "\x00"), "\x00")) {
		return ""
	}
	return name
}

// harmless says whether a keeper was told not to touch the clock.
func harmless(name string, arguments []string) bool {
	for _, a := range arguments[min(1, len(arguments)):] {
		switch {
		case name == "chronyd" && (a == "-x" || a == "-Q"):
			return true
		case name == "ntpd" && (a == "-W"): // busybox: only looks
			return true
		}
	}
	return false
}

// maySetClock says whether a process has CAP_SYS_TIME; if that cannot be seen it may.
func maySetClock(dir string) bool {
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return !errors.Is(err, os.ErrNotExist)
	}
	for line := range bytes.Lines(status) {
		if rest, ok := bytes.CutPrefix(line, []byte("CapEff:")); ok {
			set, err := strconv.ParseUint(string(bytes.TrimSpace(rest)), 16, 64)
			return err != nil || set>>capSysTime&1 != 0
		}
	}
	return true
}

// marked looks for what keepers leave in /run, where /proc does not show them.
func marked(root string) string {
	for _, m := range marks {
		path := filepath.Join(root, m.path)
		info, err := os.Stat(path)
		switch {
		case err != nil:
		case info.IsDir():
			return m.name + " (" + path + ")"
		default:
			text, err := os.ReadFile(path)
			pid, bad := strconv.Atoi(strings.TrimSpace(string(text)))
			if err != nil || bad != nil || pid <= 1 {
				continue
			}
			// A process that can be seen was judged by what it is.
			if _, err := os.Stat(filepath.Join(root, "proc", strconv.Itoa(pid))); err == nil {
				continue
			}
			if err := unix.Kill(pid, 0); err == nil || errors.Is(err, unix.EPERM) {
				return fmt.Sprintf("%s (process %d)", m.name, pid)
			}
		}
	}
	return ""
}
