package roundtrip

import (
	"github.com/clockd/clockd/internal/ntp"
	"github.com/clockd/clockd/reason"
)

// SetAuthenticator makes every request carry a's MAC, and refuses every datagram whose MAC a does not verify, before anything
// else in it is looked at; nil: no authentication. What was heard under another authenticator is forgotten as by Reset, since an
// interleaved answer would mix it with what comes.
func (x *Exchanger) SetAuthenticator(a ntp.Authenticator) {
	x.authenticator = a
	x.Reset()
}

// SetExtensions sets the extension fields of the requests that follow, one after the other as ntp.AppendExtension writes them with
// a MAC to come; they are copied. They are sent only under an authenticator, whose MAC covers them; AES-CMAC does so
// for certain, MD5 and SHA1 do not (docs/security.md). PacketMalformed: these are not
// whole fields; PacketTooLong: with header and MAC they fit into no packet. Then the fields stay what they were.
func (x *Exchanger) SetExtensions(fields []byte) reason.Code {
	if len(fields) > ntp.MaxLength-ntp.HeaderLength-ntp.MACLong {
		return reason.PacketTooLong
	}
	if !ntp.WholeExtensions(fields) {
		return reason.PacketMalformed
	}
	x.extensions = append(x.extensions[:0], fields...)
	return reason.OK
}

// Extensions returns the extension fields of the datagram that Receive was given last (ntp.NextExtension reads them), if its MAC
// was good and it answers the request that was outstanding, so that it is no replay: also where the server had no time to give.
// Otherwise nil. They are a view of that datagram.
func (x *Exchanger) Extensions() []byte { return x.received }

// seal writes a request.
func (x *Exchanger) seal(p *ntp.Packet, buf []byte) []byte {
	if x.authenticator == nil {
		return p.Append(buf)
	}
	p.Extensions = x.extensions
	return x.authenticator.Seal(p.Append(buf))
}

// authentic reports whether the decoded packet is the server's.
func (x *Exchanger) authentic(packet []byte) bool {
	if x.authenticator == nil {
		return true
	}
	mac := &x.packet.MAC
	return int(mac.Length) == x.authenticator.Overhead() && x.authenticator.Verify(packet[:len(packet)-int(mac.Length)], mac)
}

// extended keeps the extension fields of an answer to the outstanding request.
func (x *Exchanger) extended() {
	if x.authenticator != nil {
		x.received = x.packet.Extensions
	}
}

// Vouched is the ntp.Authenticator of one who holds no key, such as a node whose events are recorded and replayed: whoever sends
// its packets holds it. Seal leaves room for the MAC, a digest of zeros, and Verify takes the word of Good.
type Vouched struct {
	KeyID uint32
	// Length is ntp.MACShort or ntp.MACLong.
	Length int
	// NTS: there is no MAC, and KeyID and Length are 0: the answers are authenticated by NTS fields (RFC 8915), which whoever sends the
	// packets adds to the requests.
	NTS bool
	// Good says that the MAC of the datagram that is handed over next was verified.
	Good bool
}

// Valid reports whether there are such MACs, or NTS.
func (v *Vouched) Valid() bool {
	if v.NTS {
		return v.KeyID == 0 && v.Length == 0
	}
	return v.KeyID != 0 && (v.Length == ntp.MACShort || v.Length == ntp.MACLong)
}

// Overhead returns Length.
func (v *Vouched) Overhead() int { return v.Length }

// Seal appends the key identifier and room for a digest.
func (v *Vouched) Seal(message []byte) []byte {
	m := ntp.MAC{Length: uint8(v.Length), KeyID: v.KeyID}
	return m.Append(message)
}

// Verify reports whether the MAC is said to be good and is of the right key.
func (v *Vouched) Verify(_ []byte, mac *ntp.MAC) bool {
	return v.Good && mac.KeyID == v.KeyID && int(mac.Length) == v.Length
}
