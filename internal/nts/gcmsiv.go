package nts

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"math/bits"
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

// polyval is POLYVAL (RFC 8452 section 3): a polynomial over GF(2¹²⁸) modulo x¹²⁸ + x¹²⁷ + x¹²⁶ + x¹²¹ + 1, whose steps are a·b·x⁻¹²⁸. It takes
// the same time for all values.
type polyval struct{ h, s element }

// element has the coefficients of x⁰ to x⁶³ in low, the lowest in the least bit.
type element struct{ low, high uint64 }

func load(b []byte) element {
	return element{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])}
}

func newPolyval(key [aes.BlockSize]byte) *polyval { return &polyval{h: load(key[:])} }

// carryless returns the low half of the product of two polynomials. Of each factor only every fourth bit is multiplied at a time, so
// that carries fall where no bit is looked at (T. Pornin, BearSSL, 2017).
func carryless(x, y uint64) uint64 {
	const m0, m1, m2, m3 = 0x1111111111111111, 0x2222222222222222, 0x4444444444444444, 0x8888888888888888
	x0, x1, x2, x3 := x&m0, x&m1, x&m2, x&m3
	y0, y1, y2, y3 := y&m0, y&m1, y&m2, y&m3
	return (x0*y0^x1*y3^x2*y2^x3*y1)&m0 | (x0*y1^x1*y0^x2*y3^x3*y2)&m1 |
		(x0*y2^x1*y1^x2*y0^x3*y3)&m2 | (x0*y3^x1*y2^x2*y1^x3*y0)&m3
}

// product returns both halves: the high one is the low one of the reversed factors.
func product(x, y uint64) (low, high uint64) {
	return carryless(x, y), bits.Reverse64(carryless(bits.Reverse64(x), bits.Reverse64(y))) >> 1
}

// dot returns e·o·x⁻¹²⁸: the lower halves are cleared by adding multiples of the modulus.
func (e element) dot(o element) element {
	v0, v1 := product(e.low, o.low)
	v2, v3 := product(e.high, o.high)
	low, high := product(e.low^e.high, o.low^o.high)
	low, high = low^v0^v2, high^v1^v3
	v1, v2 = v1^low, v2^high
	v2 ^= v0 ^ v0>>1 ^ v0>>2 ^ v0>>7
	v1 ^= v0<<63 ^ v0<<62 ^ v0<<57
	v3 ^= v1 ^ v1>>1 ^ v1>>2 ^ v1>>7
	v2 ^= v1<<63 ^ v1<<62 ^ v1<<57
	return element{v2, v3}
}

// write adds a string, padded with zeros to whole blocks.
func (p *polyval) write(b []byte) {
	for len(b) > 0 {
		var block [aes.BlockSize]byte
		b = b[copy(block[:], b):]
		x := load(block[:])
		p.s = element{p.s.low ^ x.low, p.s.high ^ x.high}.dot(p.h)
	}
}

func (p *polyval) sum() (out [aes.BlockSize]byte) {
	binary.LittleEndian.PutUint64(out[:], p.s.low)
	binary.LittleEndian.PutUint64(out[8:], p.s.high)
	return out
}
