package ntp

import (
	"encoding/binary"

	"github.com/clockd/clockd/reason"
)

const (
	extensionHeader = 4
	// RFC 7822 section 3: no field is shorter than 16 bytes; the last one of a packet without MAC is not shorter than 28,
	// so that it cannot be taken for a MAC.
	extensionMin     = 16
	lastExtensionMin = 28
)

// Extension is one extension field.
type Extension struct {
	Type uint16
	// Body is what follows type and length, padding included: the field's own format says where it ends.
	Body []byte
}

// extensionLength returns the length of the field that raw begins with, or 0 if it has none that fits.
func extensionLength(raw []byte) int {
	if len(raw) < extensionMin {
		return 0
	}
	n := int(binary.BigEndian.Uint16(raw[2:]))
	if n < extensionMin || n%4 != 0 || n > len(raw) {
		return 0
	}
	return n
}

// NextExtension returns the first field of raw, which is a Packet's Extensions or what an earlier call left of it, and the rest.
// ok is false at the end, and where raw holds no whole field. Fields of a type that the caller does not know are to be skipped.
func NextExtension(raw []byte) (field Extension, rest []byte, ok bool) {
	n := extensionLength(raw)
	if n == 0 {
		return Extension{}, nil, false
	}
	return Extension{binary.BigEndian.Uint16(raw), raw[extensionHeader:n:n]}, raw[n:], true
}

// WholeExtensions reports whether raw is a sequence of whole extension fields, or nothing, that a MAC can follow.
func WholeExtensions(raw []byte) bool {
	for len(raw) > 0 {
		n := extensionLength(raw)
		if n == 0 {
			return false
		}
		raw = raw[n:]
	}
	return true
}

// AppendExtension appends a field with that body, padded with zeros to a legal length, to b. last says that no other field and
// no MAC follow. The error is PacketTooLong if it can fit into no packet.
func AppendExtension(b []byte, field uint16, body []byte, last bool) ([]byte, reason.Code) {
	n := (extensionHeader + len(body) + 3) &^ 3
	least := extensionMin
	if last {
		least = lastExtensionMin
	}
	if n > MaxLength-HeaderLength {
		return b, reason.PacketTooLong
	}
	n = max(n, least)
	b = binary.BigEndian.AppendUint16(b, field)
	b = binary.BigEndian.AppendUint16(b, uint16(n))
	b = append(b, body...)
	for range n - extensionHeader - len(body) {
		b = append(b, 0)
	}
	return b, reason.OK
}
