package roundtrip

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/ntp"
	"github.com/clockd/clockd/internal/nts"
	"github.com/clockd/clockd/reason"
)

// ntsDesk is a responder that speaks NTS, and a client that has keys.
func ntsDesk(t testing.TB, change func(c *ResponderConfig)) (*desk, *nts.Responder, *nts.Session, *rand.ChaCha8) {
	t.Helper()
	rng := rand.NewChaCha8([32]byte{81})
	masters, err := nts.NewMasters(rng, time.Unix(1_800_000_000, 0))
	if err != nil {
		t.Fatal(err)
	}
	r, err := nts.NewResponder(masters, rng)
	if err != nil {
		t.Fatal(err)
	}
	k := nts.Keys{Algorithm: nts.AESSIVCMAC256, ClientToServer: make([]byte, 32), ServerToClient: make([]byte, 32)}
	k.ServerToClient[0] = 1
	cookies, _ := masters.NewCookies(&k, rng)
	session, err := nts.NewSession(k, cookies)
	if err != nil {
		t.Fatal(err)
	}
	return newDesk(t, func(c *ResponderConfig) {
		c.NTS = r
		if change != nil {
			change(c)
		}
	}), r, session, rng
}

func TestAnswersUnderNTS(t *testing.T) {
	d, _, session, rng := ntsDesk(t, func(c *ResponderConfig) {
		c.Require = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	})
	ask := func(q ntp.Packet) (a ntp.Packet) {
		t.Helper()
		request, ok := session.Request(nil, q.Append(nil), rng)
		if !ok {
			t.Fatal("no request")
		}
		if d.ask(request); d.code != reason.OK || len(d.reply) > len(request) {
			t.Fatalf("%v, %d bytes to %d", d.code, len(d.reply), len(request))
		}
		if code := session.Answer(d.reply); code != reason.OK {
			t.Fatal(code)
		}
		a.Decode(d.reply)
		return a
	}
	first := ask(interleavedRequest(1))
	if first.Stratum != 2 || session.Cookies() != nts.MaxCookies {
		t.Errorf("%+v, %d cookies", first, session.Cookies())
	}
	d.r.Sent(d.token, hwStamp(d.now+10), d.clock.Coefficients())
	if second := ask(interleavedRequest(first.Receive)); second.Origin != 0x1111 {
		t.Errorf("not interleaved: %+v", second)
	}
	d.clock.Reset()
	if a := ask(basicRequest()); a.Leap != ntp.LeapUnsynchronised || a.Transmit != 0 {
		t.Errorf("unsynchronised: %+v", a)
	}
	// Without NTS, with a field of another kind, and with an identifier alone, there is nothing that authenticates.
	for _, q := range [][]byte{nil, field(t, 0x7001, 64), field(t, 0x0104, 64)} {
		p := basicRequest()
		p.Extensions = q
		if d.ask(p.Append(nil)); d.code != reason.RequestUnauthenticated || d.reply != nil {
			t.Errorf("%x: %v", q, d.code)
		}
	}
	if s := d.r.Stats(); s.NTS != 3 || s.Authenticated != 0 || s.NTSRefused != 0 {
		t.Errorf("%+v", s)
	}
}

// What an attacker sends without keys costs a client under NTS nothing of its rate; refusals are under the limit of the unauthenticated.
func TestNTSAndTheRateLimit(t *testing.T) {
	d, _, session, rng := ntsDesk(t, func(c *ResponderConfig) { c.RatePerSecond, c.Burst = 0.001, 3 })
	request, _ := session.Request(nil, (&ntp.Packet{Version: 4, Mode: ntp.ModeClient, Transmit: 5}).Append(nil), rng)
	foreign := append([]byte(nil), request...)
	foreign[48+36+4] ^= 1 // the number of the cookie's key
	kisses := 0
	for range 50 {
		d.ask(foreign)
		if d.reply == nil {
			continue
		}
		var a ntp.Packet
		if a.Decode(d.reply); a.ReferenceID != ntp.KissNTSN || a.Stratum != 0 || len(d.reply) != 48+36 || d.code != reason.RequestNTSCookie {
			t.Fatalf("%v, %+v", d.code, a)
		}
		kisses++
	}
	if kisses != 3 {
		t.Errorf("%d refusals, 3 are allowed", kisses)
	}
	if d.ask(request); d.code != reason.OK {
		t.Errorf("the client itself: %v", d.code)
	}
	if s := d.r.Stats(); s.NTSRefused != 3 || s.NTS != 1 {
		t.Errorf("%+v", s)
	}
	altered := append([]byte(nil), request...)
	altered[40] ^= 1
	if d.ask(altered); d.code != reason.RequestNTSAuthenticator || d.reply != nil {
		t.Errorf("altered: %v", d.code)
	}
	if d.ask(append(append([]byte(nil), request...), 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16)); d.code != reason.RequestAuthentication {
		t.Errorf("NTS and a MAC: %v", d.code)
	}
}

// A responder without NTS answers the header of such a request, and its sender refuses that.
func TestNTSWhereItIsNotSpoken(t *testing.T) {
	_, _, session, rng := ntsDesk(t, nil)
	d := newDesk(t, nil)
	request, _ := session.Request(nil, (&ntp.Packet{Version: 4, Mode: ntp.ModeClient, Transmit: 5}).Append(nil), rng)
	if d.ask(request); d.code != reason.OK || len(d.reply) != 48 {
		t.Errorf("%v, %d bytes", d.code, len(d.reply))
	}
	if code := session.Answer(d.reply); code != reason.NTSMissing {
		t.Errorf("%v", code)
	}
}

// The exchanger takes only what its driver vouches for, and sends nothing but the header.
func TestExchangerUnderNTS(t *testing.T) {
	v := &Vouched{NTS: true}
	if !v.Valid() || (&Vouched{NTS: true, KeyID: 1, Length: 20}).Valid() || (&Vouched{}).Valid() {
		t.Error("what is valid")
	}
	var x Exchanger
	x.SetAuthenticator(v)
	rng := rand.NewChaCha8([32]byte{82})
	request, _ := x.Request(rng, 100, false, nil)
	if len(request) != ntp.HeaderLength {
		t.Fatalf("%d bytes", len(request))
	}
	var q ntp.Packet
	q.Decode(request)
	a := ntp.Packet{Version: 4, Mode: ntp.ModeServer, Stratum: 1, Origin: q.Transmit, Receive: 1 << 40, Transmit: 1 << 40}
	if _, code := x.Receive(a.Append(nil), hwStamp(200)); code != reason.PacketAuthentication {
		t.Errorf("nobody vouches: %v", code)
	}
	v.Good = true
	a.MAC = ntp.MAC{Length: 20, KeyID: 7}
	if _, code := x.Receive(a.Append(nil), hwStamp(200)); code != reason.PacketAuthentication {
		t.Errorf("with a MAC: %v", code)
	}
	a.MAC = ntp.MAC{}
	if _, code := x.Receive(a.Append(nil), hwStamp(200)); code != reason.OK {
		t.Errorf("vouched for: %v", code)
	}
}
