package query

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
)

// quick are options for servers on loopback.
func quick() Options {
	return Options{Samples: 4, Gap: time.Millisecond, Timeout: 10 * time.Second}
}

// one measures one host and returns its result.
func one(t *testing.T, host string, o Options) Result {
	t.Helper()
	report, err := Run(context.Background(), []string{host}, o)
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Results) != 1 || report.Results[0].Host != host {
		t.Fatalf("results %+v, want one for %s", report.Results, host)
	}
	return report.Results[0]
}

func TestRealChronyd(t *testing.T) {
	testkit.NoLeaks(t)
	server := testkit.StartChronyd(t, testkit.ChronyOptions{LocalStratum: 5})
	r := one(t, server.Address(), quick())
	if r.Offset == nil || r.Error == nil || r.Reason != nil || r.Message != nil {
		t.Fatalf("no measurement: %+v", r)
	}
	// chronyd serves this machine's own clock: the true offset is 0.
	if math.Abs(*r.Offset) > *r.Error {
		t.Errorf("offset %v ± %v does not contain the truth, 0", *r.Offset, *r.Error)
	}
	if *r.Address != server.Address() || *r.Stratum != 5 || *r.Leap != 0 || *r.Version != 4 || *r.ReferenceID != "127.127.1.1" {
		t.Errorf("address %s stratum %d leap %d version %d reference %s", *r.Address, *r.Stratum, *r.Leap, *r.Version, *r.ReferenceID)
	}
	if r.SamplesSent != 4 || r.SamplesOK != 4 || r.SamplesLost != 0 || *r.ReceiveStamp != "kernel" {
		t.Errorf("samples %d sent, %d good, %d lost, stamps %s", r.SamplesSent, r.SamplesOK, r.SamplesLost, *r.ReceiveStamp)
	}
	if *r.DelayMin <= 0 || *r.DelayMin > *r.DelayMedian || *r.DelayMin/2 > *r.Error || *r.RootDistance > *r.Error {
		t.Errorf("delay %v to %v, root distance %v do not fit error %v", *r.DelayMin, *r.DelayMedian, *r.RootDistance, *r.Error)
	}
}

// Several servers at a time, of which one is 50 ms ahead and one 20 s behind, one is not synchronised, and one is not there.
func TestSeveralServers(t *testing.T) {
	testkit.NoLeaks(t)
	server := testkit.StartChronyd(t, testkit.ChronyOptions{LocalStratum: 1})
	unsynchronised := testkit.StartChronyd(t, testkit.ChronyOptions{})
	hosts := []string{
		server.Address(),
		testkit.ShiftProxy(t, server.Address(), 50*time.Millisecond).Address(),
		testkit.ShiftProxy(t, server.Address(), -20*time.Second).Address(),
		unsynchronised.Address(),
		fmt.Sprintf("127.0.0.1:%d", testkit.FreeUDPPort(t)),
	}
	report, err := Run(context.Background(), hosts, quick())
	if err != nil {
		t.Fatal(err)
	}
	for i, truth := range []float64{0, 0.05, -20} {
		r := report.Results[i]
		if r.Offset == nil || math.Abs(*r.Offset-truth) > *r.Error {
			t.Errorf("%s: %+v does not contain the truth, %v", hosts[i], r, truth)
		}
	}
	if r := report.Results[3]; r.Offset != nil || r.Reason == nil || *r.Reason != reason.ServerUnsynchronised || *r.Leap != 3 || r.SamplesLost != 4 {
		t.Errorf("a server that is not synchronised: %+v", r)
	}
	if r := report.Results[4]; r.Offset != nil || r.Reason == nil || *r.Reason != reason.SourceUnreachable || r.Stratum != nil || r.SamplesSent != 4 {
		t.Errorf("a server that is not there: %+v", r)
	}
	if report.Good() {
		t.Error("the report is called good")
	}
	var table bytes.Buffer
	if err := report.Table(&table); err != nil {
		t.Fatal(err)
	}
	for _, want := range append(hosts, "unsynchronised", "nothing listens", "0/4", "4/4", "±", "-20.00 s") {
		if !strings.Contains(table.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, table.String())
		}
	}
}

// hostile is a server that answers as a test says. Request k (from 0) is answered with what answer returns, in order.
type hostile struct {
	conn     *net.UDPConn
	running  sync.WaitGroup
	mu       sync.Mutex
	requests int
}

func startHostile(t *testing.T, answer func(k int, good []byte) [][]byte) *hostile {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	h := &hostile{conn: c}
	h.running.Go(func() {
		buf := make([]byte, 2048)
		for {
			n, client, err := c.ReadFromUDPAddrPort(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil || n < 48 {
				continue
			}
			h.mu.Lock()
			k := h.requests
			h.requests++
			h.mu.Unlock()
			for _, datagram := range answer(k, goodAnswer(buf[:n], time.Now())) {
				_, _ = c.WriteToUDPAddrPort(datagram, client)
			}
		}
	})
	t.Cleanup(func() { _ = c.Close(); h.running.Wait() })
	return h
}

func (h *hostile) address() string { return h.conn.LocalAddr().String() }

func (h *hostile) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.requests
}

// goodAnswer is what an honest server of stratum 2 answers at that time.
func goodAnswer(request []byte, now time.Time) []byte {
	b := make([]byte, 48)
	b[0], b[1], b[2], b[3] = 4<<3|4, 2, 6, 0xe9 // version 4, mode 4; precision 2⁻²³ s
	binary.BigEndian.PutUint32(b[4:], 655)      // root delay 10 ms
	binary.BigEndian.PutUint32(b[8:], 328)      // root dispersion 5 ms
	copy(b[12:], []byte{192, 0, 2, 7})
	stamp := ntpTime(now)
	binary.BigEndian.PutUint64(b[16:], stamp)
	copy(b[24:], request[40:48])
	binary.BigEndian.PutUint64(b[32:], stamp)
	binary.BigEndian.PutUint64(b[40:], stamp)
	return b
}

func ntpTime(t time.Time) uint64 {
	return uint64(t.Unix()+2208988800)<<32 | uint64(t.Nanosecond())<<32/1e9
}

// with returns a copy of the packet with some bytes replaced.
func with(b []byte, at int, bytes ...byte) []byte {
	b = slices.Clone(b)
	copy(b[at:], bytes)
	return b
}

func shifted(b []byte, at int, by time.Duration) []byte {
	b = slices.Clone(b)
	binary.BigEndian.PutUint64(b[at:], binary.BigEndian.Uint64(b[at:])+uint64(int64(by.Seconds()*(1<<32))))
	return b
}

func TestHostileServers(t *testing.T) {
	type answers = func(k int, good []byte) [][]byte
	always := func(change func(good []byte) []byte) answers {
		return func(_ int, good []byte) [][]byte { return [][]byte{change(good)} }
	}
	for _, c := range []struct {
		name     string
		answer   answers
		reason   reason.Code // OK: an offset is expected
		requests int         // how often it is asked
		stray    reason.Code // counted beside a good answer
	}{
		{"honest", always(func(g []byte) []byte { return g }), reason.OK, 4, reason.OK},
		{"poll and precision -128", always(func(g []byte) []byte { return with(g, 2, 0x80, 0x80) }), reason.OK, 4, reason.OK},
		{"poll 127", always(func(g []byte) []byte { return with(g, 2, 0x7f) }), reason.OK, 4, reason.OK},
		{"precision 127", always(func(g []byte) []byte { return with(g, 3, 0x7f) }), reason.ServerRootDistance, 4, reason.OK},
		{"short", always(func(g []byte) []byte { return g[:47] }), reason.PacketTooShort, 1, reason.OK},
		{"empty", always(func([]byte) []byte { return nil }), reason.PacketTooShort, 1, reason.OK},
		{"long", always(func(g []byte) []byte { return append(g, make([]byte, 1600)...) }), reason.PacketTooLong, 1, reason.OK},
		{"malformed extension", always(func(g []byte) []byte { return append(g, bytes.Repeat([]byte{0xff}, 64)...) }), reason.PacketMalformed, 1, reason.OK},
		{"wrong origin", always(func(g []byte) []byte { return with(g, 24, 1, 2, 3) }), reason.PacketOrigin, 1, reason.OK},
		{"client mode", always(func(g []byte) []byte { return with(g, 0, 4<<3|3) }), reason.PacketMode, 1, reason.OK},
		{"version 5", always(func(g []byte) []byte { return with(g, 0, 5<<3|4) }), reason.PacketVersion, 1, reason.OK},
		{"unsynchronised", always(func(g []byte) []byte { return with(g, 0, 3<<6|4<<3|4) }), reason.ServerUnsynchronised, 4, reason.OK},
		{"stratum 16", always(func(g []byte) []byte { return with(g, 1, 16) }), reason.ServerUnsynchronised, 4, reason.OK},
		{"stratum 200", always(func(g []byte) []byte { return with(g, 1, 200) }), reason.ServerStratum, 4, reason.OK},
		{"root delay", always(func(g []byte) []byte { return with(g, 4, 0xff, 0xff, 0xff, 0xff) }), reason.ServerRootDistance, 4, reason.OK},
		{"root dispersion", always(func(g []byte) []byte { return with(g, 8, 0, 17) }), reason.ServerRootDistance, 4, reason.OK},
		{"no transmit time", always(func(g []byte) []byte { return with(g, 40, 0, 0, 0, 0, 0, 0, 0, 0) }), reason.PacketZeroTimestamp, 4, reason.OK},
		{"no receive time", always(func(g []byte) []byte { return with(g, 32, 0, 0, 0, 0, 0, 0, 0, 0) }), reason.PacketZeroTimestamp, 4, reason.OK},
		{"answered before asked", always(func(g []byte) []byte { return shifted(g, 32, time.Second) }), reason.ServerOrder, 4, reason.OK},
		{"served longer than it took", always(func(g []byte) []byte { return shifted(g, 40, time.Minute) }), reason.SampleNegativeDelay, 4, reason.OK},
		{"jumps", func(k int, g []byte) [][]byte {
			by := time.Duration(k) * time.Minute
			return [][]byte{shifted(shifted(g, 32, by), 40, by)}
		}, reason.SampleEmptyInterval, 4, reason.OK},
		{"kiss RATE", always(func(g []byte) []byte { return with(with(g, 1, 0), 12, 'R', 'A', 'T', 'E') }), reason.KissRate, 1, reason.OK},
		{"kiss DENY without times", always(func(g []byte) []byte {
			return with(with(with(g, 1, 0), 12, 'D', 'E', 'N', 'Y'), 32, make([]byte, 16)...)
		}), reason.KissDeny, 1, reason.OK},
		{"kiss RSTR", always(func(g []byte) []byte { return with(with(g, 1, 0), 12, 'R', 'S', 'T', 'R') }), reason.KissDeny, 1, reason.OK},
		{"kiss NKEY", always(func(g []byte) []byte { return with(with(g, 1, 0), 12, 'N', 'K', 'E', 'Y') }), reason.KissOther, 1, reason.OK},
		{"INIT", always(func(g []byte) []byte { return with(with(g, 1, 0), 12, 'I', 'N', 'I', 'T') }), reason.ServerUnsynchronised, 4, reason.OK},
		{"stratum 0", always(func(g []byte) []byte { return with(g, 1, 0) }), reason.ServerUnsynchronised, 4, reason.OK},
		{"forged kiss", func(_ int, g []byte) [][]byte {
			forged := with(with(with(g, 1, 0), 12, 'D', 'E', 'N', 'Y'), 24, 9, 9, 9)
			return [][]byte{forged, g}
		}, reason.OK, 4, reason.PacketOrigin},
		{"flood before the answer", func(_ int, g []byte) [][]byte {
			flood := slices.Repeat([][]byte{with(g, 24, 7, 7), {}, bytes.Repeat([]byte{0xff}, 700)}, 20)
			return append(flood, g)
		}, reason.OK, 4, reason.PacketOrigin},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := startHostile(t, c.answer)
			o := quick()
			if ignored := reason.PacketTooShort; c.reason >= ignored && c.reason <= reason.PacketOrigin {
				// Nothing but the time-out ends the wait for a good answer.
				o.Samples, o.Timeout = c.requests, 500*time.Millisecond
			}
			r := one(t, server.address(), o)
			if c.reason == reason.OK {
				// The honest server's clock is this machine's.
				if r.Offset == nil || r.Reason != nil || math.Abs(*r.Offset) > *r.Error {
					t.Errorf("result %+v, want an offset around 0", r)
				}
				if r.RootDistance == nil || *r.RootDistance < 0.0099 || *r.Error < *r.RootDistance {
					t.Errorf("error does not contain the root distance: %+v", r)
				}
			} else if r.Offset != nil || r.Error != nil || r.Reason == nil || *r.Reason != c.reason || r.Message == nil {
				t.Errorf("result %+v, want no offset because of %v", r, c.reason)
			}
			if c.stray != reason.OK && r.Rejections[c.stray.String()] == 0 {
				t.Errorf("rejections %v, want some %v", r.Rejections, c.stray)
			}
			if got := server.count(); got != c.requests || r.SamplesSent != c.requests {
				t.Errorf("asked %d times, %d samples sent, want %d", got, r.SamplesSent, c.requests)
			}
		})
	}
}

func TestKissIsObeyedUnderEveryName(t *testing.T) {
	server := startHostile(t, func(_ int, g []byte) [][]byte { return [][]byte{with(with(g, 1, 0), 12, 'R', 'A', 'T', 'E')} })
	_, port, err := net.SplitHostPort(server.address())
	if err != nil {
		t.Fatal(err)
	}
	o := quick()
	o.Gap = 50 * time.Millisecond
	o.Lookup = func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}
	report, err := Run(context.Background(), []string{"a.test:" + port, "b.test:" + port}, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range report.Results {
		if r.Reason == nil || *r.Reason != reason.KissRate {
			t.Errorf("%s: %+v, want kiss_rate", r.Host, r)
		}
	}
	if got := server.count(); got != 1 {
		t.Errorf("a server that said RATE at once was asked %d times", got)
	}
}

func TestSamplesBeforeAKissAreKept(t *testing.T) {
	server := startHostile(t, func(k int, g []byte) [][]byte {
		if k == 2 {
			return [][]byte{with(with(g, 1, 0), 12, 'R', 'A', 'T', 'E')}
		}
		return [][]byte{g}
	})
	r := one(t, server.address(), quick())
	if r.Offset == nil || r.Reason == nil || *r.Reason != reason.KissRate || r.SamplesOK != 2 || r.SamplesSent != 3 || server.count() != 3 {
		t.Errorf("two good answers, then RATE: %+v, asked %d times", r, server.count())
	}
}

func TestCancelledWhileWaiting(t *testing.T) {
	testkit.NoLeaks(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	answered := false
	server := startHostile(t, func(_ int, g []byte) [][]byte {
		if !answered {
			answered = true
			return [][]byte{g}
		}
		cancel()
		return nil
	})
	o := quick()
	o.Timeout = time.Hour // only the cancellation can end it
	report, err := Run(ctx, []string{server.address(), "127.0.0.1:9"}, o)
	if err != nil {
		t.Fatal(err)
	}
	r := report.Results[0]
	if r.Offset == nil || r.SamplesOK != 1 || r.SamplesSent != 2 || r.Reason == nil || *r.Reason != reason.SourceWaiting {
		t.Errorf("cancelled after one sample: %+v", r)
	}
}

func TestCancelledBefore(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	server := startHostile(t, func(_ int, g []byte) [][]byte { return [][]byte{g} })
	report, err := Run(ctx, []string{server.address()}, quick())
	if err != nil {
		t.Fatal(err)
	}
	if r := report.Results[0]; r.Offset != nil || r.SamplesOK != 0 || r.Message == nil {
		t.Errorf("cancelled before the start: %+v", r)
	}
}

func TestGapIsKept(t *testing.T) {
	var mu sync.Mutex
	var times []time.Time
	server := startHostile(t, func(_ int, g []byte) [][]byte {
		mu.Lock()
		defer mu.Unlock()
		times = append(times, time.Now())
		return [][]byte{g}
	})
	o := quick()
	o.Gap = 100 * time.Millisecond
	if r := one(t, server.address(), o); r.SamplesOK != 4 {
		t.Fatalf("%+v", r)
	}
	mu.Lock()
	defer mu.Unlock()
	// Sending late is allowed, and can bring two arrivals closer together; the whole cannot be shorter than three gaps by more
	// than one such delay.
	if span := times[3].Sub(times[0]); span < 2*o.Gap {
		t.Errorf("four requests within %v, the gap is %v", span, o.Gap)
	}
}

func TestSteppedClockIsNoticed(t *testing.T) {
	for _, step := range []time.Duration{time.Hour, -time.Hour, 2 * time.Millisecond} {
		server := startHostile(t, func(_ int, g []byte) [][]byte { return [][]byte{g} })
		o := quick()
		o.Samples = 1
		q, err := newQuery(o)
		if err != nil {
			t.Fatal(err)
		}
		honest, readings := q.clock, 0
		q.clock = func() instant {
			now := honest()
			if readings++; readings > 1 {
				now.wall = now.wall.Add(step) // stepped between the request and the answer
			}
			return now
		}
		if r := q.host(context.Background(), server.address()); r.Offset != nil || r.Reason == nil || *r.Reason != reason.ClockStepped {
			t.Errorf("a step of %v: %+v", step, r)
		}
	}
}

func TestHostNames(t *testing.T) {
	q, err := newQuery(Options{Lookup: func(_ context.Context, name string) ([]netip.Addr, error) {
		switch name {
		case "two.test":
			return []netip.Addr{netip.MustParseAddr("::ffff:192.0.2.1"), netip.MustParseAddr("2001:db8::1")}, nil
		case "none.test":
			return nil, nil
		}
		return nil, errors.New("no such host")
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ host, want, fails string }{
		{"192.0.2.1", "192.0.2.1:123", ""},
		{"192.0.2.1:5", "192.0.2.1:5", ""},
		{"2001:db8::1", "[2001:db8::1]:123", ""},
		{"[2001:db8::1]:5", "[2001:db8::1]:5", ""},
		{"fe80::1%lo", "[fe80::1%lo]:123", ""},
		{"two.test", "192.0.2.1:123 [2001:db8::1]:123", ""},
		{"two.test:9", "192.0.2.1:9 [2001:db8::1]:9", ""},
		{"none.test", "", "none is known"},
		{"other.test", "", "no such host"},
		{"two.test:0", "", "not a port"},
		{"two.test:65536", "", "not a port"},
		{"two.test:ntp", "", "not a port"},
		{"", "", "no such host"},
	} {
		addresses, err := q.resolve(context.Background(), c.host)
		var got []string
		for _, a := range addresses {
			got = append(got, a.String())
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%q: %v, want %s", c.host, got, c.want)
		}
		if (err == nil) != (c.fails == "") || err != nil && !strings.Contains(err.Error(), c.fails) {
			t.Errorf("%q: error %v, want %q", c.host, err, c.fails)
		}
	}
	if r := q.host(context.Background(), "other.test"); r.Reason == nil || *r.Reason != reason.SourceResolve || r.Address != nil || r.SamplesSent != 0 {
		t.Errorf("a name that does not resolve: %+v", r)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []Options{{Samples: -1}, {Samples: 1001}, {Gap: -1}, {Timeout: -1}, {Parallel: -1}} {
		if _, err := Run(context.Background(), []string{"127.0.0.1"}, o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
	if _, err := Run(context.Background(), nil, Options{}); err == nil {
		t.Error("no hosts were accepted")
	}
}

func TestFirstAddressWithARouteIsTaken(t *testing.T) {
	server := startHostile(t, func(_ int, g []byte) [][]byte { return [][]byte{g} })
	good := netip.MustParseAddrPort(server.address())
	// No machine has a route to an address with a zone that is no interface.
	c, a, err := dial([]netip.AddrPort{netip.MustParseAddrPort("[fe80::1%nosuch]:123"), good})
	if err != nil || a != good {
		t.Fatalf("dial: %v, %v", a, err)
	}
	_ = c.Close()
	if _, _, err := dial([]netip.AddrPort{netip.MustParseAddrPort("[fe80::1%nosuch]:123")}); err == nil {
		t.Error("an address without a route was dialled")
	}
}
