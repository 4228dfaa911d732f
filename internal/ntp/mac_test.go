package ntp

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/clockd/clockd/reason"
)

func TestMACAppend(t *testing.T) {
	for _, name := range []string{"chrony answer md5", "chrony answer sha1"} {
		raw := capture(t, name)
		var p Packet
		if code := p.Decode(raw); code != reason.OK {
			t.Fatal(code)
		}
		message := raw[:len(raw)-int(p.MAC.Length)]
		if len(message) != HeaderLength {
			t.Errorf("%s: the message has %d bytes", name, len(message))
		}
		if back := p.MAC.Append(bytes.Clone(message)); !bytes.Equal(back, raw) {
			t.Errorf("%s: sealed as %x", name, back)
		}
	}
	for length, want := range map[uint8]int{0: 0, 1: 0, 3: 0, 4: 4, MACShort: 20, MACLong: 24, 25: 24, 255: 24} {
		if got := (&MAC{Length: length, KeyID: 7}).Append(nil); len(got) != want {
			t.Errorf("a MAC of %d bytes was written as %x", length, got)
		}
	}
}

// Whole fields are exactly those that NextExtension reads to the end, and that a packet with a MAC brings back as they were.
func TestWholeExtensions(t *testing.T) {
	const seed = 22
	rng := rand.New(rand.NewPCG(seed, seed))
	whole := 0
	for range 50_000 {
		var raw []byte
		for range rng.IntN(4) {
			raw, _ = AppendExtension(raw, uint16(rng.Uint32()), make([]byte, rng.IntN(40)), false)
		}
		if len(raw) > 0 && rng.IntN(2) == 0 {
			raw[2+rng.IntN(len(raw)-2)] = byte(rng.Uint32())
		}
		raw = raw[:len(raw)-min(len(raw), max(0, rng.IntN(8)-4))]
		rest := raw
		for _, r, ok := NextExtension(rest); ok; _, r, ok = NextExtension(rest) {
			rest = r
		}
		if WholeExtensions(raw) != (len(rest) == 0) {
			t.Fatalf("seed %d: %x is whole: %v, but %x is left over", seed, raw, WholeExtensions(raw), rest)
		}
		if !WholeExtensions(raw) {
			continue
		}
		whole++
		p := Packet{Version: 4, Extensions: raw, MAC: MAC{Length: MACShort, KeyID: 1}}
		var q Packet
		if code := q.Decode(p.Append(nil)); code != reason.OK || !bytes.Equal(q.Extensions, raw) || q.MAC != p.MAC {
			t.Fatalf("seed %d: fields %x and a MAC came back as %x, %v", seed, raw, q.Extensions, code)
		}
	}
	if whole < 10_000 {
		t.Errorf("seed %d: only %d were whole", seed, whole)
	}
}
