package nts

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/ntp"
	"github.com/clockd/clockd/reason"
)

const seed = 72

func source(n byte) *rand.ChaCha8 { return rand.NewChaCha8([32]byte{n, seed}) }

// pair is a client and a server that have exchanged keys, and what an attacker on the path has.
type pair struct {
	t         testing.TB
	rng       *rand.ChaCha8
	masters   *Masters
	session   *Session
	responder *Responder
}

func newPair(t testing.TB, a Algorithm) *pair {
	t.Helper()
	p := &pair{t: t, rng: source(byte(a))}
	var err error
	if p.masters, err = NewMasters(p.rng, time.Unix(1_800_000_000, 0)); err != nil {
		t.Fatal(err)
	}
	if p.responder, err = NewResponder(p.masters, p.rng); err != nil {
		t.Fatal(err)
	}
	p.session = p.exchange(a)
	return p
}

// exchange gives new keys, as a key exchange would.
func (p *pair) exchange(a Algorithm) *Session {
	p.t.Helper()
	k := Keys{Algorithm: a, ClientToServer: make([]byte, a.KeyLength()), ServerToClient: make([]byte, a.KeyLength())}
	_, _ = p.rng.Read(k.ClientToServer)
	_, _ = p.rng.Read(k.ServerToClient)
	cookies, ok := p.masters.NewCookies(&k, p.rng)
	if !ok {
		p.t.Fatal("no cookies")
	}
	s, err := NewSession(k, cookies)
	if err != nil {
		p.t.Fatal(err)
	}
	return s
}

// ask makes a request.
func (p *pair) ask() []byte {
	p.t.Helper()
	h := ntp.Packet{Version: 4, Mode: ntp.ModeClient, Transmit: ntp.Timestamp(p.rng.Uint64() | 1)}
	b, ok := p.session.Request(nil, h.Append(nil), p.rng)
	if !ok {
		p.t.Fatal("no request")
	}
	if len(b) > ntp.MaxLength {
		p.t.Fatalf("a request of %d bytes", len(b))
	}
	return b
}

// reply answers a request, or says why not.
func (p *pair) reply(request []byte) ([]byte, reason.Code) {
	p.t.Helper()
	var q ntp.Packet
	if code := q.Decode(request); code != reason.OK {
		return nil, code
	}
	if !p.responder.Speaks(q.Extensions) {
		return nil, reason.RequestUnauthenticated
	}
	code := p.responder.Open(request, &q)
	a := ntp.Packet{Version: 4, Mode: ntp.ModeServer, Stratum: 1, Origin: q.Transmit, Receive: 1, Transmit: 2}
	var b []byte
	switch code {
	case reason.OK:
		b = p.responder.Seal(a.Append(nil))
	case reason.RequestNTSCookie:
		a.Stratum, a.ReferenceID = 0, ntp.KissNTSN
		b = p.responder.Refuse(a.Append(nil))
	}
	if len(b) > len(request) {
		p.t.Fatalf("an answer of %d bytes to a request of %d", len(b), len(request))
	}
	return b, code
}

func (p *pair) mustReply(request []byte) []byte {
	p.t.Helper()
	b, code := p.reply(request)
	if code != reason.OK {
		p.t.Fatal(code)
	}
	return b
}

func algorithms() []Algorithm { return []Algorithm{AESSIVCMAC256, AES128GCMSIV} }

// padding is how many bytes at the end of an authenticator mean nothing, so that RFC 8915 protects them by nothing.
func padding(a Algorithm) int {
	if a == AES128GCMSIV {
		return leastNonce - gcmSIVNonce
	}
	return 0
}

func TestCookiesAreKeptAtEight(t *testing.T) {
	for _, a := range algorithms() {
		p := newPair(t, a)
		sent := map[string]bool{}
		for i := range 50 {
			lost := i%7 < 3
			request := p.ask()
			var q ntp.Packet
			q.Decode(request)
			f, _ := parse(request, q.Extensions)
			if sent[string(f.cookie)] {
				t.Fatalf("%s: a cookie went out twice", a)
			}
			sent[string(f.cookie)] = true
			if lost {
				continue
			}
			answer := p.mustReply(request)
			if i%7 > 3 && len(answer) != len(request) {
				t.Errorf("%s: an answer of %d bytes to a request of %d: they do not travel alike", a, len(answer), len(request))
			}
			if code := p.session.Answer(answer); code != reason.OK {
				t.Fatal(code)
			}
			if n := p.session.Cookies(); n != MaxCookies {
				t.Errorf("%s: %d cookies after an answer", a, n)
			}
		}
		for p.session.Cookies() > 0 {
			p.ask()
		}
		if b, ok := p.session.Request(nil, make([]byte, 48), p.rng); ok || b != nil {
			t.Errorf("a request without a cookie: %x", b)
		}
	}
}

// Every bit of an answer flipped, every cut and a lengthening: refused, and without effect.
func TestAlteredAnswersAreRefused(t *testing.T) {
	for _, a := range algorithms() {
		p := newPair(t, a)
		request := p.ask()
		answer := p.mustReply(request)
		cookies := p.session.Cookies()
		refuse := func(b []byte, what string, n int) {
			t.Helper()
			if code := p.session.Answer(b); code == reason.OK || code == reason.KissNTSN || p.session.Cookies() != cookies || p.session.Refused() {
				t.Fatalf("%s: %s %d: %v, %d cookies", a, what, n, code, p.session.Cookies())
			}
		}
		for i := range 8 * (len(answer) - padding(a)) {
			answer[i/8] ^= 1 << (i % 8)
			refuse(answer, "bit", i)
			answer[i/8] ^= 1 << (i % 8)
		}
		for i := range answer {
			refuse(answer[:i], "cut to", i)
		}
		refuse(append(bytes.Clone(answer), make([]byte, 28)...), "longer by", 28)
		refuse(append(bytes.Clone(answer), 0, 0, 0, 0), "a crypto-NAK", 4)
		refuse(appendField(bytes.Clone(answer), 0x9999, make([]byte, 24)), "a field after the authenticator", 0)
		refuse(answer[:48], "stripped of all fields", 0)
		refuse(answer[:48+36], "stripped of the authenticator", 0)
		refuse(request, "the request itself", 0)
		if code := p.session.Answer(answer); code != reason.OK {
			t.Errorf("the answer itself after all that: %v", code)
		}
		// Once more it is genuine still (whoever called Request knows that it had its answer), but brings no cookies.
		if code := p.session.Answer(answer); code != reason.OK || p.session.Cookies() != MaxCookies {
			t.Errorf("the same answer again: %v, %d cookies", code, p.session.Cookies())
		}
	}
}

func TestReplaysAndSwaps(t *testing.T) {
	p := newPair(t, AESSIVCMAC256)
	first := p.ask()
	old := p.mustReply(first)
	if code := p.session.Answer(old); code != reason.OK {
		t.Fatal(code)
	}
	second := p.ask()
	if code := p.session.Answer(old); code != reason.NTSUniqueID {
		t.Errorf("an old answer: %v", code)
	}
	answer := p.mustReply(second)
	// The old answer with the new identifier, and the other way round.
	swapped := bytes.Clone(old)
	copy(swapped[48:84], answer[48:84])
	if code := p.session.Answer(swapped); code != reason.NTSAuthenticator {
		t.Errorf("an old answer with the present identifier: %v", code)
	}
	// The answer of another client of the same server, with our identifier.
	other := *p
	other.session = p.exchange(AESSIVCMAC256)
	theirs := p.mustReply(other.ask())
	if code := p.session.Answer(theirs); code != reason.NTSUniqueID {
		t.Errorf("another client's answer: %v", code)
	}
	copy(theirs[48:84], answer[48:84])
	if code := p.session.Answer(theirs); code != reason.NTSAuthenticator {
		t.Errorf("another client's answer with our identifier: %v", code)
	}
	// The header of one and the fields of another.
	mixed := append(bytes.Clone(old[:48]), answer[48:]...)
	if code := p.session.Answer(mixed); code != reason.NTSAuthenticator {
		t.Errorf("an old header: %v", code)
	}
	if code := p.session.Answer(answer); code != reason.OK {
		t.Error(code)
	}
	// A request that is sent again is answered again, since the server remembers nothing: to the client it is a duplicate.
	again := p.mustReply(second)
	if code := p.session.Answer(again); code != reason.OK || p.session.Cookies() != MaxCookies {
		t.Errorf("a second answer: %v", code)
	}
	p.ask()
	if code := p.session.Answer(again); code != reason.NTSUniqueID {
		t.Errorf("a second answer after the next request: %v", code)
	}
}

func TestAlteredRequestsAreRefused(t *testing.T) {
	for _, a := range algorithms() {
		p := newPair(t, a)
		request := p.ask()
		for i := range 8 * (len(request) - padding(a)) {
			request[i/8] ^= 1 << (i % 8)
			if _, code := p.reply(request); code == reason.OK {
				t.Fatalf("%s: bit %d was flipped unseen", a, i)
			}
			request[i/8] ^= 1 << (i % 8)
		}
		for i := range request {
			if _, code := p.reply(request[:i]); code == reason.OK {
				t.Fatalf("cut to %d", i)
			}
		}
		p.mustReply(request)
		// Another client's cookie in our request, or two cookies.
		mine := *p
		mine.session = p.exchange(a)
		theirs := mine.ask()
		n := fieldHeader + cookieLength(a)
		copy(theirs[84:84+n], request[84:84+n])
		if _, code := p.reply(theirs); code != reason.RequestNTSAuthenticator {
			t.Errorf("another client's cookie: %v", code)
		}
		placeholder := bytes.Clone(request)
		for p.session.Cookies() > 0 { // one whose request has a placeholder
			placeholder = p.ask()
		}
		var q ntp.Packet
		q.Decode(placeholder)
		if f, _ := parse(placeholder, q.Extensions); f.placeholders != MaxCookies-1 {
			t.Fatalf("%d placeholders", f.placeholders)
		}
		binary.BigEndian.PutUint16(placeholder[84+n:], fieldCookie)
		if _, code := p.reply(placeholder); code != reason.RequestNTSMalformed {
			t.Errorf("two cookies: %v", code)
		}
	}
}

func TestNAK(t *testing.T) {
	p := newPair(t, AESSIVCMAC256)
	fresh, err := NewMasters(source(99), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	request := p.ask()
	good := p.mustReply(request)
	if err := p.responder.SetMasters(fresh); err != nil {
		t.Fatal(err)
	}
	nak, code := p.reply(request)
	if code != reason.RequestNTSCookie || len(nak) >= len(request) {
		t.Fatalf("%v, %d bytes", code, len(nak))
	}
	for i, alter := range []func([]byte){
		func(b []byte) { b[48+4] ^= 1 },    // the identifier
		func(b []byte) { b[24] ^= 1 },      // the origin
		func(b []byte) { b[15] ^= 1 },      // the code
		func(b []byte) { b[1] = 1 },        // the stratum
		func(b []byte) { b[0] = 4<<3 | 3 }, // the mode
	} {
		bad := bytes.Clone(nak)
		alter(bad)
		if code := p.session.Answer(bad); code == reason.KissNTSN || code == reason.OK || p.session.Refused() {
			t.Errorf("%d: %v", i, code)
		}
	}
	if code := p.session.Answer(nak); code != reason.KissNTSN || !p.session.Refused() {
		t.Errorf("%v", code)
	}
	// Anybody can have said so: the true answer clears it.
	if code := p.session.Answer(good); code != reason.OK || p.session.Refused() {
		t.Errorf("%v", code)
	}
	if code := p.session.Answer(nak); code == reason.KissNTSN || p.session.Refused() {
		t.Errorf("after the answer: %v", code)
	}
}

func TestRotation(t *testing.T) {
	p := newPair(t, AESSIVCMAC256)
	request := p.ask()
	for i := range keptMasters + 1 {
		_, code := p.reply(request)
		if want := i < keptMasters; (code == reason.OK) != want {
			t.Errorf("after %d rotations: %v", i, code)
		}
		next, err := p.masters.Rotate(p.rng, p.masters.Created().Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		p.masters = next
		back, err := ParseMasters(next.Text())
		if err != nil || back.Count() != next.Count() || !back.Created().Equal(next.Created()) || back.keys[0] != next.keys[0] {
			t.Fatalf("%v: %v became %v", err, next, back)
		}
		if err := p.responder.SetMasters(back); err != nil {
			t.Fatal(err)
		}
	}
	if text := p.masters.String() + p.masters.GoString(); strings.Contains(text, "secret") || len(text) > 100 {
		t.Errorf("printed as %s", text)
	}
}

func TestParseMastersRefuses(t *testing.T) {
	m, err := NewMasters(source(5), time.Unix(1_800_000_000, 0))
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Split(string(m.Text()), "\n")[3]
	for _, text := range []string{"", "# nothing\n", line + "\n" + line, line + "x", line[:len(line)-1], strings.Replace(line, "-1 ", "-2 ", 1),
		strings.Replace(line, "T", " ", 1), strings.Repeat("#", maxMasters+1)} {
		if _, err := ParseMasters([]byte(text)); err == nil || strings.Contains(err.Error(), line[len(line)-20:]) {
			t.Errorf("%.80q: %v", text, err)
		}
	}
}

func TestKeyExchangeMessages(t *testing.T) {
	offer := OwnOffer()
	got, err := ParseOffer(offer.Append(nil))
	if err != nil || len(got.Algorithms) != 2 || !got.Compliant {
		t.Fatalf("%+v, %v", got, err)
	}
	if a, ok := got.Choose(); !ok || a != AESSIVCMAC256 {
		t.Errorf("%v", a)
	}
	for _, c := range []struct {
		offer Offer
		want  Algorithm
	}{
		{Offer{[]Algorithm{30, 15}, true}, AES128GCMSIV}, {Offer{[]Algorithm{30, 15}, false}, AESSIVCMAC256},
		{Offer{[]Algorithm{30}, false}, 0}, {Offer{[]Algorithm{1, 2}, true}, 0}, {Offer{[]Algorithm{17, 15}, true}, AESSIVCMAC256},
	} {
		if a, _ := c.offer.Choose(); a != c.want {
			t.Errorf("%+v: %v", c.offer, a)
		}
	}
	grant := Grant{Algorithm: AESSIVCMAC256, Cookies: [][]byte{{1, 2, 3, 4}, {5}}, Server: "ntp.example.org", Port: 1234}
	back, err := ParseGrant(grant.Append(nil), &offer)
	if err != nil || back.Algorithm != 15 || len(back.Cookies) != 2 || back.Server != grant.Server || back.Port != 1234 {
		t.Errorf("%+v, %v", back, err)
	}
}

// message writes records: kind with the critical bit, and a body.
func message(parts ...any) []byte {
	var b []byte
	for i := 0; i < len(parts); i += 2 {
		kind, body := parts[i].(int), parts[i+1].(string)
		b = appendRecord(b, uint16(kind)&^recordCritical, kind&recordCritical != 0, []byte(body))
	}
	return b
}

func TestGrantsThatAreRefused(t *testing.T) {
	const c = recordCritical
	protocol, aead, cookie, end := "\x00\x00", "\x00\x0f", "cookie", ""
	offer := OwnOffer()
	for name, x := range map[string]struct {
		message []byte
		code    reason.Code
	}{
		"good":                  {message(c|1, protocol, c|4, aead, 5, cookie, c, end), reason.OK},
		"unknown, not critical": {message(c|1, protocol, c|4, aead, 5, cookie, 999, "x", c, end), reason.OK},
		"no end":                {message(c|1, protocol, c|4, aead, 5, cookie), reason.KeyExchangeMalformed},
		"end not critical":      {message(c|1, protocol, c|4, aead, 5, cookie, 0, end), reason.KeyExchangeMalformed},
		"end with a body":       {message(c|1, protocol, c|4, aead, 5, cookie, c, "x"), reason.KeyExchangeMalformed},
		"after the end":         {message(c|1, protocol, c|4, aead, 5, cookie, c, end, 5, cookie), reason.KeyExchangeMalformed},
		"unknown, critical":     {message(c|1, protocol, c|4, aead, 5, cookie, c|999, "x", c, end), reason.KeyExchangeMalformed},
		"no protocol":           {message(c|4, aead, 5, cookie, c, end), reason.KeyExchangeMalformed},
		"protocol twice":        {message(c|1, protocol, c|1, protocol, c|4, aead, 5, cookie, c, end), reason.KeyExchangeMalformed},
		"no AEAD":               {message(c|1, protocol, 5, cookie, c, end), reason.KeyExchangeMalformed},
		"AEAD not offered":      {message(c|1, protocol, c|4, "\x00\x10", 5, cookie, c, end), reason.KeyExchangeMalformed},
		"two AEADs":             {message(c|1, protocol, c|4, "\x00\x0f\x00\x1e", 5, cookie, c, end), reason.KeyExchangeMalformed},
		"odd AEAD":              {message(c|1, protocol, c|4, "\x00", 5, cookie, c, end), reason.KeyExchangeMalformed},
		"no AEAD in common":     {message(c|1, protocol, c|4, "", c, end), reason.KeyExchangeNegotiation},
		"no protocol in common": {message(c|1, "", c, end), reason.KeyExchangeNegotiation},
		"another protocol":      {message(c|1, "\x00\x07", c|4, aead, 5, cookie, c, end), reason.KeyExchangeNegotiation},
		"no cookie":             {message(c|1, protocol, c|4, aead, c, end), reason.KeyExchangeMalformed},
		"long cookie only":      {message(c|1, protocol, c|4, aead, 5, strings.Repeat("x", MaxCookie+1), c, end), reason.KeyExchangeMalformed},
		"error":                 {message(c|2, "\x00\x02", c, end), reason.KeyExchangeRefused},
		"unknown error":         {message(c|2, "\x99\x02", c, end), reason.KeyExchangeRefused},
		"error without number":  {message(c|2, "", c, end), reason.KeyExchangeMalformed},
		"warning":               {message(c|1, protocol, c|4, aead, 5, cookie, c|3, "\x00\x01", c, end), reason.KeyExchangeRefused},
		"port 0":                {message(c|1, protocol, c|4, aead, 5, cookie, c|7, "\x00\x00", c, end), reason.KeyExchangeMalformed},
		"a strange server":      {message(c|1, protocol, c|4, aead, 5, cookie, c|6, "a b", c, end), reason.KeyExchangeMalformed},
		"no server":             {message(c|1, protocol, c|4, aead, 5, cookie, c|6, "", c, end), reason.KeyExchangeMalformed},
		"too many records":      {append(bytes.Repeat(message(999, ""), maxRecords), message(c, end)...), reason.KeyExchangeMalformed},
		"too long":              {append(bytes.Repeat(message(999, strings.Repeat("x", 1000)), 9), message(c, end)...), reason.KeyExchangeMalformed},
	} {
		g, err := ParseGrant(x.message, &offer)
		code := reason.OK
		if err != nil {
			code = err.(*ProtocolError).Code
		}
		if code != x.code || (g == nil) != (err != nil) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOffersThatAreRefused(t *testing.T) {
	const c = recordCritical
	for name, x := range map[string]struct{ offer, answer []byte }{
		"critical, unknown": {message(c|1, "\x00\x00", c|4, "\x00\x0f", c|999, "", c, ""), message(c|2, "\x00\x00", c, "")},
		"no AEAD":           {message(c|1, "\x00\x00", c, ""), message(c|2, "\x00\x01", c, "")},
		"no protocol":       {message(c|4, "\x00\x0f", c, ""), message(c|2, "\x00\x01", c, "")},
		"another protocol":  {message(c|1, "\x00\x08", c|4, "\x00\x0f", c, ""), message(c|1, "", c, "")},
		"a cookie":          {message(c|1, "\x00\x00", c|4, "\x00\x0f", 5, "x", c, ""), message(c|2, "\x00\x00", c, "")},
	} {
		_, err := ParseOffer(x.offer)
		if err == nil {
			t.Errorf("%s was taken", name)
			continue
		}
		if got := Refusal(err); !bytes.Equal(got, x.answer) {
			t.Errorf("%s: %x, want %x", name, got, x.answer)
		}
	}
}

func FuzzKeyExchange(f *testing.F) {
	offer := OwnOffer()
	f.Add(offer.Append(nil))
	g := Grant{Algorithm: AES128GCMSIV, Compliant: true, Cookies: [][]byte{make([]byte, 104), make([]byte, 72)}, Server: "2001:db8::1", Port: 123}
	f.Add(g.Append(nil))
	f.Add(NoCommonAEAD())
	f.Add(message(recordCritical|2, "\x00\x02", recordCritical, ""))
	f.Add([]byte{0x80, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := MessageLength(b)
		if err == nil && n > MaxMessage || n > len(b) {
			t.Fatalf("a message of %d bytes in %d", n, len(b))
		}
		if o, err := ParseOffer(b); err == nil {
			if len(o.Algorithms) == 0 {
				t.Fatal("an offer of nothing")
			}
			o.Choose()
		} else if m, bad := MessageLength(Refusal(err)); m == 0 || bad != nil {
			t.Fatalf("the refusal of %v is no message", err)
		}
		g, err := ParseGrant(b, &offer)
		if err != nil {
			return
		}
		back, err := ParseGrant(g.Append(nil), &offer)
		if err != nil || back.Server != g.Server || back.Port != g.Port || len(back.Cookies) != len(g.Cookies) || len(g.Cookies) == 0 || back.Algorithm != g.Algorithm {
			t.Fatalf("%+v became %+v, %v", g, back, err)
		}
	})
}

// FuzzPackets: whatever comes, nothing panics, nothing is believed, and no answer is longer than its request.
func FuzzPackets(f *testing.F) {
	p := newPair(f, AESSIVCMAC256)
	request := p.ask()
	answer := p.mustReply(request)
	f.Add(request)
	f.Add(answer)
	f.Add(answer[:48])
	f.Add(append(bytes.Clone(answer[:48]), 0x04, 0x04, 0, 0))
	f.Add(append(bytes.Clone(answer[:48]), 0x04, 0x04, 0, 16, 0, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		p.t = t
		if _, code := p.reply(b); code == reason.OK && !bytes.Equal(b, request) {
			t.Fatalf("%x was taken for a request", b)
		}
		if code := p.session.Answer(b); code == reason.OK && !bytes.Equal(b, answer) {
			t.Fatalf("%x was taken for an answer", b)
		}
	})
}

// FuzzInside: what a server that has the keys may put into the encrypted fields.
func FuzzInside(f *testing.F) {
	f.Add([]byte{})
	f.Add(appendField(appendField(nil, fieldCookie, make([]byte, 104)), fieldCookie, make([]byte, 12)))
	f.Add(bytes.Repeat(appendField(nil, fieldCookie, make([]byte, 12)), 20))
	f.Add([]byte{2, 4, 0, 0})
	f.Add([]byte{2, 4, 255, 252, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12})
	p := newPair(f, AESSIVCMAC256)
	f.Fuzz(func(t *testing.T, inside []byte) {
		if len(inside) > 1000 {
			return
		}
		p.t = t
		p.session = p.exchange(AESSIVCMAC256)
		request := p.ask()
		a := ntp.Packet{Version: 4, Mode: ntp.ModeServer, Stratum: 1}
		b := appendField(a.Append(nil), fieldUniqueID, request[52:84])
		b = appendAuthenticator(b, p.session.in, make([]byte, leastNonce), inside)
		before := p.session.Cookies()
		code := p.session.Answer(b)
		if n := p.session.Cookies(); n > MaxCookies || n < before || code != reason.OK && code != reason.NTSMalformed {
			t.Fatalf("%v, %d cookies", code, n)
		}
		for _, c := range p.session.cookies {
			if len(c) == 0 || len(c) > MaxCookie {
				t.Fatalf("a cookie of %d bytes was kept", len(c))
			}
		}
		for p.session.Cookies() > 0 {
			p.ask() // fails if a request does not fit a packet
		}
	})
}

func FuzzParseMasters(f *testing.F) {
	m, err := NewMasters(source(5), time.Unix(1_800_000_000, 0))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(m.Text())
	f.Add([]byte(masterPrefix + " 00000000 2026-01-01T00:00:00Z AAAA"))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := ParseMasters(text)
		if err != nil {
			return
		}
		if back, err := ParseMasters(m.Text()); err != nil || back.Count() != m.Count() || m.Count() == 0 || m.Count() > keptMasters {
			t.Fatalf("%v, %v", back, err)
		}
	})
}

func BenchmarkAnswer(b *testing.B) {
	for _, a := range algorithms() {
		b.Run(a.String(), func(b *testing.B) {
			p := newPair(b, a)
			request := p.ask()
			var q ntp.Packet
			q.Decode(request)
			header := make([]byte, 48, 2048)
			b.ReportAllocs()
			for b.Loop() {
				if p.responder.Open(request, &q) != reason.OK {
					b.Fatal("not opened")
				}
				p.responder.Seal(header)
			}
		})
	}
}
