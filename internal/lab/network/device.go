//go:build linux

package network

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// openDevice makes a TUN or TAP device in the calling thread's namespace. It lives as long as the descriptor.
func openDevice(name string, mode uint16) (int, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("network: no device %s: /dev/net/tun, which needs root and the kernel's TUN driver: %w", name, err)
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(mode | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("network: no device %s: %w", name, err)
	}
	return fd, nil
}

// setUp switches an interface of the calling thread's namespace on, with an address unless it is the zero Prefix.
func setUp(name string, address netip.Prefix) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("network: set up %s: %w", name, err)
	}
	defer func() { _ = unix.Close(s) }()
	request := func(number uint, fill func(*unix.Ifreq) error) {
		r, problem := unix.NewIfreq(name)
		if problem == nil {
			problem = fill(r)
		}
		if problem == nil {
			problem = unix.IoctlIfreq(s, number, r)
		}
		err = errors.Join(err, problem)
	}
	if address.IsValid() {
		mask := ^uint32(0) << (32 - address.Bits())
		request(unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(address.Addr().AsSlice()) })
		request(unix.SIOCSIFNETMASK, func(r *unix.Ifreq) error {
			return r.SetInet4Addr([]byte{byte(mask >> 24), byte(mask >> 16), byte(mask >> 8), byte(mask)})
		})
	}
	request(unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING); return nil })
	if err != nil {
		return fmt.Errorf("network: set up %s: %w", name, err)
	}
	return nil
}
