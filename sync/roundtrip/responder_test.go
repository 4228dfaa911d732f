package roundtrip

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/ntp"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// desk is a responder with a clock of 1 GHz that reads 2026-11-23 at counter reading 0, with an interval of ±100 µs.
type desk struct {
	t     testing.TB
	r     *Responder
	clock *virtualclock.Clock
	state ServerState
	now   hw.Ticks
	from  netip.AddrPort
	reply []byte
	token uint64
	code  reason.Code
}

const deskNS = 1_795_400_000e9

func newDesk(t testing.TB, change func(c *ResponderConfig)) *desk {
	t.Helper()
	c := ResponderConfig{Hertz: 1e9, Interleaved: true, Seed: [32]byte{7}}
	if change != nil {
		change(&c)
	}
	r, err := NewResponder(c)
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{
		t: t, r: r, clock: virtualclock.NewClock(virtualclock.PeriodOf(1e9), 500e-6), now: 1000,
		state: ServerState{Stratum: 2, ReferenceID: 0xc0000201, RootDelay: 20e-6, ReferenceTime: virtualclock.Unix(deskNS-1e9, 0)},
		from:  netip.MustParseAddrPort("192.0.2.9:4000"), reply: make([]byte, 0, 64),
	}
	d.clock.Step(0, virtualclock.Unix(deskNS, 0), 0)
	d.bounds(100e-6)
	return d
}

// bounds makes the interval ± half around the clock's reading.
func (d *desk) bounds(half float64) {
	t := d.clock.Time(d.now)
	p := virtualclock.PeriodOf(1e9)
	d.clock.SetBounds(d.now, t.AddSeconds(-half), t.AddSeconds(half), p.Scale(-50e-6), p.Scale(50e-6))
	d.clock.SetStatus(virtualclock.Synchronised, d.now+1e10, d.now+1e11)
}

func (d *desk) ask(request []byte) *desk {
	d.now += 100_000
	arrival := hw.Stamp{At: d.now - 20_000, Error: 50, Kind: hw.StampKernel}
	d.reply, d.token, d.code = d.r.Respond(request, d.from, arrival, d.now, d.clock.Coefficients(), &d.state, d.reply[:0])
	return d
}

// get asks and decodes the answer, which must be there.
func (d *desk) get(p ntp.Packet) ntp.Packet {
	d.t.Helper()
	if d.ask(p.Append(nil)); d.code != reason.OK || len(d.reply) != ntp.HeaderLength {
		d.t.Fatalf("%v, answer %x", d.code, d.reply)
	}
	var a ntp.Packet
	if code := a.Decode(d.reply); code != reason.OK {
		d.t.Fatalf("answer: %v", code)
	}
	return a
}

func basicRequest() ntp.Packet {
	return ntp.Packet{Version: 4, Mode: ntp.ModeClient, Poll: 6, Transmit: 0x1234567890abcdef}
}

func (d *desk) read(c hw.Ticks) virtualclock.Time { return d.clock.Coefficients().Time(c) }

func TestAnswerIsHonest(t *testing.T) {
	d := newDesk(t, nil)
	a := d.get(basicRequest())
	if a.Leap != 0 || a.Version != 4 || a.Mode != ntp.ModeServer || a.Stratum != 2 || a.Poll != 6 || a.Precision != -29 ||
		a.ReferenceID != 0xc0000201 || a.Origin != 0x1234567890abcdef || d.token != 0 {
		t.Errorf("answer %+v, token %d", a, d.token)
	}
	received, sent := virtualclock.Unix(a.Receive.Unix(deskNS)), virtualclock.Unix(a.Transmit.Unix(deskNS))
	if e := received.Seconds(d.read(d.now - 20_000 + 50)); e < 0 || e > 2e-9 {
		t.Errorf("the receive timestamp is %g s after the latest possible arrival", e)
	}
	if e := d.read(d.now).Seconds(sent); e < 0 || e > 1e-9 {
		t.Errorf("the transmit timestamp is %g s before the departure", e)
	}
	if claimed := a.RootDelay.Seconds()/2 + a.RootDispersion.Seconds(); claimed < 100.5e-6 || claimed > 100.5e-6+2e-5 {
		t.Errorf("claimed error %g s, the interval is ±100 µs and has grown for 100 µs", claimed)
	}
	if a.RootDelay.Seconds() > 20e-6 {
		t.Errorf("root delay %g s of 20 µs", a.RootDelay.Seconds())
	}
	if got, _ := a.Reference.Unix(deskNS); got != deskNS-1e9 {
		t.Errorf("reference time %d", got)
	}
	if q := basicRequest(); true {
		q.Version = 3
		if a := d.get(q); a.Version != 3 {
			t.Errorf("version 3 was answered in version %d", a.Version)
		}
	}
}

// The claimed error is not below the clock's whenever the clock is asked: off-centre, slewing, in holdover, hours later.
func TestClaimedErrorCoversTheInterval(t *testing.T) {
	const seed = 31
	rng := rand.New(rand.NewPCG(seed, seed))
	d := newDesk(t, nil)
	answered := 0
	for i := range 20_000 {
		if rng.IntN(4) == 0 {
			time := d.clock.Time(d.now)
			low, high := math.Exp(rng.Float64()*16-16), math.Exp(rng.Float64()*16-16)
			p := virtualclock.PeriodOf(1e9)
			d.clock.SetBounds(d.now, time.AddSeconds(-low), time.AddSeconds(high), p.Scale(-50e-6), p.Scale(50e-6))
			d.clock.SetStatus(virtualclock.Synchronised, d.now+1e9, d.now+1e13)
			d.clock.Steer(d.now, time.AddSeconds((rng.Float64()-0.5)*(low+high)), 0, rng.Float64())
			d.state.RootDelay = math.Exp(rng.Float64()*20 - 18)
		}
		before := d.now
		d.now += hw.Ticks(math.Exp(rng.Float64() * 30))
		now := d.now + 100_000
		a := d.get(basicRequest())
		k := d.clock.Coefficients()
		if a.Leap == ntp.LeapUnsynchronised {
			if b := max(clockBound(k, now), clockBound(k, now-20_000+50)); b < ntp.MaxDispersion {
				t.Fatalf("seed %d, %d: unsynchronised with a bound of %g s", seed, i, b)
			}
			d.now = before
			d.bounds(1e-3)
			continue
		}
		answered++
		claimed := a.RootDelay.Seconds()/2 + a.RootDispersion.Seconds()
		for _, at := range []hw.Ticks{now, now - 20_000 + 50} {
			iv, read := k.Interval(at), k.Time(at)
			if at == now {
				read = virtualclock.Unix(a.Transmit.Unix(deskNS))
			}
			if need := max(read.Seconds(iv.Earliest), iv.Latest.Seconds(read)); claimed < need {
				t.Fatalf("seed %d, %d: claimed %g s, needed %g s", seed, i, claimed, need)
			} else if at == now && claimed > need*(1+1e-4)+40e-6 && claimed > clockBound(k, now-20_000+50)+40e-6 {
				t.Fatalf("seed %d, %d: claimed %g s where %g s would do", seed, i, claimed, need)
			}
		}
	}
	if answered < 10_000 {
		t.Errorf("only %d answers with a time", answered)
	}
}

func TestAnswersWithoutATime(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(d *desk)
		kiss   uint32
	}{
		{"disrupted", func(d *desk) { d.clock.Reset() }, ntp.KissSTEP},
		{"never synchronised", func(d *desk) { d.clock.SetStatus(virtualclock.Unsynchronised, 0, 0) }, ntp.KissINIT},
		{"void", func(d *desk) { d.now += 2e11 }, ntp.KissINIT},
		{"wider than 16 s", func(d *desk) { d.bounds(16) }, ntp.KissINIT},
		{"stratum 0", func(d *desk) { d.state.Stratum = 0 }, ntp.KissINIT},
		{"stratum 16", func(d *desk) { d.state.Stratum = 16 }, ntp.KissINIT},
		{"leap 3", func(d *desk) { d.state.Leap = 3 }, ntp.KissINIT},
	} {
		d := newDesk(t, nil)
		c.change(d)
		a := d.get(basicRequest())
		want := ntp.Packet{
			Leap: 3, Version: 4, Mode: ntp.ModeServer, Poll: 6, Precision: -29, RootDispersion: 16 << 16, ReferenceID: c.kiss,
			Origin: 0x1234567890abcdef,
		}
		if !sameHeader(a, want) || d.token != 0 || d.r.Stats() != (ResponderStats{Unsynchronised: 1}) {
			t.Errorf("%s: %+v, %+v", c.name, a, d.r.Stats())
		}
	}
	d := newDesk(t, nil)
	q := basicRequest()
	for _, k := range []*virtualclock.Coefficients{nil, d.clock.Coefficients()} {
		reply, _, code := d.r.Respond(q.Append(nil), d.from, hw.Stamp{}, d.now, k, nil, nil)
		if code != reason.OK || reply[0]>>6 != 3 || reply[1] != 0 {
			t.Errorf("nothing known: %v, %x", code, reply)
		}
	}
	if d.clock.SetStatus(virtualclock.Holdover, d.now, d.now+1e10); d.get(basicRequest()).Leap != 0 {
		t.Error("holdover is a state with a bound")
	}
}

func sameHeader(a, b ntp.Packet) bool { return string(a.Append(nil)) == string(b.Append(nil)) }

func TestRefusedRequests(t *testing.T) {
	field, _ := ntp.AppendExtension(nil, 0x104, make([]byte, 32), true)
	raw := func(f func(p *ntp.Packet)) []byte { p := basicRequest(); f(&p); return p.Append(nil) }
	for _, c := range []struct {
		name    string
		request []byte
		code    reason.Code
	}{
		{"nothing", nil, reason.RequestShort},
		{"47 bytes", raw(func(*ntp.Packet) {})[:47], reason.RequestShort},
		{"too long", make([]byte, ntp.MaxLength+1), reason.RequestLong},
		{"trailing bytes", append(raw(func(*ntp.Packet) {}), 1), reason.RequestMalformed},
		{"broken extension field", append(raw(func(*ntp.Packet) {}), make([]byte, 32)...), reason.RequestMalformed},
		{"an answer", raw(func(p *ntp.Packet) { p.Mode = ntp.ModeServer }), reason.RequestMode},
		{"symmetric", raw(func(p *ntp.Packet) { p.Mode = ntp.ModeSymmetricActive }), reason.RequestMode},
		{"control", raw(func(p *ntp.Packet) { p.Mode = ntp.ModeControl }), reason.RequestMode},
		{"private", raw(func(p *ntp.Packet) { p.Mode = ntp.ModePrivate }), reason.RequestMode},
		{"version 1", raw(func(p *ntp.Packet) { p.Version = 1 }), reason.RequestVersion},
		{"version 5", raw(func(p *ntp.Packet) { p.Version = 5 }), reason.RequestVersion},
		{"extension field", raw(func(p *ntp.Packet) { p.Extensions = field }), reason.OK},
		{"MAC", raw(func(p *ntp.Packet) { p.MAC = ntp.MAC{Length: 24, KeyID: 3} }), reason.RequestAuthentication},
		{"crypto-NAK", raw(func(p *ntp.Packet) { p.MAC = ntp.MAC{Length: 4} }), reason.RequestAuthentication},
	} {
		d := newDesk(t, nil).ask(c.request)
		if d.code != c.code || (c.code == reason.OK) != (len(d.reply) == ntp.HeaderLength) || (c.code != reason.OK) != (d.reply == nil) || d.token != 0 {
			t.Errorf("%s: %v, want %v; answer %x", c.name, d.code, c.code, d.reply)
		}
	}
}

func TestAllowAndDeny(t *testing.T) {
	list := func(s string) (p []netip.Prefix) {
		for _, f := range strings.Fields(s) {
			p = append(p, netip.MustParsePrefix(f))
		}
		return p
	}
	for _, c := range []struct {
		allow, deny, yes, no string
	}{
		{"", "", "192.0.2.1 2001:db8::1 127.0.0.1 ::ffff:192.0.2.1 fe80::1%eth0", ""},
		{"192.0.2.0/24", "", "192.0.2.1 ::ffff:192.0.2.1", "192.0.3.1 2001:db8::1"},
		{"", "192.0.2.0/24", "192.0.3.1 2001:db8::1", "192.0.2.1 ::ffff:192.0.2.1"},
		{"192.0.2.0/24 2001:db8::/32", "192.0.2.128/25 2001:db8:1::/48", "192.0.2.1 2001:db8::1", "192.0.2.129 2001:db8:1::1 10.0.0.1 ::1"},
		{"192.0.2.129/32", "192.0.2.128/25 0.0.0.0/0", "192.0.2.129", "192.0.2.130 10.0.0.1 2001:db8::1"},
		{"192.0.2.0/24", "192.0.2.0/24", "", "192.0.2.1"},
		{"::ffff:192.0.2.0/120 fe80::/10", "", "192.0.2.1 fe80::1%eth0", "192.0.3.1"},
		{"192.0.2.77/24", "", "192.0.2.1", "192.0.3.77"},
	} {
		d := newDesk(t, func(r *ResponderConfig) { r.Allow, r.Deny = list(c.allow), list(c.deny) })
		q := basicRequest()
		for i, addresses := range []string{c.yes, c.no} {
			for _, a := range strings.Fields(addresses) {
				d.from = netip.AddrPortFrom(netip.MustParseAddr(a), 123)
				if d.ask(q.Append(nil)); (d.code == reason.OK) != (i == 0) || i == 1 && (d.code != reason.RequestDenied || d.reply != nil) {
					t.Errorf("allow %q, deny %q: %s got %v", c.allow, c.deny, a, d.code)
				}
			}
		}
	}
}

func TestBadConfigurations(t *testing.T) {
	for name, change := range map[string]func(c *ResponderConfig){
		"no counter":       func(c *ResponderConfig) { c.Hertz = 0 },
		"NaN":              func(c *ResponderConfig) { c.Hertz = math.NaN() },
		"negative rate":    func(c *ResponderConfig) { c.RatePerSecond = -1 },
		"infinite rate":    func(c *ResponderConfig) { c.RatePerSecond = math.Inf(1) },
		"no burst":         func(c *ResponderConfig) { c.RatePerSecond = 1 },
		"negative clients": func(c *ResponderConfig) { c.MaxClients = -1 },
		"all the memory":   func(c *ResponderConfig) { c.MaxClients = math.MaxInt },
		"worse than 1 s":   func(c *ResponderConfig) { c.Precision = 3 },
		"zero prefix":      func(c *ResponderConfig) { c.Deny = []netip.Prefix{{}} },
	} {
		c := ResponderConfig{Hertz: 1e9}
		change(&c)
		if r, err := NewResponder(c); err == nil || r != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for hertz, want := range map[float64]int8{1e9: -29, 24e6: -24, 1e6: -19, 3e9: -29, 1: -1} {
		if r, err := NewResponder(ResponderConfig{Hertz: hertz}); err != nil || r.precision != want {
			t.Errorf("%g Hz: %v, precision %d, want %d", hertz, err, r.precision, want)
		}
	}
}

func TestRateLimit(t *testing.T) {
	d := newDesk(t, func(c *ResponderConfig) { c.RatePerSecond, c.Burst = 0.25, 3 })
	q := basicRequest()
	ask := func(from string) reason.Code {
		d.from = netip.MustParseAddrPort(from)
		return d.ask(q.Append(nil)).code
	}
	for i := range 3 {
		if code := ask("192.0.2.9:1"); code != reason.OK {
			t.Fatalf("request %d of a burst of 3: %v", i, code)
		}
	}
	kisses := 0
	const over = 4000
	for i := range over {
		if code := ask("192.0.2.9:2"); code != reason.RequestRate {
			t.Fatalf("request %d over the limit: %v", i, code)
		}
		if d.reply == nil {
			continue
		}
		kisses++
		var a ntp.Packet
		want := ntp.Packet{Leap: 3, Version: 4, Mode: ntp.ModeServer, Poll: 6, Precision: -29, ReferenceID: ntp.KissRATE,
			Origin: q.Transmit, Receive: q.Transmit, Transmit: q.Transmit}
		if a.Decode(d.reply); !sameHeader(a, want) {
			t.Fatalf("kiss %+v", a)
		}
	}
	if kisses < over/kissOneIn*3/4 || kisses > over/kissOneIn*5/4 || d.r.Stats().Kisses != uint64(kisses) {
		t.Errorf("%d kisses for %d requests, %+v", kisses, over, d.r.Stats())
	}
	if code := ask("192.0.2.10:1"); code != reason.OK {
		t.Errorf("another client: %v", code)
	}
	// 4 s give one more token, which is gone after one request.
	d.now += 4e9
	if a, b := ask("192.0.2.9:1"), ask("192.0.2.9:1"); a != reason.OK || b != reason.RequestRate {
		t.Errorf("after 4 s: %v, %v", a, b)
	}
	// A /64 is one client.
	for i, from := range []string{"[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8::ffff:3]:1"} {
		if code := ask(from); code != reason.OK {
			t.Errorf("%d: %v", i, code)
		}
	}
	if a, b := ask("[2001:db8::4]:1"), ask("[2001:db8:0:1::4]:1"); a != reason.RequestRate || b != reason.OK {
		t.Errorf("same /64: %v, other: %v", a, b)
	}
	// The kiss asks for no more than the poll interval of the limit.
	q.Poll = -3
	for d.code, d.reply = ask("192.0.2.9:1"), nil; d.reply == nil; {
		ask("192.0.2.9:1")
	}
	if poll := int8(d.reply[2]); poll != 2 {
		t.Errorf("the kiss asks for a poll of 2^%d s, the limit is one in 4 s", poll)
	}
	// A counter that goes backwards gives no tokens and takes none.
	d.now -= 1e9
	if code := ask("192.0.2.9:1"); code != reason.RequestRate {
		t.Errorf("counter backwards: %v", code)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	d := newDesk(t, func(c *ResponderConfig) { c.RatePerSecond, c.Burst, c.MaxClients = 1, 2, 100 })
	if n := len(d.r.limit.entries) * ways; n < 100 || n > 256 {
		t.Fatalf("%d entries for 100 clients", n)
	}
	sets, q := len(d.r.limit.entries), basicRequest()
	q.Origin = 1
	const seed = 41
	rng := rand.New(rand.NewPCG(seed, seed))
	for range 50_000 {
		var b [16]byte
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		d.from = netip.AddrPortFrom(netip.AddrFrom16(b), 1)
		if d.ask(q.Append(nil)); d.code != reason.OK {
			t.Fatalf("seed %d: a new client: %v", seed, d.code)
		}
	}
	if len(d.r.limit.entries) != sets || len(d.r.pairs.entries) != sets {
		t.Error("the tables grew")
	}
	used := 0
	for _, set := range d.r.limit.entries {
		for _, e := range set {
			if e.used {
				used++
			}
		}
	}
	if used != sets*ways {
		t.Errorf("%d of %d places are in use after 50,000 clients", used, sets*ways)
	}
	// The client that asked last is still limited: the stalest go first.
	d.ask(q.Append(nil))
	if d.ask(q.Append(nil)); d.code != reason.RequestRate {
		t.Errorf("the third request in a row: %v", d.code)
	}
}

// interleavedRequest asks when the answer with that receive timestamp left.
func interleavedRequest(origin ntp.Timestamp) ntp.Packet {
	return ntp.Packet{Version: 4, Mode: ntp.ModeClient, Origin: origin, Receive: 0x1111, Transmit: 0x2222}
}

func TestInterleavedServer(t *testing.T) {
	d := newDesk(t, nil)
	first := d.get(basicRequest())
	if d.token != 0 {
		t.Error("who does not ask for the interleaved mode takes up memory")
	}
	// The first one that asks is answered in basic mode, and remembered.
	second := d.get(interleavedRequest(first.Receive))
	if second.Origin != 0x2222 || d.token == 0 {
		t.Fatalf("second answer %+v, token %d", second, d.token)
	}
	sent := d.now
	d.r.Sent(d.token, hw.Stamp{At: sent + 3, Kind: hw.StampUser}, d.clock.Coefficients())
	d.r.Sent(d.token, hw.Stamp{At: sent + 7000, Error: 100, Kind: hw.StampKernel}, d.clock.Coefficients())
	third := d.get(interleavedRequest(second.Receive))
	if third.Origin != 0x1111 || third.Receive == second.Receive {
		t.Fatalf("third answer %+v", third)
	}
	if e := d.read(sent + 6900).Seconds(virtualclock.Unix(third.Transmit.Unix(deskNS))); e < 0 || e > 1e-9 {
		t.Errorf("the transmit timestamp is %g s before the departure", e)
	}
	if d.r.Stats() != (ResponderStats{Answered: 3, Interleaved: 1}) {
		t.Errorf("%+v", d.r.Stats())
	}
	// Once only: the request again, as after the loss of its answer.
	if again := d.get(interleavedRequest(second.Receive)); again.Origin != 0x2222 {
		t.Errorf("the same pair was used twice: %+v", again)
	}
	// The third answer's departure was never told.
	if fourth := d.get(interleavedRequest(third.Receive)); fourth.Origin != 0x2222 {
		t.Errorf("a departure that nobody told: %+v", fourth)
	}
}

func TestInterleavedIsRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(d *desk, q *ntp.Packet)
	}{
		{"another client", func(d *desk, q *ntp.Packet) { d.from = netip.MustParseAddrPort("192.0.2.10:4000") }},
		{"receive equals transmit", func(d *desk, q *ntp.Packet) { q.Receive = q.Transmit }},
		{"another origin", func(d *desk, q *ntp.Packet) { q.Origin += 2 }},
		{"the transmit timestamp as origin", func(d *desk, q *ntp.Packet) { q.Origin &^= 1 }},
		{"no origin", func(d *desk, q *ntp.Packet) { q.Origin = 0 }},
		{"the clock was stepped", func(d *desk, q *ntp.Packet) {
			d.clock.Step(d.now, d.clock.Time(d.now).AddSeconds(1), 0)
			d.bounds(1e-4)
		}},
	} {
		// So few places that all pairs share one.
		d := newDesk(t, func(c *ResponderConfig) { c.MaxClients = 1 })
		answer := d.get(interleavedRequest(1))
		d.r.Sent(d.token, hw.Stamp{At: d.now + 10, Kind: hw.StampKernel}, d.clock.Coefficients())
		q := interleavedRequest(answer.Receive)
		c.change(d, &q)
		if a := d.get(q); a.Origin != q.Transmit || d.r.Stats().Interleaved != 0 {
			t.Errorf("%s: %+v", c.name, a)
		}
	}
	d := newDesk(t, func(c *ResponderConfig) { c.Interleaved = false })
	if d.get(interleavedRequest(1)); d.token != 0 {
		t.Error("interleaved mode is off, and yet a token")
	}
	d.r.Sent(1, hw.Stamp{Kind: hw.StampKernel}, d.clock.Coefficients())
	// Another port of the same client is the same client (RFC 9769).
	d = newDesk(t, nil)
	answer := d.get(interleavedRequest(1))
	d.r.Sent(d.token, hw.Stamp{At: d.now + 10, Kind: hw.StampKernel}, d.clock.Coefficients())
	d.from = netip.AddrPortFrom(d.from.Addr(), 4001)
	if a := d.get(interleavedRequest(answer.Receive)); a.Origin != 0x1111 {
		t.Errorf("another port: %+v", a)
	}
}

func TestSentIsRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		sent func(d *desk)
	}{
		{"no stamp", func(d *desk) { d.r.Sent(d.token, hw.Stamp{At: d.now}, d.clock.Coefficients()) }},
		{"no clock", func(d *desk) { d.r.Sent(d.token, hw.Stamp{At: d.now, Kind: hw.StampUser}, nil) }},
		{"unknown token", func(d *desk) {
			d.r.Sent(d.token+1<<32, hw.Stamp{At: d.now, Kind: hw.StampUser}, d.clock.Coefficients())
			d.r.Sent(math.MaxUint64, hw.Stamp{At: d.now, Kind: hw.StampUser}, d.clock.Coefficients())
			d.r.Sent(0, hw.Stamp{At: d.now, Kind: hw.StampUser}, d.clock.Coefficients())
		}},
		{"clock lost in between", func(d *desk) {
			k := *d.clock.Coefficients()
			k.Status = virtualclock.Disrupted
			d.r.Sent(d.token, hw.Stamp{At: d.now, Kind: hw.StampUser}, &k)
		}},
		{"clock stepped in between", func(d *desk) {
			k := *d.clock.Coefficients()
			k.Epoch++
			d.r.Sent(d.token, hw.Stamp{At: d.now, Kind: hw.StampUser}, &k)
		}},
	} {
		d := newDesk(t, nil)
		answer := d.get(interleavedRequest(1))
		c.sent(d)
		if a := d.get(interleavedRequest(answer.Receive)); a.Origin != 0x2222 {
			t.Errorf("%s: %+v", c.name, a)
		}
	}
}

// A departure that is reported as earlier than the answer was made is one that is reported with a large error.
func TestDepartureIsNotBeforeTheAnswer(t *testing.T) {
	d := newDesk(t, nil)
	answer := d.get(interleavedRequest(1))
	sent := d.now
	d.r.Sent(d.token, hw.Stamp{At: sent + 10, Error: 1_000_000, Kind: hw.StampKernel}, d.clock.Coefficients())
	a := d.get(interleavedRequest(answer.Receive))
	if a.Origin != 0x1111 || a.Transmit != answer.Transmit {
		t.Errorf("answer %+v after %+v", a, answer)
	}
}

// What arrived before the clock was stepped has no reading on it: it is said to have arrived after the step, which is safe.
func TestArrivalBeforeTheStep(t *testing.T) {
	d := newDesk(t, nil)
	for range 200 {
		d.get(basicRequest())
	}
	d.now += 50_000
	d.clock.Step(d.now, d.clock.Time(d.now).AddSeconds(-5), 0)
	d.bounds(1e-4)
	stepped := d.now
	q := basicRequest()
	reply, _, code := d.r.Respond(q.Append(nil), d.from, hw.Stamp{At: stepped - 40_000, Kind: hw.StampKernel}, stepped+1000, d.clock.Coefficients(), &d.state, nil)
	var a ntp.Packet
	if code != reason.OK || a.Decode(reply) != reason.OK {
		t.Fatal(code)
	}
	if e := virtualclock.Unix(a.Receive.Unix(deskNS)).Seconds(d.read(stepped)); e < 0 || e > 2e-9 {
		t.Errorf("received %g s after the step", e)
	}
}

func TestTimestampsAreUniqueAndOrdered(t *testing.T) {
	const seed = 51
	rng := rand.New(rand.NewPCG(seed, seed))
	d := newDesk(t, nil)
	seen := map[ntp.Timestamp]int{}
	for i := range 50_000 {
		// Many requests in one tick, some handled out of order, the clock stepped now and then, also back.
		if rng.IntN(3) == 0 {
			d.now += hw.Ticks(rng.IntN(2000))
		}
		if rng.IntN(500) == 0 {
			d.clock.Step(d.now, d.clock.Time(d.now).AddSeconds((rng.Float64()-0.5)*1e-5), 0)
			d.bounds(1e-4)
		}
		arrival := hw.Stamp{At: d.now - hw.Ticks(rng.IntN(3000)), Error: hw.Ticks(rng.IntN(500)), Kind: hw.StampKernel}
		q := basicRequest()
		reply, _, _ := d.r.Respond(q.Append(nil), d.from, arrival, d.now, d.clock.Coefficients(), &d.state, d.reply[:0])
		var a ntp.Packet
		if code := a.Decode(reply); code != reason.OK {
			t.Fatal(code)
		}
		// Within one epoch and the next three, all differ.
		epoch := int(d.clock.Coefficients().Epoch)
		if e, ok := seen[a.Receive]; ok && epoch-e < 4 {
			t.Fatalf("seed %d, answer %d: receive timestamp %#x of epoch %d again in epoch %d", seed, i, a.Receive, e, epoch)
		}
		seen[a.Receive] = epoch
		if a.Receive&1 != 1 || a.Transmit&1 != 0 || a.Transmit == 0 || a.Transmit.Sub(a.Receive) <= 0 {
			t.Fatalf("seed %d, answer %d: received %#x, sent %#x", seed, i, a.Receive, a.Transmit)
		}
		late := virtualclock.Unix(a.Transmit.Unix(deskNS)).Seconds(d.read(d.now))
		bound := clockBound(d.clock.Coefficients(), d.now)
		if claimed := a.RootDelay.Seconds()/2 + a.RootDispersion.Seconds(); late > 0 && claimed < bound+late {
			t.Fatalf("seed %d, answer %d: sent %g s after the reading, claimed %g s for a bound of %g s", seed, i, late, claimed, bound)
		}
	}
}

func TestReceiveTimestampsAreNeverIssuedTwice(t *testing.T) {
	const seed = 52
	rng := rand.New(rand.NewPCG(seed, seed))
	for _, start := range []ntp.Timestamp{1 << 40, math.MaxUint64 - 5000} {
		var u issued
		seen := map[ntp.Timestamp]bool{}
		for i := range ntp.Timestamp(20_000) {
			in := start + i/8*receiveStep + ntp.Timestamp(rng.IntN(100))*receiveStep | 1
			out := u.unique(in)
			if seen[out] || out.Sub(in) < 0 || out&(receiveStep-1) != in&(receiveStep-1) {
				t.Fatalf("seed %d: %#x became %#x, seen before: %v", seed, in, out, seen[out])
			}
			seen[out] = true
		}
	}
	// A request that was overtaken keeps its time.
	var u issued
	for _, v := range []ntp.Timestamp{1001, 2001, 1501, 1509} {
		if got := u.unique(v); got != v {
			t.Errorf("%d became %d", v, got)
		}
	}
	if got := u.unique(1501); got != 2009 {
		t.Errorf("1501 again became %d", got)
	}
}

// What the order of the timestamps costs is part of the claimed error. The bound lies so near below a step of the wire format that
// a nanosecond shows.
func TestOrderOfTimestampsIsPaidFor(t *testing.T) {
	d := newDesk(t, nil)
	d.state.RootDelay = 0
	paid := 0
	for range 200 {
		d.now += 1237
		half := 7.0/65536 - 0.1e-9
		d.bounds(half)
		q := basicRequest()
		reply, _, _ := d.r.Respond(q.Append(nil), d.from, hw.Stamp{At: d.now, Kind: hw.StampKernel}, d.now, d.clock.Coefficients(), &d.state, nil)
		var a ntp.Packet
		if code := a.Decode(reply); code != reason.OK {
			t.Fatal(code)
		}
		late := virtualclock.Unix(a.Transmit.Unix(deskNS)).Seconds(d.read(d.now))
		if claimed := a.RootDispersion.Seconds(); claimed < half+late {
			t.Fatalf("sent %g s after the reading, claimed %g s for a bound of %g s", late, claimed, half)
		}
		if late > 0.1e-9 {
			paid++
		}
	}
	if paid < 50 {
		t.Errorf("only %d of 200 answers had to be moved", paid)
	}
}

// The transmit timestamp of an interleaved answer was read when the clock may have been worse than it is now.
func TestInterleavedAnswerClaimsTheErrorOfItsTime(t *testing.T) {
	for name, sent := range map[string]float64{"worse when it answered": 1e-4, "worse when it left": 5e-3} {
		d := newDesk(t, nil)
		d.bounds(3e-3)
		second := d.get(interleavedRequest(1))
		d.bounds(sent)
		d.r.Sent(d.token, hw.Stamp{At: d.now + 10, Kind: hw.StampKernel}, d.clock.Coefficients())
		d.bounds(1e-6)
		third := d.get(interleavedRequest(second.Receive))
		need := max(3e-3, sent)
		if got := third.RootDelay.Seconds()/2 + third.RootDispersion.Seconds(); third.Origin != 0x1111 || got < need || got > need+1e-4 {
			t.Errorf("%s: claimed %g s, the timestamp is worth ±%g s", name, got, need)
		}
		if fourth := d.get(basicRequest()); fourth.RootDispersion.Seconds() > 1e-4 {
			t.Errorf("%s: claimed %g s for a clock of ±1 µs", name, fourth.RootDispersion.Seconds())
		}
	}
}

func TestReferenceTimeIsNotAfterTheAnswer(t *testing.T) {
	d := newDesk(t, nil)
	d.state.ReferenceTime = d.read(d.now + 1e9)
	if a := d.get(basicRequest()); a.Reference != a.Transmit {
		t.Errorf("reference time %#x of an answer of %#x", a.Reference, a.Transmit)
	}
}

func TestAnswersThroughTheRollover(t *testing.T) {
	const rollover = (1<<32 - ntp.UnixEpoch) * 1_000_000_000
	d := newDesk(t, nil)
	d.clock.Step(d.now, virtualclock.Unix(rollover, 0).AddSeconds(-300e-6), 0)
	d.bounds(1e-4)
	for range 6 {
		a := d.get(basicRequest())
		got, want := virtualclock.Unix(a.Transmit.Unix(rollover)), d.read(d.now)
		if e := want.Seconds(got); e < 0 || e > 1e-9 {
			t.Errorf("%v was sent as %v (%#x)", want, got, a.Transmit)
		}
	}
	// Exactly at the first instant of the era a timestamp would read as unknown.
	if v := transmitTimestamp(virtualclock.Unix(rollover, 0)); v != math.MaxUint64-1 {
		t.Errorf("sent at the first instant of era 1: %#x", v)
	}
	if v := receiveTimestamp(virtualclock.Unix(rollover, 0), 0); v != 1 {
		t.Errorf("received at the first instant of era 1: %#x", v)
	}
}

func TestAnswerDoesNotAllocate(t *testing.T) {
	d := newDesk(t, func(c *ResponderConfig) {
		c.RatePerSecond, c.Burst = 1e9, 1000
		c.Allow = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}
	})
	q := interleavedRequest(1)
	request := q.Append(nil)
	if n := testing.AllocsPerRun(2000, func() {
		d.ask(request)
		d.r.Sent(d.token, hw.Stamp{At: d.now + 10, Kind: hw.StampKernel}, d.clock.Coefficients())
		copy(request[24:32], d.reply[32:40])
	}); n != 0 {
		t.Errorf("%v allocations per answer", n)
	}
	if s := d.r.Stats(); s.Interleaved < 1990 {
		t.Errorf("%+v", s)
	}
}

func FuzzRespond(f *testing.F) {
	for _, p := range []ntp.Packet{basicRequest(), interleavedRequest(1), {Version: 3, Mode: ntp.ModeClient, Transmit: 1}, {Version: 4, Mode: ntp.ModeServer}} {
		f.Add(p.Append(nil), []byte{192, 0, 2, 1}, uint8(0))
	}
	field, _ := ntp.AppendExtension(nil, 0x104, make([]byte, 32), true)
	p := ntp.Packet{Version: 4, Mode: ntp.ModeClient, Extensions: field, MAC: ntp.MAC{Length: 20}}
	f.Add(p.Append(nil), make([]byte, 16), uint8(3))
	f.Add(make([]byte, 2000), []byte{}, uint8(7))
	f.Fuzz(func(t *testing.T, request, address []byte, flags uint8) {
		d := newDesk(t, func(c *ResponderConfig) {
			c.Interleaved = flags&1 == 0
			c.MaxClients = 8
			if flags&2 != 0 {
				c.RatePerSecond, c.Burst = 0.001, 1
			}
			if flags&4 != 0 {
				c.Deny = []netip.Prefix{netip.MustParsePrefix("128.0.0.0/1")}
			}
		})
		if flags&8 != 0 {
			d.clock.Reset()
		}
		from, _ := netip.AddrFromSlice(address)
		d.from = netip.AddrPortFrom(from, 1)
		for range 3 {
			d.ask(request)
			if len(d.reply) > len(request) {
				t.Fatalf("%d bytes were answered with %d", len(request), len(d.reply))
			}
			if d.reply == nil {
				if d.code == reason.OK {
					t.Fatal("no answer and no reason")
				}
				continue
			}
			if request[0]&7 != byte(ntp.ModeClient) || d.reply[0]&7 != byte(ntp.ModeServer) || d.reply[0]>>3&7 != request[0]>>3&7 {
				t.Fatalf("%x was answered with %x", request, d.reply)
			}
			if d.code != reason.OK && d.code != reason.RequestRate {
				t.Fatalf("answered, and yet %v", d.code)
			}
			d.r.Sent(d.token, hw.Stamp{At: d.now, Kind: hw.StampKernel}, d.clock.Coefficients())
		}
	})
}

func BenchmarkRespond(b *testing.B) {
	for _, c := range []struct {
		name   string
		change func(c *ResponderConfig)
		origin ntp.Timestamp
	}{
		{"basic", nil, 0},
		{"limited", func(c *ResponderConfig) { c.RatePerSecond, c.Burst = 1e9, 1000 }, 0},
		{"interleaved", nil, 1},
	} {
		b.Run(c.name, func(b *testing.B) {
			d := newDesk(b, c.change)
			q := interleavedRequest(c.origin)
			request := q.Append(nil)
			b.ReportAllocs()
			for b.Loop() {
				d.ask(request)
				if c.origin != 0 {
					d.r.Sent(d.token, hw.Stamp{At: d.now + 10, Kind: hw.StampKernel}, d.clock.Coefficients())
					copy(request[24:32], d.reply[32:40])
				}
				if d.now > 1e10 {
					d.now = 1000
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "answers/s")
		})
	}
}
