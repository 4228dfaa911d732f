//go:build linux

package hw

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pollEvents is how many ready sockets one Wait asks the kernel for; the rest follows at the next.
const pollEvents = 64

// Poller waits for many PacketConns at once (epoll), level-triggered: a socket is reported at every Wait while it has something
// to read. What the caller must drain is both queues: Receive until ErrWouldBlock, and TransmitStamp until ErrWouldBlock,
// because a pending transmit stamp or ICMP error makes a socket ready just as a datagram does (EPOLLERR).
//
// Wait is for one goroutine; Wake, Add and Remove may be called from any.
type Poller struct {
	epoll, wake  int
	milliseconds bool // the kernel has no epoll_pwait2 (before 5.11)
	events       [pollEvents]unix.EpollEvent

	mutex  sync.Mutex
	keys   map[int32]uint64
	closed bool
}

// NewPoller makes a poller.
func NewPoller() (*Poller, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("hw: epoll_create: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		unix.Close(epoll)
		return nil, fmt.Errorf("hw: eventfd: %w", err)
	}
	p := &Poller{epoll: epoll, wake: wake, keys: map[int32]uint64{}}
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(wake)}
	if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, wake, &event); err != nil {
		p.Close()
		return nil, fmt.Errorf("hw: epoll_ctl: %w", err)
	}
	return p, nil
}

// Add makes Wait report key when c has something to read. One connection has one key.
func (p *Poller) Add(c *PacketConn, key uint64) error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.closed || c.fd < 0 {
		return os.ErrClosed
	}
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLERR, Fd: int32(c.fd)}
	if err := unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, c.fd, &event); err != nil {
		return fmt.Errorf("hw: epoll_ctl add: %w", err)
	}
	p.keys[int32(c.fd)] = key
	return nil
}

// Remove makes Wait forget c. Call it before c is closed.
func (p *Poller) Remove(c *PacketConn) error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.closed || c.fd < 0 {
		return os.ErrClosed
	}
	delete(p.keys, int32(c.fd))
	if err := unix.EpollCtl(p.epoll, unix.EPOLL_CTL_DEL, c.fd, nil); err != nil {
		return fmt.Errorf("hw: epoll_ctl remove: %w", err)
	}
	return nil
}

// Wait waits until a socket has something to read, Wake is called or timeout has passed (negative: for ever; the resolution is a
// nanosecond, a millisecond rounded up before Linux 5.11). It fills keys with those of the ready sockets and returns how many,
// and whether Wake was called since the last Wait. Sockets that found no room in keys are reported by the next Wait.
func (p *Poller) Wait(timeout time.Duration, keys []uint64) (n int, woken bool, err error) {
	if len(keys) == 0 {
		return 0, false, errors.New("hw: Poller.Wait needs room for at least one key")
	}
	// One more than the keys, for the eventfd.
	events := p.events[:min(len(keys)+1, pollEvents)]
	start := time.Now()
	left := timeout
	var count int
	for {
		var errno unix.Errno
		count, errno = p.wait(events, left)
		if errno == 0 {
			break
		}
		if errno != unix.EINTR {
			return 0, false, fmt.Errorf("hw: epoll_wait: %w", errno)
		}
		if timeout >= 0 {
			left = max(timeout-time.Since(start), 0)
		}
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.closed {
		return 0, true, os.ErrClosed
	}
	for i := range events[:count] {
		if int(events[i].Fd) == p.wake {
			var value [8]byte
			_, readErr := unix.Read(p.wake, value[:])
			woken = readErr == nil
			continue
		}
		if key, ok := p.keys[events[i].Fd]; ok && n < len(keys) {
			keys[n] = key
			n++
		}
	}
	return n, woken, nil
}

// wait makes the system call.
func (p *Poller) wait(events []unix.EpollEvent, timeout time.Duration) (int, unix.Errno) {
	if !p.milliseconds {
		// struct __kernel_timespec has 64 bits everywhere.
		limit := [2]int64{int64(timeout / time.Second), int64(timeout % time.Second)}
		pointer := &limit
		if timeout < 0 {
			pointer = nil
		}
		n, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(p.epoll), uintptr(unsafe.Pointer(&events[0])),
			uintptr(len(events)), uintptr(unsafe.Pointer(pointer)), 0, 0)
		if errno != unix.ENOSYS && errno != unix.EPERM { // EPERM: an old seccomp filter that does not know the call
			return int(n), errno
		}
		p.milliseconds = true
	}
	n, err := unix.EpollWait(p.epoll, events, milliseconds(timeout))
	if err != nil {
		var errno unix.Errno
		if errors.As(err, &errno) {
			return 0, errno
		}
		return 0, unix.EIO
	}
	return n, 0
}

// milliseconds rounds a timeout up; negative stays so.
func milliseconds(timeout time.Duration) int {
	if timeout < 0 {
		return -1
	}
	const most = time.Duration(1<<31-1) * time.Millisecond
	return int((min(timeout, most-time.Millisecond) + time.Millisecond - 1) / time.Millisecond)
}

// Wake makes the present or the next Wait return at once. It never blocks and may be called from any goroutine, also after
// Close.
func (p *Poller) Wake() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.closed {
		return
	}
	one := [8]byte{0: 1, 7: 1} // not zero in either byte order
	// A full counter (EAGAIN) means that a wake is pending already.
	_, _ = unix.Write(p.wake, one[:])
}

// Close ends the poller. No Wait may be under way: Wake it first.
func (p *Poller) Close() error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.closed {
		return os.ErrClosed
	}
	p.closed = true
	if err := errors.Join(unix.Close(p.epoll), unix.Close(p.wake)); err != nil {
		return fmt.Errorf("hw: close poller: %w", err)
	}
	return nil
}
