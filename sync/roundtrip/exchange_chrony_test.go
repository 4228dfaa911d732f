package roundtrip_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/sync/roundtrip"
	"github.com/clockd/clockd/virtualclock"
)

// wall tells what CLOCK_REALTIME read at a reading of the counter, from the nearest of some cross-stamps.
type wall struct {
	t       testing.TB
	counter hw.Counter
	stamps  []hw.CrossReading
}

func (w *wall) mark() hw.CrossReading {
	s, err := hw.CrossStamp(w.counter)
	if err != nil {
		w.t.Fatal(err)
	}
	w.stamps = append(w.stamps[max(0, len(w.stamps)-8):], s)
	return s
}

// at returns the wall clock at counter reading c and the error of that, which allows for a wall clock that is being slewed.
func (w *wall) at(c hw.Ticks) (at virtualclock.Time, tolerance float64) {
	s := slices.MinFunc(w.stamps, func(a, b hw.CrossReading) int {
		return int(math.Abs(float64(c.Sub(a.At))) - math.Abs(float64(c.Sub(b.At))))
	})
	period := 1 / w.counter.Frequency().Hertz
	away := float64(c.Sub(s.At)) * period
	return virtualclock.Unix(s.Realtime, 0).AddSeconds(away), float64(s.Error)*period + math.Abs(away)*600e-6
}

func openCounter(t testing.TB) hw.Counter {
	counter, err := hw.Open("auto")
	if err != nil {
		t.Fatal(err)
	}
	return counter
}

// A real chronyd serves this machine's own clock, so the truth is known: every sample contains it.
func TestExchangesWithChronyd(t *testing.T) {
	server := testkit.StartChronyd(t, testkit.ChronyOptions{LocalStratum: 5})
	counter := openCounter(t)
	conn, err := hw.DialUDP(netip.AddrPort{}, server.AddrPort(), hw.StampOptions{Counter: counter, Kernel: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	w := &wall{t: t, counter: counter}
	var x roundtrip.Exchanger
	rng := rand.NewChaCha8([32]byte{3})
	buf, datagram := make([]byte, 0, 48), make([]byte, 1500)
	complete, interleaved, worst := 0, 0, math.Inf(1)
	for i := range 500 {
		w.mark()
		packet, sequence := x.Request(rng, counter.Read(), i >= 100, buf)
		id, stamp, err := conn.Send(packet, netip.AddrPort{}, netip.Addr{})
		if err != nil {
			t.Fatal(err)
		}
		x.Sent(sequence, stamp)
		samples, code := await(t, conn, &x, datagram, id, sequence)
		w.mark()
		if code != reason.OK {
			t.Fatalf("exchange %d: %v", i, code)
		}
		for _, s := range samples {
			sent, tolerance := w.at(s.Depart.NotBefore())
			margin := s.Receive.Seconds(sent) + s.ServerError + tolerance
			if !s.HalfOnly {
				complete++
				came, tolerance := w.at(s.Arrive.NotAfter())
				margin = min(margin, came.Seconds(s.Transmit)+s.ServerError+tolerance)
			}
			if s.Interleaved {
				interleaved++
			}
			if worst = min(worst, margin); margin < 0 {
				t.Fatalf("exchange %d: the truth is %g s outside of sample %+v", i, -margin, s)
			}
			if s.Stratum != 5 || s.Leap != 0 || s.ServerError > 0.01 {
				t.Fatalf("exchange %d: %+v", i, s)
			}
		}
	}
	if complete < 490 || interleaved < 300 || !x.Interleaved() {
		t.Errorf("%d complete samples, %d interleaved ones of 500", complete, interleaved)
	}
	t.Logf("%d complete samples, %d interleaved, least margin %.3g s", complete, interleaved, worst)
}

// await waits for the answer, and tells the exchanger of the request's kernel stamp before it.
func await(t *testing.T, conn *hw.PacketConn, x *roundtrip.Exchanger, datagram []byte, id, sequence uint32) ([]roundtrip.Sample, reason.Code) {
	for range 100_000 {
		d, err := conn.Receive(datagram)
		if errors.Is(err, hw.ErrWouldBlock) {
			time.Sleep(50 * time.Microsecond)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for {
			n, stamp, err := conn.TransmitStamp()
			if err != nil {
				break
			}
			if n == id {
				x.Sent(sequence, stamp)
			}
		}
		return x.Receive(datagram[:d.N], d.Stamp)
	}
	t.Fatal("chronyd does not answer")
	return nil, reason.OK
}

// publicServer answers on a loopback port from a virtual clock that is this machine's own.
type publicServer struct {
	t         *testing.T
	conn      *hw.PacketConn
	responder *roundtrip.Responder
	clock     *virtualclock.Clock
	wall      *wall
	stop      chan struct{}
	done      sync.WaitGroup
	refused   reason.Counts
}

func startServer(t *testing.T, change func(c *roundtrip.ResponderConfig)) *publicServer {
	counter := openCounter(t)
	conn, err := hw.ListenUDP(netip.MustParseAddrPort("127.0.0.1:0"), hw.StampOptions{Counter: counter, Kernel: true})
	if err != nil {
		t.Fatal(err)
	}
	hertz := counter.Frequency().Hertz
	config := roundtrip.ResponderConfig{Hertz: hertz, Interleaved: true, RatePerSecond: 1000, Burst: 1000}
	if change != nil {
		change(&config)
	}
	responder, err := roundtrip.NewResponder(config)
	if err != nil {
		t.Fatal(err)
	}
	s := &publicServer{
		t: t, conn: conn, responder: responder, clock: virtualclock.NewClock(virtualclock.PeriodOf(hertz), 500e-6),
		wall: &wall{t: t, counter: counter}, stop: make(chan struct{}),
	}
	s.done.Add(1)
	go s.run()
	return s
}

// Close ends the goroutine; what it has counted may be read afterwards.
func (s *publicServer) Close() {
	close(s.stop)
	s.done.Wait()
	s.conn.Close()
}

func (s *publicServer) run() {
	defer s.done.Done()
	tokens := map[uint32]uint64{}
	request, answer := make([]byte, 1500), make([]byte, 0, 128)
	var next hw.Ticks
	state := roundtrip.ServerState{Stratum: 4, ReferenceID: 0x7f000001}
	for {
		select {
		case <-s.stop:
			return
		default:
		}
		now := s.wall.counter.Read()
		if !s.clock.Coefficients().Status.Sound() || next.Before(now) {
			next = s.follow(&state)
		}
		for {
			id, stamp, err := s.conn.TransmitStamp()
			if err != nil {
				break
			}
			s.responder.Sent(tokens[id], stamp, s.clock.Coefficients())
			delete(tokens, id)
		}
		d, err := s.conn.Receive(request)
		if err != nil {
			time.Sleep(100 * time.Microsecond)
			continue
		}
		reply, token, code := s.responder.Respond(request[:d.N], d.From, d.Stamp, s.wall.counter.Read(), s.clock.Coefficients(), &state, answer)
		s.refused.Add(code)
		if reply == nil {
			continue
		}
		if id, _, err := s.conn.Send(reply, d.From, d.To); err == nil && token != 0 {
			tokens[id] = token
		}
	}
}

// follow brings the virtual clock up to the wall clock, and returns when to do so again.
func (s *publicServer) follow(state *roundtrip.ServerState) hw.Ticks {
	hertz := s.wall.counter.Frequency().Hertz
	m := s.wall.mark()
	at := virtualclock.Unix(m.Realtime, 0)
	half := float64(m.Error)/hertz + 1e-7
	if s.clock.Coefficients().Epoch == 0 {
		s.clock.Step(m.At, at, 0)
	} else {
		s.clock.Steer(m.At, at, 0, 0.05)
	}
	p := virtualclock.PeriodOf(hertz)
	s.clock.SetBounds(m.At, at.AddSeconds(-half), at.AddSeconds(half), p.Scale(-600e-6), p.Scale(600e-6))
	s.clock.SetStatus(virtualclock.Synchronised, m.At.Add(int64(hertz)), m.At.Add(int64(10*hertz)))
	state.ReferenceTime = at
	return m.At.Add(int64(hertz / 20))
}

// A real chronyd as client, with xleave: it is reached, sees next to no offset, and gets interleaved answers.
func TestChronydFollowsTheResponder(t *testing.T) {
	testkit.NoLeaks(t)
	testkit.RequireTool(t, "chronyd")
	server := startServer(t, nil)
	closed := false
	defer func() {
		if !closed {
			server.Close()
		}
	}()
	client := testkit.StartChronyd(t, testkit.ChronyOptions{ClientOnly: true, Servers: []testkit.ChronyServer{{
		Address: server.conn.LocalAddr().String(), MinPoll: -3, MaxPoll: -3, Interleaved: true,
	}}})
	testkit.WaitFor(t, 60*time.Second, "chronyd to be content with the responder", func() bool {
		sources := client.Sources()
		data := client.Data("127.0.0.1")
		return len(sources) == 1 && sources[0].Reach == 0o377 && data.Interleaved && math.Abs(data.Offset) < 100e-6
	})
	data := client.Data("127.0.0.1")
	if data.Stratum != 4 || data.Leap != 0 {
		t.Errorf("chronyd sees %+v", data)
	}
	if data.Good < data.Received*3/4 {
		t.Errorf("chronyd thinks %d of %d answers good", data.Good, data.Received)
	}
	server.Close()
	closed = true
	stats := server.responder.Stats()
	if stats.Interleaved < 4 || stats.Unsynchronised != 0 || server.refused[reason.OK] != stats.Answered {
		t.Errorf("%+v, %v", stats, server.refused.Map())
	}
	t.Logf("%+v; chronyd sees an offset of %g s, a delay of %g s, dispersion %g s", stats, data.Offset, data.PeerDelay, data.RootDispersion)
}
