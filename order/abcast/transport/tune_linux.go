package transport

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// tune lets a connection break when what was sent stays without acknowledgement: otherwise a network that was cut for a while is used again
// only after TCP's next attempt, which may be as late as the cut was long. It is a help only, so that it fails is no error.
func tune(c net.Conn, limit time.Duration) {
	s, ok := c.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(limit/time.Millisecond))
	})
}
