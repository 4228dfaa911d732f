//go:build linux

package network

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Loopback is a network of n hosts that all live on 127.0.0.1, told apart by where they send: for each client and server there is
// a relay, whose address the client has for the server. Requests travel by the law from client to server, answers by that from
// server to client. It needs no rights.
//
// A relay has two sockets, whatever its users do: one that the client sends to and one that the server answers to. An answer goes
// to where the relay's last request came from.
type Loopback struct {
	*Links
	*engine
}

// NewLoopback makes the network, without relays.
func NewLoopback(n int, o Options) (*Loopback, error) {
	if n < 1 || n > MaxHosts {
		return nil, fmt.Errorf("network: a network has 1 to %d hosts, not %d", MaxHosts, n)
	}
	e, err := newEngine(o)
	if err != nil {
		return nil, err
	}
	return &Loopback{newLinks(n, o.Seed), e}, nil
}

// Relay makes the relay through which one host asks another, which answers at that address, and returns where the client is to
// send its requests. The server need not be there yet.
func (s *Loopback) Relay(client, server int, address netip.AddrPort) (netip.AddrPort, error) {
	var none netip.AddrPort
	if !s.known(client) || !s.known(server) {
		return none, fmt.Errorf("network: no relay from host %d to host %d: hosts are numbered from 0 to %d", client, server, s.n-1)
	}
	if !address.Addr().Is4() {
		return none, fmt.Errorf("network: no relay to %v: an IPv4 address is needed", address)
	}
	front, err := udpSocket()
	if err != nil {
		return none, err
	}
	back, err := udpSocket()
	if err != nil {
		_ = unix.Close(front)
		return none, err
	}
	here := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	err = errors.Join(unix.Bind(front, here), unix.Connect(back, &unix.SockaddrInet4{Addr: address.Addr().As4(), Port: int(address.Port())}))
	bound, boundErr := unix.Getsockname(front)
	at, ok := bound.(*unix.SockaddrInet4)
	if err = errors.Join(err, boundErr); err != nil || !ok {
		_, _ = unix.Close(front), unix.Close(back)
		return none, fmt.Errorf("network: no relay to %v: %w", address, err)
	}
	if err := s.carry(client, server, front, back); err != nil {
		return none, err
	}
	return netip.AddrPortFrom(netip.AddrFrom4(at.Addr), uint16(at.Port)), nil
}

// carry hands the relay's sockets to the engine.
func (s *Loopback) carry(client, server, front, back int) error {
	var user unix.Sockaddr // of the engine's goroutine: where the last request came from
	ask := &outlet{s.link(client, server), func(p []byte) error {
		_, err := unix.Write(back, p)
		if errors.Is(err, unix.ECONNREFUSED) { // told of an earlier packet; this one was not sent
			_, err = unix.Write(back, p)
		}
		return err
	}}
	answer := &outlet{s.link(server, client), func(p []byte) error { return unix.Sendto(front, p, unix.MSG_DONTWAIT, user) }}
	receive := func(buffer []byte) (int, error) {
		n, from, err := unix.Recvfrom(front, buffer, unix.MSG_DONTWAIT)
		if err == nil {
			user = from
		}
		return n, err
	}
	if err := s.add(&wire{front, receive, func([]byte) *outlet { return ask }}); err != nil {
		_ = unix.Close(back)
		return err
	}
	return s.add(&wire{back, fileReceiver(back), func([]byte) *outlet {
		if user == nil {
			return nil
		}
		return answer
	}})
}

func udpSocket() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("network: no socket for a relay; each takes two: %w", err)
	}
	return fd, nil
}
