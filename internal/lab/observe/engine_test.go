package observe

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
)

// fake is a server that answers as a test says: request k (from 0) with what answer makes of the right answer.
type fake struct {
	conn     *net.UDPConn
	running  sync.WaitGroup
	mu       sync.Mutex
	requests int
}

func startFake(t *testing.T, answer func(k int, good []byte) []byte) *fake {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{conn: c}
	f.running.Go(func() {
		buf := make([]byte, 2048)
		for {
			n, client, err := c.ReadFromUDPAddrPort(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil || n < 48 {
				continue
			}
			f.mu.Lock()
			k := f.requests
			f.requests++
			f.mu.Unlock()
			if b := answer(k, goodAnswer(buf[:n])); b != nil {
				_, _ = c.WriteToUDPAddrPort(b, client)
			}
		}
	})
	t.Cleanup(func() { _ = c.Close(); f.running.Wait() })
	return f
}

func (f *fake) address() string { return f.conn.LocalAddr().String() }

func (f *fake) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.requests
}

// goodAnswer is that of a server of stratum 2 on this machine's clock, which may be wrong by a millisecond as it says.
func goodAnswer(request []byte) []byte {
	now := time.Now()
	stamp := uint64(now.Unix()+2208988800)<<32 | uint64(now.Nanosecond())<<32/1e9
	b := make([]byte, 48)
	b[0], b[1], b[3] = 4<<3|4, 2, 0xe9
	binary.BigEndian.PutUint32(b[8:], 66)
	copy(b[12:], []byte{192, 0, 2, 7})
	copy(b[24:], request[40:48])
	for _, at := range []int{16, 32, 40} {
		binary.BigEndian.PutUint64(b[at:], stamp)
	}
	return b
}

func good(_ int, b []byte) []byte { return b }

// kiss is a kiss-o'-death.
func kiss(b []byte, code string) []byte {
	b[1] = 0
	copy(b[12:], code)
	return b
}

// quick observes with many requests in a second.
func quick(hosts ...string) Options {
	c := config(hosts...)
	c.Poll, c.Fast = 0.05, true
	return Options{Config: c, Counter: "monotonic_raw"}
}

// until ends a measurement when the analysis says so, and fails the test if it never does.
func until(t *testing.T, o Options, done func(a *Analysis) bool) *Report {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	o.Show = func(a *Analysis, _ bool) {
		if done(a) {
			cancel()
		}
	}
	a, err := Run(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	if !done(a) {
		t.Fatalf("it did not come to its end: %+v", a.Report(false))
	}
	return a.Report(true)
}

func rounds(n int64) func(*Analysis) bool {
	return func(a *Analysis) bool { return a.Rounds() >= n }
}

// Three real servers on this machine's clock, of which one appears 5 ms ahead: it is found, with how far it is off; the others are
// not blamed; true time, which is this machine's clock, is in what the three prove.
func TestThreeChronydsOneFalse(t *testing.T) {
	testkit.NoLeaks(t)
	var hosts []string
	for i := range 3 {
		hosts = append(hosts, testkit.StartChronyd(t, testkit.ChronyOptions{LocalStratum: i + 1}).Address())
	}
	const shift = 5e-3
	hosts[1] = testkit.ShiftProxy(t, hosts[1], 5*time.Millisecond).Address()
	r := until(t, quick(hosts...), rounds(40))
	x := serverOf(t, r, 1)
	if x.Worst == nil || x.RoundsFalse < 35 || x.RoundsFalse > x.RoundsJudged {
		t.Fatalf("the false one was not found: %+v", x)
	}
	if x.Worst.Least <= 0 || x.Worst.Least > shift || x.Worst.Most < shift {
		t.Errorf("it is off by 5 ms, and not in %+v", *x.Worst)
	}
	if *x.Low > shift+*x.RootDistance || *x.High < shift-*x.RootDistance {
		t.Errorf("its offset of 5 ms is not in [%v, %v]", *x.Low, *x.High)
	}
	for _, i := range []int{0, 2} {
		if y := serverOf(t, r, i); y.RoundsFalse != 0 || y.Off != nil || y.Reason != reason.OK || *y.Low > 0 || *y.High < 0 {
			t.Errorf("a true server was blamed, or its interval does not contain the truth: %+v", y)
		}
	}
	for _, p := range r.Pairs {
		if with := p.A == hosts[1] || p.B == hosts[1]; with != (p.Apart > 0) {
			t.Errorf("%+v", p)
		}
		if m := p.Difference.Median; p.A == hosts[0] && p.B == hosts[1] && math.Abs(*m+shift) > 2e-3 {
			t.Errorf("the difference is %v in the median, want about −5 ms", *m)
		}
	}
	if n := r.Now; n.Reason != reason.OK || n.Taking != 3 || n.MaxFalse != 1 || *n.Low > 0 || *n.High < 0 {
		t.Errorf("true time is this machine's, and not in %+v", n)
	}
	if s := x.Stability; s == nil || s.Samples < 30 || len(s.Points) < 3 || s.Points[0].ADEV == nil || s.Points[0].TDEV == nil || s.Points[0].MTIE == nil {
		t.Errorf("no stability: %+v", s)
	}
}

// A server that says RATE is asked half as often from then on, each time it says so; the packets are counted where they arrive.
func TestRateIsObeyed(t *testing.T) {
	testkit.NoLeaks(t)
	server := startFake(t, func(k int, b []byte) []byte {
		if k == 2 || k == 4 {
			return kiss(b, "RATE")
		}
		return b
	})
	other := startFake(t, good)
	last := int64(0)
	r := until(t, quick(server.address(), other.address()), func(a *Analysis) bool {
		_, _, last = a.Last()
		return last >= 42 && server.count() >= 8
	})
	// Asked in the rounds 0, 1 and 2 (RATE: every 2), 4 and 6 (RATE: every 4), 10, 14 and so on: not once more. Rounds may be left out where
	// this machine is too busy; that makes none more.
	asked := server.count()
	if most := 5 + int(last-6)/4; asked > most || other.count() <= asked {
		t.Errorf("it was asked %d times in %d rounds, want %d at the most; the other %d times", asked, last+1, most, other.count())
	}
	x := serverOf(t, r, 0)
	if x.Every != 0.2 || x.Stopped || x.Rejections["kiss_rate"] != 2 || x.SamplesOK != uint64(asked-2) || x.SamplesSent != uint64(asked) || x.Reason != reason.OK {
		t.Errorf("%+v", x)
	}
}

// DENY and RSTR end all requests, and so does a kiss code that nobody knows; the server is named with what it said.
func TestDenyIsObeyed(t *testing.T) {
	testkit.NoLeaks(t)
	for code, want := range map[string]reason.Code{"DENY": reason.KissDeny, "RSTR": reason.KissDeny, "XFUN": reason.KissOther} {
		server := startFake(t, func(k int, b []byte) []byte {
			if k == 1 {
				return kiss(b, code)
			}
			return b
		})
		other := startFake(t, good)
		r := until(t, quick(server.address(), other.address()), rounds(12))
		if n := server.count(); n != 2 {
			t.Errorf("%s: asked %d times, want 2", code, n)
		}
		x := serverOf(t, r, 0)
		if !x.Stopped || x.Reason != want || x.SamplesOK != 1 || x.SamplesSent != 2 || x.Low != nil {
			t.Errorf("%s: %+v", code, x)
		}
		if y := serverOf(t, r, 1); y.Reason != reason.OK || y.Low == nil {
			t.Errorf("%s: the other server: %+v", code, y)
		}
	}
}

// A server that sends garbage, one that is dead, and one that does not know the time are named with the reason; none of them has
// an offset, and the good one does.
func TestUselessServersAreNamed(t *testing.T) {
	testkit.NoLeaks(t)
	garbage := startFake(t, func(int, []byte) []byte { return []byte("garbage") })
	unsynchronised := startFake(t, func(_ int, b []byte) []byte { b[0] |= 3 << 6; return b })
	liar := startFake(t, func(_ int, b []byte) []byte {
		binary.BigEndian.PutUint64(b[40:], binary.BigEndian.Uint64(b[40:])+60<<32)
		return b
	})
	dead := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(testkit.FreeUDPPort(t))).String()
	fine := startFake(t, good)
	r := until(t, quick(garbage.address(), unsynchronised.address(), liar.address(), dead, fine.address()), func(a *Analysis) bool {
		return a.Rounds() >= 6 && a.servers[0].asked >= 2 && a.servers[3].asked >= 4
	})
	for i, want := range []reason.Code{reason.PacketTooShort, reason.ServerUnsynchronised, reason.SampleNegativeDelay, reason.SourceUnreachable, reason.OK} {
		x := serverOf(t, r, i)
		if x.Reason != want || (x.SamplesOK > 0) != (want == reason.OK) || (x.Low != nil) != (want == reason.OK) || x.SamplesSent < 2 {
			t.Errorf("%v: %+v", want, x)
		}
	}
	if r.Complete() || r.Now.Taking != 1 {
		t.Errorf("%+v", r.Now)
	}
	var b strings.Builder
	if err := r.Summary(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"packet_too_short", "shorter than an NTP header", "nothing listens", "server_unsynchronised", "sample_negative_delay"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
}

// A measurement that goes on with its log keeps everything, asks nobody who has refused, and says how long the gap was.
func TestResume(t *testing.T) {
	testkit.NoLeaks(t)
	deny := startFake(t, func(_ int, b []byte) []byte { return kiss(b, "DENY") })
	one, two := startFake(t, good), startFake(t, good)
	dir := filepath.Join(t.TempDir(), "out")
	first := session(t, dir, false, 8, one.address(), two.address(), deny.address())
	path := filepath.Join(dir, LogName)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// Killed in the middle of a line.
	if err := os.WriteFile(path, append(slices.Clone(before), `{"sample":{"segment":0,"ro`...), 0o600); err != nil {
		t.Fatal(err)
	}
	second := session(t, dir, true, 16)
	after, err := os.ReadFile(path)
	if err != nil || !strings.HasPrefix(string(after), string(before)) {
		t.Fatalf("%v: what was written is not there any more", err)
	}
	if second.Segments != 1 || second.GapsTotal != 1 || second.Rounds < 16 || second.Log.CutBytes != 26 || second.Log.Damaged != 0 {
		t.Errorf("%d segments, gaps %+v, %d rounds, %+v", second.Segments, second.Gaps, second.Rounds, second.Log)
	}
	for i := range 2 {
		x, y := serverOf(t, first, i), serverOf(t, second, i)
		if y.SamplesOK < x.SamplesOK+6 || y.Stability.Samples != y.SamplesOK || y.Stability.Breaks != 0 {
			t.Errorf("%d samples, then %d, in series of %+v", x.SamplesOK, y.SamplesOK, y.Stability)
		}
	}
	if deny.count() != 1 || !second.Servers[2].Stopped {
		t.Errorf("who refused was asked %d times", deny.count())
	}
	again, err := Summarise(dir, nil)
	if err != nil || again.Servers[0].SamplesOK != second.Servers[0].SamplesOK || again.Rounds != second.Rounds || *again.Ended != EndInterrupted {
		t.Errorf("%v: %+v", err, again)
	}
}

// session measures into a directory until so many rounds are in it.
func session(t *testing.T, dir string, resume bool, n int64, hosts ...string) *Report {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	s := Session{Options: quick(hosts...), Out: dir, Resume: resume}
	s.Show = func(a *Analysis, _ bool) {
		if a.Rounds() >= n {
			cancel()
		}
	}
	r, _, err := s.Run(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// After a reboot, or when the counter did not run on, a new segment begins; nothing of the old timeline is carried over.
func TestResumeAfterReboot(t *testing.T) {
	testkit.NoLeaks(t)
	server := startFake(t, good)
	for name, change := range map[string]func(s *Segment, last *Instant){
		"another boot":       func(s *Segment, _ *Instant) { s.BootID = "another" },
		"a counter ahead":    func(_ *Segment, last *Instant) { last.Ticks += 1e12 },
		"a lost minute":      func(_ *Segment, last *Instant) { last.Ticks -= 60e9 },
		"a suspend":          func(_ *Segment, last *Instant) { last.Suspended -= 5e9 },
		"an unknown counter": func(s *Segment, _ *Instant) { s.Counter = "nonsense" },
	} {
		dir := t.TempDir()
		counter, err := openHost("monotonic_raw")
		if err != nil {
			t.Fatal(err)
		}
		boot, err := bootID()
		if err != nil {
			t.Fatal(err)
		}
		now, err := counter.now()
		if err != nil {
			t.Fatal(err)
		}
		anchor := now
		anchor.Ticks -= 100e9
		anchor.Raw -= 100e9
		f := counter.counter.Frequency()
		s := Segment{BootID: boot, Counter: counter.counter.Spec(), Hertz: f.Hertz, Anchor: anchor}
		c := quick(server.address()).Config
		l, err := CreateLog(dir, NewHeader("test", &c))
		if err != nil {
			t.Fatal(err)
		}
		change(&s, &now)
		for _, r := range []*Record{{Segment: &s}, {Round: &Round{Number: 1, At: now}}} {
			if err := l.Append(r); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		r := session(t, dir, true, 4)
		if r.Segments != 2 || r.GapsTotal != 1 || r.Servers[0].SamplesOK < 2 || (r.Gaps[0].Reason == reason.OK) != (name == "another boot") {
			t.Errorf("%s: %d segments, gaps %+v", name, r.Segments, r.Gaps)
		}
	}
}

func TestResumeIsRefused(t *testing.T) {
	dir := t.TempDir()
	c := quick("127.0.0.1:9").Config
	length := 0.01
	c.Length = &length
	l, err := CreateLog(dir, NewHeader("test", &c))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	refused := errors.New("not so")
	s := Session{Out: dir, Resume: true, Agree: func(*Config) error { return refused }}
	if _, _, err := s.Run(t.Context()); !errors.Is(err, refused) {
		t.Errorf("%v", err)
	}
	s = Session{Out: dir, Resume: true}
	if _, _, err := s.Run(t.Context()); !errors.Is(err, ErrComplete) {
		t.Errorf("%v", err)
	}
	s = Session{Out: t.TempDir(), Resume: true}
	if _, _, err := s.Run(t.Context()); err == nil {
		t.Error("nothing was resumed")
	}
	s = Session{Options: quick("127.0.0.1:9"), Out: dir}
	if _, _, err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "--resume") {
		t.Errorf("%v", err)
	}
}

// A name is looked up at the start, and again after failures: another address is another clock. Two names of one address are one.
func TestNames(t *testing.T) {
	testkit.NoLeaks(t)
	first, second := startFake(t, good), startFake(t, good)
	port := func(f *fake) string { _, p, _ := net.SplitHostPort(f.address()); return p }
	var mu sync.Mutex
	lookups := map[string]int{}
	o := quick("moving.test:"+port(second), "one.test:"+port(first), "same.test:"+port(first), "none.test")
	o.Lookup = func(_ context.Context, name string) ([]netip.Addr, error) {
		mu.Lock()
		defer mu.Unlock()
		lookups[name]++
		switch name {
		case "moving.test":
			if lookups[name] == 1 {
				return []netip.Addr{netip.MustParseAddr("127.0.0.77")}, nil // nobody is there
			}
			return []netip.Addr{netip.MustParseAddr("127.0.0.77"), netip.MustParseAddr("127.0.0.1")}, nil
		case "none.test":
			return nil, errors.New("no such host")
		}
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}
	r := until(t, o, func(a *Analysis) bool { return a.servers[0].answered > 2 })
	if x := serverOf(t, r, 0); *x.Address != "127.0.0.1:"+port(second) || x.Reason != reason.OK || x.SamplesLost < resolveAfter {
		t.Errorf("%+v", x)
	}
	same := []reason.Code{serverOf(t, r, 1).Reason, serverOf(t, r, 2).Reason}
	if !slices.Contains(same, reason.OK) || !slices.Contains(same, reason.SourceDuplicate) {
		t.Errorf("two names of one address: %v", same)
	}
	if x := serverOf(t, r, 3); x.Reason != reason.SourceResolve || x.SamplesSent != 0 || x.Address != nil || *x.Message != "no such host" {
		t.Errorf("%+v", x)
	}
}

// The time is over; nothing is left behind; what was measured is there.
func TestLength(t *testing.T) {
	testkit.NoLeaks(t)
	server := startFake(t, good)
	o := quick(server.address())
	o.For = 500 * time.Millisecond
	a, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if r := a.Report(true); *r.Ended != EndLength || r.Rounds == 0 || r.Servers[0].SamplesOK == 0 || r.Measured < 0.4 {
		t.Errorf("%+v", r)
	}
}

// What can no longer be stored ends the measurement with an error, and what was measured before is told.
func TestStorageFails(t *testing.T) {
	testkit.NoLeaks(t)
	server := startFake(t, good)
	o := quick(server.address())
	l, err := CreateLog(t.TempDir(), NewHeader("test", &o.Config))
	if err != nil {
		t.Fatal(err)
	}
	o.Log = l
	n := 0
	o.Show = func(a *Analysis, over bool) {
		if n++; a.Rounds() == 5 && over {
			_ = l.file.Close()
		}
	}
	a, err := Run(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), "cannot be stored") || a.Report(true).Servers[0].SamplesOK < 3 {
		t.Errorf("%v", err)
	}
}

func TestNoCounter(t *testing.T) {
	o := quick("127.0.0.1:9")
	o.Counter = "nonsense"
	if _, err := Run(t.Context(), o); err == nil {
		t.Error("a counter that does not exist was used")
	}
}
