package node

import (
	"math"
	"testing"

	"github.com/clockd/clockd/internal/testkit"
	"github.com/clockd/clockd/reason"
	"github.com/clockd/clockd/virtualclock"
)

// Every exchange is told once, with what it says by itself, and that is true: the server's clock is within the half-width of the
// offset, and true time within the bound of the measurement's own time.
func TestMeasurementsAreTrue(t *testing.T) {
	c := Config{Sources: sources(2, 1), Measure: true, MaxFalse: 0}
	servers := map[int]*server{1: {delay: 0.003, queue: 0.002, loss: 0.1}, 2: {offset: 0.0001, delay: 0.0005, claims: 0.0002}}
	s := newStage(t, testkit.Seed(t), c, servers)
	told := map[reason.Code]uint64{}
	unset, sound, last := 0, 0, virtualclock.MinTime()
	s.measured = func(m *Measurement) {
		told[m.Reason]++
		if m.Peer || m.Known != (m.Kind == MeasuredBasic) || !m.ClockSet && m.Bound != 0 || m.OffsetKnown != (m.Known && m.ClockSet) {
			t.Fatalf("%+v", *m)
		}
		if m.ClockSet && m.Time.Before(last) {
			t.Errorf("time goes back from %v to %v", last, m.Time)
		}
		if m.ClockSet {
			last = m.Time
		}
		if m.Status.Sound() {
			sound++
			if e := math.Abs(s.truth().Seconds(m.Time)); e > m.Bound || m.Bound <= 0 {
				t.Errorf("its time is wrong by %g, its bound is %g", e, m.Bound)
			}
		}
		if !m.Known {
			return
		}
		if !m.ClockSet {
			unset++
		}
		server := s.truth().AddSeconds(servers[m.Source].offset)
		if e := math.Abs(server.Seconds(m.ArriveTime) - m.RawOffset); e > m.HalfWidth {
			t.Errorf("the raw offset is wrong by %g, half-width %g", e, m.HalfWidth)
		}
		if e := math.Abs(server.Seconds(m.Time) - m.Offset); m.OffsetKnown && e > m.HalfWidth {
			t.Errorf("the offset is wrong by %g, half-width %g", e, m.HalfWidth)
		}
		if d := servers[m.Source].delay; m.Delay < 2*d*0.999 || m.HalfWidth > m.Delay/2*(1+1e-3)+m.ServerError+1e-6 {
			t.Errorf("delay %g, half-width %g of an exchange with a delay of %g each way", m.Delay, m.HalfWidth, d)
		}
	}
	s.start()
	s.run(120)
	want := map[reason.Code]uint64{}
	for _, x := range s.node.Snapshot(s.ticks()).Sources {
		want[reason.OK] += x.Received
		for code, n := range x.Rejections.Map() {
			var r reason.Code
			if err := r.UnmarshalText([]byte(code)); err != nil {
				t.Fatal(err)
			}
			want[r] += n
		}
	}
	for code, n := range want {
		if told[code] != n {
			t.Errorf("%v: %d exchanges, %d measurements", code, n, told[code])
		}
	}
	if told[reason.OK] < 150 || told[reason.SourceUnreachable] == 0 || unset == 0 || sound < 150 {
		t.Errorf("%v, %d before the clock was set, %d while it was sound", told, unset, sound)
	}
}

// A server that cannot be used is measured all the same, and the reason stands beside the figures.
func TestRefusedSamplesAreMeasured(t *testing.T) {
	c := Config{Sources: sources(1, 1), Measure: true}
	c.Sources[0].MaxServerError = 0.01
	s := newStage(t, 1, c, map[int]*server{1: {delay: 0.001, claims: 0.5}})
	n := 0
	s.measured = func(m *Measurement) {
		if n++; m.Reason != reason.ServerRootDistance || !m.Known || m.ServerError < 0.5 || m.Stratum != 1 {
			t.Errorf("%+v", *m)
		}
	}
	s.start()
	if s.run(5); n < 4 {
		t.Errorf("%d measurements", n)
	}
}

func TestNobodyAskedForMeasurements(t *testing.T) {
	s := newStage(t, 1, Config{Sources: sources(1, 1)}, map[int]*server{1: {delay: 0.001, loss: 0.5}})
	s.measured = func(m *Measurement) { t.Errorf("%+v", *m) }
	s.start()
	s.run(5)
}

func TestMeasurementKindsAreTexts(t *testing.T) {
	for k := MeasuredNothing; k <= MeasuredHalf; k++ {
		var back MeasurementKind
		if b, err := k.MarshalText(); err != nil || back.UnmarshalText(b) != nil || back != k {
			t.Errorf("%v is read back as %v", k, back)
		}
	}
	var k MeasurementKind
	if k.UnmarshalText([]byte("whole")) == nil {
		t.Error("there is no such kind")
	}
}

// Exchanges with peers too: what is told of a peer's counter is true within the half-width, what is told of its own time within the
// bound against the group's, and nothing is said of an offset, since a counter is no clock.
func TestPeersAreMeasured(t *testing.T) {
	w := newTown(t, testkit.Seed(t), townConfig(4, 1), 0)
	good, silent, internal := 0, 0, 0
	w.measured = func(h *citizen, m *Measurement) {
		if !m.Peer || m.OffsetKnown {
			t.Fatalf("%+v", *m)
		}
		if m.Internal && m.Status.Sound() {
			internal++
		}
		if m.Reason == reason.PeerSilent {
			silent++
		}
		if !m.Known {
			return
		}
		good++
		peer := w.hosts[m.Source-101]
		truth := peer.node.group.raw.At(w.ticks(peer)).Seconds(m.ArriveTime)
		if e := math.Abs(truth - m.RawOffset); e > m.HalfWidth+2e-9 { // both counters are read in whole ticks
			t.Errorf("the offset of the peer's counter is wrong by %g, half-width %g", e, m.HalfWidth)
		}
	}
	w.bootAll(0.001)
	w.run(10)
	w.kill(w.hosts[3])
	w.run(5)
	if good < 500 || silent < 10 || internal < 300 {
		t.Errorf("%d good ones, %d of a silent peer, %d while the group's clock was sound", good, silent, internal)
	}
}
