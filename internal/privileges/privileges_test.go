package privileges

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// childVariable makes this test program do one thing, in a process of its own: what it gives up cannot be had back.
const childVariable = "CLOCKD_PRIVILEGES_CHILD"

// outcome is what the child found.
type outcome struct {
	Left, Effective []string
	Failures        []string
}

func TestMain(m *testing.M) {
	if role := os.Getenv(childVariable); role != "" {
		var o outcome
		children[role](&o)
		_ = json.NewEncoder(os.Stdout).Encode(o)
		return
	}
	m.Run()
}

// run runs a child with that role.
func run(t *testing.T, role string) outcome {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), childVariable+"="+role)
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var o outcome
	if err := json.Unmarshal(out, &o); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, f := range o.Failures {
		t.Error(f)
	}
	return o
}

var children = map[string]func(*outcome){"confine": confined, "confine-steer": confinedSteering, "limit": limited}

func (o *outcome) check(what string, got, want error) {
	if !errors.Is(got, want) {
		o.Failures = append(o.Failures, fmt.Sprintf("%s: %v, want %v", what, got, want))
	}
}

// refusals tries what must be refused on every thread of the process: the filter must hold on all.
func (o *outcome) refusals(steer bool) {
	o.check("starting a program", exec.Command("/bin/true").Run(), syscall.EPERM)
	o.check("tracing", unix.PtraceAttach(os.Getppid()), syscall.EPERM)
	o.check("mounting", unix.Mount("none", "/mnt", "tmpfs", 0, ""), syscall.EPERM)
	o.check("a name space", unix.Unshare(unix.CLONE_NEWUSER), syscall.EPERM)
	_, err := unix.Adjtimex(&unix.Timex{}) // reads only: the machine's clock is not touched whatever comes of it
	want := error(syscall.EPERM)
	if steer {
		want = nil
	}
	o.check("the system's clock", err, want)
}

func confined(o *outcome) {
	// Threads that exist before the filter, and are busy in the kernel.
	var ready, done sync.WaitGroup
	release := make(chan struct{})
	for range 4 {
		ready.Add(1)
		done.Go(func() {
			runtime.LockOSThread()
			ready.Done()
			<-release
			o.check("another thread: mounting", unix.Mount("none", "/mnt", "tmpfs", 0, ""), syscall.EPERM)
		})
	}
	ready.Wait()
	o.check("confining", Confine(false), nil)
	o.refusals(false)
	close(release)
	done.Wait()
	o.work()
}

func confinedSteering(o *outcome) {
	o.check("confining", Confine(true), nil)
	o.refusals(true)
}

// work does what a daemon does: nothing of it may be refused.
func (o *outcome) work() {
	dir, err := os.MkdirTemp("", "confined")
	o.check("a directory", err, nil)
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "file")
	o.check("a file", os.WriteFile(path, []byte("x"), 0o600), nil)
	o.check("a name", os.Rename(path, path+"2"), nil)
	l, err := net.Listen("unix", filepath.Join(dir, "socket"))
	o.check("a socket", err, nil)
	_ = l.Close()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	o.check("UDP", err, nil)
	_, err = udp.WriteTo([]byte("x"), udp.LocalAddr())
	o.check("a packet", err, nil)
	_, _, err = udp.ReadFrom(make([]byte, 9))
	o.check("its arrival", err, nil)
	_, err = net.InterfaceAddrs()
	o.check("the interfaces", err, nil)
	_, err = net.LookupHost("localhost")
	o.check("a name", err, nil)
	// The runtime: new threads, garbage collection, timers.
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			runtime.LockOSThread() // the thread ends with the goroutine
			time.Sleep(time.Millisecond)
			_ = make([]byte, 1<<20)
		})
	}
	all.Wait()
	runtime.GC()
}

func limited(o *outcome) {
	left, err := Limit(BindPort, NetworkCard)
	o.check("limiting", err, nil)
	o.Left = left
	o.Effective, err = Effective(0)
	o.check("looking", err, nil)
	if os.Geteuid() == 0 {
		l, err := net.ListenPacket("udp", "127.0.0.1:1") // below 1024
		if err == nil {
			_ = l.Close()
		}
		o.check("a low port", err, nil)
		o.check("mounting", unix.Mount("none", "/mnt", "tmpfs", 0, ""), syscall.EPERM)
	}
	// A program that is started regains nothing, root's user id or not.
	out, err := exec.Command("/bin/grep", "-E", "^(CapEff|CapBnd|NoNewPrivs)", "/proc/self/status").Output()
	o.check("grep", err, nil)
	o.Failures = append(o.Failures, regained(string(out))...)
}

// regained complains of capabilities of a child beyond CAP_NET_BIND_SERVICE and CAP_NET_ADMIN.
func regained(status string) (complaints []string) {
	for line := range strings.Lines(status) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":\t")
		var bits uint64
		_, _ = fmt.Sscanf(value, "%x", &bits)
		switch {
		case name == "NoNewPrivs" && value != "1", name == "CapEff" && bits&^0x1400 != 0, name == "CapBnd" && os.Geteuid() == 0 && bits&^0x1400 != 0:
			complaints = append(complaints, "a program that is started has "+line)
		}
	}
	return complaints
}

func TestConfinedProcessIsRefusedWhatAClockDoesNotNeed(t *testing.T) {
	run(t, "confine")
	run(t, "confine-steer")
}

func TestLimitedProcessKeepsWhatItNeeds(t *testing.T) {
	o := run(t, "limit")
	if os.Geteuid() != 0 {
		if len(o.Left)+len(o.Effective) != 0 {
			t.Errorf("an ordinary user is left with %v, %v", o.Left, o.Effective)
		}
		return
	}
	want := []string{"cap_net_bind_service", "cap_net_admin"}
	slices.Sort(o.Left)
	slices.Sort(want)
	slices.Sort(o.Effective)
	if !slices.Equal(o.Left, want) || !slices.Equal(o.Effective, want) {
		t.Errorf("left with %v, effective %v, want %v", o.Left, o.Effective, want)
	}
}

// The lists have no call twice, which the filter's compiler would refuse, and hold on both architectures that are shipped.
func TestListsAreSound(t *testing.T) {
	seen := map[string]bool{}
	for _, group := range append(allowed[:], setClock) {
		for _, name := range group {
			if seen[name] {
				t.Errorf("%s is listed twice", name)
			}
			seen[name] = true
		}
	}
	for _, forbidden := range []string{"execve", "execveat", "ptrace", "mount", "setns", "unshare", "init_module", "bpf", "io_uring_setup", "process_vm_writev",
		"setuid", "capset", "reboot", "settimeofday", "keyctl", "perf_event_open", "userfaultfd"} {
		if seen[forbidden] {
			t.Errorf("%s is allowed", forbidden)
		}
	}
	names, err := known(false)
	if err != nil || len(names) < 100 {
		t.Errorf("%d calls are known here: %v", len(names), err)
	}
}
