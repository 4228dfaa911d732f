package keys

import (
	"crypto/sha256"
	"crypto/subtle"

	"github.com/clockd/clockd/internal/ntp"
	"github.com/clockd/clockd/reason"
)

const (
	identifierLength = 4
	// digestLength is that of the longest digest on the wire; longer ones are cut to it.
	digestLength = ntp.MACLong - identifierLength
)

// Key seals the packets that this host sends to one other, or to all that share the key, and verifies those that come back. It is
// an ntp.Authenticator. It is not safe for concurrent use: make one for each goroutine.
type Key struct {
	id     uint32
	name   string
	weak   bool
	length int
	mac    ntp.MAC
	packet ntp.Packet
	// print tells keys apart: the digest of what the two codes make of a fixed message.
	print [sha256.Size]byte
	// out and in are the same for a symmetric key.
	out, in code
}

func newKey(id uint32, name string, out, in code) *Key {
	k := &Key{id: id, name: name, out: out, in: in}
	// The length of the digest is the same for every message.
	const probe = "clockd key fingerprint"
	sum := out.sum([]byte(probe))
	k.length = min(len(sum), digestLength)
	h := sha256.New()
	h.Write(sum)
	h.Write(in.sum([]byte(probe)))
	h.Sum(k.print[:0])
	return k
}

// ID returns the key identifier, which is not 0.
func (k *Key) ID() uint32 { return k.id }

// String names the key for people: never its secret.
func (k *Key) String() string { return k.name }

// Weak reports whether the secret can be found by trying: it has fewer than 80 bits (chrony warns there too).
func (k *Key) Weak() bool { return k.weak }

// Overhead returns how many bytes Seal appends: 20 or 24.
func (k *Key) Overhead() int { return identifierLength + k.length }

// Seal appends the MAC of message, a packet without one, to it.
func (k *Key) Seal(message []byte) []byte {
	k.mac.Length, k.mac.KeyID = uint8(k.Overhead()), k.id
	copy(k.mac.Digest[:], k.out.sum(message)[:k.length])
	return k.mac.Append(message)
}

// Verify reports whether mac is the one that the other side's Seal makes of message.
func (k *Key) Verify(message []byte, mac *ntp.MAC) bool {
	if mac.KeyID != k.id || int(mac.Length) != k.Overhead() {
		return false
	}
	return subtle.ConstantTimeCompare(k.in.sum(message)[:k.length], mac.Digest[:k.length]) == 1
}

// Open reports whether a datagram ends in the MAC of the other side.
func (k *Key) Open(datagram []byte) bool {
	return k.packet.Decode(datagram) == reason.OK && k.Verify(datagram[:len(datagram)-int(k.packet.MAC.Length)], &k.packet.MAC)
}

// Reseal appends a packet to b with the MAC at its end made anew; false if the packet has no MAC of this key's identifier and
// length. One who knows the key's identifier, but not the key, leaves room so for the MAC.
func (k *Key) Reseal(b, packet []byte) ([]byte, bool) {
	m := &k.packet.MAC
	if k.packet.Decode(packet) != reason.OK || m.KeyID != k.id || int(m.Length) != k.Overhead() {
		return b, false
	}
	start := len(b)
	b = append(b, packet[:len(packet)-k.Overhead()]...)
	copy(k.mac.Digest[:], k.out.sum(b[start:])[:k.length])
	k.mac.Length, k.mac.KeyID = m.Length, k.id
	return k.mac.Append(b), true
}

// Equal reports whether the two are the same key in the same role; nil, no key, is equal to nil. Unlike the rest it may be called
// while another goroutine uses the keys.
func (k *Key) Equal(o *Key) bool {
	if k == nil || o == nil {
		return k == o
	}
	return k.id == o.id && k.name == o.name && k.print == o.print
}
