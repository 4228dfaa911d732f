package network

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clockd/clockd/internal/delay"
	"github.com/clockd/clockd/internal/testkit"
)

func namespaces(t *testing.T, n int, o Options) *Namespaces {
	t.Helper()
	testkit.RequireTUN(t)
	s, err := NewNamespaces(n, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// listenIn opens a socket of a host.
func listenIn(t *testing.T, h *Host) *net.UDPConn {
	t.Helper()
	var conn *net.UDPConn
	err := h.Do(func() (err error) {
		conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(h.Address, 4000)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// TestNamespacesForwardUnchanged: what a host sends arrives at the host that it is sent to and nowhere else, with the sender's
// address, unchanged, in pieces too, and not sooner than its direction's law says.
func TestNamespacesForwardUnchanged(t *testing.T) {
	testkit.NoLeaks(t)
	const n = 3
	s := namespaces(t, n, Options{Seed: testkit.Seed(t), RealTime: true})
	var sockets []*net.UDPConn
	for i := range n {
		sockets = append(sockets, listenIn(t, s.Host(i)))
	}
	least := func(from, to int) time.Duration { return time.Duration(1+3*from+to) * time.Millisecond }
	for from := range n {
		for to := range n {
			if err := s.Set(from, to, Law{Delay: delay.Constant(least(from, to).Seconds())}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for from := range n {
		for to := range n {
			if to == from {
				continue
			}
			for _, size := range []int{1, 48, 1472, 4000} {
				packet := make([]byte, size)
				_, _ = rand.Read(packet)
				begin := time.Now()
				if _, err := sockets[from].WriteToUDPAddrPort(packet, addressOf(sockets[to])); err != nil {
					t.Fatal(err)
				}
				buffer := make([]byte, 5000)
				if err := sockets[to].SetReadDeadline(begin.Add(patience)); err != nil {
					t.Fatal(err)
				}
				got, sender, err := sockets[to].ReadFromUDPAddrPort(buffer)
				if took := time.Since(begin); err != nil || !bytes.Equal(buffer[:got], packet) || sender != addressOf(sockets[from]) || took < least(from, to) {
					t.Errorf("%d to %d: %d of %d bytes from %v after %v: %v", from, to, got, size, sender, took, err)
				}
			}
		}
	}
	settle(t, s.Links)
	for from := range n {
		for to := range n {
			c, want := s.Counters(from, to), uint64(3+3) // the longest in three pieces
			if from == to {
				want = 0
			}
			if c.Forwarded != want || c.Received != want {
				t.Errorf("%d to %d: %+v, want %d", from, to, c, want)
			}
		}
	}
	if err := s.Partition([]int{0, 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := sockets[0].WriteToUDPAddrPort([]byte("lost"), addressOf(sockets[2])); err != nil {
		t.Fatal(err)
	}
	if _, err := sockets[0].WriteToUDPAddrPort([]byte("found"), addressOf(sockets[1])); err != nil {
		t.Fatal(err)
	}
	if got := read(t, sockets[1], patience); string(got) != "found" {
		t.Errorf("inside of the partition %q arrived", got)
	}
	if got := read(t, sockets[2], 50*time.Millisecond); got != nil || s.Counters(0, 2).Cut != 1 {
		t.Errorf("across the partition %q arrived; %+v", got, s.Counters(0, 2))
	}
}

// TestHostsEndWithTheirNetwork: Close ends the programs in the hosts, and leaves no descriptor and no thread in a namespace.
func TestHostsEndWithTheirNetwork(t *testing.T) {
	testkit.NoLeaks(t)
	testkit.RequireTUN(t)
	before := descriptors(t)
	for range 3 {
		s, err := NewNamespaces(4, Options{RealTime: true})
		if err != nil {
			t.Fatal(err)
		}
		sleeper := exec.Command(testkit.RequireTool(t, "sleep"), "1000")
		if err := s.Host(2).Start(sleeper); err != nil {
			t.Fatal(err)
		}
		own, there := namespaceOf(t, os.Getpid()), namespaceOf(t, sleeper.Process.Pid)
		if own == there {
			t.Error("the program is in the machine's own network")
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		err = sleeper.Wait()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Errorf("the program ended with %v", err)
		}
		if err := s.Host(2).Do(func() error { return nil }); !errors.Is(err, errEnded) {
			t.Errorf("a host that has ended says %v", err)
		}
		testkit.WaitFor(t, patience, "the namespace to be left", func() bool { return !inUse(t, there) })
	}
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	if namespaceOf(t, os.Getpid()) == "" {
		t.Error("this process has no network")
	}
}

// namespaceOf returns the identity of a process' network namespace.
func namespaceOf(t *testing.T, pid int) string {
	t.Helper()
	s, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// inUse reports whether any thread is in the network namespace.
func inUse(t *testing.T, namespace string) bool {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/task/[0-9]*/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range paths {
		if s, err := os.Readlink(p); err == nil && s == namespace {
			return true
		}
	}
	return false
}

// variableVictim makes the test program one that makes a network and waits to be killed.
const variableVictim = "CLOCKD_NETWORK_VICTIM"

// TestNothingIsLeftBehind: a program that is interrupted or killed leaves no namespace and no program behind, though it has no
// time to clean up.
func TestNothingIsLeftBehind(t *testing.T) {
	if os.Getenv(variableVictim) != "" {
		beVictim(t)
		return
	}
	testkit.RequireTUN(t)
	for _, signal := range []os.Signal{os.Interrupt, os.Kill} {
		victim := exec.Command(os.Args[0], "-test.run", "^TestNothingIsLeftBehind$")
		victim.Env = append(os.Environ(), variableVictim+"=1")
		out, err := victim.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := victim.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		child := 0
		for child == 0 && lines.Scan() {
			if text, ok := strings.CutPrefix(lines.Text(), "child "); ok {
				child, _ = strconv.Atoi(text)
			}
		}
		if child == 0 {
			t.Fatalf("the victim did not start: %v", victim.Wait())
		}
		namespace := namespaceOf(t, child)
		if err := victim.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		_ = victim.Wait()
		testkit.WaitFor(t, patience, fmt.Sprintf("the program and the namespace to be gone after %v", signal), func() bool {
			return !inUse(t, namespace)
		})
	}
}

func beVictim(t *testing.T) {
	t.Helper()
	s, err := NewNamespaces(3, Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command("sleep", "1000")
	if err := s.Host(0).Start(c); err != nil {
		t.Fatal(err)
	}
	fmt.Println("child", c.Process.Pid)
	time.Sleep(patience)
}

// TestCable: an emulated cable between two namespaces, which delays each way by its own law.
func TestCable(t *testing.T) {
	testkit.NoLeaks(t)
	testkit.RequireTUN(t)
	var ends [2]*thread
	var files [2]string
	for i := range ends {
		var tid int
		var err error
		ends[i], err = startThread(func() error { tid = unix.Gettid(); return unix.Unshare(unix.CLONE_NEWNET) })
		if err != nil {
			t.Fatal(err)
		}
		defer ends[i].end()
		files[i] = fmt.Sprintf("/proc/self/task/%d/ns/net", tid)
	}
	c, err := NewCable(End{files[0], "eth0"}, End{files[1], "eth0"}, Options{Seed: testkit.Seed(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	var sockets [2]*net.UDPConn
	for i := range ends {
		address := netip.AddrFrom4([4]byte{10, 99, 1, byte(i + 1)})
		err := ends[i].Do(func() error {
			if err := setUp("eth0", netip.PrefixFrom(address, 24)); err != nil {
				return err
			}
			sockets[i], err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(address, 4000)))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = sockets[i].Close() }()
	}
	if err := c.Set(1, 0, Law{Added: 20 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if _, err := sockets[1].WriteToUDPAddrPort([]byte("slowly"), addressOf(sockets[0])); err != nil {
		t.Fatal(err)
	}
	if got := read(t, sockets[0], patience); string(got) != "slowly" || time.Since(begin) < 20*time.Millisecond {
		t.Errorf("%q arrived after %v", got, time.Since(begin))
	}
	if _, err := sockets[0].WriteToUDPAddrPort([]byte("back"), addressOf(sockets[1])); err != nil {
		t.Fatal(err)
	}
	if got := read(t, sockets[1], patience); string(got) != "back" {
		t.Errorf("%q came back", got)
	}
	if _, err := NewCable(End{files[0], "eth0"}, End{"/nowhere", "eth0"}, Options{}); err == nil || !strings.Contains(err.Error(), "/nowhere") {
		t.Errorf("a cable to nowhere: %v", err)
	}
}

func TestNetworksThatCannotBe(t *testing.T) {
	for _, n := range []int{0, -1, MaxHosts + 1} {
		if _, err := NewNamespaces(n, Options{}); err == nil {
			t.Errorf("a network of %d", n)
		}
	}
	if os.Geteuid() != 0 {
		if _, err := NewNamespaces(2, Options{}); !errors.Is(err, os.ErrPermission) {
			t.Errorf("without root: %v", err)
		}
	}
	if err := InNamespace("/nowhere", func() error { return nil }); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// TestRouteRefusesForeignPackets: what is not an IPv4 packet to a host goes nowhere.
func TestRouteRefusesForeignPackets(t *testing.T) {
	s := &Namespaces{Links: newLinks(2, 1)}
	for range 4 {
		s.outlets = append(s.outlets, &outlet{})
	}
	packet := func(version byte, to ...byte) []byte {
		return append(append([]byte{version << 4}, make([]byte, 15)...), to...)
	}
	if s.route(0, packet(4, 10, 99, 0, 2)) != s.outlets[1] || s.route(1, packet(4, 10, 99, 0, 1)) != s.outlets[2] {
		t.Error("a good packet goes astray")
	}
	for _, p := range [][]byte{nil, {}, packet(4, 10, 99, 0, 2)[:19], packet(6, 10, 99, 0, 2), packet(4, 10, 99, 0, 0), packet(4, 10, 99, 0, 3),
		packet(4, 10, 99, 1, 1), packet(4, 224, 0, 0, 1), packet(4, 10, 99, 0, 255)} {
		if s.route(0, p) != nil {
			t.Errorf("% x has a receiver", p)
		}
	}
}

// FuzzRoute: no packet that a host may send crashes the emulator.
func FuzzRoute(f *testing.F) {
	s := &Namespaces{Links: newLinks(3, 1)}
	for range 9 {
		s.outlets = append(s.outlets, &outlet{})
	}
	f.Add([]byte{0x45, 19: 0})
	f.Add(append([]byte{0x45, 15: 0}, 10, 99, 0, 3))
	f.Fuzz(func(t *testing.T, p []byte) {
		if o := s.route(1, p); o != nil && (len(p) < 20 || !bytes.Equal(p[16:19], []byte{10, 99, 0}) || p[19] > 3) {
			t.Errorf("% x has a receiver", p)
		}
	})
}

// TestStarter: what it starts runs in this process' network, and dies with it.
func TestStarter(t *testing.T) {
	testkit.NoLeaks(t)
	s, err := NewStarter()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command("sleep", "600")
	if err := s.Start(c); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if err := c.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("it ended with %v", err)
	}
	if err := s.Start(exec.Command("sleep", "600")); err == nil {
		t.Error("a closed starter starts")
	}
}
