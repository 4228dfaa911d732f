package nts

import (
	"bytes"
	"fmt"
	"io"

	"github.com/clockd/clockd/internal/ntp"
	"github.com/clockd/clockd/reason"
)

// Keys are the two keys of a conversation, from client to server and back, and the AEAD they are for.
type Keys struct {
	Algorithm                      Algorithm
	ClientToServer, ServerToClient []byte
}

// Session is a client's side of NTS with one server, between two key exchanges. It is not safe for concurrent use.
type Session struct {
	algorithm Algorithm
	out, in   AEAD
	cookies   [][]byte
	// uniqueID and transmit are the last request's; open: it has not had its answer.
	uniqueID [uniqueIDLength]byte
	transmit ntp.Timestamp
	asked    bool
	open     bool
	// refused: the server has said that it does not know the keys, and nothing better since.
	refused bool

	packet            ntp.Packet
	plaintext, buffer []byte
}

// NewSession begins a session with what a key exchange gave. The cookies are copied; those beyond MaxCookies are left out.
func NewSession(k Keys, cookies [][]byte) (*Session, error) {
	s := &Session{algorithm: k.Algorithm}
	var err error
	if s.out, err = k.Algorithm.New(k.ClientToServer); err != nil {
		return nil, err
	}
	if s.in, err = k.Algorithm.New(k.ServerToClient); err != nil {
		return nil, err
	}
	for _, c := range cookies {
		if !s.keep(c) {
			return nil, fmt.Errorf("nts: a cookie of %d bytes is none", len(c))
		}
	}
	if len(s.cookies) == 0 {
		return nil, fmt.Errorf("nts: a session without a cookie")
	}
	return s, nil
}

// keep takes a cookie; false if it cannot be one.
func (s *Session) keep(c []byte) bool {
	if len(c) == 0 || len(c) > MaxCookie {
		return false
	}
	if len(s.cookies) < MaxCookies {
		s.cookies = append(s.cookies, bytes.Clone(c))
	}
	return true
}

// Algorithm returns the AEAD that was agreed upon.
func (s *Session) Algorithm() Algorithm { return s.algorithm }

// Cookies returns how many requests can still be made if no answer comes.
func (s *Session) Cookies() int { return len(s.cookies) }

// Refused reports whether the server has said since the last good answer that it does not know the keys. Anybody who sees the
// requests can say so in its name: it is a reason to exchange keys anew, not too often, and for nothing else.
func (s *Session) Refused() bool { return s.refused }

// Request appends an NTP request with NTS fields to dst: the header of request (48 bytes and nothing else) with a new unique
// identifier, a cookie that was never sent before, as many placeholders as cookies are wanted beyond the one that replaces it, and the
// authenticator. random must be unpredictable. It returns false if there is no cookie left, or no randomness.
func (s *Session) Request(dst, request []byte, random io.Reader) ([]byte, bool) {
	var nonce [leastNonce]byte
	s.open = false
	if len(request) != ntp.HeaderLength || len(s.cookies) == 0 || s.packet.Decode(request) != reason.OK {
		return dst, false
	}
	if _, err := io.ReadFull(random, s.uniqueID[:]); err != nil {
		return dst, false
	}
	if _, err := io.ReadFull(random, nonce[:]); err != nil {
		return dst, false
	}
	cookie := s.cookies[0]
	s.cookies = append(s.cookies[:0], s.cookies[1:]...)
	// In memory of its own, so that what the authenticator covers begins at its start.
	b := appendField(append(s.buffer[:0], request...), fieldUniqueID, s.uniqueID[:])
	b = appendField(b, fieldCookie, cookie)
	field := max(16, fieldHeader+padded(len(cookie)))
	for n := len(s.cookies) + 1; n < MaxCookies && len(b)+field+authenticatorLength <= ntp.MaxLength; n++ {
		b = appendField(b, fieldPlaceholder, make([]byte, len(cookie)))
	}
	b = appendAuthenticator(b, s.out, nonce[:s.out.NonceLength()], nil)
	s.buffer, s.transmit, s.asked, s.open = b, s.packet.Transmit, true, true
	return append(dst, b...), true
}

// Answer judges a datagram. OK: the server made it as an answer to the last request, and header and fields before the authenticator
// are as it made them; its cookies are kept, from the first such answer only. KissNTSN: it says that the server does not know the keys; see
// Refused. Every other code says why it is not to be used, and then nothing has changed.
func (s *Session) Answer(datagram []byte) reason.Code {
	p := &s.packet
	if code := p.Decode(datagram); code != reason.OK {
		return code
	}
	f, code := parse(datagram, p.Extensions)
	switch {
	case code != reason.OK:
		return code
	case f.uniqueID == nil && f.bound == nil:
		return reason.NTSMissing
	case f.uniqueID == nil || !s.asked || !bytes.Equal(f.uniqueID, s.uniqueID[:]):
		return reason.NTSUniqueID
	case f.bound == nil:
		return s.bare(p)
	}
	plaintext, ok := s.in.Open(s.plaintext[:0], f.nonce, f.sealed, f.bound)
	if !ok {
		return reason.NTSAuthenticator
	}
	s.plaintext = plaintext
	cookies := 0
	for rest := plaintext; len(rest) > 0; {
		x, next, ok := ntp.NextExtension(rest)
		if !ok {
			return reason.NTSMalformed
		}
		if rest = next; x.Type == fieldCookie && s.open && cookies < MaxCookies {
			cookies++
			s.keep(x.Body)
		}
	}
	s.open, s.refused = false, false
	return reason.OK
}

// bare judges an answer that has the unique identifier and no authenticator: nobody vouches for it.
func (s *Session) bare(p *ntp.Packet) reason.Code {
	if p.Mode == ntp.ModeServer && p.Stratum == 0 && p.ReferenceID == ntp.KissNTSN && p.Origin == s.transmit && s.open {
		s.refused = true
		return reason.KissNTSN
	}
	return reason.NTSMissing
}
