package testkit

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// System is a Debian that was booted with systemd as its first process, in a network namespace of a Net. It has a fresh copy of the
// root file system, which is forgotten, and shares the machine's kernel and clock, but may not set it.
type System struct {
	*Process
	t      testing.TB
	leader int
}

// BootSystemd boots the root file system that `scripts/deps rootfs` makes, and shuts it down with the test. Without root,
// systemd-nspawn or the file system the test is skipped, or fails when CI=true.
func BootSystemd(t testing.TB, host *Host) *System {
	t.Helper()
	RequireRoot(t)
	nspawn := RequireTool(t, "systemd-nspawn")
	root := rootFileSystem(t)
	name := host.Name
	groups := makeControlGroups(t, name)
	// The container is put under control groups of its own before it is started: two in one would stop each other's processes.
	script := `for g in ` + strings.Join(groups, " ") + `; do echo $$ > $g/cgroup.procs; done; exec "$@"`
	command := exec.Command("sh", "-c", script, "sh", nspawn, "--directory="+root, "--boot", "--register=no", "--keep-unit", "--machine="+name, "--console=pipe",
		"--volatile=overlay", "--network-namespace-path="+namespaceFile(name), "--drop-capability=CAP_SYS_TIME")
	s := &System{Process: StartProcess(t, command), t: t}
	t.Cleanup(func() { _ = s.Stop(20 * time.Second) })
	WaitFor(t, 60*time.Second, "systemd to be up", func() bool {
		select {
		case <-s.Done():
			t.Fatalf("the container ended: %s", s.Output())
		default:
		}
		s.leader = s.child()
		if s.leader == 0 {
			return false
		}
		state, _ := s.Try("systemctl", "is-system-running")
		return strings.HasPrefix(state, "running") || strings.HasPrefix(state, "degraded")
	})
	return s
}

// rootFileSystem returns the directory of the root file system.
func rootFileSystem(t testing.TB) string {
	t.Helper()
	root := os.Getenv("CLOCKD_ROOTFS")
	if root == "" {
		root = "/var/cache/clockd-test/rootfs"
	}
	if _, err := os.Stat(filepath.Join(root, "usr/lib/systemd/systemd")); err != nil {
		unavailable(t, "there is no Debian to boot at "+root+": run `scripts/deps rootfs` as root")
	}
	return root
}

// makeControlGroups makes a control group of that name in each hierarchy that systemd uses, and removes them with the test.
func makeControlGroups(t testing.TB, name string) []string {
	t.Helper()
	parents := []string{"/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		parents = []string{"/sys/fs/cgroup"}
	}
	var groups []string
	for _, parent := range parents {
		if _, err := os.Stat(parent); err != nil {
			continue
		}
		group := filepath.Join(parent, name)
		if err := os.Mkdir(group, 0o755); err != nil {
			unavailable(t, fmt.Sprintf("this test makes control groups: %v", err))
		}
		groups = append(groups, group)
		t.Cleanup(func() { removeGroups(t, group) })
	}
	if len(groups) == 0 {
		unavailable(t, "there are no control groups in /sys/fs/cgroup")
	}
	return groups
}

// removeGroups removes a control group with those below it, from the bottom up, once its processes have gone.
func removeGroups(t testing.TB, group string) {
	WaitFor(t, 20*time.Second, "the control group to be empty", func() bool {
		var all []string
		_ = filepath.WalkDir(group, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				all = append(all, path)
			}
			return nil
		})
		var failed error
		for i := len(all) - 1; i >= 0; i-- {
			failed = errors.Join(failed, os.Remove(all[i]))
		}
		return failed == nil
	})
}

// child returns the process id of the container's first process, 0 if there is none yet.
func (s *System) child() int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", s.PID(), s.PID()))
	first, _, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
	pid, parseErr := strconv.Atoi(first)
	if err != nil || parseErr != nil {
		return 0
	}
	return pid
}

// Leader returns the process id, outside, of the system's first process: nsenter(1) goes in by it.
func (s *System) Leader() int { return s.leader }

// Command returns a command that runs inside, as root.
func (s *System) Command(name string, args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--target", strconv.Itoa(s.leader), "--all", "--", name}, args...)...)
}

// Try runs a command inside and returns what it printed, on both outputs.
func (s *System) Try(name string, args ...string) (string, error) {
	out, err := s.Command(name, args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// Run runs a command inside that must succeed.
func (s *System) Run(name string, args ...string) string {
	s.t.Helper()
	out, err := s.Try(name, args...)
	if err != nil {
		s.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// Write puts a file inside.
func (s *System) Write(path string, content []byte) {
	s.t.Helper()
	c := s.Command("sh", "-c", `mkdir -p "$(dirname "$1")" && cat > "$1"`, "sh", path)
	c.Stdin = bytes.NewReader(content)
	if out, err := c.CombinedOutput(); err != nil {
		s.t.Fatalf("%s cannot be written: %v\n%s", path, err, out)
	}
}
