package nts

import (
	"encoding/binary"
	"io"
)

// A cookie is the number of a master key, a nonce, and under that key by AES-SIV the conversation's AEAD and its two keys.
const (
	cookieNumber = 4
	cookieNonce  = 16
	cookieHead   = 4 // the AEAD, and two bytes of zeros
	cookieLabel  = "clockd nts cookie 1"
)

// wrapper makes and opens cookies. It is not safe for concurrent use.
type wrapper struct {
	masters *Masters
	aeads   []AEAD
	inside  [cookieHead + 2*maxKeyLength]byte
	label   [len(cookieLabel) + cookieNumber]byte
}

func newWrapper(m *Masters) (*wrapper, error) {
	w := &wrapper{masters: m}
	copy(w.label[:], cookieLabel)
	for i := range m.keys {
		a, err := AESSIVCMAC256.New(m.keys[i].secret[:])
		if err != nil {
			return nil, err
		}
		w.aeads = append(w.aeads, a)
	}
	return w, nil
}

// cookieLength returns the length of a cookie for an AEAD.
func cookieLength(a Algorithm) int {
	return cookieNumber + cookieNonce + tagLength + cookieHead + 2*a.KeyLength()
}

// bind returns what a cookie is bound to beside its content.
func (w *wrapper) bind(id uint32) []byte {
	binary.BigEndian.PutUint32(w.label[len(cookieLabel):], id)
	return w.label[:]
}

// wrap appends a cookie with those keys to b; false: there is no randomness.
func (w *wrapper) wrap(b []byte, k *Keys, random io.Reader) ([]byte, bool) {
	id := w.masters.keys[0].id
	inside := binary.BigEndian.AppendUint16(w.inside[:0], uint16(k.Algorithm))
	inside = append(inside, 0, 0)
	inside = append(append(inside, k.ClientToServer...), k.ServerToClient...)
	b = binary.BigEndian.AppendUint32(b, id)
	var nonce [cookieNonce]byte
	if _, err := io.ReadFull(random, nonce[:]); err != nil {
		return b, false
	}
	b = append(b, nonce[:]...)
	return w.aeads[0].Seal(b, nonce[:], inside, w.bind(id)), true
}

// unwrap returns the keys in a cookie, valid until the next call; false: we did not make it, or too long ago.
func (w *wrapper) unwrap(cookie []byte) (k Keys, ok bool) {
	if len(cookie) < cookieLength(AES128GCMSIV) || len(cookie) > cookieLength(AESSIVCMAC256) {
		return k, false
	}
	id := binary.BigEndian.Uint32(cookie)
	for i := range w.masters.keys {
		if w.masters.keys[i].id != id {
			continue
		}
		sealed := cookie[cookieNumber+cookieNonce:]
		inside, ok := w.aeads[i].Open(w.inside[:0], cookie[cookieNumber:cookieNumber+cookieNonce], sealed, w.bind(id))
		if !ok {
			return k, false
		}
		k.Algorithm = Algorithm(binary.BigEndian.Uint16(inside))
		n := k.Algorithm.KeyLength()
		if n == 0 || len(inside) != cookieHead+2*n {
			return k, false
		}
		k.ClientToServer, k.ServerToClient = inside[cookieHead:cookieHead+n], inside[cookieHead+n:]
		return k, true
	}
	return k, false
}

// NewCookies returns the cookies that a key exchange gives to a client.
func (m *Masters) NewCookies(k *Keys, random io.Reader) ([][]byte, bool) {
	w, err := newWrapper(m)
	if err != nil {
		return nil, false
	}
	var cookies [][]byte
	for range MaxCookies {
		c, ok := w.wrap(nil, k, random)
		if !ok {
			return nil, false
		}
		cookies = append(cookies, c)
	}
	return cookies, true
}
