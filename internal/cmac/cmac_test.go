package cmac

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"testing"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The message of all vectors; each takes the first bytes of it.
const vectorMessage = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"

func TestCMACVectors(t *testing.T) {
	const aes128 = "2b7e151628aed2a6abf7158809cf4f3c"
	const aes256 = "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"
	for _, c := range []struct {
		source, key, sum string
		length           int
	}{
		{"RFC 4493 example 1", aes128, "bb1d6929e95937287fa37d129b756746", 0},
		{"RFC 4493 example 2", aes128, "070a16b46b4d4144f79bdd9dd04a287c", 16},
		{"RFC 4493 example 3", aes128, "dfa66747de9ae63030ca32611497c827", 40},
		{"RFC 4493 example 4", aes128, "51f0bebf7e3b9d92fc49741779363cfe", 64},
		{"SP 800-38B D.3 example 9", aes256, "028962f61b7bf89efc6b551f4667d983", 0},
		{"SP 800-38B D.3 example 10", aes256, "28a7023f452e8f82bd4bf28d8c37c35c", 16},
		{"SP 800-38B D.3 example 11", aes256, "aaf3d8f1de5640c232f5b169b9c911e6", 40},
		{"SP 800-38B D.3 example 12", aes256, "e1992190549f6ed5696a2c056c315410", 64},
	} {
		m, err := New(unhex(t, c.key))
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // a second time: nothing is left over from the first
			if got := hex.EncodeToString(m.Sum(unhex(t, vectorMessage)[:c.length])); got != c.sum {
				t.Errorf("%s: %s, want %s", c.source, got, c.sum)
			}
		}
	}
	m, err := New(unhex(t, aes128))
	if err != nil {
		t.Fatal(err)
	}
	// RFC 4493 section 4, subkey generation.
	if k1, k2 := hex.EncodeToString(m.whole[:]), hex.EncodeToString(m.padded[:]); k1 != "fbeed618357133667c85e08f7236a8de" || k2 != "f7ddac306ae266ccf90bc11ee46d513b" {
		t.Errorf("subkeys %s, %s", k1, k2)
	}
	for _, n := range []int{0, 15, 17, 33} {
		if _, err := New(make([]byte, n)); err == nil {
			t.Errorf("a key of %d bytes was taken", n)
		}
	}
}

// A slow, obvious CMAC: pad the message, mask the last block, chain. It must agree at every length.
func TestCMACAgainstTheObvious(t *testing.T) {
	const seed = 61
	rng := rand.New(rand.NewPCG(seed, seed))
	random := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return b
	}
	for n := range 200 {
		c, err := New(random(16 + 16*(n%2)))
		if err != nil {
			t.Fatal(err)
		}
		message := random(n)
		padded, mask := bytes.Clone(message), c.whole[:]
		if n == 0 || n%16 != 0 {
			padded, mask = append(padded, 0x80), c.padded[:]
			for len(padded)%16 != 0 {
				padded = append(padded, 0)
			}
		}
		for i := range mask {
			padded[len(padded)-16+i] ^= mask[i]
		}
		state := make([]byte, 16)
		for i := 0; i < len(padded); i += 16 {
			for j := range state {
				state[j] ^= padded[i+j]
			}
			c.block.Encrypt(state, state)
		}
		if got := c.Sum(message); !bytes.Equal(got, state) {
			t.Fatalf("seed %d, %d bytes: %x, want %x", seed, n, got, state)
		}
	}
}
