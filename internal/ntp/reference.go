package ntp

import (
	"crypto/md5"
	"encoding/binary"
	"net/netip"
	"strings"
)

// The kiss codes that clockd knows (RFC 5905 figure 13, RFC 8915): reference identifiers of a packet with stratum 0.
const (
	KissRATE uint32 = 'R'<<24 | 'A'<<16 | 'T'<<8 | 'E' // asks for fewer requests
	KissDENY uint32 = 'D'<<24 | 'E'<<16 | 'N'<<8 | 'Y' // access denied
	KissRSTR uint32 = 'R'<<24 | 'S'<<16 | 'T'<<8 | 'R' // access denied by local policy
	KissINIT uint32 = 'I'<<24 | 'N'<<16 | 'I'<<8 | 'T' // not yet synchronised for the first time
	KissNTSN uint32 = 'N'<<24 | 'T'<<16 | 'S'<<8 | 'N' // the NTS cookie could not be opened (RFC 8915 section 5.7)
	KissSTEP uint32 = 'S'<<24 | 'T'<<16 | 'E'<<8 | 'P' // stepped and not yet synchronised again
)

// ReferenceID returns what a server that follows the server at that address puts in its reference identifier: the IPv4
// address, or the first four bytes of the MD5 digest of the IPv6 address (RFC 5905 section 7.3). 0 for the zero Addr.
func ReferenceID(address netip.Addr) uint32 {
	address = address.Unmap()
	switch {
	case address.Is4():
		b := address.As4()
		return binary.BigEndian.Uint32(b[:])
	case address.Is6():
		b := address.As16()
		sum := md5.Sum(b[:])
		return binary.BigEndian.Uint32(sum[:])
	}
	return 0
}

// Printable reports whether the identifier is one to four printable ASCII characters followed by zeros only: a kiss code or the
// name of a reference clock.
func Printable(id uint32) bool {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], id)
	n := 0
	for n < len(b) && b[n] > ' ' && b[n] <= '~' {
		n++
	}
	for _, c := range b[n:] {
		if c != 0 {
			return false
		}
	}
	return n > 0
}

// ReferenceText returns a reference identifier for people: the characters of a kiss code or reference clock (stratum 0 and 1)
// where it is one, and four decimal bytes otherwise.
func ReferenceText(id uint32, stratum uint8) string {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], id)
	if stratum <= 1 && Printable(id) {
		return strings.TrimRight(string(b[:]), "\x00")
	}
	return netip.AddrFrom4(b).String()
}
