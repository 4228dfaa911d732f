package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/cli"
	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/internal/daemon/explain"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// finding is one thing that doctor looked at.
type finding struct {
	// Verdict is ok, note (it works, but could be better) or bad.
	Verdict string `json:"verdict"`
	Topic   string `json:"topic"`
	Text    string `json:"text"`
	// Enable says how to have what is missing; "" if nothing is, or nothing can be done.
	Enable string `json:"enable,omitempty"`
}

// diagnosis is what doctor --json prints.
type diagnosis struct {
	Counters []hw.Candidate `json:"counters"`
	// Counter is the one that "auto" takes, null if none.
	Counter  *string        `json:"counter"`
	Stamps   *hw.StampProbe `json:"stamps"`
	Findings []finding      `json:"findings"`
}

func (d *diagnosis) add(verdict, topic, format string, args ...any) {
	d.Findings = append(d.Findings, finding{Verdict: verdict, Topic: topic, Text: fmt.Sprintf(format, args...)})
}

// enable says of the last finding how to have what is missing.
func (d *diagnosis) enable(how string) { d.Findings[len(d.Findings)-1].Enable = how }

func newDoctor(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Examine this host: counters, packet stamps, permissions, other clocks' daemons",
		Long: `Examine what this host offers a clock: its hardware counters and which one "auto" takes and
why, packet stamps, network cards with clocks, whether the hypervisor tells of migrations, the
directories and sockets, this user's and the daemon's privileges, its service manager, and whether
somebody steers the system's clock, and who. What is off is told with how to switch it on. Nothing
is changed. The exit code is 1 if something is bad.`,
		Example: "  clockd doctor\n  clockd doctor --json | jq .counter",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			d := a.examine(c)
			if a.json {
				if err := a.printJSON(d); err != nil {
					return err
				}
			} else {
				a.showDiagnosis(d)
			}
			for _, f := range d.Findings {
				if f.Verdict == "bad" {
					return &cli.CodeError{Code: cli.Error, Err: fmt.Errorf("%s: %s", f.Topic, f.Text), Quiet: true}
				}
			}
			return nil
		},
	}
	return a.asJSON(c)
}

func (a *app) examine(c *cobra.Command) *diagnosis {
	d := &diagnosis{Counters: hw.Probe(), Findings: []finding{}}
	choice, err := hw.Choose("auto")
	if err != nil {
		d.add("bad", "counter", "%v", err)
	} else {
		spec := choice.Counter.Spec()
		d.Counter = &spec
		d.add("ok", "counter", "auto takes %s", choice.Reason)
		d.examineStamps(choice.Counter)
	}
	s := a.running(c.Context())
	pid := 0
	if s != nil {
		pid = s.PID
	} else {
		a.examineFiles(d) // where "run" would write
	}
	a.examineDaemon(d, c)
	d.examineReadability(a.page())
	a.examinePrivileges(d, s)
	d.examineHost("/", pid)
	d.examineSteering("/")
	return d
}

func (d *diagnosis) examineStamps(counter hw.Counter) {
	o := hw.StampOptions{Counter: counter, Kernel: true, Hardware: true}
	p, err := hw.ProbeStamps(o)
	// The kernel begins to stamp a moment after the first socket has asked for it: a socket kept open makes the next look true.
	if err == nil && p.Capabilities.Reason == reason.StampMissing {
		if keep, err := hw.ListenUDP(netip.MustParseAddrPort("127.0.0.1:0"), o); err == nil {
			time.Sleep(50 * time.Millisecond)
			p, _ = hw.ProbeStamps(o)
			_ = keep.Close()
		}
	}
	if err != nil {
		d.add("bad", "stamps", "%v", err)
		return
	}
	d.Stamps = &p
	c := &p.Capabilities
	if c.Receive >= hw.StampKernel && c.Transmit >= hw.StampKernel {
		d.add("ok", "stamps", "the kernel stamps packets within %s (arrival) and %s (departure); hardware: %s",
			explain.Seconds(p.ReceiveErrorNanoseconds*1e-9), explain.Seconds(p.TransmitErrorNanoseconds*1e-9), c.Hardware)
		return
	}
	d.add("note", "stamps", "arrival %s, departure %s: %s; the bounds are right all the same, but wider", c.Receive, c.Transmit, c.Reason.Explain())
}

// examineFiles looks at the directories that run would write to.
func (a *app) examineFiles(d *diagnosis) {
	for _, f := range []struct{ topic, path string }{{"page", a.page()}, {"control", a.control()}, {"state", a.paths().State}} {
		dir := existing(filepath.Dir(f.path))
		if err := unix.Access(dir, unix.W_OK); err != nil {
			d.add("bad", f.topic, "this user may not write to %s (%v): \"clockd run\" needs %s", dir, err, f.path)
			continue
		}
		d.add("ok", f.topic, "%s can be made by this user", f.path)
	}
}

// existing returns the nearest directory above that exists.
func existing(dir string) string {
	for {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}

func (a *app) examineDaemon(d *diagnosis, c *cobra.Command) {
	var s control.Status
	if err := control.Call(c.Context(), a.control(), control.CommandStatus, &s); err != nil {
		d.add("note", "daemon", "%v", err)
		return
	}
	d.add("ok", "daemon", "clockd %s is running as process %d: %s", s.Version, s.PID, s.Status)
	r, err := virtualclock.OpenPage(a.page())
	if err != nil {
		d.add("bad", "page", "%v", err)
		return
	}
	defer func() { _ = r.Close() }()
	_, why := r.ReadReason()
	if why != reason.OK {
		d.add("note", "page", "the page can be read: %s", why.Explain())
		return
	}
	d.add("ok", "page", "the page can be read and the clock is good")
}

// examinePrivileges looks at what only some users may.
func (a *app) examinePrivileges(d *diagnosis, s *control.Status) {
	conn, err := hw.ListenUDP(netip.MustParseAddrPort("[::]:123"), hw.StampOptions{Counter: hw.NewManual(hw.Frequency{Hertz: 1e9})})
	switch {
	case err == nil:
		_ = conn.Close()
		d.add("ok", "port 123", "this user may serve NTP on port 123")
	case s != nil && s.Server != nil && strings.Contains(strings.Join(s.Server.Listening, " ")+" ", ":123 "):
		d.add("ok", "port 123", "clockd serves on it")
	case strings.Contains(err.Error(), unix.EADDRINUSE.Error()):
		d.add("note", "port 123", "port 123 is taken: another NTP server runs here")
		d.enable("stop it (see other daemons below), or serve on another port (server.listen); a client needs no port")
	default:
		d.add("note", "port 123", "this user may not serve on port 123 (%v); a client need not", err)
		d.enable("CAP_NET_BIND_SERVICE, which the unit has, or a port above 1023")
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err == nil {
		if a.uid == 0 || limit.Cur >= 64<<20 {
			d.add("ok", "memory lock", "memory may be locked, so that a daemon is not paged out")
		} else {
			d.add("note", "memory lock", "only %d KiB may be locked: under memory pressure the daemon may be paged out, which widens bounds and does not falsify them", limit.Cur>>10)
			d.enable("LimitMEMLOCK=64M in the unit, or ulimit -l")
		}
	}
	if _, err := hw.SuspendOffset(); err != nil {
		d.add("bad", "suspend", "a suspend of this host could not be noticed: %v", err)
	}
}

// examineSteering tells whether somebody steers the system's clock. clockd does not mind, but a person may want to know.
func (d *diagnosis) examineSteering(root string) {
	var t unix.Timex // modes 0: read only
	state, err := unix.Adjtimex(&t)
	if err != nil {
		d.add("note", "system clock", "the kernel does not tell whether it is steered: %v", err)
		return
	}
	const staUnsync = 0x40
	ppm := float64(t.Freq) / 65536
	switch {
	case state != unix.TIME_ERROR && t.Status&staUnsync == 0:
		d.add("ok", "system clock", "a daemon steers the system's clock (%+.3f ppm); clockd neither needs nor disturbs it", ppm)
	case ppm != 0:
		d.add("ok", "system clock", "the system's clock is set to %+.3f ppm and not marked synchronised; clockd neither needs nor disturbs it", ppm)
	default:
		d.add("ok", "system clock", "nobody steers the system's clock; clockd does not either")
	}
	if names := runningTimeDaemons(root); len(names) > 0 {
		d.add("note", "other daemons", "they steer the system's clock, and one of them may hold port 123: %s", strings.Join(names, ", "))
	} else {
		d.add("ok", "other daemons", "no other time daemon is seen here")
	}
}

// otherDaemons lists the time daemons that can be seen in proc.
func otherDaemons(proc string) []string {
	known := []string{"chronyd", "ntpd", "ntpsec", "openntpd", "systemd-timesyn", "ntp-daemon", "ptp4l", "phc2sys", "ts2phc"}
	var found []string
	entries, err := filepath.Glob(filepath.Join(proc, "[0-9]*", "comm"))
	if err != nil {
		return nil
	}
	for _, path := range entries {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		for _, k := range known {
			if strings.TrimSpace(string(b)) == k {
				found = append(found, fmt.Sprintf("%s (process %s)", k, filepath.Base(filepath.Dir(path))))
			}
		}
	}
	return found
}

func (a *app) showDiagnosis(d *diagnosis) {
	a.print("%s\n", a.paint(bold, "Counters"))
	rows := [][]string{}
	for _, c := range d.Counters {
		mark, figures := a.paint(red, "no "), ""
		if c.Usable {
			mark = a.paint(green, "yes")
			figures = fmt.Sprintf("%.6g MHz, a reading costs %s", c.Frequency.Hertz/1e6, explain.Seconds(c.Resolution.ReadCost*1e-9))
		}
		rows = append(rows, []string{"  " + mark, c.Name, figures, c.Reason})
	}
	a.table(rows)
	a.print("%s\n", a.paint(bold, "Findings"))
	rows = rows[:0]
	for _, f := range d.Findings {
		colour := map[string]string{"ok": green, "note": yellow, "bad": red}[f.Verdict]
		rows = append(rows, []string{"  " + a.paint(colour, fmt.Sprintf("%-4s", f.Verdict)), f.Topic, f.Text})
		if f.Enable != "" {
			rows = append(rows, []string{"      ", "", "→ " + f.Enable})
		}
	}
	a.table(rows)
}
