package roundtrip

import (
	"container/heap"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/ntp"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// exchangeWorld is one server and some clients, each with a counter of its own, on a network that delays, loses, doubles, reorders,
// damages and replays. True time is a number of picoseconds, so whatever the protocol claims can be checked exactly.
type exchangeWorld struct {
	t    *testing.T
	seed uint64
	rng  *rand.Rand
	now  uint64 // picoseconds
	base int64  // true time at picosecond 0, nanoseconds since 1970
	todo events
	n    int // events made, to keep their order

	clock       *virtualclock.Clock
	counter     oscillator
	state       ServerState
	responder   *Responder
	serverSends map[ntp.Timestamp]*answerTruth
	clients     []*client
	serverFree  uint64 // when the server has done with its last request
	interleaved bool
	kernel      bool // stamps of the kernel are to be had

	requests, samples, complete, halves, interleavedSamples int
	counts                                                  reason.Counts
	served                                                  reason.Counts
	// worst is the smallest margin by which a claim held, in seconds.
	worst float64
}

// answerTruth is what really happened to the request that was given a receive timestamp.
type answerTruth struct {
	client            *client
	sequence          uint32
	arrived, departed uint64
}

type client struct {
	address   netip.AddrPort
	counter   oscillator
	exchanger Exchanger
	rng       *rand.ChaCha8
	buf       []byte
	// departed and arrived are the true times of the requests' departures, and of their answers' arrivals, by sequence.
	departed, arrived map[uint32]uint64
	// nonces tells which request an answer belongs to.
	nonces  map[ntp.Timestamp]uint32
	old     [][]byte
	history []uint32
}

type event struct {
	at uint64
	n  int
	do func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].n < e[j].n
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

// oscillator is a counter that starts at origin and makes rate/2⁶⁴ ticks per picosecond.
type oscillator struct {
	origin hw.Ticks
	rate   uint64
}

const nominalHertz = 2.5e9

func newOscillator(rng *rand.Rand, ppm float64) oscillator {
	error := (2*rng.Float64() - 1) * ppm * 1e-6
	return oscillator{hw.Ticks(rng.Uint64()), uint64(nominalHertz / 1e12 * (1 + error) * (1 << 63) * 2)}
}

func (o oscillator) read(ps uint64) hw.Ticks {
	hi, _ := bits.Mul64(ps, o.rate)
	return o.origin + hw.Ticks(hi)
}

// when returns the first picosecond at which the counter reads c.
func (o oscillator) when(c hw.Ticks) uint64 {
	if int64(c-o.origin) < 0 {
		return 0
	}
	q, r := bits.Div64(uint64(c-o.origin), 0, o.rate)
	if r != 0 {
		q++
	}
	return q
}

// truth is true time at a picosecond.
func (w *exchangeWorld) truth(ps uint64) virtualclock.Time {
	return virtualclock.Unix(w.base+int64(ps/1000), uint32(ps%1000<<32/1000))
}

func (w *exchangeWorld) after(ps uint64, do func()) {
	w.n++
	heap.Push(&w.todo, event{w.now + ps, w.n, do})
}

const (
	microsecond = 1_000_000 // picoseconds
	millisecond = 1000 * microsecond
	second      = 1000 * millisecond
)

func newExchangeWorld(t *testing.T, seed uint64, baseNS int64, interleaved, kernel bool) *exchangeWorld {
	w := &exchangeWorld{
		t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 1)), base: baseNS, interleaved: interleaved, kernel: kernel,
		serverSends: map[ntp.Timestamp]*answerTruth{}, worst: 1,
	}
	w.counter = newOscillator(w.rng, 40)
	w.clock = virtualclock.NewClock(virtualclock.PeriodOf(nominalHertz), 500e-6)
	var err error
	w.responder, err = NewResponder(ResponderConfig{Hertz: nominalHertz, Interleaved: interleaved, MaxClients: 64, Seed: [32]byte{byte(seed)}})
	if err != nil {
		t.Fatal(err)
	}
	w.state = ServerState{Stratum: 2, ReferenceID: 0xc0000201, RootDelay: 30e-6}
	for i := range 3 {
		// Two of the clients share an address, as behind a translator.
		w.clients = append(w.clients, &client{
			address:  netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i / 2)}), uint16(1000+i)),
			counter:  newOscillator(w.rng, 40),
			rng:      rand.NewChaCha8([32]byte{byte(seed), byte(i)}),
			departed: map[uint32]uint64{}, arrived: map[uint32]uint64{}, nonces: map[ntp.Timestamp]uint32{},
		})
	}
	return w
}

// run lets each client make n requests.
func (w *exchangeWorld) run(n int) {
	w.after(0, w.discipline)
	for i, c := range w.clients {
		w.after(uint64(i+1)*millisecond, func() { w.poll(c, n) })
	}
	for len(w.todo) > 0 {
		e := heap.Pop(&w.todo).(event)
		w.now = e.at
		e.do()
	}
}

// discipline gives the server's clock new bounds that contain true time, and a course between them.
func (w *exchangeWorld) discipline() {
	at := w.counter.read(w.now)
	least, most := w.truth(w.counter.when(at)), w.truth(w.counter.when(at+1))
	width := 200e-6 * w.rng.Float64()
	earliest := least.AddSeconds(-width * w.rng.Float64())
	latest := most.AddSeconds(width * w.rng.Float64())
	nominal := virtualclock.PeriodOf(nominalHertz)
	w.clock.SetBounds(at, earliest, latest, nominal.Scale(-50e-6), nominal.Scale(50e-6))
	w.clock.SetStatus(virtualclock.Synchronised, at.Add(nominalHertz/2), at.Add(10*nominalHertz))
	target := earliest.AddSeconds(latest.Seconds(earliest) * w.rng.Float64())
	switch x := w.rng.Float64(); {
	case x < 0.01 || w.clock.Coefficients().Epoch == 0:
		w.clock.Step(at, target, 0)
	case x < 0.02:
		w.clock.SetStatus(virtualclock.Disrupted, at, at)
	default:
		w.clock.Steer(at, target, (2*w.rng.Float64()-1)*40e-6, 0.1)
	}
	w.state.ReferenceTime = w.clock.Time(at)
	if len(w.todo) > 0 {
		w.after(uint64(w.rng.Float64()*second), w.discipline)
	}
}

// delay is mostly short, sometimes longer than the time between two requests.
func (w *exchangeWorld) delay() uint64 {
	switch x := w.rng.Float64(); {
	case x < 0.3:
		return uint64(w.rng.IntN(1000)) // next to nothing: the claims are then at their tightest
	case x < 0.9:
		return 10*microsecond + uint64(w.rng.ExpFloat64()*100*microsecond)
	}
	return uint64(w.rng.ExpFloat64() * 30 * millisecond)
}

// transport carries a datagram, or not, or twice; sometimes it brings up an old one.
func (w *exchangeWorld) transport(b []byte, old *[][]byte, deliver func(b []byte)) {
	b = append([]byte(nil), b...)
	*old = append(*old, b)
	if len(*old) > 64 {
		*old = (*old)[32:]
	}
	if w.rng.Float64() < 0.05 {
		return
	}
	w.after(w.delay(), func() { deliver(b) })
	for w.rng.Float64() < 0.05 {
		w.after(w.delay(), func() { deliver(b) })
	}
	if w.rng.Float64() < 0.05 {
		replayed := (*old)[w.rng.IntN(len(*old))]
		w.after(w.delay(), func() { deliver(replayed) })
	}
	if w.rng.Float64() < 0.02 {
		damaged := append([]byte(nil), b...)
		damaged[24+w.rng.IntN(8)] ^= 1 << w.rng.IntN(8) // the origin: the UDP checksum would not let anything else pass
		w.after(w.delay(), func() { deliver(damaged) })
	}
}

func (w *exchangeWorld) poll(c *client, left int) {
	if left == 0 {
		return
	}
	w.requests++
	if w.rng.Float64() < 0.5 {
		c.exchanger.Expire() // the rest of the time, the next request does it
	}
	called := c.counter.read(w.now)
	packet, sequence := c.exchanger.Request(c.rng, called, w.interleaved && w.rng.Float64() < 0.9, c.buf[:0])
	c.buf = packet
	var p ntp.Packet
	if code := p.Decode(packet); code != reason.OK {
		w.t.Fatalf("seed %d: our own request: %v", w.seed, code)
	}
	c.nonces[p.Transmit] = sequence
	if p.Receive != 0 {
		c.nonces[p.Receive] = sequence
	}
	w.forget(c, sequence)
	sent := append([]byte(nil), packet...)
	w.after(uint64(w.rng.IntN(20*microsecond)), func() {
		// A stamp of the program just before the packet leaves, then the packet, then maybe a stamp of the kernel.
		c.exchanger.Sent(sequence, hw.Stamp{At: c.counter.read(w.now), Kind: hw.StampUser})
		w.now += uint64(w.rng.IntN(5 * microsecond))
		departed := w.now
		c.departed[sequence] = departed
		w.transport(sent, &c.old, func(b []byte) { w.request(c, b) })
		if w.kernel && w.rng.Float64() < 0.9 {
			w.after(w.delay(), func() { c.exchanger.Sent(sequence, w.departure(c.counter, departed)) })
		}
	})
	w.after(millisecond+uint64(w.rng.ExpFloat64()*20*millisecond), func() { w.poll(c, left-1) })
}

// forget keeps the books small.
func (w *exchangeWorld) forget(c *client, sequence uint32) {
	c.history = append(c.history, sequence)
	if len(c.history) < 4000 {
		return
	}
	limit := c.history[2000]
	c.history = c.history[2000:]
	for k, v := range c.nonces {
		if v < limit {
			delete(c.nonces, k)
		}
	}
	for k := range c.departed {
		if k < limit {
			delete(c.departed, k)
			delete(c.arrived, k)
		}
	}
	for k, v := range w.serverSends {
		if v.client == c && v.sequence < limit {
			delete(w.serverSends, k)
		}
	}
}

// departure is a valid kernel stamp of a departure: At may be off by up to Error.
func (w *exchangeWorld) departure(o oscillator, ps uint64) hw.Stamp {
	e := hw.Ticks(w.rng.IntN(500))
	return hw.Stamp{At: o.read(ps) + e - hw.Ticks(w.rng.IntN(int(e)+1)), Error: e, Kind: hw.StampKernel}
}

// arrival is a valid stamp of an arrival.
func (w *exchangeWorld) arrival(o oscillator, ps uint64) hw.Stamp {
	e := hw.Ticks(1 + w.rng.IntN(500))
	s := hw.Stamp{At: o.read(ps) + 1 - e + hw.Ticks(w.rng.IntN(int(e)+1)), Error: e, Kind: hw.StampKernel}
	if !w.kernel {
		s.Kind = hw.StampUser
	}
	return s
}

// request handles a datagram at the server.
func (w *exchangeWorld) request(c *client, b []byte) {
	arrived := w.now
	stamp := w.arrival(w.counter, arrived)
	w.now = max(w.now, w.serverFree) + uint64(w.rng.IntN(30*microsecond))
	k := *w.clock.Coefficients()
	reply, token, code := w.responder.Respond(b, c.address, stamp, w.counter.read(w.now), &k, &w.state, nil)
	w.served.Add(code)
	if reflected := b[0]&7 != byte(ntp.ModeClient); reflected != (code == reason.RequestMode) || !reflected && code != reason.OK {
		w.t.Fatalf("seed %d: request %x: %v", w.seed, b, code)
	} else if reflected {
		return
	}
	if len(reply) > len(b) {
		w.t.Fatalf("seed %d: %d bytes were answered with %d", w.seed, len(b), len(reply))
	}
	w.now += uint64(w.rng.IntN(10 * microsecond))
	departed := w.now
	w.serverFree = departed
	var q, p ntp.Packet
	if p.Decode(reply) != reason.OK || q.Decode(b) != reason.OK {
		w.t.Fatalf("seed %d: answer %x", w.seed, reply)
	}
	if p.Leap != ntp.LeapUnsynchronised {
		if old := w.serverSends[p.Receive]; old != nil {
			w.t.Fatalf("seed %d: the receive timestamp %#x was used twice", w.seed, p.Receive)
		}
		w.serverSends[p.Receive] = &answerTruth{c, c.nonces[q.Transmit], arrived, departed}
	}
	if token != 0 {
		if w.rng.Float64() < 0.8 {
			w.responder.Sent(token, hw.Stamp{At: w.counter.read(departed), Kind: hw.StampUser}, &k)
		}
		if w.kernel {
			w.after(w.delay(), func() { w.responder.Sent(token, w.departure(w.counter, departed), w.clock.Coefficients()) })
		}
	}
	w.transport(reply, &c.old, func(b []byte) { w.answer(c, b) })
}

// answer handles a datagram at a client and checks what comes of it.
func (w *exchangeWorld) answer(c *client, b []byte) {
	if b[0]&7 != byte(ntp.ModeServer) {
		w.request(c, b) // a replayed request goes to the server, wherever it was captured
		return
	}
	arrived := w.now
	stamp := w.arrival(c.counter, arrived)
	w.now += uint64(w.rng.IntN(5 * microsecond))
	before, waiting := c.exchanger.Outstanding()
	samples, code := c.exchanger.Receive(b, stamp)
	w.counts.Add(code)
	after, still := c.exchanger.Outstanding()
	if code != reason.OK {
		if len(samples) != 0 {
			w.t.Fatalf("seed %d: %v, and yet samples", w.seed, code)
		}
		if code != reason.ServerUnsynchronised && (after != before || waiting != still) {
			w.t.Fatalf("seed %d: a datagram that was rejected with %v ended the wait", w.seed, code)
		}
		return
	}
	if still || !waiting {
		w.t.Fatalf("seed %d: request %d still waits after its answer", w.seed, before)
	}
	c.arrived[before] = arrived
	for i := range samples {
		w.check(c, &samples[i])
	}
}

// check holds a sample against what really happened.
func (w *exchangeWorld) check(c *client, s *Sample) {
	w.samples++
	wire := ntp.TimestampFloor(s.Receive.UnixNano(), s.Receive.Fraction())
	a := w.serverSends[wire]
	if a == nil || a.client != c {
		w.t.Fatalf("seed %d: sample %+v has a receive timestamp that was given to nobody or to another", w.seed, s)
	}
	departed := c.departed[a.sequence]
	first := c.counter.when(s.Depart.NotBefore())
	if first > departed || departed-first > 30*microsecond {
		w.t.Fatalf("seed %d: the request left at %d ps, its stamp says not before %d", w.seed, departed, first)
	}
	margin := func(what string, v float64) {
		w.worst = min(w.worst, v)
		if v < -1e-15 {
			w.t.Fatalf("seed %d: %s is violated by %g s in sample %+v of request %d, which arrived at %v and was answered at %v",
				w.seed, what, -v, s, a.sequence, w.truth(a.arrived), w.truth(a.departed))
		}
	}
	margin("T2 + E ≥ true arrival at the server", s.Receive.Seconds(w.truth(a.arrived))+s.ServerError)
	margin("T2 + E ≥ true time at T1", s.Receive.Seconds(w.truth(first))+s.ServerError)
	if s.HalfOnly {
		w.halves++
		return
	}
	w.complete++
	if s.Interleaved {
		w.interleavedSamples++
	}
	arrived := c.arrived[a.sequence]
	last := c.counter.when(s.Arrive.NotAfter())
	if last < arrived || last-arrived > microsecond {
		w.t.Fatalf("seed %d: the answer came at %d ps, its stamp says not after %d", w.seed, arrived, last)
	}
	margin("T3 − E ≤ true departure of the answer", w.truth(a.departed).Seconds(s.Transmit)+s.ServerError)
	margin("T3 − E ≤ true time at T4", w.truth(last).Seconds(s.Transmit)+s.ServerError)
}

func (w *exchangeWorld) String() string {
	return fmt.Sprintf("%d requests, %d samples (%d complete, %d half, %d interleaved), least margin %.3g s, %v; answers %+v",
		w.requests, w.samples, w.complete, w.halves, w.interleavedSamples, w.worst, w.counts.Map(), w.responder.Stats())
}

func TestSamplesContainTheTruth(t *testing.T) {
	for i, c := range []struct {
		name                string
		baseNS              int64
		interleaved, kernel bool
	}{
		{"basic, user stamps", 1_800_000_000e9, false, false},
		{"basic, kernel stamps", 1_800_000_000e9, false, true},
		{"interleaved, user stamps", 1_800_000_000e9, true, false},
		{"interleaved, kernel stamps", 1_800_000_000e9, true, true},
		// 2036-02-07T06:28:16Z is the first second of era 1.
		{"basic through the rollover of 2036", (1<<32 - ntp.UnixEpoch - 100) * 1e9, false, true},
		{"interleaved through the rollover of 2036", (1<<32 - ntp.UnixEpoch - 100) * 1e9, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newExchangeWorld(t, uint64(i+1), c.baseNS, c.interleaved, c.kernel)
			if i%2 == 1 {
				for _, c := range w.clients {
					c.exchanger.SetPivot(w.base)
				}
			}
			w.run(12_000)
			t.Log(w)
			if c.baseNS != 1_800_000_000e9 && w.now < 200*second {
				t.Errorf("the run ended after %d s, before the rollover", w.now/second)
			}
			if w.complete < w.requests*3/5 {
				t.Errorf("only %d complete samples of %d requests", w.complete, w.requests)
			}
			if got := w.interleavedSamples > w.requests/3; got != c.interleaved {
				t.Errorf("%d interleaved samples of %d requests", w.interleavedSamples, w.requests)
			}
			for _, code := range []reason.Code{reason.PacketOrigin, reason.PacketDuplicate, reason.PacketUnsolicited, reason.PacketLate, reason.ServerUnsynchronised} {
				if w.counts[code] == 0 {
					t.Errorf("%v never happened", code)
				}
			}
			if w.counts[reason.ServerOrder]+w.counts[reason.SampleStamp]+w.counts[reason.PacketMalformed] != 0 {
				t.Errorf("honest packets were rejected: %v", w.counts.Map())
			}
		})
	}
}
