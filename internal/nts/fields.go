package nts

import (
	"encoding/binary"

	"github.com/clockd/clockd/internal/ntp"
	"github.com/clockd/clockd/reason"
)

// The types of the extension fields (RFC 8915 section 7.5).
const (
	fieldUniqueID      = 0x0104
	fieldCookie        = 0x0204
	fieldPlaceholder   = 0x0304
	fieldAuthenticator = 0x0404
)

const (
	// uniqueIDLength is that of our requests, the least that RFC 8915 section 5.3 allows; maxUniqueID the longest that we repeat.
	uniqueIDLength = 32
	maxUniqueID    = 256
	// MaxCookies is how many cookies a client keeps, and the most that one answer brings (section 4).
	MaxCookies = 8
	// MaxCookie is the longest cookie that is kept; with it a request fits every link.
	MaxCookie   = 512
	fieldHeader = 4
	// leastNonce is the room that a request must leave for the answer's nonce (section 5.6).
	leastNonce = 16
)

// fields is what the NTS fields of a packet say. All are views of it.
type fields struct {
	uniqueID, cookie []byte
	// cookies and placeholders count; the placeholders' shortest body is placeholder bytes long.
	cookies, placeholders, placeholder int
	// nonce, sealed and bound are the authenticator's: its two strings and what is before it.
	nonce, sealed, bound []byte
}

// Spoken reports whether extension fields speak of NTS: a cookie or an authenticator is among them. A unique identifier alone is a
// field like any other.
func Spoken(extensions []byte) bool {
	for {
		f, rest, ok := ntp.NextExtension(extensions)
		if !ok {
			return false
		}
		if f.Type == fieldCookie || f.Type == fieldAuthenticator {
			return true
		}
		extensions = rest
	}
}

// parse reads the NTS fields of a packet whose decoded extension fields are extensions. NTSMalformed: one is there twice that must
// not be, or is not as it should be, or something follows the authenticator, which would be authenticated by nothing.
func parse(packet, extensions []byte) (f fields, code reason.Code) {
	if len(packet) != ntp.HeaderLength+len(extensions) {
		return f, reason.NTSMalformed // a MAC beside NTS
	}
	for rest := extensions; len(rest) > 0; {
		before := len(packet) - len(rest)
		x, next, ok := ntp.NextExtension(rest)
		if !ok || f.bound != nil {
			return f, reason.NTSMalformed
		}
		rest = next
		switch x.Type {
		case fieldUniqueID:
			if f.uniqueID != nil || len(x.Body) < uniqueIDLength || len(x.Body) > maxUniqueID {
				return f, reason.NTSMalformed
			}
			f.uniqueID = x.Body
		case fieldCookie:
			f.cookie = x.Body
			f.cookies++
		case fieldPlaceholder:
			if f.placeholders == 0 || len(x.Body) < f.placeholder {
				f.placeholder = len(x.Body)
			}
			f.placeholders++
		case fieldAuthenticator:
			if !f.authenticator(x.Body) {
				return f, reason.NTSMalformed
			}
			f.bound = packet[:before]
		}
	}
	return f, reason.OK
}

// authenticator reads the body of an authenticator: lengths of nonce and ciphertext, both, each padded (section 5.6).
func (f *fields) authenticator(body []byte) bool {
	if len(body) < 4 {
		return false
	}
	n, m := int(binary.BigEndian.Uint16(body)), int(binary.BigEndian.Uint16(body[2:]))
	body = body[4:]
	if n == 0 || m < tagLength || padded(n)+padded(m) > len(body) {
		return false
	}
	f.nonce, f.sealed = body[:n], body[padded(n):padded(n)+m]
	return true
}

// padded rounds up to whole words.
func padded(n int) int { return (n + 3) &^ 3 }

// appendField appends a field; the caller knows that it fits a packet.
func appendField(b []byte, kind uint16, body []byte) []byte {
	b, _ = ntp.AppendExtension(b, kind, body, false)
	return b
}

// appendAuthenticator appends the authenticator of packet b with the encrypted plaintext.
func appendAuthenticator(b []byte, a AEAD, nonce, plaintext []byte) []byte {
	start := len(b)
	m := len(plaintext) + tagLength
	// Room is left as if the nonce had the longest length that the other side may need.
	room := max(padded(len(nonce)), leastNonce) - padded(len(nonce))
	n := fieldHeader + 4 + padded(len(nonce)) + padded(m) + room
	b = binary.BigEndian.AppendUint16(b, fieldAuthenticator)
	b = binary.BigEndian.AppendUint16(b, uint16(n))
	b = binary.BigEndian.AppendUint16(b, uint16(len(nonce)))
	b = binary.BigEndian.AppendUint16(b, uint16(m))
	b = pad(append(b, nonce...), start)
	b = a.Seal(b, nonce, plaintext, b[:start])
	b = pad(b, start)
	for range room {
		b = append(b, 0)
	}
	return b
}

// pad fills up to whole words counted from start.
func pad(b []byte, start int) []byte {
	for (len(b)-start)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// authenticatorLength is the length of an authenticator field without plaintext, and with our nonces.
const authenticatorLength = fieldHeader + 4 + leastNonce + tagLength
