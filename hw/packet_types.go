//go:build linux

package hw

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/clockd/clockd/reason"
)

// ErrWouldBlock says that there is nothing to read now, or that the socket's send buffer is full: wait with a Poller.
var ErrWouldBlock = errors.New("hw: nothing to read now")

// NetworkError is an error of one packet or of one system call. If Transient is true it came from the network (an ICMP message
// about an earlier datagram, no route, a filter) and the socket goes on; else the socket or its use is broken.
type NetworkError struct {
	// Operation is what failed: connect, send, receive, or icmp for an entry of the error queue.
	Operation string
	Errno     unix.Errno
}

// Error tells the operation and the system's text.
func (e *NetworkError) Error() string { return fmt.Sprintf("hw: %s: %v", e.Operation, e.Errno) }

// Unwrap returns the error number, so that errors.Is(err, unix.ECONNREFUSED) works.
func (e *NetworkError) Unwrap() error { return e.Errno }

// Transient reports whether the socket may be used on.
func (e *NetworkError) Transient() bool {
	switch e.Errno {
	case unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EHOSTDOWN, unix.ENETDOWN, unix.ENONET, unix.EPROTO,
		unix.EACCES, unix.EPERM, unix.EMSGSIZE, unix.ENOPROTOOPT, unix.EOPNOTSUPP, unix.ENOBUFS, unix.ENOMEM, unix.EADDRNOTAVAIL,
		unix.ETIMEDOUT, unix.EINVAL:
		return true
	}
	return false
}

// Reason is the code under which a transient error is counted and logged.
func (e *NetworkError) Reason() reason.Code {
	switch e.Errno {
	case unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EHOSTDOWN, unix.ENETDOWN, unix.ENONET, unix.ETIMEDOUT:
		return reason.SourceUnreachable
	}
	return reason.SourceSend
}

// StampOptions says how a socket's packets are to be stamped, and how a listening socket is made.
type StampOptions struct {
	// Counter is the timeline of the stamps. It must be set.
	Counter Counter
	// Kernel asks for stamps by the kernel's network stack; without it all stamps are taken in user space.
	Kernel bool
	// Hardware asks for stamps by the NIC too, where it can be had: see Capabilities.Hardware.
	Hardware bool
	// ReusePort lets several sockets listen on one port (SO_REUSEPORT). ListenUDP only.
	ReusePort bool
	// IPv6Only keeps a socket that listens on :: from receiving IPv4. ListenUDP only.
	IPv6Only bool

	// countedKeys forbids telling the kernel the key of a transmit stamp: what Linux before 6.13 does.
	countedKeys bool
}

// Capabilities says which stamps a socket has got, and why not better ones.
type Capabilities struct {
	// Receive and Transmit are the best kinds to be expected; single packets may still get a lesser one.
	Receive  StampKind `json:"receive"`
	Transmit StampKind `json:"transmit"`
	// Reason is OK, StampOff (not asked for) or StampUnsupported (the kernel refused).
	Reason reason.Code `json:"reason"`
	// ExplicitKeys: the kernel takes the key of each transmit stamp from the program (Linux 6.13), so that not even a failed
	// send can make it ambiguous.
	ExplicitKeys bool `json:"explicit_keys"`
	// RateKnown: the programmed rate of CLOCK_REALTIME can be read, which makes kernel stamps narrower (RealtimeMapper).
	RateKnown bool `json:"rate_known"`
	// Hardware says in one sentence why there are no hardware stamps, or from which device they come.
	Hardware string `json:"hardware"`
}

// Datagram is one datagram received. Its bytes are in the buffer given to Receive.
type Datagram struct {
	// N is how many bytes of the buffer it fills. Truncated: it was longer than the buffer.
	N         int
	Truncated bool
	From      netip.AddrPort
	// To is the local address that it was sent to, and the one to answer from.
	To netip.Addr
	// Stamp is its arrival. StampReason says why the stamp is not the kernel's or the NIC's although such are on, or OK.
	Stamp       Stamp
	StampReason reason.Code
}
