package ntp

import (
	"encoding/binary"

	"github.com/clockd/clockd/reason"
)

// HeaderLength is the length of an NTP header, the shortest packet.
const HeaderLength = 48

// MaxLength is the longest datagram that Decode accepts: what passes every IPv6 link whole, less the IPv6 and UDP headers.
// A receive buffer must be longer than that, or a datagram that was cut off looks like a good one.
const MaxLength = 1280 - 40 - 8

// Mode is the association mode of a packet.
type Mode uint8

// The modes of RFC 5905 figure 10.
const (
	ModeReserved Mode = iota
	ModeSymmetricActive
	ModeSymmetricPassive
	ModeClient
	ModeServer
	ModeBroadcast
	ModeControl
	ModePrivate
)

// The values of the leap indicator.
const (
	LeapNone uint8 = iota
	LeapInsert
	LeapDelete
	LeapUnsynchronised
)

// The largest stratum of a server, and the one that means unsynchronised (0 on the wire, or 16).
const (
	MaxStratum            = 15
	StratumUnsynchronised = 16
)

// MaxDispersion is the root distance, in seconds, from which on a server is not synchronised (RFC 5905 MAXDISP).
const MaxDispersion = 16

// Packet is one NTP packet. The zero value is an empty one.
type Packet struct {
	Leap      uint8 // 0 to 3
	Version   uint8 // 0 to 7
	Mode      Mode  // 0 to 7
	Stratum   uint8
	Poll      int8 // log2 seconds
	Precision int8 // log2 seconds

	RootDelay      Short
	RootDispersion Short
	ReferenceID    uint32

	Reference Timestamp
	Origin    Timestamp
	Receive   Timestamp
	Transmit  Timestamp

	// Extensions is the raw extension fields, one after the other (NextExtension reads them): after Decode a view of the
	// datagram, valid as long as that is.
	Extensions []byte
	MAC        MAC
}

// Decode reads a datagram into p without allocating. It looks at lengths only: version, mode and the fields' meaning are the
// caller's business. If the result is not OK (PacketTooShort, PacketTooLong, PacketMalformed), p is undefined.
func (p *Packet) Decode(b []byte) reason.Code {
	if len(b) < HeaderLength {
		return reason.PacketTooShort
	}
	if len(b) > MaxLength {
		return reason.PacketTooLong
	}
	p.Leap, p.Version, p.Mode = b[0]>>6, b[0]>>3&7, Mode(b[0]&7)
	p.Stratum, p.Poll, p.Precision = b[1], int8(b[2]), int8(b[3])
	p.RootDelay = Short(binary.BigEndian.Uint32(b[4:]))
	p.RootDispersion = Short(binary.BigEndian.Uint32(b[8:]))
	p.ReferenceID = binary.BigEndian.Uint32(b[12:])
	p.Reference = Timestamp(binary.BigEndian.Uint64(b[16:]))
	p.Origin = Timestamp(binary.BigEndian.Uint64(b[24:]))
	p.Receive = Timestamp(binary.BigEndian.Uint64(b[32:]))
	p.Transmit = Timestamp(binary.BigEndian.Uint64(b[40:]))
	p.Extensions, p.MAC = nil, MAC{}
	if len(b) == HeaderLength {
		return reason.OK
	}
	return p.decodeTail(b[HeaderLength:])
}

// decodeTail reads extension fields and MAC by the rules of RFC 7822 section 3: a rest of 4, 20 or 24 bytes is a MAC, a longer
// one begins with an extension field, and so the last field of a packet without MAC is not shorter than 28 bytes.
func (p *Packet) decodeTail(tail []byte) reason.Code {
	rest := tail
	for len(rest) >= lastExtensionMin {
		n := extensionLength(rest)
		if n == 0 {
			return reason.PacketMalformed
		}
		rest = rest[n:]
	}
	if n := len(tail) - len(rest); n > 0 {
		p.Extensions = tail[:n:n]
	}
	switch len(rest) {
	case 0:
	case macNAK, MACShort, MACLong:
		p.MAC.Length = uint8(len(rest))
		p.MAC.KeyID = binary.BigEndian.Uint32(rest)
		copy(p.MAC.Digest[:], rest[macNAK:])
		if len(rest) == macNAK && p.MAC.KeyID != 0 {
			return reason.PacketMalformed
		}
	default:
		return reason.PacketMalformed
	}
	return reason.OK
}

// Append appends p as it stands on the wire to b. Fields wider than their bits on the wire are cut to them. Extensions is
// copied as it is: AppendExtension makes it.
func (p *Packet) Append(b []byte) []byte {
	b = append(b, p.Leap<<6|p.Version&7<<3|uint8(p.Mode)&7, p.Stratum, uint8(p.Poll), uint8(p.Precision))
	b = binary.BigEndian.AppendUint32(b, uint32(p.RootDelay))
	b = binary.BigEndian.AppendUint32(b, uint32(p.RootDispersion))
	b = binary.BigEndian.AppendUint32(b, p.ReferenceID)
	b = binary.BigEndian.AppendUint64(b, uint64(p.Reference))
	b = binary.BigEndian.AppendUint64(b, uint64(p.Origin))
	b = binary.BigEndian.AppendUint64(b, uint64(p.Receive))
	b = binary.BigEndian.AppendUint64(b, uint64(p.Transmit))
	b = append(b, p.Extensions...)
	return p.MAC.Append(b)
}
