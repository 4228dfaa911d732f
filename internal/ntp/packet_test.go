package ntp

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"testing"

	"github.com/clockd/clockd/reason"
)

// Packets as chronyd 4.3 (Debian 12) and ntpsec 1.2.2 sent them on loopback; the keys of the MACs are bytes 00, 01, 02, …
var captured = map[string]string{
	"chrony request md5":    "230000200000000000000000000000000000000000000000000000000000000000000000000000003b65f46248d460bb00000001334adb3aee858e22aa71083881626e4e",
	"chrony answer v4":      "240300e600000000000000007f7f0101eeae2c961a24f825cddb834a25afcbcfeeae2c9725f71951eeae2c9725fc5d6e",
	"chrony answer v3":      "1c0300e600000000000000007f7f0101eeae2c961a24f8252cc1ba5ded9f751eeeae2c972604d651eeae2c972605eb9e",
	"interleaved request":   "230000000000000000000000000000000000000000000000eeae2c9726091cd70cba7f9469c15991a96f555fc89c7764",
	"interleaved answer":    "240300e600000000000000007f7f0101eeae2c961a24f8250cba7f9469c15991eeae2c97260c871feeae2c97260a014a",
	"chrony answer md5":     "240300e600000000000000007f7f0101eeae2c961a24f825a119e3513d17df79eeae2c972615f8e1eeae2c972616d1c00000000133154dbe3db700342c6c046f94242834",
	"chrony answer sha1":    "240300e600000000000000007f7f0101eeae2c961a24f82503669d738a5d5c0ceeae2c97261a805feeae2c97261b36020000000266dde003dfd52fd5e18c2d46d2a4a90948d0632b",
	"chrony unsynchronised": "e40000e6000100000001000000000000000000000000000054445ee85aa029d6eeae2c98a76e66c7eeae2c98a772f254",
	"ntpsec orphan":         "240300e800000000000000007f000001000000000000000071ea43d453de60a6eeae2cb3462b11c7eeae2cb3464a4525",
}

func capture(t testing.TB, name string) []byte {
	t.Helper()
	b, err := hex.DecodeString(captured[name])
	if err != nil || len(b) < HeaderLength {
		t.Fatalf("no capture %q: %v", name, err)
	}
	return b
}

func TestDecodeCapturedPackets(t *testing.T) {
	digest := func(s string) (d [20]byte) {
		if _, err := hex.Decode(d[:], []byte(s)); err != nil {
			t.Fatal(err)
		}
		return d
	}
	chrony := Packet{
		Version: 4, Mode: ModeServer, Stratum: 3, Precision: -26, ReferenceID: 0x7f7f0101,
		Reference: 0xeeae2c961a24f825,
	}
	for name, change := range map[string]func(p *Packet){
		"chrony request md5": func(p *Packet) {
			*p = Packet{Version: 4, Mode: ModeClient, Precision: 32, Transmit: 0x3b65f46248d460bb,
				MAC: MAC{Length: 20, KeyID: 1, Digest: digest("334adb3aee858e22aa71083881626e4e")}}
		},
		"chrony answer v4": func(p *Packet) {
			p.Origin, p.Receive, p.Transmit = 0xcddb834a25afcbcf, 0xeeae2c9725f71951, 0xeeae2c9725fc5d6e
		},
		"chrony answer v3": func(p *Packet) {
			p.Version = 3
			p.Origin, p.Receive, p.Transmit = 0x2cc1ba5ded9f751e, 0xeeae2c972604d651, 0xeeae2c972605eb9e
		},
		"interleaved request": func(p *Packet) {
			*p = Packet{Version: 4, Mode: ModeClient, Origin: 0xeeae2c9726091cd7, Receive: 0x0cba7f9469c15991, Transmit: 0xa96f555fc89c7764}
		},
		"interleaved answer": func(p *Packet) {
			p.Origin, p.Receive, p.Transmit = 0x0cba7f9469c15991, 0xeeae2c97260c871f, 0xeeae2c97260a014a
		},
		"chrony answer md5": func(p *Packet) {
			p.Origin, p.Receive, p.Transmit = 0xa119e3513d17df79, 0xeeae2c972615f8e1, 0xeeae2c972616d1c0
			p.MAC = MAC{Length: 20, KeyID: 1, Digest: digest("33154dbe3db700342c6c046f94242834")}
		},
		"chrony answer sha1": func(p *Packet) {
			p.Origin, p.Receive, p.Transmit = 0x03669d738a5d5c0c, 0xeeae2c97261a805f, 0xeeae2c97261b3602
			p.MAC = MAC{Length: 24, KeyID: 2, Digest: digest("66dde003dfd52fd5e18c2d46d2a4a90948d0632b")}
		},
		"chrony unsynchronised": func(p *Packet) {
			*p = Packet{Leap: 3, Version: 4, Mode: ModeServer, Precision: -26, RootDelay: 1 << 16, RootDispersion: 1 << 16,
				Origin: 0x54445ee85aa029d6, Receive: 0xeeae2c98a76e66c7, Transmit: 0xeeae2c98a772f254}
		},
		"ntpsec orphan": func(p *Packet) {
			*p = Packet{Version: 4, Mode: ModeServer, Stratum: 3, Precision: -24, ReferenceID: 0x7f000001,
				Origin: 0x71ea43d453de60a6, Receive: 0xeeae2cb3462b11c7, Transmit: 0xeeae2cb3464a4525}
		},
	} {
		want := chrony
		change(&want)
		raw := capture(t, name)
		var got Packet
		if code := got.Decode(raw); code != reason.OK {
			t.Errorf("%s: %v", name, code)
			continue
		}
		if !samePacket(&got, &want) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, got, want)
		}
		if back := want.Append(nil); !bytes.Equal(back, raw) {
			t.Errorf("%s: encoded as %x", name, back)
		}
	}
}

func samePacket(a, b *Packet) bool {
	x, y := *a, *b
	x.Extensions, y.Extensions = nil, nil
	return bytes.Equal(a.Extensions, b.Extensions) && bytes.Equal(x.Append(nil), y.Append(nil)) && x.MAC == y.MAC
}

func TestTailLengths(t *testing.T) {
	header := capture(t, "chrony answer v4")
	field := func(n int) []byte {
		b := make([]byte, n)
		b[0], b[1], b[2], b[3] = 0x7f, 0xff, byte(n>>8), byte(n)
		return b
	}
	mac := func(n int) []byte {
		b := bytes.Repeat([]byte{0xab}, n)
		if n == 4 {
			clear(b)
		}
		return b
	}
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for _, c := range []struct {
		name             string
		tail             []byte
		code             reason.Code
		extensions, macs int
	}{
		{"nothing", nil, reason.OK, 0, 0},
		{"crypto-NAK", mac(4), reason.OK, 0, 4},
		{"a key identifier without digest", []byte{0, 0, 0, 7}, reason.PacketMalformed, 0, 0},
		{"MD5", mac(20), reason.OK, 0, 20},
		{"SHA1", mac(24), reason.OK, 0, 24},
		{"last field of 28 bytes", field(28), reason.OK, 28, 0},
		{"last field of 16 bytes without MAC", field(16), reason.PacketMalformed, 0, 0},
		{"last field of 24 bytes reads as a MAC", field(24), reason.OK, 0, 24},
		{"field of 16 and MD5", join(field(16), mac(20)), reason.OK, 16, 20},
		{"field of 16 and SHA1", join(field(16), mac(24)), reason.OK, 16, 24},
		{"field of 24 and crypto-NAK", join(field(24), mac(4)), reason.OK, 24, 4},
		{"two fields", join(field(16), field(28)), reason.OK, 44, 0},
		{"three fields and MD5", join(field(16), field(64), field(16), mac(20)), reason.OK, 96, 20},
		{"field longer than the rest", func() []byte { b := field(28); b[3] = 32; return b }(), reason.PacketMalformed, 0, 0},
		{"field of length 0", func() []byte { b := field(28); b[3] = 0; return b }(), reason.PacketMalformed, 0, 0},
		{"field of length 12", func() []byte { b := field(28); b[3] = 12; return b }(), reason.PacketMalformed, 0, 0},
		{"field of length 29", append(func() []byte { b := field(28); b[3] = 29; return b }(), 0), reason.PacketMalformed, 0, 0},
		{"a rest of 8", join(field(28), make([]byte, 8)), reason.PacketMalformed, 0, 0},
		{"odd length", []byte{0}, reason.PacketMalformed, 0, 0},
		{"longest", field(MaxLength - HeaderLength), reason.OK, MaxLength - HeaderLength, 0},
		{"too long", field(MaxLength - HeaderLength + 4), reason.PacketTooLong, 0, 0},
	} {
		raw := join(header, c.tail)
		var p Packet
		code := p.Decode(raw)
		if code != c.code {
			t.Errorf("%s: %v, want %v", c.name, code, c.code)
			continue
		}
		if code != reason.OK {
			continue
		}
		if len(p.Extensions) != c.extensions || int(p.MAC.Length) != c.macs {
			t.Errorf("%s: %d bytes of fields and a MAC of %d, want %d and %d", c.name, len(p.Extensions), p.MAC.Length, c.extensions, c.macs)
		}
		if p.MAC.CryptoNAK() != (c.macs == 4) {
			t.Errorf("%s: crypto-NAK %v", c.name, p.MAC.CryptoNAK())
		}
		if back := p.Append(nil); !bytes.Equal(back, raw) {
			t.Errorf("%s: encoded as %x", c.name, back)
		}
	}
}

func TestEveryTruncationIsRefusedOrExact(t *testing.T) {
	raw := capture(t, "chrony answer sha1")
	for n := range raw {
		var p Packet
		code := p.Decode(raw[:n])
		switch {
		case n < HeaderLength:
			if code != reason.PacketTooShort {
				t.Errorf("%d bytes: %v", n, code)
			}
		case n == 48 || n == 68:
			if code != reason.OK {
				t.Errorf("%d bytes: %v", n, code)
			}
		default:
			if code != reason.PacketMalformed {
				t.Errorf("%d bytes: %v", n, code)
			}
		}
	}
}

func TestExtensions(t *testing.T) {
	p := Packet{Version: 4, Mode: ModeClient, Transmit: 1}
	var code reason.Code
	bodies := [][]byte{[]byte("unique"), bytes.Repeat([]byte{7}, 100), nil}
	for i, body := range bodies {
		p.Extensions, code = AppendExtension(p.Extensions, uint16(0x104+i), body, i == len(bodies)-1)
		if code != reason.OK {
			t.Fatal(code)
		}
	}
	var q Packet
	if code := q.Decode(p.Append(nil)); code != reason.OK {
		t.Fatal(code)
	}
	n := 0
	for f, rest, ok := NextExtension(q.Extensions); ok; f, rest, ok = NextExtension(rest) {
		if f.Type != uint16(0x104+n) || !bytes.HasPrefix(f.Body, bodies[n]) || len(bytes.TrimRight(f.Body, "\x00")) != len(bodies[n]) {
			t.Errorf("field %d: type %#x, body %x", n, f.Type, f.Body)
		}
		n++
	}
	if n != len(bodies) {
		t.Errorf("%d fields, want %d", n, len(bodies))
	}
	if _, code := AppendExtension(nil, 1, make([]byte, MaxLength), false); code != reason.PacketTooLong {
		t.Errorf("an enormous field: %v", code)
	}
	if _, _, ok := NextExtension([]byte{0, 1, 0, 200, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}); ok {
		t.Error("a field longer than the buffer was read")
	}
}

func TestCodecDoesNotAllocate(t *testing.T) {
	raw := capture(t, "chrony answer sha1")
	buf := make([]byte, 0, MaxLength)
	var p Packet
	if n := testing.AllocsPerRun(1000, func() {
		if p.Decode(raw) == reason.OK {
			buf = p.Append(buf[:0])
		}
	}); n != 0 {
		t.Errorf("%v allocations per decode and encode", n)
	}
}

func TestMutatedPacketsDecodeExactlyOrNotAtAll(t *testing.T) {
	const seed = 21
	rng := rand.New(rand.NewPCG(seed, seed))
	var p Packet
	for name := range captured {
		raw := capture(t, name)
		for range 20_000 {
			b := append([]byte(nil), raw...)
			for range 1 + rng.IntN(4) {
				b[rng.IntN(len(b))] = byte(rng.Uint32())
			}
			if rng.IntN(2) == 0 {
				b = append(b, make([]byte, rng.IntN(60))...)
			}
			if p.Decode(b) == reason.OK && !bytes.Equal(p.Append(nil), b) {
				t.Fatalf("seed %d: %x is not what it decodes to", seed, b)
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	for name := range captured {
		f.Add(capture(f, name))
	}
	header := capture(f, "chrony answer v4")
	for _, tail := range []string{"00000000", "01040010000000000000000000000000" + "0000000133154dbe3db700342c6c046f94242834",
		"0204001c" + "000000000000000000000000000000000000000000000000", "0204ffff00000000000000000000000000000000000000000000000000000000"} {
		b, err := hex.DecodeString(tail)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(append(append([]byte(nil), header...), b...))
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		var p Packet
		if code := p.Decode(b); code != reason.OK {
			return
		}
		if back := p.Append(nil); !bytes.Equal(back, b) {
			t.Fatalf("%x decodes to %x", b, back)
		}
		total := 0
		for field, rest, ok := NextExtension(p.Extensions); ok; field, rest, ok = NextExtension(rest) {
			total += extensionHeader + len(field.Body)
		}
		if total != len(p.Extensions) {
			t.Fatalf("%d of %d bytes of extension fields can be read", total, len(p.Extensions))
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	raw := capture(b, "chrony answer v4")
	var p Packet
	b.ReportAllocs()
	for b.Loop() {
		p.Decode(raw)
	}
}

func BenchmarkAppend(b *testing.B) {
	var p Packet
	p.Decode(capture(b, "chrony answer v4"))
	buf := make([]byte, 0, 64)
	b.ReportAllocs()
	for b.Loop() {
		buf = p.Append(buf[:0])
	}
}
