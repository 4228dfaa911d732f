package roundtrip

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/ntp"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// dialogue is an exchanger and a server that answers as the test tells it to.
type dialogue struct {
	t        testing.TB
	x        Exchanger
	rng      *rand.ChaCha8
	now      hw.Ticks
	request  ntp.Packet
	sequence uint32
	buf      []byte
}

func newDialogue(t testing.TB) *dialogue {
	return &dialogue{t: t, rng: rand.NewChaCha8([32]byte{1}), now: 1000}
}

func (d *dialogue) ask(followUp bool) *dialogue {
	d.now += 1000
	d.buf, d.sequence = d.x.Request(d.rng, d.now, followUp, d.buf[:0])
	if code := d.request.Decode(d.buf); code != reason.OK {
		d.t.Fatalf("our own request: %v", code)
	}
	d.x.Sent(d.sequence, hw.Stamp{At: d.now + 10, Kind: hw.StampUser})
	return d
}

// answer is a good answer to the last request, received at receive and sent a microsecond later.
func (d *dialogue) answer(receive ntp.Timestamp) ntp.Packet {
	return ntp.Packet{
		Version: 4, Mode: ntp.ModeServer, Stratum: 2, Precision: -20, RootDelay: 1 << 10, RootDispersion: 1 << 8,
		ReferenceID: 0xc0000201, Reference: receive - 1<<34, Origin: d.request.Transmit, Receive: receive, Transmit: receive + 4295,
	}
}

// interleaved is a good interleaved answer.
func (d *dialogue) interleaved(receive, transmit ntp.Timestamp) ntp.Packet {
	p := d.answer(receive)
	p.Origin, p.Transmit = d.request.Receive, transmit
	return p
}

func (d *dialogue) arrival() hw.Stamp {
	d.now += 500
	return hw.Stamp{At: d.now, Error: 5, Kind: hw.StampKernel}
}

func (d *dialogue) receive(p ntp.Packet) ([]Sample, reason.Code) {
	return d.x.Receive(p.Append(nil), d.arrival())
}

func (d *dialogue) want(what string, p ntp.Packet, code reason.Code, samples int) []Sample {
	d.t.Helper()
	got, c := d.receive(p)
	if c != code || len(got) != samples {
		d.t.Fatalf("%s: %v and %d samples, want %v and %d", what, c, len(got), code, samples)
	}
	return got
}

// someTime is 2026-11-23 in era 0.
const someTime = ntp.Timestamp(0xeeae2c9726091cd7)

func TestRequestSaysNothingButItsNonces(t *testing.T) {
	d := newDialogue(t)
	seen := map[ntp.Timestamp]bool{}
	for i := range 200 {
		d.ask(false)
		if want := (ntp.Packet{Version: 4, Mode: ntp.ModeClient, Transmit: d.request.Transmit}); !bytes.Equal(d.buf, want.Append(nil)) {
			t.Fatalf("request %d is %x", i, d.buf)
		}
		if d.request.Transmit == 0 || seen[d.request.Transmit] {
			t.Fatalf("request %d repeats the nonce %#x", i, d.request.Transmit)
		}
		seen[d.request.Transmit] = true
		if d.sequence != uint32(i+1) {
			t.Fatalf("request %d has number %d", i, d.sequence)
		}
	}
	// A first request cannot be interleaved, whatever was asked for.
	if d.ask(true); d.request.Receive != 0 || d.request.Origin != 0 {
		t.Fatalf("interleaved without a previous answer: %x", d.buf)
	}
	d.want("answer", d.answer(someTime), reason.OK, 1)
	d.ask(true)
	if d.request.Origin != someTime || d.request.Receive == 0 || d.request.Receive == d.request.Transmit || seen[d.request.Receive] {
		t.Fatalf("interleaved request %x", d.buf)
	}
	want := ntp.Packet{Version: 4, Mode: ntp.ModeClient, Origin: someTime, Receive: d.request.Receive, Transmit: d.request.Transmit}
	if !bytes.Equal(d.buf, want.Append(nil)) {
		t.Fatalf("interleaved request %x", d.buf)
	}
}

func TestBasicSample(t *testing.T) {
	d := newDialogue(t).ask(false)
	p := d.answer(someTime)
	s := d.want("answer", p, reason.OK, 1)[0]
	// 2⁻²⁰ s + 2¹⁰/2¹⁶/2 s + 2⁸/2¹⁶ s, the next float64.
	e := math.Ldexp(1, -20) + math.Ldexp(1, -7) + math.Ldexp(1, -8)
	want := Sample{
		Depart: hw.Stamp{At: 2010, Kind: hw.StampUser}, Arrive: hw.Stamp{At: 2500, Error: 5, Kind: hw.StampKernel},
		Receive: virtualclock.Unix(p.Receive.Unix(1_795_000_000e9)), Transmit: virtualclock.Unix(p.Transmit.Unix(1_795_000_000e9)),
		ServerError: math.Nextafter(e, 1), RootDelay: 1.0 / 64, RootDispersion: 1.0 / 256, Stratum: 2, ReferenceID: 0xc0000201,
	}
	if s != want {
		t.Errorf("\n got %+v\nwant %+v", s, want)
	}
	if d := s.Transmit.Seconds(s.Receive); math.Abs(d-1e-6) > 1e-9 {
		t.Errorf("the server took %g s", d)
	}
}

func TestInterleavedAnswerCompletesThePreviousExchange(t *testing.T) {
	d := newDialogue(t).ask(true)
	first := d.want("first", d.answer(someTime), reason.OK, 1)[0]
	d.x.Sent(1, hw.Stamp{At: 2020, Error: 4, Kind: hw.StampKernel}) // late, after the answer
	d.ask(true)
	p := d.interleaved(someTime+1<<33, someTime+5000)
	p.RootDispersion = 1 << 6
	got := append([]Sample(nil), d.want("second", p, reason.OK, 2)...)
	done, half := got[0], got[1]
	if !done.Interleaved || done.HalfOnly || done.Receive != first.Receive || done.Arrive != first.Arrive ||
		done.Depart != (hw.Stamp{At: 2020, Error: 4, Kind: hw.StampKernel}) ||
		done.Transmit != virtualclock.Unix((someTime+5000).Unix(1_795_000_000e9)) {
		t.Errorf("completed %+v", done)
	}
	if done.ServerError != first.ServerError {
		t.Errorf("the error of the completed exchange is %g, that of its receive timestamp %g", done.ServerError, first.ServerError)
	}
	if half.Interleaved || !half.HalfOnly || half.Receive != virtualclock.Unix((someTime+1<<33).Unix(1_795_000_000e9)) ||
		half.Depart.At != 3510 || half.Transmit != (virtualclock.Time{}) {
		t.Errorf("half %+v", half)
	}
	if !(half.ServerError < first.ServerError) {
		t.Errorf("the new answer's error is %g, the old one's %g", half.ServerError, first.ServerError)
	}
	if !d.x.Interleaved() {
		t.Error("the server was seen to interleave")
	}
	// The next one completes the second, not the first again.
	d.ask(true)
	if d.request.Origin != someTime+1<<33 {
		t.Errorf("the third request asks for %#x", d.request.Origin)
	}
	done = d.want("third", d.interleaved(someTime+1<<34, someTime+1<<33+700), reason.OK, 2)[0]
	if done.Receive != half.Receive || done.Depart != half.Depart || done.Arrive != half.Arrive {
		t.Errorf("third: completed %+v", done)
	}
}

func TestServerThatStopsInterleaving(t *testing.T) {
	d := newDialogue(t).ask(true)
	d.want("first", d.answer(someTime), reason.OK, 1)
	d.ask(true).want("interleaved", d.interleaved(someTime+1<<33, someTime+5000), reason.OK, 2)
	for i := range ntp.Timestamp(basicRun) {
		if !d.x.Interleaved() {
			t.Fatalf("given up after %d basic answers", i)
		}
		s := d.ask(true).want("basic", d.answer(someTime+(i+2)<<33), reason.OK, 1)[0]
		if s.Interleaved || s.HalfOnly {
			t.Fatalf("basic answer to an interleaved request: %+v", s)
		}
	}
	if d.x.Interleaved() {
		t.Error("the server no longer interleaves")
	}
}

func TestInterleavedAfterLosses(t *testing.T) {
	d := newDialogue(t).ask(true)
	d.want("first", d.answer(someTime), reason.OK, 1)
	for i := range interleavedTries - 1 {
		if d.ask(true); d.request.Origin != someTime || d.request.Receive == 0 {
			t.Fatalf("request %d after a loss: %x", i, d.buf)
		}
		d.x.Expire()
	}
	s := d.ask(true).want("after losses", d.interleaved(someTime+1<<40, someTime+5000), reason.OK, 2)
	if s[0].Receive != virtualclock.Unix(someTime.Unix(1_795_000_000e9)) || s[0].Depart.At != 2010 {
		t.Errorf("completed %+v", s[0])
	}
	for range interleavedTries {
		d.ask(true)
	}
	if d.ask(true); d.request.Receive != 0 || d.request.Origin != 0 {
		t.Errorf("an answer that long ago is asked for: %x", d.buf)
	}
	d.want("basic", d.answer(someTime+1<<41), reason.OK, 1)
}

// Every rejection, by name; whether the request still waits afterwards; and that a good answer is then taken as if nothing had been.
func TestRejections(t *testing.T) {
	change := func(f func(p *ntp.Packet)) func(d *dialogue) []byte {
		return func(d *dialogue) []byte {
			p := d.answer(someTime)
			f(&p)
			return p.Append(nil)
		}
	}
	for _, c := range []struct {
		name  string
		bytes func(d *dialogue) []byte
		code  reason.Code
		ends  bool
	}{
		{"nothing", func(*dialogue) []byte { return nil }, reason.PacketTooShort, false},
		{"47 bytes", func(d *dialogue) []byte { p := d.answer(someTime); return p.Append(nil)[:47] }, reason.PacketTooShort, false},
		{"too long", func(d *dialogue) []byte { p := d.answer(someTime); return append(p.Append(nil), make([]byte, 1400)...) }, reason.PacketTooLong, false},
		{"trailing bytes", func(d *dialogue) []byte { p := d.answer(someTime); return append(p.Append(nil), 1, 2, 3) }, reason.PacketMalformed, false},
		{"version 2", change(func(p *ntp.Packet) { p.Version = 2 }), reason.PacketVersion, false},
		{"version 5", change(func(p *ntp.Packet) { p.Version = 5 }), reason.PacketVersion, false},
		{"a request", change(func(p *ntp.Packet) { p.Mode = ntp.ModeClient }), reason.PacketMode, false},
		{"broadcast", change(func(p *ntp.Packet) { p.Mode = ntp.ModeBroadcast }), reason.PacketMode, false},
		{"our own request", func(d *dialogue) []byte { return d.buf }, reason.PacketMode, false},
		{"wrong origin", change(func(p *ntp.Packet) { p.Origin ^= 1 }), reason.PacketOrigin, false},
		{"zero origin", change(func(p *ntp.Packet) { p.Origin = 0 }), reason.PacketOrigin, false},
		{"the previous request's origin", func(d *dialogue) []byte {
			p := d.answer(someTime)
			b := p.Append(nil)
			d.want("previous", p, reason.OK, 1)
			d.ask(false)
			return b
		}, reason.PacketOrigin, false},
		{"the answer to one given up", func(d *dialogue) []byte {
			p := d.answer(someTime)
			d.ask(false)
			return p.Append(nil)
		}, reason.PacketLate, false},
		{"wrong origin with a kiss", change(func(p *ntp.Packet) { p.Origin ^= 1; p.Stratum, p.ReferenceID = 0, ntp.KissDENY }), reason.PacketOrigin, false},
		{"no receive timestamp", change(func(p *ntp.Packet) { p.Receive = 0 }), reason.PacketZeroTimestamp, false},
		{"no transmit timestamp", change(func(p *ntp.Packet) { p.Transmit = 0 }), reason.PacketZeroTimestamp, false},
		{"RATE", change(func(p *ntp.Packet) { p.Leap, p.Stratum, p.ReferenceID = 3, 0, ntp.KissRATE }), reason.KissRate, true},
		{"DENY", change(func(p *ntp.Packet) { p.Leap, p.Stratum, p.ReferenceID = 3, 0, ntp.KissDENY }), reason.KissDeny, true},
		{"RSTR", change(func(p *ntp.Packet) { p.Leap, p.Stratum, p.ReferenceID = 3, 0, ntp.KissRSTR }), reason.KissDeny, true},
		{"NTSN", change(func(p *ntp.Packet) {
			p.Leap, p.Stratum, p.ReferenceID = 3, 0, binary.BigEndian.Uint32([]byte("NTSN"))
		}), reason.KissOther, true},
		{"INIT", change(func(p *ntp.Packet) { p.Leap, p.Stratum, p.ReferenceID = 3, 0, ntp.KissINIT }), reason.ServerUnsynchronised, true},
		{"stratum 0 without kiss", change(func(p *ntp.Packet) { p.Stratum, p.ReferenceID = 0, 0 }), reason.ServerUnsynchronised, true},
		{"stratum 0 with an address", change(func(p *ntp.Packet) { p.Stratum = 0 }), reason.ServerUnsynchronised, true},
		{"leap 3", change(func(p *ntp.Packet) { p.Leap = 3 }), reason.ServerUnsynchronised, true},
		{"leap 3, no times", change(func(p *ntp.Packet) { p.Leap, p.Receive, p.Transmit = 3, 0, 0 }), reason.ServerUnsynchronised, true},
		{"stratum 16", change(func(p *ntp.Packet) { p.Stratum = 16 }), reason.ServerUnsynchronised, true},
		{"stratum 17", change(func(p *ntp.Packet) { p.Stratum = 17 }), reason.ServerStratum, true},
		{"sent before received", change(func(p *ntp.Packet) { p.Transmit = p.Receive - 1<<20 }), reason.ServerOrder, true},
	} {
		d := newDialogue(t).ask(false)
		b := c.bytes(d)
		waitsFor, _ := d.x.Outstanding()
		samples, code := d.x.Receive(b, d.arrival())
		if code != c.code || samples != nil {
			t.Errorf("%s: %v, %d samples, want %v", c.name, code, len(samples), c.code)
		}
		sequence, waiting := d.x.Outstanding()
		if waiting == c.ends || waiting && sequence != waitsFor {
			t.Errorf("%s: waiting %v for %d afterwards", c.name, waiting, sequence)
		}
		if c.ends {
			d.want(c.name+", then the answer", d.answer(someTime), reason.PacketDuplicate, 0)
			d.ask(false)
		}
		d.want(c.name+", then the answer", d.answer(someTime+1<<33), reason.OK, 1)
	}
}

func TestRejectionsWithoutARequest(t *testing.T) {
	d := newDialogue(t)
	d.want("before any request", d.answer(someTime), reason.PacketUnsolicited, 0)
	d.ask(false)
	old := d.answer(someTime)
	d.want("answer", old, reason.OK, 1)
	d.want("again", old, reason.PacketDuplicate, 0)
	foreign := old
	foreign.Origin = 42
	d.want("somebody else's", foreign, reason.PacketUnsolicited, 0)
	foreign.Origin = 0
	d.want("nobody's", foreign, reason.PacketUnsolicited, 0)
	d.ask(false).x.Expire()
	late := d.answer(someTime + 1<<33)
	d.want("late", late, reason.PacketLate, 0)
	d.want("late again", late, reason.PacketLate, 0)
	d.want("replayed", old, reason.PacketOrigin, 0)
	d.x.Reset()
	d.want("before the reset", late, reason.PacketUnsolicited, 0)
	if d.ask(true); d.sequence != 3 || d.request.Receive != 0 {
		t.Errorf("after the reset: request %d, %x", d.sequence, d.buf)
	}
}

func TestInterleavedOrder(t *testing.T) {
	for _, c := range []struct {
		name     string
		transmit ntp.Timestamp
		code     reason.Code
		samples  int
	}{
		{"between", someTime + 5000, reason.OK, 2},
		{"before the request that it answered", someTime - 1<<20, reason.ServerOrder, 0},
		{"after this request", someTime + 1<<33 + 1<<20, reason.ServerOrder, 0},
		{"blurred by less than the precision", someTime - 4096, reason.OK, 2},
	} {
		d := newDialogue(t).ask(true)
		d.want("first", d.answer(someTime), reason.OK, 1)
		d.ask(true).want(c.name, d.interleaved(someTime+1<<33, c.transmit), c.code, c.samples)
		// The rejected one is forgotten, the exchange before it is not.
		d.ask(true)
		if want := someTime + ntp.Timestamp(c.samples/2)<<33; d.request.Origin != want {
			t.Errorf("%s: then %#x is asked for, want %#x", c.name, d.request.Origin, want)
		}
	}
	// An interleaved origin that was not offered is not ours.
	d := newDialogue(t).ask(false)
	p := d.answer(someTime)
	p.Origin = d.request.Receive
	d.want("receive field of a basic request", p, reason.PacketOrigin, 0)
}

func TestStampsThatContradict(t *testing.T) {
	d := newDialogue(t).ask(false)
	p := d.answer(someTime)
	if s, code := d.x.Receive(p.Append(nil), hw.Stamp{At: d.now - 100, Error: 5, Kind: hw.StampKernel}); code != reason.SampleStamp || s != nil {
		t.Errorf("arrived before it left: %v", code)
	}
	p = d.ask(false).answer(someTime)
	if s, code := d.x.Receive(p.Append(nil), hw.Stamp{}); code != reason.SampleStamp || s != nil {
		t.Errorf("no arrival stamp: %v", code)
	}
	if d.ask(true); d.request.Receive != 0 {
		t.Error("an exchange without stamps is asked for")
	}
}

func TestDepartureStamps(t *testing.T) {
	for _, c := range []struct {
		name   string
		stamps []hw.Stamp
		want   hw.Stamp
	}{
		{"none: the reading before the request", nil, hw.Stamp{At: 100, Kind: hw.StampUser}},
		{"user", []hw.Stamp{{At: 110, Error: 3, Kind: hw.StampUser}}, hw.Stamp{At: 110, Error: 3, Kind: hw.StampUser}},
		{"kernel after user", []hw.Stamp{{At: 110, Kind: hw.StampUser}, {At: 120, Error: 4, Kind: hw.StampKernel}}, hw.Stamp{At: 120, Error: 4, Kind: hw.StampKernel}},
		{"user after kernel", []hw.Stamp{{At: 120, Error: 4, Kind: hw.StampKernel}, {At: 119, Kind: hw.StampUser}}, hw.Stamp{At: 120, Error: 4, Kind: hw.StampKernel}},
		{"wide kernel after user", []hw.Stamp{{At: 110, Kind: hw.StampUser}, {At: 120, Error: 50, Kind: hw.StampKernel}}, hw.Stamp{At: 120, Error: 10, Kind: hw.StampKernel}},
		{"kernel off by its error", []hw.Stamp{{At: 110, Kind: hw.StampUser}, {At: 105, Error: 10, Kind: hw.StampKernel}}, hw.Stamp{At: 110, Kind: hw.StampKernel}},
		{"hardware after kernel", []hw.Stamp{{At: 120, Error: 4, Kind: hw.StampKernel}, {At: 123, Error: 1, Kind: hw.StampHardware}}, hw.Stamp{At: 123, Error: 1, Kind: hw.StampHardware}},
		{"none is no stamp", []hw.Stamp{{At: 120}}, hw.Stamp{At: 100, Kind: hw.StampUser}},
	} {
		d := newDialogue(t)
		// Also across the wrap of the counter.
		for _, shift := range []hw.Ticks{0, ^hw.Ticks(0) - 107} {
			_, sequence := d.x.Request(d.rng, 100+shift, false, nil)
			for _, s := range c.stamps {
				s.At += shift
				d.x.Sent(sequence, s)
				d.x.Sent(sequence-1, hw.Stamp{At: 150 + shift, Kind: hw.StampHardware})
				d.x.Sent(sequence+1, hw.Stamp{At: 150 + shift, Kind: hw.StampHardware})
			}
			want := c.want
			want.At += shift
			if d.x.current.depart != want {
				t.Errorf("%s: %+v, want %+v", c.name, d.x.current.depart, want)
			}
		}
	}
	// A late stamp that lies after the answer's arrival is false: it is not taken.
	d := newDialogue(t).ask(true)
	s := d.want("answer", d.answer(someTime), reason.OK, 1)[0]
	d.x.Sent(d.sequence, hw.Stamp{At: s.Arrive.At + 6, Kind: hw.StampHardware})
	if d.x.last.depart != s.Depart {
		t.Errorf("departed at %+v, arrived at %+v", d.x.last.depart, s.Arrive)
	}
}

func TestServerErrorIsRoundedUp(t *testing.T) {
	for _, c := range []struct {
		delay, dispersion ntp.Short
		precision         int8
		atLeast           float64
	}{
		{0, 0, -32, 0x1p-32},
		{0, 0, -128, 0x1p-128},
		{1, 0, -24, 0x1p-17 + 0x1p-24},
		{0, 1, -24, 0x1p-16 + 0x1p-24},
		{math.MaxUint32, math.MaxUint32, 0, 65535.99998*1.5 + 1},
		{0, 0, 127, 0x1p127},
	} {
		e := serverError(&ntp.Packet{RootDelay: c.delay, RootDispersion: c.dispersion, Precision: c.precision})
		if !(e > c.atLeast) || e > c.atLeast*(1+1e-6) {
			t.Errorf("%+v: %g", c, e)
		}
	}
}

func TestErasOfTheServer(t *testing.T) {
	// 2036-02-07T06:28:16Z − 1 µs and + 1 µs around the end of era 0.
	rollover := int64(1<<32-ntp.UnixEpoch) * 1e9
	p := ntp.Packet{Receive: ntp.TimestampCeil(rollover-1000, 0), Transmit: ntp.TimestampFloor(rollover+1000, 0)}
	for _, pivot := range []int64{0, rollover - 60e9, rollover + 3600e9, rollover + 60*365*86400e9} {
		d := newDialogue(t).ask(false)
		if pivot != 0 {
			d.x.SetPivot(pivot)
		}
		a := d.answer(0)
		a.Receive, a.Transmit = p.Receive, p.Transmit
		s := d.want("rollover", a, reason.OK, 1)[0]
		if s.Receive.UnixNano() < rollover-1000 || s.Receive.UnixNano() > rollover || s.Transmit.UnixNano() < rollover+998 || s.Transmit.UnixNano() > rollover+1000 {
			t.Errorf("pivot %d: received %v, sent %v", pivot, s.Receive, s.Transmit)
		}
	}
	// A program of 2026 hears of no time before that; a pivot in 1999 makes the same timestamp 1999 again.
	d := newDialogue(t).ask(false)
	old := d.answer(3_155_587_200 << 32) // 1999-12-31
	if s := d.want("no pivot", old, reason.OK, 1)[0]; s.Receive.Time().Year() != 2136 {
		t.Errorf("without pivot: %v", s.Receive)
	}
	d.ask(false).x.SetPivot(946_684_800e9)
	old.Origin = d.request.Transmit
	if s := d.want("pivot", old, reason.OK, 1)[0]; s.Receive.Time().Year() != 1999 {
		t.Errorf("with pivot: %v", s.Receive)
	}
}

func TestAnswersWithTailsAreRead(t *testing.T) {
	field, _ := ntp.AppendExtension(nil, 0x7777, []byte("unknown"), true)
	for name, change := range map[string]func(p *ntp.Packet){
		"a MAC that nobody asked for": func(p *ntp.Packet) { p.MAC = ntp.MAC{Length: 20, KeyID: 9} },
		"a crypto-NAK":                func(p *ntp.Packet) { p.MAC = ntp.MAC{Length: 4} },
		"an unknown extension field":  func(p *ntp.Packet) { p.Extensions = field },
	} {
		d := newDialogue(t).ask(false)
		p := d.answer(someTime)
		change(&p)
		d.want(name, p, reason.OK, 1)
	}
}

func TestExchangeDoesNotAllocate(t *testing.T) {
	d := newDialogue(t)
	var p ntp.Packet
	answer := make([]byte, 0, 48)
	receive := someTime
	d.buf = make([]byte, 0, 48)
	samples := 0
	if n := testing.AllocsPerRun(2000, func() {
		d.ask(true)
		receive += 1 << 33
		p = d.answer(receive)
		if d.request.Receive != 0 {
			p = d.interleaved(receive, receive-1<<33+9000)
		}
		answer = p.Append(answer[:0])
		s, _ := d.x.Receive(answer, d.arrival())
		samples += len(s)
	}); n != 0 {
		t.Errorf("%v allocations per exchange", n)
	}
	if samples < 4000 {
		t.Errorf("%d samples", samples)
	}
}

// Same seed, same run.
func TestExchangerIsDeterministic(t *testing.T) {
	a, b := newDialogue(t), newDialogue(t)
	for i := range ntp.Timestamp(50) {
		a.ask(true)
		b.ask(true)
		if !bytes.Equal(a.buf, b.buf) {
			t.Fatalf("request %d differs", i)
		}
		a.want("answer", a.answer(someTime+i<<33), reason.OK, 1)
		b.want("answer", b.answer(someTime+i<<33), reason.OK, 1)
	}
}

// FuzzReceive sends two arbitrary datagrams to an exchanger in each of its states.
func FuzzReceive(f *testing.F) {
	seeds := newDialogue(f).ask(false)
	good := seeds.answer(someTime)
	f.Add(good.Append(nil), good.Append(nil), uint8(1))
	seeds.want("seed", good, reason.OK, 1)
	good = seeds.ask(true).interleaved(someTime+1<<33, someTime+5000)
	f.Add(good.Append(nil), seeds.buf, uint8(2))
	good.Leap, good.Stratum, good.ReferenceID = 3, 0, ntp.KissRATE
	f.Add(good.Append(nil), []byte{}, uint8(2))
	f.Add([]byte{0x24}, make([]byte, 2000), uint8(0))
	f.Fuzz(func(t *testing.T, a, b []byte, state uint8) {
		d := newDialogue(t)
		if state%3 > 0 {
			d.ask(true)
		}
		if state%3 > 1 {
			d.want("first", d.answer(someTime), reason.OK, 1)
			d.ask(true)
		}
		for _, packet := range [][]byte{a, b} {
			before, waiting := d.x.Outstanding()
			samples, code := d.x.Receive(packet, d.arrival())
			after, still := d.x.Outstanding()
			if (code == reason.OK) != (len(samples) > 0) {
				t.Fatalf("%v with %d samples", code, len(samples))
			}
			if waiting && !still {
				// Only who has seen the request may end the wait.
				if origin := ntp.Timestamp(binary.BigEndian.Uint64(packet[24:])); origin != d.request.Transmit && origin != d.request.Receive {
					t.Fatalf("%x ended the wait for %x", packet, d.buf)
				}
			} else if waiting != still || before != after {
				t.Fatalf("%x made the exchanger wait for %d instead of %d", packet, after, before)
			}
			for i := range samples {
				if s := &samples[i]; !(s.ServerError > 0) || s.Arrive.NotAfter().Before(s.Depart.NotBefore()) {
					t.Fatalf("sample %+v", s)
				}
			}
		}
	})
}

func BenchmarkExchange(b *testing.B) {
	for _, mode := range []string{"basic", "interleaved"} {
		b.Run(mode, func(b *testing.B) {
			d := newDialogue(b)
			answer := make([]byte, 0, 48)
			receive := someTime
			d.buf = make([]byte, 0, 48)
			b.ReportAllocs()
			for b.Loop() {
				d.ask(mode == "interleaved")
				receive += 1 << 33
				p := d.answer(receive)
				if d.request.Receive != 0 {
					p = d.interleaved(receive, receive-1<<33+9000)
				}
				answer = p.Append(answer[:0])
				if s, _ := d.x.Receive(answer, d.arrival()); len(s) == 0 {
					b.Fatal("no sample")
				}
			}
		})
	}
}
