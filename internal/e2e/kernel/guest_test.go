//go:build kernel && linux

package kernel

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/internal/ntp"
	"github.com/clockd/clockd/reason"
)

// This is the guest's half: the test's own program as process 1 of a User-mode Linux kernel.

// mark begins each line that is meant for the host.
const mark = "CLOCKD-GUEST "

// result is what a scenario found.
type result struct {
	Scenario string `json:"scenario"`
	Error    string `json:"error,omitempty"`
	// Phase names a part of the scenario.
	Phase string `json:"phase"`
	// Samples of the clock against the truth: how many, how many with a promise, how many of those were false.
	Samples    int `json:"samples"`
	Promised   int `json:"promised"`
	Violations int `json:"violations"`
	// Worst is the worst violation, for people.
	Worst string `json:"worst,omitempty"`
	// Near are the samples that were taken in less than a millisecond.
	Near int `json:"near"`
	// RMS and Max are of clock − truth, MeanMaxError of what it claimed; seconds.
	RMS          float64 `json:"rms_s"`
	Max          float64 `json:"max_s"`
	MeanMaxError float64 `json:"mean_max_error_s"`
	// Last is the last offset.
	Last float64 `json:"last_s"`
	// Kernel's state at the end.
	FrequencyPPM float64              `json:"frequency_ppm"`
	Status       int32                `json:"status"`
	State        int                  `json:"state"`
	TAI          int32                `json:"tai"`
	Clockd       *control.SystemClock `json:"clockd,omitempty"`
	Leap         *control.Leap        `json:"leap,omitempty"`
	Backwards    int                  `json:"backwards"`
	States       map[string]int       `json:"states,omitempty"`
	Log          string               `json:"log,omitempty"`
}

// inGuest says whether this process is process 1 of a User-mode Linux kernel, the only place where a clock may be written.
func inGuest() bool {
	b, err := os.ReadFile("/proc/cpuinfo")
	return os.Getpid() == 1 && err == nil && bytes.Contains(b, []byte("User Mode Linux"))
}

// guest runs the scenario and switches the machine off.
func guest(scenario string) {
	defer func() { _ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF) }()
	if os.Getpid() != 1 {
		return // not a guest at all
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil || !inGuest() {
		say(result{Scenario: scenario, Error: fmt.Sprintf("this is no User-mode Linux guest: %v", err)})
		return
	}
	g := &world{scenario: scenario, random: rand.New(rand.NewPCG(uint64(number("CLOCKD_SEED", 1)), 7)), sine: 3e-6, period: 7200}
	if err := g.run(); err != nil {
		say(result{Scenario: scenario, Error: err.Error(), Log: g.log.String()})
	}
}

// scaled is a length of a phase; a kernel without simulated time is not asked for hours.
func scaled(d time.Duration) time.Duration {
	return time.Duration(float64(d) * number("CLOCKD_SCALE", 1))
}

// begin sets the guest's clock where the kernel's command line could not: one without simulated time begins with the machine's time.
func begin() error {
	at := number("CLOCKD_BEGIN", 0)
	if at == 0 {
		return nil
	}
	if !inGuest() {
		return errors.New("no clock but a guest's is set")
	}
	t := unix.NsecToTimeval(int64(at) * 1e9)
	return unix.Settimeofday(&t)
}

func say(r result) {
	b, err := json.Marshal(r)
	if err != nil {
		b = []byte(strconv.Quote(err.Error()))
	}
	fmt.Printf("\n%s%s\n", mark, b)
}

// number is a figure of the kernel's command line.
func number(name string, otherwise float64) float64 {
	x, err := strconv.ParseFloat(os.Getenv(name), 64)
	if err != nil {
		return otherwise
	}
	return x
}

// world is the guest: true time, which only a server knows, and a clockd.
type world struct {
	scenario string
	random   *rand.Rand
	// True time runs faster than CLOCK_MONOTONIC_RAW by rate and a sine; base is true UTC in ns at raw0. leapAt, in UTC seconds, is the
	// end of the day with a second more; 0: none.
	raw0, base   int64
	rate, sine   float64
	period       float64
	leapAt       int64
	announce     bool
	clockd       *exec.Cmd
	log          bytes.Buffer
	lastRealtime int64
}

func clock(id int32) int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(id, &t); err != nil {
		return 0
	}
	return t.Nano()
}

// truth is UTC in ns and a fraction at a reading of CLOCK_MONOTONIC_RAW; before says that a leap second is still to come.
func (g *world) truth(raw int64) (ns float64, before bool) {
	s := float64(raw-g.raw0) * 1e-9
	w := 2 * math.Pi / g.period
	gained := s*g.rate + g.sine/w*(1-math.Cos(w*s))
	ns = float64(raw-g.raw0) + gained*1e9
	if g.leapAt != 0 && ns >= float64(g.leapAt*1e9-g.base) {
		return ns - 1e9, false
	}
	return ns, g.leapAt != 0
}

// truthNS is truth since the Unix epoch, to a nanosecond.
func (g *world) truthNS(raw int64) (ns int64, before bool) {
	f, before := g.truth(raw)
	return g.base + int64(math.Floor(f)), before
}

// serve answers NTP requests with the truth, late by up to a millisecond each way.
func (g *world) serve(c *net.UDPConn) {
	for {
		b := make([]byte, 1500)
		n, from, err := c.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		there, back := g.random.ExpFloat64()*3e5, g.random.ExpFloat64()*3e5
		go func() {
			time.Sleep(time.Duration(min(there, 1e6)))
			var q ntp.Packet
			if q.Decode(b[:n]) != reason.OK || q.Mode != ntp.ModeClient {
				return
			}
			ns, before := g.truthNS(clock(unix.CLOCK_MONOTONIC_RAW))
			a := ntp.Packet{Version: 4, Mode: ntp.ModeServer, Stratum: 1, Precision: -20, ReferenceID: 0x54525545, Origin: q.Transmit,
				RootDispersion: ntp.ShortCeil(2e-6)}
			if before && g.announce && g.leapAt*1e9-ns < 86400e9 {
				a.Leap = ntp.LeapInsert
			}
			a.Reference, a.Receive = ntp.TimestampFloor(ns-1e9, 0), ntp.TimestampFloor(ns, 0)
			ns, _ = g.truthNS(clock(unix.CLOCK_MONOTONIC_RAW))
			a.Transmit = ntp.TimestampFloor(ns, 0)
			out := a.Append(nil)
			time.Sleep(time.Duration(min(back, 1e6)))
			_, _ = c.WriteToUDPAddrPort(out, from)
		}()
	}
}

const (
	configPath = "/run/clockd.toml"
	socketPath = "/run/control"
)

// prepare makes the guest's file systems, its network, true time and the servers.
func (g *world) prepare(ahead time.Duration) error {
	for _, m := range []struct{ what, where, kind string }{{"sys", "/sys", "sysfs"}, {"run", "/run", "tmpfs"}} {
		if err := unix.Mount(m.what, m.where, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.where, err)
		}
	}
	if err := os.Setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"); err != nil {
		return err
	}
	if err := os.Setenv("TMPDIR", "/run"); err != nil {
		return err
	}
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("lo: %w: %s", err, out)
	}
	if err := begin(); err != nil {
		return err
	}
	g.raw0 = clock(unix.CLOCK_MONOTONIC_RAW)
	g.base = clock(unix.CLOCK_REALTIME) + int64(ahead)
	for _, port := range []int{1001, 1002, 1003} {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, byte(port-1000)), Port: port})
		if err != nil {
			return err
		}
		go g.serve(c)
	}
	return nil
}

// configure writes clockd's configuration.
func (g *world) configure(section string) error {
	document := "[page]\npath = \"/run/page\"\n[control]\npath = \"" + socketPath + "\"\n[state]\npath = \"/run/state\"\n[clock]\nmax_bound = \"50ms\"\n"
	for i := 1; i <= 3; i++ {
		document += fmt.Sprintf("[[source]]\naddress = \"127.0.0.%d:100%d\"\npoll = \"8s\"\n", i, i)
	}
	return os.WriteFile(configPath, []byte(document+"[system_clock]\n"+section), 0o600)
}

// start runs clockd.
func (g *world) start() error {
	g.clockd = exec.Command(os.Getenv("CLOCKD_PROGRAM"), "run", "-c", configPath)
	g.clockd.Stdout, g.clockd.Stderr = &g.log, &g.log
	if err := g.clockd.Start(); err != nil {
		return fmt.Errorf("clockd: %w", err)
	}
	return nil
}

func (g *world) end(s syscall.Signal) error {
	if err := g.clockd.Process.Signal(s); err != nil {
		return err
	}
	err := g.clockd.Wait()
	var exit *exec.ExitError
	if s == syscall.SIGKILL && errors.As(err, &exit) {
		return nil
	}
	return err
}

// sample reads the clock against the truth, and what it says of itself.
func (g *world) sample(r *result, skip bool) {
	var x unix.Timex
	state, err := unix.ClockAdjtime(unix.CLOCK_REALTIME, &x)
	if err != nil {
		r.Error = err.Error()
		return
	}
	before := clock(unix.CLOCK_MONOTONIC_RAW)
	now := clock(unix.CLOCK_REALTIME)
	after := clock(unix.CLOCK_MONOTONIC_RAW)
	if now < g.lastRealtime {
		r.Backwards++
	}
	g.lastRealtime = now
	r.States[strconv.Itoa(state)]++
	if skip {
		return
	}
	early, _ := g.truthNS(before)
	late, _ := g.truthNS(after)
	low, high := float64(now-late)*1e-9, float64(now-early)*1e-9
	off := (low + high) / 2
	r.Samples++
	if high-low < 1e-3 { // else the guest stood still between the readings, and the middle says nothing
		r.Near++
		r.RMS += off * off
		r.Max, r.Last = max(r.Max, math.Abs(off)), off
	}
	r.FrequencyPPM = float64(x.Freq)/65536 + float64(x.Tick-10000)*100
	r.Status, r.State, r.TAI = x.Status, state, x.Tai
	if x.Status&unix.STA_UNSYNC != 0 {
		return
	}
	r.Promised++
	claim := float64(x.Maxerror) * 1e-6
	r.MeanMaxError += claim
	if least := max(low, -high, 0); least > claim+2e-9 {
		r.Violations++
		r.Worst = fmt.Sprintf("%s: off by %.3g s, claimed %.3g s, status %#x", time.Unix(0, now).UTC().Format(time.RFC3339Nano), off, claim, x.Status)
	}
}

// watch samples for a while, at random moments, and tells what it found.
func (g *world) watch(phase string, long time.Duration) result {
	r := result{Scenario: g.scenario, Phase: phase, States: map[string]int{}}
	end := clock(unix.CLOCK_MONOTONIC_RAW) + int64(long)
	for clock(unix.CLOCK_MONOTONIC_RAW) < end {
		time.Sleep(time.Duration(g.random.ExpFloat64() * 2e9))
		ns, _ := g.truthNS(clock(unix.CLOCK_MONOTONIC_RAW))
		// While the second is inserted two clocks may each have had it or not.
		g.sample(&r, g.leapAt != 0 && math.Abs(float64(ns-g.leapAt*1e9)) < 3e9)
	}
	if r.Near > 0 {
		r.RMS = math.Sqrt(r.RMS / float64(r.Near))
	}
	if r.Promised > 0 {
		r.MeanMaxError /= float64(r.Promised)
	}
	var s control.Status
	if err := control.Call(context.Background(), socketPath, control.CommandStatus, &s); err == nil {
		r.Clockd, r.Leap = s.SystemClock, s.Leap
	}
	return r
}

func (g *world) run() error {
	switch g.scenario {
	case "follow":
		return g.follow()
	case "leap", "announced":
		return g.leap()
	case "contest":
		return g.contest()
	}
	return fmt.Errorf("no scenario is called %q", g.scenario)
}

// follow: a clock that is seconds wrong and runs wrong is stepped once and then follows; the daemon is killed, comes back, and ends.
func (g *world) follow() error {
	g.rate = 37e-6
	if err := g.prepare(4200 * time.Millisecond); err != nil {
		return err
	}
	if err := g.configure("discipline = \"realtime\"\nleap_file = \"none\"\n"); err != nil {
		return err
	}
	say(g.watch("untouched", 20*time.Second))
	if err := g.start(); err != nil {
		return err
	}
	say(g.watch("settling", scaled(2*time.Minute)))
	say(g.watch("following", scaled(time.Duration(number("CLOCKD_HOURS", 1)*3600e9))))
	if err := g.end(syscall.SIGKILL); err != nil {
		return err
	}
	say(g.watch("killed", scaled(20*time.Minute)))
	if err := g.start(); err != nil {
		return err
	}
	say(g.watch("again", scaled(3*time.Minute)))
	say(g.watch("settled again", scaled(10*time.Minute)))
	if err := g.end(syscall.SIGTERM); err != nil {
		return err
	}
	r := g.watch("ended", scaled(10*time.Minute))
	r.Log = g.log.String()
	say(r)
	return nil
}

// leap: a second is inserted at midnight, known from a table or announced by the servers.
func (g *world) leap() error {
	g.rate = -12e-6
	if err := g.prepare(3 * time.Millisecond); err != nil {
		return err
	}
	g.leapAt = (g.base/1e9/86400 + 1) * 86400
	g.announce = true
	table := "none"
	if g.scenario == "leap" {
		table = "/run/leap-seconds.list"
		text := fmt.Sprintf("#@ %d\n3692217600 37\n%d 38\n", g.leapAt+200*86400+2208988800, g.leapAt+2208988800)
		if err := os.WriteFile(table, []byte(text), 0o600); err != nil {
			return err
		}
	}
	if err := g.configure(fmt.Sprintf("discipline = \"realtime\"\nstep = \"never\"\nleap_file = %q\n", table)); err != nil {
		return err
	}
	if err := g.start(); err != nil {
		return err
	}
	say(g.watch("settling", scaled(2*time.Minute)))
	left := time.Duration(g.leapAt*1e9 - clock(unix.CLOCK_REALTIME))
	say(g.watch("before", left-30*time.Second))
	say(g.watch("through", 60*time.Second))
	r := g.watch("after", scaled(5*time.Minute))
	r.Log = g.log.String()
	say(r)
	return g.end(syscall.SIGTERM)
}

// contest: a hand steps the clock; then a chronyd comes that keeps it too.
func (g *world) contest() error {
	g.rate = 20e-6
	if err := g.prepare(time.Millisecond); err != nil {
		return err
	}
	if err := g.configure("discipline = \"realtime\"\nleap_file = \"none\"\n"); err != nil {
		return err
	}
	if err := g.start(); err != nil {
		return err
	}
	say(g.watch("following", scaled(3*time.Minute)))
	chrony := "server 127.0.0.1 port 1001 iburst minpoll 3 maxpoll 3\nmakestep 0.1 3\ncmdport 0\nbindcmdaddress /run/chronyd.sock\npidfile /run/chronyd.pid\ndriftfile /run/drift\n"
	if err := os.WriteFile("/run/chrony.conf", []byte(chrony), 0o600); err != nil {
		return err
	}
	c := exec.Command("chronyd", "-d", "-u", "root", "-f", "/run/chrony.conf")
	c.Stdout, c.Stderr = &g.log, &g.log
	if err := c.Start(); err != nil {
		return err
	}
	say(g.watch("chronyd", scaled(2*time.Minute)))
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	_ = c.Wait()
	r := g.watch("chronyd gone", scaled(time.Minute))
	say(r)
	if err := g.end(syscall.SIGTERM); err != nil {
		return err
	}
	if err := g.start(); err != nil {
		return err
	}
	say(g.watch("anew", scaled(3*time.Minute)))
	now := clock(unix.CLOCK_REALTIME) + 5e8
	t := unix.NsecToTimeval(now)
	if !inGuest() {
		return errors.New("no clock but a guest's is set")
	}
	if err := unix.Settimeofday(&t); err != nil {
		return err
	}
	r = g.watch("another hand", scaled(time.Minute))
	r.Log = g.log.String()
	say(r)
	return g.end(syscall.SIGTERM)
}
