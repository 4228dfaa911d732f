package nts

import "fmt"

// Algorithm is an AEAD by its number in IANA's registry (RFC 5116).
type Algorithm uint16

// The AEADs that are spoken here. RFC 8915 demands the first.
const (
	AESSIVCMAC256 Algorithm = 15
	AES128GCMSIV  Algorithm = 30
)

// tagLength is by how much a ciphertext is longer than its plaintext, for both.
const tagLength = 16

// maxKeyLength is that of the longest key.
const maxKeyLength = 32

// AEAD encrypts and authenticates. It is not safe for concurrent use. Both survive a nonce that is used twice: only that
// two messages are the same is then told.
type AEAD interface {
	// NonceLength is how long the nonces are that we make. NonceFits says whether another host's may have length n.
	NonceLength() int
	NonceFits(n int) bool
	// Seal appends the ciphertext of plaintext, which binds ad and nonce too, to dst. No memory may overlap.
	Seal(dst, nonce, plaintext, ad []byte) []byte
	// Open appends the plaintext to dst; false, and dst as it was, if anything was altered. No memory may overlap.
	Open(dst, nonce, ciphertext, ad []byte) ([]byte, bool)
}

// String returns the name in IANA's registry.
func (a Algorithm) String() string {
	switch a {
	case AESSIVCMAC256:
		return "AES-SIV-CMAC-256"
	case AES128GCMSIV:
		return "AES-128-GCM-SIV"
	}
	return fmt.Sprintf("AEAD %d", uint16(a))
}

// KeyLength returns the length of a key in bytes, 0 for an algorithm that is not known here.
func (a Algorithm) KeyLength() int {
	switch a {
	case AESSIVCMAC256:
		return 32
	case AES128GCMSIV:
		return 16
	}
	return 0
}

// New returns the AEAD under a key.
func (a Algorithm) New(key []byte) (AEAD, error) {
	if n := a.KeyLength(); n == 0 || len(key) != n {
		return nil, fmt.Errorf("nts: a key of %d bytes is none of %s", len(key), a)
	}
	if a == AES128GCMSIV {
		return newGCMSIV(key)
	}
	return newSIV(key)
}
