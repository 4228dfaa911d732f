package packaged

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/clockd/clockd/internal/testkit"
)

const (
	root       = "../../.."
	oldVersion = "1.0.0"
	newVersion = "1.0.1"
)

// asked skips a test that takes longer than `make test` may: building packages and booting systems is `make test-systemd`.
func asked(t *testing.T) {
	t.Helper()
	if os.Getenv("CLOCKD_TEST_SYSTEMD") == "" {
		t.Skip("run by `make test-systemd`, and with the environment variable CLOCKD_TEST_SYSTEMD=1")
	}
}

// tools puts the tools that `make deps` builds on the path, and skips the test if they are not there.
func tools(t *testing.T) {
	t.Helper()
	asked(t)
	bin, err := filepath.Abs(filepath.Join(root, ".tools/bin"))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	testkit.RequireTool(t, "nfpm")
	testkit.RequireTool(t, "cyclonedx-gomod")
}

// build makes the packages of a version in a directory.
func build(t *testing.T, version, dist string, settings ...string) {
	t.Helper()
	c := exec.Command(filepath.Join(root, "scripts/packages"), runtime.GOARCH)
	c.Env = append(os.Environ(), "VERSION="+version, "DIST="+dist, "TZ=Asia/Kathmandu", "TMPDIR="+t.TempDir(),
		"SOURCE_DATE_EPOCH=1750000000") // a commit during the test is no difference
	c.Env = append(c.Env, settings...)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("scripts/packages: %v\n%s", err, out)
	}
}

func glob(t *testing.T, pattern string) string {
	t.Helper()
	list, err := filepath.Glob(pattern)
	if err != nil || len(list) != 1 {
		t.Fatalf("%s: %v, %v, want one file", pattern, list, err)
	}
	return list[0]
}

// Two builds in different directories, under different users' settings, give the same bytes; lintian and rpm have nothing to say.
func TestPackagesAreReproducibleAndClean(t *testing.T) {
	tools(t)
	lintian, rpm := testkit.RequireTool(t, "lintian"), testkit.RequireTool(t, "rpm")
	first, second := t.TempDir(), t.TempDir()
	build(t, oldVersion, first)
	// Another home, but not another download of everything.
	for _, name := range []string{"GOCACHE", "GOMODCACHE"} {
		out, err := exec.Command("go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv(name, strings.TrimSpace(string(out)))
	}
	t.Setenv("HOME", t.TempDir())
	t.Setenv("LANG", "de_DE.UTF-8")
	build(t, oldVersion, second)
	entries, err := os.ReadDir(first)
	if err != nil || len(entries) < 4 {
		t.Fatalf("%d files: %v; want a .deb, a .rpm, an SBOM and the sums", len(entries), err)
	}
	for _, e := range entries {
		a, errA := os.ReadFile(filepath.Join(first, e.Name()))
		b, errB := os.ReadFile(filepath.Join(second, e.Name()))
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Errorf("%s differs between two builds (%v, %v)", e.Name(), errA, errB)
		}
		t.Logf("%s: %d bytes", e.Name(), len(a))
	}
	deb, redhat := glob(t, first+"/*.deb"), glob(t, first+"/*.rpm")
	if out, err := exec.Command(lintian, "--allow-root", "--fail-on", "error,warning", deb).CombinedOutput(); err != nil {
		t.Errorf("lintian: %v\n%s", err, out)
	}
	if out, err := exec.Command(rpm, "-K", redhat).CombinedOutput(); err != nil || !strings.Contains(string(out), "digests OK") {
		t.Errorf("rpm -K: %v\n%s", err, out)
	}
	out, err := exec.Command(rpm, "-qpl", redhat).CombinedOutput()
	for _, want := range []string{"/usr/bin/clockd", "/etc/clockd/clockd.toml", "/usr/lib/systemd/system/clockd.service", "/usr/share/man/man1/clockd-run.1.gz",
		"/usr/share/zsh/site-functions/_clockd", "/usr/share/fish/vendor_completions.d/clockd.fish", "/usr/share/bash-completion/completions/clockd"} {
		if err != nil || !strings.Contains(string(out), want+"\n") {
			t.Errorf("the .rpm has no %s (%v)", want, err)
		}
	}
}
