package keys

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"fmt"
	"hash"
	"slices"
	"strings"

	"github.com/clockd/clockd/internal/cmac"
)

// algorithm is one way to make a MAC, under chrony's name for it.
type algorithm struct {
	name string
	// keyLength is that of a cipher's key in bytes; 0: any.
	keyLength int
	hash      func() hash.Hash
}

// algorithms lists what chrony 4 names and the standard library has.
func algorithms() []algorithm {
	return []algorithm{
		{name: "AES128", keyLength: 16},
		{name: "AES256", keyLength: 32},
		{name: "MD5", hash: md5.New},
		{name: "SHA1", hash: sha1.New},
		{name: "SHA256", hash: sha256.New},
		{name: "SHA384", hash: sha512.New384},
		{name: "SHA512", hash: sha512.New},
		{name: "SHA3-224", hash: func() hash.Hash { return sha3.New224() }},
		{name: "SHA3-256", hash: func() hash.Hash { return sha3.New256() }},
		{name: "SHA3-384", hash: func() hash.Hash { return sha3.New384() }},
		{name: "SHA3-512", hash: func() hash.Hash { return sha3.New512() }},
	}
}

// findAlgorithm finds one by chrony's name, which has one spelling.
func findAlgorithm(name string) (algorithm, error) {
	list := algorithms()
	i := slices.IndexFunc(list, func(a algorithm) bool { return a.name == name })
	if i < 0 {
		names := make([]string, len(list))
		for j, a := range list {
			names[j] = a.name
		}
		return algorithm{}, fmt.Errorf("there is no key type %q here; known are %s", name, strings.Join(names, ", "))
	}
	return list[i], nil
}

// code makes the code of a key.
func (a algorithm) code(secret []byte) (code, error) {
	if a.hash == nil {
		return newCMAC(secret)
	}
	return &digest{hash: a.hash(), secret: slices.Clone(secret)}, nil
}

// code makes the authentication code of a message. The result is valid until the next call.
type code interface {
	sum(message []byte) []byte
}

// aesCMAC is AES-CMAC.
type aesCMAC struct{ mac *cmac.MAC }

func newCMAC(key []byte) (code, error) {
	m, err := cmac.New(key)
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	return aesCMAC{m}, nil
}

func (c aesCMAC) sum(message []byte) []byte { return c.mac.Sum(message) }

// digest is the digest of key and message, one after the other (RFC 5905 section 7.3).
type digest struct {
	hash   hash.Hash
	secret []byte
	out    [sha512.Size]byte
}

func (d *digest) sum(message []byte) []byte {
	d.hash.Reset()
	d.hash.Write(d.secret)
	d.hash.Write(message)
	return d.hash.Sum(d.out[:0])
}
