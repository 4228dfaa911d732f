package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/internal/privileges"
)

// What a host offers a clock beyond its counter, and how to switch on what is off.

// examineHost looks at all of it. pid is the running daemon's, 0 without one.
func (d *diagnosis) examineHost(root string, pid int) {
	d.examineVMClock(filepath.Join(root, hw.VMClockPath), filepath.Join(root, "proc/cpuinfo"))
	d.examineCards()
	d.examineSources(root)
	d.examineDaemonsPrivileges(pid)
	d.examineManager(filepath.Join(root, "run/systemd/system"), filepath.Join(root, "proc", strconv.Itoa(pid), "cgroup"), pid)
}

// examineVMClock looks for the hypervisor's page.
func (d *diagnosis) examineVMClock(device, cpuinfo string) {
	_, err := hw.OpenVMClock(device)
	switch {
	case err == nil:
		d.add("ok", "vmclock", "the hypervisor tells of migrations and restored snapshots, and readers see it within one reading")
	case errors.Is(err, fs.ErrPermission):
		d.add("note", "vmclock", "there is %s, which this user may not read: its programs learn of a migration from the daemon only", device)
		d.enable("let everybody read the device (a udev rule: KERNEL==\"vmclock[0-9]*\", MODE=\"0444\"), and the daemon too: docs/operations.md")
	case !errors.Is(err, fs.ErrNotExist):
		d.add("note", "vmclock", "%v", err)
	case virtual(cpuinfo):
		d.add("note", "vmclock", "this is a virtual machine whose hypervisor has no VMClock: a live migration or a restored snapshot cannot be noticed for certain")
		d.enable("a hypervisor with VMClock (QEMU 10, EC2) and Linux 6.13; or call \"clockd resync --reason host_paused\" in a hook after it")
	default:
		d.add("ok", "vmclock", "there is none, and no sign of a hypervisor that would need one")
	}
}

// virtual reports whether the processor says that a hypervisor runs it.
func virtual(cpuinfo string) bool {
	b, err := os.ReadFile(cpuinfo)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "flags") && slices.Contains(strings.Fields(line), "hypervisor") {
			return true
		}
	}
	return false
}

// examineCards looks for network cards with a clock.
func (d *diagnosis) examineCards() {
	interfaces, err := net.Interfaces()
	if err != nil {
		d.add("note", "network cards", "they cannot be listed: %v", err)
		return
	}
	found := false
	for _, i := range interfaces {
		s, err := hw.QueryInterfaceStamps(i.Name)
		if err != nil || !s.Hardware {
			continue
		}
		found = true
		device := "/dev/ptp" + strconv.Itoa(s.ClockIndex)
		if f, err := os.Open(device); err != nil {
			d.add("note", "network cards", "%s stamps packets by its clock %s, which this user may not read: %v", i.Name, device, err)
			d.enable("CAP_NET_ADMIN and the device for the daemon: the drop-in hardware-stamps.conf in docs/operations.md")
		} else {
			_ = f.Close()
			d.add("ok", "network cards", "%s stamps packets by its clock %s", i.Name, device)
		}
	}
	if !found {
		d.add("ok", "network cards", "none stamps packets itself; the kernel's stamps do")
	}
}

// examineDaemonsPrivileges looks at what the running daemon has given up.
func (d *diagnosis) examineDaemonsPrivileges(pid int) {
	if pid == 0 {
		return
	}
	names, err := privileges.Effective(pid)
	if err != nil {
		d.add("note", "capabilities", "%v", err)
	} else if len(names) <= 4 {
		d.add("ok", "capabilities", "the daemon has %s", firstOf(strings.Join(names, " "), "none"))
	} else {
		d.add("note", "capabilities", "the daemon has %d capabilities, far more than it needs", len(names))
		d.enable("see its log for why it could not give them up")
	}
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		d.add("note", "seccomp", "the daemon's state cannot be read: %v", err)
		return
	}
	if strings.Contains(string(b), "Seccomp:\t2\n") {
		d.add("ok", "seccomp", "the kernel refuses the daemon's system calls that a clock does not need")
		return
	}
	d.add("note", "seccomp", "the daemon may make any system call")
	d.enable("privileges.seccomp = true, and a kernel with CONFIG_SECCOMP_FILTER")
}

// examineManager looks at who starts the daemon and would notice if it hung.
func (d *diagnosis) examineManager(systemd, cgroup string, pid int) {
	if _, err := os.Stat(systemd); err != nil {
		d.add("note", "service manager", "this host was not started by systemd: nobody restarts a daemon that hangs")
		return
	}
	if pid == 0 {
		d.add("note", "service manager", "systemd would start the daemon, and restart it if it hangs")
		d.enable("systemctl enable --now clockd (docs/install.md)")
		return
	}
	b, err := os.ReadFile(cgroup)
	if err == nil && strings.Contains(string(b), ".service") && !strings.Contains(string(b), "user@") {
		d.add("ok", "service manager", "systemd keeps the daemon, and ends and restarts it if its loop stands still")
		return
	}
	d.add("note", "service manager", "the daemon was started by hand: nobody restarts it if it hangs")
	d.enable("systemctl enable --now clockd (docs/install.md)")
}

// examineReadability tells whether other users can read the page.
func (d *diagnosis) examineReadability(page string) {
	info, err := os.Stat(page)
	if err != nil {
		return // the daemon's absence is told elsewhere
	}
	closed := info.Mode().Perm()&0o004 == 0
	for dir := filepath.Dir(page); !closed; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil && info.Mode().Perm()&0o001 == 0 {
			closed = true
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	if closed {
		d.add("note", "readers", "other users cannot read %s", page)
		d.enable("a page.path in a directory that everybody may enter, such as /run/clockd")
		return
	}
	d.add("ok", "readers", "every user can read the clock from %s", page)
}

// timeDaemons are what else steers the system's clock: the unit and the socket or file by which each is known.
var timeDaemons = [...]struct{ unit, file string }{
	{"chrony.service", "run/chrony/chronyd.pid"}, {"chronyd.service", "run/chronyd.pid"}, {"ntp.service", "run/ntpd.pid"}, {"ntpd.service", ""},
	{"ntpsec.service", ""}, {"openntpd.service", "run/ntpd.sock"}, {"ntpd-rs.service", "run/ntpd-rs/observe"}, {"systemd-timesyncd.service", ""},
	{"ptp4l.service", "run/ptp4l"}, {"phc2sys.service", ""}, {"vmtoolsd.service", ""},
}

// runningTimeDaemons returns what steers the system's clock on the host below root, by processes, units that run and sockets.
func runningTimeDaemons(root string) []string {
	found := otherDaemons(filepath.Join(root, "proc"))
	for _, k := range timeDaemons {
		for _, hierarchy := range []string{"", "systemd", "unified"} {
			if _, err := os.Stat(filepath.Join(root, "sys/fs/cgroup", hierarchy, "system.slice", k.unit)); err == nil {
				found = append(found, "the unit "+k.unit)
				break
			}
		}
		if k.file == "" {
			continue
		}
		if _, err := os.Stat(filepath.Join(root, k.file)); err == nil {
			found = append(found, fmt.Sprintf("the file /%s", k.file))
		}
	}
	return found
}

// running asks the daemon for its status; nil if none answers.
func (a *app) running(ctx context.Context) *control.Status {
	var s control.Status
	if control.Call(ctx, a.control(), control.CommandStatus, &s) != nil {
		return nil
	}
	return &s
}

// localSources are clocks that other programs, or devices, offer on a host. What following one takes is what clockd would need.
var localSources = [...]struct{ name, pattern, takes string }{
	{"a clock device", "dev/ptp[0-9]*", "packets that are stamped by it are used (stamps.hardware); the device is not followed as a source of its own: phc2sys or chronyd (refclock PHC) can serve it by NTP to clockd on this host"},
	{"a pulse per second", "dev/pps[0-9]*", "it is not read: chronyd (refclock PPS) or ntpd can serve it by NTP to clockd on this host"},
	{"chronyd", "run/chrony/chronyd.sock", "follow it as any server, if it serves (allow 127.0.0.1 in chrony.conf): [[source]] address = \"127.0.0.1\"; its tracking is not read"},
	{"gpsd", "run/gpsd.sock", "it is not read: chronyd (refclock SOCK or SHM) can serve it by NTP to clockd on this host"},
	{"ClockBound", "var/run/clockbound/shm0", "it is not followed: follow what its chronyd follows; clockd can take its place (docs/migrate-clockbound.md)"},
}

// examineSources lists the clocks that this host offers besides servers on the network.
func (d *diagnosis) examineSources(root string) {
	found := false
	for _, s := range localSources {
		paths, err := filepath.Glob(filepath.Join(root, s.pattern))
		if err != nil {
			continue
		}
		for _, path := range paths {
			found = true
			d.add("note", "sources", "%s: %s", s.name, path)
			d.enable(s.takes)
		}
	}
	for _, unit := range sharedMemoryUnits(filepath.Join(root, "proc/sysvipc/shm")) {
		found = true
		d.add("note", "sources", "a program writes the time into NTP shared memory, unit %d", unit)
		d.enable(fmt.Sprintf("it is not read: chronyd (refclock SHM %d) can serve it by NTP to clockd on this host", unit))
	}
	if !found {
		d.add("ok", "sources", "this host offers no clock but servers on the network")
	}
}

// sharedMemoryUnits lists the segments of NTP's shared memory driver: the key is "NTP0" and the unit.
func sharedMemoryUnits(list string) []int {
	b, err := os.ReadFile(list)
	if err != nil {
		return nil
	}
	const first = 0x4e545030
	var units []int
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if key, err := strconv.Atoi(fields[0]); err == nil && key >= first && key < first+256 {
			units = append(units, key-first)
		}
	}
	return units
}
