package roundtrip

import (
	"net/netip"

	"github.com/clockd/clockd/internal/ntp"
	"github.com/clockd/clockd/reason"
)

// guard tells whose requests are whose.
type guard struct {
	keys ntp.Keyring
	// required says which clients must authenticate; some is false if none must.
	required access
	some     bool
	extend   func(key ntp.Authenticator, request, answer []byte) bool
	// key made the present request's MAC; nil: it has none. sealed: it is under NTS, and was opened.
	key    ntp.Authenticator
	nts    ntp.NTS
	sealed bool
	fields [ntp.MaxLength]byte
}

func newGuard(c *ResponderConfig) (guard, error) {
	required, err := newAccess(c.Require, nil)
	return guard{keys: c.Keys, required: required, some: len(c.Require) > 0, extend: c.Extend, nts: c.NTS}, err
}

// authentic finds the key of a decoded request; false: it has a MAC, and nobody's. Such a request gets no answer, as with chrony:
// a crypto-NAK (RFC 5905 section 9.2) would be as good as one forged by anybody, so clients must not heed it.
func (g *guard) authentic(request []byte, p *ntp.Packet) bool {
	g.key, g.sealed = nil, false
	if p.MAC.Length == 0 {
		return true
	}
	if g.keys == nil || p.MAC.CryptoNAK() {
		return false
	}
	g.key = g.keys.Find(request[:len(request)-int(p.MAC.Length)], &p.MAC)
	return g.key != nil && g.key.Overhead() == int(p.MAC.Length)
}

// open authenticates a request under NTS.
func (g *guard) open(request []byte, p *ntp.Packet) reason.Code {
	if g.nts == nil || !g.nts.Speaks(p.Extensions) {
		return reason.OK
	}
	code := g.nts.Open(request, p)
	g.sealed = code == reason.OK
	return code
}

// authenticated reports whether the present request is known to be its sender's.
func (g *guard) authenticated() bool { return g.key != nil || g.sealed }

// refuse returns the NTS NAK: no kiss that a client could be hurt by, as nobody vouches for it (RFC 8915 section 5.7).
func (r *Responder) refuse(answer []byte) []byte {
	a := r.prepare()
	a.Leap, a.ReferenceID = ntp.LeapUnsynchronised, ntp.KissNTSN
	a.Receive, a.Transmit = r.request.Transmit, r.request.Transmit
	r.stats.NTSRefused++
	return r.guard.nts.Refuse(a.Append(answer))
}

// lacks reports whether the client must authenticate its requests, by a MAC or under NTS, and has not done so.
func (g *guard) lacks(client netip.Addr) bool {
	return g.some && !g.authenticated() && g.required.allows(client)
}

// write writes an answer with its extension fields.
func (r *Responder) write(a *ntp.Packet, answer []byte) []byte {
	g, asked := &r.guard, r.request.Extensions
	if g.key != nil && g.extend != nil && len(asked) > 0 {
		fields := g.fields[:len(asked)]
		clear(fields)
		if g.extend(g.key, asked, fields) && ntp.WholeExtensions(fields) {
			a.Extensions = fields
		}
	}
	return r.seal(a, answer)
}

// seal writes an answer under the key of its request.
func (r *Responder) seal(a *ntp.Packet, answer []byte) []byte {
	answer = a.Append(answer)
	if r.guard.sealed {
		r.stats.NTS++
		return r.guard.nts.Seal(answer)
	}
	if r.guard.key == nil {
		return answer
	}
	r.stats.Authenticated++
	return r.guard.key.Seal(answer)
}
