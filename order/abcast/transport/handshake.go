package transport

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/clockd/clockd/reason"
)

// A session begins with three messages of fixed length, all numbers little-endian: the listener's greeting, the dialler's hello, the
// listener's verdict. Their first 8 bytes (what it is, version) are the same in all versions.
//
//	greeting  "cABg" version 4 | group 8 | member 8 | incarnation 8 | nonce 16
//	hello     "cABh" version 4 | group 8 | from 8 | disk 8 | incarnation 8 | to 8 | its incarnation 8 | session 8 | kind 8 | nonce 16
//	verdict   "cABv" version 4 | code 4
//
// The hello repeats the greeting's nonce, so a recorded one is of no use, not even to a listener that has forgotten.
const (
	protocolVersion = 1
	nonceLength     = 16

	greetingMagic, greetingLength = "cABg", 8 + 3*8 + nonceLength
	helloMagic, helloLength       = "cABh", 8 + 8*8 + nonceLength
	verdictMagic, verdictLength   = "cABv", 8 + 4
)

// kind is what a connection is for.
type kind uint64

const (
	frames kind = 1 // frames, from the dialler to the listener
	stream kind = 2 // one stream of bytes, likewise
)

type greeting struct {
	group, member, incarnation uint64
	nonce                      [nonceLength]byte
}

type hello struct {
	group, from, disk, incarnation, to, toIncarnation, session uint64
	kind                                                       kind
	nonce                                                      [nonceLength]byte
}

func begin(magic string) []byte {
	return binary.LittleEndian.AppendUint32([]byte(magic), protocolVersion)
}

func appendNumbers(b []byte, numbers ...uint64) []byte {
	for _, n := range numbers {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	return b
}

func numbers(b []byte, into ...*uint64) []byte {
	for _, n := range into {
		*n = binary.LittleEndian.Uint64(b)
		b = b[8:]
	}
	return b
}

func (g greeting) encode() []byte {
	return append(appendNumbers(begin(greetingMagic), g.group, g.member, g.incarnation), g.nonce[:]...)
}

func (h hello) encode() []byte {
	return append(appendNumbers(begin(helloMagic), h.group, h.from, h.disk, h.incarnation, h.to, h.toIncarnation, h.session, uint64(h.kind)), h.nonce[:]...)
}

func encodeVerdict(c reason.Code) []byte {
	return binary.LittleEndian.AppendUint32(begin(verdictMagic), verdictNumber(c))
}

// receive reads one of the messages and returns what follows its first 8 bytes.
func receive(r io.Reader, magic string, length int) ([]byte, error) {
	b := make([]byte, length)
	if _, err := io.ReadFull(r, b[:8]); err != nil {
		return nil, err
	}
	if string(b[:4]) != magic {
		return nil, fmt.Errorf("transport: %q where %q is expected: %w", b[:4], magic, reason.LinkForeign)
	}
	if v := binary.LittleEndian.Uint32(b[4:]); v != protocolVersion {
		return nil, fmt.Errorf("transport: version %d, and this program speaks %d: %w", v, protocolVersion, reason.LinkVersion)
	}
	_, err := io.ReadFull(r, b[8:])
	return b[8:], err
}

func readGreeting(r io.Reader) (g greeting, err error) {
	b, err := receive(r, greetingMagic, greetingLength)
	if err != nil {
		return g, err
	}
	copy(g.nonce[:], numbers(b, &g.group, &g.member, &g.incarnation))
	return g, nil
}

func readHello(r io.Reader) (h hello, err error) {
	b, err := receive(r, helloMagic, helloLength)
	if err != nil {
		return h, err
	}
	copy(h.nonce[:], numbers(b, &h.group, &h.from, &h.disk, &h.incarnation, &h.to, &h.toIncarnation, &h.session, (*uint64)(&h.kind)))
	return h, nil
}

// readVerdict returns nil if the session is accepted, otherwise an error that wraps the reason.
func readVerdict(r io.Reader) error {
	b, err := receive(r, verdictMagic, verdictLength)
	if err != nil {
		return err
	}
	if c := verdictCode(binary.LittleEndian.Uint32(b)); c != reason.OK {
		return fmt.Errorf("transport: the other side refuses: %w", c)
	}
	return nil
}

// verdicts are the reasons that a listener tells, by their number on the wire, which stays.
func verdicts() []reason.Code {
	return []reason.Code{reason.OK, reason.LinkVersion, reason.LinkGroup, reason.LinkMember, reason.LinkSession, reason.LinkBusy, reason.LinkDisk}
}

func verdictNumber(c reason.Code) uint32 {
	for i, v := range verdicts() {
		if v == c {
			return uint32(i)
		}
	}
	return ^uint32(0)
}

func verdictCode(n uint32) reason.Code {
	if v := verdicts(); n < uint32(len(v)) {
		return v[n]
	}
	return reason.LinkRefused
}
