package nts

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The vectors of RFC 5297 appendix A. The first has one string beside the plaintext, the second three.
func TestSIVVectors(t *testing.T) {
	for _, c := range []struct {
		name, key, plaintext, out string
		strings                   []string
	}{
		{"A.1", "fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff", "112233445566778899aabbccddee",
			"85632d07c6e8f37f950acd320a2ecc9340c02b9690c4dc04daef7f6afe5c",
			[]string{"101112131415161718191a1b1c1d1e1f2021222324252627"}},
		{"A.2", "7f7e7d7c7b7a79787776757473727170404142434445464748494a4b4c4d4e4f",
			"7468697320697320736f6d6520706c61696e7465787420746f20656e6372797074207573696e67205349562d414553",
			"7bdb6e3b432667eb06f4d14bff2fbd0fcb900f2fddbe404326601965c889bf17dba77ceb094fa663b7a3f748ba8af829ea64ad544a272e9c485b62a3fd5c0d",
			[]string{"00112233445566778899aabbccddeeffdeaddadadeaddadaffeeddccbbaa99887766554433221100", "102030405060708090a0", "09f911029d74e35bd84156c5635688c0"}},
	} {
		s, err := newSIV(unhex(t, c.key))
		if err != nil {
			t.Fatal(err)
		}
		var list [][]byte
		for _, x := range c.strings {
			list = append(list, unhex(t, x))
		}
		iv := bytes.Clone(s.s2v(unhex(t, c.plaintext), list...))
		got := s.ctr(bytes.Clone(iv), iv, unhex(t, c.plaintext))
		if hex.EncodeToString(got) != c.out {
			t.Errorf("RFC 5297 %s: %x, want %s", c.name, got, c.out)
		}
	}
}

func TestSIVIsBound(t *testing.T) { testAEAD(t, AESSIVCMAC256) }

func TestGCMSIVIsBound(t *testing.T) { testAEAD(t, AES128GCMSIV) }

// testAEAD: what was sealed opens; any bit flipped in any part, and any cut, does not, and leaves nothing of the plaintext.
func testAEAD(t *testing.T, a Algorithm) {
	const seed = 71
	rng := rand.New(rand.NewPCG(seed, uint64(a)))
	random := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return b
	}
	for _, n := range []int{0, 1, 15, 16, 17, 32, 45, 66} {
		c, err := a.New(random(a.KeyLength()))
		if err != nil {
			t.Fatal(err)
		}
		nonce, plaintext, ad := random(c.NonceLength()), random(n), random(rng.IntN(70))
		sealed := c.Seal([]byte("before"), nonce, plaintext, ad)
		if len(sealed) != 6+n+tagLength || string(sealed[:6]) != "before" {
			t.Fatalf("%d bytes became %d", n, len(sealed))
		}
		sealed = sealed[6:]
		if got, ok := c.Open([]byte("x"), nonce, sealed, ad); !ok || string(got) != "x"+string(plaintext) {
			t.Fatalf("seed %d, %d bytes: %x, %v", seed, n, got, ok)
		}
		for _, part := range [][]byte{nonce, sealed, ad} {
			for i := range 8 * len(part) {
				part[i/8] ^= 1 << (i % 8)
				if got, ok := c.Open(nil, nonce, sealed, ad); ok || got != nil {
					t.Fatalf("%s, %d bytes: bit %d was flipped unseen", a, n, i)
				}
				part[i/8] ^= 1 << (i % 8)
			}
		}
		for i := range sealed {
			if _, ok := c.Open(nil, nonce, sealed[:i], ad); ok {
				t.Fatalf("%d of %d bytes open", i, len(sealed))
			}
		}
		if _, ok := c.Open(nil, nil, sealed, ad); ok {
			t.Fatal("without a nonce")
		}
	}
	if _, err := a.New(make([]byte, a.KeyLength()+1)); err == nil {
		t.Error("a key that is too long was taken")
	}
}

// Vectors of RFC 8452 appendices A (POLYVAL) and C.1.
func TestGCMSIVVectors(t *testing.T) {
	var h [16]byte
	copy(h[:], unhex(t, "25629347589242761d31f826ba4b757b"))
	p := newPolyval(h)
	p.write(unhex(t, "4f4f95668c83dfb6401762bb2d01a262d1a24ddd2721d006bbe45f20d3c9f362"))
	if sum := p.sum(); hex.EncodeToString(sum[:]) != "f7a3b47b846119fae5b7866cf5e5b77e" {
		t.Errorf("POLYVAL: %x", sum)
	}
	const key, nonce = "01000000000000000000000000000000", "030000000000000000000000"
	for _, c := range []struct{ key, nonce, plaintext, ad, out string }{
		{key, nonce, "", "", "dc20e2d83f25705bb49e439eca56de25"},
		{key, nonce, "0100000000000000", "", "b5d839330ac7b786578782fff6013b815b287c22493a364c"},
		{key, nonce, "010000000000000000000000", "", "7323ea61d05932260047d942a4978db357391a0bc4fdec8b0d106639"},
		{key, nonce, "01000000000000000000000000000000", "", "743f7c8077ab25f8624e2e948579cf77303aaf90f6fe21199c6068577437a0c4"},
		{key, nonce, "0200000000000000", "01", "1e6daba35669f4273b0a1a2560969cdf790d99759abd1508"},
	} {
		g, err := AES128GCMSIV.New(unhex(t, c.key))
		if err != nil {
			t.Fatal(err)
		}
		got := g.Seal(nil, unhex(t, c.nonce), unhex(t, c.plaintext), unhex(t, c.ad))
		if hex.EncodeToString(got) != c.out {
			t.Errorf("%s, %s: %x, want %s", c.plaintext, c.ad, got, c.out)
		}
		if back, ok := g.Open(nil, unhex(t, c.nonce), got, unhex(t, c.ad)); !ok || !bytes.Equal(back, unhex(t, c.plaintext)) {
			t.Errorf("%x does not open", got)
		}
	}
}

func FuzzOpen(f *testing.F) {
	f.Add([]byte("key"), []byte("nonce of 12b"), []byte("a ciphertext that is long enough"), []byte("ad"))
	f.Add([]byte{}, []byte{}, []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, key, nonce, text, ad []byte) {
		var k [32]byte
		copy(k[:], key)
		for _, a := range []Algorithm{AESSIVCMAC256, AES128GCMSIV} {
			c, err := a.New(k[:a.KeyLength()])
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := c.Open(nil, nonce, text, ad); ok {
				t.Fatalf("%s opened what nobody sealed", a)
			}
			if c.NonceFits(len(nonce)) {
				if back, ok := c.Open(nil, nonce, c.Seal(nil, nonce, text, ad), ad); !ok || !bytes.Equal(back, text) {
					t.Fatalf("%s did not open what it sealed", a)
				}
			}
		}
	})
}

func BenchmarkAEAD(b *testing.B) {
	for _, a := range []Algorithm{AESSIVCMAC256, AES128GCMSIV} {
		b.Run(a.String(), func(b *testing.B) {
			c, err := a.New(make([]byte, a.KeyLength()))
			if err != nil {
				b.Fatal(err)
			}
			nonce, ad, out := make([]byte, c.NonceLength()), make([]byte, 48+36+108), make([]byte, 0, 256)
			b.ReportAllocs()
			for b.Loop() {
				c.Seal(out, nonce, ad[:108], ad)
			}
		})
	}
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

// The obvious product, bit by bit, and 128 divisions by x.
func TestDotAgainstTheObvious(t *testing.T) {
	rng := rand.New(rand.NewPCG(seed, 3))
	for range 2000 {
		a, b := element{rng.Uint64(), rng.Uint64()}, element{rng.Uint64(), rng.Uint64()}
		want := a.times(b)
		for range 128 {
			want = want.halve()
		}
		if got := a.dot(b); got != want {
			t.Fatalf("seed %d: %x·%x is %x, want %x", seed, a, b, got, want)
		}
	}
}
