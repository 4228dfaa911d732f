package keys

import (
	"bytes"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

const (
	// The prefixes say what a text is, and the version of its format and of the derivation that follows.
	publicPrefix  = "clockd-public-1:"
	privatePrefix = "clockd-private-1:"
	keyLength     = 32
	checkLength   = 4
	// The labels of the derivation: whoever derives keys for another purpose from the same identities takes others.
	saltLabel    = "clockd identity 1"
	requestLabel = "clockd ntp request 1"
	answerLabel  = "clockd ntp answer 1"
	numberLabel  = "clockd key identifier 1"
	aesKeyLength = 16
)

// PublicKey is the name of a host's identity: what others must know to tell its packets from everybody else's.
type PublicKey [keyLength]byte

// Identity is a host's own key pair.
type Identity struct {
	private *ecdh.PrivateKey
	public  PublicKey
}

// Generate makes an identity from random, which must be secret and unpredictable.
func Generate(random io.Reader) (*Identity, error) {
	var b [keyLength]byte
	defer clear(b[:])
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return nil, fmt.Errorf("keys: no randomness for a new key: %w", err)
	}
	return newIdentity(b[:])
}

func newIdentity(secret []byte) (*Identity, error) {
	private, err := ecdh.X25519().NewPrivateKey(secret)
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	i := &Identity{private: private}
	copy(i.public[:], private.PublicKey().Bytes())
	return i, nil
}

// Public returns what others must know.
func (i *Identity) Public() PublicKey { return i.public }

// String is the public line: a secret is not printed by accident.
func (i *Identity) String() string { return i.public.String() }

// GoString is String.
func (i *Identity) GoString() string { return i.String() }

// String returns the line that others put into their configuration: a prefix with a version, and the key with a checksum.
func (p PublicKey) String() string { return armour(publicPrefix, p[:]) }

// MarshalText returns the line.
func (p PublicKey) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads the line.
func (p *PublicKey) UnmarshalText(text []byte) (err error) {
	*p, err = ParsePublicKey(string(text))
	return err
}

// armour writes 32 bytes and the first four of the SHA-256 of prefix and bytes: 48 characters, each of which carries six bits.
func armour(prefix string, key []byte) string {
	return prefix + base64.RawURLEncoding.EncodeToString(append(bytes.Clone(key), checksum(prefix, key)...))
}

func checksum(prefix string, key []byte) []byte {
	sum := sha256.Sum256(append([]byte(prefix), key...))
	return sum[:checkLength]
}

// disarm reads what armour writes, and nothing else. The error does not repeat the text, which may be a secret.
func disarm(prefix, text string) ([]byte, error) {
	rest, ok := strings.CutPrefix(text, prefix)
	switch {
	case ok:
	case strings.HasPrefix(text, privatePrefix):
		return nil, errors.New("keys: this is a private key, and a public one is wanted: it must not leave its host; make a new pair with clockd keygen")
	case strings.HasPrefix(text, publicPrefix):
		return nil, errors.New("keys: this is a public key, and a private one is wanted: clockd keygen --out FILE makes one")
	default:
		return nil, fmt.Errorf("keys: a key of this kind begins with %q, this text does not", prefix)
	}
	const length = keyLength + checkLength
	if want := base64.RawURLEncoding.EncodedLen(length); len(rest) != want {
		return nil, fmt.Errorf("keys: after %s come %d characters, here there are %d: some are missing or too many", prefix, want, len(rest))
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(rest)
	if err != nil || len(b) != length {
		return nil, fmt.Errorf("keys: after %s only letters, digits, - and _ can stand", prefix)
	}
	key := b[:keyLength]
	if subtle.ConstantTimeCompare(b[keyLength:], checksum(prefix, key)) != 1 {
		return nil, errors.New("keys: the checksum of the key is wrong: a character was mistyped or lost")
	}
	return key, nil
}

// ParsePublicKey reads the line that clockd keygen prints, exactly. Keys that prove nothing (points of small order) and second
// spellings of a key are refused.
func ParsePublicKey(line string) (PublicKey, error) {
	b, err := disarm(publicPrefix, line)
	if err != nil {
		return PublicKey{}, err
	}
	p := PublicKey(b)
	if !p.canonical() {
		return PublicKey{}, errors.New("keys: the key is not in its only form (RFC 7748 section 5): clockd keygen did not make it")
	}
	// Any private key shows a point of small order, by the shared secret of zero.
	probe, err := newIdentity(bytes.Repeat([]byte{1}, keyLength))
	if err != nil {
		return PublicKey{}, err
	}
	if _, err := probe.shared(p); err != nil {
		return PublicKey{}, errors.New("keys: everybody knows the secret of this key: clockd keygen did not make it")
	}
	return p, nil
}

// canonical reports whether the 255-bit number is below 2²⁵⁵ − 19 and the last bit is 0.
func (p PublicKey) canonical() bool {
	if p[31] != 0x7f {
		return p[31] < 0x7f
	}
	for _, b := range p[1:31] {
		if b != 0xff {
			return true
		}
	}
	return p[0] < 0xed
}

// shared is the secret that only the two hosts can compute (RFC 7748 section 6.1).
func (i *Identity) shared(peer PublicKey) ([]byte, error) {
	public, err := ecdh.X25519().NewPublicKey(peer[:])
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	secret, err := i.private.ECDH(public)
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	return secret, nil
}

// ClientKey returns the key with which this host asks a server of that identity: it seals requests and verifies answers.
func (i *Identity) ClientKey(server PublicKey) (*Key, error) {
	return i.pair(server, requestLabel, answerLabel)
}

// ServerKey returns the key with which this host answers a client of that identity: it verifies requests and seals answers.
func (i *Identity) ServerKey(client PublicKey) (*Key, error) {
	return i.pair(client, answerLabel, requestLabel)
}

// pair makes the key of one role: out is the label of what this host sends, in of what it receives.
//
//	PRK = HKDF-Extract(salt "clockd identity 1", X25519(own, peer) ‖ lesser public key ‖ greater public key)
//	key = HKDF-Expand(PRK, label ‖ sender's public key ‖ receiver's public key, 16 bytes)
//
// with SHA-256 (RFC 5869). The public keys are in the input since X25519 does not bind them (RFC 7748 section 6.1), and in the
// label in the order of the direction.
func (i *Identity) pair(peer PublicKey, out, in string) (*Key, error) {
	if peer == i.public {
		return nil, errors.New("keys: this is the host's own public key: a host cannot be its own peer")
	}
	secret, err := i.shared(peer)
	if err != nil {
		return nil, err
	}
	defer clear(secret)
	lesser, greater := order(i.public, peer)
	secret = append(append(secret, lesser[:]...), greater[:]...)
	prk, err := hkdf.Extract(sha256.New, secret, []byte(saltLabel))
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	defer clear(prk)
	seal, err := direction(prk, out, i.public, peer)
	if err != nil {
		return nil, err
	}
	verify, err := direction(prk, in, peer, i.public)
	if err != nil {
		return nil, err
	}
	return newKey(pairID(i.public, peer), "identity "+peer.String(), seal, verify), nil
}

func order(a, b PublicKey) (lesser, greater PublicKey) {
	if bytes.Compare(a[:], b[:]) < 0 {
		return a, b
	}
	return b, a
}

// direction derives the key of one kind of packet from one host to the other.
func direction(prk []byte, label string, from, to PublicKey) (code, error) {
	info := label + string(from[:]) + string(to[:])
	key, err := hkdf.Expand(sha256.New, prk, info, aesKeyLength)
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	defer clear(key)
	return newCMAC(key)
}

// pairID returns the key identifier of a pair, the same on both sides: the first 32 bits, but not 0, of the SHA-256 of a label and
// both public keys in their order. It is no secret.
func pairID(a, b PublicKey) uint32 {
	lesser, greater := order(a, b)
	sum := sha256.Sum256([]byte(numberLabel + string(lesser[:]) + string(greater[:])))
	return max(1, binary.BigEndian.Uint32(sum[:]))
}
