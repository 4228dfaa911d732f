package testkit

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Net is a number of hosts, each a network namespace with one interface (eth0, 10.99.0.1/24 and up), joined by a bridge. The
// bridge has a namespace of its own, so nothing is added to the machine's own network. All share the machine's clocks.
type Net struct {
	// Hosts are the namespaces; the address of Hosts[i] is 10.99.0.(i+1).
	Hosts []*Host

	t        testing.TB
	exchange string // the namespace of the bridge
	ip       string
}

// Host is one network namespace.
type Host struct {
	// Name is the namespace's name, for ip netns.
	Name string
	// Address is the host's address on the bridge.
	Address netip.Addr

	net  *Net
	port string // its end of the cable at the bridge
}

// NamespaceNet makes a network of n hosts (at most 200), removed when the test ends. It needs root and iproute2, otherwise the test is
// skipped.
func NamespaceNet(t testing.TB, n int) *Net {
	t.Helper()
	if n < 1 || n > 200 {
		t.Fatalf("a network of %d hosts: want 1 to 200", n)
	}
	RequireRoot(t)
	net := &Net{t: t, ip: RequireTool(t, "ip")}
	base := net.claim()
	net.must("-n", net.exchange, "link", "add", "br0", "type", "bridge")
	net.must("-n", net.exchange, "link", "set", "br0", "up")
	for i := 1; i <= n; i++ {
		h := &Host{
			Name: fmt.Sprintf("%s-h%d", base, i), Address: netip.AddrFrom4([4]byte{10, 99, 0, byte(i)}),
			net: net, port: fmt.Sprintf("v%d", i),
		}
		net.add(h.Name)
		net.must("-n", net.exchange, "link", "add", h.port, "type", "veth", "peer", "name", "eth0", "netns", h.Name)
		net.must("-n", net.exchange, "link", "set", h.port, "master", "br0", "up")
		net.must("-n", h.Name, "link", "set", "lo", "up")
		net.must("-n", h.Name, "addr", "add", h.Address.String()+"/24", "dev", "eth0")
		net.must("-n", h.Name, "link", "set", "eth0", "up")
		net.Hosts = append(net.Hosts, h)
	}
	return net
}

// claim makes the bridge's namespace under a name that nobody else uses, and returns the beginning of the names of the others.
func (n *Net) claim() string {
	n.t.Helper()
	var err error
	for k := range 100 {
		base := fmt.Sprintf("clockd%d-%d", os.Getpid(), k)
		n.exchange = base + "-br"
		if err = n.run("netns", "add", n.exchange); err == nil {
			n.remove(n.exchange)
			return base
		}
	}
	n.t.Fatalf("network namespaces cannot be made: %v", err)
	return ""
}

func (n *Net) add(name string) {
	n.t.Helper()
	n.must("netns", "add", name)
	n.remove(name)
}

// remove deletes a namespace, and with it its interfaces, at the end of the test.
func (n *Net) remove(name string) {
	n.t.Cleanup(func() {
		if err := n.run("netns", "del", name); err != nil {
			n.t.Errorf("%v: remove it with `ip netns del %s`", err, name)
		}
	})
}

func (n *Net) run(args ...string) error {
	out, err := exec.Command(n.ip, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("testkit: ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

func (n *Net) must(args ...string) {
	n.t.Helper()
	if err := n.run(args...); err != nil {
		n.t.Fatal(err)
	}
}

// Partition cuts the network into groups of hosts, by their place in Hosts: packets between hosts of different groups are
// dropped at the bridge; hosts in no group form one more. It replaces the partition before. It needs nftables.
func (n *Net) Partition(groups ...[]int) {
	n.t.Helper()
	nft := RequireTool(n.t, "nft")
	group := make([]int, len(n.Hosts))
	for g, members := range groups {
		for _, i := range members {
			group[i] = g + 1
		}
	}
	var b strings.Builder
	// The first line makes the second one work whether there was a partition before or not.
	b.WriteString("table bridge partition\ndelete table bridge partition\ntable bridge partition {\n chain forward {\n" +
		"  type filter hook forward priority 0; policy accept;\n")
	for i, a := range n.Hosts {
		for j, z := range n.Hosts {
			if group[i] != group[j] {
				fmt.Fprintf(&b, "  iifname %q oifname %q counter drop\n", a.port, z.port)
			}
		}
	}
	b.WriteString(" }\n}\n")
	command := exec.Command(n.ip, "netns", "exec", n.exchange, nft, "-f", "-")
	command.Stdin = strings.NewReader(b.String())
	if out, err := command.CombinedOutput(); err != nil {
		n.t.Fatalf("nft: %v: %s", err, out)
	}
}

// Heal ends the partition.
func (n *Net) Heal() { n.t.Helper(); n.Partition() }

// Cut takes the host's cable out (up false) or puts it back.
func (h *Host) Cut(up bool) {
	h.net.t.Helper()
	state := "down"
	if up {
		state = "up"
	}
	h.net.must("-n", h.net.exchange, "link", "set", h.port, state)
}

// Rewire takes the host's cable away and puts another one in its place: lay makes the interface of that name in the bridge's
// network namespace and one called eth0 in the host's; the namespaces are given as files. Then the host has its address again.
func (h *Host) Rewire(lay func(bridge, name, host string) error) {
	h.net.t.Helper()
	n := h.net
	n.must("-n", n.exchange, "link", "del", h.port)
	if err := lay(namespaceFile(n.exchange), h.port, namespaceFile(h.Name)); err != nil {
		n.t.Fatal(err)
	}
	n.must("-n", n.exchange, "link", "set", h.port, "master", "br0", "up")
	n.must("-n", h.Name, "addr", "add", h.Address.String()+"/24", "dev", "eth0")
	n.must("-n", h.Name, "link", "set", "eth0", "up")
}

func namespaceFile(name string) string { return filepath.Join("/run/netns", name) }

// Command returns a command that runs in the host's namespace.
func (h *Host) Command(name string, args ...string) *exec.Cmd {
	return exec.Command(h.net.ip, append([]string{"netns", "exec", h.Name, name}, args...)...)
}

// Do runs f on a thread inside the host's namespace. Sockets that f opens, in its own goroutine, stay in the namespace and
// may be used from anywhere.
func (h *Host) Do(f func() error) error {
	result := make(chan error)
	go func() {
		// Never unlocked: the thread dies with the goroutine, so no other goroutine lands in the namespace.
		runtime.LockOSThread()
		result <- h.enter(f)
	}()
	return <-result
}

func (h *Host) enter(f func() error) error {
	file, err := os.Open(namespaceFile(h.Name))
	if err != nil {
		return fmt.Errorf("testkit: enter %s: %w", h.Name, err)
	}
	err = unix.Setns(int(file.Fd()), unix.CLONE_NEWNET)
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("testkit: enter %s: %w", h.Name, err)
	}
	return f()
}
