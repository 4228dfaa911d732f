//go:build linux

package hw

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/clockd/clockd/reason"
)

// missingTool skips, or fails where CI=true promises that all tools are there.
func missingTool(t *testing.T, text string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(text)
	}
	t.Skip(text)
}

func ip(t *testing.T, arguments ...string) {
	t.Helper()
	if out, err := exec.Command("ip", arguments...).CombinedOutput(); err != nil {
		t.Fatalf("ip %v: %v: %s", arguments, err, out)
	}
}

// inNamespace runs f on a thread of its own inside a network namespace; the thread ends with it.
func inNamespace(t *testing.T, name string, f func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is not given back
		fd, err := unix.Open("/run/netns/"+name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			done <- err
			return
		}
		defer unix.Close(fd)
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	if err := <-done; err != nil {
		t.Fatalf("in namespace %s: %v", name, err)
	}
}

// TestNamespaces exchanges datagrams between two hosts of their own network stacks over a virtual cable.
func TestNamespaces(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root for network namespaces")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		missingTool(t, "needs the tool ip (iproute2)")
	}
	names := [2]string{fmt.Sprintf("clockd-a-%d", os.Getpid()), fmt.Sprintf("clockd-b-%d", os.Getpid())}
	for _, name := range names {
		if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
			t.Skipf("no network namespaces here: %s", out)
		}
		t.Cleanup(func() { ip(t, "netns", "del", name) })
	}
	ip(t, "-n", names[0], "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", names[1])
	for i, name := range names {
		ip(t, "-n", name, "link", "set", "lo", "up")
		ip(t, "-n", name, "link", "set", "eth0", "up")
		ip(t, "-n", name, "addr", "add", fmt.Sprintf("10.98.0.%d/24", i+1), "dev", "eth0")
		ip(t, "-n", name, "addr", "add", fmt.Sprintf("fd98::%d/64", i+1), "dev", "eth0", "nodad")
	}
	ip(t, "-n", names[0], "addr", "add", "10.98.0.100/24", "dev", "eth0")
	counter, err := Open("auto")
	if err != nil {
		t.Fatal(err)
	}
	opts := StampOptions{Counter: counter, Kernel: true, Hardware: true}
	for _, asked := range []string{"10.98.0.1", "10.98.0.100", "fd98::1"} {
		var server, client *PacketConn
		inNamespace(t, names[0], func() (err error) {
			server, err = ListenUDP(netip.MustParseAddrPort("[::]:0"), opts)
			return err
		})
		t.Cleanup(func() { server.Close() })
		address := netip.AddrPortFrom(netip.MustParseAddr(asked), server.LocalAddr().Port())
		inNamespace(t, names[1], func() (err error) {
			client, err = DialUDP(netip.AddrPort{}, address, opts)
			return err
		})
		t.Cleanup(func() { client.Close() })
		t.Logf("%s: %+v", asked, client.Capabilities())
		if client.Capabilities().Receive != StampKernel {
			t.Skip("this kernel gives no stamps")
		}
		p := newPair(t, client, server)
		receive, transmit := p.run(2000, netip.AddrPort{})
		if receive < 0.5 || transmit < 0.5 {
			t.Errorf("kernel stamps on %.1f %% of the arrivals and %.1f %% of the departures", receive*100, transmit*100)
		}
	}
	inNamespace(t, names[0], func() error {
		s, err := QueryInterfaceStamps("eth0")
		if err == nil && (!s.SoftwareTransmit || !s.SoftwareReceive || s.Hardware || s.ClockIndex >= 0) {
			err = fmt.Errorf("the virtual cable offers %+v", s)
		}
		return err
	})
	// Nobody answers at the other end: an error that is no port refusal, found by the neighbour's silence, is told too.
	testUnreachable(t, names[1], opts)
	inNamespace(t, names[1], func() error {
		c, err := DialUDP(netip.AddrPort{}, netip.MustParseAddrPort("203.0.113.1:123"), opts)
		var e *NetworkError
		if err == nil {
			c.Close()
		}
		if !errors.As(err, &e) || e.Errno != unix.ENETUNREACH || e.Reason() != reason.SourceUnreachable {
			t.Errorf("no route: %v", err)
		}
		return nil
	})
}

// testUnreachable: no neighbour has the address, which the kernel tells as EHOSTUNREACH after some seconds.
func testUnreachable(t *testing.T, name string, opts StampOptions) {
	// Quick neighbour discovery, so that the test does not take 3 s.
	ip(t, "netns", "exec", name, "sh", "-c", "echo 50 > /proc/sys/net/ipv4/neigh/eth0/retrans_time_ms")
	var client *PacketConn
	inNamespace(t, name, func() (err error) {
		client, err = DialUDP(netip.AddrPort{}, netip.MustParseAddrPort("10.98.0.55:123"), opts)
		return err
	})
	t.Cleanup(func() { client.Close() })
	poller, err := NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	defer poller.Close()
	if err := poller.Add(client, 1); err != nil {
		t.Fatal(err)
	}
	if _, _, err := client.Send([]byte("x"), netip.AddrPort{}, netip.Addr{}); err != nil {
		t.Fatal(err)
	}
	var keys [1]uint64
	if n, _, err := poller.Wait(packetWait, keys[:]); err != nil || n == 0 {
		t.Fatalf("no error was told: %v", err)
	}
	_, _, err = client.TransmitStamp()
	e, ok := err.(*NetworkError)
	if !ok || e.Errno != unix.EHOSTUNREACH || !e.Transient() {
		t.Errorf("unreachable host: %v", err)
	}
}
