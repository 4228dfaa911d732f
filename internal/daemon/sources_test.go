package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/config"
	"github.com/clockd/clockd/internal/daemon/journal"
	"github.com/clockd/clockd/internal/node"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// rosterOf makes a roster whose names have their questions, as the daemon does.
func rosterOf(t *testing.T, document string) (*roster, *config.Config) {
	t.Helper()
	c := parse(t, "/nowhere", document)
	r := &roster{}
	configureRoster(r, c)
	return r, c
}

func configureRoster(r *roster, c *config.Config) (gone []*slot, entries, ask []*entry) {
	gone, entries, ask = r.configure(c)
	for _, e := range ask {
		e.question = &question{host: e.config.Address.Host}
	}
	return gone, entries, ask
}

func addresses(list ...string) (out []netip.Addr) {
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

// show writes the roster's addresses in order.
func show(r *roster) string {
	var out []string
	r.all(func(_ *entry, s *slot) {
		if s.address.IsValid() {
			out = append(out, s.address.Addr().String())
		} else {
			out = append(out, "-")
		}
	})
	return strings.Join(out, " ")
}

func TestUnresolvedSourcesCountAmongTheSources(t *testing.T) {
	r, _ := rosterOf(t, "[[source]]\naddress = \"a\"\n[[source]]\naddress = \"192.0.2.1\"\n[[source]]\naddress = \"p\"\npool = true\npool_size = 3\n")
	if got := show(r); got != "- 192.0.2.1 - - -" {
		t.Errorf("the roster is %s", got)
	}
	sources := r.nodeSources()
	if len(sources) != 5 || sources[0].Address != "" || sources[1].Address != "192.0.2.1:123" || sources[1].ReferenceID != 0xc0000201 {
		t.Errorf("the node gets %+v", sources)
	}
	seen := map[int]bool{0: true}
	for _, s := range sources {
		if seen[s.ID] {
			t.Errorf("ID %d twice or 0", s.ID)
		}
		seen[s.ID] = true
	}
	if s := r.find(sources[2].ID); s == nil || s.why != reason.SourceResolve || s.name != "p#1" {
		t.Errorf("slot %+v", s)
	}
	if r.find(99) != nil {
		t.Error("a slot that is not there")
	}
}

func TestPoolTakesWhatThereIs(t *testing.T) {
	r, _ := rosterOf(t, "[[source]]\naddress = \"192.0.2.1\"\n[[source]]\naddress = \"p\"\npool = true\npool_size = 3\n")
	changed, gone := r.resolved(resolution{name: r.entries[1].question, addresses: addresses("192.0.2.1", "192.0.2.2", "192.0.2.3")})
	if show(r) != "192.0.2.1 192.0.2.2 192.0.2.3" || len(changed) != 2 || len(gone) != 1 {
		t.Errorf("roster %s, %d changed, %d gone", show(r), len(changed), len(gone))
	}
	// The same answer again changes nothing.
	if changed, gone := r.resolved(resolution{name: r.entries[1].question, addresses: addresses("192.0.2.3", "192.0.2.2")}); len(changed)+len(gone) != 0 {
		t.Errorf("%d changed, %d gone", len(changed), len(gone))
	}
	// One of them has died: it alone is replaced.
	r.entries[1].slots[0].unanswered = staleAfter
	changed, _ = r.resolved(resolution{name: r.entries[1].question, addresses: addresses("192.0.2.2", "192.0.2.3", "192.0.2.9")})
	if show(r) != "192.0.2.1 192.0.2.9 192.0.2.3" || len(changed) != 1 || changed[0].unanswered != 0 {
		t.Errorf("roster %s, %d changed", show(r), len(changed))
	}
}

func TestTrimmingAPoolLeavesEnoughToOutvote(t *testing.T) {
	document := "[[source]]\naddress = \"p\"\npool = true\npool_size = 8\n"
	r, _ := rosterOf(t, document+"[sources]\nmax_false = 2\n")
	r.resolved(resolution{name: r.entries[0].question, addresses: addresses("192.0.2.1")})
	if show(r) != "192.0.2.1 - - - -" {
		t.Errorf("roster %s", show(r))
	}
	// A smaller f needs fewer, a larger one more again.
	configureRoster(r, parse(t, "/nowhere", document+"[sources]\nmax_false = 3\n"))
	if r.count() != 7 || !strings.HasPrefix(show(r), "192.0.2.1 ") {
		t.Errorf("roster %s", show(r))
	}
}

func TestOneServerDoesNotVoteTwice(t *testing.T) {
	r, _ := rosterOf(t, "[[source]]\naddress = \"a\"\n[[source]]\naddress = \"b\"\n")
	r.resolved(resolution{name: r.entries[0].question, addresses: addresses("192.0.2.1")})
	r.resolved(resolution{name: r.entries[1].question, addresses: addresses("192.0.2.1")})
	if b := r.entries[1].slots[0]; b.address.IsValid() || !strings.Contains(b.detail, "that of a already") {
		t.Errorf("roster %s: %s", show(r), b.detail)
	}
	r.resolved(resolution{name: r.entries[1].question, addresses: addresses("192.0.2.1", "192.0.2.2")})
	if show(r) != "192.0.2.1 192.0.2.2" {
		t.Errorf("roster %s", show(r))
	}
}

func TestNameThatMovesIsFollowed(t *testing.T) {
	r, _ := rosterOf(t, "[[source]]\naddress = \"a:99\"\n")
	q := r.entries[0].question
	r.resolved(resolution{name: q, addresses: addresses("2001:db8::1", "192.0.2.1")})
	s := r.entries[0].slots[0]
	if s.address.String() != "[2001:db8::1]:99" || s.why != reason.OK {
		t.Errorf("slot %+v", s)
	}
	// It answers: whatever the resolver says, it stays.
	r.resolved(resolution{name: q, addresses: addresses("192.0.2.1")})
	if show(r) != "2001:db8::1" {
		t.Errorf("roster %s", show(r))
	}
	// It does not: the next address is tried.
	s.unanswered = staleAfter
	r.resolved(resolution{name: q, addresses: addresses("2001:db8::1", "192.0.2.1")})
	if show(r) != "192.0.2.1" {
		t.Errorf("roster %s", show(r))
	}
	if changed, gone := r.resolved(resolution{name: q, err: errors.New("SERVFAIL")}); changed != nil || gone != nil || show(r) != "192.0.2.1" {
		t.Errorf("an error changed the roster to %s", show(r))
	}
	if changed, _ := r.resolved(resolution{name: &question{}, addresses: addresses("192.0.2.7")}); changed != nil {
		t.Error("an answer to nobody's question changes something")
	}
}

func TestReconfiguringKeepsWhatStays(t *testing.T) {
	one, two := "[[source]]\naddress = \"192.0.2.1\"\n", "[[source]]\naddress = \"192.0.2.2\"\n"
	r, _ := rosterOf(t, one+two)
	kept := r.entries[1].slots[0]
	gone, entries, ask := configureRoster(r, parse(t, "/nowhere", two+"poll = \"1s\"\n[[source]]\naddress = \"n\"\n"))
	if len(gone) != 1 || gone[0].address.Addr() != netip.MustParseAddr("192.0.2.1") || len(entries) != 1 || len(ask) != 1 {
		t.Errorf("gone %v, %v, ask %v", gone, entries, ask)
	}
	if r.entries[0].slots[0] != kept || r.nodeSources()[0].Poll != 1 || r.nodeSources()[0].ID != kept.id {
		t.Errorf("the roster is %+v", r.nodeSources())
	}
}

func TestReferenceID(t *testing.T) {
	if got := referenceID(netip.MustParseAddr("::ffff:192.0.2.1")); got != 0xc0000201 {
		t.Errorf("IPv4: %08x", got)
	}
	// The first four bytes of: printf '\x20\x01\x0d\xb8…\x01' | md5sum
	if got := referenceID(netip.MustParseAddr("2001:db8::1")); got != 0x39ab9b37 {
		t.Errorf("IPv6: %08x", got)
	}
	for _, c := range []struct {
		id      uint32
		stratum uint8
		want    string
	}{{0x4750_5300, 1, "GPS"}, {0x4c4f434c, 1, "LOCL"}, {0xc0000201, 2, "192.0.2.1"}, {0x01020304, 1, "01020304"}, {0, 0, ""}} {
		if got := showReferenceID(c.id, c.stratum); got != c.want {
			t.Errorf("%08x at stratum %d is %q, want %q", c.id, c.stratum, got, c.want)
		}
	}
}

func TestResolverNeverGivesUp(t *testing.T) {
	testkit.NoLeaks(t)
	calls := 0
	r := newResolver(context.Background(), func(context.Context, string) ([]netip.Addr, error) {
		calls++
		switch calls {
		case 1:
			return nil, errors.New("no network yet")
		case 2:
			return nil, nil
		}
		return addresses("::ffff:192.0.2.1"), nil
	})
	q := r.Ask("a")
	q.Again()
	q.Again()
	for i, want := range []string{"no network yet", "a has no address", ""} {
		res := <-r.results
		if want == "" {
			if res.err != nil || fmt.Sprint(res.addresses) != "[192.0.2.1]" {
				t.Errorf("answer %d: %+v", i, res)
			}
		} else if res.err == nil || res.err.Error() != want || res.name != q {
			t.Errorf("answer %d: %+v, want %s", i, res, want)
		}
	}
	q.cancel()
	r.Ask("b") // its answer is never taken
	r.Close()
}

func TestRepeatedReportsAreCountedNotLogged(t *testing.T) {
	var out lockedLog
	now := time.Unix(1000, 0)
	r := newReporter(slog.New(slog.NewTextHandler(&out, nil)), func() time.Time { return now }, journal.New(time.Now))
	liar := node.Report{Topic: "source", Source: 1, Reason: reason.SourceFalseticker, Value: 0.05}
	for range 10 {
		r.Report(&liar, "a.example")
	}
	if n := strings.Count(out.String(), "source_falseticker"); n != 1 {
		t.Errorf("logged %d times: %s", n, out.String())
	}
	for _, want := range []string{"level=WARN", "source=a.example", "seconds=0.05", "explanation="} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in %s", want, out.String())
		}
	}
	other := liar
	other.Source = 2
	r.Report(&other, "b.example")
	now = now.Add(2 * quietFor)
	r.Report(&liar, "a.example")
	if n := strings.Count(out.String(), "source_falseticker"); n != 3 || !strings.Contains(out.String(), "repeated=9") {
		t.Errorf("after a while: %s", out.String())
	}
	for range 3 {
		r.Report(&node.Report{Topic: "clock", Reason: reason.Stale, Status: virtualclock.Holdover}, "")
	}
	if n := strings.Count(out.String(), "status=holdover"); n != 3 {
		t.Errorf("the clock's own changes are logged %d of 3 times", n)
	}
	r.Report(&node.Report{Topic: "packet", Reason: reason.PacketLate}, "")
	if strings.Contains(out.String(), "packet_late") {
		t.Error("single packets are logged at level info")
	}
	if r.counts[reason.SourceFalseticker] != 12 || r.counts[reason.PacketLate] != 1 {
		t.Errorf("counts %v", r.counts.Map())
	}
	for i := range 2 * maxReportKeys {
		r.Report(&node.Report{Topic: "source", Source: i, Reason: reason.SourceTooWide}, "")
	}
	if len(r.seen) > maxReportKeys {
		t.Errorf("%d keys are remembered", len(r.seen))
	}
}

func TestReportLevels(t *testing.T) {
	for _, c := range []struct {
		report node.Report
		level  slog.Level
	}{
		{node.Report{Topic: "clock", Status: virtualclock.Synchronised}, slog.LevelInfo},
		{node.Report{Topic: "clock", Status: virtualclock.Unsynchronised, Reason: reason.NeverSynchronised}, slog.LevelInfo},
		{node.Report{Topic: "clock", Status: virtualclock.Unsynchronised, Reason: reason.NoMajority}, slog.LevelWarn},
		{node.Report{Topic: "peer", Source: firstPeerID + 1, Reason: reason.PeerJoining}, slog.LevelInfo},
		{node.Report{Topic: "peer", Source: firstPeerID + 1}, slog.LevelInfo},
		{node.Report{Topic: "peer", Source: firstPeerID + 1, Reason: reason.PeerTooWide}, slog.LevelWarn},
		{node.Report{Topic: "disruption", Reason: reason.HostSuspended}, slog.LevelWarn},
		{node.Report{Topic: "config", Reason: reason.ConfigRefused}, slog.LevelError},
		{node.Report{Topic: "source"}, slog.LevelInfo},
		{node.Report{Topic: "sample", Reason: reason.SampleStamp}, slog.LevelDebug},
	} {
		if got := reportLevel(&c.report); got != c.level {
			t.Errorf("%+v has level %v, want %v", c.report, got, c.level)
		}
	}
}
