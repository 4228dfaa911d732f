package query

import (
	"fmt"
	"net"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// stamped returns a function that reads datagrams with the kernel's receive stamps on CLOCK_REALTIME. Where the kernel refuses
// them the stamps are zero.
func stamped(c *net.UDPConn) (func(b []byte) (int, time.Time, error), error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("query: socket: %w", err)
	}
	var refused error
	if err := raw.Control(func(fd uintptr) {
		refused = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	}); err != nil {
		return nil, fmt.Errorf("query: socket: %w", err)
	}
	control := make([]byte, 256)
	read := func(b []byte) (int, time.Time, error) {
		n, length, _, _, err := c.ReadMsgUDPAddrPort(b, control)
		if err != nil {
			return 0, time.Time{}, err
		}
		return n, kernelStamp(control[:length]), nil
	}
	if refused != nil {
		read = unstamped(c)
	}
	return read, nil
}

// kernelStamp finds the receive stamp among a datagram's control messages; zero if there is none.
func kernelStamp(control []byte) time.Time {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return time.Time{}
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= int(unsafe.Sizeof(unix.Timespec{})) {
			// The message's data is a struct timespec of this machine, aligned as the kernel aligns it.
			ts := *(*unix.Timespec)(unsafe.Pointer(unsafe.SliceData(m.Data)))
			return time.Unix(ts.Unix())
		}
	}
	return time.Time{}
}
