package nts

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/clockd/clockd/reason"
)

// The record types of a key exchange (RFC 8915 section 4.1).
const (
	recordEnd      = 0
	recordProtocol = 1
	recordError    = 2
	recordWarning  = 3
	recordAEAD     = 4
	recordCookie   = 5
	recordServer   = 6
	recordPort     = 7
	// recordCompliant is chrony's way to say that the keys of AES-128-GCM-SIV are exported as RFC 8915 has it, which its first
	// versions with that AEAD did not do.
	recordCompliant = 1024

	recordCritical = 0x8000
	recordHeader   = 4
	protocolNTPv4  = 0
)

// Limits of one message of a key exchange.
const (
	// MaxMessage is the longest in bytes: eight of the longest cookies and change.
	MaxMessage = 8192
	maxRecords = 64
	maxServer  = 255
	// maxList is how many protocols or AEADs one may offer.
	maxList = 32
)

// The error codes of a key exchange (section 4.1.3).
const (
	errorUnrecognised = 0
	errorBadRequest   = 1
)

// ProtocolError is why a key exchange failed.
type ProtocolError struct {
	Code   reason.Code
	Detail string
}

// Error returns the sentence of the code, and the detail.
func (e *ProtocolError) Error() string { return e.Code.Explain() + ": " + e.Detail }

// Unwrap returns the code.
func (e *ProtocolError) Unwrap() error { return e.Code }

func failed(code reason.Code, format string, a ...any) error {
	return &ProtocolError{code, fmt.Sprintf(format, a...)}
}

func malformed(format string, a ...any) error {
	return failed(reason.KeyExchangeMalformed, format, a...)
}

// record is one record.
type record struct {
	kind     uint16
	critical bool
	body     []byte
}

// MessageLength returns the length of the message that b begins with, its end included; 0: there must be more of it. An error says
// that no more bytes will make it good.
func MessageLength(b []byte) (int, error) {
	at := 0
	for n := 0; ; n++ {
		if n == maxRecords || at > MaxMessage {
			return 0, malformed("the message has more than %d records or %d bytes", maxRecords, MaxMessage)
		}
		if len(b)-at < recordHeader {
			return 0, nil
		}
		kind := binary.BigEndian.Uint16(b[at:]) &^ recordCritical
		at += recordHeader + int(binary.BigEndian.Uint16(b[at+2:]))
		if kind == recordEnd {
			if at > MaxMessage {
				continue
			}
			if at > len(b) {
				return 0, nil
			}
			return at, nil
		}
	}
}

// records splits one whole message.
func records(message []byte) (list []record, err error) {
	n, err := MessageLength(message)
	if err != nil {
		return nil, err
	}
	if n == 0 || n != len(message) {
		return nil, malformed("the message has no end, or something after it")
	}
	for len(message) > 0 {
		kind := binary.BigEndian.Uint16(message)
		length := recordHeader + int(binary.BigEndian.Uint16(message[2:]))
		list = append(list, record{kind &^ recordCritical, kind&recordCritical != 0, message[recordHeader:length]})
		message = message[length:]
	}
	if end := list[len(list)-1]; len(end.body) > 0 || !end.critical {
		return nil, malformed("the last record is not as it must be")
	}
	return list, nil
}

func appendRecord(b []byte, kind uint16, critical bool, body []byte) []byte {
	if critical {
		kind |= recordCritical
	}
	b = binary.BigEndian.AppendUint16(b, kind)
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	return append(b, body...)
}

func appendNumbers[T ~uint16](b []byte, kind uint16, numbers ...T) []byte {
	var body []byte
	for _, n := range numbers {
		body = binary.BigEndian.AppendUint16(body, uint16(n))
	}
	return appendRecord(b, kind, true, body)
}

// numbers reads a list of 16-bit numbers.
func numbers(body []byte) ([]uint16, bool) {
	if len(body)%2 != 0 || len(body) > 2*maxList {
		return nil, false
	}
	var list []uint16
	for ; len(body) > 0; body = body[2:] {
		list = append(list, binary.BigEndian.Uint16(body))
	}
	return list, true
}

// Offer is what a client says.
type Offer struct {
	// Algorithms are the AEADs that it can, the one that it likes best first.
	Algorithms []Algorithm
	// Compliant: it exports the keys of AES-128-GCM-SIV by the book, and says so.
	Compliant bool
}

// Grant is what a server answers.
type Grant struct {
	Algorithm Algorithm
	Compliant bool
	Cookies   [][]byte
	// Server is the NTP server to be asked, a name or an address; "": the one that was asked for the keys. Port is its port, 0: 123.
	Server string
	Port   uint16
}

// OwnOffer is what our clients say.
func OwnOffer() Offer { return Offer{[]Algorithm{AESSIVCMAC256, AES128GCMSIV}, true} }

// Append appends the message to b.
func (o *Offer) Append(b []byte) []byte {
	b = appendNumbers[uint16](b, recordProtocol, protocolNTPv4)
	b = appendNumbers(b, recordAEAD, o.Algorithms...)
	if o.Compliant {
		b = appendRecord(b, recordCompliant, false, nil)
	}
	return appendRecord(b, recordEnd, true, nil)
}

// Append appends the message to b.
func (g *Grant) Append(b []byte) []byte {
	b = appendNumbers[uint16](b, recordProtocol, protocolNTPv4)
	b = appendNumbers(b, recordAEAD, g.Algorithm)
	if g.Compliant {
		b = appendRecord(b, recordCompliant, false, nil)
	}
	for _, c := range g.Cookies {
		b = appendRecord(b, recordCookie, false, c)
	}
	if g.Server != "" {
		b = appendRecord(b, recordServer, true, []byte(g.Server))
	}
	if g.Port != 0 {
		b = appendNumbers(b, recordPort, g.Port)
	}
	return appendRecord(b, recordEnd, true, nil)
}

// once complains of a record of which there may be one only.
type once map[uint16]bool

func (o once) again(r record) bool {
	switch r.kind {
	case recordProtocol, recordAEAD, recordServer, recordPort:
		again := o[r.kind]
		o[r.kind] = true
		return again
	}
	return false
}

// ParseOffer reads a client's message.
func ParseOffer(message []byte) (*Offer, error) {
	list, err := records(message)
	if err != nil {
		return nil, err
	}
	o, seen, speaksNTP := &Offer{}, once{}, false
	for _, r := range list {
		if seen.again(r) {
			return nil, malformed("record %d is there twice", r.kind)
		}
		switch r.kind {
		case recordEnd, recordServer, recordPort: // what it would like to be served by is not ours to give
		case recordProtocol:
			protocols, ok := numbers(r.body)
			if !ok || !r.critical || len(protocols) == 0 {
				return nil, malformed("the list of protocols")
			}
			speaksNTP = slices.Contains(protocols, protocolNTPv4)
		case recordAEAD:
			aeads, ok := numbers(r.body)
			if !ok || len(aeads) == 0 {
				return nil, malformed("the list of AEADs")
			}
			for _, a := range aeads {
				o.Algorithms = append(o.Algorithms, Algorithm(a))
			}
		case recordCompliant:
			o.Compliant = true
		default:
			if r.critical || r.kind == recordError || r.kind == recordWarning || r.kind == recordCookie {
				return nil, &unrecognisedError{ProtocolError{reason.KeyExchangeMalformed, fmt.Sprintf("record %d, which cannot be passed over", r.kind)}}
			}
		}
	}
	if !seen[recordProtocol] {
		return nil, malformed("no protocol is named")
	}
	if !speaksNTP {
		return o, failed(reason.KeyExchangeNegotiation, "the client does not speak NTPv4")
	}
	if !seen[recordAEAD] {
		return nil, malformed("no AEAD is named")
	}
	return o, nil
}

// unrecognisedError is a record that is critical and not known.
type unrecognisedError struct{ ProtocolError }

// Choose returns the AEAD of an offer that is used. AES-128-GCM-SIV comes to be used only where both sides agree about its keys: its first users
// exported them in another way than RFC 8915.
func (o *Offer) Choose() (Algorithm, bool) {
	for _, a := range o.Algorithms {
		if a == AESSIVCMAC256 || a == AES128GCMSIV && o.Compliant {
			return a, true
		}
	}
	return 0, false
}

// Refusal returns the message that answers an offer which ParseOffer or Choose refused.
func Refusal(err error) []byte {
	var b []byte
	//nolint:errorlint // what ParseOffer returns is not wrapped
	switch e := err.(type) {
	case *unrecognisedError:
		b = appendNumbers[uint16](b, recordError, errorUnrecognised)
	case *ProtocolError:
		if e.Code != reason.KeyExchangeNegotiation {
			b = appendNumbers[uint16](b, recordError, errorBadRequest)
			break
		}
		// Sections 4.1.2 and 4.1.5: an empty list says that there is nothing in common.
		b = appendNumbers[uint16](b, recordProtocol)
	default:
		b = appendNumbers[uint16](b, recordError, errorBadRequest)
	}
	return appendRecord(b, recordEnd, true, nil)
}

// NoCommonAEAD returns the message that says so.
func NoCommonAEAD() []byte {
	b := appendNumbers[uint16](nil, recordProtocol, protocolNTPv4)
	b = appendNumbers[uint16](b, recordAEAD)
	return appendRecord(b, recordEnd, true, nil)
}

// ParseGrant reads a server's answer to an offer.
func ParseGrant(message []byte, offer *Offer) (*Grant, error) {
	list, err := records(message)
	if err != nil {
		return nil, err
	}
	g, seen := &Grant{}, once{}
	for _, r := range list {
		if seen.again(r) {
			return nil, malformed("record %d is there twice", r.kind)
		}
		if err := g.take(r, offer); err != nil {
			return nil, err
		}
	}
	switch {
	case !seen[recordProtocol] || !seen[recordAEAD]:
		return nil, malformed("protocol or AEAD is missing")
	case len(g.Cookies) == 0:
		return nil, malformed("there is no cookie")
	}
	return g, nil
}

// take reads one record of a server.
func (g *Grant) take(r record, offer *Offer) error {
	switch r.kind {
	case recordEnd:
	case recordError, recordWarning:
		return refusal(r)
	case recordProtocol:
		list, ok := numbers(r.body)
		switch {
		case !ok || !r.critical || len(list) > 1:
			return malformed("the protocol")
		case len(list) == 0 || list[0] != protocolNTPv4:
			return failed(reason.KeyExchangeNegotiation, "the server does not speak NTPv4")
		}
	case recordAEAD:
		list, ok := numbers(r.body)
		switch {
		case !ok || len(list) > 1:
			return malformed("the AEAD")
		case len(list) == 0:
			return failed(reason.KeyExchangeNegotiation, "the server has no AEAD in common with us")
		case !slices.Contains(offer.Algorithms, Algorithm(list[0])):
			return malformed("AEAD %d was not offered", list[0])
		}
		g.Algorithm = Algorithm(list[0])
	case recordCookie:
		// Section 4.1.6: more than eight, or one that is too long for a packet, are of no use.
		if len(r.body) > 0 && len(r.body) <= MaxCookie && len(g.Cookies) < MaxCookies {
			g.Cookies = append(g.Cookies, r.body)
		}
	case recordServer:
		server, ok := serverName(r.body)
		if !ok {
			return malformed("the name of the NTP server")
		}
		g.Server = server
	case recordPort:
		list, ok := numbers(r.body)
		if !ok || len(list) != 1 || list[0] == 0 {
			return malformed("the port of the NTP server")
		}
		g.Port = list[0]
	case recordCompliant:
		g.Compliant = offer.Compliant
	default:
		if r.critical {
			return malformed("record %d, which cannot be passed over", r.kind)
		}
	}
	return nil
}

// refusal explains an error or a warning.
func refusal(r record) error {
	list, ok := numbers(r.body)
	if !ok || len(list) != 1 {
		return malformed("an error without a number")
	}
	if r.kind == recordWarning {
		return failed(reason.KeyExchangeRefused, "warning %d", list[0]) // section 4.1.4: a warning that is not known is an error
	}
	said := map[uint16]string{0: "it does not know a record that it must not pass over", 1: "it takes the request for malformed", 2: "it has an internal error"}
	if text, ok := said[list[0]]; ok {
		return failed(reason.KeyExchangeRefused, "%s (error %d)", text, list[0])
	}
	return failed(reason.KeyExchangeRefused, "error %d", list[0])
}

// serverName reads the name or address of an NTP server: ASCII, as in a URL but without brackets.
func serverName(body []byte) (string, bool) {
	s := strings.TrimSuffix(string(body), ".")
	if s == "" || len(body) > maxServer {
		return "", false
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return a.String(), a.Zone() == ""
	}
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._"
	if strings.ContainsFunc(s, func(r rune) bool { return !strings.ContainsRune(letters, r) }) {
		return "", false
	}
	return s, !strings.Contains(s, "..") && s[0] != '.'
}

// ExporterContext returns what the TLS exporter is told for a key (section 5.1): toServer for the key from client to server.
func ExporterContext(a Algorithm, toServer bool) []byte {
	direction := byte(1)
	if toServer {
		direction = 0
	}
	return []byte{0, protocolNTPv4, byte(a >> 8), byte(a), direction}
}

// ExporterLabel is the label of the TLS exporter.
const ExporterLabel = "EXPORTER-network-time-security"
