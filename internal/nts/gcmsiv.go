package nts

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
)

const gcmSIVNonce = 12

// gcmSIV is AES-128-GCM-SIV (RFC 8452). Each nonce has keys of its own, so each message costs an allocation or two.
type gcmSIV struct {
	master cipher.Block
	tag    [aes.BlockSize]byte
}

func newGCMSIV(key []byte) (*gcmSIV, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("nts: %w", err)
	}
	return &gcmSIV{master: block}, nil
}

func (g *gcmSIV) NonceLength() int { return gcmSIVNonce }

func (g *gcmSIV) NonceFits(n int) bool { return n == gcmSIVNonce }

// derive returns the nonce's key of POLYVAL and its cipher (RFC 8452 section 4).
func (g *gcmSIV) derive(nonce []byte) (authentication [aes.BlockSize]byte, encryption cipher.Block, err error) {
	var in, out, key [aes.BlockSize]byte
	copy(in[4:], nonce)
	for i := range 4 {
		binary.LittleEndian.PutUint32(in[:], uint32(i))
		g.master.Encrypt(out[:], in[:])
		half := out[:8]
		if i < 2 {
			copy(authentication[8*i:], half)
		} else {
			copy(key[8*(i-2):], half)
		}
	}
	encryption, err = aes.NewCipher(key[:])
	return authentication, encryption, err
}

// authenticate returns the tag of a message (section 4).
func authenticate(key [aes.BlockSize]byte, block cipher.Block, nonce, plaintext, ad []byte) (tag [aes.BlockSize]byte) {
	p := newPolyval(key)
	p.write(ad)
	p.write(plaintext)
	var lengths [aes.BlockSize]byte
	binary.LittleEndian.PutUint64(lengths[:], uint64(len(ad))*8)
	binary.LittleEndian.PutUint64(lengths[8:], uint64(len(plaintext))*8)
	p.write(lengths[:])
	tag = p.sum()
	subtle.XORBytes(tag[:], tag[:], nonce)
	tag[15] &= 0x7f
	block.Encrypt(tag[:], tag[:])
	return tag
}

// stream appends in, encrypted or decrypted from the tag's counter on, to dst.
func stream(dst []byte, block cipher.Block, tag [aes.BlockSize]byte, in []byte) []byte {
	counter, out := tag, [aes.BlockSize]byte{}
	counter[15] |= 0x80
	for n := binary.LittleEndian.Uint32(counter[:]); len(in) > 0; n++ {
		binary.LittleEndian.PutUint32(counter[:], n)
		block.Encrypt(out[:], counter[:])
		m := min(len(in), aes.BlockSize)
		for i, b := range in[:m] {
			dst = append(dst, b^out[i])
		}
		in = in[m:]
	}
	return dst
}

func (g *gcmSIV) Seal(dst, nonce, plaintext, ad []byte) []byte {
	key, block, err := g.derive(nonce)
	if err != nil {
		return dst // not with 16 bytes: aes.NewCipher refuses lengths only
	}
	tag := authenticate(key, block, nonce, plaintext, ad)
	return append(stream(dst, block, tag, plaintext), tag[:]...)
}

func (g *gcmSIV) Open(dst, nonce, ciphertext, ad []byte) ([]byte, bool) {
	if len(ciphertext) < tagLength || !g.NonceFits(len(nonce)) {
		return dst, false
	}
	key, block, err := g.derive(nonce)
	if err != nil {
		return dst, false
	}
	end := len(ciphertext) - tagLength
	copy(g.tag[:], ciphertext[end:])
	start := len(dst)
	out := stream(dst, block, g.tag, ciphertext[:end])
	want := authenticate(key, block, nonce, out[start:], ad)
	if subtle.ConstantTimeCompare(want[:], g.tag[:]) != 1 {
		clear(out[start:])
		return dst, false
	}
	return out, true
}

// polyval is POLYVAL (RFC 8452 section 3): a polynomial over GF(2¹²⁸) modulo x¹²⁸ + x¹²⁷ + x¹²⁶ + x¹²¹ + 1, evaluated at h·x⁻¹²⁸. Bit by
// bit and in a time that does not depend on the values: packets are short.
type polyval struct {
	// h and s have the coefficients of x⁰ to x⁶³ in low, the lowest in the least bit.
	h, s element
}

type element struct{ low, high uint64 }

func load(b []byte) element {
	return element{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])}
}

// newPolyval takes h·x⁻¹²⁸ instead of h, so that a step is one ordinary product.
func newPolyval(key [aes.BlockSize]byte) *polyval {
	h := load(key[:])
	for range 128 {
		h = h.halve()
	}
	return &polyval{h: h}
}

// halve divides by x: where the constant coefficient is 1, the modulus is added first.
func (e element) halve() element {
	odd := -(e.low & 1)
	low, high := e.low^1&odd, e.high^0xc200000000000000&odd
	// The modulus' x¹²⁸ becomes x¹²⁷.
	return element{low>>1 | high<<63, high>>1 | odd&(1<<63)}
}

// double multiplies by x.
func (e element) double() element {
	over := -(e.high >> 63)
	return element{e.low<<1 ^ over&1, (e.high<<1 | e.low>>63) ^ over&0xc200000000000000}
}

func (e element) times(o element) (product element) {
	for _, word := range [2]uint64{o.low, o.high} {
		for range 64 {
			take := -(word & 1)
			product.low ^= e.low & take
			product.high ^= e.high & take
			word >>= 1
			e = e.double()
		}
	}
	return product
}

// write adds a string, padded with zeros to whole blocks.
func (p *polyval) write(b []byte) {
	for len(b) > 0 {
		var block [aes.BlockSize]byte
		b = b[copy(block[:], b):]
		x := load(block[:])
		p.s = element{p.s.low ^ x.low, p.s.high ^ x.high}.times(p.h)
	}
}

func (p *polyval) sum() (out [aes.BlockSize]byte) {
	binary.LittleEndian.PutUint64(out[:], p.s.low)
	binary.LittleEndian.PutUint64(out[8:], p.s.high)
	return out
}
