package testkit

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// RequireTool returns the path of a program, looking in the system directories too, which an ordinary user's PATH may lack. If
// it is missing the test is skipped with the reason; with CI=true it fails, because there a skipped proof is no proof.
func RequireTool(t testing.TB, name string) string {
	t.Helper()
	path, err := findTool(name)
	if err != nil {
		unavailable(t, fmt.Sprintf("%s is not installed: run `make deps` as root", name))
	}
	return path
}

func findTool(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return filepath.Abs(path)
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("testkit: %s: %w", name, exec.ErrNotFound)
}

// RequireRoot skips the test, or fails it when CI=true, if it does not run as root.
func RequireRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		unavailable(t, "this test needs root: network namespaces are made in it")
	}
}

// RequireTUN skips the test, or fails it when CI=true, if it may not make TUN and TAP devices.
func RequireTUN(t testing.TB) {
	t.Helper()
	RequireRoot(t)
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		unavailable(t, fmt.Sprintf("this test needs TUN devices: load the kernel's module tun: %v", err))
	}
}

// unavailable ends the test because something outside the project is missing.
func unavailable(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s (CI=true: a skip counts as a failure)", why)
	}
	t.Skip(why)
}

// WaitFor polls until ok returns true and fails the test if that takes longer than limit. The limit is there so that a broken
// test ends; choose it far above what a slow machine needs.
func WaitFor(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", limit, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
