package roundtrip

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/keys"
	"github.com/clockd/clockd/internal/ntp"
	"github.com/clockd/clockd/reason"
)

// lockedDesk is a responder that knows the server's ends.
func lockedDesk(t testing.TB, change func(c *ResponderConfig), list ...ends) *desk {
	return newDesk(t, func(c *ResponderConfig) {
		var server []*keys.Key
		for _, e := range list {
			server = append(server, e.server)
		}
		c.Keys = keys.NewRing(server...)
		if change != nil {
			change(c)
		}
	})
}

func hwStamp(at hw.Ticks) hw.Stamp { return hw.Stamp{At: at, Kind: hw.StampUser} }

// sealed asks under a key and decodes the answer, which must be sealed with its counterpart and no longer than the request.
func (d *desk) sealed(e ends, p ntp.Packet) ntp.Packet {
	d.t.Helper()
	request := e.client.Seal(p.Append(nil))
	d.ask(request)
	var a ntp.Packet
	if d.reply == nil || a.Decode(d.reply) != reason.OK {
		d.t.Fatalf("%v, answer %x", d.code, d.reply)
	}
	if len(d.reply) > len(request) || !e.client.Verify(d.reply[:len(d.reply)-int(a.MAC.Length)], &a.MAC) {
		d.t.Fatalf("request %x, answer %x", request, d.reply)
	}
	return a
}

func TestAnswersAreSealed(t *testing.T) {
	list := allEnds(t)
	d := lockedDesk(t, nil, list["identity"], list["AES128"], list["SHA1"])
	for name, e := range list {
		a := d.sealed(e, basicRequest())
		if d.code != reason.OK || a.Stratum != 2 || a.Origin != basicRequest().Transmit || len(d.reply) != 48+e.client.Overhead() {
			t.Errorf("%s: %v, %+v", name, d.code, a)
		}
		// Unknown fields are read over, and covered by the MAC all the same.
		q := basicRequest()
		q.Extensions = field(t, 0x7001, 64)
		if a = d.sealed(e, q); d.code != reason.OK || len(a.Extensions) != 0 {
			t.Errorf("%s, with fields: %v, %+v", name, d.code, a)
		}
	}
	if plain := d.get(basicRequest()); plain.MAC.Length != 0 {
		t.Errorf("an answer to nobody has a MAC: %+v", plain)
	}
	e := list["identity"]
	q := interleavedRequest(1)
	first := d.sealed(e, q)
	d.r.Sent(d.token, hwStamp(d.now+10), d.clock.Coefficients())
	if second := d.sealed(e, interleavedRequest(first.Receive)); second.Origin != 0x1111 {
		t.Errorf("not interleaved: %+v", second)
	}
	d.clock.Reset()
	if a := d.sealed(e, basicRequest()); a.Leap != ntp.LeapUnsynchronised || a.Transmit != 0 {
		t.Errorf("unsynchronised: %+v", a)
	}
	if s := d.r.Stats(); s.Authenticated != 9 || s.Answered != 9 || s.Unsynchronised != 1 {
		t.Errorf("%+v", s)
	}
}

func TestRequestsThatWereTamperedWith(t *testing.T) {
	list := allEnds(t)
	d := lockedDesk(t, func(c *ResponderConfig) {
		c.Extend = func(ntp.Authenticator, []byte, []byte) bool {
			t.Error("a forged request's fields were looked at")
			return true
		}
	}, list["identity"], list["AES128"], list["SHA1"])
	for name, e := range list {
		q := basicRequest()
		q.Extensions = field(t, 0x7001, 32)
		good := e.client.Seal(q.Append(nil))
		refused := func(what string, n int, b []byte, codes ...reason.Code) {
			t.Helper()
			if d.ask(b); d.reply != nil || d.token != 0 || !slices.Contains(codes, d.code) {
				t.Errorf("%s: %s %d: %v, want %v; answer %x", name, what, n, d.code, codes, d.reply)
			}
		}
		for i := range 8 * len(good) {
			b := bytes.Clone(good)
			b[i/8] ^= 1 << (i % 8)
			if i/16 == 25 { // the extension field's length
				refused("flipped bit", i, b, reason.RequestAuthentication, reason.RequestMalformed)
			} else {
				refused("flipped bit", i, b, reason.RequestAuthentication)
			}
		}
		for n := range good {
			switch n {
			case 48, 80: // cut so that no MAC is left, a request is one without authentication: see Require
			default:
				refused("cut to", n, good[:n], reason.RequestAuthentication, reason.RequestMalformed, reason.RequestShort)
			}
		}
		for n := 4; n <= 64; n += 4 {
			refused("lengthened by", n, append(bytes.Clone(good), make([]byte, n)...), reason.RequestAuthentication, reason.RequestMalformed)
		}
	}
	if d.r.Stats() != (ResponderStats{}) {
		t.Errorf("%+v", d.r.Stats())
	}
}

func TestRequestsUnderOtherKeys(t *testing.T) {
	e := identityEnds(t, 1, 2)
	plain := func() []byte { q := basicRequest(); return q.Append(nil) }
	for name, b := range map[string][]byte{
		"another client":                identityEnds(t, 3, 2).client.Seal(plain()),
		"another server":                identityEnds(t, 1, 3).client.Seal(plain()),
		"an answer of the server":       e.server.Seal(plain()),
		"the client's own answers":      identityEnds(t, 2, 1).server.Seal(plain()),
		"unknown symmetric key":         symmetricEnds(t, aesLine).client.Seal(plain()),
		"another type under its number": append(plain(), append(e.client.Seal(plain())[48:68], 0, 0, 0, 0)...),
	} {
		if d := lockedDesk(t, nil, e).ask(b); d.reply != nil || d.code != reason.RequestAuthentication {
			t.Errorf("%s: %v, %x", name, d.code, d.reply)
		}
		// Without any key no MAC is good.
		if d := newDesk(t, nil).ask(b); d.reply != nil || d.code != reason.RequestAuthentication {
			t.Errorf("%s, no keys: %v, %x", name, d.code, d.reply)
		}
	}
}

func TestRequire(t *testing.T) {
	e := identityEnds(t, 1, 2)
	d := lockedDesk(t, func(c *ResponderConfig) {
		c.Require = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/28"), netip.MustParsePrefix("2001:db8::/32")}
	}, e)
	for address, required := range map[string]bool{
		"192.0.2.9": true, "::ffff:192.0.2.9": true, "2001:db8::1": true, "192.0.2.99": false, "2001:db9::1": false,
	} {
		d.from = netip.AddrPortFrom(netip.MustParseAddr(address), 4000)
		want := reason.OK
		if required {
			want = reason.RequestUnauthenticated
		}
		if d.ask(ptr(basicRequest()).Append(nil)); d.code != want || (d.reply == nil) != required {
			t.Errorf("%s without a MAC: %v, want %v", address, d.code, want)
		}
		if d.sealed(e, basicRequest()); d.code != reason.OK {
			t.Errorf("%s with a MAC: %v", address, d.code)
		}
		if d.ask(identityEnds(t, 3, 2).client.Seal(ptr(basicRequest()).Append(nil))); d.code != reason.RequestAuthentication {
			t.Errorf("%s with a wrong MAC: %v", address, d.code)
		}
	}
	if _, err := NewResponder(ResponderConfig{Hertz: 1e9, Require: []netip.Prefix{{}}}); err == nil {
		t.Error("an invalid prefix was taken")
	}
}

func TestExtend(t *testing.T) {
	e, other := identityEnds(t, 1, 2), symmetricEnds(t, aesLine)
	type call struct {
		key     ntp.Authenticator
		request string
	}
	var calls []call
	var write func(answer []byte) bool
	d := lockedDesk(t, func(c *ResponderConfig) {
		c.Extend = func(key ntp.Authenticator, request, answer []byte) bool {
			calls = append(calls, call{key, string(request)})
			if len(answer) != len(request) || !bytes.Equal(answer, make([]byte, len(request))) {
				t.Errorf("the request has %d bytes, the answer %x", len(request), answer)
			}
			return write(answer)
		}
	}, e, other)
	write = func(answer []byte) bool {
		copy(answer, field(t, 0x7002, len(answer)))
		return true
	}
	q := basicRequest()
	d.get(q)
	d.sealed(e, q)
	unauthenticated := q
	unauthenticated.Extensions = field(t, 0x7001, 32)
	d.get(unauthenticated)
	if len(calls) != 0 {
		t.Fatalf("called for a request without fields or MAC: %v", calls)
	}
	for n := 16; n <= ntp.MaxLength-ntp.HeaderLength-20; n += 4 {
		q.Extensions = field(t, 0x7001, n)
		a := d.sealed(e, q)
		if !bytes.Equal(a.Extensions, field(t, 0x7002, n)) || len(d.reply) != 48+n+20 {
			t.Fatalf("%d bytes: answer %x", n, d.reply)
		}
		if c := calls[len(calls)-1]; c.key != ntp.Authenticator(e.server) || c.request != string(q.Extensions) {
			t.Fatalf("called with %v", c)
		}
	}
	q.Extensions = field(t, 0x7001, 64)
	if d.sealed(other, q); calls[len(calls)-1].key != ntp.Authenticator(other.server) {
		t.Errorf("called with %v", calls[len(calls)-1].key)
	}
	// A server without time still speaks of itself.
	d.clock.Reset()
	if a := d.sealed(e, q); a.Leap != 3 || len(a.Extensions) != 64 {
		t.Errorf("unsynchronised: %+v", a)
	}
	// What is no field is not sent.
	for name, w := range map[string]func([]byte) bool{
		"nothing": func([]byte) bool { return true },
		"refused": func(b []byte) bool { copy(b, field(t, 0x7002, 64)); return false },
		"short":   func(b []byte) bool { copy(b, field(t, 0x7002, 32)); return true },
	} {
		write = w
		if a := d.sealed(e, q); len(a.Extensions) != 0 || len(d.reply) != 68 {
			t.Errorf("%s: answer %x", name, d.reply)
		}
	}
}

// Nobody can use up a client's rate in its name, and a client with a key is still limited.
func TestRateLimitOfAuthenticatedClients(t *testing.T) {
	e := identityEnds(t, 1, 2)
	d := lockedDesk(t, func(c *ResponderConfig) { c.RatePerSecond, c.Burst = 0.001, 5 }, e)
	codes := func(request []byte, n int) (answered, limited int) {
		for range n {
			switch d.ask(request); d.code {
			case reason.OK:
				answered++
			case reason.RequestRate:
				limited++
			default:
				t.Fatal(d.code)
			}
		}
		return answered, limited
	}
	if a, l := codes(ptr(basicRequest()).Append(nil), 1000); a != 5 || l != 995 {
		t.Errorf("%d answers, %d refusals without a key", a, l)
	}
	request := e.client.Seal(ptr(basicRequest()).Append(nil))
	if a, l := codes(request, 5); a != 5 || l != 0 {
		t.Errorf("%d answers, %d refusals with a key after a flood without", a, l)
	}
	kisses := 0
	for range 200 {
		if d.ask(request); d.reply == nil {
			continue
		}
		kisses++
		var a ntp.Packet
		if a.Decode(d.reply) != reason.OK || a.ReferenceID != ntp.KissRATE || !e.client.Verify(d.reply[:48], &a.MAC) || len(d.reply) != len(request) {
			t.Fatalf("kiss %x", d.reply)
		}
	}
	if kisses == 0 || d.code != reason.RequestRate {
		t.Errorf("%d kisses in 200, %v", kisses, d.code)
	}
}

func TestAuthenticatedAnswerDoesNotAllocate(t *testing.T) {
	for name, e := range allEnds(t) {
		d := lockedDesk(t, func(c *ResponderConfig) {
			c.RatePerSecond, c.Burst = 1e9, 1000
			c.Require = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
			c.Extend = func(_ ntp.Authenticator, request, answer []byte) bool { return copy(answer, request) > 0 }
		}, e)
		q := basicRequest()
		q.Extensions = field(t, 0x7001, 96)
		request := e.client.Seal(q.Append(nil))
		d.reply = make([]byte, 0, 256)
		if n := testing.AllocsPerRun(500, func() {
			if d.ask(request); d.code != reason.OK || len(d.reply) != len(request) {
				t.Fatal(d.code)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// FuzzRespondAuthenticated: without the key, nobody is answered where a key is required.
func FuzzRespondAuthenticated(f *testing.F) {
	e := identityEnds(f, 1, 2)
	good := e.client.Seal(ptr(basicRequest()).Append(nil))
	f.Add(good)
	f.Add(good[:48])
	f.Add(good[:52])
	f.Add(e.server.Seal(ptr(basicRequest()).Append(nil)))
	f.Add(append(bytes.Clone(good), make([]byte, 24)...))
	f.Fuzz(func(t *testing.T, request []byte) {
		d := lockedDesk(t, func(c *ResponderConfig) { c.Require = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")} }, e)
		d.ask(request)
		if answered := d.reply != nil; answered != bytes.Equal(request, good) || answered != (d.code == reason.OK) {
			t.Fatalf("%x: %v, %x", request, d.code, d.reply)
		}
	})
}

// network is three hosts that all ask each other under their pairs' keys, and an attacker who sees everything, sends what he
// likes from whatever address, and holds the third host's keys.
type network struct {
	t     *testing.T
	seed  uint64
	rng   *rand.Rand
	hosts [3]*member
	seen  [][]byte
	// now is one counter for all.
	now   int64
	codes reason.Counts
	taken int
}

type member struct {
	desk *desk
	// ask are the exchangers to the others.
	ask   [3]Exchanger
	nonce *rand.ChaCha8
}

func newNetwork(t *testing.T, seed uint64) *network {
	n := &network{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 63))}
	for i := range n.hosts {
		var list []ends
		for j := range n.hosts {
			if i != j {
				list = append(list, identityEnds(t, byte(j+1), byte(i+1)))
			}
		}
		m := &member{nonce: rand.NewChaCha8([32]byte{byte(seed), byte(i)})}
		m.desk = lockedDesk(t, func(c *ResponderConfig) {
			c.Require = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
			// The answer says whose it is and to whom: pairs of identities.
			c.Extend = func(key ntp.Authenticator, request, answer []byte) bool {
				copy(answer, request)
				answer[4], answer[5] = byte(i), request[5]
				return true
			}
		}, list...)
		for j := range n.hosts {
			if i != j {
				m.ask[j].SetAuthenticator(identityEnds(t, byte(i+1), byte(j+1)).client)
			}
		}
		n.hosts[i] = m
	}
	return n
}

// step lets host i ask host j, and the attacker have his way with what flies.
func (n *network) step(i, j int) {
	m := n.hosts[i]
	n.now += 1000
	f := field(n.t, 0x7001, 32)
	f[4], f[5] = byte(i), byte(i)
	m.ask[j].SetExtensions(f)
	request, _ := m.ask[j].Request(m.nonce, hw.Ticks(n.now), n.rng.IntN(2) == 0, nil)
	n.seen = append(n.seen, request)
	n.hosts[j].desk.ask(request)
	if n.hosts[j].desk.code != reason.OK {
		n.t.Fatalf("seed %d: host %d refuses %d: %v", n.seed, j, i, n.hosts[j].desk.code)
	}
	answer := bytes.Clone(n.hosts[j].desk.reply)
	n.seen = append(n.seen, answer)
	for range n.rng.IntN(6) {
		n.attack(i, j, answer)
	}
	if n.rng.IntN(4) == 0 {
		return // lost
	}
	n.deliver(i, j, answer, answer)
}

// attack delivers one datagram of the attacker's making to the exchanger of host i for host j.
func (n *network) attack(i, j int, answer []byte) {
	b := bytes.Clone(n.seen[n.rng.IntN(len(n.seen))]) // replay, reflection, another's packet
	switch n.rng.IntN(6) {
	case 0:
		b[n.rng.IntN(len(b))] ^= 1 << n.rng.IntN(8)
	case 1: // the true one, changed
		b = bytes.Clone(answer)
		b[n.rng.IntN(len(b))] ^= 1 << n.rng.IntN(8)
	case 2: // the head of one, the MAC of another
		b = append(b[:len(b)-20], answer[len(answer)-20:]...)
	case 3: // the request goes to another host, whose answer comes back
		other := n.hosts[(j+1+n.rng.IntN(2))%3]
		if other.desk.ask(n.seen[len(n.seen)-2]); other.desk.reply != nil {
			b = bytes.Clone(other.desk.reply)
		}
	case 4: // sealed with what the attacker holds, under the identifier of the true server; his own hosts he may fool
		if i != 2 && j != 2 {
			b = identityEnds(n.t, byte(i+1), 3).server.Seal(bytes.Clone(answer[:len(answer)-20]))
			copy(b[len(b)-20:], answer[len(answer)-20:len(answer)-16])
		}
	}
	n.deliver(i, j, b, answer)
}

// deliver gives a datagram to an exchanger; only the true answer may be taken.
func (n *network) deliver(i, j int, b, answer []byte) {
	n.now += 10
	x := &n.hosts[i].ask[j]
	_, before := x.Outstanding()
	samples, code := x.Receive(b, hwStamp(hw.Ticks(n.now)))
	n.codes.Add(code)
	_, after := x.Outstanding()
	if fresh := bytes.Equal(b, answer); code == reason.OK && (!fresh || !before) || fresh && before && code != reason.OK {
		n.t.Fatalf("seed %d: %v for %x; the true answer is %x", n.seed, code, b, answer)
	}
	if code == reason.OK {
		n.taken++
		if e := x.Extensions(); len(e) != 32 || e[4] != byte(j) || e[5] != byte(i) {
			n.t.Fatalf("seed %d: host %d hears %x from %d", n.seed, i, e, j)
		}
		return
	}
	if len(samples) != 0 || x.Extensions() != nil || before != after {
		n.t.Fatalf("seed %d: %v, and yet %d samples, fields %x, waiting %v", n.seed, code, len(samples), x.Extensions(), after)
	}
}

func TestAttackerOnTheNetwork(t *testing.T) {
	var total reason.Counts
	for seed := range uint64(20) {
		n := newNetwork(t, seed+1)
		for range 300 {
			i := n.rng.IntN(3)
			n.step(i, (i+1+n.rng.IntN(2))%3)
		}
		for code, times := range n.codes {
			total[code] += times
		}
		if n.taken < 200 {
			t.Errorf("seed %d: only %d of 300 answers were taken: %v", n.seed, n.taken, n.codes.Map())
		}
	}
	for _, code := range []reason.Code{reason.PacketAuthentication, reason.PacketMalformed, reason.PacketOrigin, reason.PacketLate, reason.PacketDuplicate} {
		if total[code] == 0 {
			t.Errorf("%v never happened", code)
		}
	}
	t.Log(total.Map())
}

// A request that is sent again by somebody else is answered, since a server keeps no state of its clients; the answer does not
// help him, as it repeats an old number.
func TestReplayedRequest(t *testing.T) {
	e := identityEnds(t, 1, 2)
	d := lockedDesk(t, nil, e)
	c := lockedDialogue(t, e).ask(false)
	request := bytes.Clone(c.buf)
	if d.ask(request); c.raw(d.reply) != reason.OK {
		t.Fatal(d.code)
	}
	for range 3 {
		if d.ask(request); d.code != reason.OK || len(d.reply) != len(request) {
			t.Fatalf("%v, %x", d.code, d.reply)
		}
		if code := c.raw(d.reply); code != reason.PacketDuplicate {
			t.Errorf("before the next request: %v", code)
		}
	}
	c.ask(false)
	if d.ask(request); c.raw(d.reply) != reason.PacketOrigin {
		t.Error("the answer to an old request was taken")
	}
}
