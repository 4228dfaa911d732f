package peerwire

import (
	"encoding/binary"
	"math"

	"github.com/clockd/clockd/internal/ntp"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/agreement"
	"github.com/clockd/clockd/virtualclock"
)

const (
	// FieldType is the extension field's type, in the range for experiments.
	FieldType = 0xf5c1
	// FieldLength is the length of the whole field in bytes, in requests and in answers.
	FieldLength = fieldHeader + bodyLength
	// Version is of the format. Members of one group must share it.
	Version = 1

	fieldHeader    = 4
	timeLength     = 12
	mapLength      = 2*timeLength + 8
	externalLength = 2*timeLength + 3*8
	// version, kind, status, flags; epoch; era, version, round; two maps; two externals; two stamps.
	bodyLength = 4 + 4 + 3*8 + 2*mapLength + 2*externalLength + 2*timeLength

	kindRequest = 1
	kindAnswer  = 2

	flagExternal         = 1 << 0
	flagExternalPrevious = 1 << 1
	flagsKnown           = flagExternal | flagExternalPrevious
)

// Answer is what one member tells another.
type Answer struct {
	State agreement.State
	// Receive and Transmit are the raw timeline of State.Era: Receive is not before the request's arrival, Transmit not after the
	// answer's departure.
	Receive, Transmit virtualclock.Time
}

// AppendRequest appends the field of a request to b.
func AppendRequest(b []byte) []byte {
	b = appendHeader(b, kindRequest, 0, 0)
	return append(b, make([]byte, bodyLength-4)...)
}

// IsRequest reports whether fields begin with the field of a request in this format.
func IsRequest(fields []byte) bool {
	body, code := body(fields, kindRequest)
	if code != reason.OK {
		return false
	}
	for _, x := range body[2:] {
		if x != 0 {
			return false
		}
	}
	return true
}

func appendHeader(b []byte, kind, status, flags byte) []byte {
	b = binary.BigEndian.AppendUint16(b, FieldType)
	b = binary.BigEndian.AppendUint16(b, FieldLength)
	return append(b, Version, kind, status, flags)
}

// Append appends the field of an answer to b.
func (a *Answer) Append(b []byte) []byte {
	s := &a.State
	var flags byte
	if s.External.Known {
		flags |= flagExternal
	}
	if s.ExternalPrevious.Known {
		flags |= flagExternalPrevious
	}
	b = appendHeader(b, kindAnswer, byte(s.Status), flags)
	b = binary.BigEndian.AppendUint32(b, s.Epoch)
	for _, x := range [...]uint64{s.Era, s.Version, uint64(s.Round)} {
		b = binary.BigEndian.AppendUint64(b, x)
	}
	for _, m := range [...]*agreement.Map{&s.Current, &s.Previous} {
		b = appendFloat(appendTime(appendTime(b, m.Ref), m.Base), m.Rate)
	}
	for _, e := range [...]*agreement.External{&s.External, &s.ExternalPrevious} {
		if !e.Known {
			b = append(b, make([]byte, externalLength)...)
			continue
		}
		b = appendTime(appendTime(b, e.At), e.Base)
		b = appendFloat(appendFloat(appendFloat(b, e.Low), e.High), e.Rate)
	}
	return appendTime(appendTime(b, a.Receive), a.Transmit)
}

func appendTime(b []byte, t virtualclock.Time) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(t.UnixNano()))
	return binary.BigEndian.AppendUint32(b, t.Fraction())
}

func appendFloat(b []byte, x float64) []byte {
	return binary.BigEndian.AppendUint64(b, math.Float64bits(x))
}

// body finds the body of this format's field, the only one there may be, of that kind. PacketMalformed: there is none.
func body(fields []byte, kind byte) ([]byte, reason.Code) {
	field, rest, ok := ntp.NextExtension(fields)
	if !ok || len(rest) != 0 || field.Type != FieldType || len(field.Body) != bodyLength {
		return nil, reason.PeerMalformed
	}
	if field.Body[0] != Version || field.Body[1] != kind {
		return nil, reason.PeerMalformed
	}
	return field.Body, reason.OK
}

// Decode reads the extension fields of an answer. PeerMalformed: these are not what Append writes.
func (a *Answer) Decode(fields []byte) reason.Code {
	raw, code := body(fields, kindAnswer)
	if code != reason.OK {
		return code
	}
	status, flags := agreement.Status(raw[2]), raw[3]
	if status > agreement.Holdover || flags&^flagsKnown != 0 {
		return reason.PeerMalformed
	}
	r := reader{rest: raw[4:]}
	s := agreement.State{Status: status, Epoch: binary.BigEndian.Uint32(r.take(4))}
	s.Era, s.Version, s.Round = r.word(), r.word(), int64(r.word())
	for _, m := range [...]*agreement.Map{&s.Current, &s.Previous} {
		m.Ref, m.Base, m.Rate = r.time(), r.time(), r.float()
	}
	r.external(&s.External, flags&flagExternal != 0)
	r.external(&s.ExternalPrevious, flags&flagExternalPrevious != 0)
	receive, transmit := r.time(), r.time()
	if r.bad || s.Era == 0 || s.Version == 0 {
		return reason.PeerMalformed
	}
	*a = Answer{State: s, Receive: receive, Transmit: transmit}
	return reason.OK
}

// reader takes the body apart; its length was checked.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) take(n int) []byte {
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) word() uint64 { return binary.BigEndian.Uint64(r.take(8)) }

func (r *reader) time() virtualclock.Time {
	ns := int64(r.word())
	return virtualclock.Unix(ns, binary.BigEndian.Uint32(r.take(4)))
}

// float reads a number; infinity and not-a-number are none.
func (r *reader) float() float64 {
	x := math.Float64frombits(r.word())
	if math.IsInf(x, 0) || math.IsNaN(x) {
		r.bad = true
	}
	return x
}

// external reads an estimate of UTC. One that is not known is all zeros.
func (r *reader) external(e *agreement.External, known bool) {
	if !known {
		for _, x := range r.take(externalLength) {
			r.bad = r.bad || x != 0
		}
		return
	}
	*e = agreement.External{Known: true, At: r.time(), Base: r.time(), Low: r.float(), High: r.float(), Rate: r.float()}
}
