package testkit

import (
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fake records what a helper does to a test that must fail or be skipped.
type fake struct {
	testing.TB
	fatal, skipped string
	errors         []string
	cleanups       []func()
}

// ended is what fake panics with where a real test's goroutine would end.
type ended struct{}

func (f *fake) Helper()                   {}
func (f *fake) Fatalf(s string, _ ...any) { f.fatal = s; panic(ended{}) }
func (f *fake) Skip(v ...any)             { f.skipped = v[0].(string); panic(ended{}) }
func (f *fake) Errorf(s string, v ...any) { f.errors = append(f.errors, s) }
func (f *fake) Cleanup(c func())          { f.cleanups = append(f.cleanups, c) }

func (f *fake) run(body func()) {
	defer func() {
		if r := recover(); r != nil && r != (ended{}) {
			panic(r)
		}
	}()
	body()
}

func (f *fake) end() {
	for i := len(f.cleanups) - 1; i >= 0; i-- {
		f.cleanups[i]()
	}
}

func TestMissingToolSkipsButFailsInCI(t *testing.T) {
	for _, ci := range []string{"", "true"} {
		t.Setenv("CI", ci)
		f := &fake{TB: t}
		f.run(func() { RequireTool(f, "clockd-no-such-tool") })
		if ci == "" && (!strings.Contains(f.skipped, "clockd-no-such-tool") || f.fatal != "") {
			t.Errorf("without CI: skipped %q, fatal %q", f.skipped, f.fatal)
		}
		if ci == "true" && (f.fatal == "" || f.skipped != "") {
			t.Errorf("with CI=true: skipped %q, fatal %q", f.skipped, f.fatal)
		}
	}
	if got := RequireTool(t, "sh"); !strings.HasSuffix(got, "/sh") {
		t.Errorf("sh is at %q", got)
	}
}

func TestNoLeaksSeesALeak(t *testing.T) {
	before := goroutines()
	stop := make(chan struct{})
	go func() { <-stop }()
	left := leaked(before, 50*time.Millisecond)
	if len(left) != 1 || !strings.Contains(left[0], "TestNoLeaksSeesALeak") {
		t.Errorf("the leak was not found: %q", left)
	}
	close(stop)
	if left := leaked(before, 10*time.Second); len(left) != 0 {
		t.Errorf("an ended goroutine is still called a leak: %q", left)
	}
}

func TestPortsAreNotGivenTwice(t *testing.T) {
	seen := map[int]bool{}
	for range 50 {
		port := FreeUDPPort(t)
		if seen[port] {
			t.Fatalf("port %d was given twice", port)
		}
		seen[port] = true
		if port < firstPort || port >= lastPort {
			t.Errorf("port %d is outside the range", port)
		}
	}
}

func TestPortsComeBackWhenTheTestEnds(t *testing.T) {
	f := &fake{TB: t}
	first := FreeUDPPort(f)
	f.end()
	if second := FreeUDPPort(t); second != first {
		t.Errorf("port %d was not given back; got %d", first, second)
	}
}

func TestBusyPortIsNotGiven(t *testing.T) {
	f := &fake{TB: t}
	free := FreeUDPPort(f)
	f.end()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 5), Port: free})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := FreeUDPPort(t); got == free {
		t.Errorf("port %d was given though somebody listens on it", got)
	}
}

func TestProcessEndsWithItsTest(t *testing.T) {
	f := &fake{TB: t}
	p := StartProcess(f, exec.Command(RequireTool(t, "sleep"), "1000"))
	f.end()
	select {
	case <-p.Done():
	default:
		t.Fatal("the process outlived its test")
	}
	if err := p.Stop(time.Second); err == nil {
		t.Error("stopping a killed process reports no error")
	}
}

func TestProcessThatIgnoresSIGTERMIsKilled(t *testing.T) {
	p := StartProcess(t, exec.Command(RequireTool(t, "sh"), "-c", "trap '' TERM; echo ready; while :; do sleep 0.01; done"))
	WaitFor(t, 10*time.Second, "the trap", func() bool { return strings.Contains(p.Output(), "ready") })
	if err := p.Stop(100 * time.Millisecond); err == nil || !strings.Contains(err.Error(), "did not end") {
		t.Errorf("Stop of a deaf process: %v", err)
	}
}

func TestProcessThatCannotStart(t *testing.T) {
	f := &fake{TB: t}
	f.run(func() { StartProcess(f, exec.Command("/nonexistent/program")) })
	if f.fatal == "" {
		t.Error("a program that is not there started")
	}
}

// A shift there and back leaves a timestamp as it was, and moves it by the right amount.
func TestShiftIsExact(t *testing.T) {
	p := &Proxy{}
	law := func(stamp uint64, nanoseconds int32) bool {
		packet := make([]byte, ntpHeader)
		binary.BigEndian.PutUint64(packet[transmitOffset:], stamp)
		p.move(packet, time.Duration(nanoseconds), transmitOffset, originOffset)
		moved := binary.BigEndian.Uint64(packet[transmitOffset:])
		want := float64(nanoseconds) * 1e-9 * (1 << 32)
		if diff := float64(int64(moved-stamp)) - want; stamp != 0 && (diff > 1 || diff < -1) {
			return false
		}
		p.move(packet, -time.Duration(nanoseconds), transmitOffset)
		// A zero timestamp means "none" and stays zero.
		return binary.BigEndian.Uint64(packet[transmitOffset:]) == stamp && binary.BigEndian.Uint64(packet[originOffset:]) == 0
	}
	rng := rand.New(rand.NewPCG(Seed(t), 1))
	for range 2000 {
		stamp, shift := rng.Uint64(), int32(rng.Uint32())
		if stamp+ntpDuration(time.Duration(shift)) == 0 {
			continue
		}
		if !law(stamp, shift) {
			t.Fatalf("stamp %#x, shift %d ns", stamp, shift)
		}
	}
	if !law(0, 1000) {
		t.Error("a zero timestamp was moved")
	}
	p.move(make([]byte, 47), time.Second, transmitOffset) // too short: untouched, no panic
}

func TestNamespaceNet(t *testing.T) {
	n := NamespaceNet(t, 3)
	echo := func(i int) *net.UDPConn {
		t.Helper()
		var c *net.UDPConn
		err := n.Hosts[i].Do(func() (err error) {
			c, err = net.ListenUDP("udp4", &net.UDPAddr{IP: n.Hosts[i].Address.AsSlice(), Port: 9999})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	a, b, z := echo(0), echo(1), echo(2)
	reaches := func(from, to *net.UDPConn) bool {
		for range 20 {
			if _, err := from.WriteTo([]byte("x"), to.LocalAddr()); err != nil {
				continue
			}
			_ = to.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			if _, _, err := to.ReadFrom(make([]byte, 8)); err == nil {
				return true
			}
		}
		return false
	}
	silent := func(from, to *net.UDPConn) bool {
		_, _ = from.WriteTo([]byte("x"), to.LocalAddr())
		_ = to.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		_, _, err := to.ReadFrom(make([]byte, 8))
		return err != nil
	}
	if !reaches(a, b) || !reaches(b, z) {
		t.Fatal("the hosts do not reach one another")
	}
	n.Partition([]int{0}, []int{1, 2})
	if !silent(a, b) || !reaches(b, z) {
		t.Error("the partition {0} {1 2} does not hold")
	}
	n.Partition([]int{0, 1})
	if !reaches(a, b) || !silent(b, z) {
		t.Error("the partition {0 1} {2} does not hold")
	}
	n.Heal()
	if !reaches(b, z) {
		t.Error("the partition did not heal")
	}
	n.Hosts[2].Cut(false)
	if !silent(b, z) {
		t.Error("a cable that is out carries packets")
	}
	n.Hosts[2].Cut(true)
	if !reaches(b, z) {
		t.Error("the cable did not come back")
	}
	if err := n.Hosts[0].Do(func() error { return io.ErrNoProgress }); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("Do lost the error: %v", err)
	}
	server := StartChronyd(t, ChronyOptions{LocalStratum: 2, Host: n.Hosts[0], Address: n.Hosts[0].Address, Port: 123})
	client := StartChronyd(t, ChronyOptions{ClientOnly: true, Host: n.Hosts[1], Servers: []ChronyServer{{Address: server.Address(), MinPoll: -3, MaxPoll: -3}}})
	WaitFor(t, 30*time.Second, "chronyd in a namespace to follow another", func() bool {
		s := client.Sources()
		return len(s) == 1 && s[0].State == '*'
	})
}

func TestNamespacesAreRemoved(t *testing.T) {
	RequireRoot(t)
	f := &fake{TB: t}
	n := NamespaceNet(f, 1)
	name := n.Hosts[0].Name
	f.end()
	if len(f.errors) != 0 {
		t.Errorf("clean-up: %q", f.errors)
	}
	out, err := exec.Command(RequireTool(t, "ip"), "netns", "list").CombinedOutput()
	if err != nil || strings.Contains(string(out), name) {
		t.Errorf("namespace %s is still there: %v\n%s", name, err, out)
	}
}

func TestGoldenFiles(t *testing.T) {
	fresh, kept := t.TempDir(), filepath.Join(t.TempDir(), "kept")
	write := func(dir, name, text string) {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(fresh, "a.1", "one")
	write(fresh, "a-b.1", "two")
	write(kept, "ab.1", "another program's")
	write(kept, "a-old.1", "of a command that went")
	write(kept, "a-b.1", "not what it is now")
	compare := func(update bool) int {
		f := &fake{TB: t}
		GoldenFiles(f, fresh, kept, PageOf("a"), update, "hint")
		return len(f.errors)
	}
	if n := compare(false); n != 3 {
		t.Errorf("%d differences, want 3", n)
	}
	if n := compare(true) + compare(false); n != 0 {
		t.Errorf("%d differences after the update", n)
	}
	if b, err := os.ReadFile(filepath.Join(kept, "ab.1")); err != nil || string(b) != "another program's" {
		t.Errorf("another program's page: %v, %q", err, b)
	}
}
