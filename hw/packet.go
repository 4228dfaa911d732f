//go:build linux

package hw

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/clockd/clockd/reason"
)

const (
	// sentKept is how many departures wait for their transmit stamps; the stamp of one that is overwritten is lost.
	sentKept = 256
	// freshBracket, in seconds, is how old a bracket may be to serve for a departure without being taken anew.
	freshBracket = 20e-6
	// wideStamp, in seconds: a stamp with a larger error is worth reading the clock's rate for.
	wideStamp = 500e-9
	// goodRateSpacing, in seconds, is how often the rate is read for a better one too.
	goodRateSpacing = 1e-3
	// controlSize is the room for control messages: stamps, packet information and an error are below 200 bytes.
	controlSize = 512
)

// message is a struct msghdr with its buffers, made once and used for every call.
type message struct {
	header  unix.Msghdr
	vector  unix.Iovec
	address [unix.SizeofSockaddrInet6]byte
	control [controlSize]byte
}

// sent is a departure whose transmit stamp may still come.
type sent struct {
	id     uint32
	used   bool
	user   Ticks
	before [stampClocks]Bracket
}

// The clocks in which packets are stamped.
const (
	clockKernel = iota
	clockHardware
	stampClocks
)

// stamper is one of those clocks with its brackets; nil clock if there is none.
type stamper struct {
	clock   stampClock
	mapper  RealtimeMapper
	kind    StampKind
	scratch Bracket
	after   Bracket
	history bracketHistory
	// rateRead is when narrow last read the rate; good stamps cause no more readings than one in rateSpacing.
	rateRead, rateSpacing Ticks
}

// fresh makes sure that there is a bracket younger than age with a known rate, as far as both can be had. It reports whether
// there is a bracket.
func (s *stamper) fresh(now Ticks, age Ticks) bool {
	if s.clock.stale(now) {
		s.clock.rate()
	} else if s.history.count > 0 && now-s.history.last.High < age {
		return true
	}
	return s.take() != nil
}

// take records a new bracket and returns it, or nil.
func (s *stamper) take() *Bracket {
	if !s.clock.bracket(&s.scratch) {
		return nil
	}
	s.history.push(&s.scratch)
	return &s.history.last
}

// since takes the bracket after an event, whose rate is not known yet; nil if the clock cannot be read.
func (s *stamper) since() *Bracket {
	last := s.take()
	if last == nil {
		return nil
	}
	s.after = *last
	s.after.Slew = SlewUnknown // what last knows of the rate may be from before the event
	return &s.after
}

// narrow reports whether a stamp is worth mapping again, and reads the rate after the event for it. That costs more than all
// the rest, so on a busy socket it is not done for a stamp that is good enough.
func (s *stamper) narrow(before *Bracket, stamp Stamp, code reason.Code, wide Ticks) bool {
	if code != reason.OK || before.Slew < 0 || stamp.Error <= wide && s.after.Low-s.rateRead < s.rateSpacing {
		return false
	}
	s.rateRead = s.after.Low
	s.after.Slew = s.clock.rate()
	return s.after.Slew >= 0
}

// PacketConn is a non-blocking UDP socket whose datagrams carry stamps on a counter's timeline. It is used by one goroutine at
// a time. Waiting is the business of a Poller.
//
// Validity of the stamps: a user-space departure is the counter read before the system call, a user-space arrival the counter
// read after it. A kernel or hardware stamp is the narrowest interval that RealtimeMapper proves from the clock's brackets
// before and after, cut at the user-space stamps; what is assumed is said there.
type PacketConn struct {
	fd           int
	ipv6         bool
	connected    bool
	local        netip.AddrPort
	remote       netip.AddrPort
	counter      Counter
	capabilities Capabilities
	flags        int
	freshAge     Ticks
	wide         Ticks
	clocks       [stampClocks]stamper
	closeClock   func() error
	zones        zones
	counts       reason.Counts
	pending      error

	nextID  uint32
	keyBase uint32
	sent    [sentKept]sent

	receive, send, errors message
}

// DialUDP makes a socket that exchanges datagrams with remote alone. local may be the zero AddrPort: any address and port.
func DialUDP(local, remote netip.AddrPort, opts StampOptions) (*PacketConn, error) {
	if !remote.IsValid() || remote.Port() == 0 {
		return nil, fmt.Errorf("hw: dial %v: the remote address needs an IP address and a port", remote)
	}
	remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
	c, err := newPacketConn(remote.Addr().Is6(), &opts, false)
	if err != nil {
		return nil, err
	}
	if err := c.open(local, remote, &opts); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// ListenUDP makes a socket that takes datagrams from anyone at local. If local is the unspecified address, Datagram.To tells
// which of the host's addresses was asked, and Send leaves from the address it is given as from. An invalid address means ::.
func ListenUDP(local netip.AddrPort, opts StampOptions) (*PacketConn, error) {
	if !local.Addr().IsValid() {
		local = netip.AddrPortFrom(netip.IPv6Unspecified(), local.Port())
	}
	local = netip.AddrPortFrom(local.Addr().Unmap(), local.Port())
	c, err := newPacketConn(local.Addr().Is6(), &opts, true)
	if err != nil {
		return nil, err
	}
	if err := c.open(local, netip.AddrPort{}, &opts); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func newPacketConn(ipv6 bool, opts *StampOptions, listen bool) (*PacketConn, error) {
	if opts.Counter == nil {
		return nil, errors.New("hw: StampOptions.Counter must be set")
	}
	fd, err := openSocket(ipv6, opts, listen)
	if err != nil {
		return nil, err
	}
	c := &PacketConn{fd: fd, ipv6: ipv6, counter: opts.Counter, zones: zones{lookup: lookupZone}}
	hertz := opts.Counter.Frequency().Hertz
	c.freshAge, c.wide = Ticks(freshBracket*hertz), Ticks(wideStamp*hertz)
	return c, nil
}

// open binds, switches stamps on and connects, in this order: no datagram may come in before its stamp is on.
func (c *PacketConn) open(local, remote netip.AddrPort, opts *StampOptions) error {
	if local.IsValid() {
		if err := socketCall(unix.SYS_BIND, c.fd, local, c.ipv6, &c.zones); err != nil {
			return fmt.Errorf("hw: bind %v: %w", local, err)
		}
	}
	c.startStamps(opts)
	if remote.IsValid() {
		if err := socketCall(unix.SYS_CONNECT, c.fd, remote, c.ipv6, &c.zones); err != nil {
			var errno unix.Errno
			if errors.As(err, &errno) {
				err = &NetworkError{Operation: "connect", Errno: errno} // no route, for instance: the network's word already
			}
			return fmt.Errorf("%w (to %v)", err, remote)
		}
		c.connected, c.remote = true, remote
	}
	var err error
	if c.local, err = localAddress(c.fd, &c.zones); err != nil {
		return err
	}
	c.startHardware(opts)
	return nil
}

// startStamps switches the kernel's stamps on, or falls back to user space and records why.
func (c *PacketConn) startStamps(opts *StampOptions) {
	c.capabilities = Capabilities{Receive: StampUser, Transmit: StampUser, Reason: reason.StampOff, Hardware: "not asked for"}
	if !opts.Kernel {
		return
	}
	if err := setStamping(c.fd, stampFlags); err != nil {
		c.capabilities.Reason = reason.StampUnsupported
		return
	}
	clock := newSystemClock(c.counter)
	s := &c.clocks[clockKernel]
	*s = newStamper(clock, c.counter.Frequency(), StampKernel)
	if s.take() == nil {
		*s = stamper{}
		c.capabilities.Reason = reason.CounterBackwards
		return
	}
	c.flags = stampFlags
	c.capabilities.Receive, c.capabilities.Transmit, c.capabilities.Reason = StampKernel, StampKernel, reason.OK
	c.capabilities.RateKnown = !clock.rateless
	c.capabilities.ExplicitKeys = !opts.countedKeys && takesExplicitKeys(c.ipv6)
}

func newStamper(clock stampClock, f Frequency, kind StampKind) stamper {
	s := stamper{clock: clock, mapper: NewRealtimeMapper(f), kind: kind}
	s.history.spacing, s.rateSpacing = Ticks(historySpacing*f.Hertz), Ticks(goodRateSpacing*f.Hertz)
	return s
}

// Capabilities returns which stamps this socket has got.
func (c *PacketConn) Capabilities() Capabilities { return c.capabilities }

// LocalAddr returns the socket's own address.
func (c *PacketConn) LocalAddr() netip.AddrPort { return c.local }

// RemoteAddr returns the address that the socket is connected to, or the zero AddrPort.
func (c *PacketConn) RemoteAddr() netip.AddrPort { return c.remote }

// Counts returns how many stamps were refused, by reason (StampMissing, StampOutOfOrder, ClockStepped).
func (c *PacketConn) Counts() reason.Counts { return c.counts }

// Close closes the socket. A Poller forgets it by itself; Remove it first all the same, the number of its descriptor may be
// used again.
func (c *PacketConn) Close() error {
	if c.fd < 0 {
		return os.ErrClosed
	}
	err := unix.Close(c.fd)
	c.fd = -1
	if c.closeClock != nil {
		err = errors.Join(err, c.closeClock())
	}
	if err != nil {
		return fmt.Errorf("hw: close: %w", err)
	}
	return nil
}

// Refresh takes a new bracket of the stamping clocks and reads their rate. A server should call it each second or so: an
// arrival's stamp is narrowest when there is a bracket from the two seconds before it.
func (c *PacketConn) Refresh() {
	for i := range c.clocks {
		if s := &c.clocks[i]; s.clock != nil {
			s.clock.rate()
			s.take()
		}
	}
}

// Send sends b. to is the destination, and must be zero on a connected socket; from, if valid, is the local address to leave
// from. The stamp is the user-space departure; a better one may come from TransmitStamp under the same id. Every call that
// reaches the kernel takes a new id, failed ones too, counting from 0 modulo 2³².
//
// Errors: ErrWouldBlock when the socket's buffer is full; *NetworkError, of which the transient ones do not end the socket. An
// ICMP error of an earlier datagram does not stop a new one: it is kept for the next Receive.
func (c *PacketConn) Send(b []byte, to netip.AddrPort, from netip.Addr) (id uint32, s Stamp, err error) {
	if c.fd < 0 {
		return 0, Stamp{}, os.ErrClosed
	}
	m := &c.send
	m.header = unix.Msghdr{}
	if !c.connected {
		raw, ok := appendAddress(m.address[:0], to, c.ipv6, &c.zones)
		if !ok {
			return 0, Stamp{}, &NetworkError{Operation: "send", Errno: unix.EAFNOSUPPORT}
		}
		m.header.Name, m.header.Namelen = &m.address[0], uint32(len(raw))
	}
	for attempt := 0; ; attempt++ {
		id = c.nextID
		c.nextID++
		user, errno := c.sendOnce(b, id, from)
		if errno == 0 {
			return id, Stamp{At: user, Kind: StampUser}, nil
		}
		c.forget(id)
		if errno == unix.EAGAIN {
			return id, Stamp{}, ErrWouldBlock
		}
		e := &NetworkError{Operation: "send", Errno: errno}
		if attempt > 0 || !c.connected || e.Reason() != reason.SourceUnreachable {
			return id, Stamp{}, e
		}
		c.pending = &NetworkError{Operation: "icmp", Errno: errno}
	}
}

// sendOnce makes the system call under the given id. user is the counter read before it.
func (c *PacketConn) sendOnce(b []byte, id uint32, from netip.Addr) (user Ticks, errno unix.Errno) {
	m := &c.send
	control := m.control[:0]
	if from.IsValid() && !from.IsUnspecified() {
		if !c.ipv6 && !from.Unmap().Is4() {
			return 0, unix.EAFNOSUPPORT
		}
		control = appendSource(control, from.Unmap(), c.ipv6)
	}
	if c.capabilities.ExplicitKeys {
		control = appendKey(control, id)
	}
	m.header.Control = nil
	if len(control) > 0 {
		m.header.Control = &m.control[0]
	}
	m.header.SetControllen(len(control))
	m.setBuffer(b)
	entry := &c.sent[id%sentKept]
	entry.used = false
	stamped := false
	for i := range c.clocks {
		if s := &c.clocks[i]; s.clock != nil && s.fresh(c.counter.Read(), c.freshAge) {
			entry.before[i], stamped = s.history.last, true
		}
	}
	entry.id = id
	for {
		user = c.counter.Read()
		_, _, errno = unix.Syscall(unix.SYS_SENDMSG, uintptr(c.fd), uintptr(unsafe.Pointer(&m.header)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		if errno != unix.EINTR {
			break
		}
	}
	runtime.KeepAlive(b)
	m.vector.Base = nil
	entry.user, entry.used = user, stamped && errno == 0
	return user, errno
}

// forget makes sure that the failed send id cannot shift the kernel's count of datagrams: whether it counted is not known
// (Linux gives the number back since 6.2 only, and not always), so the count is begun anew. Departures still without their
// stamp then stay with the user-space one.
func (c *PacketConn) forget(id uint32) {
	if c.flags == 0 || c.capabilities.ExplicitKeys {
		return
	}
	err := setStamping(c.fd, c.flags&^unix.SOF_TIMESTAMPING_OPT_ID)
	if err == nil {
		err = setStamping(c.fd, c.flags)
	}
	if err != nil {
		c.capabilities.Transmit, c.capabilities.Reason = StampUser, reason.StampUnsupported
	}
	for i := range c.sent {
		c.sent[i].used = false
	}
	c.keyBase = id + 1
}

// setBuffer points the message at b.
func (m *message) setBuffer(b []byte) {
	m.vector.Base = nil
	if len(b) > 0 {
		m.vector.Base = &b[0]
	}
	m.vector.SetLen(len(b))
	m.header.Iov = &m.vector
	m.header.SetIovlen(1)
}

// read makes the system call recvmsg. seen is the counter read after it.
func (c *PacketConn) read(m *message, buf []byte, flags uintptr) (n int, seen Ticks, errno unix.Errno) {
	m.header = unix.Msghdr{Name: &m.address[0], Namelen: uint32(len(m.address)), Control: &m.control[0]}
	m.header.SetControllen(len(m.control))
	m.setBuffer(buf)
	for {
		var r uintptr
		r, _, errno = unix.Syscall(unix.SYS_RECVMSG, uintptr(c.fd), uintptr(unsafe.Pointer(&m.header)), flags|unix.MSG_DONTWAIT)
		n = int(r)
		if errno != unix.EINTR {
			break
		}
	}
	seen = c.counter.Read()
	runtime.KeepAlive(buf)
	m.vector.Base = nil
	return n, seen, errno
}

// controls parses the control messages of the last read.
func (m *message) controls() control {
	return parseControl(m.control[:min(int(m.header.Controllen), len(m.control))])
}

// Receive takes the next datagram into buf. Errors: ErrWouldBlock when there is none; *NetworkError for an ICMP message about
// an earlier datagram (the same one may be told by TransmitStamp too); os.ErrClosed.
func (c *PacketConn) Receive(buf []byte) (Datagram, error) {
	if c.fd < 0 {
		return Datagram{}, os.ErrClosed
	}
	if err := c.pending; err != nil {
		c.pending = nil
		return Datagram{}, err
	}
	m := &c.receive
	n, seen, errno := c.read(m, buf, 0)
	if errno == unix.EAGAIN {
		return Datagram{}, ErrWouldBlock
	}
	if errno != 0 {
		return Datagram{}, &NetworkError{Operation: "receive", Errno: errno}
	}
	ctl := m.controls()
	d := Datagram{
		N:         n,
		Truncated: m.header.Flags&unix.MSG_TRUNC != 0,
		From:      parseAddress(m.address[:min(int(m.header.Namelen), len(m.address))], &c.zones),
		To:        ctl.to,
		Stamp:     Stamp{At: seen, Kind: StampUser},
	}
	if !d.To.IsValid() {
		d.To = c.local.Addr()
	}
	c.stampArrival(&d, &ctl, seen)
	return d, nil
}

// stampArrival puts the best valid stamp on d.
func (c *PacketConn) stampArrival(d *Datagram, ctl *control, seen Ticks) {
	stamps := [stampClocks]int64{clockKernel: ctl.software, clockHardware: ctl.hardware}
	for i := stampClocks - 1; i >= 0; i-- {
		s := &c.clocks[i]
		if s.clock == nil {
			continue
		}
		var stamp Stamp
		stamp, d.StampReason = s.arrival(stamps[i], seen, c.wide)
		if d.StampReason == reason.OK {
			d.Stamp = stamp
			return
		}
		c.counts.Add(d.StampReason)
	}
}

// arrival maps a stamp of this clock; 0 is none.
func (s *stamper) arrival(stamp int64, seen, wide Ticks) (Stamp, reason.Code) {
	if stamp == 0 {
		return Stamp{}, reason.StampMissing
	}
	found := s.history.find(stamp)
	var before Bracket
	if found != nil {
		before = *found // the next bracket may overwrite it
	}
	after := s.since()
	if s.clock.stale(seen) {
		defer s.clock.rate() // for the next one
	}
	if after == nil {
		return Stamp{}, reason.CounterBackwards
	}
	if found == nil {
		return Stamp{}, reason.StampOutOfOrder
	}
	a, code := s.mapper.Arrival(stamp, &before, after, seen)
	if s.narrow(&before, a, code, wide) {
		a, code = s.mapper.Arrival(stamp, &before, after, seen)
	}
	a.Kind = s.kind
	return a, code
}

// TransmitStamp takes the next entry of the error queue: the departure stamp of the datagram that Send numbered id. If the
// kernel's stamp could not be trusted the stamp is the user-space one again. Errors: ErrWouldBlock when the queue is empty;
// *NetworkError (operation icmp) for an ICMP message found there; os.ErrClosed.
//
// With OPT_TX_SWHW a datagram may get two stamps, first the kernel's and then the NIC's: the later call's is the better one.
func (c *PacketConn) TransmitStamp() (id uint32, s Stamp, err error) {
	if c.fd < 0 {
		return 0, Stamp{}, os.ErrClosed
	}
	m := &c.errors
	for {
		_, seen, errno := c.read(m, nil, unix.MSG_ERRQUEUE)
		if errno == unix.EAGAIN {
			return 0, Stamp{}, ErrWouldBlock
		}
		if errno != 0 {
			return 0, Stamp{}, &NetworkError{Operation: "receive", Errno: errno}
		}
		ctl := m.controls()
		if !ctl.hasExtended {
			continue
		}
		if ctl.extended.origin != unix.SO_EE_ORIGIN_TIMESTAMPING {
			if ctl.extended.errno == 0 {
				continue
			}
			return 0, Stamp{}, &NetworkError{Operation: "icmp", Errno: unix.Errno(ctl.extended.errno)}
		}
		if id, s, ok := c.departure(&ctl, seen); ok {
			return id, s, nil
		}
	}
}

// departure finds the datagram of a transmit stamp and maps it. ok is false if there is nothing to tell.
func (c *PacketConn) departure(ctl *control, seen Ticks) (id uint32, stamp Stamp, ok bool) {
	id = ctl.extended.data
	if !c.capabilities.ExplicitKeys {
		id += c.keyBase
	}
	entry := &c.sent[id%sentKept]
	clock, value := clockKernel, ctl.software
	if ctl.hardware != 0 {
		clock, value = clockHardware, ctl.hardware
	}
	s := &c.clocks[clock]
	if ctl.extended.info != unix.SCM_TSTAMP_SND || !entry.used || entry.id != id || value == 0 || s.clock == nil {
		c.counts.Add(reason.StampMissing)
		return 0, Stamp{}, false
	}
	after := s.since()
	if after == nil {
		c.counts.Add(reason.CounterBackwards)
		return id, Stamp{At: entry.user, Kind: StampUser}, true
	}
	before := &entry.before[clock]
	stamp, code := s.mapper.Departure(value, before, after, entry.user, seen)
	if s.narrow(before, stamp, code, c.wide) {
		stamp, code = s.mapper.Departure(value, before, after, entry.user, seen)
	}
	if code != reason.OK {
		c.counts.Add(code)
		return id, stamp, true
	}
	stamp.Kind = s.kind
	return id, stamp, true
}
