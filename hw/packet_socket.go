//go:build linux

package hw

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

func formatZone(scope uint32) string { return strconv.FormatUint(uint64(scope), 10) }

func parseZone(zone string) (uint32, bool) {
	n, err := strconv.ParseUint(zone, 10, 32)
	return uint32(n), err == nil
}

func lookupZone(name string) (uint32, bool) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return 0, false
	}
	return uint32(i.Index), true
}

// openSocket makes a non-blocking UDP socket and sets what is set before bind.
func openSocket(ipv6 bool, opts *StampOptions, listen bool) (int, error) {
	family := unix.AF_INET
	if ipv6 {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
	if err != nil {
		return -1, fmt.Errorf("hw: socket: %w", err)
	}
	if err := setSocketOptions(fd, ipv6, opts, listen); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

type socketOption struct {
	level, name, value int
	text               string
}

func setSocketOptions(fd int, ipv6 bool, opts *StampOptions, listen bool) error {
	var options []socketOption
	set := func(level, name, value int, text string) {
		options = append(options, socketOption{level, name, value, text})
	}
	if listen {
		if ipv6 {
			only := 0
			if opts.IPv6Only {
				only = 1
			}
			set(unix.SOL_IPV6, unix.IPV6_V6ONLY, only, "IPV6_V6ONLY")
			set(unix.SOL_IPV6, unix.IPV6_RECVPKTINFO, 1, "IPV6_RECVPKTINFO")
		} else {
			set(unix.SOL_IP, unix.IP_PKTINFO, 1, "IP_PKTINFO")
		}
		if opts.ReusePort {
			set(unix.SOL_SOCKET, unix.SO_REUSEPORT, 1, "SO_REUSEPORT")
		}
	} else if ipv6 {
		// On a socket that serves many an ICMP message about one would fail a call made for another: connected ones only.
		set(unix.SOL_IPV6, unix.IPV6_RECVERR, 1, "IPV6_RECVERR")
	} else {
		set(unix.SOL_IP, unix.IP_RECVERR, 1, "IP_RECVERR")
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return fmt.Errorf("hw: setsockopt %s: %w", o.text, err)
		}
	}
	return nil
}

// socketCall makes bind(2) or connect(2) with an address.
func socketCall(trap uintptr, fd int, a netip.AddrPort, ipv6 bool, z *zones) error {
	var space [unix.SizeofSockaddrInet6]byte
	raw, ok := appendAddress(space[:0], a, ipv6, z)
	if !ok {
		return unix.EAFNOSUPPORT
	}
	_, _, errno := unix.Syscall(trap, uintptr(fd), uintptr(unsafe.Pointer(&raw[0])), uintptr(len(raw)))
	if errno != 0 {
		return errno
	}
	return nil
}

// localAddress asks the kernel for a socket's own address.
func localAddress(fd int, z *zones) (netip.AddrPort, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("hw: getsockname: %w", err)
	}
	switch s := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(s.Addr), uint16(s.Port)), nil
	case *unix.SockaddrInet6:
		a := netip.AddrFrom16(s.Addr).Unmap()
		if s.ZoneId != 0 && a.Is6() {
			a = a.WithZone(z.name(s.ZoneId))
		}
		return netip.AddrPortFrom(a, uint16(s.Port)), nil
	}
	return netip.AddrPort{}, fmt.Errorf("hw: getsockname: %w", unix.EAFNOSUPPORT)
}

// stampFlags are those of the kernel's stamps (Documentation/networking/timestamping.rst).
const (
	stampFlags = unix.SOF_TIMESTAMPING_RX_SOFTWARE | unix.SOF_TIMESTAMPING_TX_SOFTWARE | unix.SOF_TIMESTAMPING_SOFTWARE |
		unix.SOF_TIMESTAMPING_OPT_ID | unix.SOF_TIMESTAMPING_OPT_TSONLY | unix.SOF_TIMESTAMPING_OPT_CMSG
	hardwareStampFlags = unix.SOF_TIMESTAMPING_RX_HARDWARE | unix.SOF_TIMESTAMPING_TX_HARDWARE |
		unix.SOF_TIMESTAMPING_RAW_HARDWARE | unix.SOF_TIMESTAMPING_OPT_TX_SWHW
)

// setStamping switches stamps on. Linux before 5.1 knows only the old name, whose stamps have 64 bits on 64-bit machines only.
func setStamping(fd, flags int) error {
	err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPING_NEW, flags)
	if err == unix.ENOPROTOOPT && wordSize == 8 {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPING_OLD, flags)
	}
	if err != nil {
		return fmt.Errorf("hw: setsockopt SO_TIMESTAMPING: %w", err)
	}
	return nil
}

// takesExplicitKeys reports whether the kernel takes the key of a transmit stamp from the program, by sending one datagram from
// a socket to itself on loopback. A kernel that does not know the message refuses it (EINVAL).
func takesExplicitKeys(ipv6 bool) bool {
	fd, err := openSocket(ipv6, &StampOptions{}, false)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	z := &zones{lookup: lookupZone}
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if ipv6 {
		loopback = netip.IPv6Loopback()
	}
	if socketCall(unix.SYS_BIND, fd, netip.AddrPortFrom(loopback, 0), ipv6, z) != nil || setStamping(fd, stampFlags) != nil {
		return false
	}
	local, err := localAddress(fd, z)
	if err != nil || socketCall(unix.SYS_CONNECT, fd, local, ipv6, z) != nil {
		return false
	}
	n, err := unix.SendmsgN(fd, []byte{0}, appendKey(nil, 1<<31), nil, unix.MSG_DONTWAIT)
	return err == nil && n == 1
}
