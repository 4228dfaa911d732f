package ntp

import (
	"encoding/binary"

	"github.com/clockd/clockd/reason"
)

// The lengths of a MAC on the wire: a key identifier and a digest of 16 or of 20 bytes. Longer digests are cut to 20 bytes, as
// chrony does in version 4, so that a MAC cannot be taken for an extension field (RFC 7822 section 3).
const (
	MACShort = 20
	MACLong  = 24

	macNAK    = 4
	digestMax = MACLong - macNAK
)

// MAC is the message authentication code at the end of a packet. It covers all that is before it: header and extension fields.
type MAC struct {
	// Length is 0 (there is none), 4 (crypto-NAK), 20 or 24, the key identifier's four bytes included.
	Length uint8
	KeyID  uint32
	Digest [digestMax]byte
}

// CryptoNAK reports whether the server says that it could not verify the request's MAC (RFC 5905 section 7.5).
func (m *MAC) CryptoNAK() bool { return m.Length == macNAK }

// Append appends the MAC as it stands on the wire to b: Length bytes.
func (m *MAC) Append(b []byte) []byte {
	n := min(int(m.Length), MACLong)
	if n < macNAK {
		return b
	}
	b = binary.BigEndian.AppendUint32(b, m.KeyID)
	return append(b, m.Digest[:n-macNAK]...)
}

// Authenticator makes and verifies the MACs of one direction of one conversation: what it seals, its counterpart verifies.
type Authenticator interface {
	// Overhead is how many bytes Seal appends: MACShort or MACLong.
	Overhead() int
	// Seal appends the MAC of message, a packet without one, to it.
	Seal(message []byte) []byte
	// Verify reports whether mac is that of message, the packet without its MAC. It takes the same time wherever they differ.
	Verify(message []byte, mac *MAC) bool
}

// Keyring holds the keys of many counterparts.
type Keyring interface {
	// Find returns the key that made mac, which is that of message; nil if none of them did.
	Find(message []byte, mac *MAC) Authenticator
}

// NTS is a server's side of Network Time Security (RFC 8915), as far as answering needs it: it keeps nothing of any client but from Open to
// the Seal that follows.
type NTS interface {
	// Speaks reports whether extension fields make a request one under NTS.
	Speaks(extensions []byte) bool
	// Open authenticates a request, which was decoded into p, and takes its keys from its cookie. Beside OK there are
	// RequestNTSCookie, after which Refuse may be called, and other codes, after which there is nothing to say.
	Open(request []byte, p *Packet) reason.Code
	// Seal appends the NTS fields of the answer to the request that was opened last, new cookies among them. The answer is no longer than
	// the request.
	Seal(answer []byte) []byte
	// Refuse appends what binds an NTS NAK to its request.
	Refuse(answer []byte) []byte
}
