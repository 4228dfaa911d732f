package ntp

import (
	"net/netip"
	"testing"
)

func TestReferenceID(t *testing.T) {
	for text, want := range map[string]uint32{
		"192.0.2.1":        0xc0000201,
		"::ffff:192.0.2.1": 0xc0000201,
		// md5(20010db8 0…01) begins with these bytes (md5sum of GNU coreutils).
		"2001:db8::1": 0x39ab9b37,
	} {
		if got := ReferenceID(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: %#x, want %#x", text, got, want)
		}
	}
	if got := ReferenceID(netip.Addr{}); got != 0 {
		t.Errorf("no address: %#x", got)
	}
}

func TestReferenceText(t *testing.T) {
	for _, c := range []struct {
		id        uint32
		stratum   uint8
		printable bool
		text      string
	}{
		{KissRATE, 0, true, "RATE"},
		{0x47505300, 1, true, "GPS"},
		{0x47505300, 2, true, "71.80.83.0"},
		{0x7f7f0101, 1, false, "127.127.1.1"},
		{0, 0, false, "0.0.0.0"},
		{0x47005300, 0, false, "71.0.83.0"},
		{0x20414141, 0, false, "32.65.65.65"},
	} {
		if Printable(c.id) != c.printable || ReferenceText(c.id, c.stratum) != c.text {
			t.Errorf("%#x: %v %q, want %v %q", c.id, Printable(c.id), ReferenceText(c.id, c.stratum), c.printable, c.text)
		}
	}
}
