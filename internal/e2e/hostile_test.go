package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/internal/ntp"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// attack is something that a hostile server, or somebody who forges its address, sends before the good answer, and as what it
// must be counted.
type attack struct {
	name  string
	count reason.Code
	make  func(q *question) []byte
	// spoils: it ends the wait for the answer, so that the good one is not used.
	spoils bool
	// after: it is sent after the good answer.
	after bool
}

func attacks() []attack {
	with := func(change func(p *ntp.Packet)) func(q *question) []byte {
		return func(q *question) []byte { return changed(q.good, change) }
	}
	tail := func(n int) func(q *question) []byte {
		return func(q *question) []byte { return append(slices.Clone(q.good), make([]byte, n)...) }
	}
	second := ntp.Timestamp(1 << 32)
	return []attack{
		{name: "nothing", count: reason.PacketTooShort, make: func(*question) []byte { return nil }},
		{name: "truncated", count: reason.PacketTooShort, make: func(q *question) []byte { return q.good[:47] }},
		{name: "oversized", count: reason.PacketTooLong, make: tail(1300)},
		{name: "longer than any buffer", count: reason.PacketTooLong, make: tail(9000)},
		{name: "a tail that is nothing", count: reason.PacketMalformed, make: tail(6)},
		{name: "an extension field without an end", count: reason.PacketMalformed, make: func(q *question) []byte {
			return append(slices.Clone(q.good), append([]byte{0, 1, 0xff, 0xfc}, make([]byte, 60)...)...)
		}},
		{name: "a request", count: reason.PacketMode, make: with(func(p *ntp.Packet) { p.Mode = ntp.ModeClient })},
		{name: "a broadcast", count: reason.PacketMode, make: with(func(p *ntp.Packet) { p.Mode = ntp.ModeBroadcast })},
		{name: "a control message", count: reason.PacketMode, make: with(func(p *ntp.Packet) { p.Mode = ntp.ModeControl })},
		{name: "version 1", count: reason.PacketVersion, make: with(func(p *ntp.Packet) { p.Version = 1 })},
		{name: "version 7", count: reason.PacketVersion, make: with(func(p *ntp.Packet) { p.Version = 7 })},
		{name: "wrong origin", count: reason.PacketOrigin, make: with(func(p *ntp.Packet) { p.Origin ^= 1 })},
		{name: "no origin", count: reason.PacketOrigin, make: with(func(p *ntp.Packet) { p.Origin = 0 })},
		{name: "replayed", count: reason.PacketOrigin, make: func(q *question) []byte { return q.last }},
		{name: "kiss with a wrong origin", count: reason.PacketOrigin, make: with(func(p *ntp.Packet) {
			p.Origin, p.Stratum, p.ReferenceID = p.Origin+1, 0, ntp.KissDENY
		})},
		{name: "no receive timestamp", count: reason.PacketZeroTimestamp, make: with(func(p *ntp.Packet) { p.Receive = 0 })},
		{name: "no transmit timestamp", count: reason.PacketZeroTimestamp, make: with(func(p *ntp.Packet) { p.Transmit = 0 })},
		{name: "duplicate", count: reason.PacketDuplicate, after: true, make: func(q *question) []byte { return q.good }},
		{name: "unsolicited", count: reason.PacketUnsolicited, after: true, make: with(func(p *ntp.Packet) { p.Origin += 12345 })},
		{name: "leap 3", count: reason.ServerUnsynchronised, spoils: true, make: with(func(p *ntp.Packet) { p.Leap = 3 })},
		{name: "stratum 16", count: reason.ServerUnsynchronised, spoils: true, make: with(func(p *ntp.Packet) { p.Stratum = 16 })},
		{name: "stratum 200", count: reason.ServerStratum, spoils: true, make: with(func(p *ntp.Packet) { p.Stratum = 200 })},
		{name: "sent before it was received", count: reason.ServerOrder, spoils: true, make: with(func(p *ntp.Packet) { p.Receive = p.Transmit + second })},
		{name: "root dispersion of an hour", count: reason.ServerRootDistance, spoils: true, make: with(func(p *ntp.Packet) { p.RootDispersion = 3600 << 16 })},
		{name: "a longer stay at the server than the round trip", count: reason.SampleNegativeDelay, spoils: true, make: with(func(p *ntp.Packet) {
			p.Receive -= second
			p.Transmit += second
		})},
	}
}

// A hostile datagram comes with every answer of the only source: each kind is counted by its reason, the good answers beside them
// are used, and the clock is not impressed.
func TestHostileDatagrams(t *testing.T) {
	t.Parallel()
	list := attacks()
	server := startFake(t, truth{}, nil)
	h := newHost(t)
	h.configure(fastSource(server.address(), `timeout = "50ms"`, "interleaved = false"), "[log]\nlevel = \"debug\"\n")
	h.run()
	h.reach(virtualclock.Synchronised)
	watched := h.watch(truth{})
	rounds := 3 * len(list)
	var asked atomic.Int64
	server.behave(func(q *question) [][]byte {
		n := int(asked.Add(1)) - 1
		if n >= rounds {
			return [][]byte{q.good}
		}
		switch a := list[n%len(list)]; {
		case a.spoils:
			return [][]byte{a.make(q)}
		case a.after:
			return [][]byte{q.good, a.make(q)}
		default:
			return [][]byte{a.make(q), q.good}
		}
	})
	h.await("all attacks to be over", func() bool { return int(asked.Load()) > rounds+2 })
	var sources control.Sources
	h.commandJSON(exitOK, &sources, "sources")
	want := map[reason.Code]uint64{}
	for _, a := range list {
		want[a.count] += 3
	}
	x := sources.Sources[0]
	t.Logf("rejected by reason: %v", x.Rejections)
	for code, n := range want {
		// A datagram may come so late that it counts for another request, under another reason; that most are counted right is
		// what matters here. The exact cases are tested in sync/roundtrip.
		if got := x.Rejections[code.String()]; got < n-n/3 || got > n+3 {
			t.Errorf("%v: %d were counted, about %d were sent", code, got, n)
		}
	}
	s := h.reach(virtualclock.Synchronised)
	if s.Epoch != 1 || s.Steps != 1 || s.PID != h.PID() {
		t.Errorf("afterwards: %+v", s)
	}
	if s.Reports[reason.PacketOrigin.String()] == 0 {
		t.Errorf("the status counts no rejection: %v", s.Reports)
	}
	if seen := watched.seen(); seen.unsound() > 0 {
		t.Errorf("the clock was lost meanwhile: %s", &seen)
	}
}

// One of three servers sends answers with random bits flipped, random bytes, and other people's answers. Even those that pass for
// answers have no effect.
func TestMutatedAnswers(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(testkit.Seed(t), 6))
	mutant := startFake(t, truth{}, func(q *question) [][]byte {
		var out [][]byte
		for range 4 {
			b := slices.Clone(q.good)
			for range 1 + rng.IntN(8) {
				b[rng.IntN(len(b))] ^= 1 << rng.IntN(8)
			}
			out = append(out, b)
		}
		noise := make([]byte, rng.IntN(1400))
		for i := range noise {
			noise[i] = byte(rng.Uint32())
		}
		return append(out, noise)
	})
	h := newHost(t)
	h.configure(fastSource(chronyServer(t, 1).Address()), fastSource(chronyServer(t, 1).Address()), fastSource(mutant.address()))
	h.run()
	h.reach(virtualclock.Synchronised)
	h.watch(truth{})
	begin := mutant.requests.Load()
	h.await("a hundred mutated answers", func() bool { return mutant.requests.Load() > begin+25 })
	x := h.source(mutant.address())
	t.Logf("mutated answers: %d used, rejected %v, now %v", x.Received, x.Rejections, x.Reason)
	if x.Rejections[reason.PacketOrigin.String()] == 0 || len(x.Rejections) < 3 {
		t.Errorf("the rejections are %v", x.Rejections)
	}
	mutant.behave(nil)
	h.await("the reformed mutant to be used", func() bool { return h.status().Sources.Used == 3 })
	if s := h.reach(virtualclock.Synchronised); s.Epoch != 1 || s.Steps != 1 {
		t.Errorf("afterwards: %+v", s)
	}
	got := measure(t, truth{}, 300, time.Millisecond, h.open())
	t.Logf("after a mutant: %v", &got[0])
}

// A late answer is one that comes after its deadline: it is not used, and counted as late.
func TestLateAnswers(t *testing.T) {
	t.Parallel()
	server := startFake(t, truth{}, nil)
	h := newHost(t)
	h.configure(fastSource(server.address(), `timeout = "20ms"`, "interleaved = false"))
	h.run()
	h.reach(virtualclock.Synchronised)
	h.watch(truth{})
	server.behave(func(q *question) [][]byte {
		if q.number%2 == 0 {
			return nil
		}
		return [][]byte{q.last, q.good}
	})
	h.await("late answers to be counted", func() bool { return h.source().Rejections[reason.PacketLate.String()] > 5 })
	if x := h.source(); x.Reach&3 == 3 || x.Reach == 0 {
		t.Errorf("every second answer is missing, but reach is %08b", x.Reach)
	}
}

// A kiss-o'-death is obeyed: RATE slows the polls down, DENY ends them.
func TestKissOfDeath(t *testing.T) {
	t.Parallel()
	kiss := func(code uint32) func(q *question) [][]byte {
		return func(q *question) [][]byte {
			return [][]byte{changed(q.good, func(p *ntp.Packet) { p.Leap, p.Stratum, p.ReferenceID = 3, 0, code })}
		}
	}
	server := startFake(t, truth{}, nil)
	h := newHost(t)
	h.configure(fastSource(server.address()))
	h.run()
	h.reach(virtualclock.Synchronised)
	h.watch(truth{})
	before := h.source().PollS
	server.behave(func(q *question) [][]byte {
		server.answer = func(q *question) [][]byte { return [][]byte{q.good} } // the lock is held
		return kiss(ntp.KissRATE)(q)
	})
	h.await("RATE to be obeyed", func() bool {
		x := h.source()
		return x.Rejections[reason.KissRate.String()] == 1 && x.PollS == 2*before
	})
	server.behave(kiss(ntp.KissDENY))
	h.await("DENY to be obeyed", func() bool {
		x := h.source()
		return x.Rejections[reason.KissDeny.String()] == 1 && x.NextPollS > 600
	})
	asked := server.requests.Load()
	h.reach(virtualclock.Holdover)
	if now := server.requests.Load(); now != asked {
		t.Errorf("%d more requests went to a server that refused", now-asked)
	}
}

// Garbage comes to clockd's own server: what is no request gets no answer and is counted, what is one gets one answer that is not
// longer than the request, and the clock does not care.
func TestGarbageToTheServer(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	serve := freeAddress(t, 1)
	h.configure(fastSource(chronyServer(t, 1).Address()), listening(serve))
	h.run()
	h.reach(virtualclock.Synchronised)
	h.watch(truth{})
	conn, err := net.Dial("udp", serve)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	rng := rand.New(rand.NewPCG(testkit.Seed(t), 7))
	const rounds = 2000
	answered := 0
	for i := range rounds {
		g := garbage(rng)
		answers := answersTo(t, conn, g, uint64(i)+1)
		answered += len(answers)
		checkAnswers(t, g, answers)
	}
	var s control.Status
	h.commandJSON(exitOK, &s, "status")
	rejected := uint64(0)
	for _, n := range s.Server.Rejected {
		rejected += n
	}
	t.Logf("%d of %d pieces of garbage were requests; rejected: %v", answered, rounds, s.Server.Rejected)
	if s.Server.Requests != 2*rounds || s.Server.Answers != uint64(rounds+answered) || rejected != s.Server.Requests-s.Server.Answers {
		t.Errorf("the server's counts do not fit: %+v", s.Server)
	}
	for _, code := range []reason.Code{reason.RequestShort, reason.RequestLong, reason.RequestMalformed, reason.RequestMode, reason.RequestVersion} {
		if s.Server.Rejected[code.String()] == 0 {
			t.Errorf("none of %d was rejected as %v", rounds, code)
		}
	}
	if s.Status != virtualclock.Synchronised || s.Epoch != 1 {
		t.Errorf("afterwards: %+v", s)
	}
}

// garbage makes a datagram: something like a request, with a random length, mode and version, and random bits.
func garbage(rng *rand.Rand) []byte {
	size := ntp.HeaderLength
	switch rng.IntN(4) {
	case 0:
		size = rng.IntN(ntp.HeaderLength)
	case 1:
		size += 4 * rng.IntN(20)
	case 2:
		size += rng.IntN(2000)
	}
	b := make([]byte, size)
	if rng.IntN(2) == 0 {
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
	}
	if size > 0 && rng.IntN(3) > 0 {
		b[0] = byte(rng.IntN(4))<<6 | 4<<3 | byte(ntp.ModeClient)
	} else if size > 0 {
		b[0] = byte(rng.Uint32())
	}
	return b
}

// sentinel is the transmit timestamp of the requests that are known to be answered.
const sentinel = 0xfeed_face_0000_0000

// answersTo sends a datagram and then a good request, and returns what comes back before the answer to the latter: a server answers
// in order.
func answersTo(t *testing.T, conn net.Conn, datagram []byte, number uint64) (answers [][]byte) {
	t.Helper()
	mark := ntp.Packet{Version: 4, Mode: ntp.ModeClient, Transmit: ntp.Timestamp(sentinel | number)}
	for _, b := range [][]byte{datagram, mark.Append(nil)} {
		if _, err := conn.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 65536)
	for {
		n, err := conn.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("the server does not answer any more, after % x", datagram)
		}
		if err != nil {
			t.Fatal(err)
		}
		if n >= ntp.HeaderLength && binary.BigEndian.Uint64(buf[24:]) == sentinel|number {
			return answers
		}
		answers = append(answers, slices.Clone(buf[:n]))
	}
}

func checkAnswers(t *testing.T, request []byte, answers [][]byte) {
	t.Helper()
	client := len(request) >= ntp.HeaderLength && request[0]&7 == byte(ntp.ModeClient)
	if !client && len(answers) > 0 || len(answers) > 1 {
		t.Fatalf("%d answers to % x", len(answers), request)
	}
	for _, a := range answers {
		if len(a) > len(request) {
			t.Fatalf("an answer of %d bytes to a request of %d", len(a), len(request))
		}
		if a[0]&7 != byte(ntp.ModeServer) {
			t.Fatalf("an answer in mode %d to % x", a[0]&7, request)
		}
	}
}

// The rate limit and the prefixes hold, and are counted.
func TestServerLimits(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	serve := freeAddress(t, 1)
	h.configure("[local]\n", fmt.Sprintf("[server]\nlisten = [%q]\nrate = 0.1\nburst = 5\nallow = [\"127.0.0.0/8\"]\ndeny = [\"127.0.0.66\"]\n", serve))
	h.run()
	ask := func(from string, n int) (answers, kisses int) {
		d := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(from)}}
		conn, err := d.Dial("udp", serve)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		before := h.status().Server.Requests
		p := ntp.Packet{Version: 4, Mode: ntp.ModeClient, Transmit: 1}
		for range n {
			if _, err := conn.Write(p.Append(nil)); err != nil {
				t.Fatal(err)
			}
		}
		h.await("the requests to be counted", func() bool { return h.status().Server.Requests >= before+uint64(n) })
		_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		buf := make([]byte, 1500)
		for {
			got, err := conn.Read(buf)
			if err != nil {
				return answers, kisses
			}
			if got > ntp.HeaderLength {
				t.Errorf("an answer of %d bytes", got)
			}
			if buf[1] == 0 {
				kisses++
			} else {
				answers++
			}
		}
	}
	if answers, kisses := ask("127.0.0.1", 200); answers != 5 || kisses == 0 || kisses > 100 {
		t.Errorf("200 requests at once got %d answers and %d kisses, want 5 answers and a few kisses", answers, kisses)
	}
	if answers, kisses := ask("127.0.0.66", 10); answers+kisses != 0 {
		t.Errorf("a client that is denied got %d answers and %d kisses", answers, kisses)
	}
	if answers, _ := ask("127.0.0.67", 3); answers != 3 {
		t.Errorf("another client got %d answers, want 3: one client must not use up the share of others", answers)
	}
	r := h.status().Server.Rejected
	if r[reason.RequestRate.String()] != 195 || r[reason.RequestDenied.String()] != 10 {
		t.Errorf("rejected: %v", r)
	}
}

// A page that is none is a clear error.
func TestBadPages(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.configure("[local]\nbound = \"1us\"\n")
	h.run()
	h.reach(virtualclock.Synchronised)
	good, err := os.ReadFile(h.page)
	if err != nil {
		t.Fatal(err)
	}
	change := func(f func(b []byte) []byte) []byte { return f(slices.Clone(good)) }
	for name, c := range map[string]struct {
		page []byte
		want string
	}{
		"magic":        {change(func(b []byte) []byte { b[0] = 'X'; return b }), "page magic"},
		"version":      {change(func(b []byte) []byte { b[8] = 99; return b }), "version 99"},
		"size inside":  {change(func(b []byte) []byte { b[12], b[13] = 0, 0; return b }), "page size"},
		"short file":   {good[:100], "100 bytes"},
		"long file":    {append(slices.Clone(good), 0), "4097 bytes"},
		"empty file":   {nil, "0 bytes"},
		"other boot":   {change(func(b []byte) []byte { b[24] ^= 1; return b }), "last boot"},
		"counter":      {change(func(b []byte) []byte { copy(b[512:], "sundial"); return b }), "counter"},
		"spec length":  {change(func(b []byte) []byte { binary.LittleEndian.PutUint64(b[40:], 1<<40); return b }), "counter spec"},
		"only garbage": {[]byte(strings.Repeat("garbage!", 512)), "page magic"},
	} {
		path := filepath.Join(h.dir, "bad page")
		if err := os.WriteFile(path, c.page, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"now"}, {"now", "--json"}} {
			r := h.command(append(args, "--page", path, "--control", filepath.Join(h.dir, "none"))...)
			if r.code != exitError || r.out != "" || !strings.Contains(r.err, c.want) || !strings.Contains(r.err, path) {
				t.Errorf("%s: clockd %v ended with %d, want an error that speaks of %q and names the file:\n%s%s", name, args, r.code, c.want, r.out, r.err)
			}
		}
		if _, err := virtualclock.OpenPage(path); err == nil {
			t.Errorf("%s: the page was opened", name)
		}
	}
	missing := h.command("now", "--page", filepath.Join(h.dir, "no page"), "--control", filepath.Join(h.dir, "none"))
	if missing.code != exitError || !strings.Contains(missing.err, "clockd run") {
		t.Errorf("without a page and a daemon: %+v", missing)
	}
	// A page that was being written when its writer died stays torn: it is read as nothing.
	torn := filepath.Join(h.dir, "torn")
	if err := os.WriteFile(torn, change(func(b []byte) []byte { b[64] |= 1; return b }), 0o600); err != nil {
		t.Fatal(err)
	}
	var now control.Now
	h.page = torn
	h.commandJSON(exitOK, &now, "now")
	if now.Status != virtualclock.Unsynchronised || now.Reason != reason.PageTorn || now.EarliestNS != nil {
		t.Errorf("a torn page: %+v", now)
	}
}

// A configuration with each kind of mistake is refused by check and by run, with its file and line.
func TestBadConfigurations(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	const source = "[[source]]\naddress = \"ntp.example\"\n"
	for _, c := range []struct {
		document string
		line     int
		want     string
	}{
		{source + "[clock\n", 3, ""},
		{source + "poll = \"1s\"\npoll = \"2s\"\n", 4, "poll"},
		{source + "[clokc]\n", 3, "clock"},
		{source + "pol = \"16s\"\n", 3, "poll"},
		{source + "poll = 16\n", 3, "unit"},
		{source + "poll = \"1ms\"\n", 3, "out of range"},
		{source + "burst = \"4\"\n", 3, "number"},
		{source + "interleaved = \"yes\"\n", 3, "true"},
		{"[[source]]\npoll = \"16s\"\n", 1, "address"},
		{"[[source]]\naddress = \"a.example:99999\"\n", 2, "port"},
		{source + source, 4, "twice"},
		{"[source]\naddress = \"a\"\n", 1, "[[source]]"},
		{source + "[counter]\ndrift_bound = \"2%\"\n", 4, "out of range"},
		{source + "[clock]\nheartbeat = \"10s\"\nlifetime = \"20s\"\n", 5, "40s"},
		{source + "[sources]\nmax_false = 1\n", 4, "3"},
		{source + "[server]\nlisten = [\"localhost:123\"]\n", 4, "listen"},
		{source + "[server]\nallow = [\"10.0.0.1/8\"]\n", 4, "10.0.0.0/8"},
		{source + "[local]\n", 3, "reference"},
		{"[stamps]\nkernel = true\n", 0, "[[source]]"},
		{source + "[page]\npath = \"page\"\n", 4, "/"},
		{source + "[control]\nmode = \"rw\"\n", 4, "0660"},
		{source + "[log]\nlevel = \"loud\"\n", 4, "debug"},
		{source + "\x00\xff\n", 3, ""},
	} {
		if err := os.WriteFile(h.config, []byte(c.document), 0o600); err != nil {
			t.Fatal(err)
		}
		place := h.config + ":"
		if c.line > 0 {
			place = fmt.Sprintf("%s:%d:", h.config, c.line)
		}
		for _, args := range [][]string{{"check", h.config}, {"run", "-c", h.config}} {
			if r := h.command(args...); r.code != exitError || !strings.Contains(r.err, place) || !strings.Contains(r.err, c.want) {
				t.Errorf("clockd %s ended with %d and said\n%s%swant exit code 1, %q and %q, for\n%s", args[0], r.code, r.out, r.err, place, c.want, c.document)
			}
		}
		var problems struct {
			OK       bool
			Problems []struct {
				File, Message string
				Line          int
			}
		}
		h.commandJSON(exitError, &problems, "check", h.config)
		if problems.OK || len(problems.Problems) == 0 || problems.Problems[0].File != h.config || problems.Problems[0].Line != c.line {
			t.Errorf("check --json says %+v of\n%s", problems, c.document)
		}
	}
	if r := h.command("check", filepath.Join(h.dir, "none.toml")); r.code != exitError || !strings.Contains(r.err, "none.toml") {
		t.Errorf("a file that is not there: %+v", r)
	}
	if r := h.command("check"); r.code != exitUsage {
		t.Errorf("check without a file: %+v", r)
	}
	if r := h.command("chekc"); r.code != exitUsage {
		t.Errorf("a command that does not exist: %+v", r)
	}
	h.configure(source)
	if r := h.command("check", h.config); r.code != exitOK || !strings.Contains(r.out, "good") {
		t.Errorf("a good file: %+v", r)
	}
}

// NTP's timestamps begin anew on 2036-02-07 at 06:28:16 UTC. A server lives through that moment, and a clockd follows it, and
// another clockd follows that one; then one starts on the day after.
func TestEraRollover(t *testing.T) {
	t.Parallel()
	rollover := time.Date(2036, 2, 7, 6, 28, 16, 0, time.UTC)
	for name, after := range map[string]time.Duration{"across": -4 * time.Second, "the day after": 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := truth{time.Until(rollover.Add(after))}
			server := startFake(t, w, nil)
			first, second := newHost(t), newHost(t)
			serve := freeAddress(t, 1)
			first.configure(fastSource(server.address()), listening(serve))
			second.configure(fastSource(serve))
			first.run()
			second.run()
			var watched []*watcher
			for _, h := range []*host{first, second} {
				h.reach(virtualclock.Synchronised)
				watched = append(watched, h.watch(w))
			}
			begun := time.Unix(0, w.now())
			if after < 0 && begun.After(rollover) {
				t.Skipf("this machine was too slow to synchronise before the rollover")
			}
			// The second ends first: it needs the other.
			for _, h := range []*host{second, first} {
				h.await("two seconds of the new era", func() bool { return time.Unix(0, w.now()).After(rollover.Add(2 * time.Second)) })
				before := h.source().Received
				h.await("answers in the new era", func() bool { return h.source().Received > before+3 })
				if s := h.reach(virtualclock.Synchronised); s.Epoch != 1 || s.Steps != 1 {
					t.Errorf("after the rollover: %+v", s)
				}
				if r := h.clockd("now"); r.code != exitOK || !strings.HasPrefix(r.out, "2036-02-0") {
					t.Errorf("clockd now: %+v", r)
				}
				h.terminate()
			}
			for _, x := range watched {
				if seen := x.seen(); seen.statuses[virtualclock.Synchronised] == 0 {
					t.Errorf("nothing was seen: %s", &seen)
				}
			}
		})
	}
}
