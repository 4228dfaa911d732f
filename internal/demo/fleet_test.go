package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/clockd/clockd/internal/daemon/control"
	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/virtualclock"
)

// proxied makes the hosts ask the master through a proxy that can lie and go deaf.
func proxied(t *testing.T, o *Options, shift time.Duration) (proxy func() *testkit.Proxy) {
	t.Helper()
	var p *testkit.Proxy
	o.through = func(_ int, master netip.AddrPort) (netip.AddrPort, error) {
		if p == nil {
			p = testkit.ShiftProxy(t, master.String(), shift)
		}
		return netip.MustParseAddrPort(p.Address()), nil
	}
	return func() *testkit.Proxy { return p }
}

// TestALyingMasterIsCaught: the hosts believe their only master; the observer does not.
func TestALyingMasterIsCaught(t *testing.T) {
	testkit.NoLeaks(t)
	ownDirectory(t)
	const lie = 20 * time.Millisecond
	o := Options{Hosts: 2, For: 2 * time.Second, JSON: true, Out: &bytes.Buffer{}}
	proxied(t, &o, lie)
	got, err := Run(context.Background(), o)
	if !errors.Is(err, ErrViolated) || got.TimeTo100usS != nil {
		t.Fatalf("Run returned %+v, %v", got, err)
	}
	for _, h := range got.Hosts {
		// The proxy's delay is not the lie's: some milliseconds may be on one side of it on a busy machine.
		if h.ErrorMedianS == nil || !near(*h.ErrorMedianS, lie.Seconds(), 5e-3) || h.BoundViolations < h.Samples {
			t.Errorf("%s is off by %v and its claim violated %d times in %d samples", h.Name, h.ErrorMedianS, h.BoundViolations, h.Samples)
		}
	}
}

// story watches the lines of seconds and acts when something has come to pass.
type story struct {
	t     *testing.T
	steps []step
	lines bytes.Buffer
}

// step waits until seen, and then does something.
type step struct {
	name string
	seen func(*Second) bool
	do   func(*Second)
}

func (s *story) Write(p []byte) (int, error) {
	s.lines.Write(p)
	var second Second
	if err := json.Unmarshal(p, &second); err != nil {
		s.t.Errorf("%v in %s", err, p)
	}
	if second.Kind == KindSecond && len(s.steps) > 0 && s.steps[0].seen(&second) {
		s.steps[0].do(&second)
		s.steps = s.steps[1:]
	}
	return len(p), nil
}

// all reports whether all hosts have that status.
func all(status virtualclock.Status) func(*Second) bool {
	return func(s *Second) bool {
		for _, h := range s.Hosts {
			if h.Status != status {
				return false
			}
		}
		return true
	}
}

// TestTheMasterGoesAndComesBack: without news the claims grow, and hold.
func TestTheMasterGoesAndComesBack(t *testing.T) {
	testkit.NoLeaks(t)
	ownDirectory(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	o := Options{Hosts: 2, JSON: true, Seed: testkit.Seed(t)}
	proxy := proxied(t, &o, 0)
	var early, later Second
	tale := &story{t: t, steps: []step{
		{"synchronised", all(virtualclock.Synchronised), func(*Second) { proxy().Cut(true) }},
		{"holdover", all(virtualclock.Holdover), func(s *Second) { early = *s }},
		{"longer holdover", all(virtualclock.Holdover), func(s *Second) { later = *s; proxy().Cut(false) }},
		{"synchronised again", all(virtualclock.Synchronised), func(*Second) { cancel() }},
	}}
	o.Out = tale
	got, err := Run(ctx, o)
	if err != nil || len(tale.steps) > 0 {
		t.Fatalf("Run returned %v, and this never came: %v\n%s", err, tale.steps, &tale.lines)
	}
	if got.BoundViolations != 0 {
		t.Errorf("%d violations", got.BoundViolations)
	}
	for i, h := range later.Hosts {
		// ±60 ppm, for a little less or more than from the end of one second to that of the other.
		grown, passed := *h.BoundS-*early.Hosts[i].BoundS, later.ElapsedS-early.ElapsedS
		if grown < 0.8*passed*60e-6 {
			t.Errorf("%s: in %g s without the master the claim grew by %g s", h.Name, passed, grown)
		}
	}
}

// TestEachHostIsAWholeDaemon with its own address, page and control socket.
func TestEachHostIsAWholeDaemon(t *testing.T) {
	testkit.NoLeaks(t)
	ownDirectory(t)
	f := smallFleet(t)
	defer func() {
		if err := f.close(false); err != nil {
			t.Error(err)
		}
	}()
	seen := map[string]string{}
	for _, h := range []*host{f.masters[0], f.hosts[0]} {
		// This is what the picture tells people to type.
		path := filepath.Join(f.dir, h.name, "control")
		var s control.Status
		for deadline := time.Now().Add(30 * time.Second); s.Status != virtualclock.Synchronised && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			if err := control.Call(context.Background(), path, control.CommandStatus, &s); err != nil {
				t.Fatal(err)
			}
		}
		if s.Status != virtualclock.Synchronised || s.Server == nil || len(s.Server.Listening) != 1 || s.Server.Listening[0] != h.address.String() {
			t.Fatalf("%s: %+v", h.name, s)
		}
		for _, own := range []string{s.Page, s.Server.Listening[0], s.Counter.Spec} {
			if other, taken := seen[own]; taken {
				t.Errorf("%s and %s share %s", h.name, other, own)
			}
			seen[own] = h.name
		}
		if wantMode := map[bool]string{true: "local", false: "external"}[h == f.masters[0]]; s.Mode != wantMode {
			t.Errorf("%s is %s", h.name, s.Mode)
		}
	}
	// What the host is told of its oscillator is true, and that is all that it is told.
	told, really := float64(f.hosts[0].config.Counter.DriftBound), f.hosts[0].skewed.Skew()
	if told <= really.LimitPPM*1e-6 || really.LimitPPM < math.Abs(really.PPM) || f.masters[0].config.Counter.Source != f.hosts[0].config.Counter.Source {
		t.Errorf("told a drift bound of %g; the oscillator is %+v", told, really)
	}
}
