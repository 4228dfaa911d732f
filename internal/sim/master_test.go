package sim

import (
	"math"
	"testing"

	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// TestForgeriesAreWhatTheySay: each forgery is rejected by the node for the reason that it is made for, and no other.
func TestForgeriesAreWhatTheySay(t *testing.T) {
	for forge, want := range map[Forgery]reason.Code{
		ForgeOrigin: reason.PacketOrigin, ForgeZero: reason.PacketZeroTimestamp, ForgeShort: reason.PacketTooShort, ForgeMode: reason.PacketMode,
		ForgeVersion: reason.PacketVersion, ForgeOrder: reason.ServerOrder, ForgeReplay: reason.PacketOrigin,
	} {
		x := newPair(t, 1, nil)
		x.run(t, 5)
		before := x.source().Rejections
		x.master.Master.Forge = forge
		x.run(t, 10)
		after := x.source().Rejections
		if after[want] < before[want]+9 {
			t.Errorf("%s: %v", forge, after.Map())
		}
		for code := range after {
			if c := reason.Code(code); after[code] != before[code] && c != want && c != reason.SourceUnreachable {
				t.Errorf("%s: also rejected as %v", forge, c.String())
			}
		}
	}
	if len(Forgeries()) != 7 {
		t.Errorf("%d forgeries are listed", len(Forgeries()))
	}
}

func TestKisses(t *testing.T) {
	for kiss, want := range map[string]reason.Code{
		"RATE": reason.KissRate, "DENY": reason.KissDeny, "RSTR": reason.KissDeny, "INIT": reason.ServerUnsynchronised, "XY": reason.KissOther,
	} {
		x := newPair(t, 1, nil)
		x.master.Master.Kiss = kiss
		x.run(t, 5)
		if s := x.source(); s.Rejections[want] == 0 {
			t.Errorf("%s: %v", kiss, s.Rejections.Map())
		}
	}
}

// TestMasterTellsItsTime: what the node computes from the answers is the master's offset, drift and claims.
func TestMasterTellsItsTime(t *testing.T) {
	x := newPair(t, 1, func(m *Master, _ *HostConfig, p *PathConfig, _ *ClientConfig) {
		m.Offset, m.RootDispersion, m.RootDelay, m.Stratum = 5e-3, 10e-3, 2e-3, 3
		p.Delay = Constant(100e-6)
	})
	x.run(t, 60)
	s := x.source()
	if s.Stratum != 3 || s.ServerError < 11e-3 || s.ServerError > 11.1e-3 {
		t.Errorf("stratum %d, error %g", s.Stratum, s.ServerError)
	}
	e := func() float64 {
		return x.client.Publication.Clock.Time(x.client.Reading(x.world.Now())).Seconds(x.world.Truth(x.world.Now()))
	}
	if got := e(); math.Abs(got-5e-3) > 1e-6 {
		t.Errorf("the clock is %g s off, its only server 5 ms", got)
	}
	m := x.master.Master
	m.SetDrift(x.world.Now(), 10e-6)
	x.run(t, 100)
	if got := m.Error(x.client, x.world.Now()); math.Abs(got-6e-3) > 1e-9 {
		t.Errorf("after 100 s of 10 ppm the master is %g s off", got)
	}
	m.SetDrift(x.world.Now(), 0)
	x.run(t, 100)
	if got := m.Error(x.client, x.world.Now()); math.Abs(got-6e-3) > 1e-9 {
		t.Errorf("a drift that has ended goes on: %g s", got)
	}
	if got := e(); math.Abs(got-6e-3) > 20e-6 {
		t.Errorf("the clock is %g s off, its only server 6 ms", got)
	}
}

// TestInterleavedMode: the stamps of answers that leave late are told by the next answer (RFC 9769), and the node uses them.
func TestInterleavedMode(t *testing.T) {
	for _, offered := range []bool{true, false} {
		yes := true
		x := newPair(t, 1, func(m *Master, _ *HostConfig, p *PathConfig, c *ClientConfig) {
			p.Delay, c.Interleaved = Constant(20e-6), &yes
			m.Interleaved, m.Transmit, m.Turnaround = offered, Constant(200e-6), Constant(300e-6)
		})
		x.run(t, 60)
		if s := x.source(); s.Interleaved != offered {
			t.Errorf("offered %t: %t", offered, s.Interleaved)
		}
		e := math.Abs(x.client.Publication.Clock.Time(x.client.Reading(x.world.Now())).Seconds(x.world.Truth(x.world.Now())))
		if offered && e > 2e-6 || !offered && e < 50e-6 {
			t.Errorf("offered %t: the clock is %g s off", offered, e)
		}
		// The reference estimator understands both modes as well.
		if r := x.client.Result().RegressionRMS; offered && !(r < 20e-6) || !offered && !(r > 50e-6 && r < 200e-6) {
			t.Errorf("offered %t: the regression is %g s off", offered, float64(r))
		}
	}
}

// TestServingHost: a host that is both client and server answers from its virtual clock with a bound that holds, in both roles
// at once: two of them ask one another, and each follows a master of its own as well.
func TestServingHost(t *testing.T) {
	w := NewWorld(5, testEpoch())
	w.Sample = 100 * Millisecond
	var hosts, masters []*Host
	for i, name := range []string{"a", "b"} {
		m, err := w.AddHost(HostConfig{Name: "master of " + name, Master: &Master{}})
		if err != nil {
			t.Fatal(err)
		}
		h, err := w.AddHost(HostConfig{Name: name, Serve: true, Oscillator: OscillatorConfig{OffsetPPM: float64(40 * (2*i - 1))}})
		if err != nil {
			t.Fatal(err)
		}
		hosts, masters = append(hosts, h), append(masters, m)
	}
	c := ClientConfig{Poll: 1, Timeout: 0.2}
	there, _ := w.NewPath(PathConfig{Delay: mustDelay(t, "100us + exp(10us)")}, "there")
	back, _ := w.NewPath(PathConfig{Delay: mustDelay(t, "100us + exp(10us)")}, "back")
	for i, h := range hosts {
		other := hosts[1-i]
		to, from := there, back
		if i == 1 {
			to, from = back, there // the same wire, the other way round
		}
		own, _ := w.NewPath(PathConfig{Delay: mustDelay(t, "50us")}, "own "+h.Name)
		if _, err := w.Connect(h, 1, masters[i], own, own); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Connect(h, 2, other, to, from); err != nil {
			t.Fatal(err)
		}
		if err := h.Start(c.Node([]*Host{masters[i], other}), 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Run(100 * Second); err != nil {
		t.Fatal(err)
	}
	for _, h := range hosts {
		s := h.Node.Snapshot(h.Reading(w.Now()))
		if h.Publication.Clock.Status != virtualclock.Synchronised || h.Checker.Violations != 0 || h.Checker.Checks < 1000 {
			t.Errorf("%s: %v, %d violations of %d", h.Name, h.Publication.Clock.Status, h.Checker.Violations, h.Checker.Checks)
		}
		if peer := s.Sources[1]; peer.Received < 90 {
			t.Errorf("%s has %d answers from its peer", h.Name, peer.Received)
		}
	}
}

// TestTwoFacedMaster: what one client is told, another is not.
func TestTwoFacedMaster(t *testing.T) {
	m := &Master{Offset: 1, OffsetTo: func(client *Host, t Instant) float64 {
		if client.Name == "a" {
			return t.Seconds()
		}
		return 0
	}}
	if got := m.Error(&Host{Name: "a"}, 3*Second); got != 4 {
		t.Errorf("a is told %g", got)
	}
	if got := m.Error(&Host{Name: "b"}, 3*Second); got != 1 {
		t.Errorf("b is told %g", got)
	}
}
