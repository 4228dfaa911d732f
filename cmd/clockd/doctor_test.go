package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// files makes files below a directory that stands for a host's root.
func files(t *testing.T, list map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for path, text := range list {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// Whoever steers the clock is found by process, by unit in either layout of control groups, or by socket.
func TestDoctorFindsTimeDaemons(t *testing.T) {
	for what, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"a process":       {map[string]string{"proc/17/comm": "chronyd\n", "proc/18/comm": "bash\n"}, "chronyd (process 17)"},
		"a unit":          {map[string]string{"sys/fs/cgroup/system.slice/systemd-timesyncd.service/cgroup.procs": ""}, "the unit systemd-timesyncd.service"},
		"in a hierarchy":  {map[string]string{"sys/fs/cgroup/systemd/system.slice/ntpsec.service/cgroup.procs": ""}, "the unit ntpsec.service"},
		"a socket":        {map[string]string{"run/ntpd-rs/observe": ""}, "the file /run/ntpd-rs/observe"},
		"nobody":          {map[string]string{"proc/18/comm": "bash\n"}, ""},
		"not a daemon's":  {map[string]string{"proc/18/comm": "chronyd-of-mine\n", "sys/fs/cgroup/system.slice/cron.service/x": ""}, ""},
		"clockd, no less": {map[string]string{"proc/18/comm": "clockd\n"}, ""},
	} {
		if got := strings.Join(runningTimeDaemons(files(t, c.files)), ", "); got != c.want {
			t.Errorf("%s: %q, want %q", what, got, c.want)
		}
	}
}

func TestDoctorTellsHowToEnable(t *testing.T) {
	vmclock := "VCLK\x00\x10\x00\x00\x01\x00" + strings.Repeat("\x00", 4086)
	for what, c := range map[string]struct {
		files                 map[string]string
		pid                   int
		topic, verdict, words string
		enable                bool
	}{
		"a guest without vmclock": {map[string]string{"proc/cpuinfo": "flags\t: fpu hypervisor\n"}, 0, "vmclock", "note", "virtual machine", true},
		"a machine":               {map[string]string{"proc/cpuinfo": "flags\t: fpu\n"}, 0, "vmclock", "ok", "no sign", false},
		"a guest with vmclock":    {map[string]string{"proc/cpuinfo": "flags\t: hypervisor\n", "dev/vmclock0": vmclock}, 0, "vmclock", "ok", "within one reading", false},
		"a strange device":        {map[string]string{"dev/vmclock0": strings.Replace(vmclock, "\x01", "\x07", 1)}, 0, "vmclock", "note", "version 7", false},
		"no systemd":              {nil, 0, "service manager", "note", "not started by systemd", false},
		"not enabled":             {map[string]string{"run/systemd/system/x": ""}, 0, "service manager", "note", "would start", true},
		"a service": {map[string]string{"run/systemd/system/x": "", "proc/7/cgroup": "0::/system.slice/clockd.service\n"}, 7, "service manager", "ok",
			"restarts it", false},
		"by hand": {map[string]string{"run/systemd/system/x": "", "proc/7/cgroup": "0::/user.slice/user-0.slice/session-1.scope\n"}, 7, "service manager", "note",
			"by hand", true},
	} {
		root := files(t, c.files)
		d := &diagnosis{}
		d.examineVMClock(filepath.Join(root, "dev/vmclock0"), filepath.Join(root, "proc/cpuinfo"))
		d.examineManager(filepath.Join(root, "run/systemd/system"), filepath.Join(root, "proc/7/cgroup"), c.pid)
		ok := false
		for _, f := range d.Findings {
			ok = ok || f.Topic == c.topic && f.Verdict == c.verdict && strings.Contains(f.Text, c.words) && (f.Enable != "") == c.enable
		}
		if !ok {
			t.Errorf("%s: no %s of %s with %q in %+v", what, c.verdict, c.topic, c.words, d.Findings)
		}
	}
}

func TestDoctorTellsWhoCanRead(t *testing.T) {
	root := files(t, map[string]string{"clockd/page": "", "closed/page": ""})
	if err := os.Chmod(filepath.Join(root, "closed"), 0o700); err != nil {
		t.Fatal(err)
	}
	// t.TempDir itself may be closed to others; what is seen is one more closed directory, never one less.
	for dir, want := range map[string]string{"closed": "note"} {
		d := &diagnosis{}
		d.examineReadability(filepath.Join(root, dir, "page"))
		if len(d.Findings) != 1 || d.Findings[0].Verdict != want || d.Findings[0].Enable == "" {
			t.Errorf("%s: %+v", dir, d.Findings)
		}
	}
}

func TestDoctorListsSources(t *testing.T) {
	for what, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"nothing":       {nil, "no clock but servers"},
		"a device":      {map[string]string{"dev/ptp3": ""}, "a clock device"},
		"a pulse":       {map[string]string{"dev/pps0": ""}, "a pulse per second"},
		"chronyd":       {map[string]string{"run/chrony/chronyd.sock": ""}, "chronyd"},
		"ClockBound":    {map[string]string{"var/run/clockbound/shm0": ""}, "ClockBound"},
		"shared memory": {map[string]string{"proc/sysvipc/shm": "       key      shmid perms\n1314148402          0   600\n         0 1 600\n"}, "unit 2"},
	} {
		d := &diagnosis{}
		d.examineSources(files(t, c.files))
		if len(d.Findings) != 1 || !strings.Contains(d.Findings[0].Text, c.want) || (d.Findings[0].Enable != "") != (c.files != nil) {
			t.Errorf("%s: %+v", what, d.Findings)
		}
	}
}
