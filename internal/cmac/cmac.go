package cmac

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"fmt"
)

// MAC is AES-CMAC (RFC 4493; NIST SP 800-38B for keys of 256 bits). It is not safe for concurrent use.
type MAC struct {
	block cipher.Block
	// whole and padded are the subkeys K1, for a last block of 16 bytes, and K2, for a shorter one.
	whole, padded [aes.BlockSize]byte
	state         [aes.BlockSize]byte
}

// New returns the MAC under a key of 16, 24 or 32 bytes.
func New(key []byte) (*MAC, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("cmac: %w", err)
	}
	c := &MAC{block: block}
	block.Encrypt(c.whole[:], c.whole[:])
	Double(&c.whole)
	c.padded = c.whole
	Double(&c.padded)
	return c, nil
}

// Double multiplies by x in GF(2¹²⁸), in a time that does not depend on the value (RFC 4493 section 2.3).
func Double(b *[aes.BlockSize]byte) {
	var carry byte
	for i := len(b) - 1; i >= 0; i-- {
		next := b[i] >> 7
		b[i] = b[i]<<1 | carry
		carry = next
	}
	b[len(b)-1] ^= 0x87 & -carry
}

// Sum returns the authentication code of message, 16 bytes that are valid until the next call.
func (c *MAC) Sum(message []byte) []byte {
	x := c.state[:]
	clear(x)
	for len(message) > aes.BlockSize {
		subtle.XORBytes(x, x, message[:aes.BlockSize])
		c.block.Encrypt(x, x)
		message = message[aes.BlockSize:]
	}
	subtle.XORBytes(x, x, message)
	if len(message) == aes.BlockSize {
		subtle.XORBytes(x, x, c.whole[:])
	} else {
		x[len(message)] ^= 0x80
		subtle.XORBytes(x, x, c.padded[:])
	}
	c.block.Encrypt(x, x)
	return x
}
