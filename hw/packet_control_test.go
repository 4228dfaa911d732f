//go:build linux

package hw

import (
	"bytes"
	"encoding/binary"
	"math"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// stampMessage is the kernel's SCM_TIMESTAMPING with the given software and hardware stamps.
func stampMessage(kind int, software, hardware [2]int64) []byte {
	b := appendHeader(nil, unix.SOL_SOCKET, kind, 48)
	for _, v := range []int64{software[0], software[1], 0, 0, hardware[0], hardware[1]} {
		b = binary.NativeEndian.AppendUint64(b, uint64(v))
	}
	return b
}

func errorMessage(level, kind int, e extendedError) []byte {
	b := appendHeader(nil, level, kind, 16+16)
	b = binary.NativeEndian.AppendUint32(b, e.errno)
	b = append(b, e.origin, 0, 0, 0)
	b = binary.NativeEndian.AppendUint32(b, e.info)
	b = binary.NativeEndian.AppendUint32(b, e.data)
	return append(b, make([]byte, 16)...)
}

// TestParseControl reads what the kernel writes, in every order and family.
func TestParseControl(t *testing.T) {
	stamp := stampMessage(unix.SO_TIMESTAMPING_NEW, [2]int64{1_700_000_000, 123_456_789}, [2]int64{5, 6})
	failure := extendedError{errno: uint32(unix.ENOMSG), origin: unix.SO_EE_ORIGIN_TIMESTAMPING, info: 0, data: 77}
	to4, to6 := netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("2001:db8::9")
	mapped := appendSource(nil, to4, true)
	parts := [][]byte{stamp, errorMessage(unix.SOL_IP, unix.IP_RECVERR, failure), appendSource(nil, to4, false)}
	for range 6 {
		parts[0], parts[1], parts[2] = parts[1], parts[2], parts[0]
		c := parseControl(bytes.Join(parts, nil))
		if c.software != 1_700_000_000_123_456_789 || c.hardware != 5_000_000_006 || !c.hasExtended || c.extended != failure || c.to != to4 {
			t.Fatalf("%+v", c)
		}
	}
	if c := parseControl(appendSource(nil, to6, true)); c.to != to6 {
		t.Errorf("IPv6: %+v", c)
	}
	if c := parseControl(mapped); c.to != to4 {
		t.Errorf("IPv4 on an IPv6 socket: %+v", c)
	}
	if c := parseControl(errorMessage(unix.SOL_IPV6, unix.IPV6_RECVERR, failure)); c.extended != failure {
		t.Errorf("IPv6 error: %+v", c)
	}
}

// TestParseControlUntrue: lengths that lie and times that are none give no value, and nothing is read beyond the end.
func TestParseControlUntrue(t *testing.T) {
	good := stampMessage(unix.SO_TIMESTAMPING_NEW, [2]int64{1_700_000_000, 1}, [2]int64{})
	for n := range good {
		if c := parseControl(good[:n:n]); c != (control{}) {
			t.Errorf("cut to %d bytes: %+v", n, c)
		}
	}
	setLength := func(v uint64) []byte {
		b := bytes.Clone(good)
		if wordSize == 8 {
			binary.NativeEndian.PutUint64(b, v)
		} else {
			binary.NativeEndian.PutUint32(b, uint32(v))
		}
		return b
	}
	for _, v := range []uint64{0, 1, uint64(cmsgHeader) - 1, uint64(cmsgHeader), uint64(cmsgHeader) + 47, uint64(len(good)) + 1, math.MaxInt32, math.MaxUint32, math.MaxInt64, math.MaxUint64} {
		if c := parseControl(setLength(v)); c != (control{}) {
			t.Errorf("length %d: %+v", v, c)
		}
	}
	for _, v := range [][2]int64{{0, 0}, {-1, 0}, {1, -1}, {1, 1e9}, {math.MaxInt64, 0}, {math.MinInt64, math.MinInt64}} {
		if c := parseControl(stampMessage(unix.SO_TIMESTAMPING_NEW, v, v)); c.software != 0 || c.hardware != 0 {
			t.Errorf("time %v: %+v", v, c)
		}
	}
	// A message of another level or type is skipped, and what follows it counts.
	other := append(appendHeader(nil, unix.SOL_SOCKET, unix.SCM_RIGHTS, 4), 1, 2, 3, 4)
	if c := parseControl(append(pad(other), good...)); c.software == 0 {
		t.Errorf("after an unknown message: %+v", c)
	}
}

// FuzzParseControl: no bytes make the parser panic, and what it returns is within what the bytes can say.
func FuzzParseControl(f *testing.F) {
	f.Add([]byte{})
	f.Add(stampMessage(unix.SO_TIMESTAMPING_NEW, [2]int64{1_700_000_000, 5}, [2]int64{1, 2}))
	f.Add(stampMessage(unix.SO_TIMESTAMPING_OLD, [2]int64{1, 5}, [2]int64{1, 2}))
	f.Add(errorMessage(unix.SOL_IP, unix.IP_RECVERR, extendedError{errno: 111, origin: 2}))
	f.Add(append(appendSource(nil, netip.IPv6Loopback(), true), appendKey(nil, 7)...))
	f.Add(appendSource(nil, netip.MustParseAddr("127.0.0.1"), false))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := parseControl(b)
		if c.software < 0 || c.hardware < 0 {
			t.Errorf("a stamp before 1970: %+v", c)
		}
		if c != parseControl(bytes.Clone(b)) {
			t.Error("not the same twice")
		}
		if len(b) < cmsgHeader && c != (control{}) {
			t.Errorf("something out of nothing: %+v", c)
		}
	})
}

// FuzzParseAddress: any socket address parses without panic, and one that is understood survives the way back.
func FuzzParseAddress(f *testing.F) {
	z := &zones{lookup: lookupZone}
	for _, s := range []string{"127.0.0.1:123", "[::1]:9", "[fe80::1%2]:5", "[::ffff:1.2.3.4]:6"} {
		for _, ipv6 := range []bool{false, true} {
			if b, ok := appendAddress(nil, netip.MustParseAddrPort(s), ipv6, z); ok {
				f.Add(b)
			}
		}
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		a := parseAddress(b, z)
		if !a.IsValid() {
			return
		}
		again, ok := appendAddress(nil, a, true, z)
		if !ok || parseAddress(again, z) != a {
			t.Errorf("%v became %v", a, parseAddress(again, z))
		}
	})
}

// TestZones: the caches stay bounded and tell the truth.
func TestZones(t *testing.T) {
	asked := 0
	z := &zones{lookup: func(name string) (uint32, bool) { asked++; return 42, name == "eth7" }}
	for i := range uint32(3000) {
		if n, ok := z.index(z.name(i)); !ok || n != i {
			t.Fatalf("zone %d came back as %d, %v", i, n, ok)
		}
		if len(z.names) > maxZones || len(z.indices) > maxZones {
			t.Fatalf("%d and %d zones are kept", len(z.names), len(z.indices))
		}
	}
	for range 3 {
		if n, ok := z.index("eth7"); !ok || n != 42 {
			t.Errorf("eth7: %d, %v", n, ok)
		}
	}
	if _, ok := z.index("nonesuch"); ok || asked != 2 {
		t.Errorf("an unknown interface has an index, or the known one was asked for %d times", asked)
	}
}
