package nts

import (
	"io"

	"github.com/clockd/clockd/internal/ntp"
	"github.com/clockd/clockd/reason"
)

// Responder is a server's side: the ntp.NTS of one answering goroutine. All that it knows of a client is in the request.
type Responder struct {
	wrapper *wrapper
	random  io.Reader
	// What follows belongs to the request that was opened last.
	keys      Keys
	out       AEAD
	uniqueID  []byte
	cookies   int
	plaintext []byte
	packet    []byte
	store     [2 * maxKeyLength]byte
}

// NewResponder returns a responder that opens the cookies of m. random makes nonces; one that can be predicted or repeats itself
// tells, at worst, that two messages are the same.
func NewResponder(m *Masters, random io.Reader) (*Responder, error) {
	r := &Responder{random: random}
	return r, r.SetMasters(m)
}

// SetMasters takes other master keys.
func (r *Responder) SetMasters(m *Masters) error {
	w, err := newWrapper(m)
	if err != nil {
		return err
	}
	r.wrapper = w
	return nil
}

// Masters returns what SetMasters was given last.
func (r *Responder) Masters() *Masters { return r.wrapper.masters }

// Speaks reports whether those fields speak of NTS.
func (r *Responder) Speaks(extensions []byte) bool { return Spoken(extensions) }

// Open authenticates a request. The request's memory must stay as it is until Seal or Refuse.
func (r *Responder) Open(request []byte, p *ntp.Packet) reason.Code {
	f, code := parse(request, p.Extensions)
	if code != reason.OK || f.uniqueID == nil || f.cookies != 1 || f.bound == nil {
		return reason.RequestNTSMalformed
	}
	if r.room(len(request), &f) < 0 {
		return reason.RequestNTSMalformed // the answer would be longer than the request
	}
	r.uniqueID = f.uniqueID
	k, ok := r.wrapper.unwrap(f.cookie)
	if !ok {
		return reason.RequestNTSCookie
	}
	in, err := k.Algorithm.New(k.ClientToServer)
	if err != nil || !in.NonceFits(len(f.nonce)) {
		return reason.RequestNTSAuthenticator
	}
	// A request may have encrypted fields; none is known here.
	if r.plaintext, ok = in.Open(r.plaintext[:0], f.nonce, f.sealed, f.bound); !ok {
		return reason.RequestNTSAuthenticator
	}
	if r.out, err = k.Algorithm.New(k.ServerToClient); err != nil {
		return reason.RequestNTSAuthenticator
	}
	// The keys must outlive the wrapper's next use.
	n := copy(r.store[:], k.ClientToServer)
	m := copy(r.store[n:], k.ServerToClient)
	r.keys = Keys{k.Algorithm, r.store[:n], r.store[n : n+m]}
	r.cookies = r.affordable(len(request), &f)
	return reason.OK
}

// affordable returns how many cookies the answer brings: one for the one that was spent and one for each placeholder that is as long,
// and no more than the request has room for.
func (r *Responder) affordable(request int, f *fields) int {
	length := cookieLength(r.keys.Algorithm)
	wanted := 1
	if f.placeholder >= length {
		wanted += f.placeholders
	}
	return min(wanted, MaxCookies, r.room(request, f)/(fieldHeader+length))
}

// room returns how much longer a request is than its answer without cookies.
func (r *Responder) room(request int, f *fields) int {
	return request - ntp.HeaderLength - fieldHeader - len(f.uniqueID) - authenticatorLength
}

// Seal appends unique identifier and authenticator, with the new cookies in it. answer is an NTP header.
func (r *Responder) Seal(answer []byte) []byte {
	// In memory of its own: what the authenticator covers begins at its start.
	b := appendField(append(r.packet[:0], answer...), fieldUniqueID, r.uniqueID)
	inside := r.plaintext[:0]
	for range r.cookies {
		start := len(inside)
		var ok bool
		inside = append(inside, byte(fieldCookie>>8), byte(fieldCookie&0xff), 0, byte(fieldHeader+cookieLength(r.keys.Algorithm)))
		if inside, ok = r.wrapper.wrap(inside, &r.keys, r.random); !ok {
			inside = inside[:start]
			break
		}
	}
	r.plaintext = inside
	var nonce [leastNonce]byte
	if _, err := io.ReadFull(r.random, nonce[:]); err != nil {
		clear(nonce[:]) // both AEADs bear it
	}
	b = appendAuthenticator(b, r.out, nonce[:r.out.NonceLength()], inside)
	r.packet = b
	return append(answer, b[len(answer):]...)
}

// Refuse appends the unique identifier to an NTS NAK: nothing else can be said to one whose keys are not known.
func (r *Responder) Refuse(answer []byte) []byte {
	return appendField(answer, fieldUniqueID, r.uniqueID)
}
