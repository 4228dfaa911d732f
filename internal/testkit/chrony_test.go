package testkit

import (
	"math"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"
)

// follow returns a chronyd that follows the server quickly and has reached it.
func follow(t *testing.T, server ChronyServer) *Chronyd {
	t.Helper()
	server.MinPoll, server.MaxPoll = -3, -3
	c := StartChronyd(t, ChronyOptions{ClientOnly: true, Servers: []ChronyServer{server}})
	WaitFor(t, 30*time.Second, "chronyd to reach its server", func() bool {
		s := c.Sources()
		return len(s) == 1 && s[0].Reach == 0o377
	})
	return c
}

func TestChronydFollowsChronyd(t *testing.T) {
	NoLeaks(t)
	server := StartChronyd(t, ChronyOptions{LocalStratum: 3})
	client := follow(t, ChronyServer{Address: server.Address(), Interleaved: true})
	WaitFor(t, 30*time.Second, "an interleaved exchange", func() bool { return client.Data("127.0.0.1").Interleaved })
	source, data := client.Sources()[0], client.Data("127.0.0.1")
	if source.Stratum != 3 || data.Stratum != 3 || source.Address != "127.0.0.1" || data.Leap != 0 {
		t.Errorf("the client sees %+v, %+v, want stratum 3, leap 0", source, data)
	}
	if math.Abs(data.Offset) > 0.01 || math.Abs(source.Offset) > 0.01 {
		t.Errorf("two chronyds on one clock are %v s, %v s apart", data.Offset, source.Offset)
	}
	if data.Good < 4 || data.Sent < data.Received || data.Received < data.Good {
		t.Errorf("counts do not fit: %+v", data)
	}
	if stats := server.Chronyc("serverstats"); strings.HasPrefix(stats, "0,") {
		t.Errorf("the server counted no request: %s", stats)
	}
}

func TestShiftProxyMakesALiar(t *testing.T) {
	NoLeaks(t)
	server := StartChronyd(t, ChronyOptions{LocalStratum: 1})
	for _, shift := range []time.Duration{50 * time.Millisecond, -3 * time.Second} {
		proxy := ShiftProxy(t, server.Address(), shift)
		// Without noselect chronyd would follow the liar, and see no offset any more.
		client := follow(t, ChronyServer{Address: proxy.Address(), Interleaved: true, Extra: []string{"noselect"}})
		WaitFor(t, 30*time.Second, "an interleaved exchange through the proxy", func() bool { return client.Data("127.0.0.1").Interleaved })
		if got := client.Data("127.0.0.1").Offset; math.Abs(got-shift.Seconds()) > 0.01 {
			t.Errorf("ntpdata's offset behind a proxy of %v: %v s", shift, got)
		}
		if proxy.Requests() < 8 || proxy.Answers() < 8 {
			t.Errorf("%d requests and %d answers were forwarded, want at least 8", proxy.Requests(), proxy.Answers())
		}
		proxy.Cut(true)
		WaitFor(t, 30*time.Second, "the cut to be noticed", func() bool { return client.Sources()[0].Reach&7 == 0 })
		proxy.Cut(false)
		WaitFor(t, 30*time.Second, "the server to come back", func() bool { return client.Sources()[0].Reach&1 == 1 })
	}
}

func TestChronySourceOffsetSign(t *testing.T) {
	server := StartChronyd(t, ChronyOptions{LocalStratum: 1})
	proxy := ShiftProxyOn(t, netip.MustParseAddr("127.0.0.3"), server.Address(), time.Second)
	// chronyd trusts the first server, so the other's offset stays.
	client := StartChronyd(t, ChronyOptions{ClientOnly: true, Servers: []ChronyServer{
		{Address: server.Address(), MinPoll: -3, MaxPoll: -3, Extra: []string{"trust"}},
		{Address: proxy.Address(), MinPoll: -3, MaxPoll: -3},
	}})
	var sources []ChronySource
	WaitFor(t, 30*time.Second, "both servers", func() bool {
		sources = client.Sources()
		return len(sources) == 2 && sources[0].Reach == 0o377 && sources[1].Reach == 0o377
	})
	if got := sources[1].Offset; math.Abs(got+1) > 0.01 {
		t.Errorf("chronyc's offset of a server that is 1 s ahead is %v s, want −1", got)
	}
	if sources[0].State != '*' || sources[1].State != 'x' {
		t.Errorf("states %c %c, want the true one followed and the other a falseticker", sources[0].State, sources[1].State)
	}
}

func TestChronydDiesAndReturns(t *testing.T) {
	server := StartChronyd(t, ChronyOptions{LocalStratum: 1, Address: netip.MustParseAddr("127.0.0.9")})
	if server.AddrPort().Addr().String() != "127.0.0.9" {
		t.Fatalf("it serves on %v", server.AddrPort())
	}
	first := server.PID()
	server.Kill()
	if _, err := server.TryChronyc("tracking"); err == nil {
		t.Error("chronyc got an answer from a dead chronyd")
	}
	server.Start()
	if server.PID() == first {
		t.Error("the restarted chronyd has the process id of the old one")
	}
	if err := server.Stop(10 * time.Second); err != nil {
		t.Errorf("chronyd did not end in order: %v\n%s", err, server.Output())
	}
	if err := server.Signal(syscall.Signal(0)); err == nil {
		t.Error("the process is still there")
	}
}
