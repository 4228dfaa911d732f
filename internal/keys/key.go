package keys

import (
	"crypto/subtle"

	"github.com/clockd/clockd/internal/ntp"
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
	// out and in are the same for a symmetric key.
	out, in code
}

func newKey(id uint32, name string, out, in code) *Key {
	// The length of the digest, which is the same for every message.
	n := min(len(out.sum(nil)), digestLength)
	return &Key{id: id, name: name, length: n, out: out, in: in}
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
