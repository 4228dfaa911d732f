package roundtrip

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/keys"
	"github.com/clockd/clockd/internal/ntp"
	"github.com/clockd/clockd/reason"
)

// ends are the two keys of one conversation.
type ends struct{ client, server *keys.Key }

func testIdentity(t testing.TB, n byte) *keys.Identity {
	t.Helper()
	i, err := keys.Generate(bytes.NewReader(bytes.Repeat([]byte{n}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// identityEnds are those of two identities.
func identityEnds(t testing.TB, client, server byte) ends {
	t.Helper()
	c, s := testIdentity(t, client), testIdentity(t, server)
	one, err := c.ClientKey(s.Public())
	if err != nil {
		t.Fatal(err)
	}
	two, err := s.ServerKey(c.Public())
	if err != nil {
		t.Fatal(err)
	}
	return ends{one, two}
}

// symmetricEnds are those of one line of a keys file.
func symmetricEnds(t testing.TB, line string) ends {
	t.Helper()
	list, err := keys.ParseSymmetrics("test", []byte(line))
	if err != nil {
		t.Fatal(err)
	}
	one, err := list[0].Key()
	if err != nil {
		t.Fatal(err)
	}
	two, err := list[0].Key()
	if err != nil {
		t.Fatal(err)
	}
	return ends{one, two}
}

const (
	aesLine  = "7 AES128 HEX:000102030405060708090A0B0C0D0E0F"
	sha1Line = "8 SHA1 HEX:000102030405060708090A0B0C0D0E0F10111213"
)

func allEnds(t testing.TB) map[string]ends {
	return map[string]ends{"identity": identityEnds(t, 1, 2), "AES128": symmetricEnds(t, aesLine), "SHA1": symmetricEnds(t, sha1Line)}
}

// field is one extension field of n bytes that a MAC can follow.
func field(t testing.TB, kind uint16, n int) []byte {
	t.Helper()
	b, code := ntp.AppendExtension(nil, kind, bytes.Repeat([]byte{0xa5}, n-4), false)
	if code != reason.OK || len(b) != n {
		t.Fatalf("a field of %d bytes: %x, %v", n, b, code)
	}
	return b
}

// lockedDialogue is a dialogue in which the exchanger authenticates.
func lockedDialogue(t testing.TB, e ends) *dialogue {
	d := newDialogue(t)
	d.x.SetAuthenticator(e.client)
	return d
}

func (d *dialogue) raw(b []byte) reason.Code {
	samples, code := d.x.Receive(b, d.arrival())
	if code == reason.OK != (len(samples) > 0) {
		d.t.Fatalf("%v with %d samples", code, len(samples))
	}
	return code
}

func TestRequestsAreSealed(t *testing.T) {
	for name, e := range allEnds(t) {
		for _, fields := range [][]byte{nil, field(t, 0x7001, 64)} {
			d := lockedDialogue(t, e)
			if code := d.x.SetExtensions(fields); code != reason.OK {
				t.Fatal(code)
			}
			d.ask(false)
			message := d.buf[:len(d.buf)-e.client.Overhead()]
			if !e.server.Verify(message, &d.request.MAC) || !bytes.Equal(d.request.Extensions, fields) {
				t.Errorf("%s: request %x", name, d.buf)
			}
			want := ntp.Packet{Version: 4, Mode: ntp.ModeClient, Transmit: d.request.Transmit, Extensions: fields}
			if !bytes.Equal(message, want.Append(nil)) {
				t.Errorf("%s: request %x says more than its nonce", name, d.buf)
			}
			if code := d.raw(e.server.Seal(ptr(d.answer(someTime)).Append(nil))); code != reason.OK {
				t.Errorf("%s: %v", name, code)
			}
		}
	}
}

func ptr[T any](v T) *T { return &v }

// Every flipped bit, every cut and every lengthened answer is refused with the right reason, and the true one is still taken.
func TestAnswersThatWereTamperedWith(t *testing.T) {
	for name, e := range allEnds(t) {
		d := lockedDialogue(t, e).ask(false)
		p := d.answer(someTime)
		p.Extensions = field(t, 0x7001, 32)
		good := e.server.Seal(p.Append(nil))
		refused := func(what string, n int, b []byte, codes ...reason.Code) {
			t.Helper()
			if code := d.raw(b); !slices.Contains(codes, code) {
				t.Errorf("%s: %s %d: %v, want %v", name, what, n, code, codes)
			}
			if q, waiting := d.x.Outstanding(); !waiting || q != d.sequence || d.x.Extensions() != nil {
				t.Fatalf("%s: %s %d: the request does not wait any more, or extension fields %x", name, what, n, d.x.Extensions())
			}
		}
		for i := range 8 * len(good) {
			b := bytes.Clone(good)
			b[i/8] ^= 1 << (i % 8)
			if i/16 == 25 { // the extension field's length
				refused("flipped bit", i, b, reason.PacketAuthentication, reason.PacketMalformed)
			} else {
				refused("flipped bit", i, b, reason.PacketAuthentication)
			}
		}
		for n := range good {
			code := reason.PacketMalformed
			switch n - 80 {
			case 0, 20:
				code = reason.PacketAuthentication
			}
			switch {
			case n < ntp.HeaderLength:
				code = reason.PacketTooShort
			case n == ntp.HeaderLength, n == ntp.HeaderLength+ntp.MACShort, n == ntp.HeaderLength+ntp.MACLong:
				code = reason.PacketAuthentication
			}
			refused("cut to", n, good[:n], code)
		}
		for n := 4; n <= 64; n += 4 {
			refused("lengthened by", n, append(bytes.Clone(good), make([]byte, n)...), reason.PacketAuthentication, reason.PacketMalformed)
		}
		if code := d.raw(good); code != reason.OK || !bytes.Equal(d.x.Extensions(), p.Extensions) {
			t.Errorf("%s: the true answer afterwards: %v", name, code)
		}
	}
}

// Whoever does not hold the key is not listened to, whatever he says, and cannot end the wait.
func TestUnauthenticatedAnswers(t *testing.T) {
	e := identityEnds(t, 1, 2)
	d := lockedDialogue(t, e).ask(false)
	plain := d.answer(someTime)
	change := func(f func(p *ntp.Packet)) []byte {
		p := plain
		f(&p)
		return p.Append(nil)
	}
	nobody := func(p *ntp.Packet) {}
	for name, b := range map[string][]byte{
		"no MAC":                           change(nobody),
		"crypto-NAK":                       change(func(p *ntp.Packet) { p.MAC.Length = 4 }),
		"kiss DENY":                        change(func(p *ntp.Packet) { p.Stratum, p.ReferenceID = 0, ntp.KissDENY }),
		"kiss and NAK":                     change(func(p *ntp.Packet) { p.Stratum, p.ReferenceID, p.MAC.Length = 0, ntp.KissRATE, 4 }),
		"unsynchronised":                   change(func(p *ntp.Packet) { p.Leap = 3 }),
		"zero digest":                      change(func(p *ntp.Packet) { p.MAC = ntp.MAC{Length: 20, KeyID: e.client.ID()} }),
		"long digest":                      change(func(p *ntp.Packet) { p.MAC = ntp.MAC{Length: 24, KeyID: e.client.ID()} }),
		"only fields":                      change(func(p *ntp.Packet) { p.Extensions = field(t, 0x7001, 64) }),
		"another mode":                     change(func(p *ntp.Packet) { p.Mode = ntp.ModeBroadcast }),
		"key of another pair, same server": identityEnds(t, 3, 2).server.Seal(change(nobody)),
		"key of another pair, same client": identityEnds(t, 1, 3).server.Seal(change(nobody)),
		"another server under our identifier": func() []byte {
			b := identityEnds(t, 1, 3).server.Seal(change(nobody))
			copy(b[48:52], d.buf[48:52])
			return b
		}(),
		"symmetric key":          symmetricEnds(t, aesLine).server.Seal(change(nobody)),
		"our own request":        d.buf,
		"our own key, as server": e.client.Seal(change(nobody)),
		"the other role's answer key": func() []byte {
			return identityEnds(t, 2, 1).server.Seal(change(nobody))
		}(),
		"our request made an answer": func() []byte {
			b := bytes.Clone(d.buf)
			b[0] = b[0]&^7 | byte(ntp.ModeServer)
			return b
		}(),
	} {
		if code := d.raw(b); code != reason.PacketAuthentication {
			t.Errorf("%s: %v", name, code)
		}
		if _, waiting := d.x.Outstanding(); !waiting || d.x.Extensions() != nil {
			t.Fatalf("%s ended the wait", name)
		}
	}
	if code := d.raw(e.server.Seal(change(nobody))); code != reason.OK {
		t.Errorf("the true answer: %v", code)
	}
	// The server itself is obeyed.
	d.ask(false)
	plain = d.answer(someTime + 1<<32)
	if code := d.raw(e.server.Seal(change(func(p *ntp.Packet) { p.Stratum, p.ReferenceID = 0, ntp.KissRATE }))); code != reason.KissRate {
		t.Errorf("the server's own kiss: %v", code)
	}
}

// Old answers have good MACs: the nonce refuses them.
func TestReplayedAnswers(t *testing.T) {
	e := identityEnds(t, 1, 2)
	d := lockedDialogue(t, e)
	var old [][]byte
	for i := range 20 {
		d.ask(false)
		p := d.answer(someTime + ntp.Timestamp(i)<<32)
		p.Extensions = field(t, 0x7001, 32)
		b := e.server.Seal(p.Append(nil))
		for j, o := range old {
			want := reason.PacketOrigin
			if lost := j%3 == 2; lost && i-j <= remembered {
				want = reason.PacketLate
			}
			if code := d.raw(o); code != want || d.x.Extensions() != nil {
				t.Fatalf("answer %d during request %d: %v, want %v; fields %x", j, i, code, want, d.x.Extensions())
			}
		}
		if old = append(old, b); i%3 == 2 {
			continue // lost
		}
		if code := d.raw(b); code != reason.OK {
			t.Fatalf("answer %d: %v", i, code)
		}
		if code := d.raw(b); code != reason.PacketDuplicate || d.x.Extensions() != nil {
			t.Fatalf("answer %d again: %v", i, code)
		}
	}
}

// What was heard without the key must not be mixed with what is heard under it.
func TestChangeOfAuthenticatorForgets(t *testing.T) {
	e := symmetricEnds(t, aesLine)
	d := newDialogue(t).ask(false)
	d.want("unauthenticated answer", d.answer(someTime), reason.OK, 1)
	d.ask(true)
	if d.request.Receive == 0 {
		t.Fatal("the dialogue does not interleave")
	}
	forged := d.answer(someTime)
	d.x.SetAuthenticator(e.client)
	if code := d.raw(e.server.Seal(forged.Append(nil))); code != reason.PacketUnsolicited {
		t.Errorf("an answer to a request that was not sealed: %v", code)
	}
	d.ask(true)
	if d.request.Receive != 0 || d.request.Origin != 0 {
		t.Errorf("the request %x completes an exchange that nobody vouched for", d.buf)
	}
	if d.sequence != 3 {
		t.Errorf("the numbering went back to %d", d.sequence)
	}
	d.x.Reset()
	if d.ask(false); d.request.MAC.Length != 20 {
		t.Error("Reset forgot the key")
	}
	d.x.SetAuthenticator(nil)
	if d.ask(false); d.request.MAC.Length != 0 {
		t.Error("no authenticator, and yet a MAC")
	}
}

func TestInterleavedUnderAKey(t *testing.T) {
	e := identityEnds(t, 1, 2)
	d := lockedDialogue(t, e).ask(false)
	if code := d.raw(e.server.Seal(ptr(d.answer(someTime)).Append(nil))); code != reason.OK {
		t.Fatal(code)
	}
	d.ask(true)
	p := d.interleaved(someTime+1<<32, someTime+4400)
	if code := d.raw(p.Append(nil)); code != reason.PacketAuthentication {
		t.Errorf("without its MAC: %v", code)
	}
	samples, code := d.x.Receive(e.server.Seal(p.Append(nil)), d.arrival())
	if code != reason.OK || len(samples) != 2 || !samples[0].Interleaved || !samples[1].HalfOnly {
		t.Errorf("%v, %+v", code, samples)
	}
}

func TestExtensionsOfExchanges(t *testing.T) {
	e := identityEnds(t, 1, 2)
	d := lockedDialogue(t, e)
	if code := d.x.SetExtensions(make([]byte, 32)); code != reason.PacketMalformed {
		t.Errorf("zeros are no fields: %v", code)
	}
	if code := d.x.SetExtensions(field(t, 1, 32)[:28]); code != reason.PacketMalformed {
		t.Errorf("a cut field: %v", code)
	}
	const most = ntp.MaxLength - ntp.HeaderLength - ntp.MACLong
	if code := d.x.SetExtensions(field(t, 1, most+4)); code != reason.PacketTooLong {
		t.Errorf("too long: %v", code)
	}
	sent := field(t, 0x7001, most)
	if code := d.x.SetExtensions(sent); code != reason.OK {
		t.Fatal(code)
	}
	clear(sent) // they were copied
	if d.ask(false); !bytes.Equal(d.request.Extensions, field(t, 0x7001, most)) || len(d.buf) > ntp.MaxLength {
		t.Errorf("request %x", d.buf)
	}
	// A server that has no time to give may still speak of itself; then the exchange is over.
	p := d.answer(someTime)
	p.Leap, p.Stratum, p.Extensions = 3, 0, field(t, 0x7001, 200)
	if code := d.raw(e.server.Seal(p.Append(nil))); code != reason.ServerUnsynchronised || !bytes.Equal(d.x.Extensions(), p.Extensions) {
		t.Errorf("unsynchronised: %v, %x", code, d.x.Extensions())
	}
	if code := d.raw([]byte{1}); code != reason.PacketTooShort || d.x.Extensions() != nil {
		t.Errorf("after another datagram: %x", d.x.Extensions())
	}
	// Nothing is told that nobody vouches for.
	d.x.SetAuthenticator(nil)
	if d.ask(false); len(d.request.Extensions) != 0 {
		t.Errorf("fields without a MAC: %x", d.buf)
	}
	p = d.answer(someTime)
	p.Extensions = field(t, 0x7001, 200)
	if d.want("unauthenticated", p, reason.OK, 1); d.x.Extensions() != nil {
		t.Errorf("fields that nobody vouches for: %x", d.x.Extensions())
	}
}

// A node's packets, sealed and verified by whoever drives it, are those of an exchanger that holds the key.
func TestVouched(t *testing.T) {
	for name, e := range allEnds(t) {
		holds, trusts := lockedDialogue(t, e), newDialogue(t)
		vouched := &Vouched{KeyID: e.client.ID(), Length: e.client.Overhead()}
		trusts.x.SetAuthenticator(vouched)
		if !vouched.Valid() || (&Vouched{Length: vouched.Length}).Valid() || (&Vouched{KeyID: 1, Length: 4}).Valid() {
			t.Errorf("%s: valid %v", name, vouched.Valid())
		}
		for i := range 10 {
			if vouched.Good = false; i > 2 {
				holds.x.SetExtensions(field(t, 0x7001, 40))
				trusts.x.SetExtensions(field(t, 0x7001, 40))
			}
			holds.ask(i > 5)
			trusts.ask(i > 5)
			n := len(trusts.buf) - e.client.Overhead()
			if !bytes.Equal(e.client.Seal(bytes.Clone(trusts.buf[:n])), holds.buf) {
				t.Fatalf("%s: %x and %x", name, trusts.buf, holds.buf)
			}
			p := holds.answer(someTime + ntp.Timestamp(i)<<32)
			answer := e.server.Seal(p.Append(nil))
			if code := trusts.raw(answer); code != reason.PacketAuthentication {
				t.Errorf("%s: nobody vouched: %v", name, code)
			}
			vouched.Good = true
			for _, b := range [][]byte{p.Append(nil), append(p.Append(nil), 0, 0, 0, 0), append(answer[:48:48], make([]byte, e.client.Overhead())...)} {
				if code := trusts.raw(b); code != reason.PacketAuthentication {
					t.Errorf("%s: vouched for a MAC that is not there: %x, %v", name, b, code)
				}
			}
			trusts.now = holds.now
			one, code1 := holds.x.Receive(answer, holds.arrival())
			two, code2 := trusts.x.Receive(answer, trusts.arrival())
			if code1 != reason.OK || code2 != reason.OK || one[0] != two[0] {
				t.Fatalf("%s: %v %+v, %v %+v", name, code1, one, code2, two)
			}
		}
	}
}

func TestAuthenticatedExchangeDoesNotAllocate(t *testing.T) {
	for name, e := range allEnds(t) {
		d := lockedDialogue(t, e)
		d.buf = make([]byte, 0, 256)
		fields := field(t, 0x7001, 96)
		p := ptr(d.ask(false).answer(someTime))
		answer := make([]byte, 0, 256)
		if n := testing.AllocsPerRun(500, func() {
			d.x.SetExtensions(fields)
			d.ask(true)
			p.Origin, p.Receive = d.request.Transmit, p.Receive+1<<32
			p.Transmit, p.Extensions = p.Receive+4295, fields
			answer = e.server.Seal(p.Append(answer[:0]))
			if _, code := d.x.Receive(answer, d.arrival()); code != reason.OK || len(d.x.Extensions()) != len(fields) {
				t.Fatal(code)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func FuzzReceiveAuthenticated(f *testing.F) {
	e := identityEnds(f, 1, 2)
	first := func(t testing.TB) *dialogue { return lockedDialogue(t, e).ask(false) }
	d := first(f)
	good := e.server.Seal(ptr(d.answer(someTime)).Append(nil))
	f.Add(good)
	f.Add(d.buf)
	f.Add(ptr(d.answer(someTime)).Append(nil))
	f.Add(good[:52])
	f.Add(append(ptr(d.answer(someTime)).Append(nil), make([]byte, 60)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		d := first(t)
		code := d.raw(b)
		if bytes.Equal(b, good) {
			if code != reason.OK {
				t.Fatal(code)
			}
			return
		}
		if !slices.Contains([]reason.Code{reason.PacketAuthentication, reason.PacketTooShort, reason.PacketTooLong, reason.PacketMalformed}, code) {
			t.Fatalf("%x: %v", b, code)
		}
		if _, waiting := d.x.Outstanding(); !waiting || d.x.Extensions() != nil {
			t.Fatalf("%x ended the wait", b)
		}
	})
}

// BenchmarkAuthenticatedExchange is one whole exchange, both sides: request, answer, sample.
func BenchmarkAuthenticatedExchange(b *testing.B) {
	for _, name := range []string{"none", "AES128", "SHA1", "identity", "identity, 96 bytes of fields"} {
		b.Run(name, func(b *testing.B) {
			e, locked := allEnds(b)[name]
			var fields []byte
			if len(name) > 10 {
				e, locked, fields = identityEnds(b, 1, 2), true, field(b, 0x7001, 96)
			}
			desk := newDesk(b, func(c *ResponderConfig) {
				if locked {
					c.Keys = keys.NewRing(e.server)
				}
				c.Extend = func(_ ntp.Authenticator, request, answer []byte) bool { return copy(answer, request) > 0 }
			})
			var x Exchanger
			if locked {
				x.SetAuthenticator(e.client)
			}
			x.SetExtensions(fields)
			rng := rand.NewChaCha8([32]byte{1})
			buf := make([]byte, 0, 256)
			desk.reply = make([]byte, 0, 256)
			b.ReportAllocs()
			for next := desk.now; b.Loop(); {
				if next.Before(desk.now) {
					desk.bounds(100e-6)
					next = desk.now + 1e9
				}
				buf, _ = x.Request(rng, desk.now, true, buf)
				if desk.ask(buf); desk.code != reason.OK {
					b.Fatal(desk.code)
				}
				desk.r.Sent(desk.token, hw.Stamp{At: desk.now + 10, Kind: hw.StampUser}, desk.clock.Coefficients())
				if _, code := x.Receive(desk.reply, hw.Stamp{At: desk.now + 50_000, Kind: hw.StampUser}); code != reason.OK {
					b.Fatal(code)
				}
			}
			b.ReportMetric(float64(len(buf)+len(desk.reply)), "bytes/exchange")
		})
	}
}
