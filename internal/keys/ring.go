package keys

import "github.com/clockd/clockd/internal/ntp"

// Ring is the keys that a server knows. It is an ntp.Keyring. It is not safe for concurrent use, as its keys are not.
//
// The identifiers of identity keys are 32 bits of a hash, so two of them, or one and a symmetric key, may fall together: then
// each key with that identifier is tried, and the MAC says which one it is. So nothing need be agreed upon, and a collision costs
// half a microsecond.
type Ring struct {
	keys map[uint32][]*Key
}

// NewRing returns a ring with those keys.
func NewRing(list ...*Key) *Ring {
	r := &Ring{keys: make(map[uint32][]*Key, len(list))}
	for _, k := range list {
		r.keys[k.id] = append(r.keys[k.id], k)
	}
	return r
}

// Find returns the key that made mac, which is that of message; nil if none of them did.
func (r *Ring) Find(message []byte, mac *ntp.MAC) ntp.Authenticator {
	for _, k := range r.keys[mac.KeyID] {
		if k.Verify(message, mac) {
			return k
		}
	}
	return nil
}
