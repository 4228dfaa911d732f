package keys

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
)

const (
	rfcAlice       = "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"
	rfcAlicePublic = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
	rfcBob         = "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"
	rfcBobPublic   = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
	rfcShared      = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"

	aliceLine    = "clockd-public-1:hSDwCYkwp1R0i33ctD73Wg2_Og0mOBr066SpjqqbTmqnXpTc"
	bobLine      = "clockd-public-1:3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK0_F0Oen"
	alicePrivate = "clockd-private-1:dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCphu0v4"
)

func rfcIdentities(t testing.TB) (alice, bob *Identity) {
	t.Helper()
	alice, err := newIdentity(unhex(t, rfcAlice))
	if err != nil {
		t.Fatal(err)
	}
	if bob, err = newIdentity(unhex(t, rfcBob)); err != nil {
		t.Fatal(err)
	}
	return alice, bob
}

// RFC 7748 section 6.1.
func TestSharedSecretOfTheRFC(t *testing.T) {
	alice, bob := rfcIdentities(t)
	if a, b := alice.Public(), bob.Public(); !bytes.Equal(a[:], unhex(t, rfcAlicePublic)) || !bytes.Equal(b[:], unhex(t, rfcBobPublic)) {
		t.Errorf("public keys %x and %x", a, b)
	}
	for _, ask := range []func() ([]byte, error){
		func() ([]byte, error) { return alice.shared(bob.Public()) }, func() ([]byte, error) { return bob.shared(alice.Public()) },
	} {
		if got, err := ask(); err != nil || !bytes.Equal(got, unhex(t, rfcShared)) {
			t.Errorf("shared %x, %v", got, err)
		}
	}
}

// RFC 5869 appendix A.1, of the standard library that the derivation rests on.
func TestHKDFOfTheRFC(t *testing.T) {
	prk, err := hkdf.Extract(sha256.New, bytes.Repeat([]byte{0x0b}, 22), unhex(t, "000102030405060708090a0b0c"))
	if err != nil || !bytes.Equal(prk, unhex(t, "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5")) {
		t.Errorf("PRK %x, %v", prk, err)
	}
	okm, err := hkdf.Expand(sha256.New, prk, string(unhex(t, "f0f1f2f3f4f5f6f7f8f9")), 42)
	if err != nil || !bytes.Equal(okm, unhex(t, "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865")) {
		t.Errorf("OKM %x, %v", okm, err)
	}
}

// The whole derivation, for the key pairs of RFC 7748 section 6.1, as a second implementation made it: X25519 and HKDF written out
// in Python, AES-CMAC by OpenSSL 3.
func TestDerivationAgainstAnother(t *testing.T) {
	alice, bob := rfcIdentities(t)
	if alice.String() != aliceLine || bob.String() != bobLine {
		t.Errorf("public lines %s and %s", alice, bob)
	}
	if got := armour(privatePrefix, unhex(t, rfcAlice)); got != alicePrivate {
		t.Errorf("private line %s", got)
	}
	request := append(append([]byte{0x23}, make([]byte, 39)...), unhex(t, "0123456789abcdef")...)
	answer := append(append([]byte{0x24, 1}, make([]byte, 38)...), unhex(t, "0123456789abcdef")...)
	asks, err := alice.ClientKey(bob.Public())
	if err != nil {
		t.Fatal(err)
	}
	answers, err := bob.ServerKey(alice.Public())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := asks.Seal(bytes.Clone(request))[48:], unhex(t, "196d8377b14ce74ca7c1a02ecb3621407952ac3f"); !bytes.Equal(got, want) {
		t.Errorf("request's MAC %x, want %x", got, want)
	}
	if got, want := answers.Seal(bytes.Clone(answer))[48:], unhex(t, "196d83778d8985b6acfefac28f212a55d9638251"); !bytes.Equal(got, want) {
		t.Errorf("answer's MAC %x, want %x", got, want)
	}
	if asks.String() != "identity "+bobLine || answers.String() != "identity "+aliceLine || asks.Weak() {
		t.Errorf("%v, %v", asks, answers)
	}
}

func TestPublicLine(t *testing.T) {
	for range 50 {
		i, err := Generate(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		var p PublicKey
		text, err := i.Public().MarshalText()
		if err != nil || p.UnmarshalText(text) != nil || p != i.Public() || len(text) != 64 {
			t.Fatalf("%s became %s: %v", text, p, err)
		}
	}
}

// Every typing mistake of one character is found, and so are two exchanged ones and whatever is missing.
func TestTypingMistakesAreFound(t *testing.T) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/= :\x00é"
	refused := func(what, line string) {
		t.Helper()
		if p, err := ParsePublicKey(line); err == nil || p != (PublicKey{}) {
			t.Errorf("%s: %q is taken: %v", what, line, err)
		}
	}
	for i := range aliceLine {
		for _, c := range alphabet {
			if string(c) != aliceLine[i:i+1] {
				refused("another character", aliceLine[:i]+string(c)+aliceLine[i+1:])
			}
		}
		refused("one left out", aliceLine[:i]+aliceLine[i+1:])
		refused("one twice", aliceLine[:i]+aliceLine[i:i+1]+aliceLine[i:])
		refused("cut", aliceLine[:i])
		if i > 0 && aliceLine[i] != aliceLine[i-1] {
			refused("exchanged", aliceLine[:i-1]+aliceLine[i:i+1]+aliceLine[i-1:i]+aliceLine[i+1:])
		}
	}
	refused("a space", aliceLine+" ")
	refused("a line end", aliceLine+"\n")
	refused("two", aliceLine+aliceLine)
	for line, want := range map[string]string{
		alicePrivate:                      "must not leave its host",
		"ssh-ed25519 AAAA":                `begins with "clockd-public-1:"`,
		aliceLine[:30]:                    "some are missing",
		aliceLine[:63] + "d":              "mistyped",
		aliceLine[:63] + "+":              "only letters",
		publicPrefix + aliceLine[16:0+16]: "48 characters, here there are 0",
	} {
		if _, err := ParsePublicKey(line); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", line, err, want)
		} else if strings.Contains(err.Error(), "dwdtCn") {
			t.Errorf("the error tells the private key: %v", err)
		}
	}
}

// Points of small order, whose shared secret everybody knows, and other spellings of a key, with a good checksum.
func TestKeysThatProveNothingAreRefused(t *testing.T) {
	ff := strings.Repeat("ff", 30)
	for name, text := range map[string]string{
		"0":                    strings.Repeat("00", 32),
		"1":                    "01" + strings.Repeat("00", 31),
		"order 8":              "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
		"order 8, the other":   "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
		"p - 1":                "ec" + ff + "7f",
		"p":                    "ed" + ff + "7f",
		"p + 1":                "ee" + ff + "7f",
		"2^255 - 1":            "ff" + ff + "7f",
		"highest bit set":      rfcAlicePublic[:62] + "ea",
		"p + 9, the generator": "f6" + ff + "7f",
	} {
		b := unhex(t, text)
		if _, err := ParsePublicKey(armour(publicPrefix, b)); err == nil || !strings.Contains(err.Error(), "clockd keygen did not make it") {
			t.Errorf("%s: %v", name, err)
		}
	}
	alice, _ := rfcIdentities(t)
	for _, f := range []func(PublicKey) (*Key, error){alice.ClientKey, alice.ServerKey} {
		if _, err := f(alice.Public()); err == nil || !strings.Contains(err.Error(), "own peer") {
			t.Errorf("a host as its own peer: %v", err)
		}
		if _, err := f(PublicKey{}); err == nil {
			t.Error("a peer without a key")
		}
	}
}

func TestGenerateNeedsRandomness(t *testing.T) {
	if _, err := Generate(bytes.NewReader(make([]byte, 31))); err == nil {
		t.Error("31 bytes were enough")
	}
	if _, err := Generate(iotest.ErrReader(errors.New("none"))); err == nil {
		t.Error("an error was enough")
	}
}

func TestIdentityFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "identity")
	alice, bob := rfcIdentities(t)
	if err := alice.Create(path); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	back, err := LoadIdentity(path)
	if err != nil || back.Public() != alice.Public() {
		t.Fatalf("%v, %v", back, err)
	}
	if one, err := back.shared(bob.Public()); err != nil || !bytes.Equal(one, unhex(t, rfcShared)) {
		t.Errorf("%x, %v", one, err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := bob.Create(path); err == nil || !strings.Contains(err.Error(), "not overwritten") {
		t.Errorf("overwritten: %v", err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the file was changed to %s, %v", after, err)
	}
	if err := bob.Create(filepath.Join(dir, "missing", "identity")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join(dir, "elsewhere"), link); err != nil {
		t.Fatal(err)
	}
	if err := bob.Create(link); err == nil {
		t.Error("a link was followed")
	}
	if _, err := LoadIdentity(filepath.Join(dir, "none")); err == nil || !strings.Contains(err.Error(), "clockd keygen --out") {
		t.Errorf("no file: %v", err)
	}
}

func TestFilesThatOthersMayReadAreRefused(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "secret")
	if err := os.WriteFile(path, []byte("1 AES128 HEX:7EA62AE64D190114D46D5A082F948EC1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for mode := range os.FileMode(0o1000) {
		if mode&0o400 == 0 {
			continue
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := LoadSymmetrics(path)
		if good := mode&0o007 == 0 && mode&0o020 == 0; good != (err == nil) {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
	if _, err := LoadSymmetrics(dir); err == nil || !strings.Contains(err.Error(), "is not a file") {
		t.Errorf("a directory: %v", err)
	}
	if _, err := LoadSymmetrics(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	// A pipe that nobody writes to must not hold up the daemon.
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadSymmetrics(pipe); err == nil || !strings.Contains(err.Error(), "is not a file") {
		t.Errorf("a pipe: %v", err)
	}
}

func TestParseIdentity(t *testing.T) {
	if i, err := ParseIdentity([]byte("# x\n\n  " + alicePrivate + " \r\n#")); err != nil || i.String() != aliceLine {
		t.Errorf("%v, %v", i, err)
	}
	for text, want := range map[string]string{
		"":                                 "no key in the file",
		"# x":                              "no key in the file",
		alicePrivate + "\n" + alicePrivate: "more than one",
		aliceLine:                          "a private one is wanted",
		alicePrivate[:60]:                  "some are missing",
		alicePrivate[:64] + "5":            "mistyped",
		strings.Repeat("#\n", 1<<20):       "too long",
	} {
		if _, err := ParseIdentity([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80q: %v, want %q", text, err, want)
		} else if strings.Contains(err.Error(), alicePrivate[20:40]) {
			t.Errorf("the error tells the key: %v", err)
		}
	}
}

// The identifier is the same on both sides, another for each pair, and never 0.
func TestPairIdentifiers(t *testing.T) {
	seen := map[uint32]string{}
	for a := range byte(30) {
		for b := range a {
			x, y := testIdentity(t, a).Public(), testIdentity(t, b).Public()
			id := pairID(x, y)
			if id == 0 || id != pairID(y, x) || seen[id] != "" {
				t.Errorf("pair %d, %d: %d, as %s", a, b, id, seen[id])
			}
			seen[id] = fmt.Sprint(a, b)
		}
	}
}

func FuzzParsePublicKey(f *testing.F) {
	f.Add(aliceLine)
	f.Add(bobLine)
	f.Add(alicePrivate)
	f.Add(publicPrefix)
	f.Add(armour(publicPrefix, make([]byte, keyLength)))
	f.Fuzz(func(t *testing.T, line string) {
		p, err := ParsePublicKey(line)
		if err != nil {
			return
		}
		if p.String() != line {
			t.Fatalf("%q and %q are the same key", line, p)
		}
		if _, err := testIdentity(t, 1).ClientKey(p); err != nil && p != testIdentity(t, 1).Public() {
			t.Fatalf("%q cannot be used: %v", line, err)
		}
	})
}

func FuzzParseIdentity(f *testing.F) {
	f.Add([]byte(alicePrivate))
	f.Add([]byte("# a\n\n" + alicePrivate + "\r\n"))
	f.Add([]byte(alicePrivate + "\n" + alicePrivate))
	f.Add([]byte(aliceLine))
	f.Fuzz(func(t *testing.T, text []byte) {
		i, err := ParseIdentity(text)
		if err != nil {
			return
		}
		if !bytes.Contains(text, []byte(armour(privatePrefix, i.private.Bytes()))) {
			t.Fatalf("%q holds another key than %q", text, i)
		}
	})
}

func BenchmarkPair(b *testing.B) {
	alice, bob := rfcIdentities(b)
	for b.Loop() {
		if _, err := alice.ClientKey(bob.Public()); err != nil {
			b.Fatal(err)
		}
	}
}
