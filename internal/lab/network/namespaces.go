//go:build linux

package network

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// Host is a network namespace with one interface, eth0. Programs are started in it by Start; to look around in it by hand, use the
// process id of one of them: nsenter --net=/proc/PID/ns/net.
type Host struct {
	Name    string
	Address netip.Addr
	*thread
	device int
}

// Namespaces is a network of hosts that have nothing in common but the emulated links between every two of them.
type Namespaces struct {
	*Links
	*engine
	hosts   []*Host
	outlets []*outlet // from host i to host j at i·n + j
}

// MaxHosts is how many hosts a network may have.
const MaxHosts = 200

// subnet is what all hosts are in. It is in no other namespace, so it collides with nothing.
var subnet = [3]byte{10, 99, 0}

// NewNamespaces makes n hosts, 10.99.0.1 to 10.99.0.n in one subnet. It needs root. Call Close in the end; if the program dies
// before, the kernel removes everything.
func NewNamespaces(n int, o Options) (*Namespaces, error) {
	if n < 1 || n > MaxHosts {
		return nil, fmt.Errorf("network: a network has 1 to %d hosts, not %d", MaxHosts, n)
	}
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("network: namespaces need root; the loopback network does not: %w", os.ErrPermission)
	}
	e, err := newEngine(o)
	if err != nil {
		return nil, err
	}
	s := &Namespaces{Links: newLinks(n, o.Seed), engine: e}
	for i := range n {
		h, err := newHost(i)
		if err != nil {
			return nil, errors.Join(err, s.abandon(0))
		}
		s.hosts = append(s.hosts, h)
	}
	for from := range n {
		for to := range n {
			s.outlets = append(s.outlets, &outlet{s.link(from, to), fileSender(s.hosts[to].device)})
		}
	}
	for i, h := range s.hosts {
		if err := e.add(&wire{h.device, fileReceiver(h.device), func(p []byte) *outlet { return s.route(i, p) }}); err != nil {
			return nil, errors.Join(err, s.abandon(i+1))
		}
	}
	return s, nil
}

// abandon closes a network whose hosts from that one on are not the engine's yet.
func (s *Namespaces) abandon(from int) error {
	err := s.Close()
	for _, h := range s.hosts[from:] {
		_ = unix.Close(h.device)
	}
	return err
}

func newHost(i int) (*Host, error) {
	h := &Host{Name: fmt.Sprintf("h%d", i+1), Address: netip.AddrFrom4([4]byte{subnet[0], subnet[1], subnet[2], byte(i + 1)}), device: -1}
	var err error
	h.thread, err = startThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("network: no namespace for %s: %w", h.Name, err)
		}
		if err := setUp("lo", netip.Prefix{}); err != nil {
			return err
		}
		if h.device, err = openDevice("eth0", unix.IFF_TUN); err != nil {
			return err
		}
		return setUp("eth0", netip.PrefixFrom(h.Address, 24))
	})
	if err != nil {
		if h.device >= 0 {
			_ = unix.Close(h.device)
		}
		return nil, err
	}
	return h, nil
}

// Host returns host i.
func (s *Namespaces) Host(i int) *Host { return s.hosts[i] }

// route says where an IPv4 packet of host from goes. Nothing in the packet is changed, and a sender is believed what address it
// has: a host may forge.
func (s *Namespaces) route(from int, p []byte) *outlet {
	if len(p) < 20 || p[0]>>4 != 4 || [3]byte(p[16:19]) != subnet || p[19] < 1 || int(p[19]) > s.n {
		return nil
	}
	return s.outlets[from*s.n+int(p[19])-1]
}

// Close ends the hosts and the programs that were started in them.
func (s *Namespaces) Close() error {
	for _, h := range s.hosts {
		h.end()
	}
	return s.engine.Close()
}
