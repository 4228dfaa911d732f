//go:build linux

package hw

import (
	"encoding/binary"
	"math"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// control is what the control messages of one datagram, or of one entry of the error queue, say.
type control struct {
	// software and hardware are the kernel's and the NIC's stamps in nanoseconds since the epoch of their clock; 0: none.
	software, hardware int64
	// to is the local address that the datagram was sent to (for a broadcast: the one to answer from).
	to netip.Addr
	// extended is the entry of the error queue (struct sock_extended_err).
	extended    extendedError
	hasExtended bool
}

// extendedError is the part of struct sock_extended_err that is used (include/uapi/linux/errqueue.h).
type extendedError struct {
	errno  uint32
	origin uint8
	info   uint32
	data   uint32
}

const (
	wordSize      = int(unsafe.Sizeof(uintptr(0)))
	cmsgLevelAt   = wordSize     // struct cmsghdr: size_t cmsg_len, int cmsg_level, int cmsg_type
	cmsgTypeAt    = wordSize + 4 //
	cmsgHeader    = (wordSize + 8 + wordSize - 1) &^ (wordSize - 1)
	extendedSize  = 16
	pktinfo4Size  = 12
	pktinfo6Size  = 20
	timespec64    = 16
	maxStampTime  = math.MaxInt64 / 1_000_000_000
	stampSoftware = 0
	stampHardware = 2 * timespec64
)

// parseControl reads the control messages in b. It trusts no length: what does not fit ends the parsing, and what was read
// before that counts. Unknown messages are skipped.
func parseControl(b []byte) control {
	var c control
	for len(b) >= cmsgHeader {
		length := uint64(binary.NativeEndian.Uint32(b))
		if wordSize == 8 {
			length = binary.NativeEndian.Uint64(b)
		}
		if length < uint64(cmsgHeader) || length > uint64(len(b)) {
			break
		}
		level := int(int32(binary.NativeEndian.Uint32(b[cmsgLevelAt:])))
		kind := int(int32(binary.NativeEndian.Uint32(b[cmsgTypeAt:])))
		c.take(level, kind, b[cmsgHeader:length])
		next := (int(length) + wordSize - 1) &^ (wordSize - 1)
		if next >= len(b) {
			break
		}
		b = b[next:]
	}
	return c
}

// take records one control message.
func (c *control) take(level, kind int, data []byte) {
	switch {
	case level == unix.SOL_SOCKET && (kind == unix.SO_TIMESTAMPING_NEW || kind == unix.SO_TIMESTAMPING_OLD && wordSize == 8):
		if len(data) >= 3*timespec64 {
			c.software = stampTime(data[stampSoftware:])
			c.hardware = stampTime(data[stampHardware:])
		}
	case level == unix.SOL_IP && kind == unix.IP_PKTINFO:
		if len(data) >= pktinfo4Size {
			c.to = netip.AddrFrom4([4]byte(data[4:8])) // ipi_spec_dst
		}
	case level == unix.SOL_IPV6 && kind == unix.IPV6_PKTINFO:
		if len(data) >= pktinfo6Size {
			c.to = netip.AddrFrom16([16]byte(data[:16])).Unmap()
		}
	case level == unix.SOL_IP && kind == unix.IP_RECVERR, level == unix.SOL_IPV6 && kind == unix.IPV6_RECVERR:
		if len(data) >= extendedSize {
			c.hasExtended = true
			c.extended = extendedError{
				errno: binary.NativeEndian.Uint32(data), origin: data[4],
				info: binary.NativeEndian.Uint32(data[8:]), data: binary.NativeEndian.Uint32(data[12:]),
			}
		}
	}
}

// stampTime reads a struct __kernel_timespec as nanoseconds; 0 (no stamp) if it is zero or not a time.
func stampTime(b []byte) int64 {
	seconds := int64(binary.NativeEndian.Uint64(b))
	nanoseconds := int64(binary.NativeEndian.Uint64(b[8:]))
	if seconds < 0 || seconds >= maxStampTime || nanoseconds < 0 || nanoseconds >= 1e9 {
		return 0
	}
	return seconds*1e9 + nanoseconds
}

// appendHeader appends the header of a control message with size bytes of data.
func appendHeader(b []byte, level, kind, size int) []byte {
	if wordSize == 8 {
		b = binary.NativeEndian.AppendUint64(b, uint64(cmsgHeader+size))
	} else {
		b = binary.NativeEndian.AppendUint32(b, uint32(cmsgHeader+size))
	}
	b = binary.NativeEndian.AppendUint32(b, uint32(level))
	b = binary.NativeEndian.AppendUint32(b, uint32(kind))
	return pad(b)
}

// pad appends zeros up to the alignment of control messages.
func pad(b []byte) []byte {
	for len(b)%wordSize != 0 {
		b = append(b, 0)
	}
	return b
}

// appendSource appends the message that makes a datagram leave from address a, on a socket of the given family.
func appendSource(b []byte, a netip.Addr, ipv6 bool) []byte {
	if !ipv6 {
		b = appendHeader(b, unix.SOL_IP, unix.IP_PKTINFO, pktinfo4Size)
		local := a.As4()
		b = append(b, 0, 0, 0, 0)
		b = append(b, local[:]...)
		return pad(append(b, 0, 0, 0, 0))
	}
	b = appendHeader(b, unix.SOL_IPV6, unix.IPV6_PKTINFO, pktinfo6Size)
	local := a.As16()
	b = append(b, local[:]...)
	return pad(append(b, 0, 0, 0, 0))
}

// appendKey appends the message that tells the kernel under which key to report the transmit stamp (Linux 6.13).
func appendKey(b []byte, key uint32) []byte {
	b = appendHeader(b, unix.SOL_SOCKET, unix.SCM_TS_OPT_ID, 4)
	return pad(binary.NativeEndian.AppendUint32(b, key))
}

// maxZones bounds the cache of interface names.
const maxZones = 256

// zones remembers the names of IPv6 zones (scope identifiers), so that converting an address does not allocate.
type zones struct {
	names   map[uint32]string
	indices map[string]uint32
	lookup  func(name string) (uint32, bool)
}

// name returns the zone of a scope identifier: its decimal number.
func (z *zones) name(scope uint32) string {
	if s, ok := z.names[scope]; ok {
		return s
	}
	s := formatZone(scope)
	if z.names == nil || len(z.names) >= maxZones {
		z.names = map[uint32]string{}
	}
	z.names[scope] = s
	return s
}

// index returns the scope identifier of a zone, which is a number or an interface's name.
func (z *zones) index(zone string) (uint32, bool) {
	if n, ok := z.indices[zone]; ok {
		return n, true
	}
	n, ok := parseZone(zone)
	if !ok {
		n, ok = z.lookup(zone)
	}
	if !ok {
		return 0, false
	}
	if z.indices == nil || len(z.indices) >= maxZones {
		z.indices = map[string]uint32{}
	}
	z.indices[zone] = n
	return n, true
}

// parseAddress converts a socket address of the kernel's; the zero value if it is of another family or too short.
func parseAddress(b []byte, z *zones) netip.AddrPort {
	if len(b) < 2 {
		return netip.AddrPort{}
	}
	switch binary.NativeEndian.Uint16(b) {
	case unix.AF_INET:
		if len(b) >= unix.SizeofSockaddrInet4 {
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), binary.BigEndian.Uint16(b[2:]))
		}
	case unix.AF_INET6:
		if len(b) >= unix.SizeofSockaddrInet6 {
			a := netip.AddrFrom16([16]byte(b[8:24])).Unmap()
			if scope := binary.NativeEndian.Uint32(b[24:]); scope != 0 && a.Is6() {
				a = a.WithZone(z.name(scope))
			}
			return netip.AddrPortFrom(a, binary.BigEndian.Uint16(b[2:]))
		}
	}
	return netip.AddrPort{}
}

// appendAddress appends a as a socket address for a socket of the given family; ok is false if the family or zone does not fit.
func appendAddress(b []byte, a netip.AddrPort, ipv6 bool, z *zones) (_ []byte, ok bool) {
	addr := a.Addr()
	if !ipv6 {
		addr = addr.Unmap()
		if !addr.Is4() {
			return b, false
		}
		b = binary.NativeEndian.AppendUint16(b, unix.AF_INET)
		b = binary.BigEndian.AppendUint16(b, a.Port())
		four := addr.As4()
		b = append(b, four[:]...)
		return append(b, 0, 0, 0, 0, 0, 0, 0, 0), true
	}
	if !addr.IsValid() {
		return b, false
	}
	scope := uint32(0)
	if zone := addr.Zone(); zone != "" {
		if scope, ok = z.index(zone); !ok {
			return b, false
		}
	}
	b = binary.NativeEndian.AppendUint16(b, unix.AF_INET6)
	b = binary.BigEndian.AppendUint16(b, a.Port())
	b = append(b, 0, 0, 0, 0)
	sixteen := addr.As16()
	b = append(b, sixteen[:]...)
	return binary.NativeEndian.AppendUint32(b, scope), true
}
