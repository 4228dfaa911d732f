package nts

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"fmt"

	"github.com/clockd/clockd/internal/cmac"
)

// siv is AES-SIV (RFC 5297) with two strings beside the plaintext: associated data and nonce.
type siv struct {
	mac   *cmac.MAC
	block cipher.Block
	// zero is the CMAC of a block of zeros, with which S2V begins.
	zero [aes.BlockSize]byte
	// join is the last string, xored at its end.
	join []byte
	// counter and stream belong to CTR mode; tag is what Open compares with.
	counter, stream, tag [aes.BlockSize]byte
}

func newSIV(key []byte) (*siv, error) {
	mac, err := cmac.New(key[:len(key)/2])
	if err != nil {
		return nil, fmt.Errorf("nts: %w", err)
	}
	block, err := aes.NewCipher(key[len(key)/2:])
	if err != nil {
		return nil, fmt.Errorf("nts: %w", err)
	}
	s := &siv{mac: mac, block: block}
	var zeros [aes.BlockSize]byte
	copy(s.zero[:], mac.Sum(zeros[:]))
	return s, nil
}

func (s *siv) NonceLength() int { return aes.BlockSize }

// NonceFits: any nonce is but one more string.
func (s *siv) NonceFits(n int) bool { return n > 0 }

// s2v is the synthetic initialisation vector of strings, of which the last is the plaintext (RFC 5297 section 2.4). It
// is valid until the next call.
func (s *siv) s2v(plaintext []byte, strings ...[]byte) []byte {
	d := s.zero
	for _, x := range strings {
		cmac.Double(&d)
		subtle.XORBytes(d[:], d[:], s.mac.Sum(x))
	}
	if n := len(plaintext) - aes.BlockSize; n >= 0 {
		s.join = append(s.join[:0], plaintext...)
		subtle.XORBytes(s.join[n:], s.join[n:], d[:])
		return s.mac.Sum(s.join)
	}
	cmac.Double(&d)
	subtle.XORBytes(d[:], d[:], plaintext)
	d[len(plaintext)] ^= 0x80
	return s.mac.Sum(d[:])
}

// ctr appends in, encrypted or decrypted with the vector iv, to dst.
func (s *siv) ctr(dst, iv, in []byte) []byte {
	copy(s.counter[:], iv)
	s.counter[8] &= 0x7f
	s.counter[12] &= 0x7f
	for len(in) > 0 {
		s.block.Encrypt(s.stream[:], s.counter[:])
		n := min(len(in), aes.BlockSize)
		for i, b := range in[:n] {
			dst = append(dst, b^s.stream[i])
		}
		in = in[n:]
		for i := aes.BlockSize - 1; i >= 0; i-- {
			if s.counter[i]++; s.counter[i] != 0 {
				break
			}
		}
	}
	return dst
}

func (s *siv) Seal(dst, nonce, plaintext, ad []byte) []byte {
	iv := s.s2v(plaintext, ad, nonce)
	dst = append(dst, iv...)
	return s.ctr(dst, dst[len(dst)-tagLength:], plaintext)
}

func (s *siv) Open(dst, nonce, ciphertext, ad []byte) ([]byte, bool) {
	if len(ciphertext) < tagLength || !s.NonceFits(len(nonce)) {
		return dst, false
	}
	copy(s.tag[:], ciphertext)
	start := len(dst)
	out := s.ctr(dst, s.tag[:], ciphertext[tagLength:])
	if subtle.ConstantTimeCompare(s.s2v(out[start:], ad, nonce), s.tag[:]) != 1 {
		clear(out[start:])
		return dst, false
	}
	return out, true
}
