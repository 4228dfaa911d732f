package e2e

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// A chronyd that serves this machine's own clock is the only server. The requirement: synchronised within 15 s, the truth in the
// interval at every one of 1,000 reads, an error below 50 µs. Both with the polls that a user gets who writes an address only, and
// with fast ones. It does not run beside other tests of this package, so that its figures are good.
func TestFollowsChronyd(t *testing.T) {
	server := chronyServer(t, 1)
	plain, fast := newShippedHost(t), newShippedHost(t)
	plain.configure(fmt.Sprintf("[[source]]\naddress = %q\n", server.Address()))
	fast.configure(fastSource(server.Address()))
	limit := 15 * time.Second
	if raceEnabled {
		limit *= 4
	}
	began := time.Now()
	plain.start()
	fast.start()
	var took [2]time.Duration
	for i, h := range []*host{fast, plain} {
		h.awaitFor(limit, "the clock to be synchronised, as it must be within 15 s", func() bool {
			s, err := h.ask()
			return err == nil && s.Status == virtualclock.Synchronised
		})
		took[i] = time.Since(began)
	}
	fast.watch(truth{})
	plain.watch(truth{})
	got := measure(t, truth{}, 1000, 4*time.Millisecond, plain.open(), fast.open())
	t.Logf("synchronised after %v, with fast polls after %v", took[1], took[0])
	t.Logf("default polls: %v", &got[0])
	t.Logf("polls of 0.1 s: %v", &got[1])
	for i, h := range []*host{plain, fast} {
		// On a busy machine a poll of 16 s has hardly an exchange that nobody delayed.
		if most := []float64{1e-3, 50e-6}[i]; got[i].median() > most {
			t.Errorf("the median error is %g s, want below %g s", got[i].median(), most)
		}
		if got[i].beyond > 0 {
			t.Errorf("%d errors are larger than the bound claimed for them", got[i].beyond)
		}
		checkCommands(t, h, server.Address())
		t.Logf("resident memory: %s", residentMemory(t, h.PID()))
	}
	info, err := os.Stat(plain.program)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the program has %.1f MB", float64(info.Size())/1e6)
}

// checkCommands asks everything that a user or a script asks of a synchronised host.
func checkCommands(t *testing.T, h *host, source string) {
	t.Helper()
	before := truth{}.now()
	var now control.Now
	h.commandJSON(exitOK, &now, "now")
	after := truth{}.now()
	if now.Status != virtualclock.Synchronised || now.EarliestNS == nil || now.LatestNS == nil || *now.LatestNS < before || *now.EarliestNS > after ||
		now.Epoch == 0 || now.BoundS == nil || now.Via != "page" || now.Kind != control.KindExternal {
		t.Errorf("now: %+v", now)
	}
	var s control.Status
	h.commandJSON(exitOK, &s, "status")
	if s.Status != virtualclock.Synchronised || s.Source == nil || *s.Source != source || s.BoundS == nil || *s.BoundS <= 0 || *s.BoundS > 1e-3 ||
		s.RatePPM == nil || s.Mode != "external" || s.PID != h.PID() || s.Stratum == nil || *s.Stratum != 2 || len(s.Trouble) != 0 {
		t.Errorf("status: %+v", s)
	}
	var list control.Sources
	h.commandJSON(exitOK, &list, "sources")
	if len(list.Sources) != 1 || !list.Sources[0].Selected || list.Sources[0].Name != source || list.Sources[0].Stratum == nil || *list.Sources[0].Stratum != 1 || list.Sources[0].Reach == 0 {
		t.Errorf("sources: %+v", list)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"now"}, exitOK, "synchronised"},
		{[]string{"status"}, exitOK, "true time is within"},
		{[]string{"sources"}, exitOK, source},
		{[]string{"wait", "--bound", "1ms"}, exitOK, "synchronised"},
		{[]string{"wait", "--bound", "1ns", "--timeout", "100ms"}, exitTimeout, "no bound of 1ns"},
	} {
		if r := h.clockd(c.args...); r.code != c.code || !strings.Contains(r.out+r.err, c.want) {
			t.Errorf("clockd %v ended with %d, want %d: %s%s", c.args, r.code, c.code, r.out, r.err)
		}
	}
}

// residentMemory returns what the kernel says that a process holds.
func residentMemory(t *testing.T, pid int) string {
	t.Helper()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(b), "\n") {
		if value, found := strings.CutPrefix(line, "VmRSS:"); found {
			return strings.TrimSpace(value)
		}
	}
	t.Fatal("the kernel does not tell the resident memory")
	return ""
}

// A chronyd is the client, of a clockd that is the reference and of one that follows another chronyd: every answer arrives, the
// offset is small, and the exchanges are interleaved, which both sides say.
func TestServesChronyd(t *testing.T) {
	for name, setUp := range map[string]func(t *testing.T, h *host, serve string) (stratum int){
		"the reference": func(t *testing.T, h *host, serve string) int {
			h.configure("[local]\nstratum = 3", listening(serve))
			return 3
		},
		"a follower": func(t *testing.T, h *host, serve string) int {
			server := chronyServerAt(t, freeAddress(t, 11), 1)
			h.configure(fastSource(server.Address()), listening(serve))
			return 2
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			serve := freeAddress(t, 12)
			stratum := setUp(t, h, serve)
			h.run()
			h.reach(virtualclock.Synchronised)
			serveChronyd(t, h, serve, stratum)
		})
	}
}

func serveChronyd(t *testing.T, h *host, serve string, stratum int) {
	watched := h.watch(truth{})
	if h.status().Mode == "local" {
		// The reference claims a bound of 0 on the time that it defines: it cannot be compared with another clock.
		watched.forgive()
	}
	ask := testkit.ChronyServer{Address: serve, MinPoll: -4, MaxPoll: -2, Interleaved: true}
	// One follows, the other only measures: its offset is not steered away.
	observing := ask
	observing.Extra = []string{"noselect"}
	follower := testkit.StartChronyd(t, testkit.ChronyOptions{ClientOnly: true, Servers: []testkit.ChronyServer{ask}})
	observer := testkit.StartChronyd(t, testkit.ChronyOptions{ClientOnly: true, Servers: []testkit.ChronyServer{observing}})
	for role, c := range map[string]*testkit.Chronyd{"following": follower, "observing": observer} {
		h.await("the chronyd that is "+role+" to have had eight answers, interleaved", func() bool {
			s := c.Sources()
			return len(s) == 1 && s[0].Reach == 0o377 && c.Data("127.0.0.12").Interleaved
		})
	}
	h.await("a chronyd to follow clockd", func() bool { return follower.Sources()[0].State == '*' })
	// A single exchange may have been delayed: chronyd's own weighing of many must be good, and one of a few.
	h.await("an offset below 100 µs", func() bool {
		return math.Abs(follower.Data("127.0.0.12").Offset) < 100e-6 && math.Abs(observer.Data("127.0.0.12").Offset) < 100e-6
	})
	d, s := observer.Data("127.0.0.12"), h.status()
	t.Logf("chronyd says: offset %.3f µs, delay %.3f µs, root delay %g s, root dispersion %g s; clockd's server: %+v", d.Offset*1e6, d.PeerDelay*1e6,
		d.RootDelay, d.RootDispersion, *s.Server)
	if d.Stratum != stratum || d.Leap != 0 || d.Good == 0 {
		t.Errorf("chronyd sees %+v, want stratum %d", d, stratum)
	}
	if s.Server == nil || s.Server.Answers == 0 || s.Server.Answers != s.Server.Requests || len(s.Server.Rejected) != 0 {
		t.Errorf("clockd's server: %+v, want an answer to every request", s.Server)
	}
}

// The other way round: clockd is chronyd's client, and both sides say that the exchanges are interleaved.
func TestInterleavedWithChronydAsServer(t *testing.T) {
	t.Parallel()
	server := chronyServer(t, 1)
	h := newHost(t)
	h.configure(fastSource(server.Address()))
	h.run()
	h.watch(truth{})
	h.await("interleaved answers, or so many others that there will be none", func() bool {
		x := h.source()
		return x.Interleaved || x.Received > 100
	})
	if !h.source().Interleaved {
		t.Errorf("chronyd interleaves, but none of %d answers was interleaved", h.source().Received)
	}
	// chronyc serverstats, 4.3: the tenth figure counts interleaved packets.
	fields := strings.Split(strings.TrimSpace(server.Chronyc("serverstats")), ",")
	if len(fields) < 10 || fields[9] == "0" {
		t.Errorf("chronyd counted no interleaved packet: %v", fields)
	}
	if x := h.source(); x.TransmitStamp != "kernel" || x.ReceiveStamp != "kernel" {
		t.Errorf("the stamps are %s and %s, want the kernel's", x.TransmitStamp, x.ReceiveStamp)
	}
}

// The server is killed: holdover, with a bound that grows at the rate that was promised, then unsynchronised; it returns on the
// same port: synchronised again, in the same epoch.
func TestServerDiesAndReturns(t *testing.T) {
	t.Parallel()
	server := chronyServer(t, 1)
	h := newHost(t)
	h.configure(fastSource(server.Address(), `timeout = "100ms"`),
		"[counter]\ndrift_bound = \"1000ppm\"\n[clock]\nholdover_after = \"500ms\"\nmax_bound = \"5ms\"\nheartbeat = \"100ms\"\nlifetime = \"2s\"\n")
	h.run()
	first := h.reach(virtualclock.Synchronised)
	watched, reader := h.watch(truth{}), h.open()
	server.Kill()
	if s := h.reach(virtualclock.Holdover); s.Reason != reason.Stale || s.BoundS == nil || s.Epoch != first.Epoch {
		t.Errorf("in holdover: %+v", s)
	}
	checkGrowth(t, h, reader)
	s := h.reach(virtualclock.Unsynchronised)
	if s.Reason != reason.BoundTooWide || s.BoundS != nil || s.TimeNS != nil || s.Stratum != nil || s.Epoch != first.Epoch {
		t.Errorf("with a bound above max_bound: %+v", s)
	}
	if r := h.clockd("now"); r.code != exitOK || !strings.Contains(r.out, "time unknown") {
		t.Errorf("clockd now: %+v", r)
	}
	if x := h.source(); x.Reason == reason.OK || x.Explanation == "" || x.Reach != 0 && x.Reach&7 != 0 {
		t.Errorf("the dead source: %+v", x)
	}
	watched.fresh()
	server.Start()
	if s := h.reach(virtualclock.Synchronised); s.Epoch != first.Epoch || s.Steps != first.Steps {
		t.Errorf("after the server's return: %+v, want epoch %d and %d steps", s, first.Epoch, first.Steps)
	}
	h.await("the page to be sound again", func() bool { return watched.seen().sound > 0 })
	h.terminate()
}

// checkGrowth measures how fast the interval grows in holdover. The promise (theory 2.3): true time passes at a rate between
// 1/(1+ρ) and 1/(1−ρ) of the counter's, so the edges move apart by 2ρ/(1−ρ²) of the time that passes.
func checkGrowth(t *testing.T, h *host, reader *virtualclock.Reader) {
	t.Helper()
	var from, to virtualclock.Reading
	h.await("a stretch of holdover", func() bool {
		r := reader.Read()
		if r.Interval.Status != virtualclock.Holdover {
			return from.Interval.Sound()
		}
		if !from.Interval.Sound() {
			from = r
		}
		to = r
		return float64(to.Ticks.Sub(from.Ticks)) > reader.Counter().Frequency().Hertz
	})
	c := h.status().Counter
	passed := float64(to.Ticks.Sub(from.Ticks)) / c.Hertz
	if passed < 0.1 {
		t.Fatalf("the holdover lasted %g s only", passed)
	}
	rho := c.DriftBoundPPM*1e-6 + c.ErrorPPB*1e-9
	want, got := 2*rho/(1-rho*rho), (to.Interval.Width()-from.Interval.Width())/passed
	t.Logf("in %g s of holdover the interval grew from %g to %g s, at %.3f ppm; promised are %.3f ppm", passed, from.Interval.Width(), to.Interval.Width(),
		got*1e6, want*1e6)
	if math.Abs(got/want-1) > 1e-3 {
		t.Errorf("the interval grows at %g ppm, want %g ppm", got*1e6, want*1e6)
	}
}

// Four servers, one of them 50 ms off from the start: it is named, with its reason and its distance, and has no effect.
func TestFalsetickerIsNamed(t *testing.T) {
	t.Parallel()
	var sections []string
	for range 3 {
		sections = append(sections, fastSource(chronyServer(t, 1).Address()))
	}
	liar := testkit.ShiftProxy(t, chronyServer(t, 1).Address(), 50*time.Millisecond)
	h := newHost(t)
	h.configure(append(sections, fastSource(liar.Address()))...)
	h.run()
	s := h.reach(virtualclock.Synchronised)
	h.watch(truth{})
	if s.Sources.MaxFalse != 1 {
		t.Errorf("of four sources %d may be false, want 1", s.Sources.MaxFalse)
	}
	var list control.Sources
	h.await("the falseticker to be named", func() bool {
		h.commandJSON(exitOK, &list, "sources")
		return list.Count.False == 1 && list.Count.Used == 3
	})
	for _, x := range list.Sources {
		switch {
		case x.Name != liar.Address():
			if x.Reason != reason.OK || x.Weight <= 0 {
				t.Errorf("an honest source: %+v", x)
			}
		case x.Reason != reason.SourceFalseticker || x.Weight != 0 || x.Selected || x.DistanceS == nil || math.Abs(*x.DistanceS-0.05) > 0.005 ||
			x.OffsetS == nil || math.Abs(*x.OffsetS-0.05) > 0.005:
			t.Errorf("the falseticker: %+v", x)
		}
	}
	if r := h.clockd("sources"); r.code != exitOK || !strings.Contains(r.out, liar.Address()+": its time contradicts what the other sources prove, by at least ") {
		t.Errorf("clockd sources does not say why: %+v", r)
	}
	got := measure(t, truth{}, 500, time.Millisecond, h.open())
	t.Logf("with one false source of four: %v", &got[0])
	if got[0].median() > 50e-6 {
		t.Errorf("the median error is %g s", got[0].median())
	}
	if s := h.status(); s.Epoch != 1 || s.Steps != 1 {
		t.Errorf("the clock was stepped again: %+v", s)
	}
}

// A server that was honest begins to lie, in steps and by walking away slowly, and is honest again in the end. The clock follows
// the majority all the time.
func TestHonestServerTurnsLiar(t *testing.T) {
	t.Parallel()
	var sections []string
	for range 3 {
		sections = append(sections, fastSource(chronyServer(t, 1).Address()))
	}
	liar := testkit.ShiftProxy(t, chronyServer(t, 1).Address(), 0)
	h := newHost(t)
	h.configure(append(sections, fastSource(liar.Address()))...)
	h.run()
	h.reach(virtualclock.Synchronised)
	h.await("all four to be used", func() bool { return h.status().Sources.Used == 4 })
	watched := h.watch(truth{})
	for _, shift := range []time.Duration{50 * time.Millisecond, -3 * time.Second, 2 * time.Millisecond} {
		liar.SetShift(shift)
		h.await("the liar to be named", func() bool {
			x := h.source(liar.Address())
			return x.Reason == reason.SourceFalseticker && x.OffsetS != nil && math.Abs(*x.OffsetS-shift.Seconds()) < 1e-3
		})
	}
	liar.SetShift(0)
	h.await("the reformed server to be used again", func() bool { return h.status().Sources.Used == 4 })
	if s := h.status(); s.Epoch != 1 || s.Steps != 1 || s.Status != virtualclock.Synchronised {
		t.Errorf("after all the lies: %+v", s)
	}
	seen := watched.seen()
	if seen.lost() > 0 {
		t.Errorf("the lies of one of four sources made the clock worth less at %d of %d reads: %s", seen.lost(), seen.reads, &seen)
	}
}
