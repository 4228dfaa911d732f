//go:build linux

package network

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Options say how the emulator works.
type Options struct {
	// Seed is that of all draws.
	Seed uint64
	// Overhead is subtracted from every delay: what the way through the emulator costs itself.
	Overhead time.Duration
	// RealTime asks the kernel to prefer the emulator's thread to all ordinary ones (SCHED_FIFO), so that busy processors do not
	// make packets late. Without the right to it the emulator works as an ordinary thread. A program that has more to do than wait
	// should have more of Go's processors (GOMAXPROCS) than the machine has: the emulator needs a free one to go on.
	RealTime bool
	// Travelled, if not nil, is told of every packet that was handed over. It is never waited for: what it has no room for is not told.
	Travelled chan<- Travel
}

// Travel is one packet's way from one host to another, and how long it took in fact.
type Travel struct {
	From, To int
	Seconds  float64
}

// Limits of what waits: what comes on top is dropped and counted.
const (
	maxQueuedBytes   = 64 << 20
	maxQueuedPackets = 10_000 // of one direction of a link
	// burst is how many packets are taken from one wire before the others have their turn.
	burst = 32
	// largestPacket is that of UDP over IP; smallPacket fits an Ethernet frame.
	largestPacket = 65_536
	smallPacket   = 2048
	spareBuffers  = 1024
)

// spin is for how long before a packet is due the emulator does not sleep: about what waking up takes.
const spin = 40 * time.Microsecond

// outlet is where a packet goes: through a link to a wire's end.
type outlet struct {
	link *link
	send func(packet []byte) error
}

// wire is an end that packets come from.
type wire struct {
	fd int
	// receive takes one packet, unix.EAGAIN if there is none.
	receive func(buffer []byte) (int, error)
	// route says where a packet goes, nil if nowhere.
	route func(packet []byte) *outlet
}

// engine is the goroutine that all packets go through.
type engine struct {
	options            Options
	epoll, timer, bell int
	done               chan struct{}
	stray              atomic.Uint64
	realTime           atomic.Bool

	mu     sync.Mutex
	wires  map[int32]*wire
	closed bool

	// The rest belongs to the goroutine.
	queue  queue
	armed  int64 // when the timer is set to, 0 if it is not
	spare  [][]byte
	buffer []byte
}

func newEngine(o Options) (*engine, error) {
	e := &engine{options: o, epoll: -1, timer: -1, bell: -1, done: make(chan struct{}), wires: map[int32]*wire{}, buffer: make([]byte, largestPacket)}
	var err error
	if e.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err == nil {
		e.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	}
	if err == nil {
		e.bell, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	}
	for _, fd := range []int{e.timer, e.bell} {
		if err == nil {
			err = e.watch(fd)
		}
	}
	if err != nil {
		e.release()
		return nil, fmt.Errorf("network: the emulator cannot wait for packets: %w", err)
	}
	go e.run()
	return e, nil
}

func (e *engine) watch(fd int) error {
	return unix.EpollCtl(e.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

// add takes a wire over; its descriptor is closed with the engine, or at once if it cannot be used.
func (e *engine) add(w *wire) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		_ = unix.Close(w.fd)
		return fmt.Errorf("network: the emulator is closed: %w", os.ErrClosed)
	}
	e.wires[int32(w.fd)] = w
	if err := e.watch(w.fd); err != nil {
		delete(e.wires, int32(w.fd))
		_ = unix.Close(w.fd)
		return fmt.Errorf("network: the emulator cannot wait for packets: %w", err)
	}
	return nil
}

// Close drops all that is under way and waits for the goroutine. It may be called again.
func (e *engine) Close() error {
	e.mu.Lock()
	first := !e.closed
	e.closed = true
	e.mu.Unlock()
	if first {
		one := [8]byte{1}
		_, _ = unix.Write(e.bell, one[:])
	}
	<-e.done
	return nil
}

func (e *engine) release() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, w := range e.wires {
		_ = unix.Close(w.fd)
	}
	e.wires = nil
	for _, fd := range []int{e.epoll, e.timer, e.bell} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

// Stray returns how many packets had no receiver: what hosts send to everybody, such as router solicitations.
func (e *engine) Stray() uint64 { return e.stray.Load() }

// RealTime reports whether the kernel prefers the emulator to ordinary threads.
func (e *engine) RealTime() bool { return e.realTime.Load() }

func (e *engine) run() {
	// A thread of its own, that ends with the goroutine: its priority must not be anybody else's.
	runtime.LockOSThread()
	defer close(e.done)
	defer e.release()
	if e.options.RealTime {
		attributes := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 10}
		e.realTime.Store(unix.Gettid() != os.Getpid() && unix.SchedSetAttr(0, &attributes, 0) == nil)
	}
	events := make([]unix.EpollEvent, 64)
	for {
		e.deliver()
		n, err := unix.EpollWait(e.epoll, events, e.patience())
		if err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		for _, event := range events[:max(n, 0)] {
			switch int(event.Fd) {
			case e.bell:
				return
			case e.timer:
				e.armed = 0
				var ticks [8]byte
				_, _ = unix.Read(e.timer, ticks[:])
			default:
				e.mu.Lock()
				w := e.wires[event.Fd]
				e.mu.Unlock()
				if w != nil {
					e.take(w)
				}
			}
		}
	}
}

// patience sets the timer for the next parcel, and says how long to wait for events: not at all if it is due soon.
func (e *engine) patience() int {
	if len(e.queue.parcels) == 0 {
		return -1
	}
	due := e.queue.parcels[0].due
	if due-now() <= int64(spin) {
		return 0
	}
	if at := due - int64(spin); e.armed != at {
		e.armed = at
		_ = unix.TimerfdSettime(e.timer, unix.TFD_TIMER_ABSTIME, &unix.ItimerSpec{Value: unix.NsecToTimespec(at)}, nil)
	}
	return -1
}

// deliver hands over all that is due.
func (e *engine) deliver() {
	for len(e.queue.parcels) > 0 {
		t := now()
		if e.queue.parcels[0].due > t {
			return
		}
		p := e.queue.pop()
		l := p.outlet.link
		if late := t - p.due; late > int64(LateAfter) {
			l.late.Add(1)
			l.worst.Store(max(l.worst.Load(), late))
		} else if late > l.worst.Load() {
			l.worst.Store(late)
		}
		if err := p.outlet.send(p.packet); err != nil {
			l.refused.Add(1)
		} else {
			l.forwarded.Add(1)
			e.tell(l, t-p.taken)
		}
		l.queued.Add(-1) // last: who sees it sees the others too
		if cap(p.packet) == smallPacket && len(e.spare) < spareBuffers {
			e.spare = append(e.spare, p.packet[:smallPacket])
		}
	}
}

// tell tells of a packet's way.
func (e *engine) tell(l *link, nanoseconds int64) {
	if e.options.Travelled == nil {
		return
	}
	select {
	case e.options.Travelled <- Travel{l.from, l.to, float64(nanoseconds) / 1e9}:
	default:
	}
}

// take reads what has come on a wire.
func (e *engine) take(w *wire) {
	for range burst {
		n, err := w.receive(e.buffer)
		if err != nil {
			return // none left, or an ICMP error of an earlier packet, which reading has taken away
		}
		t := now()
		o := w.route(e.buffer[:n])
		if o == nil {
			e.stray.Add(1)
			continue
		}
		due, copies := o.link.transit(t, int64(e.options.Overhead))
		for i := range copies {
			if o.link.queued.Load() >= maxQueuedPackets || e.queue.bytes >= maxQueuedBytes {
				o.link.overflowed.Add(1)
				continue
			}
			o.link.queued.Add(1)
			e.queue.push(parcel{due: due[i], taken: t, outlet: o, packet: e.copy(e.buffer[:n])})
		}
		e.deliver() // a long burst must not make others late
	}
}

// copy keeps a packet.
func (e *engine) copy(packet []byte) []byte {
	if len(packet) > smallPacket {
		return append([]byte(nil), packet...)
	}
	var b []byte
	if last := len(e.spare) - 1; last >= 0 {
		b, e.spare = e.spare[last], e.spare[:last]
	} else {
		b = make([]byte, smallPacket)
	}
	return b[:copy(b, packet)]
}

// now reads the monotonic clock, that of the timer.
func now() int64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return t.Nano()
}

// fileSender writes packets to a TUN or TAP device.
func fileSender(fd int) func([]byte) error {
	return func(packet []byte) error {
		_, err := unix.Write(fd, packet)
		return err
	}
}

// fileReceiver reads packets from one.
func fileReceiver(fd int) func([]byte) (int, error) {
	return func(buffer []byte) (int, error) { return unix.Read(fd, buffer) }
}
