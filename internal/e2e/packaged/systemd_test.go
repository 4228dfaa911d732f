package packaged

import (
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/virtualclock"
)

// patience ends a test that hangs; nothing that works takes nearly as long.
const patience = 90 * time.Second

// debian is a booted Debian with a chronyd to follow.
type debian struct {
	*testkit.System
	t      *testing.T
	server *testkit.Chronyd
	dist   string
}

func boot(t *testing.T) *debian {
	t.Helper()
	tools(t)
	net := testkit.NamespaceNet(t, 2)
	server := testkit.StartChronyd(t, testkit.ChronyOptions{LocalStratum: 1, Address: net.Hosts[0].Address, Port: 123, Host: net.Hosts[0]})
	return bootAt(t, net.Hosts[1], server)
}

func bootAt(t *testing.T, host *testkit.Host, server *testkit.Chronyd) *debian {
	t.Helper()
	d := &debian{t: t, dist: t.TempDir(), server: server, System: testkit.BootSystemd(t, host)}
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := d.Try("journalctl", "--no-pager", "--output=short-precise", "--lines=150", "--unit=clockd", "--unit=clockd-wait")
			t.Logf("the journal:\n%s", log)
		}
	})
	return d
}

// install installs a version as dpkg does.
func (d *debian) install(version string) string {
	d.t.Helper()
	if built, _ := filepath.Glob(d.dist + "/clockd_" + version + "_*.deb"); len(built) == 0 {
		build(d.t, version, d.dist, "FORMATS=deb")
	}
	b, err := os.ReadFile(glob(d.t, fmt.Sprintf("%s/clockd_%s_*.deb", d.dist, version)))
	if err != nil {
		d.t.Fatal(err)
	}
	d.Write("/tmp/clockd.deb", b)
	return d.Run("dpkg", "--install", "/tmp/clockd.deb")
}

// follow is a configuration that follows the chronyd, as an administrator would write it into the file that is there, and quick.
func (d *debian) follow() string {
	return fmt.Sprintf("[[source]]\naddress = %q\npoll = \"250ms\"\nburst_spacing = \"20ms\"\n[clock]\nlifetime = \"4s\"\n[control]\nmode = \"0666\"\n"+
		"[server]\nlisten = [\"[::]:123\"]\n[http]\nlisten = [\"127.0.0.1:9123\"]\n", d.server.Address())
}

// user runs a command as a user who is nobody in particular.
func (d *debian) user(args ...string) (string, error) {
	return d.Try("setpriv", append([]string{"--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs", "--bounding-set=-all", "--"}, args...)...)
}

func (d *debian) status() (s control.Status, err error) {
	out, err := d.user("clockd", "status", "--json")
	if err == nil {
		err = json.Unmarshal([]byte(out), &s)
	}
	return s, err
}

// reach waits for a status that ordinary users are told.
func (d *debian) reach(what string, ok func(s *control.Status) bool) control.Status {
	d.t.Helper()
	var last control.Status
	testkit.WaitFor(d.t, patience, what, func() bool {
		s, err := d.status()
		last = s
		return err == nil && ok(&s)
	})
	return last
}

func (d *debian) synchronised() control.Status {
	d.t.Helper()
	return d.reach("the clock to be synchronised", func(s *control.Status) bool { return s.Status == virtualclock.Synchronised })
}

// property is a property of a unit.
func (d *debian) property(unit, name string) string {
	d.t.Helper()
	return d.Run("systemctl", "show", "--value", "--property="+name, unit)
}

// told waits until systemd has been told that.
func (d *debian) told(text string) {
	d.t.Helper()
	testkit.WaitFor(d.t, patience, "systemd to be told: "+text, func() bool { return d.property("clockd", "StatusText") == text })
}

// page identifies the file of the shared page.
func (d *debian) page() string {
	d.t.Helper()
	return d.Run("stat", "--format=%i %U %a", "/run/clockd/page")
}

// An administrator's whole acquaintance with the package, in the order in which it happens.
func TestLifeOnADebianWithSystemd(t *testing.T) {
	d := boot(t)
	began := time.Now()
	for _, step := range []struct {
		name string
		run  func(t *testing.T, d *debian)
	}{
		{"installed: it runs, and says that it does not know the time", installed},
		{"configured: synchronised, for everybody to read", configured},
		{"hardened", hardened},
		{"time-sync.target waits for the first bound", waitsForTime},
		{"a configuration that is not good is refused", refusesBadConfiguration},
		{"restarted: readers keep their page", restarted},
		{"killed: systemd starts it again", killed},
		{"stopped: the watchdog ends it, readers know before", hung},
		{"resumed from suspend: resynchronised", resumed},
		{"upgraded: readers keep their page, settings stay", upgraded},
		{"removed, installed again, purged: nothing is left", removed},
	} {
		ok := t.Run(step.name, func(t *testing.T) {
			inner := *d
			inner.t = t
			step.run(t, &inner)
		})
		t.Logf("%5.1f s %s", time.Since(began).Seconds(), step.name)
		if !ok {
			break // what follows rests on it
		}
	}
}

func installed(t *testing.T, d *debian) {
	d.install(oldVersion)
	s := d.reach("the daemon to answer", func(*control.Status) bool { return true })
	if s.Version != oldVersion || s.Status.Sound() || s.Config.Path != "/etc/clockd/clockd.toml" {
		t.Errorf("version %q, %v, configuration %q", s.Version, s.Status, s.Config.Path)
	}
	if got := d.property("clockd", "UnitFileState"); got != "enabled" {
		t.Errorf("the unit is %q", got)
	}
	d.told("unsynchronised: the clock has not been synchronised since it started")
	if _, err := d.user("clockd", "wait", "--timeout", "1ms"); err == nil {
		t.Error("clockd wait says that the clock is good")
	}
	d.Run("clockd", "check", "/etc/clockd/clockd.toml")
	for _, file := range []string{"/usr/share/bash-completion/completions/clockd", "/usr/share/zsh/vendor-completions/_clockd",
		"/usr/share/fish/vendor_completions.d/clockd.fish", "/usr/share/man/man1/clockd.1.gz"} {
		// A minimal Debian leaves documentation out (dpkg's path-exclude), so only that the package names it.
		if _, err := d.Try("sh", "-c", "dpkg --listfiles clockd | grep --fixed-strings --line-regexp "+file); err != nil {
			t.Errorf("the package has no %s", file)
		}
	}
}

func configured(t *testing.T, d *debian) {
	d.Write("/etc/clockd/clockd.toml", []byte(d.follow()))
	d.Run("systemctl", "reload", "clockd")
	s := d.synchronised()
	if s.Source == nil || *s.Source+":123" != d.server.Address() || s.Server == nil || len(s.Server.Listening) == 0 {
		t.Errorf("source %v, want %s, server %+v", s.Source, d.server.Address(), s.Server)
	}
	out, err := d.user("clockd", "now", "--json")
	var now control.Now
	if err == nil {
		err = json.Unmarshal([]byte(out), &now)
	}
	// The container shares the machine's clock, and so does the chronyd.
	if err != nil || now.Via != "page" || now.EarliestNS == nil {
		t.Fatalf("an ordinary user reads %s: %v", out, err)
	}
	if at := time.Unix(0, *now.TimeNS); time.Since(at).Abs() > 30*time.Second {
		t.Errorf("the clock is at %v", at)
	}
	if out, err := d.user("clockd", "status"); err != nil || !strings.Contains(out, "● synchronised  true time is within") {
		t.Errorf("clockd status: %v\n%s", err, out)
	}
	d.told("synchronised")
}

func hardened(t *testing.T, d *debian) {
	d.Run("systemd-analyze", "verify", "--man=no", "/usr/lib/systemd/system/clockd.service", "/usr/lib/systemd/system/clockd-wait.service")
	for _, unit := range []string{"clockd.service", "clockd-wait.service"} {
		out, err := d.Try("systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=15", "/usr/lib/systemd/system/"+unit)
		if err != nil {
			t.Errorf("%s: %v\n%s", unit, err, out)
		}
		t.Log(out[strings.LastIndex(out, "→"):])
	}
	pid := d.property("clockd", "MainPID")
	status := d.Run("cat", "/proc/"+pid+"/status")
	// 0x400 is CAP_NET_BIND_SERVICE; Seccomp 2 is a filter, of which there are two: systemd's and the daemon's own.
	for _, want := range []string{"CapEff:\t0000000000000400", "CapBnd:\t0000000000000400", "NoNewPrivs:\t1", "Seccomp:\t2"} {
		if !strings.Contains(status, want+"\n") {
			t.Errorf("the daemon has no %q in\n%s", want, status)
		}
	}
	if log := d.Run("journalctl", "--no-pager", "--unit=clockd", "--output=cat"); !strings.Contains(log, "msg=privileges kept=cap_net_bind_service seccomp=true uid=") ||
		strings.Contains(log, "more privileges") {
		t.Errorf("the daemon does not say what it gave up:\n%s", log)
	}
	if owner := d.Run("stat", "--format=%U", "/proc/"+pid); owner != "clockd" {
		t.Errorf("the daemon runs as %s", owner)
	}
	t.Log(d.Run("grep", "-E", "VmRSS|RssAnon", "/proc/"+pid+"/status"))
}

func waitsForTime(t *testing.T, d *debian) {
	d.Write("/etc/systemd/system/needs-time.service", []byte("[Unit]\nAfter=time-sync.target\nWants=time-sync.target\n[Service]\nType=oneshot\nRemainAfterExit=yes\n"+
		"ExecStart=/usr/bin/clockd wait --bound 100ms --timeout 1ms --page /run/clockd/page\n"))
	d.Run("systemctl", "daemon-reload")
	d.Run("systemctl", "start", "clockd-wait.service", "needs-time.service")
	if got := d.property("clockd-wait", "ActiveState"); got != "active" {
		t.Errorf("clockd-wait is %q", got)
	}
	d.Run("rm", "/etc/systemd/system/needs-time.service")
	d.Run("systemctl", "stop", "needs-time.service")
}

func refusesBadConfiguration(t *testing.T, d *debian) {
	before := d.synchronised()
	d.Write("/etc/clockd/clockd.toml", []byte(d.follow()+"[clock2]\n"))
	if out, err := d.Try("systemctl", "reload", "clockd"); err == nil {
		t.Errorf("systemctl reload succeeds: %s", out)
	}
	if log := d.Run("journalctl", "--no-pager", "--unit=clockd", "--lines=20", "--output=cat"); !strings.Contains(log, "clock2") {
		t.Errorf("the journal does not name the mistake:\n%s", log)
	}
	// Somebody who sends the signal himself is told by the daemon.
	d.Run("systemctl", "kill", "--signal=HUP", "clockd")
	s := d.reach("the reload to be refused", func(s *control.Status) bool { return strings.Contains(s.Config.Error, "clock2") })
	if s.PID != before.PID || !s.Status.Sound() {
		t.Errorf("process %d, %v", s.PID, s.Status)
	}
	d.Write("/etc/clockd/clockd.toml", []byte(d.follow()))
	d.Run("systemctl", "reload", "clockd")
	d.reach("the reload to be accepted", func(s *control.Status) bool { return s.Config.Error == "" })
}

func restarted(t *testing.T, d *debian) {
	before, page := d.synchronised(), d.page()
	d.Run("systemctl", "restart", "clockd")
	after := d.synchronised()
	if after.PID == before.PID || after.Epoch <= before.Epoch {
		t.Errorf("process %d then %d, epoch %d then %d", before.PID, after.PID, before.Epoch, after.Epoch)
	}
	if now := d.page(); now != page || !strings.HasSuffix(now, " clockd 644") {
		t.Errorf("the page was %q and is %q", page, now)
	}
}

func killed(t *testing.T, d *debian) {
	before, page := d.synchronised(), d.page()
	d.Run("systemctl", "kill", "--signal=KILL", "clockd")
	d.reach("another process", func(s *control.Status) bool { return s.PID != before.PID && s.Status == virtualclock.Synchronised })
	if got := d.property("clockd", "NRestarts"); got == "0" {
		t.Errorf("systemd counts %s restarts", got)
	}
	if now := d.page(); now != page {
		t.Errorf("the page was %q and is %q", page, now)
	}
}

func hung(t *testing.T, d *debian) {
	before := d.synchronised()
	// Quicker than by default, so that the test is short.
	d.Write("/etc/systemd/system/clockd.service.d/quick.conf", []byte("[Service]\nWatchdogSec=8\nTimeoutAbortSec=2\n"))
	d.Run("systemctl", "daemon-reload")
	d.Run("systemctl", "restart", "clockd")
	before = d.reach("the restart", func(s *control.Status) bool { return s.PID != before.PID && s.Status == virtualclock.Synchronised })
	d.Run("systemctl", "kill", "--signal=STOP", "clockd")
	// lifetime is 4 s: by then readers of a daemon that stands still have been told that there is no time.
	testkit.WaitFor(t, patience, "readers to be told", func() bool {
		var now control.Now
		out, err := d.user("clockd", "now", "--json", "--page", "/run/clockd/page")
		return err == nil && json.Unmarshal([]byte(out), &now) == nil && !now.Status.Sound() && now.TimeNS == nil
	})
	d.reach("the watchdog", func(s *control.Status) bool { return s.PID != before.PID && s.Status == virtualclock.Synchronised })
	if log := d.Run("journalctl", "--no-pager", "--unit=clockd", "--output=cat"); !strings.Contains(log, "Failed with result 'watchdog'") ||
		!strings.Contains(log, "SIGABRT: abort") {
		t.Errorf("the journal has no watchdog, or not where the daemon hung:\n%s", log)
	}
}

func resumed(t *testing.T, d *debian) {
	before := d.synchronised()
	if out, err := d.user("clockd", "resync"); err == nil {
		t.Errorf("any user can resynchronise: %s", out)
	}
	d.Run("/usr/lib/systemd/system-sleep/clockd", "post", "suspend")
	after := d.reach("a new epoch", func(s *control.Status) bool { return s.Epoch > before.Epoch && s.Status == virtualclock.Synchronised })
	if after.PID != before.PID {
		t.Error("the daemon was restarted")
	}
}

func upgraded(t *testing.T, d *debian) {
	page := d.page()
	d.install(newVersion)
	d.reach("the new version", func(s *control.Status) bool { return s.Version == newVersion && s.Status == virtualclock.Synchronised })
	if now := d.page(); now != page {
		t.Errorf("the page was %q and is %q", page, now)
	}
	if got := d.Run("cat", "/etc/clockd/clockd.toml"); got != strings.TrimSpace(d.follow()) {
		t.Errorf("the upgrade changed the configuration:\n%s", got)
	}
}

func removed(t *testing.T, d *debian) {
	d.Run("clockd", "keygen")
	d.Run("rm", "-r", "/etc/systemd/system/clockd.service.d")
	d.Run("dpkg", "--remove", "clockd")
	if out, err := d.Try("pgrep", "-x", "clockd"); err == nil {
		t.Errorf("still running: %s", out)
	}
	d.Run("test", "-e", "/etc/clockd/clockd.toml", "-a", "-e", "/etc/clockd/identity", "-a", "!", "-e", "/run/clockd")
	d.install(newVersion)
	d.synchronised()
	d.Run("dpkg", "--purge", "clockd")
	left, _ := d.Try("find", "/etc", "/usr", "/var", "/run", "/lib/systemd", "-xdev", "-name", "*clockd*", "-not", "-path", "/var/log/journal/*")
	for file := range strings.Lines(left) {
		t.Errorf("%s is left (%s)", strings.TrimSpace(file), path.Base(file))
	}
	if failed := d.Run("systemctl", "list-units", "--failed", "--no-legend", "--plain"); strings.Contains(failed, "clockd") {
		t.Errorf("systemd knows of failed units:\n%s", failed)
	}
}
