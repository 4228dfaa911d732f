package daemon

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clockd/clockd/hw"
	"github.com/clockd/clockd/internal/config"
	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/internal/daemon/eventlog"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// Two real daemons on loopback: the follower's oscillator is wrong by 37 ppm, and its interval always contains the reference's
// time. Its run replays byte for byte, and its rate is remembered.
func TestFollowerHoldsTheReference(t *testing.T) {
	testkit.NoLeaks(t)
	reference := launchReference(t, testkit.FreeUDPPort(t))
	dir := t.TempDir()
	events := filepath.Join(dir, "events")
	c := parse(t, dir, followerDocument(reference.served[0].String(), fmt.Sprintf("[log]\nevents = %q\n", events)))
	follower := launch(t, Options{Config: c, Counter: skewed(t, 37)})
	follower.reach(virtualclock.Synchronised)
	if n := contained(t, reference, follower, 1000); n != 0 {
		t.Errorf("%d of 1000 intervals do not contain true time", n)
	}
	testkit.WaitFor(t, patience20, "the rate to be known within 10 ppm", func() bool {
		s := follower.status()
		return s.RatePPM != nil && math.Abs(*s.RatePPM+37) < 10
	})
	s := follower.status()
	if s.Source == nil || *s.Source != reference.served[0].String() || s.Mode != "external" || s.Stratum == nil || *s.Stratum != 4 ||
		s.BoundS == nil || *s.BoundS > 0.01 || s.TimeNS == nil || s.Sources.Used != 1 || s.Epoch != 1 || s.Server != nil || len(s.Trouble) != 0 {
		t.Errorf("status %+v", s)
	}
	x := follower.sources().Sources[0]
	if !x.Selected || x.Reason != reason.OK || x.OffsetS == nil || math.Abs(*x.OffsetS) > 0.001 || x.LowS == nil || *x.LowS > *x.OffsetS ||
		*x.HighS < *x.OffsetS || x.Reach == 0 || x.Stratum == nil || *x.Stratum != 3 || x.ReferenceID == nil || *x.ReferenceID == "" || x.Samples == 0 {
		t.Errorf("source %+v", x)
	}
	r := reference.status()
	if r.Mode != "local" || r.Source != nil || r.Server == nil || r.Server.Answers == 0 || r.Server.Answers != r.Server.Requests {
		t.Errorf("the reference's status %+v", r)
	}
	for _, want := range []string{"READY=1", "STATUS=synchronised"} {
		testkit.WaitFor(t, patience20, "the service manager to hear "+want, func() bool { return follower.heard(want) })
	}
	follower.stop()
	reference.stop()
	if !follower.heard("STOPPING=1") {
		t.Error("the service manager was not told of the end")
	}
	replayed(t, events, 30)
	saved, err := loadState(c.State.Path)
	if err != nil || saved == nil || math.Abs(saved.Rate*1e6+37) > 10 {
		t.Errorf("the state is %+v, %v", saved, err)
	}
	if _, err := os.Stat(c.Control.Path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// replayed checks that an event log decides the same again.
func replayed(t *testing.T, path string, least uint64) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	r, err := eventlog.Replay(f)
	if err != nil || r.Difference != nil || r.Events < least || r.End != eventlog.EndClosed {
		t.Errorf("replay: %d events, end %q, %v, %v", r.Events, r.End, r.Difference, err)
	}
}

// The departure stamps come from the kernel here, and the answers find them in time.
func TestPacketsAreStampedByTheKernel(t *testing.T) {
	testkit.NoLeaks(t)
	probe, err := hw.ProbeStamps(hw.StampOptions{Counter: skewed(t, 0), Kernel: true})
	if err != nil || probe.Capabilities.Transmit < hw.StampKernel {
		t.Skipf("this kernel stamps no departures: %+v, %v", probe.Capabilities, err)
	}
	reference := launchReference(t, testkit.FreeUDPPort(t))
	for _, kernel := range []bool{true, false} {
		want := hw.StampUser.String()
		if kernel {
			want = hw.StampKernel.String()
		}
		c := parse(t, t.TempDir(), followerDocument(reference.served[0].String(), fmt.Sprintf("[stamps]\nkernel = %v\n", kernel)))
		follower := launch(t, Options{Config: c, Counter: skewed(t, -5)})
		testkit.WaitFor(t, patience20, "stamps of kind "+want, func() bool {
			x := follower.sources().Sources[0]
			return x.Samples > 3 && x.TransmitStamp == want && x.ReceiveStamp == want
		})
		follower.stop()
	}
}

// The server dies: holdover, then unsynchronised; it returns: synchronised again.
func TestServerDiesAndReturns(t *testing.T) {
	testkit.NoLeaks(t)
	port := testkit.FreeUDPPort(t)
	reference := launchReference(t, port)
	document := followerDocument(reference.served[0].String(),
		"timeout = \"100ms\"\n[counter]\ndrift_bound = \"5000ppm\"\n[clock]\nholdover_after = \"300ms\"\nmax_bound = \"10ms\"\nheartbeat = \"100ms\"\nlifetime = \"5s\"\n")
	follower := launch(t, Options{Config: parse(t, t.TempDir(), document), Counter: skewed(t, 100)})
	follower.reach(virtualclock.Synchronised)
	narrow := *follower.status().BoundS
	reference.stop()
	follower.reach(virtualclock.Holdover)
	s := follower.status()
	if s.BoundS == nil || *s.BoundS <= narrow || s.Reason == reason.OK {
		t.Errorf("in holdover the bound went from %v to %v, reason %v", narrow, s.BoundS, s.Reason)
	}
	follower.reach(virtualclock.Unsynchronised)
	s = follower.status()
	if s.BoundS != nil || s.TimeNS != nil || s.Stratum != nil || s.Reason != reason.BoundTooWide {
		t.Errorf("unsynchronised, but %+v", s)
	}
	if x := follower.sources().Sources[0]; x.Reason == reason.OK {
		t.Errorf("a dead source is %v", x.Reason)
	}
	launchReference(t, port)
	follower.reach(virtualclock.Synchronised)
}

// No name resolves and no network answers at the start: that is a reason, not an end.
func TestStartsWithoutNames(t *testing.T) {
	testkit.NoLeaks(t)
	reference := launchReference(t, testkit.FreeUDPPort(t))
	var calls atomic.Int32
	lookup := func(_ context.Context, host string) ([]netip.Addr, error) {
		if host != "ntp.test" {
			return nil, fmt.Errorf("asked for %q", host)
		}
		if calls.Add(1) < 2 {
			return nil, errors.New("no such host today")
		}
		return []netip.Addr{netip.MustParseAddr("::ffff:127.0.0.1")}, nil
	}
	name := fmt.Sprintf("ntp.test:%d", reference.served[0].Port())
	follower := launch(t, Options{Config: parse(t, t.TempDir(), followerDocument(name, "")), Counter: skewed(t, 3), Lookup: lookup})
	testkit.WaitFor(t, patience20, "the resolver's words in the status", func() bool {
		x, s := follower.sources().Sources[0], follower.status()
		return calls.Load() > 1 || x.Reason == reason.SourceResolve && x.Detail == "no such host today" && x.Address == nil &&
			strings.Join(s.Trouble, "") == name+" has no address yet: no such host today"
	})
	follower.reach(virtualclock.Synchronised)
	if x := follower.sources().Sources[0]; x.Address == nil || *x.Address != reference.served[0].String() || x.Name != name {
		t.Errorf("source %+v", x)
	}
}

// An unreachable port is told by ICMP at once, and the daemon lives on.
func TestUnreachableSourceIsNamed(t *testing.T) {
	testkit.NoLeaks(t)
	address := fmt.Sprintf("127.0.0.1:%d", testkit.FreeUDPPort(t))
	follower := launch(t, Options{Config: parse(t, t.TempDir(), followerDocument(address, "")), Counter: skewed(t, 0)})
	testkit.WaitFor(t, patience20, "connection refused", func() bool {
		x := follower.sources().Sources[0]
		return x.Reason == reason.SourceUnreachable && strings.Contains(x.Detail, "connection refused")
	})
	if s := follower.status(); s.Status != virtualclock.Unsynchronised || s.Reason == reason.OK || s.BoundS != nil || s.Source != nil {
		t.Errorf("status %+v", s)
	}
}

func TestReloadKeepsTheClock(t *testing.T) {
	testkit.NoLeaks(t)
	reference, second := launchReference(t, testkit.FreeUDPPort(t)), launchReference(t, testkit.FreeUDPPort(t))
	dir := t.TempDir()
	document := followerDocument(reference.served[0].String(), "")
	follower := launch(t, Options{Config: parse(t, dir, document), Counter: skewed(t, -20)})
	follower.reach(virtualclock.Synchronised)

	follower.reloadWith(func() (*config.Config, error) { return nil, errors.New("f.toml:1:1: no good") })
	if s := follower.status(); s.Status != virtualclock.Synchronised || !strings.Contains(s.Config.Error, "no good") || len(s.Trouble) != 1 {
		t.Errorf("after a bad reload: %+v", s)
	}
	var samples uint64
	testkit.WaitFor(t, patience20, "some samples", func() bool {
		samples = follower.sources().Sources[0].Samples
		return samples > 10
	})

	port := testkit.FreeUDPPort(t)
	grown := document + followerDocument(second.served[0].String(), fmt.Sprintf("[server]\nlisten = [\"127.0.0.1:%d\"]\n", port))
	follower.reloadWith(func() (*config.Config, error) { return parse(t, dir, grown), nil })
	testkit.WaitFor(t, patience20, "two sources to be used", func() bool { return follower.status().Sources.Used == 2 })
	s := follower.status()
	if s.Epoch != 1 || s.Status != virtualclock.Synchronised || s.Config.Error != "" || s.Server == nil ||
		s.Server.Listening[0] != fmt.Sprintf("127.0.0.1:%d", port) {
		t.Errorf("after a good reload: %+v", s)
	}
	if x := follower.sources().Sources[0]; x.Samples < samples {
		t.Errorf("the source that stayed has %d samples, it had %d: its state was lost", x.Samples, samples)
	}

	follower.reloadWith(func() (*config.Config, error) {
		c := parse(t, dir, document)
		c.Page.Path = filepath.Join(dir, "elsewhere")
		return c, nil
	})
	s = follower.status()
	if s.Server != nil || s.Sources.Configured != 1 || s.Epoch != 1 || !strings.Contains(s.Config.Error, "page takes effect at the next start") {
		t.Errorf("after going back: %+v", s)
	}
	if !follower.heard("RELOADING=1\nMONOTONIC_USEC=") {
		t.Error("the service manager was not told of the reload")
	}
}

func TestReloadWithoutAFileIsRefused(t *testing.T) {
	d := &daemon{options: Options{}}
	if _, _, err := d.load(); err == nil {
		t.Error("a reload without Load")
	}
}

func TestSecondDaemonIsRefused(t *testing.T) {
	testkit.NoLeaks(t)
	first := launchReference(t, testkit.FreeUDPPort(t))
	same := *first.config
	err := Run(context.Background(), Options{Config: &same, Counter: skewed(t, 0)})
	if !errors.Is(err, control.ErrInUse) {
		t.Errorf("on the same socket: %v", err)
	}
	same.Control.Path = filepath.Join(t.TempDir(), "control")
	err = Run(context.Background(), Options{Config: &same, Counter: skewed(t, 0)})
	if !errors.Is(err, virtualclock.ErrPageBusy) {
		t.Errorf("on the same page: %v", err)
	}
	if err := Run(context.Background(), Options{}); err == nil {
		t.Error("a daemon without a configuration")
	}
}

// A port that is taken is tried again and named in the status; it does not end the daemon.
func TestTakenPortIsNamed(t *testing.T) {
	testkit.NoLeaks(t)
	first := launchReference(t, testkit.FreeUDPPort(t))
	document := fmt.Sprintf("[local]\n[server]\nlisten = [\"%s\"]\n", first.served[0])
	second := launch(t, Options{Config: parse(t, t.TempDir(), document), Counter: skewed(t, 0)})
	if s := second.status(); len(second.served) != 0 || !strings.Contains(s.Server.Error, "in use") || len(s.Trouble) != 1 {
		t.Errorf("serving %v, status %+v", second.served, s)
	}
}

// jumping is a counter that can be set back, as after a virtual machine was restored.
type jumping struct {
	hw.Counter
	back atomic.Int64
}

func (j *jumping) Read() hw.Ticks { return j.Counter.Read().Add(-j.back.Load()) }

func TestCounterThatGoesBackBeginsANewEpoch(t *testing.T) {
	testkit.NoLeaks(t)
	reference := launchReference(t, testkit.FreeUDPPort(t))
	counter := &jumping{Counter: skewed(t, 0)}
	follower := launch(t, Options{Config: parse(t, t.TempDir(), followerDocument(reference.served[0].String(), "")), Counter: counter})
	follower.reach(virtualclock.Synchronised)
	counter.back.Store(int64(100 * counter.Frequency().Hertz))
	testkit.WaitFor(t, patience20, "a new epoch", func() bool {
		var s control.Status
		err := control.Call(context.Background(), follower.config.Control.Path, control.CommandStatus, &s)
		return err == nil && s.Epoch > 1 && s.Status == virtualclock.Synchronised
	})
	if !strings.Contains(follower.log.String(), reason.CounterBackwards.Error()) {
		t.Error("the log does not say why")
	}
}

// Garbage to the server is counted, not answered, and does no harm.
func TestServerSurvivesGarbage(t *testing.T) {
	testkit.NoLeaks(t)
	reference := launchReference(t, testkit.FreeUDPPort(t))
	conn, err := net.Dial("udp", reference.served[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	sent := uint64(0)
	for size := 1; size < 3000; size += 97 {
		b := make([]byte, size)
		for i := range b {
			b[i] = byte(i * size)
		}
		b[0] = byte(size)
		if _, err := conn.Write(b); err != nil {
			t.Fatal(err)
		}
		sent++
	}
	testkit.WaitFor(t, patience20, "all requests to be counted", func() bool { return reference.status().Server.Requests >= sent })
	s := reference.status().Server
	rejected := uint64(0)
	for _, n := range s.Rejected {
		rejected += n
	}
	if rejected+s.Answers != s.Requests || s.Rejected["request_long"] == 0 || s.Rejected["request_short"] != 1 {
		t.Errorf("%d requests, %d answers, rejected %v", s.Requests, s.Answers, s.Rejected)
	}
}

// In steady state an exchange allocates nothing, on neither side: what is left over many exchanges is the daemons' other work.
func TestExchangesAllocateNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	testkit.NoLeaks(t)
	reference := launchReference(t, testkit.FreeUDPPort(t))
	document := fmt.Sprintf("[[source]]\naddress = %q\npoll = \"10ms\"\nburst_spacing = \"10ms\"\n", reference.served[0])
	follower := launch(t, Options{Config: parse(t, t.TempDir(), document), Counter: skewed(t, 15)})
	exchanges := func(n uint64) uint64 {
		var received uint64
		testkit.WaitFor(t, 60*time.Second, "exchanges", func() bool {
			received = follower.sources().Sources[0].Received
			return received >= n
		})
		return received
	}
	from := exchanges(200)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	time.Sleep(3 * time.Second)
	runtime.ReadMemStats(&after)
	count := exchanges(from) - from
	mallocs := after.Mallocs - before.Mallocs
	t.Logf("%d allocations (%d bytes) in %d exchanges with both daemons in this process", mallocs, after.TotalAlloc-before.TotalAlloc, count)
	if count < 50 {
		t.Skipf("only %d exchanges: this machine is too busy to say", count)
	}
	if float64(mallocs) > 0.25*float64(count) {
		t.Errorf("%d allocations in %d exchanges", mallocs, count)
	}
}

// What a server never said is null, and not stratum 0.
func TestNeverSaidIsNull(t *testing.T) {
	testkit.NoLeaks(t)
	silent := fmt.Sprintf("127.0.0.1:%d", testkit.FreeUDPPort(t))
	follower := launch(t, Options{Config: parse(t, t.TempDir(), followerDocument(silent, "")), Counter: skewed(t, 5)})
	if x := follower.sources().Sources[0]; x.Received != 0 || x.Stratum != nil || x.Leap != nil || x.ReferenceID != nil || x.ServerErrorS != nil || x.OffsetS != nil {
		t.Errorf("a source that never answered: %+v", x)
	}
}
