package keys

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/clockd/clockd/internal/ntp"
	"github.com/clockd/clockd/reason"
)

// keyPair is the two ends of one conversation.
type keyPair struct {
	name           string
	client, server *Key
}

func testIdentity(t testing.TB, n byte) *Identity {
	t.Helper()
	i, err := Generate(bytes.NewReader(bytes.Repeat([]byte{n}, keyLength)))
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// keyPairs are pairs of every kind of key.
func keyPairs(t testing.TB) []keyPair {
	t.Helper()
	var list []keyPair
	for i, a := range algorithms() {
		s := Symmetric{ID: uint32(i + 1), Type: a.name, secret: bytes.Repeat([]byte{byte(i + 1)}, max(20, a.keyLength))}
		if a.keyLength != 0 {
			s.secret = s.secret[:a.keyLength]
		}
		one, err := s.Key()
		if err != nil {
			t.Fatal(err)
		}
		two, err := s.Key()
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, keyPair{a.name, one, two})
	}
	a, b := testIdentity(t, 1), testIdentity(t, 2)
	client, err := a.ClientKey(b.Public())
	if err != nil {
		t.Fatal(err)
	}
	server, err := b.ServerKey(a.Public())
	if err != nil {
		t.Fatal(err)
	}
	return append(list, keyPair{"identity", client, server})
}

// unpack is what a receiver does with a datagram before it looks at anything else.
func unpack(t testing.TB, packet []byte) (message []byte, mac *ntp.MAC) {
	t.Helper()
	var p ntp.Packet
	if code := p.Decode(packet); code != reason.OK {
		t.Fatalf("%x: %v", packet, code)
	}
	return packet[:len(packet)-int(p.MAC.Length)], &p.MAC
}

func TestWhatIsSealedIsVerified(t *testing.T) {
	field, code := ntp.AppendExtension(nil, 0x104, make([]byte, 77), false)
	if code != reason.OK {
		t.Fatal(code)
	}
	for _, c := range keyPairs(t) {
		for _, fields := range [][]byte{nil, field, append(field, field...)} {
			p := ntp.Packet{Version: 4, Mode: ntp.ModeClient, Transmit: 0x1234, Extensions: fields}
			plain := p.Append(nil)
			packet := c.client.Seal(bytes.Clone(plain))
			if len(packet) != len(plain)+c.client.Overhead() || !bytes.HasPrefix(packet, plain) {
				t.Fatalf("%s: %x was sealed as %x", c.name, plain, packet)
			}
			message, mac := unpack(t, packet)
			if !bytes.Equal(message, plain) || !c.server.Verify(message, mac) {
				t.Errorf("%s: the other side does not take %x", c.name, packet)
			}
			if mac.KeyID != c.client.ID() || c.client.ID() == 0 || c.client.ID() != c.server.ID() {
				t.Errorf("%s: identifiers %d, %d and %d", c.name, mac.KeyID, c.client.ID(), c.server.ID())
			}
			if ring := NewRing(c.server); ring.Find(message, mac) != c.server {
				t.Errorf("%s: not found on the ring", c.name)
			}
		}
	}
}

// Whatever bit is flipped, wherever the packet is cut: nobody takes it.
func TestNothingElseIsVerified(t *testing.T) {
	field, _ := ntp.AppendExtension(nil, 0x104, make([]byte, 20), false)
	p := ntp.Packet{Version: 4, Mode: ntp.ModeServer, Transmit: 0x1234, Extensions: field}
	for _, c := range keyPairs(t) {
		packet := c.server.Seal(p.Append(nil))
		try := func(what string, n int, b []byte) {
			var q ntp.Packet
			if q.Decode(b) != reason.OK {
				return
			}
			if c.client.Verify(b[:len(b)-int(q.MAC.Length)], &q.MAC) || NewRing(c.client).Find(b[:len(b)-int(q.MAC.Length)], &q.MAC) != nil {
				t.Errorf("%s: %s %d is taken", c.name, what, n)
			}
		}
		for i := range 8 * len(packet) {
			b := bytes.Clone(packet)
			b[i/8] ^= 1 << (i % 8)
			try("flipped bit", i, b)
		}
		for n := range packet {
			try("cut at", n, packet[:n])
		}
		for n := 4; n <= 64; n += 4 {
			try("lengthened by", n, append(bytes.Clone(packet), make([]byte, n)...))
		}
	}
}

func TestNoKeyTakesAnothersPackets(t *testing.T) {
	p := ntp.Packet{Version: 4, Mode: ntp.ModeServer, Transmit: 0x1234}
	list := keyPairs(t)
	a, c := testIdentity(t, 1), testIdentity(t, 3)
	// The same client with another server, and another client with the same server.
	for _, peers := range [][2]*Identity{{a, c}, {c, testIdentity(t, 2)}} {
		client, err := peers[0].ClientKey(peers[1].Public())
		if err != nil {
			t.Fatal(err)
		}
		server, err := peers[1].ServerKey(peers[0].Public())
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, keyPair{"another pair", client, server})
	}
	for i, x := range list {
		for j, y := range list {
			message, mac := unpack(t, x.server.Seal(p.Append(nil)))
			if i == j {
				continue
			}
			if y.client.Verify(message, mac) {
				t.Errorf("%s took a packet of %s", y.name, x.name)
			}
			if mac.KeyID = y.client.ID(); y.client.Verify(message, mac) {
				t.Errorf("%s took a packet of %s under its own identifier", y.name, x.name)
			}
		}
	}
}

// With identities, a packet is good in one direction and one role only: not sent back to its sender, not as the other kind.
func TestReflectionFails(t *testing.T) {
	a, b := testIdentity(t, 1), testIdentity(t, 2)
	make := func(i *Identity, f func(PublicKey) (*Key, error), peer *Identity) *Key {
		k, err := f(peer.Public())
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	aAsks, bAnswers := make(a, a.ClientKey, b), make(b, b.ServerKey, a)
	bAsks, aAnswers := make(b, b.ClientKey, a), make(a, a.ServerKey, b)
	p := ntp.Packet{Version: 4, Mode: ntp.ModeClient, Transmit: 0x1234}
	for i, sender := range []*Key{aAsks, bAnswers, bAsks, aAnswers} {
		message, mac := unpack(t, sender.Seal(p.Append(nil)))
		for j, receiver := range []*Key{bAnswers, aAsks, aAnswers, bAsks} {
			if got := receiver.Verify(message, mac); got != (i == j) {
				t.Errorf("what %d sent, %d takes: %v", i, j, got)
			}
		}
	}
}

// Identifiers that fall together are no problem: the MAC tells the keys apart.
func TestCollidingIdentifiers(t *testing.T) {
	secrets := []string{"0123456789abcdef", "0123456789abcdeg", "0123456789abcdeh"}
	var keys []*Key
	for _, s := range secrets {
		k, err := (Symmetric{ID: 7, Type: "AES128", secret: []byte(s)}).Key()
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	pair := keyPairs(t)[len(keyPairs(t))-1]
	pair.client.id, pair.server.id = 7, 7
	ring := NewRing(append(keys[:2:2], pair.server)...)
	p := ntp.Packet{Version: 4, Mode: ntp.ModeClient, Transmit: 1}
	for i, k := range append(keys, pair.client) {
		var want ntp.Authenticator
		switch {
		case i < 2:
			want = k
		case i == 3:
			want = pair.server
		}
		message, mac := unpack(t, k.Seal(p.Append(nil)))
		if got := ring.Find(message, mac); got != want {
			t.Errorf("key %d was found as %v", i, got)
		}
	}
}

// What chronyd 4.3 really sent: the keys were bytes 00, 01, 02, …
func TestMACsOfChronyd(t *testing.T) {
	for _, c := range []struct {
		line, packet string
	}{
		{"1 MD5 HEX:000102030405060708090A0B0C0D0E0F", "240300e600000000000000007f7f0101eeae2c961a24f825a119e3513d17df79eeae2c972615f8e1eeae2c972616d1c00000000133154dbe3db700342c6c046f94242834"},
		{"2 SHA1 HEX:000102030405060708090A0B0C0D0E0F10111213", "240300e600000000000000007f7f0101eeae2c961a24f82503669d738a5d5c0ceeae2c97261a805feeae2c97261b36020000000266dde003dfd52fd5e18c2d46d2a4a90948d0632b"},
	} {
		list, err := ParseSymmetrics("test", []byte(c.line))
		if err != nil {
			t.Fatal(err)
		}
		k, err := list[0].Key()
		if err != nil {
			t.Fatal(err)
		}
		message, mac := unpack(t, unhex(t, c.packet))
		if !k.Verify(message, mac) {
			t.Errorf("%s: chronyd's own packet is refused", k)
		}
		if !bytes.Equal(k.Seal(bytes.Clone(message)), unhex(t, c.packet)) {
			t.Errorf("%s: sealed otherwise", k)
		}
	}
}

func TestSealAndVerifyDoNotAllocate(t *testing.T) {
	p := ntp.Packet{Version: 4, Mode: ntp.ModeClient, Transmit: 0x1234}
	for _, c := range keyPairs(t) {
		ring := NewRing(c.server)
		buf := p.Append(make([]byte, 0, 128))
		var q ntp.Packet
		if n := testing.AllocsPerRun(200, func() {
			sealed := c.client.Seal(buf[:48])
			if q.Decode(sealed) != reason.OK || ring.Find(sealed[:48], &q.MAC) == nil {
				t.Fatal("not verified")
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
	}
}

func TestNoFormatPrintsASecret(t *testing.T) {
	for _, c := range keyPairs(t) {
		if s := c.client.String(); s == "" || strings.Contains(s, "\x01") {
			t.Errorf("%q", s)
		}
	}
	i := testIdentity(t, 9)
	secret := armour(privatePrefix, i.private.Bytes())
	for _, s := range []string{sprint(i), sprint(*i), sprint(Symmetric{ID: 1, Type: "MD5", secret: []byte("tulip-tulip")})} {
		if strings.Contains(s, secret[len(privatePrefix):]) || strings.Contains(s, "tulip") || strings.Contains(s, "116 117 108") || strings.Contains(s, "0x74") {
			t.Errorf("printed as %s", s)
		}
	}
}

func FuzzVerify(f *testing.F) {
	pairs := keyPairs(f)
	p := ntp.Packet{Version: 4, Mode: ntp.ModeClient, Transmit: 0x1234}
	for _, c := range pairs {
		f.Add(c.client.Seal(p.Append(nil)))
		f.Add(c.server.Seal(p.Append(nil)))
	}
	f.Add([]byte{})
	var servers []*Key
	good := map[string]bool{}
	for _, c := range pairs {
		servers = append(servers, c.server)
		good[string(c.client.Seal(p.Append(nil)))] = true
		if c.name != "identity" {
			good[string(c.server.Seal(p.Append(nil)))] = true
		}
	}
	ring := NewRing(servers...)
	f.Fuzz(func(t *testing.T, b []byte) {
		var q ntp.Packet
		if q.Decode(b) != reason.OK {
			return
		}
		if k := ring.Find(b[:len(b)-int(q.MAC.Length)], &q.MAC); (k != nil) != good[string(b)] {
			t.Fatalf("%x was found to be %v's", b, k)
		}
	})
}

func BenchmarkSealAndVerify(b *testing.B) {
	const seed = 62
	rng := rand.New(rand.NewPCG(seed, seed))
	for _, c := range keyPairs(b) {
		b.Run(c.name, func(b *testing.B) {
			p := ntp.Packet{Version: 4, Mode: ntp.ModeClient, Transmit: ntp.Timestamp(rng.Uint64())}
			ring := NewRing(c.server)
			buf := p.Append(make([]byte, 0, 128))
			var q ntp.Packet
			b.ReportAllocs()
			for b.Loop() {
				sealed := c.client.Seal(buf[:48])
				q.Decode(sealed)
				if ring.Find(sealed[:48], &q.MAC) == nil {
					b.Fatal("not verified")
				}
			}
		})
	}
}

// A holder of the key fills in the MAC that one without it left room for.
func TestReseal(t *testing.T) {
	for _, c := range keyPairs(t) {
		p := ntp.Packet{Version: 4, Mode: ntp.ModeClient, Transmit: 0x1234, MAC: ntp.MAC{Length: uint8(c.client.Overhead()), KeyID: c.client.ID()}}
		want := c.client.Seal((&ntp.Packet{Version: 4, Mode: ntp.ModeClient, Transmit: 0x1234}).Append(nil))
		room := p.Append(nil)
		got, ok := c.client.Reseal([]byte("before"), room)
		if !ok || string(got) != "before"+string(want) || !c.server.Open(got[6:]) {
			t.Errorf("%s: %x became %x", c.name, room, got)
		}
		if !bytes.Equal(room, p.Append(nil)) {
			t.Errorf("%s: the packet itself was changed", c.name)
		}
		other := p
		other.MAC.KeyID++
		longer := p
		longer.MAC.Length ^= 20 ^ 24
		for _, bad := range [][]byte{nil, room[:48], room[:52], other.Append(nil), longer.Append(nil)} {
			if got, ok := c.client.Reseal(nil, bad); ok || got != nil {
				t.Errorf("%s: %x was sealed as %x", c.name, bad, got)
			}
			if c.client.Open(bad) {
				t.Errorf("%s: %x was opened", c.name, bad)
			}
		}
		buf := make([]byte, 0, 128)
		if n := testing.AllocsPerRun(100, func() {
			if b, ok := c.client.Reseal(buf, room); !ok || !c.server.Open(b) {
				t.Fatal("not sealed")
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
	}
}

func TestKeyEqual(t *testing.T) {
	one, two := keyPairs(t), keyPairs(t)
	for i := range one {
		for j := range two {
			same := i == j
			if one[i].client.Equal(two[j].client) != same || one[i].server.Equal(two[j].server) != same {
				t.Errorf("%s and %s", one[i].name, two[j].name)
			}
		}
	}
	a, b := testIdentity(t, 1), testIdentity(t, 2)
	client, err := a.ClientKey(b.Public())
	if err != nil {
		t.Fatal(err)
	}
	server, err := a.ServerKey(b.Public())
	if err != nil {
		t.Fatal(err)
	}
	other, err := testIdentity(t, 3).ClientKey(b.Public())
	if err != nil {
		t.Fatal(err)
	}
	var none *Key
	if client.Equal(server) || client.Equal(other) || client.Equal(nil) || none.Equal(client) || !none.Equal(nil) || !client.Equal(client) {
		t.Error("keys of different roles or hosts are equal")
	}
}

func BenchmarkMAC(b *testing.B) {
	for _, a := range algorithms() {
		for _, length := range []int{48, 48 + 128} {
			b.Run(fmt.Sprintf("%s/%d", a.name, length), func(b *testing.B) {
				c, err := a.code(make([]byte, max(16, a.keyLength)))
				if err != nil {
					b.Fatal(err)
				}
				message := make([]byte, length)
				b.ReportAllocs()
				for b.Loop() {
					c.sum(message)
				}
			})
		}
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
